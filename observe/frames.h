/* SPDX-License-Identifier: MIT */
/* Texts for the pcs of many stacks, each looked for once. */
#ifndef OBSERVE_FRAMES_H
#define OBSERVE_FRAMES_H

#include <stdint.h>

#include "vthread/symbol.h"

struct frames {
    void *tree;     /* of entries, by pc */
    uint32_t count; /* beyond FRAMES_MAX it begins anew, so that its memory is bounded */
};

enum { FRAMES_MAX = 16384 };

/* "function+0x12 (file.c:34)", or what is known; good until the next call.  NULL: no memory. */
const char *frames_text(struct frames *frames, uintptr_t pc, enum symbol_pc kind);
void frames_fini(struct frames *frames);

#endif
