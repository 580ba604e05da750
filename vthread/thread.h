/* SPDX-License-Identifier: MIT */
/*
 * The record of a thread, virtual or platform.
 *
 * Split into a hot part of one cache line, a cold part, and what only those need
 * who wait in certain ways, kept in parallel arrays (with the timer column of carrier/timer.h as the
 * fifth) that are reserved once and grow by committing pages: records are never unmapped, a
 * handle is an index and a generation, and a collector or a dump walks them by
 * index.
 *
 * "Owner" below: the carrier that has the thread mounted or has just unmounted
 * it and not yet published that, or the waker that has just won it (word.h).
 */
#ifndef VTHREAD_THREAD_H
#define VTHREAD_THREAD_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vthread/runtime.h>
#include <vthread/vthread.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "carrier/carrier.h"
#include "continuation/cont.h"
#include "vthread/stand.h"
#include "vthread/word.h"

enum thread_flag {
    THREAD_PLATFORM = 1 << 0,    /* an OS thread; set for life */
    THREAD_IN_PLACE = 1 << 1,    /* waits on its OS thread's parker: wake that, queue nothing */
    THREAD_HOLDS_STACK = 1 << 2, /* was handed its shared stack: do not acquire */
    THREAD_PINNED = 1 << 3,      /* pins of its processor's are open */
    THREAD_HAS_ERRNO = 1 << 4,   /* saved_errno is to be restored */
    THREAD_STICKY = 1 << 5,      /* one carrier for life */
    THREAD_DEDICATED = 1 << 6,   /* asked for a dedicated stack */
    THREAD_NESTED = 1 << 7,      /* left from inside public continuations: extra->nested, leaf_sp */
};

struct thread {
    thread_word word; /* word.h */

    /* The holder's of the stack (continuation/stack_word.h).  A platform thread keeps its parker in sp. */
    struct cont cont;

    /* In at most one list at a time: a run queue, a stack's waiters, free records. */
    union {
        struct task task;
        struct stack_member member;
        struct thread *thread;
    } link;

    /* Owner. */
    int64_t deadline_ns;    /* of the present timed wait */
    uint16_t carrier : 10;  /* index of the one it is, or was last, mounted on; CARRIER_NONE */
    uint16_t predictor : 2; /* carrier.h, may_skip_wake */
    uint16_t in_room : 1;   /* there is something of it in its room (thread_rooms); its own */
    uint16_t stays : 3;     /* vthread_stay_begin, not ended yet; it is STICKY meanwhile */
    uint16_t saved_errno;
    ATOMIC(uint8_t) phase; /* vthread_state_t; read by anybody */
    ATOMIC(uint8_t) held;  /* thread_holds, and THREAD_RELEASING; its own, read by anybody */
    uint8_t flags;         /* enum thread_flag */
    uint8_t reason;        /* why the wait ended: 0, ETIMEDOUT or EINTR */
    ATOMIC(void *) slot;   /* argument before the start; blocker while parked; joined value; else NULL */
};

/*
 * The blocker of a wait for a descriptor, which is INTERNAL: odd, as no object of ours is, with what it is waited for
 * in the two bits above.
 */
enum descriptor_use { DESCRIPTOR_READ, DESCRIPTOR_WRITE, DESCRIPTOR_READ_OR_WRITE };

static inline void *thread_descriptor_blocker(int fd, enum descriptor_use use)
{
    return (void *)((uintptr_t)(unsigned)fd << 3 | (uintptr_t)use << 1 | 1);
}

/* w: the thread's word.  False: the blocker is something else. */
static inline bool thread_descriptor_of(const void *blocker, uint64_t w, int *ret_fd, enum descriptor_use *ret_use)
{
    uintptr_t bits = (uintptr_t)blocker;

    *ret_fd = (int)(bits >> 3);
    *ret_use = (enum descriptor_use)(bits >> 1 & 3);
    return (bits & 1) && (w & WORD_INTERNAL);
}

