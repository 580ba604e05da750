/* SPDX-License-Identifier: MIT */
/* Did the hooks take effect? */
#include <dlfcn.h>
#include <errno.h>

#include <vthread/posix.h>

#include "posix/hook.h"

int vthread_posix_check(const char **ret_name)
{
    static const char *const names[] = {
#define NAME(name) #name,
        REAL_FUNCTIONS(NAME)
#undef NAME
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const void *first = dlsym(RTLD_DEFAULT, names[i]);

        if (own_is_runtime(first))
            continue;
        if (ret_name != NULL)
            *ret_name = names[i];
        return ENOTSUP;
    }
    return 0;
}

/* Asked by vthread_has("posix"), with an address of its own: it may be another copy of the runtime than ours. */
HOOK bool vthread_posix_in_effect(const void *asker);

bool vthread_posix_in_effect(const void *asker)
{
    return own_is_runtime(asker) && vthread_posix_check(NULL) == 0;
}
