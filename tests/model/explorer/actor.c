/* SPDX-License-Identifier: MIT */
/*
 * Actors: coroutines, and who goes on at each scheduling point.
 *
 * An actor that could go on and is not chosen has been preempted, which costs
 * one of the bound; changing the actor when it blocks, pauses or ends is free.
 *
 * A blocked actor sleeps on a futex word.  A paused one retries something: it
 * is not resumed until somebody has stored anything, and everybody who could go on
 * has (a fair schedule; Musuvathi and Qadeer, "Fair Stateless Model Checking").
 * If nobody else can go on, paused actors are shown everything that was stored; if
 * they pause again, all wait for what will not come.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "tests/model/explorer/internal.h"

enum { STACK_BYTES = 256 * 1024 };

/* ucontext enters a new stack; after that _setjmp and _longjmp switch without a system call. */
struct coroutine {
    char *stack;
    ucontext_t entry;
    jmp_buf at;
    bool fresh;   /* to be entered for the first time */
    bool resting; /* has come to its end, and is good for another execution */
};

static struct coroutine coroutines[ACTORS];
struct actor actors[ACTORS];
int actor_count;
int self = NOBODY;

static uint32_t steps;
static bool time_passed; /* some deadline has been met */
static uint64_t notes_hash;
static int sleepers[ACTORS]; /* in the order they fell asleep */
static int sleeper_count;

/* ---- coroutines ---- */

bool actor_stack_contains(uintptr_t address)
{
    for (int i = 0; i < actor_count; i++)
        if (address - (uintptr_t)coroutines[i].stack < STACK_BYTES)
            return true;
    return false;
}

static void switch_to_next(void);

static void coroutine_main(int index)
{
    for (;;) {
        the_model->actors[index].run();
        actors[index].status = FINISHED;
        trace(NULL, NULL, "ends");
        coroutines[index].resting = true;
        if (_setjmp(coroutines[index].at) == 0)
            switch_to_next();
        coroutines[index].resting = false;
    }
}

static void enter(int index)
{
    struct coroutine *c = &coroutines[index];

    self = index;
    if (!c->fresh)
        _longjmp(c->at, 1);
    c->fresh = false;
    setcontext(&c->entry);
    abort();
}

static void coroutine_prepare(int index)
{
    struct coroutine *c = &coroutines[index];

    if (c->stack == NULL) {
        c->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (c->stack == MAP_FAILED || getcontext(&c->entry) != 0) {
            perror("model: stack of an actor");
            exit(2);
        }
    }
    if (c->resting)
        return;
    c->fresh = true;
    c->entry.uc_stack.ss_sp = c->stack;
    c->entry.uc_stack.ss_size = STACK_BYTES;
    c->entry.uc_link = NULL;
    makecontext(&c->entry, (void (*)(void))coroutine_main, 1, index);
}

/* ---- scheduling ---- */

void actors_reset(void)
{
    steps = 0;
    notes_hash = 0;
    sleeper_count = 0;
    time_passed = false;
    self = NOBODY;
    for (int i = 0; i < actor_count; i++) {
        struct actor *a = &actors[i];

        memset(a, 0, sizeof *a);
        a->name = the_model->actors[i].name;
        a->now.clock[i] = a->acquired.clock[i] = 1;
        coroutine_prepare(i);
    }
}

static uint32_t ready_bits(void)
{
    uint32_t bits = 0;

    for (int i = 0; i < actor_count; i++)
        bits |= (uint32_t)(actors[i].status == READY) << i;
    return bits;
}

static bool can_run(struct actor *a)
{
    return a->status == READY ||
           (a->status == PAUSED && a->paused_at != store_count && (a->gives_way & ready_bits()) == 0);
}

static void sleeper_remove(int index)
{
    int to = 0;

    for (int i = 0; i < sleeper_count; i++)
        if (sleepers[i] != index)
            sleepers[to++] = sleepers[i];
    sleeper_count = to;
}

static uint64_t state_hash(void)
{
    uint64_t h = mix(weak_hash(), notes_hash);

    for (int i = 0; i < actor_count; i++)
        h = mix(h, actors[i].hash * 128 + actors[i].gives_way * 8 + actors[i].status * 2u + can_run(&actors[i]));
    for (int i = 0; i < sleeper_count; i++)
        h = mix(h, (uint64_t)sleepers[i]);
    h = mix(h, queues_hash() + time_passed);
    /* Whoever cannot go on has no claim to be next. */
    return mix(h, (uint64_t)(self != NOBODY && can_run(&actors[self]) ? self + 1 : 0) * 64 + (uint64_t)used.spurious);
}

static void fail_stuck(void)
{
    char text[256];
    int n = 0;

    for (int i = 0; i < actor_count; i++)
        if (actors[i].status == ASLEEP || actors[i].status == PAUSED)
            n += snprintf(text + n, sizeof text - (size_t)n, " %s %s;", actors[i].name,
                          actors[i].status == ASLEEP ? "sleeps" : "retries");
    model_fail("deadlock: nobody can go on:%s", text);
}

/* Everybody who can run paused and found nothing new: show them what there is. */
static bool let_paused_catch_up(void)
{
    bool any = false;

    for (int i = 0; i < actor_count; i++)
        if (actors[i].status == PAUSED && !actors[i].caught_up) {
            actors[i].caught_up = true;
            weak_catch_up(&actors[i]);
            actors[i].status = READY;
            any = true;
        }
    return any;
}

