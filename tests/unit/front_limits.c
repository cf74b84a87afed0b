// SPDX-License-Identifier: Apache-2.0
// Who is turned away at the listening port, and how: slow and silent ones, HTTP/1, plain bytes on a
// TLS port, what the frame guard judges, connections beyond the limit, and all of them while
// descriptors are used up; each with a good caller beside it where that matters.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/_certs.h"
#include "tests/unit/_front.h"

enum { WAIT_MS = 5000 };

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool is_goaway(const uint8_t *frame, uint32_t last, uint32_t code)
{
    uint8_t want[LS_GUARD_GOAWAY];

    ls_guard_goaway(want, last, code);
    return !memcmp(frame, want, sizeof want);
}

// The good caller: a ping goes up, another comes down.
static void pings(struct caller *c, int fd, const char *row)
{
    struct bytes b = {.size = 0};
    uint8_t got[32];
    bool ended;

    put(&b, PING, 0, 0, 8, 7);
    CHECK(caller_send(c, b.data, b.size) && socket_read(fd, got, b.size, WAIT_MS) == b.size &&
              !memcmp(got, b.data, b.size),
          row);
    CHECK(send(fd, b.data, b.size, MSG_NOSIGNAL) == (ssize_t)b.size &&
              caller_read(c, got, b.size, WAIT_MS, &ended) == b.size &&
              !memcmp(got, b.data, b.size),
          row);
}

// --- addresses ---

static void ignore(void *user, int fd)
{
    (void)user;
    close(fd);
}

static void addresses(void)
{
    static const char *const bad[] = {
        "",      "localhost", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536",
        "::1:0", "[::1:0",    "[::1]",     ":-1"};
    struct ls_front *f = NULL, *second = NULL;
    struct ls_options opt;
    struct ls_err err = {0};

    ls_options_init(&opt);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        opt.listen = bad[i];
        CHECK(ls_front_open(&f, &opt, NULL, NULL, ignore, NULL, &err) == LS_EFIELD && !f &&
                  !strcmp(err.field, "listen"),
              bad[i]);
    }
    opt.listen = ":0";
    CHECK(ls_front_open(&f, &opt, NULL, NULL, ignore, NULL, &err) == 0, "all addresses");
    ls_front_close(&f);
    opt.listen = "127.0.0.1:0";
    if (!CHECK(ls_front_open(&f, &opt, NULL, NULL, ignore, NULL, &err) == 0, "a free port"))
        return;
    CHECK(!strncmp(ls_front_address(f), "127.0.0.1:", 10) && atoi(ls_front_address(f) + 10) > 0,
          "as bound");
    opt.listen = ls_front_address(f);
    CHECK(ls_front_open(&second, &opt, NULL, NULL, ignore, NULL, &err) == LS_EIO && !second,
          "a taken port");
    ls_front_close(&f);
    ls_front_close(&second); // accepts NULL
}

// --- slow ones ---

static void slow(struct ls_tls *tls, const char *row)
{
    struct caller silent, cut, drips;
    struct bytes b = {.size = 0};
    struct port p;
    int64_t began;

    port_init(&p);
    p.opt.handshake_ms_max = 300;
    port_open(&p, tls, row);
    began = now_ms();
    CHECK(caller_open(&silent, &p, NULL) && caller_open(&cut, &p, NULL) &&
              caller_open(&drips, &p, NULL),
          row);
    put_preface(&b);
    CHECK(caller_send(&cut, tls ? (const void *)"\x16\x03\x01\x02" : b.data, tls ? 4 : 23), row);
    for (int i = 0; i < 10 && !tls; i++) { // a byte now and then buys no time
        caller_send(&drips, b.data + i, 1);
        usleep(25000);
    }
    CHECK(caller_ended(&silent, WAIT_MS) && caller_ended(&cut, WAIT_MS) &&
              caller_ended(&drips, WAIT_MS),
          row);
    CHECK(now_ms() - began >= 290 && now_ms() - began < 2000, row);
    CHECK(port_wait_closed(&p, LS_CLOSE_SLOW, 3) && p.sockets_seen == 0, row);
    caller_close(&silent);
    caller_close(&cut);
    caller_close(&drips);
    port_close(&p);
}

