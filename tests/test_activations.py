"""byhand.activations against PyTorch over shapes, dtypes, parameters and edge values;
bad input.
"""

import mpmath as mp
import numpy as np
import pytest
import scipy.integrate
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import byhand.activations
from byhand import backprop
from byhand.activations import (CELU, ELU, GEGLU, GELU, GLU, SELU, Elementwise,
                                Hardswish, LeakyReLU, Maxout, Mish, PReLU, SiLU,
                                Softplus, Softsign, SquaredReLU, SwiGLU, Swish, Tanh)
from byhand.checks import check_layer, numerical_gradient

quick = settings(max_examples=8, deadline=None)
SHAPES = array_shapes(min_dims=1, max_dims=3, max_side=4)
SMOOTH = {name: getattr(byhand.activations, name)
          for name in ("Tanh", "Softsign", "Softplus", "SiLU", "GELU", "Mish", "CELU")}
CORNERED = {name: getattr(byhand.activations, name)
            for name in ("LeakyReLU", "ELU", "SELU", "Hardswish")}


def with_one(x):
    """x and a 1, so that the largest value, to which errors are relative, is not tiny
    itself.
    """
    return np.append(x.ravel(), 1.0)


@pytest.mark.parametrize("name", SMOOTH | CORNERED)
@quick
@given(x=arrays(np.float64, SHAPES, elements=st.floats(-1e4, 1e4, width=32)),
       near=st.sampled_from([1.0, 1e-3, 1e-6]))
def test_elementwise(name, x, near):
    check_layer((SMOOTH | CORNERED)[name](), getattr(torch.nn, name)(),
                with_one(x * near), device="cpu", numerical=False)


@pytest.mark.parametrize("name", SMOOTH | CORNERED)
def test_edges(name):
    layer, theirs = (SMOOTH | CORNERED)[name](), getattr(torch.nn, name)()
    check_layer(layer, theirs,
                np.array([0.0, -0.0, 1.0, 3.0, -3.0, 20.0, 88.8, -104.0, 709.8, -745.2,
                          1e4, -1e4]), device="cpu", numerical=False)
    ends = np.array([-np.inf, np.inf, np.nan])
    with np.errstate(invalid="ignore"):
        for dtype, kind in ((np.float64, torch.float64), (np.float32, torch.float32)):
            y, expected = (layer.forward(ends.astype(dtype)),
                           theirs(torch.tensor(ends, dtype=kind)).numpy())
            if name == "GELU":  # at infinity PyTorch's answer depends on the dtype
                y, expected = y[[0, 2]], expected[[0, 2]]
            np.testing.assert_allclose(y, expected,
                                       rtol=1e-6 if dtype == np.float32 else 1e-14)
            assert y.dtype == dtype


@pytest.mark.parametrize("layer", [kind() for kind in SMOOTH.values()] + [
    GELU("tanh"), Swish(2.0)], ids=lambda layer: type(layer).__name__)
@quick
@given(x=st.floats(-8, 8))
def test_slopes_against_differences(layer, x):
    point = np.array([x])
    layer.forward(point)
    expected = numerical_gradient(lambda value: float(layer.forward(value)[0]), point)
    layer.forward(point)
    # softsign and CELU have a corner in their slope at 0
    np.testing.assert_allclose(layer.backward(np.ones(1)), expected, atol=1e-5)


@quick
@given(arrays(np.float64, SHAPES, elements=st.floats(-40, 40)), st.floats(0.05, 4))
def test_parameters(x, value):
    x, f = with_one(x), torch.nn
    # the backward pass of PyTorch's CELU rounds alpha to float32
    single = float(np.float32(value))
    for ours, theirs in (
        (LeakyReLU(value), f.LeakyReLU(value)), (ELU(value), f.ELU(value)),
        (CELU(single), f.CELU(single)),
        (Softplus(value, 10.0), f.Softplus(value, 10.0)),
        (GELU("tanh"), f.GELU("tanh")),
        (Swish(value), lambda t: t * torch.sigmoid(value * t)),
        (SquaredReLU(), lambda t: torch.relu(t).square()),
    ):
        check_layer(ours, theirs, x, device="cpu", numerical=False)


@quick
@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 2), st.floats(-2, 2),
       st.integers(0, 99))
