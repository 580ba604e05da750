/* SPDX-License-Identifier: MIT */
/*
 * walk_pthread DIRECTORY: counts files, bytes and lines below it.  WALKERS threads share a stack of directories, and
 * put the files they find into a bounded queue, from where COUNTERS threads take them and add up what they count.
 * walk_vthread.c is the same program with virtual threads.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WALKERS = 4, COUNTERS = 4, QUEUED_PATHS = 64, BUFFER_BYTES = 65536 };

struct count {
    long files, bytes, lines;
};

struct directory {
    struct directory *next;
    char *path;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* for all of these */
static pthread_cond_t more_directories = PTHREAD_COND_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static pthread_cond_t emptied = PTHREAD_COND_INITIALIZER;
static struct directory *stack; /* not walked yet */
static long walking;            /* those and the ones being walked */
static char *paths[QUEUED_PATHS];
static size_t first, queued;
static bool closed;
static long directories;
static struct count sum;

static void put_directory(char *path)
{
    struct directory *d = malloc(sizeof *d);

    if (d == NULL)
        abort();
    d->path = path;
    pthread_mutex_lock(&mutex);
    d->next = stack;
    stack = d;
    walking++;
    directories++;
    pthread_cond_signal(&more_directories);
    pthread_mutex_unlock(&mutex);
}

/* NULL: there are no more, and will be none. */
static char *take_directory(void)
{
    struct directory *d;
    char *path = NULL;

    pthread_mutex_lock(&mutex);
    while (stack == NULL && walking > 0)
        pthread_cond_wait(&more_directories, &mutex);
    d = stack;
    if (d != NULL) {
        stack = d->next;
        path = d->path;
        free(d);
    }
    pthread_mutex_unlock(&mutex);
    return path;
}

static void directory_done(void)
{
    pthread_mutex_lock(&mutex);
    if (--walking == 0)
        pthread_cond_broadcast(&more_directories);
    pthread_mutex_unlock(&mutex);
}

static void put_path(char *path)
{
    pthread_mutex_lock(&mutex);
    while (queued == QUEUED_PATHS)
        pthread_cond_wait(&emptied, &mutex);
    paths[(first + queued++) % QUEUED_PATHS] = path;
    pthread_cond_signal(&filled);
    pthread_mutex_unlock(&mutex);
}

static char *take_path(void)
{
    char *path = NULL;

    pthread_mutex_lock(&mutex);
    while (queued == 0 && !closed)
        pthread_cond_wait(&filled, &mutex);
    if (queued > 0) {
        path = paths[first];
        first = (first + 1) % QUEUED_PATHS;
        queued--;
        pthread_cond_signal(&emptied);
    }
    pthread_mutex_unlock(&mutex);
    return path;
}

static char *join(const char *directory, const char *name)
{
    char *path = malloc(strlen(directory) + strlen(name) + 2);

    if (path == NULL)
        abort();
    sprintf(path, "%s/%s", directory, name);
    return path;
}

static void visit(char *path)
{
    struct stat s;

    if (lstat(path, &s) != 0)
        free(path);
    else if (S_ISDIR(s.st_mode))
        put_directory(path);
    else if (S_ISREG(s.st_mode))
        put_path(path);
    else
        free(path);
}

static void *walk(void *arg)
{
    char *path;

    while ((path = take_directory()) != NULL) {
        struct dirent **names;
        int n = scandir(path, &names, NULL, alphasort);

        for (int i = 0; i < n; i++) {
            if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0)
                visit(join(path, names[i]->d_name));
            free(names[i]);
        }
        if (n >= 0)
            free(names);
        free(path);
        directory_done();
    }
    return arg;
}

static struct count count_file(const char *path, char *buffer)
{
    struct count count = {.files = 1};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    while (fd >= 0 && (n = read(fd, buffer, BUFFER_BYTES)) > 0) {
        count.bytes += n;
        for (ssize_t i = 0; i < n; i++)
            count.lines += buffer[i] == '\n';
    }
    if (fd >= 0)
        close(fd);
    return count;
}

static void *count_files(void *arg)
{
    char *buffer = malloc(BUFFER_BYTES);
    char *path;

    while (buffer != NULL && (path = take_path()) != NULL) {
        struct count count = count_file(path, buffer);

        free(path);
        pthread_mutex_lock(&mutex);
        sum.files += count.files;
        sum.bytes += count.bytes;
        sum.lines += count.lines;
        pthread_mutex_unlock(&mutex);
    }
    free(buffer);
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t walkers[WALKERS], counters[COUNTERS];

    put_directory(strdup(argc == 2 ? argv[1] : "."));
    for (int i = 0; i < COUNTERS; i++)
        if (pthread_create(&counters[i], NULL, count_files, NULL) != 0)
            return 1;
    for (int i = 0; i < WALKERS; i++)
        if (pthread_create(&walkers[i], NULL, walk, NULL) != 0)
            return 1;
    for (int i = 0; i < WALKERS; i++)
        pthread_join(walkers[i], NULL);
    pthread_mutex_lock(&mutex);
    closed = true;
    pthread_cond_broadcast(&filled);
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < COUNTERS; i++)
        pthread_join(counters[i], NULL);
    printf("%ld directories, %ld files, %ld bytes, %ld lines\n", directories, sum.files, sum.bytes, sum.lines);
    return 0;
}
