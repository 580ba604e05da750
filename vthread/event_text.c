/* SPDX-License-Identifier: MIT */
/* What an event says, in words. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vthread/event.h"
#include "vthread/symbol.h"

struct text {
    char *at;
    size_t size;
    size_t length; /* of the whole, whether there is room for it or not */
};

PRINTF_FORMAT(2, 3) static void add(struct text *text, const char *format, ...)
{
    size_t left = text->length < text->size ? text->size - text->length : 0;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(left > 0 ? text->at + text->length : NULL, left, format, args);
    va_end(args);
    text->length += n > 0 ? (size_t)n : 0;
}

static void add_frame(struct text *text, const struct symbol *symbol, const void *pc)
{
    char line[400];

    add(text, "%s", symbol_text((uintptr_t)pc, symbol, line, sizeof line));
}

/* A sample begins with an instruction, all else are return addresses. */
static enum symbol_pc kind_of_pc(const vthread_event_t *e, int i)
{
    return i == 0 && e->kind == VTHREAD_EVENT_HOG ? SYMBOL_INSTRUCTION : SYMBOL_RETURN_ADDRESS;
}

static bool begins_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool is_one_of(const char *s, const char *const *prefixes)
{
    for (; *prefixes != NULL; prefixes++)
        if (begins_with(s, *prefixes))
            return true;
    return false;
}

/* Is it the library's own code, be that in a library of its own or in the program? */
static bool is_ours(const struct symbol *symbol, const char *object)
{
    static const char *const folders[] = {"base/",       "carrier/", "continuation/", "vthread/", "sync/",
                                          "concurrent/", "net/",     "gc/",           "observe/", NULL};
    static const char this_file[] = "vthread/event_text.c";
    struct symbol self;
    size_t root;

    if (begins_with(object, "libvthread."))
        return true;
    symbol_find((uintptr_t)is_ours, SYMBOL_INSTRUCTION, &self);
    root = strlen(self.file) - (self.line > 0 ? strlen(this_file) : 0);
    return self.line > 0 && strncmp(self.file, symbol->file, root) == 0 && is_one_of(symbol->file + root, folders);
}

/* Is it code of the program's author, who looks for the place to change? */
static bool is_telling(const struct symbol *symbol)
{
    static const char *const others[] = {"libc.so", "libc-",   "libpthread", "ld-linux",
                                         "[vdso",   "libasan", "libtsan",    NULL};
    const char *slash = strrchr(symbol->object, '/');
    const char *object = slash != NULL ? slash + 1 : symbol->object;

    return symbol->object[0] != '\0' && !is_one_of(object, others) && !is_ours(symbol, object);
}

/* The innermost such frame; if there is none, the first. */
static int telling_frame(const vthread_event_t *e, struct symbol *ret)
{
    for (int i = 0; i < e->depth; i++) {
        symbol_find((uintptr_t)e->stack[i], kind_of_pc(e, i), ret);
        if (is_telling(ret))
            return i;
    }
    symbol_find((uintptr_t)e->stack[0], kind_of_pc(e, 0), ret);
    return 0;
}

static void add_at(struct text *text, const void *pc)
{
    struct symbol symbol;

    symbol_find((uintptr_t)pc, SYMBOL_RETURN_ADDRESS, &symbol);
    add_frame(text, &symbol, pc);
}

static void add_head(struct text *text, const vthread_event_t *e)
{
    double ms = (double)e->duration_ns / 1e6;

    if (e->thread != NULL)
        add(text, "thread %s (%llu) ", e->name != NULL ? e->name : "?", (unsigned long long)e->id);
    switch (e->kind) {
    case VTHREAD_EVENT_PINNED:
    case VTHREAD_EVENT_PINNING:
        add(text,
            e->kind == VTHREAD_EVENT_PINNED ? "was pinned to carrier %d for %.1f ms: %s"
                                            : "is pinned to carrier %d, so far for %.1f ms: %s",
            e->carrier, ms, vthread_pin_kind_name(e->pin));
        if (e->reason != NULL && e->pin != VTHREAD_PIN_MONITOR)
            add(text, " \"%s\"", e->reason);
        break;
    case VTHREAD_EVENT_HOG:
        add(text, "%sholds carrier %d, so far for %.1f ms: %s%s", e->thread == NULL ? "code between two threads " : "",
            e->carrier, ms, e->computing ? "computing" : "blocked", e->rescued ? "; a spare carrier took over" : "");
        break;
    case VTHREAD_EVENT_HOG_END:
        add(text, "held carrier %d for %.1f ms%s", e->carrier, ms,
            e->rescued ? "; a spare carrier had taken over" : "");
        break;
    case VTHREAD_EVENT_OS_MUTEX:
        add(text, "waits and holds an OS mutex (%p), on carrier %d", e->mutex, e->carrier);
        break;
    case VTHREAD_EVENT_SPARE:
        add(text, "carrier %d runs in place of one that is blocked or held", e->carrier);
        break;
    case VTHREAD_EVENT_FAILURE:
        add(text, "%s", e->reason != NULL ? e->reason : "failed");
        if (e->error != 0)
            add(text, ", error %d", e->error);
        break;
    }
    if (e->lost > 0)
        add(text, " (%llu events before this one are lost)", (unsigned long long)e->lost);
}

/* The one frame that says most: where it was pinned, or the innermost of the program's own. */
static void add_short(struct text *text, const vthread_event_t *e)
{
    struct symbol symbol;

    if (e->pinned_at != NULL) {
        add(text, ", at ");
        add_at(text, e->pinned_at);
        return;
    }
    if (e->depth > 0) {
        int i = telling_frame(e, &symbol);

        add(text, ", at ");
        add_frame(text, &symbol, e->stack[i]);
    }
}

static bool same_function(const struct symbol *a, uintptr_t pc_a, const struct symbol *b, uintptr_t pc_b)
{
    return a->function[0] != '\0' && strcmp(a->function, b->function) == 0 && pc_a - a->offset == pc_b - b->offset;
}

static void add_full(struct text *text, const vthread_event_t *e)
{
    struct symbol pin = {.line = 0};
    bool marked = e->pinned_at == NULL;

    if (!marked) {
        symbol_find((uintptr_t)e->pinned_at, SYMBOL_RETURN_ADDRESS, &pin);
        add(text, ", at ");
        add_frame(text, &pin, e->pinned_at);
    }
    for (int i = 0; i < e->depth; i++) {
        uintptr_t pc = (uintptr_t)e->stack[i];
        struct symbol symbol;

        symbol_find(pc, kind_of_pc(e, i), &symbol);
        add(text, "\n    ");
        add_frame(text, &symbol, e->stack[i]);
        if (!marked && same_function(&symbol, pc, &pin, (uintptr_t)e->pinned_at)) {
            add(text, " <== pinned here");
            marked = true;
        }
    }
}

int vthread_event_text(const vthread_event_t *event, bool full, char *buffer, size_t size)
{
    struct text text = {buffer, size, 0};

    if (event == NULL || (buffer == NULL && size > 0))
        return -EINVAL;
    add_head(&text, event);
    if (full)
        add_full(&text, event);
    else
        add_short(&text, event);
    return (int)text.length;
}
