// SPDX-License-Identifier: Apache-2.0
// Shared by front.c (the port and its thread), front_conn.c (one connection's life) and
// front_pump.c (its bytes). Front's thread only, but for what is said to be under the lock. For
// these files only.
#ifndef LS_FRONT_IMPL_H
#define LS_FRONT_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "server/front.h"
#include "server/front_bytes.h"
#include "server/guard.h"
#include "server/listen.h"
#include "server/metrics.h"
#include "server/tls.h"

// A place in a ring of links; the ring's head is one, too. Linked to itself: in no ring.
struct ls_link {
    struct ls_link *prev, *next;
};

enum ls_conn_state {
    LS_CONN_HELLO,  // TLS, then the preface
    LS_CONN_PASS,   // gRPC has the other end
    LS_CONN_FLUSH,  // what waits for the peer goes out, nothing else
    LS_CONN_LINGER, // our half is closed; the peer's bytes are thrown away, lest it gets a reset
    LS_CONN_DEAD,   // closed; freed at the end of the turn
};

struct ls_conn {
    struct ls_link place; // in a ring of its state, the oldest first
    struct ls_link late;  // in front->late: what it began to send is not complete
    struct ls_link ready; // in front->ready: there may be something to do
    struct ls_front *front;
    enum ls_conn_state state;
    int peer_fd, rpc_fd; // -1: none
    // What the kernel said and no system call has denied since (events come on edges).
    bool peer_in, peer_out, rpc_in, rpc_out;
    bool peer_end, rpc_end; // its last bytes are there: read on until the end shows
    bool rpc_blocked;       // room for gRPC's bytes is asked for
    bool old, told;         // was greeted when the drain began; GOAWAY of the drain was said
    bool taken;             // the peer took bytes since this was last looked at
    bool leaving;           // in that ring
    bool counted;           // its close has a cause
    int64_t since_ms;       // of its state; where it waits for the peer: since that took something
    int64_t thrown;         // bytes thrown away while it lingered
    struct ls_tls_session *tls;
    struct ls_guard guard;
    struct ls_bytes to_peer, to_rpc;
    struct ls_peer peer;
};

enum {
    LS_FRONT_CHUNK = 131072,  // read at once; the most that waits in each direction, about
    LS_FRONT_RECORDS = 65536, // encrypted bytes read at once
};

struct ls_front {
    const struct ls_options *opt;
    struct ls_tls *tls;
    struct ls_metrics *metrics;
    void (*on_socket)(void *user, int fd);
    void *user;
    char address[LS_ADDRESS_SIZE];
    struct ls_guard_limits limits;
    int connections_max; // as far as descriptors allow

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t stopped;
    bool want_drain, want_stop, want_finish, want_close, is_stopped; // under the lock
    struct ls_peer *peers; // by gRPC's descriptor; under the lock
    int peer_count;
    atomic_int count; // connections

    int epoll_fd, wake_fd, listen_fd, spare_fd;
    int64_t now_ms;
    int64_t pause_until_ms; // accepting pauses; 0: it does not
    int64_t close_ms;       // since when the thread ends; 0: it does not
    bool draining;
    // Rings of connections. leaving: gRPC closed its end, and not all of what it said was taken.
    struct ls_link hello, idle, busy, leaving, flush, linger, dead;
    struct ls_link late, ready;
    uint8_t data[LS_FRONT_CHUNK], records[LS_FRONT_RECORDS];
};

// --- links ---

static inline void ls_link_init(struct ls_link *l)
{
    l->prev = l->next = l;
}

static inline void ls_link_leave(struct ls_link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    ls_link_init(l);
}

static inline void ls_link_enter(struct ls_link *ring, struct ls_link *l)
{
    ls_link_leave(l);
    l->prev = ring->prev;
    l->next = ring;
    ring->prev->next = l;
    ring->prev = l;
}

// The first of a ring, by one of its links; NULL: the ring is empty.
#define LS_LINK_FIRST(ring, member)                                                                \
    ((ring)->next == (ring)                                                                        \
         ? NULL                                                                                    \
         : (struct ls_conn *)((char *)(ring)->next - offsetof(struct ls_conn, member)))

// --- front.c ---

void ls_front_remember(struct ls_front *f, int fd, const struct ls_peer *peer);

// --- front_conn.c ---

// Takes over a descriptor. NULL: no memory, and it is closed.
struct ls_conn *ls_conn_new(struct ls_front *f, int fd, const struct sockaddr *address);
// The preface is whole: gRPC gets its end. False: no descriptor; the connection is dead.
bool ls_conn_greet(struct ls_conn *c);
// The first cause counts.
void ls_conn_count(struct ls_conn *c, int cause);
// Ends it: gRPC's end closes now, what waits for the peer goes out.
void ls_conn_end(struct ls_conn *c, int cause);
// Closes both ends now.
void ls_conn_close(struct ls_conn *c, int cause);
// For others: says goodbye if it can.
void ls_conn_evict(struct ls_conn *c, int cause);
// It has no streams, and is to have no more: says so, and ends.
void ls_conn_finish(struct ls_conn *c);
// Somebody did what the guard does not allow. data: of gRPC, read but not said (or NULL); the end
// of a frame that was begun is taken from there.
void ls_conn_verdict(struct ls_conn *c, enum ls_guard_verdict verdict, const uint8_t *data,
                     size_t size);
void ls_conn_free(struct ls_conn *c);

// --- front_pump.c ---

// Moves what can be moved; puts itself into front->ready again if more can be.
void ls_conn_run(struct ls_conn *c);
// Bytes for the peer, encrypted on the way; what its socket does not take waits. False: dead.
bool ls_conn_put(struct ls_conn *c, const void *data, size_t size);
// What TLS has for the peer, and what waits. False: dead.
bool ls_conn_flush(struct ls_conn *c);
// Says the GOAWAY of a drain if this is a place for it.
void ls_conn_goaway(struct ls_conn *c);

#endif
