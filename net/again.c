/* SPDX-License-Identifier: MIT */
#include "net/again.h"

#include <errno.h>

#include "base/clock.h"
#include "vthread/thread.h"

enum { FIRST_NS = 1000 * 1000, AT_LEAST_EVERY_NS = 16 * 1000 * 1000 };

int again_wait(struct again *again, struct thread *self, int64_t deadline_ns)
{
    int64_t interval_ns = again->interval_ns == 0 ? FIRST_NS : again->interval_ns;
    int64_t until_ns = clock_now_ns() + interval_ns;
    int reason = thread_wait_until(self, WORD_INTERNAL, until_ns < deadline_ns ? until_ns : deadline_ns);

    again->interval_ns = interval_ns < AT_LEAST_EVERY_NS ? interval_ns * 2 : interval_ns;
    if (reason == ETIMEDOUT && until_ns < deadline_ns)
        reason = 0;
    if (reason == EINTR)
        word_clear(&self->word, WORD_INTERRUPTED);
    return -reason;
}
