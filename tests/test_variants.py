"""Every notebook with another seed, other sizes and on the CPU: its assertions hold
beyond the run that is stored.
"""

import os
from unittest import mock

import nbformat
import papermill
import pytest
import usage

SEED = int(os.environ.get("BYHAND_SEED", "1"))


def run(path, folder, **parameters):
    """Execute the notebook at `path` in the folder, with the interpreter that runs this
    test.
    """
    unknown = parameters.keys() - papermill.inspect_notebook(path).keys()
    if unknown:  # papermill only warns
        raise ValueError(f"{path} has no parameters {sorted(unknown)}")
    # where a claim may come out undecided, see byhand.experiments.claim
    with mock.patch.dict(os.environ, BYHAND_VARIANT="1"):
        return papermill.execute_notebook(
            path, None, parameters, kernel_name="python3", cwd=folder,
            progress_bar=False, execution_timeout=600)


def test_it_runs_with_another_seed(path, notebook, tmp_path):
    sizes = notebook.metadata.get("byhand", {}).get("variant", {})
    before = usage.of_children()
    run(path, tmp_path, **sizes, seed=SEED, device="cpu")
    usage.note(path, "variant", {"seconds": round(usage.of_children() - before, 2)})
    assert not list(tmp_path.iterdir()), "the notebook leaves files where it is run"


def test_it_runs_on_the_checkout(root, tmp_path):
    """A kernel elsewhere must not find a published copy of the library."""
    (tmp_path / "elsewhere").mkdir()
    cell = nbformat.v4.new_code_cell("import byhand\n\nprint(byhand.__file__)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "where.ipynb")
    executed = run(tmp_path / "where.ipynb", tmp_path / "elsewhere")
    assert executed.cells[0].outputs[0].text == f"{root / 'byhand' / '__init__.py'}\n"


def test_an_unknown_parameter_is_an_error(tmp_path):
    cell = nbformat.v4.new_code_cell("seed = 0", metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "language": "python",
                             "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel),
                   tmp_path / "sizes.ipynb")
    with pytest.raises(ValueError, match="epochs"):
        run(tmp_path / "sizes.ipynb", tmp_path, seed=1, epochs=2)
