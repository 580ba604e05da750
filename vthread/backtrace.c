/* SPDX-License-Identifier: MIT */
/*
 * Backtraces: of the calling thread by the compiler's own unwinder, of a parked
 * one by libunwind over a copy of its frames.
 *
 * A parked thread may be resumed at any moment, so its frames are copied first.
 * On a shared stack the copier holds the stack meanwhile, like any member; in
 * strict mode any stack from which frames are moved away.  Elsewhere nothing can be
 * held; there the word is read before and after the copy, as with a sequence lock:
 * every wait has another number.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <unwind.h>

#include "base/memory.h"
#include "vthread/image.h"
#include "vthread/mount.h"
#include "vthread/thread.h"

/* ---- the calling thread ---- */

struct walk {
    void **pcs;
    int n;
    int count;
    int skip;
};

static _Unwind_Reason_Code step(struct _Unwind_Context *context, void *arg)
{
    struct walk *walk = arg;
    void *pc = (void *)_Unwind_GetIP(context);

    if (walk->skip > 0)
        walk->skip--;
    else if (walk->count == walk->n || pc == NULL)
        return _URC_END_OF_STACK;
    else
        walk->pcs[walk->count++] = pc;
    return _URC_NO_REASON;
}

/* Inline, so that the number of our own frames is known: a call at the end might leave none for vthread_backtrace. */
ALWAYS_INLINE int backtrace_self(void **pcs, int n)
{
    struct walk walk = {pcs, n, 0, 1};

    _Unwind_Backtrace(step, &walk);
    return walk.count;
}

/* ---- a parked thread ---- */

#ifdef VTHREAD_HAS_UNWIND
#include <libunwind.h>

_Static_assert(sizeof(unw_word_t) == sizeof(uint64_t), "registers of an image");

#if defined(__x86_64__)
void image_read_registers(struct image *image)
{
    static const int saved[] = {UNW_X86_64_R15, UNW_X86_64_R14, UNW_X86_64_R13, UNW_X86_64_R12,
                                UNW_X86_64_RBX, UNW_X86_64_RBP, UNW_X86_64_RIP};
    unw_word_t word;

    for (size_t i = 0; i < sizeof saved / sizeof saved[0]; i++) {
        memcpy(&word, image->copy + i * sizeof word, sizeof word);
        image_set_register(image, saved[i], word);
    }
    image_set_register(image, UNW_X86_64_RSP, image->low + sizeof saved / sizeof saved[0] * sizeof word);
}
#elif defined(__aarch64__)
void image_read_registers(struct image *image)
{
    uint64_t word = 0;

    for (int i = 0; i < 12; i++) {
        memcpy(&word, image->copy + i * 8, 8);
        image_set_register(image, UNW_AARCH64_X19 + i, word);
    }
    image_set_register(image, UNW_AARCH64_PC, word); /* that of x30 */
    image_set_register(image, UNW_AARCH64_SP, image->low + 160);
}
#endif

static unw_accessors_t *local_accessors(void)
{
    return unw_get_accessors(unw_local_addr_space);
}

static int find_proc_info(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *info, int need, void *arg)
{
    (void)space, (void)arg;
    return local_accessors()->find_proc_info(unw_local_addr_space, ip, info, need, arg);
}

static void put_unwind_info(unw_addr_space_t space, unw_proc_info_t *info, void *arg)
{
    (void)space;
    local_accessors()->put_unwind_info(unw_local_addr_space, info, arg);
}

static int get_dyn_info(unw_addr_space_t space, unw_word_t *list, void *arg)
{
    (void)space, (void)list, (void)arg;
    return -UNW_ENOINFO;
}

