"""The checks: what they accept, what they refuse, and that they change nothing."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from byhand import checks
from byhand.backprop import Layer, Linear, ReLU, Sequential, Sigmoid
from byhand.losses import BCELoss
from byhand.normalization import BatchNorm1d

FLOATS = st.floats(-100, 100)



# --- numerical gradient and error ---

@given(arrays(np.float64, array_shapes(max_dims=3, max_side=3), elements=FLOATS))
def test_numerical_gradient_of_a_polynomial(x):
    before = x.copy()
    gradient = checks.numerical_gradient(lambda x: np.sum(x**2 + 3 * x), x)
    assert gradient.shape == x.shape and gradient.dtype == x.dtype
    np.testing.assert_allclose(gradient, 2 * x + 3,
                               atol=1e-5 * max(1, np.abs(x).max(initial=0) ** 2))
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("x", [np.array([1, 2]), [1.0, 2.0], np.array([1j])])
def test_numerical_gradient_wants_floats(x):
    with pytest.raises(TypeError, match="float32 or float64"):
        checks.numerical_gradient(np.sum, x)


def test_numerical_gradient_wants_a_scalar():
    with pytest.raises(ValueError, match=r"scalar.*\(3,\)"):
        checks.numerical_gradient(lambda x: x, np.ones(3))


@given(arrays(np.float64, 4, elements=st.floats()))
def test_the_error_of_an_array_with_itself_is_zero(x):
    assert checks.relative_error(x, x) == 0


def test_error_of_what_is_not_finite():
    one = np.array([np.inf, 1.0])
    for other in ([-np.inf, 1.0], [np.nan, 1.0], [1.0, 1.0]):
        assert (checks.relative_error(np.array(other), one)
                == checks.relative_error(one, np.array(other)) == np.inf)
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        checks.relative_error(np.ones(3), np.ones(2))


@pytest.mark.parametrize(["f", "x", "exact"], [
    (lambda p: np.log(p).sum(), [1e-6, 1e-7, 2.0], [1e6, 1e7, 0.5]),
    (lambda p: (1 / p).sum(), [1e-5], [-1e10]),
    (lambda p: p[0] ** 3, [1e-7], [3e-14]),
    (lambda p: (p + 1).sum(), [1e-9, 1e-5], [1, 1]),
    (lambda p: np.maximum(p, 0).sum(), [1e-8, -1e-8], [1, 0]),
    (lambda p: (p.sort(), p @ np.arange(3.0))[1], [3.0, 1.0, 2.0], [2, 0, 1]),
    (lambda p: np.maximum(p, 0, out=p).sum(), [-1.0, 2.0], [0, 1]),
    (lambda p: p.sum(), [0.0, 1e300], [1, 1]),
])
def test_numerical_gradient_of_small_arguments_and_rude_functions(f, x, exact):
    with np.errstate(all="ignore"):
        found = checks.numerical_gradient(f, np.array(x))
    if x == [0.0, 1e300]:
        found = found[1:]
        exact = exact[1:]
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("x", [np.array([np.nan]), np.array([np.inf]),
                               np.array([3.4e38], np.float32)])
def test_numerical_gradient_refuses_where_it_cannot_step(x):
    with pytest.raises(ValueError, match="finite|too large"):
        checks.numerical_gradient(np.sum, x)


def test_relative_error_of_other_numbers():
    assert checks.relative_error(np.array([1 + 1j]), np.array([1 + 5j])) > 0.5
    assert checks.relative_error(np.array([2**60 + 1]), np.array([2**60])) > 0
    assert checks.relative_error(3, 3) == 0
    with pytest.raises(TypeError, match="numbers"):
        checks.relative_error(None, None)


def test_tolerance():
    assert checks.tolerance(np.float64, 100) == 1e-12
    assert checks.tolerance(np.float64, 1e8) > 1e-12
    assert checks.tolerance(np.int64, 100) == 0
    with pytest.raises(TypeError, match="float16"):
        checks.tolerance(np.float16, 100)
    row = checks.compare("count", np.array(2**60 + 1), np.array(2**60), np.int64, 1e-6)
    assert not row["agrees"]


# --- checks ---

def model():
    rng = np.random.default_rng(3)
    return Sequential(Linear(3, 4, rng=rng), Sigmoid(), Linear(4, 2, rng=rng))


def test_a_check_changes_nothing():
    ours, x = model(), np.random.default_rng(4).normal(size=(5, 3))
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sigmoid(),
                                 torch.nn.Linear(4, 2))
    kept_ours = {name: value.copy() for name, value in ours.params.items()}
    kept_theirs = {name: value.clone() for name, value in theirs.state_dict().items()}
    kept_x = x.copy()
    checks.check_layer(ours, theirs, x, device="cpu")
    assert all(np.array_equal(ours.params[name], value)
               for name, value in kept_ours.items())
    assert all(torch.equal(theirs.state_dict()[name], value)
               for name, value in kept_theirs.items())
    assert (np.array_equal(x, kept_x) and ours.grads == {}
            and not hasattr(ours.layers[0], "x"))
    assert all(value.grad is None for value in theirs.parameters())


class Broken(Linear):
    """Linear with one fault of its backward or forward pass."""

    def __init__(self, fault):
        super().__init__(3, 2, rng=np.random.default_rng(5))
        self.fault = fault

    def forward(self, x):
        if self.fault == "remembers its first input":
            x = self.first = getattr(self, "first", x)
        y = super().forward(x)
        if self.fault == "float64 inside":
            return y.astype(np.float64)
        if self.fault == "changes its input":
            x *= 2
        return y

    def backward(self, dy):
        if self.fault == "changes dy":
            dy /= len(dy)
        earlier = self.grads.get("weight", 0.0)
        dx = super().backward(dy)
        if self.fault == "adds to its gradients":
            self.grads["weight"] += earlier
        if self.fault == "updates its parameters":
            self.params["weight"] -= 0.1 * self.grads["weight"]
        if self.fault == "misspelt gradient":
            self.grads["wieght"] = dx
        if self.fault == "a list":
            return dx.tolist()
        if self.fault == "no bias gradient":
            del self.grads["bias"]
        if self.fault == "wrong shape":
            self.grads["bias"] = self.grads["bias"][None]
        if self.fault == "one entry in a million":
            dx[0, 0] *= 1 + 1e-6
        return None if self.fault == "no input gradient" else dx


@pytest.mark.parametrize(
    ["fault", "message"],
    {
        "float64 inside": "output in float32 has the wrong dtype",
        "remembers its first input": r"output in float64 \(times 1e-08\) differs",
        "changes its input": "changes what it is given",
        "changes dy": "changes what it is given",
        "updates its parameters": "changes what it is given",
        "adds to its gradients": "spoils weight.grad when .* adds to the first",
        "no bias gradient": "do not fit the parameters.*bias.grad is missing",
        "misspelt gradient": "do not fit the parameters",
        "a list":
        "input.grad in float64 has the wrong dtype: expected float64, got list",
        "wrong shape": "bias.grad in float64 has the wrong shape",
        "one entry in a million":
        r"input.grad in float64 differs: ours .* theirs .* at \(0, 0\)",
        "no input gradient": "input.grad is missing",
    }.items(),
)
def test_check_layer_names_the_fault(fault, message):
    with pytest.raises(checks.CheckFailed, match=message):
        checks.check_layer(Broken(fault), torch.nn.Linear(3, 2),
                        np.random.default_rng(6).normal(size=(4, 3)), device="cpu")


def test_check_layer_refuses_what_it_cannot_compare():
    layer, x = Linear(3, 2, rng=np.random.default_rng(0)), np.ones((2, 3))
    with pytest.raises(RuntimeError, match="size mismatch"):
        checks.check_layer(layer, torch.nn.Linear(3, 5), x, device="cpu")
    with pytest.raises(RuntimeError, match="Unexpected key"):
        checks.check_layer(layer, torch.nn.Linear(3, 2, bias=False), x, device="cpu")
    with pytest.raises(ValueError, match="takes no argument 'bias'"):
        checks.check_layer(layer, lambda x, weight: x @ weight.T, x, device="cpu")
    with pytest.raises(ValueError, match="none after its forward"):
        checks.check_layer(ReLU(), lambda x, mask: x * mask, x, device="cpu")
    with pytest.raises(TypeError, match="array of floats"):
        checks.check_layer(ReLU(), torch.relu, np.array([1, 2]), device="cpu")


def test_overflow_is_a_failure_of_the_check():
    class Naive(ReLU):
        def forward(self, x):
            return super().forward(x) + np.log(1 + np.exp(x)) * 0

    with pytest.raises(checks.CheckFailed, match="Naive is not stable in float64"):
        checks.check_layer(Naive(), torch.relu, np.array([1e4]), device="cpu")


def test_a_random_layer_hands_over_its_mask():
    class Drop(ReLU):
        def __init__(self):
            super().__init__()
            self.rng = np.random.default_rng(7)

        def forward(self, x):
            self.mask = self.rng.random(x.shape) < 0.5
            return x * self.mask

        def backward(self, dy):
            return dy * self.mask

    checks.check_layer(Drop(), lambda x, mask: x * mask,
                    np.random.default_rng(8).normal(size=(4, 3)), device="cpu")


def test_several_inputs_and_integers():
    class Gather(ReLU):
        def forward(self, x, scale, index):
            self.saved = x, scale, index
            return x[index] * scale

        def backward(self, dy):
            x, scale, index = self.saved
            dx = np.zeros_like(x)
            np.add.at(dx, index, dy * scale)
            return dx, (dy * x[index]), None

    rng = np.random.default_rng(9)
    inputs = rng.normal(size=4), rng.normal(size=3), np.array([0, 2, 2])
    checks.check_layer(Gather(), lambda x, scale, index: x[index] * scale, *inputs,
                    device="cpu")


def test_check_optimizer_wants_updates_in_place():
    class Replacing:
        def __init__(self, params):
            self.params = params

        def step(self, grads):
            for name in self.params:
                self.params[name] = self.params[name] - 0.1 * grads[name]

    with pytest.raises(checks.CheckFailed, match="replaced"):
        checks.check_optimizer(Replacing, lambda p: torch.optim.SGD(p, lr=0.1), steps=2,
                            device="cpu")


@pytest.mark.parametrize(["fault", "message"],
                         [("scales", "a gradient was changed"),
                          ("keeps", "weight after 2 steps in float64 differs")])
def test_check_optimizer_watches_the_gradients(fault, message):
    class Momentum:
        def __init__(self, params):
            self.params, self.velocity = params, {}

        def step(self, grads):
            for name, param in self.params.items():
                if fault == "scales":
                    grads[name] *= 0.1
                    param -= grads[name]
                else:
                    # a reference where a copy is meant
                    velocity = self.velocity.setdefault(name, grads[name])
                    if velocity is not grads[name]:
                        velocity += grads[name]
                    param -= 0.1 * velocity

    theirs = {"scales": lambda p: torch.optim.SGD(p, lr=0.1),
              "keeps": lambda p: torch.optim.SGD(p, lr=0.1, momentum=1.0)}
    with pytest.raises(checks.CheckFailed, match=message):
        checks.check_optimizer(Momentum, theirs[fault], steps=3, device="cpu")


def test_what_the_numerical_column_is_worth_is_said():
    """Far below the output a finite difference is round-off: the table says how little
    it then proves.
    """
    row = checks.compare("x", np.array([1e-3]), np.array([1e-3]), np.float64, 1e-6,
                      method="numerical", scale=1.0)
    page = checks.Report("a", "b", "cpu", [row])._repr_html_()
    assert row["limit"] == pytest.approx(1e-3) and "small ones 1e-0" in page
    row = checks.compare("x", np.array([1.002e-3]), np.array([1e-3]), np.float64, 1e-6,
                         method="numerical", scale=1.0)
    assert not row["agrees"]
    with pytest.raises(checks.CheckFailed, match="x numerical in float64 differs"):
        checks.Report("a", "b", "cpu", [row]).show()


def test_a_lost_step_is_an_error():
    with pytest.raises(ValueError, match="vanishes in the rounding"):
        checks.numerical_gradient(np.sum, np.ones(2), step=1e-20)


def test_catches_wants_a_failed_check():
    def passes(thing):
        pass

    def crashes(thing):
        raise IndexError("not a check's failure")

    def complains(thing):
        raise AssertionError("the dtype is wrong")

    with pytest.raises(AssertionError, match="passes accepts"):
        checks.catches(passes, ReLU(), match="x")
    with pytest.raises(IndexError):
        checks.catches(crashes, ReLU(), match="x")
    with pytest.raises(AssertionError, match="not for the reason 'gradient'"):
        checks.catches(complains, ReLU(), match="gradient")
    with pytest.raises(ValueError, match="empty"):
        checks.catches(complains, ReLU(), match="")
    with pytest.raises(TypeError):
        checks.catches(complains, ReLU())
    checks.catches(complains, ReLU(), match="dtype")


@pytest.mark.parametrize("device", ["mps", "gpu", None])
def test_unknown_device(device):
    with pytest.raises(ValueError, match="auto"):
        checks.resolve_device(device)


# --- what a check must not be fooled by, beyond what the chapter shows ---

X = np.random.default_rng(10).normal(size=(5, 3))


class Plain:
    """y = x * weight, with one fault. No buffers, no load_state: it is dressed."""

    def __init__(self, fault="", weight=(1.0, 1.0, 1.0)):
        self.fault = fault
        self.params, self.grads = {"weight": np.array(weight)}, {}

    def forward(self, x):
        if self.fault == "keeps the mean":
            self.mean = getattr(self, "mean", x.mean(axis=0).astype(np.float64))
            self.x = x
            off = (self.mean - x.mean(axis=0)).astype(x.dtype)
            return x * self.params["weight"] + off
        rows = len(getattr(self, "x", x))
        if self.fault == "first length" and rows != len(x):
            raise ValueError(f"expected {rows} rows")
        self.x = x
        return x * self.params["weight"]

    def backward(self, dy):
        self.grads["weight"] = (dy * self.x).sum(axis=0)
        if self.fault == "bad for small":
            return dy * np.where(np.abs(self.x) < 1e-6, 0, self.params["weight"])
        if self.fault == "bad for large":
            wrong = np.where(np.abs(self.x) > 1e3, 2, 1).astype(dy.dtype)
            return dy * wrong * self.params["weight"]
        return dy * self.params["weight"]


def scaled(x, weight):
    return x * weight


def test_right_code_passes_in_every_dress():
    report = checks.check_layer(Plain(), scaled, X, device="cpu")
    assert {row["run"] for row in report.rows} == {
        "", "state stirred", "times 1e-08", "times 1e-04", "times 1e+04",
        "another batch"}
    assert {row["method"] for row in report.rows} == {"", "numerical"}
    report = checks.check_layer(Plain(), scaled, X, device="cpu", dtypes=(np.float32,),
                                scales=())
    assert {row["dtype"] for row in report.rows} == {"float32"}
    checks.check_layer(Plain(), scaled, X, device="cpu", dtypes=(np.float16,),
                       rtol=1e-2, scales=())
    with pytest.raises(TypeError, match="float16"):
        checks.check_layer(Plain(), scaled, X, device="cpu", dtypes=(np.float16,))
    checks.check_layer(ReLU(), torch.relu, np.array(1.5), device="cpu")


@pytest.mark.parametrize(["fault", "match"], {
    "keeps the mean": r"output in float64 \(times 1e-08\) differs",
    "first length": r"a ValueError in float64 \(another batch\): expected 5 rows",
    "bad for small": r"input.grad in float64 \(times 1e-08\) differs",
    "bad for large": r"input.grad in float64 \(times 1e\+04\) differs",
}.items())
def test_what_only_other_inputs_show(fault, match):
    with pytest.raises(checks.CheckFailed, match=match):
        checks.check_layer(Plain(fault), scaled, X, device="cpu")
    if fault.startswith("bad"):  # and may be said to lie outside the domain
        checks.check_layer(Plain(fault), scaled, X, device="cpu", scales=(1e-4,))


def test_a_failure_names_all_that_disagrees_and_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("BYHAND_RECORD", str(tmp_path / "record.jsonl"))

    class Two(Linear):
        def backward(self, dy):
            dx = super().backward(dy)
            self.grads["bias"] = 3 * self.grads["bias"]
            return -dx

    two = Two(3, 2, rng=np.random.default_rng(0))
    with pytest.raises(checks.CheckFailed, match="input.grad .*sign.*; bias.grad"):
        with checks.group("both-wrong"):
            checks.check_layer(two, torch.nn.Linear(3, 2), X, device="cpu", name="two",
                               numerical=False)
    checks.catches(checks.check_layer, two, torch.nn.Linear(3, 2), X, device="cpu",
                   match="bias.grad")
    run, *rows = map(json.loads, (tmp_path / "record.jsonl").read_text().splitlines())
    assert run["kind"] == "run"
    wrong = {(row["kind"], row["group"], row["configuration"], row["quantity"])
             for row in rows if not row["agrees"]}
    assert wrong >= {("check", "both-wrong", "two", "bias.grad"),
                     ("broken", "", "Two", "bias.grad")}
    assert all(row["error"] <= row["limit"] for row in rows if row["agrees"])


def test_a_group_is_one_line_that_opens(capsys):
    with checks.group("a-name") as group:
        for name in ("one", "two"):
            report = checks.check_layer(ReLU(), torch.relu, X, name=name, device="cpu")
    line = "Checked: a-name, 2 configurations in float64 and float32, also by finite "
    assert capsys.readouterr().out == line + "differences\n"
    page = group._repr_html_()
    assert page.startswith('<details class="byhand-check" data-group="a-name"><summary')
    assert page.count('<th scope="row">') == 2 and group.reports[1] is report
    assert not re.search(r"\de-1[3-9]", page)  # no errors
    with pytest.raises(checks.CheckFailed, match="empty"):
        with checks.group("nothing"):
            pass


# --- hints ---

class Mistaken:
    """tanh(x W^T + b), or without the tanh, its parts as they go wrong."""

    def __init__(self, mistake):
        rng = np.random.default_rng(11)
        self.mistake, self.buffers = mistake, {}
        self.params = {"weight": rng.normal(size=(3, 3)), "bias": rng.normal(size=3)}
        self.grads = {}

    def load_state(self, state):
        self.params = dict(state)

    def forward(self, x):
        y = x @ self.params["weight"].T + self.params["bias"]
        y = y if self.mistake in LINEAR else np.tanh(y)
        new = x, np.zeros_like(y) if self.mistake in LINEAR else y
        old = getattr(self, "kept", new)
        self.used = old if self.mistake == "stale" and len(old[0]) == len(x) else new
        self.kept = new
        return y

    def backward(self, dy):
        m, w = self.mistake, self.params["weight"]
        x, y = self.used
        d = dy * (1 - y**2)
        if m == "no upstream":
            d = 1 - y**2
        if m == "upstream twice":
            d = d * dy
        if m == "first":
            d = d * (np.arange(len(d)) == 0)[:, None].astype(d.dtype)
        dw, db, dx = d.T @ x, d.sum(axis=0), d @ w
        dw = {"transposed": dw.T, "sign": -dw, "mean": dw / len(dy),
              "sum": dw * len(dy), "half": dw / 2, "zero": dw * 0}.get(m, dw)
        if m == "single":
            dw = dw.astype(np.float32).astype(dw.dtype)
        db = d if m == "not summed" else db
        if m == "adds":
            dw = dw + self.grads.get("weight", 0)
        self.grads = {"weight": dw, "bias": db}
        return d @ w.T if m == "wrong side" else dy if m == "passed on" else dx


LINEAR = ("wrong side", "passed on")
HINTS = {
    "transposed": "it is the transpose",
    "sign": "its sign is wrong",
    "mean": "it is 5 times, the rows of the batch, too small: a mean for a sum",
    "sum": "it is 5 times, the rows of the batch, too large: a sum for a mean",
    "half": "it is twice too small",
    "zero": "it is zero throughout",
    "no upstream": "the upstream gradient is forgotten",
    "upstream twice": "the upstream gradient is multiplied twice",
    "passed on": "it is the upstream gradient itself",
    "first": "only the first example counts",
    "not summed": "it is not summed over the batch",
    "stale": "the inputs of the run before are used",
    "single": "it was computed in float32",
    "wrong side": "the transpose of weight is used",
    "adds": "it adds to the first",
}


def tanh_of_linear(x, weight, bias):
    return torch.tanh(x @ weight.T + bias)


@pytest.mark.parametrize(["mistake", "hint"], HINTS.items())
def test_each_mistake_has_its_own_hint(mistake, hint):
    with pytest.raises(checks.CheckFailed) as failure:
        checks.check_layer(Mistaken(mistake), torch.nn.Linear(3, 3) if mistake in LINEAR
                           else tanh_of_linear, X, device="cpu", numerical=False)
    text = str(failure.value)
    assert [other for other in HINTS.values() if other in text] == [hint], text
    assert mistake == "adds" or f"({hint}" in text


def test_right_code_gets_no_hint():
    report = checks.check_layer(Mistaken(""), tanh_of_linear, X, device="cpu")
    assert not any(row["fault"] for row in report.rows)


@pytest.mark.parametrize(["stale", "hint"], [
    (True, "the mask of the run before is used"), (False, "")])
def test_a_stale_mask(stale, hint):
    class Drop:
        def __init__(self):
            self.rng, self.mask = np.random.default_rng(7), None

        def forward(self, x):
            mask = (self.rng.random(x.shape) < 0.5).astype(x.dtype)
            same = self.mask is not None and self.mask.shape == mask.shape
            self.used = self.mask if stale and same else mask
            self.mask = mask
            return x * mask

        def backward(self, dy):
            return dy * self.used

    if not hint:
        checks.check_layer(Drop(), lambda x, mask: x * mask, X, device="cpu")
        return
    with pytest.raises(checks.CheckFailed, match=hint):
        checks.check_layer(Drop(), lambda x, mask: x * mask, X, device="cpu")


# --- random layers, optimizers, the reader's code ---

class DropChannels:
    def __init__(self, p, channels=False):
        self.p, self.channels, self.rng = p, channels, np.random.default_rng(12)

    def forward(self, x):
        shape = (*x.shape[:2], 1, 1) if self.channels else x.shape
        return x * (self.rng.random(shape) >= self.p) / (1 - self.p)


def test_check_random():
    x = np.random.default_rng(13).uniform(1, 2, (4, 5, 3, 3))
    checks.check_random(DropChannels(0.4, True), torch.nn.Dropout2d(0.4), x)
    checks.check_random(DropChannels(0.4), torch.nn.Dropout(0.4), x)
    state = torch.random.get_rng_state()
    with pytest.raises(checks.CheckFailed, match="its spread draws"):
        checks.check_random(DropChannels(0.4), torch.nn.Dropout2d(0.4), x)
    with pytest.raises(checks.CheckFailed, match="share kept"):
        checks.check_random(DropChannels(0.35), torch.nn.Dropout(0.4), x)
    with pytest.raises(ValueError, match="no zeros"):
        checks.check_random(DropChannels(0.4), torch.nn.Dropout(0.4), x * 0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_gradients_of_an_optimizer_have_many_sizes_and_zeros():
    rng = np.random.default_rng(14)
    drawn = [checks.many_sizes(rng, (50, 50), step) for step in range(1, 8)]
    assert not drawn[5].any() and 0.05 < np.mean(drawn[0] == 0) < 0.15
    sizes = np.abs(drawn[0][drawn[0] != 0])
    assert sizes.min() < 1e-3 and sizes.max() > 1e2


def test_a_view_reads_what_it_writes():
    class Nested:
        def __init__(self):
            self.layers = [{"W": np.ones((3, 2)), "b": np.zeros(2)}]

        def forward(self, x):
            self.x = x
            return x @ self.layers[0]["W"] + self.layers[0]["b"]

        def backward(self, dy):
            return dy @ self.layers[0]["W"].T, self.x.T @ dy, dy.sum(axis=0)

    view = checks.view(Nested(), {"weight": "layers.0.W.T", "bias": "layers.0.b"},
                       returns=("input", "weight.T", "bias"))
    checks.check_layer(view, torch.nn.Linear(3, 2), X, device="cpu")
    for wrong in ("layers.0.b.T", "x"):
        with pytest.raises((checks.CheckFailed, RuntimeError, AttributeError)):
            checks.check_layer(checks.view(Nested(), {"weight": wrong}),
                               torch.nn.Linear(3, 2), X, device="cpu")


def test_check_gradient():
    checks.check_gradient(np.sin, np.cos, X, theirs=torch.sin, device="cpu",
                          scales=(1e-8,))
    checks.check_gradient(lambda w: np.sum(w**2), lambda w: 2 * w, X)
    with pytest.raises(checks.CheckFailed, match="it is twice too small"):
        checks.check_gradient(lambda w: np.sum(w**2), lambda w: w, X)
    with pytest.raises(checks.CheckFailed, match="it is the transpose"):
        checks.check_gradient(lambda w: np.sum(w**2), lambda w: 2 * w.T, X[:3])


def test_importing_needs_numpy_alone(root):
    code = ("import sys, byhand.checks\n"
            "heavy = {'torch', 'IPython', 'matplotlib', 'yaml', 'scipy', 'sklearn'}\n"
            "assert not heavy & set(sys.modules), heavy & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True,
                   env=os.environ | {"PYTHONPATH": str(root)})


def test_the_learning_rate_moves_unless_told_not_to():
    class Inside:
        """The rate inside the velocity: equal to PyTorch's while it does not change."""

        def __init__(self, params):
            self.params, self.lr, self.velocity = params, 0.1, {}

        def step(self, grads):
            for name, value in self.params.items():
                self.velocity[name] = (0.9 * self.velocity.get(name, 0.0)
                                       + self.lr * grads[name])
                value -= self.velocity[name]

    def theirs(params):
        return torch.optim.SGD(params, lr=0.1, momentum=0.9)

    with pytest.raises(checks.CheckFailed, match="weight after 6 steps"):
        checks.check_optimizer(Inside, theirs, steps=10, device="cpu")
    report = checks.check_optimizer(Inside, theirs, steps=10, device="cpu",
                                    move_lr=False)
    assert {row["run"] for row in report.rows} == {"10 steps"}
    report = checks.check_optimizer(
        Inside, theirs, steps=2, device="cpu", dtypes=(np.float64,), move_lr=False,
        start={"weight": np.ones((2, 2))}, gradients=lambda rng, shape, step: step)
    assert [row["shape"] for row in report.rows] == [[2, 2]]


