/* SPDX-License-Identifier: MIT */
/*
 * Dumps for programs: docs/thread-dump.md has the schema.
 *
 * By yajl's generator, which writes while it is told; the other JSON libraries of Debian build a tree first.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <vthread/version.h>
#include <yajl/yajl_gen.h>

#include "base/memory.h"
#include "base/panic.h"
#include "observe/dump.h"

/* The generator asks for memory once, without a look at what it gets: it gets some of ours. */
struct json {
    yajl_gen gen;
    size_t used;
    _Alignas(max_align_t) char memory[8 * 1024];
};

static struct json *json_of(struct dump *d)
{
    return d->form;
}

/* ---- memory ---- */

static void *take(void *context, size_t size)
{
    struct json *json = context;
    void *p = json->memory + json->used;

    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    ASSERT_ALWAYS(json->used + size <= sizeof json->memory);
    json->used += size;
    return p;
}

static void *retake(void *context, void *p, size_t size)
{
    (void)context, (void)p, (void)size;
    panic("the JSON generator wants memory that it did not want before"); /* it prints, and so buffers nothing */
}

static void leave_it(void *context, void *p)
{
    (void)context, (void)p;
}

static void print(void *context, const char *text, size_t length)
{
    sink_put(context, text, length);
}

static int init(struct dump *d)
{
    struct json *json = memory_alloc(sizeof *json);
    yajl_alloc_funcs allocators = {take, retake, leave_it, json};

    if (json == NULL)
        return ENOMEM;
    d->form = json;
    json->gen = yajl_gen_alloc(&allocators);
    yajl_gen_config(json->gen, yajl_gen_print_callback, print, &d->sink);
    return 0;
}

static void fini(struct dump *d)
{
    if (d->form != NULL)
        yajl_gen_free(json_of(d)->gen);
    memory_free(d->form);
}

/* ---- values ---- */

static const unsigned char *bytes_of(const char *text)
{
    return (const unsigned char *)text;
}

/* How many bytes of well-formed UTF-8 (RFC 3629) begin here; 0: none.  yajl's own check lets overlong forms, surrogates
 * and more than there is of Unicode pass. */
static size_t utf8_bytes(const unsigned char *s)
{
    size_t n = s[0] < 0x80                   ? 1
               : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
               : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
               : s[0] < 0xf5                 ? 4
                                             : 0;

    if (s[0] >= 0x80 && s[0] < 0xc2)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* Names may be in some other encoding, or cut in the middle of a letter. */
static void put_string(yajl_gen gen, const char *text)
{
    unsigned char clean[1024];
    const unsigned char *from = bytes_of(text);
    size_t length = 0;

    while (*from != '\0' && length + 4 <= sizeof clean) {
        size_t n = utf8_bytes(from);

        memcpy(clean + length, n > 0 ? from : bytes_of("?"), n > 0 ? n : 1);
        length += n > 0 ? n : 1;
        from += n > 0 ? n : 1;
    }
    yajl_gen_string(gen, clean, length);
}

static void put_key(yajl_gen gen, const char *key)
{
    yajl_gen_string(gen, bytes_of(key), strlen(key));
}

static void add_string(yajl_gen gen, const char *key, const char *text)
{
    put_key(gen, key);
    put_string(gen, text);
}

static void add_bool(yajl_gen gen, const char *key, bool value)
{
    put_key(gen, key);
    yajl_gen_bool(gen, value);
}

static void add_null(yajl_gen gen, const char *key)
{
    put_key(gen, key);
    yajl_gen_null(gen);
}

static void add_number(yajl_gen gen, const char *key, uint64_t value)
{
    put_key(gen, key);
    yajl_gen_integer(gen, (long long)value);
}

/* As text: some readers take numbers for doubles, which have not room for all of it. */
static void add_id(yajl_gen gen, const char *key, vthread_t thread)
{
    char text[32];

    if (thread == NULL) {
        add_null(gen, key);
        return;
    }
    snprintf(text, sizeof text, "%" PRIu64, vthread_id(thread));
    add_string(gen, key, text);
}

static void add_address(yajl_gen gen, const char *key, const void *address)
{
    char text[32];

    snprintf(text, sizeof text, "%p", address);
    add_string(gen, key, text);
}

/* ---- the form ---- */

static void begin(struct dump *d, const struct dump_head *head)
{
    yajl_gen gen = json_of(d)->gen;
    char text[64];
    struct tm tm;
    size_t n;

    gmtime_r(&head->time.tv_sec, &tm);
    n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof text - n, ".%06ldZ", head->time.tv_nsec / 1000);
    yajl_gen_map_open(gen);
    put_key(gen, "threadDump");
    yajl_gen_map_open(gen);
    add_number(gen, "formatVersion", 1);
    add_number(gen, "processId", (uint64_t)head->process);
    add_string(gen, "time", text);
    snprintf(text, sizeof text, "%d.%d.%d", VTHREAD_VERSION_MAJOR, VTHREAD_VERSION_MINOR, VTHREAD_VERSION_PATCH);
    add_string(gen, "runtimeVersion", text);
    put_key(gen, "threadContainers");
    yajl_gen_array_open(gen);
}

