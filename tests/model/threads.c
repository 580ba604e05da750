/* SPDX-License-Identifier: MIT */
/*
 * State word and stack word together: park × unpark × timer × a stack-mate's
 * freeze × end and reuse of the record; pinned waiter × hand-over.
 *
 * The words are the real ones; what lies between them is the skeleton of
 * vthread/mount.c and park.c, in their order of steps: stack first, then state,
 * and nothing of the thread after that.  A thread's body is a function that is
 * called again for each stretch between two waits.  "Frames" are plain fields:
 * the race detector sees whoever touches a stack or a record out of turn.
 *
 * Two carriers take threads from one queue for ever; an execution ends when
 * everybody sleeps, and then every thread must have ended.
 */
#include "base/futex.h"
#include "continuation/stack_word.h"
#include "tests/model/model.h"
#include "vthread/word.h"

enum leave { LEAVE_YIELD, LEAVE_PARK, LEAVE_PINNED, LEAVE_END };
enum { IN_PLACE = 1, HOLDS_STACK = 2 };
enum { V, W, THREADS };

struct thread {
    struct stack_member link;
    thread_word word;
    bool frozen;  /* cont: the stack holder's */
    bool started; /* cont */
    uint8_t flags;
    uint8_t reason;
    int stretch; /* of the body */
    int lives;
    bool timed;
    enum leave (*body)(struct thread *self);
};

enum reason { BY_UNPARK = 1, BY_TIMER, REFUSED };

static MODEL_SHARED struct thread threads[THREADS];
static MODEL_SHARED struct {
    struct stack_word word;
    struct thread *resident;
    struct thread *frames; /* whose bytes lie there */
} stack;

static MODEL_SHARED struct model_queue runnable;
static MODEL_SHARED struct model_queue timers;
static MODEL_SHARED struct model_queue born;                   /* second lives */
static MODEL_SHARED ATOMIC(uint32_t) parker[MODEL_ACTORS_MAX]; /* a carrier's */
static MODEL_SHARED int data;
static MODEL_BOOK int ended[THREADS];
static MODEL_BOOK int carrier_of[THREADS];

static struct thread *thread_of(struct stack_member *member)
{
    return (struct thread *)(void *)member;
}

/* ---- park.c ---- */

static void parker_wait(uint32_t index)
{
    while (atomic_load_acquire(&parker[index]) == 0)
        futex_wait(&parker[index], 0, INT64_MAX);
}

static void notify(uint32_t index)
{
    atomic_store_release(&parker[index], 1);
    futex_wake(&parker[index], 1);
}

/* Having won the thread. */
static void make_runnable(struct thread *t, uint8_t reason)
{
    t->reason = reason;
    if (t->flags & IN_PLACE)
        notify((uint32_t)carrier_of[t - threads]);
    else
        model_queue_push(&runnable, t);
}

static void unpark(struct thread *t, uint32_t generation)
{
    if (word_unpark(&t->word, generation) == WAKE_RUN)
        make_runnable(t, BY_UNPARK);
}

static void set_timer(struct thread *t)
{
    if (t->timed)
        model_queue_push(&timers, (void *)(uintptr_t)(word_next_sequence(atomic_load_relaxed(&t->word)) + 1));
}

static uint8_t refused(struct thread *t)
{
    word_end_wait(&t->word, WORD_PERMIT);
    return REFUSED;
}

/* ---- mount.c ---- */

static void release_stack(void)
{
    struct stack_member *next = stack_word_release(&stack.word);

    if (next != NULL) {
        struct thread *t = thread_of(next);

        model_reached("handed over");
        t->flags |= HOLDS_STACK;
        if (t->flags & IN_PLACE)
            notify((uint32_t)carrier_of[t - threads]);
        else
            model_queue_push(&runnable, t);
    }
}

static void occupy(struct thread *t)
{
    if (stack.resident == t)
        return;
    if (stack.resident != NULL) {
        stack.resident->frozen = true;
        stack.resident = NULL;
        model_reached("froze its mate");
    }
    if (t->frozen) {
        t->frozen = false;
        stack.frames = t;
    }
    stack.resident = t;
}

static void wait_pinned(struct thread *t)
{
    uint32_t here = (uint32_t)model_self();

    release_stack();
    atomic_store_relaxed(&parker[here], 0);
    t->flags |= IN_PLACE;
    if (word_commit_park(&t->word, 0)) {
        parker_wait(here);
        model_reached("pinned wait");
    } else {
        t->reason = refused(t);
    }
    t->flags &= (uint8_t)~IN_PLACE;
    t->flags |= IN_PLACE;
    atomic_store_relaxed(&parker[here], 0);
    if (!stack_word_acquire(&stack.word, &t->link)) {
        model_reached("pinned waiter waits for its stack");
        parker_wait(here);
    }
    t->flags &= (uint8_t) ~(IN_PLACE | HOLDS_STACK);
    occupy(t);
}

