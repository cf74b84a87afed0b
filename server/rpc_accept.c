// SPDX-License-Identifier: Apache-2.0
// Listens and accepts on the loop; see rpc_accept.h for why this is not left to gRPC. When
// descriptors run out, it pauses and tries again: a connection then waits in the kernel's queue
// instead of being lost.
#include "server/rpc_accept.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <uv.h>

#include "server/log.h"

enum { BACKLOG = 511, ACCEPTS_PER_TURN = 32, PAUSE_MS = 100, PEER_SIZE = 64 };

struct ls_accept {
    int fd; // -1: stopped
    uv_poll_t poll;
    uv_timer_t pause;
    void (*on_socket)(void *user, int fd);
    void *user;
    char address[PEER_SIZE];
    char (*peer)[PEER_SIZE]; // [peer_count], by descriptor
    int peer_count;
    int handle_count;
    bool closing;
};

static void format_address(char *text, size_t size, const struct sockaddr_storage *address,
                           socklen_t address_size)
{
    char host[48], port[8];

    text[0] = '\0';
    if (getnameinfo((const struct sockaddr *)address, address_size, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV))
        return;
    snprintf(text, size, address->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

// "host:port" into its parts; false if it is not of that form.
static bool split(const char *address, char *host, size_t host_size, char *port, size_t port_size)
{
    const char *colon = strrchr(address, ':');
    size_t size;

    if (!colon || !colon[1] || strlen(colon + 1) >= port_size ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) || atoi(colon + 1) > 65535)
        return false;
    size = (size_t)(colon - address);
    if (address[0] == '[') {
        if (size < 2 || address[size - 1] != ']')
            return false;
        address++;
        size -= 2;
    } else if (memchr(address, ':', size)) {
        return false; // an IPv6 address without brackets is ambiguous
    }
    if (size >= host_size)
        return false;
    memcpy(host, address, size);
    host[size] = '\0';
    strcpy(port, colon + 1);
    return true;
}

static int listen_on(const struct addrinfo *ai)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, off = 0;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, BACKLOG)) {
        int e = errno;

        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

static int bind_address(const char *address, struct ls_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    char host[256], port[8];
    int r, fd = -1;

    if (!split(address, host, sizeof host, port, sizeof port))
        return ls_fail_field(err, LS_EFIELD, "listen", "\"%s\" is not host:port", address);
    r = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
    if (r)
        return ls_fail_field(err, LS_EFIELD, "listen", "%s: %s", address, gai_strerror(r));
    errno = EADDRNOTAVAIL;
    for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
        fd = listen_on(ai);
    freeaddrinfo(list);
    if (fd < 0)
        return ls_fail_field(err, LS_EIO, "listen", "%s: %s", address, strerror(errno));
    return fd;
}

static void remember(struct ls_accept *a, int fd, const struct sockaddr_storage *address,
                     socklen_t size)
{
    if (fd >= a->peer_count) {
        int count = fd + 64;
        char(*peer)[PEER_SIZE] = realloc(a->peer, (size_t)count * PEER_SIZE);

        if (!peer)
            return; // its log lines lack the address, no more
        memset(peer + a->peer_count, 0, (size_t)(count - a->peer_count) * PEER_SIZE);
        a->peer = peer;
        a->peer_count = count;
    }
    format_address(a->peer[fd], PEER_SIZE, address, size);
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer)
{
    struct ls_accept *a = timer->data;

    if (a->fd >= 0)
        uv_poll_start(&a->poll, UV_READABLE, on_ready);
}

static void pause_accepting(struct ls_accept *a)
{
    char text[128];

    snprintf(text, sizeof text, "accept: %s; pausing", strerror(errno));
    ls_log_foreign(LS_LOG_WARN, "accept", text);
    uv_poll_stop(&a->poll);
    uv_timer_start(&a->pause, on_pause_over, PAUSE_MS, 0);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct ls_accept *a = poll->data;

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN && a->fd >= 0; i++) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        int on = 1,
            fd = accept4(a->fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                pause_accepting(a);
            if (errno == ECONNABORTED || errno == EINTR)
                continue;
            return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        remember(a, fd, &address, size);
        a->on_socket(a->user, fd);
    }
}

int ls_accept_open(struct ls_accept **out, struct uv_loop_s *loop, const char *address,
                   void (*on_socket)(void *user, int fd), void *user, struct ls_err *err)
{
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    struct ls_accept *a;
    int fd = bind_address(address, err);

    if (fd < 0)
        return fd;
    a = calloc(1, sizeof *a);
    if (!a || uv_poll_init(loop, &a->poll, fd)) {
        free(a);
        close(fd);
        return ls_fail(err, LS_ENOMEM, "listening on %s", address);
    }
    uv_timer_init(loop, &a->pause);
    a->poll.data = a->pause.data = a;
    a->handle_count = 2;
    a->fd = fd;
    a->on_socket = on_socket;
    a->user = user;
    if (!getsockname(fd, (struct sockaddr *)&bound, &size))
        format_address(a->address, sizeof a->address, &bound, size);
    uv_poll_start(&a->poll, UV_READABLE, on_ready);
    *out = a;
    return 0;
}

const char *ls_accept_address(const struct ls_accept *a)
{
    return a->address;
}

const char *ls_accept_peer(const struct ls_accept *a, int fd)
{
    return fd >= 0 && fd < a->peer_count ? a->peer[fd] : "";
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct ls_accept *a = handle->data;

    if (--a->handle_count == 0 && a->closing) {
        free(a->peer);
        free(a);
    }
}

void ls_accept_stop(struct ls_accept *a)
{
    if (a->fd < 0)
        return;
    uv_timer_stop(&a->pause);
    uv_poll_stop(&a->poll);
    uv_close((uv_handle_t *)&a->poll, on_handle_closed);
    close(a->fd);
    a->fd = -1;
}

void ls_accept_close(struct ls_accept **accept)
{
    struct ls_accept *a = *accept;

    if (!a)
        return;
    *accept = NULL;
    ls_accept_stop(a);
    a->closing = true;
    uv_close((uv_handle_t *)&a->pause, on_handle_closed);
}