@pytest.mark.parametrize("fault", ["reuses its gradient", "reuses its output"])
def test_arrays_that_were_returned_stay(fault):
    class Keeps:
        def forward(self, x):
            y = np.tanh(x)
            self.slope = 1 - y**2
            if fault == "reuses its output":
                self.all = getattr(self, "all", {})
                y = np.tanh(x, out=self.all.setdefault((x.shape, x.dtype),
                                                       np.empty_like(x)))
            return y

        def backward(self, dy):
            if fault == "reuses its gradient":
                self.dx = getattr(self, "dx", np.empty_like(dy))
                if self.dx.shape != dy.shape or self.dx.dtype != dy.dtype:
                    self.dx = np.empty_like(dy)
                return np.multiply(dy, self.slope, out=self.dx)
            return dy * self.slope

    with pytest.raises(checks.CheckFailed, match="writes into an? .* that it returned"):
        checks.check_layer(Keeps(), torch.tanh, X, device="cpu")


class NoGamma(BatchNorm1d):
    def backward(self, dy):
        return super().backward(dy) / self.params["weight"]


class NoDecay(BatchNorm1d):
    def forward(self, x):
        mean = self.buffers["running_mean"].copy()
        y = super().forward(x)
        self.buffers["running_mean"][...] = mean + 0.1 * x.mean(axis=0)
        return y


