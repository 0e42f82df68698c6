"""What the reports say, from runs whose truth is known."""
import csv
import json
import re
import unittest

from support import SuiteCase, library

from suite import environment, text, units


class Reports(SuiteCase):
    def run_pair(self, speeds, *more, cells="good/plain,good/other", columns=("a", "b")):
        return self.measured("--workloads", cells, "--rounds", "8", *more, columns=columns,
                             environment={"FAKE_SPEEDS": speeds})

    def test_the_faster_one_wins_and_the_loser_stays(self):
        out = self.run_pair("glibc=1,suite_test_a=2,suite_test_b=0.5")
        group, = self.results()["groups"]
        self.assertEqual(group["best"]["speed"]["first"], "suite_test_a")
        self.assertEqual(group["best"]["speed"]["ties"], [])
        ratios = {row["column"]: row["ratios"]["speed"] for row in group["rows"]}
        self.assertTrue(ratios["suite_test_a"]["low"] <= 2 <= ratios["suite_test_a"]["high"])
        self.assertTrue(ratios["suite_test_b"]["low"] <= 0.5 <= ratios["suite_test_b"]["high"])
        for name in ("report.md", "report.html", "table.txt"):
            content = (self.out / name).read_text()
            self.assertIn("suite_test_b", content)
            self.assertIn("0.50×", content)
        self.assertRegex(out, r"good: suite_test_a is (1\.9|2\.0)\d× as fast as glibc \[")

    def test_equal_ones_show_no_difference(self):
        self.run_pair("glibc=1,suite_test_a=2,suite_test_b=2")
        best = self.results()["groups"][0]["best"]["speed"]
        self.assertEqual({best["first"], *best["ties"]}, {"suite_test_a", "suite_test_b"})
        self.assertIn("no difference shown to suite_test_", (self.out / "report.md").read_text())

    def test_a_control_that_hardly_fails(self):
        """75 of 79 is less than 95 %, and is not called that."""
        said = text.control_sentence({"column": "x", "cells": [0] * 79, "equal": 75, "share": 75 / 79, "holds": False})
        self.assertIn("75 of 79 cells (94.9%, at least 95 % wanted) – DOES NOT HOLD", said)

    def test_the_control(self):
        out = self.run_pair("suite_test_a=2", "--control", "suite_test_a", columns=("a",))
        control = self.results()["control"]
        self.assertEqual(control["column"], "suite_test_a")
        self.assertEqual(len(control["cells"]), 4)
        self.assertIn("A/A control (suite_test_a against itself)", out)
        self.assertNotIn("suite_test_a-again", [c["name"] for c in self.results()["columns"]])

    def test_more_threads_than_cores_is_labelled(self):
        self.run_pair("glibc=1,suite_test_a=2")
        crowded = {cell["name"]: cell["crowded"] for cell in self.results()["cells"]}
        self.assertEqual(crowded["good/plain/threads:1"], environment.usable_cpus() < 1)  # of a container's quota
        self.assertTrue(crowded["good/plain/threads:64"])
        self.assertIn("64 threads, more than cores", (self.out / "report.md").read_text())

    def test_the_page_needs_nothing_from_outside(self):
        self.run_pair("glibc=1,suite_test_a=2")
        page = (self.out / "report.html").read_text()
        self.assertIsNone(re.search(r'(src|href)="(?!#)', page))
        self.assertNotRegex(page, r"@import|url\(|fetch\(|XMLHttpRequest|import\(")
        self.assertEqual(set(re.findall(r"https?://[^\s\"']+", page)), {"http://www.w3.org/2000/svg"})  # a name
        self.assertIn("prefers-color-scheme: dark", page)
        ids = re.findall(r'\bid="([^"]+)"', page)
        for reference in re.findall(r'href="#([^"$]+)"', page):
            self.assertIn(reference, ids)

    def test_what_a_sample_says_cannot_end_the_pages_script(self):
        self.run_pair("glibc=1,suite_test_a=2", "--allocator", f"x{'+' * 3}y={library('b')}", columns=("a",))
        page = (self.out / "report.html").read_text()
        data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
        self.assertNotIn("<", data)
        self.assertEqual([column["name"] for column in json.loads(data)["columns"]], ["glibc", "x+++y", "suite_test_a"][:1]
                         + [c["name"] for c in self.results()["columns"][1:]])

    def test_drawings_stand_alone(self):
        self.run_pair("glibc=1,suite_test_a=2")
        self.draws = True
        self.assertEqual(self.suite("report", str(self.out))[0], 0)
        names = {path.name for path in (self.out / "plots").iterdir()}
        self.assertEqual(names, {"ratio-good.png", "pareto.png", "scaling-good-plain-threads-N.png"})
        for name in names:
            self.assertEqual((self.out / "plots" / name).read_bytes()[:8], b"\x89PNG\r\n\x1a\n")

    def test_csv_has_a_line_per_cell_and_allocator(self):
        self.run_pair("glibc=1,suite_test_a=2")
        with open(self.out / "results.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), 4 * 3)
        mine = [row for row in rows if row["allocator"] == "suite_test_a"]
        self.assertTrue(all(1.9 < float(row["speed_ratio"]) < 2.1 for row in mine))
        self.assertTrue(all(row["peak"] and row["above_verdict"] for row in mine))

    def test_reports_are_made_again_from_the_samples(self):
        self.run_pair("glibc=1,suite_test_a=2")
        before = (self.out / "report.md").read_text()
        for name in ("report.md", "results.json", "report.html"):
            (self.out / name).unlink()
        status, _, err = self.suite("report", str(self.out))
        self.assertEqual(status, 0, err)
        self.assertEqual((self.out / "report.md").read_text(), before)


class Text(unittest.TestCase):
    def test_columns_are_aligned(self):
        lines = text.table(["a", "bb"], [["long name", "1.0×"], ["x", "20.0×"], ["y", "crashed: SIGSEGV"]][:2])
        self.assertEqual(len({len(line) for line in lines}), 1)

    def test_a_failure_does_not_widen_the_figures(self):
        lines = text.table(["name", "n", "m"], [["x", "1", "2"], ["y", "crashed: a long story"]])
        self.assertEqual(lines[0], "name  n  m")
        self.assertEqual(lines[3], "y     crashed: a long story")

    def test_units(self):
        self.assertEqual([units.count(v) for v in (0, 7, 1234, 5.5e7)], ["0", "7", "1.23 k", "55.0 M"])
        self.assertEqual([units.size(v) for v in (100, 2048, 3 * 2**20)], ["100 B", "2.00 KiB", "3.00 MiB"])
        self.assertEqual(units.seconds(2.5e-7), "250 ns")
        self.assertEqual(units.duration("2h"), 7200)
        self.assertRaises(ValueError, units.duration, "nan")


if __name__ == "__main__":
    unittest.main()
