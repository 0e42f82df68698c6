#!/usr/bin/python3
"""mymalloc-prof on profiles whose truth is known (patterns.c), with each object sampled.

usage: show.py MYMALLOC-PROF PROGRAM INLINED

What `top` says of each site must be exact; so it must of a program without symbols, whose
functions are told apart by the unwind table. The drawing is read as XML: its boxes lie inside
their callers. What cannot be read is told in one line.
"""
import collections
import contextlib
import gzip
import io
import os
import pathlib
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import proto  # noqa: E402

tool, program, inlined = sys.argv[1:]
sys.path.insert(0, str(pathlib.Path(tool).parent))
import symbols  # noqa: E402
from symbols import readable  # noqa: E402
faults = []
Row = collections.namedtuple("Row", "itself calls name")


def expect(what, condition):
    if not condition:
        faults.append(what)


def show(*options, status=0, env=None):
    done = subprocess.run([tool, *map(str, options)], text=True, capture_output=True, env=env)
    if done.returncode != status:
        sys.exit(f"{options}: status {done.returncode}, said {done.stderr!r}")
    return done.stderr if status else done.stdout


def take(path, out, pattern, folder):
    """{site: (objects taken, in use, in use at the peak)} of a run."""
    truth = collections.defaultdict(lambda: [0, 0, 0])
    env = dict(os.environ, MYMALLOC_PROFILE=f"{out},every=1", TEST_EXACT="1")
    subprocess.run([path, pattern, folder / "truth"], env=env, check=True, capture_output=True)
    for line in (folder / "truth").read_text().splitlines():
        site, _, *counts = line.split()
        truth[site] = [have + int(count) for have, count in zip(truth[site], counts)]
    return {site: tuple(pair) for site, pair in truth.items()}


def top(by, file, command="top", *more):
    out = {}
    for line in show(command, "--by", by, "--lines", 9999, *more, file).splitlines():
        found = re.match(r" *([+\-\d,]+) +(?:[\d.]+% +)?([+\-\d,]+) +(?:[\d.]+% +)?(\S.*?)(?:  \[.*\])?$", line)
        if found:
            name = re.sub(r"\.\w+\.\d+$", "", found[3])
            out[name] = Row(*(int(found[i].replace(",", "")) for i in (1, 2)), name)
    return out


def check_top(file, truth):
    for by, which in (("alloc_objects", 0), ("inuse_objects", 1), ("peak_objects", 2)):
        rows = top(by, file)
        for site, pair in truth.items():
            got = rows[site].calls if site in rows else 0
            expect(f"top: {site} {by} {got}, in truth {pair[which]}", got == pair[which])
        strange = [name for name in rows if name.startswith("site_") and name not in truth]
        expect(f"top: sites that never ran: {strange}", not strange)
        expect("top: the allocator's own functions are shown", not {"malloc", "MyMalloc", "mym_malloc_cold"} & set(rows))


def check_stripped(folder, truth):
    """The same numbers, each once, under the name of an address."""
    path, out = folder / "stripped", folder / "stripped.pb"
    shutil.copy(program, path)
    subprocess.run(["strip", path], check=True)
    take(path, out, "stays_behind", folder)
    got = collections.Counter(row.calls for name, row in top("alloc_objects", out).items() if name.startswith("stripped+0x"))
    missing = collections.Counter(pair[0] for pair in truth.values()) - got
    expect(f"stripped: no function with these counts: {dict(missing)} among {dict(got)}", not missing)


def check_terminal(folder):
    """What a terminal obeys, and XML may not have, is shown as its bytes, and the file is found all the same."""
    path, out = folder / "colour\x1b[31m", folder / "colour.pb"
    shutil.copy(program, path)
    take(path, out, "stays_behind", folder)
    text = show("top", "--by", "alloc_objects", out)
    expect(f"terminal: {text!r}", "\x1b" not in text and "[colour\\033[31m]" in text and "site_stays" in text)
    check_svg(out, folder)
    path.unlink()
    said = subprocess.run([tool, "top", "--by", "alloc_objects", out], text=True, capture_output=True)
    expect(f"terminal: {said}", said.returncode == 0 and "\x1b" not in said.stdout + said.stderr and "\\033[31m: No such" in said.stderr)
    closed = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", tool, "top", "--by", "alloc_objects", out], text=True, capture_output=True)
    expect(f"standard error closed: {closed}", (closed.returncode, closed.stdout) == (0, said.stdout))


