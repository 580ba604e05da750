/* SPDX-License-Identifier: MIT */
/*
 * Keys, and each thread's values.
 *
 * The name of a key is its index, and a generation that is odd while the key is there: the
 * name of one that was deleted fits nothing any more.
 *
 * A thread's values are an open hash table by index, which begins small and doubles; most
 * programs have few keys, in a row, so that the first look finds.  Only the thread itself
 * looks at it.  A slot is never emptied, for the sake of those behind it: one whose key was
 * deleted serves the next key of that index, or goes when the table grows.
 */
#include <errno.h>
#include <string.h>

#include "base/futex.h"
#include "base/memory.h"
#include "vthread/local_internal.h"

enum { FIRST_SLOTS = 4 };

struct key {
    ATOMIC(uint32_t) generation; /* odd: in use; written under the lock */
    bool inheritable;            /* this and what follows: under the lock */
    uint32_t next_free;
    void (*destructor)(void *value);
    void *(*copy)(void *value);
};

static struct {
    struct lock lock;
    uint32_t used; /* keys that ever were */
    uint32_t free; /* index + 1 of the first of those deleted */
    struct key list[VTHREAD_KEYS_MAX];
} keys;

struct local {
    vthread_key_t key; /* 0: never used */
    void *value;
};

struct locals {
    uint32_t slots; /* a power of two */
    uint32_t used;
    uint32_t rounds; /* of destructors, so far */
    struct local list[];
};

/* ---- keys ---- */

static uint32_t index_of(vthread_key_t key)
{
    return (uint32_t)key;
}

static bool is_key(vthread_key_t key)
{
    uint32_t generation = (uint32_t)(key >> 32);

    /* relaxed: whoever has the name has it from the one who made the key */
    return index_of(key) < VTHREAD_KEYS_MAX && generation % 2 == 1 &&
           atomic_load_relaxed(&keys.list[index_of(key)].generation) == generation;
}

static struct key *unused_locked(void)
{
    struct key *k;

    if (keys.free != 0) {
        k = &keys.list[keys.free - 1];
        keys.free = k->next_free;
        return k;
    }
    return keys.used < VTHREAD_KEYS_MAX ? &keys.list[keys.used++] : NULL;
}

static int create(vthread_key_t *ret_key, bool inheritable, void *(*copy)(void *value), void (*destructor)(void *value))
{
    struct key *k;

    if (ret_key == NULL)
        return EINVAL;
    lock_acquire(&keys.lock);
    k = unused_locked();
    if (k != NULL) {
        uint32_t generation = atomic_load_relaxed(&k->generation) + 1;

        k->inheritable = inheritable;
        k->copy = copy;
        k->destructor = destructor;
        atomic_store_relaxed(&k->generation, generation);
        *ret_key = (vthread_key_t)generation << 32 | (uint32_t)(k - keys.list);
    }
    lock_release(&keys.lock);
    return k != NULL ? 0 : EAGAIN;
}

int vthread_key_create(vthread_key_t *ret_key, void (*destructor)(void *value))
{
    return create(ret_key, false, NULL, destructor);
}

int vthread_key_create_inheritable(vthread_key_t *ret_key, void *(*copy)(void *value), void (*destructor)(void *value))
{
    return create(ret_key, true, copy, destructor);
}

int vthread_key_delete(vthread_key_t key)
{
    int error = EINVAL;

    lock_acquire(&keys.lock);
    if (is_key(key)) {
        struct key *k = &keys.list[index_of(key)];
        uint32_t generation = atomic_load_relaxed(&k->generation) + 1;

        atomic_store_relaxed(&k->generation, generation);
        if (generation < UINT32_MAX - 1) { /* else its names are used up: it is not used again */
            k->next_free = keys.free;
            keys.free = index_of(key) + 1;
        }
        error = 0;
    }
    lock_release(&keys.lock);
    return error;
}

/* What is to be done with a value of that key; all NULL: it was deleted. */
static struct key look_up(vthread_key_t key)
{
    struct key found = {.inheritable = false};

    lock_acquire(&keys.lock);
    if (is_key(key)) {
        struct key *k = &keys.list[index_of(key)];

        found.inheritable = k->inheritable;
        found.destructor = k->destructor;
        found.copy = k->copy;
    }
    lock_release(&keys.lock);
    return found;
}

/* ---- a table of values ---- */

/* The slot of that index, or the unused one where it would be.  There is always one unused. */
static struct local *slot_of(struct locals *locals, vthread_key_t key)
{
    uint32_t at = index_of(key);

    for (;; at++) {
        struct local *slot = &locals->list[at & (locals->slots - 1)];

        if (LIKELY(slot->key == key) || slot->key == 0 || index_of(slot->key) == index_of(key))
            return slot;
    }
}

