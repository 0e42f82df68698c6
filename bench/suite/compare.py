"""What changed between two results folders, and between two builds run in pairs."""
import argparse
import math
import pathlib
import random
import sys

import numpy

from . import FORMAT, ROOT, Problem, allocators, cells, cli, environment, stats, text, units
from .analysis import failure_of, good, log_ratios
from .runner import Plan, Runner
from .progress import Progress
from .store import Folder

# Many rows are compared at once, so each is judged more strictly than in one run's table:
# by chance alone about one row in a hundred is called changed.
LEVEL = 0.99
BUILDS_BUDGET = 10 * 60


def logs_of(samples, column, key):
    return [math.log(entry[key]) for entry in good(samples, column).values() if entry.get(key, 0) > 0]


def differences(old, new):
    """[(section, name, before, after)] of the environments, load and date left out."""
    found = []
    for section, facts in old.items():
        if isinstance(facts, dict):
            for name, value in facts.items():
                other = new.get(section, {}).get(name)
                if other != value and name not in ("load at start", "commit"):
                    found.append((section, name, value, other))
    return found


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
            for what, pair in (("speed", (log_ratios(before, column, base), log_ratios(after, column, base))),
                               ("peak RSS", (logs_of(before, column, "peak_rss_bytes"),
                                             logs_of(after, column, "peak_rss_bytes")))):
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
             f"speed is relative to {base} in its own run; intervals at {LEVEL:.0%}", ""]
    changed = [row for row in rows if row[4].low is not None and not row[4].low <= 1 <= row[4].high
               and abs(math.log(row[4].median)) > 0.005]
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
        lines.append(f"{few} comparisons have fewer than {stats.FEWEST} blocks on a side: not judged.")
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
    lines = []
    for column in old["columns"]:
        other = next((c for c in new["columns"] if c["name"] == column["name"]), None)
        if other and not column["control_of"] and other["sha256"] != column["sha256"]:
            versions = column.get("package") or column["sha256"][:12], other.get("package") or other["sha256"][:12]
            lines.append(f"{column['name']}: another library, {versions[0]} in A, {versions[1]} in B")
    return lines


def judge(folder, cell, tolerance, rng):
    """(speed, memory, verdict): head relative to base, paired within blocks."""
    samples = folder.samples(cell)
    if failure := failure_of(samples, "head"):
        return None, None, f"FAILED: {failure}"
    if failure := failure_of(samples, "base"):
        return None, None, f"base failed: {failure}"
    speed = stats.log_ratio(log_ratios(samples, "head", "base"), rng)
    mine, other = good(samples, "head"), good(samples, "base")
    memory = stats.ratio([(mine[n]["peak_rss_bytes"], other[n]["peak_rss_bytes"]) for n in mine
                          if n in other and other[n].get("peak_rss_bytes")], rng)
    if speed.low is None:
        return speed, memory, "too few blocks"
    if speed.high < 1 - tolerance:
        return speed, memory, "SLOWER"
    if memory and memory.low is not None and memory.low > 1 + tolerance:
        return speed, memory, "MORE MEMORY"
    return speed, memory, "ok" if speed.verdict == "not distinguishable" else speed.verdict


def report_of(folder):
    from . import report
    return report.terminal(report.write(folder))


def builds_columns(options):
    columns = []
    for name, path in (("base", options.base), ("head", options.head)):
        columns.append(allocators.library(name, path))
    return columns


def compare_builds(options):
    """Base and head interleaved in one job; fails on a regression that is sure."""
    if not 0 <= options.tolerance < 1:
        raise Problem(f"--tolerance {options.tolerance:g}: from 0 to below 1, such as 0.05 for 5 %")
    binary = str(pathlib.Path(options.build) / "bench/mymalloc-bench")
    columns = builds_columns(options)
    patterns, counts = cli.words(options.workloads), options.threads and cells.parse_threads(options.threads)
    chosen = cells.choose(cells.available(binary), patterns, counts, "quick")
    folder = Folder(options.out or cli.RESULTS / "builds")
    if options.out and folder.holds_run():
        raise Problem(f"{folder.path} holds a run already: --out names another folder")
    for old in folder.raw.glob("*.jsonl"):
        old.unlink()
    folder.create()
    plan = Plan(chosen, columns, folder, binary,
                seed=options.seed if options.seed is not None else random.randrange(2**32),
                scale=options.scale, rounds=options.rounds,
                budget=cli.seconds("--budget", options.budget) if options.budget else
                BUILDS_BUDGET if options.rounds is None else None,
                timeout=cli.seconds("--timeout", options.timeout), baseline=False)
    folder.write("environment.json", {"format": FORMAT} | environment.describe(ROOT))
    record = cli.run_record(plan, argparse.Namespace(quick=True, full=False))
    folder.write("run.json", record)
    runner = Runner(plan, Progress(0))
    record["stopped"] = runner.run()
    record["finished"] = True
    folder.write("run.json", record)
    report_of(folder)
    return tell_builds(folder, chosen, options, plan.seed)


