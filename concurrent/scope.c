/* SPDX-License-Identifier: MIT */
#include "concurrent/scope.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/panic.h"
#include "concurrent/executor.h"
#include "concurrent/group.h"
#include "sync/sync_internal.h"

enum { LOCKS = 64 };

/* Of the threads' lists of open scopes. */
static struct {
    CACHE_ALIGNED struct lock lock;
} locks[LOCKS];

static struct lock *lock_of(const struct thread *owner)
{
    return &locks[thread_index(owner) % LOCKS].lock;
}

/* ---- the owner's list ---- */

/* One holder less; the last one frees what is left. */
static void release(struct vthread_scope *s, struct lock *lock)
{
    bool is_last;

    lock_acquire(lock);
    is_last = --s->references == 0;
    lock_release(lock);
    if (is_last) {
        vthread_mutex_destroy(&s->mutex);
        memory_free(s);
    }
}

static void push(struct vthread_scope *s, struct thread *self, struct thread_extra *extra)
{
    struct lock *lock = lock_of(self);

    lock_acquire(lock);
    s->references = 1;
    s->outer = extra->scopes;
    s->depth = s->outer != NULL ? s->outer->depth + 1 : 0;
    extra->scopes = s;
    lock_release(lock);
}

static void pop(struct vthread_scope *s, struct thread *self)
{
    struct lock *lock = lock_of(self);

    lock_acquire(lock);
    thread_extra(self)->scopes = s->outer;
    lock_release(lock);
}

/* The calling thread, if it is the owner; else NULL, and what to return. */
static struct thread *owner_self(struct vthread_scope *s, const char *call, int *ret_error)
{
    struct thread *self;

    *ret_error = EINVAL;
    if (s == NULL || (self = thread_self(ret_error)) == NULL)
        return NULL;
    if (LIKELY(thread_handle(self) == s->owner))
        return self;
    misuse(call,
           "the scope %s belongs to the thread that has opened it, which alone forks, joins, takes results and closes; "
           "let a subtask open one of its own, or call vthread_scope_cancel",
           s->name != NULL ? s->name : "(without a name)");
    *ret_error = EPERM;
    return NULL;
}

/* ---- cancelling ---- */

static void revoke(struct vthread_subtask *sub)
{
    uint8_t state = SUBTASK_FORKED;

    /* acquire: one that is RUNNING has its name stored */
    if (!atomic_cas_acq_rel(&sub->state, &state, SUBTASK_REVOKED) && state == SUBTASK_RUNNING && !sub->over)
        vthread_interrupt(atomic_load_relaxed(&sub->work.thread));
}

/* outcome: of join, unless that is over. */
static void cancel_locked(struct vthread_scope *s, int outcome)
{
    if (atomic_load_relaxed(&s->cancelled))
        return;
    atomic_store_relaxed(&s->cancelled, true);
    if (!s->joined)
        s->outcome = outcome;
    for (struct vthread_subtask *sub = s->first; sub != NULL; sub = sub->next)
        revoke(sub);
    vthread_cond_signal(&s->changed);
}

int vthread_scope_cancel(vthread_scope_t *s)
{
    int error;

    if (s == NULL)
        return EINVAL;
    if (thread_self(&error) == NULL)
        return error;
    vthread_mutex_lock(&s->mutex);
    cancel_locked(s, ECANCELED);
    vthread_mutex_unlock(&s->mutex);
    return 0;
}

bool vthread_scope_is_cancelled(vthread_scope_t *s)
{
    return s != NULL && atomic_load_relaxed(&s->cancelled); /* nothing follows from it but to stop */
}

/* ---- the deadline ---- */

static struct vthread_scope *watched_by(struct thread_work *work)
{
    return container_of(work, struct vthread_scope, watch);
}

/* Sleeps until the deadline, or until it is interrupted by close. */
static void *watch(void *work)
{
    struct vthread_scope *s = watched_by(work);

    if (vthread_sleep_until(s->deadline_ns) != 0)
        return NULL;
    vthread_mutex_lock(&s->mutex);
    cancel_locked(s, ETIMEDOUT);
    vthread_mutex_unlock(&s->mutex);
    return NULL;
}

