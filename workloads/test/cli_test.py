#!/usr/bin/python3
"""The `workload` programs and mymalloc-bench as a user meets them.

WORKLOAD_DIR names the folder of the workload programs, BENCH the bench binary (may be
empty), ALLOCATORS the programs built ("glibc mimalloc ..."), DAMAGED the faulty allocator.
"""
import json
import os
import re
import resource
import subprocess
import tempfile
import unittest

DIR = os.environ["WORKLOAD_DIR"]
BENCH = os.environ.get("BENCH", "")
ALLOCATORS = os.environ["ALLOCATORS"].split()
DAMAGED = os.environ["DAMAGED"]
LIBRARY = {  # the file in which malloc resolves, and what it calls itself
    "glibc": ("libc.so", "glibc "),
    "mimalloc": ("libmimalloc", "mimalloc "),
    "tcmalloc": ("libtcmalloc", "gperftools "),
    "jemalloc": ("libjemalloc", "jemalloc "),
    "mymalloc": ("libmymalloc_preload", "mymalloc "),
}


def run(*args, program="workload", limit=None, **env):
    def bound():
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    path = program if "/" in program else os.path.join(DIR, program)
    return subprocess.run([path, *args], capture_output=True, text=True, timeout=120,
                          env=dict(os.environ, **env), preexec_fn=bound, check=False)


class Refusals(unittest.TestCase):
    CASES = [
        ([], "which workload"),
        (["nothing"], "no workload 'nothing'"),
        (["larson", "--threads", "0"], "threads '0': must be a whole number from 1"),
        (["larson", "--threads"], "--threads needs a value"),
        (["larson", "--colour", "red"], "no option '--colour'"),
        (["larson", "extra"], "'extra' is not an option"),
        (["larson", "--variant", "big"], "must be one of: classic fixed"),
        (["larson", "--min-size", "2K"], "min-size must not be above max-size"),
        (["larson", "--remote", "50", "--threads", "1"], "remote needs threads 2"),
        (["larson", "--seconds", "1", "--generations", "2"], "which of the two ends"),
        (["xmalloc", "--order", "up"], "must be one of: lifo fifo"),
        (["sweep", "--variant", "cxx-pair"], "its allocator brings no operator new"),
        (["requests", "--variant", "monotonic"], "has no std::pmr"),
    ]

    def test_one_line_and_status_2(self):
        for args, says in self.CASES:
            with self.subTest(args=args):
                done = run(*args)
                self.assertEqual(done.returncode, 2)
                self.assertEqual(done.stdout, "")
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertIn(says, done.stderr)

    def test_out_of_memory_is_status_3_and_no_time(self):
        done = run("prodcons", "--variant", "free-only", limit=150 << 20)
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stderr, r"^workload: out of memory: malloc of \d+ bytes failed")
        self.assertNotIn("throughput", done.stdout)

    def test_too_many_threads_is_status_3(self):
        done = run("crowd", "--threads", "20000", limit=300 << 20)
        self.assertEqual(done.returncode, 3)
        self.assertNotIn("throughput", done.stdout)

    def test_damage_is_status_1_and_no_time(self):
        for fault, args in (("overlap", ["sweep", "--variant", "batch", "--pairs", "20000"]),
                            ("overlap", ["order", "--min-size", "64", "--max-size", "64",
                                         "--objects", "5000", "--cycles", "2"]),
                            ("dirty", ["zeroed", "--replacements", "20000"])):
            with self.subTest(fault=fault, args=args):
                args = args + ["--verify", "all"]
                good = run(*args, LD_PRELOAD=DAMAGED, DAMAGED="none")
                self.assertEqual(good.returncode, 0, good.stderr)
                done = run(*args, LD_PRELOAD=DAMAGED, DAMAGED=fault)
                self.assertEqual(done.returncode, 1)
                self.assertIn("were damaged", done.stderr)
                self.assertNotIn("throughput", done.stdout)


