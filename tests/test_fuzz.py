"""Random input to every public name: a clear error, or the twin's result.

A Case is an entry of the registry with some of its inputs edited: other shapes, dtypes,
layouts and containers, strange numbers. `problems` says what is wrong with what a call
makes of it: an error from deep inside, another number than the twin's, a changed
argument, a half-changed state, warnings that nobody can act on. The default run tries
EXAMPLES cases of each name, the same in every run; `make fuzz` tries thousands of new
ones.
"""

import math
import os
import re
import secrets
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import registry
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from registry import ENTRIES
from test_faults import (FIRST, OTHERWISE, Hasty, attempt, called, distance,
                         error_problem, frozen, in_place, is_floating, of_class,
                         planted, raised_in_registry, report, rounded_deep_inside,
                         variants)

import byhand.backprop as bp
import byhand.convolution as conv

pytestmark = pytest.mark.filterwarnings("ignore")  # those that matter are caught

CHAINS = (bp.Sequential, conv.Residual)  # as in test_faults
LIBRARY = "byhand"  # whose warnings count
EXAMPLES = 20
LONG = int(os.environ.get("BYHAND_FUZZ", 10_000))

# --- edits: {name: function(value, place)}, for each kind of value --------------------


def at(x, place, value):
    """x with another value at one place."""
    x = x.copy()
    if x.size:
        x.flat[place % x.size] = value
    return x


