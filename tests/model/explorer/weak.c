/* SPDX-License-Identifier: MIT */
/*
 * Memory: the release-acquire fragment of C11 with relaxed accesses and fences,
 * as an operational model with views (Kang et al., "A Promising Semantics for
 * Relaxed-Memory Concurrency", without promises).
 *
 * Every location keeps all the messages ever stored to it in their modification
 * order.  Every actor has a view: for each location the oldest message it may
 * still read.
 *
 *   load          returns any message not older than the view, and moves the view
 *                 there; acquire also joins the view that travels with the message.
 *   store         puts a message anywhere after the view: at the end, or before
 *                 stores of others that it has not seen (it arrives late).  A
 *                 release sends the whole view along, a relaxed store what the
 *                 last fence saw.
 *   read-modify-write  reads like a load and puts its message right after the one
 *                 read; nothing ever comes between.  It carries on the view of
 *                 that message (release sequence).
 *   seq_cst fence acquires what relaxed loads have read, then exchanges views
 *                 with all other seq_cst fences, past ones.
 *   seq_cst load, store   as acquire and release, and not older than any seq_cst
 *                 store or fence before it.
 *   heavy barrier a fence of this actor, one of every other actor at some later
 *                 moments, one of this actor: what membarrier(2) does.  The
 *                 light barrier does nothing.
 *
 * So old values are read late and stores are seen late, which is what aarch64
 * does and x86 mostly does not.  Missing is load buffering: a load never sees a
 * store that the same execution makes only later, so a store never overtakes a
 * load before it in the program.
 *
 * "Late" choices (not the newest message, not the end) cost one of the bound each.
 */
#include <string.h>

#include "tests/model/explorer/internal.h"

enum { GAP = 1 << 16, MESSAGES_MAX = STEPS_MAX + LOCATIONS_MAX };

struct message {
    uint64_t value;
    uint64_t hash;
    uint32_t at; /* place in the modification order; gaps leave room */
    int8_t writer;
    bool attached; /* a read-modify-write follows at once */
    struct view view;
};

struct location {
    uintptr_t address;
    unsigned size;
    const char *name;
    uint32_t count;
    struct message *order[PER_LOCATION_MAX];
    uint64_t hash;             /* of the order */
    uint32_t accessed[ACTORS]; /* clock of each actor's last atomic access, for races */
    uint32_t stored[ACTORS];
    struct plain_stamp plain; /* the last plain store */
    bool plain_pending;       /* its value is in memory, and the history is void */
};

static struct message messages[MESSAGES_MAX];
static uint32_t message_count;
static struct location locations[LOCATIONS_MAX];
static uint32_t location_count;
static uint64_t locations_hash;
static struct view fences; /* the common view of all seq_cst operations */
static uint64_t fences_hash;
uint32_t store_count;

void weak_reset(void)
{
    message_count = 0;
    location_count = 1; /* 0 stands for none */
    locations_hash = 0;
    memset(&fences, 0, sizeof fences);
    fences_hash = 0;
    store_count = 0;
}

const char *location_name(const struct location *l)
{
    return l->name;
}

uintptr_t location_address(const struct location *l)
{
    return l->address;
}

uint32_t location_index(const struct location *l)
{
    return (uint32_t)(l - locations);
}

uint64_t weak_hash(void)
{
    return mix(locations_hash, fences_hash);
}

static uint64_t memory_read(const struct location *l)
{
    uint64_t value = 0;

    memcpy(&value, (const void *)l->address, l->size);
    return value;
}

static uint64_t mask_to(unsigned size, uint64_t value)
{
    return size == 8 ? value : value & (((uint64_t)1 << size * 8) - 1);
}

void view_join(struct view *to, const struct view *from)
{
    for (int i = 0; i < ACTORS; i++)
        if (to->clock[i] < from->clock[i])
            to->clock[i] = from->clock[i];
    for (uint32_t i = 1; i < location_count; i++)
        if (to->at[i] < from->at[i])
            to->at[i] = from->at[i];
}

static void view_copy(struct view *to, const struct view *from)
{
    memcpy(to, from, offsetof(struct view, at) + location_count * sizeof from->at[0]);
}

/* The same without happens-before: seq_cst order alone does not make plain accesses safe. */
static void view_join_places(struct view *to, const struct view *from)
{
    for (uint32_t i = 1; i < location_count; i++)
        if (to->at[i] < from->at[i])
            to->at[i] = from->at[i];
}

