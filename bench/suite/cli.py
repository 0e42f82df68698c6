"""ci/bench: the command line, and the order in which things happen."""
import argparse
import os
import pathlib
import random
import shutil
import signal
import sys
import time

from . import FORMAT, ROOT, Problem, allocators, cells, environment, programs, units
from .progress import Progress
from .runner import Plan, Runner
from .store import Folder

RESULTS = pathlib.Path(os.environ.get("MYMALLOC_RESULTS", ROOT + "/results"))
BUILD = ROOT + "/build/release"
BUDGET = {"quick": 110, "default": 20 * 60, "full": 4 * 3600}
SCALE = {"quick": 0.1, "default": 0.3, "full": 0.5}

TEXT = """\
Measure heap allocators against each other and say which is best for what, how sure.

Every benchmark (cell) runs in a fresh process per allocator, in blocks of random order.
Ratios are taken within the block; a median ratio comes with a bootstrap 95 % interval.
Each process proves which allocator answered; a cell without the proof is refused.
"""
EXAMPLES = """\
other forms:
  ci/bench compare A B                  what changed between two results folders
  ci/bench compare-builds BASE.so HEAD.so
                                        two builds, paired; fails on a sure regression
  ci/bench report DIR                   make the reports of a results folder again

examples:
  ci/bench --quick                      the three named workloads in under 3 minutes
  ci/bench --full                       everything, with the A/A control
  ci/bench --workloads larson,xmalloc/64B --threads 2,8
  ci/bench --allocator snmalloc=/opt/libsnmallocshim.so
  ci/bench --allocator thp=/opt/libmimalloc.so,MIMALLOC_ALLOW_LARGE_OS_PAGES=1
  ci/bench --programs redis,python3     ready programs: {programs}
  ci/bench --program -- ./server --selftest

exit status: 0 done; 1 a cell failed (crash, refused identity, timeout) or regressed;
2 bad input; 130 interrupted. What was finished is kept in each case.
"""


class Parser(argparse.ArgumentParser):
    """argparse, its complaints in one line like every other."""

    def error(self, message):
        raise Problem(f"{message}; see --help")


