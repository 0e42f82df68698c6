#!/bin/sh
# strings: Rust's HashMap<u64, String> in four threads; strings.rs, built with the benchmark.
exec "$PROGRAM_BUILD/mymalloc-program-strings"