/* ---- messages ---- */

static void location_rehash(struct location *l)
{
    uint64_t h = 0;

    /* What was there at first counts for nothing, so that it is no matter who looks first. */
    for (uint32_t i = l->order[0]->at == 0; i < l->count; i++)
        h = mix(h, l->order[i]->hash);
    locations_hash += h - l->hash;
    l->hash = h;
}

static struct message *message_new(uint64_t value)
{
    struct message *m;

    if (message_count == MESSAGES_MAX)
        model_fail("more than %d stores: raise MESSAGES_MAX, or is there a loop?", MESSAGES_MAX);
    m = &messages[message_count++];
    m->value = value;
    m->attached = false;
    m->writer = (int8_t)self;
    return m;
}

/* Put a message after the one at `after` (which may be the last). */
static void message_insert(struct location *l, uint32_t after, struct message *m)
{
    bool last = after + 1 == l->count;
    uint32_t low = l->order[after]->at;

    if (l->count == PER_LOCATION_MAX)
        model_fail("more than %d stores to %s: is there a loop?", PER_LOCATION_MAX, l->name);
    m->at = last ? low + GAP : low + (l->order[after + 1]->at - low) / 2;
    memmove(&l->order[after + 2], &l->order[after + 1], (l->count - after - 1) * sizeof l->order[0]);
    l->order[after + 1] = m;
    l->count++;
    if (last) {
        locations_hash -= l->hash;
        l->hash = mix(l->hash, m->hash);
        locations_hash += l->hash;
        memcpy((void *)l->address, &m->value, l->size);
    } else {
        location_rehash(l);
    }
    store_count++;
}

static bool has_room(const struct location *l, uint32_t after)
{
    return after + 1 == l->count || l->order[after + 1]->at - l->order[after]->at > 1;
}

/* The one message of a location that is new, or was stored to plainly. */
static void location_begin(struct location *l, uint32_t at)
{
    struct message *m = message_new(memory_read(l));

    memset(&m->view, 0, sizeof m->view);
    m->at = at;
    m->hash = mix(mix(l->address, m->value), at);
    l->order[0] = m;
    l->count = 1;
    location_rehash(l);
}

struct location *weak_location(const void *p, unsigned size, const char *expression)
{
    uintptr_t address = (uintptr_t)p;
    struct location *l;

    for (uint32_t i = 1; i < location_count; i++)
        if (locations[i].address == address) {
            if (locations[i].size != size)
                model_fail("%s is accessed with %u bytes and with %u", expression, locations[i].size, size);
            return &locations[i];
        }
    if (location_count == LOCATIONS_MAX)
        model_fail("more than %d atomic locations: raise LOCATIONS_MAX", LOCATIONS_MAX);
    l = &locations[location_count];
    memset(l, 0, offsetof(struct location, order));
    memset(l->accessed, 0, sizeof l->accessed);
    memset(l->stored, 0, sizeof l->stored);
    l->hash = 0;
    l->plain_pending = false;
    l->address = address;
    l->size = size;
    l->name = expression;
    l->plain = race_adopt(address, size, (uint8_t)location_count);
    location_count++;
    fences.at[location_count - 1] = 0;
    for (int i = 0; i < actor_count; i++) {
        actors[i].now.at[location_count - 1] = 0;
        actors[i].acquired.at[location_count - 1] = 0;
        actors[i].released.at[location_count - 1] = 0;
    }
    for (uint32_t i = 0; i < message_count; i++)
        messages[i].view.at[location_count - 1] = 0;
    location_begin(l, 0);
    return l;
}

/* ---- races between atomic and plain accesses of the same field ---- */

void weak_plain_access(uint32_t index, bool is_write)
{
    struct location *l = &locations[index];
    const uint32_t *others = is_write ? l->accessed : l->stored;

    for (int i = 0; i < actor_count; i++)
        if (i != self && others[i] > actors[self].now.clock[i])
            model_fail("race: plain %s of the atomic %s, unordered with an access of %s", is_write ? "store" : "load",
                       l->name, actors[i].name);
    if (is_write) {
        l->plain = (struct plain_stamp){(int8_t)self, actors[self].now.clock[self]};
        l->plain_pending = true; /* the value comes after this call */
        actors[self].hash = mix(actors[self].hash, l->address);
        store_count++;
    }
}

