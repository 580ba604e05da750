/* SPDX-License-Identifier: MIT */
/* Readers and a writer. */
#include "sync_help.h"

TestSuite(rwlock, .fini = help_fini, .timeout = 60);

static struct help_messages messages;
static vthread_rwlock_t rwlock = VTHREAD_RWLOCK_INITIALIZER;
static struct order order;

Test(rwlock, init)
{
    vthread_rwlockattr_t attr = {{0}};
    vthread_rwlock_t l;

    cr_assert_eq(vthread_rwlock_init(NULL, NULL), EINVAL);
    cr_assert_eq(vthread_rwlock_init(&l, NULL), 0);
    cr_assert_eq(vthread_rwlock_init(&l, &attr), 0);
    cr_assert_eq(vthread_rwlock_destroy(&l), 0);
    attr.reserved[0] = 1;
    cr_assert_eq(vthread_rwlock_init(&l, &attr), EINVAL);
}

static void *alone(void *arg)
{
    (void)arg;
    CHECK(vthread_rwlock_unlock(&rwlock) == EPERM);
    CHECK(vthread_rwlock_rdlock(&rwlock) == 0);
    CHECK(vthread_rwlock_rdlock_until(&rwlock, VTHREAD_NOW) == 0);
    CHECK(vthread_rwlock_rdlock_interruptible(&rwlock) == 0);
    CHECK(vthread_rwlock_tryrdlock(&rwlock) == 0);
    CHECK(vthread_rwlock_trywrlock(&rwlock) == EBUSY);
    CHECK(vthread_rwlock_wrlock_until(&rwlock, VTHREAD_NOW) == ETIMEDOUT);
    CHECK(vthread_rwlock_destroy(&rwlock) == EBUSY);
    for (int i = 0; i < 4; i++)
        CHECK(vthread_rwlock_unlock(&rwlock) == 0);
    CHECK(vthread_rwlock_unlock(&rwlock) == EPERM);
    CHECK(vthread_rwlock_wrlock(&rwlock) == 0);
    CHECK(vthread_rwlock_tryrdlock(&rwlock) == EBUSY);
    CHECK(vthread_rwlock_trywrlock(&rwlock) == EBUSY);
    CHECK(vthread_rwlock_wrlock(&rwlock) == EDEADLK);
    CHECK(vthread_rwlock_rdlock(&rwlock) == EDEADLK);
    CHECK(vthread_rwlock_rdlock_until(&rwlock, VTHREAD_NOW) == EDEADLK);
    CHECK(vthread_rwlock_destroy(&rwlock) == EBUSY);
    CHECK(vthread_rwlock_unlock(&rwlock) == 0);
    CHECK(vthread_rwlock_trywrlock(&rwlock) == 0);
    CHECK(vthread_rwlock_unlock(&rwlock) == 0);
    CHECK(vthread_rwlock_wrlock_interruptible(&rwlock) == 0);
    CHECK(vthread_rwlock_unlock(&rwlock) == 0);
    CHECK(vthread_rwlock_wrlock_until(&rwlock, VTHREAD_NOW) == 0);
    CHECK(vthread_rwlock_unlock(&rwlock) == 0);
    CHECK(vthread_rwlock_destroy(&rwlock) == 0);
    return NULL;
}

Test(rwlock, alone)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], alone, NULL);
    cr_assert_eq(atomic_load(&messages.count), 5 * KINDS);
    cr_assert_not_null(strstr(messages.last, "vthread_rwlock_rdlock_until"), "%s", messages.last);
}

static void *unlock_it(void *arg)
{
    CHECK(vthread_rwlock_unlock(&rwlock) == (int)(intptr_t)arg);
    return NULL;
}

Test(rwlock, only_the_writer_unlocks)
{
    vthread_set_misuse_handler(help_keep_message, &messages);
    cr_assert_eq(vthread_rwlock_wrlock(&rwlock), 0);
    for (int i = 0; i < KINDS; i++)
        help_run_with(&kinds[i], unlock_it, (void *)EPERM);
    cr_assert_not_null(strstr(messages.last, "writing"), "%s", messages.last);
    cr_assert_eq(vthread_rwlock_unlock(&rwlock), 0);
}

static void *read_in_turn(void *arg)
{
    CHECK(vthread_rwlock_rdlock(&rwlock) == 0);
    order_note(&order, (int)(intptr_t)arg);
    CHECK(EVENTUALLY_HERE(atomic_load(&order.n) % 10 == 0 || atomic_load(&order.n) == 3)); /* all in a row together */
    CHECK(vthread_rwlock_unlock(&rwlock) == 0);
    return NULL;
}

