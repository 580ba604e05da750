/* SPDX-License-Identifier: MIT */
/*
 * Version of the headers (at compile time) and of the library (at run time),
 * and what the library was built with.
 */
#ifndef VTHREAD_VERSION_H
#define VTHREAD_VERSION_H

#include <vthread/api.h>
/* VTHREAD_HAS_NET, VTHREAD_HAS_GC, VTHREAD_HAS_POSIX: 1 or 0, as the library that these headers came with was built. */
#include <vthread/features.h>

#define VTHREAD_VERSION_MAJOR 0
#define VTHREAD_VERSION_MINOR 1
#define VTHREAD_VERSION_PATCH 0

/* 0xMMmmpp: compare with < and >=. */
#define VTHREAD_VERSION ((VTHREAD_VERSION_MAJOR << 16) | (VTHREAD_VERSION_MINOR << 8) | VTHREAD_VERSION_PATCH)

#ifdef __cplusplus
extern "C" {
#endif

/* VTHREAD_VERSION of the library that is loaded.  Any context. */
VTHREAD_API unsigned vthread_version(void);

/*
 * Was the library that is loaded built with a feature, and is it in effect?
 * Names: "net", "gc", "posix".  Returns false for those it does not know.  Any context.
 */
VTHREAD_API bool vthread_has(const char *feature);

#ifdef __cplusplus
}
#endif
#endif