static void check_atomic_access(struct location *l, bool is_write)
{
    struct actor *me = &actors[self];

    race_check_freed(l->address);
    if (l->plain.writer >= 0 && l->plain.writer != self && l->plain.clock > me->now.clock[l->plain.writer])
        model_fail("race: atomic access of %s, unordered with a plain store of %s", l->name,
                   actors[l->plain.writer].name);
    if (l->plain_pending) {
        l->plain_pending = false;
        location_begin(l, l->order[l->count - 1]->at + GAP);
    }
    l->accessed[self] = me->now.clock[self];
    if (is_write)
        l->stored[self] = me->now.clock[self];
}

/* ---- operations ---- */

static uint32_t floor_of(const struct location *l, enum model_order order)
{
    uint32_t i = location_index(l);
    uint32_t floor = actors[self].now.at[i];

    return order == MODEL_SEQ_CST && floor < fences.at[i] ? fences.at[i] : floor;
}

/* What lets a candidate be chosen by a compare-and-swap, or by any read-modify-write. */
struct filter {
    bool to_modify;
    bool compares;
    uint64_t expected;
};

static bool admits(const struct filter *f, const struct location *l, uint32_t i)
{
    const struct message *m = l->order[i];

    if (!f->to_modify || (f->compares && m->value != f->expected))
        return true; /* just a load */
    return !m->attached && has_room(l, i);
}

/* Choose the message that a load reads; the newest if there is no budget for late ones. */
static uint32_t choose_message(const struct location *l, uint32_t floor, const struct filter *f)
{
    uint32_t candidates[PER_LOCATION_MAX];
    int n = 0;
    int chosen;

    for (uint32_t i = l->count; i-- > 0 && l->order[i]->at >= floor;)
        if (admits(f, l, i))
            candidates[n++] = i; /* the newest always is one: nothing is attached to it yet */
    if (used.late >= bound.late)
        n = 1;
    chosen = choose(n);
    used.late += chosen > 0;
    return candidates[chosen];
}

static void see(struct actor *me, const struct location *l, const struct message *m, enum model_order order)
{
    uint32_t i = location_index(l);

    if (me->now.at[i] < m->at)
        me->now.at[i] = m->at;
    if (me->acquired.at[i] < m->at)
        me->acquired.at[i] = m->at;
    view_join(&me->acquired, &m->view);
    if (order == MODEL_ACQUIRE || order == MODEL_ACQ_REL || order == MODEL_SEQ_CST)
        view_join(&me->now, &m->view);
    me->hash = mix(mix(me->hash, l->address), m->hash);
}

static void fences_rehash(void)
{
    fences_hash = 1;
    for (uint32_t i = 1; i < location_count; i++)
        for (uint32_t k = locations[i].count; k-- > 0;)
            if (locations[i].order[k]->at <= fences.at[i]) {
                if (fences.at[i] > 0)
                    fences_hash += mix(locations[i].address, locations[i].order[k]->hash);
                break;
            }
}

/* Store after the message at index `after`; `read`: the one that a read-modify-write has read. */
static void put(struct actor *me, struct location *l, uint32_t after, uint64_t value, enum model_order order,
                const struct message *read)
{
    uint32_t index = location_index(l);
    struct message *m = message_new(mask_to(l->size, value));
    bool releases = order == MODEL_RELEASE || order == MODEL_ACQ_REL || order == MODEL_SEQ_CST;

    me->hash = mix(mix(mix(me->hash, l->address), m->value), l->order[after]->hash);
    if (order == MODEL_SEQ_CST)
        me->hash = mix(me->hash, fences_hash);
    m->hash = me->hash;
    message_insert(l, after, m);
    me->now.at[index] = m->at;
    me->acquired.at[index] = m->at;
    view_copy(&m->view, releases ? &me->now : &me->released);
    m->view.at[index] = m->at;
    if (read != NULL)
        view_join(&m->view, &read->view);
    if (releases) {
        me->now.clock[self]++; /* what comes next is not covered */
        me->acquired.clock[self] = me->now.clock[self];
    }
    if (order == MODEL_SEQ_CST) {
        if (fences.at[index] < m->at)
            fences.at[index] = m->at;
        fences_rehash();
    }
}

static const char *age(const struct location *l, uint32_t i)
{
    return i + 1 == l->count ? "" : " (old)";
}

