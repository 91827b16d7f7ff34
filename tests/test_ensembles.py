"""Ensembles: identities for any numbers, averages of weights against PyTorch, and what
is refused.
"""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from byhand.backprop import Linear, ReLU, Sequential
from byhand.ensembles import (
    AveragedModel,
    ambiguity,
    bias_variance_covariance,
    bootstrap,
    combine,
    disagreement,
    doubt,
    error_correlation,
    get_ema_avg_fn,
    get_swa_avg_fn,
    monte_carlo,
    update_bn,
)
from byhand.initialization import stack
from byhand.checks import relative_error, tolerance
from byhand.normalization import BatchNorm1d
from byhand.regularization import Dropout
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import swa_utils

dtypes = st.sampled_from(["float64", "float32"])
seeds = st.integers(0, 2**31)
sizes = st.integers(1, 6)
scales = st.sampled_from([1e-4, 1.0, 30.0, 1e4])


def close(ours, theirs, terms=64):
    dtype = np.asarray(ours).dtype
    assert relative_error(ours, theirs) < tolerance(dtype, terms)


@given(seeds, st.integers(2, 6), st.lists(sizes, max_size=3), scales)
def test_the_error_of_the_mean(seed, members, shape, scale):
    r = np.random.default_rng(seed)
    predictions, target = (scale * r.normal(size=(members, *shape)),
                           scale * r.normal(size=shape) * np.ones(shape))
    given_arrays = predictions.copy(), np.copy(target)
    found = ambiguity(predictions, np.asarray(target))
    assert (found.ensemble_error == pytest.approx(
        found.mean_error - found.ambiguity, abs=1e-12 * found.mean_error))
    e = predictions - target
    pairs = np.mean([np.mean(a * b) for a, b in itertools.combinations(e, 2)])
    assert (error_correlation(predictions, np.asarray(target))
            == pytest.approx(pairs / found.mean_error, abs=1e-10))
    assert (np.array_equal(predictions, given_arrays[0])
            and np.array_equal(target, given_arrays[1]))


@given(seeds, st.integers(1, 4), st.integers(2, 4), sizes)
def test_bias_variance_covariance_over_all_subsets(seed, sets, members, n):
    r = np.random.default_rng(seed)
    predictions, target = (r.normal(size=(sets, members, n))
                           + r.normal(size=(sets, 1, n)), r.normal(size=n))
    terms = bias_variance_covariance(predictions, target)
    for m in range(1, members + 1):
        means = [predictions[:, chosen].mean(axis=1)
                 for chosen in map(list, itertools.combinations(range(members), m))]
        assert (terms.error(m)
                == pytest.approx(np.mean((np.array(means) - target) ** 2), rel=1e-10))


def test_few_training_sets_shift_the_three_terms_and_not_their_sum():
    # bias 1, variance 3, covariance 1; 5 sets of 4 members, over 20000 examples
    r = np.random.default_rng(0)
    predictions = (1 + r.normal(size=(5, 1, 20000))
                   + math.sqrt(2) * r.normal(size=(5, 4, 20000)))
    terms = bias_variance_covariance(predictions, np.zeros(20000))
    shift = (1 + (3 - 1) / 4) / 5
    assert np.allclose(terms, [1 + shift, 3 - shift, 1 - shift], atol=0.05)
    assert terms.error(4) == pytest.approx(1 + 3 / 4 + (1 - 1 / 4) * 1, abs=0.05)


@given(seeds, dtypes, sizes, st.lists(sizes, max_size=2), st.integers(1, 10), scales)
def test_combine(seed, dtype, members, shape, classes, scale):
    z = (scale * np.random.default_rng(seed).normal(
        size=(members, *shape, classes))).astype(dtype)
    t, before = torch.tensor(z), z.copy()
    expected = {
        "probabilities": t.softmax(-1).mean(0),
        "logits": t.mean(0).softmax(-1),
        "votes": torch.nn.functional.one_hot(t.argmax(-1), classes).to(t.dtype).mean(0),
    }
    for how, theirs in expected.items():
        ours = combine(z, how)
        assert (ours.shape, ours.dtype) == (tuple(theirs.shape), z.dtype)
        # the exponential turns the rounding of a logit of size s into a relative error
        # of s * eps
        assert (np.abs(ours - theirs.numpy()).max(initial=0)
                < max(1.0, scale) * 20 * np.finfo(dtype).eps)
        assert np.allclose(ours.sum(axis=-1), 1, atol=1e-5)
    assert np.array_equal(z, before)


def test_the_first_of_several_largest_gets_the_vote():
    assert (combine(np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]]),
                    "votes").tolist() == [0.5, 0.5, 0.0])


