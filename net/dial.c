/* SPDX-License-Identifier: MIT */
/*
 * Addresses written as text: listen and dial.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <vthread/net.h>

#include "base/attributes.h"
#include "base/clock.h"
#include "base/memory.h"
#include "net/lookup.h"
#include "net/poller.h"
#include "net/socket.h"
#include "net/system.h"
#include "vthread/thread.h"

enum { HOST_MAX = 256, PORT_MAX = 32, ADDRESSES_MAX = 16 };

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
};

/* On the heap: a thread that waits here carries a pointer instead of a kilobyte. */
struct place {
    char host[HOST_MAX]; /* empty: none given */
    char port[PORT_MAX];
    int count;
    union address addresses[ADDRESSES_MAX];
    socklen_t lengths[ADDRESSES_MAX];
};

/* ---- "host:port" ---- */

static int split(const char *text, struct place *place)
{
    const char *colon = text != NULL ? strrchr(text, ':') : NULL;
    const char *from = text;
    size_t length;

    if (colon == NULL || colon[1] == '\0' || strlen(colon + 1) >= PORT_MAX)
        return -EINVAL;
    strcpy(place->port, colon + 1);
    length = (size_t)(colon - text);
    if (*from == '[') {
        if (length < 2 || colon[-1] != ']')
            return -EINVAL;
        from++;
        length -= 2;
    } else if (memchr(from, ':', length) != NULL) {
        return -EINVAL; /* an IPv6 address without its brackets */
    }
    if (length >= HOST_MAX)
        return -EINVAL;
    memcpy(place->host, from, length);
    place->host[length] = '\0';
    return 0;
}

static int error_of_lookup(int code, int system_error)
{
    switch (code) {
    case EAI_INTR:
        return -EINTR;
    case EAI_CANCELED:
        return -ETIMEDOUT;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_AGAIN:
        return -EAGAIN;
    case EAI_SYSTEM:
        return system_error != 0 ? -system_error : -EIO;
    case EAI_SERVICE:
        return -EINVAL;
    case EAI_NONAME:
#ifdef EAI_NODATA
    case EAI_NODATA:
#endif
#ifdef EAI_ADDRFAMILY
    case EAI_ADDRFAMILY:
#endif
        return -ENOENT;
    default:
        return -EIO;
    }
}

static void keep(struct place *place, const struct addrinfo *list)
{
    for (; list != NULL && place->count < ADDRESSES_MAX; list = list->ai_next) {
        if (list->ai_addrlen > sizeof place->addresses[0])
            continue;
        memcpy(&place->addresses[place->count], list->ai_addr, list->ai_addrlen);
        place->lengths[place->count++] = list->ai_addrlen;
    }
}

static int look_up(const char *host, struct place *place, int flags, int64_t deadline_ns)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *list = NULL;
    int system_error;
    int code = lookup_until(host, place->port, &hints, deadline_ns, &list, &system_error);

    if (code != 0)
        return error_of_lookup(code, system_error);
    keep(place, list);
    freeaddrinfo(list);
    return place->count > 0 ? 0 : -ENOENT;
}

static int resolve(struct place *place, bool passive, int64_t deadline_ns)
{
    int flags = passive ? AI_PASSIVE : 0;
    bool numeric_port = strspn(place->port, "0123456789") == strlen(place->port);
    int error;

    if (numeric_port) {
        flags |= AI_NUMERICSERV;
        if (strtoul(place->port, NULL, 10) > 65535) /* getaddrinfo takes the low 16 bits */
            return -EINVAL;
    }
    if (place->host[0] == '\0' && passive) {
        /* Any address, of both families where there are two. */
        error = look_up("::", place, flags | AI_NUMERICHOST, deadline_ns);
        return look_up("0.0.0.0", place, flags | AI_NUMERICHOST, deadline_ns) == 0 ? 0 : error;
    }
    if (place->host[0] == '\0' || strcasecmp(place->host, "localhost") == 0) {
        /* RFC 6761: needs nobody to be asked. */
        error = look_up("127.0.0.1", place, flags | AI_NUMERICHOST, deadline_ns);
        return look_up("::1", place, flags | AI_NUMERICHOST, deadline_ns) == 0 ? 0 : error;
    }
    return look_up(place->host, place, flags, deadline_ns);
}

static int place_of(const char *text, bool passive, int64_t deadline_ns, struct place **ret_place)
{
    struct place *place;
    int error = net_enter();

    if (error != 0)
        return error;
    place = memory_alloc(sizeof *place);
    if (place == NULL)
        return -ENOMEM;
    error = split(text, place);
    if (error == 0)
        error = resolve(place, passive, deadline_ns);
    if (error != 0) {
        memory_free(place);
        return error;
    }
    *ret_place = place;
    return 0;
}

/* ---- listen ---- */

static int finish_listening(int fd, const union address *address, socklen_t length, int backlog)
{
    int error = system_bind(fd, &address->any, length);

    if (error == 0)
        error = system_listen(fd, backlog == 0 ? SOMAXCONN : backlog);
    if (error != 0)
        system_close(fd);
    return error != 0 ? error : socket_adopt(fd);
}

