/* SPDX-License-Identifier: MIT */
#include "vthread/sample.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/futex.h"
#include "base/memory.h"
#include "vthread/backtrace.h"
#include "vthread/image.h"
#include "vthread/mount.h"
#include "vthread/thread.h"

#ifdef VTHREAD_HAS_UNWIND
#include <libunwind.h>

enum {
    COPY_MAX = 256 * 1024,
    BELOW_BYTES = 128,            /* of the stack pointer: leaf functions of x86-64 keep things there */
    ANSWER_NS = 20 * 1000 * 1000, /* it may have to wait for a CPU */
    LATE_ANSWER_NS = 100 * 1000 * 1000,
    MOVED_TRIES = 4, /* to catch one that makes a call after the other inside one of them */
};

struct sample {
    struct image image;
    uint64_t begun;        /* of the carrier, at that instant */
    struct thread *thread; /* that was mounted, and stood on its own stack; or NULL */
    char page[PAGE_BYTES];
    char copy[];
};

enum { IDLE, ASKED, BUSY, DONE, TICKET_SHIFT = 2, STATE_MASK = 3 };

static struct {
    pthread_mutex_t lock; /* one sampler at a time */
    atomic_word word;     /* ticket, and one of the above */
    ATOMIC(int) tid;      /* of the one that is asked */
    struct sample *sample;
    uint32_t ticket;
} asked = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int sample_signal(void)
{
    return SIGRTMAX - 2;
}

static void set_registers(struct image *image, const ucontext_t *context)
{
#if defined(__x86_64__)
    static const struct {
        int at;
        int number;
    } map[] = {
        {REG_RAX, UNW_X86_64_RAX}, {REG_RDX, UNW_X86_64_RDX}, {REG_RCX, UNW_X86_64_RCX}, {REG_RBX, UNW_X86_64_RBX},
        {REG_RSI, UNW_X86_64_RSI}, {REG_RDI, UNW_X86_64_RDI}, {REG_RBP, UNW_X86_64_RBP}, {REG_RSP, UNW_X86_64_RSP},
        {REG_R8, UNW_X86_64_R8},   {REG_R9, UNW_X86_64_R9},   {REG_R10, UNW_X86_64_R10}, {REG_R11, UNW_X86_64_R11},
        {REG_R12, UNW_X86_64_R12}, {REG_R13, UNW_X86_64_R13}, {REG_R14, UNW_X86_64_R14}, {REG_R15, UNW_X86_64_R15},
        {REG_RIP, UNW_X86_64_RIP},
    };

    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
        image_set_register(image, map[i].number, (uint64_t)context->uc_mcontext.gregs[map[i].at]);
#elif defined(__aarch64__)
    for (int i = 0; i <= 30; i++)
        image_set_register(image, UNW_AARCH64_X0 + i, context->uc_mcontext.regs[i]);
    image_set_register(image, UNW_AARCH64_SP, context->uc_mcontext.sp);
    image_set_register(image, UNW_AARCH64_PC, context->uc_mcontext.pc);
#endif
}

static void set_sp_and_pc(struct image *image, uint64_t sp, uint64_t pc)
{
#if defined(__x86_64__)
    image_set_register(image, UNW_X86_64_RSP, sp);
    image_set_register(image, UNW_X86_64_RIP, pc);
#elif defined(__aarch64__)
    image_set_register(image, UNW_AARCH64_SP, sp);
    image_set_register(image, UNW_AARCH64_PC, pc);
#endif
}

static uint64_t sp_of(const struct image *image)
{
#if defined(__x86_64__)
    return image->registers[UNW_X86_64_RSP];
#elif defined(__aarch64__)
    return image->registers[UNW_AARCH64_SP];
#endif
}

/* ---- the copy ---- */

/* Where the stack that sp is in ends, as far as that is known: no further than that need be looked. */
static uint64_t end_of_stack(struct carrier *c, uint64_t sp)
{
    struct stack *stack = ((struct processor *)(void *)c)->stack;
    uint64_t bottom = (uint64_t)(uintptr_t)c->bottom;

    if (stack_contains(stack, (void *)sp))
        return (uint64_t)(uintptr_t)stack->top;
    return sp < bottom && bottom - sp < COPY_MAX ? bottom : UINT64_MAX;
}

/* Whose stack is that?  One that hands over to another (park.c) is not the other one yet. */
NO_SANITIZE static struct thread *standing_at(struct carrier *c, uint64_t sp)
{
    struct processor *p = (struct processor *)(void *)c;
    struct thread *t = *(struct thread *volatile *)&p->current;
    struct stack *stack = *(struct stack *volatile *)&p->stack;

    return t != NULL && stack_contains(stack, (void *)sp) && stack_at(t->cont.stack) == stack ? t : NULL;
}