static void watch_ends(struct thread_work *work, void *value)
{
    struct vthread_scope *s = watched_by(work);

    (void)value;
    vthread_mutex_lock(&s->mutex);
    s->watched = false;
    vthread_cond_signal(&s->changed);
    vthread_mutex_unlock(&s->mutex);
}

static const struct thread_work_hooks watch_hooks = {.run = watch, .end = watch_ends};

static int start_watch(struct vthread_scope *s)
{
    static const vthread_attr_t attr = {.no_inherit = true};
    int error;

    if (s->deadline_ns == INT64_MAX)
        return 0;
    if (s->deadline_ns <= clock_now_ns()) {
        cancel_locked(s, ETIMEDOUT); /* nobody else knows it */
        return 0;
    }
    s->watch.hooks = &watch_hooks;
    s->watched = true;
    error = thread_create_work(&attr, &s->watch);
    if (error != 0)
        s->watched = false; /* else it is the watch's */
    return error;
}

/* ---- open ---- */

static bool params_are_valid(const vthread_scope_params_t *params)
{
    return words_are_zero(params->reserved, LENGTH_OF(params->reserved)) &&
           (unsigned)params->joiner <= VTHREAD_SCOPE_AWAIT_ALL && thread_attr_is_valid(&params->attr);
}

