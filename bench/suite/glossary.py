"""One sentence for each workload and ready program, from where it is kept: its source.

A workload's is `.summary` in workloads/NAME.c, a variant's the third text of its entry there; a
program's is the comment at the head of bench/programs/NAME.sh, that of a recording's long form in
bench/corpus/NAME.sh.
"""
import pathlib
import re

from . import ROOT, traces
from .cells import PROGRAMS
from .programs import READY, command_of

TEXT = r'((?:\s*"(?:[^"\\]|\\.)*")+)'  # one C string, in as many parts as it has lines


def joined(literals):
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literals)).replace('\\"', '"')


def sentence(text):
    """As a sentence: large at the start, a dot at the end."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def of_workload(name):
    """(what it does, whom it follows, what is counted, {variant: what it does}) or None."""
    path = pathlib.Path(ROOT) / "workloads" / f"{name}.c"
    if not path.exists():
        return None
    source = path.read_text(encoding="utf-8")
    found = {key: joined(match[1]) for key in ("summary", "source", "op")
             if (match := re.search(rf"\.{key} ={TEXT}", source))}
    if len(found) < 3:
        return None
    table = re.search(r"struct variant \w+\[\] = \{(.*?)\n\};", source, re.S)
    variants = re.findall(rf"\{{{TEXT},{TEXT},{TEXT}\s*\}}", table[1]) if table else []
    return (found["summary"], found["source"], found["op"],
            {joined(name): joined(summary) for name, _, summary in variants})


def of_program(name):
    """What a ready program does, or None: the comment below its script's first line."""
    path = pathlib.Path(command_of(name)[1])
    return comment_of(path, name).replace("$1", re.sub(r"^\D*", "", name)) or None if path.exists() else None


def comment_of(path, name):
    """The comment below a script's first line, without the name that it begins with."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()[1:]
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line[1:].strip())
    return " ".join(comment).removeprefix(f"{name.rstrip('0123456789')}: ").removeprefix(f"{name}: ")


GIVEN = {"program": "A command given with --program.", "server": "Driven by the commands given with --server."}


def of_ready(name):
    """A sentence on a ready program, or on the one that a trace of the corpus is of; or None."""
    form = pathlib.Path(ROOT) / "bench/corpus" / (name.removesuffix("-long") + ".sh")
    if name.endswith("-long") and form.exists():
        return sentence(comment_of(form, name))
    said = name in READY and of_program(name)
    return said and sentence(said)


def entries(cells):
    """[(name, sentence, more)] for the workloads and programs among the cells, in their order."""
    for workload in dict.fromkeys(cell["workload"] for cell in cells):
        if workload in PROGRAMS:
            for cell in cells:
                if cell["workload"] == workload:
                    yield cell["name"], of_cell(cell["name"]), ""
        elif workload == "trace":
            yield workload, "The allocator calls of a recorded program, made again by as many threads.", traces.NOTE
        elif found := of_workload(workload):
            yield workload, sentence(found[0]), f"One operation: {found[2]}. Source: {found[1]}."
        else:
            yield workload, "Not described in the sources.", ""


def of_cell(name):
    """What is said beside one cell."""
    workload, _, rest = name.partition("/")
    if workload in PROGRAMS:
        return of_ready(rest) or GIVEN[workload]
    if workload == "trace":
        return " ".join(filter(None, (
            "The calls of a recorded program, made again.", of_ready(rest), traces.NOTE)))
    if not (found := of_workload(workload)):
        return ""
    variant = found[3].get(rest.split("/")[0])
    return sentence(found[0]) + (f" {sentence(variant)}" if variant else "")
