// identity.h - which allocator answers in this process, and how it can be told.
#pragma once

#include <string>

struct Identity {
    std::string path;     // the file in which `malloc` resolves
    std::string version;  // as that file reports it; "unknown" if it has no such call
    std::string frontend; // mymalloc's front end; empty elsewhere
};

Identity identify_allocator();
