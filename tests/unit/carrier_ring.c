/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "carrier/ring.h"
#include "carrier/task.h"

TestSuite(ring, .timeout = 60);

enum { MANY = 100000 };

static struct task tasks[MANY];
static struct ring ring;

static void begin(void)
{
    barrier_init();
    cr_assert(ring_init(&ring));
}

static void push(int from, int to)
{
    for (int i = from; i < to; i++)
        cr_assert(ring_push(&ring, &tasks[i]));
}

static void take(int from, int to)
{
    for (int i = from; i < to; i++)
        cr_assert_eq(ring_take(&ring), &tasks[i]);
}

Test(ring, empty)
{
    begin();
    cr_assert_null(ring_take(&ring));
    cr_assert_eq(ring_count(&ring), 0);
    cr_assert_null(ring_peek(&ring, 0));
    ring_fini(&ring);
}

Test(ring, first_in_first_out)
{
    begin();
    push(0, 10);
    cr_assert_eq(ring_count(&ring), 10);
    take(0, 10);
    cr_assert_null(ring_take(&ring));
    ring_fini(&ring);
}

Test(ring, peek_looks_ahead)
{
    begin();
    push(0, 3);
    cr_assert_eq(ring_peek(&ring, 0), &tasks[0]);
    cr_assert_eq(ring_peek(&ring, 2), &tasks[2]);
    cr_assert_null(ring_peek(&ring, 3));
    take(0, 3);
    ring_fini(&ring);
}

Test(ring, goes_round)
{
    begin();
    for (int i = 0; i + 10 < MANY; i += 10) {
        push(i, i + 10);
        take(i, i + 10);
    }
    cr_assert_eq(ring.capacity, RING_INITIAL_CAPACITY, "it never had more than ten");
    ring_fini(&ring);
}

Test(ring, grows_in_the_middle_of_a_round)
{
    begin();
    push(0, 200);
    take(0, 150);
    push(200, MANY); /* the first that do not fit lie across the end */
    cr_assert_geq(ring.capacity, (uint32_t)(MANY - 150));
    take(150, MANY);
    cr_assert_null(ring_take(&ring));
    ring_fini(&ring);
}

