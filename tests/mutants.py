"""Does a test notice when the library computes something else? A sample of mutants.

    python tests/mutants.py losses      # what `make mutants NAME=losses` calls
    python tests/mutants.py             # every module
    python tests/mutants.py losses --seed 7

mutmut changes one thing in a function of byhand/: a + to a -, a < to a <=, an argument
to None. The module's own tests, with its entries in tests/test_faults.py, must fail
then. Comparing it with its notebook would notice every change and prove nothing, so
tests/test_modules.py takes no part. A mutant that nothing noticed is tried once more in
a process of its own (see `noticed_alone`).

Not drawn is a mutant that changes the text of an error alone: an argument of what is
raised, or a literal that a check puts into its message (see `TEXTS`). From the others a
fixed seed draws SIZE a module. A mutant that computes the same stands in
tests/mutation.yml, with the reason; the counts stand in tests/mutation.json. Exits with
1 if a survivor is not explained there, or if fewer than LEAST of the mutants that
compute something else were noticed.
"""

import argparse
import ast
import difflib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter, namedtuple
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path

import yaml
from scipy.stats import binomtest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "_build" / "mutants"  # one folder a module, with mutmut's log
EQUIVALENT, RECORD = (ROOT / "tests" / name for name in ("mutation.yml",
                                                         "mutation.json"))
SIZE, LEAST = 60, 0.95
# {function: the positions of arguments that only tell the message of an error}
TEXTS = dict.fromkeys(("check_array", "for_each_group", "_check_names",
                       "_check_saved", "_each", "_factor",
                       "_fitted", "_integers", "_number", "_pair"), (0,)) | {
                           "_check_probability": (0, 2), "_finite": (0, 2)}
# tests that cannot pass while mutmut stands between a function and who calls it
UNDER_MUTMUT = {
    "test_the_gradient_of_the_input_may_be_left_out": "asks a function for defaults"}
# mutmut makes the mutants again only if the module is newer
MAKE = """
import sys
from pathlib import Path
from mutmut.__main__ import create_file_mutants
if error := create_file_mutants(Path(sys.argv[1])).error:
    raise error
"""
NOTICED = {"killed", "timeout", "segfault"}  # what mutmut calls it

Mutant = namedtuple("Mutant", "name module function change text")
Mutant.__doc__ = """One change of one function.

name is mutmut's, function "Adam.update", change the lines taken out (-) and put in (+),
text whether it is the text of an error alone.
"""


def modules():
    return sorted(path.stem for path in (ROOT / "byhand").glob("*.py")
                  if path.stem != "__init__")


def selection(module):
    """The arguments of pytest: the module's own tests and its entries in the sweep."""
    return [f"tests/test_{module}.py", "tests/test_faults.py", "-k",
            " and not ".join([f"(test_{module} or {module}.)", *UNDER_MUTMUT])]


# --- the mutants ---


class _WithoutTexts(ast.NodeTransformer):
    """A function without the texts of its errors."""

    def visit_Raise(self, node):
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
        return node

    def visit_Call(self, node):
        self.generic_visit(node)
        called = getattr(node.func, "attr", getattr(node.func, "id", None))
        for position, argument in enumerate(node.args):
            if position in TEXTS.get(called, ()) and isinstance(
                    argument, (ast.Constant, ast.JoinedStr)):
                node.args[position] = ast.Constant("")
        return node


@cache
def without_texts(node):
    return ast.dump(_WithoutTexts().visit(node))


def is_text(before, after):
    """Whether two versions of a function, as ast's nodes, differ in the text of an
    error alone.
    """
    return without_texts(before) == without_texts(after)


def change(before, after):
    """The lines that differ: "- …" for what is gone, "+ …" for what came."""
    lines = difflib.ndiff(*([line.strip() for line in text.splitlines()]
                            for text in (before, after)))
    return "\n".join(line for line in lines if line[:2] in ("- ", "+ "))


