/* SPDX-License-Identifier: MIT */
/* What thread dumps say of those who wait for a descriptor. */
#include "net_test.h"

#include <poll.h>
#include <sys/mman.h>

enum verb { READ, WRITE, ACCEPT, PIPE_READ, WAIT_READ, WAIT_WRITE, WAIT_BOTH, VERBS };

struct job {
    enum verb verb;
    int fd;
};

static void *do_job(void *arg)
{
    static char much[1 << 20];
    struct job *job = arg;
    char byte;

    switch (job->verb) {
    case WRITE:
        return (void *)vthread_write_all(job->fd, much, sizeof much);
    case ACCEPT:
        return (void *)(intptr_t)vthread_accept(job->fd, NULL, NULL);
    case WAIT_READ:
        return (void *)(intptr_t)vthread_wait_fd(job->fd, POLLIN);
    case WAIT_WRITE:
        return (void *)(intptr_t)vthread_wait_fd(job->fd, POLLOUT);
    case WAIT_BOTH:
        return (void *)(intptr_t)vthread_wait_fd(job->fd, POLLIN | POLLOUT);
    default:
        return (void *)vthread_read(job->fd, &byte, 1);
    }
}

/* Not until the kernel takes more. */
static void fill(int fd)
{
    static char much[1 << 20];

    while (vthread_write_until(fd, much, sizeof much, vthread_after_ms(20)) > 0)
        ;
}

static const char *operation(enum verb verb)
{
    return verb == WRITE || verb == WAIT_WRITE ? "write" : verb == WAIT_BOTH ? "read or write" : "read";
}

/* Dumps are files, in which the line of a thread has its number. */
static char *dump(vthread_dump_format_t format)
{
    int fd = memfd_create("dump", 0);
    off_t size;
    char *text;

    CHECK_EQ(vthread_dump(fd, format), 0);
    size = lseek(fd, 0, SEEK_END);
    text = calloc(1, (size_t)size + 1);
    CHECK(text != NULL);
    CHECK_EQ(pread(fd, text, (size_t)size, 0), size);
    close(fd);
    return text;
}

static bool has(const char *text, const char *expected)
{
    if (strstr(text, expected) == NULL)
        fprintf(stderr, "no \"%s\" in %s\n", expected, text);
    return strstr(text, expected) != NULL;
}

static void expect(vthread_t t, const char *states, const struct job *job)
{
    char *text = dump(VTHREAD_DUMP_TEXT);
    char expected[256];

    snprintf(expected, sizeof expected, " #%llu %s, waiting for fd %d, %s\n", (unsigned long long)vthread_id(t), states,
             job->fd, operation(job->verb));
    CHECK(has(text, expected));
    free(text);
}

static void expect_json(const struct job *job)
{
    char expected[256];
    int fd = memfd_create("dump", 0);
    char *text;

    if (vthread_dump(fd, VTHREAD_DUMP_JSON) != ENOTSUP) {
        text = dump(VTHREAD_DUMP_JSON);
        snprintf(expected, sizeof expected, "\"parkBlocker\":{\"kind\":\"descriptor\",\"fd\":%d,\"operation\":\"%s\"}",
                 job->fd, operation(job->verb));
        CHECK(has(text, expected));
        CHECK(has(text, "\"poller\":{\"waits\":"));
        free(text);
    }
    close(fd);
}

/* fds[0] to wait for, fds[1] the other end. */
static void prepare(struct job *job, int fds[2])
{
    int port;

    if (job->verb == PIPE_READ) {
        CHECK_EQ(pipe(fds), 0);
    } else if (job->verb == ACCEPT) {
        fds[0] = listen_any(&port);
        fds[1] = dup(0);
    } else {
        tcp_pair(fds);
        if (job->verb == WRITE || job->verb == WAIT_WRITE || job->verb == WAIT_BOTH)
            fill(fds[0]);
    }
    job->fd = fds[0];
}

/* A second one waits for its turn; both are ended by the close, after which nothing of it is left. */
static void test_waits(void)
{
    static struct job job; /* others must see it */

    for (job.verb = 0; job.verb < VERBS; job.verb++) {
        vthread_t first, second;
        char *text;
        int fds[2];

        prepare(&job, fds);
        first = spawn(do_job, (intptr_t)&job);
        await_parked(first);
        second = spawn(do_job, (intptr_t)&job);
        await_parked(second);
        expect(first, "virtual WAITING (PARKED)", &job);
        expect(second, "virtual WAITING (PARKED)", &job);
        expect_json(&job);
        CHECK_EQ(vthread_close(fds[0]), 0);
        join(first);
        join(second);
        CHECK_EQ(vthread_close(fds[1]), 0);
        text = dump(VTHREAD_DUMP_TEXT);
        CHECK(strstr(text, "waiting for fd") == NULL);
        free(text);
    }
}

static void test_platform_threads(void)
{
    const vthread_attr_t attr = {.kind = VTHREAD_KIND_PLATFORM};
    static struct job job = {.verb = READ};
    vthread_t t;
    int fds[2];

    prepare(&job, fds);
    CHECK_EQ(vthread_create(&t, &attr, do_job, &job), 0);
    await_parked(t);
    expect(t, "platform WAITING (PINNED)", &job);
    CHECK_EQ(vthread_write(fds[1], "x", 1), 1);
    CHECK_EQ(join(t), 1);
    CHECK_EQ(vthread_close(fds[0]), 0);
    CHECK_EQ(vthread_close(fds[1]), 0);
}

static struct job job_then_park = {.verb = READ};

static void *read_and_park(void *arg)
{
    (void)do_job(&job_then_park);
    vthread_park();
    return arg;
}

/* After a wait for a descriptor it parks, with nothing to wait for. */
static void test_what_comes_after(void)
{
    char expected[128];
    vthread_t t;
    char *text;
    int fds[2];

    prepare(&job_then_park, fds);
    t = spawn(read_and_park, 0);
    await_parked(t);
    expect(t, "virtual WAITING (PARKED)", &job_then_park);
    CHECK_EQ(vthread_write(fds[1], "x", 1), 1);
    snprintf(expected, sizeof expected, " #%llu virtual WAITING (PARKED)\n", (unsigned long long)vthread_id(t));
    for (;; vthread_sleep_ms(1)) {
        text = dump(VTHREAD_DUMP_TEXT);
        if (strstr(text, expected) != NULL)
            break;
        free(text);
    }
    free(text);
    vthread_unpark(t);
    join(t);
    CHECK_EQ(vthread_close(fds[0]), 0);
    CHECK_EQ(vthread_close(fds[1]), 0);
}

int main(void)
{
    static const struct test tests[] = {
        {"waits", test_waits, false},
        {"platform threads", test_platform_threads, false},
        {"what comes after", test_what_comes_after, false},
        {NULL, NULL, false},
    };

    test_waits(); /* files that have names for stacks stay open, and are not to be counted */
    CHECK_EQ(vthread_runtime_shutdown(vthread_after_ms(10000)), 0);
    return run_tests(tests);
}
