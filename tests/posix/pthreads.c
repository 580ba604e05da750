/* SPDX-License-Identifier: MIT */
/*
 * pthreads [CARRIERS]: what a program does with pthread_create and its kin; it knows nothing of this library.  Run as
 * it is, and with libvthread-posix loaded before it and VTHREAD_POSIX_THREADS=1; then the number of carriers says
 * that its threads are virtual.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);                                   \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* main, the monitor, and what else the runtime has of its own, besides the carriers. */
enum { MANY = 200, OTHER_OS_THREADS = 20 }; /* a crowded machine has the monitor lend some */

static int carriers;

/* ---- identity, values ---- */

static pthread_t seen[MANY];

static void *note_self(void *arg)
{
    pthread_t *at = arg;

    *at = pthread_self();
    usleep(100);
    EXPECT(pthread_equal(*at, pthread_self()));
    EXPECT(pthread_join(*at, NULL) == EDEADLK);
    return at;
}

static void test_identity(void)
{
    pthread_t t[MANY];

    for (int i = 0; i < MANY; i++)
        EXPECT(pthread_create(&t[i], NULL, note_self, &seen[i]) == 0);
    for (int i = 0; i < MANY; i++) {
        void *value;

        EXPECT(pthread_join(t[i], &value) == 0 && value == &seen[i]);
        EXPECT(pthread_equal(t[i], seen[i]));
    }
    EXPECT(!pthread_equal(pthread_self(), t[0]));
}

/* The compiler may make a function's last call a jump: then it returns to who called the function. */
static void *tell_self(void *arg)
{
    (void)arg;
    return (void *)pthread_self();
}

static void test_last_calls(void)
{
    pthread_t t;
    void *value;

    EXPECT(pthread_create(&t, NULL, tell_self, NULL) == 0);
    EXPECT(pthread_join(t, &value) == 0 && pthread_equal((pthread_t)value, t));
}

/* ---- locks and conditions in a frame, whose addresses others use ---- */

struct meeting {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    sem_t arrived;
    int inside;
    int open;
};

static void *attend(void *arg)
{
    struct meeting *m = arg;

    EXPECT(pthread_mutex_lock(&m->mutex) == 0);
    m->inside++;
    EXPECT(sem_post(&m->arrived) == 0);
    while (!m->open)
        EXPECT(pthread_cond_wait(&m->changed, &m->mutex) == 0);
    m->inside--;
    EXPECT(pthread_mutex_unlock(&m->mutex) == 0);
    return NULL;
}

static int os_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int n = -2; /* . and .. */

    while (readdir(tasks) != NULL)
        n++;
    closedir(tasks);
    return n;
}

static void *hold_meeting(void *arg)
{
    struct meeting m = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    pthread_t t[MANY];

    EXPECT(sem_init(&m.arrived, 0, 0) == 0);
    for (int i = 0; i < MANY; i++)
        EXPECT(pthread_create(&t[i], NULL, attend, &m) == 0);
    for (int i = 0; i < MANY; i++)
        EXPECT(sem_wait(&m.arrived) == 0);
    EXPECT(pthread_mutex_lock(&m.mutex) == 0);
    EXPECT(m.inside == MANY);
    if (carriers > 0)
        EXPECT(os_threads() <= carriers + OTHER_OS_THREADS);
    m.open = 1;
    EXPECT(pthread_cond_broadcast(&m.changed) == 0);
    EXPECT(pthread_mutex_unlock(&m.mutex) == 0);
    for (int i = 0; i < MANY; i++)
        EXPECT(pthread_join(t[i], NULL) == 0);
    EXPECT(m.inside == 0);
    return arg;
}

static void test_frames(void)
{
    pthread_t t;

    EXPECT(pthread_create(&t, NULL, hold_meeting, NULL) == 0);
    EXPECT(pthread_join(t, NULL) == 0);
}

/* ---- attributes ---- */

static sem_t done;

static int use_stack(int depth)
{
    volatile char page[4096];

    page[0] = (char)depth;
    page[4095] = 1;
    return depth == 0 ? page[4095] : use_stack(depth - 1) + page[4095];
}

static void *use_much_stack(void *arg)
{
    EXPECT(use_stack(500) == 501); /* 2 MB */
    EXPECT(sem_post(&done) == 0);
    return arg;
}

