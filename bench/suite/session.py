"""One run: its record, its folder, its end. Any form that measures goes through here.

What run.json holds is enough to go on: --resume reads cells, columns and settings from
it and needs no other option.
"""
import contextlib
import hashlib
import os
import random
import shlex
import time
from dataclasses import dataclass

from . import FORMAT, ROOT, Problem, allocators, cells, doctor, environment, limit, options, programs, timeline, traces, units
from .progress import Progress
from .store import HAS, Folder, fresh


@dataclass
class Plan:
    cells: list
    columns: list
    folder: object
    binary: str
    seed: int
    scale: float = 1.0  # of the cells that are not about memory
    rounds: int | None = None  # exactly so many; None: adaptive
    budget: float | None = None  # seconds; no block starts after it
    timeout: float = 120.0  # seconds a process may take
    baseline: bool = True
    rest: float = timeline.REST  # seconds that servers and replays stay idle at the end
    memory: int | None = None  # bytes that a process may have, by a cgroup
    stamp: list | None = None  # of the worker, as of a column's library

    def __post_init__(self):
        self.limit = limit.Limit(self.memory) if self.memory else None

    @property
    def worker(self):
        """What does the work of the cells, or runs the program: the figures are its own as much as an allocator's."""
        folder, cell = os.path.dirname(self.binary), self.cells[0]
        return os.path.join(os.path.dirname(folder), traces.TOOL) if cell.trace else \
            os.path.join(folder, programs.MEASURE) if cell.program else self.binary

    def identify(self):
        """SHA-256 of the worker, which may not change from now on."""
        try:
            with open(self.worker, "rb") as file:
                self.stamp = allocators.stamp_of(self.worker)
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            raise Problem(f"no {self.worker}: build first (leave out --no-build)") from None

    def scale_of(self, cell):
        return 1.0 if cell.is_memory else self.scale


def draw_seed(given):
    return random.randrange(2**32) if given is None else given


