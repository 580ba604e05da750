/* SPDX-License-Identifier: MIT */
/* Dumps of programs that know what must be in them, asked for it by jq. */
#include "sync_help.h"

#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <spawn.h>
#include <stdarg.h>
#include <sys/mman.h>

#include <vthread/executor.h>
#include <vthread/scope.h>
#include <vthread/version.h>

#include "base/panic.h"
#undef atomic_init /* of <stdatomic.h> */
#include "observe/dump.h"

TestSuite(dump, .fini = help_fini, .timeout = 60);

extern char **environ;

#ifdef VTHREAD_HAS_JSON
#define NEEDS_JSON()
#else
#define NEEDS_JSON() cr_skip_test("built without JSON")
#endif

/* ---- asking ---- */

static int new_file(void)
{
    int fd = memfd_create("dump", 0);

    cr_assert_geq(fd, 0);
    return fd;
}

static char *read_all(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);

    cr_assert_eq(pread(fd, text, (size_t)size, 0), size);
    return text;
}

/* What jq -r answers about the dump, in lines; "" if the dump is no JSON.  Until the next call. */
static const char *ask_jq(int fd, const char *filter)
{
    static char answer[64 * 1024];
    char jq[] = "jq", options[] = "-rc";
    char *const args[] = {jq, options, (char *)(uintptr_t)filter, NULL};
    posix_spawn_file_actions_t actions;
    size_t length = 0;
    ssize_t n;
    int ends[2], status;
    pid_t pid;

    cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    cr_assert_eq(posix_spawnp(&pid, "jq", &actions, NULL, args, environ), 0, "jq is missing");
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    while ((n = read(ends[0], answer + length, sizeof answer - 1 - length)) > 0)
        length += (size_t)n;
    close(ends[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (length > 0 && answer[length - 1] == '\n')
        length--;
    answer[length] = '\0';
    return status == 0 ? answer : "";
}

#define THREADS "def threads: .threadDump.threadContainers[].threads[]; "

/* "%s" and the like are filled in. */
__attribute__((format(printf, 2, 3))) static const char *ask(int fd, const char *format, ...)
{
    char filter[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(filter, sizeof filter, format, args);
    va_end(args);
    return ask_jq(fd, filter);
}

static int dump_json(void)
{
    int fd = new_file();

    cr_assert_eq(vthread_dump(fd, VTHREAD_DUMP_JSON), 0);
    return fd;
}

static char *dump_text(void)
{
    int fd = new_file();
    char *text;

    cr_assert_eq(vthread_dump(fd, VTHREAD_DUMP_TEXT), 0);
    text = read_all(fd);
    close(fd);
    return text;
}

static vthread_t start_named(const char *name, void *(*fn)(void *arg), void *arg)
{
    return help_start_with(&(vthread_attr_t){.name = name}, fn, arg);
}

static const char *id_of(vthread_t t)
{
    static char text[4][32];
    static int next;
    char *to = text[next++ % 4];

    snprintf(to, sizeof text[0], "%llu", (unsigned long long)vthread_id(t));
    return to;
}

/* ---- states, blockers, owners ---- */

static vthread_mutex_t mutex = VTHREAD_MUTEX_INITIALIZER;
static vthread_rwlock_t rwlock = VTHREAD_RWLOCK_INITIALIZER;
static vthread_sem_t sem = VTHREAD_SEM_INITIALIZER(0);
static vthread_cond_t cond = VTHREAD_COND_INITIALIZER;
static vthread_mutex_t cond_mutex = VTHREAD_MUTEX_INITIALIZER;
static atomic_bool stop;
static int something;

static void *lock_mutex(void *arg)
{
    (void)arg;
    CHECK(vthread_mutex_lock(&mutex) == 0);
    CHECK(vthread_mutex_unlock(&mutex) == 0);
    return NULL;
}

static void *read_lock(void *arg)
{
    (void)arg;
    CHECK(vthread_rwlock_rdlock(&rwlock) == 0);
    CHECK(vthread_rwlock_unlock(&rwlock) == 0);
    return NULL;
}

static void *acquire(void *arg)
{
    (void)arg;
    CHECK(vthread_sem_acquire_until(&sem, 1, vthread_after_ms(3600 * 1000)) == 0);
    return NULL;
}

static void *wait_for_cond(void *arg)
{
    (void)arg;
    CHECK(vthread_mutex_lock(&cond_mutex) == 0);
    CHECK(vthread_cond_wait(&cond, &cond_mutex) == EINTR);
    CHECK(vthread_mutex_unlock(&cond_mutex) == 0);
    return NULL;
}

static void *sleep_long(void *arg)
{
    (void)arg;
    CHECK(vthread_sleep_ms(3600 * 1000) == EINTR);
    return NULL;
}

static void *join_it(void *arg)
{
    CHECK(vthread_join(arg, NULL) == 0);
    return NULL;
}

static void *park_on(void *arg)
{
    while (!atomic_load(&stop))
        vthread_park_on(arg);
    return NULL;
}

static void *park_pinned(void *arg)
{
    CHECK(vthread_pin("because of that") == 0);
    CHECK(park_on(arg) == NULL);
    CHECK(vthread_unpin() == 0);
    return NULL;
}

/* The line that jq makes of a thread. */
static const char *line_of(int fd, const char *name)
{
    return ask(fd,
               THREADS
               "threads | select(.name == \"%s\") | [.tid, .virtual, .state, .internalState, .parkBlocker.kind, "
               ".parkBlocker.object, .parkBlocker.owner, .parkBlocker.thread, .pinned] | map(tostring) | join(\" \")",
               name);
}

static void expect_line(int fd, vthread_t t, const char *format, ...)
{
    char name[64], what[256], expected[320];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    snprintf(expected, sizeof expected, "%s %s", id_of(t), what);
    cr_assert_eq(vthread_name(t, name, sizeof name), 0);
    cr_expect_str_eq(line_of(fd, name), expected, "%s:\n%s\nnot\n%s", name, line_of(fd, name), expected);
}

Test(dump, states_blockers_and_owners)
{
    vthread_t locker, outside, reader, taker, waiter, sleeper, joiner, parker, pinned, unstarted, spinner;
    char me[32];
    int fd;

    NEEDS_JSON();
    snprintf(me, sizeof me, "%s", id_of(vthread_self()));
    cr_assert_eq(vthread_mutex_lock(&mutex), 0);
    cr_assert_eq(vthread_rwlock_wrlock(&rwlock), 0);
    locker = start_named("locker", lock_mutex, NULL);
    outside = help_start_with(&(vthread_attr_t){.name = "outside", .kind = VTHREAD_KIND_PLATFORM}, lock_mutex, NULL);
    reader = start_named("reader", read_lock, NULL);
    taker = start_named("taker", acquire, NULL);
    waiter = start_named("waiter", wait_for_cond, NULL);
    sleeper = start_named("sleeper", sleep_long, NULL);
    joiner = start_named("joiner", join_it, sleeper);
    parker = start_named("parker", park_on, &something);
    pinned = start_named("pinned", park_pinned, &something);
    spinner = start_named("spinner", help_spin, &stop);
    cr_assert_eq(vthread_new(&unstarted, &(vthread_attr_t){.name = "unstarted"}, help_nothing, NULL), 0);
    cr_assert(WAITS(locker) && WAITS(outside) && WAITS(reader) && WAITS(taker) && WAITS(waiter) && WAITS(sleeper) &&
              WAITS(joiner) && WAITS(parker) && WAITS(pinned) && REACHES(spinner, VTHREAD_RUNNING));
    fd = dump_json();

    expect_line(fd, locker, "true BLOCKED PARKED mutex %p %s null null", (void *)&mutex, me);
    expect_line(fd, outside, "false BLOCKED PINNED mutex %p %s null null", (void *)&mutex, me);
    expect_line(fd, reader, "true BLOCKED PARKED rwlock %p %s null null", (void *)&rwlock, me);
    expect_line(fd, taker, "true TIMED_WAITING TIMED_PARKED object %p null null null", (void *)&sem);
    expect_line(fd, waiter, "true WAITING PARKED object %p null null null", (void *)&cond);
    expect_line(fd, sleeper, "true TIMED_WAITING TIMED_PARKED null null null null null");
    expect_line(fd, joiner, "true WAITING PARKED thread null null %s null", id_of(sleeper));
    expect_line(fd, parker, "true WAITING PARKED object %p null null null", (void *)&something);
    expect_line(fd, pinned, "true WAITING PINNED object %p null null because of that", (void *)&something);
    expect_line(fd, spinner, "true RUNNABLE RUNNING null null null null null");
    expect_line(fd, unstarted, "true NEW NEW null null null null null");
    cr_assert_str_eq(ask(fd, THREADS "threads | select(.tid == \"%s\") | [.virtual, .state] | join(\" \")", me),
                     "false RUNNABLE");
    cr_assert_str_eq(ask(fd, THREADS "[threads.tid] | length, (unique | length)"), "12\n12");
    cr_assert_str_eq(ask(fd, THREADS "threads | select(.name == \"taker\" or .name == \"sleeper\") | "
                                     "(.remainingNs > 1800e9) and (.remainingNs <= 3600e9)"),
                     "true\ntrue");
    /* The carrier that runs the spinner says the same as the spinner. */
    cr_assert_str_eq(ask(fd, THREADS ". as $d | threads | select(.name == \"spinner\") | . as $t | "
                                     "$d.threadDump.carriers[] | select(.thread == $t.tid) | .carrier == $t.carrier"),
                     "true");
    close(fd);

    atomic_store(&stop, true);
    vthread_unpark(parker);
    vthread_unpark(pinned);
    vthread_interrupt(sleeper);
    vthread_interrupt(waiter);
    cr_assert_eq(vthread_sem_release(&sem, 1), 0);
    cr_assert_eq(vthread_mutex_unlock(&mutex), 0);
    cr_assert_eq(vthread_rwlock_unlock(&rwlock), 0);
    cr_assert_eq(vthread_start(unstarted), 0);
    help_join(joiner);
    cr_assert_eq(vthread_join(sleeper, NULL), ESRCH, "the joiner had it");
    help_join(locker);
    help_join(outside);
    help_join(reader);
    help_join(taker);
    help_join(waiter);
    help_join(parker);
    help_join(pinned);
    help_join(spinner);
    help_join(unstarted);
}

/* ---- stacks ---- */

static int park_line, outer_line;

NOINLINE static void park_here(void)
{
    while (!atomic_load(&stop)) {
        park_line = __LINE__ + 1;
        vthread_park();
    }
}

NOINLINE static int outer_function(int depth)
{
    int inner = 0;

    if (depth > 0)
        inner = outer_function(depth - 1) + 1;
    __asm__ volatile("" : "+r"(inner)); /* a call in earnest */
    if (depth > 0)
        return inner;
    outer_line = __LINE__ + 1;
    park_here();
    __asm__ volatile(""); /* no tail call */
    return 0;
}

static void *park_deep(void *arg)
{
    CHECK(outer_function((int)(uintptr_t)arg) == (int)(uintptr_t)arg);
    return NULL;
}

static const char *find_frame(int fd, const char *name, const char *function)
{
    static char frame[256];

    snprintf(frame, sizeof frame, "%s",
             ask(fd, THREADS "[threads | select(.name == \"%s\") | .stack[] | select(startswith(\"%s+\"))][0]", name,
                 function));
    return frame;
}

static bool is_at_line(const char *frame, int line)
{
    char end[64];
    size_t n = strlen(frame);
    size_t m = (size_t)snprintf(end, sizeof end, " (observe_dump.c:%d)", line);

    return n >= m && strcmp(frame + n - m, end) == 0;
}

static void expect_lines(int fd, const char *name)
{
    cr_expect(is_at_line(find_frame(fd, name, "park_here"), park_line), "%s: %s, not line %d", name,
              find_frame(fd, name, "park_here"), park_line);
    cr_expect(is_at_line(find_frame(fd, name, "outer_function"), outer_line), "%s: %s, not line %d", name,
              find_frame(fd, name, "outer_function"), outer_line);
}

#if defined(VTHREAD_HAS_SYMBOLS) && defined(VTHREAD_HAS_UNWIND)
#define NEEDS_LINES() NEEDS_JSON()
#else
#define NEEDS_LINES() cr_skip_test("built without symbols or without unwinding")
#endif

enum { MEMBERS = 5 };

/* All of these share one stack: one lies on it, the others are frozen. */
static void start_members(vthread_t *threads)
{
    vthread_runtime_params_t params = {.stacks = 1, .sole_stacks = UINT_MAX};

    cr_assert_eq(vthread_runtime_configure(&params), 0);
    for (int i = 0; i < MEMBERS; i++) {
        threads[i] =
            help_start_with(&(vthread_attr_t){.name_prefix = "member-", .name_counter = &(uint64_t){(uint64_t)i}},
                            park_deep, (void *)(uintptr_t)i);
        cr_assert(REACHES(threads[i], VTHREAD_PARKED));
    }
}

static void expect_members(int fd)
{
    for (int i = 0; i < MEMBERS; i++) {
        char name[32];

        snprintf(name, sizeof name, "member-%d", i);
        expect_lines(fd, name);
        cr_expect_eq(
            atoi(ask(fd,
                     THREADS
                     "[threads | select(.name == \"%s\") | .stack[] | select(startswith(\"outer_function+\"))] | "
                     "length",
                     name)),
            i + 1);
    }
}

static void end_members(vthread_t *threads)
{
    atomic_store(&stop, true);
    for (int i = 0; i < MEMBERS; i++) {
        vthread_unpark(threads[i]);
        help_join(threads[i]);
    }
}

Test(dump, lines_of_resident_and_frozen_frames)
{
    vthread_t threads[MEMBERS];
    int fd;

    NEEDS_LINES();
    start_members(threads);
    fd = dump_json();
    expect_members(fd);
    close(fd);
    end_members(threads);
}

/* While another member of the stack runs on it. */
Test(dump, lines_of_frozen_frames_whose_stack_is_in_use)
{
    vthread_t threads[MEMBERS];
    vthread_t spinner;
    int fd;

    NEEDS_LINES();
    start_members(threads);
    spinner = start_named("spinner", help_spin, &stop);
    cr_assert(REACHES(spinner, VTHREAD_RUNNING));
    fd = dump_json();
    expect_members(fd);
    cr_expect_str_eq(ask(fd, THREADS "threads | select(.name == \"spinner\") | [.noStack, (.stack | length)]"),
                     "[\"it is running, and its carrier is not to be interrupted\",0]");
    close(fd);
    end_members(threads);
    help_join(spinner);
}

Test(dump, lines_on_dedicated_stacks)
{
    vthread_t t;
    int fd;

    NEEDS_LINES();
    t = help_start_with(&(vthread_attr_t){.name = "dedicated", .stack = VTHREAD_STACK_DEDICATED}, park_deep, NULL);
    cr_assert(REACHES(t, VTHREAD_PARKED));
    fd = dump_json();
    expect_lines(fd, "dedicated");
    close(fd);
    atomic_store(&stop, true);
    vthread_unpark(t);
    help_join(t);
}

Test(dump, deep_stacks_are_cut)
{
    vthread_t t;
    int fd;

    NEEDS_LINES();
    t = start_named("deep", park_deep, (void *)(uintptr_t)200);
    cr_assert(REACHES(t, VTHREAD_PARKED));
    fd = dump_json();
    cr_assert_str_eq(ask(fd, THREADS "threads | select(.name == \"deep\") | [(.stack | length), .stackIsCut]"),
                     "[64,true]");
    close(fd);
    atomic_store(&stop, true);
    vthread_unpark(t);
    help_join(t);
}

static int own_file, own_line;

NOINLINE static int dump_from_here(void)
{
    own_line = __LINE__ + 1;
    int error = vthread_dump(own_file, VTHREAD_DUMP_JSON);

    __asm__ volatile("" : "+r"(error)); /* no tail call */
    return error;
}

static void *dump_inside(void *arg)
{
    (void)arg;
    CHECK(dump_from_here() == 0);
    return NULL;
}

Test(dump, from_a_virtual_thread)
{
    NEEDS_LINES();
    own_file = new_file();
    help_run_with(&(vthread_attr_t){.name = "author"}, dump_inside, NULL);
    cr_assert(is_at_line(find_frame(own_file, "author", "dump_from_here"), own_line), "%s, not %d",
              find_frame(own_file, "author", "dump_from_here"), own_line);
    cr_assert_str_eq(ask(own_file, THREADS "threads | select(.name == \"author\") | [.state, .virtual]"),
                     "[\"WAITING\",true]");
    close(own_file);
}

/* ---- stacks of threads that have a CPU or an OS thread to themselves ---- */

static int work_line;

NOINLINE static void work_here(void)
{
    work_line = __LINE__ + 2;
    while (!atomic_load(&stop))
        vthread_spin_hint();
}

static void *work(void *arg)
{
    (void)arg;
    work_here();
    __asm__ volatile(""); /* no tail call */
    return NULL;
}

/* Does the dump have it, with both functions?  It may have had no CPU on which to answer in time, and then says so. */
static bool has_work(int fd, vthread_t t)
{
    const char *answer = ask(fd,
                             THREADS "threads | select(.tid == \"%s\") | [.state, .noStack, "
                                     "(.stack | map(split(\"+\")[0]) | (index(\"work\") // 0) - "
                                     "(index(\"work_here\") // 0))]",
                             id_of(t));

    if (strcmp(answer, "[\"RUNNABLE\",\"it is running\",0]") == 0)
        return false;
    cr_assert_str_eq(answer, "[\"RUNNABLE\",null,1]", "%s: %s", answer,
                     ask(fd, THREADS "threads | select(.tid == \"%s\")", id_of(t)));
    return true;
}

#if BUILT_WITH_TSAN
#define NEEDS_SAMPLES() cr_skip_test("ThreadSanitizer puts signals off")
#else
#define NEEDS_SAMPLES() NEEDS_LINES()
#endif

/* Who asks for dumps by a signal lets carriers be interrupted at any time. */
Test(dump, lines_of_running_threads)
{
    vthread_t t[2];
    int fd;

    NEEDS_SAMPLES();
    cr_assert_eq(setenv("VTHREAD_DUMP_SIGNAL", "USR2", 1), 0);
    help_configure(2);
    t[0] = start_named("worker", work, NULL);
    t[1] = help_start_with(&(vthread_attr_t){.name = "dedicated", .stack = VTHREAD_STACK_DEDICATED}, work, NULL);
    cr_assert(REACHES(t[0], VTHREAD_RUNNING) && REACHES(t[1], VTHREAD_RUNNING));
    cr_assert(EVENTUALLY(work_line > 0));
    for (int seen[2] = {0, 0}; seen[0] < 3 || seen[1] < 3;) { /* at any instruction */
        fd = dump_json();
        for (int i = 0; i < 2; i++)
            seen[i] += has_work(fd, t[i]);
        close(fd);
    }
    atomic_store(&stop, true);
    help_join(t[0]);
    help_join(t[1]);
}

static atomic_int ready;

static void *yield_in_here(void *arg)
{
    (void)arg;
    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&stop)) {
        for (volatile int i = 0; i < 10000; i++)
            ;
        vthread_yield();
    }
    return NULL;
}

/* Carriers that come by let themselves be interrupted while a dump is made, and not after it. */
Test(dump, lines_of_threads_that_yield)
{
    vthread_t t[4];
    bool seen = false;

    NEEDS_SAMPLES();
    help_configure(2);
    for (int i = 0; i < 4; i++)
        t[i] = start_named("yielder", yield_in_here, NULL);
    cr_assert(EVENTUALLY(atomic_load(&ready) == 4));
    for (int i = 0; i < 1000 && !seen; i++) {
        int fd = dump_json();

        seen = *ask(fd, THREADS "threads | select(.name == \"yielder\" and .carrier != null) | .stack[] | "
                                "select(startswith(\"yield_in_here+\"))") != '\0';
        close(fd);
    }
    cr_expect(seen);
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++)
        help_join(t[i]);
}

