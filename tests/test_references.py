"""The references: each entry leads to its work, is cited, and is listed under the label
that the text has.
"""

import collections
import re

import nbformat
import pytest
from pybtex.database import parse_file, parse_string

LINKS = {
    "doi": re.compile(r"10\.\d{4,9}/\S+"),
    "eprint": re.compile(r"\d{4}\.\d{4,5}|[a-z-]+/\d{7}"),  # arXiv, new and old
    # a page that has a DOI or an arXiv number is named by that
    "url": re.compile(
        r"https://(?!(?:dx\.)?doi\.org|arxiv\.org)[\w.-]+(?:/[^\s{}\\]*)?"),
}


@pytest.fixture(scope="module")
def entries(root):
    return parse_file(root / "book" / "references.bib").entries


@pytest.fixture(scope="module")
def references(script):
    return script("book/_ext/references.py")


def cited(text):
    """The keys in the roles {cite}`a, b` and {cite:t}`{see}a`."""
    for role in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text):
        for key in re.sub(r"\{[^}]*\}", "", role).split(","):
            yield key.strip()


def malformed(entries):
    """Entries without a link, or with one that is none."""
    for key, entry in entries.items():
        links = {name: entry.fields[name] for name in LINKS if name in entry.fields}
        if not links or not all(LINKS[name].fullmatch(value)
                                for name, value in links.items()):
            yield key, links


def shared(entries):
    """Links that two entries have."""
    counts = collections.Counter(
        (name, entry.fields[name].casefold().rstrip("/"))
        for entry in entries.values() for name in LINKS if name in entry.fields)
    return [link for link, count in counts.items() if count > 1]


def test_each_entry_has_a_link(entries):
    assert len(entries) > 100
    assert not list(malformed(entries))


def test_no_two_entries_share_a_link(entries):
    assert not shared(entries)


def test_a_number_of_arxiv_stands_in_eprint(entries):
    """In a note or as a journal it would be no link."""
    for key, entry in entries.items():
        for name, value in entry.fields.items():
            assert name == "url" or not re.search("arxiv", value, re.IGNORECASE), key


def test_each_entry_is_cited_and_each_citation_has_an_entry(entries, paths, root):
    texts = [path.read_text(encoding="utf-8") for path in root.glob("book/*.md")]
    for path in paths:
        cells = nbformat.read(path, as_version=nbformat.NO_CONVERT).cells
        texts += [cell.source for cell in cells if cell.cell_type == "markdown"]
    assert {key for text in texts for key in cited(text)} == set(entries)


def test_labels_are_those_of_the_text_and_differ(entries, references):
    labels = {key: references.label(entry) for key, entry in entries.items()}
    assert labels["santurkar2018"] == "Santurkar et al., 2018"
    assert labels["glorot2010"] == "Glorot and Bengio, 2010"
    assert max(collections.Counter(labels.values()).values()) == 1


def test_links_can_be_clicked(entries, references):
    references.setup(None)
    style = references.Style()
    for key, entry in entries.items():
        html = style.format_entry("", entry).text.render_as("html")
        addresses = re.findall(r'<a href="(https://[^"<>\s]+)">', html)
        assert len(addresses) == len(LINKS.keys() & entry.fields.keys()), key


def test_a_bad_link_is_found():
    def entry(key, fields):
        return f"@misc{{{key}, author = {{A, B}}, year = {{2000}}, {fields}}}\n"

    found = parse_string("".join([
        entry("none", "title = {T}"),
        entry("whole", "doi = {https://doi.org/10.1000/1}"),
        entry("prefix", "eprint = {arXiv:1234.56789}"),
        entry("hidden", "url = {https://arxiv.org/abs/1234.56789}"),
        entry("plain", "url = {http://example.org}"),
        entry("good", "doi = {10.1000/1}"),
        entry("again", "doi = {10.1000/1}"),
    ]), "bibtex").entries
    assert [key for key, _ in malformed(found)] == [
        "none", "whole", "prefix", "hidden", "plain"]
    assert shared(found) == [("doi", "10.1000/1")]
    assert list(cited("{cite}`a,b` and {cite:t}`{see}c{p. 3}`, `d`")) == ["a", "b", "c"]
