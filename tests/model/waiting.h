/* SPDX-License-Identifier: MIT */
/*
 * Threads for models of what lies above the state word: every actor has a
 * record, and waits and is woken as in vthread/park.c and mount.c, with a run
 * queue of its own in place of carriers.  Time does not pass; deadlines are met by
 * an actor that runs fire_timers.
 *
 * Included once by a model, after vthread/thread.h.
 */
#ifndef TESTS_MODEL_WAITING_H
#define TESTS_MODEL_WAITING_H

#include <errno.h>

#include "tests/model/model.h"
#include "vthread/thread.h"

enum { RECORDS = 1 + MODEL_ACTORS_MAX, DEADLINE = 5 };

struct thread *thread_table;
struct thread_cold *thread_cold_table;
struct thread_waiter *thread_waiters;
struct thread_room *thread_rooms;
struct pool pool;
_Thread_local struct carrier *carrier_current;
__typeof__(runtime_is_forked) runtime_is_forked;
__typeof__(thread_count) thread_count;

static MODEL_SHARED struct thread table[RECORDS];
static MODEL_SHARED struct thread_cold cold_table[RECORDS];
static MODEL_SHARED struct thread_waiter waiter_table[RECORDS];
static MODEL_SHARED struct thread_room room_table[RECORDS];
static MODEL_SHARED struct model_queue runnable[RECORDS];
static MODEL_SHARED struct model_queue timers;

/* With it, a thread made runnable is linked into a list, as pool_inject does; the link is all threads have. */
enum { LINKED = 1 };

static void make_threads(void)
{
    thread_table = table;
    thread_cold_table = cold_table;
    thread_waiters = waiter_table;
    thread_rooms = room_table;
    atomic_init(&thread_count, RECORDS);
    for (int i = 1; i < RECORDS; i++)
        atomic_init(&table[i].word, WORD_ACTIVE | ((uint64_t)1 << WORD_GENERATION_SHIFT));
}

/* Record 0 names no thread. */
static inline int record_of(int actor)
{
    return 1 + actor;
}

static inline int record_self(void)
{
    return record_of(model_self());
}

struct thread *thread_self(int *ret_error)
{
    if (ret_error != NULL)
        *ret_error = 0;
    return &table[record_self()];
}

bool thread_can_leave(const struct thread *self)
{
    (void)self;
    return true;
}

static void make_runnable(struct thread *t, int reason)
{
    t->reason = (uint8_t)reason;
    if (model_variant() & LINKED)
        t->link.task.next = NULL;
    model_queue_push(&runnable[thread_index(t)], t);
}

void thread_wake(struct thread *t, uint32_t number, int reason, struct task_list *list)
{
    (void)list;
    if (word_wake(&t->word, number) == WAKE_RUN)
        make_runnable(t, reason);
}

/* thread_wake has made them runnable already. */
void carrier_keep(struct carrier *c, struct task_list *list)
{
    (void)c;
    (void)list;
}

int thread_wait(struct thread *self, uint64_t flags, int64_t deadline_ns)
{
    uint64_t before;

    if (deadline_ns != INT64_MAX)
        model_queue_push(&timers, (void *)((uintptr_t)thread_wait_number(self) * RECORDS + thread_index(self)));
    if (word_commit_park(&self->word, flags)) {
        model_queue_take(&runnable[thread_index(self)]);
        model_reached("waited");
        return self->reason;
    }
    model_reached("woken early");
    before = word_end_wait(&self->word, flags & WORD_INTERNAL ? 0 : WORD_PERMIT);
    return before & WORD_WAKE ? 0 : EINTR;
}

/* An actor: every timer fires at some time, however late. */
static inline void fire_timers(void)
{
    for (;;) {
        uintptr_t entry = (uintptr_t)model_queue_take(&timers);

        thread_wake(&table[entry % RECORDS], (uint32_t)(entry / RECORDS), ETIMEDOUT, NULL);
    }
}

static inline void interrupt_record(int record)
{
    if (word_interrupt(&table[record].word, 1) == WAKE_RUN)
        make_runnable(&table[record], EINTR);
}

#endif
