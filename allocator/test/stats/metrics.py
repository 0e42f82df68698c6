#!/usr/bin/python3
"""The statistics of a program of which everything is known, in both forms: as files, by
MYMALLOC_STATS, of a child of fork, of a program that is started; and what is said where they cannot be written."""
import json
import os
import pathlib
import re
import stat
import subprocess
import sys
import tempfile

SAMPLE = re.compile(r"([a-z_]+)(?:\{((?:[a-z_]+=\"(?:[^\"\\\n]|\\[\\\"n])*\",?)+)\})? (\d+)$")
LABEL = re.compile(r"([a-z_]+)=\"((?:[^\"\\]|\\.)*)\"")
UNIT = 64 << 10  # bytes, the least that a run of free pages has


def read_prometheus(text, file=None):
    """A strict reader of text format 0.0.4: the JSON form of the same, and the types; each sample names the file, if any."""
    found, types, name = {}, {}, None
    assert text.endswith("\n"), "no line end at the end"
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in types, f"{name} comes twice"
            kind = next(lines).split(" ")
            assert kind[:3] == ["#", "TYPE", name] and kind[3] in ("gauge", "counter"), kind
            assert (kind[3] == "counter") == name.endswith("_total"), line
            types[name] = kind[3]
            continue
        match = SAMPLE.match(line)
        assert match and match[1] == name, f"not a sample of {name}: {line}"
        labels = LABEL.findall(match[2] or "")
        if file is not None:
            expect(line, labels.pop(), ("file", file))
        if name == "mymalloc_info":
            found[name] = dict(labels)
        elif labels:
            (_, label), = labels
            assert label not in found.setdefault(name, {}), f"{line}: twice"
            found[name][label] = int(match[3])
        else:
            assert name not in found, f"{line}: twice"
            found[name] = int(match[3])
    return found, types


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got}, not {wanted}")


def check_values(stats):
    """known.c says what it has."""
    used = stats["mymalloc_class_used_objects"]
    expect("objects of 208 bytes", used["208"], 999)
    expect("objects of 48 bytes", used["48"], 1)
    expect("cached objects of 208 bytes", stats["mymalloc_class_cached_objects"]["208"] > 0, True)
    expect("objects of 5120 bytes and more", sum(used[c] for c in used if int(c) > 5000), 1)
    kinds = stats["mymalloc_allocated_bytes"]
    expect("large", kinds["large"], 1 << 20)
    expect("mapping", kinds["mapping"], 64 << 20)
    expect("mappings", stats["mymalloc_mappings"], 1)
    expect("arena", 200000 < kinds["arena"] < 400000, True)
    small = sum(used[c] * int(c) for c in used)
    expect("small", kinds["small"], small)
    expect("rounding", 0 < stats["mymalloc_rounding_max_bytes"] < small, True)
    idle = stats["mymalloc_idle_bytes"]
    expect("cached large", idle["cached_large"], 320 << 10)
    cached = stats["mymalloc_class_cached_objects"]
    expect("in caches", idle["caches"], sum(cached[c] * int(c) for c in cached))
    depots = stats["mymalloc_class_depot_objects"]
    expect("in depots", idle["depots"], sum(depots[c] * int(c) for c in depots))
    expect("records", idle["records"] > 0, True)
    large = next(c for c in used if int(c) > 5000 and used[c] == 1)
    misses, overflows = (stats[f"mymalloc_class_{name}_total"] for name in ("misses", "overflows"))
    expect("misses and overflows", (misses[large] > 0, overflows[large], overflows["48"] > 0), (True, 0, True))
    free, runs, longest = (stats[f"mymalloc_{name}"] for name in ("free_pages_bytes", "free_runs", "free_run_longest_bytes"))
    expect("free runs", runs > 1 and 0 < longest <= free - (runs - 1) * UNIT, True)
    expect("purged", stats["mymalloc_purged_bytes_total"] > 0, True)
    expect("page faults", stats["process_minor_page_faults_total"] > 0 <= stats["process_major_page_faults_total"], True)
    mapped = stats["mymalloc_heap_mapped_bytes"]
    places = small + idle["caches"] + idle["depots"] + stats["mymalloc_free_places_bytes"]
    rest = kinds["large"] + kinds["arena"] + idle["cached_large"] + stats["mymalloc_free_pages_bytes"]
    expect("what is mapped adds up", 0 <= mapped - places - rest <= 0.1 * places, True)


