/*
 * misuses.c - the cases of misuse.c, and those that a build does not always catch.
 */
#include "misuse.h"

#include <stddef.h>

/* clang-format off */
/* Of each door, the sized ones first. */
#define SIZED_DOOR(kind, what, size, at) \
    {kind, what "-delete-sized", size, DELETE_SIZED, at}, \
    {kind, what "-delete-array-sized", size, DELETE_ARRAY_SIZED, at}, \
    {kind, what "-delete-aligned-sized", size, DELETE_ALIGNED_SIZED, at}, \
    {kind, what "-free-sized", size, FREE_SIZED, at}, \
    {kind, what "-free-aligned-sized", size, FREE_ALIGNED_SIZED, at}, \
    {kind, what "-sdallocx", size, SDALLOCX, at}, \
    {kind, what "-sdallocx-past", size, SDALLOCX_PAST, at}, \
    {kind, what "-tc-free-sized", size, TC_FREE_SIZED, at}

#define EACH_DOOR(kind, what, size, at) \
    SIZED_DOOR(kind, what, size, at), \
    {kind, what "-delete", size, DELETE, at}, \
    {kind, what "-delete-array", size, DELETE_ARRAY, at}, \
    {kind, what "-realloc-to-zero", size, REALLOC_TO_ZERO, at}, \
    {kind, what "-dallocx-past", size, DALLOCX_PAST, at}, \
    {kind, what "-mi-free", size, MI_FREE, at}

#define ALIGNED(what, size, alignment, inside) \
    {"aligned-twice", what, size, alignment, 0}, \
    {"aligned-overflow", what, size, alignment, 0}, \
    {"aligned-underflow", what, size, alignment, 0}, \
    {"aligned-interior", what, size, alignment, inside}, \
    {"aligned-write-after-free", what, size, alignment, 0}

#define LONG(what, size) \
    {"twice-at-once", what, size, 0, 0}, \
    {"twice-after-another", what, size, 0, 0}, \
    {"twice-by-a-thread", what, size, 0, 0}, \
    {"write-after-free", what, size, 8, 0}, \
    {"read-after-reuse", what, size, 0, 0}, \
    {"write-after-reuse", what, size, 0, 0}, \
    {"twice-after-reuse", what, size, 0, 0}, \
    {"realloc-of-freed", what, size, 0, 0}, \
    {"usable-of-freed", what, size, 0, 0}, \
    {"free-interior", what, size, 0, 65536}, \
    {"realloc-twice", what, size, 0, 0}, \
    {"write-after-trim", what, size, 0, 0}, \
    {"twice-by-zero", what, size, 0, 0}, \
    {"read-after-free", what, size, 0, (size) / 2}

#define BOUND(what, size) \
    {"overflow", what "-by-1", size, 1, 0}, \
    {"overflow", what "-by-8", size, 8, 0}, \
    {"underflow", what "-by-1", size, 1, 0}, \
    {"underflow", what "-by-8", size, 8, 0}

#define ATTACKS(what, size) \
    {"dup-consolidated", what, size, 300000, 0}, \
    {"botcake", what, size, 0, 0}, \
    {"shorter-header", what, size, 0, 0}, \
    {"links-to-target", what, size, 0, 0}, \
    {"heads", what, size, 0, 0}, \
    {"stash", what, size, 0, 0}, \
    {"link-is-read", what, size, 0, 0}

#define THREADS(what, size) \
    {"write-by-a-thread", what, size, 0, 0}, \
    {"twice-by-three-threads", what, size, 0, 0}

#define EACH_SIZE(kind) \
    {kind, "24", 24, 0, 0}, \
    {kind, "1000", 1000, 0, 0}, \
    {kind, "20000", 20000, 0, 0}, \
    {kind, "300000", 300000, 0, 0}

#define CALLOC(what, size) \
    {"calloc-after-write", what "-first", size, 0, 0}, \
    {"calloc-after-write", what "-middle", size, 0, (size) / 2}
/* clang-format on */

