/* SPDX-License-Identifier: MIT */
/*
 * A program for pthreads and blocking sockets that knows nothing of this library.  Run with libvthread-posix loaded
 * before it, it does what it did: on platform threads nothing changes, and no runtime is started.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);                                   \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

enum { CLIENTS = 20, ROUNDS = 50 };

static struct sockaddr_in address = {.sin_family = AF_INET};
static pthread_key_t key;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int served;
static int destroyed;

static void *serve(void *arg)
{
    int fd = (int)(long)arg;
    char buffer[64];
    ssize_t n;

    while ((n = read(fd, buffer, sizeof buffer)) > 0)
        EXPECT(write(fd, buffer, (size_t)n) == n);
    EXPECT(close(fd) == 0);
    EXPECT(pthread_mutex_lock(&mutex) == 0);
    served++;
    EXPECT(pthread_cond_signal(&changed) == 0);
    EXPECT(pthread_mutex_unlock(&mutex) == 0);
    return NULL;
}

static void *ask(void *arg)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char buffer[8];

    EXPECT(pthread_setspecific(key, arg) == 0);
    EXPECT(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        EXPECT(send(fd, "question", 8, 0) == 8);
        EXPECT(recv(fd, buffer, 8, MSG_WAITALL) == 8);
        EXPECT(memcmp(buffer, "question", 8) == 0);
    }
    EXPECT(close(fd) == 0);
    EXPECT(pthread_getspecific(key) == arg);
    pthread_exit(arg);
}

static void destroy(void *value)
{
    (void)value;
    __atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED);
}

static void on_alarm(int number)
{
    (void)number;
}

/* A handler without SA_RESTART: EINTR is what the program sees. */
static void test_signals(void)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval soon = {.it_value = {.tv_usec = 20000}, .it_interval = {.tv_usec = 20000}};
    struct itimerval never = {.it_value = {.tv_usec = 0}};
    struct timespec left;
    int fds[2];
    char byte;

    EXPECT(sigaction(SIGALRM, &action, NULL) == 0);
    EXPECT(pipe(fds) == 0);
    EXPECT(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    EXPECT(read(fds[0], &byte, 1) == -1 && errno == EINTR);
    EXPECT(poll(&(struct pollfd){.fd = fds[0], .events = POLLIN}, 1, -1) == -1 && errno == EINTR);
    EXPECT(nanosleep(&(struct timespec){.tv_sec = 100}, &left) == -1 && errno == EINTR);
    EXPECT(left.tv_sec > 90);
    EXPECT(setitimer(ITIMER_REAL, &never, NULL) == 0);
    EXPECT(close(fds[0]) == 0);
    signal(SIGPIPE, SIG_IGN);
    EXPECT(write(fds[1], "x", 1) == -1 && errno == EPIPE);
    EXPECT(close(fds[1]) == 0);
    EXPECT(close(fds[1]) == -1 && errno == EBADF);
}

int main(void)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof address;
    pthread_t clients[CLIENTS];
    pthread_t server;
    int status;
    pid_t child;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT(bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
    EXPECT(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    EXPECT(listen(listener, CLIENTS) == 0);
    EXPECT(pthread_key_create(&key, destroy) == 0);
    for (long i = 0; i < CLIENTS; i++)
        EXPECT(pthread_create(&clients[i], NULL, ask, (void *)(i + 1)) == 0);
    for (int i = 0; i < CLIENTS; i++) {
        int fd = accept(listener, NULL, NULL);

        EXPECT(fd >= 0);
        EXPECT(pthread_create(&server, NULL, serve, (void *)(long)fd) == 0);
        EXPECT(pthread_detach(server) == 0);
    }
    for (long i = 0; i < CLIENTS; i++) {
        void *value;

        EXPECT(pthread_join(clients[i], &value) == 0 && value == (void *)(i + 1));
    }
    EXPECT(pthread_mutex_lock(&mutex) == 0);
    while (served < CLIENTS)
        EXPECT(pthread_cond_wait(&changed, &mutex) == 0);
    EXPECT(pthread_mutex_unlock(&mutex) == 0);
    EXPECT(destroyed == CLIENTS);
    test_signals();
    child = fork();
    if (child == 0) {
        EXPECT(usleep(1000) == 0);
        EXPECT(close(listener) == 0);
        _exit(5);
    }
    EXPECT(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 5);
    EXPECT(system("exit 4") == 4 << 8);
    EXPECT(close(listener) == 0);
    return 0;
}
