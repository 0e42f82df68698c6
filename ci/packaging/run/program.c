/*
 * program.c - find a program, look at its file, ask its loader.
 */
#include "program.h"

#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define INTERPRETER_DEPTH 4 /* nested #! lines the kernel follows */

static int find_in_path(const char *name, char *out, size_t size)
{
    const char *path = getenv("PATH");
    int result = ENOENT;
    struct stat status;

    if (strchr(name, '/')) {
        snprintf(out, size, "%s", name);
        if (stat(out, &status) != 0)
            return errno;
        return S_ISDIR(status.st_mode) ? EISDIR : access(out, X_OK) == 0 ? 0 : errno;
    }
    char *copy = strdup(path ? path : "/usr/local/bin:/usr/bin:/bin");
    if (!copy)
        return ENOMEM;
    for (char *rest = copy, *folder; result && (folder = strsep(&rest, ":"));) {
        snprintf(out, size, "%s/%s", *folder ? folder : ".", name);
        if (stat(out, &status) == 0 && S_ISREG(status.st_mode))
            result = access(out, X_OK) == 0 ? 0 : EACCES;
    }
    free(copy);
    return result;
}

const char *program_shown(const char *path)
{
    static char shown[PATH_MAX];

    snprintf(shown, sizeof shown, "%s", path);
    for (char *at = shown; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 127)
            *at = '?';
    return shown;
}

/* Take the interpreter of a #! line as the next binary, where there is none the shell, as execvp does. */
static void follow_script(const struct image *image, struct program *program)
{
    char line[256];
    size_t length = image->size < sizeof line - 1 ? image->size : sizeof line - 1;

    if (length > 0)
        memcpy(line, image->bytes, length);
    line[length] = '\0';
    line[strcspn(line, "\n")] = '\0';
    char *rest = NULL;
    const char *name =
        strncmp(line, "#!", 2) == 0 ? strtok_r(line + 2, " \t", &rest) : NULL;
    if (!name)
        name = "/bin/sh";
    snprintf(program->binary, sizeof program->binary, "%s", name);
    /* env becomes another program at once, so that one counts. */
    const char *base = strrchr(name, '/');
    if (base && strcmp(base, "/env") == 0) {
        char *word = strtok_r(NULL, " \t", &rest);
        while (word && (*word == '-' || strchr(word, '=')))
            word = strtok_r(NULL, " \t", &rest);
        char found[PATH_MAX];
        if (word && find_in_path(word, found, sizeof found) == 0)
            memcpy(program->binary, found, sizeof found);
    }
}

/* Returns true when the file was a script and another file is to be examined. */
static bool examine(struct program *program)
{
    struct image image;

    program->readable = image_open(program->binary, &image);
    if (!program->readable)
        return false;
    program->elf = image_is_elf(&image);
    if (!program->elf) {
        follow_script(&image, program);
    } else {
        program->foreign = image_foreign(&image);
        if (!program->foreign) {
            program->startable = image_is_program(&image);
            image_loader(&image, program->loader, sizeof program->loader);
            program->own_malloc = image_defines_malloc(&image);
        }
    }
    image_close(&image);
    return !program->elf;
}

int program_find(const char *name, struct program *program)
{
    memset(program, 0, sizeof *program);
    int error = find_in_path(name, program->path, sizeof program->path);
    if (error)
        return error;
    memcpy(program->binary, program->path, sizeof program->binary);
    for (int depth = 0; depth < INTERPRETER_DEPTH && examine(program); depth++)
        ;
    return 0;
}

/* The kernel tells the loader to ignore LD_PRELOAD when the program gains rights. */
static const char *gains_rights(const char *binary)
{
    struct stat status;

    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) /* as in many containers */
        return NULL;
    if (stat(binary, &status) != 0)
        return NULL;
    if ((status.st_mode & S_ISUID) && status.st_uid != geteuid())
        return "is setuid, and the loader ignores LD_PRELOAD for it";
    if ((status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
        status.st_gid != getegid())
        return "is setgid, and the loader ignores LD_PRELOAD for it";
    if (geteuid() != 0 && getxattr(binary, "security.capability", NULL, 0) > 0)
        return "has file capabilities, and the loader ignores LD_PRELOAD for it";
    return NULL;
}

