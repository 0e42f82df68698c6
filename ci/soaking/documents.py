"""Holds 20,000 documents; "SEED COUNT" replaces COUNT of them through JSON, "fork" forks."""
import json
import os
import sys

documents = {}
turn = 0
for line in sys.stdin:
    if line.strip() == "fork":
        child = os.fork()
        if child == 0:
            copy = {key: json.dumps(value) for key, value in documents.items()}
            os._exit(0 if len(copy) == len(documents) else 1)
        print("forked" if os.waitpid(child, 0)[1] == 0 else "the child failed", flush=True)
        continue
    seed, count = map(int, line.split())
    total = 0
    for number in range(count):
        value = (number * 31 + seed) % 1009
        text = json.dumps({"value": value, "words": [f"word {i}" for i in range(value % 40)], "pad": "x" * value})
        documents[(turn + number) % 20000] = document = json.loads(text)
        total += document["value"]
    turn += count
    print(total, flush=True)
