/* SPDX-License-Identifier: MIT */
/*
 * pthread_create and what there is to do with its result, in the second mode.
 *
 * A thread has a record, and its pthread_t is the record's address plus one, which no pthread_t of the C library's is:
 * every function of the C library that takes one is hooked, and gets none of ours.  The record belongs to the thread,
 * until it ends, and to whoever may join it, until that has been done or nobody will; the last of the two frees it.
 *
 * The stacks are dedicated ones: threads of a program for pthreads hand each other addresses in their frames.
 *
 * Cancellation is an interruption, which ends waits with ECANCELED, and where that would be returned to the caller the
 * thread ends instead.
 */
#include "posix/thread.h"

#include <errno.h>
#include <setjmp.h>
#include <string.h>
#include <threads.h>

#include <vthread/local.h>

#include "base/atomic.h"
#include "posix/apart.h"
#include "posix/line.h"
#include "posix/wait.h"

struct record {
    vthread_t thread;
    void *(*fn)(void *arg);
    thrd_start_t c11_fn; /* if it was C11 that made it */
    void *arg;
    void *value;                     /* of pthread_exit, while handlers run */
    __pthread_unwind_buf_t *handler; /* the innermost of pthread_cleanup_push */
    ATOMIC(unsigned) owners;
    ATOMIC(const void *) line; /* in which it waits */
    ATOMIC(bool) cancelling;   /* held for a few instructions, and never over a wait: by who changes the next two */
    ATOMIC(bool) is_cancelled;
    ATOMIC(bool) cannot_be_cancelled;
    int rounds; /* of destructors, at its end */
};

static bool is_on;
static vthread_key_t key; /* a thread's record */

static struct record *record_of(pthread_t id)
{
    return (struct record *)((uintptr_t)id - 1);
}

static pthread_t id_of(const struct record *r)
{
    return (pthread_t)((uintptr_t)r + 1);
}

static bool is_ours(pthread_t id)
{
    return is_on && ((uintptr_t)id & 1) != 0;
}

static void disown(void *arg)
{
    struct record *r = arg;

    if (atomic_fetch_sub_acq_rel(&r->owners, 1) == 1)
        free(r);
}

/* The record's key: the program's destructors ask for pthread_self, so that it goes in the last round. */
static void end_record(void *arg)
{
    struct record *r = arg;

    if (++r->rounds == VTHREAD_DESTRUCTOR_ITERATIONS || vthread_setspecific(key, r) != 0)
        disown(r);
}

__attribute__((constructor)) static void look_at_environment(void)
{
    const char *text = getenv("VTHREAD_POSIX_THREADS");

    is_on = text != NULL && strcmp(text, "1") == 0 && vthread_key_create(&key, end_record) == 0;
}

static struct record *self_record(void)
{
    return is_on && vthread_self_virtual() != NULL ? vthread_getspecific(key) : NULL;
}

bool thread_is_posix(void)
{
    return self_record() != NULL;
}

/* ---- the beginning ---- */

/*
 * What the thread's function calls last may return into this one, instead of to it, if the compiler made it a jump. So
 * what lies in this section is not ours (posix/own.c), and it calls no hook itself.
 */
__attribute__((section(OWN_CALLS_SECTION), noinline)) static void *call(thrd_start_t c11_fn, void *(*fn)(void *arg),
                                                                        void *arg)
{
    void *value = c11_fn != NULL ? (void *)(intptr_t)c11_fn(arg) : fn(arg);

    __asm__ volatile("" : "+r"(value)); /* no jump of our own: there is something left to do */
    return value;
}

static void *run(void *arg)
{
    struct record *r = arg;
    void *(*fn)(void *) = r->fn;
    void *fn_arg = r->arg;
    thrd_start_t c11_fn = r->c11_fn;

    if (vthread_setspecific(key, r) != 0) /* no memory: it has no id, then, and cannot be cancelled */
        disown(r);
    return call(c11_fn, fn, fn_arg);
}

