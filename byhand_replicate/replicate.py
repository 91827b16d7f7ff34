"""Every notebook under many seeds, as runs on Dask.

    byhand-replicate --seeds 1-30 --only losses

Each run that comes to its end is one file below --out, written at once or not at all.
The same command goes on where it was ended, by whatever: it skips what is there, as
long as the notebook, what the catalogue says of its claims, and the library it imports
are the same. A run that a limit or a dying worker stopped is tried again.
"""

import argparse
import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from dask.distributed import Client, KilledWorker, LocalCluster, as_completed
from dask.utils import parse_bytes, parse_timedelta
from tqdm import tqdm

from byhand_replicate import notebooks, summary
from byhand_replicate.run import run
from byhand_replicate.summary import numbers

RETRIES = 2  # of a run whose worker died


@dataclass(frozen=True)
class Run:
    """A notebook under a seed: where its result lies, and what it hangs on."""

    name: str
    seed: int
    path: Path
    text: str
    parameters: dict
    source: str
    library: str

    def finished(self, trust=False):
        """Is there a result of this very source and, unless it is trusted, library? An
        error in a cell is a result; a run that was stopped has none.
        """
        found = read(self.path)
        return (found.get("status") in ("done", "failed")
                and found["source"] == self.source
                and (trust or found["library"] == self.library))


def read(path):
    """The result in a file; {} without one."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write(path, result):
    """Write a result so that whenever we are killed the file is whole, or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def duration(text):
    """Seconds of "20 minutes" or "90 s"; ValueError for anything else."""
    try:
        return parse_timedelta(text, default="s")
    except KeyError as problem:
        raise ValueError(problem.args[0]) from None


def plan(found, seeds, out, device, sizes):
    """The runs, seed by seed, so that an early end leaves all notebooks alike."""
    runs = []
    for notebook in found:
        stripped = notebook.read()
        source = notebooks.source_hash(stripped)
        library = notebooks.library_hash(stripped)
        text = nbformat.writes(stripped)
        given = notebooks.parameters(notebook, device, sizes)
        folder = out / f"{device}-{sizes}" / notebook.name
        runs += [Run(notebook.name, seed, folder / f"seed-{seed}.json", text,
                     given | {"seed": seed}, source, library) for seed in seeds]
    return sorted(runs, key=lambda one: one.seed)


@contextmanager
def cluster(address, workers, scratch):
    """A client of the scheduler at the address, or of `workers` processes here. Each
    worker has one thread, since a run sets variables of its whole process.
    """
    if address:
        with Client(address) as client:
            client.wait_for_workers(1, timeout=60)
            yield client
        return
    with LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1",
        dashboard_address="127.0.0.1:0", memory_limit=0, local_directory=str(scratch),
        silence_logs=logging.CRITICAL, scheduler_kwargs={"allowed_failures": RETRIES},
    ) as local, Client(local) as client:
        yield client
    shutil.rmtree(scratch, ignore_errors=True)


def places(client):
    """How many runs may be on their way: one a worker, so that a worker that dies takes
    no other run along. RuntimeError for workers with several threads.
    """
    threads = client.nthreads()
    if any(count != 1 for count in threads.values()):
        raise RuntimeError("each worker needs exactly one thread: start them with dask "
                           f"worker --nthreads 1, got {threads}")
    return max(1, len(threads))


def died(error):
    """The result of a run that no worker could bring to an end."""
    kind, message = type(error).__name__, str(error)[:500]
    if isinstance(error, KilledWorker):
        kind, message = "worker", f"it died, and in {error.allowed_failures} more tries"
    return {"status": "stopped", "claims": {}, "error": {
        "kind": kind, "message": message, "cell": None, "line": ""}}


def results(client, runs, *limits):
    """(run, result) of each run, in the order in which they end."""
    todo, running, completed = iter(runs), {}, as_completed()

    def send():
        for one in itertools.islice(todo, max(0, places(client) - len(running))):
            future = client.submit(run, one.text, one.parameters, *limits, pure=False)
            running[future] = one
            completed.add(future)

    send()
    for future in completed:
        one, error = running.pop(future), future.exception()
        result = future.result() if error is None else died(error)
        future.release()  # or its worker's death would have it done once more
        yield one, result
        send()


def report(one, result):
    """A line on a run that did not come to its end."""
    error = result["error"]
    cell = f", cell {error['cell']} ({error['line']})" if error["cell"] else ""
    message = error["message"].strip().split("\n")[0]
    return (f"{result['status']}: {one.name}, seed {one.seed}{cell}: {error['kind']}: "
            f"{message}")


def commit():
    """The commit of the checkout, with a mark if it was changed since; None without."""
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12",
                           "--exclude=*"], cwd=notebooks.ROOT, capture_output=True,
                          text=True)
    return done.stdout.strip() or None


def replicate(runs, arguments):
    """Do what is left of the runs; how many of them did not come to their end."""
    left = [one for one in runs if not one.finished(arguments.trust_library)]
    there = len(runs) - len(left)
    print(f"{len(runs)} runs, {there} of them there, results in {arguments.out}",
          flush=True)
    if not left:
        return 0
    missed, state = 0, commit()
    environment = {"BYHAND_VARIANT": "1" if arguments.sizes == "variant" else ""}
    scratch = arguments.out / "scratch" / str(os.getpid())
    with cluster(arguments.scheduler, arguments.workers, scratch) as client, tqdm(
        total=len(runs), initial=there, unit="run") as bar:
        for one, result in results(client, left, arguments.time_limit,
                                   arguments.memory_limit, environment):
            write(one.path, result | {
                "notebook": one.name, "seed": one.seed, "source": one.source,
                "library": one.library, "commit": state,
                "parameters": one.parameters})
            if result["status"] != "done":
                missed += 1
                bar.write(report(one, result), file=sys.stdout)
            bar.update()
    return missed


def parsed(words):
    parser = argparse.ArgumentParser(
        prog="byhand-replicate", description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--seeds", type=numbers, default="1-30", help="such as 1-30 or 1,4,9-12")
    add("--only", action="append", default=[], metavar="NAME",
        help="a chapter, losses, or its questions alone, questions/losses; repeatable")
    add("--out", type=Path, default=notebooks.ROOT / "_build" / "replication",
        help="the folder of the results, one file a run")
    add("--time-limit", type=duration, default="20 minutes", help="of each run")
    add("--memory-limit", type=parse_bytes, default="4 GiB", help="of each run")
    add("--workers", type=int, default=2, help="how many runs at a time")
    add("--scheduler", metavar="ADDRESS", help="of a Dask cluster, not --workers here")
    add("--device", default="cpu", help="what the notebooks get as device")
    add("--sizes", choices=["stored", "variant"], default="stored",
        help="the stored sizes, or the smaller ones of the tests")
    add("--trust-library", action="store_true",
        help="keep results although the library has changed, if no number can have")
    add("--summary", action="store_true",
        help="run nothing: count what is there, into the book's record")
    add("--book", type=Path, default=notebooks.ROOT / "book", help=argparse.SUPPRESS)
    return parser, parser.parse_args(words)


def main(words=None):
    """The command; 1 if a run did not come to its end."""
    parser, arguments = parsed(words)
    arguments.out = arguments.out.resolve()
    try:
        found = notebooks.find(arguments.book, arguments.only)
    except ValueError as problem:
        parser.error(str(problem))
    runs = plan(found, arguments.seeds, arguments.out, arguments.device,
                arguments.sizes)
    if arguments.summary:
        summary.main(runs, arguments)
        return 0
    return int(replicate(runs, arguments) > 0)
