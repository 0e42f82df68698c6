"""Columns beyond the default ones: groups, settings that authors advise, what is not installed."""
import contextlib
import io
import os
import pathlib
import unittest
import unittest.mock

from support import SuiteCase, library

from suite import Problem, allocators, prepare, process, rivals

REAL_FIND = allocators.find


def resolved(names, known, build="/nonexistent"):
    """Names of the columns, and what was said, where only these libraries are installed."""
    found = {name: str(library("a")) for name in known}
    with unittest.mock.patch.object(allocators, "find_known", found.get), \
            contextlib.redirect_stderr(io.StringIO()) as said:
        return allocators.resolve(names, [], build), said.getvalue()


class Own(unittest.TestCase):
    def test_a_column_of_our_own_is_built(self):
        asked = []

        def run(command, **_):
            asked.append(command)
            return unittest.mock.Mock(returncode=0)

        with unittest.mock.patch.object(prepare.subprocess, "run", run), \
                contextlib.redirect_stderr(io.StringIO()):
            prepare.build("folder", own=rivals.OWN)
        for path in rivals.OWN.values():
            self.assertIn(pathlib.Path(path).stem.removeprefix("lib"), asked[-1])


class Groups(unittest.TestCase):
    def test_a_group_is_added_to_the_default_set(self):
        names, by_group = rivals.spread(["+more"], ["glibc", "jemalloc"])
        self.assertEqual(names, ["glibc", "jemalloc", "tbbmalloc", "scudo"])
        self.assertEqual(by_group, ["tbbmalloc", "scudo"])
        self.assertEqual(rivals.spread(["glibc", "+more"], ["jemalloc"])[0], ["glibc", "tbbmalloc", "scudo"])

    def test_what_a_group_lacks_is_left_out_with_a_word(self):
        columns, said = resolved(["glibc", "+more"], ["scudo"])
        self.assertEqual([column.name for column in columns], ["glibc", "scudo"])
        self.assertIn("left out: allocator 'tbbmalloc': no library of that name is installed (ci/setup more", said)

    def test_what_is_named_must_be_there(self):
        with self.assertRaisesRegex(Problem, "'tbbmalloc': no library of that name"):
            resolved(["tbbmalloc"], ["scudo"])

    def test_a_setting_is_its_library_under_another_name(self):
        columns, _ = resolved(["glibc-arena1", "jemalloc-background"], ["jemalloc"])
        glibc, arena, background = columns
        self.assertEqual((arena.path, arena.preloads), (glibc.path, False))
        self.assertEqual(arena.variables(), {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"})
        self.assertEqual(background.path, os.path.realpath(library("a")))
        self.assertEqual(set(background.variables()), {"LD_PRELOAD", "MALLOC_CONF"})

    def test_a_setting_may_name_a_folder_that_goes_with_the_run(self):
        with unittest.mock.patch.object(allocators, "find", return_value=allocators.Column("mymalloc", "/lib/m.so")):
            column = REAL_FIND("profile", "")
        path = pathlib.Path(column.variables()["MYMALLOC_PROFILE"])
        self.assertTrue(path.parent.is_dir())
        self.assertEqual((path.name, column.variables()["MYMALLOC_PROFILE"]), ("heap.pb", str(path)))
        self.assertEqual(column.as_dict()["environment"], {"MYMALLOC_PROFILE": "{folder}/heap.pb"})  # no machine's path is published

    def test_no_setting_reaches_another_column(self):
        for _, environment, said in (rivals.ADVISED | rivals.OBSERVED).values():
            self.assertTrue(said)
            for key in environment:
                self.assertTrue(key.startswith(process.PREFIXES), key)

    def test_no_variable_of_the_users_reaches_an_allocator(self):
        """mimalloc compares without regard to case; gperftools starts its profiler by these."""
        given = {"mimalloc_purge_delay": "0", "MIMALLOC_VERBOSE": "1", "HEAPPROFILE": "/tmp/x", "HEAPCHECK": "normal",
                 "MALLOC_CONF": "tcache:false", "GLIBC_TUNABLES": "x"}
        with unittest.mock.patch.dict(os.environ, given):
            self.assertEqual(given.keys() & process.clean_environment().keys(), set())

    def test_what_is_installed_for_it(self):
        self.assertEqual(rivals.packages(["+advised"]), [])
        self.assertEqual(rivals.packages(["glibc", "scudo"]), ["more"])


class Files(unittest.TestCase):
    def test_the_newest_of_the_first_pattern(self):
        paths = ["/lib/libtcmalloc.so.9", "/lib/libtcmalloc_minimal.so.4", "/lib/libtcmalloc_minimal.so.10"]
        self.assertEqual(rivals.pick(rivals.KNOWN["tcmalloc"], paths), "/lib/libtcmalloc_minimal.so.10")
        self.assertIsNone(rivals.pick(rivals.KNOWN["jemalloc"], paths))


class Input(SuiteCase):
    def test_a_group_that_is_none(self):
        self.refused(["--allocators", "+most"], "no group '+most'", "+more, +advised")

    def test_the_setup_knows_the_group(self):
        setup = (pathlib.Path(rivals.__file__).parents[2] / "ci/setup").read_text()
        self.assertIn("    more) echo libtbbmalloc2 ", setup)


if __name__ == "__main__":
    unittest.main()
