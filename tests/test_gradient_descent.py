"""Descent, Hessians and L-BFGS against formulas and PyTorch, over shapes, dtypes and
edge values.
"""

import math
import pickle
import sys

import numpy as np
import pytest
import torch
from byhand.backprop import Linear, MSELoss, ReLU, Sequential
from byhand.gradient_descent import (LBFGS, Trial, cubic_minimizer, descend, flatten,
                                     lr_range_test, numerical_hessian,
                                     objective, strong_wolfe, two_loop, unflatten)
from byhand.checks import relative_error
from hypothesis import assume, given, settings
from hypothesis import strategies as st

seeds, dtypes = st.integers(0, 2**31), st.sampled_from([np.float32, np.float64])
few = settings(max_examples=25, deadline=None)


def quadratic(seed, n, dtype=np.float64):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n))
    A = root @ root.T / n + 0.5 * np.eye(n)
    return (A.astype(dtype), rng.normal(size=n).astype(dtype),
            rng.normal(size=n).astype(dtype))


@few
@given(seeds, st.integers(1, 8), st.integers(0, 12), dtypes)
def test_descend_is_torch_sgd(seed, n, steps, dtype):
    A, b, x = quadratic(seed, n, dtype)
    kept, tensor = x.copy(), torch.tensor(x, requires_grad=True)
    optimizer = torch.optim.SGD([tensor], lr=0.1)
    path = descend(lambda x: A @ x - b, x, 0.1, steps)
    for point in path[:-1]:
        assert (relative_error(point,
                               tensor.detach().numpy()) < 1e5 * np.finfo(dtype).eps)
        tensor.grad = torch.tensor(A) @ tensor.detach() - torch.tensor(b)
        optimizer.step()
    assert relative_error(path[-1], tensor.detach().numpy()) < 1e5 * np.finfo(dtype).eps
    assert (path.shape == (steps + 1, n) and path.dtype == dtype
            and np.array_equal(x, kept))


@few
@given(seeds, st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=4),
       dtypes)
def test_flatten_and_back(seed, shapes, dtype):
    rng = np.random.default_rng(seed)
    arrays = {str(i): rng.normal(size=shape).astype(dtype)
              for i, shape in enumerate(shapes)}
    vector = flatten(arrays)
    back = unflatten(vector, arrays)
    assert vector.dtype == dtype and back.keys() == arrays.keys()
    assert all(np.array_equal(back[name], value) and back[name].shape == value.shape
               for name, value in arrays.items())
    with pytest.raises(ValueError, match="vector must have the shape"):
        unflatten(np.zeros(vector.size + 1), arrays)


@few
@given(seeds, st.integers(1, 6), dtypes)
def test_hessian_of_a_quartic(seed, n, dtype):
    A, _, x = quadratic(seed, n, dtype)
    hessian = numerical_hessian(lambda x: A @ x + x**3, x)
    assert hessian.dtype == dtype and np.array_equal(hessian, hessian.T)
    assert (relative_error(hessian, A + np.diag(3 * x**2))
            < (1e-7 if dtype == np.float64 else 0.05))


@few
@given(seeds, st.integers(1, 7), st.integers(0, 5), st.floats(0.01, 100))
def test_two_loop_is_the_product_with_the_matrix(seed, n, m, scale):
    rng, A = np.random.default_rng(seed), quadratic(seed, n)[0]
    M, pairs = scale * np.eye(n), []
    for _ in range(m):
        s = rng.normal(size=n)
        y, rho = A @ s, 1 / float(s @ A @ s)
        V = np.eye(n) - rho * np.outer(y, s)
        M = V.T @ M @ V + rho * np.outer(s, s)
        pairs.append((s, y, rho))
    g = rng.normal(size=n)
    kept = g.copy()
    assert relative_error(two_loop(g, pairs, scale), M @ g) < 1e-8
    assert np.array_equal(g, kept)


@few
@given(st.floats(-3, 3), st.floats(0.1, 4), st.floats(-2, 2), st.floats(0.1, 3))
def test_cubic_minimizer(minimum, width, shift, stretch):
    """(t - minimum)^2 (t - minimum + 3 width) rises from its minimum; the interval
    holds it.
    """

    def cubic(t):
        u = t - minimum
        return Trial(t, stretch * u * u * (u + 3 * width) + shift,
                     stretch * (3 * u * u + 6 * width * u))

    a, b = cubic(minimum - width), cubic(minimum + 2 * width)
    for ends in ((a, b), (b, a)):
        assert math.isclose(cubic_minimizer(*ends, a.t, b.t), minimum, rel_tol=1e-6,
                            abs_tol=1e-6)


