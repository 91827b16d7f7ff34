"""byhand.normalization against PyTorch and scikit-learn over shapes, dtypes and
arguments; running statistics; bad input.
"""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import preprocessing

from byhand import normalization as by
from byhand.backprop import Linear, Sequential, train
from byhand.initialization import SideBySide, stack
from byhand.checks import check_layer, relative_error
from byhand.losses import CrossEntropyLoss

quick = settings(max_examples=12)
SIZE = st.integers(4, 7)  # two values alone can only be shifted and stretched: their gradient is nothing but rounding
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
        (lambda: by.LayerNorm(3, eps=-1.0), "eps at least 0"),
        (lambda: by.BatchNorm1d(3, momentum=1.5), "momentum"),
        (lambda: by.GroupNorm(2, 3), "must divide"),
        (lambda: by.GroupNorm(0, 3), "must divide"),
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
