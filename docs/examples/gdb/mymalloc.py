"""gdb commands for programs that use mymalloc, alive or a core file:

  (gdb) source mymalloc.py
  (gdb) mymalloc info POINTER     which object it is in or was, live or free; where that lies
  (gdb) mymalloc heap             objects in use by size, and what is free

They read memory and call nothing in the program, and need no debug information of
mymalloc's. The program must stand still, all threads of it.
"""
import collections
import os
import re
import sys

import gdb

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
# Of the sources, or where both are installed.
sys.path[:0] = [os.path.join(HERE, "../../../allocator/tools"), os.path.join(HERE, ".."), "/usr/share/mymalloc"]

from mymalloc_heap import Heap, Objects, Unreadable  # noqa: E402

NOTE = re.compile(r"(0x[0-9a-f]+) - 0x[0-9a-f]+ is \.note\.mymalloc\b")


def read(address, size):
    if size == 0:  # of which gdb 18 says that it is wrong
        return b""
    try:
        return bytes(gdb.selected_inferior().read_memory(address, size))
    except (gdb.MemoryError, OverflowError) as error:
        raise Unreadable(f"{size} bytes at {address:#x}") from error


def find_heap():
    """The heap; of several copies of mymalloc in the program, the one that has most."""
    if gdb.selected_inferior().pid == 0:
        raise gdb.GdbError("mymalloc: there is no process and no core file to look into")
    heaps = []
    for note in NOTE.findall(gdb.execute("info files", to_string=True)):
        try:
            heap = Heap(read, int(note, 16))
            if heap.is_started():
                heaps.append(heap)
        except Unreadable:
            continue
    if not heaps:
        raise gdb.GdbError("mymalloc: not in this program, or it has no heap yet")
    return max(heaps, key=Heap.mapped)


def reading(command):
    """What cannot be read is told in a line."""
    def invoke(self, argument, from_tty):
        try:
            command(self, argument, from_tty)
        except (Unreadable, KeyError) as error:
            raise gdb.GdbError(f"mymalloc: the heap cannot be read: {error}") from error
    return invoke


class Mymalloc(gdb.Command):
    """Look into the heap of mymalloc: mymalloc info POINTER, mymalloc heap."""

    def __init__(self):
        super().__init__("mymalloc", gdb.COMMAND_DATA, prefix=True)


class Info(gdb.Command):
    """mymalloc info POINTER: which object that is in, or was; live or free; class and slab."""

    def __init__(self):
        super().__init__("mymalloc info", gdb.COMMAND_DATA)

    @reading
    def invoke(self, argument, from_tty):
        if not argument:
            raise gdb.GdbError("mymalloc info: which pointer? Any expression will do")
        try:
            address = int(gdb.parse_and_eval(argument).cast(gdb.lookup_type("unsigned long")))
        except gdb.error as error:
            raise gdb.GdbError(f"mymalloc info: {argument}: {error}") from None
        print(Objects(find_heap()).describe(address))


class Walk(gdb.Command):
    """mymalloc heap: objects in use by their size, and what is free."""

    def __init__(self):
        super().__init__("mymalloc heap", gdb.COMMAND_DATA)

    @reading
    def invoke(self, argument, from_tty):
        if argument:
            raise gdb.GdbError("mymalloc heap: takes no argument")
        heap = find_heap()
        objects = Objects(heap)
        counts = collections.defaultdict(collections.Counter)
        for first, record in objects.spans:
            for _, size, state in objects.in_span(first, record):
                counts[size][state] += 1
        for _, size in objects.mappings:
            counts[size]["live"] += 1
        print(f"{'size':>12} {'live':>10} {'cached':>10} {'free':>10}")
        for size, count in sorted(counts.items()):
            print(f"{size:>12} {count['live']:>10} {count['cached'] + count['waiting']:>10} {count['free']:>10}")
        live = sum(count["live"] for count in counts.values())
        total = sum(size * count["live"] for size, count in counts.items())
        print(f"{live} live objects of {total} bytes; {heap.mapped()} bytes of heap are mapped")


Mymalloc()
Info()
Walk()
