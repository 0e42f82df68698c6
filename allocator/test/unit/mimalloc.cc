/*
 * mimalloc.cc - mimalloc's functions, as its manual has them: on mymalloc, with mimalloc loaded
 * beside it or not, and on mimalloc itself.
 */
#include "mimalloc.hpp"

#include <cerrno>
#include <initializer_list>
#include <malloc.h>

namespace
{

const size_t sizes[] = {1, 8, 100, 1000, 5000, 70000, 300000};

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

/* What is next of this size, and aligned so, held something before. */
void soil(size_t size, size_t alignment)
{
    void *object = find<array_form>("mi_malloc_aligned")(size, alignment);

    free(memset(object, 0xff, usable(object)));
}

/* In a place of more bytes than were copied to it, too, or of fewer than the one before. */
void zeros_go_on()
{
    auto *grow = find<moves_form>("mi_rezalloc_aligned");
    const struct {
        size_t size, from, to; /* alignments */
    } moves[] = {{1, 16, 4096}, {100, 16, 4096}, {10500, 1 << 16, 16}};

    for (auto &m : moves) {
        void *object = find<array_form>("mi_zalloc_aligned")(m.size, m.from);

        soil(m.size + 1, m.to);
        object = grow(object, m.size + 1, m.to);
        object = find<move_form>("mi_rezalloc")(object, m.size + 9);
        CHECKF(reads(static_cast<char *>(object), m.size + 9, 0), "%zu", m.size);
        free(object);
    }
}

/* Which Debian 12's mimalloc does not have. */
void later_names()
{
    using told_form = void *(size_t, size_t *);
    using told_aligned_form = void *(size_t, size_t, size_t *);
    size_t bytes = 0, before = 1;

    for (auto *take :
         {"mi_umalloc", "mi_umalloc_small", "mi_uzalloc", "mi_uzalloc_small"}) {
        auto *object = static_cast<char *>(find<told_form>(take)(100, &bytes));

        CHECKF(bytes == malloc_usable_size(object), "%s: %zu bytes", take, bytes);
        CHECK(take[4] != 'z' || reads(object, 100, 0));
        free(written(object, 100, 1));
        free(written(find<told_form>(take)(100, nullptr), 100, 1));
    }
    for (size_t size : sizes)
        for (auto *take : {"mi_umalloc_aligned", "mi_uzalloc_aligned"}) {
            void *object = find<told_aligned_form>(take)(size, 64, &bytes);

            CHECK((uintptr_t)object % 64 == 0 && bytes == malloc_usable_size(object));
            free(written(object, size, 1));
            object = find<told_aligned_form>("mi_ucalloc")(3, size, &bytes);
            CHECK(reads(static_cast<char *>(object), 3 * size, 0));
            CHECK(bytes == malloc_usable_size(object));
            object = find<void *(void *, size_t, size_t *, size_t *)>("mi_urealloc")(
                object, 5 * size, &before, &bytes);
            CHECK(before >= 3 * size && bytes == malloc_usable_size(object));
            find<void(void *, size_t *)>("mi_ufree")(written(object, 5 * size, 1),
                                                     &before);
            CHECK(before == bytes);
        }
    for (auto *put : {"mi_free_small", "mi_free_small_nonnull", "mi_free_small_local",
                      "mi_free_small_local_nonnull"})
        find<put_form>(put)(malloc(100));
    bytes = huge;
    CHECK(find<told_form>("mi_umalloc")(huge, &bytes) == nullptr && bytes == huge);
    void *object = malloc(100);
    CHECK(find<bool(const void *)>("mi_any_heap_contains")(object));
    free(object);
    void *heap = find<void *(int, bool, void *)>("mi_heap_new_ex")(0, true, nullptr);
    object = find<move_form>("mi_heap_malloc")(heap, 100);
    CHECK(find<bool(void *, const void *)>("mi_heap_contains")(heap, object));
    find<put_form>("mi_heap_destroy")(heap);
}

/* A mimalloc of 3.6 that is linked has all of these in front of libc's. */
void names_of_others()
{
    void *object = malloc(100);

    for (auto *name : {"strdup", "strndup", "reallocf", "malloc_size"}) {
        Dl_info library;

        CHECKF(dladdr(find<void *>(name), &library) &&
                   strstr(library.dli_fname, "mymalloc"),
               "%s", name);
    }
    CHECK(find<size_form>("malloc_size")(object) == malloc_usable_size(object));
    object = find<move_form>("reallocf")(object, 5000);
    free(written(object, 5000, 1));
    CHECK(find<move_form>("reallocf")(malloc(100), huge) == nullptr);
    for (size_t most : {size_t{0}, size_t{3}, SIZE_MAX}) {
        char *part = find<char *(const char *, size_t)>("strndup")("a text", most);

        CHECK(strlen(part) == (most < 6 ? most : 6) && !strncmp(part, "a text", most));
        free(part);
    }
    char *text = find<char *(const char *)>("strdup")("a text");
    CHECK(!strcmp(text, "a text"));
    find<put_form>("mi_free")(text);
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

/* In the heap of malloc; 0 where that is another's. */
size_t used_bytes()
{
    return mallinfo2().uordblks;
}

/* What cannot grow ends where its name says so. */
void failures_leave_nothing()
{
    const size_t before = used_bytes(), bytes = 1 << 20;

    for (int i = 0; i < 10; i++)
        for (auto *move : {"mi_reallocf", "reallocf"}) {
            auto *resize = seek<move_form>(move);

            if (resize != nullptr) /* not all have the second */
                CHECK(resize(malloc(bytes), huge) == nullptr);
        }
    CHECKF(used_bytes() < before + bytes, "%zu bytes, %zu before", used_bytes(),
           before);
    auto *to = find<int(void **, size_t, size_t)>("mi_posix_memalign");
    void *object = nullptr;
    errno = 0;
    CHECK(to(&object, 64, huge) == ENOMEM && object == nullptr);
    CHECK(errno == 0 || seek<void()>("MyVersion") == nullptr);
}

/* mimalloc as Debian has it is built in C, and ends the program instead. */
void failures_throw()
{
    void *object;

    if (is_under(MEMCHECK, "exceptions"))
        return;
    object = malloc(100);
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
    size_t before = resident_bytes() + shadow_of(count * bytes);
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

} // namespace

extern "C" const struct test tests[] = {
    {"one_heap", one_heap},
    {"alignments_are_kept", alignments_are_kept},
    {"growing_keeps_and_zeroes", growing_keeps_and_zeroes},
    {"zeros_go_on", zeros_go_on},
    {"later_names", later_names},
    {"names_of_others", names_of_others},
    {"texts_and_arrays", texts_and_arrays},
    {"failures", failures},
    {"failures_leave_nothing", failures_leave_nothing},
    {"failures_throw", failures_throw},
    {"pointers_are_known", pointers_are_known},
    {"memory_goes_back", memory_goes_back},
    {nullptr, nullptr}};
