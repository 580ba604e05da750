/* SPDX-License-Identifier: MIT */
/*
 * Version of the headers (at compile time) and of the library (at run time),
 * and what the library was built with.
 */
#ifndef VTHREAD_VERSION_H
#define VTHREAD_VERSION_H

#include <vthread/api.h>

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
 * Was the library built with a feature, and is it in effect?  Known names:
 * "net".  Returns false for names it does not know.  Any context.
 */
VTHREAD_API bool vthread_has(const char *feature);

#ifdef __cplusplus
}
#endif
#endif
