"""The record of a device: what every check and every claim measured there.

    python book/_ext/record.py lines.jsonl book/record   # what `make record` calls

collects the lines that the notebooks appended to BYHAND_RECORD into one file,
book/record/<device>.json. The site adds it to its pages when it is built: each group of
checks gets its worst errors on every device that has a record. So no stored output
depends on a machine.
"""

import json
import platform
import re
import shutil
import subprocess
import sys
from datetime import date
from html import escape
from importlib import metadata
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "record"
# files that are of no device
OTHERS = {"replication", "workers", "drift", "speed", "notebooks"}
CLAIM = re.compile(
    r'(<div class="byhand-claim [^>]*id="claim-([^"]+)">\s*'
    r'<p class="byhand-title">.*?</p>'
    r'(?:\s*<p class="byhand-(?:correct|said)">.*?</p>)*)', re.DOTALL)
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
    """{name: record} of the devices: the files in the folder but for OTHERS."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(Path(folder).glob("*.json"))
            if path.stem not in OTHERS}


def one(folder, name, empty):
    """The record in a file, or what stands for it where there is none."""
    path = Path(folder) / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else empty


def replication(folder=FOLDER):
    """What byhand-replicate --summary counted; without it, no claims and notebooks."""
    return one(folder, "replication.json", {"run": {}, "notebooks": {}, "claims": {}})


def elsewhere(folder=FOLDER):
    """The same of other devices and sizes, by their names."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((Path(folder) / "replication").glob("*.json"))}


def drift(folder=FOLDER):
    """What tests/drift.py saw under other kernels, threads and versions."""
    return one(folder, "drift.json", {"runs": [], "missing": []})


def workers(folder=FOLDER):
    """What benchmarks/workers.py measured, or None."""
    return one(folder, "workers.json", None)


# --- on the site ---


def swap(english, korean):
    """English, or in Korean mode the Korean instead; both are HTML."""
    return (f'<span class="say-en">{english}</span>'
            f'<span class="say-ko" lang="ko">{korean}</span>')


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


def frequency(entry):
    """(English, Korean) on how often a claim held; what did not is named apart."""
    if not entry["n"]:
        seeds = entry["not_reached"]
        return (f"not reached in {seeds} seeds",
                f"시드 {seeds}개에서 측정에 이르지 못함")
    interval = f"{entry['low']:.2f}–{entry['high']:.2f}"
    english = f"held in {entry['held']} of {entry['n']} seeds ({interval})"
    korean = f"시드 {entry['n']}개 중 {entry['held']}개에서 성립 ({interval})"
    for name, word in (("contradicted", "반대로 나옴"), ("undecided", "미결"),
                       ("not_reached", "측정에 이르지 못함")):
        if entry[name]:
            english += f", {name.replace('_', ' ')} in {entry[name]}"
            korean += f", {word} {entry[name]}개"
    return english, korean


def often(entry, root):
    """The line on it in a claim's box; root is the way to the site's, "" or "../"."""
    english, korean = frequency(entry)
    return (f'<p class="byhand-often"><a href="{root}replication.html">'
            + swap(f"Other seeds: {english}", f"다른 시드: {korean}") + "</a></p>")


def add_frequencies(app, pagename, templatename, context, doctree):
    """Say in each claim's box how often it held, where a record knows."""
    claims = app.byhand_replication["claims"]
    root = "../" * pagename.removeprefix("book/").count("/")

    def complete(match):
        entry = claims.get(match.group(2))
        return match.group(1) + (often(entry, root) if entry else "")

    if "byhand-claim" in (body := context.get("body") or ""):
        context["body"] = CLAIM.sub(complete, body)


def add_records(app, pagename, templatename, context, doctree):
    """Put the records of every device into the groups of checks of a page."""
    def complete(match):
        lines = [sentence(record, match.group(2)) for record in app.byhand_records]
        return match.group(1) + "".join(lines) + match.group(3)

    if "byhand-check" in (body := context.get("body") or ""):
        context["body"] = BOX.sub(complete, body)


def setup(app):
    app.byhand_records = list(stored().values())
    app.byhand_replication = replication()
    app.connect("html-page-context", add_records)
    app.connect("html-page-context", add_frequencies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def driver():
    """The version of the GPU's driver, None without nvidia-smi."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def moment():
    """The date and the commit of a record."""
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=FOLDER,
                          capture_output=True, text=True)
    return {"date": date.today().isoformat(), "commit": done.stdout.strip()}


def processor():
    """The name of the processor, as far as the system tells it."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or "unknown"


def machine():
    """What seconds depend on."""
    return {"cpu": processor(), "system": platform.system(),
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("numpy", "torch")}}


def main(lines, folder):
    record = collect(read(lines))
    record["run"] |= {"driver": driver()} | moment()
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
