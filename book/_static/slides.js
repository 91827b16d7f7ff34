// Slides by keyboard: arrows, Page Up and Down, Space, Home and End turn them; the next key first opens an answer that is
// folded. n shows the notes, d makes it dark or light. Without this script the slides are a page to scroll, and light.
(() => {
  "use strict";

  // dark or light, as the reader chose for the site, else as the system
  const root = document.documentElement;
  let chosen = null;
  try { chosen = window.localStorage.getItem("mode"); } catch { /* blocked */ }
  const system = () => (window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = chosen === "dark" || chosen === "light" ? chosen : system();

  // paper is light, and has all answers
  let before = "light";
  window.addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
  });
  window.addEventListener("afterprint", () => { root.dataset.theme = before; });

  document.addEventListener("DOMContentLoaded", () => {
    const slides = [...document.querySelectorAll(".slide")];
    const status = document.querySelector("[role=status]");
    const place = () => Math.max(0, slides.findIndex((slide) => `#${slide.id}` === window.location.hash));

    const say = (number) => {
      window.history.replaceState(null, "", `#${slides[number].id}`);
      status.textContent = `Slide ${number + 1} of ${slides.length}`;
    };

    const show = (number) => {
      const wanted = Math.min(slides.length - 1, Math.max(0, number));
      slides[wanted].scrollIntoView({ block: "start" });
      slides[wanted].focus({ preventScroll: true });
      say(wanted);
    };

    const forward = () => {
      const answer = slides[place()].querySelector(".answer:not([open])");
      if (answer) answer.open = true;
      else show(place() + 1);
    };

    const notes = () => {
      const all = [...document.querySelectorAll(".notes")];
      const open = !all.some((one) => one.open);
      for (const one of all) one.open = open;
    };

    const KEYS = {
      ArrowRight: forward, ArrowDown: forward, PageDown: forward, " ": forward,
      ArrowLeft: () => show(place() - 1), ArrowUp: () => show(place() - 1), PageUp: () => show(place() - 1),
      Home: () => show(0), End: () => show(slides.length - 1),
      n: notes, d: () => { root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark"; },
    };
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || !(event.key in KEYS)) return;
      if (event.target.closest(".notes div")) return;  // they scroll
      if (event.key === " " && event.target.closest("summary, a")) return;
      event.preventDefault();
      if (event.key === " " && event.shiftKey) show(place() - 1);
      else KEYS[event.key]();
    });

    // what scrolls sideways on a telephone, the keyboard can scroll
    const reach = () => {
      // all is looked at before anything is changed: else each look would lay the slides out again
      const parts = [...document.querySelectorAll(".content > *, .code pre")].map((part) => [part, part.scrollWidth > part.clientWidth]);
      for (const [part, wide] of parts) {
        if (wide) part.tabIndex = 0;
        else part.removeAttribute("tabindex");
      }
    };
    window.addEventListener("resize", reach);
    document.fonts.ready.then(() => {
      reach();
      root.dataset.reached = "";
    });

    // who scrolls is somewhere, too: at the first slide of which more than an edge can be seen
    const seen = new IntersectionObserver(() => {
      const edge = window.innerHeight / 10;
      const number = slides.findIndex((slide) => slide.getBoundingClientRect().bottom > edge);
      if (number >= 0 && number !== place()) say(number);
    }, { threshold: [0.1, 0.5, 0.9] });
    for (const slide of slides) seen.observe(slide);
  });
})();