// A block of headers that does not end.
static void slow_headers(void)
{
    const char *row = "headers that do not end";
    struct bytes b = {.size = 0};
    struct caller bad, good;
    uint8_t got[64];
    struct port p;
    int fd_bad, fd_good;
    bool ended;

    port_init(&p);
    p.opt.handshake_ms_max = 300;
    port_open(&p, NULL, row);
    fd_bad = caller_greet(&bad, &p, NULL, row);
    fd_good = caller_greet(&good, &p, NULL, row);
    put(&b, HEADERS, 0, 1, 30, 0);
    CHECK(caller_send(&bad, b.data, b.size), row);
    CHECK(caller_read(&bad, got, LS_GUARD_GOAWAY, WAIT_MS, &ended) == LS_GUARD_GOAWAY &&
              is_goaway(got, 1, 11) && caller_ended(&bad, WAIT_MS),
          row);
    CHECK(port_wait_closed(&p, LS_CLOSE_GUARD + LS_GUARD_HEADERS - 1, 1), row);
    pings(&good, fd_good, row);
    caller_close(&bad);
    caller_close(&good);
    close(fd_bad);
    close(fd_good);
    port_close(&p);
}

// --- other languages ---

static void other_languages(struct ls_tls *tls, SSL_CTX *ctx)
{
    static const char http1[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n\0";
    static const struct {
        const char *name, *text; // and two zeros
        int cause;
    } rows[] = {{"HTTP/1", http1, LS_CLOSE_GUARD + LS_GUARD_HTTP1 - 1},
                {"garbage", "\x01\x02garbage\0", LS_CLOSE_GUARD + LS_GUARD_NOT_HTTP2 - 1},
                {"TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0",
                 LS_CLOSE_GUARD + LS_GUARD_NOT_HTTP2 - 1}};
    char text[600] = "";
    struct caller c;
    struct port p;
    bool ended;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int sealed = 0; sealed < 2; sealed++) {
            memset(text, 0, sizeof text);
            port_init(&p);
            port_open(&p, sealed ? tls : NULL, rows[i].name);
            CHECK(caller_open(&c, &p, sealed ? ctx : NULL), rows[i].name);
            CHECK(caller_send(&c, rows[i].text, strlen(rows[i].text) + 2), rows[i].name);
            caller_read(&c, text, sizeof text - 1, WAIT_MS, &ended);
            CHECK(ended && port_wait_closed(&p, rows[i].cause, 1) && !p.sockets_seen, rows[i].name);
            if (i == 0)
                CHECK(!strncmp(text, "HTTP/1.1 400 ", 13) && strstr(text, "gRPC") &&
                          strstr(text, "--admin-listen"),
                      "HTTP/1 is answered in its language");
            else
                CHECK(!text[0], rows[i].name);
            caller_close(&c);
            port_close(&p);
        }
    }
    port_init(&p);
    port_open(&p, tls, "plain bytes on a TLS port");
    CHECK(caller_open(&c, &p, NULL) && caller_send(&c, http1, strlen(http1)), "plain bytes");
    caller_read(&c, text, sizeof text - 1, WAIT_MS, &ended);
    CHECK(ended && port_wait_closed(&p, LS_CLOSE_HANDSHAKE, 1), "plain bytes on a TLS port");
    caller_close(&c);
    port_close(&p);
}

// --- the guard ---

