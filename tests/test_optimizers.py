"""byhand.optimizers against torch.optim over settings, shapes, dtypes and edge values;
schedules; bad input.
"""

import copy
import inspect
import math
import pickle

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
                               clip_grad_norm, clip_grad_value, newton_schulz,
                               sma_length)

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
    reached = dict.fromkeys(params, 0)  # the largest number of each, in all steps
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
                value = tensor.detach().numpy()
                reached[i] = max(reached[i], np.abs(value).max(initial=0))
                # what comes near 0 keeps the rounding of where it has been
                assert relative_error(np.append(params[i], reached[i]),
                                      np.append(value, reached[i])) < limit, (i, step)
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
    for beta, t in ((1.0, 5), (-0.1, 5), (0.9, 0), (0.9, math.nan)):
        with pytest.raises(ValueError, match="expected 0 <= beta < 1"):
            sma_length(beta, t)


def rates(optimizer, make, metrics, momentum=None):
    schedule, seen = make(optimizer), []
    for metric in metrics:
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group["momentum"]))
        if isinstance(optimizer, torch.optim.Optimizer):
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
        assert (ours.param_groups[0]["momentum"] == alone.param_groups[0]["momentum"]
                and ours.lr == alone.lr == sequence.lr_at(sequence.t))
        sequence.step()
        cycle.step()


def test_one_cycle_ends():
    optimizer = Adam({"w": np.zeros(1)})
    schedule = OneCycleLR(optimizer, 0.1, 5, pct_start=1.0)
    for _ in range(5):
        schedule.step()
    assert 0 < optimizer.param_groups[0]["betas"][0] < 1 and optimizer.lr >= 0
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
    assert all((value == 1).all() for value in params.values())
    assert all(state["step"] == 0 for state in optimizer.state.values())
    optimizer.step(good | {"another's": np.ones(7)})
    assert all((value < 1).all() for value in params.values())
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
    (SGD, {"dampening": math.nan}), (SGD, {"momentum": math.inf}),
    (Adam, {"betas": (0.9,)}), (Adam, {"betas": (0.9, 0.9, 0.9)}),
    (Adam, {"betas": (0.9, math.nan)}), (RMSprop, {"alpha": math.nan}),
    (Muon, {"ns_coefficients": (1.0, 2.0)}), (Muon, {"ns_steps": -1}),
    (Muon, {"momentum": 1.0}), (Muon, {"adjust_lr_fn": "other"}),
])
def test_bad_settings(kind, bad):
    with pytest.raises(ValueError):
        kind({"w": np.ones((2, 2))}, **bad)


def test_muon_is_for_matrices():
    with pytest.raises(TypeError):
        Muon({"w": np.ones((2, 2))}, ns_steps=1.5)
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
    lambda o: ReduceLROnPlateau(o, patience=-1), lambda o: ReduceLROnPlateau(o, eps=-1),
    lambda o: ReduceLROnPlateau(o, min_lr=math.nan), lambda o: StepLR(o, 2, math.nan),
    lambda o: LinearLR(o, 0.5, -1.0), lambda o: CosineAnnealingLR(o, 5, -1.0),
    lambda o: OneCycleLR(o, 0.1, 5, max_momentum=1.0), lambda o: OneCycleLR(o, [], 5),
    lambda o: CosineAnnealingLR(o, math.inf), lambda o: ExponentialLR(o, math.inf),
])
def test_bad_schedules(make):
    with pytest.raises(ValueError):
        make(SGD({"w": np.ones(1)}, momentum=0.9))


torch_lr = torch.optim.lr_scheduler
GROUPED = {  # settings of all groups, and what the second group overrides
    "SGD": ({"lr": 0.1, "momentum": 0.9}, {"lr": 0.01, "weight_decay": 0.1}),
    "Adagrad": ({"lr": 0.1}, {"lr": 0.01, "lr_decay": 0.01, "eps": 1e-3}),
    "RMSprop": ({"lr": 0.01, "momentum": 0.5}, {"alpha": 0.9, "centered": True}),
    "Adadelta": ({"lr": 1.0}, {"rho": 0.5, "weight_decay": 0.1}),
    "Adam": ({"lr": 0.01}, {"lr": 0.001, "betas": (0.5, 0.9), "amsgrad": True}),
    "AdamW": ({"lr": 0.01}, {"weight_decay": 0.0, "eps": 1e-3}),
    "NAdam": ({"lr": 0.01}, {"momentum_decay": 0.1, "lr": 0.1}),
    "Adamax": ({"lr": 0.01}, {"weight_decay": 0.2, "maximize": True}),
    "RAdam": ({"lr": 0.01}, {"betas": (0.5, 0.7)}),
}


