#!/usr/bin/python3
"""mymalloc-stats says of a running process what the process says of itself; and one line
where it cannot: no such process, none with mymalloc, no permission.

  outside.py TOOL KNOWN-PROGRAM PRELOAD-LIBRARY [HARDENED-LIBRARY]
"""
import fcntl
import json
import os
import pathlib
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got}, not {wanted}")


def tool(program, *arguments, status=0, user=None):
    done = subprocess.run([sys.executable, program, *map(str, arguments)], text=True, capture_output=True, user=user)
    expect(f"{arguments}: {done.stderr} status", done.returncode, status)
    return done.stdout if status == 0 else done.stderr


FAULTS = r'^( *"?process_(?:minor|major)_page_faults_total"?:?) \d+'


class Running:
    """A program that is ready; it goes on until the end of the block."""

    def __init__(self, *command, **environment):
        self.process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**os.environ, **environment})

    def __enter__(self):
        while self.process.stdout.readline() not in ("ready\n", ""):
            pass
        return self.process

    def __exit__(self, failed, *_):
        if failed:
            self.process.kill()
        self.process.communicate()


def faultless(text):
    """Without the counts of page faults, which go on."""
    expect("page faults", len(re.findall(FAULTS, text, re.M)), 2)
    return re.sub(FAULTS, r"\1 0", text, flags=re.M)


def check_numbers(stats, known, work):
    files = work / "json", work / "prometheus"
    stripped = work / "stripped"
    subprocess.run(["strip", "-o", stripped, known], check=True)
    for program, *options in (known, "--busy"), (known,), (stripped,):
        with Running(program, *options, "--write", *files, "--wait") as process:
            expect("JSON", *(json.loads(faultless(text)) for text in (tool(stats, "--json", process.pid), files[0].read_text())))
            expect("Prometheus", faultless(tool(stats, process.pid, "--prometheus")), faultless(files[1].read_text()))
            text = tool(stats, process.pid)
    for line in (r"in use +65\.\d\d MiB", r"  mapping +64\.00 MiB", r"  cached large +0\.31 MiB", r"heap resident +\d+\.\d\d MiB",
                 r"page faults +\d+,", r" +208 +\d+ +999 +\d+ +0 +\d+ +\d+ +\d+"):
        expect(f"'{line}' in {text}", bool(re.search(f"^{line}", text, re.M)), True)


