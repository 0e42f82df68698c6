"""What the tests share: a build folder with the stand-in binary, and the command line."""
import contextlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import forked

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ["SUITE_TEST_BUILD"])
SUITE = [sys.executable, "-B", "-m", "suite"]
MEASURED = {}


def library(name):
    """libsuite_test_a.so and its like, wherever this build put them."""
    return next(BUILD.glob(f"**/libsuite_test_{name}.so"))


class SuiteCase(unittest.TestCase):
    draws = False  # a test that looks at pictures says so

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="suite-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        fake = self.folder / "build/bench"
        fake.mkdir(parents=True)
        shutil.copy(HERE / "fake_bench.py", fake / "mymalloc-bench")
        self.out = self.folder / "out"

    def environment(self, **more):
        return os.environ | {"MYMALLOC_RESULTS": str(self.folder / "results"), "LC_ALL": "C.UTF-8"} | more

    def arguments(self, *more, out=True, columns=("a",), build=None):
        words = ["--no-build", "--build", str(build or self.folder / "build"), "--seed", "7"]
        words += ["--allocators", "glibc"] if columns is not None else []
        for name in columns or ():
            words += ["--allocator", f"suite_test_{name}={library(name)}"]
        return [*words, *(["--out", str(self.out)] if out else []), *more]

    def suite(self, *words, **environment):
        """(status, standard output, standard error)"""
        if words[0] in ("compare", "compare-builds", "report", "keep", "judge", "doctor"):
            words = [words[0], "--no-build", *words[1:]]
        return forked.run([str(word) for word in words], self.environment(**environment), self.draws)

    def bench(self, *more, environment=None, **kind):
        return self.suite(*self.arguments(*more, **kind), **(environment or {}))

    def measured(self, *more, environment=None, **kind):
        """Standard output of a run that ends well, and its folder: where other tests of the program
        only look at the same one too, it is measured once and copied."""
        key = repr((more, environment, kind))
        if key not in MEASURED:
            status, out, err = self.bench(*more, environment=environment, **kind)
            self.assertEqual(status, 0, err)
            kept = tempfile.TemporaryDirectory(prefix="suite-test-")
            shutil.copytree(self.out, kept.name, symlinks=True, dirs_exist_ok=True)
            MEASURED[key] = out, kept
        else:
            shutil.copytree(MEASURED[key][1].name, self.out, symlinks=True)
        return MEASURED[key][0]

    def start(self, *words, under=()):
        """One that may be killed: what it leaves in TMPDIR goes with the test's folder."""
        return subprocess.Popen([*under, *SUITE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=self.environment(TMPDIR=str(self.folder)))

    def wait_for_samples(self, number):
        """Of slow/second, the cell that takes its time."""
        raw = self.out / "raw/slow-second.jsonl"
        deadline = time.monotonic() + 60
        while not raw.exists() or raw.read_text().count("\n") < number:
            self.assertLess(time.monotonic(), deadline, "no samples came")
            time.sleep(0.05)

    def results(self, out=None):
        return json.loads(((out or self.out) / "results.json").read_text())

    def row(self, cell, column, out=None):
        found = next(c for c in self.results(out)["cells"] if c["name"] == cell)
        return next(row for row in found["rows"] if row["column"] == column)

    def refused(self, words, *parts, **environment):
        """Bad input: status 2, one line on standard error that says these parts."""
        status, out, err = self.suite(*words, **environment)
        self.assertEqual(status, 2, err)
        lines = [line for line in err.splitlines() if line.strip()]
        self.assertEqual(len(lines), 1, err)
        self.assertTrue(lines[0].startswith("ci/bench: "), err)
        for part in parts:
            self.assertIn(part, lines[0])
        self.assertEqual(out, "")


@contextlib.contextmanager
def quiet():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        yield out
