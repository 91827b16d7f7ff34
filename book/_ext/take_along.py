"""The book to take along: an Anki deck of its questions and claims, an EPUB, and the
site as one archive. All are made after the pages, and lie beside them.
"""

import json
import re
import zipfile
from html import escape
from pathlib import Path
from urllib.parse import urljoin

import epub
import genanki
from lxml import html as lxml_html
from register import SITE, load

STYLE = (".card { font: 18px/1.6 sans-serif; max-width: 40em; margin: 0 auto; }"
         " .more { font-size: 80%; }")
# decks are known to Anki by these numbers, drawn once: a new one would be a second deck
DECKS = {"Questions": 1732190401, "질문": 1732190402, "Verdicts": 1732190403,
         "판정": 1732190404}
MODEL = genanki.Model(
    1732190400, "Deep Learning by Hand",
    fields=[{"name": name} for name in ("Front", "Back", "More", "Link")],
    templates=[{
        "name": "Card", "qfmt": "{{Front}}",
        "afmt": '{{FrontSide}}<hr id="answer">{{Back}}<div class="more">{{More}}</div>'
                '<p class="more"><a href="{{Link}}">{{Link}}</a></p>'}],
    css=STYLE)


def for_anki(text):
    """HTML of a page for a card: formulas as TeX, links that lead to the site."""
    if not text:
        return ""
    root = lxml_html.fragment_fromstring(text, create_parent="div")
    for formula in root.xpath('.//*[contains(concat(" ", @class, " "), " math ")]'):
        tex = formula.xpath('string(.//*[local-name() = "annotation"])')
        tail = formula.tail
        formula.clear()
        formula.text, formula.tail = rf"\({tex}\)", tail
    for link in root.iter("a"):
        link.set("href", urljoin(SITE, link.get("href", "")))
    for element in root.iter():
        element.attrib.pop("class", None)
        element.attrib.pop("title", None)
    inside = lxml_html.tostring(root, encoding="unicode")
    return re.sub(r"^<div>|</div>$", "", inside.strip())


def bullets(items):
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def notes(cards, words):
    """(deck, id, front, back, more, link) of every card."""
    for card in cards["questions"]:
        for deck, front, back, end in (("Questions", card["en"], card["minute"], ""),
                                       ("질문", card["ko"], card["minute_ko"], "_ko")):
            if back:
                points, after = (card.get(name + end, card[name])
                                 for name in ("points", "next"))
                more = bullets(points) + escape(" ".join(after))
                yield deck, card["id"], escape(front), for_anki(back), more, card["url"]
    for card in cards["claims"]:
        plain = card["verdict"].replace("-", " ")
        yield ("Verdicts", card["id"], f"<q>{escape(card['says'])}</q>",
               f"<b>{plain}</b>. {escape(card.get('correct', ''))}",
               for_anki(card["measured"]), card["url"])
        if "says_ko" in card:
            yield ("판정", card["id"], f"<q>{escape(card['says_ko'])}</q>",
                   f"<b>{words[card['verdict']]}</b>. "
                   f"{escape(card.get('correct_ko', ''))}",
                   for_anki(card["measured"]), card["url"])


def write_deck(cards, words, path):
    decks = {name: genanki.Deck(number, f"Deep Learning by Hand::{name}")
             for name, number in DECKS.items()}
    for deck, id, *fields, url in notes(cards, words):
        # the same id in a later version is the same note: what was learned is kept
        decks[deck].add_note(genanki.Note(
            MODEL, [*fields, urljoin(SITE, url)], guid=genanki.guid_for(deck, id)))
    # Anki takes a card anew if it is later than the one that it has
    genanki.Package(list(decks.values())).write_to_file(
        str(path), timestamp=epub.moment())


def write_archive(folder, path):
    """The site in one file, to be read without a network."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for file in sorted(folder.rglob("*")):
            # what only a web server uses stays out
            if file.is_file() and file != path and file.name not in (
                    ".complete", ".buildinfo", "404.html"):
                archive.write(file, Path("deep-learning-by-hand")
                              / file.relative_to(folder))


def finish(app, exception):
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    text = (out / "_static/cards.js").read_text(encoding="utf-8")
    cards = json.loads(text[text.index("=") + 1:].rstrip().rstrip(";"))
    words = load("korean.yml")["verdicts"]
    write_deck(cards, words, out / "deep-learning-by-hand.apkg")
    epub.build(out, out / "deep-learning-by-hand.epub")
    write_archive(out, out / "deep-learning-by-hand.zip")


def setup(app):
    app.connect("build-finished", finish, priority=990)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
