"""Blocks of fresh processes, in random order, until the intervals are narrow enough.

Everything random comes from the seed, the round and the cell, so that a resumed run
goes on with the orders it would have had. A (cell, column) pair that failed once is not
run again: its row says how it failed, and no time of it is shown.
"""
import json
import os
import pathlib
import random
import tempfile
import time

from . import HARNESS, ROOT, Problem, allocators, cells, measures, prefault, process, programs, stats, timeline, traces, units
from .store import slug

HARNESS_ROUNDS = 3  # each such process repeats its work, and tells its own interval
MOST_ROUNDS = 30
NARROW = 0.02  # half an interval, relative: an adaptive run stops a cell here


def speed_of(sample):
    """Operations per second (programs: runs per second) of a stored sample, or None."""
    if sample["suite"].get("failure"):
        return None
    return sample["benchmarks"][0]["ops_per_second"]


def settled(blocks, columns):
    """True when every column's ratio to the reference has a narrow interval."""
    reference = {number: speed for number, speed in blocks.get(columns[0].name, {}).items()}
    for column in columns[1:]:
        mine = blocks.get(column.name, {})
        pairs = [(mine[number], reference[number]) for number in mine if number in reference]
        if pairs:
            found = stats.ratio(pairs)
            if found.half_width > NARROW:
                return False
    return True


class Runner:
    def __init__(self, plan, progress):
        self.plan = plan
        self.progress = progress
        self.failures = {}  # (cell, column) -> text
        self.speeds = {}  # cell -> column -> round -> speed
        self.peaks = {}  # cell -> the most that a process of it had resident
        self.proven = set()  # (program, column) whose preload was seen to answer
        self.used = 0.0  # seconds of the budget
        self.scratch = None

    def load(self):
        """Take over what an interrupted run finished; whole blocks only."""
        for cell in self.plan.cells:
            self.plan.folder.mend(cell.name)
            for (number, column), sample in self.plan.folder.samples(cell.name).items():
                self.note(cell.name, column, number, sample)
        self.used = self.plan.folder.seconds(cell.name for cell in self.plan.cells)

    def note(self, cell, column, number, sample):
        if sample["suite"].get("failure"):
            self.failures[cell, column] = sample["suite"]["failure"]
        else:
            by_round = self.speeds.setdefault(cell, {}).setdefault(column, {})
            by_round[number] = speed_of(sample)
            peak = measures.peak(sample["benchmarks"][0]) or 0
            self.peaks[cell] = max(peak, self.peaks.get(cell, 0))

    def order(self, number, cell):
        """The block's columns in their random order, the baseline among them."""
        columns = list(self.plan.columns)
        if self.plan.baseline and number < HARNESS_ROUNDS \
                and not (cell.program or cell.trace or cell.is_own_work):
            columns.append(allocators.Column(HARNESS, environment={"MYMALLOC_BENCH_NULL": "1"}))
        random.Random(f"{self.plan.seed}/{number}/{cell.name}").shuffle(columns)
        return columns

    def is_done(self, number, cell):
        return all((cell.name, column.name) in self.failures
                   or number in self.speeds.get(cell.name, {}).get(column.name, {})
                   for column in self.order(number, cell))

    def run(self):
        """All blocks. KeyboardInterrupt and Problem leave finished samples in the folder."""
        plan = self.plan
        start = time.monotonic() - self.used
        least = plan.rounds or stats.FEWEST
        self.progress.begin(len(plan.cells) * least, plan.budget and start + plan.budget)
        with tempfile.TemporaryDirectory(prefix="mymalloc-bench-") as self.scratch:
            os.chmod(self.scratch, 0o711)  # postgres, started by root, becomes another user
            for number in range(plan.rounds or MOST_ROUNDS):
                shuffled = list(plan.cells)
                random.Random(f"{plan.seed}/{number}").shuffle(shuffled)
                for cell in shuffled:
                    if number >= least and settled(self.speeds.get(cell.name, {}), plan.columns):
                        continue
                    if plan.budget and time.monotonic() - start > plan.budget:
                        return f"the budget of {units.clock(plan.budget)} was spent"
                    if not self.is_done(number, cell):
                        self.block(number, cell)
                    else:
                        self.progress.skip()
        return None

    def block(self, number, cell):
        shown = {}
        for position, column in enumerate(self.order(number, cell)):
            if (cell.name, column.name) in self.failures:
                continue
            self.progress.running(number, cell.name, column.name)
            sample = self.sample(cell, column)
            sample["suite"] |= {"round": number, "column": column.name, "order": position}
            self.plan.folder.append(cell.name, sample)
            self.note(cell.name, column.name, number, sample)
            failure = sample["suite"].get("failure")
            if failure:
                self.progress.say(f"{cell.name} under {column.name}: {failure}")
            elif column.name != HARNESS:
                shown[column.name] = speed_of(sample)
        self.progress.block(number, cell.name, shown, self.plan.columns[0].name)

    def sample(self, cell, column):
        """One fresh process, its identity verified."""
        for path, stamp in ((column.path, column.stamp), (self.plan.worker, self.plan.stamp)):
            if allocators.changed(path, stamp):
                raise Problem(f"{path} was changed while the run went on; "
                              "what was finished is kept, start again with the new file")
        prefault.prefault(self.peaks.get(cell.name, 0))
        if cell.program:
            document = programs.sample(cell.program, column, self.plan, self.scratch, self.proven)
            strip_paths(document)
            return document
        if cell.trace:
            return prove(column, *traces.sample(cell.trace, column, self.plan, self.scratch))
        return self.benchmark(cell, column)

    def benchmark(self, cell, column):
        report = pathlib.Path(self.scratch) / (slug(cell.name) + ".json")
        report.unlink(missing_ok=True)
        memory = report.with_suffix(".timeline")
        memory.unlink(missing_ok=True)
        environment = process.clean_environment() | column.variables() | {
            "MYMALLOC_BENCH_SCALE": repr(self.plan.scale_of(cell)),
            "MYMALLOC_BENCH_TIMELINE": str(memory)}
        outcome = process.run(
            [self.plan.binary, f"--benchmark_filter={cells.exact(cell.benchmark)}",
             f"--benchmark_out={report}", "--benchmark_out_format=json",
             "--benchmark_format=json"], environment, self.plan.timeout, limit=self.plan.limit)
        document, failure = read_report(report, cell, outcome)
        document["suite"] = {"seconds": round(outcome.seconds, 4),
                             "cpu_seconds": round(outcome.cpu_seconds, 4)}
        if not failure and memory.exists() and is_about_memory(document["benchmarks"][0]):
            rows, entry = read_timeline(memory), document["benchmarks"][0]
            document["suite"]["timeline"] = timeline.thinned(rows)
            entry["rss_integral_bytes_s"] = timeline.integral(
                [[at, rss] for at, _, rss in rows], entry.get("base_rss_bytes", 0))
        return prove(column, document, failure)


