/*
 * inlined.cc - static functions of C++, inlined: what debug information calls them is less
 * than their symbols. For show.py.
 */
#include <cstdlib>

static void *kept[100];

static inline __attribute__((always_inline)) void site_inlined(int i)
{
    kept[i] = std::malloc(1000); /* here */
}

__attribute__((noinline)) void site_outer(int i)
{
    site_inlined(i);
    __asm__ volatile("" : : : "memory"); /* not a jump */
}

int main()
{
    for (int i = 0; i < 100; i++)
        site_outer(i);
}