class Output(unittest.TestCase):
    def test_list_and_help_tell_everything(self):
        listing = run("--list")
        self.assertEqual(listing.returncode, 0)
        names = re.findall(r"^(\w+)", listing.stdout, re.M)
        for name in ("larson", "xmalloc", "prodcons", "churn", "fragment", "idle"):
            self.assertIn(name, names)
        for name in names:
            text = run(name, "--help").stdout
            self.assertIn("Source: ", text)
            header = run(name, "--variant", re.search(r"Variants.*\n  (\S+)", text)[1],
                         "--help")
            self.assertEqual(header.returncode, 0)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 140, line)

    def test_result_has_units(self):
        text = run("larson", "--threads", "2", "--seconds", "0.2").stdout
        for pattern in (r"time +\d+\.\d+ s", r"throughput +[\d.]+ (thousand|million) operations/s",
                        r"live peak +[\d.]+ MiB", r"RSS peak +[\d.]+ MiB",
                        r"page faults +\d+ minor", r"verified +\d+ objects, all intact"):
            self.assertRegex(text, pattern)

    def test_an_amount_of_work_replaces_the_time(self):
        text = run("larson", "--generations", "1", "--threads", "2").stdout
        self.assertIn(" seconds=0 ", text)
        self.assertRegex(text, r"operations +1000000 ")

    def test_samples(self):
        text = run("larson", "--seconds", "0.2", "--samples").stdout
        rows = re.findall(r"^ +[\d.]+ +\d{7} +\d+$", text, re.M)
        self.assertGreater(len(rows), 1)  # how many depends on the machine's load

    def test_latency_is_ordered(self):
        text = run("larson", "--variant", "latency", "--generations", "2").stdout
        for call in ("malloc", "free"):
            row = re.search(rf"^{call} .*\(\d+ calls\)$", text, re.M)[0]
            values = [float(v) for v in re.findall(r"(\d+) ns", row)]
            self.assertEqual(values, sorted(values))
            self.assertGreater(values[0], 0)


class Linked(unittest.TestCase):
    def test_each_program_carries_its_allocator(self):
        for name in ALLOCATORS:
            with self.subTest(allocator=name):
                done = run("sweep", "--pairs", "1000", program="workload-" + name)
                self.assertEqual(done.returncode, 0, done.stderr)
                where = re.search(r"^malloc from +(.*)$", done.stdout, re.M)[1]
                self.assertIn(LIBRARY[name][0], where)


    def test_operators_are_the_allocator_s(self):
        """All but glibc's, which has none, nor has a program in C."""
        for name in ALLOCATORS:
            for args, ops in ((["larson", "--variant", "cxx", "--generations", "2", "--rounds", "2"], 40000),
                              (["sweep", "--variant", "cxx-pair", "--pairs", "1000"], 1000),
                              (["sweep", "--variant", "cxx-batch", "--pairs", "3001"], 3001)):
                with self.subTest(allocator=name, args=args):
                    done = run(*args, "--verify", "all", program="workload-" + name)
                    self.assertEqual(done.returncode, 2 if name == "glibc" else 0, done.stderr)
                    if name != "glibc":
                        self.assertRegex(done.stdout, rf"operations +{ops} ")

    def test_calls_name_the_operators(self):
        """A library in front that has operator new alone is called, and only where asked for."""
        with tempfile.TemporaryDirectory() as folder:
            library = os.path.join(folder, "counting.so")
            source = ("#include <stdlib.h>\n#include <stdio.h>\nstatic long made, sized;\n"
                      "void *_Znwm(size_t size) { made++; return malloc(size); }\n"
                      "void _ZdlPvm(void *p, size_t size) { sized += size; free(p); }\n"
                      "__attribute__((destructor)) static void tell(void)\n"
                      '{ fprintf(stderr, "%ld new, %ld bytes\\n", made, sized); }\n')
            subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=source,
                           text=True, check=True)
            for variant, says in (("cxx-pair", "500 new, 32000 bytes"), ("cxx-batch", "500 new, 32000 bytes"),
                                  ("pair", "0 new, 0 bytes")):
                done = run("sweep", "--variant", variant, "--pairs", "500", LD_PRELOAD=library)
                self.assertIn(says, done.stderr)


