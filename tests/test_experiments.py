"""Claims and what they rest on: pairs, intervals, answers."""

import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from byhand import checks, experiments
from byhand.activations import GLU, LeakyReLU, PReLU, SwiGLU, Tanh
from byhand.backprop import Linear, MSELoss, ReLU, Sequential, train
from byhand.checks import check_layer, check_loss, relative_error
from byhand.convolution import Residual
from byhand.experiments import (
    ANSWERS, Paired, SideBySide, StackedLinear, accuracy, baselines, constant, fact,
    margin, mlp, nearest_neighbor, paired, softmax_regression, stack, tuned,
)
from byhand.gpu import Checkpoint
from byhand.losses import CrossEntropyLoss, Softmax


# --- claims and the record ---

@pytest.mark.parametrize(
    ["verdict", "found", "agrees"],
    [
        ("holds", [True], True), ("holds", [False], False),
        ("holds", [True, False], False), ("holds", [np.True_], True),
        ("wrong", [False], True), ("wrong", [True], False),
        ("wrong", [True, False], False),
        ("holds-with-conditions", [True, False], True),
        ("holds-with-conditions", [True], False),
        ("holds-with-conditions", [False], False),
        ("misleading", [False], True), ("misleading", [True, False], True),
        ("misleading", [True], False),
    ],
)  # fmt: skip
def test_measurement_and_verdict(verdict, found, agrees, monkeypatch):
    found = {f"{i}": fact(value, "1") for i, value in enumerate(found)}
    if agrees:
        claimed(monkeypatch, found, verdict=verdict)
    else:
        with pytest.raises(AssertionError, match="x.1: it is said to be"):
            claimed(monkeypatch, found, verdict=verdict)


def test_a_boundary_may_stand_for_the_measured_exception(monkeypatch):
    claimed(monkeypatch, {"here": fact(True, "1")}, verdict="holds-with-conditions",
            boundary="Li 2018")


def test_claims_that_do_not_suit(monkeypatch):
    entries = {name: {"id": name, "says": "a", "verdict": verdict, "correct": "c",
                      "test": test}
               for name, verdict, test in [("m.1", "holds", "measure"), (
                   "n.1", "holds", "none: definition"), ("o.1", "opinion", "measure")]}
    monkeypatch.setattr(experiments, "catalogue", lambda: entries)
    with pytest.raises(KeyError, match="no claim 'missing.1'"):
        experiments.claim("missing.1")
    for id, arguments in [("m.1", {}), ("m.1", {"measured": "1"}),
                          ("n.1", {"measured": "1"}), ("o.1", {})]:
        with pytest.raises(ValueError, match="give found="):
            experiments.claim(id, **arguments)
    experiments.claim("n.1")
    experiments.claim("o.1", measured="1")


def test_what_is_shown_is_escaped():
    entry = {"id": "x.1", "says": "a < b", "verdict": "wrong", "correct": "<b>"}
    box = experiments.Claim(entry, "1 & 2")._repr_html_()
    assert ("a &lt; b" in box and "1 &amp; 2" in box and "&lt;b&gt;" in box
            and "style=" not in box)


def test_the_record(tmp_path, monkeypatch):
    monkeypatch.setenv("BYHAND_RECORD", "record.jsonl")
    with pytest.raises(ValueError, match="absolute"):
        checks.write_record(kind="x")
    monkeypatch.setenv("BYHAND_RECORD", str(tmp_path / "record.jsonl"))
    checks.check_loss(MSELoss(), torch.nn.MSELoss(), np.ones((2, 3)), np.zeros((2, 3)),
                   device="cpu")
    claimed(monkeypatch, fact(True, "2 < 3"), measured="한국어", margin=None)
    run, *rows, measured = map(json.loads, (tmp_path / "record.jsonl").read_text(
        encoding="utf-8").splitlines())
    assert run["kind"] == "run" and run["numpy"] == np.__version__
    assert {(row["quantity"], row["method"], row["dtype"]) for row in rows} == {
        (quantity, "", dtype) for quantity in ("output", "input.grad")
        for dtype in ("float64", "float32")
    } | {("input.grad", "numerical", "float64")}
    assert all(row["device"] == "cpu" and row["error"] <= row["limit"]
               for row in rows)
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


