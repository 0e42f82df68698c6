#!/usr/bin/python3
"""Compare heap profiles with what the program is known to have done (patterns.c).

usage: profile.py PROGRAM PATTERN EVERY [--preload LIBRARY] [--fork] [--text]

Estimates are independent of the allocator's own arithmetic: an object of `bytes` bytes is
sampled with p = 1 - exp(-bytes / every) and stands for 1 / p, so a site's estimate has the
variance sum of n (1 - p) / p. Six standard deviations are allowed: a right profile fails
once in 5e8 comparisons. With EVERY 1 it must be exact.
"""
import argparse
import bisect
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import proto  # noqa: E402

TYPES = [(f"{when}_{what}", unit) for when in ("alloc", "inuse", "peak")
         for what, unit in (("objects", "count"), ("space", "bytes"))]


class Symbols:
    """The functions of an executable, by address in the file."""

    def __init__(self, path):
        text = subprocess.run(["nm", "-nS", "--defined-only", path], check=True, text=True, capture_output=True).stdout
        self.found = sorted((int(m[1], 16), int(m[2], 16), m[3])
                            for m in re.finditer(r"^([0-9a-f]+) ([0-9a-f]+) [tTwW] (\S+)$", text, re.M))
        parts = subprocess.run(["readelf", "-lW", path], check=True, text=True, capture_output=True).stdout
        self.loads = [(int(m[1], 16), int(m[2], 16), int(m[3], 16)) for m in re.finditer(
            r"LOAD\s+0x([0-9a-f]+) 0x([0-9a-f]+) 0x[0-9a-f]+ 0x([0-9a-f]+)", parts)]

    def name(self, address, mapping):
        offset = address - mapping.start + mapping.offset
        for start, virtual, length in self.loads:
            if start <= offset < start + length:
                at = offset - start + virtual
                i = bisect.bisect_right(self.found, (at, math.inf, "")) - 1
                if i >= 0 and at < self.found[i][0] + self.found[i][1]:
                    return self.found[i][2]
        return None


def build_id(path):
    notes = subprocess.run(["readelf", "-n", path], text=True, capture_output=True).stdout
    found = re.search(r"Build ID: ([0-9a-f]+)", notes)
    return found[1] if found else ""


def sites_of(profile, program):
    """{site: [a sum of each type]}: a sample belongs to the innermost site_ function on its stack."""
    symbols = Symbols(program)
    sites = {}
    for sample in profile.samples:
        for address in sample.addresses:
            mapping = profile.mapping_of[address]
            if mapping is None or not os.path.samefile(mapping.file, program):
                continue
            name = (symbols.name(address, mapping) or "").split(".")[0]
            if name.startswith("site_"):
                sums = sites.setdefault(name, [0] * len(TYPES))
                for i, value in enumerate(sample.values):
                    sums[i] += value
                break
    return sites


def read_truth(path):
    truth = {}
    for line in path.read_text().splitlines():
        site, *figures = line.split()
        truth.setdefault(site, []).append(tuple(map(int, figures)))
    return truth


def expected(entries, every):
    """[(value, how far off an estimate may be, standard deviation)] for the types.

    Six standard deviations, and four samples: where less than one is expected, two are no
    wonder (once in 250 runs of `grows`), and are more than six deviations.
    """
    out = []
    for which in (1, 2, 3):
        for power in (0, 1):
            mean = sum(e[which] * e[0] ** power for e in entries)
            spread = sample = 0.0
            for size, *counts in entries:
                miss = math.exp(-size / every) if every > 1 else 0.0
                spread += counts[which - 1] * size ** (2 * power) * miss / (1 - miss)
                sample = max(sample, size**power / (1 - miss))
            deviation = math.sqrt(max(spread, 0.0))
            slack = 6 * deviation + 4 * sample + mean * 1e-4
            out.append((mean, 0 if every == 1 else slack, deviation))
    return out


