"""ci/bench: the command line, and the order in which things happen.

Nothing here or in options.py needs more than the standard library: --help and a mistyped
option are answered before packages are installed and before anything is built.
"""
import argparse
import atexit
import codecs
import os
import shutil
import signal
import sys
import tempfile
import textwrap
import time

from . import Problem, allocators, cells, ending, options as opt, prepare, programs, rivals, session, timeline, traces, units

BUDGET = {"quick": 110, "default": 20 * 60, "full": None}
ROUNDS = {"quick": None, "default": None, "full": 6}
SCALE = {"quick": 0.1, "default": 0.3, "full": 0.1}

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
  ci/bench report A B --out DIR         one report of several, programs first
  ci/bench keep DIR                     make a finished run small, for git, and add its
                                        summary to results/history.csv
  ci/bench judge DIR NAME               status by tolerance, a Markdown summary and a badge
  ci/bench doctor                       is this machine fit to measure on? status 1: not quite

examples:
  ci/bench --quick                      the three named workloads in under 3 minutes
  ci/bench --full                       everything, with the A/A control
  ci/bench --resume                     go on with the run in results/latest
  ci/bench --workloads larson,xmalloc/64B --threads 2,8
  ci/bench --allocators +more,+advised  also tbbmalloc, scudo, and settings that authors advise
  ci/bench --allocator snmalloc=/opt/libsnmallocshim.so
  ci/bench --allocator thp=/opt/libmimalloc.so,MIMALLOC_ALLOW_LARGE_OS_PAGES=1
  ci/bench --programs redis,python3     ready programs, of those named below
  ci/bench --trace bench/corpus          recorded programs, replayed; or files of mymalloc-trace record
  ci/bench --program -- ./tool --selftest
  ci/bench --server 'redis-server --port 7777' --ready 'redis-cli -p 7777 ping' \\
           --load 'redis-benchmark -p 7777 -n 100000 -t set,get,lpush'

{programs}