/*
 * What the program's loader would map with the library preloaded, one line a file; NULL
 * when it cannot be asked. "--list" exists in glibc's and musl's.
 */
static FILE *ask_loader(const struct program *program, const char *library,
                        pid_t *child)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return NULL;
    *child = fork();
    if (*child == 0) {
        setenv("LD_PRELOAD", library, 1);
        if (ends[1] == STDOUT_FILENO) /* it was closed, and standard input, too */
            fcntl(ends[1], F_SETFD, 0);
        dup2(ends[1], STDOUT_FILENO);
        int null = open("/dev/null", O_WRONLY);
        if (null >= 0)
            dup2(null, STDERR_FILENO);
        execl(program->loader, program->loader, "--list", program->binary,
              (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *listing = *child > 0 ? fdopen(ends[0], "r") : NULL;
    if (!listing)
        close(ends[0]);
    return listing;
}

static void close_listing(FILE *listing, pid_t child)
{
    fclose(listing);
    waitpid(child, NULL, 0);
}

static bool loader_takes(const struct program *program, const char *library)
{
    char line[2 * PATH_MAX];
    bool found = false;
    pid_t child;
    FILE *listing = ask_loader(program, library, &child);

    if (!listing)
        return true; /* cannot ask: let the program run */
    while (fgets(line, sizeof line, listing))
        found = found || strstr(line, library) != NULL;
    close_listing(listing, child);
    return found;
}

/* The file of a line "name => path (address)" or "path (address)"; NULL: the kernel's. */
static char *file_of(char *line)
{
    char *path = strchr(line, '/'), *end = path ? strstr(path, " (0x") : NULL;
    char *arrow = strstr(line, " => ");

    if (!end)
        return NULL;
    *end = '\0';
    return arrow ? arrow + 4 : path;
}

bool program_links_malloc(const struct program *program, const char *library, char *out,
                          size_t size)
{
    char line[2 * PATH_MAX];
    bool found = false;
    pid_t child;
    FILE *listing = ask_loader(program, library, &child);

    while (listing && fgets(line, sizeof line, listing)) {
        struct image image;
        const char *path = file_of(line);
        if (found || !path || strcmp(path, library) == 0 || strstr(path, "/libc.so") ||
            strcmp(path, program->loader) == 0 || !image_open(path, &image))
            continue;
        found = image_is_elf(&image) && !image_foreign(&image) &&
                image_defines_malloc(&image);
        if (found)
            snprintf(out, size, "%s", path);
        image_close(&image);
    }
    if (listing)
        close_listing(listing, child);
    return found;
}

const char *program_refuses(const struct program *program, const char *library)
{
    static char clause[128];

    if (!program->readable && strchr(program->binary, '\r'))
        return "is not there: the program's first line ends with a carriage return, as "
               "those of Windows do";
    if (!program->readable && access(program->binary, F_OK) != 0)
        return "is not there, though the program's first line names it";
    if (!program->readable)
        return "cannot be read, so whether a preload takes is not known";
    if (!program->elf)
        return NULL; /* scripts that run each other: execve will say so */
    if (program->foreign) {
        snprintf(clause, sizeof clause, "is for %s, the library is not",
                 program->foreign);
        return clause;
    }
    if (!program->startable)
        return "is a library, an object file or cut short, and cannot be started";
    if (!program->loader[0])
        return "is statically linked, and nothing can be preloaded into it";
    const char *reason = gains_rights(program->binary);
    if (reason)
        return reason;
    if (program->own_malloc)
        return "has a malloc of its own, which comes before any preloaded one";
#ifdef __GLIBC__
    if (strstr(program->loader, "ld-musl"))
        return "is linked with musl, and the library needs glibc";
#else
    if (!strstr(program->loader, "ld-musl"))
        return "is not linked with musl, which the library needs";
#endif
    if (!loader_takes(program, library)) {
        snprintf(clause, sizeof clause,
                 "has a loader, %.80s, that does not take the library",
                 program->loader);
        return clause;
    }
    return NULL;
}
