"""The book for a reader of e-books: one EPUB, made from the pages of the built site.

    python book/_ext/epub.py _build/html book.epub

The site's build calls it, too. A page becomes a file for each of its sections; a
formula becomes the MathML that KaTeX wrote beside its boxes; a slider shows the picture
that the page shows first; what needs a script stays on the website, and links lead
there. Title, authors, version and licence are those of CITATION.cff, the order is that
of _toc.yml.

Sphinx's own builder for EPUB cannot declare MathML and knows nothing of the lists that
are filled in after the pages were written; so the site is read instead.
"""

import os
import posixpath
import sys
import time
import zipfile
from html import escape
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import yaml
from lxml import etree
from matplotlib.figure import Figure
from matplotlib.image import imread
from register import SITE, article

ROOT = Path(__file__).resolve().parents[2]
# they only work, or only make sense, on the website
ONLINE = {"exam", "take-along"}
TYPES = {".xhtml": "application/xhtml+xml", ".css": "text/css", ".png": "image/png",
         ".svg": "image/svg+xml", ".jpg": "image/jpeg"}
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"

PAGE = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"
 lang="{language}" xml:lang="{language}">
<head><title>{title}</title><link rel="stylesheet" href="epub.css"/></head>
<body>{body}</body>
</html>
"""


# ---- a page of the site, made fit for a book


def marked(node, name):
    """The elements inside a node that have a class."""
    found = node.xpath(f"descendant::*[contains(@class, '{name}')]")
    return [element for element in found if name in element.get("class").split()]


def drop(element):
    """Remove an element with all that is in it; the text that follows stays."""
    element.drop_tree()


def formulas(root):
    """Of each formula its MathML, with the TeX as its text for who cannot show it."""
    for shown in marked(root, "katex"):
        if "katex-display" in shown.getparent().get("class", ""):
            shown = shown.getparent()
        math = shown.find(".//math")
        semantics = math.find("semantics")
        math.set("alttext", " ".join(semantics.findtext("annotation").split()))
        math.replace(semantics, semantics[0])
        mend(math)
        math.tail = shown.tail
        shown.getparent().replace(shown, math)


# elements of MathML with as many children as they have places
PLACES = ("msub", "msup", "msubsup", "munder", "mover", "munderover", "mfrac", "mroot")


def mend(math):
    """Two things that KaTeX writes and MathML does not know: the sign for "applied to"
    as one more child of a script, and an operator in pieces (\\bmod).
    """
    for sign in math.xpath(".//mo[text() = '\u2061']"):
        if sign.getparent().tag in PLACES:
            drop(sign)
    for token in math.xpath(".//mo[*]|.//mi[*]|.//mn[*]|.//mtext[*]"):
        token.text, token[:] = token.text_content(), []


def sliders(root, page):
    """The picture that the page shows first, and a sentence on the others."""
    for box in marked(root, "byhand-explore"):
        control, value = marked(box, "control")[0], box.find(".//output").text
        label, count = box.find(".//label").text, len(marked(box, "frame"))
        for frame in box.xpath('.//div[@hidden]'):
            drop(frame)
        tail = control.tail
        control.clear()
        control.tag, control.tail = "p", tail
        control.set("class", "control")
        control.text = f"{label}: {value}. This is one of {count} pictures; "
        link = etree.SubElement(control, "a", href=f"{SITE}{page}.html")
        link.text, link.tail = "on the website", " a slider goes through all of them."


def folds(root):
    """A fold has a name of one line."""
    for summary in root.iter("summary"):
        names = summary.findall("p")
        if names:
            summary.text = names[0].text
            summary[:] = []


def tokens(root):
    """Code is coloured by comments, keywords and strings; other tokens need no element.
    """
    for pre in root.iter("pre"):
        for span in list(pre.iter("span")):
            if not span.get("class", "").startswith(("c", "k", "s")):
                span.tag = "unmarked"
    etree.strip_tags(root, "unmarked")


def lists(root):
    """The register without what stands in the boxes that it leads to."""
    for cite in marked(root, "cite"):
        for rest in cite.itersiblings():
            drop(rest)
        cite.tail = None
        drop(cite)
    for table in marked(root, "byhand-claims"):
        for folded in table.findall(".//details"):
            drop(folded)


# what a book cannot use: controls, copies for other modes, links of a heading to itself
USELESS = ("headerlink", "byhand-link", "only-dark", "say-ko", "visually-hidden",
           "byhand-filter", "byhand-map", "bar")


def clean(root, page):
    """Make the tree of a page fit for a book; returns it."""
    tokens(root)
    formulas(root)
    sliders(root, page)
    folds(root)
    lists(root)
    for element in [*root.iter("script", "noscript", etree.Comment),
                    *(one for name in USELESS for one in marked(root, name))]:
        drop(element)
    for element in root.iter():
        for name in list(element.attrib):
            if name.startswith("data-") or name in ("loading", "tabindex", "role"):
                del element.attrib[name]
        if "lang" in element.attrib:
            element.set(XML_LANG, element.get("lang"))
    return root


# ---- pages become files, and links lead from file to file


class Chapter:
    """A page as files: its beginning, and one for each section of the second level."""

    def __init__(self, page, root):
        self.page, self.files, self.entries = page, {}, []
        top = clean(root, page).find("section")
        parts = [part for part in top.iter("section") if part.find("h2") is not None]
        for part in parts:
            part.getparent().remove(part)
        for number, part in enumerate([top, *parts]):
            stem = page.replace("/", "-")
            name = f"{stem}-{number}.xhtml" if number else f"{stem}.xhtml"
            heading = part.find("h2" if number else "h1").text_content()
            self.files[name] = part
            self.entries.append((" ".join(heading.split()), name))
        self.title = self.entries[0][0]

    def first(self):
        return next(iter(self.files))


class Addresses:
    """Where in the book stands what the site has at an address."""

    def __init__(self, chapters):
        self.first = {chapter.page: chapter.first() for chapter in chapters}
        self.places = {(chapter.page, element.get("id")): name
                       for chapter in chapters for name, part in chapter.files.items()
                       for element in part.iter() if element.get("id")}

    def of(self, link, page):
        """The address in the book; of what is not in the book, that on the website."""
        if urlsplit(link).scheme:
            return link
        target = urlsplit(urljoin(f"/{page}.html", link))
        other, name = target.path[1:].removesuffix(".html"), unquote(target.fragment)
        if other not in self.first:
            return urljoin(SITE, target.geturl()[1:])
        if not name:
            return self.first[other]
        if (other, name) not in self.places:
            raise ValueError(f"{page}: the link {link} leads to no place in the book")
        return f"{self.places[other, name]}#{target.fragment}"


def connect(chapter, addresses):
    """Let the links of a chapter lead inside the book; returns its pictures, {name in
    the book: name in the site}.
    """
    pictures = {}
    for part in chapter.files.values():
        for link in part.iter("a"):
            if link.get("href"):
                link.set("href", addresses.of(link.get("href"), chapter.page))
        for image in part.iter("img"):
            folder = posixpath.dirname(chapter.page)
            path = posixpath.normpath(posixpath.join(folder, image.get("src")))
            name = f"images/{posixpath.basename(path)}"
            pictures[name] = path
            image.set("src", name)
    return pictures


# ---- the files that every EPUB has


def moment():
    """When the book was built, in seconds since 1970: reproducible builds set it."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())


