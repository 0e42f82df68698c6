/*
 * override.h - how a name of libc or of C++ is taken over.
 */
#ifndef MYM_FACE_OVERRIDE_H
#define MYM_FACE_OVERRIDE_H

#include "face/family.h"

#define EXPORT __attribute__((visibility("default")))
#if __has_attribute(copy)
#define ALIAS(name) EXPORT __attribute__((alias(#name), copy(name)))
#define OWN(name)   __attribute__((alias(#name), copy(name), visibility("hidden")))
#else
#define ALIAS(name) EXPORT __attribute__((alias(#name)))
#define OWN(name)   __attribute__((alias(#name), visibility("hidden")))
#endif

/* One name more for what is here already. */
#define TELLS(type, name, own, parameters, ...) \
    type name parameters;                       \
    EXPORT type name parameters                 \
    {                                           \
        return own(__VA_ARGS__);                \
    }
#define GIVES(name, ...) TELLS(void *, name, __VA_ARGS__)
#define TAKES(name, own, parameters, ...) \
    void name parameters;                 \
    EXPORT void name parameters           \
    {                                     \
        own(__VA_ARGS__);                 \
    }

/* Around a call whose child shares the memory while the calling thread waits for it (vfork.c). */
MYM_HIDDEN void mym_vfork_begin(void);
MYM_HIDDEN void mym_vfork_end(void);

#endif