def check_preloaded(stats, library):
    """A program of others, that goes on while it is looked at."""
    with Running(sys.executable, "-c", "import time; print('ready', flush=True)\nwhile True: [bytes(i) for i in range(3000)]; time.sleep(.005)",
                 LD_PRELOAD=library) as process:
        for _ in range(10):
            found = json.loads(tool(stats, "--json", process.pid))
            expect("small", 100000 < found["mymalloc_allocated_bytes"]["small"] < 1 << 30, True)
        for rows in 24, 200:
            page = second_page(stats, process.pid, 80, rows)
            expect(f"sizes are left out: {page}", bool(re.search(r"^and \d+ more sizes$", page, re.M)), rows == 24)
        watching = subprocess.Popen([sys.executable, stats, "--watch", str(process.pid)], stdout=subprocess.PIPE, text=True)
        expect("--watch PID", "mymalloc " in watching.stdout.readline(), True)
        watching.kill()
        watching.communicate()
        watching = subprocess.Popen([sys.executable, stats, "--watch", "0.1", str(process.pid)], stdout=subprocess.PIPE, text=True)
        for _ in range(2):
            while "  each second" not in (line := watching.stdout.readline()):
                expect("it is drawn again", line != "", True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        watching.communicate()
        expect("status of --watch when the process ended", watching.returncode, 0)


def watched(stats, pid, columns, rows, until=b"\033[H", **variables):
    """What --watch draws on such a terminal, up to its third page."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "TERM")} | variables
    watching = subprocess.Popen([sys.executable, stats, "--watch", "0.1", str(pid)], stdout=theirs, env=environment)
    os.close(theirs)
    drawn = b""
    while drawn.count(until) < 3:
        drawn += os.read(ours, 65536)
    watching.kill()
    watching.wait()
    os.close(ours)
    return drawn.decode()


def second_page(*arguments):
    return re.sub(r"\033\[.|\r", "", watched(*arguments).split("\033[H")[2])


def check_watch(stats, known):
    """It fits the terminal, and is text alone where there is none."""
    with Running(known, "--wait") as process:
        for columns, rows in (40, 20), (80, 24), (200, 70), (10, 2):
            page = second_page(stats, process.pid, columns, rows).split("\n")
            expect(f"{page} fits {columns} x {rows}", len(page) <= rows and max(map(len, page)) <= columns, True)
            text = "\n".join(page)
            if rows >= 20:
                for line in r"in use +65\.\d\d MiB$", r"  cached large +0\.31 MiB$", r" +size +slabs", r" +\d+ +\d+ +\d+":
                    expect(f"'{line}' in {text}", bool(re.search(f"^{line}", text, re.M)), True)
        expect("a dumb terminal is told to move", "\033" in watched(stats, process.pid, 80, 24, b"front end", TERM="dumb"), False)
        watching = subprocess.Popen([sys.executable, stats, "--watch", "0.1", str(process.pid)], stdout=subprocess.PIPE, text=True)
        lines = [watching.stdout.readline() for _ in range(100)]
        watching.kill()
        watching.communicate()
    expect("a pipe gets no more than text", any("\033" in line for line in lines), False)
    expect("a blank line before each page", [lines[i - 1] for i, line in enumerate(lines) if i and line.startswith("mymalloc ")][:1], ["\n"])


# Says of itself what it has, twice: the first time may take something for good.
SAYS = """
import ctypes, os, resource, sys
kept = [bytes(i) for i in range(3000)]
bytearray(1 << 20), [bytes(i) for i in range(3000)]
for _ in range(2):
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    before = resource.getrusage(resource.RUSAGE_SELF)
    ctypes.CDLL(None).MyStatsWrite(file, 0)
    after = resource.getrusage(resource.RUSAGE_SELF)
file = os.open(sys.argv[1] + ".faults", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.write(file, b"%d %d %d %d" % (before.ru_minflt, after.ru_minflt, before.ru_majflt, after.ru_majflt))
os.write(1, b"ready\\n")
os.read(0, 1)
"""


def check_own_words(stats, work, library, **environment):
    """Both tell the same, up to what the script's last lines take; returns it."""
    said = work / "said"
    with Running("/usr/bin/python3", "-S", "-c", SAYS, said, LD_PRELOAD=library, PYTHONMALLOC="malloc", **environment) as process:
        inside, outside = json.loads(said.read_text()), json.loads(tool(stats, "--json", process.pid))
    expect("names", list(outside), list(inside))
    seen = list(map(int, said.with_name("said.faults").read_text().split()))
    for name, before, after in ("minor", *seen[:2]), ("major", *seen[2:]):
        name = f"process_{name}_page_faults_total"
        order = before, inside[name], after, outside.pop(name)
        expect(f"{name} {order}", order, tuple(sorted(order)))
    for name, other in outside.items():
        value = inside[name]
        pairs = [(value[key], other[key]) for key in value] if isinstance(value, dict) else [(value, other)]
        for one, other in pairs:
            near = one == other if isinstance(one, str) else abs(one - other) <= (16384 if "bytes" in name else 4)
            expect(f"{name}: {one} and {other} are about the same", near, True)
    return inside


# The tool, one of whose reads finds nothing: what it followed was changed meanwhile.
ASTRAY = """
import os, runpy, sys
fails, read = int(sys.argv[1]), os.pread
def astray(*words):
    global fails
    fails -= 1
    return b"" if fails == 0 else read(*words)
os.pread = astray
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def check_astray(stats, known):
    """A busy process, by chance; here on purpose, in each part of what is read."""
    with Running(known, "--wait") as process:
        for form in "--json", "--prometheus", None:
            for fails in 400, 500, 600:
                done = subprocess.run([sys.executable, "-c", ASTRAY, str(fails), stats, str(process.pid), *filter(None, [form])],
                                      text=True, capture_output=True)
                expect(f"{form}, read {fails} finds nothing: {done.stderr} status", done.returncode, 0)


# From that read on a bit in each some hundred bytes is another one.
LIES = """
import os, random, runpy, sys
after, read, luck = int(sys.argv[1]), os.pread, random.Random(int(sys.argv[1]))
def lie(*words):
    global after
    after -= 1
    got = bytearray(read(*words))
    for at in luck.sample(range(len(got)), len(got) // 400 + 1) if after < 0 and got else ():
        got[at] = luck.choice((0, 255, got[at] ^ 1 << luck.randrange(8)))
    return bytes(got)
os.pread = lie
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def check_lies(stats, known):
    """The memory of a process that was damaged, or makes root's tool believe something: one line."""
    with Running(known, "--wait") as process:
        for after in range(100, 1000, 180):
            for form in "--json", "--prometheus", None:
                done = subprocess.run([sys.executable, "-c", LIES, str(after), stats, str(process.pid), *filter(None, [form])],
                                      text=True, capture_output=True, env=os.environ | {"LC_ALL": "C.UTF-8"},  # a file of all locales has 200 MiB
                                      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 28,) * 2))
                expect(f"{form}, lies from {after} on: {done.stderr}", (done.returncode, done.stderr.count("\n")) in ((0, 0), (1, 1)), True)


def check_texts(stats):
    """What a process calls itself is printed: no sign that a terminal would obey."""
    sys.path.insert(0, str(stats.parent))
    from mymalloc_heap import Heap, Unreadable
    heap = Heap.__new__(Heap)
    for text, good in (b"mymalloc 1", True), (b"a\x1b]0;title\x07", False), (b"\xc3\x28", False), (b"a\nb", False):
        heap.read = lambda address, size, text=text: text.ljust(size, b"\0")
        try:
            said = heap.text(0) == text.decode()
        except Unreadable:
            said = False
        expect(f"{text} is text", said, good)


def check_guarded(stats, library, work):
    said = check_own_words(stats, work, library, MYMALLOC_GUARD="every=20K")
    live, ever = said["mymalloc_guarded_live_objects"], said["mymalloc_guarded_objects_total"]
    expect("guarded objects", 10 < live < ever, True)
    expect("their bytes", live < said["mymalloc_allocated_bytes"]["guarded"] < said["mymalloc_guarded_page_bytes"] <= 512 << 10, True)


def check_quarantine(stats, library, work):
    said = check_own_words(stats, work, library)
    expect("quarantine", 4 << 10 < said["mymalloc_idle_bytes"]["quarantine"] < 4 << 20, True)
    expect("and of large objects", said["mymalloc_quarantine_large_bytes"] >= 1 << 20, True)
    expect("guarded", said["mymalloc_guarded_objects_total"], 0)


def check_hidden(stats, pid):
    """Where /proc does not show the process, or is none: that is said, not that there is no such process."""
    for mount, says in (["-o", "hidepid=2", "-t", "proc", "proc"], "hidepid"), (["-t", "tmpfs", "none"], "not mounted"):
        command = 'mount "$@" /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$PYTHON" "$STATS" "$PID"'
        done = subprocess.run(["unshare", "-m", "sh", "-c", command, "sh", *mount], text=True, capture_output=True,
                              env={**os.environ, "PYTHON": "/usr/bin/python3", "STATS": str(stats), "PID": str(pid)})
        if "unshare" in done.stderr or "mount:" in done.stderr:
            continue  # a container may not
        expect(f"{mount}: {done.stderr}", (done.returncode, says in done.stderr), (1, True))


def check_refusals(stats, known, work):
    for wrong in "abc", "0", "-5", "1.5":
        expect(wrong, "PID: " in tool(stats, "--", wrong, status=2), True)
    for wrong in "0", "x", "nan":
        expect("--watch", "from 0.1" in tool(stats, "--watch", wrong, "1", status=2), True)
    for without in [], ["--watch"], ["--json"]:
        expect("no process", "is missing: PID" in tool(stats, *without, status=2), True)
    for wrong, told in (["1", "2"], "'2' is one too many"), (["--jsn", "1"], "--jsn"), (["--json", "--prometheus", "1"], "not allowed with"):
        said = tool(stats, *wrong, status=2)
        expect(f"{wrong}: {said}", told in said and said.startswith("mymalloc-stats: ") and said.count("\n") == 1, True)
    ended = subprocess.Popen(["true"])
    ended.wait()
    expect("ended", tool(stats, ended.pid, status=1), f"mymalloc-stats: process {ended.pid}: there is none\n")
    expect("no such number", tool(stats, 9999999999, status=1), "mymalloc-stats: process 9999999999: there is none\n")
    ended = subprocess.Popen(["true"], stdout=subprocess.PIPE)
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    expect("not waited for", "it has no memory: it has ended" in tool(stats, ended.pid, status=1), True)
    ended.communicate()
    with Running("sh", "-c", "echo ready; read line") as process:
        expect("no mymalloc", tool(stats, process.pid, status=1),
               f"mymalloc-stats: process {process.pid}: no mymalloc in it that has a heap\n")
    with Running(known, "--wait") as process, open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([sys.executable, stats, "--json", str(process.pid)], stdout=full, stderr=subprocess.PIPE, text=True)
    expect("a full disk", (done.returncode, done.stderr),
           (1, "mymalloc-stats: cannot write to standard output: No space left on device\n"))
    if os.geteuid() == 0:  # as nobody, who may not look into our own folders
        shutil.copytree(stats.parent, work / "tools")
        other = work / "tools" / stats.name
        work.chmod(0o755)
        with Running(known, "--wait") as process:
            said, user = tool(other, process.pid, status=1, user=65534), process.pid
            check_hidden(other, process.pid)
    else:
        said, user = tool(stats, 1, status=1), 1
    expect("permission", said.startswith(f"mymalloc-stats: process {user}: permission denied"), True)
    expect("lines", said.count("\n"), 1)


def main():
    stats, known, library, *hardened = (pathlib.Path(argument) for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        check_numbers(stats, known, pathlib.Path(folder))
        check_preloaded(stats, str(library))
        check_watch(stats, known)
        check_astray(stats, known)
        check_lies(stats, known)
        check_texts(stats)
        for secure in hardened:
            check_guarded(stats, library, pathlib.Path(folder))
            check_quarantine(stats, secure, pathlib.Path(folder))
        check_refusals(stats, known, pathlib.Path(folder))


if __name__ == "__main__":
    main()
