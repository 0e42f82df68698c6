"""One allocator of a finished run, judged by a tolerance: for the CI of whoever makes it.

Status 1 only when a workload is slower, or takes more memory, by more than the tolerance with 95 %
confidence, or when a cell failed. A run in which nothing could be judged has not passed.
"""
import html

import numpy

from . import Problem, analysis, groups, text, units

BADGE = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{label}: {words}">
<title>{label}: {words}</title><rect width="{width}" height="20" rx="3" fill="#3b424d"/>
<path d="M{split} 0h{rest}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{rest}z" fill="{colour}"/>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{middle}" y="14">{label}</text><text x="{other}" y="14">{words}</text></g></svg>
"""


def columns_of(run, name, reference):
    """[reference, judged]: what analyse_group takes ratios of."""
    known = {column["name"]: column for column in run["columns"] if not column["control_of"]}
    for each in (name, reference):
        if each not in known:
            raise Problem(f"'{each}' is no column of that run; it has {', '.join(known)}")
    if name == reference:
        raise Problem(f"'{name}' cannot be judged against itself; --reference names another of {', '.join(known)}")
    return [known[reference], known[name]]


def verdict(ratios, memory, tolerance):
    """SLOWER, MORE MEMORY, too few rounds or ok."""
    speed, bytes_ = ratios["speed"], ratios[memory]
    if speed and speed["low"] is not None and speed["high"] < 1 - tolerance:
        return "SLOWER"
    if bytes_ and bytes_["low"] is not None and bytes_["low"] > 1 + tolerance:
        return "MORE MEMORY"
    known = [ratio for ratio in (speed, bytes_) if ratio and ratio["low"] is not None]
    return "ok" if known else "not judged"


def row_of(group, tolerance):
    """[workload, cells, speed, memory, verdict]"""
    row = group["rows"][1]
    cells = str(len(group["cells"]))
    if any(each["failed"] or each["missing"] for each in group["rows"]):  # one of the two has no figures
        return [group["workload"], cells, "–", "–", "not judged"]
    memory = "above" if row["ratios"]["above"] else "peak"
    return [group["workload"], cells, text.full(row["ratios"]["speed"]), text.full(row["ratios"][memory]),
            verdict(row["ratios"], memory, tolerance)]


def rows_of(cells, found, tolerance):
    """A row a workload. A failure counts in every cell, also in those of latency, which are in no group."""
    failed = dict.fromkeys(cell["workload"] for cell in cells if cell["rows"][1]["failure"])
    rows = {group["workload"]: row_of(group, tolerance) for group in found}
    for workload in failed:
        count = sum(cell["workload"] == workload for cell in cells)
        rows[workload] = [workload, str(count), "–", "–", "FAILED"]
    return list(rows.values())


def badge(name, reference, whole, bad):
    """whole: the group of all cells in which both ran, None without any. bad: the rows that are worse, or failed."""
    label, ratios = f"{name} / {reference}", whole and whole["rows"][1]["ratios"]
    memory = ratios and (ratios["above"] or ratios["peak"])
    failed = any(row[-1] == "FAILED" for row in bad) or not memory or not ratios["speed"]
    words = "failed" if failed else \
        f"speed {units.times(ratios['speed']['median'])}, memory {units.times(memory['median'])}"
    split, rest = 12 + 6.6 * len(label), 9 + 6.6 * len(words)
    return BADGE.format(label=html.escape(label), words=words, width=round(split + rest + 3), split=round(split), rest=round(rest),
                        middle=round(split / 2), other=round(split + rest / 2), colour="#b42318" if bad or failed else "#1c5fb0")


def judge(folder, name, reference, tolerance):
    run = folder.read("run.json")
    columns = columns_of(run, name, reference)
    rng = numpy.random.default_rng(run["seed"])
    loaded = {cell: samples for cell in run["cells"] if (samples := folder.samples(cell))}
    cells = [analysis.analyse_cell(cell, samples, columns, run) for cell, samples in loaded.items()]
    rows = rows_of(cells, groups.groups(cells, loaded, columns, rng), tolerance)
    bad = [row for row in rows if row[-1] in ("SLOWER", "MORE MEMORY", "FAILED")]
    unsure = [row[0] for row in rows if row[-1] == "not judged"]
    none = len(unsure) == len(rows)
    words = "nothing could be judged: too few rounds, or no cell that ran" if none else \
        f"{len(bad)} of {units.plural(len(rows), 'workload')} worse than {reference} by more than {tolerance:.0%}"
    lines = [f"## {name} against {reference}", "", f"**{'Not passed' if bad or none else 'Passed'}**: {words}.", "",
             *text.markdown_table(["workload", "cells", f"speed / {reference}", f"memory / {reference}", ""], rows), "",
             "Geometric means over a workload's cells with 95 % intervals; speed above 1.00× is faster, memory above 1.00× is more."]
    if unsure and not none:
        lines += ["", f"Not judged, too few rounds or about the harness: {', '.join(unsure)}."]
    if unrun := [cell for cell in run["cells"] if cell not in loaded]:
        lines += ["", f"Not run: {', '.join(unrun)}."]
    folder.write("judgement.md", "\n".join(lines) + "\n")
    ran = [cell for cell in cells if all(row["runs"] for row in cell["rows"])]
    whole = ran and groups.analyse_group("all", ran, loaded, columns, rng)
    folder.write("badge.svg", badge(name, reference, whole, bad))
    print("\n".join(lines))
    return int(bool(bad) or none)
