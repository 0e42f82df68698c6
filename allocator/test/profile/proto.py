"""Read profile.proto as written by the allocator: an independent reader of the wire format."""
from dataclasses import dataclass, field


class Malformed(Exception):
    pass


def varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data):
            raise Malformed("a number goes on past the end")
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def fields(data):
    """(field, value) of a message: an int, or bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
            if at > len(data):
                raise Malformed("a field goes on past the end")
        else:
            raise Malformed(f"wire type {key & 7}")
        yield key >> 3, value


def packed(data):
    at, values = 0, []
    while at < len(data):
        value, at = varint(data, at)
        values.append(value)
    return values


@dataclass
class Mapping:
    start: int
    limit: int
    offset: int
    file: str
    build_id: str


@dataclass
class Sample:
    addresses: list  # innermost first
    values: list


@dataclass
class Profile:
    types: list
    default_type: str
    period: int
    period_type: tuple
    samples: list = field(default_factory=list)
    mappings: dict = field(default_factory=dict)
    mapping_of: dict = field(default_factory=dict)  # by address


def read(path):
    data = path.read_bytes()
    parts = {}
    for number, value in fields(data):
        parts.setdefault(number, []).append(value)
    strings = [text.decode() for text in parts[6]]
    if strings[0] != "":
        raise Malformed("the first string is not empty")

    def message(raw):
        return dict(fields(raw))

    if abs(parts[9][0] / 1e9 - path.stat().st_mtime) > 86400:
        raise Malformed(f"it is of {parts[9][0]} ns")
    types, period_type = ([(strings[m.get(1, 0)], strings[m.get(2, 0)]) for m in map(message, parts[f])] for f in (1, 11))
    profile = Profile(types, strings[parts[14][0]], parts[12][0], *period_type)
    for m in map(message, parts.get(3, [])):
        profile.mappings[m[1]] = Mapping(m[2], m[3], m.get(4, 0), strings[m[5]], strings[m[6]])
    locations = {}
    for m in map(message, parts.get(4, [])):
        if m[1] in locations:
            raise Malformed(f"two locations with id {m[1]}")
        locations[m[1]] = m[3]
        profile.mapping_of[m[3]] = mapping = profile.mappings.get(m.get(2, 0))
        if [mapping] != ([n for n in profile.mappings.values() if n.start <= m[3] < n.limit] or [None]):
            raise Malformed(f"location {m[3]:#x} is in mapping {mapping}")
    for m in map(message, parts.get(2, [])):
        profile.samples.append(Sample([locations[i] for i in packed(m.get(1, b""))], packed(m[2])))
        if len(profile.samples[-1].values) != len(types):
            raise Malformed("values and types differ in number")
    return profile
