"""Whole programs as cells: any command (--program), or the ready ones (--programs).

A program cannot say in which library its malloc resolves, so the dynamic linker says
it: one run before the timed ones has LD_DEBUG=bindings, and the line that binds malloc
must name the column's library. In the timed runs the library must be among the mappings
of the process while it runs.
"""
import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace

from . import ROOT, Problem, process, timeline
from .server import Commands
from .server import measured as measured_server

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(os.path.dirname(HERE), "programs")
MEASURE = "mymalloc-measure"  # beside the benchmark


NUMPY = "/usr/lib/python3/dist-packages/numpy"


@dataclass(frozen=True)
class Program:
    name: str
    argv: tuple
    binds: str = ""  # file name of the program whose malloc is judged; "": all that it starts
    cwd: str | None = None  # None: a scratch folder, made for each run
    server: Commands | None = None  # how it is driven, if it is one


# name: (commands it needs, Debian packages that hold them, program judged). A command that is
# part of the build is named by its file there; a name's digits are the script's argument.
READY = {
    "redis": (("redis-server", "redis-benchmark"), "redis-server redis-tools", "redis-server"),
    "sqlite3": (("sqlite3",), "sqlite3", "sqlite3"),
    "python3": (("/usr/bin/python3",), "python3", "python3"),
    "gcc": (("gcc",), "gcc libc6-dev", "cc1"),
    "perl": (("perl",), "perl", "perl"),
    "git": (("git",), "git", "git"),
    "lua": (("lua5.4",), "lua5.4", "lua5.4"),
    "c++": (("g++",), "g++", "cc1plus"),
    "nginx": (("nginx", "h2load", "/usr/bin/python3"), "nginx-light nghttp2-client python3", "nginx"),
    "postgres": (("/usr/lib/postgresql", "pgbench"), "postgresql", "postgres"),
    "memcached": (("memcached", "/usr/bin/python3"), "memcached python3", "memcached"),
    "node": (("node",), "nodejs", "node"),
    "ruby": (("ruby",), "ruby", "ruby"),
    "clang++": (("clang++",), "clang", "clang++"),
    "z3": (("z3",), "z3", "z3"),
    "ghostscript": (("gs",), "ghostscript", "gs"),
    "imagemagick": (("/usr/bin/convert",), "imagemagick", "convert"),
    "ffmpeg": (("ffmpeg",), "ffmpeg", "ffmpeg"),
    "rocksdb": (("db_bench",), "rocksdb-tools", "db_bench"),
    "maps": (("mymalloc-program-maps",), "g++", ""),
    "strings": (("mymalloc-program-strings",), "rustc", ""),
    "objects": (("/usr/bin/python3",), "python3", "python3"),
    "arrays16": (("/usr/bin/python3", NUMPY), "python3 python3-numpy", "python3"),
    "arrays48": (("/usr/bin/python3", NUMPY), "python3 python3-numpy", "python3"),
    "arrays200": (("/usr/bin/python3", NUMPY), "python3 python3-numpy", "python3"),
}
# Driven by a load: their script is called with serve, ready and load.
SERVERS = ("redis", "nginx", "postgres", "memcached")
# Left out with a word where what they need is missing: a compiler that few machines have.
OPTIONAL = ("strings",)


# What jemalloc alone has, and what is had from it is malloc's to no other: as Debian builds valkey, and redis since trixie,
# they crash under each that lacks them.
JEMALLOCS = {"mallocx", "rallocx", "xallocx", "dallocx", "sdallocx"}


def calls_jemalloc(command):
    """Those of its own calls that a program makes of the jemalloc that it is linked to."""
    path = shutil.which(command)
    shown = path and subprocess.run(["readelf", "-W", "--dyn-syms", path], capture_output=True, text=True).stdout
    return sorted(JEMALLOCS & set(re.findall(r" UND (\w+)", shown or "")))


def is_there(command, build):
    return shutil.which(command) or os.path.exists(os.path.join(build, command))