def warm_restarts(module, o):
    return [module.CosineAnnealingWarmRestarts(o, 5, 2, 1e-4)]


def one_cycle(module, o):
    tops = [0.2, 0.05][:len(o.param_groups)]
    return [module.OneCycleLR(o, tops if len(tops) > 1 else 0.2, 40,
                              cycle_momentum="betas" in o.defaults)]


def sequence(module, o):
    return [module.SequentialLR(o, [
        module.LinearLR(o, 0.1, total_iters=4), module.ExponentialLR(o, 0.9),
        module.CosineAnnealingLR(o, 6), module.StepLR(o, 3, 0.5)], [4, 9, 17])]


def warm_up_and_plateau(module, o):
    return [module.LinearLR(o, 0.25, total_iters=3),
            module.ReduceLROnPlateau(o, patience=1, factor=0.5)]


def step_and_exponential(module, o):
    return [module.StepLR(o, 4, 0.5), module.ExponentialLR(o, 0.9)]


def cosine_and_step(module, o):
    return [module.CosineAnnealingLR(o, 7, 1e-5), module.StepLR(o, 5, 0.5)]


def lambda_and_linear(module, o):
    return [module.LambdaLR(o, lambda t: 1 / (1 + t)), module.LinearLR(o, 0.5, 1.0, 9)]


def exponential_in_a_sequence(module, o):
    return [module.ExponentialLR(o, 0.95), module.SequentialLR(
        o, [module.StepLR(o, 2, 0.7), module.LinearLR(o, 0.3, 0.9, 6)], [8])]


SCHEDULED = [warm_restarts, one_cycle, sequence, warm_up_and_plateau, cosine_and_step,
             step_and_exponential, lambda_and_linear, exponential_in_a_sequence]


def step_schedules(schedules, metric):
    for schedule in schedules:
        plateau = "Plateau" in type(schedule).__name__
        schedule.step(*([metric] if plateau else []))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("make", SCHEDULED)
@pytest.mark.parametrize("name", GROUPED)
def test_groups_and_schedules_against_torch(name, make, groups):
    """Trajectories of parameters and rates, with one rate set by hand on the way."""
    rng = np.random.default_rng(0)
    first = {"w": rng.normal(size=(3, 2)), "v": rng.normal(size=2)}
    second = {"u": rng.normal(size=(2, 2))}
    common, special = GROUPED[name]
    parts = [({**first}, {}), ({**second}, special)][:groups]
    tensors = {key: torch.tensor(value, requires_grad=True)
               for part, _ in parts for key, value in part.items()}
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # of the product that torch's NAdam keeps
    try:
        ours = getattr(byhand.optimizers, name)(
            [{"params": part, **extra} for part, extra in parts], **common)
        theirs = getattr(torch.optim, name)(
            [{"params": [tensors[key] for key in part], **extra}
             for part, extra in parts], **common)
        our_schedules, their_schedules = make(byhand.optimizers, ours), make(torch_lr,
                                                                             theirs)
        for step in range(40):
            if step == 20:
                for group in (*ours.param_groups, *theirs.param_groups):
                    group["lr"] *= 0.5
            for mine, other in zip(ours.param_groups, theirs.param_groups):
                assert mine["lr"] == pytest.approx(other["lr"], rel=1e-10), step
            grads = {key: rng.normal(size=t.shape) for key, t in tensors.items()}
            for key, tensor in tensors.items():
                tensor.grad = torch.tensor(grads[key])
            ours.step(grads)
            theirs.step()
            step_schedules(our_schedules, abs(20 - step))
            step_schedules(their_schedules, abs(20 - step))
            for key, value in ours.params.items():
                np.testing.assert_allclose(value, tensors[key].detach(), rtol=1e-9,
                                           atol=1e-12)
    finally:
        torch.set_default_dtype(before)


