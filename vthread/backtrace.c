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
#include "vthread/backtrace.h"
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

enum { PAGES_AT_ONCE = 64, STANDING_BYTES = 64 * 1024 };

/* What many backtraces share. */
struct backtracer {
    unw_addr_space_t space;
    char *copy;
    size_t room;
    char page[PAGE_BYTES];
};

_Static_assert(sizeof(unw_word_t) == sizeof(uint64_t), "registers of an image");

#if defined(__x86_64__)
static void set_stand(struct image *image, const struct stand *stand)
{
    static const int saved[STAND_WORDS] = {UNW_X86_64_RBX, UNW_X86_64_RBP, UNW_X86_64_R12, UNW_X86_64_R13,
                                           UNW_X86_64_R14, UNW_X86_64_R15, UNW_X86_64_RSP, UNW_X86_64_RIP};

    for (int i = 0; i < STAND_WORDS; i++)
        image_set_register(image, saved[i], stand->words[i]);
}

static uint64_t sp_of(const struct stand *stand)
{
    return stand->words[6];
}

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
static void set_stand(struct image *image, const struct stand *stand)
{
    for (int i = 0; i < 12; i++)
        image_set_register(image, UNW_AARCH64_X19 + i, stand->words[i]);
    image_set_register(image, UNW_AARCH64_SP, stand->words[12]);
    image_set_register(image, UNW_AARCH64_PC, stand->words[13]);
}

static uint64_t sp_of(const struct stand *stand)
{
    return stand->words[12];
}

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

void image_copy(struct image *image, uint64_t low, uint64_t high)
{
    int saved = errno;
    uint64_t at = low;

    while (at < high) {
        struct iovec there[PAGES_AT_ONCE];
        struct iovec here = {image->copy + (at - low), 0};
        uint64_t end = at;
        ssize_t got;
        int n = 0;

        for (; n < PAGES_AT_ONCE && end < high; n++) { /* whole ones only are copied: each a page at most */
            uint64_t next = end / PAGE_BYTES * PAGE_BYTES + PAGE_BYTES;

            next = next < high ? next : high;
            there[n] = (struct iovec){(void *)end, next - end};
            end = next;
        }
        here.iov_len = end - at;
        got = process_vm_readv(getpid(), &here, 1, there, (unsigned long)n, 0);
        if (got > 0)
            at += (uint64_t)got;
        if (got <= 0 || at < end)
            break;
    }
    image->low = low;
    image->high = at;
    errno = saved;
}

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
    if (address >= image->low && address < image->high && image->high - address >= sizeof *value)
        memcpy(value, image->copy + (address - image->low), sizeof *value);
    else if (stack_find((void *)address, &(bool){false}) != NULL)
        return -UNW_EINVAL; /* somebody else's by now */
    else if (image->is_loose)
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

int image_unwind(struct backtracer *b, struct image *image, void **pcs, int n)
{
    unw_cursor_t cursor;
    unw_word_t pc;
    int count = 0;

    if (unw_init_remote(&cursor, b->space, image) == 0)
        do {
            if (count == n || unw_get_reg(&cursor, UNW_REG_IP, &pc) != 0 || pc == 0 || !is_sure(image, &cursor, count))
                break;
            pcs[count++] = (void *)pc;
        } while (unw_step(&cursor) > 0);
    return count;
}

int image_walk(struct backtracer *b, struct image *image, struct image_frame *frames, int n, bool *ret_whole)
{
    unw_cursor_t cursor;
    unw_proc_info_t info;
    int more = 1;
    int count = 0;

    if (unw_init_remote(&cursor, b->space, image) == 0)
        for (; more > 0 && count < n; more = unw_step(&cursor)) {
            struct image_frame *f = &frames[count];

            if (unw_get_reg(&cursor, UNW_REG_IP, &f->pc) != 0 || unw_get_reg(&cursor, UNW_REG_SP, &f->sp) != 0 ||
                unw_get_proc_info(&cursor, &info) != 0)
                break;
            f->start = info.start_ip;
            count++;
        }
    *ret_whole = more == 0;
    return count;
}

