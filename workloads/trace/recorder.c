/*
 * recorder.c - writes a process's allocation events into its trace.
 *
 * Each thread appends to a block of the file that is mapped MAP_SHARED: an event is in
 * the page cache as soon as it is written, so that exit, _exit, abort and SIGKILL lose
 * nothing and no exit path needs a flush. `used` of the block is stored after the
 * event's bytes; whenever the process dies, the block ends with a whole event. Space is
 * allocated before it is mapped: a full disk is an error here, never a SIGBUS there.
 *
 * What protects what: a block and `me` belong to one thread. state.lock guards the list
 * of blocks that ended threads left, the length of the file and the start. The page at
 * `state` is zeroed by the kernel in a forked child (MADV_WIPEONFORK), which is how a
 * child, made by whatever call, knows that it is one: all it inherits reads as "not
 * started", lock included.
 *
 * The file is opened by name for every block and closed again: a descriptor kept open
 * could be closed by the program, and its number given to a file of the program's.
 */
#include "recorder.h"
#include "disk.h"
#include "format.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SPARE_BLOCKS = 256 };

struct state {
    _Alignas(64) _Atomic uint64_t
        ticket; /* every event of every thread; alone in its line */
    _Alignas(64) _Atomic uint32_t epoch; /* not 0 while recording */
    _Atomic bool off;                    /* not to be recorded, or stopped */
    _Atomic uint32_t threads;
    pthread_mutex_t lock;
    struct trace_header *header;
    uint64_t started; /* microseconds, CLOCK_MONOTONIC_COARSE */
    dev_t device;
    ino_t inode;
    unsigned spares;
    struct trace_block *spare[SPARE_BLOCKS];
};

static struct state *_Atomic state;
static char path[PATH_MAX];
static uint32_t generation; /* inherited by children, so that each epoch is new */
static pthread_key_t key;
static bool has_key;

static __thread struct {
    uint32_t epoch;
    bool busy;
    bool has_id;
    uint32_t id;
    struct trace_block *block;
    uint8_t *at;
    uint64_t ticket;
    uint64_t address;
    uint64_t time;
    const void *taken;   /* by the last event, if that was an allocation */
    const void *freeing; /* until recorder_leave */
} me __attribute__((tls_model("initial-exec")));

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void stop_recording(struct state *st, int error)
{
    if (st->header)
        st->header->stopped = (uint32_t)error;
    atomic_store(&st->off, true);
}

/* ---- starting ---- */

static void forget_state(void)
{
    memset(atomic_load(&state), 0, sizeof(struct state));
}

/* The first caller makes the page; it may come from ld.so, before any constructor. */
static struct state *make_state(void)
{
    struct state *none = NULL, *fresh;

    fresh = mmap(NULL, sizeof(*fresh), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fresh == MAP_FAILED)
        return NULL;
    if (!atomic_compare_exchange_strong(&state, &none, fresh)) {
        munmap(fresh, sizeof(*fresh));
        return none;
    }
    if (madvise(fresh, sizeof(*fresh), MADV_WIPEONFORK)) /* a kernel before 4.14 */
        pthread_atfork(NULL, NULL, forget_state);
    return fresh;
}

static void read_command(char *text, size_t size)
{
    int fd = disk_open("/proc/self/cmdline", O_RDONLY);
    long got = fd < 0 ? 0 : syscall(SYS_read, fd, text, size - 1);

    if (fd >= 0)
        disk_close(fd);
    while (got > 0 && text[got - 1] == 0)
        got--;
    for (long i = 0; i < got; i++)
        if ((unsigned char)text[i] < ' ')
            text[i] = ' ';
    text[got > 0 ? got : 0] = 0;
}

/* Let the trace of the process that was asked for say that this one is not in it. */
static void tell_unrecorded(const char *name, uint64_t session)
{
    struct trace_header *h;
    int fd = disk_open(name, O_RDWR);

    if (fd < 0)
        return;
    h = mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    disk_close(fd);
    if (h == MAP_FAILED)
        return;
    if (h->session == session && h->length == 0)
        h->children = 1;
    munmap(h, sizeof(*h));
}

/*
 * The same by the process that forks: the child of daemon(3) allocates, if ever, when this one
 * has ended and its trace is sealed.
 */
static void tell_of_fork(void)
{
    struct state *st = atomic_load(&state);

    if (st->header && !atomic_load(&st->off))
        st->header->children = 1;
}