/* A word at any address, wherever that is: it is asked of the kernel, a page at a time. */
static bool read_anywhere(struct image *image, uint64_t address, unw_word_t *value)
{
    uint64_t page = address / PAGE_BYTES * PAGE_BYTES;
    struct iovec here = {image->page, PAGE_BYTES};
    struct iovec there = {(void *)page, PAGE_BYTES};
    int saved = errno;

    if (address % PAGE_BYTES > PAGE_BYTES - sizeof *value) /* over the edge; rare, for words are aligned */
        return false;
    if (image->page_at != page) {
        image->page_at = 0;
        if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != PAGE_BYTES) {
            errno = saved;
            return false;
        }
        image->page_at = page;
    }
    memcpy(value, image->page + address % PAGE_BYTES, sizeof *value);
    return true;
}

/* Frames come from the copy, all else (unwind tables) from where it is. */
static int access_mem(unw_addr_space_t space, unw_word_t address, unw_word_t *value, int write, void *arg)
{
    struct image *image = arg;

    (void)space;
    if (write || address < PAGE_BYTES)
        return -UNW_EINVAL;
    if (address >= image->low && address + sizeof *value <= image->high)
        memcpy(value, image->copy + (address - image->low), sizeof *value);
    else if (stack_find((void *)address, &(bool){false}) != NULL)
        return -UNW_EINVAL; /* somebody else's by now */
    else if (image->is_sample)
        return read_anywhere(image, address, value) ? 0 : -UNW_EINVAL;
    else
        memcpy(value, (void *)address, sizeof *value);
    return 0;
}

static int access_reg(unw_addr_space_t space, unw_regnum_t number, unw_word_t *value, int write, void *arg)
{
    struct image *image = arg;

    (void)space;
    if (write || number < 0 || number >= IMAGE_REGISTERS || !(image->known >> number & 1))
        return -UNW_EBADREG;
    *value = image->registers[number];
    return 0;
}

static int access_fpreg(unw_addr_space_t space, unw_regnum_t number, unw_fpreg_t *value, int write, void *arg)
{
    (void)space, (void)number, (void)value, (void)write, (void)arg;
    return -UNW_EBADREG;
}

static int cannot_resume(unw_addr_space_t space, unw_cursor_t *cursor, void *arg)
{
    (void)space, (void)cursor, (void)arg;
    return -UNW_EINVAL;
}

static int no_names(unw_addr_space_t space, unw_word_t address, char *buffer, size_t size, unw_word_t *offset,
                    void *arg)
{
    (void)space, (void)address, (void)buffer, (void)size, (void)offset, (void)arg;
    return -UNW_ENOINFO;
}

/* In the middle of a function, and without all registers, guesses are possible.  What has no unwind table is one. */
static bool is_sure(const struct image *image, unw_cursor_t *cursor, int count)
{
    unw_proc_info_t info;

    return !image->is_sample || count == 0 || unw_get_proc_info(cursor, &info) == 0;
}

int image_unwind(struct image *image, void **pcs, int n)
{
    unw_accessors_t accessors = {find_proc_info, put_unwind_info, get_dyn_info,  access_mem,
                                 access_reg,     access_fpreg,    cannot_resume, no_names};
    unw_addr_space_t space = unw_create_addr_space(&accessors, 0);
    unw_cursor_t cursor;
    unw_word_t pc;
    int count = 0;

    if (space == NULL)
        return -ENOMEM;
    if (unw_init_remote(&cursor, space, image) == 0)
        do {
            if (count == n || unw_get_reg(&cursor, UNW_REG_IP, &pc) != 0 || pc == 0 || !is_sure(image, &cursor, count))
                break;
            pcs[count++] = (void *)pc;
        } while (unw_step(&cursor) > 0);
    unw_destroy_addr_space(space);
    return count;
}

/* copy_words where the thread may go on, and its stack be unmapped, at any moment: then this fails. */
static bool copy_words_from_loose(char *to, const char *from, size_t bytes)
{
    struct iovec here = {to, bytes};
    struct iovec there = {(void *)(uintptr_t)from, bytes};
    int saved = errno;
    bool whole = process_vm_readv(getpid(), &here, 1, &there, 1, 0) == (ssize_t)bytes;

    errno = saved;
    return whole;
}

