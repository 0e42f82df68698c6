#!/bin/bash
# bash: arrays, strings, subshells, pipes, here-documents, pattern substitution.
source "$(dirname "$0")/lib.sh"
loads bash
cat >"$work/script" <<'SCRIPT'
declare -A seen
for i in {1..3000}; do
    seen[key$((i * 7919 % 3001))]+="value $i "
done
text=""
for key in $(printf '%s\n' "${!seen[@]}" | sort); do
    text+="$key=${seen[$key]}"
done
echo "${#text} ${text//value/V}" | cksum
mapfile -t lines < <(for i in {1..2000}; do echo "line $i $((i * i))"; done)
echo "${#lines[@]} ${lines[1999]}"
for i in {1..60}; do
    echo "$( (echo "$i"; echo "$(echo nested "$i")") | tr a-z A-Z)"
done | cksum
function deep() { (($1 == 0)) || { local padding; printf -v padding '%0500d' "$1"; deep $(($1 - 1)); }; }
deep 500
cat <<END | wc -c
$(printf 'x%.0s' {1..100000})
END
SCRIPT
same bash "$work/script"