@few
@given(seeds, st.floats(1e-3, 1e3), st.sampled_from([0.1, 0.5, 0.9]))
def test_strong_wolfe_meets_both_conditions(seed, first, c2):
    a, b, c = np.random.default_rng(seed).uniform(0.2, 2, size=3)

    def phi(t):
        return Trial(t, math.cos(3 * b * t) * a + c * t * t / 10 - t,
                     -3 * a * b * math.sin(3 * b * t) + c * t / 5 - 1)

    zero = phi(0.0)
    found, evaluations = strong_wolfe(phi, first, zero, c2=c2, max_ls=60)
    assert (found.value <= zero.value + 1e-4 * found.t * zero.slope
            and abs(found.slope) <= c2 * abs(zero.slope))
    assert 1 <= evaluations <= 61


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 8), st.sampled_from([None, "strong_wolfe"]),
       st.integers(1, 8), st.sampled_from([None, 1, 4]), st.sampled_from([1, 3, 100]),
       st.sampled_from([0.3, 1, 2.5]))
def test_lbfgs_is_torch_s(seed, n, line_search, max_iter, max_eval, history_size, lr):
    """On a quadratic plus quartic: the same points, the same number of evaluations,
    call by call.
    """
    if line_search is None:
        # a long step without a search leaves to infinity, where rounding decides
        lr = min(lr, 0.5)
    A, b, start = quadratic(seed, n)
    settings_ = dict(lr=lr, max_iter=max_iter, max_eval=max_eval,
                     history_size=history_size, line_search_fn=line_search)
    params, tensor, calls = ({"x": start.copy()},
                             torch.tensor(start, requires_grad=True), [])
    array = params["x"]
    ours, theirs = LBFGS(params, **settings_), torch.optim.LBFGS([tensor], **settings_)

    def closure():
        x = params["x"]
        return 0.5 * x @ A @ x - b @ x + np.sum(x**4) / 40, {"x": A @ x - b + x**3 / 10}

    def their_closure():
        theirs.zero_grad()
        loss = (0.5 * tensor @ torch.tensor(A) @ tensor - torch.tensor(b) @ tensor
                + (tensor**4).sum() / 40)
        loss.backward()
        calls.append(loss)
        return loss

    for _ in range(2):
        first, expected = ours.step(closure), theirs.step(their_closure)
        assert math.isclose(first, float(expected.detach()), rel_tol=1e-7, abs_tol=1e-9)
        gradient = np.max(np.abs(closure()[1]["x"]))
        assert relative_error(params["x"], tensor.detach().numpy()) < 1e-6
        if gradient < 1e-5:  # from here on rounding decides when to stop
            break
        assert ours.vector.evaluations == len(calls)
    assert params["x"] is array


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lbfgs_keeps_the_dtype_and_finds_the_minimum(dtype):
    A, b, start = quadratic(3, 6, dtype)
    params = {"x": start.copy()}
    optimizer = LBFGS(params, line_search_fn="strong_wolfe")
    for _ in range(3):
        optimizer.step(lambda: (float(0.5 * params["x"] @ A @ params["x"]
                                      - b @ params["x"]), {"x": A @ params["x"] - b}))
    assert params["x"].dtype == dtype
    # it stops where the loss changes by less than 1e-9
    assert relative_error(params["x"], np.linalg.solve(A, b)) < 1e-3


