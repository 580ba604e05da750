/* SPDX-License-Identifier: MIT */
/*
 * Names: vthread_getaddrinfo, vthread_getnameinfo, and dialling by them.
 *
 * This program has a getaddrinfo of its own, which knows the names of the domain "test" and leaves the others to the C
 * library's; and a getnameinfo that asks no server.  So a name server that does not answer does so when the test says,
 * and not before.
 */
#include "net_test.h"

#include <dlfcn.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/un.h>

/* ---- the resolver ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;   /* lookups of hang.test get their answer */
    int hanging; /* inside */
    int most;
    long done;
} resolver = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

typedef int getaddrinfo_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static getaddrinfo_fn *real;

static void hang(void)
{
    pthread_mutex_lock(&resolver.lock);
    if (++resolver.hanging > resolver.most)
        resolver.most = resolver.hanging;
    pthread_cond_broadcast(&resolver.changed);
    while (!resolver.open)
        pthread_cond_wait(&resolver.changed, &resolver.lock);
    resolver.hanging--;
    resolver.done++;
    pthread_cond_broadcast(&resolver.changed);
    pthread_mutex_unlock(&resolver.lock);
}

static void set_open(bool open)
{
    pthread_mutex_lock(&resolver.lock);
    resolver.open = open;
    pthread_cond_broadcast(&resolver.changed);
    pthread_mutex_unlock(&resolver.lock);
}

/* So many are inside; on a virtual thread it must not block the only carrier. */
static void await_hanging(int n)
{
    for (int now = -1; now != n; vthread_sleep_ms(1)) {
        pthread_mutex_lock(&resolver.lock);
        now = resolver.hanging;
        pthread_mutex_unlock(&resolver.lock);
    }
}

static int two_addresses(const char *first, const char *second, const char *service, const struct addrinfo *hints,
                         struct addrinfo **ret_list)
{
    struct addrinfo *last;
    int code = real(first, service, hints, ret_list);

    if (code != 0)
        return code;
    for (last = *ret_list; last->ai_next != NULL;)
        last = last->ai_next;
    return real(second, service, hints, &last->ai_next);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list)
{
    const char *dot = node != NULL ? strstr(node, ".test") : NULL;

    if (dot == NULL)
        return real(node, service, hints, ret_list);
    if (hints != NULL && (hints->ai_flags & AI_NUMERICHOST))
        return EAI_NONAME;
    errno = EIO;
    if (strcmp(node, "hang.test") == 0) {
        hang();
        return real("127.0.0.1", service, hints, ret_list);
    }
    if (strcmp(node, "refused.test") == 0)
        return two_addresses("127.0.0.2", "127.0.0.1", service, hints, ret_list);
    if (strcmp(node, "silent.test") == 0)
        return two_addresses("127.0.0.3", "127.0.0.1", service, hints, ret_list);
    return strcmp(node, "again.test") == 0    ? EAI_AGAIN
           : strcmp(node, "system.test") == 0 ? EAI_SYSTEM
           : strcmp(node, "memory.test") == 0 ? EAI_MEMORY
                                              : EAI_NONAME;
}

typedef int getnameinfo_fn(const struct sockaddr *, socklen_t, char *, socklen_t, char *, socklen_t, int);

static getnameinfo_fn *real_name;

/* Every host is called host.test, which at 127.0.0.9 takes as long to find out as hang.test. */
int getnameinfo(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_size, char *service,
                socklen_t service_size, int flags)
{
    static const char name[] = "host.test";
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;
    char number[64];
    int code = real_name(address, length, number, sizeof number, service, service_size, flags | NI_NUMERICHOST);

    if (code != 0 || host == NULL || host_size == 0)
        return code;
    if (!(flags & NI_NUMERICHOST) && in->sin_family == AF_INET && in->sin_addr.s_addr == htonl(0x7f000009))
        hang();
    if (host_size < sizeof name)
        return EAI_OVERFLOW;
    strcpy(host, flags & NI_NUMERICHOST ? number : name);
    return 0;
}

/* ---- answers ---- */

static void check_like_system(const char *node, const char *service, const struct addrinfo *hints)
{
    struct addrinfo *ours = NULL;
    struct addrinfo *theirs = NULL;
    int code = real(node, service, hints, &theirs);

    CHECK_EQ(vthread_getaddrinfo(node, service, hints, &ours), code);
    if (code != 0)
        return;
    const struct addrinfo *a = ours;
    const struct addrinfo *b = theirs;

    for (; a != NULL && b != NULL; a = a->ai_next, b = b->ai_next) {
        CHECK_EQ(a->ai_family, b->ai_family);
        CHECK_EQ(a->ai_socktype, b->ai_socktype);
        CHECK_EQ(a->ai_protocol, b->ai_protocol);
        CHECK_EQ(a->ai_addrlen, b->ai_addrlen);
        CHECK(memcmp(a->ai_addr, b->ai_addr, a->ai_addrlen) == 0);
        CHECK(a->ai_canonname == b->ai_canonname || strcmp(a->ai_canonname, b->ai_canonname) == 0);
    }
    CHECK(a == NULL && b == NULL);
    freeaddrinfo(ours);
    freeaddrinfo(theirs);
}

