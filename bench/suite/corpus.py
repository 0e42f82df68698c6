"""A corpus of traces: the ready programs, recorded and catalogued.

The trace that is kept of a program is that of the process which --programs judges (cc1 of gcc's
run, the server and not its client), the one with the most calls. Its header's command line is
rewritten: it names neither the scratch folder nor the checkout.

The long forms, bench/corpus/*.sh, serve a load for as long as they are told: --long.
"""
import json
import lzma
import os
import pathlib
import struct
import subprocess
import tempfile
import zlib
from types import SimpleNamespace

from . import Problem, glossary, process, programs, server, text, units
from .store import write_whole

CATALOGUE = "README.md"
HEADER, COMMAND, CRC = 512, 80, 76  # workloads/trace/FORMAT.md
LARGE = 8 * 2**20  # raw bytes from which on a trace is packed quickly instead of tightly
SHORT = 127  # calls: what lives no longer is short-lived
RECORDING = 600  # seconds that a program may take, besides those that it is told to take
LONG = ("redis", "postgres", "python3")  # ready programs with a form of minutes
FORMS = os.path.join(programs.ROOT, "bench/corpus")

HEAD = """\
# Recorded programs

Traces of `ci/bench --programs`, recorded by `ci/record-corpus` ({system}). Replay them under every
allocator with `ci/bench --trace {where}`; look at one with `mymalloc-trace summary`, once `xz -d` has unpacked it.

A trace holds sizes, addresses, times, process and thread numbers and a command line: nothing of the programs
or of what they worked on. The traces are part of this project and under its licence ([LICENSE]({up}LICENSE)). Replay writes
every cache line of every object once: the programs' own touching was not recorded.
"""
MISSING = """
Sizes in italics: too large to be kept here. `ci/record-corpus DIR` makes those of seconds in some minutes,
`ci/record-corpus DIR --long 90s` those named -long: servers under a load that goes on for as long as is said.
"""


def header_of(path):
    with open(path, "rb") as file:
        return bytearray(file.read(HEADER))


def command_of(header):
    return bytes(header[COMMAND:]).split(b"\0")[0].decode(errors="replace")


def rename(path, replacements):
    """Another command line in the header of a sealed trace, its checksum with it."""
    header = header_of(path)
    command = command_of(header)
    for old, new in replacements:
        command = command.replace(old, new)
    header[COMMAND:] = command.encode()[:HEADER - COMMAND - 1].ljust(HEADER - COMMAND, b"\0")
    header[CRC:CRC + 4] = bytes(4)
    header[CRC:CRC + 4] = struct.pack("<I", zlib.crc32(header))
    with open(path, "r+b") as file:
        file.write(header)


