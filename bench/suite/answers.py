"""The answer for each kind of use, in words and as tables: time and memory side by side."""
from . import stats, text, units
from .cells import PROGRAMS

AGAINST = {"speed": "speed", "peak": "peak RSS"}


def of_column(group, column):
    return next(row for row in group["rows"] if row["column"] == column)


def both(group, row, base):
    """1.15× / 0.87×: speed and peak RSS; the best of each starred, with all that tie with it."""
    if row["failed"] or row["missing"]:
        return f"failed {row['failed']}" if row["failed"] else "–"
    return " / ".join(text.summary_cell(row, group, key, base).replace(text.STAR, "*") for key in AGAINST)


def how_many(group):
    kind = "program" if group["programs"] else "cell"
    return units.plural(len(group["cells"]), kind)


def who(group):
    """Whom to take; with a question mark where there were too few rounds to say."""
    lead = group["take"] and group["best"][group["by"]]["lead"]
    return (group["take"] or "–") + (" ?" if lead and lead["verdict"] == stats.TOO_FEW else "")


def sentence(group, base):
    """Servers: take X. It is 1.30× [1.20–1.41] as fast as glibc with 0.90× [0.88–0.92] its peak RSS; …"""
    head = f"{group['workload']} ({how_many(group)})"
    if not group["take"]:
        return f"{head}: " + ("about the harness in every cell, no answer." if group["dominated"] else
                              "no allocator finished every cell.")
    taken = of_column(group, group["take"])
    if who(group) != group["take"]:
        said = f"too few rounds to say; ahead is {group['take']}"
    else:
        said = f"take {group['take']}" if group["take"] != base else f"keep {base}"
    if group["take"] != base:
        ratios = taken["ratios"]
        said += (f", {text.full(ratios['speed'])} as fast as {base}" if ratios["speed"] else "") + \
            (f", with {text.full(ratios['peak'])} its peak RSS" if ratios["peak"] else "")
    return f"{head}: {said}{ties(group)}{other_best(group, base)}."


def ties(group):
    best = group["best"][group["by"]]
    same = [name for name in (best["first"], *best["ties"]) if name != group["take"]]
    return f"; no difference in {AGAINST[group['by']]} shown to {', '.join(same)}" if same else ""


def other_best(group, base):
    """Who is ahead in what was not asked first, if it is another."""
    key = "peak" if group["by"] == "speed" else "speed"
    best = group["best"][key]
    if not best or group["take"] in (best["first"], *best["ties"]):
        return ""
    ratios = of_column(group, best["first"])["ratios"]
    words = "least memory" if key == "peak" else "fastest"
    if best["first"] == base:
        return f"; {words}: {base}"
    return f"; {words}: {best['first']}, {text.full(ratios[key])} the {AGAINST[key]} at " \
           f"{text.full(ratios[group['by']])} the {AGAINST[group['by']]}"


def table(result):
    """(title, head, rows): a row a kind of use; None where the run speaks of none."""
    base = result["reference"]
    if not result["uses"]:
        return None
    return ("Which to take: speed / peak RSS", ["use", "take", *(column["name"] for column in result["columns"])],
            [[f"{group['workload']}: {how_many(group)}", who(group),
              *(both(group, row, base) for row in group["rows"])] for group in result["uses"]])


def programs_table(result):
    """(title, head, rows): a row a real program; None where the run has none."""
    base = result["reference"]
    rows = []
    for cell in result["cells"]:
        if cell["workload"] in PROGRAMS:
            alone = {"counted": {key: [cell["name"]] for key in AGAINST}, "best": cell["best"]}
            rows.append([cell["name"].partition("/")[2],
                         *(both(alone, {"failed": int(bool(row["failure"])), "missing": not row["runs"]} | row, base)
                           for row in cell["rows"])])
    head = ["program", *(column["name"] for column in result["columns"])]
    return ("Programs: speed / peak RSS", head, rows) if rows else None
