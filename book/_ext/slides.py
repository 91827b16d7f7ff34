"""Slides of a lecture: slides/losses.html shows what the cells tagged `slide` hold, as
losses.html has it. Nothing is typed twice, and a change of the lecture changes them.

Under its heading stand formulas, lists, tables, short paragraphs, and of a long one the
sentence that begins it; the whole of it is in the notes. A figure has a slide of its
own, so have code and its output, and a cell that judges a claim asks before it answers.
What is more than a slide holds goes on with the next one.
"""

import collections
import copy
import json
import math
import re
from html import escape
from pathlib import Path

from lxml import html as lxml_html
from register import SITE, article, label, moved, what_is_true, words
from sheets import PAGE, UP, equation, has_class, heading, lectures

BEGIN, END = "begin slide", "end slide"
SHORT = 30   # words of a paragraph that stands on a slide as it is
ROOM = 14    # lines on a slide, each of about WIDE letters
WIDE = 80
LINE = 36.4  # pixels of a line, of the 720 that a slide is high
TYPE = 1800  # over the columns of code: the size of its type in pixels
BROAD = 75   # letters of a formula that is set smaller

# What stands on a slide and is not divided: its HTML, its height in lines, what the
# notes say of it, whether it has a slide for itself, its place in the lecture if not
# its section, and whether it goes on with what stands before it or after it.
Item = collections.namedtuple("Item", "html height note alone place after before",
                              defaults=("", False, "", False, False))


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


def classes(node):
    return (node.get("class") or "").split()


def flat(node):
    """The children of nested sections in the order of the page."""
    for child in node:
        if child.tag == "section":
            yield from flat(child)
        else:
            yield child


def tagged(root):
    """The headings, and what the tagged cells hold."""
    inside = False
    for node in flat(root):
        if not isinstance(node.tag, str):  # a comment
            inside = {BEGIN: True, END: False}.get((node.text or "").strip(), inside)
        elif node.tag in ("h1", "h2", "h3") or "tag_slide" in classes(node):
            yield node
        elif inside and node.tag not in ("pre", "script") and not (
                {"cell", "eq-code"} & set(classes(node))):
            yield node


def letters(node):
    """The text as one sees it: KaTeX has each formula a second time, for those who
    do not see.
    """
    return "".join(node.xpath(f'.//text()[not(ancestor::*[{has_class("katex-mathml")}'
                              "])]"))


def is_formula(node):
    return "math" in classes(node)


def lines(node):
    """About how many lines of a slide a node takes."""
    if is_formula(node):
        return formula_lines(node)
    rows = node.xpath(".//tr | .//li | .//dt | .//dd") or [node]
    return sum(math.ceil(len(letters(row)) / WIDE) + tall(row)
               + (0.1 if row.tag == "tr" else 0.4) for row in rows)


def formula_lines(node):
    """KaTeX writes how high it set a formula; what is wide is broken into rows."""
    heights = [float(height) for height in re.findall(
        r'class="strut" style="height:([\d.]+)em', lxml_html.tostring(
            node, encoding="unicode"))]
    rows = math.ceil(len(letters(node)) / 110)
    return max(heights, default=1.0) * rows + 0.8


def tall(node):
    """What fractions and sums within a text add to its lines."""
    return 0.3 * len(node.xpath(f'.//*[{has_class("mfrac")} or {has_class("op-limits")}'
                                "]"))


def formula_item(node, page):
    shown = equation(page, node)
    if len(letters(node)) > BROAD:
        shown = shown.replace('class="eq"', 'class="eq broad"', 1)
    return Item(shown, lines(node))


# ---- text


