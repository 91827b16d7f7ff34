"""The runs that are there, counted: of each claim how often it held, was contradicted,
stayed undecided and was not reached, and how what was measured varies.
"""

import json
from collections import Counter

import nbformat
import numpy as np
from scipy.stats import binomtest

from byhand_replicate import notebooks

OUTCOMES = ("held", "contradicted", "undecided")
WORDS = {True: "yes", False: "no", None: "undecided"}


def numbers(text):
    """[1, 2, 3, 7] for "1-3,7"; ValueError for anything else."""
    found = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        found += range(int(first), int(last if dash else first) + 1)
    if not found:
        raise ValueError(f"no seed in {text!r}")
    return sorted(set(found))


def listed(seeds):
    """ "1-3, 7" for [1, 2, 3, 7]."""
    parts = []
    for seed in sorted(seeds):
        if parts and seed == parts[-1][1] + 1:
            parts[-1][1] = seed
        else:
            parts.append([seed, seed])
    return ", ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in parts)


def situations(entries):
    """{situation: how often yes, no, undecided, and the spread of the mean paired
    difference over the seeds, if it has one}; of controls the spread alone.
    """
    found = {}
    for name in dict.fromkeys(name for entry in entries for name in entry["found"]):
        own = [entry for entry in entries if name in entry["found"]]
        counts = Counter(WORDS[entry["holds"][name]] for entry in own
                         if name in entry["holds"])
        means = [entry["found"][name]["mean"] for entry in own
                 if entry["found"][name].get("mean") is not None]
        found[name] = {word: counts[word] for word in WORDS.values() if counts}
        if means:
            low, middle, high = np.quantile(means, [0.25, 0.5, 0.75])
            found[name] |= {"of": len(means), "median": float(f"{middle:.4g}"),
                            "quartiles": [float(f"{low:.4g}"), float(f"{high:.4g}")]}
    return found


def interval(held, n):
    """Wilson's at 95 %, of the share that held among n; (None, None) for none."""
    if not n:
        return None, None
    found = binomtest(held, n).proportion_ci(method="wilson")
    return round(float(found.low), 4), round(float(found.high), 4)


def count(id, results):
    """What became of one claim in the runs of its notebook, {seed: result}."""
    reached = {seed: result["claims"][id] for seed, result in results.items()
               if id in result["claims"]}
    seeds = {outcome: [seed for seed, entry in reached.items()
                       if entry["outcome"] == outcome] for outcome in OUTCOMES}
    missed = [seed for seed in results if seed not in reached]
    numbers = {outcome: len(seeds[outcome]) for outcome in OUTCOMES}
    low, high = interval(numbers["held"], len(reached))
    by_control = sum(bool(reached[seed]["failed_controls"])
                     for seed in seeds["contradicted"])
    return numbers | {
        "not_reached": len(missed), "n": len(reached), "low": low, "high": high,
        "by_control": by_control,
        "seeds": {name: listed(some) for name, some in
                  [*seeds.items(), ("not_reached", missed)] if some and name != "held"},
        "situations": situations(list(reached.values()))}


def failures(results):
    """What ended runs early: each error and cell once, with its seeds."""
    found = {}
    for seed, result in results.items():
        if error := result.get("error"):
            key = (result["status"], error["kind"], error["cell"])
            first = found.setdefault(key, {"status": result["status"], **error,
                                           "seeds": []})
            first["seeds"].append(seed)
    return [one | {"seeds": listed(one["seeds"])} for one in found.values()]


def of_notebook(results):
    """How the runs of a notebook ended, and what they took."""
    states = Counter(result["status"] for result in results.values())
    took = [result for result in results.values() if "seconds" in result]
    return {"seeds": listed(results), "done": states["done"],
            "failed": states["failed"], "stopped": states["stopped"],
            "seconds": float(np.median([r["seconds"] for r in took] or [0])),
            "megabytes": round(max([r["bytes"] for r in took] or [0]) / 2**20),
            "grid_ends": listed(seed for seed, result in results.items()
                                if result.get("grids")),
            "failures": failures(results)}


def collect(runs, results):
    """The record of {notebook: {seed: result}}; `runs` says which claims there are."""
    record = {"notebooks": {}, "claims": {}}
    texts = {one.name: (one.text, one.source) for one in runs}
    for name, found in results.items():
        text, source = texts[name]
        record["notebooks"][name] = {"source": source} | of_notebook(found)
        for id in notebooks.claims(nbformat.reads(text, as_version=4)):
            record["claims"][id] = {"notebook": name} | count(id, found)
    every = [result for found in results.values() for result in found.values()]
    dates = sorted({result["date"] for result in every if "date" in result})
    record["run"] = {
        name: sorted({json.dumps(result.get(name)) for result in every
                      if name in result}) for name in ("versions", "gpu", "commit")}
    record["run"] = {name: [json.loads(text) for text in texts]
                     for name, texts in record["run"].items()} | {
        "dates": [dates[0], dates[-1]] if dates else []}
    return record


def both(a, b):
    """Seeds of two texts in one; either may be ""."""
    return listed({seed for text in (a, b) if text for seed in numbers(text)})


def added_situation(a, b):
    """Two counts of one situation; the spread is that of more seeds, and says so."""
    wider = a if a.get("of", 0) >= b.get("of", 0) else b
    return {name: a.get(name, 0) + b.get(name, 0) for name in WORDS.values()
            if name in a or name in b} | {
        name: wider[name] for name in ("of", "median", "quartiles") if name in wider}


