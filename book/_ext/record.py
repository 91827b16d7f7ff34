"""The record of a device: what every check and every claim measured there.

    python book/_ext/record.py lines.jsonl book/record   # what `make record` calls

collects the lines that the notebooks appended to BYHAND_RECORD into one file,
book/record/<device>.json. The site adds it to its pages when it is built: each group of
checks gets its worst errors on every device that has a record. So no stored output
depends on a machine.
"""

import json
import re
import shutil
import subprocess
import sys
from datetime import date
from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "record"
BOX = re.compile(
    r'(<details class="byhand-check" data-group="([^"]+)">.*?)(</details>)', re.DOTALL)


def read(path):
    """The entries of a file with a JSON object a line; ValueError names a bad line."""
    entries = []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(json.loads(line))
        except ValueError as problem:
            raise ValueError(f"{path}, line {number}: {problem}") from None
    return entries


def worst(rows):
    """{"float64": {"error", "limit", "of"}, …}: for each dtype and method the row whose
    error comes nearest to its limit; a failed one first.
    """
    found = {}
    for row in rows:
        key = f"{row['dtype']} {row['method']}".strip()
        error = float("inf") if row["error"] is None else row["error"]
        share = error / row["limit"] if row["limit"] else float(error > 0)
        rank = (not row["agrees"], share)
        if key not in found or rank > found[key][0]:
            found[key] = rank, {"error": row["error"], "limit": row["limit"],
                                "of": row["quantity"], "agrees": row["agrees"]}
    return {key: found[key][1] for key in sorted(found)}


def collect(entries):
    """One record of the entries of one device: versions, checks by group and
    configuration, claims by id. ValueError if there are none, or of two kinds of run.
    """
    runs = {json.dumps(entry, sort_keys=True) for entry in entries
            if entry["kind"] == "run"}
    if len(runs) != 1:
        raise ValueError(f"expected the lines of one kind of run, got {sorted(runs)}")
    run = json.loads(runs.pop())
    groups, claims = {}, {}
    for entry in entries:
        if entry["kind"] == "check":
            group = groups.setdefault(entry["group"], {})
            group.setdefault(entry["configuration"], []).append(entry)
        elif entry["kind"] == "claim":
            claims[entry["id"]] = {name: value for name, value in entry.items()
                                   if name not in ("kind", "id")}
    checks = {name: {configuration: worst(rows)
                     for configuration, rows in group.items()}
              for name, group in sorted(groups.items())}
    return {"run": {name: value for name, value in run.items() if name != "kind"},
            "checks": checks, "claims": dict(sorted(claims.items()))}


def slug(record):
    """The name of a record's file: "cpu", or the GPU's name."""
    name = record["run"]["gpu"] or "cpu"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def stored(folder=FOLDER):
    """{name: record} of the files in the folder."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(Path(folder).glob("*.json"))}


# --- on the site ---


def sentence(record, group):
    """A line of HTML on one group of checks; "" if the record lacks it."""
    rows = [row for configuration in record["checks"].get(group, {}).values()
            for row in configuration.items()]
    if not rows:
        return ""
    largest = {}
    for key, row in rows:
        if row["error"] is not None:
            largest[key] = max(row["error"], largest.get(key, 0.0))
    errors = ", ".join(f"{key} {value:.1e}" for key, value in sorted(largest.items()))
    run = record["run"]
    device = escape(run["gpu"] or "a CPU")
    return (f'<p class="byhand-record">Largest error on {device}: {escape(errors)} ('
            f'NumPy {escape(run["numpy"])}, PyTorch '
            f'{escape(run["torch"])}, {escape(run["date"])}).</p>')


def add_records(app, pagename, templatename, context, doctree):
    """Put the records of every device into the groups of checks of a page."""
    def complete(match):
        lines = [sentence(record, match.group(2)) for record in app.byhand_records]
        return match.group(1) + "".join(lines) + match.group(3)

    if "byhand-check" in (body := context.get("body") or ""):
        context["body"] = BOX.sub(complete, body)


def setup(app):
    app.byhand_records = list(stored().values())
    app.connect("html-page-context", add_records)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def driver():
    """The version of the GPU's driver, None without nvidia-smi."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def main(lines, folder):
    record = collect(read(lines))
    root = Path(__file__).resolve().parents[2]
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=root,
                            capture_output=True, text=True).stdout.strip()
    record["run"] |= {"driver": driver(), "date": date.today().isoformat(),
                      "commit": commit}
    path = Path(folder) / f"{slug(record)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n",
                    encoding="utf-8")
    failed = [f"{group}: {configuration}" for group, found in record["checks"].items()
              for configuration, rows in found.items()
              if not all(row["agrees"] for row in rows.values())]
    print(f"{path}: {len(record['checks'])} groups of checks, "
          f"{len(record['claims'])} claims" + "".join(f"\nFAILED {f}" for f in failed))


if __name__ == "__main__":
    main(*sys.argv[1:])