static void test_attributes(void)
{
    pthread_attr_t attr;
    pthread_t t;

    EXPECT(sem_init(&done, 0, 0) == 0);
    EXPECT(pthread_create(&t, NULL, use_much_stack, NULL) == 0);
    EXPECT(sem_wait(&done) == 0);
    EXPECT(pthread_join(t, NULL) == 0);
    EXPECT(pthread_attr_init(&attr) == 0);
    EXPECT(pthread_attr_setstacksize(&attr, 4 << 20) == 0);
    EXPECT(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0);
    for (int i = 0; i < 10; i++)
        EXPECT(pthread_create(&t, &attr, use_much_stack, NULL) == 0);
    EXPECT(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_JOINABLE) == 0);
    EXPECT(pthread_create(&t, &attr, use_much_stack, NULL) == 0);
    EXPECT(pthread_detach(t) == 0);
    for (int i = 0; i < 11; i++)
        EXPECT(sem_wait(&done) == 0);
    EXPECT(pthread_attr_destroy(&attr) == 0);
}

/* ---- joining for a time, names ---- */

static int gate[2];

static void *read_gate(void *arg)
{
    char byte;

    EXPECT(read(gate[0], &byte, 1) == 1);
    pthread_exit(arg);
}

static void test_patience(void)
{
    struct timespec now;
    char name[16];
    pthread_t t;
    void *value;

    EXPECT(pthread_create(&t, NULL, read_gate, gate) == 0);
    EXPECT(pthread_tryjoin_np(t, &value) == EBUSY);
    clock_gettime(CLOCK_REALTIME, &now);
    EXPECT(pthread_timedjoin_np(t, &value, &now) == ETIMEDOUT);
    clock_gettime(CLOCK_MONOTONIC, &now);
    EXPECT(pthread_clockjoin_np(t, &value, CLOCK_MONOTONIC, &now) == ETIMEDOUT);
    EXPECT(pthread_setname_np(t, "reader") == 0);
    EXPECT(pthread_getname_np(t, name, sizeof name) == 0 && strcmp(name, "reader") == 0);
    EXPECT(pthread_kill(t, 0) == 0);
    EXPECT(write(gate[1], "x", 1) == 1);
    EXPECT(pthread_timedjoin_np(t, &value, NULL) == 0 && value == gate);
}

/* ---- cancellation ---- */

static pthread_key_t key;
static int destroyed;
static sem_t ready;

static void destroy(void *value)
{
    (void)value;
    __atomic_fetch_add(&destroyed, 1, __ATOMIC_SEQ_CST);
}

static void *read_for_ever(void *arg)
{
    char byte;

    EXPECT(pthread_setspecific(key, &byte) == 0);
    EXPECT(sem_post(&ready) == 0);
    (void)!read(gate[0], &byte, 1);
    EXPECT(!"it is cancelled");
    return arg;
}

static void *put_it_off(void *arg)
{
    char byte;
    int old;

    EXPECT(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old) == 0 && old == PTHREAD_CANCEL_ENABLE);
    EXPECT(pthread_setspecific(key, &byte) == 0);
    EXPECT(sem_post(&ready) == 0);
    EXPECT(read(gate[0], &byte, 1) == 1); /* cancelled by then */
    pthread_testcancel();
    EXPECT(usleep(100) == 0);
    EXPECT(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old) == 0 && old == PTHREAD_CANCEL_DISABLE);
    pthread_testcancel();
    EXPECT(!"it is cancelled");
    return arg;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static sem_t none;

static void unlock(void *arg)
{
    EXPECT(pthread_mutex_unlock(arg) == 0);
}

static void *wait_for_ever(void *arg)
{
    EXPECT(pthread_setspecific(key, &key) == 0);
    EXPECT(sem_post(&ready) == 0);
    if (arg != NULL) {
        (void)!sem_wait(&none);
    } else {
        EXPECT(pthread_mutex_lock(&mutex) == 0);
        pthread_cleanup_push(unlock, &mutex);
        for (;;)
            pthread_cond_wait(&never, &mutex);
        pthread_cleanup_pop(1);
    }
    EXPECT(!"it is cancelled");
    return NULL;
}

static void *join_for_ever(void *arg)
{
    pthread_t *t = arg;

    EXPECT(pthread_setspecific(key, t) == 0);
    EXPECT(sem_post(&ready) == 0);
    pthread_join(*t, NULL);
    EXPECT(!"it is cancelled");
    return NULL;
}