@few
@given(seeds, dtypes)
def test_objective_leaves_the_model_alone(seed, dtype):
    rng = np.random.default_rng(seed)
    model = Sequential(Linear(3, 4, rng=rng, dtype=dtype), ReLU(),
                       Linear(4, 2, rng=rng, dtype=dtype))
    x, y = rng.normal(size=(5, 3)).astype(dtype), rng.normal(size=(5, 2)).astype(dtype)
    before = flatten(model.params)
    value, gradient = objective(model, MSELoss(), x, y)(before + dtype(0.1))
    assert np.array_equal(flatten(model.params), before) and gradient.dtype == dtype
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(),
                                 torch.nn.Linear(4, 2)).to(torch.tensor(x).dtype)
    module.load_state_dict({name: torch.tensor(part) for name, part in unflatten(
        before + dtype(0.1), model.params).items()})
    loss = torch.nn.functional.mse_loss(module(torch.tensor(x)), torch.tensor(y))
    loss.backward()
    limit = 100 * float(np.finfo(dtype).eps)
    assert math.isclose(value, float(loss.detach()), rel_tol=limit)
    assert (relative_error(gradient, np.concatenate(
        [p.grad.numpy().ravel() for p in module.parameters()])) < limit)


def test_lr_range_test_ends_with_infinity_and_spares_the_model():
    rng = np.random.default_rng(0)
    model, x, y = (Sequential(Linear(3, 2, rng=rng)), rng.normal(size=(20, 3)),
                   rng.normal(size=(20, 2)))
    before = flatten(model.params)
    losses = lr_range_test(model, MSELoss(), x, y, lrs=np.geomspace(1e-3, 1e3, 60),
                           batch_size=5, rng=rng)
    assert np.array_equal(flatten(model.params), before) and losses.shape == (60,)
    assert (np.isfinite(losses[0]) and losses[-1] == np.inf
            and np.all(np.diff(np.isinf(losses).astype(int)) >= 0))


def test_hessian_of_a_gradient_that_uses_one_array_again():
    buffer = np.zeros(3)

    def gradient(x):
        buffer[...] = 2 * x
        return buffer

    assert np.allclose(numerical_hessian(gradient, np.ones(3)), 2 * np.eye(3))


def test_lr_range_test_of_an_infinite_first_loss_is_infinite():
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        losses = lr_range_test(Sequential(Linear(1, 1, rng=rng)), MSELoss(),
                               np.full((4, 1), 1e200), np.zeros((4, 1)),
                               lrs=[1e-3, 1e-2], batch_size=2, rng=rng)
    assert np.all(losses == np.inf)


def test_bad_input_is_refused():
    x = np.zeros(2)
    for error, call in [
        (TypeError, lambda: descend(lambda x: x, np.zeros(2, dtype=int), 0.1, 3)),
        (ValueError, lambda: descend(lambda x: x, x, 0.1, -1)),
        (ValueError, lambda: descend(lambda x: x[:1], x, 0.1, 3)),
        *((ValueError, lambda lr=lr: descend(lambda x: x, x, lr, 3))
          for lr in (-0.1, math.inf, -math.inf, math.nan)),
        (ValueError, lambda: flatten({})),
        (TypeError, lambda: unflatten(x, {"x": [0.0, 0.0]})),
        (ValueError, lambda: numerical_hessian(lambda x: x[:1], x)),
        (TypeError, lambda: numerical_hessian(lambda x: x, [0.0, 1.0])),
        (ValueError, lambda: numerical_hessian(lambda x: x, np.zeros((2, 2)))),
        (ValueError, lambda: LBFGS({})),
        (TypeError, lambda: LBFGS({"x": [1.0]})),
        (TypeError, lambda: LBFGS({"x": x, "y": np.zeros(2, dtype=np.float32)})),
        (ValueError, lambda: LBFGS({"x": x}, lr=0)),
        (ValueError, lambda: LBFGS({"x": x}, lr=math.nan)),
        (ValueError, lambda: LBFGS({"x": x}, max_iter=0)),
        (ValueError, lambda: LBFGS({"x": x}, max_eval=0)),
        (ValueError, lambda: LBFGS({"x": x}, history_size=0)),
        (ValueError, lambda: LBFGS({"x": x}, line_search_fn="armijo")),
        (ValueError, lambda: LBFGS({"x": x}).step(lambda: (0.0, {"x": np.zeros(3)}))),
        (TypeError, lambda: LBFGS({"x": x}).step(
            lambda: (0.0, {"x": np.zeros(2, dtype=np.float32)}))),
        (ValueError, lambda: LBFGS({"x": x}).step(lambda: (0.0, {}))),
        (ValueError,
         lambda: strong_wolfe(lambda t: Trial(t, t, 1.0), 1.0, Trial(0.0, 0.0, 1.0))),
        (ValueError, lambda: strong_wolfe(
            lambda t: Trial(t, -t, -1.0), 0.0, Trial(0.0, 0.0, -1.0))),
        (ValueError, lambda: lr_range_test(None, None, np.zeros((4, 1)), np.zeros(4),
                                           lrs=[0.1, 0.01], batch_size=2, rng=None)),
        (ValueError, lambda: lr_range_test(None, None, np.zeros((4, 1)), np.zeros(4),
                                           lrs=[0.1], batch_size=5, rng=None)),
        (ValueError, lambda: lr_range_test(None, None, np.zeros((4, 1)), np.zeros(
            4), lrs=[0.1, math.inf], batch_size=2, rng=None)),
        (ValueError, lambda: lr_range_test(None, None, np.zeros((4, 1)), np.zeros(3),
                                           lrs=[0.1], batch_size=2, rng=None)),
    ]:
        with pytest.raises(error):
            call()


