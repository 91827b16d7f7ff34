"""byhand.backprop against PyTorch over shapes, dtypes and edge values; bad input;
training.
"""

import copy
import pickle
from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from byhand.backprop import (
    Layer, Linear, Loss, MSELoss, ReLU, Sequential, Sigmoid, check_array, train,
)
from byhand.checks import check_layer, check_loss
from byhand.losses import CrossEntropyLoss
from byhand.regularization import DropConnect

# in float32 a bias of one or two entries may be a sum that cancels to mere rounding
SIZE = st.integers(4, 9)
EDGES = st.sampled_from([0.0, -0.0, 1e-300, 1.0, -30.0, 700.0, 1e4, -1e4, np.inf,
                         -np.inf, np.nan])
quick = settings(max_examples=25)


@quick
@given(st.integers(1, 5), SIZE, SIZE, st.booleans(), st.integers(0, 99))
def test_linear(n, d, m, bias, seed):
    rng = np.random.default_rng(seed)
    check_layer(Linear(d, m, bias, rng=rng), torch.nn.Linear(d, m, bias),
                rng.normal(size=(n, d)), device="cpu")


@quick
@given(arrays(np.float64, array_shapes(min_dims=0, max_dims=3, max_side=4),
              elements=EDGES))
def test_elementwise_layers_at_the_edges(x):
    for ours, theirs in ((ReLU(), torch.nn.ReLU()), (Sigmoid(), torch.nn.Sigmoid())):
        t = torch.tensor(x, requires_grad=True)
        y, expected = ours.forward(x), theirs(t)
        expected.backward(torch.ones_like(t))
        np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-14)
        np.testing.assert_allclose(ours.backward(np.ones_like(x)), t.grad.numpy(),
                                   rtol=1e-12)


@quick
@given(arrays(np.float64, (2, 3), elements=st.floats(-1e4, 1e4)),
       arrays(np.float64, (2, 3), elements=st.floats(-1e4, 1e4)),
       st.sampled_from(["mean", "sum", "none"]))
def test_mse(prediction, target, reduction):
    check_loss(MSELoss(reduction), torch.nn.MSELoss(reduction=reduction), prediction,
               target, device="cpu", numerical=False)


@quick
@given(st.lists(SIZE, min_size=2, max_size=5), st.integers(0, 99))
def test_chains(widths, seed):
    rng = np.random.default_rng(seed)
    ours = [layer for a, b in zip(widths, widths[1:])
            for layer in (Linear(a, b, rng=rng), Sigmoid())]
    theirs = [layer for a, b in zip(widths, widths[1:])
              for layer in (torch.nn.Linear(a, b), torch.nn.Sigmoid())]
    # where numbers of 1e4 cancel, the slope of a sigmoid hangs on their last bits; and
    # float32 rounds anew in each layer
    for dtype, rtol in ((np.float64, None), (np.float32, 1e-4)):
        check_layer(Sequential(*ours), torch.nn.Sequential(*theirs),
                    rng.normal(size=(8, widths[0])), device="cpu", dtypes=[dtype],
                    rtol=rtol, scales=(1e-8, 1e-4), numerical=dtype == np.float64)


def linear(dtype=np.float64):
    return Linear(3, 2, rng=np.random.default_rng(0), dtype=dtype)


@pytest.mark.parametrize(
    ["x", "error", "message"],
    [
        (np.ones((4, 2)), ValueError, r"x must have the shape \(N, 3\), got \(4, 2\)"),
        (np.ones(3), ValueError, r"shape \(N, 3\), got \(3,\)"),
        (np.ones((4, 3), int), TypeError, "float32 or float64 array, got int64"),
        (np.ones((4, 3), np.float32), TypeError, "float64 like the layer, got float32"),
        ([[1.0, 2.0, 3.0]], TypeError, "got list"),
    ],
)
def test_linear_refuses(x, error, message):
    with pytest.raises(error, match=message):
        linear().forward(x)


