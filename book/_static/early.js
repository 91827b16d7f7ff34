// Before all other scripts: the page knows that scripts run, and a storage that refuses (blocked, or full) stops nothing.
(() => {
  "use strict";

  document.documentElement.dataset.scripts = "run";  // byhand.css hides what is dead without them

  // What the theme wants to keep is then kept for as long as the page is open. What the book itself keeps, under keys that
  // begin with "byhand", is refused aloud: only so can the exam say that your progress is not safe.
  const spare = new Map();
  const ours = (key) => String(key).startsWith("byhand");
  let storage = null;
  try { storage = window.localStorage; } catch { /* blocked */ }

  if (storage) {
    const { getItem, setItem } = Storage.prototype;
    Storage.prototype.setItem = function set(key, value) {
      try {
        setItem.call(this, key, value);
        spare.delete(key);
      } catch (problem) {
        if (ours(key)) throw problem;
        spare.set(key, String(value));
      }
    };
    Storage.prototype.getItem = function get(key) { return spare.has(key) ? spare.get(key) : getItem.call(this, key); };
    return;
  }
  Object.defineProperty(window, "localStorage", {
    value: {
      getItem: (key) => spare.get(key) ?? null,
      setItem: (key, value) => {
        if (ours(key)) throw new Error("the storage of this browser is blocked");
        spare.set(key, String(value));
      },
      removeItem: (key) => { spare.delete(key); },
    },
  });
})();
