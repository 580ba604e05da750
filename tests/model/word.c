/* SPDX-License-Identifier: MIT */
/*
 * The state word of a thread, alone: park, unpark, timer, interrupt, end, reuse.
 *
 * One actor is the thread together with all carriers it may run on: to wait it
 * commits the park and then takes itself from the run queue, to which whoever has
 * won the word pushes it.  The other actors are wakers.  A lost wake-up is a
 * deadlock; a thread woken twice is found in the queue at the end.
 */
#include "vthread/word.h"
#include "tests/model/model.h"

enum reason { WOKEN = 1, BY_UNPARK, BY_TIMER, BY_INTERRUPT };

static MODEL_SHARED struct {
    thread_word word;
    int reason; /* the owner's: of the thread, then of whoever has won it */
} thread;

static MODEL_SHARED struct model_queue runnable;
static MODEL_SHARED struct model_queue timers; /* numbers of timed waits, as pointers */
static MODEL_SHARED int data[4];               /* written before a wake, read after the wait */
static MODEL_SHARED ATOMIC(uint32_t) flag[3];
static MODEL_SHARED ATOMIC(uint32_t) freed;
static MODEL_BOOK int result[4];
static MODEL_BOOK int wins[4]; /* per actor: WAKE_RUN */

static void active(void)
{
    atomic_init(&thread.word, WORD_ACTIVE | ((uint64_t)1 << WORD_GENERATION_SHIFT));
}

static void make_runnable(int reason)
{
    wins[model_self()]++;
    thread.reason = reason;
    model_queue_push(&runnable, &thread);
}

static void set_timer(void)
{
    model_queue_push(&timers, (void *)(uintptr_t)(word_next_sequence(atomic_load_relaxed(&thread.word)) + 1));
}

enum { TIMED = 1 };

/* As vthread/park.c and mount.c do it. */
static int wait(uint64_t flags, int timed)
{
    uint64_t before;

    if (timed)
        set_timer();
    if (word_commit_park(&thread.word, flags)) {
        model_reached("parked");
        model_queue_take(&runnable);
        return thread.reason;
    }
    model_reached("refused");
    before = word_end_wait(&thread.word, flags & WORD_INTERNAL ? 0 : WORD_PERMIT);
    if (!(flags & WORD_INTERNAL) && (before & WORD_PERMIT))
        return BY_UNPARK;
    return before & WORD_WAKE ? BY_TIMER : BY_INTERRUPT;
}

static int park(void)
{
    uint64_t w = atomic_load_acquire(&thread.word);

    if (w & WORD_PERMIT) {
        word_clear(&thread.word, WORD_PERMIT);
        model_reached("had a permit");
        return BY_UNPARK;
    }
    return w & WORD_INTERRUPTED ? BY_INTERRUPT : wait(0, 0);
}

static void unpark(uint32_t generation)
{
    if (word_unpark(&thread.word, generation) == WAKE_RUN)
        make_runnable(BY_UNPARK);
}

static void fire_timer(void)
{
    uint32_t number = (uint32_t)(uintptr_t)model_queue_take(&timers) - 1;

    if (word_wake(&thread.word, number) == WAKE_RUN)
        make_runnable(BY_TIMER);
}

static void interrupt(void)
{
    if (word_interrupt(&thread.word, 1) == WAKE_RUN)
        make_runnable(BY_INTERRUPT);
}

static void nobody_queued(void)
{
    MODEL_ASSERT(runnable.head == runnable.tail);
}

/* ---- what was done before unpark is seen after park ---- */

static void parks_for_one(void)
{
    MODEL_ASSERT(park() == BY_UNPARK);
    MODEL_ASSERT(data[1] == 1);
}

static void unparks(void)
{
    data[model_self()] = 1;
    unpark(1);
}

/* The usual loop.  Two unparks may merge into one permit; then park must see what both did before. */
static void parks_for_two(void)
{
    while (!atomic_load_relaxed(&flag[1]) || !atomic_load_relaxed(&flag[2]))
        MODEL_ASSERT(park() == BY_UNPARK);
}

static void sets_flag_and_unparks(void)
{
    atomic_store_relaxed(&flag[model_self()], 1);
    unpark(1);
}

/* ---- one permit for each of two parks ---- */

static void parks_twice(void)
{
    MODEL_ASSERT(park() == BY_UNPARK);
    MODEL_ASSERT(data[1] >= 1);
    model_queue_push(&timers, &data); /* tells the unparker to go on */
    MODEL_ASSERT(park() == BY_UNPARK);
    MODEL_ASSERT(data[1] >= 2);
}

static void unparks_twice(void)
{
    data[1] = 1;
    unpark(1);
    model_queue_take(&timers);
    data[1] = 2;
    unpark(1);
}

/* ---- park, timer, unpark: the first of them ends the wait, the timer never the next one ---- */

static MODEL_SHARED struct model_queue go_on;

