/* SPDX-License-Identifier: MIT */
/*
 * The runtime's life: configure, start at first use, statistics, shutdown, fork.
 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vthread/version.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/panic.h"
#include "continuation/life.h"
#include "vthread/collector.h"
#include "vthread/event.h"
#include "vthread/local_internal.h"
#include "vthread/mount.h"
#include "vthread/symbol.h"
#include "vthread/thread.h"

/*
 * STOPPING: no new threads; those there are end.  CLOSING, with the lock held
 * throughout: everything is being taken down.
 */

enum {
    DEFAULT_STACK_BYTES = 1024 * 1024,
    MIN_STACK_BYTES = 64 * 1024,
    DEFAULT_MAX_POOL_SIZE = 256,
    DEFAULT_SOLE_STACKS = 1024,
    DEFAULT_THRESHOLD_MS = 20,
    DEFAULT_SHARED_PER_CARRIER = 256,
};

static struct {
    pthread_mutex_t lock;
    bool fork_handler;
    vthread_stack_t default_stack;
    vthread_runtime_params_t params;
    ATOMIC(uint64_t) created; /* by platform threads */
    ATOMIC(uint64_t) ended;   /* on platform threads */
    ATOMIC(bool) shutting;    /* somebody is inside vthread_runtime_shutdown */
} runtime = {.lock = PTHREAD_MUTEX_INITIALIZER};

bool runtime_strict;
bool runtime_checks_mutexes;
bool runtime_looks;
__typeof__(runtime_is_forked) runtime_is_forked;
__typeof__(runtime_life) runtime_life;
bool runtime_plain_switches;
const struct runtime_companion *runtime_companion;

vthread_stack_t runtime_default_stack(void)
{
    return runtime.default_stack;
}

void runtime_count_created(int n)
{
    atomic_fetch_add_relaxed(&runtime.created, (uint64_t)(int64_t)n);
}

void runtime_count_ended(void)
{
    atomic_fetch_add_acq_rel(&runtime.ended, 1); /* release: pairs with alive() */
}

/* The child has one thread, which is nobody's carrier and has no record: every call finds that out. */
static void in_child(void)
{
    atomic_store_relaxed(&runtime_is_forked, true);
    carrier_current = NULL;
    platform_forget_self();
}

/* ---- complaints ---- */

/* Handlers may call the library, so what is found under the lock is told after it. */
enum { COMPLAINTS_MAX = 16 }; /* more than there are reasons */

struct complaints {
    unsigned count;
    struct complaint {
        const char *call; /* a literal */
        char text[240];
    } list[COMPLAINTS_MAX];
};

static struct complaints complaints; /* under runtime.lock */

PRINTF_FORMAT(2, 3) static void complain_locked(const char *call, const char *format, ...)
{
    struct complaint *c;
    va_list args;

    if (complaints.count == COMPLAINTS_MAX)
        return;
    c = &complaints.list[complaints.count++];
    c->call = call;
    va_start(args, format);
    vsnprintf(c->text, sizeof c->text, format, args);
    va_end(args);
}

static COLD NOINLINE void unlock_and_complain(void)
{
    struct complaints mine = complaints;

    complaints.count = 0;
    pthread_mutex_unlock(&runtime.lock);
    for (unsigned i = 0; i < mine.count; i++)
        misuse(mine.list[i].call, "%s", mine.list[i].text);
}

static void unlock(void)
{
    if (UNLIKELY(complaints.count > 0))
        unlock_and_complain();
    else
        pthread_mutex_unlock(&runtime.lock);
}

/* ---- configuration ---- */

static unsigned long env_number(const char *name, unsigned long fallback, unsigned long low, unsigned long high)
{
    const char *text = getenv(name);
    char *end;
    unsigned long value;

    if (text == NULL || *text == '\0')
        return fallback;
    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || *text == '-' || value < low || value > high) {
        complain_locked(name, "the environment variable %s=\"%s\" is ignored: it takes a whole number from %lu to %lu",
                        name, text, low, high);
        return fallback;
    }
    return value;
}

