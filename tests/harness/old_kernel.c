/* SPDX-License-Identifier: MIT */
/*
 *     old-kernel PROGRAM [ARGUMENT...]
 *
 * Runs the program as if the kernel had not got what the library can do without:
 * membarrier (4.14), epoll_pwait2 (5.11) and guard pages without a mapping
 * (MADV_GUARD_INSTALL, 6.13).  So the ways round them are tested wherever the tests run.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441 /* on every architecture */
#endif

enum { GUARD_INSTALL = 102, GUARD_REMOVE = 103, SKIPPED = 77 };

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF_EQUAL(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (then), (otherwise))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))

static struct sock_filter filter[] = {
    LOAD(arch),
    IF_EQUAL(ARCH, 0, 4),
    LOAD(nr),
    IF_EQUAL(SYS_membarrier, 3, 0),
    IF_EQUAL(SYS_epoll_pwait2, 2, 0),
    IF_EQUAL(SYS_madvise, 2, 0),
    RETURN(SECCOMP_RET_ALLOW),
    RETURN(SECCOMP_RET_ERRNO | ENOSYS),
    LOAD(args[2]), /* its low half: both are little-endian */
    IF_EQUAL(GUARD_INSTALL, 1, 0),
    IF_EQUAL(GUARD_REMOVE, 0, 1),
    RETURN(SECCOMP_RET_ERRNO | EINVAL),
    RETURN(SECCOMP_RET_ALLOW),
};

int main(int argc, char **argv)
{
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};

    if (argc < 2) {
        fprintf(stderr, "usage: old-kernel PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        printf("no filter of system calls: %s\n", strerror(errno));
        return SKIPPED;
    }
    execvp(argv[1], argv + 1);
    fprintf(stderr, "old-kernel: %s: %s\n", argv[1], strerror(errno));
    return 1;
}
