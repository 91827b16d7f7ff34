"""The catalogue is sound, and every claim of a finished chapter is measured in exactly
one place.
"""

import ast
import collections
import html
import math
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
            "opinion", "undecided"}
OPTIONAL = {"correct", "boundary", "says_ko", "correct_ko", "refuted_by", "margin"}
OF_AN_INTERVAL = {"low", "high", "mean", "shown", "absent", "sure"}
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
        assert question.keys() - {"figures", "points", "next", "points_ko",
                                  "next_ko"} == {
            "id", "chapter", "question_en", "question_ko", "claims"}, question["id"]
        assert question["chapter"] in CHAPTERS, question["id"]
        assert question["claims"], question["id"]
    for claim in claims(catalogue):
        assert claim.keys() - OPTIONAL == {
            "id", "says", "verdict", "test"}, claim["id"]
        assert all(isinstance(value, str) and value.strip()
                   for key, value in claim.items() if key != "margin"), claim["id"]
        assert claim["verdict"] in VERDICTS, claim["id"]


def test_an_answer_has_three_to_five_points_and_a_next_question(catalogue):
    for question in catalogue:
        for key, least, most in (("points", 3, 5), ("next", 1, 3)):
            if key in question:
                assert least <= len(question[key]) <= most, question["id"]
                assert all(isinstance(text, str) and text.strip()
                           for text in question[key]), question["id"]
            korean = question.get(f"{key}_ko", question.get(key, []))
            assert len(korean) == len(question.get(key, [])), question["id"]


def test_korean_keys_are_korean(catalogue):
    for claim in claims(catalogue):
        for key in ("says_ko", "correct_ko"):
            assert key not in claim or re.search("[가-힣]", claim[key]), claim["id"]
        assert "correct" in claim or "correct_ko" not in claim, claim["id"]


def test_what_can_be_refuted_says_by_what_and_from_which_difference_on(catalogue):
    for claim in claims(catalogue):
        if "refuted_by" in claim:
            assert claim["verdict"] not in ("opinion", "outdated"), claim["id"]
            assert not claim["test"].startswith("none:"), claim["id"]
        if "margin" in claim:
            assert "refuted_by" in claim, claim["id"]
            assert claim["margin"].keys() == {"d", "because"}, claim["id"]
            assert claim["margin"]["because"].strip(), claim["id"]
            d = claim["margin"]["d"]
            for value in d.values() if isinstance(d, dict) else [d]:
                assert isinstance(value, float) and 0 < value < math.inf, claim["id"]


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


def test_claims_are_of_the_catalogue(path, catalogue):
    known = {claim["id"] for claim in claims(catalogue)}
    assert {ast.literal_eval(call.args[0]) for call in calls(path)} <= known


def facts_from_intervals(source):
    """The calls of `fact` whose first argument hangs on an interval's bounds."""
    tree = ast.parse(source)
    # np.mean(…), x.mean() and the like are no intervals: only what paired gave
    intervals = {target.id for node in ast.walk(tree) if isinstance(node, ast.Assign)
                 for target in node.targets if isinstance(target, ast.Name)
                 and isinstance(node.value, ast.Call)
                 and getattr(node.value.func, "id", "") == "paired"}

    def reads(node):
        return any(isinstance(part, ast.Attribute) and part.attr in OF_AN_INTERVAL
                   and (getattr(part.value, "id", "") in intervals
                        or getattr(getattr(part.value, "func", None), "id", "")
                        == "paired") for part in ast.walk(node))

    bools = {target.id for node in ast.walk(tree) if isinstance(node, ast.Assign)
             and reads(node.value) for target in node.targets
             if isinstance(target, ast.Name)}
    for node in ast.walk(tree):
        if (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "fact"
                and node.args and (reads(node.args[0]) or any(
                    isinstance(part, ast.Name) and part.id in bools
                    for part in ast.walk(node.args[0])))):
            yield ast.unparse(node)


