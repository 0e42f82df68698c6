"""One report of several runs."""
import json
import unittest

from support import SuiteCase, library


class Joined(SuiteCase):
    def setUp(self):
        super().setUp()
        self.first, self.second = self.folder / "first", self.folder / "second"
        for folder, cells in ((self.first, "good/other"), (self.second, "good/plain")):
            self.out = folder
            self.assertEqual(self.bench("--workloads", cells, "--rounds", "1")[0], 0)
        self.out = self.folder / "joined"

    def report(self, *more):
        return ["report", str(self.first), str(self.second), "--out", str(self.out), *more]

    def test_cells_of_both_and_figures_as_before(self):
        status, out, err = self.suite(*self.report())
        self.assertEqual(status, 0, err)
        cells = {cell["name"]: cell for cell in self.results()["cells"]}
        self.assertEqual(set(cells), {"good/other", *(f"good/plain/threads:{n}" for n in (1, 2, 64))})
        self.assertEqual(cells["good/other"]["rows"], self.results(self.first)["cells"][0]["rows"])
        self.assertIn("good/plain/threads:64", (self.out / "report.html").read_text())
        self.assertFalse((self.out / "run.json").exists())

    def change(self, folder, **more):
        path = folder / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | more))

    def test_the_scale_said_is_that_of_the_workloads(self):
        """A run of traces has a scale in its record, too, which nothing took."""
        self.change(self.first, traces=[{"name": "trace/x"}], scale=7)
        status, out, err = self.suite(*self.report())
        self.assertEqual(status, 0, err)
        self.assertEqual(self.results()["scale"], 0.3)

    def test_other_settings_are_refused(self):
        self.change(self.first, scale=7)
        self.refused(self.report(), "another --scale each, 7 and 0.3")
        self.change(self.first, scale=0.3, memory=64 * 2**20)
        self.refused(self.report(), "another --memory each, 67108864 and None")

    def test_what_does_not_belong_together(self):
        self.refused(self.report()[:3], "--out names where")
        self.refused(["report", str(self.first), str(self.first), "--out", str(self.out)], "two of the runs have the cell good/other")
        self.refused(["report", str(self.first), str(self.second), "--out", str(self.second)], "holds a run")
        path = self.second / "environment.json"
        other = json.loads(path.read_text())
        other["kernel"]["release"] = "2.4.1"
        path.write_text(json.dumps(other))
        self.refused(self.report(), "different machines", "2.4.1")
        run = json.loads((self.second / "run.json").read_text())
        run["columns"][1]["sha256"] = "0"
        (self.second / "run.json").write_text(json.dumps(run))
        self.refused(self.report(), f"another library each for '{library('a').stem[3:]}'")


if __name__ == "__main__":
    unittest.main()
