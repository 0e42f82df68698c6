"""Tables and sentences for the terminal, Markdown and the page, from the analysis."""
import textwrap
import unicodedata

from . import measures, stats, units
from .cells import PROGRAMS

TIE = "≈"
STAR = "* "  # in front: figures are aligned by their ends


def width(text):
    return sum(0 if unicodedata.combining(char) else
               2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def pad(text, size, right):
    space = " " * (size - width(text))
    return space + text if right else text + space


def table(head, rows, left=1, most=None):
    """Aligned columns; the first `left` are words, the rest figures.

    A row with fewer cells than the head ends in a text that runs over the figures. What
    is wider than `most` goes on below, under the first column again.
    """
    whole = [head, *(row for row in rows if len(row) == len(head))]
    widths = [max(width(row[i]) for row in (whole if i else [head, *rows]))
              for i in range(len(head))]
    lines, first = [], 1
    while first < len(head):
        last = first + 1
        while last < len(head) and (not most or widths[0] + sum(widths[first:last + 1])
                                    + 2 * (last + 1 - first) <= most):
            last += 1
        if last < len(head) and head[last].startswith("vs ") and last - first > 1:
            last -= 1  # a ratio stays beside its figure
        shown = [0, *range(first, last)]

        def line(row):
            if len(row) < len(head):  # its text stands in the first part only
                return "  ".join([pad(row[0], widths[0], False), *row[1:]]) if first == 1 else ""
            return "  ".join(pad(row[i], widths[i], i >= left) for i in shown).rstrip()

        lines += [line(head), "  ".join("─" * widths[i] for i in shown), *filter(None, map(line, rows))]
        first = last
    return lines


def markdown_table(head, rows, left=1):
    def line(row):
        row = list(row) + [""] * (len(head) - len(row))
        return "| " + " | ".join(text.replace("|", "\\|").replace("*", "\\*") for text in row) + " |"

    marks = "|" + "|".join("---" if i < left else "---:" for i in range(len(head))) + "|"
    return [line(head), marks, *map(line, rows)]


def verdict(ratio):
    """1.35×, or ≈ 1.01× where no difference is shown, or ? 1.35× without an interval."""
    if not ratio:
        return "–"
    sign = {"too few rounds": "? ", stats.NONE_SHOWN: f"{TIE} "}.get(ratio["verdict"], "")
    return sign + units.times(ratio["median"])


def span(ratio):
    return f"[{ratio['low']:.2f}–{ratio['high']:.2f}]" if ratio and ratio["low"] is not None else ""


def full(ratio):
    """1.35× [1.30–1.41]"""
    return f"{verdict(ratio)} {span(ratio)}".rstrip()


def facts(result):
    """What a reader must know before the first figure: how large, how often, how quiet, how sure."""
    scaled = [cell for cell in result["cells"] if cell["scale"] not in (None, 1)]
    whole = sum(1 for cell in result["cells"] if cell["scale"] == 1)
    rounds = [cell["rounds"] for cell in result["cells"]] or [0]
    many = f"{min(rounds)}" if min(rounds) == max(rounds) else f"{min(rounds)} to {max(rounds)}"
    lines = [f"{units.plural(len(result['cells']), 'cell')}, {many} round" + "s" * (max(rounds) != 1) + (
        f"; work × {result['scale']:g}" + f" in {len(scaled)} of them, whole in {whole}" * (whole > 0) if scaled else
        "; work not scaled" if whole else "")]
    load = result["environment"].get("machine", {}).get("load at start", "unknown")
    count = result["intervals"]
    lines.append(f"load at start {str(load).split()[0]}; {count['wide']} of {count['given']} intervals of speed "
                 f"wider than ±{result['intervals']['wider_than']:.0%}")
    if result.get("memory"):
        lines.append(f"each process in a memory cgroup of {units.size(result['memory'])}: one that was killed did not survive")
    dominated = sum(cell["dominated"] for cell in result["cells"])
    if dominated:
        lines.append(f"{units.plural(dominated, 'cell')} of which the harness takes more than half the fastest's "
                     "time: left out of summaries of speed")
    if result["left_out"]:
        lines.append(f"left out, about memory and never scaled: {', '.join(result['left_out'])}")
    return lines


def equals(names):
    return f"no difference shown to {', '.join(names)}"


def sentence(group, base):
    """Which is best for this workload, how sure, and what it takes in memory."""
    best = group["best"]["speed"]
    if not best:
        return f"{group['workload']}: " + (
            "about the harness in every cell, no summary of speed." if group["dominated"] else
            "no allocator finished every cell.")
    ratios = {row["column"]: row["ratios"]["speed"] for row in group["rows"]}
    first, lead = best["first"], best["lead"]
    text = f"{first} is " + (f"{units.times(ratios[first]['median'])} as fast as {base} {span(ratios[first])}"
                             if ratios[first] else "the fastest").rstrip()
    if lead and lead["verdict"] == "too few rounds":
        text += ", but too few rounds for an interval"
    elif best["ties"]:
        text += ", " + equals(best["ties"])
    elif lead and best["second"] != base:
        text += f", {units.times(lead['median'])} as fast as {best['second']}, the next {span(lead)}"
    return f"{group['workload']}: {text}; {memory_words(group, first, base)}."


def memory_words(group, first, base):
    """The winner's own memory, above the start where that is known, and who takes the least."""
    key, words = ("above", "memory") if group["best"]["above"] else ("peak", "peak RSS")
    smallest = group["best"][key]
    if not smallest:
        return "memory was not measured"
    ratios = {row["column"]: row["ratios"][key] for row in group["rows"]}
    least = smallest["first"]
    own = f"it takes {full_of(ratios[first], base)} {words}".replace("  ", " ") if ratios[first] else \
        f"least {words}: {least}"
    if least == first:
        return own + (", the least" if ratios[first] else "") + (
            f" ({equals(smallest['ties'])})" if smallest["ties"] else "")
    if first in smallest["ties"]:
        return f"{own}, no difference shown to the least, {least}"
    return (f"{own}, the least: {least}" if ratios[first] else own) + (
        f", {full(ratios[least])}" if ratios[least] else "")


def full_of(ratio, base):
    """0.59× [0.57–0.61] glibc's"""
    return f"{full(ratio)} {base}'s"


def control_sentence(control):
    if not control or not control["cells"]:
        return None
    word = "holds" if control["holds"] else "DOES NOT HOLD: distrust small differences"
    return (f"A/A control ({control['column']} against itself): no difference shown in "
            f"{control['equal']} of {len(control['cells'])} cells "
            f"({control['share']:.1%}, at least 95 % wanted) – {word}.")


def summary_tables(result):
    """[(title, head, rows)]: a row a workload, geometric means relative to the reference."""
    base = result["reference"]
    head = ["workload", "cells", *(column["name"] for column in result["columns"])]
    tables = []
    for measure in measures.ALL:
        rows = [[group["workload"], of(len(group["counted"][measure.key]), len(group["cells"])),
                 *(summary_cell(row, group, measure.key, base) for row in group["rows"])]
                for group in result["groups"] if group["counted"][measure.key]]
        if rows:
            tables.append((measure.title, head, rows))
    return tables


def of(some, all_of_them):
    return str(some) if some == all_of_them else f"{some} of {all_of_them}"


def summary_cell(row, group, key, base):
    if row["failed"] or row["missing"]:
        return f"failed {row['failed']}" if row["failed"] else "–"
    own = "1.00×" if row["column"] == base else verdict(row["ratios"][key])
    return mark(row["column"], group["best"][key]) + own


def mark(column, best):
    return STAR if best and column in (best["first"], *best["ties"]) else ""


def label(cell):
    """The cell's true numbers, and what to keep in mind."""
    notes = []
    if cell["threads"]:
        notes.append(units.plural(cell["threads"], "thread") + (", more than cores" if cell["crowded"] else ""))
    if cell["ops"] and cell["workload"] not in PROGRAMS:
        notes.append(f"{units.count(cell['ops'])} ops" + (
            f", {units.size(cell['live'])} live" if cell["live"] else ""))
    if cell["scale"] not in (None, 1):
        notes.append(f"work × {cell['scale']:g}" + (f": {cell['work']}" if cell["work"] else ""))
    if cell["dominated"]:
        notes.append(f"harness {cell['harness']['median']:.0%}")
    return notes


def harness_line(cell, base):
    """How much of a difference the harness hides; None where it was not measured."""
    found = cell["harness"]
    if not found:
        return None
    share, fastest = found["median"], found["column"]
    text = f"The harness itself takes {share:.0%} of {fastest}'s time"
    text += f" [{found['low']:.0%}–{found['high']:.0%}]" if found["low"] is not None else ""
    if cell["dominated"]:
        return text + ": more than half, left out of the summary."
    ratio = next((row["ratios"]["speed"] for row in cell["rows"]
                  if row["column"] == fastest and row["runs"]), None)
    if ratio and share < 1 and abs(ratio["median"] - 1) >= 0.01 and ratio["median"] > share:
        text += (f": without it {units.times(ratio['median'])} would be "
                 f"{units.times((ratio['median'] - share) / (1 - share))}")
    return text + "."


def against_best(cell):
    """Our own row against the best of the others, in a line; None where there is none."""
    for row in cell["rows"]:
        if found := row.get("against_best"):
            sure = {"too few rounds": ": too few rounds to say",
                    stats.NONE_SHOWN: ": no difference shown"}.get(found["verdict"], "")
            return (f"{row['column']} against {found['column']}, the best other: "
                    f"{units.times(found['median'])} {span(found)}".rstrip() + sure)
    return None


def notes(cell, base):
    return [line for line in (against_best(cell), harness_line(cell, base)) if line]


def after_columns(cell):
    """[(key, title)] of RSS after an idle time, in its order, and beside survivors."""
    keys = {key for row in cell["rows"] for key in row.get("more", {}) if key.startswith("rss_after_")}
    seconds = {key: float(key.removeprefix("rss_after_").removesuffix("s_bytes")) for key in keys}
    found = [(key, f"{seconds[key]:g} s after") for key in sorted(keys, key=seconds.get)]
    held = any("held_rss_bytes" in row.get("more", {}) for row in cell["rows"])
    return found + ([("held_rss_bytes", "RSS held")] if held else [])


def cell_table(cell, base):
    """One row an allocator. Only columns with content."""
    program, whole = cell["workload"] == "program", cell["workload"] in PROGRAMS
    rows_with = [row for row in cell["rows"] if row["runs"]]
    has = {measure.key for measure in measures.ALL if any(row[measure.key] for row in rows_with)}
    percentiles = [(f"{call}_{point}_ns", f"{call} {shown}") for call in ("malloc", "free")
                   for point, shown in (("p99", "p99"), ("p999", "p99.9"), ("p9999", "p99.99"), ("max", "longest"))
                   if any(f"{call}_{point}_ns" in row["more"] for row in rows_with)]
    after, over = after_columns(cell), ["RSS × time", f"vs {base} [95 %]"] if "integral" in has else []
    head = ["allocator", "time" if program else "speed", f"vs {base} [95 %]"]
    head += ["CPU time"] if whole else []
    head += ["peak RSS"] + ([f"vs {base} [95 %]"] if "above" not in has else [])
    head += ["above start", f"vs {base} [95 %]"] if "above" in has else []
    head += [title for _, title in after] + (["kept vs " + base] if "kept" in has else []) + over
    head += ["faults"] + [title for _, title in percentiles]
    rows = []
    for row in cell["rows"]:
        if not row["runs"]:
            rows.append([row["column"], row["failure"] or "not run"])
            continue

        def ratio(key, row=row):
            if row["column"] == base:
                return mark(base, cell["best"][key]) + "1.00×"
            return mark(row["column"], cell["best"][key]) + full(row["ratios"][key])
        speed = units.seconds(1 / row["speed"]) if program else units.rate(row["speed"])
        line = [row["column"], speed, ratio("speed")]
        line += [units.seconds(row["cpu"])] if whole else []
        line += [units.size(row["peak"])] + ([ratio("peak")] if "above" not in has else [])
        line += [units.size(row["above"]), ratio("above")] if "above" in has else []
        line += [units.size(row["more"].get(key)) for key, _ in after]
        line += [ratio("kept")] if "kept" in has else []
        line += [units.held(row["integral"]), ratio("integral")] if over else []
        line += [units.count(row["more"].get("minor_faults"))]
        line += [units.seconds(row["more"][key] / 1e9) if key in row["more"] else "–" for key, _ in percentiles]
        rows.append(line)
    return head, rows


def load_table(cell):
    """What the load told of a server, or None: a row a command, then the worst percentiles of all commands."""
    rows_with = [row for row in cell["rows"] if row["runs"]]
    told = dict.fromkeys(key for row in rows_with for key in row["more"] if key.startswith("load"))
    commands = dict.fromkeys(key.removeprefix("load/").rpartition("/")[0] for key in told if "/" in key)

    def shown(row, *keys):
        found = [(key, row["more"][key]) for key in keys if key in row.get("more", {})]
        return ", ".join(units.seconds(value / 1e9) if key.endswith("_ns") else units.rate(value) for key, value in found) or "–"
    rows = [[name, *(shown(row, f"load/{name}/requests_per_second", f"load/{name}/p99_ns") for row in cell["rows"])]
            for name in commands]
    rows += [[f"{name}, the worst" if commands else name, *(shown(row, key) for row in cell["rows"])]
             for key, name in (("load_p50_ns", "p50"), ("load_p99_ns", "p99"), ("load_p999_ns", "p99.9")) if key in told]
    head = ["command: requests, p99" if commands else "request", *(row["column"] for row in cell["rows"])]
    return (head, rows) if rows else None


def folded(line, most):
    """A sentence that is longer than the terminal goes on below; tables keep their lines."""
    if width(line) <= most or "  " in line.strip():
        return line
    return "\n".join(textwrap.wrap(line, most, subsequent_indent="  ", break_long_words=False,
                                   break_on_hyphens=False))
