/*
 * cache.pml - slots, depot and remote drain: every interleaving of a small machine.
 *
 * CPUS CPUs have one slot each, and base[cpu], which points to the CPU's cache or to the
 * closed cache. A slot word is a magazine and the number of objects in it, changed by
 * one store. THREADS threads take and give objects on whatever CPU they are on; a
 * drainer empties the caches of CPUs from outside. The depot is behind a mutex: one
 * visit is one step here.
 *
 * A restartable sequence is a run of plain steps that ends with one store, its commit.
 * The kernel aborts it when its thread is preempted or migrated, gets a signal, or when a
 * membarrier(RSEQ) reaches its CPU: restart[t]. A thread that has been hit executes no
 * further step of its sequence; above all it does not commit. Two threads are inside
 * sequences on one CPU only if the first has been hit, since the second could not run
 * without having preempted it.
 *
 * Checked at every change of ownership (check_all):
 *   1  each object is in one place: with the program, or one entry of one magazine
 *   2  each magazine has one owner: a slot, the depot, a thread, the drainer
 *
 * Mutations that must be caught (model.sh):
 *   NO_BARRIER  the drainer does not wait for running sequences
 *   NO_CLOSE    the drainer does not close the cache before the barrier
 *   BLIND_SWAP  swap stores without comparing the slot with the word it had seen
 *   EARLY_PUSH  push commits before it has stored the entry
 */
#define CPUS      2
#define THREADS   2
#define MAGAZINES 3
#define ROOM      2
#define OBJECTS   2

#define NONE    255
#define DEPOT   100
#define SLOT(c) (50 + (c))
#define DRAINER THREADS

#define USER 200 /* place[o] while the program has it, else its magazine */

byte slot_m[CPUS], slot_used[CPUS]; /* the slot word */
bool is_open[CPUS];                 /* base[cpu] */
byte item[6];                       /* MAGAZINES * ROOM entries */
byte owner[MAGAZINES];
byte used_out[MAGAZINES];           /* objects in a magazine that is in no slot */
byte place[OBJECTS];                /* ghost */
byte inside[THREADS];               /* CPU of the sequence that a thread is inside */
bool restart[THREADS];

/* Scratch of single steps, no part of the state. */
hidden byte k, n, seen, room_used;

/* Both properties, for all objects and magazines. */
inline check_all()
{
    for (n : 0 .. CPUS - 1) {
        assert(owner[slot_m[n]] == SLOT(n) && slot_used[n] <= ROOM)
    };
    for (n : 0 .. OBJECTS - 1) {
        seen = 0;
        for (k : 0 .. MAGAZINES - 1) {
            room_used = used_out[k];
            if
            :: owner[k] == SLOT(0) -> room_used = slot_used[0]; assert(slot_m[0] == k)
            :: owner[k] == SLOT(1) -> room_used = slot_used[1]; assert(slot_m[1] == k)
            :: else
            fi;
            if
            :: room_used > 0 && item[k * ROOM] == n -> seen++; assert(place[n] == k)
            :: else
            fi;
            if
            :: room_used > 1 && item[k * ROOM + 1] == n -> seen++; assert(place[n] == k)
            :: else
            fi
        };
        assert(seen == (place[n] == USER -> 0 : 1))
    };
    n = 0
}

/* ---- sequences: each ';' below is a point where the others may move ---- */

/* On the CPU that the thread happens to be on. */
inline enter()
{
    atomic {
        if
        :: cpu = 0
        :: cpu = 1
        fi;
        d_step {
            for (k : 0 .. THREADS - 1) {
                if
                :: inside[k] == cpu -> restart[k] = true
                :: else
                fi
            };
            inside[t] = cpu;
            restart[t] = false
        }
    }
}

/* Read base[cpu], then the slot behind it; m = NONE when closed. */
inline load()
{
    if
    :: is_open[cpu] -> d_step { m = slot_m[cpu]; used = slot_used[cpu] }
    :: else -> m = NONE
    fi
}

/* The end of every sequence, part of its last step. */
inline leave()
{
    inside[t] = NONE;
    hit = restart[t];
    restart[t] = false;
    m = 0;
    used = 0
}

inline pop()
{
    enter();
    load();
    if
    :: m != NONE && used > 0 ->
        got = item[m * ROOM + used - 1];
        d_step {
            if
            :: restart[t] -> got = NONE
            :: else ->
                slot_m[cpu] = m;
                slot_used[cpu] = used - 1;
                assert(got != NONE && place[got] == m);
                place[got] = USER;
                check_all()
            fi;
            leave()
        }
    :: else -> d_step { leave() }
    fi
}