/* From the sampled stack pointer up. */
NO_SANITIZE static void copy_stack(struct sample *s, struct carrier *c)
{
    uint64_t sp = sp_of(&s->image);
    uint64_t low = (sp - BELOW_BYTES) & ~(uint64_t)7;
    uint64_t high = end_of_stack(c, sp);

    s->begun = atomic_load_relaxed(&c->begun);
    s->thread = standing_at(c, sp);
    s->image.copy = s->copy;
    image_copy(&s->image, low, high < low + COPY_MAX ? high : low + COPY_MAX);
}

/* ---- the carrier ---- */

static void on_sample(int signal, siginfo_t *info, void *context)
{
    uint32_t word = atomic_load_acquire(&asked.word);
    struct carrier *c = carrier_self();
    int saved = errno;

    (void)signal, (void)info;
    if ((word & STATE_MASK) != ASKED || c == NULL || atomic_load_relaxed(&c->tid) != atomic_load_relaxed(&asked.tid) ||
        !atomic_cas_acq_rel(&asked.word, &word, (word & ~STATE_MASK) | BUSY))
        return;
    set_registers(&asked.sample->image, context);
    copy_stack(asked.sample, c);
    atomic_store_release(&asked.word, (word & ~STATE_MASK) | DONE); /* pairs with the sampler's acquire */
    futex_wake(&asked.word, 1);
    errno = saved;
}

/* Our handler is there, or nobody's was and it is now. */
static bool has_handler(void)
{
    struct sigaction now;
    struct sigaction ours = {.sa_sigaction = on_sample, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};

    if (sigaction(sample_signal(), NULL, &now) != 0)
        return false;
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_sample)
        return true;
    sigfillset(&ours.sa_mask);
    sigdelset(&ours.sa_mask, SIGSEGV);
    return !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL && sigaction(sample_signal(), &ours, NULL) == 0;
}

/* Not where one that somebody else sends would end the program, or be kept from whom it is for. */
void sample_admit(struct carrier *c, bool wanted)
{
    sigset_t set;

    (void)c;
    sigemptyset(&set);
    sigaddset(&set, sample_signal());
    pthread_sigmask(wanted && has_handler() ? SIG_UNBLOCK : SIG_BLOCK, &set, NULL);
}

/* ---- the sampler ---- */

/* late: it had no CPU to answer on. */
static bool take_running(struct carrier *c, struct sample *s, int64_t until_ns, bool *ret_late)
{
    uint32_t word = ++asked.ticket << TICKET_SHIFT | ASKED;
    uint32_t done = (word & ~STATE_MASK) | DONE;

    if (!atomic_load_relaxed(&c->admits) || BUILT_WITH_TSAN ||
        !has_handler()) /* whose runtime puts signals off until the next call of the C library */
        return false;
    asked.sample = s;
    atomic_store_relaxed(&asked.tid, atomic_load_relaxed(&c->tid));
    atomic_store_release(&asked.word, word);
    if (syscall(SYS_tgkill, getpid(), atomic_load_relaxed(&c->tid), sample_signal()) != 0)
        until_ns = 0;
    while ((word = atomic_load_acquire(&asked.word)) != done) {
        bool late = clock_monotonic_ns() >= until_ns;

        if ((word & STATE_MASK) == ASKED && late) {
            *ret_late = atomic_cas_acq_rel(&asked.word, &word, word & ~STATE_MASK);
            if (*ret_late)
                return false;
            continue;
        }
        futex_wait(&asked.word, word, late ? INT64_MAX : until_ns); /* late, but it is at it: it will be done */
    }
    atomic_store_release(&asked.word, word & ~STATE_MASK);
    return true;
}

/* Where the kernel has it blocked; false: it runs, or it cannot be seen. */
static bool read_blocked(struct carrier *c, unsigned long long *sp, unsigned long long *pc)
{
    char path[64];
    char line[256];
    const char *last;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", atomic_load_relaxed(&c->tid));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, line, sizeof line - 1);
    close(fd);
    line[n > 0 ? n : 0] = '\0';
    /* "number six arguments sp pc", or "-1 sp pc" outside of any call, or "running". */
    last = strrchr(line, ' ');
    while (last != NULL && last > line && *--last != ' ')
        ;
    return last != NULL && sscanf(last, " %llx %llx", sp, pc) == 2;
}

enum found { TOOK, RUNS, MOVED };

static enum found take_blocked(struct carrier *c, struct sample *s)
{
    unsigned long long sp, pc, sp_after, pc_after;

    if (!read_blocked(c, &sp, &pc))
        return RUNS;
    set_sp_and_pc(&s->image, sp, pc);
    copy_stack(s, c);
    return read_blocked(c, &sp_after, &pc_after) && sp == sp_after && pc == pc_after ? TOOK : MOVED;
}

static struct sample *sample_new(void)
{
    struct sample *s = memory_alloc(sizeof *s + COPY_MAX);

    if (s != NULL) {
        s->image.is_sample = true;
        s->image.is_loose = true;
        s->image.page = s->page;
    }
    return s;
}

