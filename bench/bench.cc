// bench.cc - mymalloc-bench: the workloads as Google Benchmark cells.
//
//   mymalloc-bench --benchmark_list_tests
//   mymalloc-bench --benchmark_filter='^larson/fixed/threads:2$' --benchmark_format=json
//
// A cell is workload/variant[/option:value]. It is run once: peak RSS and the state of an
// allocator belong to a process, so repetitions are the caller's, in fresh processes.
// This program links no allocator; LD_PRELOAD brings one, and the JSON's context says
// which one answered.
//
//   MYMALLOC_BENCH_SCALE=0.1   multiplies the work of a cell
//   MYMALLOC_BENCH_NULL=1      a stub instead of malloc: the cost of the harness
//   MYMALLOC_BENCH_TIMELINE=F  writes live bytes and RSS over time to the file F (CSV)
//
// Names are Google Benchmark's without the suffixes "/iterations:1/manual_time", which
// every cell would carry: the filter and the reporters below leave them out.
#include "cells.h"
#include "identity.h"
#include "workload.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <regex>
#include <string>
#include <vector>

namespace
{

struct Environment {
    double scale = 1;
    bool null_heap = false;
    const char *timeline = nullptr;
};

Environment environment;
bool failed;

[[noreturn]] void refuse(const std::string &line)
{
    std::cerr << program_invocation_short_name << ": " << line << "\n";
    std::exit(2);
}

void read_environment()
{
    if (const char *text = std::getenv("MYMALLOC_BENCH_SCALE")) {
        char *end = nullptr;
        environment.scale = std::strtod(text, &end);
        if (end == text || *end ||
            !(environment.scale > 0 && environment.scale <= 1000))
            refuse("MYMALLOC_BENCH_SCALE '" + std::string(text) +
                   "': must be a number above 0 and at most 1000");
    }
    environment.timeline = std::getenv("MYMALLOC_BENCH_TIMELINE");
    if (const char *text = std::getenv("MYMALLOC_BENCH_NULL")) {
        if (std::strcmp(text, "0") && std::strcmp(text, "1"))
            refuse("MYMALLOC_BENCH_NULL '" + std::string(text) + "': must be 0 or 1");
        environment.null_heap = *text == '1';
    }
}

void report_latency(benchmark::State &state, const std::string &call, const latency &h)
{
    state.counters[call + "_p50_ns"] = latency_percentile(&h, 0.5);
    state.counters[call + "_p99_ns"] = latency_percentile(&h, 0.99);
    state.counters[call + "_p999_ns"] = latency_percentile(&h, 0.999);
    state.counters[call + "_p9999_ns"] = latency_percentile(&h, 0.9999);
    state.counters[call + "_max_ns"] = latency_max(&h);
    state.counters[call + "_calls"] = static_cast<double>(h.count);
}

void report_memory(benchmark::State &state, const workload_result &r)
{
    state.counters["live_bytes"] = static_cast<double>(r.live_peak);
    state.counters["base_rss_bytes"] = static_cast<double>(r.base_rss);
    state.counters["peak_rss_bytes"] = static_cast<double>(r.peak_rss);
    state.counters["huge_bytes"] = static_cast<double>(r.huge_rss);
    state.counters["rss_end_bytes"] = static_cast<double>(r.end_rss);
    state.counters["harness_bytes"] = static_cast<double>(r.harness_bytes);
    state.counters["minor_faults"] = static_cast<double>(r.minor_faults);
    state.counters["major_faults"] = static_cast<double>(r.major_faults);
    if (r.has_held) {
        state.counters["held_live_bytes"] = static_cast<double>(r.held_live);
        state.counters["held_rss_bytes"] = static_cast<double>(r.held_rss);
    }
    for (int i = 0;
         r.has_settled && i < SETTLE_MOMENTS && settle_moment[i] <= r.settled_for;
         i++) {
        char name[32];
        std::snprintf(name, sizeof(name), "rss_after_%gs_bytes", settle_moment[i]);
        state.counters[name] = static_cast<double>(r.settled_rss[i]);
    }
    if (r.has_settled)
        state.counters["settled_live_bytes"] = static_cast<double>(r.settled_live);
    if (r.has_slope)
        state.counters["rss_slope_bytes_per_s"] = r.rss_slope;
}

void write_timeline(const workload_result &r)
{
    std::FILE *file = std::fopen(environment.timeline, "we");
    if (!file)
        refuse(std::string(environment.timeline) + ": " + std::strerror(errno));
    std::fprintf(file, "seconds,live_bytes,rss_bytes\n");
    for (size_t i = 0; i < r.sample_count; i++)
        std::fprintf(file, "%.4f,%lld,%llu\n", r.samples[i].at,
                     static_cast<long long>(r.samples[i].live),
                     static_cast<unsigned long long>(r.samples[i].rss));
    if (std::fclose(file))
        refuse(std::string(environment.timeline) + ": " + std::strerror(errno));
}

void report(benchmark::State &state, const Cell &cell, const workload_result &r,
            bool good)
{
    const auto ops = static_cast<double>(r.ops);

    state.SetIterationTime(r.seconds);
    state.counters["ops"] = ops;
    state.counters["ops_per_second"] = ops / r.seconds;
    state.counters["ns_per_op"] = 1e9 * r.seconds / ops;
    state.counters["failed"] = good ? 0 : 1;
    state.counters["checked"] = static_cast<double>(r.checked);
    if (r.has_remote)
        state.counters["remote_share"] = workload_remote_share(&r);
    report_memory(state, r);
    if (r.has_latency) {
        report_latency(state, "malloc", r.malloc_latency);
        report_latency(state, "free", r.free_latency);
        state.counters["timer_ns"] = latency_timer_ns();
    }
    if (!good) {
        failed = true;
        std::cerr << program_invocation_short_name << ": " << cell.name << ": "
                  << r.errors << " of " << r.checked
                  << " objects checked were damaged, misaligned or not zeroed, "
                  << r.live_end << " bytes still live\n";
    }
}

// The cell's settings: defaults, the variant's, the cell's own, the scale.
settings settings_of(const Cell &cell)
{
    settings set;
    char why[256] = "no such variant";

    if (!workload_defaults(cell.workload, cell.variant.c_str(), &set) ||
        (!cell.option.empty() && !workload_set(cell.workload, &set, cell.option.c_str(),
                                               cell.value.c_str(), why, sizeof(why))))
        refuse(cell.name + ": " + why);
    workload_scale(cell.workload, &set, environment.scale * cell.work_share(),
                   environment.scale);
    return set;
}

// The threads that the settings ask for: what tells a crowded cell from one that fits.
double thread_count(const struct workload *w, const settings &set)
{
    double threads = 0;

    for (size_t i = 0; i < w->option_count; i++) {
        const std::string name = w->options[i].name;
        if (w->options[i].work)
            continue; // "pairs" may be calls
        if (name == "threads" || name == "producers" || name == "consumers" ||
            name == "stages")
            threads += set.value[i];
        else if (name == "pairs")
            threads += 2 * set.value[i];
    }
    return std::max(1.0, threads);
}

// The amounts of work that this run had, after all scaling: "batches=750 seconds=2.5".
std::string work_of(const struct workload *w, const settings &set)
{
    std::string text;

    for (size_t i = 0; i < w->option_count; i++) {
        char value[32];
        if (!w->options[i].work || set.value[i] == 0)
            continue;
        workload_show(&w->options[i], set.value[i], value, sizeof(value));
        text +=
            (text.empty() ? "" : " ") + std::string(w->options[i].name) + "=" + value;
    }
    return text;
}

// What the harness costs by itself, a sixth of the work at a time: the first run maps and
// faults, of six others the median counts. It lies between the least and the most of six
// with a chance of 1 - 2/64, whatever the distribution: the interval reported.
void run_null(benchmark::State &state, const struct workload *w, settings set,
              workload_result *result)
{
    enum { Runs = 6 };
    std::vector<double> ns;

    workload_scale(w, &set, 1.0 / Runs, 1.0 / Runs);
    for (int i = 0; i <= Runs; i++) {
        workload_run(w, &set, result);
        if (i > 0)
            ns.push_back(1e9 * result->seconds / static_cast<double>(result->ops));
    }
    std::sort(ns.begin(), ns.end());
    double median = (ns[Runs / 2 - 1] + ns[Runs / 2]) / 2;
    result->seconds = median * static_cast<double>(result->ops) / 1e9;
    state.counters["harness_ns"] = median;
    state.counters["harness_ns_low"] = ns.front();
    state.counters["harness_ns_high"] = ns.back();
}

void run_cell(benchmark::State &state, const Cell &cell)
{
    static workload_result result;
    settings set = settings_of(cell);
    const workload *w = cell.workload;

    if (environment.null_heap)
        w = null_form(w, &set);
    for (auto _ : state)
        if (environment.null_heap)
            run_null(state, w, set, &result);
        else
            workload_run(w, &set, &result);
    report(state, cell, result, workload_verified(&result));
    state.SetLabel(work_of(w, set));
    state.counters["workload_threads"] = thread_count(w, set);
    if (environment.timeline)
        write_timeline(result);
}

// Drops what every cell would carry from the names.
template <typename Base> class ShortNames : public Base
{
  public:
    using Base::Base;
    void ReportRuns(const std::vector<benchmark::BenchmarkReporter::Run> &runs) override
    {
        auto copy = runs;
        for (auto &run : copy) {
            run.run_name.iterations.clear();
            run.run_name.time_type.clear();
        }
        Base::ReportRuns(copy);
    }
};

std::unique_ptr<benchmark::BenchmarkReporter> make_reporter(const std::string &format)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" // the CSV one is deprecated
    if (format == "json")
        return std::make_unique<ShortNames<benchmark::JSONReporter>>();
    if (format == "csv")
        return std::make_unique<ShortNames<benchmark::CSVReporter>>();
#pragma GCC diagnostic pop
    return std::make_unique<ShortNames<benchmark::ConsoleReporter>>(
        benchmark::ConsoleReporter::OO_None);
}

