#!/usr/bin/python3
"""Run each case of guard.c and handlers.c with every object guarded and read its report.

What is wrong and where is compared in words; each stack, by addr2line from the module and
offset that the report names, must have the function that the case did it in.
"""
import argparse
import os
import re
import signal
import subprocess
import sys

ABORT, SEGV, FINE = -signal.SIGABRT, -signal.SIGSEGV, 0

# case: (how it ends, what is said first, where, {stack: a function in it})
TAKEN = {"taken by": "take_it"}
FREED = TAKEN | {"freed by": "free_it"}
CASES = {
    "overflow_write": (ABORT, "overflow, a write", "0 bytes behind the end of an object of 64 bytes",
                       TAKEN | {"accessed by": "write_it"}),
    "overflow_in_used_cell": (ABORT, "overflow, a write", "0 bytes behind the end of an object of 64 bytes",
                              TAKEN | {"accessed by": "write_it"}),
    "overflow_read": (ABORT, "overflow, a read", "0 bytes behind the end of an object of 1040 bytes",
                      TAKEN | {"accessed by": "read_it"}),
    "overflow_of_pages": (ABORT, "overflow, a read", "0 bytes behind the end of an object of 20000 bytes",
                          TAKEN | {"accessed by": "read_it"}),
    "overflow_in_libc": (ABORT, "overflow, a write", "behind the end of an object of 128 bytes",
                         TAKEN | {"accessed by": "copy_it"}),
    "overflow_of_nothing": (ABORT, "overflow, a write", "15 bytes behind the end of an object of 1 byte",
                            {"taken by": "overflow_of_nothing", "accessed by": "write_it"}),
    "overflow_of_aligned": (ABORT, "overflow, a write", "0 bytes behind the end of an object of 192 bytes",
                            {"taken by": "overflow_of_aligned", "accessed by": "write_it"}),
    "underflow_write": (ABORT, "underflow, a write", "1 byte before an object of 64 bytes",
                        TAKEN | {"accessed by": "write_it"}),
    "underflow_read": (ABORT, "underflow, a read", "9 bytes before an object of 64 bytes",
                       TAKEN | {"accessed by": "read_it"}),
    "overflow_within_alignment": (ABORT, "overflow, a write, seen at the free",
                                  "0 bytes behind the end of an object of 100 bytes", TAKEN | {"freed now by": "free_it"}),
    "read_within_alignment": (FINE, "", "", {}),
    "overflow_of_all_that_is_left": (ABORT, "overflow, a write, seen at the free",
                                     "0 bytes behind the end of an object of 100 bytes", TAKEN | {"freed now by": "free_it"}),
    "overflow_of_far_down": (ABORT, "overflow, a write", "0 bytes behind the end of an object of 64 bytes",
                             TAKEN | {"accessed by": "write_it"}),
    "overflow_of_last_call": (ABORT, "overflow, a write", "0 bytes behind the end of an object of 64 bytes",
                              {"taken by": "end_by_a_call", "accessed by": "write_it"}),
    "overflow_of_left": (ABORT, "overflow, a write, seen at the free",
                         "200 bytes behind the end of an object of 100 bytes", TAKEN | {"freed now by": "free_it"}),
    "underflow_of_right": (ABORT, "underflow, a write, seen at the free", "1 byte before an object of 100 bytes",
                           TAKEN | {"freed now by": "free_it"}),
    "use_after_free_read": (ABORT, "use after free, a read", "at byte 5 of an object of 500 bytes",
                            FREED | {"accessed by": "read_it"}),
    "use_after_free_write": (ABORT, "use after free, a write", "at byte 499 of an object of 500 bytes",
                             FREED | {"accessed by": "write_it"}),
    "use_after_free_by_another": (ABORT, "use after free, a read", "at byte 0 of an object of 500 bytes",
                                  {"taken by": "take_it", "freed by": "free_in_thread", "accessed by": "read_it"}),
    "use_after_realloc": (ABORT, "use after free, a read", "at byte 0 of an object of 500 bytes",
                          {"taken by": "take_it", "freed by": "grow_it", "accessed by": "read_it"}),
    "use_long_after_free": (ABORT, "use after free, a read", "at byte 0 of an object of 500 bytes",
                            FREED | {"accessed by": "read_it"}),
    "double_free": (ABORT, "double free", "at byte 0 of an object of 500 bytes",
                    FREED | {"freed now by": "double_free"}),
    "double_free_by_another": (ABORT, "double free", "at byte 0 of an object of 500 bytes",
                               {"freed by": "free_in_thread", "freed now by": "double_free_by_another"}),
    "interior_free": (ABORT, "free of a pointer into the middle of an object", "at byte 16 of an object of 500 bytes",
                      TAKEN | {"freed now by": "interior_free"}),
    "usable_of_freed": (ABORT, "use after free", "at byte 0 of an object of 500 bytes",
                        FREED | {"used by": "usable_of_freed"}),
    "realloc_of_freed": (ABORT, "use after free", "at byte 0 of an object of 500 bytes", FREED | {"used by": "grow_it"}),
    "wrong_size": (ABORT, "sized free with a wrong size", "", {}),
    "right_use": (FINE, "", "", {}),
    "more_than_cells": (FINE, "", "", {}),
    "default_for_others": (SEGV, "", "", {}),
    "default_for_sent": (SEGV, "", "", {}),
    "own_handler": (ABORT, "use after free, a read", "at byte 5 of an object of 500 bytes",
                    FREED | {"accessed by": "read_it"}),
    "handlers_that_pass_on": (ABORT, "use after free, a read", "at byte 5 of an object of 500 bytes",
                              FREED | {"accessed by": "read_it"}),
    "others_passed_on": (SEGV, "", "", {}),
    "own_handler_once": (SEGV, "", "", {}),
    "ignored": (SEGV, "", "", {}),
    "many_handlers": (FINE, "", "", {}),
    "handler_of_a_child": (FINE, "", "", {}),
    "handler_after_vforks": (ABORT, "use after free, a read", "at byte 5 of an object of 500 bytes",
                             FREED | {"accessed by": "read_it"}),
    "protected_by_program": (FINE, "", "", {}),
    "protected_and_freed": (FINE, "", "", {}),
    "allocates_at_the_end": (FINE, "use after free, a read", "at byte 0 of an object of 500 bytes",
                             FREED | {"accessed by": "read_it"}),
    "child_has_it": (FINE, "use after free, a read", "at byte 0 of an object of 500 bytes",
                     FREED | {"accessed by": "read_it"}),
    "pages_that_stay_open": (FINE, "", "", {}),
    "jump_after_free": (ABORT, "use after free, a read", "at byte 0 of an object of 500 bytes", FREED),
}
# With on-error=continue; what is said: in order, or each at least once.
RARELY = {"rarely": ("every=1M", "use after free, a write", 50, 128)}
UNSEEN = {"none_at_start": "every=1024G"}
MISUSES = {"overflow, a write", "underflow, a read", "use after free, a write", "double free",
           "free of a pointer into the middle of an object", "overflow, a write, seen at the free"}
