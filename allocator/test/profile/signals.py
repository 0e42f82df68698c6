#!/usr/bin/python3
"""Profiles that were written at signals (signals.c): each is whole, the first is exact.

usage: signals.py PROGRAM
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import proto  # noqa: E402


def sums(path):
    """Objects ever taken, and in use."""
    profile = proto.read(pathlib.Path(path))
    names = [name for name, _ in profile.types]
    return [sum(s.values[names.index(f"{when}_objects")] for s in profile.samples) for when in ("alloc", "inuse")]


with tempfile.TemporaryDirectory() as name:
    out = pathlib.Path(name) / "out"
    env = dict(os.environ, MYMALLOC_PROFILE=f"{out},every=1,stacks=20,signal=USR2")
    done = subprocess.run([sys.argv[1]], env=env, text=True, capture_output=True)
    if done.returncode or done.stderr:
        sys.exit(f"status {done.returncode}, said {done.stderr!r}")
    *truth, child = map(int, done.stdout.split())
    numbers = sorted(int(m[1]) for f in os.listdir(name) if (m := re.fullmatch(r"out\.s(\d+)", f)))
    if numbers != list(range(1, len(numbers) + 1)) or len(numbers) < 3:
        sys.exit(f"profiles {numbers}")
    got = [sums(f"{out}.s{n}") for n in numbers]
    if got[0] != truth:
        sys.exit(f"the first says {got[0]}, in truth {truth}")
    if any(a[0] > b[0] for a, b in zip(got, got[1:])):
        sys.exit(f"objects taken become fewer: {got}")
    if got[-1][1] - truth[1] not in range(5):  # what the C library keeps for threads
        sys.exit(f"all threads have freed theirs: {got[-1]}, in truth {truth[1]} in use")
    depth = max(len(s.addresses) for s in proto.read(pathlib.Path(f"{out}.s{numbers[-1]}")).samples)
    if depth > 20:
        sys.exit(f"a stack of {depth} frames")
    for n in (1, 2):
        if sums(f"{out}.{child}.s{n}")[0] != got[-1][0]:
            sys.exit(f"the child's {n}. differs: {sums(f'{out}.{child}.s{n}')}, {got[-1]}")
    if not sums(out)[0] >= got[-1][0]:
        sys.exit("the one of the end")
    print(f"{len(numbers)} profiles at signals, each whole")