def prove(column, document, failure):
    """The document, with what speaks against it: its failure, or another allocator than the column's."""
    if not failure and column.name != HARNESS:
        if refused := allocators.refusal(column, document["context"]):
            failure = "refused: " + refused
        else:
            column.version = document["context"].get("allocator_version")
            column.frontend = document["context"].get("allocator_frontend")
    strip_paths(document)
    if failure:
        document["suite"]["failure"] = failure.replace(ROOT + "/", "")
        document["suite"].pop("timeline", None)
    return document


def read_report(path, cell, outcome):
    """(Google Benchmark's document, failure): the process counts only when both are whole."""
    if outcome.failure:
        return {}, outcome.failure
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entry, = document["benchmarks"]
        context = document["context"]
    except FileNotFoundError:
        return {}, "wrote no report"
    except (ValueError, KeyError, TypeError):
        return {}, "its report is truncated or no Google Benchmark JSON"
    if not isinstance(context, dict) or entry.get("name") != cell.benchmark:
        return {}, f"reported on '{entry.get('name')}' instead of {cell.benchmark}"
    if entry.get("error_occurred"):
        return document, f"failed: {entry.get('error_message', 'no reason given')}"
    if entry.get("failed"):
        return document, "failed: its own verification found damage"
    if not entry.get("ops_per_second", 0) > 0:
        return document, "reported no ops_per_second"
    return document, None


def is_about_memory(entry):
    """Cells that hold, drain or keep a constant amount live: their timeline is kept."""
    return any(key in entry for key in ("settled_live_bytes", "held_rss_bytes")) or \
        entry["name"].startswith("prodcons/") and entry.get("live_bytes", 0) >= 16 * 2**20


def read_timeline(path):
    """[[seconds, live bytes, RSS bytes]] as the harness sampled them."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split(",")
        if len(fields) == 3 and fields[0][:1].isdigit():
            rows.append([round(float(fields[0]), 3), int(fields[1]), int(fields[2])])
    return rows


def strip_paths(document):
    """Results are published: no host name, no path of this machine's checkout."""
    context = document.get("context")
    if not context:
        return
    context.pop("host_name", None)
    for key in ("executable", "allocator_path"):
        if key in context:
            context[key] = context[key].removeprefix(ROOT + "/")
