"""An allocator judged by a tolerance: status, summary, badge."""
import unittest
import xml.etree.ElementTree

from support import SuiteCase


class Judge(SuiteCase):
    def run_with(self, speeds, memory="", cells="good", rounds="6", crashes=""):
        status, _, err = self.bench("--workloads", cells, "--rounds", rounds, columns=("a", "b"), environment={
            "FAKE_SPEEDS": speeds, "FAKE_MEMORY": memory, "FAKE_CRASHES": crashes})
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

    def test_a_failure_in_every_cell_has_a_badge(self):
        """Else the one of another allocator, or of an earlier run, would be shown on."""
        self.run_with("suite_test_a=2", cells="good/other", crashes="good/other:suite_test_a")
        self.judge("suite_test_b")
        self.assertEqual(self.judge("suite_test_a")[0], 1)
        self.assertRegex((self.out / "badge.svg").read_text(), r"suite_test_a / glibc.*failed")

    def test_a_failure_counts_where_no_mean_is_made(self):
        """Latency cells are in no mean; of what fails under the reference, too, there is none."""
        self.run_with("suite_test_a=2", cells="good/other,tails", crashes="tails/latency:suite_test_a")
        status, out = self.judge("suite_test_a")
        self.assertEqual((status, out.count("FAILED")), (1, 1), out)
        self.assertRegex(out, r"\| tails \| 1 \|.*FAILED")
        self.assertIn(">failed<", (self.out / "badge.svg").read_text())
        self.assertEqual(self.judge("suite_test_b")[0], 0)

    def test_a_failure_counts_where_the_reference_fails_too(self):
        self.run_with("suite_test_a=2", cells="good", crashes="good/other:glibc,good/other:suite_test_a")
        status, out = self.judge("suite_test_a")
        self.assertEqual(status, 1)
        self.assertIn("FAILED", out)
        status, out = self.judge("suite_test_b")
        self.assertNotIn("FAILED", out)

    def test_what_was_not_run_is_told(self):
        self.run_with("suite_test_a=2", cells="good,slow")
        (self.out / "raw/slow-second.jsonl").unlink()
        status, out = self.judge("suite_test_a")
        self.assertEqual(status, 0)
        self.assertIn("Not run: slow/second.", out)

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
