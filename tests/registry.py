"""Every public name of `byhand`, with valid inputs, how to call it, and its twin.

`ENTRIES` holds an Entry for each name that computes something, `EXEMPT` a reason for
each of the others; tests/test_faults.py asks that no name is missing and runs one test
for each kind of fault over all entries. Arrays, settings and twins are written down
here once: a new function becomes safe by one entry.
"""

import math
import sys
from collections import namedtuple
from dataclasses import dataclass, field
from typing import Any, Callable

import numpy as np
import scipy.linalg
import scipy.special
import scipy.stats
import sklearn.decomposition
import sklearn.dummy
import sklearn.gaussian_process
import sklearn.linear_model
import sklearn.metrics
import sklearn.model_selection
import sklearn.neighbors
import sklearn.preprocessing
import torch
import torch.nn.functional as F

import byhand.activations as act
import byhand.backprop as bp
import byhand.checks as checks
import byhand.convolution as conv
import byhand.ensembles as ens
import byhand.experiments as exp
import byhand.generative as gen
import byhand.gpu as gpu
import byhand.gradient_descent as gd
import byhand.initialization as init
import byhand.learning as learn
import byhand.losses as losses
import byhand.normalization as norm
import byhand.optimizers as opt
import byhand.perceptron as perc
import byhand.regularization as reg
import byhand.transfer_learning as tl

LBFGS = sys.modules["torch.optim.lbfgs"]  # torch.optim hides the module


@dataclass
class Entry:
    """One public name. make(dtype, **settings) gives a fresh object, inputs(rng, dtype)
    a dict of arguments, use(thing, **inputs) a dict of results.

    twin(thing, inputs, settings) gives some of the same results from PyTorch, SciPy or
    scikit-learn; or it is the reason why there is none. settings holds another value
    for each keyword, `After(value, other=...)` where it counts only together with
    another, or `Idle(reason)` where it legitimately changes nothing.
    """

    target: Any
    inputs: Callable
    use: Callable
    twin: Any
    make: Callable = None
    settings: dict = field(default_factory=dict)
    kind: str = "function"
    # {sweep: the reason why it does not apply}
    spare: dict = field(default_factory=dict)
    # settings under which float32 and float64 compute the same thing
    alike: dict = field(default_factory=dict)
    limit: float = 1e-8  # largest relative distance from the twin in float64
    # theirs(**settings) makes PyTorch's object: benchmarks/speed.py times it
    theirs: Callable = None


@dataclass
class After:
    value: Any
    others: dict

    def __init__(self, value, **others):
        self.value, self.others = value, others


@dataclass
class Idle:
    reason: str


ENTRIES, EXEMPT = {}, {}
Four = namedtuple("Four", "x_train y_train x_test y_test")  # like lab.Dataset


def generator(seed=0):
    return np.random.default_rng(seed)


def upstream(shape, dtype):
    """The gradient that arrives: the same numbers in every dtype."""
    return np.asarray(generator(11).normal(size=shape), dtype)


def arriving(shape, dtype):
    """What use_layer, use_loss and their twins hand to backward."""
    return upstream(shape, dtype)


def tensor(x, grad=False):
    x = torch.tensor(np.array(x))
    return x.requires_grad_() if grad and x.is_floating_point() else x


def array(x):
    return x.detach().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


def add(target, **entry):
    ENTRIES[f"{target.__module__.removeprefix('byhand.')}.{target.__name__}"] = Entry(
        target, **entry)


# --- layers ---------------------------------------------------------------------------

def normal_array(*shape, shift=0.0, scale=1.0):
    return lambda rng, dtype: {
        "x": (shift + scale * rng.normal(size=shape)).astype(dtype)}


def use_layer(layer, x):
    y = layer.forward(x)
    results = {"y": y, "dx": layer.backward(arriving(np.shape(y), x.dtype))}
    results |= {f"{name}.grad": grad for name, grad in layer.grads.items()}
    return results | {name: value.copy() for name, value in layer.buffers.items()}


def layer_twin(theirs):
    """Runs a module of torch, from the state of ours, on the same arrays."""
    def run(layer, inputs, settings):
        x = tensor(inputs["x"], grad=True)
        module = theirs(**settings)
        if isinstance(module, torch.nn.Module):
            module = module.to(x.dtype)
            module.load_state_dict({name: tensor(value) for name, value in
                                    (layer.params | layer.buffers).items()})
            module.train(layer.training)
        y = module(x)
        y.backward(tensor(arriving(tuple(y.shape), inputs["x"].dtype)))
        results = {"y": array(y), "dx": array(x.grad)}
        if isinstance(module, torch.nn.Module):
            results |= {f"{name}.grad": array(p.grad)
                        for name, p in module.named_parameters()}
            results |= {name: array(b) for name, b in module.named_buffers()}
        return results
    return run


def add_layer(target, theirs, *, inputs, make=None, **entry):
    """theirs: a factory of torch modules or functions, or the reason for none."""
    add(target, inputs=inputs, use=use_layer, kind="layer",
        make=make or (lambda dtype, **settings: target(**settings)),
        twin=layer_twin(theirs) if callable(theirs) else theirs,
        theirs=theirs if callable(theirs) else None, **entry)


def of_dtype(target, *arguments):
    return lambda dtype, **settings: target(*arguments, **settings, dtype=dtype)


elementwise = normal_array(4, 6, scale=3.0)
for ours, theirs in {act.Tanh: torch.nn.Tanh, act.Softsign: torch.nn.Softsign,
                     act.SiLU: torch.nn.SiLU, act.Mish: torch.nn.Mish,
                     act.Hardswish: torch.nn.Hardswish, act.SELU: torch.nn.SELU,
                     bp.Sigmoid: torch.nn.Sigmoid, bp.ReLU: torch.nn.ReLU}.items():
    add_layer(ours, theirs, inputs=elementwise)
add_layer(act.LeakyReLU, torch.nn.LeakyReLU, inputs=elementwise,
          settings={"negative_slope": 0.2})
add_layer(act.ELU, torch.nn.ELU, inputs=elementwise, settings={"alpha": 0.5})
add_layer(act.CELU, torch.nn.CELU, inputs=elementwise, settings={"alpha": 0.5})
add_layer(act.Softplus, torch.nn.Softplus, inputs=elementwise,
          settings={"beta": 2.0, "threshold": 0.5})
add_layer(act.Swish, lambda beta=1.0: lambda x: x * torch.sigmoid(beta * x),
          inputs=elementwise, settings={"beta": 2.0})
add_layer(act.GELU, torch.nn.GELU, inputs=elementwise,
          settings={"approximate": "tanh"})
add_layer(act.PReLU, torch.nn.PReLU, inputs=elementwise, make=of_dtype(act.PReLU),
          settings={"num_parameters": 6, "init": 0.5})
add_layer(act.Maxout, lambda pieces=2: lambda x: x.unflatten(1, (-1, pieces)).amax(2),
          inputs=elementwise, settings={"pieces": 3})
add_layer(act.GLU, torch.nn.GLU, inputs=elementwise, settings={"dim": 0})
add_layer(act.SwiGLU, lambda dim=-1: lambda x: F.silu(x.chunk(2, dim)[0])
          * x.chunk(2, dim)[1], inputs=elementwise, settings={"dim": 0})
add_layer(act.GEGLU, lambda dim=-1: lambda x: F.gelu(x.chunk(2, dim)[0])
          * x.chunk(2, dim)[1], inputs=elementwise, settings={"dim": 0})
add_layer(act.SquaredReLU, lambda: lambda x: F.relu(x).square(), inputs=elementwise)
add_layer(losses.Softmax, lambda dim=-1: torch.nn.Softmax(dim), inputs=elementwise,
          settings={"dim": 0})
add_layer(losses.LogSoftmax, lambda dim=-1: torch.nn.LogSoftmax(dim),
          inputs=elementwise, settings={"dim": 0})


def seeded(target, *arguments):
    return lambda dtype, **settings: target(*arguments, **settings, rng=generator(5))


def seeded_dtype(target, *arguments):
    return lambda dtype, **settings: target(*arguments, **settings, rng=generator(5),
                                            dtype=dtype)


add_layer(bp.Linear, lambda bias=True: torch.nn.Linear(6, 3, bias=bias),
          inputs=normal_array(4, 6), make=seeded_dtype(bp.Linear, 6, 3),
          settings={"bias": False})
add_layer(bp.Sequential,
          lambda: torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(),
                                      torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 2)),
          inputs=normal_array(4, 6), make=lambda dtype: bp.Sequential(
              bp.Linear(6, 5, rng=generator(5), dtype=dtype), act.Tanh(),
              norm.BatchNorm1d(5, dtype=dtype),
              bp.Linear(5, 2, rng=generator(6), dtype=dtype)),
          spare={"squares": "a bias before a batch norm has a gradient of round-off"})

MASKS = "PyTorch draws other masks; the chapter's tests hold it to the mask it drew"
add_layer(reg.Dropout, MASKS, inputs=normal_array(40, 6), make=seeded(reg.Dropout),
          settings={"p": 0.25})
add_layer(reg.StochasticDepth, MASKS, inputs=normal_array(40, 6),
          make=seeded(reg.StochasticDepth, 0.5), settings={"mode": "batch"})
add_layer(reg.DropConnect, MASKS, inputs=normal_array(40, 6),
          make=seeded_dtype(reg.DropConnect, 6, 3), settings={"p": 0.25, "bias": False})
add_layer(reg.GaussianNoise, "PyTorch has no such layer", inputs=normal_array(4, 6),
          make=seeded(reg.GaussianNoise, 0.5))
add_layer(reg.FractionalMaxPool2d, MASKS, inputs=normal_array(2, 3, 7, 8),
          make=lambda dtype, **s: reg.FractionalMaxPool2d(
              2, **({"output_ratio": 0.6} if "output_size" not in s else {}) | s,
              rng=generator(5)),
          settings={"output_size": 3, "output_ratio": 0.4, "regions": "random"})

add_layer(norm.BatchNorm1d, lambda **s: torch.nn.BatchNorm1d(6, **s),
          inputs=normal_array(5, 6, shift=0.5), make=of_dtype(norm.BatchNorm1d, 6),
          settings={"eps": 0.1, "momentum": None, "affine": False, "bias": False,
                    "track_running_stats": False})
