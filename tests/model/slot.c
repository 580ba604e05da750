/* SPDX-License-Identifier: MIT */
/*
 * Descriptor slots: the real slot.h, descriptor.c, operation.c and option.c, under read ×
 * event × close × reuse of the number × deadline × second reader × deadline of the descriptor's × closed by an
 * interrupt.
 *
 * The kernel is a few fields: a table with one number, and files that hold bytes.
 * A call on the number finds the file that is there; which one that is, is a
 * plain field, so a call that is not ordered with the closing of the number is a
 * race: it could have reached another file.  The poller's events are delivered
 * by whoever writes the bytes, under the lock that registrations have.
 */
#include <sched.h>

#include "tests/model/model.h"

static int model_sched_yield(void)
{
    model_pause();
    return 0;
}
#define sched_yield model_sched_yield

#include "net/descriptor.c"
#include "net/operation.c"
#include "net/option.c"

#include "tests/model/waiting.h"

enum { FD = 1, FILES = 2, NO_FILE = FILES };
enum { FIN = 1 << 16 };    /* among the bytes, after all of them */
enum { OPENED_FIRST = 2 }; /* variant */

static MODEL_SHARED struct {
    struct lock lock; /* of the event base */
    int file;         /* the number's; plain: see above */
    int registered;   /* file that has a registration, + 1 */
    ATOMIC(uint32_t) bytes[FILES];
} kernel;

static MODEL_SHARED struct descriptor records[FD + 1];
static MODEL_SHARED struct deadlines deadlines[FD + 1];
static MODEL_BOOK int got[FILES]; /* bytes read */
static MODEL_BOOK int cancelled[MODEL_ACTORS_MAX];

/* ---- what the layer's other files would do ---- */

poller_flag poller_is_up;

int poller_start(void)
{
    return -ENOTSUP;
}

/* Nobody shuts down here. */
int runtime_begin_look(void)
{
    return 0;
}

void platform_end_call(void)
{
}

/* Turns are not explored. */
void vthread_yield(void)
{
}

int64_t vthread_now_ns(void)
{
    return 0;
}

void watch_cancel_all_locked(struct descriptor *d)
{
    (void)d;
}

int system_file_type(int fd)
{
    (void)fd;
    return -EBADF;
}

int system_is_nonblocking(int fd)
{
    (void)fd;
    return 1;
}

int system_replace(int fd, int by)
{
    (void)fd, (void)by;
    kernel.file = NO_FILE; /* one that is dead */
    return 0;
}

int system_dead_socket(void)
{
    return 99;
}

int system_close(int fd)
{
    (void)fd;
    return 0;
}

/* As poller.c does it, with one direction. */
static void deliver_as(struct descriptor *d, bool ending)
{
    poller_wake_token(slot_event(&d->slot[SLOT_READ], atomic_load_relaxed(&d->generation), ending), NULL);
}

static void deliver(struct descriptor *d)
{
    uint32_t there = kernel.registered > 0 && kernel.registered <= FILES
                         ? atomic_fetch_add_acq_rel(&kernel.bytes[kernel.registered - 1], 0)
                         : 0;

    deliver_as(d, (there & FIN) != 0);
}

int poller_arm(struct descriptor *d, int fd, enum slot_direction direction)
{
    (void)fd, (void)direction;
    if (atomic_load_relaxed(&d->registered))
        return 0;
    lock_acquire(&kernel.lock);
    kernel.registered = kernel.file + 1;
    if (kernel.file != NO_FILE && atomic_fetch_add_acq_rel(&kernel.bytes[kernel.file], 0) != 0)
        deliver(d); /* there was something already */
    lock_release(&kernel.lock);
    atomic_store_relaxed(&d->registered, true);
    return 0;
}

void poller_disarm(struct descriptor *d, enum slot_direction direction)
{
    (void)d, (void)direction;
}

