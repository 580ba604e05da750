/* SPDX-License-Identifier: MIT */
/* Every public header that this build has: without net, there is no net.h and no os.h; without gc, no gc.h. */
#ifndef VTHREAD_ALL_H
#define VTHREAD_ALL_H

#include <vthread/api.h>
#include <vthread/continuation.h>
#include <vthread/executor.h>
#include <vthread/local.h>
#include <vthread/pool.h>
#include <vthread/pthread.h>
#include <vthread/queue.h>
#include <vthread/runtime.h>
#include <vthread/scope.h>
#include <vthread/sync.h>
#include <vthread/version.h>
#include <vthread/vthread.h>

#if VTHREAD_HAS_GC
#include <vthread/gc.h>
#endif

#if VTHREAD_HAS_NET
#include <vthread/net.h>
#include <vthread/os.h>
#endif

#if VTHREAD_HAS_POSIX
#include <vthread/posix.h>
#endif

#endif
