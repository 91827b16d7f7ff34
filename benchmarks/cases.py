"""What `speed.py` times: pairs of functions that compute the same thing, ours and a
library's, from the same state and on the same numbers.

Layers, losses and optimizers come from tests/registry.py, so a new one is in the table
by itself: at the registry's widths, with so many examples that there are some 100,000
numbers. LAYERS gives those that have a width a usual one.
"""

import inspect
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import sklearn.linear_model
import sklearn.neural_network
import torch
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import registry
from registry import ENTRIES, generator, tensor, upstream

from byhand import experiments, generative, gpu, perceptron, regularization
from byhand.activations import Tanh
from byhand.backprop import Linear, ReLU, Sequential, Sigmoid
from byhand.convolution import Conv2d, Flatten, MaxPool2d, Residual
from byhand.losses import CrossEntropyLoss
from byhand.normalization import BatchNorm1d
from byhand.optimizers import SGD, Adam, AdamW
from byhand.regularization import Dropout

NUMBERS = 100_000  # in the input of a case without a size of its own
BOTH, SINGLE, DOUBLE = ("float32", "float64"), ("float32",), ("float64",)


@dataclass
class Case:
    """One row. pair(dtype) gives two functions without arguments; each does the work
    once and returns what it computed, or part of it.
    """

    kind: str
    name: str  # of the registry, or what is trained
    size: str
    against: str
    pair: Callable = None
    dtypes: tuple = SINGLE
    # the ratio that we once set ourselves as a limit, in float32
    limit: float = None
    # whether both must come to the same numbers: not where they draw them
    same: bool = True
    # why there is nothing to compare with
    without: str = ""


def times(shape):
    return " × ".join(f"{n:,}" for n in shape)