def added_claim(a, b):
    """The counts of one claim over the seeds of a and of b, which share none."""
    total = {name: a[name] + b[name]
             for name in (*OUTCOMES, "not_reached", "n", "by_control")}
    low, high = interval(total["held"], total["n"])
    names = dict.fromkeys([*a["situations"], *b["situations"]])
    return {"notebook": a["notebook"]} | total | {
        "low": low, "high": high,
        "seeds": {name: both(a["seeds"].get(name), b["seeds"].get(name))
                  for name in (*OUTCOMES, "not_reached")
                  if name in a["seeds"] or name in b["seeds"]},
        "situations": {name: added_situation(a["situations"].get(name, {}),
                                             b["situations"].get(name, {}))
                       for name in names}}


def added_notebook(a, b):
    """How the runs of one notebook ended; the seconds are those of the newer, b."""
    failures = {}
    for one in [*a["failures"], *b["failures"]]:
        key = one["status"], one["kind"], one["cell"]
        known = failures.setdefault(key, one | {"seeds": ""})
        known["seeds"] = both(known["seeds"], one["seeds"])
    return {"source": b["source"], "seeds": both(a["seeds"], b["seeds"])} | {
        name: a[name] + b[name] for name in ("done", "failed", "stopped")} | {
        "seconds": b["seconds"], "megabytes": max(a["megabytes"], b["megabytes"]),
        "grid_ends": both(a["grid_ends"], b["grid_ends"]),
        "failures": list(failures.values())}


def standing(old, sources):
    """What an older record says of notebooks that are still what they were."""
    kept = {name: entry for name, entry in old.get("notebooks", {}).items()
            if sources.get(name) == entry["source"]}
    return {"run": old.get("run", {}), "notebooks": kept, "claims": {
        id: entry for id, entry in old.get("claims", {}).items()
        if entry["notebook"] in kept}}


def merged(record, old):
    """The record of new seeds, added to an older one, as standing() gives it."""
    for part, added in (("notebooks", added_notebook), ("claims", added_claim)):
        new = record[part]
        record[part] = dict(sorted((old[part] | new | {
            name: added(old[part][name], new[name])
            for name in old[part].keys() & new.keys()}).items()))
    for name in ("versions", "gpu", "commit"):
        every = [*old["run"].get(name, []), *record["run"].get(name, [])]
        record["run"][name] = [one for i, one in enumerate(every)
                               if one not in every[:i]]
    dates = sorted([*old["run"].get("dates", []), *record["run"].get("dates", [])])
    record["run"]["dates"] = [dates[0], dates[-1]] if dates else []
    return {part: record[part] for part in ("run", "notebooks", "claims")}


def main(runs, arguments):
    """Add what is there to the record, and say what is in it. Seeds that it has stay as
    they are, unless their notebook has changed: so its runs may come from several
    machines. To count anew, delete it. Stored sizes on the CPU have
    book/record/replication.json, others a file in the folder replication beside it.
    """
    from byhand_replicate.replicate import read, write

    kind = f"{arguments.device}-{arguments.sizes}"
    path = arguments.book / "record" / (
        "replication.json" if kind == "cpu-stored" else f"replication/{kind}.json")
    sources = {notebook.name: notebooks.source_hash(notebook.read())
               for notebook in notebooks.find(arguments.book)}
    old = standing(read(path), sources)
    known = {name: numbers(entry["seeds"]) for name, entry in old["notebooks"].items()}
    results, stale = {}, 0
    for one in runs:
        result = read(one.path)
        same = result and result["source"] == one.source and (
            arguments.trust_library or result["library"] == one.library)
        stale += bool(result) and not same
        if same and one.seed not in known.get(one.name, []):
            results.setdefault(one.name, {})[one.seed] = result
    record = merged(collect(runs, results), old)
    record["run"] |= {"device": arguments.device, "sizes": arguments.sizes}
    write(path, record)
    for line in lines(record, stale):
        print(line)
    print(path)


def lines(record, stale):
    """What a reader of the record looks for first: what does not hold."""
    claims = record["claims"]
    totals = Counter()
    for entry in claims.values():
        totals.update({name: entry[name] for name in (*OUTCOMES, "not_reached")})
    yield (f"{len(claims)} claims of {len(record['notebooks'])} notebooks: "
           + ", ".join(f"{name.replace('_', ' ')} {totals[name]}" for name in totals))
    if stale:
        yield f"{stale} results are of another notebook or library: left out"
    worst = sorted(claims.items(), key=lambda item: -item[1]["contradicted"])
    for id, entry in worst:
        if entry["contradicted"] or entry["not_reached"] or not entry["n"]:
            control = f" ({entry['by_control']} by a control)" * bool(
                entry["by_control"])
            yield (f"  {id}: held {entry['held']} of {entry['n']}, contradicted "
                   f"{entry['contradicted']}{control}, undecided {entry['undecided']}, "
                   f"not reached {entry['not_reached']}")
    for name, entry in record["notebooks"].items():
        if entry["grid_ends"]:
            yield (f"  {name}: a best value at an end of its grid, seeds "
                   f"{entry['grid_ends']}")
        for one in entry["failures"]:
            yield (f"  {name}: {one['status']} in cell {one['cell']}, seeds "
                   f"{one['seeds']}: {one['kind']}: {one['message'].split(chr(10))[0]}")
