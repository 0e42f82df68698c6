#!/bin/bash
# Check a protocol's model exhaustively, or show that a mutation of it is caught.
#   model.sh MODEL NAME=VALUE... [MUTATION]   no error may be found; with a mutation one must
set -euo pipefail
if (($# < 2)); then
    sed -n '3s/^# *//p' "$0"
    exit 2
fi
model=$(cd "$(dirname "$0")" && pwd)/$1.pml
machine=() mutation=
for word in "${@:2}"; do
    [[ $word == *=* ]] || mutation=$word
    machine+=(-D"$word")
done
for tool in spin cc; do
    command -v "$tool" >/dev/null || { echo "SKIP: no $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
spin "${machine[@]}" -a "$model" >log || { cat log; exit 1; }
cc -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM=4000 -o pan pan.c
./pan -m5000000 -n >log || true
grep -E 'errors:|states, stored' log
errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' log)
if [[ -n $mutation ]]; then
    ((errors > 0)) || { echo "$mutation was not caught"; exit 1; }
    echo "$mutation is caught"
elif ((errors > 0)); then
    echo "the protocol is wrong; the last steps that show it:"
    spin "${machine[@]}" -p -t "$model" | tail -40
    exit 1
elif grep -qE 'max search depth too small|reached -DMEMLIM|Search not completed' log; then
    cat log
    echo "the search was not exhaustive"
    exit 1
else
    echo "no error in any state"
fi