def test_warm_up_and_plateau_multiply():
    opt, seen = SGD({"w": np.zeros(1)}, lr=1.0), []
    warm, plateau = LinearLR(opt, 0.25, total_iters=3), ReduceLROnPlateau(opt,
                                                                          patience=0)
    for loss in (5, 4, 3, 2, 2, 2, 1, 1):
        warm.step()
        plateau.step(loss)
        seen.append(opt.lr)
    np.testing.assert_allclose(seen, [0.5, 0.75, 1, 1, 0.1, 0.01, 0.01, 0.001])


def halve(t):
    return 0.5**t


def pickle_lambda(module, o):
    return [module.LambdaLR(o, halve)]


@pytest.mark.parametrize("optimizer_first", [True, False])
@pytest.mark.parametrize("make", [*SCHEDULED, pickle_lambda])
@pytest.mark.parametrize("name", [*GROUPED, "Lion", "Muon"])
def test_a_resumed_run_is_the_uninterrupted_one(name, make, optimizer_first):
    if name in ("Lion", "Muon") and make is one_cycle:
        make = warm_restarts
    common, special = GROUPED.get(name, ({"lr": 0.01}, {"lr": 0.1}))

    def build(params):
        optimizer = getattr(byhand.optimizers, name)(
            [{"params": {"w": params["w"]}}, {"params": {"u": params["u"]}, **special}],
            **common)
        return optimizer, make(byhand.optimizers, optimizer)

    def run(params, optimizer, schedules, start, stop):
        for step in range(start, stop):
            rng = np.random.default_rng(step)
            optimizer.step({key: rng.normal(size=value.shape).astype(value.dtype)
                            for key, value in params.items()})
            step_schedules(schedules, abs(10 - step))

    rng = np.random.default_rng(0)
    start = {"w": rng.normal(size=(3, 2)), "u": rng.normal(size=(2, 2)).astype("f4")}
    params = copy.deepcopy(start)
    optimizer, schedules = build(params)
    run(params, optimizer, schedules, 0, 11)
    saved = pickle.loads(pickle.dumps(
        (params, optimizer.state_dict(), [s.state_dict() for s in schedules])))
    run(params, optimizer, schedules, 11, 25)

    resumed, optimizer_state, states = saved
    second = dict(zip(("optimizer", "schedules"), build(resumed)))
    loads = [lambda: second["optimizer"].load_state_dict(optimizer_state),
             lambda: [s.load_state_dict(state)
                      for s, state in zip(second["schedules"], states)]]
    for load in loads if optimizer_first else loads[::-1]:
        load()
    run(resumed, second["optimizer"], second["schedules"], 11, 25)
    for key in params:
        assert np.array_equal(resumed[key], params[key]), key
    assert ([group["lr"] for group in second["optimizer"].param_groups]
            == [group["lr"] for group in optimizer.param_groups])


@pytest.mark.parametrize("make", [*SCHEDULED[:3], *SCHEDULED[3:6], pickle_lambda])
def test_all_of_a_run_can_be_pickled(make):
    params = {"w": np.ones((2, 2))}
    optimizer = Adam(params)
    everything = params, optimizer, make(byhand.optimizers, optimizer)
    optimizer.step({"w": np.ones((2, 2))})
    copied = pickle.loads(pickle.dumps(everything))
    for some, opt, schedules in (everything, copied):
        for _ in range(5):
            opt.step({"w": np.full((2, 2), 0.5)})
            step_schedules(schedules, 1.0)
    assert np.array_equal(params["w"], copied[0]["w"])


def damaged(state, path, value):
    state = copy.deepcopy(state)
    inner = state
    for key in path[:-1]:
        inner = inner[key]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return state


