/*
 * forms.cc - the table of calls.
 *
 * Each argument is a word that a register takes, so all are called by one form: six words, of
 * which a function sees those that it has.
 */
#include "families.hpp"

#include "mymalloc/arena.h"
#include "mymalloc/memory_resource.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <new>

using words_form = uintptr_t(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t,
                             uintptr_t);

namespace
{

/* The C++ header has no names of its own. */
void *resource_take(size_t size, size_t alignment)
{
    return mymalloc::resource()->allocate(size, alignment);
}

void resource_put(void *object, size_t size, size_t alignment)
{
    mymalloc::resource()->deallocate(object, size, alignment);
}

void *allocator_take(size_t count)
{
    return mymalloc::allocator<char>().allocate(count);
}

void allocator_put(char *object, size_t count)
{
    mymalloc::allocator<char>().deallocate(object, count);
}

constexpr unsigned twice = 1u << 31; /* as mi_NAME, and as mi_heap_NAME */

/* clang-format off */
const form written[] = {
    {"malloc", "s", STANDARD, TAKE, 0, nullptr},
    {"calloc", "cs", STANDARD, TAKE, ZERO, nullptr},
    {"aligned_alloc", "as", STANDARD, TAKE, TELLS_EINVAL, nullptr},
    {"posix_memalign", "Oas", STANDARD, TAKE, TELLS_EINVAL, nullptr},
    {"memalign", "as", STANDARD, TAKE, 0, nullptr},
    {"valloc", "s", STANDARD, TAKE, PAGES, nullptr},
    {"pvalloc", "s", STANDARD, TAKE, WHOLE, nullptr},
    {"realloc", "ps", STANDARD, MOVE, FREES_AT_0, nullptr},
    {"reallocarray", "pcs", STANDARD, MOVE, FREES_AT_0, nullptr},
    {"free", "p", STANDARD, PUT, 0, nullptr},
    {"free_sized", "ps", STANDARD, PUT, 0, nullptr},
    {"free_aligned_sized", "pas", STANDARD, PUT, 0, nullptr},
    {"malloc_usable_size", "p", STANDARD, TELL, 0, nullptr},

    {"MyMalloc", "s", MY, TAKE, 0, nullptr},
    {"MyCalloc", "cs", MY, TAKE, ZERO, nullptr},
    {"MyAlignedAlloc", "as", MY, TAKE, TELLS_EINVAL, nullptr},
    {"MyPosixMemalign", "Oas", MY, TAKE, TELLS_EINVAL, nullptr},
    {"MyMemalign", "as", MY, TAKE, 0, nullptr},
    {"MyValloc", "s", MY, TAKE, PAGES, nullptr},
    {"MyPvalloc", "s", MY, TAKE, WHOLE, nullptr},
    {"MyArenaAlloc", "hs", MY, TAKE, ARENA, nullptr},
    {"MyArenaCalloc", "hcs", MY, TAKE, ARENA | ZERO, nullptr},
    {"MyArenaAllocAligned", "has", MY, TAKE, ARENA | TELLS_EINVAL, nullptr},
    {"MyRealloc", "ps", MY, MOVE, FREES_AT_0, nullptr},
    {"MyReallocArray", "pcs", MY, MOVE, FREES_AT_0, nullptr},
    {"MyReallocAligned", "pas", MY, MOVE, FREES_AT_0 | TELLS_EINVAL, nullptr},
    {"MyArenaRealloc", "hps", MY, MOVE, ARENA | FREES_AT_0, nullptr},
    {"MyFree", "p", MY, PUT, 0, nullptr},
    {"MyFreeSized", "ps", MY, PUT, 0, nullptr},
    {"MyFreeAlignedSized", "pas", MY, PUT, 0, nullptr},
    {"MyArenaFree", "hp", MY, PUT, ARENA, nullptr},
    {"MyUsableSize", "p", MY, TELL, 0, nullptr},

    {"mallocx", "sf", JEMALLOC, TAKE, NOT_0 | ANY_ERRNO, nullptr},
    {"rallocx", "psf", JEMALLOC, MOVE, NOT_0 | ANY_ERRNO, nullptr},
    {"dallocx", "pf", JEMALLOC, PUT, 0, nullptr},
    {"sdallocx", "psf", JEMALLOC, PUT, 0, nullptr},
    {"sallocx", "pf", JEMALLOC, TELL, 0, nullptr},

    {"tc_malloc", "s", TCMALLOC, TAKE, 0, nullptr},
    {"tc_malloc_skip_new_handler", "s", TCMALLOC, TAKE, 0, nullptr},
    {"tc_calloc", "cs", TCMALLOC, TAKE, ZERO, nullptr},
    {"tc_memalign", "as", TCMALLOC, TAKE, 0, nullptr},
    {"tc_posix_memalign", "Oas", TCMALLOC, TAKE, TELLS_EINVAL, nullptr},
    {"tc_valloc", "s", TCMALLOC, TAKE, PAGES, nullptr},
    {"tc_pvalloc", "s", TCMALLOC, TAKE, WHOLE, nullptr},
    {"tc_new", "s", TCMALLOC, TAKE, THROWS, nullptr},
    {"tc_newarray", "s", TCMALLOC, TAKE, THROWS, nullptr},
    {"tc_new_nothrow", "sn", TCMALLOC, TAKE, 0, nullptr},
    {"tc_newarray_nothrow", "sn", TCMALLOC, TAKE, 0, nullptr},
    {"tc_new_aligned", "sa", TCMALLOC, TAKE, THROWS, nullptr},
    {"tc_newarray_aligned", "sa", TCMALLOC, TAKE, THROWS, nullptr},
    {"tc_new_aligned_nothrow", "san", TCMALLOC, TAKE, 0, nullptr},
    {"tc_newarray_aligned_nothrow", "san", TCMALLOC, TAKE, 0, nullptr},
    {"tc_realloc", "ps", TCMALLOC, MOVE, FREES_AT_0, nullptr},
    {"tc_free", "p", TCMALLOC, PUT, 0, nullptr},
    {"tc_cfree", "p", TCMALLOC, PUT, 0, nullptr},
    {"tc_free_sized", "ps", TCMALLOC, PUT, 0, nullptr},
    {"tc_free_aligned_sized", "pas", TCMALLOC, PUT, 0, nullptr},
    {"tc_delete", "p", TCMALLOC, PUT, 0, nullptr},
    {"tc_deletearray", "p", TCMALLOC, PUT, 0, nullptr},
    {"tc_delete_sized", "ps", TCMALLOC, PUT, 0, nullptr},
    {"tc_deletearray_sized", "ps", TCMALLOC, PUT, 0, nullptr},
    {"tc_delete_nothrow", "pn", TCMALLOC, PUT, 0, nullptr},
    {"tc_deletearray_nothrow", "pn", TCMALLOC, PUT, 0, nullptr},
    {"tc_delete_aligned", "pa", TCMALLOC, PUT, 0, nullptr},
    {"tc_deletearray_aligned", "pa", TCMALLOC, PUT, 0, nullptr},
    {"tc_delete_sized_aligned", "psa", TCMALLOC, PUT, 0, nullptr},
    {"tc_deletearray_sized_aligned", "psa", TCMALLOC, PUT, 0, nullptr},
    {"tc_delete_aligned_nothrow", "pan", TCMALLOC, PUT, 0, nullptr},
    {"tc_deletearray_aligned_nothrow", "pan", TCMALLOC, PUT, 0, nullptr},
    {"tc_malloc_size", "p", TCMALLOC, TELL, 0, nullptr},
    {"MallocExtension_GetAllocatedSize", "p", TCMALLOC, TELL, 0, nullptr},

    {"malloc", "s", MIMALLOC, TAKE, twice, nullptr},
    {"mallocn", "cs", MIMALLOC, TAKE, twice, nullptr},
    {"calloc", "cs", MIMALLOC, TAKE, twice | ZERO, nullptr},
    {"zalloc", "s", MIMALLOC, TAKE, twice | ZERO, nullptr},
    {"strdup", "t", MIMALLOC, TAKE, twice, nullptr},
    {"malloc_aligned", "sa", MIMALLOC, TAKE, twice, nullptr},
    {"zalloc_aligned", "sa", MIMALLOC, TAKE, twice | ZERO, nullptr},
    {"calloc_aligned", "csa", MIMALLOC, TAKE, twice | ZERO, nullptr},
    {"malloc_aligned_at", "sao", MIMALLOC, TAKE, twice, nullptr},
    {"zalloc_aligned_at", "sao", MIMALLOC, TAKE, twice | ZERO, nullptr},
    {"calloc_aligned_at", "csao", MIMALLOC, TAKE, twice | ZERO, nullptr},
    {"mi_memalign", "as", MIMALLOC, TAKE, 0, nullptr},
    {"mi_aligned_alloc", "as", MIMALLOC, TAKE, 0, nullptr},
    {"mi_posix_memalign", "Oas", MIMALLOC, TAKE, TELLS_EINVAL, nullptr},
    {"mi_valloc", "s", MIMALLOC, TAKE, PAGES, nullptr},
    {"mi_pvalloc", "s", MIMALLOC, TAKE, WHOLE, nullptr},
    {"mi_new", "s", MIMALLOC, TAKE, THROWS, nullptr},
    {"mi_new_n", "cs", MIMALLOC, TAKE, THROWS, nullptr},
    {"mi_heap_alloc_new", "hs", MIMALLOC, TAKE, THROWS, nullptr},
    {"mi_heap_alloc_new_n", "hcs", MIMALLOC, TAKE, THROWS, nullptr},
    {"mi_new_aligned", "sa", MIMALLOC, TAKE, THROWS, nullptr},
    {"mi_new_nothrow", "s", MIMALLOC, TAKE, 0, nullptr},
    {"mi_new_aligned_nothrow", "sa", MIMALLOC, TAKE, 0, nullptr},
    {"mi_umalloc", "su", MIMALLOC, TAKE, 0, nullptr},
    {"mi_uzalloc", "su", MIMALLOC, TAKE, ZERO, nullptr},
    {"mi_ucalloc", "csu", MIMALLOC, TAKE, ZERO, nullptr},
    {"mi_umalloc_aligned", "sau", MIMALLOC, TAKE, 0, nullptr},
    {"mi_uzalloc_aligned", "sau", MIMALLOC, TAKE, ZERO, nullptr},
    {"realloc", "ps", MIMALLOC, MOVE, twice, nullptr},
    {"reallocn", "pcs", MIMALLOC, MOVE, twice, nullptr},
    {"reallocf", "ps", MIMALLOC, MOVE, twice | FREES_ON_FAILURE, nullptr},
    {"rezalloc", "ps", MIMALLOC, MOVE, twice | ZERO, nullptr},
    {"recalloc", "pcs", MIMALLOC, MOVE, twice | ZERO, nullptr},
    {"realloc_aligned", "psa", MIMALLOC, MOVE, twice, nullptr},
    {"rezalloc_aligned", "psa", MIMALLOC, MOVE, twice | ZERO, nullptr},
    {"recalloc_aligned", "pcsa", MIMALLOC, MOVE, twice | ZERO, nullptr},
    {"realloc_aligned_at", "psao", MIMALLOC, MOVE, twice, nullptr},
    {"rezalloc_aligned_at", "psao", MIMALLOC, MOVE, twice | ZERO, nullptr},
    {"recalloc_aligned_at", "pcsao", MIMALLOC, MOVE, twice | ZERO, nullptr},
    {"mi_reallocarray", "pcs", MIMALLOC, MOVE, 0, nullptr},
    {"mi_aligned_recalloc", "pcsa", MIMALLOC, MOVE, ZERO, nullptr},
    {"mi_new_realloc", "ps", MIMALLOC, MOVE, THROWS, nullptr},
    {"mi_new_reallocn", "pcs", MIMALLOC, MOVE, THROWS, nullptr},
    {"mi_urealloc", "psbu", MIMALLOC, MOVE, 0, nullptr},
    {"mi_free", "p", MIMALLOC, PUT, 0, nullptr},
    {"mi_cfree", "p", MIMALLOC, PUT, 0, nullptr},
    {"mi_free_size", "ps", MIMALLOC, PUT, 0, nullptr},
    {"mi_free_aligned", "pa", MIMALLOC, PUT, 0, nullptr},
    {"mi_free_size_aligned", "psa", MIMALLOC, PUT, 0, nullptr},
    {"mi_ufree", "pu", MIMALLOC, PUT, 0, nullptr},
    {"mi_usable_size", "p", MIMALLOC, TELL, 0, nullptr},
    {"mi_malloc_size", "p", MIMALLOC, TELL, 0, nullptr},
    {"mi_malloc_usable_size", "p", MIMALLOC, TELL, 0, nullptr},

    {"_Znwm", "s", OPERATORS, TAKE, THROWS, nullptr},
    {"_Znam", "s", OPERATORS, TAKE, THROWS, nullptr},
    {"_ZnwmRKSt9nothrow_t", "sn", OPERATORS, TAKE, ANY_ERRNO, nullptr},
    {"_ZnamRKSt9nothrow_t", "sn", OPERATORS, TAKE, ANY_ERRNO, nullptr},
    {"_ZnwmSt11align_val_t", "sa", OPERATORS, TAKE, THROWS, nullptr},
    {"_ZnamSt11align_val_t", "sa", OPERATORS, TAKE, THROWS, nullptr},
    {"_ZnwmSt11align_val_tRKSt9nothrow_t", "san", OPERATORS, TAKE, ANY_ERRNO, nullptr},
    {"_ZnamSt11align_val_tRKSt9nothrow_t", "san", OPERATORS, TAKE, ANY_ERRNO, nullptr},
    {"_ZdlPv", "p", OPERATORS, PUT, 0, nullptr},
    {"_ZdaPv", "p", OPERATORS, PUT, 0, nullptr},
    {"_ZdlPvm", "ps", OPERATORS, PUT, 0, nullptr},
    {"_ZdaPvm", "ps", OPERATORS, PUT, 0, nullptr},
    {"_ZdlPvRKSt9nothrow_t", "pn", OPERATORS, PUT, 0, nullptr},
    {"_ZdaPvRKSt9nothrow_t", "pn", OPERATORS, PUT, 0, nullptr},
    {"_ZdlPvSt11align_val_t", "pa", OPERATORS, PUT, 0, nullptr},
    {"_ZdaPvSt11align_val_t", "pa", OPERATORS, PUT, 0, nullptr},
    {"_ZdlPvmSt11align_val_t", "psa", OPERATORS, PUT, 0, nullptr},
    {"_ZdaPvmSt11align_val_t", "psa", OPERATORS, PUT, 0, nullptr},
    {"_ZdlPvSt11align_val_tRKSt9nothrow_t", "pan", OPERATORS, PUT, 0, nullptr},
    {"_ZdaPvSt11align_val_tRKSt9nothrow_t", "pan", OPERATORS, PUT, 0, nullptr},

#define HERE(function) reinterpret_cast<void *>(function)
    {"resource", "sa", RESOURCE, TAKE, THROWS, HERE(resource_take)},
    {"resource", "psa", RESOURCE, PUT, 0, HERE(resource_put)},
    {"allocator", "s", RESOURCE, TAKE, THROWS, HERE(allocator_take)},
    {"allocator", "ps", RESOURCE, PUT, 0, HERE(allocator_put)},
};
/* clang-format on */

/* Whose names this program has. */
#ifdef TEST_MY
const names had[] = {MY, RESOURCE};
#elif defined TEST_ARCHIVE
const names had[] = {STANDARD, MY, JEMALLOC, OPERATORS, RESOURCE};
#else
const names had[] = {STANDARD, MY, JEMALLOC, TCMALLOC, MIMALLOC, OPERATORS, RESOURCE};
#endif

/* Those of a family and kind, to be drawn from. */
struct forms {
    form list[64];
    size_t count;
} forms[NAMES][KINDS];

void add(form form, const char *name, const char *takes)
{
    struct forms &to = forms[form.of][form.does];

    form.name = name;
    form.takes = takes;
    form.traits &= ~twice;
    if (form.function == nullptr)
        form.function = find_name(name);
    CHECKF(form.function != nullptr, "%s is missing", name);
    CHECK(to.count < sizeof to.list / sizeof *to.list);
    to.list[to.count++] = form;
}

/* Texts that last; nothing of this test's own is in the heap. */
const char *joined(const char *one, const char *other)
{
    static char texts[4096];
    static size_t used;
    char *text = texts + used;

    used += 1 + static_cast<size_t>(
                    snprintf(text, sizeof texts - used, "%s%s", one, other));
    CHECK(used < sizeof texts);
    return text;
}

} // namespace

