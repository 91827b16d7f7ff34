"""What every notebook of the book has in common. That it runs and prints what it stores
is nbval's part.
"""

import ast
import collections
import re

import nbformat
import pytest
import yaml
from myst_parser.mdit_to_docutils.base import default_slugify

MACHINE = re.compile(  # what betrays the machine, the process or the day of a run
    r"0x[0-9a-f]{6,}|Warning:|ipykernel_\d|site-packages|cuda:\d"
    r"|(?<![\w.<])/(?:home|root|Users|tmp|usr|opt|content|mnt|var)/|\b[A-Z]:\\"
)

# One spelling: -ize and -ization. What stands before -ise, -ising, … in the words that
# never have a z; besides, all that end in -wise.
ISE = re.compile(r"(.*)is(?:e|ed|er|ers|es|ing|able|ations?)")
NO_Z = set(
    "a adv advert an appra appr bru comprom compr conc cr cru d dem deno desp dev "
    "disgu enterpr exc exerc expert franch gu imprec improv inc ir m merchand no "
    "parad po pra prec prem prom r ra repr rev sunr superv surm surpr telev treat "
    "unsuperv"
    .split())


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def markdown(notebook):
    return "\n\n".join(cell.source
                       for cell in notebook.cells if cell.cell_type == "markdown")


def parameters(notebook):
    """Names and values in the first code cell, which holds plain assignments of
    literals and nothing else.
    """
    statements = ast.parse(code_cells(notebook)[0].source).body
    return {statement.targets[0].id: ast.literal_eval(statement.value)
            for statement in statements}


def pictures(cell):
    """The kinds of pictures that a code cell stores, ["image/svg+xml"] or []."""
    return [mime for output in cell.outputs
            for mime in output.get("data", {}) if mime.startswith("image/")]


def is_caption(text):
    """One sentence, and not a long one."""
    return bool(re.fullmatch(r"[^\Wa-z_](?:(?![.!?]\s).)*\.", text)
                and 5 <= len(text.split()) <= 35)


def other_spelling(text):
    """The words of a text that have an s where the book writes a z. Addresses and names
    do not count, nor do the ids of claims, which never change.
    """
    text = re.sub(r'https?://\S+|\{cite[^`]*`[^`]*`|"[a-z0-9-]+\.\d+"', "", text)
    words = re.findall(r"[A-Z]?[a-z]+", text)  # of a CamelCase one, its parts
    return sorted({word for word in words if (found := ISE.fullmatch(word.lower()))
                   and found.group(1) not in NO_Z and not found.group(1).endswith("w")})


def question_link(path, entry):
    """The line that a lecture's first cell has for a question of the catalogue."""
    text = entry["question_en"]
    return (f"- [{text}](questions/{path.stem}.ipynb#{default_slugify(text)}) "
            f'<span lang="ko">{entry["question_ko"]}</span>')


def is_question(path):
    return path.parent.name == "questions"


def test_the_book_lists_it(path, root, toc):
    assert path.relative_to(root).with_suffix("").as_posix() in toc


def test_it_is_valid(notebook):
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    nbformat.validate(notebook)


def test_cells_keep_their_ids(notebook):
    """nbstripout without --keep-id numbers them from 0, and then each new cell changes
    the whole exported module.
    """
    assert ([cell.id for cell in notebook.cells]
            != [str(i) for i in range(len(notebook.cells))])


def test_it_was_executed_from_top_to_bottom(notebook):
    """nbval passes a notebook that was never executed."""
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_its_metadata_tell_nothing_about_the_run(notebook):
    assert notebook.metadata.kernelspec.name == "python3"
    assert not {"papermill", "jupytext"} & set(notebook.metadata)
    assert "version" not in notebook.metadata.get("language_info", {})
    for cell in notebook.cells:
        assert not {"papermill", "execution"} & set(cell.metadata), cell.source
        assert "injected-parameters" not in tags(cell)


def test_nothing_is_kept_from_nbval(notebook):
    for cell in code_cells(notebook):
        assert "NBVAL_" not in cell.source
        assert not any(tag.startswith("nbval-") for tag in tags(cell)), cell.source