def both_lbfgs(ours_of, theirs_of, start, calls, dtype=np.float64, **settings):
    """Parameters and evaluations of both after some calls of step."""
    params = {"x": np.array(start, dtype)}
    tensor = torch.tensor(params["x"], requires_grad=True)
    theirs, count = torch.optim.LBFGS([tensor], **settings), []
    ours = LBFGS(params, **settings)

    def closure():
        theirs.zero_grad()
        count.append(theirs_of(tensor))
        count[-1].backward()
        return count[-1]

    for _ in range(calls):
        ours.step(lambda: ours_of(params["x"]))
        theirs.step(closure)
    return params["x"], tensor.detach().numpy(), ours.vector.evaluations, len(count)


@pytest.mark.parametrize("start", [[-7.5, 2.0], [3.0], [0.3, -1e3], [1e-3, 5.0, -2.0]])
@pytest.mark.parametrize("max_iter", [1, 2])
def test_piecewise_linear_functions_as_in_torch(start, max_iter):
    ours, theirs, our_calls, their_calls = both_lbfgs(
        lambda x: (float(np.abs(x).sum()), {"x": np.sign(x)}), lambda t: t.abs().sum(),
        start, 1, max_iter=max_iter, max_eval=50, line_search_fn="strong_wolfe")
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert our_calls == their_calls


def test_a_straight_line_is_followed_as_in_torch():
    ours, theirs, our_calls, their_calls = both_lbfgs(
        lambda x: (float(x.sum()), {"x": np.ones_like(x)}), lambda t: t.sum(),
        [1.0], 1, max_iter=3, line_search_fn="strong_wolfe")
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert our_calls == their_calls


@pytest.mark.parametrize("outside", [math.nan, math.inf, -math.inf])
def test_a_trial_outside_the_domain_is_a_step_too_long(outside):
    """x - log x, whose minimum is at 1; the first full steps leave the domain."""
    params, calls = {"x": np.array([5.0])}, []

    def closure():
        x = float(params["x"][0])
        calls.append(x)
        if x <= 0:
            return outside, {"x": np.array([math.nan])}
        return x - math.log(x), {"x": np.array([1 - 1 / x])}

    optimizer = LBFGS(params, line_search_fn="strong_wolfe")
    for _ in range(5):
        optimizer.step(closure)
    assert abs(params["x"][0] - 1) < 1e-5 and len(calls) < 30


def test_strong_wolfe_takes_care_of_what_is_not_finite():
    def barrier(t):
        return Trial(t, t * t - 3 * t if t < 2 else math.nan, 2 * t - 3)
    step, _ = strong_wolfe(barrier, 50.0, barrier(0.0))
    assert abs(step.t - 1.5) < 1.4 and step.value < 0
    never, evaluations = strong_wolfe(lambda t: Trial(t, math.nan, math.nan), 1.0,
                                      Trial(0.0, 1.0, -1.0))
    assert never.t == 0 and never.value == 1 and evaluations <= 26
    for zero in (Trial(0.0, math.nan, -1.0), Trial(0.0, 1.0, math.nan),
                 Trial(0.0, math.inf, -1.0), Trial(0.0, 1.0, -math.inf),
                 Trial(0.0, 1.0, 0.0)):
        with pytest.raises(ValueError, match="at 0 the value must be finite"):
            strong_wolfe(barrier, 1.0, zero)
    for t in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="t must be positive and finite"):
            strong_wolfe(barrier, t, barrier(0.0))


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("bad", ["nan loss", "nan gradient", "error", "missing",
                                 "dtype"])
