/* SPDX-License-Identifier: MIT */
/* What both crawlers share, and what has nothing to do with threads: pages seen, links in a page, heads of answers. */
#ifndef EXAMPLES_PORTED_CRAWL_H
#define EXAMPLES_PORTED_CRAWL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECTIONS = 8, PATH_BYTES = 64, HEAD_BYTES = 4096, SEEN = 4096 };

/* Paths seen so far, in the order of a hash.  Whoever uses it has a lock. */
static char seen[SEEN][PATH_BYTES];
static long seen_count;

/* True: it is new, and is now among them. */
static inline bool see(const char *path)
{
    uint32_t hash = 2166136261u;

    if (seen_count == SEEN - 1 || strlen(path) >= PATH_BYTES)
        return false;
    for (const char *p = path; *p != '\0'; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    for (uint32_t i = hash % SEEN;; i = (i + 1) % SEEN) {
        if (strcmp(seen[i], path) == 0)
            return false;
        if (seen[i][0] == '\0') {
            strcpy(seen[i], path);
            seen_count++;
            return true;
        }
    }
}

/* The next link of a page into path; NULL: no more, else where to go on. */
static inline const char *next_link(const char *page, char path[PATH_BYTES])
{
    static const char mark[] = "href=\"";
    const char *begin, *end;

    while ((begin = strstr(page, mark)) != NULL) {
        begin += sizeof mark - 1;
        end = strchr(begin, '"');
        if (end == NULL)
            return NULL;
        if (*begin == '/' && end - begin < PATH_BYTES) {
            memcpy(path, begin, (size_t)(end - begin));
            path[end - begin] = '\0';
            return end;
        }
        page = end;
    }
    return NULL;
}

/* How long the body is; -1: this is no answer to be read. */
static inline long body_length(const char *head)
{
    const char *field = strstr(head, "Content-Length: ");

    return strncmp(head, "HTTP/1.1 200 ", 13) == 0 && field != NULL ? strtol(field + 16, NULL, 10) : -1;
}

#endif