/* Behind one that holds the only carrier, or the only stack. */
static void expect_queued(void)
{
    vthread_t t[2], spinner;
    int fd;

    t[0] = start_named("queued-0", park_deep, NULL);
    t[1] = start_named("queued-1", park_deep, NULL);
    cr_assert(REACHES(t[0], VTHREAD_PARKED) && REACHES(t[1], VTHREAD_PARKED));
    spinner = start_named("spinner", help_spin, &stop);
    cr_assert(REACHES(spinner, VTHREAD_RUNNING));
    vthread_unpark(t[0]);
    vthread_unpark(t[1]);
    fd = dump_json();
    cr_expect_str_eq(ask(fd, THREADS "[threads | select(.name | startswith(\"queued\")) | [.state, .internalState, "
                                     ".noStack, .carrier]] | unique"),
                     "[[\"RUNNABLE\",\"UNPARKED\",null,null]]", "%s", ask(fd, "."));
    expect_lines(fd, "queued-0");
    expect_lines(fd, "queued-1");
    close(fd);
    atomic_store(&stop, true);
    help_join(spinner);
    help_join(t[0]);
    help_join(t[1]);
}

Test(dump, lines_of_threads_that_are_to_run)
{
    vthread_runtime_params_t params = {.parallelism = 1, .max_pool_size = 1};

    NEEDS_LINES();
    cr_assert_eq(vthread_runtime_configure(&params), 0);
    expect_queued();
}

