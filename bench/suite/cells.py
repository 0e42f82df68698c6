"""Cells: what the benchmark binary offers, their names, and which to run."""
import fnmatch
import os
import re
import subprocess
from dataclasses import dataclass

from . import Problem
from .process import clean_environment

NAMED = ("larson", "xmalloc", "prodcons")  # the three workloads of the default run
PROGRAMS = ("server", "program")  # whole programs: one driven by a load, one that does its work and ends
# --quick: one question each of the named workloads, all of them short.
QUICK = ("larson/fixed/threads:2", "larson/fixed/threads:8", "xmalloc/64B/pairs:1",
         "xmalloc/mixed/pairs:1", "prodcons/1to1", "prodcons/free-only")
# The default run: these counts are enough for a curve.
COUNTS = {1, 2, 4, 8, 64}
# Cells about memory: their size is part of what they are, so that their work is never scaled.
MEMORY = ("crowd", "fragment", "idle", "large/blocks")
# Cells that time the program's own reads and writes, which placement and pages change: what it
# costs on the stub's heap is no cost of the harness.
OWN_WORK = ("replace/written", "rows", "sharing", "swing", "walk")
# Google Benchmark appends how it measured; that is no part of a cell's name.
DECORATION = re.compile(r"/(iterations:\d+|repeats:\d+|manual_time|real_time|process_time)$")


@dataclass(frozen=True)
class Cell:
    name: str
    benchmark: str = ""  # as Google Benchmark calls it
    program: object = None  # a programs.Program instead of a benchmark
    trace: object = None  # or a traces.Trace

    @property
    def workload(self):
        return self.name.split("/")[0]

    def is_of(self, families):
        """families: workloads, or workload/variant"""
        return self.workload in families or "/".join(self.name.split("/")[:2]) in families

    @property
    def is_memory(self):
        return self.is_of(MEMORY)

    @property
    def is_own_work(self):
        return self.is_of(OWN_WORK)

    @property
    def count(self):
        """Threads or pairs, as --threads takes them."""
        match = re.search(r"/(?:threads|pairs):(\d+)(?:/|$)", self.name)
        return int(match[1]) if match else None

    @property
    def threads(self):
        """Threads that the name tells of; None when it tells of none."""
        return self.count and self.count * (2 if "/pairs:" in self.name else 1)


def plain(benchmark):
    while True:
        shorter = DECORATION.sub("", benchmark)
        if shorter == benchmark:
            return benchmark
        benchmark = shorter


def available(binary):
    """Every cell of the binary, in its own order."""
    if not os.access(binary, os.X_OK):
        raise Problem(f"no benchmark binary at {binary}: build first (leave out --no-build), "
                      "or name a build folder with --build")
    listing = subprocess.run([binary, "--benchmark_list_tests=true"], capture_output=True,
                             text=True, env=clean_environment())
    cells = [Cell(plain(line), line) for line in listing.stdout.split("\n") if line.strip()]
    if listing.returncode or not cells:
        raise Problem(f"{binary} --benchmark_list_tests failed: {listing.stderr.strip()[:200]}")
    return cells


def parse_threads(text):
    try:
        counts = {int(part) for part in text.split(",")}
    except ValueError:
        counts = {0}
    if min(counts) < 1:
        raise Problem(f"--threads '{text}': a list of counts such as 1,2,8")
    return counts


def match(cells, patterns):
    """Cells by globs on their names; a workload's name means all of it."""
    chosen = []
    for pattern in patterns:
        found = [cell for cell in cells
                 if fnmatch.fnmatchcase(cell.name, pattern)
                 or fnmatch.fnmatchcase(cell.name, pattern + "/*")]
        if not found:
            workloads = ", ".join(dict.fromkeys(cell.workload for cell in cells))
            raise Problem(f"no cell matches '{pattern}'; workloads: {workloads} "
                          "(ci/bench --list shows every cell)")
        chosen += [cell for cell in found if cell not in chosen]
    return chosen


def choose(cells, patterns=None, threads=None, scope="default"):
    """The cells to run: those named, or those of the scope."""
    if patterns:
        chosen = match(cells, patterns)
    elif scope == "full":
        chosen = list(cells)
    elif scope == "quick":
        chosen = [cell for cell in cells if cell.name in QUICK]
    else:
        chosen = [cell for cell in cells if cell.workload in NAMED
                  and (threads or cell.count in (None, *COUNTS))]
    if not chosen:
        raise Problem(f"this binary has none of the cells of a {scope} run; choose with --workloads")
    if not threads:
        return chosen
    have = sorted({cell.count for cell in chosen if cell.count})
    if lacking := sorted(threads - set(have)):
        raise Problem(f"--threads: no chosen cell has {', '.join(map(str, lacking))} threads or pairs; "
                      f"they have {', '.join(map(str, have)) or 'none in their names'}")
    # A cell that says nothing of threads stays: the filter does not speak of it.
    return [cell for cell in chosen if cell.count in (None, *threads)]


def unscaled(chosen, short):
    """(cells to run, cells about memory that a short run leaves out)."""
    left_out = [cell for cell in chosen if short and cell.is_memory]
    if len(left_out) == len(chosen):
        raise Problem(f"{', '.join(cell.name for cell in chosen)}: about memory, never scaled: "
                      "leave out --quick and a small --scale")
    return [cell for cell in chosen if cell not in left_out], left_out


def exact(benchmark):
    """A --benchmark_filter that matches this benchmark alone (POSIX extended)."""
    return "^" + re.sub(r"([.+*?()\[\]{}|^$\\])", r"\\\1", benchmark) + "$"
