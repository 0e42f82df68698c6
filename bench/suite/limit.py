"""A memory cgroup around each process (--memory): the score is whether it survives, and how fast.

Version 1 and version 2. Swap is no way out. A process that the kernel ended because of the limit
did not survive: that is its row, and no time of it is shown.
"""
import contextlib
import os
import pathlib
import time

from . import Problem, units

# (limit, what takes swap away, where kills are counted) of the two versions.
V1 = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control")
V2 = ("memory.max", "memory.swap.max", "memory.events")


def mounts():
    """[(folder, file system type)] of control groups."""
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        fields = [line.split() for line in file]
    return [(pathlib.Path(field[1]), field[2], field[3].split(",")) for field in fields if field[2] in ("cgroup", "cgroup2")]


def own_path(controller):
    """This process's group: of a controller of version 1, or ("") of version 2."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, names, path = line.rstrip("\n").split(":", 2)
            if controller in names.split(","):
                return path.lstrip("/")
    return ""


def parents():
    """Folders below which a group may be made, the nearest first, and the files of their version."""
    for mount, kind, options in mounts():
        if kind == "cgroup" and "memory" in options:
            yield from ((folder, V1) for folder in dict.fromkeys((mount / own_path("memory"), mount)))
        if kind == "cgroup2":
            yield from ((folder, V2) for folder in dict.fromkeys((mount / own_path(""), mount)))


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


class Limit:
    """A group of so many bytes, made anew for each process."""

    def __init__(self, size, places=None):
        self.size, self.reasons = size, []
        for parent, files in places if places is not None else parents():
            self.parent, self.files = parent, files
            try:
                self.remove(self.make())
                return
            except OSError as error:
                self.reasons.append(f"{parent}: {error.strerror}")
        raise Problem("--memory: no memory cgroup can be made here" +
                      (f" ({'; '.join(self.reasons)})" if self.reasons else ": none is mounted") +
                      "; run as root where the memory controller may be used, or leave it out")

    def make(self):
        limit, swap, _ = self.files
        group = self.parent / f"mymalloc-bench-{os.getpid()}"
        if self.files is V2 and "memory" not in (self.parent / "cgroup.subtree_control").read_text(encoding="ascii").split():
            write(self.parent / "cgroup.subtree_control", "+memory")
        group.mkdir()
        try:
            write(group / limit, str(self.size))
            if (group / swap).exists():
                write(group / swap, "0" if self.files is V2 else str(self.size))
        except OSError:
            self.remove(group)
            raise
        return group

    def remove(self, group):
        for _ in range(100):  # who was just killed may still be there
            try:
                return group.rmdir()
            except OSError:
                time.sleep(0.02)
        raise Problem(f"{group} cannot be removed: processes are left in it")

    def kills(self, group):
        fields = dict(line.split() for line in (group / self.files[2]).read_text(encoding="ascii").splitlines())
        return int(fields.get("oom_kill", 0))

    @contextlib.contextmanager
    def around(self, argv):
        """(what to run instead, said): said() tells after it ended that it did not survive, or None."""
        group = self.make()

        def said():
            return f"did not survive {units.size(self.size)} of memory" if self.kills(group) else None
        try:
            yield ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', str(group / "cgroup.procs"), *argv], said
        finally:
            self.remove(group)