def ready(names, binary):
    """Programs of the ready set; names empty: all of them. `binary` stands in the build."""
    chosen = []
    for name in names or READY:
        if name not in READY:
            raise Problem(f"unknown program '{name}'; accepted: {', '.join(READY)}, "
                          "or --program -- command…")
        commands, packages, binds = READY[name]
        missing = [command for command in commands
                   if not is_there(command, os.path.dirname(binary))]
        if missing and not names and name in OPTIONAL:
            print(f"program '{name}' is left out: it needs {', '.join(missing)} "
                  f"(apt-get install {packages}; build again)", file=sys.stderr)
            continue
        if missing:
            raise Problem(f"program '{name}' needs {', '.join(missing)} "
                          f"(apt-get install {packages}; build again), "
                          f"or choose others of: {', '.join(READY)}")
        if own := calls_jemalloc(commands[0]):
            why = (f"program '{name}' cannot be compared: {commands[0]} as it is built here calls {', '.join(own)} of the "
                   "jemalloc that it is linked to, and crashes under others")
            if names:
                raise Problem(f"{why}; choose others of: {', '.join(READY)}")
            print(f"{why}: left out", file=sys.stderr)
            continue
        chosen.append(program_of(name, binds))
    return chosen


def program_of(name, binds):
    if name not in SERVERS:
        return Program(f"program/{name}", command_of(name), binds)
    script = f'/bin/sh "$PROGRAM_INPUTS/{name}.sh"'
    return Program(f"server/{name}", (*command_of(name), "serve"), binds, server=Commands(f"{script} ready", f"{script} load"))


def command_of(name):
    """Its script, and what stands at the end of its name: arrays48 is arrays.sh 48."""
    path = os.path.join(SCRIPTS, name.replace("+", "x") + ".sh")
    if os.path.exists(path):
        return ("/bin/sh", path)
    stem = name.rstrip("0123456789")
    return ("/bin/sh", os.path.join(SCRIPTS, stem + ".sh"), name[len(stem):])


CHECKOUT = "{checkout}"  # stands for its path in run.json, which is published


def as_dict(program):
    def shown(word):
        return word and word.replace(ROOT, CHECKOUT)
    return {"name": program.name, "argv": [shown(word) for word in program.argv],
            "binds": program.binds, "cwd": shown(program.cwd),
            "server": program.server and {key: shown(word) for key, word in asdict(program.server).items()}}


def from_dict(saved):
    def real(word):
        return word and word.replace(CHECKOUT, ROOT)
    return Program(saved["name"], tuple(real(word) for word in saved["argv"]), saved["binds"],
                   real(saved["cwd"]), saved.get("server") and Commands(
                       **{key: real(word) for key, word in saved["server"].items()}))


def custom(command):
    """--program -- command…"""
    if not command:
        raise Problem("--program: no command given; the form is --program -- command args…")
    found = shutil.which(command[0])
    if not found:
        raise Problem(f"--program: '{command[0]}' is not an executable file or command")
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", os.path.basename(command[0]))
    return Program(f"program/{name}", (os.path.abspath(found), *command[1:]), cwd=os.getcwd())


def custom_server(command, ready_when, load, stop):
    """--server CMD --ready CMD --load CMD [--stop CMD]"""
    words = shlex.split(command)
    if not words or not shutil.which(words[0]):
        raise Problem(f"--server '{command}': does not begin with an executable file or command")
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", os.path.basename(words[0]))
    return Program(f"server/{name}", ("/bin/sh", "-c", f"exec {command}"), cwd=os.getcwd(),
                   server=Commands(ready_when, load, stop or ""))


def bindings(directory):
    """[(program file, library)] for every malloc that the dynamic linker bound."""
    pattern = re.compile(r"binding file (.+?) \[\d+\] to (.+?) \[\d+\]: normal symbol `malloc'")
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


def judged(found, binds, own=""):
    """[(program or library, where its malloc came from)], of the program judged or of all.

    A program that is not position independent may hand out the address of its own stub
    for malloc: bound to itself, and the stub in turn to the library. Only the latter counts.
    Where the column's `own` library looks up libc's malloc, too, that is no program's.
    """
    mine = [(name, library) for name, library in found if binds in ("", os.path.basename(name))
            and (os.path.realpath(name) != own or os.path.realpath(library) == own)]
    stubs = {name for name, library in found if name == library and ".so" not in name}
    return [pair for pair in mine if pair[1] not in stubs] or mine


