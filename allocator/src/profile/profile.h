/*
 * profile.h - the sampled heap profile: which stacks took the memory that is in use, and
 * all that was ever taken.
 *
 * Every byte that is taken is a sample point with probability 1 / every, whatever object it
 * is part of; an object with a sample point in it is sampled, with the stack that took it.
 * So one of `bytes` bytes is sampled with p = 1 - exp(-bytes / every) and stands for 1 / p
 * of its size (a Poisson process; unbiased for every stack by itself). Bytes are those that
 * an object occupies (malloc_usable_size), not those asked for.
 *
 * While a profile is taken the limits that malloc tests are 0, so each call falls to
 * the cold half, which counts (alloc/sampled.c). Without one nothing here is reached.
 * Sampled small objects lie in slabs of their own, whose class byte is 0, so that a free of
 * any other object costs nothing.
 *
 * Locking: the table's lock (MYM_RANK_PROFILE) guards stacks and samples. Stacks are
 * walked with no lock held: the walk may wait for the loader's.
 */
#ifndef MYM_PROFILE_PROFILE_H
#define MYM_PROFILE_PROFILE_H

#include "os/mutex.h"

#define MYM_PROFILE_EVERY \
    ((size_t)512 << 10)                    /* bytes between sample points, by default */
#define MYM_PROFILE_MOST ((size_t)1 << 40) /* and at most */
#define MYM_STACK_DEPTH  64u               /* frames of a stack that are kept */

/* ---- sample.c: whether an object is sampled ---- */

/* Who wants samples. */
enum mym_watcher {
    MYM_FOR_PROFILE,
    MYM_FOR_PROBES, /* a listener (probes.c), while there is no profile, whose it hears */
    MYM_FOR_GUARD,
    MYM_WATCHERS
};

/* Each change is an epoch of its own: a countdown of another one is drawn again when it ends. */
struct mym_watch {
    size_t every; /* mean bytes between sample points; 1: each object is sampled */
    size_t of[MYM_WATCHERS]; /* what each wants, 0: nothing; `every` is the least */
    size_t period;           /* what the profile wants, or the last one did */
    uint32_t epoch;          /* 1: no object was ever sampled */
    bool on;
};
extern MYM_HIDDEN struct mym_watch mym_watch;

MYM_INLINE bool mym_was_watched(void)
{
    return MYM_RACY(mym_watch.epoch) != 1;
}

/*
 * The bytes before the next sample point are counted in stretches, so that a change is noticed
 * by each thread before it has taken MYM_STRETCH bytes more, and no malloc need look for one.
 * Counted is upwards, to 0: a thread that never counted is at the end of its stretch.
 */
#define MYM_STRETCH ((int64_t)64 << 10)

struct mym_countdown {
    int64_t up; /* -1 less the bytes that the stretch still has; from 0 on it is over */
    int64_t beyond; /* bytes between its end and the next sample point */
    uint64_t random;
    uint32_t epoch; /* 0: that of none */
    bool inside;    /* in the midst of a sample: what it takes is not sampled */
};
extern MYM_HIDDEN __thread struct mym_countdown mym_countdown
    __attribute__((tls_model("initial-exec")));

bool mym_sample_reached(size_t bytes);
/* The thread's countdown is over, whatever it was. */
void mym_sample_forget(void);

/* So many bytes are taken: ask mym_sample_reached. */
MYM_INLINE bool mym_sample_count(size_t bytes)
{
    return MYM_UNLIKELY((mym_countdown.up += (int64_t)bytes) >= 0);
}

/* So many bytes are taken: are they a sample? */
MYM_INLINE bool mym_sample_due(size_t bytes)
{
    return mym_sample_count(bytes) && mym_sample_reached(bytes);
}

/* every: 1 to MYM_PROFILE_MOST, or 0: he wants no more. One caller at a time. */
void mym_watch_set(enum mym_watcher who, size_t every);
/* Nobody counts for a while; the countdowns stay as they are. The same caller. */
void mym_watch_pause(bool paused);

