"""Recorded traces as cells (--trace): each is replayed by mymalloc-trace, every object touched.

A trace is a file of mymalloc-trace record, or that compressed by xz. Replay makes the recorded
calls with as many threads; it does not keep the program's own touching, which was not recorded:
every cache line of every object is written once when it is taken, and checked at its end.
"""
import hashlib
import json
import lzma
import os
import pathlib
import shutil
import stat
from dataclasses import dataclass

from . import ROOT, Problem, process, reason, timeline
from .programs import MEASURE
from .store import slug

MAGIC = b"\x89mtrace\n"
ENDINGS = (".mtrace", ".mtrace.xz")
TOOL = "workloads/trace/mymalloc-trace"  # in the build
CHECKOUT = "{checkout}"  # as in programs.py
NOTE = ("Every cache line of every object is written once, when it is taken: what the program itself wrote and "
        "read was not recorded.")


@dataclass(frozen=True)
class Trace:
    name: str  # of the cell: trace/STEM
    path: str
    sha256: str


def opened(path):
    return lzma.open(path) if path.name.endswith(".xz") else open(path, "rb")


def read(path):
    """A Trace, its content seen to be one."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device has no end to wait for
            raise Problem(f"--trace {path}: not a file")
        with opened(path) as file:
            begins = file.read(len(MAGIC))
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise Problem(f"--trace {path}: cannot be read: {reason(error)}") from None
    if begins != MAGIC:
        raise Problem(f"--trace {path}: no trace; mymalloc-trace record makes one")
    return Trace(f"trace/{path.name.removesuffix('.xz').removesuffix('.mtrace')}", str(path.resolve()), digest)


def chosen(names):
    """The traces that are named; of a folder all that lie in it."""
    found = []
    for name in names:
        path = pathlib.Path(name)
        inside = sorted(file for file in path.iterdir() if file.name.endswith(ENDINGS)) if path.is_dir() else [path]
        if not inside:
            raise Problem(f"--trace {name}: the folder holds no file {' or '.join('*' + end for end in ENDINGS)}")
        found += map(read, inside)
    for trace in found:
        twins = [other.path for other in found if other.name == trace.name]
        if len(twins) > 1:
            raise Problem(f"--trace: {' and '.join(twins)} have the same name; rename one")
    return found


def as_dict(trace):
    return {"name": trace.name, "path": trace.path.replace(ROOT, CHECKOUT), "sha256": trace.sha256}


def from_dict(saved):
    trace = read(pathlib.Path(saved["path"].replace(CHECKOUT, ROOT)))
    if trace.sha256 != saved["sha256"]:
        raise Problem(f"--resume: {trace.path} is not the trace that the run began with: SHA-256 "
                      f"{trace.sha256[:12]}… instead of {saved['sha256'][:12]}…")
    return trace


def unpacked(trace, scratch):
    """The file that a replay can read: a compressed one is unpacked once a run."""
    if not trace.path.endswith(".xz"):
        return trace.path
    path = pathlib.Path(scratch) / (slug(trace.name) + ".mtrace")
    if not path.exists():
        try:
            with lzma.open(trace.path) as source, open(path, "wb") as file:
                shutil.copyfileobj(source, file, 2**20)
        except (OSError, lzma.LZMAError, EOFError) as error:
            path.unlink(missing_ok=True)
            raise Problem(f"{trace.path} cannot be unpacked into {scratch}: {error}") from None
    return str(path)


def sample(trace, column, plan, scratch):
    """(document in the shape of a Google Benchmark report, failure) of one replay."""
    bench = pathlib.Path(plan.binary).absolute().parent
    tool, measure = bench.parent / TOOL, bench / MEASURE
    for program in (tool, measure):
        if not os.access(program, os.X_OK):
            raise Problem(f"no {program}: build first (leave out --no-build)")
    path = unpacked(trace, scratch)
    usage_path = pathlib.Path(scratch) / (slug(trace.name) + ".json")
    said_path = usage_path.with_suffix(".said")
    with open(said_path, "wb") as output:
        outcome = process.run(
            [str(measure), str(usage_path), *(f"{key}={value}" for key, value in column.variables().items()), "--",
             str(tool), "replay", "--json", "--touch", f"--settle={plan.rest:g}", path],
            process.clean_environment(), plan.timeout + plan.rest, output=output, limit=plan.limit)
    document = {"suite": {"seconds": round(outcome.seconds, 4)}}
    if outcome.failure:
        return document, outcome.failure
    usage = json.loads(usage_path.read_text(encoding="utf-8"))
    document["suite"]["cpu_seconds"] = round(usage["cpu_seconds"], 4)
    if failure := process.describe(usage["status"], outcome.stderr):
        return document, failure
    try:
        said = json.loads(said_path.read_text(encoding="utf-8", errors="replace"))
    except ValueError:
        return document, "its report is truncated or no JSON"
    return document | shaped(trace, said, usage, document["suite"]), None


def shaped(trace, said, usage, suite):
    """What replay and the measuring process told, as a report's context and entry."""
    began = said["began"] - usage["began"]
    points = timeline.part(usage["timeline"], began, began + said["seconds"] + said["settled_seconds"])
    suite["timeline"] = timeline.kept(points)
    entry = {key: said[key] for key in said if key.endswith(("_bytes", "_faults")) or key.startswith("ops")}
    return {"context": {key: said[key] for key in said if key.startswith("allocator_")},
            "benchmarks": [{"name": trace.name, "run_type": "iteration", "iterations": 1, "time_unit": "ms",
                            "real_time": said["seconds"] * 1e3, "cpu_time": usage["cpu_seconds"] * 1e3,
                            "workload_threads": said["concurrent_threads"],
                            "rss_integral_bytes_s": timeline.integral(points, said["base_rss_bytes"])} | entry],
            "suite": suite}
