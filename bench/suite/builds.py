"""Two builds of the preload library run in pairs: what a pull request's gate judges."""
import os

from . import allocators, cells, options as opt, session, stats, text, units
from .measures import ABOVE, PEAK, log_ratios
from .store import failure_of

WORDS = {"above": "faster", "below": "slower", stats.NONE_SHOWN: "ok"}
REGRESSIONS = ("SLOWER", "MORE MEMORY", "FAILED")


def judge(folder, cell, tolerance):
    """(speed, memory, verdict): head relative to base, paired within blocks."""
    samples = folder.samples(cell)
    if failure := failure_of(samples, "head"):
        return None, None, f"FAILED: {failure}"
    if failure := failure_of(samples, "base"):
        return None, None, f"base failed: {failure}"
    speed, *memories = (stats.log_ratio(logs) for logs in (
        log_ratios(samples, "head", "base"), log_ratios(samples, "head", "base", ABOVE),
        log_ratios(samples, "head", "base", PEAK)) if logs)
    memory = memories[0] if memories else None
    if speed.low is None:
        return speed, memory, "too few rounds"
    if speed.high < 1 - tolerance:
        return speed, memory, "SLOWER"
    if any(found.low > 1 + tolerance for found in memories):
        return speed, memory, "MORE MEMORY"
    return speed, memory, WORDS[speed.verdict]


def compare_builds(options):
    """Base and head interleaved in one job; fails on a regression that is sure."""
    columns = [allocators.library("base", options.base), allocators.library("head", options.head)]
    for column in columns:
        allocators.probe(column)
    binary = os.path.join(os.path.realpath(options.build), "bench/mymalloc-bench")
    counts = cells.parse_threads(options.threads) if options.threads else None
    chosen = cells.choose(cells.available(binary), opt.words("--workloads", options.workloads, ""),
                          counts, "quick")
    budget = opt.seconds("--budget", options.budget) if options.budget else \
        opt.BUILDS_BUDGET if options.rounds is None else None
    plan = session.Plan(chosen, columns, None, binary, seed=session.draw_seed(options.seed),
                        scale=options.scale, rounds=options.rounds, budget=budget,
                        timeout=opt.seconds("--timeout", options.timeout), baseline=False)
    record = session.record_of(plan, "builds")
    with session.folder_of(plan):
        session.start(plan, record, options.out, link="builds")
        status, _ = session.execute(plan, record)
    if not plan.folder.holds_run():
        return status
    from . import report
    report.write(plan.folder)
    verdict = tell(plan, options.tolerance)
    return status or verdict  # interrupted is not failed


def tell(plan, tolerance):
    """The verdict, on standard output and in comparison.md; 1 for a regression."""
    judged = [(cell.name, *judge(plan.folder, cell.name, tolerance)) for cell in plan.cells
              if {name for _, name in plan.folder.samples(cell.name)} >= {"base", "head"}]
    head = ["cell", "speed head/base", "95 % interval", "memory head/base", "verdict"]
    rows = [[name, units.times(speed and speed.median), units.interval(speed),
             units.times(memory and memory.median), verdict] for name, speed, memory, verdict in judged]
    bad = [name for name, _, _, verdict in judged if verdict.split(":")[0] in REGRESSIONS]
    unsure = [name for name, _, _, verdict in judged if verdict == "too few rounds"]
    baseless = [name for name, _, _, verdict in judged if verdict.startswith("base failed")]
    # A gate that measured nothing has not passed.
    unjudged = len(plan.cells) - len(judged) + len(unsure)
    if bad:
        words = f"Regression in {len(bad)} of {len(judged)} cells: {', '.join(bad)}."
    else:
        # A wide interval shows nothing either way, so no more than this is said.
        words = (f"No regression beyond {tolerance:.0%} is shown in {len(judged) - len(unsure) - len(baseless)} cells; "
                 "one inside an interval can't be excluded.")
    if unjudged:
        words += f" {unjudged} cells had too few rounds to be judged: raise --budget."
    if baseless:
        words += f" Base failed in {', '.join(baseless)}."
    lines = ["## head against base, paired", "", *text.markdown_table(head, rows), "", words, ""]
    plan.folder.write("comparison.md", "\n".join(lines))
    print("\n".join(["", *text.table(head, rows), "", words]))
    return int(bool(bad) or unjudged + len(baseless) == len(plan.cells))
