/* SPDX-License-Identifier: MIT */
/* What carrier.c and pool.c share. */
#ifndef CARRIER_CARRIER_INTERNAL_H
#define CARRIER_CARRIER_INTERNAL_H

struct carrier;

/* The carrier has given up its place among the running: wait until it gets one again. */
void pool_sleep_dormant(struct carrier *c);

#endif