/* Copy the frames of t, which the caller has found parked; held: and whose stack nobody else gets. */
static int copy_frames_of(struct thread *t, struct stack *s, bool held, struct image *image)
{
    const char *chunk = t->cont.chunk;
    const char *sp = *(const char *volatile *)(void *)&t->cont.sp; /* once: it may be changing */
    size_t bytes = chunk != NULL ? t->cont.bytes : (size_t)(cont_base(s) - sp);

    /* In strict mode there was no memory to move them: they are not held where they are. */
    if (runtime_is_strict() && s->kind == STACK_SOLE && chunk == NULL)
        return -EAGAIN;
    if (sp == NULL || bytes == 0 || bytes > (size_t)(s->top - s->limit))
        return -EAGAIN;
    image->copy = memory_alloc(bytes);
    if (image->copy == NULL)
        return -ENOMEM;
    if (held)
        copy_words(image->copy, chunk != NULL ? chunk : sp, bytes);
    else if (!copy_words_from_loose(image->copy, sp, bytes))
        return -EAGAIN; /* the caller frees the copy */
    image->low = (uint64_t)(uintptr_t)sp;
    image->high = image->low + bytes;
    return 0;
}

static bool is_held_for_copying(struct stack *s)
{
    return stack_is_shared(s) || (runtime_is_strict() && s->kind == STACK_SOLE);
}

static int backtrace_parked(struct thread *t, uint64_t word, void **pcs, int n)
{
    struct image image = {.copy = NULL};
    struct stack *s;
    bool held;
    int count;

    if (t->flags & (THREAD_PLATFORM | THREAD_IN_PLACE | THREAD_NESTED))
        return -EAGAIN; /* a platform thread has no stack of ours, and what its record names is a former life's */
    s = stack_at(t->cont.stack);
    held = is_held_for_copying(s);
    if (held && !stack_word_try(&s->word))
        return -EAGAIN;
    count = atomic_load_acquire(&t->word) == word ? copy_frames_of(t, s, held, &image) : -EAGAIN;
    if (held)
        thread_stack_release(s);
    atomic_fence_seq_cst();
    if (count == 0 && atomic_load_relaxed(&t->word) != word)
        count = -EAGAIN;
    if (count == 0) {
        image_read_registers(&image);
        count = image_unwind(&image, pcs, n);
    }
    memory_free(image.copy);
    return count;
}
#else
void image_read_registers(struct image *image)
{
    (void)image;
}

static int backtrace_parked(struct thread *t, uint64_t word, void **pcs, int n)
{
    (void)t, (void)word, (void)pcs, (void)n;
    return -ENOTSUP;
}

int image_unwind(struct image *image, void **pcs, int n)
{
    (void)image, (void)pcs, (void)n;
    return -ENOTSUP;
}
#endif

NOINLINE int backtrace_here(void **pcs, int n)
{
    return backtrace_self(pcs, n);
}

static int backtrace_other(vthread_t thread, void **pcs, int n)
{
    uint32_t generation;
    struct thread *t = thread_of(thread, &generation);
    uint64_t w;

    if (t == NULL)
        return -EINVAL;
    w = atomic_load_acquire(&t->word);
    if (word_generation(w) != generation || word_state(w) == WORD_TERMINATED)
        return -ESRCH;
    return word_state(w) == WORD_PARKED ? backtrace_parked(t, w, pcs, n) : -EAGAIN;
}

NOINLINE int vthread_backtrace(vthread_t thread, void **pcs, int n)
{
    int result;

    if (thread == NULL || pcs == NULL || n < 0)
        return -EINVAL;
    if (thread == vthread_self())
        return backtrace_self(pcs, n);
    result = runtime_begin_look_anywhere();
    if (result != 0)
        return -result;
    result = backtrace_other(thread, pcs, n);
    runtime_end_look_anywhere();
    return result;
}
