"""Weight, speed and shape of built pages, in Chromium slowed down four times.

    python benchmarks/site.py _build/html book/losses book/optimizers

Medians of five cold visits, 1440 × 900, everything served gzipped. First formulas: when
those of the first two screens are typeset; all formulas likewise; slider: when the
first one answers a key. Long tasks: their time beyond 50 ms each. Heights in px; code
and output lines that are cut off at the right.
"""

import functools
import gzip
import http.server
import shutil
import statistics
import sys
import threading
from pathlib import Path

from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

WATCH = """() => {
  window.seen = {long: 0};
  new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
    window.seen.long += Math.max(0, entry.duration - 50);
  })).observe({type: "longtask", buffered: true});
  const typeset = (m) => m.querySelector(".katex, mjx-container:not(:has(mjx-lazy))");
  const look = () => {
    const maths = [...document.querySelectorAll(".bd-article .math")];
    const done = document.readyState !== "loading";
    const near = maths.filter((m) => m.getBoundingClientRect().top < 1800);
    const now = performance.now();
    const below = done || document.documentElement?.scrollHeight > 1800;
    if (below && !window.seen.first && near.every(typeset)) window.seen.first = now;
    if (done && !window.seen.all && maths.every(typeset)) window.seen.all = now;
    const slider = document.querySelector(
      ".byhand-explore input[type=range], .noUi-handle");
    if (!window.seen.slider && slider) window.seen.slider = now;
    if (!done || !window.seen.all) setTimeout(look, 30);
  };
  look();
}"""

SHAPE = """() => {
  const article = document.querySelector(".bd-article");
  const sum = (selector) => [...article.querySelectorAll(selector)]
    .reduce((total, e) => total + e.getBoundingClientRect().height, 0);
  let cut = 0, lines = 0;
  for (const pre of article.querySelectorAll(".highlight pre")) {
    const wide = pre.scrollWidth > pre.clientWidth + 1;
    const room = pre.clientWidth / 8.07;
    for (const line of pre.textContent.split("\\n")) {
      lines += 1;
      if (wide && line.length > room) cut += 1;
    }
  }
  const style = document.createElement("style");
  style.textContent = "div.cell{content-visibility:visible!important}";
  document.head.append(style);
  return {height: Math.round(article.getBoundingClientRect().height),
          code: Math.round(sum("div.cell_input")), prose: Math.round(sum(
            "section > p, section > ul, section > ol, section > dl")),
          lines, cut, dom: document.querySelectorAll("*").length};
}"""


class Gzipped(http.server.SimpleHTTPRequestHandler):
    sent = 0

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = Path(self.translate_path(self.path.split("?")[0]))
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        if path.suffix in (".html", ".js", ".css", ".svg", ".json"):
            data = gzip.compress(data)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        type(self).sent += len(data)
        self.wfile.write(data)


def visit(browser, address):
    """One cold visit: {quantity: number}."""
    Gzipped.sent, requests = 0, []
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.on("request", lambda request: requests.append(request.url))
    session = context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    page.add_init_script(f"({WATCH})()")
    page.goto(address, wait_until="load")
    page.wait_for_function("() => window.seen.all", timeout=120_000)
    page.wait_for_load_state("networkidle")
    seen = page.evaluate("() => window.seen")
    found = {"first formulas, ms": seen["first"], "all formulas, ms": seen["all"],
             "slider, ms": seen.get("slider", 0), "long tasks, ms": seen["long"],
             "gzip, kB": Gzipped.sent / 1000, "requests": len(requests)}
    session.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    found |= page.evaluate(SHAPE)
    context.close()
    return found


def main(site, *pages):
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Gzipped, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser,
                                              args=["--no-sandbox", "--disable-gpu"])
        for page in pages:
            address = f"http://127.0.0.1:{server.server_port}/{page}.html"
            visits = [visit(chromium, address) for _ in range(5)]
            medians = {name: statistics.median(one[name] for one in visits)
                       for name in visits[0]}
            print(page, *(f"{name} {value:,.0f}" for name, value in medians.items()),
                  sep=" · ")
        chromium.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