@pytest.mark.parametrize("path, value", [
    (["state"], KeyError), (["state", "w"], KeyError), (["state", "x"], {}),
    (["state", "w", "exp_avg"], KeyError), (["state", "w", "exp_avg"], None),
    (["state", "w", "exp_avg"], np.zeros(3)),
    (["state", "w", "exp_avg"], np.zeros((2, 2), "f4")),
    (["state", "w", "step"], -1), (["state", "w", "step"], "1"),
    (["param_groups"], []), (["param_groups", 1, "params"], ["w"]),
    (["param_groups", 1, "lr"], -1.0), (["param_groups", 1, "lr"], math.nan),
    (["param_groups", 0, "betas"], (0.9,)), (["param_groups", 0, "eps"], KeyError),
    (["param_groups", 1, "learning_rate"], 0.1),
])
def test_a_state_that_does_not_fit_changes_nothing(path, value):
    def build():
        return Adam([{"params": {"w": np.ones((2, 2))}},
                     {"params": {"v": np.ones(3)}, "lr": 0.5}])
    other = build()
    other.step({"w": np.ones((2, 2)), "v": np.ones(3)})
    ours, before = build(), pickle.dumps(build().state_dict())
    with pytest.raises((KeyError, TypeError, ValueError)):
        ours.load_state_dict(damaged(other.state_dict(), path, value))
    assert pickle.dumps(ours.state_dict()) == before
    state = other.state_dict()
    ours.load_state_dict(state)
    state["state"]["w"]["exp_avg"][...] = 7.0  # a copy was taken
    assert pickle.dumps(ours.state_dict()) == pickle.dumps(other.state_dict())


@pytest.mark.parametrize("path, value", [
    (["t"], -1), (["t"], 1.5), (["t"], KeyError), (["t"], True), (["lrs"], [0.1, 0.2]),
    (["lrs"], [math.nan]), (["base_lrs"], []), (["schedulers"], []), (["best"], 0.0),
    (["schedulers", 1, "t"], -1), (["schedulers", 2, "t"], 1000),
])
def test_a_schedule_is_restored_whole_or_not_at_all(path, value):
    def build():
        opt = SGD({"w": np.zeros(1)}, lr=0.3, momentum=0.9)
        return opt, SequentialLR(opt, [LinearLR(opt), StepLR(opt, 2),
                                       OneCycleLR(opt, 0.7, 40)], [3, 6])
    (_, other), (opt, ours) = build(), build()
    for _ in range(8):
        other.step()
    before = ours.state_dict(), opt.state_dict()
    with pytest.raises((KeyError, TypeError, ValueError)):
        ours.load_state_dict(damaged(other.state_dict(), path, value))
    assert (ours.state_dict(), opt.state_dict()) == before


def test_groups_must_fit():
    w, v = np.ones((2, 2)), np.ones(3)
    for groups, error, words in (
        ([], ValueError, "at least one group"),
        ([{"params": {}}], ValueError, "at least one array"),
        ([{"lr": 0.1}], TypeError, '"params"'), ([w], TypeError, '"params"'),
        ("w", TypeError, "str"),
        ([{"params": {"w": w}, "learning_rate": 1.0}], TypeError, "learning_rate"),
        ([{"params": {"w": w}}, {"params": {"w": v}}], ValueError, "w is given twice"),
        ([{"params": {"w": w}}, {"params": {"v": w[0]}}], ValueError, "also as w"),
        ([{"params": {"w": w, "v": w}}], ValueError, "also as w"),
        ([{"params": {"w": w}, "lr": -1}], ValueError, "lr"),
        ([{"params": {"w": w}, "betas": (0.9,)}], ValueError, "two"),
        ([{"params": {"w": w}, "lr": None}], TypeError, "lr must be a number"),
    ):
        with pytest.raises(error, match=words):
            Adam(groups)
    two = Adam([{"params": {"w": w}}, {"params": {"v": v}, "lr": 0.1}])
    for use in (lambda: two.lr, lambda: setattr(two, "lr", 0.1)):
        with pytest.raises(AttributeError, match="several groups"):
            use()
    flat = np.ones(6)  # parts of one vector that do not overlap are fine
    Adam({"a": flat[:2], "b": flat[2:], }).step({"a": np.ones(2), "b": np.ones(4)})


def test_a_group_that_comes_later_counts_its_own_steps():
    w, v = np.zeros(1), np.zeros(1)
    optimizer = Adam({"w": w}, lr=0.1)
    optimizer.step({"w": np.ones(1)})
    optimizer.add_param_group({"params": {"v": v}, "lr": 0.01})
    optimizer.step({"w": np.ones(1), "v": np.ones(1)})
    assert np.isclose(v[0], -0.01) and optimizer.state["w"]["step"] == 2
    schedule = StepLR(SGD({"w": w}), 2)
    schedule.optimizer.add_param_group({"params": {"v": v}})
    with pytest.raises(ValueError, match="made for 1 groups"):
        schedule.step()
    assert schedule.t == 0