static int listen_at(const union address *address, socklen_t length, bool any, int backlog, unsigned flags)
{
    int fd = system_socket(address->any.sa_family, SOCK_STREAM, 0);
    int error;

    if (fd < 0)
        return fd;
    error = system_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (error == 0 && (flags & VTHREAD_LISTEN_REUSEPORT))
        error = system_set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (error == 0 && address->any.sa_family == AF_INET6)
        error = system_set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !any);
    if (error == 0) /* inherited by what is accepted */
        error = system_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (error != 0) {
        system_close(fd);
        return error;
    }
    return finish_listening(fd, address, length, backlog);
}

int vthread_listen_tcp(const char *address, int backlog, unsigned flags)
{
    struct place *place;
    int fd;

    if (backlog < 0 || (flags & ~VTHREAD_LISTEN_REUSEPORT))
        return -EINVAL;
    fd = place_of(address, true, VTHREAD_FOREVER, &place);
    if (fd != 0)
        return fd;
    for (int i = 0; i < place->count; i++) {
        fd = listen_at(&place->addresses[i], place->lengths[i], place->host[0] == '\0', backlog, flags);
        if (fd != -EAFNOSUPPORT && fd != -EADDRNOTAVAIL) /* a family this machine lacks */
            break;
    }
    memory_free(place);
    return fd;
}

/* ---- dial ---- */

static int dial_at(const union address *address, socklen_t length, int64_t deadline_ns)
{
    int fd = vthread_socket(address->any.sa_family, SOCK_STREAM, 0);
    int error;

    if (fd < 0)
        return fd;
    error = address->any.sa_family == AF_UNIX ? 0 : system_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (error == 0)
        error = socket_connect(fd, &address->any, length, deadline_ns);
    if (error == 0)
        return fd;
    vthread_close(fd);
    return error;
}

/* Of the time that is left an equal share for each address that is: one that is silent leaves some to the others. */
static int64_t share_of(int64_t deadline_ns, int addresses)
{
    int64_t now_ns = clock_now_ns();

    if (deadline_ns == INT64_MAX || deadline_ns <= now_ns || addresses == 1)
        return deadline_ns;
    return now_ns + (deadline_ns - now_ns) / addresses;
}

int vthread_dial_tcp_until(const char *address, int64_t deadline_ns)
{
    struct place *place;
    int fd = place_of(address, false, deadline_ns, &place);

    if (fd != 0)
        return fd;
    for (int i = 0; i < place->count; i++) {
        int64_t share_ns = share_of(deadline_ns, place->count - i);
        int error = dial_at(&place->addresses[i], place->lengths[i], share_ns);

        /* Of several failures the first is reported: the preferred address's. */
        if (i == 0 || error >= 0 || fd == -EAFNOSUPPORT)
            fd = error;
        if (error >= 0 || (error == -ETIMEDOUT && share_ns == deadline_ns) || error == -EINTR || error == -ECANCELED ||
            error == -EMFILE || error == -ENFILE)
            break;
    }
    memory_free(place);
    return fd;
}

int vthread_dial_tcp(const char *address)
{
    return vthread_dial_tcp_until(address, VTHREAD_FOREVER);
}

/* ---- unix sockets ---- */

static int unix_address(const char *path, union address *ret_address, socklen_t *ret_length)
{
    size_t length = path != NULL ? strlen(path) : 0;

    if (length == 0 || length >= sizeof ret_address->un.sun_path)
        return length == 0 ? -EINVAL : -ENAMETOOLONG;
    memset(ret_address, 0, sizeof *ret_address);
    ret_address->un.sun_family = AF_UNIX;
    memcpy(ret_address->un.sun_path, path, length);
    if (*path == '@')
        ret_address->un.sun_path[0] = '\0'; /* the abstract namespace: no terminator, no file */
    else
        length++;
    *ret_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    return 0;
}

static NOINLINE void remove_path(const char *path)
{
    int before = errno;

    if (*path != '@')
        unlink(path);
    errno = before;
}

int vthread_listen_unix(const char *path, int backlog, unsigned flags)
{
    union address address;
    socklen_t length;
    int fd = backlog < 0 || (flags & ~VTHREAD_LISTEN_REPLACE) ? -EINVAL : unix_address(path, &address, &length);

    if (fd == 0)
        fd = net_enter();
    if (fd == 0)
        fd = system_socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return fd;
    if (flags & VTHREAD_LISTEN_REPLACE)
        remove_path(path);
    return finish_listening(fd, &address, length, backlog);
}

int vthread_dial_unix_until(const char *path, int64_t deadline_ns)
{
    union address address;
    socklen_t length;
    int error = unix_address(path, &address, &length);

    return error != 0 ? error : dial_at(&address, length, deadline_ns);
}

int vthread_dial_unix(const char *path)
{
    return vthread_dial_unix_until(path, VTHREAD_FOREVER);
}
