"""The history's page: comparable runs only, changes that are sure, and what is drawn."""
import csv
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from support import HERE, SuiteCase

from suite import history, history_page

try:
    from browser import PROGRAM, Browser
except ImportError:
    PROGRAM = None

ROOT = HERE.parents[1]


def row(run, speed=None, workload="larson", **more):
    """A line of history.csv: day `run`, ratio with an interval of 2 % to each side."""
    def around(value):
        return {"": f"{value:.4f}", "_low": f"{value * 0.98:.4f}", "_high": f"{value * 1.02:.4f}"}
    line = dict.fromkeys(history.FIELDS, "") | {
        "run": f"run-{run}", "started": f"2026-11-{run:02} 10:00:00 +0000", "commit": f"{run:040x}", "system": "Debian 12",
        "glibc": "glibc 2.36", "cpus": "2", "scale": "0.1", "rounds": "6", "workload": workload, "cells": "3",
        "allocator": "mymalloc", "version": "mymalloc 1.0"}
    if speed:
        line |= {f"speed{part}": text for part, text in around(speed).items()}
    return line | more


class Changes(unittest.TestCase):
    def changes(self, *rows):
        return [(entry[5], entry[4]) for entry in history_page.told(list(rows))]

    def test_what_is_sure_is_told_and_what_is_not_is_not(self):
        self.assertEqual(self.changes(row(1, 1.00), row(2, 1.02)), [])
        (said, word), = self.changes(row(1, 1.00), row(2, 1.20))
        self.assertEqual(word, "better")
        self.assertTrue(said.startswith("1.20× ["), said)
        (_, word), = self.changes(row(1, 1.20), row(2, 1.00))
        self.assertEqual(word, "WORSE")

    def test_more_memory_is_worse(self):
        memory = {f"peak{part}": text for part, text in (("", "1.5"), ("_low", "1.45"), ("_high", "1.55"))}
        less = {f"peak{part}": text for part, text in (("", "1.0"), ("_low", "0.98"), ("_high", "1.02"))}
        self.assertEqual([word for _, word in self.changes(row(1, **less), row(2, **memory))], ["WORSE"])

    def test_only_comparable_runs(self):
        for key in history_page.ALIKE:
            self.assertEqual(self.changes(row(1, 1.0), row(2, 2.0, **{key: "other"})), [], key)

    def test_a_run_of_another_kind_between_does_not_hide_a_change(self):
        self.assertEqual(len(self.changes(row(1, 1.0), row(2, 1.5, scale="1"), row(3, 1.5))), 1)

    def test_without_an_interval_nothing_is_said(self):
        self.assertEqual(self.changes(row(1, 1.0), row(2, 2.0, speed_low="", speed_high="")), [])

    def test_the_line_is_wide_enough(self):
        """1.96 standard errors are an interval's half; two of them add as squares."""
        found = history_page.change((1, 1 / 1.0198, 1.0198), (1.1, 1.1 / 1.0198, 1.1 * 1.0198))
        self.assertAlmostEqual(found[0], 1.1)
        self.assertAlmostEqual(found[2] / found[0], 1.0198 ** (2**0.5 * 2.5758 / 1.95996), places=4)


class Files(SuiteCase):
    def history(self, *words):
        done = subprocess.run([sys.executable, str(ROOT / "ci/history"), *map(str, words)], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def test_a_kept_run_has_its_report_beside_the_history(self):
        self.assertEqual(self.bench("--workloads", "good", "--rounds", "6")[0], 0)
        self.assertEqual(self.suite("keep", str(self.out))[0], 0)
        before = sorted(self.out.iterdir())
        status, out, err = self.history(self.folder / "site", "--results", self.out.parent)
        self.assertEqual(status, 0, err)
        self.assertIn("1 reports", out)
        self.assertEqual(sorted(self.out.iterdir()), before)
        index = (self.folder / "site/index.html").read_text()
        self.assertIn(f'<a href="{self.out.name}.html">', index)
        self.assertIn("good/other", (self.folder / f"site/{self.out.name}.html").read_text())

    def test_bad_input(self):
        for content, part in ((None, "No such file"), ("run,nonsense\n", "nonsense"),
                              (",".join(history.FIELDS) + "\n", "no run yet")):
            if content:
                (self.folder / "history.csv").write_text(content)
            status, _, err = self.history(self.folder / "site", "--results", self.folder)
            self.assertEqual((status, len(err.splitlines())), (2, 1), err)
            self.assertIn(part, err)


@unittest.skipUnless(PROGRAM, "chromium is not installed")
class Drawn(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        rows = [row(1, 1.0), row(2, 1.3), row(3, 1.31, cells="4"), row(1, 1.0, allocator="other"),
                row(2, 1.0, allocator="other"), row(1, 0.9, workload="xmalloc"), row(4, 2.0, system="Debian 13")]
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.page = pathlib.Path(folder.name) / "index.html"
        cls.page.write_text(history_page.page(rows))
        cls.browser = Browser()
        cls.browser.__enter__()
        cls.addClassCleanup(cls.browser.__exit__)

    def open(self, fragment="", **kind):
        del self.browser.errors[:]
        self.browser.open(self.page, fragment, **kind)
        self.assertEqual(self.browser.errors, [])

    def count(self, selector):
        return self.browser.run(f"document.querySelectorAll({selector!r}).length")

    def test_a_chart_a_workload_and_a_ring_a_change(self):
        self.open()
        self.assertEqual(self.browser.run("[...document.querySelectorAll('figcaption')].map(t => t.textContent)"),
                         ["larson", "xmalloc"])
        self.assertEqual(self.count("#drawn .mark"), 3 + 2 + 1)
        self.assertEqual(self.count("#drawn .changed"), 1)
        said = self.browser.run("[...document.querySelectorAll('.mark title')].map(t => t.textContent)")
        self.assertTrue(any(re.search(r"mymalloc 1.0\), run-2: 1.30× \[.*\]; 1.30× \[.*\] of the run before", text)
                            for text in said), said)

    def test_another_system_and_its_address(self):
        self.open("#system=Debian%2013")
        self.assertEqual((self.browser.run("document.getElementById('system').value"), self.count("#drawn .mark")), ("Debian 13", 1))

    def test_on_a_phone_and_in_the_dark(self):
        for dark in (False, True):
            self.open(width=390, height=844, dark=dark)
            self.assertLessEqual(self.browser.run("document.documentElement.scrollWidth"), 390)
            back = self.browser.run("getComputedStyle(document.body).backgroundColor")
            self.assertEqual(back, "rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")


class Committed(unittest.TestCase):
    def test_the_projects_own_history_can_be_read(self):
        rows = history.read(ROOT / "results" / history.HISTORY)
        self.assertGreater(len(rows), 100)
        with open(ROOT / "results" / history.HISTORY, encoding="utf-8", newline="") as file:
            self.assertEqual(sum(1 for _ in csv.reader(file)) - 1, len(rows))
        self.assertIn("larson", history_page.page(rows))


if __name__ == "__main__":
    unittest.main()
