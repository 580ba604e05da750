/* SPDX-License-Identifier: MIT */
/*
 * Atomics whose memory order is part of the operation's name.
 *
 * An atomic field is declared ATOMIC(T): a one-member struct, so that a plain
 * access by accident does not compile.  Every operation takes the address of
 * such a field.  T is an integer or a pointer of at most 8 bytes.
 *
 * Under VTHREAD_MODEL the same operations go to the model explorer of
 * tests/model, which runs the real protocol headers step by step and keeps
 * stores invisible to other actors for as long as the orders allow it.
 *
 * The asymmetric pair (Dekker's store-load fence, put on the rare side; after
 * liburcu's and folly's use of membarrier(2)):
 *
 *     frequent side                    rare side
 *     store X                          store Y
 *     barrier_light()                  barrier_heavy()
 *     load Y                           load X
 *
 * At least one of the two sides sees the other's store.  barrier_light() only
 * stops the compiler; barrier_heavy() makes every running thread of the process
 * execute a full fence.  Where the kernel has no private expedited membarrier,
 * and under ThreadSanitizer, both are full fences.
 */
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

#define ATOMIC(T)                                                                                                      \
    struct {                                                                                                           \
        T value;                                                                                                       \
    }

/* For one whose address is handed around, for each ATOMIC(T) is a type of its own. */
typedef ATOMIC(uint32_t) atomic_word;

#ifdef VTHREAD_MODEL
#include "tests/model/model_atomic.h"
#else

#define atomic_load_relaxed(p) __atomic_load_n(&(p)->value, __ATOMIC_RELAXED)
#define atomic_load_acquire(p) __atomic_load_n(&(p)->value, __ATOMIC_ACQUIRE)
#define atomic_load_seq_cst(p) __atomic_load_n(&(p)->value, __ATOMIC_SEQ_CST)
#define atomic_store_relaxed(p, v) __atomic_store_n(&(p)->value, (v), __ATOMIC_RELAXED)
#define atomic_store_release(p, v) __atomic_store_n(&(p)->value, (v), __ATOMIC_RELEASE)
#define atomic_store_seq_cst(p, v) __atomic_store_n(&(p)->value, (v), __ATOMIC_SEQ_CST)
#define atomic_exchange_acq_rel(p, v) __atomic_exchange_n(&(p)->value, (v), __ATOMIC_ACQ_REL)
#define atomic_exchange_acquire(p, v) __atomic_exchange_n(&(p)->value, (v), __ATOMIC_ACQUIRE)
#define atomic_fetch_add_relaxed(p, v) __atomic_fetch_add(&(p)->value, (v), __ATOMIC_RELAXED)
#define atomic_fetch_add_acq_rel(p, v) __atomic_fetch_add(&(p)->value, (v), __ATOMIC_ACQ_REL)
#define atomic_fetch_add_seq_cst(p, v) __atomic_fetch_add(&(p)->value, (v), __ATOMIC_SEQ_CST)
#define atomic_fetch_sub_acq_rel(p, v) __atomic_fetch_sub(&(p)->value, (v), __ATOMIC_ACQ_REL)
#define atomic_fetch_sub_relaxed(p, v) __atomic_fetch_sub(&(p)->value, (v), __ATOMIC_RELAXED)
#define atomic_fetch_or_acq_rel(p, v) __atomic_fetch_or(&(p)->value, (v), __ATOMIC_ACQ_REL)
#define atomic_fetch_and_acq_rel(p, v) __atomic_fetch_and(&(p)->value, (v), __ATOMIC_ACQ_REL)

/* Strong compare-and-swap; on failure *expected receives the value found (acquire). */
#define atomic_cas_acq_rel(p, expected, desired)                                                                       \
    __atomic_compare_exchange_n(&(p)->value, (expected), (desired), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define atomic_cas_relaxed(p, expected, desired)                                                                       \
    __atomic_compare_exchange_n(&(p)->value, (expected), (desired), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define atomic_cas_seq_cst(p, expected, desired)                                                                       \
    __atomic_compare_exchange_n(&(p)->value, (expected), (desired), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

#if BUILT_WITH_TSAN
/* ThreadSanitizer does not know fences: an exchange on one shared word orders the same way. */
extern ATOMIC(uint32_t) atomic_fence_word;
#define atomic_fence_seq_cst() ((void)__atomic_fetch_add(&atomic_fence_word.value, 1, __ATOMIC_SEQ_CST))
#else
#define atomic_fence_seq_cst() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#endif

/* True once barrier_init() found the kernel's membarrier; read-mostly. */
extern HIDDEN bool barrier_asymmetric;
void barrier_init(void);
void barrier_heavy(void);

ALWAYS_INLINE void barrier_light(void)
{
    if (LIKELY(barrier_asymmetric))
        __asm__ volatile("" ::: "memory");
    else
        atomic_fence_seq_cst();
}

ALWAYS_INLINE void cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

#endif /* VTHREAD_MODEL */

/* For fields that no other thread can see yet. */
#define atomic_init(p, v) ((p)->value = (v))

#endif