def test_documented_results():
    assert linear().forward(np.zeros((0, 3))).shape == (0, 2)
    assert np.isnan(linear().forward(np.full((1, 3), np.nan))).all()
    layer = linear()
    layer.forward(np.zeros((0, 3)))
    assert (layer.backward(np.zeros((0, 2))).shape == (0, 3)
            and not layer.grads["weight"].any())


@pytest.mark.parametrize("layer", [linear(), ReLU(), Sigmoid(),
                                   Sequential(linear(), ReLU()), MSELoss()],
                         ids=lambda layer: type(layer).__name__)
def test_backward_before_forward(layer):
    with pytest.raises(AttributeError, match="call forward before backward"):
        layer.backward(*[] if isinstance(layer, MSELoss) else [np.ones((1, 2))])


@pytest.mark.parametrize("layer", [linear(), ReLU(), Sigmoid()],
                         ids=lambda layer: type(layer).__name__)
def test_upstream_gradients_must_fit(layer):
    y = layer.forward(np.ones((4, 3)))
    with pytest.raises(ValueError, match="dy must have the shape"):
        layer.backward(y[:, :1])
    with pytest.raises(TypeError, match="dy must be"):
        layer.backward(y.astype(np.float32))


@pytest.mark.parametrize(
    ["prediction", "target", "error", "message"],
    [
        (np.ones((4, 1)), np.ones(4), ValueError,
         r"target must have the shape \(4, 1\), got \(4,\)"),
        (np.ones((4, 1)), np.ones((4, 1), int), TypeError,
         "target must be a float32 or float64"),
        (np.ones((4, 1)), np.ones((4, 1), np.float32), TypeError, "float64"),
        (np.ones((0, 1)), np.ones((0, 1)), ValueError, "empty batch"),
    ],
)
def test_mse_refuses(prediction, target, error, message):
    with pytest.raises(error, match=message):
        MSELoss().forward(prediction, target)


def test_unknown_reduction_and_sizes():
    with pytest.raises(ValueError, match="reduction"):
        MSELoss("average")
    with pytest.raises(ValueError, match="at least 1"):
        Linear(0, 2, rng=np.random.default_rng(0))


def test_state():
    model = Sequential(linear(), ReLU(), Linear(2, 1, rng=np.random.default_rng(1)))
    state = {name: value + 1 for name, value in model.params.items()}
    with pytest.raises(KeyError, match="expected the names"):
        model.load_state(state | {"3.weight": np.ones(1)})
    with pytest.raises(ValueError, match=r"weight must have the shape \(2, 3\)"):
        model.load_state(state | {"0.weight": np.ones((3, 2))})
    with pytest.raises(TypeError, match="share one dtype"):
        model.load_state(state | {"2.bias": np.ones(1, np.float32)})
    with pytest.raises(TypeError, match="kind"):
        model.load_state(state | {"2.bias": np.ones(1, int)})
    # refused whole
    assert np.array_equal(model.params["0.weight"] + 1, state["0.weight"])
    held = model.params["0.weight"]
    model.load_state(state)
    assert model.params["0.weight"] is held  # in place: an optimizer may hold it
    state["0.weight"] += 1
    assert np.allclose(model.params["0.weight"], state["0.weight"] - 1)  # copies
    assert (model.eval() is model and not model.training
            and model.train().layers[0].training)


def test_chains_refuse():
    with pytest.raises(TypeError, match="expected layers, got function"):
        Sequential(linear(), lambda x: x)
    layer = ReLU()
    with pytest.raises(ValueError, match="only once"):
        Sequential(layer, linear(), layer)


def test_the_dtype_of_a_loss_gradient():
    loss = MSELoss("none")
    loss.forward(np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32))
    assert loss.backward(np.float64(1.0)).dtype == np.float32
    with pytest.raises(TypeError, match="dy must be"):
        loss.backward(np.ones((2, 2)))


def test_dtype_and_start():
    assert ({value.dtype for value in linear(np.float32).params.values()}
            == {np.dtype(np.float32)})
    weight = Linear(100, 400, rng=np.random.default_rng(2)).params["weight"]
    # uniform within 1 / sqrt(100)
    assert np.abs(weight).max() <= 0.1 and abs(weight.std() - 0.1 / 3**0.5) < 0.001


