"""The terminal's table and report.md: the same figures, the answer last or first."""
import csv
import io

from . import answers, measures, text, units

LEGEND = (
    "Ratios are relative to {base}: above 1.00× is faster, or more memory. A workload's is the geometric "
    "mean over its cells.",
    "[a–b]: where the true ratio lies, with 95 % confidence. " + text.TIE +
    ": no difference to {base} shown. ?: fewer than 6 rounds, no interval.",
    "*: best of its row, or no difference to the best shown. A speed or size is {base}'s times the "
    "ratio, so that they agree.",
    "Above start: peak RSS less that of the process before the work, of cells that keep 1 MiB live or more.")


def legend(base):
    return [line.format(base=base) for line in LEGEND]


def title(cell):
    notes = text.label(cell)
    return cell["name"] + (f" ({'; '.join(notes)})" if notes else "")


def failures(result):
    rows = [row | {"cell": cell["name"]} for cell in result["cells"] for row in cell["rows"] if row["failure"]]
    return [f"{row['cell']} under {row['column']}: {row['failure']}" for row in [*rows, *result["failed_beside"]]]


def state(result):
    """What kept the run from being whole or quiet, or nothing."""
    lines = [f"Machine at the start: {warning}." for warning in result["environment"].get("warnings", ())]
    short = [cell["name"] for cell in result["cells"]
             if any(row["runs"] and (row["ratios"]["speed"] or {}).get("verdict") == "too few rounds"
                    for row in cell["rows"])]
    if short:
        lines.append(f"{len(short)} of {units.plural(len(result['cells']), 'cell')}: too few rounds for an interval, "
                     "raise --budget or --rounds, or lower --scale or the number of cells.")
    unrun = [f"{cell['name']} under {row['column']}" for cell in result["cells"] for row in cell["rows"]
             if not row["runs"] and not row["failure"]]
    if result["stopped"] and (short or unrun or result["unfinished"] or not result["finished"]):
        lines.insert(0, f"Stopped early: {result['stopped']}.")
    if result["unfinished"] or unrun:
        names = [*unrun, *result["unfinished"]]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        lines.append(f"Not run: {', '.join(names[:8])}{more}.")
    return lines


def cell_tables(cell, base):
    """(head, rows): its figures, and of a server what its load told."""
    load = text.load_table(cell)
    return [text.cell_table(cell, base), *([load] if load else [])]


def first_tables(result):
    """Kinds of use, then programs one by one: (title, head, rows) of those that there are."""
    return [table for table in (answers.table(result), answers.programs_table(result)) if table]


def use_sentences(result):
    return [answers.sentence(group, result["reference"]) for group in result["uses"]]


def terminal(result, width=100):
    base = result["reference"]
    lines = [*text.facts(result)]
    for cell in result["cells"]:
        lines += ["", title(cell)]
        for table in cell_tables(cell, base):
            lines += ["  " + line for line in text.table(*table, most=width - 2)]
        lines += ["  " + line for line in text.notes(cell, base)]
    for name, head, rows in [*text.summary_tables(result), *first_tables(result)]:
        lines += ["", name]
        lines += ["  " + line for line in text.table(head, rows, most=width - 2)]
    lines += ["", *legend(base), ""]
    lines += [text.sentence(group, base) for group in result["groups"]]
    lines += ["", *use_sentences(result)]
    if control := text.control_sentence(result["control"]):
        lines.append(control)
    lines += state(result)
    bad = failures(result)
    if bad:
        lines += ["", "failed:"] + ["  " + line for line in bad]
    return "\n".join(text.folded(line, width) for line in lines) + "\n"


def proof_rows(result):
    rows = []
    for column in result["columns"]:
        environment = " ".join(f"{k}={v}" for k, v in column["environment"].items())
        rows.append([column["name"], column["version"] or "–", column["package"] or "–",
                     column["path"] or "no preload", column["sha256"] or "–",
                     "; ".join(filter(None, (column["frontend"], environment))) or "–"])
    return ["allocator", "says it is", "package", "library", "sha256", "mode or environment"], rows


def environment_rows(result):
    return ["", "", ""], [[section, name, str(value)] for section, facts in result["environment"].items()
                          if isinstance(facts, dict) for name, value in facts.items()]


def beliefs(result):
    """What one must know to believe the answers."""
    lines = [line for line in [text.control_sentence(result["control"])] if line]
    return lines + state(result) + [f"failed: {line}" for line in failures(result)]


def markdown(result):
    base = result["reference"]
    lines = ["# Allocators compared", "", *(f"{line}.  " for line in text.facts(result)), ""]
    lines += [f"- {line}" for line in [*use_sentences(result), *beliefs(result)]]
    for name, head, rows in first_tables(result):
        lines += ["", f"## {name}", "", *text.markdown_table(head, rows)]
    lines += ["", *(f"- {text.sentence(group, base)}" for group in result["groups"])]
    for name, head, rows in text.summary_tables(result):
        lines += ["", f"## {name}", "", *text.markdown_table(head, rows)]
    lines += ["", " ".join(legend(base)).replace("*", "\\*"), "", "## Every cell", ""]
    for cell in result["cells"]:
        lines += [f"<details><summary>{title(cell)}</summary>", ""]
        for table in cell_tables(cell, base):
            lines += [*text.markdown_table(*table), ""]
        lines += [line for note in text.notes(cell, base) for line in (note, "")]
        lines += ["</details>"]
    lines += ["", "## Proof and environment", "", *text.markdown_table(*proof_rows(result), left=6), ""]
    lines += text.markdown_table(*environment_rows(result), left=3)
    lines += ["", f"Seed {result['seed']}, scale {result['scale']:g}."]
    return "\n".join(lines) + "\n"


def ratio_fields(row, key):
    ratio = row.get("ratios", {}).get(key) or {}
    return [blank(row.get("raw_" + key)), *(blank(ratio.get(part)) for part in
                                            ("median", "low", "high", "verdict"))]


def table_csv(result):
    """One line per cell and allocator, plain units, own medians, empty where there is nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    more = sorted({key for cell in result["cells"] for row in cell["rows"]
                   for key in row.get("more", {})})
    fields = [f"{measure.key}{part}" for measure in measures.ALL
              for part in ("", "_ratio", "_ratio_low", "_ratio_high", "_verdict")]
    writer.writerow(["cell", "allocator", "failure", "runs", *fields, "rss_per_live",
                     "best_other", "vs_best", "vs_best_low", "vs_best_high", "vs_best_verdict",
                     "threads", "more_threads_than_cores", "scale", "harness_share", *more])
    for cell in result["cells"]:
        for row in cell["rows"]:
            other = row.get("against_best") or {}
            writer.writerow([
                cell["name"], row["column"], row["failure"] or "", row["runs"],
                *(field for measure in measures.ALL for field in ratio_fields(row, measure.key)),
                blank(row.get("rss_per_live")),
                *(blank(other.get(key)) for key in ("column", "median", "low", "high", "verdict")),
                blank(cell["threads"]), int(cell["crowded"]), blank(cell["scale"]),
                blank((cell["harness"] or {}).get("median")),
                *(blank(row.get("more", {}).get(key)) for key in more)])
    return out.getvalue()


def blank(value):
    return "" if value is None else value
