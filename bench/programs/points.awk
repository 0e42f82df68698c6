# Microseconds, sorted, one a line: the suite's line of a command (bench/suite/server.py), with name and rate as given.
{ took[NR - 1] = $1 }
END {
    printf "%s: %s requests per second, p50=%d us, p99=%d us, p99.9=%d us\n", name, rate,
        took[int(NR * 0.5)], took[int(NR * 0.99)], took[int(NR * 0.999)]
}
