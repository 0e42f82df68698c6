"""The programs of ci/soak: how each is started, loaded and checked, and what happens to it."""
import http.client
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import time
import zlib

PATH = "/usr/bin:/bin:/usr/sbin:/sbin:" + os.environ.get("PATH", "")  # Debian's programs first
HERE = pathlib.Path(__file__).resolve().parent


class Wrong(Exception):
    """An answer that is wrong, or none."""


class Program:
    """One process, possibly with children, on the library."""
    name = ""
    needs = ()

    def __init__(self, folder, library):
        self.folder = folder / self.name
        self.folder.mkdir()
        self.library, self.process, self.pid = library, None, 0
        self.log = self.folder / "stderr"

    def installed(self):
        return all(shutil.which(need, path=PATH) for need in self.needs)

    def launch(self, command, **options):
        environment = {**os.environ, "LD_PRELOAD": str(self.library), "PATH": PATH}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(word) for word in command], env=environment, cwd=self.folder,
                                            stderr=log, **options)
        self.pid = self.process.pid

    def wait_for(self, question):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if question():
                    break
            except (OSError, Wrong, http.client.HTTPException):
                pass
            time.sleep(0.2)
        else:
            raise Wrong(f"{self.name} does not answer after a minute: {self.log.read_text(errors='replace')[-300:]}")
        self.is_on_library()

    def is_on_library(self):
        owner = os.stat(f"/proc/{self.pid}")
        # In a container root may not look into other users' processes; they themselves may.
        who = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
        maps = subprocess.run(["cat", f"/proc/{self.pid}/maps"], capture_output=True, text=True, check=False,
                              **who).stdout
        if "libmymalloc_preload" not in maps:
            raise Wrong(f"{self.name} runs without the library")

    def check(self):
        status = self.process.poll()
        if status is not None:
            raise Wrong(f"ended with {status}: {self.log.read_text(errors='replace')[-300:]}")

    def said(self):
        if not self.log.exists():
            return []
        return [line for line in self.log.read_text(errors="replace").splitlines() if line.startswith("mymalloc: ")][:5]

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Redis(Program):
    """20,000 keys with values of 10 B to 20 KiB, replaced and read; saved in a fork, limited, trimmed."""
    name, needs, keys = "redis", ("redis-server",), 20000

    def start(self):
        path = self.folder / "socket"
        self.launch(["redis-server", "--port", 0, "--unixsocket", path, "--save", "", "--dir", self.folder,
                     "--maxmemory-policy", "allkeys-lru"], stdout=subprocess.DEVNULL)
        self.values = {}

        def answers():
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(str(path))
            self.file = self.socket.makefile("rwb")
            return self.ask("PING") == b"PONG"

        self.wait_for(answers)

    def ask(self, *words):
        data = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.file.write(b"*%d\r\n" % len(data) + b"".join(b"$%d\r\n%s\r\n" % (len(one), one) for one in data))
        self.file.flush()
        line = self.file.readline()
        if line[:1] == b"$":
            size = int(line[1:])
            return None if size < 0 else self.file.read(size + 2)[:-2]
        if line[:1] == b"-" or not line:
            raise Wrong(f"{words[0]} is answered by {line!r}")
        return line[1:-2]

    def load(self, rng):
        for _ in range(300):
            key = rng.randrange(self.keys)
            if key in self.values and rng.random() < 0.5:
                value = self.ask("GET", key)
                # A smaller limit may have evicted it.
                if value is not None and zlib.crc32(value) != self.values[key]:
                    raise Wrong(f"key {key} has another value than was stored")
            else:
                value = rng.randbytes(int(10 * 2000 ** rng.random()))
                self.ask("SET", key, value)
                self.values[key] = zlib.crc32(value)
        return 300

    def event(self, rng):
        what = rng.choice(("save", "limit", "lists"))
        if what == "save":
            try:
                self.ask("BGSAVE")
            except Wrong as wrong:
                if "already in progress" not in str(wrong):
                    raise
        elif what == "limit":
            self.ask("CONFIG", "SET", "maxmemory", rng.choice((0, "30mb", "100mb")))
        else:
            for _ in range(2000):
                self.ask("RPUSH", "list", rng.randbytes(rng.randrange(200)))
            self.ask("DEL", "list")


