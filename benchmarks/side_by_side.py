"""Time two functions in turns: how many times longer does the first take?"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
              "VECLIB_MAXIMUM_THREADS"):
    # read when NumPy and PyTorch load, so this module is imported first
    os.environ[_name] = "1"

import math
import time

import numpy as np

SHORTEST = 2e-4  # what takes less is called several times between two looks at a clock
FEWEST = 7  # rounds, whatever the budget


def seconds(run, number=1):
    """CPU seconds of a call: the wall's clock counts what others do on the machine."""
    start = time.process_time()
    for _ in range(number):
        run()
    return (time.process_time() - start) / number


def often(run):
    """How many calls of run last long enough; calls it a few times, since the first
    calls pay for allocations.
    """
    took = [seconds(run) for _ in range(4)]
    return max(1, math.ceil(SHORTEST / max(min(took), 1e-7)))


def measured(ours, theirs, repeats=200, budget=math.inf):
    """Call both in turns. Returns {"ratio", "low", "high"}: the median and the
    quartiles of the seconds of ours over those of theirs, round by round; "ours",
    "theirs": the medians of the seconds; "rounds".

    The one who is first is second in the next round. After `budget` seconds on the
    wall's clock no further round begins, but for the first few.
    """
    numbers, end = [often(ours), often(theirs)], time.perf_counter() + budget
    taken = []
    while len(taken) < repeats and (len(taken) < FEWEST or time.perf_counter() < end):
        pair = [(ours, numbers[0]), (theirs, numbers[1])]
        order = 1 if len(taken) % 2 == 0 else -1
        taken.append([seconds(*one) for one in pair[::order]][::order])
    taken = np.array(taken)
    low, ratio, high = np.percentile(taken[:, 0] / taken[:, 1], [25, 50, 75])
    return {"ratio": ratio, "low": low, "high": high, "ours": np.median(taken[:, 0]),
            "theirs": np.median(taken[:, 1]), "rounds": len(taken)}


def compare(name, ours, theirs, repeats=200, budget=math.inf):
    """The same, printed as a line; returns what was measured."""
    found = measured(ours, theirs, repeats, budget)
    print(f"{name:<48} {found['ratio']:6.2f}  (quartiles {found['low']:.2f} to "
          f"{found['high']:.2f})", flush=True)
    return found