def problem(n=30):
    rng = np.random.default_rng(3)
    return rng.normal(size=(n, 3)), rng.normal(size=(n, 1))


def test_train_is_gradient_descent():
    x, y = problem()
    ours, theirs = (Linear(3, 1, rng=np.random.default_rng(4)),
                    torch.nn.Linear(3, 1).double())
    theirs.load_state_dict({name: torch.tensor(value)
                            for name, value in ours.params.items()})
    losses = train(ours, MSELoss(), x, y, lr=0.1, epochs=4, batch_size=7,
                   rng=np.random.default_rng(5))
    descent, shuffle, expected = (torch.optim.SGD(theirs.parameters(), lr=0.1),
                                  np.random.default_rng(5), [])
    for _ in range(4):
        order, total = shuffle.permutation(30), 0.0
        for batch in np.split(order, range(7, 30, 7)):
            descent.zero_grad()
            loss = torch.nn.functional.mse_loss(
                theirs(torch.tensor(x[batch])), torch.tensor(y[batch]))
            loss.backward()
            descent.step()
            total += loss.item() * len(batch) / 30
        expected.append(total)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    np.testing.assert_allclose(ours.params["weight"], theirs.weight.detach(),
                               rtol=1e-12)


def test_train_leaves_the_update_to_an_optimizer():
    class Recording:
        seen = []

        def step(self, grads):
            self.seen.append(set(grads))

    x, y = problem()
    model, optimizer = Linear(3, 1, rng=np.random.default_rng(6)), Recording()
    before = model.params["weight"].copy()
    train(model, MSELoss(), x, y, epochs=2, batch_size=10, rng=np.random.default_rng(7),
          optimizer=optimizer)
    assert (optimizer.seen == [{"weight", "bias"}] * 6
            and np.array_equal(model.params["weight"], before))


@pytest.mark.parametrize(
    ["changed", "message"],
    [({"loss": MSELoss("sum")}, "mean"), ({"lr": None}, "either lr or"),
     ({"optimizer": object()}, "either lr or"), ({"y": np.ones((29, 1))}, "one length"),
     ({"x": np.ones((0, 3)), "y": np.ones((0, 1))}, "at least 1"),
     ({"batch_size": 0}, "batch_size"), ({"epochs": 0}, "epochs"),
     ({"chunks": 0}, "chunks"), ({"lr": np.nan}, "finite"), ({"lr": -1.0}, "negative"),
     ({"x": np.array(1.0)}, "shapes"), ({"y": None}, "shapes")],
)  # fmt: skip
def test_train_refuses(changed, message):
    x, y = problem()
    arguments = ({"loss": MSELoss(), "x": x, "y": y, "lr": 0.1, "epochs": 1,
                  "batch_size": 5} | changed)
    with pytest.raises(ValueError, match=message):
        train(Linear(3, 1, rng=np.random.default_rng(8)), rng=np.random.default_rng(9),
              **arguments)


def test_a_missing_attribute_is_still_missing():
    assert not hasattr(Layer(), "mask")


def test_arrays_without_axes_run_through_a_chain():
    chain = Sequential(Sigmoid(), ReLU())
    y = chain.forward(np.array(0.5, np.float32))
    assert y.dtype == np.float32 and y == 1 / (1 + np.exp(np.float32(-0.5)))
    assert np.ndim(chain.backward(np.float32(1))) == 0
    with pytest.raises(TypeError, match="float32 or float64 array, got float$"):
        check_array("x", 0.5)


def test_the_tail_of_the_sigmoid():
    for dtype, far in ((np.float32, -87), (np.float64, -708)):
        x = np.linspace(far, 0, 50, dtype=dtype)
        with np.errstate(all="raise"):
            y = Sigmoid().forward(x)
        exact = 1 / (1 + np.exp(-x.astype(np.longdouble)))
        # exp itself is off by |x| eps where x is off by an eps
        assert np.all(np.abs(y / exact - 1) < 4 * np.finfo(dtype).eps)
        with np.errstate(over="raise", invalid="raise"):
            assert np.array_equal(Sigmoid().forward(np.array([-1e4, 1e4], dtype)),
                                  [0, 1])


