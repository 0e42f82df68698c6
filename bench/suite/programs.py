"""Whole programs as cells: any command (--program), or the ready ones (--programs).

A program cannot say in which library its malloc resolves, so the dynamic linker says
it: one run before the timed ones has LD_DEBUG=bindings, and the line that binds malloc
must name the column's library. In the timed runs the library must be among the mappings
of the process while it runs.
"""
import glob
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

from . import Problem, process

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(os.path.dirname(HERE), "programs")


@dataclass(frozen=True)
class Program:
    name: str
    argv: tuple
    binds: str = ""  # file name of the program whose malloc is judged; "": the command's own
    cwd: str | None = None  # None: a scratch folder, made for each run


# name: (commands it needs, Debian packages that hold them, program judged)
READY = {
    "redis": (("redis-server", "redis-benchmark"), "redis-server redis-tools", "redis-server"),
    "sqlite3": (("sqlite3",), "sqlite3", "sqlite3"),
    "python3": (("/usr/bin/python3",), "python3", "python3"),
    "gcc": (("gcc",), "gcc libc6-dev", "cc1"),
    "perl": (("perl",), "perl", "perl"),
    "git": (("git",), "git", "git"),
    "lua": (("lua5.4",), "lua5.4", "lua5.4"),
    "c++": (("g++",), "g++", "cc1plus"),
}


def ready(names):
    """Programs of the ready set; names empty: all of them."""
    chosen = []
    for name in names or READY:
        if name not in READY:
            raise Problem(f"unknown program '{name}'; accepted: {', '.join(READY)}, "
                          "or --program -- command…")
        commands, packages, binds = READY[name]
        missing = [command for command in commands if not shutil.which(command)]
        if missing:
            raise Problem(f"program '{name}' needs {', '.join(missing)} "
                          f"(apt-get install {packages}), or choose others of: {', '.join(READY)}")
        script = os.path.join(SCRIPTS, name.replace("+", "x") + ".sh")
        chosen.append(Program(f"program/{name}", ("/bin/sh", script), binds))
    return chosen


def custom(command):
    """--program -- command…"""
    if not command:
        raise Problem("--program: no command given; the form is --program -- command args…")
    found = shutil.which(command[0])
    if not found:
        raise Problem(f"--program: '{command[0]}' is not an executable file or command")
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", os.path.basename(command[0]))
    return Program(f"program/{name}", (os.path.abspath(found), *command[1:]),
                   os.path.basename(found), os.getcwd())


def bindings(directory):
    """[(program file, library)] for every malloc that the dynamic linker bound."""
    pattern = re.compile(r"binding file (\S+) \[\d+\] to (\S+) \[\d+\]: normal symbol `malloc'")
    found = []
    for path in glob.glob(os.path.join(directory, "bind.*")):
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if "`malloc'" in line and (match := pattern.search(line)):
                    found.append((match[1], match[2]))
    return found


def is_static(path):
    """True when the file is an ELF program without a dynamic linker."""
    shown = subprocess.run(["readelf", "-l", path], capture_output=True, text=True)
    return shown.returncode == 0 and "INTERP" not in shown.stdout


def prove(program, column, timeout, scratch):
    """Why the preload does not answer in this program, or None. One untimed run."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        environment = environment_of(column, directory) | {
            "LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": os.path.join(directory, "bind")}
        outcome = process.run(program.argv, environment, timeout, program.cwd or directory)
        if outcome.failure:
            return outcome.failure
        found = bindings(directory)
    judged = [library for name, library in found
              if os.path.basename(name) == program.binds]
    # A program may leave malloc to a library of its own, or be a script of another one.
    libraries = judged or [library for _, library in found]
    if not libraries:
        why = "it is static or setuid" if is_static(program.argv[0]) or \
            os.stat(program.argv[0]).st_mode & 0o6000 else "it never bound malloc"
        return f"refused: the preload did not take: {why}"
    wanted = column.path or "libc"
    wrong = [library for library in libraries
             if not (os.path.realpath(library) == column.path if column.path
                     else os.path.basename(library).startswith("libc"))]
    if wrong:
        return f"refused: malloc was bound to {wrong[0]}, not to {wanted}"
    return None


def environment_of(column, directory):
    return process.clean_environment() | column.preload() | {
        "PROGRAM_SCRATCH": directory, "PROGRAM_INPUTS": SCRIPTS}


def mapped_by(pid, path):
    """True/False while the process runs; None when it is gone."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            return any(line.rstrip().endswith(path) for line in file)
    except OSError:
        return None


def sample(program, column, plan, scratch, proven):
    """One run, in the shape of a Google Benchmark report."""
    key = (program.name, column.name)
    if key not in proven:
        failure = prove(program, column, plan.timeout, scratch)
        if failure:
            return {"suite": {"failure": failure}}
        proven.add(key)
    seen = []

    def watch(pid):
        seen.append(mapped_by(pid, column.path))
        return bool(seen[-1])

    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        outcome = process.run(program.argv, environment_of(column, directory), plan.timeout,
                              program.cwd or directory, watch if column.path else None)
    failure = outcome.failure
    # False again and again: it was looked at and the library was not there. Nothing seen:
    # it ended before the first look, and the proof of the untimed run stands.
    if not failure and len(seen) > 5 and not any(seen):
        failure = "refused: the preload was not mapped in this process"
    suite = {"seconds": round(outcome.seconds, 4), "cpu_seconds": round(outcome.cpu_seconds, 4)}
    if failure:
        return {"suite": suite | {"failure": failure}}
    return {"context": {"allocator_path": column.path or "libc.so.6", "proof": "LD_DEBUG=bindings"},
            "benchmarks": [{
                "name": program.name, "run_type": "iteration", "iterations": 1,
                "real_time": outcome.seconds * 1e3, "cpu_time": outcome.cpu_seconds * 1e3,
                "time_unit": "ms", "ops": 1, "ops_per_second": 1 / outcome.seconds,
                "peak_rss_bytes": outcome.peak_rss_bytes, "minor_faults": outcome.minor_faults}],
            "suite": suite}


def describe():
    """For --help."""
    return ", ".join(READY)


