"""Other kernels, threads and versions: every pair is there, what is missing is said,
what passed is not repeated, what fails stops nothing.
"""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("allpairspy", reason="it is part of requirements.txt")
import drift
import steady

FOUND = {"python": "3.12.1", "numpy": "2.5", "scipy": "1.18", "sklearn": "1.9",
         "torch": "2.15", "openblas": ["Haswell"], "aten": "avx2"}
SUITE = """import pytest
def test_good(): assert True
def test_bad(): assert {}, "bad"
@pytest.mark.skip
def test_later(): pass
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A folder instead of the repository: what is kept and recorded lies there. No
    kernel is tried out, no Python fetched, and pytest loads only what it needs.
    """
    def uv(*words):
        raise drift.CannotBeHad(f"no Python {words[2]} for {words[0]}")

    monkeypatch.setattr(drift, "uv", uv)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "xdist.plugin")
    monkeypatch.setattr(drift, "ROOT", tmp_path)
    monkeypatch.setattr(drift, "FOLDER", tmp_path / "_build")
    monkeypatch.setattr(drift, "RECORD", tmp_path / "drift.json")
    monkeypatch.setattr(steady, "probe", lambda *_, **__: FOUND)
    monkeypatch.setattr(steady, "absent", lambda: [
        ("OPENBLAS_CORETYPE", "SapphireRapids", "SkylakeX instead")])
    (tmp_path / "byhand").mkdir()
    (tmp_path / "byhand" / "tiny.py").write_text("x = 1\n")
    return tmp_path


class Suite(drift.Run):
    """A strict run of a few tests, so that a test of the runner takes a second."""

    def files(self):
        return sorted(drift.name_of(path) for path in
                      drift.ROOT.glob(f"test_{self.name}*.py"))

    def options(self):
        return []


def go(book, monkeypatch, *words, **suites):
    """Run drift.main with these test files; its exit status and the record."""
    for name, source in suites.items():
        (book / f"test_{name}.py").write_text(source)
    runs = [Suite(name) for name in suites] + [drift.Run("none", python="3.99")]
    monkeypatch.setattr(drift, "plan", lambda times: runs)
    monkeypatch.setattr("sys.argv", ["drift.py", "-n", "0", *words])
    with pytest.raises(SystemExit) as ended:
        drift.main()
    return ended.value.code, json.loads((book / "drift.json").read_text())


# ---- what is run


def test_every_two_values_meet():
    choices = {"threads": ["1", "2"], "blas": ["a", "b", "c"], "aten": ["d", "e"],
               "none": []}
    rows = steady.pairs(choices)
    assert len(rows) == 6
    for first, second in itertools.combinations(("threads", "blas", "aten"), 2):
        met = {(row[first], row[second]) for row in rows}
        assert met == set(itertools.product(choices[first], choices[second]))


def test_a_kernel_that_is_not_taken_is_said(monkeypatch):
    taken = {"Prescott": FOUND | {"openblas": ["Prescott"]}, "Haswell": FOUND}

    def probe(variables):
        value = variables.get("OPENBLAS_CORETYPE") or variables["ATEN_CPU_CAPABILITY"]
        if value == "SapphireRapids":
            raise RuntimeError("exit -4")
        return taken.get(value, FOUND)

    monkeypatch.setattr(steady, "probe", probe)
    monkeypatch.setattr(steady, "oldest_numpy", lambda: {"NPY": "old"})
    steady.cannot.cache_clear()
    try:
        assert [(value, why) for _, value, why in steady.absent()] == [
            ("SkylakeX", "Haswell instead"),
            ("SapphireRapids", "it ends the process (exit -4)"),
            ("default", "avx2 instead")]
        settings = dict(steady.settings())
    finally:
        steady.cannot.cache_clear()
    named = "as it is, 1 thread"
    assert list(settings)[0] == named and len(settings) == 6  # 2 × 2 × 1 beside two
    assert all(("NPY" in variables) == ("Prescott" in name)
               for name, variables in settings.items())
    assert {variables["OMP_NUM_THREADS"] for variables in settings.values()} == {
        "1", "2"}


