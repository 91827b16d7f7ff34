"""The record: collected from lines that many processes wrote, complete, and shown."""

import collections
import json
import re
import subprocess
import sys

import nbformat
import pytest


@pytest.fixture(scope="module")
def record(script):
    return script("book/_ext/record.py")


def groups(path):
    """The names of the groups of checks that a notebook shows, in their order."""
    for cell in nbformat.read(path, as_version=nbformat.NO_CONVERT).cells:
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html", "")
            yield from re.findall(r'<details class="byhand-check" data-group="([^"]+)"',
                                  html)


RUN = {"kind": "run", "python": "3.11", "numpy": "2", "torch": "2", "machine": "x",
       "gpu": None}
ROW = {"kind": "check", "group": "linear", "configuration": "bias", "dtype": "float64",
       "method": "", "quantity": "output", "error": 1e-16, "limit": 1e-12,
       "agrees": True}


def test_groups_have_names_of_their_own(paths):
    counts = collections.Counter(name for path in paths for name in groups(path))
    assert max(counts.values()) == 1, counts.most_common(3)


def test_every_group_has_a_cpu_record_and_every_record_a_group(paths, record):
    named = {name for path in paths for name in groups(path)}
    assert named == record.stored()["cpu"]["checks"].keys(), "make record"


def test_the_cpu_record_holds_no_failure(record):
    for group, configurations in record.stored()["cpu"]["checks"].items():
        for name, rows in configurations.items():
            assert all(row["agrees"] for row in rows.values()), (group, name)


def test_every_measured_claim_has_a_cpu_record(record, catalogue, toc):
    chapters = {page.split("/")[-1] for page in toc}
    known = {claim["id"] for question in catalogue if question["chapter"] in chapters
             for claim in question["claims"]}
    assert record.stored()["cpu"]["claims"].keys() == known, "make record"


def test_the_cpu_record_says_what_the_notebooks_say(record, paths):
    """A notebook that is run again may measure something else."""
    lines = {line.removeprefix("Control: ") for path in paths
             for cell in nbformat.read(path, 4).cells
             for output in cell.get("outputs", [])
             for line in output.get("data", {}).get("text/plain", "").splitlines()}
    other = [(claim, name) for claim, row in record.stored()["cpu"]["claims"].items()
             for name, found in row["found"].items() if not lines.intersection(
                 f"{name or 'As said'}: {word}: {found['said']}"
                 for word in ("yes", "no", "undecided"))]
    assert other == [], "make record"


def test_the_worst_is_kept_and_a_failure_before_it(record):
    rows = [ROW, ROW | {"error": 1e-13, "quantity": "input.grad"}]
    assert record.worst(rows)["float64"]["of"] == "input.grad"
    rows.append(ROW | {"error": 1e-15, "agrees": False, "quantity": "bias.grad"})
    assert record.worst(rows)["float64"]["of"] == "bias.grad"
    rows.append(ROW | {"error": None, "agrees": False, "quantity": "shape"})
    assert record.worst(rows)["float64"]["of"] == "shape"


def test_two_kinds_of_run_are_not_mixed(record):
    assert record.collect([RUN, RUN, ROW])["checks"]["linear"]["bias"]
    with pytest.raises(ValueError, match="one kind of run"):
        record.collect([RUN, RUN | {"gpu": "a GPU"}, ROW])
    with pytest.raises(ValueError, match="one kind of run"):
        record.collect([ROW])