static unsigned env_choice(const char *name, unsigned set, unsigned fallback, unsigned low, unsigned high)
{
    return set != 0 ? set : (unsigned)env_number(name, fallback, low, high);
}

static vthread_stack_t env_stack(vthread_stack_t set)
{
    const char *text = getenv("VTHREAD_STACK");

    if (set != VTHREAD_STACK_DEFAULT)
        return set;
    if (text == NULL || *text == '\0' || strcmp(text, "shared") == 0)
        return VTHREAD_STACK_SHARED;
    if (strcmp(text, "dedicated") == 0)
        return VTHREAD_STACK_DEDICATED;
    complain_locked("VTHREAD_STACK", "VTHREAD_STACK=\"%s\" is ignored: it takes shared or dedicated", text);
    return VTHREAD_STACK_SHARED;
}

static enum event_trace env_trace(const char *name)
{
    const char *text = getenv(name);

    if (text == NULL || *text == '\0')
        return EVENT_TRACE_OFF;
    if (strcmp(text, "short") == 0)
        return EVENT_TRACE_SHORT;
    if (strcmp(text, "full") == 0)
        return EVENT_TRACE_FULL;
    complain_locked(name, "%s=\"%s\" is ignored: it takes short or full", name, text);
    return EVENT_TRACE_OFF;
}

static int64_t threshold_ns(int64_t set, const char *name)
{
    return set != 0 ? set : (int64_t)env_number(name, DEFAULT_THRESHOLD_MS, 0, 1000000) * 1000000;
}

int vthread_runtime_configure(const vthread_runtime_params_t *params)
{
    int error = 0;

    if (params == NULL)
        return EINVAL;
    for (size_t i = 0; i < sizeof params->reserved / sizeof params->reserved[0]; i++)
        if (params->reserved[i] != 0)
            return EINVAL;
    if (params->parallelism > CARRIERS_MAX || params->max_pool_size > CARRIERS_MAX ||
        (params->max_pool_size != 0 && params->parallelism > params->max_pool_size) ||
        (unsigned)params->stack > VTHREAD_STACK_DEDICATED || params->pinned_threshold_ns < 0 ||
        params->hog_threshold_ns < 0 || (params->stack_bytes != 0 && params->stack_bytes < MIN_STACK_BYTES) ||
        params->stack_bytes > (size_t)1 << 32)
        return EINVAL;
    pthread_mutex_lock(&runtime.lock);
    if (atomic_load_relaxed(&runtime_life) != LIFE_STOPPED || continuation_is_started())
        error = EBUSY;
    else
        runtime.params = *params;
    pthread_mutex_unlock(&runtime.lock);
    return error;
}

/* ---- start ---- */

/* Shadow stacks cannot follow frames that are copied. */
static bool shadow_stack_is_on(void)
{
#if defined(__x86_64__)
    unsigned long ssp = 0;

    __asm__ volatile("rdsspq %0" : "+r"(ssp));
    return ssp != 0;
#else
    return false;
#endif
}

static void choose_pool(struct pool_params *ret_params)
{
    const vthread_runtime_params_t *set = &runtime.params;
    struct pool_params pool_params = {.hooks = &thread_hooks};
    unsigned cpus = parallelism_available();

    pool_params.max_pool_size =
        env_choice("VTHREAD_MAX_POOL_SIZE", set->max_pool_size, DEFAULT_MAX_POOL_SIZE, 1, CARRIERS_MAX);
    if (cpus > pool_params.max_pool_size)
        cpus = pool_params.max_pool_size;
    pool_params.parallelism = env_choice("VTHREAD_PARALLELISM", set->parallelism, cpus, 1, pool_params.max_pool_size);
    pool_params.min_runnable = env_choice("VTHREAD_MIN_RUNNABLE", set->min_runnable, 1, 1, CARRIERS_MAX);
    pool_params.hog_report_ns = threshold_ns(set->hog_threshold_ns, "VTHREAD_HOG_MS");
    pool_params.force_migrate = env_number("VTHREAD_FORCE_MIGRATE", 0, 0, 1) != 0;
    *ret_params = pool_params;
}