static void *write_in_turn(void *arg)
{
    CHECK(vthread_rwlock_wrlock(&rwlock) == 0);
    order_note(&order, (int)(intptr_t)arg);
    CHECK(vthread_rwlock_unlock(&rwlock) == 0);
    return NULL;
}

/* 3 readers, a writer, 6 readers: the first go together, and the last when the writer is through. */
Test(rwlock, in_the_order_of_coming)
{
    vthread_t threads[10];

    vthread_rwlock_wrlock(&rwlock);
    for (int i = 0; i < 10; i++) {
        threads[i] = help_start_with(&kinds[i % KINDS], i == 3 ? write_in_turn : read_in_turn, (void *)(intptr_t)i);
        cr_assert(WAITS(threads[i]));
    }
    vthread_rwlock_unlock(&rwlock);
    for (int i = 0; i < 10; i++)
        help_join(threads[i]);
    cr_assert_eq(order.who[3], 3);
    for (int i = 0; i < 3; i++)
        cr_assert_lt(order.who[i], 3);
}

/* Readers overlap for ever, but a writer who has come is not passed. */
Test(rwlock, readers_do_not_starve_a_writer)
{
    vthread_t writer, reader;

    cr_assert_eq(vthread_rwlock_rdlock(&rwlock), 0);
    writer = help_start(write_in_turn, (void *)1);
    cr_assert(WAITS(writer));
    reader = help_start(read_in_turn, (void *)2);
    cr_assert(WAITS(reader), "behind the writer");
    cr_assert_eq(vthread_rwlock_tryrdlock(&rwlock), 0, "which does not wait");
    atomic_store(&order.n, 8); /* the reader goes on when both were there */
    cr_assert_eq(vthread_rwlock_unlock(&rwlock), 0);
    cr_assert(is_waiting(writer));
    cr_assert_eq(vthread_rwlock_unlock(&rwlock), 0);
    help_join(writer);
    help_join(reader);
    cr_assert_eq(order.who[8], 1);
    cr_assert_eq(order.who[9], 2);
}

static void *write_until(void *arg)
{
    CHECK(vthread_rwlock_wrlock_until(&rwlock, vthread_after_ms(60000)) == (int)(intptr_t)arg);
    return NULL;
}

static void *read_plainly(void *arg)
{
    (void)arg;
    CHECK(vthread_rwlock_rdlock(&rwlock) == 0);
    CHECK(vthread_rwlock_unlock(&rwlock) == 0);
    return NULL;
}

/* A writer that gives up has kept readers waiting for nothing. */
Test(rwlock, a_writer_that_gives_up_lets_readers_in)
{
    for (int i = 0; i < KINDS; i++) {
        vthread_t writer, readers[KINDS];

        cr_assert_eq(vthread_rwlock_rdlock(&rwlock), 0);
        writer = help_start_with(&kinds[i], write_until, (void *)EINTR);
        cr_assert(WAITS(writer));
        for (int j = 0; j < KINDS; j++) {
            readers[j] = help_start_with(&kinds[j], read_plainly, NULL);
            cr_assert(WAITS(readers[j]));
        }
        vthread_interrupt(writer);
        help_join(writer);
        for (int j = 0; j < KINDS; j++)
            help_join(readers[j]);
        cr_assert_eq(vthread_rwlock_unlock(&rwlock), 0);
        cr_assert_eq(vthread_rwlock_destroy(&rwlock), 0);
    }
}

/* ---- exclusion ---- */

static _Atomic int inside; /* readers, or -1 */
static int plain[2];
enum { ROUNDS = 3000, THREADS = 12 };

static void *read_and_write(void *arg)
{
    uint32_t random = (uint32_t)(intptr_t)arg + 1;

    for (int i = 0; i < ROUNDS; i++) {
        random = random * 1664525 + 1013904223;
        if (random >> 30 != 0) {
            CHECK(vthread_rwlock_rdlock(&rwlock) == 0);
            CHECK(atomic_fetch_add(&inside, 1) >= 0);
            CHECK(plain[0] == plain[1]);
            if (i % 32 == 0)
                vthread_yield();
            atomic_fetch_sub(&inside, 1);
        } else {
            CHECK(vthread_rwlock_wrlock(&rwlock) == 0);
            CHECK(atomic_fetch_sub(&inside, 1) == 0);
            plain[0]++;
            if (i % 32 == 0)
                vthread_yield();
            plain[1]++;
            atomic_fetch_add(&inside, 1);
        }
        CHECK(vthread_rwlock_unlock(&rwlock) == 0);
    }
    return NULL;
}

Test(rwlock, exclude)
{
    vthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        threads[i] = help_start_with(&kinds[i % KINDS], read_and_write, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++)
        help_join(threads[i]);
    cr_assert_eq(plain[0], plain[1]);
    cr_assert_eq(vthread_rwlock_destroy(&rwlock), 0);
}
