/* SPDX-License-Identifier: MIT */
#include "net/operation.h"

#include <errno.h>

#include "base/clock.h"
#include "net/option.h"
#include "net/poller.h"
#include "vthread/thread.h"

/* For dumps: what the thread is about to wait for. */
static inline void show_wait(const struct operation *op)
{
    atomic_store_relaxed(&op->self->slot, thread_descriptor_blocker(
                                              op->fd, op->direction == SLOT_READ ? DESCRIPTOR_READ : DESCRIPTOR_WRITE));
}

static inline void hide_wait(const struct operation *op)
{
    atomic_store_relaxed(&op->self->slot, NULL);
}

static inline void release_as(struct operation *op, bool drained)
{
    if (UNLIKELY(!slot_release(&op->d->slot[op->direction], drained)))
        descriptor_release_slow(op->d, (enum slot_direction)op->direction);
}

static inline void release(struct operation *op)
{
    release_as(op, false);
}

/* What an interrupt must know of the file that it finds the call at: read while the call has its place there. */
struct place {
    uint32_t generation;
    bool closes;
};

static inline struct place place_of(struct operation *op)
{
    /* relaxed: the file cannot change now, or (in the queue) has just been seen; the option was set before, or too
     * late. */
    return (struct place){atomic_load_relaxed(&op->d->generation), atomic_load_relaxed(&op->d->interrupt_closes)};
}

/* The call is not in the slot any more.  The error to return. */
static COLD int on_interrupt(struct operation *op, struct place place)
{
    if (place.closes) {
        option_close_by_interrupt(op->d, op->fd, place.generation);
        return -ECANCELED; /* and the flag stays set */
    }
    word_clear(&op->self->word, WORD_INTERRUPTED);
    return -EINTR;
}

/* Terminals take what is written to them as files do. */
static inline uint8_t kind_for(uint8_t kind, const struct operation *op)
{
    return kind == KIND_TERMINAL && op->direction == SLOT_WRITE ? KIND_FILE : kind;
}

/* The thread comes with its flag set.  0: nothing that an interrupt ends; or the error to return. */
static COLD int on_interrupt_before(struct operation *op)
{
    int error = descriptor_get(op->fd, &op->d);
    uint8_t kind = error == 0 ? kind_for(atomic_load_relaxed(&op->d->kind), op) : KIND_NONE;

    if (kind == KIND_FILE)
        return 0;
    if (kind == KIND_DEAD) /* by this interrupt, perhaps, of which more calls are to hear */
        return -ECANCELED;
    if (error == 0)
        return on_interrupt(op, place_of(op));
    word_clear(&op->self->word, WORD_INTERRUPTED);
    return -EINTR;
}

/*
 * queue: wait for one's turn.  -EAGAIN: the file was closed in between; the number may be another's by now.  -EBUSY: it
 * is not our turn.
 */
static int try_begin(struct operation *op, bool queue)
{
    int error = descriptor_get(op->fd, &op->d);
    struct place place;
    uint8_t kind;

    if (error != 0)
        return error;
    kind = atomic_load_relaxed(&op->d->kind);
    if (UNLIKELY(kind == KIND_NONE))
        return -EAGAIN; /* closed just now */
    op->kind = kind_for(kind, op);
    if (op->kind == KIND_FILE)
        return 0;
    if (op->kind == KIND_DEAD)
        return -ECANCELED;
    place = place_of(op);
    if (!slot_try_acquire(&op->d->slot[op->direction])) {
        if (!queue)
            return -EBUSY;
        show_wait(op);
        error = descriptor_acquire_slow(op->d, (enum slot_direction)op->direction, op->self, op->deadline_ns);
        hide_wait(op);
    }
    if (error == 0 && atomic_load_relaxed(&op->d->kind) != kind) {
        release(op);
        error = -EAGAIN;
    }
    return error == -EINTR ? on_interrupt(op, place) : error;
}

