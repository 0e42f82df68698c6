#!/bin/sh
# clang++: clang compiles templates, as programs of C++ have them.
exec clang++ -O1 -S -o "$PROGRAM_SCRATCH/unit.s" "$PROGRAM_INPUTS/unit.cc"