static size_t bytes_of(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

static const char *keep(char **at, const char *text)
{
    size_t bytes = bytes_of(text);
    char *copy = *at;

    if (text == NULL)
        return NULL;
    memcpy(copy, text, bytes);
    *at += bytes;
    return copy;
}

static struct vthread_scope *make(const vthread_scope_params_t *params)
{
    struct vthread_scope *s = memory_alloc(sizeof *s + bytes_of(params->name) + bytes_of(params->attr.name) +
                                           bytes_of(params->attr.name_prefix));
    char *at;

    if (s == NULL)
        return NULL;
    at = s->strings;
    s->name = keep(&at, params->name);
    s->attr = params->attr;
    s->attr.name = keep(&at, params->attr.name);
    s->attr.name_prefix = keep(&at, params->attr.name_prefix);
    s->joiner = params->joiner;
    s->deadline_ns = params->deadline_ns != 0 ? params->deadline_ns : INT64_MAX;
    s->discard = params->discard;
    return s;
}

/* The bindings that it is to hand on, and the deadline. */
static int set_up(struct vthread_scope *s)
{
    int error = bindings_capture(&s->bindings);

    if (error != 0)
        return error;
    s->innermost = bindings_innermost();
    error = start_watch(s);
    if (error != 0)
        bindings_release(s->bindings);
    return error;
}

int vthread_scope_open(vthread_scope_t **ret_scope, const vthread_scope_params_t *params)
{
    static const vthread_scope_params_t none;
    struct vthread_scope *s;
    struct thread_extra *extra;
    struct thread *self;
    int error;

    if (params == NULL)
        params = &none;
    if (ret_scope == NULL || !params_are_valid(params))
        return EINVAL;
    self = thread_self(&error);
    if (self == NULL)
        return error;
    extra = thread_extra_own(self);
    if (extra == NULL || (s = make(params)) == NULL)
        return ENOMEM;
    s->owner = thread_handle(self);
    error = set_up(s);
    if (error != 0) {
        memory_free(s);
        return error;
    }
    push(s, self, extra);
    *ret_scope = s;
    return 0;
}

/* ---- subtasks ---- */

static void append_locked(struct vthread_scope *s, struct vthread_subtask *sub)
{
    sub->previous = s->last;
    if (s->last != NULL)
        s->last->next = sub;
    else
        s->first = sub;
    s->last = sub;
}

static void remove_locked(struct vthread_scope *s, struct vthread_subtask *sub)
{
    if (sub->previous != NULL)
        sub->previous->next = sub->next;
    else
        s->first = sub->next;
    if (sub->next != NULL)
        sub->next->previous = sub->previous;
    else
        s->last = sub->previous;
}

static void *run(void *work)
{
    struct vthread_subtask *sub = container_of(work, struct vthread_subtask, work);
    uint8_t state = SUBTASK_FORKED;

    return atomic_cas_acq_rel(&sub->state, &state, SUBTASK_RUNNING) ? sub->fn(sub->arg) : NULL;
}

static struct binding **bindings_of(struct thread_work *work)
{
    return &container_of(work, struct vthread_subtask, work)->bindings;
}

/* What comes of it.  True: somebody may want the value. */
static bool settle_locked(struct vthread_scope *s, struct vthread_subtask *sub, void *value)
{
    if (atomic_load_relaxed(&s->cancelled)) {
        atomic_store_release(&sub->state, SUBTASK_REVOKED);
        return false;
    }
    if (sub->work.error != 0) {
        sub->error = sub->work.error;
        atomic_store_release(&sub->state, SUBTASK_FAILED);
        if (s->error == 0)
            s->error = sub->error;
        if (s->joiner == VTHREAD_SCOPE_ALL_SUCCEED)
            cancel_locked(s, ECHILD);
        return false;
    }
    sub->value = value;
    atomic_store_release(&sub->state, SUBTASK_SUCCEEDED);
    if (s->joiner == VTHREAD_SCOPE_ANY_SUCCEED) {
        sub->kept = true;
        cancel_locked(s, 0);
    }
    return sub->kept;
}

/* Its thread ends: the last that it does.  The scope, or what is kept, may be gone as soon as the mutex is released. */
static void end(struct thread_work *work, void *value)
{
    struct vthread_subtask *sub = container_of(work, struct vthread_subtask, work);
    struct vthread_scope *s = sub->scope;
    bool kept;

    memory_let_go(sub->copy);
    sub->copy = NULL;
    bindings_release(sub->bindings);
    sub->bindings = NULL;
    vthread_mutex_lock(&s->mutex);
    if (!settle_locked(s, sub, value) && value != NULL && s->discard != NULL) {
        vthread_mutex_unlock(&s->mutex);
        s->discard(value);
        thread_wind_up(thread_self(NULL)); /* of what that may have left */
        vthread_mutex_lock(&s->mutex);
    }
    sub->over = true;
    kept = sub->kept;
    if (!kept)
        remove_locked(s, sub);
    if (--s->alive == 0)
        vthread_cond_signal(&s->changed);
    vthread_mutex_unlock(&s->mutex);
    if (!kept)
        memory_let_go(sub);
}

/* ---- fork ---- */

static int refuse_fork(const char *call, struct vthread_scope *s, void *(*fn)(void *arg))
{
    int error;

    if (owner_self(s, call, &error) == NULL)
        return error;
    if (fn == NULL)
        return EINVAL;
    if (s->joined) {
        misuse(call, "the scope was joined, and nobody would wait for another subtask; fork before vthread_scope_join");
        return EINVAL;
    }
    if (bindings_innermost() != s->innermost) {
        misuse(call, "other scoped values are bound than where the scope was opened, and would end before the subtask "
                     "does; open the scope inside of the function that they are bound for");
        return EPERM;
    }
    return bindings_refuse_private(call, s->bindings);
}

/* Into the list.  False: the scope is cancelled, and so it never runs. */
static bool enter(struct vthread_scope *s, struct vthread_subtask *sub)
{
    bool runs;

    vthread_mutex_lock(&s->mutex);
    runs = !atomic_load_relaxed(&s->cancelled);
    if (!runs) {
        atomic_store_relaxed(&sub->state, SUBTASK_REVOKED);
        sub->over = true;
    }
    s->alive += runs;
    if (runs || sub->kept)
        append_locked(s, sub);
    vthread_mutex_unlock(&s->mutex);
    return runs;
}

static void leave(struct vthread_scope *s, struct vthread_subtask *sub)
{
    vthread_mutex_lock(&s->mutex);
    remove_locked(s, sub);
    s->alive--;
    vthread_mutex_unlock(&s->mutex);
}

static void free_subtask(struct vthread_subtask *sub)
{
    memory_let_go(sub->copy);
    bindings_release(sub->bindings);
    memory_let_go(sub);
}

/* It is in the list, and its thread is to run. */
static int start(struct vthread_scope *s, struct vthread_subtask *sub)
{
    int error;

    sub->bindings = bindings_hold(s->bindings);
    error = thread_create_work(&s->attr, &sub->work);
    if (error == 0)
        return 0;
    leave(s, sub);
    free_subtask(sub);
    return error;
}

static const struct thread_work_hooks subtask_hooks = {run, end, bindings_of};

/* copy: of the argument, or NULL; taken over. */
static int fork_one(struct vthread_scope *s, void *(*fn)(void *arg), void *arg, void *copy,
                    vthread_subtask_t **ret_subtask)
{
    struct vthread_subtask *sub = memory_hold(sizeof *sub);
    int error = 0;

    if (sub == NULL) {
        memory_let_go(copy);
        return ENOMEM;
    }
    sub->work.hooks = &subtask_hooks;
    sub->scope = s;
    sub->fn = fn;
    sub->arg = arg;
    sub->copy = copy;
    sub->kept = ret_subtask != NULL;
    if (enter(s, sub))
        error = start(s, sub); /* it may be over and gone already, unless it is kept */
    else if (ret_subtask == NULL)
        free_subtask(sub);
    if (error != 0)
        return error;
    s->forked = true;
    if (ret_subtask != NULL)
        *ret_subtask = sub;
    return 0;
}

int vthread_scope_fork(vthread_scope_t *s, void *(*fn)(void *arg), void *arg, vthread_subtask_t **ret_subtask)
{
    int error = refuse_fork("vthread_scope_fork", s, fn);

    if (error != 0)
        return error;
    if (UNLIKELY(stack_is_private(arg)))
        return stack_refuse_private("vthread_scope_fork", "the argument", arg);
    return fork_one(s, fn, arg, NULL, ret_subtask);
}

int vthread_scope_fork_copy(vthread_scope_t *s, void *(*fn)(void *arg), const void *ptr, size_t size,
                            vthread_subtask_t **ret_subtask)
{
    int error = refuse_fork("vthread_scope_fork_copy", s, fn);
    void *copy;

    if (error != 0)
        return error;
    if (ptr == NULL && size > 0)
        return EINVAL;
    copy = memory_copy(ptr, size);
    if (copy == NULL)
        return ENOMEM;
    return fork_one(s, fn, copy, copy, ret_subtask);
}

/* ---- join ---- */

/* All are over, or it is cancelled: 0.  Else why the wait ended before. */
static int await_locked(struct vthread_scope *s, int64_t deadline_ns)
{
    int64_t sooner_ns = s->deadline_ns < deadline_ns ? s->deadline_ns : deadline_ns;
    int error;

    while (s->alive > 0 && !atomic_load_relaxed(&s->cancelled)) {
        error = vthread_cond_wait_until(&s->changed, &s->mutex, sooner_ns);
        if (error == ETIMEDOUT && clock_now_ns() >= s->deadline_ns)
            cancel_locked(s, ETIMEDOUT); /* its watch may be late */
        else if (error != 0)
            return error;
    }
    return 0;
}

static int join(struct vthread_scope *s, const char *call, int64_t deadline_ns)
{
    int error;

    if (owner_self(s, call, &error) == NULL)
        return error;
    s->tried = true;
    vthread_mutex_lock(&s->mutex);
    if (!s->joined)
        error = await_locked(s, deadline_ns);
    if (error == 0) {
        if (!s->joined && !atomic_load_relaxed(&s->cancelled))
            s->outcome = s->joiner == VTHREAD_SCOPE_ANY_SUCCEED ? ECHILD : 0;
        s->joined = true;
        error = s->outcome;
    }
    vthread_mutex_unlock(&s->mutex);
    return error;
}

int vthread_scope_join(vthread_scope_t *s)
{
    return join(s, "vthread_scope_join", VTHREAD_FOREVER);
}

int vthread_scope_join_until(vthread_scope_t *s, int64_t deadline_ns)
{
    return join(s, "vthread_scope_join_until", deadline_ns);
}

/* ---- results ---- */

/* The next that nobody has taken.  Those that are kept stay in the list, whoever else is leaving it. */
static struct vthread_subtask *next_result_locked(struct vthread_scope *s)
{
    struct vthread_subtask *sub = s->last_taken != NULL ? s->last_taken->next : s->first;

    while (sub != NULL && (sub->taken || !sub->kept || atomic_load_relaxed(&sub->state) != SUBTASK_SUCCEEDED))
        sub = sub->next;
    return sub;
}

int vthread_scope_result(vthread_scope_t *s, void **ret_value)
{
    struct vthread_subtask *sub;
    int error;

    if (owner_self(s, "vthread_scope_result", &error) == NULL)
        return error;
    if (!s->joined)
        return EINVAL;
    if (s->outcome != 0)
        return s->outcome;
    vthread_mutex_lock(&s->mutex);
    sub = next_result_locked(s);
    if (sub != NULL && ret_value != NULL) {
        s->last_taken = sub;
        sub->taken = true;
        *ret_value = sub->value;
    }
    vthread_mutex_unlock(&s->mutex);
    return sub != NULL ? 0 : ENODATA;
}

int vthread_scope_error(vthread_scope_t *s)
{
    int error;

    if (s == NULL || thread_self(&error) == NULL)
        return 0;
    vthread_mutex_lock(&s->mutex);
    error = s->error;
    vthread_mutex_unlock(&s->mutex);
    return error;
}

vthread_subtask_state_t vthread_subtask_state(vthread_subtask_t *sub)
{
    switch (sub != NULL ? atomic_load_acquire(&sub->state) : SUBTASK_FORKED) { /* pairs with settle_locked */
    case SUBTASK_SUCCEEDED:
        return VTHREAD_SUBTASK_SUCCEEDED;
    case SUBTASK_FAILED:
        return VTHREAD_SUBTASK_FAILED;
    default:
        return VTHREAD_SUBTASK_UNAVAILABLE;
    }
}

int vthread_subtask_result(vthread_subtask_t *sub, void **ret_value)
{
    int error;

    if (sub == NULL)
        return EINVAL;
    if (thread_self(&error) == NULL)
        return error;
    vthread_mutex_lock(&sub->scope->mutex);
    switch (vthread_subtask_state(sub)) {
    case VTHREAD_SUBTASK_SUCCEEDED:
        error = 0;
        break;
    case VTHREAD_SUBTASK_FAILED:
        error = ECHILD;
        break;
    case VTHREAD_SUBTASK_UNAVAILABLE:
        error = ECANCELED;
    }
    if (!sub->scope->joined)
        error = EINVAL;
    if (error == 0 && ret_value != NULL) {
        sub->taken = true;
        *ret_value = sub->value;
    }
    vthread_mutex_unlock(&sub->scope->mutex);
    return error;
}

int vthread_subtask_error(vthread_subtask_t *sub)
{
    return vthread_subtask_state(sub) == VTHREAD_SUBTASK_FAILED ? sub->error : 0;
}

/* ---- close ---- */

static void await_end(struct vthread_scope *s)
{
    vthread_mutex_lock(&s->mutex);
    if (s->alive > 0)
        cancel_locked(s, ECANCELED);
    if (s->watched)
        vthread_interrupt(atomic_load_relaxed(&s->watch.thread));
    while (s->alive > 0 || s->watched)
        vthread_cond_wait_uninterruptible(&s->changed, &s->mutex);
    vthread_mutex_unlock(&s->mutex);
}

/* Nobody else has it any more but walkers, who look at no subtasks from here on. */
static void discard_all(struct vthread_scope *s)
{
    struct vthread_subtask *sub;

    vthread_mutex_lock(&s->mutex);
    sub = s->first;
    s->first = s->last = NULL;
    vthread_mutex_unlock(&s->mutex);
    while (sub != NULL) {
        struct vthread_subtask *next = sub->next;

        if (sub->value != NULL && !sub->taken && s->discard != NULL)
            s->discard(sub->value);
        free_subtask(sub);
        sub = next;
    }
}

static void close_and_free(struct vthread_scope *s, struct thread *self)
{
    await_end(s);
    pop(s, self);
    discard_all(s);
    bindings_release(s->bindings);
    release(s, lock_of(self));
}

int vthread_scope_close(vthread_scope_t *s)
{
    struct thread *self;
    bool unattended;
    int error;

    if (s == NULL)
        return 0;
    self = owner_self(s, "vthread_scope_close", &error);
    if (self == NULL)
        return error;
    if (thread_extra(self)->scopes != s) {
        misuse("vthread_scope_close",
               "a scope that was opened after this one is still open; close the innermost first");
        return EPERM;
    }
    unattended = s->forked && !s->tried;
    close_and_free(s, self);
    return unattended ? ECANCELED : 0;
}

/* The calling thread ends with scopes open. */
static void abandon(struct thread *self)
{
    struct vthread_scope *s;

    while ((s = thread_extra(self)->scopes) != NULL) {
        thread_failed(self, VTHREAD_FAILURE_SCOPE_ABANDONED, 0);
        if (thread_extra(self)->scopes == s)
            close_and_free(s, self);
    }
}

__attribute__((constructor)) static void plug_in(void)
{
    thread_abandon_scopes = abandon;
}

/* ---- walking ---- */

/* The innermost of those further out than `below`, held; NULL: there is none. */
static struct vthread_scope *hold(struct thread *owner, uint32_t below)
{
    struct thread_extra *extra = thread_extra(owner);
    struct vthread_scope *s;

    if (extra == NULL)
        return NULL;
    lock_acquire(lock_of(owner));
    s = extra->scopes;
    while (s != NULL && s->depth >= below)
        s = s->outer;
    if (s != NULL)
        s->references++;
    lock_release(lock_of(owner));
    return s;
}

static void visit(struct vthread_scope *s, const struct scope_visitor *visitor, void *user)
{
    vthread_mutex_lock(&s->mutex);
    visitor->scope(s, user);
    for (struct vthread_subtask *sub = s->first; sub != NULL; sub = sub->next)
        if (!sub->over)
            visitor->subtask(atomic_load_acquire(&sub->work.thread), sub, user); /* NULL: not created yet */
    vthread_mutex_unlock(&s->mutex);
}

int scope_walk(vthread_t owner, const struct scope_visitor *visitor, void *user)
{
    struct vthread_scope *s;
    struct thread *t;
    uint32_t below = UINT32_MAX;
    uint32_t generation;
    int error;

    if (thread_self(&error) == NULL)
        return error;
    error = vthread_ref(owner);
    if (error != 0)
        return error;
    t = thread_of(owner, &generation);
    while ((s = hold(t, below)) != NULL) {
        visit(s, visitor, user);
        below = s->depth;
        release(s, lock_of(t));
    }
    vthread_unref(owner);
    return 0;
}

int scope_list(struct thread *owner, uint32_t below, struct scope_view *views, int n)
{
    struct thread_extra *extra = thread_extra(owner);
    int count = 0;

    if (extra == NULL)
        return 0;
    lock_acquire(lock_of(owner));
    for (struct vthread_scope *s = extra->scopes; s != NULL && count < n; s = s->outer) {
        struct scope_view *view = &views[count];

        if (s->depth >= below)
            continue;
        *view = (struct scope_view){.scope = s, .outer = s->outer, .depth = s->depth, .owner = s->owner};
        view->is_cancelled = atomic_load_relaxed(&s->cancelled);
        snprintf(view->name, sizeof view->name, "%s", s->name != NULL ? s->name : "");
        count++;
    }
    lock_release(lock_of(owner));
    return count;
}

/* ---- what a thread belongs to ---- */

/* Works that threads have, and behind each its group. */
struct grouped {
    struct thread_work work;
    const void *group;
};

_Static_assert(offsetof(struct grouped, group) == offsetof(struct vthread_subtask, scope), "grouped.group");
_Static_assert(offsetof(struct grouped, group) == offsetof(struct vthread_future, executor), "grouped.group");

/* Its owner writes it at any time. */
NO_SANITIZE NOINLINE static void *place_of(const struct thread *t)
{
    return *(void *const volatile *)&thread_cold(t)->value;
}

enum group thread_group(struct probe *probe, struct thread *t, uint64_t w, const void **ret_group)
{
    void *place = place_of(t);
    struct thread_work *work = (struct thread_work *)((uintptr_t)place & ~WORK_MARK);
    struct grouped seen;

    if (!((uintptr_t)place & WORK_MARK) || !probe_read(probe, work, &seen, sizeof seen))
        return GROUP_NONE;
    atomic_fence_seq_cst(); /* it has been the thread's work until after that, if it is now: */
    if (place_of(t) != place || word_generation(atomic_load_relaxed(&t->word)) != word_generation(w))
        return GROUP_NONE;
    *ret_group = seen.group;
    if (seen.work.hooks == &subtask_hooks)
        return GROUP_SCOPE;
    if (seen.work.hooks == &per_task_hooks)
        return GROUP_EXECUTOR;
    if (seen.work.hooks == &worker_hooks) {
        *ret_group = worker_executor(&seen.work);
        return GROUP_EXECUTOR;
    }
    if (seen.work.hooks == &watch_hooks) {
        *ret_group = watched_by(work);
        return GROUP_SCOPE;
    }
    return GROUP_NONE;
}
