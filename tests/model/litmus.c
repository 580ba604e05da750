/* SPDX-License-Identifier: MIT */
/*
 * The explorer itself: programs of a few lines whose possible results are known.
 *
 * `reaches` lists the results that a weak machine may give and the explorer has
 * to find; results that may not occur are asserted against, and where a weaker
 * variant allows them, `fails` says that it must be found.
 */
#include "base/atomic.h"
#include "base/futex.h"
#include "base/memory.h"
#include "tests/model/model.h"

static MODEL_SHARED struct {
    ATOMIC(uint32_t) x;
    ATOMIC(uint32_t) y;
    ATOMIC(uint32_t) z;
    struct lock lock;
    int plain;
    int *pointer;
} m;

static MODEL_BOOK uint32_t r[4];

static const char *result(void)
{
    static const char *const names[2][2] = {{"0 0", "0 1"}, {"1 0", "1 1"}};

    return names[r[0]][r[1]];
}

static void check_all_results(void)
{
    model_reached(result());
}

static void check_not_0_0(void)
{
    MODEL_ASSERT(r[0] != 0 || r[1] != 0);
    model_reached(result());
}

static void check_not_1_0(void)
{
    MODEL_ASSERT(r[0] != 1 || r[1] != 0);
    model_reached(result());
}

static const char *const all_results[] = {"0 0", "0 1", "1 0", "1 1", NULL};
static const char *const not_0_0[] = {"0 1", "1 0", "1 1", NULL};
static const char *const not_1_0[] = {"0 0", "0 1", "1 1", NULL};
static const char *const not_1_1[] = {"0 0", "0 1", "1 0", NULL};

/* Store buffering: both may miss the other's store, unless fences stand between. */
static void sb_relaxed_a(void)
{
    atomic_store_relaxed(&m.x, 1);
    r[0] = atomic_load_relaxed(&m.y);
}

static void sb_relaxed_b(void)
{
    atomic_store_relaxed(&m.y, 1);
    r[1] = atomic_load_relaxed(&m.x);
}

/* Release and acquire do not help; aarch64's stlr and ldapr, x86's mov. */
static void sb_release_a(void)
{
    atomic_store_release(&m.x, 1);
    r[0] = atomic_load_acquire(&m.y);
}

static void sb_release_b(void)
{
    atomic_store_release(&m.y, 1);
    r[1] = atomic_load_acquire(&m.x);
}

/* Neither does a read-modify-write of acq_rel order: it is no fence. */
static void sb_exchange_a(void)
{
    atomic_exchange_acq_rel(&m.x, 1);
    r[0] = atomic_load_acquire(&m.y);
}

static void sb_exchange_b(void)
{
    atomic_exchange_acq_rel(&m.y, 1);
    r[1] = atomic_load_acquire(&m.x);
}

static void sb_fence_a(void)
{
    atomic_store_relaxed(&m.x, 1);
    atomic_fence_seq_cst();
    r[0] = atomic_load_relaxed(&m.y);
}

static void sb_fence_b(void)
{
    atomic_store_relaxed(&m.y, 1);
    atomic_fence_seq_cst();
    r[1] = atomic_load_relaxed(&m.x);
}

static void sb_seq_cst_a(void)
{
    atomic_store_seq_cst(&m.x, 1);
    r[0] = atomic_load_seq_cst(&m.y);
}

static void sb_seq_cst_b(void)
{
    atomic_store_seq_cst(&m.y, 1);
    r[1] = atomic_load_seq_cst(&m.x);
}

/* A seq_cst store before a relaxed load is not enough. */
static void sb_seq_cst_store_a(void)
{
    atomic_store_seq_cst(&m.x, 1);
    r[0] = atomic_load_relaxed(&m.y);
}

static void sb_light_a(void)
{
    atomic_store_relaxed(&m.x, 1);
    barrier_light();
    r[0] = atomic_load_relaxed(&m.y);
}

static void sb_light_b(void)
{
    atomic_store_relaxed(&m.y, 1);
    barrier_light();
    r[1] = atomic_load_relaxed(&m.x);
}

static void sb_heavy_b(void)
{
    atomic_store_relaxed(&m.y, 1);
    barrier_heavy();
    r[1] = atomic_load_relaxed(&m.x);
}

/* Message passing. */
static void mp_writer(void)
{
    atomic_store_relaxed(&m.y, 1);
    atomic_store_release(&m.x, 1);
}

static void mp_writer_relaxed(void)
{
    atomic_store_relaxed(&m.y, 1);
    atomic_store_relaxed(&m.x, 1);
}

