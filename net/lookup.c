/* SPDX-License-Identifier: MIT */
#include "net/lookup.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>

#include <vthread/os.h>

#include "base/clock.h"
#include "base/futex.h"
#include "base/memory.h"
#include "net/poller.h"
#include "vthread/thread.h"

enum { WORKERS_MAX = 32 };

/* What getaddrinfo is asked. */
struct address_lookup {
    struct lookup lookup;
    struct addrinfo *list;
    struct addrinfo hints;
    bool has_hints;
    const char *node; /* in text, or NULL */
    const char *service;
    char text[];
};

static struct {
    struct lock lock; /* these, and the state and token of every lookup */
    struct lookup *first;
    struct lookup **end;
    unsigned workers;
} lookups = {.end = &lookups.first};

/* ---- workers ---- */

static struct lookup *take_locked(void)
{
    struct lookup *l = lookups.first;

    if (l != NULL) {
        lookups.first = l->next;
        if (l->next == NULL)
            lookups.end = &lookups.first;
        l->state = LOOKUP_RUNNING;
    }
    return l;
}

/* By a worker, which ends when there is nothing. */
static struct lookup *take(void)
{
    struct lookup *l;

    lock_acquire(&lookups.lock);
    l = take_locked();
    lookups.workers -= l == NULL;
    lock_release(&lookups.lock);
    return l;
}

/* By whoever could not make a worker: what nobody will come for. */
static struct lookup *take_forlorn(void)
{
    struct lookup *l;

    lock_acquire(&lookups.lock);
    l = lookups.workers == 0 ? take_locked() : NULL;
    lock_release(&lookups.lock);
    return l;
}

static void finish(struct lookup *l)
{
    uint64_t token = 0;
    bool abandoned;

    lock_acquire(&lookups.lock);
    abandoned = l->state == LOOKUP_ABANDONED;
    if (!abandoned) {
        l->state = LOOKUP_DONE;
        token = l->token;
    }
    lock_release(&lookups.lock);
    poller_wake_token(token, NULL);
    if (abandoned) {
        if (l->code == 0 && l->discard != NULL)
            l->discard(l);
        memory_free(l);
    }
}

static void *work(void *arg)
{
    struct lookup *l;

    (void)arg;
    while ((l = take()) != NULL) {
        l->ask(l);
        finish(l);
    }
    return NULL;
}

/* ---- the caller ---- */

static void unlink_locked(struct lookup *l)
{
    struct lookup **at = &lookups.first;

    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    if (*at == NULL)
        lookups.end = at;
}

static int failed(int error, int *ret_error)
{
    switch (error) {
    case EINTR:
        return EAI_INTR;
    case ETIMEDOUT:
        return EAI_CANCELED;
    case ENOMEM:
        return EAI_MEMORY;
    case EAGAIN: /* no thread to ask on */
        return EAI_AGAIN;
    default:
        *ret_error = error;
        return EAI_SYSTEM;
    }
}

/* Append it, and see to it that somebody comes for it; if there is nobody, it is done, and has failed. */
static void submit(struct lookup *l)
{
    static const vthread_attr_t attr = {.kind = VTHREAD_KIND_PLATFORM, .detached = true, .name = "vthread-lookup"};
    bool one_more;
    int error;

    lock_acquire(&lookups.lock);
    *lookups.end = l;
    lookups.end = &l->next;
    one_more = lookups.workers < WORKERS_MAX;
    lookups.workers += one_more;
    lock_release(&lookups.lock);
    error = one_more ? vthread_create(NULL, &attr, work, NULL) : 0;
    if (error == 0)
        return;
    lock_acquire(&lookups.lock);
    lookups.workers--; /* the others come for all there are; the last one that cannot be made answers for them */
    lock_release(&lookups.lock);
    while ((l = take_forlorn()) != NULL) {
        l->code = failed(error, &l->error);
        finish(l);
    }
}

/* 0: it is done.  Else the reason why not, and it is somebody else's. */
static int wait_for(struct lookup *l, struct thread *self, int64_t deadline_ns)
{
    int reason = 0;
    bool queued;

    lock_acquire(&lookups.lock);
    while (l->state != LOOKUP_DONE && reason == 0) {
        l->token = slot_token(thread_index(self), thread_wait_number(self));
        lock_release(&lookups.lock);
        reason = thread_wait_until(self, WORD_INTERNAL, deadline_ns);
        lock_acquire(&lookups.lock);
    }
    if (l->state == LOOKUP_DONE)
        reason = 0;
    queued = l->state == LOOKUP_QUEUED;
    if (queued)
        unlink_locked(l);
    else if (l->state == LOOKUP_RUNNING)
        l->state = LOOKUP_ABANDONED;
    lock_release(&lookups.lock);
    if (queued)
        memory_free(l);
    return reason;
}

