/*
 * reap.c - arenas beside each other and beside malloc: each thread has arenas of its own,
 * takes, resizes and frees in them, fills those of others too, hands objects to other
 * threads that free them, resets and destroys; some threads fork. Every byte of every object
 * is written and checked.
 */
#include "mymalloc/arena.h"

#include "check.h"
#include "family.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 6, OBJECTS = 300, HANDED = 64, STEPS = 12000, CHILD_STEPS = 500 };

struct object {
    unsigned char *at;
    size_t size;
};

/*
 * A thread's arena. `entered` is held, shared, by whoever uses the arena or frees what it
 * was handed from it, and alone by its owner to reset or destroy it.
 */
static struct place {
    pthread_rwlock_t entered;
    atomic_bool ends; /* for a child of a fork: its owner is at that */
    MyArena *arena;
    struct object handed[HANDED]; /* of that arena, for anybody to take */
    pthread_mutex_t hand;
} place[THREADS];

static unsigned steps;
static atomic_uint resets, remote_frees, remote_takes;

static size_t draw(uint64_t *random)
{
    uint64_t dice = next_random(random) % 100;

    return next_random(random) % (dice < 70   ? 300
                                  : dice < 95 ? 6000
                                  : dice < 99 ? 40000
                                              : 400000);
}

static unsigned char byte_of(const struct object *o, size_t i)
{
    return (unsigned char)(o->size * 13 + ((uintptr_t)o->at >> 4) + i);
}

/* All of short ones, every 61st byte and the end of others. */
static size_t next_byte(const struct object *o, size_t i)
{
    return i < 512 || i + 61 >= o->size ? i + 1 : i + 61;
}

static struct object filled(void *at, size_t size)
{
    struct object o = {at, size};

    CHECKF(at, "%zu bytes", size);
    for (size_t i = 0; i < size; i = next_byte(&o, i))
        o.at[i] = byte_of(&o, i);
    return o;
}

static void check_object(const struct object *o)
{
    for (size_t i = 0; i < o->size; i = next_byte(o, i))
        CHECKF(o->at[i] == byte_of(o, i), "byte %zu of %zu at %p", i, o->size,
               (void *)o->at);
}

static struct object take_from(MyArena *arena, uint64_t *random)
{
    size_t size = draw(random);
    size_t alignment = (size_t)16 << next_random(random) % 9;

    return next_random(random) % 8 == 0
               ? filled(MyArenaAllocAligned(arena, alignment, size), size)
               : filled(MyArenaAlloc(arena, size), size);
}

/* The object's old bytes are moved as they are: they tell of another address then. */
static struct object resized(MyArena *arena, struct object o, uint64_t *random)
{
    size_t size = draw(random) + 1, kept = size < o.size ? size : o.size;
    unsigned char first = kept > 0 ? o.at[0] : 0, last = kept > 0 ? o.at[kept - 1] : 0;
    unsigned char *at = next_random(random) % 2 ? MyArenaRealloc(arena, o.at, size)
                                                : realloc(o.at, size);

    CHECK(at &&
          (kept == 0 || (at[0] == first && (kept > 512 || at[kept - 1] == last))));
    return filled(at, size);
}

static void end_object(MyArena *arena, struct object *o, uint64_t *random)
{
    check_object(o);
    if (next_random(random) % 2)
        MyArenaFree(arena, o->at);
    else
        free(o->at);
    *o = (struct object){NULL, 0};
}

/* An object goes to another place of its thread's arena, or what is there ends. */
static void hand_on(struct place *p, struct object *o)
{
    unsigned i = (unsigned)(((uintptr_t)o->at >> 4) % HANDED);
    struct object there;

    pthread_mutex_lock(&p->hand);
    there = p->handed[i];
    p->handed[i] = *o;
    pthread_mutex_unlock(&p->hand);
    *o = there;
}

/* In the arena of another thread: what it handed on is freed, more is handed on. */
static void visit(struct place *p, uint64_t *random)
{
    struct object o;

    if (pthread_rwlock_tryrdlock(&p->entered) != 0)
        return;
    for (int i = 0; i < 20; i++) {
        o = take_from(p->arena, random);
        remote_takes++;
        hand_on(p, &o);
        if (o.at) {
            end_object(p->arena, &o, random);
            remote_frees++;
        }
    }
    pthread_rwlock_unlock(&p->entered);
}

