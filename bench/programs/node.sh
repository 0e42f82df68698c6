#!/bin/sh
# node: JSON, buffers and compression in JavaScript; V8 has a heap of its own for objects.
set -eu
exec node -e '
const assert = require("assert"), zlib = require("zlib"), crypto = require("crypto");
const kept = new Map();
for (let i = 0; i < 40000; i++)
    kept.set("key " + i, Buffer.alloc(64 + i % 2000, i));
let total = 0;
for (let turn = 0; turn < 4; turn++) {
    const text = JSON.stringify([...kept.keys()].map((key, i) => ({key, i, tags: [String(i % 13)]})));
    assert.strictEqual(JSON.parse(text).length, 40000);
    assert.strictEqual(zlib.gunzipSync(zlib.gzipSync(text, {level: 3})).toString(), text);
    for (let i = turn; i < 40000; i += 4)
        kept.set("key " + i, Buffer.concat([kept.get("key " + i), Buffer.from(String(turn))]));
    total += crypto.createHash("sha256").update(text).digest("hex").length;
}
let bytes = 0;
for (const value of kept.values())
    bytes += value.length;
let expected = 0;
for (let i = 0; i < 40000; i++)
    expected += 65 + i % 2000;
assert.strictEqual(bytes, expected);
assert.strictEqual(total, 256);
'
