#!/bin/sh
# rocksdb: its db_bench fills, overwrites, compacts, reads and scans a database of 100,000 keys, with threads of its own
# behind; every key must be found and every block's checksum be right.
set -eu
number=$((100000 / ${PROGRAM_PART-1})) told=$PROGRAM_SCRATCH/told
db_bench --db="$PROGRAM_SCRATCH/db" --num="$number" --value_size=400 --seed=1 --stats_interval=1000000000 \
    --write_buffer_size=8388608 --cache_size=16777216 --benchmarks=fillseq,overwrite,compact,readrandom,seekrandom,verifychecksum \
    >"$told" 2>&1 || { tail -n 3 "$told" >&2; exit 1; }
[ "$(grep -c "($number of $number found)" "$told")" -eq 2 ] || { echo "rocksdb: keys are missing: $(grep 'found)' "$told" | tr '\n' ' ')" >&2; exit 1; }
grep -q '^verifychecksum' "$told" || { echo "rocksdb: checksums were not verified" >&2; exit 1; }