def record_of(plan, scope, left_out=()):
    for column in plan.columns:  # some tenths of a second each: not before all else is known to be good
        column.package = allocators.package_of(column.path)
    return {"format": FORMAT, "pid": os.getpid(), "seed": plan.seed, "scale": plan.scale,
            "rounds": plan.rounds, "budget": plan.budget, "timeout": plan.timeout,
            "baseline": plan.baseline, "rest": plan.rest, "memory": plan.memory, "binary": plan.binary.removeprefix(ROOT + "/"),
            "worker_sha256": plan.identify(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S %z"), "finished": False, "stopped": None,
            "usable_cpus": environment.usable_cpus(), "scope": scope, "left_out": list(left_out),
            "cells": [cell.name for cell in plan.cells],
            "programs": [programs.as_dict(cell.program) for cell in plan.cells if cell.program],
            "traces": [traces.as_dict(cell.trace) for cell in plan.cells if cell.trace],
            "columns": [column.as_dict() for column in plan.columns]}


def place(out, what, link):
    """The new run's folder, locked. Nothing that is there is touched."""
    if not out:
        folder = fresh(options.RESULTS, what, environment.short_commit(ROOT))
        folder.link = options.RESULTS / link
    else:
        folder = Folder(out)
        folder.create()
    folder.lock()
    if folder.holds_run():
        raise Problem(f"{folder.path} holds a run already: --resume goes on with it, "
                      "--out names another folder")
    if not folder.is_empty():  # they would be counted as this run's
        raise Problem(f"{folder.path} holds samples of a run whose run.json is gone; --out names another folder")
    return folder


@contextlib.contextmanager
def folder_of(plan):
    """However it ends, a folder without a sample does not stay."""
    try:
        yield
    finally:
        if plan.folder:
            plan.folder.leave()


def start(plan, record, out, link="latest"):
    """A new run of the plan."""
    plan.folder = place(out, record["scope"], link)
    plan.folder.write("environment.json",
                      {"format": FORMAT} | environment.describe(ROOT) | {"warnings": doctor.warnings()})
    plan.folder.write("run.json", record)
    for name in HAS:  # what no reader would take is told now, not after an hour
        plan.folder.read(name)


def checkout_path(path):
    """A path as run.json has it: inside the checkout it is relative."""
    return path if os.path.isabs(path) else os.path.join(ROOT, path)


def same_column(saved):
    """The column of an interrupted run, if its library is still the same."""
    name, path = saved["name"], checkout_path(saved["path"])
    column = allocators.library(name, path, saved["environment"])
    if column.sha256 != saved["sha256"]:
        raise Problem(f"--resume: {path} (allocator '{name}') is not the library that the run began "
                      f"with: SHA-256 {column.sha256[:12]}… instead of {saved['sha256'][:12]}…")
    column.preloads, column.control_of = saved["preloads"], saved["control_of"]
    return column


def same_cells(record, binary):
    if record.get("programs"):
        known = {program.name: program for program in map(programs.from_dict, record["programs"])}
        return [cells.Cell(name, program=known[name]) for name in record["cells"]]
    if record.get("traces"):
        known = {trace.name: trace for trace in map(traces.from_dict, record["traces"])}
        return [cells.Cell(name, trace=known[name]) for name in record["cells"]]
    known = {cell.name: cell for cell in cells.available(binary)}
    gone = [name for name in record["cells"] if name not in known]
    if gone:
        raise Problem(f"--resume: {binary} has no cell {', '.join(gone)} any more")
    return [known[name] for name in record["cells"]]


def interrupted(out):
    """(folder, record) of the run to go on with."""
    folder = Folder(os.path.realpath(out or options.RESULTS / "latest"))
    record = folder.read("run.json")
    if "timeout" not in record or folder.is_packed():
        raise Problem(f"--resume: the run in {folder.path} " + (
            "is packed: it is finished" if folder.is_packed() else "is of an older suite; start a new one"))
    folder.lock()
    return folder, record


def resume(out, longer):
    """(plan, record) of an interrupted run, its folder locked. longer: seconds besides those it had, or None."""
    folder, record = interrupted(out)
    binary = checkout_path(record["binary"])
    budget = longer + folder.seconds(record["cells"]) if longer else record["budget"]
    plan = Plan(same_cells(record, binary), [same_column(saved) for saved in record["columns"]],
                folder, binary, seed=record["seed"], scale=record["scale"], rounds=record["rounds"],
                budget=budget, timeout=record["timeout"],
                baseline=record["baseline"], rest=record.get("rest", timeline.REST),
                memory=record.get("memory"))
    if (found := plan.identify()) != record.get("worker_sha256", found):
        raise Problem(f"--resume: {plan.worker} is not the program that the run began with: SHA-256 "
                      f"{found[:12]}… instead of {record['worker_sha256'][:12]}…")
    record |= {"stopped": None, "finished": False, "pid": os.getpid(), "budget": plan.budget}
    folder.write("run.json", record)
    return plan, record


def execute(plan, record, resumed=False):
    """Run all blocks. (status, failures): however it ended, the record says how."""
    status, failures, progress = 0, {}, Progress()
    progress.say(f"{units.plural(len(plan.cells), 'cell')}, {len(plan.columns)} allocators, seed {plan.seed}\n"
                 f"results in {plan.folder.path}")
    try:
        from .runner import Runner  # numpy with it, some tenths of a second
        runner = Runner(plan, progress)
        failures = runner.failures
        if resumed:
            runner.load()
        record["stopped"] = runner.run()
        record["finished"] = not (record["stopped"] and plan.rounds)  # a number of rounds that was asked for is a promise
    except KeyboardInterrupt:
        record["stopped"], status = "interrupted", 130
    except Problem as problem:
        record["stopped"], status = str(problem), 2
    if not plan.folder.is_empty():
        plan.folder.write("run.json", record)
    progress.clear()
    if record["stopped"]:
        progress.say(f"ci/bench: {record['stopped']}{go_on(plan.folder, status)}")
    return status, failures


def go_on(folder, status):
    """How a run that stopped early is gone on with: status 0 is one whose budget was spent."""
    if folder.is_empty():
        return ""
    latest = options.RESULTS / "latest"
    where = "" if latest.exists() and latest.samefile(folder.path) else f" --out {shlex.quote(str(folder.path))}"
    more = "" if status else " --budget TIME"
    return f"; what was finished is kept, ci/bench --resume{where}{more} goes on"


def ended(plan, began):
    return f"{units.plural(len(plan.cells), 'cell')} in {units.clock(time.monotonic() - began)}; " \
           f"report: {plan.folder.path / 'report.html'}"
