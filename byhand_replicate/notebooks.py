"""What is run: the notebooks of the book, what they claim, and what they hang on."""

import ast
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import nbformat
import papermill
from IPython.core.inputtransformer2 import TransformerManager

from byhand.experiments import catalogue

ROOT = Path(__file__).resolve().parents[1]
# compares code with code and judges no claim: a change there spoils no finished run
NO_MEASURE = {"checks"}


@dataclass(frozen=True)
class Notebook:
    """A notebook of the book: "losses" or "questions/losses", and its place."""

    name: str
    path: Path

    def read(self):
        """The notebook without its outputs."""
        notebook = nbformat.read(self.path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        return notebook


def find(book=ROOT / "book", only=()):
    """The notebooks below a folder like book/, or those whose name is asked for:
    "losses" means the lecture and its questions, "questions/losses" these alone.

    Raises ValueError if there is none, or none of a name that was asked for.
    """
    folders = (("", book), ("questions/", book / "questions"))
    found = [Notebook(prefix + path.stem, path) for prefix, folder in folders
             for path in sorted(folder.glob("*.ipynb"))]
    if not found:
        raise ValueError(f"there is no notebook in {book}: this needs a checkout of "
                         "the book, installed with pip install -e '.[replicate]'")
    known = {name for notebook in found for name in asked_as(notebook)}
    if unknown := set(only) - known:
        raise ValueError(f"there is no notebook {sorted(unknown)} in {book}, but "
                         f"{sorted(known)}")
    return [notebook for notebook in found
            if not only or asked_as(notebook) & set(only)]


def asked_as(notebook):
    """The names under which a notebook is asked for."""
    return {notebook.name, notebook.name.removeprefix("questions/")}


def code(notebook):
    """The sources of the code cells, as Python without the shell's and IPython's."""
    transform = TransformerManager().transform_cell
    return [transform(cell.source) for cell in notebook.cells
            if cell.cell_type == "code"]


def claims(notebook):
    """The ids of the claims that a notebook measures, in their order. Definitions,
    opinions and what is outdated are shown without an outcome, and are left out.
    """
    found = []
    for source in code(notebook):
        calls = [node for node in ast.walk(ast.parse(source))
                 if isinstance(node, ast.Call) and node.args
                 and getattr(node.func, "id", "") == "claim"
                 and any(word.arg == "found" for word in node.keywords)]
        calls.sort(key=lambda call: call.lineno)
        found += [ast.literal_eval(call.args[0]) for call in calls]
    return list(dict.fromkeys(found))


def digest(value):
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def source_hash(notebook):
    """What a run hangs on in the notebook and in the catalogue: the code cells, and of
    each claim what decides its outcome.
    """
    entries = [catalogue().get(id, {}) for id in claims(notebook)]
    judged = [[entry.get("verdict"), "boundary" in entry,
               entry.get("margin", {}).get("d")] for entry in entries]
    return digest([code(notebook), judged])


def imported(sources):
    """The modules of the library that some Python code imports, by their names."""
    found = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.ImportFrom):
                continue
            module = node.module or ""
            if node.level:  # from .losses import …, in the library itself
                found.add(module)
            elif module == "byhand":
                found |= {alias.name for alias in node.names}
            elif module.startswith("byhand."):
                found.add(module.removeprefix("byhand."))
    return found


def bare(source):
    """Code without comments and docstrings: these change no number."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and (
            isinstance(body[0].value, ast.Constant)):
            body[0].value.value = ""
    return ast.unparse(tree)


def library_hash(notebook, folder=ROOT / "byhand"):
    """What a run hangs on in the library: every module that is imported, by the
    notebook or by such a module.
    """
    todo, sources = imported(code(notebook)), {}
    while todo:
        path = folder / f"{todo.pop()}.py"
        if path.stem in sources or path.stem in NO_MEASURE or not path.is_file():
            continue
        sources[path.stem] = path.read_text(encoding="utf-8")
        todo |= imported([sources[path.stem]])
    return digest({name: bare(source) for name, source in sources.items()})


def parameters(notebook, seed, device, sizes):
    """What is passed to the notebook: seed, device, and the sizes of its variant unless
    the stored ones are asked for; of these what the notebook takes.

    Raises ValueError if the notebook lacks a size that its variant names.
    """
    takes = papermill.inspect_notebook(notebook.path).keys()
    variant = notebook.read().metadata.get("byhand", {}).get("variant", {})
    given = dict(variant) if sizes == "variant" else {}
    if unknown := given.keys() - takes:
        raise ValueError(f"{notebook.name} has no parameters {sorted(unknown)}")
    general = {"seed": seed, "device": device}
    return given | {name: general[name] for name in general if name in takes}