@pytest.mark.parametrize("kind", [SGD, Adagrad, RMSprop, Adadelta, Adam, AdamW, NAdam,
                                  Adamax, RAdam, Lion, Muon])
def test_a_step_that_raises_changes_nothing(kind):
    def build():
        return kind([{"params": {"w": np.ones((2, 2))}},
                     {"params": {"v": np.ones((3, 2))}, "lr": 0.5}])
    good = {"w": np.ones((2, 2)), "v": np.ones((3, 2))}
    optimizer = build()
    optimizer.step(good)
    kept = pickle.dumps((optimizer.state_dict(), optimizer.params))
    for bad in (None, [], {}, {"w": good["w"]}, good | {"v": None},
                good | {"v": np.ones((3, 2), "f4")}, good | {"v": np.ones((3, 2), int)},
                good | {"v": np.ones(6)}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            optimizer.step(bad)
        assert pickle.dumps((optimizer.state_dict(), optimizer.params)) == kept
    for setting, value in (("lr", math.nan), ("lr", -1.0), ("lr", "1"),
                           ("weight_decay", math.inf)):
        before = optimizer.param_groups[1][setting]
        optimizer.param_groups[1][setting] = value
        with pytest.raises((TypeError, ValueError), match=setting):
            optimizer.step(good)
        optimizer.param_groups[1][setting] = before
        assert pickle.dumps((optimizer.state_dict(), optimizer.params)) == kept


@pytest.mark.parametrize("kind", [SGD, Adagrad, RMSprop, Adadelta, Adam, AdamW, NAdam,
                                  Adamax, RAdam, Lion])
def test_nan_and_infinity_stay_where_they_are(kind):
    """As in PyTorch: a NaN is no ordinary number afterwards, its neighbours are."""
    clean, dirty = np.ones(4), np.ones(4)
    one, other = kind({"w": clean}), kind({"w": dirty})
    with np.errstate(all="ignore"):
        for _ in range(3):
            one.step({"w": np.array([0.5, -0.5, 0.5, 1.0])})
            other.step({"w": np.array([0.5, np.nan, 0.5, np.inf])})
    assert np.isnan(dirty[1]) and np.array_equal(dirty[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("kind, settings", [
    (SGD, {"weight_decay": 0.1}), (AdamW, {}), (Lion, {"weight_decay": 0.1}),
    (Muon, {}), (SGD, {"momentum": 0.9}), (NAdam, {})])
def test_the_gradient_may_be_a_parameter(kind, settings):
    """As for theta^2 / 2, or for a product a b, whose gradients are b and a."""
    rng = np.random.default_rng(0)
    start = {"a": rng.normal(size=(3, 2)), "b": rng.normal(size=(3, 2))}
    apart, same = copy.deepcopy(start), copy.deepcopy(start)
    one, other = kind(apart, lr=0.1, **settings), kind(same, lr=0.1, **settings)
    for _ in range(4):
        one.step({"a": apart["b"].copy(), "b": apart["a"].copy()})
        other.step({"a": same["b"], "b": same["a"][:]})
    assert all(np.array_equal(apart[key], same[key]) for key in start)


def after_one_of_another_size(make, size, dtype):
    theta = np.ones(2, dtype)
    optimizer = make({"w": theta})
    for step in range(300):
        optimizer.step({"w": np.array([size, 0.0] if step == 3 else
                                      [1.0, size if size < 1 else 0], dtype)})
    return theta


class Theirs:
    """PyTorch's optimizer on one tensor that shares the memory of our array."""

    def __init__(self, name, params):
        self.tensor = torch.from_numpy(params["w"]).requires_grad_()
        self.optimizer = getattr(torch.optim, name)([self.tensor], lr=0.01)

    def step(self, grads):
        self.tensor.grad = torch.tensor(grads["w"])
        self.optimizer.step()


ADAMS = ["Adam", "AdamW", "NAdam", "RAdam", "Adamax"]


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12, 1e18])
@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adadelta", "Adagrad", *ADAMS])
def test_one_gradient_of_another_size_as_in_torch(name, size):
    ours = after_one_of_another_size(
        lambda p: getattr(byhand.optimizers, name)(p, lr=0.01), size, np.float32)
    theirs = after_one_of_another_size(lambda p: Theirs(name, p), size, np.float32)
    np.testing.assert_allclose(ours - 1, theirs - 1, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("name", ADAMS)
def test_a_gradient_of_1e20_does_not_stop_float32(name):
    """Its square is outside float32, but 1e-3 times the square is not."""
    single, double = (after_one_of_another_size(
        lambda p: getattr(byhand.optimizers, name)(p, lr=0.01), 1e20, dtype)
        for dtype in (np.float32, np.float64))
    np.testing.assert_allclose(single - 1, double - 1, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20, 3e38])
def test_newton_schulz_at_any_size(size):
    matrix = np.random.default_rng(0).uniform(-1, 1, size=(4, 3))
    result = newton_schulz((matrix * size).astype(np.float32), eps=0.0)
    np.testing.assert_allclose(result, newton_schulz(matrix), atol=1e-4)
    assert newton_schulz(np.ones((0, 3))).shape == (0, 3)
    for bad in (np.ones((3, 2), int), [[1.0]]):
        with pytest.raises(TypeError):
            newton_schulz(bad)


def test_sequences_refuse_what_cannot_follow():
    opt, other = (SGD({"w": np.zeros(1)}, lr=0.1) for _ in range(2))
    for schedules, milestones, words in (
        ([], [], "at least one"),
        ([LinearLR(opt), ReduceLROnPlateau(opt)], [3], "metric"),
        ([LinearLR(opt), StepLR(other, 2)], [3], "another optimizer"),
        ([LinearLR(opt), StepLR(opt, 2)], [0], "rising"),
        ([LinearLR(opt), StepLR(opt, 2), StepLR(opt, 2)], [3, 3], "rising"),
    ):
        with pytest.raises(ValueError, match=words):
            SequentialLR(opt, schedules, milestones)


def test_a_schedule_step_that_raises_changes_nothing():
    opt = SGD({"w": np.zeros(1)}, lr=0.1, momentum=0.9)
    for schedule in (LambdaLR(opt, lambda t: 1.0 if t < 2 else math.nan),
                     LambdaLR(opt, lambda t: 1.0 if t < 2 else -1.0),
                     OneCycleLR(opt, 0.1, 1)):
        schedule.step()
        before = schedule.state_dict(), opt.state_dict()
        with pytest.raises(ValueError):
            schedule.step()
        assert (schedule.state_dict(), opt.state_dict()) == before
    with pytest.raises(TypeError, match="param_groups"):
        StepLR(object(), 2)
    for make in (lambda: OneCycleLR(opt, [0.1, 0.2], 5),
                 lambda: LambdaLR(opt, [halve] * 3),
                 lambda: ReduceLROnPlateau(opt, min_lr=[0.1, 0.2])):
        with pytest.raises(ValueError, match="for each group"):
            make()


@quick
@given(st.lists(SHAPES, min_size=1, max_size=3), DTYPES,
       st.sampled_from([1.0, 2.0, 3.5, math.inf]),
       st.sampled_from([1e-3, 1.0, 1e3]), st.floats(0, 10))
def test_clip_grad_norm(shapes, dtype, norm_type, scale, limit):
    rng = np.random.default_rng(0)
    grads = {str(i): np.asarray(scale * rng.normal(size=shape)).astype(dtype)
             for i, shape in enumerate(shapes)}
    tensors = [torch.zeros(value.shape, dtype=torch.tensor(value).dtype,
                           requires_grad=True) for value in grads.values()]
    for tensor, value in zip(tensors, grads.values()):
        tensor.grad = torch.tensor(value)
    expected = torch.nn.utils.clip_grad_norm_(tensors, limit, norm_type)
    kept = {name: value.copy() for name, value in grads.items()}
    clipped, norm = clip_grad_norm(grads, limit, norm_type)
    assert math.isclose(norm, float(expected), rel_tol=1e-5)
    for tensor, name in zip(tensors, grads):
        assert clipped[name].dtype == dtype and np.array_equal(grads[name], kept[name])
        assert clipped[name].shape == grads[name].shape
        assert np.allclose(clipped[name], tensor.grad.numpy(), rtol=1e-5, atol=0)


def test_clipping_edges():
    huge = {"w": np.full(4, 1e30, np.float32), "b": np.zeros(0, np.float32)}
    clipped, norm = clip_grad_norm(huge, 1.0)
    assert math.isclose(norm, 2e30, rel_tol=1e-6) and np.allclose(clipped["w"], 0.5)
    assert clip_grad_norm({}, 1.0) == ({}, 0.0)
    zeros, norm = clip_grad_norm({"w": np.zeros(3)}, 1.0)
    assert norm == 0 and not zeros["w"].any()
    broken = {"w": np.array([1.0, np.nan]), "b": np.ones(2)}
    spoilt, norm = clip_grad_norm(broken, 1.0)
    assert math.isnan(norm) and np.isnan(spoilt["b"]).all()
    with pytest.raises(ValueError, match="nan"):
        clip_grad_norm(broken, 1.0, error_if_nonfinite=True)
    assert np.array_equal(clip_grad_value({"w": np.array([-3.0, 0.2])}, 1)["w"],
                          [-1, 0.2])
    for function in (clip_grad_norm, clip_grad_value):
        with pytest.raises(TypeError, match="dict"):
            function([np.ones(2)], 1.0)
        with pytest.raises(ValueError, match="at least 0"):
            function({"w": np.ones(2)}, -1.0)
    with pytest.raises(ValueError, match="norm_type"):
        clip_grad_norm({"w": np.ones(2)}, 1.0, 0.5)


KINDS = [SGD, Adagrad, RMSprop, Adadelta, Adam, AdamW, NAdam, Adamax, RAdam, Muon]


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_torch_s(kind):
    theirs = getattr(torch.optim, kind.__name__, None)
    if theirs is None:
        pytest.skip(f"this PyTorch has no {kind.__name__}")
    ours = kind({"w": np.ones((2, 2))}).defaults
    expected = theirs([torch.ones(2, 2, requires_grad=True)]).defaults
    # betas are tuples here and there; what only PyTorch has is no matter
    assert {name: ours[name] for name in ours.keys() & expected.keys()} == {
        name: expected[name] for name in ours.keys() & expected.keys()}
    assert len(ours.keys() & expected.keys()) >= 3


def test_lion_has_the_defaults_of_its_paper():
    assert {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0,
            "maximize": False}.items() <= Lion({"w": np.ones(2)}).defaults.items()


@pytest.mark.parametrize("first", [math.nan, math.inf])
def test_a_plateau_that_begins_with_no_number(first):
    agree(lambda o: ReduceLROnPlateau(o, patience=0),
          lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0),
          [first, first, 1.0, 2.0, 3.0])


