/* throw.cc - stacks are walked while an exception is made, on its way, and where it is caught. */
using walk_of = void();
extern "C" void stacks_throw(unsigned depth, walk_of *then);

namespace
{
struct thrown {
    walk_of *then;
    explicit thrown(walk_of *walk) : then(walk)
    {
        then();
    }
};

struct passed {
    walk_of *then;
    ~passed()
    {
        then();
    }
};

__attribute__((noinline)) void fall(unsigned depth, walk_of *then)
{
    if (depth == 0)
        throw thrown(then);
    fall(depth - 1, then);
    asm volatile(""); /* not the last call */
}

__attribute__((noinline)) void pass(unsigned depth, walk_of *then)
{
    passed one{then};

    fall(depth, then);
}
} // namespace

void stacks_throw(unsigned depth, walk_of *then)
{
    try {
        pass(depth, then);
    } catch (const thrown &it) {
        it.then();
    }
}