Test(dump, lines_of_threads_that_are_to_run_on_a_stack_in_use)
{
    vthread_runtime_params_t params = {.parallelism = 1, .max_pool_size = 1, .stacks = 1, .sole_stacks = UINT_MAX};

    NEEDS_LINES();
    cr_assert_eq(vthread_runtime_configure(&params), 0);
    expect_queued();
}

Test(dump, lines_of_frames_that_strict_mode_has_moved_away)
{
    vthread_t t;
    int fd;

    NEEDS_LINES();
    cr_assert_eq(setenv("VTHREAD_STRICT", "1", 1), 0);
    t = start_named("displaced", park_deep, (void *)(uintptr_t)3);
    cr_assert(REACHES(t, VTHREAD_PARKED));
    fd = dump_json();
    expect_lines(fd, "displaced");
    close(fd);
    atomic_store(&stop, true);
    vthread_unpark(t);
    help_join(t);
}

static int ends_of_wait[2];

NOINLINE static int wait_in_the_kernel(void)
{
    struct pollfd entry = {.fd = ends_of_wait[0], .events = POLLIN};
    int result;

    atomic_store(&ready, 1);
    result = poll(&entry, 1, -1); /* which no signal restarts */
    __asm__ volatile("" : "+r"(result));
    return result;
}

static void *block(void *arg)
{
    int result;

    if (arg != NULL)
        CHECK(vthread_blocking_begin("as a test") == 0);
    result = wait_in_the_kernel();
    __asm__ volatile("" : "+r"(result));
    if (arg != NULL)
        vthread_blocking_end();
    CHECK(result == 1);
    return NULL;
}

/* Where a thread is in a system call, it is not cut short. */
static void expect_blocked(void *how)
{
    vthread_t t;

    cr_assert_eq(setenv("VTHREAD_DUMP_SIGNAL", "USR2", 1), 0);
    cr_assert_eq(pipe(ends_of_wait), 0);
    t = start_named("blocked", block, how);
    cr_assert(EVENTUALLY(atomic_load(&ready) == 1));
    for (int i = 0; i < 10; i++) {
        int fd = dump_json();

        cr_expect_str_eq(ask(fd, THREADS "threads | select(.name == \"blocked\") | [.state, .carrier != null]"),
                         "[\"RUNNABLE\",true]");
        close(fd);
    }
    cr_assert_eq(write(ends_of_wait[1], "x", 1), 1);
    help_join(t);
}