static void choose_stacks(struct stack_params *ret_params, unsigned parallelism)
{
    const vthread_runtime_params_t *set = &runtime.params;
    bool few = getenv("VTHREAD_STACKS") != NULL || set->stacks != 0;
    struct stack_params stack_params;
    unsigned sole;

    stack_params.stack_bytes = set->stack_bytes != 0 ? set->stack_bytes
                                                     : env_number("VTHREAD_STACK_BYTES", DEFAULT_STACK_BYTES,
                                                                  MIN_STACK_BYTES, (unsigned long)1 << 32);
    stack_params.shared_max =
        env_choice("VTHREAD_STACKS", set->stacks, DEFAULT_SHARED_PER_CARRIER * parallelism, 1, 1 << 20);
    sole = set->sole_stacks == UINT_MAX ? 0 : set->sole_stacks;
    if (set->sole_stacks == 0)
        sole = (unsigned)env_number("VTHREAD_SOLE_STACKS", few ? 0 : DEFAULT_SOLE_STACKS, 0, 1 << 20);
    stack_params.sole_max = sole;
    *ret_params = stack_params;
}

static int refuse_shadow_stack_locked(void)
{
    if (!shadow_stack_is_on())
        return 0;
    complain_locked("start", "a shadow stack is enforced for this process, which virtual threads cannot run under; "
                             "start it with GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK");
    return ENOTSUP;
}

/* Continuations come first: their stacks are configured like the runtime's, which may use them later. */
static int prepare_continuations(struct stack_params *ret_params)
{
    struct pool_params pool_params;
    int error;

    pthread_mutex_lock(&runtime.lock);
    choose_pool(&pool_params);
    choose_stacks(ret_params, pool_params.parallelism);
    error = refuse_shadow_stack_locked();
    unlock();
    return error;
}

__attribute__((constructor)) static void plug_in(void)
{
    continuation_prepare = prepare_continuations;
    nested_forget = bindings_release;
}

static void start_traces_locked(void)
{
    if (!event_start_traces(env_trace("VTHREAD_TRACE_PINNED"), env_trace("VTHREAD_TRACE_HOGS")))
        complain_locked("start", "there is no thread or memory for VTHREAD_TRACE_PINNED and VTHREAD_TRACE_HOGS");
}

static int start_locked(void)
{
    const vthread_runtime_params_t *set = &runtime.params;
    struct pool_params pool_params;
    struct stack_params stack_params;
    int error = refuse_shadow_stack_locked();

    if (error != 0)
        return error;
    choose_pool(&pool_params);
    choose_stacks(&stack_params, pool_params.parallelism);
    runtime_strict = set->strict || env_number("VTHREAD_STRICT", 0, 0, 1) != 0;
    runtime_checks_mutexes = set->check_mutexes || env_number("VTHREAD_CHECK_MUTEXES", 0, 0, 1) != 0;
    runtime_looks = runtime_strict || runtime_checks_mutexes;
    runtime_plain_switches = runtime_looks || pool_params.force_migrate;
    runtime.default_stack = env_stack(set->stack);
    if (!record_init() || continuation_start(&stack_params) != 0)
        return ENOMEM;
    if (!runtime.fork_handler) {
        runtime.fork_handler = true;
        pthread_atfork(NULL, NULL, in_child);
    }
    mount_init();
    if (runtime_checks_mutexes)
        os_mutex_init();
    pinned_threshold_ns = threshold_ns(set->pinned_threshold_ns, "VTHREAD_PINNED_MS");
    error = overflow_handler_install();
    if (error == 0)
        error = pool_start(&pool_params);
    if (error == 0) /* last, for a start that fails takes nothing back */
        start_traces_locked();
    return error;
}

