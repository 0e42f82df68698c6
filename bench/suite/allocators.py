"""Columns: where each allocator's library is, and the proof that it answered."""
import atexit
import functools
import hashlib
import os
import pathlib
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field, replace

from . import HARNESS, REFERENCE, ROOT, Problem, process, rivals
from .rivals import ADVISED, FOLDER, GROUPS, KNOWN, MORE, OBSERVED, OURS

OURS_FILE = "allocator/libmymalloc_preload.so"
BUILT = {OURS: OURS_FILE, **rivals.OWN}  # by this project's build
DEFAULT = (REFERENCE, *KNOWN, OURS)
AGAIN = "-again"  # suffix of the control column: the same library under a second name


@dataclass
class Column:
    name: str
    path: str | None = None  # None: nothing is proven of this column (the baseline)
    preloads: bool = True  # False: the path is what programs are linked to anyway
    environment: dict = field(default_factory=dict)
    sha256: str | None = None
    stamp: list | None = None  # device, inode, size, mtime: cheap to check in each process
    package: str | None = None
    control_of: str | None = None
    # What the processes said of themselves; filled in by the runner.
    version: str | None = None
    frontend: str | None = None

    def variables(self, always=False):
        """always: a program may be linked to an allocator of its own (Debian's redis)."""
        wanted = self.path and (self.preloads or always)
        own = {key: value.replace(FOLDER, private_folder()) if FOLDER in value else value
               for key, value in self.environment.items()}
        return own | ({"LD_PRELOAD": without_blanks(self.path)} if wanted else {})

    def as_dict(self):
        return asdict(self) | {"path": self.path and self.path.removeprefix(ROOT + "/")}


def without_blanks(path):
    """LD_PRELOAD ends a path at a blank or colon: then a link in a private folder stands for it."""
    if not re.search(r"[\s:]", path):
        return path
    if path not in links:
        links[path] = os.path.join(private_folder(), f"{len(links)}-" + re.sub(r"[\s:]", "_", os.path.basename(path)))
        os.symlink(path, links[path])
    return links[path]


links = {}


@functools.cache
def private_folder():
    folder = tempfile.mkdtemp(prefix="mymalloc-bench-own-")
    os.chmod(folder, 0o1777)  # postgres, started by root, becomes another user
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def library_paths():
    """Every shared library the loader knows, for this machine's architecture."""
    flag = {"x86_64": "x86-64", "aarch64": "AArch64"}.get(platform.machine(), "")
    for command in ("ldconfig", "/sbin/ldconfig"):
        try:
            listing = subprocess.run([command, "-p"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        for line in listing.stdout.splitlines():
            name, arrow, path = line.strip().partition(" => ")
            if arrow and flag in name:
                yield path
        return


def find_known(name):
    return rivals.pick(rivals.patterns_of(name), list(library_paths()))


def stamp_of(path):
    status = os.stat(path)
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]


def package_of(path):
    """The Debian package and version that owns the file, or None."""
    if not os.path.realpath(path).startswith(("/usr/", "/lib")):
        return None  # asking takes some tenths of a second
    if not os.path.exists("/usr/bin/dpkg-query"):
        return None
    names = (path, os.path.realpath(path), path.removeprefix("/usr"), "/usr" + path)
    owners = subprocess.run(["dpkg-query", "-S", *dict.fromkeys(names)], capture_output=True, text=True).stdout
    if not owners:
        return None
    package = owners.split(": ")[0].split(",")[0]
    shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", package],
                           capture_output=True, text=True)
    return shown.stdout or None


def library(name, path, environment=None):
    """A column for a library file, its identity recorded now."""
    real = os.path.realpath(path)
    try:
        if not stat.S_ISREG(os.stat(real).st_mode):  # a pipe or a device has no end to wait for
            raise Problem(f"allocator '{name}': {path} is not a file")
        with open(real, "rb") as file:
            data = file.read()
    except OSError as error:
        raise Problem(f"allocator '{name}': cannot read {path}: {error.strerror}") from None
    if data[:4] != b"\x7fELF":
        raise Problem(f"allocator '{name}': {path} is not a shared library (no ELF header)")
    return Column(name, real, environment=environment or {},
                  sha256=hashlib.sha256(data).hexdigest(), stamp=stamp_of(real))


def reference():
    """What runs without a preload; the file is the one this process is linked to."""
    path = next((line.split()[-1] for line in open("/proc/self/maps", encoding="utf-8")
                 if re.search(r"/libc\.so\.6$|/libc-[\d.]+\.so$", line)), None)
    if not path:
        raise Problem("the reference column needs glibc, and this system has none")
    column = library(REFERENCE, path)
    column.preloads = False
    return column


