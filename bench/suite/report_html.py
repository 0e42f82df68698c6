"""report.html: one file, no network, for a phone as for a screen, light and dark."""
import os

import jinja2

from . import report_text, text

HERE = os.path.dirname(os.path.abspath(__file__))


def who(best):
    """mymalloc ≈ tcmalloc, or "mymalloc ?" where too few rounds were run to say."""
    sure = not best["lead"] or best["lead"]["verdict"] != "too few rounds"
    return f" {text.TIE} ".join([best["first"], *best["ties"]]) + ("" if sure else " ?")


def cards(result):
    """Which is best for each workload, how sure, what about memory."""
    for group in result["groups"]:
        said = text.sentence(group, result["reference"]).partition(": ")[2]
        best = group["best"]["speed"]
        counted = text.of(len(group["counted"]["speed"]), len(group["cells"]))
        yield {"workload": group["workload"], "cells": f"{counted} cell{'s' * (len(group['cells']) != 1)}",
               "who": who(best) if best else "", "said": said}


def marked(rows):
    """[(text, class)] of each row: what the star says is said by weight and colour."""
    return [[(content.removeprefix(text.STAR), "best" if content.startswith(text.STAR) else "")
             for content in row] for row in rows]


def cell_details(cell, base):
    head, rows = text.cell_table(cell, base)
    best = cell["best"]["speed"]
    return {"name": cell["name"], "who": who(best) if best else "failed", "notes": "; ".join(text.label(cell)),
            "head": head, "rows": marked(rows), "lines": text.notes(cell, base)}


def sections(drawings):
    """[(title, [(caption, svg)], open)]: the first two kinds of drawing open."""
    kinds = list(dict.fromkeys(section for section, _, _ in drawings))
    return [(kind, [(caption, svg) for section, caption, svg in drawings if section == kind], place < 2)
            for place, kind in enumerate(kinds)]


def page(result, drawings):
    base = result["reference"]
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True,
                                     trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("report.html.j2").render(
        result=result, base=base, facts=text.facts(result), cards=list(cards(result)),
        trouble=[*report_text.state(result), *("Failed: " + line for line in report_text.failures(result))],
        control=text.control_sentence(result["control"]),
        tables=[(title, head, marked(rows)) for title, head, rows in text.summary_tables(result)],
        legend=[line.replace("*:", "Bold:") for line in report_text.legend(base)],
        sections=sections(drawings), cells=[cell_details(cell, base) for cell in result["cells"]],
        proof=report_text.proof_rows(result), environment=report_text.environment_rows(result))
