/*
 * play.c - without libFuzzer: plays the files named on the command line, or so many random inputs.
 *   play FILE... | --random COUNT
 */
#include "bytes.h"
#include "check.h"

#include <stdio.h>
#include <string.h>

#define LONGEST 3000

/* All of one seed, which a failing check tells. */
static void play_random(int count)
{
    static uint8_t data[LONGEST];
    uint64_t random;

    check_begin("random");
    random = test_seed();
    for (int i = 0; i < count; i++) {
        size_t length = next_random(&random) % LONGEST;

        for (size_t at = 0; at < length; at++)
            data[at] = (uint8_t)next_random(&random);
        LLVMFuzzerTestOneInput(data, length);
    }
    printf("%d random inputs played\n", count);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--random") == 0) {
        play_random((int)strtoul(argv[2], NULL, 10));
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        static uint8_t data[1 << 16];
        FILE *file = fopen(argv[i], "rb");
        size_t length;

        if (!file) {
            fprintf(stderr, "%s: cannot open %s\n", argv[0], argv[i]);
            return 2;
        }
        length = fread(data, 1, sizeof(data), file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, length);
    }
    printf("%d inputs played\n", argc - 1);
    return argc < 2;
}
