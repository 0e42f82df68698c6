/* memory_resource.cc - the C++ header: containers on the heap, and what they are promised. */
extern "C" {
#include "check.h"
}

#include "mymalloc/memory_resource.hpp"

#include <cstring>
#include <deque>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace
{

struct alignas(256) wide {
    char bytes[256];
};

using string =
    std::basic_string<char, std::char_traits<char>, mymalloc::allocator<char>>;

/* Of an object of another heap this would abort. */
bool is_of_heap(const void *object, size_t bytes)
{
    return MyUsableSize(object) >= bytes;
}

template <class Allocator> void containers(const Allocator &from)
{
    using bound = std::allocator_traits<Allocator>;
    std::vector<int, typename bound::template rebind_alloc<int>> numbers(from);
    std::list<string, typename bound::template rebind_alloc<string>> words(from);
    std::deque<double, typename bound::template rebind_alloc<double>> queue(from);

    for (int i = 0; i < 20000; i++) {
        numbers.push_back(i);
        queue.push_front(i);
        if (i % 10 == 0)
            words.emplace_back(string(size_t(i % 300), 'x'));
    }
    CHECK(is_of_heap(numbers.data(), 20000 * sizeof(int)));
    CHECK(is_of_heap(words.back().data(), words.back().size()));
    for (int i = 0; i < 20000; i++)
        CHECK(numbers[size_t(i)] == i && queue[size_t(19999 - i)] == i);
    numbers.shrink_to_fit();
    words.remove_if([](const string &word) { return word.size() % 20 == 0; });
    CHECK(!words.empty());
}

void allocator_serves_containers()
{
    std::map<int, string, std::less<>,
             mymalloc::allocator<std::pair<const int, string>>>
        map;

    containers(mymalloc::allocator<char>());
    for (int i = 0; i < 5000; i++)
        map[i * 7919 % 5000] = string(100, char('a' + i % 26));
    CHECK(map.size() == 5000 && is_of_heap(map[17].data(), 100));
}

void allocator_is_one()
{
    mymalloc::allocator<int> ints;
    mymalloc::allocator<wide> wides(ints);
    std::vector<int, mymalloc::allocator<int>> from(1000, 7), to;
    const int *place = from.data();

    CHECK(ints == wides && !(ints != wides));
    to = std::move(from); /* equal allocators: the place is handed on */
    CHECK(to.data() == place && to[999] == 7);
}

void wide_objects_are_aligned()
{
    mymalloc::allocator<wide> allocator;

    for (size_t count :
         {size_t(0), size_t(1), size_t(3), size_t(1000), size_t(100000)}) {
        wide *objects = allocator.allocate(count);

        CHECK(reinterpret_cast<uintptr_t>(objects) % alignof(wide) == 0);
        memset(static_cast<void *>(objects), 0x5a, count * sizeof(wide));
        allocator.deallocate(objects, count);
    }
}

void allocator_throws()
{
    mymalloc::allocator<wide> allocator;
    size_t most = std::numeric_limits<size_t>::max();
    int caught = 0;

    try {
        (void)allocator.allocate(opaque(most / 2));
    } catch (const std::bad_array_new_length &) {
        caught++;
    }
    try {
        (void)allocator.allocate(opaque(most / sizeof(wide)));
    } catch (const std::bad_array_new_length &) {
        CHECKF(false, "the count is one of objects that could be");
    } catch (const std::bad_alloc &) {
        caught++;
    }
    CHECK(caught == 2);
}

void objects_travel()
{
    std::vector<string, mymalloc::allocator<string>> made;
    std::thread maker([&made] {
        for (int i = 0; i < 30000; i++)
            made.emplace_back(string(size_t(i % 200), char('a' + i % 26)));
    });

    maker.join();
    for (int i = 0; i < 30000; i++)
        CHECK(made[size_t(i)] == string(size_t(i % 200), char('a' + i % 26)));
}

#if defined(__cpp_lib_memory_resource)

/* Another resource, which is not ours whatever it does. */
class stranger : public std::pmr::memory_resource
{
    void *do_allocate(size_t bytes, size_t alignment) override
    {
        return mymalloc::resource()->allocate(bytes, alignment);
    }
    void do_deallocate(void *object, size_t bytes, size_t alignment) override
    {
        mymalloc::resource()->deallocate(object, bytes, alignment);
    }
    bool do_is_equal(const memory_resource &other) const noexcept override
    {
        return this == &other;
    }
};

void resource_serves_containers()
{
    containers(std::pmr::polymorphic_allocator<char>(mymalloc::resource()));
}

void resource_is_one()
{
    stranger other;

    CHECK(mymalloc::resource() == mymalloc::resource());
    CHECK(mymalloc::resource()->is_equal(*mymalloc::resource()));
    CHECK(!mymalloc::resource()->is_equal(other));
    CHECK(!mymalloc::resource()->is_equal(*std::pmr::new_delete_resource()));
}

void resource_aligns()
{
    for (size_t alignment = 1; alignment <= size_t(4) << 20; alignment *= 2)
        for (size_t bytes :
             {size_t(0), size_t(1), size_t(100), size_t(4097), size_t(200000)}) {
            void *object = mymalloc::resource()->allocate(bytes, alignment);

            CHECKF(reinterpret_cast<uintptr_t>(object) % alignment == 0 &&
                       is_of_heap(object, bytes),
                   "%zu bytes at %zu", bytes, alignment);
            memset(object, 0x5a, bytes);
            mymalloc::resource()->deallocate(object, bytes, alignment);
        }
}

void resource_throws()
{
    bool caught = false;

    try {
        (void)mymalloc::resource()->allocate(opaque(PTRDIFF_MAX), 64);
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    CHECK(caught);
}

/* The resources of the library on top of ours give all of it back. */
void resource_is_upstream()
{
    for (int round = 0; round < 3; round++) {
        std::pmr::monotonic_buffer_resource arena(mymalloc::resource());
        std::pmr::synchronized_pool_resource pool(mymalloc::resource());
        std::pmr::vector<std::pmr::string> words(&arena);
        std::pmr::map<int, std::pmr::string> map(&pool);

        for (int i = 0; i < 5000; i++) {
            words.emplace_back(size_t(i % 500), 'w');
            map.emplace(i, std::pmr::string(size_t(i % 500), 'm', &pool));
            if (i % 3 == 0)
                map.erase(i / 2);
        }
        CHECK(words[499].size() == 499 && map.at(4999).size() == 499);
    }
}

/* Destroyed after everything else here: the resource must still be there. */
struct last {
    std::pmr::vector<int> *numbers = nullptr;
    ~last()
    {
        delete numbers;
    }
} last_of_all;

void resource_outlives_statics()
{
    last_of_all.numbers = new std::pmr::vector<int>(1000, 1, mymalloc::resource());
}

#endif

} // namespace

extern "C" const struct test tests[] = {
    {"allocator_serves_containers", allocator_serves_containers},
    {"allocator_is_one", allocator_is_one},
    {"wide_objects_are_aligned", wide_objects_are_aligned},
    {"allocator_throws", allocator_throws},
    {"objects_travel", objects_travel},
#if defined(__cpp_lib_memory_resource)
    {"resource_serves_containers", resource_serves_containers},
    {"resource_is_one", resource_is_one},
    {"resource_aligns", resource_aligns},
    {"resource_throws", resource_throws},
    {"resource_is_upstream", resource_is_upstream},
    {"resource_outlives_statics", resource_outlives_statics},
#endif
    {nullptr, nullptr},
};
