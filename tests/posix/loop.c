/* SPDX-License-Identifier: MIT */
/* The runtime is made of libevent, whose calls are not hooked; but a program may run loops of its own on virtual
 * threads. */
#include "posix_test.h"

#include <event2/event.h>

static void on_byte(evutil_socket_t fd, short what, void *arg)
{
    char byte;

    (void)what;
    (void)arg;
    CHECK_EQ(read(fd, &byte, 1), 1);
}

static void *run_loop(void *arg)
{
    struct event_base *base = event_base_new();
    struct event *event = event_new(base, (int)(intptr_t)arg, EV_READ, on_byte, NULL);

    CHECK(base != NULL && event != NULL);
    CHECK_EQ(event_add(event, NULL), 0);
    CHECK_EQ(event_base_dispatch(base), 1); /* no event is left */
    event_free(event);
    event_base_free(base);
    return NULL;
}

static void test_loops_park(void)
{
    enum { LOOPS = 20 };
    int fds[LOOPS][2];
    vthread_t t[LOOPS];

    for (int i = 0; i < LOOPS; i++) {
        make_pair((enum kind)(i % KINDS), fds[i]);
        t[i] = spawn(run_loop, fds[i][0]);
    }
    for (int i = 0; i < LOOPS; i++)
        await_parked(t[i]);
    for (int i = 0; i < LOOPS; i++) {
        CHECK_EQ(write(fds[i][1], "x", 1), 1);
        join(t[i]);
        plain_close_pair(fds[i]);
    }
}

int main(void)
{
    static const struct test tests[] = {
        {"loops park", test_loops_park, false},
        {NULL, NULL, false},
    };

    CHECK(vthread_has("posix"));
    return run_tests(tests);
}
