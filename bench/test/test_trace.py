"""Recorded traces as cells: replayed under each allocator, with memory over time."""
import json
import lzma
import subprocess
import unittest

from support import BUILD, SuiteCase

from suite import measures, timeline

TOOL = BUILD / "workloads/trace/mymalloc-trace"
HELD = 20 * 2**20  # of the one large object that the recorded program keeps


class Traces(SuiteCase):
    @classmethod
    def setUpClass(cls):
        run = SuiteCase()
        run.setUp()
        cls.addClassCleanup(run.doCleanups)
        cls.recorded = run.folder / "perl.mtrace"
        done = subprocess.run([TOOL, "record", "-q", "-o", cls.recorded, "--", "perl", "-e",  # it frees nothing at its end
                               f"my $x = 'a' x {HELD}; my %h; $h{{$_}} = [$_] for 1 .. 5000; kill 'KILL', $$"], timeout=60)
        assert done.returncode == 128 + 9, done

    def setUp(self):
        super().setUp()
        self.corpus = self.folder / "corpus"
        self.corpus.mkdir()
        (self.corpus / "plain.mtrace").write_bytes(self.recorded.read_bytes())
        (self.corpus / "small.mtrace.xz").write_bytes(lzma.compress(self.recorded.read_bytes()))

    def replay(self, *names, rounds="2", rest="0.1s"):
        return self.bench("--trace", *map(str, names), "--rounds", rounds, "--rest", rest, build=BUILD)

    def test_each_trace_of_a_folder_is_a_cell(self):
        status, out, err = self.replay(self.corpus, rounds="1", rest="1s")
        self.assertEqual(status, 0, err)
        for name in ("trace/plain", "trace/small"):
            for column in ("glibc", "suite_test_a"):
                row = self.row(name, column)
                self.assertEqual(row["runs"], 1)
                self.assertGreater(row["above"], HELD)  # every object is written
                self.assertLess(row["above"], 3 * HELD)  # perl copies it once
                for moment in ("0.1", "1"):
                    self.assertGreater(row["more"][f"rss_after_{moment}s_bytes"], HELD)  # what was left live stays
                self.assertGreater(row["integral"], 0.5 * HELD / 2**20)  # of one second and more
                self.assertGreater(row["timeline"][-1][2], HELD)
            self.assertGreater(self.row(name, "glibc")["more"]["live_bytes"], HELD)
            self.assertEqual(next(c for c in self.results()["cells"] if c["name"] == name)["threads"], 1)
        self.assertIn("RSS × time", out)
        page = (self.out / "report.html").read_text()
        self.assertIn("what the program itself wrote", page)

    def test_a_damaged_trace_is_a_failure_with_its_reason(self):
        content = bytearray(self.recorded.read_bytes())
        content[len(content) // 2] ^= 0xff
        (self.corpus / "plain.mtrace").write_bytes(content)
        status, _, _ = self.replay(self.corpus / "plain.mtrace")
        self.assertEqual(status, 1)
        self.assertIn("damaged", self.row("trace/plain", "glibc")["failure"])

    def test_it_goes_on_with_the_same_trace_only(self):
        status, _, err = self.replay(self.corpus / "plain.mtrace")
        self.assertEqual(status, 0, err)
        run = json.loads((self.out / "run.json").read_text())
        (self.out / "run.json").write_text(json.dumps(run | {"rounds": 3, "finished": False}))
        words = ["--resume", "--no-build", "--out", str(self.out)]
        status, _, err = self.suite(*words)
        self.assertEqual(status, 0, err)
        self.assertEqual(self.row("trace/plain", "glibc")["runs"], 3)
        (self.corpus / "plain.mtrace").write_bytes(self.recorded.read_bytes() + b"x")
        self.refused(words, "plain.mtrace is not the trace that the run began with")

    def test_bad_input(self):
        (self.corpus / "other.mtrace").write_text("text\n")
        (self.corpus / "empty").mkdir()
        (self.corpus / "plain.mtrace.xz").write_text("not xz\n")
        for names, parts in (((self.corpus / "none.mtrace",), ("none.mtrace", "No such file")),
                             ((self.corpus / "other.mtrace",), ("other.mtrace: no trace",)),
                             ((self.corpus / "plain.mtrace.xz",), ("plain.mtrace.xz: cannot be read",)),
                             ((self.corpus / "empty",), ("holds no file *.mtrace",)),
                             ((self.recorded, self.recorded), ("have the same name",))):
            self.refused(self.arguments("--trace", *map(str, names)), *parts)
        self.refused(self.arguments("--trace", "x", "--rest", "2m"), "--rest 120: at most 60s")
        self.refused(self.arguments("--trace", "x", "--programs", "lua"), "choose one of")
        self.refused(self.arguments("--rest", "1s"), "with --server, --programs or --trace")


class OverTime(unittest.TestCase):
    POINTS = [[0, 0], [1, 4], [3, 4], [4, 0]]

    def test_the_integral_is_the_area(self):
        self.assertEqual(timeline.integral(self.POINTS), 2 + 8 + 2)
        self.assertEqual(timeline.integral(self.POINTS, base=2), 1 + 4 + 1)
        self.assertEqual(timeline.integral([]), 0)

    def test_a_part_begins_at_nought(self):
        self.assertEqual(timeline.part(self.POINTS, 1, 3), [[0, 4], [2, 4]])

    def test_few_points_are_kept_the_last_among_them(self):
        kept = timeline.kept([[i, i] for i in range(1000)])
        self.assertLessEqual(len(kept), timeline.MOST + 1)
        self.assertEqual((kept[0], kept[-1]), ([0, 0, 0], [999, 0, 999]))

    def test_what_holds_nothing_has_no_integral(self):
        self.assertIsNone(measures.integral({"live_bytes": 1000, "rss_integral_bytes_s": 5e6}))
        self.assertIsNone(measures.integral({"live_bytes": 2**21}))
        self.assertEqual(measures.integral({"rss_integral_bytes_s": 3 * 2**20}), 3)  # a program


if __name__ == "__main__":
    unittest.main()
