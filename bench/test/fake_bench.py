#!/usr/bin/python3 -SE
"""A stand-in for mymalloc-bench that does what its cell's name says.

It keeps to the same contract, so that the runner can be shown every way in which a
process may go wrong. Speeds: FAKE_SPEEDS, "glibc=1,suite_test_a=2"; times noise of 1 %,
which the number of runs so far decides: a test that passes passes again.
"""
import json
import os
import random
import signal
import sys
import time

CELLS = ("good/plain/threads:1", "good/plain/threads:2", "good/plain/threads:64", "good/other",
         "bad/crash", "bad/sometimes", "bad/truncated", "bad/silent", "bad/hang", "bad/liar",
         "bad/damaged", "bad/memory", "bad/version", "slow/second")


def option(name):
    prefix = f"--benchmark_{name}="
    return next((a[len(prefix):] for a in sys.argv[1:] if a.startswith(prefix)), None)


def noise():
    """Random numbers of the n-th run under this build folder."""
    path = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "runs")
    with open(path, "ab") as file:
        file.write(b".")
        return random.Random(file.tell())


def libc():
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return next(line.split()[-1] for line in maps if "/libc.so.6" in line)


def document(cell, preload, rng):
    name = os.path.basename(preload).removeprefix("lib").removesuffix(".so") if preload else "glibc"
    speeds = dict(pair.split("=") for pair in os.environ.get("FAKE_SPEEDS", "glibc=1").split(","))
    speed = 1e6 * float(speeds.get(name, 1)) * rng.gauss(1, 0.01)
    entry = {"name": cell, "run_type": "iteration", "iterations": 1, "real_time": 1e9 / speed,
             "cpu_time": 1e9 / speed, "time_unit": "ms", "ops": 1e6, "ops_per_second": speed,
             "live_bytes": 2**20, "peak_rss_bytes": 3 * 2**20, "base_rss_bytes": 2**20,
             "minor_faults": 700, "failed": 0}
    return {"context": {"executable": sys.argv[0], "host_name": "secret-host",
                        "allocator_path": preload or libc(), "allocator_version": name + " 1.0"},
            "benchmarks": [entry]}


def main():
    if option("list_tests"):
        print("\n".join(CELLS))
        return 0
    cell = option("filter").strip("^$").replace("\\", "")
    preload = os.environ.get("LD_PRELOAD")
    rng = noise()
    content = document(cell, preload, rng)
    text = json.dumps(content)
    kind = cell.partition("/")[2]
    log = os.environ.get("FAKE_LOG")
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{cell} {preload or 'glibc'}\n")
    if kind == "second":
        time.sleep(0.2)
    if preload and cell.startswith("bad/"):
        if kind == "crash" or kind == "sometimes" and rng.random() < 0.5:
            os.kill(os.getpid(), signal.SIGSEGV)
        if kind == "hang":
            time.sleep(60)
        if kind == "memory":
            print("mymalloc-bench: malloc of 64 bytes failed", file=sys.stderr)
            return 3
        if kind == "truncated":
            text = text[:len(text) // 2]
        if kind == "liar":
            content["context"]["allocator_path"] = libc()
            text = json.dumps(content)
        if kind == "version":
            content["context"]["allocator_version"] = f"random {rng.random()}"
            text = json.dumps(content)
        if kind == "damaged":
            content["benchmarks"][0]["failed"] = 1
            text = json.dumps(content)
        if kind == "silent":
            return 0
    with open(option("out"), "w", encoding="utf-8") as file:
        file.write(text)
    return 0


sys.exit(main())
