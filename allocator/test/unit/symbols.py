#!/usr/bin/python3
"""Check what an archive of the allocator takes from libc: only what is listed here; and
that calls between its files go one way.

Below the faces no function may be reached that a library interposes and allocates in
(mmap, open, clock_gettime, sysconf, syscall ...) or that is a cancellation point: it
would be entered in the midst of malloc, perhaps with a lock held.

A file calls another one if it refers to a function of it, in a header of its own or
others. Variables are no calls.
"""
import argparse
import pathlib
import re
import subprocess
import sys

# symbol: (layers, why it is harmless). "any": every layer.
ALLOWED = {
    name: ("any", "the compiler calls it by itself, and so does ld.so: whoever replaces it cannot allocate")
    for name in ("memcpy", "memset", "memcmp", "bcmp", "memmove", "strlen", "strcmp", "strncmp", "strstr", "strchr", "memchr",
                 "strcpy", "strcspn", "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_")
} | {
    "__popcountdi2": ("heap pool", "libgcc, arithmetic"),
    "abort": ("base", "the program's end; no lock is held"),
    "__libc_single_threaded": ("os alloc", "a variable"),
    "getauxval": ("os cache profile alloc", "reads a table"),
    "backtrace": ("profile", "walks a stack, no lock held; what it allocates at the start of a profile is no sample"),
    "_Unwind_FindEnclosingFunction": ("profile", "asks libgcc, as backtrace does, where the program is linked with it"),
    "sigaction": ("profile", "at start, if a signal or guarded samples were asked for; no lock held"),
    "_dl_find_object": ("profile", "reads the loader's list without a lock"),
    "_r_debug": ("profile", "a variable"),
    "__ehdr_start": ("os profile", "an address"),
    "environ": ("alloc", "a variable"),
    "__errno_location": ("alloc face", "the address of errno, set where a request failed"),
    "pthread_key_create": ("cache alloc", "at start, no lock held"),
    "pthread_setspecific": ("cache alloc", "once per thread, no lock held; what it allocates is served by the pools"),
    "__rseq_offset": ("cache", "a variable"),
    "__rseq_size": ("cache", "a variable"),
    "pthread_atfork": ("alloc", "at start, no lock held"),
    "pthread_create": ("alloc", "the helper, if it was asked for; no lock held"),
    "__sanitizer_set_death_callback": ("alloc", "never called: whether there is a sanitizer"),
    "pthread_attr_init": ("alloc", "as pthread_create"),
    "pthread_attr_destroy": ("alloc", "as pthread_create"),
    "pthread_attr_setdetachstate": ("alloc", "as pthread_create"),
    "pthread_attr_setstacksize": ("alloc", "as pthread_create"),
    "_IO_list_lock": ("alloc", "before fork, no lock of ours held"),
    "_IO_list_unlock": ("alloc", "after fork, no lock of ours held"),
    "_IO_list_resetlock": ("alloc", "after fork, no lock of ours held"),
    "_DYNAMIC": ("alloc", "an address"),
    "dlsym": ("alloc face profile", "at start, of the process or of a profile, no lock held"),
    "vsnprintf": ("face", "malloc_stats, no lock held"),
    "fprintf": ("face", "malloc_info writes to the caller's stream, no lock held"),
    "fwrite": ("face", "as fprintf, which the compiler turns into it"),
    "ferror": ("face", "malloc_info"),
    "_ZSt15get_new_handlerv": ("face", "operator new has failed, no lock held"),
    "_ZSt17__throw_bad_allocv": ("face", "operator new has failed, no lock held"),
    "_ZnamRKSt9nothrow_t": ("face", "operator new has failed, no lock held"),
    "_ZnamSt11align_val_tRKSt9nothrow_t": ("face", "operator new has failed, no lock held"),
}


# libgcc's, part of what is linked: atomic operations of arm64, old or new ones as the processor has them.
OUTLINED = re.compile(r"__aarch64_(cas|swp|ldadd|ldset|ldclr|ldeor)[1248](_relax|_acq|_rel|_acq_rel)")


def symbols_of(archive, *options):
    """(member, type, symbol) of nm's output."""
    text = subprocess.run(["nm", "--print-file-name", *options, archive], check=True, text=True,
                          capture_output=True).stdout
    for line in text.splitlines():
        where, _, rest = line.rpartition(": ") if ": " in line else line.rpartition(":")
        yield (where.split(":")[-1], *rest.split()[-2:])


def calls_of(archive):
    """{member: members that it calls}"""
    at_home = {symbol: member for member, kind, symbol in symbols_of(archive, "--defined-only") if kind in "TW"}
    calls = {}
    for member, _, symbol in symbols_of(archive, "--undefined-only"):
        calls.setdefault(member, set()).add(at_home.get(symbol, member))
    return {member: called - {member} for member, called in calls.items()}


def circle_in(calls):
    """A list of files of which each calls the next one, and the last one the first; or None."""
    done = set()

    def walk(path):
        for called in sorted(calls.get(path[-1], ())):
            if called in path:
                return path[path.index(called):]
            if called not in done and (found := walk([*path, called])):
                return found
        done.add(path[-1])
        return None

    return next((found for member in sorted(calls) if (found := walk([member]))), None)


def layer_of(member, source):
    """The directory of the member's source, or None for a file that is not the allocator's."""
    name = re.sub(r"\.o$", "", member)
    found = list(source.glob(f"*/{name}"))
    return found[0].parent.name if found else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("archive", type=pathlib.Path)
    parser.add_argument("source", type=pathlib.Path, help="allocator/src")
    arguments = parser.parse_args()
    defined = {symbol for _, _, symbol in symbols_of(arguments.archive, "--defined-only")}
    wanted = sorted({(member, symbol) for member, _, symbol in symbols_of(arguments.archive, "--undefined-only")})
    if not wanted:
        sys.exit(f"{arguments.archive}: nm finds no undefined symbol")
    faults = []
    for member, symbol in wanted:
        layer = layer_of(member, arguments.source)
        layers = "any" if OUTLINED.fullmatch(symbol) else ALLOWED.get(symbol, ("", ""))[0]
        if symbol not in defined and layers != "any" and layer not in layers.split():
            faults.append(f"{member} (layer {layer}) takes {symbol} from libc: not in the list of {__file__}")
    print("\n".join(faults + [f"{len(wanted)} references, {len(faults)} of them not allowed"]))
    circle = circle_in(calls_of(arguments.archive))
    if circle:
        print(f"calls go in a circle: {' -> '.join([*circle, circle[0]])}")
    sys.exit(1 if faults or circle else 0)


if __name__ == "__main__":
    main()