GOING_ON = {
    "goes_on": ["overflow, a write", "underflow, a write", "use after free, a read", "double free",
                "free of a pointer into the middle of an object", "overflow, a write, seen at the free"],
    "goes_on_for_long": {"use after free, a write"},
    "goes_on_with_the_rest": MISUSES,
    "goes_on_in_threads": ["use after free, a write"],
    "goes_on_in_a_child": MISUSES,
    "goes_on_beside_handler": MISUSES,
}
# The same, of what ends all the same.
ENDS = {"jump_after_free": ["use after free, a read"], "realloc_of_freed": ["use after free"],
        "usable_of_freed": ["use after free"]}


class Wrong(Exception):
    pass


def functions_of(places):
    """{(file, offset): functions}, those that are inlined there as well."""
    functions = {}
    for file in {file for file, _ in places}:
        offsets = sorted({offset for module, offset in places if module == file})
        text = subprocess.run(["addr2line", "-a", "-f", "-i", "-e", file, *offsets], check=True, text=True,
                              capture_output=True).stdout
        for block, offset in zip(re.split(r"^0x[0-9a-f]+\n", text, flags=re.M)[1:], offsets, strict=True):
            functions[file, offset] = block.splitlines()[::2]
    return functions


def stacks_of(lines):
    """{"taken by": [function, ...], ...}"""
    stacks = {}
    for line in lines:
        if line.startswith("    #"):
            found = re.fullmatch(r"    #\d+ 0x[0-9a-f]+(?: (.*/.*)\+(0x[0-9a-f]+))?", line)
            expect(found, f"no frame: {line!r}")
            expect("/libmymalloc" not in line, f"a frame of the allocator: {line!r}")
            frames += [(found[1], found[2])] if found[1] else []
        elif re.fullmatch(r"  \w+( now)? by", line):
            frames = stacks[line.strip()] = []
    functions = functions_of([frame for frames in stacks.values() for frame in frames])
    return {whose: [name for frame in frames for name in functions[frame]] for whose, frames in stacks.items()}


