/*
 * recorder.h - between the interposed functions and the file they are recorded in.
 *
 * The recorder never allocates, never prints and keeps errno. If it cannot go on it
 * stops recording, says why in the file's header, and the program runs on.
 */
#ifndef TRACE_RECORDER_H
#define TRACE_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The variable that tells a process what to record: "PID,CHILDREN,SESSION,PATH". */
#define TRACE_VARIABLE "MYMALLOC_TRACE"

/*
 * True if the call that follows is to be recorded. The thread then records nothing
 * else until recorder_leave, so that what the allocator calls itself is not seen.
 */
bool recorder_enter(void);
void recorder_leave(void);

/*
 * The place of an event in the order of all events of the process. Taken before a
 * call that gives memory back and after one that takes it, which makes the events of
 * each address alternate whatever the threads do.
 */
uint64_t recorder_ticket(void);

/* `kind` is a TRACE_MALLOC, CALLOC or FRESH; p NULL records a failure. */
void recorder_took(unsigned kind, size_t size, const void *p);
void recorder_took_aligned(size_t alignment, size_t size, const void *p);
void recorder_freed(uint64_t ticket, const void *p);
void recorder_moved(uint64_t ticket, size_t size, uintptr_t from, const void *to);

/* Whether a recorded free of p by this thread is under way: of delete, which calls free. */
bool recorder_is_freeing(const void *p);

/*
 * Whether the allocation that gave p was the last event of this thread, and making sure
 * that it was not. For calls that may or may not come down to a recorded one.
 */
bool recorder_has(const void *p);
void recorder_forget(void);

#endif
