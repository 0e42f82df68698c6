"""report.html: one file, no network, for a phone as for a screen, light and dark."""
from html import escape

from . import report_text, text

STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6472; --line: #d5d9de;
  --paper: #ffffff; --card: #f5f6f8; --good: #2b8a3e; --bad: #c92a2a; --accent: #d9480f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a0a8b4; --line: #3b424d;
  --paper: #14171c; --card: #1d2128; --good: #69db7c; --bad: #ff8787; --accent: #ff922b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .2rem 0 .1rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); font-size: .9rem; }
.answers { display: grid; gap: .7rem; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr));
  margin: 1rem 0; }
.answer { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; }
.answer h3 { margin: 0; font-size: .9rem; font-weight: 600; color: var(--soft); }
.answer .who { font-size: 1.25rem; font-weight: 650; color: var(--accent); }
.answer p { margin: .15rem 0; font-size: .92rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
  background: var(--paper); }
th { font-weight: 600; color: var(--soft); }
.words td, .words th { text-align: left; } .words td { white-space: normal; overflow-wrap: anywhere; }
.best { font-weight: 700; color: var(--good); } .failed { color: var(--bad); text-align: left; }
.slower { color: var(--soft); }
details { border-bottom: 1px solid var(--line); padding: .35rem 0; }
summary { cursor: pointer; } summary .soft { margin-left: .4rem; }
figure { margin: .8rem 0 1.4rem; } figcaption { font-size: .9rem; color: var(--soft); }
figure svg { width: 100%; min-width: 34rem; height: auto; display: block; }
.warn { border-left: 4px solid var(--bad); padding: .3rem .8rem; background: var(--card); }
"""


def tag(name, content, **attributes):
    attributes = "".join(f' {key.rstrip("_")}="{escape(str(value))}"'
                         for key, value in attributes.items() if value)
    return f"<{name}{attributes}>{content}</{name}>"


def who(best):
    """mymalloc ≈ tcmalloc, or "mymalloc ?" where too few blocks were run to say."""
    sure = not best["lead"] or best["lead"]["verdict"] != "too few blocks"
    return " ≈ ".join([best["fastest"], *best["ties"]]) + ("" if sure else " ?")


def answer(group, base):
    """A card: which is best for this workload, how sure, what about memory."""
    best = group["best"]
    if not best:
        return tag("div", tag("h3", escape(group["workload"])) +
                   tag("p", "no allocator finished every cell"), class_="answer")
    said = text.sentence(group, base).partition(": ")[2]
    return tag("div", tag("h3", escape(group["workload"]) + f" · {count(group)}") +
               tag("div", escape(who(best)), class_="who") + tag("p", escape(said)), class_="answer")


def count(group):
    number = len(group["cells"])
    return f"{number} cell" + "s" * (number != 1)


def html_table(head, rows, classes=None, kind=None):
    body = ""
    for y, row in enumerate(rows):
        cells = ""
        for x, content in enumerate(row):
            spans = len(head) - x if x == len(row) - 1 and len(row) < len(head) else None
            style = classes(y, x) if classes else None
            cells += tag("td", escape(content), colspan=spans,
                         class_="failed" if spans else style)
        body += tag("tr", cells)
    top = tag("tr", "".join(tag("th", escape(name)) for name in head))
    return tag("div", tag("table", tag("thead", top) + tag("tbody", body), class_=kind),
               class_="scroll")


def summary(head, rows):
    starred = [[content.removesuffix(" *") for content in row] for row in rows]
    return html_table(head, starred,
                      lambda y, x: "best" if rows[y][x].endswith(" *") else None)


def cell_details(cell, base):
    head, rows = text.cell_table(cell, base)
    verdicts = {row["column"]: (row.get("ratio") or {}).get("verdict") for row in cell["rows"]}

    def style(y, x):
        if cell["best"] and x == 0 and rows[y][0] in (cell["best"]["fastest"], *cell["best"]["ties"]):
            return "best"
        return "slower" if x in (2, 3) and verdicts.get(rows[y][0]) == "slower" else None

    notes = tag("span", escape("; ".join(text.label(cell))), class_="soft")
    best = who(cell["best"]) if cell["best"] else "failed"
    title = f"{escape(cell['name'])} – <b>{escape(best)}</b> {notes}"
    line = text.against_best(cell)
    return tag("details", tag("summary", title) + html_table(head, rows, style) +
               (tag("p", escape(line), class_="soft") if line else ""))


def proof(result):
    head, rows = report_text.proof_rows(result)
    blocks = html_table(head, rows, kind="words")
    facts = [[section, name, str(value)] for section, values in result["environment"].items()
             for name, value in values.items()]
    return blocks + html_table(["", "", ""], facts, kind="words")


def sections(drawings):
    """The first two kinds of drawing open, the others to be opened."""
    out = ""
    for place, section in enumerate(dict.fromkeys(drawing[0] for drawing in drawings)):
        mine = [drawing for drawing in drawings if drawing[0] == section]
        inside = "".join(tag("figure", tag("div", svg, class_="scroll") +
                             tag("figcaption", escape(caption))) for _, caption, svg in mine)
        if place < 2:
            out += tag("h2", escape(section)) + inside
        else:
            title = tag("summary", tag("b", escape(section)) + tag("span", str(len(mine)), class_="soft"))
            out += tag("details", title + inside)
    return out


def page(result, run, drawings):
    base = result["reference"]
    machine = result["environment"]["machine"]
    kernel = result["environment"]["kernel"]
    where = (f"{machine['CPU']}, {machine['CPUs allowed (affinity)']} CPUs, Linux {kernel['release']}, "
             f"{result['environment']['software']['glibc']}, {run['started']}")
    body = tag("h1", "Which allocator, for what, how sure")
    body += tag("p", escape(where), class_="soft")
    body += tag("div", "".join(answer(group, base) for group in result["groups"]), class_="answers")
    trouble = [*report_text.state(result), *("Failed: " + line for line in report_text.failures(result))]
    body += "".join(tag("p", escape(line), class_="warn") for line in trouble)
    if control := text.control_sentence(result["control"]):
        body += tag("p", escape(control), class_=None if result["control"]["holds"] else "warn")
    head, speed, memory = text.summary_table(result)
    body += tag("h2", f"Speed relative to {escape(base)}") + summary(head, speed)
    body += tag("h2", f"Peak RSS relative to {escape(base)}") + summary(head, memory)
    legend = report_text.LEGEND.format(base=base).replace("* best", "bold: best")
    body += tag("p", escape(legend), class_="soft")
    body += sections(drawings)
    body += tag("h2", "Every cell")
    body += "".join(cell_details(cell, base) for cell in result["cells"])
    body += tag("h2", "Proof and environment") + proof(result)
    body += tag("p", f"Seed {result['seed']}, scale {result['scale']:g}. Each process proved which "
                "library its malloc came from; a process that did not is refused above.", class_="soft")
    head = (f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>Allocators compared</title><style>{STYLE}</style>")
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'