def test_squares_that_do_not_fit_float32():
    big = np.array([1e20, -1e20], np.float32)
    with np.errstate(all="raise"):
        assert MSELoss().forward(big, np.zeros_like(big)) == pytest.approx(1e40)
        small = np.full(2, 1e-30, np.float32)
        assert MSELoss().forward(small, 0 * small) == pytest.approx(1e-60)
        assert Loss().reduce(np.full(100, 3e37, np.float32)) == pytest.approx(3e37)
    assert MSELoss("none").forward(small, 0 * small).dtype == np.float32


# composition


class Scaled(Layer):
    """x + gamma * (a chain of layers): an array of its own, and layers inside."""

    def __init__(self, width, rng):
        super().__init__()
        self.params["gamma"] = np.full(width, 0.5)
        self.block = Sequential(Linear(width, width, rng=rng), Sigmoid(),
                                Linear(width, width, rng=rng))

    def forward(self, x):
        self.branch = self.block.forward(x)
        return x + self.params["gamma"] * self.branch

    def backward(self, dy):
        self.grads["gamma"] = (dy * self.branch).sum(axis=0)
        return dy + self.block.backward(dy * self.params["gamma"])


class ScaledTorch(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gamma = torch.nn.Parameter(torch.ones(width))
        self.block = torch.nn.Sequential(torch.nn.Linear(width, width),
                                         torch.nn.Sigmoid(),
                                         torch.nn.Linear(width, width))

    def forward(self, x):
        return x + self.gamma * self.block(x)


def deep():
    rng = np.random.default_rng(10)
    return (Sequential(Scaled(4, rng), ReLU(), Sequential(Scaled(4, rng))),
            torch.nn.Sequential(ScaledTorch(4), torch.nn.ReLU(),
                                torch.nn.Sequential(ScaledTorch(4))).double())


def test_layers_in_layers_train_as_in_torch():
    ours, theirs = deep()
    assert list(ours.params) == list(theirs.state_dict())
    check_layer(ours, theirs, np.random.default_rng(11).normal(size=(6, 4)),
                device="cpu")
    theirs.load_state_dict({name: torch.tensor(value)
                            for name, value in ours.params.items()})
    rng = np.random.default_rng(12)
    x, y = rng.normal(size=(8, 4)), rng.normal(size=(8, 4))
    train(ours, MSELoss(), x, y, lr=0.1, epochs=5, batch_size=8, rng=rng)
    descent = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(5):
        descent.zero_grad()
        torch.nn.functional.mse_loss(theirs(torch.tensor(x)),
                                     torch.tensor(y)).backward()
        descent.step()
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.params[name], value, rtol=1e-11)


def test_layers_in_layers_share_mode_state_and_copies():
    model, other = deep()[0], deep()[0]
    model.eval()
    assert not any(layer.training for layer in model.named_layers().values())
    assert list(model.named_layers())[:3] == ["", "0", "0.block"]
    held = model.params["2.0.block.2.weight"]
    state = {name: value + 1 for name, value in other.params.items()}
    model.load_state(state)
    assert model.params["2.0.block.2.weight"] is held
    assert np.array_equal(held, state["2.0.block.2.weight"])
    model.load_state({name: value.astype(np.float32) for name, value in state.items()})
    assert model.params["0.gamma"].dtype == np.float32
    model.params["0.gamma"] = np.zeros(4)  # reaches the layer that owns it
    assert not model.layers[0].params["gamma"].any()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert all(np.array_equal(value, model.params[name])
                   and value is not model.params[name]
                   for name, value in twin.params.items())
        assert not twin.training
    assert type(copy.deepcopy(model.params)) is dict


def test_layers_are_found_in_lists_tuples_and_dicts():
    holder = Layer()
    holder.branches = {"left": linear(), "right": [linear(), (ReLU(), linear())]}
    holder.branches["right"].append(linear())  # later too
    assert list(holder.params) == [f"branches.{name}.{kind}" for name in (
        "left", "right.0", "right.1.1", "right.2") for kind in ("weight", "bias")]