static void test_answers(void)
{
    static const struct addrinfo of[] = {
        {.ai_socktype = SOCK_STREAM},
        {.ai_family = AF_INET, .ai_flags = AI_CANONNAME},
        {.ai_family = AF_INET6, .ai_flags = AI_V4MAPPED},
        {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_DGRAM},
        {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV},
        {.ai_flags = 1 << 30},
        {.ai_family = 12345},
        {.ai_socktype = 999},
    };
    static const char *const nodes[] = {NULL, "127.0.0.1", "::1", "localhost", "1.2.3", "fe80::1%lo", "a b"};
    static const char *const services[] = {NULL, "80", "http", "no-such-service", "99999"};

    for (size_t n = 0; n < sizeof nodes / sizeof nodes[0] - 1; n++)
        for (size_t s = 0; s < sizeof services / sizeof services[0]; s++) {
            check_like_system(nodes[n], services[s], NULL);
            for (size_t h = 0; h < sizeof of / sizeof of[0]; h++)
                check_like_system(nodes[n], services[s], &of[h]);
        }
    struct addrinfo *list;

    CHECK_EQ(vthread_getaddrinfo("none.test", "80", NULL, &list), EAI_NONAME);
    CHECK_EQ(vthread_getaddrinfo("again.test", "80", NULL, &list), EAI_AGAIN);
    CHECK_EQ(vthread_getaddrinfo("system.test", "80", NULL, &list), EAI_SYSTEM);
    CHECK_EQ(vthread_getaddrinfo_until("localhost", "80", NULL, &list, VTHREAD_NOW), EAI_CANCELED);
    CHECK_EQ(vthread_getaddrinfo_until("127.0.0.1", "80", NULL, &list, VTHREAD_NOW), 0); /* needs nobody */
    freeaddrinfo(list);
}

static struct sockaddr_in address_of(const char *text, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    CHECK_EQ(inet_pton(AF_INET, text, &a.sin_addr), 1);
    return a;
}

static void check_name_like_here(const struct sockaddr *a, socklen_t length, socklen_t host_size,
                                 socklen_t service_size, int flags)
{
    char ours[2][64] = {"before", "before"};
    char theirs[2][64] = {"before", "before"};
    int code = getnameinfo(a, length, host_size > 0 ? theirs[0] : NULL, host_size, service_size > 0 ? theirs[1] : NULL,
                           service_size, flags);

    CHECK_EQ(vthread_getnameinfo(a, length, host_size > 0 ? ours[0] : NULL, host_size,
                                 service_size > 0 ? ours[1] : NULL, service_size, flags),
             code);
    for (int i = 0; i < 2; i++)
        CHECK(strcmp(ours[i], code == 0 ? theirs[i] : "before") == 0);
}

static void test_names_of_addresses(void)
{
    static const int flags[] = {0, NI_NUMERICHOST, NI_NUMERICSERV, NI_NUMERICHOST | NI_NUMERICSERV, NI_DGRAM};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "/a/path/that/is/longer/than/any/service/has"};
    struct sockaddr_in four[] = {address_of("127.0.0.1", 80), address_of("127.0.0.1", 54321)};
    char host[8];

    for (size_t f = 0; f < sizeof flags / sizeof flags[0]; f++)
        for (socklen_t size = 0; size <= 64; size += 4) { /* of which some are too small */
            for (size_t i = 0; i < 2; i++) {
                check_name_like_here((struct sockaddr *)&four[i], sizeof four[i], size, size, flags[f]);
                check_name_like_here((struct sockaddr *)&four[i], sizeof four[i], size, 0, flags[f]);
                check_name_like_here((struct sockaddr *)&four[i], sizeof four[i], 0, size, flags[f]);
            }
            check_name_like_here((struct sockaddr *)&six, sizeof six, size, size, flags[f]);
        }
    for (socklen_t size = 0; size <= 64; size += 4)
        check_name_like_here((struct sockaddr *)&path, sizeof path, size, size, 0);
    check_name_like_here((struct sockaddr *)&four[0], 2, 64, 64, 0);
    four[0].sin_family = 12345;
    check_name_like_here((struct sockaddr *)&four[0], sizeof four[0], 64, 64, 0);
    CHECK_EQ(vthread_getnameinfo(NULL, 0, host, sizeof host, NULL, 0, 0), EAI_FAMILY);
}

