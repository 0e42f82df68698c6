// unit.cc - what c++ and clang++ compile: templates, as programs of C++ have them.

#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>
int main()
{
    std::map<std::string, std::vector<std::shared_ptr<std::function<int(int)>>>> table;
    for (int i = 0; i < 10; i++)
        table[std::to_string(i)].push_back(
            std::make_shared<std::function<int(int)>>([i](int x) { return x + i; }));
    std::unordered_map<std::string, int> counts;
    std::istringstream text("a b a");
    for (std::string word; text >> word;)
        counts[word]++;
    std::vector<std::pair<std::string, int>> order(counts.begin(), counts.end());
    std::sort(order.begin(), order.end(),
              [](auto &a, auto &b) { return a.second > b.second; });
    std::cout << order.front().first << table.size() << "\n";
}