Test(dump, of_an_unannounced_system_call)
{
    NEEDS_SAMPLES();
    expect_blocked(NULL);
}

Test(dump, of_a_blocking_section)
{
    NEEDS_SAMPLES();
    expect_blocked(&something);
}

NOINLINE static void pinned_here(void *arg)
{
    park_on(arg);
    __asm__ volatile("");
}

static void *pin_and_park(void *arg)
{
    CHECK(vthread_pin("because of that") == 0);
    pinned_here(arg);
    CHECK(vthread_unpin() == 0);
    return NULL;
}

/* Its carrier says the same as the thread, which has its stack, the reason and the blocker in the dump. */
static void expect_pinned(vthread_t t)
{
    char expected[128];
    int fd;

    cr_assert(REACHES(t, VTHREAD_PINNED));
    fd = dump_json();
    snprintf(expected, sizeof expected, "[\"PINNED\",\"because of that\",\"%p\",null,\"%s\",\"blocked\"]",
             (void *)&something, id_of(t));
    cr_expect_str_eq(ask(fd,
                         THREADS ". as $d | threads | select(.tid == \"%s\") | . as $t | $d.threadDump.carriers[] | "
                                 "select(.carrier == $t.carrier) | [$t.internalState, $t.pinned, "
                                 "$t.parkBlocker.object, $t.noStack, .thread, .state]",
                         id_of(t)),
                     expected, "%s", ask(fd, "."));
    cr_expect_str_eq(ask(fd,
                         THREADS "threads | select(.tid == \"%s\") | .stack | map(split(\"+\")[0]) | "
                                 "index(\"pin_and_park\") - index(\"pinned_here\")",
                         id_of(t)),
                     "1", "%s", ask(fd, "."));
    close(fd);
    atomic_store(&stop, true);
    vthread_unpark(t);
    help_join(t);
}

Test(dump, lines_of_pinned_threads)
{
    NEEDS_LINES();
    expect_pinned(start_named("pinned", pin_and_park, &something));
}

Test(dump, lines_of_pinned_threads_that_share_a_stack)
{
    vthread_runtime_params_t params = {.stacks = 1, .sole_stacks = UINT_MAX};

    NEEDS_LINES();
    cr_assert_eq(vthread_runtime_configure(&params), 0);
    expect_pinned(start_named("pinned", pin_and_park, &something));
}

/* ... and whose frames are frozen, because another one runs there now. */
Test(dump, lines_of_pinned_threads_whose_stack_is_in_use)
{
    vthread_runtime_params_t params = {.stacks = 1, .sole_stacks = UINT_MAX};
    vthread_t t, spinner;
    atomic_bool enough = false;

    NEEDS_LINES();
    cr_assert_eq(vthread_runtime_configure(&params), 0);
    t = start_named("pinned", pin_and_park, &something);
    cr_assert(REACHES(t, VTHREAD_PINNED));
    spinner = help_start(help_spin, &stop);
    cr_assert(REACHES(spinner, VTHREAD_RUNNING));
    expect_pinned(t);
    atomic_store(&enough, true);
    help_join(spinner);
}

Test(dump, lines_of_pinned_threads_on_dedicated_stacks)
{
    NEEDS_LINES();
    expect_pinned(help_start_with(&(vthread_attr_t){.stack = VTHREAD_STACK_DEDICATED}, pin_and_park, &something));
}

static void *be_outside(void *arg)
{
    return lock_mutex(arg);
}

static void *begin_outside(void *arg)
{
    void *wrong = be_outside(arg);

    __asm__ volatile("" : "+r"(wrong));
    return wrong;
}

/* One that the library has made, and one that it has not. */
Test(dump, lines_of_platform_threads_that_wait)
{
    pthread_t foreign;
    vthread_t made;
    int fd;

    NEEDS_LINES();
    cr_assert_eq(vthread_mutex_lock(&mutex), 0);
    made = help_start_with(&(vthread_attr_t){.name = "made", .kind = VTHREAD_KIND_PLATFORM}, begin_outside, NULL);
    cr_assert_eq(pthread_create(&foreign, NULL, begin_outside, NULL), 0);
    for (;;) {
        fd = dump_json();
        if (strcmp(ask(fd, THREADS "[threads | select(.virtual == false and .state == \"BLOCKED\")] | length"), "2") ==
            0)
            break;
        close(fd);
        usleep(1000);
    }
    cr_expect_str_eq(ask(fd,
                         THREADS
                         "[threads | select(.virtual == false and .state == \"BLOCKED\") | [.parkBlocker.object, "
                         ".parkBlocker.owner == \"%s\", .noStack, ([.stack[] | split(\"+\")[0]] | "
                         "index(\"wait_in_place\") == 0 and "
                         "index(\"begin_outside\") > index(\"lock_mutex\"))]] | unique | length, .[0][1:]",
                         id_of(vthread_self())),
                     "1\n[true,null,true]", "%s", ask(fd, "."));
    close(fd);
    cr_assert_eq(vthread_mutex_unlock(&mutex), 0);
    help_join(made);
    pthread_join(foreign, NULL);
}

/* ---- the tree ---- */

static atomic_int parked_leaves;

static void *leaf(void *arg)
{
    (void)arg;
    atomic_fetch_add(&parked_leaves, 1);
    while (!atomic_load(&stop))
        vthread_park_until(vthread_after_ms(1));
    return NULL;
}

static void *open_inner(void *arg)
{
    vthread_scope_t *inner;

    (void)arg;
    CHECK(vthread_setname(vthread_self(), "middle") == 0);
    CHECK(vthread_scope_open(&inner, &(vthread_scope_params_t){.name = "inner"}) == 0);
    for (int i = 0; i < 3; i++)
        CHECK(vthread_scope_fork(inner, leaf, NULL, NULL) == 0);
    CHECK(vthread_scope_join(inner) == 0);
    CHECK(vthread_scope_close(inner) == 0);
    return NULL;
}

static void *open_outer(void *arg)
{
    vthread_scope_t *outer, *nested;

    (void)arg;
    CHECK(vthread_setname(vthread_self(), "task") == 0);
    CHECK(vthread_scope_open(&outer, &(vthread_scope_params_t){.name = "outer"}) == 0);
    CHECK(vthread_scope_fork(outer, open_inner, NULL, NULL) == 0);
    CHECK(vthread_scope_open(&nested, &(vthread_scope_params_t){.name = "nested"}) == 0);
    CHECK(vthread_scope_fork(nested, leaf, NULL, NULL) == 0);
    CHECK(vthread_scope_join(nested) == 0);
    CHECK(vthread_scope_close(nested) == 0);
    CHECK(vthread_scope_join(outer) == 0);
    CHECK(vthread_scope_close(outer) == 0);
    return NULL;
}

/* Of the container of that name. */
static const char *container(int fd, const char *name, const char *what)
{
    return ask(fd,
               ". as $d | def kind_of($c): $c | split(\" \") | .[1] // .[0] | split(\"@\")[0]; "
               ".threadDump.threadContainers[] | select(.name == \"%s\") | %s",
               name, what);
}

