/* guard.h - what handlers.c has of guard.c, and the cases that it adds. */
#ifndef TEST_GUARD_H
#define TEST_GUARD_H

#include "check.h"
#include "family.h"

/* Each is a frame of its own in the reports. */
char *take_it(size_t size);
void write_it(char *p);
void read_it(const char *p);
/* Of 500 bytes, freed by free_it. */
char *take_and_free(void);

/* What a case says that does. */
void went_on(void);

/* ---- the cases of handlers.c ---- */

void none_at_start(void);
void default_for_others(void);
void default_for_sent(void);
void own_handler(void);
void handlers_that_pass_on(void);
void others_passed_on(void);
void own_handler_once(void);
void ignored(void);
void many_handlers(void);
void handler_of_a_child(void);
void handler_after_vforks(void);
void protected_by_program(void);
void protected_and_freed(void);
void allocates_at_the_end(void);

/* ---- those of going_on.c ---- */

void goes_on_with_the_rest(void);
void goes_on_in_threads(void);
void goes_on_in_a_child(void);
void goes_on_beside_handler(void);
void pages_that_stay_open(void);
void jump_after_free(void);

#endif
