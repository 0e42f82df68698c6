#!/bin/sh
# c++: g++ compiles templates, as programs of C++ have them.
exec g++ -O1 -S -o "$PROGRAM_SCRATCH/unit.s" "$PROGRAM_INPUTS/unit.cc"
