"""A server under each allocator, and the load that drives it without."""
import os
import socket
import unittest

from support import BUILD, SuiteCase
from test_programs import LIBRARY

from suite import server, text

# Serves lines over a socket whose path it is given; holds 8 MiB; ends by SIGTERM.
SERVER = """
import os, socketserver, sys
held = [bytes(1000) for _ in range(8000)]
with open(sys.argv[1] + ".pid", "w") as file:
    file.write(str(os.getpid()))
class Line(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())
socketserver.UnixStreamServer(sys.argv[1], Line).serve_forever()
"""
LOAD = """
import os, socket, sys
assert "LD_PRELOAD" not in os.environ
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
with link.makefile("rwb") as file:
    for _ in range(200):
        file.write(b"x\\n")
        file.flush()
        assert file.readline() == b"X\\n"
print("throughput 4000\\np50 0.5 ms\\np99: 2 ms\\np99.9=7.5 ms")
"""


@unittest.skipUnless(LIBRARY, "neither mimalloc nor tcmalloc nor jemalloc is installed")
class Server(SuiteCase):
    def setUp(self):
        super().setUp()
        (self.folder / "server.py").write_text(SERVER)
        (self.folder / "load.py").write_text(LOAD)

    def command(self, script):
        return f"/usr/bin/python3 -S {self.folder}/{script}.py $PROGRAM_SCRATCH/socket"

    def serve(self, more=(), **commands):
        commands = {"server": f"env PYTHONMALLOC=malloc {self.command('server')}", "ready": "test -S $PROGRAM_SCRATCH/socket",
                    "load": self.command("load")} | commands
        words = [word for name, command in commands.items() for word in (f"--{name}", command)]
        return self.bench(*words, *more, "--rounds", "2", "--rest", "0.2s", "--allocator", f"other={LIBRARY}", build=BUILD, columns=())

    def test_throughput_percentiles_and_memory_over_its_life(self):
        status, out, err = self.serve()
        self.assertEqual(status, 0, err)
        for column in ("glibc", "other"):
            row = self.row("server/env", column)
            self.assertEqual((row["runs"], row["speed"]), (2, 4000))
            self.assertEqual([row["more"][f"load_{point}_ns"] for point in ("p50", "p99", "p999")], [5e5, 2e6, 7.5e6])
            self.assertGreater(row["more"]["rss_after_0.1s_bytes"], 8 * 2**20)
            self.assertGreater(len(row["timeline"]), 5)
            self.assertGreater(row["integral"], 0.2 * 8)
        self.assertIn("p99.9", out)
        page = (self.out / "report.html").read_text(encoding="utf-8")
        self.assertRegex(page, r'\["p99","2.00 ms","2.00 ms"\],.*\["RSS 0.1 s after the load","[\d.]+ MiB","[\d.]+ MiB"\]')
        self.assertIn("Servers (1 program)", out)

    def failure(self, timeout="100s", **commands):
        status, _, _ = self.serve(more=("--timeout", timeout), **commands)
        self.assertEqual(status, 1)
        return self.row("server/env", "other")["failure"]

    def test_a_server_that_ends_at_once(self):
        failure = self.failure(server="env sh -c 'echo no such disk >&2; exit 3'")
        self.assertIn("ended before it was ready (the server: exit status 3: no such disk)", failure)

    def test_a_server_that_crashes_under_its_load(self):
        """It is to blame, not the load that then found nobody."""
        failure = self.failure(load="kill -SEGV $(cat $PROGRAM_SCRATCH/socket.pid); exit 1")
        self.assertIn("the load: exit status 1 (the server: crashed: SIGSEGV)", failure)

    def test_a_load_that_fails(self):
        self.assertIn("the load: exit status 3", self.failure(load="exit 3"))

    def test_a_server_that_is_never_ready(self):
        self.assertIn("was not ready within 5 s", self.failure("5s", ready="exit 1"))

    def test_a_part_that_is_missing_is_named(self):
        self.refused(["--server", "x", "--load", "y"], "--ready is missing")
        self.refused(["--stop", "x"], "--server is missing")
        self.refused(["--server", "x", "--ready", "y", "--load", "z", "--programs", "lua"], "choose one of")
        self.refused(self.arguments("--server", "no-such-command", "--ready", "y", "--load", "z"), "'no-such-command'")