def test_each_matrix_of_a_stack_is_brought_near_1_by_itself():
    matrix = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    stack = np.stack([matrix * np.float32(10.0**power) for power in (-30, -3, 0, 30)])
    for one, alone in zip(newton_schulz(stack), stack):
        np.testing.assert_array_equal(one, newton_schulz(alone))


def test_schedules_know_their_rates_beforehand():
    """lr_at(t) is the rate that t steps lead to, in any order of asking."""
    def schedules():
        for make in (lambda o: StepLR(o, 3, 0.5), lambda o: ExponentialLR(o, 0.7),
                     lambda o: InverseTimeLR(o, 0.2),
                     lambda o: LinearLR(o, 0.2, 0.9, 4),
                     lambda o: CosineAnnealingLR(o, 6, 0.01),
                     lambda o: CosineAnnealingWarmRestarts(o, 2, 2, 0.01),
                     lambda o: LambdaLR(o, lambda t: 1 / (1 + t)),
                     lambda o: OneCycleLR(o, 0.7, 12)):
            yield make(SGD({"w": np.zeros(1)}, lr=0.3, momentum=0.9))

    for schedule in schedules():
        expected = [schedule.lr_at(t) for t in reversed(range(11))][::-1]
        found = []
        for _ in range(11):
            found.append(schedule.optimizer.lr)
            schedule.step()
        np.testing.assert_allclose(found, expected, rtol=1e-12,
                                   err_msg=type(schedule).__name__)


