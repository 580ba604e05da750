/* SPDX-License-Identifier: MIT */
/*
 * The collector's life: it begins when it is needed and not before, knows whom it has to know, and
 * works with programs that use bdwgc by themselves.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "gc_help.h"

#define GC_THREADS
#define GC_NO_THREAD_REDIRECTS
#include <gc.h>

TestSuite(gc_life, .fini = help_fini);

static unsigned os_threads(const char *named)
{
    DIR *tasks = opendir("/proc/self/task");
    unsigned n = 0;

    for (struct dirent *d; (d = readdir(tasks)) != NULL;) {
        char path[300];
        char name[32] = "";
        FILE *f;

        snprintf(path, sizeof path, "/proc/self/task/%s/comm", d->d_name);
        f = d->d_name[0] != '.' ? fopen(path, "r") : NULL;
        if (f != NULL && fgets(name, sizeof name, f) != NULL)
            n += strncmp(name, named, strlen(named)) == 0;
        if (f != NULL)
            fclose(f);
    }
    closedir(tasks);
    return n;
}

static void *work(void *arg)
{
    vthread_yield();
    vthread_sleep_ms(1);
    return arg;
}

static bool is_default(int signal)
{
    struct sigaction action;

    return sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_DFL;
}

Test(gc_life, nothing_begins_without_an_allocation)
{
    help_run(work, NULL);
    vthread_gc_collect();
    cr_assert_not(GC_is_init_called());
    cr_assert_eq(GC_get_gc_no(), 0);
    cr_assert_eq(os_threads("vthread-gc"), 0);
    cr_assert(is_default(SIGPWR));
    cr_assert(is_default(SIGXCPU));
    cr_assert(vthread_has("gc"));
    cr_assert_eq(VTHREAD_HAS_GC, 1);
}

static void *allocate(void *arg)
{
    char *p = vthread_gc_alloc(100);

    CHECK(p != NULL);
    for (int i = 0; i < 100; i++)
        CHECK(p[i] == 0);
    p = vthread_gc_strdup("a string");
    CHECK(p != NULL && strcmp(p, "a string") == 0);
    CHECK(vthread_gc_alloc_atomic(1000) != NULL);
    return arg;
}

Test(gc_life, begins_on_a_virtual_thread)
{
    help_run(allocate, NULL);
    cr_assert_eq(os_threads("vthread-gc"), 1);
    cr_assert_not(is_default(SIGPWR));
    help_run(churn, NULL);
    cr_assert(GC_get_gc_no() > 0);
}

Test(gc_life, begins_on_a_platform_thread_without_the_runtime)
{
    struct object *o = object_new(1);

    churn(NULL);
    cr_assert(object_is_whole(o, 1));
    help_run(churn, NULL);
    cr_assert(object_is_whole(o, 1));
}

/* Many at once: one of them starts it, and all get theirs. */
Test(gc_life, begins_once)
{
    vthread_t t[32];

    help_configure(8);
    for (int i = 0; i < 32; i++)
        t[i] = help_start_with(&(vthread_attr_t){.kind = i % 4 == 0 ? VTHREAD_KIND_PLATFORM : VTHREAD_KIND_VIRTUAL},
                               allocate, NULL);
    for (int i = 0; i < 32; i++)
        help_join(t[i]);
    cr_assert_eq(os_threads("vthread-gc"), 1);
}

/* A carrier that computes, or blocks, when the collector begins must be known all the same. */
static atomic_int stage;
static struct object *_Atomic handed;

static void *take_from_memory(void *arg)
{
    struct object *o;

    atomic_fetch_add(&stage, 1);
    while ((o = atomic_load_explicit(&handed, memory_order_relaxed)) == NULL)
        ;
    atomic_store(&handed, NULL); /* from here on it is in a register, or this frame */
    while (atomic_load_explicit(&stage, memory_order_relaxed) < 3)
        __asm__ volatile("" : "+r"(o));
    CHECK(object_is_whole(o, 5));
    return arg;
}

static void *hand_out(void *arg)
{
    atomic_store(&handed, object_new(5));
    while (atomic_load(&handed) != NULL)
        vthread_yield();
    wipe();
    churn(NULL);
    atomic_store(&stage, 3);
    return arg;
}

