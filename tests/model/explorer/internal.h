/* SPDX-License-Identifier: MIT */
/*
 * What the explorer's files share.
 *
 *     main.c     command line, models and their mutants, results
 *     choice.c   depth-first search over choices; states seen before; schedule strings
 *     actor.c    coroutines, who runs next, blocking
 *     weak.c     which value a load returns, where a store goes
 *     race.c     plain accesses: order, use after free
 *     queue.c    the queue that models may rely on
 *     lock.c     base/futex.c over the futex of actor.c
 *     memory.c   allocation, clock and panics for the code under test
 *     trace.c    the printed interleaving
 *
 * One thread, one execution at a time; everything below is that execution's.
 */
#ifndef TESTS_MODEL_EXPLORER_INTERNAL_H
#define TESTS_MODEL_EXPLORER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/model/model_atomic.h"

enum { ACTORS = MODEL_ACTORS_MAX, LOCATIONS_MAX = 96, PER_LOCATION_MAX = 256, STEPS_MAX = 4000, NOBODY = -1 };

/*
 * What an actor knows.  at[l]: the oldest place in location l's modification
 * order that it may still read.  clock[a]: the part of actor a's past that
 * happened before (for races of plain accesses).
 */
struct view {
    uint32_t clock[ACTORS];
    uint32_t at[LOCATIONS_MAX];
};

enum status { READY, PAUSED, ASLEEP, FINISHED };

struct actor {
    const char *name;
    enum status status;
    uint64_t hash;        /* of all that it has seen: determines what it will do */
    struct view now;      /* happened before its next operation */
    struct view acquired; /* what its next fence will add */
    struct view released; /* what its relaxed stores carry: `now` at its latest fence */

    uint32_t paused_at; /* number of stores then */
    uint32_t gives_way; /* bits of the actors that could go on then, and have not yet */
    bool caught_up;     /* sees everything since it paused, and still has nothing to do */
    const void *key;    /* ASLEEP on this word */
    bool timed;
    bool woken;
};

struct site {
    const char *operation;
    const char *expression;
    const char *where;
    const char *function;
};

struct location;

/* ---- main.c ---- */

enum outcome { DONE, CUT, FAILED };

extern const struct model *the_model;
extern const struct model_mutant *the_mutant;
extern struct model_bound bound;

/* Unless the model is set up or checked: index of the running actor. */
extern int self;
extern struct actor actors[ACTORS];
extern int actor_count;

void execution_end(enum outcome outcome) __attribute__((noreturn));

/* Is this the operation at which the mutant errs? */
bool site_errs(const struct site *site, enum model_mistake mistake);

/* The order that this operation really has. */
enum model_order site_order(const struct site *site, enum model_order order);

/* ---- choice.c ---- */

/* One of 0..n-1; 0 is the plainest. */
int choose(int n);

/* At a scheduling point: has this state been explored with as much budget left? */
bool choice_seen_before(uint64_t state);
extern struct model_bound used;

/* Does anybody else ever touch this location, and anybody store to it?  Finds out as it goes; see choice.c. */
bool choice_is_shared(const struct location *location, bool stores);

/* ---- actor.c ---- */

void actors_reset(void);
void actors_run(void); /* returns when the execution is over only by execution_end */
/* Before an operation on a location (NULL: of another kind): somebody else may go first. */
void actor_point(const struct location *location, bool stores);
bool actor_stack_contains(uintptr_t address);
void actor_sleep(const void *key, bool timed);
void actor_wake(const void *key, int count, const struct site *site);

/* Has a timed sleep come to its end? */
bool actor_time_passed(void);

/* futex(2).  Wait returns false when it timed out. */
bool kernel_wait(void *word, uint32_t value, bool timed);
void kernel_wake(void *word, int count);

/* ---- queue.c ---- */

void queues_reset(void);
uint64_t queues_hash(void);

/* ---- weak.c ---- */

void weak_reset(void);
struct location *weak_location(const void *p, unsigned size, const char *expression);
uint64_t weak_hash(void);
/* A relaxed load within the present step. */
uint64_t weak_peek(const void *p, unsigned size, const struct site *site);
void weak_fence(struct actor *actor);
void weak_catch_up(struct actor *actor);
const char *location_name(const struct location *location);
uintptr_t location_address(const struct location *location);
uint32_t location_index(const struct location *location);
void view_join(struct view *to, const struct view *from);
extern uint32_t store_count;

/* ---- race.c ---- */

struct plain_stamp {
    int8_t writer;
    uint32_t clock;
};

void race_reset(void);
/* A location is created: who wrote these bytes plainly before? */
struct plain_stamp race_adopt(uintptr_t address, unsigned size, uint8_t index);
void race_freed(uintptr_t address, size_t size);
/* An atomic access: is the memory still there? */
void race_check_freed(uintptr_t address);
/* Called back for the atomic fields in the range of a plain access. */
void weak_plain_access(uint32_t location, bool is_write);

/* ---- memory.c ---- */

void memory_reset(void);

/* ---- trace.c ---- */

extern bool tracing;
void trace_begin(void); /* a new execution */
void trace(const struct site *site, const struct location *location, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void trace_code_address(const void *address);

static inline uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    return h ^ (h >> 32);
}

#endif
