/*
 * mimalloc_heaps.cc - mimalloc's heaps, as its manual has them: on mymalloc, with mimalloc loaded
 * beside it or not, and on mimalloc itself.
 */
#include "mimalloc.hpp"

#include <dlfcn.h>
#include <initializer_list>

namespace
{

/* What a heap gives comes back by all names, and can be made of what another gave. */
void heaps()
{
    for (size_t size : more_sizes) {
        void *heap = find<make_form>("mi_heap_new")(), *objects[6];

        for (auto &object : objects)
            object = written(find<move_form>("mi_heap_malloc")(heap, size), size, 3);
        find<put_form>("mi_free")(objects[0]);
        free(objects[4]);
        auto *moved = static_cast<char *>(
            find<move_form>("mi_realloc")(objects[1], size + 10000));
        CHECK(moved && reads(moved, size, 3));
        free(written(moved, size + 10000, 4));
        moved = static_cast<char *>(
            find<moves_form>("mi_rezalloc_aligned")(objects[2], 4 * size + 64, 64));
        CHECK(moved && reads(moved, size, 3) && usable(moved) > 4 * size);
        free(moved);
        moved = static_cast<char *>(
            find<move_in_form>("mi_heap_realloc")(heap, malloc(10), size));
        CHECK(size <= 100 ||
              find<bool(void *, const void *)>("mi_heap_contains_block")(heap, moved));
        free(written(moved, size, 1));
        CHECK(find<bool(const void *)>("mi_is_in_heap_region")(objects[3]));
        find<put_form>("mi_heap_destroy")(heap);
    }
}

void heaps_in_all_forms()
{
    using text_form = char *(void *, const char *);
    void *heap = find<make_form>("mi_heap_new")();

    for (size_t size : more_sizes)
        for (auto *put : {"mi_free", "free", "_ZdlPv"}) {
            auto back = [=](void *object, size_t bytes, size_t alignment = 1) {
                CHECK((uintptr_t)object % alignment == 0);
                find<put_form>(put)(written(object, bytes, 1));
            };

            for (auto *take : {"mi_heap_malloc", "mi_heap_zalloc", "mi_heap_alloc_new"})
                back(find<move_form>(take)(heap, size), size);
            for (auto *take :
                 {"mi_heap_calloc", "mi_heap_mallocn", "mi_heap_alloc_new_n"})
                back(find<moves_form>(take)(heap, 3, size), 3 * size);
            for (auto *take : {"mi_heap_malloc_aligned", "mi_heap_zalloc_aligned"})
                back(find<moves_form>(take)(heap, size, 4096), size, 4096);
            for (auto *move :
                 {"mi_heap_realloc", "mi_heap_rezalloc", "mi_heap_reallocf"})
                back(find<move_in_form>(move)(
                         heap, find<move_form>("mi_heap_zalloc")(heap, 9), size),
                     size);
            auto *at = static_cast<char *>(find<void *(void *, size_t, size_t, size_t)>(
                "mi_heap_zalloc_aligned_at")(heap, size, 64, 128));
            CHECK(reads(at, size, 0));
            back(at, size, 64);
            auto *none =
                static_cast<char *>(find<moves_form>("mi_heap_calloc")(heap, 1, size));
            CHECK(reads(none, size, 0));
            back(none, size);
            back(find<text_form>("mi_heap_strdup")(heap, "text"), 5);
            back(find<void *(void *, const char *, char *)>("mi_heap_realpath")(
                     heap, "/.", nullptr),
                 2);
        }
    find<put_form>("mi_heap_delete")(heap);
}

/* Objects go on without their heap, and many such heaps do not keep memory. */
void heaps_deleted()
{
    const size_t count = 20000, bytes = 20000;
    size_t before = 0;
    void *last = nullptr;

    for (size_t i = 0; i < count; i++) {
        void *heap = find<make_form>("mi_heap_new")();
        void *object = find<move_form>("mi_heap_malloc")(heap, bytes);

        written(object, bytes, 7);
        find<put_form>("mi_heap_delete")(heap);
        CHECK(reads(static_cast<char *>(object), bytes, 7));
        if (last != nullptr)
            free(find<move_form>("mi_realloc")(last, 100));
        last = object;
        if (i == count / 100)
            before = resident_bytes();
    }
    free(last);
    CHECKF(resident_bytes() < before + count / 10 * bytes, "%zu bytes, %zu before",
           resident_bytes(), before);
}

/* Theirs are malloc's then. */
void what_deleted_heaps_had()
{
    auto *has = find<bool(void *, const void *)>("mi_heap_contains_block");
    auto *which = seek<void *(const void *)>("mi_heap_of"); /* 3.6 has it */
    void *backing = find<make_form>("mi_heap_get_backing")();

    for (size_t size : {100, 100000}) {
        void *heap = find<make_form>("mi_heap_new")();
        void *object = find<move_form>("mi_heap_malloc")(heap, size);

        CHECK(has(heap, object) && !has(backing, object));
        find<put_form>("mi_heap_delete")(heap);
        CHECKF(has(backing, object), "%zu bytes", size);
        CHECKF(which == nullptr || which(object) == backing, "%zu bytes", size);
        find<put_form>("mi_free")(object);
    }
}

/* Whatever the order in which their objects end; a heap that is in use is none of them. */
void heaps_deleted_in_any_order()
{
    const size_t count = 64, bytes = 300;
    static void *objects[64], *used[8];
    auto *make = find<make_form>("mi_heap_new");
    auto *take = find<move_form>("mi_heap_malloc");
    auto *leave = find<put_form>("mi_heap_delete");
    uint64_t random = test_seed();
    auto end = [=](size_t at) {
        CHECK(objects[at] == nullptr ||
              reads(static_cast<char *>(objects[at]), bytes, static_cast<char>(at)));
        free(objects[at]);
        objects[at] = nullptr;
    };

    for (size_t i = 1; i <= 3000; i++) {
        size_t at = next_random(&random) % count;
        void *heap = make(), *&in_use = used[i % 8];

        end(at);
        objects[at] = written(take(heap, bytes), bytes, static_cast<char>(at));
        leave(heap);
        for (at = 0; i % 300 == 0 && at < count; at++)
            end(at);
        for (at = 0; i % 300 == 0 && at < count; at++)
            leave(make());       /* with which others end */
        if (in_use != nullptr) { /* it was empty, and is as it was */
            written(take(in_use, 100), 100, 1);
            find<put_form>("mi_heap_destroy")(in_use);
        }
        in_use = make();
    }
    for (void *heap : used)
        find<put_form>("mi_heap_destroy")(heap);
}

/* Nor do those that end with all that is in them. */
void heaps_destroyed()
{
    const size_t count = 2000, bytes = 20000;
    size_t before = 0;

    for (size_t i = 0; i < count; i++) {
        void *heap = find<make_form>("mi_heap_new")();
        auto *take = find<move_form>("mi_heap_malloc");

        written(take(heap, bytes), bytes, 7);
        written(take(heap, 10 * bytes), 10 * bytes, 7);
        find<put_form>("mi_heap_destroy")(heap);
        if (i == count / 100)
            before = resident_bytes();
    }
    CHECKF(resident_bytes() < before + count / 10 * bytes, "%zu bytes, %zu before",
           resident_bytes(), before);
}

void heaps_by_default()
{
    auto *set = find<void *(void *)>("mi_heap_set_default");
    auto *get = find<make_form>("mi_heap_get_default");
    auto *has = find<bool(void *, const void *)>("mi_heap_contains_block");
    void *backing = find<make_form>("mi_heap_get_backing")(), *heap, *object;

    CHECK(backing != nullptr && get() == backing);
    heap = find<make_form>("mi_heap_new")();
    CHECK(set(heap) == backing && get() == heap);
    CHECK(find<make_form>("mi_heap_get_backing")() == backing);
    auto *which = seek<void *(const void *)>("mi_heap_of"); /* 3.6 has it */
    auto is_in_it = [=](void *of, const char *name) {
        CHECKF(has(heap, of) && !has(backing, of), "%s", name);
        CHECKF(which == nullptr || which(of) == heap, "%s", name);
        free(of);
    };
    for (auto *take : {"mi_malloc", "mi_zalloc", "mi_new", "mi_new_nothrow",
                       "mi_valloc", "mi_pvalloc"})
        is_in_it(find<take_form>(take)(100), take);
    for (auto *take : {"mi_malloc_aligned", "mi_new_aligned", "mi_new_aligned_nothrow"})
        is_in_it(find<array_form>(take)(100, 64), take);
    CHECK(find<int(void **, size_t, size_t)>("mi_posix_memalign")(&object, 64, 100) ==
          0);
    is_in_it(object, "mi_posix_memalign");
    if (seek<void()>("mi_stats_reset") != nullptr) /* mimalloc is loaded */
        find<void()>("mi_stats_reset")();
    CHECK(set(backing) == heap && get() == backing);
    object = find<take_form>("mi_malloc")(100);
    CHECK(has(backing, object) && !has(heap, object));
    CHECK(which == nullptr || (which(object) == backing && which(&heap) == nullptr));
    free(object);
    object = find<move_form>("mi_heap_malloc")(backing, 100);
    CHECK(has(backing, object));
    free(object);
    set(heap);
    find<put_form>("mi_heap_destroy")(heap);
    CHECK(get() == backing);
    set(heap = find<make_form>("mi_heap_new")());
    find<put_form>("mi_heap_delete")(heap);
    CHECK(get() == backing);
    find<put_form>("mi_heap_delete")(backing); /* which stays */
    CHECK(get() == backing);
    object = find<take_form>("mi_malloc")(100);
    CHECK(has(backing, object));
    free(object);
}

struct area {
    void *blocks;
    size_t reserved, committed, used;
};

struct seen {
    size_t areas, used, blocks, bytes;
};

bool count_and_free(void *, const void *of, void *block, size_t bytes, void *argument)
{
    auto *seen = static_cast<struct seen *>(argument);

    if (block == nullptr) {
        seen->areas++;
        seen->used += static_cast<const area *>(of)->used;
        return true;
    }
    seen->blocks++;
    seen->bytes += bytes;
    free(block);
    return true;
}

using visit_form = bool(void *, bool, decltype(count_and_free) *, void *argument);

void heaps_visited()
{
    void *heap = find<make_form>("mi_heap_new")(), *freed;
    struct seen seen = {};

    for (size_t i = 0; i < 100; i++)
        for (size_t size : {16, 48, 1000, 70000}) {
            freed = find<move_form>("mi_heap_malloc")(heap, size);
            free(i % 4 == 0 ? freed : malloc(size));
        }
    CHECK(find<visit_form>("mi_heap_visit_blocks")(heap, true, count_and_free, &seen));
    CHECKF(seen.blocks == 300 && seen.areas > 0 && seen.bytes >= 75 * 71064,
           "%zu blocks, %zu areas, %zu bytes", seen.blocks, seen.areas, seen.bytes);
    CHECKF(seen.used == 300, "%zu blocks in areas", seen.used);
    seen.blocks = 0;
    CHECK(find<visit_form>("mi_heap_visit_blocks")(heap, true, count_and_free, &seen));
    CHECKF(seen.blocks == 0, "%zu blocks", seen.blocks);
    find<void(void *, bool)>("mi_heap_collect")(heap, true);
    find<put_form>("mi_heap_destroy")(heap);
}

/* The first so many. */
bool go_on(void *, const void *, void *block, size_t, void *argument)
{
    auto *left = static_cast<size_t *>(argument);

    (void)block;
    CHECK(*left > 0);
    return --*left > 0;
}

/* At an area, or at the first block in it. */
void visits_end_where_they_are_told()
{
    auto *visit = find<visit_form>("mi_heap_visit_blocks");
    void *heap = find<make_form>("mi_heap_new")();

    for (size_t size : {16, 16, 1000, 70000})
        find<move_form>("mi_heap_malloc")(heap, size);
    for (size_t last : {1, 2}) {
        size_t left = last;

        CHECK(!visit(heap, true, go_on, &left));
        CHECKF(left == 0, "%zu of %zu", left, last);
    }
    find<put_form>("mi_heap_destroy")(heap);
}

int add(void *object, size_t, void *sum)
{
    *static_cast<uintptr_t *>(sum) += reinterpret_cast<uintptr_t>(object);
    return 0;
}

bool add_block(void *, const void *, void *block, size_t, void *sum)
{
    return add(block, 0, sum) == 0; /* nothing for an area */
}

/* A visit's own list is no block of the heap, and ends with it. */
void visits_leave_nothing()
{
    auto *walk = seek<int(decltype(add) *, void *)>("MyHeapWalk");
    void *backing = find<make_form>("mi_heap_get_backing")();
    void *last = malloc(40 << 20); /* a mapping of its own, behind the list */
    uintptr_t live = 0, after = 0, seen = 0;

    CHECK(last != nullptr && walk != nullptr && walk(add, &live) == 0);
    CHECK(find<visit_form>("mi_heap_visit_blocks")(backing, true, add_block, &seen));
    CHECK(walk(add, &after) == 0);
    CHECK(seen == live && after == live);
    free(last);
}

/* mimalloc itself would look for a block of its own there. */
void what_is_none_is_in_no_heap()
{
    void *heap = find<make_form>("mi_heap_new")();

    for (void *of : {heap, find<make_form>("mi_heap_get_backing")()})
        CHECK(!find<bool(void *, const void *)>("mi_heap_contains_block")(of, &heap));
    find<put_form>("mi_heap_destroy")(heap);
}

} // namespace

