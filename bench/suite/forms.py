"""The forms of ci/bench that measure nothing new, and compare-builds."""
import argparse
import sys

from . import REFERENCE, Problem, allocators, doctor, options as opt, prepare, units
from .store import Folder


def parser():
    parse = opt.Parser(prog="ci/bench", allow_abbrev=False)
    forms = parse.add_subparsers(dest="form", required=True)
    forms.type = str  # it takes the form's words, too, which are the form's to judge
    for name, text, folders in (
            ("compare", "what changed between two results folders", "AB"),
            ("keep", "make a finished run small, for git: its samples in one compressed file, its reports "
             "but report.md removed (ci/bench report makes them again), and its summary added to "
             "history.csv beside it", ("DIR",))):
        form = forms.add_parser(name, help=text, description=text)
        for folder in folders:
            form.add_argument(folder.lower(), metavar=folder)
        form.add_argument("--no-build", action="store_true", help=argparse.SUPPRESS)
    again = forms.add_parser("report", help="make the reports of a results folder again", description="Make the reports of a "
                             "results folder again; of several, one report: the same libraries on one machine.")
    again.add_argument("dir", metavar="DIR", nargs="+")
    again.add_argument("--out", metavar="DIR", help="where the report of several folders goes")
    again.add_argument("--no-build", action="store_true", help=argparse.SUPPRESS)
    gate = forms.add_parser("judge", help="one allocator of a run, by a tolerance", description="Status 1 when an allocator of "
                            "a results folder is slower, or takes more memory, than the reference by more than the tolerance "
                            "with 95 % confidence, or failed. Writes judgement.md and badge.svg into the folder.")
    gate.add_argument("dir", metavar="DIR")
    gate.add_argument("name", metavar="NAME")
    gate.add_argument("--reference", metavar="NAME", default=REFERENCE, help="default %(default)s")
    gate.add_argument("--tolerance", type=float, default=0.05, metavar="SHARE", help="a loss that is accepted (default %(default)s)")
    gate.add_argument("--no-build", action="store_true", help=argparse.SUPPRESS)
    look = forms.add_parser("doctor", help="is this machine fit to measure on?", description="Look at governor, turbo, "
                            "load, steal, huge pages, cgroup limits and free memory. Status 1 with warnings.")
    look.add_argument("--no-build", action="store_true", help=argparse.SUPPRESS)
    builds_form(forms)
    return parse


def builds_form(forms):
    builds = forms.add_parser(
        "compare-builds", help="two builds of the preload library, paired",
        description="Run two libraries in one job, interleaved, and fail (status 1) when head is "
        "slower, or takes more memory, by more than the tolerance with 95 % confidence.")
    builds.add_argument("base", metavar="BASE.so")
    builds.add_argument("head", metavar="HEAD.so")
    builds.add_argument("--tolerance", type=float, default=0.05, metavar="SHARE",
                        help="a loss that is accepted (default %(default)s)")
    builds.add_argument("--workloads", metavar="GLOBS", help="cells (default: those of --quick)")
    builds.add_argument("--threads", metavar="LIST", help="only these thread or pair counts")
    builds.add_argument("--rounds", type=int, metavar="N", help="exactly N blocks a cell")
    builds.add_argument("--budget", metavar="TIME",
                        help=f"start no block after this long (default {units.clock(opt.BUILDS_BUDGET)})")
    builds.add_argument("--scale", type=float, default=0.5, metavar="X",
                        help="multiply the work of each cell (default %(default)s)")
    builds.add_argument("--timeout", default="120s", metavar="TIME", help="for one process")
    builds.add_argument("--seed", type=int, metavar="N")
    builds.add_argument("--out", metavar="DIR", help="results folder (default "
                        "results/DATE-builds-COMMIT, to which results/builds leads)")
    builds.add_argument("--build", metavar="DIR", default=opt.BUILD,
                        help="build folder with the benchmark binary")
    builds.add_argument("--no-build", action="store_true", help="build nothing")


def check_tolerance(options):
    if not 0 <= options.tolerance < 1:
        raise Problem(f"--tolerance {options.tolerance:g}: from 0 to below 1, such as 0.05 for 5 %")


def check_builds(options):
    """As cli.check(): before anything is installed or built."""
    check_tolerance(options)
    opt.check_numbers(options)
    opt.words("--workloads", options.workloads, "larson,xmalloc/64B/*")
    opt.words("--threads", options.threads, "1,2,8")
    opt.writable(options.out or opt.RESULTS)
    for path in (options.base, options.head):
        allocators.library(path, path)


def main(argv):
    options = parser().parse_args(argv)
    if options.form == "compare-builds":
        check_builds(options)
        if not options.no_build:
            prepare.install("build", "bench")
            prepare.build(options.build)
        from . import builds  # numpy with it
        return builds.compare_builds(options)
    if options.form == "judge":
        check_tolerance(options)
    if options.form == "doctor":
        return doctor.main()
    if not options.no_build:
        prepare.install("bench")
    if options.form == "compare":
        from . import compare
        return compare.compare_folders(options)
    if options.form == "judge":
        from . import judge
        return judge.judge(Folder(options.dir), options.name, options.reference, options.tolerance)
    if options.form == "keep":
        from . import history
        return history.keep(Folder(options.dir))
    from . import joined, report
    if (len(options.dir) > 1) != bool(options.out):
        raise Problem("report: --out names where the report of several folders goes; one folder's stays in it")
    folder = joined.Joined(options.dir, options.out) if options.out else Folder(options.dir[0])
    sys.stdout.write(report.terminal(report.write(folder), opt.terminal_width()))
    return 0
