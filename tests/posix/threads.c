/* SPDX-License-Identifier: MIT */
/* What the C library ties to the OS thread: keys, locks, the signal mask, the end. */
#include "posix_test.h"

#include <semaphore.h>
#include <sys/syscall.h>
#include <threads.h>

static pid_t os_thread(void)
{
    return (pid_t)syscall(SYS_gettid);
}

/* ---- keys ---- */

static pthread_key_t key;
static tss_t tss;
static atomic_int destroyed;

static void destroy(void *value)
{
    CHECK(pthread_getspecific(key) == NULL);
    atomic_fetch_add(&destroyed, (int)(intptr_t)value);
    usleep(1000); /* it may wait */
}

enum { THREADS = 40 };

static vthread_barrier_t all_set;

static void *use_keys(void *arg)
{
    CHECK(pthread_getspecific(key) == NULL);
    CHECK(tss_get(tss) == NULL);
    CHECK_EQ(pthread_setspecific(key, arg), 0);
    CHECK_EQ(tss_set(tss, (char *)arg + 1000), thrd_success);
    CHECK(vthread_barrier_wait(&all_set) >= 0); /* now all have set theirs, on the same few OS threads */
    for (int i = 0; i < 5; i++) {
        usleep(100);
        CHECK(pthread_getspecific(key) == arg);
        CHECK(tss_get(tss) == (char *)arg + 1000);
    }
    return NULL;
}

static void test_keys(void)
{
    vthread_t t[THREADS];
    pthread_key_t gone;

    atomic_store(&destroyed, 0);
    CHECK_EQ(pthread_key_create(&key, destroy), 0);
    CHECK_EQ(tss_create(&tss, NULL), thrd_success);
    CHECK_EQ(vthread_barrier_init(&all_set, THREADS), 0);
    CHECK_EQ(pthread_setspecific(key, &key), 0);
    for (int i = 0; i < THREADS; i++)
        t[i] = spawn(use_keys, i + 1);
    for (int i = 0; i < THREADS; i++)
        join(t[i]);
    CHECK_EQ(atomic_load(&destroyed), THREADS * (THREADS + 1) / 2);
    CHECK(pthread_getspecific(key) == &key);
    CHECK_EQ(pthread_setspecific(key, NULL), 0);
    CHECK_EQ(pthread_key_delete(key), 0);
    tss_delete(tss);
    gone = key;
    CHECK(pthread_setspecific(gone, &key) == EINVAL);
    /* The number is given out again, and the value with the old one is not found under it. */
    CHECK_EQ(pthread_key_create(&key, NULL), 0);
    CHECK(pthread_getspecific(key) == NULL);
    CHECK_EQ(pthread_key_delete(key), 0);
}

/* ---- the end ---- */

static void *leave_early(void *arg)
{
    pthread_setspecific(key, (void *)100);
    pthread_exit(arg);
}

static void test_exit(void)
{
    static int result;

    atomic_store(&destroyed, 0);
    CHECK_EQ(pthread_key_create(&key, destroy), 0);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(join(spawn(leave_early, (intptr_t)&result)), (intptr_t)&result);
    CHECK_EQ(atomic_load(&destroyed), 1000);
    CHECK_EQ(pthread_key_delete(key), 0);
}

