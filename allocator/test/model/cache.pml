/*
 * cache.pml - slots, depot and drain: every interleaving of a small machine.
 *
 * CPUS CPUs have one slot each, and base[cpu]: the CPU's cache, or the closed one (in the
 * allocator open[id] is 0 then, and nothing of the cache is read). A slot word is a
 * magazine and the number of objects in it, changed by one store. THREADS threads take and
 * give objects on whatever CPU they are on; a drainer closes the caches of CPUs from outside,
 * at any moment, and the next slow path there opens the cache again and empties it. The
 * depot is behind a mutex: one visit is one step here.
 *
 * A restartable sequence is a run of plain steps that ends with one store, its commit.
 * The kernel aborts it when its thread is preempted or migrated, or gets a signal:
 * restart[t]. A thread that has been hit executes no further step of its sequence; above
 * all it does not commit. Two threads are inside
 * sequences on one CPU only if the first has been hit, since the second could not run
 * without having preempted it.
 *
 * Steps are made as long as they can be without hiding an interleaving: what comes
 * between two reads of a sequence either hits it, or leaves what they read alone.
 *
 * Checked at every change of ownership (check_all):
 *   1  each object is in one place: with the program, or one entry of one magazine
 *   2  each magazine has one owner: a slot, the depot, a thread, the drainer
 *
 * Mutations that must be caught (model.sh):
 *   REMOTE      the drainer empties the cache that it has closed by itself
 *   OWN_CLOSED  a slow path takes a closed cache for its own and empties it by a store
 *   BLIND_SWAP  swap stores without comparing the slot with the word it had seen
 *   EARLY_PUSH  push commits before it has stored the entry
 */
#ifndef CPUS /* model.sh checks several machines */
#define CPUS    2
#define OBJECTS 1
#define ROOM    1
#endif
#define THREADS   2
#define MAGAZINES (CPUS + 1)

#define NONE    15
#define DEPOT   14
#define SLOT(c) (10 + (c))
#define USER    9 /* place[o] while the program has it, else its magazine */

mtype = { hit, no, yes } /* how a sequence ended: aborted, refused, committed */

byte slot_m[CPUS], slot_used[CPUS]; /* the slot word */
bool is_open[CPUS];                 /* base[cpu] */
byte item[6];                       /* MAGAZINES * ROOM entries at most */
byte owner[MAGAZINES];
byte used_out[MAGAZINES];           /* objects in a magazine that is in no slot */
byte place[OBJECTS];                /* ghost */
byte inside[THREADS];               /* CPU of the sequence that a thread is inside */
bool restart[THREADS];

/* Scratch of single steps, no part of the state. */
hidden byte k, n, seen, loaded;

/* Both properties, for all objects and magazines. */
inline check_all()
{
    for (n : 0 .. CPUS - 1) {
        assert(owner[slot_m[n]] == SLOT(n) && slot_used[n] <= ROOM)
    };
    for (n : 0 .. OBJECTS - 1) {
        seen = 0;
        for (k : 0 .. MAGAZINES - 1) {
            loaded = used_out[k];
            if
            :: owner[k] == SLOT(0) -> loaded = slot_used[0]; assert(slot_m[0] == k)
#if CPUS > 1
            :: owner[k] == SLOT(1) -> loaded = slot_used[1]; assert(slot_m[1] == k)
#endif
            :: else
            fi;
            if
            :: loaded > 0 && item[k * ROOM] == n -> seen++; assert(place[n] == k)
            :: else
            fi;
            if
            :: loaded > 1 && item[k * ROOM + 1] == n -> seen++; assert(place[n] == k)
            :: else
            fi
        };
        assert(seen == (place[n] == USER -> 0 : 1))
    };
    n = 0
}

/* A magazine of the depot that has an object (loaded_one) or room; else NONE. */
inline from_depot(loaded_one)
{
    mine = NONE;
    for (k : 0 .. MAGAZINES - 1) {
        if
        :: mine == NONE && owner[k] == DEPOT && loaded_one && used_out[k] > 0 -> mine = k
        :: mine == NONE && owner[k] == DEPOT && !loaded_one && used_out[k] < ROOM -> mine = k
        :: else
        fi
    };
    k = 0
}

/* ---- sequences ---- */

/*
 * On the CPU that the thread happens to be on: arm, read the CPU's number, read
 * base[cpu]. m = NONE: closed.
 */
inline enter()
{
    atomic {
        if
        :: cpu = 0
#if CPUS > 1
        :: cpu = 1
#endif
        fi;
        d_step {
            for (k : 0 .. THREADS - 1) {
                if
                :: inside[k] == cpu -> restart[k] = true
                :: else
                fi
            };
            inside[t] = cpu;
            restart[t] = false;
            m = (is_open[cpu] -> 0 : NONE)
        }
    }
}

/* Read the slot word. */
inline load()
{
    d_step {
        if
        :: m != NONE -> m = slot_m[cpu]; used = slot_used[cpu]
        :: else
        fi
    }
}

/* The end of every sequence, part of its last step. */
inline leave()
{
    inside[t] = NONE;
    restart[t] = false;
    m = 0;
    used = 0
}

inline pop()
{
    enter();
    d_step {
        if
        :: m != NONE -> m = slot_m[cpu]; used = slot_used[cpu]
        :: else
        fi;
        if
        :: m != NONE && used > 0 -> got = item[m * ROOM + used - 1]
        :: else -> got = NONE
        fi
    };
    d_step {
        if
        :: restart[t] -> got = NONE; result = hit
        :: !restart[t] && (m == NONE || used == 0) -> result = no
        :: else ->
            slot_m[cpu] = m;
            slot_used[cpu] = used - 1;
            assert(got != NONE && place[got] == m);
            place[got] = USER;
            item[m * ROOM + used - 1] = NONE; /* reading it again would be an error */
            held = got;
            got = NONE;
            result = yes;
            check_all()
        fi;
        leave()
    }
}