void poller_forget(struct descriptor *d, int fd)
{
    (void)fd;
    lock_acquire(&kernel.lock);
    kernel.registered = 0;
    lock_release(&kernel.lock);
    atomic_store_relaxed(&d->registered, false);
}

/* ---- system calls ---- */

/* One byte, or -EAGAIN.  The kernel's lock orders it with writes even when there is nothing. */
static int kernel_read(void)
{
    int file = kernel.file;
    uint32_t seen;

    if (file == NO_FILE)
        return -EBADF;
    seen = atomic_fetch_add_acq_rel(&kernel.bytes[file], 0);

    while (seen > 0)
        if (atomic_cas_acq_rel(&kernel.bytes[file], &seen, seen - 1)) {
            got[file]++;
            return 1;
        }
    return -EAGAIN;
}

/* The other end writes a byte; the poller reports it if the file is registered. */
static void kernel_write(int file)
{
    atomic_fetch_add_acq_rel(&kernel.bytes[file], 1);
    lock_acquire(&kernel.lock);
    if (kernel.registered == file + 1)
        deliver(&records[FD]);
    lock_release(&kernel.lock);
}

/* The other end says that no more will come. */
static void kernel_end(void)
{
    atomic_fetch_add_acq_rel(&kernel.bytes[0], FIN);
    lock_acquire(&kernel.lock);
    if (kernel.registered == 1)
        deliver(&records[FD]);
    lock_release(&kernel.lock);
}

/* ---- the user's calls ---- */

static int read_until(int64_t deadline_ns)
{
    struct operation op;
    int n = operation_begin(&op, FD, SLOT_READ, deadline_ns);

    if (n != 0)
        return n;
    while ((n = kernel_read()) == -EAGAIN)
        if ((n = operation_wait(&op)) != 0)
            return n;
    return (int)operation_end(&op, n);
}

/*
 * As vthread_read on a TCP socket: asks for more than there is, so a read of anything empties it.  With the
 * first FIN in place of a byte the result is 0, after the bytes before it.
 */
static int kernel_read_all(void)
{
    uint32_t seen = atomic_fetch_add_acq_rel(&kernel.bytes[0], 0);

    for (;;) {
        uint32_t data = seen & ~(uint32_t)FIN;

        if (data == 0)
            return seen & FIN ? 0 : -EAGAIN;
        if (atomic_cas_acq_rel(&kernel.bytes[0], &seen, seen & FIN)) {
            got[0] += (int)data;
            return (int)data;
        }
    }
}

static int read_short(int64_t deadline_ns)
{
    struct operation op;
    int n = operation_begin(&op, FD, SLOT_READ, deadline_ns);

    if (n == 0) {
        if (slot_is_drained(&op.d->slot[SLOT_READ]))
            model_reached("drained");
        n = operation_wait_if_drained(&op);
    }
    while (n == 0) {
        n = kernel_read_all();
        if (n != -EAGAIN)
            return (int)operation_end_read(&op, n, 100);
        n = operation_wait(&op);
    }
    return n;
}

static void close_number(void)
{
    uint32_t generation = descriptor_begin_close(&records[FD], FD);

    kernel.file = NO_FILE; /* close(2) */
    descriptor_finish_close(&records[FD], generation);
}

/* ---- actors ---- */

static void reads_one(void)
{
    MODEL_ASSERT(read_until(INT64_MAX) == 1);
}

static void reads_two(void)
{
    reads_one();
    reads_one();
}

/* One byte may come before the deadline or after it; it is not lost. */
static void reads_with_deadline(void)
{
    int n = read_until(DEADLINE);

    if (n == -ETIMEDOUT) {
        model_reached("timed out");
        n = read_until(INT64_MAX);
    }
    MODEL_ASSERT(n == 1);
}

static void reads_unless_closed(void)
{
    int n = read_until(INT64_MAX);

    if (n == -ECANCELED) {
        model_reached("cancelled");
        cancelled[model_self()]++;
    } else {
        MODEL_ASSERT(n == 1 || n == -EBADF);
    }
}

