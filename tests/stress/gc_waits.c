/* SPDX-License-Identifier: MIT */
/*
 * Threads that wait, in all ways there are, virtual ones and platform threads, while the world is stopped all the
 * time: the signals cut no wait short, no call returns EINTR, and no byte is lost or read twice.
 */
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include <vthread/all.h>

#include "stress.h"

enum { THREADS = 12, SHORT_MS = 3, BYTES = 20000 };

static atomic_bool over;
static atomic_long wrong;
static long rounds;

static void expect(bool holds)
{
    if (!holds)
        atomic_fetch_add(&wrong, 1);
}

/* Did it return what a timeout returns, and not before its time? */
static void expect_timeout(bool timed_out, int64_t began_ns)
{
    expect(timed_out && vthread_now_ns() - began_ns >= SHORT_MS * INT64_C(1000000));
}

static void *wait_in_all_ways(void *arg)
{
    int fds[2];
    char byte;
    vthread_sem_t *sem = vthread_gc_alloc(sizeof *sem);
    vthread_queue_t *queue;
    void *element;

    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0 ? 0 : errno);
    MUST(vthread_queue_new(&queue, sizeof(void *), 1));
    MUST(sem != NULL ? 0 : ENOMEM);
    for (long i = 0; i < rounds; i++) {
        int64_t began_ns = vthread_now_ns();

        expect_timeout(vthread_sleep_ms(SHORT_MS) == 0, began_ns);
        began_ns = vthread_now_ns();
        expect_timeout(vthread_park_until(vthread_after_ms(SHORT_MS)) == ETIMEDOUT, began_ns);
        began_ns = vthread_now_ns();
        expect_timeout(vthread_sem_acquire_until(sem, 1, vthread_after_ms(SHORT_MS)) == ETIMEDOUT, began_ns);
        began_ns = vthread_now_ns();
        expect_timeout(vthread_queue_take_until(queue, &element, vthread_after_ms(SHORT_MS)) == ETIMEDOUT, began_ns);
        began_ns = vthread_now_ns();
        expect_timeout(vthread_read_until(fds[0], &byte, 1, vthread_after_ms(SHORT_MS)) == -ETIMEDOUT, began_ns);
        began_ns = vthread_now_ns();
        expect_timeout(vthread_wait_fd_until(fds[0], POLLIN, vthread_after_ms(SHORT_MS)) == -ETIMEDOUT, began_ns);
        vthread_pin("stress");
        began_ns = vthread_now_ns();
        expect_timeout(vthread_sleep_ms(SHORT_MS) == 0, began_ns);
        vthread_unpin();
    }
    vthread_queue_free(queue);
    vthread_close(fds[0]);
    vthread_close(fds[1]);
    return arg;
}

struct pipe {
    int fds[2];
};

static void *write_bytes(void *arg)
{
    struct pipe *pipe = arg;
    unsigned char *bytes = vthread_gc_alloc_atomic(BYTES);

    MUST(bytes != NULL ? 0 : ENOMEM);
    for (int i = 0; i < BYTES; i++)
        bytes[i] = (unsigned char)(i * 7);
    for (int i = 0; i < BYTES; i += 100) {
        expect(vthread_write_all(pipe->fds[1], bytes + i, 100) == 100);
        if (i % 1000 == 0)
            vthread_sleep_ns(100000);
    }
    expect(vthread_close(pipe->fds[1]) == 0);
    return NULL;
}

static void *read_bytes(void *arg)
{
    struct pipe *pipe = arg;
    unsigned char *bytes = vthread_gc_alloc_atomic(BYTES + 1);

    MUST(bytes != NULL ? 0 : ENOMEM);
    expect(vthread_read_full(pipe->fds[0], bytes, BYTES + 1) == BYTES);
    for (int i = 0; i < BYTES; i++)
        expect(bytes[i] == (unsigned char)(i * 7));
    expect(vthread_close(pipe->fds[0]) == 0);
    return NULL;
}

static void *collect(void *arg)
{
    while (!atomic_load(&over)) {
        vthread_gc_collect();
        vthread_yield();
    }
    return arg;
}

static vthread_t start_of_kind(vthread_kind_t kind, void *(*fn)(void *arg), void *arg)
{
    vthread_t t;

    MUST(vthread_create(&t, &(vthread_attr_t){.kind = kind}, fn, arg));
    return t;
}

int main(int argc, char **argv)
{
    struct stress s = stress_begin(argc, argv, 10);
    vthread_t threads[3 * THREADS];
    struct pipe pipes[THREADS];
    vthread_t collects;

    rounds = s.count;
    MUST(vthread_gc_register_thread());
    collects = start_of_kind(VTHREAD_KIND_PLATFORM, collect, NULL);
    for (int i = 0; i < THREADS; i++) {
        vthread_kind_t kind = i % 3 == 0 ? VTHREAD_KIND_PLATFORM : VTHREAD_KIND_VIRTUAL;

        MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pipes[i].fds) == 0 ? 0 : errno);
        threads[3 * i] = start_of_kind(kind, wait_in_all_ways, NULL);
        threads[3 * i + 1] = start_of_kind(kind, read_bytes, &pipes[i]);
        threads[3 * i + 2] = start_of_kind(VTHREAD_KIND_VIRTUAL, write_bytes, &pipes[i]);
    }
    for (int i = 0; i < 3 * THREADS; i++)
        stress_join(threads[i]);
    atomic_store(&over, true);
    stress_join(collects);
    return stress_end("waits that were cut short, bytes that are wrong", (uint64_t)atomic_load(&wrong), 0);
}