# --- many networks at once ---

@pytest.mark.parametrize(["n", "s", "d", "m"],
                         [(5, 3, 4, 2), (1, 1, 1, 1), (2, 4, 1, 3)])
def test_stacked_linear(n, s, d, m):
    rng = np.random.default_rng(4)
    layer = StackedLinear(rng.normal(size=(s, m, d)), rng.normal(size=(s, 1, m)))
    check_layer(layer, lambda x, weight, bias: torch.einsum("nsd,smd->nsm", x, weight)
                + bias[:, 0], rng.normal(size=(n, s, d)), device="cpu")
    dy = rng.normal(size=(n, s, m))
    layer.forward(rng.normal(size=(n, s, d)))
    layer.backward(dy)
    with_dx, layer.grads["weight"] = dict(layer.grads), np.zeros((s, m, d))
    assert layer.backward(dy, input_grad=False) is None
    assert all(np.array_equal(layer.grads[name], with_dx[name]) for name in with_dx)


def test_side_by_side_is_each_alone():
    rng = np.random.default_rng(5)
    prediction, target = rng.normal(size=(6, 3, 4)), rng.integers(4, size=(6, 3))
    check_loss(SideBySide(CrossEntropyLoss(reduction="sum")), lambda p, t: sum(
        torch.nn.functional.cross_entropy(p[:, s], t[:, s]) for s in range(3)),
               prediction, target, device="cpu")
    models = [Sequential(Linear(4, 5, rng=rng), ReLU(), Linear(5, 3, rng=rng))
              for _ in range(3)]
    x, y, together = rng.normal(size=(20, 4)), rng.integers(3, size=20), stack(models)
    train(together, SideBySide(CrossEntropyLoss(reduction="sum")), np.stack([x] * 3, 1),
          np.stack([y] * 3, 1), lr=0.1, epochs=3, batch_size=7,
          rng=np.random.default_rng(0))
    for k, model in enumerate(models):
        train(model, CrossEntropyLoss(), x, y, lr=0.1, epochs=3, batch_size=7,
              rng=np.random.default_rng(0))
        for name, value in model.params.items():
            assert (relative_error(together.params[name][k].reshape(value.shape),
                                   value) < 1e-12)


RNG = np.random.default_rng(6)


def linear(n_in=3, n_out=2, **settings):
    return Linear(n_in, n_out, rng=RNG, **settings)


@pytest.mark.parametrize("make", [
    lambda: Sequential(linear(4, 4), Sequential(ReLU(), linear(4, 4)), LeakyReLU(0.3)),
    lambda: Sequential(linear(4, 6), Softmax(dim=-1), GLU(-1), linear(3, 2)),
])  # fmt: skip
def test_each_model_of_a_stack_computes_what_it_computes_alone(make):
    models = [make() for _ in range(3)]
    x, dy = RNG.normal(size=(5, 3, 4)), None
    together = stack(models)
    y = together.forward(x)
    dx = together.backward(dy := RNG.normal(size=y.shape))
    for s, model in enumerate(models):
        assert relative_error(y[:, s], model.forward(x[:, s])) < 1e-12
        assert relative_error(dx[:, s], model.backward(dy[:, s])) < 1e-12


class Scale(PReLU):
    """A layer that says itself how it is stacked."""

    @staticmethod
    def stacked(layers):
        return Tanh()


def test_a_layer_says_how_it_is_stacked():
    assert isinstance(stack([Sequential(Scale())] * 2).layers[0], Tanh)


