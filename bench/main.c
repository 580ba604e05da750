/* SPDX-License-Identifier: MIT */
/*
 * vthread-bench: which rows, how often, and where the figures go.  See README.md.
 */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vthread/version.h>

#include "bench/bench.h"

static const struct bench *const all[] = {
    bench_switch,    bench_create_finish, bench_spawn, bench_yield,  bench_pingpong, bench_ring,     bench_parked,
    bench_sleepers,  bench_skynet,        bench_steal, bench_timers, bench_sync,     bench_executor, bench_dump,
#if BENCH_GC
    bench_collected,
#endif
#if BENCH_HTTP
    bench_http,
#endif
#if BENCH_NET
    bench_echo,
#endif
};

enum {
    TIMEOUT_S = 600,
    QUICK_TIMEOUT_S = 60,
    NAMES_MAX = 64,
};

struct options {
    const char *names[NAMES_MAX];
    bool used[NAMES_MAX];
    size_t name_count;
    unsigned carriers;
    uint64_t count;
    unsigned reps;
    const char *json;
    bool quick;
    bool list;
};

enum {
    OPTION_CARRIERS = 'c',
    OPTION_COUNT = 'n',
    OPTION_REPS = 'r',
    OPTION_JSON = 'j',
    OPTION_QUICK = 'q',
    OPTION_LIST = 'l'
};

static const struct argp_option option_table[] = {
    {.name = "carriers", .key = OPTION_CARRIERS, .arg = "N", .doc = "With N carriers, instead of what a row has"},
    {.name = "count", .key = OPTION_COUNT, .arg = "N", .doc = "So many threads, laps or operations: see --list"},
    {.name = "reps", .key = OPTION_REPS, .arg = "R", .doc = "Repetitions"},
    {.name = "json", .key = OPTION_JSON, .arg = "FILE", .doc = "Write every sample to FILE, too"},
    {.name = "quick", .key = OPTION_QUICK, .doc = "Small counts: shows that it works, measures nothing"},
    {.name = "list", .key = OPTION_LIST, .doc = "Say what there is, with counts, and end"},
    {0},
};

static uint64_t number(struct argp_state *state, const char *text, uint64_t max)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || *text == '-' || value == 0 || value > max)
        argp_error(state, "%s: not a number from 1 to %llu", text, (unsigned long long)max);
    return value;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case OPTION_CARRIERS:
        o->carriers = (unsigned)number(state, arg, 256);
        return 0;
    case OPTION_COUNT:
        o->count = number(state, arg, UINT32_MAX);
        return 0;
    case OPTION_REPS:
        o->reps = (unsigned)number(state, arg, 10000);
        return 0;
    case OPTION_JSON:
        o->json = arg;
        return 0;
    case OPTION_QUICK:
        o->quick = true;
        return 0;
    case OPTION_LIST:
        o->list = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->name_count == NAMES_MAX)
            argp_error(state, "too many names");
        o->names[o->name_count++] = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* "yield" selects yield and yield/10k, not yield_fair; "yield/w2" that row alone; no name: all. */
static bool is_selected(struct options *o, const char *name)
{
    bool selected = o->name_count == 0;

    for (size_t i = 0; i < o->name_count; i++) {
        size_t length = strlen(o->names[i]);

        if (strncmp(name, o->names[i], length) == 0 && (name[length] == '\0' || name[length] == '/'))
            selected = o->used[i] = true;
    }
    return selected;
}

static bool run_row(struct options *o, const struct bench *b, unsigned carriers, const char *name, FILE *json,
                    bool *json_comma)
{
    unsigned reps = o->reps != 0 ? o->reps : o->quick ? 1 : b->reps;
    struct bench_run run = {
        .carriers = carriers,
        .count = o->count != 0 ? o->count
                 : o->quick    ? b->quick
                               : b->count,
        .quick = o->quick,
        .warm = b->fresh || o->quick ? 0 : 1,
        .reps = b->fresh ? 1 : reps,
    };
    int64_t timeout_ns = (int64_t)(o->quick ? QUICK_TIMEOUT_S : TIMEOUT_S) * 1000000000;
    struct bench_series *series = NULL;
    bool ok = true;

    for (unsigned i = 0; i < (b->fresh ? reps : 1) && ok; i++)
        ok = bench_child(b, &run, name, &series, timeout_ns);
    bench_series_print(series, name, json, json_comma);
    bench_series_free(series);
    return ok;
}

/* One row with each number of carriers. */
static bool run_bench(struct options *o, const struct bench *b, FILE *json, bool *json_comma)
{
    bool without = b->carriers[0] == 0;
    bool ok = true;

    for (unsigned i = 0; i < BENCH_VARIANTS && (i == 0 || b->carriers[i] != 0); i++) {
        unsigned carriers = without ? 0 : o->carriers != 0 ? o->carriers : b->carriers[i];
        char name[64];

        if (carriers == 0)
            snprintf(name, sizeof name, "%s", b->name);
        else
            snprintf(name, sizeof name, "%s/w%u", b->name, carriers);
        if (!is_selected(o, name) && !is_selected(o, b->name))
            continue;
        if (o->list)
            printf("%-24s %10llu  %s\n", name, (unsigned long long)b->count, b->question);
        else
            ok = run_row(o, b, carriers, name, json, json_comma) && ok;
        if (o->carriers != 0)
            break;
    }
    return ok;
}

static FILE *json_open(const char *path)
{
    FILE *json = fopen(path, "w");

    if (json == NULL) {
        fprintf(stderr, "vthread-bench: %s: %s\n", path, strerror(errno));
        exit(2);
    }
    fprintf(json, "{\"version\": \"%d.%d.%d\", \"cpus\": %ld, \"rows\": [\n", VTHREAD_VERSION_MAJOR,
            VTHREAD_VERSION_MINOR, VTHREAD_VERSION_PATCH, sysconf(_SC_NPROCESSORS_ONLN));
    return json;
}

int main(int argc, char **argv)
{
    static struct options o;
    const struct argp argp = {
        .options = option_table,
        .parser = parse,
        .args_doc = "[NAME...]",
        .doc = "Measures the runtime: lines of `name metric value unit`, minimum and median of the repetitions.",
    };
    FILE *json = NULL;
    bool json_comma = false;
    bool ok = true;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (o.json != NULL)
        json = json_open(o.json);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (const struct bench *b = all[i]; b->name != NULL; b++)
            ok = run_bench(&o, b, json, &json_comma) && ok;
    if (json != NULL) {
        fprintf(json, "\n]}\n");
        ok = fclose(json) == 0 && ok;
    }
    for (size_t i = 0; i < o.name_count; i++)
        if (!o.used[i]) {
            fprintf(stderr, "vthread-bench: no such benchmark: %s\n", o.names[i]);
            ok = false;
        }
    return ok ? 0 : 1;
}
