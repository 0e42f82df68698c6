/*
 * sample.c - which objects are sampled: a countdown of bytes per thread, to points that lie
 * an exponentially distributed distance apart.
 *
 * The process has no memory: wherever a countdown starts again (behind a sampled object, in
 * a new thread, at another rate) nothing is biased by it. Counting in each call is what
 * keeps it so for every stack: points that lay in what a magazine's refill brings would
 * all fall on whoever causes refills.
 *
 * Logarithm and exponential are made here: libm is not linked for them.
 */
#include "profile/profile.h"

#include "os/os.h"

#include <stdatomic.h>

#define LN2 0.6931471805599453

struct mym_watch mym_watch = {.epoch = 1};
__thread struct mym_countdown mym_countdown __attribute__((tls_model("initial-exec")));

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
    return mym_mix(*state += MYM_GOLDEN);
}

/* -ln of a number that is even over (0, 1]: bits / 2^64. */
static double exponential(uint64_t bits)
{
    unsigned zeros = bits == 0 ? 63 : (unsigned)__builtin_clzll(bits);
    double m = (double)(bits << zeros | 1) / 9223372036854775808.0; /* [1, 2) */
    double s = (m - 1) / (m + 1), square = s * s, term = s, sum = 0;

    for (int i = 1; i <= 19; i += 2, term *= square) /* ln m = 2 artanh s, s < 1/3 */
        sum += term / i;
    return (zeros + 1) * LN2 - 2 * sum;
}

/* e^-x for x >= 0. */
static double exp_of_minus(double x)
{
    double part = 1, sum = 1;
    unsigned halvings = 0;

    if (x > 40) /* less than what a double can take from 1 */
        return 0;
    for (; x > 0.5; halvings++)
        x /= 2;
    for (int i = 1; i <= 14; i++)
        sum += part *= -x / i;
    for (; halvings > 0; halvings--)
        sum *= sum;
    return sum;
}

double mym_sample_weight(size_t bytes, size_t every)
{
    double x = (double)bytes / (double)every;

    if (every == 1)
        return 1;
    /* Where 1 - e^-x would lose digits its series does not. */
    return x < 1e-4 ? 1 / (x - x * x / 2) : 1 / (1 - exp_of_minus(x));
}

static _Atomic uint64_t threads;

static int64_t draw(struct mym_countdown *countdown)
{
    size_t every = MYM_RACY(mym_watch.every);

    /*
     * The address tells threads apart that there are, the number those that have the place
     * one after the other, the clock processes.
     */
    if (countdown->random == 0)
        countdown->random =
            (uintptr_t)countdown ^
            (mym_os_wall_ns() +
             atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed)) *
                MYM_GOLDEN;
    return every == 1 ? 0
                      : (int64_t)(exponential(next_random(&countdown->random)) *
                                  (double)every);
}

/* So many bytes are left before the next point. */
static void set_out(struct mym_countdown *countdown, int64_t left)
{
    int64_t stretch = left < MYM_STRETCH ? left : MYM_STRETCH;

    countdown->up = -1 - stretch;
    countdown->beyond = left - stretch;
}

MYM_APART bool mym_sample_reached(size_t bytes)
{
    struct mym_countdown *countdown = &mym_countdown;

    int64_t left;

    if (countdown->inside)
        return false;
    left = countdown->beyond - countdown->up - 1;
    if (countdown->epoch != MYM_RACY(mym_watch.epoch)) {
        countdown->epoch = MYM_RACY(mym_watch.epoch);
        left = draw(countdown) - (int64_t)bytes;
    }
    if (left >= 0) {
        set_out(countdown, left);
        return false;
    }
    set_out(countdown, draw(countdown));
    return true;
}

void mym_sample_forget(void)
{
    mym_countdown.up = 0;
    mym_countdown.epoch = 0;
}

/*
 * P(one of his) / P(one of all), by which an object that has one of all has one of his: the
 * weights are the reciprocals.
 */
size_t mym_sample_for(enum mym_watcher who, size_t bytes)
{
    size_t every = MYM_RACY(mym_watch.every), his = MYM_RACY(mym_watch.of[who]);
    double lot;

    if (his <= every) /* 0, too */
        return his;
    lot = (double)(next_random(&mym_countdown.random) >> 11) / 9007199254740992.0;
    return lot * mym_sample_weight(bytes, his) < mym_sample_weight(bytes, every) ? his
                                                                                 : 0;
}

void mym_watch_set(enum mym_watcher who, size_t every)
{
    size_t least = 0;

    __atomic_store_n(&mym_watch.of[who], every, __ATOMIC_RELAXED);
    if (who == MYM_FOR_PROFILE && every != 0)
        __atomic_store_n(&mym_watch.period, every, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < MYM_WATCHERS; i++)
        if (mym_watch.of[i] != 0 && (least == 0 || mym_watch.of[i] < least))
            least = mym_watch.of[i];
    if (least != 0) { /* who still counts goes on with the last */
        __atomic_store_n(&mym_watch.every, least, __ATOMIC_RELAXED);
        __atomic_store_n(&mym_watch.epoch, mym_watch.epoch + 1, __ATOMIC_RELEASE);
    }
    mym_watch_pause(least == 0);
    mym_sample_forget(); /* others notice within a stretch */
}

void mym_watch_pause(bool paused)
{
    bool wanted = false;

    for (unsigned i = 0; i < MYM_WATCHERS; i++)
        wanted |= mym_watch.of[i] != 0;
    __atomic_store_n(&mym_watch.on, wanted && !paused, __ATOMIC_RELAXED);
}
