"""report.html: one file, no network, for a phone as for a screen, light and dark."""
import os

import jinja2
import markupsafe

from . import answers, glossary, palette, report_data, report_text, stats, text

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page")
CHARTS = (("pareto", "Speed against memory", "means of a workload: up is faster, left is smaller (above the process's "
           "start, where known)"),
          ("threads", "Thread scaling", "beyond the dotted line there are more threads than cores"),
          ("sizes", "Size sweep", "time of an operation by size"))


def inlined(*names):
    """Files of ours that are no markup: taken as they are."""
    parts = []
    for name in names:
        with open(os.path.join(PAGE, name), encoding="utf-8") as file:
            parts.append(file.read())
    return markupsafe.Markup("\n".join(parts))


def cards(result):
    """For each kind of use: whom to take, why, and all columns with time and memory side by side."""
    base = result["reference"]
    for group in result["uses"]:
        rows = sorted(group["rows"], key=lambda row: -(row["ratios"]["speed"] or {"median": 1})["median"])
        yield {"title": f"{group['workload']}: {answers.how_many(group)}", "about": group["about"],
               "who": answers.who(group), "said": answers.sentence(group, base).partition(": ")[2],
               "head": ["allocator", "speed [95 %]", "peak RSS [95 %]"],
               "rows": [[(row["column"], ""), *(side(row, group, key, base) for key in answers.AGAINST)] for row in rows]}


def side(row, group, key, base):
    """(text, class)"""
    shown = text.summary_cell(row, group, key, base)
    span = "" if row["failed"] or row["missing"] else text.span(row["ratios"][key])
    return (markupsafe.Markup("{} <small>{}</small>").format(shown.removeprefix(text.STAR), span),
            "best" if shown.startswith(text.STAR) else "")


def marked(content):
    """What a star says is said by weight and colour; 1.15× / 0.90× may have one in each part."""
    parts = [markupsafe.Markup('<span class="best">{}</span>').format(part.lstrip("* ")) if part.startswith("*")
             else markupsafe.escape(part) for part in content.split(" / ")]
    return markupsafe.Markup(" / ").join(parts)


def pinned(result, title, head, rows):
    """The column that the report is about behind the names, where a phone keeps it in view."""
    at = head.index(result["columns"][report_data.pinned(result)]["name"])

    def moved(row):
        return [row[0], row[at], *row[1:at], *row[at + 1:]]
    return title, moved(head), [[(marked(content), "") for content in moved(row)] for row in rows]


def contents(result, programs):
    yield "answers", "Which to take"
    if programs:
        yield "programs", "Programs"
    yield from (("explore", "Explore"), ("charts", "Charts"), ("workloads-tables", "By workload"),
                ("glossary", "Glossary"), ("proof", "Proof and environment"))


def charts(result):
    """Those that this run has cells for."""
    kinds = {"pareto", *(family["kind"] for family in report_data.all_families(result))}
    return [chart for chart in CHARTS if chart[0] in kinds]


def page(result, folder):
    base = result["reference"]
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGE), autoescape=True,
                                     trim_blocks=True, lstrip_blocks=True)
    programs = answers.programs_table(result)
    seen = palette.looks(result["columns"])
    return environment.get_template("report.html.j2").render(
        result=result, facts=text.facts(result), cards=list(cards(result)), contents=list(contents(result, programs)),
        trouble=[*report_text.state(result), *("Failed: " + line for line in report_text.failures(result))],
        control=text.control_sentence(result["control"]), programs=programs and pinned(result, *programs),
        tables=[pinned(result, *table) for table in text.summary_tables(result)],
        legend=[line.replace("*:", "Bold:") for line in report_text.legend(base)], charts=charts(result), fewest=stats.FEWEST,
        glossary=list(glossary.entries(result["cells"])), looks=[seen[column["name"]] for column in result["columns"]],
        proof=report_text.proof_rows(result), environment=report_text.environment_rows(result),
        css=inlined("report.css"), script=inlined("charts.js", "report.js"),
        data=markupsafe.Markup(report_data.page_json(result, folder)))
