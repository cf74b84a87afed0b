// SPDX-License-Identifier: Apache-2.0
// The inside of a call, for the files that make one up: rpc_call.c (its operations and its end),
// rpc_held.c (how long its caller may hold it), rpc_begin.c (who calls what, and whether they may),
// rpc_line.c (its line in the log, its figures). Loop thread. Nobody else includes it.
#ifndef LS_RPC_CALL_STATE_H
#define LS_RPC_CALL_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <uv.h>

#include "server/metrics.h"
#include "server/rpc_core.h"
#include "server/rpc_status.h"
#include "server/trace.h"

// A reply that waits for gRPC.
struct ls_queued {
    struct ls_queued *next;
    grpc_byte_buffer *bytes;
    size_t size;
};

struct ls_call {
    struct ls_rpc *rpc;
    struct ls_call *prev, *next;
    const struct ls_method *method; // NULL: waits for a caller
    enum ls_method_idx method_idx;
    void *state;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
    struct ls_op accept_op, read_op, write_op, status_op, close_op;
    int ops; // with gRPC
    bool reading, writing, headers_sent, half_closed;
    bool lingered; // its half-close was waited for long enough
    bool gone;     // cancelled, by whom ever: nothing can be sent any more
    bool told;     // on_cancel ran
    bool heard;    // its first message has come
    bool awaited;  // its next one is, or the reader of its last ones, and it is no session
    bool stays;    // it counts among those of --watches-max
    bool ended;    // by the method
    bool flushed;  // on_flushed ran
    bool status_sent;
    int look_count; // of rpc_held.c, since it is awaited
    bool timer_open;
    grpc_byte_buffer *incoming;
    int was_cancelled; // of the close operation
    struct ls_queued *queue, **queue_end;
    size_t backlog;
    struct ls_status status;
    int err_code;                  // LS_E… that the status stands for
    struct ls_err stall;           // what flushing too slowly ends with
    uv_timer_t timer;              // first message, the call's longest time, then the flush
    uint64_t started_ms, ended_ms; // of ls_call_now_ms; ended: by the method
    uint64_t deadline_ms;          // 0: none
    struct ls_trace trace;
    struct ls_peer peer;
    struct ls_identity identity;
    struct ls_call_note note, counted; // counted: what of it stands in the metrics already
};

// Not uv_now, which is as old as the loop's turn: a deadline would look like a cancellation.
static inline uint64_t ls_call_now_ms(void)
{
    return uv_hrtime() / 1000000;
}

// rpc_call.c: it has ended, but its reader does not go on; the transport's own end takes its place.
void ls_call_cut(struct ls_call *c);

// rpc_held.c: calls that are no sessions. From a read, and from the end on, until either is done;
// both set the call's timer.
void ls_call_await(struct ls_call *c);
void ls_call_await_reader(struct ls_call *c);
bool ls_call_await_no_more(struct ls_call *c); // whether it was awaited
// Takes a place among those that stay open; LS_ELIMIT.
LS_MUST int ls_call_stay(struct ls_call *c, struct ls_err *err);
void ls_call_stay_no_more(struct ls_call *c);

// rpc_begin.c: the caller is there. Fills method, peer, identity, trace, note and deadline_ms;
// starts nothing. LS_EAUTH, LS_ESCOPE: it may not.
LS_MUST int ls_call_identify(struct ls_call *c, struct ls_err *err);
// What goes back with the first message or the status: the session's id and our span. Returns how
// many; their values are to be unreferenced.
enum { LS_CALL_HEADERS = 2 };
size_t ls_call_headers(const struct ls_call *c, grpc_metadata out[LS_CALL_HEADERS]);

// rpc_line.c: figures of the call so far into the metrics; any number of times.
void ls_call_count(struct ls_call *c);
// At the call's end: the rest of the figures, and the line.
void ls_call_log(struct ls_call *c);

#endif
