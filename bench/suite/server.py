"""A server as a cell: started under the column, driven by a load that runs without it, stopped.

Throughput and percentiles are what the load generator prints; memory is looked at all the while.
"""
import contextlib
import json
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

# redis-benchmark -q, ab, wrk, pgbench; "throughput 123" is for scripts.
RATE = re.compile(r"([\d.]+) requests per second|Requests per second:\s+([\d.]+)|Requests/sec:\s+([\d.]+)|"
                  r"^tps = ([\d.]+)|^throughput[ =:]+([\d.]+)", re.M)
# p50=0.1 msec, "  99%   1.2ms"; without a unit milliseconds, as ab prints them.
POINT = re.compile(r"(?:\bp(50|99\.9|99)\b[ \t]*[=:]?|^[ \t]*(50|99\.9|99)%)[ \t]*([\d.]+)[ \t]*(us|µs|msec|ms|s)?\b", re.M)
UNITS = {"us": 1e3, "µs": 1e3, "ms": 1e6, "msec": 1e6, "s": 1e9, "": 1e6}


@dataclass(frozen=True)
class Commands:
    """For /bin/sh. stop empty: SIGTERM."""

    ready: str
    load: str
    stop: str = ""


def told(output):
    """{"requests_per_second": …, "load_p99_ns": …}: the mean of the rates, the worst of each percentile."""
    rates = [float(next(filter(None, groups))) for groups in RATE.findall(output)]
    found = {"requests_per_second": sum(rates) / len(rates)} if rates else {}
    for first, second, value, unit in POINT.findall(output):
        key = f"load_p{(first or second).replace('.', '')}_ns"
        found[key] = max(found.get(key, 0), float(value) * UNITS[unit])
    return found


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
    outside = process.clean_environment() | {key: value for key, value in variables.items()
                                             if key.startswith("PROGRAM_")}
    report = os.path.join(variables["PROGRAM_SCRATCH"], "measured.json")
    argv = [measure, report, *(f"{key}={value}" for key, value in variables.items()), "--", *program.argv]
    with tempfile.TemporaryFile() as errors, \
            plan.limit.around(argv) if plan.limit else contextlib.nullcontext((argv, lambda: None)) as (argv, said):
        server = subprocess.Popen(
            argv, env=process.clean_environment(), cwd=cwd, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
            start_new_session=True)
        try:
            outcome, figures = drive(server, program.server, outside, plan, cwd)
        finally:
            process.end_group(server.pid)
            server.wait()
        outcome.failure = said() or outcome.failure
        errors.seek(0)
        outcome.stderr = errors.read()[-process.STDERR_KEPT:].decode(errors="replace")
    if outcome.failure:
        return outcome, None
    with open(report, encoding="utf-8") as file:
        usage = json.load(file)
    if usage["status"] not in (0, signal.SIGTERM, (128 + signal.SIGTERM) << 8):
        outcome.failure = "the server: " + process.describe(usage["status"], outcome.stderr)
    return outcome, usage | figures | {"status": 0}


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
