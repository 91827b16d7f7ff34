"""byhand.convolution against PyTorch over kernels, strides, paddings, dilations and
groups; ties, NaN and padding in pooling; memory; bad input.
"""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from byhand import convolution as by
from byhand.activations import GLU, PReLU
from byhand.backprop import Linear, ReLU, Sequential, train
from byhand.checks import check_layer, relative_error
from byhand.losses import CrossEntropyLoss, Softmax
from byhand.normalization import BatchNorm2d, GroupNorm, InstanceNorm2d, LayerNorm
from byhand.regularization import Dropout, FractionalMaxPool2d

quick = settings(max_examples=12)
SMALL = st.integers(1, 3)
PAIR = st.tuples(SMALL, SMALL)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def rng():
    return np.random.default_rng(3)


@quick
@pytest.mark.filterwarnings("ignore:Using padding")
@given(PAIR, PAIR, st.sampled_from([0, 1, (2, 0), "same", "valid"]), PAIR, SMALL, SMALL,
       SMALL, st.booleans(), st.sampled_from([(5, 8), (7, 7), (9, 6)]))
def test_conv(kernel, stride, padding, dilation, groups, n_in, n_out, bias, size):
    assume(padding != "same" or stride == (1, 1))
    assume(all(n + 2 * (padding == 1) > d * (k - 1) for n, k, d in zip(
        size, kernel, dilation)))
    arguments = dict(stride=stride, padding=padding, dilation=dilation, groups=groups,
                     bias=bias)
    ours = by.Conv2d(groups * n_in, groups * n_out, kernel, **arguments, rng=rng())
    check_layer(ours, torch.nn.Conv2d(groups * n_in, groups * n_out, kernel,
                                      **arguments),
                draw(n_in, 3, groups * n_in, *size), device="cpu", numerical=False)
    y = ours.forward(draw(n_in, 1, groups * n_in, *size))
    assert y.shape[2:] == tuple(map(by.output_size, size, kernel, stride,
                                    ours.windows.padding, dilation))


@quick
@given(PAIR, PAIR, st.sampled_from([0, 1, (0, 1)]), PAIR, SMALL, SMALL, SMALL,
       st.booleans(), st.integers(0, 2))
def test_transposed_conv(kernel, stride, padding, dilation, groups, n_in, n_out, bias,
                         more):
    arguments = dict(stride=stride, padding=padding, dilation=dilation, groups=groups,
                     bias=bias, output_padding=tuple(min(more, s - 1) for s in stride))
    x = draw(n_in, 2, groups * n_in, 4, 5)
    check_layer(by.ConvTranspose2d(groups * n_in, groups * n_out, kernel, **arguments,
                                   rng=rng()),
                torch.nn.ConvTranspose2d(groups * n_in, groups * n_out, kernel,
                                         **arguments),
                x, device="cpu", numerical=False)


@quick
@given(st.tuples(st.integers(2, 4), st.integers(2, 4)),
       st.sampled_from([None, 1, 2, 3]),
       st.booleans(), st.booleans(), st.booleans(), st.sampled_from([None, 3]),
       st.sampled_from([1, 2]), st.integers(5, 9))
def test_pools(kernel, stride, padded, ceil, include, divisor, dilation, size):
    padding = 1 if padded else 0
    x = draw(size, 2, 3, size, size + 1)
    ties = np.round(x)  # many equal entries
    arguments = dict(stride=stride, padding=padding, ceil_mode=ceil)
    for inputs in (x, ties):
        check_layer(by.MaxPool2d(kernel, **arguments, dilation=dilation),
                    torch.nn.MaxPool2d(kernel, **arguments, dilation=dilation), inputs,
                    device="cpu", numerical=False) if size > 6 else None
    arguments |= dict(count_include_pad=include, divisor_override=divisor)
    check_layer(by.AvgPool2d(kernel, **arguments),
                torch.nn.AvgPool2d(kernel, **arguments), x, device="cpu",
                numerical=False)


@pytest.mark.parametrize("kind", ["MaxPool2d", "AvgPool2d"])
@pytest.mark.parametrize("kernel, stride", [(2, 2), (3, 2), (2, 1), (4, 3)])
def test_ceil_mode_on_maps_smaller_than_the_window(kind, kernel, stride):
    ours = getattr(by, kind)(kernel, stride, ceil_mode=True)
    theirs = getattr(torch.nn, kind)(kernel, stride, ceil_mode=True)
    for size in (1, 2, 3):
        x = draw(size, 2, 1, size, size)
        try:
            theirs(torch.tensor(x))
        except RuntimeError:
            with pytest.raises(ValueError, match="window"):
                ours.forward(x)
        else:
            check_layer(ours, theirs, x, device="cpu", numerical=False)