class LastBatch(BatchNorm1d):
    def forward(self, x):
        y = super().forward(x)
        self.buffers["running_mean"][...] = x.mean(axis=0)
        return y


@pytest.mark.parametrize(["broken", "momentum", "match"], [
    (NoGamma, 0.1, "the factor weight is missing"),
    (NoDecay, 0.1, "running_mean in float64 .state stirred. differs"),
    (LastBatch, None, "running_mean in float64 .state stirred. differs")])
def test_a_fresh_batch_norm_hides_nothing(broken, momentum, match):
    theirs = torch.nn.BatchNorm1d(3, momentum=momentum)
    checks.check_layer(BatchNorm1d(3, momentum=momentum), theirs, X, device="cpu")
    with pytest.raises(checks.CheckFailed, match=match):
        checks.check_layer(broken(3, momentum=momentum), theirs, X, device="cpu")
    if broken is NoGamma:  # with the fresh state alone it passes
        checks.check_layer(NoGamma(3), theirs, X, device="cpu", stir=False)


def test_the_wrong_part_is_not_blamed():
    class Student:
        def __init__(self):
            self.W = np.ones((2, 3))
            self.params, self.grads = {"weight": self.W}, {}

        def load_state(self, state):
            self.W = state["weight"]  # and not the dict

        def forward(self, x):
            self.x = x
            return x @ self.W.T

        def backward(self, dy):
            self.grads["weight"] = dy.T @ self.x
            return dy @ self.W

    with pytest.raises(checks.CheckFailed, match="weight cannot be set"):
        checks.check_layer(Student(), torch.nn.Linear(3, 2, bias=False), X,
                           device="cpu")


