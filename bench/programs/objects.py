"""Lists, dictionaries, JSON and bytes that come and go while much of it stays."""
import json
import random

random.seed(1)
kept = {}
for i in range(60000):
    kept[f"key {i}"] = {"id": i, "tags": [str(i % 13), str(i % 17)], "data": bytes(i % 600)}
for turn in range(4):
    text = json.dumps([{"id": v["id"], "tags": v["tags"]} for v in list(kept.values())[:20000]])
    assert len(json.loads(text)) == 20000
    for i in random.sample(range(60000), 20000):
        kept[f"key {i}"] = {"id": i, "tags": [f"{turn} {i}"] * 3, "data": bytes(i % 600)}
    rows = [[i, i * 1.5, (i, turn)] for i in range(100000)]
    rows.sort(key=lambda row: row[0] % 1000)
    joined = b"".join(v["data"] for v in kept.values())
assert len(kept) == 60000 and len(joined) == sum(i % 600 for i in range(60000))
