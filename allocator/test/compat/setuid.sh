#!/bin/bash
# setuid: the dynamic linker refuses the preload, the program runs as ever. One that is linked
# with the archive looks at no variable, nor does what it starts when it is root for good.
source "$(dirname "$0")/lib.sh"
((EUID == 0)) || { echo "SKIP: only root can make a setuid program"; exit 77; }
need setpriv gcc
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

archive=$(dirname "$MYMALLOC_PRELOAD")/libmymalloc_preload.a
cat >"$work/own.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **words)
{
    if (count > 1 && setgid(0) == 0 && setuid(0) == 0)
        execv(words[1], words + 1);
    return count > 1 || puts(getenv("OTHER")) < 0;
}
END
gcc -o "$work/own" "$work/own.c" -Wl,-u,malloc "$archive" -pthread || fail "no program with the archive"
mkdir -m 777 "$work/files"
variables=(MYMALLOC_VERBOSE=1 OTHER=kept MYMALLOC_KEPT=1 "MYMALLOC_PROFILE=$work/files/profile" "MYMALLOC_STATS=$work/files/stats")
for mode in 4755 2755; do
    chmod "$mode" "$work/own"
    said=$("${drop[@]}" env "${variables[@]}" "$work/own" 2>&1) || fail "mode $mode"
    [[ $said$(ls "$work/files") == kept ]] || fail "mode $mode: '$said', wrote $(ls "$work/files")"
done
cp "$work/own" "$work/child"
chmod 755 "$work/child"
chmod 4755 "$work/own"
said=$("${drop[@]}" env "${variables[@]}" "$work/own" "$work/child" 2>&1) || fail "its child: '$said'"
[[ $said$(ls "$work/files") == kept ]] || fail "its child: '$said', wrote $(ls "$work/files")"
chmod 755 "$work/own"
"${drop[@]}" env "${variables[@]}" "$work/own" >/dev/null 2>&1
[[ $(ls "$work/files") == profile$'\n'stats ]] || fail "without setuid the files must be written"
