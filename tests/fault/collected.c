/* SPDX-License-Identifier: MIT */
/* There is no memory for the collector, or none in it: calls say so, and the library works. */
#include <pthread.h>
#include <sys/wait.h>

#include <vthread/continuation.h>
#include <vthread/gc.h>
#include <vthread/sync.h>

#include "fault.h"

/* ---- its start ---- */

/* In a process of its own, as it starts once.  Returns whether a request has failed. */
static int start(int at)
{
    bool failed;
    void *p;

    fault_begin(SITES_ALL, at, 1, false);
    p = vthread_gc_alloc(100);
    failed = fault_end();
    EXPECT(p != NULL || failed);
    if (p == NULL) { /* another attempt, or a collector that is refused for good, but always so */
        bool works = vthread_gc_alloc(100) != NULL;

        EXPECT((vthread_gc_alloc_atomic(100) != NULL) == works);
        EXPECT((vthread_gc_register_thread() == 0) == works);
        EXPECT((vthread_find_leaks(NULL, 0) == 0) == works);
    }
    vthread_gc_collect();
    fault_check_works();
    fault_check_shutdown();
    return failed;
}

static bool start_in_child(int at, bool with_runtime)
{
    int status;
    pid_t child = fork();

    EXPECT(child >= 0);
    if (child == 0) {
        alarm(60);
        if (with_runtime)
            fault_check_works();
        _exit(start(at));
    }
    EXPECT(waitpid(child, &status, 0) == child);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
    return WEXITSTATUS(status) == 1;
}

/* ---- its use ---- */

static vthread_cont_scope_t scope = VTHREAD_CONT_SCOPE_INITIALIZER("scope");

static void finalize(void *object, void *user)
{
    (void)object, (void)user;
}

static void *yield_once(void *arg)
{
    vthread_cont_yield(&scope, arg);
    return arg;
}

static int allocate(void)
{
    vthread_cont_t *c = NULL;
    void *root = vthread_gc_alloc_root(100);
    char *text = vthread_gc_strdup("text");
    char *object = vthread_gc_alloc(100);
    int error = object != NULL ? vthread_gc_set_finalizer(object, finalize, NULL) : ENOMEM;
    int other = vthread_gc_cont_new(&c, &scope, yield_once, object);

    EXPECT(text == NULL || strcmp(text, "text") == 0);
    EXPECT((other == 0) == (c != NULL));
    if (c != NULL) {
        EXPECT(vthread_cont_run(c, NULL) == 0);
        EXPECT(vthread_cont_free(c) == 0);
    }
    vthread_gc_free(root);
    error = error == 0 ? other : error;
    return root != NULL && text != NULL ? error : ENOMEM;
}

static void *allocate_in_thread(void *arg)
{
    fault_mine = true;
    *(int *)arg = allocate();
    return NULL;
}

/* On a platform thread that there may be no memory to know by. */
static int allocate_elsewhere(void)
{
    pthread_t t;
    int result = -1;

    EXPECT(pthread_create(&t, NULL, allocate_in_thread, &result) == 0);
    EXPECT(pthread_join(t, NULL) == 0);
    return result;
}

static int find(void)
{
    int found = vthread_find_leaks(NULL, 0);
    int devnull_found = vthread_print_leaks(2);

    EXPECT(found <= 0 && devnull_found <= 0);
    return found != 0 ? -found : -devnull_found;
}

/* A thread that waits for ever, so that the finder has something to keep. */
static vthread_sem_t *volatile hidden;

static void *wait_for_ever(void *arg)
{
    vthread_sem_t *sem = vthread_gc_alloc(sizeof *sem);

    (void)arg;
    EXPECT(sem != NULL);
    hidden = (vthread_sem_t *)~(uintptr_t)sem;
    EXPECT(vthread_sem_acquire(sem, 1) == 0);
    return NULL;
}

static int find_one(void)
{
    vthread_leak_t leak;
    int found = vthread_find_leaks(&leak, 1);

    EXPECT(found == 0 || found == 1 || found == -ENOMEM);
    return found < 0 ? -found : 0;
}

static void check(int error)
{
    (void)error;
    vthread_gc_collect();
    EXPECT(allocate() == 0);
    fault_check_works();
}

int main(void)
{
    vthread_t waits;
    int n = 1;

    while (start_in_child(n, false))
        n++;
    printf("start: survived the failure of each of %d requests\n", n - 1);
    EXPECT(n > 1);
    for (n = 1; start_in_child(n, true); n++)
        ;
    printf("start beside a runtime: survived the failure of each of %d requests\n", n - 1);
    EXPECT(n > 1);

    EXPECT(vthread_gc_register_thread() == 0);
    EXPECT(allocate() == 0);
    fault_each("collected memory", SITES_MEMORY, 1, true, allocate, check);
    fault_each("collected memory, and none from then on", SITES_MEMORY, 100000, true, allocate, check);
    fault_each("finding leaks where there are none", SITES_ALL, 1, true, find, check);
    EXPECT(vthread_create(&waits, NULL, wait_for_ever, NULL) == 0);
    while (vthread_state(waits) != VTHREAD_PARKED)
        usleep(1000);
    fault_each("finding leaks", SITES_ALL, 1, true, find_one, check);
    vthread_sem_release((vthread_sem_t *)~(uintptr_t)hidden, 1);
    EXPECT(vthread_join(waits, NULL) == 0);

    fault_each("a platform thread's first", SITES_MEMORY, 1, true, allocate_elsewhere, check);
    check(0);
    fault_check_shutdown();
    return 0;
}