_Static_assert(sizeof(struct thread) == CACHE_LINE, "the hot part is one cache line");

enum { CARRIER_NONE = (1 << 10) - 1 };

_Static_assert((int)CARRIERS_MAX <= (int)CARRIER_NONE, "thread.carrier");

enum join_state { JOIN_NONE, JOIN_QUEUED, JOIN_GRANTED };

enum wait_state { WAIT_QUEUED, WAIT_GRANTED, WAIT_OVER };

/* What an owner keeps from others, who are BLOCKED then rather than WAITING. */
enum wait_kind { WAIT_FOR_ANYTHING, WAIT_FOR_MUTEX, WAIT_FOR_RWLOCK };

/*
 * What a thread needs in the queue of a sync object (sync/wait_queue.h): a third
 * column, of which only the pages of those that ever wait in one are touched.
 * Under the queue's lock while QUEUED, then the granter's, then the thread's own.
 */
struct thread_waiter {
    uint32_t next; /* indices: of the ring of waiters, or of the chain of those granted */
    uint32_t previous;
    uint32_t number;       /* of the wait */
    uint32_t amount;       /* what is wanted, then what is given; the object's */
    ATOMIC(uint8_t) state; /* enum wait_state */
    ATOMIC(uint8_t) kind;  /* enum wait_kind: of thread.slot, while it waits; the thread's own, read by anybody */
};

/*
 * Room for what a layer above keeps of a thread that waits, and others look at: a fourth column, touched by those who
 * wait so.  The thread's own, but for what it and others agree upon while it waits.  A collector looks into it while
 * thread.in_room is set.
 */
struct thread_room {
    _Alignas(max_align_t) char bytes[80];
};

struct thread_extra;

struct thread_cold {
    union {
        void *(*fn)(void *arg); /* until the end */
        ATOMIC(void *) value;   /* after it; a shutdown looks whether there is a fn */
    };
    ATOMIC(struct thread_extra *) extra; /* NULL for most; whoever needs it first installs it */
    uint32_t joiners;                    /* index of the first, under the join lock */
    uint32_t next_joiner;                /* as a joiner, under the target's join lock */
    uint32_t join_sequence;              /* as a joiner, under the target's join lock */
    uint16_t references;                 /* beyond the creator's, under the join lock */
    uint8_t join_state : 2;              /* as a joiner, under the target's join lock */
    uint8_t ended : 1;                   /* under the join lock; for COUNTED threads: thread_ended is done with it */
};

_Static_assert(sizeof(struct thread_cold) == 32, "two cold parts to a cache line");

/* What only some threads have.  Made by the creator; freed with the record. */
struct thread_extra {
    char *name;
    vthread_failure_handler_t *on_failure;
    void *user;
    struct vthread_cont *nested; /* THREAD_NESTED: the innermost public continuation that it left from ... */
    void *leaf_sp;               /* ... and where, while cont.sp is where it stands on its own stack */
    size_t stack_bytes;
    void *copy;                   /* of the argument (vthread_create_copy) */
    void *os;                     /* struct platform of a created platform thread */
    struct locals *locals;        /* values of keys; the thread's own, its maker's before it starts */
    struct binding *bindings;     /* of scoped values; the thread's own */
    struct vthread_scope *scopes; /* open ones, innermost first; of a layer above */
    int failure;                  /* code of vthread_fail */
    bool failed;
};

/* ---- locks that the thread owns: their number, modulo 128, for the message at its end ---- */

enum { THREAD_RELEASING = 1 << 7 }; /* it is about to free a mutex (sync/mutex.h) */

/* Each store but that of RELEASING is a release: who sees any of them sees all that came before the last end of it. */

static inline void thread_holds(struct thread *self)
{
    atomic_store_release(&self->held, (atomic_load_relaxed(&self->held) + 1) & ~THREAD_RELEASING);
}

static inline void thread_lets_go(struct thread *self)
{
    atomic_store_release(&self->held, (atomic_load_relaxed(&self->held) - 1) & ~THREAD_RELEASING);
}

