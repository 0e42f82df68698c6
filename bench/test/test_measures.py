"""Ratios of speed and memory that a reader can follow, and the sizes they belong to."""
import contextlib
import io
import json
import re
import subprocess
import unittest

from support import BUILD, SUITE, SuiteCase

from suite import allocators, cells, measures, text


def sample(column, number, **entry):
    return (number, column), {"suite": {"column": column, "round": number}, "benchmarks": [entry]}


class Values(unittest.TestCase):
    def test_memory_above_the_start(self):
        entry = {"live_bytes": 2**24, "base_rss_bytes": 5 * 2**20, "peak_rss_bytes": 30 * 2**20}
        self.assertEqual(measures.above(entry), 25 * 2**20)
        self.assertIsNone(measures.above({"peak_rss_bytes": 2**20}))  # a program
        self.assertEqual(measures.above(entry | {"peak_rss_bytes": 4 * 2**20}), measures.PAGE)

    def test_what_is_kept_is_what_was_seen_last(self):
        entry = {"live_bytes": 2**24, "base_rss_bytes": 2**20, "rss_after_0.1s_bytes": 9 * 2**20,
                 "rss_after_5s_bytes": 3 * 2**20, "rss_after_10s_bytes": 2 * 2**20}
        self.assertEqual(measures.kept(entry), 2**20)
        self.assertEqual(measures.kept({"base_rss_bytes": 2**20, "held_rss_bytes": 3 * 2**20}), 2 * 2**20)
        self.assertIsNone(measures.kept({"base_rss_bytes": 2**20, "peak_rss_bytes": 2**21}))

    def test_a_cell_that_holds_nothing_says_nothing_of_memory(self):
        """Its peak is the start of a process."""
        for live, wanted in ((2**20 - 1, {}), (2**20, {0: 2**20})):
            samples = dict([sample("x", 0, live_bytes=live, base_rss_bytes=2**20, peak_rss_bytes=2**21)])
            self.assertEqual(measures.values(samples, "x", measures.ABOVE), wanted)

    def test_only_blocks_in_which_both_ended_count(self):
        samples = dict([sample("x", 0, ops_per_second=2), sample("y", 0, ops_per_second=1),
                        sample("x", 1, ops_per_second=2)])
        self.assertEqual(len(measures.log_ratios(samples, "x", "y")), 1)


class Memory(SuiteCase):
    def run_pair(self, memory, *more, cells="good/plain,good/other", speeds="suite_test_a=2", **environment):
        status, out, err = self.bench(
            "--workloads", cells, "--rounds", "7", *more, columns=("a", "b"),
            environment={"FAKE_SPEEDS": speeds, "FAKE_MEMORY": memory, "FAKE_LIVE": "64"} | environment)
        self.assertEqual(status, 0, err)
        return out

    def test_memory_has_intervals_and_ties_like_speed(self):
        out = self.run_pair("glibc=100,suite_test_a=50,suite_test_b=50")
        for key in ("above", "peak"):
            best = self.results()["groups"][0]["best"][key]
            self.assertEqual({best["first"], *best["ties"]}, {"suite_test_a", "suite_test_b"})
        ratio = self.row("good/other", "suite_test_a")["ratios"]["above"]
        self.assertEqual((ratio["median"], ratio["verdict"], ratio["blocks"]), (0.5, "below", 7))
        self.assertAlmostEqual(self.row("good/other", "suite_test_a")["ratios"]["peak"]["median"], 51 / 101)
        self.assertIn("* 0.50× [0.50–0.50]", out)
        self.assertIn("Memory: peak RSS above the process's start", out)
        self.assertIn("Peak RSS of the process", out)

    def test_the_winners_sentence_has_its_own_memory(self):
        out = self.run_pair("glibc=100,suite_test_a=150,suite_test_b=80")
        self.assertRegex(" ".join(out.split()),
                         r"good: suite_test_a is \d\.\d\d× as fast as glibc \[[^]]*\].*; it takes 1\.50× "
                         r"\[1\.50–1\.50\] glibc's memory, the least: suite_test_b, 0\.80×")
        self.out = self.folder / "second"
        out = self.run_pair("glibc=100,suite_test_a=60,suite_test_b=80")
        self.assertRegex(out, r"it takes 0\.60× \[0\.60–0\.60\]\s+glibc's memory, the least\.")

    def test_speeds_agree_with_their_ratios(self):
        self.run_pair("glibc=100", speeds="suite_test_a=1.3")
        for cell in self.results()["cells"]:
            base, mine = cell["rows"][0], cell["rows"][1]
            for key in ("speed", "above", "peak"):
                self.assertAlmostEqual(mine[key] / base[key], mine["ratios"][key]["median"], places=9)
            self.assertNotEqual(mine["raw_speed"], mine["speed"])  # what it would be without

    def test_what_stays_is_compared_too(self):
        self.run_pair("glibc=100,suite_test_a=200", cells="idle")
        rows = {row["column"]: row for row in self.results()["cells"][0]["rows"]}
        self.assertEqual(rows["suite_test_a"]["ratios"]["kept"]["median"], 1)
        self.assertIn("5 s after", (self.out / "table.txt").read_text())
        for name, mib in (("glibc", 100), ("suite_test_a", 200)):  # held for 1.9 s, as its timeline says
            self.assertAlmostEqual(rows[name]["raw_integral"], 1.9 * mib, places=3)
        self.assertAlmostEqual(rows["suite_test_a"]["ratios"]["integral"]["median"], 2)

    def test_legends_are_words(self):
        out = self.run_pair("glibc=100")
        self.assertIn("no difference to glibc shown", out)
        self.assertNotIn("distinguishable", out)


