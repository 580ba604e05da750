/* SPDX-License-Identifier: MIT */
/*
 * Runs the models of a test program and says what was found.
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/model/explorer/search.h"

enum { REACHED_MAX = 32, SITES_MAX = 256 };

const struct model *the_model;
const struct model_mutant *the_mutant;
struct model_bound bound;

static struct {
    bool deep;
    bool weaken_all; /* report which orders can be weakened unnoticed */
    bool verbose;
    const char *model;
    const char *replay;
    long random; /* executions; 0: exhaustive */
    uint64_t seed;
    double seconds; /* 0: no limit */
    int mutant;     /* only this one, from 1; 0: all */
    struct model_bound bound;
} options = {.seed = 1, .bound = {-1, -1, -1}};

static jmp_buf execution;
static char failure[512];
static const char *reached[REACHED_MAX];
static int reached_count;

/* Distinct operations that have an order, for --weaken-all. */
static struct {
    struct site site;
    enum model_order order;
} sites[SITES_MAX];
static int site_count;
static bool collecting;
static bool mutant_met;

/* ---- what models and actors call ---- */

int model_variant(void)
{
    return the_model->variant;
}

void execution_end(enum outcome outcome)
{
    self = NOBODY;
    _longjmp(execution, (int)outcome + 1);
}

void model_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(failure, sizeof failure, format, args);
    va_end(args);
    execution_end(FAILED);
}

void model_give_up(void)
{
    execution_end(CUT);
}

void model_reached(const char *what)
{
    for (int i = 0; i < reached_count; i++)
        if (strcmp(reached[i], what) == 0)
            return;
    if (reached_count < REACHED_MAX)
        reached[reached_count++] = what;
}

/* ---- mistakes ---- */

static bool same(const char *a, const char *b)
{
    return a == b || strcmp(a, b) == 0;
}

bool site_errs(const struct site *site, enum model_mistake mistake)
{
    const struct model_mutant *m = the_mutant;

    if (collecting && mistake == MODEL_WEAKEN)
        site_order(site, MODEL_SEQ_CST);
    if (m == NULL || m->mistake != mistake || !same(m->operation, site->operation) ||
        !same(m->function, site->function) ||
        (m->expression != NULL && strstr(site->expression, m->expression) == NULL && !same(m->expression, site->where)))
        return false;
    mutant_met = true;
    return true;
}

enum model_order site_order(const struct site *site, enum model_order order)
{
    if (collecting && order != MODEL_RELAXED) {
        int i = 0;

        while (i < site_count &&
               !(same(sites[i].site.where, site->where) && same(sites[i].site.operation, site->operation)))
            i++;
        if (i == site_count && site_count < SITES_MAX) {
            sites[site_count].site = *site;
            sites[site_count++].order = order;
        }
        return order;
    }
    return order != MODEL_RELAXED && site_errs(site, MODEL_WEAKEN) ? MODEL_RELAXED : order;
}

/* ---- one execution ---- */

static enum outcome run_once(void)
{
    int result = _setjmp(execution);

    if (result == 0) {
        trace_begin();
        search_execution_begin();
        memory_reset();
        weak_reset();
        race_reset();
        queues_reset();
        actors_reset();
        if (the_model->setup != NULL)
            the_model->setup();
        actors_run();
    }
    if (result - 1 == DONE && the_model->check != NULL) {
        result = _setjmp(execution);
        if (result == 0) {
            the_model->check();
            return DONE;
        }
    }
    return (enum outcome)(result - 1);
}

/* ---- one search ---- */

struct result {
    bool failed;
    bool complete;
    uint64_t done;
    uint64_t cut;
    double seconds;
};