@given(seeds, dtypes, sizes, sizes, st.integers(1, 6), scales)
def test_doubt(seed, dtype, members, n, classes, scale):
    z = torch.tensor(scale * np.random.default_rng(seed).normal(
        size=(members, n, classes)), dtype=getattr(torch, dtype))
    p = z.softmax(-1)
    found = doubt(p.numpy())
    for ours, theirs in zip(found, (torch.special.entr(p.mean(0)).sum(-1),
                                    torch.special.entr(p).sum(-1).mean(0), None)):
        assert ours.shape == (n,) and ours.dtype == dtype and np.isfinite(ours).all()
        if theirs is not None:
            assert np.abs(ours - theirs.numpy()).max() < 40 * np.finfo(dtype).eps
    assert ((found.disagreement > -40 * np.finfo(dtype).eps).all()
            and (found.total <= math.log(classes) + 1e-5).all())


@given(seeds, st.integers(2, 5), sizes, st.lists(sizes, max_size=2))
def test_disagreement(seed, members, n, shape):
    labels = np.random.default_rng(seed).integers(3, size=(members, n, *shape))
    pairs = [(a != b).mean(axis=0) for a, b in itertools.combinations(labels, 2)]
    assert np.allclose(disagreement(labels), np.mean(pairs, axis=0))


def networks(dtype, r):
    ours = Sequential(Linear(4, 6, rng=r, dtype=dtype), BatchNorm1d(6, dtype=dtype),
                      ReLU(), Linear(6, 3, rng=r, dtype=dtype))
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6),
                                 torch.nn.ReLU(), torch.nn.Linear(6, 3))
    return ours, theirs.to(getattr(torch, dtype))


@given(seeds, dtypes, st.integers(1, 12), st.sampled_from([None, 0.0, 0.5, 0.999, 1.0]),
       st.booleans())
def test_averaged_models(seed, dtype, steps, decay, use_buffers):
    r = np.random.default_rng(seed)
    model, module = networks(dtype, r)
    ours = AveragedModel(model, None if decay is None else get_ema_avg_fn(decay),
                         use_buffers)
    theirs = swa_utils.AveragedModel(module, avg_fn=None if decay is None
                                     else swa_utils.get_ema_avg_fn(decay),
                                     use_buffers=use_buffers)
    for _ in range(steps):
        state = {k: np.abs(r.normal(size=v.shape)).astype(dtype) if v.dtype.kind == "f"
                 else v + 1 for k, v in (model.params | model.buffers).items()}
        model.load_state(state)
        module.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
        ours.update_parameters(model)
        theirs.update_parameters(module)
        assert all(np.array_equal(value, state[k])
                   for k, value in (model.params | model.buffers).items())
    batches = [r.normal(size=(5, 4)).astype(dtype) for _ in range(3)]
    for update in (False, True):
        if update:
            update_bn(iter(batches), ours)
            swa_utils.update_bn([torch.tensor(b) for b in batches], theirs)
        mine = ours.module.params | ours.module.buffers
        for name, value in theirs.module.state_dict().items():
            # PyTorch averages the counter too
            if not (use_buffers and "tracked" in name):
                assert mine[name].dtype == value.numpy().dtype
                close(mine[name], value.numpy(), 24 * steps)
    assert ours.module.layers[1].momentum == 0.1 and ours.module.training


def test_an_average_is_a_copy():
    model, _ = networks("float64", np.random.default_rng(0))
    average = AveragedModel(model)
    average.update_parameters(model)
    before = copy.deepcopy(average.module.params)
    for value in model.params.values():
        value += 1
    assert all(np.array_equal(average.module.params[k], v) for k, v in before.items())
    assert get_swa_avg_fn()(np.float64(2), np.float64(5), 2) == 3


def test_update_bn_keeps_modes_and_leaves_other_layers_alone():
    model, _ = networks("float64", np.random.default_rng(0))
    model.eval()
    params = copy.deepcopy(model.params)
    update_bn([np.ones((3, 4)), np.zeros((3, 4))], model)
    assert not model.training and int(model.buffers["1.num_batches_tracked"]) == 2
    assert all(np.array_equal(model.params[k], v) for k, v in params.items())
    with pytest.raises(ValueError, match="shape"):
        update_bn([np.ones((3, 5))], model)
    assert not model.training and model.layers[1].momentum == 0.1