exit status: 0 done; 1 a cell failed (crash, refused identity, timeout), was not reached,
or regressed; 2 bad input; 130 interrupted. What was finished is kept in each case.
"""
# With --resume the run's own record says all but these.
RESUMABLE = {"resume", "out", "budget", "no_build"}


def parser():
    parse = opt.Parser(
        prog="ci/bench", description=TEXT, epilog=EXAMPLES.format(programs=textwrap.fill(
            "ready programs: " + programs.describe(), 88, subsequent_indent="  ", break_on_hyphens=False)),
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    scope = parse.add_mutually_exclusive_group()
    scope.add_argument("--quick", action="store_true",
                       help="a few short cells of the three named workloads, under 3 minutes")
    scope.add_argument("--full", action="store_true",
                       help=f"every workload at the settings of published runs: {ROUNDS['full']} rounds, "
                       f"scale {SCALE['full']:g}, and one library under two names as a control")
    parse.add_argument("--allocators", metavar="LIST", help="columns, of: "
                       f"{','.join(allocators.DEFAULT)} (default: all); opt-in: "
                       f"{rivals.describe()}; "
                       "glibc always runs, ratios are relative to it")
    parse.add_argument("--allocator", metavar="NAME=/PATH.so[,ENV=VALUE…]", action="append",
                       help="one more column: any library that takes malloc over by "
                       "LD_PRELOAD; NAME=glibc,ENV=VALUE for glibc in another setting")
    parse.add_argument("--workloads", metavar="GLOBS",
                       help="cells to run: names or globs, such as larson,xmalloc/64B/*")
    parse.add_argument("--threads", metavar="LIST", help="only cells with these thread or pair counts")
    parse.add_argument("--rounds", metavar="N", type=int, help="exactly N blocks a cell "
                       "(default: from 6 until each interval is within ±2 %%, at most 30; "
                       f"--full {ROUNDS['full']})")
    parse.add_argument("--budget", metavar="TIME", help="start no block after this long: 90s, 20m, 2h "
                       f"(default {units.clock(BUDGET['default'])}, --quick "
                       f"{units.clock(BUDGET['quick'])}; none with --rounds or --full)")
    parse.add_argument("--scale", metavar="X", type=float,
                       help="multiply the work of each cell; cells about memory keep their size, and "
                       f"are left out below {SCALE['full']:g} (default {SCALE['default']:g}, "
                       f"--quick {SCALE['quick']:g}, --full {SCALE['full']:g})")
    parse.add_argument("--timeout", metavar="TIME",
                       help="a process that takes longer has failed (default 120s)")
    parse.add_argument("--seed", metavar="N", type=int,
                       help="of the orders and the bootstrap (default: drawn, and recorded)")
    parse.add_argument("--out", metavar="DIR", help="results folder (default "
                       "results/DATE-WHAT-COMMIT, to which results/latest leads)")
    parse.add_argument("--resume", action="store_true",
                       help="go on with the interrupted run in results/latest or --out; its other "
                       "options are those it began with")
    parse.add_argument("--control", metavar="NAME",
                       help="the allocator that runs under two names (--full: mymalloc or the last)")
    kinds(parse)
    parse.add_argument("--memory", metavar="SIZE", help="run each process in a memory cgroup of that size, such as 64M: "
                       "whether it survives, and how fast")
    parse.add_argument("--list", action="store_true", help="show every cell, or those that the other options choose, and stop")
    parse.add_argument("--build", metavar="DIR", help="build folder (default build/release)")
    parse.add_argument("--no-build", action="store_true",
                       help="install and build nothing: use what the build folder has")
    return parse


def kinds(parse):
    """What is run instead of workloads."""
    parse.add_argument("--programs", metavar="LIST", nargs="?", const="all",
                       help="run ready programs instead of workloads (default: all of them)")
    parse.add_argument("--program", action="store_true",
                       help="run the command after -- instead of workloads")
    parse.add_argument("--trace", metavar="FILE", nargs="+", help="replay recordings of mymalloc-trace, plain or "
                       "compressed by xz; of a folder all that lie in it")
    parse.add_argument("--server", metavar="CMD", help="run this server under each allocator: one command, for the shell")
    parse.add_argument("--ready", metavar="CMD", help="ends with status 0 once the server answers")
    parse.add_argument("--load", metavar="CMD", help="what drives it, without the allocator: redis-benchmark, ab, wrk, "
                       "pgbench, or a script that prints 'throughput N' and 'p99 1.2ms'")
    parse.add_argument("--stop", metavar="CMD", help="ends it (default: SIGTERM)")
    parse.add_argument("--rest", metavar="TIME", help="how long a server or a replay stays without a call at the end, while "
                       f"RSS is read; up to 60s (default {timeline.REST:g}s)")


def check(options, command):
    """What needs neither packages nor a build: told in the first second."""
    if options.program != bool(command):
        raise Problem("--program needs a command after --" if options.program
                      else f"'-- {command[0]}…' needs --program in front")
    if options.program + sum(each is not None for each in (
            options.programs, options.workloads, options.server, options.trace)) > 1:
        raise Problem("choose one of --workloads, --programs, --program, --server and --trace")
    if options.rest and not (options.server or options.trace or options.programs):
        raise Problem("--rest: servers and replays rest, with --server, --programs or --trace")
    if options.memory:
        opt.size("--memory", options.memory)
    opt.within("--rest", rest_of(options), 0, timeline.MOMENTS[-1], "at most 60s")
    parts = {name: getattr(options, name) for name in ("server", "ready", "load")}
    if any([*parts.values(), options.stop]) and not all(parts.values()):
        raise Problem(f"--{next(name for name, given in parts.items() if not given)} is missing: a server needs --server, "
                      "--ready and --load")
    opt.check_numbers(options)
    wanted = opt.words("--allocators", options.allocators, "glibc,mymalloc") or []
    if unknown := [word for word in wanted if word.startswith("+") and word not in rivals.GROUPS]:
        raise Problem(f"--allocators: no group '{unknown[0]}'; groups: {', '.join(rivals.GROUPS)}")
    opt.words("--workloads", options.workloads, "larson,xmalloc/64B/*")
    opt.words("--programs", options.programs, "redis,lua")
    opt.words("--threads", options.threads, "1,2,8")
    opt.writable(options.out or opt.RESULTS)
    for text in options.allocator or []:
        allocators.parse_own(text)
    if options.resume:
        given = [name for name, value in vars(options).items() if value and name not in RESUMABLE]
        if given:
            raise Problem(f"--resume: leave out --{given[0].replace('_', '-')}: the run goes on with the "
                          "options it began with; --out says which run, --budget how much longer")


def rest_of(options):
    return opt.seconds("--rest", options.rest) if options.rest else timeline.REST


def less_than_full(options, columns):
    """What keeps a run with --full from being what is published by that name, or None."""
    lacking = [name for name in allocators.DEFAULT if name not in (column.name for column in columns)]
    if lacking:
        return f"without {', '.join(lacking)}"
    usual = {"rounds": ROUNDS["full"], "scale": SCALE["full"], "threads": None, "budget": None, "memory": None}
    return next((f"--{name} {value}" for name, standard in usual.items()
                 if (value := getattr(options, name)) not in (None, standard)), None)


def scope_of(options, columns):
    """What the run is called, in its folder's name too."""
    if options.trace:
        return "traces"
    if options.program:
        return "program"
    if options.server:
        return "server"
    if options.programs:
        return "programs"
    if options.workloads:
        return "quick-cells" if options.quick else "cells"
    if options.full and (why := less_than_full(options, columns)):
        print(f"{why}: a part of --full, called cells", file=sys.stderr)
        return "cells"
    return "quick" if options.quick else "full" if options.full else "default"


