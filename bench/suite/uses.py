"""What people use an allocator for, and which cells answer for it.

Real programs answer where the run has any that belong to a use, else their recorded traces; named
workloads stand in where it has neither. One rule says which allocator to take: of those that no difference to the best is
shown of, the one that is best in the other respect; speed is asked first, memory in a small container.
"""
from dataclasses import dataclass

from . import glossary, groups
from .cells import PROGRAMS, Cell
from .measures import PEAK, SPEED


@dataclass(frozen=True)
class Use:
    title: str
    about: str
    programs: tuple
    workloads: tuple
    first: object = SPEED


YOURS = Use("Yours", "what was given with --program, --server or --trace", (), ())
USES = (
    YOURS,
    Use("Servers", "requests and connections come and go, much stays",
        ("redis", "nginx", "postgres", "memcached"), ("larson", "requests", "prodcons")),
    Use("Batch jobs", "compilers, packers, databases in one process: started, run, ended",
        ("gcc", "c++", "clang++", "git", "sqlite3", "ghostscript", "z3", "imagemagick", "ffmpeg", "rocksdb"),
        ("order", "regrow")),
    Use("Desktop and scripts", "interpreters and their objects",
        ("python3", "objects", "perl", "lua", "ruby", "node"), ("fragment", "walk")),
    Use("Arrays of numbers", "vectors of kilobytes to many megabytes, read and written over and over",
        ("arrays16", "arrays48", "arrays200"), ("swing", "large", "replace", "rows")),
    Use("Many threads", "threads that share objects, or all allocate at once",
        ("maps", "strings"), ("larson", "xmalloc", "prodcons", "churn", "crowd", "sharing")),
    Use("Small containers", "memory is what runs out: every cell of this run, memory asked first",
        ("*",), ("*",), PEAK),
)


def belongs(cell, use):
    workload, _, rest = cell["name"].partition("/")
    if use is YOURS:
        return workload in (*PROGRAMS, "trace") and not glossary.of_ready(rest)
    if workload == "server":  # a ready one, or of --server
        return use.title in ("Servers", "Small containers")
    recorded = workload in ("program", "trace")
    names = use.programs if recorded else use.workloads
    return "*" in names or (rest.removesuffix("-long") if recorded else workload) in names


def cells_of(cells, use):
    mine = [cell for cell in cells if belongs(cell, use) and not groups.is_latency(cell["name"])]
    programs = [cell for cell in mine if cell["workload"] in PROGRAMS] or \
        [cell for cell in mine if cell["workload"] == "trace"]
    if use.title == "Many threads":  # one thread says nothing of many
        mine = [cell for cell in mine if Cell(cell["name"]).count != 1]
    return programs or mine


def answers(cells, loaded, columns, rng):
    """A group for each use that the run can speak of, with which to take."""
    found = []
    for use in USES:
        mine = cells_of(cells, use)
        if mine:
            group = groups.analyse_group(use.title, mine, loaded, columns, rng, (SPEED, PEAK))
            found.append(group | {"about": use.about, "by": use.first.key,
                                  "programs": mine[0]["workload"] in PROGRAMS, "take": take(group, use)})
    return found


def take(group, use):
    """Best in what is asked first, ties settled by the other; None where no column finished all."""
    best = group["best"][use.first.key]
    if not best or not group["counted"][use.first.key]:
        return None
    other = PEAK if use.first is SPEED else SPEED
    sign = -1 if other.more_is_better else 1
    centre = {row["column"]: sign * (row["ratios"][other.key] or {"median": 1})["median"]
              for row in group["rows"]}
    return min((best["first"], *best["ties"]), key=centre.get)