/*
 * An object with a sample point in it: is one of the points his? Returns the mean bytes
 * between his points, or 0. The points of one who wants fewer are a share of all, drawn
 * by lot, and are as independent.
 */
size_t mym_sample_for(enum mym_watcher who, size_t bytes);

/* How many objects of this size a sampled one stands for, at this rate. */
double mym_sample_weight(size_t bytes, size_t every);

/* ---- frames.c: a stack by rules that are remembered ---- */

/* At the first request: what is loaded now stays. */
void mym_frames_note_start(void);
/* At the start of a profile; takes an object of malloc, and gives it back. False: no rules here. */
bool mym_frames_start(void);
/* Return addresses, the first one in the caller; *end: 0, or the last, which no rule describes. */
unsigned mym_frames_walk(void **pc, unsigned room, uintptr_t *end);
/* This code is of libgcc_s. */
bool mym_frames_is_libgcc(void *code);
/* A return address in code that is never unloaded; false: it is not, or not remembered. */
bool mym_frames_remember(uintptr_t pc);
/* The same of a whole object of the loader's. */
struct link_map;
bool mym_frames_stay(const struct link_map *object);

/* ---- unwind.c: the stack ---- */

struct mym_trace {
    bool known; /* false: no profile is taken, only a listener asks */
    unsigned depth;
    void *pc[MYM_STACK_DEPTH]; /* return addresses, innermost first */
};

/*
 * Load what unwinding needs; false: there is nothing to unwind with. Allocates, and opens
 * files: no lock is held, and no profile is on yet.
 */
bool mym_unwind_start(void);
/* So many frames of a stack are kept from now on: 1 to MYM_STACK_DEPTH. */
void mym_unwind_set_depth(unsigned depth);

/*
 * Who called the allocator, if the stack is to be walked. Between the two nothing that this
 * thread takes is sampled.
 */
void mym_trace_begin(struct mym_trace *trace, bool walk);
void mym_trace_end(void);
/* The same in a signal handler: whom the signal interrupted at this instruction, if only that. */
void mym_trace_interrupted(struct mym_trace *trace, uintptr_t at, bool walk);

/* ---- pack.c: a stack in three bytes a frame, most in the same few files ---- */

#define MYM_VARINT_MOST 10u /* bytes: seven bits each, the least first */

/* The number of bytes that were written. */
size_t mym_varint_put(uint8_t *to, uint64_t value);

#define MYM_PACKED_MOST (MYM_STACK_DEPTH * MYM_VARINT_MOST)

/* Both return the number of bytes. pc: room for `depth`. */
size_t mym_stack_pack(uint8_t packed[MYM_PACKED_MOST], void *const *pc, unsigned depth);
size_t mym_stack_unpack(void **pc, const uint8_t *packed, unsigned depth);

/* ---- table.c: stacks, and the sampled objects that are in use ---- */

struct mym_sums {
    uint64_t objects; /* in 65536ths */
    uint64_t bytes;
};

/* The three answers of a profile; the last when in all most was in use. */
enum mym_when { MYM_EVER, MYM_NOW, MYM_PEAK, MYM_WHENS };

struct mym_stack {
    struct mym_stack *chain; /* in its bucket */
    struct mym_stack *older;
    /* Written under the lock. MYM_PEAK is what the stack had at the peak of number `saved`. */
    struct mym_sums sums[MYM_WHENS];
    uint64_t saved;
    uint16_t depth, length; /* frames, and bytes of `packed` */
    uint8_t packed[];
};

struct mym_sample {
    uintptr_t ptr; /* 0: free place */
    struct mym_stack *stack;
    struct mym_sums weight;
};

/*
 * An object was taken here, at this rate; false: no memory to remember it. The trace has the
 * profile's addresses then (images.c).
 */
bool mym_profile_keep(const void *ptr, size_t bytes, size_t every,
                      struct mym_trace *trace);

/* It ends, before its memory can be another's. False: it is not a sampled one. */
bool mym_profile_drop(const void *ptr);