/* As vthread/record.c and create.c: free, and make the next thread of it. */
static void end(struct thread *t)
{
    uint64_t w;

    stack.resident = NULL;
    t->started = false;
    release_stack();
    word_terminate(&t->word);
    ended[t - threads]++;
    if (--t->lives == 0)
        return;
    w = atomic_load_relaxed(&t->word);
    atomic_store_release(&t->word, (w & (WORD_SEQUENCE_MASK | WORD_STATE_MASK)) |
                                       ((uint64_t)(word_generation(w) + 1) << WORD_GENERATION_SHIFT));
    t->stretch = 0;
    t->flags = 0;
    w = atomic_load_relaxed(&t->word);
    atomic_store_relaxed(&t->word, word_with_state(w, WORD_ACTIVE));
    model_queue_push(&runnable, t);
    model_queue_push(&born, t);
}

/* Returns true when the thread is out of our hands. */
static bool unmount(struct thread *t, enum leave why)
{
    switch (why) {
    case LEAVE_YIELD:
        release_stack();
        model_queue_push(&runnable, t);
        return true;
    case LEAVE_PARK:
        release_stack();
        if (word_commit_park(&t->word, 0))
            return true;
        t->reason = refused(t);
        return false;
    case LEAVE_PINNED:
        wait_pinned(t);
        t->flags |= HOLDS_STACK;
        return false;
    case LEAVE_END:
        end(t);
        return true;
    }
    return true;
}

static void mount(struct thread *t)
{
    enum leave why;

    do {
        if (t->flags & HOLDS_STACK)
            t->flags &= (uint8_t)~HOLDS_STACK;
        else if (!stack_word_acquire(&stack.word, &t->link))
            return;
        occupy(t);
        if (!t->started)
            stack.frames = t;
        t->started = true;
        carrier_of[t - threads] = model_self();
        MODEL_ASSERT(stack.frames == t); /* nobody has written over them */
        why = t->body(t);
        MODEL_ASSERT(stack.frames == t);
    } while (!unmount(t, why));
}

static void carrier(void)
{
    for (;;)
        mount(model_queue_take(&runnable));
}

static void timer(void)
{
    for (;;) {
        uint32_t number = (uint32_t)(uintptr_t)model_queue_take(&timers) - 1;

        if (word_wake(&threads[V].word, number) == WAKE_RUN)
            make_runnable(&threads[V], BY_TIMER);
    }
}

/* ---- bodies ---- */

/* Parks with a timeout; its second life, in the same record, parks until unparked. */
static enum leave parks_and_ends(struct thread *self)
{
    if (self->stretch++ == 0) {
        set_timer(self);
        return LEAVE_PARK;
    }
    if (self->reason == BY_TIMER)
        model_reached("timed out");
    return LEAVE_END;
}

static enum leave parks_in_both_lives(struct thread *self)
{
    if (self->stretch == 0 && word_generation(atomic_load_relaxed(&self->word)) == 2)
        self->timed = false;
    if (self->stretch == 1 && !self->timed)
        MODEL_ASSERT(self->reason != BY_TIMER && data == 1); /* not by what was meant for the first life */
    return parks_and_ends(self);
}

static enum leave yields_once(struct thread *self)
{
    return self->stretch++ == 0 ? LEAVE_YIELD : LEAVE_END;
}

static enum leave unparks_mate(struct thread *self)
{
    if (self->stretch++ == 0)
        return LEAVE_YIELD;
    unpark(&threads[V], 1);
    return LEAVE_END;
}

static enum leave waits_pinned(struct thread *self)
{
    if (self->stretch++ == 0)
        return LEAVE_PINNED;
    return LEAVE_END;
}

/* Again as a task in between: parks, waits pinned, ends. */
static enum leave parks_and_waits_pinned(struct thread *self)
{
    switch (self->stretch++) {
    case 0:
        return LEAVE_PARK;
    case 1:
        return LEAVE_PINNED;
    }
    return LEAVE_END;
}

/* ---- outside ---- */

static void unparks(void)
{
    unpark(&threads[V], 1);
}

static void unparks_both_lives(void)
{
    unpark(&threads[V], 1);
    model_queue_take(&born);
    data = 1;
    unpark(&threads[V], 2);
}

static void unparks_until_ended(void)
{
    unpark(&threads[V], 1);
    while (word_state(atomic_load_relaxed(&threads[V].word)) != WORD_TERMINATED) {
        unpark(&threads[V], 1);
        model_pause();
    }
}

/* ---- models ---- */

