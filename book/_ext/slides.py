"""Slides of a lecture: slides/losses.html has what the cells tagged `slide` show.

A heading begins a slide, and so does a figure. Formulas, lists, tables, figures and
short paragraphs stand on it; long paragraphs are the notes of whoever speaks. What is
more than a slide holds goes on with the next one. Cells that judge a claim ask first.
"""

import json
from html import escape
from pathlib import Path

from register import article, label, moved, words
from sheets import PAGE, UP, equation, has_class, heading, lectures

BEGIN, END = "begin slide", "end slide"
SHORT = 45  # words of a paragraph that is read on a slide
ROOM = 11  # lines on a slide


def mark(app, docname, source):
    """Tags of Markdown cells do not reach the page: comments take their place."""
    if not app.env.doc2path(docname).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    tagged = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"
              and "slide" in cell["metadata"].get("tags", [])]
    for cell in tagged:
        text = "".join(cell["source"])
        cell["source"] = f"<!-- {BEGIN} -->\n\n{text}\n\n<!-- {END} -->"
    if tagged:
        source[0] = json.dumps(notebook)  # the stored outputs go with it


# ---- what a page has for the slides


def flat(node):
    """The children of nested sections in the order of the page."""
    for child in node:
        if child.tag == "section":
            yield from flat(child)
        else:
            yield child


def tagged(root):
    """The headings, and what the tagged cells hold: (node, is it tagged?)."""
    inside = False
    for node in flat(root):
        if not isinstance(node.tag, str):
            inside = {BEGIN: True, END: False}.get((node.text or "").strip(), inside)
        elif node.tag in ("h1", "h2", "h3"):
            yield node, inside
        elif "tag_slide" in node.get("class", "").split():
            yield node, True
        elif inside and node.tag not in ("pre", "script"):
            yield node, True


def is_formula(node):
    return bool(node.xpath(f'self::div[{has_class("math")}]'))


def lines(node):
    """About how many lines of a slide a node takes."""
    if is_formula(node):
        tex = node.xpath('string(.//*[local-name() = "annotation"])')
        return 2.2 + 1.4 * tex.count(r"\\") + (len(tex) > 160)
    rows = node.xpath(".//tr | .//li | .//dt | .//dd")
    return max(len(words(node)) / 75 + 0.4, 1.1 * len(rows)) + 0.4


def picture(cell, page):
    """The figure of a cell, or the shown frame of its slider, in its light form."""
    found = cell.xpath(f'.//figure | .//div[{has_class("byhand-explore")}]')
    if not found:
        return ""
    image = found[0].xpath('.//img[not(ancestor::*[@hidden])]'
                           '[not(contains(@class, "only-dark"))]')[0]
    image.attrib.pop("loading", None)
    caption = found[0].xpath(f'.//span[{has_class("caption-text")}]'
                             f' | ./p[{has_class("caption")}]')
    return (f'<figure>{moved(image, page, up=UP)}<figcaption>'
            f'{words(caption[0]) if caption else ""}</figcaption></figure>')


def asked(cell, known):
    """The claim that a cell judges, as a question whose answer is folded."""
    found = cell.xpath(f'.//div[{has_class("byhand-claim")}]/@id')
    if not found:
        return ""
    claim = known[found[0].removeprefix("claim-")]
    place = UP + claim["url"].partition("/book/")[2]
    return (f'<blockquote>{escape(claim["says"])}</blockquote><details><summary>Holds, '
            f'or not?</summary><p><a href="{place}">{label(claim["verdict"])}</a>. '
            f'{escape(claim.get("correct", ""))}</p></details>')


def output(cell, page):
    """What a cell printed."""
    return "".join(moved(part, page, up=UP) for part in cell.xpath(
        f'.//div[{has_class("cell_output")}]'))


