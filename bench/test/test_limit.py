"""A memory cgroup around each process: whether it survives, and how fast."""
import pathlib
import tempfile
import unittest

from support import BUILD, SuiteCase
from test_programs import LIBRARY

from suite import Problem, limit, process

HOLD = "my $x = 'a' x ($ARGV[0] * 2**20); substr($x, 0, 1) = 'b'; print length $x"


def group_can_be_made():
    try:
        limit.Limit(2**26)
        return True
    except Problem:
        return False


@unittest.skipUnless(group_can_be_made(), "no memory cgroup can be made here")
class Group(SuiteCase):
    def perl(self, size, mib):
        return process.run(["perl", "-e", HOLD, str(mib)], process.clean_environment(), 60, limit=limit.Limit(size))

    def test_who_fits_survives_and_who_does_not_is_told(self):
        self.assertIsNone(self.perl(2**26, 4).failure)
        self.assertEqual(self.perl(2**26, 200).failure, "did not survive 64.0 MiB of memory")

    def test_nothing_is_left_behind(self):
        group = limit.Limit(2**26)
        process.run(["true"], process.clean_environment(), 60, limit=group)
        self.assertEqual(list(group.parent.glob("mymalloc-bench-*")), [])

    def test_a_row_says_who_did_not_survive(self):
        status, out, _ = self.bench("--program", "--rounds", "1", "--memory", "64M", "--allocator", f"other={LIBRARY}", "--",
                                    "perl", "-e", HOLD, "200", build=BUILD, columns=())
        self.assertEqual(status, 1)
        self.assertIn("did not survive 64.0 MiB", self.row("program/perl", "glibc")["failure"])
        self.assertIn("each process in a memory cgroup of 64.0 MiB", out)


class Nowhere(SuiteCase):
    def test_where_none_can_be_made_it_says_why(self):
        with tempfile.TemporaryDirectory() as folder:
            gone = pathlib.Path(folder) / "gone"
            for files in (limit.V1, limit.V2):
                with self.assertRaisesRegex(Problem, "no memory cgroup can be made here .*gone: No such file"):
                    limit.Limit(2**26, [(gone, files)])
        with self.assertRaisesRegex(Problem, "none is mounted"):
            limit.Limit(2**26, [])

    def test_version_two_is_asked_in_its_own_words(self):
        """Plain files stand for the kernel's: what is written to them, and the kill that is counted."""
        with tempfile.TemporaryDirectory() as folder:
            parent = pathlib.Path(folder)
            (parent / "cgroup.subtree_control").write_text("cpu\n")
            group = limit.Limit.__new__(limit.Limit)
            group.size, group.parent, group.files = 2**26, parent, limit.V2
            made = group.make()
            self.assertEqual((parent / "cgroup.subtree_control").read_text(), "+memory")
            self.assertEqual((made / "memory.max").read_text(), str(2**26))
            (made / "memory.events").write_text("low 0\nmax 7\noom 1\noom_kill 1\n")
            self.assertEqual(group.kills(made), 1)

    def test_bad_input(self):
        for size in ("64", "x", "12K", "1.5G", "M"):
            self.refused(self.arguments("--memory", size), f"--memory '{size}': a size such as 64M")


if __name__ == "__main__":
    unittest.main()
