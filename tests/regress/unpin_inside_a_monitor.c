/* SPDX-License-Identifier: MIT */
/* vthread_unpin without a pin of one's own took that of a monitor away: the thread went on inside on any carrier. */
#include "regress.h"

#include <sys/syscall.h>

#include <vthread/sync.h>

static vthread_monitor_t monitor = VTHREAD_MONITOR_INITIALIZER;

static void ignore(const char *message, void *user)
{
    (void)message, (void)user;
}

static void *inside(void *arg)
{
    long os_thread;

    EXPECT(vthread_monitor_enter(&monitor) == 0);
    os_thread = syscall(SYS_gettid);
    EXPECT(vthread_unpin() == EINVAL);
    EXPECT(vthread_is_pinned(NULL));
    for (int i = 0; i < 100; i++) {
        vthread_sleep_ns(1000);
        EXPECT(os_thread == syscall(SYS_gettid));
    }
    EXPECT(vthread_monitor_exit(&monitor) == 0);
    EXPECT(!vthread_is_pinned(NULL));
    return arg;
}

int main(void)
{
    vthread_t threads[8];

    regress_configure(2, 0);
    vthread_set_misuse_handler(ignore, NULL);
    for (int i = 0; i < 8; i++)
        EXPECT(vthread_create(&threads[i], NULL, inside, NULL) == 0);
    for (int i = 0; i < 8; i++)
        EXPECT(vthread_join(threads[i], NULL) == 0);
    return regress_end();
}
