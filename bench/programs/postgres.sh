#!/bin/sh
# postgres: a database cluster is made and serves pgbench, which runs without the allocator.
set -eu
programs=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)
if [ "$(id -u)" -eq 0 ] && [ -z "${PROGRAM_USER-}" ]; then # it refuses to run as root
    chown postgres "$PROGRAM_SCRATCH"
    PROGRAM_USER=postgres exec setpriv --reuid postgres --regid postgres --clear-groups "$0"
fi
data=$PROGRAM_SCRATCH/data
"$programs/initdb" -D "$data" -A trust -U bench --no-sync >"$PROGRAM_SCRATCH/initdb" 2>&1 || { tail -n 3 "$PROGRAM_SCRATCH/initdb" >&2; exit 1; }
"$programs/postgres" -D "$data" -k "$PROGRAM_SCRATCH" -c listen_addresses= -c fsync=off -c shared_buffers=32MB \
    -c autovacuum=off >"$PROGRAM_SCRATCH/log" 2>&1 &
server=$!
unset LD_PRELOAD LD_DEBUG LD_DEBUG_OUTPUT
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
pgbench -i -q -s 2 >"$PROGRAM_SCRATCH/load" 2>&1
pgbench -n -c 4 -t 500 >>"$PROGRAM_SCRATCH/load" 2>&1
pgbench -n -S -c 4 -t 1500 >>"$PROGRAM_SCRATCH/load" 2>&1
[ "$(grep -c 'number of failed transactions: 0' "$PROGRAM_SCRATCH/load")" -ge 2 ] ||
    { tail -n 3 "$PROGRAM_SCRATCH/load" >&2; exit 1; }
kill -INT "$server"
wait "$server"