Test(dump, tree_of_executors_and_scopes)
{
    vthread_executor_t *ex, *fixed;
    vthread_future_t *f;
    char expected[512];
    int fd;

    NEEDS_JSON();
    cr_assert_eq(vthread_executor_new_per_task(&ex, &(vthread_executor_params_t){.name = "crawler"}), 0);
    cr_assert_eq(vthread_executor_new_fixed(&fixed, &(vthread_executor_params_t){.name = "workers", .threads = 2}), 0);
    cr_assert_eq(vthread_executor_submit(ex, open_outer, NULL, &f), 0);
    cr_assert(EVENTUALLY(atomic_load(&parked_leaves) == 4));
    fd = dump_json();

    cr_expect_str_eq(
        container(fd, "crawler", "[.kind, .executor, kind_of(.parent), .owner, .threadCount, .threads[].name]"),
        "[\"executor\",\"perTask\",\"<root>\",null,1,\"task\"]");
    cr_expect_str_eq(
        container(fd, "workers", "[.kind, .executor, .threadCount, .shutdown] + ([.threads[].name] | sort)"),
        "[\"executor\",\"fixed\",2,false,\"workers-0\",\"workers-1\"]");
    snprintf(expected, sizeof expected, "%s",
             ask(fd, THREADS "threads | select(.name == \"task\") | [\"scope\", \"crawler\", .tid, 1, \"middle\"]"));
    cr_expect_str_eq(container(fd, "outer", "[.kind, kind_of(.parent), .owner, .threadCount, .threads[].name]"),
                     expected, "%s", expected);
    snprintf(expected, sizeof expected, "%s",
             ask(fd, THREADS "threads | select(.name == \"task\") | [\"outer\", .tid, 1]"));
    cr_expect_str_eq(container(fd, "nested", "[kind_of(.parent), .owner, .threadCount]"), expected, "%s", expected);
    snprintf(expected, sizeof expected, "%s",
             ask(fd, THREADS "threads | select(.name == \"middle\") | [\"outer\", .tid, 3]"));
    cr_expect_str_eq(container(fd, "inner", "[kind_of(.parent), .owner, .threadCount]"), expected, "%s", expected);
    /* Every parent is there; every thread is in one container only. */
    cr_expect_str_eq(ask(fd, ".threadDump.threadContainers | map(.container) as $all | "
                             "map(select(.parent != null) | .parent as $p | $all | index($p) != null) | all"),
                     "true");
    cr_expect_str_eq(ask(fd, THREADS "[threads.tid] | length == (unique | length)"), "true");
    cr_expect_str_eq(ask(fd, ".threadDump.threadContainers | map(.threadCount == (.threads | length)) | all"), "true");
    close(fd);

    atomic_store(&stop, true);
    cr_assert_eq(vthread_future_get(f, NULL), 0);
    vthread_future_free(f);
    cr_assert_eq(vthread_executor_free(ex), 0);
    cr_assert_eq(vthread_executor_free(fixed), 0);
    fd = dump_json();
    cr_expect_str_eq(ask(fd, "[.threadDump.threadContainers[].container]"), "[\"<root>\"]");
    close(fd);
}

/* ---- the rest of it ---- */

static int spinning_on;

static void *spin_and_tell(void *arg)
{
    (void)arg;
    spinning_on = (int)help_os_thread();
    return help_spin(&stop);
}

Test(dump, carriers_queues_timers_and_statistics)
{
    vthread_runtime_params_t params = {.parallelism = 1, .max_pool_size = 1};
    vthread_t sleepers[3], spinner, queued[4];
    char expected[128];
    int fd;

    NEEDS_JSON();
    cr_assert_eq(vthread_runtime_configure(&params), 0);
    for (int i = 0; i < 3; i++) {
        sleepers[i] = help_start(sleep_long, NULL);
        cr_assert(REACHES(sleepers[i], VTHREAD_TIMED_PARKED));
    }
    /* One that holds the only carrier; those that wait behind it. */
    spinner = help_start_with(&(vthread_attr_t){.name = "spinner"}, spin_and_tell, NULL);
    cr_assert(REACHES(spinner, VTHREAD_RUNNING) && EVENTUALLY(*(volatile int *)&spinning_on != 0));
    for (int i = 0; i < 4; i++)
        queued[i] = help_start(help_nothing, NULL);
    fd = dump_json();
    snprintf(expected, sizeof expected, "[1,%d,\"%d.%d.%d\",3,true,3,4,true,null]", (int)getpid(),
             VTHREAD_VERSION_MAJOR, VTHREAD_VERSION_MINOR, VTHREAD_VERSION_PATCH);
    cr_expect_str_eq(ask(fd, ".threadDump | [.formatVersion, .processId, .runtimeVersion, .timers, "
                             "(.nextTimerNs > 1800e9), ([.carriers[].timers] | add), "
                             "([.carriers[].queued] | add) + .injectionQueue, "
                             "(.time | test(\"^20[0-9-]{8}T[0-9:]{8}[.][0-9]{6}Z$\")), .poller]"),
                     expected, "%s", ask(fd, ".threadDump | del(.threadContainers)"));
    cr_expect_str_eq(
        ask(fd, ".threadDump.runtime | [.parallelism, .carriers, .threadsCreated, .threadsAlive, .queued]"),
        "[1,1,8,8,4]", "%s", ask(fd, ".threadDump.runtime"));
    cr_expect_str_eq(ask(fd, "[.threadDump.carriers[] | .carrier, (.state | . == \"running\" or . == \"hogged\"), "
                             ".tasksBegun >= 4, .timers]"),
                     "[0,true,true,3]", "%s", ask(fd, ".threadDump.carriers"));
    snprintf(expected, sizeof expected, "[%d]", spinning_on);
    cr_expect_str_eq(ask(fd, "[.threadDump.carriers[].osThread]"), expected);
    cr_expect_str_eq(ask(fd, THREADS ". as $d | threads | select(.name == \"spinner\") | .tid as $t | "
                                     "$d.threadDump.carriers | map(select(.thread == $t)) | length"),
                     "1");
    close(fd);
    atomic_store(&stop, true);
    help_join(spinner);
    for (int i = 0; i < 4; i++)
        help_join(queued[i]);
    for (int i = 0; i < 3; i++) {
        vthread_interrupt(sleepers[i]);
        help_join(sleepers[i]);
    }
}

Test(dump, names_of_any_bytes)
{
    static const char *const names[] = {"quote \" and \\",
                                        "line\nfeed\ttab\x01",
                                        "caf\xc3\xa9",
                                        "\xff latin \xe9",
                                        "overlong \xc0\x80 \xe0\x80\x80 \xf0\x80\x80\x80",
                                        "surrogate \xed\xa0\x80, beyond \xf4\x90\x80\x80 \xf5\x80\x80\x80",
                                        "good \xef\xbf\xbd \xf0\x9f\x98\x80 \xed\x9f\xbf, cut \xf0\x9f\x98"};
    static const char *const seen[] = {"\"quote \\\" and \\\\\"",
                                       "\"line\\nfeed\\ttab\\u0001\"",
                                       "\"caf\xc3\xa9\"",
                                       "\"? latin ?\"",
                                       "\"overlong ?? ??? ????\"",
                                       "\"surrogate ???, beyond ???? ????\"",
                                       "\"good \xef\xbf\xbd \xf0\x9f\x98\x80 \xed\x9f\xbf, cut ???\""};
    enum { NAMES = sizeof names / sizeof names[0] };
    vthread_t threads[NAMES];
    int fd;

    NEEDS_JSON();
    for (int i = 0; i < NAMES; i++)
        threads[i] = start_named(names[i], help_park_for_ever, NULL);
    fd = dump_json();
    for (int i = 0; i < NAMES; i++) {
        const char *answer = ask(fd, THREADS "threads | select(.tid == \"%s\") | .name | tojson", id_of(threads[i]));

        cr_expect_str_eq(answer, seen[i], "%s, not %s", answer, seen[i]);
    }
    close(fd);
    for (int i = 0; i < NAMES; i++) {
        vthread_interrupt(threads[i]);
        help_join(threads[i]);
    }
}

static char long_name[301];

static void *dump_in_scope(void *arg)
{
    vthread_scope_t *scope;

    (void)arg;
    CHECK(vthread_scope_open(&scope, &(vthread_scope_params_t){.name = long_name}) == 0);
    CHECK(vthread_dump(own_file, VTHREAD_DUMP_JSON) == 0);
    CHECK(vthread_scope_close(scope) == 0);
    return NULL;
}