def test_max_of_infinities_and_nan():
    x = draw(0, 2, 2, 5, 5)
    x[0, 0, :2] = -np.inf
    x[0, 1] = -np.inf  # whole windows, at the border too
    x[1, 0, 1:3, 1:3] = np.nan
    x[1, 1] = np.inf
    for arguments in ({"padding": 1}, {"padding": 1, "stride": 1}, {"stride": 2}):
        theirs, ours = torch.nn.MaxPool2d(3, **arguments), by.MaxPool2d(3, **arguments)
        inputs = torch.tensor(x, requires_grad=True)
        y = theirs(inputs)
        dy = draw(1, *y.shape)
        y.backward(torch.tensor(dy))
        np.testing.assert_array_equal(ours.forward(x), y.detach().numpy())
        np.testing.assert_allclose(ours.backward(dy), inputs.grad.numpy(), atol=1e-14)


@quick
@given(st.sampled_from([1, 3, (2, 5), (None, 2), (7, None), 9]), st.integers(3, 8))
def test_adaptive_pool(output, size):
    check_layer(by.AdaptiveAvgPool2d(output), torch.nn.AdaptiveAvgPool2d(output),
                draw(size, 2, 3, size, size + 1), device="cpu", numerical=False)


@quick
@given(PAIR, PAIR, st.sampled_from([0, 1, (0, 2)]), PAIR)
def test_unfold_and_fold(kernel, stride, padding, dilation):
    x, rest = draw(0, 2, 3, 8, 9), dict(dilation=dilation, padding=padding,
                                        stride=stride)
    columns = by.unfold(x, kernel, **rest)
    theirs = torch.nn.functional.unfold(torch.tensor(x), kernel, **rest)
    np.testing.assert_array_equal(columns, theirs.numpy())
    other = draw(1, *columns.shape)
    back = by.fold(other, (8, 9), kernel, **rest)
    theirs = torch.nn.functional.fold(torch.tensor(other), (8, 9), kernel, **rest)
    assert relative_error(back, theirs.numpy()) < 1e-14
    assert np.isclose((columns * other).sum(), (x * back).sum())  # the transpose


def test_flatten():
    x = draw(0, 2, 3, 4, 5)
    for arguments in ((), (2,), (0, 1), (-2, -1), (1, 1)):
        check_layer(by.Flatten(*arguments), torch.nn.Flatten(*arguments), x,
                    device="cpu", numerical=False, batch=bool(arguments != (0, 1)))
    with pytest.raises(ValueError, match="axes"):
        by.Flatten(5).forward(x)


def test_residual():
    body = by.Conv2d(2, 2, 3, padding=1, rng=rng())
    x = draw(0, 2, 2, 4, 4)
    layer = by.Residual(body)
    assert np.array_equal(layer.forward(x), body.forward(x) + x)
    shortcut = by.Conv2d(2, 4, 1, stride=2, rng=rng())
    wider = by.Residual(by.Conv2d(2, 4, 3, stride=2, padding=1, rng=rng()), shortcut)
    assert wider.forward(x).shape == (2, 4, 2, 2)
    assert sorted(wider.params) == ["body.bias", "body.weight", "shortcut.bias",
                                    "shortcut.weight"]
    with pytest.raises(ValueError, match="shortcut"):
        by.Residual(by.Conv2d(2, 3, 1, rng=rng())).forward(x)
    with pytest.raises(TypeError, match="layer"):
        by.Residual("body")


def test_residual_after_a_refused_pass_and_without_dx():
    layer = by.Residual(by.Conv2d(2, 2, 3, rng=rng()), by.Conv2d(2, 2, 1, rng=rng()))
    x = draw(0, 2, 2, 4, 4)
    with pytest.raises(ValueError, match="shortcut"):
        layer.forward(x)
    with pytest.raises(RuntimeError, match="halfway"):
        layer.backward(draw(1, 2, 2, 2, 2))
    layer = by.Residual(by.Conv2d(2, 2, 3, padding=1, rng=rng()))
    dy = layer.forward(x)
    assert layer.backward(dy).shape == x.shape
    kept = dict(layer.grads)
    assert layer.backward(dy, input_grad=False) is None
    assert all(np.array_equal(kept[name], layer.grads[name]) for name in kept)


