"""A record of what every notebook takes, from the notes that `make test` leaves:

    python book/_ext/usage.py _build/usage book/record/notebooks.json

`make record` calls it, and so do the tests in CI, from where the site takes what its
page "How fast it is" shows. tests/usage.py writes the notes.
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


def note(notes, kind, name):
    """What was noted of a run, {} if nothing was."""
    path = Path(notes, kind, f"{name}.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def collect(notes, names):
    """{name: {"seconds", "wall", "peak", "variant"}}: CPU seconds, seconds on the clock
    and bytes at most of the stored run, and the CPU seconds of the run with another
    seed; None for what was not noted.
    """
    return {name: {"seconds": None, "wall": None, "peak": None}
            | note(notes, "stored", name)
            | {"variant": note(notes, "variant", name).get("seconds")}
            for name in names}


def main(notes, target):
    found = collect(notes, notebooks())
    record = {"run": machine() | moment(), "notebooks": found}
    text = json.dumps(record, indent=1, ensure_ascii=False)
    Path(target).write_text(text + "\n", encoding="utf-8")
    known = [one["seconds"] for one in found.values() if one["seconds"] is not None]
    print(f"{target}: {len(known)} of {len(found)} notebooks, {sum(known):.0f} CPU "
          "seconds" + "".join(f"\nno run of {name}: make test" for name in found
                             if found[name]["seconds"] is None))


if __name__ == "__main__":
    main(*sys.argv[1:])
