// Holds 4,000 documents; "SEED COUNT" replaces COUNT of them through JSON, "fork" starts a child.
"use strict";
const { execFileSync } = require("child_process");
const documents = new Map();
let turn = 0;

function replace(seed, count) {
    let total = 0;
    for (let number = 0; number < count; number++) {
        const value = (number * 31 + seed) % 1009;
        const words = Array.from({ length: value % 40 }, (_, i) => `word ${i}`);
        const text = JSON.stringify({ value, words, pad: Buffer.alloc(value * 20, "x").toString() });
        const one = JSON.parse(text);
        one.raw = Buffer.alloc(value * 4, 7); // outside of the script's own heap
        documents.set((turn + number) % 4000, one);
        total += one.value;
    }
    turn += count;
    return total;
}

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
    if (line.trim() === "fork") {
        execFileSync("true");
        console.log("forked");
        return;
    }
    const [seed, count] = line.split(" ").map(Number);
    console.log(String(replace(seed, count)));
});