def parse_own(text):
    """--allocator name=/path.so[,ENV=value…] -> Column"""
    name, equals, rest = text.partition("=")
    path, *settings = rest.split(",")
    if not equals or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name) or not path:
        raise Problem(f"--allocator '{text}': the form is name=/path/lib.so[,ENV=value…]")
    if name in (REFERENCE, HARNESS) or name.endswith(AGAIN):
        raise Problem(f"--allocator '{text}': the name '{name}' is the suite's own; take another")
    environment = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            raise Problem(f"--allocator '{text}': '{setting}' is not ENV=value")
        environment[key] = value
    if path == REFERENCE:  # glibc with another tunable, say
        column = reference()
        column.name, column.environment = name, environment
        return column
    return library(name, path, environment)


def resolve(names, own, build):
    """The columns to run, the reference first. names: as --allocators; own: --allocator."""
    mine = [parse_own(text) for text in own]
    taken = {column.name: column for column in mine}
    if len(taken) != len(mine):
        raise Problem("--allocator: a name is given twice")
    names, by_group = rivals.spread(names, DEFAULT)
    columns = [reference()]
    for name in list(dict.fromkeys(names)) + [name for name in taken if name not in names]:
        if name == REFERENCE:
            continue
        try:
            columns.append(taken.get(name) or find(name, build, taken))
        except Problem as problem:
            if name not in by_group:
                raise
            print(f"left out: {problem}", file=sys.stderr)
    return columns


def find(name, build, taken=()):
    if setting := (ADVISED | OBSERVED).get(name):
        of, environment, _ = setting
        column = reference() if of == REFERENCE else find(of, build, taken)
        column.name, column.environment = name, environment
        return column
    accepted = ", ".join([*DEFAULT, *rivals.OWN, *OBSERVED, *MORE, *ADVISED, *(n for n in taken if n not in DEFAULT), *GROUPS])
    if name in BUILT:
        path = pathlib.Path(build) / BUILT[name]
        if not path.exists():
            raise Problem(f"allocator '{name}': {path} is not built; accepted: {accepted}, "
                          "or --allocator name=/path/lib.so")
        return library(name, str(path))
    if name not in KNOWN and name not in MORE:
        raise Problem(f"unknown allocator '{name}'; accepted: {accepted}, "
                      "or --allocator name=/path/lib.so")
    path = find_known(name)
    if not path:
        raise Problem(f"allocator '{name}': no library of that name is installed "
                      f"(ci/setup {'more' if name in MORE else 'bench'} installs it); accepted: {accepted}, "
                      "or --allocator name=/path/lib.so")
    return library(name, path)


# Run under the preload: whether it was taken, and in which file malloc lies as it sees it.
# (Not as Python sees it: a program that is not position independent has a stub of its own.)
ASK = """
import ctypes, os
preload = os.environ["LD_PRELOAD"]
files = [(line.split()[0], line.split(None, 5)[-1].strip()) for line in
         open("/proc/self/maps", encoding="utf-8", errors="surrogateescape")]
if os.path.realpath(preload) in (name for _, name in files):
    malloc = getattr(ctypes.CDLL(preload), "malloc", None)
    at = malloc and ctypes.cast(malloc, ctypes.c_void_p).value
    if not at:
        print("libc: the library has no malloc")
        files = []
    for ends, name in files:
        low, high = (int(end, 16) for end in ends.split("-"))
        if low <= at < high:
            print(name)
"""


def probe(column):
    """Before the first block: the library is loaded, survives, and takes malloc over."""
    if not column.preloads:
        return
    with tempfile.TemporaryFile() as told:
        outcome = process.run([sys.executable, "-I", "-S", "-X", "utf8", "-c", ASK],
                              process.clean_environment() | column.variables(), 60, output=told)
        told.seek(0)
        answered = told.read().decode(errors="replace").strip()
    if outcome.failure:
        raise Problem(f"allocator '{column.name}': a program that does nothing fails under "
                      f"{column.path}: {outcome.failure}")
    if answered != column.path:
        why = f"malloc stays in {answered}" if answered else next(
            (line for line in outcome.stderr.splitlines() if "cannot be preloaded" in line),
            "the loader did not take it")
        raise Problem(f"allocator '{column.name}': {column.path} is no allocator for LD_PRELOAD: {why}")


def again(column):
    """The control: the same file and environment under a second name."""
    return replace(column, name=column.name + AGAIN, control_of=column.name)


def changed(path, stamp):
    """True when the file is not the one that was recorded."""
    try:
        return bool(path) and stamp_of(path) != stamp
    except OSError:
        return True


def refusal(column, context):
    """Why a sample's context does not prove that this column's allocator answered, or None."""
    said = context.get("allocator_path")
    if not said:
        return "the process did not say which malloc it used"
    if os.path.realpath(said) != column.path:
        took = "the preload did not take" if column.preloads else "another allocator was loaded"
        return f"{took}: malloc came from {said}, not from {column.path}"
    version = context.get("allocator_version", "")
    # The control and our own builds under any name say what they are; others need not.
    if column.name in BUILT and not version.startswith(OURS):
        return f"the library calls itself '{version}', not {OURS}"
    if column.version and version != column.version:
        return f"the version changed during the run: {column.version}, then {version}"
    return None
