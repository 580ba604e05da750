/* SPDX-License-Identifier: MIT */
/*
 * Bounded exploration of the real protocol headers under a weak memory model.
 *
 * A model is a handful of actors, each a plain function that calls the functions
 * of a protocol header compiled with -DVTHREAD_MODEL.  The explorer runs them as
 * coroutines, one atomic operation at a time, in every order within a bound, and
 * lets loads return old values, and stores arrive late, wherever the memory
 * orders permit it (explorer/weak.c says exactly what that means).
 *
 *     static MODEL_SHARED struct { ATOMIC(int) data, ready; } x;
 *
 *     static void writer(void)
 *     {
 *         atomic_store_relaxed(&x.data, 1);
 *         atomic_store_release(&x.ready, 1);
 *     }
 *     static void reader(void)
 *     {
 *         if (atomic_load_acquire(&x.ready))
 *             MODEL_ASSERT(atomic_load_relaxed(&x.data) == 1);
 *     }
 *     static const struct model models[] = {
 *         {.name = "message", .actors = {{"writer", writer}, {"reader", reader}},
 *          .quick = {2, 2}, .mutants = (struct model_mutant[]){
 *              {MODEL_WEAKEN, "writer", "store", "x.ready"}, {0}}},
 *         {0}};
 *     int main(int argc, char **argv) { return model_main(argc, argv, models); }
 *
 * Rules for actors: deterministic but for what atomic operations return; no
 * static variables but MODEL_SHARED and MODEL_BOOK ones, which are zero at the
 * start of every execution.  Plain accesses of the code under test are checked
 * for races: the compiler reports them (explorer/race.c).
 */
#ifndef TESTS_MODEL_MODEL_H
#define TESTS_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MODEL_ACTORS_MAX = 4 };

/* State of the protocol under test: zeroed before each execution, plain accesses checked. */
#define MODEL_SHARED __attribute__((section("model_shared")))

/*
 * The test's own notes: zeroed, not checked.  A note must depend on the writing
 * actor's own steps only, or commute (counters), because executions that lead to
 * the same state are explored once; else tell model_note() what was noted.
 */
#define MODEL_BOOK __attribute__((section("model_book")))
void model_note(uint64_t value);

/* How far to search: how often an actor is interrupted that could have gone on, ... */
struct model_bound {
    int preemptions; /* 0..7 */
    int late;        /* 0..7: loads of an old value, stores that arrive after a later one */
    int spurious;    /* futex waits that return without a cause */
};

/* One deliberate mistake at an operation of the code under test. */
enum model_mistake {
    MODEL_NONE,
    MODEL_WEAKEN, /* relaxed instead; fences and barriers vanish */
    MODEL_DROP,   /* a store or a wake does not take place */
    MODEL_SPLIT,  /* a read-modify-write becomes a load and a store */
};

struct model_mutant {
    enum model_mistake mistake;
    const char *function;   /* in which the operation is written */
    const char *operation;  /* load store exchange cas fetch fence heavy light wake */
    const char *expression; /* part of its address expression; NULL: any */
};

/* clang-format off */
#define MUTANTS(...) (const struct model_mutant[]){__VA_ARGS__, {0}}
/* clang-format on */

struct model {
    const char *name;
    void (*setup)(void); /* alone, before the actors; may be NULL */
    struct {
        const char *name;
        void (*run)(void);
    } actors[MODEL_ACTORS_MAX + 1];
    void (*check)(void); /* alone, after all have finished; may be NULL */
    struct model_bound quick;
    struct model_bound deep;            /* for --deep; all zero: quick + 1 each */
    const char *fails;                  /* must be found to fail, with a message that contains this; NULL: must hold */
    const char *known;                  /* the code under test has this defect: its failure is no news */
    const char *const *reaches;         /* NULL-terminated: model_reached() must be called with each at least once */
    const struct model_mutant *mutants; /* ends with {0}; each must be found to fail */
    bool ends_asleep;                   /* everybody asleep is an end like any other, and judged by check */
    int variant;                        /* for the test's own use: model_variant() */
};

int model_main(int argc, char **argv, const struct model *models);
int model_variant(void);

/* The property under test does not hold: end here, with the whole interleaving. */
void model_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
#define MODEL_ASSERT(x) ((x) ? (void)0 : model_fail("%s:%d: %s does not hold", __FILE__, __LINE__, #x))

/* An interesting situation occurred; see `reaches`. */
void model_reached(const char *what);

/* End this execution without a verdict: the rest of it is of no interest. */
void model_give_up(void) __attribute__((noreturn));

/* Which actor is running: 0, 1, ...; -1 in setup and check. */
int model_self(void);

/* A scheduling point that is no atomic operation. */
#define MODEL_POINT() model_point(__FILE__ ":" MODEL_STRING(__LINE__), __func__)
void model_point(const char *where, const char *function);

/* Not to be resumed until somebody has stored something: for loops that retry. */
void model_pause(void);

/* A plain access that the compiler does not see, e.g. one that stands for a copy of frames. */
#define MODEL_READ(x) model_plain(&(x), sizeof(x), false)
#define MODEL_WRITE(x) model_plain(&(x), sizeof(x), true)
void model_plain(const void *p, size_t size, bool is_write);

/*
 * A queue that is taken to be right: what a model uses in place of a run queue
 * or a pipe that is not its subject.  Pushing happens before taking; taking
 * blocks while it is empty.  Declared MODEL_SHARED, zero is empty.
 */
enum { MODEL_QUEUE_MAX = 16 };
struct model_queue {
    uint32_t head, tail;
    void *items[MODEL_QUEUE_MAX];
    uint32_t pushers[MODEL_QUEUE_MAX]; /* index of the view that travels with the item */
};
void model_queue_push(struct model_queue *queue, void *item);
void *model_queue_take(struct model_queue *queue);

/* The same without blocking: NULL when empty. */
void *model_queue_try(struct model_queue *queue);

#define MODEL_STRING(x) MODEL_STRING_OF(x)
#define MODEL_STRING_OF(x) #x

#endif
