"""What is measured of a process, each as a ratio to the reference within blocks.

All measures are treated alike: paired ratios, their median, its interval, ties. A
measure is absent (None) where a cell does not have it.
"""
import re
import statistics
from dataclasses import dataclass
from typing import Callable

import numpy

PAGE = 4096  # the least that is told apart: what gave back everything still has a ratio
# A cell that keeps less live says nothing of memory: its process is its own start.
HOLDS = 2**20


@dataclass(frozen=True)
class Measure:
    key: str
    title: str  # of a summary table
    short: str  # of a column
    value: Callable
    more_is_better: bool = False
    holds: int = 0  # only of cells that keep so many bytes live


def speed(entry):
    return entry.get("ops_per_second")


def peak(entry):
    return entry.get("peak_rss_bytes")


def above(entry):
    """Peak RSS above that of the process before the work; programs have no such moment."""
    if "base_rss_bytes" not in entry:
        return None
    return max(PAGE, entry["peak_rss_bytes"] - entry["base_rss_bytes"])


def kept(entry):
    """The same of what stays: after the last look at an idle process, or beside survivors."""
    after = {float(found[1]): value for key, value in entry.items()
             if (found := re.fullmatch(r"rss_after_([\d.]+)s_bytes", key))}
    stays = after[max(after)] if after else entry.get("held_rss_bytes")
    if stays is None or "base_rss_bytes" not in entry:
        return None
    return max(PAGE, stays - entry["base_rss_bytes"])


def integral(entry):
    """RSS over time, MiB seconds: above the start, of a program from its start to its end."""
    if entry.get("live_bytes", HOLDS) < HOLDS or "rss_integral_bytes_s" not in entry:
        return None
    return max(PAGE, entry["rss_integral_bytes_s"]) / 2**20


def cpu(entry):
    """User and system time of the whole process, its start included, per operation (programs: per run)."""
    return entry["process_cpu_seconds"] / entry["ops"] if entry.get("ops") and entry["process_cpu_seconds"] else None


SPEED = Measure("speed", "Speed", "speed", speed, more_is_better=True)
PEAK = Measure("peak", "Peak RSS of the process", "peak RSS", peak)
ABOVE = Measure("above", "Memory: peak RSS above the process's start", "above start", above, holds=HOLDS)
KEPT = Measure("kept", "Memory beside survivors or after all was freed, above the process's start", "kept",
               kept, holds=HOLDS)
INTEGRAL = Measure("integral", "Memory over time: RSS times the seconds it was held", "RSS × time", integral)
CPU = Measure("cpu", "CPU time of the process, per operation", "CPU", cpu)
ALL = (SPEED, ABOVE, KEPT, PEAK, INTEGRAL)
EXPLORED = (SPEED, PEAK, ABOVE, KEPT, INTEGRAL, CPU)  # what the page lets one choose


def good(samples, column):
    """{round: entry} of the processes that count."""
    return {number: sample["benchmarks"][0] | {"process_cpu_seconds": sample["suite"].get("cpu_seconds")}
            for (number, name), sample in samples.items()
            if name == column and not sample["suite"].get("failure")}


def live_of(samples):
    """What a cell keeps live at its peak: alike under every column."""
    found = [entry["live_bytes"] for sample in samples.values() for entry in sample.get("benchmarks", ())
             if "live_bytes" in entry]
    return statistics.median(found) if found else 0


def values(samples, column, measure):
    """{round: value} of a column where it has the measure."""
    if measure.holds and live_of(samples) < measure.holds:
        return {}
    return {number: value for number, entry in good(samples, column).items()
            if (value := measure.value(entry))}


def log_ratios(samples, column, base, measure=SPEED):
    """log(column / base), one a block in which both have finished."""
    mine, other = values(samples, column, measure), values(samples, base, measure)
    return [float(numpy.log(mine[n] / other[n])) for n in sorted(mine) if n in other]
