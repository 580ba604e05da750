/* SPDX-License-Identifier: MIT */
/* Files and children. */
#include "net_test.h"

#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>

/* ---- files ---- */

static char path[64];
static char other_path[80];

static void test_files(void)
{
    struct stat st;
    char a[4] = {0};
    char b[4] = {0};
    struct iovec v[2] = {{a, 4}, {b, 4}};
    int fd;

    snprintf(path, sizeof path, "/tmp/vthread-test-os-%d", (int)getpid());
    snprintf(other_path, sizeof other_path, "%s-other", path);
    unlink(path);
    CHECK_EQ(vthread_open(path, O_RDWR, 0), -ENOENT);
    fd = vthread_open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(vthread_pwrite(fd, "0123456789", 10, 5), 10);
    CHECK_EQ(vthread_preadv(fd, v, 2, 7), 8);
    CHECK(memcmp(a, "2345", 4) == 0 && memcmp(b, "6789", 4) == 0);
    CHECK_EQ(vthread_pwritev(fd, v, 2, 0), 8);
    CHECK_EQ(vthread_pread(fd, a, 4, 1), 4);
    CHECK(memcmp(a, "3456", 4) == 0);
    CHECK_EQ(vthread_pread(fd, a, 4, 100), 0);
    CHECK_EQ(vthread_pread(fd, a, 4, -1), -EINVAL);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 0); /* the position is as it was */
    CHECK_EQ(vthread_fsync(fd), 0);
    CHECK_EQ(vthread_fdatasync(fd), 0);
    CHECK_EQ(vthread_stat(path, &st), 0);
    CHECK_EQ(st.st_size, 15);
    CHECK_EQ(st.st_mode & 0777, 0600);
    CHECK_EQ(vthread_rename(path, other_path), 0);
    CHECK_EQ(vthread_stat(path, &st), ENOENT);
    CHECK_EQ(vthread_rename(path, other_path), ENOENT);
    CHECK_EQ(vthread_openat(fd, "x", O_RDONLY, 0), -ENOTDIR);
    CHECK_EQ(vthread_unlink(other_path), 0);
    CHECK_EQ(vthread_unlink(other_path), ENOENT);
    CHECK_EQ(vthread_close(fd), 0);
    CHECK_EQ(vthread_pread(fd, a, 4, 0), -EBADF);
    CHECK_EQ(vthread_pwrite(fd, a, 4, 0), -EBADF);
    CHECK_EQ(vthread_fsync(fd), EBADF);
    fd = vthread_open("/tmp", O_RDONLY | O_DIRECTORY, 0);
    int file = vthread_openat(fd, path + 5, O_RDWR | O_CREAT, 0600);

    CHECK(fd >= 0 && file >= 0);
    CHECK_EQ(vthread_unlink(path), 0);
    close_pair((int[]){fd, file});
}

static void *open_to_write(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)vthread_open(path, O_WRONLY, 0);
}

/* Opening a FIFO blocks until somebody opens its other end: it takes a carrier, but not the last one. */
static void test_blocking_open(void)
{
    snprintf(path, sizeof path, "/tmp/vthread-test-fifo-%d", (int)getpid());
    unlink(path);
    CHECK_EQ(mkfifo(path, 0600), 0);
    for (int i = 0; i < 3; i++) {
        vthread_attr_t attr = {.stack = VTHREAD_STACK_DEDICATED}; /* not one that the opener below may keep */
        vthread_t t;

        CHECK_EQ(vthread_create(&t, &attr, open_to_write, NULL), 0);
        int fds[2] = {vthread_open(path, O_RDONLY, 0), (int)join(t)};
        char c;

        CHECK(fds[0] >= 0 && fds[1] >= 0);
        CHECK_EQ(vthread_write(fds[1], "x", 1), 1);
        CHECK_EQ(vthread_read(fds[0], &c, 1), 1);
        close_pair(fds);
    }
    unlink(path);
}

/* A number that the program closed behind the library's back is a new file's when the library opens it. */
static void test_renewed(void)
{
    uint64_t value;
    int fd = eventfd(0, EFD_CLOEXEC);
    int again;

    CHECK_EQ(vthread_read_until(fd, &value, sizeof value, VTHREAD_NOW), -ETIMEDOUT);
    CHECK_EQ(vthread_fd_set_deadline(fd, VTHREAD_NOW, VTHREAD_NOW), 0);
    CHECK_EQ(close(fd), 0);
    again = vthread_open("/dev/null", O_RDONLY, 0);
    CHECK_EQ(again, fd);
    CHECK_EQ(vthread_read(fd, &value, sizeof value), 0);
    CHECK_EQ(vthread_close(fd), 0);
}

