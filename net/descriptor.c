/* SPDX-License-Identifier: MIT */
#include "net/descriptor.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "net/poller.h"
#include "net/system.h"
#include "net/watch.h"
#include "vthread/thread.h"

descriptor_page descriptor_pages[DESCRIPTOR_PAGES];

static struct lock pages_lock;

/* ---- the table ---- */

static COLD struct descriptor *make_page(int fd, int *ret_error)
{
    unsigned page = (unsigned)fd / DESCRIPTORS_PER_PAGE;
    struct descriptor *records;

    *ret_error = -EMFILE;
    if (page >= DESCRIPTOR_PAGES)
        return NULL;
    lock_acquire(&pages_lock);
    records = atomic_load_relaxed(&descriptor_pages[page]);
    if (records == NULL) {
        records = memory_alloc(DESCRIPTORS_PER_PAGE * sizeof *records);
        /* release: pairs with descriptor_find. */
        atomic_store_release(&descriptor_pages[page], records);
    }
    lock_release(&pages_lock);
    *ret_error = -ENOMEM;
    return records != NULL ? &records[(unsigned)fd % DESCRIPTORS_PER_PAGE] : NULL;
}

static struct descriptor *find_or_make(int fd, int *ret_error)
{
    struct descriptor *d = descriptor_find(fd);

    return LIKELY(d != NULL) ? d : make_page(fd, ret_error);
}

/* With the lock: begin with a new file. */
static void reset_locked(struct descriptor *d)
{
    uint32_t generation = atomic_load_relaxed(&d->generation) + 1;

    atomic_store_relaxed(&d->kind, KIND_NONE);
    atomic_store_relaxed(&d->is_tcp, false);
    atomic_store_relaxed(&d->has_deadline, false);
    atomic_store_relaxed(&d->interrupt_closes, false);
    atomic_store_relaxed(&d->generation, generation);
    slot_reopen(&d->slot[SLOT_READ], generation);
    slot_reopen(&d->slot[SLOT_WRITE], generation);
}

int descriptor_opened(int fd, bool is_tcp)
{
    int error;
    struct descriptor *d = find_or_make(fd, &error);

    if (d == NULL)
        return error;
    for (;;) {
        lock_acquire(&d->lock);
        if (slot_is_closed(&d->slot[SLOT_READ])) /* its closer has given the number back, but not finished yet */
            reset_locked(d);
        if (atomic_load_relaxed(&d->kind) == KIND_NONE)
            break;
        lock_release(&d->lock);
        /* Somebody closed the number behind our back.  Who waits for that file waits in vain. */
        descriptor_finish_close(d, descriptor_begin_close(d, fd));
    }
    atomic_store_relaxed(&d->is_tcp, is_tcp);
    atomic_store_relaxed(&d->kind, KIND_OWN_SOCKET);
    lock_release(&d->lock);
    return 0;
}

int descriptor_begin_look(int fd, struct descriptor **ret_d, bool *ret_looks)
{
    int error;

    *ret_d = NULL;
    *ret_looks = false;
    if (runtime_forked())
        return ENOTSUP;
    /* Nothing is known; and perhaps the runtime is being taken down, and this is libevent that closes something. */
    if (!atomic_load_acquire(&poller_is_up)) /* acquire: as in net_enter */
        return 0;
    error = runtime_begin_look_anywhere();
    if (error != 0)
        return error;
    *ret_looks = atomic_load_acquire(&poller_is_up); /* still */
    if (*ret_looks)
        *ret_d = descriptor_find(fd);
    else
        runtime_end_look_anywhere();
    return 0;
}

void descriptor_end_look(void)
{
    runtime_end_look_anywhere();
}

int descriptor_renewed(int fd)
{
    struct descriptor *d;
    bool looks;
    int error = descriptor_begin_look(fd, &d, &looks);

    if (!looks)
        return error;
    if (d != NULL && atomic_load_relaxed(&d->kind) != KIND_NONE)
        descriptor_finish_close(d, descriptor_begin_close(d, fd));
    descriptor_end_look();
    return 0;
}

static int look_at(int fd)
{
    int type = system_file_type(fd);
    int nonblocking;

    if (type < 0)
        return type;
    switch (type) {
    case S_IFSOCK:
        return KIND_SOCKET;
    case S_IFREG:
    case S_IFDIR:
    case S_IFBLK:
    case S_IFLNK:
        return KIND_FILE;
    default:
        break;
    }
    nonblocking = system_is_nonblocking(fd);
    if (nonblocking != 0)
        return nonblocking < 0 ? nonblocking : KIND_NONBLOCKING;
    return type == S_IFCHR ? KIND_TERMINAL : KIND_STREAM;
}

