"""What report.html computes from: samples, in run order, and words; as JSON within the page."""
import json
import re

from . import analysis, glossary, groups, measures, palette, stats, text, units
from .store import failure_of

SHORT = {"speed": "speed", "peak": "peak RSS", "above": "above start", "kept": "kept", "integral": "RSS × time", "cpu": "CPU"}
UNITS = {"speed": "rate", "cpu": "seconds", "integral": "held"}  # the others are bytes


def rounded(value):
    """Five digits: a page of some thousand samples stays small."""
    return float(f"{value:.5g}") if value < 1e5 else int(float(f"{value:.5g}"))


def columns_of(result):
    seen = palette.looks(result["columns"])
    return [{"name": column["name"], "mark": seen[column["name"]][2]} for column in result["columns"]]


def pinned(result):
    """The column that a phone keeps in view: ours, else the last."""
    names = [column["name"] for column in result["columns"]]
    return names.index("mymalloc") if "mymalloc" in names else len(names) - 1


def samples_of(samples, column, found):
    """{"round": […], "at": […], measure: […]} of a column's processes, or None."""
    rounds = sorted(measures.good(samples, column))
    if not rounds or failure_of(samples, column):
        return None
    block = 1 + max(sample["suite"].get("order", 0) for sample in samples.values())
    mine = {"round": rounds, "at": [round(n + samples[n, column]["suite"].get("order", 0) / block, 2) for n in rounds]}
    for measure in found:
        values = measures.values(samples, column, measure)
        if len(values) == len(rounds):
            mine[measure.key] = [rounded(values[n]) for n in rounds]
    return mine


def timeline(row):
    return row.get("timeline") and [[round(at, 2), round(live / 2**20, 1), round(rss / 2**20, 1)]
                                    for at, live, rss in row["timeline"]]


def latencies(row):
    found = [row.get("more", {}).get(f"{call}_{point}_ns") for call in ("malloc", "free")
             for point in analysis.PERCENTILES]
    return None if None in found else found


def load_of(cell):
    """(head, rows) of a server: what its load told, and the memory that it kept behind it."""
    table = text.load_table(cell)
    return table and (table[0], table[1] + [
        [f"RSS {title} the load", *(units.size(row.get("more", {}).get(key)) for row in cell["rows"])]
        for key, title in text.after_columns(cell)])


def cell_of(cell, samples, names, base):
    return {"name": cell["name"], "workload": cell["workload"], "threads": cell["threads"],
            "crowded": cell["crowded"], "dominated": cell["dominated"], "latency": groups.is_latency(cell["name"]),
            "about": glossary.of_cell(cell["name"]), "notes": text.label(cell), "lines": text.notes(cell, base),
            "failures": [row["failure"] for row in cell["rows"]],
            "samples": [samples_of(samples, name, measures.EXPLORED) for name in names],
            "timeline": [timeline(row) for row in cell["rows"]],
            "latency_ns": [latencies(row) for row in cell["rows"]], "load": load_of(cell)}


def to_bytes(number, unit):
    return int(number) * {"": 1, "B": 1, "K": 1024, "KiB": 1024, "M": 2**20, "MiB": 2**20}[unit or ""]


def families(result, pattern, sizes=False):
    """{family: [(x, place of the cell)]} of cells that differ in one number only, three at least."""
    found = {}
    for place, cell in enumerate(result["cells"]):
        for match in () if groups.is_latency(cell["name"]) else re.finditer(pattern, cell["name"]):
            star = cell["name"][:match.start()] + "/" + ("SIZE" if sizes else match[1] + ":N") \
                + cell["name"][match.end():]
            x = to_bytes(match[1], match[2]) if sizes else int(match[2])
            found.setdefault(star, []).append((x, place))
    return {family: sorted(points) for family, points in found.items() if len(points) >= (4 if sizes else 3)}


def all_families(result):
    """Of threads, then of sizes."""
    cores = result["environment"]["machine"]["CPUs allowed (affinity)"]
    for family, points in families(result, r"/(threads|pairs):(\d+)").items():
        pairs = "pairs:" in family
        most = cores / (2 if pairs else 1)
        yield {"kind": "threads", "title": family, "label": "producer-consumer pairs" if pairs else "threads",
               "sizes": False, "points": points, "cores": most * 2**0.5 if points[0][0] <= most < points[-1][0] else None}
    for family, points in families(result, r"/(?:size:)?(\d+)(B|K|M|KiB|MiB)?(?=/|$)", sizes=True).items():
        yield {"kind": "sizes", "title": family, "label": "object size", "sizes": True, "points": points, "cores": None}


def page_json(result, folder):
    """Safe within a script element."""
    names = [column["name"] for column in result["columns"]]
    rounds = range(stats.FEWEST, 1 + max((cell["rounds"] for cell in result["cells"]), default=0))
    content = {
        "columns": columns_of(result), "reference": 0, "pinned": pinned(result), "fewest": stats.FEWEST,
        "cut": {n: float(stats.tail(n)) for n in rounds},
        "measures": [{"key": measure.key, "title": measure.title, "short": SHORT[measure.key],
                      "more": measure.more_is_better, "unit": UNITS.get(measure.key, "bytes")}
                     for measure in measures.EXPLORED],
        "cells": [cell_of(cell, folder.samples(cell["name"]), names, result["reference"])
                  for cell in sorted(result["cells"], key=lambda cell: groups.place(cell["workload"]))],
    }
    order = {cell["name"]: place for place, cell in enumerate(content["cells"])}
    content["families"] = [family | {"points": [[x, order[result["cells"][place]["name"]]] for x, place in family["points"]]}
                           for family in all_families(result)]
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
