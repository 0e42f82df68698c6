/*
 * probes.c - the same samples for a listener outside of the process: static probes (USDT)
 * otel_memory:alloc(ptr, size, weight) and otel_memory:free(ptr), as OpenTelemetry's eBPF
 * profiler, bpftrace, perf or gdb attach to them. The listener walks the stacks.
 *
 * A probe is a nop, and a note in the file that says where it is, where its arguments are,
 * and where its semaphore is: a counter that the kernel (or the debugger) raises in the
 * process while somebody listens. Sampling goes on by itself then (mym_probes_hear); until
 * then this is a word that is read once a second.
 *
 * Notes are made here, not by <sys/sdt.h>: it would be one more package to build with. What a
 * note holds: https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation, and the
 * contract: design-docs/00003-memory-profiling of opentelemetry-ebpf-profiler, whose first
 * version reads the arguments where a function's are: so they are put there.
 */
#include "profile/profile.h"

/* Named by the notes, and by nothing that the compiler sees: they must stay as they are. */
#define SEMAPHORE \
    __attribute__((used, visibility("hidden"), section(".probes"))) volatile uint16_t

SEMAPHORE mym_probe_alloc_semaphore;
SEMAPHORE mym_probe_free_semaphore;

#ifdef __x86_64__
#define STAY    "R_X86_64_NONE"
#define FIRST   "rdi"
#define SECOND  "rsi"
#define THIRD   "rdx"
#define AT(reg) "8@%%" reg
#else
#define STAY    "R_AARCH64_NONE"
#define FIRST   "x0"
#define SECOND  "x1"
#define THIRD   "x2"
#define AT(reg) "8@" reg
#endif

/*
 * Readers take the difference between where .stapsdt.base is and where the note says that it
 * is for how far a tool has moved the code; a program has one, whoever's probes it has. The
 * relocation changes nothing: by it --gc-sections keeps the section as long as the code.
 */
#define PROBE(name, arguments)                                                \
    "661: nop\n"                                                              \
    ".reloc 661b, " STAY ", _.stapsdt.base\n"                                 \
    ".pushsection .note.stapsdt, \"?\", %%note\n"                             \
    ".balign 4\n"                                                             \
    ".4byte 663f - 662f, 665f - 664f, 3\n"                                    \
    "662: .asciz \"stapsdt\"\n"                                               \
    "663: .balign 4\n"                                                        \
    "664: .8byte 661b, _.stapsdt.base, mym_probe_" name "_semaphore\n"        \
    ".asciz \"otel_memory\", \"" name "\", \"" arguments "\"\n"               \
    "665: .balign 4\n"                                                        \
    ".popsection\n"                                                           \
    ".ifndef _.stapsdt.base\n"                                                \
    ".pushsection .stapsdt.base, \"aG\", %%progbits, .stapsdt.base, comdat\n" \
    ".weak _.stapsdt.base\n"                                                  \
    ".hidden _.stapsdt.base\n"                                                \
    "_.stapsdt.base: .space 1\n"                                              \
    ".size _.stapsdt.base, 1\n"                                               \
    ".popsection\n"                                                           \
    ".endif\n"

bool mym_probes_heard(void)
{
    return mym_probe_alloc_semaphore != 0;
}

void mym_probe_alloc(const void *ptr, size_t bytes, uint64_t weight)
{
    register const void *first __asm__(FIRST) = ptr;
    register size_t second __asm__(SECOND) = bytes;
    register uint64_t third __asm__(THIRD) = weight;

    if (mym_probe_alloc_semaphore != 0)
        __asm__ volatile(PROBE("alloc", AT(FIRST) " " AT(SECOND) " " AT(THIRD))
                         :
                         : "r"(first), "r"(second), "r"(third));
}

void mym_probe_free(const void *ptr)
{
    register const void *first __asm__(FIRST) = ptr;

    if (mym_probe_free_semaphore != 0)
        __asm__ volatile(PROBE("free", AT(FIRST)) : : "r"(first));
}
