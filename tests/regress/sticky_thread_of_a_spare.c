/* SPDX-License-Identifier: MIT */
/* A sticky thread that a spare carrier ran first went on elsewhere when the spare was no longer needed. */
#include "regress.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <vthread/runtime.h>

static atomic_bool is_home;
static atomic_bool go_on;

static void sleep_at(long home)
{
    for (int i = 0; i < 50; i++) {
        EXPECT(vthread_sleep_ms(1) == 0);
        EXPECT(home == syscall(SYS_gettid));
    }
}

static void *block(void *arg)
{
    long home = syscall(SYS_gettid);

    EXPECT(vthread_blocking_begin("until the spare has run the other") == 0);
    while (!atomic_load(&is_home))
        usleep(100);
    EXPECT(vthread_blocking_end() == 0);
    atomic_store(&go_on, true);
    sleep_at(home); /* there is one carrier too many now */
    return arg;
}

static void *stay(void *arg)
{
    long home = syscall(SYS_gettid);

    atomic_store(&is_home, true);
    while (!atomic_load(&go_on)) {
        vthread_yield();
        EXPECT(home == syscall(SYS_gettid));
    }
    sleep_at(home);
    return arg;
}

int main(void)
{
    vthread_attr_t sticky = {.sticky_carrier = true};
    vthread_t blocker, stayer;

    EXPECT(vthread_runtime_configure(&(vthread_runtime_params_t){.parallelism = 1}) == 0);
    EXPECT(vthread_create(&blocker, &sticky, block, NULL) == 0);
    EXPECT(vthread_create(&stayer, &sticky, stay, NULL) == 0);
    EXPECT(vthread_join(blocker, NULL) == 0);
    EXPECT(vthread_join(stayer, NULL) == 0);
    return 0;
}