def check_tree(file):
    text = show("tree", "--by", "alloc_objects", "--least", 0, file)
    depth = {m[2].split(".")[0]: len(m[1]) for m in re.finditer(r"^.{19}([ │├└]*)(\w\S*)$", text, re.M)}
    expect(f"tree: main is not shown:\n{text}", "main" in depth)
    expect("tree: no site under main", any(name.startswith("site_") for name in depth))


def check_svg(file, folder, *more):
    out = folder / "out.svg"
    show("svg", "--by", "alloc_objects", "-o", out, *more, file)
    root = xml.etree.ElementTree.parse(out).getroot()
    ns = {"s": "http://www.w3.org/2000/svg"}
    boxes = [g for g in root.iterfind("s:g", ns)]
    rows = collections.defaultdict(list)
    for g in boxes:
        rows[int(g.get("data-d"))].append((float(g.get("data-x")), float(g.get("data-w")), g.find("s:title", ns).text))
    expect("svg: no boxes", len(boxes) > 3)
    expect("svg: no site is named", any("site_" in title for row in rows.values() for _, _, title in row))
    for depth, row in rows.items():
        row.sort()
        for (x, w, title), after in zip(row, row[1:]):
            expect(f"svg: {title} lies over its neighbour", x + w <= after[0] + 1e-6)
        for x, w, title in row if depth else ():
            above = any(a - 1e-6 <= x and x + w <= a + b + 1e-6 for a, b, _ in rows[depth - 1])
            expect(f"svg: {title} is outside of its caller", above)


def check_names(file, folder):
    """A profile with names says the same, and names each frame of it by itself."""
    out = folder / "named.pb"
    expect("names: says something", show("names", "-o", out, file) == "")
    expect("names: another answer", show("top", out) == show("top", file))
    data = gzip.decompress(out.read_bytes())
    strings = [value.decode() for number, value in proto.fields(data) if number == 6]
    functions = {m[1]: strings[m[2]] for m in (dict(proto.fields(value)) for number, value in proto.fields(data) if number == 5)}
    lines = [functions[dict(proto.fields(line))[1]] for number, value in proto.fields(data) if number == 4
             for field, line in proto.fields(value) if field == 4]
    expect(f"names: {lines}", {"main", "site_stays", "site_comes_and_goes"} <= {name.split(".")[0] for name in lines})
    said = show("names", "-o", folder / "none" / "out", file, status=1)
    expect(f"names -o: said {said!r}", said.startswith(f"mymalloc-prof: {folder}/none/out: "))


def check_named_elsewhere(folder):
    """On a machine without the program its names are there, too, once they are in the profile."""
    path, out, named = (folder / name for name in ("gone", "gone.pb", "gone-named.pb"))
    shutil.copy(program, path)
    take(path, out, "stays_behind", folder)
    show("names", "-o", named, out)
    before = [show(*command, out) for command in (["top"], ["tree"])]
    path.unlink()
    for file in named, folder / "named-again.pb":
        done = [subprocess.run([tool, *command, file], text=True, capture_output=True) for command in (["top"], ["tree"])]
        expect(f"elsewhere: {done}", [(one.stdout, one.stderr) for one in done] == [(text, "") for text in before])
        show("names", "-o", folder / "named-again.pb", named)


def check_replaced(folder):
    """A file that is another one by now names nothing."""
    path, out = folder / "replaced", folder / "replaced.pb"
    shutil.copy(program, path)
    take(path, out, "stays_behind", folder)
    shutil.copy(inlined, path)
    done = subprocess.run([tool, "top", out], text=True, capture_output=True)
    expect(f"replaced: {done}", "replaced: not the file that ran (build id " in done.stderr and "[replaced]" in done.stdout)
    expect(f"replaced: {done}", all("replaced+0x" in line for line in done.stdout.splitlines() if "[replaced]" in line))


def varint(number):
    return bytes([number & 127 | 128]) + varint(number >> 7) if number > 127 else bytes([number])


