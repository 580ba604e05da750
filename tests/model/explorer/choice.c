/* SPDX-License-Identifier: MIT */
/*
 * The search: depth first over everything that choose() was asked.
 *
 * An execution is run again from the start for each branch; its choices are a
 * stack, of which the last one that has alternatives left is advanced.
 *
 * States seen before: whatever an actor does next is determined by what it has
 * seen so far (actor.hash), and memory by who stored what in which order.  So if
 * both were equal at an earlier scheduling point that had at least as much of
 * the bound left, everything from here on has been explored, or will be.  This
 * merges the interleavings of operations that do not concern each other.
 *
 * Locations that only one actor ever touches, or that nobody ever stores to, need
 * no scheduling points.  Which those are is found out on the way: when a location
 * turns out to be shared, the search begins again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/explorer/search.h"

enum { CHOICES_MAX = 1 << 14, SHARED_MAX = 256 };

struct choice {
    uint8_t taken;
    uint8_t count;
};

struct model_bound used;

static struct choice choices[CHOICES_MAX];
static int choice_count; /* known: to be repeated */
static int choice_at;    /* made so far in this execution */
static enum search_mode mode;
static uint64_t random_state;

/* States: key and the budgets with which it was reached, as bits preemptions * 8 + late. */
static struct seen {
    uint64_t key;
    uint64_t budgets;
    uint64_t execution; /* in which it was first seen */
} * seen;
static uint64_t execution;
static size_t seen_size;
static size_t seen_count;

static struct {
    uintptr_t address;
    int first; /* the actor that touched it first */
    bool several;
    bool stored;
} places[SHARED_MAX];
static int place_count;
static bool found_shared;

/* For schedule strings: is the n-th location of this execution shared? */
static bool shared_by_index[LOCATIONS_MAX];
static const char *shared_given; /* by the string that is replayed: a digit each, from the first */

/* ---- choices ---- */

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

int choose(int n)
{
    struct choice *c = &choices[choice_at];

    if (n <= 1)
        return 0;
    if (choice_at == CHOICES_MAX)
        model_fail("more than %d choices in one execution", CHOICES_MAX);
    if (choice_at < choice_count) {
        if (c->count != 0 && c->count != n) {
            fprintf(stderr, "model: an actor is not deterministic: choice %d had %d ways, now %d\n", choice_at,
                    c->count, n);
            exit(2);
        }
        c->count = (uint8_t)n;
        choice_at++;
        return c->taken < n ? c->taken : 0;
    }
    c->count = (uint8_t)n;
    c->taken = 0;
    if (mode == SEARCH_RANDOM && next_random() % 4 == 0)
        c->taken = (uint8_t)(next_random() % (uint64_t)n);
    choice_count = ++choice_at;
    return c->taken;
}

void search_begin(enum search_mode how, uint64_t seed)
{
    mode = how;
    random_state = mix(1, seed) | 1;
    choice_count = 0;
    seen_count = 0;
    if (seen != NULL)
        memset(seen, 0, seen_size * sizeof *seen);
    shared_given = NULL;
}

void search_forget_shared(void)
{
    place_count = 0;
    found_shared = false;
}

void search_execution_begin(void)
{
    choice_at = 0;
    execution++;
    used = (struct model_bound){0, 0, 0};
    memset(shared_by_index, 0, sizeof shared_by_index);
}

void search_repeat(void)
{
    mode = SEARCH_REPLAY;
}

bool search_found_shared(void)
{
    bool found = found_shared;

    found_shared = false;
    return found;
}

bool search_advance(void)
{
    if (mode == SEARCH_RANDOM) {
        choice_count = 0;
        return true;
    }
    choice_count = choice_at;
    while (choice_count > 0 && choices[choice_count - 1].taken + 1 >= choices[choice_count - 1].count)
        choice_count--;
    if (choice_count == 0)
        return false;
    choices[choice_count - 1].taken++;
    return true;
}

/* ---- states ---- */

static struct seen *seen_slot(uint64_t key)
{
    size_t i = key & (seen_size - 1);

    while (seen[i].budgets != 0 && seen[i].key != key)
        i = (i + 1) & (seen_size - 1);
    return &seen[i];
}

static void seen_grow(void)
{
    struct seen *old = seen;
    size_t old_size = seen_size;

    seen_size = old_size == 0 ? 1 << 12 : old_size * 4;
    seen = calloc(seen_size, sizeof *seen);
    if (seen == NULL) {
        fprintf(stderr, "model: out of memory after %zu states\n", seen_count);
        exit(2);
    }
    for (size_t i = 0; i < old_size; i++)
        if (old[i].budgets != 0)
            *seen_slot(old[i].key) = old[i];
    free(old);
}

bool search_merges = true;

bool choice_seen_before(uint64_t state)
{
    uint64_t here = (uint64_t)1 << (used.preemptions * 8 + used.late);
    uint64_t at_least = 0; /* reached with no more of either used up */
    struct seen *s;

    if (!search_merges || mode != SEARCH_ALL || choice_at < choice_count)
        return false;
    if (seen_count * 2 >= seen_size)
        seen_grow();
    for (int p = 0; p <= used.preemptions; p++)
        at_least |= (((uint64_t)2 << used.late) - 1) << p * 8;
    s = seen_slot(state);
    if (s->budgets != 0 && s->execution == execution) {
        fprintf(stderr, "model: a step left no trace in the state; the explorer is wrong\n");
        exit(2);
    }
    if (s->budgets & at_least)
        return true;
    if (s->budgets == 0) {
        seen_count++;
        s->execution = execution;
    }
    s->key = state;
    s->budgets |= here;
    return false;
}

size_t search_states(void)
{
    return seen_count;
}

/* ---- shared locations ---- */

bool choice_is_shared(const struct location *location, bool stores)
{
    uintptr_t address = location_address(location);
    uint32_t index = location_index(location);
    bool before;
    bool shared;
    int i;

    if (shared_given != NULL)
        return index <= strlen(shared_given) && shared_given[index - 1] == '1';
    for (i = 0; i < place_count && places[i].address != address; i++)
        ;
    if (i == place_count) {
        if (place_count == SHARED_MAX)
            return true;
        place_count++;
        places[i].address = address;
        places[i].first = self;
        places[i].several = false;
        places[i].stored = false;
    }
    before = places[i].several && places[i].stored;
    places[i].several |= places[i].first != self;
    places[i].stored |= stores;
    shared = places[i].several && places[i].stored;
    found_shared |= shared && !before;
    shared_by_index[index] = shared;
    return shared;
}

/* ---- schedule strings: choices, a dot, which locations are shared ---- */

static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";

void search_print(FILE *to)
{
    int n = choice_at;
    int last = LOCATIONS_MAX;

    while (n > 0 && choices[n - 1].taken == 0)
        n--;
    for (int i = 0; i < n; i++)
        fputc(digits[choices[i].taken < 35 ? choices[i].taken : 35], to);
    fputc('.', to);
    while (last > 1 && !shared_by_index[last - 1])
        last--;
    for (int i = 1; i < last; i++)
        fputc(shared_by_index[i] ? '1' : '0', to);
}

bool search_read(const char *string)
{
    const char *dot = strchr(string, '.');

    if (dot == NULL || dot - string > CHOICES_MAX)
        return false;
    search_begin(SEARCH_REPLAY, 0);
    shared_given = dot + 1;
    memset(choices, 0, sizeof choices);
    for (choice_count = 0; string < dot; string++) {
        const char *d = strchr(digits, *string);

        if (d == NULL)
            return false;
        choices[choice_count++].taken = (uint8_t)(d - digits);
    }
    return true;
}
