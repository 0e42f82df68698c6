/* waiting.c - see waiting.h. */
#include "waiting.h"
#include "family.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

bool wanted(void)
{
    return env_number("TEST_HELPER", 1) != 0;
}

void pause_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&time, NULL);
}

int threads(pid_t *helper)
{
    static char buffer[4096];
    int folder = open("/proc/self/task", O_RDONLY | O_DIRECTORY), count = 0;
    DIR *list = fdopendir(folder);

    CHECK(list);
    *helper = 0;
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        int file;
        ssize_t got;

        if (entry->d_name[0] == '.')
            continue;
        snprintf(buffer, sizeof buffer, "/proc/self/task/%s/comm", entry->d_name);
        file = open(buffer, O_RDONLY);
        if (file < 0)
            continue; /* it is gone */
        got = read(file, buffer, sizeof buffer - 1);
        close(file);
        buffer[got < 0 ? 0 : got] = '\0';
        if (strcmp(buffer, "mymalloc\n") == 0)
            *helper = (pid_t)atoi(entry->d_name);
        count++;
    }
    closedir(list);
    return count;
}

bool is_there(void)
{
    pid_t helper;

    threads(&helper);
    return helper != 0;
}

void in_child(void (*work)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        work();
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status 0x%x", status);
}

void *objects[100000];

void rise_and_fall(void)
{
    uint64_t random = test_seed();
    size_t count = 0;

    for (size_t bytes = 0; bytes < 40 * MIB; count++) {
        size_t size = 16 + next_random(&random) % (count % 100 == 0 ? MIB : 3000);

        CHECK(count < sizeof objects / sizeof *objects);
        objects[count] = malloc(size);
        CHECK(objects[count]);
        memset(objects[count], 1, size);
        bytes += size;
    }
    while (count-- > 0)
        free(objects[count]);
}

void until_it_is_there(void)
{
    rise_and_fall();
    for (int tries = 1; !is_there(); tries++) {
        CHECK(tries < 600);
        pause_ms(100);
        if (tries % 50 == 0)
            rise_and_fall();
    }
}