static struct locals *make(uint32_t slots)
{
    struct locals *locals = memory_hold(sizeof *locals + slots * sizeof(struct local));

    if (locals != NULL)
        locals->slots = slots;
    return locals;
}

static void put(struct locals *locals, vthread_key_t key, void *value)
{
    struct local *slot = slot_of(locals, key);

    if (slot->key == 0)
        locals->used++;
    slot->key = key;
    slot->value = value;
}

/* A table with room for one more, of what is still worth keeping. */
static struct locals *grown(struct locals *old)
{
    struct locals *locals = make(old != NULL ? old->slots * 2 : FIRST_SLOTS);

    if (locals == NULL || old == NULL)
        return locals;
    locals->rounds = old->rounds;
    for (uint32_t i = 0; i < old->slots; i++)
        if (old->list[i].value != NULL && is_key(old->list[i].key))
            put(locals, old->list[i].key, old->list[i].value);
    memory_let_go(old);
    return locals;
}

static bool is_full(const struct locals *locals)
{
    return locals->used + 1 > locals->slots / 4 * 3;
}

/* Set a value that may need a slot of its own.  0 or ENOMEM. */
static int set(struct locals **locals, vthread_key_t key, void *value)
{
    if (*locals == NULL || (slot_of(*locals, key)->key == 0 && is_full(*locals))) {
        struct locals *more = grown(*locals);

        if (more == NULL)
            return ENOMEM;
        *locals = more;
    }
    put(*locals, key, value);
    return 0;
}

/* ---- the calling thread's ---- */

int vthread_setspecific(vthread_key_t key, const void *value)
{
    struct thread *self;
    struct thread_extra *extra;
    int error;

    if (!is_key(key))
        return EINVAL;
    self = thread_self(&error);
    if (self == NULL)
        return error;
    extra = thread_extra(self);
    if (value == NULL && (extra == NULL || extra->locals == NULL))
        return 0;
    extra = thread_extra_own(self);
    if (extra == NULL)
        return ENOMEM;
    if (value == NULL && slot_of(extra->locals, key)->key == 0)
        return 0;
    return set(&extra->locals, key, (void *)(uintptr_t)value);
}

void *vthread_getspecific(vthread_key_t key)
{
    struct thread *self = thread_self_if_known();
    struct thread_extra *extra;
    struct local *slot;

    if (UNLIKELY(self == NULL))
        return NULL;
    extra = thread_extra(self);
    if (extra == NULL || extra->locals == NULL || !is_key(key))
        return NULL;
    slot = slot_of(extra->locals, key);
    return slot->key == key ? slot->value : NULL;
}

/* ---- inheritance ---- */

int locals_inherit_slow(struct locals *from, struct locals **ret_locals)
{
    uint32_t slots = from->slots;
    struct local *list = memory_hold(slots * sizeof *list); /* copy may set others, and so move them */
    struct locals *made = NULL;
    int error = 0;

    if (list == NULL)
        return ENOMEM;
    memcpy(list, from->list, slots * sizeof *list);
    for (uint32_t i = 0; i < slots && error == 0; i++) {
        struct local parents = list[i];
        struct key k = parents.value != NULL ? look_up(parents.key) : (struct key){.inheritable = false};
        void *value = parents.value;

        if (k.inheritable && k.copy != NULL)
            value = k.copy(value);
        if (!k.inheritable || value == NULL)
            continue;
        error = set(&made, parents.key, value);
        if (error != 0 && k.destructor != NULL)
            k.destructor(value);
    }
    memory_let_go(list);
    if (error != 0)
        locals_destroy(made);
    else
        *ret_locals = made;
    return error;
}

/* ---- destructors ---- */

/* Take the value out of a slot and destroy it.  False: there was none. */
static bool destroy(struct local *slot)
{
    void *value = slot->value;
    struct key k;

    if (value == NULL)
        return false;
    slot->value = NULL;
    k = look_up(slot->key);
    if (k.destructor != NULL)
        k.destructor(value);
    return true;
}

void locals_destroy(struct locals *locals)
{
    if (locals == NULL)
        return;
    for (uint32_t i = 0; i < locals->slots; i++)
        destroy(&locals->list[i]);
    memory_let_go(locals);
}

/* A destructor may set values, and so replace the table; or even end the thread once more. */
void locals_run_destructors(struct thread_extra *extra)
{
    bool found = extra->locals != NULL;

    while (found && extra->locals->rounds < VTHREAD_DESTRUCTOR_ITERATIONS) {
        extra->locals->rounds++;
        found = false;
        for (uint32_t i = 0; i < extra->locals->slots; i++)
            found |= destroy(&extra->locals->list[i]);
    }
    memory_let_go(extra->locals);
    extra->locals = NULL;
}
