/* SPDX-License-Identifier: MIT */
/*
 * Stacks may go only when no public continuation is alive, and one may be made at
 * any moment by any OS thread.  Dekker's problem, with the costs where they belong
 * (base/atomic.h):
 *
 *     vthread_cont_new              continuation_stop, under the lock
 *     alive := alive + 1            epoch := even
 *     barrier_light                 barrier_heavy
 *     epoch as in my magazine?      sum of alive = 0?
 *     no: undo; the slow path       no: the former epoch again
 *
 * Once the epoch is even no count goes up for long: whoever made it do so undoes it
 * and then waits for the lock.  So a sum of 0 stays true, in whatever order the
 * counts were read.  An object counts as freed when its last byte has been touched.
 */
#include "continuation/life.h"

#include <errno.h>
#include <pthread.h>

#include "base/futex.h"
#include "continuation/nested.h"

static struct {
    struct lock lock;
    struct nested_thread *threads;
    int32_t alive; /* of threads that ended or could not be listed */
    pthread_key_t key;
    bool has_key;
} life;

nested_epoch_word nested_epoch = {2};

static int prepare_default(struct stack_params *ret_params)
{
    *ret_params = (struct stack_params){.stack_bytes = 1024 * 1024, .sole_max = 1024, .shared_max = 256};
    return 0;
}

int (*continuation_prepare)(struct stack_params *ret_params) = prepare_default;

static bool is_up(uint32_t epoch)
{
    return epoch % 2 == 1;
}

bool continuation_is_started(void)
{
    return is_up(atomic_load_relaxed(&nested_epoch)); /* a snapshot */
}

int continuation_start(const struct stack_params *params)
{
    int error = 0;

    lock_acquire(&life.lock);
    uint32_t epoch = atomic_load_relaxed(&nested_epoch);

    if (!is_up(epoch)) {
        barrier_init();
        if (stack_init(params))
            atomic_store_relaxed(&nested_epoch, epoch + 1); /* those who wait for it have taken the lock */
        else
            error = ENOMEM;
    }
    lock_release(&life.lock);
    return error;
}

static int32_t alive_locked(void)
{
    int32_t sum = life.alive;

    for (struct nested_thread *t = life.threads; t != NULL; t = t->next)
        sum += atomic_load_acquire(&t->alive); /* pairs with the release in vthread_cont_free */
    return sum;
}

uint32_t continuation_alive(void)
{
    int32_t alive;

    lock_acquire(&life.lock);
    alive = alive_locked();
    lock_release(&life.lock);
    return alive > 0 ? (uint32_t)alive : 0;
}

bool continuation_stop(void)
{
    bool stopped = true;

    lock_acquire(&life.lock);
    uint32_t epoch = atomic_load_relaxed(&nested_epoch);

    if (is_up(epoch)) {
        atomic_store_relaxed(&nested_epoch, epoch + 1);
        barrier_heavy();
        if (alive_locked() == 0) {
            stack_fini();
            chunk_fini();
        } else {
            atomic_store_relaxed(&nested_epoch, epoch);
            stopped = false;
        }
    }
    lock_release(&life.lock);
    return stopped;
}

/* ---- the OS threads that have a magazine ---- */

static void thread_exits(void *arg)
{
    struct nested_thread *self = arg;

    lock_acquire(&life.lock);
    if (self->epoch == atomic_load_relaxed(&nested_epoch))
        nested_drain(self, self->count);
    life.alive += atomic_load_relaxed(&self->alive);
    *self->link = self->next;
    if (self->next != NULL)
        self->next->link = self->link;
    *self = (struct nested_thread){.innermost = self->innermost};
    lock_release(&life.lock);
}

static bool list_locked(struct nested_thread *self)
{
    if (!life.has_key)
        life.has_key = pthread_key_create(&life.key, thread_exits) == 0;
    if (!life.has_key || pthread_setspecific(life.key, self) != 0)
        return false;
    self->next = life.threads;
    self->link = &life.threads;
    if (self->next != NULL)
        self->next->link = &self->next;
    life.threads = self;
    self->listed = true;
    return true;
}

int nested_enlist(struct nested_thread *self)
{
    struct stack_params params;
    uint32_t epoch;
    int error;

    for (;;) {
        lock_acquire(&life.lock);
        epoch = atomic_load_relaxed(&nested_epoch);
        error = self->listed || list_locked(self) ? 0 : ENOMEM;
        if (error == 0 && self->epoch != epoch) {
            self->magazine = NULL; /* of stacks that are gone */
            self->count = 0;
            self->epoch = is_up(epoch) ? epoch : 0;
        }
        lock_release(&life.lock);
        if (error != 0 || is_up(epoch))
            return error;
        error = continuation_prepare(&params);
        if (error == 0)
            error = continuation_start(&params);
        if (error != 0)
            return error;
    }
}

void nested_count_freed(void)
{
    lock_acquire(&life.lock);
    life.alive--;
    lock_release(&life.lock);
}
