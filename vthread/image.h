/* SPDX-License-Identifier: MIT */
/* Frames that were copied, and the registers to begin with, for libunwind to walk (vthread/backtrace.c). */
#ifndef VTHREAD_IMAGE_H
#define VTHREAD_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"

enum { IMAGE_REGISTERS = 40 };

struct backtracer;

struct image {
    uint64_t registers[IMAGE_REGISTERS]; /* by libunwind's numbers */
    uint64_t known;                      /* a bit for each that is */
    uint64_t low;                        /* addresses that the copied frames had */
    uint64_t high;
    char *copy;
    bool is_sample; /* taken at any instruction, perhaps without all registers: what has no unwind table is not believed
                     */
    bool is_loose;  /* so, or copied while it might have gone on: nothing else is read directly, for it may be wrong */
    uint64_t page_at; /* for reading other memory; 0: none yet */
    char *page;       /* if it is loose: PAGE_BYTES of room */
};

static inline void image_set_register(struct image *image, int number, uint64_t value)
{
    image->registers[number] = value;
    image->known |= (uint64_t)1 << number;
}

/* Frames as they are, with what a sanitizer has put between the variables. */
NO_SANITIZE static inline void copy_words(char *to, const char *from, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(uint64_t); i++)
        ((volatile uint64_t *)(void *)to)[i] = ((const volatile uint64_t *)(const void *)from)[i];
}

/* Those that a thread that has left has laid down at the inner end of its frames, which are all here. */
void image_read_registers(struct image *image);

/* Frames from low on, up to high or to where no memory is, into image->copy.  By the kernel, in signal handlers too. */
void image_copy(struct image *image, uint64_t low, uint64_t high);

/* Return addresses, innermost first; how many, or -ENOTSUP or -ENOMEM. */
int image_unwind(struct backtracer *b, struct image *image, void **pcs, int n);

/* The same in more detail, of code with unwind tables only. */
struct image_frame {
    uint64_t pc;
    uint64_t sp;
    uint64_t start; /* of the function */
};

/* How many frames; whole: the last one is the outermost there is. */
int image_walk(struct backtracer *b, struct image *image, struct image_frame *frames, int n, bool *ret_whole);

/* A word of the frames, or, if it is on no stack of ours, from where it is. */
bool image_read(struct image *image, uint64_t address, uint64_t *ret_word);

/*
 * frame_pointer.c: find the frame pointer of a thread of which the stack pointer alone is known.  It stays unknown if
 * that is not sure, or not needed.
 */
void image_find_frame_pointer(struct backtracer *b, struct image *image);

/* Those of the caller, beginning with where it calls this. */
int backtrace_here(void **pcs, int n);

#endif
