#!/bin/sh
# python3-long: A web service of JSON documents, a thread a connection; four clients change, fetch and search, and connect
# anew now and then.
set -eu
PYTHONMALLOC=malloc /usr/bin/python3 -S "$PROGRAM_INPUTS/python3.py" serve "$PROGRAM_SCRATCH/port" \
    2>"$PROGRAM_SCRATCH/log" &
server=$!
unset LD_PRELOAD
status=0
/usr/bin/python3 -S "$PROGRAM_INPUTS/python3.py" load "$PROGRAM_SCRATCH/port" "$PROGRAM_SECONDS" || status=$?
kill "$server"
wait "$server" || [ "$?" -eq 143 ] || status=$?
[ "$status" -eq 0 ] || tail -n 3 "$PROGRAM_SCRATCH/log" >&2
exit "$status"