def read(module, code):
    """The Mutants of a module from the code that mutmut writes, which holds each
    function as it was, x_<function>__mutmut_orig, and each of its mutants.
    """
    lines, nodes = code.splitlines(), {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name:
            name, mangled = node.name, node.name.rsplit("__mutmut_", 1)[0]
            node.name = mangled.split("ǁ")[-1].removeprefix("x_")
            text = "\n".join(lines[node.lineno - 1:node.end_lineno])
            nodes[name] = node, text.replace(name, node.name)
    for name, (node, text) in nodes.items():
        mangled, number = name.rsplit("__mutmut_", 1)
        if number == "orig":
            continue
        original, before = nodes[f"{mangled}__mutmut_orig"]
        function = ".".join(mangled.split("ǁ")[1:]) or mangled.removeprefix("x_")
        yield Mutant(f"byhand.{module}.{name}", module, function, change(before, text),
                     is_text(original, node))


def mutants(module):
    """Every mutant that mutmut makes of a module, which stays in its folder."""
    folder, file = prepare(module), Path("byhand") / f"{module}.py"
    shutil.rmtree(folder / "mutants", ignore_errors=True)
    # a process of its own: mutmut reads the settings of the folder once
    subprocess.run([sys.executable, "-c", MAKE, str(file)], cwd=folder, check=True)
    code = (folder / "mutants" / file).read_text(encoding="utf-8")
    return list(read(module, code))


def draw(found, seed, size=SIZE):
    """The sample of a module. Each mutant has a number of its own, so that a change in
    one function leaves the sample of all others as it was.
    """
    seen, numbers = Counter(), {}
    for mutant in found:
        what = seed, mutant.module, mutant.function, mutant.change
        seen[what] += 1  # two places of a function may change alike
        numbers[mutant] = hashlib.sha256(repr((what, seen[what])).encode()).digest()
    candidates = [mutant for mutant in found if not mutant.text]
    return sorted(candidates, key=numbers.get)[:size]


# --- mutmut ---


def prepare(module):
    """A folder with what the tests need and mutmut's settings for one module."""
    folder = FOLDER / module
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("byhand", "tests", "book"):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("_toc.yml", "_config.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    settings = {
        "source_paths": ["byhand"],
        "only_mutate": [f"byhand/{module}.py"],
        "also_copy": ["book", "tests", "_toc.yml", "_config.yml"],
        "pytest_add_cli_args_test_selection": selection(module),
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist"]}
    lines = [f"{key} =\n" + "\n".join(f"    {value}" for value in values)
             for key, values in settings.items()]
    (folder / "setup.cfg").write_text("\n".join(["[mutmut]", *lines, ""]),
                                      encoding="utf-8")
    return folder


def environment():
    """One thread, and no path but the folder of the mutated library."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                             "MKL_NUM_THREADS"), "1")
    return {name: value for name, value in os.environ.items()
            if name != "PYTHONPATH"} | threads


def noticed_alone(mutant):
    """Whether the tests notice a mutant from the import on. mutmut switches it on in a
    library that is there already, where a function that ran at import, one that makes a
    property say, has done its work unchanged.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider",
               "-p", "no:xdist", *selection(mutant.module)]
    done = subprocess.run(command, cwd=FOLDER / mutant.module / "mutants",
                          env=environment() | {"MUTANT_UNDER_TEST": mutant.name},
                          capture_output=True, text=True)
    if done.returncode not in (0, 1, 2):  # 1: a test failed, 2: not even imported
        raise RuntimeError(f"pytest failed on {mutant.name}: …{done.stdout[-2000:]}")
    return done.returncode != 0


def run(module, sample):
    """{name: "killed", "survived", "timeout", …} of a sample; RuntimeError if mutmut
    fails, which it does when a test fails without any mutant.
    """
    folder = FOLDER / module
    command = [Path(sys.executable).with_name("mutmut"), "run", "--max-children", "1",
               *(mutant.name for mutant in sample)]
    with open(folder / "log", "w", encoding="utf-8") as log:
        done = subprocess.run(command, cwd=folder, env=environment(),
                              stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        text = (folder / "log").read_text(encoding="utf-8")
        raise RuntimeError(f"mutmut failed on {module}: …{text[-2000:]}")
    from mutmut.stats import status_by_exit_code

    meta = folder / "mutants" / "byhand" / f"{module}.py.meta"
    codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
    results = {mutant.name: status_by_exit_code[codes[mutant.name]]
               for mutant in sample}
    for mutant in sample:
        if results[mutant.name] not in NOTICED and noticed_alone(mutant):
            results[mutant.name] = "killed"
    return results


# --- what came out ---


def explained(path=EQUIVALENT):
    """{(module, function, change): why it computes the same}."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    return {(entry["module"], entry["function"], entry["change"].strip()): entry["why"]
            for entry in entries}


def judge(found, sample, results, reasons):
    """The row of a module, and its survivors that nobody explained."""
    equivalent, survivors = [], []
    for mutant in sample:
        if results[mutant.name] in NOTICED:
            continue
        key = mutant.module, mutant.function, mutant.change
        (equivalent if key in reasons else survivors).append(mutant)
    counts = Counter(results.values())
    return {"mutants": len(found), "texts": sum(mutant.text for mutant in found),
            "sampled": len(sample),
            "killed": sum(counts[status] for status in NOTICED),
            "timeouts": counts["timeout"], "equivalent": len(equivalent),
            "survived": len(survivors)}, survivors


def total(rows):
    """The sum of all rows, with the share noticed of those that compute something else
    and its 95 % interval (Wilson, 1927).
    """
    row = dict(sum((Counter(row) for row in rows), Counter()))
    row = dict.fromkeys(rows[0], 0) | row
    counted = row["killed"] + row["survived"]
    interval = binomtest(row["killed"], counted).proportion_ci(method="wilson")
    return row | {"share": round(row["killed"] / counted, 4),
                  "interval": [round(interval.low, 4), round(interval.high, 4)]}


def keep(rows, path=RECORD):
    """Write the rows of these modules into the record; those of others stay."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    today = {"date": date.today().isoformat()}
    known = kept.get("modules", {}) | {name: row | today for name, row in rows.items()}
    known = {name: known[name] for name in sorted(known)}
    counts = [{name: value for name, value in row.items() if name != "date"}
              for row in known.values()]
    record = {"seed": 0, "mutmut": version("mutmut"), "modules": known,
              "total": total(counts)}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help="modules, say losses")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=SIZE, help="mutants a module")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(modules()):
        parser.error(f"{sorted(unknown)}: the modules are {modules()}")
    rows, unexplained, reasons = {}, [], explained()
    for module in arguments.names or modules():
        found = mutants(module)
        sample = draw(found, arguments.seed, arguments.size)
        row, survivors = judge(found, sample, run(module, sample), reasons)
        rows[module] = row
        unexplained += survivors
        print(f"== {module}: " + ", ".join(f"{value} {key}"
                                           for key, value in row.items()), flush=True)
        for mutant in survivors:
            print(f"SURVIVED {mutant.name}\n{mutant.function}\n{mutant.change}\n",
                  flush=True)
    summed = total(list(rows.values()))
    print(f"noticed {summed['share']:.1%} of {summed['killed'] + summed['survived']}, "
          "interval {:.1%} to {:.1%}".format(*summed["interval"]))
    if (arguments.seed, arguments.size) == (0, SIZE):
        keep(rows)
    sys.exit(bool(unexplained) or summed["share"] < LEAST)


if __name__ == "__main__":
    main()
