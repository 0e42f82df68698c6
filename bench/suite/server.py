"""A server as a cell: started under the column, driven by a load that runs without it, stopped.

Throughput and percentiles are what the load generator prints; memory is looked at all the while.
"""
import contextlib
import json
import math
import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

from . import process
from .timeline import moments

STOPPING = 15  # seconds a server may take to end once it was asked to
PAGE = os.sysconf("SC_PAGE_SIZE")

NUMBER = r"(\d+(?:\.\d+)?)"  # "p99 ... comes next" tells none
# redis-benchmark, ab, wrk, pgbench; "throughput 123" is for scripts.
RATE = re.compile(rf"{NUMBER} requests per second|Requests per second:\s+{NUMBER}|Requests/sec:\s+{NUMBER}|"
                  rf"^tps = {NUMBER}|^throughput[ =:]+{NUMBER}", re.M)
# p50=0.1 msec, "  99%   1.2ms"; without a unit milliseconds, as ab prints them.
POINT = re.compile(rf"(?:\bp(50|99\.9|99)\b[ \t]*[=:]?|^[ \t]*(50|99\.9|99)%)[ \t]*{NUMBER}[ \t]*(us|µs|msec|ms|s)?\b", re.M)
UNITS = {"us": 1e3, "µs": 1e3, "ms": 1e6, "msec": 1e6, "s": 1e9, "": 1e6}
# What is told of one command: a line of redis-benchmark -q, which a script may print too, or, without -q, a
# block with all percentiles.
LINE = re.compile(r"^([^:\n]+): ([\d.]+ requests per second.*)$", re.M)
BLOCK = re.compile(r"^====== (.+?) ======$(.*?)(?=^====== |\Z)", re.M | re.S)
SUMMARY = re.compile(r"\bp50 +p95 +p99 +max\s+[\d.]+ +[\d.]+ +([\d.]+) +[\d.]+ +([\d.]+)")
TAIL = re.compile(r"^(99\.9\d*|100\.0+)% <= ([\d.]+) milliseconds", re.M)


@dataclass(frozen=True)
class Commands:
    """For /bin/sh. stop empty: SIGTERM."""

    ready: str
    load: str
    stop: str = ""


def block_line(text):
    """What a block of redis-benchmark says, as a line."""
    rate, points, tail = RATE.search(text), SUMMARY.search(text), TAIL.search(text)
    named = zip(("p50", "p99", "p99.9"), (*(points.groups() if points else (None, None)), tail and tail[2]))
    return ", ".join([rate[0] if rate else "", *(f"{name}={value} msec" for name, value in named if value)])


def commands_of(output):
    """[(command, what was printed of it)]; empty for a load that knows of none."""
    return [(name, block_line(text)) for name, text in BLOCK.findall(output)] or LINE.findall(output)


def figures_of(text):
    """The geometric mean of the rates, so that each counts alike, and the worst of each percentile."""
    rates = [float(next(filter(None, groups))) for groups in RATE.findall(text)]
    found = {"requests_per_second": math.prod(rates) ** (1 / len(rates))} if rates and min(rates) > 0 else {}
    for first, second, value, unit in POINT.findall(text):
        key = f"p{(first or second).replace('.', '')}_ns"
        found[key] = max(found.get(key, 0), float(value) * UNITS[unit])
    return found


def told(output):
    """{"requests_per_second": …, "load_p99_ns": …}, and of each command {"load/SET/p99_ns": …}."""
    output = output.replace("\r", "\n")
    commands = commands_of(output)
    whole = figures_of("\n".join(text for _, text in commands) if commands else output)
    found = {key if key.startswith("requests") else f"load_{key}": value for key, value in whole.items()}
    return found | {f"load/{name.strip()}/{key}": value for name, text in commands
                    for key, value in figures_of(text).items()}


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def resident(pid):
    """Bytes of all processes below this one."""
    total = 0
    for child in children(pid):
        try:
            with open(f"/proc/{child}/statm", encoding="ascii") as file:
                total += int(file.read().split()[1]) * PAGE
        except (OSError, IndexError):
            pass
        total += resident(child)
    return total