static void mp_writer_fence(void)
{
    atomic_store_relaxed(&m.y, 1);
    atomic_fence_seq_cst();
    atomic_store_relaxed(&m.x, 1);
}

static void mp_reader(void)
{
    r[0] = atomic_load_acquire(&m.x);
    r[1] = atomic_load_relaxed(&m.y);
}

static void mp_reader_relaxed(void)
{
    r[0] = atomic_load_relaxed(&m.x);
    r[1] = atomic_load_relaxed(&m.y);
}

static void mp_reader_fence(void)
{
    r[0] = atomic_load_relaxed(&m.x);
    atomic_fence_seq_cst();
    r[1] = atomic_load_relaxed(&m.y);
}

/* The same with a plain field: what the race detector is for. */
static void plain_writer(void)
{
    m.plain = 1;
    atomic_store_release(&m.x, 1);
}

static void plain_reader(void)
{
    if (atomic_load_acquire(&m.x) != 0) {
        MODEL_ASSERT(m.plain == 1);
        model_reached("read");
    }
}

static const char *const plain_results[] = {"read", NULL};

/* Load buffering: 1 1 is allowed by C11, and not found by this explorer (see README.md). */
static void lb_a(void)
{
    r[0] = atomic_load_relaxed(&m.y);
    atomic_store_relaxed(&m.x, 1);
}

static void lb_b(void)
{
    r[1] = atomic_load_relaxed(&m.x);
    atomic_store_relaxed(&m.y, 1);
}

/* Independent readers of independent writes: may they disagree on the order? */
static void iriw_write_x(void)
{
    atomic_store_seq_cst(&m.x, 1);
}

static void iriw_write_y(void)
{
    atomic_store_seq_cst(&m.y, 1);
}

static void iriw_xy_seq_cst(void)
{
    r[0] = atomic_load_seq_cst(&m.x);
    r[1] = atomic_load_seq_cst(&m.y);
}

static void iriw_yx_seq_cst(void)
{
    r[2] = atomic_load_seq_cst(&m.y);
    r[3] = atomic_load_seq_cst(&m.x);
}

static void iriw_xy_acquire(void)
{
    r[0] = atomic_load_acquire(&m.x);
    r[1] = atomic_load_acquire(&m.y);
}

static void iriw_yx_acquire(void)
{
    r[2] = atomic_load_acquire(&m.y);
    r[3] = atomic_load_acquire(&m.x);
}

static void iriw_xy_fence(void)
{
    r[0] = atomic_load_relaxed(&m.x);
    atomic_fence_seq_cst();
    r[1] = atomic_load_relaxed(&m.y);
}

static void iriw_yx_fence(void)
{
    r[2] = atomic_load_relaxed(&m.y);
    atomic_fence_seq_cst();
    r[3] = atomic_load_relaxed(&m.x);
}

static void iriw_check(void)
{
    MODEL_ASSERT(!(r[0] == 1 && r[1] == 0 && r[2] == 1 && r[3] == 0));
}

/* Two actors write both variables in opposite order; which write is last? */
static void ww_a(void)
{
    atomic_store_relaxed(&m.x, 1);
    atomic_store_relaxed(&m.y, 2);
}

static void ww_b(void)
{
    atomic_store_relaxed(&m.y, 1);
    atomic_store_relaxed(&m.x, 2);
}

static void ww_fence_a(void)
{
    atomic_store_relaxed(&m.x, 1);
    atomic_fence_seq_cst();
    atomic_store_relaxed(&m.y, 2);
}

static void ww_fence_b(void)
{
    atomic_store_relaxed(&m.y, 1);
    atomic_fence_seq_cst();
    atomic_store_relaxed(&m.x, 2);
}

static void ww_check(void)
{
    MODEL_ASSERT(!(atomic_load_relaxed(&m.x) == 1 && atomic_load_relaxed(&m.y) == 1));
}

/* One location: values are never seen going back. */
static void coherence_writer(void)
{
    atomic_store_relaxed(&m.x, 1);
    atomic_store_relaxed(&m.x, 2);
}

static void coherence_reader(void)
{
    uint32_t a = atomic_load_relaxed(&m.x);
    uint32_t b = atomic_load_relaxed(&m.x);

    MODEL_ASSERT(a <= b);
    if (a == 0 && b == 2)
        model_reached("0 2");
    if (a == 1 && b == 2)
        model_reached("1 2");
}

/* ... not through a third actor either (read-read coherence over happens-before). */
static void coherence_relay(void)
{
    uint32_t a = atomic_load_relaxed(&m.x);

    r[0] = a;
    atomic_store_release(&m.y, a);
}

