/* SPDX-License-Identifier: MIT */
/*
 * The switch between a runner (an OS thread on its own stack) and a
 * continuation (on a stack of the arena).  What an architecture must supply:
 *
 *   switch_in    from the runner, inline: save what is live, jump into the
 *                continuation suspended at `sp`; returns what it passes out.
 *   switch_begin the same for one that has not run yet, on a stack with this top.
 *   switch_swap  either, as a function, for runners and bodies that the user calls.
 *   switch_out   from the continuation, a function: save the callee-saved
 *                registers, publish the stack pointer, jump to the runner.
 *   switch_prepare  build the frames of a continuation that has not run yet.
 *
 * A suspended continuation, growing down (drawn for x86-64; the frozen form is
 * the same bytes in a chunk, see cont.h):
 *
 *     top        16-aligned; nothing above belongs to the continuation
 *     top - 8    return address into switch_start: the same for every
 *                continuation, hence never frozen
 *     ...        frames of the body
 *     sp + 48    where to resume
 *     sp         rbp rbx r12 r13 r14 r15
 *
 * ABI rules relied on.  x86-64 SysV: rbx, rbp, r12-r15, the x87 control word
 * and mxcsr's control bits survive a call; rsp is 16-aligned before a call; 128
 * bytes below rsp are a leaf's red zone (nobody is a leaf at a switch).  AAPCS64:
 * x19-x29, sp, d8-d15 and fpcr survive.  FP control words are the business of the
 * caller, for they almost never change.
 *
 * The return-address predictor.  A `ret` is predicted to go where the latest
 * unmatched call came from.  The runner is left inline and entered by `jmp`, so
 * there is no call to match.  A continuation leaves by a call (of switch_out),
 * and the one entered next left at the same call most of the time: entering by
 * `ret` takes that call off the predictor again, so that this return and those
 * after it are predicted; entering by `jmp` mispredicts every return that follows
 * (yield: 25 against 16 ns).  A first entry has no such call, and is a jump.  Shadow stacks cannot follow; the objects
 * are marked IBT-only, and the runtime refuses to start under one.
 */
#ifndef CONTINUATION_SWITCH_H
#define CONTINUATION_SWITCH_H

#include <stdint.h>

#include "base/attributes.h"
#include "continuation/sanitizer.h"

/* One for every runner; the address is passed to switch_out. */
struct switch_frame {
    void *runner_sp; /* offset 0: known to the assembly */
    void *cont_sp;   /* offset 8: where the continuation left off */
    struct sanitizer_side side;
};

_Static_assert(offsetof(struct switch_frame, runner_sp) == 0, "known to the assembly");
_Static_assert(offsetof(struct switch_frame, cont_sp) == 8, "known to the assembly");

/* Runs fn(arg) on the new stack, then finish(what fn returned), which must not return. */
struct switch_entry {
    void *(*fn)(void *arg);
    void *arg;
    void (*finish)(void *value);
};

/* Returns what it is run again with, an int so that callers can return it by a tail call. */
int switch_out(struct switch_frame *frame, void *value);

/*
 * For a runner and a body that both are called by the user: either half.  Saves the
 * stack pointer to *save, goes on at sp, and returns the value that it was swapped
 * in with again.  Both sides arrive where they called from by `jmp` (x86-64), for no return
 * here ever matches the latest call (a pair: 8 against 40 ns).
 */
int switch_swap(void **save, void *sp, intptr_t value);

/*
 * From one continuation straight to another, without the runner in between: as
 * switch_out and switch_in together.  Saves the stack pointer to *save; once the
 * first stack is left, stores 0 to *left (release), and not before: until then
 * nobody else may run what lies there.
 */
void *switch_over(void **save, void *sp, uint32_t *left, void *value);
void switch_start(void);

#if defined(__x86_64__)

/* Bytes at the very top that are the same for all and stay in place. */
#define SWITCH_TOP_BYTES 8
#define SWITCH_FIRST_BYTES (7 * sizeof(void *)) /* that switch_prepare writes */

/* The return address in switch_start. */
extern const char switch_started[] __attribute__((visibility("hidden")));

