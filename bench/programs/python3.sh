#!/bin/sh
# python3 with its own small-object allocator off: every object goes to malloc.
set -eu
PYTHONMALLOC=malloc exec /usr/bin/python3 -S "$PROGRAM_INPUTS/python3.py"