/* With the lock: once this returns no platform thread is inside a call, and none gets in until it is over. */
static void close_locked(void)
{
    atomic_store_release(&runtime_life, LIFE_CLOSING);
    barrier_heavy();
    platform_await_calls();
}

static void free_everything(void)
{
    platform_end_life();
    record_end_life();
    symbol_forget();
    if (!continuation_stop() && atomic_load_relaxed(&runtime.shutting))
        complain_locked(
            "vthread_runtime_shutdown",
            "%u continuations are left, and with them the memory of their stacks; vthread_cont_free frees them",
            continuation_alive());
    atomic_store_relaxed(&runtime.created, 0);
    atomic_store_relaxed(&runtime.ended, 0);
}

static void start_companion_locked(void)
{
    const char *complaint = runtime_companion != NULL ? runtime_companion->start() : NULL;

    if (complaint != NULL)
        complain_locked("start", "%s", complaint);
}

static COLD int start(void)
{
    int saved = errno; /* the user's, whose call this happens to be inside */
    int error = 0;
    uint32_t life;

    if (platform_was_carrier())
        return ECANCELED;
    pthread_mutex_lock(&runtime.lock);
    life = atomic_load_relaxed(&runtime_life);
    if (life == LIFE_STOPPED) {
        error = start_locked();
        if (error != 0) {
            close_locked();
            free_everything();
        }
        atomic_store_release(&runtime_life, error == 0 ? LIFE_RUNNING : LIFE_STOPPED);
        if (error == 0)
            start_companion_locked();
    } else if (life == LIFE_STOPPING) {
        error = ECANCELED;
    }
    unlock();
    errno = saved;
    return error;
}

int runtime_enter(void)
{
    if (UNLIKELY(runtime_forked()))
        return ENOTSUP;
    if (LIKELY(atomic_load_acquire(&runtime_life) == LIFE_RUNNING))
        return 0;
    return start();
}

int runtime_begin_call(void)
{
    int error;

    for (;;) {
        error = runtime_enter();
        if (error == 0)
            error = platform_begin_call();
        if (error != 0)
            return error;
        /* acquire: pairs with the end of the start, and of the shutdown before it */
        if (LIKELY(atomic_load_acquire(&runtime_life) == LIFE_RUNNING))
            return 0;
        platform_end_call();
    }
}

int runtime_begin_look(void)
{
    int error;

    for (;;) {
        if (UNLIKELY(runtime_forked()))
            return ENOTSUP;
        error = platform_begin_call();
        if (error != 0)
            return error;
        if (LIKELY(atomic_load_acquire(&runtime_life) != LIFE_CLOSING) || platform_is_nested() ||
            platform_was_carrier())
            return 0;
        platform_end_call();
        pthread_mutex_lock(&runtime.lock); /* until it is over */
        pthread_mutex_unlock(&runtime.lock);
    }
}

/* ---- statistics ---- */

/* A call of whatever thread that needs the runtime to run. */
static int begin_call_anywhere(void)
{
    return processor_self() != NULL ? runtime_enter() : runtime_begin_call();
}

void runtime_stats_look(vthread_runtime_stats_t *ret_stats)
{
    vthread_runtime_stats_t s = {0};
    uint64_t ended = atomic_load_relaxed(&runtime.ended);

    s.threads_created = atomic_load_relaxed(&runtime.created);
    s.carriers = atomic_load_acquire(&pool.count);
    for (uint32_t i = 0; i < s.carriers; i++) {
        struct processor *p = (struct processor *)(void *)pool_carrier(i);

        s.threads_created += atomic_load_relaxed(&p->created);
        ended += atomic_load_relaxed(&p->ended);
        for (unsigned k = 0; k < VTHREAD_PIN_KINDS; k++)
            if (k != VTHREAD_PIN_CALLBACK)
                s.pinned_parks += atomic_load_relaxed(&p->pinned[k].parks);
        s.freezes += atomic_load_relaxed(&p->freezes);
    }
    s.threads_alive = s.threads_created > ended ? s.threads_created - ended : 0;
    s.parallelism = atomic_load_relaxed(&pool.parallelism);
    s.carriers_running = atomic_load_relaxed(&pool.running);
    s.carriers_idle = idle_count(&pool.idle);
    s.queued = pool_queued();
    s.steals = atomic_load_relaxed(&pool.steals);
    s.wakes = atomic_load_relaxed(&pool.wakes);
    s.hogs = atomic_load_relaxed(&pool.hogs);
    s.stacks = stack_count();
    s.chunk_bytes = chunk_committed_bytes();
    s.record_bytes = record_committed_bytes();
    *ret_stats = s;
}

