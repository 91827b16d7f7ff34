"""Many seeds on a real scheduler with two workers: what fails, what is killed, and what
is counted.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import numpy as np
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

pytest.importorskip("dask.distributed", reason="pip install -e '.[replicate]'")

from dask.distributed import LocalCluster

from byhand_replicate import notebooks, replicate, summary
from byhand_replicate.run import TRIM

KERNEL = {"name": "python3", "language": "python", "display_name": "Python 3"}
# a claim of the catalogue, recorded as `claim` does it without the library's imports,
# which take longer than all that is tried here
RECORD = """import json, os
def claim(id, found, control=None):
    open(os.environ["BYHAND_RECORD"], "a").write(json.dumps({
        "kind": "claim", "id": id, "outcome": found, "holds": {}, "found": {},
        "failed_controls": []}) + chr(10))
"""


def book(folder, **cells):
    """A book of tiny notebooks: name=[source, …]."""
    (folder / "book" / "questions").mkdir(parents=True)
    for name, sources in cells.items():
        head = new_code_cell("seed = 0", metadata={"tags": ["parameters"]})
        nbformat.write(new_notebook(
            cells=[new_markdown_cell("# Tiny"), head, *map(new_code_cell, sources)],
            metadata={"kernelspec": KERNEL}), folder / "book" / f"{name}.ipynb")
    return ["--book", str(folder / "book"), "--out", str(folder / "out")]


def result(folder, name, seed):
    path = folder / "out" / "cpu-stored" / name / f"seed-{seed}.json"
    return json.loads(path.read_text(encoding="utf-8"))


FATES = {
    "held": 'claim("tiny.1", found="held")',
    "open": 'claim("tiny.1", found="undecided")',
    "fails": "assert seed == 0, 'too small'",
    "endless": "time.sleep(100)",
    "greedy": "x = b'1' * 600_000_000\n    time.sleep(100)",
    # the parent of a kernel is its worker
    "struck once": "if not once.exists():\n        once.touch()\n        kill()",
    "struck always": "kill()",
}


def fates(folder):
    """A book of one notebook: its first seed has the first of the fates, and so on."""
    first = f"""import os, signal, time
