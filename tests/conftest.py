"""What several test files use: the notebooks, one test each, the catalogue and the
order of the chapters.
"""

import os

# read when NumPy and PyTorch load
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest
import yaml
from hypothesis import settings

# The same examples in every run, so that a red test is a change's fault; the weekly
# run, with its seed, draws new ones.
settings.register_profile("byhand", deadline=None,
                          derandomize="BYHAND_SEED" not in os.environ)
settings.load_profile("byhand")

ROOT = Path(__file__).resolve().parents[1]
# not Jupyter's checkpoints
NOTEBOOKS = sorted([*ROOT.glob("book/*.ipynb"), *ROOT.glob("book/questions/*.ipynb")])


def pytest_configure(config):
    # pytest-xdist hands the files out in the order of the next function
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    """The files that take longest come first, one for each process: otherwise one runs
    them at the end while the other has nothing to do. And the website is read page by
    page, so that a page can be closed before the next is opened.
    """
    def place(item):
        page = getattr(item, "callspec", None) and item.callspec.params.get("page")
        return ({"test_variants.py": 0, "test_site.py": 1}.get(item.path.name, 2),
                str(page or ""))

    items.sort(key=place)


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def script(root):
    """script("book/_ext/record.py"): a file outside the library, as a module."""
    def load(name):
        spec = importlib.util.spec_from_file_location(Path(name).stem, root / name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    return load


@pytest.fixture(scope="session")
def paths():
    return NOTEBOOKS


@pytest.fixture(scope="session", params=NOTEBOOKS,
                ids=lambda path: str(path.relative_to(ROOT)))
def path(request):
    """A test that takes it, or `notebook`, runs once for each notebook of the book."""
    return request.param


@pytest.fixture(scope="session")
def notebook(path):
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


@pytest.fixture(scope="session")
def catalogue(root):
    return yaml.safe_load(
        (root / "book" / "questions.yml").read_text(encoding="utf-8"))["questions"]


@pytest.fixture(scope="session")
def toc(root):
    """The pages in reading order, as `_toc.yml` names them: "book/backprop",
    "book/questions/backprop", …
    """
    return re.findall(r"^[ -]*file: *(\S+)",
                      (root / "_toc.yml").read_text(encoding="utf-8"), re.MULTILINE)