def tell_builds(folder, chosen, options, seed):
    rng = numpy.random.default_rng(seed)
    judged = [(cell.name, *judge(folder, cell.name, options.tolerance, rng)) for cell in chosen
              if folder.samples(cell.name)]
    head = ["cell", "speed head/base", "95 % interval", "peak RSS head/base", "verdict"]
    rows = [[name, units.times(speed and speed.median), units.interval(speed),
             units.times(memory and memory.median), verdict] for name, speed, memory, verdict in judged]
    bad = [name for name, _, _, verdict in judged if verdict.split(":")[0] in ("SLOWER", "MORE MEMORY", "FAILED")]
    unsure = [name for name, _, _, verdict in judged if verdict == "too few blocks"]
    # A gate that measured nothing has not passed.
    unjudged = len(chosen) - len(judged) + len(unsure)
    if bad:
        words = f"Regression in {len(bad)} of {len(judged)} cells: {', '.join(bad)}."
    else:
        words = f"No regression beyond {options.tolerance:.0%} in {len(judged) - len(unsure)} cells."
    if unjudged:
        words += f" {unjudged} cells had too few blocks to be judged: raise --budget."
    lines = ["## head against base, paired", "", *text.markdown_table(head, rows), "", words, ""]
    folder.write("comparison.md", "\n".join(lines))
    print("\n".join(["", *text.table(head, rows), "", words]))
    return int(bool(bad) or unjudged == len(chosen))


def parser():
    parse = cli.Parser(prog="ci/bench", allow_abbrev=False)
    forms = parse.add_subparsers(dest="form", required=True)
    folders = forms.add_parser("compare", help="what changed between two results folders")
    folders.add_argument("a", metavar="A")
    folders.add_argument("b", metavar="B")
    builds = forms.add_parser(
        "compare-builds", help="two builds of the preload library, paired",
        description="Run two libraries in one job, interleaved, and fail (status 1) when head is "
        "slower, or takes more memory, by more than the tolerance with 95 %% confidence.")
    builds.add_argument("base", metavar="BASE.so")
    builds.add_argument("head", metavar="HEAD.so")
    builds.add_argument("--tolerance", type=float, default=0.05, metavar="SHARE",
                        help="a loss that is accepted (default %(default)s)")
    builds.add_argument("--workloads", metavar="GLOBS", help="cells (default: those of --quick)")
    builds.add_argument("--threads", metavar="LIST", help="only these thread or pair counts")
    builds.add_argument("--rounds", type=int, metavar="N", help="exactly N blocks a cell")
    builds.add_argument("--budget", metavar="TIME",
                        help=f"start no block after this long (default {units.clock(BUILDS_BUDGET)})")
    builds.add_argument("--scale", type=float, default=0.5, metavar="X",
                        help="multiply the work of each cell (default %(default)s)")
    builds.add_argument("--timeout", default="120s", metavar="TIME", help="for one process")
    builds.add_argument("--seed", type=int, metavar="N")
    builds.add_argument("--out", metavar="DIR", help="results folder (default results/builds)")
    builds.add_argument("--build", metavar="DIR", default=cli.BUILD,
                        help="build folder with the benchmark binary")
    builds.add_argument("--no-build", action="store_true", help="build nothing")
    again = forms.add_parser("report", help="make the reports of a results folder again")
    again.add_argument("folder", metavar="DIR")
    again.add_argument("--no-build", action="store_true", help=argparse.SUPPRESS)
    folders.add_argument("--no-build", action="store_true", help=argparse.SUPPRESS)
    return parse


def main(argv):
    options = parser().parse_args(argv)
    if options.form == "compare":
        return compare_folders(options)
    if options.form == "compare-builds":
        return compare_builds(options)
    sys.stdout.write(report_of(Folder(options.folder)))
    return 0