Test(gc_life, carriers_that_compute_when_it_begins)
{
    vthread_t computes;

    help_configure(3);
    computes = help_start(take_from_memory, NULL);
    cr_assert(EVENTUALLY(atomic_load(&stage) == 1));
    help_run(hand_out, NULL);
    help_join(computes);
    cr_assert_eq(atomic_load(&finalized), 0);
}

/* Carriers come later, too: spare ones, and those of a second life of the runtime. */
static void *block(void *arg)
{
    struct object *o = object_new(1);

    vthread_blocking_begin("test");
    usleep(30000);
    vthread_blocking_end();
    CHECK(object_is_whole(o, 1));
    return arg;
}

Test(gc_life, carriers_that_come_later)
{
    for (int life = 0; life < 3; life++) {
        vthread_t t[16];

        for (int i = 0; i < 16; i++)
            t[i] = help_start(block, NULL);
        help_run(churn, NULL);
        for (int i = 0; i < 16; i++)
            help_join(t[i]);
        cr_assert_eq(vthread_runtime_shutdown(VTHREAD_FOREVER), 0);
    }
    churn(NULL);
}

/* ---- platform threads ---- */

static void *foreign(void *arg)
{
    struct object *o;

    if (vthread_gc_register_thread() != 0)
        return NULL;
    o = object_new(1);
    for (int i = 0; i < 4; i++)
        vthread_gc_collect();
    return object_is_whole(o, 1) ? arg : NULL;
}

Test(gc_life, platform_threads_come_and_go)
{
    for (int round = 0; round < 10; round++) {
        pthread_t t[8];
        void *result;

        for (int i = 0; i < 8; i++)
            cr_assert_eq(pthread_create(&t[i], NULL, foreign, &stage), 0);
        help_run(churn, NULL);
        for (int i = 0; i < 8; i++) {
            pthread_join(t[i], &result);
            cr_assert_not_null(result);
        }
    }
}

static vthread_key_t life_key;
static vthread_cont_scope_t life_scope = VTHREAD_CONT_SCOPE_INITIALIZER("life");

static void *waste_some(void *arg)
{
    for (int i = 0; i < 20000; i++)
        if (vthread_gc_alloc(16 + i % 300) == NULL)
            return NULL;
    return arg;
}

/* One that knows bdwgc itself is left as it is. */
static void *registers_itself(void *arg)
{
    struct GC_stack_base base;
    struct object *o;
    bool whole;

    GC_get_stack_base(&base);
    if (GC_register_my_thread(&base) != GC_SUCCESS || vthread_gc_register_thread() != 0)
        return NULL;
    o = object_new(1);
    vthread_gc_collect();
    whole = object_is_whole(o, 1);
    /* Still registered, and its to end. */
    return GC_unregister_my_thread() == GC_SUCCESS && whole ? arg : NULL;
}

Test(gc_life, platform_threads_that_register_themselves)
{
    pthread_t t;
    void *result;

    cr_assert_not_null(vthread_gc_alloc(1));
    cr_assert_eq(pthread_create(&t, NULL, registers_itself, &stage), 0);
    pthread_join(t, &result);
    cr_assert_not_null(result);
    churn(NULL);
}

/* It may end that, and begin again: what we know of it must not be what bdwgc knew of it before. */
static void *registers_itself_again(void *arg)
{
    struct GC_stack_base base;
    struct object *o;

    GC_get_stack_base(&base);
    for (int i = 0; i < 20; i++) {
        vthread_t wastes;

        if (GC_register_my_thread(&base) != GC_SUCCESS || vthread_gc_register_thread() != 0)
            return NULL;
        o = object_new(1);
        if (vthread_create(&wastes, NULL, churn, NULL) != 0 || vthread_join(wastes, NULL) != 0 ||
            !object_is_whole(o, 1) || vthread_create(&wastes, NULL, waste_some, NULL) != 0 ||
            GC_unregister_my_thread() != GC_SUCCESS)
            return NULL;
        usleep(1000); /* its place at bdwgc may be used for something else */
        if (GC_register_my_thread(&base) != GC_SUCCESS)
            return NULL;
        o = GC_MALLOC(sizeof *o);
        o->magic = MAGIC;
        usleep(1000);
        if (vthread_join(wastes, NULL) != 0 || o->magic != MAGIC || GC_unregister_my_thread() != GC_SUCCESS)
            return NULL;
    }
    /* With the next call it is one that others register. */
    o = object_new(2);
    if (!GC_thread_is_registered())
        return NULL;
    vthread_gc_collect();
    return object_is_whole(o, 2) ? arg : NULL;
}

