"""The library: exported from the lectures and in step with them, and growing in the
order of the book.
"""

import ast
import collections
import importlib
import shutil
import sys

import byhand
from IPython.core.inputtransformer2 import TransformerManager
from nbdev.export import nb_export


APPENDIX = {"checks": (), "experiments": ("checks", "backprop"), "lab": ()}


def modules(root):
    return sorted(path.stem
                  for path in (root / "byhand").glob("*.py") if path.stem != "__init__")


def public(root):
    """(module, name, object) for each name that a module of the library exports."""
    for module in modules(root):
        imported = importlib.import_module(f"byhand.{module}")
        for name in imported.__all__:
            yield module, name, getattr(imported, name)


def imports(source):
    """The modules that some code imports: "numpy", "scipy.special", "byhand.backprop",
    …
    """
    for node in ast.walk(ast.parse(TransformerManager().transform_cell(source))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            # nbdev writes "from byhand.lab" as "from .lab"
            yield f"byhand.{node.module}"
        elif isinstance(node, ast.ImportFrom) and node.module in ("byhand", "scipy"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_the_checkout_is_tested(root):
    assert byhand.__path__ == [str(root / "byhand")]


def test_modules_are_exported_from_the_lectures(root, tmp_path):
    """Exported once more, into the same place of a copy (the place stands in the
    modules), they are the same.
    """
    lectures = shutil.copytree(root / "book", tmp_path / "book").glob("*.ipynb")
    (tmp_path / "byhand").mkdir()
    for lecture in lectures:
        nb_export(lecture, lib_path=tmp_path / "byhand")
    assert modules(root) == modules(tmp_path)
    for module in modules(root):
        file = f"byhand/{module}.py"
        assert (root / file).read_bytes() == (
            tmp_path / file).read_bytes(), f"{file} is not what the lecture exports"


def test_chapters_import_what_stands_before_them(path, notebook, toc):
    found = set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found |= {name.split(".")[1]
                      for name in imports(cell.source) if name.startswith("byhand.")}
    if path.parent.name == "book":
        before = toc[: toc.index(f"book/{path.stem}")]
        assert ({f"book/{module}" for module in found - {*APPENDIX, path.stem}}
                <= set(before))


def test_modules_import_little(root):
    """Checks and lab stand below every chapter, experiments on backprop alone."""
    for module in modules(root):
        source = (root / "byhand" / f"{module}.py").read_text(encoding="utf-8")
        found = set(imports(source))
        ours = {name for name in found if name.startswith("byhand.")}
        if module in APPENDIX:
            assert ours <= {f"byhand.{name}" for name in APPENDIX[module]}, module
        else:
            tops = {name.split(".")[0] for name in found - {"scipy.special"}}
            assert tops <= sys.stdlib_module_names | {"numpy", "byhand"}, module


def test_public_names_have_docstrings(root):
    for module, name, thing in public(root):
        assert not callable(thing) or thing.__doc__, f"byhand.{module}.{name}"


def test_public_names_are_defined_once(root):
    counts = collections.Counter(name for _, name, _ in public(root))
    assert max(counts.values(), default=1) == 1, counts.most_common(3)
