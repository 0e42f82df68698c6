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

#endif
