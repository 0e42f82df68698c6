"""What git keeps of a run: its samples in one file, and its summary in results/history.csv."""
import csv
import fcntl
import io
import os
import shlex

from . import Problem, measures, reason, report
from .store import write_whole

HISTORY = "history.csv"
FIELDS = ["run", "started", "commit", "system", "glibc", "cpus", "scale", "rounds", "workload", "cells",
          "allocator", "version", *(f"{measure.key}{part}" for measure in measures.ALL
                                    for part in ("", "_low", "_high")), "prefault"]
FIGURES = FIELDS[FIELDS.index("version") + 1:-1]
# What ci/bench report makes again; report.md stays, it is what README links to.
MADE_AGAIN = ("results.json", "results.csv", "report.html", "table.txt")


def rows_of(name, result):
    """A line a workload and allocator: geometric means relative to the reference."""
    environment, software = result["environment"], result["environment"]["software"]
    versions = {column["name"]: column["version"] or column["package"] or "" for column in result["columns"]}
    rounds = max((cell["rounds"] for cell in result["cells"]), default=0)
    for group in result["groups"]:
        for row in group["rows"]:
            ratios = [row["ratios"][measure.key] or {} for measure in measures.ALL]
            yield [name, result["started"], software["commit"], software["system"], software["glibc"],
                   environment["machine"]["CPUs allowed (affinity)"], f"{result['scale']:g}", rounds,
                   group["workload"], len(group["cells"]), row["column"], versions[row["column"]],
                   *(f"{ratio[part]:.4f}" if ratio.get(part) is not None else ""
                     for ratio in ratios for part in ("median", "low", "high")),
                   "yes" if "free memory" in environment["machine"] else ""]


def add(path, name, result):
    """The run's lines, in place of those that it had; two that are added at once come one after the other."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        replace(path, name, result)
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was forked meanwhile has the descriptor, too
        os.close(descriptor)


def replace(path, name, result):
    """The same by who has the folder's lock."""
    old = read(path) if path.exists() else []
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted([*(row for row in old if row["run"] != name),
                             *(dict(zip(FIELDS, row)) for row in rows_of(name, result))],
                            key=lambda row: (row["started"], row["run"])))
    write_whole(path, out.getvalue())


def read(path):
    """[{field: text}]; a file that was written before there was a field behind version lacks it."""
    def is_number(field):
        try:
            return float(field or 0) >= 0
        except (TypeError, ValueError):
            return False

    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            head, rows = rows.fieldnames or [], list(rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Problem(f"{path}: cannot be read: {reason(error)}") from None
    unknown = [field for field in head if field not in FIELDS]
    lacking = [field for field in FIELDS[:FIELDS.index("version") + 1] if field not in head]
    if unknown or lacking:
        raise Problem(f"{path} has other columns than this version writes: {', '.join(unknown or lacking)}")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values() or not all(map(is_number, (row[field] for field in head if field in FIGURES))):
            raise Problem(f"{path}: line {number} is damaged: not {len(head)} fields, or a word where a figure belongs")
    return rows


def keep(folder):
    """Make a finished run small. Samples are packed before anything goes."""
    run = folder.read("run.json")
    if not run["finished"]:
        raise Problem(f"{folder.path}: the run is not finished ({run['stopped'] or 'it was cut short'}); "
                      "ci/bench --resume goes on with it")
    folder.lock()
    path = folder.path.resolve()
    add(path.parent / HISTORY, path.name, report.write(folder))
    folder.pack(run["cells"])
    for name in MADE_AGAIN:
        (folder.path / name).unlink(missing_ok=True)
    for drawing in (folder.path / "plots").glob("*"):
        drawing.unlink()
    if (folder.path / "plots").exists():
        (folder.path / "plots").rmdir()
    size = sum(file.stat().st_size for file in folder.path.iterdir())
    print(f"{folder.path}: {size / 2**10:.0f} KiB; ci/bench report {shlex.quote(str(folder.path))} makes its reports again")
    return 0