static void reads_unless_closed_or_late(void)
{
    int n = read_until(DEADLINE);

    MODEL_ASSERT(n == 1 || n == -ECANCELED || n == -EBADF || n == -ETIMEDOUT);
}

static void reads_two_unless_interrupted(void)
{
    for (int i = 0; i < 2; i++) {
        int n = read_until(INT64_MAX);

        if (n == -EINTR) {
            model_reached("interrupted");
            n = read_until(INT64_MAX);
        }
        MODEL_ASSERT(n == 1);
    }
}

static void reads_short_until_two(void)
{
    while (got[0] < 2)
        MODEL_ASSERT(read_short(INT64_MAX) > 0);
}

static void reads_to_the_end(void)
{
    while (read_short(INT64_MAX) > 0)
        ;
    MODEL_ASSERT(got[0] == 1);
}

static void reads_short_with_deadline(void)
{
    while (got[0] < 2) {
        int n = read_short(got[0] == 0 ? INT64_MAX : DEADLINE);

        if (n == -ETIMEDOUT) {
            model_reached("timed out");
            n = read_short(INT64_MAX);
        }
        MODEL_ASSERT(n > 0);
    }
}

static void writes_one_and_ends(void)
{
    kernel_write(0);
    kernel_end();
}

static void writes_one(void)
{
    kernel_write(0);
}

static void writes_two(void)
{
    kernel_write(0);
    kernel_write(0);
}

static void closes(void)
{
    close_number();
}

/*
 * As close_number, but the number is given to the next file before the record is
 * ready for it.  Who comes late reads that file, rightly; there is a byte for each.
 */
static void closes_and_opens(void)
{
    uint32_t generation = descriptor_begin_close(&records[FD], FD);

    kernel.file = 1;
    if (model_variant() == OPENED_FIRST)
        MODEL_ASSERT(descriptor_opened(FD, false) == 0);
    descriptor_finish_close(&records[FD], generation);
    if (model_variant() != OPENED_FIRST)
        MODEL_ASSERT(descriptor_opened(FD, false) == 0);
    kernel_write(1);
    kernel_write(1);
    reads_one();
    MODEL_ASSERT(got[1] >= 1);
}

static void interrupts_reader(void)
{
    interrupt_record(record_of(0));
}

/* The first byte comes, or not, before the deadline that is set meanwhile; no wait outlasts it. */
static void reads_until_set_deadline(void)
{
    int n;

    while ((n = read_until(INT64_MAX)) == 1)
        ;
    MODEL_ASSERT(n == -ETIMEDOUT);
}

static void sets_deadline(void)
{
    MODEL_ASSERT(vthread_fd_set_deadline(FD, INT64_MIN, INT64_MAX) == 0);
}

/* The interrupt may come too late, for a reader that has read, or that somebody else has cancelled. */
static void reads_unless_closed_by_interrupt(void)
{
    int n = read_until(INT64_MAX);

    MODEL_ASSERT(n == 1 || n == -ECANCELED || n == -EBADF);
    if (n == -ECANCELED)
        model_reached("cancelled");
}

/* The same, when somebody else closes: then the number is no file, or one of which nothing was said. */
static void reads_unless_ended(void)
{
    int n = read_until(INT64_MAX);

    MODEL_ASSERT(n == -ECANCELED || n == -EBADF || n == -EINTR);
    if (n == -ECANCELED)
        model_reached("cancelled");
}

/* ---- models ---- */

static void setup(void)
{
    make_threads();
    atomic_init(&descriptor_pages[0], records);
    atomic_init(&poller_is_up, true);
    atomic_init(&records[FD].kind, KIND_OWN_SOCKET);
}

static void setup_tcp(void)
{
    setup();
    atomic_init(&records[FD].is_tcp, true);
}

static void setup_data(void)
{
    setup();
    atomic_init(&kernel.bytes[0], 1);
}

static void setup_deadlines(void)
{
    setup();
    atomic_init(&deadline_pages[0], deadlines);
}