static int open_trace(struct state *st, uint64_t session)
{
    int error = 0, fd;
    struct timespec t;
    struct stat s;

    /* Not O_TRUNC: somebody may be reading the trace that was there. */
    syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    fd = disk_open(path, O_RDWR | O_CREAT | O_EXCL);
    if (fd < 0)
        return errno;
    st->header = disk_map(fd, 0, &error);
    if (st->header && fstat(fd, &s) == 0) {
        st->device = s.st_dev;
        st->inode = s.st_ino;
    }
    disk_close(fd);
    if (!st->header)
        return error;
    clock_gettime(CLOCK_REALTIME, &t);
    st->header->version = TRACE_VERSION;
    st->header->first = TRACE_BLOCK;
    st->header->session = session;
    st->header->started = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
    st->header->pid = (uint32_t)getpid();
    read_command(st->header->command, sizeof(st->header->command));
    memcpy(st->header->magic, TRACE_MAGIC, sizeof(st->header->magic));
    return 0;
}

/* A thread's end leaves its block to the next thread. */
static void leave_block(void *unused)
{
    struct state *st = atomic_load(&state);

    (void)unused;
    if (!me.block || me.epoch != atomic_load(&st->epoch))
        return;
    me.busy = true;
    pthread_mutex_lock(&st->lock);
    if (st->spares < SPARE_BLOCKS)
        st->spare[st->spares++] = me.block;
    else
        munmap(me.block, TRACE_BLOCK);
    pthread_mutex_unlock(&st->lock);
    me.block = NULL;
    me.busy = false;
}

/*
 * Decide, once per process and again in every forked child, what becomes of it: the
 * process that was asked for records to the path, a child to path.PID or not at all.
 */
static void start_locked(struct state *st)
{
    unsigned long long session;
    int pid, children, used = 0;
    const char *how = getenv(TRACE_VARIABLE);

    if (!how || sscanf(how, "%d,%d,%llu,%n", &pid, &children, &session, &used) != 3 ||
        used == 0) {
        atomic_store(&st->off, true);
        return;
    }
    how += used;
    if (pid != getpid() && !children) {
        tell_unrecorded(how, session);
        atomic_store(&st->off, true);
        return;
    }
    if ((size_t)snprintf(path, sizeof(path), pid == getpid() ? "%s" : "%s.%d", how,
                         (int)getpid()) >= sizeof(path) ||
        open_trace(st, session) != 0) {
        atomic_store(&st->off, true);
        return;
    }
    st->started = now_us();
    if (!children)
        pthread_atfork(NULL, tell_of_fork, NULL);
    if (!has_key)
        has_key = pthread_key_create(&key, leave_block) == 0;
    atomic_store(&st->epoch, ++generation);
}

/* ---- blocks ---- */

static struct trace_block *take_block(struct state *st)
{
    struct trace_block *block = NULL;
    struct stat s;
    int error, fd;

    if (st->spares)
        return st->spare[--st->spares];
    fd = disk_open(path, O_RDWR);
    error = fd < 0 ? errno : 0;
    if (fd >= 0) {
        if (fstat(fd, &s) != 0 || s.st_dev != st->device || s.st_ino != st->inode)
            error = ESTALE; /* somebody put another file there */
        else
            block = disk_map(fd, (st->header->blocks + 1) * TRACE_BLOCK, &error);
        disk_close(fd);
    }
    if (!block) {
        stop_recording(st, error);
        return NULL;
    }
    block->capacity = TRACE_BLOCK - sizeof(*block);
    block->magic = TRACE_BLOCK_MAGIC;
    st->header->blocks++;
    return block;
}

static uint8_t *block_bytes(struct trace_block *block)
{
    return (uint8_t *)(block + 1);
}

/* Publish the bytes up to `at`: a signal or a death sees all of the op or none. */
static void commit(uint8_t *at)
{
    atomic_thread_fence(memory_order_release);
    *(volatile uint32_t *)&me.block->used = (uint32_t)(at - block_bytes(me.block));
    me.at = at;
}

/* Reads `me` only: in a forked child the block is not mapped. */
static bool has_room(void)
{
    return me.block &&
           (size_t)(me.at - (uint8_t *)me.block) + TRACE_OP_LIMIT <= TRACE_BLOCK;
}

/* Give the thread a block with room and say in it whose ops follow. */
static bool attach_block(struct state *st)
{
    uint8_t *at;

    do {
        if (me.block)
            munmap(me.block, TRACE_BLOCK);
        pthread_mutex_lock(&st->lock);
        me.block = take_block(st);
        pthread_mutex_unlock(&st->lock);
        if (!me.block)
            return false;
        me.at = block_bytes(me.block) + me.block->used;
    } while (!has_room());

    if (!me.has_id) {
        me.id = atomic_fetch_add(&st->threads, 1);
        me.has_id = true;
    }
    me.ticket = atomic_load(&st->ticket);
    me.address = 0;
    me.time = now_us() - st->started;
    at = me.at;
    *at++ = TRACE_THREAD;
    at = varint_put(at, me.id);
    at = varint_put(at, me.ticket);
    at = varint_put(at, me.time);
    commit(at);
    if (has_key)
        pthread_setspecific(key, me.block);
    return true;
}