/* ---- children ---- */

/* A child that waits for its pipe to be closed, and then exits. */
struct child {
    pid_t pid;
    int fd;
};

static struct child make_child(int code)
{
    struct child child;
    int fds[2];
    char c;

    CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
    child.pid = fork();
    if (child.pid == 0) {
        close(fds[1]);
        while (read(fds[0], &c, 1) < 0 && errno == EINTR)
            ;
        _exit(code);
    }
    CHECK(child.pid > 0);
    CHECK_EQ(close(fds[0]), 0);
    child.fd = fds[1];
    return child;
}

static struct {
    pid_t pid;
    int options;
    int64_t deadline_ns;
    atomic_int status;
} job;

static void *wait_for_child(void *arg)
{
    int status = -1;
    pid_t found = vthread_waitpid_until(job.pid, &status, job.options, job.deadline_ns);

    (void)arg;
    atomic_store(&job.status, status);
    return (void *)(intptr_t)found;
}

static vthread_t start(pid_t pid, int options, bool platform)
{
    vthread_attr_t attr = {.kind = platform ? VTHREAD_KIND_PLATFORM : VTHREAD_KIND_VIRTUAL};
    vthread_t t;

    job.pid = pid;
    job.options = options;
    job.deadline_ns = VTHREAD_FOREVER;
    CHECK_EQ(vthread_create(&t, &attr, wait_for_child, NULL), 0);
    await_parked(t);
    return t;
}

static void test_waitpid(void)
{
    struct child child;
    int status;

    CHECK_EQ(vthread_waitpid(-1, NULL, 0), -ECHILD);
    CHECK_EQ(vthread_waitpid(getpid(), NULL, 0), -ECHILD);
    CHECK_EQ(vthread_waitpid(-1, NULL, 1 << 20), -EINVAL);
    for (int variant = 0; variant < 8; variant++) {
        /* -1 and 0 have no pidfd; nor has a child that may stop. */
        pid_t any = variant & 2 ? -1 : 0;
        int options = variant >= 6 ? WUNTRACED : 0;
        bool platform = variant & 1;
        vthread_t t;

        child = make_child(40 + variant);
        CHECK_EQ(vthread_waitpid(child.pid, &status, WNOHANG), 0);
        CHECK_EQ(vthread_waitpid_until(child.pid, &status, 0, VTHREAD_NOW), -ETIMEDOUT);
        CHECK_EQ(vthread_waitpid_until(child.pid, &status, options, vthread_after_ms(5)), -ETIMEDOUT);
        t = start(variant >= 4 && variant < 6 ? any : child.pid, options, platform);
        CHECK_EQ(vthread_interrupt(t), 0);
        CHECK_EQ(join(t), -EINTR);
        t = start(variant >= 4 && variant < 6 ? any : child.pid, options, platform);
        CHECK_EQ(close(child.fd), 0);
        CHECK_EQ(join(t), child.pid);
        status = atomic_load(&job.status);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 40 + variant);
        CHECK_EQ(vthread_waitpid(child.pid, NULL, 0), -ECHILD);
    }
    /* Killed; and interrupted before. */
    child = make_child(0);
    CHECK_EQ(kill(child.pid, SIGKILL), 0);
    vthread_interrupt(vthread_self());
    CHECK_EQ(vthread_waitpid(child.pid, &status, 0), -EINTR);
    CHECK_EQ(vthread_waitpid(child.pid, &status, 0), child.pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK_EQ(close(child.fd), 0);
}

static void test_stopped_child(void)
{
    struct child child = make_child(7);
    vthread_t t = start(child.pid, WUNTRACED, false);

    CHECK_EQ(kill(child.pid, SIGSTOP), 0);
    CHECK_EQ(join(t), child.pid);
    CHECK(WIFSTOPPED(atomic_load(&job.status)));
    t = start(child.pid, WCONTINUED, false);
    CHECK_EQ(kill(child.pid, SIGCONT), 0);
    CHECK_EQ(join(t), child.pid);
    CHECK(WIFCONTINUED(atomic_load(&job.status)));
    CHECK_EQ(close(child.fd), 0);
    CHECK_EQ(vthread_waitpid(child.pid, NULL, 0), child.pid);
}