@pytest.mark.parametrize("when", [0, 5])
def test_a_step_of_lbfgs_that_raises_changes_nothing(search, bad, when):
    """The bad evaluation comes at once, or in the middle of the second call."""
    params, count = {"x": np.array([5.0, -3.0])}, [0]
    optimizer = LBFGS(params, max_iter=3, line_search_fn=search, lr=0.3)

    def good():
        x = params["x"]
        return float((x**4).sum() / 4), {"x": x**3}

    def faulty():
        count[0] += 1
        value, grads = good()
        if count[0] <= (0 if when == 0 else 1):
            return value, grads
        if bad == "error":
            raise KeyboardInterrupt
        return {"nan loss": (math.nan, grads), "nan gradient": (value, {"x": grads["x"]
                * math.nan}), "missing": (value, {}),
                "dtype": (value, {"x": grads["x"].astype(np.float32)})}[bad]

    if when:
        optimizer.step(good)
    if search and when and bad.startswith("nan"):
        return  # a step too long, not an error
    kept = pickle.dumps([params, optimizer.pairs, optimizer.scale, optimizer.moved,
                         optimizer.n_iter])
    with pytest.raises((KeyboardInterrupt, ValueError, TypeError)):
        optimizer.step(faulty)
    assert pickle.dumps([params, optimizer.pairs, optimizer.scale, optimizer.moved,
                         optimizer.n_iter]) == kept
    twin = pickle.loads(pickle.dumps(optimizer))
    before = optimizer.step(good)
    x = twin.vector.params["x"]
    assert twin.step(lambda: (float((x**4).sum() / 4), {"x": x**3})) == before
    assert np.array_equal(twin.vector.params["x"], params["x"])


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e20])
def test_lbfgs_in_float32_at_any_size_of_the_gradient(scale):
    """Products of two gradients of 1e20 are outside float32."""
    params = {"x": np.array([1.0, -2.0, 3.0], np.float32)}
    target = np.array([2.0, 0.5, 1.0], np.float32)

    def closure():
        gap = params["x"] - target
        return (scale * float(gap.astype(float) @ gap) / 2,
                {"x": np.float32(scale) * gap})

    optimizer = LBFGS(params, tolerance_grad=0, tolerance_change=0,
                      line_search_fn="strong_wolfe")
    with np.errstate(over="raise", invalid="raise"):
        for _ in range(3):
            optimizer.step(closure)
    assert np.abs(params["x"] - target).max() < (1e-3 if scale >= 1 else 3)


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_the_cubic_at_any_size(size):
    """t^3 - t between 0 and 1: the minimum is at sqrt(1/3)."""
    a, b = Trial(0.0, 0.0, -size), Trial(1.0, 0.0, 2 * size)
    assert cubic_minimizer(a, b, 0.0, 1.0) == pytest.approx(math.sqrt(1 / 3))


