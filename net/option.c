/* SPDX-License-Identifier: MIT */
#include "net/option.h"

#include <errno.h>

#include <vthread/net.h>

#include "base/memory.h"
#include "net/poller.h"
#include "net/system.h"

struct deadlines {
    ATOMIC(int64_t) of[2];
};

static ATOMIC(struct deadlines *) deadline_pages[DESCRIPTOR_PAGES];

static struct {
    struct lock lock; /* pages are made, and this */
    int fd;           /* the dead socket, or -1 */
} dead = {.fd = -1};

/* ---- deadlines ---- */

int64_t option_deadline(int fd, enum slot_direction direction)
{
    /* acquire: pairs with the release in make_deadlines. */
    struct deadlines *page = atomic_load_acquire(&deadline_pages[fd / DESCRIPTORS_PER_PAGE]);

    return page != NULL ? atomic_load_relaxed(&page[fd % DESCRIPTORS_PER_PAGE].of[direction]) : INT64_MAX;
}

static struct deadlines *make_deadlines(unsigned i)
{
    struct deadlines *page;

    lock_acquire(&dead.lock);
    page = atomic_load_relaxed(&deadline_pages[i]);
    if (page == NULL) {
        page = memory_alloc(DESCRIPTORS_PER_PAGE * sizeof *page);
        atomic_store_release(&deadline_pages[i], page);
    }
    lock_release(&dead.lock);
    return page;
}

/* The descriptor's record in a look, with its lock held, and not being closed.  0, or -Exxx. */
static int lock_record(int fd, struct descriptor **ret_d)
{
    struct descriptor *d;
    int error = descriptor_begin_use(fd, &d);

    while (error == 0) {
        lock_acquire(&d->lock);
        if (!slot_is_closed(&d->slot[SLOT_READ]) && atomic_load_relaxed(&d->kind) != KIND_NONE) {
            *ret_d = d;
            return 0;
        }
        lock_release(&d->lock);
        descriptor_await_close(d);
        error = descriptor_get(fd, &d);
        if (error != 0)
            descriptor_end_look();
    }
    return error;
}

static void unlock_record(struct descriptor *d)
{
    lock_release(&d->lock);
    descriptor_end_look();
}

int vthread_fd_set_deadline(int fd, int64_t read_ns, int64_t write_ns)
{
    uint64_t tokens[2];
    struct deadlines *page;
    struct descriptor *d;
    int error = lock_record(fd, &d);

    if (error != 0)
        return -error;
    page = make_deadlines((unsigned)fd / DESCRIPTORS_PER_PAGE);
    if (page != NULL) {
        page += fd % DESCRIPTORS_PER_PAGE;
        atomic_store_relaxed(&page->of[SLOT_READ], read_ns);
        atomic_store_relaxed(&page->of[SLOT_WRITE], write_ns);
        atomic_store_relaxed(&d->has_deadline, read_ns != INT64_MAX || write_ns != INT64_MAX);
        for (int i = 0; i < 2; i++)
            tokens[i] = slot_notify(&d->slot[i]);
    }
    unlock_record(d);
    for (int i = 0; i < 2 && page != NULL; i++)
        poller_wake_token(tokens[i], NULL);
    return page != NULL ? 0 : ENOMEM;
}

/* ---- closed by an interrupt ---- */

static int make_dead_socket(void)
{
    int error = 0;

    lock_acquire(&dead.lock);
    if (dead.fd < 0) {
        error = system_dead_socket();
        if (error >= 0) {
            dead.fd = error;
            error = 0;
        }
    }
    lock_release(&dead.lock);
    return error;
}

int vthread_fd_set_interrupt_closes(int fd, bool on)
{
    struct descriptor *d;
    int error = lock_record(fd, &d);

    if (error != 0)
        return -error;
    if (on)
        error = make_dead_socket();
    if (error == 0)
        atomic_store_relaxed(&d->interrupt_closes, on);
    unlock_record(d);
    return -error;
}

void option_close_by_interrupt(struct descriptor *d, int fd, uint32_t generation)
{
    if (!descriptor_begin_close_of(d, fd, generation))
        return;                  /* somebody has closed it meanwhile */
    system_replace(fd, dead.fd); /* there since the option was set */
    descriptor_finish_dead(d, generation);
}

void option_fini(void)
{
    for (unsigned i = 0; i < DESCRIPTOR_PAGES; i++) {
        memory_free(atomic_load_relaxed(&deadline_pages[i]));
        atomic_store_relaxed(&deadline_pages[i], NULL);
    }
    if (dead.fd >= 0)
        system_close(dead.fd);
    dead.fd = -1;
}