def frozen_copy(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def scaled(x, size):
    """x times a power of two such that its largest entry is about as large as size."""
    top = np.max(np.abs(x[np.isfinite(x)]), initial=0)
    with np.errstate(all="ignore"):
        return np.ldexp(x, int(np.log2(size) - np.log2(top))) if top else x


def limits(x):
    return np.finfo(x.dtype) if x.dtype.kind == "f" else np.finfo(float)


LAYOUTS = {
    "read-only": lambda x, _: frozen_copy(x),
    "Fortran": lambda x, _: np.asfortranarray(x),
    "backwards": lambda x, _: np.ascontiguousarray(x[::-1])[::-1] if x.ndim else x,
    "with gaps": lambda x, _: np.repeat(x[..., None], 2, axis=-1)[..., 0],
}
SHAPES = {
    "no rows": lambda x, _: x[:0],
    "one row": lambda x, _: x[:1],
    "two rows": lambda x, _: x[:2],
    "one row less": lambda x, _: x[:-1],
    "rows twice": lambda x, _: np.concatenate([x, x]),
    "no columns": lambda x, _: x[..., :0],
    "one column": lambda x, _: x[..., :1],
    "one column less": lambda x, _: x[..., :-1],
    "columns twice": lambda x, _: np.concatenate([x, x], axis=-1),
    "an axis before": lambda x, _: x[None],
    "an axis behind": lambda x, _: x[..., None],
    "an axis less": lambda x, place: x[place % len(x)],
    "transposed": lambda x, _: x.T,
    "flat": lambda x, _: x.ravel(),
    "0-d": lambda x, place: np.array(x.flat[place % x.size]),
}
DTYPES = {name: lambda x, _, name=name: x.astype(name) for name in (
    "float16", "float32", "float64", "longdouble", "int8", "uint8", "int64", "bool",
    "complex64", "complex128", "object", "str", ">f8")}
CONTAINERS = {
    "None": lambda x, _: None,
    "a list": lambda x, _: x.tolist(),
    "a tuple": lambda x, _: tuple(x.tolist()),
    "a number": lambda x, _: 1.0,
    "a word": lambda x, _: "word",
}
FLOATS = {
    "NaN": lambda x, place: at(x, place, math.nan),
    "infinite": lambda x, place: at(x, place, math.inf),
    "-infinite": lambda x, place: at(x, place, -math.inf),
    "zero": lambda x, _: 0 * np.nan_to_num(x),
    "constant": lambda x, place: np.full_like(x, x.flat[place % x.size]),
    "negative": lambda x, _: -x,
    "whole": lambda x, _: np.round(x),
    "huge": lambda x, _: scaled(x, limits(x).max / 2),
    "large": lambda x, _: scaled(x, 8 * np.sqrt(limits(x).max)),
    "small": lambda x, _: scaled(x, np.sqrt(limits(x).tiny) / 8),
    "tiny": lambda x, _: scaled(x, 1e3 * limits(x).smallest_subnormal),
    "one huge": lambda x, place: at(x, place, limits(x).max / 2),
}
INTEGERS = {
    "one large": lambda x, place: at(x, place, 99),
    "one negative": lambda x, place: at(x, place, -1),
    "zeros": lambda x, _: 0 * x,
    "uint64": lambda x, _: x.astype("uint64"),
    "with halves": lambda x, _: x + 0.5,
}
ARRAYS = LAYOUTS | SHAPES | DTYPES | CONTAINERS | FLOATS | INTEGERS
NUMBERS = {repr(value): lambda *_, value=value: value for value in (
    0, 1, -1, 2, 3, 1.5, 0.0, 0.5, -0.5, 1e300, 1e-320, math.nan, math.inf, -math.inf,
    None, "1", 1j, True, [1], np.float32(0.5), np.int64(2), np.array(1.0))}
SEQUENCES = {
    "empty": lambda value, _: type(value)(),
    "the last left out": lambda value, _: value[:-1],
    "the first twice": lambda value, _: value[:1] + value,
    "None": lambda value, _: None,
}
DICTS = {"empty": lambda value, _: {}, "None": lambda value, _: None,
         "a list": lambda value, _: list(value.values())}


def edits_of(value):
    """The edits that fit a value."""
    if isinstance(value, np.ndarray):
        own = FLOATS if value.dtype.kind == "f" else INTEGERS
        return LAYOUTS | SHAPES | DTYPES | CONTAINERS | own
    if isinstance(value, (int, float, np.generic)):
        return NUMBERS
    if type(value) in (list, tuple):
        return SEQUENCES
    return DICTS if isinstance(value, dict) else {}


def seats(value, path=()):
    """(path, value) of all in a dict of arguments that can be edited."""
    inner = (value.items() if isinstance(value, dict) else enumerate(value)
             if isinstance(value, (list, tuple)) else ())
    found = [(path, value)] if path and edits_of(value) else []
    return found + [seat for key, item in inner for seat in seats(item, (*path, key))]


def replaced(value, path, change):
    """The value with change(what is there) at the path; itself if that is gone."""
    if not path:
        return change(value)
    key, *rest = path
    if isinstance(value, dict) and key in value:
        return value | {key: replaced(value[key], rest, change)}
    if isinstance(value, (list, tuple)) and isinstance(key, int) and key < len(value):
        items = [*value]
        items[key] = replaced(items[key], rest, change)
        return value._make(items) if hasattr(value, "_make") else type(value)(items)
    return value


def edited(value, name, place):
    """The edit's result; the value itself where it does not fit (any longer)."""
    edit = edits_of(value).get(name)
    if edit is None:
        return value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return edit(value, place)
        except (ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError):
            return value


# --- cases ----------------------------------------------------------------------------

@dataclass
class Case:
    """edits: (path, the name of an edit). A path begins with "arguments" or "settings";
    ("all",) stands for all arrays, ("dy",) for the gradient that arrives.
    """
    dtype: str
    settings: dict
    number: int  # seeds the inputs, and is the place of an edit of one entry
    edits: list

    def edit(self, value, root):
        """The edits of what stands under the root, made."""
        for (first, *path), name in self.edits:
            if first == root:
                value = replaced(value, path, lambda value, name=name: edited(
                    value, name, self.number))
        return value

    def arguments(self, entry):
        """Fresh arguments, edited."""
        arguments = entry.inputs(np.random.default_rng(self.number), self.type)
        for path, value in seats(arguments):
            if isinstance(value, np.ndarray):
                arguments = replaced(arguments, path, lambda x: self.edit(x, "all"))
        return self.edit(arguments, "arguments")

    def arriving(self, shape, dtype):
        """What registry.arriving gives, edited."""
        return self.edit(registry.upstream(shape, dtype), "dy")

    def given(self):
        """The settings, edited."""
        return self.edit(self.settings, "settings")

    def thing(self, entry):
        return entry.make(self.type, **self.given())

    @property
    def type(self):
        return np.dtype(self.dtype).type


def cases(name):
    """The strategy of an entry's cases."""
    entry = ENTRIES[name]
    arguments = entry.inputs(np.random.default_rng(0), np.float64)
    places = [(("arguments", *path), edits_of(value))
              for path, value in seats(arguments)]
    if len(arrays_in(arguments)) > 1:
        places.append((("all",), ARRAYS))
    if entry.kind in ("layer", "loss"):
        places.append((("dy",), LAYOUTS | SHAPES | DTYPES | CONTAINERS | FLOATS))
    settings = list(variants(entry))
    own = [(("settings", *path), edits_of(value)) for path, value in
           seats(dict(pair for setting in settings for pair in setting.items()))]
    edits = [st.tuples(st.just(path), st.sampled_from(sorted(names)))
             for path, names in places + own]
    return st.builds(
        Case, st.sampled_from(["float64", "float32"]),
        st.builds(dict.__or__, *2 * [st.sampled_from(settings)]), st.integers(0, 99),
        st.lists(st.one_of(edits), max_size=3, unique=True) if edits else st.just([]))


# --- properties -----------------------------------------------------------------------

# What Python says of a number or container of the wrong type is as clear as ours
PYTHONS = re.compile(
    "not supported between instances of|only integer scalar arrays can be converted|"
    "is not iterable|non-iterable|has no attribute|has no len|must be real number|"
    "not subscriptable|operand type|not reversible|not callable|unhashable|"
    "must be a string or a real number|an integer is required|shape argument|"
    "could not convert string to float|negative dimensions|must be integers or slices|"
    "duplicate value in 'axis'|values to unpack|inhomogeneous shape|positional arg|"
    r"int\(\) argument|did not contain a loop|can only concatenate")
# what came
TELLS = re.compile("got|[0-9]|finite|empty|constant|either|NaN|interpreted as|overflow|"
                   "at least one|has the shape")
# What only PyTorch, SciPy or scikit-learn cannot take
THEIRS = re.compile(
    "not a valid number|both floats or both Tensors|byte order|view size|"
    "expected target dtype|without overflow|must be an integer|empty|positive output|"
    "Mismatch in shape|Expected|length must be|two or more|at least 2 dim|sqrtm|"
    "tuple index|must be in range|inhomogeneous")

EXTREME = {"huge", "large", "small", "tiny", "one huge", "infinite", "-infinite",
           "1e+300", "1e-320"}
STRANGE = {"NaN", "infinite", "-infinite"}


@dataclass
class Meant:
    """A difference that is meant: for this name, where a problem holds this part and
    one of these edits, if any are named, was made.
    """
    name: str
    part: str
    reason: str
    edits: set = frozenset()
    case: Case = None  # that shows it

    def covers(self, name, case, problem):
        return (name == self.name and self.part in problem and (
            not self.edits or any(edit in self.edits for _, edit in case.edits)))


MEANT = [
    Meant("optimizers.LinearLR", "multiplicative factor", "the rate may begin above"),
    Meant("optimizers.NAdam", "param: ", "PyTorch's squares overflow before their root",
          EXTREME),
    Meant("normalization.standardize", "the twin", "its twin knows the axis 0, eps > 0",
          {"empty", "the last left out", "0", "0.0"}),
    *(Meant(f"normalization.{name}", "z: ", "for scikit-learn 1e-320 is no spread",
            EXTREME) for name in ("MinMaxScaler", "StandardScaler", "RobustScaler")),
    Meant("optimizers.clip_grad_norm", "the twin", "PyTorch's norm overflows", EXTREME),
    Meant("gradient_descent.numerical_hessian", "the twin", "x + step overflows",
          EXTREME),
    Meant("checks.relative_error", "result", "beside zeros it is the error itself",
          {"zero"}),
    Meant("gpu.memory", "the twin", "its twin knows one network"),
    Meant("gradient_descent.strong_wolfe", "evaluations", "c2 near 0 is not met", {
        "1e-320", "0", "0.0"}),
    Meant("gradient_descent.descend", "mat1 and mat2", "the gradient is the test's"),
    Meant("gradient_descent.unflatten", "the twin", "its twin knows two shapes"),
    Meant("experiments.baselines", "at least 2 classes", "scikit-learn refuses it"),
    Meant("experiments.softmax_regression", "result", "the classes tie", EXTREME),
    Meant("transfer_learning.nearest_neighbour", "result",
          "PyTorch's distances overflow", EXTREME),
    Meant("regularization.max_norm", "the twin", "its twin knows the axes 0 and -1",
          {"None"}),
    Meant("activations.PReLU", "weight.grad", "PyTorch leaves a NaN out", STRANGE),
    Meant("losses.PinballLoss", "dx", "the slope at NaN is 0", STRANGE),
    Meant("ensembles.combine", "result", "NaN is no vote", STRANGE),
    Meant("activations.Maxout", "dx", "where entries tie, the first gets the gradient",
          {"zero", "constant", "whole"}),
]


def arrays_in(arguments):
    return {path: frozen(value) for path, value in seats(arguments)
            if isinstance(value, np.ndarray)}


def observed(action):
    """(results or None, the error or None, the library's warnings)."""
    with warnings.catch_warnings(record=True) as caught, np.errstate(
        all="warn", under="ignore"):
        warnings.simplefilter("default")  # one for each line
        try:
            results, error = action(), None
        except Exception as problem:
            results, error = None, problem
    return results, error, [warning for warning in caught
                            if Path(warning.filename).parent.name == LIBRARY]


def plain(entry, case):
    """Whether numbers or containers are edited, not only arrays."""
    before = dict(seats(entry.inputs(np.random.default_rng(0), case.type)))
    return any(root == "settings" or (
        root == "arguments" and not isinstance(before[tuple(path)], np.ndarray))
        for (root, *path), _ in case.edits)


def unclear(entry, case, error):
    """What is wrong with an error, or None."""
    if raised_in_registry(error) or "unfit_arguments" in entry.spare:
        return None
    if isinstance(error, (TypeError, ValueError, AttributeError)) and PYTHONS.search(
        str(error)) and (plain(entry, case) or entry.kind == "loss"):
        return None
    if (problem := error_problem(error)):
        return problem
    if not TELLS.search(str(error)):
        return f"does not tell what came: {error}"


def call_problems(entry, case):
    """What is wrong with one call on a fresh object."""
    arguments = case.arguments(entry)
    before = arrays_in(arguments)
    found, error, caught = observed(
        lambda: entry.use(case.thing(entry), **arguments))
    if arrays_in(arguments) != before:
        yield "an argument is changed"
    if error is not None:
        if problem := unclear(entry, case, error):
            yield problem
        return
    yield from warning_problems(entry, case, arguments, found, caught)
    if callable(entry.twin):
        yield from twin_problems(entry, case, arguments, found)


def numbers_in(values):
    return [np.asarray(value) for value in values
            if is_floating(value) or isinstance(value, float)]


def warning_problems(entry, case, arguments, found, caught):
    """Where all goes in and comes out finite, there is nothing to warn of."""
    values = numbers_in([*(value for _, value in seats(arguments)), *found.values()])
    if caught and entry.kind != "optimizer" and not plain(entry, case) and all(
        np.isfinite(value).all() for value in values):
        yield f"warns of nothing: {caught[0].message}"
    if len(caught) > 8:
        yield f"{len(caught)} warnings, the last: {caught[-1].message}"


def theirs(entry, case, dtype=None):
    """The twin's results on the same numbers in a dtype, and its error."""
    arguments = case.arguments(entry)
    for path, value in seats(arguments) if dtype else ():
        if is_floating(value):
            with np.errstate(over="ignore"):
                arguments = replaced(arguments, path, lambda x: x.astype(dtype))
        case = replace(case, dtype=np.dtype(dtype).name)
    return attempt(lambda: entry.twin(case.thing(entry), arguments, case.given()))


def twin_problems(entry, case, arguments, found):
    values = [value for _, value in seats(arguments)] + list(case.given().values())
    dtypes = {str(getattr(value, "dtype", case.dtype)) for value in values}
    dtypes |= {case.dtype}
    narrow = bool(dtypes & {"float32", "float16"})
    if (narrow and "float32" in entry.spare) or apart(entry, case, values):
        return
    expected, error = theirs(entry, case)
    empty = any(isinstance(value, np.ndarray) and not value.size for value in values)
    if isinstance(error, (ValueError, IndexError, RuntimeError)) and not (
        empty or THEIRS.search(str(error))):
        yield f"the twin refuses: {type(error).__name__}: {error}"
    whole = not any(edit in EXTREME for _, edit in case.edits)
    exact = rough = None
    for key, value in (expected or {}).items():
        limit = max(1e-5 if narrow else 0, entry.limit)
        limit = 1e-2 if "float16" in dtypes else limit
        floor = rounding(expected, narrow)
        if agree(found[key], value, limit, floor, whole):
            continue
        if exact is None:
            exact, rough = (theirs(entry, case, dtype)[0] or expected
                            for dtype in ("f8", "f4"))
        spread = (distance(rough[key], exact[key])  # what rounding does here
                  if np.asarray(value).dtype.kind in "fiub" else 0)
        if math.isfinite(spread):
            limit = max(limit, 10 * spread if narrow else 1e-7 * spread)
        if not agree(found[key], exact[key], limit, floor, whole):
            yield (f"{key}: {np.ravel(found[key])[:6]}, the twin "
                   f"{np.ravel(value)[:6]}")


def rounding(results, narrow):
    """What is lost when the largest of all results is rounded, or what has no digits.
    """
    limits = np.finfo(np.float32 if narrow else float)
    values = [np.abs(value[np.isfinite(value)]).max(initial=0)
              for value in numbers_in(results.values())]
    return max(4 * float(limits.eps) * max(values, default=0), float(limits.tiny))


def apart(entry, case, values):
    """Whether the twin is known to differ on such arguments."""
    strange = any(isinstance(value, np.ndarray) and (not value.size or (
        value.dtype.kind == "f" and not np.isfinite(value).all())) for value in values)
    return strange and name_of(entry) in OTHERWISE


def name_of(entry):
    return next(name for name, one in ENTRIES.items() if one is entry)


def agree(ours, theirs, limit, floor, whole):
    """Whether the numbers that the twin has are ours, too: up to a distance relative
    to the largest, or up to the floor. Where the twin has NaN or infinity we may have
    a number, unless the comparison is of the whole.
    """
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.dtype.kind not in "fiub" or theirs.dtype.kind not in "fiub":
        return np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "c")
    if ours.shape != theirs.shape:
        return False
    ours, theirs = ours.astype(float), theirs.astype(float)
    known = np.isfinite(theirs)
    if not np.isfinite(ours[known]).all() or (
        whole and not np.array_equal(ours[~known], theirs[~known], equal_nan=True)):
        return False
    with np.errstate(all="ignore"):
        error = np.max(np.abs(ours - theirs)[known], initial=0)
    largest = np.max(np.abs(theirs[known]), initial=0)
    return error <= max(float(limit) * float(largest or 1), floor)