/* ---- locks ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long counter;

static bool is_pinned(void)
{
    return vthread_is_pinned(NULL);
}

static void *hold_over_waits(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        pid_t here;
        long before;

        CHECK_EQ(pthread_mutex_lock(&mutex), 0);
        CHECK(is_pinned());
        here = os_thread();
        before = counter;
        if (i % 4 == 0)
            usleep(100);
        else
            sched_yield();
        CHECK_EQ(os_thread(), here);
        CHECK_EQ(counter, before);
        counter = before + 1;
        CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
        CHECK(!is_pinned());
        usleep(10);
    }
    return NULL;
}

static void test_mutexes_pin(void)
{
    vthread_t t[THREADS];

    counter = 0;
    for (int i = 0; i < THREADS; i++)
        t[i] = spawn(hold_over_waits, 0);
    for (int i = 0; i < THREADS; i++)
        join(t[i]);
    CHECK_EQ(counter, 20 * THREADS);
}

static void *nest(void *arg)
{
    struct timespec soon;

    (void)arg;
    CHECK_EQ(pthread_mutex_lock(&recursive), 0);
    CHECK_EQ(pthread_mutex_trylock(&recursive), 0);
    CHECK_EQ(pthread_mutex_lock(&mutex), 0);
    CHECK_EQ(pthread_mutex_trylock(&mutex), EBUSY);
    CHECK_EQ(pthread_mutex_unlock(&recursive), 0);
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
    CHECK(is_pinned());
    CHECK_EQ(pthread_mutex_unlock(&recursive), 0);
    CHECK(!is_pinned());
    clock_gettime(CLOCK_REALTIME, &soon);
    CHECK_EQ(pthread_mutex_timedlock(&mutex, &soon), 0);
    CHECK(is_pinned());
    CHECK_EQ(pthread_mutex_timedlock(&mutex, &soon), ETIMEDOUT);
    clock_gettime(CLOCK_MONOTONIC, &soon);
    CHECK_EQ(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &soon), ETIMEDOUT);
    CHECK_EQ(pthread_cond_timedwait(&changed, &mutex, &soon), ETIMEDOUT);
    CHECK_EQ(pthread_cond_clockwait(&changed, &mutex, CLOCK_MONOTONIC, &soon), ETIMEDOUT);
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
    CHECK(!is_pinned());
    flockfile(stdout);
    CHECK(is_pinned());
    CHECK_EQ(ftrylockfile(stdout), 0);
    funlockfile(stdout);
    CHECK(is_pinned());
    funlockfile(stdout);
    CHECK(!is_pinned());
    return NULL;
}

static void test_nested_locks(void)
{
    join(spawn(nest, 0));
    for (int i = 0; i < 10; i++)
        join(spawn(nest, 0));
}

/* A queue between producers and consumers, all virtual: who waits for the condition does not keep the others from
 * running. */
static int queued;
static int finished;

static void *consume(void *arg)
{
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(pthread_mutex_lock(&mutex), 0);
        while (queued == 0)
            CHECK_EQ(pthread_cond_wait(&changed, &mutex), 0);
        CHECK(is_pinned());
        queued--;
        finished++;
        CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
        CHECK(!is_pinned());
    }
    return arg;
}

static void *produce(void *arg)
{
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(pthread_mutex_lock(&mutex), 0);
        queued++;
        CHECK_EQ(pthread_cond_signal(&changed), 0);
        CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
        sched_yield();
    }
    return arg;
}

static void test_conditions(void)
{
    enum { PAIRS = 10 };
    vthread_t t[2 * PAIRS];

    queued = finished = 0;
    for (int i = 0; i < 2 * PAIRS; i++)
        t[i] = spawn(i < PAIRS ? consume : produce, 0);
    for (int i = 0; i < 2 * PAIRS; i++)
        join(t[i]);
    CHECK_EQ(finished, 50 * PAIRS);
    CHECK_EQ(queued, 0);
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static sem_t semaphore;
static pthread_barrier_t barrier;
static pthread_once_t once;
static atomic_int initialised;

static void initialise(void)
{
    usleep(5000); /* on one carrier the others would pass it by */
    atomic_store(&initialised, 1);
}

static void *post_later(void *arg)
{
    usleep(2000);
    CHECK_EQ(sem_post(arg), 0);
    return NULL;
}

static void test_local_semaphore(void)
{
    pthread_t poster;
    sem_t local;

    CHECK_EQ(sem_init(&local, 0, 0), 0);
    CHECK_EQ(pthread_create(&poster, NULL, post_later, &local), 0);
    CHECK_EQ(sem_wait(&local), 0); /* the stack is kept */
    CHECK_EQ(pthread_join(poster, NULL), 0);
}

static void *use_others(void *arg)
{
    CHECK_EQ(pthread_once(&once, initialise), 0);
    CHECK_EQ(atomic_load(&initialised), 1);
    CHECK(!is_pinned());
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(pthread_rwlock_wrlock(&rwlock), 0);
        counter++;
        CHECK_EQ(pthread_rwlock_unlock(&rwlock), 0);
        CHECK_EQ(pthread_rwlock_rdlock(&rwlock), 0);
        CHECK(counter > 0);
        CHECK_EQ(pthread_rwlock_unlock(&rwlock), 0);
        CHECK_EQ(sem_wait(&semaphore), 0);
        CHECK_EQ(sem_post(&semaphore), 0);
    }
    pthread_barrier_wait(&barrier);
    return arg;
}

