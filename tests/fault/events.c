/* SPDX-License-Identifier: MIT */
/* Subscribing and reporting without memory or threads: said, or counted as lost, and nothing else suffers. */
#include "fault.h"

static atomic_int told;
static atomic_int lost;

static void on_event(const vthread_event_t *e, void *user)
{
    (void)user;
    atomic_fetch_add(&told, 1);
    atomic_fetch_add(&lost, (int)e->lost);
}

static void *wait_pinned(void *arg)
{
    EXPECT(vthread_pin("fault") == 0);
    EXPECT(vthread_sleep_ns(1000) == 0);
    EXPECT(vthread_unpin() == 0);
    return arg;
}

static int subscribe(void)
{
    uint64_t id = 0;
    int error = vthread_event_subscribe(VTHREAD_EVENT_ALL, on_event, NULL, &id);

    EXPECT(error == 0 || id == 0);
    return error == 0 ? vthread_event_unsubscribe(id) : error;
}

static int report(void)
{
    vthread_t t = NULL;
    int error = vthread_create(&t, NULL, wait_pinned, NULL);

    return error == 0 ? vthread_join(t, NULL) : error;
}

static void check(int error)
{
    uint64_t id;

    (void)error;
    EXPECT(vthread_event_subscribe(VTHREAD_EVENT_PINNED, on_event, NULL, &id) == 0);
    EXPECT(report() == 0);
    EXPECT(vthread_event_unsubscribe(id) == 0);
    EXPECT(atomic_exchange(&told, 0) > 0);
}

/* A trace that cannot be started is said, and the program goes on without. */
static void ignore(const char *message, void *user)
{
    (void)message, (void)user;
}

static void check_shutdown(int error)
{
    (void)error;
    fault_check_shutdown();
}

int main(void)
{
    uint64_t id;
    int reports = 0;

    setenv("VTHREAD_PINNED_MS", "0", 1);
    fault_each("subscribe", SITES_ALL, 1, false, subscribe, check);
    EXPECT(vthread_event_subscribe(VTHREAD_EVENT_PINNED, on_event, NULL, &id) == 0);
    atomic_store(&told, 0);
    atomic_store(&lost, 0);
    /* Over again if need be: what the teller asks for in between may be what fails, rather than the event's. */
    for (int n = 1, rounds = 1; rounds < 100; n++) {
        fault_begin(SITES_MEMORY, n, 1, false);
        reports += report() == 0;
        if (fault_end())
            continue;
        if (atomic_load(&lost) > 0)
            break;
        rounds++;
        n = 0;
    }
    EXPECT(report() == 0);
    EXPECT(vthread_event_unsubscribe(id) == 0);
    EXPECT(atomic_load(&told) + atomic_load(&lost) == reports + 1);
    EXPECT(atomic_load(&lost) > 0);
    fault_check_works();
    setenv("VTHREAD_TRACE_PINNED", "short", 1);
    setenv("VTHREAD_PINNED_MS", "100000", 1);
    fault_check_shutdown();
    vthread_set_misuse_handler(ignore, NULL);
    fault_each("start with traces", SITES_ALL, 1, false, report, check_shutdown);
    return 0;
}