/* The same for one that may stay after all: it is put back, or given up. */
bool mym_profile_lift(const void *ptr, struct mym_sample *sample);
void mym_profile_settle(const struct mym_sample *sample, bool stays);

/* Every sum is 0 again, and what is in use now will never be in one. */
void mym_profile_forget(void);

/*
 * All stacks, newest first, by `older`; and the sums of one. Without a lock, for a signal
 * handler may ask: while others allocate, a sum may lack what is on its way.
 */
struct mym_stack *mym_profile_stacks(void);
void mym_profile_sums(const struct mym_stack *stack, struct mym_sums sums[MYM_WHENS]);

void mym_profile_fork(enum mym_fork_step step);
void mym_profile_fork_child(void);

/* ---- probes.c: the samples for a listener outside of the process ---- */

bool mym_probes_heard(void);
void mym_probe_alloc(const void *ptr, size_t bytes, uint64_t weight);
void mym_probe_free(const void *ptr);

/* ---- maps.c: which file's code is mapped where ---- */

#define MYM_BUILD_ID_MOST 32u /* bytes; in use are 8, 16 and 20 */

struct mym_map {
    uintptr_t start, end;
    uint64_t offset; /* in the file */
    const char *path;
    size_t path_length;
    char build_id[2 * MYM_BUILD_ID_MOST + 1]; /* hexadecimal; "": none */
    bool is_image; /* not in the text, or of what was closed */
};

struct mym_maps {
    struct mym_map *map; /* `count` mappings of code, ascending */
    unsigned count;
    char *text; /* /proc/self/maps as it is */
    size_t length;
    size_t text_room, map_room;
    char name[4096], head[1024], notes[1024]; /* of the file that is looked at */
};

struct mym_line {
    uintptr_t start, end;
    uint64_t offset;
    const char *rights; /* "r-xp" */
    const char *file;   /* device and inode */
    const char *path;   /* NULL: no file */
    size_t file_length, path_length;
};

/* *maps is zero. The text alone; false: there is none. */
bool mym_maps_read_text(struct mym_maps *maps);
/* The line at *at, from the text's start on; false: that was the last one. */
bool mym_maps_next(const struct mym_maps *maps, const char **at, struct mym_line *line);
/* Its path, until the next is asked for; NULL: none. */
const char *mym_maps_path(struct mym_maps *maps, const struct mym_line *line);

/*
 * *maps is zero, and has room for all images afterwards. Opens files; without /proc there are
 * no mappings, and no room without memory.
 */
void mym_maps_read(struct mym_maps *maps);
void mym_maps_drop(struct mym_maps *maps);

/* The build id among the notes of a file; false: there is none. */
bool mym_build_id_find(const char *notes, size_t length, char *out);

/* ---- images.c: code that may be unloaded, and other code in its place ---- */

#define MYM_IMAGES_MOST 1024u

/* The table's lock is held. Makes addresses of these in code the profile's own. */
void mym_images_place(void **pc, unsigned depth);
/* What is gone, too; without a lock. */
void mym_images_join(struct mym_maps *maps);

/* ---- write.c ---- */

/*
 * profile.proto of pprof, or its older text; 0, or an error number. No lock is held or taken,
 * and little of the stack: a handler of a signal may call it.
 */
enum mym_profile_form { MYM_PROFILE_PROTO, MYM_PROFILE_TEXT };
int mym_profile_write(int file, enum mym_profile_form form);

/* ---- exit.c: the same when the process ends, or at a signal ---- */

/* Make the file, for the process's end; 0, or an error number. */
int mym_profile_at_exit(const char *path, size_t length, int owner,
                        enum mym_profile_form form);
/* And each time that the signal comes, to a file of its own; 0, or an error number. */
int mym_profile_at_signal(int signal);
void mym_profile_signal_fork_child(void);
/* One line on standard error that says why there is no profile. */
void mym_profile_complain(const char *path, int error);

#endif
