/* SPDX-License-Identifier: MIT */
/* Dumps for reading. */
#include <inttypes.h>
#include <string.h>

#include "observe/dump.h"

#define ID "#%" PRIu64

/* Names may have anything in them; lines and quotes of the dump are not to be forged, nor terminals be told things. */
static void put_name(struct dump *d, const char *name)
{
    for (; *name != '\0'; name++) {
        unsigned char c = (unsigned char)*name;

        if (c == '"' || c == '\\')
            sink_print(&d->sink, "\\%c", c);
        else if (c < ' ' || c == 0x7f)
            sink_print(&d->sink, "\\x%02x", c);
        else
            sink_put(&d->sink, name, 1);
    }
}

static int init(struct dump *d)
{
    (void)d;
    return 0;
}

static void begin(struct dump *d, const struct dump_head *head)
{
    struct tm tm;
    char time[40];

    gmtime_r(&head->time.tv_sec, &tm);
    strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%SZ", &tm);
    sink_print(&d->sink, "Thread dump of process %d, %s\n", head->process, time);
}

static void container_begin(struct dump *d, const struct container *c)
{
    sink_put(&d->sink, "\n", 1);
    put_name(d, c->text);
    if (c->kind != CONTAINER_ROOT) {
        sink_print(&d->sink, ", in ");
        put_name(d, d->containers[c->parent].text);
    }
    if (c->owner != NULL)
        sink_print(&d->sink, ", owned by " ID, vthread_id(c->owner));
    if (c->is_closed)
        sink_print(&d->sink, c->kind == CONTAINER_SCOPE ? ", cancelled" : ", shut down");
    if (c->kind == CONTAINER_EXECUTOR)
        sink_print(&d->sink, ", %" PRIu64 " tasks running, %" PRIu64 " queued", c->stats.running, c->stats.queued);
    sink_put(&d->sink, "\n", 1);
}

static void put_blocker(struct dump *d, const struct thread_view *v)
{
    if (v->blocker == BLOCKER_THREAD)
        sink_print(&d->sink, ", joining " ID, vthread_id(v->owner));
    else if (v->blocker == BLOCKER_DESCRIPTOR)
        sink_print(&d->sink, ", waiting for fd %d, %s", v->fd, v->use);
    else if (v->blocker != BLOCKER_NONE)
        sink_print(&d->sink, ", waiting for %s %p", dump_blocker_name(v->blocker), v->object);
    if (v->blocker != BLOCKER_THREAD && v->owner != NULL)
        sink_print(&d->sink, ", which " ID " owns", vthread_id(v->owner));
    if (v->remaining_ns >= 0)
        sink_print(&d->sink, ", for %" PRId64 " ms more", v->remaining_ns / 1000000);
}

static void thread(struct dump *d, const struct thread_view *v)
{
    sink_print(&d->sink, "\n\"");
    put_name(d, v->name);
    sink_print(&d->sink, "\" " ID " %s %s (%s)", vthread_id(v->id), v->is_virtual ? "virtual" : "platform",
               dump_state_name(v->public_state), vthread_state_name(v->state));
    if (v->carrier >= 0)
        sink_print(&d->sink, " on carrier %d", v->carrier);
    put_blocker(d, v);
    if (v->is_pinned) {
        sink_print(&d->sink, ", pinned: ");
        put_name(d, v->pin_reason != NULL ? v->pin_reason : "no reason given");
    }
    sink_put(&d->sink, "\n", 1);
    for (int i = 0; i < v->frames; i++)
        sink_print(&d->sink, "    at %s\n", dump_frame(d, v, i));
    if (v->is_cut)
        sink_print(&d->sink, "    ...\n");
    if (v->no_stack != NULL)
        sink_print(&d->sink, "    (%s)\n", v->no_stack);
}

static void container_end(struct dump *d, const struct container *c, uint64_t threads)
{
    sink_print(&d->sink, "\n%" PRIu64 " threads in ", threads);
    put_name(d, c->text);
    sink_put(&d->sink, "\n", 1);
}

static void carriers_begin(struct dump *d)
{
    sink_print(&d->sink, "\nCarriers\n");
}

static void put_timers(struct dump *d, uint64_t timers, int64_t next_ns)
{
    sink_print(&d->sink, ", %" PRIu64 " timers", timers);
    if (next_ns >= 0)
        sink_print(&d->sink, " (the next in %" PRId64 " ms)", next_ns / 1000000);
}

static void carrier(struct dump *d, const struct carrier_view *v)
{
    sink_print(&d->sink, "    %u (OS thread %d): %s, ", v->index, v->tid, v->state);
    if (v->thread != NULL)
        sink_print(&d->sink, "runs " ID, vthread_id(v->thread));
    else
        sink_print(&d->sink, "runs nothing");
    sink_print(&d->sink, ", %" PRIu64 " queued", v->queued);
    put_timers(d, v->timers, v->next_timer_ns);
    sink_put(&d->sink, "\n", 1);
}

static void end(struct dump *d, const struct pool_view *v)
{
    const vthread_runtime_stats_t *s = &v->stats;

    sink_print(&d->sink, "    %" PRIu64 " in the injection queue", v->injected);
    put_timers(d, v->timers, v->next_timer_ns);
    if (!v->has_poller)
        sink_print(&d->sink, ", no poller\n");
    else if (v->leader >= 0)
        sink_print(&d->sink, ", carrier %d waits in the poller\n", v->leader);
    else
        sink_print(&d->sink, ", nobody waits in the poller\n");
    if (!v->runs) {
        sink_print(&d->sink, "\nThe runtime does not run.\n");
        return;
    }
    sink_print(&d->sink,
               "\nRuntime: %" PRIu64 " virtual threads alive of %" PRIu64 " created; parallelism %u, %u carriers, %u "
               "running, %u idle; %" PRIu64 " queued\n",
               s->threads_alive, s->threads_created, s->parallelism, s->carriers, s->carriers_running, s->carriers_idle,
               s->queued);
    sink_print(&d->sink,
               "    %" PRIu64 " steals, %" PRIu64 " wakes, %" PRIu64 " hogs, %" PRIu64 " pinned parks, %" PRIu64
               " freezes\n    %u stacks, %" PRIu64 " bytes of chunks, %" PRIu64 " bytes of records\n",
               s->steals, s->wakes, s->hogs, s->pinned_parks, s->freezes, s->stacks, s->chunk_bytes, s->record_bytes);
}

static void fini(struct dump *d)
{
    (void)d;
}

const struct dump_form dump_as_text = {
    .init = init,
    .begin = begin,
    .container_begin = container_begin,
    .thread = thread,
    .container_end = container_end,
    .carriers_begin = carriers_begin,
    .carrier = carrier,
    .end = end,
    .fini = fini,
};
