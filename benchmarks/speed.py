"""Layers, losses, optimizers, steps of training and estimators: ours against PyTorch's,
scikit-learn's and SciPy's, side by side in one run; and how a step grows with the
batch, the width and the depth.

    python benchmarks/speed.py book/record/speed.json   # what `make speed` calls
    python benchmarks/speed.py --only Conv              # a look, nothing is written

One thread, CPU seconds, both in turns; under five minutes. The site shows the record.
"""

import argparse
import json
import sys
import time
from importlib import metadata
from pathlib import Path

from side_by_side import compare  # first: it sets the number of threads

import numpy as np
import torch
from cases import GROWTH, cases

sys.path.append(str(Path(__file__).resolve().parents[1] / "book" / "_ext"))

from record import machine, moment

LAST = 4  # values of a growth over which its power is fitted: the largest
BUDGET = 0.6  # seconds for a comparison, unless the first few rounds take longer


def rounded(found):
    """Four digits: more are noise."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value
            for name, value in found.items()}


def row(case, budget):
    """What the record has of a case."""
    found = {"kind": case.kind, "name": case.name}
    if case.without:
        return found | {"without": case.without}
    found |= {"size": case.size, "against": case.against}
    if case.limit is not None:
        found["limit"] = case.limit
    for dtype in case.dtypes:
        label = f"{case.name}, {dtype}"
        if case.against.endswith("(fused=True)"):
            label += ", fused"
        found[dtype] = rounded(compare(label, *case.pair(dtype), budget=budget))
    return found


def slope(values, seconds):
    """{"power", "low", "high"}: the power of the values with which the seconds grow at
    the largest LAST values, of a line through their logarithms; and the least and the
    most between neighbours.
    """
    x, y = np.log(values[-LAST:]), np.log(seconds[-LAST:])
    between = np.diff(y) / np.diff(x)
    return {name: round(float(value), 3) for name, value in (
        ("power", np.polyfit(x, y, 1)[0]), ("low", between.min()),
        ("high", between.max()))}


def growth(name, budget):
    """Seconds of one step for every value, and the fitted powers."""
    about = GROWTH[name]
    points = [compare(f"{name} {value:,}", *about.pair(value), budget=budget)
              for value in about.values]
    seconds = {who: [float(f"{point[who]:.4g}") for point in points]
               for who in ("ours", "theirs")}
    return {"values": list(about.values), "said": about.said, "theory": about.power,
            **seconds, "fitted_over": list(about.values[-LAST:]),
            "fitted": {who: slope(about.values, seconds[who]) for who in seconds}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("record", nargs="?", type=Path, help="the file to write")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--budget", type=float, default=BUDGET,
                        help="seconds for one comparison")
    arguments = parser.parse_args()
    if arguments.record and arguments.only:
        parser.error("a record has every case: leave --only out, or the file")
    torch.set_num_threads(1)
    wall, cpu = time.perf_counter(), time.process_time()
    print("ours / theirs: above 1, ours takes longer")
    rows = [row(case, arguments.budget) for case in cases()
            if arguments.only in case.name]
    grown = {name: growth(name, arguments.budget) for name in GROWTH
             if arguments.only in name}
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    for name, found in grown.items():
        print(f"grows with the {name} to the power "
              f"{found['fitted']['ours']['power']:.2f} (PyTorch "
              f"{found['fitted']['theirs']['power']:.2f}, theory {found['theory']})")
    print(f"{wall:.0f} s, {cpu / wall:.0%} of a core")
    if arguments.record:
        # with less than the whole of a core, others were at work
        run = machine() | moment() | {
            name: metadata.version(name) for name in ("scikit-learn", "scipy")} | {
                "threads": 1, "seconds": round(wall), "share": round(cpu / wall, 2)}
        text = json.dumps({"run": run, "rows": rows, "growth": grown}, indent=1,
                          ensure_ascii=False)
        arguments.record.write_text(text + "\n", encoding="utf-8")
        print(arguments.record)


if __name__ == "__main__":
    main()
