"""Which allocators the suite knows, and the settings that their authors advise.

Libraries as Debian installs them, under the name by which it knows them: its tcmalloc is gperftools'.
Columns of the second and third table run only when they are asked for, by name or by group.
"""
import glob
import os
import platform
import re

OURS = "mymalloc"

# Names to look for among the libraries that the loader knows, best first.
KNOWN = {
    "mimalloc": (r"libmimalloc\.so\.\d+(\.\d+)*",),
    "tcmalloc": (r"libtcmalloc_minimal\.so\.\d+", r"libtcmalloc\.so\.\d+"),
    "jemalloc": (r"libjemalloc\.so\.\d+",),
}
MORE = {
    # The proxy is what takes malloc over; it loads libtbbmalloc itself.
    "tbbmalloc": (r"libtbbmalloc_proxy\.so\.\d+",),
    # LLVM's hardened allocator, a runtime library of clang: the loader does not know its folder.
    "scudo": (f"/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.scudo_standalone-{platform.machine()}.so",),
}
# name: (whose library, environment, where it is advised and for what)
ADVISED = {
    "glibc-arena1": ("glibc", {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"},
                     "mallopt(3), M_ARENA_MAX: less memory with many threads"),
    "glibc-hugetlb": ("glibc", {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
                      "glibc's manual, Memory Allocation Tunables: madvise for huge pages"),
    "jemalloc-background": ("jemalloc", {"MALLOC_CONF": "background_thread:true,metadata_thp:auto"},
                            "jemalloc's TUNING.md: for nearly all programs"),
    "tcmalloc-decommit": ("tcmalloc", {"TCMALLOC_AGGRESSIVE_DECOMMIT": "1"},
                          "gperftools' documentation: memory returned to the kernel sooner"),
    # Up to 2.0 the option was called DECOMMIT_DELAY.
    "mimalloc-purge": ("mimalloc", {"MIMALLOC_PURGE_DELAY": "0", "MIMALLOC_DECOMMIT_DELAY": "0"},
                       "mimalloc's readme: memory returned to the kernel at once"),
    "mymalloc-background": (OURS, {"MYMALLOC_BACKGROUND": "on"},
                            "mymalloc(3): memory returned to the kernel while the program does nothing"),
}
# Other builds of our own, by the name of the column: the hardened one.
OWN = {"secure": "allocator/libmymalloc_secure.so"}
FOLDER = "{folder}"  # in a setting: of ours, gone with the run
# Settings of our own that nobody advises for speed, as ADVISED has them.
OBSERVED = {
    "profile": (OURS, {"MYMALLOC_PROFILE": FOLDER + "/heap.pb"}, "mymalloc-run(1), --profile: which calls took the memory"),
    "guard": (OURS, {"MYMALLOC_GUARD": "every=8M"}, "mymalloc-run(1), --guard: overflows and uses after free of a sample"),
}
GROUPS = {"+more": tuple(MORE), "+advised": tuple(ADVISED)}


def pick(patterns, paths):
    """The newest file that the first pattern to find any does find, or None."""
    for pattern in patterns:
        found = glob.glob(pattern) if pattern.startswith("/") else \
            [path for path in paths if re.fullmatch(pattern, os.path.basename(path))]
        if found:
            return max(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path)])
    return None


def patterns_of(name):
    return KNOWN.get(name) or MORE[name]


def packages(names):
    """Groups of ci/setup that hold what these columns need, beyond the default ones."""
    return ["more"] if "+more" in names or any(name in MORE for name in names) else []


def spread(names, default):
    """(names with groups spelled out, those that came by a group). A group alone is added to the default."""
    if names and all(name in GROUPS for name in names):
        names = [*default, *names]
    by_group = [member for name in names for member in GROUPS.get(name, ())]
    return [member for name in names for member in GROUPS.get(name, (name,))], by_group


def describe():
    """For --help."""
    groups = [f"{group} is {','.join(names)}" for group, names in GROUPS.items()]
    return "; ".join([*groups, "secure is mymalloc's hardened library, profile mymalloc with its heap profile, "
                      "guard with guarded samples"])
