"""Bad input: one line that names what was wrong and what is accepted, status 2."""
import contextlib
import io
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys

from support import HERE, SUITE, SuiteCase, library

from suite import Problem, cells, cli, ending, forms, options as opt, session, store, traces


class Options(SuiteCase):
    def test_unknown_allocator(self):
        self.refused(self.arguments("--workloads", "good", "--allocators", "glibc,nomalloc"), "'nomalloc'",
                     "glibc, mimalloc, tcmalloc, jemalloc, mymalloc", "name=/path/lib.so")

    def test_ours_is_not_built(self):
        self.refused(self.arguments("--workloads", "good", "--allocators", "mymalloc"), "'mymalloc'",
                     "libmymalloc_preload.so is not built", "accepted: glibc")

    def test_missing_library(self):
        self.refused(self.arguments("--allocator", "x=/nowhere/libx.so"), "'x'",
                     "/nowhere/libx.so", "No such file")

    def test_library_that_is_none(self):
        text = self.folder / "text.so"
        text.write_text("hello")
        self.refused(self.arguments("--allocator", f"x={text}"), "'x'", "not a shared library")

    def test_malformed_allocator(self):
        self.refused(self.arguments("--allocator", "/path/lib.so"), "name=/path/lib.so[,ENV=value…]")
        self.refused(self.arguments("--allocator", f"x={library('a')},NOVALUE"), "'NOVALUE'", "ENV=value")

    def test_same_name_twice(self):
        self.refused(self.arguments("--workloads", "good", "--allocator", f"suite_test_a={library('b')}"),
                     "given twice")

    def test_unknown_workload(self):
        self.refused(self.arguments("--workloads", "larsen"), "'larsen'", "good, bad", "--list")

    def test_a_list_has_what_would_run(self):
        every = self.bench("--list")[1].split()
        good = [name for name in every if name.split("/")[0] == "good"]
        self.assertEqual(self.bench("--list", "--full"), (0, "\n".join(every) + "\n", ""))
        self.assertEqual(self.bench("--list", "--workloads", "good"), (0, "\n".join(good) + "\n", ""))
        self.assertLess(len(good), len(every))
        self.assertFalse(self.out.exists())

    def test_a_library_that_is_no_allocator(self):
        self.refused(self.arguments("--workloads", "good", columns=("none",)), "'suite_test_none'",
                     "no allocator for LD_PRELOAD", "malloc stays in", "libc")
        self.refused(self.arguments("--workloads", "good", columns=("crashes",)), "'suite_test_crashes'",
                     "a program that does nothing fails", "SIGABRT")
        self.assertFalse(self.out.exists())

    def test_names_of_the_suite_itself(self):
        for name in ("glibc", "harness", "mymalloc-again"):
            self.refused(self.arguments("--allocator", f"{name}={library('b')}"), f"'{name}'", "suite's own")

    def test_empty_lists(self):
        for option in ("--workloads", "--allocators", "--threads", "--programs"):
            self.refused(self.arguments(option + "=,"), f"{option} ','", "names nothing", "such as")

    def test_seeds(self):
        self.refused(self.arguments("--workloads", "good", "--seed=-1"), "--seed -1", "from 0 to")
        self.refused(["compare-builds", str(library("a")), str(library("b")), "--seed=-1"], "--seed -1")

    def test_a_budget_that_holds_no_block(self):
        self.refused(self.arguments("--workloads", "good", "--budget", "0.01s"), "--budget 0.01s",
                     "4 cells under 2 allocators", "at least")

    def test_a_path_that_is_no_utf8(self):
        path = os.fsdecode(os.fsencode(str(self.folder)) + b"/\xff")
        self.refused(self.arguments("--workloads", "good", "--out", path), "\\xff", "not valid UTF-8")

    def test_a_folder_that_takes_no_files(self):
        (self.folder / "file").write_text("")
        self.refused(self.arguments("--out", str(self.folder / "file/out")), "not a folder")
        self.refused(self.arguments("--workloads", "good", "--out", "/proc/nowhere/out"),
                     "cannot make the results folder", "/proc")

    def test_bad_options_are_told_before_anything_is_built(self):
        """Without --no-build: a build folder that is told of before cmake makes it."""
        build = self.folder / "fresh"
        for words in (["--seed=-1"], ["--workloads="], ["--allocator", "glibc=/x"], ["--rounds", "0"]):
            self.refused(["--build", str(build), *words], words[0].partition("=")[0])
        self.assertFalse(build.exists())

    def test_threads(self):
        self.refused(self.arguments("--workloads", "good", "--threads", "two"), "'two'", "1,2,8")
        self.refused(self.arguments("--workloads", "good/plain", "--threads", "2,7"), "--threads",
                     "no chosen cell has 7", "1, 2, 64")
        self.refused(self.arguments("--workloads", "good/other", "--threads", "2"), "none in their names")

    def test_times_and_numbers(self):
        self.refused(self.arguments("--workloads", "good", "--budget", "soon"), "--budget 'soon'", "20m")
        self.refused(self.arguments("--workloads", "good", "--timeout=-1s"), "--timeout '-1s'")
        self.refused(self.arguments("--workloads", "good", "--rounds", "0"), "--rounds 0", "1 to 1000")
        self.refused(self.arguments("--workloads", "good", "--scale", "0"), "--scale 0")

    def test_unknown_option(self):
        self.refused(self.arguments("--wurkloads", "larson"), "--wurkloads larson", "--help")

    def test_no_binary(self):
        self.refused(self.arguments(build=self.folder / "empty"), "no benchmark binary", "--build")

    def test_nothing_to_compare(self):
        self.refused(self.arguments("--workloads", "good", columns=()), "glibc alone")

    def test_program_without_command(self):
        self.refused(self.arguments("--program"), "--program", "--")
        self.refused(self.arguments("--program", "--", "nonesuch"), "'nonesuch'", "not an executable")
        self.refused(self.arguments("--", "ls"), "--program")
        self.refused(self.arguments("--programs", "emacs"), "'emacs'", "redis, sqlite3")
        self.refused(self.arguments("--programs", "perl", "--workloads", "good"), "choose one")

    def test_control_must_be_a_column(self):
        self.refused(self.arguments("--workloads", "good", "--control", "other"), "'other'", "suite_test_a")

    def test_help_needs_no_package(self):
        """Where only Python itself is installed: none of Debian's packages can be imported."""
        for words in (["--help"], ["compare-builds", "--help"], ["keep", "--help"]):
            done = subprocess.run([sys.executable, "-B", "-S", "-m", "suite", *words], capture_output=True,
                                  text=True, env=self.environment())
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
            self.assertIn("usage:", done.stdout)

    def test_the_script_may_be_a_link(self):
        """In a folder of PATH, say."""
        link = self.folder / "measure"
        link.symlink_to(HERE.parents[1] / "ci/bench")
        done = subprocess.run([link, "--no-build", "--rounds", "0"], capture_output=True, text=True, env=self.environment())
        self.assertEqual((done.returncode, done.stderr), (2, "ci/bench: --rounds 0: from 1 to 1000\n"))

    def test_help_explains_every_option(self):
        done = subprocess.run([*SUITE, "--help"], capture_output=True, text=True, env=self.environment())
        self.assertEqual(done.returncode, 0)
        for option in ("--quick", "--full", "--allocators", "--allocator", "--workloads", "--rounds",
                       "--threads", "--out", "--budget", "--seed", "--resume", "--program",
                       "--programs", "--no-build", "compare A B"):
            self.assertIn(option, done.stdout)

    def test_help_is_as_it_is_to_be_read(self):
        """No sign of a format string, and no line of it lost its end."""
        for form in ("", "compare", "compare-builds", "report", "keep", "judge", "doctor"):
            done = subprocess.run([*SUITE, *form.split(), "--help"], capture_output=True, text=True, env=self.environment())
            self.assertEqual(done.returncode, 0, form)
            self.assertNotIn("%%", done.stdout, form)
            self.assertLessEqual(max(map(len, done.stdout.splitlines())), 105, form)


