/* SPDX-License-Identifier: MIT */
/*
 * Who sleeps, and who is woken for new work.
 *
 * Roles: carriers enter (nothing to do), cancel (found something after all) and
 * are chosen (by whoever made work).  A chosen carrier is *searching* until it
 * has found work or enters again; while somebody searches, nobody else is woken
 * (Go's "spinning" Ms; rayon's jobs event counter serves the same purpose).
 *
 * One word counts both: idle in the low half, searching in the high half.  The
 * list of sleepers, newest first, is kept under the lock, and so is every change
 * of the counts; the word is read without it.
 *
 * The protocol that no wake-up is lost in, with both halves side by side:
 *
 *     maker of work                      carrier without work
 *     M1 put the task into a queue       C1 idle_enter: idle + 1, searching - 1 if it was
 *     M2 barrier_light()                 C2 barrier_heavy()
 *     M3 read the word: somebody idle    C3 look at every queue once more;
 *        and nobody searching? choose       found something: idle_cancel, go on
 *                                        C4 sleep
 *
 * If M3 does not see C1, then by the asymmetric pair C3 sees M1.  If M3 sees a
 * searcher, that one has not done its C1 (or its "found" step, below) yet, so its
 * C3 comes later and sees M1.  A searcher that finds work gives the role up with
 * idle_found, and then, after a heavy barrier, looks whether more is there and
 * chooses the next: M1 is before that look if M3 saw it searching.
 *
 * Makers of work on other threads than carriers put a full fence at M2.
 * Tested by tests/model (idle.c).
 */
#ifndef CARRIER_IDLE_H
#define CARRIER_IDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/futex.h"
#include "base/panic.h"

struct idler {
    struct idler *next;
    bool listed;    /* under the set's lock */
    bool searching; /* chosen, and has not decided yet; the carrier's own */
};

struct idle_set {
    ATOMIC(uint64_t) counts;
    struct lock lock;
    struct idler *newest;
};

#define IDLE_ONE ((uint64_t)1)
#define IDLE_SEARCHING_ONE ((uint64_t)1 << 32)

static inline uint32_t idle_count(struct idle_set *set)
{
    return (uint32_t)atomic_load_relaxed(&set->counts);
}

/* M3, after the barrier: is it worth calling idle_choose? */
static inline bool idle_wants_work(struct idle_set *set)
{
    uint64_t counts = atomic_load_relaxed(&set->counts);

    return counts != 0 && counts < IDLE_SEARCHING_ONE;
}

/*
 * C1 and C2.  alone: there is no other carrier, only makers with full fences; so a
 * fence will do.  It is asked after the fence: a carrier that is created later
 * sees that we are idle.
 */
static inline void idle_enter(struct idle_set *set, struct idler *self, bool (*alone)(void))
{
    lock_acquire(&set->lock);
    self->next = set->newest;
    set->newest = self;
    self->listed = true;
    atomic_fetch_add_seq_cst(&set->counts, IDLE_ONE - (self->searching ? IDLE_SEARCHING_ONE : 0));
    self->searching = false;
    lock_release(&set->lock);
    atomic_fence_seq_cst();
    if (alone == NULL || !alone())
        barrier_heavy(); /* pairs with the makers' barrier_light */
}

static inline void idle_unlink_locked(struct idle_set *set, struct idler *idler)
{
    struct idler **at = &set->newest;

    while (*at != idler)
        at = &(*at)->next;
    *at = idler->next;
    idler->listed = false;
}

/*
 * Leave by oneself; found: C3 has seen work.  We then search: whoever made two
 * tasks while we entered has woken nobody, and we can take but one.
 * If somebody chose us meanwhile, a notification is under way, and we search too.
 */
static inline void idle_cancel(struct idle_set *set, struct idler *self, bool found)
{
    bool listed;

    lock_acquire(&set->lock);
    listed = self->listed;
    if (listed) {
        idle_unlink_locked(set, self);
        atomic_fetch_sub_acq_rel(&set->counts, IDLE_ONE - (found ? IDLE_SEARCHING_ONE : 0));
    }
    lock_release(&set->lock);
    self->searching = found || !listed;
}

/*
 * Take one sleeper off the list, to be notified by the caller; NULL when nobody
 * is idle or somebody searches already (unless `anyway`).  `last_choice`, the one inside the poller,
 * is taken only when there is no other; may be NULL.
 */
static inline struct idler *idle_choose(struct idle_set *set, struct idler *last_choice, bool anyway)
{
    struct idler *chosen;

    lock_acquire(&set->lock);
    chosen = set->newest;
    if (chosen != NULL && chosen == last_choice && chosen->next != NULL)
        chosen = chosen->next;
    if (!anyway && atomic_load_relaxed(&set->counts) >= IDLE_SEARCHING_ONE)
        chosen = NULL;
    if (chosen != NULL) {
        idle_unlink_locked(set, chosen);
        atomic_fetch_add_seq_cst(&set->counts, IDLE_SEARCHING_ONE - IDLE_ONE);
    }
    lock_release(&set->lock);
    return chosen;
}

/* A searcher found work.  The caller then looks for more, and chooses the next if there is. */
static inline void idle_found(struct idle_set *set, struct idler *self)
{
    self->searching = false;
    atomic_fetch_sub_acq_rel(&set->counts, IDLE_SEARCHING_ONE);
    barrier_heavy();
}

#endif
