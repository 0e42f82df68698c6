/*
 * tcmalloc.cc - the C functions of gperftools' tcmalloc, as its headers have them: on mymalloc,
 * with tcmalloc loaded beside it or not, and on tcmalloc itself.
 */
#include "named.hpp"

#include <cerrno>
#include <cstring>
#include <malloc.h>
#include <vector>

namespace
{

const size_t sizes[] = {1, 8, 100, 1000, 5000, 70000, 300000, 5 << 20, 40 << 20};
const size_t large = 64 << 20;

using nothrow_form = void *(size_t, const std::nothrow_t &);
using aligned_form = void *(size_t, size_t);

struct taker {
    const char *name;
    take_form *take;
};

void *take_zeroed(size_t size)
{
    auto *object =
        static_cast<char *>(find<void *(size_t, size_t)>("tc_calloc")(1, size));

    CHECK(object != nullptr);
    for (size_t i = 0; i < size; i++)
        CHECKF(object[i] == 0, "byte %zu of %zu", i, size);
    return object;
}

void *take_grown(size_t size)
{
    auto *grow = find<void *(void *, size_t)>("tc_realloc");
    auto *object = static_cast<char *>(grow(grow(malloc(3), 1), size + 1));

    CHECK(object != nullptr);
    return grow(object, size);
}

void *take_posix(size_t size)
{
    auto *take = find<int(void **, size_t, size_t)>("tc_posix_memalign");
    void *object = nullptr;

    CHECK(take(&object, 3, size) == EINVAL && object == nullptr);
    CHECK(take(&object, 256, size) == 0 && (uintptr_t)object % 256 == 0);
    return object;
}

void *take_aligned(size_t size)
{
    void *object = find<aligned_form>("tc_memalign")(1024, size);

    CHECK((uintptr_t)object % 1024 == 0);
    return object;
}

void *take_page(size_t size)
{
    void *object = find<take_form>("tc_pvalloc")(size);

    CHECK((uintptr_t)object % 4096 == 0);
    return object;
}

void *take_nothrow(size_t size)
{
    return find<nothrow_form>("tc_new_nothrow")(size, std::nothrow);
}

void *take_nothrow_array(size_t size)
{
    return find<nothrow_form>("tc_newarray_nothrow")(size, std::nothrow);
}

void *take_new_aligned(size_t size)
{
    void *object = find<aligned_form>("tc_new_aligned")(size, 64);

    CHECK((uintptr_t)object % 64 == 0);
    return object;
}

std::vector<taker> takers()
{
    return {{"malloc", malloc},
            {"tc_malloc", find<take_form>("tc_malloc")},
            {"tc_malloc_skip", find<take_form>("tc_malloc_skip_new_handler")},
            {"tc_valloc", find<take_form>("tc_valloc")},
            {"tc_new", find<take_form>("tc_new")},
            {"tc_newarray", find<take_form>("tc_newarray")},
            {"operator new", [](size_t size) { return ::operator new(size); }},
            {"tc_calloc", take_zeroed},
            {"tc_realloc", take_grown},
            {"tc_posix_memalign", take_posix},
            {"tc_memalign", take_aligned},
            {"tc_pvalloc", take_page},
            {"tc_new_nothrow", take_nothrow},
            {"tc_newarray_nothrow", take_nothrow_array},
            {"tc_new_aligned", take_new_aligned}};
}

/* What each gives, each takes: the kind of call does not matter to the heap. */
void one_heap()
{
    const std::vector<put_form *> putters = {
        free, find<put_form>("tc_free"), find<put_form>("tc_cfree"),
        find<put_form>("tc_delete"), find<put_form>("tc_deletearray")};
    auto *size_of = find<size_t(void *)>("tc_malloc_size");
    auto *told = find<size_t(const void *)>("MallocExtension_GetAllocatedSize");

    for (auto &taker : takers())
        for (size_t size : sizes)
            for (auto *put : putters) {
                void *object = taker.take(size);

                CHECKF(object != nullptr, "%s of %zu", taker.name, size);
                CHECK(size_of(object) >= size && told(object) == size_of(object));
                CHECK(malloc_usable_size(object) == size_of(object));
                memset(object, 0xa5, size < 100000 ? size : 100000);
                put(object);
            }
    find<put_form>("tc_free")(nullptr);
    for (size_t size : sizes) {
        void *object = malloc(size);

        CHECKF(find<size_t(size_t, int)>("tc_nallocx")(size, 0) == size_of(object),
               "%zu", size);
        free(object);
    }
}

void sized_and_aligned()
{
    using sized = void(void *, size_t);
    using both = void(void *, size_t, size_t);
    const std::nothrow_t *quiet = &std::nothrow;

    for (size_t size : sizes) {
        for (auto *name : {"tc_free_sized", "tc_delete_sized", "tc_deletearray_sized"})
            find<sized>(name)(find<take_form>("tc_malloc")(size), size);
        for (auto *name : {"tc_delete_nothrow", "tc_deletearray_nothrow"})
            find<void(void *, const std::nothrow_t *)>(name)(
                find<take_form>("tc_new")(size), quiet);
        for (size_t alignment : {16, 64, 4096}) {
            for (auto *name : {"tc_new_aligned", "tc_newarray_aligned"})
                for (auto *put : {"tc_delete_aligned", "tc_deletearray_aligned"}) {
                    void *object = find<aligned_form>(name)(size, alignment);

                    CHECK(object && (uintptr_t)object % alignment == 0);
                    find<sized>(put)(object, alignment);
                }
            for (auto *put :
                 {"tc_delete_sized_aligned", "tc_deletearray_sized_aligned"})
                find<both>(put)(find<aligned_form>("tc_new_aligned")(size, alignment),
                                size, alignment);
            if (seek<void()>("MyVersion") != nullptr) /* tcmalloc has it since 2.17 */
                find<both>("tc_free_aligned_sized")(
                    find<aligned_form>("tc_memalign")(alignment, size), alignment,
                    size);
            for (auto *name : {"tc_new_aligned_nothrow", "tc_newarray_aligned_nothrow"})
                for (auto *put :
                     {"tc_delete_aligned_nothrow", "tc_deletearray_aligned_nothrow"}) {
                    void *object = find<void *(size_t, size_t, const std::nothrow_t *)>(
                        name)(size, alignment, quiet);

                    CHECK(object && (uintptr_t)object % alignment == 0);
                    find<void(void *, size_t, const std::nothrow_t *)>(put)(
                        object, alignment, quiet);
                }
        }
    }
}

void failures()
{
    CHECK(find<take_form>("tc_malloc")(huge) == nullptr);
    CHECK(find<void *(size_t, size_t)>("tc_calloc")(huge, 16) == nullptr);
    if (is_under(MEMCHECK, "exceptions"))
        return;
    for (auto *name : {"tc_new", "tc_newarray"})
        CHECKF(throws([=] { return find<take_form>(name)(huge); }), "%s", name);
    for (auto *name : {"tc_new_aligned", "tc_newarray_aligned"})
        CHECKF(throws([=] { return find<aligned_form>(name)(huge, 64); }), "%s", name);
    for (auto *name : {"tc_new_nothrow", "tc_newarray_nothrow"})
        CHECKF(find<nothrow_form>(name)(huge, std::nothrow) == nullptr, "%s", name);
}

bool read(const char *name, size_t *value)
{
    return find<int(const char *, size_t *)>("MallocExtension_GetNumericProperty")(
               name, value) != 0;
}

size_t number(const char *name)
{
    size_t value = SIZE_MAX;

    CHECKF(read(name, &value) && value != SIZE_MAX, "%s", name);
    return value;
}

void release()
{
    find<void()>("MallocExtension_ReleaseFreeMemory")();
}

void numbers_are_true()
{
    size_t before = number("generic.current_allocated_bytes"), unknown = 1;
    void *object = malloc(large);
    size_t during = number("generic.current_allocated_bytes");

    CHECKF(during >= before + large && during < before + large + (1 << 20),
           "%zu, then %zu", before, during);
    CHECK(number("generic.heap_size") >= during);
    free(object);
    CHECK(number("generic.current_allocated_bytes") < before + (1 << 20));
    CHECK(number("generic.heap_size") >=
          number("generic.current_allocated_bytes") +
              number("tcmalloc.pageheap_free_bytes") +
              number("tcmalloc.pageheap_unmapped_bytes"));
    CHECK(!read("tcmalloc.no_such_number", &unknown));
    /* small ones count, guarded ones too, and what lies in caches is none */
    std::vector<void *> objects(20000);
    before = number("generic.current_allocated_bytes");
    for (auto &each : objects)
        each = malloc(128);
    CHECK(number("generic.current_allocated_bytes") >= before + objects.size() * 128);
    CHECK(number("generic.heap_size") >= number("generic.current_allocated_bytes"));
    for (auto *each : objects)
        free(each);
    CHECK(number("tcmalloc.thread_cache_free_bytes") +
              number("tcmalloc.central_cache_free_bytes") >
          100000);
    CHECK(number("tcmalloc.current_total_thread_cache_bytes") ==
          number("tcmalloc.thread_cache_free_bytes"));
}

/* What is free of a kind adds up, and each way of asking knows it. */
void numbers_add_up()
{
    CHECK(number("tcmalloc.slack_bytes") ==
          number("tcmalloc.pageheap_free_bytes") +
              number("tcmalloc.pageheap_unmapped_bytes"));
    CHECK(number("tcmalloc.pageheap_free_bytes") +
              number("tcmalloc.pageheap_unmapped_bytes") +
              number("tcmalloc.central_cache_free_bytes") +
              number("tcmalloc.transfer_cache_free_bytes") +
              number("tcmalloc.thread_cache_free_bytes") <=
          number("generic.heap_size"));
}

void memory_goes_back()
{
    for (auto *name :
         {"MallocExtension_ReleaseFreeMemory", "MallocExtension_ReleaseToSystem"}) {
        size_t before = resident_bytes() + shadow_of(large);
        void *object = malloc(large);

        memset(object, 1, large);
        free(object);
        find<void(size_t)>(name)(large);
        CHECKF(resident_bytes() < before + large / 4, "%s: %zu bytes stay of %zu", name,
               resident_bytes(), before + large);
    }
    /* As much as is asked for, and not all: tcmalloc itself has it in one piece. */
    if (seek<void()>("MyVersion") != nullptr) {
        const size_t part = 8 << 20, bytes = 24 << 20;
        void *object = malloc(bytes);

        memset(object, 1, bytes);
        free(object);
        size_t before = number("tcmalloc.pageheap_free_bytes");
        find<void(size_t)>("MallocExtension_ReleaseToSystem")(part);
        size_t after = number("tcmalloc.pageheap_free_bytes");
        CHECKF(after <= before - part && after + 2 * part > before, "%zu, then %zu",
               before, after);
    }
    for (auto *name : {"MallocExtension_MarkThreadIdle",
                       "MallocExtension_MarkThreadTemporarilyIdle"})
        find<void()>(name)();
    release();
    CHECK(find<size_t(size_t)>("MallocExtension_GetEstimatedAllocatedSize")(1000) >=
          1000);
}

void pointers_are_known()
{
    auto *owner = find<int(const void *)>("MallocExtension_GetOwnership");
    int local = 0;

    for (size_t size : sizes) {
        void *object = malloc(size);

        CHECK(owner(object) == 1);
        for (auto *name :
             {"MallocExtension_VerifyMallocMemory", "MallocExtension_VerifyNewMemory",
              "MallocExtension_VerifyArrayNewMemory"})
            CHECK(find<int(const void *)>(name)(object) == 1);
        free(object);
    }
    CHECK(owner(&local) == 2 && owner(sizes) == 2);
    CHECK(find<int()>("MallocExtension_VerifyAllMemory")() == 1);
}

void statistics_are_told()
{
    auto *tell = find<void(char *, int)>("MallocExtension_GetStats");
    char text[20000], part[32], lines[128];

    memset(part, 'x', sizeof part);
    tell(text, sizeof text);
    CHECK(strlen(text) > 100 && text[strlen(text) - 1] == '\n');
    tell(part, 20);
    CHECKF(strlen(part) == 19 && strncmp(part, text, 19) == 0 && part[20] == 'x',
           "%.31s", part);
    memset(lines, 'x', sizeof lines);
    tell(lines, 100);
    CHECKF(strlen(lines) == 99 && lines[100] == 'x', "%.127s", lines);
    find<void()>("tc_malloc_stats")();
    CHECK(find<struct mallinfo()>("tc_mallinfo")().arena > 0);
    CHECK(find<int(int, int)>("tc_mallopt")(M_TRIM_THRESHOLD, 64 << 20) == 1);
}

} // namespace

extern "C" const struct test tests[] = {{"one_heap", one_heap},
                                        {"sized_and_aligned", sized_and_aligned},
                                        {"failures", failures},
                                        {"numbers_are_true", numbers_are_true},
                                        {"numbers_add_up", numbers_add_up},
                                        {"memory_goes_back", memory_goes_back},
                                        {"pointers_are_known", pointers_are_known},
                                        {"statistics_are_told", statistics_are_told},
                                        {nullptr, nullptr}};
