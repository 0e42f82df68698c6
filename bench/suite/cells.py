"""Cells: what the benchmark binary offers, their names, and which to run."""
import fnmatch
import os
import re
import subprocess
from dataclasses import dataclass

from . import Problem
from .process import clean_environment

NAMED = ("larson", "xmalloc", "prodcons")  # the three workloads of the default run
# --quick: one question each of the named workloads, all of them short.
QUICK = ("larson/fixed/threads:2", "larson/fixed/threads:8", "xmalloc/64B/pairs:1",
         "xmalloc/mixed/pairs:1", "prodcons/1to1", "prodcons/free-only")
# The default run: these counts are enough for a curve.
COUNTS = {1, 2, 4, 8, 64}
# Workloads about the memory they hold: its amount is never scaled, so a short run leaves them out.
MEMORY = ("fragment", "swing", "walk", "idle")
# Google Benchmark appends how it measured; that is no part of a cell's name.
DECORATION = re.compile(r"/(iterations:\d+|repeats:\d+|manual_time|real_time|process_time)$")


@dataclass(frozen=True)
class Cell:
    name: str
    benchmark: str = ""  # as Google Benchmark calls it
    program: object = None  # a programs.Program instead of a benchmark

    @property
    def workload(self):
        return self.name.split("/")[0]

    @property
    def is_memory(self):
        return self.workload in MEMORY

    @property
    def threads(self):
        """Threads that the name tells of; None when it tells of none."""
        match = re.search(r"/(threads|pairs):(\d+)(/|$)", self.name)
        if not match:
            return None
        return int(match[2]) * (2 if match[1] == "pairs" else 1)


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


def choose(cells, patterns=None, threads=None, scope="default"):
    """The cells to run. patterns: globs on names; a workload's name means all of it."""
    if patterns:
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
    elif scope == "full":
        chosen = list(cells)
    elif scope == "quick":
        chosen = [cell for cell in cells if cell.name in QUICK]
    else:
        chosen = [cell for cell in cells if cell.workload in NAMED]
        threads = threads or COUNTS
    if threads:
        # A cell that says nothing of threads stays: the filter does not speak of it.
        counted = re.compile(r"/(?:threads|pairs):(\d+)(?:/|$)")
        chosen = [cell for cell in chosen
                  if not (found := counted.search(cell.name)) or int(found[1]) in threads]
    if not chosen and not threads:
        raise Problem(f"this binary has none of the cells of a {scope} run; choose with --workloads")
    if not chosen:
        raise Problem("no cell is left after --threads; ci/bench --list shows every cell")
    return chosen


def exact(benchmark):
    """A --benchmark_filter that matches this benchmark alone (POSIX extended)."""
    return "^" + re.sub(r"([.+*?()\[\]{}|^$\\])", r"\\\1", benchmark) + "$"
