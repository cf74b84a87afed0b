// SPDX-License-Identifier: Apache-2.0
// Moves a connection's bytes: peer -> (TLS) -> guard -> gRPC, and back. Front's thread. The
// back-pressure is that a side is read only while nothing waits for the other: what a direction
// holds is at most the one chunk that a full socket did not take. What surprises: events come on
// edges, so a flag stays set until a system call says EAGAIN, and a turn that used up its share
// comes again without an event.
#include "server/front_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "server/log.h"

enum {
    SHARE = 4, // chunks of a direction in one turn, then the others have theirs
    // Encrypted bytes that TLS makes by itself (answers to key updates) for a peer that does not
    // read: beyond, it is not read either.
    UNREAD_MAX = 262144,
    THROWN_MAX = 1 << 20, // read and thrown away for a peer that does not stop
    NEWCOMER_MS = 1000,   // for the first call of a connection that comes during a drain
};

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK; // no signal comes to this thread
}

// --- to the peer ---

// As they are. What the socket does not take waits. False: dead.
static bool send_peer(struct ls_conn *c, const uint8_t *data, size_t size)
{
    while (size && !c->to_peer.size && c->peer_out) {
        ssize_t n = send(c->peer_fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n >= 0) {
            c->taken = true;
            data += n;
            size -= (size_t)n;
        } else if (would_block()) {
            c->peer_out = false;
        } else {
            ls_conn_close(c, LS_CLOSE_PEER);
            return false;
        }
    }
    if (ls_bytes_push(&c->to_peer, data, size) < 0) {
        ls_conn_close(c, LS_CLOSE_SERVER);
        return false;
    }
    return true;
}

static bool flush_waiting(struct ls_conn *c)
{
    while (c->to_peer.size && c->peer_out) {
        ssize_t n = send(c->peer_fd, ls_bytes_at(&c->to_peer), c->to_peer.size,
                         MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n >= 0) {
            c->taken = true;
            ls_bytes_drop(&c->to_peer, (size_t)n);
        } else if (would_block()) {
            c->peer_out = false;
        } else {
            ls_conn_close(c, LS_CLOSE_PEER);
            return false;
        }
    }
    return true;
}

bool ls_conn_flush(struct ls_conn *c)
{
    struct ls_front *f = c->front;
    int n;

    if (!flush_waiting(c))
        return false;
    while (c->tls && (n = ls_tls_session_take(c->tls, f->records, sizeof f->records)) > 0)
        if (!send_peer(c, f->records, (size_t)n))
            return false;
    return true;
}

bool ls_conn_put(struct ls_conn *c, const void *data, size_t size)
{
    if (c->state == LS_CONN_DEAD)
        return false;
    if (!c->tls)
        return send_peer(c, data, size);
    if (ls_tls_session_write(c->tls, data, (int)size, NULL) < 0) {
        ls_conn_end(c, LS_CLOSE_PEER);
        return false;
    }
    return ls_conn_flush(c);
}

// --- to gRPC ---

// Asks the kernel to tell of room, or no more: gRPC's every read would wake this thread otherwise.
static void want_rpc_room(struct ls_conn *c, bool wanted)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET | (wanted ? EPOLLOUT : 0),
                                .data.u64 = (uintptr_t)c | 1};

    if (wanted != c->rpc_blocked)
        epoll_ctl(c->front->epoll_fd, EPOLL_CTL_MOD, c->rpc_fd, &event);
    c->rpc_blocked = wanted;
}

// How many bytes gRPC's end took; -1: gRPC closed it.
static ssize_t send_rpc(struct ls_conn *c, const uint8_t *data, size_t size)
{
    size_t done = 0;

    while (done < size && c->rpc_out) {
        ssize_t n = send(c->rpc_fd, data + done, size - done, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n >= 0)
            done += (size_t)n;
        else if (would_block())
            c->rpc_out = false;
        else
            return -1;
    }
    if (done < size)
        want_rpc_room(c, true);
    return (ssize_t)done;
}

// Bytes that the guard let pass. False: gRPC takes no more now, or the connection is over.
static bool pass_to_rpc(struct ls_conn *c, const uint8_t *data, size_t size)
{
    ssize_t n = send_rpc(c, data, size);

    if (n < 0) { // what gRPC said before it closed is still to be read
        c->rpc_in = c->rpc_end = true;
        return true;
    }
    if (ls_bytes_push(&c->to_rpc, data + n, size - (size_t)n) < 0) {
        ls_conn_close(c, LS_CLOSE_SERVER);
        return false;
    }
    return !c->to_rpc.size;
}

static bool flush_rpc(struct ls_conn *c)
{
    ssize_t n;

    if (!c->to_rpc.size)
        return true;
    n = send_rpc(c, ls_bytes_at(&c->to_rpc), c->to_rpc.size);
    ls_bytes_drop(&c->to_rpc, n < 0 ? c->to_rpc.size : (size_t)n);
    if (c->to_rpc.size)
        return false;
    want_rpc_room(c, false);
    return true;
}

