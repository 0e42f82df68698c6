"""Two results folders, and two builds in pairs: what changed beyond noise."""
import unittest

from support import SuiteCase, library

from suite import compare


class Compare(SuiteCase):
    def make(self, name, speeds):
        self.out = self.folder / name
        status, _, err = self.bench("--workloads", "good", "--rounds", "8",
                                    environment={"FAKE_SPEEDS": speeds})
        self.assertEqual(status, 0, err)
        return str(self.out)

    def test_no_change(self):
        a, b = self.make("A", "suite_test_a=2"), self.make("B", "suite_test_a=2")
        status, out, err = self.suite("compare", a, b)
        self.assertEqual(status, 0, err)
        self.assertIn("Nothing changed beyond noise", out)

    def test_a_change_is_named(self):
        a, b = self.make("A", "suite_test_a=2"), self.make("B", "suite_test_a=1.6")
        status, out, err = self.suite("compare", a, b)
        self.assertEqual(status, 0, err)
        self.assertEqual(out.count("WORSE"), 4)
        self.assertIn("good/plain/threads:1", out)

    def test_a_faster_machine_is_no_change(self):
        a, b = self.make("A", "glibc=1,suite_test_a=2"), self.make("B", "glibc=3,suite_test_a=6")
        self.assertIn("Nothing changed", self.suite("compare", a, b)[1])

    def test_other_work_is_said_first(self):
        for name, scale in (("A", "1"), ("B", "0.5")):
            self.out = self.folder / name
            self.bench("--workloads", "good/other", "--rounds", "1", "--scale", scale)
        status, out, err = self.suite("compare", str(self.folder / "A"), str(self.folder / "B"))
        self.assertEqual(status, 0, err)
        self.assertEqual(out.splitlines()[2], "NOT THE SAME WORK: --scale 1.0 in A, 0.5 in B")
        self.assertNotIn("NOT THE SAME", self.suite("compare", str(self.out), str(self.out))[1])

    def test_another_build_of_the_benchmark_is_named(self):
        def changes(*builds):
            return compare.library_changes(*({"columns": [], "worker_sha256": build} for build in builds))
        self.assertEqual(changes("a" * 64, "a" * 64), [])
        self.assertEqual(changes("a" * 64, "b" * 64), ["the benchmark: another build, aaaaaaaaaaaa in A, bbbbbbbbbbbb in B"])
        self.assertEqual(changes(None, "b" * 64), [])  # A is of before it was recorded

    def test_facts_of_one_side_alone_are_named(self):
        old, new = {"machine": {"a": 1, "load at start": 2}}, {"machine": {"b": 1, "load at start": 3}}
        self.assertEqual(compare.differences(old, new), [("machine", "a", 1, None), ("machine", "b", None, 1)])


class Builds(SuiteCase):
    def gate(self, speeds, *more):
        return self.suite("compare-builds", str(library("a")), str(library("b")), "--build",
                          str(self.folder / "build"), "--workloads", "good", "--rounds", "8",
                          "--out", str(self.out), "--seed", "3", *more, FAKE_SPEEDS=speeds)

    def test_equal_builds_pass(self):
        status, out, err = self.gate("suite_test_a=1,suite_test_b=1")
        self.assertEqual(status, 0, err)
        self.assertIn("No regression", out)

    def test_a_loss_within_the_tolerance_passes(self):
        status, out, err = self.gate("suite_test_a=1,suite_test_b=0.97")
        self.assertEqual(status, 0, err)
        self.assertIn("slower", out)

    def test_a_regression_fails_and_is_named(self):
        status, out, err = self.gate("suite_test_a=1,suite_test_b=0.8")
        self.assertEqual(status, 1, err)
        self.assertIn("SLOWER", out)
        self.assertIn("Regression in 4 of 4 cells: good/plain/threads:1", out)
        self.assertIn("SLOWER", (self.out / "comparison.md").read_text())

    def test_a_wider_tolerance_accepts_it(self):
        self.assertEqual(self.gate("suite_test_a=1,suite_test_b=0.8", "--tolerance", "0.3")[0], 0)

    def test_too_few_blocks_is_not_a_pass(self):
        status, out, _ = self.gate("suite_test_a=1", "--rounds", "2")
        self.assertEqual(status, 1)
        self.assertIn("too few rounds", out)

    def test_a_crash_of_head_fails(self):
        status, out, err = self.gate("suite_test_a=1", "--workloads", "bad/crash,good")
        # base crashes there too: that is no regression of head's, and it is said.
        self.assertIn("FAILED: crashed: SIGSEGV", out)
        self.assertEqual(status, 1, err)

    def test_a_base_that_crashes_everywhere_is_no_pass(self):
        status, out, err = self.suite(
            "compare-builds", str(library("a")), str(library("b")), "--build", str(self.folder / "build"),
            "--workloads", "good/other", "--rounds", "6", "--out", str(self.out),
            FAKE_CRASHES="good/other:suite_test_a")
        self.assertIn("base failed: crashed: SIGSEGV", out)
        self.assertEqual(status, 1, err)
        self.assertIn("shown in 0 cells", out)

    def test_bad_input(self):
        self.refused(["compare-builds", "/nowhere/a.so", str(library("b")), "--build",
                      str(self.folder / "build")], "/nowhere/a.so")
        self.refused(["compare-builds", str(library("a")), str(library("b")), "--tolerance=2"],
                     "--tolerance 2")


if __name__ == "__main__":
    unittest.main()
