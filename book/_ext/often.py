"""The page "How often it holds", from two records: replication.json, which
`byhand-replicate --summary` writes, and workers.json, which benchmarks/workers.py does.
"""

import math
from collections import Counter
from html import escape

from record import swap
from timing import table

OUTCOMES = {"held": "성립", "contradicted": "반대로 나옴", "undecided": "미결",
            "not_reached": "측정 못 함"}
NOTHING = "<p>No run with many seeds is recorded yet.</p>"


def plain(name):
    return name.replace("_", " ").replace("-", " ")


def overview(claims, notebooks):
    """All outcomes, added up, as a paragraph."""
    total = Counter()
    for entry in claims.values():
        total.update({name: entry[name] for name in OUTCOMES})
    judged = sum(total.values()) - total["not_reached"]
    share = math.floor(1000 * total["held"] / max(judged, 1)) / 10  # never rounded up
    seeds = max(entry["n"] + entry["not_reached"] for entry in claims.values())
    always = sum(entry["held"] == entry["n"] + entry["not_reached"]
                 for entry in claims.values())
    parts = {name: word for name, word in OUTCOMES.items()
             if name not in ("held", "not_reached")}
    others = ", ".join(f"{total[name]:,} {plain(name)}" for name in parts)
    others_ko = ", ".join(f"{word} {total[name]:,}번" for name, word in parts.items())
    missed = total["not_reached"]
    english = (
        f"{len(claims)} claims of {len(notebooks)} notebooks, with up to {seeds} seeds "
        f"each, came out {judged:,} times: {total['held']:,} held ({share} %), "
        f"{others}; {missed:,} times they were not reached. {always} of the claims "
        "held with every seed.")
    korean = (
        f"노트북 {len(notebooks)}개의 주장 {len(claims)}개를 시드 최대 {seeds}개로 "
        f"모두 {judged:,}번 판정했다. 성립 {total['held']:,}번({share} %), "
        f"{others_ko}. 측정에 이르지 못한 것은 {missed:,}번이다. "
        f"모든 시드에서 성립한 주장은 {always}개다.")
    return f"<p>{swap(english, korean)}</p>"


def conditions(run):
    """Where a record comes from, as a paragraph."""
    packages = "; ".join(f"NumPy {escape(v['numpy'])}, PyTorch {escape(v['torch'])}, "
                         f"Python {escape(v['python'])}" for v in run["versions"])
    cards = [card for card in run["gpu"] if card] if run["device"] != "cpu" else []
    return (f"<p>{escape(', '.join(cards) or run['device'])}, {run['sizes']} sizes; "
            f"{packages}; {' to '.join(sorted(set(run['dates'])))}.</p>")


def spread(entry):
    """What each situation of a claim gave over the seeds, folded."""
    items = ""
    for name, found in entry["situations"].items():
        parts = [f"{found[word]} {word}" for word in ("yes", "no", "undecided")
                 if found.get(word)]
        if "median" in found:
            low, high = found["quartiles"]
            parts.append(f"median {found['median']:g}, half of {found['of']} seeds "
                         f"from {low:g} to {high:g}")
        if parts:
            items += f"<dt>{escape(name or 'As said')}</dt><dd>{'; '.join(parts)}</dd>"
    return (f"<details><summary>{swap('what was measured', '측정값')}</summary>"
            f"<dl>{items}</dl></details>" if items else "")


def row(id, entry, claim, url, verdicts):
    """A claim with what became of it."""
    said = f"<q>{escape(claim['says'])}</q>"
    if "says_ko" in claim:
        said = swap(said, f"<q>{escape(claim['says_ko'])}</q>")
    share = entry["held"] / entry["n"] if entry["n"] else -1
    interval = (f"<br><small>{entry['low']:.2f}–{entry['high']:.2f}</small>"
                if entry["n"] else "")
    verdict = swap(plain(claim["verdict"]), verdicts[claim["verdict"]])
    others = "".join(f"<td>{entry[name]}</td>" for name in OUTCOMES if name != "held")
    return (f'<tr class="entry"><th scope="row"><a href="{url}">{id}</a><br>{said}'
            f"{spread(entry)}</th><td>{verdict}</td>"
            f'<td data-sort="{share}">{entry["held"]}&nbsp;/&nbsp;{entry["n"]}'
            f"{interval}</td>{others}</tr>")