static void make(int index, enum leave (*body)(struct thread *self), int lives)
{
    struct thread *t = &threads[index];

    atomic_init(&t->word, WORD_ACTIVE | ((uint64_t)1 << WORD_GENERATION_SHIFT));
    t->body = body;
    t->lives = lives;
    model_queue_push(&runnable, t);
}

static void setup_timed(void)
{
    make(V, parks_and_ends, 1);
    make(W, yields_once, 1);
    threads[V].timed = true;
}

static void setup_untimed(void)
{
    make(V, parks_and_ends, 1);
    make(W, yields_once, 1);
}

static void setup_reuse(void)
{
    make(V, parks_in_both_lives, 2);
    make(W, yields_once, 1);
    threads[V].timed = true;
}

static void setup_mates(void)
{
    make(V, parks_and_ends, 1);
    make(W, unparks_mate, 1);
}

static void setup_pinned(void)
{
    make(V, waits_pinned, 1);
    make(W, yields_once, 1);
}

static void setup_pinned_mates(void)
{
    make(V, waits_pinned, 1);
    make(W, unparks_mate, 1);
}

static void setup_parks_and_pins(void)
{
    make(V, parks_and_waits_pinned, 1);
    make(W, yields_once, 1);
}

static void check(void)
{
    MODEL_ASSERT(ended[W] == 1 && ended[V] >= 1 && threads[V].lives == 0);
    MODEL_ASSERT(atomic_load_relaxed(&stack.word.word) == STACK_FREE && stack.word.fifo == NULL);
    MODEL_ASSERT(stack.resident == NULL);
}

#define CARRIERS                                                                                                       \
    {"carrier", carrier},                                                                                              \
    {                                                                                                                  \
        "carrier2", carrier                                                                                            \
    }

static const char *const freezes[] = {"froze its mate", "handed over", NULL};
static const char *const timed[] = {"timed out", "froze its mate", NULL};
static const char *const pinned[] = {"pinned wait", "pinned waiter waits for its stack", "handed over", NULL};

static const struct model models[] = {
    {.name = "mates",
     .setup = setup_mates,
     .check = check,
     .ends_asleep = true,
     .reaches = freezes,
     .quick = {3, 2, 0},
     .actors = {CARRIERS},
     .mutants = MUTANTS({MODEL_SPLIT, "word_commit_park", "cas", NULL}, {MODEL_SPLIT, "word_unpark", "cas", NULL},
                        {MODEL_WEAKEN, "stack_word_release", "cas", NULL})},
    {.name = "timer-unpark",
     .setup = setup_timed,
     .check = check,
     .ends_asleep = true,
     .reaches = timed,
     .quick = {1, 1, 0},
     .deep = {2, 1, 0},
     .actors = {CARRIERS, {"timer", timer}, {"unparker", unparks}},
     .mutants = MUTANTS({MODEL_SPLIT, "word_wake", "cas", NULL})},
    {.name = "unpark",
     .setup = setup_untimed,
     .check = check,
     .ends_asleep = true,
     .reaches = freezes,
     .quick = {2, 1, 0},
     .actors = {CARRIERS, {"unparker", unparks}},
     .mutants = MUTANTS({MODEL_WEAKEN, "word_commit_park", "cas", NULL}, {MODEL_WEAKEN, "word_unpark", "cas", NULL})},
    {.name = "reuse",
     .setup = setup_reuse,
     .check = check,
     .ends_asleep = true,
     .quick = {1, 0, 0},
     .deep = {1, 1, 0},
     .actors = {CARRIERS, {"timer", timer}, {"unparker", unparks_both_lives}},
     .mutants = MUTANTS({MODEL_SPLIT, "word_wake", "cas", NULL}, {MODEL_SPLIT, "word_unpark", "cas", NULL})},
    {.name = "pinned",
     .setup = setup_pinned,
     .check = check,
     .ends_asleep = true,
     .reaches = pinned,
     .quick = {2, 1, 0},
     .actors = {CARRIERS, {"unparker", unparks}},
     .mutants = MUTANTS({MODEL_WEAKEN, "notify", "store", NULL}, {MODEL_WEAKEN, "parker_wait", "load", NULL},
                        {MODEL_WEAKEN, "stack_word_acquire", "cas", NULL})},
    {.name = "pinned-mates",
     .setup = setup_pinned_mates,
     .check = check,
     .ends_asleep = true,
     .quick = {3, 2, 0},
     .actors = {CARRIERS}},
    {.name = "parks-and-pins",
     .setup = setup_parks_and_pins,
     .check = check,
     .ends_asleep = true,
     .quick = {1, 1, 0},
     .deep = {2, 1, 0},
     .actors = {CARRIERS, {"unparker", unparks_until_ended}}},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
