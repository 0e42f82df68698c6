/* operators.cc - every form of C++ operator new and delete (ISO C++17 [new.delete]). */
extern "C" {
#include "check.h"
}

#include <cstring>
#include <dlfcn.h>
#include <initializer_list>
#include <malloc.h>
#include <new>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace
{

const std::align_val_t aligned64{64};

/* The library that an operator comes from. */
const char *origin(const char *symbol)
{
    Dl_info info;
    void *address = dlsym(RTLD_DEFAULT, symbol);

    return address && dladdr(address, &info) ? info.dli_fname : "none";
}

/* All must be ours when mymalloc is expected. */
void all_are_overridden()
{
    const char *symbols[] = {"_Znwm",
                             "_Znam",
                             "_ZnwmSt11align_val_t",
                             "_ZnamSt11align_val_t",
                             "_ZnwmRKSt9nothrow_t",
                             "_ZnamRKSt9nothrow_t",
                             "_ZnwmSt11align_val_tRKSt9nothrow_t",
                             "_ZnamSt11align_val_tRKSt9nothrow_t",
                             "_ZdlPv",
                             "_ZdaPv",
                             "_ZdlPvm",
                             "_ZdaPvm",
                             "_ZdlPvRKSt9nothrow_t",
                             "_ZdaPvRKSt9nothrow_t",
                             "_ZdlPvSt11align_val_t",
                             "_ZdaPvSt11align_val_t",
                             "_ZdlPvmSt11align_val_t",
                             "_ZdaPvmSt11align_val_t",
                             "_ZdlPvSt11align_val_tRKSt9nothrow_t",
                             "_ZdaPvSt11align_val_tRKSt9nothrow_t"};
    const char *expect = getenv("TEST_EXPECT");

    if (!expect || strcmp(expect, "mymalloc") != 0)
        return;
    for (const char *symbol : symbols)
        CHECKF(strstr(origin(symbol), "mymalloc"), "%s comes from %s", symbol,
               origin(symbol));
}

void use(void *p, size_t size, size_t alignment = 16)
{
    CHECK(p && reinterpret_cast<uintptr_t>(p) % alignment == 0);
    CHECK(malloc_usable_size(p) >= size);
    memset(p, 0x11, size);
}

/* Each form of new against each form of delete that may take its object back. */
void every_pair()
{
    for (size_t size = 0; size < size_t{1} << 22; size = size * 2 + 1) {
        void *p[12];

        for (int i = 0; i < 12; i++) {
            p[i] = i % 4 == 0   ? ::operator new(opaque(size))
                   : i % 4 == 1 ? ::operator new[](opaque(size))
                   : i % 4 == 2 ? ::operator new(opaque(size), std::nothrow)
                                : ::operator new[](opaque(size), std::nothrow);
            use(p[i], size);
        }
        ::operator delete(p[0]);
        ::operator delete[](p[1]);
        ::operator delete(p[2], std::nothrow);
        ::operator delete[](p[3], std::nothrow);
        ::operator delete(p[4], size);
        ::operator delete[](p[5], size);
        ::operator delete(p[6]);
        ::operator delete[](p[7]);
        ::operator delete(p[8], size);
        ::operator delete[](p[9], size);
        ::operator delete(p[10]);
        ::operator delete[](p[11]);
    }
}

void every_aligned_pair()
{
    for (size_t align = 8; align <= size_t{1} << 20; align *= 2) {
        const std::align_val_t a{align};

        for (size_t size = 1; size < size_t{1} << 21; size = size * 5 + 1) {
            void *p[8];

            for (int i = 0; i < 8; i++) {
                p[i] = i % 4 == 0   ? ::operator new(size, a)
                       : i % 4 == 1 ? ::operator new[](size, a)
                       : i % 4 == 2 ? ::operator new(size, a, std::nothrow)
                                    : ::operator new[](size, a, std::nothrow);
                use(p[i], size, align);
            }
            ::operator delete(p[0], a);
            ::operator delete[](p[1], a);
            ::operator delete(p[2], a, std::nothrow);
            ::operator delete[](p[3], a, std::nothrow);
            ::operator delete(p[4], size, a);
            ::operator delete[](p[5], size, a);
            ::operator delete(p[6], a);
            ::operator delete[](p[7], a);
        }
    }
}

/* A null pointer that the compiler cannot follow from one delete to the next. */
void *null()
{
    return reinterpret_cast<void *>(opaque(0));
}

void delete_of_null()
{
    ::operator delete(null());
    ::operator delete[](null());
    ::operator delete (null(), size_t{8});
    ::operator delete(null(), aligned64);
    ::operator delete (null(), size_t{8}, aligned64);
    ::operator delete[](null(), std::nothrow);
}

template <typename Call> bool throws_bad_alloc(Call call)
{
    try {
        call();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

int handler_calls;

void give_up_at_third()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

void throwing_handler()
{
    handler_calls++;
    throw std::bad_alloc();
}

/* [new.delete.single]: call the new_handler until it gives up; nothrow gives nullptr. */
void failure()
{
    const size_t much = opaque(SIZE_MAX / 2 - 100);

    CHECK(throws_bad_alloc([=] { return ::operator new(much); }));
    CHECK(throws_bad_alloc([=] { return ::operator new[](much); }));
    CHECK(throws_bad_alloc([=] { return ::operator new(much, aligned64); }));
    CHECK(throws_bad_alloc([=] { return ::operator new[](much, aligned64); }));
    CHECK(!::operator new(much, std::nothrow));
    CHECK(!::operator new[](much, std::nothrow));
    CHECK(!::operator new(much, aligned64, std::nothrow));
    CHECK(!::operator new[](much, aligned64, std::nothrow));

    for (int form = 0; form < 4; form++) {
        handler_calls = 0;
        std::set_new_handler(give_up_at_third);
        if (form == 0)
            CHECK(throws_bad_alloc([=] { return ::operator new(much); }));
        else if (form == 1)
            CHECK(!::operator new(much, std::nothrow));
        else if (form == 2)
            CHECK(throws_bad_alloc([=] { return ::operator new[](much, aligned64); }));
        else
            CHECK(!::operator new[](much, aligned64, std::nothrow));
        CHECKF(handler_calls == 3, "form %d: %d calls", form, handler_calls);
    }
    std::set_new_handler(throwing_handler);
    handler_calls = 0;
    CHECK(throws_bad_alloc([=] { return ::operator new(much); }));
    CHECK(!::operator new(much, std::nothrow));
    CHECK(handler_calls == 2);
    std::set_new_handler(nullptr);
}

/* Nor a size that becomes a small one when it is rounded up, as libstdc++ 12 does. */
void sizes_do_not_wrap()
{
    const size_t much = opaque(SIZE_MAX - 8);
    const char *expect = getenv("TEST_EXPECT");

    if (!expect || strcmp(expect, "mymalloc") != 0)
        return;
    for (auto handler : {std::new_handler{nullptr}, throwing_handler}) {
        std::set_new_handler(handler);
        CHECK(throws_bad_alloc([=] { return ::operator new(much, aligned64); }));
        CHECK(throws_bad_alloc([=] { return ::operator new[](much, aligned64); }));
        CHECK(!::operator new(much, aligned64, std::nothrow));
        CHECK(!::operator new[](much, aligned64, std::nothrow));
    }
    std::set_new_handler(nullptr);
}

int catches;

/* Without a handler that could give memory there is nothing to throw for. */
void nothrow_throws_nothing()
{
    const size_t much = opaque(SIZE_MAX / 2 - 100);
    const char *expect = getenv("TEST_EXPECT");

    std::set_new_handler(nullptr);
    catches = 0;
    CHECK(throws_bad_alloc([=] { return ::operator new(much); }));
    CHECK(catches == 1); /* they are counted */
    CHECK(!::operator new(much, std::nothrow));
    CHECK(!::operator new[](much, std::nothrow));
    CHECK(!::operator new(much, aligned64, std::nothrow));
    CHECK(!::operator new[](much, aligned64, std::nothrow));
    if (expect && strcmp(expect, "mymalloc") == 0)
        CHECKF(catches == 1, "%d exceptions", catches - 1);
}

/* The containers people use, across threads. */
void containers()
{
    std::vector<std::thread> threads;

    for (int t = 0; t < 4; t++)
        threads.emplace_back([t] {
            std::vector<std::string> words;

            for (int i = 0; i < 5000; i++)
                words.push_back(std::string(static_cast<size_t>(i % 300), 'a' + t));
            for (int i = 0; i < 5000; i++)
                CHECK(words[static_cast<size_t>(i)] ==
                      std::string(static_cast<size_t>(i % 300), 'a' + t));
        });
    for (auto &thread : threads)
        thread.join();
}

/* See late.cc. */
void failure_during_dlopen()
{
    const char *library = getenv("TEST_LATE");
    int (*count)();

    CHECK(library);
    try {
        throw 1; /* what is looked up once, below, is known */
    } catch (int) {
    }
    alarm(60);
    void *late = dlopen(library, RTLD_NOW);
    CHECKF(late, "%s", dlerror());
    count = reinterpret_cast<int (*)()>(dlsym(late, "late_caught"));
    CHECK(count && count() == 3);
    alarm(0);
}

} // namespace

/* In front of the C++ library's own, which it calls too. */
extern "C" void *__cxa_begin_catch(void *exception) noexcept
{
    using function = void *(*)(void *);
    static const auto next =
        reinterpret_cast<function>(dlsym(RTLD_NEXT, "__cxa_begin_catch"));

    catches++;
    return next(exception);
}

extern "C" const struct test tests[] = {
    {"all_are_overridden", all_are_overridden},
    {"every_pair", every_pair},
    {"every_aligned_pair", every_aligned_pair},
    {"delete_of_null", delete_of_null},
    {"failure", failure},
    {"sizes_do_not_wrap", sizes_do_not_wrap},
    {"nothrow_throws_nothing", nothrow_throws_nothing},
    {"failure_during_dlopen", failure_during_dlopen},
    {"containers", containers},
    {nullptr, nullptr},
};