def test_monte_carlo_leaves_only_dropout_on():
    r = np.random.default_rng(0)
    model = Sequential(Linear(4, 50, rng=r), BatchNorm1d(50), Dropout(0.5, rng=r),
                       Linear(50, 2, rng=r)).eval()
    buffers, x = copy.deepcopy(model.buffers), r.normal(size=(6, 4))
    outputs = monte_carlo(model, x, 400)
    assert outputs.shape == (400, 6, 2) and not model.training
    assert all(np.array_equal(model.buffers[k], v) for k, v in buffers.items())
    error = outputs.std(axis=0) / math.sqrt(400)
    assert ((error > 0).all()  # linear behind the dropout
            and (np.abs(outputs.mean(axis=0) - model.forward(x)) < 6 * error).all())


@given(seeds, st.integers(1, 50), st.integers(1, 5))
def test_bootstrap(seed, n, columns):
    rows = bootstrap(n, np.random.default_rng(seed), columns)
    assert rows.shape == (n, columns) and rows.min() >= 0 and rows.max() < n
    assert bootstrap(n, np.random.default_rng(seed)).shape == (n,)


def test_a_bootstrap_sample_repeats():
    rows = bootstrap(2000, np.random.default_rng(0), 20)
    unique = np.mean([len(np.unique(column)) for column in rows.T]) / 2000
    assert abs(unique - (1 - math.exp(-1))) < 0.01


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ambiguity([[1.0]], np.zeros(1)), TypeError, "predictions must be"),
        (lambda: ambiguity(np.zeros((2, 3)), np.zeros(2)), ValueError,
         "target must have the shape"),
        (lambda: ambiguity(np.zeros((2, 3)), np.zeros(3, np.float32)), TypeError,
         "float64"),
        (lambda: ambiguity(np.zeros((0, 3)), np.zeros(3)), ValueError,
         "hold something"),
        (lambda: error_correlation(np.ones((1, 3)), np.zeros(3)), ValueError,
         "two members"),
        (lambda: error_correlation(np.zeros((2, 3)), np.zeros(3)), ValueError, "not 0"),
        (lambda: bias_variance_covariance(np.zeros((2, 1, 3)), np.zeros(3)), ValueError,
         "at least 2"),
        (lambda: bias_variance_covariance(np.zeros((2, 2, 3)), np.zeros(4)), ValueError,
         "target"),
        (lambda: combine(np.zeros((2, 3)), "mean"), ValueError, "'mean'"),
        (lambda: combine(np.zeros(3)), ValueError, "classes"),
        (lambda: combine(np.zeros((0, 3))), ValueError, "classes"),
        (lambda: combine(np.zeros((2, 3), int)), TypeError, "logits must be"),
        (lambda: disagreement(np.zeros((2, 3))), TypeError, "integers"),
        (lambda: disagreement(np.zeros((1, 3), int)), ValueError, "at least 2"),
        (lambda: doubt(np.full((2, 3), 1.5)), ValueError, "lie in"),
        (lambda: doubt(np.full((2, 3), np.nan)), ValueError, "lie in"),
        (lambda: doubt(np.zeros(3)), ValueError, "shape"),
        (lambda: bootstrap(0, np.random.default_rng(0)), ValueError, "at least 1"),
        (lambda: get_ema_avg_fn(1.1), ValueError, "decay"),
        (lambda: get_ema_avg_fn(math.nan), ValueError, "decay"),
        (lambda: update_bn([], networks("float64", np.random.default_rng(0))[0]),
         ValueError, "batch"),
        (lambda: monte_carlo(networks("float64", np.random.default_rng(0))[0],
                             np.zeros((2, 4)), 3), ValueError, "Dropout"),
        (lambda: monte_carlo(Dropout(rng=np.random.default_rng(0)), np.zeros((2, 4)),
                             0), ValueError, "at least one pass"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_average_refuses_another_network():
    r = np.random.default_rng(0)
    average = AveragedModel(Linear(2, 3, rng=r))
    # the first update copies; in the second a (3, 1) could be stretched to a (3, 2)
    for _ in range(2):
        for other in (Linear(3, 3, rng=r), Linear(1, 3, rng=r), Linear(2, 1, rng=r)):
            with pytest.raises(ValueError, match="shape"):
                average.update_parameters(other)
        with pytest.raises(TypeError, match="float64"):
            average.update_parameters(Linear(2, 3, rng=r, dtype="float32"))
        with pytest.raises(KeyError):
            average.update_parameters(Linear(2, 3, bias=False, rng=r))
        average.update_parameters(Linear(2, 3, rng=r))
    stacked = AveragedModel(stack([Sequential(Linear(2, 3, rng=r)) for _ in range(4)]))
    assert stacked.forward(np.zeros((5, 4, 2))).shape == (5, 4, 3)