class Postgres(Program):
    """pgbench's tables; each step a hundred transactions of four clients, and their sums compared."""
    name, needs = "postgres", ("psql", "runuser")

    def installed(self):
        self.bin = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), default=None)
        return super().installed() and self.bin is not None

    def call(self, *words, on=False):
        environment = {**os.environ, **({"LD_PRELOAD": str(self.library)} if on else {})}
        done = subprocess.run([str(word) for word in (*self.as_user, *words)], capture_output=True, text=True, check=False,
                              cwd=self.folder, env=environment)
        if done.returncode != 0 or "mymalloc: " in done.stderr:
            raise Wrong(f"{words[0]}: status {done.returncode}: {done.stderr[-300:]}")
        return done.stdout.strip()

    def sql(self, statement):
        return self.call("psql", "-h", self.data, "-At", "-d", "postgres", "-c", statement)

    def start(self):
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        self.as_user = ()
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            self.as_user = ("runuser", "-u", "postgres", "--")
            for path in (self.folder, self.data):
                os.chown(path, user.pw_uid, user.pw_gid)
        self.call(self.bin / "initdb", "-D", self.data, "-A", "trust", "--no-sync", on=True)
        self.launch([*self.as_user, self.bin / "postgres", "-D", self.data, "-k", self.data, "-c", "listen_addresses=",
                     "-c", "fsync=off", "-c", "autovacuum_naptime=10"], stdout=subprocess.DEVNULL)
        pid = self.data / "postmaster.pid"

        def answers():
            self.sql("select 1")
            self.pid = int(pid.read_text().split()[0])
            return True

        self.wait_for(answers)
        self.call(self.bin / "pgbench", "-h", self.data, "-i", "-s", 1, "-q", "postgres")

    def load(self, rng):
        self.call(self.bin / "pgbench", "-h", self.data, "-n", "-c", 4, "-t", 25, "--random-seed",
                  rng.randrange(1 << 30), "postgres")
        return 100

    def event(self, rng):
        if rng.random() < 0.5:
            os.kill(self.pid, signal.SIGHUP)
        else:
            self.sql("truncate pgbench_history")
            self.sql("vacuum")
        same = self.sql("select (select sum(abalance) from pgbench_accounts) = (select sum(tbalance) from pgbench_tellers)")
        if same != "t":
            raise Wrong("the sums of accounts and tellers differ")


class UnixHTTP(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.host)


class Nginx(Program):
    """A file of 300 kB, compressed and not, byte by byte the same; reloads replace the workers."""
    name, needs = "nginx", ("nginx",)

    def start(self):
        pages, self.path = self.folder / "html", self.folder / "socket"
        pages.mkdir()
        self.content = json.dumps([{"name": f"row {row}", "value": row * row} for row in range(8000)]).encode()
        (pages / "file.json").write_bytes(self.content)
        places = " ".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in
                          ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.folder / "conf").write_text(
            f"daemon off; worker_processes 2; pid {self.folder}/pid; error_log {self.folder}/error.log; user root;\n"
            f"events {{ worker_connections 64; }}\nhttp {{ access_log off; gzip on; gzip_types *; {places}\n"
            f"server {{ listen unix:{self.path}; root {pages}; }} }}\n")
        self.launch(["nginx", "-c", self.folder / "conf"], stdout=subprocess.DEVNULL)
        self.wait_for(lambda: self.fetch({}))

    def fetch(self, headers):
        connection = UnixHTTP(str(self.path), timeout=60)
        try:
            connection.request("GET", "/file.json", headers={"Host": "soak", **headers})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.getheader("Content-Encoding") == "gzip":
            data = zlib.decompress(data, 31)
        if answer.status != 200 or data != self.content:
            raise Wrong(f"status {answer.status}, {len(data)} of {len(self.content)} bytes, or other ones")
        return True

    def load(self, rng):
        for _ in range(20):
            self.fetch({"Accept-Encoding": "gzip"} if rng.random() < 0.5 else {})
        return 20

    def event(self, _):
        os.kill(self.pid, signal.SIGHUP)


class Interpreter(Program):
    """A script that holds thousands of documents and replaces some at each line; it answers with a checksum."""

    def start(self):
        self.launch([self.needs[0], HERE / self.script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer("0 0", "0")
        self.is_on_library()

    def answer(self, line, expected):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            got = self.process.stdout.readline().strip()
        except OSError as error:
            raise Wrong(f"does not answer: {error}") from error
        if got != expected:
            raise Wrong(f"'{line}' is answered by '{got}', not by '{expected}'")

    def load(self, rng):
        # Sum of (n * 31 + seed) mod 1009 over the numbers replaced: what the script finds in its documents.
        seed, count = rng.randrange(1, 10000), 500
        self.answer(f"{seed} {count}", str(sum((number * 31 + seed) % 1009 for number in range(count))))
        return count

    def event(self, _):
        self.answer("fork", "forked")


class Python(Interpreter):
    name, needs, script = "python3", ("python3",), "documents.py"


class Node(Interpreter):
    name, needs, script = "node", ("node",), "documents.js"


PROGRAMS = {one.name: one for one in (Redis, Postgres, Nginx, Python, Node)}