static void test_others(void)
{
    enum { MANY = 10 };
    vthread_t t[MANY];

    counter = 0;
    atomic_store(&initialised, 0);
    once = PTHREAD_ONCE_INIT;
    CHECK_EQ(sem_init(&semaphore, 0, 1), 0);
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, MANY), 0);
    for (int i = 0; i < MANY; i++)
        t[i] = spawn(use_others, 0);
    for (int i = 0; i < MANY; i++)
        join(t[i]);
    CHECK_EQ(counter, 20 * MANY);
    CHECK_EQ(pthread_barrier_destroy(&barrier), 0);
}

/* ---- with a time limit, and what C11 calls the same things ---- */

static struct timespec now_on(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now;
}

/* On an OS thread of its own: a virtual one that holds it is pinned, perhaps to the carrier of whom it waits for. */
static void *hold_rwlock(void *arg)
{
    CHECK_EQ(arg == NULL ? pthread_rwlock_wrlock(&rwlock) : pthread_rwlock_rdlock(&rwlock), 0);
    CHECK_EQ(sem_post(&semaphore), 0);
    pthread_barrier_wait(&barrier);
    CHECK_EQ(pthread_rwlock_unlock(&rwlock), 0);
    return NULL;
}

static void *limited(void *arg)
{
    struct timespec real = now_on(CLOCK_REALTIME);
    struct timespec monotonic = now_on(CLOCK_MONOTONIC);
    pthread_t holder;

    CHECK_EQ(sem_init(&semaphore, 0, 0), 0);
    FAILS(sem_timedwait(&semaphore, &real), ETIMEDOUT);
    FAILS(sem_clockwait(&semaphore, CLOCK_MONOTONIC, &monotonic), ETIMEDOUT);
    for (intptr_t reads = 0; reads < 2; reads++) {
        CHECK_EQ(pthread_barrier_init(&barrier, NULL, 2), 0);
        CHECK_EQ(pthread_create(&holder, NULL, hold_rwlock, (void *)reads), 0);
        CHECK_EQ(sem_wait(&semaphore), 0);
        CHECK_EQ(pthread_rwlock_timedwrlock(&rwlock, &real), ETIMEDOUT);
        CHECK_EQ(pthread_rwlock_clockwrlock(&rwlock, CLOCK_MONOTONIC, &monotonic), ETIMEDOUT);
        CHECK_EQ(pthread_rwlock_timedrdlock(&rwlock, &real), reads ? 0 : ETIMEDOUT);
        CHECK_EQ(reads ? pthread_rwlock_unlock(&rwlock) : 0, 0);
        CHECK_EQ(pthread_rwlock_clockrdlock(&rwlock, CLOCK_MONOTONIC, &monotonic), reads ? 0 : ETIMEDOUT);
        CHECK_EQ(reads ? pthread_rwlock_unlock(&rwlock) : 0, 0);
        pthread_barrier_wait(&barrier);
        CHECK_EQ(pthread_join(holder, NULL), 0);
        CHECK_EQ(pthread_barrier_destroy(&barrier), 0);
    }
    return arg;
}

/* Semaphores are waited for without an OS thread each. */
static void *take_one(void *arg)
{
    CHECK_EQ(sem_wait(&semaphore), 0);
    return arg;
}

static void test_limits(void)
{
    vthread_t t[THREADS];

    join(spawn(limited, 0));
    for (int i = 0; i < THREADS; i++)
        t[i] = spawn(take_one, 0);
    for (int i = 0; i < THREADS; i++)
        await_parked(t[i]);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(sem_post(&semaphore), 0);
    for (int i = 0; i < THREADS; i++)
        join(t[i]);
}

static mtx_t c11_mutex;
static cnd_t c11_changed;
static once_flag c11_once = ONCE_FLAG_INIT;

