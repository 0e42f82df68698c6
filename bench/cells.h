// cells.h - the cells of the benchmark: workload, variant and at most one option's value.
#pragma once

#include "workload.h"

#include <string>
#include <vector>

struct Cell {
    std::string name; // larson/fixed/threads:2
    const struct workload *workload;
    std::string variant;
    std::string option, value; // empty when the variant says it all

    // Threads per CPU, at least 1. Fixed work is given per thread: a crowd of threads
    // divides it, so that the cell lasts as long as one that fits the machine.
    double crowding() const;
};

// Every cell, in the order to show them.
std::vector<Cell> all_cells();

// The same workload over the stub, which keeps no payload to verify.
const struct workload *null_form(const struct workload *w, struct settings *set);
