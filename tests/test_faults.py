"""Each kind of fault is looked for in every public name: one test a kind, over the
registry.

A fault that is known and not mended yet stands in KNOWN, and its test must fail: what
mends it takes it out.
"""

import ast
import copy
import inspect
import math
import re
import traceback
import warnings
from collections import deque
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import scipy.integrate
from hypothesis import example, given, settings
from hypothesis import strategies as st
from registry import (ENTRIES, EXEMPT, MODULES, After, Entry, Idle, generator,
                      normal_array, truncated, upstream)

import byhand.activations as act
import byhand.backprop as bp
import byhand.checks as checks
import byhand.ensembles as ens
import byhand.experiments as exp
import byhand.gradient_descent as gd
import byhand.initialization as init
import byhand.learning as learn
import byhand.losses as losses
import byhand.normalization as norm
import byhand.optimizers as opt
import byhand.perceptron as perc
import byhand.regularization as reg
import byhand.transfer_learning as tl

pytestmark = pytest.mark.filterwarnings("ignore")  # those that matter are caught

# {(test, name): why it is not mended}
KNOWN = {
    ("squares", "perceptron.Perceptron"):
        "products of float32 inputs of 1e20 or 1e-23 do not fit",
    ("awkward_points", "optimizers.sma_length"): "as PyTorch: the formula cancels",
    ("awkward_points", "losses.CrossEntropyLoss"):
        "as PyTorch: 1 - p below eps is lost",
    ("awkward_points", "losses.LogSoftmax"): "as PyTorch: 1 - p below eps is lost",
}


def sweep(*kinds, names=None):
    """One test for each entry, of these kinds; a known fault must fail."""
    def mark(test):
        sought = test.__name__.removeprefix("test_")
        chosen = names or [name for name, entry in ENTRIES.items()
                           if (not kinds or entry.kind in kinds)
                           and sought not in entry.spare]
        return pytest.mark.parametrize("name", [
            pytest.param(name, marks=pytest.mark.xfail(
                strict=True, reason=KNOWN[sought, name])
                if (sought, name) in KNOWN else ()) for name in chosen])(test)
    return mark


def run(entry, dtype, edit=lambda inputs: inputs, settings=None):
    thing = entry.make(dtype, **(settings or {}))
    return entry.use(thing, **edit(entry.inputs(generator(), dtype)))


def twin(entry, dtype, edit=lambda inputs: inputs, settings=None):
    """The twin's results, {} if it has none or refuses."""
    if not callable(entry.twin):
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return entry.twin(entry.make(dtype, **(settings or {})),
                              edit(entry.inputs(generator(), dtype)), settings or {})
    except Exception:
        return {}