@pytest.mark.parametrize("ask", ["normal(size=9)", "standard_normal(9)",
                                 "uniform(1, 2, 9)", "spawn(1)[0].normal(size=9)"])
def test_random_numbers_are_nudged(ask, monkeypatch):
    """In every Python below it, by more than rounding and less than anything prints;
    a generator that is given is not nudged again.
    """
    monkeypatch.setattr(steady, "absent", list)  # no kernel is tried out for this
    code = f"import numpy as np; print(*np.random.default_rng(5).{ask})"
    again = code.replace("default_rng(5)", "default_rng(np.random.default_rng(5))")
    *_, (_, variables) = steady.settings()

    def drawn(code, environment):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True,
                              env=os.environ | environment, text=True, check=True)
        return np.array(done.stdout.split(), dtype=float)

    plain, nudged = drawn(code, {}), drawn(code, variables)
    ratio = nudged / plain - 1
    assert (ratio > 1e-15).all() and (ratio < 1e-13).all()
    assert np.array_equal(drawn(again, variables), nudged)


def test_every_python_that_is_supported_is_asked_for(monkeypatch):
    def said(version, variant="default", implementation="cpython"):
        major, minor = map(int, version.split(".")[:2])
        return {"version": version, "variant": variant, "path": None,
                "implementation": implementation,
                "version_parts": {"major": major, "minor": minor}}

    listed = [said("3.16.0a2"), said("3.15.2"), said("3.14.1", "freethreaded"),
              said("3.11.7"), said("3.11.2"), said("3.12.9", implementation="pypy"),
              said("3.10.4"), said("3.9.1")]
    monkeypatch.setattr(drift.subprocess, "run", lambda *_, **__: type(
        "Done", (), {"stdout": json.dumps(listed)}))
    monkeypatch.setitem(drift.PROJECT["project"], "requires-python", ">=3.10")
    assert drift.pythons() == ["3.10", "3.11", "3.15"]

    monkeypatch.setattr(steady, "settings", lambda: [("as it is", {}), ("old", {})])
    names = [run.name for run in drift.plan(times=2)]
    assert names == [
        "oldest versions, Python 3.10", "newest versions, Python 3.15",
        "newest versions, Python 3.11", "newest versions, Python 3.10",
        "strict: as it is, time 1", "strict: old", "strict: as it is, time 2"]
    assert len({drift.Run(name).folder for name in names}) == len(names)


def test_the_tests_of_the_library_are_found(root):
    files = drift.library_tests()
    assert {"tests/test_variants.py", "tests/test_faults.py", "tests/test_losses.py",
            "tests/test_checks.py"} <= set(files)
    for path in root.glob("byhand/[a-z]*.py"):
        assert f"tests/test_{path.stem}.py" in files
    assert not {"tests/test_site.py", "tests/test_repository.py"} & set(files)


def test_a_file_hangs_on_what_it_runs(book, monkeypatch):
    """On itself, the claims that it names, the library and the versions; the variants
    on all notebooks, too.
    """
    for name in ("book/a.ipynb", "book/questions/b.ipynb", "tests/test_tiny.py",
                 "tests/test_variants.py", "first/sitecustomize.py"):
        (book / name).parent.mkdir(parents=True, exist_ok=True)
        (book / name).write_text(f'{name}: claim("{Path(name).stem}.1")')
    strict, other = drift.Run("strict"), drift.Run("newest", python="3.12")
    first, second = strict.files()
    tests, variants = sorted(other.files())

    def changed(name, text="changed", **claims):
        """Which files would run again after a change of this one, or of claims."""
        def states():
            return drift.keys(strict, "") | drift.keys(other, "numpy==2.0")
        before = states()
        (book / name).write_text(text)
        catalogue.update(claims)
        return [one for one, state in states().items() if state != before[one]]

    catalogue = {}
    monkeypatch.setattr(drift, "catalogue", lambda: catalogue)
    assert changed("README.md") == []
    assert changed("README.md", **{"a.1": "x", "b.1": "y"}) == [
        first, second, variants]
    assert changed("README.md", **{"b.1": "z"}) == [second, variants]
    assert changed(first) == [first, variants] and changed(tests) == [tests]
    assert sorted(changed("byhand/tiny.py")) == sorted(
        [first, second, tests, variants])
    assert changed("first/sitecustomize.py", "once") == []
    strict = drift.Run("strict", {"PYTHONPATH": str(book / "first")})
    assert changed("first/sitecustomize.py", "twice") == [first, second]
    assert not set(drift.keys(other, "numpy==2.0").values()) & set(
        drift.keys(other, "numpy==2.1").values())