@pytest.mark.parametrize(["call", "error", "message"], [
    (lambda: StackedLinear(np.ones((2, 3, 4)), np.ones((2, 3))), ValueError, "bias"),
    (lambda: StackedLinear(np.ones((2, 3, 4)), np.ones((2, 1, 3))).forward(
        np.ones((5, 3, 4))), ValueError, "x must have the shape"),
    (lambda: StackedLinear(np.ones((2, 3, 4)), np.ones((2, 1, 3))).forward(
        np.ones((5, 2, 4), np.float32)), TypeError, "float64"),
    (lambda: StackedLinear(np.ones((2, 3, 4)), np.ones((2, 1, 3), np.float32)),
     TypeError, "bias"),
    (lambda: stack([]), ValueError, "at least one"),
    (lambda: stack([linear(), linear()]), TypeError, "Sequentials, got Linear"),
    (lambda: stack([Sequential(linear(bias=False))]), ValueError, "without bias"),
    (lambda: stack([Sequential(linear(), PReLU())] * 2), ValueError, "PReLU has a"),
    (lambda: stack([Sequential(linear()), Sequential(ReLU())]), ValueError,
     "Linear, ReLU in one place"),
    (lambda: stack([Sequential(linear()), Sequential(linear(), ReLU())]), ValueError,
     r"\[1, 2\] layers"),
    (lambda: stack([Sequential(linear()), Sequential(linear(4))]), ValueError, "shape"),
    (lambda: stack([Sequential(linear(), LeakyReLU(s)) for s in (0.01, 0.9)]),
     ValueError, "settings of LeakyReLU"),
    (lambda: stack([Sequential(Residual(LeakyReLU(s))) for s in (0.01, 0.9)]),
     ValueError, "settings of Residual"),
    (lambda: stack([Sequential(Checkpoint(LeakyReLU(s))) for s in (0.1, 0.9)]),
     ValueError, "settings of Checkpoint"),
    (lambda: stack([Sequential(Residual(act())) for act in (ReLU, Tanh)]),
     ValueError, "settings of Residual"),
    (lambda: stack([Sequential(GLU(1))] * 2), ValueError, "GLU does not treat"),
    (lambda: stack([Sequential(Softmax(dim=1))] * 2), ValueError, "Softmax does not"),
    (lambda: SideBySide(CrossEntropyLoss()), ValueError, '"sum", got .mean'),
    (lambda: SideBySide(CrossEntropyLoss(np.array([1.0, 2.0]), reduction="sum")),
     ValueError, "class weights"),
    (lambda: SideBySide(CrossEntropyLoss(reduction="sum")).forward(
        np.ones((0, 2, 3)), np.ones((0, 2), int)), ValueError, "empty batch"),
    (lambda: SideBySide(CrossEntropyLoss(reduction="sum")).forward(
        np.ones((2, 3)), np.ones(2, int)), ValueError, "prediction must have"),
    (lambda: SideBySide(CrossEntropyLoss(reduction="sum")).forward(
        np.ones((2, 2, 3)), np.array([[1, 2], [0, -100]])), ValueError, "-100"),
    (lambda: SideBySide(CrossEntropyLoss(reduction="sum")).backward(), AttributeError,
     "call forward"),
    (lambda: mlp([3], RNG), ValueError, "input and output"),
    (lambda: accuracy(mlp([3, 2], RNG), np.ones((0, 3)), np.ones(0, int)), ValueError,
     "at least one"),
    (lambda: accuracy(mlp([3, 2], RNG), np.ones((4, 3)), np.ones((4, 1), int)),
     ValueError, "shape"),
])  # fmt: skip
def test_what_cannot_run_side_by_side_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_failed_batch_leaves_the_loss_as_it_was():
    loss, alone = SideBySide(CrossEntropyLoss(reduction="sum")), CrossEntropyLoss()
    prediction, target = RNG.normal(size=(6, 1, 4)), RNG.integers(4, size=(6, 1))
    loss.forward(prediction, target)
    with pytest.raises(ValueError, match=r"\w"):
        loss.forward(prediction[:3], np.full((3, 1), 7))
    alone.forward(prediction[:, 0], target[:, 0])
    assert relative_error(loss.backward()[:, 0], alone.backward()) < 1e-12


def test_an_mlp_is_drawn_as_initialize_draws_it():
    from byhand.initialization import initialize, kaiming_normal

    first, second = np.random.default_rng(3), np.random.default_rng(3)
    ours = mlp([4, 5, 3], first, Tanh, kaiming_normal)
    theirs = Sequential(Linear(4, 5, rng=second), Tanh(), Linear(5, 3, rng=second))
    theirs.load_state(initialize(theirs, kaiming_normal, second))
    for name, value in theirs.params.items():
        assert np.array_equal(ours.params[name], value)


