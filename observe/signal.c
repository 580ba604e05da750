/* SPDX-License-Identifier: MIT */
/*
 * VTHREAD_DUMP_SIGNAL: a dump to standard error whenever that signal comes.
 *
 * The handler, on one of the program's threads, only says so; a thread of our own, which lives as long as the runtime,
 * makes the dump.  Signals that come while it does so are one.
 *
 * Whoever sets that wants to see what hangs: carriers may be interrupted for samples all the time (vthread/sample.h).
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/service.h"
#include "observe/dump.h"
#include "vthread/mount.h"

static struct {
    int number; /* 0: none */
    struct sigaction before;
    pthread_t thread;
    sem_t wanted;
    ATOMIC(bool) stopping;
} signals;

static void on_signal(int number)
{
    int saved = errno;

    (void)number;
    sem_post(&signals.wanted);
    errno = saved;
}

static void *dumper(void *arg)
{
    (void)arg;
    for (;;) {
        while (sem_wait(&signals.wanted) != 0)
            ;
        while (sem_trywait(&signals.wanted) == 0)
            ;
        if (atomic_load_acquire(&signals.stopping))
            return NULL;
        (void)vthread_dump(STDERR_FILENO, VTHREAD_DUMP_TEXT);
    }
}

/* ---- names ---- */

static int number_of(const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);

    if (end != text && *end == '\0')
        return number > 0 && number < NSIG ? (int)number : 0;
    if (strncmp(text, "SIG", 3) == 0)
        text += 3;
    for (int i = 1; i < NSIG; i++) {
        const char *name = sigabbrev_np(i);

        if (name != NULL && strcmp(name, text) == 0)
            return i;
    }
    if (strncmp(text, "RTMIN+", 6) == 0) {
        number = strtol(text + 6, &end, 10);
        if (end != text + 6 && *end == '\0' && number >= 0 && number <= SIGRTMAX - SIGRTMIN)
            return SIGRTMIN + (int)number;
    }
    return 0;
}

/* Not those that say that something is broken, which must end the program, nor those that cannot be handled. */
static bool can_be_used(int number)
{
    static const int others[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGKILL, SIGSTOP};

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (number == others[i])
            return false;
    return number > 0;
}

/* ---- with the runtime ---- */

static const char *start(void)
{
    const char *text = getenv("VTHREAD_DUMP_SIGNAL");
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    int number;

    signals.number = 0;
    if (text == NULL || *text == '\0')
        return NULL;
    number = number_of(text);
    if (!can_be_used(number))
        return "VTHREAD_DUMP_SIGNAL is ignored: it takes the number or the name of a signal that a program may handle";
    if (sigaction(number, NULL, &signals.before) != 0 ||
        (signals.before.sa_handler != SIG_DFL && signals.before.sa_handler != SIG_IGN))
        return "VTHREAD_DUMP_SIGNAL is ignored: the program handles that signal itself, or nobody can";
    atomic_store_relaxed(&signals.stopping, false);
    if (sem_init(&signals.wanted, 0, 0) != 0 || service_start(&signals.thread, "vthread-dump", dumper, NULL) != 0)
        return "VTHREAD_DUMP_SIGNAL is ignored: there is no thread to be had";
    sigfillset(&action.sa_mask);
    sigaction(number, &action, NULL);
    signals.number = number;
    sampling_begin();
    return NULL;
}

static void stop(void)
{
    struct sigaction now;

    if (signals.number == 0)
        return;
    if (sigaction(signals.number, NULL, &now) == 0 && now.sa_handler == on_signal)
        sigaction(signals.number, &signals.before, NULL);
    signals.number = 0;
    sampling_end();
    atomic_store_release(&signals.stopping, true);
    sem_post(&signals.wanted); /* which stays: a handler may be about to post */
    pthread_join(signals.thread, NULL);
}

const struct runtime_companion dump_upon_signals = {start, stop};
