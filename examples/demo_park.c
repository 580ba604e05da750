/* SPDX-License-Identifier: MIT */
/*
 * What a virtual thread costs that waits: a million of them, in a process that has done nothing else.
 */
#include "demo.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/runtime.h>
#include <vthread/vthread.h>

#include "os_threads.h"

enum {
    BYTES_EACH = 1024, /* what must be free for each, generously */
    SETTLE_MS = 200,
};

/* ---- in the child ---- */

static long count;
static vthread_t *threads;
static atomic_long waiting;
static atomic_bool gate;

static void *wait_at_gate(void *arg)
{
    atomic_fetch_add_explicit(&waiting, 1, memory_order_relaxed);
    while (!atomic_load(&gate))
        vthread_park();
    return arg;
}

static bool create_all(void)
{
    for (long i = 0; i < count; i++)
        if (vthread_create(&threads[i], NULL, wait_at_gate, NULL) != 0)
            return false;
    while (atomic_load_explicit(&waiting, memory_order_relaxed) < count)
        vthread_sleep_ms(1);
    return true;
}

static void wake_all(void)
{
    atomic_store(&gate, true);
    for (long i = 0; i < count; i++)
        vthread_unpark(threads[i]);
    for (long i = 0; i < count; i++)
        vthread_join(threads[i], NULL);
}

/* Says "parked" and "woken" when it is that far, and ends with the figures. */
static void *park_and_wake(void *arg)
{
    int64_t rss_bytes = demo_rss_bytes();
    int64_t begin_ns = vthread_now_ns();
    double create_ns, wake_ns, each;
    int os_threads;

    if (!create_all())
        return arg;
    create_ns = (double)(vthread_now_ns() - begin_ns) / (double)count;
    printf("parked\n");
    vthread_sleep_ms(SETTLE_MS);
    os_threads = count_os_threads();
    each = (double)(demo_rss_bytes() - rss_bytes) / (double)count;

    begin_ns = vthread_now_ns();
    wake_all();
    wake_ns = (double)(vthread_now_ns() - begin_ns) / (double)count;
    printf("woken\nfigures %.0f %.1f %.1f %d\n", each, create_ns, wake_ns, os_threads);
    return NULL;
}

int demo_park_child(const struct demo_options *options)
{
    static char failed;
    vthread_t thread;
    void *value = &failed;

    setlinebuf(stdout);
    count = options->threads;
    threads = malloc((size_t)count * sizeof *threads); /* untouched, so it will count as theirs */
    if (threads == NULL || vthread_create(&thread, NULL, park_and_wake, &failed) != 0)
        return 1;
    vthread_join(thread, &value);
    free(threads);
    return value == NULL ? 0 : 1;
}

/* ---- in the parent ---- */

static long read_number(const char *path, const char *name)
{
    FILE *f = fopen(path, "re");
    char line[200];
    long value = -1;

    while (f != NULL && value < 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0 && sscanf(line + strlen(name), "%ld", &value) != 1)
            break;
    if (f != NULL)
        fclose(f);
    return value;
}

/* Of the machine, and of the container if it has a limit. */
static double free_bytes(void)
{
    double bytes = (double)read_number("/proc/meminfo", "MemAvailable:") * 1024;
    long limit = read_number("/sys/fs/cgroup/memory.max", "");
    long used = read_number("/sys/fs/cgroup/memory.current", "");

    return limit > 0 && (double)(limit - used) < bytes ? (double)(limit - used) : bytes;
}

static long affordable_threads(long wanted)
{
    double bytes = free_bytes();
    long affordable = bytes > 0 ? (long)(bytes / BYTES_EACH) : wanted;

    if (wanted <= affordable)
        return wanted;
    printf("  %s threads instead of %s: only %s MB of memory are free\n", demo_number((double)affordable),
           demo_number((double)wanted), demo_number(bytes / 1e6));
    return affordable;
}

static void print_table(long n, double each, double create_ns, double wake_ns, int os_threads)
{
    printf("\n%s parked virtual threads\n\n", demo_number((double)n));
    printf("    %-20s %12s bytes of memory\n", "each takes", demo_number(each));
    printf("    %-20s %12s ns\n", "to create one", demo_number(create_ns));
    printf("    %-20s %12s ns, until it has ended\n", "to wake one", demo_number(wake_ns));
    printf("    %-20s %12d\n", "OS threads", os_threads);
}

int demo_park(const struct demo_options *options)
{
    long n = affordable_threads(options->threads);
    struct demo_child child;
    char threads_text[24];
    char line[200];
    double each, create_ns, wake_ns;
    int os_threads;
    bool done = false;

    snprintf(threads_text, sizeof threads_text, "%ld", n);
    if (!demo_spawn(&child, (const char *[]){NULL, "--park", "--threads", threads_text, NULL}))
        return 1;
    demo_progress("  creating %s virtual threads", demo_number((double)n));
    while (fgets(line, sizeof line, child.from) != NULL) {
        if (strcmp(line, "parked\n") == 0)
            demo_progress("  all are parked; waking them");
        else if (sscanf(line, "figures %lf %lf %lf %d", &each, &create_ns, &wake_ns, &os_threads) == 4)
            done = true;
    }
    demo_progress_end();
    if (!demo_reap(&child) || !done) {
        fprintf(stderr, "demo: could not park them\n");
        return 1;
    }
    print_table(n, each, create_ns, wake_ns, os_threads);
    return 0;
}
