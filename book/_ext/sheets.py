"""A cheat sheet a chapter: its symbols, its numbered equations, its conventions and its
verdicts, on two pages of paper. sheets/losses.html is made from what losses.html and
the register of claims say, after they were written; nothing is typed twice.
"""

import json
from html import escape
from pathlib import Path

from docutils import nodes
from register import article, label, moved, sections, words
from sphinx.transforms import SphinxTransform

UP = "../"
# a sheet has two pages. With more words than this, a sentence that holds, be it with
# conditions, stands there without them: its verdict leads to them
FULL = 2900

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · {kind} · Deep Learning by Hand</title>
<link rel="icon" href="../_static/logo.svg">
<link rel="stylesheet" href="../katex/katex.min.css">
<link rel="stylesheet" href="../_static/formulas.css">
<link rel="stylesheet" href="../_static/{style}.css">
{head}
</head>
<body>
{body}
</body>
</html>
"""


def lectures(env):
    """The names of the pages that have a page of questions."""
    return {name.removeprefix("book/questions/") for name in env.found_docs
            if name.startswith("book/questions/")}


def heading(root):
    """The title of a page with its number: "3. Losses: what you believe …"."""
    return words(root.find(".//h1")).removesuffix("#").strip()


def has_class(name):
    return f'contains(concat(" ", @class, " "), " {name} ")'


def symbols(page, root):
    """The tables of symbols, wherever the lecture has them."""
    found = [table for table in root.iter("table")
             if (head := table.find(".//th")) is not None
             and words(head).lower() == "symbol"]
    return "".join(moved(table, page, up=UP) for table in found)


def equations(page, root):
    """Each numbered equation under the title of its section, linked to its place."""
    found, last = [], None
    titles = {part["node"]: part for part in sections(page, root)}
    for formula in root.xpath(f'.//div[{has_class("math")}][@id]'):
        number = formula.find('.//span[@class="eqno"]')
        if number is None:
            continue
        part = titles[next(formula.iterancestors("section"))]
        if part is not last:
            found.append(f'<h3><a href="{UP}{part["url"]}">'
                         f'{escape(part["title"])}</a></h3>')
            last = part
        found.append(equation(page, formula))
    return "".join(found)


def equation(page, formula):
    """A formula, its number a link to its place in the lecture."""
    number = formula.find('.//span[@class="eqno"]')
    shown = "".join(moved(child, page, up=UP) for child in formula
                    if child is not number)
    if number is not None:
        place = f'{UP}{page}#{formula.get("id")}'
        shown = f'<a href="{place}">{words(number)}</a>{shown}'
    return f'<div class="eq">{shown}</div>'


def conventions(page, root):
    """What the lecture says on conventions, without the cells that show it."""
    found = ""
    for part in sections(page, root):
        if part["level"] == 2 and part["title"].startswith("Conventions"):
            found += "".join(
                moved(child, page, up=UP) for child in part["node"]
                if child.tag in ("p", "ul", "ol", "dl", "table")
                or "scrollable-table" in (child.get("class") or ""))
    return found


def verdicts(claims):
    """What circulates about the chapter: each sentence with its verdict and what is
    true, as far as there is room.
    """
    full = sum(len(claim["says"].split()) + len(claim.get("correct", "").split())
               for claim in claims) <= FULL
    rows = []
    for claim in claims:
        short = not full and claim["verdict"].startswith("holds")
        true = "" if short else escape(claim.get("correct", ""))
        rows.append(
            f'<li class="verdict-{claim["verdict"]}"><a href="{address(claim)}">'
            f'{label(claim["verdict"])}</a> <q>{escape(claim["says"])}</q>'
            + (f' <span class="true">{true}</span>' if true else "") + "</li>")
    note = "A verdict leads to its conditions and its evidence."
    if not full:
        note += (" There is no room here for the conditions of what holds with "
                 "conditions: do not repeat it without them.")
    return (f'<p class="note">{note}</p><ul class="verdicts">{"".join(rows)}</ul>'
            if rows else "")


def address(claim):
    """The place of a claim, as seen from a sheet."""
    return UP + claim["url"].partition("/book/")[2]


def sheet(name, root, claims):
    """The sheet of one lecture."""
    page = f"{name}.html"
    parts = {"Symbols": symbols(page, root), "Equations": equations(page, root),
             "Conventions": conventions(page, root),
             "What is said, and what it is worth": verdicts(claims)}
    title = heading(root)
    body = "".join(f"<section><h2>{kind}</h2>{text}</section>"
                   for kind, text in parts.items() if text)
    return PAGE.format(
        title=escape(title), kind="cheat sheet", style="sheet", head="",
        body=f'<header><h1>{escape(title)}</h1><p>Cheat sheet of '
             f'<a href="{UP}index.html">Deep Learning by Hand</a> · '
             f'<a href="{UP}{page}">lecture</a> · '
             f'<a href="{UP}questions/{page}">questions</a></p></header>'
             f"<main>{body}</main>")


def write(out, names):
    """Write sheets/<name>.html for each lecture of the site."""
    register = json.loads((out / "claims.json").read_text(encoding="utf-8"))
    (out / "sheets").mkdir(exist_ok=True)
    for name in names:
        claims = [claim for claim in register if claim["chapter"] == name]
        text = sheet(name, article(out / f"{name}.html"), claims)
        (out / "sheets" / f"{name}.html").write_text(text, encoding="utf-8")


class Link(SphinxTransform):
    """Before its questions, a lecture leads to its sheet and its slides."""

    default_priority = 862  # after the picture that leads the page

    def apply(self):
        name = self.env.docname.removeprefix("book/")
        if name not in lectures(self.env):
            return
        asked = next(p for p in self.document.findall(nodes.paragraph)
                     if p.astext().startswith("You will be asked"))
        link = (f'<p class="byhand-handouts">To take along: '
                f'<a href="sheets/{name}.html">cheat sheet</a> · '
                f'<a href="slides/{name}.html">slides</a></p>')
        asked.parent.insert(asked.parent.index(asked),
                            nodes.raw("", link, format="html"))


def finish(app, exception):
    if not exception and app.builder.format == "html":
        write(Path(app.outdir), lectures(app.env))


def setup(app):
    app.add_transform(Link)
    # after the register, before its headings are translated and all of it is packed
    app.connect("build-finished", finish, priority=920)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
