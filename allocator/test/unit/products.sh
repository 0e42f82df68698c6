#!/bin/bash
# The products from outside: exported names, the MYMALLOC_* variables, what VERBOSE says.
#   products.sh LIBMYMALLOC.so LIBMYMALLOC_PRELOAD.so SOURCE-DIRECTORY
set -euo pipefail
library=$1 preload=$2 source=$3
fail() {
    echo "FAILED: $*"
    exit 1
}

exported() { nm -D --defined-only "$1" | awk '$2 ~ /[TWVDBR]/ { sub(/@.*/, "", $3); print $3 }' | sort -u; }
library_names=$(exported "$library") preload_names=$(exported "$preload")
foreign=$(echo "$library_names" | grep -v '^My' | grep -v '^MYMALLOC_' || true)
[[ -z $foreign ]] || fail "libmymalloc.so exports more than My*: $foreign"
inner=$(echo "$preload_names" | grep -i '^mym_' || true)
[[ -z $inner ]] || fail "the preload library exports its own insides: $inner"
for name in malloc free calloc realloc reallocarray free_sized free_aligned_sized aligned_alloc \
    posix_memalign memalign valloc pvalloc cfree malloc_usable_size malloc_good_size \
    mallocx rallocx xallocx sallocx dallocx sdallocx nallocx mallctl mallctlnametomib mallctlbymib tc_malloc tc_free mi_malloc mi_free mi_new_reallocn tc_deletearray_sized_aligned MallocExtension_GetStats malloc_stats_print get_defrag_hint mallinfo mallinfo2 malloc_trim malloc_stats malloc_info mallopt __libc_malloc __libc_free \
    __libc_calloc __libc_realloc __libc_memalign vfork dlopen MyMalloc MyFree MyVerify _Znwm _ZdlPv; do
    grep -qx "$name" <<<"$preload_names" || fail "the preload library lacks $name"
done
# What the public header declares is what both export.
mapfile -t declared < <(grep -o 'MYM_API [^(]*(' "$source/../include/mymalloc/mymalloc.h" |
    grep -o 'My[A-Za-z0-9]*')
((${#declared[@]} > 20)) || fail "the public header declares only ${declared[*]}"
for name in "${declared[@]}"; do
    grep -qx "$name" <<<"$library_names" || fail "$library lacks $name"
    grep -qx "$name" <<<"$preload_names" || fail "$preload lacks $name"
done

# said VARIABLE=VALUE...: what a program with these variables hears on standard error.
said() { env "$@" LD_PRELOAD="$preload" /bin/true 2>&1; }
variables=$(grep -rhoE '"MYMALLOC_[A-Z]+"' "$source/alloc/config.c" | tr -d '"' | sort -u)
(($(wc -w <<<"$variables") >= 5)) || fail "no variables were found in config.c"
for name in $variables; do
    said MYMALLOC_HELP=1 | grep "^$name " >/dev/null || fail "MYMALLOC_HELP does not speak of $name"
    grep -x ".It Ev $name" "$source/../../docs/man/mymalloc.3" >/dev/null || fail "the manual does not speak of $name"
    lines=$(said "$name=no such value" | grep -c "$name") || true
    [[ $lines == 1 ]] || fail "a bad value of $name is reported $lines times, not once"
    [[ -z $(said "$name=") ]] || fail "an empty $name is spoken of"
done
[[ -z $(said MYMALLOC_FRONTEND=cpu_id MYMALLOC_ARENAS=llc MYMALLOC_LIMIT=1G) ]] ||
    fail "good values are spoken of"
said MYMALLOC_VERBOSE=1 MYMALLOC_FRONTEND=tls | grep 'tls.*asked for' >/dev/null || fail "tls, and why"
said MYMALLOC_VERBOSE=1 GLIBC_TUNABLES=glibc.pthread.rseq=0 | grep 'tls.*not registered' >/dev/null ||
    fail "tls because rseq is off"
echo "$(wc -l <<<"$preload_names") names exported, $(wc -w <<<"$variables") variables"