def test_a_right_loss_of_tiny_probabilities_passes():
    class NegativeLog:
        def forward(self, p, weight):
            self.p, self.weight = p, weight
            return float(-np.sum(weight * np.log(p)))

        def backward(self, dy=1.0):
            return -dy * self.weight / self.p

    checks.check_loss(NegativeLog(), lambda p, weight: -(weight * torch.log(p)).sum(),
                      np.array([1e-6, 1e-7]), np.array([1.0, 2.0]), device="cpu")


def test_a_gpu_is_never_asked_what_pytorch_refuses(monkeypatch):
    """There a refusal may be an assertion in a kernel, and no later call works."""
    asked, run = [], checks._run_theirs

    def gpu(theirs, case, params, device):
        try:
            return run(theirs, case, params, "cpu")
        except Exception:
            if device == "cuda":
                raise AssertionError("device-side assert triggered") from None
            raise
        finally:
            asked.append(device)

    monkeypatch.setattr(checks, "_run_theirs", gpu)
    monkeypatch.setattr(checks, "resolve_device", lambda device: "cuda")
    rng = np.random.default_rng(0)
    checks.check_loss(BCELoss(), torch.nn.BCELoss(), rng.uniform(0.05, 0.95, (4, 3)),
                      rng.uniform(size=(4, 3)))  # times 10⁴ it is no probability
    assert "cuda" in asked


