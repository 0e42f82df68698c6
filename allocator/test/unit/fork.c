/*
 * fork.c - fork handlers that use the heap, of libraries initialised before and after the
 * allocator's, and fork beside other threads in stdio. What is wrong here hangs.
 */
#include "check.h"
#include "family.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef TEST_MY
extern void (*forklib_work)(int phase); /* of the library that is linked */
#endif

static void (*own_work)(int phase);
static atomic_int phases[3];

static void prepare(void)
{
    if (own_work)
        own_work(0);
}

static void parent(void)
{
    if (own_work)
        own_work(1);
}

static void child(void)
{
    if (own_work)
        own_work(2);
}

__attribute__((constructor)) static void start(void)
{
    pthread_atfork(prepare, parent, child);
}

/* ---- what handlers do ---- */

static size_t work_size;

static void *use_heap(void *unused)
{
    void *objects[30];

    for (size_t i = 0; i < 30; i++) {
        objects[i] = malloc(work_size + i * 16);
        CHECK(objects[i]);
        memset(objects[i], 1, work_size < 8192 ? work_size : 8192);
    }
    for (size_t i = 0; i < 30; i++)
        free(objects[i]);
    return unused;
}

static void allocate(int phase)
{
    phases[phase]++;
    use_heap(NULL);
}

/* As a library that stops its threads before a fork, and starts them again. */
static void wait_for_a_thread(int phase)
{
    pthread_t thread;

    phases[phase]++;
    CHECK(!pthread_create(&thread, NULL, use_heap, NULL));
    CHECK(!pthread_join(thread, NULL));
}

static void live_in_child(void)
{
    alarm(60);
    free(realloc(malloc(5000), 300000));
    wait_for_a_thread(2);
    _exit(phases[2] > 1 ? 0 : 3);
}

static void fork_often(int times, void (*live)(void))
{
    for (int i = 0; i < times; i++) {
        int status = 0;
        pid_t pid = fork();

        if (pid == 0)
            live();
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
        CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status 0x%x", status);
    }
}

static void with_handlers(void (**work)(int), void (*what)(int))
{
    static const size_t sizes[] = {24, 2000, 60000, 300000};

    alarm(100);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        memset(phases, 0, sizeof(phases));
        work_size = sizes[i];
        *work = what;
        fork_often(10, live_in_child);
        *work = NULL;
        CHECKF(phases[0] == 10 && phases[1] == 10, "%d, %d", phases[0], phases[1]);
    }
    alarm(0);
}

/* ---- cases ---- */

static void own_handlers_allocate(void)
{
    with_handlers(&own_work, allocate);
}

static void own_handlers_wait(void)
{
    with_handlers(&own_work, wait_for_a_thread);
}

#ifndef TEST_MY

static void library_handlers_allocate(void)
{
    with_handlers(&forklib_work, allocate);
}

static void library_handlers_wait(void)
{
    with_handlers(&forklib_work, wait_for_a_thread);
}

/* Its handlers are there while it is loaded, and gone with it. */
static void loaded_library(void)
{
    char path[4096];
    const char *copy = getenv("TEST_FORKLIB");
    void *handle;
    void (**work)(int);

    if (!copy)
        return;
    strcpy(path, copy);
    for (int i = 0; i < 2; i++) {
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        CHECKF(handle, "%s", dlerror());
        work = dlsym(handle, "loaded_work");
        CHECK(work);
        with_handlers(work, allocate);
        with_handlers(work, wait_for_a_thread);
        CHECK(!dlclose(handle));
        phases[2] = 1;
        fork_often(2, live_in_child);
    }
}

#endif

/* ---- fork and stdio ---- */

static atomic_bool stop;
static pthread_barrier_t started; /* before the first fork, see life.c */

static void *flush_all(void *unused)
{
    pthread_barrier_wait(&started);
    while (!stop)
        fflush(NULL);
    return unused;
}

/* As getline does: its line's memory is taken with the stream locked. */
static void *read_lines(void *file)
{
    pthread_barrier_wait(&started);
    while (!stop) {
        flockfile(file);
        for (size_t room = 300000; room < 3000000; room *= 2)
            free(malloc(room));
        funlockfile(file);
    }
    return NULL;
}

static void print_in_child(void)
{
    alarm(60);
    CHECK(fflush(NULL) == 0);
    CHECK(!fclose(tmpfile()));
    phases[2] = 1;
    live_in_child();
}

static void fork_beside_stdio(void)
{
    pthread_t threads[2];
    FILE *file;

    if (is_under(QEMU, "thread after such a fork"))
        return;
    file = tmpfile();
    CHECK(file);
    stop = false;
    alarm(100);
    pthread_barrier_init(&started, NULL, 3);
    CHECK(!pthread_create(&threads[0], NULL, flush_all, NULL));
    CHECK(!pthread_create(&threads[1], NULL, read_lines, file));
    pthread_barrier_wait(&started);
    work_size = 100;
    fork_often(is_slow() ? 10 : 60, print_in_child);
    stop = true;
    for (int i = 0; i < 2; i++)
        CHECK(!pthread_join(threads[i], NULL));
    alarm(0);
    CHECK(!fclose(file));
}

/* No other thread: glibc's fork then leaves the lock of the list of streams alone. */
static void fork_alone(void)
{
    work_size = 100;
    fork_often(3, print_in_child);
}

const struct test tests[] = {
    {"fork_alone", fork_alone},
    {"own_handlers_allocate", own_handlers_allocate},
    {"own_handlers_wait", own_handlers_wait},
#ifndef TEST_MY
    {"library_handlers_allocate", library_handlers_allocate},
    {"library_handlers_wait", library_handlers_wait},
    {"loaded_library", loaded_library},
#endif
    {"fork_beside_stdio", fork_beside_stdio},
    {NULL, NULL},
};