/* s, or NULL if it was not taken. */
static struct sample *keep(struct sample *s, bool took)
{
    if (!took)
        memory_free(s);
    return took ? s : NULL;
}

/* False: somebody else's sample takes too long. */
static bool lock_until(int64_t until_ns)
{
    const struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};

    return pthread_mutex_clocklock(&asked.lock, CLOCK_MONOTONIC, &until) == 0;
}

struct sample *sample_take(struct carrier *c, uint64_t begun, bool computing, bool *ret_late)
{
    int64_t until_ns = clock_monotonic_ns() + ANSWER_NS;
    struct sample *s = sample_new();
    enum found found;
    bool took;

    *ret_late = s != NULL && !lock_until(until_ns);
    if (s == NULL || *ret_late)
        return keep(s, false);
    found = take_blocked(c, s); /* whatever it has done before: a signal would cut its call short */
    took = found == TOOK || (found == RUNS && computing && take_running(c, s, until_ns, ret_late));
    pthread_mutex_unlock(&asked.lock);
    return keep(s, took && s->begun == begun && atomic_load_relaxed(&c->begun) == begun &&
                       atomic_load_relaxed(&c->in_task));
}

struct sample *sample_take_thread(struct carrier *c, struct thread *t)
{
    struct sample *s = sample_new();
    enum found found = MOVED;
    bool late = false;
    bool took;

    if (s == NULL)
        return NULL;
    pthread_mutex_lock(&asked.lock);
    for (int i = 0; i < MOVED_TRIES && (found = take_blocked(c, s)) == MOVED; i++)
        ;
    took = found == TOOK;
    if (found == RUNS && atomic_load_relaxed(&c->state) != CARRIER_BLOCKED) /* else a signal might cut a call short */
        took = take_running(c, s, clock_monotonic_ns() + LATE_ANSWER_NS, &late);
    pthread_mutex_unlock(&asked.lock);
    return keep(s, took && s->thread == t);
}

/* Frames that have the address sp, and are at `from` just now. */
static struct sample *sample_of_frames(const char *from, const char *sp, size_t bytes)
{
    struct sample *s = memory_alloc(sizeof *s + bytes);

    if (s == NULL)
        return NULL;
    s->image.is_sample = true;
    s->image.is_loose = true;
    s->image.page = s->page;
    s->image.low = (uint64_t)(uintptr_t)sp;
    s->image.high = s->image.low + bytes;
    s->image.copy = s->copy;
    copy_words(s->copy, from, bytes);
    image_read_registers(&s->image);
    return s;
}

struct sample *sample_of_leaver(struct thread *t, struct stack *s)
{
    const char *sp = t->cont.sp;
    const char *end = cont_base(s);

    if (t->flags & THREAD_NESTED) {
        sp = thread_extra(t)->leaf_sp;
        end = thread_extra(t)->nested->stack->top; /* a stack that is nobody else's */
    }
    return sample_of_frames(sp, sp, (size_t)(end - sp));
}

struct sample *sample_of_waiter(struct thread *t, struct stack *s)
{
    struct sample *sample = NULL;
    const char *chunk;
    bool held;

    if (t->flags & THREAD_NESTED)
        return sample_of_leaver(t, s);
    held = stack_word_try(&s->word);
    /* Else in use by a mate, who has moved our frames before; nobody but us moves them back.  Pairs with cont_freeze.
     */
    chunk = __atomic_load_n((char *const *)(uintptr_t)&t->cont.chunk, __ATOMIC_ACQUIRE);
    if (chunk != NULL)
        sample = sample_of_frames(chunk, t->cont.sp, t->cont.bytes);
    else if (held)
        sample = sample_of_leaver(t, s);
    if (held)
        thread_stack_release(s);
    return sample;
}

int sample_unwind(struct sample *s, void **pcs, int n)
{
    struct backtracer *b = backtracer_new();
    int count = 0;

    if (b != NULL) {
        image_find_frame_pointer(b, &s->image);
        count = image_unwind(b, &s->image, pcs, n);
    }
    backtracer_free(b);
    return count > 0 ? count : 0;
}
#else
void sample_admit(struct carrier *c, bool wanted)
{
    (void)c, (void)wanted;
}

struct sample *sample_take(struct carrier *c, uint64_t begun, bool computing, bool *ret_late)
{
    (void)c, (void)begun, (void)computing;
    *ret_late = false;
    return NULL;
}

struct sample *sample_take_thread(struct carrier *c, struct thread *t)
{
    (void)c, (void)t;
    return NULL;
}

struct sample *sample_of_leaver(struct thread *t, struct stack *s)
{
    (void)t, (void)s;
    return NULL;
}

struct sample *sample_of_waiter(struct thread *t, struct stack *s)
{
    (void)t, (void)s;
    return NULL;
}

int sample_unwind(struct sample *sample, void **pcs, int n)
{
    (void)sample, (void)pcs, (void)n;
    return 0;
}
#endif