static void parks_timed(void)
{
    result[0] = wait(0, TIMED);
    if (result[0] == BY_TIMER) {
        model_reached("timed out");
        result[0] = park();
    } else {
        model_reached("timer too late");
    }
    MODEL_ASSERT(result[0] == BY_UNPARK && data[2] == 1);
    model_queue_push(&go_on, &data);
    MODEL_ASSERT(park() == BY_UNPARK);
    MODEL_ASSERT(data[2] == 2);
}

static void unparks_again_later(void)
{
    data[2] = 1;
    unpark(1);
    model_queue_take(&go_on);
    data[2] = 2;
    unpark(1);
}

/* ---- interrupt ---- */

static void parks_interruptibly(void)
{
    bool interrupted = false;

    for (int parks = 0; parks < 2; parks++) {
        int r = park();

        if (r == BY_INTERRUPT) {
            MODEL_ASSERT(!interrupted);
            interrupted = true;
            MODEL_ASSERT(word_clear(&thread.word, WORD_INTERRUPTED) & WORD_INTERRUPTED);
            model_reached("interrupted");
        } else {
            MODEL_ASSERT(r == BY_UNPARK && data[1] == 1);
        }
    }
    MODEL_ASSERT(interrupted || (atomic_load_relaxed(&thread.word) & WORD_INTERRUPTED));
}

/* An internal wait keeps a permit for later; a deaf one the interrupt flag. */
static void waits_internally(void)
{
    MODEL_ASSERT(wait(WORD_INTERNAL | WORD_DEAF, TIMED) == BY_TIMER);
    MODEL_ASSERT(park() != BY_TIMER);
}

/* ---- end, and another life of the record ---- */

/* As vthread/record.c and create.c. */
static void free_and_reuse(void)
{
    uint64_t w = atomic_load_relaxed(&thread.word);

    atomic_store_release(&thread.word, (w & (WORD_SEQUENCE_MASK | WORD_STATE_MASK)) |
                                           ((uint64_t)(word_generation(w) + 1) << WORD_GENERATION_SHIFT));
    w = atomic_load_relaxed(&thread.word);
    atomic_store_relaxed(&thread.word, w & (WORD_SEQUENCE_MASK | ~(uint64_t)0 << WORD_GENERATION_SHIFT));
    w = atomic_load_relaxed(&thread.word);
    atomic_store_relaxed(&thread.word, word_with_state(w, WORD_ACTIVE));
}

static void lives_twice(void)
{
    model_queue_push(&timers, (void *)(uintptr_t)1); /* of a wait long ago: stale */
    if (wait(0, TIMED) == BY_UNPARK)
        model_reached("ended with its timer under way");
    word_terminate(&thread.word);
    free_and_reuse();
    /* The second life: only what is meant for generation 2 may reach it. */
    result[0] = wait(WORD_INTERNAL, TIMED);
    MODEL_ASSERT(result[0] == BY_TIMER);
    MODEL_ASSERT(data[3] == 1);
    MODEL_ASSERT(!(atomic_load_relaxed(&thread.word) & (WORD_PERMIT | WORD_INTERRUPTED)));
}

static void three_timers(void)
{
    fire_timer();
    fire_timer();
    data[3] = 1; /* before that of the second life fires */
    fire_timer();
}

/* A first life that gives up a wait it had numbered, and ends. */
static void gives_up_and_ends(void)
{
    model_queue_push(&timers, (void *)(uintptr_t)1);
    set_timer();
    word_end_wait(&thread.word, 0);
    word_terminate(&thread.word);
    free_and_reuse();
    MODEL_ASSERT(wait(WORD_INTERNAL, TIMED) == BY_TIMER);
    MODEL_ASSERT(data[3] == 1);
}

/* ---- start against discard; end against join and detach: exactly one ---- */

static void fresh(void)
{
    atomic_init(&thread.word, WORD_NEW | ((uint64_t)1 << WORD_GENERATION_SHIFT));
}

static void starts(void)
{
    if (word_leave_new(&thread.word, 1, WORD_ACTIVE, 0))
        thread.reason = ++wins[model_self()];
}

static void discards(void)
{
    if (word_leave_new(&thread.word, 1, WORD_TERMINATED, WORD_CONSUMED))
        thread.reason = ++wins[model_self()];
}

static void check_one_winner(void)
{
    MODEL_ASSERT(wins[0] + wins[1] + wins[2] == 1);
}

static void free_once(void)
{
    MODEL_ASSERT(atomic_fetch_add_relaxed(&freed, 1) == 0);
    MODEL_ASSERT(data[0] == 7); /* the value */
    data[0] = 8;
}

static void ends(void)
{
    data[0] = 7;
    if (word_terminate(&thread.word) & WORD_CONSUMED)
        free_once();
}

static void consumes(void)
{
    uint64_t before;

    if (word_set(&thread.word, 1, WORD_CONSUMED, WORD_CONSUMED, &before)) {
        wins[model_self()]++;
        if (word_state(before) == WORD_TERMINATED)
            free_once();
    }
}

static void check_freed(void)
{
    MODEL_ASSERT(atomic_load_relaxed(&freed) == 1);
    MODEL_ASSERT(wins[1] + wins[2] == 1);
}

