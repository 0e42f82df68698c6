/* waiting.h - what the tests of the helper thread share: its work is waited for. */
#ifndef TEST_WAITING_H
#define TEST_WAITING_H

#include "check.h"

#include <stdbool.h>
#include <sys/types.h>

#define MIB ((size_t)1 << 20)

/* False: it was not asked for, and is never there (TEST_HELPER=0). */
bool wanted(void);
void pause_ms(long ms);

/* Until it holds, for a minute at most: a busy machine is slow. */
#define AWAIT(condition)                               \
    do {                                               \
        for (int tries_ = 0; tries_ < 600; tries_++) { \
            if (condition)                             \
                break;                                 \
            pause_ms(100);                             \
        }                                              \
        CHECK(condition);                              \
    } while (0)

/* Threads of the process; of them the helper's id, 0: none. Nothing is allocated. */
int threads(pid_t *helper);
bool is_there(void);

/* The test fails if that does. */
void in_child(void (*work)(void));

extern void *objects[100000];

/* 40 MiB of small, middling and large objects are written and freed. */
void rise_and_fall(void);
/* It comes then; again where a busy machine looked when it was gone already. */
void until_it_is_there(void);

#endif