@unittest.skipUnless(BENCH, "mymalloc-bench is not built")
class Bench(unittest.TestCase):
    def cell(self, name, **env):
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            done = run(f"--benchmark_filter=^{re.escape(name)}$", "--benchmark_format=json",
                       "--benchmark_out=" + out.name, "--benchmark_out_format=json",
                       program=BENCH, **dict({"MYMALLOC_BENCH_SCALE": "0.01"}, **env))
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(out.name, encoding="utf-8") as file:
                report = json.load(file)
        self.assertEqual([b["name"] for b in report["benchmarks"]], [name])
        return report["context"], report["benchmarks"][0]

    def library(self, name):
        text = run("sweep", "--pairs", "1", program="workload-" + name).stdout
        return re.search(r"^malloc from +(.*)$", text, re.M)[1]

    def test_cells_have_the_names_of_the_contract(self):
        cells = run("--benchmark_list_tests", program=BENCH).stdout.split()
        self.assertEqual(len(cells), len(set(cells)))
        for name in ("larson/classic/threads:2", "larson/fixed/threads:8",
                     "xmalloc/64B/pairs:2", "xmalloc/mixed/pairs:1", "prodcons/1to1",
                     "prodcons/Nto1", "prodcons/1toN", "prodcons/free-only",
                     "sweep/pair/size:64", "larson/cxx/threads:2", "sweep/cxx-pair/size:64",
                     "idle/1GiB"):
            self.assertIn(name, cells)

    def test_context_proves_the_allocator(self):
        for name in ALLOCATORS:
            with self.subTest(allocator=name):
                preload = "" if name == "glibc" else self.library(name)
                context, _ = self.cell("prodcons/1to1", LD_PRELOAD=preload)
                self.assertIn(LIBRARY[name][0], context["allocator_path"])
                self.assertTrue(context["allocator_version"].startswith(LIBRARY[name][1]),
                                context["allocator_version"])
                self.assertEqual("allocator_frontend" in context, name == "mymalloc")

    def test_counters(self):
        _, cell = self.cell("larson/latency/threads:2")
        for counter in ("ops", "ops_per_second", "live_bytes", "peak_rss_bytes",
                        "base_rss_bytes", "rss_end_bytes", "minor_faults",
                        "malloc_p50_ns", "free_p999_ns"):
            self.assertGreater(cell[counter], 0, counter)
        self.assertLess(cell["malloc_calls"], cell["ops"] / 50)  # one in 61 is timed
        _, all_timed = self.cell("larson/stalls/threads:2")
        self.assertEqual(all_timed["malloc_calls"], all_timed["ops"])
        self.assertGreaterEqual(all_timed["malloc_max_ns"], all_timed["malloc_p9999_ns"])
        self.assertEqual(cell["failed"], 0)
        self.assertAlmostEqual(cell["real_time"] / 1e3,
                               cell["ops"] / cell["ops_per_second"], delta=1e-6)
        _, cell = self.cell("prodcons/drain")
        for moment in ("0.1s", "1s", "5s"):
            self.assertGreater(cell[f"rss_after_{moment}_bytes"], 0)

    def test_cxx(self):
        for name, twin in (("larson/cxx/threads:2", "larson/fixed/threads:2"),
                           ("sweep/cxx-pair/size:64", "sweep/pair/size:64")):
            for null in ("0", "1"):
                with self.subTest(cell=name, null=null):
                    _, cell = self.cell(name, MYMALLOC_BENCH_NULL=null)
                    _, same = self.cell(twin, MYMALLOC_BENCH_NULL=null)
                    self.assertEqual(cell["ops"], same["ops"])

    def test_requests_dropped_together(self):
        for null in ("0", "1"):
            _, same = self.cell("requests/small/threads:1", MYMALLOC_BENCH_NULL=null)
            for name in ("requests/arena/threads:1", "requests/monotonic"):
                with self.subTest(cell=name, null=null):
                    _, cell = self.cell(name, MYMALLOC_BENCH_NULL=null)
                    self.assertEqual(cell["ops"], same["ops"])

    def test_scale_and_the_null_heap(self):
        _, half = self.cell("xmalloc/64B/pairs:1", MYMALLOC_BENCH_SCALE="0.1")
        _, full = self.cell("xmalloc/64B/pairs:1", MYMALLOC_BENCH_SCALE="0.2")
        self.assertEqual(full["ops"], 2 * half["ops"])
        _, least = self.cell("xmalloc/64B/pairs:1", MYMALLOC_BENCH_SCALE="0.001")
        self.assertEqual(least["ops"], 250 * 4096)
        context, null = self.cell("xmalloc/64B/pairs:1", MYMALLOC_BENCH_NULL="1")
        self.assertEqual(context["harness_heap"], "null")
        self.assertEqual(null["ops"], least["ops"])
        self.assertEqual(null["label"], "batches=250")  # no less, but no more either

    def test_the_harness_has_an_interval(self):
        for name in ("sweep/pair/size:64", "order/random", "swing/buffers/bytes:8M"):
            _, null = self.cell(name, MYMALLOC_BENCH_NULL="1")
            self.assertLessEqual(null["harness_ns_low"], null["harness_ns"])
            self.assertLessEqual(null["harness_ns"], null["harness_ns_high"])
            self.assertAlmostEqual(null["harness_ns"] / null["ns_per_op"], 1)
            _, real = self.cell(name)
            self.assertNotIn("harness_ns", real)
            self.assertAlmostEqual(real["ns_per_op"] * real["ops_per_second"] / 1e9, 1)

    def test_a_cell_tells_its_true_work(self):
        _, cell = self.cell("sweep/pair/size:64", MYMALLOC_BENCH_SCALE="0.01")
        self.assertEqual(cell["label"], "pairs=500000")
        self.assertEqual(cell["ops"], 500000)

    def test_a_size_in_a_name_is_held(self):
        for name, mib in (("idle/64MiB", 64), ("swing/buffers/bytes:8M", 8),
                          ("walk/aged/bytes:64M", 64), ("idle/survivors", 366), ("fragment/swiss", 256)):
            with self.subTest(cell=name):
                _, cell = self.cell(name, MYMALLOC_BENCH_SCALE="0.01")
                self.assertGreater(cell["live_bytes"], 0.97 * (mib << 20))
                self.assertLess(cell["base_rss_bytes"], cell["peak_rss_bytes"])
                self.assertGreater(cell["peak_rss_bytes"] - cell["base_rss_bytes"],
                                   0.97 * (mib << 20))

    def test_refusals(self):
        for args, env, says in ((["--benchmark_filter=none"], {}, "no cell matches 'none'"),
                                (["--benchmark_filter=("], {}, "not a regular expression"),
                                (["--colour"], {}, "'--colour' is not an option"),
                                ([], {"MYMALLOC_BENCH_SCALE": "0"}, "above 0"),
                                ([], {"MYMALLOC_BENCH_NULL": "yes"}, "must be 0 or 1")):
            done = run(*args, program=BENCH, **env)
            self.assertEqual(done.returncode, 2, args)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn(says, done.stderr)

    def test_a_damaged_cell_is_marked(self):
        done = run("--benchmark_filter=^sweep/batch/size:64$", "--benchmark_format=json",
                   program=BENCH, LD_PRELOAD=DAMAGED, DAMAGED="overlap",
                   MYMALLOC_BENCH_SCALE="0.01")
        # sweep checks nothing by itself, so that a fault passes; zeroed does check
        self.assertEqual(done.returncode, 0)
        done = run("--benchmark_filter=^zeroed/small$", "--benchmark_format=json",
                   program=BENCH, LD_PRELOAD=DAMAGED, DAMAGED="dirty",
                   MYMALLOC_BENCH_SCALE="0.01")
        self.assertEqual(done.returncode, 1)
        self.assertIn("zeroed/small: ", done.stderr)
        report = json.loads(done.stdout[done.stdout.index("{"):])
        self.assertEqual(report["benchmarks"][0]["failed"], 1)


if __name__ == "__main__":
    unittest.main()