# --- what a check says, and of what ---

def test_a_failure_names_three_and_counts_the_others():
    rows = [checks.compare(name, np.zeros(2), np.ones(2), np.float64, 1e-6)
            for name in "abcde"]
    with pytest.raises(checks.CheckFailed) as failure:
        checks.Report("ours", "theirs", "cpu", rows).show()
    assert re.findall(r"\b(\w) in float64 differs", str(failure.value)) == list("abc")
    assert str(failure.value).endswith("and more: 2 others disagree")
    with pytest.raises(checks.CheckFailed) as failure:
        checks.Report("ours", "theirs", "cpu", rows[:3]).show()
    assert "others" not in str(failure.value)


def test_the_worst_entry_is_the_one_that_is_nan():
    for one, other in (("nan", "2.0"), ("2.0", "nan")):
        row = checks.compare("x", np.array([1.0, float(one), 3.0]),
                             np.array([1.0, float(other), 9.0]), np.float64, 1e-6,
                             nan=True)
        assert row["detail"].startswith(f"ours {one}, theirs {other} at (1,)")
    row = checks.compare("x", np.array([np.nan, 3.0]), np.array([np.nan, 9.0]),
                         np.float64, 1e-6, nan=True)
    assert row["detail"].startswith("ours 3.0, theirs 9.0 at (1,)")


def test_nothing_is_equal_to_nothing():
    for dtype in (int, float, complex):
        assert checks.relative_error(np.array([], dtype), np.array([], dtype)) == 0


def test_an_imaginary_part_is_an_error():
    assert checks.relative_error(np.array([1 + 1j]), np.array([1.0])) == 1
    assert checks.relative_error(np.array([1.0]), np.array([0 + 1j])) == 2**0.5


def test_what_a_report_shows():
    report = checks.check_random(DropChannels(0.4), torch.nn.Dropout(0.4), X + 10)
    page = report._repr_html_()
    assert page.startswith('<details class="byhand-check"><summary')
    assert "within 5 standard errors" in page
    assert [(row["asked"], row["limit"]) for row in report.rows] == [(5, 5)] * 4


def test_the_device_is_the_gpu_where_there_is_one(monkeypatch):
    for there, device in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
        assert checks.resolve_device() == checks.resolve_device("auto") == device
        assert checks.resolve_device("cpu") == "cpu"
        if there:
            assert checks.resolve_device("cuda") == "cuda"
        else:
            with pytest.raises(ValueError, match="PyTorch finds no GPU"):
                checks.resolve_device("cuda")


def test_the_device_of_a_check_is_not_pytorchs_default():
    class Masked(ReLU):
        def forward(self, x):
            self.mask = x > 0
            return super().forward(x)

    with torch.device("meta"):  # there tensors have no values
        checks.check_layer(Plain(), scaled, X, device="cpu")
        checks.check_layer(Masked(), lambda x, mask: x * mask, X, device="cpu")
        checks.check_loss(BCELoss(), torch.nn.BCELoss(), X * 0 + 0.5, X * 0 + 0.25,
                          device="cpu")
        with pytest.raises(checks.CheckFailed, match=re.escape(HINTS["no upstream"])):
            checks.check_layer(Mistaken("no upstream"), tanh_of_linear, X, device="cpu")


# --- shapes, batches and dresses ---

@pytest.mark.parametrize(["off", "agrees"], [(0.09, True), (0.15, False)])
def test_another_batch_is_measured_by_the_first(off, agrees):
    """Its entries are smaller: an error of a tenth is one of the first run's entries.
    """
    class Shifted(ReLU):
        def forward(self, x):
            return x + off * (len(x) != 2)

        def backward(self, dy):
            return dy

    def check():
        return checks.check_layer(Shifted(), lambda x: 1 * x, np.array([[1.0], [-1.0]]),
                                  device="cpu", rtol=0.1, scales=())

    if agrees:
        assert "another batch" in {row["run"] for row in check().rows}
    else:
        with pytest.raises(checks.CheckFailed, match="output .*another batch. differs"):
            check()


def test_only_what_has_the_length_of_the_batch_changes_it():
    class Product(ReLU):
        def forward(self, x, scale):
            self.given = x, scale
            return x * scale

        def backward(self, dy):
            x, scale = self.given
            return dy * scale, (dy * x).sum(axis=0)

    report = checks.check_layer(Product(), lambda x, scale: x * scale, X, X[0],
                                device="cpu")
    shapes = {(row["quantity"], *row["shape"]) for row in report.rows
              if row["run"] == "another batch"}
    assert shapes == {("output", 6, 3), ("input0.grad", 6, 3), ("input1.grad", 3)}


def test_numbers_without_a_batch():
    seen = []

    class Affine(ReLU):
        def forward(self, x, shift, times):
            self.times = times
            return x * times + shift

        def backward(self, dy):
            return dy * self.times, np.asarray(dy.sum(), dy.dtype), None

    def theirs(x, shift, times):
        seen.append((shift.item(), times.item()))
        return x * times + shift

    checks.check_layer(Affine(), theirs, X, np.array(0.5), np.array(3), device="cpu",
                       dtypes=(np.float64,), scales=(1e4,))
    assert seen == [(0.5, 3), (5000.0, 3), (0.375, 3)]