def test_an_answer_that_is_no_number_is_wrong():
    model = mlp([2, 2], RNG)
    model.load_state({"0.weight": np.eye(2), "0.bias": np.zeros(2)})
    x = np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, 0.0]])
    assert accuracy(model, x, np.array([0, 0, 0])) == 1 / 3 and model.training
    accuracy(model.eval(), x, np.array([0, 0, 0]))
    assert not model.training
    model.train().layers[0].eval()  # a frozen body
    accuracy(model, x, np.array([0, 0, 0]))
    assert model.training and not model.layers[0].training
    with pytest.raises(TypeError, match="integers, got float64"):
        accuracy(model, x, np.array([0, 0, 0]) + 0.5)


# --- pairs and their answers ---


@pytest.mark.parametrize(["low", "high", "d", "answer"], [
    (-0.1, 0.2, None, "undecided"), (0.1, 0.2, None, "more"),
    (-0.2, -0.1, None, "less"), (-0.1, 0.2, 0.3, "absent"), (0.1, 0.2, 0.3, "absent"),
    (0.1, 0.4, 0.3, "more"), (-0.4, -0.1, 0.3, "less"), (-0.1, 0.4, 0.3, "undecided"),
    (-0.3, 0.3, 0.3, "undecided"), (0.1, 0.1, 0.3, "undecided"),
])  # fmt: skip
def test_four_answers_exclude_each_other(low, high, d, answer):
    found = Paired((low + high) / 2, low, high, 5, d, (low - 9, high + 9))
    assert found.answer == answer
    asked = [a for a in ANSWERS[:3] if d is not None or a != "absent"]
    held = {a: found.answers(a).holds for a in asked}
    assert held == {a: None if answer == "undecided" else a == answer for a in asked}
    assert all(found.answers(a).surely is None for a in asked)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_the_interval_is_scipy_s(differences):
    a = np.array(differences)
    found = paired(a, 0.0)
    if found.low < found.high:
        for level, bounds in ((0.95, (found.low, found.high)), (0.999, found.sure)):
            theirs = stats.ttest_1samp(a, 0).confidence_interval(level)
            assert np.allclose(bounds, theirs, rtol=1e-9, atol=1e-9)


def test_settings_of_a_pair():
    a, n = np.array([0.1, 0.4, 0.3, 0.2]), 4
    half = paired(a, 0.0).high - a.mean()
    quantile = stats.t.ppf([0.975, 0.995], n - 1)
    wider = paired(a, 0.0, comparisons=5).high - a.mean()
    assert wider == pytest.approx(half * quantile[1] / quantile[0])
    split = paired(a, 0.0, resplit=0.5).high - a.mean()
    assert split == pytest.approx(half * np.sqrt((1 / n + 0.5) * n))
    assert repr(paired(a, 0.0, d=0.1, comparisons=5)) == (
        "undecided: 0.25 [-0.13, 0.63], n = 4, d = 0.1, one of 5 comparisons")


@pytest.mark.parametrize("size", [1e-300, 1e-20, 1e20, 1e300])
def test_no_square_overflows_or_vanishes(size):
    small, ours = paired([1.0, 2.0, 4.0], 0.5), paired(np.array([1.0, 2.0, 4.0]) * size,
                                                       0.5 * size)
    assert ours.low / size == pytest.approx(small.low)
    assert ours.answer == small.answer


@pytest.mark.parametrize("value", [0.0, 0.3, 1e-9])
def test_equal_differences_are_no_certainty(value):
    found = paired(np.full(10, 0.7 + value), np.full(10, 0.7), d=0.5)
    assert found.answer == "undecided" and found.answers("more").holds is None
    assert "without spread" in repr(found)
    noisy = paired([0.8, 0.8, 0.8 + 1e-15], [0.7, 0.7 + 1e-16, 0.7])
    assert noisy.answer == "undecided"


