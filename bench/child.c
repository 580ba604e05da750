/* SPDX-License-Identifier: MIT */
/*
 * One run of one row, in a process of its own.
 *
 * What comes through the pipe is one line for each sample, "metric value unit",
 * or "! why" from a run that failed.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vthread/runtime.h>
#include <vthread/vthread.h>

#include "bench/bench.h"

/* ---- in the child ---- */

static void *body(void *arg)
{
    const struct bench_run *run = arg;

    vthread_runtime_stats_t stats;

    run->bench->run(run);
    vthread_runtime_stats(&stats);
    if (stats.carriers > run->carriers) /* the monitor brought in spares: not what the row's name says */
        bench_sample(run, "carriers_in_the_end", stats.carriers, "carriers");
    return NULL;
}

static void run_on_runtime(const struct bench_run *run)
{
    vthread_runtime_params_t params = {
        .parallelism = run->carriers,
        .sole_stacks = run->bench->sole_stacks,
    };
    vthread_t main_thread;

    bench_check(run, vthread_runtime_configure(&params) == 0);
    bench_check(run, vthread_create(&main_thread, NULL, body, (void *)(uintptr_t)run) == 0);
    bench_check(run, vthread_join(main_thread, NULL) == 0);
    bench_check(run, vthread_runtime_shutdown(VTHREAD_FOREVER) == 0);
}

NORETURN static void child(const struct bench_run *run)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing goes on burning when the parent is interrupted */
    if (run->carriers > 0 && !run->bench->apart)
        run_on_runtime(run);
    else
        run->bench->run(run);
    exit(0); /* with LeakSanitizer's last look, where there is one */
}

/* ---- in the parent ---- */

static bool take_line(char *line, const char *name, struct bench_series **series)
{
    char metric[64];
    char unit[16];
    double value;

    if (sscanf(line, "%63s %lf %15s", metric, &value, unit) == 3 && metric[0] != '!') {
        bench_series_add(series, metric, value, unit);
        return true;
    }
    fprintf(stderr, "%s FAILED %s\n", name, line + strspn(line, "! "));
    return false;
}

/* Everything the child says until it ends; false: a failure, or out of time. */
static bool listen_to(int in, const char *name, struct bench_series **series, int64_t deadline_ns)
{
    char text[4096];
    size_t length = 0;
    bool ok = true;

    for (;;) {
        struct pollfd readable = {.fd = in, .events = POLLIN};
        int64_t left_ms = (deadline_ns - bench_wall_ns()) / 1000000;
        char *line = text;
        ssize_t n;

        if (left_ms <= 0) {
            fprintf(stderr, "%s FAILED out of time\n", name);
            return false;
        }
        if (poll(&readable, 1, left_ms > 60000 ? 60000 : (int)left_ms) <= 0)
            continue;
        n = read(in, text + length, sizeof text - 1 - length);
        if (n <= 0)
            return ok;
        length += (size_t)n;
        text[length] = '\0';
        for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            ok = take_line(line, name, series) && ok;
        }
        length = strlen(line);
        memmove(text, line, length + 1);
    }
}

bool bench_child(const struct bench *bench, const struct bench_run *run, const char *name, struct bench_series **series,
                 int64_t timeout_ns)
{
    struct bench_run mine = *run;
    int pipe_ends[2];
    int status;
    pid_t pid;
    bool ok;

    mine.bench = bench;
    fflush(NULL);
    if (pipe(pipe_ends) != 0 || (pid = fork()) < 0) {
        fprintf(stderr, "%s FAILED %s\n", name, strerror(errno));
        return false;
    }
    if (pid == 0) {
        close(pipe_ends[0]);
        mine.out = pipe_ends[1];
        child(&mine);
    }
    close(pipe_ends[1]);
    ok = listen_to(pipe_ends[0], name, series, bench_wall_ns() + timeout_ns);
    close(pipe_ends[0]);
    if (!ok)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (ok && status != 0)
        fprintf(stderr, "%s FAILED %s %d\n", name, WIFSIGNALED(status) ? "by signal" : "with status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return ok && status == 0;
}
