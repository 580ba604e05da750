/* SPDX-License-Identifier: MIT */
/*
 * A thread dump is a walk (dump.c), which tells a form (text.c, json.c) what it finds, one thing at a time.
 *
 * Nobody waits for us; who runs is interrupted for the length of a copy (vthread/sample.h).  Records are never
 * unmapped, so the walk reads them by index while they change; what it says of a parked thread it has read between two
 * looks at the thread's word that were the same, so all of that was true at one instant.  Threads differ in that
 * instant.  One that was there from the beginning of the walk to its end is told of, once; others may be.
 *
 * Memory: eight bytes for each record (the chains of the containers' members), one container for each executor and each
 * open scope, texts of at most FRAMES_MAX frames.  Nothing that grows with stacks, for these are written as they are
 * found.
 */
#ifndef OBSERVE_DUMP_H
#define OBSERVE_DUMP_H

#include <time.h>

#include <vthread/runtime.h>

#include "concurrent/group.h"
#include "observe/frames.h"
#include "observe/sink.h"
#include "vthread/backtrace.h"

enum { DUMP_FRAMES = 64 };

enum container_kind { CONTAINER_ROOT, CONTAINER_EXECUTOR, CONTAINER_SCOPE };

struct container {
    enum container_kind kind;
    uint32_t parent;      /* index; of the root its own */
    const void *key;      /* of the executor or scope */
    const void *outer;    /* the key of what it is in; NULL: the root */
    vthread_t owner;      /* of a scope */
    uint32_t first, last; /* members: indices of records */
    bool is_closed;       /* shut down, cancelled */
    bool has_workers;
    vthread_executor_stats_t stats; /* of an executor */
    char name[GROUP_NAME_BYTES];
    char text[GROUP_NAME_BYTES + 64]; /* what others call it by: unique in the dump */
};

struct dump_head {
    struct timespec time; /* CLOCK_REALTIME */
    int process;
};

enum blocker_kind { BLOCKER_NONE, BLOCKER_OBJECT, BLOCKER_MUTEX, BLOCKER_RWLOCK, BLOCKER_THREAD, BLOCKER_DESCRIPTOR };

struct thread_view {
    vthread_t id;
    char name[256];
    bool is_virtual;
    vthread_state_t state;
    vthread_public_state_t public_state;
    int carrier;    /* that it is mounted on; -1: none */
    bool is_pinned; /* with the reason, if it has one */
    const char *pin_reason;
    enum blocker_kind blocker;
    const void *object;   /* blocker */
    vthread_t owner;      /* of the lock; or the thread that is joined */
    int fd;               /* of a descriptor */
    const char *use;      /* what it is waited for to do */
    int64_t remaining_ns; /* until its deadline; -1: none */
    int frames;
    bool is_sample;       /* the first is where it was, and not where a call returns to */
    bool is_cut;          /* there are more frames */
    const char *no_stack; /* why there are none, or NULL */
    void *pcs[DUMP_FRAMES];
};

struct carrier_view {
    unsigned index;
    const char *state;
    uint64_t queued; /* in its ring and its inbox */
    uint32_t timers;
    int64_t next_timer_ns; /* from now; -1: none */
    vthread_t thread;      /* mounted; NULL: none */
    uint64_t begun;
    int tid;
};

struct pool_view {
    uint64_t injected;
    uint64_t timers;
    int64_t next_timer_ns;
    bool has_poller;
    int leader; /* the carrier that sleeps in the poller; -1: none */
    vthread_runtime_stats_t stats;
    bool runs;
};

/* A thread of a container, by the number of its record. */
struct member {
    uint32_t next;
    uint32_t generation; /* of the thread that was there when the containers were filled */
};

struct dump {
    struct sink sink;
    struct frames frames;
    int error; /* no memory, mostly */
    void *form;
    const struct dump_form *how;
    /* dump.c */
    struct probe probe;
    struct backtracer *backtracer;
    struct container *containers;
    uint32_t container_count;
    uint32_t container_room;
    uint32_t *by_key;     /* indices of containers */
    struct member *chain; /* of each record */
    uint32_t records;
    vthread_t waiting_on[CARRIERS_MAX]; /* of each carrier: who waits on it, pinned, but has given its stack up */
    uint32_t queued;                    /* of those that are about to run: how many have been looked at */
    struct thread *self;                /* who makes the dump, if it is known */
    struct thread_view view;
};

struct dump_form {
    int (*init)(struct dump *d);
    void (*begin)(struct dump *d, const struct dump_head *head);
    void (*container_begin)(struct dump *d, const struct container *c);
    void (*thread)(struct dump *d, const struct thread_view *view);
    void (*container_end)(struct dump *d, const struct container *c, uint64_t threads);
    void (*carriers_begin)(struct dump *d);
    void (*carrier)(struct dump *d, const struct carrier_view *view);
    void (*end)(struct dump *d, const struct pool_view *view);
    void (*fini)(struct dump *d);
};

extern const struct dump_form dump_as_text;
#ifdef VTHREAD_HAS_JSON
extern const struct dump_form dump_as_json;
#endif

extern const struct runtime_companion dump_upon_signals; /* signal.c */
void dump_short(void);                                   /* fatal.c */
extern HIDDEN int64_t dump_patience_ns;                  /* for so long it waits for stacks to be told; less in tests */

/* The text of the view's i-th frame; never NULL. */
const char *dump_frame(struct dump *d, const struct thread_view *view, int i);

const char *dump_state_name(vthread_public_state_t state);
const char *dump_blocker_name(enum blocker_kind kind);

#endif
