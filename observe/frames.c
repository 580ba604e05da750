/* SPDX-License-Identifier: MIT */
#include "observe/frames.h"

#include <search.h>
#include <string.h>

#include "base/memory.h"

struct text_of_pc {
    uintptr_t pc;
    enum symbol_pc kind;
    char text[];
};

static int compare(const void *a, const void *b)
{
    const struct text_of_pc *x = a;
    const struct text_of_pc *y = b;

    return x->pc != y->pc ? (x->pc > y->pc) - (x->pc < y->pc) : (x->kind > y->kind) - (x->kind < y->kind);
}

void frames_fini(struct frames *frames)
{
    tdestroy(frames->tree, memory_free);
    *frames = (struct frames){0};
}

static struct text_of_pc *make(uintptr_t pc, enum symbol_pc kind)
{
    struct symbol symbol;
    struct text_of_pc *entry;
    char text[512];
    size_t bytes;

    symbol_find(pc, kind, &symbol);
    symbol_text(pc, &symbol, text, sizeof text);
    bytes = strlen(text) + 1;
    entry = memory_alloc(sizeof *entry + bytes);
    if (entry == NULL)
        return NULL;
    entry->pc = pc;
    entry->kind = kind;
    memcpy(entry->text, text, bytes);
    return entry;
}

const char *frames_text(struct frames *frames, uintptr_t pc, enum symbol_pc kind)
{
    struct text_of_pc key = {.pc = pc, .kind = kind};
    struct text_of_pc *const *found = tfind(&key, &frames->tree, compare);
    struct text_of_pc *entry;

    if (found != NULL)
        return (*found)->text;
    if (frames->count == FRAMES_MAX)
        frames_fini(frames);
    entry = make(pc, kind);
    if (entry == NULL)
        return NULL;
    if (tsearch(entry, &frames->tree, compare) == NULL) {
        memory_free(entry);
        return NULL;
    }
    frames->count++;
    return entry->text;
}
