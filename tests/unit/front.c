// SPDX-License-Identifier: Apache-2.0
// Bytes through the listening port, by real sockets: all arrive as they were, plain and by TLS, in
// any chunks; a side that is not read holds up the other and costs no memory; GOAWAY stands between
// frames; what gRPC said last arrives when it closes. See front_limits.c for who is turned away.
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/_certs.h"
#include "tests/unit/_front.h"

static struct ls_tls *tls;
static SSL_CTX *client13, *client12;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif
enum { WAIT_MS = 5000, MORE = 1 << 20, MOST = 32 << 20 };

// gRPC's end takes so many bytes.
static bool drop(int fd, size_t size)
{
    uint8_t data[4096];

    return socket_read(fd, data, size, WAIT_MS) == size;
}

static void wait_for(int fd, short events)
{
    poll(&(struct pollfd){.fd = fd, .events = events}, 1, WAIT_MS);
}

// --- everything arrives ---

// gRPC's end: what comes goes back, in pieces of any size.
static void *echo(void *arg)
{
    static uint8_t data[50000];
    int fd = *(int *)arg;
    ssize_t n;

    for (;;) {
        wait_for(fd, POLLIN);
        n = recv(fd, data, 1 + (size_t)rand() % sizeof data, 0);
        if (n <= 0)
            return NULL;
        for (ssize_t at = 0; at < n;) {
            ssize_t sent = send(fd, data + at, (size_t)(n - at), MSG_NOSIGNAL);

            if (sent < 0 && errno != EAGAIN)
                return NULL;
            if (sent < 0)
                wait_for(fd, POLLOUT);
            at += sent > 0 ? sent : 0;
        }
    }
}

static void echoes(SSL_CTX *ctx, const char *row)
{
    struct block block = block_make(4 << 20, true);
    static uint8_t got[70000];
    size_t sent = 0, came = 0;
    struct caller c;
    struct port p;
    pthread_t thread;
    int fd;

    port_init(&p);
    port_open(&p, ctx ? tls : NULL, row);
    fd = caller_greet(&c, &p, ctx, row);
    pthread_create(&thread, NULL, echo, &fd);
    while (came < block.size) {
        size_t size = 1 + (size_t)rand() % sizeof got;
        ssize_t n = -1, m = -1;

        if (sent < block.size)
            n = caller_try_send(&c, block.data + sent,
                                size < block.size - sent ? size : block.size - sent);
        sent += n > 0 ? (size_t)n : 0;
        m = caller_try_read(&c, got, size);
        if (!CHECK(m != 0, row) ||
            (m > 0 && !CHECK(!memcmp(got, block.data + came, (size_t)m), row)))
            break;
        came += m > 0 ? (size_t)m : 0;
        if (n < 0 && m < 0)
            wait_for(c.fd, sent < block.size ? POLLIN | POLLOUT : POLLIN);
    }
    CHECK(ls_front_connections(p.front) == 1, row);
    caller_close(&c);
    pthread_join(thread, NULL);
    CHECK(port_wait_closed(&p, LS_CLOSE_PEER, 1), row);
    CHECK(port_wait_empty(&p), row);
    CHECK(ls_metrics_get(p.metrics, LS_COUNT_CONNECTIONS, 0, 0) == 1, row);
    close(fd);
    port_close(&p);
    free(block.data);
}

// --- back-pressure ---

// Writes the block again and again until nobody takes any more for a while.
static size_t fill(struct caller *c, int fd, const struct block *block)
{
    size_t total = 0;

    for (int idle = 0; idle < 100 && total < MOST;) {
        size_t at = total % block->size;
        ssize_t n = c ? caller_try_send(c, block->data + at, block->size - at)
                      : send(fd, block->data + at, block->size - at, MSG_NOSIGNAL | MSG_DONTWAIT);

        total += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        if (n <= 0)
            usleep(3000);
    }
    return total;
}