@pytest.mark.parametrize("name", [*SETTINGS, "Muon"])
def test_arguments_and_defaults_are_those_of_torch_optim(name):
    ours, theirs = (inspect.signature(getattr(where, name)).parameters
                    for where in (byhand.optimizers, torch.optim))
    left_out = {"foreach", "fused", "capturable", "differentiable"}
    assert set(theirs) - set(ours) <= left_out and set(ours) <= set(theirs)
    for key, parameter in ours.items():
        assert parameter.default == theirs[key].default, key


@np.errstate(over="ignore")
@pytest.mark.parametrize("name", sorted(SETTINGS.keys() - {"SGD"} | {"Muon", "Lion"}))
def test_a_square_out_of_range_ends_the_steps_of_those_that_divide_by_its_root(name):
    """In float32: one gradient of 1e25, then small ones."""
    w = np.ones((1, 1), np.float32)
    optimizer = getattr(byhand.optimizers, name)({"w": w}, lr=1e-3)
    if name == "RAdam":  # its first five steps divide by nothing
        for _ in range(6):
            optimizer.step({"w": np.ones_like(w)})
    optimizer.step({"w": np.full_like(w, 1e25)})
    before = w.copy()
    for _ in range(3):
        optimizer.step({"w": np.ones_like(w)})
    stopped = name in {"Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "NAdam",
                       "RAdam"}
    if name == "AdamW":
        before = before * np.float32(1 - 1e-3 * 0.01) ** 3
    assert np.allclose(w, before, rtol=1e-6, atol=0) == stopped