def test_a_layer_holds_what_stands_in_it_now():
    holder = Layer()
    assert holder.named_children() == []
    holder.block = linear()
    assert [name for name, _ in holder.named_children()] == ["block"]
    holder.block = None
    assert holder.named_children() == [] and holder.params == {}


def test_a_layer_without_layers_takes_a_new_dict():
    layer, weight = linear(), np.eye(2, 3)
    layer.params = {"weight": weight}
    assert layer.params == {"weight": weight}
    assert np.array_equal(layer.forward(np.ones((1, 3))), [[1, 1]])


@pytest.mark.parametrize("put", [lambda a: {a}, lambda a: frozenset([a]),
                                 lambda a: {a: 1}, lambda a: [deque([a])],
                                 lambda a: {"inner": [{a}]}])
def test_a_layer_is_not_lost(put):
    holder = Layer()
    with pytest.raises(TypeError, match="would be lost"):
        holder.held = put(ReLU())
    assert not hasattr(holder, "held")
    holder.held = []
    holder.held.append(put(ReLU()))
    with pytest.raises(TypeError, match="would be lost"):
        holder.eval()


def test_a_layer_twice_is_refused_wherever_it_hides():
    layer, holder = linear(), Layer()
    for build in (lambda: Sequential(layer, Sequential(layer)),
                  lambda: Sequential(Sequential(ReLU(), layer), ReLU(), layer),
                  lambda: setattr(holder, "both", [layer, {"again": layer}]),
                  lambda: setattr(holder, "me", holder)):
        with pytest.raises(ValueError, match="only once"):
            build()
    assert not hasattr(holder, "both") and list(holder.named_layers()) == [""]
    model = Sequential(layer)
    model.layers.append(layer)
    for use in (lambda: model.params, model.train, lambda: model.load_state({})):
        with pytest.raises(ValueError, match="only once"):
            use()


def test_joined_arrays_are_not_changed_in_vain():
    model = Sequential(linear())
    for change in (lambda: model.params.update({"0.weight": 1}),
                   lambda: model.params.pop("0.weight"), model.params.clear,
                   lambda: setattr(model, "params", {})):
        with pytest.raises(TypeError, match="one(?s:.*)at a time"):
            change()
    with pytest.raises(KeyError, match="1.weight"):
        model.params["1.weight"] = np.ones(1)


def test_a_layer_without_a_start():
    class Forgetful(Layer):
        def __init__(self):
            self.width = 3

    for use in (lambda: Sequential(linear(), Forgetful()).params,
                lambda: Forgetful().grads):
        with pytest.raises(RuntimeError, match=r"Forgetful.__init__.*super\(\)"):
            use()


def test_what_fails_leaves_what_was():
    x = np.ones((4, 3))
    layer, loss, chain = linear(), MSELoss(), Sequential(linear(), linear())
    layer.forward(x)
    expected = layer.backward(np.ones((4, 2)))
    with pytest.raises(ValueError):
        layer.forward(np.ones((5, 2)))
    assert np.array_equal(layer.backward(np.ones((4, 2))), expected)
    loss.forward(x, 0 * x)
    with pytest.raises(ValueError):
        loss.forward(x[:0], x[:0])
    assert loss.backward().shape == (4, 3)
    with pytest.raises(ValueError):  # the first layer's output does not fit the second
        chain.forward(x)
    with pytest.raises(RuntimeError, match="failed halfway"):
        chain.backward(np.ones((4, 2)))
    with pytest.raises(AttributeError, match="call forward before backward"):
        MSELoss().backward()


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, int])
def test_only_two_dtypes(dtype):
    with pytest.raises(TypeError, match="float32 or float64"):
        linear(dtype)
    layer = linear()
    with pytest.raises(TypeError, match="float32 or float64|kind"):
        layer.load_state({name: value.astype(dtype)
                          for name, value in layer.params.items()})
    assert layer.forward(np.ones((1, 3))).dtype == np.float64


