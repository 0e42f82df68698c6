"""Reading profile.proto, pprof's form of a profile, compressed or not; and writing one with names."""
import glob
import gzip
import os
import pathlib
import re
import zlib

from symbols import printed


class Fault(Exception):
    """What is told to the user, in one line."""


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError  # a number has 64 bits


def fields(data):
    """(number, value) of a message's fields; bytes for those with a length."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
            if at > len(data):
                raise IndexError
        elif key & 7 in (1, 5):
            width = 8 if key & 7 == 1 else 4
            value, at = int.from_bytes(data[at:at + width], "little"), at + width
        else:
            raise IndexError
        yield key >> 3, value


def numbers(value):
    """A repeated number: packed, or one by itself."""
    if isinstance(value, int):
        return [value]
    out, at = [], 0
    while at < len(value):
        number, at = varint(value, at)
        out.append(number)
    return out


def scalars(data, most):
    """{number: value} of a message's fields up to that number, all of which are numbers."""
    found = {number: value for number, value in fields(data) if number <= most}
    if not all(isinstance(value, int) for value in found.values()):
        raise IndexError
    return found


class Profile:
    """
    types, period, samples [(addresses innermost first, values)], mappings {id: dict}, and where names are in it
    named {location: [(function, file), ...]}, innermost first.
    """

    def __init__(self, data):
        self.data = data
        raw, self.samples, self.mappings, self.locations, strings, lines, functions = [], [], {}, {}, [], {}, {}
        self.period = drop = 0
        for number, value in fields(data):
            if number == 1:
                raw.append(scalars(value, 2))
            elif number == 2:
                ids, values = [], []
                for part, inner in fields(value):
                    if part in (1, 2):
                        (ids if part == 1 else values).extend(numbers(inner))
                self.samples.append((ids, [v - (1 << 64) if v >> 63 else v for v in values]))
            elif number == 3:
                mapping = scalars(value, 6)
                self.mappings[mapping[1]] = mapping
            elif number == 4:
                location = scalars(value, 3)
                self.locations[location[1]] = location
                lines[location[1]] = [scalars(line, 1).get(1, 0) for part, line in fields(value) if part == 4]
            elif number == 5:
                function = scalars(value, 4)
                functions[function[1]] = function
            elif number == 6:
                strings.append(printed(str(value, "utf-8", "replace")))  # a number is a TypeError
            elif number == 7:
                drop = value
            elif number == 12:
                self.period = value
        if any(len(values) != len(raw) for _, values in self.samples) or not isinstance(self.period, int):
            raise IndexError
        self.strings = len(strings)
        self.types = [strings[t.get(1, 0)] for t in raw]
        self.units = [strings[t.get(2, 0)] for t in raw]
        self.drop = re.compile(strings[drop]) if drop else None
        for mapping in self.mappings.values():
            mapping["file"], mapping["build_id"] = strings[mapping.get(5, 0)], strings[mapping.get(6, 0)]
        found = {key: (strings[one.get(2, 0)], os.path.basename(strings[one.get(4, 0)])) for key, one in functions.items()}
        self.functions = max(functions, default=0)
        self.named = {key: [found[one] for one in ids] for key, ids in lines.items() if ids}


def beside(path):
    """What else was written: the last one at a signal (signal=), and those of other processes, as a daemon's is."""
    path = pathlib.Path(path)
    ends = [other.name[len(path.name) + 1:] for other in path.parent.glob(glob.escape(path.name) + ".*")]
    last = max((int(end[1:]) for end in ends if re.fullmatch("s[0-9]+", end)), default=0)
    others = sorted((end for end in ends if re.fullmatch("[0-9]+", end)), key=int)
    return (f"; {path}.s{last} is of a signal" if last else "") + \
        (f"; {path}.{others[-1]} is of another process that it started" if others else "")


def read_profile(path):
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise Fault(f"{path}: {error.strerror}") from None
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        if data[:12] == b"heap profile":
            raise Fault(f"{path}: the text form, which google-pprof, or go tool pprof, PROGRAM {path} reads; this reads form=proto")
        if not data:
            raise Fault(f"{path}: empty: the program has not ended yet, or not by exit(3)" + beside(path))
        profile = Profile(data)
    except (IndexError, KeyError, TypeError, EOFError, OSError, zlib.error, re.error):
        raise Fault(f"{path}: not a whole profile in pprof's form (profile.proto)") from None
    if not profile.types:
        raise Fault(f"{path}: not a profile in pprof's form (profile.proto): it names no sample types")
    return profile


def put_varint(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def put(number, value):
    """A field of a message: a number, or bytes with their length."""
    if isinstance(value, int):
        return put_varint(number << 3) + put_varint(value & (1 << 64) - 1)
    return put_varint(number << 3 | 2) + put_varint(len(value)) + value


def with_names(profile, names):
    """The profile once more, with the functions of each location: {location: [(function, file), ...]}."""
    out, functions = bytearray(), {}
    for number, value in fields(profile.data):
        if number == 3:
            value += b"".join(put(field, 1) for field in (7, 10))  # has_functions, has_inline_frames
        elif number == 4:
            key = dict(fields(value))[1]
            for frame in names.get(key, ()) if key not in profile.named else ():
                value += put(4, put(1, functions.setdefault(frame, profile.functions + len(functions) + 1)))
        out += put(number, value)
    for at, ((name, file), key) in enumerate(functions.items()):
        text = profile.strings + 2 * at
        out += put(5, put(1, key) + put(2, text) + put(3, text) + put(4, text + 1))
        out += put(6, name.encode()) + put(6, file.encode())
    return gzip.compress(bytes(out), mtime=0)