/* ---- events ---- */

static __attribute__((noinline, cold)) bool enter_slow(struct state *st)
{
    int saved = errno;
    bool ready = false;

    if (!environ && (!st || !atomic_load(&st->epoch))) /* libc is not set up yet */
        return false;
    if (!st && !(st = make_state()))
        return false;
    if (me.busy) { /* a signal handler, or the allocator calling itself */
        if (me.epoch && me.epoch == atomic_load(&st->epoch))
            __atomic_fetch_add(&st->header->missed, 1, __ATOMIC_RELAXED);
        return false;
    }
    me.busy = true;
    if (!atomic_load(&st->epoch)) {
        pthread_mutex_lock(&st->lock);
        if (!atomic_load(&st->epoch) && !atomic_load(&st->off))
            start_locked(st);
        pthread_mutex_unlock(&st->lock);
    }
    if (me.epoch != atomic_load(&st->epoch)) { /* new thread, or forked: drop all */
        me.epoch = atomic_load(&st->epoch);
        me.has_id = false;
        me.block = NULL;
    }
    if (!atomic_load(&st->off))
        ready = has_room() || attach_block(st);
    me.busy = ready;
    errno = saved;
    return ready;
}

bool recorder_enter(void)
{
    struct state *st = atomic_load_explicit(&state, memory_order_acquire);

    if (st && atomic_load_explicit(&st->off, memory_order_relaxed))
        return false;
    if (!st || me.busy)
        return enter_slow(st);
    me.busy = true; /* before looking: a signal handler may fill the block */
    atomic_signal_fence(memory_order_seq_cst);
    if (me.epoch && has_room() &&
        me.epoch == atomic_load_explicit(&st->epoch, memory_order_relaxed))
        return true;
    me.busy = false;
    return enter_slow(st);
}

void recorder_leave(void)
{
    me.freeing = NULL;
    atomic_signal_fence(memory_order_seq_cst);
    me.busy = false;
}

uint64_t recorder_ticket(void)
{
    return atomic_fetch_add(&atomic_load_explicit(&state, memory_order_relaxed)->ticket,
                            1) +
           1;
}

static uint8_t *put_op(unsigned kind, uint64_t ticket)
{
    struct state *st = atomic_load_explicit(&state, memory_order_relaxed);
    uint64_t passed = ticket - me.ticket, time = now_us() - st->started;
    uint8_t *at = me.at;

    if (time != me.time) {
        *at++ = TRACE_TIME;
        at = varint_put(at, time - me.time);
        me.time = time;
    }
    me.ticket = ticket;
    me.taken = NULL;
    if (passed < 16) {
        *at++ = (uint8_t)(kind | (unsigned)(passed - 1) << 4);
        return at;
    }
    *at++ = (uint8_t)(kind | 15u << 4);
    return varint_put(at, passed - 16);
}

static uint8_t *put_address(uint8_t *at, uintptr_t address)
{
    uint64_t granule = address / TRACE_GRANULE;

    at = varint_put(at, zigzag(granule - me.address));
    me.address = granule;
    return at;
}

void recorder_took(unsigned kind, size_t size, const void *p)
{
    uint8_t *at = put_op(p ? kind : TRACE_FAILED, recorder_ticket());

    at = varint_put(at, size);
    commit(p ? put_address(at, (uintptr_t)p) : at);
    me.taken = p;
}

void recorder_took_aligned(size_t alignment, size_t size, const void *p)
{
    uint8_t *at = put_op(p ? TRACE_ALIGNED : TRACE_FAILED, recorder_ticket());

    if (p)
        *at++ = (uint8_t)(alignment > 1 ? 64 - __builtin_clzl(alignment - 1) : 0);
    at = varint_put(at, size);
    commit(p ? put_address(at, (uintptr_t)p) : at);
    me.taken = p;
}

void recorder_freed(uint64_t ticket, const void *p)
{
    commit(put_address(put_op(TRACE_FREE, ticket), (uintptr_t)p));
    me.freeing = p;
}

bool recorder_is_freeing(const void *p)
{
    return me.busy && me.freeing == p;
}

void recorder_moved(uint64_t ticket, size_t size, uintptr_t from, const void *to)
{
    uint64_t returned = recorder_ticket();
    uint8_t *at = put_op(TRACE_REALLOC, ticket);

    at = varint_put(at, size);
    at = varint_put(at, returned - ticket);
    at = put_address(at, from);
    commit(put_address(at, (uintptr_t)to));
    me.ticket = returned;
}

bool recorder_has(const void *p)
{
    return me.taken == p;
}

void recorder_forget(void)
{
    me.taken = NULL;
}