@pytest.mark.parametrize(["call", "error", "message"], [
    (lambda: paired([1.0, 2.0], [1.0]), ValueError, r"got \(2,\) and \(1,\)"),
    (lambda: paired(1.0, 2.0), ValueError, "one shape"),
    (lambda: paired([1.0, np.inf], 0.0), ValueError, "diverged"),
    (lambda: paired([1.0, 2.0], 0.0, d=0.0), ValueError, "d must be a positive"),
    (lambda: paired([1.0, 2.0], 0.0, d=np.nan), ValueError, "d must be a positive"),
    (lambda: paired([1.0, 2.0], 0.0, comparisons=0), ValueError, "comparisons"),
    (lambda: paired([1.0, 2.0], 0.0, resplit=-0.1), ValueError, "resplit"),
    (lambda: paired([1.0, 2.0], 0.0).answers("absent"), ValueError, "Give paired a d"),
    (lambda: paired([1.0, 2.0], 0.0).answers("undecided"), ValueError, "expected some"),
    (lambda: paired([1.0, 2.0], 0.0).answers(), ValueError, "expected some"),
    (lambda: fact(1, "x"), TypeError, "got 1"),
    (lambda: fact(None, "x"), TypeError, "got None"),
    (lambda: fact(True, " "), ValueError, "in words"),
])  # fmt: skip
def test_what_has_no_answer_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- claims from outcomes ---

ENTRY = {"id": "x.1", "says": "a < b", "verdict": "holds", "test": "measure",
         "refuted_by": "less", "margin": {"d": 0.1, "because": "a tenth"}}
CLEAR = np.array([1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.1, 0.9, 1.02, 0.98])


def outcomes():
    """What is certainly, hardly, and not more."""
    return {"yes": paired(CLEAR, 0.0, d=0.1).answers("more"),
            "no": paired(-CLEAR, 0.0, d=0.1).answers("more"),
            "open": paired(CLEAR, 0.95, d=0.1).answers("less"),
            "unknown": paired(CLEAR - 1, [0.3, -0.3] * 5, d=0.1).answers("more")}


def claimed(monkeypatch, found, variant=False, control="an identity", measured=None,
            **changes):
    entry = {key: value for key, value in (ENTRY | changes).items()
             if value is not None}
    if entry["verdict"] != "holds":
        entry.setdefault("correct", "it is not so, Li 2018")
    monkeypatch.setattr(experiments, "catalogue", lambda: {"x.1": entry})
    monkeypatch.setenv("BYHAND_VARIANT", "1" if variant else "")
    experiments.claim("x.1", measured, found=found, control=control)


@pytest.mark.parametrize(["verdict", "found", "strict", "variant"], [
    ("holds", ["yes"], True, True), ("holds", ["no"], False, False),
    ("holds", ["unknown"], False, True), ("holds", ["yes", "unknown"], False, True),
    ("wrong", ["no"], True, True), ("wrong", ["unknown"], False, True),
    ("wrong", ["yes"], False, False),
    ("holds-with-conditions", ["yes", "no"], True, True),
    ("holds-with-conditions", ["yes", "no", "unknown"], True, True),
    ("holds-with-conditions", ["yes", "unknown"], False, True),
    ("holds-with-conditions", ["yes", "yes"], False, False),
    ("misleading", ["no", "no"], True, True), ("misleading", ["yes"], False, False),
    ("undecided", ["unknown"], True, True), ("undecided", ["yes"], False, True),
    ("undecided", ["yes", "no", "unknown"], False, True),
])  # fmt: skip
def test_what_came_out_and_the_verdict(verdict, found, strict, variant, monkeypatch):
    found = {f"{i} {name}": outcomes()[name] for i, name in enumerate(found)}
    for mode, agrees in ((False, strict), (True, variant)):
        if agrees:
            claimed(monkeypatch, found, mode, verdict=verdict)
        else:
            with pytest.raises(AssertionError, match="x.1: it is said to be"):
                claimed(monkeypatch, found, mode, verdict=verdict)


