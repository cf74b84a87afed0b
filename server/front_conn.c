// SPDX-License-Identifier: Apache-2.0
// A connection's life: accepted, greeted (gRPC gets one end of a socket pair), ended, closed.
// Front's thread. Who ends it decides how: when gRPC closes its end, or the guard judges, what
// waits for the peer goes out first, then our half closes, and only then the socket, because a
// close with bytes unread makes the kernel send a reset that can overtake the GOAWAY. When the peer
// goes, all goes.
#include "server/front_impl.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "server/log.h"

// RFC 9113, section 7.
enum { NO_ERROR = 0, PROTOCOL_ERROR = 1, ENHANCE_YOUR_CALM = 11 };

// What a request of HTTP/1 gets. "\r\n" ends are HTTP's.
static const char http1_body[] =
    "This port speaks gRPC, over HTTP/2 only. Browsers reach it through a proxy that translates "
    "gRPC-Web. Metrics and health by HTTP/1.1 are on the admin port: see --admin-listen.\n";

static bool watch(struct ls_conn *c, int fd, uint32_t events, uintptr_t tag)
{
    struct epoll_event event = {.events = events, .data.u64 = (uintptr_t)c | tag};

    return !epoll_ctl(c->front->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

struct ls_conn *ls_conn_new(struct ls_front *f, int fd, const struct sockaddr *address)
{
    struct ls_conn *c = calloc(1, sizeof *c);
    int on = 1;

    if (!c) {
        close(fd);
        return NULL;
    }
    c->front = f;
    c->peer_fd = fd;
    c->rpc_fd = -1;
    c->since_ms = f->now_ms;
    ls_link_init(&c->place);
    ls_link_init(&c->late);
    ls_link_init(&c->ready);
    ls_guard_init(&c->guard, &f->limits, f->now_ms);
    ls_address_format(c->peer.address, address);
    c->peer.loopback = ls_address_loopback(address);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ls_link_enter(&f->hello, &c->place);
    atomic_fetch_add(&f->count, 1);
    ls_metrics_add(f->metrics, LS_COUNT_CONNECTIONS, 0, 0, 1);
    if (!watch(c, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 0)) {
        ls_conn_close(c, LS_CLOSE_FILES);
        return NULL;
    }
    return c;
}

bool ls_conn_greet(struct ls_conn *c)
{
    struct ls_front *f = c->front;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
        ls_log_foreign(LS_LOG_WARN, "accept", "no descriptors for a connection's socket pair");
        ls_conn_close(c, LS_CLOSE_FILES);
        return false;
    }
    c->rpc_fd = pair[0];
    c->state = LS_CONN_PASS;
    c->since_ms = f->now_ms;
    c->rpc_out = true;
    ls_link_enter(&f->idle, &c->place);
    if (!watch(c, c->rpc_fd, EPOLLIN | EPOLLRDHUP | EPOLLET, 1)) {
        close(pair[1]);
        ls_conn_close(c, LS_CLOSE_FILES);
        return false;
    }
    ls_front_remember(f, pair[1], &c->peer);
    f->on_socket(f->user, pair[1]); // given away
    return true;
}

void ls_conn_count(struct ls_conn *c, int cause)
{
    if (!c->counted)
        ls_metrics_add(c->front->metrics, LS_COUNT_CLOSED, cause, 0, 1);
    c->counted = true;
}

// Taken out of the epoll set first: closing alone does not, while a decode process that is being
// forked has a copy (epoll(7), question 6), and its events would name a connection that is gone.
static void close_fd(const struct ls_conn *c, int *fd)
{
    if (*fd >= 0) {
        epoll_ctl(c->front->epoll_fd, EPOLL_CTL_DEL, *fd, NULL);
        close(*fd);
    }
    *fd = -1;
}

void ls_conn_close(struct ls_conn *c, int cause)
{
    if (c->state == LS_CONN_DEAD)
        return;
    ls_conn_count(c, cause);
    c->state = LS_CONN_DEAD;
    close_fd(c, &c->peer_fd);
    close_fd(c, &c->rpc_fd);
    ls_link_leave(&c->late);
    ls_link_leave(&c->ready);
    ls_link_enter(&c->front->dead, &c->place);
    atomic_fetch_sub(&c->front->count, 1);
}

void ls_conn_end(struct ls_conn *c, int cause)
{
    if (c->state >= LS_CONN_FLUSH)
        return;
    ls_conn_count(c, cause);
    c->state = LS_CONN_FLUSH;
    c->since_ms = c->front->now_ms;
    close_fd(c, &c->rpc_fd);
    ls_bytes_done(&c->to_rpc);
    ls_link_leave(&c->late);
    ls_link_enter(&c->front->flush, &c->place);
    ls_link_enter(&c->front->ready, &c->ready);
    if (c->tls)
        ls_tls_session_end(c->tls);
}

static void say_goaway(struct ls_conn *c, uint32_t code)
{
    uint32_t last = c->guard.last_stream, most = ls_guard_goaway_max(&c->guard);
    uint8_t frame[LS_GUARD_GOAWAY];

    ls_guard_goaway(frame, last < most ? last : most, code);
    (void)!ls_conn_put(c, frame, sizeof frame);
}

// Whoever opens a stream at this moment learns that it was not seen, and may safely ask elsewhere.
static void say_goodbye(struct ls_conn *c)
{
    if (c->state == LS_CONN_PASS && !ls_guard_border(&c->guard, NULL, 0))
        say_goaway(c, NO_ERROR);
}

void ls_conn_evict(struct ls_conn *c, int cause)
{
    if (!c->to_peer.size) // it will not be flushed
        say_goodbye(c);
    ls_conn_close(c, cause);
}

void ls_conn_finish(struct ls_conn *c)
{
    say_goodbye(c);
    ls_conn_end(c, LS_CLOSE_SERVER);
}

// What gRPC has begun to say is said to the end of its frame, so that the GOAWAY can be read.
// False: no such place is at hand.
static bool finish_frame(struct ls_conn *c, const uint8_t *data, size_t size)
{
    struct ls_front *f = c->front;
    size_t border = ls_guard_border(&c->guard, NULL, 0);
    ssize_t n;

    if (!border)
        return true;
    if (!data) {
        n = recv(c->rpc_fd, f->data, sizeof f->data, MSG_DONTWAIT);
        if (n <= 0)
            return false;
        data = f->data;
        size = (size_t)n;
    }
    border = ls_guard_border(&c->guard, data, size);
    return border <= size && ls_conn_put(c, data, border);
}

static void answer_http1(struct ls_conn *c)
{
    char text[512];
    int size = snprintf(text, sizeof text,
                        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
                        "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                        sizeof http1_body - 1, http1_body);

    (void)!ls_conn_put(c, text, (size_t)size);
}

void ls_conn_verdict(struct ls_conn *c, enum ls_guard_verdict verdict, const uint8_t *data,
                     size_t size)
{
    char text[160];

    if (c->state >= LS_CONN_FLUSH)
        return;
    snprintf(text, sizeof text, "%s: %s; the connection is closed", c->peer.address,
             ls_guard_text(verdict));
    ls_log_foreign(LS_LOG_WARN, "guard", text);
    if (verdict == LS_GUARD_HTTP1)
        answer_http1(c);
    else if (c->state == LS_CONN_PASS && finish_frame(c, data, size))
        say_goaway(c, verdict == LS_GUARD_FRAME ? PROTOCOL_ERROR : ENHANCE_YOUR_CALM);
    ls_conn_end(c, LS_CLOSE_GUARD + (int)verdict - 1);
}

void ls_conn_free(struct ls_conn *c)
{
    ls_link_leave(&c->place);
    ls_tls_session_free(&c->tls);
    ls_guard_done(&c->guard);
    ls_bytes_done(&c->to_peer);
    ls_bytes_done(&c->to_rpc);
    free(c);
}
