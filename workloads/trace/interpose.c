/*
 * interpose.c - the malloc family in front of the program's own, for LD_PRELOAD.
 *
 * Every function calls the next one of its name and has the call recorded. Looking the
 * next one up may itself allocate; until it is found, memory comes from a small static
 * pool that is never given back.
 */
#include "interpose.h"
#include "format.h"
#include "recorder.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *memalign(size_t alignment, size_t size);
void *valloc(size_t size);
void *pvalloc(size_t size);
void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t alignment, size_t size);

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*memalign)(size_t, size_t);
    void *(*valloc)(size_t);
    void *(*pvalloc)(size_t);
    void (*free_sized)(void *, size_t);
    void (*free_aligned_sized)(void *, size_t, size_t);
    void (*free)(void *);
} next;
static _Atomic bool is_found;
static __thread bool is_looking __attribute__((tls_model("initial-exec")));

/* ---- the pool that serves dlsym ---- */

static alignas(16) char pool[16384];
static _Atomic size_t pool_used;

static bool is_in_pool(const void *p)
{
    return (uintptr_t)p - (uintptr_t)pool < sizeof(pool);
}

/* Zeroed, since never used before. The size is kept in front of the object. */
static void *pool_take(size_t size)
{
    size_t whole = (size + 31) & ~(size_t)15;
    size_t at =
        size > sizeof(pool) ? sizeof(pool) : atomic_fetch_add(&pool_used, whole);

    if (at > sizeof(pool) - 16 || whole > sizeof(pool) - at) {
        errno = ENOMEM;
        return NULL;
    }
    memcpy(pool + at, &size, sizeof(size));
    return pool + at + 16;
}

static size_t pool_size(const void *p)
{
    size_t size;

    memcpy(&size, (const char *)p - 16, sizeof(size));
    return size;
}

static _Noreturn void give_up(const char *name)
{
    static const char text[] =
        "mymalloc-trace: no other definition of this is loaded: ";

    if (write(2, text, sizeof(text) - 1) < 0 || write(2, name, strlen(name)) < 0 ||
        write(2, "\n", 1) < 0)
        abort();
    abort();
}

static void look_up(void *where, const char *name, bool must)
{
    void *found = dlsym(RTLD_NEXT, name);

    if (!found && must)
        give_up(name);
    memcpy(where, &found, sizeof(found));
}

static __attribute__((noinline, cold)) bool find_next_slow(void)
{
    if (is_looking)
        return false;
    is_looking = true;
    look_up(&next.malloc, "malloc", true);
    look_up(&next.calloc, "calloc", true);
    look_up(&next.realloc, "realloc", true);
    look_up(&next.free, "free", true);
    look_up(&next.posix_memalign, "posix_memalign", true);
    look_up(&next.aligned_alloc, "aligned_alloc", true);
    look_up(&next.memalign, "memalign", false);
    look_up(&next.valloc, "valloc", false);
    look_up(&next.pvalloc, "pvalloc", false);
    look_up(&next.free_sized, "free_sized", false);
    look_up(&next.free_aligned_sized, "free_aligned_sized", false);
    atomic_store(&is_found, true);
    is_looking = false;
    return true;
}

/* False while this thread is looking the functions up: the pool serves it then. */
static bool find_next(void)
{
    return atomic_load_explicit(&is_found, memory_order_acquire) || find_next_slow();
}

/* ---- taking ---- */

EXPORT void *malloc(size_t size)
{
    bool on;
    void *p;

    if (!find_next())
        return pool_take(size);
    on = recorder_enter();
    p = next.malloc(size);
    if (on) {
        recorder_took(TRACE_MALLOC, size, p);
        recorder_leave();
    }
    return p;
}

