"""Where runs go, and that none is lost, mixed with another or taken for a failure."""
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import unittest

from support import BUILD, HERE, SuiteCase, library

from suite import store


class Folders(SuiteCase):
    def default(self, *more, **kind):
        status, out, err = self.bench("--workloads", "good/other", "--rounds", "1", *more, out=False, **kind)
        self.assertEqual(status, 0, err)
        return sorted(path.name for path in (self.folder / "results").iterdir())

    def test_every_run_has_a_folder_and_latest_leads_to_it(self):
        first = self.default()
        second = self.default()
        runs = [name for name in second if name != "latest"]
        self.assertEqual(len(runs), 2)
        self.assertTrue(set(first) < set(second))  # nothing went
        # In an image made without a commit's name nobody reads "unknown".
        self.assertRegex(store.fresh(self.folder, "quick", "unknown").path.name, r"^\d{4}-\d\d-\d\d-quick$")
        for name in runs:
            self.assertRegex(name, r"^\d{4}-\d\d-\d\d-cells-[0-9a-z]+\+?(-2)?$")
            self.assertTrue((self.folder / "results" / name / "results.json").exists())
        self.assertEqual({os.readlink(self.folder / "results/latest")}, set(second) - set(first))

    def test_a_folder_of_the_links_name_is_set_aside(self):
        old = self.folder / "results/latest"
        old.mkdir(parents=True)
        (old / "run.json").write_text("mine")
        self.default()
        self.assertTrue(old.is_symlink())
        self.assertEqual((self.folder / "results/latest-before-1/run.json").read_text(), "mine")

    def test_bad_options_move_nothing(self):
        before = self.default()
        target = os.readlink(self.folder / "results/latest")
        self.refused(self.arguments("--workloads", "nonesuch", out=False), "nonesuch")
        self.refused(self.arguments("--workloads", "good", out=False, columns=("none",)), "no allocator")
        self.assertEqual(sorted(path.name for path in (self.folder / "results").iterdir()), before)
        self.assertEqual(os.readlink(self.folder / "results/latest"), target)

    def test_blanks_and_colons_in_paths(self):
        strange = self.folder / "a b:c"
        strange.mkdir()
        copy = strange / "lib x.so"
        copy.write_bytes(library("a").read_bytes())
        self.out = strange / "out"
        status, _, err = self.bench("--workloads", "good/other", "--rounds", "1",
                                    "--allocator", f"x={copy}", columns=())
        self.assertEqual(status, 0, err)
        self.assertEqual(self.row("good/other", "x")["runs"], 1)
        column = self.results()["columns"][1]
        self.assertEqual(column["path"], str(copy))

    def test_what_is_told_to_go_on_with_can_be_typed(self):
        self.out = self.folder / "a b"
        status, _, err = self.bench("--workloads", "slow/second", "--budget", "0.1s")
        words = shlex.split(next(line for line in err.splitlines() if "--resume" in line).partition("ci/bench --resume ")[2])
        self.assertEqual(words[:2], ["--out", str(self.out)])

    def test_samples_without_their_run_are_not_mixed_with_others(self):
        self.bench("--workloads", "good/other", "--rounds", "3")
        (self.out / "run.json").unlink()
        before = (self.out / "raw/good-other.jsonl").read_bytes()
        self.refused(self.arguments("--workloads", "good/other", "--rounds", "1"), "samples of a run whose run.json is gone",
                     "--out names another")
        self.assertEqual((self.out / "raw/good-other.jsonl").read_bytes(), before)

    def test_no_folder_for_temporary_files(self):
        """A container with --read-only: only the results folder takes files."""
        hide = ("import tempfile, sys, os\n"
                "tempfile._candidate_tempdir_list = lambda: ['/proc/nowhere']\n"
                "from suite.cli import main\nsys.exit(main(sys.argv[1:]))\n")
        (self.folder / "results").mkdir()
        done = subprocess.run([sys.executable, "-B", "-c", hide,
                               *self.arguments("--workloads", "good/other", "--rounds", "1", out=False)],
                              capture_output=True, text=True, env=self.environment(), timeout=120)
        self.assertEqual((done.returncode, "Traceback" in done.stderr), (0, False), done.stderr)
        left = sorted(path.name for path in (self.folder / "results").iterdir())
        self.assertEqual(len(left), 2, left)  # the run and latest: nothing temporary stays


