#!/bin/bash
# setuid: the dynamic linker refuses the preload, the program runs as ever.
source "$(dirname "$0")/lib.sh"
((EUID == 0)) || { echo "SKIP: only root can make a setuid program"; exit 77; }
need setpriv
cp "$(readlink -f /bin/cat)" "$work/cat"
chmod 4755 "$work/cat"
install -m 755 "$MYMALLOC_PRELOAD" "$work/"
library=$work/$(basename "$MYMALLOC_PRELOAD")
drop=(setpriv --reuid 65534 --regid 65534 --clear-groups)
if findmnt -no OPTIONS -T "$work" | grep nosuid >/dev/null; then
    echo "SKIP: $work is mounted nosuid"
    exit 77
fi
"${drop[@]}" env LD_PRELOAD="$library" MYMALLOC_VERBOSE=1 "$work/cat" /proc/self/maps >"$work/maps" 2>"$work/err" ||
    fail "the setuid program did not run"
grep -q "$work/cat" "$work/maps" || fail "no maps"
! grep -q libmymalloc "$work/maps" || fail "the preload was taken by a setuid program"
chmod 755 "$work/cat"
"${drop[@]}" env LD_PRELOAD="$library" "$work/cat" /proc/self/maps | grep libmymalloc >/dev/null ||
    fail "without setuid it must be taken"
