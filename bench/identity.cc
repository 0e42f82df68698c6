// identity.cc - the proof of identity: ask the object in which malloc resolves.
//
// The questions go to that object alone, not to the whole process: a program may carry
// several allocators' symbols while only one answers malloc.
#include "identity.h"

#include <dlfcn.h>

#include <functional>
#include <vector>

namespace
{

// A function of the object at `path`, not of the libraries it depends on.
template <typename Function>
Function *function_of(const std::string &path, void *handle, const char *name)
{
    void *symbol = dlsym(handle, name);
    Dl_info info;

    if (!symbol || !dladdr(symbol, &info) || path != info.dli_fname)
        return nullptr;
    return reinterpret_cast<Function *>(symbol);
}

// mimalloc packs a version as 209 for 2.0.9 and, since 3.2, as 30204 for 3.2.4.
std::string mimalloc_version(int packed)
{
    int base = packed >= 10000 ? 100 : 10;
    return "mimalloc " + std::to_string(packed / (base * base)) + "." +
           std::to_string(packed / base % base) + "." + std::to_string(packed % base);
}

std::string ask_version(const std::string &path, void *handle)
{
    if (auto *f = function_of<const char *()>(path, handle, "MyVersion"))
        return f();
    if (auto *f = function_of<int()>(path, handle, "mi_version"))
        return mimalloc_version(f());
    if (auto *f = function_of<const char *(int *, int *, const char **)>(
            path, handle, "tc_version")) {
        int major = 0, minor = 0;
        const char *patch = "";
        f(&major, &minor, &patch); // gperftools: the version as text, "gperftools 2.10"
        return f(&major, &minor, &patch);
    }
    if (auto *f = function_of<int(const char *, void *, size_t *, void *, size_t)>(
            path, handle, "mallctl")) {
        const char *version = nullptr;
        size_t size = sizeof(version);
        if (f("version", &version, &size, nullptr, 0) == 0 && version)
            return std::string("jemalloc ") + version;
    }
    if (auto *f = function_of<const char *()>(path, handle, "gnu_get_libc_version"))
        return std::string("glibc ") + f();
    return "unknown";
}

} // namespace

Identity identify_allocator()
{
    Identity id{"unknown", "unknown", ""};
    void *symbol = dlsym(RTLD_DEFAULT, "malloc");
    Dl_info info;

    if (!symbol || !dladdr(symbol, &info))
        return id;
    id.path = info.dli_fname;
    void *handle = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (!handle)
        handle = dlopen(nullptr, RTLD_LAZY); // linked into the program itself
    id.version = ask_version(id.path, handle);
    if (auto *f =
            function_of<const char *(const char **)>(id.path, handle, "MyFrontend")) {
        const char *why = nullptr;
        const char *mode = f(&why);
        id.frontend = std::string(mode ? mode : "unknown") +
                      (why ? std::string(" - ") + why : "");
    }
    dlclose(handle);
    return id;
}