/* ---- what ends a wait ---- */

static int64_t job_deadline_ns;

static void *look_up(void *arg)
{
    struct addrinfo *list = NULL;
    int code = vthread_getaddrinfo_until("hang.test", "80", NULL, &list, job_deadline_ns);

    (void)arg;
    CHECK_EQ(list != NULL, code == 0);
    if (code == 0)
        freeaddrinfo(list);
    return (void *)(intptr_t)code;
}

static vthread_t start(bool platform)
{
    vthread_attr_t attr = {.kind = platform ? VTHREAD_KIND_PLATFORM : VTHREAD_KIND_VIRTUAL};
    vthread_t t;

    CHECK_EQ(vthread_create(&t, &attr, look_up, NULL), 0);
    return t;
}

static void test_ends_of_waits(void)
{
    set_open(false);
    job_deadline_ns = VTHREAD_FOREVER;
    for (int platform = 0; platform < 2; platform++) {
        vthread_t t = start(platform);

        await_hanging(platform + 1);
        await_parked(t);
        CHECK_EQ(vthread_interrupt(t), 0);
        CHECK_EQ(join(t), EAI_INTR);
    }
    for (int platform = 0; platform < 2; platform++) {
        job_deadline_ns = vthread_after_ms(5); /* it may be over before anybody has begun */
        CHECK_EQ(join(start(platform)), EAI_CANCELED);
    }
    job_deadline_ns = VTHREAD_FOREVER;
    vthread_interrupt(vthread_self());
    CHECK_EQ((intptr_t)look_up(NULL), EAI_INTR);
    /* Nobody is left to take what they find. */
    set_open(true);
    await_hanging(0);
    CHECK_EQ((intptr_t)look_up(NULL), 0);
}

static void *look_up_name(void *arg)
{
    struct sockaddr_in a = address_of("127.0.0.9", 80);
    char host[64] = "";
    int code =
        vthread_getnameinfo_until((struct sockaddr *)&a, sizeof a, host, sizeof host, NULL, 0, 0, job_deadline_ns);

    (void)arg;
    CHECK(strcmp(host, code == 0 ? "host.test" : "") == 0);
    return (void *)(intptr_t)code;
}

static vthread_t start_name(bool platform)
{
    vthread_attr_t attr = {.kind = platform ? VTHREAD_KIND_PLATFORM : VTHREAD_KIND_VIRTUAL};
    vthread_t t;

    CHECK_EQ(vthread_create(&t, &attr, look_up_name, NULL), 0);
    return t;
}

static void test_ends_of_waits_for_names(void)
{
    set_open(false);
    for (int platform = 0; platform < 2; platform++) {
        job_deadline_ns = VTHREAD_FOREVER;
        vthread_t t = start_name(platform);

        await_hanging(platform + 1);
        await_parked(t);
        CHECK_EQ(vthread_interrupt(t), 0);
        CHECK_EQ(join(t), EAI_INTR);
    }
    for (int platform = 0; platform < 2; platform++) {
        job_deadline_ns = VTHREAD_NOW;
        CHECK_EQ(join(start_name(platform)), EAI_CANCELED);
        job_deadline_ns = vthread_after_ms(5); /* it may be over before anybody has begun */
        CHECK_EQ(join(start_name(platform)), EAI_CANCELED);
    }
    job_deadline_ns = VTHREAD_FOREVER;
    vthread_interrupt(vthread_self());
    CHECK_EQ((intptr_t)look_up_name(NULL), EAI_INTR);
    set_open(true);
    await_hanging(0);
    CHECK_EQ((intptr_t)look_up_name(NULL), 0);
}

/* Many at once: some run, the others queue, and may leave; carriers are not needed for it. */
static void test_many(void)
{
    enum { N = 120, LEAVERS = 40, AT_ONCE = 32 };
    vthread_t t[N];

    set_open(false);
    resolver.most = 0;
    job_deadline_ns = VTHREAD_FOREVER;
    for (int i = 0; i < N; i++) {
        t[i] = start(i % 40 == 7);
        await_parked(t[i]);
    }
    await_hanging(AT_ONCE);
    for (int i = 0; i < N; i += N / LEAVERS)
        CHECK_EQ(vthread_interrupt(t[i]), 0);
    for (int i = 0; i < N; i += N / LEAVERS)
        CHECK_EQ(join(t[i]), EAI_INTR);
    set_open(true);
    for (int i = 0; i < N; i++)
        if (i % (N / LEAVERS) != 0)
            CHECK_EQ(join(t[i]), 0);
    await_hanging(0);
    CHECK_EQ(resolver.most, AT_ONCE);
}

/* ---- dialling ---- */

static char dial_address[64];

static void *dial_hanging(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)vthread_dial_tcp_until(dial_address, job_deadline_ns);
}

