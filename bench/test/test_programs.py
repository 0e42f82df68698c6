"""Any command under every allocator, with the dynamic linker's word for which answered."""
import contextlib
import io
import os
import pathlib
import re
import subprocess
import tempfile
import unittest
import unittest.mock

from support import BUILD, SuiteCase

from suite import Problem, allocators, programs

LIBRARY = next((path for name in allocators.KNOWN if (path := allocators.find_known(name))), None)


@unittest.skipUnless(LIBRARY, "neither mimalloc nor tcmalloc nor jemalloc is installed")
class Program(SuiteCase):
    def program(self, *command, rounds="2", more=()):
        return self.bench("--program", "--rounds", rounds, *more, "--allocator", f"other={LIBRARY}",
                          "--", *command, build=BUILD, columns=())

    def failure(self, name, column):
        return self.row(f"program/{name}", column)["failure"]

    def test_a_program_runs_under_both(self):
        ours = BUILD / allocators.OURS_FILE
        more = ("--allocator", f"ours={ours}") if ours.exists() else ()
        status, out, err = self.program("sort", __file__, rounds="6", more=more)
        self.assertEqual(status, 0, err)
        row = self.row("program/sort", "other")
        self.assertEqual(row["runs"], 6)
        self.assertEqual([use["workload"] for use in self.results()["uses"]], ["Yours", "Small containers"])
        self.assertTrue(row["ratios"]["speed"]["low"] <= row["ratios"]["speed"]["median"] <= row["ratios"]["speed"]["high"])
        self.assertIn("CPU time", out)

    def test_peak_rss_is_the_programs_own(self):
        """Not that of the Python that started it, some 100 MiB."""
        self.program("true", rounds="1")
        self.assertLess(self.row("program/true", "glibc")["peak"], 16 * 2**20)
        self.out = self.folder / "large"
        self.program("perl", "-e", "my $x = 'a' x 5e7; print length $x", rounds="1")
        self.assertGreater(self.row("program/perl", "glibc")["peak"], 45 * 2**20)

    def test_a_relative_build_folder(self):
        """A ready program runs elsewhere; the measuring one must be found all the same."""
        relative = os.path.relpath(BUILD)
        status, _, err = self.bench("--programs", "gcc", "--rounds", "1", "--allocator",
                                    f"other={LIBRARY}", build=relative, columns=())
        self.assertEqual(status, 0, err)
        self.assertEqual([use["workload"] for use in self.results()["uses"]], ["Batch jobs", "Small containers"])

    def test_a_crash(self):
        status, _, _ = self.program("sh", "-c", "kill -SEGV $$")
        self.assertEqual(status, 1)
        self.assertIn("crashed: SIGSEGV", self.failure("sh", "other"))

    def test_a_program_that_fails(self):
        self.program("perl", "-e", "die qq{no luck\n}")
        self.assertIn("exit status", self.failure("perl", "other"))
        self.assertIn("no luck", self.failure("perl", "other"))

    def test_a_program_that_never_ends(self):
        self.program("sleep", "60", more=("--timeout", "1s"))
        self.assertIn("did not end within 1 s (a server? --server", self.failure("sleep", "other"))

    def test_a_static_program_is_refused(self):
        self.program("/sbin/ldconfig", "-p")
        self.assertIn("static or setuid", self.failure("ldconfig", "other"))

    def test_a_program_that_drops_the_preload_is_refused(self):
        self.program("env", "-u", "LD_PRELOAD", "sort", __file__)
        self.assertIn("refused: malloc of ", self.failure("env", "other"))


class Bindings(unittest.TestCase):
    def test_a_stub_leads_to_the_library(self):
        found = [("/bin/p", "/bin/p"), ("/lib/libx.so.1", "/bin/p"), ("/bin/p", "/lib/libm.so.2")]
        self.assertEqual(programs.judged(found, ""),
                         [("/bin/p", "/lib/libm.so.2")])

    def test_what_the_library_itself_looks_up_is_no_programs(self):
        found = [("/bin/p", "/opt/own.so"), ("/opt/own.so", "/opt/own.so"), ("/opt/own.so", "/lib/libc.so.6")]
        self.assertEqual(programs.judged(found, "", "/opt/own.so"), found[:2])
        self.assertEqual(programs.judged(found, "", "/opt/other.so"), found)

    def test_a_program_with_a_malloc_of_its_own(self):
        self.assertEqual(programs.judged([("/bin/p", "/bin/p")], "p"), [("/bin/p", "/bin/p")])

    def test_another_process_does_not_speak_for_the_program(self):
        found = [("sh", "/lib/preloaded.so"), ("/usr/bin/server", "/lib/own.so")]
        self.assertEqual(programs.judged(found, "server"), [("/usr/bin/server", "/lib/own.so")])