def test_another_batch_stays_in_the_domain():
    rng = np.random.default_rng(15)
    report = checks.check_loss(BCELoss(), torch.nn.BCELoss(),
                               rng.uniform(0.8, 0.95, (4, 3)), rng.uniform(size=(4, 3)),
                               device="cpu")
    assert "another batch" in {row["run"] for row in report.rows}


def test_arrays_without_entries_are_no_agreement():
    with pytest.raises(checks.CheckFailed, match="weight.grad in float64 compares no"):
        checks.check_layer(Plain(weight=()), scaled, X[:, :0], device="cpu")

    class One(ReLU):
        def backward(self, dy):
            return np.zeros((1, 3), dy.dtype)

    with pytest.raises(checks.CheckFailed, match="input.grad .* has the wrong shape: "
                       r"expected \(0, 3\), got \(1, 3\)"):
        checks.check_layer(One(), torch.relu, X[:0], device="cpu", numerical=False)


def test_gradients_of_nothing_do_not_fit():
    class Extra:
        params, buffers = {}, {}

        def forward(self, x):
            return 2 * x

        def backward(self, dy):
            self.grads["weight"] = dy.sum(axis=0)
            return 2 * dy

    extra = Extra()
    extra.grads = {}
    with pytest.raises(checks.CheckFailed, match="do not fit the parameters"):
        checks.check_layer(extra, lambda x: 2 * x, X, device="cpu")


def test_a_pair_of_functions_with_arrays():
    def forward(x, weight, bias):
        return x @ weight + bias, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        return dy @ weight.T, x.T @ dy, dy.sum(axis=0)

    start = {"weight.T": np.arange(6.0).reshape(3, 2), "bias": np.ones(2)}
    pair = checks.pair(forward, backward, start)
    assert np.array_equal(pair.params["weight"], start["weight.T"].T)
    checks.check_layer(pair, torch.nn.Linear(3, 2), X, device="cpu")
    assert np.array_equal(start["weight.T"], np.arange(6.0).reshape(3, 2))

    def transposed(dy, cache):
        dx, dw, db = backward(dy, cache)
        return dx, dw[::-1], db

    with pytest.raises(checks.CheckFailed, match="weight.grad in float64 differs"):
        checks.check_layer(checks.pair(forward, transposed, start),
                           torch.nn.Linear(3, 2), X, device="cpu")


def test_a_view_of_attributes():
    class Student:
        W, b = np.ones((3, 2)), np.zeros(2)

        def run(self, x):
            self.x = x
            return x @ self.W + self.b

        def back(self, dy):
            self.dW, self.db = self.x.T @ dy, dy.sum(axis=0)
            return dy @ self.W.T

    student = Student()
    view = checks.view(student, {"weight": "W.T", "bias": "b"},
                       {"weight": "dW.T", "bias": "db"}, forward="run", backward="back")
    checks.check_layer(view, torch.nn.Linear(3, 2), X, device="cpu")
    assert vars(student) == {}


def test_a_row_says_what_was_compared():
    theirs = np.array([1.0, -2.5])
    row = checks.compare("x", np.array([1.0, -2.0]), theirs, np.float64, 0.3, run="r",
                         method="numerical")
    assert row == {"quantity": "x", "run": "r", "method": "numerical", "shape": [2],
                   "dtype": "float64", "asked": 0.3, "limit": 0.3, "error": 0.2,
                   "agrees": True, "fault": "", "detail": ""}
    bad = {"error": np.inf, "agrees": False}
    for ours, fault, detail in (
            (theirs[:1], "has the wrong shape", "expected (2,), got (1,)"),
            (theirs.astype(np.float32), "has the wrong dtype",
             "expected float64, got float32"),
            (theirs.tolist(), "has the wrong dtype", "expected float64, got list")):
        assert checks.compare("x", ours, theirs, np.float64, 0.3, run="r",
                              method="numerical") == row | bad | {
            "fault": fault, "detail": detail}
    nans = np.array([np.nan, 1.0])
    found = checks.compare("x", nans, nans, np.float64, 0.3)
    assert found["detail"] == "1 of 2 entries of theirs are NaN"
    assert checks.compare("x", nans, nans, np.float64, 0.3, nan=True)["agrees"]
    row = checks.compare("x", 3, np.array(3), np.int64, 0.3)
    assert row["agrees"] and row["asked"] == row["limit"] == 0


def test_what_a_scale_and_a_floor_forgive():
    ours, theirs = np.array([1.5e-3, 0.0]), np.array([1e-3, 0.0])
    for settings, limit, error in (({}, 0.1, 0.5), ({"scale": 1.0}, 100, 0.5),
                                   ({"floor": 1e-2}, 0.1, 0.05),
                                   ({"scale": 1e-4, "floor": 1e-4}, 0.1, 0.5)):
        row = checks.compare("x", ours, theirs, np.float64, 0.1, **settings)
        assert (row["limit"], row["error"]) == pytest.approx((limit, error))
        assert row["asked"] == 0.1 and row["agrees"] == (error <= limit)


class Watched(Plain):
    """It keeps the gradients that it is given."""
    seen = []

    def backward(self, dy):
        self.seen.append(dy.copy())
        return super().backward(dy)


def test_the_runs_and_what_they_are_given():
    runs, weight = [], np.array([1.0, -2.0, 0.5])

    def theirs(x, weight):
        runs.append((x.detach().numpy().copy(), weight.detach().numpy().copy()))
        return x * weight

    Watched.seen.clear()
    checks.check_layer(Watched(weight=weight), theirs, X, device="cpu",
                       dtypes=(np.float64,))
    given, *scaled_runs, batch = [x for x, _ in runs]
    assert np.array_equal(given, X) and np.array_equal(runs[0][1], weight)
    for x, factor in zip(scaled_runs, (1, 1e-8, 1e-4, 1e4), strict=True):
        np.testing.assert_allclose(x, factor * X, rtol=1e-15)
    added = runs[1][1] - weight
    assert np.all((0.2 <= added) & (added <= 1.8)) and np.ptp(added) > 0
    assert all(np.array_equal(w, runs[1][1]) for _, w in runs[2:])
    assert batch.shape == (6, 3)
    assert np.all((X.min(axis=0) < batch) & (batch < X.max(axis=0)))
    first, again = Watched.seen[0::2], Watched.seen[1::2]  # backward runs twice
    assert all(np.array_equal(2 * dy, twice) for dy, twice in zip(first, again))
    assert not np.array_equal(first[0], first[1])
    assert len(first) == len(runs) == 6
    runs.clear()
    checks.check_layer(Plain(), theirs, X, device="cpu", dtypes=(np.float64,),
                       stir=False, batch=False, scales=())
    assert [x.shape for x, _ in runs] == [X.shape] * 2
    assert all(np.array_equal(w, np.ones(3)) for _, w in runs)


