// maps - tables of strings and numbers, as ordinary C++ programs keep them.
//
// Four threads. Each fills an unordered_map<string, vector<int>> and a map<int, string>,
// replaces entries of both at random, reads all in order, and lets them go; twice. What
// it adds up is known in advance: a wrong sum is an error.
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace
{

constexpr int Threads = 4, Rounds = 2, Entries = 120000, Replacements = 60000;

struct Random {
    uint64_t state;
    unsigned below(unsigned n)
    {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<unsigned>((state >> 33) * n >> 31);
    }
};

// Some strings fit into their object, some do not.
std::string name_of(int number)
{
    std::string text = "entry " + std::to_string(number);
    return number % 3 ? text + " with a longer name than fits inside" : text;
}

void fill(std::unordered_map<std::string, std::vector<int>> &lists,
          std::map<int, std::string> &names, int number)
{
    auto &list = lists[name_of(number)];
    for (int i = 0; i <= number % 16; i++)
        list.push_back(number);
    names[number] = name_of(number);
}

bool run_once(uint64_t seed)
{
    std::unordered_map<std::string, std::vector<int>> lists;
    std::map<int, std::string> names;
    Random random{seed};
    uint64_t expected = 0, found = 0;

    for (int i = 0; i < Entries; i++)
        fill(lists, names, i);
    for (int i = 0; i < Replacements; i++) {
        int number = static_cast<int>(random.below(Entries));
        lists.erase(name_of(number));
        names.erase(number);
        fill(lists, names, number);
    }
    for (const auto &[number, name] : names)
        for (int value : lists.at(name))
            found += static_cast<uint64_t>(value) + (value == number);
    for (uint64_t i = 0; i < Entries; i++)
        expected += (i % 16 + 1) * (i + 1);
    return found == expected;
}

} // namespace

int main()
{
    std::vector<std::thread> threads;
    std::vector<char> good(Threads, 1);

    for (int i = 0; i < Threads; i++)
        threads.emplace_back([i, &good] {
            for (int round = 0; round < Rounds; round++)
                good[i] &= run_once(static_cast<uint64_t>(i * Rounds + round));
        });
    for (std::thread &thread : threads)
        thread.join();
    for (char each : good)
        if (!each) {
            std::fprintf(stderr, "maps: a sum is wrong\n");
            return 1;
        }
    return 0;
}
