/* SPDX-License-Identifier: MIT */
/*
 * walk_vthread DIRECTORY: counts files, bytes and lines below it.  A virtual thread for each directory puts the
 * files it finds into a bounded queue, COUNTERS threads take them from there and put what they count into another.
 * walk_pthread.c is the same program with pthreads.
 *
 * Disks cannot be waited for like sockets, so opening and reading happens in blocking sections,
 * and at most OPEN_MAX_DIRECTORIES directories are open at a time.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vthread/queue.h>
#include <vthread/sync.h>

enum { COUNTERS = 4, QUEUED_PATHS = 64, QUEUED_COUNTS = 16, OPEN_MAX_DIRECTORIES = 32, BUFFER_BYTES = 65536 };

struct count {
    long files, bytes, lines;
};

static vthread_queue_t *paths;  /* char *, to be freed by whoever takes it */
static vthread_queue_t *counts; /* struct count, one for each file */
static vthread_sem_t open_directories = VTHREAD_SEM_INITIALIZER(OPEN_MAX_DIRECTORIES);
static vthread_mutex_t mutex = VTHREAD_MUTEX_INITIALIZER;
static vthread_cond_t walked = VTHREAD_COND_INITIALIZER;
static long walking, directories;

static void *walk(void *arg);

static void start_walk(char *path)
{
    vthread_mutex_lock(&mutex);
    walking++;
    directories++;
    vthread_mutex_unlock(&mutex);
    if (vthread_create(NULL, NULL, walk, path) != 0)
        walk(path); /* ourselves, then */
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
        start_walk(path);
    else if (!S_ISREG(s.st_mode) || vthread_queue_put(paths, &path) != 0)
        free(path);
}

/* Its names, sorted, in one blocking section.  Returns how many; -1: it cannot be read. */
static int list(const char *path, struct dirent ***names)
{
    int n;

    vthread_sem_acquire(&open_directories, 1);
    vthread_blocking_begin("scandir");
    n = scandir(path, names, NULL, alphasort);
    vthread_blocking_end();
    vthread_sem_release(&open_directories, 1);
    return n;
}

static void *walk(void *arg)
{
    char *path = arg;
    struct dirent **names;
    int n = list(path, &names);

    for (int i = 0; i < n; i++) {
        if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0)
            visit(join(path, names[i]->d_name));
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    free(path);
    vthread_mutex_lock(&mutex);
    if (--walking == 0)
        vthread_cond_signal(&walked);
    vthread_mutex_unlock(&mutex);
    return NULL;
}

static struct count count_file(const char *path, char *buffer)
{
    struct count count = {.files = 1};
    int fd;
    ssize_t n;

    vthread_blocking_begin("reading a file");
    fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (n = read(fd, buffer, BUFFER_BYTES)) > 0) {
        count.bytes += n;
        for (ssize_t i = 0; i < n; i++)
            count.lines += buffer[i] == '\n';
    }
    if (fd >= 0)
        close(fd);
    vthread_blocking_end();
    return count;
}

static void *count_files(void *arg)
{
    char *buffer = malloc(BUFFER_BYTES);
    char *path;

    while (buffer != NULL && vthread_queue_take(paths, &path) == 0) {
        struct count count = count_file(path, buffer);

        free(path);
        vthread_queue_put(counts, &count);
    }
    free(buffer);
    return arg;
}

/* Closes each queue when those who fill it are done. */
static void *supervise(void *arg)
{
    vthread_t counters[COUNTERS];

    for (int i = 0; i < COUNTERS; i++)
        if (vthread_create(&counters[i], NULL, count_files, NULL) != 0)
            abort();
    start_walk(arg);
    vthread_mutex_lock(&mutex);
    while (walking > 0)
        vthread_cond_wait(&walked, &mutex);
    vthread_mutex_unlock(&mutex);
    vthread_queue_close(paths);
    for (int i = 0; i < COUNTERS; i++)
        vthread_join(counters[i], NULL);
    vthread_queue_close(counts);
    return NULL;
}

int main(int argc, char **argv)
{
    struct count sum = {0}, count;
    vthread_t supervisor;

    if (vthread_queue_new(&paths, sizeof(char *), QUEUED_PATHS) != 0 ||
        vthread_queue_new(&counts, sizeof(struct count), QUEUED_COUNTS) != 0 ||
        vthread_create(&supervisor, NULL, supervise, strdup(argc == 2 ? argv[1] : ".")) != 0)
        return 1;
    while (vthread_queue_take(counts, &count) == 0) {
        sum.files += count.files;
        sum.bytes += count.bytes;
        sum.lines += count.lines;
    }
    vthread_join(supervisor, NULL);
    vthread_queue_free(paths);
    vthread_queue_free(counts);
    printf("%ld directories, %ld files, %ld bytes, %ld lines\n", directories, sum.files, sum.bytes, sum.lines);
    return 0;
}
