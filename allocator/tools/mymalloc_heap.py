"""The heap of another program, read from outside: for mymalloc-stats and for gdb.

The allocator explains itself by an ELF note (allocator/src/alloc/layout.h), so neither
symbols nor debug information are needed. Nothing is written and no code of the program runs.
A running one goes on meanwhile: then numbers are of several moments, none is negative.
"""
import bisect
import struct


class Unreadable(Exception):
    """There is no such memory, or what is in it makes no sense."""


NOTE = struct.pack("<III", 9, 8, 1) + b"mymalloc\0\0\0\0"  # layout.h has the sizes of its parts
LONGEST_LIST = 1 << 20  # a list that was changed while it was read may lead anywhere


def note_in(notes, address):
    """Where mymalloc's note is, in the bytes of a note segment at an address; or None."""
    at = notes.find(NOTE)
    return None if at < 0 else address + at


class Heap:
    def __init__(self, read, note):
        """read(address, size) gives bytes or raises Unreadable; note: the note's address."""
        self.read = read
        at = note + len(NOTE)
        self.fact, self.bytes = {}, {}
        self._read_facts(at + self.number(at, 8))

    # ---- words, fields, facts ----

    def number(self, address, size):
        return int.from_bytes(self.read(address, size), "little")

    def text(self, address):
        for size in (128, 8):  # not across the end of what is mapped
            try:
                text = b""
                while b"\0" not in text and len(text) < 256:
                    text += self.read(address + len(text), size)
            except Unreadable:
                continue
            found = text.split(b"\0")[0].decode("latin-1")
            if found.isascii() and found.isprintable():  # a program can be made to have what terminals obey
                return found
        raise Unreadable(f"text at {address:#x}")

    def _read_facts(self, at):
        while True:
            name, value, size = struct.unpack("<QQQ", self.read(at, 24))
            if name == 0:
                return
            name = self.text(name)
            self.fact[name], self.bytes[name] = value, size
            at += 24
            if len(self.fact) > 1000:
                raise Unreadable("the facts do not end")

    def size(self, kind):
        return self.fact[f"sizeof {kind}"]

    def field(self, kind, record, name):
        """A field of a record that was read as bytes."""
        name = f"{kind}.{name}"
        at = self.fact[name]
        return int.from_bytes(record[at:at + self.bytes[name]], "little")

    def record(self, kind, address):
        return self.read(address, self.size(kind))

    def variable(self, name):
        return self.number(self.fact[name], self.bytes[name])

    def member(self, variable, kind, name):
        """A field of the variable that is a structure."""
        name = f"{kind}.{name}"
        return self.number(self.fact[variable] + self.fact[name], self.bytes[name])

    def chain(self, kind, first, link="next"):
        """The records of a list: (address, bytes)."""
        for _ in range(LONGEST_LIST):
            if first == 0:
                return
            record = self.record(kind, first)
            yield first, record
            first = self.field(kind, record, link)

    # ---- what there is ----

    def is_started(self):
        return self.variable("mym_class_count") > 0 and self.member("mym_heap", "heap", "base") != 0

    def mapped(self):
        return self.member("mym_pages", "pages", "mapped") * self.fact["MYM_UNIT"]

    def classes(self):
        """By number: {size, objects, units, entries}; number 0 is none."""
        size, at = self.size("class"), self.fact["mym_classes"]
        records = [self.read(at + i * size, size) for i in range(self.variable("mym_class_count"))]
        return [{name: self.field("class", record, name) for name in ("size", "objects", "units", "entries")}
                for record in records]

    def pools(self):
        """Class and record of all pools of all arenas."""
        size, count = self.size("pool"), self.variable("mym_class_count")
        arenas = list(range(self.variable("mym_arena_count"))) + [self.fact["MYM_SAMPLED"]]
        for arena in arenas:
            at = self.number(self.fact["mym_arenas"] + 8 * arena, 8)
            if at != 0:
                pools = self.read(at, size * count)
                yield from ((i, pools[i * size:(i + 1) * size]) for i in range(1, count))

    def caches(self):
        """Each cache as the list of its words: slots, then spans."""
        found = []
        caches = self.member("mym_front", "front", "caches")
        for i in range(self.variable("mym_caches_top")):
            record = self.record("cache", caches + (i << self.fact["MYM_CACHE_SHIFT"]))
            if any(record):
                found.append(record)
        found += [record for _, record in self.chain("cache", self.variable("mym_thread_caches"))]
        at, size = self.fact["cache.slot"], self.bytes["cache.slot"]
        return [struct.unpack(f"<{size // 8}Q", record[at:at + size]) for record in found]

    def magazines(self, classes):
        """Those in slots: (class, address of the entries, objects)."""
        many = self.fact["MYM_CLASSES"]
        none = {self.fact[name] + self.fact["no_magazine.ceiling"]
                for name in ("mym_closed_magazine", "mym_none_magazine")}
        entry = self.fact["magazine.entry"]
        for words in self.caches():
            for i, top in enumerate(words[:2 * many]):
                if top not in none and i % many < len(classes):
                    size = self.size("magazine") + (classes[i % many]["entries"] + 1) * 8
                    start = (top & -(1 << (size - 1).bit_length())) + entry
                    yield i % many, start, (top - start) // 8

    def quarantine(self):
        """Objects that wait on the hardened library's shelves: of size classes, and large ones."""
        if "mym_shelves" not in self.fact:
            return [], []
        at, size = self.fact["shelf.place"], self.bytes["shelf.place"]
        places = [self.record("shelf", self.fact["mym_shelves"] + i * self.size("shelf"))[at:at + size]
                  for i in range(self.fact["MYM_SHELVES"])]
        large = self.read(self.fact["mym_shelf_large"], 8 * self.fact["MYM_SHELF_LARGE"])
        return ([object for object in struct.unpack(f"<{len(words) // 8}Q", words) if object != 0]
                for words in (b"".join(places), large))

    def waiting(self, classes):
        """The same as numbers: objects by class, and bytes of large ones in the page heap."""
        small, large = self.quarantine()
        base, table = (self.member("mym_heap", "heap", name) for name in ("base", "cls"))
        unit, found = self.fact["MYM_UNIT"], [0] * len(classes)
        for object in small:
            found[self.number(table + (object - base) // unit, 1)] += 1
        return found, unit * sum(self.field("unit", self.unit_record((object - base) // unit), "length") for object in large)

    def cached_spans(self):
        """(the span on top, how many there are) of each span word."""
        for words in self.caches():
            for i, word in enumerate(words[2 * self.fact["MYM_CLASSES"]:]):
                if word > self.fact["MYM_SPAN_SHUT"]:  # of the last word it is one, whatever the length
                    many = word % self.fact["MYM_SPAN_ROOM"] if i < self.fact["MYM_SPAN_CLASSES"] else 1
                    yield word - word % self.fact["MYM_UNIT"], many

    def unit_record(self, unit):
        return self.record("unit", self.member("mym_heap", "heap", "units") + unit * self.size("unit"))

    # ---- the numbers: what mym_info_read makes in the process ----

    def runs(self, kind):
        """(units, count, units of the longest) of the free runs of a kind."""
        place = self.fact["pages.runs"] + self.size("index") * (self.fact[kind] - self.fact["MYM_GONE"])
        index = self.read(self.fact["mym_pages"] + place, self.size("index"))
        at, size = self.fact["index.bins"], self.bytes["index.bins"]
        filled = [run for run in struct.unpack(f"<{size // 4}I", index[at:at + size]) if run != 0]
        count, longest = self.field("index", index, "count"), 0
        run = filled[-1] if filled else 0
        for _ in range(count):
            if run == 0:
                break
            record = self.unit_record(run)
            longest = max(longest, self.field("unit", record, "length"))
            run = self.field("unit", record, "next")
        return self.field("index", index, "units"), count, longest

    def allowance(self, pages):
        """The rule of heap/ledger.h."""
        at = self.fact["pages.ledger"]
        ledger = pages[at:at + self.bytes["pages.ledger"]]
        keep, high, use, swing, helped = (self.field("ledger", ledger, name)
                                          for name in ("keep", "high", "use", "swing", "helped"))
        back, most = max(high - use, 0), max(2 * keep, high // 4 - keep)
        return 0 if keep == 0 else keep + (back if helped else min(swing, back, most))

    def info(self):
        """struct mym_info: its fields by name, and those of each class."""
        unit, classes = self.fact["MYM_UNIT"], self.classes()
        names = ("slabs", "places", "free", "depot", "misses", "overflows", "cached", "waiting")
        by_class = [dict.fromkeys(names, 0) for _ in classes]
        for number, pool in self.pools():
            entry = by_class[number]
            for name in ("slabs", "free", "misses", "overflows"):
                entry[name] += self.field("pool", pool, name)
            entry["places"] = entry["slabs"] * classes[number]["objects"]
            entry["depot"] += self.field("pool", pool, "loaded_objects")
        for number, _, objects in self.magazines(classes):
            by_class[number]["cached"] += max(objects, 0)
        waiting, waiting_large = self.waiting(classes)
        for entry, objects in zip(by_class, waiting):
            entry["waiting"] = objects
            entry["used"] = max(entry["places"] - entry["free"] - entry["depot"] - entry["cached"] - objects, 0)
        pages = self.record("pages", self.fact["mym_pages"])
        clean, clean_runs, clean_longest = self.runs("MYM_CLEAN")
        dirty, dirty_runs, dirty_longest = self.runs("MYM_DIRTY")
        holders = {name: self.fact["pages.held"] + 4 * self.fact[f"MYM_HOLDS_{name.upper()}"] for name in ("slabs", "shelf")}
        base = self.member("mym_heap", "heap", "base")
        info = {
            "pages.mapped": self.field("pages", pages, "mapped") * unit,
            "pages.free": (clean + dirty + self.field("pages", pages, "purging")) * unit,
            "pages.dirty": (dirty - self.field("pages", pages, "spared")) * unit,
            "pages.idle": self.field("pages", pages, "idle") * unit,
            "pages.allowance": self.allowance(pages) * unit,
            "pages.purged": self.field("pages", pages, "purged"),
            "pages.huge": self.field("pages", pages, "huge") * self.fact["MYM_CHUNK_UNITS"] * unit,
            "pages.runs": clean_runs + dirty_runs,
            "pages.longest": max(clean_longest, dirty_longest) * unit,
            **{f"pages.held.{name}": int.from_bytes(pages[at:at + 4], "little") * unit for name, at in holders.items()},
            "huge": self.member("mym_mappings", "mappings", "bytes"),
            "huges": self.member("mym_mappings", "mappings", "count"),
            "meta": self.variable("mym_meta_taken"),
            "reaps": unit * sum(self.field("reap", reap, "held")
                                for _, reap in self.chain("reap", self.variable("mym_reaps"))),
            "spans": unit * sum(self.field("unit", self.unit_record((span - base) // unit), "length") * held
                                for span, held in self.cached_spans()),
        }
        mapped = self.variable("mym_mapping_waiting") if "mym_mapping_waiting" in self.fact else 0
        info |= {"waiting_large": waiting_large + mapped} | {
            name: self.member("mym_guarded", "guarded", field)
            for name, field in (("guarded", "objects"), ("guarded_bytes", "live"), ("guarded_pages", "open"),
                                ("guarded_ever", "taken"))}
        sizes = [entry["size"] for entry in classes]
        total = {name: sum(entry[name] * size for entry, size in zip(by_class, sizes))
                 for name in ("used", "free", "cached", "depot", "waiting")}
        info |= {"small_used": total["used"], "small_free": total["free"],
                 "caches": total["cached"], "depots": total["depot"], "waiting": total["waiting"]}
        info["rounding"] = sum(entry["used"] * (size - (before if before < size else 0) - 1)
                               for entry, size, before in zip(by_class[1:], sizes[1:], sizes))
        slabs = unit * sum(entry["slabs"] * one["units"] for entry, one in zip(by_class, classes))
        info["large"] = max(info["pages.mapped"] - info["pages.free"] - slabs - info["spans"] - info["reaps"]
                            - waiting_large, 0)
        return info, dict(zip(sizes, by_class))

    def metrics(self):
        """The process's own table: (name, help, label, value or None, offset, is a counter)."""
        at, size = self.fact["mym_metrics"], self.size("metric")
        for i in range(self.variable("mym_metric_count")):
            record = self.read(at + i * size, size)
            texts = [self.field("metric", record, name) for name in ("name", "help", "label", "value")]
            yield (*(self.text(text) if text else None for text in texts),
                   self.field("metric", record, "offset"), self.field("metric", record, "counter") != 0)

    def front_end(self):
        return self.text(self.number(self.fact["mym_mode_names"] + 8 * self.variable("mym_mode"), 8))

    def statistics(self, faults):
        """What MyStatsWrite writes as JSON; and {name: (help, is a counter, label)}. faults: minor and major ones."""
        info, by_class = self.info()
        info["minor_faults"], info["major_faults"] = faults
        place = {self.fact[f"info.{name}"]: value for name, value in info.items()}
        names = {self.fact["info.cls"] + self.fact[f"class_info.{name}"]: name
                 for name in ("slabs", "places", "used", "cached", "depot", "free", "misses", "overflows")}
        found = {"mymalloc_info": {"version": self.text(self.fact["mym_version"]), "front_end": self.front_end()}}
        about = {"mymalloc_info": ("Which mymalloc serves the program, and how.", False, None)}
        for name, explains, label, value, offset, counter in self.metrics():
            if explains:
                about[name] = explains, counter, label
            if label is None:
                found[name] = place[offset]
            elif value is not None:
                found.setdefault(name, {})[value] = place[offset]
            else:
                found[name] = {str(size): entry[names[offset]] for size, entry in by_class.items()
                               if entry["places"] + entry["misses"] + entry["overflows"] > 0}
        return found, about


class Objects:
    """Every object of a heap that stands still, by address."""

    def __init__(self, heap):
        self.heap = heap
        self.base = heap.member("mym_heap", "heap", "base")
        self.unit = heap.fact["MYM_UNIT"]
        self.classes = heap.classes()
        self.kinds = {heap.fact[name]: name for name in ("MYM_ABSENT", "MYM_GONE", "MYM_CLEAN", "MYM_DIRTY", "MYM_PURGING",
                                                         "MYM_SLAB", "MYM_WINDOW", "MYM_LARGE")}
        self.cached = self._cached()
        self.waiting = {object for objects in heap.quarantine() for object in objects}
        self.spans = self._spans()
        self.firsts = [first for first, _ in self.spans]
        self.mappings = self._mappings()

    def _cached(self):
        """Small objects in caches and depots: free, though their slabs do not know."""
        heap, cached = self.heap, set()
        for _, start, objects in heap.magazines(self.classes):
            cached.update(struct.unpack(f"<{objects}Q", heap.read(start, 8 * objects)))
        at, size = heap.fact["pool.loaded"], heap.bytes["pool.loaded"]
        for _, pool in heap.pools():
            for first in struct.unpack_from(f"<{size // 8}Q", pool, at):
                for magazine, record in heap.chain("magazine", first):
                    used = heap.field("magazine", record, "used")
                    cached.update(struct.unpack(f"<{used}Q", heap.read(magazine + heap.fact["magazine.entry"], 8 * used)))
        return cached

    def _spans(self):
        """(first unit, record) of each span and free run, ascending."""
        heap, size = self.heap, self.heap.size("unit")
        end = heap.member("mym_pages", "pages", "end")
        units = heap.read(heap.member("mym_heap", "heap", "units"), end * size)
        spans, unit = [], 1
        while unit < end:
            record = units[unit * size:(unit + 1) * size]
            length = heap.field("unit", record, "length")
            if self.kind(record) == "MYM_ABSENT":
                length = 1
            elif length == 0 or unit + length > end:
                raise Unreadable(f"a span of {length} units at unit {unit}")
            else:
                spans.append((unit, record))
            unit += length
        return spans

    def _mappings(self):
        heap, size = self.heap, self.heap.size("mapping")
        room = heap.member("mym_mappings", "mappings", "room")
        table = heap.read(heap.member("mym_mappings", "mappings", "entry"), room * size) if room else b""
        entries = [table[i * size:(i + 1) * size] for i in range(room)]
        found = [(heap.field("mapping", entry, "addr"), heap.field("mapping", entry, "bytes")) for entry in entries]
        return sorted(mapping for mapping in found if mapping[0] != 0)

    def kind(self, record):
        return self.kinds.get(self.heap.field("unit", record, "kind"))

    def address(self, unit):
        return self.base + unit * self.unit

    def _bits(self, table, unit, words):
        """The words of a unit's bitmap and those behind it, as one number."""
        size = self.heap.fact["MYM_BIT_WORDS"] * 8
        return int.from_bytes(self.heap.read(self.heap.member("mym_heap", "heap", table) + unit * size, words * 8), "little")

    # ---- spans: (object, bytes, state); state: live, cached, waiting, free ----

    def _held(self, object, cached):
        """The state of what its span has given out."""
        return "cached" if cached else "waiting" if object in self.waiting else "live"

    def in_slab(self, first, record):
        one = self.classes[self.heap.field("unit", record, "cls")]
        bits = self._bits("bits", first, (one["objects"] + 63) // 64)
        start = self.address(first) + self.heap.field("unit", record, "lines") * self.heap.fact["MYM_CACHELINE"]
        for i in range(one["objects"]):
            at = start + i * one["size"]
            yield at, one["size"], "free" if bits >> i & 1 else self._held(at, at in self.cached)

    def in_window(self, first, record):
        heap, words = self.heap, self.heap.fact["MYM_BIT_WORDS"]
        end = self._window_end(first, record)
        length = heap.field("unit", record, "length")
        starts = self._bits("bits", first, length * words)
        freed = self._bits("freed", first, length * words) if heap.field("unit", record, "holes") else 0
        granule, start = heap.fact["MYM_ALIGNMENT"], self.address(first)
        at = [i for i in range((end - start) // granule) if starts >> i & 1] + [(end - start) // granule]
        for i, after in zip(at, at[1:]):
            yield start + i * granule, (after - i) * granule, "free" if freed >> i & 1 else "live"

    def _window_end(self, first, record):
        """How far the window is in use: mym_reap_used."""
        heap = self.heap
        reap = heap.record("reap", heap.field("unit", record, "reap"))
        for name in ("own", "shared"):
            at = heap.fact[f"reap.{name}"]
            bump = reap[at:at + heap.bytes[f"reap.{name}"]]
            if heap.field("bump", bump, "first") == first:
                return heap.field("bump", bump, "at")
        return self.address(first) + heap.field("unit", record, "used")

    def in_span(self, first, record):
        kind = self.kind(record)
        if kind == "MYM_SLAB":
            yield from self.in_slab(first, record)
        elif kind == "MYM_WINDOW":
            yield from self.in_window(first, record)
        elif kind == "MYM_LARGE":
            before = self.heap.field("unit", record, "lines") * self.heap.fact["MYM_CACHELINE"]
            room = self.heap.fact["MYM_LINES_ROOM"] if before else 0
            at, cached = self.address(first) + before, self.heap.field("unit", record, "cached")
            yield at, self.heap.field("unit", record, "length") * self.unit - room, self._held(at, cached)

    def live(self):
        """(address, bytes) of every object that the program holds."""
        for first, record in self.spans:
            yield from ((at, size) for at, size, state in self.in_span(first, record) if state == "live")
        yield from self.mappings

    # ---- one pointer ----

    def span_of(self, address):
        unit = (address - self.base) // self.unit
        i = bisect.bisect_right(self.firsts, unit) - 1
        if i < 0 or unit >= self.firsts[i] + self.heap.field("unit", self.spans[i][1], "length"):
            return None
        return self.spans[i]

    def describe(self, address):
        """What an address is, in a line or two."""
        for start, size in self.mappings:
            if start <= address < start + size:
                return _object(address, start, size, "live") + ", a mapping of its own"
        span = self.span_of(address) if address >= self.base else None
        if span is None:
            return f"{address:#x}: not of mymalloc's heap"
        first, record = span
        start, length = self.address(first), self.heap.field("unit", record, "length") * self.unit
        where = {"MYM_SLAB": self._slab, "MYM_WINDOW": lambda r: "in an arena's window",
                 "MYM_LARGE": self._large}.get(self.kind(record))
        if where is None:
            return f"{address:#x}: in free pages, {length} bytes at {start:#x}"
        for at, size, state in self.in_span(first, record):
            if at <= address < at + size:
                return f"{_object(address, at, size, state)}, {where(record)} at {start:#x} of {length} bytes"
        return f"{address:#x}: in no object, {where(record)} at {start:#x} of {length} bytes"

    def _slab(self, record):
        heap, number = self.heap, self.heap.field("unit", record, "cls")
        arena = heap.field("unit", record, "arena")
        whose = "of sampled objects" if arena == heap.fact["MYM_SAMPLED"] else f"of arena {arena}"
        return (f"size class {self.classes[number]['size']}, {heap.field('unit', record, 'free')} of "
                f"{self.classes[number]['objects']} free in the slab {whose}")

    def _large(self, record):
        return "an arena's span" if self.heap.field("unit", record, "reap") else "a span"


STATES = {"live": "live", "cached": "free (in a cache)", "waiting": "free (in quarantine)", "free": "free"}


def _object(address, start, size, state):
    inside = "" if address == start else f"{address - start} bytes inside of "
    return f"{address:#x}: {inside}{STATES[state]} object {start:#x} of {size} bytes"
