/*
 * inlined.cc - static functions of C++, inlined: what debug information calls them is less
 * than their symbols. And what the library takes: it stands for itself under the name that
 * people know. For show.py.
 */
#include <cstdlib>
#include <map>
#include <string>

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

using site_map = std::map<std::string, int>;

__attribute__((noinline)) void site_fill(site_map &words)
{
    for (int i = 0; i < 50; i++)
        words[std::to_string(i) + " is not short enough to lie in the string itself"]++;
}

int main()
{
    static site_map *words = new site_map;

    site_fill(*words);
    for (int i = 0; i < 100; i++)
        site_outer(i);
}
