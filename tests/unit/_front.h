// SPDX-License-Identifier: Apache-2.0
// Both sides of a listening port for its tests: callers with real sockets, plain or TLS, and the
// ends of the socket pairs that gRPC would get. All waits have an end.
#ifndef LS_TEST_FRONT_H
#define LS_TEST_FRONT_H

#include <pthread.h>

#include <openssl/ssl.h>

#include "server/front.h"
#include "server/metrics.h"
#include "server/tls.h"
#include "tests/unit/_guard.h"

struct port {
    struct ls_options opt;
    struct ls_metrics *metrics;
    struct ls_front *front;
    pthread_mutex_t lock; // over what follows
    int sockets[64];      // that came and were not taken by the test
    int socket_count, sockets_seen;
};

void port_init(struct port *p); // the options' defaults, a free port of 127.0.0.1
bool port_open(struct port *p, struct ls_tls *tls, const char *row);
void port_close(struct port *p);
// gRPC's end of the next connection that was greeted, blocking with a time limit; -1: none in time.
int port_socket(struct port *p);
int64_t port_closed(struct port *p, int cause);                 // connections, by enum of metrics.h
bool port_wait_closed(struct port *p, int cause, int64_t want); // as many, in time
bool port_wait_empty(struct port *p);                           // no connections, in time

struct caller {
    int fd;
    SSL *ssl;
    size_t refused; // bytes of a write that is to be repeated
};

// ctx NULL: plain. False: refused, or no handshake.
bool caller_open(struct caller *c, const struct port *p, SSL_CTX *ctx);
bool caller_connect(struct caller *c, const struct port *p, int fd); // a socket made before
void caller_close(struct caller *c);
bool caller_send(struct caller *c, const void *data, size_t size);
// Bytes until there are `size`, the end comes (fewer), or time runs out (fewer, *ended false).
size_t caller_read(struct caller *c, void *data, size_t size, int wait_ms, bool *ended);
bool caller_ended(struct caller *c, int wait_ms); // the port closes it, saying nothing more
// Without waiting: as many as go; -1: none now, 0: the end. After -1, the same bytes are sent next.
ssize_t caller_try_send(struct caller *c, const void *data, size_t size);
ssize_t caller_try_read(struct caller *c, void *data, size_t size);

// Connects, says preface and SETTINGS; gRPC's end is read up to there, and says its SETTINGS, which
// the caller takes. Yields gRPC's end; -1: failed, and the row said so.
int caller_greet(struct caller *c, struct port *p, SSL_CTX *ctx, const char *row);
// What a descriptor yields until `size` bytes are there; fewer: the end, or time ran out.
size_t socket_read(int fd, void *data, size_t size, int wait_ms);

// Frames of one stream (opened by HEADERS) whose DATA are gRPC messages; the bytes of a long stream
// are this block over and over, but for the first frame.
struct block {
    uint8_t *data;
    size_t size;
};
struct block block_make(size_t size, bool opens);

#endif
