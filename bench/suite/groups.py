"""Groups of cells as one figure: geometric means, who is best, who can't be told from the best."""
import re

import numpy

from . import measures, stats
from .measures import SPEED, log_ratios, values

# In which order groups are shown: what people run first, one size or one call last.
NAMED = ("server", "program", "trace", "larson", "xmalloc", "prodcons", "requests")
MICRO = ("order", "regrow", "aligned", "zeroed", "sharing", "sweep")


def ratio_dict(found):
    return found and {"median": found.median, "low": found.low, "high": found.high,
                      "blocks": found.blocks, "verdict": found.verdict}


def rank(names, logs_of, estimate, more_is_better):
    """The best, the next, the lead of one over the other, and who can't be told from the best.

    logs_of(a, b): what estimate() makes a Ratio of a to b of. Ratios to the first of the
    names decide.
    """
    sign = 1 if more_is_better else -1
    relative = {}
    for name in names:
        if logs := logs_of(name, names[0]):
            relative[name] = sign * centre(logs)
    if not relative:
        return None
    order = sorted(relative, key=relative.get, reverse=True)
    first, ties, lead = order[0], [], None
    for other in order[1:]:
        found = estimate(logs_of(first, other)) if logs_of(first, other) else None
        if not found:
            continue
        # Without an interval nothing is said of either.
        if found.verdict not in ("above" if more_is_better else "below", stats.TOO_FEW):
            ties.append(other)
        if other == order[1]:
            lead = found
    return {"first": first, "second": order[1] if len(order) > 1 else None, "lead": ratio_dict(lead),
            "ties": [name for name in names if name in ties]}


def centre(logs):
    """The median; of several cells (lists of logs) the mean of theirs."""
    if isinstance(logs[0], list):
        return numpy.mean([numpy.median(cell) for cell in logs])
    return numpy.median(logs)


def is_latency(name):
    return bool(re.search(r"/(latency|stalls)(/|$)", name))


def place(workload):
    """Programs, the named workloads, the others as they come, micro-benchmarks."""
    if workload in MICRO:
        return len(NAMED) + 1 + MICRO.index(workload)
    return NAMED.index(workload) if workload in NAMED else len(NAMED)


def groups(cells, loaded, columns, rng):
    """Per workload: geometric means over its cells, the latency ones left out."""
    found = []
    for workload in sorted(dict.fromkeys(cell["workload"] for cell in cells), key=place):
        mine = [cell for cell in cells if cell["workload"] == workload
                and not is_latency(cell["name"])]
        if mine:
            found.append(analyse_group(workload, mine, loaded, columns, rng))
    return found


def counted(cells, measure, loaded, base):
    """The cells that a measure's mean is over."""
    return [cell["name"] for cell in cells
            if not (measure is SPEED and cell["dominated"]) and values(loaded[cell["name"]], base, measure)]


def analyse_group(workload, cells, loaded, columns, rng, wanted=measures.ALL):
    base = columns[0]["name"]
    names = {measure.key: counted(cells, measure, loaded, base) for measure in wanted}
    rows = []
    for position, column in enumerate(columns):
        mine = [cell["rows"][position] for cell in cells]
        rows.append({"column": column["name"], "failed": sum(1 for row in mine if row["failure"]),
                     "missing": sum(1 for row in mine if not row["failure"] and not row["runs"])})
    whole = [row["column"] for row in rows if not row["failed"] and not row["missing"]]
    best = {}
    for measure in wanted:
        def logs_of(a, b, measure=measure):
            found = [log_ratios(loaded[name], a, b, measure) for name in names[measure.key]]
            return found if all(found) else None
        for row in rows:
            able = base in whole and row["column"] in whole and row["column"] != base
            logs = logs_of(row["column"], base) if able else None
            row.setdefault("ratios", {})[measure.key] = ratio_dict(logs and stats.geometric_mean(logs, rng))
        best[measure.key] = rank(whole, logs_of, lambda logs: stats.geometric_mean(logs, rng),
                                 measure.more_is_better)
    return {"workload": workload, "cells": [cell["name"] for cell in cells], "counted": names,
            "dominated": [cell["name"] for cell in cells if cell["dominated"]], "rows": rows, "best": best}