def test_receptive_field_is_where_the_gradient_is():
    layers = [by.Conv2d(1, 2, 3, padding=1, rng=rng()), ReLU(), by.AvgPool2d(2),
              by.Conv2d(2, 2, (3, 2), dilation=2, rng=rng()), by.AvgPool2d(3, stride=1)]
    size, stride, start = by.receptive_field(layers)
    model = Sequential(*layers)
    y = model.forward(np.abs(draw(0, 1, 1, 26, 26)) + 9)
    for i, j in ((0, 0), (1, 2)):
        dy = np.zeros_like(y)
        dy[0, :, i, j] = 1
        seen = np.nonzero(model.backward(dy)[0, 0])
        for axis, index in enumerate((i, j)):
            first = start[axis] + index * stride[axis]
            assert seen[axis].min() >= max(first, 0)
            assert seen[axis].max() == first + size[axis] - 1
    assert by.receptive_field(Sequential(*layers)) == (size, stride, start)
    for layer in (BatchNorm2d(2), PReLU(2), Dropout(0.5, rng=rng()), Softmax(1)):
        assert by.receptive_field([*layers, layer]) == (size, stride, start)
    one = (1, 1), (1, 1), (0, 0)
    assert by.receptive_field([BatchNorm2d(3, dtype=np.float32)]) == one
    for layer in (by.Flatten(), Linear(2, 2, rng=rng()), by.AdaptiveAvgPool2d(1),
                  by.AdaptiveAvgPool2d(4), by.AdaptiveAvgPool2d(5), "no",
                  Sequential(BatchNorm2d(2), by.Conv2d(2, 2, 2, padding="same",
                                                       rng=rng())),
                  GroupNorm(1, 2), LayerNorm(6), InstanceNorm2d(2), GLU(), Softmax(),
                  FractionalMaxPool2d(2, output_ratio=0.5, rng=rng())):
        with pytest.raises(TypeError, match="windows"):
            by.receptive_field([layer])


def test_the_columns_take_bounded_memory():
    """The columns of all 400 images would take 400 * 25 * 576 numbers, 46 MB."""
    x = draw(0, 400, 1, 28, 28)
    layer = by.Conv2d(1, 2, 5, rng=rng())
    y = layer.forward(x)
    tracemalloc.start()
    layer.forward(x)
    layer.backward(y)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2 * y.nbytes + x.nbytes + 8 * 2**20


@pytest.mark.parametrize("layer", [by.Conv2d, by.ConvTranspose2d])
def test_backward_holds_no_weight_for_each_example(layer):
    """512 x 512 numbers for each of 64 examples would take 134 MB."""
    layer, x = layer(512, 512, 1, rng=rng()), draw(0, 64, 512, 1, 1)
    dy = layer.forward(x)
    tracemalloc.start()
    layer.backward(dy)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20 * 2**20


def test_the_first_layer_can_leave_out_dx():
    layer, x = by.Conv2d(1, 2, 3, rng=rng()), draw(0, 2, 1, 5, 5)
    dy = layer.forward(x)
    layer.backward(dy)
    kept = dict(layer.grads)
    assert layer.backward(dy, input_grad=False) is None
    assert all(np.array_equal(kept[name], layer.grads[name]) for name in kept)
    layer = by.ConvTranspose2d(1, 2, 3, rng=rng())
    assert layer.backward(layer.forward(x), input_grad=False) is None


def test_a_small_network_learns():
    x = np.zeros((40, 1, 8, 8))
    y = np.arange(40) % 2
    for image, label, place in zip(x, y, rng().integers(1, 6, (40, 2))):
        i, j = place
        image[0, i : i + (3 if label else 1), j : j + (1 if label else 3)] = 1
    model = Sequential(by.Conv2d(1, 4, 3, rng=rng()), ReLU(), by.AdaptiveAvgPool2d(1),
                       by.Flatten(), Linear(4, 2, rng=rng()))
    losses = train(model, CrossEntropyLoss(), x, y, lr=1.0, epochs=60, batch_size=10,
                   rng=rng())
    assert losses[-1] < 0.25 * losses[0]


