/*
 * operators.cc - COUNT objects by each C++ operator new, and one that throws.
 */
#include <cstdio>
#include <new>

constexpr int COUNT = 1000;
constexpr std::size_t SIZE = 30001;

struct plain {
    char bytes[SIZE];
};
struct alignas(128) aligned {
    char bytes[128 * 235];
};

static void *volatile sink;

template <class T> static void make_and_drop()
{
    T *one = new T, *quiet = new (std::nothrow) T, *many = new T[2];

    sink = one;
    sink = quiet;
    sink = many;
    delete one;
    delete quiet;
    delete[] many;
}

int main(int argc, char **)
{
    volatile std::size_t impossible = std::size_t(1) << 62;
    int thrown = 0;

    for (int i = 0; i < COUNT; i++) {
        make_and_drop<plain>();
        make_and_drop<aligned>();
    }
    for (int i = 0; i < COUNT; i++) {
        try { /* with any argument: an allocator that cannot throw */
            if (argc > 1)
                throw std::bad_alloc();
            sink = new char[impossible];
        } catch (const std::bad_alloc &) {
            thrown++;
        }
        delete new plain; /* recorded still, after the throw */
    }
    std::printf("thrown %d\n", thrown);
    return 8;
}
