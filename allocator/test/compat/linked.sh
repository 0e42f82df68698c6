#!/bin/bash
# Programs that are linked with another allocator and call it by its own names, beside malloc,
# free and new: on mymalloc what one gives the other takes. Built with what is installed.
source "$(dirname "$0")/lib.sh"
need g++
tried=0

# linked NAME LIBRARY...: the program on standard input, where the first library and its headers are.
linked() {
    local name=$1
    shift
    cat >"$work/$name.cc"
    if ! g++ -std=c++17 -fno-builtin -w -o "$work/$name" "$work/$name.cc" "$@" -pthread 2>"$work/log"; then
        grep -E "cannot find -l|fatal error: .*No such file" "$work/log" >/dev/null || fail "$name: $(cat "$work/log")"
        echo "$name is not installed: left out"
        return
    fi
    for front in rseq tls; do
        MYMALLOC_FRONTEND=$front same "$work/$name"
        [[ $(tail -n 1 "$work/got") == "done" ]] || fail "$name, $front: $(cat "$work/got")"
    done
    tried=$((tried + 1))
}

cat >"$work/check.h" <<'CODE'
#include <cstdio>
#include <cstdlib>
#include <malloc.h>
#include <cstring>
#include <new>
#include <string>
#include <thread>
#include <vector>
#define CHECK(fact) ((fact) ? (void)0 : (std::printf("line %d: %s\n", __LINE__, #fact), std::exit(1)))
CODE

for library in tcmalloc tcmalloc_minimal; do
    linked "$library" -I"$work" -l$library <<'CODE'
#include "check.h"
#include <gperftools/malloc_extension.h>
#include <gperftools/malloc_extension_c.h>
#include <gperftools/tcmalloc.h>
static volatile size_t huge = ~size_t(0) / 4;
static void mixed()
{
    for (size_t size : {1ul, 100ul, 5000ul, 300000ul, 40ul << 20}) {
        tc_free(malloc(size));
        free(tc_malloc(size));
        free(tc_realloc(malloc(10), size));
        tc_free(realloc(tc_calloc(1, 10), size));
        tc_delete(::operator new(size));
        ::operator delete(tc_new(size), size);
        ::operator delete[](tc_newarray_aligned(size, std::align_val_t{64}), std::align_val_t{64});
        void *object = malloc(size);
        CHECK(tc_malloc_size(object) >= size);
        CHECK(MallocExtension::instance()->GetAllocatedSize(object) == tc_malloc_size(object));
        CHECK(MallocExtension::instance()->GetOwnership(object) == MallocExtension::kOwned);
        CHECK(MallocExtension_GetOwnership(object) == MallocExtension_kOwned);
        tc_free_sized(object, size);
    }
    tc_free(strdup("text"));
}
int main()
{
    size_t before, during;
    std::string text;
    std::vector<MallocExtension::FreeListInfo> lists;
    char buffer[200];
    mixed();
    std::thread(mixed).join();
    try {
        tc_new(huge);
        CHECK(!"thrown");
    } catch (const std::bad_alloc &) {
    }
    CHECK(tc_new_nothrow(huge, std::nothrow) == nullptr && tc_malloc(huge) == nullptr);
    CHECK(MallocExtension::instance()->GetNumericProperty("generic.current_allocated_bytes", &before));
    void *object = malloc(64 << 20);
    CHECK(MallocExtension_GetNumericProperty("generic.current_allocated_bytes", &during));
    CHECK(during >= before + (64 << 20));
    tc_free(object);
    MallocExtension::instance()->ReleaseFreeMemory();
    /* what is tcmalloc's own still answers */
    MallocExtension::instance()->GetStats(buffer, sizeof buffer);
    MallocExtension::instance()->GetHeapSample(&text);
    MallocExtension::instance()->GetFreeListSizes(&lists);
    MallocExtension::instance()->MarkThreadIdle();
    MallocExtension::instance()->MarkThreadBusy();
    CHECK(MallocExtension::instance()->VerifyAllMemory() && MallocExtension_VerifyAllMemory());
    CHECK(strlen(buffer) > 100 && !lists.empty());
    CHECK(tc_version(nullptr, nullptr, nullptr) != nullptr && tc_set_new_mode(1) == 0);
    std::puts("done");
}
CODE
done

linked jemalloc -I"$work" -ljemalloc <<'CODE'
#include "check.h"
#include <jemalloc/jemalloc.h>
static void mixed()
{
    for (size_t size : {1ul, 100ul, 5000ul, 300000ul, 40ul << 20}) {
        dallocx(malloc(size), 0);
        free(mallocx(size, MALLOCX_ALIGN(64)));
        free(rallocx(malloc(10), size, 0));
        sdallocx(realloc(mallocx(10, 0), size), size, 0);
        ::operator delete(mallocx(size, 0));
        dallocx(::operator new(size), MALLOCX_TCACHE_NONE);
        void *object = malloc(size);
        CHECK(sallocx(object, 0) >= size && malloc_usable_size(object) == sallocx(object, 0));
        CHECK(nallocx(size, 0) == sallocx(object, 0));
        dallocx(object, 0);
    }
    dallocx(strdup("text"), 0);
}
int main()
{
    size_t value = 0, length = sizeof value;
    mixed();
    std::thread(mixed).join();
    CHECK(mallctl("stats.allocated", &value, &length, nullptr, 0) == 0 && value > 0);
    std::puts("done");
}
CODE