def put(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def check_others(folder):
    """Profiles that others wrote: with names and without mappings, as Go's; of stacks as deep as recursion is."""
    strings = b"".join(put(6, text) for text in (b"", b"inuse_space", b"bytes", b"main.leaf", b"/src/leaf.go", b"main.main"))
    kind = put(1, put(1, 1) + put(2, 2))
    names = put(5, put(1, 7) + put(2, 3) + put(4, 4)) + put(5, put(1, 8) + put(2, 5) + put(4, 4))
    (folder / "go").write_bytes(kind + put(2, put(1, b"\1\2") + put(2, b"\x64")) + put(4, put(1, 1) + put(4, put(1, 7))) +
                                put(4, put(1, 2) + put(4, put(1, 8))) + names + strings)
    for _ in range(2):
        text = show("top", folder / "go")
        expect(f"Go's: {text}", re.search(r"100 B .* 100 B .*  main\.leaf  \[leaf\.go\]\n", text) and "main.main" in text)
        show("names", "-o", folder / "go", folder / "go")
    depth = 3000
    sample = put(2, put(1, b"".join(varint(i) for i in range(1, depth + 1))) + put(2, b"\x64"))
    (folder / "deep").write_bytes(kind + sample + b"".join(put(4, put(1, i) + put(3, 16 * i)) for i in range(1, depth + 1)) + strings)
    expect("deep: tree", show("tree", folder / "deep").endswith(f"  0x{16:x}\n"))
    show("svg", "-o", folder / "deep.svg", folder / "deep")
    boxes = (folder / "deep.svg").read_text(encoding="utf-8").count('<g class="f"')
    expect(f"deep: {boxes} boxes", boxes == depth + 1)


def made(path, kind, values, period=0):
    """A profile of main, which calls `work`, which calls `leaf`; `deep`, which calls itself; and `little`."""
    names = b"main", b"work", b"leaf", b"deep", b"little"
    strings = b"".join(put(6, text) for text in (b"", kind, b"bytes", *names))
    stacks = b"\3\2\1", b"\4\4\1", b"\5\1"
    path.write_bytes(put(1, put(1, 1) + put(2, 2)) + put(12, period) + strings +
                     b"".join(put(2, put(1, stack) + put(2, varint(value & (1 << 64) - 1))) for stack, value in zip(stacks, values)) +
                     b"".join(put(4, put(1, i) + put(4, put(1, i))) + put(5, put(1, i) + put(2, 2 + i)) for i in range(1, 6)))
    return path


def check_words(folder):
    """All that is printed of a profile of three stacks."""
    now = made(folder / "now", b"inuse_space", (3 << 20, 1 << 20, 1000), 512 << 10)
    before = made(folder / "before", b"inuse_space", (1 << 20, 2 << 20, 1000))
    for what, wanted in (
        (("top", "--lines", 4, now), """\
inuse_space: 4.0 MiB, a sample each 512.0 KiB
    itself        with calls         function
   3.0 MiB  75.0%    3.0 MiB  75.0%  leaf
   1.0 MiB  25.0%    1.0 MiB  25.0%  deep
    1000 B   0.0%     1000 B   0.0%  little
       0 B   0.0%    4.0 MiB 100.0%  main
and 1 more (--lines)
"""),
        (("tree", now), """\
inuse_space: 4.0 MiB, a sample each 512.0 KiB
   4.0 MiB 100.0%  main
   3.0 MiB  75.0%  ├ work
   3.0 MiB  75.0%  │ leaf
   1.0 MiB  25.0%  └ deep
   1.0 MiB  25.0%    deep
1 branches of less than 1 % are not shown (--least)
"""),
        (("diff", "--lines", 3, before, now), """\
inuse_space: 3.0 MiB before, 4.0 MiB now, +1.0 MiB
     itself  with calls  function
   +2.0 MiB    +2.0 MiB  leaf
   -1.0 MiB    -1.0 MiB  deep
        0 B    +2.0 MiB  work
and 1 more (--lines)
"""),
        (("top", made(folder / "freed", b"inuse_space", ())), """\
inuse_space: 0 B; all was freed by then: --by peak_space, alloc_space
    itself        with calls         function
"""),
        (("top", "--lines", 1, made(folder / "less", b"space", (-(3 << 20), 1 << 20, 0))), """\
space: -2.0 MiB
    itself        with calls         function
   1.0 MiB -50.0%    1.0 MiB -50.0%  deep
and 3 more (--lines)
"""),
    ):
        got = show(*what)
        expect(f"{what}:\n{got}not\n{wanted}", got == wanted)
    for base, colours in (before, {"leaf": 8, "work": 8, "deep": 212, "main": 8}), (now, {"leaf": 212, "work": 212, "deep": 212, "main": 212}):
        text = show("svg", "--base", base, now)
        for name, hue in colours.items():
            found = re.search(rf'data-n="{name}">.*?fill="hsl\((\d+),', text, re.S)
            expect(f"svg: the hue of {name}: {found}", found and int(found[1]) == hue)
    expect("svg: what was before", "<title>leaf: 3.0 MiB, 75.0%; before 1.0 MiB</title>" in show("svg", "--base", before, now))


def check_inlined(folder, binary):
    """The function that takes is named by where it is, not as the one around it; that one by all of its name."""
    out = folder / "inlined.pb"
    subprocess.run([binary], env=dict(os.environ, MYMALLOC_PROFILE=f"{out},every=1"), check=True)
    rows = top("alloc_objects", out)
    here = 1 + next(i for i, line in enumerate((pathlib.Path(__file__).parent / "inlined.cc").read_text().splitlines())
                    if "/* here */" in line)
    for name, itself in ((f"inlined.cc:{here}", 100), ("site_outer(int)", 0)):
        got = rows.get(name) or rows.get("site_inlined(int)", Row(0, 0, name))  # clang says how it is called
        expect(f"inlined: {name}: {got}", (got.itself, got.calls) == (itself, 100))
    expect(f"inlined: {set(rows)}", "site_outer" not in rows)


def check_split(folder):
    """The same where the debug information lies in a file beside the program, or in .debug; not where that is of another one."""
    binary, debug = folder / "split", folder / "split.debug"
    subprocess.run(["objcopy", "--only-keep-debug", inlined, debug], check=True)
    subprocess.run(["objcopy", "--strip-all", f"--add-gnu-debuglink={debug}", inlined, binary], check=True)
    check_inlined(folder, binary)
    (folder / ".debug").mkdir()
    debug.rename(folder / ".debug" / debug.name)
    check_inlined(folder, binary)
    subprocess.run(["objcopy", "--only-keep-debug", program, debug], check=True)
    (folder / ".debug" / debug.name).unlink()
    rows = top("alloc_objects", folder / "inlined.pb")
    expect(f"split: the debug information of another program: {list(rows)}", not any("site_" in name for name in rows))


def check_library(folder):
    """In front of the allocator the library is left out, and what it is for is called as it was written."""
    rows = top("inuse_objects", folder / "inlined.pb")
    hidden = [name for name in rows if re.search(r"allocator.*::allocate|basic_string|__cxx11|char_traits|std::less", name)]
    expect(f"library: {hidden}", not hidden)
    filled = [row.calls for name, row in rows.items() if name.startswith("site_fill(std::map<std::string, int>&)")]
    expect(f"library: {filled}: {list(rows)}", filled == [100])


def check_dropped(file):
    """What pprof leaves out, by the names that it makes of ours: without what stands between < and >."""
    fields = list(proto.fields(file.read_bytes()))
    strings = [value.decode() for number, value in fields if number == 6]
    drop = re.compile(strings[dict(fields)[7]])
    for name in ("malloc", "operator new", "std::__new_allocator::allocate", "std::allocator_traits::allocate", "std::__1::allocator::allocate",
                 "alloc::alloc::alloc", "::alloc_impl_runtime", "::allocate", "::grow", "__rust_alloc", "__rdl_realloc"):
        expect(f"dropped: {name} is not", drop.fullmatch(name))
    for name in "my_malloc", "std::allocate_shared", "::try_allocate_in", "::call_once", "alloc::boxed::box_new_uninit", "Pool::allocate":
        expect(f"dropped: {name} is", not drop.fullmatch(name))


def check_readable():
    for name, wanted in (
        ("std[e28293b1aa0f68bd]::rt::lang_start_internal", "std::rt::lang_start_internal"),
        ("<alloc[fdfd2bd8633a6659]::vec::Vec<u8> as core[c1f1a4ba060b9bfa]::clone::Clone>::clone", "<alloc::vec::Vec<u8> as core::clone::Clone>::clone"),
        ("rs::index::he27d305a6d16f96c", "rs::index"),
        ("std::map<int, std::vector<int, std::allocator<int> >, std::less<int>, std::allocator<std::pair<int const, int> > >::at(int)",
         "std::map<int, std::vector<int>>::at(int)"),
        ("std::map<int, int, std::greater<int> >::at(int)", "std::map<int, int, std::greater<int>>::at(int)"),
        ("f(char[4], std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> > const&)", "f(char[4], std::string const&)"),
        ("f(int [4])", "f(int [4])"),
        ("operator>>(A, std::less<", "operator>>(A, std::less<"),
    ):
        expect(f"readable: {readable(name)!r}, not {wanted!r}", readable(name) == wanted)


def check_damaged_debug_file(folder):
    """It is left out, and the program's own symbols serve."""
    build_id = symbols.Image(program).build_id
    symbols.DEBUG_FOLDER = folder / "debug"
    damaged = symbols.DEBUG_FOLDER / build_id[:2] / f"{build_id[2:]}.debug"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"\x7fELF\x02\x01 and no more")
    with contextlib.redirect_stderr(io.StringIO()) as said:
        images = symbols.images_of({"file": program, "build_id": build_id})[1]
    expect(f"a damaged file of debug information: {len(images)} files", len(images) == 1)
    expect(f"a damaged file of debug information: said {said.getvalue()!r}",
           said.getvalue().startswith(f"mymalloc-prof: {damaged}: "))