static void setup_interrupt_closes(void)
{
    setup();
    atomic_init(&records[FD].interrupt_closes, true);
}

static void check_idle(void)
{
    struct descriptor *d = &records[FD];

    MODEL_ASSERT(slot_state(atomic_load_relaxed(&d->slot[SLOT_READ])) == SLOT_IDLE);
    MODEL_ASSERT(!(atomic_load_relaxed(&d->slot[SLOT_READ]) & (SLOT_QUEUED | SLOT_CLOSED)));
    MODEL_ASSERT(d->queue[SLOT_READ] == NULL || d->queue[SLOT_READ]->count == 0);
}

static void check_one(void)
{
    check_idle();
    MODEL_ASSERT(got[0] == 1 && got[1] == 0);
}

static void check_two(void)
{
    check_idle();
    MODEL_ASSERT(got[0] == 2 && got[1] == 0);
}

static const char *const waited[] = {"waited", "woken early", NULL};
static const char *const timed_out[] = {"timed out", "waited", NULL};
static const char *const cancelled_or_not[] = {"cancelled", "waited", NULL};
static const char *const drained[] = {"drained", "waited", NULL};
static const char *const drained_or_late[] = {"drained", "timed out", NULL};
static const char *const was_cancelled[] = {"cancelled", NULL};
static const char *const interrupted[] = {"interrupted", NULL};