static void *use_c11(void *arg)
{
    struct timespec now = now_on(CLOCK_REALTIME);
    int woken;

    call_once(&c11_once, initialise);
    CHECK_EQ(atomic_load(&initialised), 1);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(mtx_lock(&c11_mutex), thrd_success);
        CHECK(is_pinned());
        CHECK_EQ(mtx_trylock(&c11_mutex), thrd_busy);
        CHECK_EQ(mtx_timedlock(&c11_mutex, &now), thrd_timedout);
        counter++;
        thrd_yield();
        CHECK_EQ(cnd_broadcast(&c11_changed), thrd_success);
        woken = cnd_timedwait(&c11_changed, &c11_mutex, &now); /* by another's broadcast, perhaps */
        CHECK(woken == thrd_timedout || woken == thrd_success);
        CHECK_EQ(mtx_unlock(&c11_mutex), thrd_success);
        CHECK(!is_pinned());
        CHECK_EQ(thrd_sleep(&(struct timespec){.tv_nsec = 1000}, NULL), 0);
    }
    CHECK_EQ(mtx_lock(&c11_mutex), thrd_success);
    finished++;
    CHECK_EQ(cnd_signal(&c11_changed), thrd_success);
    while (finished < (int)(intptr_t)arg)
        CHECK_EQ(cnd_wait(&c11_changed, &c11_mutex), thrd_success);
    CHECK_EQ(cnd_signal(&c11_changed), thrd_success);
    CHECK_EQ(mtx_unlock(&c11_mutex), thrd_success);
    thrd_exit(5);
}

static void test_c11(void)
{
    vthread_t t[THREADS];

    finished = 0;
    counter = 0;
    atomic_store(&initialised, 0);
    c11_once = (once_flag)ONCE_FLAG_INIT;
    CHECK_EQ(mtx_init(&c11_mutex, mtx_timed), thrd_success);
    CHECK_EQ(cnd_init(&c11_changed), thrd_success);
    for (int i = 0; i < THREADS; i++)
        t[i] = spawn(use_c11, THREADS);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(join(t[i]), 5);
    CHECK_EQ(counter, 20 * THREADS);
    cnd_destroy(&c11_changed);
    mtx_destroy(&c11_mutex);
}

/* ---- the signal mask ---- */

static void *change_mask(void *arg)
{
    sigset_t set;
    sigset_t old;

    (void)arg;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, &old), 0);
    CHECK_EQ(sigismember(&old, SIGUSR2), 0); /* the process's, not the carrier's */
    usleep(1000);
    CHECK(!is_pinned());
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &set), 0);
    CHECK_EQ(sigismember(&set, SIGUSR2), 1);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
    CHECK_EQ(sigprocmask(SIG_BLOCK, NULL, &set), 0);
    CHECK_EQ(sigismember(&set, SIGUSR2), 0);
    CHECK_EQ(pthread_sigmask(-1, &set, NULL), EINVAL);
    CHECK_EQ(sigprocmask(SIG_SETMASK, &old, NULL), 0);
    return NULL;
}

static void test_mask(void)
{
    for (int i = 0; i < 4; i++)
        join(spawn(change_mask, 0));
}

/* ---- staying on the carrier ---- */

static void *stay(void *arg)
{
    const char *may_migrate = getenv("VTHREAD_POSIX_MIGRATE");
    pid_t here = os_thread();
    int *address = &errno; /* as foreign code keeps it */
    int fds[2];
    char byte;

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    set_timeout(fds[0], SO_RCVTIMEO, 2);
    for (int i = 0; i < 10; i++) {
        usleep(100);
        sched_yield();
        CHECK_EQ(poll(&(struct pollfd){.fd = fds[0], .events = POLLIN}, 1, 1), 0);
        CHECK_EQ(read(fds[0], &byte, 1), -1);
        if (may_migrate == NULL) {
            CHECK_EQ(*address, EAGAIN);
            CHECK_EQ(os_thread(), here);
        }
    }
    plain_close_pair(fds);
    return arg;
}

static void test_stays(void)
{
    vthread_t t[THREADS];

    for (int i = 0; i < THREADS; i++)
        t[i] = spawn(stay, 0);
    for (int i = 0; i < THREADS; i++)
        join(t[i]);
}

int main(void)
{
    static const struct test tests[] = {
        {"keys", test_keys, false},
        {"exit", test_exit, false},
        {"mutexes pin", test_mutexes_pin, false},
        {"nested locks", test_nested_locks, false},
        {"conditions", test_conditions, false},
        {"other locks", test_others, false},
        {"limits", test_limits, false},
        {"C11", test_c11, false},
        {"local semaphore", test_local_semaphore, false},
        {"signal mask", test_mask, false},
        {"stays", test_stays, false},
        {NULL, NULL, false},
    };

    CHECK(vthread_has("posix"));
    return run_tests(tests);
}
