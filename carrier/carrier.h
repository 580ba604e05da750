/* SPDX-License-Identifier: MIT */
/*
 * Carriers: the OS threads of the pool, each with a run queue, and the pool.
 *
 * After ForkJoinPool in async mode: one FIFO ring for every carrier, an
 * injection queue for submitters from outside, idle carriers steal half of
 * somebody's ring.  A carrier without anything sleeps in the poller (one
 * leader) or on its futex (the others, woken first); see idle.h.
 *
 * `running` counts the carriers that are entitled to run tasks, idle ones
 * included: all but the blocked, the hogged and the dormant.  When it falls
 * below the parallelism a dormant carrier is woken or a new one created; when it
 * is above, carriers retire (become dormant) between two tasks.
 *
 * Lock order: see HACKING.md.  All locks of this layer are leaves but
 * pool.lock, under which threads are created.
 */
#ifndef CARRIER_CARRIER_H
#define CARRIER_CARRIER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/atomic.h"
#include "base/futex.h"
#include "carrier/idle.h"
#include "carrier/poller.h"
#include "carrier/ring.h"
#include "carrier/task.h"
#include "carrier/timer.h"

enum { CARRIERS_MAX = 1023 };

enum carrier_state {
    CARRIER_RUNNING, /* entitled to run tasks */
    CARRIER_BLOCKED, /* said so: its task is in a blocking section or a pinned wait */
    CARRIER_HOGGED,  /* the monitor says so: one task has held it for too long */
    CARRIER_DORMANT, /* a spare, asleep */
};

struct carrier {
    struct ring ring;

    /* The carrier's own. */
    struct idler idler;
    uint32_t index;
    uint32_t random;
    uint32_t pushes;            /* tasks made runnable since the present one was begun */
    uint32_t awaited;           /* tasks that will be run here and nowhere else: until then it does not retire */
    ATOMIC(bool) may_skip_wake; /* predictor of the present task: it parks right after one push */
    int64_t last_poll_ns;

    /* Written by the carrier, read by the monitor; hints. */
    CACHE_ALIGNED ATOMIC(uint64_t) begun; /* tasks begun */
    ATOMIC(uint64_t) look_at;             /* look around once so many are begun; the monitor may hasten it */
    ATOMIC(uint64_t) slice_used;          /* the monitor: the value of begun whose task has had its time slice */
    ATOMIC(bool) in_task;
    ATOMIC(bool) wake_skipped;  /* tasks wait here that nobody was woken for */
    ATOMIC(uint32_t) few_tasks; /* the monitor: fewer are not worth a wake, as short as they have been of late */
    ATOMIC(uint32_t) longer;    /* the monitor: 1 + index of a carrier with a longer ring, to be evened out; 0: none */
    ATOMIC(bool) admits;        /* what hooks.admit was told last */
    ATOMIC(bool) in_poller;     /* the leader, and asleep in the poller rather than on its token */

    /* Shared. */
    CACHE_ALIGNED ATOMIC(uint32_t) token; /* 1: notified */
    ATOMIC(uint32_t) state;               /* written under pool.places */
    struct timer_heap timers;
    struct lock inbox_lock;
    struct task_list inbox;
    ATOMIC(uint32_t) inbox_count;

    /* The monitor's. */
    uint64_t seen_begun;
    int64_t seen_since_ns;
    int64_t seen_cpu_ns;
    uint64_t seen_head; /* of the ring */
    uint64_t turn_begun;
    int64_t turn_since_ns;
    uint64_t held_begun; /* for reports of hogs, which are told of tasks that nobody is rescued from, too */
    int64_t held_since_ns;
    int64_t held_cpu_ns;
    bool held_told;
    bool held_rescued;

    struct carrier *next_dormant; /* under pool.places */
    pthread_t thread;             /* under pool.lock, if has_thread */
    bool has_thread;              /* under pool.lock */
    ATOMIC(pthread_t) self;       /* 0 until it runs; for the monitor */
    ATOMIC(int) tid;              /* the same as the kernel names it */
    char *bottom;                 /* of its own stack: all that it calls is below; set before self */
};

