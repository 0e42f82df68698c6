/*
 * background.h - the helper thread of MYMALLOC_BACKGROUND=on.
 */
#ifndef MYM_ALLOC_BACKGROUND_H
#define MYM_ALLOC_BACKGROUND_H

#include <stdbool.h>

/* It is started when there is need of it. False: the program is linked without threads. */
bool mym_background_enable(void);
/* One that runs ends within a second. */
void mym_background_disable(void);
bool mym_background_is_enabled(void);

/*
 * The calling thread must start none, until as many calls said so no more: it has a lock that
 * who starts a thread waits for, or is that of a child of vfork, with which a thread would end.
 */
void mym_background_bar(bool barred);
/* Before it is enabled: nobody can tell when a thread has such a lock. */
void mym_background_forbid(void);

/* Its work of a second; pressed: the kernel says that memory is short. */
void mym_background_work(bool pressed);
/* Between the two it does none, and has nothing in its hands. */
void mym_background_hold(void);
void mym_background_release(void);

bool mym_background_is_running(void);
void mym_background_fork_child(void);

#endif
