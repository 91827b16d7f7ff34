"""Claims and what they rest on: pairs, intervals, answers."""

import json

import numpy as np
import pytest
import torch

from byhand import checks, experiments
from byhand.activations import GLU, LeakyReLU, PReLU, Tanh
from byhand.backprop import Linear, MSELoss, ReLU, Sequential, train
from byhand.checks import check_layer, check_loss, relative_error
from byhand.experiments import SideBySide, StackedLinear, accuracy, mlp, stack
from byhand.losses import CrossEntropyLoss, Softmax


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
    (lambda: stack([Sequential(linear(), PReLU())] * 2), ValueError, "PReLU has a state"),
    (lambda: stack([Sequential(linear()), Sequential(ReLU())]), ValueError,
     "Linear, ReLU in one place"),
    (lambda: stack([Sequential(linear()), Sequential(linear(), ReLU())]), ValueError,
     r"\[1, 2\] layers"),
    (lambda: stack([Sequential(linear()), Sequential(linear(4))]), ValueError, "shape"),
    (lambda: stack([Sequential(linear(), LeakyReLU(s)) for s in (0.01, 0.9)]),
     ValueError, "settings of LeakyReLU"),
    (lambda: stack([Sequential(GLU(1))] * 2), ValueError, "GLU does not treat"),
    (lambda: stack([Sequential(Softmax(dim=1))] * 2), ValueError, "Softmax does not"),
    (lambda: SideBySide(CrossEntropyLoss()), ValueError, '"sum", got .mean'),
    (lambda: SideBySide(CrossEntropyLoss(np.array([1.0, 2.0]), reduction="sum")),
     ValueError, "class weights"),
    (lambda: SideBySide(CrossEntropyLoss(reduction="sum")).forward(
        np.ones((0, 2, 3)), np.ones((0, 2), int)), ValueError, "empty batch"),
    (lambda: SideBySide(CrossEntropyLoss(reduction="sum")).forward(
        np.ones((2, 3)), np.ones(2, int)), ValueError, "prediction must have the shape"),
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
