"""Which functions the addresses of a profile are in, by the files that were mapped.

A file that is not the one that ran, by its build id, is told and names nothing. Debug information
(the file's own, or what was taken out of it) gives inlined functions too; else the
symbol table is read here; and where there is no symbol a function is called after its start, which
the unwind table knows.
"""
import bisect
import mmap
import os
import pathlib
import re
import struct
import subprocess
import sys
from collections import defaultdict

DEBUG_FOLDER = pathlib.Path("/usr/lib/debug/.build-id")


def starts_of(table, address):
    """The functions of .eh_frame_hdr: pairs of offsets of 4 bytes from its own address, sorted."""
    if len(table) < 12 or table[0] != 1 or table[3] != 0x3b:
        return []
    count = min(struct.unpack_from("<I", table, 8)[0], (len(table) - 12) // 8)
    return [address + struct.unpack_from("<i", table, 12 + 8 * i)[0] for i in range(count)]


def printed(text):
    """What a terminal obeys, and XML may not have, as its bytes: \\033."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "".join(f"\\{byte:03o}" for byte in c.encode(errors="surrogateescape")) for c in text)


def path_of(written):
    """A file by its path as a profile has it: bytes that are no UTF-8, or not to be printed, are \\377 and \\012 there."""
    if os.path.exists(written):
        return written
    return re.sub(rb"\\([0-3][0-7]{2})", lambda m: bytes([int(m[1], 8)]), os.fsencode(written))


class Image:
    """An ELF file: where its segments lie, and its functions."""

    def __init__(self, path):
        with open(path_of(path), "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if data[:6] != b"\x7fELF\x02\x01":
            raise OSError("not an ELF file of 64 bits")
        head = struct.unpack_from("<16xHHIQQQIHHHHHH", data)
        phoff, shoff, phsize, phnum, shsize, shnum, names = head[4], head[5], head[8], head[9], head[10], head[11], head[12]
        parts = [struct.unpack_from("<IIQQQQQQ", data, phoff + i * phsize) for i in range(phnum)]
        self.loads = [(offset, address, size) for kind, _, offset, address, _, size, _, _ in parts if kind == 1]
        sections = [struct.unpack_from("<IIQQQQIIQQ", data, shoff + i * shsize) for i in range(shnum)]
        self.build_id, self.has_lines, self.debug_name, found = "", False, b"", set()
        for name, kind, _, _, offset, size, link, _, _, entry in sections:
            start = sections[names][4] + name if names < shnum else 0
            label = data[start:data.find(b"\0", start)]
            self.has_lines |= label == b".debug_info"
            if label == b".note.gnu.build-id":
                self.build_id = data[offset + 16:offset + size].hex()
            if label == b".gnu_debuglink":
                self.debug_name = data[offset:data.find(b"\0", offset)]
            if kind in (2, 11) and entry:
                text = sections[link][4]
                for at in range(offset, offset + size, entry):
                    string, info, _, index, value, length = struct.unpack_from("<IBBHQQ", data, at)
                    if info & 15 in (2, 10) and index != 0:
                        string += text
                        found.add((value, length, data[string:data.find(b"\0", string)].decode(errors="replace")))
        self.functions = sorted(found)
        self.starts = [start for kind, _, offset, address, _, size, _, _ in parts if kind == 0x6474e550
                       for start in starts_of(data[offset:offset + size], address)]

    def address(self, offset):
        for start, address, size in self.loads:
            if start <= offset < start + size:
                return offset - start + address
        return None

    def start(self, address):
        """Where the function begins that has this address, or the address."""
        i = bisect.bisect_right(self.starts, address) - 1
        return self.starts[i] if i >= 0 else address

    def name(self, address):
        i = bisect.bisect_right(self.functions, (address, float("inf"), "")) - 1
        if i >= 0 and address < self.functions[i][0] + max(self.functions[i][1], 1):
            return self.functions[i][2]
        return None


def run(command, lines):
    """What it prints, line by line; [] where it is not installed."""
    try:
        return subprocess.run(command, input="\n".join(lines) + "\n", text=True, capture_output=True,
                              errors="replace").stdout.splitlines()
    except OSError:
        return []


def by_lines(path, image, addresses):
    """
    {address: [functions, innermost first]} from debug information, inlined ones too. A function of
    C++ that is static is called there by half of its name, and where it was inlined by that of the
    symbol it is in: so the symbol names the outermost, and the line an innermost of the same name.
    """
    found, names = {}, {}
    out = iter(run(["addr2line", "-afi", "-e", str(path)], [hex(a) for a in addresses]))
    for line in out:
        if line.startswith("0x"):
            frames = found.setdefault(int(line, 16), [])
            continue
        place = next(out, "?")  # file and line
        if line != "??":
            frames.append((line, place))
    for address, frames in found.items():
        symbol, named = image.name(address), [name for name, _ in frames]
        if len(named) > 1 and named[0] == symbol:
            named[0] = os.path.basename(frames[0][1].split(" (")[0])
        if named and symbol and "." not in symbol:  # the parts of one that the compiler made have a dot
            named[-1] = symbol
        if named:
            names[address] = named
    return names


UNREADABLE = OSError, ValueError, struct.error, IndexError


def reason(error):
    return getattr(error, "strerror", None) or error


def debug_files(path, image):
    """Where the debug information may be that was taken out of a file: by build id, by the name that is in it, as gdb looks."""
    if image.build_id:
        yield DEBUG_FOLDER / image.build_id[:2] / f"{image.build_id[2:]}.debug"
        name = os.fsdecode(os.path.basename(image.debug_name))
        if name:
            yield from (folder / name for folder in (path.parent, path.parent / ".debug"))


def images_of(mapping):
    """The mapped file and that of its debug information; none if it is another one by now."""
    path = mapping["file"]
    try:
        image = Image(path)
    except UNREADABLE as error:
        print(f"mymalloc-prof: {path}: {reason(error)}; its frames are addresses", file=sys.stderr)
        return None, []
    if mapping["build_id"] and mapping["build_id"] != image.build_id:
        print(f"mymalloc-prof: {path}: not the file that ran (build id {mapping['build_id']}, now "
              f"{image.build_id or 'none'}); its frames are addresses", file=sys.stderr)
        return None, []
    images = [(os.fsdecode(path_of(path)), image)]
    debug = next((file for file in debug_files(pathlib.Path(images[0][0]), image) if file.is_file()), None)
    if debug:
        try:
            other = Image(debug)
            if other.build_id == image.build_id:
                images.insert(0, (debug, other))
        except UNREADABLE as error:
            print(f"mymalloc-prof: {debug}: {reason(error)}; it is left out", file=sys.stderr)
    return image, images


# Arguments of templates that nobody wrote.
DEFAULTS = re.compile(r", std::(allocator|char_traits|less|hash|equal_to|default_delete)<")


def without_defaults(name):
    at = 0
    while found := DEFAULTS.search(name, at):
        depth, end = 1, found.end()
        while depth and end < len(name):
            depth += {"<": 1, ">": -1}.get(name[end], 0)
            end += 1
        at = found.start() if not depth else found.end()
        if not depth:
            name = name[:at] + name[end:]
    return name


def readable(name):
    """A name of C++ or Rust as people write it: no hashes, no namespace of a library's version, no default arguments."""
    name = re.sub(r"(?<=\w)\[[0-9a-f]{9,16}\]|::h[0-9a-f]{16}$", "", name)
    name = without_defaults(re.sub(r"\bstd::__(cxx11|1)::", "std::", name))
    return re.sub(r"(?<=\w) >|(?<=>) >", ">", name).replace("std::basic_string<char>", "std::string")


def demangle(names):
    mangled = sorted({n for frames in names.values() for n, _ in frames if n.startswith(("_Z", "_R"))})
    plain = {name: readable(text) for name, text in zip(mangled, run(["c++filt"], mangled))} if mangled else {}
    return {key: [(printed(plain.get(n, n)), file) for n, file in frames] for key, frames in names.items()}


def names_of(profile):
    """{location: [(function, file), ...]}, innermost first."""
    by_mapping, names = defaultdict(list), dict(profile.named)
    for key, location in profile.locations.items():
        if key in names:
            continue
        by_mapping[location.get(2, 0)].append((key, location.get(3, 0)))
    for number, entries in by_mapping.items():
        mapping = profile.mappings.get(number)
        if mapping is None:
            names.update({key: [(f"0x{address:x}", "")] for key, address in entries})
            continue
        image, images = images_of(mapping)
        short = os.path.basename(mapping["file"])
        offsets = {key: address - mapping.get(2, 0) + mapping.get(4, 0) for key, address in entries}
        places = {key: image.address(offset) if image else None for key, offset in offsets.items()}
        lines = {}
        for path, other in images:
            if other.has_lines and not lines:
                lines = by_lines(path, other, sorted({p for p in places.values() if p is not None}))
        for key, place in places.items():
            found = lines.get(place) or [n for _, other in images if place is not None and (n := other.name(place))][:1]
            names[key] = [(name, short) for name in found or [f"{short}+0x{offsets[key] if place is None else image.start(place):x}"]]
    return demangle(names)
