"""What is timed, the records of it, and the page that shows them. Nothing here depends
on how fast a machine is.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import types

import numpy as np
import pytest
import registry
import usage


@pytest.fixture(scope="module")
def benchmarks(root):
    """The modules of benchmarks/, which import each other by name."""
    folders = [str(root / "benchmarks"), str(root / "book" / "_ext")]
    sys.path[:0] = folders
    yield types.SimpleNamespace(**{
        name: importlib.import_module(name)
        for name in ("side_by_side", "cases", "speed")})
    for folder in folders:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def cases(benchmarks):
    return benchmarks.cases.cases()


@pytest.fixture(scope="module")
def timing(benchmarks, script):
    pytest.importorskip("sphinxcontrib.katex", reason="it is a part of the website")
    return script("book/_ext/timing.py")


@pytest.fixture(scope="module")
def records(root):
    return {name: json.loads((root / f"book/record/{name}.json").read_text("utf-8"))
            for name in ("speed", "notebooks")}


# ---- what is timed


def plain(name):
    """A row's name without the arguments of its size."""
    return name.partition("(")[0]


def test_every_layer_loss_optimizer_and_scaler_is_timed(cases):
    timed = {plain(case.name) for case in cases}
    wanted = {name for name, entry in registry.ENTRIES.items() if entry.kind in (
        "layer", "loss", "optimizer", "perceptron", "scaler")}
    # a covariance, which whitening must turn into that of white noise, is no rival
    assert wanted - timed <= {"normalization.Whitening"}


def test_few_have_nothing_to_be_compared_with(cases):
    # PyTorch has Muon since 2.9
    assert {case.name for case in cases if case.without} <= {
        "optimizers.Lion", "optimizers.Muon"}


def same(ours, theirs):
    if isinstance(ours, dict):
        names = ours.keys() & theirs.keys()
        return names and all(same(ours[name], theirs[name]) for name in names)
    return np.allclose(np.asarray(ours, float), np.asarray(theirs, float), rtol=1e-3,
                       atol=1e-5)


@pytest.mark.filterwarnings("ignore:reduction")  # PyTorch's, on kl_div
def test_both_sides_compute_the_same(benchmarks, monkeypatch):
    """Else a ratio compares two different things. The steps of the optimizers are long
    enough here to be seen.
    """
    monkeypatch.setattr(benchmarks.cases, "SMALL_STEPS", {"lr": 0.1})
    for case in benchmarks.cases.cases():
        if case.without:
            continue
        ours, theirs = case.pair(case.dtypes[-1])
        first, second = ours(), theirs()
        assert not case.same or same(first, second), (case.name, case.against)


def test_a_row_says_who_is_compared_on_what(cases):
    rows = [(case.kind, case.name, case.against) for case in cases]
    assert len(set(rows)) == len(rows)
    assert all(case.without or (case.size and case.against and "float" in str(
        case.dtypes)) for case in cases)


# ---- how it is timed


def test_a_ratio_is_that_of_paired_rounds(benchmarks, monkeypatch):
    """A disturbance that hits both of a round leaves the ratio."""
    bench = benchmarks.side_by_side
    disturbed = iter([1.0, 9.0, 2.0] * 10)
    current = []

    def seconds(run, number=1):
        if len(current) % 2 == 0:
            current.append(next(disturbed))
        else:
            current.append(current[-1])
        return current[-1] * (3.0 if run is ours else 1.0)

    ours, theirs = (lambda: None), (lambda: 0)
    monkeypatch.setattr(bench, "often", lambda run: 1)
    monkeypatch.setattr(bench, "seconds", seconds)
    found = bench.measured(ours, theirs, repeats=9)
    assert found["ratio"] == found["low"] == found["high"] == 3.0
    assert found["rounds"] == 9 and found["ours"] == 3 * found["theirs"]


