"""An allocator judged by a tolerance: status, summary, badge."""
import unittest
import xml.etree.ElementTree

from support import SuiteCase


class Judge(SuiteCase):
    def run_with(self, speeds, memory="", cells="good", rounds="6"):
        status, _, err = self.bench("--workloads", cells, "--rounds", rounds, columns=("a", "b"), environment={
            "FAKE_SPEEDS": speeds, "FAKE_MEMORY": memory})
        self.assertIn(status, (0, 1), err)

    def judge(self, *words):
        status, out, err = self.suite("judge", str(self.out), *words)
        self.assertEqual(err, "")
        self.assertEqual((self.out / "judgement.md").read_text(), out)
        return status, out

    def test_speed_and_memory_by_tolerance(self):
        self.run_with("suite_test_a=0.93,suite_test_b=1.5", "glibc=10,suite_test_a=10,suite_test_b=13")
        self.assertEqual(self.judge("suite_test_a", "--tolerance", "0.15")[0], 0)
        status, out = self.judge("suite_test_a", "--tolerance", "0.02")
        self.assertEqual(status, 1)
        self.assertIn("SLOWER", out)
        self.assertIn("**Not passed**", out)
        status, out = self.judge("suite_test_b")
        self.assertEqual(status, 1)
        self.assertIn("MORE MEMORY", out)
        self.assertEqual(self.judge("suite_test_b", "--tolerance", "0.4")[0], 0)
        badge = xml.etree.ElementTree.parse(self.out / "badge.svg").getroot()
        self.assertRegex("".join(badge.itertext()), r"suite_test_b / glibc.*speed 1\.[45]\d×, memory 1\.[23]\d×")

    def test_any_reference(self):
        self.run_with("suite_test_a=2,suite_test_b=1")
        status, out = self.judge("suite_test_b", "--reference", "suite_test_a")
        self.assertEqual(status, 1)
        self.assertRegex(out, r"good .* 0\.(49|50|51)× \[")

    def test_a_failure_is_no_pass(self):
        self.run_with("suite_test_a=2", cells="good/other,bad/crash")
        status, out = self.judge("suite_test_a")
        self.assertEqual(status, 1)
        self.assertIn("FAILED", out)

    def test_too_few_rounds_are_no_pass(self):
        self.run_with("suite_test_a=2", rounds="2")
        status, out = self.judge("suite_test_a")
        self.assertEqual(status, 1)
        self.assertIn("nothing could be judged", out)

    def test_input(self):
        self.run_with("suite_test_a=2", rounds="1", cells="good/other")
        self.refused(["judge", str(self.out), "lost"], "'lost' is no column", "glibc, suite_test_a, suite_test_b")
        self.refused(["judge", str(self.out), "glibc"], "against itself")
        self.refused(["judge", str(self.out), "suite_test_a", "--tolerance", "2"], "--tolerance 2")
        self.refused(["judge", str(self.folder), "suite_test_a"], "not a results folder")


if __name__ == "__main__":
    unittest.main()
