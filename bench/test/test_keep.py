"""What git keeps of a run: small, whole, and summarised in one file."""
import csv
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

from support import HERE, SuiteCase, library

from suite import history
from suite.store import PACKED, Folder, write_whole

CHECK = HERE.parents[1] / "ci/check-results"
REPORTS = ("report.md", "results.json", "table.txt", "results.csv")


class Keep(SuiteCase):
    def setUp(self):
        super().setUp()
        self.measured("--workloads", "good", "--rounds", "6")
        self.name = self.out.name

    def keep(self):
        status, out, err = self.suite("keep", str(self.out))
        self.assertEqual(status, 0, err)
        return out

    def check(self, *more):
        return subprocess.run([sys.executable, "-B", str(CHECK), str(self.out), "--columns",
                               "glibc,suite_test_a", *more], capture_output=True, text=True)

    def test_nothing_is_lost(self):
        before = {name: (self.out / name).read_text() for name in REPORTS}
        samples = Folder(self.out).samples("good/other")
        self.keep()
        self.assertEqual(sorted(path.name for path in self.out.iterdir()),
                         sorted(["environment.json", "report.md", "run.json", PACKED]))
        self.assertEqual(Folder(self.out).samples("good/other"), samples)
        status, _, err = self.suite("report", str(self.out))
        self.assertEqual(status, 0, err)
        self.assertEqual({name: (self.out / name).read_text() for name in REPORTS}, before)

    def test_it_can_still_be_checked_and_compared(self):
        self.keep()
        done = self.check()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("4 cells x 2 columns", done.stdout)
        self.assertEqual(self.suite("compare", str(self.out), str(self.out))[0], 0)

    def test_history_has_a_line_for_each_workload_and_allocator_once(self):
        self.keep()
        self.keep()
        with open(self.out.parent / "history.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([(row["run"], row["workload"], row["allocator"]) for row in rows],
                         [(self.name, "good", "glibc"), (self.name, "good", "suite_test_a")])
        self.assertAlmostEqual(float(rows[1]["speed"]), 1, places=1)
        self.assertEqual((rows[1]["rounds"], rows[1]["cells"], rows[1]["version"]),
                         ("6", "4", "suite_test_a 1.0"))

    def test_a_history_without_a_measure_of_today_is_gone_on_with(self):
        self.keep()
        path = self.out.parent / "history.csv"
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        fields = [field for field in rows[0] if not field.startswith("integral")]
        self.assertLess(len(fields), len(rows[0]))
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fields, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(row | {"run": "older"} for row in rows)
        self.keep()
        with open(path, encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file))
        self.assertEqual(sorted(row["run"] for row in found), sorted(["older"] * 2 + [self.name] * 2))
        path.write_text("run,nonsense\n")
        self.refused(["keep", str(self.out)], "history.csv has other columns", "nonsense")

    def test_an_unfinished_run_is_refused(self):
        run = json.loads((self.out / "run.json").read_text())
        (self.out / "run.json").write_text(json.dumps(run | {"finished": False, "stopped": "interrupted"}))
        self.refused(["keep", str(self.out)], "not finished", "interrupted", "--resume")
        self.assertTrue((self.out / "raw").exists())

    def test_a_packed_run_is_not_gone_on_with(self):
        self.keep()
        self.refused(["--resume", "--no-build", "--out", str(self.out)], "packed")

    def test_check_results_reads_with_the_suites_reader(self):
        """A line that a kill cut short is no sample, there as here; what lacks is named."""
        self.assertEqual(self.check().returncode, 0)
        raw = self.out / "raw/good-other.jsonl"
        raw.write_text(raw.read_text() + '{"cut sho')
        self.assertEqual(self.check().returncode, 0, self.check().stderr)
        raw.unlink()
        done = self.check()
        self.assertEqual(done.returncode, 1)
        self.assertIn("good/other: no good sample of glibc", done.stdout)
        (self.out / "run.json").write_text("{}")
        done = self.check()
        self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1), done.stderr)


