#!/usr/bin/python3
"""Tests of mymalloc-trace: what goes into a recording comes out of it.

Run by ctest, or by hand:  TRACE_BUILD=... TRACE_TESTS=... trace_test.py [CASE...]
"""
import collections
import glob
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from support import COUNT, ENDING, KNOWN, OPERATORS, TESTS, TOOL, TraceCase, allocators, main, run

THREADS, ROUNDS, BASE = 4, 2000, 3001  # of known.c


class RoundTrip(TraceCase):
    """Every call of known.c, with its kind, size, alignment and thread, and no other."""

    def setUp(self):
        super().setUp()
        self.done = self.record(KNOWN)
        self.assertEqual(self.done.returncode, 3)  # of known.c

    def test_every_call_is_there(self):
        taken = collections.Counter()
        remote = collections.Counter()
        resized = 0
        owner = {}
        for call in self.calls():
            self.assertEqual(call.note, "-")
            if call.kind == "failed":
                self.assertEqual(call.size, 2**63 - 1)
                taken["failed"] += 1
            elif call.kind == "free":
                thread, size = owner.pop(call.slot)
                if BASE <= size < BASE + 10 * THREADS:
                    remote[(size - BASE) % 10, call.thread != thread] += 1
            elif call.kind == "realloc":
                thread, size = owner[call.slot]
                owner[call.slot] = thread, call.size
                if BASE <= size < BASE + 10 * THREADS:
                    self.assertEqual(call.size, size + 5)
                    self.assertEqual(call.thread, thread)
                    resized += 1
            else:
                self.assertNotIn(call.slot, owner)
                owner[call.slot] = call.thread, call.size
                if BASE <= call.size < BASE + 10 * THREADS:
                    taken[(call.size - BASE) % 10, call.kind, call.align] += 1
        all_of_a_kind = THREADS * ROUNDS
        self.assertEqual(dict(taken), {
            (0, "malloc", 0): all_of_a_kind,
            (1, "calloc", 0): all_of_a_kind,
            (2, "aligned", 8): all_of_a_kind,
            (3, "fresh", 0): all_of_a_kind,
            (4, "aligned", 6): all_of_a_kind,
            (5, "fresh", 0): all_of_a_kind,
            "failed": 1,
        })
        self.assertEqual(resized, all_of_a_kind)
        self.assertEqual(dict(remote), {
            (0, False): all_of_a_kind,
            (1, False): all_of_a_kind,
            (2, False): all_of_a_kind,
            (8, True): all_of_a_kind,
            (4, True): all_of_a_kind,
            (5, True): all_of_a_kind,
        })
        leaked = [size for _, size in owner.values() if BASE <= size < BASE + 100]
        self.assertEqual(leaked, [])

    def test_replay(self):
        calls = sum(1 for call in self.calls() if call.kind != "failed")
        self.replay_everywhere(calls)

    @unittest.skipIf(os.environ.get("TRACE_SANITIZED"), "nothing can be preloaded")
    def test_broken_allocators_are_found(self):
        library = os.path.join(TESTS, "libtrace_broken.so")
        self.assertEqual(self.replay("--touch", preload=library)["failed"], 0)
        for how in "overlap", "align", "zero", "copy", "null":
            with self.subTest(how=how):
                done = run(TOOL, "replay", "--touch", "--json", self.trace,
                           env={"LD_PRELOAD": library, "BROKEN": how})
                self.assertEqual(done.returncode, 1, done.stderr)
                result = json.loads(done.stdout)
                self.assertEqual(result["failed"], 1)
                self.assertEqual(result["failed_allocations"] > 0, how == "null")
                self.assertEqual(result["damaged_objects"] > 0, how != "null")

    def test_live_bytes(self):
        live = peak = 0
        size = {}
        for call in self.calls():
            if call.kind == "failed":
                continue
            live -= size.pop(call.slot, 0)
            if call.kind != "free":
                size[call.slot] = call.size
                live += call.size
            peak = max(peak, live)
        self.assertEqual(self.replay()["live_bytes"], peak)

    def test_summary(self):
        done = run(TOOL, "summary", self.trace)
        self.assertEqual(done.returncode, 0, done.stderr)
        text = " ".join(done.stdout.split())
        self.assertIn(f"aligned to 64 B {THREADS * ROUNDS:,}", text)
        self.assertIn(f"aligned to 256 B {THREADS * ROUNDS:,}", text)
        self.assertIn("in 5 threads", text)
        self.assertIn("failed 1 ", text)

    def test_summary_as_json(self):
        found = json.loads(run(TOOL, "summary", "--json", self.trace).stdout)
        calls = collections.Counter(call.kind for call in self.calls())
        self.assertEqual((found["events"], found["threads"]), (calls.total(), 5))
        self.assertEqual(found["resizes"], calls["realloc"])
        self.assertEqual(found["taken"], sum(calls[kind] for kind in ("malloc", "calloc", "aligned", "fresh")))
        self.assertEqual(sum(count for _, count in found["sizes"]), found["taken"])
        self.assertEqual(sum(count for _, count in found["life_calls"]), found["freed"])
        in_class = dict(found["sizes"])[4096]  # holds 2049 to 4096
        self.assertGreaterEqual(in_class, 6 * THREADS * ROUNDS)
        self.assertEqual(found["peak_bytes"], self.replay()["live_bytes"])

    def test_memory_after_the_last_call(self):
        result = self.replay("--touch", "--settle", "0.1")
        self.assertEqual(result["settled_seconds"], 0.1)
        self.assertGreater(result["rss_after_0.1s_bytes"], 0)
        self.assertNotIn("rss_after_1s_bytes", result)
        self.assertEqual(self.replay()["settled_seconds"], 0)


