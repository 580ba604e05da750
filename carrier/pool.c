/* SPDX-License-Identifier: MIT */
/*
 * The pool: carriers come, go, block and come back.
 */
#include "carrier/carrier.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/panic.h"
#include "carrier/carrier_internal.h"

enum { SIGNAL_STACK_BYTES = 64 * 1024 };

struct pool pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct timer_heap *carrier_heap(uint32_t number)
{
    return &pool_carrier(number)->timers;
}

/* Asynchronous signals go to the user's threads; the synchronous ones and profilers' come here. */
static void block_signals(void)
{
    sigset_t set;

    sigfillset(&set);
    sigdelset(&set, SIGSEGV);
    sigdelset(&set, SIGBUS);
    sigdelset(&set, SIGFPE);
    sigdelset(&set, SIGILL);
    sigdelset(&set, SIGTRAP);
    sigdelset(&set, SIGSYS);
    sigdelset(&set, SIGABRT);
    sigdelset(&set, SIGPROF);
    sigdelset(&set, SIGPWR);  /* bdwgc stops */
    sigdelset(&set, SIGXCPU); /* and starts the world with these */
    pthread_sigmask(SIG_SETMASK, &set, NULL);
}

static void *carrier_main(void *arg)
{
    struct carrier *c = arg;
    void *signal_stack = memory_alloc(SIGNAL_STACK_BYTES);
    stack_t altstack = {.ss_sp = signal_stack, .ss_size = SIGNAL_STACK_BYTES};
    stack_t none = {.ss_flags = SS_DISABLE};

    carrier_current = c;
    c->bottom = __builtin_frame_address(0);
    atomic_store_relaxed(&c->tid, (int)syscall(SYS_gettid));
    atomic_store_seq_cst(&c->self, pthread_self()); /* before the looks of hooks.start; see vthread/collector.h */
    if (signal_stack != NULL)
        sigaltstack(&altstack, NULL);
    pool.hooks.start(c);
    pool.hooks.run(c);
    pool.hooks.stop(c);
    carrier_current = NULL;
    sigaltstack(&none, NULL);
    memory_free(signal_stack);
    return NULL;
}

