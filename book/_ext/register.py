"""What the book knows, at hand: a search that opens at the heading, every question with
its answer, every claim with its verdict, every check with its errors.

All of it is read from the pages that were just written, from the catalogue and from the
records, so nothing is typed twice. A page says where a list belongs:

    <div data-byhand="questions"></div>

with questions, claims, agreement, drift, replication, cost, speed, growth, notebooks,
verdicts, exam, exercises, handouts, cover or map.
"""

import collections
import copy
import json
import posixpath
import re
import tomllib
from html import escape
from pathlib import Path

import chapter_map
import often
import timing
import yaml
from lxml import etree
from lxml import html as lxml_html
from packaging.requirements import Requirement
from record import drift, elsewhere, replication, stored, workers

ROOT = Path(__file__).resolve().parents[1]
SITE = "https://deep-learning-by-hand.github.io/book/"
REPOSITORY = "https://github.com/deep-learning-by-hand/book"
PLACE = re.compile(r'<div data-byhand="(\w+)"></div>')
ORDER = ["holds", "holds-with-conditions", "misleading", "wrong", "outdated", "opinion",
         "undecided"]
# code, formulas, pictures and set-up are not searched
SILENT = ("pre", "svg", "script", "style", "math", "details", "sup")
SILENT_CLASS = {"katex", "katex-display", "headerlink", "cell_input", "byhand-check",
                "byhand-setup", "byhand-link", "byhand-handouts", "eq-code"}


