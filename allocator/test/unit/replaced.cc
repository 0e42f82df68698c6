/*
 * replaced.cc - a program that replaces a part of the C++ operators: new and delete of an
 * object, aligned or not, also their nothrow forms (NOTHROW); or those of arrays alone (ARRAYS). Each object has a header of the
 * program's, so no other form may take or free one by itself ([new.delete]).
 */
extern "C" {
#include "check.h"
}

#include <cstdlib>
#include <malloc.h>
#include <new>

#ifndef __clang__ /* that the sized forms are missing is the point */
#pragma GCC diagnostic ignored "-Wsized-deallocation"
#endif

namespace
{

const size_t HEADER = 64, MARK = 0x5eed;
long taken, freed;
void *volatile kept; /* a pair that nobody sees may be left out */

struct alignas(64) wide {
    char bytes[100];
    ~wide()
    {
        bytes[0] = 1;
    }
};

struct narrow {
    char bytes[40];
    ~narrow()
    {
        bytes[0] = 1;
    }
};

__attribute__((noinline)) void *take(size_t size)
{
    void *block = size < SIZE_MAX / 4 ? memalign(HEADER, size + HEADER) : nullptr;

    if (block == nullptr)
        throw std::bad_alloc();
    taken++;
    *static_cast<size_t *>(block) = MARK;
    return static_cast<char *>(block) + HEADER;
}

__attribute__((noinline)) void give(void *object)
{
    size_t *block;

    if (object == nullptr)
        return;
    block = reinterpret_cast<size_t *>(static_cast<char *>(object) - HEADER);
    CHECK(*block == MARK);
    *block = 0;
    freed++;
    free(block);
}

} // namespace

#ifdef ARRAYS
#define FORM(operation) operation[]
#else
#define FORM(operation) operation
#endif

void *operator FORM(new)(size_t size)
{
    return take(size);
}

void operator FORM(delete)(void *object) noexcept
{
    give(object);
}

void *operator FORM(new)(size_t size, std::align_val_t)
{
    return take(size);
}

void operator FORM(delete)(void *object, std::align_val_t) noexcept
{
    give(object);
}

#ifdef NOTHROW
void *operator new(size_t size, const std::nothrow_t &) noexcept
{
    return size < SIZE_MAX / 4 ? take(size) : nullptr;
}

void *operator new(size_t size, std::align_val_t, const std::nothrow_t &) noexcept
{
    return size < SIZE_MAX / 4 ? take(size) : nullptr;
}
#endif

namespace
{

/* `whose`: forms that are to come to the program. */
template <typename Call> void count(long whose, Call call)
{
    long taken_before = taken, freed_before = freed;

    call();
    CHECKF(taken - taken_before == whose, "%ld objects for %ld", taken - taken_before,
           whose);
    CHECKF(freed - freed_before == whose, "%ld frees for %ld", freed - freed_before,
           whose);
}

template <typename Type> void pairs_of()
{
    const std::align_val_t a{alignof(Type)};
    const std::nothrow_t &n = std::nothrow;
    void *p;
#ifdef ARRAYS
    const long objects = 0;
#else
    const long objects = 4;
#endif

    count(objects, [&] {
        for (int i = 0; i < 2; i++) {
            auto *object = i == 0 ? new Type : new (n) Type;
            kept = object;
            delete object; /* with its size */
            p = i == 0 ? ::operator new(sizeof(Type)) : ::operator new(sizeof(Type), n);
            if (i == 0) /* clang 14 calls both of a conditional expression */
                ::operator delete(p, n);
            else
                ::operator delete(p);
        }
    });
    count(objects / 2, [&] {
        p = ::operator new(sizeof(Type), a);
        ::operator delete(p, a, n);
        p = ::operator new(sizeof(Type), a, n);
        ::operator delete(p, sizeof(Type), a);
    });
    count(6, [&] {
        for (int i = 0; i < 2; i++) {
            auto *object = i == 0 ? new Type[3] : new (n) Type[3];
            kept = object;
            delete[] object; /* with their size */
            p = i == 0 ? ::operator new[](100) : ::operator new[](100, n);
            if (i == 0) /* clang 14 calls both of a conditional expression */
                ::operator delete[](p, n);
            else
                ::operator delete[](p);
        }
        p = ::operator new[](100, a);
        ::operator delete[](p, a, n);
        p = ::operator new[](100, a, n);
        ::operator delete[](p, 100, a);
    });
}

void pairs()
{
    pairs_of<narrow>();
    pairs_of<wide>();
}

/* What the program's own new throws, nothrow forms catch. */
void failure()
{
    const size_t much = opaque(SIZE_MAX / 2 - 100);
    bool thrown = false;

    CHECK(!::operator new[](much, std::nothrow));
    CHECK(!::operator new[](much, std::align_val_t{64}, std::nothrow));
    CHECK(!::operator new(much, std::nothrow));
    try {
        ::operator delete[](::operator new[](much));
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    CHECK(thrown);
}

} // namespace

extern "C" const struct test tests[] = {
    {"pairs", pairs},
    {"failure", failure},
    {nullptr, nullptr},
};
