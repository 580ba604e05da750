/* SPDX-License-Identifier: MIT */
/*
 * Samples, by metric in the order of their first appearance; printed and as JSON.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

struct bench_series {
    char metric[64];
    char unit[16];
    double *values;
    size_t count;
    struct bench_series *next;
};

static void *must(void *p)
{
    if (p == NULL) {
        perror("vthread-bench");
        exit(1);
    }
    return p;
}

void bench_series_add(struct bench_series **series, const char *metric, double value, const char *unit)
{
    struct bench_series *s;

    while (*series != NULL && strcmp((*series)->metric, metric) != 0)
        series = &(*series)->next;
    if (*series == NULL) {
        *series = must(calloc(1, sizeof **series));
        snprintf((*series)->metric, sizeof(*series)->metric, "%s", metric);
        snprintf((*series)->unit, sizeof(*series)->unit, "%s", unit);
    }
    s = *series;
    s->values = must(realloc(s->values, (s->count + 1) * sizeof *s->values));
    s->values[s->count++] = value;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

void bench_series_print(struct bench_series *series, const char *name, FILE *json, bool *json_comma)
{
    for (struct bench_series *s = series; s != NULL; s = s->next) {
        int digits = strcmp(s->unit, "x") == 0 ? 3 : 2; /* of a ratio the third counts */
        double median;

        qsort(s->values, s->count, sizeof *s->values, by_value);
        median = (s->values[(s->count - 1) / 2] + s->values[s->count / 2]) / 2;
        printf("%s %s.min %.*f %s\n", name, s->metric, digits, s->values[0], s->unit);
        printf("%s %s.median %.*f %s\n", name, s->metric, digits, median, s->unit);
        if (json == NULL)
            continue;
        fprintf(json,
                "%s    {\"name\": \"%s\", \"metric\": \"%s\", \"unit\": \"%s\", \"min\": %.9g, \"median\": %.9g, "
                "\"samples\": [",
                *json_comma ? ",\n" : "", name, s->metric, s->unit, s->values[0], median);
        for (size_t i = 0; i < s->count; i++)
            fprintf(json, "%s%.9g", i > 0 ? ", " : "", s->values[i]);
        fprintf(json, "]}");
        *json_comma = true;
    }
    fflush(stdout);
}

void bench_series_free(struct bench_series *series)
{
    while (series != NULL) {
        struct bench_series *next = series->next;

        free(series->values);
        free(series);
        series = next;
    }
}