static void test_cancellation(void)
{
    pthread_t t;
    pthread_t other;
    void *value;

    EXPECT(pthread_key_create(&key, destroy) == 0);
    EXPECT(sem_init(&ready, 0, 0) == 0);
    EXPECT(pthread_create(&t, NULL, read_for_ever, NULL) == 0);
    EXPECT(sem_wait(&ready) == 0);
    EXPECT(pthread_cancel(t) == 0);
    EXPECT(pthread_join(t, &value) == 0 && value == PTHREAD_CANCELED);
    EXPECT(pthread_create(&t, NULL, put_it_off, NULL) == 0);
    EXPECT(sem_wait(&ready) == 0);
    EXPECT(pthread_cancel(t) == 0);
    EXPECT(write(gate[1], "x", 1) == 1);
    EXPECT(pthread_join(t, &value) == 0 && value == PTHREAD_CANCELED);
    EXPECT(pthread_create(&other, NULL, read_gate, NULL) == 0);
    EXPECT(pthread_create(&t, NULL, join_for_ever, &other) == 0);
    EXPECT(sem_wait(&ready) == 0);
    EXPECT(pthread_cancel(t) == 0);
    EXPECT(pthread_join(t, &value) == 0 && value == PTHREAD_CANCELED);
    EXPECT(write(gate[1], "x", 1) == 1);
    EXPECT(pthread_join(other, NULL) == 0);
    EXPECT(sem_init(&none, 0, 0) == 0);
    for (int i = 0; i < MANY; i++) {
        EXPECT(pthread_create(&t, NULL, wait_for_ever, i % 2 == 0 ? NULL : gate) == 0);
        EXPECT(sem_wait(&ready) == 0);
        if (i % 4 < 2)
            usleep(100); /* mostly it waits by now */
        EXPECT(pthread_cancel(t) == 0);
        EXPECT(pthread_join(t, &value) == 0 && value == PTHREAD_CANCELED);
    }
    EXPECT(pthread_mutex_trylock(&mutex) == 0);
    EXPECT(pthread_mutex_unlock(&mutex) == 0);
    EXPECT(destroyed == 3 + MANY);
}

/* ---- a condition's signal, which is not lost with who is cancelled, and which a fork's child gives to nobody ---- */

static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static int waiting;
static int items;

static void *take_item(void *arg)
{
    EXPECT(pthread_mutex_lock(&mutex) == 0);
    pthread_cleanup_push(unlock, &mutex);
    waiting++;
    EXPECT(sem_post(&ready) == 0);
    while (items == 0)
        pthread_cond_wait(&filled, &mutex);
    items--;
    waiting--;
    pthread_cleanup_pop(1);
    return arg;
}

/* Until it waits for the condition; the mutex is held then. */
static pthread_t start_taker(void)
{
    pthread_t t;

    EXPECT(pthread_create(&t, NULL, take_item, gate) == 0);
    EXPECT(sem_wait(&ready) == 0);
    EXPECT(pthread_mutex_lock(&mutex) == 0);
    return t;
}

static void test_signal_and_cancellation(void)
{
    pthread_t first = start_taker();
    pthread_t second;
    void *value;

    EXPECT(pthread_mutex_unlock(&mutex) == 0);
    second = start_taker();
    items = 1;
    EXPECT(pthread_cond_signal(&filled) == 0);
    usleep(10000); /* mostly it waits for the mutex by now */
    EXPECT(pthread_cancel(first) == 0);
    EXPECT(pthread_mutex_unlock(&mutex) == 0);
    EXPECT(pthread_join(first, &value) == 0);
    if (value != PTHREAD_CANCELED) { /* it has got the item */
        EXPECT(pthread_mutex_lock(&mutex) == 0);
        items++;
        EXPECT(pthread_cond_signal(&filled) == 0);
        EXPECT(pthread_mutex_unlock(&mutex) == 0);
    }
    EXPECT(pthread_join(second, &value) == 0 && value == gate);
    EXPECT(items == 0);
    waiting = 0;
}

static void test_signal_in_a_child(void)
{
    pthread_t t = start_taker();
    int status;
    pid_t child;

    EXPECT(pthread_mutex_unlock(&mutex) == 0);
    child = fork();
    if (child == 0)
        _exit(pthread_cond_signal(&filled));
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(pthread_mutex_lock(&mutex) == 0);
    EXPECT(waiting == 1);
    items = 1;
    EXPECT(pthread_cond_signal(&filled) == 0);
    EXPECT(pthread_mutex_unlock(&mutex) == 0);
    EXPECT(pthread_join(t, NULL) == 0);
}

/* ---- handlers ---- */

