/*
 * tcmalloc.c - the C functions of gperftools' tcmalloc under their names, for
 * libmymalloc_preload.so.
 *
 * A program that is linked with tcmalloc and calls these beside malloc and free would take
 * from one heap and give to another. As its headers tcmalloc.h and malloc_extension_c.h
 * have them. Here is what gives an object or takes one, and what asks about the heap or
 * changes it; its modes, hooks and version are its own to tell, where it is loaded.
 *
 * Its interface in C++, malloc_extension.h, is an object of a class of which the program sees
 * the base. What that class (of gperftools 2.10) does with the heap is replaced, too: a
 * program that sizes its caches by these numbers would be told of an empty heap.
 *
 * Locking: none here.
 */
#include "face/override.h"

#include "alloc/info.h"
#include "face/object.h"

#include <stdio.h>
#include <string.h>

/* ---- malloc ---- */

/*
 * What is left to tcmalloc expects that it has started, as it does by the first call of
 * tc_malloc, in a constructor of its own: that comes here, and goes on to it, once. dlsym,
 * where it finds none, would leave an error for the program's dlerror.
 */
struct start {
    void *(*take)(size_t size);
    void (*put)(void *ptr);
};

static int find_start(struct dl_phdr_info *info, size_t size, void *context)
{
    struct start *start = context;
    struct mym_object object;

    (void)size;
    if (mym_object_has(info, (const void *)find_start) ||
        !mym_object_read(info, &object))
        return 0;
    start->take = (void *(*)(size_t))mym_object_function(info, &object, "tc_malloc");
    start->put = (void (*)(void *))mym_object_function(info, &object, "tc_free");
    return start->take != NULL && start->put != NULL;
}

static _Atomic bool has_started;

static MYM_COLD void start_tcmalloc(void)
{
    struct start start = {NULL, NULL};

    if (!atomic_exchange(&has_started, true) && dl_iterate_phdr(find_start, &start))
        start.put(start.take(1));
}

void *tc_malloc(size_t size);
EXPORT void *tc_malloc(size_t size)
{
    if (MYM_UNLIKELY(!atomic_load_explicit(&has_started, memory_order_relaxed)))
        start_tcmalloc();
    return mym_malloc(size);
}

/* ---- one name more for what is here already ---- */

size_t nallocx(size_t size, int flags); /* jemalloc.c */
/* The forms of operator new and delete are in operators.c. */
#define NEW(name, own, parameters, ...) \
    MYM_HIDDEN void *own parameters;    \
    GIVES(name, own, parameters, __VA_ARGS__)
#define DELETE(name, own, parameters, ...) \
    MYM_HIDDEN void own parameters;        \
    TAKES(name, own, parameters, __VA_ARGS__)

/* clang-format off */
GIVES(tc_malloc_skip_new_handler, mym_malloc, (size_t size), size)
GIVES(tc_calloc, mym_calloc, (size_t count, size_t size), count, size)
GIVES(tc_realloc, mym_realloc, (void *ptr, size_t size), ptr, size)
GIVES(tc_memalign, mym_face_memalign, (size_t alignment, size_t size), alignment, size)
GIVES(tc_valloc, mym_face_valloc, (size_t size), size)
GIVES(tc_pvalloc, mym_face_pvalloc, (size_t size), size)
TAKES(tc_free, mym_free, (void *ptr), ptr)
TAKES(tc_cfree, mym_free, (void *ptr), ptr)
TAKES(tc_free_sized, mym_free_sized, (void *ptr, size_t size), ptr, size)
TAKES(tc_free_aligned_sized, mym_free_aligned_sized, (void *ptr, size_t alignment, size_t size), ptr, alignment, size)
TELLS(int, tc_posix_memalign, mym_face_posix_memalign,
      (void **out, size_t alignment, size_t size), out, alignment, size)
TELLS(size_t, tc_malloc_size, mym_usable, (void *ptr), ptr)
TELLS(size_t, tc_nallocx, nallocx, (size_t size, int flags), size, flags)
TELLS(int, tc_mallopt, mym_face_mallopt, (int parameter, int value), parameter, value)
TELLS(struct mallinfo, tc_mallinfo, mym_face_mallinfo, (void))
TELLS(struct mallinfo2, tc_mallinfo2, mym_face_mallinfo2, (void))
TAKES(tc_malloc_stats, mym_face_stats, (void))

