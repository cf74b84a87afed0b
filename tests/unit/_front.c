// SPDX-License-Identifier: Apache-2.0
// See _front.h.
#include "tests/unit/_front.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 5000 };

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool ready(int fd, short events, int64_t until_ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    int64_t left = until_ms - now_ms();

    return poll(&p, 1, left > 0 ? (int)left : 0) > 0;
}

// --- the port ---

static void on_socket(void *user, int fd)
{
    struct port *p = user;

    pthread_mutex_lock(&p->lock);
    p->sockets_seen++;
    if (p->socket_count < 64)
        p->sockets[p->socket_count++] = fd;
    else
        close(fd);
    pthread_mutex_unlock(&p->lock);
}

void port_init(struct port *p)
{
    memset(p, 0, sizeof *p);
    ls_options_init(&p->opt);
    p->opt.listen = "127.0.0.1:0";
    pthread_mutex_init(&p->lock, NULL);
}

bool port_open(struct port *p, struct ls_tls *tls, const char *row)
{
    struct ls_err err = {0};

    p->metrics = ls_metrics_new();
    return CHECK(ls_front_open(&p->front, &p->opt, tls, p->metrics, on_socket, p, &err) == 0, row);
}

void port_close(struct port *p)
{
    ls_front_close(&p->front);
    ls_metrics_free(&p->metrics);
    for (int i = 0; i < p->socket_count; i++)
        close(p->sockets[i]);
    pthread_mutex_destroy(&p->lock);
}

int port_socket(struct port *p)
{
    for (int64_t end = now_ms() + WAIT_MS; now_ms() < end; usleep(1000)) {
        int fd = -1;

        pthread_mutex_lock(&p->lock);
        if (p->socket_count) {
            fd = p->sockets[0];
            memmove(p->sockets, p->sockets + 1, (size_t)--p->socket_count * sizeof(int));
        }
        pthread_mutex_unlock(&p->lock);
        if (fd >= 0)
            return fd;
    }
    return -1;
}

int64_t port_closed(struct port *p, int cause)
{
    return ls_metrics_get(p->metrics, LS_COUNT_CLOSED, cause, 0);
}

bool port_wait_closed(struct port *p, int cause, int64_t want)
{
    for (int64_t end = now_ms() + WAIT_MS; now_ms() < end; usleep(1000))
        if (port_closed(p, cause) >= want)
            break;
    return port_closed(p, cause) == want;
}

bool port_wait_empty(struct port *p)
{
    for (int64_t end = now_ms() + WAIT_MS; now_ms() < end; usleep(1000))
        if (!ls_front_connections(p->front))
            return true;
    return false;
}

// --- callers ---

bool caller_connect(struct caller *c, const struct port *p, int fd)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    *c = (struct caller){.fd = fd};
    to.sin_port = htons((uint16_t)atoi(strrchr(ls_front_address(p->front), ':') + 1));
    return !connect(fd, (struct sockaddr *)&to, sizeof to);
}

// One step of OpenSSL's: 1 done, 0 again, -1 failed.
static int ssl_step(struct caller *c, int r, int64_t until_ms)
{
    int e = SSL_get_error(c->ssl, r);

    if (r > 0)
        return 1;
    if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
        return -1;
    return ready(c->fd, e == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, until_ms) ? 0 : -1;
}