class Operators(TraceCase):
    """C++ operators, whether they come down to malloc or go past it."""

    def test_operators(self):
        for name, preload in allocators().items():
            with self.subTest(allocator=name):
                # mimalloc, a C library, aborts where operator new should throw.
                done = self.record(OPERATORS, *["quiet"] * (name == "mimalloc"),
                                   env={"LD_PRELOAD": preload} if preload else {})
                self.assertEqual((done.returncode, done.stdout), (8, "thrown 1000\n"))
                taken, freed, size = collections.Counter(), collections.Counter(), {}
                for call in self.calls():
                    self.assertEqual(call.note, "-")
                    if call.kind == "free":
                        freed[size.pop(call.slot)] += 1
                    elif call.kind != "failed":
                        size[call.slot] = call.size
                        taken[call.size, call.align] += 1
                plain, aligned = 30001, 128 * 235
                self.assertEqual(taken[plain, 0], 3000)
                self.assertEqual(taken[2 * plain, 0], 1000)
                self.assertEqual(taken[aligned, 7], 2000)
                self.assertEqual(taken[2 * aligned, 7], 1000)
                self.assertEqual([freed[s] for s in (plain, 2 * plain, aligned, 2 * aligned)],
                                 [3000, 1000, 2000, 1000])
                self.assertNotIn("were not recorded", run(TOOL, "summary", self.trace).stdout)
                self.replay("--touch")


class Endings(TraceCase):
    """Nothing is lost however the program, or a thread of it, ends."""

    def test_ways(self):
        ways = {"exit": 4, "_exit": 5, "abort": 128 + signal.SIGABRT,
                "kill": 128 + signal.SIGKILL}
        for way, status in ways.items():
            with self.subTest(way=way):
                done = self.record(ENDING, way)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertEqual(self.marked(), {0: COUNT, 1: COUNT})
                self.replay("--touch")

    def test_thread_exit(self):
        self.assertEqual(self.record(ENDING, "thread").returncode, 6)
        self.assertEqual(self.marked(), {0: COUNT, 1: COUNT, 2: COUNT})

    def test_many_short_threads(self):
        self.assertEqual(self.record(ENDING, "churn").returncode, 6)
        result = self.replay("--touch")
        self.assertEqual(self.marked(), {0: COUNT + 500})
        self.assertEqual(result["threads"], 501)
        self.assertLessEqual(result["concurrent_threads"], 2)

    def test_recorder_killed_as_well(self):
        """What was recorded can be read even if nobody was there to seal it."""
        program = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
        with subprocess.Popen([TOOL, "record", "-o", self.trace, "--", "/usr/bin/python3", "-c", program], text=True,
                              stdout=subprocess.PIPE) as recording:
            child = int(recording.stdout.readline())
            recording.kill()
            recording.wait()
            os.kill(child, signal.SIGKILL)
        done = run(TOOL, "summary", self.trace)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("not sealed", done.stderr)
        self.assertIn("time.sleep(60)", done.stdout)


