#!/bin/bash
# node: strings, buffers, JSON, compression in its thread pool, worker threads.
source "$(dirname "$0")/lib.sh"
need node
loads node
cat >"$work/script.js" <<'SCRIPT'
const zlib = require('zlib'), crypto = require('crypto');
const { Worker, isMainThread, parentPort } = require('worker_threads');
function work(n) {
    const map = new Map();
    for (let i = 0; i < n; i++) map.set('key' + (i * 7919 % 100003), { i, s: 'x'.repeat(i % 200) });
    const text = JSON.stringify([...map]);
    return crypto.createHash('sha256').update(text).digest('hex');
}
if (!isMainThread) {
    parentPort.postMessage(work(30000));
} else {
    console.log(work(100000));
    const data = Buffer.alloc(3000000, 'mymalloc');
    let left = 8;
    for (let i = 0; i < 4; i++) {
        zlib.gzip(data, (e, z) => zlib.gunzip(z, (f, back) => {
            if (e || f || !back.equals(data)) process.exit(3);
            if (!--left) console.log('done');
        }));
        new Worker(__filename).on('message', m => {
            if (m !== work(30000)) process.exit(4);
            if (!--left) console.log('done');
        });
    }
}
SCRIPT
same node "$work/script.js"
