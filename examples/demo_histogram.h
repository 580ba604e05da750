/* SPDX-License-Identifier: MIT */
/*
 * Latencies: counts in buckets that are at most 1/128 of their value wide, so a percentile is exact to 0.8 %.
 * Any thread may add.
 */
#ifndef EXAMPLES_DEMO_HISTOGRAM_H
#define EXAMPLES_DEMO_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum {
    HISTOGRAM_BITS = 7, /* of precision */
    HISTOGRAM_BUCKETS = (64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS,
};

struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_BUCKETS];
};

/* Values below 2^7 have buckets of their own; of others the leading bit and the 7 that follow count. */
static inline unsigned histogram_bucket(uint64_t value)
{
    unsigned shift;

    if (value >> HISTOGRAM_BITS == 0)
        return (unsigned)value;
    shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_BITS;
    return ((shift + 1) << HISTOGRAM_BITS) + (unsigned)((value >> shift) & ((1u << HISTOGRAM_BITS) - 1));
}

/* The middle of a bucket. */
static inline uint64_t histogram_value(unsigned bucket)
{
    unsigned shift = bucket >> HISTOGRAM_BITS;
    uint64_t leading = 1u << HISTOGRAM_BITS;

    if (shift == 0)
        return bucket;
    shift--;
    return ((leading | (bucket & (leading - 1))) << shift) + ((uint64_t)1 << shift) / 2;
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    atomic_fetch_add_explicit(&h->counts[histogram_bucket(value)], 1, memory_order_relaxed);
}

static inline uint64_t histogram_total(const struct histogram *h)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
    return total;
}

/* The value that `fraction` of all do not exceed; 0 when there is none. */
static inline uint64_t histogram_percentile(const struct histogram *h, double fraction)
{
    uint64_t total = histogram_total(h);
    double wanted = fraction * (double)total;
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS && total > 0; i++) {
        seen += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        if (seen > 0 && (double)seen >= wanted)
            return histogram_value(i);
    }
    return 0;
}

#endif