def chosen_cells(options, command, binary):
    """(cells to run, names of those that a short run leaves out)"""
    if options.program:
        program = programs.custom(command)
        return [cells.Cell(program.name, program=program)], []
    if options.server:
        program = programs.custom_server(options.server, options.ready, options.load, options.stop)
        return [cells.Cell(program.name, program=program)], []
    if options.trace:
        return [cells.Cell(trace.name, trace=trace) for trace in traces.chosen(options.trace)], []
    if options.programs:
        wanted = None if options.programs == "all" else opt.words("--programs", options.programs, "")
        return [cells.Cell(program.name, program=program)
                for program in programs.ready(wanted, binary)], []
    counts = cells.parse_threads(options.threads) if options.threads else None
    scope = "quick" if options.quick else "full" if options.full else "default"
    chosen = cells.choose(cells.available(binary), opt.words("--workloads", options.workloads, ""),
                          counts, scope)
    short = options.quick or (options.scale is not None and options.scale < SCALE["full"])
    chosen, left_out = cells.unscaled(chosen, short)
    return chosen, [cell.name for cell in left_out]


def chosen_columns(options, build):
    wanted = opt.words("--allocators", options.allocators, "") or list(allocators.DEFAULT)
    columns = allocators.resolve(wanted, options.allocator or [], build)
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


def bench(options, command):
    check(options, command)
    build = options.build or opt.BUILD
    if not (options.no_build or options.resume):  # a run goes on with what it began with
        wanted = opt.words("--allocators", options.allocators, "") or []
        prepare.install("build", "bench", *(["ready"] if options.programs else []), *rivals.packages(wanted))
        prepare.build(build, with_programs=options.programs is not None,
                      own=[name for name in rivals.OWN if name in wanted])
    if options.list:
        options.full = not options.quick  # every cell, unless an option chooses
        print("\n".join(cell.name for cell in chosen_cells(options, command, f"{build}/bench/mymalloc-bench")[0]))
        return 0
    if options.resume:
        longer = options.budget and opt.seconds("--budget", options.budget)
        plan, record = session.resume(options.out, longer)
    else:
        plan, record = new_run(options, command, build)
    began = time.monotonic()
    with session.folder_of(plan):
        if not options.resume:
            session.start(plan, record, options.out)
        status, failures = session.execute(plan, record, options.resume)
    if not plan.folder.holds_run():
        return status
    from . import report  # matplotlib takes a second to load: not for a mistyped option
    result = report.write(plan.folder)
    sys.stdout.write(report.terminal(result, opt.terminal_width()))
    print("\n" + session.ended(plan, began))
    return status or int(bool(failures or result["unfinished"]))


def new_run(options, command, build):
    """(Plan, record) of what the options say; the folder is still to come."""
    binary = os.path.join(os.path.realpath(build), "bench/mymalloc-bench")
    chosen, left_out = chosen_cells(options, command, binary)
    columns = chosen_columns(options, build)
    scope = "quick" if options.quick else "full" if options.full else "default"
    rounds = options.rounds or ROUNDS[scope]
    budget = opt.seconds("--budget", options.budget) if options.budget else \
        BUDGET[scope] if rounds is None else None
    least = 0.01 * len(chosen) * len(columns)
    if budget and budget < least:
        raise Problem(f"--budget {options.budget}: {len(chosen)} cells under {len(columns)} allocators take "
                      f"at least {least:.2g} s, 10 ms a process")
    for column in columns[1:]:
        allocators.probe(column)
    for name in left_out:
        print(f"{name}: left out, about memory and never scaled", file=sys.stderr)
    plan = session.Plan(chosen, columns, None, binary, seed=session.draw_seed(options.seed),
                scale=options.scale or SCALE[scope], rounds=rounds, budget=budget,
                timeout=opt.seconds("--timeout", options.timeout or "120s"), baseline=not options.quick,
                rest=rest_of(options), memory=options.memory and opt.size("--memory", options.memory))
    return plan, session.record_of(plan, scope_of(options, columns), left_out)


def replace_by_ascii(error):
    """Signs that an ASCII terminal lacks."""
    signs = {"×": "x", "≈": "~", "–": "-", "─": "-", "µ": "u", "…": "...", "±": "+/-", "≤": "<=", "·": "-"}
    return "".join(signs.get(sign, "?") for sign in error.object[error.start:error.end]), error.end


def fit_the_terminal():
    """UTF-8 only where the locale says so: no figure is lost to a sign that can't be shown."""
    codecs.register_error("ascii signs", replace_by_ascii)
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or ""
    utf8 = "utf" in locale.lower()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding=None if utf8 else "ascii", errors="ascii signs")


def find_scratch():
    """A read-only container has no /tmp; the results folder takes files in any case."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = os.environ["TMPDIR"] = str(opt.RESULTS)
        os.environ["MPLCONFIGDIR"] = fonts = tempfile.mkdtemp(prefix="tmp-fonts-")
        atexit.register(shutil.rmtree, fonts, ignore_errors=True)


def other_form(argv):
    """compare, compare-builds, report and keep: each in a module of its own."""
    from . import forms
    return forms.main(argv)


def run(argv):
    fit_the_terminal()
    opt.readable(argv)
    find_scratch()
    if argv and argv[0] in ("compare", "compare-builds", "report", "keep", "judge", "doctor"):
        return other_form(argv)
    own, command = opt.split(argv)
    return bench(parser().parse_args(own), command)


def main(argv=None):
    argv = list(sys.argv[1:] if argv is None else argv)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # not where nohup, or a shell for its background, has it ignored
            signal.signal(number, ending.interrupt)
    return ending.of("ci/bench", lambda: run(argv))
