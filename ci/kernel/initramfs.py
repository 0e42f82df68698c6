"""What the emulated machine finds: the tests, each at the path that it has here, and an init."""
import os
import pathlib
import stat

APPLETS = "sh true false cat cp dirname echo env grep ls mkdir mv rm sed sleep".split()
LIBRARIES = ("ld-linux*.so.?", "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2",
             "libgcc_s.so.1", "libstdc++.so.6")


def is_program(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


class Archive:
    """An initramfs: cpio's "newc" format, of which the kernel wants no more than this."""

    def __init__(self, file):
        self.file, self.number, self.folders = file, 0, set()

    def _add(self, name, mode, data=b""):
        self.number += 1
        fields = (self.number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        self.file.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))

    def _folders(self, name):
        for parent in reversed(pathlib.PurePath(name).parents):
            if str(parent) not in self.folders and str(parent) != ".":
                self.folders.add(str(parent))
                self._add(str(parent), stat.S_IFDIR | 0o755)

    def put(self, name, data, mode=0o755):
        self._folders(name)
        self._add(name, stat.S_IFREG | mode, data)

    def link(self, name, to):
        self._folders(name)
        self._add(name, stat.S_IFLNK | 0o777, to.encode())

    def end(self):
        self._add("TRAILER!!!", 0)


def make_root(target, folder, init, busybox, libraries, plan):
    """Every program and library of the build stands where its path says."""
    with open(target, "wb") as file:
        archive = Archive(file)
        archive.put("init", init.read_bytes())
        archive.put("plan", plan.encode(), 0o644)
        archive.put("bin/busybox", busybox.read_bytes())
        for name in APPLETS:
            archive.link(f"bin/{name}", "busybox")
        for place, target in libraries:
            for pattern in LIBRARIES:
                for library in place.glob(pattern):
                    archive.put(f"{target}/{library.name}", library.read_bytes())
        for path in sorted(folder.rglob("*")):
            if path.is_symlink():
                archive.link(str(path)[1:], os.readlink(path))
            elif path.is_file() and path.suffix != ".o" and os.access(path, os.X_OK) and is_program(path):
                archive.put(str(path)[1:], path.read_bytes())
        archive.end()