BAD = {
    "kernel": lambda: by.Conv2d(1, 1, 0, rng=rng()),
    "three": lambda: by.Conv2d(1, 1, (1, 2, 3), rng=rng()),
    "stride": lambda: by.Conv2d(1, 1, 3, stride=0, rng=rng()),
    "padding": lambda: by.Conv2d(1, 1, 3, padding=-1, rng=rng()),
    "groups": lambda: by.Conv2d(3, 4, 3, groups=2, rng=rng()),
    "no groups": lambda: by.Conv2d(3, 4, 3, groups=0, rng=rng()),
    "same": lambda: by.Conv2d(1, 1, 3, stride=2, padding="same", rng=rng()),
    "too small": lambda: by.Conv2d(1, 1, 3, rng=rng()).forward(np.ones((1, 1, 2, 5))),
    "channels": lambda: by.Conv2d(2, 1, 3, rng=rng()).forward(np.ones((1, 1, 5, 5))),
    "no batch": lambda: by.Conv2d(1, 1, 3, rng=rng()).forward(np.ones((1, 5, 5))),
    "output_padding": lambda: by.ConvTranspose2d(1, 1, 3, output_padding=1, rng=rng()),
    "pool padding": lambda: by.MaxPool2d(2, padding=2),
    "divisor": lambda: by.AvgPool2d(2, divisor_override=0),
    "adaptive": lambda: by.AdaptiveAvgPool2d(0),
    "rows": lambda: by.fold(np.ones((1, 5, 4)), 3, 2),
    "window": lambda: by.output_size(3, 4),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    with pytest.raises(ValueError):
        BAD[case]()


def test_bad_types():
    with pytest.raises(TypeError):
        by.Conv2d(1, 1, 3, rng=rng(), dtype=np.float16)
    with pytest.raises(TypeError):
        by.Conv2d(1, 1, 3.0, rng=rng())
    with pytest.raises(TypeError, match="integer"):
        by.output_size(5, 2, 1.5)
    assert by.output_size(5, 3, padding=[1, 1]) == 5
    with pytest.raises(TypeError, match="float64"):
        by.Conv2d(1, 1, 3, rng=rng()).forward(np.ones((1, 1, 5, 5), np.float32))


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("kernel", [(1, 4), (2, 3), (3, 2), (5, 5)])
@pytest.mark.parametrize("dilation", [1, (2, 1), (1, 3)])
def test_padding_that_keeps_the_size(kernel, dilation):
    arguments = dict(padding="same", dilation=dilation)
    ours, x = by.Conv2d(2, 3, kernel, **arguments, rng=rng()), draw(0, 2, 2, 7, 8)
    assert ours.forward(x).shape == (2, 3, 7, 8)
    check_layer(ours, torch.nn.Conv2d(2, 3, kernel, **arguments), x, device="cpu",
                numerical=False)


def test_both_ways_of_a_residual_get_their_gradient():
    body = by.Conv2d(2, 4, 3, stride=2, padding=1, rng=rng())
    shortcut = by.Conv2d(2, 4, 1, stride=2, rng=rng())
    layer, x, dy = by.Residual(body, shortcut), draw(0, 2, 2, 4, 4), draw(1, 2, 4, 2, 2)
    layer.forward(x)
    dx, grads = layer.backward(dy), dict(layer.grads)
    assert np.array_equal(dx, body.backward(dy) + shortcut.backward(dy))
    for name, part in (("body", body), ("shortcut", shortcut)):
        for key, grad in part.grads.items():
            assert np.array_equal(grads[f"{name}.{key}"], grad)


@pytest.mark.parametrize("kind", ["Conv2d", "ConvTranspose2d"])
@pytest.mark.parametrize("groups", [1, 4])
def test_weights_are_drawn_as_wide_as_torch_draws_them(kind, groups):
    """Uniform within 1 / sqrt(fan-in), which PyTorch counts in the second axis."""
    arguments = dict(kernel_size=(2, 3), groups=groups)
    ours = getattr(by, kind)(16, 32, **arguments, rng=rng()).params
    theirs = getattr(torch.nn, kind)(16, 32, **arguments).state_dict()
    for name, value in ours.items():
        bound = 1 / np.sqrt(np.prod(ours["weight"].shape[1:]))
        expected = theirs[name].numpy()
        assert value.shape == expected.shape and np.abs(value).max() <= bound
        assert np.abs(value).max() > 0.8 * bound and np.abs(expected).max() <= bound
        if name == "weight":
            assert abs(value.mean()) < 0.1 * bound
            assert np.isclose(value.std(), bound / np.sqrt(3), rtol=0.1)