class Told(unittest.TestCase):
    def test_what_load_generators_print(self):
        redis = ("SET: rps=1.0 (overall: 9.9)\rSET: 100000.00 requests per second, p50=0.103 msec\n"
                 "GET: 400000.00 requests per second, p50=0.095 msec\n")
        self.assertEqual(server.told(redis), {
            "requests_per_second": 200000, "load_p50_ns": 103000,
            "load/SET/requests_per_second": 100000, "load/SET/p50_ns": 103000,
            "load/GET/requests_per_second": 400000, "load/GET/p50_ns": 95000})
        ab = ("Requests per second:    5000.50 [#/sec] (mean)\nPercentage of the requests\n"
              "  50%      1\n  66%      1\n  99%      4\n 100%     12 (longest request)\n")
        self.assertEqual(server.told(ab), {"requests_per_second": 5000.5, "load_p50_ns": 1e6, "load_p99_ns": 4e6})
        wrk = "  Latency Distribution\n     50%  635.00us\n     99%    1.20ms\nRequests/sec:  72000.12\n"
        self.assertEqual(server.told(wrk), {"requests_per_second": 72000.12, "load_p50_ns": 635000, "load_p99_ns": 1.2e6})
        self.assertEqual(server.told("latency average = 1.5 ms\ntps = 800.25 (without initial connection time)\n"),
                         {"requests_per_second": 800.25})
        self.assertEqual(server.told("nothing of the kind\n"), {})
        self.assertEqual(server.told("throughput ...\np99 ... comes next\n. requests per second\nthroughput 12\np99 1.5.\n"),
                         {"requests_per_second": 12, "load_p99_ns": 1.5e6})

    def test_all_that_redis_benchmark_prints(self):
        def block(name, rate, p50, p99, tail):
            return (f"====== {name} ======\n  2000 requests completed in 0.05 seconds\n\n"
                    f"Latency by percentile distribution:\n50.000% <= {p50} milliseconds (cumulative count 1)\n"
                    f"99.805% <= 0.001 milliseconds (cumulative count 2)\n99.902% <= {tail} milliseconds (cumulative count 2)\n\n"
                    f"Summary:\n  throughput summary: {rate} requests per second\n  latency summary (msec):\n"
                    "          avg       min       p50       p95       p99       max\n"
                    f"        0.754     0.096     {p50}     0.951     {p99}    99.000\n")
        found = server.told("\n" + block("SET", "1000.00", "0.5", "2.5", "3.5") + block("HSET 2 KiB", "250.00", "0.25", "3.0", "3.25"))
        self.assertEqual(found, {
            "requests_per_second": 500, "load_p50_ns": 5e5, "load_p99_ns": 3e6, "load_p999_ns": 3.5e6,
            "load/SET/requests_per_second": 1000, "load/SET/p50_ns": 5e5, "load/SET/p99_ns": 2.5e6, "load/SET/p999_ns": 3.5e6,
            "load/HSET 2 KiB/requests_per_second": 250, "load/HSET 2 KiB/p50_ns": 2.5e5, "load/HSET 2 KiB/p99_ns": 3e6,
            "load/HSET 2 KiB/p999_ns": 3.25e6})

    def test_the_table_of_commands(self):
        def row(column, output):
            return {"column": column, "runs": 2, "more": server.told(output)} if output else {
                "column": column, "runs": 0, "failure": "crashed"}
        rows = [row("glibc", "SET: 1000 requests per second, p99=2 ms\nGET /x: 4000 requests per second, p99=0.5 ms\n"),
                row("a", "SET: 2000 requests per second, p99=1 ms\nGET /x: 8000 requests per second\n"), row("b", "")]
        self.assertEqual(text.load_table({"rows": rows}), (["command: requests, p99", "glibc", "a", "b"], [
            ["SET", "1.00 k/s, 2.00 ms", "2.00 k/s, 1.00 ms", "–"], ["GET /x", "4.00 k/s, 500 µs", "8.00 k/s", "–"],
            ["p99, the worst", "2.00 ms", "1.00 ms", "–"]]))
        self.assertIsNone(text.load_table({"rows": [row("glibc", "nothing of the kind")]}))

    def test_resident_memory_is_of_all_below(self):
        self.assertEqual(server.resident(os.getpid()), 0)
        with socket.socket():
            self.assertEqual(server.children(2**22 + 1), [])


if __name__ == "__main__":
    unittest.main()