/* Does it end as the owner of locks? */
static inline bool thread_left_locks(struct thread *t)
{
    return UNLIKELY(atomic_load_relaxed(&t->held) > 0);
}

/* ---- records and handles ---- */

extern HIDDEN struct thread *thread_table;
extern HIDDEN struct thread_cold *thread_cold_table;
extern HIDDEN struct thread_waiter *thread_waiters;
extern HIDDEN struct thread_room *thread_rooms;

static inline uint32_t thread_index(const struct thread *t)
{
    return (uint32_t)(t - thread_table);
}

static inline struct thread_cold *thread_cold(const struct thread *t)
{
    return &thread_cold_table[thread_index(t)];
}

static inline vthread_t thread_handle_of(const struct thread *t, uint64_t word)
{
    return (vthread_t)(((uint64_t)word_generation(word) << 32) | thread_index(t));
}

static inline vthread_t thread_handle(struct thread *t)
{
    return thread_handle_of(t, atomic_load_relaxed(&t->word)); /* its generation cannot change now */
}

/* Records made so far, the unused one at index 0 included. */
extern HIDDEN ATOMIC(uint32_t) thread_count;

static inline uint32_t record_count(void)
{
    return atomic_load_acquire(&thread_count); /* pairs with the release when a batch was made */
}

/* The record a handle names; NULL for NULL and for what was never a handle.  May be somebody else's by now. */
static inline struct thread *thread_of(vthread_t handle, uint32_t *ret_generation)
{
    uint64_t bits = (uint64_t)(uintptr_t)handle;
    uint32_t index = (uint32_t)bits;

    *ret_generation = (uint32_t)(bits >> 32);
    return LIKELY(index < record_count()) && LIKELY(index != 0) ? &thread_table[index] : NULL;
}

struct record_cache {
    struct thread *head;
    uint32_t count;
};

bool record_init(void);
/*
 * The runtime is down, and nobody makes or frees records (platform_await_calls): all
 * become free but those of platform threads, and most of the memory is given back.
 */
void record_end_life(void);
size_t record_committed_bytes(void);
/* The slow halves: fill an empty cache (false: out of memory), and give n records to the depot. */
enum { RECORD_BATCH = 64, RECORD_CACHE_MAX = 2 * RECORD_BATCH };
NODISCARD COLD bool record_refill(struct record_cache *cache);
NOINLINE void record_drain(struct record_cache *cache, uint32_t n);

/* A record in state TERMINATED, to be set up; NULL when out of memory. */
static inline struct thread *record_alloc(struct record_cache *cache)
{
    struct thread *t = cache->head;

    if (UNLIKELY(t == NULL)) {
        if (!record_refill(cache))
            return NULL;
        t = cache->head;
    }
    cache->head = t->link.thread;
    cache->count--;
    t->cont.chunk = NULL;
    return t;
}

static inline void record_free(struct record_cache *cache, struct thread *t)
{
    uint64_t w = atomic_load_relaxed(&t->word);

    ASSERT1(word_state(w) == WORD_TERMINATED);
    ASSERT2(t->cont.chunk == NULL);
    if (UNLIKELY(word_generation(w) == UINT32_MAX))
        return;
    /* From here on every handle to it is stale. */
    atomic_store_release(&t->word, (w & (WORD_SEQUENCE_MASK | WORD_STATE_MASK)) |
                                       ((uint64_t)(word_generation(w) + 1) << WORD_GENERATION_SHIFT));
    if (thread_left_locks(t))
        return; /* they name it as their owner: in this life of the runtime no other thread shall be taken for it */
    t->link.thread = cache->head;
    cache->head = t;
    if (UNLIKELY(++cache->count >= RECORD_CACHE_MAX))
        record_drain(cache, RECORD_BATCH);
}

void record_cache_flush(struct record_cache *cache);

/* The thread's extra part, or NULL. */
static inline struct thread_extra *thread_extra(const struct thread *t)
{
    return atomic_load_acquire(&thread_cold(t)->extra); /* pairs with the CAS in thread_extra_get */
}

