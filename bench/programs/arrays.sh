#!/bin/sh
# arrays: numpy with temporaries of $1 MB. Its BLAS would start threads that have nothing to do.
set -eu
OPENBLAS_NUM_THREADS=1 PYTHONMALLOC=malloc exec /usr/bin/python3 "$PROGRAM_INPUTS/arrays.py" "$1"
