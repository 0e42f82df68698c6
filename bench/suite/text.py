"""Tables and sentences for the terminal and for Markdown, from the analysis."""
import unicodedata

from . import units

TIE = "≈"


def width(text):
    return sum(0 if unicodedata.combining(char) else
               2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def pad(text, size, right):
    space = " " * (size - width(text))
    return space + text if right else text + space


def table(head, rows, left=1):
    """Aligned columns; the first `left` are words, the rest figures.

    A row with fewer cells than the head ends in a text that runs over the figures.
    """
    whole = [head, *(row for row in rows if len(row) == len(head))]
    widths = [max(width(row[i]) for row in (whole if i else [head, *rows]))
              for i in range(len(head))]

    def line(row):
        figures = len(row) == len(head)
        return "  ".join(pad(text, widths[i] if figures or i == 0 else 0, i >= left and figures)
                         for i, text in enumerate(row)).rstrip()

    return [line(head), "  ".join("─" * size for size in widths), *map(line, rows)]


def markdown_table(head, rows, left=1):
    def line(row):
        row = list(row) + [""] * (len(head) - len(row))
        return "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |"

    marks = "|" + "|".join("---" if i < left else "---:" for i in range(len(head))) + "|"
    return [line(head), marks, *map(line, rows)]


def names(list_of):
    return ", ".join(list_of)


def verdict(ratio):
    """1.35× 1.30–1.41, or what keeps one from saying so."""
    if not ratio:
        return "–"
    text = units.times(ratio["median"])
    if ratio["verdict"] == "too few blocks":
        return text + " ?"
    return text + (f" {TIE}" if ratio["verdict"] == "not distinguishable" else "")


def span(ratio):
    if not ratio or ratio["low"] is None:
        return "–"
    return f"{ratio['low']:.2f}–{ratio['high']:.2f}"


def sentence(group, base):
    """Which is best for this workload, and how sure."""
    best = group["best"]
    if not best:
        return f"{group['workload']}: no allocator finished every cell."
    ratios = {row["column"]: row["ratio"] for row in group["rows"]}
    first, ratio, lead = best["fastest"], ratios[best["fastest"]], best["lead"]
    if ratio:
        text = f"{first} is {units.times(ratio['median'])} as fast as {base}"
        if ratio["low"] is not None:
            text += f" [{span(ratio)}]"
    else:
        text = f"{first} is the fastest"
    if lead and lead["verdict"] == "too few blocks":
        text += ", but too few blocks for an interval"
    elif best["ties"]:
        text += f", not distinguishable from {names(best['ties'])}"
    elif lead and best["second"] != base:
        text += (f", ahead of {best['second']} by {units.times(lead['median'])} "
                 f"[{span(lead)}]")
    small = {row["column"]: row["rss"] for row in group["rows"]}.get(best["smallest"])
    if small:
        text += f"; least memory: {best['smallest']}"
        text += f", {units.times(small)} the peak RSS of {base}" if best["smallest"] != base else ""
    return f"{group['workload']}: {text}."


def control_sentence(control):
    if not control or not control["cells"]:
        return None
    word = "holds" if control["holds"] else "DOES NOT HOLD: distrust small differences"
    return (f"A/A control ({control['column']} against itself): not distinguishable in "
            f"{control['equal']} of {len(control['cells'])} cells "
            f"({control['share']:.0%}, at least 95 % wanted) – {word}.")


def summary_table(result):
    """One row a workload: geometric means of speed, and of peak RSS, relative to glibc."""
    base = result["reference"]
    head = ["workload", "cells", *(column["name"] for column in result["columns"])]
    speed, memory = [], []
    for group in result["groups"]:
        cells = str(len(group["cells"]))
        speed.append([group["workload"], cells, *(
            "1.00×" if row["column"] == base and not row["failed"] else
            f"failed {row['failed']}" if row["failed"] else
            verdict(row["ratio"]) + mark(row["column"], group["best"], "fastest")
            for row in group["rows"])])
        memory.append([group["workload"], cells, *(
            units.times(row["rss"]) + mark(row["column"], group["best"], "smallest")
            if row["rss"] else "–" for row in group["rows"])])
    return head, speed, memory


def mark(column, best, what):
    if not best:
        return ""
    if best[what] == column or what == "fastest" and column in best["ties"]:
        return " *"
    return ""


def label(cell):
    notes = []
    if cell["crowded"]:
        notes.append(f"{cell['threads']} threads, more than cores")
    elif cell["threads"]:
        notes.append(f"{cell['threads']} thread" + "s" * (cell["threads"] > 1))
    if cell["harness"]:
        notes.append(f"harness ≤ {cell['harness']:.0%} of the fastest's time")
    return notes


def against_best(cell):
    """Our own row against the best of the others, in a line; None where there is none."""
    for row in cell["rows"]:
        if found := row.get("against_best"):
            sure = {"faster": "", "slower": "", "too few blocks": ": too few blocks to say"}.get(
                found["verdict"], ": not distinguishable")
            return (f"{row['column']} against {found['column']}, the best other: "
                    f"{units.times(found['median'])} [{span(found)}]{sure}")
    return None


def cell_table(cell, base):
    """One row an allocator: speed, ratio with interval, memory. Only columns with content."""
    after = [(key, title) for key, title in (("rss_after_0.1s_bytes", "0.1 s after"),
                                             ("rss_after_1s_bytes", "1 s after"),
                                             ("rss_after_5s_bytes", "5 s after"),
                                             ("held_rss_bytes", "RSS held"))
             if any(key in row.get("more", {}) for row in cell["rows"])]
    has_live = any(row.get("rss_per_live") for row in cell["rows"])
    latency = any("malloc_p99_ns" in row.get("more", {}) for row in cell["rows"])
    program = cell["workload"] == "program"
    head = ["allocator", "time" if program else "speed", f"vs {base}", "95 % interval", "peak RSS"]
    head[2:2] = ["CPU time"] if program else []
    head += ["RSS/live"] if has_live else []
    head += ["faults"] + [title for _, title in after]
    head += ["malloc p99", "malloc p99.9", "free p99", "free p99.9"] if latency else []
    rows = []
    for row in cell["rows"]:
        if row["failure"]:
            rows.append([row["column"], row["failure"]])
            continue
        more = row["more"]
        line = [row["column"],
                units.seconds(row["seconds"]) if program else units.rate(row["speed"]),
                "1.00×" if row["column"] == base else verdict(row["ratio"]),
                "reference" if row["column"] == base else span(row["ratio"]),
                units.size(row["peak_rss"])]
        line[2:2] = [units.seconds(row["cpu"])] if program else []
        line += [f"{row['rss_per_live']:.2f}" if row["rss_per_live"] else "–"] if has_live else []
        line += [units.count(more.get("minor_faults"))]
        line += [units.size(more.get(key)) for key, _ in after]
        if latency:
            line += [units.seconds(more[key] / 1e9) if key in more else "–" for key in
                     ("malloc_p99_ns", "malloc_p999_ns", "free_p99_ns", "free_p999_ns")]
        rows.append(line)
    return head, rows