def state_problems(entry, case):
    """A refused call leaves the object, and what an earlier call kept, as they were."""
    thing, error = attempt(lambda: case.thing(entry))
    if error is not None:
        return
    first = getattr(thing, FIRST[entry.kind])
    good = entry.inputs(np.random.default_rng(1), case.type)
    kept, error = attempt(lambda: called(entry, thing, good))
    if error is not None:
        return
    y = first(**good)
    actions = [lambda: first(**case.arguments(entry))]
    if entry.kind in ("layer", "loss"):
        actions.insert(0, lambda: thing.backward(case.arriving(
            np.shape(y), getattr(y, "dtype", float))))
    for action in actions:
        results, before = frozen(attempt(kept)[0]), frozen(thing)
        _, error = attempt(action)
        if error is None:
            continue
        if type(thing) in CHAINS and action is actions[-1]:
            if not isinstance(attempt(kept)[1], RuntimeError):
                yield "refused, and backward goes on"
        elif frozen(thing) != before:
            yield f"refused, but changed ({error})"
        elif frozen(attempt(kept)[0]) != results:
            yield f"refused, and another gradient ({error})"


def step_problems(entry, case):
    """A refused step moves nothing."""
    grads = case.arguments(entry)["grads"]
    good = entry.inputs(np.random.default_rng(1), case.type)
    optimizer, error = attempt(lambda: case.thing(entry)({"w": good["param"]}))
    if error is not None:
        return
    optimizer.step({"w": good["grads"][0]})
    before = frozen(optimizer)
    _, error = attempt(lambda: optimizer.step(
        {"w": grads[0] if isinstance(grads, np.ndarray) and grads.size else grads}))
    if error is not None and frozen(optimizer) != before:
        yield f"refused, but changed ({error})"