def test_the_budget_ends_it_after_the_first_rounds(benchmarks):
    calls = []
    found = benchmarks.side_by_side.measured(lambda: calls.append(1), lambda: None,
                                             budget=0.0)
    assert found["rounds"] == benchmarks.side_by_side.FEWEST and calls


def test_what_is_short_is_called_often(benchmarks, monkeypatch):
    bench = benchmarks.side_by_side
    monkeypatch.setattr(bench, "seconds", lambda run: 3e-6)
    assert bench.often(None) == 67
    monkeypatch.setattr(bench, "seconds", lambda run: 1.0)
    assert bench.often(None) == 1


def test_a_power_is_found(benchmarks):
    values = (1, 10, 100, 1000, 10_000)
    found = benchmarks.speed.slope(values, [7.0] + [0.1 * v**1.5 for v in values[1:]])
    assert found == {"power": 1.5, "low": 1.5, "high": 1.5}


def test_a_record_of_a_part_is_refused(benchmarks, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["speed.py", "x.json", "--only", "Conv"])
    with pytest.raises(SystemExit):
        benchmarks.speed.main()
    assert "every case" in capsys.readouterr().err


# ---- the records


def test_the_record_has_every_case(cases, records, benchmarks):
    recorded = [(row["kind"], row["name"]) for row in records["speed"]["rows"]]
    assert recorded == [(case.kind, case.name) for case in cases], "make speed"
    assert records["speed"]["growth"].keys() == benchmarks.cases.GROWTH.keys()
    assert records["speed"]["run"]["threads"] == 1
    for row in records["speed"]["rows"]:
        for dtype in {"float32", "float64"} & row.keys():
            assert row[dtype]["low"] <= row[dtype]["ratio"] <= row[dtype]["high"]


def test_every_notebook_has_a_row(paths, root, records):
    names = {path.relative_to(root / "book").with_suffix("").as_posix()
             for path in paths}
    assert records["notebooks"]["notebooks"].keys() == names, "make record"


# ---- what a notebook takes


@pytest.fixture
def notes(script, tmp_path, root, monkeypatch):
    """Notes of two runs, and the part that collects them."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    usage.note(root / "book/losses.ipynb", "stored",
               {"seconds": 12.5, "wall": 25.0, "peak": 5e8}, tmp_path)
    usage.note(root / "book/losses.ipynb", "variant", {"seconds": 3.5}, tmp_path)
    monkeypatch.syspath_prepend(str(root / "book" / "_ext"))
    return script("book/_ext/usage.py")


def test_notes_become_rows(notes, tmp_path):
    rows = notes.collect(tmp_path, ["losses", "questions/losses"])
    assert rows == {
        "losses": {"seconds": 12.5, "wall": 25.0, "peak": 5e8, "variant": 3.5},
        "questions/losses": dict.fromkeys(["seconds", "wall", "peak", "variant"])}


def test_more_threads_are_not_noted(tmp_path, root, monkeypatch):
    for value in ("2", ""):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        usage.note(root / "book/losses.ipynb", "stored", {"seconds": 1.0}, tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for nothing in (None, {"seconds": 0.0}):
        usage.note(root / "book/losses.ipynb", "stored", nothing, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="not Linux")
def test_a_process_is_measured():
    """200 MB that are given back still count, and so do a child's seconds."""
    code = ("import subprocess, sys; x = b'1' * 200_000_000; del x\n"
            "work = 'sum(range(3_000_000))'\n"
            "subprocess.run([sys.executable, '-c', work]); exec(work)\n"
            "print('done', flush=True); input()")
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "done\n"
        found = usage.so_far(process.pid)
        own = sum(usage.psutil.Process(process.pid).cpu_times()[:2])
        process.communicate("\n")
    assert 2e8 < found["peak"] < 4e8
    assert found["wall"] > 0 and found["seconds"] > own


