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

    // Of the workload's fixed work, how much: 1, or less where a cell would last much
    // longer than its siblings. A crowd of threads divides the work that is given per
    // thread; a large size does less of the work that is given in objects.
    double work_share() const;
};

// Every cell, in the order to show them.
std::vector<Cell> all_cells();

// The same workload over the stub, which keeps no payload to verify.
const struct workload *null_form(const struct workload *w, struct settings *set);
