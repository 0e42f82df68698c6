#!/bin/sh
# sqlite3: a database in memory, built, indexed, queried and changed.
set -eu
exec sqlite3 :memory: <"$PROGRAM_INPUTS/sqlite3.sql" >/dev/null