/* What the C library's threads have, or 0, as the runtime has it: if somebody has said how much that is. */
static size_t usual_stack_bytes(void)
{
    pthread_attr_t usual;
    size_t bytes = 0;

    if (getenv("VTHREAD_STACK_BYTES") != NULL || pthread_attr_init(&usual) != 0)
        return 0;
    pthread_attr_getstacksize(&usual, &bytes);
    pthread_attr_destroy(&usual);
    return bytes;
}

/* The stack's size, 0: as the runtime has it.  False: something is asked for that only an OS thread has. */
static bool can_be_virtual(const pthread_attr_t *attr, size_t *ret_stack_bytes, bool *ret_detached)
{
    void *stack = NULL;
    int inherits = PTHREAD_INHERIT_SCHED;
    int detached = PTHREAD_CREATE_JOINABLE;

    *ret_stack_bytes = 0;
    *ret_detached = false;
    if (attr == NULL) {
        *ret_stack_bytes = usual_stack_bytes();
        return true;
    }
    pthread_attr_getinheritsched(attr, &inherits);
    pthread_attr_getdetachstate(attr, &detached);
    *ret_detached = detached == PTHREAD_CREATE_DETACHED;
    /* One whose stack has no address says that it begins where a stack of its size would that ends at 0. */
    if (pthread_attr_getstack(attr, &stack, ret_stack_bytes) == 0 && (uintptr_t)stack + *ret_stack_bytes != 0)
        return false;
    return inherits == PTHREAD_INHERIT_SCHED;
}

static int create(pthread_t *id, const struct record *how, size_t stack_bytes, bool detached)
{
    vthread_attr_t attr = {.stack = VTHREAD_STACK_DEDICATED, .stack_bytes = stack_bytes};
    struct record *r = malloc(sizeof *r);
    int error;

    if (r == NULL)
        return EAGAIN;
    *r = *how;
    atomic_store_relaxed(&r->owners, 2);
    error = vthread_new(&r->thread, &attr, run, r);
    if (error != 0) {
        free(r);
        return error == ENOMEM || error == ECANCELED ? EAGAIN : error;
    }
    *id = id_of(r); /* before it runs */
    error = vthread_start(r->thread);
    if (error != 0) {
        vthread_detach(r->thread);
        free(r);
        return EAGAIN;
    }
    if (detached) {
        vthread_detach(r->thread);
        disown(r);
    }
    return 0;
}

/* Not for libraries beneath us, and not in the child of a fork, which has no runtime. */
#define IS_ON() (UNLIKELY(is_on) && !own_is_library(__builtin_return_address(0)))

HOOK int pthread_create(pthread_t *restrict id, const pthread_attr_t *restrict attr, void *(*fn)(void *arg),
                        void *restrict arg)
{
    struct record how = {.fn = fn, .arg = arg};
    size_t stack_bytes;
    bool detached;
    int error = ENOTSUP;

    if (IS_ON() && can_be_virtual(attr, &stack_bytes, &detached))
        error = create(id, &how, stack_bytes, detached);
    return error == ENOTSUP ? REAL(pthread_create)(id, attr, fn, arg) : error;
}

HOOK int thrd_create(thrd_t *id, thrd_start_t fn, void *arg)
{
    struct record how = {.c11_fn = fn, .arg = arg};
    int error = ENOTSUP;

    if (IS_ON())
        error = create(id, &how, usual_stack_bytes(), false);
    if (error == ENOTSUP)
        return REAL(thrd_create)(id, fn, arg);
    return error == 0 ? thrd_success : error == EAGAIN ? thrd_nomem : thrd_error;
}

HOOK pthread_t pthread_self(void)
{
    const struct record *r = IS_ON() ? self_record() : NULL;

    return UNLIKELY(r != NULL) ? id_of(r) : REAL(pthread_self)();
}

HOOK thrd_t thrd_current(void)
{
    const struct record *r = IS_ON() ? self_record() : NULL;

    return UNLIKELY(r != NULL) ? id_of(r) : REAL(thrd_current)();
}

/* ---- the end ---- */

/*
 * That a thread is cancelled, whether it can be, and that it is interrupted go together: otherwise an interruption
 * would come to one that has just said that it cannot be.
 */
