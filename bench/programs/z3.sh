#!/bin/sh
# z3: a solver refutes that 10 pigeons fit into 9 holes, and adds up integers; many small terms.
set -eu
awk 'BEGIN {
    n = 9
    for (p = 0; p <= n; p++) for (h = 0; h < n; h++) printf "(declare-const x%d_%d Bool)\n", p, h
    for (p = 0; p <= n; p++) {
        printf "(assert (or"
        for (h = 0; h < n; h++) printf " x%d_%d", p, h
        print "))"
    }
    for (h = 0; h < n; h++) for (p = 0; p <= n; p++) for (q = p + 1; q <= n; q++)
        printf "(assert (or (not x%d_%d) (not x%d_%d)))\n", p, h, q, h
    print "(check-sat)\n(reset)"
    for (i = 0; i < 3000; i++) printf "(declare-const n%d Int)\n(assert (= n%d %s))\n", i, i, i ? sprintf("(+ 1 n%d)", i - 1) : "0"
    print "(assert (= n2999 2999))\n(check-sat)"
}' >"$PROGRAM_SCRATCH/problem.smt2"
z3 "$PROGRAM_SCRATCH/problem.smt2" >"$PROGRAM_SCRATCH/answers"
[ "$(tr '\n' ' ' <"$PROGRAM_SCRATCH/answers")" = "unsat sat " ] || { echo "z3: answered $(cat "$PROGRAM_SCRATCH/answers")" >&2; exit 1; }
