"""The machine check, on machines made of files, and its place in the reports."""
import contextlib
import io
import unittest
import unittest.mock

from support import SuiteCase

from suite import doctor

QUIET = {"proc/stat": "cpu  100 0 100 9000 0 0 0 0 0 0\n", "proc/loadavg": "0.05 0.1 0.1 1/100 5\n",
         "proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
         "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
         "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
         "sys/devices/system/cpu/intel_pstate/no_turbo": "1\n"}


class Doctor(SuiteCase):
    def warnings(self, changes=None, limits=(None, None), later=None):
        root = self.folder / "machine"
        for path, content in (QUIET | (changes or {})).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content)

        def watch(_):
            (root / "proc/stat").write_text(later or "cpu  101 0 100 9099 0 0 0 0 0 0\n")
        with unittest.mock.patch.object(doctor.environment, "usable_cpus", lambda: 4):
            rows = doctor.examine(str(root), limits, watch)
        return [warning for _, _, warning in rows if warning]

    def test_a_quiet_machine_has_none(self):
        self.assertEqual(self.warnings(), [])

    def test_each_fault_is_named_alone(self):
        cpu = "sys/devices/system/cpu/"
        for name, kind in (("governor powersave", {"changes": {cpu + "cpu0/cpufreq/scaling_governor": "powersave\n"}}),
                           ("turbo on", {"changes": {cpu + "intel_pstate/no_turbo": "0\n"}}),
                           ("load 3.50 on 4 CPUs", {"changes": {"proc/loadavg": "3.50 1 1 1/100 5\n"}}),
                           ("other work 30% of the CPUs", {"later": "cpu  130 0 100 9070 0 0 0 0 0 0\n"}),
                           ("steal 10%", {"later": "cpu  100 0 100 9090 0 0 0 10 0 0\n"}),
                           ("transparent huge pages always",
                            {"changes": {"sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never\n"}}),
                           ("cgroup CPU quota 0.5 CPUs", {"limits": (0.5, None)}),
                           ("cgroup memory 512 MiB", {"limits": (None, 2**29)}),
                           ("free memory 977 MiB", {"changes": {"proc/meminfo": "MemAvailable: 1000000 kB\n"}}),
                           ("swap in use 97.7 MiB", {"changes": {"proc/meminfo": "MemAvailable: 9000000 kB\nSwapTotal: 200000 kB\n"
                                                                 "SwapFree: 100000 kB\n"}})):
            with self.subTest(name):
                warning, = self.warnings(**kind)
                self.assertTrue(warning.startswith(name + ": "), warning)

    def test_a_kernel_that_tells_nothing_is_no_fault(self):
        root = self.folder / "empty"
        root.mkdir()
        rows = doctor.examine(str(root), (None, None), lambda _: None)
        self.assertEqual([what for what, _, warning in rows if warning and what != "CPUs"], ["transparent huge pages"])

    def test_the_form_ends_with_status_1_where_it_warns(self):
        for rows, status in (([("load", "0.10", None)], 0), ([("load", "9.00", "load 9.00: too much")], 1)):
            with unittest.mock.patch.object(doctor, "examine", lambda rows=rows: rows), \
                    contextlib.redirect_stdout(io.StringIO()) as out:
                self.assertEqual(doctor.main(), status)
            self.assertIn("WARN  load 9.00: too much" if status else "fit to measure on", out.getvalue())
        status, out, err = self.suite("doctor")
        self.assertIn(status, (0, 1), err)
        self.assertIn("governor", out)

    def test_warnings_stand_in_the_reports(self):
        self.bench("--workloads", "good/other", "--rounds", "1")
        path = self.out / "environment.json"
        environment = path.read_text()
        self.assertIn('"warnings": [', environment)
        start = environment.index('"warnings": [')
        path.write_text(environment[:start] + '"warnings": ["steal 12%: the host is busy"]\n}\n')
        status, out, err = self.suite("report", str(self.out))
        self.assertEqual(status, 0, err)
        for name in ("report.md", "report.html", "table.txt"):
            self.assertIn("Machine at the start: steal 12%: the host is busy.", (self.out / name).read_text())


if __name__ == "__main__":
    unittest.main()
