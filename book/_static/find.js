// The search (MiniSearch over sections), and the filters of the lists. No network: what it reads lies beside it, and
// is fetched as a script when somebody searches, so that it works from a folder, too.
(() => {
  "use strict";

  const root = document.documentElement.dataset.content_root || "./";

  // ---- words

  const HANGUL = /^[가-힣]+$/;
  const STOP = new Set(("a an and are as at be by can do does for from how i in is it its me my of on or say should tell that "
    + "the this to use used we what when where which who why with you your about explain "
    + "왜 무엇 무엇인가 무엇인가요 뭐 뭔가요 뭐예요 어떤 어떻게 언제 있나요 하나요 인가요 쓰나요 설명 설명해 주세요 대해 그리고").split(" "));
  const PARTICLE = /(이란|란|은|는|이|가|을|를|의|에|와|과|로|으로|도|만|에서|인가요|인가|나요|하는가)$/;

  const plain = (word) => word.replace(/isation/g, "ization").replace(/is(e|ed|es|ing|er|ers)$/, "iz$1").replace(/our$/, "or");
  // Hangul as pairs of syllables: nobody agrees on where the spaces go
  const pairs = (word) => {
    if (word.length < 2) return [word];
    return [...Array(word.length - 1).keys()].map((i) => word.slice(i, i + 2));
  };
  const stem = (word) => (word.length > 4 ? word.replace(/(ies)$/, "y").replace(/([^s])s$/, "$1") : word);
  const split = (text) => text.toLowerCase().normalize("NFC").split(/[^\p{Letter}\p{Number}]+/u)
    .flatMap((word) => word.split(/([가-힣]+)/)).filter(Boolean);
  const terms = (text) => split(text).flatMap((word) => {
    if (STOP.has(word)) return [];
    if (HANGUL.test(word)) {
      const bare = word.length > 2 ? word.replace(PARTICLE, "") || word : word;
      return STOP.has(bare) ? [] : pairs(bare);
    }
    return [stem(plain(word))];
  });

  const expanded = (query, aliases) => {
    const said = split(query).join(" "), closed = said.replaceAll(" ", "");
    const added = Object.entries(aliases).filter(([from]) => {
      const words = split(from).join(" ");
      return HANGUL.test(words[0]) ? closed.includes(words.replaceAll(" ", "")) && words.length > 1
        : ` ${said} `.includes(` ${words} `);
    });
    return [query, ...added.map(([, to]) => to)].join(" ");
  };

  // ---- the index

  const script = (name) => new Promise((done, failed) => {
    const element = document.createElement("script");
    element.src = root + name;
    element.onload = done;
    element.onerror = () => failed(new Error(`${name} does not load`));
    document.head.append(element);
  });

  let engine;
  const build = async () => {
    await Promise.all([script("minisearch/index.js"), script("_static/sections.js")]);
    const { sections, aliases } = window.BYHAND_SEARCH;
    const index = new MiniSearch({
      idField: "u", fields: ["t", "k", "x", "p"], storeFields: ["t", "k", "p", "q", "x"],
      tokenize: terms, processTerm: (term) => term,
    });
    index.addAll(sections);
    return (query) => index.search(expanded(query, aliases), {
      boost: { t: 4, k: 4, p: 1.5 }, boostDocument: (id, term, kept) => (kept.q ? 2.2 : 1),
      prefix: (term) => term.length > 3 && !HANGUL.test(term),
      fuzzy: (term) => (term.length > 4 && !HANGUL.test(term) ? 0.2 : false),
    }).slice(0, 12);
  };
  const search = async (query) => {
    try {
      return (await (engine ??= build()))(query);
    } catch (problem) {
      engine = undefined;  // when the network is back, the next letter tries again
      throw problem;
    }
  };
  window.byhandSearch = search;

  // ---- what is found

  const snippet = (text, query) => {
    const found = split(query).map((word) => text.toLowerCase().indexOf(word)).filter((i) => i >= 0);
    const from = Math.max(0, (found.length ? Math.min(...found) : 0) - 40);
    return (from ? "…" : "") + text.slice(from, from + 150).trim() + (text.length > from + 150 ? "…" : "");
  };

  const row = (hit, query) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = root + hit.id;
    const title = document.createElement("strong");
    title.textContent = hit.t;
    link.append(title);
    if (hit.k) {
      const korean = document.createElement("span");
      korean.lang = "ko";
      korean.textContent = hit.k;
      link.append(" ", korean);
    }
    const where = document.createElement("small");
    where.textContent = `${hit.p}. ${snippet(hit.x, query)}`;
    link.append(where);
    item.append(link);
    return item;
  };

  const list = (hits, query) => {
    const found = document.createElement("ol");
    found.className = "byhand-hits";
    found.append(...hits.map((hit) => row(hit, query)));
    return found;
  };

  const said = (count) => (count ? `${count === 12 ? "The best 12" : count} found` : "Nothing found. Try other words, or one word less.");

  const attach = (form) => {
    const input = form.querySelector("input[name=q]");
    const panel = document.querySelector("#search-results") && form.closest(".bd-search-container")
      ? document.querySelector("#search-results") : document.createElement("div");
    if (!panel.id) form.after(panel);
    form.parentElement.setAttribute("role", "search");
    form.parentElement.setAttribute("aria-label", "the book");
    panel.classList.add("byhand-results");
    const status = document.createElement("p");
    status.setAttribute("role", "status");
    panel.append(status);
    let shown, turn = 0;
    const show = async () => {
      const query = input.value.trim(), mine = ++turn;
      let hits = [];
      try {
        if (query) hits = await search(query);
      } catch (problem) {
        status.textContent = `The search does not work now: ${problem.message}. The next letter tries again.`;
        return;
      }
      if (mine !== turn) return;
      shown?.remove();
      status.textContent = query ? said(hits.length) : "";
      shown = query && hits.length ? list(hits, query) : undefined;
      if (shown) panel.append(shown);
      panel.dataset.query = query;
    };
    let wait;
    input.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(show, 80); });
    input.addEventListener("focus", () => { search("").catch(() => {}); });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      await show();
      shown?.querySelector("a")?.focus();
    });
    // arrows go through the hits, as in any list of suggestions
    const box = form.parentElement;
    box.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step || !shown) return;
      const stops = [input, ...shown.querySelectorAll("a")];
      const next = stops[stops.indexOf(document.activeElement) + step];
      if (next) { event.preventDefault(); next.focus(); }
    });
    const asked = new URLSearchParams(location.search).get("q");
    if (asked && form.closest(".bd-search-container")) { input.value = asked; show(); }
  };

  // ---- lists: filters and their count

  const filter = (box) => {
    const form = box.querySelector(".byhand-filter"), count = form.querySelector("output");
    const entries = [...box.querySelectorAll(".entry")];
    const apply = () => {
      const words = split(form.text.value), verdict = form.verdict.value, measured = form.measured.checked;
      let left = 0;
      for (const entry of entries) {
        entry.hidden = !(words.every((word) => entry.dataset.text.includes(word))
          && (!verdict || entry.dataset.verdict.split(" ").includes(verdict))
          && (!measured || entry.dataset.measured === "1"));
        left += !entry.hidden;
      }
      for (const section of box.querySelectorAll("section")) section.hidden = !section.querySelector(".entry:not([hidden])");
      count.textContent = `${left} of ${entries.length} ${box.dataset.noun}`;
    };
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  };

  const start = () => {
    document.querySelectorAll("form.bd-search").forEach(attach);
    document.querySelectorAll(".byhand-list").forEach(filter);
    // a question that was linked to is open
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target?.matches("details.entry")) target.open = true;
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