def summary(tool, path):
    done = subprocess.run([tool, "summary", "--json", path], capture_output=True, text=True)
    if done.returncode:
        raise Problem(f"{path}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def judged(tool, folder, binds):
    """(path, summary) of the process whose trace is kept; None when there is none."""
    found = []
    for path in folder.glob("t.mtrace*"):
        name = os.path.basename(command_of(header_of(path)).split(" ")[0])
        if binds in ("", name.rstrip(":")):
            found.append((path, summary(tool, path)))
    return max(found, key=lambda pair: pair[1]["events"], default=None)


def long_forms(names, binary):
    """Those of the programs that serve a load for as long as they are told."""
    without = [name for name in names if name not in LONG]
    if without:
        raise Problem(f"--long: '{without[0]}' has no form of minutes; accepted: {', '.join(LONG)}")
    return [programs.Program(f"program/{name}-long", ("/bin/sh", os.path.join(FORMS, name + ".sh")), program.binds)
            for name, program in zip(names or LONG, programs.ready(names or LONG, binary))]


def record(program, tool, bench, folder, seconds=0):
    """Run it under the recorder; (path, summary) of the trace that is kept."""
    scratch = folder / "scratch"
    scratch.mkdir(mode=0o755)
    for each in (folder.parent, folder):
        each.chmod(0o777)  # postgres, started by root, becomes another user
    variables = {"PROGRAM_SCRATCH": str(scratch), "PROGRAM_INPUTS": FORMS if seconds else programs.SCRIPTS,
                 "PROGRAM_BUILD": str(bench), "PROGRAM_SECONDS": f"{seconds:.0f}"}
    argv = ["env", *(f"{key}={value}" for key, value in variables.items()), tool, "record", "--children", "--quiet",
            "--output", str(folder / "t.mtrace"), "--", *program.argv]
    if program.server:
        outcome, _ = server.live(argv, program.server, variables, SimpleNamespace(timeout=RECORDING, rest=0), str(scratch))
    else:
        outcome = process.run(argv, process.clean_environment(), RECORDING + seconds, str(scratch))
    if outcome.failure:
        raise Problem(f"{program.name}: {outcome.failure}")
    found = judged(tool, folder, program.binds)
    if not found:
        raise Problem(f"{program.name}: no process named {program.binds} was recorded")
    rename(found[0], ((str(scratch), "SCRATCH"), (programs.SCRIPTS, "INPUTS"), (FORMS, "INPUTS"), (str(bench), "BUILD")))
    return found


def packed(path):
    content = path.read_bytes()
    return lzma.compress(content, preset=1 if len(content) > LARGE else 9 | lzma.PRESET_EXTREME)


def at_most(classes, share):
    """The least end of a class below which so many of the objects lie."""
    whole, sum_ = sum(count for _, count in classes), 0
    for end, count in classes:
        sum_ += count
        if sum_ >= share * whole:
            return end
    return None


def share(part, whole):
    return f"{part / whole:.0%}" if whole else "–"


def row_of(name, found, size, kept):
    """A line of the catalogue."""
    short = sum(count for end, count in found["life_calls"] if end <= SHORT)
    size = units.size(size)
    return [name, glossary.of_ready(name) or "", units.seconds(found["seconds"]), units.count(found["events"]), str(found["threads"]),
            units.size(found["peak_bytes"]),
            f"{units.size(at_most(found['sizes'], 0.5))} / {units.size(at_most(found['sizes'], 0.99))}",
            share(short, found["freed"]), share(found["left"], found["taken"]), share(found["remote"], found["freed"]),
            size if kept else f"_{size}_"]


FIELDS = ["program", "what it does", "time", "calls", "threads", "peak live", "sizes: half / 99 % at most",
          f"freed within {SHORT} calls", "never freed", "freed by another thread", "packed"]


def listed(out):
    """The rows of the catalogue that OUT has already, by name: what is not recorded anew stays in it."""
    path = out / CATALOGUE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [[cell.strip().replace("\\*", "*") for cell in line.strip("|").split(" | ")]
            for line in lines if line.startswith("| ")]
    return {row[0]: row for row in rows[1:]} if rows and rows[0] == FIELDS else {}


def make(out, names, binary, most=None, seconds=0):
    """Record the programs (names; none: all) into OUT; the larger than `most` bytes are only catalogued."""
    check_catalogue(out / CATALOGUE)
    bench = pathlib.Path(binary).parent
    tool = str(bench.parent / "workloads/trace/mymalloc-trace")
    if not os.access(tool, os.X_OK):
        raise Problem(f"no {tool}: build first (leave out --no-build)")
    out.mkdir(parents=True, exist_ok=True)
    for program in long_forms(names, binary) if seconds else programs.ready(names, binary):
        name = program.name.partition("/")[2]
        with tempfile.TemporaryDirectory(prefix="corpus-") as scratch:
            folder = pathlib.Path(scratch) / "traces"
            folder.mkdir()
            path, found = record(program, tool, bench, folder, seconds)
            content = packed(path)
        kept = not most or len(content) <= most
        file = out / f"{name}.mtrace.xz"
        if kept:
            write_whole(file, content)
        # Read and written each time: it may be interrupted, and be one of two at once.
        write_catalogue(out, list((listed(out) | {name: row_of(name, found, len(content), kept)}).values()))
        print(f"{name}: {units.count(found['events'])} calls in {units.seconds(found['seconds'])}, {units.size(len(content))}"
              + ("" if kept else ", not kept"), flush=True)


def check_catalogue(path):
    """Only a catalogue is written over: a folder of something else has a README, too."""
    if path.exists() and not path.read_bytes().startswith(HEAD.partition("\n")[0].encode()):
        raise Problem(f"{path} is there, and no catalogue of recorded programs: name another folder")


def write_catalogue(out, rows):
    from .environment import describe
    inside = out.resolve().is_relative_to(programs.ROOT)
    where = os.path.relpath(out, programs.ROOT) if inside else "DIR"
    up = os.path.relpath(programs.ROOT, out.resolve()) + "/" if inside else ""
    system = describe(programs.ROOT)["software"]["system"]
    lines = [HEAD.format(system=system, where=where, up=up), *text.markdown_table(FIELDS, rows, left=2)]
    if any(row[-1].startswith("_") for row in rows):
        lines.append(MISSING.rstrip())
    write_whole(out / CATALOGUE, "\n".join(lines) + "\n")
