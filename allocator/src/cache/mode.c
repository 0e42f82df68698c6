/*
 * mode.c - which front end serves the process: chosen at start, and why.
 *
 * A cache belongs to an id that the kernel keeps in a thread's rseq area, mm_cid or cpu_id;
 * the area is libc's, or our own where libc has none (area.c). Where sequences cannot be used
 * a cache belongs to a thread.
 *
 * Locking: none; written once, by the constructor.
 */
#include "cache/cache.h"

#include "base/check.h"
#include "base/secure.h"
#include "os/os.h"

#include <string.h>
#include <sys/auxv.h>

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#endif

/* struct rseq of <linux/rseq.h>; the headers of older systems lack mm_cid. */
#define RSEQ_CPU_ID   4
#define RSEQ_CS       8
#define RSEQ_MM_CID   24
#define RSEQ_CID_SIZE 28 /* feature size from which mm_cid is live */

/* glibc 2.35 and later; absent elsewhere. */
extern const ptrdiff_t __rseq_offset MYM_MAYBE;
extern const unsigned int __rseq_size MYM_MAYBE;

MYM_FIXED enum mym_mode mym_mode;
const char *const mym_mode_names[] = {"none yet", "tls", "rseq-cpu_id", "rseq-mm_cid"};
MYM_FIXED const char *mym_mode_reason = "the program is still starting";

/* Where the kernel keeps the CPU's number, from the thread pointer; 0: nowhere. */
static ptrdiff_t cpu_id;

void mym_mode_init(void)
{
    mym_hot.rseq_cs = mym_area_offset() + RSEQ_CS;
    mym_hot.rseq_id = mym_area_offset() + RSEQ_CPU_ID;
}

MYM_SLOW unsigned mym_mode_cpu(unsigned otherwise)
{
    if (cpu_id == 0)
        return otherwise;
    return *(volatile uint32_t *)((char *)__builtin_thread_pointer() + cpu_id);
}

const char *mym_mode_name(void)
{
    return mym_mode_names[mym_mode];
}

static bool wants(const char *wish, const char *name)
{
    return wish != NULL && strcmp(wish, name) == 0;
}

static bool libc_has_areas(void)
{
    return &__rseq_offset != NULL;
}

/* Why restartable sequences cannot be used here, or NULL. */
static const char *rseq_refusal(bool may_register)
{
#ifdef MYM_SANITIZED
    (void)may_register;
    return "built with a sanitizer, which cannot see into the sequences";
#else
    if (!mym_os_can_restart())
        return "arm64 kernels from 6.19 to 7.0.13 do not restart sequences";
    if (!libc_has_areas())
        return may_register && mym_area_start()
                   ? NULL
                   : "rseq is registered neither by the C library nor by mymalloc";
    if (__rseq_size == 0)
        return "rseq is not registered (old kernel, valgrind, or glibc.pthread.rseq=0)";
    if (*(int32_t *)((char *)__builtin_thread_pointer() + __rseq_offset + RSEQ_CPU_ID) <
        0)
        return "the kernel refused to register rseq";
    return NULL;
#endif
}

void mym_mode_start(const char *wish)
{
    bool tls = wants(wish, "tls");
    const char *refusal = rseq_refusal(!tls);
    ptrdiff_t area = libc_has_areas() ? __rseq_offset : mym_area_offset();
    bool cid = getauxval(AT_RSEQ_FEATURE_SIZE) >= RSEQ_CID_SIZE;

    if (refusal == NULL)
        cpu_id = area + RSEQ_CPU_ID;
    if (tls)
        refusal = "asked for by MYMALLOC_FRONTEND";
    if (refusal != NULL) {
        mym_mode_reason = refusal;
        if (mym_thread_init())
            mym_mode = MYM_MODE_TLS;
        return;
    }
    if (wants(wish, "mm_cid") && !cid)
        mym_warn("MYMALLOC_FRONTEND=mm_cid needs Linux 6.3", "cpu_id is used");
    cid = cid && !wants(wish, "cpu_id");
    mym_hot.rseq_cs = area + RSEQ_CS;
    mym_hot.rseq_id = area + (cid ? RSEQ_MM_CID : RSEQ_CPU_ID);
    mym_mode = cid ? MYM_MODE_MM_CID : MYM_MODE_CPU_ID;
    mym_mode_reason =
        cid ? "rseq with mm_cid: ids are dense, one cache per thread that runs"
            : "rseq with cpu_id: one cache per CPU";
    if (!libc_has_areas())
        mym_mode_reason = "rseq, registered by mymalloc, as the C library does not";
}
