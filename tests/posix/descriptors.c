/* SPDX-License-Identifier: MIT */
/* Descriptors that come and go, file locks, children, names. */
#include "posix_test.h"

#include <netdb.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

/* ---- every way to end a number while somebody waits for it ---- */

static void *read_until_closed(void *arg)
{
    char byte;

    FAILS(read((int)(intptr_t)arg, &byte, 1), ECANCELED);
    CHECK(!vthread_is_interrupted(vthread_self()));
    return NULL;
}

static void by_close(int fd, int other)
{
    (void)other;
    CHECK_EQ(close(fd), 0);
}

static void by_dup2(int fd, int other)
{
    CHECK_EQ(dup2(other, fd), fd);
    CHECK_EQ(close(fd), 0);
}

static void by_dup3(int fd, int other)
{
    CHECK_EQ(dup3(other, fd, O_CLOEXEC), fd);
    CHECK_EQ(close(fd), 0);
}

static void by_fclose(int fd, int other)
{
    (void)other;
    CHECK_EQ(fclose(fdopen(fd, "r")), 0);
}

static void by_close_range(int fd, int other)
{
    (void)other;
    CHECK_EQ(close_range((unsigned)fd, (unsigned)fd, 0), 0);
}

static void test_ends(void)
{
    void (*const ends[])(int, int) = {by_close, by_dup2, by_dup3, by_fclose, by_close_range};
    int fds[2];

    for (enum kind kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
            vthread_t t;

            make_pair(kind, fds);
            t = spawn(read_until_closed, fds[0]);
            await_parked(t);
            ends[i](fds[0], STDIN_FILENO);
            join(t);
            CHECK_EQ(close(fds[1]), 0);
        }
    FAILS(close(fds[1]), EBADF);
    FAILS(close(-1), EBADF);
    FAILS(dup2(fds[1], 7), EBADF);
}

static void *pclose_it(void *arg)
{
    CHECK_EQ(pclose(arg), 0);
    return NULL;
}

/* By pclose, of any thread.  The command ends when it gets a byte, which is after its reader has been told. */
static void test_pclose_ends(void)
{
    char command[64];
    int fds[2];
    pthread_t closer;
    vthread_t t;
    FILE *file;

    CHECK_EQ(pipe(fds), 0);
    snprintf(command, sizeof command, "head -c 1 <&%d >/dev/null", fds[0]);
    file = popen(command, "r");
    CHECK(file != NULL);
    t = spawn(read_until_closed, fileno(file));
    await_parked(t);
    CHECK_EQ(pthread_create(&closer, NULL, pclose_it, file), 0);
    join(t);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(pthread_join(closer, NULL), 0);
    plain_close_pair(fds);
}

static void *read_byte(void *arg)
{
    char byte;

    CHECK_EQ(read((int)(intptr_t)arg, &byte, 1), 1);
    return (void *)(intptr_t)byte;
}

static void *poll_pipe(void *arg)
{
    struct pollfd p = {.fd = (int)(intptr_t)arg, .events = POLLIN};

    CHECK_EQ(poll(&p, 1, -1), 1);
    return (void *)(intptr_t)p.revents;
}

