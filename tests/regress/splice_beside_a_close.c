/* SPDX-License-Identifier: MIT */
/*
 * Between two attempts splice holds no turn.  When the side that it did not wait for was closed just then, it asked
 * for that side again and again, for ever; and when the number of either was another file's by then, it waited
 * for that file.
 *
 * The C library's poll is replaced by one that closes a descriptor at that very moment: splice has found nothing to
 * take, has asked which side is not ready, and looks once more before it waits.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>

#include <vthread/net.h>

#include "regress.h"

enum { LOOKS = 2 }; /* which side, and before the wait */

static struct {
    atomic_int looks; /* so many more, then the descriptor is closed; 0: never */
    int fd;
    bool again; /* and its number given to another pipe's end, that is never ready */
    int others[2];
} closing;

static void close_it(void)
{
    EXPECT(vthread_close(closing.fd) == 0);
    if (closing.again)
        EXPECT(pipe(closing.others) == 0 && closing.others[0] == closing.fd);
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};

    if (atomic_load(&closing.looks) > 0 && atomic_fetch_sub(&closing.looks, 1) == 1)
        close_it();
    return (int)syscall(SYS_ppoll, fds, count, timeout_ms < 0 ? NULL : &timeout, NULL, (size_t)0);
}

static void *splice_one(void *arg)
{
    const int *fds = arg;
    ssize_t n = vthread_splice(fds[0], NULL, fds[1], NULL, 1, 0);

    return (void *)n;
}

int main(void)
{
    regress_configure(2, 0);
    for (int again = 0; again < 2; again++)
        for (int side = 0; side < 2; side++) {
            static int fds[2];
            int in[2];
            int out[2];
            vthread_t t;
            void *value = NULL;

            EXPECT(pipe(in) == 0 && pipe(out) == 0);
            fds[0] = in[0];
            fds[1] = out[1];
            closing.fd = fds[side];
            closing.again = again;
            atomic_store(&closing.looks, LOOKS);
            EXPECT(vthread_create(&t, NULL, splice_one, fds) == 0);
            EXPECT(vthread_join(t, &value) == 0);
            EXPECT(atomic_load(&closing.looks) == 0);
            EXPECT((intptr_t)value == -ECANCELED);
            EXPECT(vthread_close(fds[!side]) == 0);
            EXPECT(vthread_close(in[1]) == 0 && vthread_close(out[0]) == 0);
            if (again)
                EXPECT(vthread_close(closing.others[0]) == 0 && vthread_close(closing.others[1]) == 0);
        }
    return regress_end();
}