@pytest.mark.parametrize(["verdict", "found", "control", "outcome"], [
    ("holds", ["yes"], "yes", "held"), ("holds", ["no"], "yes", "contradicted"),
    ("holds", ["unknown"], "yes", "undecided"),
    ("holds", ["yes"], "no", "contradicted"),
    ("holds", ["yes"], "unknown", "undecided"), ("wrong", ["no"], "yes", "held"),
    ("holds", ["yes", "unknown"], "yes", "undecided"),
    ("holds", ["no", "unknown"], "yes", "contradicted"),
    ("holds-with-conditions", ["yes", "no"], "yes", "held"),
    ("holds-with-conditions", ["yes", "unknown"], "yes", "undecided"),
    ("holds-with-conditions", ["yes", "yes"], "yes", "contradicted"),
    ("undecided", ["unknown"], "yes", "held"),
    ("undecided", ["unknown"], "unknown", "undecided"),
    ("undecided", ["yes"], "yes", "contradicted"),
])  # fmt: skip
def test_replication_records_and_goes_on(
    verdict, found, control, outcome, monkeypatch, tmp_path
):
    monkeypatch.setenv("BYHAND_REPLICATE", "1")
    monkeypatch.setenv("BYHAND_RECORD", str(tmp_path / "record.jsonl"))
    claimed(monkeypatch, {f"{i} {name}": outcomes()[name]
                          for i, name in enumerate(found)},
            control={"same": outcomes()[control]}, verdict=verdict)
    *_, line = map(json.loads, (tmp_path / "record.jsonl").read_text(
        encoding="utf-8").splitlines())
    assert line["outcome"] == outcome
    assert line["failed_controls"] == ([] if control == "yes" else ["same"])


def test_undecided_is_not_no(monkeypatch):
    with pytest.raises(AssertionError, match="undecided is not no"):
        claimed(monkeypatch, outcomes()["unknown"], verdict="wrong")


def test_a_variant_fails_at_99_9_percent_only(monkeypatch):
    """The interval is above 0 at 95 % and not at 99.9 %."""
    found = paired(CLEAR - 1, -0.06, d=0.01, comparisons=1)
    assert found.answer == "more" and found.answers("less").surely is None
    margin = {"d": 0.01, "because": "x"}
    claimed(monkeypatch, found.answers("less"), True, margin=margin)
    with pytest.raises(AssertionError, match="said to be 'holds'"):
        claimed(monkeypatch, found.answers("less"), margin=margin)


def test_a_control_must_come_out(monkeypatch):
    claimed(monkeypatch, outcomes()["yes"], control={"same": outcomes()["yes"]})
    for name, variant in (("no", False), ("unknown", False), ("no", True)):
        with pytest.raises(AssertionError, match="the control same did not come out"):
            claimed(monkeypatch, outcomes()["yes"], variant,
                    control={"same": outcomes()[name]})
    claimed(monkeypatch, outcomes()["yes"], True, control=outcomes()["unknown"])


def test_claims_from_outcomes_that_do_not_suit(monkeypatch):
    yes = outcomes()["yes"]
    for found in (True, {}, {"a": True}, paired(CLEAR, 0.0, d=0.1)):
        with pytest.raises(TypeError, match="found must be an outcome"):
            claimed(monkeypatch, found)
    for changes, message in [
        ({"control": ""}, "needs a control"), ({"control": None}, "needs a control"),
        ({"refuted_by": None, "margin": None}, "write refuted_by"),
        ({"verdict": "opinion"}, "write refuted_by"),
        ({"margin": {"d": 0.2, "because": "x"}}, r"one of \[0.2\], got 0.1"),
        ({"margin": None}, r"one of \[\], got 0.1")]:
        with pytest.raises(ValueError, match=message):
            claimed(monkeypatch, yes, **changes)
    claimed(monkeypatch, yes, margin={"d": {"loss": 0.2, "accuracy": 0.1},
                                      "because": "x"})
    claimed(monkeypatch, fact(True, "1 = 1"), margin=None)
    with pytest.raises(ValueError, match="give found="):
        experiments.claim("x.1", measured="1")
    with pytest.raises(ValueError, match="a control belongs"):
        experiments.claim("x.1", control="none")


def test_a_margin_stands_in_the_catalogue(monkeypatch):
    entries = {"a.1": {"margin": {"d": 0.1}}, "b.1": {"margin": {"d": {"loss": 0.2}}},
               "c.1": {}}
    monkeypatch.setattr(experiments, "catalogue", lambda: entries)
    assert margin("a.1") == 0.1 and margin("b.1", "loss") == 0.2
    for arguments in (("c.1",), ("missing.1",), ("b.1",), ("b.1", "x"), ("a.1", "x")):
        with pytest.raises(KeyError, match=arguments[0]):
            margin(*arguments)