cat >"$work/with-mimalloc" <<'CODE'
#include "check.h"
#include <mimalloc.h>
#ifdef OPERATORS
#include <mimalloc-new-delete.h>
#endif
static void mixed()
{
    for (size_t size : {1ul, 100ul, 5000ul, 300000ul, 40ul << 20}) {
        mi_free(malloc(size));
        free(mi_malloc(size));
        free(mi_realloc(malloc(10), size));
        mi_free(realloc(mi_zalloc(10), size));
        mi_free(::operator new(size));
        ::operator delete(mi_new(size));
        free(mi_malloc_aligned(size, 64));
        delete[] new char[size];
        void *object = malloc(size);
        CHECK(mi_usable_size(object) >= size && malloc_usable_size(object) == mi_usable_size(object));
        CHECK(mi_is_in_heap_region(object));
        mi_free_size(object, size);
        std::vector<int, mi_stl_allocator<int>> numbers(size / 4 + 1);
        CHECK(numbers.back() == 0);
    }
    mi_free(strdup("text"));
    free(mi_strdup("text"));
}
/* What a heap gave comes back by any name, and what malloc gave can go on in it. */
static void heaps()
{
    for (size_t size : {1ul, 100ul, 5000ul, 300000ul, 40ul << 20}) {
        mi_heap_t *heap = mi_heap_new();
        char *objects[4];
        for (auto &object : objects)
            object = (char *)memset(mi_heap_malloc(heap, size), 7, size);
        CHECK(mi_usable_size(objects[0]) >= size);
        mi_free(objects[0]);
        objects[1] = (char *)mi_realloc(objects[1], size + 1000);
        CHECK(objects[1][size - 1] == 7);
        mi_heap_delete(heap); /* objects go on */
        free(objects[1]);
        ::operator delete(objects[2]);
        mi_free(realloc(objects[3], 2 * size));
        heap = mi_heap_new();
        CHECK(mi_heap_malloc_aligned(heap, size, 64) && mi_malloc_aligned_at(size, 64, 8));
        CHECK(mi_heap_strdup(heap, "text") && mi_heap_realloc(heap, malloc(10), size));
        std::vector<int, mi_heap_stl_allocator<int>> kept(size / 4 + 1);
        std::vector<int, mi_heap_destroy_stl_allocator<int>> gone(size / 4 + 1);
        free(mi_malloc_aligned_at(size, 64, 64));
        mi_heap_destroy(heap);
    }
    mi_collect(true);
}
int main()
{
    mixed();
    heaps();
    std::thread(mixed).join();
    std::thread(heaps).join();
    std::puts("done");
}
CODE
linked mimalloc -I"$work" -lmimalloc <"$work/with-mimalloc"
linked mimalloc_new -I"$work" -DOPERATORS -lmimalloc <"$work/with-mimalloc"

# A heap beside malloc's: what it gave goes back to it.
linked tbbmalloc -I"$work" -ltbbmalloc <<'CODE'
#include "check.h"
#include <tbb/scalable_allocator.h>
static void mixed()
{
    for (size_t size : {1ul, 100ul, 5000ul, 300000ul, 40ul << 20}) {
        void *object = malloc(size), *other = scalable_malloc(size);
        CHECK(scalable_msize(other) >= size);
        scalable_free(scalable_realloc(other, size + 1));
        free(object);
        std::vector<int, tbb::scalable_allocator<int>> numbers(size / 4 + 1);
        CHECK(numbers.back() == 0);
    }
}
int main()
{
    mixed();
    std::thread(mixed).join();
    std::puts("done");
}
CODE

# The same library as malloc; what it exports for that gives way to the preload.
linked tbbmalloc_proxy -I"$work" -Wl,--no-as-needed -ltbbmalloc_proxy -ltbbmalloc <<'CODE'
#include "check.h"
#include <tbb/scalable_allocator.h>
int main()
{
    for (size_t size : {1ul, 100ul, 5000ul, 300000ul, 40ul << 20}) {
        free(realloc(malloc(size), size + 100));
        delete[] new char[size];
        scalable_free(scalable_malloc(size));
        free(strdup("text"));
    }
    std::thread([] { free(malloc(100)); }).join();
    std::puts("done");
}
CODE

((tried > 0)) || { echo "SKIP: no other allocator is installed"; exit 77; }