Test(gc_life, platform_threads_that_register_themselves_again)
{
    pthread_t t;
    void *result;

    cr_assert_not_null(vthread_gc_alloc(1));
    cr_assert_eq(pthread_create(&t, NULL, registers_itself_again, &stage), 0);
    pthread_join(t, &result);
    cr_assert_not_null(result);
    churn(NULL);
}

/* The loader's lock is held by whoever looks at the list of libraries; exceptions do that. */
static int look_at_library(struct dl_phdr_info *info, size_t bytes, void *user)
{
    (void)info, (void)bytes, (void)user;
    for (int i = 0; i < 1000; i++)
        vthread_spin_hint();
    return atomic_load(&stage) != 0;
}

static void *look_at_libraries(void *arg)
{
    while (atomic_load(&stage) == 0) {
        dl_iterate_phdr(look_at_library, NULL);
        vthread_yield();
    }
    return arg;
}

static void *collect_often(void *arg)
{
    for (int i = 0; i < 200; i++)
        vthread_gc_collect();
    atomic_store(&stage, 1);
    return arg;
}

Test(gc_life, collections_while_the_list_of_libraries_is_locked)
{
    vthread_t looks[2];

    help_configure(3);
    help_run(allocate, NULL);
    for (int i = 0; i < 2; i++)
        looks[i] = help_start(look_at_libraries, NULL);
    help_run(collect_often, NULL);
    for (int i = 0; i < 2; i++)
        help_join(looks[i]);
}

/* The runtime is taken down and starts again under collections that another thread makes. */
static void *collect_until(void *arg)
{
    while (atomic_load(&stage) == 0) {
        vthread_gc_collect();
        free(malloc(100));
    }
    return arg;
}

static void *one_of_a_life(void *arg)
{
    struct object *o = object_new(2);
    vthread_cont_t *c;

    vthread_yield();
    CHECK(vthread_cont_new(&c, &life_scope, help_return, arg) == 0);
    CHECK(vthread_cont_run(c, NULL) == ENODATA);
    CHECK(vthread_cont_free(c) == 0);
    CHECK(object_is_whole(o, 2));
    return NULL;
}

Test(gc_life, lives_of_the_runtime_under_collections)
{
    pthread_t t;

    cr_assert_not_null(vthread_gc_alloc(1));
    cr_assert_eq(pthread_create(&t, NULL, collect_until, NULL), 0);
    for (int life = 0; life < 100 / HELP_SLOW; life++) {
        vthread_t threads[20];

        for (int i = 0; i < 20; i++)
            threads[i] = help_start_with(&(vthread_attr_t){.stack = i % 3 == 0 ? VTHREAD_STACK_DEDICATED : 0,
                                                           .stack_bytes = i % 3 == 0 ? 300 * 1024 : 0},
                                         one_of_a_life, NULL);
        for (int i = 0; i < 20; i++)
            help_join(threads[i]);
        help_shutdown();
    }
    atomic_store(&stage, 1);
    pthread_join(t, NULL);
}

Test(gc_life, programs_that_have_initialised_it)
{
    GC_INIT();
    GC_allow_register_threads();
    struct object *o = GC_MALLOC(sizeof *o);

    o->magic = MAGIC;
    help_run(allocate, NULL);
    help_run(churn, NULL);
    cr_assert_eq(o->magic, MAGIC);
    cr_assert(object_is_whole(object_new(3), 3));
}

Test(gc_life, programs_that_initialise_it_afterwards)
{
    struct object *o;

    help_run(allocate, NULL);
    GC_INIT();
    GC_allow_register_threads();
    o = GC_MALLOC(sizeof *o);
    o->magic = MAGIC;
    help_run(churn, NULL);
    cr_assert_eq(o->magic, MAGIC);
    cr_assert(object_is_whole(object_new(3), 3));
}

