"""byhand.normalization against PyTorch and scikit-learn over shapes, dtypes and
arguments; running statistics; bad input.
"""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import datasets, preprocessing

from byhand import normalization as by
from byhand.backprop import Linear, Sequential, train
from byhand.checks import check_layer, relative_error
from byhand.experiments import SideBySide, stack
from byhand.losses import CrossEntropyLoss

quick = settings(max_examples=12)
# two values alone can only be shifted and stretched: their gradient is but rounding
SIZE = st.integers(4, 7)
MOMENTUM = st.sampled_from([0.1, 1.0, 0.0, None])
SPREAD = st.sampled_from([0.01, 1.0, 1e4])


def draw(seed, shape, spread=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(spread, spread, shape)


def stir(layer, seed=0):
    """The layer with parameters and statistics that hide no forgotten factor."""
    rng = np.random.default_rng(seed)
    for value in (layer.params | layer.buffers).values():
        if value.dtype.kind == "f":
            value += rng.uniform(0.2, 0.8, value.shape)
    return layer


@quick
@given(st.sampled_from(["BatchNorm1d", "BatchNorm2d", "InstanceNorm1d",
                        "InstanceNorm2d"]), SIZE, SIZE, MOMENTUM, st.booleans(),
       st.booleans(), st.booleans(), SPREAD)  # fmt: skip
def test_batch_and_instance_norm(name, n, channels, momentum, affine, tracks, training,
                                 spread):
    x = draw(n, (n, channels, 5) + (2,) * name.endswith("2d"), spread)
    arguments = {"momentum": momentum, "affine": affine, "track_running_stats": tracks}
    ours = stir(getattr(by, name)(channels, **arguments))
    theirs = getattr(torch.nn, name)(channels, **arguments)
    check_layer(ours.train() if training else ours.eval(), theirs.train(training), x,
                device="cpu", numerical=False)


@quick
@given(SIZE, SIZE, MOMENTUM, SPREAD)
def test_batch_norm_of_rows_and_its_gradient(n, channels, momentum, spread):
    ours, theirs = (stir(by.BatchNorm1d(channels, momentum=momentum)),
                    torch.nn.BatchNorm1d(channels, momentum=momentum))
    check_layer(ours, theirs, draw(n, (n, channels)), device="cpu")
    check_layer(ours, theirs, draw(n, (n, channels), spread), device="cpu",
                numerical=False)


@quick
@given(st.lists(SIZE, min_size=1, max_size=3), st.integers(1, 3), st.booleans(),
       st.booleans(), SPREAD)
def test_layer_and_rms_norm(shape, last, affine, bias, spread):
    last, x = tuple(shape[-last:]), draw(0, (3, *shape), spread)
    check_layer(stir(by.LayerNorm(last, elementwise_affine=affine, bias=bias)),
                torch.nn.LayerNorm(last, elementwise_affine=affine, bias=bias), x,
                device="cpu", numerical=False)  # fmt: skip
    check_layer(stir(by.RMSNorm(last, elementwise_affine=affine)),
                torch.nn.RMSNorm(last, elementwise_affine=affine), x, device="cpu",
                numerical=False)


@quick
@given(st.integers(1, 3), st.integers(2, 3), st.lists(st.integers(2, 4), max_size=2),
       st.booleans(), SPREAD)
def test_group_norm(groups, per_group, positions, affine, spread):
    channels = groups * per_group * 2
    ours, theirs = (by.GroupNorm(groups, channels, affine=affine),
                    torch.nn.GroupNorm(groups, channels, affine=affine))
    check_layer(stir(ours), theirs, draw(1, (4, channels, *positions), spread),
                device="cpu", numerical=False)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("name", ["BatchNorm1d", "InstanceNorm1d"])
def test_statistics_over_many_batches(name, momentum):
    arguments = {"momentum": momentum, "track_running_stats": True}
    ours, theirs = (getattr(by, name)(3, **arguments),
                    getattr(torch.nn, name)(3, **arguments).double())
    for step in range(20):
        x = draw(step, (2 + step % 5, 3, 4))
        y = theirs(torch.tensor(x)).detach().numpy()
        assert relative_error(ours.forward(x), y) < 1e-12
        if step == 10:
            ours.eval(), theirs.eval()
            before = copy.deepcopy(ours.buffers)
            assert (relative_error(ours.forward(x),
                                   theirs(torch.tensor(x)).detach().numpy()) < 1e-12)
            # evaluation remembers nothing
            assert all(np.array_equal(ours.buffers[key], before[key]) for key in before)
            ours.train(), theirs.train()
    for key, value in theirs.named_buffers():
        assert relative_error(ours.buffers[key], value.numpy()) < 1e-12
    assert ours.buffers["num_batches_tracked"].dtype == np.int64


def test_constant_features_far_from_zero_stay_constant():
    x = np.full((7, 2), 10000.1, np.float32)
    assert np.abs(by.BatchNorm1d(2, dtype=np.float32).forward(x)).max() == 0
    assert np.abs(by.LayerNorm(2, dtype=np.float32).forward(x)).max() == 0


def test_empty_batches():
    layer = by.BatchNorm1d(3)
    assert (layer.forward(np.zeros((0, 3))).shape == (0, 3)
            and layer.backward(np.zeros((0, 3))).shape == (0, 3))
    assert (layer.buffers["num_batches_tracked"] == 1
            and not layer.buffers["running_mean"].any())  # as in PyTorch
    for layer in (by.LayerNorm(3), by.RMSNorm(3), by.GroupNorm(1, 3)):
        assert layer.forward(np.zeros((0, 3))).shape == (0, 3)


@quick
@given(SIZE, SIZE, st.booleans(), st.booleans(),
       st.sampled_from([np.float64, np.float32]))
def test_folding(n_in, n_out, bias, affine, dtype):
    rng = np.random.default_rng(n_in)
    linear, norm = (Linear(n_in, n_out, bias, rng=rng, dtype=dtype),
                    stir(by.BatchNorm1d(n_out, affine=affine, dtype=dtype)).eval())
    x, before = (rng.normal(size=(5, n_in)).astype(dtype),
                 copy.deepcopy((linear.params, norm.params, norm.buffers)))
    folded = by.fold_batch_norm(linear, norm)
    assert folded.forward(x).dtype == dtype
    assert (relative_error(folded.forward(x), norm.forward(linear.forward(x)))
            < (1e-13 if dtype == np.float64 else 1e-5))
    assert (all(np.array_equal(a[key], b[key]) for a, b in zip(
        before, (linear.params, norm.params, norm.buffers)) for key in a))


@quick
@given(SIZE, SIZE, st.sampled_from(["MinMaxScaler", "StandardScaler", "RobustScaler"]),
       st.sampled_from([np.float64, np.float32]), st.booleans())
def test_scalers(n, d, name, dtype, constant):
    x, unseen = draw(n, (n, d)).astype(dtype), draw(d, (3, d)).astype(dtype)
    if constant:
        x[:, 0] = 3
    ours, theirs = getattr(by, name)().fit(x), getattr(preprocessing, name)().fit(x)
    kept, limit = unseen.copy(), 1e-12 if dtype == np.float64 else 2e-5
    assert ours.transform(unseen).dtype == dtype
    assert relative_error(ours.transform(unseen), theirs.transform(unseen)) < limit
    assert (relative_error(ours.inverse_transform(ours.transform(unseen)),
                           unseen) < limit)
    assert np.array_equal(unseen, kept)


@pytest.mark.parametrize("kind", ["pca", "zca"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_whitening(kind, dtype):
    x = (draw(0, (200, 5)) @ draw(1, (5, 5))).astype(dtype)
    white = by.Whitening(kind).fit_transform(x)
    assert white.dtype == dtype and np.abs(white.mean(axis=0)).max() < 1e-4
    assert (relative_error(np.cov(white, rowvar=False, bias=True),
                           np.eye(5)) < (1e-10 if dtype == np.float64 else 5e-3))
    with pytest.raises(ValueError, match="singular"):
        by.Whitening(kind).fit(x[:4])
    assert np.isfinite(by.Whitening(kind, eps=0.1).fit_transform(x[:4])).all()


def test_networks_side_by_side_are_networks_alone():
    x, y = draw(2, (20, 3, 4)), np.random.default_rng(3).integers(0, 5, (20, 3))
    alone = [Sequential(Linear(4, 5, rng=rng), by.BatchNorm1d(5))
             for rng in np.random.default_rng(0).spawn(3)]
    together = Sequential(*stack([Sequential(model.layers[0])
                                  for model in alone]).layers, by.StackedBatchNorm(15))
    losses = train(together, SideBySide(CrossEntropyLoss(reduction="sum")), x, y,
                   lr=0.1, epochs=2, batch_size=6, rng=np.random.default_rng(4))
    total = 0
    for g, model in enumerate(alone):
        total = total + train(model, CrossEntropyLoss(), np.ascontiguousarray(x[:, g]),
                              y[:, g], lr=0.1, epochs=2, batch_size=6,
                              rng=np.random.default_rng(4))
        part = slice(5 * g, 5 * g + 5)
        assert (relative_error(together.params["0.weight"][g],
                               model.params["0.weight"]) < 1e-12)
        assert (relative_error(together.params["1.weight"][part],
                               model.params["1.weight"]) < 1e-12)
        assert (relative_error(together.buffers["1.running_var"][part],
                               model.buffers["1.running_var"]) < 1e-12)
        evaluated = together.eval().forward(x)[:, g]
        assert (relative_error(
            evaluated, model.eval().forward(np.ascontiguousarray(x[:, g]))) < 1e-12)
    assert relative_error(losses, total) < 1e-12


@pytest.mark.parametrize("arguments", [
    {}, {"affine": False}, {"bias": False}, {"track_running_stats": False},
    {"affine": False, "track_running_stats": False}])
@pytest.mark.parametrize("training", [True, False])
def test_layers_stacked_are_layers_alone(arguments, training):
    alone = [stir(by.BatchNorm1d(4, eps=0.1, **arguments), seed) for seed in range(3)]
    for layer in alone:
        layer.train() if training else layer.eval()
    together, x = by.BatchNorm1d.stacked(alone), draw(0, (6, 3, 4))
    assert type(together) is by.StackedBatchNorm and together.training == training
    y = together.forward(x)
    dx = together.backward(y)
    for s, layer in enumerate(alone):
        own = layer.forward(np.ascontiguousarray(x[:, s]))
        assert relative_error(y[:, s], own) < 1e-12
        assert relative_error(dx[:, s], layer.backward(own)) < 1e-12
        for name, value in layer.buffers.items():
            kept = together.buffers[name]
            assert relative_error(kept.reshape(3, 4)[s] if kept.ndim else kept,
                                  value) < 1e-12
    for wrong in ([by.BatchNorm1d(4), by.BatchNorm1d(4, eps=0.1)],
                  [by.BatchNorm1d(4), by.BatchNorm1d(3)],
                  [by.InstanceNorm1d(4), by.InstanceNorm1d(4)]):
        with pytest.raises(ValueError, match="that agree in all settings"):
            type(wrong[0]).stacked(wrong)


@pytest.mark.parametrize("kind", [by.LayerNorm, by.RMSNorm])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norms_stacked_are_layers_alone(kind, affine):
    alone = [stir(kind(4, elementwise_affine=affine), seed) for seed in range(3)]
    together, x = stack([Sequential(layer) for layer in alone]), draw(0, (6, 3, 4))
    y = together.forward(x)
    dx = together.backward(y)
    for s, layer in enumerate(alone):
        own = layer.forward(np.ascontiguousarray(x[:, s]))
        assert relative_error(y[:, s], own) < 1e-12
        assert relative_error(dx[:, s], layer.backward(own)) < 1e-12
        for name, gradient in layer.grads.items():
            assert relative_error(together.grads[f"0.{name}"][s], gradient) < 1e-12
    only = stack([Sequential(alone[0])]).forward(x[:, :1].copy())
    assert relative_error(only, y[:, :1]) < 1e-12
    if affine:
        with pytest.raises(ValueError, match="x must have the shape"):
            together.forward(x[:, :2].copy())
    for wrong in ([kind(4), kind(4, eps=0.1)], [kind(4), kind(3)],
                  [by.LayerNorm(4), by.RMSNorm(4)]):
        with pytest.raises(ValueError, match="that agree in kind"):
            kind.stacked(wrong)


def test_scalers_only_shift_features_that_are_constant_but_for_round_off():
    for dtype in (np.float32, np.float64):
        x = np.column_stack([np.full(10, 0.1), np.full(10, 1e8 + 0.3),
                             np.arange(10)]).astype(dtype)
        for scaler in (by.StandardScaler(), by.MinMaxScaler(), by.RobustScaler()):
            scaled = scaler.fit_transform(x)
            assert scaled.dtype == dtype and np.abs(scaled[:, :2]).max() < 1e-6
            assert np.array_equal(scaler.scale_[:2], np.ones(2))


def test_float32_scaler_keeps_the_mean_of_a_large_feature():
    x = (1e4 + draw(5, (100000, 1))).astype(np.float32)
    assert abs(by.StandardScaler().fit_transform(x).astype(np.float64).std() - 1) < 1e-3


@pytest.mark.parametrize(
    ["layer", "x", "error", "message"],
    [
        (by.BatchNorm1d(3), np.ones((1, 3)), ValueError,
         "more than one value per feature"),
        (by.BatchNorm1d(3, track_running_stats=False).eval(), np.ones((1, 3)),
         ValueError, "more than one value"),
        (by.BatchNorm1d(3, eps=0.0), np.ones((4, 3)), ValueError, "eps above 0"),
        (by.BatchNorm1d(3), np.ones((4, 2)), ValueError,
         r"\(N, 3, ...\) with 2 or 3 axes, got \(4, 2\)"),
        (by.BatchNorm1d(3), np.ones((4, 3, 2, 2)), ValueError, "2 or 3 axes"),
        (by.BatchNorm2d(3), np.ones((4, 3)), ValueError, "4 axes"),
        (by.BatchNorm1d(3), np.ones((4, 3), np.float32), TypeError,
         "float64 like the layer, got float32"),
        (by.BatchNorm1d(3), np.ones((4, 3), int), TypeError, "got int64"),
        (by.InstanceNorm1d(3), np.ones((4, 3, 1)), ValueError, "more than one value"),
        (by.InstanceNorm2d(3), np.ones((3, 4, 4)), ValueError, "4 axes"),
        (by.LayerNorm((2, 3)), np.ones((4, 3)), ValueError,
         r"\(..., 2, 3\), got \(4, 3\)"),
        (by.RMSNorm(3), np.ones((4, 2)), ValueError, r"\(..., 3\)"),
        (by.GroupNorm(2, 4), np.ones((4, 3)), ValueError, r"\(N, 4, ...\)"),
        (by.GroupNorm(4, 4), np.ones((1, 4)), ValueError, "more than one value"),
        (by.StackedBatchNorm(6), np.ones((4, 6)), ValueError, "must have the shape"),
        (by.StackedBatchNorm(6), np.ones((4, 2, 2)), ValueError, r"\(N, 6, ...\)"),
    ],
)
def test_layers_refuse(layer, x, error, message):
    with pytest.raises(error, match=message):
        layer.forward(x)


@pytest.mark.parametrize(
    ["make", "message"],
    [
        (lambda: by.BatchNorm1d(0), "at least 1"),
        (lambda: by.LayerNorm(()), "at least 1"),
        (lambda: by.LayerNorm(3, eps=-1.0), "eps must be finite and at least 0"),
        (lambda: by.BatchNorm1d(3, momentum=1.5), "momentum"),
        (lambda: by.GroupNorm(2, 3), "must divide"),
        (lambda: by.GroupNorm(0, 3), "must divide"),
        (lambda: by.GroupNorm(1.5, 6), "must divide"),
        (lambda: by.BatchNorm1d(1.5), "integers of at least 1"),
        (lambda: by.StandardScaler().fit(np.ones((3, 0))), "example and feature"),
        (lambda: by.Whitening().fit(np.ones((9, 0))), "example and feature"),
        (lambda: by.standardize(np.array(1.0), (0,)), "must have the axes"),
        (lambda: by.standardize_backward(np.ones((2, 3)), np.ones((3, 2)), 1, (0,)),
         "dy must have the shape"),
        (lambda: by.Whitening().transform(np.ones((2, 2))), "call fit"),
        (lambda: by.Whitening("cholesky"), "kind must be"),
        (lambda: by.MinMaxScaler().transform(np.ones((2, 2))), "call fit"),
        (lambda: by.StandardScaler().fit(np.ones((0, 2))), "at least one example"),
        (lambda: by.StandardScaler().fit(np.ones((3, 2))).transform(np.ones((3, 4))),
         r"\(N, 2\)"),
        (lambda: by.fold_batch_norm(Linear(2, 3, rng=np.random.default_rng(0)),
                                    by.BatchNorm1d(2)), "of 3 features"),
        (lambda: by.fold_batch_norm(Linear(2, 3, rng=np.random.default_rng(
            0)), by.BatchNorm1d(3, track_running_stats=False)), "running statistics"),
        (lambda: by.Whitening().fit(np.ones((0, 2))), "at least one example"),
        (lambda: by.Whitening("zca").fit(np.column_stack(
            [np.random.default_rng(0).normal(size=(50, 2)), np.full(50, 1e8 / 3)])),
         "singular"),
    ],
)
def test_values_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_upstream_gradients_must_fit():
    layer = by.BatchNorm1d(3)
    y = layer.forward(draw(0, (4, 3)))
    with pytest.raises(ValueError, match="dy must have the shape"):
        layer.backward(y[:, :1])
    with pytest.raises(AttributeError, match="call forward before backward"):
        by.LayerNorm(3).backward(y)


# Kinds of faults


@pytest.mark.parametrize("size", [1e20, 1e-21, 1e-25])
def test_squares_neither_overflow_nor_vanish(size):
    x = draw(0, (6, 4))
    for dtype, factor in ((np.float32, size), (np.float64, float(size) ** 9)):
        large = (x * factor).astype(dtype)
        with np.errstate(all="raise"):
            for layer in (by.LayerNorm(4, eps=0.0, dtype=dtype),
                          by.RMSNorm(4, eps=0.0, dtype=dtype),
                          by.GroupNorm(2, 4, eps=0.0, dtype=dtype),
                          by.BatchNorm1d(4, eps=1e-99, track_running_stats=False,
                                         dtype=dtype)):
                if isinstance(layer, by.BatchNorm1d) and size < 1:
                    continue  # its eps must be above 0
                expected = copy.deepcopy(layer).forward(x.astype(dtype))
                assert relative_error(layer.forward(large), expected) < 1e-5
                assert np.isfinite(layer.backward(np.ones_like(large))).all()
            scaled = by.StandardScaler().fit_transform(large)
            white = by.Whitening().fit_transform(large)
        assert relative_error(white, by.Whitening().fit_transform(x)) < 1e-5
        assert relative_error(scaled, by.StandardScaler().fit_transform(x)) < 1e-5


@pytest.mark.parametrize("kind", [by.LayerNorm, by.RMSNorm])
def test_examples_of_very_different_sizes(kind):
    """Each is normalized by its own size, whatever stands beside it."""
    x, sizes = draw(0, (3, 4)), np.array([[1e200], [1], [1e-200]])
    layer = kind(4, eps=0.0)
    assert relative_error(layer.forward(x * sizes), layer.forward(x)) < 1e-12


def test_whitening_that_refuses_keeps_its_fit():
    white, x = by.Whitening(), draw(0, (20, 3))
    before = white.fit(x).transform(x)
    with pytest.raises(ValueError, match="singular"):
        white.fit(x[:1])
    assert np.array_equal(white.transform(x), before)


@pytest.mark.parametrize("dtype", [int, np.float16])
def test_only_float_parameters(dtype):
    for make in (by.BatchNorm1d, by.LayerNorm, by.RMSNorm):
        with pytest.raises(TypeError, match="dtype must be float32 or float64"):
            make(3, dtype=dtype)


def test_a_variance_that_the_running_one_cannot_hold_is_refused():
    layer, x = by.BatchNorm1d(3, dtype=np.float32), draw(0, (6, 3)).astype(np.float32)
    layer.forward(x)
    before = copy.deepcopy(layer.buffers)
    with pytest.raises(ValueError, match="overflows the running variance"):
        layer.forward(x * np.float32(1e25))
    assert all(np.array_equal(layer.buffers[key], before[key]) for key in before)


@pytest.mark.parametrize(
    ["layer", "x", "wrong"],
    [
        (by.BatchNorm1d(3), draw(0, (4, 3)), draw(0, (1, 3))),
        (by.BatchNorm1d(3), draw(0, (4, 3)), draw(0, (1, 3, 1))),
        (by.BatchNorm2d(3), draw(0, (4, 3, 2, 2)), draw(0, (1, 3, 1, 1))),
        (by.InstanceNorm1d(3), draw(0, (4, 3, 5)), draw(0, (4, 3, 1))),
        (by.LayerNorm(3), draw(0, (4, 3)), draw(0, (4, 2))),
        (by.RMSNorm(3), draw(0, (4, 3)), draw(0, (4, 2))),
        (by.GroupNorm(3, 3), draw(0, (4, 3)), draw(0, (1, 3))),
        (by.StackedBatchNorm(6), draw(0, (4, 2, 3)), draw(0, (1, 2, 3))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refused_forward_leaves_the_last_one_valid(layer, x, wrong):
    other = copy.deepcopy(layer)
    dy = draw(1, x.shape)
    layer.forward(x), other.forward(x)
    with pytest.raises(ValueError):
        layer.forward(wrong)
    assert np.array_equal(layer.backward(dy), other.backward(dy))
    with pytest.raises(ValueError):
        layer.backward(dy[:2])
    assert all(np.array_equal(layer.grads[key], other.grads[key])
               for key in other.grads)
    assert all(np.array_equal(layer.buffers[key], other.buffers[key])
               for key in other.buffers)


@pytest.mark.parametrize("make", [by.MinMaxScaler, by.StandardScaler, by.RobustScaler,
                                  by.Whitening])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scalers_refuse_what_is_not_finite_and_stay_as_they_were(make, bad):
    x = draw(0, (20, 3))
    scaler = make().fit(x)
    before = scaler.transform(x)
    wrong = x.copy()
    wrong[4, 1] = bad
    with pytest.raises(ValueError, match=r"must be finite.* \[1\]"):
        scaler.fit(wrong)
    assert np.array_equal(scaler.transform(x), before)
    with pytest.raises(ValueError, match="overflow"):
        by.MinMaxScaler().fit(np.array([[-1e308], [1e308]]))


def test_round_off_is_no_spread():
    x = np.array([[0.3], [0.1 + 0.2], [0.3], [0.3]])
    for scaler in (by.StandardScaler(), by.MinMaxScaler(), by.RobustScaler()):
        assert np.abs(scaler.fit_transform(x)).max() < 1e-15
    assert np.abs(preprocessing.StandardScaler().fit_transform(x)).max() < 1e-15
    # but a small spread is one
    small = 1e-30 * draw(0, (9, 2))
    for scaler in (by.StandardScaler(), by.MinMaxScaler(), by.RobustScaler()):
        assert relative_error(scaler.fit_transform(small),
                              scaler.fit_transform(small * 1e30)) < 1e-12


def test_statistics_are_as_accurate_as_the_numbers():
    x = (1e4 + draw(0, (100_000, 3), 1.0) - 1).astype(np.float32)
    exact = x.astype(np.float64)
    for scaled in (by.StandardScaler().fit_transform(x),
                   by.Whitening().fit_transform(x)):
        moments = scaled.astype(np.float64)
        assert scaled.dtype == np.float32
        assert np.abs(moments.mean(axis=0)).max() < 1e-6
        assert np.abs(moments.var(axis=0) - 1).max() < 1e-6
    layer = by.BatchNorm1d(3, momentum=1.0, dtype=np.float32)
    layer.forward(x)
    assert relative_error(layer.buffers["running_mean"], exact.mean(axis=0)) < 2e-7
    assert relative_error(layer.buffers["running_var"],
                          exact.var(axis=0, ddof=1)) < 2e-6


def test_whitening_of_nearly_dependent_features():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6))
    x[:, 5] = x[:, 4] + 1e-7 * x[:, 5]
    for kind in ("pca", "zca"):
        white = by.Whitening(kind).fit_transform(x)
        assert np.abs(white.T @ white / 400 - np.eye(6)).max() < 1e-7
    units = np.column_stack([x[:, 0], 1e-8 * x[:, 1]])
    white = by.Whitening().fit_transform(units)
    assert np.abs(white.T @ white / 400 - np.eye(2)).max() < 1e-12
    x[:, 5] = x[:, 4] + 1e-4 * x[:, 3]  # nothing of its own
    with pytest.raises(ValueError, match="singular"):
        by.Whitening().fit(x)
    pca = by.Whitening("pca").fit(draw(0, (50, 3)) * [1, 100, 10])
    # from the largest variance to the smallest
    assert np.abs(pca.matrix_).argmax(axis=0).tolist() == [1, 2, 0]
    wine = datasets.load_wine().data
    assert relative_error(by.Whitening().fit_transform(wine.astype(np.float32)),
                          by.Whitening().fit_transform(wine)) < 1e-3
    assert by.Whitening(eps=0.1).fit_transform(x[:4]).shape == (4, 6)


@pytest.mark.parametrize("name", ["BatchNorm1d", "InstanceNorm1d", "GroupNorm"])
def test_scale_without_shift(name):
    arguments = (2, 4) if name == "GroupNorm" else (4,)
    ours = getattr(by, name)(*arguments, affine=True, bias=False)
    theirs = getattr(torch.nn, name)(*arguments, affine=True, bias=False)
    check_layer(stir(ours), theirs, draw(0, (5, 4, 3)), device="cpu")


def test_instance_norm_without_eps():
    check_layer(by.InstanceNorm1d(3, eps=0.0), torch.nn.InstanceNorm1d(3, eps=0.0),
                draw(0, (4, 3, 5)), device="cpu")


@pytest.mark.parametrize(
    ["linear", "norm", "error", "message"],
    [
        (np.float32, by.BatchNorm1d(3), TypeError, "float32 like linear, got float64"),
        (np.float64, by.LayerNorm(3), TypeError, "expected a Linear and a BatchNorm1d"),
        (np.float64, by.InstanceNorm1d(3, track_running_stats=True), TypeError,
         "got Linear and InstanceNorm1d"),
        (np.float64, by.BatchNorm2d(3), TypeError, "got Linear and BatchNorm2d"),
        (np.float64, by.BatchNorm1d(3, eps=0.0), ValueError, "positive and finite"),
    ],
)
def test_folding_refuses(linear, norm, error, message):
    if norm.buffers:
        norm.buffers["running_var"][1] = 0
    before = Linear(2, 3, rng=np.random.default_rng(0), dtype=linear)
    with pytest.raises(error, match=message):
        by.fold_batch_norm(before, norm)


@pytest.mark.parametrize("eps", [-1.0, np.nan, np.inf])
def test_eps_must_be_finite_and_not_negative(eps):
    for make in (by.BatchNorm1d, by.LayerNorm, by.RMSNorm, by.InstanceNorm2d):
        with pytest.raises(ValueError, match="eps must be finite"):
            make(3, eps)
    with pytest.raises(ValueError, match="eps must be"):
        by.Whitening(eps=eps)


@pytest.mark.parametrize("n", [2, 15, 16, 17, 100, 257])
def test_sums_over_rows_whatever_their_number(n):
    x, dy = draw(n, (n, 3)), draw(n + 1, (n, 3))
    layer = by.BatchNorm1d(3)
    y = layer.forward(x)
    dx = layer.backward(dy)
    wide = by.BatchNorm1d(3)  # three axes take another way to the same sums
    assert relative_error(wide.forward(x[:, :, None]), y[:, :, None]) < 1e-12
    assert relative_error(wide.backward(dy[:, :, None]), dx[:, :, None]) < 1e-11
    assert all(relative_error(wide.grads[key], layer.grads[key]) < 1e-12
               for key in layer.grads)
    constant = np.full((n, 2), 10000.1, np.float32)
    assert not by.BatchNorm1d(2, dtype=np.float32).forward(constant).any()


@pytest.mark.parametrize("shape", [(5, 1), (3,), (5, 4), (2, 5, 3)])
@pytest.mark.parametrize("make", [by.Whitening, by.StandardScaler, by.MinMaxScaler])
def test_what_was_fitted_to_three_features_takes_three(make, shape):
    """One feature would be broadcast to three, and a row taken for a table."""
    fitted = make().fit(draw(0, (8, 3)))
    with pytest.raises(ValueError, match="x must have the shape"):
        fitted.transform(np.ones(shape))


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 1e6])
def test_folding_at_any_variance(size):
    norm, linear = stir(by.BatchNorm1d(2)).eval(), Linear(
        3, 2, rng=np.random.default_rng(0))
    norm.buffers["running_var"][...] = size * np.array([1.0, 2.0])
    x = draw(0, (5, 3))
    np.testing.assert_allclose(by.fold_batch_norm(linear, norm).forward(x),
                               norm.forward(linear.forward(x)), rtol=1e-9)