def test_its_outputs_are_the_same_on_every_machine(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error" or "raises-exception" in tags(
                cell), cell.source
            assert output.get("name") != "stderr", output.text
            text = [value for mime, value in output.get("data", {}).items()
                    if mime.startswith("text/")]
            found = MACHINE.search("\n".join([output.get("text", ""), *text]))
            assert not found, f"{found.group(0)!r} in the output of\n{cell.source}"


def test_widgets_are_stored(notebook):
    """Without its state a slider is missing from the static page."""
    state = notebook.metadata.get("widgets", {}).get(
        "application/vnd.jupyter.widget-state+json", {}).get("state", {})
    for cell in code_cells(notebook):
        for output in cell.outputs:
            widget = output.get("data",
                                {}).get("application/vnd.jupyter.widget-view+json")
            assert widget is None or widget["model_id"] in state, cell.source


def test_first_come_the_parameters(notebook):
    assert ([i for i, cell in enumerate(code_cells(notebook))
             if "parameters" in tags(cell)] == [0])
    found = parameters(notebook)
    assert isinstance(found["seed"], int)
    assert found["device"] == "auto"


def test_the_variant_names_parameters(notebook):
    assert (notebook.metadata.get("byhand", {}).get("variant", {}).keys()
            <= parameters(notebook).keys())


