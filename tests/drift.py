"""The whole book under what may change its numbers, one run after the other.

    python tests/drift.py                   # what `make drift` calls: hours
    python tests/drift.py --times 5         # as the machine is, five times in a row
    python tests/drift.py --only Python     # the runs with this in their name
    python tests/drift.py --list            # the runs, and what cannot be had here

Strict runs compare every stored output with a fresh one: as the machine is, and under
the threads and kernels of tests/steady.py. Runs with other versions let every notebook
go through with the sizes of its variant, and the tests of the library: the assertions
hold with the oldest versions that pyproject.toml admits and, under each Python that uv
finds or can fetch, with the newest that the registry has. Each has an environment of
its own, of wheels alone, in _build/drift.

A run that fails does not stop the others, and a file of it that passed, a notebook or
tests, is not repeated while nothing has changed that it hangs on: a line for each run
is kept in _build/drift/runs.jsonl. The last line of each becomes a row of
book/record/drift.json, which the site shows, together with what could not be had; rows
that other machines have left there stay.
Exits with 1 if a run failed.

With pyenv, PYENV_VERSION=3.11.7:3.12.1 shows uv more than one Python.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import steady
from byhand.experiments import catalogue
from packaging.specifiers import SpecifierSet
from steady import ONE_THREAD, ROOT

FOLDER = ROOT / "_build" / "drift"
RECORD = ROOT / "book" / "record" / "drift.json"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
UV = [sys.executable, "-m", "uv", "--no-progress"]
HOURS = 4  # a run that takes longer hangs
SHOWN = 10  # failures of a run that are listed

NOTEBOOKS = ["book/*.ipynb", "book/questions/*.ipynb"]
# on what each file of a run hangs, besides itself and the claims that it names
STRICT = ["byhand/*.py", "book/conftest.py"]
TESTS = ["byhand/*.py", "byhand_replicate/*.py", "tests/conftest.py",
         "tests/registry.py"]
VARIANTS = "tests/test_variants.py"  # runs all notebooks


class CannotBeHad(Exception):
    """An interpreter or a version that neither this machine nor the registry has."""


# ---- what is run


@dataclass(frozen=True)
class Run:
    """One run: strict with this Python, or the assertions with another."""

    name: str
    variables: dict = field(default_factory=lambda: ONE_THREAD)
    python: str = ""  # "3.12"; without it, a strict run with the Python at hand
    resolution: str = "highest"

    @property
    def folder(self):
        return FOLDER / re.sub(r"[^a-z0-9.]+", "-", self.name.lower())

    def files(self):
        """What it goes through, kept one by one: the notebooks, or files of tests."""
        return library_tests() if self.python else [name_of(p) for p in matching(
            NOTEBOOKS)]

    def options(self):
        """Of pytest: the cells of a notebook stay together, the notebooks of
        test_variants.py need not.
        """
        return ["--dist", "worksteal"] if self.python else [
            "--nbval", "--dist", "loadfile"]

    def shared(self):
        """The files on which all of them hang; what its Python imports first, too."""
        first = self.variables.get("PYTHONPATH")
        return matching(TESTS if self.python else STRICT) + (
            sorted(Path(first).glob("*.py")) if first else [])

    def own(self, name):
        """What only one of them runs: itself, and for the variants the notebooks."""
        return matching([name, *(NOTEBOOKS if name == VARIANTS else [])])


def matching(patterns):
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def library_tests():
    """The tests that compute something: one file a module, and those of all modules.
    The others read the repository and the website, which no version changes.
    """
    names = [path.stem for path in sorted((ROOT / "byhand").glob("[a-z]*.py"))]
    files = [f"tests/test_{name}.py" for name in ["variants", "faults", *names]]
    return [name for name in files if (ROOT / name).is_file()]


def pythons():
    """The minor versions that the project supports, "3.11" first: those that uv knows
    as released, whether it finds them here or not.
    """
    done = subprocess.run([*UV, "python", "list", "--output-format", "json"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    supported = SpecifierSet(PROJECT["project"]["requires-python"])
    known = {(one["version_parts"]["major"], one["version_parts"]["minor"])
             for one in json.loads(done.stdout)
             if one["implementation"] == "cpython" and one["variant"] == "default"
             and re.fullmatch(r"[\d.]+", one["version"])}
    return [f"{major}.{minor}" for major, minor in sorted(known)
            if f"{major}.{minor}" in supported]


def plan(times=1):
    """All runs, in the order in which they tell most for their time."""
    minors = pythons()
    runs = [Run(f"oldest versions, Python {minors[0]}", python=minors[0],
                resolution="lowest-direct")]
    runs += [Run(f"newest versions, Python {minor}", python=minor)
             for minor in reversed(minors)]
    (name, variables), *others = steady.settings()
    first, *again = [Run(f"strict: {name}, time {i}", variables)
                     for i in range(1, times + 1)]
    return [*runs, first, *[Run(f"strict: {name}", variables)
                            for name, variables in others], *again]


# ---- an environment


def uv(*words, **options):
    """What uv prints; CannotBeHad with its own words if it fails."""
    done = subprocess.run([*UV, *map(str, words)], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if done.returncode:
        raise CannotBeHad(reason(done.stderr) or f"uv {words[0]} failed")
    return done.stdout


def reason(said):
    """What uv says on an error in one line, without addresses and folders of a machine:
    it is shown on the site.
    """
    lines = [line.strip(" ╰─▶×├│") for line in said.splitlines()]
    start = next((i for i, line in enumerate(lines)
                  if line.startswith(("error", "No solution"))), 0)
    text = " ".join(line for line in lines[start:] if line)
    # of a chain of causes the first and the last; how long it tried is of no interest
    first, *causes = re.split(r" caused? by: | cause: ", text, flags=re.IGNORECASE)
    first = re.sub(r" after \d+ retries in [\d.]+s", "", first)
    text = ": ".join([first, *causes[-1:]])
    return re.sub(r"https?://\S+|(?:/[\w.+-]+){2,}/?", "…", text)[:300]


def interpreter(run):
    """The Python of a run: of this environment, or of its own, still empty."""
    if not run.python:
        return sys.executable
    python = run.folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        uv("venv", "--python", run.python, "--clear", run.folder)
    return str(python)


def resolve(run, python):
    """The exact versions that a run takes, as a requirements file; "" if strict."""
    if not run.python:
        return ""
    return uv("pip", "compile", "pyproject.toml", "--extra", "replicate", "--group",
              "tests", "--python", python, "--resolution", run.resolution,
              "--only-binary", ":all:", "--no-annotate", "--no-header")


def install(run, python, requirements):
    """Bring the environment of a run to these versions, and the library of here."""
    path = run.folder / "requirements.txt"
    path.write_text(requirements, encoding="utf-8")
    uv("pip", "sync", "--python", python, "--only-binary", ":all:", path)
    uv("pip", "install", "--python", python, "--no-deps", "--editable", ROOT)


# ---- a run


def keys(run, requirements):
    """{file: what changes as soon as it may come out otherwise}."""
    shared = hashlib.sha256(requirements.encode())
    if not run.python:
        shared.update(json.dumps(steady.probe(variables=run.variables)).encode())
    for path in run.shared():
        shared.update(name_of(path).encode() + path.read_bytes())
    found = {}
    for name in run.files():
        state, text = shared.copy(), ""
        for path in run.own(name):
            text += path.read_text(encoding="utf-8")
            state.update(name_of(path).encode())
        claims = {id: entry for id, entry in catalogue().items() if id in text}
        state.update((text + json.dumps(claims)).encode())
        found[name] = state.hexdigest()[:16]
    return found


def counted(path, files):
    """{file: {"passed", "failed", "skipped", "failures"}} of pytest's report in XML."""
    found = {name: {"passed": 0, "failed": 0, "skipped": 0, "failures": []}
             for name in files}
    places = {name.removesuffix(".py").replace("/", "."): name for name in files}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        # "tests.test_a" or "tests.test_a.TestClass"; what can't be read has no class
        place = case.get("classname") or case.get("name")
        counts = found[next(name for at, name in places.items()
                            if f"{place}.".startswith(f"{at}."))]
        if case.find("failure") is not None or case.find("error") is not None:
            what = f"{case.get('classname')}::{case.get('name')}"
            if what not in counts["failures"]:  # a test may fail, and its end, too
                counts["failures"].append(what)
            counts["failed"] += 1
        elif case.find("skipped") is not None:
            counts["skipped"] += 1
        else:
            counts["passed"] += 1
    return found


