/*
 * mutex.pml - the mutex (os/mutex.c): THREADS that take it TURNS times each, the first of them as
 * fork does, and one that forks without handlers, which takes it if it is given it within its patience.
 *
 * A futex call compares and falls asleep, or wakes one, in one step of the kernel. Whom it wakes
 * is not said. Whoever waits with a time may wake up by itself at any moment.
 *
 * Checked: one at a time has it, and all end, so nobody sleeps for ever where it is free (spin: no
 * invalid end state).
 *
 * Mutations that must be caught (model.sh):
 *   KEEPS_WAKE  who gives up wakes nobody
 *   FORGETS     who waited takes it as if nobody else slept
 *   NO_MARK     a sleeper does not say that it sleeps
 */
#ifndef THREADS /* model.sh checks several machines */
#define THREADS  2
#define TURNS    2
#define PATIENCE 1
#endif
#define FORK THREADS

byte state;               /* 0 free, 1 held, 2 with sleepers, 3 and 4 the same, by who forks */
bool asleep[THREADS + 1];
byte inside;              /* ghost: how many have it */

inline enter()
{
    inside++;
    assert(inside == 1)
}

/* One of those that sleep, or none. */
inline wake()
{
    atomic {
        if
        :: asleep[0] -> asleep[0] = false
#if THREADS > 1
        :: asleep[1] -> asleep[1] = false
#endif
#if THREADS > 2
        :: asleep[2] -> asleep[2] = false
#endif
        :: asleep[FORK] -> asleep[FORK] = false
        :: else
        fi
    }
}

/* took: it was free. Else one wait is over. */
inline take_or_wait(t, taken, timed)
{
    atomic {
        if
        :: state == 0 -> state = taken; seen = 0; took = true; enter()
        :: else -> seen = state; took = false
        fi
    }
    if
    :: took
    :: else ->
        word = seen;
#ifndef NO_MARK
        atomic {
            if
            :: seen % 2 == 1 && state == seen -> word = seen + 1; state = word
            :: else
            fi
        };
#endif
        if
#ifndef NO_MARK
        :: word % 2 == 1 /* it is another one's by now: look again */
#endif
        :: else ->
            atomic {
                if
                :: state == word -> asleep[t] = true
                :: else
                fi
            }
            if
            :: atomic { !asleep[t] }
            :: atomic { timed && asleep[t] -> asleep[t] = false }
            fi
        fi
    fi
}

inline release()
{
    atomic { inside--; seen = state; state = 0 }
    if
    :: seen % 2 == 0 -> wake()
    :: else
    fi
}

active [THREADS] proctype thread()
{
    byte seen, word, turn;
    bool took;

    do
    :: turn < TURNS ->
        turn++;
        atomic {
            if
            :: state == 0 -> state = 1; took = true; enter()
            :: else -> took = false
            fi
        }
        do
        :: took -> break
        :: else -> take_or_wait(_pid, 2, false)
        od;
        if
        :: _pid == 0 -> atomic { state = state + 2 } /* by fork, which has handlers */
        :: else
        fi;
        release()
    :: else -> break
    od
}

active proctype fork()
{
    byte seen, word, patience = PATIENCE, taken = 3;
    bool took;

    do
    :: patience > 0 && !took ->
        take_or_wait(FORK, taken, true);
        patience--;
#ifndef FORGETS
        if
        :: !took -> taken = 4
        :: else
        fi
#endif
    :: else -> break
    od;
    if
    :: took
    :: else ->
        atomic {
            if
            :: state == 0 -> state = taken; took = true; enter()
            :: else
            fi
        }
    fi;
    if
    :: took ->
        assert(state > 2);
        release()
#ifndef KEEPS_WAKE
    :: !took && PATIENCE > 0 -> wake()
#endif
    :: else
    fi
}
