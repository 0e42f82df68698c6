"""Free memory of which the machine really has the pages, before each process starts.

The host of a virtual machine takes back what the machine has free, by 2 MiB and more at a time
(free page reporting, a balloon), and who touches it next waits until the host has provided and
cleared it. Which process of a block that is depends on the one before, and on whether it takes
memory by huge pages: the kernel gives small ones first from what others left half used. So before
each process as much as the cell was ever seen to take is touched, as huge pages, and freed; the
first process of a cell goes without.
"""
import contextlib
import mmap

from . import doctor, environment

MORE = 1.25  # what was freed is not all that the next process gets
STEP = 4096  # the smallest page


def room():
    """Bytes that may be touched for a moment without harm to anything else."""
    sizes = [doctor.megabytes("", "MemAvailable"), environment.cgroup_limits()[1]]
    return min((size for size in sizes if size is not None), default=0) // 2


def prefault(peak):
    """Touch and free what a process takes that had peak bytes resident; the bytes that were touched."""
    size = min(int(MORE * peak), room()) // STEP * STEP
    if size:
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            with contextlib.suppress(OSError):  # a kernel without huge pages
                memory.madvise(mmap.MADV_HUGEPAGE)
            memory[::STEP] = bytes(size // STEP)
    return size
