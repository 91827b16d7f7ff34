"""The page "How fast it is", from two records: speed.json, which `make speed` writes,
and notebooks.json, which `make record` and the site's workflow write.
"""

import io
import json
import statistics
from html import escape

from matplotlib import rc_context
from matplotlib.figure import Figure
from pages import images, picture
from record import FOLDER

from byhand.lab import STYLE

KINDS = {"training step": "Steps of training", "layer": "Layers", "loss": "Losses",
         "optimizer": "Optimizers", "estimator": "Estimators, scores and tests"}
# CPU seconds of one notebook and of all, and megabytes
LECTURE, QUESTIONS, STORED, VARIANTS, MEMORY = 30, 45, 600, 200, 1000


def load(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def table(names, rows, kind):
    """A table that sorts itself; a name may say of which kind its column is."""
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return ('<div class="pst-scrollable-table-container">'
            f'<table class="sortable byhand-timing byhand-{kind}"><thead><tr>{head}'
            f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>")


def about(run):
    """On which machine, with which versions, when."""
    names = {"numpy": "NumPy", "torch": "PyTorch", "scikit-learn": "scikit-learn",
             "scipy": "SciPy", "python": "Python"}
    versions = ", ".join(f"{shown} {escape(run[name])}" for name, shown in names.items()
                         if name in run)
    return (f"{escape(run['cpu'])}, {escape(run['system'])}; {versions}; "
            f"{run['date']}, commit {run['commit']}.")


def busy(share):
    """A sentence if others were at work beside it."""
    return "" if share > 0.9 else (
        f" The machine was busy: the run got {share:.0%} of a core.")


# ---- ratios


def ratio_cell(found, limit=None):
    """A ratio with the middle half of its rounds."""
    if found is None:
        return '<td data-sort="">–</td>'
    over = limit is not None and found["low"] > limit
    said = "" if limit is None else (
        f"<br><small>{'above the' if over else ''} limit {limit:g}</small>")
    return (f'<td data-sort="{found["ratio"]}">{found["ratio"]:.2f}<br>'
            f'<small>{found["low"]:.2f}–{found["high"]:.2f}</small>{said}</td>')


def ratio_row(row, titles):
    chapter, _, rest = row["name"].partition(".")
    name = escape(rest or chapter)
    if chapter in titles:
        name = f'<a href="{chapter}.html">{name}</a>'
    start = (f'<tr class="entry"><td>{row["kind"]}</td><th scope="row">{name}</th>')
    if "without" in row:
        return (f'{start}<td data-sort="">–</td><td>nothing: '
                f'{escape(row["without"])}</td>{ratio_cell(None) * 2}</tr>')
    return (f"{start}<td>{escape(row['size'])}</td><td>{escape(row['against'])}</td>"
            + ratio_cell(row.get("float32"), row.get("limit"))
            + ratio_cell(row.get("float64")) + "</tr>")


def summary(rows):
    """Of each kind: how many, the middle one and the two ends."""
    items = ""
    for kind, title in KINDS.items():
        found = sorted((row.get("float32", row.get("float64"))["ratio"],
                        f"{row['name']}, {row['against']}")
                       for row in rows if row["kind"] == kind and "without" not in row)
        low, high = found[0], found[-1]
        middle = statistics.median(ratio for ratio, _ in found)
        items += (f"<li>{title}: {len(found)} pairs, the middle one {middle:.2f}, from "
                  f"{low[0]:.2f} ({escape(low[1])}) to {high[0]:.2f} "
                  f"({escape(high[1])})</li>")
    return f"<ul>{items}</ul>"


def speed(known):
    """One table of all ratios."""
    record = known["speed"]
    run = record["run"]
    names = ("Kind", "What", "Input", "Against", "float32", "float64")
    rows = [ratio_row(row, known["titles"]) for row in record["rows"]]
    return (f"<p>{about(run)} {run['threads']} thread, {run['seconds']} seconds in all."
            f"{busy(run['share'])}</p>{summary(record['rows'])}"
            f"{table(names, rows, 'speed')}")


# ---- growth


def drawn(growth):
    """The SVG of all growths: seconds on logarithmic axes, with the theory's slope."""
    with rc_context(dict(STYLE) | {"font.size": 9}):
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        axes = figure.subplots(1, len(growth), sharey=True)
        for ax, (name, found) in zip(axes, growth.items()):
            x, last = found["values"], found["values"][-1]
            for who, label, marker in (("ours", "ours", "o"),
                                       ("theirs", "PyTorch", "s")):
                ax.loglog(x, found[who], marker=marker, markersize=4, label=label)
            power = found["theory"]
            fitted = found["fitted_over"]
            ax.loglog(fitted, [found["ours"][-1] * 2 * (value / last)**power
                               for value in fitted], "--", color="#767676",
                      label="theory's slope")
            ax.set(xlabel=name)
            ax.minorticks_off()
            ax.set_xticks([x[0], x[len(x) // 2], last], [
                f"{value:,}" for value in (x[0], x[len(x) // 2], last)])
        axes[0].set(ylabel="CPU seconds of a step")
        axes[0].legend(fontsize=8)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def told(growth):
    """What the figure shows, in words."""
    parts = [f"with the {name}, from {found['values'][0]:,} to "
             f"{found['values'][-1]:,}, ours from {found['ours'][0]:.1g} to "
             f"{found['ours'][-1]:.1g} seconds, PyTorch's from "
             f"{found['theirs'][0]:.1g} to {found['theirs'][-1]:.1g}"
             for name, found in growth.items()]
    return ("Three panels with logarithmic axes. The CPU seconds of a step of training "
            f"grow {'; '.join(parts)}. At the right end both run beside a dashed line "
            "with the theory's slope.")


def power_cells(fitted):
    return (f'<td data-sort="{fitted["power"]}">{fitted["power"]:.2f}<br>'
            f'<small>{fitted["low"]:.2f}–{fitted["high"]:.2f}</small></td>')


def growth(known):
    """The figure and the fitted powers."""
    found, app = known["speed"]["growth"], known["app"]
    shown = images("book/speed", picture(app, drawn(found), "svg"),
                   escape(told(found)), app)
    rows = [f'<tr class="entry"><th scope="row">{name}</th><td>{escape(one["said"])}'
            f'</td><td>{one["fitted_over"][0]:,} to {one["fitted_over"][-1]:,}</td>'
            f'<td>{one["theory"]}</td>' + power_cells(one["fitted"]["ours"])
            + power_cells(one["fitted"]["theirs"]) + "</tr>"
            for name, one in found.items()]
    names = ("What grows", "In", "Fitted over", "Theory", "Ours", "PyTorch")
    caption = ("Seconds of a step against what grows: on these axes a power is a "
               "straight line, and its slope is the power.")
    return (f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"
            "<p>The fitted power of the seconds; below it the least and the most "
            f"between neighbours.</p>{table(names, rows, 'growth')}")


# ---- notebooks


def amount(value, shown, limit=None):
    """A cell with a number, and a word where it is above its limit."""
    if value is None:
        return '<td data-sort="">–</td>'
    over = limit is not None and value > limit
    return (f'<td data-sort="{value}">{shown.format(value)}'
            f'{"<br><small>too much</small>" if over else ""}</td>')


def beside(seconds, limit):
    """The CPU seconds of many notebooks beside their limit, and whether that holds."""
    over = ": too much" if seconds > limit else ""
    return f"{seconds:.0f} CPU seconds (at most {limit} are meant{over})"


def notebook_row(name, found, title):
    budget = QUESTIONS if name.startswith("questions/") else LECTURE
    megabytes = None if found["peak"] is None else found["peak"] / 1e6
    return (f'<tr class="entry"><th scope="row"><a href="{name}.html">{escape(title)}'
            f"</a></th>{amount(found['seconds'], '{:.1f}', budget)}<td>{budget}</td>"
            f"{amount(megabytes, '{:.0f}', MEMORY)}"
            f"{amount(found['variant'], '{:.1f}')}</tr>")


def notebooks(known):
    """CPU seconds and memory of each notebook, against what it may take."""
    record = known["notebooks"]
    found = record["notebooks"]
    measured = [one for one in found.values() if one["seconds"] is not None]
    stored = sum(one["seconds"] for one in measured)
    variants = [one["variant"] for one in found.values() if one["variant"] is not None]
    share = stored / sum(one["wall"] for one in measured) if measured else 1.0
    rows = [notebook_row(name, found[name], known["titles"][name])
            for name in known["titles"] if name in found]
    names = ("Notebook", "CPU seconds", "of at most", f"Memory, MB of {MEMORY:,}",
             "Another seed, CPU seconds")
    return (f"<p>{about(record['run'])} The stored runs of {len(measured)} of "
            f"{len(found)} notebooks took {beside(stored, STORED)}; of those with "
            f"another seed {len(variants)} took {beside(sum(variants), VARIANTS)}."
            f"{busy(share)}</p>"
            f"{table(names, rows, 'notebooks')}")
