/* SPDX-License-Identifier: MIT */
/*
 * check [NAME]: the hooks are in effect; or, with a NAME, that of the first function that somebody else has taken.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <vthread/posix.h>
#include <vthread/version.h>

int main(int argc, char **argv)
{
    const char *name = "none";
    int error = vthread_posix_check(&name);
    int wanted = argc > 1 ? ENOTSUP : 0;

    printf("%d, %s\n", error, name);
    return error == wanted && strcmp(name, argc > 1 ? argv[1] : "none") == 0 && vthread_has("posix") == (wanted == 0)
               ? 0
               : 1;
}
