// The oral exam: cards from the catalogue, a clock, FSRS for when a card comes back. Everything stays in this browser;
// no network, so it works from a folder, too.
(() => {
  "use strict";

  const KEY = "byhand-exam", VERSION = 1;
  const FOLKLORE = ["misleading", "wrong", "outdated"];
  const VERDICTS = ["holds", "holds-with-conditions", "misleading", "wrong", "outdated", "opinion", "undecided"];
  const SURE = [15, 40, 60, 80, 95];  // percent; one in seven is a guess
  const LETTERS = "abcdefgh";

  const place = document.querySelector("#byhand-exam");
  if (!place) return;
  const { chapters, questions, claims, words: WORDS } = window.BYHAND_CARDS;
  const { fsrs, createEmptyCard } = window.FSRS;
  const scheduler = fsrs({ enable_fuzz: false });

  // ---- elements

  const make = (tag, properties = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (name in element && name !== "list") element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== undefined && child !== null));
    return element;
  };
  const button = (text, action, properties = {}) => make("button", { type: "button", onclick: action, ...properties }, text);
  const choice = (type, name, value, text, checked) => make("label", {}, make("input", { type, name, value, checked }), " ", text);
  const group = (title, ...children) => make("fieldset", {}, make("legend", {}, title), ...children);
  const html = (text, lang) => {
    const box = make("div", lang ? { lang } : {});
    box.innerHTML = text;  // our own page, made at build time
    return box;
  };

  // ---- what is kept

  let keeps = true, loses = false;  // loses: leaving the page would lose what no file has
  const fresh = () => ({ version: VERSION, language: document.documentElement.dataset.language || "en", cards: {}, log: [] });
  const date = (text) => typeof text === "string" && !Number.isNaN(Date.parse(text));
  const number = (value) => typeof value === "number" && Number.isFinite(value);
  // Throws, with the reason, unless the text is a state as this page writes it.
  const read = (text) => {
    const state = JSON.parse(text);
    const bad = (reason) => { throw new Error(reason); };
    if (state === null || typeof state !== "object" || Array.isArray(state)) bad("no object");
    if (state.version !== VERSION) bad(`version ${state.version}, expected ${VERSION}`);
    if (!(state.language in { en: 1, ko: 1, both: 1 })) bad(`language ${state.language}`);
    if (state.cards === null || typeof state.cards !== "object" || Array.isArray(state.cards)) bad("no cards");
    if (!Array.isArray(state.log)) bad("no log");
    for (const [id, card] of Object.entries(state.cards)) {
      if (!card || !date(card.due) || !date(card.last_review)
        || !["stability", "difficulty", "reps", "lapses", "state"].every((name) => number(card[name]))) bad(`card ${id}`);
    }
    for (const entry of state.log) {
      if (!entry || typeof entry.id !== "string" || !date(entry.at) || !number(entry.rating)) bad("an entry of the log");
      if (entry.sure !== undefined && !(number(entry.sure) && typeof entry.right === "boolean")) bad("an entry of the log");
    }
    return state;
  };
  let state = fresh();
  const keep = () => {
    try {
      localStorage.setItem(KEY, JSON.stringify(state));
      keeps = true;
    } catch { keeps = false; }
    loses = !keeps && state.log.length > 0;
    warn();
  };
  const save = () => {
    download(JSON.stringify(state, null, 1), "byhand-exam.json");
    loses = false;
  };
  const download = (text, name) => {
    const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  const later = (a, b) => (!a || Date.parse(b.last_review) > Date.parse(a.last_review) ? b : a);
  const merge = (other) => {
    for (const [id, card] of Object.entries(other.cards)) state.cards[id] = later(state.cards[id], card);
    const seen = new Set(state.log.map((entry) => `${entry.id} ${entry.at}`));
    state.log.push(...other.log.filter((entry) => !seen.has(`${entry.id} ${entry.at}`)));
    state.log.sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
  };

  // ---- words and announcements

  const t = (name) => WORDS[state.language === "ko" ? "ko" : "en"][name];
  const inKorean = () => state.language === "ko";
  const status = make("p", { role: "status", className: "status" });
  const stage = make("div", { className: "stage" });
  const say = (text) => { status.textContent = text; };
  // It stays for as long as it is true, whatever else is said.
  const unkept = make("div", { role: "alert", className: "unkept", hidden: true });
  const warn = () => {
    unkept.hidden = keeps;
    unkept.replaceChildren(...(keeps ? [] : [make("p", {}, t("full")), button(t("export"), save)]));
  };
  window.addEventListener("beforeunload", (event) => { if (loses) event.preventDefault(); });
  const show = (...children) => {
    stage.lang = inKorean() ? "ko" : "en";
    stage.replaceChildren(...children.filter(Boolean));
  };
  // a sentence in the language chosen, or in both
  const spoken = (en, ko) => {
    const found = [];
    if (state.language !== "ko" || !ko) found.push(make("span", { lang: "en" }, en));
    if (state.language !== "en" && ko) found.push(make("span", { lang: "ko" }, ko));
    return found;
  };
  const days = (from, to) => {
    const minutes = Math.round((to - from) / 60000);
    if (minutes < 60) return inKorean() ? `${minutes}분` : `${minutes} min`;
    if (minutes < 1440) return inKorean() ? `${Math.round(minutes / 60)}시간` : `${Math.round(minutes / 60)} h`;
    return inKorean() ? `${Math.round(minutes / 1440)}일` : `${Math.round(minutes / 1440)} d`;
  };

  // ---- the choices

  const lastOf = (id) => state.log.findLast?.((entry) => entry.id === id) ?? [...state.log].reverse().find((entry) => entry.id === id);
  const shuffled = (list) => {
    const found = [...list];
    for (let i = found.length - 1; i > 0; i -= 1) {
      const j = Math.floor(Math.random() * (i + 1));
      [found[i], found[j]] = [found[j], found[i]];
    }
    return found;
  };
  const kept = (card) => state.cards[card.id];
  const isDue = (card, now) => kept(card) && Date.parse(kept(card).due) <= now;
  const pick = ({ mode, inside, count, missed, folklore }) => {
    const now = Date.now();
    const pool = (mode === "verdict" ? claims : questions).filter((card) => inside.has(card.chapter)
      && (!folklore || card.verdicts.some((verdict) => FOLKLORE.includes(verdict)))
      && (!missed || lastOf(card.id)?.rating === 1));
    if (mode === "interview") return shuffled(pool).slice(0, 10);
    const byDue = (a, b) => Date.parse(kept(a).due) - Date.parse(kept(b).due);
    const seen = pool.filter(kept);
    return [...seen.filter((card) => isDue(card, now)).sort(byDue), ...shuffled(pool.filter((card) => !kept(card))),
      ...seen.filter((card) => !isDue(card, now)).sort(byDue)].slice(0, count);
  };

  const home = () => {
    running?.face?.stop();
    running = undefined;
    say("");
    const now = Date.now(), cards = [...questions, ...claims];
    const language = group(t("language"), ...[["en", "English"], ["ko", "한국어"], ["both", t("both")]].map(
      ([value, text]) => choice("radio", "language", value, text, state.language === value)));
    const boxes = chapters.map(({ id, title, ko }) => choice("checkbox", "chapter", id, inKorean() ? ko : title, true));
    const set = (value) => () => { boxes.forEach((label) => { label.querySelector("input").checked = value; }); };
    const form = make("form", { className: "choices" },
      group(t("mode"), ...["minute", "verdict", "interview"].map((mode) => choice("radio", "mode", mode, t(mode), mode === "minute"))),
      language,
      group(t("chapters"), make("p", {}, button(t("all"), set(true)), " ", button(t("none"), set(false))), ...boxes),
      group(t("which"), choice("radio", "which", "due", t("due"), true), choice("radio", "which", "missed", t("missed"), false),
        choice("checkbox", "folklore", "1", t("folklore"), false),
        make("label", {}, `${t("count")} `, make("input", { type: "number", name: "count", min: 1, max: 100, value: 10, required: true }))),
      make("p", {}, make("button", { type: "submit", className: "primary" }, t("start"))));
    language.addEventListener("change", (event) => { state.language = event.target.value; keep(); home(); stage.querySelector("input[name=language]:checked").focus(); });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const data = new FormData(form), mode = data.get("mode");
      const chosen = pick({ mode, inside: new Set(data.getAll("chapter")), count: Number(data.get("count")),
        missed: data.get("which") === "missed", folklore: data.has("folklore") });
      if (chosen.length) begin(mode, chosen); else say(t("empty"));
    });
    const file = make("input", { type: "file", accept: "application/json", className: "visually-hidden", tabIndex: -1,
      "aria-label": t("import"), onchange: async () => {
        try {
          merge(read(await file.files[0].text()));
          keep();
          home();
          if (keeps) say(t("imported"));
        } catch (problem) { say(`${t("refused")}: ${problem.message}`); }
      } });
    show(form,
      make("p", {}, `${cards.filter(kept).length} ${t("of")} ${cards.length} ${t("kept")}; ${cards.filter((card) => isDue(card, now)).length} ${t("dueNow")}.`),
      calibration(),
      make("p", { className: "files" }, button(t("export"), save), " ",
        button(t("import"), () => file.click()), file, " ",
        button(t("forget"), () => { if (confirm(t("sureForget"))) { state = { ...fresh(), language: state.language }; keep(); home(); } })));
  };

  // The reader's own calibration: how often right, for each certainty that was claimed.
  const calibration = () => {
    const judged = state.log.filter((entry) => entry.sure !== undefined);
    if (!judged.length) return undefined;
    const rows = SURE.map((sure) => {
      const at = judged.filter((entry) => entry.sure === sure);
      return { sure, n: at.length, share: at.length ? at.filter((entry) => entry.right).length / at.length : undefined };
    }).filter((row) => row.n);
    const brier = judged.reduce((sum, entry) => sum + (entry.sure / 100 - entry.right) ** 2, 0) / judged.length;
    const svg = (tag, attributes) => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      return element;
    };
    const plot = svg("svg", { viewBox: "-8 -8 116 116", class: "calibration", "aria-hidden": "true" });
    plot.append(svg("rect", { x: 0, y: 0, width: 100, height: 100 }), svg("line", { x1: 0, y1: 100, x2: 100, y2: 0 }),
      svg("polyline", { points: rows.map((row) => `${row.sure},${100 - 100 * row.share}`).join(" ") }),
      ...rows.map((row) => svg("circle", { cx: row.sure, cy: 100 - 100 * row.share, r: Math.min(6, 2 + Math.sqrt(row.n) / 2) })));
    const cells = (tag, values) => make("tr", {}, ...values.map((value) => make(tag, tag === "th" ? { scope: "col" } : {}, value)));
    return make("section", {}, make("h2", {}, t("calibration")), make("p", {}, t("calibrated")),
      make("div", { className: "curve" }, plot, make("table", {}, make("thead", {}, cells("th", [t("certainty"), t("judged"), t("share")])),
        make("tbody", {}, ...rows.map((row) => cells("td", [`${row.sure} %`, `${row.n}`, `${Math.round(100 * row.share)} %`]))))),
      make("p", {}, `${t("brier")}: ${brier.toFixed(2)}`));
  };

  // ---- a round

  let running;
  const begin = (mode, cards) => {
    running?.face?.stop();
    running = { mode, cards, at: 0, results: [], started: Date.now() };
    card();
  };
  const current = () => running.cards[running.at];
  const clock = (seconds, from) => {
    const face = make("output", { className: "clock", "aria-live": "off" });
    let told = false;
    const tick = () => {
      const left = Math.round(seconds - (Date.now() - from) / 1000), size = Math.abs(left);
      face.textContent = `${left < 0 ? "−" : ""}${Math.floor(size / 60)}:${String(size % 60).padStart(2, "0")}`;
      face.classList.toggle("over", left < 0);
      if (left < 0 && !told) { told = true; say(t("over")); }
    };
    const timer = setInterval(tick, 500);
    face.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    face.stop = () => clearInterval(timer);
    return face;
  };
  const head = (face) => make("p", { className: "head" },
    make("span", {}, `${running.at + 1} ${t("of")} ${running.cards.length} · ${chapterOf(current().chapter)}`), face,
    button(t("end"), finish));
  const chapterOf = (id) => { const one = chapters.find((chapter) => chapter.id === id); return inKorean() ? one.ko : one.title; };
  const links = (one) => make("p", { className: "links" }, make("a", { href: one.url }, t("evidence")), " · ",
    make("a", { href: `${one.chapter}.html` }, t("lecture")), " · ", make("a", { href: `#${one.id}` }, "#"));

  const card = () => {
    say("");
    running.face?.stop();
    running.face = running.mode === "interview" ? clock(1200, running.started) : running.mode === "minute" ? clock(60, Date.now()) : undefined;
    running.step = "ask";
    (running.mode === "verdict" ? judge : ask)();
    stage.querySelector("h2").focus();
  };

  const ask = () => {
    const one = current();
    show(make("section", { className: "exam-card" }, head(running.face),
      make("h2", { tabIndex: -1 }, ...spoken(one.en, one.ko)),
      make("p", { className: "actions" }, button(t("reveal"), reveal, { className: "primary" })),
      make("p", { className: "keys" }, t("keys"))));
  };
  const pointsOf = (one) => (inKorean() && one.points_ko) || one.points;
  const grades = () => ["again", "hard", "good", "easy"];
  const reveal = () => {
    const one = current(), now = new Date();
    running.step = "rate";
    if (running.mode === "minute") running.face.stop();
    const points = pointsOf(one);
    const ticks = points.map((point, i) => choice("checkbox", "point", i, `${LETTERS[i]}. ${point}`, false));
    const next = scheduler.repeat(kept(one) ?? createEmptyCard(now), now);
    const actions = make("p", { className: "actions" }, ...grades().map((grade, i) => button(
      `${i + 1} ${t(grade)}`, () => rate(i + 1), { className: "grade", "data-grade": i + 1,
        title: `${t("comes")} ${days(now, next[i + 1].card.due)}` })));
    // what the ticks suggest is marked; the reader decides
    const suggest = () => {
      const share = ticks.filter((label) => label.querySelector("input").checked).length / (ticks.length || 1);
      const grade = share === 1 ? 3 : share >= 0.5 ? 2 : 1;
      actions.querySelectorAll("button").forEach((b) => b.classList.toggle("primary", Number(b.dataset.grade) === grade));
    };
    const answer = make("div", { className: "answer", tabIndex: -1 });
    if (!inKorean() || !one.minute_ko) answer.append(html(one.minute, "en"));
    if (state.language !== "en" && one.minute_ko) answer.append(html(one.minute_ko, "ko"));
    const followers = (inKorean() && one.next_ko) || one.next;
    const list = group(t("points"), ...ticks);
    list.addEventListener("change", suggest);
    suggest();
    show(make("section", { className: "exam-card" }, head(running.face), make("h2", {}, ...spoken(one.en, one.ko)), answer, list,
      followers.length ? make("p", {}, make("strong", {}, `${t("next")}: `), followers.join(" ")) : undefined,
      links(one), actions, make("p", { className: "keys" }, t("keys"))));
    answer.focus();
  };
  const store = (one, rating, more = {}) => {
    const now = new Date();
    const { card: next } = scheduler.next(kept(one) ?? createEmptyCard(now), now, rating);
    state.cards[one.id] = JSON.parse(JSON.stringify(next));
    state.log.push({ id: one.id, at: now.toISOString(), rating, ...more });
    keep();
  };
  const rate = (rating) => {
    const one = current(), ticked = [...stage.querySelectorAll("input[name=point]")].map((input) => input.checked);
    store(one, rating);
    running.results.push({ card: one, rating, ticked });
    onward();
  };
  const onward = () => {
    running.at += 1;
    if (running.at < running.cards.length) card(); else finish();
  };

  const judge = () => {
    const one = current();
    const form = make("form", {},
      group(t("yourVerdict"), ...VERDICTS.map((verdict, i) => choice("radio", "verdict", verdict, `${i + 1} ${t(verdict)}`, false))),
      group(t("sure"), ...SURE.map((sure, i) => choice("radio", "sure", sure, `${LETTERS[i]}. ${i ? `${sure} %` : `${t("guess")} (${sure} %)`}`, false))),
      make("p", { className: "actions" }, make("button", { type: "submit", className: "primary" }, t("judge"))));
    form.querySelectorAll("input").forEach((input) => { input.required = true; });
    form.addEventListener("submit", (event) => { event.preventDefault(); told(new FormData(form)); });
    show(make("section", { className: "exam-card" }, head(), make("h2", { tabIndex: -1 }, ...spoken(one.says, one.says_ko).map((part) => make("q", {}, part))),
      form, make("p", { className: "keys" }, t("keysVerdict"))));
  };
  // Wrong comes again; right with little certainty is hard, right with much is good.
  const told = (data) => {
    const one = current(), verdict = data.get("verdict"), sure = Number(data.get("sure")), right = verdict === one.verdict;
    const rating = right ? (sure < 60 ? 2 : 3) : 1;
    store(one, rating, { right, sure });
    running.results.push({ card: one, rating, right, sure });
    running.step = "told";
    const result = make("p", { className: "result", tabIndex: -1 }, make("strong", {}, right ? t("right") : t("not")), " ",
      `${t("its")}: `, make("strong", { className: `verdict-${one.verdict}` }, t(one.verdict)), ". ",
      ...(one.correct ? spoken(one.correct, one.correct_ko) : one.boundary ? spoken(WORDS.en.within, WORDS.ko.within)
        : spoken(WORDS.en.said, WORDS.ko.said)));
    show(make("section", { className: "exam-card" }, head(), make("h2", {}, ...spoken(one.says, one.says_ko).map((part) => make("q", {}, part))),
      result, one.measured ? html(one.measured, "en") : undefined, links(one),
      make("p", { className: "actions" }, button(t("onward"), onward, { className: "primary" })), make("p", { className: "keys" }, t("keysVerdict"))));
    result.focus();
  };

  const finish = () => {
    running.face?.stop();
    const { results, mode } = running;
    running = undefined;
    if (!results.length) { home(); return; }
    const title = ({ card: one }) => make("td", {}, make("a", { href: one.url }, ...(mode === "verdict" ? spoken(one.says, one.says_ko) : spoken(one.en, one.ko))));
    const name = (rating) => t(grades()[rating - 1]);
    const row = (result) => make("tr", {}, title(result),
      make("td", {}, mode === "verdict" ? `${t(result.right ? "right" : "not")} ${result.sure} %` : name(result.rating)),
      make("td", {}, result.ticked ? `${result.ticked.filter(Boolean).length} ${t("of")} ${result.ticked.length}` : t(result.card.verdict)));
    const weak = results.filter((result) => result.rating <= 2);
    const missing = (result) => (result.ticked ? pointsOf(result.card).filter((point, i) => !result.ticked[i]) : []);
    const top = make("h2", { tabIndex: -1 }, t("done"));
    show(make("section", { className: "exam-card end" }, top,
      make("table", {}, make("thead", {}, make("tr", {}, ...["question", "rated", "ticked"].map((column) => make("th", { scope: "col" }, t(column))))),
        make("tbody", {}, ...results.map(row))),
      weak.length ? make("h3", {}, t("repeat")) : undefined,
      weak.length ? make("ul", {}, ...weak.map((result) => make("li", {}, make("a", { href: result.card.url },
        ...(mode === "verdict" ? spoken(result.card.says, result.card.says_ko) : spoken(result.card.en, result.card.ko))),
      missing(result).length ? make("ul", {}, ...missing(result).map((point) => make("li", {}, point))) : undefined))) : undefined,
      make("p", { className: "actions" }, button(t("print"), () => window.print()), " ", button(t("home"), home, { className: "primary" }))));
    top.focus();
  };

  // ---- the keyboard

  document.addEventListener("keydown", (event) => {
    if (!running || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const target = event.target, types = target.closest?.("input:not([type=radio]):not([type=checkbox]), textarea, select, dialog");
    if (types) return;
    const key = event.key.toLowerCase(), digit = Number(key), letter = LETTERS.indexOf(key);
    const press = (input) => { if (input) { input.click(); event.preventDefault(); } };
    const onControl = target.closest?.("button, a, summary");
    if (key === "escape") { event.preventDefault(); finish(); return; }
    if (running.mode !== "verdict") {
      if (running.step === "ask") { if (key === " " && !onControl) { event.preventDefault(); reveal(); } return; }
      if (digit >= 1 && digit <= 4) { event.preventDefault(); rate(digit); return; }
      if (letter >= 0) press(stage.querySelectorAll("input[name=point]")[letter]);
    } else if (running.step === "ask") {
      if (digit >= 1 && digit <= 7) press(stage.querySelectorAll("input[name=verdict]")[digit - 1]);
      else if (letter >= 0) press(stage.querySelectorAll("input[name=sure]")[letter]);
      else if (key === "enter" && !onControl) { event.preventDefault(); stage.querySelector("form").requestSubmit(); }
    } else if ((key === "enter" || key === " ") && !onControl) { event.preventDefault(); onward(); }
  });

  // ---- the beginning

  const start = () => {
    const linked = decodeURIComponent(location.hash.slice(1));
    const one = [...questions, ...claims].find((card) => card.id === linked);
    if (one) begin(one.says ? "verdict" : "minute", [one]); else home();
  };
  const refuse = (text, problem) => {
    say("");
    show(make("section", { className: "exam-card" }, make("h2", { tabIndex: -1 }, t("broken")), make("p", {}, `(${problem.message})`),
      make("p", {}, t("untouched")),
      make("p", { className: "actions" }, button(t("save"), () => download(text, "byhand-exam-old.txt")), " ",
        button(t("anew"), () => {
          try {
            localStorage.setItem(`${KEY}-old-${Date.now()}`, text);
            localStorage.removeItem(KEY);
            start();
          } catch {
            keeps = false;
            warn();
          }
        }, { className: "primary" }))));
  };
  place.replaceChildren(unkept, status, stage);
  let text = null;
  try {
    text = localStorage.getItem(KEY);
    localStorage.setItem(`${KEY}-try`, "1");  // known before the first answer, not after it
    localStorage.removeItem(`${KEY}-try`);
  } catch { keeps = false; }
  try {
    if (text !== null) state = read(text);
  } catch (problem) {
    refuse(text, problem);
    return;
  }
  start();
  // a card's own address, chosen within a round, does not end the round
  window.addEventListener("hashchange", () => { if (!running || running.cards.length === 1) start(); });
  // what another tab has stored is not overwritten by what this one knew before
  window.addEventListener("storage", (event) => {
    try { if (event.key === KEY && event.newValue) state = read(event.newValue); } catch { /* nothing that can be read */ }
  });
  warn();
})();
