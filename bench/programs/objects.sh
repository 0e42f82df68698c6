#!/bin/sh
# objects: Python's lists, dictionaries, JSON and bytes, every object from malloc.
set -eu
PYTHONMALLOC=malloc exec /usr/bin/python3 -S "$PROGRAM_INPUTS/objects.py"