def test_a_bad_line_is_named(record, tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text(json.dumps(RUN) + "\n" + json.dumps(ROW)[:20] + "\n")
    with pytest.raises(ValueError, match="line 2"):
        record.read(path)


def test_many_processes_write_one_file(record, tmp_path, root):
    """Four processes, 200 long lines each, at the same time: every line is whole."""
    path = tmp_path / "lines.jsonl"
    code = ("import sys\nfrom byhand.checks import write_record\n"
            "for i in range(200):\n"
            "    write_record(kind='check', who=sys.argv[1], i=i, text='x' * 20_000)\n")
    env = {"BYHAND_RECORD": str(path), "PYTHONPATH": str(root), "PATH": ""}
    running = [subprocess.Popen([sys.executable, "-c", code, str(who)], env=env)
               for who in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    entries = record.read(path)
    seen = collections.Counter(e["who"] for e in entries if e["kind"] == "check")
    assert seen == {str(who): 200 for who in range(4)}
    assert {len(e["text"]) for e in entries if e["kind"] == "check"} == {20_000}


def test_a_page_shows_what_was_recorded(record):
    class App:
        byhand_records = [{"run": RUN | {"date": "2026-01-01"}, "checks": {
            "linear": {"bias": {"float64": {"error": 2e-16, "limit": 1e-12}}}}}]

    box = '<details class="byhand-check" data-group="{}"><summary>s</summary></details>'
    context = {"body": box.format("linear") + box.format("other")}
    record.add_records(App, "page", "", context, None)
    assert context["body"].count("byhand-record") == 1
    assert "float64 2.0e-16" in context["body"].split('data-group="other"')[0]


ENTRY = {"notebook": "x", "held": 27, "contradicted": 1, "undecided": 2, "n": 30,
         "not_reached": 0, "low": 0.7438, "high": 0.9654, "situations": {}}


def test_a_claim_says_how_often_it_held(record):
    """After what is said, before the numbers; only where a record knows the claim."""
    class App:
        byhand_replication = {"claims": {"x.1": ENTRY, "x.3": ENTRY | {
            "n": 0, "not_reached": 4}}}

    box = ('<div class="byhand-claim verdict-holds" id="claim-{}"><p class="byhand-'
           'title">Claim</p><p class="byhand-correct">So.</p><dl></dl></div>')
    context = {"body": "".join(map(box.format, ("x.1", "x.2", "x.3")))}
    record.add_frequencies(App, "book/questions/x", "", context, None)
    first, second, third = context["body"].split("</div>")[:3]
    assert '>So.</p><p class="byhand-often"><a href="../replication.html">' in first
    assert ("Other seeds: held in 27 of 30 seeds (0.74–0.97), contradicted in 1, "
            "undecided in 2<") in first and "not reached" not in first
    assert "byhand-often" not in second
    assert "Other seeds: not reached in 4 seeds<" in third


@pytest.fixture(scope="module")
def often(root, script):
    pytest.importorskip("sphinxcontrib.katex", reason="it is a part of the website")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root / "book" / "_ext")
        return script("book/_ext/often.py")


RUNS = {"seeds": "1-30", "failed": 1, "stopped": 0, "seconds": 20.0, "megabytes": 500,
        "grid_ends": "", "failures": []}
KNOWN = {
    "catalogue": [{"claims": [{"id": f"x.{i}", "says": "So.", "verdict": "holds"}
                              for i in (1, 2)]}],
    "boxes": {f"x.{i}": {"url": f"x.html#claim-x.{i}"} for i in (1, 2)},
    "verdicts": {"holds": "성립"}, "titles": {"x": "The x"}, "workers": None,
    "replication": {
        "claims": {"x.1": ENTRY | {"held": 30, "contradicted": 0, "undecided": 0},
                   "x.2": ENTRY | {"contradicted": 0, "undecided": 2, "n": 29,
                                   "not_reached": 1}},
        "notebooks": {"x": RUNS, "y": RUNS | {"seconds": 52.0}},
        "run": {"device": "cpu", "gpu": [None], "sizes": "stored", "versions": [],
                "dates": []}},
    "elsewhere": {}}


def test_the_page_adds_up_how_often_claims_held(often):
    """In words and numbers, in both languages; what holds least comes first."""
    page = often.frequencies(KNOWN)
    assert ("2 claims of 2 notebooks, with up to 30 seeds each, came out 59 times: 57 "
            "held (96.6 %), 0 contradicted, 2 undecided; 1 times they were not "
            "reached. 1 of the claims held with every seed.") in page
    assert ("모두 59번 판정했다. 성립 57번(96.6 %), 반대로 나옴 0번, 미결 2번. "
            "측정에 이르지 못한 것은 1번이다.") in page
    assert page.index("#claim-x.2") < page.index("#claim-x.1")
    assert "27&nbsp;/&nbsp;29" in page and "30&nbsp;/&nbsp;30" in page
    assert "No run with many seeds" in often.frequencies(
        KNOWN | {"replication": {"claims": {}, "notebooks": {}}})


def test_other_devices_are_added_up_apart(often):
    there = {"claims": {"x.1": ENTRY | {"held": 2, "contradicted": 0, "undecided": 0,
                                        "n": 2, "not_reached": 0}},
             "notebooks": {"x": RUNS}, "run": KNOWN["replication"]["run"] | {
                 "device": "cuda", "gpu": [None, "A card"]}}
    page = often.frequencies(KNOWN | {"elsewhere": {"cuda-stored": there}})
    assert "1 claims of 1 notebooks, with up to 2 seeds each, came out 2 times" in page
    assert "<p>A card, stored sizes; " in page and "came out 59 times" in page


def test_the_page_says_what_a_thousand_seeds_would_take(often):
    """72 s a seed are 20 hours for a thousand."""
    page = often.cost(KNOWN)
    assert "2 notebooks with one seed: 72 seconds" in page
    assert "on paper, 20.0 hours.</p>" in page and '<a href="x.html">The x</a>' in page
    found = {"runs": 12, "cores": 2, "cpu": "a processor", "date": "2026-01-02",
             "seconds": {"1": 100.0, "2": 62.5}}
    assert ("12 runs took 100 seconds with one worker and 62 with two (a processor, 2 "
            "cores, 2026-01-02): an efficiency of 0.80. At that, two workers would "
            "take 12.5 hours.") in often.cost(KNOWN | {"workers": found})


def test_the_many_seeds_are_no_device(record, tmp_path):
    assert record.replication(tmp_path)["claims"] == {}
    (tmp_path / "replication.json").write_text('{"claims": {"x.1": {}}}')
    (tmp_path / "cpu.json").write_text("{}")
    assert list(record.stored(tmp_path)) == ["cpu"]
    assert record.replication(tmp_path)["claims"] == {"x.1": {}}
    (tmp_path / "replication").mkdir()
    (tmp_path / "replication" / "cuda-stored.json").write_text('{"claims": {}}')
    assert record.elsewhere(tmp_path) == {"cuda-stored": {"claims": {}}}


def test_a_record_of_an_old_version_says_so(script, root, monkeypatch):
    pytest.importorskip("lxml", reason="it is a part of the website")
    monkeypatch.syspath_prepend(str(root / "book" / "_ext"))  # its neighbours
    register = script("book/_ext/register.py")
    assert "&gt;=2.12" in register.too_old("2.11.0+cu130")
    assert register.too_old("2.12.0") == register.too_old("2.13.0+cpu") == ""


def test_what_holds_within_limits_is_not_said_to_hold_as_it_is_said(script, root,
                                                                    monkeypatch):
    pytest.importorskip("lxml", reason="it is a part of the website")
    monkeypatch.syspath_prepend(str(root / "book" / "_ext"))
    said = script("book/_ext/register.py").what_is_true
    assert said({}) == "It holds as it is said."
    assert said({"boundary": "For n = 1."}) == "It holds. Limit or source: For n = 1."
    assert said({"boundary": "For n = 1.", "correct": "Half."}) == "Half."