TINY = {"cells": [{"cell_type": "code", "id": name, "metadata": {}, "outputs": [],
                   "execution_count": None, "source": source}
                  for name, source in (("one", "x = 1"), ("two", "assert x"))],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3",
                                    "language": "python"}},
        "nbformat": 4, "nbformat_minor": 5}


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="not Linux")
def test_a_whole_run_is_noted_and_a_part_is_not(root, tmp_path):
    """A book with its own conftest.py, as this one's."""
    for name in ("book/conftest.py", "tests/usage.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text((root / name).read_text("utf-8"), "utf-8")
    for name in ("whole", "part"):
        (tmp_path / f"book/{name}.ipynb").write_text(json.dumps(TINY), "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = tests\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "book", "-q", "-p",
         "no:cacheprovider", "--deselect", "book/part.ipynb::Cell 0"], cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        capture_output=True, text=True)
    # the rest of a part fails here, and whether it does makes no difference
    assert "1 failed, 2 passed" in done.stdout, done.stdout
    notes = tmp_path / "_build/usage/stored"
    assert [path.name for path in notes.iterdir()] == ["whole.json"]
    found = json.loads((notes / "whole.json").read_text("utf-8"))
    assert 0 < found["seconds"] and 1e7 < found["peak"] < 1e9


# ---- the page


def column(html, kind):
    """The headings of a table, and the cells of each row."""
    table = re.search(rf'<table class="[^"]*byhand-{kind}">(.*?)</table>', html,
                      re.DOTALL).group(1)
    rows = [re.findall(r"<(?:td|th)\b[^>]*>(.*?)</(?:td|th)>", row, re.DOTALL)
            for row in re.findall(r"<tr\b.*?>(.*?)</tr>", table, re.DOTALL)]
    return rows[0], rows[1:]


def test_the_page_has_every_row(timing, records, paths, root):
    titles = {path.relative_to(root / "book").with_suffix("").as_posix(): path.stem
              for path in paths}
    known = records | {"titles": titles}
    head, rows = column(timing.speed(known), "speed")
    assert len(rows) == len(records["speed"]["rows"])
    assert all(len(row) == len(head) for row in rows)
    head, rows = column(timing.notebooks(known), "notebooks")
    assert len(rows) == len(paths) and all(len(row) == len(head) for row in rows)


def test_what_is_above_its_limit_is_marked(timing):
    found = {"ratio": 2.5, "low": 2.4, "high": 2.6}
    assert "above the limit 2<" in timing.ratio_cell(found, 2.0)
    assert "above" not in timing.ratio_cell(found, 3.0)
    assert "limit" not in timing.ratio_cell(found)
    row = {"seconds": 31.0, "wall": 40.0, "peak": 1_200_000_000, "variant": None}
    assert timing.notebook_row("losses", row, "Losses").count("too much") == 2
    assert timing.notebook_row("questions/losses", row, "x").count("too much") == 1


def test_all_notebooks_together_are_beside_their_limit(timing, records):
    row = {"seconds": 300.0, "wall": 300.0, "peak": None, "variant": 60.0}
    known = records | {"titles": {}}
    for times, too_much in ((2, 0), (3, 1), (4, 2)):
        known["notebooks"] = records["notebooks"] | {
            "notebooks": {str(k): row for k in range(times)}}
        assert timing.notebooks(known).count("too much") == too_much


def test_a_busy_machine_is_said(timing, records):
    run = records["speed"]["run"]
    assert ("busy" in timing.speed(records | {"titles": {}})) == (run["share"] <= 0.9)


def test_the_figure_has_a_line_for_each_and_words(timing, records):
    growth = records["speed"]["growth"]
    svg = timing.drawn(growth).decode()
    assert svg == timing.drawn(growth).decode(), "it differs from run to run"
    for colour in ("#094afa", "#b7822b", "#767676"):
        assert colour in svg  # the site has another for each in dark mode
    assert all(f"with the {name}" in timing.told(growth) for name in growth)