class Harness(SuiteCase):
    def measured(self, speed):
        status, out, err = self.bench("--workloads", "good", "--rounds", "7",
                                      environment={"FAKE_SPEEDS": f"suite_test_a=2,harness={speed}"})
        self.assertEqual(status, 0, err)
        return out, self.results()["groups"][0]

    def test_what_it_hides_is_said(self):
        out, group = self.measured(8)
        self.assertEqual(len(group["counted"]["speed"]), 4)
        # 2x, of which a quarter is the harness: (2 - 1/4) / (1 - 1/4)
        self.assertRegex(out, r"The harness itself takes 2[3-7]% of suite_test_a's time: without it "
                              r"(1\.9|2\.0)\d× would be 2\.[23]\d×")

    def test_a_cell_that_it_dominates_is_marked_and_left_out(self):
        out, group = self.measured(3)
        self.assertEqual(group["counted"]["speed"], [])
        self.assertEqual(len(group["dominated"]), 4)
        self.assertIn("harness 6", out)
        self.assertIn("4 cells of which the harness takes more than half", out)
        self.assertIn("about the harness in every cell", out)


class Scale(SuiteCase):
    def scales(self, *more):
        status, out, err = self.bench("--rounds", "1", *more)
        self.assertEqual(status, 0, err)
        found = {}
        for path in (self.out / "raw").glob("*.jsonl"):
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                found[entry["suite"]["cell"]] = float(entry["context"]["scale"])
        return found, out, err

    def test_cells_about_memory_are_never_scaled(self):
        found, out, _ = self.scales("--workloads", "idle,good/other", "--scale", "0.5")
        self.assertEqual(found, {"idle/1GiB": 1, "good/other": 0.5})
        first = out.splitlines()[0]
        self.assertIn("2 cells, 1 round; work × 0.5 in 1 of them, whole in 1", first)
        self.assertIn("500 k ops", out)  # its true number
        self.assertIn("work × 0.5", out)

    def test_a_short_run_leaves_them_out_and_says_so(self):
        found, out, err = self.scales("--workloads", "idle,good/other", "--scale", "0.01")
        self.assertEqual(set(found), {"good/other"})
        self.assertIn("1 cell, 1 round; work × 0.01\n", out)
        for said in (out, err, (self.out / "report.md").read_text()):
            self.assertRegex(said, r"idle/1GiB|left out, about memory and never scaled: idle/1GiB")
        self.refused(self.arguments("--workloads", "idle", "--scale", "0.01"), "idle/1GiB", "never scaled")
        self.refused(self.arguments("--workloads", "idle", "--quick"), "idle/1GiB", "never scaled")

    def test_the_first_lines_of_every_report(self):
        status, out, err = self.bench("--workloads", "good", "--rounds", "7")
        self.assertEqual(status, 0, err)
        wanted = (r"load at start \d+\.\d+; \d+ of 4 intervals of speed wider than ±10%", "4 cells, 7 rounds")
        for text_of in (out, (self.out / "table.txt").read_text(), (self.out / "report.md").read_text()):
            head = "\n".join(text_of.splitlines()[:6])
            for part in wanted:
                self.assertRegex(head, part)
        page = re.sub(r"<style>.*?</style>", "", (self.out / "report.html").read_text(), flags=re.S)
        for part in wanted:
            self.assertRegex(page[:3000], part)

    def test_a_full_run_is_what_is_documented(self):
        from suite import cli
        from support import HERE
        documented = (HERE.parents[1] / "docs/benchmarking.md").read_text()
        self.assertRegex(documented, rf"{cli.ROUNDS['full']} rounds of every\s+cell at scale "
                                     rf"{cli.SCALE['full']:g}")
        done = subprocess.run([*SUITE, "--help"], capture_output=True, text=True, env=self.environment())
        self.assertIn(f"{cli.ROUNDS['full']} rounds", " ".join(done.stdout.split()))

    def test_only_that_is_called_full(self):
        """ci/commit-results puts a run of that name in the place of the one before."""
        from suite import cli
        columns = [allocators.Column(name) for name in (*allocators.DEFAULT, "mine")]

        def name_of(*words, of=columns):
            options = cli.parser().parse_args(["--full", *words])
            with contextlib.redirect_stderr(io.StringIO()) as err:
                found = cli.scope_of(options, of)
            self.assertEqual(found == "full", not err.getvalue())
            return found, err.getvalue()
        for words in ((), ("--rounds", "6", "--scale", "0.1"), ("--seed", "3", "--timeout", "9s")):
            self.assertEqual(name_of(*words)[0], "full")
        for words in (("--rounds", "2"), ("--scale", "0.01"), ("--threads", "2"), ("--budget", "9m"), ("--memory", "64M")):
            found, said = name_of(*words)
            self.assertEqual(found, "cells", words)
            self.assertIn(" ".join(words), said)
        self.assertIn("without mymalloc", name_of(of=columns[:-2])[1])


