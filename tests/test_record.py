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


def test_the_many_seeds_are_no_device(record, tmp_path):
    assert record.replication(tmp_path)["claims"] == {}
    (tmp_path / "replication.json").write_text('{"claims": {"x.1": {}}}')
    (tmp_path / "cpu.json").write_text("{}")
    assert list(record.stored(tmp_path)) == ["cpu"]
    assert record.replication(tmp_path)["claims"] == {"x.1": {}}