def test_a_count_and_zeros_are_stirred():
    class Counting(Layer):
        def __init__(self):
            super().__init__()
            self.buffers["count"], self.buffers["mean"] = np.array(5), np.zeros(3)

        def forward(self, x):
            self.dtype = x.dtype
            return x + self.buffers["mean"]

        def backward(self, dy):
            return dy

    seen = []

    def theirs(x, count, mean):
        seen.append((int(count), mean.numpy().copy()))
        return x + mean

    checks.check_layer(Counting(), theirs, X, device="cpu", scales=(), batch=False)
    assert [count for count, _ in seen] == [5, 8, 8] * 2
    assert np.all((0.1 <= seen[1][1]) & (seen[1][1] <= 0.9))


@pytest.mark.parametrize(["backward", "match"], [
    (lambda dy, x, w: (dy * w * w, dy * x),
     "input.grad .*the factor weight comes twice"),
    (lambda dy, x, w: (dy, dy * x), "input.grad .*the factor weight is missing"),
    (lambda dy, x, w: (dy * w, 15 * dy * x),
     "weight.grad .*it is 15 times, the entries of the output, too large"),
    (lambda dy, x, w: (dy * w / 15, dy * x),
     "input.grad .*it is 15 times, the entries of the output, too small"),
])
def test_hints_of_factors(backward, match):
    product = checks.pair(np.multiply, backward, {"weight": 2 + X}, cache=False)
    with pytest.raises(checks.CheckFailed, match=match):
        checks.check_layer(product, scaled, X, device="cpu", batch=False)


def test_a_hint_that_gradients_are_exchanged():
    product = checks.pair(np.multiply, lambda dy, x, w: (dy * x, dy * w), cache=False)
    with pytest.raises(checks.CheckFailed, match="input0.grad .*it is the gradient "
                       "that input1.grad should be"):
        checks.check_layer(product, torch.mul, X, 2 + X, device="cpu", numerical=False)


def test_both_sides_have_names():
    class Own(torch.nn.Module):
        def forward(self, x):
            return torch.relu(x)

    for theirs, name in ((torch.relu, "relu"), (torch.nn.ReLU(), "torch.nn.ReLU"),
                         (Own(), "Own"), (None, "finite differences"),
                         (lambda x: torch.relu(x), "a torch expression")):
        report = checks.check_layer(ReLU(), theirs, X, device="cpu", scales=())
        assert (report.ours, report.theirs, report.name) == ("ReLU", name, "ReLU")
        assert report.device == "cpu"
    report = checks.check_gradient(lambda x: x**2, lambda x: 2 * x, X, name="square")
    assert {row["run"] for row in report.rows} == {"", "another batch"}  # not scaled
    assert (report.ours, report.name) == ("a function", "square")
    assert {(row["dtype"], row["method"]) for row in report.rows} == {
        ("float64", "numerical")}
    assert repr(report) == ("Checked: a function against finite differences, 1 "
                            "configuration in float64, also by finite differences")


def test_the_table_of_a_report():
    one = checks.compare("y", np.ones(2), np.ones(2), np.float64, 1e-12)
    rows = [one, one | {"quantity": "dx", "run": "another batch", "limit": 3e-7},
            one | {"quantity": "dx", "method": "numerical", "asked": 1e-6,
                   "limit": 1e-6}]
    group = checks.Group("a & b", [checks.Report("f", "g", "cpu", rows, "<c>"),
                                   checks.Report("f", "g", "cpu", [one])])
    page = group._repr_html_()
    assert "data-group=\"a &amp; b\"" in page and "<code>a &amp; b</code>" in page
    assert re.findall('<th scope="col">(.*?)</th>', page) == [
        "configuration", "compared", "inputs", "float64", "finite differences"]
    assert re.findall('<th scope="row">(.*?)</th>', page) == ["&lt;c&gt;", "f"]
    assert re.findall("<td>(.*?)</td>", page) == [
        "y, dx", "as given, another batch", "within 1e-12, small ones 1e-06",
        "within 1e-06", "y", "as given", "within 1e-12", ""]


def test_what_was_caught_is_shown(capsys):
    with checks.group("one"):
        checks.check_layer(ReLU(), torch.relu, X, device="cpu", scales=())
        checks.catches(checks.check_layer, Plain("bad for small"), scaled, X,
                       device="cpu", match="input.grad")
    text = capsys.readouterr().out
    assert text.startswith("Caught: Plain\ninput.grad in float64 (times 1e-08) differs")
    assert "Checked: one, 1 configuration in float64 and float32" in text
    page = checks.Caught("<f>", "a < b")._repr_html_()
    assert "<code>&lt;f&gt;</code>" in page and "<p>a &lt; b</p>" in page
    checks.catches(lambda f: checks.check_gradient(f, lambda w: w, X), lambda w: w * w,
                   match="input.grad")
    assert capsys.readouterr().out.startswith("Caught: a function\n")


def test_what_is_recorded(tmp_path, monkeypatch):
    checks.write_record(kind="nowhere")
    file = tmp_path / "lines.jsonl"
    monkeypatch.setenv("BYHAND_RECORD", str(file))
    checks.write_record(kind="x", error=np.inf, text="é")
    checks.write_record(kind="y", error=0.5)
    run, *lines = file.read_text(encoding="utf-8").splitlines()
    assert json.loads(run).keys() == {"kind", "python", "numpy", "torch", "machine",
                                      "gpu"}
    assert json.loads(run)["torch"] == str(torch.__version__)
    assert lines == ['{"kind": "x", "error": null, "text": "é"}',
                     '{"kind": "y", "error": 0.5}']
    checks.check_layer(ReLU(), torch.relu, X, device="cpu", scales=())
    single = json.loads(file.read_text(encoding="utf-8").splitlines()[-1])
    assert (single["kind"], single["group"]) == ("single", "")
    assert "about" not in single
    monkeypatch.setenv("BYHAND_RECORD", "lines.jsonl")
    with pytest.raises(ValueError, match="absolute file name, got 'lines.jsonl'"):
        checks.write_record(kind="x")


def test_a_right_random_layer_is_off_by_about_one_standard_error():
    x = np.random.default_rng(16).uniform(1, 2, (3, 10))
    errors = np.array([[row["error"] for row in checks.check_random(
        DropChannels(0.3), torch.nn.Dropout(0.3), x, draws=60, seed=seed).rows]
        for seed in range(20)])
    assert errors.shape == (20, 4) and np.all(errors < 5)
    means = errors[:, :2].mean(axis=0)  # the factors are all the same, off by nothing
    assert np.all((0.2 < means) & (means < 2.5))
    report = checks.check_random(DropChannels(0.3), torch.nn.Dropout(0.3), x, draws=60,
                                 name="mine")
    with pytest.raises(checks.CheckFailed, match="share kept draws in float64 .60 draws"
                       r". differs: ours 0\.\d+, theirs 0\.\d+"):
        checks.check_random(DropChannels(0.1), torch.nn.Dropout(0.3), x, draws=60)
    assert report.name == "mine" and {row["run"] for row in report.rows} == {"60 draws"}
    assert [row["quantity"] for row in report.rows] == [
        "share kept", "its spread", "mean factor", "mean square of the factor"]


def test_a_random_layer_without_chance():
    class Twice:
        def forward(self, x):
            return 2 * x

    x = 1 + X**2
    checks.check_random(DropChannels(0.0), torch.nn.Dropout(0.0), x, draws=3)
    with pytest.raises(checks.CheckFailed, match="mean factor draws"):
        checks.check_random(Twice(), torch.nn.Dropout(0.0), x, draws=3)


