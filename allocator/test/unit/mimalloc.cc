/*
 * mimalloc.cc - mimalloc's functions, as its manual has them: on mymalloc, with mimalloc loaded
 * beside it or not, and on mimalloc itself.
 */
#include "named.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <initializer_list>
#include <malloc.h>

namespace
{

const size_t sizes[] = {1, 8, 100, 1000, 5000, 70000, 300000};
const size_t more_sizes[] = {1, 100, 5000, 33000, 1 << 20, 40 << 20};

using array_form = void *(size_t, size_t); /* or an alignment */
using zeroed_form = void *(size_t, size_t, size_t);
using move_form = void *(void *, size_t);
using moves_form = void *(void *, size_t, size_t);
using size_form = size_t(const void *);
using make_form = void *();
using move_in_form = void *(void *, void *, size_t);

size_t usable(const void *ptr)
{
    return find<size_form>("mi_usable_size")(ptr);
}

char *written(void *object, size_t bytes, char value)
{
    CHECKF(object != nullptr && usable(object) >= bytes, "%zu bytes", bytes);
    return static_cast<char *>(memset(object, value, bytes < 9999 ? bytes : 9999));
}

bool reads(const char *from, size_t bytes, char value)
{
    for (size_t i = 0; i < bytes && i < 9999; i++)
        if (from[i] != value)
            return false;
    return true;
}

/* What each gives, each takes. */
void one_heap()
{
    for (size_t size : sizes)
        for (auto *put : {"mi_free", "mi_cfree", "free", "_ZdlPv"}) {
            auto back = [=](void *object, size_t bytes) {
                find<put_form>(put)(written(object, bytes, 1));
            };

            for (auto *take : {"malloc", "mi_malloc", "mi_zalloc", "mi_valloc",
                               "mi_pvalloc", "mi_new", "mi_new_nothrow", "_Znwm"})
                back(find<take_form>(take)(size), size);
            for (auto *take : {"calloc", "mi_calloc", "mi_mallocn", "mi_new_n"})
                back(find<array_form>(take)(3, size), 3 * size);
            for (auto *move : {"mi_realloc", "mi_rezalloc", "mi_reallocf", "realloc"}) {
                back(find<move_form>(move)(malloc(10), size), size);
                back(find<move_form>(move)(find<take_form>("mi_malloc")(10), size),
                     size);
                back(find<move_form>(move)(nullptr, size), size);
            }
            for (auto *move : {"mi_reallocn", "mi_recalloc", "mi_reallocarray"})
                back(find<moves_form>(move)(malloc(10), 2, size), 2 * size);
        }
    for (auto *take : {"mi_malloc_small", "mi_zalloc_small"})
        free(written(find<take_form>(take)(100), 100, 1));
    for (auto *size_of :
         {"mi_usable_size", "mi_malloc_size", "mi_malloc_usable_size"}) {
        void *object = malloc(100);

        CHECK(find<size_form>(size_of)(object) == malloc_usable_size(object));
        CHECK(find<size_t(size_t)>("mi_good_size")(100) >= 100);
        find<void(void *, size_t)>("mi_free_size")(object, 100);
        find<void(void *, size_t)>("mi_free_aligned")(malloc(100), 8);
        find<void(void *, size_t, size_t)>("mi_free_size_aligned")(malloc(100), 100, 8);
    }
    find<put_form>("mi_free")(nullptr);
    CHECK(usable(nullptr) == 0);
}

void alignments_are_kept()
{
    for (size_t size : sizes)
        for (size_t alignment : {8, 16, 64, 4096}) {
            auto good = [=](void *object) {
                CHECKF(object && (uintptr_t)object % alignment == 0, "%zu at %zu", size,
                       alignment);
                return object;
            };
            void *object = nullptr;

            for (auto *take : {"mi_malloc_aligned", "mi_zalloc_aligned",
                               "mi_new_aligned", "mi_new_aligned_nothrow"})
                free(good(find<array_form>(take)(size, alignment)));
            for (auto *take : {"mi_memalign", "mi_aligned_alloc"})
                free(good(find<array_form>(take)(alignment, size)));
            free(good(find<zeroed_form>("mi_calloc_aligned")(2, size, alignment)));
            CHECK(find<int(void **, size_t, size_t)>("mi_posix_memalign")(
                      &object, alignment, size) == 0);
            for (auto *move : {"mi_realloc_aligned", "mi_rezalloc_aligned"})
                for (size_t next : {size, size + size / 4, 2 * size + 8, size}) {
                    object =
                        good(find<moves_form>(move)(good(object), next, alignment));
                    written(object, next, 1);
                }
            object = find<void *(void *, size_t, size_t, size_t)>(
                "mi_recalloc_aligned")(object, 2, size, alignment);
            find<put_form>("mi_free")(good(object));
        }
    for (size_t alignment : {0, 3, 48})
        CHECK(find<array_form>("mi_malloc_aligned")(100, alignment) == nullptr);
    for (size_t alignment : {0, 3}) { /* a resize takes them for none */
        void *object =
            find<moves_form>("mi_realloc_aligned")(malloc(10), 100, alignment);

        free(written(object, 100, 1));
    }
}

void growing_keeps_and_zeroes()
{
    auto *zeroed = find<take_form>("mi_zalloc");
    auto *grow = find<move_form>("mi_rezalloc");

    for (size_t size : more_sizes) {
        size_t more = 2 * size + 100, from = size - size / 8;
        auto *object = static_cast<char *>(zeroed(size));

        CHECK(reads(object, size, 0));
        object = static_cast<char *>(grow(written(object, size, 5), more));
        CHECKF(reads(object, size, 5), "%zu", size);
        CHECKF(reads(object + size, more - size, 0), "%zu", size);
        object = static_cast<char *>(find<move_form>("mi_realloc")(object, from));
        CHECKF(reads(object, from, 5), "%zu", from);
        CHECK(find<move_form>("mi_expand")(object, from) == object);
        CHECK(find<move_form>("mi_expand")(object, huge) == nullptr);
        free(object);
        object = static_cast<char *>(find<void *(void *, size_t, size_t)>(
            "mi_rezalloc_aligned")(zeroed(size), more, 4096));
        CHECKF(reads(object, more, 0), "%zu", size);
        free(object);
    }
    void *none = find<move_form>("mi_realloc")(malloc(10), 0);
    CHECK(none != nullptr);
    free(none);
}

void texts_and_arrays()
{
    char *text = find<char *(const char *)>("mi_strdup")("a text");
    char *part = find<char *(const char *, size_t)>("mi_strndup")(text, 3);
    char *path = find<char *(const char *, char *)>("mi_realpath")("/.", nullptr);
    void *array = malloc(10), *before;
    auto *resize = find<int(void *, size_t, size_t)>("mi_reallocarr");

    CHECK(!strcmp(text, "a text") && !strcmp(part, "a t") && !strcmp(path, "/"));
    free(text);
    find<put_form>("mi_free")(part);
    free(path);
    find<put_form>("mi_free")(strdup("a text"));
    CHECK(resize(&array, 100, 100) == 0 && usable(array) >= 10000);
    before = array;
    CHECK(resize(&array, huge, 16) != 0 && array == before);
    free(array);
}

void failures()
{
    void *object = malloc(100);

    for (auto *take : {"mi_malloc", "mi_zalloc", "mi_new_nothrow"})
        CHECKF(find<take_form>(take)(huge) == nullptr, "%s", take);
    for (auto *take : {"mi_calloc", "mi_mallocn"})
        CHECKF(find<array_form>(take)(huge, 16) == nullptr, "%s", take);
    for (auto *move : {"mi_reallocn", "mi_recalloc", "mi_reallocarray"})
        CHECKF(find<moves_form>(move)(object, huge, 16) == nullptr, "%s", move);
    find<put_form>("mi_free")(object);
    CHECK(find<move_form>("mi_reallocf")(malloc(100), huge) == nullptr);
    auto *to = find<int(void **, size_t, size_t)>("mi_posix_memalign");
    CHECK(to(nullptr, 64, 100) == EINVAL && to(&object, 48, 100) == EINVAL);
    CHECK(to(&object, 64, huge) == ENOMEM);
    object = find<make_form>("mi_heap_new")();
    CHECK(find<moves_form>("mi_heap_malloc_aligned")(object, 100, 3) == nullptr);
    find<put_form>("mi_heap_delete")(object);
}

/* mimalloc as Debian has it is built in C, and ends the program instead. */
void failures_throw()
{
    void *object = malloc(100);

    CHECK(throws([] { return find<take_form>("mi_new")(huge); }));
    CHECK(throws([] { return find<array_form>("mi_new_aligned")(huge, 64); }));
    CHECK(throws([] { return find<array_form>("mi_new_n")(huge, 16); }));
    CHECK(
        throws([=] { return find<moves_form>("mi_new_reallocn")(object, huge, 16); }));
    object = find<move_form>("mi_new_realloc")(object, 1000);
    free(written(object, 1000, 1));
}

void pointers_are_known()
{
    int local = 0;

    for (auto *owned : {"mi_check_owned", "mi_is_in_heap_region"}) {
        void *object = malloc(100);

        CHECKF(find<bool(const void *)>(owned)(object), "%s", owned);
        CHECKF(!find<bool(const void *)>(owned)(&local), "%s", owned);
        free(object);
    }
}

/* Less than may stay where nobody asks for it. */
template <class Collect> void check_goes_back(Collect collect)
{
    const size_t bytes = 1 << 20, count = 40;
    size_t before = resident_bytes();
    void *objects[count];

    for (auto *&object : objects)
        object = memset(malloc(bytes), 1, bytes);
    for (auto *object : objects)
        find<put_form>("mi_free")(object);
    collect();
    CHECKF(resident_bytes() < before + count * bytes / 4, "%zu bytes, %zu before",
           resident_bytes(), before);
}

void memory_goes_back()
{
    using collect_form = void(void *, bool);
    void *backing = find<make_form>("mi_heap_get_backing")();

    check_goes_back([] { find<void(bool)>("mi_collect")(true); });
    check_goes_back([=] { find<collect_form>("mi_heap_collect")(backing, true); });
    find<void(bool)>("mi_collect")(false);
}

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

struct seen {
    size_t areas, blocks, bytes;
};

bool count_and_free(void *, const void *, void *block, size_t bytes, void *argument)
{
    auto *seen = static_cast<struct seen *>(argument);

    if (block == nullptr) {
        seen->areas++;
        return true;
    }
    seen->blocks++;
    seen->bytes += bytes;
    free(block);
    return true;
}

void heaps_visited()
{
    using visit_form = bool(void *, bool, decltype(count_and_free) *, void *argument);
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
    seen.blocks = 0;
    CHECK(find<visit_form>("mi_heap_visit_blocks")(heap, true, count_and_free, &seen));
    CHECKF(seen.blocks == 0, "%zu blocks", seen.blocks);
    find<void(void *, bool)>("mi_heap_collect")(heap, true);
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
    {"one_heap", one_heap},
    {"alignments_are_kept", alignments_are_kept},
    {"growing_keeps_and_zeroes", growing_keeps_and_zeroes},
    {"texts_and_arrays", texts_and_arrays},
    {"failures", failures},
    {"failures_throw", failures_throw},
    {"pointers_are_known", pointers_are_known},
    {"memory_goes_back", memory_goes_back},
    {"heaps", heaps},
    {"heaps_in_all_forms", heaps_in_all_forms},
    {"heaps_deleted", heaps_deleted},
    {"heaps_deleted_in_any_order", heaps_deleted_in_any_order},
    {"heaps_destroyed", heaps_destroyed},
    {"heaps_by_default", heaps_by_default},
    {"heaps_visited", heaps_visited},
    {"it_is_unloaded", it_is_unloaded},
    {nullptr, nullptr}};