add_layer(norm.BatchNorm2d, lambda **s: torch.nn.BatchNorm2d(3, **s),
          inputs=normal_array(5, 3, 2, 4, shift=0.5),
          make=of_dtype(norm.BatchNorm2d, 3),
          settings={"eps": 0.1, "momentum": None, "affine": False, "bias": False,
                    "track_running_stats": False})
add_layer(norm.InstanceNorm1d, lambda **s: torch.nn.InstanceNorm1d(3, **s),
          inputs=normal_array(5, 3, 4, shift=0.5),
          make=of_dtype(norm.InstanceNorm1d, 3),
          settings={"eps": 0.1, "momentum": After(0.3, track_running_stats=True),
                    "affine": True, "bias": After(False, affine=True),
                    "track_running_stats": True})
add_layer(norm.InstanceNorm2d, lambda **s: torch.nn.InstanceNorm2d(3, **s),
          inputs=normal_array(5, 3, 2, 4, shift=0.5),
          make=of_dtype(norm.InstanceNorm2d, 3),
          settings={"eps": 0.1, "momentum": After(0.3, track_running_stats=True),
                    "affine": True, "bias": After(False, affine=True),
                    "track_running_stats": True})
add_layer(norm.LayerNorm, lambda **s: torch.nn.LayerNorm(6, **s),
          inputs=normal_array(4, 6, shift=0.5), make=of_dtype(norm.LayerNorm, 6),
          settings={"eps": 0.1, "elementwise_affine": False, "bias": False})
add_layer(norm.RMSNorm, lambda **s: torch.nn.RMSNorm(6, **s),
          inputs=normal_array(4, 6, shift=0.5), make=of_dtype(norm.RMSNorm, 6),
          settings={"eps": 0.1, "elementwise_affine": False}, alike={"eps": 1e-30})
add_layer(norm.GroupNorm, lambda **s: torch.nn.GroupNorm(2, 4, **s),
          inputs=normal_array(3, 4, 5, shift=0.5), make=of_dtype(norm.GroupNorm, 2, 4),
          settings={"eps": 0.1, "affine": False, "bias": False})
add_layer(norm.StackedBatchNorm,
          lambda **s: Flat(torch.nn.BatchNorm1d(6, **s)),
          inputs=normal_array(5, 2, 3, shift=0.5),
          make=of_dtype(norm.StackedBatchNorm, 6),
          settings={"eps": 0.1, "momentum": None, "affine": False, "bias": False,
                    "track_running_stats": False})


class Flat(torch.nn.Module):
    """A module on the last two axes as one; its parameters bear their own names."""

    def __init__(self, module):
        super().__init__()
        self._parameters, self._buffers = module._parameters, module._buffers
        self.__dict__["inner"] = module

    def train(self, mode=True):
        self.inner.train(mode)
        return self

    def forward(self, x):
        return self.inner(x.flatten(1)).reshape(x.shape)


images = normal_array(2, 4, 6, 7)
add_layer(conv.Conv2d, lambda **s: torch.nn.Conv2d(4, 6, 3, **s), inputs=images,
          make=seeded_dtype(conv.Conv2d, 4, 6, 3),
          settings={"stride": 2, "padding": 1, "dilation": 2, "groups": 2,
                    "bias": False})
add_layer(conv.ConvTranspose2d, lambda **s: torch.nn.ConvTranspose2d(4, 6, 3, **s),
          inputs=images, make=seeded_dtype(conv.ConvTranspose2d, 4, 6, 3),
          settings={"stride": 2, "padding": 1, "dilation": 2, "groups": 2,
                    "bias": False, "output_padding": After((0, 1), stride=2)})
add_layer(conv.MaxPool2d, lambda **s: torch.nn.MaxPool2d(3, **s), inputs=images,
          make=lambda dtype, **s: conv.MaxPool2d(3, **s),
          settings={"stride": 1, "padding": 1, "dilation": 2,
                    "ceil_mode": After(True, stride=2)})
add_layer(conv.AvgPool2d, lambda **s: torch.nn.AvgPool2d(3, **s), inputs=images,
          make=lambda dtype, **s: conv.AvgPool2d(3, **s),
          settings={"stride": 1, "padding": 1, "ceil_mode": After(True, stride=2),
                    "count_include_pad": After(False, padding=1),
                    "divisor_override": 2})
add_layer(conv.AdaptiveAvgPool2d, lambda: torch.nn.AdaptiveAvgPool2d((4, 3)),
          inputs=images, make=lambda dtype: conv.AdaptiveAvgPool2d((4, 3)))
add_layer(conv.Flatten, torch.nn.Flatten, inputs=images,
          settings={"start_dim": 2, "end_dim": 2})
add_layer(conv.Residual, "PyTorch has none; the lecture holds it to one written there",
          inputs=images, make=lambda dtype, **s: conv.Residual(
              conv.Conv2d(4, 4, 1, rng=generator(5), dtype=dtype), **s),
          settings={"shortcut": conv.MaxPool2d(3, stride=1, padding=1)})


# --- losses ---------------------------------------------------------------------------

def use_loss(loss, prediction, target):
    value = loss.forward(prediction, target)
    dy = arriving(np.shape(value), prediction.dtype) if np.ndim(value) else 1.5
    return {"loss": value, "dx": loss.backward(dy)}


def loss_twin(theirs):
    def run(loss, inputs, settings):
        prediction = tensor(inputs["prediction"], grad=True)
        module = theirs(**{name: tensor(value) if isinstance(value, np.ndarray)
                           else value for name, value in settings.items()})
        if isinstance(module, torch.nn.Module):
            module = module.to(prediction.dtype)
        value = module(prediction, tensor(inputs["target"]))
        dy = (tensor(arriving(tuple(value.shape), inputs["prediction"].dtype))
              if value.ndim else torch.tensor(1.5, dtype=value.dtype))
        value.backward(dy)
        return {"loss": array(value), "dx": array(prediction.grad)}
    return run


def add_loss(target, theirs, inputs, **entry):
    add(target, inputs=inputs, use=use_loss, kind="loss",
        make=lambda dtype, **settings: target(**settings), twin=loss_twin(theirs),
        theirs=theirs, **entry)


def two_normal(rng, dtype):
    return {"prediction": rng.normal(size=(4, 6)).astype(dtype),
            "target": rng.normal(size=(4, 6)).astype(dtype)}


def two_probabilities(rng, dtype):
    return {"prediction": rng.uniform(0.1, 0.9, (4, 6)).astype(dtype),
            "target": rng.uniform(0, 1, (4, 6)).astype(dtype)}


def logits_and_probabilities(rng, dtype):
    return {"prediction": (3 * rng.normal(size=(4, 6))).astype(dtype),
            "target": rng.uniform(0, 1, (4, 6)).astype(dtype)}


def log_probabilities_and_labels(rng, dtype):
    x = rng.normal(size=(4, 6))
    return {"prediction": scipy.special.log_softmax(x, axis=1).astype(dtype),
            "target": np.array([0, 5, 2, 3])}


def logits_and_labels(rng, dtype):
    return {"prediction": (3 * rng.normal(size=(4, 6))).astype(dtype),
            "target": np.array([0, 5, 2, 3])}


def two_distributions(rng, dtype):
    x, t = rng.normal(size=(2, 4, 6))
    return {"prediction": scipy.special.log_softmax(x, axis=1).astype(dtype),
            "target": scipy.special.softmax(t, axis=1).astype(dtype)}


PER_CLASS = np.array([0.5, 1.0, 2.0, 0.25, 4.0, 3.0])
add_loss(bp.MSELoss, torch.nn.MSELoss, two_normal, settings={"reduction": "none"})
add_loss(losses.L1Loss, torch.nn.L1Loss, two_normal, settings={"reduction": "none"})
add_loss(losses.HuberLoss, torch.nn.HuberLoss, two_normal,
         settings={"reduction": "none", "delta": 0.3})
add_loss(losses.BCELoss, torch.nn.BCELoss, two_probabilities,
         settings={"reduction": "none", "weight": PER_CLASS})
add_loss(losses.BCEWithLogitsLoss, torch.nn.BCEWithLogitsLoss, logits_and_probabilities,
         settings={"reduction": "none", "weight": PER_CLASS, "pos_weight": PER_CLASS})
add_loss(losses.NLLLoss, torch.nn.NLLLoss, log_probabilities_and_labels,
         settings={"reduction": "none", "weight": PER_CLASS, "ignore_index": 5})
add_loss(losses.CrossEntropyLoss, torch.nn.CrossEntropyLoss, logits_and_labels,
         settings={"reduction": "none", "weight": PER_CLASS, "ignore_index": 5,
                   "label_smoothing": 0.1})
add_loss(losses.KLDivLoss, torch.nn.KLDivLoss, two_distributions,
         settings={"reduction": "batchmean", "log_target": True})
add_loss(losses.SmoothL1Loss, torch.nn.SmoothL1Loss, two_normal,
         settings={"reduction": "none", "beta": 0.3},
         spare={"squares": "a single loss is a float32 number, as PyTorch's"})


def reduced(values, reduction):
    return values if reduction == "none" else getattr(values, reduction)()


def pinball(q=0.5, reduction="mean"):
    """torch.maximum would halve the slope at 0, which no input here has."""
    return lambda prediction, target: reduced(torch.maximum(
        q * (target - prediction), (q - 1) * (target - prediction)), reduction)


def focal(gamma=2.0, alpha=None, reduction="mean"):
    """As in torchvision.ops.sigmoid_focal_loss."""
    def loss(z, t):
        p = torch.sigmoid(z)
        values = (F.binary_cross_entropy_with_logits(z, t, reduction="none")
                  * (1 - p * t - (1 - p) * (1 - t))**gamma)
        if alpha is not None:
            values = values * (alpha * t + (1 - alpha) * (1 - t))
        return reduced(values, reduction)
    return loss


def info_nce(temperature=1.0, reduction="mean"):
    return lambda a, b: F.cross_entropy(
        a @ b.T / temperature, torch.arange(len(a)), reduction=reduction)


