/* SPDX-License-Identifier: MIT */
/* Every public header that this build has: without net, there is no net.h and no os.h. */
#ifndef VTHREAD_ALL_H
#define VTHREAD_ALL_H

#include <vthread/api.h>
#include <vthread/continuation.h>
#include <vthread/runtime.h>
#include <vthread/version.h>
#include <vthread/vthread.h>

#ifdef __has_include
#if __has_include(<vthread/net.h>)
#include <vthread/net.h>
#include <vthread/os.h>
#endif
#endif

#endif
