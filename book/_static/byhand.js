// What the pages need beyond the theme: names for slider handles, and wide formulas that the keyboard can scroll.
(() => {
  "use strict";

  // The widget manager still speaks to MathJax 2 when it writes a label, and stumbles over MathJax 3. Labels hold no TeX.
  document.addEventListener("DOMContentLoaded", () => {
    if (window.MathJax && !window.MathJax.Hub) window.MathJax.Hub = { Queue() {} };
  });

  const set = (element, name, value) => {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  };

  // A slider's handle is a role=slider without a name, and its value is an index: say the label, and what is read out.
  const nameSliders = () => {
    for (const slider of document.querySelectorAll(".widget-slider")) {
      const label = slider.querySelector(".widget-label")?.textContent.trim() || "value";
      const readout = slider.querySelector(".widget-readout");
      for (const handle of slider.querySelectorAll('[role="slider"]')) {
        set(handle, "aria-label", label);
        if (readout) set(handle, "aria-valuetext", readout.textContent.trim());
      }
      if (readout) {
        // with no kernel the readout only shows the value: it is no text box
        set(readout, "contenteditable", "false");
        set(readout, "aria-hidden", "true");
      }
    }
    // "null" is what the manager writes where a widget has no tooltip
    for (const element of document.querySelectorAll('.jupyter-widgets [title="null"]')) element.removeAttribute("title");
  };

  // What scrolls sideways can be reached with the Tab key; what fits is no stop. (The theme does this for code.)
  const WIDE = ".bd-article :is(div.math, mjx-container, .text_html, .pst-scrollable-table-container, .byhand-check, .byhand-caught, .byhand-claim)";
  const KIND = [["div.math, mjx-container", "formula"], [".pst-scrollable-table-container, .byhand-check, .text_html", "table"]];
  const reachWide = () => {
    for (const element of document.querySelectorAll(WIDE)) {
      const scrolls = element.scrollWidth > element.clientWidth + 1 || element.matches('mjx-container[display="true"]');  // widths of formulas settle late: each displayed one is a stop
      if (scrolls && getComputedStyle(element).overflowX !== "visible") {
        const kind = (KIND.find(([selector]) => element.matches(selector)) || ["", "box"])[1];
        set(element, "tabindex", "0");
        set(element, "role", "group");
        set(element, "aria-label", `${kind}, scrolls sideways`);
      } else if (element.getAttribute("role") === "group") {
        for (const name of ["tabindex", "role", "aria-label"]) element.removeAttribute(name);
      }
    }
  };

  // Docutils gives the entries of a bibliography roles that ARIA has since taken back.
  const plainReferences = () => {
    for (const entry of document.querySelectorAll('.citation[role="doc-biblioentry"]')) set(entry, "role", "listitem");
  };

  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      nameSliders();
      reachWide();
    });
  };

  window.addEventListener("load", () => {
    plainReferences();
    soon();
    window.addEventListener("resize", soon);
    window.MathJax?.startup?.promise?.then(soon);
    document.fonts.addEventListener("loadingdone", soon);  // a formula may outgrow its line when its font arrives
    const article = document.querySelector(".bd-article") || document.body;
    new MutationObserver(soon).observe(article, { childList: true, subtree: true, characterData: true });
  });
})();
