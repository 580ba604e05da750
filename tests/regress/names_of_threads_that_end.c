/* SPDX-License-Identifier: MIT */
/* Others read and changed the name of a thread while its end freed it. */
#include <pthread.h>

#include "regress.h"

static _Atomic uintptr_t shown;
static atomic_bool stop;

static void *end_at_once(void *arg)
{
    return arg;
}

static void *look(void *arg)
{
    char name[64];

    while (!atomic_load(&stop)) {
        vthread_t t = (vthread_t)atomic_load(&shown);

        if (t != NULL && vthread_name(t, name, sizeof name) == 0)
            EXPECT(strcmp(name, "first") == 0 || strcmp(name, "second") == 0);
        if (t != NULL)
            vthread_setname(t, "second");
    }
    return arg;
}

int main(void)
{
    pthread_t looker;

    regress_configure(2, 0);
    EXPECT(pthread_create(&looker, NULL, look, NULL) == 0);
    for (int i = 0; i < 20000; i++) {
        vthread_t t;

        EXPECT(vthread_new(&t, &(vthread_attr_t){.name = "first"}, end_at_once, NULL) == 0);
        atomic_store(&shown, (uintptr_t)t);
        EXPECT(vthread_start(t) == 0);
        EXPECT(vthread_join(t, NULL) == 0);
    }
    atomic_store(&stop, true);
    pthread_join(looker, NULL);
    return regress_end();
}