/* The same, made at first need; NULL when out of memory.  For the thread itself, or with a reference to it. */
struct thread_extra *thread_extra_get(struct thread *t);
/* The same for the calling thread, which may set there what must be freed even if the runtime is not started again. */
struct thread_extra *thread_extra_own(struct thread *self);

/* ---- the calling thread ---- */

/* An OS thread the runtime can block: a carrier, or a platform thread. */
struct parker {
    ATOMIC(uint32_t) word; /* PARKER_WAITS ... (mount.h) */
    struct stand stand;    /* of who waits IN_PLACE; good while its word says that it does */
};

/*
 * The pins of the thread that is mounted.  Who is pinned stays on its carrier, and nobody else is mounted there before
 * all its pins are gone: so they are the carrier's, and need no memory.
 */
#define PIN_KINDS 3 /* EXPLICIT, MONITOR, BLOCKING */
#define PIN_OPEN_MAX 255u
#define PIN_OUTERMOST_SHIFT (8 * PIN_KINDS)
#define PINS_OPEN ((1u << PIN_OUTERMOST_SHIFT) - 1)

struct pins {
    uint32_t open; /* how many of each kind, a byte each; in the fourth: of which kind the outermost is, or was */
    struct {
        const char *reason; /* not of MONITOR, where it is always the same */
        void *at;           /* return address of the call that pinned it */
    } first[PIN_KINDS];
};

static inline unsigned pins_of(uint32_t open, vthread_pin_kind_t kind)
{
    return open >> 8 * kind & 0xff;
}

static inline unsigned pins_open(const struct pins *pins, vthread_pin_kind_t kind)
{
    return pins_of(pins->open, kind);
}

struct pin_count {
    ATOMIC(uint64_t) parks;
    ATOMIC(int64_t) total_ns;
    ATOMIC(int64_t) max_ns;
};

/* A carrier, as this layer sees it. */
struct processor {
    struct carrier carrier;
    struct switch_frame frame;
    struct thread *current; /* mounted */
    struct stack *stack;    /* its stack */
    uint64_t leave_flags;   /* of the wait that is being entered: WORD_INTERNAL, WORD_DEAF */
    int *errno_at;
    void *exceptions; /* the C++ runtime's globals of this OS thread, or NULL */
    struct parker parker;
    struct chunk_cache chunks;
    struct stack_cache stacks;
    struct record_cache records;
    ATOMIC(uint64_t) created;
    ATOMIC(uint64_t) ended;
    struct pins pins;
    uint8_t pinned_as;    /* LEAVE_PINNED: vthread_pin_kind_t */
    uint64_t pinned_told; /* of the present wait in place: up to this subscription, that it goes on */
    int64_t pinned_since_ns;
    int64_t pinned_ns; /* for so long the one that is just over has blocked the carrier; -1: it has not */
    struct pin_count pinned[VTHREAD_PIN_KINDS];
    struct robust_list_head *robust; /* os_mutex.c: of this OS thread; NULL: nobody looks */
    const void *os_mutex;            /* ... and what it held when the last thread left */
    vthread_t hog;                   /* the monitor's: of whom it has said that it holds this carrier ... */
    char hog_name[256];              /* ... and its name then */
    uint64_t hog_until;              /* ... and the latest subscription then: later ones hear nothing of its end */
    uint64_t hog_begun;              /* that task, as its carrier counts */
    unsigned hog_tries;              /* in vain, to have a sample for the next report */
    ATOMIC(uint64_t) freezes;
    ATOMIC(uint64_t) trims;
    uint64_t turn;       /* carrier.begun at the latest call that might have waited (thread_may_wait) ... */
    uint32_t turn_calls; /* ... and how many such calls there were in that turn */
};

