// SPDX-License-Identifier: Apache-2.0
// Shared by rpc.c (the server) and rpc_call.c (one call): the completion-queue hand-over and the
// call table. Loop thread, but for ls_op_post. Not for methods: those see rpc_call.h.
#ifndef LS_RPC_CORE_H
#define LS_RPC_CORE_H

#include <stdatomic.h>

#include <grpc/grpc.h>
#include <uv.h>

#include "server/front.h"
#include "server/rpc.h"
#include "server/rpc_call.h"

// An operation that gRPC works on; its address is the tag. on_done runs on the loop.
struct ls_op {
    struct ls_op *next; // in the list of finished ones
    void (*on_done)(struct ls_op *op, bool ok);
    bool ok;
    void *owner;
};

// gRPC's hand-over from the thread that starts an operation to the one that learns of its end
// happens in code that ThreadSanitizer does not see.
#if defined(__SANITIZE_THREAD__)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define LS_OP_GIVE(op) __tsan_release(op)
#define LS_OP_TAKE(op) __tsan_acquire(op)
#else
#define LS_OP_GIVE(op) ((void)(op))
#define LS_OP_TAKE(op) ((void)(op))
#endif

struct ls_rpc {
    struct ls_engine *engine;
    grpc_server *server;
    grpc_completion_queue *cq;
    grpc_server_credentials *creds;
    uv_thread_t poller;
    uv_async_t wake;
    _Atomic(struct ls_op *) finished; // newest first; pushed by the poller, taken whole by the loop
    struct ls_front *front;
    struct ls_tls *tls; // NULL: plain
    struct ls_auth *auth;
    struct ls_call *first; // all calls, accepted or waiting for a caller
    int call_count;
    int running_count; // of them, those that a caller has begun
    int awaited_count; // of those but sessions, the ones whose next message or reader is awaited
    int staying_count; // those that stay open as long as their callers like
    // In this order: calls are refused; the port is closed; gRPC was told to shut down; it has; our
    // last call is gone. overdue: running calls have had their time. hurry: nothing is waited for.
    bool draining, stopped, closing, shut, drained, overdue, hurry;
    uint64_t shut_ms;                    // when gRPC and our calls were done
    uv_timer_t delay_timer, drain_timer; // until the port closes; until calls are cut off
    struct ls_op shutdown_op;
    void (*on_drained)(void *user);
    void *user;
    int handle_count; // still to be closed by the loop
};

// Offers one slot for a call that comes.
void ls_call_request(struct ls_rpc *rpc);
// For every accepted call that has not ended.
void ls_call_drain(struct ls_call *c);
void ls_call_cancel(struct ls_call *c, const struct ls_err *err);
struct ls_call *ls_call_next(struct ls_call *c);
// A call is gone; may end the drain.
void ls_rpc_check_drained(struct ls_rpc *rpc);

#endif
