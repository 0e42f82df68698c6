"""A server as a cell: started under the column, driven by a load that runs without it, stopped.

Throughput and percentiles are what the load generator prints; memory is looked at all the while.
"""
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

from . import process

REST = 1.0  # seconds without a request, after which RSS is read once more
STOPPING = 15  # seconds a server may take to end once it was asked to
EVERY = 0.05  # seconds between two looks at RSS
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


class Life:
    """What one server's processes held over time."""

    def __init__(self, pid):
        self.pid, self.began, self.points, self.next = pid, time.monotonic(), [], 0.0

    def look(self, _=None):
        now = time.monotonic() - self.began
        if now >= self.next:
            self.next = now + EVERY
            self.points.append([round(now, 3), 0, resident(self.pid)])
        return False

    def wait(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            time.sleep(0.02)

    def kept(self):
        """200 points at most."""
        return self.points[::-(-len(self.points) // 200) or 1]


def shell(command, environment, cwd, timeout, watch=None):
    """(Outcome, what it printed)"""
    with tempfile.TemporaryFile() as output:
        outcome = process.run(["/bin/sh", "-c", command], environment, timeout, cwd, watch, output)
        output.seek(0)
        return outcome, output.read().decode(errors="replace")


def measured(measure, variables, program, timeout, cwd):
    """(Outcome, figures as mymalloc-measure reports them and what the load told) of one life."""
    outside = process.clean_environment() | {key: value for key, value in variables.items()
                                             if key.startswith("PROGRAM_")}
    report = os.path.join(variables["PROGRAM_SCRATCH"], "measured.json")
    with tempfile.TemporaryFile() as errors:
        server = subprocess.Popen(
            [measure, report, *(f"{key}={value}" for key, value in variables.items()), "--", *program.argv],
            env=process.clean_environment(), cwd=cwd, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
            start_new_session=True)
        try:
            outcome, figures = drive(server, program.server, outside, timeout, cwd)
        finally:
            process.end_group(server.pid)
            server.wait()
        errors.seek(0)
        outcome.stderr = errors.read()[-process.STDERR_KEPT:].decode(errors="replace")
    if outcome.failure:
        return outcome, None
    with open(report, encoding="utf-8") as file:
        usage = json.load(file)
    if usage["status"] not in (0, signal.SIGTERM, (128 + signal.SIGTERM) << 8):
        outcome.failure = "the server: " + process.describe(usage["status"], outcome.stderr)
    return outcome, usage | figures | {"status": 0}


def drive(server, commands, outside, timeout, cwd):
    """(Outcome of the load or of what kept it from running, figures)"""
    life, deadline = Life(server.pid), time.monotonic() + timeout
    while (outcome := shell(commands.ready, outside, cwd, 10)[0]).failure:
        if server.poll() is not None:
            return process.Outcome("the server ended before it was ready", 0, 0, ""), {}
        if time.monotonic() > deadline:
            return process.Outcome(f"the server was not ready within {timeout:g} s: {outcome.failure}", timeout, 0, ""), {}
        life.wait(0.05)
    at_start = resident(server.pid)
    outcome, printed = shell(commands.load, outside, cwd, timeout, life.look)
    if outcome.failure:
        outcome.failure = "the load: " + outcome.failure
        return outcome, {}
    life.wait(REST)
    figures = told(printed) | {"base_rss_bytes": at_start, "rss_after_1s_bytes": resident(server.pid),
                               "load_seconds": outcome.seconds, "timeline": life.kept()}
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
