/* SPDX-License-Identifier: MIT */
/* Numbers that come and go. */
#ifndef POSIX_DESCRIPTOR_H
#define POSIX_DESCRIPTOR_H

/* A new number, or an error, as the libc returned it: what was known of it is about a file that is gone. */
int descriptor_born(int fd);

#endif