def grown(inputs, dtype, numbers=NUMBERS):
    """The registry's inputs, drawn again and again and put together along the first
    axis, until the largest array has that many numbers.
    """
    rng = generator()
    first = inputs(rng, dtype)
    largest = max(np.size(value) for value in first.values())
    draws = [first, *(inputs(rng, dtype) for _ in range(numbers // largest - 1))]
    return {name: np.concatenate([draw[name] for draw in draws])
            if isinstance(value, np.ndarray) else value
            for name, value in first.items()}


def name_of(theirs):
    """How PyTorch calls what a factory made."""
    kind = type(theirs)
    if kind.__module__.startswith("torch.optim"):
        return f"torch.optim.{kind.__name__}"
    if kind.__module__.startswith("torch.nn"):
        return f"torch.nn.{kind.__name__}"
    return "written in PyTorch"


# --- layers ---------------------------------------------------------------------------

def layer_pair(layer, module, x):
    """Forward and backward, with the gradients of the input and of all parameters."""
    inputs = tensor(x, grad=True)
    leaves = [inputs]
    if isinstance(module, torch.nn.Module):
        module = module.to(inputs.dtype).train()
        module.load_state_dict({name: tensor(value) for name, value in
                                (layer.params | layer.buffers).items()})
        leaves += module.parameters()
    dy = upstream(layer.forward(x).shape, x.dtype)
    dy_theirs = tensor(dy)

    def ours():
        y = layer.forward(x)
        return {"y": y, "dx": layer.backward(dy)}

    def autograd():
        y = module(inputs)
        dx, *_ = torch.autograd.grad(y, leaves, dy_theirs)
        return {"y": y.detach().numpy(), "dx": dx.numpy()}

    return ours, autograd


@dataclass
class Large:
    """A layer at a usual size: of this shape is its input."""

    shape: tuple
    ours: Callable  # of the dtype
    theirs: Callable
    label: str = ""
    limit: float = None


def like(shape, *arguments, limit=None, **settings):
    """For a class that PyTorch has, too, under its name and with its arguments."""
    def enlarge(target):
        takes = inspect.signature(target).parameters
        label = ", ".join([*map(str, arguments), *(
            f"{name}={value}" for name, value in settings.items())])
        return Large(
            shape, lambda dtype: target(*arguments, **settings, **{
                name: value for name, value in (
                    ("rng", generator(5)), ("dtype", dtype)) if name in takes}),
            lambda: getattr(torch.nn, target.__name__)(*arguments, **settings),
            f"({label})" if label else "", limit)
    return enlarge


def written(shape, ours, theirs):
    return lambda target: Large(shape, ours, theirs)


def dense(dtype, kind=Sequential):
    rng = generator(5)
    return kind(Linear(256, 256, rng=rng, dtype=dtype), Tanh(),
                Linear(256, 256, rng=rng, dtype=dtype))


def dense_theirs():
    return torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.Tanh(),
                               torch.nn.Linear(256, 256))


class Recomputed(torch.nn.Sequential):
    """Keeps its input alone, as `Checkpoint` does."""

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(
            super().forward, x, use_reentrant=False, preserve_rng_state=False)


class SideBySideLinear(torch.nn.Module):
    """As experiments.StackedLinear."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = map(torch.nn.Parameter, (weight, bias))

    def forward(self, x):
        return (x.transpose(0, 1) @ self.weight.transpose(1, 2)
                + self.bias).transpose(0, 1)


class Dropped(torch.nn.Linear):
    """As regularization.DropConnect."""

    def forward(self, x):
        weight = F.dropout(self.weight.expand(len(x), *self.weight.shape))
        return (weight @ x[:, :, None])[:, :, 0] + self.bias


class Shortcut(torch.nn.Module):
    """As convolution.Residual without a shortcut of its own."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x) + x


def without_examples(x):
    """As regularization.StochasticDepth with its rows."""
    keep = torch.empty(len(x), *[1] * (x.ndim - 1), dtype=x.dtype).bernoulli_(0.5)
    return x * keep / 0.5


PICTURES, MAPS = (100, 30, 24, 24), (64, 32, 14, 14)
STACK = (10, 128, 64)  # networks, outputs, inputs
# Name: one size or several
LAYERS = {
    "backprop.Linear": [like((100, 784), 784, 100)],
    "backprop.Sequential": [written((100, 256), dense, dense_theirs)],
    "activations.PReLU": [like((400, 256))],
    "normalization.BatchNorm1d": [like((256, 512), 512, limit=1.2)],
    "normalization.BatchNorm2d": [like(MAPS, 32)],
    "normalization.InstanceNorm1d": [like((64, 32, 196), 32)],
    "normalization.InstanceNorm2d": [like(MAPS, 32)],
    "normalization.LayerNorm": [like((256, 512), 512)],
    "normalization.RMSNorm": [like((256, 512), 512)],
    "normalization.GroupNorm": [like(MAPS, 8, 32)],
    "normalization.StackedBatchNorm": [written(
        (256, 4, 128), lambda dtype: registry.norm.StackedBatchNorm(512, dtype=dtype),
        lambda: registry.Flat(torch.nn.BatchNorm1d(512)))],
    "convolution.Conv2d": [like((100, 1, 28, 28), 1, 30, 5, limit=2.0),
                           like((64, 16, 14, 14), 16, 32, 3, padding=1)],
    "convolution.ConvTranspose2d": [like((32, 16, 14, 14), 16, 8, 4, stride=2,
                                         padding=1)],
    "convolution.MaxPool2d": [like(PICTURES, 2)],
    "convolution.AvgPool2d": [like(PICTURES, 2)],
    "convolution.AdaptiveAvgPool2d": [like(PICTURES, (1, 1))],
    "convolution.Flatten": [like(PICTURES)],
    "convolution.Residual": [written(
        MAPS, lambda dtype: Residual(Conv2d(32, 32, 3, padding=1, rng=generator(5),
                                            dtype=dtype)),
        lambda: Shortcut(torch.nn.Conv2d(32, 32, 3, padding=1)))],
    "regularization.Dropout": [like((100, 1000))],
    "regularization.StochasticDepth": [written(
        (100, 1000), lambda dtype: regularization.StochasticDepth(
            0.5, rng=generator(5)), lambda: without_examples)],
    "regularization.GaussianNoise": [written(
        (100, 1000), lambda dtype: regularization.GaussianNoise(0.5, rng=generator(5)),
        lambda: lambda x: x + 0.5 * torch.randn_like(x))],
    "regularization.DropConnect": [written(
        (100, 128), lambda dtype: regularization.DropConnect(
            128, 64, rng=generator(5), dtype=dtype), lambda: Dropped(128, 64))],
    "regularization.FractionalMaxPool2d": [like((32, 16, 24, 24), 2,
                                                output_ratio=0.6)],
    "gpu.Checkpoint": [written((100, 256), lambda dtype: dense(dtype, gpu.Checkpoint),
                               lambda: Recomputed(*dense_theirs()))],
    "experiments.StackedLinear": [written(
        (100, 10, 64), lambda dtype: experiments.StackedLinear(
            upstream(STACK, dtype), upstream((10, 1, 128), dtype)),
        lambda: SideBySideLinear(torch.zeros(STACK), torch.zeros(10, 1, 128)))],
}


# layers that draw numbers, and one where PyTorch's float64 goes through float32
UNLIKE = ("regularization.", "gpu.Rounded")


def layer_cases(name, entry):
    if name not in LAYERS:
        def pair(dtype):
            x = grown(entry.inputs, np.dtype(dtype))["x"]
            return layer_pair(entry.make(np.dtype(dtype)), entry.theirs(), x)

        if entry.theirs is None:
            yield Case("layer", name, "", "", without=str(entry.twin))
            return
        shape = grown(entry.inputs, np.dtype("float32"))["x"].shape
        yield Case("layer", name, times(shape), name_of(entry.theirs()), pair, BOTH,
                   same=not name.startswith(UNLIKE))
        return
    for enlarge in LAYERS[name]:
        large = enlarge(entry.target)

        def pair(dtype, large=large):
            x = generator().normal(size=large.shape).astype(dtype)
            return layer_pair(large.ours(np.dtype(dtype)), large.theirs(), x)

        yield Case("layer", name + large.label, times(large.shape),
                   name_of(large.theirs()), pair, BOTH, large.limit,
                   same=not name.startswith(UNLIKE))


# --- losses ---------------------------------------------------------------------------

def loss_pair(loss, module, prediction, target):
    """Forward and backward."""
    given, wanted = tensor(prediction, grad=True), tensor(target)

    def ours():
        value = loss.forward(prediction, target)
        return {"value": value, "dx": loss.backward()}

    def autograd():
        value = module(given, wanted)
        dx, = torch.autograd.grad(value, given)
        return {"value": value.item(), "dx": dx.numpy()}

    return ours, autograd


def networks_side_by_side(prediction, target):
    """As experiments.SideBySide: the sum of the networks' losses."""
    return sum(F.cross_entropy(prediction[:, k], target[:, k])
               for k in range(prediction.shape[1]))


LOSSES = {"losses.InfoNCELoss": registry.info_nce,
          "experiments.SideBySide": lambda: networks_side_by_side}
ROWS = {"losses.InfoNCELoss": 256 * 6}  # it compares every row with every other


def loss_cases(name, entry):
    theirs = LOSSES.get(name, entry.theirs)
    numbers = ROWS.get(name, NUMBERS)

    def pair(dtype):
        return loss_pair(entry.make(np.dtype(dtype)), theirs(),
                         **grown(entry.inputs, np.dtype(dtype), numbers))

    if theirs is None:
        yield Case("loss", name, "", "", without=str(entry.twin))
        return
    shape = grown(entry.inputs, np.dtype("float32"), numbers)["prediction"].shape
    yield Case("loss", name, times(shape), name_of(theirs()), pair)


# --- optimizers -----------------------------------------------------------------------

NETWORK = {"0.weight": (100, 784), "0.bias": (100,), "2.weight": (10, 100),
           "2.bias": (10,)}
MATRICES = {name: shape for name, shape in NETWORK.items() if len(shape) == 2}


def optimizer_pair(make, theirs, shapes):
    """One step on the parameters of a network 784-100-10."""
    rng = generator()
    params = {name: 0.1 * rng.normal(size=shape).astype(np.float32)
              for name, shape in shapes.items()}
    grads = {name: rng.normal(size=value.shape).astype(np.float32)
             for name, value in params.items()}
    tensors = [tensor(value, grad=True) for value in params.values()]
    for each, grad in zip(tensors, grads.values()):
        each.grad = tensor(grad)
    optimizer, rival = make(params), theirs(tensors)

    def ours():
        optimizer.step(grads)
        return params["0.weight"]

    def step():
        rival.step()
        return tensors[0].detach().numpy()

    return ours, step


CURVATURES = np.linspace(1, 100, 1000)


def lbfgs_pair(dtype):
    """Twenty iterations from one start on a quadratic function of 1,000 unknowns."""
    start, curvature = np.ones(1000, dtype), CURVATURES.astype(dtype)
    bent = tensor(curvature)

    def ours():
        x = start.copy()

        def closure():
            slope = curvature * x
            return 0.5 * float(x @ slope), {"x": slope}

        registry.gd.LBFGS({"x": x}).step(closure)
        return x

    def theirs():
        x = tensor(start, grad=True)
        optimizer = torch.optim.LBFGS([x])

        def closure():
            optimizer.zero_grad()
            loss = 0.5 * (x @ (bent * x))
            loss.backward()
            return loss

        optimizer.step(closure)
        return x.detach().numpy()

    return ours, theirs


SMALL_STEPS = {"lr": 1e-6}  # thousands of steps go nowhere
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")


def optimizer_cases(name, entry):
    target = entry.target
    if target is registry.gd.LBFGS:
        yield Case("optimizer", name, "1,000 unknowns, 20 iterations",
                   "torch.optim.LBFGS", lbfgs_pair, BOTH)
        return
    theirs = getattr(torch.optim, target.__name__, None)
    if theirs is None:
        yield Case("optimizer", name, "", "", without=str(entry.twin))
        return
    muon = target is registry.opt.Muon
    shapes = MATRICES if muon else NETWORK
    for fused in (False, True) if target.__name__ in FUSED else (False,):
        how = SMALL_STEPS | ({"fused": True} if fused else {})
        yield Case(
            "optimizer", name, "784-100-10, its matrices" if muon else "784-100-10",
            f"torch.optim.{target.__name__}" + ("(fused=True)" if fused else ""),
            lambda dtype, how=how: optimizer_pair(
                lambda params: target(params, **SMALL_STEPS),
                lambda tensors: theirs(tensors, **how), shapes),
            same=not muon)  # PyTorch's works in bfloat16


# --- steps of training ----------------------------------------------------------------

def step_pair(ours, theirs, shape, make, make_theirs):
    """Forward, the loss, backward and a step of the optimizer, on one batch."""
    rng = generator()
    x, labels = rng.random(shape, np.float32), rng.integers(10, size=shape[0])
    inputs, targets = tensor(x), tensor(labels)
    model, loss, rival = Sequential(*ours(generator(5))), CrossEntropyLoss(), theirs()
    rival.load_state_dict({name: tensor(value) for name, value in
                           (model.params | model.buffers).items()})
    optimizer = make(model.params, lr=1e-4)
    other = make_theirs(rival.parameters(), lr=1e-4)

    def step():
        value = loss.forward(model.forward(x), labels)
        model.backward(loss.backward(), input_grad=False)
        optimizer.step(model.grads)
        return value

    def autograd():
        other.zero_grad()
        value = F.cross_entropy(rival(inputs), targets)
        value.backward()
        other.step()
        return value.item()

    return step, autograd


def mlp(*sizes, activation=ReLU):
    """(ours, theirs): layers of a network, each as a function that makes them."""
    def ours(rng):
        layers = []
        for n, m in zip(sizes, sizes[1:]):
            layers += [Linear(n, m, rng=rng, dtype=np.float32), activation()]
        return layers[:-1]

    def theirs():
        layers = []
        for n, m in zip(sizes, sizes[1:]):
            layers += [torch.nn.Linear(n, m), getattr(torch.nn, activation.__name__)()]
        return torch.nn.Sequential(*layers[:-1])

    return ours, theirs


def regularized(rng):
    return [Linear(784, 100, rng=rng, dtype=np.float32),
            BatchNorm1d(100, dtype=np.float32), ReLU(), Dropout(rng=generator(6)),
            Linear(100, 10, rng=rng, dtype=np.float32)]


def regularized_theirs():
    return torch.nn.Sequential(torch.nn.Linear(784, 100), torch.nn.BatchNorm1d(100),
                               torch.nn.ReLU(), torch.nn.Dropout(),
                               torch.nn.Linear(100, 10))


def cnn(rng):
    return [Conv2d(1, 30, 5, rng=rng, dtype=np.float32), ReLU(), MaxPool2d(2),
            Flatten(), Linear(4320, 100, rng=rng, dtype=np.float32), ReLU(),
            Linear(100, 10, rng=rng, dtype=np.float32)]


def cnn_theirs():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 30, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(4320, 100), torch.nn.ReLU(),
        torch.nn.Linear(100, 10))


DIGITS = (100, 784)
OPTIM = torch.optim
# what is trained: (ours, theirs), the batch, the two optimizers, the limit
STEPS = {
    "784-100-10, SGD": (mlp(784, 100, 10), DIGITS, SGD, OPTIM.SGD, 0.75),
    "784-100-10, sigmoid, SGD": (mlp(784, 100, 10, activation=Sigmoid), DIGITS, SGD,
                                 OPTIM.SGD, 0.75),
    "784-100-10, one example, SGD": (mlp(784, 100, 10), (1, 784), SGD, OPTIM.SGD,
                                     None),
    "784-100-10, Adam": (mlp(784, 100, 10), DIGITS, Adam, OPTIM.Adam, None),
    "784-1024-1024-10, Adam": (mlp(784, 1024, 1024, 10), DIGITS, Adam, OPTIM.Adam,
                               None),
    "784-100-10, batch norm, dropout, AdamW": (
        (regularized, regularized_theirs), DIGITS, AdamW, OPTIM.AdamW, None),
    "conv 30@5×5, pool, 100, 10, SGD": ((cnn, cnn_theirs), (100, 1, 28, 28), SGD,
                                        OPTIM.SGD, 1.5),
}


def step_cases():
    for name, (parts, shape, make, theirs, limit) in STEPS.items():
        yield Case("training step", name, times(shape), "PyTorch, eager, not fused",
                   lambda dtype, parts=parts, shape=shape, make=make, theirs=theirs:
                   step_pair(*parts, shape, make, theirs), limit=limit,
                   same="dropout" not in name)


# --- scikit-learn and SciPy -----------------------------------------------------------

def rows(n=500, columns=64):
    return {"x": generator().normal(size=(n, columns))}


def labelled_rows():
    rng = generator()
    return rows(300) | {"y": rng.integers(10, size=300),
                        "x_test": rng.normal(size=(100, 64))}


def many(name):
    """The registry's inputs with some 10,000 numbers."""
    return lambda: grown(ENTRIES[name].inputs, np.dtype("float64"), 10_000)


def curve():
    x = np.linspace(0, 1, 100)[:, None]
    return {"x": x, "y": np.sin(9 * x[:, 0]), "x_new": x + 0.005, "length": 0.2,
            "noise": 0.1}


SKLEARN, SCIPY = "scikit-learn", "SciPy"
# names of the registry, whose twins are called on these inputs
TWINS = {
    "normalization.MinMaxScaler": (rows, SKLEARN),
    "normalization.StandardScaler": (rows, SKLEARN),
    "normalization.RobustScaler": (rows, SKLEARN),
    "learning.PCA": (rows, SKLEARN),
    "learning.gaussian_process": (curve, SKLEARN),
    "experiments.nearest_neighbor": (labelled_rows, SKLEARN),
    **{f"learning.{name}": (many(f"learning.{name}"), SKLEARN) for name in (
        "confusion_matrix", "precision_recall_f1", "roc_curve", "roc_auc",
        "precision_recall_curve", "average_precision")},
    "learning.bootstrap_interval": (
        ENTRIES["learning.bootstrap_interval"].inputs, SCIPY),
    "generative.frechet_distance": (
        lambda: {"a": rows()["x"], "b": 1 + rows()["x"]}, "written with SciPy"),
}


def twin_pair(name, inputs):
    entry, dtype = ENTRIES[name], np.dtype("float64")
    given = inputs(generator(), dtype) if name.endswith("interval") else inputs()
    thing = entry.make(dtype)
    return (lambda: entry.use(thing, **given), lambda: entry.twin(thing, given, {}))


def perceptron_pair(dtype):
    """Three passes over examples that no line parts."""
    rng = generator()
    x, y = rng.normal(size=(300, 64)), rng.choice([-1, 1], size=300)
    theirs = sklearn.linear_model.Perceptron(shuffle=False, tol=None, max_iter=3)

    def ours():
        unit = perceptron.Perceptron(64)
        unit.fit(x, y, max_epochs=3)
        return unit.params["weight"]

    return ours, lambda: theirs.fit(x, y).coef_


def rbm_pair(dtype):
    """A step of persistent contrastive divergence on 100 binary digits."""
    rng = generator()
    v = (rng.random((100, 64)) < 0.3).astype(float)
    machine = generative.RBM(64, 100, generator(1))
    theirs = sklearn.neural_network.BernoulliRBM(
        100, learning_rate=1e-6, batch_size=100, n_iter=1, random_state=0)
    theirs.partial_fit(v)
    state = {"fantasy": v}

    def ours():
        state["fantasy"] = machine.gibbs(state["fantasy"], rng)
        slopes = machine.gradient(v, state["fantasy"])
        for name, slope in slopes.items():
            machine.params[name] += 1e-6 * slope

    return ours, lambda: theirs.partial_fit(v) and None


def size_of(inputs):
    shapes = [np.shape(value) for value in inputs.values()
              if isinstance(value, np.ndarray)]
    return times(max(shapes, key=math.prod)) if shapes else "2 × 12"


def twin_cases():
    for name, (inputs, library) in TWINS.items():
        given = {} if name.endswith("interval") else inputs()
        yield Case("estimator", name, size_of(given), library,
                   lambda dtype, name=name, inputs=inputs: twin_pair(name, inputs),
                   DOUBLE, same=not name.endswith("interval"))  # it draws
    yield Case("estimator", "perceptron.Perceptron", "300 × 64, three passes", SKLEARN,
               perceptron_pair, DOUBLE)
    yield Case("estimator", "generative.RBM", "100 × 64, 100 hidden units", SKLEARN,
               rbm_pair, DOUBLE, same=False)


def cases():
    """Every row of the table, in its order."""
    found = list(step_cases())
    for kind, build in (("layer", layer_cases), ("loss", loss_cases),
                        ("optimizer", optimizer_cases)):
        for name, entry in ENTRIES.items():
            if entry.kind == kind:
                found += build(name, entry)
    return found + list(twin_cases())


# --- how a step grows -----------------------------------------------------------------

@dataclass
class Growth:
    """What grows, over which values, and the power of it that the products take."""

    values: tuple
    power: int
    said: str
    pair: Callable  # of one value


def hidden(width, depth, batch):
    """A pass through `depth` layers of one width, and the step after it."""
    parts = mlp(*[width] * depth, 10)
    return step_pair(*parts, (batch, width), SGD, torch.optim.SGD)


GROWTH = {
    "batch": Growth((1, 4, 16, 64, 256, 1024, 4096), 1,
                    "four layers of width 256", lambda n: hidden(256, 4, n)),
    "width": Growth((16, 32, 64, 128, 256, 512, 1024, 2048), 2,
                    "four layers, batches of 64", lambda n: hidden(n, 4, 64)),
    "depth": Growth((2, 4, 8, 16, 32, 64), 1,
                    "layers of width 256, batches of 64", lambda n: hidden(256, n, 64)),
}