static COLD int begin_slow(struct operation *op)
{
    int error;

    while ((error = try_begin(op, true)) == -EAGAIN)
        descriptor_await_close(op->d);
    return error;
}

int operation_try_begin(struct operation *op, int fd, enum slot_direction direction)
{
    int error;

    op->self = NULL;
    op->fd = fd;
    op->direction = (uint8_t)direction;
    op->deadline_ns = INT64_MIN;
    error = try_begin(op, false);
    return error == -EAGAIN ? -EBUSY : error;
}

int operation_begin_uncounted(struct operation *op, int fd, enum slot_direction direction, int64_t deadline_ns)
{
    int error = net_enter();

    if (UNLIKELY(error != 0))
        return error;
    op->self = thread_self(&error);
    if (UNLIKELY(op->self == NULL))
        return -error;
    op->fd = fd;
    op->direction = (uint8_t)direction;
    op->deadline_ns = deadline_ns;
    /* relaxed: who interrupts us now may as well have come later; a wait looks again. */
    if (UNLIKELY(atomic_load_relaxed(&op->self->word) & WORD_INTERRUPTED)) {
        error = on_interrupt_before(op);
        return error != 0 ? error : begin_slow(op);
    }
    op->d = descriptor_find(fd);
    if (LIKELY(op->d != NULL) && LIKELY(atomic_load_relaxed(&op->d->kind) == KIND_OWN_SOCKET) &&
        LIKELY(slot_try_acquire(&op->d->slot[direction]))) {
        op->kind = KIND_OWN_SOCKET;
        if (LIKELY(atomic_load_relaxed(&op->d->kind) == KIND_OWN_SOCKET)) /* still, and for as long as we are here */
            return 0;
        release(op);
    }
    return begin_slow(op);
}

int operation_begin(struct operation *op, int fd, enum slot_direction direction, int64_t deadline_ns)
{
    thread_may_wait();
    return operation_begin_uncounted(op, fd, direction, deadline_ns);
}

ssize_t operation_end(struct operation *op, ssize_t result)
{
    if (LIKELY(op->kind != KIND_FILE))
        release(op);
    return result;
}

/* Would a short read mean that the socket is empty, and be followed by an event when it no longer is? */
static inline bool tells_when_drained(const struct operation *op)
{
    return atomic_load_relaxed(&op->d->is_tcp) && atomic_load_acquire(&op->d->registered);
}

ssize_t operation_end_read(struct operation *op, ssize_t result, size_t size)
{
    if (UNLIKELY(op->kind != KIND_OWN_SOCKET))
        return operation_end(op, result);
    release_as(op, result > 0 && (size_t)result < size && tells_when_drained(op));
    return result;
}

bool operation_has_drained(struct operation *op)
{
    return op->kind == KIND_OWN_SOCKET && tells_when_drained(op) && slot_stays_drained(&op->d->slot[op->direction]);
}

/*
 * Wait in the slot.  0: an event, or nothing in particular; -ETIMEDOUT, -EINTR,
 * -ENOMEM ...: still the owner; -ECANCELED: closed, and owner no more.
 */
static int wait_as_owner(struct operation *op, int64_t deadline_ns, bool armed)
{
    slot_word *slot = &op->d->slot[op->direction];
    uint64_t token = slot_token(thread_index(op->self), thread_wait_number(op->self));
    enum slot_prepared prepared = slot_prepare(slot, token);
    int reason;

    if (prepared == SLOT_RETRY)
        return 0;
    if (prepared == SLOT_CLOSING) {
        release(op);
        return -ECANCELED;
    }
    show_wait(op);
    reason = thread_wait(op->self, WORD_INTERNAL, deadline_ns);
    hide_wait(op);
    switch (slot_resume(slot, token)) {
    case SLOT_EVENT: /* even if time ran out meanwhile: look once more */
        return 0;
    case SLOT_OUSTED:
        return -ECANCELED;
    case SLOT_WITHDRAWN:
        break;
    }
    if (armed)
        poller_disarm(op->d, (enum slot_direction)op->direction);
    return -reason;
}