class Locks(SuiteCase):
    def test_a_second_run_into_a_folder_is_refused_with_the_others_pid(self):
        child = self.start(*self.arguments("--workloads", "slow/second", "--rounds", "50"))
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        self.wait_for_samples(1)
        pid = str(json.loads((self.out / "run.json").read_text())["pid"])
        self.assertEqual(pid, str(child.pid))
        before = (self.out / "run.json").read_bytes()
        self.refused(self.arguments("--workloads", "good/other"), "another run", pid)
        self.refused(["--resume", "--no-build", "--out", str(self.out)], "another run", pid)
        self.assertEqual((self.out / "run.json").read_bytes(), before)

    def test_interrupted_is_not_failed_and_resume_needs_no_other_option(self):
        child = self.start(*self.arguments("--workloads", "slow/second,good/other", "--rounds", "6",
                                           "--control", "suite_test_a", out=True))
        self.wait_for_samples(2)
        child.send_signal(signal.SIGHUP)  # the terminal was closed
        out, err = child.communicate(timeout=600)
        self.assertEqual(child.returncode, 130, err)
        self.assertNotIn("failed", out)
        self.assertIn(f"--resume --out {self.out}", err)
        status, out, err = self.suite("--resume", "--no-build", "--out", str(self.out))
        self.assertEqual(status, 0, err)
        for cell in ("slow/second", "good/other"):
            for column in ("glibc", "suite_test_a"):
                self.assertEqual(self.row(cell, column)["runs"], 6)
        self.assertTrue(json.loads((self.out / "run.json").read_text())["finished"])

    def test_nohup_outlives_the_terminal(self):
        child = self.start(*self.arguments("--workloads", "slow/second", "--rounds", "2"), under=("nohup",))
        self.wait_for_samples(1)
        child.send_signal(signal.SIGHUP)
        _, err = child.communicate(timeout=600)
        self.assertEqual(child.returncode, 0, err)
        self.assertTrue(json.loads((self.out / "run.json").read_text())["finished"])

    @unittest.skipUnless((BUILD / "bench/mymalloc-measure").exists(), "mymalloc-measure is not built")
    def test_resume_of_a_program(self):
        """Its command and folder are in run.json, without the checkout's path."""
        shutil.copy(BUILD / "bench/mymalloc-measure", self.folder / "build/bench")
        status, _, err = self.bench("--program", "--rounds", "2", "--", "sort", __file__)
        self.assertEqual(status, 0, err)
        self.assertNotIn(str(HERE.parents[1]), (self.out / "run.json").read_text())
        raw = self.out / "raw/program-sort.jsonl"
        lines = raw.read_text().splitlines(keepends=True)
        raw.write_text("".join(lines[:-1]))
        status, _, err = self.suite("--resume", "--no-build", "--out", str(self.out))
        self.assertEqual(status, 0, err)
        self.assertGreater(len(raw.read_text().splitlines()), len(lines) - 1)
        for column in ("glibc", "suite_test_a"):
            self.assertEqual(self.row("program/sort", column)["runs"], 2)

    def test_an_interruption_before_the_first_sample_leaves_nothing(self):
        child = self.start(*self.arguments("--workloads", "bad/hang", "--rounds", "1", out=False,
                                           columns=("a",)))
        results = self.folder / "results"
        deadline = time.monotonic() + 60
        while not (results.exists() and any(results.glob("*/run.json"))):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=600)
        left = [path for path in results.iterdir() if not any(path.glob("raw/*.jsonl"))]
        self.assertEqual(left, [])


if __name__ == "__main__":
    unittest.main()
