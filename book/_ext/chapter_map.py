"""A map of the chapters: an arrow leads from a chapter to one whose lecture imports
what it derived. Drawn in rows, from the notebooks' imports, as an SVG of links.
"""

import json
import re
import textwrap
from html import escape

IMPORT = re.compile(r"^ *from byhand\.(\w+) import", re.MULTILINE)
WIDE = 3  # chapters beside each other, so that a telephone shows them at full size
BOX, THIN, GAP = (116, 40), 8, 6  # a chapter, a line that passes by, what is between
WIDTH = WIDE * (BOX[0] + GAP) + 2 * (THIN + GAP)  # a full row, passed by two lines
ROW, LINE = 76, 15  # from row to row, and from line to line in a box


def needs(folder, names):
    """{chapter: the chapters that its lecture imports from}, in reading order."""
    found = {}
    for name in names:
        cells = json.loads((folder / f"{name}.ipynb").read_text("utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells
                         if cell["cell_type"] == "code")
        imported = set(IMPORT.findall(code))
        found[name] = [other for other in names if other in imported and other != name]
    return found


def behind(name, needed):
    """All that a chapter needs, also through others."""
    found = set(needed[name])
    for other in needed[name]:
        found |= behind(other, needed)
    return found


def direct(needed):
    """The same without what a chapter needs through another one anyway."""
    return {name: [other for other in others if not any(
        other in behind(between, needed) for between in others)]
        for name, others in needed.items()}


def rows(needed):
    """{chapter: its row}: below all that it needs, in the first row with room."""
    found = {}
    for name, others in needed.items():
        row = max((found[other] + 1 for other in others), default=0)
        while list(found.values()).count(row) == WIDE:
            row += 1
        found[name] = row
    return found


def laid_out(arrows, row):
    """({item: (x, y) of its centre}, {(from, to): the items on its way}). A line that
    passes a row has a narrow place there, as (from, to, row).
    """
    lines = {(other, name): [other, *((other, name, r) for r in range(
        row[other] + 1, row[name])), name]
        for name, others in arrows.items() for other in others}
    table = [[] for _ in range(max(row.values()) + 1)]
    for name, r in row.items():
        table[r].append(name)
    for way in lines.values():
        for item in way[1:-1]:
            table[item[2]].append(item)
    above = {}
    for way in lines.values():
        for first, second in zip(way, way[1:]):
            above.setdefault(second, []).append(first)
    place = {}
    for r, items in enumerate(table):  # each below the mean of what leads to it
        items.sort(key=lambda item: sum(
            place[i][0] for i in above[item]) / len(above[item])
            if item in above else 0)
        widths = [BOX[0] if item in row else THIN for item in items]
        x = (WIDTH - sum(widths) - GAP * (len(items) - 1)) / 2
        for item, width in zip(items, widths):
            place[item] = (x + width / 2, r * ROW + BOX[1] / 2 + 2)
            x += width + GAP
    return place, lines


def arrow(way, place):
    """The path of a line: from a box's lower edge down to another's upper edge."""
    half = BOX[1] / 2
    x, y = place[way[0]]
    path = f"M{x:.1f} {y + half:.1f}"
    y += half
    for item in way[1:]:
        right, centre = place[item]
        top = centre - half
        middle = (y + top) / 2
        path += f"C{x:.1f} {middle:.1f} {right:.1f} {middle:.1f} {right:.1f} {top:.1f}"
        if item is not way[-1]:
            path += f"V{centre + half:.1f}"
        x, y = right, centre + half
    return (f'<path d="{path}" data-from="{way[0]}" data-to="{way[-1]}" '
            'marker-end="url(#byhand-arrow)"/>')


def box(name, title, others, place):
    """A chapter: a rectangle with its name, a link that says what it needs."""
    (x, y), (width, height) = place, BOX
    lines = textwrap.wrap(title, 15)
    text = "".join(
        f'<tspan x="{x:.1f}" y="{y + 4.5 + (i - (len(lines) - 1) / 2) * LINE:.1f}">'
        f"{escape(line)}</tspan>" for i, line in enumerate(lines))
    said = f"{title}, uses {', '.join(others)}" if others else title
    return (f'<a href="{name}.html" aria-label="{escape(said)}">'
            f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width}" '
            f'height="{height}" rx="6"/><text>{text}</text></a>')


def drawn(titles, needed):
    """The map as an SVG with a caption."""
    short = {name: re.sub(r"^\d+\. ", "", titles[name]).partition(":")[0]
             for name in needed}
    arrows, row = direct(needed), rows(needed)
    place, lines = laid_out(arrows, row)
    height = max(row.values()) * ROW + BOX[1] + 4
    paths = "".join(arrow(way, place) for way in lines.values())
    boxes = "".join(
        box(name, short[name], [short[other] for other in arrows[name]], place[name])
        for name in needed)
    return (
        '<figure class="byhand-map">'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="group" aria-label="Map of the '
        'chapters"><defs><marker id="byhand-arrow" viewBox="0 0 8 8" refX="7" refY="4" '
        'markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0 0L8 4L0 8z"/></marker></defs><g class="lines" aria-hidden="true">'
        f"{paths}</g>{boxes}</svg><figcaption>An arrow leads from a chapter to one "
        "whose code uses it. What a chapter imports stands above it along the arrows."
        "</figcaption></figure>")
