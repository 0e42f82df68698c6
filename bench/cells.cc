// cells.cc - which variants run with which numbers of threads.
#include "cells.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

namespace
{

unsigned cpu_count()
{
    return std::max(1u, std::thread::hardware_concurrency());
}

// Powers of two up to `most`, and this machine's own number of CPUs and its double.
std::vector<unsigned> counts(unsigned least, unsigned most)
{
    std::vector<unsigned> list;
    unsigned cpus = cpu_count();

    for (unsigned n = least; n <= most; n *= 2)
        list.push_back(n);
    for (unsigned n : {cpus, 2 * cpus})
        if (n >= least && n <= 1024)
            list.push_back(n);
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
    return list;
}

void add(std::vector<Cell> *cells, const char *name, const std::string &variant,
         const std::string &option = "", const std::string &value = "")
{
    std::string cell = std::string(name) + "/" + variant;
    if (!option.empty())
        cell += "/" + option + ":" + value;
    cells->push_back({cell, workload_find(name), variant, option, value});
}

void add_counts(std::vector<Cell> *cells, const char *name, const char *variant,
                const char *option, unsigned least, unsigned most)
{
    for (unsigned n : counts(least, most))
        add(cells, name, variant, option, std::to_string(n));
}

// Every variant as it stands.
void add_variants(std::vector<Cell> *cells, const char *name)
{
    const struct workload *w = workload_find(name);
    for (size_t i = 0; i < w->variant_count; i++)
        add(cells, name, w->variants[i].name);
}

} // namespace

double Cell::work_share() const
{
    if (option == "size") // what is written as a whole costs in proportion to it
        return std::min(
            1.0, std::pow(std::stod(value) / 1024, variant == "written" ? -1.0 : -0.6));
    if (option != "threads" && option != "pairs")
        return 1;
    double threads = std::stod(value) * (option == "pairs" ? 2 : 1);
    return std::min(1.0, cpu_count() / threads);
}

std::vector<Cell> all_cells()
{
    std::vector<Cell> cells;

    for (const char *variant : {"classic", "fixed"})
        add_counts(&cells, "larson", variant, "threads", 1, 64);
    add_counts(&cells, "larson", "cxx", "threads", 1, 8);
    for (const char *variant : {"remote50", "remote90", "latency"})
        add_counts(&cells, "larson", variant, "threads", 2, 8);
    add(&cells, "larson", "stalls", "threads", "2");
    for (const char *variant : {"64B", "mixed"})
        add_counts(&cells, "xmalloc", variant, "pairs", 1, 32);
    for (const char *variant : {"fifo", "mixed-fifo", "latency"})
        add_counts(&cells, "xmalloc", variant, "pairs", 1, 4);
    add(&cells, "xmalloc", "stalls", "pairs", "1");
    add_variants(&cells, "prodcons");
    for (const char *variant : {"short", "leave"})
        add_counts(&cells, "churn", variant, "threads", 1, 8);
    add_variants(&cells, "crowd");
    for (const char *variant : {"small", "mixed"})
        add_counts(&cells, "requests", variant, "threads", 1, 8);
    add_counts(&cells, "requests", "arena", "threads", 1, 4);
    for (const char *variant : {"mixed-arena", "monotonic"})
        add(&cells, "requests", variant);
    for (const char *variant : {"pair", "batch"})
        for (unsigned size = 8; size <= 32u << 20; size *= 2)
            add(&cells, "sweep", variant, "size", std::to_string(size));
    for (const char *variant : {"cxx-pair", "cxx-batch"})
        for (unsigned size = 16; size <= 32u << 10; size *= 4)
            add(&cells, "sweep", variant, "size", std::to_string(size));
    for (const char *variant : {"written", "ends"})
        for (unsigned size = 4096; size <= 4u << 20; size *= 4)
            add(&cells, "replace", variant, "size", std::to_string(size));
    for (const char *bytes : {"8M", "32M", "128M", "512M", "2G"})
        add(&cells, "swing", "buffers", "bytes", bytes);
    for (const char *bytes : {"64M", "256M", "1G"})
        add(&cells, "walk", "aged", "bytes", bytes);
    for (const char *bytes : {"1K", "2K", "3K", "4K", "8000", "8K", "16000"})
        add(&cells, "rows", "square", "row", bytes);
    for (const char *bytes :
         {"4K", "8000", "32000", "64K", "100000", "800000", "1M", "8M"})
        add(&cells, "rows", "few", "row", bytes);
    for (const char *name : {"order", "regrow", "aligned", "zeroed"})
        add_variants(&cells, name);
    add_counts(&cells, "large", "churn", "threads", 1, 4);
    add(&cells, "large", "blocks");
    add_variants(&cells, "fragment");
    for (const char *variant : {"active", "passive"})
        add_counts(&cells, "sharing", variant, "threads", 2, 8);
    add_variants(&cells, "idle");
    return cells;
}

const struct workload *null_form(const struct workload *w, struct settings *set)
{
    size_t count;
    const struct workload *const *list = null_workload_list(&count);
    char why[64];

    for (size_t i = 0; i < count; i++)
        if (!std::strcmp(list[i]->name, w->name)) {
            // nothing it hands out could be verified, or given back while idle
            workload_set(w, set, "verify", "none", why, sizeof(why));
            workload_set(w, set, "settle", "0", why, sizeof(why));
            return list[i];
        }
    return nullptr;
}