inline push()
{
    enter();
    load();
#ifndef EARLY_PUSH
    d_step { /* beyond the top: nobody sees it */
        if
        :: !restart[t] && m != NONE && used < ROOM -> item[m * ROOM + used] = held
        :: else
        fi
    };
#endif
    d_step {
        if
        :: restart[t] -> result = hit
        :: !restart[t] && (m == NONE || used == ROOM) -> result = no
        :: else ->
            slot_m[cpu] = m;
            slot_used[cpu] = used + 1;
            place[held] = m;
            result = yes;
#ifndef EARLY_PUSH
            held = NONE;
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
        :: !restart[t] && result == yes -> item[m * ROOM + used] = held
        :: else
        fi;
        if
        :: result == yes -> held = NONE
        :: else
        fi;
        leave()
    }
#endif
}

/* The thread's magazine against the slot's, if that is still (old_m, old_used). */
inline swap()
{
    enter();
    load();
    d_step {
        if
        :: restart[t] -> result = hit
#ifdef BLIND_SWAP
        :: !restart[t] && m != NONE ->
#else
        :: !restart[t] && m != NONE && m == old_m && used == old_used ->
#endif
            slot_m[cpu] = mine;
            slot_used[cpu] = used_out[mine];
            used_out[mine] = 0;
            owner[mine] = SLOT(cpu);
            owner[old_m] = t;
            used_out[old_m] = old_used;
            result = yes;
            check_all()
        :: else -> result = no
        fi;
        leave()
    }
}

/* ---- threads ---- */

/* Fetch a magazine for the one in the slot; NONE: the depot has none, or it is closed. */
inline fetch(loaded_one)
{
    d_step {
        mine = NONE;
        if
        :: is_open[cpu] ->
            old_m = slot_m[cpu];
            old_used = slot_used[cpu];
            from_depot(loaded_one);
            if
            :: mine != NONE -> owner[mine] = t
            :: else
            fi
        :: else
        fi
    }
}

/* Exchange the two. Whichever magazine is the thread's own afterwards goes back. */
inline trade()
{
    if
    :: mine == NONE
    :: else ->
        swap();
        atomic { /* spin lets no goto end at a d_step */
            if
            :: result == yes -> owner[old_m] = DEPOT
            :: else -> owner[mine] = DEPOT /* somebody was faster: give it back */
            fi;
            check_all()
        }
    fi
}

/* The slot of a CPU for a magazine of the depot, without a sequence: wrong. */
inline store_by_hand(at, seen_m, seen_used)
{
    d_step {
        from_depot(false);
        if
        :: mine != NONE ->
            slot_m[at] = mine;
            slot_used[at] = used_out[mine];
            used_out[mine] = 0;
            owner[mine] = SLOT(at);
            owner[seen_m] = DEPOT;
            used_out[seen_m] = seen_used;
            check_all()
        :: else
        fi
    }
}

/*
 * The slow path, also after an abort. Where the operation failed because the cache was
 * closed: open it and empty the slot. Otherwise fetch a magazine with an object, or with
 * room, and exchange the two. The thread may be on another CPU at every step, and the cache be closed again.
 * (What goes on after the emptying is what the next slow path does: not made twice here.)
 */
inline exchange(loaded_one)
{
    atomic {
        if
        :: is_open[cpu] ->
            fetch(loaded_one)
        :: else ->
            is_open[cpu] = true;
#ifndef OWN_CLOSED
            fetch(false)
#else
            mine = NONE; old_m = slot_m[cpu]; old_used = slot_used[cpu]; result = no
#endif
        fi
    };
#ifdef OWN_CLOSED
    if
    :: mine == NONE && result == no && old_m != NONE ->
        store_by_hand(cpu, old_m, old_used);
        mine = NONE
    :: else
    fi;
#endif
    trade()
}

proctype program(byte t)
{
    byte held = NONE, got = NONE, m, used, cpu, old_m, old_used, mine;
    mtype result;

end:
    do
    :: atomic { held == NONE -> cpu = 0 };
       pop();
       if
       :: result != yes -> exchange(true)
       :: else
       fi;
       d_step { cpu = 0; old_m = 0; old_used = 0; mine = 0; result = 0 }
    :: atomic { held != NONE -> cpu = 0 };
       push();
       if
       :: result != yes -> exchange(false)
       :: else
       fi;
       d_step { cpu = 0; old_m = 0; old_used = 0; mine = 0; result = 0 }
    od
}

/* malloc_trim, shortage, growth: a bell is rung, no more. */
proctype drainer()
{
    byte m, used, cpu, mine;

end:
    do
    :: atomic {
           if
           :: cpu = 0
#if CPUS > 1
           :: cpu = 1
#endif
           fi;
           is_open[cpu] = false
       };
#ifdef REMOTE
       d_step { m = slot_m[cpu]; used = slot_used[cpu] };
       store_by_hand(cpu, m, used);
       is_open[cpu] = true;
#endif
       d_step { m = 0; used = 0; mine = 0; cpu = 0 }
    od
}

/* One object in the slot of CPU 0, the other, if any, in the depot. */
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
        owner[CPUS] = DEPOT;
        slot_used[0] = 1;
        item[0] = 0;
        place[0] = 0;
#if OBJECTS > 1
        used_out[CPUS] = 1;
        item[CPUS * ROOM] = 1;
        place[1] = CPUS;
#endif
        check_all()
    };
    atomic { run program(0); run program(1); run drainer() }
}
