#!/bin/bash
# coreutils: sort with threads and with little memory, and the usual filters.
source "$(dirname "$0")/lib.sh"
need sort awk
loads sort
awk 'BEGIN { srand(7); for (i = 0; i < 400000; i++) print int(rand() * 1e9), "line", i }' >"$work/lines"
same sort --parallel=4 "$work/lines"
same sort -n -k1,1 -S 2M "$work/lines"
same sort -u -r -k3 "$work/lines"
# shellcheck disable=SC2016 # awk and the inner shell expand it
same awk '{ count[$1 % 5000]++ } END { for (i = 0; i < 5000; i++) print count[i] }' "$work/lines"
same tac "$work/lines"
same split --number=l/3/7 "$work/lines"
same ls -laR /usr/include/linux