def logits_and_bits(rng, dtype):
    return {"prediction": (3 * rng.normal(size=(4, 6))).astype(dtype),
            "target": (rng.uniform(size=(4, 6)) < 0.4).astype(dtype)}


def use_info_nce(loss, prediction, target):
    return use_loss(loss, prediction, target) | {"dtarget": loss.target_grad}


def info_nce_twin(loss, inputs, settings):
    """With the gradients of both sides."""
    a, b = tensor(inputs["prediction"], grad=True), tensor(inputs["target"], grad=True)
    value = info_nce(**settings)(a, b)
    value.backward(tensor(arriving(tuple(value.shape), inputs["prediction"].dtype))
                   if value.ndim else torch.tensor(1.5, dtype=value.dtype))
    return {"loss": array(value), "dx": array(a.grad), "dtarget": array(b.grad)}


add_loss(losses.PinballLoss, pinball, two_normal,
         settings={"reduction": "none", "q": 0.9})
add_loss(losses.FocalLoss, focal, logits_and_bits,
         settings={"reduction": "none", "gamma": 0.5, "alpha": 0.25})
add_loss(losses.MultiMarginLoss, torch.nn.MultiMarginLoss, logits_and_labels,
         settings={"reduction": "none", "margin": 0.5})
add(losses.InfoNCELoss, inputs=two_normal, use=use_info_nce, kind="loss",
    make=lambda dtype, **settings: losses.InfoNCELoss(**settings), twin=info_nce_twin,
    settings={"reduction": "none", "temperature": 0.3},
    spare={"squares": "the logits are products, float32 numbers as PyTorch's"})

# --- optimizers and schedules ---------------------------------------------------------

STEPS = 8  # RAdam begins to divide at the sixth


def gradients(rng, dtype):
    return {"param": rng.normal(size=(3, 4)).astype(dtype),
            "grads": rng.normal(size=(STEPS, 3, 4)).astype(dtype)}


def use_optimizer(make, param, grads):
    param = np.array(param)
    optimizer = make({"w": param})
    for grad in grads:
        optimizer.step({"w": grad})
    return {"param": param}


def optimizer_twin(theirs):
    def run(make, inputs, settings):
        param = tensor(inputs["param"], grad=True)
        optimizer = theirs([param], **settings)
        for grad in inputs["grads"]:
            param.grad = tensor(grad)
            optimizer.step()
        return {"param": array(param)}
    return run


def add_optimizer(target, theirs, **entry):
    add(target, inputs=gradients, use=use_optimizer, kind="optimizer",
        make=lambda dtype, **settings: lambda params: target(params, **settings),
        twin=optimizer_twin(theirs) if callable(theirs) else theirs,
        theirs=theirs if callable(theirs) else None, **entry)


COMMON = {"lr": 0.07, "weight_decay": 0.3, "maximize": True}
BETAS = {"betas": (0.7, 0.8), "eps": 0.1}
add_optimizer(opt.SGD, torch.optim.SGD, settings=COMMON | {
    "momentum": 0.9, "dampening": After(0.5, momentum=0.9),
    "nesterov": After(True, momentum=0.9)})
add_optimizer(opt.Adagrad, torch.optim.Adagrad, settings=COMMON | {
    "lr_decay": 0.5, "initial_accumulator_value": 0.5, "eps": 0.1})
add_optimizer(opt.RMSprop, torch.optim.RMSprop, settings=COMMON | {
    "alpha": 0.5, "eps": 0.1, "momentum": 0.5, "centered": True})
add_optimizer(opt.Adadelta, torch.optim.Adadelta, settings=COMMON | {
    "rho": 0.5, "eps": 0.1})
add_optimizer(opt.Adam, torch.optim.Adam, settings=COMMON | BETAS | {
    "amsgrad": True, "decoupled_weight_decay": After(True, weight_decay=0.3)})
add_optimizer(opt.AdamW, torch.optim.AdamW, settings=COMMON | BETAS | {"amsgrad": True})
add_optimizer(opt.NAdam, torch.optim.NAdam, settings=COMMON | BETAS | {
    "momentum_decay": 0.5, "decoupled_weight_decay": After(True, weight_decay=0.3)})
add_optimizer(opt.Adamax, torch.optim.Adamax, settings=COMMON | BETAS)
add_optimizer(opt.RAdam, torch.optim.RAdam, settings=COMMON | BETAS | {
    "decoupled_weight_decay": After(True, weight_decay=0.3)})
add_optimizer(opt.Lion, "PyTorch has no Lion", settings={
    "lr": 0.07, "weight_decay": 0.3, "maximize": True, "betas": (0.1, 0.3)})
add_optimizer(opt.Muon, "PyTorch's iterates in bfloat16; the chapter's tests compare",
              settings={"lr": 0.07, "weight_decay": 0.3, "momentum": 0.5,
                        "nesterov": False, "ns_coefficients": (2.0, -1.5, 0.5),
                        "eps": 50.0, "ns_steps": 2, "adjust_lr_fn": "match_rms_adamw"})


def no_arrays(rng, dtype):
    return {}


def an_optimizer():
    return opt.SGD({"w": np.zeros(2)}, lr=0.5, momentum=0.5)


def their_optimizer():
    return torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.5, momentum=0.5)


def use_schedule(make):
    optimizer = an_optimizer()
    schedule = make(optimizer)
    group = optimizer.param_groups[0]
    rates = [(group["lr"], group["momentum"])]
    for _ in range(11):
        schedule.step()
        rates.append((group["lr"], group["momentum"]))
    return {"rates": np.array(rates)}


def schedule_twin(theirs):
    def run(make, inputs, settings):
        optimizer = their_optimizer()
        schedule, group = theirs(optimizer, **settings), optimizer.param_groups[0]
        rates = [(group["lr"], group["momentum"])]
        for _ in range(11):
            optimizer.step()
            schedule.step()
            rates.append((float(group["lr"]), group["momentum"]))
        return {"rates": np.array(rates)}
    return run


def add_schedule(target, *arguments, theirs=None, **entry):
    theirs = theirs or getattr(torch.optim.lr_scheduler, target.__name__)
    add(target, inputs=no_arrays, use=use_schedule, kind="schedule",
        make=lambda dtype, **s: lambda o: target(o, *arguments, **s),
        twin=schedule_twin(lambda o, **s: theirs(o, *arguments, **s)), **entry)


add_schedule(opt.LambdaLR, lambda t: 1 / (1 + t))
add_schedule(opt.StepLR, 3, settings={"gamma": 0.5})
add_schedule(opt.ExponentialLR, 0.9)
add_schedule(opt.InverseTimeLR, 0.5, theirs=lambda o, decay:
             torch.optim.lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + decay * t)))
add_schedule(opt.LinearLR, settings={"start_factor": 0.5, "end_factor": 0.7,
                                     "total_iters": 3})
add_schedule(opt.CosineAnnealingLR, 12, settings={"eta_min": 0.1})
add_schedule(opt.CosineAnnealingWarmRestarts, 2, settings={"eta_min": 0.1, "T_mult": 2})
add_schedule(opt.OneCycleLR, 1.0, 12, settings={
    "pct_start": 0.5, "anneal_strategy": "linear", "cycle_momentum": False,
    "base_momentum": 0.1, "max_momentum": 0.99, "div_factor": 5.0,
    "final_div_factor": 10.0})
add(opt.SequentialLR, inputs=no_arrays, use=use_schedule, kind="schedule",
    make=lambda dtype: lambda o: opt.SequentialLR(
        o, [opt.ExponentialLR(o, 0.9), opt.StepLR(o, 2)], [4]),
    twin=schedule_twin(lambda o: torch.optim.lr_scheduler.SequentialLR(
        o, [torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
            torch.optim.lr_scheduler.StepLR(o, 2)], [4])))

METRICS = [5, 4.9, 4.9, 4.9, 4.7, 4.7, 4.7, 4.7, 4.7, 4.7, 4.7, 4.7, 4.7, 4.7, 4.7, 4.5]


def use_plateau(make):
    optimizer = an_optimizer()
    schedule, rates = make(optimizer), []
    for metric in METRICS:
        schedule.step(metric)
        rates.append(optimizer.lr)
    return {"rates": np.array(rates)}


def plateau_twin(make, inputs, settings):
    optimizer = their_optimizer()
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer,
                                                          **{"patience": 1} | settings)
    rates = []
    for metric in METRICS:
        schedule.step(metric)
        rates.append(optimizer.param_groups[0]["lr"])
    return {"rates": np.array(rates)}


add(opt.ReduceLROnPlateau, inputs=no_arrays, use=use_plateau, kind="schedule",
    make=lambda dtype, **s: lambda o: opt.ReduceLROnPlateau(o, **{"patience": 1} | s),
    twin=plateau_twin, settings={
        "mode": "max", "factor": 0.5, "patience": 4, "threshold": 0.03,
        "threshold_mode": After("abs", threshold=0.05), "cooldown": 2, "min_lr": 0.01,
        "eps": 0.1})

# --- functions ------------------------------------------------------------------------

def add_function(target, inputs, twin, settings=None, make=None, use=None, **entry):
    """twin(**inputs, **settings) gives an array, a tuple or a dict."""
    def ours(function, /, **arguments):
        return named((use or call)(function, **arguments))

    add(target, inputs=inputs, use=ours, settings=settings or {},
        make=make or (lambda dtype, **s: lambda **a: target(**a, **s)),
        twin=(lambda f, inputs, s: named(twin(**inputs, **s))) if callable(twin)
        else twin, **entry)


def call(function, /, **arguments):
    return function(**arguments)


def named(result):
    """A result as a dict of results."""
    if isinstance(result, dict):
        return result
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return result._asdict()
    if isinstance(result, (tuple, list)):
        return {str(i): value for i, value in enumerate(result)}
    return {"result": result}


def weights(*shape):
    return lambda rng, dtype: {"weight": rng.normal(size=shape).astype(dtype)}


# optimizers
add_function(opt.sma_length, lambda rng, dtype: {"beta": 0.99, "t": 7},
             lambda beta, t: 2 / (1 - beta) - 1 - 2 * t * beta**t / (1 - beta**t))