def prove(program, column, plan, scratch):
    """Why the preload does not answer in this program, or None. One untimed run, of ready ones that can a hundredth."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        outcome, _ = measured(program, column, replace(plan, rest=0), directory, {
            "PROGRAM_PART": "100", "LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": os.path.join(directory, "bind")})
        if outcome.failure:
            return outcome.failure
        found = judged(bindings(directory), program.binds, column.path)
    if not found:
        why = "it never bound malloc"
        if is_static(program.argv[0]) or os.stat(program.argv[0]).st_mode & 0o6000:
            why = "it is static or setuid"
        return f"refused: the preload did not take: {why}"
    for name, library in found:
        if os.path.realpath(library) != column.path:
            return f"refused: malloc of {name} was bound to {library}, not to {column.path}"
    return None


def measured(program, column, plan, directory, more=None, watch=None):
    """(Outcome, what mymalloc-measure reported) of one run."""
    report = os.path.join(directory, "measured.json")
    build = os.path.dirname(os.path.abspath(plan.binary))  # programs run in a folder of their own
    variables = column.variables(always=True) | (more or {}) | {
        "PROGRAM_SCRATCH": directory, "PROGRAM_INPUTS": SCRIPTS,
        "PROGRAM_BUILD": build}
    measure = os.path.join(build, MEASURE)
    if not os.access(measure, os.X_OK):
        raise Problem(f"no {measure}: build first (leave out --no-build)")
    if program.server:
        return measured_server(measure, variables, program, plan, program.cwd or directory)
    outcome = process.run(
        [measure, report, *(f"{key}={value}" for key, value in variables.items()), "--",
         *program.argv], process.clean_environment(), plan.timeout, program.cwd or directory, watch,
        limit=plan.limit)
    if outcome.failure:
        return outcome, None
    with open(report, encoding="utf-8") as file:
        figures = json.load(file)
    outcome.failure = process.describe(figures["status"], outcome.stderr)
    return outcome, figures


def mapped_below(pid, path):
    """Whether a child of the measuring process has the library mapped; None without one."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
            children = file.read().split()
        for child in children:
            with open(f"/proc/{child}/maps", encoding="utf-8", errors="replace") as file:
                return any(line.rstrip().endswith(path) for line in file)
    except OSError:
        pass
    return None


def hinted(failure, program):
    """A command of the user's that does not end may be a server."""
    if failure.startswith("did not end") and program.cwd and not program.server:
        return failure + " (a server? --server, --ready and --load drive one)"
    return failure


def sample(program, column, plan, scratch, proven):
    """One run, in the shape of a Google Benchmark report."""
    key = (program.name, column.name)
    if key not in proven:
        failure = prove(program, column, plan, scratch)
        if failure:
            return {"suite": {"failure": hinted(failure, program)}}
        proven.add(key)
    seen = []

    def watch(pid):
        look = mapped_below(pid, column.path)
        if look is not None:
            seen.append(look)
        return bool(look)

    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        outcome, figures = measured(program, column, plan, directory, watch=watch)
    failure = outcome.failure
    # Not there again and again. Nothing seen: it ended before the first look, and the
    # proof of the untimed run stands.
    if not failure and len(seen) > 5 and not any(seen):
        failure = "refused: the preload was not mapped in this process"
    if failure:
        return {"suite": {"seconds": round(outcome.seconds, 4), "failure": hinted(failure, program)}}
    more = {key: value for key, value in figures.items() if key.startswith(("load_p", "load/", "requests_", "rss_after", "base_rss"))}
    # A server's speed is what its load reports, or how soon the load was served.
    speed = figures.get("requests_per_second") or 1 / figures.get("load_seconds", figures["seconds"])
    return {"context": {"allocator_path": column.path, "proof": "LD_DEBUG=bindings"},
            "benchmarks": [{
                "name": program.name, "run_type": "iteration", "iterations": 1,
                "real_time": figures["seconds"] * 1e3, "cpu_time": figures["cpu_seconds"] * 1e3,
                "time_unit": "ms", "ops": 1, "ops_per_second": speed,
                "peak_rss_bytes": figures["peak_rss_bytes"],
                "rss_integral_bytes_s": timeline.integral(figures["timeline"]),
                "minor_faults": figures["minor_faults"]} | more],
            "suite": {"seconds": round(outcome.seconds, 4), "cpu_seconds": round(figures["cpu_seconds"], 4),
                      "timeline": timeline.kept(figures["timeline"])}}


def describe():
    """For --help."""
    return ", ".join(READY)
