/* SPDX-License-Identifier: MIT */
/*
 * Broken invariants stop the program: the runtime never goes on after one.
 *
 * panic() takes constant text, allocates nothing and takes no lock, so it works
 * wherever it is called from.  ASSERT1..3 are compiled in from that level of the
 * build option `checks` on: 1 cheap checks, 2 invariants of every operation,
 * 3 walks over whole structures.
 */
#ifndef BASE_PANIC_H
#define BASE_PANIC_H

#include "base/attributes.h"

#ifndef VTHREAD_CHECKS
#define VTHREAD_CHECKS 0
#endif

/*
 * What a layer above has to say after the message, once; it takes no lock and no memory.  NULL: nothing.
 * If it fails in turn that is the end; another thread that panics meanwhile waits a moment for it.
 */
extern void (*panic_report)(void);

NORETURN COLD void panic(const char *what);
NORETURN COLD void panic_at(const char *what, const char *file, int line);

#define ASSERT_ALWAYS(x) (LIKELY(x) ? (void)0 : panic_at(#x, __FILE__, __LINE__))
#define ASSERT_NEVER(x) ((void)sizeof(!(x)))

#if VTHREAD_CHECKS >= 1
#define ASSERT1(x) ASSERT_ALWAYS(x)
#else
#define ASSERT1(x) ASSERT_NEVER(x)
#endif
#if VTHREAD_CHECKS >= 2
#define ASSERT2(x) ASSERT_ALWAYS(x)
#else
#define ASSERT2(x) ASSERT_NEVER(x)
#endif
#if VTHREAD_CHECKS >= 3
#define ASSERT3(x) ASSERT_ALWAYS(x)
#else
#define ASSERT3(x) ASSERT_NEVER(x)
#endif

#endif
