"""From samples to what a report says. Every figure of a report is computed here."""
import re
import statistics

import numpy

from . import FORMAT, HARNESS, measures, stats, uses
from .cells import Cell
from .groups import groups, rank, ratio_dict
from .measures import SPEED, good, log_ratios, values
from .store import failure_of

# A cell of whose fastest time the harness takes more than this is about the harness.
DOMINATED = 0.5
WIDE = 0.10  # half an interval, relative: how many are wider stands in the first lines
PERCENTILES = ("p50", "p99", "p999", "max")  # drawn; tables have p99.99 too
PLAIN = re.compile(r"minor_faults|live_bytes|base_rss_bytes|rss_end_bytes|ops|held_\w+|settled_live_bytes|"
                   r"rss_\w+_per_s|remote_share|timer_ns|rss_after_[\d.]+s_bytes|"
                   r"(malloc|free)_(p\d+|max)_ns|rss_integral\w*|load_p\d+_ns|load/.+|requests_per_second|\w+_ns_per_\w+")


def analyse(folder, run, environment):
    """The content of results.json."""
    rng = numpy.random.default_rng(run["seed"])
    columns = [column for column in run["columns"] if not column["control_of"]]
    control = next((column for column in run["columns"] if column["control_of"]), None)
    loaded = {name: folder.samples(name) for name in run["cells"]}
    cells = [analyse_cell(name, samples, columns, run)
             for name, samples in loaded.items() if samples]
    identify(run["columns"], loaded)
    return {
        "format": FORMAT,
        "finished": run["finished"], "stopped": run.get("stopped"), "seed": run["seed"],
        "scale": run["scale"], "memory": run.get("memory"), "scope": run.get("scope"), "started": run["started"],
        "reference": run["columns"][0]["name"],
        "columns": columns,
        "cells": cells,
        "unfinished": [name for name in run["cells"] if not loaded[name]],
        "left_out": run.get("left_out", []),
        "intervals": count_intervals(cells),
        "groups": groups(cells, loaded, columns, rng),
        "uses": uses.answers(cells, loaded, columns, rng),
        "control": analyse_control(control, loaded),
        "failed_beside": failed_beside(control, loaded),
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


def median_of(entries, key):
    found = [entry[key] for entry in entries if key in entry]
    return statistics.median(found) if found else None


def count_intervals(cells):
    """How sure the run is as a whole: intervals of speed, and how many of them are wide."""
    found = [row["ratios"]["speed"] for cell in cells for row in cell["rows"]
             if row["runs"] and row["ratios"].get("speed")]
    sure = [ratio for ratio in found if ratio["low"] is not None]
    wide = [ratio for ratio in sure if ratio["high"] - ratio["low"] > 2 * WIDE * ratio["median"]]
    return {"all": len(found), "given": len(sure), "wide": len(wide), "wider_than": WIDE}


def analyse_cell(name, samples, columns, run):
    cell = Cell(name)
    entries = [sample["benchmarks"][0] for sample in samples.values() if sample.get("benchmarks")]
    threads = cell.threads or median_of(entries, "workload_threads")
    base = columns[0]["name"]
    mine = list(good(samples, base).values()) or entries
    rows = [analyse_row(samples, column["name"], base) for column in columns]
    able = [row["column"] for row in rows if row["runs"]]
    best = {measure.key: rank(able, lambda a, b, m=measure: log_ratios(samples, a, b, m),
                              stats.log_ratio, measure.more_is_better)
            for measure in measures.ALL}
    fastest = next((row for row in rows if best["speed"] and row["column"] == best["speed"]["first"]), None)
    harness = harness_share(samples, fastest) if fastest and not cell.is_own_work else None
    compare_ours(rows, samples)
    return {
        "name": name, "workload": cell.workload, "threads": threads and int(threads),
        "crowded": bool(threads and threads > run["usable_cpus"]),
        "scale": scale_of(samples), "work": next((entry["label"] for entry in mine if "label" in entry), None),
        "ops": median_of(mine, "ops"), "live": median_of(mine, "live_bytes"),
        "rounds": max((len(good(samples, column)) for column in able), default=0),
        "rows": rows, "best": best,
        "harness": harness, "dominated": bool(harness and harness["median"] > DOMINATED),
    }


def scale_of(samples):
    """Each process says at which scale it ran; programs have none."""
    said = next((sample["context"]["scale"] for sample in samples.values()
                 if "scale" in sample.get("context", {})), None)
    return float(said) if said else None


def analyse_row(samples, column, base):
    """A column's figures. runs is 0 where it failed once, or was not run (yet)."""
    failure = failure_of(samples, column)
    entries = [] if failure else list(good(samples, column).values())
    row = {"column": column, "failure": failure, "runs": len(entries)}
    if not entries:
        return row
    row["ratios"] = {}
    for measure in measures.ALL:
        logs = log_ratios(samples, column, base, measure) if column != base else None
        ratio = stats.log_ratio(logs) if logs else None
        row["ratios"][measure.key] = ratio_dict(ratio)
        row[measure.key] = figure(samples, column, base, measure, ratio)
        row["raw_" + measure.key] = middle(samples, column, measure)
    row["cpu"] = median_of(entries, "cpu_time")
    row["cpu"] = row["cpu"] and row["cpu"] / 1e3  # Google Benchmark's cells are in ms as well
    live = median_of(entries, "live_bytes")
    row["rss_per_live"] = row["peak"] / live if live and row["peak"] else None
    row["more"] = {key: median_of(entries, key) for key in dict.fromkeys(k for e in entries for k in e)
                   if PLAIN.fullmatch(key)}
    row["timeline"] = next((sample["suite"]["timeline"] for (_, name), sample in samples.items()
                            if name == column and sample["suite"].get("timeline")), None)
    return row


def middle(samples, column, measure):
    found = values(samples, column, measure)
    return statistics.median(found.values()) if found else None


def figure(samples, column, base, measure, ratio):
    """What is shown beside a ratio: the reference's median times it, so that the two agree.

    The column's own median may lie elsewhere (the machine drifts between blocks); it is
    kept as raw_….
    """
    reference = middle(samples, base, measure)
    return reference * ratio.median if ratio and reference else middle(samples, column, measure)


def compare_ours(rows, samples, ours="mymalloc"):
    """Our row against the best of the others (the one with the highest median here)."""
    mine = next((row for row in rows if row["column"] == ours and row["runs"]), None)
    others = [row for row in rows if row["column"] != ours and row["runs"]]
    if not mine or not others:
        return
    best = max(others, key=lambda row: numpy.median(log_ratios(samples, row["column"], ours) or [-9]))
    logs = log_ratios(samples, ours, best["column"])
    if logs:
        mine["against_best"] = {"column": best["column"]} | ratio_dict(stats.log_ratio(logs))


def harness_share(samples, fastest):
    """The harness's share of the fastest column's time: what no allocator can save.

    Nanoseconds an operation on both sides. Each process of the baseline repeats its work
    and tells the median and an interval; older ones told a speed only.
    """
    null = list(good(samples, HARNESS).values())
    if not null:
        return None
    share = fastest["speed"] / 1e9
    told = [entry.get("harness_ns", 1e9 / entry["ops_per_second"]) for entry in null]
    sure = all("harness_ns_low" in entry for entry in null)
    return {"column": fastest["column"], "median": share * statistics.median(told),
            "low": share * min(entry["harness_ns_low"] for entry in null) if sure else None,
            "high": share * max(entry["harness_ns_high"] for entry in null) if sure else None}


def failed_beside(control, loaded):
    """What failed in columns that have no row: the control, a library as good as any, and the baseline."""
    names = [HARNESS] + ([control["name"]] if control else [])
    return [{"cell": cell, "column": name, "failure": failure} for cell, samples in loaded.items() for name in names
            if (failure := failure_of(samples, name))]


def analyse_control(control, loaded):
    """The A/A control: one library under two names, which must come out equal."""
    if not control:
        return None
    name, twin = control["name"], control["control_of"]
    cells = []
    for cell, samples in loaded.items():
        logs = log_ratios(samples, name, twin)
        if len(logs) >= stats.FEWEST:
            cells.append({"cell": cell} | ratio_dict(stats.log_ratio(logs)))
    equal = sum(1 for cell in cells if cell["verdict"] == stats.NONE_SHOWN)
    return {"column": twin, "cells": cells, "equal": equal,
            "share": equal / len(cells) if cells else None,
            "holds": equal / len(cells) >= stats.LEVEL if cells else None}