int descriptor_get(int fd, struct descriptor **ret_d)
{
    int error = -EBADF;
    struct descriptor *d;
    int kind = KIND_NONE;

    if (fd < 0)
        return -EBADF;
    d = descriptor_find(fd);
    if (d == NULL) {
        if (system_file_type(fd) < 0)
            return -EBADF; /* no page for a number that is not even open */
        d = make_page(fd, &error);
        if (d == NULL)
            return error;
    }
    while (atomic_load_relaxed(&d->kind) == KIND_NONE) {
        if (slot_is_closed(&d->slot[SLOT_READ]))
            descriptor_await_close(d);
        lock_acquire(&d->lock);
        if (atomic_load_relaxed(&d->kind) == KIND_NONE && !slot_is_closed(&d->slot[SLOT_READ])) {
            kind = look_at(fd);
            if (kind > 0)
                atomic_store_relaxed(&d->kind, (uint8_t)kind);
        }
        lock_release(&d->lock);
        if (kind < 0)
            return kind;
    }
    *ret_d = d;
    return 0;
}

int descriptor_begin_use(int fd, struct descriptor **ret_d)
{
    bool looks = false;
    int error;

    while (!looks) { /* again where somebody has shut the runtime down in between */
        error = net_enter();
        if (error == 0)
            error = -descriptor_begin_look(fd, ret_d, &looks);
        if (error != 0)
            return error;
    }
    error = descriptor_get(fd, ret_d);
    if (error != 0)
        descriptor_end_look();
    return error;
}

void descriptor_fini(void)
{
    for (unsigned page = 0; page < DESCRIPTOR_PAGES; page++) {
        struct descriptor *records = atomic_load_relaxed(&descriptor_pages[page]);

        if (records == NULL)
            continue;
        for (unsigned i = 0; i < DESCRIPTORS_PER_PAGE; i++) {
            poller_free_registration(&records[i], (int)(page * DESCRIPTORS_PER_PAGE + i));
            memory_free(records[i].queue[SLOT_READ]);
            memory_free(records[i].queue[SLOT_WRITE]);
        }
        atomic_store_relaxed(&descriptor_pages[page], NULL);
        memory_free(records);
    }
}

/* ---- the queue of those who want a slot that is taken ---- */

/*
 * Tokens by value: a thread that is woken may be put into some other list at
 * once, so its record's link cannot be used here.
 */
struct slot_queue {
    uint32_t head; /* of the first token */
    uint32_t count;
    uint32_t capacity;
    uint64_t tokens[];
};

enum { QUEUE_MIN = 6 };

static bool queue_append(struct slot_queue **at, uint64_t token)
{
    struct slot_queue *q = *at;

    if (q == NULL || q->head + q->count == q->capacity) {
        uint32_t count = q != NULL ? q->count : 0;
        struct slot_queue *wider = q;

        if (q == NULL || q->head < q->capacity / 2) {
            uint32_t capacity = count * 2 > QUEUE_MIN ? count * 2 : QUEUE_MIN;

            wider = memory_alloc(sizeof *wider + capacity * sizeof wider->tokens[0]);
            if (wider == NULL)
                return false;
            wider->capacity = capacity;
        }
        if (count > 0)
            memmove(wider->tokens, &q->tokens[q->head], count * sizeof q->tokens[0]);
        wider->head = 0;
        wider->count = count;
        if (wider != q)
            memory_free(q);
        *at = q = wider;
    }
    q->tokens[q->head + q->count++] = token;
    return true;
}

static uint64_t queue_take(struct slot_queue *q)
{
    uint64_t token;

    if (q == NULL || q->count == 0)
        return 0;
    token = q->tokens[q->head++];
    if (--q->count == 0)
        q->head = 0;
    return token;
}

/* False: it is not there any more. */
static bool queue_remove(struct slot_queue *q, uint64_t token)
{
    for (uint32_t i = 0; q != NULL && i < q->count; i++)
        if (q->tokens[q->head + i] == token) {
            q->count--;
            memmove(&q->tokens[q->head + i], &q->tokens[q->head + i + 1], (q->count - i) * sizeof q->tokens[0]);
            return true;
        }
    return false;
}