// What this program must know of Google Benchmark's own options, which it leaves in place.
struct Flags {
    std::string format = "console", out_format = "json";
    bool has_out = false, list = false;
};

Flags read_flags(int argc, char **argv)
{
    Flags flags;
    auto value = [](const std::string &arg, const char *name, std::string *into) {
        std::string prefix = std::string("--benchmark_") + name + "=";
        if (arg.compare(0, prefix.size(), prefix) != 0)
            return false;
        *into = arg.substr(prefix.size());
        return true;
    };

    for (int i = 1; i < argc; i++) {
        std::string arg = argv[i], text;
        value(arg, "format", &flags.format);
        value(arg, "out_format", &flags.out_format);
        flags.has_out |= value(arg, "out", &text);
        flags.list |= arg == "--benchmark_list_tests" ||
                      (value(arg, "list_tests", &text) && text == "true");
    }
    return flags;
}

std::vector<Cell> select_cells(const std::string &filter)
{
    std::vector<Cell> all = all_cells(), chosen;

    if (filter.empty() || filter == "all")
        return all;
    try {
        bool negated = filter[0] == '-';
        std::regex regex(negated ? filter.substr(1) : filter, std::regex::extended);
        for (const Cell &cell : all)
            if (std::regex_search(cell.name, regex) != negated)
                chosen.push_back(cell);
    } catch (const std::regex_error &) {
        refuse("--benchmark_filter '" + filter + "' is not a regular expression");
    }
    if (chosen.empty())
        refuse("no cell matches '" + filter + "'; --benchmark_list_tests names them");
    return chosen;
}