static double now_seconds(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static struct result search(void)
{
    struct result r = {0};
    double begun = now_seconds();

    search_forget_shared();
    search_begin(options.random > 0 ? SEARCH_RANDOM : SEARCH_ALL, options.seed);
    for (;;) {
        enum outcome outcome = run_once();

        if (search_found_shared()) {
            search_begin(options.random > 0 ? SEARCH_RANDOM : SEARCH_ALL, options.seed);
            continue;
        }
        r.done += outcome == DONE;
        r.cut += outcome == CUT;
        r.failed = outcome == FAILED;
        if (r.failed)
            break;
        if (!search_advance()) {
            r.complete = true;
            break;
        }
        if (options.random > 0 && r.done + r.cut >= (uint64_t)options.random)
            break;
        if (options.seconds > 0 && (r.done + r.cut) % 1024 == 0 && now_seconds() - begun > options.seconds)
            break;
    }
    r.seconds = now_seconds() - begun;
    return r;
}

static void print_failure(const char *program, int mutant)
{
    char first[sizeof failure];

    memcpy(first, failure, sizeof failure);
    search_repeat();
    tracing = true;
    run_once();
    tracing = false;
    fprintf(stderr, "%s: FAILED: %s\n", the_model->name, first);
    if (strcmp(first, failure) != 0)
        fprintf(stderr, "  but repeated: %s\n", failure);
    fprintf(stderr, "  again: %s --model %s --preemptions %d --late %d --spurious %d", program, the_model->name,
            bound.preemptions, bound.late, bound.spurious);
    if (mutant > 0)
        fprintf(stderr, " --mutant %d", mutant);
    fprintf(stderr, " --replay ");
    search_print(stderr);
    fputc('\n', stderr);
}

static const char *mistake_name(enum model_mistake mistake)
{
    static const char *const names[] = {"unchanged", "weakened", "dropped", "split"};

    return names[mistake];
}

static void print_mutant(const struct model_mutant *m)
{
    printf("    %s%s%s in %s %s", m->operation, m->expression != NULL ? " of " : "",
           m->expression != NULL ? m->expression : "", m->function, mistake_name(m->mistake));
}

static bool run_mutants(const char *program)
{
    bool ok = true;
    int number = 0;

    for (const struct model_mutant *m = the_model->mutants; m != NULL && m->mistake != MODEL_NONE; m++) {
        struct result r;

        number++;
        if (options.mutant > 0 && options.mutant != number)
            continue;
        the_mutant = m;
        mutant_met = false;
        r = search();
        print_mutant(m);
        if (r.failed) {
            printf(": found after %llu executions: %s\n", (unsigned long long)(r.done + r.cut + 1), failure);
            if (options.verbose)
                print_failure(program, number);
        } else {
            printf(": %s in %llu executions\n", mutant_met ? "NOT FOUND" : "THERE IS NO SUCH OPERATION",
                   (unsigned long long)(r.done + r.cut));
            ok = false;
        }
        the_mutant = NULL;
    }
    return ok;
}

static void weaken_all(void)
{
    for (int i = 0; i < site_count; i++) {
        struct model_mutant m = {MODEL_WEAKEN, sites[i].site.function, sites[i].site.operation, sites[i].site.where};
        struct result r;

        the_mutant = &m;
        r = search();
        printf("    %-8s %-28s %-24s %s: %s\n", m.operation, sites[i].site.expression, m.function, m.expression,
               r.failed ? "needed" : "unnoticed");
        fflush(stdout);
        the_mutant = NULL;
    }
}

static bool all_reached(void)
{
    bool ok = true;

    for (const char *const *what = the_model->reaches; what != NULL && *what != NULL; what++) {
        int i = 0;

        while (i < reached_count && strcmp(reached[i], *what) != 0)
            i++;
        if (i == reached_count) {
            printf("%s: \"%s\" was never reached\n", the_model->name, *what);
            ok = false;
        }
    }
    return ok;
}

static void choose_bound(void)
{
    bound = the_model->quick;
    if (options.deep) {
        bound = the_model->deep;
        if (bound.preemptions + bound.late + bound.spurious == 0) {
            bound = the_model->quick;
            bound.preemptions++;
            bound.late++;
        }
    }
    if (options.bound.preemptions >= 0)
        bound.preemptions = options.bound.preemptions;
    if (options.bound.late >= 0)
        bound.late = options.bound.late;
    if (options.bound.spurious >= 0)
        bound.spurious = options.bound.spurious;
    if (bound.preemptions > 7 || bound.late > 7) {
        fprintf(stderr, "model: bounds go up to 7\n");
        exit(2);
    }
}

static bool replay(const char *program)
{
    enum outcome outcome;

    if (options.mutant > 0)
        the_mutant = &the_model->mutants[options.mutant - 1];
    if (!search_read(options.replay)) {
        fprintf(stderr, "%s: not a schedule: %s\n", program, options.replay);
        exit(2);
    }
    tracing = true;
    outcome = run_once();
    fprintf(stderr, "%s: %s\n", the_model->name, outcome == FAILED ? failure : outcome == DONE ? "holds" : "cut short");
    return outcome != FAILED;
}

static bool run_model(const char *program, const struct model *model)
{
    struct result r;
    bool ok;

    the_model = model;
    for (actor_count = 0; actor_count < MODEL_ACTORS_MAX && model->actors[actor_count].run != NULL; actor_count++)
        ;
    choose_bound();
    reached_count = 0;
    if (options.replay != NULL)
        return replay(program);
    if (options.mutant > 0)
        return run_mutants(program);
    site_count = 0;
    collecting = options.weaken_all;
    r = search();
    collecting = false;
    ok = model->fails == NULL ? !r.failed : r.failed && strstr(failure, model->fails) != NULL;
    if (model->known != NULL) {
        printf("%s: %s: %s\n", model->name, r.failed ? "known to fail" : "no longer fails; remove this note",
               model->known);
        if (r.failed && options.verbose)
            print_failure(program, 0);
        if (r.failed)
            return true;
    }
    if (r.failed && (!ok || options.verbose))
        print_failure(program, 0);
    printf("%s: %s%s: %llu executions, %llu cut short, %zu states; preemptions %d, late %d%s; %.2f s\n", model->name,
           ok ? "ok" : "NOT OK", model->fails != NULL ? r.failed ? ", fails as it must" : ", but must fail" : "",
           (unsigned long long)r.done, (unsigned long long)r.cut, search_states(), bound.preemptions, bound.late,
           r.complete || r.failed ? "" : " (incomplete)", r.seconds);
    if (!r.failed && !all_reached())
        ok = false;
    if (ok && options.weaken_all)
        weaken_all();
    else if (ok && !run_mutants(program))
        ok = false;
    fflush(stdout);
    return ok;
}

static void usage(const char *program)
{
    fprintf(stderr,
            "usage: %s [options]\n"
            "  --model NAME       only this one\n"
            "  --deep             larger bounds; also by VTHREAD_MODEL_DEEP=1\n"
            "  --preemptions N    --late N   --spurious N   bounds by hand\n"
            "  --random N         N random executions within them instead of all; --seed S\n"
            "  --seconds S        stop each search after so long\n"
            "  --mutant N         only the model's n-th mutant\n"
            "  --weaken-all       which memory orders can be weakened without being noticed\n"
            "  --no-merge         explore states seen before again: the result must be the same\n"
            "  --verbose          print the interleavings of expected failures too\n"
            "  --replay STRING    repeat a schedule that was printed\n"
            "  --list             names of the models\n",
            program);
    exit(2);
}

static void parse(int argc, char **argv, const struct model *models)
{
    const char *deep = getenv("VTHREAD_MODEL_DEEP");

    options.deep = deep != NULL && strcmp(deep, "0") != 0 && *deep != '\0';
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        const char *value;

        if (strcmp(name, "--deep") == 0) {
            options.deep = true;
            continue;
        }
        if (strcmp(name, "--weaken-all") == 0) {
            options.weaken_all = true;
            continue;
        }
        if (strcmp(name, "--no-merge") == 0) {
            search_merges = false;
            continue;
        }
        if (strcmp(name, "--verbose") == 0) {
            options.verbose = true;
            continue;
        }
        if (strcmp(name, "--list") == 0) {
            for (const struct model *m = models; m->name != NULL; m++)
                puts(m->name);
            exit(0);
        }
        if (++i == argc)
            usage(argv[0]);
        value = argv[i];
        if (strcmp(name, "--model") == 0)
            options.model = value;
        else if (strcmp(name, "--replay") == 0)
            options.replay = value;
        else if (strcmp(name, "--preemptions") == 0)
            options.bound.preemptions = atoi(value);
        else if (strcmp(name, "--late") == 0)
            options.bound.late = atoi(value);
        else if (strcmp(name, "--spurious") == 0)
            options.bound.spurious = atoi(value);
        else if (strcmp(name, "--random") == 0)
            options.random = atol(value);
        else if (strcmp(name, "--seed") == 0)
            options.seed = strtoull(value, NULL, 0);
        else if (strcmp(name, "--seconds") == 0)
            options.seconds = atof(value);
        else if (strcmp(name, "--mutant") == 0)
            options.mutant = atoi(value);
        else
            usage(argv[0]);
    }
}

int model_main(int argc, char **argv, const struct model *models)
{
    bool ok = true;
    bool any = false;

    setvbuf(stdout, NULL, _IOLBF, 0);
    parse(argc, argv, models);
    if (options.random > 0)
        printf("seed %llu\n", (unsigned long long)options.seed);
    for (const struct model *m = models; m->name != NULL; m++)
        if (options.model == NULL || strcmp(m->name, options.model) == 0) {
            any = true;
            ok = run_model(argv[0], m) && ok;
        }
    if (!any)
        usage(argv[0]);
    return ok ? 0 : 1;
}