class Deck:
    """The slides of one page, one after the other."""

    def __init__(self, page):
        self.page, self.slides, self.title, self.room = page, [], "", 0

    def begin(self, title=None):
        again = title is None and self.slides and self.slides[-1]["title"] == self.title
        self.title = title or self.title
        self.slides.append({"title": self.title, "again": bool(again), "parts": [],
                            "notes": []})
        self.room = ROOM

    def add(self, html, height):
        if not self.slides or (height > self.room and self.slides[-1]["parts"]) or (
                self.slides[-1]["title"] != self.title):
            self.begin()
        self.slides[-1]["parts"].append(html)
        self.room -= height

    def whole(self, html):
        """A slide of its own."""
        self.begin()
        self.slides[-1]["parts"].append(html)
        self.room = 0

    def note(self, html):
        if not self.slides or self.slides[-1]["title"] != self.title:
            self.begin()
        self.slides[-1]["notes"].append(html)


def deck(name, root, known):
    """The slides of a lecture's tagged cells."""
    page = f"{name}.html"
    made = Deck(page)
    for node, inside in tagged(root):
        if node.tag in ("h1", "h2", "h3"):
            made.title = words(node).removesuffix("#").strip()
        elif "cell" in node.get("class", "").split():
            made.whole(picture(node, page) or asked(node, known) or output(node, page))
        elif node.tag == "p" and len(words(node).split()) > SHORT:
            made.note(moved(node, page, up=UP))
        elif is_formula(node):
            made.add(equation(page, node), lines(node))
        elif inside and "eq-code" not in node.get("class", ""):
            made.add(moved(node, page, up=UP), lines(node))
    return [slide for slide in made.slides if slide["parts"]]


def opening(root, page):
    """The title, the picture that leads the lecture, what will be asked."""
    first = moved(root.find(".//h1/following-sibling::p"), page, up=UP)
    made = Deck(page)
    made.title = heading(root)
    made.whole(first)
    for cell in root.xpath(f'.//div[{has_class("tag_lead")}]'):
        made.whole(picture(cell, page))
    made.title = "You will be asked"
    for item in root.xpath('(.//p[starts-with(., "You will be asked")]'
                           "/following-sibling::ul)[1]/li//a"):
        made.add(f"<p>{moved(item, page, up=UP)}</p>", max(1, len(words(item)) / 70))
    return made.slides


def one_slide(number, slide, name):
    notes = f'<aside class="notes">{"".join(slide["notes"])}</aside>'
    more = ' <small>(continued)</small>' if slide["again"] else ""
    return (f'<section class="slide" id="{number}" tabindex="-1" '
            f'aria-labelledby="title-{number}">'
            f'<h2 id="title-{number}">{escape(slide["title"])}{more}</h2>'
            f'<div class="content">{"".join(slide["parts"])}</div>'
            f'<footer>{escape(name)} · {number}</footer>'
            + (notes if slide["notes"] else "") + "</section>")


def page_of_slides(name, root, known):
    made = opening(root, f"{name}.html") + deck(name, root, known)
    title = heading(root)
    slides = "".join(one_slide(number, slide, title)
                     for number, slide in enumerate(made, 1))
    return PAGE.format(title=escape(title), kind="slides", style="slides",
                       body=f'<main><h1 class="away">{escape(title)}</h1>'
                            f"{slides}</main>"
                            f'<p class="help"><a href="{UP}{name}.html">Lecture</a> · '
                            "→ and ← turn the page, n shows the notes</p>"
                            '<script src="../_static/slides.js"></script>')


def write(out, names):
    """Write slides/<name>.html for each lecture of the site."""
    register = json.loads((out / "claims.json").read_text(encoding="utf-8"))
    known = {claim["id"]: claim for claim in register}
    (out / "slides").mkdir(exist_ok=True)
    for name in names:
        text = page_of_slides(name, article(out / f"{name}.html"), known)
        (out / "slides" / f"{name}.html").write_text(text, encoding="utf-8")


def finish(app, exception):
    if not exception and app.builder.format == "html":
        write(Path(app.outdir), lectures(app.env))


def setup(app):
    app.connect("source-read", mark)
    app.connect("build-finished", finish, priority=921)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
