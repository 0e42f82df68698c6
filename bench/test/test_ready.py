"""Each ready server lives one short life under a preloaded library; and what its check is for, it finds."""
import http.server
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import unittest
import unittest.mock

from support import BUILD
from test_programs import LIBRARY

from suite import allocators, glossary, programs, session

PART = "100"  # of the work


def is_installed(name):
    return all(programs.is_there(command, str(BUILD / "bench")) for command in programs.READY[name][0])


class Scratch(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="suite-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.folder.chmod(0o711)  # postgres, started by root, becomes another user


@unittest.skipUnless(LIBRARY, "neither mimalloc nor tcmalloc nor jemalloc is installed")
class Life(Scratch):
    def live(self, name):
        """The figures of one short life; its identity is another test's subject."""
        if not is_installed(name):
            self.skipTest(f"{programs.READY[name][1]}: ci/setup ready installs it")
        program = programs.program_of(name, programs.READY[name][2])
        column = allocators.library("other", LIBRARY, {})
        plan = session.Plan([], [], None, str(BUILD / "bench/mymalloc-bench"), seed=1, rest=0.1)
        with unittest.mock.patch.dict(os.environ, PROGRAM_PART=PART):
            sample = programs.sample(program, column, plan, self.folder, {(program.name, column.name)})
        self.assertNotIn("failure", sample["suite"])
        self.assertGreater(len(glossary.of_ready(name)), 40)
        return sample["benchmarks"][0] | {"timeline": sample["suite"]["timeline"]}

    def serve(self, name, *commands):
        found = self.live(name)
        self.assertEqual({key.split("/")[1] for key in found if "/" in key}, set(commands))
        rates = [found[f"load/{command}/requests_per_second"] for command in commands]
        self.assertTrue(min(rates) <= found["ops_per_second"] <= max(rates))
        for part in ("load_", *(f"load/{command}/" for command in commands)):
            points = [found[f"{part}{point}_ns"] for point in ("p50", "p99", "p999")]
            self.assertTrue(0 < points[0] <= points[1] <= points[2], (part, points))
        self.assertGreater(found["rss_after_0.1s_bytes"], 2**20)
        self.assertGreaterEqual(found["peak_rss_bytes"], max(rss for _, _, rss in found["timeline"]))
        self.assertGreater(found["rss_integral_bytes_s"], 0)

    def test_redis(self):
        self.serve("redis", "SET", "GET", "INCR", "LPUSH", "SADD", "HSET", "ZADD", "SET 2 KiB", "GET 2 KiB")

    def test_memcached(self):
        self.serve("memcached", "set", "get", "delete")

    def test_nginx(self):
        self.serve("nginx", "kept", "one a request", "packed")

    def test_postgres(self):
        """Started by root it is another user, who may not read what lies in /root."""
        own = self.folder / "own"
        shutil.copytree(programs.SCRIPTS, own)
        own.chmod(0o700)
        with unittest.mock.patch.object(programs, "SCRIPTS", str(own)):
            self.serve("postgres", "transactions", "queries")

    def test_programs_that_end(self):
        for name in ("ffmpeg", "rocksdb"):
            with self.subTest(name):
                self.assertGreater(self.live(name)["peak_rss_bytes"], 2**20)


class Checks(Scratch):
    """In place of the programs stand some that answer wrongly."""

    def refusal(self, script, *words, **instead):
        """What the script says of it; instead: {program: its text as a shell script}"""
        for name, text in instead.items():
            path = self.folder / {"redis_cli": "redis-cli", "redis_benchmark": "redis-benchmark"}.get(name, name)
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)
        done = subprocess.run(
            ["/bin/sh", os.path.join(programs.SCRIPTS, script), *words], capture_output=True, text=True, check=False,
            env=os.environ | {"PATH": f"{self.folder}:{os.environ['PATH']}", "PROGRAM_SCRATCH": str(self.folder),
                              "PROGRAM_INPUTS": programs.SCRIPTS, "PROGRAM_PART": PART})
        self.assertEqual(done.returncode, 1, done)
        return done.stderr

    def test_redis(self):
        """It loses what is in its list; and a value."""
        cli = 'if [ "$3" ]; then echo 7; else sed "s/^SET.*/OK/; s/^GET check:.*/x/"; fi'
        said = self.refusal("redis.sh", "load", redis_cli=cli, redis_benchmark="exit 0")
        self.assertIn("redis: a value is not what was stored", said)
        cli = cli.replace("x/", "&/").replace("sed ", 'awk \'/^SET/ { print "OK" } /^GET/ { i = substr($2, 7); '
                                              'printf "%0" (8 + i * 7 % 2000) "d\\n", i }\' || sed ')
        said = self.refusal("redis.sh", "load", redis_cli=cli, redis_benchmark="exit 0")
        self.assertIn("redis: length of the list: 7 instead of 2000", said)

    def test_nginx(self):
        class Other(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"another page")

            def log_message(self, *_):
                pass
        (self.folder / "www").mkdir()
        (self.folder / "www/small").write_text("the page")
        with http.server.HTTPServer(("127.0.0.1", 0), Other) as served:
            (self.folder / "port").write_text(str(served.server_port))
            threading.Thread(target=served.handle_request).start()
            self.assertIn("nginx: small, identity: the answer is not the page", self.refusal("nginx.sh", "load"))

    def test_ffmpeg(self):
        said = self.refusal("ffmpeg.sh", ffmpeg='for last; do :; done; echo "$last" >"$last"')
        self.assertIn("ffmpeg: what was decoded is not what was encoded", said)

    def test_rocksdb(self):
        lines = "echo 'readrandom : (1000 of 1000 found)'; echo 'seekrandom : ({} of 1000 found)'"
        self.assertIn("rocksdb: keys are missing", self.refusal("rocksdb.sh", db_bench=lines.format(999)))
        self.assertIn("checksums were not verified", self.refusal("rocksdb.sh", db_bench=lines.format(1000)))
        self.assertIn("Corruption", self.refusal("rocksdb.sh", db_bench="echo Corruption: block; exit 1"))


if __name__ == "__main__":
    unittest.main()