static void add_digit(void *arg)
{
    __atomic_store_n(&destroyed, destroyed * 10 + (int)(long)arg, __ATOMIC_SEQ_CST);
    usleep(100);
}

static void *handle(void *arg)
{
    char byte;

    pthread_cleanup_push(add_digit, (void *)1L);
    pthread_cleanup_push(add_digit, (void *)2L);
    pthread_cleanup_push(add_digit, (void *)3L);
    pthread_cleanup_pop(1);
    pthread_cleanup_push(add_digit, (void *)4L);
    pthread_cleanup_pop(0);
    EXPECT(sem_post(&ready) == 0);
    if (arg == NULL)
        (void)!read(gate[0], &byte, 1);
    pthread_exit(arg);
    pthread_cleanup_pop(0);
    pthread_cleanup_pop(0);
    return NULL;
}

static void test_handlers(void)
{
    for (int i = 0; i < 2; i++) {
        pthread_t t;
        void *value;

        destroyed = 0;
        EXPECT(pthread_create(&t, NULL, handle, i == 0 ? NULL : gate) == 0);
        EXPECT(sem_wait(&ready) == 0);
        if (i == 0)
            EXPECT(pthread_cancel(t) == 0);
        EXPECT(pthread_join(t, &value) == 0 && value == (i == 0 ? PTHREAD_CANCELED : gate));
        EXPECT(destroyed == 321);
    }
}

/* ---- pthread_once: who ends inside has not done it ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int begun;

static void end_the_first(void)
{
    if (begun++ == 0)
        pthread_exit(&begun);
}

static void *call_it_once(void *arg)
{
    EXPECT(pthread_once(&once, end_the_first) == 0);
    return arg;
}

static void test_once(void)
{
    for (int i = 0; i < 3; i++) {
        pthread_t t;
        void *value;

        EXPECT(pthread_create(&t, NULL, call_it_once, NULL) == 0);
        EXPECT(pthread_join(t, &value) == 0 && value == (i == 0 ? &begun : NULL));
    }
    EXPECT(begun == 2);
}

/* ---- a thread is itself in its destructors ---- */

static pthread_key_t late;

static void note_itself(void *value)
{
    *(pthread_t *)value = pthread_self();
}

static void *set_late(void *arg)
{
    EXPECT(pthread_setspecific(late, arg) == 0);
    return NULL;
}

static void test_destructors(void)
{
    pthread_t t;
    pthread_t itself;

    EXPECT(pthread_key_create(&late, note_itself) == 0);
    EXPECT(pthread_create(&t, NULL, set_late, &itself) == 0);
    EXPECT(pthread_join(t, NULL) == 0 && pthread_equal(t, itself));
}

/* ---- times that there are not ---- */

static void *wait_until_never(void *arg)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec = 1000000000;
    EXPECT(pthread_mutex_lock(&mutex) == 0);
    EXPECT(pthread_cond_timedwait(&filled, &mutex, &until) == EINVAL);
    EXPECT(pthread_mutex_unlock(&mutex) == 0);
    EXPECT(sem_init(&none, 0, 1) == 0);
    EXPECT(sem_timedwait(&none, &until) == -1 && errno == EINVAL);
    return arg;
}

static void test_times(void)
{
    pthread_t t;

    EXPECT(pthread_create(&t, NULL, wait_until_never, NULL) == 0);
    EXPECT(pthread_join(t, NULL) == 0);
}

/* ---- C11 ---- */

static int note_current(void *arg)
{
    *(thrd_t *)arg = thrd_current();
    thrd_yield();
    return -7;
}

static void test_c11(void)
{
    thrd_t t;
    thrd_t itself;
    int result = 0;

    EXPECT(thrd_create(&t, note_current, &itself) == thrd_success);
    EXPECT(thrd_join(t, &result) == thrd_success && result == -7);
    EXPECT(thrd_equal(t, itself));
    EXPECT(thrd_create(&t, note_current, &seen[0]) == thrd_success);
    EXPECT(thrd_detach(t) == thrd_success);
}

int main(int argc, char **argv)
{
    carriers = argc > 1 ? atoi(argv[1]) : 0;
    EXPECT(pipe(gate) == 0);
    test_identity();
    test_last_calls();
    test_frames();
    test_attributes();
    test_patience();
    test_cancellation();
    test_handlers();
    test_signal_and_cancellation();
    test_signal_in_a_child();
    test_once();
    test_destructors();
    test_times();
    test_c11();
    return 0;
}
