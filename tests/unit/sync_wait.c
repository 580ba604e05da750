/* SPDX-License-Identifier: MIT */
/*
 * What ends a wait besides what it waits for, the same for every call that waits: interrupts
 * and deadlines, before it and in it; objects in private stacks.  By virtual and platform threads.
 */
#include "sync_help.h"

TestSuite(wait, .fini = help_fini, .timeout = 100);

union object {
    vthread_mutex_t mutex;
    vthread_lock_t lock;
    vthread_rwlock_t rwlock;
    vthread_sem_t sem;
    vthread_latch_t latch;
    vthread_barrier_t barrier;
    struct {
        vthread_cond_t cond;
        vthread_mutex_t mutex;
        vthread_lock_t lock;
    } c;
    vthread_monitor_t monitor;
};

struct way {
    const char *name;
    void (*block)(union object *o); /* the test's thread sees to it that the call has to wait ... */
    void (*open)(union object *o);  /* ... and then to it that it does not */
    int (*call)(union object *o, int64_t deadline_ns);
    bool timed;  /* has a deadline */
    bool deaf;   /* cannot be interrupted */
    bool breaks; /* after a failure it is to be opened again */
    int (*destroy)(union object *o);
};

/* ---- mutex ---- */

static void mutex_block(union object *o)
{
    vthread_mutex_lock(&o->mutex);
}
static void mutex_open(union object *o)
{
    vthread_mutex_unlock(&o->mutex);
}
static int mutex_destroy_it(union object *o)
{
    return vthread_mutex_destroy(&o->mutex);
}
static int mutex_then(union object *o, int error)
{
    return error == 0 ? vthread_mutex_unlock(&o->mutex) : error;
}
static int mutex_plain(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return mutex_then(o, vthread_mutex_lock(&o->mutex));
}
static int mutex_interruptible(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return mutex_then(o, vthread_mutex_lock_interruptible(&o->mutex));
}
static int mutex_until(union object *o, int64_t deadline_ns)
{
    return mutex_then(o, vthread_mutex_lock_until(&o->mutex, deadline_ns));
}

/* ---- reentrant lock ---- */

static void lock_block(union object *o)
{
    vthread_lock_lock(&o->lock);
    vthread_lock_lock(&o->lock);
}
static void lock_open(union object *o)
{
    vthread_lock_unlock(&o->lock);
    vthread_lock_unlock(&o->lock);
}
static int lock_destroy_it(union object *o)
{
    return vthread_lock_destroy(&o->lock);
}
static int lock_then(union object *o, int error)
{
    return error == 0 ? vthread_lock_unlock(&o->lock) : error;
}
static int lock_plain(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return lock_then(o, vthread_lock_lock(&o->lock));
}
static int lock_interruptible(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return lock_then(o, vthread_lock_lock_interruptible(&o->lock));
}
static int lock_until(union object *o, int64_t deadline_ns)
{
    return lock_then(o, vthread_lock_lock_until(&o->lock, deadline_ns));
}

/* ---- readers and a writer ---- */

static void read_block(union object *o)
{
    vthread_rwlock_rdlock(&o->rwlock);
}
static void write_block(union object *o)
{
    vthread_rwlock_wrlock(&o->rwlock);
}
static void rwlock_open(union object *o)
{
    vthread_rwlock_unlock(&o->rwlock);
}
static int rwlock_destroy_it(union object *o)
{
    return vthread_rwlock_destroy(&o->rwlock);
}
static int rwlock_then(union object *o, int error)
{
    return error == 0 ? vthread_rwlock_unlock(&o->rwlock) : error;
}
static int read_plain(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return rwlock_then(o, vthread_rwlock_rdlock(&o->rwlock));
}
static int read_interruptible(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return rwlock_then(o, vthread_rwlock_rdlock_interruptible(&o->rwlock));
}
static int read_until(union object *o, int64_t deadline_ns)
{
    return rwlock_then(o, vthread_rwlock_rdlock_until(&o->rwlock, deadline_ns));
}
static int write_plain(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return rwlock_then(o, vthread_rwlock_wrlock(&o->rwlock));
}
static int write_interruptible(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return rwlock_then(o, vthread_rwlock_wrlock_interruptible(&o->rwlock));
}
static int write_until(union object *o, int64_t deadline_ns)
{
    return rwlock_then(o, vthread_rwlock_wrlock_until(&o->rwlock, deadline_ns));
}