COLD int descriptor_acquire_slow(struct descriptor *d, enum slot_direction direction, struct thread *self,
                                 int64_t deadline_ns)
{
    for (;;) {
        enum slot_acquired acquired;
        uint64_t token = 0;
        int reason;

        lock_acquire(&d->lock);
        acquired = slot_acquire_locked(&d->slot[direction]);
        if (acquired == SLOT_MUST_QUEUE) {
            token = slot_token(thread_index(self), thread_wait_number(self));
            if (!queue_append(&d->queue[direction], token)) {
                lock_release(&d->lock); /* QUEUED without a queue: the release sees to that */
                return -ENOMEM;
            }
        }
        lock_release(&d->lock);
        if (acquired == SLOT_ACQUIRED)
            return 0;
        if (acquired == SLOT_IS_CLOSED)
            return -EAGAIN;
        reason = thread_wait_until(self, WORD_INTERNAL, deadline_ns);
        lock_acquire(&d->lock);
        bool queued = queue_remove(d->queue[direction], token);
        lock_release(&d->lock);
        if (!queued) /* taken out: our turn has come, or the file was closed */
            return slot_resume(&d->slot[direction], token) == SLOT_OUSTED ? -ECANCELED : 0;
        if (reason != 0)
            return -reason;
    }
}

COLD void descriptor_release_slow(struct descriptor *d, enum slot_direction direction)
{
    uint64_t token;

    lock_acquire(&d->lock);
    token = queue_take(d->queue[direction]);
    if (token != 0)
        slot_grant(&d->slot[direction], token, d->queue[direction]->count > 0);
    else
        slot_release_locked(&d->slot[direction]);
    lock_release(&d->lock);
    poller_wake_token(token, NULL);
}

/* ---- closing ---- */

/* Nobody holds a slot but for the length of a call that does not block, so this is short. */
static void await_callers(struct descriptor *d)
{
    while (slot_is_busy(&d->slot[SLOT_READ]) || slot_is_busy(&d->slot[SLOT_WRITE]))
        sched_yield();
}

COLD void descriptor_await_close(struct descriptor *d)
{
    while (slot_is_closed(&d->slot[SLOT_READ]))
        sched_yield();
}

/* With the lock, which is given up. */
static uint32_t begin_close_locked(struct descriptor *d, int fd)
{
    struct slot_queue *queues[2];
    uint64_t owners[2];
    uint32_t generation;

    for (int i = 0; i < 2; i++) {
        owners[i] = slot_close(&d->slot[i]);
        queues[i] = d->queue[i];
        d->queue[i] = NULL;
    }
    generation = atomic_load_relaxed(&d->generation);
    watch_cancel_all_locked(d);
    lock_release(&d->lock);
    for (int i = 0; i < 2; i++) {
        uint64_t token;

        poller_wake_token(owners[i], NULL);
        while ((token = queue_take(queues[i])) != 0)
            poller_wake_token(token, NULL);
        memory_free(queues[i]);
    }
    await_callers(d);
    poller_forget(d, fd);
    return generation;
}

uint32_t descriptor_begin_close(struct descriptor *d, int fd)
{
    lock_acquire(&d->lock);
    while (slot_is_closed(&d->slot[SLOT_READ])) {
        /* The file before ours: its number has been given back, and to us, but its closer is not quite done. */
        lock_release(&d->lock);
        descriptor_await_close(d);
        lock_acquire(&d->lock);
    }
    return begin_close_locked(d, fd);
}

bool descriptor_begin_close_of(struct descriptor *d, int fd, uint32_t generation)
{
    lock_acquire(&d->lock);
    if (atomic_load_relaxed(&d->generation) != generation || slot_is_closed(&d->slot[SLOT_READ])) {
        lock_release(&d->lock);
        return false;
    }
    begin_close_locked(d, fd);
    return true;
}

void descriptor_finish_close(struct descriptor *d, uint32_t generation)
{
    lock_acquire(&d->lock);
    /* Else the number has been given out again, and its new owner has done it. */
    if (atomic_load_relaxed(&d->generation) == generation)
        reset_locked(d);
    lock_release(&d->lock);
}

void descriptor_finish_dead(struct descriptor *d, uint32_t generation)
{
    lock_acquire(&d->lock);
    if (atomic_load_relaxed(&d->generation) == generation) {
        reset_locked(d);
        atomic_store_relaxed(&d->kind, KIND_DEAD);
    }
    lock_release(&d->lock);
}