static int dial_name(const char *name, int port, int64_t deadline_ns)
{
    snprintf(dial_address, sizeof dial_address, "%s:%d", name, port);
    return vthread_dial_tcp_until(dial_address, deadline_ns);
}

static void test_dial(void)
{
    int port;
    int listener = listen_any(&port);
    int fds[2];
    vthread_t t;

    set_open(true);
    fds[0] = dial_name("hang.test", port, VTHREAD_FOREVER);
    fds[1] = vthread_accept(listener, NULL, NULL);
    CHECK(fds[0] >= 0 && fds[1] >= 0);
    close_pair(fds);
    /* The second address, after the first has refused. */
    fds[0] = dial_name("refused.test", port, VTHREAD_FOREVER);
    fds[1] = vthread_accept(listener, NULL, NULL);
    CHECK(fds[0] >= 0 && fds[1] >= 0);
    close_pair(fds);
    CHECK_EQ(vthread_close(listener), 0);
    CHECK_EQ(dial_name("refused.test", port, VTHREAD_FOREVER), -ECONNREFUSED);
    CHECK_EQ(dial_name("none.test", port, VTHREAD_FOREVER), -ENOENT);
    CHECK_EQ(dial_name("again.test", port, VTHREAD_FOREVER), -EAGAIN);
    CHECK_EQ(dial_name("memory.test", port, VTHREAD_FOREVER), -ENOMEM);
    CHECK_EQ(dial_name("system.test", port, VTHREAD_FOREVER), -EIO);
    CHECK_EQ(vthread_listen_tcp("none.test:0", 0, 0), -ENOENT);
    /* The lookup is part of what the deadline and interrupts end. */
    set_open(false);
    CHECK_EQ(dial_name("hang.test", port, vthread_after_ms(5)), -ETIMEDOUT);
    job_deadline_ns = VTHREAD_FOREVER;
    t = spawn(dial_hanging, 0);
    await_parked(t);
    CHECK_EQ(vthread_interrupt(t), 0);
    CHECK_EQ(join(t), -EINTR);
    set_open(true);
    await_hanging(0);
}

/* So many wait to be accepted that the listener drops what else comes. */
static bool is_full(int listener)
{
    struct tcp_info info;
    socklen_t length = sizeof info;

    CHECK_EQ(getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    return info.tcpi_unacked > info.tcpi_sacked; /* of a listener: how many wait, and how many may */
}

/* An address that is silent leaves time for the next. */
static void test_silent_address(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    int silent = vthread_socket(AF_INET, SOCK_STREAM, 0);
    int fillers[8];
    int n = 0;
    int port;
    int listener = listen_any(&port);

    CHECK_EQ(inet_pton(AF_INET, "127.0.0.3", &a.sin_addr), 1);
    a.sin_port = htons((uint16_t)port);
    CHECK_EQ(bind(silent, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_EQ(listen(silent, 0), 0);
    while (!is_full(silent)) {
        CHECK(n < 8);
        fillers[n] = vthread_socket(AF_INET, SOCK_STREAM, 0);
        int error = vthread_connect_until(fillers[n++], (struct sockaddr *)&a, sizeof a, vthread_after_ms(500));

        CHECK(error == 0 || error == ETIMEDOUT);
        vthread_sleep_ms(1); /* it counts once the last packet of the handshake has come */
    }
    int64_t begin = vthread_now_ns();
    int fds[2] = {dial_name("silent.test", port, begin + 6000 * MS), -1};

    /* Half of the time is the first one's, but for what the lookup took. */
    CHECK(fds[0] >= 0);
    CHECK(vthread_now_ns() - begin >= 2500 * MS);
    fds[1] = vthread_accept(listener, NULL, NULL);
    close_pair(fds);
    CHECK_EQ(vthread_close(listener), 0);
    CHECK_EQ(dial_name("silent.test", port, vthread_after_ms(50)), -ETIMEDOUT);
    while (n > 0)
        CHECK_EQ(vthread_close(fillers[--n]), 0);
    CHECK_EQ(vthread_close(silent), 0);
}

int main(void)
{
    static const struct test tests[] = {
        {"names of addresses", test_names_of_addresses, false},
        {"ends of waits for names", test_ends_of_waits_for_names, false},
        {"answers", test_answers, false},
        {"ends of waits", test_ends_of_waits, false},
        {"many", test_many, false},
        {"dial", test_dial, false},
        {"silent address", test_silent_address, true},
        {NULL, NULL, false},
    };

    real = (getaddrinfo_fn *)dlsym(RTLD_NEXT, "getaddrinfo");
    real_name = (getnameinfo_fn *)dlsym(RTLD_NEXT, "getnameinfo");
    CHECK(real != NULL && real_name != NULL);
    return run_tests(tests);
}