/* Write the constant bytes again, after the page they are on was lost. */
static inline void switch_restore_top(char *top)
{
    *(const void **)(void *)(top - SWITCH_TOP_BYTES) = switch_started;
}

static inline void *switch_prepare(char *top, const struct switch_entry *entry)
{
    void **sp = (void **)(void *)(top - SWITCH_FIRST_BYTES);

    sp[0] = (void *)entry->finish; /* r15 */
    sp[1] = NULL;                  /* r14 */
    sp[2] = entry->arg;            /* r13 */
    sp[3] = (void *)entry->fn;     /* r12 */
    sp[4] = NULL;                  /* rbx */
    sp[5] = NULL;                  /* rbp: ends a walk of frame pointers */
    sp[6] = (void *)switch_start;
    return sp;
}

#if defined(__AVX512F__)
#define SWITCH_CLOBBERS_AVX512                                                                                         \
    , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27",      \
        "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define SWITCH_CLOBBERS_AVX512
#endif

/* A leaf may have put something into the red zone: step over it. */
#define SWITCH_SAVE                                                                                                    \
    "leaq -128(%%rsp), %%rsp\n\t"                                                                                      \
    "pushq %%rbp\n\t"                                                                                                  \
    "pushq %%rbx\n\t"                                                                                                  \
    "leaq 1f(%%rip), %%rcx\n\t"                                                                                        \
    "pushq %%rcx\n\t"                                                                                                  \
    "movq %%rsp, (%%rdi)\n\t"                                                                                          \
    "movq %%rsi, %%rsp\n\t"
#define SWITCH_RETURN                                                                                                  \
    "1:\tendbr64\n\t"                                                                                                  \
    "popq %%rbx\n\t"                                                                                                   \
    "popq %%rbp\n\t"                                                                                                   \
    "leaq 128(%%rsp), %%rsp\n\t"
#define SWITCH_CLOBBERS                                                                                                \
    "rcx", "rdx", "r8", "r9", "r10", "r11", "r14", "cc", "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)",  \
        "st(6)", "st(7)", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",     \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15" SWITCH_CLOBBERS_AVX512

ALWAYS_INLINE void *switch_begin(struct switch_frame *frame, char *top, const struct switch_entry *entry)
{
    /* Read first: where reads are instrumented, that is a call, and what is in registers by then is lost. */
    void *first = (void *)entry->fn;
    void *given = entry->arg;
    void *last = (void *)entry->finish;
    register struct switch_frame *f __asm__("rdi") = frame;
    register char *to __asm__("rsi") = top;
    register void *rax __asm__("rax");
    register void *fn __asm__("r12") = first;
    register void *arg __asm__("r13") = given;
    register void *finish __asm__("r15") = last;

    __asm__ volatile(SWITCH_SAVE "jmp switch_start\n" SWITCH_RETURN
                     : "+r"(f), "+r"(to), "=r"(rax), "+r"(fn), "+r"(arg), "+r"(finish)
                     :
                     : SWITCH_CLOBBERS);
    return rax;
}

ALWAYS_INLINE void *switch_in(struct switch_frame *frame, void *sp, void *value)
{
    register struct switch_frame *f __asm__("rdi") = frame;
    register void *to __asm__("rsi") = sp;
    register void *rax __asm__("rax") = value;

    __asm__ volatile(SWITCH_SAVE "popq %%r15\n\t"
                                 "popq %%r14\n\t"
                                 "popq %%r13\n\t"
                                 "popq %%r12\n\t"
                                 "popq %%rbx\n\t"
                                 "popq %%rbp\n\t"
                                 "ret\n" SWITCH_RETURN
                     : "+r"(f), "+r"(to), "+r"(rax)
                     :
                     : SWITCH_CLOBBERS, "r12", "r13", "r15");
    return rax;
}

/* The control words of the floating point units that a call must preserve. */
struct switch_fp {
    uint32_t mxcsr;
    uint16_t x87;
};

ALWAYS_INLINE struct switch_fp switch_fp_save(void)
{
    struct switch_fp fp;

    __asm__ volatile("stmxcsr %0" : "=m"(fp.mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(fp.x87));
    return fp;
}

ALWAYS_INLINE void switch_fp_load(struct switch_fp fp)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(fp.mxcsr));
    __asm__ volatile("fldcw %0" : : "m"(fp.x87));
}