/* kind, name, bytes of the object, bytes written or claimed, offset (behind it: of an overflow) or place */
const struct misuse misuse[] = {
    BOUND("24", 24),
    {"overflow", "24-by-page", 24, 4096, 0},
    BOUND("100", 100),
    {"overflow", "100-by-page", 100, 4096, 0},
    BOUND("1000", 1000),
    {"overflow", "1000-by-page", 1000, 4096, 0},
    BOUND("20000", 20000),
    {"overflow", "20000-by-page", 20000, 4096, 0},
    BOUND("100000", 100000),
    {"overflow", "100000-by-page", 100000, 4096, 0},
    BOUND("300000", 300000),
    {"overflow", "300000-by-page", 300000, 4096, 0},
    BOUND("40M", 40000000),
    {"overflow", "40M-by-page", 40000000, 4096, 0},
    {"overflow", "260-at-8", 260, 1,
     8}, /* the first 8 bytes behind it are as they were */
    {"underflow", "24-by-page", 24, 4096, 0},
    {"underflow", "100-by-page", 100, 4096, 0},
    {"underflow", "1000-by-page", 1000, 4096, 0},
    {"underflow", "20000-by-page", 20000, 4096, 0},
    {"underflow", "100000-by-page", 100000, 4096, 0},
    {"underflow", "300000-by-page", 300000, 4096, 0},
    {"underflow", "40M-by-page", 40000000, 4096, 0},
    BOUND("64", 64),
    {"string-end", "24", 24, 0, 0},
    {"string-end", "64", 64, 0, 0},
    {"string-end", "1024", 1024, 0, 0},
    {"string-end", "20000", 20000, 0, 0},
    {"read-beyond", "24-by-64", 24, 64, 0},
    {"read-beyond", "1000-by-64", 1000, 64, 0},
    {"read-beyond", "20000-by-64", 20000, 64, 0},
    {"read-beyond", "300000-by-64", 300000, 64, 0},
    {"write-after-free", "24-first", 24, 8, 0},
    {"write-after-free", "24-last", 24, 8, 16},
    {"write-after-free", "100-middle", 100, 8, 56},
    {"write-after-free", "1000-middle", 1000, 8, 504},
    {"write-after-free", "1000-first", 1000, 8, 0},
    {"write-after-free", "1000-last", 1000, 8, 992},
    {"write-after-free", "20000-first", 20000, 8, 0},
    {"write-after-free", "20000-last", 20000, 8, 19992},
    {"write-after-free", "100000-first", 100000, 8, 0},
    {"write-after-free", "100000-last", 100000, 8, 99992},
    {"write-after-free", "300000-first", 300000, 8, 0},
    {"write-after-free", "300000-last", 300000, 8, 299992},
    {"write-after-free", "40M-first", 40000000, 8, 0},
    {"write-after-free", "40M-last", 40000000, 8, 39999992},
    {"read-after-free", "24", 24, 0, 16},
    {"read-after-free", "1000", 1000, 0, 992},
    {"read-after-free", "20000", 20000, 0, 19992},
    {"read-after-free", "100000", 100000, 0, 99992},
    {"read-after-free", "300000", 300000, 0, 299992},
    {"read-after-free", "40M", 40000000, 0, 39999992},
    {"read-after-free", "1000-first", 1000, 0, 0},
    {"read-after-free", "1000-middle", 1000, 0, 500},
    {"read-after-free", "20000-middle", 20000, 0, 10000},
    EACH_SIZE("read-after-reuse"),
    EACH_SIZE("write-after-reuse"),
    {"twice-at-once", "24", 24, 0, 0},
    {"twice-at-once", "1000", 1000, 0, 0},
    {"twice-at-once", "20000", 20000, 0, 0},
    {"twice-at-once", "100000", 100000, 0, 0},
    {"twice-at-once", "300000", 300000, 0, 0},
    {"twice-at-once", "40M", 40000000, 0, 0},
    {"twice-after-another", "24", 24, 0, 0},
    {"twice-after-another", "1000", 1000, 0, 0},
    {"twice-after-another", "20000", 20000, 0, 0},
    {"twice-after-another", "100000", 100000, 0, 0},
    {"twice-after-another", "300000", 300000, 0, 0},
    {"twice-after-many", "24", 24, 0, 0},
    {"twice-after-many", "1000", 1000, 0, 0},
    {"twice-after-many", "20000", 20000, 0, 0},
    EACH_SIZE("twice-by-a-thread"),
    EACH_SIZE("twice-after-reuse"),
    {"twice-by-realloc", "24", 24, 0, 0},
    {"twice-by-realloc", "1000", 1000, 0, 0},
    {"twice-by-realloc", "300000", 300000, 0, 0},
    {"free-foreign", "stack", 64, 0, STACK},
    {"free-foreign", "static", 64, 0, STATIC},
    {"free-foreign", "mapped", 64, 0, MAPPED},
    {"free-foreign", "code", 64, 0, CODE},
    {"free-foreign", "break", 64, 0, BREAK},
    {"free-foreign", "integer", 64, 0, INTEGER},
    {"realloc-foreign", "static", 64, 0, STATIC},
    {"realloc-foreign", "mapped", 64, 0, MAPPED},
    {"free-interior", "100-at-16", 100, 0, 16},
    {"free-interior", "100-at-8", 100, 0, 8},
    {"free-interior", "100-at-1", 100, 0, 1},
    {"free-interior", "1000-at-512", 1000, 0, 512},
    {"free-interior", "20000-at-4096", 20000, 0, 4096},
    {"free-interior", "100000-at-4096", 100000, 0, 4096},
    {"free-interior", "300000-at-16", 300000, 0, 16},
    {"free-interior", "300000-at-65536", 300000, 0, 65536},
    {"free-interior", "40M-at-4096", 40000000, 0, 4096},
    {"realloc-interior", "1000-at-512", 1000, 0, 512},
    {"realloc-interior", "20000-at-4096", 20000, 0, 4096},
    {"realloc-interior", "300000-at-4096", 300000, 0, 4096},
    {"free-forged", "24", 24, 0, 0},
    {"free-forged", "100", 100, 0, 0},
    {"free-forged", "1000", 1000, 0, 0},
    EACH_SIZE("realloc-of-freed"),
    {"usable-of-freed", "24", 24, 0, 0},
    {"usable-of-freed", "1000", 1000, 0, 0},
    {"usable-of-freed", "300000", 300000, 0, 0},
    {"sized-wrongly", "24-as-8", 24, 8, 0},
    {"sized-wrongly", "100-as-64", 100, 64, 0},
    {"sized-wrongly", "100-as-200", 100, 200, 0},
    {"sized-wrongly", "1000-as-24", 1000, 24, 0},
    {"sized-wrongly", "1000-as-300000", 1000, 300000, 0},
    {"sized-wrongly", "300000-as-1000", 300000, 1000, 0},
    {"aligned-wrongly", "100-as-4096", 100, 4096, 0},
    {"aligned-wrongly", "1000-as-4096", 1000, 4096, 0},
    {"poison", "24-plain", 24, 0, 0},
    {"poison", "24-hidden", 24, 0, 1},
    {"poison", "100-plain", 100, 0, 0},
    {"poison", "100-hidden", 100, 0, 1},
    {"poison", "1000-plain", 1000, 0, 0},
    {"poison", "1000-hidden", 1000, 0, 1},
    {"longer-header", "100", 100, 0, 0},
    {"longer-header", "1000", 1000, 0, 0},
    {"longer-header", "20000", 20000, 0, 0},
    {"links", "100", 100, 0, 0},
    {"links", "1000", 1000, 0, 0},
    {"links", "20000", 20000, 0, 0},
    {"twice-without-key", "24", 24, 0, 0},
    {"twice-without-key", "1000", 1000, 0, 0},
    {"overflow-shrunk", "1000-to-600", 1000, 1, 600},
    {"overflow-shrunk", "100-to-80", 100, 1, 80},
    {"overflow-shrunk", "300000-to-200000", 300000, 1, 200000},
    {"overflow-calloced", "100-by-1", 100, 1, 0},
    {"overflow-calloced", "20000-by-1", 20000, 1, 0},
    {"overflow-aligned", "200-at-64", 200, 1, 64},
    {"overflow-aligned", "4000-at-4096", 4000, 1, 4096},
    {"overflow-then-realloc", "24-by-8", 24, 8, 0},
    {"overflow-then-realloc", "1000-by-8", 1000, 8, 0},
    {"overflow-then-realloc", "300000-by-8", 300000, 8, 0},
    EACH_SIZE("write-after-trim"),
    {"calloc-after-trim", "24", 24, 8, 0},
    {"calloc-after-trim", "1000", 1000, 8, 496},
    {"calloc-after-trim", "20000", 20000, 8, 10000},
    {"calloc-after-trim", "300000", 300000, 8, 150000},
    EACH_SIZE("twice-by-zero"),
    EACH_SIZE("twice-by-handler"),
    EACH_SIZE("twice-at-thread-end"),
    EACH_SIZE("twice-together"),
    EACH_SIZE("twice-by-child"),
    {"twice-after-write", "24-x", 24, 0, 'x'},
    {"twice-after-write", "24-0", 24, 0, 0},
    {"twice-after-write", "1000-x", 1000, 0, 'x'},
    {"twice-after-write", "1000-0", 1000, 0, 0},
    {"twice-after-write", "20000-x", 20000, 0, 'x'},
    {"twice-after-write", "20000-0", 20000, 0, 0},
    {"free-wild", "1", 64, 0, 0},
    {"free-wild", "15", 64, 0, 1},
    {"free-wild", "16", 64, 0, 2},
    {"free-wild", "bit-47", 64, 0, 3},
    {"free-wild", "bit-63", 64, 0, 4},
    {"free-wild", "last", 64, 0, 5},
    {"free-wild", "last-aligned", 64, 0, 6},
    {"free-wild", "half", 64, 0, 7},
    {"free-constant", "64", 64, 0, 0},
    {"free-end", "64", 64, 0, 0},
    {"free-end", "1024", 1024, 0, 0},
    {"free-end", "20000", 20000, 0, 0},
    {"free-end", "32768", 32768, 0, 0},
    {"free-aligned-interior", "1000-at-256", 1000, 0, 256},
    {"free-aligned-interior", "8192-at-4096", 8192, 0, 4096},
    {"free-aligned-interior", "300000-at-65536", 300000, 0, 65536},
    {"usable-of-interior", "100-at-16", 100, 0, 16},
    {"usable-of-interior", "20000-at-4096", 20000, 0, 4096},
    {"realloc-interior", "24-at-16", 24, 0, 16},
    {"realloc-negative", "100", 100, 1, 0},
    {"realloc-negative", "300000", 300000, 8, 0},
    {"sized-wrongly", "100-as-99", 100, 99, 0},
    {"sized-wrongly", "100-as-101", 100, 101, 0},
    {"sized-wrongly", "24-as-25", 24, 25, 0},
    {"sized-wrongly", "20000-as-20001", 20000, 20001, 0},
    {"word-zeroed", "24", 24, 0, 0},
    {"word-of-another", "24", 24, 0, 0},
    {"word-put-back", "24", 24, 0, 0},
    {"twice-with-word", "24", 24, 0, 0},
    {"word-zeroed", "104", 104, 0, 0},
    {"word-of-another", "104", 104, 0, 0},
    {"word-put-back", "104", 104, 0, 0},
    {"twice-with-word", "104", 104, 0, 0},
    {"word-zeroed", "1016", 1016, 0, 0},
    {"word-of-another", "1016", 1016, 0, 0},
    {"word-put-back", "1016", 1016, 0, 0},
    {"twice-with-word", "1016", 1016, 0, 0},
    {"word-zeroed", "16376", 16376, 0, 0},
    {"word-of-another", "16376", 16376, 0, 0},
    {"word-put-back", "16376", 16376, 0, 0},
    {"twice-with-word", "16376", 16376, 0, 0},
    {"write-to-empty", "by-1", 64, 1, 0},
    {"write-to-empty", "by-16", 64, 16, 0},
    {"write-to-empty", "by-64", 64, 64, 0},
    {"string-longer", "24", 24, 0, 0},
    {"string-longer", "25", 25, 0, 0},
    {"string-longer", "1000", 1000, 0, 0},
    {"element-more", "64-of-8", 64, 8, 0},
    {"element-more", "1000-of-24", 1000, 24, 0},
    EACH_SIZE("write-after-move"),
    EACH_SIZE("write-after-free-in-child"),
    EACH_SIZE("realloc-twice"),
    EACH_SIZE("free-beside-realloc"),
    EACH_SIZE("twice-at-exit"),
    {"twice-empty", "0", 64, 0, 0},
    {"free-before", "64-by-8", 64, 8, 0},
    {"free-before", "64-by-16", 64, 16, 0},
    {"free-before", "1000-by-1", 1000, 1, 0},
    {"free-before", "300000-by-16", 300000, 16, 0},
    {"free-before", "300000-by-65536", 300000, 65536, 0},
    {"delete-for-array", "104", 104, 0, 0},
    {"delete-sized-for-array", "104", 104, 0, 0},
    {"delete-for-array", "1008", 1008, 0, 0},
    {"delete-sized-for-array", "1008", 1008, 0, 0},
    {"free-interior", "300000-at-1", 300000, 0, 1},
    {"free-interior", "40M-at-1", 40000000, 0, 1},
    EACH_DOOR("twice-by-door", "24", 24, 0),
    EACH_DOOR("twice-by-door", "300000", 300000, 0),
    EACH_DOOR("interior-by-door", "1000-at-512", 1000, 512),
    EACH_DOOR("interior-by-door", "300000-at-4096", 300000, 4096),
    EACH_DOOR("foreign-by-door", "64", 64, 0),
    SIZED_DOOR("size-by-door", "24-as-1000", 24, 1000),
    SIZED_DOOR("size-by-door", "1000-as-24", 1000, 24),
    SIZED_DOOR("size-by-door", "300000-as-24", 300000, 24),
    SIZED_DOOR("size-by-door", "40M-as-300000", 40000000, 300000),
    {"usable-of-foreign", "64", 64, 0, 0},
    ALIGNED("100-at-64", 100, 64, 48),
    ALIGNED("4000-at-4096", 4000, 4096, 2000),
    ALIGNED("300000-at-64K", 300000, 65536, 4096),
    ALIGNED("1000-at-2M", 1000, (size_t)2 << 20, 496),
    ALIGNED("5M-at-4M", 5000000, (size_t)4 << 20, 4096),
    ALIGNED("40M-at-64K", 40000000, 65536, 4096),
    {"moved-overflow", "24-to-48", 24, 48, 0},
    {"moved-overflow", "1000-to-3000", 1000, 3000, 0},
    {"moved-overflow", "20000-to-90000", 20000, 90000, 0},
    {"moved-overflow", "100000-to-400000", 100000, 400000, 0},
    {"moved-overflow", "300000-to-900000", 300000, 900000, 0},
    {"moved-overflow", "5000000-to-9000000", 5000000, 9000000, 0},
    {"moved-overflow", "20000000-to-40000000", 20000000, 40000000, 0},
    {"moved-overflow", "40000000-to-60000000", 40000000, 60000000, 0},
    {"moved-overflow", "60000000-to-40000000", 60000000, 40000000, 0},
    CALLOC("24", 24),
    CALLOC("1000", 1000),
    CALLOC("20000", 20000),
    CALLOC("100000", 100000),
    CALLOC("300000", 300000),
    CALLOC("5M", 5000000),
    CALLOC("10M", 10000000),
    CALLOC("40M", 40000000),
    THREADS("24", 24),
    THREADS("1000", 1000),
    THREADS("20000", 20000),
    THREADS("300000", 300000),
    THREADS("10M", 10000000),
    THREADS("40M", 40000000),
    {"dup-into-target", "24-plain", 24, 0, 0},
    {"dup-into-target", "24-hidden", 24, 0, 1},
    {"dup-into-target", "100-plain", 100, 0, 0},
    {"dup-into-target", "100-hidden", 100, 0, 1},
    {"dup-into-target", "1000-plain", 1000, 0, 0},
    {"dup-into-target", "1000-hidden", 1000, 0, 1},
    ATTACKS("24", 24),
    ATTACKS("100", 100),
    ATTACKS("1000", 1000),
    ATTACKS("20000", 20000),
    {"null-byte", "24", 24, 0, 0},
    {"null-byte", "40", 40, 0, 0},
    {"null-byte", "264", 264, 0, 0},
    {"null-byte", "1016", 1016, 0, 0},
    {"null-byte", "4088", 4088, 0, 0},
    {"force", "40", 40, 0, 0},
    {"force", "1000", 1000, 0, 0},
    {"force", "20000", 20000, 0, 0},
    {"longer-mapping", "40M", 40000000, 0, 0},
    {"longer-mapping", "300000", 300000, 0, 0},
    BOUND("1024", 1024),
    BOUND("32768", 32768),
    BOUND("5M", 5000000),
    BOUND("20M", 20000000),
    LONG("5M", 5000000),
    LONG("10M", 10000000),
    LONG("20M", 20000000),
    {"twice-after-another", "40M", 40000000, 0, 0},
    {"twice-by-a-thread", "40M", 40000000, 0, 0},
    {"read-after-reuse", "40M", 40000000, 0, 0},
    {"write-after-reuse", "40M", 40000000, 0, 0},
    {"twice-after-reuse", "40M", 40000000, 0, 0},
    {"realloc-of-freed", "40M", 40000000, 0, 0},
    {"usable-of-freed", "40M", 40000000, 0, 0},
    {"write-after-trim", "40M", 40000000, 0, 0},
    {"twice-by-zero", "40M", 40000000, 0, 0},
    {"twice-by-realloc", "40M", 40000000, 0, 0},
    {"realloc-interior", "40M-at-4096", 40000000, 0, 4096},
};
const size_t misuses = sizeof misuse / sizeof *misuse;

