/* circle.c - calls wrappers.c, which calls it. */
long wrapped_call(void);
long call_there(long count);

long call_there(long count)
{
    return count > 0 ? wrapped_call() : count;
}
