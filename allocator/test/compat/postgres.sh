#!/bin/bash
# PostgreSQL: initdb, pgbench with 4 clients, a check of its sums, clean shutdown.
source "$(dirname "$0")/lib.sh"
for directory in /usr/lib/postgresql/*/bin; do
    PATH=$directory:$PATH
done
need initdb postgres pgbench psql
as=()
if ((EUID == 0)); then
    id postgres >/dev/null 2>&1 || { echo "SKIP: no user postgres to run as"; exit 77; }
    as=(runuser -u postgres --)
fi
data=$work/data
mkdir "$data" && chmod 700 "$data"
((EUID != 0)) || chown postgres "$data"
# The library must be readable by that user.
install -m 755 "$MYMALLOC_PRELOAD" "$work/"
MYMALLOC_PRELOAD=$work/$(basename "$MYMALLOC_PRELOAD")
on() { "${as[@]}" env LD_PRELOAD="$MYMALLOC_PRELOAD" "$@"; }
cd "$work"
on initdb -D "$data" -A trust --no-sync >"$work/log" 2>&1 || { cat "$work/log"; fail "initdb"; }
on postgres -D "$data" -k "$data" -c listen_addresses= -c fsync=off >"$work/log" 2>&1 &
servers+=($!)
sql() { on psql -h "$data" -At -d postgres -c "$1"; }
until_true sql 'select 1'
took "$(head -1 "$data/postmaster.pid")"
on pgbench -h "$data" -i -s 2 -q postgres >/dev/null 2>&1 || fail "pgbench -i"
on pgbench -h "$data" -c 4 -j 2 -t 400 postgres >"$work/bench" 2>&1 || fail "pgbench"
grep -q 'transactions actually processed: 1600/1600' "$work/bench" || { cat "$work/bench"; fail "pgbench"; }
[[ $(sql 'select (select sum(abalance) from pgbench_accounts) = (select sum(tbalance) from pgbench_tellers)
          and (select count(*) from pgbench_history) = 1600') == t ]] || fail "the sums differ"
sql "select count(*), sum(length(repeat(md5(i::text), 50))) from generate_series(1, 50000) i" |
    grep -x '50000|80000000' >/dev/null || fail "query"
kill -INT "$(head -1 "$data/postmaster.pid")"
wait "${servers[0]}" || fail "postgres ended badly: $(tail -5 "$work/log")"
grep -E 'PANIC|signal 6|signal 11' "$work/log" && fail "the server logged trouble"
exit 0