/* ---- semaphore: one permit is there, two are asked for ---- */

static void sem_block(union object *o)
{
    vthread_sem_drain(&o->sem);
    vthread_sem_release(&o->sem, 1);
}
static void fair_block(union object *o)
{
    vthread_sem_init(&o->sem, 1, &(vthread_sem_params_t){.fair = true});
}
static void sem_open_it(union object *o)
{
    vthread_sem_release(&o->sem, 1);
}
static int sem_destroy_it(union object *o)
{
    return vthread_sem_destroy(&o->sem);
}
static int sem_plain(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return vthread_sem_acquire(&o->sem, 2);
}
static int sem_until(union object *o, int64_t deadline_ns)
{
    return vthread_sem_acquire_until(&o->sem, 2, deadline_ns);
}
static int sem_deaf(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return vthread_sem_acquire_uninterruptible(&o->sem, 2);
}

/* ---- latch and barrier ---- */

static void latch_block(union object *o)
{
    vthread_latch_init(&o->latch, 2);
    vthread_latch_count_down(&o->latch);
}
static void latch_open(union object *o)
{
    vthread_latch_count_down(&o->latch);
}
static int latch_destroy_it(union object *o)
{
    return vthread_latch_destroy(&o->latch);
}
static int latch_plain(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return vthread_latch_wait(&o->latch);
}
static int latch_until(union object *o, int64_t deadline_ns)
{
    return vthread_latch_wait_until(&o->latch, deadline_ns);
}

static void barrier_block(union object *o)
{
    vthread_barrier_init(&o->barrier, 2);
}
static void barrier_open(union object *o)
{
    vthread_barrier_wait_until(&o->barrier, VTHREAD_NOW);
}
static int barrier_destroy_it(union object *o)
{
    return vthread_barrier_destroy(&o->barrier);
}
/* The index of the one who waits is 1. */
static int barrier_plain(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    int index = vthread_barrier_wait(&o->barrier);

    return index > 0 ? index - 1 : -index;
}
static int barrier_until(union object *o, int64_t deadline_ns)
{
    int index = vthread_barrier_wait_until(&o->barrier, deadline_ns);

    return index > 0 ? index - 1 : -index;
}

/* ---- conditions ---- */

static void cond_block(union object *o)
{
    (void)o;
}
static void cond_open(union object *o)
{
    vthread_cond_signal(&o->c.cond);
}
static int cond_destroy_it(union object *o)
{
    return vthread_cond_destroy(&o->c.cond);
}
static int cond_with(union object *o, int (*wait)(vthread_cond_t *, vthread_mutex_t *))
{
    int error = vthread_mutex_lock(&o->c.mutex);
    int result = wait(&o->c.cond, &o->c.mutex);

    return error != 0 || vthread_mutex_unlock(&o->c.mutex) != 0 ? -1 : result; /* held on every return */
}
static int cond_plain(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return cond_with(o, vthread_cond_wait);
}
static int cond_deaf(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return cond_with(o, vthread_cond_wait_uninterruptible);
}
static int cond_until(union object *o, int64_t deadline_ns)
{
    int error = vthread_mutex_lock(&o->c.mutex);
    int result = vthread_cond_wait_until(&o->c.cond, &o->c.mutex, deadline_ns);

    return error != 0 || vthread_mutex_unlock(&o->c.mutex) != 0 ? -1 : result;
}
/* Held twice, and twice again. */
static int cond_lock_until(union object *o, int64_t deadline_ns)
{
    int error = vthread_lock_lock(&o->c.lock) + vthread_lock_lock(&o->c.lock);
    int result = deadline_ns == VTHREAD_FOREVER ? vthread_cond_wait_lock(&o->c.cond, &o->c.lock)
                                                : vthread_cond_wait_lock_until(&o->c.cond, &o->c.lock, deadline_ns);

    error += vthread_lock_hold_count(&o->c.lock) != 2;
    error += vthread_lock_unlock(&o->c.lock) + vthread_lock_unlock(&o->c.lock);
    return error != 0 ? -1 : result;
}
static int cond_lock_plain(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return cond_lock_until(o, VTHREAD_FOREVER);
}

