/*
 * plain.c - a program that knows only malloc, and tells who answered it.
 *
 * Alone it runs on libc's malloc; linked with the preload library, or started by
 * mymalloc-run, on mymalloc's.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    Dl_info info;
    const char *(*version)(void);
    char *text = malloc(6);

    if (!text)
        return 1;
    memcpy(text, "hello", 6);
    *(void **)&version = dlsym(RTLD_DEFAULT, "MyVersion");
    if (!dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info))
        return 1;
    printf("%s from %s, malloc of %s\n", text, version ? version() : "libc",
           info.dli_fname);
    free(text);
    return 0;
}
