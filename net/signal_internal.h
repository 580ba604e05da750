/* SPDX-License-Identifier: MIT */
#ifndef NET_SIGNAL_INTERNAL_H
#define NET_SIGNAL_INTERNAL_H

/* The runtime goes down: signals have their former effect again. */
void signal_fini(void);

#endif
