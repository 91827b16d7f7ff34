// What the pages need beyond the theme: sliders, names for folds, and the keyboard for what scrolls sideways.
(() => {
  "use strict";

  const set = (element, name, value) => {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  };

  // A slider is a range element over pictures that are already on the page. The listeners sit on the document, so a slider
  // is alive as soon as it is parsed.
  const slider = (event) => event.target.closest?.(".byhand-explore input[type=range]");

  document.addEventListener("input", (event) => {
    const input = slider(event);
    if (!input) return;
    const explore = input.closest(".byhand-explore");
    const text = JSON.parse(explore.dataset.labels)[input.value];
    const frames = explore.querySelectorAll(".frame");
    frames.forEach((frame, i) => { frame.hidden = i !== Number(input.value); });
    explore.querySelector("output").value = text;
    set(input, "aria-valuetext", text);
    explore.querySelector("[aria-live]").textContent = frames[input.value].querySelector("img").alt;
  });

  // Whoever reaches for a slider gets all its pictures, so that none appears late.
  const fetchFrames = (event) => {
    const input = slider(event);
    if (!input) return;
    input.closest(".byhand-explore").querySelectorAll("img[loading=lazy]").forEach((image) => {
      const dark = document.documentElement.dataset.theme === "dark";
      if (!image.classList.contains(dark ? "only-light" : "only-dark")) image.loading = "eager";
    });
  };
  for (const name of ["focusin", "pointerover", "pointerdown"]) document.addEventListener(name, fetchFrames);

  // The language: what a link asks for (?lang=ko), else what was chosen before, else both.
  const LANGUAGES = ["both", "en", "ko"], LANGUAGE = "byhand-language";
  const wanted = () => {
    const asked = new URLSearchParams(location.search).get("lang");
    if (LANGUAGES.includes(asked)) return asked;
    try { return LANGUAGES.find((name) => name === localStorage.getItem(LANGUAGE)) ?? "both"; } catch { return "both"; }
  };
  const speak = (name) => {
    document.documentElement.dataset.language = name;
    document.querySelectorAll("select.byhand-language").forEach((select) => { select.value = name; });
    try { localStorage.setItem(LANGUAGE, name); } catch { /* then it is asked for again */ }
  };
  speak(wanted());
  document.addEventListener("change", (event) => {
    if (event.target.matches?.("select.byhand-language")) speak(event.target.value);
  });
  document.addEventListener("DOMContentLoaded", () => { speak(document.documentElement.dataset.language); });

  // What scrolls sideways can be reached with the Tab key; what fits is no stop. (The theme does this for code.)
  const KIND = {
    formula: ".bd-article :is(.katex-display, span.math)",
    table: ".bd-article :is(.pst-scrollable-table-container, .byhand-check, .text_html)",
    box: ".bd-article :is(.byhand-caught, .byhand-claim)",
  };
  const scrolls = (element) => element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).overflowX !== "visible";
  const reach = (element, kind, wide) => {
    if (wide) {
      set(element, "tabindex", "0");
      set(element, "role", "group");
      set(element, "aria-label", `${kind}, scrolls sideways`);
    } else if (element.getAttribute("role") === "group") {
      for (const name of ["tabindex", "role", "aria-label"]) element.removeAttribute(name);
    }
  };
  const idle = window.requestIdleCallback || ((run) => setTimeout(() => run({ timeRemaining: () => 5 }), 1));
  let round = 0;
  const reachWide = () => {
    const mine = ++round;  // a later call replaces an earlier one that is still at work
    document.documentElement.dataset.reach = String(mine);  // at rest when it equals data-reached
    const todo = Object.entries(KIND).flatMap(([kind, where]) => [...document.querySelectorAll(where)].map((e) => [e, kind]));
    const seen = [];  // all is looked at before anything is changed: else each look would lay the page out again
    const work = (deadline) => {
      while (mine === round && todo.length) {
        const [element, kind] = todo.pop();
        seen.push([element, kind, scrolls(element)]);
        if (deadline.timeRemaining() < 2) return idle(work);
      }
      if (mine === round) seen.forEach((one) => reach(...one));
      document.documentElement.dataset.reached = String(mine);
    };
    idle(work);
  };

  // The theme's folds have no name, and its theme button tells no state.
  const nameThings = () => {
    for (const summary of document.querySelectorAll(".bd-links summary")) {
      const chapter = summary.closest("li").querySelector("a")?.textContent.trim();
      set(summary, "aria-label", `pages under ${chapter}`);
    }
    const sidebar = document.querySelector(".bd-sidebar-primary");
    if (sidebar) {
      set(sidebar, "role", "navigation");
      set(sidebar, "aria-label", "the book");
    }
    for (const button of document.querySelectorAll(".theme-switch-button")) {
      set(button, "aria-label", `colours: ${document.documentElement.dataset.mode || "auto"}`);
    }
    // Docutils gives the entries of a bibliography roles that ARIA has since taken back.
    for (const entry of document.querySelectorAll('.citation[role="doc-biblioentry"]')) set(entry, "role", "listitem");
  };

  // An issue says which page it is about, and which claim, if the reader came to one.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href*="/issues/new"]');
    if (!link) return;
    const page = document.querySelector('link[rel="canonical"]').href.split("/book/").pop();
    const claim = location.hash.startsWith("#claim-") ? location.hash.slice(7) : "";
    const address = new URL(link.href);
    address.searchParams.set("title", `${page}${claim ? `: claim ${claim}` : ""}: `);
    address.searchParams.set("body", `Page: ${location.href}\n\nWhat is wrong, and how you know:\n`);
    link.href = address;
  }, true);

  // On a phone code is folded at first: a page is read there, not run.
  const foldCode = () => {
    if (!window.matchMedia("(max-width: 576px)").matches) return;
    for (const input of document.querySelectorAll(".bd-article div.cell > .cell_input")) {
      const fold = document.createElement("details");
      fold.className = "byhand-code";
      fold.innerHTML = "<summary>Code</summary>";
      input.before(fold);
      fold.append(input);
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    nameThings();
    foldCode();
  });
  window.addEventListener("load", () => {
    nameThings();
    reachWide();
    window.addEventListener("resize", reachWide);
    document.addEventListener("toggle", reachWide, true);
    document.fonts.addEventListener("loadingdone", reachWide);  // a formula may outgrow its line when its font arrives
    new MutationObserver(nameThings).observe(document.documentElement, { attributeFilter: ["data-mode"] });
  });

  // Paper shows what is folded as little as it can: checks stay closed, and a dark page prints light.
  let theme;
  window.addEventListener("beforeprint", () => {
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    document.querySelectorAll("img[loading=lazy]").forEach((image) => { image.loading = "eager"; });
  });
  window.addEventListener("afterprint", () => { if (theme) document.documentElement.dataset.theme = theme; });
})();