def test_what_is_lost_or_no_array_is_refused():
    with pytest.raises(ValueError, match="lost in rounding"):
        numerical_hessian(lambda x: 2 * x, np.array([1e9, 1.0]), step=1e-8)
    with pytest.raises(TypeError, match="vector must be an array, got list"):
        unflatten([1.0, 2.0], {"w": np.zeros(2)})
    model, x, y = Sequential(Linear(2, 1, rng=np.random.default_rng(0))), np.ones(
        (4, 2)), np.ones((4, 1))
    for reduction in ("none", "sum"):
        with pytest.raises(ValueError, match='reduction "mean"'):
            lr_range_test(model, MSELoss(reduction), x, y, lrs=[0.1], batch_size=2,
                          rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="low must not exceed high"):
        cubic_minimizer(Trial(0.0, 0.0, -1.0), Trial(1.0, 0.0, 1.0), 2.0, 1.0)
    for inputs in ((x, np.array(1.0)), (np.array(1.0), y), (x, y[:3])):
        with pytest.raises(ValueError, match="equally many entries"):
            lr_range_test(model, MSELoss(), *inputs, lrs=[0.1], batch_size=1,
                          rng=np.random.default_rng(0))
    for inputs in ((x.tolist(), y), (x, y.tolist())):
        with pytest.raises(TypeError, match="must be an array, got list"):
            lr_range_test(model, MSELoss(), *inputs, lrs=[0.1], batch_size=1,
                          rng=np.random.default_rng(0))
    for bad in ({"lr": math.inf}, {"lr": math.nan}, {"tolerance_grad": math.nan},
                {"tolerance_change": -1}, {"max_iter": 1.5}, {"history_size": 1.5},
                {"max_iter": 0}):
        with pytest.raises(ValueError):
            LBFGS({"x": np.zeros(2)}, **bad)


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_resumed_lbfgs_is_the_uninterrupted_one(search, dtype):
    def build():
        params = {"x": np.array([-1.2, 1.0], dtype)}
        return params, LBFGS(params, lr=0.3, max_iter=2, line_search_fn=search)

    def valley(params):
        x, y = (float(value) for value in params["x"])
        return (100 * (y - x * x) ** 2 + (1 - x) ** 2, {"x": np.array(
            [-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)], dtype)})

    params, optimizer = build()
    for _ in range(3):
        optimizer.step(lambda: valley(params))
    kept, state = params["x"].copy(), pickle.loads(pickle.dumps(optimizer.state_dict()))
    for _ in range(3):
        optimizer.step(lambda: valley(params))
    resumed, second = build()
    for name, value in (("pairs", [(np.zeros(3, dtype),) * 2]), ("scale", math.nan),
                        ("moved", (None, None)), ("n_iter", -1), ("more", 0)):
        before = pickle.dumps(second.state_dict())
        with pytest.raises((KeyError, TypeError, ValueError)):
            second.load_state_dict(state | {name: value})
        assert pickle.dumps(second.state_dict()) == before
    resumed["x"][...] = kept
    second.load_state_dict(state)
    for _ in range(3):
        second.step(lambda: valley(resumed))
    assert np.array_equal(resumed["x"], params["x"])


class Script:
    """A function on a line that answers as written, ties included: kinds of values,
    and slopes, one after the other, whatever the step is.
    """

    zero = Trial(0.0, 1.0, -1.0)

    def __init__(self, lines, c1):
        self.lines, self.c1, self.steps, self.last = lines, c1, [], 1.0

    def __call__(self, t):
        kind, slope = self.lines[len(self.steps) % len(self.lines)]
        self.steps.append(float(t))
        self.last = {"armijo": self.zero.value + self.c1 * t * self.zero.slope,
                     "same": self.last, "lower": self.last - 0.5, "deep": -1e3,
                     "above": 2.0}[kind]
        return Trial(t, self.last, slope)


def torch_s_search(script, t, **arguments):
    """The step and the number of evaluations of PyTorch's line search."""
    def objective(x, t, d):
        trial = script(t)
        return trial.value, torch.tensor([trial.slope], dtype=float)

    zero = script.zero
    value, _, t, evaluations = sys.modules["torch.optim.lbfgs"]._strong_wolfe(
        objective, torch.zeros(1, dtype=float), t, torch.ones(1, dtype=float),
        zero.value, torch.tensor([zero.slope], dtype=float),
        torch.tensor(zero.slope, dtype=float), **arguments)
    return float(t), float(value), evaluations


KINDS = st.sampled_from(["armijo", "same", "lower", "deep", "above"])
LINES = st.lists(st.tuples(KINDS, st.sampled_from([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0])),
                 min_size=4, max_size=8)


@settings(max_examples=300, deadline=None)
@given(LINES, st.sampled_from([0.5, 1.0, 3.0]),
       st.sampled_from([0.0, 0.43, 0.97]),  # of which no bracket is exactly as wide
       st.integers(1, 9))
def test_strong_wolfe_takes_torch_s_steps_whatever_it_meets(lines, t, smallest, max_ls):
    theirs = Script(lines, 0.25)
    step, value, evaluations = torch_s_search(
        theirs, t, c1=0.25, c2=0.5, tolerance_change=smallest, max_ls=max_ls)
    assume(np.isfinite(theirs.steps).all())
    ours = Script(lines, 0.25)
    found, count = strong_wolfe(ours, t, Script.zero, c1=0.25, c2=0.5,
                                smallest=smallest, max_ls=max_ls)
    # a step that cancels to nearly 0 keeps the rounding of its bracket
    np.testing.assert_allclose(ours.steps, theirs.steps, rtol=1e-9, atol=1e-15 * t)
    assert count == evaluations == len(ours.steps)
    assert (found.t, found.value) == pytest.approx((step, value))


