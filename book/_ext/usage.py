"""A record of what every notebook takes, from the notes that `make test` leaves:

    python book/_ext/usage.py _build/usage book/record/notebooks.json

`make record` calls it, and the workflow that publishes the site, so that the page "How
fast it is" shows the run that was tested there. tests/usage.py writes the notes.
"""

import json
import sys
from pathlib import Path

from record import machine, moment

BOOK = Path(__file__).resolve().parents[1]


def notebooks(book=BOOK):
    """The names of all notebooks, as notes and pages have them: "questions/losses"."""
    paths = [*book.glob("*.ipynb"), *book.glob("questions/*.ipynb")]
    return sorted(path.relative_to(book).with_suffix("").as_posix() for path in paths)


def collect(notes, names):
    """{name: {"seconds", "peak", "variant"}}: the CPU seconds of the stored run and the
    bytes that it took at most, and the CPU seconds of the run with another seed, None
    if there was none. FileNotFoundError names the notebooks without a stored run.
    """
    stored, variant = ({name: json.loads(path.read_text(encoding="utf-8"))
                        for name in names
                        if (path := Path(notes, kind, f"{name}.json")).is_file()}
                       for kind in ("stored", "variant"))
    if absent := [name for name in names if name not in stored]:
        raise FileNotFoundError(f"{notes} has no run of {', '.join(absent)}: make test")
    return {name: stored[name] | {"variant": variant.get(name, {}).get("seconds")}
            for name in names}


def main(notes, target):
    record = {"run": machine() | moment(), "notebooks": collect(notes, notebooks())}
    text = json.dumps(record, indent=1, ensure_ascii=False)
    Path(target).write_text(text + "\n", encoding="utf-8")
    total = sum(one["seconds"] for one in record["notebooks"].values())
    print(f"{target}: {len(record['notebooks'])} notebooks, {total:.0f} CPU seconds")


if __name__ == "__main__":
    main(*sys.argv[1:])