static const char *const parked_or_not[] = {"parked", "refused", "had a permit", NULL};
static const char *const timer_results[] = {"timed out", "timer too late", "parked", "refused", NULL};
static const char *const interrupt_results[] = {"interrupted", "parked", "refused", NULL};
static const char *const reuse_results[] = {"ended with its timer under way", NULL};

static const struct model models[] = {
    {.name = "park-unpark",
     .setup = active,
     .check = nobody_queued,
     .reaches = parked_or_not,
     .quick = {4, 4, 0},
     .actors = {{"thread", parks_for_one}, {"unparker", unparks}},
     .mutants = MUTANTS({MODEL_WEAKEN, "word_unpark", "cas", NULL}, {MODEL_SPLIT, "word_unpark", "cas", NULL},
                        {MODEL_SPLIT, "word_commit_park", "cas", NULL}, {MODEL_WEAKEN, "word_end_wait", "cas", NULL})},
    {.name = "park-for-two",
     .setup = active,
     .reaches = parked_or_not,
     .quick = {3, 3, 0},
     .actors = {{"thread", parks_for_two}, {"unparker", sets_flag_and_unparks}, {"unparker2", sets_flag_and_unparks}},
     .mutants = MUTANTS({MODEL_WEAKEN, "word_clear", "fetch", NULL}, {MODEL_WEAKEN, "word_unpark", "cas", NULL},
                        {MODEL_SPLIT, "word_end_wait", "cas", NULL})},
    {.name = "park-twice",
     .setup = active,
     .check = nobody_queued,
     .reaches = parked_or_not,
     .quick = {4, 3, 0},
     .actors = {{"thread", parks_twice}, {"unparker", unparks_twice}},
     .mutants = MUTANTS({MODEL_SPLIT, "word_unpark", "cas", NULL})},
    {.name = "park-timer-unpark",
     .setup = active,
     .check = nobody_queued,
     .reaches = timer_results,
     .quick = {3, 2, 0},
     .actors = {{"thread", parks_timed}, {"timer", fire_timer}, {"unparker", unparks_again_later}},
     .mutants = MUTANTS({MODEL_SPLIT, "word_wake", "cas", NULL}, {MODEL_SPLIT, "word_unpark", "cas", NULL},
                        {MODEL_WEAKEN, "word_commit_park", "cas", NULL}, {MODEL_SPLIT, "word_end_wait", "cas", NULL})},
    {.name = "park-interrupt-unpark",
     .setup = active,
     .check = nobody_queued,
     .reaches = interrupt_results,
     .quick = {3, 2, 0},
     .actors = {{"thread", parks_interruptibly}, {"unparker", unparks}, {"interrupter", interrupt}},
     .mutants = MUTANTS({MODEL_SPLIT, "word_interrupt", "cas", NULL}, {MODEL_SPLIT, "word_unpark", "cas", NULL})},
    {.name = "internal-wait",
     .setup = active,
     .check = nobody_queued,
     .quick = {2, 2, 0},
     .actors =
         {{"thread", waits_internally}, {"timer", fire_timer}, {"unparker", unparks}, {"interrupter", interrupt}}},
    {.name = "end-and-reuse",
     .setup = active,
     .check = nobody_queued,
     .reaches = reuse_results,
     .quick = {2, 2, 0},
     .actors = {{"thread", lives_twice}, {"timers", three_timers}, {"unparker", unparks}},
     .mutants = MUTANTS({MODEL_SPLIT, "word_wake", "cas", NULL}, {MODEL_SPLIT, "word_unpark", "cas", NULL})},
    {.name = "end-interrupt-reuse",
     .setup = active,
     .check = nobody_queued,
     .quick = {2, 2, 0},
     .actors = {{"thread", lives_twice}, {"timers", three_timers}, {"interrupter", interrupt}},
     .mutants = MUTANTS({MODEL_SPLIT, "word_wake", "cas", NULL}, {MODEL_SPLIT, "word_interrupt", "cas", NULL})},
    {.name = "give-up-and-reuse",
     .setup = active,
     .check = nobody_queued,
     .quick = {2, 2, 0},
     .actors = {{"thread", gives_up_and_ends}, {"timers", three_timers}, {"unparker", unparks}}},
    {.name = "start-discard",
     .setup = fresh,
     .check = check_one_winner,
     .quick = {4, 4, 0},
     .actors = {{"starter", starts}, {"discarder", discards}, {"starter2", starts}},
     .mutants = MUTANTS({MODEL_SPLIT, "word_leave_new", "cas", NULL})},
    {.name = "end-join-detach",
     .setup = active,
     .check = check_freed,
     .quick = {4, 4, 0},
     .actors = {{"thread", ends}, {"joiner", consumes}, {"detacher", consumes}},
     .mutants = MUTANTS({MODEL_SPLIT, "word_terminate", "cas", NULL}, {MODEL_SPLIT, "word_set", "cas", NULL},
                        {MODEL_WEAKEN, "word_terminate", "cas", NULL})},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