int vthread_runtime_stats(vthread_runtime_stats_t *ret_stats)
{
    vthread_runtime_stats_t s;
    int error = begin_call_anywhere();

    if (error != 0)
        return error;
    runtime_stats_look(&s);
    runtime_end_look_anywhere();
    if (ret_stats != NULL)
        *ret_stats = s;
    return 0;
}

int vthread_runtime_pin_stats(vthread_pin_stats_t ret_stats[VTHREAD_PIN_KINDS])
{
    vthread_pin_stats_t stats[VTHREAD_PIN_KINDS] = {{0}};
    int error = begin_call_anywhere();

    if (error != 0)
        return error;
    for (uint32_t i = 0; i < atomic_load_acquire(&pool.count); i++) {
        struct processor *p = (struct processor *)(void *)pool_carrier(i);

        for (unsigned k = 0; k < VTHREAD_PIN_KINDS; k++) {
            int64_t max_ns = atomic_load_relaxed(&p->pinned[k].max_ns);

            stats[k].parks += atomic_load_relaxed(&p->pinned[k].parks);
            stats[k].total_ns += atomic_load_relaxed(&p->pinned[k].total_ns);
            stats[k].max_ns = stats[k].max_ns > max_ns ? stats[k].max_ns : max_ns;
        }
    }
    runtime_end_look_anywhere();
    if (ret_stats != NULL)
        memcpy(ret_stats, stats, sizeof stats);
    return 0;
}

int vthread_runtime_set_parallelism(unsigned n)
{
    int error = begin_call_anywhere();

    if (error != 0)
        return error;
    if (n == 0 || n > pool.max_pool_size)
        error = EINVAL;
    else
        pool_set_parallelism(n);
    runtime_end_look_anywhere();
    return error;
}

/* ---- shutdown ---- */

/*
 * Never less than there are: first all ends are read, and then all beginnings.  The
 * other way round a thread that is made, moves to another carrier and ends during
 * the count would stand for its maker, which lives on.
 */
static uint64_t alive(void)
{
    uint64_t ended = atomic_load_acquire(&runtime.ended);
    uint64_t created;
    uint32_t count = atomic_load_acquire(&pool.count);

    for (uint32_t i = 0; i < count; i++)
        ended += atomic_load_acquire(&((struct processor *)(void *)pool_carrier(i))->ended);
    created = atomic_load_relaxed(&runtime.created);
    count = atomic_load_acquire(&pool.count); /* perhaps a new one */
    for (uint32_t i = 0; i < count; i++)
        created += atomic_load_relaxed(&((struct processor *)(void *)pool_carrier(i))->created);
    return created - ended;
}

/* Call fn for every started thread that the library made and that has not ended. */
static void for_each_alive(void (*fn)(struct thread *t, void *user), void *user)
{
    uint32_t count = record_count();

    for (uint32_t i = 1; i < count; i++) {
        struct thread *t = &thread_table[i];
        enum word_state state = word_state(atomic_load_acquire(&t->word));

        /* value shares its place with fn, and is NULL for threads that the library did not make. */
        if ((state == WORD_ACTIVE || state == WORD_PARKED) && atomic_load_relaxed(&thread_cold(t)->value) != NULL)
            fn(t, user);
    }
}