def test_a_fact_is_no_interval(notebook):
    source = "\n".join(TransformerManager().transform_cell(cell.source)
                       for cell in notebook.cells if cell.cell_type == "code")
    assert not list(facts_from_intervals(source))


def test_a_bool_from_an_interval_is_found():
    assert list(facts_from_intervals("fact(paired(a, b).low > 0, 'x')"))
    assert list(facts_from_intervals("p = paired(a, b)\nfact(p.shown, 'x')"))
    assert list(facts_from_intervals("p = paired(a, b)\nq = p.low > 0\nfact(q, 'x')"))
    assert not list(facts_from_intervals("fact(x.mean() > 0, 'x')"))


def test_every_question_says_all_in_both_languages(catalogue):
    for entry in catalogue:
        assert {"points", "next"} <= entry.keys(), entry["id"]
        for claim in entry["claims"]:
            assert "says_ko" in claim, claim["id"]
            assert ("correct" in claim) == ("correct_ko" in claim), claim["id"]


def test_a_question_has_one_minute_in_each_language(path, notebook):
    """The answer of one minute stands in the notebook alone, beside its evidence: in
    English a paragraph that begins with **In one minute.**, in Korean one within
    <div lang="ko">.
    """
    if path.parent.name == "questions":
        text = "\n\n".join(cell.source for cell in notebook.cells
                           if cell.cell_type == "markdown")
        for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
            assert section.count("**In one minute.**") <= 1, section[:60]
            korean = re.findall(r'<div lang="ko">\n\n(.+?)\n\n</div>', section,
                                re.DOTALL)
            assert len(korean) <= 1, section[:60]
            if not section.startswith("References"):
                assert "**In one minute.**" in section and korean, section[:60]
                assert "**They ask next.**" in section, section[:60]
            assert all(re.search("[가-힣]", minute) for minute in korean), section[:60]


def test_the_experiments_read_this_catalogue(catalogue):
    known = {claim["id"] for claim in claims(catalogue)}
    assert byhand.experiments.catalogue().keys() == known


# stored boxes that print a bare True or False, and boxes with neither a measurement nor
# a source; the chapters' rework lowers both numbers, and nothing may raise them
BARE, UNFOUNDED = 0, 0


def boxes(paths):
    """The HTML of each claim's box in the stored outputs."""
    for path in paths:
        for cell in nbformat.read(path, as_version=nbformat.NO_CONVERT).cells:
            for output in cell.get("outputs", []):
                box = output.get("data", {}).get("text/html", "")
                if 'class="byhand-claim' in box:
                    yield box


def test_boxes_say_what_the_catalogue_says(paths, catalogue):
    """A box is stored with its words: an entry that changes asks for a run."""
    known = {entry["id"]: entry for entry in claims(catalogue)}
    stale = []
    for box in boxes(paths):
        entry = known[re.search(r'id="claim-([^"]+)"', box).group(1)]
        text = " ".join(html.unescape(re.sub("<[^>]+>", " ", box)).split())
        said = [entry["says"], entry.get("correct"), entry.get("boundary")]
        if "<table>" in box:
            said += [entry["refuted_by"], entry.get("margin", {}).get("because")]
        stale += [(entry["id"], words) for words in filter(None, said)
                  if " ".join(words.split()) not in text]
    assert stale == []


def test_claims_show_numbers_and_sources(paths, catalogue):
    found = list(boxes(paths))
    bare = [box for box in found if re.search(r"\b(True|False)\b", box)]
    known = {entry["id"]: entry for entry in claims(catalogue)}
    unfounded = []
    for box in found:
        entry = known[re.search(r'id="claim-([^"]+)"', box).group(1)]
        source = SOURCE.search(entry.get("correct", "") + entry.get("boundary", ""))
        if not source and "<dt>Measured</dt>" not in box and "<table>" not in box:
            unfounded.append(entry["id"])
    assert (len(bare), len(unfounded)) == (BARE, UNFOUNDED), unfounded