class Words(SuiteCase):
    """As Options, in this process: what the options' check says, before anything else is done."""

    def told(self, words, *parts):
        with self.assertRaises(Problem) as caught:
            options, command = opt.split(words)
            cli.check(cli.parser().parse_args(options), command)
        for part in parts:
            self.assertIn(part, str(caught.exception))

    def test_empty(self):
        for option in ("--workloads", "--out", "--build", "--memory", "--rest", "--server", "--trace"):
            self.told([option, ""], f"argument {option}", "empty")
        for words, name in ((["report", ""], "DIR"), (["compare-builds", ""], "BASE.so")):
            with self.assertRaisesRegex(Problem, f"argument {name}: its value is empty"):
                forms.parser().parse_args(words)

    def test_blanks_in_lists(self):
        self.assertEqual(opt.words("--threads", " 1 , 2 ", ""), ["1", "2"])
        self.told(["--threads", " , "], "names nothing")

    def test_sizes(self):
        for size in ("64", "²M", "1K", "9" * 40 + "G"):
            self.told(["--memory", size], f"--memory '{size}'", "64M")

    def test_what_has_no_end_is_not_read(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        for path in (pipe, "/dev/zero"):
            self.told(["--allocator", f"x={path}"], str(path), "not a file")
            with self.assertRaisesRegex(Problem, f"--trace {path}: not a file"):
                traces.chosen([str(path)])

    def test_links_that_lead_nowhere(self):
        loop = self.folder / "loop"
        loop.symlink_to(loop)
        self.told(["--out", str(loop)], str(loop), "not a folder")
        with self.assertRaisesRegex(Problem, "loop/run.json cannot be read: Too many levels"):
            store.Folder(loop).read("run.json")
        with self.assertRaisesRegex(Problem, "loop.*no benchmark binary|no benchmark binary.*loop"):
            cli.new_run(cli.parser().parse_args(["--workloads", "x"]), [], str(loop))

    def test_a_record_that_no_reader_takes(self):
        """Is told before the first process, not by the report after the last."""
        plan = session.Plan([cells.Cell("good/one")], [], None, __file__, seed=1)
        record = session.record_of(plan, "cells") | {"columns": [{"name": "x"}]}
        with self.assertRaisesRegex(Problem, "run.json is damaged: its 'columns'"):
            session.start(plan, record, str(self.out))

    def test_damaged_folders(self):
        """Whatever reads a folder says which file is not what a run writes."""
        column = {"name": "x", "path": "/x", "sha256": "0", "environment": {}, "control_of": None}
        whole = {"format": 1, "cells": [], "seed": 1, "scale": 1, "started": "", "finished": True, "usable_cpus": 2,
                 "columns": [column]}
        folder = store.Folder(self.folder)
        for record, lacks in (({"format": 1}, "columns"), (whole | {"columns": 3}, "columns"), (whole | {"columns": []}, "columns"),
                              (whole | {"columns": [{"name": "x"}]}, "columns"), (whole | {"seed": "x"}, "seed"),
                              (whole | {"seed": -1}, "seed"), (whole | {"cells": [1]}, "cells"),
                              (whole | {"scale": float("nan")}, "scale"), (whole | {"usable_cpus": "2"}, "usable_cpus"),
                              (whole | {"columns": [column | {"environment": {"A": 1}}]}, "columns")):
            folder.write("run.json", record)
            with self.assertRaisesRegex(Problem, f"run.json is damaged: its '{lacks}'"):
                folder.read("run.json")
        folder.write("run.json", whole | {"usable_cpus": 1.5})  # a container's quota
        self.assertEqual(folder.read("run.json")["usable_cpus"], 1.5)
        folder.write("environment.json", {"format": 1})
        with self.assertRaisesRegex(Problem, "environment.json is damaged: its 'machine'"):
            folder.read("environment.json")
        folder.write("environment.json", {"format": 1, "machine": {"load at start": "1"}, "software": {}, "kernel": {}})
        with self.assertRaisesRegex(Problem, "environment.json is damaged: its 'machine'"):
            folder.read("environment.json")
        folder.write("run.json", whole | {"started": "half of a sign: \ud800"})
        with self.assertRaisesRegex(Problem, "run.json cannot be read: .*surrogates not allowed"):
            folder.read("run.json")
        folder.write("run.json", whole | {"started": "a whole one: \U0001f600"})
        self.assertEqual(folder.read("run.json")["started"][-1], "\U0001f600")
        suite, figures = {"cell": "x", "round": 0, "column": "x"}, {"ops_per_second": 1, "peak_rss_bytes": 1}
        bad = [{"suite": suite}, {"suite": suite, "benchmarks": []}, {"suite": suite, "benchmarks": [{"ops_per_second": 1}]}]
        bad += [{"suite": suite, "benchmarks": [figures | {"base_rss_bytes": value}]} for value in ("1", None, [], float("nan"))]
        bad += [{"suite": suite | {"failure": "\uDC80"}}]
        for line in (b"[]", b"{}", b"{", b"\xff", *(json.dumps(each).encode() for each in bad)):
            folder.write("samples.jsonl.xz", lzma.compress(line))
            with self.assertRaisesRegex(Problem, "samples.jsonl.xz is damaged"):
                folder.samples("x")


class Ends(SuiteCase):
    """How a command ends whose output takes nothing, or that lacks something: one line, no traceback."""

    def ended(self, code, **streams):
        """(status, standard error) of a command that does this."""
        done = subprocess.run([sys.executable, "-B", "-c", "import sys; from suite import Problem, ending\n"
                               f"def main():\n    {code}\nsys.exit(ending.of('name', main))"],
                              stderr=subprocess.PIPE, text=True, env=self.environment(), **streams)
        return done.returncode, done.stderr

    def test_a_full_disk(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            self.assertEqual(self.ended("print(1)", stdout=full), (2, "name: cannot write: No space left on device\n"))

    def test_a_closed_stream(self):
        self.assertEqual(self.ended("print(1)", preexec_fn=lambda: os.close(1)), (0, ""))

    def test_nobody_reads(self):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as unread:
            self.assertEqual(self.ended("print(1)", stdout=unread), (1, ""))

    def test_a_run_without_streams(self):
        """As a job that a daemon starts may be: a run needs nobody who looks at it."""
        words = self.arguments("--workloads", "good/other", "--rounds", "1")
        for closed in ">&-", "2>&-", ">&- 2>&-":
            done = subprocess.run(["sh", "-c", f'"$@" {closed}', "-", *SUITE, *words], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, env=self.environment())
            self.assertEqual(done.returncode, 0, closed)
            self.assertTrue((self.out / "report.html").exists(), closed)
            shutil.rmtree(self.out)

    def test_interrupted_while_it_starts(self):
        (self.folder / "argparse.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
        path = f"{self.folder}:{os.environ['PYTHONPATH']}"
        done = subprocess.run([*SUITE, "--help"], capture_output=True, text=True, env=self.environment(PYTHONPATH=path))
        self.assertEqual((done.returncode, done.stderr), (-signal.SIGINT, ""))

    def test_interrupted_while_modules_load(self):
        """As numpy does when it comes to its C parts: then it is no fault of the installation."""
        self.measured("--workloads", "good", "--rounds", "1")
        (self.folder / "numpy.py").write_text("import os, signal, time\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n"
                                              "    time.sleep(9)\nexcept KeyboardInterrupt:\n    pass\n"
                                              "raise ImportError('IMPORTANT: PLEASE READ THIS')\n")
        path = f"{self.folder}:{os.environ['PYTHONPATH']}"
        done = subprocess.run([*SUITE, "judge", str(self.out), "suite_test_a", "--no-build"], capture_output=True, text=True,
                              env=self.environment(PYTHONPATH=path))
        self.assertEqual((done.returncode, done.stderr), (130, "ci/bench: interrupted\n"))

    def test_lines(self):
        def end(error):
            def main():
                raise error
            with contextlib.redirect_stderr(io.StringIO()) as said:
                return ending.of("name", main), said.getvalue()
        self.assertEqual(end(Problem("x\udcff")), (2, "name: x\\xff\n"))
        self.assertEqual(end(KeyboardInterrupt()), (130, "name: interrupted\n"))
        self.assertEqual(end(FileNotFoundError(2, "No such file", "/x")), (2, "name: /x: No such file\n"))
        self.assertEqual(end(ModuleNotFoundError(name="numpy")),
                         (2, "name: no Python module 'numpy'; ci/setup bench installs it\n"))


class Folders(SuiteCase):
    def test_a_finished_run_is_not_overwritten(self):
        self.bench("--workloads", "good/other", "--rounds", "1")
        self.refused(self.arguments("--workloads", "good/other", "--rounds", "1"),
                     "holds a run already", "--resume")

    def test_resume_of_nothing(self):
        self.refused(["--no-build", "--resume"], "not a results folder")
        self.refused(["--no-build", "--resume", "--out", str(self.out)], "not a results folder")

    def test_other_version(self):
        self.bench("--workloads", "good/other", "--rounds", "1")
        run = json.loads((self.out / "run.json").read_text())
        (self.out / "run.json").write_text(json.dumps(run | {"format": 99}))
        self.refused(["compare", str(self.out), str(self.out)], "format 99", "format 1")
        self.refused(["report", str(self.out)], "format 99")

    def test_compare_with_no_folder(self):
        self.refused(["compare", str(self.folder), str(self.folder)], "not a results folder")


if __name__ == "__main__":
    import unittest
    unittest.main()
