#!/usr/bin/python3
"""Profiles of programs that have the allocator inside (archived.cc): what they took is the program's, not malloc's.

usage: archived.py MYMALLOC-PROF PROGRAM...
"""
import os
import pathlib
import subprocess
import sys
import tempfile

SITES = 31  # two of the 32 take by a function of theirs
tool, *programs = sys.argv[1:]
for program in programs:
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.pb"
        subprocess.run([program], env=dict(os.environ, MYMALLOC_PROFILE=f"{out},every=1"), check=True)
        text = subprocess.run([tool, "top", "--by", "alloc_objects", "--lines", "9999", out],
                              check=True, capture_output=True, text=True).stdout
    name = pathlib.Path(program).name
    rows = [line.split() for line in text.splitlines() if line.endswith(f"[{name}]")]
    sites = [row for row in rows if row[4].startswith("site_") and row[0] != "0"]
    others = [f"{row[0]} by {row[4]}" for row in rows if row[0] != "0" and row not in sites]
    if others or len(sites) != SITES:
        sys.exit(f"{name}: {len(sites)} of {SITES} sites, and {others}")
    print(f"{name}: {len(sites)} sites have all")
