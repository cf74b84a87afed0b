// SPDX-License-Identifier: Apache-2.0
// The listening port: a thread of its own accepts connections, ends TLS (tls.h), watches the HTTP/2
// frames of both directions (guard.h) and passes the bytes to gRPC through a socket pair. Why not
// gRPC's own listener: 1.51's never accepts again once descriptors ran out (CVE-2023-4785), takes
// no TLS on sockets of ours, cannot count resets (CVE-2023-44487) and says GOAWAY only when it
// closes. A connection that has not sent its preface yet costs one descriptor and no memory of
// gRPC. Open, drain, reload and close on the loop; ls_front_peer on any thread.
#ifndef LS_FRONT_H
#define LS_FRONT_H

#include <stdbool.h>

#include "kernels/err.h"
#include "server/options.h"

struct ls_front;
struct ls_metrics;
struct ls_tls;

// Who is behind a connection.
struct ls_peer {
    char address[64];      // "127.0.0.1:4711", "[::1]:4711"; "" if unknown
    bool loopback;         // the address is the machine's own
    bool tls;              // the connection is encrypted
    bool certified;        // the peer's certificate was verified
    char certificate[128]; // its first DNS, URI or e-mail name, else its common name; "" if none
};

// HTTP/2 streams of a connection that opt allows, 0 replaced.
int64_t ls_front_streams_max(const struct ls_options *opt);
// What gRPC is to take of one message: twice ours, so that a message somewhat too large is refused
// by us, with a reason. A larger one is gRPC's to refuse, and the guard's.
int64_t ls_front_message_bytes_max(const struct ls_options *opt);

// Listens on opt->listen: "host:port", "[v6]:port", or ":port" (all addresses); port 0 takes a free
// one. tls NULL: plain. metrics may be NULL. on_socket comes on the front's thread, once a
// connection's preface has arrived; it owns fd, which speaks plain HTTP/2, and is not called after
// ls_front_stop. opt, tls and metrics must outlive the front.
LS_MUST int ls_front_open(struct ls_front **out, const struct ls_options *opt, struct ls_tls *tls,
                          struct ls_metrics *metrics, void (*on_socket)(void *user, int fd),
                          void *user, struct ls_err *err);
const char *ls_front_address(const struct ls_front *f); // as bound, numeric
// Who is behind a descriptor that on_socket got; gRPC calls such a peer "fd:N". Zeroed if unknown.
// A number that gRPC closed may be another connection's soon; a call of the old one is dead then.
void ls_front_peer(struct ls_front *f, int fd, struct ls_peer *out);
// Every connection hears GOAWAY (NO_ERROR, all streams so far go on); the port stays open. Callers
// go elsewhere with new calls. Those that still come hear it after their first call began, or after
// a second: our methods answer them, and they are not sent away before they could ask.
void ls_front_drain(struct ls_front *f);
// Closes the port; connections live until gRPC or the peer closes them. on_socket has run for the
// last time when this returns.
void ls_front_stop(struct ls_front *f);
// After ls_front_stop: connections without open streams are ended, the others as their last stream
// ends. gRPC alone would wait 20 s for peers that do not answer the ping of its goodbye.
void ls_front_finish(struct ls_front *f);
int ls_front_connections(const struct ls_front *f); // open now
// What gRPC said last goes out, what is left is closed (a second at most), the thread is joined.
// Accepts NULL.
void ls_front_close(struct ls_front **f);

#endif