static void interrupt_one(struct thread *t, void *user)
{
    (void)user;
    vthread_interrupt(thread_handle(t));
}

static void name_one(struct thread *t, void *user)
{
    char name[256];
    unsigned *left = user;

    if (*left == 0)
        return;
    if (vthread_name(thread_handle(t), name, sizeof name) != 0)
        return; /* it ends just now */
    --*left;
    misuse("vthread_runtime_shutdown", "thread %s has not ended: it must return when its waits return EINTR", name);
}

int vthread_runtime_shutdown(int64_t deadline_ns)
{
    struct timespec pause = {0, 200 * 1000};
    unsigned names = 10;

    if (runtime_forked())
        return ENOTSUP;
    if (processor_self() != NULL || platform_is_ours())
        return EDEADLK;
    if (atomic_exchange_acq_rel(&runtime.shutting, true))
        return EBUSY;
    if (collector_is_on())
        collector_enter(); /* it shall not look while we take things down */
    pthread_mutex_lock(&runtime.lock);
    if (atomic_load_relaxed(&runtime_life) == LIFE_STOPPED) {
        pthread_mutex_unlock(&runtime.lock);
        atomic_store_release(&runtime.shutting, false);
        return 0;
    }
    atomic_store_release(&runtime_life, LIFE_STOPPING);
    pthread_mutex_unlock(&runtime.lock);
    barrier_heavy(); /* threads that were being created are seen here, or see that they come too late (create.c) */
    platform_await_calls(); /* from here on only those that are alive make threads */
    for_each_alive(interrupt_one, NULL);
    while (alive() > 0) {
        if (deadline_ns != VTHREAD_FOREVER && clock_now_ns() >= deadline_ns) {
            for_each_alive(name_one, &names);
            atomic_store_release(&runtime.shutting, false);
            return ETIMEDOUT;
        }
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < 5 * 1000 * 1000)
            pause.tv_nsec += pause.tv_nsec / 4;
    }
    thread_discard_unstarted();
    if (runtime_companion != NULL)
        runtime_companion->stop();
    monitor_stop(); /* its last reports are to be traced, too */
    event_stop_traces();
    pthread_mutex_lock(&runtime.lock);
    close_locked();
    pool_stop();
    overflow_handler_remove();
    free_everything();
    runtime.params = (vthread_runtime_params_t){0};
    atomic_store_release(&runtime_life, LIFE_STOPPED);
    atomic_store_release(&runtime.shutting, false);
    unlock();
    event_end_life();
    return 0;
}

/* ---- a collector ---- */

collector_word collector_hooks;

/* With the lock, under which carriers do not end and the runtime is not taken down. */
unsigned collector_begin(const struct collector_hooks *hooks)
{
    unsigned told = 0;

    barrier_init(); /* the runtime may not have been started */
    pthread_mutex_lock(&runtime.lock);
    atomic_store_seq_cst(&collector_hooks, hooks);
    barrier_heavy();
    platform_await_calls();
    memory_set_hold_hook(hooks->enter);
    for (uint32_t i = 0; i < atomic_load_acquire(&pool.count); i++)
        told += hooks->tell(pool_carrier(i));
    unlock();
    return told;
}

/* ---- version ---- */

unsigned vthread_version(void)
{
    return VTHREAD_VERSION;
}

/* libvthread-posix, which nobody is linked with who does not want it, is asked whether its hooks took effect. */
static bool posix_in_effect(void)
{
    static const char here;
    bool (*ask)(const void *asker);

    *(void **)&ask = dlsym(RTLD_DEFAULT, "vthread_posix_in_effect");
    return ask != NULL && ask(&here);
}

bool vthread_has(const char *feature)
{
    if (feature == NULL)
        return false;
    if (strcmp(feature, "net") == 0)
        return VTHREAD_HAS_NET;
    if (strcmp(feature, "gc") == 0)
        return VTHREAD_HAS_GC;
    return strcmp(feature, "posix") == 0 && posix_in_effect();
}
