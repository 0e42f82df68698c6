/*
 * family.c - argument rules of the malloc family, as C11/C23, POSIX and the manual of
 * the GNU C library state them.
 */
#include "face/family.h"

#include "alloc/info.h"
#include "alloc/reap.h"
#include "base/check.h"
#include "base/secure.h"
#include "os/os.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

void *mym_face_reallocarray(void *ptr, size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return mym_realloc(ptr, bytes);
}

/* What lies aligned and fits stays; so does what is made smaller while nothing is left. */
void *mym_face_realloc_aligned(void *ptr, size_t alignment, size_t size)
{
    struct mym_reap *reap = mym_reap_of(ptr);
    bool lies = ((uintptr_t)ptr & (alignment - 1)) == 0;
    size_t old;
    void *object;

    if (ptr == NULL || !mym_face_is_alignment(alignment))
        return mym_face_aligned_alloc(alignment, size);
    if (alignment <= MYM_ALIGNMENT || size == 0)
        return mym_realloc(ptr, size);
    old = mym_usable(ptr);
    if (lies && mym_fits(old, size) && (!MYM_SECURE_SEAL || size == old))
        return ptr;
    object = reap != NULL ? mym_reap_aligned(reap, alignment, size)
                          : mym_aligned(alignment, size);
    if (object == NULL)
        return lies && size <= old ? mym_leave(ptr, size) : NULL;
    memcpy(object, ptr, old < size ? old : size);
    mym_free(ptr);
    return object;
}

