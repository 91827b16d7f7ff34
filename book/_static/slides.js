// Slides by keyboard: arrows, Page Up and Down, Space, Home and End turn them, n shows the notes. What is too much for its
// slide is set smaller. Without this script the slides are a page to scroll.
(() => {
  "use strict";

  const slides = [...document.querySelectorAll(".slide")];
  const shown = () => Math.max(0, slides.findIndex((slide) => `#${slide.id}` === location.hash));

  const show = (number) => {
    const slide = slides[Math.min(slides.length - 1, Math.max(0, number))];
    history.replaceState(null, "", `#${slide.id}`);
    slide.scrollIntoView({ block: "center" });
    slide.focus({ preventScroll: true });
  };

  const fit = (content) => {
    for (let size = 1; size > 0.6 && (content.scrollHeight > content.clientHeight
      || content.scrollWidth > content.clientWidth); size -= 0.04) content.style.fontSize = `${size}em`;
  };

  const STEPS = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "n") document.body.classList.toggle("with-notes");
    else if (event.key === "Home") show(0);
    else if (event.key === "End") show(slides.length - 1);
    else if (event.key in STEPS && !(event.key === " " && event.target.matches("summary, a"))) {
      show(shown() + (event.shiftKey && event.key === " " ? -1 : STEPS[event.key]));
    } else return;
    if (event.key !== "n") event.preventDefault();
  });

  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) history.replaceState(null, "", `#${target.id}`);
    }
  }, { threshold: 0.6 });

  document.fonts.ready.then(() => {
    for (const content of document.querySelectorAll(".content")) fit(content);
    slides.forEach((slide) => seen.observe(slide));
    document.documentElement.dataset.fitted = "";
  });
})();
