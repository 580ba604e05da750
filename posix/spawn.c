/* SPDX-License-Identifier: MIT */
/*
 * Programs that are started from a virtual thread.  They inherit no signal mask of a carrier (posix/mask.h); the C
 * library's popen and system take that of the calling thread, so another thread calls them.
 */
#include <errno.h>
#include <spawn.h>
#include <string.h>

#include "posix/apart.h"
#include "posix/mask.h"

struct command {
    char *text;
    char *mode;
    FILE *file;
    sigset_t mask;
    int result;
    int error;
};

static void call_with_mask(struct command *c, void (*call)(struct command *c))
{
    sigset_t before;

    REAL(pthread_sigmask)(SIG_SETMASK, &c->mask, &before);
    call(c);
    c->error = errno;
    REAL(pthread_sigmask)(SIG_SETMASK, &before, NULL);
}

static void call_system(struct command *c)
{
    c->result = REAL(system)(c->text);
}

static void *system_blocking(void *arg)
{
    call_with_mask(arg, call_system);
    return NULL;
}

HOOK int system(const char *text)
{
    struct command c = {.result = -1, .error = ENOMEM};

    if (!IS_VIRTUAL() || text == NULL)
        return REAL(system)(text);
    mask_of_child(&c.mask);
    c.text = strdup(text);
    if (c.text != NULL)
        apart_call_copy(system_blocking, &c, sizeof c);
    free(c.text);
    return c.result == -1 ? posix_fail(c.error) : c.result;
}

static void call_popen(struct command *c)
{
    c->file = REAL(popen)(c->text, c->mode);
}

static void *popen_blocking(void *arg)
{
    call_with_mask(arg, call_popen);
    return NULL;
}

HOOK FILE *popen(const char *text, const char *mode)
{
    struct command c = {.error = ENOMEM};

    if (!IS_VIRTUAL())
        return REAL(popen)(text, mode);
    mask_of_child(&c.mask);
    c.text = strdup(text);
    c.mode = strdup(mode);
    if (c.text != NULL && c.mode != NULL)
        apart_call_copy(popen_blocking, &c, sizeof c);
    free(c.text);
    free(c.mode);
    if (c.file == NULL)
        posix_fail(c.error);
    else
        vthread_fd_forget(fileno(c.file));
    return c.file;
}

static void *pclose_blocking(void *arg)
{
    struct command *c = arg;

    c->result = REAL(pclose)(c->file);
    c->error = errno;
    return NULL;
}

HOOK int pclose(FILE *file)
{
    struct command c = {.file = file};

    if (!own_is_library(__builtin_return_address(0)) && posix_is_our_process())
        vthread_fd_forget(fileno(file));
    if (!IS_VIRTUAL())
        return REAL(pclose)(file);
    apart_call_copy(pclose_blocking, &c, sizeof c);
    return c.result == -1 ? posix_fail(c.error) : c.result;
}

/* ---- posix_spawn: a mask that the caller has chosen stays ---- */

typedef int spawn_function(pid_t *restrict pid, const char *restrict path,
                           const posix_spawn_file_actions_t *restrict actions, const posix_spawnattr_t *restrict attr,
                           char *const argv[restrict], char *const environment[restrict]);

static int spawn(spawn_function *fn, pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attr, char *const argv[], char *const environment[])
{
    posix_spawnattr_t ours;
    sigset_t mask;
    short flags = 0;

    if (attr != NULL) {
        ours = *attr;
        posix_spawnattr_getflags(attr, &flags);
    } else {
        posix_spawnattr_init(&ours);
    }
    if (!(flags & POSIX_SPAWN_SETSIGMASK)) {
        mask_of_child(&mask);
        posix_spawnattr_setsigmask(&ours, &mask);
        posix_spawnattr_setflags(&ours, (short)(flags | POSIX_SPAWN_SETSIGMASK));
    }
    return fn(pid, path, actions, &ours, argv, environment);
}

HOOK int posix_spawn(pid_t *restrict pid, const char *restrict path, const posix_spawn_file_actions_t *restrict actions,
                     const posix_spawnattr_t *restrict attr, char *const argv[restrict],
                     char *const environment[restrict])
{
    return IS_VIRTUAL() ? spawn(REAL(posix_spawn), pid, path, actions, attr, argv, environment)
                        : REAL(posix_spawn)(pid, path, actions, attr, argv, environment);
}

HOOK int posix_spawnp(pid_t *restrict pid, const char *restrict file,
                      const posix_spawn_file_actions_t *restrict actions, const posix_spawnattr_t *restrict attr,
                      char *const argv[restrict], char *const environment[restrict])
{
    return IS_VIRTUAL() ? spawn(REAL(posix_spawnp), pid, file, actions, attr, argv, environment)
                        : REAL(posix_spawnp)(pid, file, actions, attr, argv, environment);
}
