"""What changed between two results folders."""
import math

import numpy

from . import Problem, stats, text, units
from .measures import ABOVE, PEAK, log_ratios, values
from .store import Folder, failure_of

# Many rows are compared at once, so each is judged more strictly than in one run's table:
# by chance alone about one row in a hundred is called changed.
LEVEL = 0.99


def logs_of(samples, column, measure):
    return [math.log(value) for value in values(samples, column, measure).values()]


def differences(old, new):
    """[(section, name, before, after)] of the environments, load and date left out."""
    found = []
    for section, facts in old.items():
        if isinstance(facts, dict):
            others = new.get(section, {})
            for name in facts | others:  # one side may be of before a fact was recorded
                value, other = facts.get(name), others.get(name)
                if other != value and name not in ("load at start", "commit"):
                    found.append((section, name, value, other))
    return found


# What a process did, or was kept to, beside its cell's name.
SETTINGS = {"scale": "--scale", "memory": "--memory, bytes", "rest": "--rest"}


def setting_changes(old, new):
    """Where the two runs did not do the same, so that a change may be of the work; said first."""
    found = [(shown, old[key], new[key]) for key, shown in SETTINGS.items() if key in old and key in new and old[key] != new[key]]
    return [f"NOT THE SAME WORK: {shown} {before} in A, {after} in B" for shown, before, after in found]


def compare_rows(old, new, a, b, rng):
    """One entry for each cell and allocator that both folders measured."""
    base = old["columns"][0]["name"]
    shared = [c["name"] for c in old["columns"] if not c["control_of"]
              and any(c["name"] == d["name"] for d in new["columns"])]
    rows, failures = [], []
    for cell in [cell for cell in old["cells"] if cell in new["cells"]]:
        before, after = a.samples(cell), b.samples(cell)
        for column in shared:
            bad = failure_of(before, column), failure_of(after, column)
            if any(bad):
                if bool(bad[0]) != bool(bad[1]):
                    failures.append(f"{cell} under {column}: before {bad[0] or 'ran'}, now {bad[1] or 'runs'}")
                continue
            pairs = {"speed": [log_ratios(samples, column, base) for samples in (before, after)]}
            # Bytes above the process's start, or of a program that has no such figure.
            for measure in (ABOVE, PEAK):
                pairs["memory"] = [logs_of(samples, column, measure) for samples in (before, after)]
                if all(pairs["memory"]):
                    break
            for what, pair in pairs.items():
                if all(pair) and not (what == "speed" and column == base):
                    rows.append((cell, column, what, pair, stats.change(*pair, rng, LEVEL)))
    return rows, failures


def shown(what, logs):
    value = math.exp(float(numpy.median(logs)))
    return units.times(value) if what == "speed" else units.size(value)


def compare_folders(options):
    a, b = Folder(options.a), Folder(options.b)
    old, new = a.read("run.json"), b.read("run.json")
    if old["columns"][0]["name"] != new["columns"][0]["name"]:
        raise Problem("the two folders take their ratios to different allocators: "
                      f"{old['columns'][0]['name']} and {new['columns'][0]['name']}")
    base = old["columns"][0]["name"]
    rows, failures = compare_rows(old, new, a, b, numpy.random.default_rng(old["seed"]))
    if not rows and not failures:
        raise Problem(f"{a.path} and {b.path} share no cell that both have measured")
    lines = [f"A = {a.path} ({old['started']}), B = {b.path} ({new['started']})",
             f"speed is relative to {base} in its own run; intervals at {LEVEL:.0%}", *setting_changes(old, new), ""]
    changed = [row for row in rows if row[4].verdict in ("above", "below")]
    if changed:
        head = ["cell", "allocator", "what", "A", "B", "B/A", "interval", ""]
        lines += text.table(head, [
            [cell, column, what, shown(what, pair[0]), shown(what, pair[1]),
             units.times(ratio.median), units.interval(ratio),
             "better" if (ratio.median > 1) == (what == "speed") else "WORSE"]
            for cell, column, what, pair, ratio in changed], left=3)
    else:
        lines.append("Nothing changed beyond noise.")
    few = sum(1 for row in rows if row[4].low is None)
    lines += ["", f"{len(changed)} of {len(rows) - few} comparisons changed beyond noise; "
              f"about {(len(rows) - few) * (1 - LEVEL):.1f} would by chance."]
    if few:
        lines.append(f"{few} comparisons have fewer than {stats.FEWEST} rounds on a side: not judged.")
    lines += failures
    for name, mine, other in (("A", old, new), ("B", new, old)):
        alone = [cell for cell in mine["cells"] if cell not in other["cells"]]
        if alone:
            lines.append(f"only in {name}: {', '.join(alone)}")
    lines += library_changes(old, new)
    for section, name, before, after in differences(a.read("environment.json"), b.read("environment.json")):
        lines.append(f"{section}, {name}: {before} in A, {after} in B")
    print("\n".join(lines))
    return 0


def library_changes(old, new):
    lines, builds = [], [run.get("worker_sha256") for run in (old, new)]
    if all(builds) and builds[0] != builds[1]:  # older runs do not say
        lines.append(f"the benchmark: another build, {builds[0][:12]} in A, {builds[1][:12]} in B")
    for column in old["columns"]:
        other = next((c for c in new["columns"] if c["name"] == column["name"]), None)
        if other and not column["control_of"] and other["sha256"] != column["sha256"]:
            versions = column.get("package") or column["sha256"][:12], other.get("package") or other["sha256"][:12]
            lines.append(f"{column['name']}: another library, {versions[0]} in A, {versions[1]} in B")
    return lines