/* What the ABI gives a new thread; the low six bits of mxcsr are status, not control. */
#define SWITCH_FP_DEFAULT ((struct switch_fp){0x1f80, 0x037f})

ALWAYS_INLINE int switch_fp_is_default(struct switch_fp fp)
{
    return (fp.mxcsr & 0xffc0u) == 0x1f80 && fp.x87 == 0x037f;
}

#elif defined(__aarch64__)

/* x19..x30, d8..d15: 20 words; lr of the body's caller is in switch_start's frame. */
#define SWITCH_TOP_BYTES 0
#define SWITCH_FIRST_BYTES (20 * sizeof(void *))

static inline void switch_restore_top(char *top)
{
    (void)top;
}

static inline void *switch_prepare(char *top, const struct switch_entry *entry)
{
    void **sp = (void **)(void *)(top - SWITCH_FIRST_BYTES);

    for (int i = 0; i < 20; i++)
        sp[i] = NULL;
    sp[0] = (void *)entry->fn;     /* x19 */
    sp[1] = entry->arg;            /* x20 */
    sp[2] = (void *)entry->finish; /* x21 */
    sp[11] = (void *)switch_start; /* x30 */
    return sp;
}

#if defined(__ARM_FEATURE_SVE)
#define SWITCH_CLOBBERS_SVE                                                                                            \
    , "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11", "p12", "p13", "p14", "p15"
#else
#define SWITCH_CLOBBERS_SVE
#endif

ALWAYS_INLINE void *switch_in(struct switch_frame *frame, void *sp, void *value)
{
    register struct switch_frame *f __asm__("x1") = frame;
    register void *to __asm__("x2") = sp;
    register void *x0 __asm__("x0") = value;

    __asm__ volatile("stp x19, x29, [sp, #-32]!\n\t"
                     "adr x3, 1f\n\t"
                     "str x3, [sp, #16]\n\t"
                     "mov x4, sp\n\t"
                     "str x4, [x1]\n\t"
                     "mov sp, x2\n\t"
                     "ldp x19, x20, [sp, #0]\n\t"
                     "ldp x21, x22, [sp, #16]\n\t"
                     "ldp x23, x24, [sp, #32]\n\t"
                     "ldp x25, x26, [sp, #48]\n\t"
                     "ldp x27, x28, [sp, #64]\n\t"
                     "ldp x29, x30, [sp, #80]\n\t"
                     "ldp d8, d9, [sp, #96]\n\t"
                     "ldp d10, d11, [sp, #112]\n\t"
                     "ldp d12, d13, [sp, #128]\n\t"
                     "ldp d14, d15, [sp, #144]\n\t"
                     "add sp, sp, #160\n\t"
                     "ret\n"
                     "1:\thint #36\n\t" /* bti j */
                     "ldp x19, x29, [sp], #32\n\t"
                     : "+r"(f), "+r"(to), "+r"(x0)
                     :
                     : "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
                       "x18", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "cc", "memory",
                       "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14",
                       "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28",
                       "v29", "v30", "v31" SWITCH_CLOBBERS_SVE);
    return x0;
}

ALWAYS_INLINE void *switch_begin(struct switch_frame *frame, char *top, const struct switch_entry *entry)
{
    return switch_in(frame, switch_prepare(top, entry), NULL); /* which enters by a jump anyway */
}

struct switch_fp {
    uint64_t fpcr;
};

ALWAYS_INLINE struct switch_fp switch_fp_save(void)
{
    struct switch_fp fp;

    __asm__ volatile("mrs %0, fpcr" : "=r"(fp.fpcr));
    return fp;
}

ALWAYS_INLINE void switch_fp_load(struct switch_fp fp)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(fp.fpcr));
}

#define SWITCH_FP_DEFAULT ((struct switch_fp){0})

ALWAYS_INLINE int switch_fp_is_default(struct switch_fp fp)
{
    return fp.fpcr == 0;
}

#else
#error "vthread: no switch for this architecture; see what continuation/switch.h asks for"
#endif

#endif