def execute(run, python, processes, files):
    """Let pytest go through files of a run; {file: its counts, and whether all is
    well}.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    report, log = (FOLDER / f"{run.folder.name}{end}" for end in (".xml", ".log"))
    report.unlink(missing_ok=True)
    command = [python, "-m", "pytest", *files, *run.options(), "-q", "-p",
               "no:cacheprovider", "-n", str(processes), f"--junitxml={report}"]
    with log.open("w", encoding="utf-8") as file:
        try:
            status = subprocess.run(command, cwd=ROOT,
                                    env=os.environ | run.variables | {
                                        "BYHAND_NOTES": "0"},
                                    stdout=file, stderr=subprocess.STDOUT,
                                    timeout=HOURS * 3600).returncode
        except subprocess.TimeoutExpired:
            status = f"longer than {HOURS} hours"
    found = counted(report, files) if report.is_file() else {
        name: {"passed": 0, "failed": 0, "skipped": 0, "failures": []}
        for name in files}
    for name, counts in found.items():
        ended = status in (0, 1) and counts["passed"] > 0
        counts["ok"] = ended and not counts["failed"]
        if not ended and not counts["failures"]:
            counts["failures"].append(f"{name}: pytest: {status}")
    return found


def total(parts):
    """The counts of a run, of those of its files."""
    return {name: sum(one[name] for one in parts.values())
            for name in ("passed", "failed", "skipped")} | {
        "failures": [text for one in parts.values() for text in one["failures"]],
        "ok": all(one["ok"] for one in parts.values())}


def commit():
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip()


def attempt(run, earlier, processes):
    """The entry of a run, and whether it is new: what passed earlier is kept."""
    entry = {"name": run.name, "kind": "assertions" if run.python else "strict",
             "date": date.today().isoformat(), "commit": commit()}
    try:
        python = interpreter(run)
        requirements = resolve(run, python)
        states = keys(run, requirements)
        parts = {name: one for name, one in earlier.get("files", {}).items()
                 if one["ok"] and one["key"] == states.get(name)}
        left = [name for name in states if name not in parts]
        if not left:
            return earlier, False
        if run.python:
            install(run, python, requirements)
        found = steady.probe(python, run.variables)
    except CannotBeHad as problem:
        return entry | {"absent": str(problem)}, True
    except RuntimeError as problem:
        if not run.python:  # a kernel that this processor can't run
            return entry | {"absent": str(problem)}, True
        # these versions are there, and cannot even be imported
        return dict.fromkeys(COLUMNS) | entry | {
            "ok": False, "passed": 0, "failed": 0, "skipped": 0, "minutes": 0,
            "failures": [str(problem)], "log": str(run.folder), "files": {}}, True
    started, threads = time.monotonic(), int(run.variables["OMP_NUM_THREADS"])
    entry["kept"] = len(parts)
    # more threads than cores wait for one another
    for name, one in execute(run, python, max(1, processes // threads), left).items():
        parts[name] = one | {"key": states[name]}
    return entry | found | total(parts) | {
        "threads": threads, "files": parts,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "log": name_of(FOLDER / f"{run.folder.name}.log")}, True


def tell(entry, new):
    if "absent" in entry:
        print(f"--      {entry['name']}: cannot be had: {entry['absent']}")
        return
    word = "ok" if entry["ok"] else "FAILED"
    counts = ", ".join(f"{entry[name]} {name}" for name in
                       ("passed", "failed", "skipped"))
    when = f"{entry['minutes']} min" if new else f"kept from {entry['date']}"
    if new and entry.get("kept"):
        when += f", {entry['kept']} of {len(entry['files'])} files kept"
    print(f"{word:<8}{entry['name']}: {counts}; {when}", flush=True)
    if not entry["ok"]:
        for name in entry["failures"][:SHOWN]:
            print(f"          {name}")
        print(f"          {entry['log']}")


# ---- what is kept


def kept(path):
    """{name: the last entry of that run}; a line that was cut off is left out."""
    entries = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            entries[entry["name"]] = entry
    return entries


def keep(path, entry):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(entry))


COLUMNS = ("name", "kind", "ok", "date", "commit", "python", "numpy", "scipy",
           "sklearn", "torch", "openblas", "aten", "threads", "passed", "failed",
           "skipped")


def place(row):
    """What a row of the record is found by: the run, and what it computed with."""
    return row["name"], tuple(row["openblas"] or []), row["aten"]


def record(runs, entries, absent, earlier):
    """What the site shows: a row for each run that ended, and what is missing. What the
    record has from earlier, perhaps of another processor, stays until the same run with
    the same kernels takes its place.
    """
    rows = {place(row): row for row in earlier["runs"]}
    missing = {}
    for run in runs:
        entry = entries.get(run.name)
        if entry is None:
            missing[run.name] = "not run yet"
        elif "absent" in entry:
            missing[run.name] = entry["absent"]
        else:
            row = {name: entry[name] for name in COLUMNS} | {
                "failures": entry["failures"][:SHOWN]}
            rows.pop((run.name, (), None), None)  # it did not get to its kernels then
            rows[place(row)] = row
    missing |= {one["name"]: one["why"] for one in earlier["missing"]
                if missing.get(one["name"]) == "not run yet"}
    missing |= {f"{variable}={value}": why for variable, value, why in absent}
    order = [run.name for run in runs]
    had = {row["name"] for row in rows.values()} | {
        f"OPENBLAS_CORETYPE={name}" for row in rows.values()
        for name in row["openblas"] or []} | {
        f"ATEN_CPU_CAPABILITY={row['aten']}" for row in rows.values()}
    return {
        "runs": sorted(rows.values(), key=lambda row: (
            order.index(row["name"]) if row["name"] in order else len(order))),
        "missing": [{"name": name, "why": missing[name]} for name in sorted(missing)
                    if name not in had]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="runs with this in their name")
    parser.add_argument("--times", type=int, default=1,
                        help="how often the run as the machine is")
    parser.add_argument("-n", "--processes", type=int, default=2,
                        help="of one thread; with two, half as many")
    parser.add_argument("--list", action="store_true", help="name the runs, run none")
    arguments = parser.parse_args()
    if arguments.times < 1:
        parser.error(f"--times must be at least 1, got {arguments.times}")
    runs = plan(arguments.times)
    asked = [run for run in runs if arguments.only in run.name]
    if not asked:
        parser.error(f"no run has {arguments.only!r} in its name: --list")
    absent = list(steady.absent())
    for variable, value, why in absent:
        print(f"--      {variable}={value}: not on this machine: {why}")
    if arguments.list:
        print(*(run.name for run in asked), sep="\n")
        return
    ledger = FOLDER / "runs.jsonl"
    entries = kept(ledger)
    earlier = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {
        "runs": [], "missing": []}
    good = True
    for run in asked:
        entry, new = attempt(run, entries.get(run.name, {}), arguments.processes)
        tell(entry, new)
        if new:
            keep(ledger, entry)
        entries[run.name] = entry
        good &= entry.get("ok", "absent" in entry)
        RECORD.write_text(json.dumps(record(runs, entries, absent, earlier), indent=1)
                          + "\n", encoding="utf-8")
    # a command that could run nothing has shown nothing
    sys.exit(not (good and any("ok" in entries[run.name] for run in asked)))


if __name__ == "__main__":
    main()