// All of it comes out at the other end.
static bool empty(struct caller *c, int fd, const struct block *block, size_t total)
{
    static uint8_t data[60000];
    size_t came = 0;
    bool ended;

    while (came < total) {
        size_t at = came % block->size,
               most = sizeof data < total - came ? sizeof data : total - came;
        size_t n =
            c ? caller_read(c, data, most, WAIT_MS, &ended) : socket_read(fd, data, most, WAIT_MS);

        for (size_t i = 0; i < n; i++)
            if (data[i] != block->data[(at + i) % block->size])
                return false;
        if (!n)
            return false;
        came += n;
    }
    return true;
}

static size_t heap(void)
{
    return SANITIZED ? 0 : mallinfo2().uordblks;
}

static void holds_up(SSL_CTX *ctx, bool up, const char *row)
{
    struct block head = block_make(1, true), block = block_make(MORE, false);
    size_t total, before;
    struct caller c;
    struct port p;
    int fd;

    port_init(&p);
    port_open(&p, ctx ? tls : NULL, row);
    fd = caller_greet(&c, &p, ctx, row);
    CHECK(caller_send(&c, head.data, head.size), row);
    CHECK(drop(fd, head.size), row);
    before = heap();
    total = fill(up ? &c : NULL, fd, &block);
    // What the kernel buffers of two TCP sockets and a pair is up to it.
    CHECK(total > 100000 && total < MOST, row);
    CHECK(heap() < before + (768 << 10), row);
    CHECK(empty(up ? NULL : &c, fd, &block, total), row);
    CHECK(heap() < before + (64 << 10), row);
    caller_close(&c);
    close(fd);
    CHECK(port_wait_closed(&p, LS_CLOSE_PEER, 1), row);
    port_close(&p);
    free(head.data);
    free(block.data);
}

// --- ends ---