static void container_begin(struct dump *d, const struct container *c)
{
    static const char *const kinds[] = {"root", "executor", "scope"};
    yajl_gen gen = json_of(d)->gen;

    yajl_gen_map_open(gen);
    add_string(gen, "container", c->text);
    if (c->kind == CONTAINER_ROOT)
        add_null(gen, "parent");
    else
        add_string(gen, "parent", d->containers[c->parent].text);
    add_id(gen, "owner", c->owner);
    add_string(gen, "kind", kinds[c->kind]);
    if (c->kind != CONTAINER_ROOT) {
        add_string(gen, "name", c->name);
        add_bool(gen, c->kind == CONTAINER_SCOPE ? "cancelled" : "shutdown", c->is_closed);
    }
    if (c->kind == CONTAINER_EXECUTOR) {
        add_string(gen, "executor", c->has_workers ? "fixed" : "perTask");
        add_number(gen, "submitted", c->stats.submitted);
        add_number(gen, "completed", c->stats.completed);
        add_number(gen, "running", c->stats.running);
        add_number(gen, "queued", c->stats.queued);
    }
    put_key(gen, "threads");
    yajl_gen_array_open(gen);
}

static void add_blocker(yajl_gen gen, const struct thread_view *v)
{
    if (v->blocker == BLOCKER_NONE)
        return;
    put_key(gen, "parkBlocker");
    yajl_gen_map_open(gen);
    add_string(gen, "kind", dump_blocker_name(v->blocker));
    if (v->blocker == BLOCKER_THREAD) {
        add_id(gen, "thread", v->owner);
    } else if (v->blocker == BLOCKER_DESCRIPTOR) {
        add_number(gen, "fd", (uint64_t)v->fd);
        add_string(gen, "operation", v->use);
    } else {
        add_address(gen, "object", v->object);
        if (v->owner != NULL)
            add_id(gen, "owner", v->owner);
    }
    yajl_gen_map_close(gen);
}

static void thread(struct dump *d, const struct thread_view *v)
{
    yajl_gen gen = json_of(d)->gen;

    yajl_gen_map_open(gen);
    add_id(gen, "tid", v->id);
    add_string(gen, "name", v->name);
    add_bool(gen, "virtual", v->is_virtual);
    add_string(gen, "state", dump_state_name(v->public_state));
    add_string(gen, "internalState", vthread_state_name(v->state));
    if (v->carrier >= 0)
        add_number(gen, "carrier", (uint64_t)v->carrier);
    add_blocker(gen, v);
    if (v->remaining_ns >= 0)
        add_number(gen, "remainingNs", (uint64_t)v->remaining_ns);
    if (v->is_pinned)
        add_string(gen, "pinned", v->pin_reason != NULL ? v->pin_reason : "");
    put_key(gen, "stack");
    yajl_gen_array_open(gen);
    for (int i = 0; i < v->frames; i++)
        put_string(gen, dump_frame(d, v, i));
    yajl_gen_array_close(gen);
    if (v->is_cut)
        add_bool(gen, "stackIsCut", true);
    if (v->no_stack != NULL)
        add_string(gen, "noStack", v->no_stack);
    yajl_gen_map_close(gen);
}

