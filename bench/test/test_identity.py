"""The proof of which allocator ran: a cell without it is refused."""
import unittest

from support import BUILD, SuiteCase, library

from suite import allocators


class Fake(SuiteCase):
    def test_a_process_that_used_another_malloc_is_refused(self):
        status, out, err = self.bench("--workloads", "bad/liar", "--rounds", "1")
        self.assertEqual(status, 1, err)
        row = self.row("bad/liar", "suite_test_a")
        self.assertIn("refused: the preload did not take: malloc came from", row["failure"])
        self.assertIn("libc.so.6", row["failure"])
        self.assertNotIn("speed", row)

    def test_a_version_that_changes_is_refused(self):
        self.bench("--workloads", "bad/version", "--rounds", "3")
        self.assertIn("version changed", self.row("bad/version", "suite_test_a")["failure"])

    def test_identity_is_recorded(self):
        self.bench("--workloads", "good/other", "--rounds", "1")
        columns = {column["name"]: column for column in self.results()["columns"]}
        mine = columns["suite_test_a"]
        self.assertEqual(len(mine["sha256"]), 64)
        self.assertEqual(mine["version"], "suite_test_a 1.0")
        self.assertIn(mine["sha256"], (self.out / "report.md").read_text())
        self.assertNotIn("secret-host", (self.out / "raw/good-other.jsonl").read_text())

    def test_two_names_of_one_library_are_two_columns(self):
        own = f"{library('a')},SOME_SETTING=1"
        status, out, err = self.bench("--workloads", "good/other", "--rounds", "1",
                                      "--allocator", f"twin={own}")
        self.assertEqual(status, 0, err)
        self.assertEqual(self.results()["columns"][2]["environment"], {"SOME_SETTING": "1"})

    def test_a_library_calling_itself_otherwise_is_not_ours(self):
        column = allocators.library("mymalloc", str(library("a")))
        context = {"allocator_path": column.path, "allocator_version": "mimalloc 2.0.9"}
        self.assertIn("calls itself 'mimalloc 2.0.9'", allocators.refusal(column, context))
        context["allocator_version"] = "mymalloc 0.1.0"
        self.assertIsNone(allocators.refusal(column, context))
        self.assertIn("did not say", allocators.refusal(column, {}))


@unittest.skipUnless((BUILD / "bench/mymalloc-bench").exists(), "the benchmark binary is not built")
class Real(SuiteCase):
    """The same with the real binary and real libraries."""

    def run_cell(self, *more, columns=("a",)):
        return self.bench("--workloads", "larson/fixed/threads:2", "--rounds", "1", "--scale", "0.01",
                          *more, build=BUILD, columns=columns)

    def test_a_preload_that_is_no_allocator_is_refused(self):
        status, _, err = self.run_cell()  # glibc's malloc under another name: it answers
        self.assertEqual(status, 0, err)
        self.out = self.folder / "second"
        self.refused(self.arguments("--workloads", "larson", columns=("none",), build=BUILD),
                     "'suite_test_none'", "no allocator for LD_PRELOAD", "malloc stays in")

    def test_installed_allocators_are_accepted(self):
        found = [name for name in allocators.KNOWN if allocators.find_known(name)]
        if not found:
            self.skipTest("neither mimalloc nor tcmalloc nor jemalloc is installed")
        status, _, err = self.run_cell("--allocators", ",".join(found), columns=None)
        self.assertEqual(status, 0, err)
        for column in self.results()["columns"]:
            if column["name"] != "glibc":
                # gperftools' libtcmalloc calls itself gperftools
                self.assertRegex(column["version"], column["name"] + "|gperftools")
        harness = self.results()["cells"][0]["harness"]
        self.assertTrue(0 < harness["median"] < 1.5, harness)

    @unittest.skipUnless((BUILD / allocators.OURS_FILE).exists(), "mymalloc is not built")
    def test_ours_proves_itself(self):
        status, _, err = self.run_cell("--allocators", "mymalloc", columns=None)
        self.assertEqual(status, 0, err)
        column = self.results()["columns"][1]
        self.assertRegex(column["version"], "^mymalloc ")
        self.assertTrue(column["frontend"])


if __name__ == "__main__":
    unittest.main()