/* Choose who goes on; itself first, if it can. */
static int choose_next(void)
{
    int options[2 * ACTORS];
    int n = 0;
    int chosen;
    bool free_change = self == NOBODY || !can_run(&actors[self]);
    bool costs = false;

    if (++steps > STEPS_MAX)
        model_fail("more than %d steps: livelock, or raise STEPS_MAX", STEPS_MAX);
    if (!free_change)
        options[n++] = self;
    if (free_change || used.preemptions < bound.preemptions)
        for (int i = 0; i < actor_count; i++)
            if (i != self && can_run(&actors[i]))
                options[n++] = i;
    if (n == 0) {
        bool finished = true;

        for (int i = 0; i < actor_count; i++)
            finished = finished && actors[i].status == FINISHED;
        if (finished)
            execution_end(DONE);
        if (let_paused_catch_up())
            return choose_next();
        /* Time passes when nothing else does. */
        for (int i = 0; i < sleeper_count; i++)
            if (actors[sleepers[i]].timed)
                options[n++] = sleepers[i];
        if (n == 0 && the_model->ends_asleep)
            execution_end(DONE);
        if (n == 0)
            fail_stuck();
    } else if (used.spurious < bound.spurious) {
        costs = true;
        for (int i = 0; i < sleeper_count; i++)
            options[n++] = sleepers[i];
    }
    if (choice_seen_before(state_hash()))
        execution_end(CUT);
    chosen = options[choose(n)];
    if (!free_change && chosen != self)
        used.preemptions++;
    if (actors[chosen].status == ASLEEP) {
        used.spurious += costs;
        time_passed |= actors[chosen].timed;
        sleeper_remove(chosen);
    }
    actors[chosen].status = READY;
    for (int i = 0; i < actor_count; i++)
        actors[i].gives_way &= ~(1u << chosen);
    return chosen;
}

static void switch_to_next(void)
{
    enter(choose_next());
}

static void __attribute__((noinline)) yield(void)
{
    static int next; /* not on the stack: nothing there may be live over the jump */

    next = choose_next();
    if (next != self && _setjmp(coroutines[self].at) == 0)
        enter(next);
    /* Even a step without any effect is one: without this the state after it would be an old one. */
    actors[self].hash = mix(actors[self].hash, 1);
}

void actors_run(void)
{
    switch_to_next();
}

void actor_point(const struct location *location, bool stores)
{
    if (location == NULL || choice_is_shared(location, stores))
        yield();
}

/* ---- what actors call ---- */

bool actor_time_passed(void)
{
    if (self != NOBODY)
        actors[self].hash = mix(actors[self].hash, time_passed);
    return time_passed;
}

int model_self(void)
{
    return self;
}

void model_note(uint64_t value)
{
    notes_hash = mix(notes_hash, value);
}

void model_point(const char *where, const char *function)
{
    actor_point(NULL, false);
    trace(&(struct site){"point", "", where, function}, NULL, "%s", "");
}

void model_pause(void)
{
    struct actor *me;

    if (self == NOBODY)
        return;
    me = &actors[self];
    if (me->paused_at != store_count) {
        me->paused_at = store_count;
        me->caught_up = false;
    }
    me->status = PAUSED;
    me->gives_way = ready_bits();
    me->hash = mix(me->hash, 0xaa);
    trace(NULL, NULL, "pauses");
    yield();
}

void actor_sleep(const void *key, bool timed)
{
    struct actor *me = &actors[self];

    me->status = ASLEEP;
    me->key = key;
    me->timed = timed;
    me->woken = false;
    me->hash = mix(me->hash, 0xf0);
    sleepers[sleeper_count++] = self;
    yield();
}

void actor_wake(const void *key, int count, const struct site *site)
{
    for (int i = 0; i < sleeper_count && count > 0;) {
        int index = sleepers[i];

        if (actors[index].key != key) {
            i++;
            continue;
        }
        trace(site, NULL, "wakes %s", actors[index].name);
        actors[self].hash = mix(actors[self].hash, (uint64_t)index);
        sleeper_remove(index);
        actors[index].status = READY;
        actors[index].woken = true;
        count--;
    }
}

/*
 * As the kernel does it: a full barrier and a look at the word, with the waiters
 * of that word locked, before sleeping; a full barrier before looking for them.
 */
bool kernel_wait(void *word, uint32_t value, bool timed)
{
    struct site site = {"wait", "*futex", "futex_wait", "futex_wait"};
    struct actor *me;

    if (self == NOBODY)
        model_fail("setup and check cannot sleep");
    me = &actors[self];
    actor_point(NULL, false);
    weak_fence(me);
    if (weak_peek(word, sizeof value, &site) != value)
        return true;
    trace(&site, NULL, "sleeps");
    actor_sleep(word, timed);
    trace(&site, NULL, me->woken ? "woken" : me->timed ? "timed out" : "returns without a cause");
    me->hash = mix(me->hash, me->woken);
    weak_fence(me);
    return me->woken || !me->timed;
}

void kernel_wake(void *word, int count)
{
    struct site site = {"wake", "*futex", "futex_wake", "futex_wake"};

    if (self == NOBODY)
        return;
    actor_point(NULL, false);
    weak_fence(&actors[self]);
    if (site_errs(&site, MODEL_DROP)) {
        trace(&site, NULL, "dropped");
        return;
    }
    actor_wake(word, count, &site);
}