/* A thread the library did not make, or that it made with kind PLATFORM. */
struct platform {
    struct thread *self; /* made at first need */
    struct parker parker;
    struct record_cache records; /* during a call only; see platform_begin_call */
    ATOMIC(uint32_t) calls;      /* under way, each inside the one before; the thread's own */
    struct thread_extra *kept;   /* here leak checkers find it after a shutdown, who look into no reservation */
    bool counted;                /* made by platform_create: among those that a shutdown waits for */
    void *value;                 /* what that one has returned, until the OS thread ends */
    struct platform *next_free;
    struct platform *next; /* of all; pooled, never freed while the runtime lives */
};

static inline struct processor *processor_self(void)
{
    return (struct processor *)(void *)carrier_self();
}

/* The calling thread's record.  Starts the runtime.  NULL: no memory, or *ret_error says why. */
struct thread *thread_self(int *ret_error);

/* The same, if it has one already: starts nothing.  NULL also on a carrier's own stack. */
struct thread *thread_self_if_known(void);

/* The calling virtual thread, or NULL. */
static inline struct thread *thread_mounted(void)
{
    struct processor *p = processor_self();

    return p != NULL ? p->current : NULL;
}

struct record_cache *record_cache_self(void);

/* ---- waiting: what everything that blocks is made of ---- */

/*
 * A call begins that waits only if it must.  Who never must, because what it asks for has come each time, would keep
 * its carrier from all others until it is rescued from: after some such calls they have their turn.  Tokio has the
 * same, by the name of cooperative budgeting; Go's 10 ms are long where a thousand do so.
 */
enum { TURN_CALLS = 16 };

MAY_SWITCH
static inline void thread_may_wait(void)
{
    struct processor *p = processor_self();
    uint64_t turn;

    if (p == NULL)
        return;
    turn = atomic_load_relaxed(&p->carrier.begun); /* own */
    if (LIKELY(p->turn != turn)) {
        p->turn = turn;
        p->turn_calls = 0;
    } else if (UNLIKELY(++p->turn_calls >= TURN_CALLS)) {
        vthread_yield();
    }
}

/* The number that wakers of the wait being prepared must carry. */
static inline uint32_t thread_wait_number(struct thread *self)
{
    return word_next_sequence(atomic_load_relaxed(&self->word)); /* only its owner moves it */
}

/*
 * Wait: flags is WORD_INTERNAL or 0 (a user's park), with WORD_DEAF or without.
 *
 * Returns 0 (woken; perhaps for nothing), ETIMEDOUT, EINTR (the flag stays set),
 * EDEADLK on a carrier's own stack.  The wait prepared is over on return, and its
 * timer is gone.
 */
MAY_SWITCH
int thread_wait(struct thread *self, uint64_t flags, int64_t deadline_ns);

/* Wait that has been prepared, but is not needed after all: its wakers will fail. */
static inline void thread_wait_cancel(struct thread *self)
{
    word_end_wait(&self->word, 0);
}

/* thread_wait, but a deadline that has passed already ends the wait at once (ETIMEDOUT). */
MAY_SWITCH
static inline int thread_wait_until(struct thread *self, uint64_t flags, int64_t deadline_ns)
{
    if (deadline_ns == INT64_MAX || deadline_ns > clock_now_ns())
        return thread_wait(self, flags, deadline_ns);
    thread_wait_cancel(self);
    return ETIMEDOUT;
}

/* Would a wait leave the stack to others?  Not where it is pinned, on a platform thread, or inside a continuation. */
bool thread_can_leave(const struct thread *self);

/* Having won the thread: make it run.  list: append it there (if it is queued at all) rather than push it. */
void thread_make_runnable(struct thread *t, int reason, struct task_list *list);

/* Wake the wait of that number, if it is still the one. */
void thread_wake(struct thread *t, uint32_t number, int reason, struct task_list *list);

/* ---- across the files of this layer ---- */

/* Makes sure that the runtime runs: 0, or the error to return (ENOTSUP, ECANCELED, EAGAIN, ENOMEM). */
int runtime_enter(void);

