/*
 * named.hpp - for programs that test functions of another allocator by their names, whoever has
 * them: this heap, or that allocator itself.
 */
#ifndef TEST_NAMED_HPP
#define TEST_NAMED_HPP

extern "C" {
#include "check.h"
#include "proc.h"
}

#include <dlfcn.h>
#include <new>

namespace
{

volatile size_t huge = SIZE_MAX / 4; /* nobody has as much */

using take_form = void *(size_t);
using put_form = void(void *);

template <typename Function> Function *seek(const char *name)
{
    return reinterpret_cast<Function *>(dlsym(RTLD_DEFAULT, name));
}

/* The function of this name, whoever has it first. */
template <typename Function> Function *find(const char *name)
{
    CHECKF(seek<Function>(name), "%s is missing", name);
    return seek<Function>(name);
}

void *kept; /* so that the call is made */

template <typename Call> bool throws(Call call)
{
    try {
        kept = call();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

} // namespace

#endif
