"""What the tests of mymalloc-trace share: the tool, what it records, what is in its files."""
import collections
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ["TRACE_BUILD"]
TESTS = os.environ["TRACE_TESTS"]
TOOL = os.path.join(BUILD, "mymalloc-trace")
KNOWN = os.path.join(TESTS, "trace_known")
ENDING = os.path.join(TESTS, "trace_ending")
OPERATORS = os.path.join(TESTS, "trace_operators")
DUMP = os.path.join(TESTS, "trace_dump")
LIBRARIES = "/usr/lib/%s" % getattr(sys.implementation, "_multiarch", "")

COUNT, SIZE = 20000, 30001  # of ending.c

Call = collections.namedtuple("Call", "thread kind slot size align note")


def run(*command, env=None, **more):
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=240,
        env=dict(os.environ, **(env or {})),
        **more,
    )


def allocators():
    """Whatever can be preloaded here, glibc (None) first."""
    found = {"glibc": None}
    if os.environ.get("TRACE_SANITIZED"):
        return found
    if os.environ.get("TRACE_PRELOAD"):
        found["mymalloc"] = os.environ["TRACE_PRELOAD"]
    for name in "mimalloc", "jemalloc", "tcmalloc":
        for path in sorted(glob.glob(f"{LIBRARIES}/lib{name}.so.*"))[:1]:
            found[name] = path
    return found


class TraceCase(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="trace-test.")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.trace = os.path.join(self.directory, "t.mtrace")

    def record(self, *program, options=(), env=None, **more):
        return run(TOOL, "record", "-q", "-o", self.trace, *options, "--", *program,
                   env=env, **more)

    def calls(self, path=None):
        dumped = run(DUMP, path or self.trace)
        self.assertEqual(dumped.returncode, 0, dumped.stderr)
        for line in dumped.stdout.splitlines():
            thread, kind, slot, size, align, note = line.split()
            yield Call(int(thread), kind, int(slot), int(size), int(align), note)

    def marked(self, path=None):
        """How many allocations of ending.c there are, by what they add to SIZE."""
        sizes = collections.Counter()
        for call in self.calls(path):
            if call.kind == "malloc" and call.size in range(SIZE, SIZE + 10):
                sizes[call.size - SIZE] += 1
        return dict(sizes)

    def replay(self, *options, preload=None, path=None):
        env = {"LD_PRELOAD": preload} if preload else {}
        done = run(TOOL, "replay", "--json", *options, path or self.trace, env=env)
        self.assertEqual(done.returncode, 0, f"{preload}: {done.stderr}{done.stdout[-500:]}")
        result = json.loads(done.stdout)
        if preload:
            self.assertEqual(os.path.realpath(result["allocator_path"]),
                             os.path.realpath(preload))
        return result

    def replay_everywhere(self, expected_ops):
        for name, preload in allocators().items():
            with self.subTest(allocator=name):
                result = self.replay("--touch", "--repeat", "2", preload=preload)
                self.assertEqual(result["ops"], expected_ops)
                self.assertEqual(len(result["passes"]), 2)
                self.assertGreaterEqual(result["peak_rss_bytes"] - result["base_rss_bytes"],
                                        result["live_bytes"] // 4)
                self.assertGreater(result["minor_faults"], 0)
                self.assertGreater(result["ops_per_second"], 0)

    def assert_one_line(self, done, status, *words):
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)


def main():
    """77: all that was asked for was skipped."""
    program = unittest.main(exit=False)
    outcome = program.result
    skipped = outcome.testsRun and len(outcome.skipped) == outcome.testsRun
    sys.exit(77 if skipped else not outcome.wasSuccessful())