static void monitor_open(union object *o)
{
    vthread_monitor_enter(&o->monitor);
    vthread_monitor_notify(&o->monitor);
    vthread_monitor_exit(&o->monitor);
}
static int monitor_destroy_it(union object *o)
{
    return vthread_monitor_destroy(&o->monitor);
}
static int monitor_until(union object *o, int64_t deadline_ns)
{
    int error = vthread_monitor_enter(&o->monitor) + vthread_monitor_enter(&o->monitor);
    int result = deadline_ns == VTHREAD_FOREVER ? vthread_monitor_wait(&o->monitor)
                                                : vthread_monitor_wait_until(&o->monitor, deadline_ns);

    error += vthread_monitor_exit(&o->monitor) + vthread_monitor_exit(&o->monitor);
    return error != 0 ? -1 : result;
}
static int monitor_plain(union object *o, int64_t deadline_ns)
{
    (void)deadline_ns;
    return monitor_until(o, VTHREAD_FOREVER);
}

static void monitor_block(union object *o)
{
    vthread_monitor_enter(&o->monitor);
}
static void monitor_leave(union object *o)
{
    vthread_monitor_exit(&o->monitor);
}
static int monitor_enter(union object *o, int64_t deadline_ns)
{
    int error = vthread_monitor_enter(&o->monitor);

    (void)deadline_ns;
    return error == 0 ? vthread_monitor_exit(&o->monitor) : error;
}

#define DEAF .deaf = true
#define TIMED .timed = true
#define NEITHER .deaf = false
static const struct way ways[] = {
    {"mutex_lock", mutex_block, mutex_open, mutex_plain, DEAF, .destroy = mutex_destroy_it},
    {"mutex_lock_interruptible", mutex_block, mutex_open, mutex_interruptible, .destroy = mutex_destroy_it},
    {"mutex_lock_until", mutex_block, mutex_open, mutex_until, TIMED, .destroy = mutex_destroy_it},
    {"lock_lock", lock_block, lock_open, lock_plain, DEAF, .destroy = lock_destroy_it},
    {"lock_lock_interruptible", lock_block, lock_open, lock_interruptible, .destroy = lock_destroy_it},
    {"lock_lock_until", lock_block, lock_open, lock_until, TIMED, .destroy = lock_destroy_it},
    {"rwlock_rdlock", write_block, rwlock_open, read_plain, DEAF, .destroy = rwlock_destroy_it},
    {"rwlock_rdlock_interruptible", write_block, rwlock_open, read_interruptible, .destroy = rwlock_destroy_it},
    {"rwlock_rdlock_until", write_block, rwlock_open, read_until, TIMED, .destroy = rwlock_destroy_it},
    {"rwlock_wrlock", read_block, rwlock_open, write_plain, DEAF, .destroy = rwlock_destroy_it},
    {"rwlock_wrlock_interruptible", write_block, rwlock_open, write_interruptible, .destroy = rwlock_destroy_it},
    {"rwlock_wrlock_until", read_block, rwlock_open, write_until, TIMED, .destroy = rwlock_destroy_it},
    {"sem_acquire", sem_block, sem_open_it, sem_plain, .destroy = sem_destroy_it},
    {"sem_acquire_until", sem_block, sem_open_it, sem_until, TIMED, .destroy = sem_destroy_it},
    {"sem_acquire_until (fair)", fair_block, sem_open_it, sem_until, TIMED, .destroy = sem_destroy_it},
    {"sem_acquire_uninterruptible", sem_block, sem_open_it, sem_deaf, DEAF, .destroy = sem_destroy_it},
    {"latch_wait", latch_block, latch_open, latch_plain, .destroy = latch_destroy_it},
    {"latch_wait_until", latch_block, latch_open, latch_until, TIMED, .destroy = latch_destroy_it},
    {"barrier_wait", barrier_block, barrier_open, barrier_plain, .breaks = true, .destroy = barrier_destroy_it},
    {"barrier_wait_until", barrier_block, barrier_open, barrier_until, TIMED, .breaks = true,
     .destroy = barrier_destroy_it},
    {"cond_wait", cond_block, cond_open, cond_plain, .destroy = cond_destroy_it},
    {"cond_wait_until", cond_block, cond_open, cond_until, TIMED, .destroy = cond_destroy_it},
    {"cond_wait_uninterruptible", cond_block, cond_open, cond_deaf, DEAF, .destroy = cond_destroy_it},
    {"cond_wait_lock", cond_block, cond_open, cond_lock_plain, .destroy = cond_destroy_it},
    {"cond_wait_lock_until", cond_block, cond_open, cond_lock_until, TIMED, .destroy = cond_destroy_it},
    {"monitor_enter", monitor_block, monitor_leave, monitor_enter, DEAF, .destroy = monitor_destroy_it},
    {"monitor_wait", cond_block, monitor_open, monitor_plain, .destroy = monitor_destroy_it},
    {"monitor_wait_until", cond_block, monitor_open, monitor_until, TIMED, .destroy = monitor_destroy_it},
};
enum { WAYS = sizeof ways / sizeof ways[0] };

