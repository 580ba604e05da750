/* SPDX-License-Identifier: MIT */
/* Calls from a carrier's own stack, as callbacks of a poller make them: nothing there may wait. */
#include "vthread_help.h"

#undef atomic_init /* of <stdatomic.h> */
#include "base/futex.h"
#include "carrier/carrier.h"

TestSuite(callback, .fini = help_fini, .timeout = 60);

static ATOMIC(uint32_t) woken;
static void *(*_Atomic called)(void); /* what the poller is to call, once */
static _Atomic uintptr_t wrong;
static atomic_int calls;
static vthread_t other;

static void call(void)
{
    void *(*fn)(void) = atomic_exchange(&called, NULL);

    if (fn == NULL)
        return;
    atomic_store(&wrong, (uintptr_t)fn());
    atomic_fetch_add(&calls, 1);
}

static void poll_and_call(struct poller *poller, int64_t deadline_ns, struct task_list *ready)
{
    (void)poller, (void)ready;
    call();
    if (deadline_ns != 0)
        futex_wait(&woken, 0, deadline_ns);
    atomic_store_relaxed(&woken, 0);
}

static void wake_poller(struct poller *poller)
{
    (void)poller;
    atomic_exchange_acq_rel(&woken, 1);
    futex_wake(&woken, 1);
}

static void close_poller(struct poller *poller)
{
    (void)poller;
}

static struct poller poller = {.poll = poll_and_call, .wake = wake_poller, .close = close_poller};

/* Have fn called on the stack of a carrier; it finds nothing wrong. */
static void call_on_carrier(void *(*fn)(void))
{
    int before = atomic_load(&calls);

    help_configure(1);
    other = help_start(help_park_for_ever, NULL);
    cr_assert(REACHES(other, VTHREAD_PARKED));
    atomic_store(&called, fn);
    pool_set_poller(&poller);
    cr_assert(EVENTUALLY(atomic_load(&calls) == before + 1));
    cr_assert_eq(atomic_load(&wrong), 0, "%s", (const char *)atomic_load(&wrong));
    vthread_interrupt(other);
    help_join(other);
    help_shutdown();
}

static uint64_t refused(void)
{
    vthread_pin_stats_t stats[VTHREAD_PIN_KINDS];

    return vthread_runtime_pin_stats(stats) == 0 ? stats[VTHREAD_PIN_CALLBACK].parks : UINT64_MAX;
}

static void *wait_for_something(void)
{
    vthread_runtime_stats_t stats;
    void *value = NULL;
    uint64_t before = refused();

    CHECK(carrier_self() != NULL);
    CHECK(vthread_park() == EDEADLK && refused() == before + 1);
    CHECK(vthread_self() == NULL);
    CHECK(vthread_park() == EDEADLK);
    CHECK(vthread_park_until(vthread_after_ms(1)) == EDEADLK);
    CHECK(vthread_park_until(VTHREAD_NOW) == EDEADLK);
    CHECK(vthread_park_on(&value) == EDEADLK);
    CHECK(vthread_park_on_until(&value, VTHREAD_FOREVER) == EDEADLK);
    CHECK(vthread_sleep_ns(1) == EDEADLK);
    CHECK(vthread_sleep_ms(60000) == EDEADLK);
    CHECK(vthread_sleep_until(VTHREAD_FOREVER) == EDEADLK);
    CHECK(vthread_join(other, &value) == EDEADLK);
    CHECK(vthread_join_until(other, &value, vthread_after_ms(1)) == EDEADLK);
    CHECK(vthread_runtime_shutdown(VTHREAD_NOW) == EDEADLK);
    CHECK(value == NULL);
    CHECK(refused() >= before + 10);
    CHECK(vthread_runtime_stats(&stats) == 0 && stats.pinned_parks == 0); /* nobody was blocked */
    return NULL;
}

Test(callback, nothing_waits_on_a_carriers_own_stack)
{
    call_on_carrier(wait_for_something);
}

static void *call_what_does_not_wait(void)
{
    char name[32];

    vthread_yield();
    vthread_checkpoint();
    vthread_spin_hint();
    CHECK(vthread_sleep_ns(0) == 0);
    CHECK(!vthread_interrupted());
    CHECK(!vthread_is_pinned(NULL));
    CHECK(vthread_pin("a test") == 0 && vthread_unpin() == 0);
    CHECK(vthread_blocking_begin("a test") == 0 && vthread_blocking_end() == 0);
    CHECK(vthread_fail(EIO) == NULL);
    CHECK(vthread_is_alive(other));
    CHECK(vthread_state(other) == VTHREAD_PARKED);
    CHECK(vthread_name(other, name, sizeof name) == 0);
    CHECK(vthread_ref(other) == 0 && vthread_unref(other) == 0);
    CHECK(vthread_runtime_stats(NULL) == 0);
    return NULL;
}

Test(callback, what_does_not_wait_works)
{
    call_on_carrier(call_what_does_not_wait);
}
