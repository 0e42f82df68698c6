/*
 * containers.cc - C++ containers on mymalloc's heap, beside operator new: by an allocator
 * that is part of their type, and by a memory resource that is not.
 */
#include <iostream>
#include <mymalloc/memory_resource.hpp>
#include <string>
#include <unordered_map>
#include <vector>

int main()
{
    std::vector<std::pmr::string, mymalloc::allocator<std::pmr::string>> names;
    /* A pool of the library, which takes its blocks from mymalloc. */
    std::pmr::unsynchronized_pool_resource pool(mymalloc::resource());
    std::pmr::unordered_map<std::pmr::string, int> index(&pool);

    for (int i = 0; i < 1000; i++) {
        names.emplace_back("the name of number " + std::to_string(i),
                           mymalloc::resource());
        if (i % 2 == 0)
            index.emplace(names.back(), i);
    }
    std::cout << names.size() << " names, " << index.size() << " of them in a pool, on "
              << MyVersion() << "\n";
    return index.at(names[998]) == 998 ? 0 : 1;
}