add_function(opt.newton_schulz,
             lambda rng, dtype: {"matrix": rng.normal(size=(3, 5)).astype(dtype)},
             "PyTorch's is private and in bfloat16",
             {"coefficients": (2.0, -1.5, 0.5), "steps": 2, "eps": 50.0})


def two_gradients(rng, dtype):
    return {"weight": rng.normal(size=(3, 4)).astype(dtype),
            "bias": rng.normal(size=4).astype(dtype)}


def clipped(function, **grads):
    result = function(grads)
    grads, norm = result if isinstance(result, tuple) else (result, 0.0)
    return grads | {"norm": np.asarray(norm)}


def clipping_twin(theirs, limit):
    def run(function, inputs, settings):
        tensors = {}
        for name, value in inputs.items():
            tensors[name] = tensor(np.zeros_like(value), grad=True)
            tensors[name].grad = tensor(value)
        norm = theirs(list(tensors.values()), limit, **settings)
        return ({name: array(t.grad) for name, t in tensors.items()}
                | {"norm": np.asarray(0.0 if norm is None else float(norm))})
    return run


for ours, theirs, limit, settings in (
    (opt.clip_grad_norm, torch.nn.utils.clip_grad_norm_, 2.5,
     {"norm_type": 3.0, "error_if_nonfinite": Idle("raises for NaN: tested apart")}),
    (opt.clip_grad_value, torch.nn.utils.clip_grad_value_, 0.5, {})):
    add(ours, inputs=two_gradients, use=clipped, settings=settings,
        make=lambda dtype, ours=ours, limit=limit, **s:
        lambda grads: ours(grads, limit, **s), twin=clipping_twin(theirs, limit))

# initialization: our draws, NumPy's or SciPy's formulas
SHAPE = (5, 4)
for name, bound in {"zeros": lambda: 0.0}.items():
    add_function(init.zeros, lambda rng, dtype: {"shape": SHAPE, "dtype": dtype},
                 lambda shape, dtype, **s: np.zeros(shape, dtype),
                 {"rng": Idle("zeros need no numbers")})


def shaped(rng, dtype, shape=SHAPE):
    return {"shape": shape, "rng": generator(3), "dtype": dtype}


def truncated(p, a, b, mean=0.0, std=1.0):
    """Quantiles of SciPy's; where most of [a, b] lies above the mean, from above."""
    law = scipy.stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
    return law.isf(p) if a + b > 2 * mean else law.ppf(p)


def drawn(their_init, **fixed):
    """The moments or bounds of torch's initializer, from many draws, are checked in the
    chapter's tests; here the scale: our draws over the raw draws of the generator.
    """
    return f"torch.nn.init.{their_init} draws other numbers; the chapter hands it ours"


for ours, settings in {
    init.normal: {"mean": 3.0, "std": 2.0}, init.uniform: {"a": -1.0, "b": 2.0},
    init.lecun_normal: {}, init.lecun_uniform: {},
    init.xavier_normal: {"gain": 2.0}, init.xavier_uniform: {"gain": 2.0},
    init.kaiming_normal: {"a": 1.0, "mode": "fan_out", "nonlinearity": "tanh"},
    init.kaiming_uniform: {"a": 1.0, "mode": "fan_out", "nonlinearity": "tanh"},
    init.orthogonal: {"gain": 2.0}}.items():
    add_function(ours, shaped, drawn(f"{ours.__name__}_"), settings)
add_function(init.trunc_normal, shaped,
             lambda shape, rng, dtype, mean=0.0, std=1.0, a=-2.0, b=2.0:
             truncated(rng.uniform(0, 1, shape), a, b, mean, std),
             {"mean": 1.0, "std": 2.0, "a": -1.0, "b": 1.0})
add_function(init.fans, lambda rng, dtype: {"shape": (5, 4, 3)},
             lambda shape: torch.nn.init._calculate_fan_in_and_fan_out(
                 torch.zeros(shape)))
add_function(init.calculate_gain, lambda rng, dtype: {"nonlinearity": "leaky_relu"},
             torch.nn.init.calculate_gain, {"param": 0.3})
add_function(init.gaussian_mean, lambda rng, dtype: {"f": np.tanh},
             lambda f: 0.0)
add_function(init.mean_field, lambda rng, dtype: {
    "activation": act.Tanh(), "depth": 3, "weight_var": 1.5},
    "no library has it; the chapter's tests integrate with SciPy",
    {"bias_var": 0.1, "input_moment": 2.0})


def model_of(dtype, *sizes):
    layers = []
    for n, m in zip(sizes, sizes[1:]):
        layers += [bp.Linear(n, m, rng=generator(n), dtype=dtype), act.Tanh()]
    return bp.Sequential(*layers[:-1])


add_function(init.initialize, lambda rng, dtype: {
    "model": model_of(dtype, 4, 3, 2), "weight": init.kaiming_normal,
    "rng": generator(3)}, "no library has it", {"bias": 0.5})
add_function(init.lsuv, lambda rng, dtype: {
    "model": model_of(dtype, 4, 3, 2), "x": rng.normal(size=(9, 4)).astype(dtype),
    "rng": generator(3)}, "no library has it")

# ensembles
def members(rng, dtype):
    return {"predictions": rng.normal(size=(3, 5)).astype(dtype),
            "target": rng.normal(size=5).astype(dtype)}


def logits_of_members(rng, dtype):
    return {"logits": rng.normal(size=(3, 5, 4)).astype(dtype)}


add_function(ens.ambiguity, members, lambda predictions, target: (lambda p, t: {
    "ensemble_error": F.mse_loss(p.mean(0), t),
    "mean_error": F.mse_loss(p, t.expand_as(p)),
    "ambiguity": p.var(0, correction=0).mean()})(tensor(predictions), tensor(target)))
add_function(ens.error_correlation, members,
             lambda predictions, target: off_diagonal(predictions - target))
add_function(ens.bias_variance_covariance, lambda rng, dtype: {
    "predictions": rng.normal(size=(6, 3, 5)).astype(dtype),
    "target": rng.normal(size=5).astype(dtype)}, lambda predictions, target: {
        "bias2": np.mean((predictions.mean((0, 1)) - target)**2)})
add_function(ens.combine, logits_of_members, lambda logits, how="probabilities": (
    np.eye(logits.shape[-1])[logits.argmax(-1)].mean(0) if how == "votes" else
    array(torch.softmax(tensor(logits), -1).mean(0))), {"how": "votes"})
add_function(ens.disagreement, lambda rng, dtype: {
    "labels": rng.integers(3, size=(4, 7))}, lambda labels: np.mean(
        [np.not_equal(a, b).mean(axis=0) for i, a in enumerate(labels)
         for b in labels[:i]], axis=0))
add_function(ens.doubt, lambda rng, dtype: {
    "probabilities": scipy.special.softmax(
        rng.normal(size=(3, 5, 4)), axis=-1).astype(dtype)},
    lambda probabilities: {
        "total": scipy.special.entr(probabilities.mean(0)).sum(-1),
        "own": scipy.special.entr(probabilities).sum(-1).mean(0)})
add_function(ens.bootstrap, lambda rng, dtype: {"n": 7, "rng": generator(3)},
             "random", {"columns": 4})
AVERAGE = {"averaged": 3.0, "current": 5.0, "num_averaged": 4}
add_function(ens.get_swa_avg_fn, lambda rng, dtype: {}, lambda: {
    "result": array(torch.optim.swa_utils.get_swa_avg_fn()(
        torch.tensor(3.0, dtype=float), torch.tensor(5.0, dtype=float),
        torch.tensor(4)))},
    use=lambda f: f()(*AVERAGE.values()))
add_function(ens.get_ema_avg_fn, lambda rng, dtype: {}, lambda decay=0.999: {
    "result": array(torch.optim.swa_utils.get_ema_avg_fn(decay)(
        torch.tensor(3.0, dtype=float), torch.tensor(5.0, dtype=float),
        torch.tensor(4)))}, {"decay": 0.5}, use=lambda f: f()(*AVERAGE.values()))


def off_diagonal(errors):
    """Mean product of two different members' errors over the mean square."""
    products = errors @ errors.T / errors.shape[1]
    return products[~np.eye(len(errors), dtype=bool)].mean() / np.mean(errors**2)


def use_average(make, x):
    model = bp.Linear(4, 3, rng=generator(1), dtype=x.dtype)
    average = make(model)
    for seed in range(3):
        model.load_state({name: value + upstream(value.shape, x.dtype) * seed
                          for name, value in model.params.items()})
        average.update_parameters(model)
    return {"y": average.forward(x)}


def two_batches(rng, dtype):
    return {"x": rng.normal(size=(6, 4)).astype(dtype),
            "y": rng.normal(size=(6, 3)).astype(dtype)}


add(ens.AveragedModel, inputs=normal_array(6, 4), use=use_average, kind="model",
    make=lambda dtype, **s: lambda model: ens.AveragedModel(model, **s),
    twin="torch.optim.swa_utils; the chapter's tests compare", settings={
        "avg_fn": lambda averaged, current, n: current,
        "use_buffers": Idle("this model has no buffers; the chapter's tests")})
add_function(ens.update_bn, lambda rng, dtype: {
    "batches": [rng.normal(size=(5, 3)).astype(dtype) for _ in range(3)]},
    lambda batches: {
        "running_mean": np.mean([b.mean(0) for b in batches], axis=0),
        "running_var": np.mean([b.var(0, ddof=1) for b in batches], axis=0)},
    use=lambda f, batches: updated(f, batches))


def updated(f, batches):
    model = norm.BatchNorm1d(3, dtype=batches[0].dtype)
    f(batches=batches, model=model)
    return {name: model.buffers[name] for name in ("running_mean", "running_var")}


add_function(ens.monte_carlo, lambda rng, dtype: {
    "x": rng.normal(size=(5, 3)).astype(dtype), "passes": 4}, MASKS,
    use=lambda f, x, passes: f(model=bp.Sequential(reg.Dropout(rng=generator(2))), x=x,
                               passes=passes))

# gradient descent
MATRIX = np.array([[3.0, 1.0], [1.0, 2.0]])


