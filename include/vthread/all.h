/* SPDX-License-Identifier: MIT */
/* Every public header that this build has. */
#ifndef VTHREAD_ALL_H
#define VTHREAD_ALL_H

#include <vthread/api.h>
#include <vthread/continuation.h>
#include <vthread/net.h>
#include <vthread/runtime.h>
#include <vthread/version.h>
#include <vthread/vthread.h>

#endif
