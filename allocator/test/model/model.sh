#!/bin/bash
# Check the protocol model exhaustively, or show that a mutation of it is caught.
#   model.sh CPUS OBJECTS ROOM [MUTATION]   no error may be found; with a mutation one must
set -euo pipefail
if (($# < 3)); then
    sed -n '3s/^# *//p' "$0"
    exit 2
fi
mutation=${4:-}
machine=(-DCPUS="$1" -DOBJECTS="$2" -DROOM="$3")
here=$(cd "$(dirname "$0")" && pwd)
for tool in spin cc; do
    command -v "$tool" >/dev/null || { echo "SKIP: no $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
spin "${machine[@]}" ${mutation:+-D"$mutation"} -a "$here/cache.pml" >log || { cat log; exit 1; }
cc -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM=4000 -o pan pan.c
./pan -m5000000 -n >log || true
grep -E 'errors:|states, stored' log
errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' log)
if [[ -n $mutation ]]; then
    ((errors > 0)) || { echo "$mutation was not caught"; exit 1; }
    echo "$mutation is caught"
elif ((errors > 0)); then
    echo "the protocol is wrong; the last steps that show it:"
    spin "${machine[@]}" -p -t "$here/cache.pml" | tail -40
    exit 1
elif grep -qE 'max search depth too small|reached -DMEMLIM|Search not completed' log; then
    cat log
    echo "the search was not exhaustive"
    exit 1
else
    echo "no error in any state"
fi