static void container_end(struct dump *d, const struct container *c, uint64_t threads)
{
    yajl_gen gen = json_of(d)->gen;

    (void)c;
    yajl_gen_array_close(gen);
    add_number(gen, "threadCount", threads);
    yajl_gen_map_close(gen);
}

static void carriers_begin(struct dump *d)
{
    yajl_gen gen = json_of(d)->gen;

    yajl_gen_array_close(gen); /* of containers */
    put_key(gen, "carriers");
    yajl_gen_array_open(gen);
}

static void add_next_timer(yajl_gen gen, int64_t next_ns)
{
    if (next_ns >= 0)
        add_number(gen, "nextTimerNs", (uint64_t)next_ns);
    else
        add_null(gen, "nextTimerNs");
}

static void carrier(struct dump *d, const struct carrier_view *v)
{
    yajl_gen gen = json_of(d)->gen;

    yajl_gen_map_open(gen);
    add_number(gen, "carrier", v->index);
    add_number(gen, "osThread", (uint64_t)v->tid);
    add_string(gen, "state", v->state);
    add_id(gen, "thread", v->thread);
    add_number(gen, "queued", v->queued);
    add_number(gen, "timers", v->timers);
    add_next_timer(gen, v->next_timer_ns);
    add_number(gen, "tasksBegun", v->begun);
    yajl_gen_map_close(gen);
}

static void add_stats(yajl_gen gen, const vthread_runtime_stats_t *s)
{
    yajl_gen_map_open(gen);
    add_number(gen, "threadsAlive", s->threads_alive);
    add_number(gen, "threadsCreated", s->threads_created);
    add_number(gen, "parallelism", s->parallelism);
    add_number(gen, "carriers", s->carriers);
    add_number(gen, "carriersRunning", s->carriers_running);
    add_number(gen, "carriersIdle", s->carriers_idle);
    add_number(gen, "queued", s->queued);
    add_number(gen, "steals", s->steals);
    add_number(gen, "wakes", s->wakes);
    add_number(gen, "hogs", s->hogs);
    add_number(gen, "pinnedParks", s->pinned_parks);
    add_number(gen, "freezes", s->freezes);
    add_number(gen, "stacks", s->stacks);
    add_number(gen, "chunkBytes", s->chunk_bytes);
    add_number(gen, "recordBytes", s->record_bytes);
    yajl_gen_map_close(gen);
}

static void end(struct dump *d, const struct pool_view *v)
{
    yajl_gen gen = json_of(d)->gen;

    yajl_gen_array_close(gen);
    add_number(gen, "injectionQueue", v->injected);
    add_number(gen, "timers", v->timers);
    add_next_timer(gen, v->next_timer_ns);
    put_key(gen, "poller");
    if (v->has_poller) {
        yajl_gen_map_open(gen);
        if (v->leader >= 0)
            add_number(gen, "waits", (uint64_t)v->leader);
        else
            add_null(gen, "waits");
        yajl_gen_map_close(gen);
    } else {
        yajl_gen_null(gen);
    }
    put_key(gen, "runtime");
    if (v->runs)
        add_stats(gen, &v->stats);
    else
        yajl_gen_null(gen);
    yajl_gen_map_close(gen);
    yajl_gen_map_close(gen);
    sink_put(&d->sink, "\n", 1);
}

const struct dump_form dump_as_json = {
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
