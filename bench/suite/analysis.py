"""From samples to what a report says. Every figure of a report is computed here."""
import re
import statistics

import numpy

from . import FORMAT, stats
from .cells import Cell
from .runner import HARNESS

AFTER = ("rss_after_0.1s_bytes", "rss_after_1s_bytes", "rss_after_5s_bytes")
# Of the leader against another: its lead may be no lead. (Without an interval nothing is
# said of either.)
UNSURE = ("not distinguishable", "slower")
PERCENTILES = ("p50", "p99", "p999", "max")
PLAIN = ("minor_faults", "live_bytes", "base_rss_bytes", "rss_end_bytes", "held_live_bytes",
         "held_rss_bytes", "settled_live_bytes", "rss_slope_bytes_per_s", "remote_share",
         "timer_ns", *AFTER,
         *(f"{call}_{point}_ns" for call in ("malloc", "free") for point in PERCENTILES))


def analyse(folder, run, environment):
    """The content of results.json."""
    rng = numpy.random.default_rng(run["seed"])
    columns = [column for column in run["columns"] if not column["control_of"]]
    control = next((column for column in run["columns"] if column["control_of"]), None)
    loaded = {name: folder.samples(name) for name in run["cells"]}
    cells = [analyse_cell(name, samples, columns, run, rng)
             for name, samples in loaded.items() if samples]
    identify(run["columns"], loaded)
    return {
        "format": FORMAT,
        "finished": run["finished"], "stopped": run.get("stopped"), "seed": run["seed"],
        "scale": run["scale"],
        "reference": run["columns"][0]["name"],
        "columns": columns,
        "cells": cells,
        "unfinished": [name for name in run["cells"] if not loaded[name]],
        "groups": groups(cells, loaded, columns, rng),
        "control": analyse_control(control, loaded, rng),
        "environment": environment,
    }


def identify(columns, loaded):
    """What the processes said of their allocator, for the proof block."""
    for column in columns:
        for samples in loaded.values():
            said = next((sample["context"] for (_, name), sample in samples.items()
                         if name == column["name"] and "allocator_version" in sample.get("context", {})),
                        None)
            if said:
                column["version"] = said["allocator_version"]
                column["frontend"] = said.get("allocator_frontend")
                break


def good(samples, column):
    """{round: entry} of the processes that count."""
    return {number: sample["benchmarks"][0] for (number, name), sample in samples.items()
            if name == column and not sample["suite"].get("failure")}


def failure_of(samples, column):
    """'crashed: SIGSEGV (1 of 3 runs)' or None: one failure makes the row a failure."""
    mine = [sample["suite"].get("failure") for (_, name), sample in samples.items() if name == column]
    bad = [failure for failure in mine if failure]
    return f"{bad[0]} ({len(bad)} of {len(mine)} runs)" if bad else None


def log_ratios(samples, column, base):
    """log(speed of column / speed of base), one a block in which both have finished."""
    mine, other = good(samples, column), good(samples, base)
    return [float(numpy.log(mine[n]["ops_per_second"] / other[n]["ops_per_second"]))
            for n in sorted(mine) if n in other]


def ratio_dict(found):
    return found and {"median": found.median, "low": found.low, "high": found.high,
                      "blocks": found.blocks, "verdict": found.verdict}


def median_of(entries, key):
    values = [entry[key] for entry in entries if key in entry]
    return statistics.median(values) if values else None


def analyse_cell(name, samples, columns, run, rng):
    cell = Cell(name)
    threads = cell.threads or next((int(sample["benchmarks"][0]["workload_threads"])
                                    for sample in samples.values()
                                    if sample.get("benchmarks")
                                    and "workload_threads" in sample["benchmarks"][0]), None)
    usable = run["usable_cpus"]
    rows = [analyse_row(samples, column["name"], columns[0]["name"], rng) for column in columns]
    ranked = rank(rows, samples, rng)
    compare_ours(rows, samples, rng)
    return {
        "name": name, "workload": cell.workload, "threads": threads,
        "crowded": bool(threads and threads > usable),
        "rows": rows, "best": ranked, "harness": harness_share(samples, columns),
    }


def analyse_row(samples, column, base, rng):
    failure = failure_of(samples, column)
    if failure:
        return {"column": column, "failure": failure}
    entries = list(good(samples, column).values())
    if not entries:
        return {"column": column, "failure": "not run yet"}
    logs = log_ratios(samples, column, base)
    row = {"column": column, "failure": None, "runs": len(entries),
           "speed": median_of(entries, "ops_per_second"),
           "seconds": median_of(entries, "real_time"), "cpu": median_of(entries, "cpu_time"),
           "ratio": ratio_dict(stats.log_ratio(logs, rng)) if logs and column != base else None,
           "peak_rss": median_of(entries, "peak_rss_bytes")}
    for key in ("seconds", "cpu"):  # Google Benchmark's cells are in ms as well
        row[key] = row[key] and row[key] / 1e3
    live = median_of(entries, "live_bytes")
    row["rss_per_live"] = row["peak_rss"] / live if live and row["peak_rss"] else None
    row["more"] = {key: value for key in PLAIN if (value := median_of(entries, key)) is not None}
    row["timeline"] = next((sample["suite"]["timeline"] for (_, name), sample in samples.items()
                            if name == column and sample["suite"].get("timeline")), None)
    return row


