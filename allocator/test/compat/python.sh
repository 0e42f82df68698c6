#!/bin/bash
# CPython's own tests, every object from malloc (PYTHONMALLOC=malloc).
source "$(dirname "$0")/lib.sh"
python=/usr/bin/python3
need "$python"
"$python" -c 'import test.test_json' 2>/dev/null || {
    echo "SKIP: CPython's tests are not installed (libpython3.NN-testsuite)"
    exit 77
}
loads "$python"
cd "$work"
export PYTHONMALLOC=malloc
with "$python" -m test -q -j2 --timeout 100 \
    test_json test_ctypes test_threading test_list test_bytes test_gc test_mmap \
    test_thread test_queue 2>&1 | tail -25 >"$work/result" || true
grep -q 'Result: SUCCESS\|All .* tests OK\|Tests result: SUCCESS' "$work/result" || {
    cat "$work/result"
    fail "CPython's tests"
}
with "$python" -m test -q --timeout 100 test_multiprocessing_fork \
    -m 'WithProcessesTestPool' -m 'WithProcessesTestQueue' -m 'WithThreadsTestPool' \
    -m 'WithProcessesTestLock' -m '*SharedMemory*' 2>&1 | tail -25 >"$work/result" || true
grep -q 'SUCCESS\|tests OK' "$work/result" || {
    cat "$work/result"
    fail "CPython's multiprocessing tests"
}
# Debian leaves out CPython's tests of sqlite3.
cat >"$work/database.py" <<'SCRIPT'
import sqlite3, threading

def fill(start):
    db = sqlite3.connect("shared.db", timeout=60)
    for i in range(start, start + 20):
        with db:
            db.executemany("insert into t values (?, ?, ?)",
                           ((i * 100 + j, "text %d" % j * (j % 30), bytes(j)) for j in range(100)))
    db.close()

db = sqlite3.connect("shared.db")
db.execute("create table t (a integer primary key, b text, c blob)")
db.commit()
threads = [threading.Thread(target=fill, args=(n * 20,)) for n in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
db.create_function("twice", 1, lambda x: x * 2)
print(db.execute("select count(*), sum(length(b)), sum(length(c)), sum(twice(a)) from t").fetchone())
print(db.execute("pragma integrity_check").fetchone())
SCRIPT
expected=$("$python" "$work/database.py")
rm -f shared.db*
said=$(with "$python" "$work/database.py")
[[ $said == "$expected" ]] || fail "python's sqlite3 said $said, without mymalloc $expected"