/* ---- the threads that wait ---- */

struct caller {
    const struct way *way;
    union object *object;
    int64_t deadline_ns;
    bool interrupted_before;
    int result;
    bool flag_after;
};

static void *call_it(void *arg)
{
    struct caller *c = arg;

    if (c->interrupted_before)
        vthread_interrupt(vthread_self());
    c->result = c->way->call(c->object, c->deadline_ns);
    c->flag_after = vthread_interrupted();
    return NULL;
}

/* To the end: with an interrupt while it waits, or opened for it, or neither. */
enum cause { NOTHING, INTERRUPT, OPEN };

static void run(struct caller *c, const vthread_attr_t *kind, enum cause cause)
{
    vthread_t t = help_start_with(kind, call_it, c);

    if (cause != NOTHING) {
        cr_assert(WAITS(t), "%s, %s thread", c->way->name, kind->name);
        if (c->way->destroy != NULL)
            cr_assert_eq(c->way->destroy(c->object), EBUSY, "%s", c->way->name);
    }
    if (cause == INTERRUPT)
        vthread_interrupt(t);
    if (cause == INTERRUPT && c->way->deaf) {
        usleep(1000);
        cr_assert(is_waiting(t), "%s, %s thread: interrupted", c->way->name, kind->name);
        c->way->open(c->object);
    }
    if (cause == OPEN)
        c->way->open(c->object);
    help_join(t);
}

static void expect(const struct caller *c, const vthread_attr_t *kind, int result, bool flag)
{
    cr_assert_eq(c->result, result, "%s, %s thread: %s, not %s", c->way->name, kind->name, strerror(c->result),
                 strerror(result));
    cr_assert_eq(c->flag_after, flag, "%s, %s thread: the flag afterwards", c->way->name, kind->name);
}

#define FOR_EACH(way, object, kind)                                                                                    \
    static union object object;                                                                                        \
    for (const struct way *way = ways; way < ways + WAYS; way++)                                                       \
        for (const vthread_attr_t *kind = kinds; kind < kinds + KINDS; kind++)

/* It is free, and unused, when all is over. */
static void finish(const struct way *way, union object *object)
{
    cr_assert_eq(way->destroy(object), 0, "%s", way->name);
    memset(object, 0, sizeof *object);
}

Test(wait, ends_with_what_was_waited_for)
{
    FOR_EACH(way, object, kind)
    {
        struct caller *c = calloc(1, sizeof *c);

        *c = (struct caller){way, &object, vthread_after_ms(60000), false, -1, false};
        way->block(&object);
        run(c, kind, OPEN);
        expect(c, kind, 0, false);
        finish(way, &object);
        free(c);
    }
}

Test(wait, ends_by_an_interrupt_in_it)
{
    FOR_EACH(way, object, kind)
    {
        struct caller *c = calloc(1, sizeof *c);

        *c = (struct caller){way, &object, vthread_after_ms(60000), false, -1, false};
        way->block(&object);
        run(c, kind, INTERRUPT);
        expect(c, kind, way->deaf ? 0 : EINTR, way->deaf);
        if (!way->deaf && !way->breaks)
            way->open(&object);
        finish(way, &object);
        free(c);
    }
}