static const char *order_name(enum model_order order)
{
    static const char *const names[] = {"relaxed", "acquire", "release", "acq_rel", "seq_cst"};

    return names[order];
}

static uint64_t load_now(struct location *l, enum model_order order, const struct site *site)
{
    uint32_t i;

    check_atomic_access(l, false);
    i = choose_message(l, floor_of(l, order), &(struct filter){0});
    see(&actors[self], l, l->order[i], order);
    trace(site, l, "%-7s  -> %#llx%s", order_name(order), (unsigned long long)l->order[i]->value, age(l, i));
    return l->order[i]->value;
}

uint64_t model_load(const void *p, unsigned size, enum model_order order, MODEL_SITE_ARGS)
{
    struct site site = {"load", expression, where, function};
    struct location *l;
    uint64_t value = 0;

    if (self == NOBODY) {
        memcpy(&value, p, size);
        return value;
    }
    l = weak_location(p, size, expression);
    actor_point(l, false);
    return load_now(l, site_order(&site, order), &site);
}

uint64_t weak_peek(const void *p, unsigned size, const struct site *site)
{
    struct location *l = weak_location(p, size, site->expression);

    choice_is_shared(l, false);
    return load_now(l, MODEL_RELAXED, site);
}

/* Where a store may go: the end, or a gap after the view into which nothing prevents it to fall. */
static uint32_t choose_gap(const struct location *l, uint32_t floor)
{
    uint32_t candidates[PER_LOCATION_MAX];
    int n = 0;
    int chosen;

    for (uint32_t i = l->count; i-- > 0 && l->order[i]->at >= floor;)
        if (i + 1 == l->count || (!l->order[i]->attached && has_room(l, i)))
            candidates[n++] = i;
    if (used.late >= bound.late)
        n = 1;
    chosen = choose(n);
    used.late += chosen > 0;
    return candidates[chosen];
}

void model_store(void *p, unsigned size, enum model_order order, uint64_t value, MODEL_SITE_ARGS)
{
    struct site site = {"store", expression, where, function};
    struct location *l;
    uint32_t after;

    if (self == NOBODY) {
        memcpy(p, &value, size);
        return;
    }
    l = weak_location(p, size, expression);
    actor_point(l, true);
    if (site_errs(&site, MODEL_DROP)) {
        trace(&site, l, "dropped");
        return;
    }
    check_atomic_access(l, true);
    order = site_order(&site, order);
    after = choose_gap(l, floor_of(l, order));
    trace(&site, l, "%-7s <-  %#llx%s", order_name(order), (unsigned long long)mask_to(size, value), age(l, after));
    put(&actors[self], l, after, value, order, NULL);
}

static uint64_t fetch_result(enum model_fetch fetch, uint64_t old, uint64_t operand)
{
    switch (fetch) {
    case MODEL_ADD:
        return old + operand;
    case MODEL_SUB:
        return old - operand;
    case MODEL_OR:
        return old | operand;
    case MODEL_AND:
        return old & operand;
    case MODEL_EXCHANGE:
        break;
    }
    return operand;
}

/* The halves of a read-modify-write that a mutant splits. */
static enum model_order loading(enum model_order order)
{
    return order == MODEL_ACQ_REL ? MODEL_ACQUIRE : order == MODEL_RELEASE ? MODEL_RELAXED : order;
}

static enum model_order storing(enum model_order order)
{
    return order == MODEL_ACQ_REL ? MODEL_RELEASE : order == MODEL_ACQUIRE ? MODEL_RELAXED : order;
}

uint64_t model_fetch(void *p, unsigned size, enum model_order order, enum model_fetch fetch, uint64_t operand,
                     MODEL_SITE_ARGS)
{
    struct site site = {fetch == MODEL_EXCHANGE ? "exchange" : "fetch", expression, where, function};
    struct location *l;
    struct message *m;
    uint64_t value = 0;
    uint64_t next;
    uint32_t i;

    if (self == NOBODY) {
        memcpy(&value, p, size);
        next = fetch_result(fetch, value, operand);
        memcpy(p, &next, size);
        return value;
    }
    if (site_errs(&site, MODEL_SPLIT)) {
        value = model_load(p, size, loading(order), expression, where, function);
        model_store(p, size, storing(order), fetch_result(fetch, value, operand), expression, where, function);
        return value;
    }
    l = weak_location(p, size, expression);
    actor_point(l, true);
    check_atomic_access(l, true);
    order = site_order(&site, order);
    i = choose_message(l, floor_of(l, order), &(struct filter){.to_modify = true});
    m = l->order[i];
    see(&actors[self], l, m, order);
    next = fetch_result(fetch, m->value, operand);
    trace(&site, l, "%-7s <-> %#llx -> %#llx%s", order_name(order), (unsigned long long)m->value,
          (unsigned long long)mask_to(size, next), age(l, i));
    put(&actors[self], l, i, next, order, m);
    m->attached = true;
    return m->value;
}

