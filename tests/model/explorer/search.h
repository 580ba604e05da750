/* SPDX-License-Identifier: MIT */
/* The search (choice.c), as main.c drives it. */
#ifndef TESTS_MODEL_EXPLORER_SEARCH_H
#define TESTS_MODEL_EXPLORER_SEARCH_H

#include <stdio.h>

#include "tests/model/explorer/internal.h"

enum search_mode { SEARCH_ALL, SEARCH_RANDOM, SEARCH_REPLAY };

void search_begin(enum search_mode mode, uint64_t seed);
void search_execution_begin(void);

/* After an execution: set up the next one; false when there is none. */
bool search_advance(void);

/* The execution that has just ended once more. */
void search_repeat(void);

/* A location turned out to be shared: what was explored lacks scheduling points. */
bool search_found_shared(void);
void search_forget_shared(void);

/* False: explore states seen before again, as a check of the explorer itself. */
extern bool search_merges;

size_t search_states(void);

/* The schedule of the execution that has just ended; read: to be run next. */
void search_print(FILE *to);
bool search_read(const char *string);

#endif
