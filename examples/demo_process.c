/* SPDX-License-Identifier: MIT */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* ---- roles ---- */

/* The child's two ends become its standard input and output; ours close when it starts. */
static int spawn_with(pid_t *pid, char **argv, int input, int output)
{
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);

    if (error != 0)
        return error;
    error = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    if (error == 0)
        error = posix_spawn(pid, "/proc/self/exe", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

bool demo_spawn(struct demo_child *ret_child, const char **argv)
{
    int to[2] = {-1, -1};
    int from[2] = {-1, -1};
    int error = 0;

    argv[0] = "demo";
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        error = errno;
    if (error == 0)
        error = spawn_with(&ret_child->pid, (char **)(uintptr_t)argv, to[0], from[1]);
    close(to[0]);
    close(from[1]);
    if (error != 0) {
        fprintf(stderr, "demo: cannot start another process: %s\n", strerror(error));
        close(to[1]);
        close(from[0]);
        return false;
    }
    ret_child->to = fdopen(to[1], "w");
    ret_child->from = fdopen(from[0], "r");
    return ret_child->to != NULL && ret_child->from != NULL;
}

bool demo_reap(struct demo_child *child)
{
    int status;

    fclose(child->to);
    fclose(child->from);
    while (waitpid(child->pid, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    return status == 0;
}

/* ---- figures ---- */

int64_t demo_cpu_ns(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000000) +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * INT64_C(1000);
}

int64_t demo_rss_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long size, resident = 0;

    if (f == NULL)
        return 0;
    if (fscanf(f, "%ld %ld", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

long demo_raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur < 1000000 ? (long)limit.rlim_cur : 1000000;
}

/* ---- the terminal ---- */

bool demo_on_terminal(void)
{
    return isatty(STDOUT_FILENO) == 1;
}

void demo_progress(const char *format, ...)
{
    va_list arguments;

    if (demo_on_terminal())
        fputs("\r\033[K", stdout);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    if (!demo_on_terminal())
        putchar('\n');
    fflush(stdout);
}

void demo_progress_end(void)
{
    if (demo_on_terminal())
        fputs("\r\033[K", stdout);
}

const char *demo_number(double value)
{
    enum { BUFFERS = 8, SIZE = 40 };
    static char buffers[BUFFERS][SIZE];
    static unsigned next;
    char *text = buffers[next++ % BUFFERS];
    char digits[SIZE / 2];
    int length = snprintf(digits, sizeof digits, "%.0f", value);
    char *out = text;

    for (int i = 0; i < length && i < (int)sizeof digits - 1; i++) {
        if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-')
            *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return text;
}