def frequencies(known, **_):
    """How often each claim held over the seeds; what holds least comes first."""
    record = known["replication"]
    if not record["claims"]:
        return NOTHING
    texts = {claim["id"]: claim for question in known["catalogue"]
             for claim in question["claims"]}
    order = sorted(record["claims"].items(), key=lambda item: (
        item[1]["held"] / item[1]["n"] if item[1]["n"] else -1.0, item[0]))
    rows = [row(id, entry, texts[id], known["boxes"][id]["url"], known["verdicts"])
            for id, entry in order if id in texts and id in known["boxes"]]
    heads = [swap("Claim", "주장"), swap("Verdict", "판정"),
             *(swap(plain(name).capitalize(), word) for name, word in OUTCOMES.items())]
    others = "".join(overview(other["claims"], other["notebooks"])
                     + conditions(other["run"]) for other in known["elsewhere"].values()
                     if other["claims"])
    return (overview(record["claims"], record["notebooks"]) + conditions(record["run"])
            + others + table(heads, rows, "replication") + ended(record))


def ended(record):
    """What ended runs early, by notebook."""
    items = "".join(
        f"<li>{escape(name)}, seeds {one['seeds']}: {one['status']}"
        + (f" in cell {one['cell']}" if one["cell"] else "")
        + f", <code>{escape(one['line'])}</code>" * bool(one["line"])
        + f", {escape(one['kind'])} {escape(one['message'].partition(chr(10))[0])}</li>"
        for name, entry in record["notebooks"].items() for one in entry["failures"])
    return f"<p>Runs that ended early:</p><ul>{items}</ul>" if items else ""


# ---- what it takes


def hours(seconds):
    return f"{seconds / 3600:,.1f}"


def cost(known, **_):
    """What the runs took, notebook by notebook, and what more of them would."""
    notebooks = known["replication"]["notebooks"]
    if not notebooks:
        return NOTHING
    titles, rows = known["titles"], []
    for name, entry in notebooks.items():
        link = (f'<a href="{name}.html">{escape(titles[name])}</a>' if name in titles
                else escape(name))
        rows.append(f'<tr><th scope="row">{link}</th><td>{entry["seeds"]}</td>'
                    f"<td>{entry['seconds']:.0f}</td><td>{entry['megabytes']}</td>"
                    f"<td>{entry['failed'] + entry['stopped']}</td>"
                    f"<td>{entry['grid_ends'] or '–'}</td></tr>")
    one = sum(entry["seconds"] for entry in notebooks.values())
    heads = ["Notebook", "Seeds", "Seconds, median", "Megabytes, at most",
             "Ended early", "A best value at an end of its grid, seeds"]
    return (f"<p>{len(notebooks)} notebooks with one seed: {one:.0f} seconds of one "
            f"worker, the medians added up; with a thousand seeds, on paper, "
            f"{hours(1000 * one)} hours.{workers(known['workers'], one)}</p>"
            + table(heads, rows, "cost"))


def workers(found, seconds):
    """A sentence on two workers against one, and on the time in which two would run
    what takes one worker these seconds, a thousand times.
    """
    if not found:
        return ""
    one, two = found["seconds"]["1"], found["seconds"]["2"]
    return (f" {found['runs']} runs took {one:.0f} seconds with one worker and "
            f"{two:.0f} with two ({escape(found['cpu'])}, {found['cores']} cores, "
            f"{found['date']}): an efficiency of "
            f"{math.floor(50 * one / two) / 100:.2f}. At that, two "
            f"workers would take {hours(1000 * seconds * two / one)} hours.")