static const char *const missed_by_default[] = {
    "twice-by-a-thread.1000", /* where caches are per thread */
    "overflow.24-by-page",
    "overflow.100-by-page",
    "overflow.1000-by-page",
    "overflow.20000-by-page",
    "overflow.40M-by-page",
    "underflow.24-by-page",
    "underflow.100-by-page",
    "underflow.1000-by-page",
    "underflow.20000-by-page",
    "underflow.40M-by-page",
    "overflow.64-by-1",
    "overflow.64-by-8",
    "underflow.64-by-1",
    "underflow.64-by-8",
    "string-end.64",
    "string-end.1024",
    "read-beyond.24-by-64",
    "read-beyond.1000-by-64",
    "read-after-free.24",
    "read-after-free.1000",
    "read-after-free.20000",
    "read-after-free.1000-first",
    "read-after-free.1000-middle",
    "read-after-free.20000-middle",
    "read-after-free.100000",
    "read-after-free.300000",
    "read-after-reuse.24",
    "read-after-reuse.1000",
    "read-after-reuse.20000",
    "read-after-reuse.300000",
    "write-after-reuse.24",
    "write-after-reuse.1000",
    "write-after-reuse.20000",
    "write-after-reuse.300000",
    "twice-after-reuse.24",
    "twice-after-reuse.1000",
    "twice-after-reuse.20000",
    "twice-after-reuse.300000",
    "usable-of-freed.24",
    "usable-of-freed.1000",
    "twice-together.24", /* which of the two comes first, and from where, is chance */
    "twice-together.1000",
    "twice-together.20000",
    "twice-together.300000",
    "calloc-after-trim.300000", /* to look would touch pages that nobody may ever use */
    "read-after-reuse.5M",
    "write-after-reuse.5M",
    "twice-after-reuse.5M",
    "read-after-reuse.10M",
    "write-after-reuse.10M",
    "twice-after-reuse.10M",
    "read-after-reuse.20M",
    "write-after-reuse.20M",
    "twice-after-reuse.20M",
    "read-after-reuse.40M",
    "write-after-reuse.40M",
    "twice-after-reuse.40M",
    "overflow.1024-by-1",
    "overflow.1024-by-8",
    "underflow.1024-by-1",
    "underflow.1024-by-8",
    "overflow.32768-by-1",
    "overflow.32768-by-8",
    "underflow.32768-by-1",
    "underflow.32768-by-8",
    "twice-by-three-threads.1000", /* where caches are per thread */
    /* told when they come back to their slabs, which these short programs do not live to see: */
    "aligned-interior.4000-at-4096",
    "free-aligned-interior.1000-at-256",
    "free-aligned-interior.8192-at-4096",
    "free-before.64-by-16",
    "free-before.64-by-8",
    "free-end.1024",
    "free-end.32768",
    "free-end.64",
    "free-interior.100-at-16",
    "free-interior.100-at-8",
    "free-interior.1000-at-512",
    "interior-by-door.1000-at-512-delete",
    "interior-by-door.1000-at-512-delete-aligned-sized",
    "interior-by-door.1000-at-512-delete-array",
    "interior-by-door.1000-at-512-delete-array-sized",
    "interior-by-door.1000-at-512-delete-sized",
    "interior-by-door.1000-at-512-free-aligned-sized",
    "interior-by-door.1000-at-512-free-sized",
    "interior-by-door.1000-at-512-mi-free",
    "interior-by-door.1000-at-512-realloc-to-zero",
    "interior-by-door.1000-at-512-sdallocx",
    "interior-by-door.1000-at-512-tc-free-sized",
    "twice-after-many.20000",
    NULL,
};

static const char *const missed_by_secure[] = {
    "read-beyond.24-by-64",         "read-beyond.1000-by-64",
    "read-beyond.20000-by-64",      "read-beyond.300000-by-64",
    "read-after-free.1000-middle", /* ZERO_ON_FREE=2 catches these */
    "read-after-free.20000-middle", NULL,
};

const struct expected expectation[] = {
    {"default", 65, missed_by_default},
    {"secure", 90, missed_by_secure},
};
const size_t expectations = sizeof expectation / sizeof *expectation;