bool image_read(struct image *image, uint64_t address, uint64_t *ret_word)
{
    return access_mem(NULL, address, ret_word, 0, image) == 0;
}

struct backtracer *backtracer_new(void)
{
    static unw_accessors_t accessors = {find_proc_info, put_unwind_info, get_dyn_info,  access_mem,
                                        access_reg,     access_fpreg,    cannot_resume, no_names};
    struct backtracer *b = memory_alloc(sizeof *b);

    if (b == NULL)
        return NULL;
    b->space = unw_create_addr_space(&accessors, 0);
    if (b->space == NULL) {
        memory_free(b);
        return NULL;
    }
    unw_set_caching_policy(b->space, UNW_CACHE_GLOBAL); /* what it has found out about a pc is the same for all */
    return b;
}

void backtracer_free(struct backtracer *b)
{
    if (b == NULL)
        return;
    unw_destroy_addr_space(b->space);
    memory_free(b->copy);
    memory_free(b);
}

/* Room for the copy of so many bytes. */
static char *room(struct backtracer *b, size_t bytes)
{
    if (b->room >= bytes)
        return b->copy;
    memory_free(b->copy);
    b->copy = memory_alloc(2 * bytes);
    b->room = b->copy != NULL ? 2 * bytes : 0;
    return b->copy;
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
NO_SANITIZE NOINLINE static int copy_frames_of(struct backtracer *b, struct thread *t, struct stack *s, bool held,
                                               struct image *image)
{
    const char *chunk = t->cont.chunk;
    const char *sp = *(const char *volatile *)(void *)&t->cont.sp; /* once: it may be changing */
    size_t bytes = chunk != NULL ? t->cont.bytes : (size_t)(cont_base(s) - sp);

    /* In strict mode there was no memory to move them: they are not held where they are. */
    if (runtime_is_strict() && s->kind == STACK_SOLE && chunk == NULL)
        return -EAGAIN;
    if (sp == NULL || bytes == 0 || bytes > (size_t)(s->top - s->limit))
        return -EAGAIN;
    image->copy = room(b, bytes);
    if (image->copy == NULL)
        return -ENOMEM;
    if (held)
        copy_words(image->copy, chunk != NULL ? chunk : sp, bytes);
    else if (!copy_words_from_loose(image->copy, sp, bytes))
        return -EAGAIN;
    image->low = (uint64_t)(uintptr_t)sp;
    image->high = image->low + bytes;
    return 0;
}

/*
 * The stack is in use, by another member: then the frames of t are in its chunk, or about to be.  Once there they stay
 * until it is woken, which the caller finds out; the holder of the stack has stored them, and their length, before the
 * chunk.
 */
NO_SANITIZE NOINLINE static int copy_frozen_frames_of(struct backtracer *b, struct thread *t, struct stack *s,
                                                      struct image *image)
{
    const volatile struct cont *cont = &t->cont;
    const char *chunk = __atomic_load_n((char *const *)(uintptr_t)&cont->chunk, __ATOMIC_ACQUIRE);
    const char *sp = cont->sp;
    size_t bytes = cont->bytes;

    if (chunk == NULL || sp == NULL || bytes == 0 || bytes > (size_t)(s->top - s->limit))
        return -EAGAIN;
    image->copy = room(b, bytes);
    if (image->copy == NULL)
        return -ENOMEM;
    if (!copy_words_from_loose(image->copy, chunk, bytes))
        return -EAGAIN;
    image->low = (unw_word_t)(uintptr_t)sp;
    image->high = image->low + bytes;
    return 0;
}

/* Its owner may be changing other bits; those that are looked at here do not change while it is parked. */
NO_SANITIZE NOINLINE static uint8_t thread_flags_seen(const struct thread *t)
{
    return *(const volatile uint8_t *)&t->flags;
}

NO_SANITIZE NOINLINE static uint32_t stack_index_seen(const struct thread *t)
{
    return *(const volatile uint32_t *)&t->cont.stack;
}

/*
 * Has left its stack, and lies there, or frozen; so it must be found, by what is_off, while the stack is held.  0, or
 * -EAGAIN or -ENOMEM.
 */
static int copy_frames(struct backtracer *b, struct thread *t, struct stack *s, uint64_t word,
                       bool (*is_off)(struct thread *t, uint64_t word), struct image *image)
{
    bool loose = !stack_is_given_up(s);
    bool held = !loose && stack_word_try(&s->word);
    int error = -EAGAIN;

    if (is_off(t, word))
        error = loose || held ? copy_frames_of(b, t, s, held, image) : copy_frozen_frames_of(b, t, s, image);
    if (held)
        thread_stack_release(s);
    atomic_fence_seq_cst();
    return error == 0 && !is_off(t, word) ? -EAGAIN : error;
}

static bool is_in_that_wait(struct thread *t, uint64_t word)
{
    return atomic_load_acquire(&t->word) == word;
}

static int backtrace_off_stack(struct backtracer *b, struct thread *t, uint64_t word, void **pcs, int n)
{
    struct image image = {.copy = NULL};
    int error = copy_frames(b, t, stack_at(stack_index_seen(t)), word, is_in_that_wait, &image);

    if (error != 0)
        return error;
    image_read_registers(&image);
    return image_unwind(b, &image, pcs, n);
}

/* In a queue, and the same life as then. */
static bool is_queued(struct thread *t, uint64_t word)
{
    uint8_t phase = atomic_load_acquire(&t->phase);

    return (phase == VTHREAD_YIELDED || phase == VTHREAD_UNPARKED) &&
           word_generation(atomic_load_acquire(&t->word)) == word_generation(word);
}

/*
 * Nothing says whether it has run since, and been queued again: a yield has no number.  While a stack is held it has
 * not; elsewhere two copies, one after the other, that are the same are what it has been like at some instant between.
 */
int backtrace_queued(struct backtracer *b, struct thread *t, uint64_t word, void **pcs, int n)
{
    struct image first = {.copy = NULL, .is_loose = true, .page = b->page};
    struct image again = {.copy = NULL};
    struct stack *s = stack_at(stack_index_seen(t));
    char *copy;
    int error;

    if ((thread_flags_seen(t) & (THREAD_PLATFORM | THREAD_IN_PLACE | THREAD_NESTED)) || !is_queued(t, word))
        return -EAGAIN;
    error = copy_frames(b, t, s, word, is_queued, &first);
    if (error != 0)
        return error;
    copy = memory_alloc(first.high - first.low);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, first.copy, first.high - first.low);
    error = copy_frames(b, t, s, word, is_queued, &again);
    if (error == 0 &&
        (again.low != first.low || again.high != first.high || memcmp(copy, again.copy, again.high - again.low) != 0))
        error = -EAGAIN;
    if (error == 0) {
        first.copy = again.copy;
        image_read_registers(&first);
        error = image_unwind(b, &first, pcs, n);
    }
    memory_free(copy);
    return error;
}

