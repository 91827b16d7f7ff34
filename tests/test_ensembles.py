"""Ensembles: identities for any numbers, averages of weights against PyTorch, and what
is refused.
"""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from byhand.backprop import Linear, ReLU, Sequential
from byhand.ensembles import (
    AveragedModel,
    BiasVarianceCovariance,
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
from byhand.checks import relative_error, tolerance
from byhand.experiments import stack
from byhand.normalization import BatchNorm1d, InstanceNorm1d
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
    assert relative_error(ours, theirs) <= tolerance(dtype, terms)


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
        mine = ours.params | ours.buffers
        assert mine.keys() == theirs.state_dict().keys()
        for name, value in theirs.state_dict().items():
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
        (lambda: doubt(np.full((2, 3), 1.0)), ValueError, "add up to 1"),
        (lambda: doubt(np.zeros((2, 3, 0))), ValueError, "add up to 1"),
        (lambda: doubt(np.full((2, 3), np.nan)), ValueError, "lie in"),
        (lambda: doubt(np.zeros(3)), ValueError, "shape"),
        (lambda: bootstrap(0, np.random.default_rng(0)), ValueError, "at least 1"),
        (lambda: bootstrap(2.5, np.random.default_rng(0)), TypeError, "integer"),
        (lambda: bootstrap(2, np.random.default_rng(0), 1.5), TypeError, "integer"),
        (lambda: bootstrap(2, np.random.default_rng(0), -1), ValueError, "columns at"),
        (lambda: BiasVarianceCovariance(1.0, 1.0, 0.5).error(0), ValueError, "m must"),
        (lambda: BiasVarianceCovariance(1.0, 1.0, 0.5).error(math.nan), ValueError,
         "m must"),
        (lambda: AveragedModel(Dropout(rng=np.random.default_rng(0)), 0.9), TypeError,
         "get_ema_avg_fn"),
        (lambda: get_ema_avg_fn(1.1), ValueError, "decay"),
        (lambda: get_ema_avg_fn(math.nan), ValueError, "decay"),
        (lambda: update_bn([np.zeros((3, 4)), np.zeros((0, 4))],
                           networks("float64", np.random.default_rng(0))[0]),
         ValueError, "batch 2 is empty"),
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


@given(seeds, dtypes, st.sampled_from([1e-200, 1e-30, 1.0, 1e30, 1e200]))
def test_a_correlation_has_no_unit(seed, dtype, unit):
    if dtype == "float32" and not 1e-31 < unit < 1e31:
        return
    r = np.random.default_rng(seed)
    predictions, target = r.normal(size=(4, 9)), r.normal(size=9)
    expected = error_correlation(predictions, target)
    found = error_correlation((unit * predictions).astype(dtype),
                              (unit * target).astype(dtype))
    assert found == pytest.approx(expected, abs=1e-5 if dtype == "float32" else 1e-12)


def test_float32_squares_are_summed_in_float64():
    # 1 + 1e-4 n, squared and averaged in float32, would lose the fifth digit
    predictions = np.full((2, 10**6), 1e-4, np.float32)
    predictions[0] += 3e3
    found = ambiguity(predictions, np.zeros(10**6, np.float32))
    exact = predictions.astype(np.float64)
    assert found.mean_error == np.mean(exact**2)
    assert found.ensemble_error == np.mean(exact.mean(axis=0) ** 2)


@pytest.mark.parametrize("how", ["probabilities", "logits", "votes"])
def test_a_member_that_answers_nan_has_no_answer(how):
    z = np.array([[[np.nan, 1.0, 5.0], [1.0, 2.0, 3.0]], [[3.0, 1.0, 0.0]] * 2])
    found = combine(z, how)
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


def test_the_doubt_on_one_example_is_an_array_without_axes():
    for part in doubt(np.array([[0.0, 1.0], [0.5, 0.5]])):
        assert isinstance(part, np.ndarray) and part.shape == ()


def test_large_logits_do_not_overflow():
    z = np.array([[3e38, 0.0], [3e38, -1.0]], np.float32)
    assert combine(z, "logits").tolist() == [1.0, 0.0]
    assert combine(z, "votes").tolist() == [1.0, 0.0]


def test_an_average_is_a_model_like_any_other():
    model, _ = networks("float64", np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(7, 4))
    average = AveragedModel(model.eval(), get_ema_avg_fn(0.9))
    assert not average.training and not average.module.training
    average.update_parameters(model)
    np.testing.assert_array_equal(average.forward(x), model.forward(x))
    average.train()
    average.forward(x)
    dx = average.backward(np.ones((7, 3)))
    model.train().forward(x)
    np.testing.assert_array_equal(dx, model.backward(np.ones((7, 3))))
    assert average.grads.keys() == average.params.keys() == {
        f"module.{name}" for name in model.params}
    # saved in the middle, it goes on as if nothing had happened
    resumed = pickle.loads(pickle.dumps(average))
    other = AveragedModel(networks("float64", np.random.default_rng(5))[0],
                          get_ema_avg_fn(0.9))
    other.load_state(average.params | average.buffers)
    for value in model.params.values():
        value += 1
    for each in (average, resumed, other):
        each.update_parameters(model)
        assert int(each.buffers["n_averaged"]) == 2
        for name, value in average.params.items():
            assert np.array_equal(each.params[name], value)
    # an average within a model, and of one that holds an average
    last = Linear(3, 2, rng=np.random.default_rng(0))
    outer = AveragedModel(Sequential(average, last))
    assert "module.0.module.1.running_mean" in outer.buffers


def test_a_failed_update_changes_nothing():
    model, _ = networks("float32", np.random.default_rng(0))
    calls = []

    def rule(averaged, current, n):
        calls.append(n)
        if len(calls) > 3:
            raise ArithmeticError
        return averaged

    def wider(averaged, current, n):
        return averaged.astype(np.float64)

    for avg_fn, error in ((rule, ArithmeticError), (wider, TypeError)):
        average = AveragedModel(model, avg_fn)
        average.update_parameters(model)
        before = copy.deepcopy(dict(average.params | average.buffers))
        with pytest.raises(error):
            average.update_parameters(model)
        after = average.params | average.buffers
        assert all(np.array_equal(before[k], v) for k, v in after.items())


def test_an_average_at_rest_stays_and_stands_still_below_half_a_unit():
    weight = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    for decay in (0.9, 0.999, 0.99999):
        rule, average = get_ema_avg_fn(decay), weight
        for _ in range(100):
            average = rule(average, weight, 1)
        assert np.array_equal(average, weight)
    one = np.ones(1, np.float32)
    assert rule(one, one + np.float32(1e-3), 1) == one  # as the docstring says
    assert rule(one.astype(np.float64), one + 1e-3, 1) > one


def test_an_average_with_little_memory_is_pytorchs_of_many_arrays():
    start, current = (np.array(v, np.float32) for v in ([1e10, 1, 3], [0.1, 1e-9, 0.7]))
    for decay in (0.0, 0.3, 0.5):
        many = torch.tensor(start)
        swa_utils.get_ema_multi_avg_fn(decay)([many], [torch.tensor(current)], 1)
        ours = get_ema_avg_fn(decay)(start, current, 1)
        np.testing.assert_allclose(ours, many.numpy(), rtol=2e-7, atol=0)
    assert np.array_equal(get_ema_avg_fn(0.0)(start, current, 1), current)


def test_an_average_stands_still_where_pytorchs_of_many_arrays_does():
    r, decay = np.random.default_rng(0), 0.9999
    start = r.uniform(1, 2, 10_000).astype(np.float32)
    part = r.uniform(-0.45, 0.45, 10_000) * 2.0**-23  # of a unit in the last place
    weight = start + (part / (1 - decay)).astype(np.float32)
    many = torch.tensor(start)
    swa_utils.get_ema_multi_avg_fn(decay)([many], [torch.tensor(weight)], 1)
    one = swa_utils.get_ema_avg_fn(decay)(torch.tensor(start), torch.tensor(weight), 1)
    ours = get_ema_avg_fn(decay)(start, weight, 1)
    assert np.array_equal(ours, start) and np.array_equal(many.numpy(), start)
    assert not np.array_equal(one.numpy(), start)  # as the docstring says


def test_update_bn_is_whole_or_nothing_and_takes_what_a_loader_gives():
    r = np.random.default_rng(0)
    model, x = networks("float64", r)[0], r.normal(size=(12, 4))
    model.forward(x)
    dx = model.backward(np.ones((12, 3)))
    before = copy.deepcopy(dict(model.buffers))
    bad = ([x, x[:1]], [x, x[:, :3]], [x, x[:0]], [], iter([x, None]))
    for batches in bad:
        with pytest.raises((ValueError, TypeError)):
            update_bn(batches, model)
        assert all(np.array_equal(before[k], v) for k, v in model.buffers.items())
    assert model.training and model.layers[1].momentum == 0.1
    np.testing.assert_array_equal(model.backward(np.ones((12, 3))), dx)
    twin = copy.deepcopy(model)
    update_bn([x[:8], x[8:]], model)
    update_bn(((part, "labels") for part in (x[:8], x[8:])), twin)
    for name, value in model.buffers.items():
        assert np.array_equal(twin.buffers[name], value)
    h = model.layers[0].forward(x)  # a small batch counts as much as a large one
    expected = (h[:8].mean(axis=0) + h[8:].mean(axis=0)) / 2
    np.testing.assert_allclose(model.buffers["1.running_mean"], expected)


def test_statistics_that_are_lost_are_made_anew_at_any_depth():
    r = np.random.default_rng(0)
    inner = Sequential(BatchNorm1d(4), ReLU())
    model, x = Sequential(inner, Linear(4, 2, rng=r)), r.normal(size=(9, 4))
    model.buffers["0.0.running_mean"][0] = np.nan
    model.buffers["0.0.running_var"][1] = np.inf
    update_bn([x], AveragedModel(model).module)  # a copy: ours stays as it is
    assert np.isnan(model.buffers["0.0.running_mean"][0])
    update_bn([x], model)
    np.testing.assert_allclose(model.buffers["0.0.running_mean"], x.mean(axis=0))
    np.testing.assert_allclose(model.buffers["0.0.running_var"], x.var(axis=0, ddof=1))
    norm = InstanceNorm1d(3, track_running_stats=True)
    images = r.normal(size=(2, 6, 3, 5))
    update_bn(images, norm)
    means = images.mean(axis=(0, 1, 3))
    np.testing.assert_allclose(norm.buffers["running_mean"], means)
    update_bn([np.ones((2, 4))], Sequential(Linear(4, 2, rng=r), Sequential()))


def test_monte_carlo_reaches_every_depth():
    r = np.random.default_rng(0)
    model = Sequential(Sequential(), Sequential(Dropout(0.5, rng=r)), BatchNorm1d(4))
    model.layers[2].eval()
    modes = [layer.training for layer in model.named_layers().values()]
    outputs = monte_carlo(model, r.normal(size=(6, 4)), 5)
    assert outputs.var(axis=0).max() > 0
    assert modes == [layer.training for layer in model.named_layers().values()]
    with pytest.raises(TypeError):
        monte_carlo(model, np.zeros((2, 4)), 2.5)


def test_buffers_are_averaged_behind_a_counter_too_and_only_if_asked():
    """Two normalizations: the first one's counter stands between the floats."""
    r = np.random.default_rng(0)
    model = Sequential(BatchNorm1d(2), BatchNorm1d(2))
    asked, plain = AveragedModel(model, use_buffers=True), AveragedModel(model)
    means = r.normal(size=(3, 2, 2))
    for first, second in means:
        model.buffers["0.running_mean"][...] = first
        model.buffers["1.running_mean"][...] = second
        asked.update_parameters(model)
        plain.update_parameters(model)
    for k in (0, 1):
        name = f"module.{k}.running_mean"
        np.testing.assert_allclose(asked.buffers[name], means[:, k].mean(axis=0))
        np.testing.assert_array_equal(plain.buffers[name], means[-1, k])


def test_one_pass_is_a_sample_too():
    r = np.random.default_rng(0)
    model = Sequential(Linear(3, 2, rng=r), Dropout(0.5, rng=r))
    assert monte_carlo(model, np.ones((4, 3)), 1).shape == (1, 4, 2)
    with pytest.raises(ValueError, match="at least one pass"):
        monte_carlo(model, np.ones((4, 3)), 0)
