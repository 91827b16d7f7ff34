"""The repository: one address, two licences, exact and loose versions where each
belongs, nothing of one machine.
"""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# who writes these down once, in pieces, does not match them
LOCAL = re.compile(
    r"/(?:root|opt|home/(?!somebody/)\w+|Users/\w+|tmp/\w+|work/\w+)" r"/|[A-Z]:\\+"
    r"Users"  # a folder of one machine
    r"|pypi\.(?:org|python\.org)" r"|python" r"hosted|registry\.(?:npmjs|yarnpkg)|deb"
    r"\.debian"  # a package registry
)
ADDRESS = re.compile(
    r"github\.com[/:]([\w.-]+/[\w.-]+?)(?:\.git)?(?=$|[^\w.-]|\.(?:\s|$))")


@pytest.fixture(scope="module")
def texts(root):
    """The text of each file of the repository that is ours, by its name."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, stdout=subprocess.PIPE
    ).stdout.decode()
    names = [name for name in listed.split("\0") if name
             and not name.startswith("vendor/") and (root / name).is_file()]
    texts = {}
    for name in names:
        data = (root / name).read_bytes()
        if b"\0" not in data[:8000]:  # git's own rule for what is binary
            texts[name] = data.decode("utf-8")
    assert ({"README.md", "Makefile", "book/questions.yml",
             "tests/test_repository.py"} <= texts.keys())
    return texts


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads(
        (root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(root, name="requirements.txt"):
    lines = (root / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line.split("#")[0])
            for line in lines if line.split("#")[0].strip()]


# ---- one address


def test_the_address_is_the_same_everywhere(root, texts):
    config = yaml.safe_load(texts["_config.yml"])
    address = config["repository"]["url"]
    owner, name = ADDRESS.search(address).group(1).split("/")
    site = f"https://{owner}.github.io/{name}/"
    assert config["html"]["baseurl"] == site

    for file, text in texts.items():
        for match in ADDRESS.finditer(text):
            if owner in match.group(0) or f"/{name}" in match.group(0):
                assert match.group(1) == f"{owner}/{name}", f"{file}: {match.group(0)}"
        for match in re.finditer(rf"https?://{owner}\.github\.io[^\s)>\"']*", text):
            assert match.group(0).startswith(site), f"{file}: {match.group(0)}"
        for match in re.finditer(r"git\+(\S+?)[\"'\\]*(?:\s|$)", text):
            if file.endswith((".ipynb", ".md")):
                assert match.group(
                    1) == address, f"{file}: installs from {match.group(1)}"

    citation = yaml.safe_load(texts["CITATION.cff"])
    project = tomllib.loads(texts["pyproject.toml"])["project"]
    assert citation["repository-code"] == project["urls"]["Repository"] == address
    assert citation["url"] == site
    assert address in texts["README.md"] and site in texts["README.md"]


def test_each_notebook_installs_from_the_address(notebook, texts):
    address = yaml.safe_load(texts["_config.yml"])["repository"]["url"]
    assert any(f"%pip install -q git+{address}" in cell.source
               for cell in notebook.cells)


# ---- versions


def test_requirements_are_exact(root):
    for pin in pins(root):
        assert re.fullmatch(r"==[\w.!+]+", str(pin.specifier)), pin
        assert pin.url is None and "+" not in str(
            pin.specifier), f"{pin} would bind to one build"


def test_requirements_hold_what_was_chosen(root):
    """requirements.in was not edited without `make pins`."""
    resolved = {canonicalize_name(pin.name): pin for pin in pins(root)}
    for chosen in pins(root, "requirements.in"):
        assert chosen.specifier in (resolved[canonicalize_name(chosen.name)].specifier,
                                    ""), chosen


def test_requirements_serve_the_cpu_and_the_gpu(root):
    names = {pin.name for pin in pins(root)}
    assert "torch" in names
    assert not {name for name in names if re.match("nvidia|cuda|triton", name)}


def locked(text):
    """{requirement: its hashes} of a file that `make lock` wrote."""
    entries = re.findall(r"^(\S.*?==.*?) \\\n((?: {4}--hash=.*\n?)+)", text,
                         re.MULTILINE)
    return {str(Requirement(name)): re.findall("--hash=(sha256:[0-9a-f]{64})", hashes)
            for name, hashes in entries}


def test_everything_but_pytorch_is_held_to_its_hash(root, texts):
    """`make lock` was called after requirements.txt changed: the same packages, at the
    same versions, for the same systems. PyTorch has two builds of one version.
    """
    lock = locked(texts["requirements.lock"])
    assert set(lock) == {str(pin) for pin in pins(root) if pin.name != "torch"}
    assert [name for name, hashes in lock.items() if not hashes] == []
    assert "torch" not in {Requirement(name).name for name in lock}


def test_whoever_installs_the_pins_looks_at_the_hashes(texts, workflows):
    """In the Makefile and in the workflows, the hashes come first."""
    hashed = "--require-hashes --only-binary :all: --no-deps -r requirements.lock"
    runs = [texts["Makefile"], *(
        "\n".join(step.get("run", "") for step in job["steps"])
        for flow in workflows.values() for job in flow["jobs"].values())]
    loose = [run for run in runs if "-r requirements.txt" in run]
    assert len(loose) >= 3
    assert [run for run in loose
            if not 0 <= run.find(hashed) < run.find("-r requirements.txt")] == []


def test_the_library_takes_what_is_there(root, project):
    """Colab keeps its own NumPy and PyTorch: lower bounds alone, and the pins satisfy
    them.
    """
    resolved = {canonicalize_name(pin.name): next(iter(pin.specifier)).version
                for pin in pins(root)}
    for text in project["dependencies"]:
        needed = Requirement(text)
        assert {bound.operator for bound in needed.specifier} == {">="}, text
        assert needed.specifier.contains(resolved[canonicalize_name(needed.name)]), text


# ---- licences and citation


def test_the_licence_covers_code_and_text(texts, project):
    licence = texts["LICENSE"]
    assert ("Redistribution and use in source and binary forms" in licence
            and "BSD-3-Clause" in licence)
    assert ("CC-BY-4.0" in licence
            and "https://creativecommons.org/licenses/by/4.0/" in licence)
    assert ("BSD-3-Clause" in project["license"]
            and "LICENSE" in project["license-files"])
    assert "BSD 3-Clause" in texts["README.md"] and "CC BY 4.0" in texts["README.md"]


def test_the_citation_can_be_read(texts, project):
    citation = yaml.safe_load(texts["CITATION.cff"])
    assert ({"cff-version", "message", "title", "authors", "version", "date-released",
             "license"} <= citation.keys())
    assert citation["version"] == project["version"]
    assert citation["license"] == ["BSD-3-Clause", "CC-BY-4.0"]
    assert all("name" in author or "family-names" in author
               for author in citation["authors"])


# ---- nothing of one machine


def test_no_file_names_a_machine_or_a_registry(texts):
    found = [f"{name}: {match.group(0)}" for name, text in texts.items()
             for match in LOCAL.finditer(text)]
    assert not found, found


def test_the_pattern_notices():
    for found in ("/".join(["", "home", "ann", "x"]), "/".join(["", "root", "y"]),
                  "\\".join(["C:", "Users"])):
        assert LOCAL.search(f"see {found}"), found
    assert not LOCAL.search(
        "https://example.org/home/ and $HOME/book and /usr/bin/chromium")


def test_git_ignores_nothing_that_is_needed(root):
    """A rule such as dist/ would leave a part of vendor/ at home."""
    done = subprocess.run(
        ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "book",
         "byhand", "tests", "vendor", ".github"],
        cwd=root, check=True, stdout=subprocess.PIPE, text=True,
    )
    ignored = [name for name in done.stdout.splitlines() if not re.search(
        r"__pycache__|checkpoints|\.hypothesis|\.pytest_cache", name)]
    assert not ignored, ignored


def test_each_file_ends_its_lines_as_git_does(texts):
    for name, text in texts.items():
        assert "\r" not in text, name
        assert not text or text.endswith("\n"), f"{name} ends without a newline"


# ---- workflows


@pytest.fixture(scope="module")
def workflows(root):
    paths = sorted((root / ".github" / "workflows").glob("*.yml"))
    assert {path.stem for path in paths} >= {"tests", "site", "weekly", "gpu"}
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
            for path in paths}


def steps(workflows):
    for name, workflow in workflows.items():
        for job in workflow["jobs"].values():
            for step in job.get("steps", []):
                yield name, step


def test_workflows_ask_for_little(workflows):
    for name, workflow in workflows.items():
        assert workflow["permissions"] == {}, name
        for title, job in workflow["jobs"].items():
            assert "permissions" in job and "timeout-minutes" in job, f"{name}: {title}"
            writes = {scope for scope, level in job["permissions"].items()
                      if level == "write"}
            assert (writes <= ({"pages", "id-token"}
                               if (name, title) == ("site", "deploy") else set()))


def test_actions_are_pinned_to_commits(workflows, texts):
    used = [step["uses"] for _, step in steps(workflows) if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action), action
        assert len({other for other in used if other.split("@")[0]
                    == action.split("@")[0]}) == 1, f"two versions of {action}"
    for name, text in texts.items():
        if name.startswith(".github/workflows/"):
            assert text.count("uses: ") == len(
                re.findall(r"uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+\n", text)), name


def test_checkouts_keep_no_credentials(workflows):
    for name, step in steps(workflows):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False, name


def tool(name):
    """The command `name`: of this environment, or of the system."""
    folders = os.pathsep.join([sysconfig.get_path("scripts"),
                               os.environ.get("PATH", "")])
    return shutil.which(name, path=folders)


def lint(root, name, *arguments):
    found = tool(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([found, *arguments], cwd=root, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing(root):
    # strict: a workflow that it cannot read is no workflow without faults
    lint(root, "zizmor", "--offline", "--no-progress", "--strict-collection",
         str(Path(".github")))


def test_actionlint_finds_nothing(root):
    """Its package fetches a binary when it is installed, so the workflow installs it,
    not requirements.txt.
    """
    lint(root, "actionlint")


def test_the_newest_versions_come_with_what_the_tests_import(root, workflows):
    """That job installs little, and a file that can't be read ends all of it."""
    newest = "\n".join(step.get("run", "") for step in
                       workflows["weekly"]["jobs"]["newest"]["steps"])
    installed = re.search(r"pip install -e \.(.*)", newest)[1].split()
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    reached, wanted = set(), installed + project["project"]["dependencies"]
    while wanted:
        requirement = Requirement(wanted.pop())
        name = canonicalize_name(requirement.name)
        if name in reached or (requirement.marker and not requirement.marker.evaluate(
                {"extra": ""})):
            continue
        reached.add(name)
        try:
            wanted += importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system
    homes = importlib.metadata.packages_distributions()
    left_out = re.findall(r"--ignore tests/(\S+)", newest)
    ours = {path.stem for path in root.glob("*/*.py")} | {"byhand", "byhand_replicate"}
    for path in [root / "tests" / "conftest.py", *root.glob("tests/test_*.py")]:
        text = path.read_text(encoding="utf-8")
        guarded, tree = set(re.findall(r'importorskip\("(\w+)', text)), ast.parse(text)
        names = {alias.name for node in tree.body if isinstance(node, ast.Import)
                 for alias in node.names} | {
            node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        tops = {name.split(".")[0] for name in names} - sys.stdlib_module_names - ours
        missing = [top for top in tops - guarded if not reached.intersection(
            map(canonicalize_name, homes[top]))]
        assert path.name in left_out or not missing, (path.name, missing)


# ---- the commands of the README


@pytest.mark.skipif(shutil.which("make") is None,
                    reason="without make, README.md tells the steps")
def test_the_commands_of_the_readme_exist(texts, root):
    named = set(re.findall(r"\bmake (\w+)", "\n".join(
        re.findall(r"`+[^`]*`+", texts["README.md"] + texts["CONTRIBUTING.md"]))))
    assert {"book", "test", "jupyter", "chapter"} <= named
    targets = " ".join(re.findall(r"^\.PHONY: (.*)$", texts["Makefile"],
                                  re.MULTILINE)).split()
    assert named <= set(targets)
    for target in targets:
        command = ["make", "--dry-run", target, "NAME=lab"]
        done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("make") is None,
                    reason="without make, nothing is asked of it")
def test_compiled_modules_are_kept_whatever_the_shell_asks_for(root):
    """An installation compiles none ahead; a kernel's start took 12 s instead of 5."""
    done = subprocess.run(
        ["make", "--silent", "--no-print-directory", "-f", "Makefile", "-f", "-",
         "asked"], cwd=root,
        input="asked:\n\t@echo =$$PYTHONDONTWRITEBYTECODE=$$KEPT=\n",
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "KEPT": "yes"}, text=True,
        stdout=subprocess.PIPE, check=True)
    assert done.stdout == "==yes=\n"


def test_the_pictures_of_the_readme_exist_and_have_alt_texts(texts, root):
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", texts["README.md"])
    assert pictures
    for alt, path in pictures:
        assert len(alt) > 20 and (root / path).is_file(), path
    assert not re.search(r"<img(?![^>]*\balt=\"[^\"]{20})", texts["README.md"])


def test_links_between_the_files_of_the_repository_hold(texts, root):
    for name in ("README.md", "CONTRIBUTING.md"):
        for path in re.findall(r"\]\((?!https?:|#)([^)#]+)", texts[name]):
            assert (root / path).exists(), f"{name}: {path}"
