/* frame.c - one function, FRAME, whose frame is as BYTES and the compiler's options say. */
typedef void frame_of(unsigned depth, void (*then)(void));

frame_of FRAME;
void FRAME(unsigned depth, void (*then)(void))
{
    volatile char room[BYTES] __attribute__((aligned(ALIGNED)));

    room[0] = 1;
    if (__builtin_expect(depth > 1000, 1)) /* an end in the midst of it */
        return;
    if (depth == 0)
        then();
    else
        FRAME(depth - 1, then);
    room[depth % 8] = 2; /* so that no call is the last one, and registers are saved */
}