def quadratic(x):
    return (MATRIX @ x.astype(float)).astype(x.dtype)


def start(rng, dtype):
    return {"gradient": quadratic, "x": rng.normal(size=2).astype(dtype)}


def by_torch(gradient, x, lr, steps):
    x = tensor(x, grad=True)
    optimizer, path = torch.optim.SGD([x], lr=lr), [array(x).copy()]
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * x @ tensor(MATRIX.astype(array(x).dtype)) @ x).backward()
        optimizer.step()
        path.append(array(x).copy())
    return np.array(path)


add_function(gd.descend, lambda rng, dtype: start(rng, dtype) | {
    "lr": 0.1, "steps": 5}, by_torch)
add_function(gd.numerical_hessian, start, lambda gradient, x, **s: np.asarray(
    MATRIX, x.dtype) + 0 * x.sum(), {
        "step": Idle("exact for a quadratic function, to rounding")})
add_function(gd.flatten, lambda rng, dtype: {"arrays": {
    "a": rng.normal(size=(2, 3)).astype(dtype), "b": rng.normal(size=2).astype(dtype)}},
    lambda arrays: array(torch.nn.utils.parameters_to_vector(
        map(tensor, arrays.values()))))
add_function(gd.unflatten, lambda rng, dtype: {
    "vector": rng.normal(size=8).astype(dtype),
    "like": {"a": np.zeros((2, 3)), "b": np.zeros(2)}},
    lambda vector, like: {"a": vector[:6].reshape(2, 3), "b": vector[6:]})
add_function(gd.objective, lambda rng, dtype: {
    "model": model_of(dtype, 4, 3), "loss": bp.MSELoss(), **two_batches(rng, dtype)},
    lambda model, loss, x, y: {"0": F.mse_loss(
        tensor(x) @ tensor(model.params["0.weight"]).T + tensor(model.params["0.bias"]),
        tensor(y))},
    use=lambda f, model, loss, x, y: f(model=model, loss=loss, x=x, y=y)(
        gd.flatten(model.params)))
add_function(gd.lr_range_test, lambda rng, dtype: {
    "model": model_of(dtype, 4, 3), "loss": bp.MSELoss(), **two_batches(rng, dtype),
    "lrs": [0.01, 0.1, 0.2], "batch_size": 3, "rng": generator(3)},
    "no library that is used here has it")
add_function(gd.two_loop, lambda rng, dtype: {
    "gradient": rng.normal(size=3).astype(dtype), "pairs": []},
    lambda gradient, pairs, scale=1.0: scale * gradient, {"scale": 2.0},
    spare=dict.fromkeys(["strange_numbers", "unfit_arguments"],
                        "a product with a vector, no check of its own"))
add_function(gd.cubic_minimizer, lambda rng, dtype: {
    "a": gd.Trial(0.0, 1.0, -1.0), "b": gd.Trial(2.0, 1.5, 2.0), "low": 0.0,
    "high": 2.0}, lambda a, b, low, high: LBFGS._cubic_interpolate(
        *torch.tensor([*a[:3], *b[:3]], dtype=float), bounds=(low, high)))


def on_line(phi, **settings):
    """PyTorch's search on (t - 3)^2 from 0, as our phi."""
    def objective(x, t, d):
        return (t - 3)**2, torch.tensor([2.0 * (t - 3)], dtype=float)

    value, _, t, evaluations = LBFGS._strong_wolfe(
        objective, torch.zeros(1, dtype=float), 1.0, torch.ones(1, dtype=float), 9.0,
        torch.tensor([-6.0], dtype=float), torch.tensor(-6.0, dtype=float),
        **{"tolerance_change": 0.0} | settings)
    return {"t": t, "value": value, "evaluations": evaluations}


def use_search(f):
    trial, evaluations = f(phi=lambda t: gd.Trial(t, (t - 3)**2, 2 * (t - 3)), t=1.0,
                           zero=gd.Trial(0.0, 9.0, -6.0))
    return {"t": trial.t, "value": trial.value, "evaluations": evaluations}


add_function(gd.strong_wolfe, lambda rng, dtype: {}, lambda **s: on_line(None, **s),
             {"c1": Idle("the first step is good"), "c2": 0.1,
              "smallest": Idle("ends a search that has not found one"),
              "max_ls": Idle("ends a search that has not found one")},
             use=use_search)


def use_lbfgs(make, x):
    param = x.copy()
    optimizer = make({"x": param})

    def closure():
        a, b = param.astype(float)
        return ((1 - a)**2 + 10 * (b - a * a)**2,
                {"x": np.array([-2 * (1 - a) - 40 * a * (b - a * a),
                                20 * (b - a * a)], x.dtype)})
    for _ in range(2):
        optimizer.step(closure)
    return {"x": param}


def lbfgs_twin(make, inputs, settings):
    x = tensor(inputs["x"], grad=True)
    optimizer = torch.optim.LBFGS([x], **settings)

    def closure():
        optimizer.zero_grad()
        a, b = x
        loss = (1 - a)**2 + 10 * (b - a * a)**2
        loss.backward()
        return loss
    for _ in range(2):
        optimizer.step(closure)
    return {"x": array(x)}


add(gd.LBFGS, inputs=lambda rng, dtype: {"x": np.array([-0.5, 0.8], dtype)},
    use=use_lbfgs, kind="optimizer", twin=lbfgs_twin,
    make=lambda dtype, **s: lambda params: gd.LBFGS(params, **s), settings={
        "lr": 0.5, "max_iter": 3, "max_eval": 4, "tolerance_grad": 1.0,
        "tolerance_change": 1.0, "history_size": 1, "line_search_fn": "strong_wolfe"},
    spare=dict.fromkeys(["float32", "squares"],
                        "an L-BFGS path in float32 is not comparable"))

# perceptron
def two_classes(rng, dtype):
    x = rng.normal(size=(8, 3)).astype(dtype)
    return {"x": x, "y": np.where(x[:, 0] + x[:, 1] > 0.1, 1, -1)}


def use_perceptron(unit, x, y):
    mistakes = unit.fit(x, y)
    return {"weight": unit.params["weight"], "bias": unit.params["bias"],
            "mistakes": mistakes, "z": unit.forward(x), "labels": unit.predict(x)}


add(perc.Perceptron, inputs=two_classes, use=use_perceptron, kind="perceptron",
    twin="scikit-learn's takes the sign of 0 otherwise; the chapter's tests compare",
    make=lambda dtype, **s: perc.Perceptron(3, **s, dtype=dtype))
add_function(perc.count_parameters, lambda rng, dtype: {"sizes": (4, 3, 2)},
             lambda sizes, bias=True: sum(
                 p.numel() for n, m in zip(sizes, sizes[1:])
                 for p in torch.nn.Linear(n, m, bias=bias).parameters()),
             {"bias": False})

# normalization
def table(rng, dtype):
    return {"x": (2 + rng.normal(size=(9, 3)) @ np.diag([1, 3, 0.5])).astype(dtype)}


def use_scaler(scaler, x):
    z = scaler.fit_transform(x)
    results = {"z": z}
    if hasattr(scaler, "inverse_transform"):
        results["back"] = scaler.inverse_transform(z)
    return results


def scaler_twin(theirs):
    def run(scaler, inputs, settings):
        z = theirs.fit_transform(inputs["x"])
        return {"z": z, "back": theirs.inverse_transform(z)}
    return run


for ours, theirs in {norm.MinMaxScaler: sklearn.preprocessing.MinMaxScaler(),
                     norm.StandardScaler: sklearn.preprocessing.StandardScaler(),
                     norm.RobustScaler: sklearn.preprocessing.RobustScaler()}.items():
    add(ours, inputs=table, use=use_scaler, twin=scaler_twin(theirs), kind="scaler",
        make=lambda dtype, ours=ours: ours())


def use_whitening(whitening, x):
    z = whitening.fit_transform(x)
    return {"z": z, "covariance": (z.T @ z / len(z)).astype(x.dtype)}


add(norm.Whitening, inputs=table, use=use_whitening, kind="scaler",
    make=lambda dtype, **s: norm.Whitening(**s),
    twin=lambda w, inputs, s: {} if s.get("eps") else {
        "covariance": np.eye(inputs["x"].shape[1], dtype=inputs["x"].dtype)},
    settings={"kind": "pca", "eps": 0.5})
add_function(norm.standardize, lambda rng, dtype: {
    "x": (1 + rng.normal(size=(5, 3))).astype(dtype), "axes": (0,)},
    lambda x, axes, eps=1e-5: {"0": array(F.batch_norm(
        tensor(x), None, None, training=True, eps=eps)),
        "1": x.mean(axes, keepdims=True), "2": x.var(axes, keepdims=True)},
    {"eps": 0.1})


def standardized(rng, dtype):
    x = (1 + rng.normal(size=(5, 3))).astype(dtype)
    normalized, _, _, scale = norm.standardize(x, (0,))
    return {"dy": rng.normal(size=(5, 3)).astype(dtype), "normalized": normalized,
            "scale": scale, "axes": (0,)}


add_function(norm.standardize_backward, standardized,
             "a part of BatchNorm1d, which is compared", spare={
                 "offsets": "PyTorch's batch normalization loses the same digits",
                 "strange_numbers": "its arrays come from `standardize`",
                 "unfit_arguments": "its arrays come from `standardize`"})
add_function(norm.fold_batch_norm, lambda rng, dtype: {
    "linear": bp.Linear(3, 2, rng=generator(1), dtype=dtype),
    "norm": stirred(norm.BatchNorm1d(2, dtype=dtype))},
    lambda linear, norm: (lambda folded: {
        "weight": array(folded.weight), "bias": array(folded.bias)})(
            torch.nn.utils.fuse_linear_bn_eval(
                as_torch(linear, torch.nn.Linear(3, 2)),
                as_torch(norm, torch.nn.BatchNorm1d(2)).eval())),
    use=lambda f, linear, norm: dict(f(linear=linear, norm=norm).params))


