#!/bin/sh
# memcached: a cache of values of 64 B to 2 KiB, stored, overwritten, read and deleted, 100 keys at a time; every
# answer is compared.
set -eu
# memcached.sh serve | ready | load
socket=$PROGRAM_SCRATCH/socket
case $1 in
serve) exec memcached -s "$socket" -m 256 -t 2 -u "$(id -un)" ;;
ready) test -S "$socket" ;;
load) exec /usr/bin/python3 -S "$PROGRAM_INPUTS/memcached.py" "$socket" "${PROGRAM_PART-1}" ;;
esac
