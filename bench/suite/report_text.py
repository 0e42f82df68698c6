"""The terminal's table and report.md: the same figures, the answer last or first."""
import csv
import io

from . import text

LEGEND = (f"ratios: speed relative to {{base}}, above 1 is faster; {text.TIE} not distinguishable "
          "from it (the 95 % interval crosses 1); ? too few blocks for an interval; "
          "* best, or not distinguishable from the best.")


def title(cell):
    notes = text.label(cell)
    return cell["name"] + (f"  ({'; '.join(notes)})" if notes else "")


def failures(result):
    return [f"{cell['name']} under {row['column']}: {row['failure']}"
            for cell in result["cells"] for row in cell["rows"] if row["failure"]]


def state(result):
    """What kept the run from being whole, or nothing."""
    lines = []
    short = [cell["name"] for cell in result["cells"]
             if any((row.get("ratio") or {}).get("verdict") == "too few blocks" for row in cell["rows"])]
    if short:
        lines.append(f"{len(short)} of {len(result['cells'])} cells have too few blocks for an interval: "
                     "raise --budget or --rounds, or lower --scale or the number of cells.")
    if result["stopped"] and (short or result["unfinished"] or not result["finished"]):
        lines.insert(0, f"Stopped early: {result['stopped']}.")
    if result["unfinished"]:
        lines.append(f"Not run: {', '.join(result['unfinished'])}.")
    return lines


def terminal(result):
    base = result["reference"]
    lines = []
    for cell in result["cells"]:
        lines += ["", title(cell)]
        lines += ["  " + line for line in text.table(*text.cell_table(cell, base))]
        if line := text.against_best(cell):
            lines.append("  " + line)
    head, speed, memory = text.summary_table(result)
    lines += ["", f"speed relative to {base}, geometric mean of each workload's cells"]
    lines += ["  " + line for line in text.table(head, speed)]
    lines += ["", f"peak RSS relative to {base}, the same (below 1 is smaller)"]
    lines += ["  " + line for line in text.table(head, memory)]
    lines += ["", LEGEND.format(base=base), ""]
    lines += [text.sentence(group, base) for group in result["groups"]]
    if control := text.control_sentence(result["control"]):
        lines.append(control)
    lines += state(result)
    bad = failures(result)
    if bad:
        lines += ["", "failed:"] + ["  " + line for line in bad]
    return "\n".join(lines) + "\n"


def proof_rows(result):
    rows = []
    for column in result["columns"]:
        environment = " ".join(f"{k}={v}" for k, v in column["environment"].items())
        rows.append([column["name"], column["version"] or "–", column["package"] or "–",
                     column["path"] or "no preload", column["sha256"] or "–",
                     column["frontend"] or environment or "–"])
    return ["allocator", "says it is", "package", "library", "sha256", "mode or environment"], rows


def markdown(result):
    base = result["reference"]
    lines = ["# Allocators compared", ""]
    lines += [f"- {text.sentence(group, base)}" for group in result["groups"]]
    if control := text.control_sentence(result["control"]):
        lines.append(f"- {control}")
    lines += [f"- {line}" for line in state(result)]
    lines += [f"- failed: {line}" for line in failures(result)]
    head, speed, memory = text.summary_table(result)
    lines += ["", f"## Speed relative to {base}", "", *text.markdown_table(head, speed),
              "", f"## Peak RSS relative to {base}", "", *text.markdown_table(head, memory),
              "", LEGEND.format(base=base).replace("*", "\\*"), "", "## Every cell", ""]
    for cell in result["cells"]:
        lines += [f"<details><summary>{title(cell)}</summary>", "",
                  *text.markdown_table(*text.cell_table(cell, base)), "",
                  *([line, ""] if (line := text.against_best(cell)) else []), "</details>"]
    lines += ["", "## Proof and environment", "", *text.markdown_table(*proof_rows(result), left=6), ""]
    rows = [[section, name, str(value)] for section, facts in result["environment"].items()
            if isinstance(facts, dict) for name, value in facts.items()]
    lines += text.markdown_table(["", "", ""], rows, left=3)
    lines += ["", f"Seed {result['seed']}, scale {result['scale']:g}."]
    return "\n".join(lines) + "\n"


def table_csv(result):
    """One line per cell and allocator, plain units, empty where there is nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    more = sorted({key for cell in result["cells"] for row in cell["rows"]
                   for key in row.get("more", {})})
    writer.writerow(["cell", "allocator", "failure", "runs", "ops_per_second", "ratio",
                     "ratio_low", "ratio_high", "verdict", "peak_rss_bytes", "rss_per_live",
                     "best_other", "vs_best", "vs_best_low", "vs_best_high", "vs_best_verdict",
                     "threads", "more_threads_than_cores", *more])
    for cell in result["cells"]:
        for row in cell["rows"]:
            ratio, other = row.get("ratio") or {}, row.get("against_best") or {}
            writer.writerow([
                cell["name"], row["column"], row["failure"] or "", row.get("runs", ""),
                row.get("speed", ""), *(blank(ratio.get(key)) for key in
                                        ("median", "low", "high", "verdict")),
                blank(row.get("peak_rss")), blank(row.get("rss_per_live")),
                *(blank(other.get(key)) for key in ("column", "median", "low", "high", "verdict")),
                blank(cell["threads"]), int(cell["crowded"]),
                *(blank(row.get("more", {}).get(key)) for key in more)])
    return out.getvalue()


def blank(value):
    return "" if value is None else value

