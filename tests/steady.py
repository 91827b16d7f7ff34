"""One chapter under what may change its numbers: other kernels, threads and seeds.

    python tests/steady.py losses           # what `make steady NAME=losses` calls
    python tests/steady.py losses --seeds 3 4

Stored outputs must come out the same (strict nbval): as the machine is, under every
pair of a number of threads, a kernel of NumPy's BLAS and one of PyTorch that this
processor can run, and with random numbers that differ in their last bits, which stands
for the processors that are not at hand. With other seeds and the sizes of the variant,
the assertions must hold. Prints a line for each run; exits with 1 if one failed.
tests/drift.py does the same for the whole book.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import nbformat
import papermill
from allpairspy import AllPairs

ROOT = Path(__file__).resolve().parents[1]
THREADS = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
ONE_THREAD = dict.fromkeys(THREADS, "1")
NUDGED = str(ROOT / "tests" / "nudged")

# what is varied: of each family of kernels one, from the oldest processors on
CHOICES = {
    "threads": ["1", "2"],
    "OPENBLAS_CORETYPE": ["Prescott", "Haswell", "SkylakeX", "SapphireRapids"],
    "ATEN_CPU_CAPABILITY": ["default", "avx2"],
}
# the names under which OpenBLAS tells what it took, where they differ
ALIASES = {"Katmai": "Prescott", "Sapphirerapids": "SapphireRapids"}

# What a Python computes with. It multiplies first: a kernel that the processor lacks
# ends the process.
PROBE = """
import json, platform
import numpy, scipy, sklearn, torch
from threadpoolctl import threadpool_info
for dtype in ("float32", "float64"):
    a = numpy.linspace(-1, 1, 90_000, dtype=dtype).reshape(300, 300)
    b = torch.from_numpy(a)
    assert numpy.isfinite(a @ a).all() and (b @ b).exp().isfinite().all()
print(json.dumps({
    "python": platform.python_version(),
    **{m.__name__: m.__version__ for m in (numpy, scipy, sklearn, torch)},
    "openblas": sorted({one["architecture"] for one in threadpool_info()
                        if one.get("internal_api") == "openblas"}),
    "aten": torch.backends.cpu.get_cpu_capability().lower()}))
"""


def probe(python=sys.executable, variables=None):
    """The versions and kernels that a Python gets to under environment variables, as
    PROBE prints them. RuntimeError if it does not get that far.
    """
    done = subprocess.run([python, "-c", PROBE], env=os.environ | (variables or {}),
                          text=True, capture_output=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        raise RuntimeError(last)
    found = json.loads(done.stdout.splitlines()[-1])
    found["openblas"] = [ALIASES.get(name, name) for name in found["openblas"]]
    return found


@cache
def cannot(variable, value):
    """Why this machine cannot run with a kernel; "" if it can."""
    try:
        found = probe(variables=ONE_THREAD | {variable: value})
    except RuntimeError as problem:
        return f"it ends the process ({problem})"
    if variable == "OPENBLAS_CORETYPE":
        taken = ", ".join(found["openblas"]) or "no OpenBLAS"
        return "" if taken == value else f"{taken} instead"
    return "" if found["aten"] == value else f"{found['aten']} instead"


def absent():
    """(variable, value, why) of each kernel that cannot be had here."""
    for variable in ("OPENBLAS_CORETYPE", "ATEN_CPU_CAPABILITY"):
        for value in CHOICES[variable]:
            if why := cannot(variable, value):
                yield variable, value, why


def pairs(choices):
    """Few dicts {name: value} in which every two values of two names meet. A name
    without values is left out.
    """
    choices = {name: values for name, values in choices.items() if values}
    return [dict(zip(choices, row)) for row in AllPairs(list(choices.values()))]


def oldest_numpy():
    """What takes NumPy's own loops back to the oldest processor that it supports."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    newer = [feature for feature in __cpu_dispatch__ if __cpu_features__[feature]]
    return {"NPY_DISABLE_CPU_FEATURES": " ".join(newer)}


def settings():
    """(name, environment) of each strict run: as the machine is, the pairs, and with
    random numbers nudged.
    """
    yield "as it is, 1 thread", ONE_THREAD
    lacking = {(variable, value) for variable, value, _ in absent()}
    choices = {name: [value for value in values if (name, value) not in lacking]
               for name, values in CHOICES.items()}
    for row in pairs(choices):
        threads = row.pop("threads")
        variables = dict.fromkeys(THREADS, threads) | row
        if row.get("OPENBLAS_CORETYPE") == "Prescott":
            variables |= oldest_numpy()
        name = ", ".join([*row.values(), f"{threads} thread" + "s" * (threads != "1")])
        yield name, variables
    yield ("random numbers larger by 1e-14, 1 thread",
           ONE_THREAD | {"PYTHONPATH": NUDGED})


def run(name, command, environment, folder=ROOT):
    """Print whether the command succeeds, and what it said if it does not."""
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(f"{'ok' if done.returncode == 0 else 'FAILED':<8}{name}", flush=True)
    if done.returncode:
        print(done.stdout[-1500:])
    return done.returncode == 0


def strict(*paths, python=sys.executable):
    """The command that compares stored outputs with fresh ones."""
    return [python, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider",
            *map(str, paths)]


def check(path, seeds):
    """All runs of one notebook; whether all of them succeeded."""
    print(f"== {path.relative_to(ROOT)}")
    results = [run(name, strict(path), variables) for name, variables in settings()]
    sizes = nbformat.read(path, as_version=4).metadata.get("byhand", {}).get("variant")
    given = [word for name, value in (sizes or {}).items()
             for word in ("-p", name, str(value))]
    unknown = (sizes or {}).keys() - papermill.inspect_notebook(path).keys()
    if unknown:
        raise ValueError(f"{path.name} has no parameters {sorted(unknown)}")
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            variant = [sys.executable, "-m", "papermill", "--no-progress-bar", *given,
                       "-p", "seed", str(seed), "-p", "device", "cpu",
                       "--kernel", "python3", str(path), os.devnull]
            results.append(run(f"seed {seed}", variant,
                               ONE_THREAD | {"BYHAND_VARIANT": "1"}, folder))
    return all(results)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="a chapter, say losses; its questions go along")
    parser.add_argument("--seeds", type=int, nargs="*", default=[2, 3, 5, 8, 13])
    arguments = parser.parse_args()
    paths = [path for folder in ("book", "book/questions")
             if (path := ROOT / folder / f"{arguments.name}.ipynb").is_file()]
    if not paths:
        parser.error(f"there is no book/{arguments.name}.ipynb")
    for variable, value, why in absent():
        print(f"-- {variable}={value}: not on this machine: {why}")
    sys.exit(not all([check(path, arguments.seeds) for path in paths]))


if __name__ == "__main__":
    main()