def about():
    """What is said of the whole book, from CITATION.cff and _config.yml."""
    known = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    return known | {
        "language": config["sphinx"]["config"]["language"],
        "authors": [author["name"] for author in known["authors"]],
        "modified": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment()))}


def order():
    """[(name of a part, [page, …])] as _toc.yml has them; the first has no name."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    found = [("", [toc["root"]])]
    for part in toc["parts"]:
        found.append((part["caption"], [
            entry["file"] for chapter in part["chapters"]
            for entry in (chapter, *chapter.get("sections", []))]))
    return [(name, [page.removeprefix("book/") for page in pages
                    if page.removeprefix("book/") not in ONLINE])
            for name, pages in found]


def written(title, body, known):
    """A file of the book; what is not well-formed is an error."""
    data = PAGE.format(title=escape(title), body=body,
                       language=known["language"]).encode()
    etree.fromstring(data)
    return data


def draw_cover(known):
    """The cover as a PNG: the logo, the title, the authors, the version."""
    figure = Figure(figsize=(8, 12), dpi=150)
    place = figure.add_axes((0.32, 0.66, 0.36, 0.24))
    place.imshow(imread(ROOT / "book" / "logo.png"))
    place.axis("off")
    for height, text, size in (
            (0.5, known["title"].replace(" by ", "\nby "), 46),
            (0.32, "\n".join(known["authors"]), 19),
            (0.08, f"version {known['version']}", 16)):
        figure.text(0.5, height, text, size=size, ha="center", va="center",
                    color="#1a1a1a", weight="bold" if size > 40 else "normal")
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def cover(known):
    alt = f"{known['title']}. {', '.join(known['authors'])}."
    return (f'<section epub:type="cover"><img class="cover" src="images/cover.png" '
            f'alt="{escape(alt)}"/></section>')


def edition(known):
    """What this book is, and how it differs from the website."""
    return (
        f'<section epub:type="preamble"><h1>{escape(known["title"])}</h1>'
        f"<p>{escape(', '.join(known['authors']))}</p>"
        f"<p>{escape(known['abstract'].strip())}</p>"
        f"<p>Version {known['version']}, made on {known['modified'][:10]} from "
        f'<a href="{SITE}">the website</a>. Where a page speaks of a slider, a button '
        "or the search, it means the website; here a slider shows one of its pictures."
        "</p>"
        f'<p>Licences: {", ".join(known["license"])}; <a href="licence.xhtml">which is '
        "for what</a>.</p></section>")


def licence():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    return (f'<section><h1>Licences</h1><pre class="prose">{escape(text)}</pre>'
            "</section>")


def item(title, address, inside=""):
    """An entry of the contents; a part of the book is no place that one can go to."""
    name = (f'<a href="{address}">{escape(title)}</a>' if address
            else f"<span>{escape(title)}</span>")
    return f"<li>{name}{f'<ol>{inside}</ol>' if inside else ''}</li>"


def contents(parts):
    """The table of contents: parts, lectures, their sections and their questions."""
    def chapter(lecture, questions):
        inside = "".join(item(*entry) for entry in lecture.entries[1:])
        inside += "".join(chapter(one, []) for one in questions)
        return item(lecture.title, lecture.first(), inside)

    found = item("This edition", "edition.xhtml")
    for name, chapters in parts:
        lectures = [one for one in chapters if "/" not in one.page]
        inside = "".join(chapter(lecture, [
            one for one in chapters if one.page == f"questions/{lecture.page}"])
            for lecture in lectures)
        found += item(name, "", inside) if name else inside
    found += item("Licences", "licence.xhtml")
    return (f'<nav epub:type="toc" id="toc"><h1>Contents</h1><ol>{found}</ol></nav>'
            '<nav epub:type="landmarks" hidden="hidden"><ol>'
            '<li><a epub:type="cover" href="cover.xhtml">Cover</a></li>'
            '<li><a epub:type="toc" href="nav.xhtml">Contents</a></li>'
            '<li><a epub:type="bodymatter" href="index.xhtml">Begin</a></li>'
            "</ol></nav>")


# what the book offers to those who do not see it, or hear it
ACCESS = {
    "accessMode": ("textual", "visual"),
    "accessModeSufficient": ("textual",),
    "accessibilityFeature": ("alternativeText", "MathML", "readingOrder",
                             "structuralNavigation", "tableOfContents"),
    "accessibilityHazard": ("none",),
    "accessibilitySummary": (
        "Formulas are MathML, pictures are described in words, no script is needed.",),
}


def package(files, spine, known):
    """The package document: what the book is, which files it has, in which order."""
    facts = [f'<dc:identifier id="book">{known["url"]}</dc:identifier>',
             f"<dc:title>{escape(known['title'])}</dc:title>",
             f"<dc:language>{known['language']}</dc:language>",
             "<dc:language>ko</dc:language>",
             f"<dc:description>{escape(known['abstract'].strip())}</dc:description>",
             f"<dc:date>{known['date-released']}</dc:date>",
             f"<dc:rights>{', '.join(known['license'])}</dc:rights>",
             f"<dc:source>{known['repository-code']}</dc:source>",
             f'<meta property="dcterms:modified">{known["modified"]}</meta>',
             f'<meta property="schema:version">{known["version"]}</meta>']
    facts += [f"<dc:creator>{escape(name)}</dc:creator>" for name in known["authors"]]
    facts += [f"<dc:subject>{escape(name)}</dc:subject>" for name in known["keywords"]]
    facts += [f'<meta property="schema:{name}">{value}</meta>'
              for name, values in ACCESS.items() for value in values]
    ids = {name: f"f{number}" for number, name in enumerate(files)}
    items = "\n".join(
        f'<item id="{ids[name]}" href="{name}" media-type="{TYPES[Path(name).suffix]}"'
        f"{properties(name, data)}/>" for name, data in files.items())
    refs = "\n".join(f'<itemref idref="{ids[name]}"/>' for name in spine)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" '
        f'unique-identifier="book" xml:lang="{known["language"]}">\n'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">\n'
        + "\n".join(facts) + f"\n</metadata>\n<manifest>\n{items}\n</manifest>\n"
        f"<spine>\n{refs}\n</spine>\n</package>\n").encode()


def properties(name, data):
    """What the package document must say of a file."""
    if name == "images/cover.png":
        return ' properties="cover-image"'
    if name == "nav.xhtml":
        return ' properties="nav"'
    if name.endswith(".xhtml") and b"<math" in data:
        return ' properties="mathml"'
    return ""


CONTAINER = b"""<?xml version="1.0" encoding="utf-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="EPUB/package.opf"
 media-type="application/oebps-package+xml"/></rootfiles>