Test(wait, ends_by_an_interrupt_before_it)
{
    FOR_EACH(way, object, kind)
    {
        struct caller *c = calloc(1, sizeof *c);

        if (!way->deaf) {
            *c = (struct caller){way, &object, VTHREAD_FOREVER, true, -1, false};
            way->block(&object);
            run(c, kind, NOTHING);
            expect(c, kind, EINTR, false);
            if (!way->breaks)
                way->open(&object);
            finish(way, &object);
        }
        free(c);
    }
}

/* An interrupt comes first even where there is nothing to wait for. */
Test(wait, an_interrupt_is_delivered_at_once)
{
    FOR_EACH(way, object, kind)
    {
        struct caller *c = calloc(1, sizeof *c);

        if (!way->deaf && !way->breaks && way->block != cond_block) {
            *c = (struct caller){way, &object, VTHREAD_FOREVER, true, -1, false};
            way->block(&object);
            way->open(&object);
            run(c, kind, NOTHING);
            expect(c, kind, EINTR, false);
            finish(way, &object);
        }
        free(c);
    }
}

static void deadline(int64_t after_ms)
{
    FOR_EACH(way, object, kind)
    {
        struct caller *c = calloc(1, sizeof *c);

        if (way->timed) {
            *c = (struct caller){way,   &object, after_ms < 0 ? VTHREAD_NOW : vthread_after_ms(after_ms),
                                 false, -1,      false};
            way->block(&object);
            run(c, kind, NOTHING);
            expect(c, kind, ETIMEDOUT, false);
            cr_assert_geq(vthread_now_ns(), c->deadline_ns, "%s", way->name);
            if (!way->breaks)
                way->open(&object);
            finish(way, &object);
        }
        free(c);
    }
}

Test(wait, ends_by_a_deadline)
{
    deadline(2);
}

Test(wait, ends_at_once_by_a_deadline_that_has_passed)
{
    deadline(-1);
}

/* ---- private stacks ---- */

struct stowaway {
    const struct way *way;
    union object *blocked;
};

/* The object lies in this thread's stack, and looks as if somebody had blocked it. */
static void *wait_for_a_local(void *arg)
{
    struct stowaway *s = arg;
    union object object = *s->blocked;

    CHECK(s->way->call(&object, vthread_after_ms(60000)) == EFAULT);
    return NULL;
}

Test(wait, objects_in_private_stacks_are_refused)
{
    static struct help_messages messages;
    static union object object;

    vthread_set_misuse_handler(help_keep_message, &messages);
    for (const struct way *way = ways; way < ways + WAYS; way++) {
        static struct stowaway s;
        char call[64];

        if (strcmp(way->name, "sem_acquire_uninterruptible") != 0 &&
            strcmp(way->name, "cond_wait_uninterruptible") != 0 && way->deaf)
            continue; /* those end the program */
        memset(&object, 0, sizeof object);
        memset(&messages, 0, sizeof messages);
        way->block(&object);
        s = (struct stowaway){way, &object};
        help_run_with(&(vthread_attr_t){.name = "stowaway"}, wait_for_a_local, &s);
        cr_assert_eq(atomic_load(&messages.count), 1, "%s", way->name);
        snprintf(call, sizeof call, "vthread_%.*s", (int)strcspn(way->name, " "), way->name);
        cr_assert_not_null(strstr(messages.last, call), "%s: %s", call, messages.last);
        if (!way->breaks)
            way->open(&object);
    }
}

static const struct way *died;

static void die_by_it(void)
{
    static union object object;
    static struct stowaway s;
    vthread_t t;

    died->block(&object);
    s = (struct stowaway){died, &object};
    vthread_create(&t, NULL, wait_for_a_local, &s);
    vthread_join(t, NULL);
}

Test(wait, a_lock_that_cannot_be_waited_for_ends_the_program)
{
    for (died = ways; died < ways + WAYS; died++) {
        struct help_end end;

        if (!died->deaf || strstr(died->name, "uninterruptible") != NULL)
            continue;
        end = help_child(die_by_it);
        cr_assert(help_died_by(&end, SIGABRT), "%s: status %d, %s", died->name, end.status, end.text);
        cr_assert_not_null(strstr(end.text, "sync.h"), "%s: %s", died->name, end.text);
    }
}