int lookup_begin(struct thread **ret_self, int *ret_error)
{
    int error = -net_enter();

    *ret_error = 0;
    *ret_self = error == 0 ? thread_self(&error) : NULL;
    if (*ret_self == NULL)
        return failed(error, ret_error);
    if (atomic_load_relaxed(&(*ret_self)->word) & WORD_INTERRUPTED) { /* a hint: the wait looks again */
        word_clear(&(*ret_self)->word, WORD_INTERRUPTED);
        return EAI_INTR;
    }
    return 0;
}

int lookup_run(struct lookup *l, struct thread *self, int64_t deadline_ns, int *ret_error)
{
    int error;

    submit(l);
    error = wait_for(l, self, deadline_ns);
    if (error == EINTR)
        word_clear(&self->word, WORD_INTERRUPTED);
    return error != 0 ? failed(error, ret_error) : 0;
}

/* ---- addresses ---- */

/* Not inlined: errno is looked up here, where nothing switches. */
static NOINLINE int ask(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list,
                        int *ret_error)
{
    int before = errno;
    int code = getaddrinfo(node, service, hints, ret_list);

    *ret_error = code == EAI_SYSTEM ? errno : 0;
    errno = before;
    return code;
}

static bool is_number(const char *service)
{
    return service == NULL || strspn(service, "0123456789") == strlen(service);
}

/*
 * What needs no name server and no file is answered at once.  False: it does.
 */
static bool ask_at_once(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list,
                        int *ret_code, int *ret_error)
{
    struct addrinfo numeric = {.ai_family = AF_UNSPEC, .ai_flags = AI_V4MAPPED | AI_ADDRCONFIG}; /* as without hints */

    if (!is_number(service))
        return false;
    if (hints != NULL)
        numeric = *hints;
    if (node != NULL)
        numeric.ai_flags |= AI_NUMERICHOST;
    *ret_code = ask(node, service, node == NULL ? hints : &numeric, ret_list, ret_error);
    /* That it is no number is the answer to who has asked for one. */
    return *ret_code != EAI_NONAME || node == NULL || (hints != NULL && (hints->ai_flags & AI_NUMERICHOST));
}

static void ask_for_addresses(struct lookup *lookup)
{
    struct address_lookup *l = (struct address_lookup *)lookup;

    lookup->code = ask(l->node, l->service, l->has_hints ? &l->hints : NULL, &l->list, &lookup->error);
}

static void discard_addresses(struct lookup *lookup)
{
    freeaddrinfo(((struct address_lookup *)lookup)->list);
}

static char *keep(char **at, const char *text)
{
    char *kept = *at;

    if (text == NULL)
        return NULL;
    strcpy(kept, text);
    *at += strlen(text) + 1;
    return kept;
}

static struct address_lookup *make(const char *node, const char *service, const struct addrinfo *hints)
{
    size_t bytes = (node != NULL ? strlen(node) + 1 : 0) + (service != NULL ? strlen(service) + 1 : 0);
    struct address_lookup *l = memory_alloc(sizeof *l + bytes);
    char *at;

    if (l == NULL)
        return NULL;
    l->lookup.ask = ask_for_addresses;
    l->lookup.discard = discard_addresses;
    at = l->text;
    l->node = keep(&at, node);
    l->service = keep(&at, service);
    l->has_hints = hints != NULL;
    if (hints != NULL) /* of the others getaddrinfo requires that they be zero */
        l->hints = (struct addrinfo){.ai_flags = hints->ai_flags,
                                     .ai_family = hints->ai_family,
                                     .ai_socktype = hints->ai_socktype,
                                     .ai_protocol = hints->ai_protocol};
    return l;
}

int lookup_until(const char *node, const char *service, const struct addrinfo *hints, int64_t deadline_ns,
                 struct addrinfo **ret_list, int *ret_error)
{
    struct thread *self;
    struct address_lookup *l;
    int code = lookup_begin(&self, ret_error);

    if (code != 0 || ask_at_once(node, service, hints, ret_list, &code, ret_error))
        return code;
    if (deadline_ns != INT64_MAX && deadline_ns <= clock_now_ns())
        return EAI_CANCELED;
    l = make(node, service, hints);
    if (l == NULL)
        return EAI_MEMORY;
    code = lookup_run(&l->lookup, self, deadline_ns, ret_error);
    if (code != 0)
        return code;
    code = l->lookup.code;
    *ret_error = l->lookup.error;
    if (code == 0)
        *ret_list = l->list;
    memory_free(l);
    return code;
}

int vthread_getaddrinfo_until(const char *node, const char *service, const struct addrinfo *hints,
                              struct addrinfo **ret_list, int64_t deadline_ns)
{
    int error;

    return lookup_until(node, service, hints, deadline_ns, ret_list, &error);
}

int vthread_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list)
{
    return vthread_getaddrinfo_until(node, service, hints, ret_list, VTHREAD_FOREVER);
}