/* A container's are cut, and may be so in the middle of a letter. */
Test(dump, long_names_of_containers)
{
    NEEDS_JSON();
    for (int i = 0; i < 300; i += 2)
        memcpy(long_name + i, "\xc3\xa9", 3);
    own_file = new_file();
    help_run(dump_in_scope, NULL);
    cr_expect_str_eq(
        ask(own_file, ".threadDump.threadContainers[1].name | [(.[0:63] | explode | unique), length, .[63:]]"),
        "[[233],64,\"?\"]");
    close(own_file);
}

Test(dump, names_forge_no_lines_of_text)
{
    vthread_t t = start_named("x\"\n\n\"fake\" #1 virtual\x1b[2J\\", help_park_for_ever, NULL);
    char *text = dump_text();

    cr_expect_not_null(strstr(text, "\n\"x\\\"\\x0a\\x0a\\\"fake\\\" #1 virtual\\x1b[2J\\\\\" #"), "%s", text);
    free(text);
    vthread_interrupt(t);
    help_join(t);
}

Test(dump, without_a_runtime)
{
    int fd = new_file();
    char *text;

    text = dump_text();
    cr_assert_not_null(strstr(text, "The runtime does not run."), "%s", text);
    free(text);
#ifdef VTHREAD_HAS_JSON
    cr_assert_eq(vthread_dump(fd, VTHREAD_DUMP_JSON), 0);
    cr_assert_str_eq(ask(fd, ".threadDump | [.runtime, .carriers, (.threadContainers | map(.threadCount))]"),
                     "[null,[],[0]]");
#endif
    close(fd);
    help_configure(1); /* which only works before it has been started */
    help_run(help_nothing, NULL);
    help_shutdown();
    text = dump_text();
    cr_assert_not_null(strstr(text, "The runtime does not run."), "%s", text);
    free(text);
}

Test(dump, text)
{
    vthread_t locker, t;
    char expected[256];
    char *text;

    cr_assert_eq(vthread_mutex_lock(&mutex), 0);
    locker = start_named("locker", lock_mutex, NULL);
    t = start_named("parker", park_deep, NULL);
    cr_assert(WAITS(locker) && WAITS(t));
    text = dump_text();
    snprintf(expected, sizeof expected,
             "\n\"locker\" #%s virtual BLOCKED (PARKED), waiting for mutex %p, which #%s owns\n", id_of(locker),
             (void *)&mutex, id_of(vthread_self()));
    cr_expect_not_null(strstr(text, expected), "%s in %s", expected, text);
#if defined(VTHREAD_HAS_SYMBOLS) && defined(VTHREAD_HAS_UNWIND)
    snprintf(expected, sizeof expected, " (observe_dump.c:%d)\n    at outer_function+", park_line);
    cr_expect_not_null(strstr(text, expected), "%s in %s", expected, text);
#endif
    cr_expect_not_null(strstr(text, "\nCarriers\n"));
    cr_expect_not_null(strstr(text, "\nRuntime: 2 virtual threads alive of 2 created; "), "%s", text);
    free(text);
    cr_assert_eq(vthread_mutex_unlock(&mutex), 0);
    help_join(locker);
    atomic_store(&stop, true);
    vthread_unpark(t);
    help_join(t);
}

/* ---- where it goes ---- */

static char path[64];

static const char *new_path(void)
{
    snprintf(path, sizeof path, "/tmp/vthread-dump-test-%d", (int)getpid());
    unlink(path);
    return path;
}

Test(dump, to_a_new_file_only)
{
    char *text;
    int fd;

    cr_assert_eq(vthread_dump_file(new_path(), VTHREAD_DUMP_TEXT), 0);
    fd = open(path, O_RDWR);
    cr_assert_geq(fd, 0);
    text = read_all(fd);
    cr_assert_eq(strncmp(text, "Thread dump of process ", 23), 0);
    free(text);
    cr_assert_eq(ftruncate(fd, 4), 0);
    cr_assert_eq(vthread_dump_file(path, VTHREAD_DUMP_TEXT), EEXIST);
    text = read_all(fd);
    cr_assert_str_eq(text, "Thre", "the one that is there stays");
    free(text);
    close(fd);
    unlink(path);
    cr_assert_eq(vthread_dump_file("/nonexistent/dump", VTHREAD_DUMP_TEXT), ENOENT);
    cr_assert_eq(vthread_dump_file(NULL, VTHREAD_DUMP_TEXT), EINVAL);
    cr_assert_eq(vthread_dump_file(path, (vthread_dump_format_t)7), EINVAL);
    cr_assert_neq(access(path, F_OK), 0, "nothing is made for what cannot be");
}

Test(dump, descriptors_that_cannot_be_written)
{
    sigset_t pending;
    int ends[2];
    int fd;

    cr_assert_eq(vthread_dump(-1, VTHREAD_DUMP_TEXT), EBADF);
    cr_assert_eq(vthread_dump(12345, VTHREAD_DUMP_TEXT), EBADF);
    cr_assert_eq(vthread_dump(1, (vthread_dump_format_t)7), EINVAL);
    fd = open("/dev/null", O_RDONLY);
    cr_assert_eq(vthread_dump(fd, VTHREAD_DUMP_TEXT), EBADF);
    close(fd);
    fd = open("/dev/full", O_WRONLY);
    cr_assert_eq(vthread_dump(fd, VTHREAD_DUMP_TEXT), ENOSPC);
    close(fd);
    cr_assert_eq(pipe(ends), 0);
    close(ends[0]);
    errno = 4711;
    cr_assert_eq(vthread_dump(ends[1], VTHREAD_DUMP_TEXT), EPIPE, "and no signal");
    cr_assert_eq(errno, 4711);
    close(ends[1]);
    cr_assert_eq(sigpending(&pending), 0);
    cr_assert_eq(sigismember(&pending, SIGPIPE), 0);
}

static void *read_slowly(void *arg)
{
    int fd = *(int *)arg;
    size_t total = 0;
    char buffer[512];
    ssize_t n;

    while ((n = read(fd, buffer, sizeof buffer)) > 0) {
        total += (size_t)n;
        usleep(100);
    }
    return (void *)total;
}

/* More than goes into it at once. */
Test(dump, to_a_pipe_that_does_not_block)
{
    vthread_t threads[600];
    pthread_t reader;
    void *total;
    int ends[2];

    for (int i = 0; i < 600; i++)
        threads[i] = help_start(help_park_for_ever, NULL);
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    cr_assert_eq(pthread_create(&reader, NULL, read_slowly, &ends[0]), 0);
    cr_assert_eq(vthread_dump(ends[1], VTHREAD_DUMP_TEXT), 0);
    close(ends[1]);
    pthread_join(reader, &total);
    cr_assert_gt((size_t)total, 16 * 1024);
    close(ends[0]);
    for (int i = 0; i < 600; i++) {
        vthread_interrupt(threads[i]);
        help_join(threads[i]);
    }
}

/* ---- threads that change while a dump is in the middle ---- */

static atomic_int at_end;

static void discard_slowly(void *value)
{
    (void)value;
    atomic_store(&at_end, 1);
    while (!atomic_load(&stop))
        vthread_sleep_ms(1);
}

static void *linger(void *arg)
{
    (void)arg;
    CHECK(vthread_setname(vthread_self(), "lingers") == 0);
    atomic_store(&ready, 1);
    while (atomic_load(&ready) < 3)
        vthread_sleep_ms(1);
    return &something;
}

static void *own_a_scope(void *arg)
{
    vthread_scope_t *scope;

    (void)arg;
    CHECK(vthread_scope_open(&scope, &(vthread_scope_params_t){.name = "slow", .discard = discard_slowly}) == 0);
    CHECK(vthread_scope_fork(scope, linger, NULL, NULL) == 0);
    while (atomic_load(&ready) < 2)
        vthread_sleep_ms(1);
    CHECK(vthread_scope_cancel(scope) == 0);
    atomic_store(&ready, 3);
    CHECK(vthread_scope_join(scope) == ECANCELED);
    CHECK(vthread_scope_close(scope) == 0);
    return NULL;
}