/* After wait_as_owner: an error ends the operation. */
static inline int after_wait(struct operation *op, int error)
{
    if (UNLIKELY(error != 0) && error != -ECANCELED) {
        struct place place = place_of(op);

        release(op);
        if (error == -EINTR)
            error = on_interrupt(op, place);
    }
    return error;
}

static inline int64_t deadline_of(struct operation *op)
{
    return option_sooner(op->d, op->fd, (enum slot_direction)op->direction, op->deadline_ns);
}

static inline bool has_passed(int64_t deadline_ns)
{
    return deadline_ns != INT64_MAX && deadline_ns <= clock_now_ns();
}

int operation_wait(struct operation *op)
{
    int64_t deadline_ns = deadline_of(op);
    int error = 0;

    if (has_passed(deadline_ns))
        error = -ETIMEDOUT;
    if (error == 0)
        error = poller_arm(op->d, op->fd, (enum slot_direction)op->direction);
    if (error == 0)
        error = wait_as_owner(op, deadline_ns, true);
    return after_wait(op, error);
}

int operation_wait_if_drained(struct operation *op)
{
    int64_t deadline_ns;
    int error;

    if (op->kind == KIND_FILE || !slot_is_drained(&op->d->slot[op->direction]))
        return 0;
    deadline_ns = deadline_of(op);
    if (has_passed(deadline_ns))
        return 0;
    error = wait_as_owner(op, deadline_ns, false);
    return error == -ETIMEDOUT ? 0 : after_wait(op, error);
}

int operation_pause(struct operation *op, int64_t duration_ns)
{
    int64_t now_ns = clock_now_ns();
    int64_t until_ns = now_ns + duration_ns;
    int64_t deadline_ns = deadline_of(op);
    int error = -ETIMEDOUT;

    if (until_ns > deadline_ns)
        until_ns = deadline_ns;
    if (until_ns > now_ns)
        error = wait_as_owner(op, until_ns, false);
    if (error == -ETIMEDOUT && !has_passed(deadline_ns))
        error = 0;
    return after_wait(op, error);
}

/* ---- running out of descriptors ---- */

enum { STARVING_MAX = 64 };

static struct {
    struct lock lock;
    ATOMIC(uint32_t) count; /* of the entries; read without the lock */
    struct {
        struct descriptor *d;
        uint32_t generation;
        uint32_t direction;
    } entries[STARVING_MAX];
} starving;

void operation_descriptor_freed(void)
{
    uint64_t tokens[STARVING_MAX];
    uint32_t n;

    atomic_fence_seq_cst(); /* the descriptor is free, then the look; the other side enters, then asks the kernel */
    if (LIKELY(atomic_load_relaxed(&starving.count) == 0))
        return;
    lock_acquire(&starving.lock);
    n = atomic_load_relaxed(&starving.count);
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = slot_event(&starving.entries[i].d->slot[starving.entries[i].direction],
                               starving.entries[i].generation, false);
    atomic_store_relaxed(&starving.count, 0);
    lock_release(&starving.lock);
    for (uint32_t i = 0; i < n; i++)
        poller_wake_token(tokens[i], NULL);
}

void operation_want_descriptor(struct operation *op)
{
    uint32_t n;

    /* Entries are only hints: one that outlives its wait causes a superfluous look. */
    lock_acquire(&starving.lock);
    n = atomic_load_relaxed(&starving.count);
    if (n < STARVING_MAX) {
        starving.entries[n].d = op->d;
        starving.entries[n].generation = atomic_load_relaxed(&op->d->generation);
        starving.entries[n].direction = op->direction;
        atomic_store_relaxed(&starving.count, n + 1);
    }
    lock_release(&starving.lock);
    atomic_fence_seq_cst(); /* as above */
}

void operation_fini(void)
{
    atomic_store_relaxed(&starving.count, 0);
}
