/*
 * mallctl.c - jemalloc's control interface: values by name and by number.
 *
 * As jemalloc(3) describes it. Names are in names.c, the leaves of a tree. In a MIB each
 * component that is a number stands for itself; any other is given the index of the first
 * name that begins with the components up to it. So the last one tells which name is meant,
 * and parts of a MIB can be put together as its manual has it.
 *
 * Locking: none here.
 */
#include "face/names.h"
#include "face/override.h"

#include <errno.h>
#include <string.h>

#define MOST_COMPONENTS 8

int mallctl(const char *name, void *old, size_t *old_length, void *new,
            size_t new_length);
int mallctlnametomib(const char *name, size_t *mib, size_t *length);
int mallctlbymib(const size_t *mib, size_t length, void *old, size_t *old_length,
                 void *new, size_t new_length);

/* ---- names ---- */

/* Where the next component begins, behind its dot; NULL: this is the last one. */
static const char *next_of(const char *component)
{
    const char *dot = strchr(component, '.');

    return dot == NULL ? NULL : dot + 1;
}

static size_t length_of(const char *component)
{
    return strcspn(component, ".");
}

/* Digits, as many as a number of something here has at most; SIZE_MAX: it is none. */
static size_t number_of(const char *component)
{
    size_t number = 0, length = length_of(component);

    if (length == 0 || length > 9)
        return SIZE_MAX;
    for (size_t i = 0; i < length; i++) {
        if (component[i] < '0' || component[i] > '9')
            return SIZE_MAX;
        number = number * 10 + (size_t)(component[i] - '0');
    }
    return number;
}

/* Whether a name is of a pattern, or of the first components of it; its numbers. */
static bool matches(const char *pattern, const char *name, bool in_part, size_t *at)
{
    const char *before = NULL;

    while (pattern != NULL && name != NULL) {
        size_t length = length_of(pattern);

        if (*pattern == '#') {
            *at = number_of(name);
            if (*at == SIZE_MAX || !mym_number_is_known(before, *at))
                return false;
            at++;
        } else if (length != length_of(name) || memcmp(pattern, name, length) != 0) {
            return false;
        }
        before = pattern;
        pattern = next_of(pattern);
        name = next_of(name);
    }
    return name == NULL && (in_part || pattern == NULL);
}

static const struct mym_name *find(const char *name, bool in_part, size_t *at)
{
    for (unsigned i = 0; i < mym_name_count; i++)
        if (matches(mym_names[i].name, name, in_part, at))
            return &mym_names[i];
    return NULL;
}

/* The first of the names that begin as this one does, up to a component. */
static size_t first_like(const char *name, const char *component)
{
    size_t length = (size_t)(component - name) + length_of(component), i = 0;

    while (strncmp(mym_names[i].name, name, length) != 0 ||
           (mym_names[i].name[length] != '.' && mym_names[i].name[length] != '\0'))
        i++;
    return i;
}

/* The name that a MIB stands for; NULL: none. */
static const struct mym_name *find_by_mib(const size_t *mib, size_t length, size_t *at)
{
    const char *name, *before = NULL;

    if (length == 0 || length > MOST_COMPONENTS || mib[length - 1] >= mym_name_count)
        return NULL;
    name = mym_names[mib[length - 1]].name;
    for (const char *component = name; component != NULL;
         before = component, component = next_of(component), mib++, length--) {
        if (length == 0)
            return NULL;
        if (*component != '#' && *mib != first_like(name, component))
            return NULL;
        if (*component == '#' && !mym_number_is_known(before, *at++ = *mib))
            return NULL;
    }
    return length == 0 ? &mym_names[mib[-1]] : NULL;
}

/* ---- values ---- */

static size_t size_of(enum mym_type type)
{
    switch (type) {
    case MYM_BOOL:
        return sizeof(bool);
    case MYM_UNSIGNED:
        return sizeof(unsigned);
    default:
        return sizeof(uint64_t);
    }
}

/* Of a wrong length as much is read as fits, and how much that was is told. */
static int get(const struct mym_name *name, const size_t *at, void *old,
               size_t *old_length)
{
    uint64_t value = name->read(at);
    size_t length = size_of(name->type);
    int error = *old_length == length ? 0 : EINVAL;

    if (*old_length > length)
        *old_length = length;
    memcpy(old, &value, *old_length); /* little-endian: the low bytes come first */
    return error;
}

static int control(const struct mym_name *name, const size_t *at, void *old,
                   size_t *old_length, const void *new, size_t new_length)
{
    struct mym_exchange call = {old, old_length, new, new_length};
    bool reads = old != NULL || old_length != NULL;
    bool writes = new != NULL || new_length != 0;
    uint64_t value = 0;
    int error = 0;

    if (name->exchange != NULL)
        return name->exchange(&call);
    if ((reads && name->read == NULL) || (writes && name->write == NULL))
        return EPERM;
    if (name->type == MYM_ACTION)
        return writes ? EPERM : name->write(at, 0);
    if (name->read == NULL && (new == NULL || new_length != size_of(name->type)))
        return EINVAL;
    if (new != NULL && new_length != size_of(name->type))
        return EINVAL;
    if (new != NULL)
        memcpy(&value, new, new_length);
    if (old != NULL && old_length != NULL)
        error = get(name, at, old, old_length);
    return error == 0 && new != NULL ? name->write(at, value) : error;
}

EXPORT int mallctl(const char *name, void *old, size_t *old_length, void *new,
                   size_t new_length)
{
    size_t at[MYM_NUMBERS] = {0};
    const struct mym_name *found = find(name, false, at);

    return found == NULL ? ENOENT
                         : control(found, at, old, old_length, new, new_length);
}

EXPORT int mallctlbymib(const size_t *mib, size_t length, void *old, size_t *old_length,
                        void *new, size_t new_length)
{
    size_t at[MYM_NUMBERS] = {0};
    const struct mym_name *found = find_by_mib(mib, length, at);

    return found == NULL ? ENOENT
                         : control(found, at, old, old_length, new, new_length);
}

EXPORT int mallctlnametomib(const char *name, size_t *mib, size_t *length)
{
    size_t at[MYM_NUMBERS] = {0}, *number = at, i = 0;
    const struct mym_name *found = find(name, true, at);

    if (found == NULL)
        return ENOENT;
    for (const char *component = found->name; name != NULL && i < *length;
         component = next_of(component), name = next_of(name), i++)
        mib[i] = *component == '#' ? *number++ : first_like(found->name, component);
    *length = i;
    return 0;
}