// gRPC says a lot, closes, and the caller reads late: all of it, then the end.
static void last_words(SSL_CTX *ctx, const char *row)
{
    struct block block = block_make(200000, false);
    uint8_t byte;
    struct caller c;
    struct port p;
    bool ended;
    int fd;

    port_init(&p);
    port_open(&p, ctx ? tls : NULL, row);
    fd = caller_greet(&c, &p, ctx, row);
    for (size_t at = 0; at < block.size;) {
        ssize_t n = send(fd, block.data + at, block.size - at, MSG_NOSIGNAL);

        if (n < 0)
            wait_for(fd, POLLOUT);
        at += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    CHECK(port_wait_closed(&p, LS_CLOSE_SERVER, 1), row);
    // Unread bytes of the caller must not turn the end into a reset.
    caller_send(&c, "late", 4);
    usleep(100000);
    CHECK(empty(&c, -1, &block, block.size), row);
    CHECK(caller_read(&c, &byte, 1, WAIT_MS, &ended) == 0 && ended, row);
    if (ctx)
        CHECK(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN, row);
    caller_close(&c);
    CHECK(port_wait_empty(&p), row);
    port_close(&p);
    free(block.data);
}

// The port goes while one caller has said nothing, one is greeted and one is told its last words.
static void all_at_once(SSL_CTX *ctx)
{
    const char *row = "close with live connections";
    struct caller idle, live;
    uint8_t byte;
    struct port p;
    bool ended;
    int fd;

    port_init(&p);
    port_open(&p, ctx ? tls : NULL, row);
    fd = caller_greet(&live, &p, ctx, row);
    CHECK(caller_open(&idle, &p, NULL), row);
    port_close(&p);
    CHECK(recv(fd, &byte, 1, 0) == 0, row);
    CHECK(caller_read(&live, &byte, 1, WAIT_MS, &ended) == 0 && ended, row);
    CHECK(caller_read(&idle, &byte, 1, WAIT_MS, &ended) == 0 && ended, row);
    close(fd);
    caller_close(&live);
    caller_close(&idle);
}

static void stops(void)
{
    const char *row = "stop";
    struct bytes b = {.size = 0};
    struct caller live, hello, late;
    uint8_t got[64];
    struct port p;
    bool ended;
    int fd;

    port_init(&p);
    port_open(&p, NULL, row);
    fd = caller_greet(&live, &p, NULL, row);
    CHECK(caller_open(&hello, &p, NULL), row);
    ls_front_stop(p.front);
    ls_front_stop(p.front); // harmless
    CHECK(!caller_open(&late, &p, NULL), "stop: the port is closed");
    CHECK(caller_ended(&hello, WAIT_MS), "stop: who was not greeted is let go");
    put(&b, PING, 0, 0, 8, 1);
    CHECK(caller_send(&live, b.data, b.size) && socket_read(fd, got, b.size, WAIT_MS) == b.size &&
              !memcmp(got, b.data, b.size),
          "stop: up");
    CHECK(send(fd, b.data, b.size, 0) == (ssize_t)b.size &&
              caller_read(&live, got, b.size, WAIT_MS, &ended) == b.size,
          "stop: down");
    CHECK(p.sockets_seen == 1, row);
    caller_close(&live);
    caller_close(&hello);
    close(fd);
    port_close(&p);
}

// --- drain ---

static bool is_goaway(const uint8_t *frame, uint32_t last, uint32_t code)
{
    uint8_t want[LS_GUARD_GOAWAY];

    ls_guard_goaway(want, last, code);
    return !memcmp(frame, want, sizeof want);
}

static void between_frames(SSL_CTX *ctx, const char *row)
{
    struct bytes b = {.size = 0};
    uint8_t got[4096];
    struct caller half, idle;
    struct port p;
    int fd_half, fd_idle;
    bool ended;

    port_init(&p);
    port_open(&p, ctx ? tls : NULL, row);
    fd_half = caller_greet(&half, &p, ctx, row);
    fd_idle = caller_greet(&idle, &p, ctx, row);
    put(&b, DATA, 0, 1, 1000, 0);
    put(&b, DATA, 0, 1, 50, 0);
    CHECK(send(fd_half, b.data, 300, 0) == 300, row);
    CHECK(caller_read(&half, got, 300, WAIT_MS, &ended) == 300, row);
    ls_front_drain(p.front);
    CHECK(caller_read(&idle, got, LS_GUARD_GOAWAY, WAIT_MS, &ended) == LS_GUARD_GOAWAY &&
              is_goaway(got, 0x7fffffff, 0),
          "an idle one hears it at once");
    CHECK(caller_read(&half, got, 1, 200, &ended) == 0 && !ended, "not inside a frame");
    CHECK(send(fd_half, b.data + 300, b.size - 300, 0) == (ssize_t)(b.size - 300), row);
    CHECK(caller_read(&half, got, b.size - 300 + LS_GUARD_GOAWAY, WAIT_MS, &ended) ==
              b.size - 300 + LS_GUARD_GOAWAY,
          row);
    CHECK(!memcmp(got, b.data + 300, 709) && is_goaway(got + 709, 0x7fffffff, 0) &&
              !memcmp(got + 709 + LS_GUARD_GOAWAY, b.data + 1009, 59),
          row);
    CHECK(caller_read(&half, got, 1, 100, &ended) == 0 && !ended, "said once");
    caller_close(&half);
    caller_close(&idle);
    close(fd_half);
    close(fd_idle);
    port_close(&p);
}

// Who comes during a drain may ask once.
static void newcomers(void)
{
    const char *row = "newcomer";
    struct bytes b = {.size = 0};
    struct caller asks, silent;
    uint8_t got[64];
    struct port p;
    int fd_asks, fd_silent;
    bool ended;

    port_init(&p);
    port_open(&p, NULL, row);
    ls_front_drain(p.front);
    fd_silent = caller_greet(&silent, &p, NULL, row);
    fd_asks = caller_greet(&asks, &p, NULL, row);
    CHECK(caller_read(&asks, got, 1, 200, &ended) == 0 && !ended, "not before it asked");
    put(&b, HEADERS, READY | END, 1, 30, 0);
    CHECK(caller_send(&asks, b.data, b.size), row);
    CHECK(drop(fd_asks, b.size), "what it asks reaches gRPC");
    CHECK(caller_read(&asks, got, LS_GUARD_GOAWAY, WAIT_MS, &ended) == LS_GUARD_GOAWAY &&
              is_goaway(got, 0x7fffffff, 0),
          "once it asked");
    CHECK(caller_read(&silent, got, LS_GUARD_GOAWAY, WAIT_MS, &ended) == LS_GUARD_GOAWAY &&
              is_goaway(got, 0x7fffffff, 0),
          "when it asks nothing");
    caller_close(&asks);
    caller_close(&silent);
    close(fd_asks);
    close(fd_silent);
    port_close(&p);
}

// gRPC has said that streams above 1 were not seen (a connection's age): a drain that names a
// larger one would break the streams that run (RFC 9113, 6.8; grpc-go and nghttp2 end the
// connection).
static void second_goodbye(SSL_CTX *ctx, size_t cut, const char *row)
{
    struct bytes up = {.size = 0};
    uint8_t got[64], graceful[LS_GUARD_GOAWAY], last[LS_GUARD_GOAWAY];
    struct caller c;
    struct port p;
    bool ended;
    int fd;

    port_init(&p);
    port_open(&p, ctx ? tls : NULL, row);
    fd = caller_greet(&c, &p, ctx, row);
    put(&up, HEADERS, READY, 1, 30, 0);
    CHECK(caller_send(&c, up.data, up.size) && drop(fd, up.size), row);
    ls_guard_goaway(graceful, 0x7fffffff, 0);
    ls_guard_goaway(last, 1, 0);
    CHECK(send(fd, graceful, sizeof graceful, 0) == sizeof graceful, row);
    CHECK(send(fd, last, cut, 0) == (ssize_t)cut, row);
    CHECK(caller_read(&c, got, sizeof graceful + cut, WAIT_MS, &ended) == sizeof graceful + cut,
          row);
    ls_front_drain(p.front);
    usleep(20000);
    CHECK(send(fd, last + cut, sizeof last - cut, 0) == (ssize_t)(sizeof last - cut), row);
    CHECK(caller_read(&c, got, sizeof last - cut, WAIT_MS, &ended) == sizeof last - cut, row);
    CHECK(caller_read(&c, got, sizeof got, 300, &ended) == LS_GUARD_GOAWAY && !ended &&
              is_goaway(got, 1, 0),
          row);
    caller_close(&c);
    close(fd);
    port_close(&p);
}

// Who has no stream is let go at once, who has one when it ends; both learn what was seen of them.
static void finishes(void)
{
    const char *row = "finish";
    struct bytes up = {.size = 0}, down = {.size = 0};
    struct caller idle, busy;
    uint8_t got[128];
    struct port p;
    int fd_idle, fd_busy;
    bool ended;

    port_init(&p);
    port_open(&p, NULL, row);
    fd_idle = caller_greet(&idle, &p, NULL, row);
    fd_busy = caller_greet(&busy, &p, NULL, row);
    put(&up, HEADERS, READY | END, 5, 10, 0);
    put(&down, HEADERS, READY | END, 5, 20, 0);
    CHECK(caller_send(&busy, up.data, up.size) && drop(fd_busy, up.size), row);
    ls_front_stop(p.front);
    ls_front_finish(p.front);
    CHECK(caller_read(&idle, got, sizeof got, WAIT_MS, &ended) == LS_GUARD_GOAWAY && ended &&
              is_goaway(got, 0, 0),
          "finish: idle");
    CHECK(caller_read(&busy, got, 1, 100, &ended) == 0 && !ended, "finish: busy");
    CHECK(send(fd_busy, down.data, down.size, 0) == (ssize_t)down.size, row);
    CHECK(caller_read(&busy, got, sizeof got, WAIT_MS, &ended) == down.size + LS_GUARD_GOAWAY &&
              ended && !memcmp(got, down.data, down.size) && is_goaway(got + down.size, 5, 0),
          "finish: the last stream ended");
    CHECK(recv(fd_busy, got, 1, 0) == 0 && recv(fd_idle, got, 1, 0) == 0, "finish: gRPC's ends");
    caller_close(&idle);
    caller_close(&busy);
    CHECK(port_wait_empty(&p), row);
    close(fd_idle);
    close(fd_busy);
    port_close(&p);
}

// --- who is behind a descriptor ---

static void peers(const struct test_cert *ca, struct ls_tls *mutual, const struct test_cert *own)
{
    SSL_CTX *ctx = certs_client(ca, own);
    struct ls_peer peer;
    struct caller c;
    struct port p;
    int fd;

    port_init(&p);
    port_open(&p, mutual, "peer");
    fd = caller_greet(&c, &p, ctx, "peer");
    ls_front_peer(p.front, fd, &peer);
    CHECK(peer.loopback && peer.tls && peer.certified, "peer");
    CHECK(!strncmp(peer.address, "127.0.0.1:", 10), "peer's address");
    CHECK(!strcmp(peer.certificate, "spiffe://test/caller"), "peer's certificate");
    ls_front_peer(p.front, fd + 1000, &peer);
    CHECK(!peer.loopback && !peer.tls && !peer.address[0], "nobody");
    ls_front_peer(p.front, -1, &peer);
    CHECK(!peer.loopback, "no descriptor");
    caller_close(&c);
    close(fd);
    port_close(&p);
    SSL_CTX_free(ctx);
}

int main(void)
{
    struct test_cert ca = certs_make(&(struct test_cert_params){.name = "ca"});
    struct test_cert server =
        certs_make(&(struct test_cert_params){.name = "server", .san = "DNS:localhost", .ca = &ca});
    struct test_cert own = certs_make(
        &(struct test_cert_params){.name = "own", .san = "URI:spiffe://test/caller", .ca = &ca});
    struct ls_tls *mutual = NULL;
    struct ls_options opt;

    ls_options_init(&opt);
    opt.tls_cert = certs_write("cert.pem", server.cert, NULL, NULL, NULL);
    opt.tls_key = certs_write("key.pem", NULL, NULL, server.key, NULL);
    CHECK(ls_tls_open(&tls, &opt, NULL) == 0, "TLS");
    opt.tls_client_ca = certs_write("ca.pem", ca.cert, NULL, NULL, NULL);
    CHECK(ls_tls_open(&mutual, &opt, NULL) == 0, "mutual TLS");
    client13 = certs_client(&ca, NULL);
    client12 = certs_client(&ca, NULL);
    SSL_CTX_set_max_proto_version(client12, TLS1_2_VERSION);
    echoes(NULL, "echo, plain");
    echoes(client13, "echo, 1.3");
    echoes(client12, "echo, 1.2");
    holds_up(NULL, true, "gRPC does not read, plain");
    holds_up(client13, true, "gRPC does not read, TLS");
    holds_up(NULL, false, "the caller does not read, plain");
    holds_up(client13, false, "the caller does not read, TLS");
    last_words(NULL, "last words, plain");
    last_words(client13, "last words, TLS");
    all_at_once(NULL);
    all_at_once(client13);
    stops();
    between_frames(NULL, "GOAWAY, plain");
    between_frames(client13, "GOAWAY, TLS");
    newcomers();
    second_goodbye(NULL, LS_GUARD_GOAWAY, "two goodbyes, plain");
    second_goodbye(client13, LS_GUARD_GOAWAY, "two goodbyes, TLS");
    second_goodbye(NULL, 11, "a goodbye in two parts");
    finishes();
    peers(&ca, mutual, &own);
    SSL_CTX_free(client12);
    SSL_CTX_free(client13);
    ls_tls_close(&tls);
    ls_tls_close(&mutual);
    certs_free(&ca);
    certs_free(&server);
    certs_free(&own);
    certs_done();
    return check_done();
}
