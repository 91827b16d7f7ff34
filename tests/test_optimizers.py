"""byhand.optimizers against torch.optim over settings, shapes, dtypes and edge values;
schedules; bad input.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

import byhand.optimizers
from byhand.checks import relative_error, tolerance
from byhand.optimizers import (SGD, Adadelta, Adagrad, Adam, AdamW, Adamax,
                               CosineAnnealingLR, CosineAnnealingWarmRestarts,
                               ExponentialLR, InverseTimeLR, LambdaLR, LinearLR, Lion,
                               Muon, NAdam, OneCycleLR, RAdam,
                               ReduceLROnPlateau, RMSprop, SequentialLR, StepLR,
                               newton_schulz, sma_length)

quick = settings(max_examples=8, deadline=None)
SHAPES = array_shapes(min_dims=0, max_dims=3, max_side=4)
DTYPES = st.sampled_from([np.float32, np.float64])
share, decay, flag = st.floats(0.0, 0.99), st.sampled_from([0.0, 0.1]), st.booleans()
eps, betas = (st.sampled_from([1e-8, 1e-3]),
              st.tuples(st.floats(0, 0.95), st.floats(0.5, 0.999)))
common = {"lr": st.floats(1e-4, 0.1), "weight_decay": decay, "maximize": flag}
SETTINGS = {  # PyTorch's class of the same name takes the same
    "SGD": common | {"momentum": share, "dampening": share},
    "Adagrad": common | {"lr_decay": st.floats(0, 0.1),
                         "initial_accumulator_value": st.floats(0, 1), "eps": eps},
    "RMSprop": common | {"alpha": st.floats(0.1, 0.999), "momentum": share, "eps": eps},
    "Adadelta": common | {"rho": share, "eps": st.sampled_from([1e-6, 1e-3])},
    "Adam": common | {"betas": betas, "eps": eps, "amsgrad": flag,
                      "decoupled_weight_decay": flag},
    "AdamW": common | {"betas": betas, "eps": eps, "amsgrad": flag},
    "NAdam": common | {"betas": betas, "eps": eps, "momentum_decay": st.floats(0, 0.1),
                       "decoupled_weight_decay": flag},
    "Adamax": common | {"betas": betas, "eps": eps},
    "RAdam": common | {"betas": betas, "eps": eps, "decoupled_weight_decay": flag},
}


def run_both(name, chosen, shapes, dtype, scale, steps=25, sparse=False):
    """Feed both the same gradients, change the rate half-way, and compare in every
    step.
    """
    rng = np.random.default_rng(0)
    params = {str(i): np.asarray(rng.normal(size=shape)).astype(dtype)
              for i, shape in enumerate(shapes)}
    tensors = {i: torch.tensor(value, requires_grad=True)
               for i, value in params.items()}
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # of the product that torch's NAdam keeps
    try:
        ours, theirs = (getattr(byhand.optimizers, name)(params, **chosen),
                        getattr(torch.optim, name)(list(tensors.values()), **chosen))
        for step in range(steps):
            if step == steps // 2:
                ours.lr = theirs.param_groups[0]["lr"] = chosen["lr"] / 2
            grads = {i: np.asarray(scale * rng.normal(size=value.shape)).astype(dtype)
                     for i, value in params.items()}
            if sparse:
                grads = {i: np.where(rng.random(value.shape) < 0.7, 0,
                                     value).astype(dtype) for i, value in grads.items()}
            kept = {i: value.copy() for i, value in grads.items()}
            for i, tensor in tensors.items():
                tensor.grad = torch.tensor(grads[i])
            ours.step(grads)
            theirs.step()
            for i, tensor in tensors.items():
                assert params[i].dtype == dtype and np.array_equal(grads[i], kept[i])
                limit = 10 * tolerance(dtype, steps * max(1, tensor.numel()))
                assert relative_error(params[i],
                                      tensor.detach().numpy()) < limit, (i, step)
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("name", SETTINGS)
@quick
@given(st.data())
def test_against_torch(name, data):
    chosen = {argument: data.draw(values, label=argument)
              for argument, values in SETTINGS[name].items()}
    shapes = data.draw(st.lists(SHAPES, min_size=1, max_size=3))
    run_both(name, chosen, shapes, data.draw(DTYPES),
             data.draw(st.sampled_from([1.0, 1e-3, 1e4])), sparse=data.draw(flag))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_variants_against_torch(dtype):
    run_both("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True,
                     "weight_decay": 0.1}, [(4, 3), ()], dtype, 1.0)
    run_both("RMSprop", {"lr": 0.05, "centered": True, "momentum": 0.9, "eps": 1e-2},
             [(4, 3), ()], dtype, 1.0)
    run_both("RAdam", {"lr": 0.05}, [(4, 3)], dtype, 1.0, steps=60)


@quick
@given(SHAPES, DTYPES, betas, decay, flag)
def test_lion(shape, dtype, betas, decay, maximize):
    rng = np.random.default_rng(0)
    theta = np.asarray(rng.normal(size=shape)).astype(dtype)
    expected, mean, params = torch.tensor(theta), torch.zeros(
        shape, dtype=torch.tensor(theta).dtype), {"w": theta}
    lion = Lion(params, lr=0.01, betas=betas, weight_decay=decay, maximize=maximize)
    for _ in range(20):
        grad = np.asarray(rng.normal(size=shape)).astype(dtype)
        lion.step({"w": grad})
        g = torch.tensor(-grad if maximize else grad)
        expected = (expected * (1 - 0.01 * decay)
                    - 0.01 * torch.sign(betas[0] * mean + (1 - betas[0]) * g))
        mean = betas[1] * mean + (1 - betas[1]) * g
    assert (relative_error(params["w"],
                           expected.numpy()) < 100 * tolerance(dtype, theta.size + 1))


@quick
@given(st.integers(1, 6), st.integers(1, 6), DTYPES, st.floats(1e-3, 1e3))
def test_newton_schulz(rows, columns, dtype, scale):
    matrix = (scale * np.random.default_rng(rows * 7 + columns).normal(
        size=(rows, columns))).astype(dtype)
    kept, result = matrix.copy(), newton_schulz(matrix)
    u, sigma, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    assert (result.dtype == dtype and result.shape == matrix.shape
            and np.array_equal(matrix, kept))
    along = np.diag(u.T @ result @ vt.T)
    sizeable = sigma / np.linalg.norm(sigma) > 0.01
    assert (along[sizeable] > 0.6).all() and (along < 1.3).all()
    assert np.array_equal(newton_schulz(np.zeros((rows, columns), dtype)),
                          np.zeros((rows, columns), dtype))
    stack = newton_schulz(np.stack([matrix, np.zeros_like(matrix), -5 * matrix]))
    assert (stack.dtype == dtype and not stack[1].any() and relative_error(
        stack[0], result) < 1e-3 and relative_error(stack[2], -result) < 1e-3)
    with pytest.raises(ValueError, match="matrix"):
        newton_schulz(matrix[0])


@pytest.mark.parametrize("shape, adjust, factor",
                         [((6, 3), None, math.sqrt(2)), ((3, 6), "original", 1.0),
                          ((3, 6), "match_rms_adamw", 0.2 * math.sqrt(6))])
def test_muon(shape, adjust, factor):
    rng = np.random.default_rng(0)
    theta, first, second = (rng.normal(size=shape) for _ in range(3))
    params = {"w": theta.copy()}
    muon = Muon(params, lr=0.1, weight_decay=0.5, momentum=0.8, adjust_lr_fn=adjust)
    muon.step({"w": first})
    # the first momentum is a multiple of the gradient
    expected = theta * (1 - 0.05) - 0.1 * factor * newton_schulz(first)
    assert relative_error(params["w"], expected) < 1e-6
    muon.step({"w": second})
    mean = 0.8 * 0.2 * first + 0.2 * second
    expected = (expected * (1 - 0.05)
                - 0.1 * factor * newton_schulz(0.8 * mean + 0.2 * second))
    assert relative_error(params["w"], expected) < 1e-6
    if hasattr(torch.optim, "Muon"):  # in bfloat16
        tensor = torch.tensor(theta, requires_grad=True)
        theirs = torch.optim.Muon([tensor], lr=0.1, weight_decay=0.5, momentum=0.8,
                                  adjust_lr_fn=adjust)
        for gradient in (first, second):
            tensor.grad = torch.tensor(gradient)
            theirs.step()
        assert relative_error(params["w"], tensor.detach().numpy()) < 0.02


def test_sma_length():
    for t in (1, 5, 100):
        weights = 0.99 ** np.arange(t)
        assert np.isclose(sma_length(0.99, t),
                          2 * (weights * np.arange(t)).sum() / weights.sum() + 1)
    assert np.isclose(sma_length(0.99, math.inf), 199)


def rates(optimizer, make, metrics, momentum=None):
    schedule, seen = make(optimizer), []
    for metric in metrics:
        group = (optimizer.param_groups[0] if hasattr(optimizer, "param_groups")
                 else {"lr": optimizer.lr, "momentum": optimizer.momentum})
        seen.append((group["lr"], group["momentum"]))
        if hasattr(optimizer, "param_groups"):
            optimizer.step()
        schedule.step(*([metric] if "Plateau" in type(schedule).__name__ else []))
    return np.array(seen)


def agree(ours, theirs, metrics=range(60), atol=1e-13):
    a = rates(SGD({"w": np.zeros(1)}, lr=0.3, momentum=0.9), ours, metrics)
    b = rates(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3,
                              momentum=0.9), theirs, metrics)
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=atol)


@quick
@given(st.integers(1, 20), st.floats(0.05, 0.99), st.integers(1, 3), st.floats(0, 0.1),
       st.floats(0.01, 1.5))
def test_schedules_against_torch(period, gamma, factor, least, end):
    torch_lr = torch.optim.lr_scheduler
    agree(lambda o: StepLR(o, period, gamma),
          lambda o: torch_lr.StepLR(o, period, gamma))
    agree(lambda o: ExponentialLR(o, gamma), lambda o: torch_lr.ExponentialLR(o, gamma))
    agree(lambda o: InverseTimeLR(o, gamma),
          lambda o: torch_lr.LambdaLR(o, lambda t: 1 / (1 + gamma * t)))
    agree(lambda o: LambdaLR(o, lambda t: gamma**0.5),
          lambda o: torch_lr.LambdaLR(o, lambda t: gamma**0.5))
    agree(lambda o: LinearLR(o, gamma, end, period), lambda o: torch_lr.LinearLR(
        o, gamma, min(end, 1.0), period) if end <= 1 else torch_lr.LambdaLR(
        o, lambda t: gamma + (end - gamma) * min(t, period) / period))
    agree(lambda o: CosineAnnealingLR(o, 60, least),
          lambda o: torch_lr.CosineAnnealingLR(o, 60, least))
    agree(lambda o: CosineAnnealingWarmRestarts(o, period, factor, least),
          lambda o: torch_lr.CosineAnnealingWarmRestarts(o, period, factor, least))
    agree(lambda o: SequentialLR(o, [LinearLR(o, 0.1, total_iters=period),
                                     CosineAnnealingLR(o, 60)], [period]),
          lambda o: torch_lr.SequentialLR(
              o, [torch_lr.LinearLR(o, 0.1, total_iters=period),
                  torch_lr.CosineAnnealingLR(o, 60)], [period]))


@quick
@given(st.integers(61, 200), st.floats(0.1, 0.9), st.sampled_from(["cos", "linear"]),
       flag)
def test_one_cycle_against_torch(total, top, strategy, cycle):
    settings = {"pct_start": top, "anneal_strategy": strategy, "cycle_momentum": cycle}
    agree(lambda o: OneCycleLR(o, 0.7, total, **settings),
          lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.7, total, **settings))


@quick
@given(st.lists(st.floats(-10, 10), min_size=20, max_size=60),
       st.sampled_from(["min", "max"]), st.sampled_from(["rel", "abs"]),
       st.integers(0, 4), st.integers(0, 3), st.floats(0.1, 0.9))
def test_plateau_against_torch(metrics, mode, threshold_mode, patience, cooldown,
                               factor):
    settings = {"mode": mode, "threshold_mode": threshold_mode, "patience": patience,
                "cooldown": cooldown, "factor": factor, "threshold": 0.1,
                "min_lr": 1e-3}
    agree(lambda o: ReduceLROnPlateau(o, **settings),
          lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, **settings), metrics)


def test_a_cycle_in_a_sequence_sets_the_momentum_too():
    ours, alone = (SGD({"w": np.zeros(1)}, lr=0.3, momentum=0.9) for _ in range(2))
    sequence = SequentialLR(ours, [LinearLR(ours, total_iters=7),
                                   OneCycleLR(ours, 0.7, 40)], [7])
    for _ in range(7):
        sequence.step()
    cycle = OneCycleLR(alone, 0.7, 40)
    for _ in range(40):
        assert ((ours.lr, ours.momentum) == (alone.lr, alone.momentum)
                and ours.lr == sequence.lr_at(sequence.t))
        sequence.step()
        cycle.step()


def test_one_cycle_ends():
    optimizer = Adam({"w": np.zeros(1)})
    schedule = OneCycleLR(optimizer, 0.1, 5, pct_start=1.0)
    for _ in range(5):
        schedule.step()
    assert 0 < optimizer.betas[0] < 1 and optimizer.lr >= 0
    with pytest.raises(ValueError, match="5 steps"):
        schedule.step()
    with pytest.raises(ValueError, match="no momentum"):
        OneCycleLR(Adagrad({"w": np.zeros(1)}), 0.1, 5)


@pytest.mark.parametrize("kind", [SGD, Adagrad, RMSprop, Adadelta, Adam, AdamW, NAdam,
                                  Adamax, RAdam, Lion, Muon])
def test_gradients_must_fit(kind):
    params = {"w": np.ones((3, 2)), "v": np.ones((2, 2))}
    optimizer, good = kind(params), {"w": np.ones((3, 2)), "v": np.ones((2, 2))}
    for bad, error, words in (
        ({"w": good["w"]}, KeyError, "v"),
        (good | {"w": np.ones((2, 3))}, ValueError, r"w must have the shape \(3, 2\)"),
        (good | {"v": np.ones((2, 2), np.float32)}, TypeError, "v must be float64"),
        (good | {"v": [[1.0, 1.0], [1.0, 1.0]]}, TypeError, "v must be float64"),
    ):
        with pytest.raises(error, match=words):
            optimizer.step(bad)
    # nothing has moved
    assert all((value == 1).all() for value in params.values()) and optimizer.steps == 0
    optimizer.step(good | {"another's": np.ones(7)})
    assert optimizer.steps == 1 and all((value < 1).all() for value in params.values())
    fresh = {name: np.ones_like(value) for name, value in params.items()}
    kind(fresh).step(good)
    # a refused step leaves no trace in the state
    assert all(np.array_equal(fresh[name], params[name]) for name in params)


@pytest.mark.parametrize("kind", [SGD, Adam, Muon])
def test_params_must_fit(kind):
    for params, error in (([np.ones((2, 2))], TypeError), ({}, ValueError),
                          ({"w": np.ones((2, 2), int)}, TypeError),
                          ({"w": 1.0}, TypeError)):
        with pytest.raises(error):
            kind(params)
    frozen = np.ones((2, 2))
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        kind({"w": frozen})


@pytest.mark.parametrize("kind, bad", [
    (SGD, {"lr": -1}), (SGD, {"lr": math.nan}), (SGD, {"lr": math.inf}),
    (SGD, {"momentum": -0.1}), (SGD, {"weight_decay": -1}), (SGD, {"nesterov": True}),
    (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
    (Adagrad, {"lr_decay": -1}), (Adagrad, {"initial_accumulator_value": -1}),
    (Adagrad, {"eps": -1}),
    (RMSprop, {"alpha": 1.0}), (RMSprop, {"momentum": -1}), (Adadelta, {"rho": 1.5}),
    (Adam, {"betas": (1.0, 0.9)}), (Adam, {"betas": (0.9, -0.1)}), (Adam, {"eps": -1}),
    (NAdam, {"momentum_decay": -1}), (Lion, {"betas": (0.9, 1.0)}),
    (Muon, {"momentum": 1.0}), (Muon, {"adjust_lr_fn": "other"}),
])
def test_bad_settings(kind, bad):
    with pytest.raises(ValueError):
        kind({"w": np.ones((2, 2))}, **bad)


def test_muon_is_for_matrices():
    with pytest.raises(ValueError, match="bias"):
        Muon({"bias": np.ones(3)})


def test_a_rate_is_checked_when_it_is_set():
    optimizer = SGD({"w": np.ones(1)}, lr=np.float64(0.1))
    assert type(optimizer.lr) is float
    with pytest.raises(ValueError):
        optimizer.lr = -0.1


@pytest.mark.parametrize("make", [
    lambda o: StepLR(o, 0), lambda o: ExponentialLR(o, 0), lambda o: InverseTimeLR(
        o, -1), lambda o: LinearLR(o, total_iters=0), lambda o: CosineAnnealingLR(o, 0),
    lambda o: CosineAnnealingWarmRestarts(o, 5, 0),
    lambda o: SequentialLR(o, [StepLR(o, 2)], [3]), lambda o: OneCycleLR(o, 0.1, 0),
    lambda o: OneCycleLR(o, 0.1, 5, anneal_strategy="sin"),
    lambda o: ReduceLROnPlateau(o, "least"), lambda o: ReduceLROnPlateau(o, factor=1.0),
])
def test_bad_schedules(make):
    with pytest.raises(ValueError):
        make(SGD({"w": np.ones(1)}, momentum=0.9))