void *mym_face_aligned_slow(size_t alignment, size_t size)
{
    if (!mym_face_is_alignment(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return mym_aligned_slow(alignment, size);
}

int mym_face_posix_memalign(void **out, size_t alignment, size_t size)
{
    int saved = errno;
    void *object;

    if (!mym_face_is_alignment(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    object = mym_aligned(alignment, size);
    errno = saved; /* POSIX: the result tells, errno is not touched */
    if (object == NULL)
        return ENOMEM;
    *out = object;
    return 0;
}

void *mym_face_memalign(size_t alignment, size_t size)
{
    if (alignment > SIZE_MAX / 2 + 1) { /* no power of two is that large */
        errno = EINVAL;
        return NULL;
    }
    if (alignment < MYM_ALIGNMENT)
        alignment = MYM_ALIGNMENT;
    if (!mym_face_is_alignment(alignment))
        alignment = (size_t)1 << (64 - __builtin_clzll(alignment));
    return mym_aligned(alignment, size);
}

void *mym_face_valloc(size_t size)
{
    return mym_aligned(mym_os_page(), size);
}

size_t mym_face_whole_pages(size_t size)
{
    size_t page = mym_os_page();

    return size > SIZE_MAX - page ? SIZE_MAX : mym_round_up(size, page);
}

void *mym_face_pvalloc(size_t size)
{
    return mym_aligned(mym_os_page(), mym_face_whole_pages(size));
}

int mym_face_trim(size_t pad)
{
    return mym_trim(pad);
}

int mym_face_mallopt(int parameter, int value)
{
    if (parameter == M_TRIM_THRESHOLD) /* what may stay: MYMALLOC_KEEP */
        mym_idle_set_keep(value < 0 ? SIZE_MAX / 2 : (size_t)value);
    if (parameter == M_MMAP_MAX && !MYM_SECURE) /* there large ones lose their pages */
        mym_idle_set_unmapped(value == 0);
    return 1; /* programs end for a 0, and glibc's has none even for what it does not know */
}

struct mallinfo2 mym_face_mallinfo2(void)
{
    struct mym_info info;
    struct mallinfo2 out = {0};

    mym_info_read(&info);
    out.arena = info.pages.mapped + info.guarded_pages;
    out.ordblks = info.pages.runs;
    out.hblks = info.huges;
    out.hblkhd = info.huge;
    out.smblks = info.cached == 0 ? 0 : 1;
    out.fsmblks = info.cached;
    out.uordblks = info.large + info.reaps + info.small_used + info.guarded_bytes;
    out.fordblks = out.arena - (out.uordblks < out.arena ? out.uordblks : out.arena);
    out.keepcost = info.pages.dirty;
    return out;
}

static int clip(size_t value)
{
    return value > INT_MAX ? INT_MAX : (int)value;
}

struct mallinfo mym_face_mallinfo(void)
{
    struct mallinfo2 wide = mym_face_mallinfo2();

    return (struct mallinfo){
        .arena = clip(wide.arena),
        .ordblks = clip(wide.ordblks),
        .smblks = clip(wide.smblks),
        .hblks = clip(wide.hblks),
        .hblkhd = clip(wide.hblkhd),
        .usmblks = clip(wide.usmblks),
        .fsmblks = clip(wide.fsmblks),
        .uordblks = clip(wide.uordblks),
        .fordblks = clip(wide.fordblks),
        .keepcost = clip(wide.keepcost),
    };
}

/* snprintf formats integers without allocating; stdio streams might not. */
__attribute__((format(printf, 1, 2))) static void print_line(const char *format, ...)
{
    char line[160];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (length > 0)
        mym_say(line, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1);
}

void mym_face_stats(void)
{
    struct mym_info info;
    const double mib = 1 << 20;
    size_t shelf, large;

    mym_info_read(&info);
    shelf = info.pages.held[MYM_HOLDS_SHELF];
    large = info.waiting_large;
    print_line("mymalloc: front end %s\n", mym_mode_name());
    print_line("%-34s %12.2f MiB\n", "heap mapped", (double)info.pages.mapped / mib);
    print_line("%-34s %12.2f MiB\n", "  small objects in use",
               (double)info.small_used / mib);
    print_line("%-34s %12.2f MiB\n", "  cached for reuse", (double)info.cached / mib);
    print_line("%-34s %12.2f MiB\n", "  free places in slabs",
               (double)info.small_free / mib);
    print_line("%-34s %12.2f MiB\n", "  large objects", (double)info.large / mib);
    print_line("%-34s %12.2f MiB\n", "  held by arenas (MyArenaCreate)",
               (double)info.reaps / mib);
    print_line("%-34s %12.2f MiB in %zu runs\n", "  free pages",
               (double)info.pages.free / mib, info.pages.runs);
    print_line("%-34s %12.2f MiB in %zu mappings\n", "own mappings",
               (double)info.huge / mib, info.huges);
    print_line("%-34s %12.2f MiB\n", "in huge pages, or to be",
               (double)info.pages.huge / mib);
    print_line("%-34s %12.2f MiB, %.2f may stay\n", "idle",
               (double)(info.pages.dirty + info.pages.idle +
                        info.pages.held[MYM_HOLDS_SLABS] + info.cached + shelf +
                        info.meta) /
                   mib,
               (double)info.pages.allowance / mib);
    print_line("%-34s %12.2f MiB\n", "  free pages", (double)info.pages.dirty / mib);
    print_line("%-34s %12.2f MiB\n", "  freed own mappings",
               (double)info.pages.idle / mib);
    print_line("%-34s %12.2f MiB\n", "  slabs with few objects or none",
               (double)info.pages.held[MYM_HOLDS_SLABS] / mib);
    print_line("%-34s %12.2f MiB\n", "  depots", (double)info.depots / mib);
    print_line("%-34s %12.2f MiB, %.2f of large objects\n", "  caches",
               (double)(info.caches + info.spans) / mib, (double)info.spans / mib);
    if (MYM_SECURE_QUARANTINE)
        print_line("%-34s %12.2f MiB, %.2f of large objects, and %.2f not resident\n",
                   "  quarantine", (double)(info.waiting + shelf) / mib,
                   (double)shelf / mib,
                   (double)(large > shelf ? large - shelf : 0) / mib);
    print_line("%-34s %12.2f MiB\n", "  records", (double)info.meta / mib);
    if (info.guarded_ever > 0)
        print_line("%-34s %12.2f MiB in %zu objects of %zu so far\n", "guarded samples",
                   (double)info.guarded_bytes / mib, info.guarded, info.guarded_ever);
    print_line("%-34s %12.2f MiB\n", "given back since start",
               (double)info.pages.purged / mib);
    print_line("%8s %8s %10s %10s %10s %10s %10s %10s\n", "size", "slabs", "in use",
               "cached", "depot", "free", "misses", "overflows");
    for (unsigned i = 1; i < mym_class_count; i++) {
        const struct mym_class_info *cls = &info.cls[i];

        if (cls->misses + cls->overflows + cls->places > 0)
            print_line("%8u %8zu %10zu %10zu %10zu %10zu %10llu %10llu\n",
                       mym_classes[i].size, cls->slabs, cls->used, cls->cached,
                       cls->depot, cls->free, (unsigned long long)cls->misses,
                       (unsigned long long)cls->overflows);
    }
}

/*
 * Of a heap, and of all again: programs look for these by name and by their order. The most that was
 * mapped nobody counts.
 */
static void write_totals(FILE *stream, const struct mym_info *info, bool all)
{
    size_t mapped = info->pages.mapped + info->guarded_pages, cached = 0;

    for (unsigned i = 1; i < mym_class_count; i++)
        cached += info->cls[i].cached + info->cls[i].depot;
    fprintf(stream,
            "<total type=\"fast\" count=\"%zu\" size=\"%zu\"/>\n"
            "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n",
            cached, info->cached, info->pages.runs,
            info->small_free + info->pages.free);
    if (all)
        fprintf(stream, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n",
                info->huges, info->huge);
    fprintf(stream,
            "<system type=\"current\" size=\"%zu\"/>\n"
            "<system type=\"max\" size=\"%zu\"/>\n"
            "<aspace type=\"total\" size=\"%zu\"/>\n"
            "<aspace type=\"mprotect\" size=\"%zu\"/>\n",
            mapped, mapped, mapped, mapped);
}

int mym_face_malloc_info(int options, FILE *stream)
{
    struct mym_info info;

    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    mym_info_read(&info);
    fprintf(stream, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n");
    for (unsigned i = 1; i < mym_class_count; i++) {
        size_t size = mym_classes[i].size, free = info.cls[i].places - info.cls[i].used;

        if (free > 0)
            fprintf(stream,
                    "<size from=\"%u\" to=\"%zu\" total=\"%zu\" count=\"%zu\"/>\n",
                    mym_class_before(i) + 1, size, free * size, free);
    }
    fprintf(stream, "</sizes>\n");
    write_totals(stream, &info, false);
    fprintf(stream, "</heap>\n");
    write_totals(stream, &info, true);
    fprintf(stream, "</malloc>\n");
    return ferror(stream) ? -1 : 0;
}
