/*
 * command_record.c - `mymalloc-trace record`: run a program with the recorder preloaded,
 * then seal what it left.
 */
#include "preload.h"
#include "recorder.h"
#include "seal.h"
#include "tool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* As env(1), timeout(1) and others have it. */
enum { EXIT_CANNOT_RECORD = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

static const char help[] =
    "Usage: mymalloc-trace record -o FILE [OPTION...] [--] PROGRAM [ARGUMENT...]\n"
    "\n"
    "Run PROGRAM and record every allocation it makes, with the thread that made it, "
    "in\n"
    "FILE. The program's input, output and exit status are its own.\n"
    "\n"
    "  -o, --output FILE  where to; an existing file is replaced\n"
    "  -c, --children     also record the processes that PROGRAM starts, each in\n"
    "                     FILE.PID; otherwise only PROGRAM itself is recorded\n"
    "  -q, --quiet        on standard error, only what went wrong\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit status: that of PROGRAM (128 + N after signal N); 125 nothing was recorded,\n"
    "126 PROGRAM cannot be run, 127 PROGRAM was not found, 2 usage.\n";

struct record {
    const char *output;
    bool children, quiet;
    char **program;
    char path[PATH_MAX];     /* of output, absolute: the program may change directory */
    char recorder[PATH_MAX]; /* where it lies */
    char preload[PATH_MAX];  /* what LD_PRELOAD names */
    unsigned long long session;
    pid_t pid;
};

static volatile sig_atomic_t program_pid;

static void pass_on(int signal)
{
    if (program_pid > 0)
        kill((pid_t)program_pid, signal);
}

static void parse_options(struct record *rec, int argc, char **argv)
{
    static const struct option options[] = {
        {"output", required_argument, NULL, 'o'},
        {"children", no_argument, NULL, 'c'},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;

    /* '+': options after the program's name are the program's. */
    while ((option = getopt_long(argc, argv, "+o:cqh", options, NULL)) != -1) {
        switch (option) {
        case 'o':
            rec->output = optarg;
            break;
        case 'c':
            rec->children = true;
            break;
        case 'q':
            rec->quiet = true;
            break;
        case 'h':
            fputs(help, stdout);
            exit(0);
        default:
            die_usage("record");
        }
    }
    rec->program = argv + optind;
    if (!rec->output)
        die(EXIT_USAGE, "record needs a file to write: -o FILE");
    if (!rec->program[0])
        die(EXIT_USAGE, "record needs a program to run: record -o FILE -- PROGRAM");
}

/* The recorder lies beside this program (build tree) or in the library directory. */
static void find_recorder(struct record *rec)
{
    static const char *const places[] = {"", TRACE_LIBRARY_DIR "/"};
    char self[PATH_MAX], file[2 * PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    self[length > 0 ? length : 0] = 0;
    *(strrchr(self, '/') ? strrchr(self, '/') + 1 : self) = 0;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        snprintf(file, sizeof(file), "%s%s%s", self, places[i], TRACE_LIBRARY);
        if (realpath(file, rec->recorder) && access(rec->recorder, R_OK) == 0)
            return;
    }
    die(EXIT_CANNOT_RECORD, "the recorder %s is neither in %s nor in %s%s",
        TRACE_LIBRARY, self, self, TRACE_LIBRARY_DIR);
}

static void find_preload(struct record *rec)
{
    const char *reason = preload_path(rec->recorder, rec->preload, sizeof rec->preload);

    if (reason)
        die(EXIT_CANNOT_RECORD, "%s: %s", rec->recorder, reason);
}

/* Find out now, and not after an hour, that the output cannot be written. */
static void check_output(struct record *rec)
{
    bool was_there = access(rec->output, F_OK) == 0;
    int fd = open(rec->output, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    struct trace_header h;
    struct stat s;

    if (fd < 0)
        die(EXIT_CANNOT_RECORD, "cannot write %s: %s", rec->output, strerror(errno));
    /* Sealing would put a file in its place. */
    if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode))
        die(EXIT_CANNOT_RECORD, "%s is no regular file; name a new file or a trace",
            rec->output);
    if (was_there && lseek(fd, 0, SEEK_END) > 0 &&
        (pread(fd, &h, 8, 0) != 8 || memcmp(&h, TRACE_MAGIC, 8) != 0))
        die(EXIT_CANNOT_RECORD, "%s exists and is not a trace; remove it first",
            rec->output);
    if (!realpath(rec->output, rec->path) || strlen(rec->path) + 24 > PATH_MAX)
        die(EXIT_CANNOT_RECORD, "cannot resolve %s", rec->output);
    if (lstat(rec->output, &s) == 0 && S_ISLNK(s.st_mode))
        rec->output = rec->path; /* the link stays, and FILE.PID lie where it leads */
    if (!was_there)
        unlink(rec->output);
    close(fd);
}

static void run_program(struct record *rec, int report)
{
    char *preload = NULL, *variable = NULL;
    const char *others = getenv("LD_PRELOAD");
    int error;

    if (asprintf(&preload, "%s%s%s", rec->preload, others && *others ? ":" : "",
                 others ? others : "") < 0 ||
        asprintf(&variable, "%d,%d,%llu,%s", (int)getpid(), rec->children, rec->session,
                 rec->path) < 0 ||
        setenv("LD_PRELOAD", preload, 1) || setenv(TRACE_VARIABLE, variable, 1))
        _exit(EXIT_CANNOT_RECORD);
    execvp(rec->program[0], rec->program);
    error = errno;
    if (write(report, &error, sizeof(error)) < 0)
        _exit(EXIT_CANNOT_RECORD);
    _exit(EXIT_CANNOT_RUN);
}

static int start_program(struct record *rec)
{
    int pipes[2], error = 0;

    if (pipe2(pipes, O_CLOEXEC) || (rec->pid = fork()) < 0)
        die(EXIT_CANNOT_RECORD, "cannot start a process: %s", strerror(errno));
    if (rec->pid == 0)
        run_program(rec, pipes[1]);
    program_pid = rec->pid;
    signal(SIGINT, SIG_IGN); /* the terminal sends these to the program as well */
    signal(SIGQUIT, SIG_IGN);
    signal(SIGTERM, pass_on);
    signal(SIGHUP, pass_on);
    close(pipes[1]);
    if (read(pipes[0], &error, sizeof(error)) != sizeof(error))
        error = 0;
    close(pipes[0]);
    return error;
}

static int wait_program(struct record *rec)
{
    int status;

    while (waitpid(rec->pid, &status, 0) < 0)
        if (errno != EINTR)
            die(EXIT_CANNOT_RECORD, "lost the program: %s", strerror(errno));
    program_pid = 0;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* ---- afterwards ---- */

static bool is_of_session(const char *path, unsigned long long session,
                          struct trace_header *h)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is = fd >= 0 && read(fd, h, sizeof(*h)) == sizeof(*h) &&
              memcmp(h->magic, TRACE_MAGIC, sizeof(h->magic)) == 0 &&
              h->session == session;

    if (fd >= 0)
        close(fd);
    return is;
}

static void describe(const struct record *rec, const char *path,
                     const struct trace_header *h, uint32_t threads)
{
    bool is_small = h->length < 1000000;

    if (!rec->quiet)
        complain("%s: %lu events, %u thread%s, %.1f %s, of %.60s", path,
                 (unsigned long)h->events, threads, threads == 1 ? "" : "s",
                 (double)h->length / (is_small ? 1e3 : 1e6), is_small ? "kB" : "MB",
                 h->command);
    if (h->stopped)
        complain("%s: the recording ended before the program: %s", path,
                 strerror((int)h->stopped));
}

static bool seal_one(const struct record *rec, const char *path)
{
    struct trace_header h;
    uint32_t threads;
    char error[256];

    if (!is_of_session(path, rec->session, &h))
        return false;
    if (h.pid != (uint32_t)rec->pid && kill((pid_t)h.pid, 0) == 0) {
        complain(
            "%s: process %u is still running; what it has recorded so far can be read",
            path, h.pid);
        return true;
    }
    if (seal_trace(path, &h, &threads, error, sizeof(error)))
        describe(rec, path, &h, threads);
    else
        complain("%s: cannot be sealed: %s", path, error);
    if (h.children && !rec->children && !rec->quiet)
        complain("%s: it started other processes; --children records them too", path);
    return true;
}

/* Every FILE.PID of this session. */
static bool seal_children(const struct record *rec)
{
    char path[2 * PATH_MAX];
    const char *slash = strrchr(rec->output, '/');
    const char *name = slash ? slash + 1 : rec->output;
    int before = (int)(name - rec->output);
    size_t length = strlen(name);
    struct dirent *entry;
    bool any = false;
    DIR *d;

    snprintf(path, sizeof(path), "%.*s", before, rec->output);
    d = opendir(before ? path : ".");
    while (d && (entry = readdir(d))) {
        const char *pid = entry->d_name + length + 1;

        if (strncmp(entry->d_name, name, length) != 0 || entry->d_name[length] != '.' ||
            pid[strspn(pid, "0123456789")])
            continue;
        snprintf(path, sizeof(path), "%.*s%s", before, rec->output, entry->d_name);
        any |= seal_one(rec, path);
    }
    if (d)
        closedir(d);
    return any;
}

int command_record(int argc, char **argv)
{
    struct record rec = {0};
    struct timespec t;
    int error, status;
    bool any;

    parse_options(&rec, argc, argv);
    find_recorder(&rec);
    find_preload(&rec);
    check_output(&rec);
    clock_gettime(CLOCK_REALTIME, &t);
    rec.session =
        ((unsigned long long)t.tv_sec * 1000000000u + (unsigned long long)t.tv_nsec) ^
        (unsigned long long)getpid() << 40;

    error = start_program(&rec);
    status = wait_program(&rec);
    if (error)
        die(error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, "cannot run %s: %s",
            rec.program[0], strerror(error));
    any = seal_one(&rec, rec.output);
    if (rec.children)
        any |= seal_children(&rec);
    if (any)
        return status;
    die(EXIT_CANNOT_RECORD,
        "%s did not load the recorder (statically linked, or set-user-ID?): nothing "
        "recorded; it exited with status %d",
        rec.program[0], status);
}