static size_t resident_pages(void)
{
    static unsigned char resident[MANY * sizeof(void *) / PAGE_BYTES * 2];
    char *from = (char *)(((uintptr_t)ring.slots + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES);
    size_t pages = (size_t)((char *)(ring.slots + ring.capacity) - from) / PAGE_BYTES;
    size_t count = 0;

    cr_assert_leq(pages, sizeof resident);
    cr_assert_eq(mincore(from, pages * PAGE_BYTES, resident), 0);
    for (size_t i = 0; i < pages; i++)
        count += resident[i] & 1;
    return count;
}

Test(ring, gives_memory_back_once_it_is_empty)
{
    size_t before;

    begin();
    push(0, MANY);
    take(0, MANY - 1);
    before = resident_pages();
    cr_assert_gt(before, MANY * sizeof(void *) / PAGE_BYTES / 2);
    ring_trim(&ring); /* not empty */
    cr_assert_eq(resident_pages(), before);
    take(MANY - 1, MANY);
    ring_trim(&ring);
    cr_assert_eq(resident_pages(), 0);
    push(0, MANY);
    take(0, MANY);
    ring_fini(&ring);
}

Test(ring, room_can_be_made_ahead)
{
    begin();
    push(0, 5);
    cr_assert(ring_grow(&ring, 5000));
    cr_assert_geq(ring.capacity, 5005);
    take(0, 5);
    ring_fini(&ring);
}

static bool fail_always(enum fault_site site)
{
    (void)site;
    return true;
}

Test(ring, without_memory_nothing_is_lost)
{
    begin();
    push(0, RING_INITIAL_CAPACITY);
    fault_set_hook(fail_always);
    cr_assert_not(ring_push(&ring, &tasks[RING_INITIAL_CAPACITY]));
    cr_assert_not(ring_grow(&ring, 1));
    fault_set_hook(NULL);
    cr_assert_eq(ring_count(&ring), RING_INITIAL_CAPACITY);
    push(RING_INITIAL_CAPACITY, RING_INITIAL_CAPACITY + 1);
    take(0, RING_INITIAL_CAPACITY + 1);
    ring_fini(&ring);
}

Test(ring, without_memory_there_is_no_ring)
{
    fault_set_hook(fail_always);
    cr_assert_not(ring_init(&ring));
    fault_set_hook(NULL);
}

/* ---- steal ---- */

Test(ring, steals_half_rounded_up_oldest_first)
{
    struct task *into[100];

    begin();
    cr_assert_eq(ring_steal(&ring, into, 100), RING_EMPTY);
    for (int n = 1; n <= 50; n++) {
        push(0, n);
        cr_assert_eq(ring_steal(&ring, into, 100), (n + 1) / 2);
        for (int i = 0; i < (n + 1) / 2; i++)
            cr_assert_eq(into[i], &tasks[i]);
        take((n + 1) / 2, n);
    }
    ring_fini(&ring);
}

Test(ring, steals_no_more_than_asked_for)
{
    struct task *into[7];

    begin();
    push(0, 100);
    cr_assert_eq(ring_steal(&ring, into, 7), 7);
    take(7, 100);
    ring_fini(&ring);
}

Test(ring, a_thief_does_not_wait_for_another)
{
    struct task *into[10];

    begin();
    push(0, 10);
    lock_acquire(&ring.lock);
    cr_assert_eq(ring_steal(&ring, into, 10), RING_BUSY);
    lock_release(&ring.lock);
    cr_assert_eq(ring_steal(&ring, into, 10), 5);
    ring_fini(&ring);
}

Test(ring, a_thief_does_not_wait_for_the_owner)
{
    struct task *into[10];

    begin();
    push(0, 10);
    atomic_store_relaxed(&ring.owner_inside, 1); /* as if it had been preempted there */
    cr_assert_eq(ring_steal(&ring, into, 10), RING_BUSY);
    atomic_store_relaxed(&ring.owner_inside, 0);
    take(0, 10);
    ring_fini(&ring);
}

/* Every task comes out once, whoever gets it. */
static ATOMIC(uint32_t) seen[MANY];
static ATOMIC(uint32_t) stop;

static void see(struct task *task)
{
    atomic_fetch_add_relaxed(&seen[task - tasks], 1);
}

static void *steal_all_the_time(void *arg)
{
    struct task *into[64];

    while (atomic_load_acquire(&stop) == 0 || ring_count(&ring) > 0) {
        int n = ring_steal(&ring, into, 1 + (uint32_t)(uintptr_t)arg * 20);

        for (int i = 0; i < n; i++)
            see(into[i]);
        if (n <= 0)
            sched_yield();
    }
    return NULL;
}

Test(ring, each_task_comes_out_once)
{
    pthread_t thieves[3];
    struct task *task;
    int pushed = 0;

    begin();
    for (int i = 0; i < 3; i++)
        cr_assert_eq(pthread_create(&thieves[i], NULL, steal_all_the_time, (void *)(uintptr_t)i), 0);
    while (pushed < MANY) {
        for (int i = 0; i < 37 && pushed < MANY; i++, pushed++)
            cr_assert(ring_push(&ring, &tasks[pushed]));
        for (int i = 0; i < 17 && (task = ring_take(&ring)) != NULL; i++)
            see(task);
        if (pushed % (37 * 20) == 0)
            sched_yield();
    }
    atomic_store_release(&stop, 1);
    while ((task = ring_take(&ring)) != NULL)
        see(task);
    for (int i = 0; i < 3; i++)
        pthread_join(thieves[i], NULL);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(atomic_load_relaxed(&seen[i]), 1, "task %d came out %u times", i, atomic_load_relaxed(&seen[i]));
    ring_fini(&ring);
}
