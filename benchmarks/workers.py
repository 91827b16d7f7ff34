"""byhand-replicate with one worker and with two: what does the second bring?

    python benchmarks/workers.py book/record/workers.json

Runs the same notebooks with the same seeds into an empty folder, with one worker and
with two, and measures by the wall's clock, start and end of the cluster included. A
machine with less than two free cores tells nothing. About four minutes.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import psutil

from byhand_replicate import replicate

sys.path.append(str(Path(__file__).resolve().parents[1] / "book" / "_ext"))

from record import processor

NAMES = ["questions/losses", "questions/gpu", "questions/backprop"]
SEEDS = "1-4"


def seconds(workers):
    """How long all runs take; RuntimeError if one does not come to its end."""
    with tempfile.TemporaryDirectory() as folder:
        only = [word for name in NAMES for word in ("--only", name)]
        start = time.perf_counter()
        missed = replicate.main([*only, "--seeds", SEEDS, "--out", folder,
                                 "--workers", str(workers)])
        took = time.perf_counter() - start
    if missed:
        raise RuntimeError("a run did not come to its end")
    return took


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="where the record is written")
    path = parser.parse_args().path
    busy = psutil.cpu_percent(interval=2)
    if busy > 10:
        parser.error(f"the machine is busy ({busy:.0f} %): it would tell nothing")
    took = {workers: seconds(workers) for workers in (1, 2)}
    runs = len(NAMES) * len(replicate.numbers(SEEDS))
    print(f"{runs} runs: {took[1]:.0f} s with one worker, {took[2]:.0f} s with two, "
          f"efficiency {took[1] / took[2] / 2:.3f}")
    record = {"runs": runs, "cores": os.cpu_count(), "cpu": processor(),
              "date": date.today().isoformat(),
              "seconds": {str(count): round(value, 1)
                          for count, value in took.items()}}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


# the workers' processes import this file, too
if __name__ == "__main__":
    main()
