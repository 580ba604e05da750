/* SPDX-License-Identifier: MIT */
/* A thread cannot be created: ENOMEM or EAGAIN, the handle untouched, nothing counted, and the next one can. */
#include "fault.h"

static const vthread_attr_t *attr;
static bool copies;
static bool starts_late;

static int create_one(void)
{
    vthread_t t = (vthread_t)1;
    int error;

    if (copies)
        error = vthread_create_copy(&t, attr, fault_return, "a copy", 7);
    else if (starts_late)
        error = vthread_new(&t, attr, fault_return, NULL);
    else
        error = vthread_create(&t, attr, fault_return, NULL);
    EXPECT(error == 0 || t == (vthread_t)1);
    if (error == 0 && starts_late) {
        error = vthread_start(t);
        if (error != 0) { /* it is NEW still */
            EXPECT(vthread_state(t) == VTHREAD_NEW);
            EXPECT(vthread_detach(t) == 0);
        }
    }
    if (error == 0)
        EXPECT(vthread_join(t, NULL) == 0);
    return error;
}

static void check(int error)
{
    (void)error;
    for (int i = 0; i < 1000 && fault_alive() > 0; i++)
        usleep(1000);
    EXPECT(fault_alive() == 0);
    fault_check_works();
}

static int try_start_twice(void)
{
    vthread_t t = NULL;
    int error = vthread_new(&t, attr, fault_return, NULL);

    if (error != 0)
        return error;
    error = vthread_start(t);
    if (error != 0)
        EXPECT(vthread_start(t) == 0);
    EXPECT(vthread_join(t, NULL) == 0);
    return 0;
}

static void run(const char *what, const vthread_attr_t *with)
{
    char text[100];

    attr = with;
    for (int i = 0; i < 3; i++) {
        copies = i == 1;
        starts_late = i == 2;
        snprintf(text, sizeof text, "%s%s", what, i == 1 ? ", with a copy" : i == 2 ? ", started later" : "");
        fault_each(text, SITES_ALL, 1, true, create_one, check);
    }
    copies = starts_late = false;
}

/* So many that the records in stock run out. */
static int create_many(void)
{
    static vthread_t threads[6000];
    int error = 0;
    int n;

    for (n = 0; n < 6000; n++) {
        int e = vthread_create(&threads[n], NULL, fault_return, NULL);

        if (e != 0) {
            error = e;
            n--;
        }
    }
    while (n-- > 0)
        EXPECT(vthread_join(threads[n], NULL) == 0);
    return error;
}

int main(void)
{
    uint64_t counter = 0;

    fault_each("many", SITES_ALL, 1, true, create_many, check);
    run("plain", NULL);
    run("named", &(vthread_attr_t){.name = "a name"});
    run("numbered", &(vthread_attr_t){.name_prefix = "n-", .name_counter = &counter});
    run("named by the id", &(vthread_attr_t){.name_prefix = "n-"});
    run("dedicated", &(vthread_attr_t){.stack = VTHREAD_STACK_DEDICATED});
    run("dedicated, with a size", &(vthread_attr_t){.stack = VTHREAD_STACK_DEDICATED, .stack_bytes = 1 << 20});
    run("platform", &(vthread_attr_t){.kind = VTHREAD_KIND_PLATFORM});
    run("platform, with a name and a size",
        &(vthread_attr_t){.kind = VTHREAD_KIND_PLATFORM, .name = "os", .stack_bytes = 1 << 20});
    attr = &(vthread_attr_t){.kind = VTHREAD_KIND_PLATFORM};
    fault_each("platform, started again", 1 << FAULT_THREAD, 1, true, try_start_twice, check);
    fault_check_shutdown();
    return 0;
}