def test_prelu(n, channels, more, init, seed):
    x = np.random.default_rng(seed).normal(size=(n, channels, *[3] * more))
    for count in (1, channels):
        check_layer(PReLU(count, init), torch.nn.PReLU(count, init), x, device="cpu",
                    numerical=False)


@quick
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_several_inputs(n, m, k, seed):
    x = np.random.default_rng(seed).normal(scale=3, size=(n, m * k))
    check_layer(Maxout(k), lambda t: t.unflatten(1, (m, k)).max(dim=2).values, x,
                device="cpu")
    x = np.random.default_rng(seed).normal(scale=3, size=(2 * n, 2 * m, 2 * k))
    # along axis 0 no other batch has the same outputs
    for kind in (GLU, SwiGLU, GEGLU):
        assert np.array_equal(kind(0).forward(x),
                              kind(1).forward(x.swapaxes(0, 1)).swapaxes(0, 1))
    for dim in (1, -1):
        check_layer(GLU(dim), torch.nn.GLU(dim), x, device="cpu", numerical=False)
        for kind, switch in ((SwiGLU, torch.nn.functional.silu),
                             (GEGLU, torch.nn.functional.gelu)):
            check_layer(kind(dim), lambda t, d=dim, s=switch: s(t.chunk(2, d)[0])
                        * t.chunk(2, d)[1], x, device="cpu", numerical=False)


def test_float64_parameters_leave_float32_alone():
    one, x = np.float64(1.5), np.array([-2.0, 0.5], np.float32)
    for layer in (LeakyReLU(one), ELU(one), CELU(one), Softplus(one, one), Swish(one)):
        y = layer.forward(x)
        assert y.dtype == layer.backward(y).dtype == np.float32


def test_maxout_passes_the_gradient_once_and_nan_on():
    layer = Maxout(2)
    layer.forward(np.ones((1, 4)))
    assert layer.backward(np.ones((1, 2))).tolist() == [[1, 0, 1, 0]]
    assert np.isnan(layer.forward(np.array([[np.nan, 1.0]]))).all()


def test_selu_keeps_mean_and_variance():
    z = np.random.default_rng(0).normal(size=1_000_000)
    y = SELU().forward(z)
    assert abs(y.mean()) < 5e-3 and abs(y.var() - 1) < 1e-2


LAYERS = [Tanh(), Softsign(), LeakyReLU(), ELU(), CELU(), SELU(), Softplus(), SiLU(),
          GELU(), Mish(), Hardswish(), PReLU(), Maxout(), GLU(), SwiGLU(), GEGLU(),
          SquaredReLU()]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_what_is_refused(layer):
    with pytest.raises(AttributeError, match="call forward before backward"):
        type(layer)().backward(np.ones((4, 2)))
    for wrong in (np.ones((4, 2), int), [[1.0, 2.0]]):
        with pytest.raises(TypeError, match="float32 or float64"):
            layer.forward(wrong)
    y = layer.forward(np.ones((4, 2)))
    with pytest.raises(ValueError, match="dy must have the shape"):
        layer.backward(y[:3])
    with pytest.raises(TypeError, match="dy must be"):
        layer.backward(y.astype(np.float32))
    assert layer.forward(np.ones((0, 2))).shape[0] == 0


@pytest.mark.parametrize(
    ["make", "message"],
    [
        (lambda: CELU(0.0), "alpha must be positive"),
        (lambda: Softplus(0.0), "beta must be positive"),
        (lambda: Softplus(float("nan")), "beta must be positive"),
        (lambda: GELU("erf"), "approximate"),
        (lambda: PReLU(0), "num_parameters"),
        (lambda: Maxout(0), "pieces"),
        (lambda: Maxout(1.5), "pieces must be an integer of at least 1, got 1.5"),
        (lambda: PReLU(1.5), "num_parameters must be an integer"),
        (lambda: Maxout("1"), "pieces must be an integer of at least 1, got '1'"),
        (lambda: PReLU("1"), "integer of at least 1, got '1'"),
        (lambda: Maxout(2).forward(np.ones((4, 3, 2))),
         r"shape \(N, D\) with D a multiple of 2, got \(4, 3, 2\)"),
        (lambda: PReLU(3).forward(np.ones((2, 4))), r"shape \(N, 3, ...\)"),
        (lambda: PReLU(3).forward(np.ones(3)), r"shape \(N, 3, ...\)"),
        (lambda: Maxout(2).forward(np.ones((2, 3))), "multiple of 2"),
        (lambda: GLU().forward(np.ones((2, 3))), "even length"),
        (lambda: GLU(2).forward(np.ones((2, 2))), "even length"),
    ],
)
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_prelu_refuses_another_dtype():
    with pytest.raises(TypeError, match="float64 like the layer"):
        PReLU().forward(np.ones((2, 2), np.float32))