NEW(tc_new, own_Znwm, (size_t size), size)
NEW(tc_newarray, own_Znam, (size_t size), size)
NEW(tc_new_nothrow, own_ZnwmRKSt9nothrow_t, (size_t size, const void *nothrow), size, nothrow)
NEW(tc_newarray_nothrow, own_ZnamRKSt9nothrow_t, (size_t size, const void *nothrow), size, nothrow)
NEW(tc_new_aligned, own_ZnwmSt11align_val_t, (size_t size, size_t alignment), size, alignment)
NEW(tc_newarray_aligned, own_ZnamSt11align_val_t, (size_t size, size_t alignment), size, alignment)
NEW(tc_new_aligned_nothrow, own_ZnwmSt11align_val_tRKSt9nothrow_t,
    (size_t size, size_t alignment, const void *nothrow), size, alignment, nothrow)
NEW(tc_newarray_aligned_nothrow, own_ZnamSt11align_val_tRKSt9nothrow_t,
    (size_t size, size_t alignment, const void *nothrow), size, alignment, nothrow)
DELETE(tc_delete, own_ZdlPv, (void *ptr), ptr)
DELETE(tc_deletearray, own_ZdaPv, (void *ptr), ptr)
DELETE(tc_delete_sized, own_ZdlPvm, (void *ptr, size_t size), ptr, size)
DELETE(tc_deletearray_sized, own_ZdaPvm, (void *ptr, size_t size), ptr, size)
DELETE(tc_delete_nothrow, own_ZdlPvRKSt9nothrow_t, (void *ptr, const void *nothrow), ptr, nothrow)
DELETE(tc_deletearray_nothrow, own_ZdaPvRKSt9nothrow_t, (void *ptr, const void *nothrow), ptr, nothrow)
DELETE(tc_delete_aligned, own_ZdlPvSt11align_val_t, (void *ptr, size_t alignment), ptr, alignment)
DELETE(tc_deletearray_aligned, own_ZdaPvSt11align_val_t, (void *ptr, size_t alignment), ptr, alignment)
DELETE(tc_delete_sized_aligned, own_ZdlPvmSt11align_val_t,
       (void *ptr, size_t size, size_t alignment), ptr, size, alignment)
DELETE(tc_deletearray_sized_aligned, own_ZdaPvmSt11align_val_t,
       (void *ptr, size_t size, size_t alignment), ptr, size, alignment)
DELETE(tc_delete_aligned_nothrow, own_ZdlPvSt11align_val_tRKSt9nothrow_t,
       (void *ptr, size_t alignment, const void *nothrow), ptr, alignment, nothrow)
DELETE(tc_deletearray_aligned_nothrow, own_ZdaPvSt11align_val_tRKSt9nothrow_t,
       (void *ptr, size_t alignment, const void *nothrow), ptr, alignment, nothrow)

TELLS(size_t, MallocExtension_GetAllocatedSize, mym_usable, (const void *ptr), ptr)
TELLS(size_t, MallocExtension_GetEstimatedAllocatedSize, mym_good_size, (size_t size), size)
TAKES(MallocExtension_ReleaseFreeMemory, (void)mym_trim, (void), 0)
TAKES(MallocExtension_MarkThreadIdle, mym_cache_drain, (void))
TAKES(MallocExtension_MarkThreadTemporarilyIdle, mym_cache_drain, (void))
/* clang-format on */

/* ---- pointers that are asked about ---- */

enum { OWNED = 1, NOT_OWNED = 2 };

int MallocExtension_GetOwnership(const void *ptr);
EXPORT int MallocExtension_GetOwnership(const void *ptr)
{
    return mym_is_own(ptr) ? OWNED : NOT_OWNED;
}

/* Of what is no object the question ends the program, as a free of it would. */
static int verify(const void *ptr)
{
    mym_usable(ptr);
    return true;
}

/* clang-format off */
TELLS(int, MallocExtension_VerifyMallocMemory, verify, (const void *ptr), ptr)
TELLS(int, MallocExtension_VerifyNewMemory, verify, (const void *ptr), ptr)
TELLS(int, MallocExtension_VerifyArrayNewMemory, verify, (const void *ptr), ptr)
/* clang-format on */