static int ends_of_dump[2];

static void *dump_into_pipe(void *arg)
{
    int error = vthread_dump(ends_of_dump[1], VTHREAD_DUMP_TEXT);

    (void)arg;
    close(ends_of_dump[1]);
    return (void *)(uintptr_t)error;
}

static bool is_full(int fd)
{
    return poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 0) == 0;
}

/* A subtask returns, and is not one any more; but its thread, which was there all the time, goes on to be. */
Test(dump, threads_that_leave_their_container)
{
    enum { CROWD = 1200 };
    static char text[4 << 20];
    vthread_t crowd[CROWD];
    pthread_t dumper;
    vthread_t owner;
    size_t length = 0;
    void *error;
    ssize_t n;

    for (int i = 0; i < CROWD; i++) /* more than the pipe takes, before the scope's turn comes */
        crowd[i] = help_start(help_park_for_ever, NULL);
    owner = help_start(own_a_scope, NULL);
    cr_assert(EVENTUALLY(atomic_load(&ready) == 1));
    cr_assert_eq(pipe(ends_of_dump), 0);
    cr_assert_eq(pthread_create(&dumper, NULL, dump_into_pipe, NULL), 0);
    cr_assert(EVENTUALLY(is_full(ends_of_dump[1])));
    atomic_store(&ready, 2);
    cr_assert(EVENTUALLY(atomic_load(&at_end) == 1));
    while ((n = read(ends_of_dump[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)n;
    pthread_join(dumper, &error);
    close(ends_of_dump[0]);
    cr_assert_null(error);
    cr_expect_not_null(strstr(text, "\"lingers\""));
    cr_expect_not_null(strstr(text, "\n1 threads in scope slow"));
    atomic_store(&stop, true);
    for (int i = 0; i < CROWD; i++)
        vthread_interrupt(crowd[i]);
    for (int i = 0; i < CROWD; i++)
        help_join(crowd[i]);
    help_join(owner);
}

static void dump_in_child_of_a_fork(void)
{
    int status = -1;
    pid_t pid;

    help_run(help_nothing, NULL);
    pid = fork();
    if (pid == 0)
        _exit(vthread_dump(STDERR_FILENO, VTHREAD_DUMP_TEXT) == ENOTSUP ? 0 : 1);
    if (waitpid(pid, &status, 0) != pid || status != 0)
        _exit(2);
}

Test(dump, in_the_child_of_a_fork)
{
    struct help_end end = help_child(dump_in_child_of_a_fork);

    cr_assert_eq(end.status, 0, "%d: %s", end.status, end.text);
    cr_assert_str_eq(end.text, "");
}

/* ---- by a signal ---- */

static int saved_stderr, ends_of_stderr[2];

static void catch_stderr(void)
{
    saved_stderr = dup(STDERR_FILENO);
    cr_assert_eq(pipe(ends_of_stderr), 0);
    dup2(ends_of_stderr[1], STDERR_FILENO);
}

static void restore_stderr(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(ends_of_stderr[0]);
    close(ends_of_stderr[1]);
}

static void expect_dump_on(int signal, const char *as)
{
    char text[16384] = "";
    size_t length = 0;
    vthread_t t;

    cr_assert_eq(setenv("VTHREAD_DUMP_SIGNAL", as, 1), 0);
    catch_stderr();
    t = start_named("seen by a signal", help_park_for_ever, NULL);
    cr_assert(REACHES(t, VTHREAD_PARKED));
    for (int round = 0; round < 2; round++) {
        text[length = 0] = '\0';
        cr_assert_eq(kill(getpid(), signal), 0);
        while (strstr(text, "bytes of records\n") == NULL) {
            ssize_t n = read(ends_of_stderr[0], text + length, sizeof text - 1 - length);

            cr_assert_gt(n, 0);
            text[length += (size_t)n] = '\0';
        }
        if (strstr(text, "\"seen by a signal\"") == NULL)
            length = 0;
        cr_expect_neq(length, 0, "the thread is in it");
    }
    restore_stderr();
    vthread_interrupt(t);
    help_join(t);
    help_shutdown();
}

Test(dump, by_a_signal)
{
    struct sigaction now;
    char text[16];

    expect_dump_on(SIGUSR2, "USR2");
    cr_assert_eq(sigaction(SIGUSR2, NULL, &now), 0);
    cr_assert_eq(now.sa_handler, SIG_DFL, "as it was before");
    expect_dump_on(SIGUSR1, "SIGUSR1");
    expect_dump_on(SIGRTMIN + 1, "RTMIN+1");
    snprintf(text, sizeof text, "%d", SIGUSR2);
    expect_dump_on(SIGUSR2, text);
}

static atomic_int own_signals;

static void own_handler(int number)
{
    (void)number;
    atomic_fetch_add(&own_signals, 1);
}

Test(dump, signals_that_are_no_good)
{
    static const char *const wrong[] = {"0",    "-1",      "999", "FOO",   "KILL",    "STOP",
                                        "SEGV", "SIGABRT", "9",   "USR1x", "RTMIN+99"};
    struct help_messages messages = {.count = 0};

    vthread_set_misuse_handler(help_keep_message, &messages);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        atomic_store(&messages.count, 0);
        cr_assert_eq(setenv("VTHREAD_DUMP_SIGNAL", wrong[i], 1), 0);
        help_run(help_nothing, NULL);
        cr_assert_eq(atomic_load(&messages.count), 1, "%s", wrong[i]);
        cr_assert_not_null(strstr(messages.last, "VTHREAD_DUMP_SIGNAL is ignored"), "%s", messages.last);
        help_shutdown();
    }
    cr_assert_eq(setenv("VTHREAD_DUMP_SIGNAL", "USR1", 1), 0);
    signal(SIGUSR1, own_handler);
    help_run(help_nothing, NULL);
    raise(SIGUSR1);
    cr_assert_eq(atomic_load(&own_signals), 1, "the program's handler stays");
    help_shutdown();
}

/* ---- while everything changes ---- */

static atomic_bool stop_churning;

static void *live(void *arg)
{
    vthread_scope_t *s;

    if ((uintptr_t)arg % 3 == 0 && vthread_scope_open(&s, &(vthread_scope_params_t){.name = "short"}) == 0) {
        vthread_scope_fork(s, help_nothing, NULL, NULL);
        vthread_scope_join(s);
        vthread_scope_close(s);
    }
    if ((uintptr_t)arg % 5 == 0)
        vthread_setname(vthread_self(), "renamed");
    vthread_park_until(vthread_after_ns((int64_t)((uintptr_t)arg % 7) * 20000));
    return NULL;
}

static void *churn(void *arg)
{
    uintptr_t n = (uintptr_t)arg;

    while (!atomic_load(&stop_churning)) {
        vthread_executor_t *ex;
        vthread_t t;

        CHECK(vthread_create(&t, NULL, live, (void *)n++) == 0);
        CHECK(vthread_join(t, NULL) == 0);
        CHECK(vthread_executor_new_per_task(&ex, NULL) == 0);
        for (int i = 0; i < 4; i++)
            CHECK(vthread_executor_submit(ex, live, (void *)n++, NULL) == 0);
        CHECK(vthread_executor_free(ex) == 0);
    }
    return NULL;
}

enum { CHURNERS = 8, WITNESSES = 20, DUMPS = 30 };

/* Each dump is JSON, has everybody once, and all who have been there all the time, with their lines. */
Test(dump, while_threads_come_and_go)
{
    vthread_t churners[CHURNERS];
    vthread_t witnesses[WITNESSES];

    NEEDS_JSON();
    for (int i = 0; i < WITNESSES; i++) {
        witnesses[i] = start_named("witness", park_deep, NULL);
        cr_assert(REACHES(witnesses[i], VTHREAD_PARKED));
    }
    for (int i = 0; i < CHURNERS; i++)
        churners[i] = help_start(churn, (void *)(uintptr_t)(1000 * i));
    for (int i = 0; i < DUMPS; i++) {
        int fd = dump_json();

        cr_assert_str_eq(ask(fd,
                             THREADS "[[threads.tid] | length == (unique | length)] + "
                                     "([threads | select(.name == \"witness\")] | [length, (map(.state) | unique)])"),
                         "[true,20,[\"WAITING\"]]", "%s", ask(fd, "."));
#if defined(VTHREAD_HAS_SYMBOLS) && defined(VTHREAD_HAS_UNWIND)
        cr_assert_str_eq(ask(fd,
                             THREADS "[threads | select(.name == \"witness\") | .stack | "
                                     "map(select(endswith(\"(observe_dump.c:%d)\"))) | length]",
                             park_line),
                         "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]");
#endif
        close(fd);
    }
    atomic_store(&stop_churning, true);
    for (int i = 0; i < CHURNERS; i++)
        help_join(churners[i]);
    atomic_store(&stop, true);
    for (int i = 0; i < WITNESSES; i++) {
        vthread_unpark(witnesses[i]);
        help_join(witnesses[i]);
    }
}

/* ---- at the end of everything ---- */

NOINLINE static void find_it_broken(void)
{
    panic("as a test");
}

/* To the pipe that help_child reads; its text has room for less. */
static void keep_short(void)
{
    vthread_runtime_params_t params = {.parallelism = 2, .stacks = 1, .sole_stacks = UINT_MAX};

    if (vthread_runtime_configure(&params) != 0)
        _exit(1);
}

static vthread_t wait_for_the_end(void)
{
    const vthread_attr_t locking = {.name = "lock\"er\n"}, spinning = {.name = "spinner"};
    vthread_t locker, spinner;

    keep_short();
    if (vthread_mutex_lock(&mutex) != 0 || vthread_create(&locker, &locking, lock_mutex, NULL) != 0)
        _exit(1);
    while (vthread_state(locker) != VTHREAD_PARKED)
        usleep(1000);
    if (vthread_create(&spinner, &spinning, help_spin, &stop) != 0)
        _exit(1);
    while (vthread_state(spinner) != VTHREAD_RUNNING)
        usleep(1000);
    return locker;
}

static void break_an_invariant(void)
{
    wait_for_the_end();
    find_it_broken();
}

static void expect_states(const struct help_end *end, const char *name)
{
    char expected[128];

    cr_assert(help_died_by(end, SIGABRT), "%d: %s", end->status, end->text);
    cr_assert_not_null(strstr(end->text, "vthread: broken invariant: as a test\n"), "%s", end->text);
    snprintf(expected, sizeof expected, " \"%s\" virtual PARKED, carrier ", name);
    cr_assert_not_null(strstr(end->text, expected), "%s", end->text);
    snprintf(expected, sizeof expected, ", waits for %p\n", (void *)&mutex);
    cr_assert_not_null(strstr(end->text, expected), "%s", end->text);
    cr_assert_not_null(strstr(end->text, " \"spinner\" virtual RUNNING, carrier "), "%s", end->text);
    cr_assert_not_null(strstr(end->text, "    1 that are parked, 2 others;"), "%s", end->text);
    cr_assert_not_null(strstr(end->text, "    carrier 0: state 0, "), "%s", end->text);
}

#if defined(VTHREAD_HAS_UNWIND) && defined(VTHREAD_HAS_SYMBOLS) && !BUILT_WITH_TSAN
static void expect_order(const char *text, const char *first, const char *second)
{
    const char *at = strstr(text, first);

    cr_assert(at != NULL && strstr(at, second) != NULL, "%s, then %s, in %s", first, second, text);
}
#endif

Test(dump, of_a_broken_invariant)
{
    struct help_end end = help_child(break_an_invariant);

    expect_states(&end, "lock?er?");
#if defined(VTHREAD_HAS_UNWIND) && defined(VTHREAD_HAS_SYMBOLS) && !BUILT_WITH_TSAN
    expect_order(end.text, "the stack on which that was found:\n        at dump_short+", "    at find_it_broken+");
    expect_order(end.text, "stacks of threads that wait:\n", "    at lock_mutex");
    cr_assert_null(strstr(end.text, "no more stacks can be told"), "%s", end.text);
#endif
}

static void *break_on_a_small_stack(void *arg)
{
    find_it_broken();
    return arg;
}

static void break_an_invariant_inside(void)
{
    const vthread_attr_t attr = {.name = "culprit", .stack = VTHREAD_STACK_DEDICATED, .stack_bytes = 16384};
    vthread_t culprit;

    wait_for_the_end();
    if (vthread_create(&culprit, &attr, break_on_a_small_stack, NULL) == 0)
        vthread_join(culprit, NULL);
}

/* On a stack that has not much room. */
Test(dump, of_an_invariant_that_is_broken_in_a_virtual_thread)
{
    struct help_end end = help_child(break_an_invariant_inside);

    cr_assert(help_died_by(&end, SIGABRT), "%d: %s", end.status, end.text);
    cr_assert_not_null(strstr(end.text, " \"culprit\" virtual RUNNING, carrier "), "%s", end.text);
#if defined(VTHREAD_HAS_UNWIND) && defined(VTHREAD_HAS_SYMBOLS) && !BUILT_WITH_TSAN
    expect_order(end.text, "    at find_it_broken+", "    at break_on_a_small_stack+");
    expect_order(end.text, "stacks of threads that wait:\n", "    at lock_mutex");
#endif
}

static void break_names(void)
{
    uint32_t generation;
    struct thread *t = thread_of(wait_for_the_end(), &generation);

    atomic_store_relaxed(&thread_cold(t)->extra, (struct thread_extra *)(uintptr_t)16);
    find_it_broken();
}

Test(dump, of_a_broken_invariant_with_names_that_are_gone)
{
    struct help_end end = help_child(break_names);

    expect_states(&end, "");
}

static void break_frames(void)
{
    uint32_t generation;
    struct thread *t = thread_of(wait_for_the_end(), &generation);
    t->cont.stack = UINT32_MAX / 64; /* far beyond the table */
    find_it_broken();
}

/* The second fault is that of a child; the first one ends the program. */
Test(dump, of_a_broken_invariant_with_stacks_that_are_broken_too)
{
    struct help_end end;

    if (help_on_valgrind())
        cr_skip_test("it reports what is done on purpose");
    end = help_child(break_frames);
    expect_states(&end, "lock?er?");
#if defined(VTHREAD_HAS_UNWIND) && !BUILT_WITH_TSAN
    cr_assert_not_null(strstr(end.text, "no more stacks can be told"), "%s", end.text);
#endif
}

static int never_return(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)info, (void)size;
    atomic_store((atomic_int *)arg, 1);
    while (pause() != 0)
        ;
    return 0;
}

static void *hold_the_loader(void *arg)
{
    dl_iterate_phdr(never_return, arg);
    return NULL;
}

static void break_while_a_lock_is_held(void)
{
    pthread_t thread;

    wait_for_the_end();
    dump_patience_ns = 300 * 1000 * 1000;
    if (pthread_create(&thread, NULL, hold_the_loader, &ready) != 0)
        _exit(1);
    while (atomic_load(&ready) == 0)
        usleep(1000);
    find_it_broken();
}

/* In the child it is held for ever. */
Test(dump, of_a_broken_invariant_while_a_lock_is_held)
{
    struct help_end end = help_child(break_while_a_lock_is_held);

    expect_states(&end, "lock?er?");
#if defined(VTHREAD_HAS_UNWIND) && !BUILT_WITH_TSAN
    cr_assert_not_null(strstr(end.text, "no more stacks can be told"), "%s", end.text);
#endif
}

static void panic_again(void)
{
    panic("once more");
}

static void break_twice(void)
{
    panic_report = panic_again;
    panic("as a test");
}

Test(dump, of_a_broken_dump)
{
    struct help_end end = help_child(break_twice);

    cr_assert(help_died_by(&end, SIGABRT), "%d", end.status);
    cr_assert_not_null(strstr(end.text, "once more"), "%s", end.text);
}