/* What fails, or changes nothing for those who wait, does not disturb them. */
static void test_not_ends(void)
{
    int fds[2];
    vthread_t t;

    make_pair(STREAM, fds);
    t = spawn(read_byte, fds[0]);
    await_parked(t);
    FAILS(dup2(-1, fds[0]), EBADF);
    FAILS(dup3(-1, fds[0], O_CLOEXEC), EBADF);
    CHECK_EQ(dup2(fds[0], fds[0]), fds[0]);
    CHECK_EQ(write(fds[1], "n", 1), 1);
    CHECK_EQ(join(t), 'n');
    plain_close_pair(fds);
    make_pair(PIPE, fds);
    t = spawn(poll_pipe, fds[0]);
    await_parked(t);
    CHECK_EQ(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    CHECK_EQ(write(fds[1], "n", 1), 1);
    CHECK_EQ(join(t), POLLIN);
    plain_close_pair(fds);
}

/* Who waits for one side does not go on with the other side's number, if that is another file by now. */
static struct move {
    const char *name;
    ssize_t (*fn)(int in, int out);
} * move;

static int move_fds[2];

static ssize_t by_splice(int in, int out)
{
    return splice(in, NULL, out, NULL, 5, 0);
}

static ssize_t by_tee(int in, int out)
{
    return tee(in, out, 5, 0);
}

static ssize_t by_sendfile(int in, int out)
{
    return sendfile(out, in, NULL, 5);
}

static void *do_move(void *arg)
{
    FAILS(move->fn(move_fds[0], move_fds[1]), ECANCELED);
    return arg;
}

/* A file, for sendfile, or a pipe's end; with something in it. */
static int source_of(const char *text, int *ret_other)
{
    int fds[2];

    if (move->fn == by_sendfile) {
        fds[0] = memfd_create("source", 0);
        CHECK_EQ(pwrite(fds[0], text, strlen(text), 0), (ssize_t)strlen(text));
        fds[1] = -1;
    } else {
        make_pair(PIPE, fds);
        CHECK_EQ(write(fds[1], text, strlen(text)), (ssize_t)strlen(text));
    }
    *ret_other = fds[1];
    return fds[0];
}

static void test_moves_from_a_stranger(void)
{
    static struct move moves[] = {{"splice", by_splice}, {"tee", by_tee}, {"sendfile", by_sendfile}};
    char buffer[4096] = "";

    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++) {
        int sink[2];
        int others[2];
        int stranger;
        vthread_t t;

        move = &moves[i];
        make_pair(PIPE, sink);
        CHECK_EQ(fcntl(sink[1], F_SETFL, O_NONBLOCK), 0);
        while (write(sink[1], buffer, sizeof buffer) > 0)
            ;
        CHECK_EQ(fcntl(sink[1], F_SETFL, 0), 0);
        move_fds[0] = source_of("file", &others[0]);
        move_fds[1] = sink[1];
        t = spawn(do_move, 0);
        await_parked(t);
        stranger = source_of("stranger", &others[1]);
        CHECK_EQ(dup2(stranger, move_fds[0]), move_fds[0]);
        CHECK_EQ(read(sink[0], buffer, sizeof buffer), sizeof buffer);
        join(t);
        CHECK_EQ(read(stranger, buffer, sizeof buffer), 8);
        CHECK_EQ(memcmp(buffer, "stranger", 8), 0);
        plain_close_pair(sink);
        plain_close_pair((int[]){stranger, move_fds[0]});
        if (others[0] >= 0)
            plain_close_pair(others);
    }
}

/* The next file that gets the number is waited for like any other. */
static void test_reuse(void)
{
    int first = -1;

    for (int i = 0; i < 100; i++) {
        int fds[2];
        vthread_t t;

        make_pair((enum kind)(i % KINDS), fds);
        if (i == 0)
            first = fds[0];
        t = spawn(read_byte, fds[0]);
        if (i % 3 == 0)
            await_parked(t);
        CHECK_EQ(write(fds[1], "x", 1), 1);
        CHECK_EQ(join(t), 'x');
        plain_close_pair(fds);
    }
    FAILS(fcntl(first, F_GETFD), EBADF);
}

/* Who waits where no event tells looks again and again, and not at a stranger. */
static struct sockaddr_un crowd;

static void *send_to_crowd(void *arg)
{
    return (void *)outcome_of(sendto((int)(intptr_t)arg, "x", 1, 0, (struct sockaddr *)&crowd, sizeof crowd));
}

static void test_stranger(void)
{
    int receiver = socket(AF_UNIX, SOCK_DGRAM, 0);
    int sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    int others[2];
    vthread_t t;

    crowd = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(crowd.sun_path + 1, sizeof crowd.sun_path - 1, "vthread-posix-crowd-%d", (int)getpid());
    CHECK_EQ(bind(receiver, (struct sockaddr *)&crowd, sizeof crowd), 0);
    while (sendto(sender, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&crowd, sizeof crowd) == 1)
        ;
    make_pair(STREAM, others);
    t = spawn(send_to_crowd, sender); /* that its own buffer has room is no help */
    await_parked(t);
    CHECK_EQ(dup2(others[1], sender), sender);
    CHECK_EQ(join(t), -ECANCELED);
    CHECK_EQ(close(receiver), 0);
    CHECK_EQ(close(sender), 0);
    plain_close_pair(others);
}

/* A duplicate outlives the one that it was made of. */
static void test_duplicates(void)
{
    int fds[2];

    for (int how = 0; how < 3; how++) {
        vthread_t t;
        int copy;

        make_pair(STREAM, fds);
        copy = how == 0 ? dup(fds[0]) : fcntl(fds[0], how == 1 ? F_DUPFD : F_DUPFD_CLOEXEC, 50);
        CHECK(copy >= (how == 0 ? 0 : 50));
        t = spawn(read_byte, copy);
        await_parked(t);
        CHECK_EQ(close(fds[0]), 0);
        CHECK_EQ(write(fds[1], "y", 1), 1);
        CHECK_EQ(join(t), 'y');
        CHECK_EQ(close(copy), 0);
        CHECK_EQ(close(fds[1]), 0);
    }
}

/* A number that went without our seeing it, and comes back with a connection. */
static void *vthread_read_byte(void *arg)
{
    char byte;

    return (void *)vthread_read((int)(intptr_t)arg, &byte, 1);
}