def between_fields(data):
    try:
        return len(list(proto.fields(data))) > 0
    except proto.Malformed:
        return False


def check_bad(file, folder):
    whole = file.read_bytes()
    ends = [end for end in range(len(whole) // 2, len(whole)) if end in (len(whole) // 2, len(whole) - 1) or between_fields(whole[:end])]
    expect(f"cut: at {ends}", len(ends) > 4)
    for name, data in (("empty", b""), *((f"cut at {end}", whole[:end]) for end in (*ends[:3], *ends[-3:])), ("text", b"heap profile: 0: 0 [0: 0] @ x\n"),
                       ("noise", bytes(range(256))), ("squeezed", gzip.compress(whole)[:-30]),
                                      ("endless", whole + b"\x60" + b"\xff" * 300 + b"\x01"),  # a number
                       # of another kind: a string, the period, a location's address
                       ("word", whole + b"\x30\x01"), ("period", whole + b"\x62\x05often"),
                       ("address", whole + b"\x22\x09\x08\xe1\x3c\x1a\x04here"),
                       ("short", whole + b"\x12\x02\x10\x01")):  # one more sample, with one value
        (folder / name).write_bytes(data)
        said = show("top", folder / name, status=1)
        expect(f"{name}: said {said!r}", said.startswith(f"mymalloc-prof: {folder / name}: ") and said.count("\n") == 1)
    for number in "s2", "s10":
        (folder / f"empty.{number}").write_bytes(whole)
    said = show("top", folder / "empty", status=1)
    expect(f"empty beside two by signals: said {said!r}", said.endswith(f"; {folder / 'empty.s10'} is of a signal\n"))
    for number in "99", "1000", "1000.s1":
        (folder / f"empty.{number}").write_bytes(whole)
    said = show("top", folder / "empty", status=1)
    expect(f"empty beside a daemon's: said {said!r}", said.endswith(f"; {folder / 'empty.1000'} is of another process that it started\n"))
    said = show("top", folder / "none", status=1)
    expect(f"said {said!r}", said == f"mymalloc-prof: {folder / 'none'}: No such file or directory\n")
    said = show("top", "--by", "objects", file, status=1)
    expect(f"--by: said {said!r}", "alloc_objects, alloc_space, inuse_objects, inuse_space, peak_objects, peak_space" in said)
    said = show("svg", "-o", folder / "none" / "out", file, status=1)
    expect(f"-o: said {said!r}", said.startswith(f"mymalloc-prof: {folder}/none/out: "))
    (folder / "loop").symlink_to("loop")
    said = show("names", "-o", folder / "loop", file, status=1)
    expect(f"a loop: said {said!r}", said.startswith(f"mymalloc-prof: {folder}/loop: ") and said.count("\n") == 1)
    for options, told in ((["tree", "--least", "nan"], "argument --least: 'nan' is not a number from 0 to 100"),
                          (["top", "--lines", "0"], "argument --lines: '0' is not a number from 1 on"),
                          (["svg", "-o", ""], "argument -o/--output: its value is empty"), (["svg", "--bse", "x"], "--bse"), ([], "invalid choice")):
        said = show(*options, file, status=2)
        expect(f"{options}: said {said!r}", told in said and said.startswith("mymalloc-prof") and said.count("\n") == 1)
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([tool, "top", file], stdout=full, stderr=subprocess.PIPE, text=True)
    expect(f"a full disk: {done}", (done.returncode, done.stderr) == (
        1, "mymalloc-prof: cannot write to standard output: No space left on device\n"))
    (folder / "kept").write_bytes(whole)
    (folder / "link").symlink_to("kept")
    for output in "kept", "link":
        done = subprocess.run([tool, "names", folder / "kept", "-o", folder / output], capture_output=True, text=True,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)))
        expect(f"no space for what is read: {done}", (done.returncode, done.stderr) == (
            1, f"mymalloc-prof: {folder / output}: File too large\n"))
    expect("no space for what is read: it is lost", (folder / "kept").read_bytes() == whole)
    expect("no space for what is read: something is left over", not list(folder.glob("*.new")))
    (folder / "kept").chmod(0o640)
    show("names", folder / "kept", "-o", folder / "link")
    expect("named in its own place: others may read it", stat.S_IMODE((folder / "kept").stat().st_mode) == 0o640)
    expect("named in its own place: a link is gone", (folder / "link").is_symlink())
    expect("named in its own place: no name", (folder / "kept").read_bytes() != whole)
    closed = folder / "closed"
    closed.mkdir()
    (closed / "out").write_bytes(b"old")
    closed.chmod(0o555)
    as_others = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    done = subprocess.run([*as_others, tool, "names", file, "-o", closed / "out"], capture_output=True, text=True)
    expect(f"a file in a folder that takes none: {done}", (done.returncode, done.stderr) == (0, ""))
    expect("a file in a folder that takes none: it is as it was", (closed / "out").read_bytes() != b"old")
    closed.chmod(0o755)
    (folder / "gz").write_bytes(gzip.compress(whole))
    expect("compressed: another answer", show("top", folder / "gz") == show("top", file))
    # Without binutils names are still there.
    expect("without binutils: another answer", show("top", file, env={"PATH": "/nonexistent"}) != "")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        one, two = folder / "one.pb", folder / "two.pb"
        truth = take(program, one, "stays_behind", folder)
        check_top(one, truth)
        check_stripped(folder, truth)
        check_terminal(folder)
        check_tree(one)
        check_svg(one, folder)
        other = take(program, two, "peaks", folder)
        check_top(two, other)
        check_svg(two, folder, "--base", one)
        odd = folder / os.fsdecode(b"odd \x01\xff")
        odd.symlink_to(one)
        check_svg(odd, folder)
        said = show("top", folder / os.fsdecode(b"\033\xff"), status=1)
        expect(f"an odd name: said {said!r}", said == f"mymalloc-prof: {folder}/\\033\\377: No such file or directory\n")
        changes = top("alloc_objects", two, "diff", one)
        for site in set(truth) | set(other):
            change = other.get(site, (0, 0, 0))[0] - truth.get(site, (0, 0, 0))[0]
            got = changes[site].calls if site in changes else 0
            expect(f"diff: {site} {got}, in truth {change}", got == change)
        check_names(one, folder)
        check_named_elsewhere(folder)
        check_replaced(folder)
        check_others(folder)
        check_words(folder)
        check_inlined(folder, inlined)
        check_library(folder)
        check_split(folder)
        check_dropped(one)
        check_readable()
        check_bad(one, folder)
        check_damaged_debug_file(folder)
    print(f"{len(truth) + len(other)} sites are shown as they were")
    if faults:
        sys.exit("\n".join(faults))


main()