/* All of them end at once. */
static void begin_again(struct place *p, struct object *mine, uint64_t *random)
{
    struct MyArenaInfo info;

    pthread_rwlock_wrlock(&p->entered);
    p->ends = true;
    for (int i = 0; i < OBJECTS; i++)
        check_object(&mine[i]);
    for (int i = 0; i < HANDED; i++)
        check_object(&p->handed[i]);
    memset(p->handed, 0, sizeof(p->handed));
    memset(mine, 0, OBJECTS * sizeof(*mine));
    if (next_random(random) % 2) {
        MyArenaReset(p->arena);
    } else {
        MyArenaDestroy(p->arena);
        p->arena = MyArenaCreate(0);
        CHECK(p->arena);
    }
    MyArenaStats(p->arena, &info);
    CHECKF(info.objects == 0 && info.used == 0, "%zu objects", info.objects);
    p->ends = false;
    pthread_rwlock_unlock(&p->entered);
    resets++;
}

static void step(struct place *p, struct object *mine, uint64_t *random)
{
    struct object *o = &mine[next_random(random) % OBJECTS];
    uint64_t dice = next_random(random) % 100;

    if (!o->at)
        *o = take_from(p->arena, random);
    else if (dice < 20)
        *o = resized(p->arena, *o, random);
    else if (dice < 70)
        end_object(p->arena, o, random);
    else
        hand_on(p, o);
}

/* The child has every arena, its objects and its locks; no other thread uses them. */
static void be_the_child(struct place *p, struct object *mine, uint64_t random)
{
    alarm(100);
    CHECK(pthread_mutex_init(&p->hand, NULL) == 0); /* another thread may have had it */
    CHECK(MyVerify() == 0);
    for (int i = 0; i < OBJECTS; i++)
        check_object(&mine[i]);
    for (int i = 0; i < CHILD_STEPS; i++)
        step(p, mine, &random);
    for (int i = 0; i < THREADS; i++) {
        MyArena *arena = place[i].arena;

        if (!place[i].ends) {
            for (int j = 0; j < 50; j++)
                take_from(arena, &random);
            MyArenaReset(arena);
            take_from(arena, &random);
            MyArenaDestroy(arena);
        }
    }
    CHECK(MyVerify() == 0);
    _exit(0);
}

static void fork_here(struct place *p, struct object *mine, uint64_t random)
{
    int status = 0;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0)
        be_the_child(p, mine, random);
    CHECK(waitpid(child, &status, 0) == child);
    CHECKF(status == 0, "the child ended with 0x%x", (unsigned)status);
}

static void *work(void *argument)
{
    struct place *p = argument;
    unsigned me = (unsigned)(p - place);
    uint64_t random = test_seed() + me;
    struct object mine[OBJECTS] = {{NULL, 0}};

    for (unsigned i = 0; i < steps; i++) {
        step(p, mine, &random);
        if (i % 40 == 0)
            visit(&place[next_random(&random) % THREADS], &random);
        if (i % 1000 == 999)
            begin_again(p, mine, &random);
        if (i % 2000 == 500 && me < 2)
            fork_here(p, mine, random);
        if (i % 3000 == 1500)
            CHECK(MyVerify() == 0);
    }
    begin_again(p, mine, &random);
    return NULL;
}

static void arenas_and_threads(void)
{
    pthread_t thread[THREADS];

    steps = is_slow() ? STEPS / 6 : STEPS;
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_rwlock_init(&place[i].entered, NULL) == 0);
        CHECK(pthread_mutex_init(&place[i].hand, NULL) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        place[i].arena = MyArenaCreate(0);
        CHECK(place[i].arena);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&thread[i], NULL, work, &place[i]) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(thread[i], NULL) == 0);
    printf("%u resets, %u taken from and %u freed in another thread's arena\n", resets,
           remote_takes, remote_frees);
    CHECK(resets >= THREADS && remote_takes > 100 && remote_frees > 100);
    CHECK(MyVerify() == 0);
    for (int i = 0; i < THREADS; i++)
        MyArenaDestroy(place[i].arena);
    CHECK(MyVerify() == 0);
}

const struct test tests[] = {
    {"arenas_and_threads", arenas_and_threads},
    {NULL, NULL},
};
