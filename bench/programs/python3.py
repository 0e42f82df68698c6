"""Parsing, dictionaries, strings, sorting and cycles for the collector."""
import json
import re
import zlib


class Node:
    def __init__(self, key, parent):
        self.key, self.parent, self.children = key, parent, []


def tree(depth, fan, parent=None):
    node = Node(depth, parent)
    if depth:
        node.children = [tree(depth - 1, fan, node) for _ in range(fan)]
    return node


records = [{"id": i, "name": f"record {i}", "tags": [f"t{i % 7}", f"u{i % 11}"], "value": i / 3}
           for i in range(20000)]
for _ in range(4):
    text = json.dumps(records)
    back = json.loads(text)
assert back == records
words = re.findall(r"\w+", text)
counts = {}
for word in words:
    counts[word] = counts.get(word, 0) + 1
ranked = sorted(counts, key=lambda word: (-counts[word], word))
assert ranked[0] in counts
for _ in range(6):
    tree(7, 4)
assert zlib.decompress(zlib.compress(text.encode())).decode() == text
print(len(ranked), "".join(ranked)[:10])