/*
 * Calls of platform threads and the shutdown.
 *
 * Carriers are stopped before anything is taken down, but platform threads may be
 * in the middle of a call.  To read and change a word is always allowed, for
 * records are never unmapped; and who owns a thread that has not ended (having won
 * its wake, say) keeps the runtime up.  All else is done between a begin and an
 * end, with the asymmetric barrier between:
 *
 *     platform thread                 shutdown
 *     calls := calls + 1              life := STOPPING, later CLOSING
 *     barrier_light                   barrier_heavy
 *     life as I need it?              wait for calls = 0, of each thread once
 *     no: end, and think again
 *
 * After STOPPING no platform thread makes new threads, so that the number of those
 * alive falls to 0 for good; after CLOSING nobody is anywhere.
 * Between begin and end no callback of the user's is called, and nothing waits for
 * other threads of this library.
 */
/* With the runtime running, started if need be: 0, or as runtime_enter.  Not inside another. */
NODISCARD int runtime_begin_call(void);
/* Whether it runs or not, but not while it is taken down: 0, ENOTSUP or ENOMEM. */
NODISCARD int runtime_begin_look(void);
void platform_end_call(void);

/* The same for callers that may be on a carrier, where nothing needs to be done. */
NODISCARD static inline int runtime_begin_look_anywhere(void)
{
    return processor_self() != NULL ? 0 : runtime_begin_look();
}
static inline void runtime_end_look_anywhere(void)
{
    if (processor_self() == NULL)
        platform_end_call();
}

/* Count the call; 0 or ENOMEM.  The life of the runtime is to be looked at next. */
NODISCARD int platform_begin_call(void);
bool platform_is_nested(void); /* the call counted last is inside another */
void platform_await_calls(void);
/*
 * The calling OS thread has been a carrier and is about to end.  A shutdown holds its
 * lock while it waits for that, and takes nothing down before: calls from here on need not, and
 * must not, wait for it.
 */
void platform_carrier_ends(void);
bool platform_was_carrier(void);
/* Hand in a thread that the caller has made runnable. */
void platform_inject(struct task *task);
extern HIDDEN bool runtime_plain_switches; /* a testing mode wants every switch to go by the carrier */
extern HIDDEN bool runtime_strict;         /* set while nothing runs */
extern HIDDEN bool runtime_checks_mutexes; /* the same */
extern HIDDEN bool runtime_looks;          /* one of the two: something is to be done when a thread leaves */
static inline bool runtime_is_strict(void)
{
    return runtime_strict;
}
vthread_stack_t runtime_default_stack(void);
void runtime_stats_look(vthread_runtime_stats_t *ret_stats); /* in a call */

/* What a layer above has that lives as long as the runtime; it puts itself here. */
struct runtime_companion {
    const char *(*start)(void); /* with runtime.lock; returns NULL, or a complaint, a literal */
    void (*stop)(void);         /* no thread is left but platform threads; they may still be calling */
};
extern HIDDEN const struct runtime_companion *runtime_companion;

extern HIDDEN ATOMIC(bool) runtime_is_forked;
static inline bool runtime_forked(void)
{
    return atomic_load_relaxed(&runtime_is_forked);
}

enum life { LIFE_STOPPED, LIFE_RUNNING, LIFE_STOPPING, LIFE_CLOSING };
extern HIDDEN ATOMIC(uint32_t) runtime_life; /* enum life */

/* In a call.  A start that is under way may fail, and free its carriers; once it runs, the call keeps them. */
static inline bool runtime_has_carriers(void)
{
    uint32_t life = atomic_load_acquire(&runtime_life);

    return processor_self() != NULL || life == LIFE_RUNNING || life == LIFE_STOPPING;
}

static inline bool runtime_refuses_threads(void)
{
    barrier_light(); /* a thread counted before the look; vthread_runtime_shutdown has the other half */
    return atomic_load_relaxed(&runtime_life) != LIFE_RUNNING || runtime_forked();
}

extern const struct carrier_hooks thread_hooks;

struct failure {
    bool failed;
    int error;
};

