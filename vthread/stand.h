/* SPDX-License-Identifier: MIT */
/*
 * Where an OS thread stands that is about to sleep in the kernel: what a walk through its callers' frames begins with.
 *
 * It lays that down itself, since the kernel's registers of a sleeping thread are nobody else's to see.  What it
 * calls afterwards is below, and changes none of it.
 */
#ifndef VTHREAD_STAND_H
#define VTHREAD_STAND_H

#include <stdint.h>

#include "base/attributes.h"

#if defined(__x86_64__)
enum { STAND_WORDS = 8 }; /* rbx, rbp, r12 to r15, rsp, rip */
#elif defined(__aarch64__)
enum { STAND_WORDS = 14 }; /* x19 to x30, sp, pc */
#endif

struct stand {
    uint64_t words[STAND_WORDS];
};

/* Of the function that calls this. */
ALWAYS_INLINE void stand_here(struct stand *stand)
{
#if defined(__x86_64__)
    __asm__ volatile("movq %%rbx, (%0)\n\tmovq %%rbp, 8(%0)\n\t"
                     "movq %%r12, 16(%0)\n\tmovq %%r13, 24(%0)\n\t"
                     "movq %%r14, 32(%0)\n\tmovq %%r15, 40(%0)\n\t"
                     "movq %%rsp, 48(%0)\n\tleaq (%%rip), %%rax\n\tmovq %%rax, 56(%0)"
                     :
                     : "r"(stand->words)
                     : "rax", "memory");
#elif defined(__aarch64__)
    __asm__ volatile("stp x19, x20, [%0]\n\tstp x21, x22, [%0, #16]\n\t"
                     "stp x23, x24, [%0, #32]\n\tstp x25, x26, [%0, #48]\n\t"
                     "stp x27, x28, [%0, #64]\n\tstp x29, x30, [%0, #80]\n\t"
                     "mov x9, sp\n\tadr x10, .\n\tstp x9, x10, [%0, #96]"
                     :
                     : "r"(stand->words)
                     : "x9", "x10", "memory");
#endif
}

#endif