def test_what_uv_refuses_cannot_be_had():
    pytest.importorskip("uv", reason="it is part of requirements.txt")
    with pytest.raises(drift.CannotBeHad, match="requirement"):
        drift.uv("pip", "install", "--offline", "--dry-run", "no such==requirement")
    folder = "/".join(["", "root", "x"])
    said = (f"warning: at {folder}\nerror: Failed to install cpython\n  Caused by: No "
            f"answer from https://example.org/a.tar.gz for {folder}\n")
    assert drift.reason(said) == (
        "error: Failed to install cpython: No answer from … for …")
    assert drift.reason("error: Request failed after 3 retries in 5.1s\n  cause: dns\n"
                        "  cause: no such name\n") == (
        "error: Request failed: no such name")
    assert drift.reason("  × No solution found:\n  ╰─▶ Because a>1") == (
        "No solution found: Because a>1")


# ---- a run


def test_it_goes_on_after_a_failure_and_repeats_only_that(book, monkeypatch, capsys):
    suites = {"first": SUITE.format(False), "second": SUITE.format(True)}
    status, record = go(book, monkeypatch, **suites)
    assert status == 1
    first, second = record["runs"]
    assert not first["ok"] and second["ok"]
    assert (first["passed"], first["failed"], first["skipped"]) == (1, 1, 1)
    assert [name.split("::")[-1] for name in first["failures"]] == ["test_bad"]
    assert (second["passed"], second["failed"], second["openblas"]) == (
        2, 0, ["Haswell"])
    names = [one["name"] for one in record["missing"]]
    assert names == ["OPENBLAS_CORETYPE=SapphireRapids", "none"]
    said = capsys.readouterr().out
    assert re.search(r"FAILED +first: 1 passed, 1 failed, 1 skipped; .* min\n", said)
    assert "test_bad" in said and "_build/first.log" in said
    assert "none: cannot be had: no Python 3.99 for venv\n" in said

    suites["first"] = suites["second"]
    status, record = go(book, monkeypatch, **suites)
    assert status == 0 and all(run["ok"] for run in record["runs"])
    said = capsys.readouterr().out
    assert re.search(r"ok +first: 2 passed, 0 failed, 1 skipped; [\d.]+ min\n", said)
    assert re.search(r"ok +second: .*; kept from ", said)


def test_of_a_run_only_the_file_that_changed_is_repeated(book, monkeypatch, capsys):
    good, bad = SUITE.format(True), SUITE.format(False)
    run = go(book, monkeypatch, all=good, all_2=bad)[1]["runs"][0]
    assert (run["passed"], run["failed"], run["skipped"]) == (3, 1, 2)
    capsys.readouterr()
    run = go(book, monkeypatch, all=good, all_2=good)[1]["runs"][0]
    assert run["ok"] and (run["passed"], run["skipped"]) == (4, 2)
    said = capsys.readouterr().out
    assert re.search(r"ok +all: 4 passed, .* min, 1 of 2 files kept\n", said)
    log = (book / "_build" / "all.log").read_text()
    assert "2 passed" in log and "4 passed" not in log


def test_a_part_leaves_the_rest_as_it_was(book, monkeypatch):
    suites = {"first": SUITE.format(True), "second": SUITE.format(True)}
    status, record = go(book, monkeypatch, "--only", "second", **suites)
    assert status == 0
    assert [run["name"] for run in record["runs"]] == ["second"]
    assert {"name": "first", "why": "not run yet"} in record["missing"]
    _, record = go(book, monkeypatch, "--only", "first", **suites)
    assert [run["name"] for run in record["runs"]] == ["first", "second"]