bool model_cas(void *p, unsigned size, enum model_order success, enum model_order failure, void *expected,
               uint64_t desired, MODEL_SITE_ARGS)
{
    struct site site = {"cas", expression, where, function};
    struct location *l;
    struct message *m;
    uint64_t wanted = 0;
    uint64_t value = 0;
    uint32_t i;

    memcpy(&wanted, expected, size);
    if (self == NOBODY || site_errs(&site, MODEL_SPLIT)) {
        value = model_load(p, size, loading(success), expression, where, function);
        if (value == wanted)
            model_store(p, size, storing(success), desired, expression, where, function);
        memcpy(expected, &value, size);
        return value == wanted;
    }
    l = weak_location(p, size, expression);
    actor_point(l, true);
    check_atomic_access(l, true);
    success = site_order(&site, success);
    if (success == MODEL_RELAXED)
        failure = MODEL_RELAXED;
    i = choose_message(l, floor_of(l, success),
                       &(struct filter){.to_modify = true, .compares = true, .expected = wanted});
    m = l->order[i];
    if (m->value != wanted) {
        see(&actors[self], l, m, failure);
        trace(&site, l, "%-7s  -> %#llx%s: fails, expected %#llx", order_name(failure), (unsigned long long)m->value,
              age(l, i), (unsigned long long)wanted);
        memcpy(expected, &m->value, size);
        return false;
    }
    see(&actors[self], l, m, success);
    trace(&site, l, "%-7s <-> %#llx -> %#llx%s", order_name(success), (unsigned long long)wanted,
          (unsigned long long)mask_to(size, desired), age(l, i));
    put(&actors[self], l, i, desired, success, m);
    m->attached = true;
    return true;
}

/* ---- fences ---- */

void weak_fence(struct actor *a)
{
    a->hash = mix(mix(a->hash, 0xfe), fences_hash);
    view_join(&a->now, &a->acquired);
    view_join_places(&a->now, &fences);
    view_join_places(&fences, &a->now);
    view_copy(&a->acquired, &a->now);
    view_copy(&a->released, &a->now);
    a->now.clock[a - actors]++;
    a->acquired.clock[a - actors]++;
    fences_rehash();
}

void weak_catch_up(struct actor *a)
{
    for (uint32_t i = 1; i < location_count; i++)
        a->now.at[i] = a->acquired.at[i] = locations[i].order[locations[i].count - 1]->at;
    a->hash = mix(mix(a->hash, 0xca), locations_hash);
}

void model_fence(MODEL_SITE_ARGS)
{
    struct site site = {"fence", expression, where, function};

    if (self == NOBODY)
        return;
    actor_point(NULL, false);
    if (site_errs(&site, MODEL_WEAKEN))
        return;
    trace(&site, NULL, "seq_cst");
    weak_fence(&actors[self]);
}

void model_barrier_heavy(MODEL_SITE_ARGS)
{
    struct site site = {"heavy", expression, where, function};
    struct site interrupt = {"heavy, interrupt", expression, where, function};

    if (self == NOBODY)
        return;
    actor_point(NULL, false);
    if (site_errs(&site, MODEL_WEAKEN))
        return;
    trace(&site, NULL, "begins");
    weak_fence(&actors[self]);
    for (int i = 0; i < actor_count; i++)
        if (i != self) {
            actor_point(NULL, false);
            trace(&interrupt, NULL, "fence of %s", actors[i].name);
            weak_fence(&actors[i]);
        }
    weak_fence(&actors[self]);
    trace(&site, NULL, "ends");
}

void model_barrier_light(MODEL_SITE_ARGS)
{
    struct site site = {"light", expression, where, function};

    if (self != NOBODY)
        trace(&site, NULL, "orders the compiler only");
}