static void judged(struct ls_tls *tls, SSL_CTX *ctx, const char *row)
{
    struct bytes b = {.size = 0};
    struct caller flood, wrong, good;
    uint8_t got[64], end;
    struct port p;
    int fd_flood, fd_wrong, fd_good;
    bool ended;

    port_init(&p);
    p.opt.control_frames_max = 10;
    port_open(&p, tls, row);
    fd_flood = caller_greet(&flood, &p, ctx, row);
    fd_wrong = caller_greet(&wrong, &p, ctx, row);
    fd_good = caller_greet(&good, &p, ctx, row);
    for (int i = 0; i < 200; i++)
        put(&b, PING, 0, 0, 8, 0);
    CHECK(caller_send(&flood, b.data, b.size), row);
    CHECK(caller_read(&flood, got, LS_GUARD_GOAWAY, WAIT_MS, &ended) == LS_GUARD_GOAWAY &&
              is_goaway(got, 0, 11) && caller_ended(&flood, WAIT_MS),
          row);
    CHECK(port_wait_closed(&p, LS_CLOSE_GUARD + LS_GUARD_CONTROL - 1, 1), row);
    CHECK(socket_read(fd_flood, &end, 1, WAIT_MS) == 0, "nothing of the flood reaches gRPC");
    b.size = 0;
    put(&b, PUSH, 0, 1, 8, 0);
    CHECK(caller_send(&wrong, b.data, b.size), row);
    CHECK(caller_read(&wrong, got, LS_GUARD_GOAWAY, WAIT_MS, &ended) == LS_GUARD_GOAWAY &&
              is_goaway(got, 0, 1) && caller_ended(&wrong, WAIT_MS),
          row);
    CHECK(port_wait_closed(&p, LS_CLOSE_GUARD + LS_GUARD_FRAME - 1, 1), row);
    pings(&good, fd_good, row);
    caller_close(&flood);
    caller_close(&wrong);
    caller_close(&good);
    close(fd_flood);
    close(fd_wrong);
    close(fd_good);
    port_close(&p);
}

// Streams that gRPC has to reset; its frames up to then are whole.
static void resets(void)
{
    const char *row = "resets by gRPC";
    struct bytes up = {.size = 0}, down = {.size = 0};
    uint8_t got[1024];
    struct caller c;
    struct port p;
    size_t n;
    int fd;
    bool ended;

    port_init(&p);
    p.opt.resets_max = 1;
    port_open(&p, NULL, row);
    fd = caller_greet(&c, &p, NULL, row);
    for (uint32_t i = 0; i < 20; i++) {
        put(&up, HEADERS, READY, 2 * i + 1, 10, 0);
        put(&down, RST, 0, 2 * i + 1, 4, 2);
    }
    CHECK(caller_send(&c, up.data, up.size), row);
    CHECK(socket_read(fd, got, up.size, WAIT_MS) == up.size, row);
    CHECK(send(fd, down.data, down.size, 0) == (ssize_t)down.size, row);
    n = caller_read(&c, got, sizeof got, WAIT_MS, &ended);
    CHECK(ended && n >= LS_GUARD_GOAWAY && (n - LS_GUARD_GOAWAY) % 13 == 0 &&
              is_goaway(got + n - LS_GUARD_GOAWAY, 39, 11),
          row);
    CHECK(port_wait_closed(&p, LS_CLOSE_GUARD + LS_GUARD_RESETS - 1, 1), row);
    caller_close(&c);
    close(fd);
    port_close(&p);
}

// --- too many ---

static void too_many(void)
{
    const char *row = "too many";
    struct bytes b = {.size = 0};
    struct caller busy, idle, hello, more, last;
    uint8_t got[64];
    struct port p;
    int fd_busy, fd_idle, fd_more, fd_last;
    bool ended;

    port_init(&p);
    p.opt.connections_max = 3;
    port_open(&p, NULL, row);
    fd_idle = caller_greet(&idle, &p, NULL, row);
    fd_busy = caller_greet(&busy, &p, NULL, row);
    put(&b, HEADERS, READY, 1, 10, 0);
    CHECK(caller_send(&busy, b.data, b.size) &&
              socket_read(fd_busy, got, b.size, WAIT_MS) == b.size,
          row);
    CHECK(caller_open(&hello, &p, NULL), row);
    fd_more = caller_greet(&more, &p, NULL, row);
    CHECK(caller_ended(&hello, WAIT_MS) && port_wait_closed(&p, LS_CLOSE_FULL, 1),
          "who has said nothing goes first");
    CHECK(caller_send(&more, b.data, b.size) &&
              socket_read(fd_more, got, b.size, WAIT_MS) == b.size,
          row);
    fd_last = caller_greet(&last, &p, NULL, row);
    CHECK(caller_read(&idle, got, LS_GUARD_GOAWAY, WAIT_MS, &ended) == LS_GUARD_GOAWAY &&
              is_goaway(got, 0, 0) && caller_ended(&idle, WAIT_MS) &&
              port_wait_closed(&p, LS_CLOSE_FULL, 2),
          "then who has no stream, with a goodbye");
    CHECK(caller_send(&last, b.data, b.size) &&
              socket_read(fd_last, got, b.size, WAIT_MS) == b.size,
          row);
    CHECK(caller_open(&hello, &p, NULL) && caller_ended(&hello, WAIT_MS) &&
              port_wait_closed(&p, LS_CLOSE_FULL, 3),
          "all work: the new one is refused");
    pings(&busy, fd_busy, row);
    pings(&last, fd_last, row);
    CHECK(ls_front_connections(p.front) == 3, row);
    caller_close(&busy);
    caller_close(&idle);
    caller_close(&hello);
    caller_close(&more);
    caller_close(&last);
    close(fd_busy);
    close(fd_idle);
    close(fd_more);
    close(fd_last);
    port_close(&p);
}

