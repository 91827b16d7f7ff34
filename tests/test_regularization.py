"""byhand.regularization against PyTorch over shapes, dtypes and arguments; oracles
where PyTorch has none; bad input.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from byhand import regularization as by
from byhand.backprop import Linear, ReLU, Sequential
from byhand.checks import check_layer, relative_error
from byhand.convolution import Residual
from byhand.experiments import stack
from byhand.lab import digits

quick = settings(max_examples=15)
SIZE = st.integers(1, 5)
SHAPE = st.lists(SIZE, min_size=1, max_size=4).map(tuple)
P = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])
SEED = st.integers(0, 1000)
DTYPE = st.sampled_from([np.float32, np.float64])
SPREAD = st.sampled_from([1.0, 1e4, 1e-4])


def generator(seed=0):
    return np.random.default_rng(seed)


def draw(seed, shape, spread=1.0, dtype=np.float64):
    return (spread * generator(seed).normal(size=shape)).astype(dtype)


def masked(p):
    return lambda x, mask: x * mask / (1 - p) if p < 1 else x * 0


@quick
@given(P, SHAPE, SEED, SPREAD)
def test_dropout(p, shape, seed, spread):
    x = draw(seed, shape, spread)
    check_layer(by.Dropout(p, rng=generator(seed)), masked(p), x, device="cpu",
                numerical=False)
    check_layer(by.Dropout(p, rng=generator(seed)).eval(), torch.nn.Dropout(p).eval(),
                x, device="cpu", numerical=False)


@quick
@given(P, st.sampled_from(["row", "batch"]), SHAPE, SEED)
def test_stochastic_depth(p, mode, shape, seed):
    layer = by.StochasticDepth(p, mode, rng=generator(seed))
    check_layer(layer, masked(p), draw(seed, shape), device="cpu", numerical=False)
    layer.forward(draw(seed, shape))
    assert (layer.mask.shape == (shape[0] if mode == "row" else 1,
                                 ) + (1,) * (len(shape) - 1))


@quick
# a sum of one or two terms may cancel
@given(P, st.integers(3, 6), st.integers(3, 6), st.integers(3, 6), st.booleans(), SEED)
def test_dropconnect(p, n, inputs, outputs, bias, seed):
    layer, x = (by.DropConnect(inputs, outputs, p, bias, rng=generator(seed)),
                draw(seed, (n, inputs)))

    def theirs(x, weight, mask, bias=None):
        kept = weight * mask / (1 - p) if p < 1 else weight * mask * 0
        y = torch.einsum("noi,ni->no", kept, x)
        return y if bias is None else y + bias

    check_layer(layer, theirs, x, device="cpu")
    check_layer(layer.eval(), torch.nn.Linear(inputs, outputs, bias), x, device="cpu",
                numerical=False)


def test_moments_of_dropconnect_are_those_of_all_masks():
    layer, x = by.DropConnect(3, 1, 0.3, rng=generator()), draw(1, (1, 3))
    masks = (np.arange(8)[:, None] >> np.arange(3)) & 1
    weights = np.prod(np.where(masks, 0.7, 0.3), axis=1)
    outputs = (masks / 0.7 * layer.params["weight"]) @ x[0] + layer.params["bias"]
    mean = weights @ outputs
    ours = layer.moments(x)
    assert np.allclose([ours[0].item(), ours[1].item()],
                       [mean, weights @ (outputs - mean) ** 2], rtol=1e-12)


@quick
@given(st.floats(0, 10), SHAPE, SEED)
def test_noise(std, shape, seed):
    layer = by.GaussianNoise(std, rng=generator(seed))
    check_layer(layer, lambda x, mask: x + mask, draw(seed, shape), device="cpu",
                numerical=False)
    check_layer(layer.eval(), torch.nn.Identity(), draw(seed, shape), device="cpu",
                numerical=False)


@pytest.mark.parametrize("layer", [by.Dropout(0.25, rng=generator()),
                                   by.StochasticDepth(0.25, rng=generator())])
def test_the_share_that_is_dropped_is_p(layer):
    layer.forward(np.ones((100000, 1)))
    assert abs(layer.mask.mean() - 0.75) < 0.01
    first = layer.mask
    layer.forward(np.ones((100000, 1)))
    assert not np.array_equal(first, layer.mask)


def test_dropout_is_carried_by_a_stack():
    rng = generator()
    models = [Sequential(Linear(4, 50, rng=rng), ReLU(), by.Dropout(0.5, rng=rng),
                         Linear(50, 2, rng=rng)) for _ in range(3)]
    together = stack(models)
    together.forward(draw(0, (6, 3, 4)))
    mask = together.layers[2].mask
    assert mask.shape == (6, 3, 50)
    assert not np.array_equal(mask[:, 0], mask[:, 1])


@pytest.mark.parametrize("within", [
    lambda layer: layer, Residual, lambda layer: Residual(Sequential(ReLU(), layer))])
def test_models_that_would_share_their_masks_cannot_be_stacked(within):
    """One mask for each example would be one for all models, also inside a layer."""
    models = [Sequential(within(by.StochasticDepth(0.5, rng=generator(s))))
              for s in range(2)]
    with pytest.raises(ValueError, match="would share the masks"):
        stack(models)


@quick
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.data())
def test_fractional_pooling(n, channels, kernel, data):
    height, width = (data.draw(st.integers(kernel, kernel + 8)) for _ in range(2))
    size = tuple(data.draw(st.integers(1, length - kernel + 1))
                 for length in (height, width))
    x = draw(n, (n, channels, height, width))
    layer = by.FractionalMaxPool2d(kernel, size, rng=generator(height))

    def theirs(x, mask):
        return F.fractional_max_pool2d(x, kernel, size, _random_samples=mask)

    check_layer(layer, theirs, x, device="cpu")
    ties = np.round(x)  # the first of equal entries gets the gradient
    check_layer(layer, theirs, ties, device="cpu", numerical=False)
    random = by.FractionalMaxPool2d(kernel, size, regions="random",
                                    rng=generator(width))
    y = random.forward(x)
    top, left = np.split(random.mask, [size[0]], axis=-1)
    for place in np.ndindex(y.shape):
        r, c = top[place[:2]][place[2]], left[place[:2]][place[3]]
        assert y[place] == x[place[:2]][r : r + kernel, c : c + kernel].max()
    assert random.backward(np.ones_like(y)).sum() == y.size


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 15), SEED)
def test_windows_move_by_the_stride_rounded_either_way_and_end_with_the_input(
    n_out, kernel, room, seed):
    n_in = n_out + kernel - 1 + room
    starts = by.pooling_starts(n_in, n_out, kernel, generator(seed).random(20))
    assert np.all(starts[:, -1] == n_in - kernel)
    if n_out > 1:
        stride = (n_in - kernel) / (n_out - 1)
        assert (np.all(starts[:, 0] == 0) and set(np.diff(starts).ravel())
                <= {int(np.floor(stride)), int(np.ceil(stride))})


@pytest.mark.parametrize("ratio", [0.7, (0.5, 0.8)])
def test_an_output_ratio_is_rounded_down(ratio):
    ours = by.FractionalMaxPool2d((2, 1), output_ratio=ratio,
                                  rng=generator()).forward(draw(0, (1, 1, 9, 11)))
    theirs = torch.nn.FractionalMaxPool2d((2, 1),
                                          output_ratio=ratio)(torch.zeros(1, 1, 9, 11))
    assert ours.shape == tuple(theirs.shape)


@quick
@given(hnp.array_shapes(min_dims=2, max_dims=2), SEED, DTYPE,
       st.sampled_from([0.5, 2.0, 100.0]))
def test_max_norm_and_soft_threshold(shape, seed, dtype, limit):
    weight = draw(seed, shape, dtype=dtype)
    before, tensor = weight.copy(), torch.tensor(weight)
    # torch.renorm adds 1e-7 to the length
    scaled = torch.where(tensor.norm(dim=1, keepdim=True) > limit,
                         limit * F.normalize(tensor, dim=1), tensor)
    assert relative_error(scaled.numpy(),
                          torch.renorm(tensor, 2, 0, limit).numpy()) < 1e-6
    pairs = [
        (by.max_norm(weight, limit), scaled),
        (by.soft_threshold(weight, limit), F.softshrink(torch.tensor(weight), limit))]
    for ours, theirs in pairs:
        assert (ours.dtype == dtype
                and relative_error(ours, theirs.numpy()) < 16 * np.finfo(dtype).eps)
    assert np.array_equal(weight, before)


def test_max_norm_of_stacked_weights_is_that_of_each():
    weight = draw(0, (3, 5, 7))
    assert np.array_equal(by.max_norm(weight, 2.0)[1], by.max_norm(weight[1], 2.0))
    assert np.linalg.norm(by.max_norm(weight, 2.0), axis=-1).max() <= 2 + 1e-15


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, float("nan")]), min_size=1,
                max_size=12), st.integers(1, 4), st.sampled_from([0.0, 0.75]))
def test_early_stopping_stops_after_patience_steps_without_improvement(
    losses, patience, min_delta):
    stopper = by.EarlyStopping(patience, min_delta)
    best, best_step, waited = np.inf, None, 0
    for step, loss in enumerate(losses):
        if loss < best - min_delta:
            best, best_step, waited = loss, step, 0
        else:
            waited += 1
        assert stopper.step(loss) == (waited >= patience)
        assert (stopper.best_loss, stopper.best_step) == (best, best_step)


def test_early_stopping_keeps_a_copy_of_the_best_state():
    model, stopper = Linear(2, 2, rng=generator()), by.EarlyStopping(3)
    stopper.step(1.0, model)
    best = model.params["weight"].copy()
    model.params["weight"] += 1
    stopper.step(2.0, model)
    stopper.restore(model)
    assert np.array_equal(model.params["weight"], best)
    with pytest.raises(ValueError, match="give step the model"):
        by.EarlyStopping(1).restore(model)


@given(st.integers(1, 60), st.integers(1, 3), st.floats(0, 1), SEED)
def test_noisy_labels_redraw_the_share_of_each_column(n, columns, fraction, seed):
    class Others:  # draws the last class only, and so tells which labels it drew
        def __init__(self):
            self.random = generator(seed).random

        def integers(self, classes, size):
            return np.full(size, classes - 1)

    y = np.zeros((n, columns), int)
    noisy = by.noisy_labels(y, fraction, Others(), classes=3)
    assert np.array_equal((noisy == 2).sum(axis=0), [round(fraction * n)] * columns)
    assert not y.any() and noisy.dtype == y.dtype
    noisy = by.noisy_labels(y, fraction, generator(seed), classes=3)
    assert set(noisy.ravel()) <= {0, 1, 2}


def test_datasets_side_by_side():
    parts = [digits(s, n_train=20, n_test=30) for s in range(3)]
    together = by.side_by_side(parts)
    assert together.x_train.shape == (20, 3, 64) and together.y_test.shape == (30, 3)
    assert (np.array_equal(together.x_test[:, 1], parts[1].x_test)
            and np.array_equal(together.y_train[:, 2], parts[2].y_train))
    with pytest.raises(ValueError, match="at least one"):
        by.side_by_side([])


IMAGES = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(2, 7),
                   st.integers(2, 7))


@quick
@given(IMAGES, st.integers(-8, 8), st.integers(-8, 8), SEED, DTYPE)
def test_shift_flip_and_brightness(shape, dy, dx, seed, dtype):
    images = generator(seed).random(shape).astype(dtype)
    tensor = torch.tensor(images)
    padded = F.pad(tensor, (8, 8, 8, 8))[..., 8 - dy : 8 - dy + shape[2],
                                         8 - dx : 8 - dx + shape[3]]
    for ours, theirs in ((by.shift(images, dy, dx), padded),
                         (by.flip(images), tensor.flip(-1)),
                         (by.flip(images, -2), tensor.flip(-2)),
                         # fmt: skip
                         (by.brightness(images, 1.5), (tensor * 1.5).clamp(0, 1))):
        assert ours.dtype == dtype and np.array_equal(ours, theirs.numpy())
    assert np.array_equal(by.shift(images, np.full(shape[0], dy), 0),
                          by.shift(images, dy, 0))


@quick
@given(st.integers(1, 4), st.integers(2, 9), SEED, DTYPE)
def test_rotate(n, size, seed, dtype):
    images, degrees = (generator(seed).random((n, 2, size, size)).astype(dtype),
                       generator(seed).uniform(-180, 180, n))
    angle = torch.tensor(np.deg2rad(degrees))
    cos, sin, zero = (torch.cos(angle), torch.sin(angle),
                      torch.zeros(n, dtype=torch.float64))
    theta = torch.stack([torch.stack([cos, -sin, zero], 1),
                         torch.stack([sin, cos, zero], 1)], 1)
    grid = F.affine_grid(theta, images.shape, align_corners=False)
    theirs = F.grid_sample(torch.tensor(images).double(), grid, align_corners=False)
    ours = by.rotate(images, degrees)
    assert (ours.dtype == dtype and relative_error(ours, theirs.numpy())
            < (1e-11 if dtype == np.float64 else 1e-5))


def test_a_quarter_turn_is_counter_clockwise():
    images = generator().random((2, 4, 5))
    assert np.allclose(by.rotate(images[:, :, :4], 90.0),
                       np.rot90(images[:, :, :4], axes=(1, 2)))
    assert np.allclose(by.rotate(images, 180.0), images[:, ::-1, ::-1])


@given(IMAGES, st.integers(1, 4), st.integers(0, 3), SEED)
def test_crop_cuts_a_window_out_of_the_padded_image(shape, size, padding, seed):
    size = min(size, min(shape[2:]))
    images = 1 + generator(seed).random(shape)
    padded = np.pad(images, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, (size, size), axis=(2, 3))
    for image, choices in zip(by.crop(images, size, generator(seed), padding), windows):
        assert np.any(np.all(choices == image[:, None, None], axis=(0, 3, 4)))


@given(IMAGES, st.integers(1, 5), SEED)
def test_cutout_hides_one_square(shape, size, seed):
    hidden = by.cutout(np.ones(shape), size, generator(seed)) == 0
    for image in hidden:
        assert np.all(image == image[0])
        rows, columns = (np.flatnonzero(image[0].any(axis=axis)) for axis in (1, 0))
        assert 1 <= len(rows) <= size and 1 <= len(columns) <= size
        assert image[0].sum() == len(rows) * len(columns)


@given(st.integers(1, 8), st.sampled_from([0.2, 1.0]), SEED, DTYPE)
def test_mixup_blends_inputs_and_targets_alike(n, alpha, seed, dtype):
    target = np.eye(n, dtype=dtype)
    x, mixed = by.mixup(target[:, :, None] * 3, target, alpha, generator(seed))
    assert x.dtype == mixed.dtype == dtype
    assert (np.allclose(x[:, :, 0], 3 * mixed, rtol=1e-6)
            and np.allclose(mixed.sum(axis=1), 1, rtol=1e-6))
    assert np.all((mixed > 0).sum(axis=1) <= 2) and mixed.min() >= 0


RNG = generator()


@pytest.mark.parametrize(
    ["make", "error", "message"],
    [
        (lambda: by.Dropout(1.5, rng=RNG), ValueError,
         "probability to drop, must lie in"),
        (lambda: by.Dropout(float("nan"), rng=RNG), ValueError, "must lie in"),
        (lambda: by.StochasticDepth(0.5, "column", rng=RNG), ValueError,
         '"row" or "batch"'),
        (lambda: by.DropConnect(2, 2, -0.1, rng=RNG), ValueError, "must lie in"),
        (lambda: by.DropConnect(2, 2, 1.0, rng=RNG).moments(np.ones((1, 2))),
         ValueError, "does not vary"),
        (lambda: by.DropConnect(2, 2, rng=RNG).forward(np.ones((1, 3))), ValueError,
         r"\(N, 2\)"),
        (lambda: by.GaussianNoise(-1.0, rng=RNG), ValueError, "at least 0"),
        (lambda: by.Dropout(rng=RNG).forward(np.ones(3, int)), TypeError, "got int64"),
        (lambda: by.Dropout(rng=RNG).backward(np.ones(3)), AttributeError,
         "call forward before backward"),
        (lambda: by.FractionalMaxPool2d(2, rng=RNG), ValueError,
         "either output_size or output_ratio"),
        (lambda: by.FractionalMaxPool2d(2, 3, 0.5, rng=RNG), ValueError,
         "either output_size or output_ratio"),
        (lambda: by.FractionalMaxPool2d(2, output_ratio=1.0, rng=RNG), ValueError,
         "between 0 and 1"),
        (lambda: by.FractionalMaxPool2d(2, 3, regions="even", rng=RNG), ValueError,
         "regions must be"),
        (lambda: by.FractionalMaxPool2d(2, (1, 2, 3), rng=RNG), ValueError,
         "one number or two"),
        (lambda: by.FractionalMaxPool2d(2.5, 3, rng=RNG), TypeError, "float"),
        (lambda: by.FractionalMaxPool2d(2, 8, rng=RNG).forward(np.ones((1, 1, 8, 8))),
         ValueError, "do not fit"),
        (lambda: by.FractionalMaxPool2d(2, 3, rng=RNG).forward(np.ones((8, 8))),
         ValueError, r"\(N, N, N, N\)"),
        (lambda: by.max_norm(np.ones((2, 2)), 0), ValueError, "limit must be positive"),
        (lambda: by.soft_threshold(np.ones(2), -1), ValueError, "must not be negative"),
        (lambda: by.EarlyStopping(0), ValueError, "patience must be at least 1"),
        (lambda: by.EarlyStopping(float("nan")), ValueError,
         "patience must be at least 1"),
        (lambda: by.EarlyStopping(1, -0.1), ValueError, "min_delta at least 0"),
        (lambda: by.noisy_labels(np.ones(3), 0.5, RNG), TypeError, "integers"),
        (lambda: by.noisy_labels(np.ones(3, int), 1.5, RNG), ValueError,
         "fraction must lie in"),
        (lambda: by.noisy_labels(np.array([0, 104]), 0.5, RNG), ValueError,
         "labels must lie in 0 to 9, got 0 to 104"),
        (lambda: by.noisy_labels(np.array([0, 1]), 0.5, RNG, classes=2.5), TypeError,
         "float"),
        (lambda: by.cutout(np.ones((3, 6, 0)), 2, RNG), ValueError, "have pixels"),
        (lambda: by.pooling_starts(8, 4, 2, np.array([np.nan])), ValueError,
         r"u must lie in \[0, 1\), got nan"),
        (lambda: by.noisy_labels(np.zeros(8, np.uint8), 1.0, RNG, classes=1000),
         ValueError, "1000 classes do not fit into labels of uint8"),
        (lambda: by.mixup(np.ones((2, 3)), np.ones((2, 3)), np.inf, RNG), ValueError,
         "positive and finite, got .* inf"),
        (lambda: by.mixup(np.array(1.0), np.array(1.0), 1.0, RNG), ValueError,
         "one length"),
        (lambda: by.crop(np.ones((1, 4, 4)), 3, RNG, padding=0.5), TypeError, "float"),
        (lambda: by.rotate(np.ones((1, 4, 4)), np.nan), ValueError,
         "degrees must be finite"),
        (lambda: by.brightness(np.ones((1, 4, 4)), np.inf), ValueError,
         "factor must be finite"),
        (lambda: by.StochasticDepth(0.5, rng=RNG).forward(np.array(1.0)), ValueError,
         r"shape \(N, ...\), got \(\)"),
        (lambda: by.EarlyStopping(1, np.inf), ValueError, "finite, got 1 and inf"),
        (lambda: by.pooling_starts(3, 4, 2, np.zeros(1)), ValueError, "do not fit"),
        (lambda: by.pooling_starts(8, 4, 2, np.ones(1)), ValueError,
         r"u must lie in \[0, 1\), got 1.0 to 1.0"),
        (lambda: by.shift(np.ones((2, 4, 4)), 0.5, 0), TypeError,
         "dy must be an integer"),
        (lambda: by.shift(np.ones((2, 4, 4)), 0, [1, 2, 3]), ValueError,
         r"shape \(2,\)"),
        (lambda: by.rotate(np.ones((4, 4)), 3.0), ValueError, r"\(N, ..., H, W\)"),
        (lambda: by.rotate(np.ones((1, 4, 4), int), 3.0), TypeError,
         "float32 or float64"),
        (lambda: by.flip(np.ones((1, 4, 4)), 0), ValueError, "axis must be"),
        (lambda: by.brightness(np.ones((1, 4, 4)), -1.0), ValueError,
         "must not be negative"),
        (lambda: by.crop(np.ones((1, 4, 4)), 7, RNG, padding=1), ValueError,
         "do not fit"),
        (lambda: by.cutout(np.ones((1, 4, 4)), 0, RNG), ValueError, "at least 1"),
        (lambda: by.mixup(np.ones((2, 3)), np.ones((2, 3)), 0.0, RNG), ValueError,
         "alpha be positive"),
        (lambda: by.mixup(np.ones((2, 3)), np.ones(2, int), 1.0, RNG), TypeError,
         "target must be"),
    ],
)  # fmt: skip
def test_values_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


# --- the kinds of faults that these functions can have ---

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e-30, 1e-9, 1.0, 1e19, 1e30])
def test_max_norm_of_any_size(dtype, size):
    """No square overflows or vanishes."""
    weight = np.array([[3, 4], [0, 0], [0.3, 0.4]]).astype(dtype) * dtype(size)
    ours = by.max_norm(weight, size)
    expected = np.array([[0.6, 0.8], [0, 0], [0.3, 0.4]]) * size
    np.testing.assert_allclose(ours, expected, rtol=8 * np.finfo(dtype).eps)
    assert ours.dtype == dtype


def test_max_norm_of_what_has_no_length():
    weight = np.array([[np.nan, 1], [np.inf, 1], [3, 4]])
    np.testing.assert_allclose(by.max_norm(weight, 1.0),
                               [[np.nan, np.nan], [np.nan, np.nan], [0.6, 0.8]])
    assert by.max_norm(np.ones((2, 0)), 1.0).shape == (2, 0)


def test_zeros_from_outside_are_zeros():
    """Also beside a first pixel that is infinite, or under a square that hides NaN."""
    images = np.zeros((1, 4, 4))
    images[0, 0, 0] = np.inf
    assert np.array_equal(by.shift(images, 1, 1), F.pad(
        torch.tensor(images), (1, -1, 1, -1)).numpy())
    hidden = by.cutout(np.full((1, 2, 4, 4), np.nan), 7, generator())
    assert set(hidden[np.isfinite(hidden)]) == {0.0}


@pytest.mark.parametrize("shape", [(0, 8, 8), (0, 3, 8, 8), (2, 0, 8, 8)])
def test_no_images(shape):
    images, rng = np.zeros(shape), generator()
    for altered in (by.shift(images, 1, 0), by.rotate(images, 10.0), by.flip(images),
                    by.brightness(images, 1.2), by.cutout(images, 3, rng),
                    by.crop(images, 8, rng, padding=1)):
        assert altered.shape == shape
    if len(shape) == 4:
        for regions in ("pseudorandom", "random"):
            layer = by.FractionalMaxPool2d(2, 5, regions=regions, rng=rng)
            assert layer.forward(images).shape == (*shape[:2], 5, 5)
            assert layer.backward(np.zeros((*shape[:2], 5, 5))).shape == shape


def test_one_window_lies_at_the_end_in_both_kinds():
    x = np.arange(64.0).reshape(1, 1, 8, 8)
    for regions in ("pseudorandom", "random"):
        layer = by.FractionalMaxPool2d(2, 1, regions=regions, rng=generator())
        assert layer.forward(x).item() == 63


@pytest.mark.parametrize(["layer", "good", "bad"], [
    (by.Dropout(0.5, rng=generator()), (4, 3), [np.ones(3, int), None]),
    (by.StochasticDepth(0.5, rng=generator()), (4, 3), [np.ones(3, int), np.ones(())]),
    (by.DropConnect(3, 2, rng=generator()), (4, 3), [np.ones((4, 2)), np.ones(3)]),
    (by.GaussianNoise(0.5, rng=generator()), (4, 3), [np.ones(3, int)]),
    (by.FractionalMaxPool2d(2, 4, rng=generator()), (1, 2, 6, 6),
     [np.ones((1, 2, 4, 4)), np.ones((6, 6))]),
], ids=lambda value: type(value).__name__)
def test_a_layer_that_refuses_keeps_what_it_had(layer, good, bad):
    y = layer.forward(draw(0, good))
    dx = layer.backward(np.ones_like(y))
    for x in bad:
        with pytest.raises((TypeError, ValueError)):
            layer.forward(x)
        np.testing.assert_array_equal(layer.backward(np.ones_like(y)), dx)


def test_early_stopping_that_fails_to_copy_keeps_what_it_had():
    stopper, model = by.EarlyStopping(2), Linear(2, 2, rng=generator())
    stopper.step(1.0, model)
    with pytest.raises(AttributeError):
        stopper.step(0.5, "no model")
    assert (stopper.best_loss, stopper.best_step, stopper.steps) == (1.0, 0, 1)


@pytest.mark.parametrize("layer", [by.Dropout(0.5, rng=generator()),
                                   by.GaussianNoise(0.5, rng=generator())],
                         ids=lambda layer: type(layer).__name__)
def test_an_array_without_axes_stays_an_array(layer):
    for mode in (True, False):
        layer.training = mode
        for value in (layer.forward(np.array(1.5)), layer.backward(np.array(1.0)),
                      by.soft_threshold(np.array(1.5), 1.0)):
            assert isinstance(value, np.ndarray) and value.shape == ()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_as_many_classes_as_the_labels_can_name(dtype):
    """0 to 127 are 128 classes, 0 to 255 are 256: not one more."""
    classes, y = np.iinfo(dtype).max + 1, np.zeros((2000, 2), dtype)
    noisy = by.noisy_labels(y, 1.0, generator(0), classes=classes)
    assert noisy.dtype == dtype and noisy.max() == np.iinfo(dtype).max
    assert 0 <= noisy.min()
    with pytest.raises(ValueError, match=f"{classes + 1} classes do not fit"):
        by.noisy_labels(y, 1.0, generator(0), classes=classes + 1)
