"""The sample of mutants: what is drawn, what is left out, and what is counted."""

import ast
import json

import mutants
import pytest

CODE = '''
def x_scale__mutmut_orig(x, by):
    check_array("x", x)
    if by < 0:
        raise ValueError(f"by must not be negative, got {by}")
    return x * by

def x_scale__mutmut_1(x, by):
    check_array("XXxXX", x)
    if by < 0:
        raise ValueError(f"by must not be negative, got {by}")
    return x * by

def x_scale__mutmut_2(x, by):
    check_array("x", x)
    if by <= 0:
        raise ValueError(f"by must not be negative, got {by}")
    return x * by

def x_scale__mutmut_3(x, by):
    check_array("x", x)
    if by < 0:
        raise ValueError(None)
    return x * by

class Layer:
    def xǁLayerǁ__init____mutmut_orig(self, width=1):
        self.width = width

    def xǁLayerǁ__init____mutmut_1(self, width=2):
        self.width = width

    def xǁLayerǁ__init____mutmut_2(self, width=1):
        self.width = None
'''


@pytest.fixture
def found():
    return list(mutants.read("tiny", CODE))


def test_a_mutant_is_its_function_and_its_change(found):
    assert [mutant.function for mutant in found] == ["scale"] * 3 + [
        "Layer.__init__"] * 2
    assert found[1].name == "byhand.tiny.x_scale__mutmut_2"
    assert found[1].change == "- if by < 0:\n+ if by <= 0:"
    assert found[3].change == ("- def __init__(self, width=1):\n"
                               "+ def __init__(self, width=2):")


def test_texts_of_errors_are_not_drawn(found):
    assert [mutant.text for mutant in found] == [True, False, True, False, False]
    assert not any(mutant.text for mutant in mutants.draw(found, 0))


def test_a_change_elsewhere_leaves_the_sample(found):
    more = "\ndef x_new__mutmut_orig(x):\n    return x + 1\n" + "".join(
        f"\ndef x_new__mutmut_{i}(x):\n    return x + {i + 1}\n" for i in range(1, 9))
    before = [mutant.name for mutant in mutants.draw(found, 0, 99)]
    after = [mutant.name for mutant in mutants.draw(
        list(mutants.read("tiny", more + CODE)), 0, 99) if "new" not in mutant.name]
    assert before == after and len(before) == 3
    assert len({tuple(m.name for m in mutants.draw(found, seed, 2))
                for seed in range(20)}) > 1


def test_survivors_are_explained_or_counted(found):
    sample = mutants.draw(found, 0)
    results = {mutant.name: "survived" for mutant in sample} | {
        "byhand.tiny.x_scale__mutmut_2": "killed"}
    reasons = {("tiny", "Layer.__init__", found[3].change): "it is never asked for"}
    row, survivors = mutants.judge(found, sample, results, reasons)
    assert row == {"mutants": 5, "texts": 2, "sampled": 3, "killed": 1, "timeouts": 0,
                   "equivalent": 1, "survived": 1}
    assert survivors == [found[4]]
    summed = mutants.total([row, row | {"killed": 2, "survived": 0}])
    assert summed["share"] == 0.75 and summed["sampled"] == 6
    assert summed["interval"] == [0.3006, 0.9544]  # Wilson's of 3 in 4


def test_what_is_said_to_compute_the_same_still_stands(root):
    """Each change takes lines out of the function that it names."""
    for (module, name, change), why in mutants.explained().items():
        tree = ast.parse((root / "byhand" / f"{module}.py").read_text("utf-8"))
        for part in name.split("."):
            (tree,) = (node for node in ast.walk(tree) if isinstance(
                node, (ast.ClassDef, ast.FunctionDef)) and node.name == part)
        source = (root / "byhand" / f"{module}.py").read_text("utf-8").splitlines()
        lines = [line.strip() for line in source[tree.lineno - 1:tree.end_lineno]]
        gone = [line[2:] for line in change.splitlines() if line.startswith("- ")]
        assert gone and set(gone) <= set(lines) and len(why) > 20, (name, change)


def test_the_record_adds_up():
    record = json.loads(mutants.RECORD.read_text(encoding="utf-8"))
    assert sorted(record["modules"]) == mutants.modules()
    rows = list(record["modules"].values())
    for row in rows:
        assert row["sampled"] == row["killed"] + row["equivalent"] + row["survived"]
    for name in ("sampled", "killed", "survived"):
        assert record["total"][name] == sum(row[name] for row in rows)


def test_every_mutant_of_the_record_was_noticed_or_is_explained():
    record = json.loads(mutants.RECORD.read_text(encoding="utf-8"))
    assert [name for name, row in record["modules"].items() if row["survived"]] == []
