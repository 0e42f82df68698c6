/*
 * run.c - mymalloc-run: start a program on mymalloc, or say why that cannot be.
 *
 * The check comes before the start, from the program's file and its loader: afterwards
 * the process is the program's own, with its process id, signals and exit status.
 */
#include "doctor.h"
#include "library.h"
#include "program.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum status { REFUSED = 125, NOT_STARTED = 126, NOT_FOUND = 127 }; /* as env(1) */

static const char usage_text[] =
    "usage: mymalloc-run [--anyway] [--background] [--secure] [--guard[=OPTIONS]]\n"
    "                    [--profile FILE[,OPTION]...] PROGRAM [ARGUMENT]...\n"
    "       mymalloc-run --doctor [PROGRAM]\n"
    "       mymalloc-run --library\n"
    "\n"
    "Run PROGRAM with mymalloc in place of its malloc, by LD_PRELOAD. When the "
    "preload\n"
    "cannot take (a static or setuid program, one with its own malloc), say so and do\n"
    "not start it.\n"
    "\n"
    "  --anyway    start it all the same, with its own malloc\n"
    "  --background\n"
    "              with a thread that gives idle memory back "
    "(MYMALLOC_BACKGROUND=on)\n"
    "  --secure    on the hardened library: misuse of the heap ends the program, or "
    "harms\n"
    "              nothing\n"
    "  --guard     report overflows and uses after free of a sample of objects, with\n"
    "              stacks (MYMALLOC_GUARD; OPTIONS: every=BYTES[,on-error=continue],\n"
    "              every=8M by default)\n"
    "  --profile   write a heap profile to FILE when it ends, for mymalloc-prof and "
    "go\n"
    "              tool pprof (MYMALLOC_PROFILE; ,every=BYTES samples more or less "
    "often\n"
    "              than each 512K; ,signal=USR2 writes one at that signal, too; "
    ",form=text\n"
    "              is for google-pprof, or go tool pprof, PROGRAM FILE)\n"
    "  --doctor    show what mymalloc finds here: front end, kernel, limits, "
    "conflicts;\n"
    "              and in PROGRAM's file: would the preload take, has it another "
    "malloc\n"
    "  --library   print the path of the library that is preloaded\n"
    "  --help      this text\n"
    "\n"
    "exit status: the program's; 125 the preload cannot take (why is said); 126 "
    "PROGRAM cannot be\n"
    "started; 127 PROGRAM not found; 2 a wrong option\n";

static int start(char **arguments, const char *library, bool anyway)
{
    struct program program;
    int error = program_find(arguments[0], &program);

    if (error) {
        fprintf(stderr, "mymalloc-run: %s: %s\n", arguments[0], strerror(error));
        return error == ENOENT ? NOT_FOUND : NOT_STARTED;
    }
    const char *reason = program_refuses(&program, library);
    if (reason) {
        fprintf(stderr, "mymalloc-run: %s %s; %s\n", program_shown(program.binary),
                reason,
                anyway ? "it runs with its own malloc" : "not started (see --anyway)");
        if (!anyway)
            return REFUSED;
    } else {
        const char *others = getenv("LD_PRELOAD");
        char *value = NULL;
        if (asprintf(&value, "%s%s%s", library, others && *others ? ":" : "",
                     others ? others : "") < 0)
            return NOT_STARTED;
        setenv("LD_PRELOAD", value, 1);
        free(value);
    }
    execvp(program.path, arguments);
    fprintf(stderr, "mymalloc-run: %s: %s\n", program.path, strerror(errno));
    return NOT_STARTED;
}

/* MYMALLOC_PROFILE takes an absolute path, for programs change their folder. */
static bool set_profile(const char *value)
{
    char folder[PATH_MAX], *absolute = NULL;
    bool done;

    if (*value == '/')
        return setenv("MYMALLOC_PROFILE", value, 1) == 0;
    if (*value == '\0' || *value == ',') {
        fprintf(stderr, "mymalloc-run: --profile needs the name of a file\n");
        return false;
    }
    if (getcwd(folder, sizeof folder) == NULL ||
        asprintf(&absolute, "%s/%s", folder, value) < 0) {
        fprintf(stderr, "mymalloc-run: --profile %s: %s\n", value, strerror(errno));
        return false;
    }
    if (strchr(folder, ',')) {
        fprintf(stderr,
                "mymalloc-run: --profile %s: it would lie in %s, and a comma ends the "
                "name of a file; name another folder\n",
                value, folder);
        return false;
    }
    done = setenv("MYMALLOC_PROFILE", absolute, 1) == 0;
    free(absolute);
    return done;
}

/* Empty, MYMALLOC_GUARD asks for nothing: nobody who says --guard= means that. */
static bool set_guard(const char *value)
{
    if (value != NULL && *value == '\0') {
        fprintf(stderr,
                "mymalloc-run: --guard= needs options, as every=8M; see --help\n");
        return false;
    }
    return setenv("MYMALLOC_GUARD", value != NULL ? value : "every=8M", 1) == 0;
}

static bool is_inside; /* doctor_inside() */

/* Nothing that was printed may be missing while the status says that all is well. */
static void close_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return;
    fprintf(stderr, "mymalloc-run: cannot write to standard output: %s\n",
            strerror(errno));
    _exit(is_inside ? UNWRITTEN : 1);
}

/* The option that getopt_long did not take; nothing has a single letter. */
static int refuse(int option, char *word)
{
    if (option == ':')
        fprintf(stderr, "mymalloc-run: %s needs a value; see --help\n", word);
    else if (strncmp(word, "--", 2) == 0)
        fprintf(stderr, "mymalloc-run: unknown option '%s'; see --help\n", word);
    else
        fprintf(stderr, "mymalloc-run: unknown option '-%c'; see --help\n", optopt);
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"anyway", no_argument, NULL, 'a'},
        {"background", no_argument, NULL, 'b'},
        {"guard", optional_argument, NULL, 'g'},
        {"secure", no_argument, NULL, 's'},
        {"profile", required_argument, NULL, 'p'},
        {"doctor", no_argument, NULL, 'd'},
        {"library", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {"inside", no_argument, NULL,
         'i'}, /* --doctor's second half, under the preload */
        {0},
    };
    char library[PATH_MAX];
    bool anyway = false, secure = false;
    int mode = 0, option;

    atexit(close_output);
    opterr = 0;
    while ((option = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
        if (option == '?' || option == ':')
            return refuse(option, argv[optind - 1]);
        if (option == 'a')
            anyway = true;
        else if (option == 's')
            secure = true;
        else if (option == 'b')
            setenv("MYMALLOC_BACKGROUND", "on", 1);
        else if (option == 'g' && !set_guard(optarg))
            return 2;
        else if (option == 'p' && !set_profile(optarg))
            return 2;
        else if (option != 'p' && option != 'g')
            mode = option;
    }
    if (mode == 'h')
        return fputs(usage_text, stdout) == EOF;
    if (mode == 'i') {
        is_inside = true;
        return doctor_inside();
    }
    if (!mode && optind == argc) {
        fputs("mymalloc-run: PROGRAM is missing; see --help\n", stderr);
        return 2;
    }
    if (mode && optind + (mode == 'd') < argc) {
        fprintf(stderr, "mymalloc-run: '%s' is one too many; see --help\n",
                argv[optind + (mode == 'd')]);
        return 2;
    }
    if (!library_find(secure, library, sizeof library))
        return REFUSED;
    if (mode == 'l')
        return puts(library) < 0;
    return mode == 'd' ? doctor(library, argv[optind])
                       : start(argv + optind, library, anyway);
}