def sentences(paragraph):
    """The sentences of a paragraph, each a paragraph of its own."""
    found = [lxml_html.Element("p")]

    def add(text):
        first, *rest = re.split(r"(?<=[\w)][.?!])\s+(?=[A-Z])", text or "")
        last = found[-1]
        if len(last):
            last[-1].tail = (last[-1].tail or "") + first
        else:
            last.text = (last.text or "") + first
        for sentence in rest:
            found.append(lxml_html.Element("p"))
            found[-1].text = sentence

    add(paragraph.text)
    for child in paragraph:
        if child.tag in ("strong", "em") and ends(found[-1]):
            found.append(lxml_html.Element("p"))
        part = copy.deepcopy(child)
        part.tail = None
        found[-1].append(part)
        add(child.tail)
    return found


def ends(node):
    """Is it a whole sentence, or does it go on, say in a formula?"""
    return bool(re.search(r"[.?!][)”’]*\s*$", letters(node)))


def joined(first, second):
    """Two sentences as one paragraph."""
    both = copy.deepcopy(first)
    both.append(lxml_html.Element("span"))
    both[-1].tail = " " + (second.text or "")
    both.extend(copy.deepcopy(child) for child in second)
    return both


def brief(paragraph):
    """What a slide shows of a paragraph: a short one whole; of a long one its first
    sentence, those that begin in bold type, and the last if it goes on in a formula.
    """
    if len(letters(paragraph).split()) <= SHORT:
        return [paragraph]
    found = []
    for sentence in sentences(paragraph):
        if found and len(letters(found[-1]).split()) < 6:  # "**NaN.** It spreads"
            found[-1] = joined(found[-1], sentence)
        else:
            found.append(sentence)
    return [sentence for number, sentence in enumerate(found)
            if number == 0 or is_bold(sentence)
            or (number == len(found) - 1 and not ends(sentence))]


def is_bold(sentence):
    """Does it begin in bold type?"""
    return (not (sentence.text or "").strip() and len(sentence) > 0
            and sentence[0].tag == "strong")


def text_items(node, page):
    if node.tag != "p":
        yield from listed(node, page)
        return
    shown = brief(node)
    whole = "" if shown == [node] else moved(node, page, up=UP)
    for part in shown:
        yield Item(moved(part, page, up=UP), lines(part), whole,
                   after=bool(re.match(r"[a-z(,;]", letters(part))),
                   before=not ends(part))
        whole = ""


def listed(node, page):
    """A list or a table; if it fills more than a slide, in parts."""
    rows = node.xpath("./li | .//tbody/tr")
    if lines(node) <= ROOM or len(rows) < 2:
        yield Item(moved(node, page, up=UP), lines(node))
        return
    half = len(rows) // 2
    for kept in (rows[:half], rows[half:]):
        part = copy.deepcopy(node)
        for old, row in zip(rows, part.xpath("./li | .//tbody/tr")):
            if old not in kept:
                row.getparent().remove(row)
        if part.tag == "ol":
            part.set("start", str(int(node.get("start", 1)) + rows.index(kept[0])))
        yield from listed(part, page)


# ---- cells


def cell_item(cell, page, known):
    """A tagged code cell: its figure, or what it judges, or its code and output."""
    found = cell.xpath(f'.//figure | .//div[{has_class("byhand-explore")}]')
    if found:
        name = next(iter(found[0].xpath("./@id")), "")
        return Item(picture(found[0], page), 0, alone=True, place=name)
    judged = cell.xpath(f'.//div[{has_class("byhand-claim")}]/@id')
    if judged:
        return Item(asked(known[judged[0].removeprefix("claim-")]), 0, alone=True,
                    place=judged[0])
    return code_item(cell, page)


