#!/bin/bash
# sqlite3: tables, indexes, joins, vacuum, integrity check.
source "$(dirname "$0")/lib.sh"
need sqlite3
loads sqlite3
cat >"$work/script" <<'SQL'
PRAGMA journal_mode=WAL;
CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO t SELECT i, printf('%d-%s', i * 7919 % 60013, hex(i)), zeroblob(i % 500) FROM n;
CREATE INDEX tb ON t(b);
SELECT count(*), sum(length(c)), max(b) FROM t;
SELECT b, count(*) FROM t GROUP BY substr(b, 1, 3) ORDER BY b LIMIT 50;
SELECT count(*) FROM t x JOIN t y ON x.b = y.b WHERE x.a % 3 = 0;
DELETE FROM t WHERE a % 2;
UPDATE t SET c = zeroblob(1000) WHERE a % 5 = 0;
VACUUM;
PRAGMA integrity_check;
SQL
run() {
    rm -f "$work"/db*
    sqlite3 "$work/db" <"$work/script"
}
run >"$work/expected"
LD_PRELOAD=$MYMALLOC_PRELOAD run >"$work/got"
cmp "$work/expected" "$work/got" || fail "sqlite3 answers differ"
[[ $(tail -1 "$work/got") == ok ]] || fail "integrity check"
