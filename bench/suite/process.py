"""One fresh process: started, timed, measured, and ended if it does not end."""
import os
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

# What would change an allocator behind the column's back; columns set their own. mimalloc takes small letters, too.
PREFIXES = ("LD_PRELOAD", "LD_AUDIT", "LD_DEBUG", "LD_BIND", "MALLOC_", "MYMALLOC_", "MIMALLOC_",
            "TCMALLOC_", "HEAPPROFILE", "HEAPCHECK", "TBB_MALLOC_", "SCUDO_", "GLIBC_TUNABLES")
STDERR_KEPT = 2000


@dataclass
class Outcome:
    failure: str | None  # None: it ended by itself with status 0
    seconds: float
    cpu_seconds: float
    stderr: str


def clean_environment():
    return {key: value for key, value in os.environ.items()
            if not key.upper().startswith(PREFIXES)} | {"LC_ALL": "C"}


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe(status, stderr):
    """A wait status as the failure it is, or None."""
    if os.WIFSIGNALED(status):
        name = signal_name(os.WTERMSIG(status))
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"crashed: {name}{hint}"
    code = os.WEXITSTATUS(status)
    if code == 0:
        return None
    if 128 < code < 160:  # a shell's way to say that its child was killed
        return f"crashed: {signal_name(code - 128)}"
    lines = stderr.strip().splitlines()
    return f"exit status {code}" + (f": {lines[-1][:200]}" if lines else "")


def end_group(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run(argv, environment, timeout, cwd=None, watch=None, output=subprocess.DEVNULL, limit=None):
    """Run argv in a session of its own; whatever it leaves running is ended.

    watch(pid) is called every 20 ms until it returns True. limit: a limit.Limit of its memory.
    """
    if limit:
        with limit.around(argv) as (inside, said):
            outcome = run(inside, environment, timeout, cwd, watch, output)
            outcome.failure = said() or outcome.failure
            return outcome
    with tempfile.TemporaryFile() as errors:
        start = time.monotonic()
        child = subprocess.Popen(argv, env=environment, cwd=cwd, stdin=subprocess.DEVNULL,
                                 stdout=output, stderr=errors, start_new_session=True)
        try:
            timed_out = not wait_until(child.pid, start + timeout, watch)
            if timed_out:
                end_group(child.pid)
            _, status, usage = os.wait4(child.pid, 0)
            seconds = time.monotonic() - start
            child.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:  # Ctrl-C too: nothing may be left running
            end_group(child.pid)
            child.wait()
            raise
        end_group(child.pid)
        size = errors.seek(0, os.SEEK_END)
        errors.seek(max(0, size - STDERR_KEPT))
        stderr = errors.read().decode(errors="replace")
    failure = f"did not end within {timeout:g} s" if timed_out else describe(status, stderr)
    return Outcome(failure, seconds, usage.ru_utime + usage.ru_stime, stderr)


def wait_until(pid, deadline, watch):
    """False when the process still runs at the deadline."""
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while True:
            left = max(0, deadline - time.monotonic())
            pause = min(left, 0.02) if watch else left
            if poll.poll(pause * 1000 + 1):
                return True
            if left == 0:
                return False
            if watch and watch(pid):
                watch = None
    finally:
        os.close(descriptor)
