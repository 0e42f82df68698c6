/* play.c - without libFuzzer: plays the files named on the command line. */
#include "bytes.h"

#include <stdio.h>

int main(int argc, char **argv)
{
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
