"""report.html in a browser: what is chosen is shown, and every figure is the suite's own."""
import json
import re
import unittest

from browser import Browser
from support import SuiteCase

from suite import measures, stats, text
from suite.groups import ratio_dict
from suite.store import Folder

COLUMNS = ("glibc", "suite_test_a", "suite_test_b")
CELLS = ("good/plain/threads:1", "good/plain/threads:2", "good/plain/threads:64", "good/other", "idle/1GiB")


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        run = SuiteCase()
        run.setUp()
        cls.addClassCleanup(run.doCleanups)
        # b is no faster for sure; bad/crash fails under both.
        status, _, err = run.bench("--workloads", "good,idle,bad/crash", "--rounds", "7", "--scale", "1",
                                   columns=("a", "b"), environment={"FAKE_SPEEDS": "suite_test_a=2,suite_test_b=1.001"})
        assert status == 1, err
        cls.folder, cls.page = Folder(run.out), run.out / "report.html"
        cls.browser = Browser()
        cls.browser.__enter__()
        cls.addClassCleanup(cls.browser.__exit__)
        cls.browser.call("Network.enable")

    def open(self, fragment="", **kind):
        del self.browser.errors[:]
        self.browser.open(self.page, fragment, **kind)
        self.assertEqual([error for error in self.browser.errors if "file://" not in error], [])

    def table(self):
        """[[text of each cell]] of the explorer, its head first."""
        return self.browser.run("[...document.querySelectorAll('#table tr')].map(row => "
                                "[...row.children].map(cell => cell.textContent.trim()))")

    def rows(self):
        """{cell: {column: text}}"""
        head, *rows = self.table()
        return {re.sub(r" [⁺ʰ]", "", row[0]): dict(zip(head[1:], row[1:])) for row in rows}

    def expected(self, cell, column, base, measure):
        return stats.log_ratio(measures.log_ratios(self.folder.samples(cell), column, base, measure))

    def same(self, shown, wanted, where):
        """But for the last digit: 0.995 is one thing or the other, as the last bit has it."""
        mark, figure = re.fullmatch(r"(\D*)([\d.]+)×", shown).groups()
        mark_wanted, figure_wanted = re.fullmatch(r"(\D*)([\d.]+)×", wanted).groups()
        self.assertEqual(mark, mark_wanted, where)
        self.assertLessEqual(abs(float(figure) - float(figure_wanted)), 0.0101 * max(1, float(figure) / 10), where)

    def test_any_reference_gives_the_suites_own_figures(self):
        for base in COLUMNS:
            for measure in (measures.SPEED, measures.CPU):
                self.open(f"#ref={base}&m={measure.key}")
                titles = self.browser.run("Object.fromEntries([...document.querySelectorAll('#table button.open')].map("
                                          "b => [b.dataset.cell + ' ' + b.dataset.column, b.parentNode.title]))")
                rows = self.rows()
                for cell in CELLS:
                    for place, column in enumerate(COLUMNS):
                        if column == base:
                            self.assertEqual(rows[cell][column], "1.00×")
                            continue
                        found = ratio_dict(self.expected(cell, column, base, measure))
                        self.same(rows[cell][column], text.verdict(found), (cell, column, base))
                        spans = [re.search(r"\[([\d.]+)–([\d.]+)\]", told).groups()
                                 for told in (titles[f"{cell} {place}"], text.span(found))]
                        for mine, wanted in zip(*spans):
                            self.same(f"{mine}×", f"{wanted}×", (cell, column, base))

    def test_a_mean_is_the_reports_own(self):
        self.open()
        group, = (g for g in json.loads((self.folder.path / "results.json").read_text())["groups"]
                  if g["workload"] == "good")
        for row in group["rows"][1:]:
            self.assertEqual(self.rows()["good mean of 4"][row["column"]], f"{row['ratios']['speed']['median']:.2f}×")

    def test_what_is_chosen_is_shown_and_stands_in_the_address(self):
        self.open("#m=peak&hide=suite_test_b&threads=1,64&sort=suite_test_a:up")
        head, *rows = self.table()
        self.assertEqual(head, ["cell", "glibc", "suite_test_a ↑"])
        self.assertEqual({row[0].split(" ")[0] for row in rows}, {"good/plain/threads:1", "good/plain/threads:64"})
        self.browser.run("document.querySelector('#columns input[value=suite_test_b]').click()")
        self.browser.run("document.getElementById('measure').value = 'speed'; "
                         "document.getElementById('measure').onchange()")
        self.assertEqual(self.table()[0], ["cell", "suite_test_b", "glibc", "suite_test_a ↑"])
        self.assertEqual(self.browser.run("location.hash"), "#threads=1,64&sort=suite_test_a%3Aup")
        self.browser.run("document.getElementById('reset').click()")
        self.assertEqual(len(self.rows()), len(CELLS) + 1 + 3)  # a cell that failed, a mean a workload

    def test_sorting(self):
        self.open("#sort=suite_test_a:down")
        shown = [row["suite_test_a ↓"] for row in self.rows().values() if row["suite_test_a ↓"].endswith("×")]
        figures = [float(figure.rstrip("×").lstrip("≈ ")) for figure in shown]
        self.assertEqual((figures, len(figures)), (sorted(figures, reverse=True), len(CELLS)))

    def test_a_cells_samples_distribution_and_memory_over_time(self):
        self.open()
        self.browser.run("document.querySelector('button.open[data-cell=\"idle/1GiB\"]').click()")
        self.assertTrue(self.browser.run("document.getElementById('cell').open"))
        self.assertEqual(self.browser.run("location.hash"), "#cell=idle%2F1GiB")
        titles = self.browser.run("[...document.querySelectorAll('#cell figcaption')].map(t => t.textContent)")
        self.assertEqual([title.split(": ")[-1] for title in titles],
                         ["samples in run order", "distribution", "Resident memory over time, first run"])
        marks = self.browser.run("[...document.querySelectorAll('#cell figure')].map(f => f.querySelectorAll('.mark').length)")
        self.assertEqual(marks[:2], [3 * 7, 3 * 7])
        self.assertIn("free much, then make no call", self.browser.run("document.getElementById('cell').textContent.toLowerCase()"))
        self.browser.run("document.querySelector('#cell button.close').click()")
        self.assertFalse(self.browser.run("document.getElementById('cell').open"))
        self.open("#cell=good/other")
        self.assertIn("good/other", self.browser.run("document.querySelector('#cell h2').textContent"))

    def test_a_failure_is_told(self):
        self.open()
        self.assertEqual(self.rows()["bad/crash"]["suite_test_a"], "failed")
        self.assertIn("SIGSEGV", self.browser.run("document.querySelector('#table td.failed[title]').title"))

    def test_an_address_that_means_nothing_shows_the_whole(self):
        self.open("#m=nonsense&ref=none&sort=x:down&cell=lost&threads=")
        self.assertEqual(len(self.table()), 1 + len(CELLS) + 1 + 3)

    def test_on_a_phone_the_column_in_question_stays(self):
        for dark in (False, True):
            self.open("#m=speed&ref=glibc", width=390, height=844, dark=dark)
            self.assertLessEqual(self.browser.run("document.documentElement.scrollWidth"), 390)
            stays = self.browser.run("""(() => {
                const frame = document.querySelector('.tall'), at = document.querySelector('#table tbody tr:nth-child(2) td');
                document.querySelectorAll('#table th:nth-child(n+3)').forEach(th => { th.style.minWidth = '300px'; });
                at.scrollIntoView({block: 'center'});
                frame.scrollLeft = 400;
                const box = at.getBoundingClientRect();
                const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
                return [frame.scrollLeft > 100, box.left >= 0 && box.right <= 390, at.contains(top)];
            })()""")
            self.assertEqual(stays, [True, True, True])
            back = self.browser.run("getComputedStyle(document.body).backgroundColor")
            self.assertEqual(back, "rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")

    def test_anchors_lead_somewhere(self):
        self.open()
        self.assertEqual(self.browser.run("[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.hash.slice(1))"
                                          ".filter(name => !document.getElementById(name))"), [])

    def test_charts_are_drawn_when_opened(self):
        self.open()
        self.browser.run("document.querySelectorAll('details.charts').forEach(d => { d.open = true; })")
        self.browser.call("Runtime.evaluate", expression="new Promise(done => setTimeout(done, 200))", awaitPromise=True)
        drawn = self.browser.run("[...document.querySelectorAll('details.charts')].map(d => d.querySelectorAll('svg.chart').length)")
        self.assertGreaterEqual(drawn[0], 2)  # speed against memory: good and idle
        self.assertEqual(drawn[1:], [1])  # good/plain over threads; of sizes there is nothing, and so no heading


if __name__ == "__main__":
    unittest.main()
