"""What goes on a slide: which sentences, and how many things."""

import json

import pytest

lxml_html = pytest.importorskip("lxml.html", reason="it is a part of the website")


@pytest.fixture(scope="module")
def slides(script, root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root / "book/_ext")  # its neighbours
        return script("book/_ext/slides.py")


def paragraph(text):
    return lxml_html.fragment_fromstring(f"<p>{text}</p>")


def said(slides, text):
    return [" ".join(part.text_content().split())
            for part in slides.brief(paragraph(text))]


LONG = " It takes many more words than thirty to say all of it here" * 3 + "."


def test_a_short_paragraph_stands_as_it_is(slides):
    assert said(slides, "One. Two.") == ["One. Two."]


def test_of_a_long_paragraph_the_first_sentence_stands(slides):
    text = "The <em>slope</em> of a sum, see (3.4), is a sum of slopes." + LONG
    assert said(slides, text) == ["The slope of a sum, see (3.4), is a sum of slopes."]


def test_a_sentence_that_goes_on_in_a_formula_stands(slides):
    text = f"The first says enough by itself.{LONG} So at the minimum one has"
    assert said(slides, text) == ["The first says enough by itself.",
                                  "So at the minimum one has"]


def test_what_begins_in_bold_type_stands(slides):
    text = (f"<strong>NaN.</strong> It spreads through all of it.{LONG} "
            "<strong>Masks</strong> hide it, and that is all they do.")
    assert said(slides, text) == ["NaN. It spreads through all of it.",
                                  "Masks hide it, and that is all they do."]


def test_the_text_of_a_formula_counts_once(slides):
    formula = ('<span class="katex"><span class="katex-mathml">x squared</span>'
               '<span class="katex-html">x2</span></span>')
    assert slides.letters(paragraph(f"a {formula} b")) == "a x2 b"


def item(slides, height, **how):
    return slides.Item("<p></p>", height, **how)


def heights(found):
    return [[one.height for one in items] for items in found]


def test_slides_are_few_and_about_equally_full(slides):
    room = slides.ROOM
    items = [item(slides, room / 7)] * 8
    assert [len(one) for one in slides.divided(items)] == [4, 4]


def test_a_formula_stays_with_its_sentence(slides):
    room = slides.ROOM
    items = [item(slides, room - 2), item(slides, 1, before=True), item(slides, 3),
             item(slides, 1, after=True)]
    assert heights(slides.divided(items)) == [[room - 2], [1, 3, 1]]


def test_a_figure_stands_alone(slides):
    items = [item(slides, 1), item(slides, 0, alone=True), item(slides, 1, after=True)]
    assert heights(slides.divided(items)) == [[1], [0], [1]]


def test_a_long_list_goes_on(slides):
    rows = "".join(f"<li>{number}</li>" for number in range(30))
    parts = list(slides.listed(lxml_html.fragment_fromstring(f"<ol>{rows}</ol>"), ""))
    assert len(parts) > 1 and all(part.height <= slides.ROOM for part in parts)
    assert sum(part.html.count("<li>") for part in parts) == 30
    assert 'start="16"' in "".join(part.html for part in parts)


def test_a_cell_that_shows_nothing_is_refused(slides):
    cell = lxml_html.fragment_fromstring('<div class="cell tag_slide"></div>')
    with pytest.raises(ValueError, match="losses.html: expected a figure"):
        slides.cell_item(cell, "losses.html", {})


def test_only_markdown_cells_are_marked(slides):
    class Environment:
        def doc2path(self, name):
            return f"{name}.ipynb"

    class Application:
        env = Environment()

    cells = [{"cell_type": kind, "metadata": {"tags": tags}, "source": "text"}
             for kind, tags in (("markdown", ["slide"]), ("code", ["slide"]),
                                ("markdown", []))]
    source = [json.dumps({"cells": cells})]
    slides.mark(Application(), "losses", source)
    assert [cell["source"] for cell in json.loads(source[0])["cells"]] == [
        "<!-- begin slide -->\n\ntext\n\n<!-- end slide -->", "text", "text"]