static void begin_cancelling(struct record *r)
{
    while (atomic_exchange_acquire(&r->cancelling, true))
        REAL(sched_yield)();
}

static void end_cancelling(struct record *r)
{
    atomic_store_release(&r->cancelling, false);
}

static void set_cancellable(struct record *r, bool can_be)
{
    begin_cancelling(r);
    atomic_store_seq_cst(&r->cannot_be_cancelled, !can_be);
    if (atomic_load_relaxed(&r->is_cancelled)) {
        if (can_be)
            vthread_interrupt(r->thread);
        else
            vthread_interrupted(); /* what it does meanwhile may wait */
    }
    end_cancelling(r);
}

/* A wait for the end of a thread is a point of cancellation, and nothing else ends it. */
static int join_ours(struct record *r, void **value, int64_t deadline_ns)
{
    bool stays = wait_stay();
    bool interrupted = false;
    int error;

    while ((error = vthread_join_until(r->thread, value, deadline_ns)) == EINTR) {
        interrupted = true;
        if (thread_is_cancelled())
            break;
    }
    wait_leave(stays);
    if (interrupted)
        vthread_interrupt(vthread_self());
    if (error == EINTR)
        thread_cancellation_point();
    if (error == 0)
        disown(r);
    return error;
}

struct join {
    pthread_t id;
    void *value;
    int error;
};

static void *join_blocking(void *arg)
{
    struct join *j = arg;

    j->error = REAL(pthread_join)(j->id, &j->value);
    return NULL;
}

static int join(pthread_t id, void **value, bool is_virtual)
{
    struct join j = {.id = id};

    if (is_ours(id))
        return join_ours(record_of(id), value, VTHREAD_FOREVER);
    if (!is_virtual || pthread_equal(id, REAL(pthread_self)()))
        return REAL(pthread_join)(id, value);
    apart_call_copy(join_blocking, &j, sizeof j);
    if (j.error == 0 && value != NULL)
        *value = j.value;
    return j.error;
}

HOOK int pthread_join(pthread_t id, void **value)
{
    return own_is_library(__builtin_return_address(0)) ? REAL(pthread_join)(id, value) : join(id, value, IS_VIRTUAL());
}

HOOK int thrd_join(thrd_t id, int *result)
{
    void *value = NULL;
    int error = join(id, &value, IS_VIRTUAL());

    if (error == 0 && result != NULL)
        *result = (int)(intptr_t)value;
    return error == 0 ? thrd_success : thrd_error;
}

HOOK int pthread_tryjoin_np(pthread_t id, void **value)
{
    int error;

    if (!is_ours(id))
        return REAL(pthread_tryjoin_np)(id, value);
    error = join_ours(record_of(id), value, VTHREAD_NOW);
    return error == ETIMEDOUT ? EBUSY : error;
}

static int64_t deadline_on(clockid_t clock, const struct timespec *until)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return until != NULL ? wait_after(wait_ns_of(until) - wait_ns_of(&now)) : VTHREAD_FOREVER;
}

HOOK int pthread_timedjoin_np(pthread_t id, void **value, const struct timespec *until)
{
    return is_ours(id) ? join_ours(record_of(id), value, deadline_on(CLOCK_REALTIME, until))
                       : REAL(pthread_timedjoin_np)(id, value, until);
}

HOOK int pthread_clockjoin_np(pthread_t id, void **value, clockid_t clock, const struct timespec *until)
{
    return is_ours(id) ? join_ours(record_of(id), value, deadline_on(clock, until))
                       : REAL(pthread_clockjoin_np)(id, value, clock, until);
}

static int detach(struct record *r)
{
    int error = vthread_detach(r->thread);

    if (error == 0 || error == ESRCH) /* it has ended: nobody could have joined it yet */
        disown(r);
    return error == ESRCH ? 0 : error;
}

HOOK int pthread_detach(pthread_t id)
{
    return is_ours(id) ? detach(record_of(id)) : REAL(pthread_detach)(id);
}

HOOK int thrd_detach(thrd_t id)
{
    if (!is_ours(id))
        return REAL(thrd_detach)(id);
    return detach(record_of(id)) == 0 ? thrd_success : thrd_error;
}

