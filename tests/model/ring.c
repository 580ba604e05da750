/* SPDX-License-Identifier: MIT */
/*
 * The run queue: push and take by the owner, steal by two thieves, growth.
 *
 * Every task comes out exactly once, oldest first for whoever takes.
 */
#define RING_INITIAL_CAPACITY 2u
#include "carrier/ring.c"

#include "tests/model/model.h"

enum { TASKS = 5 };

struct task {
    int number;
};

static MODEL_SHARED struct ring ring;
static MODEL_SHARED struct task tasks[TASKS];
static MODEL_BOOK int seen[TASKS];
static MODEL_BOOK int latest[4]; /* per actor */

static void note(struct task *task)
{
    int number = task->number; /* a plain read: what the pusher wrote must be visible */

    MODEL_ASSERT(number > latest[model_self()]);
    latest[model_self()] = number;
    MODEL_ASSERT(seen[number - 1]++ == 0);
}

static void push(int index)
{
    tasks[index].number = index + 1;
    MODEL_ASSERT(ring_push(&ring, &tasks[index]));
}

static bool take(void)
{
    struct task *task = ring_take(&ring);

    if (task != NULL)
        note(task);
    return task != NULL;
}

static void steal(void)
{
    struct task *into[TASKS];
    int n = ring_steal(&ring, into, TASKS);

    if (n == RING_BUSY)
        model_reached("busy");
    if (n == RING_EMPTY)
        model_reached("empty");
    if (n > 0)
        model_reached(n == 1 ? "stolen one" : "stolen more");
    for (int i = 0; i < n; i++)
        note(into[i]);
}

static void init(void)
{
    MODEL_ASSERT(ring_init(&ring));
}

static void init_two(void)
{
    init();
    for (int i = 0; i < 2; i++) {
        tasks[i].number = i + 1;
        MODEL_ASSERT(ring_push(&ring, &tasks[i]));
    }
}

/* Whatever is left comes out too; in the end every task has been seen once. */
static void drain(int pushed)
{
    for (struct task *task; (task = ring_take(&ring)) != NULL;)
        MODEL_ASSERT(seen[task->number - 1]++ == 0);
    for (int i = 0; i < pushed; i++)
        MODEL_ASSERT(seen[i] == 1);
    MODEL_ASSERT(ring_count(&ring) == 0);
    ring_fini(&ring);
}

/* Owner and thief race for the last task. */
static void owner_push_take(void)
{
    push(0);
    take();
    push(1);
    take();
}

static void thief_once(void)
{
    steal();
}

static void thief_twice(void)
{
    steal();
    steal();
}

static void check_two(void)
{
    drain(2);
}

/* The ring is full and grows while somebody steals; then wraps. */
static void owner_grows(void)
{
    push(2);
    take();
    push(3);
    take();
}

static void check_four(void)
{
    drain(4);
}

/* A freed slot is filled again at once. */
static void owner_refills(void)
{
    take();
    push(2);
    take();
    take();
}

static void check_three(void)
{
    drain(3);
}

/* The oldest is taken and another one put at the end, in one go (yield from thread to thread). */
static void owner_replaces(void)
{
    struct task *task;

    for (int i = 2; i < 4; i++) {
        tasks[i].number = i + 1;
        if (!ring_enter(&ring)) {
            model_reached("thief inside");
            push(i);
            continue;
        }
        task = ring_oldest(&ring);
        if (task != NULL) {
            ring_replace_oldest(&ring, &tasks[i]);
            model_reached("replaced");
        }
        ring_leave(&ring);
        if (task != NULL)
            note(task);
        else
            push(i);
    }
}

static const char *const situations[] = {"busy", "empty", "stolen one", NULL};
static const char *const growth_situations[] = {"busy", "stolen one", "stolen more", NULL};
static const char *const replace_situations[] = {"replaced", "thief inside", "busy", "stolen one", NULL};
static const char *const refill_situations[] = {"stolen one", NULL};

static const struct model models[] = {
    {.name = "last-task",
     .setup = init,
     .check = check_two,
     .reaches = situations,
     .quick = {3, 2, 0},
     .actors = {{"owner", owner_push_take}, {"thief", thief_twice}},
     .mutants = MUTANTS(
         {MODEL_WEAKEN, "ring_steal", "heavy", NULL}, {MODEL_WEAKEN, "ring_push", "store", "tail"},
         {MODEL_WEAKEN, "ring_steal", "load", "tail"}, {MODEL_WEAKEN, "ring_steal", "load", "owner_inside"},
         {MODEL_WEAKEN, "ring_take", "load", "thief_inside"}, {MODEL_WEAKEN, "ring_take", "store", "owner_inside"},
         {MODEL_DROP, "ring_take", "store", "owner_inside"}, {MODEL_DROP, "ring_steal", "store", "thief_inside"})},
    {.name = "two-thieves",
     .setup = init_two,
     .check = check_three,
     .reaches = refill_situations,
     .quick = {2, 1, 0},
     .actors = {{"owner", owner_refills}, {"thief", thief_once}, {"thief2", thief_once}},
     .mutants = MUTANTS({MODEL_WEAKEN, "ring_steal", "heavy", NULL}, {MODEL_SPLIT, "lock_try", "cas", NULL})},
    {.name = "growth",
     .setup = init_two,
     .check = check_four,
     .reaches = growth_situations,
     .quick = {2, 2, 0},
     .actors = {{"owner", owner_grows}, {"thief", thief_once}},
     .mutants = MUTANTS({MODEL_WEAKEN, "ring_steal", "heavy", NULL}, {MODEL_WEAKEN, "ring_push", "load", "head"},
                        {MODEL_WEAKEN, "ring_steal", "store", "head"})},
    {.name = "replace",
     .setup = init_two,
     .check = check_four,
     .reaches = replace_situations,
     .quick = {3, 2, 0},
     .actors = {{"owner", owner_replaces}, {"thief", thief_twice}},
     .mutants =
         MUTANTS({MODEL_WEAKEN, "ring_steal", "heavy", NULL}, {MODEL_WEAKEN, "ring_enter", "load", "thief_inside"},
                 {MODEL_WEAKEN, "ring_leave", "store", "owner_inside"})},
    {.name = "growth-two-thieves",
     .setup = init_two,
     .check = check_four,
     .quick = {2, 1, 0},
     .actors = {{"owner", owner_grows}, {"thief", thief_once}, {"thief2", thief_once}}},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