@pytest.mark.parametrize("a, b, expected", [
    (Trial(0.0, 0.0, -1.0), Trial(0.0, 0.0, 1.0), 3.0),  # one point
    (Trial(0.0, 1.0, 0.0), Trial(2.0, 1.0, 0.0), 3.0),  # a level line
    (Trial(0.0, 0.0, -1.0), Trial(2.0, math.inf, 1.0), 3.0),
    (Trial(0.0, 0.0, 1.0), Trial(2.0, 1.2, 1.0), 3.0),  # it only rises
    (Trial(0.0, 0.0, -1.0), Trial(2.0, -2.0, -1.0), 5.0),  # straight lines
    (Trial(0.0, 0.0, 1.0), Trial(2.0, 2.0, 1.0), 1.0),
    (Trial(0.0, 0.0, -1.0), Trial(2.0, 0.0, 1.0), 1.0),  # the parabola's, below low
    (Trial(0.0, 0.0, -8.0), Trial(2.0, 0.0, 8.0), 1.0),
    (Trial(4.0, 0.0, -1.0), Trial(0.0, 4.0, -1.0), 5.0)])
def test_where_the_cubic_has_no_minimum_within(a, b, expected):
    assert cubic_minimizer(a, b, 1.0, 5.0) == cubic_minimizer(b, a, 1.0, 5.0)
    assert cubic_minimizer(a, b, 1.0, 5.0) == expected


def test_what_was_saved_and_what_was_loaded_stand_alone():
    """Whoever writes into a saved state changes no optimizer."""
    def build():
        params = {"x": np.array([5.0, -3.0])}
        optimizer = LBFGS(params, max_iter=3, lr=0.3)
        return optimizer, lambda: optimizer.step(
            lambda: (float((params["x"]**4).sum() / 4), {"x": params["x"]**3}))

    (optimizer, step), (other, _) = build(), build()
    step()
    kept, state = pickle.dumps(optimizer.state_dict()), optimizer.state_dict()
    other.load_state_dict(state)
    for s, y, _ in state["pairs"]:
        s[...] = y[...] = 7.0
    state["moved"][0][...] = 7.0
    for each in (optimizer, other):
        assert pickle.dumps(each.state_dict()) == kept


def test_a_state_must_belong_to_the_parameters():
    optimizer = LBFGS({"x": np.array([5.0, -3.0])}, history_size=2)
    fresh, pair = optimizer.state_dict(), (np.ones(2), np.ones(2), 1.0)
    for change, error, words in [
        ({"pairs": [pair] * 3}, ValueError, "history_size is 2, got 3 pairs"),
        ({"pairs": [(np.ones(3), np.ones(2), 1.0)]}, ValueError, "vector"),
        ({"pairs": [(np.ones(2), np.ones(2, np.float32), 1.0)]}, TypeError, "float64"),
        ({"moved": (np.ones(2), np.ones(3))}, ValueError, "vector"),
        ({"scale": 0.0}, ValueError, "scale must be positive"),
        ({"n_iter": -1}, ValueError, "n_iter 0, 1, 2"),
        ({"n_iter": 0.5}, ValueError, "n_iter 0, 1, 2"),
        ({"pairs": [pair[:2]]}, ValueError, "unpack")]:
        with pytest.raises(error, match=words):
            optimizer.load_state_dict(fresh | change)
    optimizer.load_state_dict(fresh | {"pairs": [pair] * 2, "n_iter": 0})
    assert len(optimizer.state_dict()["pairs"]) == 2 == optimizer.pairs.maxlen