from pathlib import Path
assert {TRIM!r} not in os.environ, "Dask's own setting slows the notebook down"
once = Path({str(folder / "once")!r})
kill = lambda: os.kill(os.getppid(), signal.SIGKILL)
"""
    cases = "\n".join(f"if seed == {seed}:\n    {fate}"
                      for seed, fate in enumerate(FATES.values(), start=1))
    return book(folder, fates=[RECORD + first, f"# here\n{cases}",
                               'claim("tiny.2", found="held")'])


def test_each_run_comes_to_its_own_end(tmp_path, capsys, monkeypatch):
    """Two workers; one is killed in the middle of a run, and one in each try of it."""
    monkeypatch.setattr(replicate, "RETRIES", 1)
    words = [*fates(tmp_path), "--seeds", "1-7"]
    limits = ["--time-limit", "15s", "--memory-limit", "400MB"]
    assert replicate.main([*words, *limits]) == 1
    said = capsys.readouterr().out
    assert "7 runs, 0 of them there" in said
    found = {fate: result(tmp_path, "fates", seed)
             for seed, fate in enumerate(FATES, start=1)}
    assert {fate: one["status"] for fate, one in found.items()} == {
        "held": "done", "open": "done", "fails": "failed", "endless": "stopped",
        "greedy": "stopped", "struck once": "done", "struck always": "stopped"}
    assert (tmp_path / "once").exists(), "no worker was killed"
    assert found["fails"]["error"] == {
        "kind": "AssertionError", "message": "too small", "cell": 4,
        "line": FATES["fails"]}
    assert "failed: fates, seed 3, cell 4 (assert seed == 0, 'too small'): Ass" in said
    assert "stopped: fates, seed 7: worker: it died, and in 1 more tries" in said
    for fate, kind, message in (("endless", "time", "the limit is 15 s"),
                                ("greedy", "memory", "the limit is 381 MiB")):
        assert found[fate]["error"] == {
            "kind": kind, "message": message, "cell": 4, "line": "# here"}

    # what came to an end is not run again, whoever asks
    monkeypatch.setattr(replicate, "cluster", None)
    assert replicate.main([*words[:-1], "1-3,6"]) == 0
    assert "4 runs, 4 of them there" in capsys.readouterr().out

    assert replicate.main([*words, "--summary"]) == 0
    record = json.loads((tmp_path / "book/record/replication.json").read_text("utf-8"))
    assert [one["seeds"] for one in record["notebooks"]["fates"]["failures"]] == [
        "3", "4", "5", "7"]
    first, second = record["claims"]["tiny.1"], record["claims"]["tiny.2"]
    assert (first["held"], first["undecided"], first["n"]) == (1, 1, 2)
    assert (second["held"], second["not_reached"]) == (3, 4)
    assert second["seeds"] == {"not_reached": "3-5, 7"}
    assert "tiny.2: held 3 of 3, contradicted 0" in capsys.readouterr().out


def test_a_killed_command_loses_no_finished_run(tmp_path, capsys):
    """SIGKILL for the command; its workers and kernels go by themselves."""
    go = tmp_path / "go"
    words = book(tmp_path, slow=[
        "import time\nfrom pathlib import Path",
        f"if seed > 1 and not Path({str(go)!r}).exists():\n    time.sleep(100)"])
    command = subprocess.Popen(
        [sys.executable, "-m", "byhand_replicate", *words, "--seeds", "1-3"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = tmp_path / "out" / "cpu-stored" / "slow" / "seed-1.json"
    end = time.monotonic() + 60
    while not first.exists():
        assert time.monotonic() < end and command.poll() is None
        time.sleep(0.1)
    children = psutil.Process(command.pid).children(recursive=True)
    before = first.read_bytes()
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    assert not psutil.wait_procs(children, timeout=20)[1], "something goes on"

    go.touch()
    assert replicate.main([*words, "--seeds", "1-3"]) == 0
    assert "3 runs, 1 of them there" in capsys.readouterr().out
    assert first.read_bytes() == before
    assert result(tmp_path, "slow", 3)["status"] == "done"
    assert not list((tmp_path / "out").glob("**/*.[0-9]*")), "half-written files"


@pytest.mark.parametrize("workers", [1, 3])
def test_there_are_as_many_workers_as_asked_for(tmp_path, workers):
    """Whatever the number of cores."""
    with replicate.cluster(None, workers, tmp_path / "scratch") as client:
        client.wait_for_workers(workers, timeout=60)
        assert replicate.places(client) == workers


@pytest.mark.parametrize("threads", [1, 2])
def test_a_cluster_that_exists_can_be_used(tmp_path, threads):
    """It is left running; workers with several threads are refused before a run."""
    words = [*book(tmp_path, quick=["print(seed)"]), "--seeds", "1-2", "--scheduler"]
    with LocalCluster(n_workers=1, threads_per_worker=threads, processes=threads == 1,
                      dashboard_address=None, memory_limit=0,
                      local_directory=str(tmp_path)) as cluster:
        if threads > 1:
            with pytest.raises(RuntimeError, match="exactly one thread"):
                replicate.main([*words, cluster.scheduler_address])
        else:
            assert replicate.main([*words, cluster.scheduler_address]) == 0
            assert result(tmp_path, "quick", 2)["status"] == "done"
        assert cluster.status.name == "running"
    assert len(list(tmp_path.glob("out/cpu-stored/*/*.json"))) == (threads == 1) * 2


def test_what_a_run_hangs_on(tmp_path):
    """Its code and the library's; no comment there, no word of the prose."""
    library = tmp_path / "byhand"
    library.mkdir()
    (library / "a.py").write_text("from .b import f\n")
    (library / "b.py").write_text("def f():\n    \"\"\"One.\"\"\"\n    return 1\n")
    (library / "c.py").write_text("x = 1\n")

    def hashes(code="from byhand.a import f", prose="# Tiny"):
        notebook = new_notebook(cells=[new_markdown_cell(prose), new_code_cell(code)])
        return (notebooks.source_hash(notebook),
                notebooks.library_hash(notebook, library))

    source, kept = hashes()
    assert hashes(prose="# Other") == (source, kept)
    assert hashes("from byhand.a import f\n1")[0] != source
    (library / "b.py").write_text(
        "def f():  # two\n    \"\"\"Two.\"\"\"\n    return 1\n")
    (library / "c.py").write_text("x = 2\n")
    assert hashes() == (source, kept)
    (library / "b.py").write_text("def f():\n    \"\"\"One.\"\"\"\n    return 2\n")
    assert hashes()[1] != kept


def test_every_notebook_of_the_book_can_be_run(paths, catalogue):
    """Each takes a seed, and its claims are known and judged."""
    known = {entry["id"]: entry for question in catalogue
             for entry in question["claims"]}
    found = notebooks.find()
    assert sorted(notebook.path for notebook in found) == sorted(paths)
    for notebook in found:
        for id in notebooks.claims(notebook.read()):
            assert known[id]["verdict"] not in ("opinion", "outdated"), id
        assert notebooks.parameters(notebook, "cpu", "variant") is not None


