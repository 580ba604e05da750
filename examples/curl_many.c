/* SPDX-License-Identifier: MIT */
/*
 * curl_many URL [THREADS [TIMES [CA]]]: many virtual threads fetch a page each, several times, through libcurl's
 * blocking interface as it is; with TLS, too.
 *
 *     $ ./curl_many https://localhost:8443/ 500 3 certificate.pem
 */
#include <curl/curl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <vthread/runtime.h>
#include <vthread/version.h>
#include <vthread/vthread.h>

#include "os_threads.h"

enum { THREADS = 500, TIMES = 3, SHUTDOWN_MS = 20000 };

static const char *url;
static const char *certificate;
static int times = TIMES;
static atomic_int right;
static atomic_int os_threads;
static atomic_bool complained;

static size_t count(char *data, size_t size, size_t n, void *user)
{
    (void)data;
    *(size_t *)user += size * n;
    return size * n;
}

static void *fetch(void *arg)
{
    CURL *curl = curl_easy_init();
    size_t bytes = 0;

    if (curl == NULL)
        return NULL;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, count);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &bytes);
    if (certificate != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, certificate);
    for (int i = 0; i < times; i++) {
        CURLcode error = curl_easy_perform(curl);
        long status = 0;

        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        if (error == CURLE_OK && status == 200)
            atomic_fetch_add(&right, 1);
        else if (!atomic_exchange(&complained, true))
            fprintf(stderr, "curl_many: %s (%ld)\n", curl_easy_strerror(error), status);
    }
    if (arg == NULL)
        atomic_store(&os_threads, count_os_threads());
    curl_easy_cleanup(curl);
    return NULL;
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : THREADS;
    vthread_t *all = calloc((size_t)threads, sizeof(vthread_t));
    vthread_runtime_stats_t stats;
    int started = 0;

    if (argc < 2 || all == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        fprintf(stderr, "usage: %s URL [THREADS [TIMES [CA]]]\n", argv[0]);
        return 2;
    }
    if (!vthread_has("posix")) {
        fprintf(stderr, "%s: libvthread-posix is not in effect\n", argv[0]);
        return 1;
    }
    url = argv[1];
    times = argc > 3 ? atoi(argv[3]) : TIMES;
    certificate = argc > 4 ? argv[4] : NULL;
    while (started < threads && vthread_create(&all[started], NULL, fetch, (void *)(intptr_t)started) == 0)
        started++;
    for (int i = 0; i < started; i++)
        vthread_join(all[i], NULL);
    vthread_runtime_stats(&stats);
    printf("%d of %d right, with %d OS threads and %u carriers\n", atomic_load(&right), threads * times,
           atomic_load(&os_threads), stats.parallelism);
    free(all);
    curl_global_cleanup();
    return atomic_load(&right) == threads * times && vthread_runtime_shutdown(vthread_after_ms(SHUTDOWN_MS)) == 0 ? 0
                                                                                                                  : 1;
}