def compare(profile, program, truth, every, known_peak):
    faults, worst = [], 0.0
    if profile.types != TYPES or profile.default_type != "inuse_space":
        faults.append(f"sample types are {profile.types}, {profile.default_type} first")
    if (profile.period, profile.period_type) != (every, ("space", "bytes")):
        faults.append(f"the period is {profile.period} {profile.period_type}")
    ids = {m.file: m.build_id for m in profile.mappings.values()}
    if ids.get(os.path.realpath(program)) != build_id(program):
        faults.append(f"build id of the program: {ids}")
    sites = sites_of(profile, program)
    for site, entries in truth.items():
        got = sites.get(site, [0] * len(TYPES))
        for (name, _), value, (mean, slack, deviation) in zip(TYPES, got, expected(entries, every)):
            if name.startswith("peak") and not known_peak:
                continue
            if deviation > 0:
                worst = max(worst, abs(value - mean) / deviation)
            if abs(value - mean) > slack:
                faults.append(f"{site} {name}: {value}, in truth {mean}, allowed +-{slack:.0f}")
    strange = set(sites) - set(truth)
    if strange:
        faults.append(f"sites that never ran: {strange}")
    return faults, worst, len(truth)


def by_google_pprof(program, heap):
    """{site: [alloc_space, inuse_space]} as google-pprof prints them, with what a site calls."""
    out = {}
    for at, option in enumerate(("--alloc_space", "--inuse_space")):
        done = subprocess.run(["google-pprof", "--text", "--show_bytes", option, program, heap], text=True,
                              capture_output=True, check=True)
        for m in re.finditer(r"^ *\d+ +[\d.]+% +[\d.]+% +(\d+) +[\d.]+% (site_\w+)", done.stdout, re.M):
            out.setdefault(m[2], [0, 0])[at] = int(m[1])
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("pattern")
    parser.add_argument("every", type=int)
    parser.add_argument("--preload")
    parser.add_argument("--fork", action="store_true")
    parser.add_argument("--text", action="store_true", help="the older text, read by google-pprof")
    options = parser.parse_args()
    if options.text and shutil.which("google-pprof") is None:
        print("skipped: there is no google-pprof (Debian's gperftools 2.18 has it no more)")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        run(options, pathlib.Path(folder))


def run(options, folder):
    out, truth, child = folder / "out", folder / "truth", folder / "truth-child"
    env = dict(os.environ, MYMALLOC_PROFILE=f"{out},every={options.every}" + (",form=text" if options.text else ""))
    if options.every == 1:
        env["TEST_EXACT"] = "1"
    if options.preload:
        env["LD_PRELOAD"] = options.preload
    command = [options.program, options.pattern, truth] + ([child] if options.fork else [])
    done = subprocess.run(command, env=env, text=True, capture_output=True)
    if done.returncode or done.stderr:
        sys.exit(f"{command}: status {done.returncode}, said {done.stderr!r}")
    pairs = [(out, truth)]
    if options.fork:
        pid = re.search(r"child (\d+)", done.stdout)[1]
        pairs.append((folder / f"out.{pid}", child))
    for file, known in pairs:
        if options.text:
            faults = text_faults(options, file, read_truth(known))
            print("google-pprof reads it")
        else:
            faults, worst, sites = compare(proto.read(file), options.program, read_truth(known), options.every, options.pattern == "peaks")
            print(f"{sites} sites, at most {worst:.1f} standard deviations off")
        if faults:
            sys.exit("\n".join(faults))


def text_faults(options, heap, truth):
    got, faults = by_google_pprof(options.program, heap), []
    for site, entries in truth.items():
        wanted = expected(entries, options.every)
        for name, value, (mean, slack, _) in zip(("alloc", "inuse"), got.get(site, [0, 0]), wanted[1:4:2]):
            if abs(value - mean) > slack:
                faults.append(f"{site} {name}: google-pprof says {value}, in truth {mean}")
    return faults


if __name__ == "__main__":
    main()
