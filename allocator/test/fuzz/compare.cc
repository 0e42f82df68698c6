/*
 * compare.cc - what the heap says of itself, against the model: MyVerify, each object by the walk, by
 * its heap, by the heap that it is said to be of, and all by their bytes.
 */
#include "families.hpp"

#include "mymalloc/arena.h"

#include <cstring>

namespace
{

struct seen {
    const void *p;
    size_t bytes;
    bool is_live;
};
constexpr size_t room = 1 << 14;
struct {
    seen list[room];
    size_t count, strangers;
} walked;

seen *find_seen(const void *p)
{
    size_t i = reinterpret_cast<uintptr_t>(p) / 16 * 0x9e3779b97f4a7c15u >> 50;

    while (walked.list[i].p != nullptr && walked.list[i].p != p)
        i = (i + 1) % room;
    return &walked.list[i];
}

int see(void *p, size_t bytes, void *)
{
    seen *at = find_seen(p);

    CHECKF(at->p == nullptr, "%p is visited twice", p);
    CHECK(++walked.count < room);
    *at = {p, bytes, false};
    return 0;
}

/* Each object once, with its bytes; guarded samples are left out. What is more is not the test's. */
void compare_walk(uint64_t &random)
{
    memset(&walked, 0, sizeof walked);
    CHECK(MyHeapWalk(see, nullptr) == 0);
    walked.strangers = walked.count;
    for_each_object([&](object &object) {
        seen *at = find_seen(object.p);
        size_t usable = usable_of(object, random);

        if (at->p == nullptr) {
            CHECKF(getenv("MYMALLOC_GUARD"), "%p of %zu bytes is not visited",
                   static_cast<void *>(object.p), object.size);
            return;
        }
        CHECKF(at->bytes >= usable, "%p has %zu bytes, not %zu",
               static_cast<void *>(object.p), at->bytes, usable);
        CHECKF(!at->is_live, "%p was given twice", static_cast<void *>(object.p));
        at->is_live = true;
        walked.strangers--;
    });
}

auto *const has = find<bool(void *, const void *)>("mi_heap_contains");

bool count_block(void *, const void *, void *block, size_t, void *count)
{
    *static_cast<size_t *>(count) += block != nullptr;
    return true;
}

void compare_heap(heap &heap)
{
    static auto *const visit =
        find<bool(void *, bool, decltype(count_block) *, void *)>(
            "mi_heap_visit_blocks");
    size_t count = 0, visited = 0, used = 0;
    uint64_t random = 0;
    MyArenaInfo info;

    for_each_object([&](object &object) {
        bool is_in = object.of == &heap;

        count += is_in;
        used += is_in ? usable_of(object, random) : 0;
        if (!heap.is_arena && !heap.is_deleted)
            CHECKF(has(heap.name, object.p) == is_in, "%p of %zu bytes",
                   static_cast<void *>(object.p), object.size);
    });
    if (heap.is_arena) {
        MyArenaStats(static_cast<MyArena *>(heap.name), &info);
        CHECKF(info.objects == count && info.used == used,
               "%zu objects of %zu bytes, not %zu of %zu", info.objects, info.used,
               count, used);
    } else if (!heap.is_deleted) {
        CHECK(visit(heap.name, true, count_block, &visited));
        CHECKF(visited == count, "%zu are visited, not %zu", visited, count);
    }
}

/* What deleted heaps had is malloc's; what arenas have is in no heap of mimalloc's. */
void compare_malloc()
{
    static auto *const heap_of = find<void *(const void *)>("mi_heap_of");
    static auto *const figure =
        find<int(const char *, size_t *)>("MallocExtension_GetNumericProperty");
    size_t live = 0, told = 0;

    if (heap_of == nullptr)
        return;
    for_each_object([&](object &object) {
        bool is_malloc = object.of == nullptr || object.of->is_deleted;

        live += object.size;
        CHECK(has(name_of_malloc, object.p) == is_malloc);
        if (is_malloc || !object.of->is_arena)
            CHECK(heap_of(object.p) == (is_malloc ? name_of_malloc : object.of->name));
    });
    CHECK(figure("generic.current_allocated_bytes", &told));
    CHECKF(told >= live || getenv("MYMALLOC_GUARD"), "%zu bytes, there are %zu", told,
           live);
}

} // namespace

size_t compare(uint64_t &random)
{
    CHECK(MyVerify() == 0);
    for_each_object([](object &object) { check_contents(object); });
    compare_walk(random);
    for_each_heap(compare_heap);
    compare_malloc();
    return walked.strangers;
}