void thread_finish(void *value);
struct failure thread_take_failure(struct thread *self); /* what vthread_fail has left, if it was called */
void thread_put_failure(struct thread *self, struct failure failure);
/* The calling thread ends, and has scopes open.  The layer above, which knows them, puts its function here. */
extern HIDDEN void (*thread_abandon_scopes)(struct thread *self);
void thread_wind_up(struct thread *self); /* the user's part of its end, on its own stack; may switch */
void unpin_all(struct thread *self);      /* at its end */
void stay_no_longer(struct thread *self); /* the same */
void thread_ended(struct thread *t, struct record_cache *cache);
void thread_extra_free(struct thread *t);
void thread_discard_unstarted(void); /* at a shutdown: all that are NEW, and can be started no more */
size_t thread_name_copy(struct thread *t, char *buffer, size_t size);
/* Of one that others may end at any moment: whoever finds afterwards that it has not ended yet has its name, or its
 * id where the kernel does not let us read (process_vm_readv).  For the monitor: takes no part in calls and references.
 */
void thread_name_peek(struct thread *t, char *buffer, size_t size);
void thread_failed(struct thread *t, vthread_failure_kind_t kind, int error);
void misuse(const char *call, const char *format, ...) PRINTF_FORMAT(2, 3);

/* Does p point into the calling virtual thread's own stack, of the SHARED kind? */
static inline bool stack_is_private(const void *p)
{
    struct processor *c = processor_self();

    return LIKELY(c != NULL) && UNLIKELY(stack_contains(c->stack, p)) && c->current != NULL &&
           c->stack->kind != STACK_DEDICATED;
}
int stack_refuse_private(const char *call, const char *what, const void *p);

/*
 * Pin the mounted thread, which p's is.  at: where in the program, for reports.  0, or EAGAIN: too deep.
 * Here, and with as few loads and stores as can be (a locked instruction waits for all before it), for the sake of
 * monitors: they look at `open` before theirs, of which the caller has seen that there is room.
 */
static inline void thread_pin_seen(struct processor *p, struct thread *self, uint32_t open, vthread_pin_kind_t kind,
                                   const char *reason, void *at)
{
    bool is_first = pins_of(open, kind) == 0;

    if ((open & PINS_OPEN) == 0) {
        open = (uint32_t)kind << PIN_OUTERMOST_SHIFT;
        self->flags |= THREAD_PINNED;
    }
    if (is_first) {
        p->pins.first[kind].at = at;
        if (kind != VTHREAD_PIN_MONITOR)
            p->pins.first[kind].reason = reason;
    }
    p->pins.open = open + (1u << 8 * kind);
}

static inline int thread_pin(struct processor *p, struct thread *self, vthread_pin_kind_t kind, const char *reason,
                             void *at)
{
    if (UNLIKELY(pins_open(&p->pins, kind) == PIN_OPEN_MAX))
        return EAGAIN;
    thread_pin_seen(p, self, p->pins.open, kind, reason, at);
    return 0;
}

/* 0, or EINVAL: it has no such pin. */
static inline int thread_unpin(struct processor *p, struct thread *self, vthread_pin_kind_t kind)
{
    uint32_t open = p->pins.open;

    if (UNLIKELY(pins_open(&p->pins, kind) == 0))
        return EINVAL;
    open -= 1u << 8 * kind;
    p->pins.open = open;
    if ((open & PINS_OPEN) == 0)
        self->flags &= (uint8_t)~THREAD_PINNED;
    return 0;
}

int platform_create(struct thread *t);
NORETURN void platform_exit(void *value); /* one that platform_create has made has returned */
void platform_end_life(void);
void platform_forget_self(void);
bool platform_is_kept(void); /* collector_leave is going to be called when the calling thread ends; false: no memory */
bool platform_is_ours(void); /* the calling thread is of kind PLATFORM */
void runtime_count_created(int n);
void runtime_count_ended(void);

/* strict.c */
void strict_enter(struct stack *stack);
int overflow_handler_install(void);
void overflow_handler_remove(void);

#endif