void add_context()
{
    Identity id = identify_allocator();

    benchmark::AddCustomContext("allocator_path", id.path);
    benchmark::AddCustomContext("allocator_version", id.version);
    if (!id.frontend.empty())
        benchmark::AddCustomContext("allocator_frontend", id.frontend);
    benchmark::AddCustomContext("harness_heap",
                                environment.null_heap ? "null" : "allocator");
    benchmark::AddCustomContext("scale", std::to_string(environment.scale));
}

} // namespace

int main(int argc, char **argv)
{
    Flags flags = read_flags(argc, argv);

    benchmark::Initialize(&argc, argv);
    if (argc > 1)
        refuse("'" + std::string(argv[1]) + "' is not an option; see --help");
    read_environment();
    std::vector<Cell> cells = select_cells(benchmark::GetBenchmarkFilter());
    if (flags.list) {
        for (const Cell &cell : cells)
            std::cout << cell.name << "\n";
        return 0;
    }
    add_context();
    for (const Cell &cell : cells)
        benchmark::RegisterBenchmark(
            cell.name.c_str(),
            [cell](benchmark::State &state) { run_cell(state, cell); })
            ->Iterations(1)
            ->UseManualTime()
            ->Unit(benchmark::kMillisecond);
    auto display = make_reporter(flags.format), file = make_reporter(flags.out_format);
    benchmark::RunSpecifiedBenchmarks(display.get(),
                                      flags.has_out ? file.get() : nullptr, ".");
    return failed ? 1 : 0;
}