static void test_unseen_end(void)
{
    struct sockaddr_in address;
    int listener = plain_listener(&address);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    int file = open("/proc/self/exe", O_RDONLY);
    vthread_t t;
    char byte;

    CHECK_EQ(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_EQ(vthread_read(file, &byte, 1), 1); /* known as what cannot be waited for */
    CHECK_EQ(syscall(SYS_close, file), 0);
    CHECK_EQ(accept(listener, NULL, NULL), file);
    t = spawn(vthread_read_byte, file);
    await_parked(t);
    CHECK_EQ(write(client, "x", 1), 1);
    CHECK_EQ(join(t), 1);
    CHECK_EQ(close(file), 0);
    CHECK_EQ(close(client), 0);
    CHECK_EQ(close(listener), 0);
}

/* Pipes whose O_NONBLOCK changes, and is noticed by net.h, too. */
static void test_flags(void)
{
    int fds[2];
    int on = 1;
    int off = 0;
    char byte;

    CHECK_EQ(pipe2(fds, O_NONBLOCK), 0);
    FAILS(read(fds[0], &byte, 1), EAGAIN);
    CHECK_EQ(vthread_read_until(fds[0], &byte, 1, VTHREAD_NOW), -ETIMEDOUT);
    CHECK_EQ(ioctl(fds[0], FIONBIO, &off), 0);
    CHECK_EQ(vthread_read_until(fds[0], &byte, 1, VTHREAD_NOW), -ETIMEDOUT);
    vthread_t t = spawn(read_byte, fds[0]);
    await_parked(t);
    CHECK_EQ(write(fds[1], "z", 1), 1);
    CHECK_EQ(join(t), 'z');
    CHECK_EQ(ioctl(fds[0], FIONBIO, &on), 0);
    FAILS(read(fds[0], &byte, 1), EAGAIN);
    CHECK_EQ(fcntl(fds[0], F_SETFL, 0), 0);
    t = spawn(read_byte, fds[0]);
    await_parked(t);
    CHECK_EQ(write(fds[1], "w", 1), 1);
    CHECK_EQ(join(t), 'w');
    plain_close_pair(fds);
}

/* ---- file locks ---- */

static char path[64];

static void *lock_file(void *arg)
{
    int fd = open(path, O_RDWR);
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    intptr_t result;

    CHECK(fd >= 0);
    result = outcome_of(arg == NULL ? flock(fd, LOCK_EX) : fcntl(fd, F_OFD_SETLKW, &all));
    CHECK_EQ(close(fd), 0);
    return (void *)result;
}

static void test_file_locks(void)
{
    int fd;

    snprintf(path, sizeof path, "/tmp/vthread-posix-lock-%d", (int)getpid());
    fd = open(path, O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0);
    for (int how = 0; how < 2; how++) {
        struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        vthread_t t;

        CHECK_EQ(how == 0 ? flock(fd, LOCK_EX) : fcntl(fd, F_OFD_SETLKW, &all), 0);
        t = spawn(lock_file, how);
        await_parked(t);
        all.l_type = F_UNLCK;
        CHECK_EQ(how == 0 ? flock(fd, LOCK_UN) : fcntl(fd, F_OFD_SETLK, &all), 0);
        CHECK_EQ(join(t), 0);
    }
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(unlink(path), 0);
}

/* ---- children ---- */

enum { WAITPID, WAIT4, WAITID, WAIT, WAITS };

static void *wait_for_child(void *arg)
{
    int how = (int)((intptr_t)arg & 7);
    pid_t child = (pid_t)((intptr_t)arg >> 3);
    siginfo_t info;
    int status = 0;

    switch (how) {
    case WAITPID:
        CHECK_EQ(waitpid(child, &status, 0), child);
        break;
    case WAIT4:
        CHECK_EQ(wait4(child, &status, 0, NULL), child);
        break;
    case WAITID:
        CHECK_EQ(waitid(P_PID, (id_t)child, &info, WEXITED), 0);
        CHECK_EQ(info.si_pid, child);
        return (void *)(intptr_t)info.si_status;
    default:
        CHECK_EQ(wait(&status), child);
        break;
    }
    CHECK(WIFEXITED(status));
    return (void *)(intptr_t)WEXITSTATUS(status);
}

/* A child that waits for a byte. */
static pid_t make_child(int ret_start[2])
{
    pid_t child;
    char byte;

    CHECK_EQ(pipe(ret_start), 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_EQ(close(ret_start[1]), 0);
        _exit(read(ret_start[0], &byte, 1) == 1 ? 7 : 8);
    }
    return child;
}

static void test_children(void)
{
    for (int how = 0; how < WAITS; how++) {
        int start[2];
        pid_t child = make_child(start);
        vthread_t t = spawn(wait_for_child, (intptr_t)child << 3 | how);

        await_parked(t);
        CHECK_EQ(write(start[1], "x", 1), 1);
        CHECK_EQ(join(t), 7);
        plain_close_pair(start);
    }
    FAILS(waitpid(-1, NULL, 0), ECHILD);
    CHECK_EQ(system("exit 3"), 3 << 8);
    FILE *output = popen("echo hello", "r");
    char text[16];
    CHECK(fgets(text, sizeof text, output) != NULL);
    CHECK_EQ(strcmp(text, "hello\n"), 0);
    CHECK_EQ(pclose(output), 0);
}

static void *wait_until_stopped(void *arg)
{
    siginfo_t info;

    CHECK_EQ(waitid(P_PID, (id_t)(intptr_t)arg, &info, WSTOPPED | WEXITED), 0);
    CHECK_EQ(info.si_pid, (intptr_t)arg);
    return (void *)(intptr_t)info.si_code;
}

/* waitid waits for what is not an end without its carrier, and not at all for a child that is not there. */
static void test_stopped(void)
{
    int start[2];
    pid_t child = make_child(start);
    vthread_t t = spawn(wait_until_stopped, child);

    await_parked(t);
    CHECK_EQ(kill(child, SIGSTOP), 0);
    CHECK_EQ(join(t), CLD_STOPPED);
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    FAILS(waitid(P_PID, (id_t)getpid(), &(siginfo_t){0}, WEXITED), ECHILD);
    plain_close_pair(start);
}

static void *wait_in_vain(void *arg)
{
    FAILS(waitpid((pid_t)(intptr_t)arg, NULL, 0), ECANCELED);
    CHECK(vthread_interrupted());
    return NULL;
}

static void test_interrupted_wait(void)
{
    int start[2];
    pid_t child = make_child(start);
    vthread_t t = spawn(wait_in_vain, child);

    await_parked(t);
    CHECK_EQ(vthread_interrupt(t), 0);
    join(t);
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    plain_close_pair(start);
}

/* ---- names ---- */

static void *look_up(void *arg)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char host[64];
    char service[16];
    struct in_addr address = {.s_addr = htonl(INADDR_LOOPBACK)};
    struct hostent entry;
    struct hostent *other;
    char buffer[1024];
    int h_error;

    CHECK_EQ(getaddrinfo("127.0.0.1", "80", &hints, &found), 0);
    CHECK_EQ(ntohs(((struct sockaddr_in *)(void *)found->ai_addr)->sin_port), 80);
    CHECK_EQ(getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof host, service, sizeof service,
                         NI_NUMERICHOST | NI_NUMERICSERV),
             0);
    CHECK_EQ(strcmp(host, "127.0.0.1"), 0);
    freeaddrinfo(found);
    CHECK_EQ(gethostbyname2_r("127.0.0.2", AF_INET, &entry, buffer, sizeof buffer, &other, &h_error), 0);
    CHECK(other == &entry);
    CHECK_EQ(((struct in_addr *)(void *)entry.h_addr_list[0])->s_addr, htonl(INADDR_LOOPBACK + 1));
    CHECK_EQ(gethostbyname_r("127.0.0.3", &entry, buffer, sizeof buffer, &other, &h_error), 0);
    CHECK_EQ(((struct in_addr *)(void *)entry.h_addr_list[0])->s_addr, htonl(INADDR_LOOPBACK + 2));
    CHECK_EQ(gethostbyaddr_r(&address, sizeof address, AF_INET, &entry, buffer, 1, &other, &h_error), ERANGE);
    hints.ai_flags = AI_NUMERICHOST;
    CHECK_EQ(getaddrinfo("no number", NULL, &hints, &found), EAI_NONAME);
    return arg;
}

static void test_names(void)
{
    vthread_t t[10];

    for (int i = 0; i < 10; i++)
        t[i] = spawn(look_up, 0);
    for (int i = 0; i < 10; i++)
        join(t[i]);
}

int main(void)
{
    static const struct test tests[] = {
        {"ends", test_ends, false},
        {"pclose ends", test_pclose_ends, false},
        {"not ends", test_not_ends, false},
        {"moves from a stranger", test_moves_from_a_stranger, false},
        {"reuse", test_reuse, false},
        {"stranger", test_stranger, false},
        {"duplicates", test_duplicates, false},
        {"unseen end", test_unseen_end, false},
        {"flags", test_flags, false},
        {"file locks", test_file_locks, false},
        {"children", test_children, false},
        {"stopped children", test_stopped, false},
        {"interrupted wait", test_interrupted_wait, false},
        {"names", test_names, false},
        {NULL, NULL, false},
    };

    CHECK(vthread_has("posix"));
    return run_tests(tests);
}
