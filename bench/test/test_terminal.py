"""What a terminal shows: within its width, in its signs, with one clock."""
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import unittest
import unittest.mock

from support import SUITE, SuiteCase

from suite import progress, text


class Wide(SuiteCase):
    def in_terminal(self, *words, columns, **environment):
        """Standard error and output as a terminal of so many columns receives them."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        child = subprocess.Popen([*SUITE, *words], stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL,
                                 env=self.environment(**environment))
        os.close(theirs)
        received = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                break
            if not piece:
                break
            received += piece
        os.close(ours)
        return child.wait(timeout=600), received

    def test_lines_fit_80_and_100_columns(self):
        for columns in (80, 100):
            self.out = self.folder / str(columns)
            status, received = self.in_terminal(
                *self.arguments("--workloads", "good,idle", "--rounds", "6", columns=("a", "b")),
                columns=columns, FAKE_LIVE="64", FAKE_MEMORY="glibc=100,suite_test_a=70")
            self.assertEqual(status, 0, received)
            shown = received.decode().replace("\r\n", "\n")
            for line in re.split(r"[\r\n]", shown):
                if "report: /" not in line and "results in /" not in line:  # a path is as long as it is
                    self.assertLessEqual(text.width(line), columns, line)

    def test_an_ascii_terminal(self):
        status, received = self.in_terminal(
            *self.arguments("--workloads", "good", "--rounds", "6"), columns=80, LC_ALL="C")
        self.assertEqual(status, 0, received)
        received.decode("ascii")
        self.assertIn(b"1.00x", received)
        self.assertIn("1.00×", (self.out / "table.txt").read_text(encoding="utf-8"))

    def test_an_ascii_pipe(self):
        """However Python was told of it."""
        done = subprocess.run([*SUITE, *self.arguments("--workloads", "good", "--rounds", "6")],
                              capture_output=True, env=self.environment(LC_ALL="C"), timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        done.stdout.decode("ascii")
        bad = subprocess.run([*SUITE, "--workloads", "ünbekannt", "--no-build"], capture_output=True,
                             env=self.environment(LC_ALL="C"), timeout=600)
        self.assertNotIn(b"Traceback", bad.stderr)


class Closed(SuiteCase):
    """The terminal goes away while cells run."""

    def hung_up(self, *words, ignoring):
        """The status of a run whose terminal was closed after two samples."""
        def lead():
            signal.signal(signal.SIGHUP, signal.SIG_IGN if ignoring else signal.SIG_DFL)
            fcntl.ioctl(1, termios.TIOCSCTTY)
        ours, theirs = pty.openpty()
        child = subprocess.Popen([*SUITE, *self.arguments("--workloads", "slow/second", *words)], stdin=subprocess.DEVNULL,
                                 stdout=theirs, stderr=theirs, env=self.environment(), start_new_session=True,
                                 preexec_fn=lead)
        os.close(theirs)
        self.wait_for_samples(2)
        os.close(ours)
        child.wait(timeout=600)
        return json.loads((self.out / "run.json").read_text())

    def test_what_was_finished_is_reported(self):
        record = self.hung_up("--rounds", "50", ignoring=False)
        self.assertEqual(record["stopped"], "interrupted")
        self.assertGreaterEqual(self.row("slow/second", "glibc")["runs"], 1)

    def test_a_run_that_was_disowned_goes_on(self):
        self.assertTrue(self.hung_up("--rounds", "3", ignoring=True)["finished"])
        self.assertEqual(self.row("slow/second", "glibc")["runs"], 3)


class Tty(io.StringIO):
    def isatty(self):
        return True


class Lines(unittest.TestCase):
    speeds = {name: 1e6 * place for place, name in
              enumerate(("glibc", "mimalloc", "tcmalloc", "jemalloc", "mymalloc", "mymalloc-again"), 1)}

    def test_a_log_has_the_figures_as_they_come_within_80_columns(self):
        out = io.StringIO()
        shown = progress.Progress(out)
        shown.begin(780, None)
        for number in range(2):
            shown.block(number, "larson/remote50/threads:64", self.speeds, "glibc")
        lines = out.getvalue().splitlines()
        self.assertTrue(all(len(line) < 80 for line in lines), lines)
        self.assertIn("mymalloc-again 6.00×", " ".join(out.getvalue().split()))
        self.assertIn("glibc 1.00 M/s", out.getvalue())

    def test_a_terminal_of_hardly_a_column(self):
        with unittest.mock.patch.dict(os.environ, COLUMNS="1"):
            shown = progress.Progress(Tty())
        shown.begin(10, None)
        shown.block(0, "a/b", self.speeds, "glibc")

    def test_one_clock(self):
        out = Tty()
        shown = progress.Progress(out)
        shown.begin(10, shown_deadline := __import__("time").monotonic() + 100)
        shown.block(0, "a/b", {"glibc": 1e6}, "glibc")
        shown.running(0, "a/c", "glibc")
        last = out.getvalue().split("\r")[-1]
        self.assertEqual(len(re.findall(r"\d+:\d\d", last)), 1, last)
        self.assertGreater(shown_deadline, 0)

    def test_a_wide_table_goes_on_below(self):
        head = ["name", *(f"column {i}" for i in range(12))]
        lines = text.table(head, [["x", *"0123456789ab"], ["y", "failed: a story"]], most=60)
        self.assertTrue(all(len(line) <= 60 for line in lines))
        self.assertEqual(sum(line.startswith("name") for line in lines), 3)
        self.assertEqual(sum("a story" in line for line in lines), 1)

    def test_a_ratio_stays_beside_its_figure(self):
        head = ["name", "speed", "vs x", "memory", "vs x"]
        lines = text.table(head, [["long name", "1.00 M/s", "1.00×", "10.0 MiB", "1.00×"]], most=40)
        self.assertEqual([line.split() for line in lines if line.startswith("name")],
                         [["name", "speed", "vs", "x"], ["name", "memory", "vs", "x"]])


if __name__ == "__main__":
    unittest.main()
