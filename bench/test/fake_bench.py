#!/usr/bin/python3 -SE
"""A stand-in for mymalloc-bench that does what its cell's name says.

It keeps to the same contract, so that the runner can be shown every way in which a
process may go wrong. Speeds: FAKE_SPEEDS, "glibc=1,suite_test_a=2" (harness: the
baseline, 20); times noise of 1 %, which the number of runs so far decides: a test that
passes passes again. FAKE_MEMORY: MiB above the process's start in the same way, no noise;
FAKE_LIVE: MiB kept live. FAKE_CRASHES: "good/other:glibc,…" crash besides those of bad.
"""
import math
import os
import sys
import time
from _random import Random  # json, random and signal take longer to import than all else here
from _signal import SIGSEGV

CELLS = ("good/plain/threads:1", "good/plain/threads:2", "good/plain/threads:64", "good/other",
         "bad/crash", "bad/sometimes", "bad/truncated", "bad/silent", "bad/hang", "bad/liar",
         "bad/damaged", "bad/memory", "bad/version", "slow/second", "tails/latency", "idle/1GiB")


def option(name):
    prefix = f"--benchmark_{name}="
    return next((a[len(prefix):] for a in sys.argv[1:] if a.startswith(prefix)), None)


def given(variable, name, usual):
    """FAKE_…="name=number,…" """
    pairs = dict(pair.split("=") for pair in os.environ.get(variable, "").split(",") if pair)
    return float(pairs.get(name, usual))


def noise():
    """Random numbers of the n-th run under this build folder."""
    path = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "runs")
    with open(path, "ab") as file:
        file.write(b".")
        return Random(file.tell())


def gauss(rng):
    """Box and Muller's, of mean 0 and deviation 1: the numbers of random.gauss."""
    return math.cos(2 * math.pi * rng.random()) * math.sqrt(-2 * math.log(1 - rng.random()))


def dumps(value):
    """JSON of what there is here: no string has anything to be quoted."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}": {dumps(item)}' for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dumps, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def libc():
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return next(line.split()[-1] for line in maps if "/libc.so.6" in line)


def document(cell, name, preload, rng):
    scale = float(os.environ.get("MYMALLOC_BENCH_SCALE", 1))
    speed = 1e6 * given("FAKE_SPEEDS", name, 20 if name == "harness" else 1) * (1 + 0.01 * gauss(rng))
    live, base = float(os.environ.get("FAKE_LIVE", 1)) * 2**20, 2**20
    entry = {"name": cell, "run_type": "iteration", "iterations": 1, "real_time": 1e9 / speed,
             "cpu_time": 1e9 / speed, "time_unit": "ms", "ops": 1e6 * scale, "ops_per_second": speed,
             "live_bytes": live, "base_rss_bytes": base,
             "peak_rss_bytes": base + given("FAKE_MEMORY", name, 2) * 2**20,
             "minor_faults": 700, "failed": 0}
    if cell.startswith("idle/"):
        entry |= {"rss_after_0.1s_bytes": entry["peak_rss_bytes"], "rss_after_5s_bytes": base + live / 2,
                  "settled_live_bytes": 0}
        if timeline := os.environ.get("MYMALLOC_BENCH_TIMELINE"):
            with open(timeline, "w", encoding="utf-8") as file:
                file.writelines(f"{i / 10},{int(live)},{int(entry['peak_rss_bytes'])}\n" for i in range(20))
    return {"context": {"executable": sys.argv[0], "host_name": "secret-host", "scale": f"{scale:f}",
                        "allocator_path": preload or libc(), "allocator_version": name + " 1.0"},
            "benchmarks": [entry]}


def main():
    if option("list_tests"):
        print("\n".join(CELLS))
        return 0
    cell = option("filter").strip("^$").replace("\\", "")
    preload = os.environ.get("LD_PRELOAD")
    name = os.path.basename(preload).removeprefix("lib").removesuffix(".so") if preload else \
        "harness" if os.environ.get("MYMALLOC_BENCH_NULL") else "glibc"
    rng = noise()
    content = document(cell, name, preload, rng)
    text = dumps(content)
    kind = cell.partition("/")[2]
    log = os.environ.get("FAKE_LOG")
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{cell} {name}\n")
    if kind == "second":
        time.sleep(0.2)
    if f"{cell}:{name}" in os.environ.get("FAKE_CRASHES", "").split(","):
        os.kill(os.getpid(), SIGSEGV)
    if preload and cell.startswith("bad/"):
        if kind == "crash" or kind == "sometimes" and rng.random() < 0.5:
            os.kill(os.getpid(), SIGSEGV)
        if kind == "hang":
            time.sleep(60)
        if kind == "memory":
            print("mymalloc-bench: malloc of 64 bytes failed", file=sys.stderr)
            return 3
        if kind == "truncated":
            text = text[:len(text) // 2]
        if kind == "liar":
            content["context"]["allocator_path"] = libc()
            text = dumps(content)
        if kind == "version":
            content["context"]["allocator_version"] = f"random {rng.random()}"
            text = dumps(content)
        if kind == "damaged":
            content["benchmarks"][0]["failed"] = 1
            text = dumps(content)
        if kind == "silent":
            return 0
    with open(option("out"), "w", encoding="utf-8") as file:
        file.write(text)
    return 0


sys.exit(main())
