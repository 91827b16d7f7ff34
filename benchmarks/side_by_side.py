"""Time two functions in turns and print how many times longer the first takes."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
              "VECLIB_MAXIMUM_THREADS"):
    # read when NumPy and PyTorch load, so this module is imported first
    os.environ[_name] = "1"

import time

import numpy as np


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(name, ours, theirs, repeats=200):
    """Print and return the median ratio of the seconds of ours to those of theirs over
    paired repeats.
    """
    for run in (ours, theirs):  # the first runs pay for allocations
        for _ in range(5):
            run()
    ratios = [seconds(ours) / seconds(theirs) for _ in range(repeats)]
    low, median, high = np.percentile(ratios, [25, 50, 75])
    print(f"{name:<48} {median:6.2f}  (quartiles {low:.2f} to {high:.2f})")
    return median