/*
 * ---- pthread_exit and pthread_cleanup_push ----
 *
 * Where the compiler knows no exceptions, which is C's usual case, pthread_cleanup_push is a setjmp whose buffer the C
 * library puts into a list; the library's own have a function instead (__pad[1]).  To end the thread is to jump to the
 * last of them, which runs the handler and asks for the next.  The C library's list is the carrier's.
 */

static NORETURN void leave(struct record *r)
{
    __pthread_unwind_buf_t *handler;
    sigjmp_buf whole; /* what is in the handler's has no room for a signal mask, and holds none */

    while ((handler = r->handler) != NULL && handler->__pad[1] != NULL) {
        r->handler = handler->__pad[0];
        ((void (*)(void *))(uintptr_t)handler->__pad[1])(handler->__pad[2]);
    }
    if (handler == NULL)
        vthread_exit(r->value);
    r->handler = handler->__pad[0];
    memcpy(whole, handler->__cancel_jmp_buf, sizeof handler->__cancel_jmp_buf);
    siglongjmp(whole, 1);
}

static NORETURN void leave_with(void *value)
{
    struct record *r = self_record();

    if (r == NULL)
        vthread_exit(value);
    r->value = value;
    set_cancellable(r, false);
    leave(r);
}

HOOK void __pthread_register_cancel(__pthread_unwind_buf_t *handler)
{
    struct record *r = self_record();

    if (r == NULL) {
        REAL(__pthread_register_cancel)(handler);
        return;
    }
    handler->__pad[0] = r->handler;
    handler->__pad[1] = NULL;
    r->handler = handler;
}

void thread_cleanup_push(__pthread_unwind_buf_t *handler, void (*fn)(void *arg), void *arg)
{
    struct record *r = self_record();

    if (r == NULL)
        return;
    handler->__pad[0] = r->handler;
    handler->__pad[1] = (void *)(uintptr_t)fn;
    handler->__pad[2] = arg;
    r->handler = handler;
}

void thread_cleanup_pop(__pthread_unwind_buf_t *handler)
{
    struct record *r = self_record();

    if (r != NULL)
        r->handler = handler->__pad[0];
}

HOOK void __pthread_unregister_cancel(__pthread_unwind_buf_t *handler)
{
    struct record *r = self_record();

    if (r == NULL)
        REAL(__pthread_unregister_cancel)(handler);
    else
        r->handler = handler->__pad[0];
}

HOOK NORETURN void __pthread_unwind_next(__pthread_unwind_buf_t *handler)
{
    struct record *r = self_record();

    if (r != NULL)
        leave(r);
    REAL(__pthread_unwind_next)(handler);
    __builtin_unreachable();
}

HOOK NORETURN void pthread_exit(void *value)
{
    if (IS_VIRTUAL())
        leave_with(value);
    REAL(pthread_exit)(value);
    __builtin_unreachable();
}

HOOK NORETURN void thrd_exit(int result)
{
    if (IS_VIRTUAL())
        leave_with((void *)(intptr_t)result);
    REAL(thrd_exit)(result);
    __builtin_unreachable();
}

/* ---- cancellation ---- */

static bool is_to_end(struct record *r)
{
    return atomic_load_seq_cst(&r->is_cancelled) && !atomic_load_relaxed(&r->cannot_be_cancelled);
}

void thread_waits_in(const void *line)
{
    struct record *r = self_record();

    if (r != NULL)
        atomic_store_seq_cst(&r->line, line);
}

bool thread_is_cancelled(void)
{
    struct record *r = self_record();

    return r != NULL && is_to_end(r);
}

void thread_cancellation_point(void)
{
    struct record *r = self_record();

    if (r != NULL && is_to_end(r))
        leave_with(PTHREAD_CANCELED);
}