def parser():
    parse = Parser(
        prog="ci/bench", description=TEXT, epilog=EXAMPLES.format(programs=programs.describe()),
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    scope = parse.add_mutually_exclusive_group()
    scope.add_argument("--quick", action="store_true",
                       help="a few short cells of the three named workloads, under 3 minutes")
    scope.add_argument("--full", action="store_true",
                       help="every workload, and one library under two names as a control")
    parse.add_argument("--allocators", metavar="LIST", help="columns, of: "
                       f"{','.join(allocators.DEFAULT)} (default: all); glibc always runs, "
                       "ratios are relative to it")
    parse.add_argument("--allocator", metavar="NAME=/PATH.so[,ENV=VALUE…]", action="append",
                       default=[], help="one more column: any library that takes malloc over by "
                       "LD_PRELOAD; NAME=glibc,ENV=VALUE for glibc in another setting")
    parse.add_argument("--workloads", metavar="GLOBS",
                       help="cells to run: names or globs, such as larson,xmalloc/64B/*")
    parse.add_argument("--threads", metavar="LIST", help="only cells with these thread or pair counts")
    parse.add_argument("--rounds", metavar="N", type=int, help="exactly N blocks a cell "
                       "(default: from 6 until each interval is within ±2 %%, at most 30)")
    parse.add_argument("--budget", metavar="TIME", help="start no block after this long: 90s, 20m, 2h "
                       f"(default {units.clock(BUDGET['default'])}, --quick "
                       f"{units.clock(BUDGET['quick'])}, --full {units.clock(BUDGET['full'])})")
    parse.add_argument("--scale", metavar="X", type=float,
                       help="multiply the work of each cell (default 0.3, --quick 0.1, --full 0.5)")
    parse.add_argument("--timeout", metavar="TIME", default="120s",
                       help="a process that takes longer has failed (default %(default)s)")
    parse.add_argument("--seed", metavar="N", type=int,
                       help="of the orders and the bootstrap (default: drawn, and recorded)")
    parse.add_argument("--out", metavar="DIR", help="results folder (default results/latest; "
                       "what it held becomes results/previous)")
    parse.add_argument("--resume", action="store_true",
                       help="go on with the interrupted run in the results folder")
    parse.add_argument("--control", metavar="NAME",
                       help="the allocator that runs under two names (--full: mymalloc or the last)")
    parse.add_argument("--programs", metavar="LIST", nargs="?", const="",
                       help="run ready programs instead of workloads (default: all of them)")
    parse.add_argument("--program", action="store_true",
                       help="run the command after -- instead of workloads")
    parse.add_argument("--list", action="store_true", help="show every cell and stop")
    parse.add_argument("--build", metavar="DIR", default=BUILD,
                       help="build folder (default build/release)")
    parse.add_argument("--no-build", action="store_true",
                       help="install and build nothing: use what the build folder has")
    return parse


def split(argv):
    """The suite's own arguments, and the command after --."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1:]


def words(text):
    return [word for word in text.split(",") if word] if text is not None else None


def seconds(option, text):
    try:
        return units.duration(text)
    except ValueError:
        raise Problem(f"{option} '{text}': a time such as 90s, 20m or 2h") from None


def check(options, command):
    """What argparse can't: values and combinations."""
    if options.program != bool(command):
        raise Problem("--program needs a command after --" if options.program
                      else f"'-- {command[0]}…' needs --program in front")
    if options.program + (options.programs is not None) + (options.workloads is not None) > 1:
        raise Problem("choose one of --workloads, --programs and --program")
    if options.rounds is not None and not 1 <= options.rounds <= 1000:
        raise Problem(f"--rounds {options.rounds}: from 1 to 1000")
    if options.scale is not None and not 0 < options.scale <= 1000:
        raise Problem(f"--scale {options.scale:g}: above 0, at most 1000")


def scope_of(options):
    return "quick" if options.quick else "full" if options.full else "default"


def chosen_cells(options, command, binary):
    if options.program:
        program = programs.custom(command)
        return [cells.Cell(program.name, program=program)]
    if options.programs is not None:
        return [cells.Cell(program.name, program=program)
                for program in programs.ready(words(options.programs), binary)]
    counts = cells.parse_threads(options.threads) if options.threads else None
    return cells.choose(cells.available(binary), words(options.workloads), counts, scope_of(options))


def chosen_columns(options):
    names = words(options.allocators)
    if names is None:
        names = list(allocators.DEFAULT)
    columns = allocators.resolve(names, options.allocator, options.build)
    control = options.control
    if options.full and not control and len(columns) > 1:
        control = next((c.name for c in columns if c.name == allocators.OURS), columns[-1].name)
    if control:
        original = next((c for c in columns if c.name == control), None)
        if not original:
            raise Problem(f"--control '{control}' is not among the columns: "
                          f"{', '.join(c.name for c in columns)}")
        columns.append(allocators.again(original))
    if len(columns) < 2:
        raise Problem("nothing to compare: glibc alone; name one more with --allocators or --allocator")
    return columns


def prepare_folder(options):
    """The folder to write to; an old run in results/latest is kept as results/previous."""
    default = RESULTS / "latest"
    folder = Folder(options.out or default)
    if options.resume:
        folder.read("run.json")
    elif folder.holds_run():
        if options.out:
            raise Problem(f"{folder.path} holds a run already: --resume goes on with it, "
                          "--out names another folder")
        shutil.rmtree(RESULTS / "previous", ignore_errors=True)
        default.rename(RESULTS / "previous")
    folder.create()
    return folder


def run_record(plan, options):
    return {"format": FORMAT, "seed": plan.seed, "scale": plan.scale, "rounds": plan.rounds,
            "started": time.strftime("%Y-%m-%d %H:%M:%S %z"), "finished": False, "stopped": None,
            "usable_cpus": environment.usable_cpus(), "scope": scope_of(options),
            "cells": [cell.name for cell in plan.cells],
            "columns": [column.as_dict() for column in plan.columns]}


def resume_record(folder, record):
    """The interrupted run's record, which must be about the same things."""
    old = folder.read("run.json")
    same = ("seed", "scale", "cells")
    differing = [key for key in same if old[key] != record[key]]

    def identity(columns):
        return [(c["name"], c["sha256"], c["environment"]) for c in columns]

    if identity(old["columns"]) != identity(record["columns"]):
        differing.append("allocators (names, libraries or environment)")
    if differing:
        raise Problem(f"--resume: the run in {folder.path} had other {', '.join(differing)}; "
                      "give the same options, or --out for a new run")
    return old | {"stopped": None, "rounds": record["rounds"]}


def bench(options, command):
    check(options, command)
    scope = scope_of(options)
    binary = str(pathlib.Path(options.build) / "bench/mymalloc-bench")
    if options.list:
        print("\n".join(cell.name for cell in cells.available(binary)))
        return 0
    columns = chosen_columns(options)
    plan = Plan(chosen_cells(options, command, binary), columns, None, binary,
                seed=options.seed, scale=options.scale or SCALE[scope], rounds=options.rounds,
                budget=seconds("--budget", options.budget) if options.budget else
                BUDGET[scope] if options.rounds is None else None,
                timeout=seconds("--timeout", options.timeout),
                baseline=not options.quick)
    plan.folder = prepare_folder(options)
    if plan.seed is None:
        plan.seed = plan.folder.read("run.json")["seed"] if options.resume else random.randrange(2**32)
    record = run_record(plan, options)
    if options.resume:
        record = resume_record(plan.folder, record)
    else:
        plan.folder.write("environment.json", {"format": FORMAT} | environment.describe(ROOT))
    plan.folder.write("run.json", record)
    return execute(plan, record, options)


def execute(plan, record, options):
    """Run, and report on whatever was finished however it ended."""
    from . import report  # matplotlib takes a second to load: not for a mistyped option
    print(f"{len(plan.cells)} cells, {len(plan.columns)} allocators, seed {plan.seed}, "
          f"results in {plan.folder.path}", file=sys.stderr)
    started = time.monotonic()
    runner = Runner(plan, Progress(0))
    status = 0
    try:
        if options.resume:
            runner.load()
        record["stopped"] = runner.run()
        record["finished"] = True
    except KeyboardInterrupt:
        record["stopped"] = "interrupted"
        status = 130
    except Problem as problem:
        record["stopped"] = str(problem)
        status = 2
    runner.progress.clear()
    again = "" if status == 0 else "; go on with --resume and the same options"
    if record["stopped"]:
        print(f"ci/bench: {record['stopped']}{again}", file=sys.stderr)
    plan.folder.write("run.json", record)
    result = report.write(plan.folder)
    sys.stdout.write(report.terminal(result))
    print(f"\n{len(plan.cells)} cells in {units.clock(time.monotonic() - started)}; "
          f"report: {plan.folder.path / 'report.html'}")
    return status or int(bool(runner.failures))


def main(argv=None):
    argv = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if argv and argv[0] in ("compare", "compare-builds", "report"):
            from . import compare  # only these forms need it
            return compare.main(argv)
        own, command = split(argv)
        return bench(parser().parse_args(own), command)
    except Problem as problem:
        print(f"ci/bench: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ci/bench: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
