"""A number with decimals in the prose of a notebook is one that the notebook prints or
that its code contains, to the digits shown. (A whole number proves too little, and so
does a match: many numbers are printed. What this finds is one that nobody printed.)
"""

import bisect
import re

import pytest

# no measurements: formulas, code, what is cited, links, parts of a book, versions
SILENT = re.compile(
    r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\{[a-z:]+\}|\[[^\]]*\]\([^)]*\)|https?://\S+"
    r"|arXiv:\S+|#\d+|\d[\d.]*절"
    r"|(?:sections?|chapters?|version|eqs?\.|식) [\d.-]+(?:(?:, | and )[\d.]+)*",
    re.DOTALL)
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?")
SAID = re.compile(r"(?<![\w.,-])\d[\d,]*\.\d+(?!\w)")
# what a claim's box repeats of the catalogue, which is prose itself
REPEATED = re.compile(r"^(?:Claim \(|Correct:|Refuted by:|Margin:|Boundary:).*$",
                      re.MULTILINE)

# {(notebook, number): where it comes from}
DERIVED = {
    ("experiments", "4.30"): "a quantile of Student's distribution",
    ("experiments", "2.26"): "a quantile of Student's distribution",
    ("gpu", "3.35"): "NVIDIA's data sheet",
    ("gpu", "84.1"): "a difference of two numbers of the record",
    ("gpu", "268.7"): "what the record left out, by the formula",
    ("optimizers", "5.3"): "the formula in the same sentence",
    ("questions/convolution", "0.959"): "reported by the book that the question is on",
    ("questions/gpu", "33.6"): "the formula in the same sentence",
    ("questions/learning", "3.3"): "Barz and Denzler, 2020",
    ("questions/losses", "0.999997"): "the lecture prints it",
    ("questions/normalization", "10.6"): "Wu and He, 2018",
    ("questions/optimizers", "6.6"): "the largest value of a formula over its steps",
    ("questions/regularization", "1.69"): "the bound of a paper",
    ("questions/transfer_learning", "2.6"): "Howard and Ruder, 2018",
}
# {(claim, number): who reports it}
CITED = {
    ("accelerating-batch-norm-networks.1", "72.2"): "Ioffe and Szegedy, 2015",
    ("accelerating-batch-norm-networks.1", "74.8"): "Ioffe and Szegedy, 2015",
    ("dcgan.4", "82.8"): "Radford et al., 2016",
    ("test-set-contamination.1", "3.3"): "Barz and Denzler, 2020",
    ("what-is-deep-learning.4", "86.1"): "Azevedo et al., 2009",
}


def numbers(text):
    return {abs(float(found.replace(",", ""))) for found in NUMBER.findall(text)}


def printed(notebook):
    """The numbers in the code and the outputs, also as shares of a hundred, sorted."""
    found = set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found |= numbers(cell.source)
            for output in cell.outputs:
                data = output.get("data", {})
                found |= numbers(REPEATED.sub("", output.get("text", "") + "\n"
                                              + data.get("text/plain", "")))
    return sorted(found | {100 * value for value in found}
                  | {value / 100 for value in found})


def unprinted(prose, known):
    """The numbers with decimals in a text that no known one is rounded to."""
    found = []
    for said in SAID.findall(SILENT.sub(" ", prose)):
        value, half = float(said.replace(",", "")), 0.51 * 10.0**-len(
            said.partition(".")[2])
        place = bisect.bisect_left(known, value - half)
        if place == len(known) or known[place] > value + half:
            found.append(said)
    return found


def test_prose_tells_what_was_printed(path, notebook, root):
    name = path.relative_to(root / "book").with_suffix("").as_posix()
    known = printed(notebook)
    found = {(name, said) for cell in notebook.cells if cell.cell_type == "markdown"
             for said in unprinted(cell.source, known)}
    assert found <= DERIVED.keys(), f"no cell prints {sorted(found - DERIVED.keys())}"


def test_what_is_true_of_a_claim_tells_what_was_printed(path, notebook, catalogue):
    """In the notebook that judges it."""
    texts = {claim["id"]: claim for question in catalogue
             for claim in question["claims"]}
    known = printed(notebook)
    judged = [id for cell in notebook.cells if cell.cell_type == "code"
              for id in re.findall(r'claim\(\s*"([^"]+)"', cell.source)]
    found = {(id, said) for id in judged if id in texts
             for key in ("correct", "correct_ko")
             for said in unprinted(texts[id].get(key, ""), known)}
    assert found <= CITED.keys(), f"no cell prints {sorted(found - CITED.keys())}"


def test_a_number_that_is_derived_is_still_told(paths, root):
    for name, number in DERIVED:
        assert number in (root / "book" / f"{name}.ipynb").read_text("utf-8"), number


@pytest.mark.parametrize("prose, missing", [
    ("It was 0.71 then.", ["0.71"]), ("It was 0.12, or 12.5 %.", []),
    ("Half of it: 0.1.", []), ("See section 7.10 and $x = 0.71$.", [])])
def test_what_is_looked_for(prose, missing):
    assert unprinted(prose, [0.00125, 0.1, 0.12345, 12.5]) == missing
