"""Running: order, failures that never become times, interruption, resumption, disks."""
import json
import os
import signal
import subprocess
import time
import unittest

from support import SUITE, SuiteCase, library

from suite import allocators, cells, runner


class Failures(SuiteCase):
    def failing(self, cell, text, *more):
        status, out, err = self.bench("--workloads", f"{cell},good/other", "--rounds", "2", *more)
        self.assertEqual(status, 1, err)
        row = self.row(cell, "suite_test_a")
        self.assertIn(text, row["failure"])
        self.assertNotIn("speed", row)
        self.assertIn(text, out)
        self.assertEqual(self.row("good/other", "suite_test_a")["runs"], 2)  # the rest is kept
        self.assertEqual(self.row(cell, "glibc")["runs"], 2)
        for name in ("report.md", "report.html", "results.csv", "table.txt"):
            content = (self.out / name).read_text()
            self.assertIn(text.split(":")[0], content, name)

    def test_crash_is_shown_as_a_crash(self):
        self.failing("bad/crash", "crashed: SIGSEGV")

    def test_out_of_memory(self):
        self.failing("bad/memory", "exit status 3: mymalloc-bench: malloc of 64 bytes failed")

    def test_truncated_report(self):
        self.failing("bad/truncated", "truncated")

    def test_no_report(self):
        self.failing("bad/silent", "wrote no report")

    def test_damage(self):
        self.failing("bad/damaged", "verification")

    def test_never_ends(self):
        """Those that do end have the time for it where others have the CPUs."""
        self.failing("bad/hang", "did not end within 10 s", "--timeout", "10s")

    def test_a_single_crash_among_good_runs_hides_the_times(self):
        status, _, err = self.bench("--workloads", "bad/sometimes", "--rounds", "9")
        self.assertEqual(status, 1, err)
        row = self.row("bad/sometimes", "suite_test_a")
        self.assertIn("crashed: SIGSEGV (1 of", row["failure"])
        self.assertNotIn("ratio", row)


class Order(SuiteCase):
    def log(self, *more):
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        self.bench("--workloads", "good", "--rounds", "3", *more, columns=("a", "b"),
                   environment={"FAKE_LOG": str(log)})
        return [line.split() for line in log.read_text().splitlines()]

    def test_blocks_are_whole_and_orders_vary(self):
        columns, cells_run = 3, 4
        lines = [(cell, name) for cell, name in self.log() if name != "harness"]
        blocks = [lines[at:at + columns] for at in range(0, len(lines), columns)]
        self.assertEqual(len(blocks), 3 * cells_run)
        for block in blocks:
            self.assertEqual(len({cell for cell, _ in block}), 1, block)
            self.assertEqual(len({name for _, name in block}), columns, block)
        self.assertGreater(len({tuple(name for _, name in block) for block in blocks}), 2)

    def test_a_seed_gives_the_same_order(self):
        first = self.log("--seed", "5")
        self.out = self.folder / "second"
        second = self.log("--seed", "5")
        self.out = self.folder / "third"
        third = self.log("--seed", "6")
        self.assertEqual(first, second)
        self.assertNotEqual(first, third)


