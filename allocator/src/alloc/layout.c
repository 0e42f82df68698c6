/*
 * layout.c - what a reader from outside needs to know (layout.h).
 */
#include "alloc/layout.h"

#include "alloc/metrics.h"
#include "alloc/reap.h"
#include "alloc/secure.h"
#include "cache/cache.h"
#include "heap/meta.h"
#include "heap/runs.h"
#include "profile/guarded.h"

/* clang-format off */
#define VARIABLE(name) {#name, (uintptr_t)&(name), sizeof(name)}
#define ARRAY(name)    {#name, (uintptr_t)(name), 0}
#define NUMBER(name)   {#name, (uintptr_t)(name), 0}
#define SIZE(type)     {"sizeof " #type, sizeof(struct mym_##type), 0}
#define FIELD(type, field) \
    {#type "." #field, offsetof(struct mym_##type, field), \
     sizeof ((struct mym_##type *)0)->field}

/* used: link-time optimization does not see that the note names it. */
__attribute__((used)) const struct mym_fact mym_layout[] = {
    VARIABLE(mym_heap), VARIABLE(mym_pages), VARIABLE(mym_front), VARIABLE(mym_caches_top),
    VARIABLE(mym_mappings), VARIABLE(mym_reaps), VARIABLE(mym_meta_taken),
    VARIABLE(mym_mode), VARIABLE(mym_class_count), VARIABLE(mym_arena_count),
    VARIABLE(mym_thread_caches), VARIABLE(mym_closed_magazine),
    VARIABLE(mym_none_magazine), VARIABLE(mym_metric_count),
    ARRAY(mym_classes), ARRAY(mym_arenas), ARRAY(mym_mode_names), ARRAY(mym_metrics),
    ARRAY(mym_version),

    NUMBER(MYM_UNIT), NUMBER(MYM_CACHELINE), NUMBER(MYM_LINES_ROOM), NUMBER(MYM_ALIGNMENT), NUMBER(MYM_CLASSES), NUMBER(MYM_SAMPLED),
    NUMBER(MYM_SPAN_CLASSES), NUMBER(MYM_SPAN_SHUT), NUMBER(MYM_SPAN_ROOM), NUMBER(MYM_BIT_WORDS),
    NUMBER(MYM_CHUNK_UNITS), NUMBER(MYM_REAPED),
    NUMBER(MYM_ABSENT), NUMBER(MYM_GONE), NUMBER(MYM_CLEAN), NUMBER(MYM_DIRTY),
    NUMBER(MYM_PURGING), NUMBER(MYM_SLAB), NUMBER(MYM_WINDOW), NUMBER(MYM_LARGE),

    FIELD(heap, base), FIELD(heap, size), FIELD(heap, units), FIELD(heap, bits),
    FIELD(heap, freed), FIELD(heap, cls),
    SIZE(unit), FIELD(unit, next), FIELD(unit, used), FIELD(unit, first),
    FIELD(unit, length), FIELD(unit, arena), FIELD(unit, free), FIELD(unit, reap),
    FIELD(unit, kind), FIELD(unit, cls), FIELD(unit, cached), FIELD(unit, holes),
    FIELD(unit, lines),
    SIZE(class), FIELD(class, size), FIELD(class, objects), FIELD(class, units),
    FIELD(class, entries),
    SIZE(pages), FIELD(pages, end), FIELD(pages, mapped), FIELD(pages, purging),
    FIELD(pages, ledger), FIELD(pages, held), FIELD(pages, purged), FIELD(pages, runs),
    FIELD(pages, idle), FIELD(pages, huge), FIELD(pages, spared),
    SIZE(index), FIELD(index, units), FIELD(index, count), FIELD(index, bins),
    FIELD(ledger, keep), FIELD(ledger, helped), FIELD(ledger, use),
    FIELD(ledger, high), FIELD(ledger, swing),
    SIZE(pool), FIELD(pool, slabs), FIELD(pool, free), FIELD(pool, loaded), FIELD(pool, loaded_objects),
    FIELD(pool, misses), FIELD(pool, overflows),
    SIZE(magazine), FIELD(magazine, next), FIELD(magazine, used),
    {"magazine.entry", offsetof(struct mym_magazine, entry), 0},
    {"no_magazine.ceiling", offsetof(struct mym_no_magazine, ceiling), sizeof(void *)},
    SIZE(cache), FIELD(cache, slot), FIELD(cache, next),
    FIELD(front, caches), NUMBER(MYM_CACHE_SHIFT),
    SIZE(mapping), FIELD(mapping, addr), FIELD(mapping, bytes),
    FIELD(mappings, entry), FIELD(mappings, room), FIELD(mappings, count),
    FIELD(mappings, bytes),
    SIZE(reap), FIELD(reap, own), FIELD(reap, shared), FIELD(reap, held),
    FIELD(reap, next),
    FIELD(bump, at), FIELD(bump, first),

    FIELD(guarded, open), FIELD(guarded, objects), FIELD(guarded, live),
    FIELD(guarded, taken), VARIABLE(mym_guarded),
#if MYM_SECURE_QUARANTINE
    ARRAY(mym_shelves), SIZE(shelf), FIELD(shelf, place), NUMBER(MYM_SHELVES),
    ARRAY(mym_shelf_large), NUMBER(MYM_SHELF_LARGE), VARIABLE(mym_mapping_waiting),
#endif

    SIZE(metric), FIELD(metric, name), FIELD(metric, help), FIELD(metric, label),
    FIELD(metric, value), FIELD(metric, offset), FIELD(metric, counter),
    FIELD(info, pages.mapped), FIELD(info, pages.free), FIELD(info, pages.dirty),
    FIELD(info, pages.idle), FIELD(info, pages.allowance), FIELD(info, pages.purged),
    FIELD(info, pages.huge), FIELD(info, pages.runs), FIELD(info, pages.longest),
    {"info.pages.held.slabs", offsetof(struct mym_info, pages.held[MYM_HOLDS_SLABS]),
     sizeof(size_t)},
    {"info.pages.held.shelf", offsetof(struct mym_info, pages.held[MYM_HOLDS_SHELF]),
     sizeof(size_t)},
    FIELD(info, small_used), FIELD(info, small_free), FIELD(info, caches),
    FIELD(info, spans), FIELD(info, depots), FIELD(info, large), FIELD(info, reaps),
    FIELD(info, huge), FIELD(info, huges), FIELD(info, meta), FIELD(info, rounding),
    FIELD(info, waiting), FIELD(info, waiting_large), FIELD(info, guarded),
    FIELD(info, guarded_bytes), FIELD(info, guarded_pages), FIELD(info, guarded_ever),
    FIELD(info, minor_faults), FIELD(info, major_faults),
    FIELD(info, cls), SIZE(class_info),
    FIELD(class_info, slabs), FIELD(class_info, places), FIELD(class_info, used),
    FIELD(class_info, cached), FIELD(class_info, depot), FIELD(class_info, free),
    FIELD(class_info, misses), FIELD(class_info, overflows),
    NUMBER(MYM_HOLDS_SLABS), NUMBER(MYM_HOLDS_SHELF),
    {NULL, 0, 0},
};
