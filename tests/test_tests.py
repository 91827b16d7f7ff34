"""A check must be able to fail: each of these tests spoils something small and sees
that the check for it notices.
"""

import copy
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import test_modules
import test_notebooks
import test_questions
import torch
from nbdev.export import nb_export
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from byhand.backprop import Linear
from byhand.checks import check_layer

KERNEL = {"name": "python3", "language": "python", "display_name": "Python 3"}
PATH = Path("book/tiny.ipynb")
TOC = ["book/backprop", "book/tiny", "book/questions/tiny", "book/losses"]


@pytest.fixture
def tiny():
    """The notebook that SPOILT spoils."""
    picture = new_output("display_data", {
        "image/svg+xml": "", "text/plain": "<Figure size 640x360 with 1 Axes>"})
    shown = {"tags": ["lead"], "mystnb": {
        "image": {"alt": "A straight line through the origin."},
        "figure": {"caption": "The double of a number lies on a straight line.",
                   "name": "fig-tiny-line"}}}
    cells = [
        new_markdown_cell("# Tiny\n\n$$\ny = x\n$$ (tiny-identity)\n\n## Measured"),
        new_code_cell('seed = 0\ndevice = "auto"', metadata={"tags": ["parameters"]}),
        new_code_cell("#| default_exp tiny", metadata={"tags": ["remove-cell"]}),
        new_code_cell(
            "#| export\ndef double(x):\n    return 2 * x  # eq. tiny-identity"),
        new_code_cell("print(double(1))", outputs=[new_output("stream", text="2\n")]),
        new_code_cell("plt.show()", outputs=[picture], metadata=shown),
    ]
    for count, cell in enumerate(cells[1:], start=1):
        cell.execution_count = count
    return new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


