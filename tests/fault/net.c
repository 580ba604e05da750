/* SPDX-License-Identifier: MIT */
/* No memory, or no thread, for a call on a descriptor: it says so, and the descriptor works as before. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <vthread/net.h>
#include <vthread/os.h>

#include "fault.h"

static int fds[2];
static int file;
static char address[64];

static int error_of(ssize_t n)
{
    return n < 0 ? (int)-n : 0;
}

static int polls(void)
{
    struct pollfd p[2] = {{fds[1], POLLIN, 0}, {fds[0], POLLPRI, 0}};

    return error_of(vthread_poll_until(p, 2, vthread_after_ms(3)));
}

static int sets_deadline(void)
{
    return vthread_fd_set_deadline(fds[0], VTHREAD_FOREVER, VTHREAD_FOREVER);
}

static int sets_interrupt_closes(void)
{
    return vthread_fd_set_interrupt_closes(fds[0], true);
}

/* Whether it has received or not, the byte is there for check. */
static int receives_all(void)
{
    char c;
    ssize_t n = vthread_recv(fds[0], &c, 1, MSG_WAITALL);

    EXPECT(n == 1 || n == -ENOMEM);
    if (n == 1)
        EXPECT(vthread_write(fds[1], &c, 1) == 1);
    return error_of(n);
}

static int waits(void)
{
    char c;
    int error = error_of(vthread_read_until(fds[1], &c, 1, vthread_after_ms(3)));

    return error == ETIMEDOUT ? 0 : error;
}

static int copies_file(void)
{
    off_t offset = 0;
    char c;
    ssize_t n = vthread_sendfile(fds[0], file, &offset, 1);

    EXPECT(n == offset || n < 0);
    if (n == 1)
        EXPECT(vthread_read(fds[1], &c, 1) == 1);
    return error_of(n);
}

static int looks_up(void)
{
    struct addrinfo *list;
    int code = vthread_getaddrinfo("localhost", "80", NULL, &list);

    if (code == 0)
        freeaddrinfo(list);
    EXPECT(code == 0 || code == EAI_MEMORY || code == EAI_AGAIN);
    return code == 0 ? 0 : ENOMEM;
}

static int names_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char service[64]; /* for which a file is enough */
    int code = vthread_getnameinfo((struct sockaddr *)&a, sizeof a, NULL, 0, service, sizeof service, 0);

    EXPECT(code == 0 || code == EAI_MEMORY || code == EAI_AGAIN);
    return code == 0 ? 0 : ENOMEM;
}

/* ---- two that cannot make a thread, at once ---- */

static atomic_int creators;

/* Neither fails before both have tried: each counts on the other's. */
static bool fault_of_both(enum fault_site site)
{
    if (site != FAULT_THREAD || !fault_mine)
        return false;
    atomic_fetch_add(&creators, 1);
    while (atomic_load(&creators) < 2)
        usleep(200);
    return true;
}

static void *look_up_in_vain(void *arg)
{
    struct addrinfo *list;

    fault_mine = true;
    EXPECT(vthread_getaddrinfo_until("localhost", "80", NULL, &list, vthread_after_ms(60000)) == EAI_AGAIN);
    fault_mine = false;
    return arg;
}

static void lookups_fail_together(void)
{
    vthread_attr_t attr = {.kind = VTHREAD_KIND_PLATFORM};
    vthread_t t[2];

    while (fault_alive() > 0) /* a worker of the lookup before would do theirs, too */
        usleep(200);
    fault_mine = false;
    fault_set_hook(fault_of_both);
    for (int i = 0; i < 2; i++)
        EXPECT(vthread_create(&t[i], &attr, look_up_in_vain, NULL) == 0);
    for (int i = 0; i < 2; i++)
        EXPECT(vthread_join(t[i], NULL) == 0);
    fault_set_hook(NULL);
    EXPECT(atomic_load(&creators) == 2);
    printf("getaddrinfo: survived two failures at once\n");
}

static int dials(void)
{
    int fd = vthread_dial_tcp(address);

    if (fd >= 0)
        EXPECT(vthread_close(fd) == 0);
    return error_of(fd);
}

/* In fds[0] there is one byte, in fds[1] none. */
static void check(int error)
{
    char c;

    (void)error;
    EXPECT(vthread_read_until(fds[0], &c, 1, VTHREAD_NOW) == 1 && c == 'x');
    EXPECT(vthread_read_until(fds[0], &c, 1, VTHREAD_NOW) == -ETIMEDOUT);
    EXPECT(vthread_read_until(fds[1], &c, 1, VTHREAD_NOW) == -ETIMEDOUT);
    EXPECT(vthread_write(fds[1], "x", 1) == 1);
}

static void check_renewed(int error)
{
    check(error);
    EXPECT(vthread_fd_forget(fds[0]) == 0);
    EXPECT(vthread_fd_forget(fds[1]) == 0);
}

int main(void)
{
    char path[] = "/tmp/vthread-fault-XXXXXX";
    struct sockaddr_in a;
    socklen_t length = sizeof a;
    int listener;

    alarm(100);
    file = mkstemp(path);
    EXPECT(file >= 0 && write(file, "y", 1) == 1 && unlink(path) == 0);
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    EXPECT(write(fds[1], "x", 1) == 1);
    listener = vthread_listen_tcp("127.0.0.1:0", 0, 0);
    EXPECT(listener >= 0 && getsockname(listener, (struct sockaddr *)&a, &length) == 0);

    fault_each("poll", SITES_MEMORY, 1, true, polls, check_renewed);
    fault_each("deadline", SITES_MEMORY, 1, true, sets_deadline, check_renewed);
    fault_each("interrupt closes", SITES_MEMORY, 1, true, sets_interrupt_closes, check_renewed);
    fault_each("recv", SITES_MEMORY, 1, true, receives_all, check_renewed);
    fault_each("wait", SITES_MEMORY, 1, true, waits, check_renewed);
    fault_each("sendfile", SITES_MEMORY, 1, true, copies_file, check_renewed);
    fault_each("getaddrinfo", SITES_ALL, 1, true, looks_up, check);
    fault_each("getnameinfo", SITES_ALL, 1, true, names_port, check);
    lookups_fail_together();
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(a.sin_port));
    fault_each("dial", SITES_ALL, 1, true, dials, check);
    EXPECT(vthread_close(listener) == 0);
    EXPECT(vthread_close(fds[0]) == 0);
    EXPECT(vthread_close(fds[1]) == 0);
    fault_check_shutdown();
    return 0;
}