def stirred(layer):
    """The layer with other parameters and statistics; variances stay positive."""
    rng = generator(8)
    layer.load_state({
        name: value if value.dtype.kind == "i" else
        (value + rng.uniform(0.1, 1, value.shape)).astype(value.dtype)
        for name, value in (layer.params | layer.buffers).items()})
    return layer


def as_torch(layer, module):
    module = module.to(tensor(layer.params["weight"]).dtype).eval()
    module.load_state_dict({name: tensor(value) for name, value in
                            (layer.params | layer.buffers).items()})
    return module


# learning
def held_out(splits):
    """The places of all tests, one after the other, and where each ends."""
    tests = [test for _, test in splits]
    return {"test": np.concatenate(tests), "ends": np.cumsum([*map(len, tests)])}


def add_splits(target, inputs, twin):
    add_function(target, inputs, twin, use=lambda f, **a: held_out(f(**a)))


add_splits(learn.k_fold, lambda rng, dtype: {"n": 11, "k": 3},
           lambda n, k: held_out(sklearn.model_selection.KFold(k).split(np.zeros(n))))
add_splits(learn.stratified_k_fold, lambda rng, dtype: {
    "y": rng.permutation(np.repeat([0, 1, 2], [5, 9, 4])), "k": 3},
    lambda y, k: held_out(sklearn.model_selection.StratifiedKFold(k).split(y, y)))
add_splits(learn.group_k_fold, lambda rng, dtype: {
    "groups": np.append(np.arange(6), rng.integers(6, size=20)), "k": 3},
    lambda groups, k: held_out(
        sklearn.model_selection.GroupKFold(k).split(groups, groups=groups)))


def answers(rng, dtype):
    return {"target": rng.integers(4, size=40), "prediction": rng.integers(4, size=40)}


def ranked(rng, dtype):
    target = rng.integers(2, size=30)
    return {"target": target,
            "score": (target + np.round(rng.normal(size=30), 1)).astype(dtype)}


add_function(learn.confusion_matrix, answers, lambda target, prediction, classes=None:
             sklearn.metrics.confusion_matrix(target, prediction, labels=np.arange(
                 classes or 1 + max(np.max(target), np.max(prediction)))),
             {"classes": 6})
add_function(learn.precision_recall_f1, answers,
             lambda target, prediction, average=None, classes=None: dict(zip(
                 "012", sklearn.metrics.precision_recall_fscore_support(
                     target, prediction, average=average, zero_division=0,
                     labels=None if classes is None and average else np.arange(
                         classes or 1 + max(np.max(target), np.max(prediction)))))),
             {"average": "macro", "classes": 6})
add_function(learn.roc_curve, ranked, lambda target, score: sklearn.metrics.roc_curve(
    target, score, drop_intermediate=False))
add_function(learn.roc_auc, ranked, lambda target, score:
             sklearn.metrics.roc_auc_score(target, score))
add_function(learn.precision_recall_curve, ranked, lambda target, score:
             sklearn.metrics.precision_recall_curve(target, score))
add_function(learn.average_precision, ranked, lambda target, score:
             sklearn.metrics.average_precision_score(target, score))


def product_of_means(x, y):
    return float(np.mean(x) * np.mean(y))


add_function(learn.bootstrap_interval, lambda rng, dtype: {
    "statistic": product_of_means, "rng": generator(6),
    "arrays": (rng.normal(size=12), rng.normal(size=12))},
    lambda statistic, arrays, rng, n_resamples=1000, level=0.95: tuple(
        scipy.stats.bootstrap(arrays, statistic, n_resamples=n_resamples, rng=rng,
                              confidence_level=level, paired=True, vectorized=False,
                              method="percentile").confidence_interval),
    {"n_resamples": 50, "level": 0.5})
add_function(learn.mcnemar, lambda rng, dtype: {
    "right_a": rng.random(30) < 0.8, "right_b": rng.random(30) < 0.5},
    lambda right_a, right_b: {
        "0": np.sum(right_a & ~right_b), "1": np.sum(right_b & ~right_a),
        "2": scipy.stats.binomtest(int(np.sum(right_a & ~right_b)),
                                   int(np.sum(right_a != right_b))).pvalue})
add_function(learn.calibration_error, lambda rng, dtype: {
    "probabilities": scipy.special.softmax(
        3 * rng.normal(size=(40, 4)), axis=1).astype(dtype),
    "target": rng.integers(4, size=40)}, "no library that is used here has it",
    {"bins": 3})


def seen_points(rng, dtype):
    return {"x": rng.normal(size=(6, 2)).astype(dtype),
            "y": rng.normal(size=6).astype(dtype),
            "x_new": rng.normal(size=(4, 2)).astype(dtype), "length": 0.8, "noise": 0.1}


add_function(learn.gaussian_process, seen_points, lambda x, y, x_new, length, noise:
             sklearn.gaussian_process.GaussianProcessRegressor(
                 sklearn.gaussian_process.kernels.RBF(length), alpha=noise,
                 optimizer=None).fit(x, y).predict(x_new, return_std=True))
add_function(learn.expected_improvement, lambda rng, dtype: {
    "mean": rng.normal(size=5).astype(dtype),
    "std": rng.uniform(0.5, 2, size=5).astype(dtype), "best": 0.2},
    lambda mean, std, best: (best - mean) * scipy.stats.norm.cdf((best - mean) / std)
    + std * scipy.stats.norm.pdf((best - mean) / std))


def their_pca(pca, inputs, settings):
    theirs = sklearn.decomposition.PCA(svd_solver="full", **settings)
    z = theirs.fit_transform(inputs["x"].astype(float))
    return {"z": z, "back": theirs.inverse_transform(z)}


add(learn.PCA, inputs=table, use=use_scaler, kind="scaler", twin=their_pca,
    make=lambda dtype, **s: learn.PCA(**s), settings={"n_components": 2})


# generative
def two_clouds(rng, dtype):
    return {"a": rng.normal(size=(9, 3)).astype(dtype),
            "b": rng.normal(1, 1, size=(8, 3)).astype(dtype)}


def their_distance(a, b):
    a, b = a.astype(float), b.astype(float)
    left, right = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(left @ right).real
    return (np.sum((a.mean(0) - b.mean(0)) ** 2)
            + np.trace(left + right - 2 * root))


add_function(gen.frechet_distance, two_clouds, their_distance)
add_function(gen.sample_precision_recall, lambda rng, dtype: {
    "real": rng.normal(size=(20, 2)).astype(dtype),
    "fake": rng.normal(0.5, 1, size=(18, 2)).astype(dtype)},
    "no library that is used here has it; tests/test_generative.py", {"k": 1})


# regularization
def pictures(*shape, **more):
    return lambda rng, dtype: {
        "images": rng.uniform(0, 1, shape or (3, 6, 6)).astype(dtype)} | {
            name: value() if callable(value) else value for name, value in more.items()}


add_function(reg.side_by_side, lambda rng, dtype: {"datasets": [
    Four(*[rng.normal(size=(4, 2)).astype(dtype) for _ in range(4)])
    for _ in range(3)]}, lambda datasets: {
        str(name): np.stack([d._asdict()[name] for d in datasets], axis=1)
        for name in datasets[0]._fields})
add_function(reg.noisy_labels, lambda rng, dtype: {
    "y": rng.integers(3, size=20), "fraction": 0.5, "rng": generator(4)}, "random",
    {"classes": 3})
add_function(reg.max_norm, lambda rng, dtype: weights(4, 5)(rng, dtype) | {
    "limit": 1.5}, lambda weight, limit, axis=-1: array(torch.renorm(
        tensor(weight), 2, 0 if axis == -1 else 1, limit)), {"axis": 0},
    limit=1e-6)  # PyTorch adds 1e-7 to the length
add_function(reg.soft_threshold, lambda rng, dtype: weights(4, 5)(rng, dtype) | {
    "amount": 0.25}, lambda weight, amount: array(F.softshrink(tensor(weight), amount)))
add_function(reg.pooling_starts, lambda rng, dtype: {
    "n_in": 9, "n_out": 4, "kernel_size": 2, "u": rng.uniform(0, 1, 3).astype(dtype)},
    "private in PyTorch; FractionalMaxPool2d is compared with it in the chapter")
add_function(reg.shift, pictures(dy=1, dx=-2), lambda images, dy, dx: array(
    F.pad(tensor(images), (dx, -dx, dy, -dy))))
add_function(reg.rotate, pictures(degrees=30.0), lambda images, degrees: array(
    turned(tensor(images), math.radians(degrees))))
add_function(reg.flip, pictures(), lambda images, axis=-1: array(
    torch.flip(tensor(images), (axis,))), {"axis": -2})
add_function(reg.brightness, pictures(factor=1.5), lambda images, factor: array(
    torch.clamp(tensor(images) * factor, 0, 1)))
add_function(reg.crop, pictures(size=4, rng=generator), MASKS, {"padding": 2})
add_function(reg.cutout, pictures(size=3, rng=generator), MASKS)
add_function(reg.mixup, lambda rng, dtype: {
    "x": rng.normal(size=(6, 3)).astype(dtype),
    "target": scipy.special.softmax(rng.normal(size=(6, 4)), axis=1).astype(dtype),
    "alpha": 0.4, "rng": generator(3)}, "random")




def turned(images, angle):
    high = images.shape[1] / images.shape[2]
    turn = torch.tensor([[math.cos(angle), -math.sin(angle) * high, 0.0],
                         [math.sin(angle) / high, math.cos(angle), 0.0]],
                        dtype=images.dtype)
    grid = F.affine_grid(turn.expand(len(images), 2, 3), images[:, None].shape,
                         align_corners=False)
    return F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def use_stopping(stopper, losses):
    stops = [stopper.step(loss) for loss in losses]
    return {"stops": np.array(stops), "best": np.array([stopper.best_loss])}


add(reg.EarlyStopping, inputs=lambda rng, dtype: {
    "losses": [5.0, 4.0, 4.5, 3.9, 4.2, 4.3, 4.4]}, use=use_stopping, kind="model",
    make=lambda dtype, **s: reg.EarlyStopping(2, **s), twin="PyTorch has none",
    settings={"min_delta": 0.5})

