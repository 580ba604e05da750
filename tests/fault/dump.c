/* SPDX-License-Identifier: MIT */
/* No memory for a thread dump: it says so, every thread goes on, and the next dump has them all. */
#include "fault.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <vthread/executor.h>
#include <vthread/scope.h>

enum { THREADS = 30 };

static vthread_dump_format_t format;
static vthread_t threads[THREADS];
static atomic_int waiting;
static atomic_bool stop;
static int scratch;

static void *wait_in_scopes(void *arg)
{
    vthread_scope_t *scopes[3];

    for (int i = 0; i < 3; i++)
        EXPECT(vthread_scope_open(&scopes[i], NULL) == 0);
    atomic_fetch_add(&waiting, 1);
    while (!atomic_load(&stop))
        vthread_park();
    for (int i = 2; i >= 0; i--)
        EXPECT(vthread_scope_close(scopes[i]) == 0);
    return arg;
}

static int dump(void)
{
    EXPECT(ftruncate(scratch, 0) == 0);
    EXPECT(lseek(scratch, 0, SEEK_SET) == 0);
    return vthread_dump(scratch, format);
}

static int dump_file(void)
{
    static const char path[] = "/tmp/vthread-fault-dump";
    int error;

    unlink(path);
    error = vthread_dump_file(path, format);
    EXPECT((access(path, F_OK) == 0) == (error == 0)); /* there is a whole one, or none */
    unlink(path);
    return error;
}

static int count(const char *text, const char *what)
{
    int n = 0;

    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what))
        n++;
    return n;
}

static void check(int error)
{
    static char text[512 * 1024];
    ssize_t n;

    (void)error;
    EXPECT(dump() == 0);
    n = pread(scratch, text, sizeof text - 1, 0);
    EXPECT(n > 0);
    text[n] = '\0';
    EXPECT(count(text, "the one that waits") == THREADS);
    fault_check_works();
}

int main(void)
{
    const vthread_attr_t attr = {.name = "the one that waits"};

    scratch = memfd_create("dump", 0);
    EXPECT(scratch >= 0);
    for (int i = 0; i < THREADS; i++)
        EXPECT(vthread_create(&threads[i], &attr, wait_in_scopes, NULL) == 0);
    while (atomic_load(&waiting) < THREADS)
        usleep(1000);
    format = VTHREAD_DUMP_TEXT;
    fault_each("dump as text", SITES_ALL, 1, true, dump, check);
    fault_each("dump as text to a file", SITES_ALL, 1, true, dump_file, check);
    format = VTHREAD_DUMP_JSON;
    if (dump() != ENOTSUP) {
        fault_each("dump as JSON", SITES_ALL, 1, true, dump, check);
        fault_each("dump as JSON, with more than one failure", SITES_ALL, 3, true, dump, check);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++) {
        vthread_unpark(threads[i]);
        EXPECT(vthread_join(threads[i], NULL) == 0);
    }
    close(scratch);
    fault_check_shutdown();
    return 0;
}