HOOK int pthread_cancel(pthread_t id)
{
    struct record *r = record_of(id);
    const void *line;
    bool can_be;

    if (!is_ours(id))
        return REAL(pthread_cancel)(id);
    begin_cancelling(r);
    atomic_store_seq_cst(&r->is_cancelled, true);
    can_be = !atomic_load_relaxed(&r->cannot_be_cancelled);
    if (can_be)
        vthread_interrupt(r->thread);
    end_cancelling(r);
    if (!can_be)
        return 0; /* it looks when it can be */
    line = atomic_load_seq_cst(&r->line);
    if (line != NULL)
        line_nudge(line); /* others, too, who look again */
    return 0;
}

HOOK void pthread_testcancel(void)
{
    if (self_record() != NULL)
        thread_cancellation_point();
    else
        REAL(pthread_testcancel)();
}

HOOK int pthread_setcancelstate(int state, int *old)
{
    struct record *r = self_record();

    if (r == NULL || (state != PTHREAD_CANCEL_ENABLE && state != PTHREAD_CANCEL_DISABLE))
        return REAL(pthread_setcancelstate)(state, old);
    if (old != NULL)
        *old = atomic_load_relaxed(&r->cannot_be_cancelled) ? PTHREAD_CANCEL_DISABLE : PTHREAD_CANCEL_ENABLE;
    set_cancellable(r, state == PTHREAD_CANCEL_ENABLE);
    return 0;
}

/* Asynchronous cancellation there is none. */
HOOK int pthread_setcanceltype(int type, int *old)
{
    if (self_record() == NULL)
        return REAL(pthread_setcanceltype)(type, old);
    if (old != NULL)
        *old = PTHREAD_CANCEL_DEFERRED;
    return type == PTHREAD_CANCEL_DEFERRED ? 0 : type == PTHREAD_CANCEL_ASYNCHRONOUS ? ENOTSUP : EINVAL;
}

/* ---- what else takes a pthread_t ---- */

HOOK int pthread_setname_np(pthread_t id, const char *name)
{
    return is_ours(id) ? vthread_setname(record_of(id)->thread, name) : REAL(pthread_setname_np)(id, name);
}

HOOK int pthread_getname_np(pthread_t id, char *name, size_t size)
{
    return is_ours(id) ? vthread_name(record_of(id)->thread, name, size) : REAL(pthread_getname_np)(id, name, size);
}

/* Signals do not reach virtual threads; 0 asks whether it is there. */
HOOK int pthread_kill(pthread_t id, int number)
{
    if (!is_ours(id))
        return REAL(pthread_kill)(id, number);
    return number == 0 ? 0 : ENOTSUP;
}

HOOK int pthread_sigqueue(pthread_t id, int number, const union sigval value)
{
    return is_ours(id) ? ENOTSUP : REAL(pthread_sigqueue)(id, number, value);
}

HOOK int pthread_getattr_np(pthread_t id, pthread_attr_t *attr)
{
    return is_ours(id) ? ENOTSUP : REAL(pthread_getattr_np)(id, attr);
}

HOOK int pthread_getcpuclockid(pthread_t id, clockid_t *clock)
{
    return is_ours(id) ? ENOENT : REAL(pthread_getcpuclockid)(id, clock);
}

HOOK int pthread_getschedparam(pthread_t id, int *policy, struct sched_param *parameters)
{
    return REAL(pthread_getschedparam)(is_ours(id) ? REAL(pthread_self)() : id, policy, parameters); /* the carrier's */
}

HOOK int pthread_setschedparam(pthread_t id, int policy, const struct sched_param *parameters)
{
    return is_ours(id) ? ENOTSUP : REAL(pthread_setschedparam)(id, policy, parameters);
}

HOOK int pthread_setschedprio(pthread_t id, int priority)
{
    return is_ours(id) ? ENOTSUP : REAL(pthread_setschedprio)(id, priority);
}

HOOK int pthread_getaffinity_np(pthread_t id, size_t size, cpu_set_t *cpus)
{
    return REAL(pthread_getaffinity_np)(is_ours(id) ? REAL(pthread_self)() : id, size, cpus);
}

HOOK int pthread_setaffinity_np(pthread_t id, size_t size, const cpu_set_t *cpus)
{
    return is_ours(id) ? ENOTSUP : REAL(pthread_setaffinity_np)(id, size, cpus);
}