struct carrier_hooks {
    size_t carrier_bytes; /* of the structure that begins with a struct carrier */
    void (*start)(struct carrier *carrier);
    void (*stop)(struct carrier *carrier);
    /* Take tasks with carrier_next and run them until it returns NULL. */
    void (*run)(struct carrier *carrier);
    /* A timer fired; returns the task if it is to be made runnable now, else NULL. */
    struct task *(*timer)(uint32_t id, uint32_t sequence);
    /* It will be asked that about this id soon. */
    void (*timer_ahead)(uint32_t id);
    /*
     * On the monitor's thread, if pool.hog_reports: the carrier has run one task for pool.hog_report_ns, and goes on;
     * rescued: with work waiting, so that a spare has taken over by now.  Later, that it has let go of it.
     */
    void (*hog)(struct carrier *carrier, int64_t held_ns, bool computing, bool rescued);
    void (*hog_end)(struct carrier *carrier, int64_t held_ns, bool rescued);
    /* On the carrier: from now on it is to let itself be interrupted for reports, or not any more.  May be NULL. */
    void (*admit)(struct carrier *carrier, bool wanted);
    /* A carrier was started or woken to make up for one that is blocked or held; with no lock held.  May be NULL. */
    void (*spare)(struct carrier *carrier);
};

struct pool_params {
    uint32_t parallelism;
    uint32_t max_pool_size;
    uint32_t min_runnable;
    int64_t hog_report_ns;
    bool force_migrate; /* testing: every task is resumed on another carrier than before */
    const struct carrier_hooks *hooks;
};

struct pool {
    struct idle_set idle;
    ATOMIC(struct poller *) poller;
    ATOMIC(uint32_t) leading;           /* 1: somebody is the leader, or looks at the sockets */
    ATOMIC(struct carrier *) leader;    /* who sleeps as the leader */
    ATOMIC(int64_t) leader_deadline_ns; /* until when at the latest; INT64_MIN: nobody does */

    CACHE_ALIGNED struct lock inject_lock;
    struct task_list injected;
    ATOMIC(uint32_t) injected_count;

    /* Written under places; `running` is the number of carriers in state RUNNING, always. */
    CACHE_ALIGNED struct lock places;
    ATOMIC(uint32_t) running;
    struct carrier *dormant;
    ATOMIC(uint32_t) parallelism;
    ATOMIC(bool) stopping;
    uint32_t max_pool_size;
    uint32_t min_runnable;
    int64_t hog_report_ns;
    ATOMIC(bool) hog_reports; /* somebody wants them; outlasts the pool */
    bool force_migrate;
    struct carrier_hooks hooks;

    pthread_mutex_t lock; /* carriers come and go */
    ATOMIC(uint32_t) count;
    ATOMIC(struct carrier *) carriers[CARRIERS_MAX];

    /* The monitor. */
    pthread_t monitor;
    bool monitor_started;
    ATOMIC(uint32_t) monitor_token;
    ATOMIC(uint32_t) monitor_asleep;

    /* Statistics. */
    ATOMIC(uint64_t) steals;
    ATOMIC(uint64_t) wakes;
    ATOMIC(uint64_t) hogs;
    ATOMIC(uint32_t) epoch; /* seconds or so in which the monitor was awake */
};

extern HIDDEN struct pool pool;

/*
 * The carrier this code runs on; NULL on other threads.
 *
 * After a switch the code may be on another OS thread, and compilers keep the
 * address of a thread-local variable, or its value, across a call.  So it is
 * read by assembly that the compiler may neither move nor merge.
 */
extern HIDDEN _Thread_local struct carrier *carrier_current __attribute__((tls_model("initial-exec")));