EXPORT void *calloc(size_t count, size_t size)
{
    size_t bytes;
    bool on, fits = !__builtin_mul_overflow(count, size, &bytes);
    void *p;

    if (!find_next())
        return fits ? pool_take(bytes) : NULL;
    on = recorder_enter();
    p = next.calloc(count, size);
    if (on) {
        recorder_took(TRACE_CALLOC, fits ? bytes : SIZE_MAX, p);
        recorder_leave();
    }
    return p;
}

static void took_aligned(size_t alignment, size_t size, const void *p)
{
    recorder_took_aligned(alignment, size, p);
    recorder_leave();
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    bool on = find_next() && recorder_enter();
    void *p = next.aligned_alloc(alignment, size);

    if (on)
        took_aligned(alignment, size, p);
    return p;
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    bool on = find_next() && recorder_enter();
    int error = next.posix_memalign(out, alignment, size);

    if (on)
        took_aligned(alignment, size, error ? NULL : *out);
    return error;
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    bool on = find_next() && recorder_enter();
    void *p = next.memalign ? next.memalign(alignment, size)
                            : next.aligned_alloc(alignment, size);

    if (on)
        took_aligned(alignment, size, p);
    return p;
}

EXPORT void *valloc(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    bool on = find_next() && recorder_enter();
    void *p = next.valloc ? next.valloc(size) : next.aligned_alloc(page, size);

    if (on)
        took_aligned(page, size, p);
    return p;
}

EXPORT void *pvalloc(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t whole = (size + page - 1) & ~(page - 1);
    bool on = find_next() && recorder_enter();
    void *p = next.pvalloc ? next.pvalloc(size) : next.aligned_alloc(page, whole);

    if (on)
        took_aligned(page, whole, p);
    return p;
}

/* ---- resizing ---- */

static void *move_out_of_pool(const void *p, size_t size)
{
    size_t old = pool_size(p);
    void *fresh = malloc(size);

    if (fresh)
        memcpy(fresh, p, old < size ? old : size);
    return fresh;
}

EXPORT void *realloc(void *p, size_t size)
{
    uintptr_t from = (uintptr_t)p;
    uint64_t ticket;
    void *fresh;

    if (is_in_pool(p))
        return move_out_of_pool(p, size);
    if (!find_next())
        return pool_take(size);
    if (!recorder_enter())
        return next.realloc(p, size);
    if (!p) {
        fresh = next.realloc(NULL, size);
        recorder_took(TRACE_FRESH, size, fresh);
    } else {
        ticket = recorder_ticket();
        fresh = next.realloc(p, size);
        if (fresh)
            recorder_moved(ticket, size, from, fresh);
        else if (size == 0) /* glibc: that was a free */
            recorder_freed(ticket, (const void *)from);
        else
            recorder_took(TRACE_FRESH, size, NULL);
    }
    recorder_leave();
    return fresh;
}

EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(p, bytes);
}

/* ---- giving back ---- */

bool record_free(const void *p, bool *on)
{
    if (!p || is_in_pool(p) || !find_next())
        return false;
    *on = !recorder_is_freeing(p) && recorder_enter();
    if (*on)
        recorder_freed(recorder_ticket(), p);
    return true;
}

void record_free_end(bool on)
{
    if (on)
        recorder_leave();
}

EXPORT void free(void *p)
{
    bool on;

    if (!record_free(p, &on))
        return;
    next.free(p);
    record_free_end(on);
}

EXPORT void free_sized(void *p, size_t size)
{
    bool on;

    if (!record_free(p, &on))
        return;
    if (next.free_sized)
        next.free_sized(p, size);
    else
        next.free(p);
    record_free_end(on);
}

EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size)
{
    bool on;

    if (!record_free(p, &on))
        return;
    if (next.free_aligned_sized)
        next.free_aligned_sized(p, alignment, size);
    else
        next.free(p);
    record_free_end(on);
}

/* Start before main even if nothing has allocated yet. */
static __attribute__((constructor)) void start(void)
{
    if (find_next() && recorder_enter())
        recorder_leave();
}