SPOILT = {
    "renumbered": (
        test_notebooks.test_cells_keep_their_ids,
        lambda notebook: [cell.update(id=str(i))
                          for i, cell in enumerate(notebook.cells)],
    ),
    "never executed": (
        test_notebooks.test_it_was_executed_from_top_to_bottom,
        lambda notebook: notebook.cells[4].update(execution_count=None),
    ),
    "executed twice": (
        test_notebooks.test_it_was_executed_from_top_to_bottom,
        lambda notebook: notebook.cells[4].update(execution_count=9),
    ),
    "timing": (
        test_notebooks.test_its_metadata_tell_nothing_about_the_run,
        lambda notebook: notebook.cells[4].metadata.update(
            execution={"iopub.status.busy": "2026-01-01"}),
    ),
    "kept from nbval": (
        test_notebooks.test_nothing_is_kept_from_nbval,
        lambda notebook: notebook.cells[4].metadata.update(
            tags=["nbval-ignore-output"]),
    ),
    "memory address": (
        test_notebooks.test_its_outputs_are_the_same_on_every_machine,
        lambda notebook: notebook.cells[4].outputs[0].update(
            text="<Linear object at 0x7f3a5c0d2e10>"),
    ),
    "path": (
        test_notebooks.test_its_outputs_are_the_same_on_every_machine,
        lambda notebook: notebook.cells[4].outputs[0].update(
            text="saved to /home/somebody/digits.npz"),
    ),
    "warning": (
        test_notebooks.test_its_outputs_are_the_same_on_every_machine,
        lambda notebook: notebook.cells[4].outputs[0].update(name="stderr"),
    ),
    "error": (
        test_notebooks.test_its_outputs_are_the_same_on_every_machine,
        lambda notebook: notebook.cells[4].outputs.append(
            new_output("error", ename="E", evalue="", traceback=[])),
    ),
    "widget without state": (
        test_notebooks.test_widgets_are_stored,
        lambda notebook: notebook.cells[5].outputs[0].data.update(
            {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
        ),
    ),
    "no seed": (
        test_notebooks.test_first_come_the_parameters,
        lambda notebook: notebook.cells[1].metadata.update(tags=[]),
    ),
    "variant of nothing": (
        test_notebooks.test_the_variant_names_parameters,
        lambda notebook: notebook.metadata.update(byhand={"variant": {"epochs": 2}}),
    ),
    "no module": (
        lambda notebook: test_notebooks.test_a_lecture_names_its_module_once(
            PATH, notebook),
        lambda notebook: notebook.cells.pop(2),
    ),
    "no alt text": (
        test_notebooks.test_a_picture_stands_alone_and_has_a_description,
        lambda notebook: notebook.cells[5].metadata.clear(),
    ),
    "file name as alt text": (
        test_notebooks.test_a_picture_stands_alone_and_has_a_description,
        lambda notebook: notebook.cells[5].metadata.mystnb.image.update(
            alt="0d9bd0bb8e3a5c0d2e107f3a5c0d2e10.png"),
    ),
    "no caption": (
        lambda notebook: test_notebooks.test_a_figure_has_a_caption_and_a_name(
            PATH, notebook),
        lambda notebook: notebook.cells[5].metadata.mystnb.pop("figure"),
    ),
    "caption of two sentences": (
        lambda notebook: test_notebooks.test_a_figure_has_a_caption_and_a_name(
            PATH, notebook),
        lambda notebook: notebook.cells[5].metadata.mystnb.figure.update(
            caption="This is a straight line. It doubles."),
    ),
    "figure named after another chapter": (
        lambda notebook: test_notebooks.test_a_figure_has_a_caption_and_a_name(
            PATH, notebook),
        lambda notebook: notebook.cells[5].metadata.mystnb.figure.update(
            name="fig-losses-line"),
    ),
    "slider without caption": (
        test_notebooks.test_a_slider_has_a_caption,
        lambda notebook: notebook.cells[4].update(
            source='explore(draw, [1, 2], label="factor", alt=describe)'),
    ),
    "no lead": (
        lambda notebook: test_notebooks.test_a_chapter_leads_with_one_picture(
            PATH, notebook, TOC),
        lambda notebook: notebook.cells[5].metadata.update(tags=[]),
    ),
    "two leads": (
        lambda notebook: test_notebooks.test_a_chapter_leads_with_one_picture(
            PATH, notebook, TOC),
        lambda notebook: notebook.cells.append(notebook.cells[5]),
    ),
    "lead without a picture": (
        lambda notebook: test_notebooks.test_a_chapter_leads_with_one_picture(
            PATH, notebook, TOC),
        lambda notebook: notebook.cells[5].update(outputs=[]),
    ),
    "other spelling in the text": (
        test_notebooks.test_it_has_one_spelling,
        lambda notebook: notebook.cells[0].update(source="Batch normalisation."),
    ),
    "other spelling in a comment": (
        test_notebooks.test_it_has_one_spelling,
        lambda notebook: notebook.cells[4].update(source="x = 0  # minimises it"),
    ),
    "other spelling in a caption": (
        test_notebooks.test_it_has_one_spelling,
        lambda notebook: notebook.cells[5].metadata.mystnb.figure.update(
            caption="The regularised line is flatter than the other one."),
    ),
    "two figures": (
        test_notebooks.test_a_picture_stands_alone_and_has_a_description,
        lambda notebook: notebook.cells[5].outputs.append(notebook.cells[5].outputs[0]),
    ),
    "long cell": (
        test_notebooks.test_cells_fit_on_a_screen,
        lambda notebook: notebook.cells[4].update(source="x = 1\n" * 99),
    ),
    "unchecked equation": (
        lambda notebook: test_notebooks.test_numbered_equations_are_checked(
            PATH, notebook),
        lambda notebook: notebook.cells[3].update(source="# eq. tiny-identity-too"),
    ),
    "relative path": (
        test_notebooks.test_it_reads_no_file_beside_it,
        lambda notebook: notebook.cells[4].update(
            source='np.load("../data/digits.npz")'),
    ),
    "broken link": (
        lambda notebook: test_notebooks.test_its_links_lead_somewhere(PATH, notebook),
        lambda notebook: notebook.cells[0].update(
            source="[the lecture](nowhere.ipynb)"),
    ),
    "import of a later chapter": (
        lambda notebook: test_modules.test_chapters_import_what_stands_before_them(
            PATH, notebook, TOC),
        lambda notebook: notebook.cells[4].update(
            source="from byhand.losses import MSELoss"),
    ),
}


@pytest.mark.parametrize(["check", "spoil"], SPOILT.values(), ids=SPOILT)
def test_a_spoilt_notebook_is_noticed(check, spoil, tiny):
    check(tiny)
    spoil(tiny)
    with pytest.raises(AssertionError):
        check(tiny)


def test_a_link_to_a_missing_heading_is_noticed(tiny, tmp_path):
    nbformat.write(tiny, tmp_path / "tiny.ipynb")
    for heading, there in (("measured", True), ("unmeasured", False)):
        link = new_notebook(
            cells=[new_markdown_cell(f"[measured](tiny.ipynb#{heading})")])
        if there:
            test_notebooks.test_its_links_lead_somewhere(tmp_path / "link.ipynb", link)
        else:
            with pytest.raises(AssertionError, match="unmeasured"):
                test_notebooks.test_its_links_lead_somewhere(
                    tmp_path / "link.ipynb", link)


def test_a_name_of_two_figures_is_noticed(tiny, tmp_path):
    nbformat.write(tiny, tmp_path / "tiny.ipynb")
    test_notebooks.test_names_of_figures_are_unique([tmp_path / "tiny.ipynb"])
    with pytest.raises(AssertionError, match="fig-tiny-line"):
        test_notebooks.test_names_of_figures_are_unique([tmp_path / "tiny.ipynb"] * 2)


def test_a_question_that_the_lecture_does_not_link_is_noticed(tiny):
    asked = [{"chapter": "tiny", "question_en": f"Why is it {word}?",
              "question_ko": "왜 그런가?"} for word in ("small", "straight")]
    tiny.cells[0].source = "\n".join(
        ["# Tiny", *(test_notebooks.question_link(PATH, entry) for entry in asked)])
    test_notebooks.test_a_lecture_links_its_questions(PATH, tiny, asked, TOC)
    tiny.cells[0].source = tiny.cells[0].source.replace("#why-is-it-small", "")
    with pytest.raises(AssertionError, match="why-is-it-small"):
        test_notebooks.test_a_lecture_links_its_questions(PATH, tiny, asked, TOC)


def test_words_that_never_have_a_z_are_no_other_spelling():
    words = ("otherwise elementwise noise noises raised promising exercises precise "
             "Gaussian_noise GaussianNoise irises unsupervised comprises rises analyse")
    assert test_notebooks.other_spelling(words) == []
    assert test_notebooks.other_spelling('claim("small-batch-generalisation.1")') == []
    assert test_notebooks.other_spelling("{cite}`beise2018`") == []
    assert test_notebooks.other_spelling("optimiser summarises Factorisation") == [
        "Factorisation", "optimiser", "summarises"]


def test_an_edited_module_is_noticed(tiny, tmp_path):
    for folder in ("root/book", "root/byhand", "before", "after"):
        (tmp_path / folder).mkdir(parents=True)
    root = tmp_path / "root"
    nbformat.write(tiny, root / PATH)
    nb_export(root / PATH, lib_path=root / "byhand")
    test_modules.test_modules_are_exported_from_the_lectures(root, tmp_path / "before")
    module = root / "byhand" / "tiny.py"
    module.write_text(module.read_text().replace("2 * x", "3 * x"))
    with pytest.raises(AssertionError, match="tiny.py"):
        test_modules.test_modules_are_exported_from_the_lectures(
            root, tmp_path / "after")


def test_a_changed_output_is_noticed(tmp_path):
    for name, stored in (("same", "2\n"), ("changed", "3\n")):
        cell = new_code_cell("print(1 + 1)", execution_count=1,
                             outputs=[new_output("stream", text=stored)])
        nbformat.write(new_notebook(cells=[cell], metadata={"kernelspec": KERNEL}),
                       tmp_path / f"{name}.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "-rA", "--color=no"]
    report = subprocess.run(command, cwd=tmp_path, capture_output=True,
                            text=True).stdout
    assert "PASSED same.ipynb" in report
    assert "FAILED changed.ipynb" in report


def test_a_question_asked_twice_is_noticed(catalogue):
    with pytest.raises(AssertionError):
        test_questions.test_ids_are_unique(catalogue + catalogue[:1])


def test_a_correction_without_source_is_noticed(catalogue):
    spoilt = copy.deepcopy(catalogue)
    spoilt[0]["claims"][0].update(verdict="wrong", correct="It is not so.",
                                  test="none: definition")
    with pytest.raises(AssertionError):
        test_questions.test_corrections_are_measured_or_have_a_source(spoilt)


def test_a_claim_that_is_never_measured_is_noticed(paths):
    unwritten = {"id": "unwritten", "chapter": "gpu", "claims": [{"id": "unwritten.1"}]}
    with pytest.raises(AssertionError, match="unwritten.1"):
        test_questions.test_finished_chapters_measure_each_claim_once(
            paths, [unwritten], ["book/gpu", "book/questions/gpu"]
        )


def test_a_claim_that_the_catalogue_lacks_is_noticed(catalogue, tmp_path):
    cell = new_code_cell('claim("no-such-claim.1")')
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "claims.ipynb")
    with pytest.raises(AssertionError, match="no-such-claim.1"):
        test_questions.test_claims_are_of_the_catalogue(
            tmp_path / "claims.ipynb", catalogue)


def test_a_question_without_answer_is_noticed(tiny, catalogue):
    with pytest.raises(AssertionError):
        test_questions.test_a_questions_notebook_asks_the_chapter_s_questions(
            Path("book/questions/gpu.ipynb"), tiny, catalogue
        )


class Transposed(Linear):
    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["weight"] = self.grads["weight"].T
        return dx


class Unscaled(Linear):
    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["weight"] = self.grads["weight"] / len(dy)
        return dx


@pytest.mark.parametrize("wrong", [Transposed, Unscaled])
def test_a_wrong_gradient_is_noticed(wrong):
    # as in a notebook: the check's own draw must not coincide with the input
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3))
    check_layer(Linear(3, 3, rng=rng), torch.nn.Linear(3, 3), x)
    with pytest.raises(AssertionError, match="weight.grad"):
        check_layer(wrong(3, 3, rng=rng), torch.nn.Linear(3, 3), x)