int backtrace_parked(struct backtracer *b, struct thread *t, uint64_t word, void **pcs, int n)
{
    if (thread_flags_seen(t) & (THREAD_PLATFORM | THREAD_IN_PLACE | THREAD_NESTED))
        return -EAGAIN; /* a platform thread has no stack of ours, and what its record names is a former life's */
    return backtrace_off_stack(b, t, word, pcs, n);
}

NO_SANITIZE NOINLINE static struct stand stand_seen(const struct parker *parker)
{
    struct stand stand;

    for (int i = 0; i < STAND_WORDS; i++)
        stand.words[i] = ((const volatile struct stand *)&parker->stand)->words[i];
    return stand;
}

/* Its frames lie above; how far up, the kernel finds out.  0, -ENOMEM, or -EAGAIN: there is nothing. */
static int copy_from_stand(struct backtracer *b, const struct stand *stand, struct image *image)
{
    *image = (struct image){.copy = room(b, STANDING_BYTES), .is_loose = true, .page = b->page};
    if (image->copy == NULL)
        return -ENOMEM;
    set_stand(image, stand);
    image_copy(image, sp_of(stand), sp_of(stand) + STANDING_BYTES);
    return image->high > image->low ? 0 : -EAGAIN;
}

int backtrace_stand(struct backtracer *b, const struct stand *stand, void **pcs, int n)
{
    struct image image;
    int error = copy_from_stand(b, stand, &image);

    return error == 0 ? image_unwind(b, &image, pcs, n) : error;
}