void *find_name(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}

bool has_letter(const form &form, char letter)
{
    return strchr(form.takes, letter) != nullptr;
}

size_t find_forms()
{
    size_t count = 0;

    for (names of : had)
        for (const form &form : written) {
            if (form.of != of)
                continue;
            if (form.traits & twice) {
                add(form, joined("mi_", form.name), form.takes);
                add(form, joined("mi_heap_", form.name), joined("h", form.takes));
                count++;
            } else {
                add(form, form.name, form.takes);
            }
            count++;
        }
    return count;
}

const form &draw_form(kind does, uint64_t &random)
{
    for (;;) {
        names of = had[next_random(&random) % (sizeof had / sizeof *had)];
        const struct forms &from = forms[of][does];

        if (from.count != 0)
            return from.list[next_random(&random) % from.count];
    }
}

/* 0 where there is nothing, or it threw. */
uintptr_t call::make(const form &form)
{
    static const std::nothrow_t nothrow;
    void *const mark = &error;
    void *out = mark;
    uintptr_t words[6] = {}, result;

    for (size_t i = 0; form.takes[i] != '\0'; i++)
        switch (form.takes[i]) {
        case 's':
            words[i] = size;
            break;
        case 'c':
            words[i] = count;
            break;
        case 'a':
            words[i] = alignment;
            break;
        case 'o':
            words[i] = offset;
            break;
        case 'f':
            words[i] = static_cast<uintptr_t>(flags);
            break;
        case 'h':
            words[i] = reinterpret_cast<uintptr_t>(heap);
            break;
        case 'p':
            words[i] = reinterpret_cast<uintptr_t>(object);
            break;
        case 't':
            words[i] = reinterpret_cast<uintptr_t>(text);
            break;
        case 'n':
            words[i] = reinterpret_cast<uintptr_t>(&nothrow);
            break;
        case 'u':
            words[i] = reinterpret_cast<uintptr_t>(&told);
            break;
        case 'b':
            words[i] = reinterpret_cast<uintptr_t>(&told_before);
            break;
        default:
            words[i] = reinterpret_cast<uintptr_t>(&out);
        }
    errno = 99;
    try {
        result = reinterpret_cast<words_form *>(form.function)(
            words[0], words[1], words[2], words[3], words[4], words[5]);
    } catch (const std::bad_alloc &) {
        CHECKF(form.traits & THROWS, "%s", form.name);
        return 0;
    }
    error = errno;
    if (!has_letter(form, 'O')) {
        CHECKF(result != 0 || !(form.traits & THROWS), "%s returned", form.name);
        return result;
    }
    CHECKF(error == 99, "errno is %d after %s", error, form.name);
    error = static_cast<int>(result);
    CHECKF((out == mark) == (error != 0), "%s: %d, %p", form.name, error, out);
    return error == 0 ? reinterpret_cast<uintptr_t>(out) : 0;
}