def test_what_another_processor_left_stays(book, monkeypatch):
    """Until the same run with the same kernels takes its place."""
    other = {"openblas": ["SapphireRapids"], "aten": "avx512"}
    row = FOUND | {"kind": "strict", "ok": True, "date": "2026-01-01", "commit": "a",
                   "threads": 1, "passed": 9, "failed": 0, "skipped": 0, "failures": []}
    (book / "drift.json").write_text(json.dumps({
        "runs": [row | other | {"name": "gone"}, row | other | {"name": "first"},
                 row | {"name": "first"},
                 row | {"name": "second", "openblas": None, "aten": None}],
        "missing": [{"name": "none", "why": "no such name"}]}))
    suites = {"first": SUITE.format(True), "second": SUITE.format(True)}

    def found(*words):
        _, record = go(book, monkeypatch, *words, **suites)
        return record["missing"], [
            (one["name"], one["aten"], one["passed"]) for one in record["runs"]]

    # SapphireRapids is not here, and has been elsewhere
    assert found("--only", "first") == ([{"name": "none", "why": "no such name"}], [
        ("first", "avx512", 9), ("first", "avx2", 2), ("second", None, 9),
        ("gone", "avx512", 9)])
    missing, runs = found()
    assert missing == [{"name": "none", "why": "no Python 3.99 for venv"}]
    assert runs[2:] == [("second", "avx2", 2), ("gone", "avx512", 9)]


def test_nothing_that_ran_is_no_success(book, monkeypatch):
    status, record = go(book, monkeypatch, empty="", broken="import nothing_such\n")
    assert status == 1
    assert not any(run["ok"] for run in record["runs"])
    assert record["runs"][1]["failed"] == 1


def test_a_line_that_was_cut_off_costs_one_run(tmp_path):
    path = tmp_path / "runs.jsonl"
    drift.keep(path, {"name": "a", "ok": False})
    drift.keep(path, {"name": "b", "ok": True})
    path.write_text(path.read_text() + '\n{"name": "c", "o')
    drift.keep(path, {"name": "a", "ok": True})
    assert drift.kept(path) == {"a": {"name": "a", "ok": True},
                                "b": {"name": "b", "ok": True}}
    assert drift.kept(tmp_path / "none.jsonl") == {}


# ---- what is shown


def test_the_page_shows_runs_failures_and_what_is_missing(
    script, root, monkeypatch):
    pytest.importorskip("lxml", reason="the website's packages")
    monkeypatch.syspath_prepend(str(root / "book" / "_ext"))  # its neighbours
    register = script("book/_ext/register.py")
    good = FOUND | {"name": "newest <1>", "ok": True, "threads": 1, "passed": 7,
                    "failed": 0, "skipped": 0, "failures": [], "date": "2026-01-01",
                    "commit": "0123abcd"}
    bad = good | {"name": "oldest", "ok": False, "failed": 1, "failures": ["test_<a>"]}
    broken = bad | {"name": "ended", "failed": 0, "failures": ["pytest: -9"]}
    missing = [{"name": "Python 3.15", "why": "no"}]
    html = register.everywhere(
        {"drift": {"runs": [good, bad, broken], "missing": missing}})
    assert html.count("<tr>") == 4 and html.count("<td>0123abcd</td>") == 3
    assert '<th scope="row">newest &lt;1&gt;</th>' in html
    assert "<summary>1</summary><ul><li>test_&lt;a&gt;</li></ul>" in html
    assert "<summary>did not end</summary>" in html
    assert "<li>Python 3.15: no</li>" in html
    nothing = register.everywhere({"drift": {"runs": [], "missing": missing}})
    assert nothing == "<p>No such run is recorded yet.</p>"


def test_the_record_is_no_device(script, tmp_path):
    record = script("book/_ext/record.py")
    assert record.drift(tmp_path) == {"runs": [], "missing": []}
    (tmp_path / "drift.json").write_text('{"runs": [1], "missing": []}')
    assert record.stored(tmp_path) == {}
    assert record.drift(tmp_path)["runs"] == [1]