/* Threads that are made by bdwgc's pthread_create, which also ends their registration, before we are told. */
static void *made_by_bdwgc(void *arg)
{
    struct object *o = object_new(4);
    bool whole = vthread_sleep_ms(1) == 0 && vthread_setspecific(life_key, arg) == 0;

    churn(NULL);
    return whole && object_is_whole(o, 4) ? arg : NULL;
}

static void allocate_at_end(void *value)
{
    if (value == &stage && object_new(6) != NULL)
        atomic_fetch_add(&stage, 1);
}

Test(gc_life, platform_threads_that_bdwgc_makes)
{
    pthread_t t[8];
    void *result;

    cr_assert_eq(vthread_key_create(&life_key, allocate_at_end), 0);
    cr_assert_not_null(vthread_gc_alloc(1));
    for (int i = 0; i < 8; i++)
        cr_assert_eq(GC_pthread_create(&t[i], NULL, made_by_bdwgc, &stage), 0);
    help_run(churn, NULL);
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(GC_pthread_join(t[i], &result), 0);
        cr_assert_not_null(result);
    }
    cr_assert_eq(atomic_load(&stage), 8);
    churn(NULL);
}

static void **plugin_root;

static void *put_into_plugin(void *arg)
{
    plugin_root[1] = object_new(9);
    wipe();
    return arg;
}

Test(gc_life, libraries_that_are_loaded_later)
{
    void *plugin;

    help_run(allocate, NULL);
    help_run(churn, NULL);
    plugin = dlopen(GC_PLUGIN, RTLD_NOW);
    cr_assert_not_null(plugin, "%s", dlerror());
    plugin_root = dlsym(plugin, "gc_plugin_root");
    cr_assert_not_null(plugin_root);
    help_run(put_into_plugin, NULL);
    help_run(churn, NULL);
    cr_assert(object_is_whole(plugin_root[1], 9));
    cr_assert_eq(atomic_load(&finalized), 0);
    plugin_root[1] = NULL;
    cr_assert(EVENTUALLY((help_run(churn, NULL), wipe(), atomic_load(&finalized) == 1)));
}

/* ---- the rest of gc.h ---- */

static atomic_ulong finalizer_thread;

static void note_thread(void *object, void *user)
{
    (void)object;
    atomic_store(&finalizer_thread, (unsigned long)pthread_self());
    /* A platform thread like any other: it may wait. */
    if (vthread_sleep_ms(1) == 0 && !vthread_is_virtual(vthread_self()))
        atomic_fetch_add((atomic_uint *)user, 1);
}

static void *drop_many(void *arg)
{
    for (int i = 0; i < OBJECTS; i++)
        CHECK(vthread_gc_set_finalizer(vthread_gc_alloc(32), note_thread, arg) == 0);
    wipe();
    return NULL;
}

Test(gc_life, finalizers_have_a_thread_of_their_own)
{
    static atomic_uint done;

    help_run(drop_many, &done);
    cr_assert(EVENTUALLY((help_run(churn, NULL), atomic_load(&done) >= MOST)));
    cr_assert_neq(atomic_load(&finalizer_thread), (unsigned long)pthread_self());
}

Test(gc_life, finalizers_of_what_is_no_object)
{
    static int nothing;
    char *p = vthread_gc_alloc(64);

    cr_assert_eq(vthread_gc_set_finalizer(NULL, on_finalized, NULL), EINVAL);
    cr_assert_eq(vthread_gc_set_finalizer(&nothing, on_finalized, NULL), EINVAL);
    cr_assert_eq(vthread_gc_set_finalizer(p + 8, on_finalized, NULL), EINVAL);
    cr_assert_eq(vthread_gc_set_finalizer(p, on_finalized, NULL), 0);
    cr_assert_eq(vthread_gc_set_finalizer(p, NULL, NULL), 0);
}

static uintptr_t hidden_roots[OBJECTS];

static void *make_roots(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        struct object **root = vthread_gc_alloc_root(sizeof(void *));

        CHECK(root != NULL);
        *root = object_new(i);
        hidden_roots[i] = ~(uintptr_t)root;
    }
    wipe();
    return arg;
}

