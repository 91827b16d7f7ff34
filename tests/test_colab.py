"""A notebook as Colab opens it: alone, in an environment without the library, which it
installs itself.

The environment is fresh and holds only what Colab brings. The address that the notebook
installs from leads, by git's own `insteadOf`, to a repository made from this working
tree; everything else is what a reader of the page would get.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
import yaml
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient

COLAB = ["numpy", "scipy", "pandas", "torch", "matplotlib", "scikit-learn",
         "ipywidgets", "ipykernel", "pyyaml"]
PROBE = """
import hashlib, importlib.resources, json, sys
import byhand, byhand.experiments
catalogue = importlib.resources.files("byhand") / "questions.yml"
print(json.dumps({
    "prefix": sys.prefix,
    "modules": [module.__file__ for name, module in sorted(sys.modules.items())
                if name.split(".")[0] == "byhand"],
    "catalogue": hashlib.sha256(catalogue.read_bytes()).hexdigest(),
}))
"""

pytestmark = pytest.mark.skipif(shutil.which("git") is None,
                                reason="pip needs git to install from a repository")


def say(*command, **keywords):
    """Run a command to its end, and return what it said; if it fails, show that."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, **keywords)
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def needed(*names):
    """The distributions and all that they require, as far as they are installed."""
    found, wanted = {}, list(names)
    while wanted:
        name = re.match(r"[\w.-]+", wanted.pop())[0].lower().replace("_", "-")
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system
        if name not in found:
            found[name] = distribution
            wanted += [text for text in distribution.requires or ()
                       if "extra" not in text]
    return found.values()


def link(distributions, folder):
    """Put them into the folder, where Python looks for packages, as links to what is
    installed here: a second copy would be a gigabyte.
    """
    for distribution in distributions:
        for top in {Path(file).parts[0] for file in distribution.files or ()} - {".."}:
            place = Path(distribution.locate_file(top))
            if place.exists() and not (folder / top).exists():
                (folder / top).symlink_to(place)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The interpreter of an environment like Colab's."""
    folder = tmp_path_factory.mktemp("colab")
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # the one that Python 3.11 brings would hide the newer one that is linked
    say(str(python), "-m", "pip", "uninstall", "--yes", "setuptools")
    # at the versions that run this test: what Colab has differs, and pyproject.toml
    # leaves room for it. Linked in a folder of their own: what pip installs goes into
    # the environment's, never through a link into the packages of this machine
    packages = tmp_path_factory.mktemp("packages")
    link(needed(*COLAB), packages)
    own = sysconfig.get_path("purelib", "venv", {"base": str(folder)})
    (Path(own) / "linked.pth").write_text(f"{packages}\n", encoding="utf-8")
    return python


@pytest.fixture(scope="module")
def published(root, tmp_path_factory):
    """A repository whose one commit is this working tree."""
    folder = tmp_path_factory.mktemp("published")
    names = say("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard",
                cwd=root).split("\0")
    for name in names:
        if name and (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c",
           "core.autocrlf=false"]
    say("git", "init", "--quiet", "--initial-branch=main", cwd=folder)
    say("git", "add", "--all", "--force", cwd=folder)
    say("git", *who, "commit", "--quiet", "--message", "The working tree", cwd=folder)
    return folder


@pytest.fixture
def kernel_manager(root, environment, published, tmp_path, monkeypatch):
    """Starts kernels of that environment, which know nothing of this checkout but the
    redirected address.
    """
    address = yaml.safe_load(
        (root / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "GIT_DIR", "GIT_WORK_TREE",
                 "BYHAND_RECORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{published.as_uri()}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", address)

    manager = AsyncKernelManager()
    manager._kernel_spec = KernelSpec(
        argv=[str(environment), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="Colab", language="python"
    )
    return manager


def versions(python):
    return {entry["name"].lower(): entry["version"] for entry in json.loads(
        say(str(python), "-m", "pip", "list", "--format", "json"))}


def test_a_notebook_installs_the_library_and_runs(
    root, environment, kernel_manager, tmp_path):
    before = versions(environment)
    assert "byhand" not in before

    chapter = root / "book" / "experiments.ipynb"
    notebook = nbformat.read(chapter, as_version=4)
    stored = [cell.get("execution_count") for cell in notebook.cells]
    notebook.cells.append(nbformat.v4.new_code_cell(PROBE))
    empty = tmp_path / "content"
    empty.mkdir()
    NotebookClient(notebook, km=kernel_manager, timeout=300,
                   resources={"metadata": {"path": str(empty)}}).execute()

    assert [cell.get("execution_count")
            for cell in notebook.cells[:-1]] == stored, "not every cell ran"
    probe = json.loads(notebook.cells[-1].outputs[0].text)
    prefix = environment.parents[1]
    assert os.path.samefile(probe["prefix"], prefix)
    assert len(probe["modules"]) >= 2
    for module in probe["modules"]:
        assert "site-packages" in module and os.path.realpath(module).startswith(
            os.path.realpath(prefix)), module
    assert (probe["catalogue"] == hashlib.sha256(
        (root / "book" / "questions.yml").read_bytes()).hexdigest())
    assert not list(empty.iterdir()), "the notebook leaves files where it is run"

    after = versions(environment)
    assert after.pop("byhand")
    assert after == before, "the installation changed what was there"


def test_your_own_layer_is_checked_with_numpy_and_torch_alone(root, tmp_path):
    """The cell for a reader's own class, in an environment that holds the library,
    NumPy, PyTorch and what these two require, and nothing else.
    """
    bare = tmp_path / "bare"
    bare.mkdir()
    link(needed("numpy", "torch"), bare)
    shutil.copytree(root / "byhand", bare / "byhand")
    notebook = nbformat.read(root / "book" / "checks.ipynb", as_version=4)
    cell, = (cell.source for cell in notebook.cells
             if "check-yours" in cell.metadata.get("tags", ()))
    *lines, call = cell.split("\ncheck_layer(")
    code = "\n".join([*lines, "print(check_layer(" + call + ")", "import sys",
                      "print('IPython' in sys.modules, 'yaml' in sys.modules)"])
    broken = code.replace("dy.T @ self.x", "self.x.T @ dy")
    for source, expected in ((code, "Checked: Mine against torch.nn.Linear"),
                             (broken, "it is the transpose")):
        # -S: no site-packages; -I would drop PYTHONPATH too
        done = subprocess.run([sys.executable, "-S", "-c", source], text=True,
                              env={"PYTHONPATH": str(bare)}, cwd=tmp_path,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert expected in done.stdout, done.stdout
        assert (done.returncode == 0) == (source is code)
    assert "IPython" not in {path.name for path in bare.iterdir()}