def test_the_numbers_are_shown_and_recorded(monkeypatch, tmp_path):
    monkeypatch.setenv("BYHAND_RECORD", str(tmp_path / "record.jsonl"))
    claimed(monkeypatch, {"x > 0": outcomes()["yes"], "y": fact(True, "2 < 3")})
    *_, line = map(json.loads, (tmp_path / "record.jsonl").read_text(
        encoding="utf-8").splitlines())
    assert line["holds"] == {"x > 0": True, "y": True} and line["agrees"] is True
    numbers = line["found"]["x > 0"]
    assert numbers["mean"] == pytest.approx(1) and numbers["answer"] == "more"
    assert {"low", "high", "n", "d", "sure"} <= numbers.keys()
    box = experiments.Claim(ENTRY | {"correct": "<b>"}, None, {
        "x > 0": outcomes()["yes"]}, {"same": fact(True, "2 < 3")})
    html, text = box._repr_html_(), repr(box)
    assert 'id="claim-x.1"' in html and "&lt;b&gt;" in html and "style=" not in html
    assert '<th scope="row">x &gt; 0</th><td>yes</td><td>more: 1.000 [0.9' in html
    assert "Control: same: yes: 2 < 3" in text and "Refuted by: less" in text


# --- baselines and tuning ---


def test_the_best_value_lies_inside_the_grid(monkeypatch):
    monkeypatch.delenv("BYHAND_VARIANT", raising=False)
    assert tuned(lambda v: [(v - 2) ** 2, (v - 2.2) ** 2], [3, 1, 2]) == 2
    assert tuned(lambda arm, v: abs(v - arm), [1, 2, 3, 4], [2, 3]) == {2: 2, 3: 3}
    assert tuned(lambda v: v, [0, 1, 2], ends=[0]) == 0
    assert tuned(lambda v: np.nan if v > 2 else -v, [1, 2, 3, 4]) == 2
    for call, message in [
        (lambda: tuned(lambda v: v, [1, 2, 3]), "is 1, an end of the grid"),
        (lambda: tuned(lambda v: -v, [1, 2, 3]), "is 3, an end of the grid"),
        (lambda: tuned(lambda v: v, [1, 2]), "3 or more"),
        (lambda: tuned(lambda v: v, [1, 2, 2]), "distinct"),
        (lambda: tuned(lambda v: v, [1, 2, np.nan]), "distinct"),
        (lambda: tuned(lambda v: np.inf, [1, 2, 3]), "no finite loss")]:
        with pytest.raises(ValueError, match=message):
            call()
    monkeypatch.setenv("BYHAND_VARIANT", "1")
    with pytest.warns(UserWarning, match="an end of the grid"):
        assert tuned(lambda v: v, [1, 2, 3]) == 1


def test_an_end_of_the_grid_is_recorded(monkeypatch, tmp_path):
    monkeypatch.delenv("BYHAND_VARIANT", raising=False)
    monkeypatch.setenv("BYHAND_REPLICATE", "1")
    monkeypatch.setenv("BYHAND_RECORD", str(tmp_path / "record.jsonl"))
    with pytest.warns(UserWarning, match="an end of the grid"):
        assert tuned(lambda v: v, [1, 2, 3]) == 1
    *_, line = map(json.loads, (tmp_path / "record.jsonl").read_text(
        encoding="utf-8").splitlines())
    assert line["kind"] == "grid" and "is 1, an end" in line["message"]


def test_baselines_are_scikit_learn_s():
    from sklearn.dummy import DummyClassifier
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(60, 2, 4)), rng.integers(3, size=(60, 2))
    x_test, y_test = rng.normal(size=(40, 2, 4)), rng.integers(3, size=(40, 2))
    both = baselines(x, y, x_test, y_test)
    for s in range(2):
        alone = baselines(x[:, s], y[:, s], x_test[:, s], y_test[:, s])
        assert alone == {name: values[s] for name, values in both.items()}
        for name, model in (("constant", DummyClassifier(strategy="prior")),
                            ("nearest_neighbor", KNeighborsClassifier(1))):
            theirs = model.fit(x[:, s], y[:, s]).score(x_test[:, s], y_test[:, s])
            assert alone[name] == theirs
    for wrong in [(x, y[:, 0], x_test, y_test), (x[:0], y[:0], x_test, y_test),
                  (x, y, x_test[..., :3], y_test), (x, y, x_test[:0], y_test[:0])]:
        with pytest.raises(ValueError, match="expected x"):
            baselines(*wrong)
    with pytest.raises(ValueError, match="finite"):
        baselines(x * np.nan, y, x_test, y_test)