inline push()
{
    enter();
    load();
    if
    :: m != NONE && used < ROOM ->
#ifndef EARLY_PUSH
        d_step {
            if
            :: !restart[t] -> item[m * ROOM + used] = held
            :: else
            fi
        };
#endif
        d_step {
            if
            :: restart[t]
            :: else ->
                slot_m[cpu] = m;
                slot_used[cpu] = used + 1;
                place[held] = m;
                done = true;
#ifndef EARLY_PUSH
                check_all()
#endif
            fi;
#ifndef EARLY_PUSH
            leave()
#endif
        };
#ifdef EARLY_PUSH
        d_step {
            if
            :: !restart[t] -> item[m * ROOM + used] = held
            :: else
            fi;
            leave()
        }
#endif
    :: else -> d_step { leave() }
    fi
}

/* The thread's magazine against the slot's, if that is still (old_m, old_used). */
inline swap()
{
    enter();
    load();
    if
#ifdef BLIND_SWAP
    :: m != NONE ->
#else
    :: m != NONE && m == old_m && used == old_used ->
#endif
        d_step {
            if
            :: restart[t]
            :: else ->
                slot_m[cpu] = mine;
                slot_used[cpu] = used_out[mine];
                owner[mine] = SLOT(cpu);
                owner[old_m] = t;
                used_out[old_m] = old_used;
                done = true;
                check_all()
            fi;
            leave()
        }
    :: else -> d_step { leave() }
    fi
}

/* ---- slow path ---- */

/* For who: a magazine that has an object (filled) or room; else NONE. */
inline from_depot(who, filled)
{
    d_step {
        mine = NONE;
        for (k : 0 .. MAGAZINES - 1) {
            if
            :: mine == NONE && owner[k] == DEPOT && filled && used_out[k] > 0 -> mine = k
            :: mine == NONE && owner[k] == DEPOT && !filled && used_out[k] < ROOM -> mine = k
            :: else
            fi
        };
        if
        :: mine != NONE -> owner[mine] = who
        :: else
        fi
    }
}

/* Exchange the magazine of the slot last looked at; the thread may migrate at every step. */
inline exchange(filled)
{
    if
    :: is_open[cpu] ->
        d_step { old_m = slot_m[cpu]; old_used = slot_used[cpu] };
        from_depot(t, filled);
        if
        :: mine == NONE
        :: else ->
            do
            :: swap();
               if
               :: !hit -> break
               :: else
               fi
            od;
            atomic { /* spin lets no goto end at a d_step */
                if
                :: done -> owner[old_m] = DEPOT
                :: else -> owner[mine] = DEPOT /* somebody was faster: give it back */
                fi;
                check_all()
            }
        fi
    :: else
    fi
}

proctype program(byte t)
{
    byte held = NONE, got = NONE, m, used, cpu, old_m, old_used, mine;
    bool hit, done;

end:
    do
    :: held == NONE ->
        pop();
        if
        :: got != NONE -> d_step { held = got; got = NONE }
        :: else ->
            if
            :: !hit -> exchange(true)
            :: else
            fi
        fi;
        d_step { hit = false; done = false; cpu = 0; old_m = 0; old_used = 0; mine = 0 }
    :: held != NONE ->
        push();
        if
        :: done -> held = NONE
        :: else ->
            if
            :: !hit -> exchange(false)
            :: else
            fi
        fi;
        d_step { hit = false; done = false; cpu = 0; old_m = 0; old_used = 0; mine = 0 }
    od
}

proctype drainer()
{
    byte m, used, cpu, mine;

end:
    do
    :: if
       :: cpu = 0
       :: cpu = 1
       fi;
#ifndef NO_CLOSE
       is_open[cpu] = false;
#endif
#ifndef NO_BARRIER
       d_step {
           for (k : 0 .. THREADS - 1) {
               if
               :: inside[k] != NONE -> restart[k] = true
               :: else
               fi
           };
           k = 0
       };
#endif
       /* The cache is the drainer's now: plain loads and stores. */
       d_step { m = slot_m[cpu]; used = slot_used[cpu] };
       from_depot(DRAINER, false);
       if
       :: mine != NONE ->
           d_step {
               slot_m[cpu] = mine;
               slot_used[cpu] = used_out[mine];
               owner[mine] = SLOT(cpu);
               owner[m] = DEPOT;
               used_out[m] = used;
               check_all()
           }
       :: else
       fi;
       d_step { is_open[cpu] = true; m = 0; used = 0; mine = 0; cpu = 0 }
    od
}

/* An object in the slot of CPU 0, none in that of CPU 1, the other object in the depot. */
init
{
    d_step {
        for (k : 0 .. CPUS - 1) {
            is_open[k] = true;
            slot_m[k] = k;
            owner[k] = SLOT(k)
        };
        for (k : 0 .. THREADS - 1) {
            inside[k] = NONE
        };
        for (k : 0 .. 5) {
            item[k] = NONE
        };
        owner[2] = DEPOT;
        slot_used[0] = 1;
        item[0] = 0;
        place[0] = 0;
        used_out[2] = 1;
        item[4] = 1;
        place[1] = 2;
        check_all()
    };
    atomic { run program(0); run program(1); run drainer() }
}
