#!/bin/sh
# postgres-long: One connection of a database that serves four: short transactions, look-ups, and reports that sort, group
# and join.
set -eu
programs=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)
if [ "$(id -u)" -eq 0 ] && [ -z "${PROGRAM_USER-}" ]; then # it refuses to run as root
    chown postgres "$PROGRAM_SCRATCH"
    PROGRAM_USER=postgres exec setpriv --reuid postgres --regid postgres --clear-groups "$0"
fi
data=$PROGRAM_SCRATCH/data
"$programs/initdb" -D "$data" -A trust -U bench --no-sync >"$PROGRAM_SCRATCH/initdb" 2>&1 ||
    { tail -n 3 "$PROGRAM_SCRATCH/initdb" >&2; exit 1; }
"$programs/postgres" -D "$data" -k "$PROGRAM_SCRATCH" -c listen_addresses= -c fsync=off -c shared_buffers=64MB \
    >"$PROGRAM_SCRATCH/log" 2>&1 &
server=$!
unset LD_PRELOAD
export PGHOST="$PROGRAM_SCRATCH" PGUSER=bench PGDATABASE=postgres
tries=0
until "$programs/pg_isready" -q; do
    tries=$((tries + 1))
    if [ "$tries" -ge 1000 ] || ! kill -0 "$server" 2>/dev/null; then
        tail -n 3 "$PROGRAM_SCRATCH/log" >&2
        exit 1
    fi
    sleep 0.02
done
cat >"$PROGRAM_SCRATCH/report.sql" <<'SQL'
\set branch random(1, :scale)
SELECT bid, aid % 100 AS kind, count(*), sum(abalance), string_agg(aid::text, ',' ORDER BY abalance, aid)
    FROM pgbench_accounts WHERE aid % 20 = :branch GROUP BY bid, kind ORDER BY 4 DESC LIMIT 50;
SELECT t.tid, count(*), max(a.abalance) FROM pgbench_tellers t JOIN pgbench_accounts a USING (bid)
    WHERE a.aid % 50 = :branch GROUP BY t.tid ORDER BY t.tid;
SQL
pgbench -i -q -s 4 >"$PROGRAM_SCRATCH/load" 2>&1
pgbench -n -s 4 -c 4 -T "$PROGRAM_SECONDS" -b tpcb-like@40 -b select-only@160 -f "$PROGRAM_SCRATCH/report.sql@1" \
    >>"$PROGRAM_SCRATCH/load" 2>&1
grep -q 'number of failed transactions: 0' "$PROGRAM_SCRATCH/load" || { tail -n 3 "$PROGRAM_SCRATCH/load" >&2; exit 1; }
kill -INT "$server"
wait "$server"