ALWAYS_INLINE struct carrier *carrier_self(void)
{
    struct carrier *c;

#if defined(__x86_64__)
    __asm__ volatile("movq carrier_current@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(c) : : "memory");
#elif defined(__aarch64__)
    struct carrier **at;

    __asm__ volatile("adrp %0, :gottprel:carrier_current\n\t"
                     "ldr %0, [%0, #:gottprel_lo12:carrier_current]\n\t"
                     "mrs %1, tpidr_el0\n\t"
                     "ldr %0, [%0, %1]"
                     : "=&r"(c), "=&r"(at)
                     :
                     : "memory");
#endif
    return c;
}

/* Start the pool.  0, EAGAIN (threads) or ENOMEM; nothing is left behind on failure. */
int pool_start(const struct pool_params *params);

/* Stop: every carrier finishes its present task's turn and ends; joins them all. */
void pool_stop(void);

void pool_set_parallelism(uint32_t n);
void pool_set_poller(struct poller *poller);

/* Any thread: make a task, or all of a list, runnable. */
void pool_inject(struct task *task);
void pool_inject_all(struct task_list *list);

/*
 * Carrier, between two tasks: the next one to run; NULL: the pool stops.
 */
struct task *carrier_next_slow(struct carrier *c, bool look);

/* The next one has been chosen and is about to be run. */
ALWAYS_INLINE void carrier_begin(struct carrier *c)
{
    atomic_store_relaxed(&c->begun, atomic_load_relaxed(&c->begun) + 1);
    c->pushes = 0;
}

/* Is it time to look at other things than the own ring? */
ALWAYS_INLINE bool carrier_shall_look(struct carrier *c)
{
    return atomic_load_relaxed(&c->begun) >= atomic_load_relaxed(&c->look_at);
}

ALWAYS_INLINE struct task *carrier_next(struct carrier *c)
{
    bool look = carrier_shall_look(c);
    struct task *task = UNLIKELY(look) ? NULL : ring_take(&c->ring);

    if (UNLIKELY(task == NULL) && (task = carrier_next_slow(c, look)) == NULL)
        return NULL;
    carrier_begin(c);
    return task;
}

/* Carrier: make a task runnable on the own ring. */
COLD void carrier_push_wake(struct carrier *c);

ALWAYS_INLINE void carrier_push(struct carrier *c, struct task *task)
{
    if (UNLIKELY(!ring_push(&c->ring, task)))
        pool_inject(task); /* the list goes through the tasks: it needs no memory */
    c->pushes++;
    barrier_light(); /* M2 of idle.h */
    if (UNLIKELY(idle_wants_work(&pool.idle)))
        carrier_push_wake(c);
}

/*
 * Carrier: make each task of a list runnable, here, and let nobody be woken for it or steal it: its next turn is on
 * this carrier, unless that blocks, or the monitor sees in a tick or two that it has other things to do.
 */
void carrier_keep(struct carrier *c, struct task_list *list);

/* To one carrier; if the task is bound to it, to no other even while that is blocked (sticky tasks). */
void carrier_deliver(struct carrier *to, struct task *task, bool bound);

static inline struct carrier *pool_carrier(uint32_t index)
{
    /* acquire: pairs with the release when it was created. */
    return atomic_load_acquire(&pool.carriers[index]);
}

struct timer_heap *carrier_heap(uint32_t number);

/*
 * The present task is about to block the OS thread; another carrier takes over
 * what this one cannot do meanwhile.  Nothing but carrier_unblock may follow on
 * this carrier.
 */
void carrier_block(struct carrier *c);
void carrier_unblock(struct carrier *c);

/* Has the present task had its time slice?  Good to a tick of the monitor or two. */
ALWAYS_INLINE bool carrier_slice_is_used(struct carrier *c)
{
    return atomic_load_relaxed(&c->slice_used) == atomic_load_relaxed(&c->begun);
}

/* What is waiting to be run anywhere; a hint. */
uint64_t pool_queued(void);

/* monitor.c */
int monitor_start(void);
void monitor_stop(void);
void monitor_rouse_slow(void);
static inline void monitor_rouse(void)
{
    barrier_light(); /* our leaving sleep before the look; sleep_deeply has the other half */
    if (UNLIKELY(atomic_load_relaxed(&pool.monitor_asleep) != 0))
        monitor_rouse_slow();
}

/* For the monitor: wake somebody, whoever searches already; false when nobody is idle. */
bool pool_wake_one(bool anyway);
void pool_compensate(void);
/* Take the carrier's place away, if the task it had begun is still the same; false: it is not. */
bool carrier_hogged(struct carrier *c, uint64_t begun);
void carrier_notify(struct carrier *c);

/* The earliest deadline on any heap. */
int64_t pool_earliest_ns(void);

/* The carrier will not look at its timers for a while: make sure that a sleeper does. */
void carrier_leave_timers(struct carrier *c);

/* Tasks delivered to a carrier that does not run go to the others. */
void carrier_forward_inbox(struct carrier *c);

/* parallelism.c: CPUs this process may use, by affinity mask and cgroup quota. */
uint32_t parallelism_available(void);

#endif
