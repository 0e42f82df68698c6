/*
 * late.cc - a library whose constructor waits for a thread, in which operator new fails: what
 * that needs of the dynamic linker must not wait for the dlopen that runs the constructor.
 */
#include <cstdint>
#include <new>
#include <thread>

namespace
{

volatile std::size_t huge = SIZE_MAX / 4;
int caught;

void fail()
{
    try {
        ::operator delete(::operator new(huge));
    } catch (const std::bad_alloc &) {
        caught++;
    }
    caught += ::operator new(huge, std::nothrow) == nullptr;
    caught += ::operator new (huge, std::align_val_t{64}, std::nothrow) == nullptr;
}

struct waiting {
    waiting()
    {
        std::thread(fail).join();
    }
} waiting;

} // namespace

extern "C" int late_caught()
{
    return caught;
}
