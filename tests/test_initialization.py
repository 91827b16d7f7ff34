"""Initializers against torch.nn.init, draw for draw, and what they refuse."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from byhand.activations import Tanh
from byhand.backprop import Linear, ReLU, Sequential
from byhand.initialization import (
    calculate_gain,
    fans,
    gaussian_mean,
    initialize,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    lsuv,
    mean_field,
    normal,
    orthogonal,
    trunc_normal,
    uniform,
    xavier_normal,
    xavier_uniform,
    zeros,
)
from byhand.checks import relative_error, tolerance
from byhand.experiments import stack

shapes = st.lists(st.integers(1, 7), min_size=2, max_size=4).map(tuple)
dtypes = st.sampled_from(["float64", "float32"])
gains = st.floats(0.1, 5)
NONLINEARITIES = ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu", "conv1d",
                  "conv2d", "conv3d"]


class TorchDraws:
    """Stands in for a NumPy generator and draws what torch draws."""

    def __init__(self, seed, dtype):
        self.generator, self.dtype = (torch.Generator().manual_seed(seed),
                                      getattr(torch, dtype))

    def normal(self, size):
        return torch.empty(size, dtype=self.dtype).normal_(
            generator=self.generator).double().numpy()

    def uniform(self, low, high, size):
        return (low + (high - low) * torch.empty(size, dtype=self.dtype).uniform_(
            generator=self.generator).double().numpy())


def agree(ours, theirs, shape, dtype, **arguments):
    mine = ours(shape, TorchDraws(5, dtype), **arguments, dtype=np.dtype(dtype))
    weight = torch.empty(shape, dtype=getattr(torch, dtype))
    theirs(weight, **arguments, generator=torch.Generator().manual_seed(5))
    assert (mine.shape, mine.dtype) == (shape, dtype)
    assert relative_error(mine, weight.numpy()) < tolerance(mine.dtype, mine.size)


@given(shapes, dtypes, gains)
def test_xavier(shape, dtype, gain):
    agree(xavier_normal, torch.nn.init.xavier_normal_, shape, dtype, gain=gain)
    agree(xavier_uniform, torch.nn.init.xavier_uniform_, shape, dtype, gain=gain)


@given(shapes, dtypes, st.floats(0, 3), st.sampled_from(["fan_in", "fan_out"]),
       st.sampled_from(NONLINEARITIES))
def test_kaiming(shape, dtype, a, mode, nonlinearity):
    arguments = {"a": a, "mode": mode, "nonlinearity": nonlinearity}
    agree(kaiming_normal, torch.nn.init.kaiming_normal_, shape, dtype, **arguments)
    agree(kaiming_uniform, torch.nn.init.kaiming_uniform_, shape, dtype, **arguments)


@given(shapes, dtypes, st.floats(-5, 5), st.floats(0, 5))
def test_plain_distributions(shape, dtype, start, length):
    agree(normal, torch.nn.init.normal_, shape, dtype, mean=start, std=length)
    agree(uniform, torch.nn.init.uniform_, shape, dtype, a=start, b=start + length)
    assert not zeros(shape, dtype=dtype).any()


@given(shapes, gains)
def test_orthogonal(shape, gain):
    agree(orthogonal, torch.nn.init.orthogonal_, shape, "float64", gain=gain)
    q = orthogonal(shape, np.random.default_rng(0), gain,
                   np.float32).reshape(shape[0], -1)
    gram = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    assert q.dtype == np.float32
    assert relative_error(gram, gain**2 * np.eye(len(gram))) < 1e-5


@pytest.mark.parametrize("nonlinearity", [*NONLINEARITIES, "conv_transpose1d",
                                          "conv_transpose2d", "conv_transpose3d"])
@pytest.mark.parametrize("param", [None, 0, 1, 0.3, math.sqrt(5)])
def test_gains(nonlinearity, param):
    assert (calculate_gain(nonlinearity, param) == pytest.approx(
        torch.nn.init.calculate_gain(nonlinearity, param), rel=1e-15))


@given(shapes, dtypes)
def test_lecun_is_kaiming_with_gain_1(shape, dtype):
    for ours, other in ((lecun_normal, kaiming_normal),
                        (lecun_uniform, kaiming_uniform)):
        a, b = (f(shape, np.random.default_rng(1), dtype=np.dtype(dtype), **k)
                for f, k in ((ours, {}), (other, {"nonlinearity": "linear"})))
        assert a.dtype == dtype
        np.testing.assert_array_equal(a, b)


@settings(max_examples=25)
@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e3), st.floats(-30, 30),
       st.floats(0.01, 10), dtypes)
def test_truncated_normal_stays_within(mean, std, low, length, dtype):
    a, b = mean + low * std, mean + (low + length) * std
    with np.errstate(all="raise", under="ignore"):
        w = trunc_normal((200, 5), np.random.default_rng(2), mean, std, a, b,
                         np.dtype(dtype))
    slack = 1e-6 * max(abs(a), abs(b)) if dtype == "float32" else 0
    assert w.dtype == dtype
    assert np.all((a - slack <= w) & (w <= b + slack))
    if dtype == "float64":
        u = np.ravel((w - mean) / std)
        assert (abs(u.mean() - stats.truncnorm(low, low + length).mean())
                < 6 * u.std() / math.sqrt(u.size))


@settings(max_examples=10)
@given(st.sampled_from([xavier_normal, xavier_uniform, kaiming_normal, kaiming_uniform,
                        lecun_normal, lecun_uniform]), st.integers(0, 99))
def test_variance_with_numpy_s_generator(initializer, seed):
    expected = {"xavier": 2 / 900, "kaiming": 2 / 300,
                "lecun": 1 / 300}[initializer.__name__.split("_")[0]]
    squares = initializer((600, 300), np.random.default_rng(seed)) ** 2
    error = squares.std() / math.sqrt(squares.size)
    assert abs(squares.mean() - expected) < 6 * error
    assert 0.05 * expected > 10 * error  # 5 % more would be noticed


def test_gaussian_mean():
    for power, moment in ((0, 1), (2, 1), (4, 3), (6, 15)):
        assert gaussian_mean(lambda u: u**power) == pytest.approx(moment, rel=1e-12)
    for edge in np.linspace(-3, 3, 50):
        assert (gaussian_mean(lambda u: np.where(u > edge, 1.0, 0.0))
                == pytest.approx(stats.norm.sf(edge), abs=5e-4))


def test_gaussian_mean_of_what_keeps_swinging():
    """As its docstring says: about 0.01 off, at some scales 0.04."""
    errors = [gaussian_mean(lambda u, scale=scale: np.sin(scale * u)**2) - 0.5
              for scale in np.geomspace(300, 1e6, 300)]
    assert 0.005 < np.abs(errors).mean() < 0.015
    assert 0.02 < np.abs(errors).max() < 0.045


@pytest.mark.parametrize(("scale", "rel"), [
    (1.0, 1e-12), (30.0, 1e-12), (1e3, 1e-12), (1e6, 1e-12), (1e14, 2e-12),
    (1e20, 2e-6)])
def test_gaussian_mean_of_a_narrow_spike(scale, rel):
    found = gaussian_mean(lambda u: 1 / (1 + (scale * u) ** 2))
    exact = (math.sqrt(math.pi / 2) / scale  # Abramowitz and Stegun 7.4.11
             * special.erfcx(1 / (scale * math.sqrt(2))))
    assert found == pytest.approx(exact, rel=rel, abs=0)


@pytest.mark.parametrize("variance", [1e5, 1e8, 1e20])
def test_mean_field_where_tanh_saturates(variance):
    q, m, chi = mean_field(Tanh(), 2, variance)
    assert m == pytest.approx(1, rel=0.01)
    slope = 4 / 3 / math.sqrt(2 * math.pi * q[1])  # of the spike 1 - tanh^2, squared
    assert chi[1] == pytest.approx(variance * slope, rel=1e-3)


def test_mean_field_leaves_the_layer_as_it_was():
    layer, x = Tanh(), np.array([0.3])
    layer.forward(x)
    before = layer.backward(np.ones(1))
    mean_field(layer, 2, 1.0)
    assert np.array_equal(layer.backward(np.ones(1)), before)


@given(st.floats(0.1, 4), st.floats(0, 2), st.floats(0.1, 3))
@settings(max_examples=10)
def test_mean_field_of_relu(weight_var, bias_var, moment):
    q, m, chi = mean_field(ReLU(), 3, weight_var, bias_var, moment)
    for i in range(3):
        assert q[i] == pytest.approx(weight_var * moment + bias_var)
        moment = q[i] / 2
        assert (m[i], chi[i]) == pytest.approx((moment, weight_var / 2))


def test_initialize_and_lsuv_leave_the_model_alone():
    rng = np.random.default_rng(3)
    model = Sequential(Linear(6, 8, rng=rng, dtype=np.float32), Tanh(),
                       Linear(8, 5, rng=rng, dtype=np.float32))
    before, x = ({name: value.copy() for name, value in model.params.items()},
                 rng.normal(3, 2, size=(50, 6)).astype(np.float32))
    given, states = (x.copy(), [initialize(model, kaiming_normal, rng, bias=0.5),
                                lsuv(model, x, rng)])
    np.testing.assert_array_equal(x, given)
    for state in states:
        assert all(np.array_equal(value, before[name])
                   for name, value in model.params.items())
        assert all(value.dtype == np.float32 for value in state.values())
    assert np.all(states[0]["0.bias"] == 0.5)
    model.load_state(states[1])
    for layer in model.layers:
        x = layer.forward(x)
        assert not isinstance(layer, Linear) or x.std() == pytest.approx(1, rel=1e-5)


def test_lsuv_suits_load_state_with_buffers():
    class Counting(ReLU):
        def __init__(self):
            super().__init__()
            self.buffers["calls"] = np.zeros(1)

        def forward(self, x):
            self.buffers["calls"] += 1
            return super().forward(x)

    rng = np.random.default_rng(3)
    model = Sequential(Linear(4, 5, rng=rng), Counting(), Linear(5, 2, rng=rng))
    state = lsuv(model, rng.normal(size=(30, 4)), rng)
    assert state["1.calls"] == 0
    model.load_state(state)


RNG = np.random.default_rng(6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: fans((3,)),
        lambda: fans((3, 0)),
        lambda: fans((3, 1.5)),
        lambda: fans((3, math.inf)),
        lambda: fans((3, math.nan)),
        lambda: xavier_uniform((3,), RNG),
        lambda: kaiming_normal((3, 3), RNG, mode="fan_avg"),
        lambda: kaiming_normal((3, 3), RNG, nonlinearity="gelu"),
        lambda: calculate_gain("leaky_relu", "0.2"),
        lambda: calculate_gain("leaky_relu", True),
        lambda: calculate_gain("leaky_relu", math.nan),
        lambda: calculate_gain("leaky_relu", 1j),
        lambda: normal((3, 3), RNG, std=-1),
        lambda: normal((3, 3), RNG, std=math.nan),
        lambda: normal((3, 3), RNG, std=math.inf),
        lambda: normal((3, 3), RNG, mean=math.nan),
        lambda: xavier_normal((3, 3), RNG, gain=math.nan),
        lambda: uniform((3, 3), RNG, a=math.nan),
        lambda: uniform((3, 3), RNG, b=math.inf),
        lambda: xavier_uniform((3, 3), RNG, gain=math.inf),
        lambda: orthogonal((3, 3), RNG, gain=math.nan),
        lambda: trunc_normal((3, 3), RNG, mean=math.nan),
        lambda: trunc_normal((3, 3), RNG, std=math.inf),
        lambda: mean_field(ReLU(), 2, -1.0),
        lambda: mean_field(ReLU(), 2, 1.0, bias_var=math.nan),
        lambda: mean_field(ReLU(), 2, 1.0, input_moment=math.inf),
        lambda: mean_field(ReLU(), 9, 1e100),
        lambda: mean_field(ReLU(), 1, 1e308),
        lambda: initialize(stack([Sequential(Linear(3, 2, rng=RNG))] * 2), normal, RNG),
        lambda: lsuv(stack([Sequential(Linear(3, 2, rng=RNG))] * 2),
                     np.ones((4, 2, 3)), RNG),
        lambda: lsuv(Sequential(Sequential(Linear(3, 2, rng=RNG))),
                     RNG.normal(size=(4, 3)), RNG),
        lambda: lsuv(Sequential(Linear(3, 2, rng=RNG)), np.full((4, 3), np.nan), RNG),
        lambda: uniform((3, 3), RNG, a=1, b=0),
        lambda: orthogonal((3,), RNG),
        lambda: trunc_normal((3, 3), RNG, std=0.0),
        lambda: trunc_normal((3, 3), RNG, a=1.0, b=1.0),
        lambda: lsuv(Sequential(Linear(3, 2, rng=RNG)), np.zeros((4, 3)), RNG),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError, match=r"\w"):
        call()


class Nearly:
    """A generator whose uniform numbers lie next to the upper end."""

    def uniform(self, low, high, size):
        return np.full(size, low + (high - low) * (1 - 1e-12))


@pytest.mark.parametrize(["a", "b"], [(0.0, 1.0), (-0.1, 0.3), (-2.0, -1.0)])
def test_uniform_stays_below_its_end_in_float32(a, b):
    values = uniform((4,), Nearly(), a, b, np.float32)
    assert values.dtype == np.float32 and np.all(values < np.float32(b))
    assert np.all(uniform((4,), RNG, a, a, np.float32) == np.float32(a))


@pytest.mark.parametrize("slope", [np.float32(0.2), np.int64(1), 1e200])
def test_a_slope_may_be_numpy_s(slope):
    assert calculate_gain("leaky_relu", slope) == pytest.approx(
        math.sqrt(2) / math.hypot(1, float(slope)), rel=1e-15)


@pytest.mark.parametrize(["dtype", "size"], [
    (np.float32, 1e20), (np.float32, 1e-23), (np.float64, 1e200), (np.float64, 1e-200)])
def test_lsuv_of_large_and_small_batches(dtype, size):
    model = Sequential(Linear(4, 5, rng=RNG, dtype=dtype))
    x = np.random.default_rng(7).normal(size=(50, 4)).astype(dtype) * dtype(size)
    model.load_state(lsuv(model, x, RNG))
    assert model.forward(x).std() == pytest.approx(1, rel=1e-5)
