#!/bin/bash
# C++ comes late: libraries that C programs load, with libstdc++ or libc++, visible to all or
# to themselves; a failing operator new throws what its caller catches. Then static C++.
source "$(dirname "$0")/lib.sh"
need g++
cat >"$work/late.cc" <<'CODE'
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>
static volatile std::size_t huge = SIZE_MAX / 4;
static int calls;
static void throwing() { calls++; throw std::bad_alloc(); }
static void yielding() { if (++calls % 3 == 0) std::set_new_handler(nullptr); }
template <typename Call> static bool throws(Call call)
{
    try { call(); } catch (const std::bad_alloc &) { return true; }
    return false;
}
static void *volatile kept;
#define THROWS(call) throws([] { kept = call; })
extern "C" int count_faults(void)
{
    const auto wide = std::align_val_t{64};
    int faults = 0, step = 0;
#define EXPECT(fact) (step++, (fact) ? 0 : (faults++, std::fprintf(stderr, "%d: %s\n", step, #fact)))
    for (auto handler : {(std::new_handler) nullptr, throwing, yielding}) {
        std::set_new_handler(handler);
        calls = 0;
        EXPECT(THROWS(new char[huge]));
        std::set_new_handler(handler);
        EXPECT(THROWS(::operator new(huge)));
        std::set_new_handler(handler);
        EXPECT(throws([=] { kept = ::operator new(huge, wide); }));
        std::set_new_handler(handler);
        EXPECT(::operator new(huge, std::nothrow) == nullptr);
        std::set_new_handler(handler);
        EXPECT(::operator new[](huge, std::nothrow) == nullptr);
        std::set_new_handler(handler);
        EXPECT(::operator new(huge, wide, std::nothrow) == nullptr);
        EXPECT(calls == (handler == nullptr ? 0 : handler == throwing ? 6 : 18));
        std::set_new_handler(nullptr);
    }
    EXPECT(throws([] { std::vector<char> bytes; bytes.reserve(SIZE_MAX / 4); kept = bytes.data(); }));
    void *small = ::operator new(100, std::nothrow), *aligned = ::operator new(100, wide, std::nothrow);
    EXPECT(small != nullptr && aligned != nullptr && (std::size_t)aligned % 64 == 0);
    ::operator delete(small, std::nothrow);
    ::operator delete(aligned, wide, std::nothrow);
    return faults;
}
#ifdef PROGRAM
int main()
{
    int faults = count_faults();
    std::printf("%d faults\n", faults);
    return faults;
}
#endif
CODE
cat >"$work/only-new.cc" <<'CODE'
#include <new>
static volatile unsigned long huge = ~0ul / 4;
static char *volatile kept;
int main()
{
    try { kept = new char[huge]; } catch (const std::bad_alloc &) { return 0; }
    return 1;
}
CODE
cat >"$work/host.c" <<'CODE'
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv)
{
    int faults = 0;
    for (int i = 2; i < argc; i++) {
        void *plugin = dlopen(argv[i], RTLD_NOW | (strcmp(argv[1], "global") ? RTLD_LOCAL : RTLD_GLOBAL));
        int (*count)(void) = plugin ? (int (*)(void))dlsym(plugin, "count_faults") : NULL;
        if (!count) {
            puts(dlerror());
            return 99;
        }
        faults += count();
    }
    printf("%d faults\n", faults);
    return faults;
}
CODE
gcc -o "$work/host" "$work/host.c" -ldl
# -O0 and -O2: what is called by a jump has a caller in C.
g++ -std=c++17 -O0 -shared -fPIC -fno-builtin -Wno-alloc-size-larger-than -o "$work/gnu.so" "$work/late.cc"
g++ -std=c++17 -O2 -shared -fPIC -fno-builtin -Wno-alloc-size-larger-than -o "$work/gnu2.so" "$work/late.cc"
g++ -std=c++17 -O2 -shared -fPIC -fno-builtin -static-libstdc++ -Wno-alloc-size-larger-than -o "$work/own.so" "$work/late.cc"
plugins=(gnu gnu2 own)
if clang++ -std=c++17 -stdlib=libc++ -O2 -shared -fPIC -fno-builtin -o "$work/llvm.so" "$work/late.cc" 2>"$work/log"; then
    plugins+=(llvm)
else
    echo "libc++ is not installed: left out"
fi
for plugin in "${plugins[@]}"; do
    for scope in local global; do
        echo "$plugin $scope"
        for front in rseq tls; do
            MYMALLOC_FRONTEND=$front same "$work/host" "$scope" "$work/$plugin.so"
            [[ $(tail -1 "$work/got") == "0 faults" ]] || fail "$plugin $scope: $(cat "$work/got")"
        done
    done
done
if [[ " ${plugins[*]} " == *llvm* ]]; then
    same "$work/host" local "$work/gnu.so" "$work/llvm.so"
    [[ $(tail -1 "$work/got") == "0 faults" ]] || fail "two C++ libraries: $(cat "$work/got")"
fi
if command -v python3 >/dev/null; then
    same python3 -c 'import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).count_faults(), "faults")' "$work/gnu.so"
    [[ $(tail -1 "$work/got") == "0 faults" ]] || fail "python3: $(cat "$work/got")"
fi

archive=$(dirname "$MYMALLOC_PRELOAD")/libmymalloc_preload.a
for kind in -static -pthread; do
    for source in late only-new; do
        g++ -std=c++17 -O2 -fno-builtin -Wno-alloc-size-larger-than -DPROGRAM $kind -o "$work/program" "$work/$source.cc" \
            "$archive" -pthread 2>"$work/log" || {
            [[ $kind == -static ]] && echo "no static C++ library: left out" && continue
            fail "$(cat "$work/log")"
        }
        "$work/program" || fail "$source $kind"
        nm "$work/program" | grep ' mym_malloc_slow$' >/dev/null || fail "$source $kind is not on mymalloc"
    done
done