def rank(rows, samples, rng):
    """The fastest and those that can't be told from it; who is smallest in memory."""
    able = [row for row in rows if not row["failure"]]
    if not able:
        return None
    base = able[0]["column"]
    relative = {row["column"]: numpy.median(logs) if (logs := log_ratios(samples, row["column"], base))
                else -numpy.inf for row in able}
    first = max(relative, key=relative.get)
    second = sorted(relative, key=relative.get)[-2] if len(relative) > 1 else None
    ties = []
    lead = None
    for other in relative:
        if other == first or not (logs := log_ratios(samples, first, other)):
            continue
        found = stats.log_ratio(logs, rng)
        if found.verdict in UNSURE:
            ties.append(other)
        if other == second:
            lead = found
    sized = [row for row in able if row["peak_rss"]]
    small = min(sized, key=lambda row: row["peak_rss"])["column"] if sized else None
    return {"fastest": first, "second": second, "lead": ratio_dict(lead), "ties": ties,
            "smallest": small}


def compare_ours(rows, samples, rng, ours="mymalloc"):
    """Our row against the best of the others (the one with the highest median here)."""
    mine = next((row for row in rows if row["column"] == ours and not row["failure"]), None)
    others = [row for row in rows if row["column"] != ours and not row["failure"]]
    if not mine or not others:
        return
    best = max(others, key=lambda row: numpy.median(log_ratios(samples, row["column"], ours) or [-9]))
    logs = log_ratios(samples, ours, best["column"])
    if logs:
        mine["against_best"] = {"column": best["column"]} | ratio_dict(stats.log_ratio(logs, rng))


def harness_share(samples, columns):
    """The harness's share of the fastest column's time: what no allocator can save."""
    null = [entry["ops_per_second"] for entry in good(samples, HARNESS).values()]
    speeds = [speed for column in columns
              if (speed := median_of(list(good(samples, column["name"]).values()), "ops_per_second"))]
    if not null or not speeds:
        return None
    return max(speeds) / statistics.median(null)


def is_latency(name):
    return bool(re.search(r"/latency(/|$)", name))


def groups(cells, loaded, columns, rng):
    """Per workload: geometric means over its cells, the latency ones left out."""
    found = []
    for workload in dict.fromkeys(cell["workload"] for cell in cells):
        mine = [cell for cell in cells if cell["workload"] == workload
                and not is_latency(cell["name"])]
        if mine:
            found.append(analyse_group(workload, mine, loaded, columns, rng))
    return found


def geometric(values):
    return float(numpy.exp(numpy.mean(numpy.log(values)))) if values and all(values) else None


def analyse_group(workload, cells, loaded, columns, rng):
    base = columns[0]["name"]
    rows = []
    for position, column in enumerate(columns):
        name = column["name"]
        mine = [cell["rows"][position] for cell in cells]
        theirs = [cell["rows"][0] for cell in cells]
        failed = sum(1 for row in mine if row["failure"])
        row = {"column": name, "cells": len(cells), "failed": failed, "ratio": None, "rss": None}
        if not failed and not any(other["failure"] for other in theirs):
            if name != base:
                row["ratio"] = ratio_dict(stats.geometric_mean(
                    [log_ratios(loaded[cell["name"]], name, base) for cell in cells], rng))
            if all(r["peak_rss"] and t["peak_rss"] for r, t in zip(mine, theirs)):
                row["rss"] = geometric([r["peak_rss"] / t["peak_rss"] for r, t in zip(mine, theirs)])
        rows.append(row)
    return {"workload": workload, "cells": [cell["name"] for cell in cells], "rows": rows,
            "best": best_of_group(rows, cells, loaded, base, rng)}


def best_of_group(rows, cells, loaded, base, rng):
    """As rank(), over the geometric means."""
    able = {row["column"]: row["ratio"]["median"] if row["ratio"] else 1.0
            for row in rows if row["ratio"] or (row["column"] == base and not row["failed"])}
    if not able:
        return None
    first = max(able, key=able.get)
    second = sorted(able, key=able.get)[-2] if len(able) > 1 else None
    ties, lead = [], None
    for other in able:
        if other == first:
            continue
        found = stats.geometric_mean(
            [log_ratios(loaded[cell["name"]], first, other) for cell in cells], rng)
        if found and found.verdict in UNSURE:
            ties.append(other)
        if other == second:
            lead = found
    sized = {row["column"]: row["rss"] for row in rows if row["rss"]}
    return {"fastest": first, "second": second, "lead": ratio_dict(lead), "ties": ties,
            "smallest": min(sized, key=sized.get) if sized else None}


def analyse_control(control, loaded, rng):
    """The A/A control: one library under two names, which must come out equal."""
    if not control:
        return None
    name, twin = control["name"], control["control_of"]
    cells = []
    for cell, samples in loaded.items():
        logs = log_ratios(samples, name, twin)
        if len(logs) >= stats.FEWEST:
            cells.append({"cell": cell} | ratio_dict(stats.log_ratio(logs, rng)))
    equal = sum(1 for cell in cells if cell["verdict"] == "not distinguishable")
    return {"column": twin, "cells": cells, "equal": equal,
            "share": equal / len(cells) if cells else None,
            "holds": equal / len(cells) >= stats.LEVEL if cells else None}