class Kinds(unittest.TestCase):
    def test_families(self):
        self.assertTrue(cells.Cell("idle/random").is_memory)
        self.assertTrue(cells.Cell("large/blocks").is_memory)
        self.assertFalse(cells.Cell("large/churn/threads:2").is_memory)
        self.assertTrue(cells.Cell("replace/written/size:4096").is_own_work)
        self.assertFalse(cells.Cell("replace/ends/size:4096").is_own_work)

    @unittest.skipUnless((BUILD / "bench/mymalloc-bench").exists(), "the benchmark binary is not built")
    def test_families_are_cells_that_there_are(self):
        """A workload that is renamed must not be scaled, or judged, by a name that is gone."""
        known = cells.available(str(BUILD / "bench/mymalloc-bench"))
        for family in (*cells.MEMORY, *cells.OWN_WORK, *cells.NAMED):
            self.assertTrue(any(cell.is_of((family,)) for cell in known), family)
        self.assertLessEqual(set(cells.QUICK), {cell.name for cell in known})

    def test_numbers_are_aligned(self):
        lines = text.table(["a", "b"], [["x", "* 2.00× [1.90–2.10]"], ["y", "≈ 1.00× [0.90–1.10]"],
                                        ["z", "10.00× [9.90–9.99]"]])
        self.assertEqual(len({len(line) for line in lines[2:]}), 1)


if __name__ == "__main__":
    unittest.main()