def run(program, name, guard, **more):
    done = subprocess.run([program, name], text=True, capture_output=True, timeout=100,
                          env=os.environ | {"MYMALLOC_GUARD": guard} | more)
    return done.returncode, done.stdout, done.stderr.splitlines()


def expect(fact, text):
    if not fact:
        raise Wrong(text)


def check_case(program, name):
    ends, what, where, stacks = CASES[name]
    status, out, said = run(program, name, "every=1")
    shown = f"status {status}, it said\n    " + "\n    ".join([*said, *out.splitlines()])
    expect(status == ends, f"status {ends} was expected: {shown}")
    expect((ends == FINE or name == "ignored") == ("went on" in out), f"it went on, or not: {shown}")
    if not what:
        expect(not said, shown)
        return
    expect(re.fullmatch(rf"mymalloc: {re.escape(what)}: 0x[0-9a-f]+", said[0]), f"'{what}' was expected: {shown}")
    expect(not where or re.fullmatch(rf"  .*\b{where} at 0x[0-9a-f]+", said[1]), f"'{where}' was expected: {shown}")
    found = stacks_of(said)
    expect(("freed by" in found) == ("freed by" in stacks), f"it was freed, or not: {found}; {shown}")
    for whose, function in stacks.items():
        expect(function in found.get(whose, []), f"'{whose}' has no {function}: {found}; {shown}")
    if "accessed by" in stacks and name != "overflow_in_libc":
        expect(found["accessed by"][0] == stacks["accessed by"], f"not the first frame: {found}; {shown}")


def check_going_on(program, name, ends=FINE):
    status, out, said = run(program, name, "every=1,on-error=continue")
    heads = [re.sub(r"^mymalloc: (.*): 0x[0-9a-f]+$", r"\1", line) for line in said if line.startswith("mymalloc: ")]
    shown = f"status {status}, it reported {heads} and said\n    " + "\n    ".join([*out.splitlines(), *said[-10:]])
    expect(status == ends and (ends == FINE) == ("went on" in out), shown)
    wanted = GOING_ON.get(name) or ENDS[name]
    expect((set(heads) if isinstance(wanted, set) else heads) == wanted, f"{wanted} was expected: {shown}")
    expect(name != "goes_on_for_long" or 100 <= len(heads) <= 200, f"{len(heads)} reports")


def check_rarely(program, name):
    guard, what, least, most = RARELY[name]
    for more in ({}, {"MYMALLOC_PROFILE": "/dev/null,every=16K"}):  # whose points lie denser
        status, out, said = run(program, name, guard + ",on-error=continue", **more)
        reports = sum(f"mymalloc: {what}: " in line for line in said)
        expect(status == FINE and "went on" in out, f"status {status}, {out}, {said[:3]}")
        expect(least <= reports <= most, f"{reports} reports, not {least} to {most}")
    status, _, said = run(program, name, guard)
    expect(status == ABORT and f"mymalloc: {what}: " in said[0], f"status {status}, {said}")


def check_unseen(program, name):
    status, out, said = run(program, name, UNSEEN[name])
    expect(status == FINE and "went on" in out, f"status {status}, {out}, {said}")


CHECKS = [(CASES, check_case), (GOING_ON, check_going_on), (ENDS, lambda *case: check_going_on(*case, ABORT)),
          (RARELY, check_rarely), (UNSEEN, check_unseen)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("program")
    parser.add_argument("cases", nargs="*", help="default: all")
    arguments = parser.parse_args()
    failed = 0
    for check, name in [(check, name) for names, check in CHECKS for name in names]:
        try:
            if not arguments.cases or name in arguments.cases:
                check(arguments.program, name)
                print(f"ok {name}")
        except Wrong as wrong:
            failed += 1
            print(f"FAILED {name}: {wrong}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
