"""The history as one page: a chart a workload over the runs that were kept, and where it changed.

Everything is from results/history.csv: ratios to glibc, paired within their run, with intervals.
Two runs are comparable when the system, glibc, the number of CPUs, the scale, the number of
cells and what was done before each process (prefault.py) are the same: a line joins only such
runs, and a change is looked for only between them.
"""
import json
import math
import statistics

import jinja2

from . import Problem, analysis, groups, history, measures, palette, report_html, stats, units
from .store import Folder, write_whole

LEVEL = 0.99  # many pairs are looked at: by chance about one in a hundred is called a change
ALIKE = ("system", "glibc", "cpus", "scale", "cells", "prefault")
ABOUT = {"speed": "above 1.00× is faster than glibc"}
normal = statistics.NormalDist()


def ratio_of(row, key):
    """(median, low, high) as numbers, None where there are none."""
    found = [row.get(key + part) or None for part in ("", "_low", "_high")]
    return tuple(part and float(part) for part in found)


def comparable(older, newer):
    return all(older.get(key, "") == newer.get(key, "") for key in ALIKE)


def change(older, newer):
    """(ratio, low, high) of newer to older when they differ for sure, else None.

    Both are medians of paired ratios with intervals of the level STATS.LEVEL; without one
    nothing is said.
    """
    if None in older or None in newer:
        return None
    width = 2 * normal.inv_cdf((1 + stats.LEVEL) / 2)
    error = math.hypot(*(math.log(high / low) / width for _, low, high in (older, newer)))
    moved, reach = math.log(newer[0] / older[0]), normal.inv_cdf((1 + LEVEL) / 2) * error
    if abs(moved) <= reach or round(math.exp(moved), 2) == 1:
        return None
    return tuple(math.exp(moved + side) for side in (0, -reach, reach))


def runs_of(rows):
    """The runs in the order they were made: name, date, commit, system."""
    found = {row["run"]: {key: row[key] for key in ("run", "started", "commit", "system", "glibc")} for row in rows}
    return sorted(found.values(), key=lambda run: (run["started"], run["run"]))


def lines_of(rows, key):
    """{(system, workload, allocator): [row, …]} in time order, of rows that have the measure."""
    found = {}
    for row in sorted(rows, key=lambda row: (row["started"], row["run"])):
        if row.get(key):
            found.setdefault((row["system"], row["workload"], row["allocator"]), []).append(row)
    return found


def pieces(line):
    """A line in parts whose runs are comparable; runs of another kind in between do not cut it."""
    parts = []
    for row in line:
        part = next((part for part in parts if comparable(part[-1], row)), None)
        if part is None:
            parts.append([row])
        else:
            part.append(row)
    return parts


def changes_of(part, key):
    """[(older row, newer row, (ratio, low, high))] where neighbours differ for sure."""
    return [(older, newer, found) for older, newer in zip(part, part[1:])
            if (found := change(ratio_of(older, key), ratio_of(newer, key)))]


def better(measure, ratio):
    return (ratio > 1) == measure.more_is_better


def charts_of(rows, measure):
    """[{system, workload, series}]: what the page draws for one measure."""
    charts = {}
    for (system, workload, allocator), line in lines_of(rows, measure.key).items():
        for part in pieces(line):
            changed = {newer["run"]: found for _, newer, found in changes_of(part, measure.key)}
            points = [[row["run"], *ratio_of(row, measure.key), row["version"], changed.get(row["run"])] for row in part]
            charts.setdefault((system, workload), []).append({"allocator": allocator, "points": points})
    return [{"system": system, "workload": workload, "series": series}
            for (system, workload), series in sorted(charts.items(), key=lambda item: groups.place(item[0][1]))]


def told(rows):
    """Every change in words, newest first: a row of the page's table."""
    found = []
    for measure in measures.ALL:
        for (system, workload, allocator), line in lines_of(rows, measure.key).items():
            for part in pieces(line):
                found += [(newer["started"], [
                    newer["started"][:10], workload, allocator, measure.short, "better" if better(measure, ratio) else "WORSE",
                    f"{units.times(ratio)} [{low:.2f}–{high:.2f}]",
                    f"{older['commit'][:10]} → {newer['commit'][:10]}",
                    newer["version"] if newer["version"] == older["version"] else f"{older['version']} → {newer['version']}",
                    system]) for older, newer, (ratio, low, high) in changes_of(part, measure.key)]
    return [row for _, row in sorted(found, key=lambda pair: pair[0], reverse=True)]


def page(rows, reports=()):
    """The whole page. reports: {run: address of its report}."""
    if not rows:
        raise Problem("the history has no run yet: ci/bench keep adds one")
    rows = [row for row in rows if row["allocator"] != "glibc"]  # 1.00 by definition
    names = sorted(dict.fromkeys(row["allocator"] for row in rows), key=lambda name: (name != "mymalloc", name))
    looks = palette.looks([{"name": name} for name in names])
    runs = runs_of(rows)
    systems = sorted({run["system"] for run in runs}, key=lambda system: -sum(run["system"] == system for run in runs))
    data = {"columns": [{"name": name, "mark": looks[name][2]} for name in names], "runs": runs, "systems": systems,
            "measures": [{"key": measure.key, "title": measure.title, "short": measure.short,
                          "about": ABOUT.get(measure.key, "above 1.00× is more memory than glibc takes"),
                          "charts": charts} for measure in measures.ALL if (charts := charts_of(rows, measure))]}
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(report_html.PAGE), autoescape=True,
                                     trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("history.html.j2").render(
        runs=list(reversed(runs)), reports=dict(reports), changes=told(rows), level=f"{LEVEL:.0%}",
        looks=[looks[name] for name in names], css=report_html.inlined("report.css"),
        script=report_html.inlined("charts.js", "history.js"),
        data=json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))


def report_of(folder):
    """report.html of a kept run; its folder stays as it is."""
    environment = folder.read("environment.json")
    environment.pop("format")
    return report_html.page(analysis.analyse(folder, folder.read("run.json"), environment), folder)


def site(results, out):
    """OUT/index.html, and OUT/RUN.html for each kept run whose samples are there; the runs linked."""
    rows = history.read(results / history.HISTORY)
    out.mkdir(parents=True, exist_ok=True)
    reports = {}
    for name in dict.fromkeys(row["run"] for row in rows):
        folder = Folder(results / name)
        if folder.is_packed():
            write_whole(out / f"{name}.html", report_of(folder))
            reports[name] = f"{name}.html"
    write_whole(out / "index.html", page(rows, reports))
    return reports
