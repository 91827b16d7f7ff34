"""The checks: what they accept, what they refuse, and that they change nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from byhand import checks
from byhand.backprop import Linear, ReLU, Sequential, Sigmoid

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
        "no bias gradient": "do not fit the parameters",
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