int MallocExtension_VerifyAllMemory(void);
EXPORT int MallocExtension_VerifyAllMemory(void)
{
    return mym_verify() == 0;
}

/* ---- numbers by name: those that are true of this heap ---- */

struct figure {
    const char *name;
    size_t value; /* bytes */
};
#define FIGURES 9

static void read_figures(struct figure *out)
{
    struct mym_info info;

    mym_info_read(&info);
    memcpy(out,
           (struct figure[FIGURES]){
               {"generic.current_allocated_bytes", info.small_used + info.large +
                                                       info.reaps + info.huge +
                                                       info.guarded_bytes},
               {"generic.heap_size",
                info.pages.mapped + info.pages.idle + info.huge + info.guarded_pages},
               {"tcmalloc.pageheap_free_bytes", info.pages.dirty + info.pages.idle},
               {"tcmalloc.pageheap_unmapped_bytes", info.pages.free - info.pages.dirty},
               {"tcmalloc.slack_bytes", info.pages.free + info.pages.idle}, /* both */
               {"tcmalloc.central_cache_free_bytes", info.small_free},
               {"tcmalloc.transfer_cache_free_bytes", info.depots},
               {"tcmalloc.thread_cache_free_bytes", info.caches + info.spans},
               {"tcmalloc.current_total_thread_cache_bytes", info.caches + info.spans},
           },
           FIGURES * sizeof *out);
}

/* True: the name is known. */
int MallocExtension_GetNumericProperty(const char *name, size_t *value);
EXPORT int MallocExtension_GetNumericProperty(const char *name, size_t *value)
{
    struct figure all[FIGURES];

    read_figures(all);
    for (int i = 0; i < FIGURES; i++)
        if (strcmp(all[i].name, name) == 0) {
            *value = all[i].value;
            return true;
        }
    return false;
}

/* None can be written. */
int MallocExtension_SetNumericProperty(const char *name, size_t value);
EXPORT int MallocExtension_SetNumericProperty(const char *name, size_t value)
{
    (void)name;
    (void)value;
    return false;
}

/* As much of the text as there is room for, and its end. */
void MallocExtension_GetStats(char *buffer, int length);
EXPORT void MallocExtension_GetStats(char *buffer, int length)
{
    struct figure all[FIGURES];
    size_t room = length > 0 ? (size_t)length : 0;

    read_figures(all);
    for (int i = 0; i < FIGURES && room > 0; i++) {
        int wrote = snprintf(buffer, room, "%-42s %zu\n", all[i].name, all[i].value);

        if (wrote < 0 || (size_t)wrote >= room)
            break;
        buffer += wrote;
        room -= (size_t)wrote;
    }
}

void MallocExtension_ReleaseToSystem(size_t bytes);
EXPORT void MallocExtension_ReleaseToSystem(size_t bytes)
{
    size_t idle = mym_pages_info().dirty;

    mym_trim(idle > bytes ? idle - bytes : 0);
}

/* ---- the same in C++ ---- */

#define METHOD(mangled) _ZN22TCMallocImplementation##mangled
#define THIS            void *this __attribute__((unused))

/* clang-format off */
TELLS(size_t, METHOD(16GetAllocatedSizeEPKv), mym_usable, (THIS, const void *ptr), ptr)
TELLS(size_t, METHOD(25GetEstimatedAllocatedSizeEm), mym_good_size, (THIS, size_t size), size)
TELLS(int, METHOD(12GetOwnershipEPKv), MallocExtension_GetOwnership, (THIS, const void *ptr), ptr)
TELLS(bool, METHOD(18GetNumericPropertyEPKcPm), MallocExtension_GetNumericProperty,
      (THIS, const char *name, size_t *value), name, value)
TELLS(bool, METHOD(18SetNumericPropertyEPKcm), MallocExtension_SetNumericProperty,
      (THIS, const char *name, size_t value), name, value)
TAKES(METHOD(8GetStatsEPci), MallocExtension_GetStats, (THIS, char *buffer, int length), buffer, length)
TAKES(METHOD(15ReleaseToSystemEm), MallocExtension_ReleaseToSystem, (THIS, size_t bytes), bytes)
TAKES(METHOD(14MarkThreadIdleEv), mym_cache_drain, (THIS))
TAKES(METHOD(25MarkThreadTemporarilyIdleEv), mym_cache_drain, (THIS))
/* clang-format on */