static void coherence_last(void)
{
    uint32_t a = atomic_load_acquire(&m.y);

    MODEL_ASSERT(atomic_load_relaxed(&m.x) >= a);
    if (a == 2)
        model_reached("relayed");
}

static const char *const coherence_results[] = {"0 2", "1 2", NULL};
static const char *const relay_results[] = {"relayed", NULL};

/* Increments are not lost, and pass on what came before them (release sequence). */
static void increment(void)
{
    atomic_fetch_add_relaxed(&m.x, 1);
}

static void increment_cas(void)
{
    uint32_t seen = atomic_load_relaxed(&m.x);

    while (!atomic_cas_relaxed(&m.x, &seen, seen + 1))
        ;
}

static void check_three(void)
{
    MODEL_ASSERT(atomic_load_relaxed(&m.x) == 3);
}

static void sequence_head(void)
{
    m.plain = 1;
    atomic_store_release(&m.x, 1);
}

static void sequence_middle(void)
{
    uint32_t one = 1;

    atomic_cas_relaxed(&m.x, &one, 2);
}

static void sequence_reader(void)
{
    if (atomic_load_acquire(&m.x) == 2) {
        MODEL_ASSERT(m.plain == 1);
        model_reached("read");
    }
}

/* A relaxed store is seen after a later one of another location: Dekker by exchange. */
static void late_store_writer(void)
{
    atomic_store_relaxed(&m.x, 1);
    atomic_store_relaxed(&m.y, 1);
}

static void late_store_taker(void)
{
    uint32_t zero = 0;

    if (atomic_load_relaxed(&m.y) == 1 && atomic_cas_acq_rel(&m.x, &zero, 2))
        r[0] = 1;
}

static void late_store_check(void)
{
    if (r[0] == 1) {
        MODEL_ASSERT(atomic_load_relaxed(&m.x) == 1);
        model_reached("overtaken");
    }
}

static const char *const late_results[] = {"overtaken", NULL};

/* Locks, sleeping, use after free. */
static void lock_user(void)
{
    lock_acquire(&m.lock);
    m.plain++;
    lock_release(&m.lock);
}

static void lock_check(void)
{
    MODEL_ASSERT(m.plain == 3);
    MODEL_ASSERT(atomic_load_relaxed(&m.lock.word) == 0);
}

static void sleeper(void)
{
    while (atomic_load_acquire(&m.x) == 0)
        futex_wait(&m.x, 0, INT64_MAX);
    MODEL_ASSERT(m.plain == 1);
}

static void waker(void)
{
    m.plain = 1;
    atomic_store_release(&m.x, 1);
    futex_wake(&m.x, 1);
}

static void waker_too_early(void)
{
    m.plain = 1;
    futex_wake(&m.x, 1);
    atomic_store_release(&m.x, 1);
}

static void spinner(void)
{
    while (atomic_load_acquire(&m.x) == 0)
        cpu_pause();
    MODEL_ASSERT(m.plain == 1);
}

static void stays_away(void)
{
}

static void free_setup(void)
{
    m.pointer = memory_alloc(sizeof *m.pointer);
}

static void free_user(void)
{
    if (atomic_load_relaxed(&m.x) == 0)
        r[0] = (uint32_t)*m.pointer;
}

static void free_owner(void)
{
    atomic_store_relaxed(&m.x, 1);
    memory_free(m.pointer);
}

/* A field that is initialised anew while others look at it. */
static void init_again(void)
{
    atomic_init(&m.x, 7);
    atomic_store_release(&m.y, 1);
}

static void init_reader(void)
{
    if (atomic_load_acquire(&m.y) == 1) {
        MODEL_ASSERT(atomic_load_relaxed(&m.x) == 7);
        model_reached("read");
    }
}

static void init_careless_reader(void)
{
    r[0] = atomic_load_relaxed(&m.x);
}

static MODEL_SHARED struct model_queue queue;

static void queue_producer(void)
{
    m.plain++;
    model_queue_push(&queue, &m.plain);
}

static void queue_consumer(void)
{
    int *first = model_queue_take(&queue);

    MODEL_ASSERT(first == &m.plain && *first == 1);
}

