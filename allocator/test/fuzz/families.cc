/*
 * families.cc - objects of all families of names, each ended by whatever family, against a model.
 *
 * Rounds: in each some threads, which are new ones, take, resize, hand over and end objects, of
 * malloc and of heaps, and fork. Between two rounds there is one thread, which compares the model
 * with what the heap says of itself, and ends heaps with what is in them.
 *
 *   families [--rounds N] [--threads N] [--steps N]
 * TEST_SEED repeats a run's draws; with --threads 1 the run.
 */
#include "families.hpp"

#include "mymalloc/arena.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

void *name_of_malloc;
bool is_child;
size_t threads = 4;
worker workers[most_threads];
heap shared[arenas];
box all_boxes[boxes];

namespace
{

size_t rounds = 6, steps = 1000;

size_t below(uint64_t &random, size_t limit)
{
    return next_random(&random) % limit;
}

/* ---- heaps ---- */

auto *new_heap = find<void *()>("mi_heap_new");
auto *delete_heap = find<void(void *)>("mi_heap_delete");
auto *destroy_heap = find<void(void *)>("mi_heap_destroy");
auto *choose_heap = find<void *(void *)>("mi_heap_set_default");

heap *draw_own(worker &worker)
{
    heap *heap = &worker.own[below(worker.random, own_heaps)];

    return heap->name != nullptr && !heap->is_deleted ? heap : nullptr;
}

heaps heaps_for(worker &worker)
{
    heap *arena = &shared[below(worker.random, arenas)];

    return {arena->name != nullptr ? arena : nullptr, draw_own(worker), worker.chosen};
}

void choose(worker &worker, heap *heap)
{
    struct heap *former = worker.chosen;
    void *name = choose_heap(heap != nullptr ? heap->name : name_of_malloc);

    CHECK(name == (former != nullptr ? former->name : name_of_malloc));
    worker.chosen = heap;
}

/* What is in it goes on, as malloc's; its place in the model is free after the round. */
void leave(worker &worker, heap *heap)
{
    if (heap == nullptr)
        return;
    delete_heap(heap->name);
    heap->is_deleted = true;
    if (worker.chosen == heap)
        worker.chosen = nullptr;
}

void change_heaps(worker &worker)
{
    heap *heap = &worker.own[below(worker.random, own_heaps)];

    if (new_heap == nullptr || is_child)
        return;
    if (heap->name == nullptr)
        CHECK((heap->name = new_heap()) != nullptr);
    else if (below(worker.random, 4) == 0)
        leave(worker, draw_own(worker));
    else
        choose(worker, draw_own(worker));
}

void forget_objects(const heap &of)
{
    for_each_object([&](object &object) {
        check_contents(object);
        if (object.of == &of)
            object.p = nullptr;
    });
}

/* With all that is in it; nobody else runs. */
void end_heap(heap &heap, uint64_t &random)
{
    if (heap.is_deleted)
        for_each_object([&](object &object) {
            object.of = object.of == &heap ? nullptr : object.of;
        });
    else
        forget_objects(heap);
    if (heap.is_arena && below(random, 2)) {
        MyArenaReset(static_cast<MyArena *>(heap.name));
        return;
    }
    if (heap.is_arena)
        MyArenaDestroy(static_cast<MyArena *>(heap.name));
    else if (!heap.is_deleted)
        destroy_heap(heap.name);
    heap = {};
}

/* ---- what else a program calls ---- */

void stir(worker &worker, object &object)
{
    static auto *const control =
        find<int(const char *, void *, size_t *, void *, size_t)>("mallctl");
    static auto *const release = find<void()>("MallocExtension_ReleaseFreeMemory");
    static auto *const idle = find<void()>("MallocExtension_MarkThreadIdle");
    static auto *const owner = find<int(const void *)>("MallocExtension_GetOwnership");
    static auto *const collect = find<void(bool)>("mi_collect");
    static auto *const is_own = find<bool(const void *)>("mi_check_owned");
    size_t dice = below(worker.random, 8);

    if (dice == 0)
        MyTrim(0);
    if (control != nullptr && dice == 1)
        CHECK(control("arena.0.purge", nullptr, nullptr, nullptr, 0) == 0);
    if (control != nullptr && dice == 2)
        CHECK(control("thread.tcache.flush", nullptr, nullptr, nullptr, 0) == 0);
    if (release == nullptr)
        return;
    if (dice == 3)
        release();
    if (dice == 4)
        idle();
    if (dice == 5 && !is_child)
        collect(below(worker.random, 2));
    if (object.p != nullptr)
        CHECK(owner(object.p) == 1 && is_own(object.p));
    CHECK(owner(&object) != 1 && !is_own(&object));
}

/* ---- a round ---- */

void exchange(object &object, box &box)
{
    struct object other;

    if (box.busy.test_and_set(std::memory_order_acquire))
        return;
    other = box.object;
    box.object = object;
    object = other;
    box.busy.clear(std::memory_order_release);
}

/* With one that there is. What is large is resized more often: it has more ways to stay. */
void change(worker &worker, object &object, size_t dice)
{
    if (dice < 5)
        use_all(object, worker.random);
    else if (dice < 10)
        grow_in_place(object, worker.random);
    else if (dice < 13)
        check_contents(object);
    else if (dice < (object.size > 65536 ? 75 : 48))
        move(object, heaps_for(worker), worker.random);
    else
        put(object, worker.random);
}

void fork_in(worker &worker);

void step(worker &worker)
{
    object &object = worker.objects[below(worker.random, slots)];
    size_t dice = below(worker.random, 1000);

    if (dice < 1 && !is_child)
        fork_in(worker);
    else if (dice < 10)
        stir(worker, object);
    else if (dice < 20)
        ask_askew(heaps_for(worker), worker.random);
    else if (dice < 35)
        change_heaps(worker);
    else if (dice < 150)
        exchange(object, all_boxes[below(worker.random, boxes)]);
    else if (object.p == nullptr)
        take(object, heaps_for(worker), worker.random);
    else
        change(worker, object, below(worker.random, 100));
}

void wait_for(pid_t child)
{
    int status = 0;

    CHECKF(child > 0, "fork: errno %d", errno);
    CHECK(waitpid(child, &status, 0) == child);
    CHECKF(status == 0, "the child ended with 0x%x", static_cast<unsigned>(status));
}

/* The child has what this thread has; the others' may be in the midst of a change. */
void fork_in(worker &worker)
{
    pid_t child = fork();

    if (child != 0) {
        wait_for(child);
        return;
    }
    alarm(100);
    is_child = true;
    for (box &box : all_boxes) /* one may be in somebody's hands */
        box.busy.test_and_set();
    for (int i = 0; i < 100; i++)
        step(worker);
    for (object &object : worker.objects)
        if (object.p != nullptr)
            check_contents(object);
    CHECK(MyVerify() == 0);
    _exit(0);
}

void *work(void *argument)
{
    struct worker &worker = *static_cast<struct worker *>(argument);

    for (size_t i = 0; i < steps; i++)
        step(worker);
    worker.chosen = nullptr; /* which ends with the thread */
    return nullptr;
}

void play_round()
{
    pthread_t ids[most_threads];

    for (size_t i = 0; i < threads; i++)
        CHECK(pthread_create(&ids[i], nullptr, work, &workers[i]) == 0);
    for (size_t i = 0; i < threads; i++)
        CHECK(pthread_join(ids[i], nullptr) == 0);
}

size_t rest(uint64_t &random)
{
    compare(random);
    for_each_heap([&](heap &heap) {
        if (heap.is_deleted || below(random, 4) == 0)
            end_heap(heap, random);
    });
    for (heap &heap : shared)
        if (heap.name == nullptr)
            heap = {MyArenaCreate(0), true, false};
    return compare(random);
}

/* All that the parent had is there. */
void fork_at_rest(uint64_t &random)
{
    pid_t child = fork();

    if (child != 0) {
        wait_for(child);
        return;
    }
    alarm(100);
    compare(random);
    play_round();
    rest(random);
    _exit(0);
}

size_t end_all(uint64_t &random)
{
    for_each_heap([&](heap &heap) {
        while (heap.name != nullptr)
            end_heap(heap, random);
    });
    for_each_object([&](object &object) { put(object, random); });
    return compare(random);
}

void play()
{
    uint64_t random = test_seed();
    size_t others = 0, left;

    for (size_t i = 0; i < threads; i++)
        workers[i].random = test_seed() + i + 1;
    for (size_t i = 0; i < rounds; i++) {
        play_round();
        left = rest(random);
        if (i == 0)
            others = left;
        if (below(random, 4) == 0)
            fork_at_rest(random);
    }
    left = end_all(random);
    CHECKF(left <= others + 100, "%zu objects are left, there were %zu", left, others);
}

void refuse(const char *option)
{
    fprintf(stderr,
            "families: %s: --rounds, --threads (up to %zu) and --steps are known, each "
            "with a number from 1 on\n",
            option, most_threads);
    exit(2);
}

void read_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        char *end = nullptr;
        size_t value = i + 1 < argc ? strtoul(argv[i + 1], &end, 10) : 0;
        size_t *option = strcmp(argv[i], "--rounds") == 0    ? &rounds
                         : strcmp(argv[i], "--threads") == 0 ? &threads
                         : strcmp(argv[i], "--steps") == 0   ? &steps
                                                             : nullptr;

        if (option == nullptr || value == 0 || *end != '\0' ||
            (option == &threads && value > most_threads))
            refuse(argv[i]);
        *option = value;
    }
}

} // namespace

int main(int argc, char **argv)
{
    if (is_slow())
        rounds = 2;
    read_options(argc, argv);
    check_begin("families");
    if (new_heap != nullptr)
        name_of_malloc = find<void *()>("mi_heap_get_backing")();
    size_t forms = find_forms();
    play();
    printf("%zu calls, %zu rounds of %zu threads; seed %llu\n", forms, rounds, threads,
           static_cast<unsigned long long>(test_seed()));
    return 0;
}
