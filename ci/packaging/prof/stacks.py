"""The stacks of a profile with what each took, and sums over them."""
import re
from collections import defaultdict

from proto import Fault, read_profile
from symbols import names_of


class Stacks:
    """value by stack (outermost function first, as (function, file)), of one sample type."""

    def __init__(self, path, by):
        profile = read_profile(path)
        self.path, self.type = path, by or ("inuse_space" if "inuse_space" in profile.types else profile.types[-1])
        if self.type not in profile.types:
            raise Fault(f"--by {self.type}: {path} has {', '.join(profile.types)}")
        at = profile.types.index(self.type)
        self.unit, self.period, names = profile.units[at], profile.period, names_of(profile)
        self.value = defaultdict(int)
        for ids, values in profile.samples:
            if values[at] != 0:
                self.value[self.stack(profile, [f for i in reversed(ids) for f in reversed(names.get(i, [("?", "")]))])] += \
                    values[at]
        self.total = sum(self.value.values())

    @staticmethod
    def stack(profile, frames):
        """Without the allocator's own frames: from the first that is to be dropped on, as pprof does."""
        seen_user = False
        for i, (name, _) in enumerate(frames):
            if profile.drop and profile.drop.fullmatch(re.sub(r"\(.*\)$|\.\w+(\.\d+)*$", "", name)):
                if seen_user:
                    return tuple(frames[:i])
            else:
                seen_user = True
        return tuple(frames) or (("(unknown)", ""),)

    def say(self, value):
        return quantity(value, self.unit)

    def head(self):
        every = f", a sample each {quantity(self.period, 'bytes')}" if self.period > 1 else ""
        ended = self.total == 0 and self.type.startswith("inuse")
        hint = "; all was freed by then: --by peak_space, alloc_space" if ended else ""
        return f"{self.type}: {self.say(self.total)}{every}{hint}"


def quantity(value, unit):
    if unit != "bytes":
        return f"{value:,}"
    size = abs(value)
    for power, letter in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024 ** power:
            return f"{value / 1024 ** power:.1f} {letter}"
    return f"{value} B"


def percent(value, total):
    return f"{100 * value / total:5.1f}%" if total else "    - "


def sums(value):
    """{function: [itself, with what it calls]}."""
    out = defaultdict(lambda: [0, 0])
    for stack, amount in value.items():
        out[stack[-1]][0] += amount
        for frame in set(stack):
            out[frame][1] += amount
    return out


class Node:
    """A function on one way to it: what went through here, now and (of a base) before."""

    def __init__(self):
        self.value = self.before = self.width = 0
        self.below = {}


def widen(root):
    """Each is wide enough for both values, and for all that is called. Not by recursion: others' stacks may be of any depth."""
    nodes = [root]
    for node in nodes:
        nodes += node.below.values()
    for node in reversed(nodes):
        node.width = max(node.value, node.before, sum(child.width for child in node.below.values()))


def grow(stacks, base=None):
    root = Node()
    for source, name in ((stacks, "value"), (base, "before")):
        for stack, amount in source.value.items() if source else ():
            node = root
            setattr(node, name, getattr(node, name) + amount)
            for frame in stack:
                node = node.below.setdefault(frame, Node())
                setattr(node, name, getattr(node, name) + amount)
    widen(root)
    return root