static const struct model models[] = {
    {.name = "read-event",
     .setup = setup,
     .check = check_two,
     .reaches = waited,
     .quick = {3, 2, 0},
     .actors = {{"reader", reads_two}, {"writer", writes_two}},
     .mutants = MUTANTS({MODEL_SPLIT, "slot_prepare", "cas", NULL}, {MODEL_SPLIT, "slot_event", "cas", NULL})},
    {.name = "deadline",
     .setup = setup,
     .check = check_one,
     .ends_asleep = true,
     .reaches = timed_out,
     .quick = {2, 2, 0},
     .actors = {{"reader", reads_with_deadline}, {"writer", writes_one}, {"timer", fire_timers}},
     .mutants = MUTANTS({MODEL_SPLIT, "slot_event", "cas", NULL})},
    {.name = "close",
     .setup = setup,
     .check = check_idle,
     .reaches = cancelled_or_not,
     .quick = {3, 2, 0},
     .actors = {{"reader", reads_unless_closed}, {"closer", closes}},
     .mutants = MUTANTS({MODEL_SPLIT, "slot_close", "cas", NULL})},
    {.name = "close-data",
     .setup = setup_data,
     .check = check_idle,
     .quick = {3, 2, 0},
     .actors = {{"reader", reads_unless_closed}, {"closer", closes}},
     .mutants = MUTANTS({MODEL_WEAKEN, "slot_release", "cas", NULL}, {MODEL_WEAKEN, "slot_is_busy", "load", NULL},
                        {MODEL_WEAKEN, "slot_reopen", "store", NULL})},
    {.name = "close-event",
     .setup = setup,
     .check = check_idle,
     .reaches = cancelled_or_not,
     .quick = {2, 1, 0},
     .actors = {{"reader", reads_unless_closed}, {"closer", closes}, {"writer", writes_one}}},
    {.name = "close-reuse",
     .setup = setup,
     .check = check_idle,
     .reaches = cancelled_or_not,
     .quick = {1, 1, 0},
     .actors = {{"reader", reads_unless_closed}, {"owner", closes_and_opens}, {"writer", writes_one}}},
    {.name = "open-before-closed",
     .setup = setup,
     .check = check_idle,
     .reaches = cancelled_or_not,
     .quick = {2, 1, 0},
     .variant = OPENED_FIRST,
     .actors = {{"reader", reads_unless_closed}, {"owner", closes_and_opens}}},
    {.name = "close-deadline",
     .setup = setup,
     .check = check_idle,
     .ends_asleep = true,
     .quick = {2, 1, 0},
     .actors = {{"reader", reads_unless_closed_or_late}, {"closer", closes}, {"timer", fire_timers}},
     .mutants = MUTANTS({MODEL_SPLIT, "slot_resume", "cas", NULL})},
    {.name = "two-readers",
     .setup = setup,
     .check = check_two,
     .reaches = waited,
     .quick = {2, 1, 0},
     .actors = {{"reader", reads_one}, {"reader2", reads_one}, {"writer", writes_two}}},
    {.name = "two-readers-close",
     .setup = setup,
     .check = check_idle,
     .reaches = cancelled_or_not,
     .quick = {1, 1, 0},
     .actors = {{"reader", reads_unless_closed}, {"reader2", reads_unless_closed}, {"closer", closes}}},
    {.name = "two-readers-deadline",
     .setup = setup,
     .check = check_two,
     .ends_asleep = true,
     .quick = {1, 1, 0},
     .actors =
         {{"reader", reads_with_deadline}, {"reader2", reads_one}, {"writer", writes_two}, {"timer", fire_timers}}},
    {.name = "interrupt",
     .setup = setup,
     .check = check_two,
     .reaches = interrupted,
     .quick = {2, 1, 0},
     .actors = {{"reader", reads_two_unless_interrupted}, {"writer", writes_two}, {"interrupter", interrupts_reader}}},
    {.name = "drained",
     .setup = setup_tcp,
     .check = check_two,
     .reaches = drained,
     .quick = {3, 2, 0},
     .actors = {{"reader", reads_short_until_two}, {"writer", writes_two}},
     .mutants = MUTANTS({MODEL_SPLIT, "slot_release", "cas", NULL}, {MODEL_SPLIT, "slot_prepare", "cas", NULL},
                        {MODEL_SPLIT, "slot_event", "cas", NULL})},
    {.name = "drained-end",
     .setup = setup_tcp,
     .check = check_one,
     .reaches = drained,
     .quick = {3, 2, 0},
     .actors = {{"reader", reads_to_the_end}, {"writer", writes_one_and_ends}},
     .mutants = MUTANTS({MODEL_SPLIT, "slot_release", "cas", NULL}, {MODEL_SPLIT, "slot_event", "cas", NULL})},
    {.name = "drained-deadline",
     .setup = setup_tcp,
     .check = check_two,
     .ends_asleep = true,
     .reaches = drained_or_late,
     .quick = {2, 2, 0},
     .actors = {{"reader", reads_short_with_deadline}, {"writer", writes_two}, {"timer", fire_timers}}},
    {.name = "deadline-set",
     .setup = setup_deadlines,
     .check = check_idle,
     .reaches = waited,
     .quick = {3, 2, 0},
     .actors = {{"reader", reads_until_set_deadline}, {"setter", sets_deadline}},
     .mutants = MUTANTS({MODEL_SPLIT, "slot_notify", "cas", NULL}, {MODEL_WEAKEN, "slot_notify", "cas", NULL},
                        {MODEL_SPLIT, "slot_prepare", "cas", NULL})},
    {.name = "deadline-set-queue",
     .setup = setup_deadlines,
     .check = check_idle,
     .quick = {2, 1, 0},
     .actors = {{"reader", reads_until_set_deadline},
                {"reader2", reads_until_set_deadline},
                {"setter", sets_deadline}}},
    {.name = "interrupt-closes",
     .setup = setup_interrupt_closes,
     .check = check_idle,
     .reaches = was_cancelled,
     .quick = {2, 1, 0},
     .actors = {{"reader", reads_unless_closed_by_interrupt},
                {"interrupter", interrupts_reader},
                {"writer", writes_one}}},
    {.name = "interrupt-closes-two",
     .setup = setup_interrupt_closes,
     .check = check_idle,
     .reaches = was_cancelled,
     .quick = {2, 1, 0},
     .actors = {{"reader", reads_unless_ended}, {"closer", closes}, {"interrupter", interrupts_reader}}},
    {0},
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, models);
}