def picture(figure, page):
    """A figure, or the shown frame of a slider, in its light and its dark form."""
    images = figure.xpath(".//img[not(ancestor::*[@hidden])]")
    for image in images:
        if "only-dark" not in classes(image):
            image.attrib.pop("loading", None)  # it is printed, seen or not
    shown = "".join(moved(image, page, up=UP) for image in images)
    said = figure.xpath(f'.//span[{has_class("caption-text")}]'
                        f' | ./p[{has_class("caption")}]')
    caption = moved(said[0], page, up=UP) if said else ""
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def asked(claim):
    """A claim as a question, its answer folded."""
    place = UP + claim["url"].removeprefix(SITE)
    true = escape(what_is_true(claim))
    return (f'<blockquote>{escape(claim["says"])}</blockquote><details class="answer">'
            f'<summary>The verdict</summary><p class="verdict-{claim["verdict"]}">'
            f'<a href="{place}">{label(claim["verdict"]).capitalize()}</a>. {true}</p>'
            "</details>")


def code_item(cell, page):
    """What a cell printed, or if it printed nothing, its code."""
    shown = cell.xpath(f'./div[{has_class("cell_output")}]'
                       f'//div[{has_class("highlight")}]') or cell.xpath(
        f'./div[{has_class("cell_input")}]//div[{has_class("highlight")}]')
    if not shown:
        raise ValueError(f"{page}: expected a figure, a claim, code or text in the "
                         f"cell tagged slide: {letters(cell).strip()[:200]!r}")
    for comment in cell.xpath('.//span[@class="c1"][starts-with(., "#| ")]'):
        comment.tail = (comment.tail or "").removeprefix("\n")
        comment.drop_tree()
    rows = [row for part in shown for row in letters(part).strip().split("\n")]
    size = min(22, TYPE / max(map(len, rows)), 0.7 * ROOM * LINE / len(rows))
    inside = "".join(moved(part, page, up=UP) for part in shown)
    return Item(f'<div class="code" style="--size: {size:.1f}">{inside}</div>',
                1.35 * size * len(rows) / LINE + 0.8, place=cell.get("id") or "")


# ---- from a page to slides


class Part:
    """A section of the lecture, as far as it is shown."""

    def __init__(self, title, place, above=""):
        self.title, self.place, self.above, self.items = title, place, above, []


def parts(name, root, known):
    """What the tagged cells show, by section."""
    page, chapter, found = f"{name}.html", "", []
    for node in tagged(root):
        if node.tag in ("h1", "h2", "h3"):
            title = words(node).removesuffix("#").strip()
            chapter = title if node.tag == "h2" else chapter
            found.append(Part(title, node.getparent().get("id"),
                              chapter if node.tag == "h3" else ""))
        elif "cell" in classes(node):
            found[-1].items.append(cell_item(node, page, known))
        elif is_formula(node):
            found[-1].items.append(formula_item(node, page))
        else:
            found[-1].items += text_items(node, page)
    return [part for part in found if part.items and part.place != "references"]


def opening(root, page):
    """The title and the idea, the picture that leads the lecture, what is asked."""
    title = Part(heading(root), "")
    first = root.xpath(".//h1/following-sibling::p")[0]
    title.items = [Item(moved(first, page, up=UP), 0, alone=True)]
    lead = Part("The idea", "")
    lead.items = [cell_item(cell, page, {}) for cell in
                  root.xpath(f'.//div[{has_class("tag_lead")}]')]
    asks = Part("You will be asked", "")
    for link in root.xpath('(.//p[starts-with(., "You will be asked")]'
                           "/following-sibling::ul)[1]/li//a"):
        asks.items.append(Item(f"<p>{moved(link, page, up=UP)}</p>", lines(link)))
    return [part for part in (title, lead, asks) if part.items]


def units(items):
    """Items that stay together: a formula, and the sentences that it is a part of."""
    found = []
    for item in items:
        if found and (item.after or found[-1][-1].before) and not (
                item.alone or found[-1][-1].alone) and (
                height(found[-1]) + item.height <= ROOM):
            found[-1].append(item)
        else:
            found.append([item])
    return found


def height(items):
    return sum(item.height for item in items)


def filled(run, room):
    """Units on as few slides as hold them, if each has that room."""
    found = [[]]
    for unit in run:
        if found[-1] and height(found[-1]) + height(unit) > room:
            found.append([])
        found[-1].extend(unit)
    return found


