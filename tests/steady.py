"""One chapter under what may change its numbers: other kernels, threads and seeds.

    python tests/steady.py losses           # what `make steady NAME=losses` calls
    python tests/steady.py losses --seeds 3 4

Stored outputs must come out the same (strict nbval) with one thread and with two, and
with the kernels for older processors that this one can run as well: those of NumPy, of
its BLAS and of PyTorch. With other seeds and the sizes of the variant, the assertions
must hold. Prints a line for each run; exits with 1 if one failed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import papermill
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from torch.backends import cpu

ROOT = Path(__file__).resolve().parents[1]
THREADS = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]

# a kernel of OpenBLAS and of PyTorch, and what a processor must have to run it
KERNELS = {
    "oldest": ({"OPENBLAS_CORETYPE": "Prescott", "ATEN_CPU_CAPABILITY": "default"}, ()),
    "avx2": ({"OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "avx2"},
             ("AVX2", "X86_V3")),
    "avx512": ({"OPENBLAS_CORETYPE": "SkylakeX", "ATEN_CPU_CAPABILITY": "avx512"},
               ("AVX512F", "X86_V4")),
}


def settings():
    """(name, environment) for each strict run; says which kernels can't be had."""
    yield "as it is, one thread", dict.fromkeys(THREADS, "1")
    yield "as it is, two threads", dict.fromkeys(THREADS, "2")
    for name, (variables, needs) in KERNELS.items():
        if needs and not any(__cpu_features__.get(feature) for feature in needs):
            print(f"-- {name}: this processor can't ({cpu.get_cpu_capability()})")
            continue
        if name == "oldest":  # and NumPy's own loops for the oldest processors
            newer = [feature for feature in __cpu_dispatch__
                     if __cpu_features__[feature]]
            variables = variables | {"NPY_DISABLE_CPU_FEATURES": " ".join(newer)}
        yield f"kernels: {name}", dict.fromkeys(THREADS, "1") | variables


def run(name, command, environment, folder=ROOT):
    """Print whether the command succeeds, and what it said if it does not."""
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(f"{'ok' if done.returncode == 0 else 'FAILED':<8}{name}", flush=True)
    if done.returncode:
        print(done.stdout[-1500:])
    return done.returncode == 0


def check(path, seeds):
    """All runs of one notebook; whether all of them succeeded."""
    print(f"== {path.relative_to(ROOT)}")
    strict = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider",
              str(path)]
    results = [run(name, strict, variables) for name, variables in settings()]
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
                               dict.fromkeys(THREADS, "1") | {"BYHAND_VARIANT": "1"},
                               folder))
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
    sys.exit(not all([check(path, arguments.seeds) for path in paths]))


if __name__ == "__main__":
    main()
