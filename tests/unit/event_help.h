/* SPDX-License-Identifier: MIT */
/* What the tests of events share: a subscriber that keeps what it is told, with its text. */
#ifndef TESTS_UNIT_EVENT_HELP_H
#define TESTS_UNIT_EVENT_HELP_H

#include "vthread_help.h"

struct caught {
    vthread_event_t e; /* its pointers are stale */
    char name[64];
    char reason[64];
    char brief[512];
    char full[16 * 1024];
};

static struct {
    atomic_int count;
    struct caught list[64];
    uint64_t id;
} catcher;

static void catch_event(const vthread_event_t *e, void *user)
{
    int n = atomic_load(&catcher.count);
    struct caught *c = &catcher.list[n];

    (void)user;
    if (n == 64)
        return;
    c->e = *e;
    snprintf(c->name, sizeof c->name, "%s", e->name != NULL ? e->name : "");
    snprintf(c->reason, sizeof c->reason, "%s", e->reason != NULL ? e->reason : "");
    vthread_event_text(e, false, c->brief, sizeof c->brief);
    vthread_event_text(e, true, c->full, sizeof c->full);
    atomic_store(&catcher.count, n + 1);
}

static inline void catch_begin(uint32_t mask)
{
    atomic_store(&catcher.count, 0);
    cr_assert_eq(vthread_event_subscribe(mask, catch_event, NULL, &catcher.id), 0);
}

/* What has happened so far is there when it returns. */
static inline void catch_end(void)
{
    cr_assert_eq(vthread_event_unsubscribe(catcher.id), 0);
}

/* The n-th of that kind, from 0; NULL: there are not so many. */
static inline struct caught *caught(vthread_event_kind_t kind, int n)
{
    for (int i = 0; i < atomic_load(&catcher.count); i++)
        if (catcher.list[i].e.kind == kind && n-- == 0)
            return &catcher.list[i];
    return NULL;
}

/* Does the text name function and line? */
static inline bool names_place(const char *text, const char *function, const char *file, int line)
{
#ifdef VTHREAD_HAS_SYMBOLS
    const char *at = text;
    char place[64];

    snprintf(place, sizeof place, "(%s:%d)", file, line);
    while ((at = strstr(at, function)) != NULL) {
        const char *end = at + strcspn(at, "\n");
        const char *found = strstr(at, place);

        if (found != NULL && found < end)
            return true;
        at++;
    }
    return false;
#else
    (void)function, (void)file, (void)line;
    return text[0] != '\0';
#endif
}

/* Does it name the function?  Without libdw static ones have no names. */
static inline bool names_function(const char *text, const char *function)
{
#ifdef VTHREAD_HAS_SYMBOLS
    return strstr(text, function) != NULL;
#else
    (void)function;
    return text[0] != '\0';
#endif
}

#define KEEP_FRAME() __asm__ volatile("" : : : "memory")

#endif