/* Of two that wait for the same child one gets it, and the other learns that it is gone. */
static void test_two_waiters(void)
{
    struct child child = make_child(0);
    vthread_t t[2] = {start(child.pid, 0, false), start(child.pid, 0, false)};

    CHECK_EQ(close(child.fd), 0);
    intptr_t found[2] = {join(t[0]), join(t[1])};

    CHECK(found[0] == child.pid ? found[1] == -ECHILD : found[0] == -ECHILD && found[1] == child.pid);
}

/* Many at once, on few carriers, that end in another order. */
static void test_many_children(void)
{
    enum { N = 30 };
    struct child children[N];
    vthread_t t[N];

    for (int i = 0; i < N; i++) {
        children[i] = make_child(0);
        t[i] = start(children[i].pid, 0, false);
    }
    for (int i = 0; i < N; i++)
        CHECK_EQ(close(children[(i * 7) % N].fd), 0);
    for (int i = 0; i < N; i++)
        CHECK_EQ(join(t[i]), children[i].pid);
}

/* ---- locks of files ---- */

static atomic_int holders;

/* In turns with others, who have opened the file for themselves. */
static void *lock_some(void *arg)
{
    char again[64];
    int fd;

    snprintf(again, sizeof again, "/proc/self/fd/%d", (int)(intptr_t)arg);
    fd = vthread_open(again, O_RDWR, 0);
    CHECK(fd >= 0);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(vthread_flock(fd, LOCK_EX), 0);
        CHECK_EQ(atomic_fetch_add(&holders, 1), 0);
        vthread_yield();
        CHECK_EQ(atomic_fetch_sub(&holders, 1), 1);
        CHECK_EQ(vthread_flock(fd, LOCK_UN), 0);
    }
    CHECK_EQ(vthread_close(fd), 0);
    return NULL;
}

static void *unlock_interrupted(void *arg)
{
    int fd = (int)(intptr_t)arg;

    CHECK_EQ(vthread_interrupt(vthread_self()), 0);
    CHECK_EQ(vthread_flock(fd, LOCK_UN), 0);
    CHECK(vthread_interrupted());
    return NULL;
}

static void test_flock(void)
{
    enum { N = 6 };
    char file[] = "/tmp/vthread-test-XXXXXX";
    int fd = mkostemp(file, O_CLOEXEC);
    int other = open(file, O_RDWR | O_CLOEXEC);
    vthread_t t[N];

    CHECK(fd >= 0 && other >= 0);
    unlink(file);
    CHECK_EQ(vthread_flock(fd, LOCK_SH), 0);
    CHECK_EQ(vthread_flock(other, LOCK_SH), 0);
    CHECK_EQ(vthread_flock(other, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    CHECK_EQ(vthread_flock_until(other, LOCK_EX, VTHREAD_NOW), ETIMEDOUT);
    join(spawn(unlock_interrupted, fd));
    CHECK_EQ(vthread_flock(other, LOCK_EX), 0);
    CHECK_EQ(vthread_flock(other, LOCK_UN), 0);
    CHECK_EQ(vthread_flock(fd, 0), EINVAL);
    CHECK_EQ(vthread_flock(-1, LOCK_SH), EBADF);
    for (int i = 0; i < N; i++)
        t[i] = spawn(lock_some, fd);
    for (int i = 0; i < N; i++)
        join(t[i]);
    CHECK_EQ(vthread_close(other), 0);
    CHECK_EQ(vthread_close(fd), 0);
}

/* Without a descriptor left for a pidfd. */
static void test_out_of_descriptors(void)
{
    struct child child = make_child(3);
    struct rlimit old;
    struct rlimit none;
    vthread_t t;

    CHECK_EQ(vthread_waitpid_until(child.pid, NULL, 0, vthread_after_ms(1)), -ETIMEDOUT); /* the poller is up */
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){0, old.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    t = start(child.pid, 0, false);
    CHECK_EQ(close(child.fd), 0);
    CHECK_EQ(join(t), child.pid);
    CHECK_EQ(WEXITSTATUS(atomic_load(&job.status)), 3);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
}

int main(void)
{
    static const struct test tests[] = {
        {"files", test_files, false},
        {"blocking open", test_blocking_open, false},
        {"renewed", test_renewed, false},
        {"flock", test_flock, false},
        {"waitpid", test_waitpid, false},
        {"stopped child", test_stopped_child, false},
        {"two waiters", test_two_waiters, false},
        {"many children", test_many_children, false},
        {"out of descriptors", test_out_of_descriptors, false},
        {NULL, NULL, false},
    };

    return run_tests(tests);
}