class Checked(SuiteCase):
    def test_a_failure_of_ours_after_good_samples_is_a_fault(self):
        """Another's is told, ours is none that a run may be kept with, also under the control's name."""
        lines = self.failed_once("mymalloc-x", "mymalloc-x-again")
        done = subprocess.run([sys.executable, "-B", str(CHECK), str(self.out), "--columns", "glibc"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        for name in ("mymalloc-x", "mymalloc-x-again"):
            self.assertIn(f"good/other: {name} failed", done.stdout)
        self.assertGreater(len(lines), 9)

    def test_a_failure_of_the_control_is_in_the_reports(self):
        """And of the baseline: the run ended with status 1 for it."""
        self.failed_once("mymalloc-x-again", "harness")
        status, out, err = self.suite("report", str(self.out))
        self.assertEqual(status, 0, err)
        for text_of in (out, (self.out / "report.md").read_text(), (self.out / "report.html").read_text()):
            self.assertIn("good/other under mymalloc-x-again: crashed: SIGSEGV", text_of)
            self.assertIn("good/other under harness: crashed: SIGSEGV", text_of)

    def failed_once(self, *columns):
        """A run in which the last process of these columns crashed."""
        self.measured("--workloads", "good/other", "--rounds", "3", "--allocator", f"mymalloc-x={library('a')}",
                      "--control", "mymalloc-x", columns=())
        raw = self.out / "raw/good-other.jsonl"
        lines = [json.loads(line) for line in raw.read_text().splitlines()]
        for name in columns:
            last = [line for line in lines if line["suite"]["column"] == name][-1]
            last["suite"]["failure"] = "crashed: SIGSEGV"
        raw.write_text("".join(json.dumps(line) + "\n" for line in lines))
        self.suite("report", str(self.out))
        return lines


@unittest.skipUnless(shutil.which("git"), "git is not installed")
class AtOnce(unittest.TestCase):
    """Two runs are kept at once: both are in the history."""

    @staticmethod
    def rows_of(name, _result):
        yield [name] + ["1"] * (len(history.FIELDS) - 1)

    def test_a_second_waits_for_the_first(self):
        child = None

        def write_in_between(path, content):
            """The first has read the file and not written it: the second comes, and is waited for, a while."""
            nonlocal child
            child = os.fork()
            if child == 0:
                with unittest.mock.patch.object(history, "write_whole", write_whole):
                    history.add(path, "second", None)
                os._exit(0)
            until = time.monotonic() + 2
            while time.monotonic() < until and os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                time.sleep(0.01)
            write_whole(path, content)

        with tempfile.TemporaryDirectory() as folder, \
                unittest.mock.patch.object(history, "rows_of", self.rows_of), \
                unittest.mock.patch.object(history, "write_whole", write_in_between):
            path = pathlib.Path(folder) / history.HISTORY
            history.add(path, "first", None)
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            self.assertEqual(sorted(row["run"] for row in history.read(path)), ["first", "second"])


class Commit(SuiteCase):
    """ci/commit-results in a repository of its own; nothing is installed."""

    def setUp(self):
        super().setUp()
        self.repo = self.folder / "repo"
        (self.repo / "bench").mkdir(parents=True)
        for name in ("bench/suite", "ci", ".gitignore"):
            source = HERE.parents[1] / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, self.repo / name)
        (self.repo / "ci/setup").write_text("#!/bin/sh\n")
        (self.repo / "results").mkdir()
        for name in ("README.md", "results/README.md"):
            (self.repo / name).write_text(
                "<!-- results: filled by ci/readme-results from results/ -->\n<!-- end of results -->\n")
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "start")

    def git(self, *words):
        done = subprocess.run(["git", "-C", str(self.repo), *words], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def run_and_commit(self, cells="good"):
        status, _, err = self.bench("--workloads", cells, "--rounds", "6", out=False,
                                    environment={"MYMALLOC_RESULTS": str(self.repo / "results")})
        self.assertEqual(status, 0, err)
        script = self.repo / "ci/commit-results"
        script.write_text(script.read_text().replace(
            "check-results results", "check-results --columns glibc,suite_test_a results"))
        done = subprocess.run([script], capture_output=True, text=True, env=self.environment(), timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return (self.repo / "results" / os.readlink(self.repo / "results/latest")).name

    def test_the_newest_run_replaces_the_older_of_its_kind(self):
        first, second = self.run_and_commit(), self.run_and_commit()
        self.assertNotEqual(first, second)
        kept = set(self.git("ls-files", "results").split())
        self.assertEqual(kept, {f"results/{second}/{name}" for name in
                                ("environment.json", "report.md", "run.json", PACKED)}
                         | {"results/history.csv", "results/README.md"})
        readme = (self.repo / "README.md").read_text()
        self.assertIn(f"results/{second}/report.md", readme)
        self.assertIn("4 cells, 6 rounds", readme)
        self.assertIn("1.00× · \\* 1.00×", readme)  # speed and peak RSS in one cell
        everything = (self.repo / "results/README.md").read_text()
        self.assertIn(f"## {second}: ", everything)
        self.assertNotIn(f"## {first}: ", everything)
        history = (self.repo / "results/history.csv").read_text()
        self.assertIn(first, history)
        self.assertIn(second, history)
        changed = self.git("status", "--porcelain").split()
        self.assertEqual([name for name in changed if name.startswith("results")], [])

    def test_a_run_with_other_cells_stays(self):
        """One workload measured again is not in the place of all that were chosen before."""
        first, second = self.run_and_commit(), self.run_and_commit("good/plain")
        self.assertEqual({name.split("/")[1] for name in self.git("ls-files", "results/*/run.json").split()}, {first, second})
        third = self.run_and_commit("good/plain")
        self.assertEqual({name.split("/")[1] for name in self.git("ls-files", "results/*/run.json").split()}, {first, third})

    def test_what_fails_removes_nothing_and_other_files_stay_as_they_are(self):
        self.run_and_commit()
        (self.repo / "results/notes.md").write_text("mine")
        self.git("add", "-f", "results/notes.md")
        second = self.run_and_commit()
        self.assertIn("A  results/notes.md", self.git("status", "--porcelain"))
        (self.repo / "results/README.md").write_text("no markers")
        with self.assertRaises(AssertionError):
            self.run_and_commit()
        self.assertTrue((self.repo / "results" / second / "run.json").exists())

    def test_each_row_is_of_the_newest_run_that_has_it_whole(self):
        loader = importlib.machinery.SourceFileLoader("readme_results", str(HERE.parents[1] / "ci/readme-results"))
        script = importlib.util.module_from_spec(importlib.util.spec_from_loader("readme_results", loader))
        loader.exec_module(script)

        def run(day, *workloads):
            made = unittest.mock.Mock(started=f"2026-11-{day} 10:00:00 +0000")
            parts = [name.partition(":") for name in workloads]
            rows = [["workload", "cells", "glibc"], *([name, count or "1", str(day)] for name, _, count in parts)]
            made.table = lambda title: rows
            return made
        runs = [run(25, "larson", "idle:17 of 20"), run(28, "larson", "swing"), run(24, "idle:20"), run(27, "server"),
                run(29, "idle:4 of 4")]
        self.assertEqual([[row[0] for row in rows[1:]] for _, rows in script.newest(runs)],
                         [["larson", "swing"], ["server"], ["idle"]])
        self.assertEqual([found for found, _ in script.newest(runs)], [runs[1], runs[3], runs[0]])


if __name__ == "__main__":
    unittest.main()