static int thread_create(struct carrier *c)
{
    sigset_t all;
    sigset_t old;
    char name[16];
    int error;

    if (fault_point(FAULT_THREAD))
        return EAGAIN;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* inherited, so that no signal slips in at birth */
    block_signals();
    error = pthread_create(&c->thread, NULL, carrier_main, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    c->has_thread = error == 0; /* c->thread may have been written to all the same */
    if (c->has_thread) {
        snprintf(name, sizeof name, "carrier-%u", c->index);
        pthread_setname_np(c->thread, name);
    }
    return error;
}

/* ---- places ---- */

static void set_state_locked(struct carrier *c, enum carrier_state state)
{
    bool was = atomic_load_relaxed(&c->state) == CARRIER_RUNNING;
    bool is = state == CARRIER_RUNNING;

    atomic_store_release(&c->state, state);
    atomic_store_seq_cst(&pool.running, atomic_load_relaxed(&pool.running) - was + is);
}

static void add_dormant_locked(struct carrier *c)
{
    set_state_locked(c, CARRIER_DORMANT);
    c->next_dormant = pool.dormant;
    pool.dormant = c;
}

void carrier_forward_inbox(struct carrier *c)
{
    struct task_list taken;

    lock_acquire(&c->inbox_lock);
    taken = c->inbox;
    if (taken.first == NULL)
        taken.end = &taken.first;
    task_list_init(&c->inbox);
    atomic_store_relaxed(&c->inbox_count, 0);
    lock_release(&c->inbox_lock);
    pool_inject_all(&taken);
}

/* What only a running carrier looks after is made visible to the others. */
static void give_up_duties(struct carrier *c)
{
    if (atomic_load_relaxed(&c->inbox_count) > 0)
        carrier_forward_inbox(c);
    if (ring_count(&c->ring) > 0)
        pool_wake_one(true);
    carrier_leave_timers(c);
    pool_compensate();
}

void carrier_block(struct carrier *c)
{
    lock_acquire(&pool.places);
    set_state_locked(c, CARRIER_BLOCKED); /* a hog until now, perhaps: then its place is given away already */
    lock_release(&pool.places);
    atomic_store_relaxed(&c->may_skip_wake, false);
    give_up_duties(c);
}

bool carrier_hogged(struct carrier *c, uint64_t begun)
{
    bool taken;

    lock_acquire(&pool.places);
    taken = atomic_load_relaxed(&c->state) == CARRIER_RUNNING && atomic_load_relaxed(&c->begun) == begun &&
            atomic_load_relaxed(&c->in_task);
    if (taken)
        set_state_locked(c, CARRIER_HOGGED);
    lock_release(&pool.places);
    if (taken) {
        barrier_heavy(); /* the state before the looks; pairs with the light one in carrier_push */
        give_up_duties(c);
    }
    return taken;
}

void carrier_unblock(struct carrier *c)
{
    lock_acquire(&pool.places);
    set_state_locked(c, CARRIER_RUNNING); /* perhaps one too many: then it retires after this task */
    lock_release(&pool.places);
    monitor_rouse();
}

bool carrier_retire(struct carrier *c)
{
    bool retires;

    lock_acquire(&pool.places);
    retires = atomic_load_relaxed(&c->state) == CARRIER_RUNNING &&
              atomic_load_relaxed(&pool.running) > atomic_load_relaxed(&pool.parallelism) &&
              !atomic_load_relaxed(&pool.stopping);
    if (retires)
        add_dormant_locked(c);
    lock_release(&pool.places);
    return retires;
}

void carrier_sleep_dormant(struct carrier *c)
{
    carrier_forward_inbox(c);
    while (atomic_load_acquire(&c->state) == CARRIER_DORMANT && !atomic_load_acquire(&pool.stopping)) {
        futex_wait(&c->token, 0, INT64_MAX);
        atomic_exchange_acq_rel(&c->token, 0); /* before the looks: what comes later sets it again */
        carrier_forward_inbox(c);
    }
}

/* With pool.lock. */
static int carrier_create_locked(void)
{
    uint32_t index = atomic_load_relaxed(&pool.count);
    struct carrier *c;

    if (index >= pool.max_pool_size || index >= CARRIERS_MAX)
        return EAGAIN;
    c = memory_alloc_lines(pool.hooks.carrier_bytes);
    if (c == NULL)
        return ENOMEM;
    c->index = index;
    c->random = (index + 1) * 2654435761u;
    task_list_init(&c->inbox);
    timer_heap_init(&c->timers, index);
    if (!ring_init(&c->ring)) {
        free(c);
        return ENOMEM;
    }
    atomic_init(&c->state, CARRIER_BLOCKED); /* not yet running */
    /* Published before it runs: other carriers may look at it from now on. */
    atomic_store_release(&pool.carriers[index], c);
    atomic_store_release(&pool.count, index + 1);
    lock_acquire(&pool.places);
    add_dormant_locked(c);
    lock_release(&pool.places);
    return 0;
}

/* With pool.lock: give one more carrier a place, if there is one to give and parallelism allows. */
static int activate_locked(struct carrier **ret_carrier)
{
    struct carrier *c = NULL;
    bool full;
    int error = 0;

    for (;;) {
        lock_acquire(&pool.places);
        full = atomic_load_relaxed(&pool.running) >= atomic_load_relaxed(&pool.parallelism);
        c = full ? NULL : pool.dormant;
        if (c != NULL) {
            pool.dormant = c->next_dormant;
            set_state_locked(c, CARRIER_RUNNING);
        }
        lock_release(&pool.places);
        if (full)
            return 0;
        if (c != NULL)
            break;
        error = carrier_create_locked();
        if (error != 0)
            return error;
    }
    *ret_carrier = c;
    if (c->has_thread) {
        atomic_exchange_acq_rel(&c->token, 1);
        futex_wake(&c->token, 1);
        return 0;
    }
    error = thread_create(c);
    if (error != 0) {
        lock_acquire(&pool.places);
        add_dormant_locked(c); /* to be tried again */
        lock_release(&pool.places);
        carrier_forward_inbox(c); /* it looked running for a moment */
    }
    return error;
}

/* Too few run: wake a sleeper if somebody idles and there is work, else bring in a spare. */
void pool_compensate(void)
{
    struct carrier *spare = NULL;

    if (atomic_load_seq_cst(&pool.running) >= atomic_load_relaxed(&pool.parallelism))
        return;
    if (idle_count(&pool.idle) > 0) {
        if (pool_queued() > 0)
            pool_wake_one(false);
        return;
    }
    pthread_mutex_lock(&pool.lock);
    if (!atomic_load_relaxed(&pool.stopping) && activate_locked(&spare) != 0)
        spare = NULL; /* the monitor tries again */
    pthread_mutex_unlock(&pool.lock);
    if (spare != NULL && pool.hooks.spare != NULL)
        pool.hooks.spare(spare);
}

void pool_set_poller(struct poller *poller)
{
    atomic_store_release(&pool.poller, poller);
    atomic_fence_seq_cst();
    /* A leader that sleeps without it must come back for it. */
    for (uint32_t i = 0; i < atomic_load_acquire(&pool.count); i++)
        carrier_notify(pool_carrier(i));
}

void pool_set_parallelism(uint32_t n)
{
    struct carrier *c;
    int error = 0;

    atomic_store_relaxed(&pool.parallelism, n);
    pthread_mutex_lock(&pool.lock);
    while (!atomic_load_relaxed(&pool.stopping) && atomic_load_relaxed(&pool.running) < n && error == 0)
        error = activate_locked(&c);
    pthread_mutex_unlock(&pool.lock);
    for (uint32_t i = 0; i < atomic_load_acquire(&pool.count); i++)
        carrier_notify(pool_carrier(i)); /* surplus ones retire */
}

int pool_start(const struct pool_params *params)
{
    struct carrier *c;
    int error = 0;

    barrier_init();
    atomic_store_relaxed(&pool.parallelism, params->parallelism);
    pool.max_pool_size = params->max_pool_size;
    pool.min_runnable = params->min_runnable;
    pool.hog_report_ns = params->hog_report_ns;
    pool.force_migrate = params->force_migrate;
    pool.hooks = *params->hooks;
    task_list_init(&pool.injected);
    atomic_store_release(&pool.stopping, false);
    pthread_mutex_lock(&pool.lock);
    for (uint32_t i = 0; i < params->parallelism && error == 0; i++)
        error = activate_locked(&c);
    /* One carrier is enough to go on with. */
    if (error != 0 && atomic_load_relaxed(&pool.running) > 0)
        error = 0;
    pthread_mutex_unlock(&pool.lock);
    if (error == 0)
        error = monitor_start();
    if (error != 0)
        pool_stop();
    return error;
}

void pool_stop(void)
{
    struct poller *poller;
    uint32_t count;

    monitor_stop();
    pthread_mutex_lock(&pool.lock);
    lock_acquire(&pool.places); /* nobody retires any more */
    atomic_store_release(&pool.stopping, true);
    lock_release(&pool.places);
    count = atomic_load_relaxed(&pool.count);
    pthread_mutex_unlock(&pool.lock);
    for (uint32_t i = 0; i < count; i++) {
        struct carrier *c = pool_carrier(i);

        carrier_notify(c);
        futex_wake(&c->token, 1);
    }
    for (uint32_t i = 0; i < count; i++)
        if (pool_carrier(i)->has_thread)
            pthread_join(pool_carrier(i)->thread, NULL);
    poller = atomic_load_acquire(&pool.poller);
    if (poller != NULL)
        poller->close(poller);
    for (uint32_t i = 0; i < count; i++) {
        struct carrier *c = pool_carrier(i);

        ring_fini(&c->ring);
        timer_heap_fini(&c->timers);
        atomic_store_relaxed(&pool.carriers[i], NULL);
        free(c);
    }
    pool.dormant = NULL;
    pool.idle = (struct idle_set){0};
    atomic_store_relaxed(&pool.poller, NULL);
    atomic_store_relaxed(&pool.leading, 0);
    atomic_store_relaxed(&pool.leader, NULL);
    atomic_store_relaxed(&pool.count, 0);
    atomic_store_relaxed(&pool.running, 0);
    task_list_init(&pool.injected);
    atomic_store_relaxed(&pool.injected_count, 0);
}