def is_floating(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def floating(entry):
    """The names of the arguments that are float arrays."""
    return [name for name, value in entry.inputs(generator(), np.float64).items()
            if is_floating(value)]


def each_and_all(names):
    return [[name] for name in names] + ([names] if len(names) > 1 else [])


def applied(change, names):
    return lambda inputs: inputs | {name: change(inputs[name]) for name in names}


def distance(ours, theirs):
    """The largest difference over the largest entry; inf for another shape or where
    only one is NaN or infinite.
    """
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    if ours.shape != theirs.shape:
        return np.inf
    strange = ~np.isfinite(theirs) | ~np.isfinite(ours)
    if not np.array_equal(ours[strange], theirs[strange], equal_nan=True):
        return np.inf
    apart = np.max(np.abs(ours - theirs)[~strange], initial=0)
    largest = np.max(np.abs(theirs[~strange]), initial=0)
    return apart / largest if largest else apart


@cache
def raise_lines(filename):
    """The lines of a file on which a `raise` statement stands."""
    return {line for node in ast.walk(ast.parse(Path(filename).read_text("utf-8")))
            if isinstance(node, ast.Raise)
            for line in range(node.lineno, node.end_lineno + 1)}


def is_ours(error):
    """Whether one of our own lines raised it, and not NumPy deep inside; what Python
    says of no integer, and NumPy of an axis that is not there, is as clear.
    """
    if isinstance(error, np.exceptions.AxisError) or re.search(
        "cannot be interpreted as an integer|expected a sequence of integers or a",
        str(error)):
        return True
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (Path(frame.filename).parent.name == "byhand"
            and frame.lineno in raise_lines(frame.filename)
            and isinstance(error, (TypeError, ValueError, KeyError)))


def contradicts(error):
    """A message that asks for the very thing that came: "must be float64, got float64".
    """
    match = re.search(r"^(.*)\bgot\b(.*)$", str(error), re.DOTALL)
    if not match:
        return False
    came = re.escape(match[2].strip())
    return bool(came) and re.search(rf"(?<![\w.-]){came}(?![\w.])",
                                    match[1]) is not None


def attempt(action):
    """(results, None) or (None, the error), warnings of NumPy aside."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return action(), None
        except Exception as error:
            return None, error


def raised_in_registry(error):
    """Whether a callback or a loop of the tests, not the library, stumbled."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return Path(frame.filename).name == "registry.py"


def error_problem(error):
    """What is wrong with an error, or None."""
    text = f"{type(error).__name__}: {error}"
    if not is_ours(error):
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"not our error: {text} ({Path(where.filename).name}:{where.lineno})"
    if contradicts(error):
        return f"contradicts itself: {text}"
    return None


def report(problems):
    if problems:
        pytest.fail("\n".join(dict.fromkeys(problems)), pytrace=False)


# --- the registry ---------------------------------------------------------------------

def test_no_public_name_is_missing():
    public = {f"{module}.{name}" for module, loaded in MODULES.items()
              for name in loaded.__all__}
    assert public - ENTRIES.keys() - EXEMPT.keys() == set()
    assert (ENTRIES.keys() | EXEMPT.keys()) - public == set()


def differences(entry, dtype, settings):
    ours = run(entry, dtype, settings=settings)
    limit = entry.limit if dtype == np.float64 else 1e-5
    theirs = entry.twin(entry.make(dtype, **settings),
                        entry.inputs(generator(), dtype), settings)
    return [f"{key} {dtype.__name__} {settings}: {error:.1e}"
            for key, value in theirs.items()
            if not (error := distance(ours[key], value)) <= limit]


def variants(entry):
    """The default, and each setting changed."""
    yield {}
    for name, value in entry.settings.items():
        if isinstance(value, After):
            yield value.others | {name: value.value}
        elif not isinstance(value, Idle):
            yield {name: value}


@sweep(names=[name for name, entry in ENTRIES.items() if callable(entry.twin)])
def test_twins(name):
    entry = ENTRIES[name]
    report([problem for dtype in (np.float64, np.float32) for settings in
            variants(entry) if not (dtype == np.float32 and "float32" in entry.spare)
            for problem in differences(entry, dtype, settings)])


# --- what every function keeps --------------------------------------------------------

FLOAT64 = {
    "backprop.train": "losses are collected as floats",
    "gradient_descent.lr_range_test": "losses are collected as floats",
    "normalization.standardize": "statistics are float64",
    "initialization.mean_field": "numbers, no arrays, are given",
    "learning.precision_recall_f1": "labels, no arrays of floats, are given",
    "regularization.EarlyStopping": "numbers, no arrays, are given",
    **{name: "rates" for name, entry in ENTRIES.items() if entry.kind == "schedule"},
}


@sweep()
def test_dtypes(name):
    """float32 in, float32 out; float64 in, float64 out."""
    entry = ENTRIES[name]
    for dtype in () if name in FLOAT64 else (np.float32, np.float64):
        report([f"{key}: {value.dtype} from {np.dtype(dtype)}"
                for key, value in run(entry, dtype).items()
                if is_floating(value) and value.ndim and value.dtype != dtype])


def odd_layouts(x):
    """The same numbers in memory in other ways, all read-only."""
    reverse = np.ascontiguousarray(x[::-1])[::-1]
    gaps = np.repeat(x[..., None], 2, axis=-1)[..., 0]
    for version in (x.copy(), np.asfortranarray(x), reverse, gaps):
        version.flags.writeable = False
        yield version


@sweep()
def test_layouts(name):
    entry, problems = ENTRIES[name], []
    arrays = [key for key, value in entry.inputs(generator(), np.float64).items()
              if isinstance(value, np.ndarray) and value.ndim]
    expected = run(entry, np.float64)
    for key in arrays:
        for k in range(4):
            found, error = attempt(lambda key=key, k=k: run(entry, np.float64, applied(
                lambda x: list(odd_layouts(x))[k], [key])))
            if error is not None:
                problems.append(f"{key}, layout {k}: {type(error).__name__}: {error}")
            elif any(distance(found[kind], value) > 1e-12 for kind, value in
                     expected.items() if not isinstance(value, (str, dict))):
                problems.append(f"{key}, layout {k}: another result")
    report(problems)


# --- 1. squares that overflow or vanish -----------------------------------------------

SMALLEST = 1e-36  # below, float32 keeps few digits
# Where PyTorch's float32 does the same, and we leave it so
AS_PYTORCH = {
    **dict.fromkeys(["backprop.MSELoss", "losses.HuberLoss", "losses.KLDivLoss"],
                    "a single loss is a float32 number"),
    **dict.fromkeys(["optimizers.Adagrad", "optimizers.RMSprop", "optimizers.Adadelta"],
                    "the state holds squares, under PyTorch's names"),
}
# Where such numbers are refused
REFUSED = {
    **{f"normalization.{name}": "the running variance is a float32 number" for name in (
        "BatchNorm1d", "BatchNorm2d", "StackedBatchNorm")},
    "transfer_learning.adapt_statistics": "the running variance is a float32 number",
}


@sweep()
def test_squares(name):
    """In float32 as in float64, where squares of these sizes are no matter."""
    entry, problems = ENTRIES[name], []
    for scale in (1e20, 1e-23):
        for names in each_and_all(floating(entry)):
            scaled = applied(lambda x, scale=scale: x * x.dtype.type(scale), names)

            def widened(inputs, scaled=scaled):
                inputs = {key: value.astype(np.float32) if is_floating(value) else value
                          for key, value in inputs.items()}
                return {key: value.astype(np.float64) if is_floating(value) else value
                        for key, value in scaled(inputs).items()}

            expected, refused = attempt(
                lambda: run(entry, np.float64, widened, entry.alike))
            if refused is not None:
                continue
            values = [np.asarray(v) for v in expected.values()
                      if is_floating(v) or isinstance(v, float)]
            with warnings.catch_warnings(record=True) as caught, np.errstate(
                all="warn", under="ignore"):
                warnings.simplefilter("always")
                try:
                    found = run(entry, np.float32, scaled, entry.alike)
                except Exception as error:
                    if name not in REFUSED or (error := error_problem(error)):
                        problems.append(f"{names} * {scale}: {error}")
                    continue
            theirs = (twin(entry, np.float32, scaled, entry.alike)
                      if name in AS_PYTORCH else {})
            whole = all(np.abs(v[np.isfinite(v)]).max(initial=0) < 3e38 for v in values)
            texts = {str(warning.message) for warning in caught}
            if (whole and texts and not theirs
                and all(np.isfinite(v).all() for v in values)):
                problems.append(f"{names} * {scale}: {texts}")
            for key, value in expected.items():
                if np.asarray(value).dtype.kind not in "fiu":
                    continue
                limits = ((1e-300, 1e300) if isinstance(found[key], float)
                          else (SMALLEST, 3e38))
                value = np.asarray(value, float)
                if not limits[0] < np.max(np.abs(value), initial=0) < limits[1]:
                    continue
                if not distance(found[key], value) <= 1e-4 and not (
                    key in theirs and distance(found[key], theirs[key]) <= 1e-5):
                    problems.append(
                        f"{names} * {scale}: {key} {np.ravel(found[key])[:3]}, "
                        f"expected {np.ravel(value)[:3]}")
    report(problems)


# --- 2. a call that fails halfway -----------------------------------------------------

def frozen(value):
    """Anything as something that can be compared, down to the last array."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, deque)):
        return [frozen(item) for item in value]
    if hasattr(value, "__dict__") and not callable(value):
        return type(value).__name__, frozen(vars(value))
    return repr(value)


def bad_versions(value):
    """(what, value made unfit): most calls must refuse most of them."""
    yield "nothing", None
    if not isinstance(value, np.ndarray):
        return
    yield "another kind", value.astype(np.float16 if value.dtype.kind == "f"
                                       else np.float64) + 0.5
    yield "one axis more", value[None]
    if value.ndim:
        yield "one row less", value[:-1]
        yield "one row", value[:1]
        yield "one column less", value[..., :-1]
        yield "no rows", value[:0]
    if value.dtype.kind == "i":
        yield "large integers", value + 99
        yield "one large integer", value + 99 * (np.arange(value.size) == value.size
                                                 - 1).reshape(value.shape)


# Refused in its middle, a chain refuses backward, too, until a forward pass succeeds
CHAINS = ("backprop.Sequential", "convolution.Residual")
FIRST = {"layer": "forward", "loss": "forward", "scaler": "fit", "perceptron": "fit"}


def called(entry, thing, inputs):
    """What the first call of an object gives, and a function for what it has kept."""
    y = getattr(thing, FIRST[entry.kind])(**inputs)

    def kept():
        if entry.kind == "scaler":
            return thing.transform(inputs["x"])
        if entry.kind == "perceptron":
            return thing.predict(inputs["x"])
        dy = upstream(np.shape(y), y.dtype) if np.ndim(y) else 1.5
        return thing.backward(dy), getattr(thing, "grads", {})
    return kept


@sweep("layer", "loss", "scaler", "perceptron")
def test_refused_calls(name):
    """A refused call leaves the object as it was, with what an earlier one kept."""
    entry, problems = ENTRIES[name], []
    inputs = entry.inputs(generator(), np.float64)
    for argument, value in inputs.items():
        for what, bad in bad_versions(value):
            thing = entry.make(np.float64)
            kept = called(entry, thing, inputs)
            gradient = frozen(kept())
            before = frozen(thing)
            _, error = attempt(lambda thing=thing, a=argument, bad=bad: getattr(
                thing, FIRST[entry.kind])(**(inputs | {a: bad})))
            if error is None:
                continue
            if problem := error_problem(error):
                problems.append(f"{argument}, {what}: {problem}")
            if name in CHAINS:
                if not isinstance(attempt(kept)[1], RuntimeError):
                    problems.append(f"{argument}, {what}: backward goes on")
            elif frozen(thing) != before:
                problems.append(f"{argument}, {what}: refused, but changed")
            elif frozen(kept()) != gradient:
                problems.append(f"{argument}, {what}: another gradient")
    report(problems)


@sweep("loss")
def test_a_loss_needs_no_gradient_from_above(name):
    """backward() is backward(1.0) for a loss that is one number."""
    entry = ENTRIES[name]
    loss = entry.make(np.float64)  # the reduction of its defaults
    loss.forward(**entry.inputs(generator(), np.float64))
    gradient = loss.backward()
    assert np.any(gradient != 0) and np.array_equal(gradient, loss.backward(1.0))


@sweep("layer")
def test_refused_gradients(name):
    """backward and load_state are whole or nothing, too."""
    entry, problems = ENTRIES[name], []
    inputs, layer = entry.inputs(generator(), np.float64), entry.make(np.float64)
    y = layer.forward(**inputs)
    dy = upstream(np.shape(y), np.float64)
    layer.backward(dy)
    before, saved = frozen(layer), copy.deepcopy(layer)
    for what, bad in (*bad_versions(dy), ("float32", dy.astype(np.float32))):
        _, error = attempt(lambda bad=bad: layer.backward(bad))
        if error is None:
            problems.append(f"dy, {what}: accepted")
        elif frozen(layer) != before:
            problems.append(f"dy, {what}: refused, but changed")
        elif problem := error_problem(error):
            problems.append(f"dy, {what}: {problem}")
    state = {key: value + 1 for key, value in (layer.params | layer.buffers).items()}
    for key, value in list(state.items())[-1:]:
        for what, bad in bad_versions(np.asarray(value)):
            _, error = attempt(
                lambda key=key, bad=bad: layer.load_state(state | {key: bad}))
            if error is None:
                layer = copy.deepcopy(saved)
            elif frozen(layer) != before:
                problems.append(f"load_state, {what}: refused, but changed")
    report(problems)


@sweep(names=[name for name, entry in ENTRIES.items() if entry.kind == "optimizer"
              and not name.endswith("LBFGS")])
def test_refused_steps(name):
    """A step that is refused moves nothing: not the other parameters, not the state."""
    problems, rng = [], generator()
    params = {key: rng.normal(size=(3, 4)) for key in "ab"}
    grads = {key: rng.normal(size=(3, 4)) for key in "ab"}
    optimizer = ENTRIES[name].make(np.float64)(params)
    optimizer.step(grads)
    before = frozen(optimizer)
    cases = [(what, grads | {"b": bad}) for what, bad in bad_versions(grads["b"])]
    cases += [("b is missing", {"a": grads["a"]}), ("a list", list(grads.values())),
              ("no dict", None)]
    for what, bad in cases:
        _, error = attempt(lambda bad=bad: optimizer.step(bad))
        if error is None:
            problems.append(f"{what}: accepted")
        elif frozen(optimizer) != before:
            problems.append(f"{what}: refused, but changed")
        elif problem := error_problem(error):
            problems.append(f"{what}: {problem}")
    report(problems)


class Refusal(Exception):
    """What a callback raises."""


def refuse_at(n, function):
    """The function, but its n-th call raises."""
    calls = []

    def refusing(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == n:
            raise Refusal
        return function(*arguments, **keywords)
    return refusing


def visible(thing):
    """Of a layer what its user sees, without what forward keeps for backward."""
    if not isinstance(thing, bp.Layer):
        return thing
    return [thing.params, thing.buffers,
            [layer.training for layer in thing.named_layers().values()]]


def halfway_cases():
    """{name: (what must stay as it is, a call that fails in its middle)}."""
    rng = generator()
    x = rng.normal(size=(6, 4))
    good, single = rng.normal(size=(5, 3)), rng.normal(size=(1, 3))

    def model():
        return bp.Sequential(bp.Linear(3, 4, rng=generator(1)), norm.BatchNorm1d(4),
                             reg.Dropout(rng=generator(2)))

    def case(thing, action):
        return thing, lambda: action(thing)

    def one_refused(change):
        """An average whose rule refuses the second array."""
        average = ens.AveragedModel(model(), avg_fn=refuse_at(2, lambda a, c, n: c))
        average.update_parameters(model())
        return case(average, change)

    def lbfgs(n, **settings):
        params = {"x": np.array([-0.5, 0.8])}

        def closure():
            a, b = params["x"]
            return ((1 - a)**2 + 10 * (b - a * a)**2,
                    {"x": np.array([-2 * (1 - a) - 40 * a * (b - a * a),
                                    20 * (b - a * a)])})
        optimizer = gd.LBFGS(params, **settings)
        return (params, lambda: optimizer.step(refuse_at(n, closure)))

    def schedule(make, steps=2):
        optimizer = opt.SGD({"w": np.zeros(2)}, lr=0.5, momentum=0.5)
        made = make(optimizer)
        for _ in range(steps):
            made.step()
        return case(made, lambda made: made.step())

    def plateau(metric):
        made = opt.ReduceLROnPlateau(opt.SGD({"w": np.zeros(2)}, lr=0.5))
        made.step(1.0)
        return case(made, lambda made: made.step(metric))

    def stopping(*arguments):
        stopper = reg.EarlyStopping(2)
        stopper.step(3.0, model())
        return case(stopper, lambda stopper: stopper.step(*arguments))

    yield "ensembles.update_bn", case(
        model(), lambda m: ens.update_bn([good, single], m))
    yield "ensembles.update_bn", case(
        model(), lambda m: ens.update_bn(iter([good, x]), m))
    yield "ensembles.monte_carlo", case(
        model(), lambda m: ens.monte_carlo(m, x, 3))
    yield "ensembles.AveragedModel", one_refused(
        lambda a: a.update_parameters(model()))
    yield "ensembles.AveragedModel", one_refused(
        lambda a: a.update_parameters(bp.Linear(3, 4, rng=generator())))
    yield "transfer_learning.adapt_statistics", case(
        model(), lambda m: tl.adapt_statistics(m, single))
    yield "transfer_learning.embed", case(model(), lambda m: tl.embed(m, x))
    yield "gradient_descent.LBFGS", lbfgs(4)
    yield "gradient_descent.LBFGS", lbfgs(4, line_search_fn="strong_wolfe")
    yield "gradient_descent.lr_range_test", case(model(), lambda m: gd.lr_range_test(
        m, bp.MSELoss(), good, good, lrs=[0.1, 0.2], batch_size=3, rng=generator()))
    yield "initialization.lsuv", case(model(), lambda m: init.lsuv(m, x, generator()))
    yield "initialization.initialize", case(model(), lambda m: init.initialize(
        m, refuse_at(1, init.normal), generator()))
    yield "optimizers.LambdaLR", schedule(
        lambda o: opt.LambdaLR(o, refuse_at(4, lambda t: 0.5)))
    yield "optimizers.SequentialLR", schedule(lambda o: opt.SequentialLR(
        o, [opt.StepLR(o, 2), opt.LambdaLR(o, refuse_at(2, lambda t: 0.5))], [3]))
    yield "optimizers.OneCycleLR", schedule(lambda o: opt.OneCycleLR(o, 1.0, 3), 3)
    yield "optimizers.ReduceLROnPlateau", plateau("loss")
    yield "optimizers.ReduceLROnPlateau", plateau(None)
    yield "regularization.EarlyStopping", stopping("loss", model())
    yield "regularization.EarlyStopping", stopping(1.0, "model")
    for target, lr in ((good[:, :2], 0.1), (good, "fast")):
        trained = model()
        yield "backprop.train", (trained.params, lambda m=trained, t=target, lr=lr:
                                 bp.train(m, bp.MSELoss(), good, t, lr=lr, epochs=1,
                                          batch_size=3, rng=generator()))


@sweep(names=list(dict.fromkeys(name for name, _ in halfway_cases())))
def test_halfway(name):
    problems = []
    for k, (owner, (thing, action)) in enumerate(halfway_cases()):
        if owner != name:
            continue
        before = frozen(visible(thing))
        _, error = attempt(action)
        if error is None:
            problems.append(f"case {k} is accepted")
        elif frozen(visible(thing)) != before:
            problems.append(f"case {k}: failed, and left a change "
                            f"({type(error).__name__}: {error})")
    report(problems)


# {name: (result, settings, what is scaled)}: what does not depend on the scale
SCALE_FREE = {
    "normalization.MinMaxScaler": ("z", {}, ["x"]),
    "normalization.StandardScaler": ("z", {}, ["x"]),
    "normalization.RobustScaler": ("z", {}, ["x"]),
    "normalization.Whitening": ("z", {}, ["x"]),
    "normalization.LayerNorm": ("y", {"eps": 0.0}, ["x"]),
    "normalization.RMSNorm": ("y", {"eps": 0.0}, ["x"]),
    "normalization.GroupNorm": ("y", {"eps": 0.0}, ["x"]),
    "ensembles.error_correlation": ("result", {}, ["predictions", "target"]),
    "optimizers.newton_schulz": ("result", {"eps": 0.0}, ["matrix"]),
    "optimizers.Lion": ("param", {}, ["grads"]),
    "transfer_learning.nearest_neighbour": ("result", {}, ["features", "known"]),
    "regularization.max_norm": ("result", {}, ["weight"]),
}


@sweep(names=list(SCALE_FREE))
@example(power=600)
@example(power=-600)
@settings(max_examples=5)
@given(power=st.integers(-900, 900))
def test_sizes(name, power):
    """In float64 a power of two is exact; beyond 2^512 the squares leave the range."""
    entry, (result, fixed, names) = ENTRIES[name], SCALE_FREE[name]
    if name == "regularization.max_norm":
        power = abs(power) + 3  # every row is longer than the limit
    found, expected = (run(entry, np.float64, applied(
        lambda x: np.ldexp(x, p), names), fixed)[result] for p in (
            power, 3 if "max_norm" in name else 0))
    assert distance(found, expected) <= 1e-9


# --- 3. strange numbers that come out as ordinary ones --------------------------------

def strange_inputs(x):
    """(what, x changed): NaN or infinity in one entry, no entries, no axes."""
    for what, value in (("NaN", np.nan), ("inf", np.inf), ("-inf", -np.inf)):
        changed = x.copy()
        changed.flat[0] = value
        yield what, changed
    yield "empty", x[:0]
    yield "no features", x[..., :0]
    yield "0-d", np.array(x.flat[0])


# What differs from the twin at NaN, infinity or nothing, and is meant to
OTHERWISE = {
    "activations.Softsign": "the slope at infinity is 0, not PyTorch's NaN",
    "activations.Maxout": "where NaN ties, the first gets the gradient",
    "regularization.max_norm": "a row with a length that is not finite becomes NaN",
    "losses.BCEWithLogitsLoss": "an infinite target gives NaN, not infinity",
    "losses.FocalLoss": "an infinite and right logit costs nothing",
    "losses.MultiMarginLoss": "NaN gives NaN; PyTorch leaves it out of the sum",
    "normalization.GroupNorm": "no positions: gradients are sums of nothing, 0",
    "normalization.MinMaxScaler": "NaN spreads; scikit-learn leaves it out",
    "normalization.StandardScaler": "NaN spreads; scikit-learn leaves it out",
    "normalization.RobustScaler": "NaN spreads; scikit-learn leaves it out",
    "normalization.standardize": "the mean of nothing is 0, as a layer needs it",
    "transfer_learning.adapt_statistics": "no examples leave the statistics alone",
    "transfer_learning.warp": "a place at infinity lies outside, where 0 is",
    "gradient_descent.numerical_hessian": "its twin knows the matrix beforehand",
    "checks.relative_error": "infinity and NaN are an infinite error",
}
# Where a strange number may vanish
SWALLOWED = {
    "gradient_descent.lr_range_test": "the run ends: all losses are infinite",
    "regularization.crop": "the window may leave the pixel out",
    "checks.relative_error": "infinity and NaN are an infinite error",
    "experiments.accuracy": "NaN is no answer",
}


@sweep()
def test_strange_numbers(name):
    entry, problems = ENTRIES[name], []
    ordinary = run(entry, np.float64)
    for argument in floating(entry):
        count = len(list(strange_inputs(
            entry.inputs(generator(), np.float64)[argument])))
        for k in range(count):
            what = [None]

            def edit(inputs, argument=argument, k=k, what=what):
                what[0], changed = list(strange_inputs(inputs[argument]))[k]
                return inputs | {argument: changed}

            found, error = attempt(lambda edit=edit: run(entry, np.float64, edit))
            if error is not None:
                if not raised_in_registry(error) and (problem := error_problem(error)):
                    problems.append(f"{argument} {what[0]}: {problem}")
                continue
            theirs = {} if name in OTHERWISE else twin(entry, np.float64, edit)
            for key, value in found.items():
                if is_floating(ordinary[key]) and (refused := attempt(
                    lambda value=value: bp.check_array("y", value))[1]):
                    problems.append(f"{argument} {what[0]}: {key}, and the next layer "
                                    f"says: {refused}")
                if key in theirs and distance(value, theirs[key]) > entry.limit:
                    problems.append(
                        f"{argument} {what[0]}: {key} {np.ravel(value)[:6]}, the twin "
                        f"{np.ravel(theirs[key])[:6]}".replace("\n", ""))
            if what[0] == "NaN" and not theirs and name not in SWALLOWED and not any(
                np.isnan(value).any() for value in map(np.asarray, found.values())
                if value.dtype.kind == "f"):
                problems.append(f"{argument} NaN: nothing is NaN")
    report(problems)


# --- 4. input outside the domain ------------------------------------------------------

@sweep("function")
def test_unfit_arguments(name):
    """An array that does not fit is refused by an error of ours, or it is used."""
    entry, problems = ENTRIES[name], []
    for argument, value in entry.inputs(generator(), np.float64).items():
        for what, bad in bad_versions(value) if isinstance(value, np.ndarray) else ():
            _, error = attempt(lambda a=argument, bad=bad: run(
                entry, np.float64, lambda inputs: inputs | {a: bad}))
            if error is None:
                if bad is None:
                    problems.append(f"{argument} = None: accepted")
            elif not raised_in_registry(error) and (problem := error_problem(error)):
                problems.append(f"{argument}, {what}: {problem}")
    report(problems)


# Where one of several arrays may be float32 among float64, and why
MIXED = {
    "optimizers.clip_grad_norm": "each gradient keeps its own dtype",
    "optimizers.clip_grad_value": "each gradient keeps its own dtype",
    "normalization.standardize_backward": "the scale comes from standardize",
    "regularization.mixup": "images and targets need not be alike",
    "transfer_learning.warp": "places need not have the dtype of the images",
    "checks.relative_error": "compares whatever comes",
    **{f"experiments.{name}": "measures in float64" for name in (
        "paired", "constant", "nearest_neighbor", "softmax_regression", "baselines")},
}


def mixed(entry):
    """The float arguments that meet others, or parameters, of one dtype."""
    thing = entry.make(np.float64) if entry.make else None
    params = getattr(thing, "params", None)
    kept = isinstance(params, dict) and any(map(is_floating, params.values()))
    names = floating(entry)
    return names if kept or len(names) > 1 else []


@sweep()
def test_mixed_dtypes(name):
    """One float32 array among float64 is refused: a silent cast hides a mistake."""
    entry, taken = ENTRIES[name], []
    for argument in mixed(entry):
        _, error = attempt(lambda a=argument: run(
            entry, np.float64, applied(lambda x: x.astype(np.float32), [a])))
        if not (isinstance(error, TypeError) and "float" in str(error)):
            taken.append(argument)
    assert bool(taken) == (name in MIXED), taken


@sweep(names=[name for name, entry in ENTRIES.items()
              if entry.kind == "layer" and mixed(entry)])
def test_forward_refuses_mixed_dtypes(name):
    """And not backward alone, when others have used the output already."""
    entry = ENTRIES[name]
    with pytest.raises(TypeError, match="float64.* got float32"):
        entry.make(np.float64).forward(**entry.inputs(generator(), np.float32))


NAN, INF = math.nan, math.inf
X = generator().normal(size=(4, 6))
LABELS = np.array([0, 5, 2, 3])
P = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
LOG_P = np.log(P)
IMAGES = generator().uniform(size=(3, 6, 6))


def with_nan(x):
    x = x.copy()
    x[1, 0] = NAN
    return x


def rng():
    return generator(3)


def settings_of(target, *arguments, **cases):
    """One case for each bad value of each keyword."""
    for key, values in cases.items():
        for value in values:
            yield value, (lambda key=key, value=value: target(
                *arguments, **{key: value}))


def steps_of(target, **cases):
    return settings_of(target, {"w": np.ones((2, 3))}, **cases)


def schedules_of(target, *arguments, **cases):
    def make(**setting):
        optimizer = opt.SGD({"w": np.ones(2)}, lr=0.5, momentum=0.5)
        return target(optimizer, *arguments, **setting)
    return settings_of(make, **cases)


def loss_of(loss, **cases):
    """Bad predictions or targets, the other one good."""
    good = {"prediction": LOG_P, "target": LABELS}
    for key, values in cases.items():
        for value in values:
            yield value, lambda key=key, value=value: loss.forward(
                **(good | {key: value}))


UNEVEN = P * np.array([[1.0], [1.0], [0.5], [1.0]])  # a row sums to 1/2
RATES = {"lr": [-1.0, NAN, INF], "weight_decay": [-0.1, NAN, INF]}
MOMENTS = RATES | {"betas": [(0.9,), (0.9, 1.0), (-0.1, 0.9), (NAN, 0.9),
                             (0.9, 0.9, 0.9)], "eps": [-1e-8, NAN]}
NORMS = {"eps": [-1.0, NAN]}
BATCHES = NORMS | {"momentum": [-0.1, 1.5, NAN]}

DOMAIN = {
    "losses.BCELoss": [
        *loss_of(losses.BCELoss(), prediction=[3 * X, P * NAN]),
        *((t, lambda t=t: losses.BCELoss().forward(P, t)) for t in (X, P * NAN))],
    "losses.NLLLoss": [*loss_of(losses.NLLLoss(), target=[
        LABELS + 1, LABELS - 1, LABELS + 0.5, LABELS[:3], LABELS > 1])],
    "losses.CrossEntropyLoss": [
        *loss_of(losses.CrossEntropyLoss(), target=[
            LABELS + 1, LABELS - 1, LABELS + 0.5, LABELS[:3], LABELS > 1]),
        *settings_of(losses.CrossEntropyLoss, label_smoothing=[-0.1, 1.5, NAN])],
    "losses.HuberLoss": settings_of(losses.HuberLoss, delta=[0.0, -1.0, NAN]),
    "losses.SmoothL1Loss": settings_of(losses.SmoothL1Loss, beta=[0.0, -1.0, NAN]),
    "losses.PinballLoss": settings_of(losses.PinballLoss, q=[0.0, 1.0, -0.5, NAN]),
    "losses.FocalLoss": settings_of(losses.FocalLoss, gamma=[-1.0, NAN, np.inf],
                                    alpha=[-0.1, 1.5, NAN]),
    "losses.MultiMarginLoss": settings_of(losses.MultiMarginLoss, margin=[NAN]),
    "losses.InfoNCELoss": settings_of(losses.InfoNCELoss, temperature=[0.0, -1.0, NAN]),
    "backprop.MSELoss": settings_of(bp.MSELoss, reduction=["average", None, 1]),
    "losses.KLDivLoss": settings_of(losses.KLDivLoss, reduction=["average", None]),
    "ensembles.doubt": [(p, lambda p=p: ens.doubt(p[None])) for p in (
        3 * X, UNEVEN, np.ones((2, 3)), P * NAN)],
    "ensembles.disagreement": [(y, lambda y=y: ens.disagreement(y)) for y in (
        P, np.zeros((1, 4), int), np.zeros((2, 0), int))],
    "ensembles.bootstrap": [
        *((n, lambda n=n: ens.bootstrap(n, rng())) for n in (0, -1, 1.5)),
        *settings_of(lambda columns: ens.bootstrap(5, rng(), columns),
                     columns=[-1, 1.5])],
    "ensembles.get_ema_avg_fn": settings_of(ens.get_ema_avg_fn, decay=[-0.1, 1.1, NAN]),
    "ensembles.combine": [("vote", lambda: ens.combine(X[None], how="vote"))],
    "ensembles.monte_carlo": [(n, lambda n=n: ens.monte_carlo(
        reg.Dropout(rng=rng()), X, n)) for n in (0, -1, 1.5)],
    "ensembles.error_correlation": [(1, lambda: ens.error_correlation(X[:1], X[0]))],
    "ensembles.AveragedModel": settings_of(
        ens.AveragedModel, bp.Linear(2, 2, rng=rng()), avg_fn=[0.9, "ema"]),
    "learning.k_fold": [(k, lambda k=k: learn.k_fold(5, k)) for k in (1, 6, 2.5)],
    "learning.stratified_k_fold": [
        (k, lambda k=k: learn.stratified_k_fold(LABELS // 3, k)) for k in (1, 3, 1.5)],
    "learning.group_k_fold": [
        (k, lambda k=k: learn.group_k_fold(LABELS, k)) for k in (1, 5, 2.5)],
    "learning.confusion_matrix": [(c, lambda c=c: learn.confusion_matrix(
        LABELS, LABELS, c)) for c in (0, 5, 6.5)],
    "learning.precision_recall_f1": [(a, lambda a=a: learn.precision_recall_f1(
        LABELS, LABELS, a)) for a in ("mean", 1)],
    "learning.roc_curve": [(s, lambda s=s: learn.roc_curve(LABELS // 3, s))
                           for s in (X[0, :4] * NAN, X[:2, :2], LABELS)],
    "learning.roc_auc": [(t, lambda t=t: learn.roc_auc(t, X[0, :4]))
                         for t in (LABELS, LABELS * 0, LABELS + 0.5)],
    "learning.precision_recall_curve": [
        (t, lambda t=t: learn.precision_recall_curve(t, X[0, :4]))
        for t in (LABELS, LABELS * 0, LABELS + 0.5)],
    "learning.average_precision": [
        (t, lambda t=t: learn.average_precision(t, X[0, :4]))
        for t in (LABELS, LABELS * 0, LABELS + 0.5)],
    "learning.bootstrap_interval": [
        *((n, lambda n=n: learn.bootstrap_interval(np.mean, (X[0],), rng(), n))
          for n in (0, 1, 2.5)),
        *((q, lambda q=q: learn.bootstrap_interval(np.mean, (X[0],), rng(), 9, q))
          for q in (0.0, 1.0, NAN))],
    "learning.mcnemar": [(y, lambda y=y: learn.mcnemar(y, y > 1)) for y in (
        LABELS, LABELS + 0.5)],
    "learning.calibration_error": [
        *((p, lambda p=p: learn.calibration_error(p, LABELS))
          for p in (3 * X, UNEVEN, P * NAN)),
        *((y, lambda y=y: learn.calibration_error(P, y))
          for y in (LABELS + 1, LABELS - 1, LABELS + 0.5)),
        *settings_of(lambda bins: learn.calibration_error(P, LABELS, bins),
                     bins=[0, 1.5])],
    "learning.gaussian_process": [
        *((v, lambda v=v: learn.gaussian_process(X, X[:, 0], X, v, 0.1))
          for v in (0.0, -1.0, NAN)),
        *((v, lambda v=v: learn.gaussian_process(X, X[:, 0], X, 1.0, v))
          for v in (0.0, -1.0, NAN))],
    "learning.expected_improvement": [
        (v, lambda v=v: learn.expected_improvement(X[0], X[1]**2, v))
        for v in (NAN, INF)],
    "learning.PCA": settings_of(lambda n: learn.PCA(n).fit(X), n=[0, 5, 1.5]),
    "regularization.noisy_labels": [
        *((y, lambda y=y: reg.noisy_labels(y, 0.5, rng())) for y in (
            LABELS + 0.5, LABELS + 99, LABELS - 1)),
        *((f, lambda f=f: reg.noisy_labels(LABELS, f, rng())) for f in (-0.1, 2, NAN)),
        *settings_of(lambda classes: reg.noisy_labels(
            LABELS.astype(np.uint8), 1.0, rng(), classes), classes=[0, 1000, 2.5])],
    "regularization.max_norm": [(v, lambda v=v: reg.max_norm(X, v))
                                for v in (0.0, -1.0, NAN)],
    "regularization.soft_threshold": [(v, lambda v=v: reg.soft_threshold(X, v))
                                      for v in (-1.0, NAN)],
    "regularization.EarlyStopping": [
        *settings_of(reg.EarlyStopping, patience=[0, -1, NAN]),
        *settings_of(reg.EarlyStopping, 2, min_delta=[-0.1, NAN])],
    "regularization.Dropout": settings_of(lambda p: reg.Dropout(p, rng=rng()),
                                          p=[-0.1, 1.1, NAN]),
    "regularization.StochasticDepth": [
        *settings_of(lambda p: reg.StochasticDepth(p, rng=rng()), p=[-0.1, 1.1, NAN]),
        *settings_of(lambda mode: reg.StochasticDepth(0.5, mode, rng=rng()),
                     mode=["rows", None])],
    "regularization.DropConnect": settings_of(
        lambda p: reg.DropConnect(3, 2, p, rng=rng()), p=[-0.1, 1.1, NAN]),
    "regularization.GaussianNoise": settings_of(
        lambda std: reg.GaussianNoise(std, rng=rng()), std=[-1.0, NAN, INF]),
    "regularization.FractionalMaxPool2d": [
        *settings_of(lambda **s: reg.FractionalMaxPool2d(2, **s, rng=rng()),
                     output_ratio=[0.0, 1.0, 1.5, NAN]),
        *settings_of(lambda **s: reg.FractionalMaxPool2d(**{
            "kernel_size": 2, "output_size": 3} | s, rng=rng()).forward(IMAGES[None]),
                     output_size=[0, 9, 1.5, (2, 2, 2)], kernel_size=[0, 9, 1.5])],
    "regularization.shift": [(v, lambda v=v: reg.shift(IMAGES, v, 0))
                             for v in (0.5, NAN, [1, 2])],
    "regularization.rotate": [(v, lambda v=v: reg.rotate(IMAGES, v))
                              for v in (NAN, INF, [1.0, 2.0])],
    "regularization.brightness": [(v, lambda v=v: reg.brightness(IMAGES, v))
                                  for v in (-1.0, NAN)],
    "regularization.flip": [(v, lambda v=v: reg.flip(IMAGES, v)) for v in (0, 1.5)],
    "regularization.crop": [
        *((v, lambda v=v: reg.crop(IMAGES, v, rng())) for v in (0, 9, 1.5, (2, 2, 2))),
        *settings_of(lambda padding: reg.crop(IMAGES, 4, rng(), padding),
                     padding=[-1, 0.5])],
    "regularization.cutout": [(v, lambda v=v: reg.cutout(IMAGES, v, rng()))
                              for v in (0, -1, 1.5)],
    "regularization.mixup": [(v, lambda v=v: reg.mixup(X, P, v, rng()))
                             for v in (0.0, -1.0, NAN, INF)],
    **{f"normalization.{cls.__name__}": settings_of(cls, 6, **BATCHES) for cls in (
        norm.BatchNorm1d, norm.BatchNorm2d, norm.InstanceNorm1d, norm.InstanceNorm2d,
        norm.StackedBatchNorm)},
    "normalization.LayerNorm": settings_of(norm.LayerNorm, 6, **NORMS),
    "normalization.RMSNorm": settings_of(norm.RMSNorm, 6, **NORMS),
    "normalization.GroupNorm": [*settings_of(norm.GroupNorm, 2, 6, **NORMS),
                                *((n, lambda n=n: norm.GroupNorm(n, 6))
                                  for n in (0, 4, 1.5))],
    "normalization.Whitening": [
        *settings_of(norm.Whitening, kind=["PCA", None], eps=[-1.0, NAN]),
        (X * NAN, lambda: norm.Whitening().fit(X * NAN))],
    "normalization.fold_batch_norm": [(-0.99999, lambda: norm.fold_batch_norm(
        bp.Linear(3, 2, rng=rng()), negative_variance()))],
    **{f"initialization.{f.__name__}": settings_of(
        lambda f=f, **s: f((5, 4), rng(), **s), **cases) for f, cases in {
        init.normal: {"std": [-1.0, NAN]},
        init.uniform: {"a": [2.0, NAN, -INF], "b": [-1.0, NAN, INF]},
        init.xavier_normal: {"gain": [NAN]}, init.xavier_uniform: {"gain": [NAN]},
        init.orthogonal: {"gain": [NAN]},
        init.kaiming_normal: {"a": [NAN], "mode": ["fan"], "nonlinearity": ["gelu"]},
        init.kaiming_uniform: {"a": [NAN], "mode": ["fan"], "nonlinearity": ["gelu"]},
        init.trunc_normal: {"std": [0.0, -1.0, NAN, INF], "mean": [NAN, INF],
                            "a": [3.0, NAN]}}.items()},
    "initialization.calculate_gain": [
        ("gelu", lambda: init.calculate_gain("gelu")),
        *((v, lambda v=v: init.calculate_gain("leaky_relu", v)) for v in (NAN, "0.1"))],
    "initialization.fans": [(s, lambda s=s: init.fans(s)) for s in (
        (3,), (3, 0), (3, -1), (3, 1.5))],
    "initialization.mean_field": [
        (-1.0, lambda: init.mean_field(act.Tanh(), 2, -1.0)),
        *settings_of(lambda **s: init.mean_field(act.Tanh(), 2, 1.0, **s),
                     bias_var=[-9.0], input_moment=[-9.0])],
    "optimizers.SGD": steps_of(opt.SGD, **RATES, momentum=[-0.1, NAN],
                               dampening=[NAN, INF]),
    "optimizers.Adagrad": steps_of(
        opt.Adagrad, **RATES, lr_decay=[-1.0, NAN], eps=[-1.0, NAN],
        initial_accumulator_value=[-1.0, NAN]),
    "optimizers.RMSprop": steps_of(opt.RMSprop, **RATES, alpha=[-0.1, 1.0, NAN],
                                   eps=[-1.0, NAN], momentum=[-0.1, NAN]),
    "optimizers.Adadelta": steps_of(opt.Adadelta, **RATES, rho=[-0.1, 1.1, NAN],
                                    eps=[-1.0, NAN]),
    **{f"optimizers.{cls.__name__}": steps_of(cls, **MOMENTS) for cls in (
        opt.Adam, opt.AdamW, opt.Adamax, opt.RAdam)},
    "optimizers.NAdam": steps_of(opt.NAdam, **MOMENTS, momentum_decay=[-1.0, NAN]),
    "optimizers.Lion": steps_of(opt.Lion, **RATES, betas=MOMENTS["betas"]),
    "optimizers.Muon": steps_of(
        opt.Muon, **RATES, momentum=[-0.1, 1.0, NAN], eps=[-1.0, NAN],
        ns_steps=[-1, 1.5], adjust_lr_fn=["adam"], ns_coefficients=[(1.0, 2.0)]),
    "optimizers.newton_schulz": [
        (X[0], lambda: opt.newton_schulz(X[0])),
        ("int64", lambda: opt.newton_schulz(np.ones((2, 3), int)))],
    "optimizers.StepLR": schedules_of(opt.StepLR, step_size=[0, -1, NAN]),
    "optimizers.ExponentialLR": schedules_of(opt.ExponentialLR, gamma=[-1.0, NAN]),
    "optimizers.InverseTimeLR": schedules_of(opt.InverseTimeLR, decay=[-1.0, NAN]),
    "optimizers.LinearLR": schedules_of(
        opt.LinearLR, start_factor=[0.0, NAN], end_factor=[-1.0, NAN],
        total_iters=[0, NAN]),
    "optimizers.CosineAnnealingLR": [
        *schedules_of(opt.CosineAnnealingLR, T_max=[0, -1, NAN]),
        *schedules_of(opt.CosineAnnealingLR, 5, eta_min=[-1.0, NAN])],
    "optimizers.CosineAnnealingWarmRestarts": [
        *schedules_of(opt.CosineAnnealingWarmRestarts, T_0=[0, NAN]),
        *schedules_of(opt.CosineAnnealingWarmRestarts, 5, T_mult=[0, 0.5, NAN],
                      eta_min=[-1.0, NAN])],
    "optimizers.OneCycleLR": schedules_of(
        lambda o, **s: opt.OneCycleLR(o, **{"max_lr": 1.0, "total_steps": 9} | s),
        max_lr=[0.0, NAN], total_steps=[0, -1, NAN], pct_start=[-0.1, 1.1, NAN],
        anneal_strategy=["cosine"], div_factor=[0.0, NAN], final_div_factor=[0.0, NAN],
        base_momentum=[NAN, -1.0], max_momentum=[NAN, -1.0]),
    "optimizers.ReduceLROnPlateau": schedules_of(
        opt.ReduceLROnPlateau, mode=["least"], factor=[1.0, 0.0, NAN],
        threshold=[NAN], threshold_mode=["relative"], min_lr=[-1.0, NAN],
        eps=[NAN, -1.0], patience=[NAN], cooldown=[NAN]),
    "perceptron.Perceptron": [
        *((n, lambda n=n: perc.Perceptron(n)) for n in (0, -1, 1.5)),
        *settings_of(lambda dtype: perc.Perceptron(2, dtype=dtype),
                     dtype=[np.float16, int]),
        *((y, lambda y=y: perc.Perceptron(6).fit(X, y)) for y in (
            LABELS, ["1", "-1", "1", "1"], np.array([1, -1, 0.5, 1]), [1, -1])),
        (X * NAN, lambda: perc.Perceptron(6).fit(X * NAN, np.ones(4))),
        *((n, lambda n=n: perc.Perceptron(6).fit(X, np.ones(4), max_epochs=n))
          for n in (0, 1.5)), (NAN, lambda: broken_perceptron().predict(X))],
    "perceptron.count_parameters": [(s, lambda s=s: perc.count_parameters(s))
                                    for s in ((3,), (3, 0), (3, 1.5))],
    "transfer_learning.nearest_neighbour": [
        (NAN, lambda: tl.nearest_neighbour(with_nan(X), X, LABELS)),
        (NAN, lambda: tl.nearest_neighbour(X, with_nan(X), LABELS))],
    "transfer_learning.prototypes": [
        (NAN, lambda: tl.prototypes(X, np.array([0.0, NAN, 1.0, 1.0])))],
    "transfer_learning.embed": settings_of(
        lambda layers: tl.embed(bp.Sequential(act.Tanh()), X, layers),
        layers=[0, 2, 1.5]),
    "transfer_learning.warp": [(v, lambda v=v: tl.warp(
        IMAGES, np.full((3, 2, 2), v), np.zeros((3, 2, 2)))) for v in (NAN, "1", 1j)],
    "transfer_learning.elastic": [
        *((v, lambda v=v: tl.elastic(IMAGES, v, rng())) for v in (-1.0, NAN, INF)),
        *settings_of(lambda grid: tl.elastic(IMAGES, 1.0, rng(), grid),
                     grid=[1, 2.5])],
    "transfer_learning.distorted": settings_of(
        lambda **s: tl.distorted(IMAGES, rng(), **s), largest_shift=[-1, 1.5],
        angle=[-1.0, NAN, INF], bend=[-1.0, NAN, INF]),
    "gradient_descent.descend": [(n, lambda n=n: gd.descend(
        lambda x: x, X[0], 0.1, n)) for n in (-1, 1.5)],
    "gradient_descent.numerical_hessian": settings_of(
        lambda step: gd.numerical_hessian(lambda x: 2 * x, np.array([1e9, 1.0]), step),
        step=[0.0, 1e-8, NAN]),
    "gradient_descent.unflatten": [(v, lambda v=v: gd.unflatten(v, {"a": X}))
                                   for v in (X[0], [1.0, 2.0])],
    "gradient_descent.lr_range_test": [
        *settings_of(lambda **s: range_test(**s), lrs=[
            [0.2, 0.1], [0.0, 0.1], [NAN], []], batch_size=[0, 99, 1.5]),
        *((r, lambda r=r: range_test(loss=bp.MSELoss(r))) for r in ("sum", "none"))],
    "gradient_descent.cubic_minimizer": [((2.0, 1.0), lambda: gd.cubic_minimizer(
        gd.Trial(0.0, 1.0, -1.0), gd.Trial(2.0, 1.5, 2.0), 2.0, 1.0))],
    "gradient_descent.strong_wolfe": [(s, lambda s=s: gd.strong_wolfe(
        lambda t: gd.Trial(t, t, 1.0), 1.0, gd.Trial(0.0, 0.0, s)))
        for s in (1.0, 0.0, NAN)],
    "experiments.paired": [
        *((v, lambda v=v: exp.paired(X[0], v))
          for v in (NAN, with_nan(X)[1], X[1, :3])),
        *settings_of(lambda **s: exp.paired(X[0], X[1], **s), d=[0.0, -1.0, NAN],
                     comparisons=[0, 1.5], resplit=[-1.0, NAN])],
    "experiments.tuned": settings_of(
        lambda grid: exp.tuned(lambda v: v**2, grid),
        grid=[[0.0], [-1.0, 0.0, 0.0], [-1.0, NAN, 1.0], [0.0, 1.0, 2.0]]),
    "experiments.fact": settings_of(
        lambda **s: exp.fact(**{"holds": True, "numbers": "3 of 3"} | s),
        holds=[1, None], numbers=[""]),
    "experiments.mlp": [((3,), lambda: exp.mlp((3,), rng()))],
    "experiments.accuracy": [(y, lambda y=y: exp.accuracy(
        bp.Linear(6, 3, rng=rng()), X, y)) for y in (LABELS + 0.5, LABELS[:2])],
    "checks.tolerance": [(np.float16, lambda: checks.tolerance(np.float16, 100))],
    "checks.relative_error": [("shape", lambda: checks.relative_error(X, X[0])),
                              ("object", lambda: checks.relative_error(None, None))],
    "checks.numerical_gradient": [
        *((x, lambda x=x: checks.numerical_gradient(lambda z: float(z.sum()), x))
          for x in (np.arange(3), X * NAN, np.full(2, INF))),
        *settings_of(lambda step: checks.numerical_gradient(
            lambda z: float(z.sum()), np.array([1e9]), step), step=[0.0, 1e-9, NAN])],
    "checks.resolve_device": settings_of(checks.resolve_device, device=["gpu", None]),
    "gradient_descent.LBFGS": settings_of(
        gd.LBFGS, {"w": np.ones(3)}, lr=[0.0, -1.0, NAN], max_iter=[0, 1.5],
        history_size=[0, 1.5], tolerance_grad=[NAN], tolerance_change=[NAN],
        line_search_fn=["wolfe"]),
    "backprop.Linear": [
        *((n, lambda n=n: bp.Linear(n, 2, rng=rng())) for n in (0, -1, 1.5)),
        *settings_of(lambda dtype: bp.Linear(2, 2, rng=rng(), dtype=dtype),
                     dtype=[int, np.float16])],
    "backprop.train": settings_of(lambda **s: bp.train(**{
        "model": bp.Linear(6, 2, rng=rng()), "loss": bp.MSELoss(), "x": X,
        "y": X[:, :2], "lr": 0.1, "epochs": 1, "batch_size": 2, "rng": rng()} | s),
        batch_size=[0, 1.5], epochs=[0, 1.5]),
    "activations.CELU": settings_of(act.CELU, alpha=[0.0, -1.0, NAN]),
    "activations.Softplus": settings_of(act.Softplus, beta=[0.0, -1.0, NAN]),
    "activations.PReLU": settings_of(act.PReLU, num_parameters=[0, -1, 1.5],
                                     dtype=[int, np.float16]),
    "activations.GELU": settings_of(act.GELU, approximate=["erf", None]),
    "activations.Maxout": settings_of(act.Maxout, pieces=[0, -1, 1.5]),
    "activations.GLU": settings_of(act.GLU, dim=[0.5, "1"]),
    "activations.SwiGLU": settings_of(act.SwiGLU, dim=[0.5, "1"]),
    "activations.GEGLU": settings_of(act.GEGLU, dim=[0.5, "1"]),
    "losses.Softmax": [(v, lambda v=v: losses.Softmax(v).forward(X))
                       for v in (2, -3, 0.5)],
    "losses.LogSoftmax": [(v, lambda v=v: losses.LogSoftmax(v).forward(X))
                          for v in (2, -3, 0.5)],
}


def negative_variance():
    layer = norm.BatchNorm1d(2)
    layer.buffers["running_var"][...] = -1.0
    return layer


def broken_perceptron():
    unit = perc.Perceptron(6)
    unit.params["weight"][0, 0] = NAN
    return unit


def range_test(**changed):
    return gd.lr_range_test(**{
        "model": bp.Linear(6, 2, rng=rng()), "loss": bp.MSELoss(), "x": X,
        "y": X[:, :2], "lrs": [0.1, 0.2], "batch_size": 2, "rng": rng()} | changed)


def names_what_came(error, value):
    """Whether a message tells what came: the value, its dtype, type or shape."""
    text = str(error)
    told = [str(value), repr(value), type(value).__name__, str(np.shape(value))]
    if np.isnan(np.asarray(value, float)).any() if not isinstance(
        value, (str, type, complex, type(None))) else False:
        told += ["finite", "NaN"]
    if isinstance(value, np.ndarray):
        if re.search(r"got [^0-9]*[-0-9]", text):
            return True
        told += [str(value.dtype), *map(repr, value.ravel().tolist()), "nan"]
    if isinstance(value, type):
        told.append(np.dtype(value).name)
    if isinstance(value, float) and math.isfinite(value):
        told.append(f"{value:g}")
    if isinstance(value, (list, tuple)):
        told += [repr(item) for item in value] + [f"'{type(value[-1]).__name__}'"
                                                  for _ in value[:1]]
    return any(item in text for item in told)


@sweep(names=list(DOMAIN))
def test_domain(name):
    """Refused, by an error of ours that names what came."""
    problems = []
    for value, action in CASES[name]:
        shown = (f"{value.dtype} {value.ravel()[:3]}…" if isinstance(value, np.ndarray)
                 else repr(value))
        result, error = attempt(action)
        if error is None:
            problems.append(f"{shown} is accepted")
        elif problem := error_problem(error):
            problems.append(f"{shown}: {problem}")
        elif not names_what_came(error, value):
            problems.append(f"{shown}: does not tell what came: {error}")
    report(problems)


CASES = {name: list(cases) for name, cases in DOMAIN.items()}

# --- 5. accuracy lost to the way of computing -----------------------------------------

AWKWARD = np.array([sign * x for x in (
    0, 1e-30, 1e-10, 1e-6, 1e-3, 0.1, 0.5, 1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 50, 80,
    100, 1e3, 1e10, 1e20) for sign in (1, -1)]).reshape(-1, 2)

POINTWISE = [name for name, entry in ENTRIES.items() if name in (
    "backprop.Sigmoid", "backprop.ReLU") or (
        name.startswith("activations.") and "x" in entry.inputs(generator(), float)
        and name.split(".")[1] not in ("Maxout", "GLU", "SwiGLU", "GEGLU"))]


def use_with_ones(entry, dtype):
    layer, x = entry.make(dtype), AWKWARD.astype(dtype)
    return layer.forward(x), layer.backward(np.ones_like(x))


def theirs_with_ones(entry):
    """PyTorch's results in float32 on the same numbers."""
    x = AWKWARD.astype(np.float32)
    results = entry.twin(entry.make(np.float32), {"x": x}, {})
    return results["y"], results["dx"] / upstream(x.shape, np.float32)


@sweep(names=POINTWISE)
def test_tails(name):
    """Each single entry in float32, value and slope, as in float64, or no worse than
    twice PyTorch's error.
    """
    entry, problems = ENTRIES[name], []
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, expected = (use_with_ones(entry, dtype)
                           for dtype in (np.float32, np.float64))
        theirs = theirs_with_ones(entry)
        for what, a, b, c in zip(("value", "slope"), found, expected, theirs):
            scale = np.maximum(np.abs(b), 1e-37)
            ours, other = (np.abs(v.astype(float) - b) / scale for v in (a, c))
            # the largest up to the next size, since a single one may be small by luck
            other = np.maximum.accumulate(np.append(other[1:], other[-1:], axis=0))
            far = ~(ours <= np.maximum(1e-5, 2 * np.nan_to_num(other)))
            problems += [f"{what} at {x}: {ours}, expected {theirs}" for x, ours, theirs
                         in zip(AWKWARD[far], a[far], b[far])]
    report(problems)


# Numbers around 1e4 whose sums no float32 holds: once as they are, once in many rows
def moved(inputs, names, dtype, copies):
    """Floats plus 1e4, rounded to float32 in any case; all arrays `copies` times."""
    length = len(next(iter(inputs.values())))

    def tiled(value):
        if copies > 1 and value.ndim and len(value) == length:
            return np.tile(value, (copies, *[1] * (value.ndim - 1)))
        return value
    return {key: value if not isinstance(value, np.ndarray) else tiled(
        (value + 1e4 * (key in names)).astype(np.float32).astype(dtype)
        if is_floating(value) else value) for key, value in inputs.items()}


@sweep()
def test_offsets(name):
    """A small spread around a large number: float32 as float64, or no worse than four
    times the twin's error. Statistics of float32 numbers are not computed in float32.
    """
    entry, problems = ENTRIES[name], []
    for copies in (1, 300) if entry.kind in ("function", "layer", "scaler") else (1,):
        for names in each_and_all(floating(entry)):
            def edit(dtype, names=names, copies=copies):
                return lambda inputs: moved(inputs, names, dtype, copies)

            expected, refused = attempt(lambda edit=edit: run(
                entry, np.float64, edit(np.float64), entry.alike))
            if refused is not None:
                continue
            found, error = attempt(lambda edit=edit: run(
                entry, np.float32, edit(np.float32), entry.alike))
            if error is not None:
                problems.append(f"{names}: {error}")
                continue
            theirs = twin(entry, np.float32, edit(np.float32), entry.alike)
            for key, value in expected.items():
                if not (is_floating(value) or isinstance(value, float)):
                    continue
                other = distance(theirs[key], value) if key in theirs else 0
                if not (ours := distance(found[key], value)) <= max(1e-4, 4 * other):
                    problems.append(f"{names} + 1e4, {copies} times: {key} is off by "
                                    f"{ours:.1e}, the twin by {other:.1e}")
    report(problems)


def exact_length(beta, t):
    """The length of the plain mean, in fractions."""
    beta = Fraction(beta)
    return float(2 / (1 - beta) - 1 - 2 * t * beta**t / (1 - beta**t))


def exact_softplus(x):
    """log(1 + exp(x)) for x far below 0, by its series."""
    return np.exp(x) - np.exp(2 * x) / 2


def one_hot_loss(gap):
    return losses.CrossEntropyLoss(reduction="none").forward(
        np.array([[gap, 0.0]]), np.array([0]))


def of_logit(x, target):
    return losses.BCEWithLogitsLoss(reduction="none").forward(
        np.array([x]), np.array([target]))


def nearly_equal_features():
    x = generator().normal(size=(400, 6))
    x[:, 5] = x[:, 4] + 1e-7 * x[:, 5]
    z = norm.Whitening().fit_transform(x)
    return z.T @ z / 400


def two_far_clusters():
    r = generator(4)
    known = (r.normal(size=(20, 4)) + r.choice([-1000.0, 1000.0], (20, 1))).astype("f4")
    x = known + 0.1 * r.normal(size=known.shape).astype("f4")
    return tl.nearest_neighbour(x, known, np.arange(20)).astype(float)


def errors_around(offset):
    p, t = generator().normal(size=(3, 50)), generator(1).normal(size=50)
    exact = (p + offset).astype(np.longdouble) - (t + offset)
    return (ens.error_correlation(p + offset, t + offset), float(
        (3 * np.mean(exact.mean(0)**2) / np.mean(exact**2) - 1) / 2))


def spread_around(offset):
    x = offset + generator().normal(size=(50, 3))
    exact = x.astype(np.longdouble) - x.astype(np.longdouble).mean(0)
    return x, (exact / np.sqrt((exact**2).mean(0))).astype(float)


# name: (what comes out, what should, the largest relative error of any single entry)
AWKWARD_POINTS = {
    "optimizers.sma_length": lambda: [
        (opt.sma_length(1 - 1e-7, t), exact_length(1 - 1e-7, t), 1e-6)
        for t in (1, 2, 5, 100)],
    "losses.CrossEntropyLoss": lambda: [
        (one_hot_loss(gap), exact_softplus(-gap), 1e-12) for gap in (20.0, 40.0, 90.0)],
    "losses.BCEWithLogitsLoss": lambda: [
        (of_logit(x, t), exact_softplus(-abs(x)), 1e-12)
        for x, t in ((40.0, 1.0), (-40.0, 0.0), (-90.0, 0.0))],
    "losses.LogSoftmax": lambda: [(losses.LogSoftmax().forward(np.array([40.0, 0.0])),
                                   [-exact_softplus(-40.0), -40.0], 1e-12)],
    "normalization.Whitening": lambda: [(nearly_equal_features(), np.eye(6), 1e-7)],
    "normalization.StandardScaler": lambda: [
        (norm.StandardScaler().fit_transform(x), exact, 1e-5)
        for x, exact in [spread_around(1e8)]] + [
        (1 + np.abs(norm.StandardScaler().fit_transform(
            np.array([[0.3], [0.1 + 0.2], [0.3], [0.3]]))), np.ones((4, 1)), 1e-10)],
    "normalization.BatchNorm1d": lambda: [
        (norm.BatchNorm1d(3, eps=1e-30).forward(x), exact, 1e-5)
        for x, exact in [spread_around(1e8)]],
    "regularization.max_norm": lambda: [
        (np.linalg.norm(reg.max_norm(np.array([[3e-9, 4e-9]]), 1e-9)), 1e-9, 1e-6)],
    "transfer_learning.nearest_neighbour": lambda: [
        (1 + two_far_clusters(), 1 + np.arange(20.0), 1e-12)],
    "ensembles.error_correlation": lambda: [(*errors_around(1e6), 1e-9)],
    "initialization.trunc_normal": lambda: [
        (init.trunc_normal(9, rng(), a=a, b=b), truncated(
            rng().uniform(0, 1, 9), a, b), 1e-8) for a, b in ((8, 9), (-40, -30))],
    "initialization.mean_field": lambda: [
        (init.mean_field(act.Tanh(), 2, 100.0)[2][1],
         exact_gain(100.0), 1e-6)],
    "checks.numerical_gradient": lambda: [
        (checks.numerical_gradient(lambda z: float(np.log(z[0])), np.array([x])),
         1 / x, 1e-4) for x in (1e-3, 1e-6, 1e-12)],
}


def exact_gain(variance):
    """chi of the second tanh layer for E[x^2] = 1, by SciPy's integral."""
    def gaussian(f):
        return 2 * scipy.integrate.quad(
            lambda u: f(u) * math.exp(-u * u / 2) / math.sqrt(2 * math.pi), 0, 12,
            points=[0.01, 0.1, 0.5, 1, 3], limit=500, epsabs=0, epsrel=1e-10)[0]
    q = variance * gaussian(lambda u: math.tanh(math.sqrt(variance) * u)**2)
    return variance * gaussian(lambda u: math.cosh(min(math.sqrt(q) * u, 300))**-4)


@sweep(names=list(AWKWARD_POINTS))
def test_awkward_points(name):
    """Every single entry, against fractions, series, longdouble or SciPy."""
    problems = []
    for found, expected, bound in AWKWARD_POINTS[name]():
        error = np.abs(np.asarray(found) - expected) / np.maximum(np.abs(expected),
                                                                  1e-300)
        if name == "normalization.Whitening":  # its zeros have no relative error
            error = np.abs(found - expected)
        if not np.max(error) <= bound:
            problems.append(f"{np.ravel(found)[:4]}, expected {np.ravel(expected)[:4]}:"
                            f" off by {np.max(error):.1e}")
    report(problems)


# --- 6. settings that are dropped without a word --------------------------------------

@sweep()
def test_settings(name):
    """Each keyword, changed from its default, changes a result or is refused."""
    entry, problems = ENTRIES[name], []
    parameters = inspect.signature(entry.target).parameters
    given = entry.inputs(generator(), np.float64)
    keywords = {key for key, p in parameters.items() if p.default is not p.empty
                and key not in given and key not in ("rng", "dtype")}
    assert keywords - entry.settings.keys() == set(), "no other value is registered"
    assert entry.settings.keys() <= parameters.keys()
    for key, value in entry.settings.items():
        if isinstance(value, Idle):
            continue
        others = value.others if isinstance(value, After) else {}
        changed = others | {key: value.value if isinstance(value, After) else value}
        before, _ = attempt(lambda others=others: run(
            entry, np.float64, settings=others))
        found, error = attempt(lambda changed=changed: run(
            entry, np.float64, settings=changed))
        if error is None and frozen(found) == frozen(before):
            problems.append(f"{key} changes nothing")
    report(problems)


# --- the sweeps themselves ------------------------------------------------------------

def planted(function, use=None, kind="function", settings=None, twin="none",
            inputs=normal_array(4, 6), make=None):
    return Entry(function, inputs, use or (lambda f, **a: {"result": f(**a)}), twin,
                 make or (lambda dtype, **s: lambda **a: function(**a, **s)),
                 settings or {}, kind)


def unit_length(x):
    return x / np.sqrt((x**2).sum(axis=1, keepdims=True))


def label(x):
    return x.argmax(axis=1)


def rounded_deep_inside(x):
    return x.reshape(4, 6) * 1


def spread(x):
    return np.sqrt(np.abs((x**2).mean(axis=0) - x.mean(axis=0)**2))


def forgetful(x, factor=1.0):
    return x.copy()


def in_place(x):
    x *= 2
    return x


def in_memory_order(x):
    return x.ravel(order="K").copy()


def wide(x):
    return x.astype(np.float64)


class Hasty(bp.Layer):
    """Keeps its input before it looks at it."""

    def forward(self, x):
        self.x = x
        bp.check_array("x", x, (None, 6))
        return 2 * x

    def backward(self, dy):
        bp.check_array("dy", dy, self.x.shape)
        return 2 * dy


class Careless(bp.Layer):
    """Takes any gradient."""

    def forward(self, x):
        return x * 1

    def backward(self, dy):
        return dy


class Overflowing(act.Elementwise):
    def value(self, x):
        return np.log(1 + np.exp(x))

    def slope(self, x, y):
        return np.exp(x) / (1 + np.exp(x))


class OneByOne(opt.SGD):
    """Moves each parameter before it looks at the next gradient."""

    def step(self, grads):
        for name, param in self.params.items():
            param -= self.lr * grads[name]


def of_class(cls):
    return {"function": cls, "make": lambda dtype: cls(), "kind": "layer",
            "use": lambda layer, x: {"y": layer.forward(x)}}


@pytest.mark.parametrize("test, entry", [
    (test_squares, planted(unit_length)),
    (test_strange_numbers, planted(label)),
    (test_strange_numbers, planted(rounded_deep_inside)),
    (test_offsets, planted(spread)),
    (test_settings, planted(forgetful, settings={"factor": 2.0})),
    (test_settings, planted(forgetful)),
    (test_layouts, planted(in_place)),
    (test_layouts, planted(in_memory_order)),
    (test_dtypes, planted(wide)),
    (test_twins, planted(unit_length, twin=lambda *_: {"result": np.ones((4, 6))})),
    (test_refused_calls, planted(**of_class(Hasty))),
    (test_refused_gradients, planted(**of_class(Careless))),
    (test_refused_steps, planted(
        OneByOne, kind="optimizer", make=lambda dtype: OneByOne)),
    (test_tails, planted(**of_class(Overflowing), twin=lambda *_: {
        "y": np.logaddexp(0, AWKWARD), "dx": np.ones(AWKWARD.shape)})),
], ids=lambda value: getattr(value, "__name__", None) or value.target.__name__)
def test_planted_faults_are_found(test, entry, monkeypatch):
    monkeypatch.setitem(ENTRIES, "planted", entry)
    with pytest.raises((pytest.fail.Exception, AssertionError)):
        test("planted")


def refuse(text):
    def action():
        raise ValueError(text)
    return action


@pytest.mark.parametrize("value, action, found", [
    (math.nan, lambda: 1.0, "accepted"),
    (1.5, lambda: np.ones(3).reshape(2), "not our error"),
    ("1", refuse("every label must be -1 or 1, got 1"), "contradicts itself"),
    (1.5, refuse("bad input"), "does not tell what came")])
def test_planted_answers_are_found(value, action, found, monkeypatch):
    monkeypatch.setitem(CASES, "planted", [(value, action)])
    if found != "not our error":  # the others are as if byhand had raised them
        monkeypatch.setattr("test_faults.is_ours", lambda error: True)
    with pytest.raises(pytest.fail.Exception, match=found):
        test_domain("planted")
