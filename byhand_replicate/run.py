"""One notebook under one seed, with limits: what a worker does.

Whatever happens in the notebook is an answer and no exception: a worker that raises, or
dies, is another matter.
"""

import importlib.metadata
import json
import os
import platform
import re
import tempfile
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from unittest import mock

import nbformat
import papermill
import psutil
from dask.distributed import get_worker
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

THREADS = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
           "VECLIB_MAXIMUM_THREADS"]
# Dask gives its workers a small one, so that they return memory at once. A notebook
# that takes and returns arrays all the time needs up to twice as long with it.
TRIM = "MALLOC_TRIM_THRESHOLD_"
PACKAGES = ["numpy", "scipy", "torch", "scikit-learn", "dask", "papermill"]


def memory(process):
    """The resident memory of a process in bytes, 0 if it is gone."""
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


class Limits:
    """Watches the kernel, and whatever it starts, while a notebook runs; ends them at
    the limit of time (seconds) or memory (bytes). `reason` is then ("time", sentence)
    or ("memory", sentence), `peak` the most memory that was seen.

    A worker has one thread, so every process below it belongs to this one run. Dask's
    own limit looks at the worker alone, and papermill's at one cell alone.
    """

    def __init__(self, seconds, size, every=0.2):
        self.seconds, self.size, self.every = seconds, size, every
        self.reason, self.peak = None, 0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._start = time.monotonic()
        self._watch.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._watch.join()

    def _look(self):
        while not self._over.wait(self.every):
            kernels = psutil.Process().children(recursive=True)
            self.peak = max(self.peak, used := sum(map(memory, kernels)))
            if time.monotonic() - self._start > self.seconds:
                self.reason = "time", f"the limit is {self.seconds:g} s"
            elif used > self.size:
                self.reason = "memory", f"the limit is {self.size / 2**20:.0f} MiB"
            if self.reason:
                return self._end(kernels)

    def _end(self, processes):
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass


def versions():
    """The versions of Python and of what counts."""
    return {"python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES}}


def entries(path):
    """What the notebook recorded; a line that a kill cut off is left out."""
    found = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


class Engine(NBClientEngine):
    """papermill's own, but the notebook that is executed can be looked at after an end
    of any kind. papermill would write it into a file before and after each cell, which
    took a sixth of a run.
    """

    manager = None  # of the one notebook that a worker executes at a time

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, **arguments):
        Engine.manager = nb_man
        return super().execute_managed_notebook(nb_man, kernel_name, **arguments)


papermill_engines.register("looked at", Engine)


def last_cell(notebook):
    """(number, first line) of the last cell that was begun, counted in the notebook as
    it is stored, from 1; (None, "") if none was.
    """
    executed = Engine.manager.nb.cells if Engine.manager else []
    begun = [cell.id for cell in executed
             if cell.metadata.get("papermill", {}).get("start_time")]
    for number, cell in reversed([*enumerate(notebook.cells, start=1)]):
        if cell.id in begun and cell.cell_type == "code":
            return number, cell.source.strip().split("\n")[0]
    return None, ""


def failing_line(error):
    """The line of the cell that raised, "" if the traceback does not say."""
    trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    found = re.search(r"Cell In\[\d+\], line (\d+)", trace)
    lines = error.source.split("\n")
    return lines[int(found[1]) - 1].strip() if found else ""


def failure(status, kind, message, notebook, line=""):
    number, first = last_cell(notebook)
    line = line or first
    return {"status": status, "error": {"kind": kind, "message": message[:500],
                                        "cell": number, "line": line}}


def execute(notebook, parameters, folder, limits):
    """{"status": "done"}, or what failed and in which cell: "failed" for an error of
    the notebook, "stopped" for a limit, or a kernel that died.
    """
    here = folder / "here"
    here.mkdir()
    Engine.manager = None
    try:
        with limits:
            papermill.execute_notebook(
                notebook, None, parameters, engine_name="looked at",
                kernel_name="python3", cwd=str(here), progress_bar=False,
                extra_arguments=["--log-level=ERROR"])  # the bar is for the terminal
    except PapermillExecutionError as error:
        return failure("failed", error.ename, error.evalue, notebook,
                       failing_line(error))
    except (DeadKernelError, RuntimeError) as error:  # also before the first cell
        if limits.reason is None and not isinstance(error, DeadKernelError):
            raise
        kind, reason = limits.reason or ("kernel", "the kernel died")
        return failure("stopped", kind, reason, notebook)
    return {"status": "done"}


def run(text, parameters, seconds, size, environment=()):
    """Execute a notebook, given as JSON, in a folder of its own; return what it
    recorded and how it ended, ready to be written as JSON.

    parameters: what papermill passes. seconds, size: the limits. environment: variables
    for the kernel beside those that let a claim be recorded and not fail.
    """
    notebook = nbformat.reads(text, as_version=4)
    with tempfile.TemporaryDirectory(dir=get_worker().local_directory) as folder:
        folder = Path(folder)
        record = folder / "record.jsonl"
        variables = dict.fromkeys(THREADS, "1") | dict(environment) | {
            "BYHAND_RECORD": str(record), "BYHAND_REPLICATE": "1"}
        limits, start = Limits(seconds, size), time.monotonic()
        with mock.patch.dict(os.environ, variables):
            os.environ.pop(TRIM, None)  # back again with all the others
            ended = execute(notebook, parameters, folder, limits)
        found = entries(record)
    claims = {entry["id"]: {name: value for name, value in entry.items()
                            if name not in ("kind", "id", "measured")}
              for entry in found if entry["kind"] == "claim"}
    device = next((entry["gpu"] for entry in found if entry["kind"] == "run"), None)
    return ended | {
        "claims": claims, "gpu": device,
        # a best value at an end of its grid: another seed may need a wider one
        "grids": [entry["message"] for entry in found if entry["kind"] == "grid"],
        "versions": versions(),
        "seconds": round(time.monotonic() - start, 1), "bytes": limits.peak,
        "date": datetime.now(timezone.utc).date().isoformat()}
