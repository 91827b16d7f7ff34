"""What a run of a notebook takes: CPU seconds and the peak of its memory, noted by the
runs that `make test` makes anyway, one file for each notebook and kind of run:

    _build/usage/stored/questions/losses.json     the run whose outputs are compared
    _build/usage/variant/questions/losses.json    that with another seed

`python book/_ext/usage.py` makes a record of them. Nothing is noted with more than one
thread, and nothing where the system doesn't tell it in /proc (Linux does).
"""

import json
import os
import re
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]


def so_far(pid):
    """{"seconds": of the CPU, "wall": on the clock, "peak": bytes of memory at most} of
    a process up to now, the first with its children's; None where it can't be known.

    Not getrusage: its peak counts the parent's memory, too, when a process is started.
    """
    status = Path(f"/proc/{pid}/status")
    peak = status.is_file() and re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(),
                                          re.MULTILINE)
    if not peak:
        return None
    process = psutil.Process(pid)
    return {"seconds": round(sum(process.cpu_times()[:4]), 2),
            "wall": round(time.time() - process.create_time(), 2),
            "peak": 1024 * int(peak.group(1))}


def of_children():
    """CPU seconds of the processes that this one started and that have ended; 0 where
    the system doesn't count them.
    """
    return sum(psutil.Process().cpu_times()[2:4])


def note(path, kind, found, folder=ROOT / "_build" / "usage"):
    """Keep what was found of a run of the notebook at `path` in the book."""
    if not found or not found["seconds"] or os.environ.get("OMP_NUM_THREADS") != "1":
        return
    if os.environ.get("BYHAND_NOTES") == "0":  # other versions, other kernels
        return
    name = Path(path).relative_to(ROOT / "book").with_suffix(".json")
    (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / kind / name).write_text(json.dumps(found) + "\n", encoding="utf-8")


def is_last(cell, following):
    """Whether after this cell's test the whole notebook has run, under nbval."""
    notebook = cell.parent
    if following is not None and following.parent is notebook:
        return False
    tested = [item for item in cell.session.items if item.parent is notebook]
    code = [one for one in notebook.nb.cells if one.cell_type == "code"]
    return len(tested) == len(code)