/* Loaded as a part of a plugin, say: what was found of it ends with it. */
void it_is_unloaded()
{
    const char *path = getenv("TEST_MIMALLOC");
    auto collect = [] { find<void(bool)>("mi_collect")(true); };
    auto by_default = [] { return find<make_form>("mi_heap_get_default")(); };
    void *ours = by_default(), *library;

    for (int i = 0; path != nullptr && i < 2; i++) {
        CHECKF((library = dlopen(path, RTLD_NOW | RTLD_LOCAL)) != nullptr, "%s", path);
        collect();
        CHECK(by_default() != ours);
        CHECK(dlclose(library) == 0 && dlopen(path, RTLD_NOW | RTLD_NOLOAD) == nullptr);
        collect();
        CHECK(by_default() == ours);
    }
}

extern "C" const struct test tests[] = {
    {"heaps", heaps},
    {"heaps_in_all_forms", heaps_in_all_forms},
    {"heaps_deleted", heaps_deleted},
    {"what_deleted_heaps_had", what_deleted_heaps_had},
    {"heaps_deleted_in_any_order", heaps_deleted_in_any_order},
    {"heaps_destroyed", heaps_destroyed},
    {"heaps_by_default", heaps_by_default},
    {"heaps_visited", heaps_visited},
    {"visits_end_where_they_are_told", visits_end_where_they_are_told},
    {"visits_leave_nothing", visits_leave_nothing},
    {"what_is_none_is_in_no_heap", what_is_none_is_in_no_heap},
    {"it_is_unloaded", it_is_unloaded},
    {nullptr, nullptr}};
