/* SPDX-License-Identifier: MIT */
/*
 * What the library knows of a descriptor: a record for every number, found by
 * the number, never unmapped while the runtime lives.
 *
 * A record belongs to one file at a time.  A descriptor the library makes gets
 * its record with it (descriptor_opened); any other is looked at when it is first
 * used.  Closing ends the record's file: everybody who waits is ousted, those inside the
 * kernel are waited for, the poller forgets it, the number is given back, and
 * only then the record is ready for the next file.  So no call that was meant for one file
 * reaches another.
 */
#ifndef NET_DESCRIPTOR_H
#define NET_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/futex.h"
#include "net/slot.h"

enum descriptor_kind {
    KIND_NONE,        /* not known; to be looked at */
    KIND_OWN_SOCKET,  /* made by us: non-blocking, registered once, edge-triggered */
    KIND_SOCKET,      /* foreign: MSG_DONTWAIT, registered for each wait */
    KIND_NONBLOCKING, /* foreign and not a socket, with O_NONBLOCK set */
    KIND_STREAM,      /* foreign, blocking (pipe, eventfd ...): poll before every call */
    KIND_TERMINAL,    /* a character device: reads as a stream, writes as a file */
    KIND_FILE,        /* cannot be waited for: calls run in a blocking section, without a slot */
    KIND_DEAD,        /* closed by an interrupt; only the number is left (net/option.h) */
};

struct slot_queue;
struct registration;
struct watch;

struct descriptor {
    slot_word slot[2];                 /* net/slot.h */
    struct slot_queue *queue[2];       /* who waits for a turn; under the lock */
    struct registration *registration; /* poller.c, of foreign descriptors; under the lock */
    struct watch *watches;             /* watch.c; under the lock */
    struct lock lock;                  /* before libevent's own; see HACKING.md */
    ATOMIC(uint32_t) generation;       /* of the file; changed under the lock */
    ATOMIC(uint8_t) kind;              /* changed under the lock; read by callers before they have the slot */
    ATOMIC(bool) registered;           /* an own socket's registration stands; set under the lock, by a slot's owner */
    ATOMIC(bool) is_tcp;               /* an own socket for which a short read means drained; set with kind */
    ATOMIC(bool) has_deadline;         /* net/option.h; both changed under the lock */
    ATOMIC(bool) interrupt_closes;
};

_Static_assert(sizeof(struct descriptor) <= CACHE_LINE, "a record is one cache line");

enum {
    DESCRIPTORS_PER_PAGE = 1024,
    DESCRIPTOR_PAGES = 4096,
};

typedef ATOMIC(struct descriptor *) descriptor_page;
extern descriptor_page descriptor_pages[DESCRIPTOR_PAGES];

/* NULL: the number has not been used yet, or is none. */
static inline struct descriptor *descriptor_find(int fd)
{
    unsigned page = (unsigned)fd / DESCRIPTORS_PER_PAGE;
    struct descriptor *records;

    if (UNLIKELY(page >= DESCRIPTOR_PAGES))
        return NULL;
    records = atomic_load_acquire(&descriptor_pages[page]); /* pairs with the release in make_page */
    return LIKELY(records != NULL) ? &records[(unsigned)fd % DESCRIPTORS_PER_PAGE] : NULL;
}

/* The number has just been given to a new socket of ours.  0, -ENOMEM, -EMFILE. */
int descriptor_opened(int fd, bool is_tcp);

/*
 * What is known of the number is about a file that is gone, or about to go: it has just been given to something of ours
 * that is no socket, say.  0, ENOTSUP, ENOMEM.
 */
NODISCARD int descriptor_renewed(int fd);

/*
 * For calls that do not start the runtime: what is known of the number, or NULL.  ret_looks: the poller is up, and the
 * records, all of them, stay until the look is ended, whoever shuts the runtime down; if not there are none, and
 * nothing to end.  0, ENOTSUP, ENOMEM.
 */
NODISCARD int descriptor_begin_look(int fd, struct descriptor **ret_d, bool *ret_looks);
void descriptor_end_look(void);

/*
 * For calls without an operation: the runtime runs, started if need be, and this is the record, looked at, of an open
 * descriptor until the look is ended.  0, or -Exxx, and nothing to end.
 */
NODISCARD int descriptor_begin_use(int fd, struct descriptor **ret_d);

/* The record of an open descriptor, looked at if need be.  0, -EBADF, -ENOMEM. */
int descriptor_get(int fd, struct descriptor **ret_d);

/* Oust everybody and forget all about it.  Then close(2), and finish with what this returns. */
uint32_t descriptor_begin_close(struct descriptor *d, int fd);
void descriptor_finish_close(struct descriptor *d, uint32_t generation);
/* The same, if that file is still open: false, it is not, or somebody is closing it.  The number is not given back. */
bool descriptor_begin_close_of(struct descriptor *d, int fd, uint32_t generation);
void descriptor_finish_dead(struct descriptor *d, uint32_t generation);

/* Somebody is closing it: wait until that is over. */
void descriptor_await_close(struct descriptor *d);

/*
 * Is the file still there, and nobody about to close it?  For who has no slot, for which it is a hint: the file may be
 * closed right after.
 */
static inline bool descriptor_is_still(struct descriptor *d, uint32_t generation)
{
    /* In this order: the generation is still that of the file which was open. */
    return !slot_is_closed(&d->slot[SLOT_READ]) && atomic_load_relaxed(&d->generation) == generation;
}

/*
 * At a slot, the slow half: wait for one's turn.  0, or -ECANCELED, -EINTR (the flag stays set), -ETIMEDOUT, -ENOMEM,
 * -EAGAIN (being closed).
 */
struct thread;
int descriptor_acquire_slow(struct descriptor *d, enum slot_direction direction, struct thread *self,
                            int64_t deadline_ns);
void descriptor_release_slow(struct descriptor *d, enum slot_direction direction);

/* Everything is over: free the records. */
void descriptor_fini(void);

#endif