class Processes(TraceCase):
    """Who is recorded: the program, its last image, and on request its children."""

    def test_child_is_not_recorded(self):
        done = run(TOOL, "record", "-o", self.trace, "--", ENDING, "fork")
        self.assertEqual(done.returncode, 6)
        self.assertEqual(self.marked(), {0: COUNT, 2: COUNT})
        self.assertIn("--children", done.stderr)
        self.assertEqual(os.listdir(self.directory), ["t.mtrace"])

    def test_daemon_is_not_recorded(self):
        """Its parent ends at once, so nothing of the child is known when the trace is sealed but that it was made."""
        done = run(TOOL, "record", "-o", self.trace, "--", ENDING, "daemon")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(self.marked(), {0: COUNT})
        self.assertIn("--children", done.stderr)

    def test_child_is_recorded(self):
        self.assertEqual(self.record(ENDING, "fork", options=["-c"]).returncode, 6)
        self.assertEqual(self.marked(), {0: COUNT, 2: COUNT})
        child, = glob.glob(self.trace + ".*")
        self.assertEqual(self.marked(child), {1: COUNT})
        self.replay("--touch", path=child)

    def test_fork_while_threads_allocate(self):
        self.assertEqual(self.record(ENDING, "storm", options=["-c"]).returncode, 6)
        self.assertEqual(self.marked(), {0: COUNT})
        self.assertEqual({call.note for call in self.calls()}, {"-"})
        self.replay("--touch")
        children = glob.glob(self.trace + ".*")
        self.assertEqual(len(children), 20)
        for child in children:
            self.assertEqual(self.marked(child), {1: COUNT})

    def test_last_image_is_recorded(self):
        self.assertEqual(self.record(ENDING, "exec").returncode, 6)
        self.assertEqual(self.marked(), {0: COUNT})

    def test_shell_and_children(self):
        self.assertEqual(self.record("sh", "-c", f"{ENDING} last; exit 11",
                                     options=["-c"]).returncode, 11)
        child, = glob.glob(self.trace + ".*")
        self.assertEqual(self.marked(child), {0: COUNT})


class Output(TraceCase):
    """A recorded program prints, reads and returns what it would otherwise."""

    def same(self, *program, stdin=None):
        plain = run(*program, input=stdin)
        recorded = self.record(*program, input=stdin)
        self.assertEqual((plain.returncode, plain.stdout, plain.stderr),
                         (recorded.returncode, recorded.stdout, recorded.stderr))
        self.assertGreater(sum(1 for _ in self.calls()), 10)

    def test_programs(self):
        self.same(KNOWN)
        self.same("sort", "-r", stdin="".join(f"{i * 7919 % 1000}\n" for i in range(5000)))
        self.same("ls", "-l", TESTS)
        self.same("sed", "s/a/b/", "/no/such/file")

    def test_descriptors(self):
        """No descriptor of the recorder's is open in the program."""
        self.same("sh", "-c", "ls /proc/self/fd | tr '\\n' ' '")


class Python(TraceCase):
    PROGRAM = """
import json, threading
def work(n):
    for i in range(40):
        text = json.dumps({str(k): [k * 1.5, "x" * (k % 90)] for k in range(n)})
        assert json.loads(text)[str(n - 1)][0] == (n - 1) * 1.5
threads = [threading.Thread(target=work, args=(100 + i,)) for i in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print("done")
"""

    def test_python(self):
        env = {"PYTHONMALLOC": "malloc"}
        done = self.record("/usr/bin/python3", "-c", self.PROGRAM, env=env)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "done\n", ""))
        notes = collections.Counter(call.note for call in self.calls())
        self.assertEqual(set(notes), {"-"})
        self.assertGreater(notes["-"], 100000)
        result = self.replay()
        self.assertEqual(result["threads"], 5)
        self.replay_everywhere(notes["-"])


class Redis(TraceCase):
    def test_redis(self):
        server, client = shutil.which("redis-server"), shutil.which("redis-benchmark")
        if not server or not client:
            self.skipTest("redis-server is not installed")
        path = os.path.join(self.directory, "socket")  # a port might be taken by another test

        def ask(*words):
            return run("redis-cli", "-s", path, *words).stdout

        def wait_until(happened, what):
            deadline = time.monotonic() + 100
            while not happened():
                self.assertLess(time.monotonic(), deadline, what)
                self.assertIsNone(recording.poll(), "redis-server ended")
                time.sleep(0.1)

        recording = subprocess.Popen(
            [TOOL, "record", "-q", "-o", self.trace, "--", server, "--port", "0",
             "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", self.directory],
            stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: ask("ping") == "PONG\n", "redis-server does not answer")
            done = run(client, "-s", path, "-n", "5000", "-q", "-r", "1000", "-d", "200", "-t",
                       "set,get,lpush,lpop,sadd,hset,zadd")
            self.assertEqual(done.returncode, 0, done.stderr)
            ask("flushall", "async")  # by another thread, which may be late
            wait_until(lambda: "lazyfree_pending_objects:0" in ask("info", "memory"),
                       "the other thread does not free")
            ask("shutdown", "nosave")
            self.assertEqual(recording.wait(timeout=60), 0)
        finally:
            if recording.poll() is None:
                recording.terminate()
                recording.wait()
        calls = [call for call in self.calls() if call.kind != "failed"
                 and call.note != "unknown"]
        self.assertGreater(len(calls), 50000)
        self.assertGreater(len({call.thread for call in calls}), 1)
        self.replay_everywhere(len(calls))


if __name__ == "__main__":
    main()