def shell(command, environment, cwd, timeout):
    """(Outcome, what it printed)"""
    with tempfile.TemporaryFile() as output:
        outcome = process.run(["/bin/sh", "-c", command], environment, timeout, cwd, output=output)
        output.seek(0)
        return outcome, output.read().decode(errors="replace")


def measured(measure, variables, program, plan, cwd):
    """(Outcome, figures as mymalloc-measure reports them and what the load told) of one life."""
    report = os.path.join(variables["PROGRAM_SCRATCH"], "measured.json")
    argv = [measure, report, *(f"{key}={value}" for key, value in variables.items()), "--", *program.argv]
    with plan.limit.around(argv) if plan.limit else contextlib.nullcontext((argv, lambda: None)) as (argv, said):
        outcome, figures = live(argv, program.server, variables, plan, cwd)
        killed = said()
    usage = {}
    if os.path.exists(report):  # it ended by itself
        with open(report, encoding="utf-8") as file:
            usage = json.load(file)
        if usage["status"] not in (0, signal.SIGTERM, (128 + signal.SIGTERM) << 8):
            why = "the server: " + process.describe(usage["status"], outcome.stderr)
            outcome.failure = f"{outcome.failure} ({why})" if outcome.failure else why
    outcome.failure = killed or outcome.failure
    if outcome.failure:
        return outcome, None
    # Of several processes that serve together, not of the largest.
    usage["peak_rss_bytes"] = max([usage["peak_rss_bytes"], *(rss for _, rss in usage["timeline"])])
    return outcome, usage | figures | {"status": 0}


def live(argv, commands, variables, plan, cwd):
    """(Outcome, figures): argv, which starts the server below it, from its start to its end."""
    outside = process.clean_environment() | {key: value for key, value in variables.items()
                                             if key.startswith("PROGRAM_")}
    with tempfile.TemporaryFile() as errors:
        server = subprocess.Popen(argv, env=process.clean_environment(), cwd=cwd, stdin=subprocess.DEVNULL,
                                  stdout=errors, stderr=errors, start_new_session=True)
        try:
            outcome, figures = drive(server, commands, outside, plan, cwd)
            if outcome.failure:  # perhaps for its sake: it is given the time to say so
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(0.5)
        finally:
            process.end_group(server.pid)
            server.wait()
        errors.seek(0, os.SEEK_END)
        errors.seek(max(0, errors.tell() - process.STDERR_KEPT))
        outcome.stderr = errors.read().decode(errors="replace")
    return outcome, figures


def drive(server, commands, outside, plan, cwd):
    """(Outcome of the load or of what kept it from running, figures)"""
    timeout, deadline = plan.timeout, time.monotonic() + plan.timeout
    while (outcome := shell(commands.ready, outside, cwd, 10)[0]).failure:
        if server.poll() is not None:
            return process.Outcome("the server ended before it was ready", 0, 0, ""), {}
        if time.monotonic() > deadline:
            return process.Outcome(f"the server was not ready within {timeout:g} s: {outcome.failure}", timeout, 0, ""), {}
        time.sleep(0.05)
    figures = {"base_rss_bytes": resident(server.pid)}
    outcome, printed = shell(commands.load, outside, cwd, timeout)
    if outcome.failure:
        outcome.failure = "the load: " + outcome.failure
        return outcome, {}
    ended = time.monotonic()
    for moment in moments(plan.rest):
        time.sleep(max(0, ended + moment - time.monotonic()))
        figures[f"rss_after_{moment:g}s_bytes"] = resident(server.pid)
    figures |= told(printed) | {"load_seconds": outcome.seconds}
    stop(server, commands.stop, outside, cwd)
    try:
        server.wait(STOPPING)
    except subprocess.TimeoutExpired:
        outcome.failure = f"the server did not stop within {STOPPING} s"
    return outcome, figures


def stop(server, command, outside, cwd):
    if command:
        shell(command, outside, cwd, STOPPING)
        return
    for child in children(server.pid):
        os.kill(child, signal.SIGTERM)
