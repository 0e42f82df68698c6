/*
 * forms.h - the forms of operator new and delete, by their names in the Itanium C++ ABI.
 */
#ifndef MYM_FACE_FORMS_H
#define MYM_FACE_FORMS_H

/* X(result, name, parameters) */
#define FORMS(X)                                                                  \
    X(void *, _Znwm, (size_t))                                                    \
    X(void *, _Znam, (size_t))                                                    \
    X(void *, _ZnwmSt11align_val_t, (size_t, size_t))                             \
    X(void *, _ZnamSt11align_val_t, (size_t, size_t))                             \
    X(void *, _ZnwmRKSt9nothrow_t, (size_t, const void *))                        \
    X(void *, _ZnwmSt11align_val_tRKSt9nothrow_t, (size_t, size_t, const void *)) \
    X(void, _ZdlPv, (void *))                                                     \
    X(void, _ZdaPv, (void *))                                                     \
    X(void, _ZdlPvm, (void *, size_t))                                            \
    X(void, _ZdaPvm, (void *, size_t))                                            \
    X(void, _ZdlPvSt11align_val_t, (void *, size_t))                              \
    X(void, _ZdaPvSt11align_val_t, (void *, size_t))                              \
    X(void, _ZdlPvmSt11align_val_t, (void *, size_t, size_t))                     \
    X(void, _ZdaPvmSt11align_val_t, (void *, size_t, size_t))                     \
    X(void, _ZdlPvRKSt9nothrow_t, (void *, const void *))                         \
    X(void, _ZdaPvRKSt9nothrow_t, (void *, const void *))                         \
    X(void, _ZdlPvSt11align_val_tRKSt9nothrow_t, (void *, size_t, const void *))  \
    X(void, _ZdaPvSt11align_val_tRKSt9nothrow_t, (void *, size_t, const void *))
/* The archive leaves these to the C++ library. */
#ifdef MYM_ARCHIVE
#define MORE_FORMS(X)
#else
#define MORE_FORMS(X)                                      \
    X(void *, _ZnamRKSt9nothrow_t, (size_t, const void *)) \
    X(void *, _ZnamSt11align_val_tRKSt9nothrow_t, (size_t, size_t, const void *))
#endif

#endif