def test_the_record_is_of_the_notebooks_as_they_are(root):
    """Of one that has changed since the page would say what was."""
    now = {one.name: notebooks.source_hash(one.read()) for one in notebooks.find()}
    folder = root / "book" / "record"
    for path in (folder / "replication.json", *folder.glob("replication/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        changed = [name for name, entry in record["notebooks"].items()
                   if entry["source"] != now.get(name)]
        assert changed == [], "byhand-replicate --summary leaves out what has changed"


def test_claims_are_counted():
    """27 held, 1 contradicted by a control, 2 undecided, 1 not reached."""
    def entry(outcome, mean):
        return {"outcome": outcome, "holds": {"a": outcome == "held" or None},
                "failed_controls": ["b"] * (outcome == "contradicted"),
                "found": {"a": {"said": "", "mean": mean}, "b": {"said": ""}}}

    outcomes = ["held"] * 27 + ["contradicted"] + ["undecided"] * 2
    results = {seed: {"claims": {"x.1": entry(outcome, seed)}}
               for seed, outcome in enumerate(outcomes, start=1)} | {31: {"claims": {}}}
    found = summary.count("x.1", results)
    z, p, n = 1.959964, 27 / 30, 30
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    assert np.allclose([found["low"], found["high"]], [middle - half, middle + half],
                       atol=1e-4)
    assert [found[name] for name in ("held", "contradicted", "undecided", "not_reached",
                                     "n", "by_control")] == [27, 1, 2, 1, 30, 1]
    assert found["seeds"] == {"contradicted": "28", "undecided": "29-30",
                              "not_reached": "31"}
    assert found["situations"] == {
        "a": {"yes": 27, "no": 0, "undecided": 3, "of": 30, "median": 15.5,
              "quartiles": [8.25, 22.75]}, "b": {}}


def test_an_older_record_stands_for_what_was_not_run():
    old = {"notebooks": {"a": {"source": "1"}, "b": {"source": "1"}},
           "claims": {"a.1": {"notebook": "a"}, "b.1": {"notebook": "b"}}}
    new = {"run": {}, "notebooks": {"c": {"source": "1"}},
           "claims": {"c.1": {"notebook": "c"}}}
    record = summary.merged(new, summary.standing(old, {"a": "1", "b": "2", "c": "1"}))
    assert list(record["notebooks"]) == ["a", "c"] and list(record["claims"]) == [
        "a.1", "c.1"]


def test_a_record_grows_by_new_seeds(tmp_path):
    """In two sittings, the first lost but for its record: the counts are those of one,
    and a seed that is there twice counts once.
    """
    source = RECORD.replace('"holds": {}, "found": {}', """
        "holds": {"a": found == "held"}, "found": {"a": {"mean": float(seed)}}""") + """
claim("x.1", found="held" if seed % 3 else "undecided")
assert seed != 5"""
    words = book(tmp_path, quick=[source])
    path = tmp_path / "book" / "record" / "replication.json"

    def after(*seeds):
        for text in seeds:
            replicate.main([*words, "--seeds", text])
            replicate.main([*words, "--seeds", text, "--summary"])
            shutil.rmtree(tmp_path / "out")
        record = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        record["notebooks"]["quick"].pop("seconds")
        record["notebooks"]["quick"].pop("megabytes")
        return record

    grown, once = after("1-3", "3-5"), after("1-5")
    found = grown["claims"]["x.1"]["situations"]["a"]
    assert found.pop("of") == 3 and found.pop("median") == 2.0
    assert found.pop("quartiles") == [1.5, 2.5]  # of the sitting with more seeds
    for name in ("of", "median", "quartiles"):
        once["claims"]["x.1"]["situations"]["a"].pop(name)
    assert grown == once


def test_words_that_name_no_run(tmp_path, capsys):
    assert replicate.numbers("4,1-3") == [1, 2, 3, 4]
    for words, message in ((["--seeds", "x"], "invalid numbers value"),
                           (["--seeds", "3-1"], "invalid numbers value"),
                           (["--only", "missing"], "no notebook ['missing']"),
                           (["--time-limit", "5 parsecs"], "invalid duration value"),
                           (["--book", str(tmp_path)], "needs a checkout")):
        with pytest.raises(SystemExit):
            replicate.main(words)
        assert message in capsys.readouterr().err


def test_a_result_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "there" / "seed-1.json"
    replicate.write(path, {"a": 1})
    monkeypatch.setattr(os, "fsync", lambda file: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        replicate.write(path, {"a": 2})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}