</container>
"""


def pack(files, spine, known, target):
    """Write the file; its type comes first and is not compressed, as the format asks.
    """
    inside = {"META-INF/container.xml": CONTAINER,
              "EPUB/package.opf": package(files, spine, known)}
    inside |= {f"EPUB/{name}": data for name, data in files.items()}
    with zipfile.ZipFile(target, "w") as archive:
        # a ZipInfo without a date has the same in every build
        archive.writestr(zipfile.ZipInfo("mimetype"), b"application/epub+zip")
        for name, data in inside.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, 9)


def build(site, target):
    """Make the EPUB of the site that was built into a folder."""
    site, known = Path(site), about()
    parts = [(name, [Chapter(page, article(site / f"{page}.html")) for page in pages])
             for name, pages in order()]
    chapters = [chapter for _, chapters in parts for chapter in chapters]
    addresses = Addresses(chapters)
    files = {"cover.xhtml": written(known["title"], cover(known), known),
             "edition.xhtml": written("This edition", edition(known), known),
             "nav.xhtml": written("Contents", contents(parts), known)}
    pictures = {}
    for chapter in chapters:
        pictures |= connect(chapter, addresses)
        for title, name in chapter.entries:
            body = etree.tostring(chapter.files[name], encoding="unicode")
            files[name] = written(title, body, known)
    files["licence.xhtml"] = written("Licences", licence(), known)
    spine = list(files)
    files["epub.css"] = Path(__file__).with_name("epub.css").read_bytes()
    files["images/cover.png"] = draw_cover(known)
    for name, path in sorted(pictures.items()):
        files[name] = (site / path).read_bytes()
    pack(files, spine, known, target)


if __name__ == "__main__":
    build(*sys.argv[1:])
