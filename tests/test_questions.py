"""The catalogue is sound, and every claim of a finished chapter is measured in exactly
one place.
"""

import ast
import collections
import re

import byhand.experiments
import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

# the order stands in _toc.yml, which names a chapter when it is written
CHAPTERS = set(
    "perceptron backprop losses gradient_descent activations initialization "
    "normalization optimizers learning"
    " regularization ensembles transfer_learning convolution generative gpu".split()
)
VERDICTS = {"holds", "holds-with-conditions", "misleading", "wrong", "outdated",
            "opinion"}
SOURCE = re.compile(r"\b(?:1[5-9]|20)\d\d\b|https?://|\bdocumentation\b|\bsection\b|\bchapter\b|\b[Dd]ocs\b")


def claims(catalogue):
    return [claim for question in catalogue for claim in question["claims"]]


def calls(path):
    """The calls of `claim` in a notebook, as syntax trees."""
    cells = nbformat.read(path, as_version=nbformat.NO_CONVERT).cells
    for cell in cells:
        if cell.cell_type == "code":
            for node in ast.walk(
                ast.parse(TransformerManager().transform_cell(cell.source))):
                if isinstance(node, ast.Call) and isinstance(
                    node.func, ast.Name) and node.func.id == "claim":
                    yield node


def test_entries_have_these_keys(catalogue):
    for question in catalogue:
        assert question.keys() - {"figures"} == {
            "id", "chapter", "question_en", "question_ko", "claims"}, question["id"]
        assert question["chapter"] in CHAPTERS, question["id"]
        assert question["claims"], question["id"]
    for claim in claims(catalogue):
        assert claim.keys() - {"correct", "boundary"} == {
            "id", "says", "verdict", "test"}, claim["id"]
        assert all(isinstance(value, str) and value.strip()
                   for value in claim.values()), claim["id"]
        assert claim["verdict"] in VERDICTS, claim["id"]


def test_ids_are_unique(catalogue):
    counts = collections.Counter(entry["id"] for entry in catalogue + claims(catalogue))
    assert max(counts.values()) == 1, counts.most_common(3)


def test_ids_are_kebab_case_and_numbered(catalogue):
    for question in catalogue:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", question["id"])
        for claim in question["claims"]:
            assert re.fullmatch(re.escape(question["id"]) + r"\.[1-9]\d*", claim["id"])


def test_questions_are_asked_in_both_languages(catalogue):
    for language, letters in (("question_en", "[A-Za-z]"), ("question_ko", "[가-힣]")):
        texts = [question[language] for question in catalogue]
        assert all(re.search(letters, text) for text in texts)
        assert len(set(texts)) == len(texts)


def test_corrections_are_measured_or_have_a_source(catalogue):
    """Where the book measures nothing, and it is no matter of opinion, the right
    statement says whose it is.
    """
    for claim in claims(catalogue):
        assert ("correct" in claim) == (claim["verdict"] != "holds"), claim["id"]
        if claim["test"].startswith("none:") and claim["verdict"] not in (
            "holds", "opinion"):
            assert SOURCE.search(claim["correct"]), claim["id"]
        assert "boundary" not in claim or SOURCE.search(claim["boundary"]), claim["id"]


def test_a_questions_notebook_asks_the_chapter_s_questions(path, notebook, catalogue):
    if path.parent.name != "questions":
        pytest.skip("a lecture")
    text = "\n\n".join(cell.source
                       for cell in notebook.cells if cell.cell_type == "markdown")
    asked = re.findall(r'^## (.+)\n\n<span lang="ko">(.+)</span>$', text, re.MULTILINE)
    expected = [(entry["question_en"], entry["question_ko"])
                for entry in catalogue if entry["chapter"] == path.stem]
    assert sorted(asked) == sorted(expected)


def test_finished_chapters_measure_each_claim_once(paths, catalogue, toc):
    counts = collections.Counter(ast.literal_eval(call.args[0]) for path in paths
                                 for call in calls(path))
    assert max(counts.values(), default=1) == 1, counts.most_common(3)
    for question in catalogue:
        chapter = question["chapter"]
        if {f"book/{chapter}", f"book/questions/{chapter}"} <= set(toc):
            for claim in question["claims"]:
                assert claim["id"] in counts


def test_claims_are_of_the_catalogue_and_computed(path, catalogue):
    known = {claim["id"] for claim in claims(catalogue)}
    for call in calls(path):
        assert ast.literal_eval(call.args[0]) in known
        for keyword in call.keywords:
            if keyword.arg == "holds":
                values = (keyword.value.values if isinstance(keyword.value, ast.Dict)
                          else [keyword.value])
                assert not any(isinstance(value, ast.Constant)
                               for value in values), ast.unparse(call)


def test_the_experiments_read_this_catalogue(catalogue):
    assert byhand.experiments.catalogue().keys() == {claim["id"] for claim in claims(catalogue)}
