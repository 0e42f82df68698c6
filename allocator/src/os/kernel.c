/*
 * kernel.c - what kernels differ in that no call tells: which free a page table with the last of
 * its pages, and whose restartable sequences cannot be relied on.
 *
 * arm64, Linux 6.19.0 to 7.0.13: a sequence is not aborted when its thread is preempted
 * and continues on the same CPU (mended in mainline by 411c1cf43039, in stable by 7.0.14).
 * Two threads could then pop one object.
 *
 * A distribution's name for its kernel need not be upstream's version: Ubuntu tells that
 * in /proc/version_signature, Debian behind the build's number in /proc/version.
 */
#include "os/os.h"

#include "base/syscall.h"

#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>

/* ---- by the note in what the kernel maps into each program ---- */

static uint32_t version_in(const char *note, const char *end)
{
    static const char name[] = "Linux";

    while (end - note >= (ptrdiff_t)sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *head = (const void *)note;
        const char *text = note + sizeof *head;
        const char *value = text + mym_round_up(head->n_namesz, 4);
        uint32_t version;

        if (head->n_type == 0 && head->n_namesz == sizeof name &&
            memcmp(text, name, sizeof name) == 0 && head->n_descsz == sizeof version) {
            memcpy(&version, value, sizeof version);
            return version;
        }
        note = value + mym_round_up(head->n_descsz, 4);
    }
    return 0;
}

uint32_t mym_os_linux(void)
{
    const char *image = (const char *)getauxval(AT_SYSINFO_EHDR); /* NOLINT */
    const ElfW(Ehdr) *head = (const void *)image;
    uint32_t version = 0;

    for (unsigned i = 0; image != NULL && i < head->e_phnum && version == 0; i++) {
        const ElfW(Phdr) *part =
            (const ElfW(Phdr) *)(const void *)(image + head->e_phoff) + i;

        if (part->p_type == PT_NOTE)
            version = version_in(image + part->p_offset,
                                 image + part->p_offset + part->p_filesz);
    }
    return version;
}

bool mym_os_frees_tables(void)
{
#ifdef __x86_64__
    static _Atomic uint32_t known; /* the same whoever finds it */
    uint32_t version = atomic_load_explicit(&known, memory_order_relaxed);

    if (version == 0) {
        version = mym_os_linux() | 1; /* it does not say: an old one */
        atomic_store_explicit(&known, version, memory_order_relaxed);
    }
    return version >= MYM_OS_LINUX(6, 14);
#else
    return false; /* of others none did in 6.14, and none was tried */
#endif
}

/* ---- by the names of versions ---- */

struct version {
    unsigned major, minor, patch;
    bool candidate; /* -rc */
};

static unsigned number(const char **at)
{
    unsigned value = 0;

    for (; **at >= '0' && **at <= '9'; ++*at)
        value = value * 10 + (unsigned)(**at - '0');
    return value;
}

static struct version parse(const char *text)
{
    struct version version = {0};

    version.major = number(&text);
    if (*text == ':') { /* that was a package's epoch */
        text++;
        version.major = number(&text);
    }
    if (*text == '.') {
        text++;
        version.minor = number(&text);
    }
    if (*text == '.') {
        text++;
        version.patch = number(&text);
    }
    version.candidate = strncmp(text, "-rc", 3) == 0;
    return version;
}

/* What follows the last occurrence of `word` that a digit follows; NULL: none. */
static const char *behind(const char *text, const char *word)
{
    const char *found = NULL;

    for (; (text = strstr(text, word)) != NULL; text++)
        if (text[strlen(word)] >= '0' && text[strlen(word)] <= '9')
            found = text + strlen(word);
    return found;
}

/* Upstream's version of the running kernel. */
static struct version upstream(const char *version, const char *signature)
{
    static const char prefix[] = "Linux version ";
    const char *build = strstr(version, " #"); /* before it the compiler is named */
    const char *own = NULL;

    if (strncmp(signature, "Ubuntu ", 7) == 0)
        own = behind(signature, " "); /* Ubuntu 6.8.0-31.31-generic 6.8.1 */
    if (own == NULL && build != NULL)
        own = behind(build, "Debian ");
    if (own == NULL)
        own = strncmp(version, prefix, sizeof prefix - 1) == 0
                  ? version + sizeof prefix - 1
                  : version;
    return parse(own);
}

bool mym_os_is_unsafe_arm64(const char *version, const char *signature)
{
    struct version v = upstream(version, signature);

    if (v.major == 6)
        return v.minor >= 19;
    /* Which candidate of 7.1 was the first to have the fix is not told apart. */
    return v.major == 7 && ((v.minor == 0 && v.patch < 14) ||
                            (v.minor == 1 && v.patch == 0 && v.candidate));
}

bool mym_os_can_restart(void)
{
#ifdef __aarch64__
    char version[512], signature[128];
    struct utsname name;

    mym_os_read_file("/proc/version_signature", signature, sizeof signature);
    if (mym_os_read_file("/proc/version", version, sizeof version) > 0)
        return !mym_os_is_unsafe_arm64(version, signature);
    if (mym_syscall(SYS_uname, (long)&name, 0, 0, 0, 0, 0) == 0)
        return !mym_os_is_unsafe_arm64(name.release, signature);
#endif
    return true;
}
