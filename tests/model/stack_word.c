/* SPDX-License-Identifier: MIT */
/*
 * The word of a shared stack: acquire, release, hand-over to exactly one.
 *
 * The stack's plain fields stand for frames: whoever holds the stack writes
 * them, and the race detector sees two at once.  Members wait in two ways: as
 * tasks of carriers that go on with something else, or pinned, with an OS thread
 * of their own that sleeps until the stack is handed over.
 */
#include "continuation/stack_word.h"
#include "base/futex.h"
#include "tests/model/model.h"

enum { MEMBERS = 3, ROUNDS = 2 };

struct member {
    struct stack_member link;
    int rounds;
    bool holds; /* was handed the stack; written by the releaser */
    ATOMIC(uint32_t) handed;
};

static MODEL_SHARED struct stack_word stack;
static MODEL_SHARED struct member *resident; /* the holder's */
static MODEL_SHARED struct member members[MEMBERS];
static MODEL_SHARED struct model_queue runnable;
static MODEL_SHARED ATOMIC(uint32_t) finished;
static MODEL_BOOK int turns[MEMBERS];

static struct member *member_of(struct stack_member *link)
{
    return (struct member *)(void *)link;
}

/* While holding. */
static void use_stack(struct member *m)
{
    resident = m;
    MODEL_POINT();
    MODEL_ASSERT(resident == m);
    turns[m - members]++;
}

/* ---- pinned: one OS thread each ---- */

static void pinned(void)
{
    struct member *m = &members[model_self()];

    for (int i = 0; i < ROUNDS; i++) {
        struct stack_member *next;

        if (!stack_word_acquire(&stack, &m->link)) {
            model_reached("waited");
            while (atomic_load_acquire(&m->handed) == 0)
                futex_wait(&m->handed, 0, INT64_MAX);
            atomic_store_relaxed(&m->handed, 0);
        }
        use_stack(m);
        next = stack_word_release(&stack);
        if (next != NULL) {
            struct member *to = member_of(next);

            atomic_store_release(&to->handed, 1);
            futex_wake(&to->handed, 1);
        }
    }
}

static void check_free(void)
{
    MODEL_ASSERT(atomic_load_relaxed(&stack.word) == STACK_FREE && stack.fifo == NULL);
}

static void check_pinned(void)
{
    for (int i = 0; i < MEMBERS; i++)
        MODEL_ASSERT(turns[i] == 0 || turns[i] == ROUNDS);
    check_free();
}

/* ---- tasks: carriers run them one after another ---- */

static void fill_queue(void)
{
    for (int i = 0; i < MEMBERS; i++) {
        members[i].rounds = 1 + (i == 0);
        model_queue_push(&runnable, &members[i]);
    }
}

/* Returns true when it was the last. */
static bool run(struct member *m)
{
    struct stack_member *next;
    bool ends;

    if (!m->holds && !stack_word_acquire(&stack, &m->link)) {
        model_reached("waited");
        return false; /* m belongs to the releaser now */
    }
    m->holds = false;
    use_stack(m);
    ends = --m->rounds == 0;
    next = stack_word_release(&stack);
    if (next != NULL) {
        member_of(next)->holds = true;
        model_queue_push(&runnable, next);
        model_reached("handed over");
    }
    if (!ends) {
        model_queue_push(&runnable, m);
        return false;
    }
    return atomic_fetch_add_relaxed(&finished, 1) + 1 == MEMBERS;
}

static void carrier(void)
{
    struct member *m;

    while ((m = model_queue_take(&runnable)) != NULL)
        if (run(m))
            break;
    model_queue_push(&runnable, NULL); /* the other one stops as well */
}

static void check_tasks(void)
{
    for (int i = 0; i < MEMBERS; i++)
        MODEL_ASSERT(members[i].rounds == 0);
    check_free();
}

/* ---- try: only if it is free ---- */

static void tries(void)
{
    struct member *m = &members[model_self()];

    if (stack_word_try(&stack)) {
        struct stack_member *next;

        use_stack(m);
        next = stack_word_release(&stack);
        if (next != NULL) {
            atomic_store_release(&member_of(next)->handed, 1);
            futex_wake(&member_of(next)->handed, 1);
        }
        model_reached("tried with success");
    } else {
        model_reached("tried in vain");
    }
}

static const char *const waited[] = {"waited", NULL};
static const char *const handed_over[] = {"waited", "handed over", NULL};
static const char *const tried[] = {"waited", "tried with success", "tried in vain", NULL};

#define MUTANTS_OF_TWO                                                                                                 \
    {MODEL_WEAKEN, "stack_word_release", "cas", NULL}, {MODEL_WEAKEN, "stack_word_acquire", "cas", NULL},              \
        {MODEL_SPLIT, "stack_word_acquire", "cas", NULL},                                                              \
    {                                                                                                                  \
        MODEL_SPLIT, "stack_word_release", "cas", NULL                                                                 \
    }

/* That arrivals race with their being taken off needs a second arrival. */
static const struct model_mutant mutants_of_two[] = {MUTANTS_OF_TWO, {0}};
static const struct model_mutant mutants[] = {MUTANTS_OF_TWO,
                                              {MODEL_WEAKEN, "stack_word_take_arrivals", "exchange", NULL},
                                              {MODEL_SPLIT, "stack_word_take_arrivals", "exchange", NULL},
                                              {0}};

static const struct model models[] = {
    {.name = "pinned-two",
     .check = check_pinned,
     .reaches = waited,
     .quick = {3, 3, 0},
     .actors = {{"a", pinned}, {"b", pinned}},
     .mutants = mutants_of_two},
    {.name = "pinned-three",
     .check = check_pinned,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"a", pinned}, {"b", pinned}, {"c", pinned}},
     .mutants = mutants},
    {.name = "tasks",
     .setup = fill_queue,
     .check = check_tasks,
     .reaches = handed_over,
     .quick = {3, 2, 0},
     .actors = {{"carrier", carrier}, {"carrier2", carrier}},
     .mutants = mutants},
    {.name = "tasks-three-carriers",
     .setup = fill_queue,
     .check = check_tasks,
     .quick = {2, 1, 0},
     .actors = {{"carrier", carrier}, {"carrier2", carrier}, {"carrier3", carrier}}},
    {.name = "try",
     .check = check_free,
     .reaches = tried,
     .quick = {3, 2, 0},
     .actors = {{"a", pinned}, {"b", pinned}, {"tries", tries}},
     .mutants = MUTANTS({MODEL_WEAKEN, "stack_word_try", "cas", NULL}, {MODEL_SPLIT, "stack_word_try", "cas", NULL})},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
