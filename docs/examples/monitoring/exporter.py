#!/usr/bin/python3
"""Serve the heap's metrics of running programs to Prometheus, by mymalloc-stats.

  exporter.py [--port 9464] [--address 127.0.0.1] NAME...

Each process whose command name (/proc/PID/comm) is one of the names is looked at when the server
scrapes; its samples get the labels pid and comm. It must run as their user, or root.
"""
import argparse
import http.server
import pathlib
import re
import subprocess

SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\d+)$")


def processes(names):
    for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
        try:
            name = comm.read_text().strip()
        except OSError:  # it has ended
            continue
        if name in names:
            yield comm.parent.name, name


def scrape(names, tool):
    """One text of all processes: a metric's lines follow each other, whoever they are of."""
    heads, samples = {}, {}
    for pid, comm in processes(names):
        done = subprocess.run([tool, "--prometheus", pid], text=True, capture_output=True, check=False)
        if done.returncode != 0:
            print(done.stderr, end="", flush=True)
            continue
        for line in done.stdout.splitlines():
            match = SAMPLE.match(line)
            if match:
                labels = ",".join(filter(None, (match[2], f'pid="{pid}"', f'comm="{comm}"')))
                samples.setdefault(match[1], []).append(f"{match[1]}{{{labels}}} {match[3]}")
            else:
                heads.setdefault(line.split()[2], []).append(line)
    lines = [line for name, found in samples.items() for line in (*heads[name][:2], *found)]
    return "".join(f"{line}\n" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--port", type=int, default=9464)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--tool", default="mymalloc-stats", help="where mymalloc-stats is")
    arguments = parser.parse_args()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802  # http.server's name
            if self.path != "/metrics":
                self.send_error(404)
                return
            body = scrape(arguments.names, arguments.tool).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer((arguments.address, arguments.port), Handler) as server:
        print(f"http://{arguments.address}:{server.server_port}/metrics", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
