#!/usr/bin/python3
"""What gdb's `mymalloc` commands say of a process and of its core, of which everything is known.

  gdb.py SCRIPT KNOWN-PROGRAM [--core | --secure LIBRARY]
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

SCRIPT, KNOWN = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])

# By the state that known.c tells, of SIZE bytes as they were asked for.
WANTED = {
    "live": r": live object {at} of (?P<bytes>\d+) bytes, ",
    "arena": r": live object {at} of (?P<bytes>\d+) bytes, (in )?an arena's (window|span) at ",
    "cached": r": free \(in a cache\) object {at} of (?P<bytes>\d+) bytes, ",
    "free": r": free object {at} of (?P<bytes>\d+) bytes, size class \d+, \d+ of \d+ free in the slab of arena 0 at ",
    "hole": r": free object {at} of (?P<bytes>\d+) bytes, in an arena's window at ",
    "gone": r": in free pages, (?P<bytes>\d+) bytes at ",
    "foreign": r": not of mymalloc's heap$",
}


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got}, not {wanted}")


def gdb(*commands, status=0):
    """What it prints for each command, between marks."""
    arguments = [f"--eval-command={command}" for command in commands]
    done = subprocess.run(["gdb", "-q", "-nx", "-batch", "-ex", "set pagination off", "-ex", "set debuginfod enabled off",
                           *arguments], text=True, capture_output=True, stdin=subprocess.DEVNULL)
    expect(f"gdb {commands}: {done.stderr} status", done.returncode, status)
    return done.stdout + (done.stderr if status else "")


def ask(target, known):
    """Of each object, and of a byte inside of it."""
    commands = []
    for name, address, size, _ in known:
        commands += [f"echo @@{name}@@", f"mymalloc info {address}", f"echo @@{name}+@@", f"mymalloc info {address} + {int(size) // 2}"]
    said = gdb(*target, f"source {SCRIPT}", *commands, "echo @@heap@@", "mymalloc heap")
    parts = said.split("@@")[1:]  # one stands in what gdb says of a frame: a4@entry
    return dict(zip(parts[::2], parts[1::2]))


def check_object(said, name, address, size, state):
    pattern = WANTED[state].replace("{at}", address)
    match = re.search(pattern, said[name].strip())
    expect(f"{name} {address}, {state}: '{said[name].strip()}'", bool(match) and said[name].startswith(address), True)
    if state in ("foreign", "gone"):
        return
    expect(f"bytes of {name}", int(size) <= int(match["bytes"]) <= max(2 * int(size), 4 << 20), True)
    inside = said[f"{name}+"].partition(": ")[2]
    wanted = f"{int(size) // 2} bytes inside of {match[0].removeprefix(': ')}"
    expect(f"inside of {name}: '{inside}'", inside.startswith(wanted), True)


def check(target, known):
    said = ask(target, known)
    for entry in known:
        check_object(said, *entry)
    rows = {row[0]: row[1:] for row in (line.split() for line in said["heap"].splitlines()) if len(row) == 4}
    expect("objects of 208 bytes", rows["208"][:2], ["999", "1"])
    expect("objects of 48 bytes", rows["48"][:1], ["1"])
    expect("mapping", rows[str(64 << 20)], ["1", "0", "0"])
    expect("in caches and depots", rows["704"][:1], ["0"])
    expect("large in a cache", rows[str((320 << 10) - 63 * 64)][:2], ["0", "1"])
    # 999 of 200, 1 of 48, 1 MiB, the mapping, the aligned one; two of the arena
    expect("live objects", "\n1005 live objects of " in said["heap"], True)


def objects_of(output):
    return [line.split()[1:] for line in output if line.startswith("object ")]


def check_process():
    with subprocess.Popen([KNOWN, "--depot", "--wait"], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        lines = []
        while "ready\n" not in lines:
            lines.append(process.stdout.readline())
            expect("it is ready", lines[-1] != "", True)
        check([f"attach {process.pid}"], objects_of(lines))
        process.communicate()


def check_core():
    """gdb's own core file: where the kernel's would go is the machine's business."""
    with tempfile.TemporaryDirectory() as folder:
        core, output = pathlib.Path(folder, "core"), pathlib.Path(folder, "output")
        gdb(f"file {KNOWN}", "set startup-with-shell on", f"run --depot --abort > {output}", f"generate-core-file {core}", "kill")
        check([f"file {KNOWN}", f"core-file {core}"], objects_of(output.read_text().splitlines()))


# More than fits on the shelves of all CPUs, of both kinds; then it waits.
QUARANTINED = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
for size in 20000, 1 << 20:
    objects = [libc.malloc(ctypes.c_size_t(size)) for _ in range(40)]
    print(size, *map(hex, objects), flush=True)
    for object in objects[1:]:
        libc.free(ctypes.c_void_p(object))
sys.stdin.read()
"""


def check_quarantine(library):
    """What was freed and waits is not told as the program's own; the first of each size is."""
    with subprocess.Popen([sys.executable, "-c", QUARANTINED], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          env={**os.environ, "LD_PRELOAD": library}) as process:
        found = [process.stdout.readline().split() for _ in range(2)]
        for size, *objects in found:
            said = gdb(f"attach {process.pid}", f"source {SCRIPT}", *(f"mymalloc info {object}" for object in objects))
            states = [line.split(": ")[1] for line in said.splitlines() if line.split(": ")[0] in objects]
            expect(f"objects of {size} bytes", len(states), len(objects))
            live = [state.startswith("live") for state in states]
            expect(f"live ones of {size} bytes, {states}", live, [True] + [False] * (len(objects) - 1))
            expect(f"of {size} bytes some wait: {states}", any(state.startswith("free (in quarantine)") for state in states), True)
        process.communicate()


def check_refusals():
    for commands, text in ((["mymalloc info 16"], "there is no process"), (["mymalloc heap"], "there is no process"),
                           (["file /bin/true", "starti", "mymalloc heap"], "not in this program"),
                           (["mymalloc info"], "which pointer?"), (["mymalloc heap 5"], "takes no argument"),
                           (["mymalloc info nothing_like_this"], "No symbol")):
        said = gdb(f"source {SCRIPT}", *commands, status=1)
        expect(f"{commands}: {said}", (text in said, "Python" in said), (True, False))


def main():
    if "--core" in sys.argv:
        check_core()
    elif "--secure" in sys.argv:
        check_quarantine(sys.argv[-1])
    else:
        check_process()
        check_refusals()


if __name__ == "__main__":
    os.environ.pop("MYMALLOC_STATS", None)
    main()
