// monotonic.cc - std::pmr::monotonic_buffer_resource (C++17 [mem.res.monotonic.buffer]) over
// operator new, which is malloc's: buffers of growing sizes, released together. A file of
// its own, so that programs in C stay without the C++ library.
#include "arenas.h"

#include <memory_resource>
#include <new>

namespace
{

using resource = std::pmr::monotonic_buffer_resource;

// With the alignment of malloc.
void *take(void *arena, size_t size)
{
    try {
        return static_cast<resource *>(arena)->resource::allocate(size, 16);
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

void *renew(void *arena)
{
    static_cast<resource *>(arena)->release();
    return arena;
}

} // namespace

extern "C" const struct arenas monotonic_arenas = {
    "std::pmr::monotonic_buffer_resource",
    []() -> void * {
        return new (std::nothrow) resource(std::pmr::new_delete_resource());
    },
    take,
    renew,
    [](void *arena) { delete static_cast<resource *>(arena); },
};