def test_lbfgs_names_what_it_refuses():
    x = {"x": np.zeros(2)}
    for name in ("max_iter", "max_eval", "history_size"):
        for bad in (0, 1.5):
            with pytest.raises(ValueError, match=f"{name} must be an integer"):
                LBFGS(x, **{name: bad})
        with pytest.raises(ValueError, match="got '1'"):
            LBFGS(x, **{name: "1"})
        LBFGS(x, **{name: 1})
    for name in ("tolerance_grad", "tolerance_change"):
        LBFGS(x, **{name: 0})
        with pytest.raises(ValueError, match="the tolerances must be at least 0"):
            LBFGS(x, **{name: -1e-9})
    with pytest.raises(TypeError, match="weights must be a float32 or float64 array"):
        LBFGS({"weights": [1.0]})
    for fixed in (np.float64(1.0), np.broadcast_to(1.0, 2)):
        with pytest.raises(ValueError, match="weights must be an array that can be"):
            LBFGS({"weights": fixed})
    with pytest.raises(TypeError, match="the gradient of x must be float64"):
        LBFGS(x).step(lambda: (1.0, {"x": np.zeros(2, np.float32)}))


@pytest.mark.parametrize("settings", [
    {"tolerance_grad": 2.0}, {"tolerance_change": 0.5}, {"max_eval": 1},
    {"max_eval": 3}, {"max_iter": 1}, {"history_size": 1}, {"lr": 3.0}])
@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("start", [[2.0, -1.0], [0.5, 0.25], [0.0, 0.0]])
def test_lbfgs_stops_where_torch_stops(start, settings, search):
    """On a parabola of exact numbers, where a limit is often met exactly."""
    weights = np.array([1.0, 0.5])
    ours, theirs, calls, their_calls = both_lbfgs(
        lambda x: (float(weights @ x**2) / 2, {"x": weights * x}),
        lambda t: (torch.tensor(weights) * t**2).sum() / 2, start, 2,
        line_search_fn=search, **settings)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert calls == their_calls


@pytest.mark.parametrize("tolerance_change", [0.0, 1e-9, 0.1, 1.0, 10.0])
def test_the_line_search_keeps_its_own_tolerance_as_in_torch(tolerance_change):
    """On the banana function, where the search has to look within its bracket."""
    def banana(x):
        a, b = x
        return (float((1 - a)**2 + 10 * (b - a * a)**2), {"x": np.array([
            -2 * (1 - a) - 40 * a * (b - a * a), 20 * (b - a * a)])})

    ours, theirs, calls, their_calls = both_lbfgs(
        banana, lambda t: (1 - t[0])**2 + 10 * (t[1] - t[0] * t[0])**2, [-0.5, 0.8], 2,
        line_search_fn="strong_wolfe", tolerance_change=tolerance_change, max_iter=5)
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)
    assert calls == their_calls


@pytest.mark.parametrize("batch_size", [1, 4])
def test_lr_range_test_draws_no_row_twice(batch_size):
    """Each batch holds batch_size different rows: all of them are the whole set."""
    class Rows:
        reduction, seen = "mean", []

        def forward(self, prediction, y):
            self.seen.append(y)
            return 1.0

        def backward(self):
            return np.zeros((batch_size, 1))

    rng = np.random.default_rng(0)
    model, x = Sequential(Linear(1, 1, rng=rng)), np.ones((4, 1))
    losses = lr_range_test(model, Rows(), x, np.arange(4.0), lrs=np.arange(1.0, 9.0),
                           batch_size=batch_size, rng=rng)
    assert np.array_equal(losses, np.ones(8)) and len(Rows.seen) == 8
    assert all(len(set(rows)) == batch_size for rows in Rows.seen)


@pytest.mark.parametrize("x", [1.0, -1.0])
def test_a_step_that_is_lost_on_one_side_is_refused(x):
    """Below 1 the numbers lie twice as dense as above it."""
    assert (x - 1e-16 == x) != (x + 1e-16 == x)
    with pytest.raises(ValueError, match="lost in rounding"):
        numerical_hessian(lambda x: 2 * x, np.array([x]), step=1e-16)


def test_lr_range_test_ends_above_four_times_the_first_loss():
    class Scripted:
        reduction, values = "mean", iter([1.0, 4.0, np.nextafter(4.0, 5.0), 1.0])

        def forward(self, prediction, y):
            return next(self.values)

        def backward(self):
            return np.zeros((2, 1))

    rng = np.random.default_rng(0)
    losses = lr_range_test(Sequential(Linear(1, 1, rng=rng)), Scripted(),
                           np.ones((2, 1)), np.ones(2), lrs=[0.1, 0.2, 0.3, 0.4],
                           batch_size=2, rng=rng)
    assert losses.tolist() == [1.0, 4.0, math.inf, math.inf]
