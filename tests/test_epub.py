"""The e-book, at a page of a few lines: what becomes of formulas, sliders, folds and
links. The whole book is looked at in test_site.py, with the site that it is made of.
"""

import re
import zipfile

import pytest
import yaml

# the weekly run with the newest versions has the library alone
etree = pytest.importorskip("lxml.etree")
lxml_html = pytest.importorskip("lxml.html")

KATEX = (
    '<span class="katex"><span class="katex-mathml"><math xmlns="http://www.w3.org/1998/'
    'Math/MathML"><semantics><mrow>{}</mrow><annotation encoding="application/x-tex">{}'
    '</annotation></semantics></math></span><span class="katex-html">x</span></span>')
SLIDER = (
    '<div class="byhand-explore" data-labels="[1, 2]"><div class="control">'
    '<label for="s">rate</label><input type="range" id="s"><output>0.5</output></div>'
    '<div class="frames"><div class="frame" hidden><img alt="a" src="_images/a.svg">'
    '</div><div class="frame"><img class="only-light" alt="b" src="../_images/b.svg">'
    '<img class="only-dark" alt="b" src="../_images/b-dark.svg"></div></div></div>')


@pytest.fixture(scope="module")
def epub(script, root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "book" / "_ext"))  # epub imports register
        yield script("book/_ext/epub.py")


def article(inside):
    return lxml_html.fragment_fromstring(f"<article>{inside}</article>")


def text(node):
    return etree.tostring(node, encoding="unicode")


def test_a_formula_becomes_mathml(epub):
    formula = KATEX.format("<mi>x</mi>", "x &lt;\n y")
    root = epub.clean(article(f"<p>so {formula}, and</p>"), "losses")
    assert text(root) == (
        '<article><p>so <math xmlns="http://www.w3.org/1998/Math/MathML" '
        'alttext="x &lt; y"><mrow><mi>x</mi></mrow></math>, and</p></article>')
    shown = f'<span class="katex-display">{formula}</span>'
    root = epub.clean(article(f'<div class="math">{shown}.</div>'), "losses")
    assert root.xpath("count(.//span)") == 0 and text(root).count("</math>.</div>") == 1


def test_what_mathml_does_not_know_is_mended(epub):
    applied = "<mi>max</mi><mo>\u2061</mo>"
    pieces = "<mo><mrow><mi>m</mi><mi>o</mi><mi>d</mi></mrow></mo>"
    inside = f"<msub><mi>x</mi>{applied}</msub>{applied}{pieces}"
    found = text(epub.clean(article(KATEX.format(inside, "x")), "losses"))
    assert "<msub><mi>x</mi><mi>max</mi></msub><mi>max</mi><mo>\u2061</mo>" in found
    assert "<mo>mod</mo>" in found


def test_a_slider_shows_its_picture_and_says_so(epub):
    root = epub.clean(article(SLIDER), "questions/losses")
    assert root.xpath(".//img/@src") == ["../_images/b.svg"]
    assert root.xpath(".//input|.//output|.//label") == []
    said = root.find(".//p")
    assert said.text_content() == (
        "rate: 0.5. This is one of 2 pictures; on the website a slider goes through "
        "all of them.")
    assert said.find("a").get("href") == f"{epub.SITE}questions/losses.html"


def test_a_fold_has_a_name_and_code_few_elements(epub):
    code = ('<pre><span class="k">def</span> <span class="n">f</span>'
            '<span class="c1"># eq. <a class="eq" href="#e">(1)</a></span></pre>')
    root = epub.clean(article(
        '<details><summary aria-label="x"><p class="collapsed">Code</p>'
        f'<p class="expanded">Hide</p></summary>{code}</details>'), "losses")
    assert root.findtext(".//summary") == "Code" and not root.xpath(".//summary/*")
    assert [span.get("class") for span in root.iter("span")] == ["k", "c1"]
    assert root.find(".//pre").text_content() == "def f# eq. (1)"


@pytest.fixture
def chapters(epub):
    lecture = article(
        '<section id="losses"><h1>3. Losses</h1><p>so</p><section id="derive">'
        '<h2>Derive<a class="headerlink" href="#derive">#</a></h2>'
        '<a href="questions/losses.html#why">q</a><a href="#losses">top</a>'
        '<a href="exam.html">exam</a><a href="https://example.org/a#b">out</a>'
        '<img alt="i" src="./_images/i.svg"></section></section>')
    questions = article(
        '<section id="questions"><h1>Questions</h1><section id="why"><h2>Why?</h2>'
        '<p lang="ko">왜?</p><a href="../losses.html">l</a></section></section>')
    return [epub.Chapter("losses", lecture),
            epub.Chapter("questions/losses", questions)]


def test_links_lead_inside_the_book_or_to_the_website(epub, chapters):
    addresses = epub.Addresses(chapters)
    pictures = [epub.connect(chapter, addresses) for chapter in chapters]
    links = [part.xpath(".//a/@href") for chapter in chapters
             for part in chapter.files.values()]
    assert links == [
        [], ["questions-losses-1.xhtml#why", "losses.xhtml#losses",
             f"{epub.SITE}exam.html", "https://example.org/a#b"],
        [], ["losses.xhtml"]]
    assert pictures == [{"images/i.svg": "_images/i.svg"}, {}]
    assert chapters[0].entries == [("3. Losses", "losses.xhtml"),
                                   ("Derive", "losses-1.xhtml")]
    with pytest.raises(ValueError, match="losses: the link #lost leads to no place"):
        addresses.of("#lost", "losses")


def test_korean_is_said_to_be_korean(chapters):
    part = chapters[1].files["questions-losses-1.xhtml"]
    assert '<p lang="ko" xml:lang="ko">왜?</p>' in text(part)


def test_what_is_not_well_formed_is_refused(epub):
    with pytest.raises(etree.XMLSyntaxError):
        epub.written("title", "<p>", {"language": "en"})


def test_the_package_says_what_the_citation_says(epub, root, tmp_path, monkeypatch):
    """Title, authors, version, licence, from one source; the same bytes twice."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    known = epub.about()
    files = {"a.xhtml": epub.written("a", "<math/>", known), "b.xhtml": b"<p/>"}
    paths = [tmp_path / "one.epub", tmp_path / "two.epub"]
    for path in paths:
        epub.pack(files, list(files), known, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        assert archive.namelist()[0] == "mimetype"
        package = archive.read("EPUB/package.opf").decode()
    etree.fromstring(package.encode())
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    for fact in ("title", "version", "url", "abstract", "repository-code"):
        assert citation[fact].strip() in package, fact
    for fact in [*citation["license"], citation["authors"][0]["name"],
                 "1970-01-01T00:00:00Z", "<dc:language>ko<"]:
        assert fact in package, fact
    assert re.findall(r'href="(\w+)\.xhtml"[^>]*properties="mathml"', package) == ["a"]


def test_the_contents_have_the_order_of_the_toc(epub, toc):
    pages = [page for _, pages in epub.order() for page in pages]
    assert pages[0] == "index"
    assert [f"book/{page}" for page in pages[1:]] == [
        page for page in toc if page.removeprefix("book/") not in epub.ONLINE]
    assert epub.draw_cover(epub.about()).startswith(b"\x89PNG")
