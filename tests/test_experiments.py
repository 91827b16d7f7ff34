"""Claims and what they rest on: pairs, intervals, answers."""

import json

import numpy as np
import pytest
import torch

from byhand import checks, experiments
from byhand.backprop import MSELoss


# --- claims and the record ---

@pytest.mark.parametrize(
    ["verdict", "holds", "agrees"],
    [
        ("holds", True, True), ("holds", False, False),
        ("holds", {"a": True, "b": False}, False), ("holds", np.True_, True),
        ("wrong", False, True), ("wrong", True, False),
        ("wrong", {"a": True, "b": False}, False),
        ("holds-with-conditions", {"a": True, "b": False}, True),
        ("holds-with-conditions", {"a": True}, False),
        ("holds-with-conditions", True, False), ("holds-with-conditions", False, False),
        ("misleading", False, True), ("misleading", {"a": True, "b": False}, True),
        ("misleading", True, False),
    ],
)  # fmt: skip
def test_measurement_and_verdict(verdict, holds, agrees, monkeypatch):
    entry = {"id": "x.1", "says": "a < b", "verdict": verdict, "correct": "b & c",
             "test": "measure"}
    monkeypatch.setattr(experiments, "catalogue", lambda: {"x.1": entry})
    if agrees:
        experiments.claim("x.1", measured="1", holds=holds)
    else:
        with pytest.raises(AssertionError, match="x.1 is said to be"):
            experiments.claim("x.1", measured="1", holds=holds)


def test_a_boundary_may_stand_for_the_measured_exception(monkeypatch):
    entry = {"id": "x.1", "says": "a", "verdict": "holds-with-conditions",
             "correct": "c", "boundary": "Li 2018", "test": "measure"}
    monkeypatch.setattr(experiments, "catalogue", lambda: {"x.1": entry})
    experiments.claim("x.1", measured="1", holds={"here": True})


def test_claims_that_do_not_suit(monkeypatch):
    entries = {name: {"id": name, "says": "a", "verdict": verdict, "correct": "c",
                      "test": test}
               for name, verdict, test in [("m.1", "holds", "measure"), (
                   "n.1", "holds", "none: definition"), ("o.1", "opinion", "measure")]}
    monkeypatch.setattr(experiments, "catalogue", lambda: entries)
    with pytest.raises(KeyError, match="no claim 'missing.1'"):
        experiments.claim("missing.1")
    for wrong in (1, "yes", {}, {"a": 1}, np.array([True])):
        with pytest.raises(TypeError, match="holds must be"):
            experiments.claim("m.1", measured="1", holds=wrong)
    for id, arguments in [("m.1", {}), ("m.1", {"measured": "1"}),
                          ("m.1", {"holds": True}),
                          ("o.1", {"measured": "1", "holds": True}), ("o.1", {})]:
        with pytest.raises(ValueError, match="does not suit"):
            experiments.claim(id, **arguments)
    experiments.claim("n.1")
    experiments.claim("o.1", measured="1")


def test_what_is_shown_is_escaped():
    box = experiments.Claim({"says": "a < b", "verdict": "wrong", "correct": "<b>"}, "1 & 2",
                    {"x > 0": False})._repr_html_()
    assert ("a &lt; b" in box and "1 &amp; 2" in box and "&lt;b&gt;" in box
            and "x &gt; 0: no" in box and "style=" not in box)


def test_the_record(tmp_path, monkeypatch):
    monkeypatch.setenv("BYHAND_RECORD", "record.jsonl")
    with pytest.raises(ValueError, match="absolute"):
        checks.write_record(kind="x")
    monkeypatch.setenv("BYHAND_RECORD", str(tmp_path / "record.jsonl"))
    checks.check_loss(MSELoss(), torch.nn.MSELoss(), np.ones((2, 3)), np.zeros((2, 3)),
                   device="cpu")
    experiments.claim("chain-rule.1", measured="한국어", holds=True)
    run, *checks, measured = map(json.loads, (tmp_path / "record.jsonl").read_text(
        encoding="utf-8").splitlines())
    assert run["kind"] == "run" and run["numpy"] == np.__version__
    assert {(row["quantity"], row["method"], row["dtype"]) for row in checks} == {
        (quantity, "", dtype) for quantity in ("output", "input.grad")
        for dtype in ("float64", "float32")
    } | {("input.grad", "numerical", "float64")}
    assert all(row["device"] == "cpu" and row["error"] <= row["limit"]
               for row in checks)
    assert measured["measured"] == "한국어" and measured["agrees"] is True


# --- statistics ---

def test_paired():
    difference = experiments.paired([3.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (difference.mean == pytest.approx(7 / 3)
            and difference.low == pytest.approx(7 / 3 - 4.302653 / 3))  # s = 0.577
    assert difference.shown and difference.absent(4) and not difference.absent(3)
    assert not experiments.paired([1.0, -1.0, 0.0], [0.0, 0.0, 0.0]).shown
    for a, b in [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([1.0, np.nan], [1.0, 2.0]),
                 ([[1.0, 2.0]], [[1.0, 2.0]])]:
        with pytest.raises(ValueError):
            experiments.paired(a, b)