def test_a_clipped_norm_does_not_overflow_as_pytorchs_does():
    grads = {"w": np.full(2, 1e30, np.float32)}
    tensor = torch.zeros(2, requires_grad=True)
    tensor.grad = torch.tensor(grads["w"])
    clipped, norm = clip_grad_norm(grads, 1.0)
    assert np.isclose(norm, 2**0.5 * 1e30) and np.allclose(clipped["w"], 0.5**0.5)
    assert math.isinf(torch.nn.utils.clip_grad_norm_([tensor], 1.0))


def test_a_resumed_sequence_has_the_momentum_of_the_active_cycle():
    def begun():
        optimizer = SGD({"w": np.ones(1)}, lr=0.1, momentum=0.9)
        cycles = [OneCycleLR(optimizer, top, 20) for top in (0.5, 0.2)]
        return optimizer, SequentialLR(optimizer, cycles, [20])

    first, schedule = begun()
    for _ in range(6):
        first.step({"w": np.ones(1)})
        schedule.step()
    saved = first.state_dict(), schedule.state_dict()
    for order in (0, 1), (1, 0):
        again = begun()
        for i in order:
            again[i].load_state_dict(saved[i])
        assert again[0].param_groups[0]["momentum"] == first.param_groups[0]["momentum"]
    before = first.param_groups[0]["momentum"]
    with pytest.raises(ValueError, match="t must be at least 0"):
        schedule.load_state_dict({**saved[1], "t": -1})
    assert first.param_groups[0]["momentum"] == before


def test_centered_rmsprop_stays_finite_where_squares_are_not():
    w = np.ones(1, np.float32)
    tensor = torch.ones(1, requires_grad=True)
    ours = RMSprop({"w": w}, lr=0.01, centered=True)
    theirs = torch.optim.RMSprop([tensor], lr=0.01, centered=True)
    for grad in (1.0, 1e25, 1.0, 1.0):
        with np.errstate(over="ignore"):
            ours.step({"w": np.full(1, grad, np.float32)})
        tensor.grad = torch.full((1,), grad)
        theirs.step()
    np.testing.assert_allclose(w, tensor.detach().numpy(), rtol=1e-6)


def test_newton_schulz_keeps_the_dtype_beside_arrays_of_coefficients():
    x = np.ones((2, 3), np.float32)
    found = newton_schulz(x, np.array([3.4445, -4.775, 2.0315]), eps=np.float64(1e-7))
    assert found.dtype == np.float32
