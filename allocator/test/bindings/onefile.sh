#!/bin/bash
# The allocator in one file (ci/amalgamate), without CMake: compiled as the manual says and
# with warnings, tests of its own linked with it, and a program whose malloc it becomes.
#   onefile.sh COMPILER [OPTION...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
test=$here/..
(($# >= 1)) || { sed -n '4s/^# *//p' "$0"; exit 2; }
cc=("$@")
command -v "${cc[0]}" >/dev/null || { echo "SKIP: no ${cc[0]}"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAILED: $*"
    exit 1
}

# Names of its own are what an enum's constants are called, not what they are set to.
names=$(python3 -B - "$here/../../../ci/amalgamate" <<'END'
import runpy
import sys

own_names = runpy.run_path(sys.argv[1])["own_names"]
print(*sorted(own_names("enum { ONE = OTHER + 1, TWO, THREE = (int)sizeof(long) };\n")))
END
)
[[ $names == "ONE THREE TWO" ]] || fail "of an enum's constants its own names are: $names"

"$here/../../../ci/amalgamate" "$work"
cd "$work"
said=$("${cc[@]}" -O2 -Wall -Wextra -Wundef -pedantic -c mymalloc.c 2>&1) || fail "mymalloc.c does not compile: $said"
[[ -z $said ]] || fail "mymalloc.c does not compile in silence: $said"
# A C++ compiler that is given it, or one for 32 bits, is told what is wrong, in one error.
told_once() {
    local what=$1 said
    shift
    ! said=$("${cc[@]}" "$@" -fsyntax-only mymalloc.c 2>&1) || fail "$* is not refused"
    [[ $(grep 'error:' <<<"$said") == *"$what"* && $(grep -c 'error:' <<<"$said") == 1 ]] || fail "$*: $said"
}
if [[ ${cc[0]} != *musl* && $(uname -m) == x86_64 ]]; then
    told_once "is C, which" -x c++
    told_once "64-bit Linux" -mx32
fi
# Without the optimizer, which takes most of the time; what it alone warns of was seen above.
"${cc[@]}" -O0 -Wall -Wextra -Wundef -pedantic -Werror -DMYMALLOC_OVERRIDE -c -o override.o mymalloc.c
"${cc[@]}" -O0 -DMYM_DEBUG=1 -Wall -Wextra -pedantic -Werror -c -o debug.o mymalloc.c

# What others may see of it; tags and statics are its own. All that have static probes share one name.
foreign=$(nm -g --defined-only mymalloc.o | awk '{print $3}' | grep -v '^My' | grep -v '^mym_' | grep -vxF _.stapsdt.base || true)
[[ -z $foreign ]] || fail "mymalloc.o has names that are not its own: $foreign"
visible=$(readelf -sW mymalloc.o | awk '$5 == "GLOBAL" && $6 == "DEFAULT" && $7 != "UND" {print $8}' | grep -v '^My' || true)
[[ -z $visible ]] || fail "a library with it would export: $visible"

common=(-O1 -g -std=gnu11 -D_GNU_SOURCE -DTEST_MY -pthread -fno-builtin -I "$test/lib" -I "$test/../include")
programs=(standard realloc)
# Functions of musl have no unwind tables.
[[ ${cc[0]} == *musl* || $(uname -m) != x86_64 ]] || programs+=(walked)
for program in "${programs[@]}"; do
    "${cc[@]}" "${common[@]}" -o "$program" "$test"/lib/{check,family,main}.c "$test/unit/$program.c" mymalloc.o -ldl
    "./$program"
done
for object in mymalloc.o debug.o; do
    "${cc[@]}" "${common[@]}" -o stress "$test"/lib/{check,family}.c "$test"/stress/{stress,actors,object,shadow}.c \
        "$object" -ldl
    ./stress --threads 4 --seconds 2 --lifetime 5000 --all
done

# In a heap profile the names of its functions are known, whatever they are called in one file.
cat >site.c <<'END'
#include "mymalloc.h"
__attribute__((noinline)) void site(size_t size)
{
    MyFree(MyMalloc(size));
}
int main(void)
{
    for (size_t size = 1; size < (size_t)100 << 20; size *= 3)
        site(size);
}
END
if [[ ${cc[0]} != *musl* ]]; then # which has nothing to walk a stack with
    "${cc[@]}" -O1 -o site site.c mymalloc.o -pthread
    MYMALLOC_PROFILE=$work/site.pb,every=1 ./site
    took=$("$here/../../../ci/packaging/prof/mymalloc-prof" top --by alloc_objects site.pb |
        awk '$1 != 0 && /\[site\]$/ {print $5}')
    [[ $took == site ]] || fail "a profile says that this took objects: $took"
fi

cat >program.c <<'END'
#include "mymalloc.h"
#include <pthread.h>
#include <stdlib.h>
static void *churn(void *unused)
{
    for (int i = 0; i < 20000; i++)
        free(malloc((size_t)i % 5000));
    return unused;
}
int main(void)
{
    pthread_t thread;
    void *p = malloc(100), *q = aligned_alloc(64, 100);
    size_t usable = MyUsableSize(p) + MyUsableSize(q); /* aborts for another's object */
    pthread_create(&thread, NULL, churn, NULL);
    pthread_join(thread, NULL);
    p = realloc(p, 100000);
    usable += MyUsableSize(p);
    free(p);
    free(q);
    return usable > 100000 && MyVerify() == 0 ? 0 : 1;
}
END
for how in '' -static; do
    # shellcheck disable=SC2086  # no word at all, or one
    "${cc[@]}" -O2 $how -o program program.c override.o -pthread
    ./program || fail "malloc of a program ($how)"
done
