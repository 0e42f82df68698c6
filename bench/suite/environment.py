"""The machine and the software that a result belongs to: part of every result."""
import ctypes
import os
import platform
import re
import struct
import subprocess

AT_RSEQ_FEATURE_SIZE, AT_RSEQ_ALIGN = 27, 28
CGROUP = "/sys/fs/cgroup"


def text_of(path, default=None):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return default


def output_of(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def auxiliary(key):
    """A value of this process's auxiliary vector, or None."""
    try:
        with open("/proc/self/auxv", "rb") as file:
            data = file.read()
    except OSError:
        return None
    return {k: v for k, v in struct.iter_unpack("NN", data)}.get(key)


def rseq():
    """How far restartable sequences go here: kernel, and what glibc registered."""
    facts = {"feature size (AT_RSEQ_FEATURE_SIZE)": auxiliary(AT_RSEQ_FEATURE_SIZE) or "not told"}
    try:
        facts["glibc __rseq_size"] = ctypes.c_uint.in_dll(ctypes.CDLL(None), "__rseq_size").value
    except (ValueError, OSError):
        facts["glibc __rseq_size"] = "no such symbol"
    feature = auxiliary(AT_RSEQ_FEATURE_SIZE)
    facts["mm_cid"] = "yes" if feature and feature >= 28 else "no"
    return facts


def bracketed(path):
    """'always [madvise] never' -> madvise"""
    found = re.search(r"\[(\w+)\]", text_of(path, ""))
    return found[1] if found else text_of(path, "none")


def processor():
    info = text_of("/proc/cpuinfo", "")
    for key in ("model name", "Model", "Hardware", "CPU part"):
        if found := re.search(rf"^{key}\s*:\s*(.+)$", info, re.M):
            return found[1]
    return platform.machine()


def cgroup_folders(controller):
    """Where this process's limits are, nearest first; version 2, then version 1.

    Inside a container the path that /proc tells is the host's: the mount's root has them.
    """
    own = {}
    for line in text_of("/proc/self/cgroup", "").splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            own[name] = path.lstrip("/")
    unified, first = own.get("", ""), os.path.join(CGROUP, controller)
    return [os.path.join(CGROUP, unified), CGROUP, os.path.join(first, own.get(controller, "")), first]


def cgroup_limits():
    """CPU quota in CPUs and memory limit in bytes; None where there is none."""
    cpus = memory = None
    for folder in cgroup_folders("cpu"):
        quota = (text_of(os.path.join(folder, "cpu.max")) or "max").split()
        if quota[0] == "max":
            quota = [text_of(os.path.join(folder, f"cpu.cfs_{part}_us")) or "-1"
                     for part in ("quota", "period")]
        if cpus is None and len(quota) == 2 and int(quota[0]) > 0:
            cpus = int(quota[0]) / int(quota[1])
    for folder in cgroup_folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = text_of(os.path.join(folder, name)) or "max"
            # Version 1 says "no limit" with a number near 2^63.
            if memory is None and limit != "max" and int(limit) < 2**60:
                memory = int(limit)
    return cpus, memory


def usable_cpus():
    """CPUs that the run may keep busy: what more threads than these are called crowded by."""
    quota, _ = cgroup_limits()
    allowed = len(os.sched_getaffinity(0))
    return min(allowed, quota) if quota else allowed


def commit(root):
    found = output_of("git", "-C", root, "rev-parse", "HEAD")
    if not found:
        return os.environ.get("MYMALLOC_COMMIT", "unknown")
    changed = output_of("git", "-C", root, "status", "--porcelain", "--untracked-files=no")
    return found[:12] + (" with changes" if changed else "")


def short_commit(root):
    """For a folder's name: 82c6e7a, or 82c6e7a+ of a checkout with changes."""
    name, *changed = commit(root).split()
    return name[:7] + ("+" if changed else "")


def container():
    if os.path.exists("/.dockerenv"):
        return "docker"
    if os.path.exists("/run/.containerenv"):
        return "podman"
    return text_of("/run/systemd/container", "none seen")


def describe(root):
    """{section: {name: value}}, in the order to show."""
    quota, memory = cgroup_limits()
    release = text_of("/etc/os-release", "")
    pretty = re.search(r'^PRETTY_NAME="?([^"\n]+)', release, re.M)
    flags = text_of("/proc/cpuinfo", "")
    thp = "/sys/kernel/mm/transparent_hugepage"
    total = re.search(r"MemTotal:\s+(\d+)", text_of("/proc/meminfo", ""))
    cpu = "/sys/devices/system/cpu"
    return {
        "machine": {
            "CPU": processor(),
            "CPUs online": os.cpu_count(),
            "CPUs allowed (affinity)": len(os.sched_getaffinity(0)),
            "threads per core": text_of(f"{cpu}/smt/active", "?") == "1" and "2 or more" or "1",
            "memory": f"{int(total[1]) // 1024} MiB" if total else "?",
            "virtual machine": "yes" if re.search(r"\bhypervisor\b", flags) else "not told",
            "container": container(),
            "governor": text_of(f"{cpu}/cpu0/cpufreq/scaling_governor", "not told (virtual?)"),
            "free memory": "prefaulted before each process",  # prefault.py
            "load at start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        },
        "limits": {
            "cgroup CPU quota": f"{quota:g} CPUs" if quota else "none",
            "cgroup memory": f"{memory // 2**20} MiB" if memory else "none",
        },
        "kernel": {
            "release": platform.release(),
            "architecture": platform.machine(),
            "transparent huge pages": bracketed(f"{thp}/enabled"),
            "THP defrag": bracketed(f"{thp}/defrag"),
            "overcommit": text_of("/proc/sys/vm/overcommit_memory", "?"),
            "page size": f"{os.sysconf('SC_PAGE_SIZE')} B",
        },
        "rseq": rseq(),
        "software": {
            "system": pretty[1] if pretty else "?",
            "glibc": os.confstr("CS_GNU_LIBC_VERSION"),
            "commit": commit(root),
            "python": platform.python_version(),
        },
    }