# gpu
def through(format="bfloat16"):
    """To a format and back, a gradient, too."""
    narrow = {"bfloat16": torch.bfloat16, "float16": torch.float16}[format]
    return lambda x: x.to(narrow).to(x.dtype)


def on_devices(rng, dtype):
    return {"arrays": rng.normal(size=(3, 7)).astype(dtype)}


def dense(dtype):
    r = generator(5)
    return (bp.Linear(6, 5, rng=r, dtype=dtype), act.Tanh(),
            bp.Linear(5, 2, rng=r, dtype=dtype))


def use_gradient_scaler(scaler, grads):
    params = {"w": np.ones(3, grads.dtype)}
    optimizer, scales = opt.SGD(params, lr=0.1), []
    for grad in grads:
        scaler.step(optimizer, {"w": grad * grad.dtype.type(scaler.get_scale())})
        scaler.update()
        scales.append(scaler.get_scale())
    return {"w": params["w"], "scales": np.array(scales).astype(grads.dtype)}


def their_scaler(ours, inputs, settings):
    scaler = torch.amp.GradScaler("cpu", **settings)
    weight = torch.ones(3, dtype=tensor(inputs["grads"]).dtype, requires_grad=True)
    optimizer, scales = torch.optim.SGD([weight], lr=0.1), []
    for grad in inputs["grads"]:
        weight.grad = tensor(grad) * scaler.scale(torch.ones(())).item()
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
    return {"w": array(weight), "scales": np.array(scales)}


def use_sharded(sharded, grads):
    sharded.step([{"w": each} for each in grads])
    return {"w": sharded.params["w"]}


add_function(gpu.linear_intensity, lambda rng, dtype: {
    "batch": 2, "inputs": 3, "outputs": 4}, lambda batch, inputs, outputs, itemsize=4:
    2 / itemsize / (1 / batch + 1 / inputs + 1 / outputs), {"itemsize": 2})
add_function(gpu.roofline, lambda rng, dtype: {
    "intensity": rng.uniform(0.1, 9, size=5).astype(dtype), "peak": 8.0,
    "bandwidth": 2.0}, lambda intensity, peak, bandwidth:
    array(torch.clamp(float(bandwidth) * tensor(intensity), max=float(peak))))
add_function(gpu.rounded, lambda rng, dtype: {
    "x": rng.normal(size=(4, 6)).astype(np.float32).astype(dtype)},
    lambda x, format="bfloat16": array(through(format)(tensor(x))),
    {"format": "float16"})
add_layer(gpu.Rounded, through, inputs=normal_array(4, 6),
          settings={"format": "float16"})
add(gpu.GradScaler, inputs=lambda rng, dtype: {
    "grads": rng.normal(size=(5, 3)).astype(dtype)}, use=use_gradient_scaler,
    kind="model", twin=their_scaler, make=lambda dtype, **s: gpu.GradScaler(**s),
    settings={"init_scale": 8.0, "growth_interval": 2,
              "growth_factor": After(4.0, growth_interval=2),
              "backoff_factor": Idle("no gradient of these overflows: the chapter's "
                                     "tests let one")})
add_function(gpu.memory, lambda rng, dtype: {
    "layers": [("linear", 3), ("relu",), ("linear", 2)], "shape": (4,), "batch": 5},
    lambda layers, shape, batch, states=2, itemsize=4: {
        "parameters": 23 * itemsize, "gradients": 23 * itemsize,
        "optimizer": 23 * states * itemsize, "batch": 20 * itemsize,
        "activations": 5 * (9 * itemsize + 8) + itemsize},
    {"states": 1, "itemsize": 8})
add_layer(gpu.Checkpoint, lambda: torch.nn.Sequential(
    torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)),
    inputs=normal_array(4, 6), make=lambda dtype: gpu.Checkpoint(*dense(dtype)))
add_function(gpu.reduce_scatter, on_devices, lambda arrays: np.append(
    arrays.sum(axis=0), np.zeros(-arrays.shape[1] % len(arrays), arrays.dtype)
    ).reshape(len(arrays), -1), use=lambda f, **a: f(**a)[0])
add_function(gpu.all_gather, lambda rng, dtype: {
    "parts": rng.normal(size=(3, 2)).astype(dtype)},
    lambda parts: np.tile(parts.ravel(), (len(parts), 1)), use=lambda f, **a: f(**a)[0])
add_function(gpu.ring_all_reduce, on_devices, lambda arrays: np.tile(
    arrays.sum(axis=0), (len(arrays), 1)), use=lambda f, **a: f(**a)[0])
add_function(gpu.zero_memory, lambda rng, dtype: {
    "parameters": 10, "devices": 4, "stage": 2}, lambda parameters, devices, stage:
    sum(parameters * size / (devices if k <= stage else 1)
        for k, size in enumerate((12, 2, 2), start=1)))
add(gpu.Sharded, inputs=lambda rng, dtype: {
    "grads": rng.normal(size=(3, 2, 2)).astype(dtype)}, use=use_sharded, kind="model",
    make=lambda dtype: gpu.Sharded({"w": np.ones((2, 2), dtype)}, lambda params:
                                   opt.SGD(params, lr=0.5), 3),
    twin=lambda sharded, inputs, settings: {
        "w": 1 - 0.5 * inputs["grads"].mean(axis=0, dtype=inputs["grads"].dtype)})
add_function(gpu.pipeline, lambda rng, dtype: {"devices": 3, "parts": 4},
             lambda devices, parts, backward=2, schedule="gpipe": {
                 "length": (devices + parts - 1.0) * (1 + backward),
                 "idle": (devices - 1) / (devices + parts - 1)},
             {"backward": 3, "schedule": "1f1b"})

# transfer learning
add_function(tl.parts, lambda rng, dtype: {"params": {
    "1.weight": np.ones(2, dtype), "10.weight": np.zeros(2, dtype)}},
    lambda params: {"1.weight": params["1.weight"]},
    use=lambda f, params: tl.parts(params, "1"))
add_function(tl.replace_head, lambda rng, dtype: {
    "model": model_of(dtype, 4, 3, 2),
    "head": bp.Linear(3, 5, rng=generator(9), dtype=dtype)},
    "a change of a model", use=lambda f, model, head: dict(
        f(model=model, head=head).params))
add_function(tl.embed, lambda rng, dtype: {
    "model": model_of(dtype, 4, 3, 2), "x": rng.normal(size=(5, 4)).astype(dtype)},
    lambda model, x, layers=1: array(tensor(x) if layers == 3 else (
        torch.tanh if layers == 1 else torch.clone)(
            tensor(x) @ tensor(model.params["0.weight"]).T
            + tensor(model.params["0.bias"]))), {"layers": 2})


class TorchLoRA(torch.nn.Module):
    """Four inputs, three outputs; the frozen weight is a buffer, as in ours."""

    def __init__(self, rank=2, alpha=3.0):
        super().__init__()
        self.scale = alpha / rank
        self.A = torch.nn.Parameter(torch.ones(rank, 4))
        self.B = torch.nn.Parameter(torch.ones(3, rank))
        self.register_buffer("weight", torch.ones(3, 4))
        self.register_buffer("bias", torch.ones(3))

    def forward(self, x):
        return F.linear(x, self.weight, self.bias) + self.scale * (x @ self.A.T
                                                                   @ self.B.T)


def lora_layer(dtype, rank=2, alpha=3.0):
    rng = generator(7)
    layer = tl.LoRA(bp.Linear(4, 3, rng=rng, dtype=dtype), rank, alpha, rng=rng)
    layer.params["B"][...] = rng.normal(size=(3, rank))
    return layer


add_layer(tl.LoRA, TorchLoRA, inputs=normal_array(5, 4), make=lora_layer,
          settings={"rank": 3, "alpha": 5.0})
add_function(tl.adapt_statistics, lambda rng, dtype: {
    "x": rng.normal(size=(7, 3)).astype(dtype)}, lambda x: {
        "running_mean": x.mean(0), "running_var": x.var(0, ddof=1)},
    use=lambda f, x: adapted(f, x))


def adapted(f, x):
    model = bp.Sequential(norm.BatchNorm1d(3, dtype=x.dtype))
    f(model=model, x=x)
    return {name: model.buffers[f"0.{name}"] for name in ("running_mean",
                                                          "running_var")}


add_function(tl.prototypes, lambda rng, dtype: {
    "features": rng.normal(size=(8, 3)).astype(dtype),
    "labels": np.array([0, 1, 2, 0, 1, 2, 0, 1])},
    lambda features, labels: {"0": np.stack(
        [features[labels == k].mean(0) for k in np.unique(labels)]),
        "1": np.unique(labels)})
add_function(tl.nearest_neighbour, lambda rng, dtype: {
    "features": rng.normal(size=(8, 3)).astype(dtype),
    "known": rng.normal(size=(5, 3)).astype(dtype),
    "labels": np.array([3, 1, 4, 1, 5])},
    lambda features, known, labels: labels[array(torch.cdist(
        tensor(features), tensor(known)).argmin(1))])
add_function(tl.warp, lambda rng, dtype: {
    "images": rng.uniform(0, 1, (2, 5, 6)).astype(dtype),
    "rows": rng.uniform(-1, 5, (2, 3, 4)), "columns": rng.uniform(-1, 6, (2, 3, 4))},
    lambda images, rows, columns: array(F.grid_sample(
        tensor(images)[:, None], torch.stack(
            [tensor((2 * columns + 1) / images.shape[2] - 1),
             tensor((2 * rows + 1) / images.shape[1] - 1)],
            -1).to(tensor(images).dtype), align_corners=False)[:, 0]))
add_function(tl.elastic, pictures(size=1.0, rng=generator), "random", {"grid": 3})
add_function(tl.distorted, pictures(rng=generator), "random",
             {"largest_shift": 2, "angle": 40, "bend": 3.0})

# backprop
add_function(bp.train, lambda rng, dtype: {
    **two_batches(rng, dtype), "lr": 0.1, "epochs": 2, "batch_size": 4,
    "rng": generator(3)}, "a loop; the chapter's tests compare it with PyTorch's",
    {"optimizer": Idle("excludes lr"), "chunks": Idle("the same in less memory")},
    spare={"offsets": "such a run diverges"},
    use=lambda f, x, y, **rest: trained(f, x, y, **rest))


