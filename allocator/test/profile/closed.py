#!/usr/bin/python3
"""Look whose a profile says the memory is that libraries took which are closed (closed.c).

usage: closed.py PROGRAM ONE OTHER [--preload LIBRARY]
"""
import argparse
import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import proto  # noqa: E402
from profile import Symbols, build_id  # noqa: E402

SIZES = {"one": 3000, "other": 5000}  # of closed.c
MAPPINGS = 1024 + 64
# Which libraries took memory. Of "everywhere" a profile may not know all.
WAYS = {"gone": ("one",), "replaced": ("one", "other"), "covered": ("one",), "both_loaded": ("one", "other"),
        "everywhere": ("one",)}


symbols_of = functools.lru_cache(Symbols)
build_id_of = functools.lru_cache(build_id)


def size_of(sample):
    """What one object of it asked for, to a size class."""
    size = sample.values[1] // max(sample.values[0], 1)
    return next((name for name, asked in SIZES.items() if asked <= size < asked * 1.2), None)


def faults_of(profile, libraries, used, all_known):
    """Each sample of these sizes has one frame of the library that took it, and none of another."""
    paths = {os.path.realpath(path): name for name, path in libraries.items()}
    seen, known = set(), 0
    for sample in profile.samples:
        owner = size_of(sample)
        mapped = [(address, profile.mapping_of[address]) for address in sample.addresses]
        frames = [(address, mapping) for address, mapping in mapped if mapping and os.path.realpath(mapping.file) in paths]
        names = [paths[os.path.realpath(mapping.file)] for _, mapping in frames]
        if owner is None and not names:
            continue
        if names != [owner] and (names or all_known):
            yield f"what {owner} took is by {names}"
            continue
        seen.add(owner)
        for address, mapping in frames:
            known += sample.values[0]
            library = libraries[owner]
            if mapping.build_id != build_id_of(library):
                yield f"the build id of {owner} is {mapping.build_id!r}"
            if (name := symbols_of(library).name(address, mapping)) != "closed_take":
                yield f"{owner} took it in {name}"
    if seen != set(used):
        yield f"{seen} took something"
    if not known:
        yield "no sample has its library"


def google_faults(program, heap, used):
    if shutil.which("google-pprof") is None:  # Debian's gperftools 2.18 has it no more
        print("SKIP: its text is not read, for there is no google-pprof")
        return
    text = subprocess.run(["google-pprof", "--text", "--alloc_space", "--lines", program, heap], text=True,
                          capture_output=True, check=True).stdout
    if "closed_take" not in text:
        yield f"google-pprof has no closed_take of {used}"


def run(options, way, folder):
    libraries = {"one": options.one, "other": options.other}
    command = [options.program, way, options.one, options.other]
    for form in ("proto",) if way == "everywhere" else ("proto", "text"):
        out = folder / f"{way}.{form}"
        env = dict(os.environ, MYMALLOC_PROFILE=f"{out},every=1,form={form}")
        if options.preload:
            env["LD_PRELOAD"] = options.preload
        done = subprocess.run(command, env=env, text=True, capture_output=True)
        if done.returncode or done.stderr:
            sys.exit(f"{command}: status {done.returncode}, said {done.stderr!r}")
        if way in ("replaced", "covered") and "same" not in done.stdout:
            print(f"{way}: they never were at the same place")
        if form == "text":
            yield from google_faults(options.program, out, WAYS[way])
        else:
            profile = proto.read(out)
            yield from faults_of(profile, libraries, WAYS[way], way != "everywhere")
            if len(profile.mappings) > MAPPINGS:
                yield f"{len(profile.mappings)} mappings"
            print(f"{way}: {len(profile.samples)} stacks, {len(profile.mappings)} mappings")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("one")
    parser.add_argument("other")
    parser.add_argument("--preload")
    options = parser.parse_args()
    if tuple(map(int, os.confstr("CS_GNU_LIBC_VERSION").split()[1].split("."))) < (2, 35):
        print("the loader cannot be asked without a lock before glibc 2.35")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        faults = [f"{way}: {fault}" for way in WAYS for fault in run(options, way, pathlib.Path(folder))]
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
