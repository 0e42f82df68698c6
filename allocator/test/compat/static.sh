#!/bin/bash
# A static program has no dynamic linker: the preload changes nothing. Linked with the
# archive it runs on mymalloc. A program with an allocator in it, of an archive, keeps that: it
# stands in front of the preload library, for all other libraries too.
source "$(dirname "$0")/lib.sh"
need gcc g++
printf '#include <stdlib.h>\n#include <stdio.h>\nint main(void) { void *p = malloc(100); puts(p ? "ran" : "no"); free(p); return 0; }\n' \
    >"$work/t.c"
gcc -static -o "$work/t" "$work/t.c" 2>/dev/null || { echo "SKIP: no static libc"; exit 77; }
[[ $(with "$work/t") == ran ]] || fail "the static program"

archive=$(dirname "$MYMALLOC_PRELOAD")/libmymalloc_preload.a
[[ -f $archive ]] || fail "$archive is missing"
cat >"$work/own.c" <<'EOF'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
size_t MyUsableSize(const void *ptr);
static void *churn(void *unused)
{
    for (int i = 0; i < 20000; i++)
        free(malloc((size_t)i % 5000));
    return unused;
}
int main(void)
{
    pthread_t thread;
    void *p = malloc(100);
    size_t usable = MyUsableSize(p); /* aborts for an object of another allocator */
    pthread_create(&thread, NULL, churn, NULL);
    pthread_join(thread, NULL);
    printf("%zu\n", usable);
    free(p);
    return 0;
}
EOF
# Without -static too: the archive stands before libc either way.
for kind in -static -pthread; do
    gcc "$kind" -o "$work/own" "$work/own.c" "$archive" -pthread
    [[ $("$work/own") == 112 ]] || fail "$kind with the archive does not run on mymalloc"
done
# The whole archive has the C++ operators in it, which want a C++ library.
gcc -c -o "$work/own.o" "$work/own.c"
g++ -o "$work/own" "$work/own.o" -Wl,--whole-archive "$archive" -Wl,--no-whole-archive -pthread
[[ $("$work/own") == 112 ]] || fail "with --whole-archive it does not run on mymalloc"

cat >"$work/inside.cc" <<'EOF'
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <malloc.h>
#include <map>
#include <new>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>
static void churn()
{
    std::map<int, std::string> texts;
    for (int i = 0; i < 20000; i++) {
        texts[i % 1000] = std::string(i % 3000, 'x');
        free(malloc(i));
    }
}
int main(int argc, char **argv)
{
    char *line = nullptr, *text;
    size_t room = 0;
    void *object = nullptr;
    Dl_info info;
    FILE *file = fopen(argv[0], "r");
    /* what libc takes, the program frees */
    if (file == nullptr || getdelim(&line, &room, 'E', file) < 0 || asprintf(&text, "%d", argc) < 0)
        return 1;
    fclose(file);
    free(line);
    free(text);
    free(strdup("text"));
    free(realpath("/", nullptr));
    free(getcwd(nullptr, 0));
    free(reallocarray(reallocarray(nullptr, 10, 10), 100, 100));
    free(aligned_alloc(64, 256));
    free(memalign(64, 100));
    if (posix_memalign(&object, 64, 100) != 0 || malloc_usable_size(object) < 100)
        return 2;
    free(object);
    delete new (std::nothrow) int;
    delete[] new std::string[10];
    struct alignas(64) Wide { char bytes[64]; };
    delete new Wide;
    delete[] new Wide[10];
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back(churn);
    for (auto &thread : threads)
        thread.join();
    pid_t child = fork();
    if (child == 0) {
        churn();
        _exit(0);
    }
    int status = 1;
    if (waitpid(child, &status, 0) != child || status != 0 || dlopen("libm.so.6", RTLD_NOW | RTLD_DEEPBIND) == nullptr)
        return 3;
    if (dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) == 0)
        return 4;
    std::puts(strcmp(info.dli_fname, argv[0]) == 0 ? "done on its own" : info.dli_fname);
    return 0;
}
EOF
for library in tcmalloc_minimal jemalloc; do
    inside=$(gcc -print-file-name=lib$library.a)
    [[ -f $inside ]] || { echo "lib$library.a is not installed: left out"; continue; }
    g++ -std=c++17 -O1 -fno-builtin -o "$work/inside" "$work/inside.cc" "$inside" -pthread -ldl -lm
    for front in rseq tls; do
        MYMALLOC_FRONTEND=$front same "$work/inside"
        [[ $(cat "$work/got") == "done on its own" ]] || fail "$library: $(cat "$work/got")"
    done
done