static int backtrace_standing(struct backtracer *b, struct thread *t, uint64_t word, const struct parker *parker,
                              void **pcs, int n)
{
    struct stand stand = stand_seen(parker);
    struct image image;
    int error = copy_from_stand(b, &stand, &image);

    atomic_fence_seq_cst(); /* all of that before: */
    if (atomic_load_relaxed(&t->word) != word)
        error = -EAGAIN;
    return error == 0 ? image_unwind(b, &image, pcs, n) : error;
}

NO_SANITIZE NOINLINE static struct thread *mounted_seen(const struct processor *p)
{
    return *(struct thread *const volatile *)&p->current;
}

NO_SANITIZE NOINLINE static const struct parker *platform_parker_seen(const struct thread *t)
{
    return *(void *const volatile *)&t->cont.sp;
}

NO_SANITIZE NOINLINE static unsigned carrier_seen(const struct thread *t)
{
    return t->carrier;
}

/* What is read of the thread stays as it is for as long as it waits; so it is good if its word is the same afterwards.
 */
int backtrace_in_place(struct backtracer *b, struct thread *t, uint64_t word, void **pcs, int n)
{
    uint8_t flags = thread_flags_seen(t);
    unsigned number = carrier_seen(t);
    const struct processor *p;

    if (!(flags & THREAD_IN_PLACE) || atomic_load_acquire(&t->word) != word)
        return -EAGAIN;
    if (flags & THREAD_PLATFORM)
        return backtrace_standing(b, t, word, platform_parker_seen(t), pcs, n);
    if (number >= atomic_load_acquire(&pool.count))
        return -EAGAIN;
    p = (const struct processor *)(void *)pool_carrier(number);
    if (mounted_seen(p) == t)
        return backtrace_standing(b, t, word, &p->parker, pcs, n);
    /* It has given its stack up meanwhile, and its carrier sleeps without one. */
    return flags & THREAD_NESTED ? -EAGAIN : backtrace_off_stack(b, t, word, pcs, n);
}
#else
void image_read_registers(struct image *image)
{
    (void)image;
}

struct backtracer {
    char nothing;
};

struct backtracer *backtracer_new(void)
{
    return memory_alloc(sizeof(struct backtracer));
}

void backtracer_free(struct backtracer *b)
{
    memory_free(b);
}

int backtrace_parked(struct backtracer *b, struct thread *t, uint64_t word, void **pcs, int n)
{
    (void)b, (void)t, (void)word, (void)pcs, (void)n;
    return -ENOTSUP;
}

int backtrace_in_place(struct backtracer *b, struct thread *t, uint64_t word, void **pcs, int n)
{
    return backtrace_parked(b, t, word, pcs, n);
}

int backtrace_queued(struct backtracer *b, struct thread *t, uint64_t word, void **pcs, int n)
{
    return backtrace_parked(b, t, word, pcs, n);
}

int backtrace_stand(struct backtracer *b, const struct stand *stand, void **pcs, int n)
{
    (void)b, (void)stand, (void)pcs, (void)n;
    return -ENOTSUP;
}

int image_unwind(struct backtracer *b, struct image *image, void **pcs, int n)
{
    (void)b, (void)image, (void)pcs, (void)n;
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
    struct backtracer *b;
    uint64_t w;
    int count;

    if (t == NULL)
        return -EINVAL;
    w = atomic_load_acquire(&t->word);
    if (word_generation(w) != generation || word_state(w) == WORD_TERMINATED)
        return -ESRCH;
    if (word_state(w) != WORD_PARKED)
        return -EAGAIN;
    b = backtracer_new();
    if (b == NULL)
        return -ENOMEM;
    count = backtrace_parked(b, t, w, pcs, n);
    backtracer_free(b);
    return count;
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
