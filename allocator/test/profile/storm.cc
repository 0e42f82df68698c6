/*
 * storm.cc - every object is sampled while libraries are loaded and unloaded, exceptions are
 * thrown, signals arrive and the process forks: stacks are walked in the midst of all that.
 * Ends by itself, or by an alarm where something waits for ever.
 */
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <stdexcept>
#include <string>
#include <sys/time.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

static std::atomic<bool> running{true};
static std::atomic<long> loads, throws, takes, signals;
static const char *library;

static void load()
{
    for (; running; loads++) {
        void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);

        if (!handle) {
            std::fprintf(stderr, "%s\n", dlerror());
            std::abort();
        }
        auto work = reinterpret_cast<void *(*)()>(dlsym(handle, "storm_work"));
        free(work()); /* sampled in code that is gone soon */
        dlclose(handle);
    }
}

__attribute__((noinline)) static void fall(int depth)
{
    std::string kept(100 + static_cast<size_t>(depth), 'x');

    if (depth == 0)
        throw std::runtime_error(kept);
    fall(depth - 1);
    takes += static_cast<long>(kept.size());
}

static void throw_often()
{
    for (; running; throws++)
        try {
            fall(12);
        } catch (const std::runtime_error &error) {
            if (error.what()[0] != 'x')
                std::abort();
        }
}

static void allocate()
{
    std::vector<std::string> kept(64);

    for (size_t i = 0; running; i++, takes++)
        kept[i % 64] = std::string(i * 37 % 3000, 'y');
}

static void interrupt(int)
{
    signals++;
}

/* RUNS rounds of a fork each, 10 ms apart. */
int main(int argc, char **argv)
{
    struct itimerval often = {{0, 500}, {0, 500}};
    int status, runs = argc > 2 ? std::atoi(argv[2]) : 25;

    if (argc < 2)
        return 2;
    library = argv[1];
    alarm(100);
    std::signal(SIGPROF, interrupt);
    setitimer(ITIMER_PROF, &often, nullptr);
    std::vector<std::thread> threads;
    for (auto work : {load, load, throw_often, allocate, allocate})
        threads.emplace_back(work);
    for (int i = 0; i < runs; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            std::string mine(5000, 'z');
            _exit(mine[0] == 'z' ? 0 : 1);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            return 1;
        usleep(10000);
    }
    running = false;
    for (auto &thread : threads)
        thread.join();
    std::printf("%ld loads, %ld exceptions, %ld objects, %ld signals\n", loads.load(),
                throws.load(), takes.load(), signals.load());
    return loads > 0 && throws > 0 && takes > 0 ? 0 : 1;
}
