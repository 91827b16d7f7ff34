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
            found[name] |= {"median": float(f"{middle:.4g}"),
                            "quartiles": [float(f"{low:.4g}"), float(f"{high:.4g}")]}
    return found


def count(id, results):
    """What became of one claim in the runs of its notebook, {seed: result}. The
    interval is Wilson's at 95 %, of the share that held among those that were reached.
    """
    reached = {seed: result["claims"][id] for seed, result in results.items()
               if id in result["claims"]}
    seeds = {outcome: [seed for seed, entry in reached.items()
                       if entry["outcome"] == outcome] for outcome in OUTCOMES}
    missed = [seed for seed in results if seed not in reached]
    numbers = {outcome: len(seeds[outcome]) for outcome in OUTCOMES}
    low = high = None
    if reached:
        interval = binomtest(numbers["held"], len(reached)).proportion_ci(
            method="wilson")
        low, high = round(float(interval.low), 4), round(float(interval.high), 4)
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


def merged(record, old, sources):
    """The record, and of notebooks that it lacks what an older one says, if these are
    still what they were.
    """
    kept = {name for name, entry in old.get("notebooks", {}).items()
            if name not in record["notebooks"] and sources.get(name) == entry["source"]}
    for name in kept:
        record["notebooks"][name] = old["notebooks"][name]
    record["claims"] |= {id: entry for id, entry in old.get("claims", {}).items()
                         if entry["notebook"] in kept}
    return {part: dict(sorted(record[part].items()))
            for part in ("run", "notebooks", "claims")}


def main(runs, arguments):
    """Write book/record/replication.json and say what is in it."""
    from byhand_replicate.replicate import read, write

    results, stale = {}, 0
    for one in runs:
        result = read(one.path)
        same = result and result["source"] == one.source and (
            arguments.trust_library or result["library"] == one.library)
        stale += bool(result) and not same
        if same:
            results.setdefault(one.name, {})[one.seed] = result
    path = arguments.book / "record" / "replication.json"
    sources = {notebook.name: notebooks.source_hash(notebook.read())
               for notebook in notebooks.find(arguments.book)}
    record = merged(collect(runs, results), read(path), sources)
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