# the first layer's dx, true means, parts of a batch


def test_the_gradient_of_the_input_may_be_left_out():
    x, dy = np.ones((4, 3)), np.ones((4, 2))
    for model in (linear(), Sequential(linear(), ReLU()),
                  Sequential(Sequential(linear()), ReLU())):
        model.forward(x)
        assert model.backward(dy).shape == (4, 3)
        grads = {name: value.copy() for name, value in model.grads.items()}
        assert model.backward(dy, input_grad=False) is None
        assert all(np.array_equal(model.grads[name], grads[name]) for name in grads)
    # a layer with a backward of its own is asked for everything
    rng = np.random.default_rng(0)
    other = Sequential(DropConnect(3, 2, rng=rng))
    other.forward(x)
    assert other.backward(dy, input_grad=False).shape == (4, 3)


class InOrder:
    permutation = staticmethod(np.arange)


CLASSES = {"plain": ([0, 1, 2, 1, 0, 2], {}),
           "ignored": ([0, 1, 1, -100, -100, 1], {}),
           "a batch ignored": ([0, 1, -100, -100, 0, 1], {}),
           "weights": ([0, 1, 2, 2, 0, 1], {"weight": np.array([1.0, 0.1, 3.0])})}


@pytest.mark.parametrize("case", CLASSES)
def test_train_reports_the_mean_over_what_counts(case):
    y, arguments = CLASSES[case]
    model, loss = linear_to(3), CrossEntropyLoss(**arguments)
    x = np.random.default_rng(1).normal(size=(6, 3))
    found = train(model, loss, x, np.array(y), lr=0.0, epochs=2, batch_size=2,
                  rng=InOrder())
    np.testing.assert_allclose(found, loss.forward(model.forward(x), np.array(y)),
                               rtol=1e-13)


@pytest.mark.parametrize("chunks", [2, 3, 4, 6, 50])
@pytest.mark.parametrize("case", CLASSES)
def test_chunks_add_up_to_their_batch(case, chunks):
    y, arguments = CLASSES[case]
    x, steps = np.random.default_rng(1).normal(size=(6, 3)), []
    for parts in (1, chunks):
        model = linear_to(3)
        losses = train(model, CrossEntropyLoss(**arguments), x, np.array(y), lr=0.5,
                       epochs=3, batch_size=6, rng=InOrder(), chunks=parts)
        steps.append([losses, *model.params.values(), *model.grads.values()])
    for whole, parts in zip(*steps):
        np.testing.assert_allclose(parts, whole, rtol=1e-12, atol=1e-15)


def linear_to(n):
    return Sequential(Linear(3, n, rng=np.random.default_rng(2)))


def test_targets_that_do_not_count_make_no_step():
    model, x = linear_to(2), np.ones((4, 3))
    before = model.params["0.weight"].copy()
    found = train(model, CrossEntropyLoss(), x, np.full(4, -100), lr=1.0, epochs=2,
                  batch_size=2, rng=np.random.default_rng(3))
    assert np.isnan(found).all() and np.array_equal(model.params["0.weight"], before)


def test_train_keeps_the_steps_before_a_batch_that_fails():
    model, one, x = linear_to(2), linear_to(2), np.ones((4, 3))
    with pytest.raises(ValueError, match="class"):
        train(model, CrossEntropyLoss(), x, np.array([0, 1, 1, 7]), lr=1.0, epochs=1,
              batch_size=3, rng=InOrder())
    train(one, CrossEntropyLoss(), x[:3], np.array([0, 1, 1]), lr=1.0, epochs=1,
          batch_size=3, rng=InOrder())
    assert np.array_equal(model.params["0.weight"], one.params["0.weight"])


def test_sizes_are_integers():
    x, y = problem()
    for wrong in (lambda: Linear(1.5, 2, rng=np.random.default_rng(0)),
                  lambda: train(linear(), MSELoss(), x, y, lr=1.0, epochs=1.5,
                                batch_size=2, rng=np.random.default_rng(0))):
        with pytest.raises(TypeError, match="integer"):
            wrong()
