"""Packages and build, before the first process: what ci/bench does without --no-build."""
import importlib
import shutil
import subprocess
import sys

from . import ROOT, Problem


def install(*groups):
    """By ci/setup, which does nothing and needs no root where all is there."""
    if subprocess.run([ROOT + "/ci/setup", *groups], stdout=sys.stderr).returncode:
        raise Problem(f"ci/setup {' '.join(groups)} failed (above); with --no-build nothing is installed")
    importlib.invalidate_caches()  # Python's own packages may have come


def build(folder, with_programs=False, own=()):
    """own: names of rivals.OWN, other builds of our own that are columns."""
    targets = ["mymalloc-bench", "mymalloc-measure", "mymalloc-trace", "mymalloc_preload",
               *(f"mymalloc_{name}" for name in own)]
    if with_programs:  # those of --programs that are built; one where there is a compiler for it
        targets += ["mymalloc-program-maps"]
        targets += ["mymalloc-programs-rust"] if shutil.which("rustc") else []
    print(f"ci/bench: building in {folder}", file=sys.stderr)
    for command in (["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"],
                    ["cmake", "--build", folder, "--target", *targets]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL)
        if done.returncode:
            sys.stderr.write(done.stdout.decode(errors="replace"))
            raise Problem("the build failed")
