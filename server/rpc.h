// SPDX-License-Identifier: Apache-2.0
// The gRPC side of the server: listens, takes calls, runs them on the engine's loop, and lets go of
// them in order when the server stops. Loop thread only; one thread of its own waits for gRPC's
// events.
#ifndef LS_RPC_H
#define LS_RPC_H

#include <stdbool.h>

#include "kernels/err.h"
#include "server/engine.h"

struct ls_auth;
struct ls_rpc;
struct ls_tls;

// Listens on engine->opt.listen and takes calls from now on. The engine, tls (NULL: plain) and auth
// must outlive it.
LS_MUST int ls_rpc_open(struct ls_rpc **out, struct ls_engine *engine, struct ls_tls *tls,
                        struct ls_auth *auth, struct ls_err *err);
// The bound address ("127.0.0.1:50051", "[::1]:50051"): a port 0 is replaced by the one taken.
const char *ls_rpc_address(const struct ls_rpc *rpc);
int ls_rpc_connections(const struct ls_rpc *rpc); // open now
// What running calls did so far, into the engine's metrics.
void ls_rpc_count(struct ls_rpc *rpc);
// Days until the port's certificate ends; false: it has none.
bool ls_rpc_certificate(const struct ls_rpc *rpc, int *days);
// Graceful end: health says NOT_SERVING, every connection hears GOAWAY, the port closes after
// drain_delay_ms, new calls are refused with UNAVAILABLE and RetryInfo, running ones get
// drain_ms_max to finish and are then ended with UNAVAILABLE. on_drained comes from the loop when
// no call is left. Once.
void ls_rpc_drain(struct ls_rpc *rpc, void (*on_drained)(void *user), void *user);
// Ends what is left of the calls now; ls_rpc_drain must have been called.
void ls_rpc_drain_now(struct ls_rpc *rpc);
// After on_drained (or inside). Memory goes when the loop has closed the handles. Accepts NULL.
void ls_rpc_close(struct ls_rpc **rpc);

#endif
