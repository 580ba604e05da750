/* SPDX-License-Identifier: MIT */
/* What the files of this layer share. */
#ifndef CARRIER_CARRIER_INTERNAL_H
#define CARRIER_CARRIER_INTERNAL_H

#include <stdint.h>

struct carrier;

/* Give up the place among the running, if there are more than are entitled to one. */
bool carrier_retire(struct carrier *c);

/* Having retired: wait until there is a place again. */
void carrier_sleep_dormant(struct carrier *c);

#endif
