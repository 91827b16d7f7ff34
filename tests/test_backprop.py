"""byhand.backprop against PyTorch over shapes, dtypes and edge values; bad input;
training.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from byhand.backprop import Layer, Linear, MSELoss, ReLU, Sequential, Sigmoid, train
from byhand.checks import check_layer, check_loss

SIZE = st.integers(4, 9)  # in float32, a bias of one or two entries may be a sum that cancels to nothing but rounding
EDGES = st.sampled_from([0.0, -0.0, 1e-300, 1.0, -30.0, 700.0, 1e4, -1e4, np.inf,
                         -np.inf, np.nan])
quick = settings(max_examples=25)


@quick
@given(st.integers(0, 5), SIZE, SIZE, st.booleans(), st.integers(0, 99))
def test_linear(n, d, m, bias, seed):
    rng = np.random.default_rng(seed)
    check_layer(Linear(d, m, bias, rng=rng), torch.nn.Linear(d, m, bias),
                rng.normal(size=(n, d)), device="cpu")


@quick
@given(arrays(np.float64, array_shapes(min_dims=0, max_dims=3, max_side=4),
              elements=EDGES))
def test_elementwise_layers_at_the_edges(x):
    if x.ndim:
        check_layer(ReLU(), torch.nn.ReLU(), x, device="cpu", numerical=False)
        check_layer(Sigmoid(), torch.nn.Sigmoid(), x, device="cpu", numerical=False)


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
    check_layer(Sequential(*ours), torch.nn.Sequential(*theirs),
                rng.normal(size=(8, widths[0])), device="cpu")


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
     ({"batch_size": 0}, "batch_size"), ({"epochs": 0}, "epochs")],
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