def test_a_module_may_ask_for_the_mask():
    class Masked(ReLU):
        def forward(self, x):
            self.mask = x > 0
            return super().forward(x)

    class Theirs(torch.nn.Module):
        def forward(self, x, mask):
            return x * mask

    checks.check_layer(Masked(), Theirs(), X, device="cpu")
    with pytest.raises(ValueError, match="none after its forward"):
        checks.check_layer(ReLU(), Theirs(), X, device="cpu")


def test_a_loss_is_given_a_float():
    given = set()

    class Half:
        def forward(self, x, target):
            self.x = x - target
            return float(np.sum(self.x**2) / 2)

        def backward(self, dy=1.0):
            given.add(type(dy))
            return dy * self.x

    checks.check_loss(Half(), lambda x, target: ((x - target)**2).sum() / 2, X, X + 1,
                      device="cpu")
    assert given == {float}


def test_a_buffer_may_be_empty_where_nobody_compares_it():
    layer = Plain()
    layer.buffers = {"history": np.zeros(0)}
    report = checks.check_layer(layer, None, X)
    assert "state stirred" in {row["run"] for row in report.rows}


def test_one_function_for_each_parameter():
    def make():
        velocity = 0.0

        def step(w, g):
            nonlocal velocity
            velocity = 0.9 * velocity + g
            return w - 0.1 * velocity

        return step

    def in_place():
        def step(w, g):
            w -= 0.1 * g

        return step

    def sgd(momentum):
        return lambda params: torch.optim.SGD(params, lr=0.1, momentum=momentum)

    report = checks.check_optimizer(checks.stepwise(make), sgd(0.9), device="cpu")
    assert (report.ours, report.theirs, report.name) == ("make", "SGD", "make")
    assert [(row["quantity"], row["shape"], row["dtype"], row["run"])
            for row in report.rows] == [
        (f"{name} after 100 steps", shape, dtype, "100 steps")
        for dtype in ("float64", "float32")
        for name, shape in (("weight", [4, 3]), ("bias", [3]))]
    checks.check_optimizer(checks.stepwise(in_place), sgd(0), steps=5, device="cpu")
    with pytest.raises(checks.CheckFailed, match="weight after 2 steps"):
        checks.check_optimizer(checks.stepwise(make), sgd(0.8), steps=5, device="cpu")


def test_the_rate_moves_after_half_of_the_steps():
    rates, theirs = [], []

    class Descent:
        def __init__(self, params):
            self.params, self.param_groups = params, [{"lr": 0.3}]

        def step(self, grads):
            rates.append(self.param_groups[0]["lr"])
            for name, value in self.params.items():
                value -= np.asarray(rates[-1], value.dtype) * grads[name]

    class Theirs(torch.optim.SGD):
        def step(self):
            theirs.append(self.param_groups[0]["lr"])
            super().step()

    report = checks.check_optimizer(Descent, lambda p: Theirs(p, lr=0.3), steps=6,
                                    device="cpu", dtypes=(np.float64,))
    assert rates == theirs == pytest.approx([0.3] * 3 + [0.1] * 3)
    assert {row["run"] for row in report.rows} == {"6 steps, learning rate moved"}
    assert report.ours == "Descent"


def test_a_view_into_lists_with_a_mask():
    class Drop:
        def __init__(self):
            self.parts, self.slopes = [np.ones(3), {"b": np.zeros(3)}], {}
            self.rng = np.random.default_rng(17)

        def forward(self, x):
            self.mask = self.rng.random(x.shape) < 0.5
            self.x = x
            return x * self.mask * self.parts[0] + self.parts[1]["b"]

        def backward(self, dy):
            self.slopes = {"w": (dy * self.x * self.mask).sum(axis=0),
                           "b": dy.sum(axis=0)}
            return dy * self.mask * self.parts[0]

    view = checks.view(Drop(), {"weight": "parts.0"}, {"weight": "slopes.w"},
                       {"bias": "parts.1.b"})
    report = checks.check_layer(
        view, lambda x, weight, bias, mask: x * mask * weight + bias, X, device="cpu")
    assert report.ours == "Drop"


def test_the_step_of_a_finite_difference():
    """A wide one sees the third derivative: 3 x^2 + h^2 for x^3."""
    checks.check_gradient(lambda x: x**3, lambda x: 3 * x**2 + 0.01, X, step=0.1,
                          batch=False)
    with pytest.raises(checks.CheckFailed, match="input.grad"):
        checks.check_gradient(lambda x: x**3, lambda x: 3 * x**2, X, step=0.1)


def test_a_layer_may_keep_the_arrays_that_it_loads():
    class Moving:
        def __init__(self):
            self.params, self.grads, self.buffers = {}, {}, {"mean": np.zeros(3)}

        def load_state(self, state):
            self.buffers = state

        def forward(self, x):
            y = x + self.buffers["mean"]
            self.buffers["mean"] += x.mean(axis=0)
            return y

        def backward(self, dy):
            return dy

    def theirs(x, mean):
        y = x + mean
        mean += x.detach().mean(dim=0)
        return y

    checks.check_layer(Moving(), theirs, X, device="cpu", numerical=False)


def test_a_layer_may_return_its_own_parameter():
    class Constant(Plain):
        def forward(self, x):
            self.x = x
            return self.params["weight"]

        def backward(self, dy):
            self.grads["weight"] = dy.copy()
            return 0 * self.x

    checks.check_layer(Constant(), lambda x, weight: 1 * weight, X, device="cpu")


def test_what_a_finite_difference_can_see():
    for off, dtype, seen in ((1e-5, np.float64, True), (1e-8, np.float64, False),
                             (0.1, np.float32, True), (1e-3, np.float32, False)):
        def check():
            return checks.check_gradient(
                lambda x: np.sum(x * x), lambda x: (2 * (1 + off) * x).astype(x.dtype),
                4 + X, dtypes=(dtype,), scales=())

        if seen:
            with pytest.raises(checks.CheckFailed, match="input.grad numerical in flo"):
                check()
        else:
            limits = {row["asked"] for row in check().rows}
            assert limits == {1e-6 if dtype == np.float64 else 1e-2}


@pytest.mark.parametrize(["text", "compute"], [
    ("overflow", lambda x: np.exp(800 + x)), ("divide by zero", lambda x: 1 / (0 * x)),
    ("invalid value", lambda x: np.log(-1 - x**2))])
def test_each_complaint_of_numpy_is_a_fault(text, compute):
    class Noisy(ReLU):
        def forward(self, x):
            compute(x)
            return super().forward(x)

    with pytest.raises(checks.CheckFailed, match=f"Noisy is not stable .*{text}"):
        checks.check_layer(Noisy(), torch.relu, X, device="cpu")


def test_a_cache_that_backward_spoils():
    class Spoilt(Plain):
        def backward(self, dy):
            dx = super().backward(dy)
            self.x = 0.5 * self.x
            return dx

    with pytest.raises(checks.CheckFailed, match="spoils weight.grad when backward is "
                       "called again in float64: what it kept has changed"):
        checks.check_layer(Spoilt(), scaled, X, device="cpu")