def balanced(run):
    """On as few slides as hold them, these about equally full."""
    count = len(filled(run, ROOM))
    return next(slides for room in range(1, ROOM + 1)
                if len(slides := filled(run, room)) == count)


def divided(items):
    """The items of a part by slide."""
    run, found = [], []
    for unit in units(items):
        if not unit[0].alone:
            run.append(unit)
            continue
        found += (balanced(run) if run else []) + [unit]
        run = []
    return found + (balanced(run) if run else [])


# ---- the page

SLIDE = """
<div class="slide {kind}" id="slide-{number}" tabindex="-1" role="group" \
aria-roledescription="slide" aria-labelledby="title-{number}">
<h2 id="title-{number}">{above}{title}{more}</h2>
<div class="content">{content}</div>
<footer><a href="{page}{place}" aria-label="In the lecture: {title}">In the lecture</a>
{notes}<span>{name} · {number} / {count}</span></footer>
</div>"""
TITLE = """<p class="book">Deep Learning by Hand, CC BY 4.0</p><p class="keys">→ and ← \
turn the slides and open answers, n the notes, d makes it dark or light</p>"""


def notes(items):
    said = "".join(item.note for item in items)
    return ('<details class="notes"><summary>Notes</summary><div tabindex="0" '
            f'role="group" aria-label="Notes">{said}</div></details>' if said else "")


def slides(name, root, known):
    """(part, items, is it the first of its part?) of each slide."""
    for part in opening(root, f"{name}.html") + parts(name, root, known):
        for number, items in enumerate(divided(part.items)):
            yield part, items, number == 0


def kind(items):
    """What a slide holds, for the style sheet."""
    if not items[0].alone:
        return "text"
    begins = {"<figure": "figure", "<blockquote": "claim", "<p": "title"}
    return begins[re.match("<[a-z]+", items[0].html).group(0)]


def one_slide(number, part, items, first):
    """The HTML of a slide but for what all slides of its deck share."""
    above, title = part.above, part.title
    if kind(items) == "claim":
        above, title = title, "Does it hold?"
    later = "" if first or items[0].alone else " <small>continued</small>"
    return {"number": number, "kind": kind(items), "notes": notes(items),
            "above": f'<small class="above">{escape(above)}</small>' if above else "",
            "title": escape(title), "more": later,
            "content": "".join(item.html for item in items),
            "place": f"#{items[0].place or part.place}".rstrip("#")}


def deck(name, root, known):
    """The page of a lecture's slides."""
    made = [one_slide(number, *slide)
            for number, slide in enumerate(slides(name, root, known), 1)]
    made[0]["content"] += TITLE
    title = escape(heading(root))
    body = "".join(SLIDE.format(page=f"{UP}{name}.html", name=title, count=len(made),
                                **slide) for slide in made)
    return PAGE.format(
        title=title, kind="slides", style="slides",
        head='<link rel="stylesheet" href="../_static/pygments.css">\n'
             '<script src="../_static/slides.js"></script>',
        body=f'<main><h1 class="away">{title}</h1>{body}</main>\n'
             '<p class="away" role="status"></p>')


def write(out, names):
    """Write slides/<name>.html for each lecture of the site."""
    register = json.loads((out / "claims.json").read_text(encoding="utf-8"))
    known = {claim["id"]: claim for claim in register}
    (out / "slides").mkdir(exist_ok=True)
    for name in names:
        text = deck(name, article(out / f"{name}.html"), known)
        (out / "slides" / f"{name}.html").write_text(text, encoding="utf-8")


def finish(app, exception):
    if not exception and app.builder.format == "html":
        write(Path(app.outdir), lectures(app.env))


def setup(app):
    app.connect("source-read", mark)
    # as the sheets: after the register, before headings are translated
    app.connect("build-finished", finish, priority=921)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
