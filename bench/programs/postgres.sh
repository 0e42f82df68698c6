#!/bin/sh
# postgres: a database cluster is made and serves pgbench with 4 clients: transactions that change balances, then
# queries; at the end the balances are added up.
set -eu
# postgres.sh serve | ready | load
programs=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)
data=$PROGRAM_SCRATCH/data log=$PROGRAM_SCRATCH/log
export PGHOST="$PROGRAM_SCRATCH" PGUSER=bench PGDATABASE=postgres

serve() {
    if [ "$(id -u)" -eq 0 ]; then # it refuses to run as root, who may have this file where nobody else may read it
        chown postgres "$PROGRAM_SCRATCH"
        exec setpriv --reuid postgres --regid postgres --clear-groups /bin/sh -c "$(cat "$0")" "$0" serve
    fi
    "$programs/initdb" -D "$data" -A trust -U bench --no-sync >"$log" 2>&1 || { tail -n 3 "$log" >&2; exit 1; }
    exec "$programs/postgres" -D "$data" -k "$PROGRAM_SCRATCH" -c listen_addresses= -c fsync=off -c shared_buffers=32MB \
        -c autovacuum=off -c log_min_messages=fatal
}

# transact NAME OPTION...: a line for the suite, of pgbench's rate and of its log of each transaction.
transact() {
    name=$1
    shift
    rm -f "$PROGRAM_SCRATCH"/each.*
    if ! pgbench -n -c 4 -l --log-prefix "$PROGRAM_SCRATCH/each" "$@" >"$PROGRAM_SCRATCH/told" 2>&1 ||
        ! grep -q 'number of failed transactions: 0 ' "$PROGRAM_SCRATCH/told"; then
        tail -n 3 "$PROGRAM_SCRATCH/told" >&2
        exit 1
    fi
    cat "$PROGRAM_SCRATCH"/each.* | cut -d ' ' -f 3 | sort -n |
        awk -v name="$name" -v rate="$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' "$PROGRAM_SCRATCH/told")" -f "$PROGRAM_INPUTS/points.awk"
}

load() {
    each=$((500 / ${PROGRAM_PART-1}))
    pgbench -i -q -s 2 >"$PROGRAM_SCRATCH/told" 2>&1 || { tail -n 3 "$PROGRAM_SCRATCH/told" >&2; exit 1; }
    transact transactions -t "$each"
    transact queries -S -t $((each * 3))
    sums=$(psql -AtF ' ' -c 'select (select count(*) from pgbench_history), (select sum(delta) from pgbench_history),
        (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),
        (select sum(bbalance) from pgbench_branches)')
    echo "$sums" | { read -r count delta accounts tellers branches
        [ "$count" -eq $((each * 4)) ] && [ "$delta" = "$accounts" ] && [ "$delta" = "$tellers" ] && [ "$delta" = "$branches" ]
    } || { echo "postgres: the balances do not add up: $sums" >&2; exit 1; }
}

case $1 in
serve) serve ;;
ready) "$programs/pg_isready" -q ;;
load) load ;;
esac