bool caller_open(struct caller *c, const struct port *p, SSL_CTX *ctx)
{
    int r = 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int64_t end = now_ms() + WAIT_MS;

    if (!caller_connect(c, p, fd)) {
        caller_close(c);
        return false;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (!ctx)
        return true;
    c->ssl = SSL_new(ctx);
    SSL_set_fd(c->ssl, fd);
    SSL_set_connect_state(c->ssl);
    SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    while (r == 0)
        r = ssl_step(c, SSL_do_handshake(c->ssl), end);
    if (r < 0)
        caller_close(c);
    return r > 0;
}

void caller_close(struct caller *c)
{
    SSL_free(c->ssl);
    c->ssl = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

ssize_t caller_try_send(struct caller *c, const void *data, size_t size)
{
    ssize_t n;

    if (c->ssl) {
        // OpenSSL wants to be asked again for what it could not write, not for less.
        n = SSL_write(c->ssl, data, (int)(c->refused > size ? c->refused : size));
        c->refused = n > 0 ? 0 : c->refused > size ? c->refused : size;
    } else {
        n = send(c->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    return n > 0 ? n : -1;
}

ssize_t caller_try_read(struct caller *c, void *data, size_t size)
{
    ssize_t n;

    if (!c->ssl) {
        n = recv(c->fd, data, size, MSG_DONTWAIT);
        return n < 0 && errno != EAGAIN ? 0 : n;
    }
    n = SSL_read(c->ssl, data, (int)size);
    return n > 0 ? n : SSL_get_error(c->ssl, (int)n) == SSL_ERROR_WANT_READ ? -1 : 0;
}

bool caller_send(struct caller *c, const void *data, size_t size)
{
    const uint8_t *at = data;
    int64_t end = now_ms() + WAIT_MS;

    while (size) {
        ssize_t n = caller_try_send(c, at, size);

        if (n < 0 && !ready(c->fd, POLLOUT, end))
            return false;
        at += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
        if (now_ms() > end)
            return false;
    }
    return true;
}

size_t caller_read(struct caller *c, void *data, size_t size, int wait_ms, bool *ended)
{
    int64_t end = now_ms() + wait_ms;
    size_t done = 0;

    *ended = false;
    while (done < size) {
        ssize_t n = caller_try_read(c, (uint8_t *)data + done, size - done);

        if (n == 0) {
            *ended = true;
            break;
        }
        if (n < 0 && (now_ms() >= end || !ready(c->fd, POLLIN, end)))
            break;
        done += n > 0 ? (size_t)n : 0;
    }
    return done;
}

bool caller_ended(struct caller *c, int wait_ms)
{
    uint8_t byte;
    bool ended;

    return caller_read(c, &byte, 1, wait_ms, &ended) == 0 && ended;
}

// --- gRPC's end ---

size_t socket_read(int fd, void *data, size_t size, int wait_ms)
{
    int64_t end = now_ms() + wait_ms;
    size_t done = 0;

    while (done < size && ready(fd, POLLIN, end)) {
        ssize_t n = recv(fd, (uint8_t *)data + done, size - done, MSG_DONTWAIT);

        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}

int caller_greet(struct caller *c, struct port *p, SSL_CTX *ctx, const char *row)
{
    struct bytes b = {.size = 0}, back = {.size = 0};
    uint8_t got[64];
    bool ended;
    int fd;

    put_preface(&b);
    put(&b, SETTINGS, 0, 0, 6, 0);
    put(&back, SETTINGS, 0, 0, 12, 0);
    if (!CHECK(caller_open(c, p, ctx), row) || !CHECK(caller_send(c, b.data, b.size), row))
        return -1;
    fd = port_socket(p);
    if (!CHECK(fd >= 0, row))
        return -1;
    CHECK(socket_read(fd, got, b.size, WAIT_MS) == b.size && !memcmp(got, b.data, b.size), row);
    CHECK(send(fd, back.data, back.size, MSG_NOSIGNAL) == (ssize_t)back.size, row);
    CHECK(caller_read(c, got, back.size, WAIT_MS, &ended) == back.size &&
              !memcmp(got, back.data, back.size),
          row);
    return fd;
}

// --- long streams ---

struct block block_make(size_t size, bool opens)
{
    struct block block = {malloc(size + 32768), 0};
    struct bytes b;

    while (block.size < size) {
        uint32_t length = 5 + (uint32_t)rand() % 16000, payload = length - 5;
        uint8_t *body = b.data + 9;

        b.size = 0;
        if (opens) {
            put(&b, HEADERS, READY, 1, 40, 0);
            opens = false;
        } else {
            put(&b, DATA, 0, 1, length, 0);
            body[1] = (uint8_t)(payload >> 24);
            body[2] = (uint8_t)(payload >> 16);
            body[3] = (uint8_t)(payload >> 8);
            body[4] = (uint8_t)payload;
            for (uint32_t i = 0; i < payload; i++)
                body[5 + i] = (uint8_t)(i * 31 + block.size);
        }
        memcpy(block.data + block.size, b.data, b.size);
        block.size += b.size;
    }
    return block;
}