def trained(f, x, y, **rest):
    model = bp.Linear(4, 3, rng=generator(1), dtype=x.dtype)
    return {"losses": f(model=model, loss=bp.MSELoss(), x=x, y=y, **rest),
            "weight": model.params["weight"]}


# experiments: what runs many networks at once
def stacked_parts(dtype):
    return (upstream((2, 3, 4), dtype), upstream((2, 1, 3), dtype))


def side_by_side_twin(theirs):
    """Each of the networks alone."""
    def run(layer, inputs, settings):
        x = tensor(inputs["x"], grad=True)
        y = torch.stack([theirs(x[:, s], s) for s in range(x.shape[1])], dim=1)
        y.backward(tensor(arriving(tuple(y.shape), inputs["x"].dtype)))
        return {"y": array(y), "dx": array(x.grad)}
    return run


add(exp.StackedLinear, inputs=normal_array(5, 2, 4), use=use_layer, kind="layer",
    make=lambda dtype: exp.StackedLinear(*stacked_parts(dtype)),
    twin=lambda layer, inputs, s: side_by_side_twin(lambda x, s: F.linear(
        x, tensor(layer.params["weight"][s]), tensor(layer.params["bias"][s, 0])))(
            layer, inputs, s))


def two_models(dtype):
    return [bp.Sequential(bp.Linear(4, 3, rng=generator(k), dtype=dtype), act.Tanh())
            for k in range(2)]


add_function(exp.stack, normal_array(5, 2, 4), lambda x: {"y": array(torch.stack(
    [torch.tanh(F.linear(tensor(x[:, k]), *map(tensor, model.params.values())))
     for k, model in enumerate(two_models(x.dtype))], dim=1))},
    use=lambda f, x: use_layer(f(models=two_models(x.dtype)), x))


def stacked_logits(rng, dtype):
    return {"prediction": rng.normal(size=(6, 2, 4)).astype(dtype),
            "target": rng.integers(4, size=(6, 2))}


add(exp.SideBySide, inputs=stacked_logits, use=use_loss, kind="loss",
    make=lambda dtype: exp.SideBySide(losses.CrossEntropyLoss(reduction="sum")),
    twin=loss_twin(lambda: lambda p, t: sum(
        F.cross_entropy(p[:, k], t[:, k]) for k in range(p.shape[1]))))
add_function(exp.mlp, lambda rng, dtype: {"sizes": (4, 3, 2), "rng": generator(3)},
             "random", {"activation": act.GELU, "weight": init.kaiming_normal},
             use=lambda f, **a: {"y": f(**a).forward(upstream((5, 4), float))},
             spare={"dtypes": "draws float64"})
add_function(exp.accuracy, lambda rng, dtype: {
    "x": rng.normal(size=(7, 4)).astype(dtype), "y": rng.integers(3, size=7)},
    lambda x, y: np.mean(F.linear(tensor(x), *map(
        tensor, a_linear(x.dtype).params.values())).argmax(1).numpy() == y),
    use=lambda f, x, y: f(model=a_linear(x.dtype), x=x, y=y))


def a_linear(dtype):
    return bp.Linear(4, 3, rng=generator(2), dtype=dtype)


def differences(rng, dtype):
    return {"a": (1 + rng.normal(size=12)).astype(dtype),
            "b": rng.normal(size=12).astype(dtype)}


def interval(a, b, comparisons=1, resplit=0.0, d=None):
    law = scipy.stats.ttest_rel(a.astype(float), b.astype(float))
    low, high = law.confidence_interval(1 - 0.05 / comparisons)
    mean = np.mean(a.astype(float) - b)
    wider = math.sqrt(1 + len(a) * resplit)
    return {"mean": mean, "low": mean + (low - mean) * wider,
            "high": mean + (high - mean) * wider}


add_function(exp.paired, differences, interval,
             {"d": 5.0, "comparisons": 3, "resplit": 0.25},
             use=lambda f, **a: vars(f(**a)))


def labelled(rng, dtype):
    return {"x": rng.normal(size=(20, 3)).astype(dtype), "y": rng.integers(3, size=20),
            "x_test": rng.normal(size=(6, 3)).astype(dtype)}


add_function(exp.constant, labelled, lambda **a: fitted(
    sklearn.dummy.DummyClassifier(), **a))
add_function(exp.nearest_neighbor, labelled, lambda **a: fitted(
    sklearn.neighbors.KNeighborsClassifier(1), **a))
add_function(exp.softmax_regression, labelled, lambda strength=1.0, **a: fitted(
    sklearn.linear_model.LogisticRegression(C=strength), **a), {"strength": 1e-3},
    spare=dict.fromkeys(["strange_numbers", "unfit_arguments"],
                        "scikit-learn refuses them in its own words"))
add_function(exp.baselines, lambda rng, dtype: labelled(rng, dtype) | {
    "y_test": rng.integers(3, size=6)}, "its rivals stand above",
    {"rivals": (exp.constant,)})
add_function(exp.tuned, lambda rng, dtype: {"grid": [1.0, 2.0, 3.0]},
             lambda grid, **s: min(grid, key=lambda v: (v - 2)**2), {
                 "ends": Idle("the best value is no end"),
                 "arms": Idle("changes the arguments of loss")},
             use=lambda f, grid: f(loss=lambda v: (v - 2)**2, grid=grid))
add_function(exp.fact, lambda rng, dtype: {"holds": True, "numbers": "3 of 3"},
             "it says what it is told",
             use=lambda f, **a: {"holds": f(**a).holds})


def fitted(model, x, y, x_test):
    return model.fit(x, y).predict(x_test)


# convolution
add_function(conv.unfold, normal_array(2, 4, 6, 7), lambda x, **s: array(F.unfold(
    tensor(x), 3, **s)), {"stride": 2, "padding": 1, "dilation": 2},
    use=lambda f, x: f(x=x, kernel_size=3))
add_function(conv.fold, lambda rng, dtype: {
    "columns": rng.normal(size=(2, 36, 20)).astype(dtype)},
    lambda columns, **s: array(F.fold(tensor(columns), (6, 7), 3, **s)),
    {"stride": Idle("another number of columns"),
     "padding": Idle("another number of columns"),
     "dilation": Idle("another number of columns")},
    use=lambda f, columns: f(columns=columns, output_size=(6, 7), kernel_size=3))

# checks
add_function(checks.numerical_gradient, lambda rng, dtype: {
    "f": lambda x: float((x.astype(float)**2).sum()),
    "x": rng.normal(size=(2, 3)).astype(dtype)}, lambda f, x, step=None: 2 * x,
    {"step": Idle("exact for a quadratic function, to rounding")},
    spare={"squares": "the squares are the test's own"})
add_function(checks.relative_error, lambda rng, dtype: {
    "ours": rng.normal(size=5).astype(dtype), "theirs": rng.normal(size=5).astype(
        dtype)}, lambda ours, theirs: np.abs(ours.astype(float) - theirs).max()
    / np.abs(theirs.astype(float)).max())

MODULES = {module.__name__.removeprefix("byhand."): module for module in (
    act, bp, checks, conv, ens, exp, gen, gd, gpu, init, learn, losses, norm, opt, perc,
    reg, tl)}

EXEMPT |= {
    "activations.SELU_ALPHA": "a number: SELU is held to PyTorch's",
    "activations.SELU_SCALE": "a number: SELU is held to PyTorch's",
    "activations.Elementwise": "a base class: its subclasses stand here",
    "backprop.Layer": "a base class: its subclasses stand here",
    "backprop.Loss": "a base class: its subclasses stand here",
    "backprop.check_array": "raises or returns nothing: the messages of all others",
    "backprop.check_state": "raises or returns nothing: load_state is tested",
    "normalization.Scaler": "a base class: its subclasses stand here",
    "normalization.Normalization": "a base class: its subclasses stand here",
    "normalization.BatchStatistics": "a base class: its subclasses stand here",
    "normalization.RunningNormalization": "a base class: its subclasses stand here",
    "convolution.output_size": "of whole numbers: held to PyTorch's in its own tests",
    "convolution.receptive_field": "of layers: held to gradients in its own tests",
    "optimizers.Optimizer": "a base class: its subclasses stand here",
    "optimizers.LRScheduler": "a base class: its subclasses stand here",
    "gradient_descent.Trial": "a tuple of numbers",
    "ensembles.Hooked": "calls an optimizer and functions, and computes nothing",
    "ensembles.Ambiguity": "a tuple of numbers, of `ambiguity`",
    "ensembles.BiasVarianceCovariance": "a tuple, of `bias_variance_covariance`",
    "ensembles.Doubt": "a tuple of arrays, of `doubt`",
    "generative.RBM": "tests/test_generative.py: scikit-learn and enumeration",
    "generative.VAE": "tests/test_generative.py: autograd",
    "generative.train_gan": "tests/test_generative.py: PyTorch, step by step",
    "generative.Diffusion": "tests/test_generative.py: the posterior",
    "generative.time_features": "tests/test_generative.py",
    "generative.train_denoiser": "tests/test_generative.py: PyTorch",
    "experiments.Paired": "what `paired` returns",
    "experiments.Claim": "what `claim` shows",
    "gpu.FORMATS": "numbers of bits, which `rounded` is held to PyTorch with",
    "gpu.Pipeline": "a tuple, of `pipeline`",
    "gpu.speed_record": "reads a file: tests/test_gpu.py",
    "gpu.kept_bytes": "counts bytes, of other dtypes others: tests/test_gpu.py",
    "gpu.first_nonfinite": "names a layer: tests/test_gpu.py",
}
# The instruments are tested for what fools them in files of their own
EXEMPT |= {f"checks.{name}": "tests/test_checks.py" for name in (
    "CHECK_SEED tolerance write_record resolve_device full_precision CheckFailed "
    "compare Report Group group check_layer check_loss check_optimizer Caught "
    "catches HINTED check_random many_sizes view pair check_gradient stepwise"
    ).split()}
EXEMPT |= {f"experiments.{name}": "tests/test_experiments.py" for name in (
    "ANSWERS WORDS Outcome answer_of catalogue margin claim").split()}