class Ready(unittest.TestCase):
    def test_every_ready_program_has_a_script(self):
        for name in programs.READY:
            script = programs.command_of(name)[1]
            with open(script, encoding="utf-8") as file:
                self.assertTrue(file.readline().startswith("#!"), script)
            self.assertTrue(os.access(script, os.X_OK), script)

    def test_setup_installs_and_the_image_has_what_they_need(self):
        root = pathlib.Path(programs.ROOT)
        setup = (root / "ci/setup").read_text().replace("\\\n", " ")
        installed = set(re.search(r"ready\) echo (.*) ;;", setup)[1].split())
        for name, (commands, packages, _) in programs.READY.items():
            if name not in programs.OPTIONAL:
                self.assertLessEqual(set(packages.split()) - {"python3-numpy"}, installed, name)  # group bench has numpy
            if commands[0].startswith("mymalloc-"):
                self.assertIn("/bench/mymalloc-* ", (root / "docker/Dockerfile").read_text())

    def test_digits_at_the_end_of_a_name_are_an_argument(self):
        script, argument = programs.command_of("arrays48")[1:]
        self.assertEqual((os.path.basename(script), argument), ("arrays.sh", "48"))
        self.assertEqual(len(programs.command_of("python3")), 2)

    def test_what_cannot_be_built_is_left_out_with_a_word(self):
        with tempfile.TemporaryDirectory() as build, contextlib.redirect_stderr(io.StringIO()) as said:
            open(os.path.join(build, "mymalloc-program-maps"), "w", encoding="utf-8").close()
            binary = os.path.join(build, "mymalloc-bench")
            only = {name: programs.READY[name] for name in ("strings", "maps")}
            with unittest.mock.patch.object(programs, "READY", only):
                names = [program.name for program in programs.ready([], binary)]
                self.assertEqual(names, ["program/maps"])
                self.assertIn("'strings' is left out", said.getvalue())
                with self.assertRaisesRegex(Problem, "'strings' needs mymalloc-program-strings"):
                    programs.ready(["strings"], binary)

    def test_what_lives_on_jemallocs_own_calls_is_left_out_with_a_word(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()) as said:
            one, other = (os.path.join(folder, name) for name in ("bound", "free"))
            for path, text in ((one, "void dallocx(void *, int); void f(void *p) { dallocx(p, 0); }"),
                               (other, "unsigned long nallocx(unsigned long, int); unsigned long f(void) { return nallocx(8, 0); }")):
                subprocess.run(["gcc", "-shared", "-fPIC", "-o", path, "-xc", "-"], input=text, text=True, check=True)
            with unittest.mock.patch.object(programs, "READY", {"lua": ((one,), "", ""), "perl": ((other,), "", "")}):
                self.assertEqual([program.name for program in programs.ready([], "")], ["program/perl"])
                self.assertIn("'lua' cannot be compared: " + one, said.getvalue())
                with self.assertRaisesRegex(Problem, "calls dallocx of the jemalloc"):
                    programs.ready(["lua"], "")


class Built(unittest.TestCase):
    """The programs that come with the benchmark check what they compute."""

    def test_they_run(self):
        names = ["maps", "objects"]
        names += ["strings"] * os.path.exists(os.path.join(BUILD, "bench/mymalloc-program-strings"))
        names += ["arrays16"] * os.path.exists(programs.NUMPY)
        places = {"PROGRAM_BUILD": os.path.join(BUILD, "bench"), "PROGRAM_INPUTS": programs.SCRIPTS}
        for name in names:
            done = subprocess.run(programs.command_of(name), env=os.environ | places, check=False,
                                  capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)


if __name__ == "__main__":
    unittest.main()
