/*
 * families.hpp - the calls of all families of names by what they take, and what they promise.
 *
 * A call is a row of a table (forms.cc): a name, and a letter for each argument. What an object is,
 * and what must hold for it, is objects.cc's affair, whichever call took it.
 */
#ifndef TEST_FUZZ_FAMILIES_HPP
#define TEST_FUZZ_FAMILIES_HPP

extern "C" {
#include "check.h"
}

#include <atomic>
#include <cstddef>
#include <cstdint>

enum names { STANDARD, MY, JEMALLOC, TCMALLOC, MIMALLOC, OPERATORS, RESOURCE, NAMES };

enum kind { TAKE, MOVE, PUT, TELL, KINDS };

/* What a call does beyond its kind. */
enum : unsigned {
    ZERO = 1,        /* what is new reads as zero */
    PAGES = 2,       /* of its own accord aligned to a page */
    WHOLE = 4,       /* and as long as pages */
    THROWS = 8,      /* std::bad_alloc instead of NULL */
    FREES_AT_0 = 16, /* a size of 0 ends the object, there is no new one */
    FREES_ON_FAILURE = 32,
    TELLS_EINVAL = 64, /* of an alignment that is no power of two */
    ANY_ERRNO = 128,   /* nothing is promised about it */
    NOT_0 = 256,       /* a size of 0 is not allowed, nor is NULL */
    ARENA = 512,       /* the heap is a MyArena */
};

/*
 * c count, s size, a alignment, o offset, f flags of jemalloc, h heap, p the object, t a text, n a
 * std::nothrow, u and b where bytes are told (now and before), O where the object is told.
 */
struct form {
    const char *name, *takes;
    names of;
    kind does;
    unsigned traits;
    void *function;
};

bool has_letter(const form &form, char letter);

/* The arguments of a call, and what came of it. */
struct call {
    void *heap = nullptr, *object = nullptr;
    size_t size = 0, count = 1, alignment = 0, offset = 0;
    int flags = 0;
    const char *text = nullptr;
    size_t told = 0, told_before = 0; /* where it has u, or b */
    int error = 0;                    /* errno, or what is returned for it */

    uintptr_t make(const form &form);
};

/* At random, of a family at random; one of them at least is of each kind. */
const form &draw_form(kind does, uint64_t &random);

/* All that the program is linked with; the test fails where one is missing. */
size_t find_forms();

/* NULL: nobody has this name here. */
void *find_name(const char *name);

template <typename Function> Function *find(const char *name)
{
    return reinterpret_cast<Function *>(find_name(name));
}

/* ---- heaps ---- */

struct heap {
    void *name;      /* nullptr: there is none */
    bool is_arena;   /* a MyArena; else one of mimalloc's */
    bool is_deleted; /* its objects are malloc's now */
};

/* Those that a step may use. nullptr: malloc's. */
struct heaps {
    heap *arena, *named, *chosen; /* the last is the thread's default one of mimalloc */
};

/* mimalloc's name of malloc's heap; nullptr: there are no heaps of mimalloc's here. */
extern void *name_of_malloc;

/*
 * A child of fork: another thread may have had the loader's lock, which who throws, or looks for
 * another library, waits for. So nothing is asked for that is refused.
 */
extern bool is_child;

/* ---- objects ---- */

struct object {
    unsigned char *p;
    size_t asked;     /* the least that a sized free may say */
    size_t size;      /* bytes that have the pattern: all that can be used, perhaps */
    size_t alignment; /* that was asked for; 0: none */
    uint64_t id;
    heap *of;      /* nullptr: malloc's */
    bool is_sized; /* a sized free may end it */
    /* What its family never let the program write is zero: from `written` on. */
    bool has_zeros;
    names zeroed;
    size_t written;
};

/* By whatever name. */
size_t usable_of(const object &object, uint64_t &random);

void check_contents(const object &object);
void take(object &object, const heaps &heaps, uint64_t &random);
/* p is nullptr afterwards: it was the end of it. */
void move(object &object, const heaps &heaps, uint64_t &random);
void put(object &object, uint64_t &random);
void use_all(object &object, uint64_t &random);
void grow_in_place(object &object, uint64_t &random);

/* Alignments that are none. */
void ask_askew(const heaps &heaps, uint64_t &random);

/* ---- who has what ---- */

constexpr size_t slots = 150, boxes = 64, most_threads = 16, own_heaps = 6, arenas = 3;
extern size_t threads;

/* Its heaps of mimalloc's are a thread's own; what is in them is anybody's. */
struct worker {
    uint64_t random;
    object objects[slots];
    heap own[own_heaps];
    heap *chosen;
};
extern worker workers[most_threads];

extern heap shared[arenas];

/* A place where any thread may leave an object and take another's. */
struct box {
    std::atomic_flag busy;
    struct object object;
};
extern box all_boxes[boxes];

template <typename Visit> void for_each_object(Visit visit)
{
    for (size_t i = 0; i < threads; i++)
        for (object &object : workers[i].objects)
            if (object.p != nullptr)
                visit(object);
    for (box &box : all_boxes)
        if (box.object.p != nullptr)
            visit(box.object);
}

template <typename Visit> void for_each_heap(Visit visit)
{
    for (size_t i = 0; i < threads; i++)
        for (heap &heap : workers[i].own)
            if (heap.name != nullptr)
                visit(heap);
    for (heap &heap : shared)
        if (heap.name != nullptr)
            visit(heap);
}

/* What the heap says of itself; nobody else runs. Returns how many objects there are of others. */
size_t compare(uint64_t &random);

#endif
