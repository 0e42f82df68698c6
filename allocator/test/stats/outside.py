#!/usr/bin/python3
"""mymalloc-stats says of a running process what the process says of itself; and one line
where it cannot: no such process, none with mymalloc, no permission.

  outside.py TOOL KNOWN-PROGRAM PRELOAD-LIBRARY
"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got}, not {wanted}")


def tool(program, *arguments, status=0, user=None):
    done = subprocess.run([sys.executable, program, *map(str, arguments)], text=True, capture_output=True, user=user)
    expect(f"{arguments}: {done.stderr} status", done.returncode, status)
    return done.stdout if status == 0 else done.stderr


class Running:
    """A program that is ready; it goes on until the end of the block."""

    def __init__(self, *command, **environment):
        self.process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**os.environ, **environment})

    def __enter__(self):
        while self.process.stdout.readline() not in ("ready\n", ""):
            pass
        return self.process

    def __exit__(self, *_):
        self.process.communicate()


def check_numbers(stats, known, work):
    files = work / "json", work / "prometheus"
    stripped = work / "stripped"
    subprocess.run(["strip", "-o", stripped, known], check=True)
    for program in known, stripped:
        with Running(program, "--write", *files, "--wait") as process:
            expect("JSON", json.loads(tool(stats, "--json", process.pid)), json.loads(files[0].read_text()))
            expect("Prometheus", tool(stats, process.pid, "--prometheus"), files[1].read_text())
            text = tool(stats, process.pid)
    for line in (r"in use +65\.\d\d MiB", r"  mapping +64\.00 MiB", r"  cached large +0\.31 MiB", r"heap resident +\d+\.\d\d MiB",
                 r"page faults +\d+,", r" +208 +\d+ +999 +\d+ +0 +\d+ +\d+ +\d+"):
        expect(f"'{line}' in {text}", bool(re.search(f"^{line}", text, re.M)), True)


def check_preloaded(stats, library):
    """A program of others, that goes on while it is looked at."""
    with Running(sys.executable, "-c", "import time; print('ready', flush=True)\nwhile True: [bytes(i) for i in range(3000)]; time.sleep(.005)",
                 LD_PRELOAD=library) as process:
        for _ in range(10):
            found = json.loads(tool(stats, "--json", process.pid))
            expect("small", 100000 < found["mymalloc_allocated_bytes"]["small"] < 1 << 30, True)
        watching = subprocess.Popen([sys.executable, stats, "--watch", "0.1", str(process.pid)], stdout=subprocess.PIPE, text=True)
        for _ in range(2):
            while "  each second" not in (line := watching.stdout.readline()):
                expect("it is drawn again", line != "", True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        watching.communicate()
        expect("status of --watch when the process ended", watching.returncode, 0)


def check_refusals(stats, known, work):
    for wrong in "abc", "0", "-5", "1.5":
        expect(wrong, "PID: " in tool(stats, "--", wrong, status=2), True)
    expect("--watch", "from 0.1" in tool(stats, "--watch", "0", "1", status=2), True)
    ended = subprocess.Popen(["true"])
    ended.wait()
    expect("ended", tool(stats, ended.pid, status=1), f"mymalloc-stats: process {ended.pid}: there is none\n")
    with Running("sh", "-c", "echo ready; read line") as process:
        expect("no mymalloc", tool(stats, process.pid, status=1),
               f"mymalloc-stats: process {process.pid}: no mymalloc in it that has a heap\n")
    if os.geteuid() == 0:  # as nobody, who may not look into our own folders
        shutil.copytree(stats.parent, work / "tools")
        other = work / "tools" / stats.name
        work.chmod(0o755)
        with Running(known, "--wait") as process:
            said, user = tool(other, process.pid, status=1, user=65534), process.pid
    else:
        said, user = tool(stats, 1, status=1), 1
    expect("permission", said.startswith(f"mymalloc-stats: process {user}: permission denied"), True)
    expect("lines", said.count("\n"), 1)


def main():
    stats, known, library = (pathlib.Path(argument) for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        check_numbers(stats, known, pathlib.Path(folder))
        check_preloaded(stats, str(library))
        check_refusals(stats, known, pathlib.Path(folder))


if __name__ == "__main__":
    main()