// Descriptors of this process: those below the limit are all taken.
static int take_all(int held[], int most)
{
    int count = 0;

    while (count < most && (held[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        count++;
    return count;
}

static void no_descriptors(void)
{
    const char *row = "no descriptors";
    struct bytes b = {.size = 0};
    struct rlimit before, low;
    uint8_t got[64];
    struct caller good, bad[20], late;
    int held[256], held_count, sockets[20], fd, top, fd_late;
    struct port p;
    int64_t closed;

    port_init(&p);
    port_open(&p, NULL, row);
    fd = caller_greet(&good, &p, NULL, row);
    put(&b, HEADERS, READY, 1, 10, 0); // one that works is not idle
    CHECK(caller_send(&good, b.data, b.size) && socket_read(fd, got, b.size, WAIT_MS) == b.size,
          row);
    for (int i = 0; i < 20; i++)
        sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    getrlimit(RLIMIT_NOFILE, &before);
    low = before;
    top = open("/dev/null", O_RDONLY | O_CLOEXEC);
    low.rlim_cur = (rlim_t)top + 1;
    CHECK(!setrlimit(RLIMIT_NOFILE, &low), row);
    held_count = take_all(held, 256);
    for (int i = 0; i < 20; i++) {
        CHECK(caller_connect(&bad[i], &p, sockets[i]), row);
        fcntl(sockets[i], F_SETFL, O_NONBLOCK);
    }
    CHECK(caller_ended(&bad[0], WAIT_MS), "the first hears of it");
    pings(&good, fd, "the good one, without descriptors");
    CHECK(caller_ended(&bad[5], WAIT_MS), "so do the others, at leisure");
    for (int i = 0; i < held_count; i++)
        close(held[i]);
    close(top);
    setrlimit(RLIMIT_NOFILE, &before);
    for (int i = 0; i < 20; i++)
        caller_close(&bad[i]);
    closed = port_closed(&p, LS_CLOSE_FILES);
    CHECK(closed >= 2, row);
    fd_late = caller_greet(&late, &p, NULL, "the port lives on");
    pings(&late, fd_late, "the port lives on");
    pings(&good, fd, row);
    caller_close(&good);
    caller_close(&late);
    close(fd);
    close(fd_late);
    port_close(&p);
}

// Fewer connections than --connections-max where descriptors do not suffice.
static void few_descriptors(void)
{
    const char *row = "few descriptors";
    struct rlimit before, low;
    struct caller c[4];
    struct port p;

    getrlimit(RLIMIT_NOFILE, &before);
    low = before;
    low.rlim_cur = 96 + 16 + 32 + 6; // as front.c counts, and two connections
    port_init(&p);
    p.opt.sessions_max = 1;
    p.opt.warm_decoders = 0;
    CHECK(!setrlimit(RLIMIT_NOFILE, &low), row);
    port_open(&p, NULL, row);
    setrlimit(RLIMIT_NOFILE, &before);
    for (int i = 0; i < 4; i++)
        CHECK(caller_open(&c[i], &p, NULL), row);
    CHECK(port_wait_closed(&p, LS_CLOSE_FULL, 2), row);
    CHECK(caller_ended(&c[0], WAIT_MS) && caller_ended(&c[1], WAIT_MS), "the oldest go");
    CHECK(!caller_ended(&c[2], 50) && !caller_ended(&c[3], 50), "the newest stay");
    for (int i = 0; i < 4; i++)
        caller_close(&c[i]);
    port_close(&p);
}

// gRPC does not read for a while, and what the port has read ends inside a frame: the rest of it is
// there, so its caller is not late.
static void held_up(void)
{
    const char *row = "gRPC reads late";
    struct bytes b = {.size = 0};
    size_t sent = 0, came = 0;
    uint8_t got[4096];
    struct caller c;
    struct port p;
    int fd;

    port_init(&p);
    p.opt.handshake_ms_max = 200;
    port_open(&p, NULL, row);
    fd = caller_greet(&c, &p, NULL, row);
    for (int i = 0; i < 1000; i++)
        put(&b, WINDOW, 0, 0, 4, 1);
    for (int idle = 0; idle < 100;) { // until nobody takes any more
        size_t at = sent % b.size;
        ssize_t n = caller_try_send(&c, b.data + at, b.size - at < 1000 ? b.size - at : 1000);

        sent += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        usleep(n > 0 ? 0 : 5000);
    }
    for (size_t n = 1; n && came < sent; came += n)
        n = socket_read(fd, got, sizeof got < sent - came ? sizeof got : sent - came, WAIT_MS);
    CHECK(came == sent, row);
    sent %= 13;
    CHECK(caller_send(&c, b.data + sent, 13 - sent) && // the last frame's end
              socket_read(fd, got, 13 - sent, WAIT_MS) == 13 - sent,
          row);
    pings(&c, fd, row);
    caller_close(&c);
    close(fd);
    port_close(&p);
}

// gRPC has closed its end, and the caller takes nothing any more: the connection ends all the same,
// whether it has streams or not.
static void nobody_reads(struct ls_tls *tls, SSL_CTX *ctx, bool streams, const char *row)
{
    struct block block = block_make(1 << 20, false);
    struct bytes b = {.size = 0};
    uint8_t got[64];
    struct caller c;
    struct port p;
    int fd;

    port_init(&p);
    p.opt.flush_ms_max = 300;
    port_open(&p, tls, row);
    fd = caller_greet(&c, &p, ctx, row);
    if (streams) {
        put(&b, HEADERS, 4, 1, 30, 0);
        CHECK(caller_send(&c, b.data, b.size) && socket_read(fd, got, b.size, WAIT_MS) == b.size,
              row);
    }
    for (size_t at = 0, idle = 0; idle < 50;) { // until nobody takes any more
        ssize_t n = send(fd, block.data + at, block.size - at, MSG_NOSIGNAL | MSG_DONTWAIT);

        at = n > 0 ? (at + (size_t)n) % block.size : at;
        idle = n > 0 ? 0 : idle + 1;
        usleep(n > 0 ? 0 : 3000);
    }
    close(fd);
    CHECK(port_wait_empty(&p), row);
    CHECK(port_closed(&p, LS_CLOSE_SERVER) == 1, row);
    caller_close(&c);
    port_close(&p);
    free(block.data);
}

int main(void)
{
    struct test_cert ca = certs_make(&(struct test_cert_params){.name = "ca"});
    struct test_cert server =
        certs_make(&(struct test_cert_params){.name = "server", .san = "DNS:localhost", .ca = &ca});
    SSL_CTX *ctx = certs_client(&ca, NULL);
    struct ls_tls *tls = NULL;
    struct ls_options opt;

    ls_options_init(&opt);
    opt.tls_cert = certs_write("cert.pem", server.cert, NULL, NULL, NULL);
    opt.tls_key = certs_write("key.pem", NULL, NULL, server.key, NULL);
    CHECK(ls_tls_open(&tls, &opt, NULL) == 0, "TLS");
    addresses();
    slow(NULL, "slow preface");
    slow(tls, "slow handshake");
    slow_headers();
    other_languages(tls, ctx);
    judged(NULL, NULL, "judged, plain");
    judged(tls, ctx, "judged, TLS");
    resets();
    too_many();
    no_descriptors();
    few_descriptors();
    held_up();
    nobody_reads(NULL, NULL, false, "nobody reads");
    nobody_reads(NULL, NULL, true, "nobody reads, a stream is open");
    nobody_reads(tls, ctx, true, "nobody reads, TLS");
    SSL_CTX_free(ctx);
    ls_tls_close(&tls);
    certs_free(&ca);
    certs_free(&server);
    certs_done();
    return check_done();
}