class Interruption(SuiteCase):
    def start_slow(self, rounds):
        return self.start(*self.arguments("--workloads", "slow/second", "--rounds", rounds))

    def test_ctrl_c_keeps_what_was_finished(self):
        child = self.start_slow("50")
        self.wait_for_samples(4)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=600)
        self.assertEqual(child.returncode, 130, err)
        self.assertIn("interrupted", err)
        self.assertIn("--resume", err)
        self.assertGreaterEqual(self.row("slow/second", "glibc")["runs"], 1)
        self.assertIn("slow/second", out)

    def test_a_spent_budget_is_said_and_can_be_lengthened(self):
        """A cell that was not reached is no success: status 1."""
        words = ("--workloads", "slow/second,good", "--budget", "0.2s")
        status, out, err = self.bench(*words)
        self.assertEqual(status, 1, err)
        self.assertIn("the budget of 0:00 was spent", err)
        self.assertIn("--budget TIME goes on", err)
        self.assertIn("Not run: ", out)
        status, out, err = self.suite("--resume", "--no-build", "--out", str(self.out), "--budget", "100s")
        self.assertEqual(status, 0, err)
        self.assertNotIn("Not run: ", out)

    def test_a_budget_of_resume_is_how_much_longer(self):
        """Not how long the run may have taken in all: that is spent already."""
        self.bench("--workloads", "slow/second", "--budget", "2s")
        raw = self.out / "raw/slow-second.jsonl"
        before = raw.read_bytes().count(b"\n")
        status, out, err = self.suite("--resume", "--no-build", "--out", str(self.out), "--budget", "0.9s")
        self.assertGreater(raw.read_bytes().count(b"\n"), before, err)

    def test_a_budget_that_cuts_rounds_short_leaves_the_run_unfinished(self):
        """Six rounds were promised: what lacks some is not kept as if it had them."""
        status, out, err = self.bench("--workloads", "slow/second", "--rounds", "6", "--budget", "0.5s")
        self.assertIn("was spent", err)
        self.assertFalse(json.loads((self.out / "run.json").read_text())["finished"])
        self.refused(["keep", str(self.out)], "not finished", "was spent", "--resume")
        status, out, err = self.suite("--resume", "--no-build", "--out", str(self.out), "--budget", "100s")
        self.assertEqual(status, 0, err)
        self.assertTrue(json.loads((self.out / "run.json").read_text())["finished"])

    def test_resume_after_a_kill(self):
        child = self.start_slow("6")
        self.wait_for_samples(5)
        child.kill()
        child.communicate()
        raw = self.out / "raw/slow-second.jsonl"
        before = raw.read_bytes()
        finished = before.count(b"\n")
        raw.write_bytes(before + b'{"context":{"cut sho')  # killed while writing
        status, _, err = self.suite("--resume", "--no-build", "--out", str(self.out))
        self.assertEqual(status, 0, err)
        after = raw.read_bytes()
        self.assertTrue(after.startswith(before))
        rows = [json.loads(line)["suite"] for line in after.splitlines()]
        self.assertGreaterEqual(len(rows), 15)  # 6 rounds of 2, and the baseline in 3
        for column in ("glibc", "suite_test_a"):
            self.assertEqual(self.row("slow/second", column)["runs"], 6)
        # Nothing that was finished ran again, but for the block that the kill cut.
        self.assertLessEqual(len(rows) - finished, 15 - finished + 3)

    def test_resume_with_other_allocators_is_refused(self):
        """Not by options, which --resume does not take, and not by a file that was replaced."""
        copy = self.folder / "libsuite_test_a.so"
        copy.write_bytes(library("a").read_bytes())
        self.bench("--workloads", "good/other", "--rounds", "1", "--allocator", f"x={copy}", columns=())
        self.refused(self.arguments("--resume", columns=("a", "b")), "--resume", "leave out --allocator")
        copy.write_bytes(library("b").read_bytes())
        self.refused(["--resume", "--no-build", "--out", str(self.out)], "--resume", "SHA-256",
                     "not the library")

    def test_a_full_disk_keeps_what_was_finished(self):
        """RLIMIT_FSIZE stands for the disk: writing fails beyond it."""
        import resource

        def small():
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        done = subprocess.run(
            [*SUITE, *self.arguments("--workloads", "good/other", "--rounds", "20")],
            capture_output=True, text=True, env=self.environment(), preexec_fn=small, timeout=120)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("cannot write", done.stderr)
        self.assertIn("File too large", done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        lines = (self.out / "raw/good-other.jsonl").read_bytes().split(b"\n")
        self.assertEqual(lines[-1], b"")
        self.assertGreaterEqual(len([json.loads(line) for line in lines[:-1]]), 2)


class Library(SuiteCase):
    def test_a_library_that_changes_during_the_run_is_refused(self):
        copy = self.folder / "libchanging.so"
        copy.write_bytes(library("a").read_bytes())
        column = allocators.library("x", str(copy))
        self.assertFalse(allocators.changed(column.path, column.stamp))
        copy.write_bytes(library("b").read_bytes())
        os.utime(copy, ns=(1, 1))
        self.assertTrue(allocators.changed(column.path, column.stamp))


class Worker(SuiteCase):
    """The benchmark itself: a build while a run goes on, or between two sittings, would be two benchmarks in one run."""

    def test_one_that_changes_during_the_run_ends_it(self):
        child = self.start(*self.arguments("--workloads", "slow/second", "--rounds", "30"))
        self.wait_for_samples(2)
        os.utime(self.folder / "build/bench/mymalloc-bench", ns=(1, 1))
        _, err = child.communicate(timeout=600)
        self.assertEqual(child.returncode, 2, err)
        self.assertIn("mymalloc-bench was changed while the run went on", err)

    def test_resume_with_another_is_refused(self):
        self.bench("--workloads", "slow/second", "--budget", "0.2s")
        with open(self.folder / "build/bench/mymalloc-bench", "a", encoding="utf-8") as file:
            file.write("# another\n")
        self.refused(["--resume", "--no-build", "--out", str(self.out)], "--resume", "SHA-256",
                     "not the program that the run began with")


class Adaptive(unittest.TestCase):
    def test_a_cell_settles_when_every_interval_is_narrow(self):
        columns = [allocators.Column("glibc"), allocators.Column("x")]
        exact = {"glibc": {n: 1.0 for n in range(6)}, "x": {n: 2.0 for n in range(6)}}
        self.assertTrue(runner.settled(exact, columns))
        self.assertFalse(runner.settled({"glibc": exact["glibc"], "x": {0: 2.0}}, columns))
        noisy = {"glibc": exact["glibc"], "x": {n: 1 + n for n in range(6)}}
        self.assertFalse(runner.settled(noisy, columns))


class Names(unittest.TestCase):
    def test_google_benchmark_suffixes_are_no_part_of_a_name(self):
        self.assertEqual(cells.plain("larson/fixed/threads:2/iterations:1/manual_time"),
                         "larson/fixed/threads:2")

    def test_threads_of_pairs_are_twice(self):
        self.assertEqual(cells.Cell("xmalloc/64B/pairs:4").threads, 8)
        self.assertEqual(cells.Cell("larson/fixed/threads:8").threads, 8)
        self.assertIsNone(cells.Cell("prodcons/1to1").threads)

    def test_filter_is_exact(self):
        import re
        self.assertTrue(re.search(cells.exact("a/b.c+d"), "a/b.c+d"))
        self.assertFalse(re.search(cells.exact("a/b.c"), "a/bxc"))


if __name__ == "__main__":
    unittest.main()
