#!/usr/bin/python3
"""The examples for Prometheus and Grafana: the exporter's text of two processes, and that the
dashboard and the alerts ask for metrics that there are.

  monitoring.py FOLDER TOOL KNOWN-PROGRAM
"""
import json
import pathlib
import re
import subprocess
import sys
import urllib.error
import urllib.request

FOLDER, TOOL, KNOWN = (pathlib.Path(argument) for argument in sys.argv[1:])
METRIC = r"\b(?:mymalloc|process)_[a-z_]+"
SAMPLE = re.compile(r"([a-z_]+)\{((?:[a-z_]+=\"[^\"\\]*\",?)+)\} \d+")


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got}, not {wanted}")


def start(*command):
    process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return process, process.stdout.readline()


def known():
    process, line = start(KNOWN, "--wait")
    while line not in ("ready\n", ""):
        line = process.stdout.readline()
    return process


def check_exporter():
    """Returns the names of the metrics."""
    running = [known(), known()]
    exporter, url = start(sys.executable, FOLDER / "exporter.py", "--port", "0", "--tool", TOOL, KNOWN.name[:15])
    try:
        with urllib.request.urlopen(url.strip()) as answer:
            text = answer.read().decode()
            expect("type", answer.headers["Content-Type"], "text/plain; version=0.0.4")
        try:
            urllib.request.urlopen(url.strip() + "/none")
            sys.exit("another path is answered")
        except urllib.error.HTTPError as error:
            expect("another path", error.code, 404)
    finally:
        exporter.terminate()
        for process in (exporter, *running):
            process.communicate()
    names, name, seen = [], None, set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, seen = line.split()[2], set()
            names.append(name)
        elif not line.startswith(f"# TYPE {name} "):
            match = SAMPLE.fullmatch(line)
            expect(line, bool(match) and match[1] == name and match[2] not in seen, True)
            seen.add(match[2])
    expect("each name once", len(set(names)), len(names))
    for process in running:
        wanted = f'mymalloc_allocated_bytes{{kind="mapping",pid="{process.pid}",comm="{KNOWN.name[:15]}"}} {64 << 20}'
        expect(f"{wanted} in {text}", wanted in text.splitlines(), True)
    return set(names)


def check_dashboard(names):
    board = json.loads((FOLDER / "grafana.json").read_text())
    expect("title", board["title"], "mymalloc")
    taken, asked, variables = set(), set(), {variable["name"] for variable in board["templating"]["list"]}
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        expect(f"{panel['title']} overlaps", taken & cells, set())
        expect(f"{panel['title']} in 24 columns", place["x"] + place["w"] <= 24, True)
        taken |= cells
        for target in panel["targets"]:
            expect(f"parentheses of {target['expr']}", target["expr"].count("("), target["expr"].count(")"))
            asked.update(re.findall(METRIC, target["expr"]))
            for variable in re.findall(r"\$(?!__)\{?(\w+)", json.dumps(target)):
                expect(f"{variable} of {panel['title']} is a variable", variable in variables, True)
    expect("metrics that there are not", asked - names, set())
    expect("ids", len({panel["id"] for panel in board["panels"]}), len(board["panels"]))


def check_rules(names):
    text = (FOLDER / "rules.yml").read_text()
    expressions = re.findall(r"^ +expr: (.+)$", text, re.M)
    expect("alerts", len(expressions), text.count("- alert: "))
    asked = {name for expression in expressions for name in re.findall(METRIC, expression)}
    expect("alerts on metrics", bool(asked), True)
    expect("metrics that there are not", asked - names, set())


def main():
    names = check_exporter()
    check_dashboard(names)
    check_rules(names)


if __name__ == "__main__":
    main()