def test_then_it_installs_what_is_missing(notebook, root):
    repository = yaml.safe_load(
        (root / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
    assert code_cells(notebook)[1].source == (
        "from importlib.util import find_spec\n\n"
        'if find_spec("byhand") is None:  # Colab, or any fresh kernel\n'
        f"    %pip install -q git+{repository}"
    )


def test_a_lecture_names_its_module_once(path, notebook):
    """Without this cell nb-export exports nothing and does not complain."""
    found = [cell for cell in code_cells(notebook)
             if re.search(r"^#\| *default_exp", cell.source, re.MULTILINE)]
    assert ([cell.source for cell in found]
            == ([] if is_question(path) else [f"#| default_exp {path.stem}"]))
    assert all("remove-cell" in tags(cell) for cell in found)
    assert (not is_question(path) or not any(
        cell.source.startswith("#| export") for cell in code_cells(notebook)))


def test_a_picture_stands_alone_and_has_a_description(notebook):
    for cell in code_cells(notebook):
        found = pictures(cell)
        assert found in ([], ["image/svg+xml"]), cell.source
        if found:
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) >= 20 and len(
                alt.split()) >= 4, f"alt text {alt!r} of\n{cell.source}"


def test_a_figure_has_a_caption_and_a_name(path, notebook):
    """The caption is one sentence on what to see; the name is what links lead to."""
    chapter = path.stem.replace("_", "-")
    for cell in filter(pictures, code_cells(notebook)):
        found = cell.metadata.get("mystnb", {})
        caption = found.get("figure", {}).get("caption", "")
        name = found.get("figure", {}).get("name", "")
        assert is_caption(caption), f"caption {caption!r} of\n{cell.source}"
        assert caption != found["image"]["alt"], cell.source
        assert re.fullmatch(rf"fig-{chapter}(-[a-z0-9]+)+", name), (
            f"name {name!r} of\n{cell.source}")


def test_names_of_figures_are_unique(paths):
    names = [cell.metadata["mystnb"].get("figure", {}).get("name", "") for path in paths
             for cell in nbformat.read(path, as_version=nbformat.NO_CONVERT).cells
             if "mystnb" in cell.metadata]
    counts = collections.Counter(filter(None, names))
    assert max(counts.values(), default=1) == 1, counts.most_common(3)


def test_a_slider_has_a_caption(notebook):
    """One, for all its positions."""
    for cell in code_cells(notebook):
        if "explore(" in cell.source:
            for call in ast.walk(ast.parse(cell.source)):
                if getattr(getattr(call, "func", None), "id", "") == "explore":
                    given = {keyword.arg: keyword.value for keyword in call.keywords}
                    assert "caption" in given, cell.source
                    caption = given["caption"]  # an f-string may name a parameter
                    assert (isinstance(caption, ast.JoinedStr)
                            or is_caption(caption.value)), cell.source


def test_a_chapter_leads_with_one_picture(path, notebook, toc):
    """The site shows the cell tagged `lead` first; the appendix may do without."""
    leads = [cell for cell in code_cells(notebook) if "lead" in tags(cell)]
    expected = ([0] if is_question(path) else
                [1] if f"book/questions/{path.stem}" in toc else [0, 1])
    assert len(leads) in expected, [cell.source for cell in leads]
    for cell in leads:
        assert pictures(cell) or any(
            "application/vnd.jupyter.widget-view+json" in output.get("data", {})
            for output in cell.outputs), cell.source


def test_a_lecture_links_its_questions(path, notebook, catalogue, toc):
    if is_question(path) or f"book/questions/{path.stem}" not in toc:
        pytest.skip("no lecture with questions")
    lines = notebook.cells[0].source.splitlines()
    missing = [line for entry in catalogue if entry["chapter"] == path.stem
               if (line := question_link(path, entry)) not in lines]
    assert not missing, "\n".join(missing)


def test_a_lecture_has_conventions_and_is_broken_on_purpose(path, notebook, toc):
    """The pages for lecturers promise both, and a cheat sheet takes the first."""
    if f"book/questions/{path.stem}" not in toc or path.parent.name == "questions":
        pytest.skip("no lecture with questions")
    headings = re.findall("^###? (.*)$", markdown(notebook), re.MULTILINE)
    assert any("onventions" in heading for heading in headings)
    assert "Broken on purpose" in headings


def test_it_has_one_spelling(notebook):
    texts = []
    for cell in notebook.cells:
        shown = cell.metadata.get("mystnb", {})
        texts += [cell.source, shown.get("image", {}).get("alt", ""),
                  shown.get("figure", {}).get("caption", "")]
    assert not (found := other_spelling("\n".join(texts))), found


def test_cells_fit_on_a_screen(notebook):
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= 50, cell.source


def test_numbered_equations_are_checked(path, notebook):
    chapter = path.stem.replace("_", "-")
    code = "\n".join(cell.source for cell in code_cells(notebook))
    for label in re.findall(r"(?:\$\$ *\(|:label: *)([^\s)]+)", markdown(notebook)):
        assert label == chapter or label.startswith(f"{chapter}-")
        assert re.search(rf"\beq\. {re.escape(label)}(?![\w-])",
                         code), f"no cell names eq. {label}"


def test_it_reads_no_file_beside_it(notebook):
    """Colab has the notebook alone. (The papermill run, in an empty folder, finds what
    this does not.)
    """
    for cell in code_cells(notebook):
        assert not re.search(r"""(?<![.\w])open\(\s*f?["']|["']\.\.?/""",
                             cell.source), cell.source


def test_korean_text_is_the_catalogue_s(notebook, catalogue):
    known = {question["question_ko"] for question in catalogue}
    assert (set(re.findall(r'<span lang="ko">(.*?)</span>', markdown(notebook),
                           re.DOTALL)) <= known)


def test_its_links_lead_somewhere(path, notebook):
    for link, heading in re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)",
                                    markdown(notebook)):
        target = path.parent / link if link else path
        assert target.is_file(), f"{link} is not there"
        if heading:
            text = target.read_text(encoding="utf-8")
            if target.suffix == ".ipynb":
                text = markdown(nbformat.reads(text, as_version=nbformat.NO_CONVERT))
            headings = re.findall(r"^#{1,3} +(.+?) *$", text, re.MULTILINE)
            assert heading in map(default_slugify,
                                  headings), f"{link} has no heading #{heading}"


def test_each_exercise_has_its_solution_folded_below(notebook):
    """One exercise a cell, and after it the cell that runs and checks its solution."""
    cells = notebook.cells
    for exercise, solution in zip(cells, [*cells[1:], nbformat.v4.new_markdown_cell()]):
        first = re.search("^## Exercises$", exercise.source, re.MULTILINE)
        asked = re.findall(r"^(?:\*\*\d+\.\*\*|\d+\.) ", exercise.source, re.MULTILINE)
        if exercise.cell_type == "markdown" and (
                first or re.match(r"\*\*\d+\.\*\* ", exercise.source)):
            assert len(asked) == 1, f"one exercise a cell: {exercise.id}"
            assert "hide-cell" in solution.metadata.get("tags", []), exercise.id
            assert re.search("assert|check", solution.source), solution.id