Test(gc_life, roots_by_hand)
{
    help_run(make_roots, NULL);
    help_run(churn, NULL);
    cr_assert_eq(atomic_load(&finalized), 0);
    for (unsigned i = 0; i < OBJECTS; i++) {
        struct object **root = (struct object **)~hidden_roots[i];

        cr_assert(object_is_whole(*root, i));
        vthread_gc_free(root);
    }
    vthread_gc_free(NULL);
    cr_assert(most_are_gone());
}

static void *drop_objects(void *arg)
{
    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK(object_new(i) != NULL);
    wipe();
    return arg;
}

Test(gc_life, garbage_is_collected)
{
    help_run(drop_objects, NULL);
    cr_assert(most_are_gone());
}

/* The heap does not grow with what was thrown away. */
static void *waste(void *arg)
{
    for (int i = 0; i < 200000; i++) {
        CHECK(vthread_gc_alloc(512) != NULL);
        if (i % 1000 == 0)
            vthread_yield();
    }
    return arg;
}

Test(gc_life, the_heap_stays_small)
{
    vthread_t t[4];

    help_configure(2);
    for (int i = 0; i < 4; i++)
        t[i] = help_start(waste, NULL);
    for (int i = 0; i < 4; i++)
        help_join(t[i]);
    cr_assert_lt(GC_get_heap_size(), 64u << 20); /* of 400 MiB */
}

Test(gc_life, it_can_be_told_not_to_collect)
{
    setenv("GC_DONT_GC", "1", 1);
    help_run(drop_objects, NULL);
    help_run(churn, NULL);
    cr_assert_eq(GC_get_gc_no(), 0);
    cr_assert_eq(atomic_load(&finalized), 0);
}

static atomic_uint complaints;

static void complain(const char *message, void *user)
{
    (void)message, (void)user;
    atomic_fetch_add(&complaints, 1);
}

Test(gc_life, incremental_collection_is_refused)
{
    setenv("GC_ENABLE_INCREMENTAL", "1", 1);
    vthread_set_misuse_handler(complain, NULL);
    cr_assert_null(vthread_gc_alloc(10));
    cr_assert_null(vthread_gc_alloc_root(10));
    cr_assert_eq(vthread_gc_register_thread(), ENOTSUP);
    cr_assert_eq(atomic_load(&complaints), 1);
    cr_assert_not(GC_is_init_called());
}

Test(gc_life, the_child_of_a_fork_has_none)
{
    int status;
    pid_t child;

    help_run(allocate, NULL);
    child = fork();
    if (child == 0)
        _exit(vthread_gc_alloc(10) == NULL ? 0 : 1);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
}

/* Also when the parent has never started the runtime. */
Test(gc_life, the_child_of_a_fork_without_the_runtime_has_none)
{
    int status;
    pid_t child;

    cr_assert_not_null(vthread_gc_alloc(10));
    child = fork();
    if (child == 0) {
        vthread_gc_collect();
        _exit(vthread_gc_alloc(10) == NULL && vthread_gc_register_thread() == ENOTSUP &&
                      vthread_find_leaks(NULL, 0) == -ENOTSUP
                  ? 0
                  : 1);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    cr_assert_not_null(vthread_gc_alloc(10));
}

/* Waits of the library go on over the signals. */
static void *sleep_a_little(void *arg)
{
    int64_t began_ns = vthread_now_ns();

    CHECK(vthread_sleep_ms(50) == 0);
    CHECK(vthread_now_ns() - began_ns >= 50000000);
    return arg;
}

static void *collect_a_lot(void *arg)
{
    for (int i = 0; i < 100; i++) {
        vthread_gc_collect();
        vthread_sleep_ms(1);
    }
    return arg;
}

Test(gc_life, waits_are_not_cut_short)
{
    vthread_t collects = (help_run(allocate, NULL), help_start(collect_a_lot, NULL));
    vthread_t sleeper = help_start(sleep_a_little, NULL);
    vthread_t platform = help_start_with(&(vthread_attr_t){.kind = VTHREAD_KIND_PLATFORM}, sleep_a_little, NULL);

    sleep_a_little(NULL);
    help_join(sleeper);
    help_join(platform);
    help_join(collects);
}