def test_the_base_needs_only_value_and_slope():
    class Square(Elementwise):
        def value(self, x):
            return x**2

        def slope(self, x, y):
            return 2 * x

    check_layer(Square(), torch.square, np.random.default_rng(0).normal(size=(3, 2)),
                device="cpu")


# Kinds of faults

EXACT = {
    "Sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "Tanh": mp.tanh,
    "Softsign": lambda x: x / (1 + abs(x)),
    "ELU": lambda x: x if x > 0 else mp.expm1(x),
    "CELU": lambda x: x if x > 0 else mp.expm1(x),
    "Softplus": lambda x: x if x > 20 else mp.log1p(mp.exp(x)),
    "SiLU": lambda x: x / (1 + mp.exp(-x)),
    "GELU": lambda x: x * mp.ncdf(x),
    "tanh": lambda x: x / (1 + mp.exp(-mp.sqrt(8 / mp.pi) * (
        x + mp.mpf(0.044715) * x**3))),
    "Mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
}
GRID = [sign * size
        for size in (1e-10, 1e-5, 0.01, 0.5, 1.0, 3.0, 8.0, 19.0, 36.0, 45.0)
        for sign in (1, -1)]


@pytest.mark.parametrize("name", EXACT)
def test_each_entry_by_itself(name):
    """Errors relative to the largest entry say nothing about the small ones."""
    layer = (GELU("tanh") if name == "tanh" else backprop.Sigmoid() if name == "Sigmoid"
             else getattr(byhand.activations, name)())
    with mp.workdps(40):
        expected = np.array([float(EXACT[name](mp.mpf(x))) for x in GRID])
        slopes = np.array([float(mp.diff(EXACT[name], mp.mpf(x), h=mp.mpf("1e-20")))
                           for x in GRID])
    for dtype in (np.float64, np.float32):
        # the exponent's rounding, times the exponent, is the value's
        limit = (600 if name in ("GELU", "tanh") else 60) * np.finfo(dtype).eps
        x = np.array(GRID, dtype)
        inside = np.abs(expected) > 1e3 * np.finfo(dtype).tiny
        y = layer.forward(x)
        keep = inside & (np.array(GRID) == x) if dtype == np.float32 else inside
        np.testing.assert_allclose(y[keep], expected[keep], rtol=limit)
        assert np.abs(layer.backward(np.ones_like(x)) - slopes).max() < 1e3 * limit


ONE_INPUT = [Tanh(), Softsign(), LeakyReLU(), ELU(), CELU(), SELU(), Softplus(), SiLU(),
             Swish(100.0), GELU(), GELU("tanh"), Mish(), Hardswish(), PReLU()]


@pytest.mark.parametrize("layer", ONE_INPUT, ids=lambda layer: type(layer).__name__)
def test_arrays_without_axes_stay_arrays(layer):
    dtypes = (np.float64,) if isinstance(layer, PReLU) else (np.float64, np.float32)
    for dtype in dtypes:
        x = np.array(-2.0, dtype)
        y = layer.forward(x)
        dx = layer.backward(np.array(1.0, dtype))
        for found in (y, dx):
            assert isinstance(found, np.ndarray)
            assert found.shape == () and found.dtype == dtype
        assert layer.forward(x[None]) == y
        if not isinstance(layer, PReLU):
            twice = backprop.Sequential(layer, Tanh())
            assert twice.forward(x).shape == twice.backward(x).shape == ()


