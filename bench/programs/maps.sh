#!/bin/sh
# maps: C++ containers of strings in four threads; maps.cc, built with the benchmark.
exec "$PROGRAM_BUILD/mymalloc-program-maps"