def load(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


# ---- reading the pages


def article(path):
    """The text of a page as a tree, or None if it has none."""
    tree = lxml_html.parse(str(path), lxml_html.HTMLParser(encoding="utf-8"))
    found = tree.xpath('//article[contains(@class, "bd-article")]')
    return found[0] if found else None


def words(node, top=True):
    """The readable text of a node without its nested sections."""
    if not isinstance(node.tag, str):
        return ""
    if not top and (node.tag in ("section", *SILENT)
                    or SILENT_CLASS & set(node.get("class", "").split())):
        return ""
    parts = [node.text or ""]
    for child in node:
        parts += [words(child, False), child.tail or ""]
    return " ".join(" ".join(parts).split())


def sections(page, root):
    """Each section of a page: {"url", "level", "title", "ko", "node"}."""
    for node in root.iter("section"):
        heading = next((child for child in node if child.tag in ("h1", "h2", "h3")),
                       None)
        if heading is None:
            continue
        korean = heading.getnext()
        spans = korean.xpath('./span[@lang="ko"]') if korean is not None else []
        yield {"url": f"{page}#{node.get('id')}", "level": int(heading.tag[1]),
               "title": words(heading).replace("’", "'"), "node": node,
               "ko": spans[0].text_content() if spans else ""}


def moved(node, page, ids=False, up=""):
    """The HTML of a copy of a node, its links as seen from the site's root, or from
    below it if `up` leads to it.
    """
    node = copy.deepcopy(node)
    node.tail = None
    folder = posixpath.dirname(page)
    for element in node.iter():
        if not isinstance(element.tag, str):
            continue
        if not ids:
            element.attrib.pop("id", None)
        for name in ("href", "src"):
            link = element.get(name)
            if link and not re.match(r"\w+:", link):
                target = page + link if link.startswith("#") else posixpath.normpath(
                    posixpath.join(folder, link))
                element.set(name, up + target)
    return etree.tostring(node, encoding="unicode", method="html")


def minute(node):
    """The paragraphs of the answer in English, and those in Korean."""
    english = [p for p in node.iterfind("p") if words(p).startswith("In one minute.")]
    korean = [p for block in node.xpath('./div[@lang="ko"]') for p in block]
    # MyST gives an HTML block with Markdown inside in pieces: its paragraphs are there
    if not korean:
        korean = [p for p in node.iterfind("p") if words(p).startswith("1분 답변")]
    return english, korean


def boxes(page, root):
    """{claim id: {"url", "measured", "counted"}} of the claims' boxes on a page: what
    stands below the claim, and whether that is more than a source.
    """
    found = {}
    for box in root.xpath('.//div[contains(@class, "byhand-claim")]'):
        name = (box.get("id") or "").removeprefix("claim-")
        if name:
            numbers = box.xpath("./dl|./table|./div[.//table]")
            found[name] = {"url": f"{page}#{box.get('id')}",
                           "measured": "".join(moved(part, page) for part in numbers),
                           "counted": bool(box.xpath(
                               './/table | ./dl/dt[contains(., "Measured")]'))}
    return found


# ---- the lists


def label(verdict):
    return verdict.replace("-", " ")


def verdicts(known, **_):
    """How many of the measured claims hold: a bar, its numbers in words."""
    count = collections.Counter(
        claim["verdict"] for question in known["catalogue"]
        for claim in question["claims"] if claim["id"] in known["boxes"])
    total = sum(count.values())
    order = [verdict for verdict in ORDER if count[verdict]]
    parts = "".join(f'<span class="verdict-{verdict}" style="flex-grow: '
                    f'{count[verdict]}"></span>' for verdict in order)
    said = ", ".join(f"{count[verdict]} {label(verdict)}" for verdict in order)
    return (f'<figure class="byhand-verdicts"><div class="bar" aria-hidden="true">'
            f'{parts}</div><figcaption>{total} sentences that circulate about deep '
            f'learning, each with a verdict: {said}. <a href="claims.html">All of them'
            '</a></figcaption></figure>')


def control(name, contents):
    return f'<label>{name} {contents}</label>'


FILTER = (
    '<form class="byhand-filter" role="search">'
    + control("Find", '<input type="search" name="text" autocomplete="off">')
    + control("Verdict", '<select name="verdict"><option value="">any</option>'
              + "".join(f'<option value="{v}">{label(v)}</option>' for v in ORDER)
              + "</select>")
    + control('<input type="checkbox" name="measured">', "has been measured")
    + '<output aria-live="polite"></output></form>')


def questions(known, **_):
    """Every question of the catalogue, its minute folded under it."""
    chapters = {}
    for question in known["catalogue"]:
        chapters.setdefault(question["chapter"], []).append(question)
    order = [c for c in known["chapters"] if c in chapters] + sorted(
        chapters.keys() - set(known["chapters"]))
    found = []
    for chapter in order:
        title = known["titles"].get(chapter)
        heading = (f'<a href="{chapter}.html">{escape(title)}</a>' if title else
                   escape(chapter.replace("_", " ").capitalize()) + " (being written)")
        entries = "".join(one_question(question, known)
                          for question in chapters[chapter])
        found.append(f'<section id="chapter-{chapter}"><h2>{heading}</h2>'
                     f"{entries}</section>")
    return (f'<div class="byhand-list" data-noun="questions">{FILTER}'
            + "".join(found) + "</div>")


def one_question(question, known):
    answer = known["answers"].get(question["question_en"], {})
    claims = question["claims"]
    measured = any(known["boxes"].get(c["id"], {}).get("counted") for c in claims)
    text = " ".join([question["question_en"], question["question_ko"]]
                    + [c["says"] for c in claims])
    summary = (f'<span class="en">{escape(question["question_en"])}</span> '
               f'<span class="ko" lang="ko">{escape(question["question_ko"])}</span>')
    verdicts = " ".join(c["verdict"] for c in claims)
    attributes = (f'class="entry" id="{question["id"]}" data-verdict="{verdicts}" '
                  f'data-measured="{int(measured)}" data-text="{escape(text.lower())}"')
    if not answer:
        return f"<p {attributes}>{summary}</p>"
    verdict = "".join(
        f'<li><a href="{known["boxes"][c["id"]]["url"]}">{label(c["verdict"])}</a>: '
        f'<q>{escape(c["says"])}</q></li>'
        for c in claims if c["id"] in known["boxes"])
    return (
        f'<details {attributes}><summary>{summary}</summary>'
        f'<div class="en">{answer["en"]}</div>'
        + (f'<div class="ko" lang="ko">{answer["ko"]}</div>' if answer["ko"] else "")
        + (f"<ul>{verdict}</ul>" if verdict else "")
        + f'<p class="links"><a href="{answer["url"]}">the evidence</a> · '
        f'<a href="{question["chapter"]}.html">the lecture</a></p></details>')


def what_is_true(claim):
    """The right statement; of a claim that holds its limit or its source, if it has."""
    if "boundary" in claim and "correct" not in claim:
        return f"It holds. Limit or source: {claim['boundary']}"
    return claim.get("correct", "It holds as it is said.")


def claims(known, **_):
    """The register: a table of all claims that a page judges."""
    rows = []
    for question in known["catalogue"]:
        for claim in question["claims"]:
            if (box := known["boxes"].get(claim["id"])) is None:
                continue
            text = " ".join([claim["id"], claim["says"], claim.get("correct", ""),
                             claim.get("says_ko", "")]).lower()
            says = f'<q>{escape(claim["says"])}</q>'
            if "says_ko" in claim:
                says += f'<br><q lang="ko">{escape(claim["says_ko"])}</q>'
            true = escape(what_is_true(claim))
            rows.append(
                f'<tr class="entry" data-verdict="{claim["verdict"]}" '
                f'data-measured="{int(box["counted"])}" '
                f'data-text="{escape(text)}">'
                f'<td class="verdict-{claim["verdict"]}">{label(claim["verdict"])}</td>'
                f'<td>{says}</td><td>{true}'
                + (f"<details><summary>{'measured' if box['counted'] else 'source'}"
                   f"</summary>{box['measured']}</details>"
                   if box["counted"] or box["measured"] and "correct" in claim else "")
                + f'</td><td><a href="{box["url"]}">{claim["id"]}</a>'
                f'<br>{cite(claim, box)} · {contest(claim, box)}</td></tr>')
    head = "".join(f"<th>{name}</th>" for name in
                   ("Verdict", "What is said", "What is true", "Claim"))
    return (f'<div class="byhand-list" data-noun="claims">{FILTER}'
            f'<table class="sortable byhand-claims"><thead><tr>{head}</tr></thead>'
            f'<tbody>{"".join(rows)}</tbody></table></div>')


def cite(claim, box):
    """A BibTeX entry of one claim, folded."""
    from byhand import __version__ as version

    key = re.sub(r"\W", "", claim["id"].title())
    entry = (f"@misc{{byhand{key},\n  title = {{Claim {claim['id']}: "
             f"{label(claim['verdict'])}}},\n  howpublished = {{Deep Learning by Hand, "
             f"version {version}}},\n  url = {{{known_url(box['url'])}}}\n}}")
    return (f'<details class="cite"><summary>cite</summary><pre tabindex="0">'
            f"{escape(entry)}</pre></details>")


def known_url(url):
    return SITE + url


def contest(claim, box):
    """A link that opens an issue on one claim."""
    from urllib.parse import urlencode

    query = urlencode({
        "title": f"Claim {claim['id']} ({label(claim['verdict'])})",
        "body": f"{known_url(box['url'])}\n\nWhat I found, on what data, with which "
                "code and seeds:\n"})
    return f'<a href="{REPOSITORY}/issues/new?{escape(query)}">contest</a>'


def too_old(torch):
    """What to say of a record that was made with a PyTorch the library doesn't take."""
    project = tomllib.loads(
        (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))
    asked, = (one for one in map(Requirement, project["project"]["dependencies"])
              if one.name == "torch")
    return "" if torch in asked.specifier else (
        f" (an installation would ask for {escape(str(asked.specifier))})")


def agreement(known, **_):
    """For every group of checks the largest error on each device with a record."""
    records = known["records"]
    names = list(records)
    groups = sorted({group for record in records.values()
                     for group in record["checks"]})
    about = "".join(
        f"<li>{escape(record['run']['gpu'] or 'a CPU')}: NumPy "
        f"{escape(record['run']['numpy'])}, PyTorch {escape(record['run']['torch'])}"
        f"{too_old(record['run']['torch'])}, "
        f"Python {escape(record['run']['python'])}, {record['run']['date']}, commit "
        f"{record['run']['commit']}</li>" for record in records.values())
    head = "<th>What is checked</th><th>Configurations</th>" + "".join(
        f"<th>{escape(records[name]['run']['gpu'] or 'CPU')}, {dtype}</th>"
        for name in names for dtype in ("float64", "float32"))
    rows = ""
    for group in groups:
        cells = "".join(worst(records[name], group, dtype)
                        for name in names for dtype in ("float64", "float32"))
        count = max(len(record["checks"].get(group, {})) for record in records.values())
        where = known["groups"].get(group)
        title = f'<a href="{where}">{group}</a>' if where else group
        rows += (f'<tr class="entry" data-text="{group}"><th scope="row">{title}</th>'
                 f"<td>{count}</td>{cells}</tr>")
    return (f"<ul>{about}</ul>"
            '<div class="pst-scrollable-table-container">'
            f'<table class="sortable byhand-agreement"><thead><tr>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div>")


def everywhere(known, **_):
    """The runs under other kernels, threads and versions, and what is missing."""
    found = known["drift"]
    if not found["runs"]:
        return "<p>No such run is recorded yet.</p>"
    rows = "".join(one_run(run) for run in found["runs"])
    head = "".join(f'<th scope="col">{name}</th>' for name in (
        "Run", "Passed", "Failed", "Skipped", "Python", "NumPy", "SciPy",
        "scikit-learn", "PyTorch", "Kernels of NumPy, PyTorch", "Threads", "Date",
        "Commit"))
    missing = "".join(f"<li>{escape(one['name'])}: {escape(one['why'])}</li>"
                      for one in found["missing"])
    table = ('<div class="pst-scrollable-table-container">'
             f'<table class="sortable byhand-drift"><thead><tr>{head}</tr></thead>'
             f"<tbody>{rows}</tbody></table></div>")
    return table + (f"<p>Not run, or not to be had:</p><ul>{missing}"
                    "</ul>" if missing else "")


def one_run(run):
    """A row of it; what failed is folded into its cell."""
    kernels = f"{', '.join(run['openblas'] or []) or '–'}; {run['aten'] or '–'}"
    failed = str(run["failed"]) if run["failed"] or run["ok"] else "did not end"
    if run["failures"]:
        names = "".join(f"<li>{escape(name)}</li>" for name in run["failures"])
        failed = f"<details><summary>{failed}</summary><ul>{names}</ul></details>"
    cells = [run["passed"], failed, run["skipped"]]
    cells += [escape(run[name] or "–") for name in ("python", "numpy", "scipy",
                                                    "sklearn", "torch")]
    cells += [escape(kernels), run["threads"] or "–", run["date"], run["commit"]]
    return (f'<tr><th scope="row">{escape(run["name"])}</th>'
            + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")


def exercises(known, **_):
    """What the lectures ask, without the folded cells that answer it."""
    return "".join(f'<section><h2><a href="{page}#exercises">'
                   f"{escape(known['titles'][page.removesuffix('.html')])}</a></h2>"
                   f"{text}</section>" for page, text in known["exercises"])


def lectures(known):
    """The chapters that have questions, in reading order."""
    return [name for name in known["chapters"]
            if f"questions/{name}" in known["titles"]]


def drawn_map(known, **_):
    return chapter_map.drawn(known["titles"],
                             chapter_map.needs(ROOT, lectures(known)))


def handouts(known, **_):
    """The sheet and the slides of each lecture."""
    rows = "".join(
        f'<li><a href="{name}.html">{escape(known["titles"][name])}</a>: '
        f'<a href="sheets/{name}.html">cheat sheet</a>, '
        f'<a href="slides/{name}.html">slides</a></li>'
        for name in lectures(known))
    return f'<ul class="byhand-handouts">{rows}</ul>'


def worst(record, group, dtype):
    """A cell: the error of a group that comes nearest to its limit, and the limit."""
    rows = [row for configuration in record["checks"].get(group, {}).values()
            for key, row in configuration.items() if key == dtype]
    if not rows:
        absent = "no record" if group not in record["checks"] else "–"
        return f'<td data-sort="">{absent}</td>'
    row = max(rows, key=lambda row: (
        float("inf") if row["error"] is None else row["error"] / (row["limit"] or 1)))
    error = "differs" if row["error"] is None else f"{row['error']:.1e}"
    return (f'<td data-sort="{row["error"]}">{error} '
            f"<small>of {row['limit']:.0e}</small></td>")


EXAM = (
    '<div id="byhand-exam"><p>The exam runs in your browser and needs JavaScript, of '
    '2022 or later. Without it, <a href="all-questions.html">all questions</a> with '
    'their answers can be read.</p><p lang="ko">모의 면접에는 자바스크립트가 '
    '필요합니다(2022년 이후 브라우저). 없어도 <a '
    'href="all-questions.html">모든 질문</a>과 답은 읽을 수 있습니다.</p></div>'
    + "".join(f'<script src="{name}"></script>' for name in (
        "fsrs/index.umd.js", "_static/cards.js", "_static/exam.js")))


def cards(known):
    """What the exam asks: every question that has an answer, every claim with a box."""
    asked, judged = [], []
    for question in known["catalogue"]:
        answer = known["answers"].get(question["question_en"])
        if answer is None:
            continue
        own = {"chapter": question["chapter"]}
        asked.append(own | {
            "id": question["id"], "en": question["question_en"],
            "ko": question["question_ko"], "minute": answer["en"],
            "minute_ko": answer["ko"], "points": question.get("points", []),
            "next": question.get("next", []), "url": answer["url"],
            "verdicts": [claim["verdict"] for claim in question["claims"]],
        } | {name: question[name] for name in ("points_ko", "next_ko")
             if name in question})
        for claim in question["claims"]:
            if (box := known["boxes"].get(claim["id"])) is not None:
                judged.append(own | box | {"verdicts": [claim["verdict"]]} | {
                    name: claim[name] for name in
                    ("id", "verdict", "says", "says_ko", "correct", "correct_ko",
                     "boundary")
                    if name in claim})
    present = {card["chapter"] for card in asked}
    return {"chapters": [{"id": chapter, "title": known["titles"][chapter],
                          "ko": known["korean"].get(chapter, known["titles"][chapter])}
                         for chapter in known["chapters"] if chapter in present],
            "questions": asked, "claims": judged, "words": exam_words()}


def exam_words():
    """The words of the exam's page by language."""
    words = load("korean.yml")
    english = {key: pair[0] for key, pair in words["exam"].items()}
    korean = {key: pair[1] for key, pair in words["exam"].items()}
    return {"en": english | {verdict: label(verdict) for verdict in words["verdicts"]},
            "ko": korean | words["verdicts"]}


# the cover shows one claim at work: its slider, then what was measured
COVER = ("perceptron.html", "perceptron.5")


def cover(known, **_):
    return known["cover"]


def first_slider(root, page):
    """The slider that opens a page."""
    found = root.xpath('.//div[contains(@class, "byhand-explore")]')
    return moved(found[0], page, ids=True)


LISTS = {"cover": cover, "exam": lambda known: EXAM, "questions": questions,
         "claims": claims, "agreement": agreement, "drift": everywhere,
         "verdicts": verdicts, "replication": often.frequencies, "cost": often.cost,
         "exercises": exercises, "handouts": handouts, "map": drawn_map,
         "speed": timing.speed, "growth": timing.growth,
         "notebooks": timing.notebooks}


# ---- putting it together


def collect(outdir, names, order):
    """Everything that the lists need, read from the pages of these names."""
    korean = load("korean.yml")
    known = {"catalogue": load("questions.yml")["questions"], "records": stored(),
             "replication": replication(), "elsewhere": elsewhere(), "drift": drift(),
             "speed": timing.load("speed"), "notebooks": timing.load("notebooks"),
             "boxes": {}, "answers": {}, "titles": {}, "groups": {}, "search": [],
             "exercises": [], "chapters": order,
             "workers": workers(), "korean": korean["chapters"],
             "verdicts": korean["verdicts"]}
    for name in names:
        page = f"{name}.html"
        if (root := article(Path(outdir, page))) is None:
            continue
        known["boxes"] |= boxes(page, root)
        if page == COVER[0]:
            box = root.xpath(f'.//*[@id="claim-{COVER[1]}"]')[0]
            known["cover"] = first_slider(root, page) + moved(box, page, ids=True)
        for box in root.xpath('.//details[@data-group]'):
            inside = next(box.iterancestors("section"), None)
            anchor = f"#{inside.get('id')}" if inside is not None else ""
            known["groups"][box.get("data-group")] = page + anchor
        title = ""
        for section in sections(page, root):
            if section["level"] == 1:
                title = section["title"]
                known["titles"].setdefault(name, title)
            if section["node"].get("id") == "exercises":
                known["exercises"].append((page, "".join(
                    moved(part, page) for part in section["node"]
                    if part.tag in ("p", "ul", "ol", "div")
                    and "cell" not in part.get("class", "").split())))
            question = name.startswith("questions/") and section["level"] == 2
            if question:
                english, korean = minute(section["node"])
                known["answers"][section["title"]] = {
                    "en": "".join(moved(p, page) for p in english),
                    "ko": "".join(moved(p, page) for p in korean),
                    "url": section["url"]}
            text = words(section["node"]).removeprefix(section["title"]).strip()
            text = text.removeprefix(section["ko"]).strip()
            known["search"].append({
                "u": section["url"], "p": title, "t": section["title"],
                "k": section["ko"], "q": int(question),
                "x": text.removeprefix("In one minute. ")})
    return known


def finish(app, exception):
    """Fill the lists in, and write what the search and others read."""
    if exception or app.builder.format != "html":
        return
    names = [name.removeprefix("book/") for name in app.env.found_docs]
    ordered = [name.removeprefix("book/") for name in reading_order(app.env)]
    known = collect(app.outdir, ordered, [n for n in ordered if "/" not in n])
    known["app"] = app
    for name in names:
        path = Path(app.outdir, f"{name}.html")
        text = path.read_text(encoding="utf-8")
        if PLACE.search(text):
            path.write_text(PLACE.sub(lambda match: LISTS[match.group(1)](known), text),
                            encoding="utf-8")
    static = Path(app.outdir, "_static")
    data = {"sections": known["search"], "aliases": load("search.yml")}
    write_script(static / "sections.js", "BYHAND_SEARCH", data)
    write_script(static / "cards.js", "BYHAND_CARDS", cards(known))
    places = "".join(f"<url><loc>{known_url(name)}.html</loc></url>"
                     for name in ordered)
    Path(app.outdir, "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org'
        f'/schemas/sitemap/0.9">{places}</urlset>\n', encoding="utf-8")
    seeds = known["replication"]["claims"]
    register = [claim | {"question": question["id"], "chapter": question["chapter"],
                         "url": known_url(known["boxes"][claim["id"]]["url"])}
                | ({"replication": seeds[claim["id"]]} if claim["id"] in seeds else {})
                for question in known["catalogue"] for claim in question["claims"]
                if claim["id"] in known["boxes"]]
    Path(app.outdir, "claims.json").write_text(
        json.dumps(register, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def write_script(path, name, data):
    """Data as a script, which a page may load from a folder, too."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    path.write_text(f"window.{name} = {text};\n", encoding="utf-8")


def reading_order(env):
    """The pages as the table of contents has them."""
    found, todo = [], [env.config.root_doc]
    while todo:
        name = todo.pop(0)
        if name not in found:
            found.append(name)
            todo = env.toctree_includes.get(name, []) + todo
    return found


def no_other_search(app):
    """Sphinx' own index is not made: this one replaces it."""
    if app.builder.format == "html":
        app.builder.search = False
        app.config.html_additional_pages = {"search": "search.html"}


def setup(app):
    app.connect("builder-inited", no_other_search)
    app.connect("build-finished", finish, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
