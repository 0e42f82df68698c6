/*
 * shadow.c - a two-level table over all addresses of a program: root -> leaf of 2 MiB.
 *
 * Both levels are private mappings: touched lazily, and a forked child has its own.
 */
#include "shadow.h"

#include "check.h"

#include <stdatomic.h>
#include <sys/mman.h>

#define GRANULE    16
#define LEAF_SHIFT 21
#define LEAF       ((size_t)1 << LEAF_SHIFT)
#ifdef __x86_64__
#define BITS 47
#else
#define BITS 48
#endif
#define ROOT        ((size_t)1 << (BITS - LEAF_SHIFT))
#define WHOLE_BELOW 8192 /* smaller objects mark every granule */
#define PAGE        4096

typedef _Atomic uint8_t owner;

static _Atomic(owner *) *root;

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    CHECK(p != MAP_FAILED);
    return p;
}

void shadow_init(void)
{
    root = map(ROOT * sizeof(*root));
}

static owner *owner_of(uintptr_t address)
{
    _Atomic(owner *) *entry = &root[address >> LEAF_SHIFT];
    owner *leaf = atomic_load(entry);

    CHECKF(address >> BITS == 0, "0x%lx", (unsigned long)address);
    if (!leaf) {
        void *fresh = map(LEAF / GRANULE);

        if (atomic_compare_exchange_strong(entry, &leaf, fresh))
            leaf = fresh;
        else
            munmap(fresh, LEAF / GRANULE);
    }
    return &leaf[(address & (LEAF - 1)) / GRANULE];
}

/* The next granule to mark: all of a small object; of a large one ends and pages. */
static uintptr_t next_granule(uintptr_t at, uintptr_t start, uintptr_t end)
{
    if (end - start <= WHOLE_BELOW || at - start < 512 || end - at <= 512 + GRANULE)
        return at + GRANULE;
    at = (at | (PAGE - 1)) + 1;
    return at < end - 512 ? at : (end - 512) & ~(uintptr_t)(GRANULE - 1);
}

static void set_owner(const void *p, size_t size, uint8_t from, uint8_t to)
{
    uintptr_t start = (uintptr_t)p, end = start + (size ? size : 1);

    for (uintptr_t at = start; at < end; at = next_granule(at, start, end)) {
        uint8_t was = atomic_exchange(owner_of(at), to);

        CHECKF(was == from,
               "byte %zu of %p (%zu bytes) belongs to object %u, not to %u",
               (size_t)(at - start), p, size, was, from);
    }
}

void shadow_claim(const void *p, size_t size, uint8_t tag)
{
    set_owner(p, size, 0, tag);
}

void shadow_release(const void *p, size_t size, uint8_t tag)
{
    set_owner(p, size, tag, 0);
}
