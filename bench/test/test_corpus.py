"""The corpus of traces: what is committed is whole, small and nameless; what is recorded is catalogued."""
import lzma
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from support import BUILD, HERE, SuiteCase

from suite import Problem, corpus
from suite.programs import Program

ROOT = HERE.parents[1]
KEPT = ROOT / "bench/corpus"
TOOL = str(BUILD / "workloads/trace/mymalloc-trace")
MOST = 3_000_000  # bytes of all that is committed
# A client, which has calls of its own, and what is judged: 1,000 objects, then the end.
SERVER = "sort -n /dev/null; exec perl -e 'my %h; $h{$_} = [$_] for 1 .. 1000' \"$PROGRAM_SCRATCH\""


class Committed(unittest.TestCase):
    def test_it_is_small_and_listed(self):
        files = sorted(KEPT.glob("*.mtrace.xz"))
        self.assertGreaterEqual(len(files), 5)
        self.assertLess(sum(file.stat().st_size for file in files), MOST)
        listed = re.findall(r"^\| ([^ |]+) \|.*\| [\d.]+ \w+ \|$", (KEPT / corpus.CATALOGUE).read_text(), re.M)
        self.assertEqual(sorted(listed), [file.name.removesuffix(".mtrace.xz") for file in files])

    def test_each_can_be_read_and_names_no_folder_of_who_recorded_it(self):
        with tempfile.TemporaryDirectory() as folder:
            for file in sorted(KEPT.glob("*.mtrace.xz")):
                path = pathlib.Path(folder) / "t.mtrace"
                path.write_bytes(lzma.decompress(file.read_bytes()))
                self.assertGreater(corpus.summary(TOOL, path)["events"], 1000, file.name)
                command = corpus.command_of(corpus.header_of(path))
                self.assertFalse(re.search("/(work|home|root|tmp)/", command), command)


class Recorded(SuiteCase):
    def record(self, binds="perl"):
        folder = self.folder / "corpus/traces"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return corpus.record(Program("program/perl", ("/bin/sh", "-c", SERVER), binds), TOOL, BUILD / "bench", folder)

    def test_the_process_that_is_judged_is_kept_and_its_command_is_nameless(self):
        path, found = self.record()
        self.assertGreater(found["taken"], 1000)
        self.assertTrue(corpus.command_of(corpus.header_of(path)).endswith(" SCRATCH"))
        self.assertEqual(corpus.summary(TOOL, path), found)  # its checksum is right again
        self.assertEqual(lzma.decompress(corpus.packed(path)), path.read_bytes())
        row = dict(zip(corpus.FIELDS, corpus.row_of("perl", found, 5000, True)))
        self.assertEqual((row["program"], row["threads"], row["freed by another thread"], row["packed"]),
                         ("perl", "1", "0%", "4.88 KiB"))
        self.assertEqual(corpus.row_of("perl", found, 5000, False)[-1], "_4.88 KiB_")
        # A later run keeps the rows of what it does not record.
        rows = {name: corpus.row_of(name, found, 5000, kept) for name, kept in (("c++", True), ("redis-long", False))}
        corpus.write_catalogue(self.folder, list(rows.values()))
        self.assertEqual(corpus.listed(self.folder), rows)
        self.assertIn("--long", (self.folder / corpus.CATALOGUE).read_text())
        self.assertEqual(corpus.listed(self.folder / "new"), {})

    def test_a_program_that_is_not_there_is_named(self):
        with self.assertRaisesRegex(Problem, "no process named nobody"):
            self.record("nobody")

    def test_bad_input(self):
        for words, part in ((("--programs", "nonsense"), "unknown program 'nonsense'"),
                            (("--long", "0s"), "--long '0s': a time"), (("--long", "2h"), "from 1s to 1h"),
                            (("--long", "1s", "--programs", "lua"), "'lua' has no form of minutes; accepted: redis"),
                            (("--largest", "x"), "--largest 'x': a size"), (("--build", "none"), "build first")):
            done = subprocess.run([ROOT / "ci/record-corpus", self.folder / "out", "--no-build", "--build", BUILD, *words],
                                  capture_output=True, text=True)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1), done.stderr)
            self.assertIn(part, done.stderr)


class Long(SuiteCase):
    def test_the_load_goes_on_for_as_long_as_is_said_and_threads_are_kept(self):
        program, = corpus.long_forms(["python3"], str(BUILD / "bench/mymalloc-bench"))
        folder = self.folder / "corpus/traces"
        folder.mkdir(parents=True)
        _, found = corpus.record(program, TOOL, BUILD / "bench", folder, seconds=1)
        self.assertEqual(program.name, "program/python3-long")
        self.assertGreaterEqual(found["seconds"], 1)
        self.assertGreaterEqual(found["threads"], 5)  # four clients, a thread each
        self.assertGreater(found["remote"], 0)

    def test_each_form_says_what_it_does(self):
        for name in corpus.LONG:
            self.assertRegex(corpus.glossary.of_ready(f"{name}-long"), r"^[A-Z].{30,}\.$")


class Classes(unittest.TestCase):
    def test_the_end_of_the_class_that_holds_the_share(self):
        classes = [[8, 10], [16, 80], [4096, 9], [8192, 1]]
        self.assertEqual([corpus.at_most(classes, share) for share in (0.05, 0.5, 0.99, 1)], [8, 16, 4096, 8192])
        self.assertIsNone(corpus.at_most([], 0.5))


if __name__ == "__main__":
    unittest.main()