// --- from the peer ---

// In the ring of those whose frames are watched for their end.
static void watch_late(struct ls_conn *c)
{
    if (!c->guard.waiting)
        ls_link_leave(&c->late);
    else if (c->guard.since_ms == c->front->now_ms || c->late.next == &c->late)
        ls_link_enter(&c->front->late, &c->late);
}

// Bytes as gRPC is to see them. False: no more now.
static bool pass_up(struct ls_conn *c, uint8_t *data, size_t size)
{
    enum ls_guard_verdict verdict = ls_guard_in(&c->guard, data, size, c->front->now_ms);

    if (verdict != LS_GUARD_OK) {
        ls_conn_verdict(c, verdict, NULL, 0);
        return false;
    }
    if (c->state == LS_CONN_HELLO) {
        // The preface alone has no room for more than itself: what came before this is in to_rpc.
        if (!ls_guard_greeted(&c->guard)) {
            if (ls_bytes_push(&c->to_rpc, data, size) < 0)
                ls_conn_close(c, LS_CLOSE_SERVER);
            return c->state == LS_CONN_HELLO;
        }
        if (!ls_conn_greet(c))
            return false;
        flush_rpc(c); // an empty socket takes it
    }
    watch_late(c);
    return pass_to_rpc(c, data, size);
}

static void fail_tls(struct ls_conn *c, const struct ls_err *err)
{
    bool early = !c->peer.tls;
    char text[512];

    if (early && err->code != LS_ECANCEL) {
        snprintf(text, sizeof text, "%s: %s", c->peer.address, err->text);
        ls_log_foreign(LS_LOG_INFO, "tls", text);
    }
    // The alert goes out, and gRPC hears of the end.
    ls_conn_end(c, early ? LS_CLOSE_HANDSHAKE : LS_CLOSE_PEER);
}

// What the socket has, or 0: nothing now; -1: the connection is over.
static ssize_t read_peer(struct ls_conn *c, uint8_t *data, size_t size)
{
    ssize_t n;

    if (!c->peer_in)
        return 0;
    n = recv(c->peer_fd, data, size, MSG_DONTWAIT);
    if (n > 0) {
        c->peer_in = (size_t)n == size || c->peer_end;
        return n;
    }
    c->peer_in = false;
    if (n < 0 && would_block())
        return 0;
    ls_conn_close(c, LS_CLOSE_PEER);
    return -1;
}

// A chunk of what the peer's records hold, as read_peer.
static ssize_t read_tls(struct ls_conn *c, uint8_t *data, size_t size)
{
    struct ls_front *f = c->front;
    struct ls_err err = {0};
    ssize_t n = 0;
    int r = 0, chunks = 0;

    if (!c->tls && !c->peer_in)
        return 0;
    // A session only now: a connection that says nothing costs none.
    if (!c->tls && ls_tls_session_new(&c->tls, f->tls, &err) < 0) {
        ls_conn_close(c, LS_CLOSE_HANDSHAKE);
        return -1;
    }
    for (;;) {
        while ((size_t)n < size &&
               (r = ls_tls_session_read(c->tls, data + n, (int)(size - (size_t)n), &err)) > 0)
            n += r;
        if (!c->peer.tls && ls_tls_session_ready(c->tls))
            ls_tls_session_peer(c->tls, &c->peer);
        if (n || r < 0)
            break;
        if (chunks++ == SHARE) { // nothing but handshakes: others have their turn
            ls_link_enter(&f->ready, &c->ready);
            break;
        }
        n = read_peer(c, f->records, sizeof f->records);
        if (n <= 0)
            break;
        if (ls_tls_session_feed(c->tls, f->records, (size_t)n, &err) < 0) {
            ls_conn_close(c, LS_CLOSE_SERVER);
            return -1;
        }
        n = 0;
    }
    if (n < 0)
        return -1;
    if (!ls_conn_flush(c)) // the handshake's next message, an alert, a ticket
        return -1;
    if (!n && r < 0) {
        fail_tls(c, &err);
        return -1;
    }
    return n;
}

// True: there may be more.
static bool go_up(struct ls_conn *c)
{
    struct ls_front *f = c->front;
    bool sealed = f->tls;

    if (c->state == LS_CONN_PASS && !flush_rpc(c))
        return false;
    for (int i = 0; i < SHARE; i++) {
        ssize_t n;

        if (c->to_peer.size > UNREAD_MAX)
            return false;
        n = sealed ? read_tls(c, f->data, sizeof f->data) : read_peer(c, f->data, sizeof f->data);
        if (n <= 0 || !pass_up(c, f->data, (size_t)n))
            return false;
    }
    return true;
}

