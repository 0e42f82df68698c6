#!/usr/bin/python3
"""Lengthen every restartable sequence in an assembly file by a loop after each instruction.

Usage: delay.py FILE.s   (x86-64, made with -ffixed-r14 -ffixed-r15; rewritten in place)

A sequence takes nanoseconds, so that preemption, signals, migration and drains seldom
hit it, and never at a chosen place. With `rseq_delay` turns of a loop between any two of
its instructions they hit it all the time, everywhere.

The loop may change neither flags nor registers nor the stack pointer, for the kernel may
take the thread from it to the abort entry: `loop` leaves the flags alone; rcx is kept in
r14 meanwhile, and its value at label 0 in r15 for the way through the abort entry.
"""

import re
import sys

DELAY = ["\tmovq %rcx, %r14", "\tmovl rseq_delay(%rip), %ecx", "8:\tloop 8b", "\tmovq %r14, %rcx"]


def lengthen(lines):
    inside = in_abort = False
    count = 0
    for line in lines:
        is_code = re.match(r"\s+[a-z]", line) and not line.lstrip().startswith(".")
        if re.match(r"1:", line):
            inside = True
            count += 1
        elif re.match(r"2:", line):
            inside = False
        if in_abort and is_code:
            yield "\tmovq %r15, %rcx"
            yield "\tincq rseq_hits(%rip)"
            in_abort = False
        if re.match(r"4:", line):
            in_abort = True
        if inside and is_code:
            yield from DELAY
        yield line
        if re.match(r"0:", line):
            yield "\tmovq %rcx, %r15"
    if any("__rseq_cs" in line for line in lines) and not count:
        sys.exit("delay.py: a section __rseq_cs, but no sequence was found")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[2])
    with open(sys.argv[1]) as file:
        lines = file.read().splitlines()
    result = list(lengthen(lines))
    with open(sys.argv[1], "w") as file:
        file.write("\n".join(result) + "\n")


if __name__ == "__main__":
    main()
