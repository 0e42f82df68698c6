#!/bin/bash
# Programs built with sanitizers. Linked with libmymalloc they keep all their checks; preloaded,
# gcc's AddressSanitizer refuses to start, or checks no heap; UndefinedBehaviorSanitizer does not mind.
# clang's runtimes are in the program, in front of the preload, and keep malloc.
source "$(dirname "$0")/lib.sh"
need gcc
folder=$(dirname "$MYMALLOC_PRELOAD")
cat >"$work/t.c" <<'CODE'
#include <mymalloc/mymalloc.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    char *own = MyMalloc(100);
    char *volatile libcs = malloc(8);
    own[99] = 1;
    MyFree(own);
    if (argc > 1)
        libcs[8] = argv[0][0];
    free(libcs);
    puts("ran to its end");
    return MyVerify() != 0;
}
CODE
sed '/mymalloc.h/d; s/MyVerify()/0/; s/MyMalloc/malloc/; s/MyFree/free/' "$work/t.c" >"$work/plain.c"
# runs FILE: to its end, without a word of a sanitizer.
runs() {
    local text
    text=$("$@" 2>&1) || fail "$* ended with $?: $text"
    [[ $text == "ran to its end" ]] || fail "$* says: $text"
}
for sanitizer in address undefined thread; do
    gcc -g -fsanitize=$sanitizer -o "$work/plain-$sanitizer" "$work/plain.c"
    gcc -g -fsanitize=$sanitizer -I"$here/../../include" -o "$work/$sanitizer" "$work/t.c" -L"$folder" -lmymalloc \
        -Wl,-rpath,"$folder"
    if ! "$work/plain-$sanitizer" >/dev/null 2>&1; then # ThreadSanitizer of gcc 12, where addresses are random by 32 bits
        echo "$sanitizer: no program runs with it here"
        continue
    fi
    runs "$work/$sanitizer"
done
status=0
"$work/address" wrong >"$work/got" 2>&1 || status=$?
[[ $status != 0 && $(cat "$work/got") == *heap-buffer-overflow* ]] ||
    fail "linked with libmymalloc AddressSanitizer sees nothing: $status, $(cat "$work/got")"

runs with "$work/plain-undefined"
status=0
with "$work/plain-address" >"$work/got" 2>&1 || status=$?
[[ $status != 0 && $(cat "$work/got") == *"ASan runtime does not come first"* ]] || fail "ASan: $status, $(cat "$work/got")"
ASAN_OPTIONS=verify_asan_link_order=0 runs with "$work/plain-address"

command -v clang >/dev/null || exit 0
for sanitizer in address thread; do
    clang -g -fsanitize=$sanitizer -o "$work/clang-$sanitizer" "$work/plain.c" 2>"$work/said" || { cat "$work/said"; continue; }
    if ! "$work/clang-$sanitizer" >/dev/null 2>&1; then # as above
        echo "clang's $sanitizer: no program runs with it here"
        continue
    fi
    runs with "$work/clang-$sanitizer"
    [[ $sanitizer == address ]] || continue
    with "$work/clang-$sanitizer" wrong >"$work/got" 2>&1 && fail "clang's AddressSanitizer, preloaded, sees nothing"
    grep heap-buffer-overflow "$work/got" >/dev/null || fail "clang's AddressSanitizer, preloaded: $(cat "$work/got")"
done
