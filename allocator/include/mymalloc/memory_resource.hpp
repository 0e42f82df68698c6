/*
 * memory_resource.hpp - mymalloc for C++ containers: a std::pmr::memory_resource and a
 * standard allocator, over the functions of mymalloc.h. C++17.
 *
 *   std::pmr::vector<int> a(mymalloc::resource());
 *   std::vector<int, mymalloc::allocator<int>> b;
 *
 * Common to both:
 *   - Sizes are in bytes for the resource, in objects for the allocator. Any alignment
 *     that is a power of two is served; a size of 0 gives a unique pointer to give back.
 *   - Failure: std::bad_alloc ([mem.res.private], [allocator.members]), and for a count of
 *     objects whose bytes are no size_t std::bad_array_new_length; the heap is as it was.
 *     The new-handler is not called. Without exceptions (-fno-exceptions) the program ends
 *     by abort(3).
 *   - Memory is given back with its size and alignment: those of another object are misuse,
 *     see mymalloc.h, and so is memory of another resource or allocator.
 *   - Thread safety: any thread at any time; memory may be given back by another thread.
 *     Signals: as malloc(3), not async-signal-safe.
 */
#ifndef MYMALLOC_MEMORY_RESOURCE_HPP
#define MYMALLOC_MEMORY_RESOURCE_HPP

#include "mymalloc.h"

#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>
#include <type_traits>

#if __has_include(<memory_resource>) /* not in libc++ before 16 */
#include <memory_resource>
#endif

namespace mymalloc
{

namespace detail
{

inline constexpr std::size_t alignment_of_all = 16;

template <class Exception> [[noreturn]] void fail()
{
#if defined(__cpp_exceptions)
    throw Exception();
#else
    std::abort();
#endif
}

inline void *take(std::size_t bytes, std::size_t alignment)
{
    void *object = alignment <= alignment_of_all ? MyMalloc(bytes)
                                                 : MyAlignedAlloc(alignment, bytes);

    if (object == nullptr)
        fail<std::bad_alloc>();
    return object;
}

inline void put(void *object, std::size_t bytes, std::size_t alignment) noexcept
{
    if (alignment <= alignment_of_all)
        MyFreeSized(object, bytes);
    else
        MyFreeAlignedSized(object, alignment, bytes);
}

} // namespace detail

/* ISO C++17 [allocator.requirements]. Stateless: any one gives back what another took. */
template <class T> class allocator
{
  public:
    using value_type = T;
    using propagate_on_container_move_assignment = std::true_type;
    using is_always_equal = std::true_type;

    allocator() noexcept = default;
    template <class U> allocator(const allocator<U> &) noexcept
    {
    }

    [[nodiscard]] T *allocate(std::size_t count)
    {
        if (count > std::numeric_limits<std::size_t>::max() / sizeof(T))
            detail::fail<std::bad_array_new_length>();
        return static_cast<T *>(detail::take(count * sizeof(T), alignof(T)));
    }

    void deallocate(T *object, std::size_t count) noexcept
    {
        detail::put(object, count * sizeof(T), alignof(T));
    }
};

template <class T, class U>
bool operator==(const allocator<T> &, const allocator<U> &) noexcept
{
    return true;
}

template <class T, class U>
bool operator!=(const allocator<T> &, const allocator<U> &) noexcept
{
    return false;
}

#if defined(__cpp_lib_memory_resource)

namespace detail
{

class heap_resource final : public std::pmr::memory_resource
{
    void *do_allocate(std::size_t bytes, std::size_t alignment) override
    {
        return take(bytes, alignment);
    }

    void do_deallocate(void *object, std::size_t bytes, std::size_t alignment) override
    {
        put(object, bytes, alignment);
    }

    /* By what it is: a library with hidden symbols has a resource() of its own. */
    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override
    {
#if defined(__cpp_rtti)
        return dynamic_cast<const heap_resource *>(&other) != nullptr;
#else
        return this == &other;
#endif
    }
};

} // namespace detail

/*
 * The process's mymalloc heap as a resource, ISO C++17 [mem.res.class]. Never destroyed:
 * objects with static storage may use it to the end. Cannot fail.
 */
inline std::pmr::memory_resource *resource() noexcept
{
    alignas(detail::heap_resource) static unsigned char
        place[sizeof(detail::heap_resource)];
    static detail::heap_resource *const only = ::new (place) detail::heap_resource;

    return only;
}

#endif

} // namespace mymalloc

#endif
