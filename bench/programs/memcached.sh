#!/bin/sh
# memcached: a cache under the allocator, its clients without it; values of 64 B to 4 KiB.
set -eu
socket=$PROGRAM_SCRATCH/socket
memcached -s "$socket" -m 256 -t 2 -u "$(id -un)" &
server=$!
unset LD_PRELOAD LD_DEBUG LD_DEBUG_OUTPUT
status=0
/usr/bin/python3 -S "$PROGRAM_INPUTS/memcached.py" "$socket" || status=$?
kill "$server"
wait "$server" || true
exit "$status"