def problems(entry, case):
    """What is wrong with a case, and not meant."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "arriving", case.arriving)
        found = list(call_problems(entry, case))
        if entry.kind in FIRST:
            found += state_problems(entry, case)
        elif entry.use is registry.use_optimizer:
            found += step_problems(entry, case)
    name = name_of(entry)
    return [problem for problem in found if not any(
        known.covers(name, case, problem) for known in MEANT + FAULTS)]


# --- known faults ---------------------------------------------------------------------

def fault(name, part, reason, *edits, **settings):
    """A fault that is not mended yet: a Meant that the fuzz passes by, with a case that
    shows it.
    """
    return Meant(name, part, reason, case=Case("float64", settings, 0, list(edits)))


FAULTS = []  # none that we know of


@pytest.mark.parametrize("known", [pytest.param(known, marks=pytest.mark.xfail(
    strict=True, reason=known.reason)) for known in FAULTS], ids=lambda known: (
        f"{known.name}, {known.reason}"))
def test_known_faults(known, monkeypatch):
    """What mends one takes it out of FAULTS."""
    monkeypatch.setattr("test_fuzz.FAULTS", [])
    report(problems(ENTRIES[known.name], known.case))


# --- the fuzz -------------------------------------------------------------------------

def fuzz(name, examples, number):
    """The cases of an entry that a seed gives; fails with the smallest that is wrong.
    """
    @seed(number)
    @settings(max_examples=examples, database=None, deadline=None,
              suppress_health_check=list(HealthCheck))
    @given(cases(name))
    def no_problem(case):
        if found := problems(ENTRIES[name], case):
            pytest.fail("\n".join([f"{name}: {case}, BYHAND_SEED={number}", *found]),
                        pytrace=False)
    no_problem()


@pytest.mark.parametrize("name", ENTRIES)
def test_fuzz(name):
    """The same cases in every run."""
    fuzz(name, EXAMPLES, zlib.crc32(name.encode()))


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", ENTRIES)
def test_fuzz_long(name):
    """New cases in every run, unless BYHAND_SEED names those of an earlier one."""
    fuzz(name, LONG, int(os.environ.get("BYHAND_SEED") or secrets.randbits(32)))


@pytest.mark.parametrize("entry, part", [
    (planted(in_place), "an argument is changed"),
    (planted(rounded_deep_inside), "not our error"),
    (planted(lambda x: x.mean(axis=0), twin=lambda f, inputs, settings: {
        "result": np.median(inputs["x"], axis=0)}), "the twin"),
    (planted(lambda x: np.exp(-np.exp(x * 1e3))), "warns of nothing"),
    (planted(**of_class(Hasty)), "refused, but changed"),
])
def test_planted_faults_are_found(entry, part, monkeypatch):
    monkeypatch.setitem(ENTRIES, "planted", entry)
    monkeypatch.setattr("test_fuzz.LIBRARY", "tests")
    with pytest.raises(pytest.fail.Exception, match=part):
        fuzz("planted", 200, 0)