def run(*command, stats=None):
    environment = dict(os.environ)
    environment.pop("MYMALLOC_STATS", None)
    if stats is not None:
        environment["MYMALLOC_STATS"] = str(stats)
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    expect(f"{command}, status", done.returncode, 0)
    return done.stderr


def check_files(program, work):
    files = work / "json", work / "prometheus"
    expect("said", run(program, "--write", *files), "")
    by_json = json.loads(files[0].read_text())
    by_text, types = read_prometheus(files[1].read_text())
    for name in "minor", "major":  # known.c writes the text after the other
        name = f"process_{name}_page_faults_total"
        expect(name, by_text[name] >= by_json[name], True)
        by_text[name] = by_json[name]
    expect("the two forms", by_text, by_json)
    expect("counters", sorted(n for n in types if types[n] == "counter"),
           ["mymalloc_class_misses_total", "mymalloc_class_overflows_total", "mymalloc_guarded_objects_total",
            "mymalloc_purged_bytes_total", "process_major_page_faults_total", "process_minor_page_faults_total"])
    check_values(by_json)


def check_variable(program, work):
    at_end = work / "end"
    expect("said", run(program, stats=at_end), "")
    check_values(json.loads(at_end.read_text()))
    expect("said", run(program, "--fork", stats=f"{at_end},form=prometheus"), "")
    for path in sorted(work.glob("end*")):
        check_values(read_prometheus(path.read_text(), str(path))[0])
    expect("a file of the child's own", len(list(work.glob("end*"))), 2)
    expect("no file is left over", list(work.glob("*.new")), [])
    each = work / "each"
    with subprocess.Popen([program, "--churn", each, "--wait"], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          env={**os.environ, "MYMALLOC_STATS": f"{each},every=1"}) as running:
        while running.stdout.readline() not in ("ready\n", ""):
            pass
        expect("while it runs", json.loads(each.read_text())["mymalloc_allocated_bytes"]["mapping"], 64 << 20)
        running.communicate()
    link = work / "link"
    link.symlink_to("linked")
    expect("said", run(program, stats=link), "")
    expect("a link stays one", link.is_symlink() and json.loads((work / "linked").read_text()) != {}, True)


def check_named(program, work):
    """Samples of two programs in one folder, as Prometheus' textfile collector reads them: none may have the same labels."""
    odd = work / os.fsdecode(b'\\\xe4\xb8\x80"\n\x01'), work / "plain"
    for path in odd:
        expect("said", run(program, stats=f"{path},form=prometheus"), "")
    names = [str(work) + r'/\\\\344\\270\\200\"\\012\\001', str(odd[1])]
    for path, name in zip(odd, names):
        check_values(read_prometheus(path.read_text(), name)[0])
    log = work / "out"
    with log.open("w") as stream:
        subprocess.run([program], stdout=subprocess.DEVNULL, stderr=stream, check=True,
                       env={**os.environ, "MYMALLOC_STATS": "/dev/stderr,form=prometheus"})
    check_values(read_prometheus(log.read_text())[0])


def check_stream(program, work):
    log = work / "log"
    log.write_text("first\n")
    with log.open("a") as stream:
        subprocess.run([program, "--fork"], stdout=subprocess.DEVNULL, stderr=stream, check=True,
                       env={**os.environ, "MYMALLOC_STATS": "/dev/stderr"})
    text = log.read_text()
    expect("a log keeps what it has", text.startswith("first\n{"), True)
    expect("both processes write to it", text.count("mymalloc_info"), 2)