@pytest.mark.parametrize("layer", ONE_INPUT, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("size", [1e20, 1e38, 1e300])
def test_large_finite_inputs(layer, size):
    """No overflow on the way to a value and a slope that are finite."""
    dtype = np.float32 if size < 1e39 and not isinstance(layer, PReLU) else np.float64
    x = np.array([size, -size], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = layer.forward(x)
        dx = layer.backward(np.ones_like(x))
    assert np.isfinite(y).all() and np.isfinite(dx).all()
    if not isinstance(layer, (Tanh, Softsign, SELU)):
        assert abs(y[0] / x[0] - 1) < 1e-6 and abs(dx[0] - 1) < 1e-6


@pytest.mark.parametrize(("size", "known"), [(1e13, True), (1e18, True), (1e20, False)])
def test_slope_of_gelu_by_tanh_where_a_power_overflows(size, known):
    """In float32 x^3 overflows at 1e13, x^2 at 1e20: only there is PyTorch's NaN."""
    x = torch.tensor([size, -size], requires_grad=True)
    torch.nn.functional.gelu(x, approximate="tanh").sum().backward()
    assert np.isfinite(x.grad.numpy()).all() == known
    layer = GELU("tanh")
    layer.forward(x.detach().numpy())
    assert layer.backward(np.ones(2, np.float32)).tolist() == [1, 0]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_refused_forward_leaves_the_last_one_valid(layer):
    x = np.random.default_rng(0).normal(size=(4, 2))
    y = layer.forward(x)
    dx = layer.backward(y)
    for wrong in (np.ones((2, 3), int), 1.0):
        with pytest.raises(TypeError):
            layer.forward(wrong)
    with pytest.raises((TypeError, ValueError)):
        layer.forward(np.ones(3, np.float16))
    assert np.array_equal(layer.backward(y), dx)
    empty = layer.forward(np.ones((0, 6)))
    assert layer.backward(empty).shape == (0, 6)


def test_no_warning_from_the_branch_that_is_not_taken():
    with np.errstate(all="raise", under="ignore"):
        for layer in (LeakyReLU(0), PReLU(init=0)):
            assert layer.forward(np.array([np.inf, -2.0])).tolist() == [np.inf, 0]
        celu = CELU(0.1)
        assert celu.forward(np.array([-1e38], np.float32)) == np.float32(-0.1)
        assert celu.backward(np.ones(1, np.float32)) == 0


@pytest.mark.parametrize("layer", [
    LeakyReLU(np.inf), PReLU(init=-np.inf), ELU(np.inf), CELU(np.inf)],
    ids=lambda layer: type(layer).__name__)
def test_an_infinite_parameter_leaves_the_other_branch_alone(layer):
    with np.errstate(invalid="ignore"):
        assert layer.forward(np.array([3.0, -2.0]))[0] == 3
        assert layer.backward(np.array([5.0, 5.0]))[0] == 5


def test_squared_relu_beyond_the_largest_number():
    with np.errstate(all="raise"):
        layer = SquaredReLU()
        assert layer.forward(np.array([1e200, -1e200])).tolist() == [np.inf, 0]
        assert layer.backward(np.ones(2)).tolist() == [2e200, 0]
    single = np.array(3.0, np.float32)
    assert layer.forward(single).dtype == layer.backward(single).dtype == np.float32


def test_gated_units_do_not_overflow_where_the_gate_is_shut():
    x = np.array([[1e38, -200.0]], np.float32)
    glu = GLU()
    assert glu.forward(x) == 0
    assert np.isfinite(glu.backward(np.full((1, 1), 100, np.float32))).all()


@pytest.mark.parametrize("make", [GLU, SwiGLU, GEGLU])
def test_dim_must_be_an_integer(make):
    for dim in (0.5, "1"):
        with pytest.raises(TypeError, match="dim must be an integer"):
            make(dim).forward(np.ones((2, 2)))


def test_prelu_has_float_parameters():
    with pytest.raises(TypeError, match="dtype must be float32 or float64"):
        PReLU(dtype=int)


@pytest.mark.parametrize("k", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_the_mean_of_an_exponential_over_the_negative_half(k):
    """What the constants of SELU are made of, by quadrature."""
    expected, _ = scipy.integrate.quad(
        lambda z: np.exp(k * z - z * z / 2) / np.sqrt(2 * np.pi), -40, 0)
    assert np.isclose(byhand.activations._half_exponential(k), expected, rtol=1e-9)
