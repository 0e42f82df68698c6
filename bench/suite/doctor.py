"""Is this machine fit to measure on? `ci/bench doctor`; its warnings stand in every report.

A warning is no verdict: blocks and intervals cope with much. It says what a reader must know, and
what to do about it.
"""
import os
import re
import time

from . import environment, units
from .environment import text_of

LOOK = 0.25  # seconds for which the machine is watched while nothing of ours runs
BUSY, STEAL = 0.10, 0.02  # shares of all CPUs' time
LOAD = 0.5  # a usable CPU
NEEDED = 4 * 2**30  # the largest cells hold 1 to 2 GiB


def jiffies(root):
    """(all, idle, stolen) of all CPUs so far."""
    first = text_of(f"{root}/proc/stat", "").partition("\n")[0].split()[1:9]
    fields = [int(field) for field in first] + [0] * (8 - len(first))
    return sum(fields), fields[3] + fields[4], fields[7]


def shares(before, after):
    """(busy with other things, stolen by the host) of the time between."""
    whole, idle, stolen = (b - a for a, b in zip(before, after))
    return ((whole - idle - stolen) / whole, stolen / whole) if whole else (0.0, 0.0)


def megabytes(root, name):
    found = re.search(rf"^{name}:\s+(\d+) kB", text_of(f"{root}/proc/meminfo", ""), re.M)
    return int(found[1]) * 1024 if found else None


def turbo(root):
    """True, False, or None where the kernel does not say."""
    cpu = f"{root}/sys/devices/system/cpu"
    off, boost = text_of(f"{cpu}/intel_pstate/no_turbo"), text_of(f"{cpu}/cpufreq/boost")
    return off == "0" if off is not None else boost == "1" if boost is not None else None


def examine(root="", limits=None, watch=time.sleep):
    """[(what, what was found, warning or None)]. root: another tree than this machine's, for tests."""
    before = jiffies(root)
    watch(LOOK)
    busy, stolen = shares(before, jiffies(root))
    quota, limit = limits or environment.cgroup_limits()
    cpus = environment.usable_cpus()
    governor = text_of(f"{root}/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    boost, load = turbo(root), float(text_of(f"{root}/proc/loadavg", "0").split()[0])
    found = re.search(r"\[(\w+)\]", text_of(f"{root}/sys/kernel/mm/transparent_hugepage/enabled", ""))
    huge = found[1] if found else "none"
    free = megabytes(root, "MemAvailable")
    swapped = (megabytes(root, "SwapTotal") or 0) - (megabytes(root, "SwapFree") or 0)

    def row(what, seen, bad, advice):
        return what, seen, f"{what} {seen}: {advice}" if bad else None
    return [
        row("governor", governor or "not told", governor not in (None, "performance"),
            "the clock follows the load; cpupower frequency-set -g performance"),
        row("turbo", {None: "not told", True: "on", False: "off"}[boost], boost,
            "the clock depends on heat and neighbours; turn it off while measuring"),
        row("load", f"{load:.2f} on {cpus:g} CPUs", load > LOAD * cpus, "other programs run; wait until they have ended"),
        row("other work", f"{busy:.0%} of the CPUs", busy > BUSY, "something runs beside the benchmark; end it"),
        row("steal", f"{stolen:.0%}", stolen > STEAL, "the host gives this machine's CPUs to others; measure at another time"),
        row("transparent huge pages", huge, huge != "madvise",
            "Debian's default is madvise; with always each heap has them, with never none has"),
        row("cgroup CPU quota", f"{quota:g} CPUs" if quota else "none", quota is not None and quota < (os.cpu_count() or 1),
            "processes are stopped when it is spent; give whole CPUs (docker run --cpuset-cpus)"),
        row("cgroup memory", units.size(limit) if limit else "none", limit is not None and limit < NEEDED,
            f"cells about memory need {units.size(NEEDED)}"),
        row("free memory", units.size(free), free is not None and free < NEEDED,
            f"cells about memory need {units.size(NEEDED)}"),
        row("swap in use", units.size(swapped), swapped > 0, "pages may be read back while the clock runs; swapoff -a"),
        row("CPUs", f"{cpus:g}", cpus < 2, "cells with threads say how one CPU is shared, not how threads get on"),
    ]


def warnings():
    return [warning for _, _, warning in examine() if warning]


def main():
    rows = examine()
    for what, seen, warning in rows:
        print(f"WARN  {warning}" if warning else f"ok    {what}: {seen}")
    count = sum(1 for _, _, warning in rows if warning)
    print(f"{units.plural(count, 'warning')}; they stand in the reports of runs begun now" if count else
          "fit to measure on")
    return int(count > 0)