#define PAIR(a, b)                                                                                                     \
    {                                                                                                                  \
        {#a, a},                                                                                                       \
        {                                                                                                              \
#b, b                                                                                                      \
        }                                                                                                              \
    }

static const struct model models[] = {
    {.name = "sb-relaxed",
     .actors = PAIR(sb_relaxed_a, sb_relaxed_b),
     .check = check_all_results,
     .reaches = all_results,
     .quick = {2, 2, 0}},
    {.name = "sb-release-acquire",
     .actors = PAIR(sb_release_a, sb_release_b),
     .check = check_all_results,
     .reaches = all_results,
     .quick = {2, 2, 0}},
    {.name = "sb-exchange",
     .actors = PAIR(sb_exchange_a, sb_exchange_b),
     .check = check_all_results,
     .reaches = all_results,
     .quick = {2, 2, 0}},
    {.name = "sb-fences",
     .actors = PAIR(sb_fence_a, sb_fence_b),
     .check = check_not_0_0,
     .reaches = not_0_0,
     .quick = {4, 4, 0},
     .mutants = MUTANTS({MODEL_WEAKEN, "sb_fence_a", "fence", NULL}, {MODEL_WEAKEN, "sb_fence_b", "fence", NULL})},
    {.name = "sb-seq-cst",
     .actors = PAIR(sb_seq_cst_a, sb_seq_cst_b),
     .check = check_not_0_0,
     .reaches = not_0_0,
     .quick = {4, 4, 0},
     .mutants = MUTANTS({MODEL_WEAKEN, "sb_seq_cst_a", "load", NULL}, {MODEL_WEAKEN, "sb_seq_cst_b", "store", NULL})},
    {.name = "sb-seq-cst-store",
     .actors = PAIR(sb_seq_cst_store_a, sb_seq_cst_b),
     .check = check_all_results,
     .reaches = all_results,
     .quick = {2, 2, 0}},
    {.name = "dekker-light-heavy",
     .actors = PAIR(sb_light_a, sb_heavy_b),
     .check = check_not_0_0,
     .reaches = not_0_0,
     .quick = {4, 4, 0},
     .mutants = MUTANTS({MODEL_WEAKEN, "sb_heavy_b", "heavy", NULL})},
    {.name = "dekker-light-light",
     .actors = PAIR(sb_light_a, sb_light_b),
     .check = check_not_0_0,
     .fails = "does not hold",
     .quick = {1, 1, 0}},
    {.name = "dekker-light-fence",
     .actors = PAIR(sb_light_a, sb_fence_b),
     .check = check_not_0_0,
     .fails = "does not hold",
     .quick = {1, 1, 0}},
    {.name = "mp",
     .actors = PAIR(mp_writer, mp_reader),
     .check = check_not_1_0,
     .reaches = not_1_0,
     .quick = {4, 4, 0},
     .mutants = MUTANTS({MODEL_WEAKEN, "mp_writer", "store", NULL}, {MODEL_WEAKEN, "mp_reader", "load", NULL})},
    {.name = "mp-relaxed",
     .actors = PAIR(mp_writer_relaxed, mp_reader_relaxed),
     .check = check_all_results,
     .reaches = all_results,
     .quick = {2, 2, 0}},
    {.name = "mp-relaxed-reader",
     .actors = PAIR(mp_writer, mp_reader_relaxed),
     .check = check_all_results,
     .reaches = all_results,
     .quick = {2, 2, 0}},
    {.name = "mp-fences",
     .actors = PAIR(mp_writer_fence, mp_reader_fence),
     .check = check_not_1_0,
     .reaches = not_1_0,
     .quick = {4, 4, 0},
     .mutants =
         MUTANTS({MODEL_WEAKEN, "mp_writer_fence", "fence", NULL}, {MODEL_WEAKEN, "mp_reader_fence", "fence", NULL})},
    {.name = "mp-fence-acquire",
     .actors = PAIR(mp_writer_fence, mp_reader),
     .check = check_not_1_0,
     .reaches = not_1_0,
     .quick = {4, 4, 0}},
    {.name = "mp-plain",
     .actors = PAIR(plain_writer, plain_reader),
     .reaches = plain_results,
     .quick = {4, 4, 0},
     .mutants = MUTANTS({MODEL_WEAKEN, "plain_writer", "store", NULL}, {MODEL_WEAKEN, "plain_reader", "load", NULL})},
    {.name = "lb", .actors = PAIR(lb_a, lb_b), .check = check_all_results, .reaches = not_1_1, .quick = {2, 2, 0}},
    {.name = "iriw-seq-cst",
     .check = iriw_check,
     .quick = {3, 3, 0},
     .actors = {{"write_x", iriw_write_x},
                {"write_y", iriw_write_y},
                {"read_xy", iriw_xy_seq_cst},
                {"read_yx", iriw_yx_seq_cst}},
     .mutants = MUTANTS({MODEL_WEAKEN, "iriw_xy_seq_cst", "load", "m.y"})},
    {.name = "iriw-fences",
     .check = iriw_check,
     .quick = {3, 3, 0},
     .actors =
         {{"write_x", iriw_write_x}, {"write_y", iriw_write_y}, {"read_xy", iriw_xy_fence}, {"read_yx", iriw_yx_fence}},
     .mutants = MUTANTS({MODEL_WEAKEN, "iriw_xy_fence", "fence", NULL})},
    {.name = "iriw-acquire",
     .check = iriw_check,
     .fails = "does not hold",
     .quick = {2, 2, 0},
     .actors = {{"write_x", iriw_write_x},
                {"write_y", iriw_write_y},
                {"read_xy", iriw_xy_acquire},
                {"read_yx", iriw_yx_acquire}}},
    {.name = "2+2w", .actors = PAIR(ww_a, ww_b), .check = ww_check, .fails = "does not hold", .quick = {2, 2, 0}},
    {.name = "2+2w-fences",
     .actors = PAIR(ww_fence_a, ww_fence_b),
     .check = ww_check,
     .quick = {4, 4, 0},
     .mutants = MUTANTS({MODEL_WEAKEN, "ww_fence_a", "fence", NULL})},
    {.name = "coherence",
     .actors = PAIR(coherence_writer, coherence_reader),
     .reaches = coherence_results,
     .quick = {4, 4, 0}},
    {.name = "coherence-relay",
     .reaches = relay_results,
     .quick = {4, 4, 0},
     .actors = {{"writer", coherence_writer}, {"relay", coherence_relay}, {"last", coherence_last}},
     .mutants =
         MUTANTS({MODEL_WEAKEN, "coherence_relay", "store", NULL}, {MODEL_WEAKEN, "coherence_last", "load", NULL})},
    {.name = "increments",
     .check = check_three,
     .quick = {4, 4, 0},
     .actors = {{"a", increment}, {"b", increment_cas}, {"c", increment}},
     .mutants = MUTANTS({MODEL_SPLIT, "increment", "fetch", NULL}, {MODEL_SPLIT, "increment_cas", "cas", NULL})},
    {.name = "release-sequence",
     .reaches = plain_results,
     .quick = {4, 4, 0},
     .actors = {{"head", sequence_head}, {"middle", sequence_middle}, {"reader", sequence_reader}},
     .mutants = MUTANTS({MODEL_WEAKEN, "sequence_head", "store", NULL}, {MODEL_SPLIT, "sequence_middle", "cas", NULL})},
    {.name = "late-store",
     .actors = PAIR(late_store_writer, late_store_taker),
     .check = late_store_check,
     .reaches = late_results,
     .quick = {2, 2, 0}},
    {.name = "lock",
     .check = lock_check,
     .quick = {2, 2, 0},
     .deep = {4, 4, 1},
     .actors = {{"a", lock_user}, {"b", lock_user}, {"c", lock_user}},
     .mutants = MUTANTS({MODEL_WEAKEN, "lock_release", "exchange", NULL}, {MODEL_WEAKEN, "lock_try", "cas", NULL},
                        {MODEL_WEAKEN, "lock_acquire_slow", "exchange", NULL}, {MODEL_SPLIT, "lock_try", "cas", NULL},
                        {MODEL_SPLIT, "lock_release", "exchange", NULL}, {MODEL_DROP, "futex_wake", "wake", NULL})},
    {.name = "sleep",
     .actors = PAIR(sleeper, waker),
     .quick = {4, 4, 1},
     .mutants = MUTANTS({MODEL_WEAKEN, "waker", "store", NULL}, {MODEL_DROP, "futex_wake", "wake", NULL})},
    {.name = "sleep-woken-too-early",
     .actors = PAIR(sleeper, waker_too_early),
     .fails = "deadlock",
     .quick = {2, 2, 0}},
    {.name = "spin",
     .actors = PAIR(spinner, waker),
     .quick = {3, 3, 0},
     .mutants = MUTANTS({MODEL_WEAKEN, "spinner", "load", NULL})},
    {.name = "spin-for-nothing", .actors = PAIR(spinner, stays_away), .fails = "deadlock", .quick = {2, 2, 0}},
    {.name = "use-after-free",
     .actors = PAIR(free_user, free_owner),
     .setup = free_setup,
     .fails = "race",
     .quick = {2, 2, 0}},
    {.name = "initialised-again",
     .actors = PAIR(init_again, init_reader),
     .reaches = plain_results,
     .quick = {3, 3, 0},
     .mutants = MUTANTS({MODEL_WEAKEN, "init_again", "store", NULL})},
    {.name = "initialised-under-a-reader",
     .actors = PAIR(init_again, init_careless_reader),
     .fails = "race",
     .quick = {1, 1, 0}},
    {.name = "queue", .actors = PAIR(queue_producer, queue_consumer), .quick = {3, 3, 0}},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
