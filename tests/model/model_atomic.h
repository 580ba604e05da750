/* SPDX-License-Identifier: MIT */
/*
 * The operations of base/atomic.h, for the explorer.  Included by that header
 * under VTHREAD_MODEL; the two lists are compared by tests/model/in_sync.py.
 */
#ifndef TESTS_MODEL_MODEL_ATOMIC_H
#define TESTS_MODEL_MODEL_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/model/model.h"

enum model_order { MODEL_RELAXED, MODEL_ACQUIRE, MODEL_RELEASE, MODEL_ACQ_REL, MODEL_SEQ_CST };
enum model_fetch { MODEL_ADD, MODEL_SUB, MODEL_OR, MODEL_AND, MODEL_EXCHANGE };

/* Where an operation is written: address expression, file and line, function. */
#define MODEL_SITE(p) #p, __FILE__ ":" MODEL_STRING(__LINE__), __func__
#define MODEL_SITE_ARGS const char *expression, const char *where, const char *function

uint64_t model_load(const void *p, unsigned size, enum model_order order, MODEL_SITE_ARGS);
void model_store(void *p, unsigned size, enum model_order order, uint64_t value, MODEL_SITE_ARGS);
uint64_t model_fetch(void *p, unsigned size, enum model_order order, enum model_fetch fetch, uint64_t operand,
                     MODEL_SITE_ARGS);
bool model_cas(void *p, unsigned size, enum model_order success, enum model_order failure, void *expected,
               uint64_t desired, MODEL_SITE_ARGS);
void model_fence(MODEL_SITE_ARGS);
void model_barrier_heavy(MODEL_SITE_ARGS);
void model_barrier_light(MODEL_SITE_ARGS);

#define MODEL_TYPE(p) __typeof__((p)->value)

/* In braces, so that an unused result is no warning. */
#define MODEL_LOAD(p, order)                                                                                           \
    __extension__({ (MODEL_TYPE(p)) model_load(&(p)->value, sizeof((p)->value), order, MODEL_SITE(p)); })
#define MODEL_STORE(p, order, v) model_store(&(p)->value, sizeof((p)->value), order, (uint64_t)(v), MODEL_SITE(p))
#define MODEL_FETCH(p, order, fetch, v)                                                                                \
    __extension__(                                                                                                     \
        { (MODEL_TYPE(p)) model_fetch(&(p)->value, sizeof((p)->value), order, fetch, (uint64_t)(v), MODEL_SITE(p)); })
/* The conditional makes the compiler compare the types of expected and the field. */
#define MODEL_CAS(p, success, failure, expected, desired)                                                              \
    model_cas(&(p)->value, sizeof((p)->value), success, failure, (1 ? (expected) : &(p)->value), (uint64_t)(desired),  \
              MODEL_SITE(p))

#define atomic_load_relaxed(p) MODEL_LOAD(p, MODEL_RELAXED)
#define atomic_load_acquire(p) MODEL_LOAD(p, MODEL_ACQUIRE)
#define atomic_load_seq_cst(p) MODEL_LOAD(p, MODEL_SEQ_CST)
#define atomic_store_relaxed(p, v) MODEL_STORE(p, MODEL_RELAXED, v)
#define atomic_store_release(p, v) MODEL_STORE(p, MODEL_RELEASE, v)
#define atomic_store_seq_cst(p, v) MODEL_STORE(p, MODEL_SEQ_CST, v)
#define atomic_exchange_acq_rel(p, v) MODEL_FETCH(p, MODEL_ACQ_REL, MODEL_EXCHANGE, v)
#define atomic_exchange_acquire(p, v) MODEL_FETCH(p, MODEL_ACQUIRE, MODEL_EXCHANGE, v)
#define atomic_fetch_add_relaxed(p, v) MODEL_FETCH(p, MODEL_RELAXED, MODEL_ADD, v)
#define atomic_fetch_add_acq_rel(p, v) MODEL_FETCH(p, MODEL_ACQ_REL, MODEL_ADD, v)
#define atomic_fetch_add_seq_cst(p, v) MODEL_FETCH(p, MODEL_SEQ_CST, MODEL_ADD, v)
#define atomic_fetch_sub_acq_rel(p, v) MODEL_FETCH(p, MODEL_ACQ_REL, MODEL_SUB, v)
#define atomic_fetch_sub_relaxed(p, v) MODEL_FETCH(p, MODEL_RELAXED, MODEL_SUB, v)
#define atomic_fetch_or_acq_rel(p, v) MODEL_FETCH(p, MODEL_ACQ_REL, MODEL_OR, v)
#define atomic_fetch_and_acq_rel(p, v) MODEL_FETCH(p, MODEL_ACQ_REL, MODEL_AND, v)
#define atomic_cas_acq_rel(p, expected, desired) MODEL_CAS(p, MODEL_ACQ_REL, MODEL_ACQUIRE, expected, desired)
#define atomic_cas_relaxed(p, expected, desired) MODEL_CAS(p, MODEL_RELAXED, MODEL_RELAXED, expected, desired)
#define atomic_cas_seq_cst(p, expected, desired) MODEL_CAS(p, MODEL_SEQ_CST, MODEL_SEQ_CST, expected, desired)
#define atomic_fence_seq_cst() model_fence("", __FILE__ ":" MODEL_STRING(__LINE__), __func__)
#define barrier_heavy() model_barrier_heavy("", __FILE__ ":" MODEL_STRING(__LINE__), __func__)
#define barrier_light() model_barrier_light("", __FILE__ ":" MODEL_STRING(__LINE__), __func__)
#define barrier_init() ((void)0)
#define cpu_pause() model_pause()

#endif