// --- from gRPC ---

// Who comes while the server drains is let ask once: told before, it would come again and again, as
// its calls could never begin.
static bool goaway_due(const struct ls_conn *c)
{
    const struct ls_front *f = c->front;

    return f->draining && !c->told &&
           (c->old || c->guard.last_stream || f->now_ms - c->since_ms > NEWCOMER_MS);
}

void ls_conn_goaway(struct ls_conn *c)
{
    uint8_t frame[LS_GUARD_GOAWAY];

    if (c->state != LS_CONN_PASS || !goaway_due(c) || ls_guard_border(&c->guard, NULL, 0))
        return;
    c->told = true;
    ls_guard_goaway(frame, ls_guard_goaway_max(&c->guard), 0);
    (void)!ls_conn_put(c, frame, sizeof frame);
}

static bool pass_part(struct ls_conn *c, const uint8_t *data, size_t size)
{
    struct ls_guard_side before = c->guard.out;
    enum ls_guard_verdict verdict = ls_guard_out(&c->guard, data, size, c->front->now_ms);

    if (verdict == LS_GUARD_OK)
        return ls_conn_put(c, data, size);
    c->guard.out = before; // none of it was said
    ls_conn_verdict(c, verdict, data, size);
    return false;
}

// False: no more now.
static bool pass_down(struct ls_conn *c, const uint8_t *data, size_t size)
{
    size_t border = size + 1;

    if (goaway_due(c))
        border = ls_guard_border(&c->guard, data, size);
    if (border > size)
        return pass_part(c, data, size);
    if (border && !pass_part(c, data, border))
        return false;
    ls_conn_goaway(c);
    return c->state == LS_CONN_PASS && pass_part(c, data + border, size - border);
}

// True: there may be more.
static bool go_down(struct ls_conn *c)
{
    struct ls_front *f = c->front;

    ls_conn_goaway(c);
    for (int i = 0; i < SHARE; i++) {
        ssize_t n;

        if (c->state != LS_CONN_PASS || c->to_peer.size || !c->rpc_in)
            return false;
        n = recv(c->rpc_fd, f->data, sizeof f->data, MSG_DONTWAIT);
        if (n > 0) {
            c->rpc_in = (size_t)n == sizeof f->data || c->rpc_end;
            if (!pass_down(c, f->data, (size_t)n))
                return false;
            continue;
        }
        c->rpc_in = false;
        if (n < 0 && would_block())
            return false;
        ls_conn_end(c, LS_CLOSE_SERVER); // a reset, too: it closed with our bytes unread
        return false;
    }
    return true;
}

// --- the end ---

// A slow reader is waited for as long as it takes something.
static bool flushed(struct ls_conn *c)
{
    size_t before = c->to_peer.size;

    if (!ls_conn_flush(c))
        return false;
    if (c->to_peer.size && c->to_peer.size != before) {
        c->since_ms = c->front->now_ms;
        ls_link_enter(&c->front->flush, &c->place);
    }
    return !c->to_peer.size;
}

static void linger(struct ls_conn *c)
{
    struct ls_front *f = c->front;
    ssize_t n;

    if (c->state == LS_CONN_FLUSH) {
        if (!flushed(c))
            return;
        shutdown(c->peer_fd, SHUT_WR);
        c->state = LS_CONN_LINGER;
        c->since_ms = f->now_ms;
        ls_link_enter(&f->linger, &c->place);
    }
    while ((n = read_peer(c, f->data, sizeof f->data)) > 0) {
        c->thrown += n;
        if (c->thrown > THROWN_MAX) {
            ls_conn_close(c, LS_CLOSE_PEER);
            return;
        }
    }
}

// In the ring where it belongs while gRPC has the other end, or had it: what gRPC said last waits
// here for the peer, which may never read it.
static void place(struct ls_conn *c)
{
    struct ls_front *f = c->front;

    if (!c->rpc_end) {
        ls_link_enter(ls_guard_streams(&c->guard) ? &f->busy : &f->idle, &c->place);
        return;
    }
    if (c->taken || !c->leaving) {
        c->since_ms = f->now_ms;
        ls_link_enter(&f->leaving, &c->place);
    }
    c->leaving = true;
    c->taken = false;
}

void ls_conn_run(struct ls_conn *c)
{
    struct ls_front *f = c->front;
    bool more = false;

    if (c->state < LS_CONN_FLUSH && ls_conn_flush(c)) {
        more = go_up(c);
        if (c->state == LS_CONN_PASS)
            more |= go_down(c);
        if (c->state == LS_CONN_PASS) // streams began and ended
            place(c);
    }
    if (c->state == LS_CONN_FLUSH || c->state == LS_CONN_LINGER)
        linger(c);
    if (c->state < LS_CONN_FLUSH && more)
        ls_link_enter(&f->ready, &c->ready);
}