def check_started(program, work):
    """One that a process starts, and a child of fork of that one: the process's own files are not theirs."""
    own = {name: work / name for name in ("MYMALLOC_STATS", "MYMALLOC_PROFILE")}
    for path in own.values():
        path.write_text("old")
    subprocess.run([program, "--start"], stdout=subprocess.DEVNULL, check=True,
                   env={**os.environ, **{name: str(path) for name, path in own.items()}})
    for name, path in own.items():
        files = sorted(work.glob(name + "*"))
        expect(f"{name}: a file of each process", len(files), 3)
        expect(f"{name}: written", [file.stat().st_size > 100 for file in files], [True] * 3)
    again = work / "again"
    subprocess.run(["/bin/sh", "-c", 'MYMALLOC_STATS="$1,of=$$" exec "$0"', program, again], stdout=subprocess.DEVNULL, check=True)
    expect("the process goes on as another program", list(work.glob("again*")), [again])


def check_planted(program, work):
    """What another user may have put where a name follows from PATH is not written through."""
    def start(more):
        subprocess.run(["/bin/sh", "-c", f'{more} exec "$0"', program, own, victim], stdout=subprocess.DEVNULL, check=True)
        expect(f"after {more}", victim.read_text(), "kept")

    own, victim = work / "planted", work / "victim"
    victim.write_text("kept")
    for name in "MYMALLOC_STATS", "MYMALLOC_PROFILE":
        for plant in "ln -s", "ln":
            start(f'{plant} "$2" "$1.$$"; {name}="$1,of=1"')
            start(f'{plant} "$2" "$1.$$.new"; {name}="$1,of=1"')
    link = work / "planted.new"
    link.symlink_to(victim)
    start('MYMALLOC_STATS="$1"')
    expect("written all the same", [f.is_file() and not f.is_symlink() and f.stat().st_size > 100 and f.stat().st_nlink == 1
                                    for f in work.glob("planted*") if not f.name.endswith(".new")], [True] * 9)


def check_closed_folder(program, work):
    """A file that can be written, in a folder that cannot: there is none beside it to be renamed."""
    folder = work / "closed"
    folder.mkdir()
    path = folder / "stats"
    path.write_text("old")
    folder.chmod(0o555)
    as_others = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    expect("said", run(*as_others, program, stats=path), "")
    check_values(json.loads(path.read_text()))
    folder.chmod(0o755)
    expect("no file is left over", list(folder.iterdir()), [path])


def check_refusals(program, work):
    def said(stats):
        return run(program, stats=stats).removeprefix("mymalloc: ").rstrip("\n")

    def refused(value, what):
        expect(value, said(value), f"MYMALLOC_STATS={value}: ignored, {what} is not understood; "
               "accepted: /PATH[,form=json|prometheus][,every=SECONDS]")

    refused("out.json", "the value")
    for option in "every=0", "every=86401", "every=", "every=1x", "form=xml", "form=jsonl", "signal=USR1", "":
        refused(f"{work}/x,{option}", f"'{option}'")
    expect("a refused name makes a file", (work / "x").exists(), False)
    expect("no folder", said(work / "none/x"), "MYMALLOC_STATS: no statistics: no such folder")
    expect("a folder", said(work), "MYMALLOC_STATS: no statistics: it is a folder")
    os.mkfifo(work / "pipe")
    expect("a pipe", said(work / "pipe"), "MYMALLOC_STATS: no statistics: it is a pipe that nobody reads")
    expect("a full disk", said("/dev/full"), "/dev/full: no statistics: no space left")
    locked = work / "locked"
    locked.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    if os.geteuid() != 0:
        expect("no permission", said(locked / "x"), "MYMALLOC_STATS: no statistics: permission denied")


def main():
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        check_files(sys.argv[1], work)
        check_variable(sys.argv[1], work)
        check_named(sys.argv[1], work)
        check_stream(sys.argv[1], work)
        check_started(sys.argv[1], work)
        check_planted(sys.argv[1], work)
        check_closed_folder(sys.argv[1], work)
        check_refusals(sys.argv[1], work)


if __name__ == "__main__":
    main()
