#!/bin/bash
# Check the protocol model exhaustively, or show that a mutation of it is caught.
#   model.sh [MUTATION]     none: no error may be found; else: one must be
set -euo pipefail
mutation=${1:-}
here=$(cd "$(dirname "$0")" && pwd)
for tool in spin cc; do
    command -v "$tool" >/dev/null || { echo "SKIP: no $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
spin ${mutation:+-D"$mutation"} -a "$here/cache.pml" >spin.log || { cat spin.log; exit 1; }
cc -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM=4000 -o pan pan.c
./pan -m2000000 -n >pan.log || true
grep -E 'errors:|states, stored|error|truncated|reached|warning' pan.log || true
if grep -qE 'max search depth too small|reached -DMEMLIM|Search not completed' pan.log &&
    [[ -z $mutation ]]; then
    echo "the search was not exhaustive"
    exit 1
fi
errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.log)
if [[ -z $mutation ]]; then
    [[ $errors == 0 ]] || { echo "the protocol is wrong:"; spin -p -t "$here/cache.pml" | tail -40; exit 1; }
    echo "no error in any state"
else
    [[ $errors -gt 0 ]] || { echo "$mutation was not caught"; exit 1; }
    echo "$mutation is caught"
fi
