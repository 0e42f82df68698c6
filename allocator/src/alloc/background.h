/*
 * background.h - the helper thread of MYMALLOC_BACKGROUND=on.
 */
#ifndef MYM_ALLOC_BACKGROUND_H
#define MYM_ALLOC_BACKGROUND_H

#include <stdbool.h>

/* At start. False: the program is linked without threads. */
bool mym_background_enable(void);

bool mym_background_is_running(void);
void mym_background_fork_child(void);

#endif