@pytest.mark.parametrize("rival", [constant, nearest_neighbor, softmax_regression])
def test_a_rival_refuses_what_has_no_answer(rival):
    x, y = np.eye(3), np.arange(3)
    for wrong in [(x, y[:2], x), (x[:0], y[:0], x), (x, y, x[:, :2]), (x[0], y, x),
                  (x, None, x)]:
        with pytest.raises(ValueError, match=r"expected x \(N, D\)"):
            rival(*wrong)
    for wrong in [(np.full((3, 3), np.nan), y, x), (x, y, np.full((3, 3), np.inf))]:
        with pytest.raises(ValueError, match="finite"):
            rival(*wrong)


@pytest.mark.parametrize(["dtype", "size"], [
    (np.float32, 1e-30), (np.float32, 1e30), (np.float64, 1e-200), (np.float64, 8e307)])
def test_the_nearest_neighbor_at_any_size(dtype, size):
    rng = np.random.default_rng(9)
    x, x_test = rng.uniform(-1, 1, (2, 30, 4)).astype(dtype)
    y = np.arange(30)
    expected = nearest_neighbor(x, y, x_test)
    found = nearest_neighbor(x * dtype(size), y, x_test * dtype(size))
    assert np.array_equal(found, expected)


def test_a_box_holds_what_there_is_and_nothing_else():
    entry = {"id": "x.1", "says": "so", "verdict": "holds"}
    text = re.sub("<[^>]*>", "", experiments._box(entry, [], []))
    assert text == "Claim: holds ¶so"
    html = experiments._box(entry, [("a", "yes", "1")], [("Source", "Li"), ("No", "")])
    assert re.sub("<[^>]*>", "", html) == "Claim: holds ¶soayes1SourceLi"


def test_a_refused_claim_tells_all_that_came_out(monkeypatch):
    with pytest.raises(AssertionError, match="; found: a: no: 1 < 0; b: yes: 0 < 1$"):
        claimed(monkeypatch, {"a": fact(False, "1 < 0"), "b": fact(True, "0 < 1")})


@pytest.mark.parametrize("d", [0.0, -1.0, np.inf, np.nan])
def test_what_matters_is_a_positive_number(d):
    with pytest.raises(ValueError, match="d must be a positive number"):
        paired([1.0, 2.0, 4.0], 0.0, d=d)


def test_the_accuracies_of_a_stack_are_those_of_its_models():
    """Three models and three classes, so that no axis can be taken for another."""
    rng = np.random.default_rng(1)
    models = [Sequential(Linear(4, 3, rng=rng)) for _ in range(3)]
    x, y = rng.normal(size=(40, 4)), rng.integers(3, size=40)
    together = accuracy(stack(models), np.stack([x] * 3, 1), np.stack([y] * 3, 1))
    assert np.array_equal(together, [accuracy(model, x, y) for model in models])


def test_the_nearest_neighbor_is_the_nearest():
    """By Euclid's distance, which is not the sum of the differences."""
    rng = np.random.default_rng(2)
    x, x_test, y = rng.normal(size=(60, 5)), rng.normal(size=(40, 5)), np.arange(60)
    apart = np.linalg.norm(x_test[:, None] - x, axis=2)
    assert np.array_equal(nearest_neighbor(x, y, x_test), apart.argmin(axis=1))
    assert nearest_neighbor(np.array([[3.0, 0.0], [2.0, 2.0]]), np.array([0, 1]),
                            np.zeros((1, 2))) == 1


def test_a_far_example_does_not_blur_the_near_ones():
    x = np.array([[2e-200, 0.0], [1e-200, 1e-200], [1e200, 1e200]])
    assert nearest_neighbor(x, np.arange(3), np.zeros((1, 2))) == 1


def test_layers_with_equal_layers_inside_are_stacked():
    models = [Sequential(Linear(4, 6, rng=RNG), SwiGLU(), Linear(3, 2, rng=RNG))
              for _ in range(3)]
    x = RNG.normal(size=(5, 3, 4))
    y = stack(models).forward(x)
    for s, model in enumerate(models):
        np.testing.assert_allclose(y[:, s], model.forward(x[:, s]))
