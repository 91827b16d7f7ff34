"""One PDF of the whole book, printed from the built site by a browser.

    python book/_ext/pdf.py _build/html _build/book.pdf   # what `make pdf` calls

Every page is printed with the style sheet for paper; the files are joined with an
outline, and links between chapters lead to the place inside the file. Needs Chromium or
Chrome on the PATH.
"""

import functools
import http.server
import re
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from playwright.sync_api import sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, NameObject, TextStringObject
from register import SITE

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
INSIDE = "https://inside.invalid/"

# the ids of a page get the page's name in front, so that those of two pages differ when
# all are in one file; links to other pages of the book become links to such names, and
# those to its other files lead to the site
PREPARE = """([page, inside, pages, site]) => {
  const article = document.querySelector(".bd-article");
  article.querySelectorAll("a[href]").forEach((link) => {
    const target = new URL(link.getAttribute("href"), location);  // of SVG's links, too
    if (target.origin !== location.origin) return;
    const file = target.pathname.replace(/^\\//, "").replace(/\\.html$/, "");
    const id = target.hash.slice(1);
    if (file === page) link.setAttribute("href", `#${page}--${id}`);
    else if (pages.includes(file)) link.setAttribute("href", `${inside}${file}--${id}`);
    else link.setAttribute("href", site + target.pathname.slice(1) + target.hash);
  });
  article.querySelectorAll("[id]").forEach((e) => { e.id = `${page}--${e.id}`; });
  for (const part of article.querySelectorAll("svg *"))  // arrowheads, clippings
    for (const attribute of part.attributes)
      attribute.value = attribute.value.replaceAll("url(#", `url(#${page}--`);
  const first = article.querySelector("h1");
  if (first) first.insertAdjacentHTML("beforebegin", `<a id="${page}--"></a>`);
  document.documentElement.dataset.theme = "light";
  for (const image of document.images) image.loading = "eager";
  document.querySelectorAll(".frame[hidden]").forEach((frame) => frame.remove());
  return document.querySelector("h1").innerText.replace(/[#\\s]+$/, "");
}"""

# the style sheet for paper prints the page number
FOOTER = '<div style="font-size:8px;padding:0 15mm;color:#555">{}</div>'


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def pages():
    """The pages in reading order, as the site names them."""
    text = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    return re.findall(r"^[ -]*(?:file|root): *book/(\S+)", text, re.MULTILINE)


def printed(site, folder, chosen):
    """Print the chosen pages of the site into the folder; yields page, title, file."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"expected one of {', '.join(BROWSERS)} on the PATH")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser,
                                              args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1000, "height": 1400})
        for name in chosen:
            page.goto(f"http://127.0.0.1:{server.server_port}/{name}.html")
            title = page.evaluate(PREPARE, [name, INSIDE, pages(), SITE])
            page.wait_for_function(
                "() => [...document.images].every((image) => image.complete "
                "|| !image.checkVisibility())")
            page.evaluate("() => document.fonts.ready.then(() => 1)")
            path = folder / f"{name.replace('/', '--')}.pdf"
            page.pdf(path=path, outline=True, tagged=True, prefer_css_page_size=True,
                     display_header_footer=True, header_template="<span></span>",
                     footer_template=FOOTER.format(title))
            yield name, title, path
        chromium.close()
    server.shutdown()
    server.server_close()


def join(parts, target):
    """Join the printed files; returns (pages, links between chapters, those without a
    chapter). A link to a place that has no name in the file leads to its chapter.
    """
    writer, first, names = PdfWriter(), {}, set()
    for name, title, path in parts:
        first[name] = len(writer.pages)
        names |= set(PdfReader(path).named_destinations)
        writer.append(str(path), outline_item=title, import_outline=True)
    inside, dead = 0, []
    for page in writer.pages:
        for annotation in page.get("/Annots", []):
            link = annotation.get_object()
            action = link.get("/A")
            address = str(action.get_object().get("/URI", "")) if action else ""
            if not address.startswith(INSIDE):
                continue
            name, inside = address.removeprefix(INSIDE), inside + 1
            del link["/A"]
            chapter = name.split("--")[0]
            if name in names:
                link[NameObject("/Dest")] = NameObject(f"/{name}")
            elif chapter in first:
                start = writer.pages[first[chapter]].indirect_reference
                link[NameObject("/Dest")] = ArrayObject([start, NameObject("/Fit")])
            else:
                dead.append(name)
    writer.add_metadata({"/Title": TextStringObject("Deep Learning by Hand"),
                         "/Author": "The authors of Deep Learning by Hand"})
    writer.write(target)
    return len(writer.pages), inside, dead


def main(site, target, *chosen):
    with tempfile.TemporaryDirectory() as folder:
        parts = list(printed(Path(site), Path(folder), chosen or pages()))
        count, inside, dead = join(parts, target)
    print(f"{target}: {count} pages, {inside} links between chapters, "
          f"{len(dead)} of them dead {sorted(set(dead))[:5]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
