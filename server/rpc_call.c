// SPDX-License-Identifier: Apache-2.0
// One call, from the slot that waits for a caller to the line in the log. Loop thread only. A call
// lives while gRPC works on any of its operations or its method has not ended it. At most one
// receive and one send are with gRPC; a status goes out once, after the send that is under way.
#include "server/rpc_call.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#include "server/log.h"
#include "server/rpc_core.h"
#include "server/rpc_message.h"
#include "server/rpc_status.h"

enum { FLUSH_MS = 10000 }; // how long a status waits for the send that is under way

struct reply {
    struct reply *next;
    grpc_byte_buffer *bytes;
    size_t size;
};

struct ls_call {
    struct ls_rpc *rpc;
    struct ls_call *prev, *next;
    const struct ls_method *method; // NULL: waits for a caller
    void *state;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
    struct ls_op accept_op, read_op, write_op, status_op, close_op;
    int ops; // with gRPC
    bool reading, writing, headers_sent, half_closed;
    bool gone;  // cancelled, by whom ever: nothing can be sent any more
    bool told;  // on_cancel ran
    bool ended; // by the method
    bool status_sent;
    bool timer_open;
    grpc_byte_buffer *incoming;
    int was_cancelled; // of the close operation
    struct reply *queue, **queue_end;
    size_t backlog;
    struct ls_status status;
    struct ls_err stall;              // what flushing too slowly ends with
    uv_timer_t timer;                 // the call's longest time, then the flush
    uint64_t started_ms, deadline_ms; // of now_ms; deadline 0: none
    struct ls_call_note note;
    char peer[64];
};

// Not uv_now, which is as old as the loop's turn: a deadline would look like a cancellation.
static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

void *ls_call_state(struct ls_call *c)
{
    return c->state;
}

struct ls_engine *ls_call_engine(struct ls_call *c)
{
    return c->rpc->engine;
}

size_t ls_call_backlog(const struct ls_call *c)
{
    return c->backlog;
}

struct ls_call_note *ls_call_note(struct ls_call *c)
{
    return &c->note;
}

struct ls_call *ls_call_next(struct ls_call *c)
{
    return c->next;
}

static void start(struct ls_call *c, const grpc_op *op, size_t count, struct ls_op *tag)
{
    grpc_call_error r;

    LS_OP_GIVE(tag);
    r = grpc_call_start_batch(c->call, op, count, tag, NULL);
    // Only our own misuse of the API is refused here; metadata is checked before.
    assert(r == GRPC_CALL_OK);
    (void)r;
    c->ops++;
}

static void free_replies(struct ls_call *c, struct reply *reply)
{
    while (reply) {
        struct reply *next = reply->next;

        c->backlog -= reply->size;
        grpc_byte_buffer_destroy(reply->bytes);
        free(reply);
        reply = next;
    }
}

// Drops what waits; what gRPC works on stays until it is done.
static void drop_queue(struct ls_call *c)
{
    struct reply **rest = c->writing ? &c->queue->next : &c->queue;

    free_replies(c, *rest);
    *rest = NULL;
    c->queue_end = rest;
}

static void log_call(struct ls_call *c)
{
    struct ls_log_field field[8];
    int n = 0;
    bool failed = c->status.code != 0;

    // Watch and reflection streams end by being cancelled: nothing to tell.
    if (c->method->quiet && (!failed || c->status.code == GRPC_STATUS_CANCELLED))
        return;
    field[n++] = (struct ls_log_field){"method", c->method->path, 0};
    field[n++] = (struct ls_log_field){"peer", c->peer, 0};
    field[n++] = (struct ls_log_field){"status", ls_status_name(c->status.code), 0};
    field[n++] = (struct ls_log_field){"reason", c->status.reason, 0};
    field[n++] =
        (struct ls_log_field){"ms", NULL, (int64_t)(uv_now(c->rpc->engine->loop) - c->started_ms)};
    if (c->note.session_id[0]) {
        field[n++] = (struct ls_log_field){"session", c->note.session_id, 0};
        field[n++] = (struct ls_log_field){"frames_in", NULL, c->note.frames_in};
        field[n++] = (struct ls_log_field){"frames_out", NULL, c->note.frames_out};
    }
    ls_log(failed ? LS_LOG_WARN : LS_LOG_INFO, "call", field, n, failed ? "%s" : NULL,
           c->status.text);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct ls_call *c = handle->data;
    struct ls_rpc *rpc = c->rpc;

    *(c->prev ? &c->prev->next : &rpc->first) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    rpc->call_count--;
    rpc->running_count -= c->method != NULL;
    free(c);
    ls_rpc_check_drained(rpc);
}

// Frees the call if nothing holds it any more.
static void release(struct ls_call *c)
{
    if (c->ops || (c->method && !c->ended) || !c->timer_open)
        return;
    c->timer_open = false;
    if (c->method)
        log_call(c);
    drop_queue(c);
    grpc_metadata_array_destroy(&c->metadata);
    grpc_call_details_destroy(&c->details);
    if (c->call)
        grpc_call_unref(c->call);
    free(c->state);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

// One operation is done. Counted only after its callbacks, so that they cannot free the call.
static void done(struct ls_call *c)
{
    c->ops--;
    release(c);
}

static void send_status(struct ls_call *c)
{
    grpc_metadata trailer = {.key = grpc_slice_from_static_string("grpc-status-details-bin")};
    grpc_slice text = grpc_slice_from_copied_string(c->status.text);
    grpc_op op[2] = {{.op = GRPC_OP_SEND_STATUS_FROM_SERVER},
                     {.op = GRPC_OP_SEND_INITIAL_METADATA}};

    op[0].data.send_status_from_server.status = (grpc_status_code)c->status.code;
    op[0].data.send_status_from_server.status_details = &text;
    if (c->status.details_size) {
        trailer.value =
            grpc_slice_from_copied_buffer((const char *)c->status.details, c->status.details_size);
        op[0].data.send_status_from_server.trailing_metadata = &trailer;
        op[0].data.send_status_from_server.trailing_metadata_count = 1;
    }
    c->status_sent = true;
    start(c, op, c->headers_sent ? 1 : 2, &c->status_op);
    c->headers_sent = true;
    grpc_slice_unref(text);
    if (c->status.details_size)
        grpc_slice_unref(trailer.value);
}

// Starts the next send, or the status when none is left.
static void pump(struct ls_call *c)
{
    grpc_op op[2] = {{.op = GRPC_OP_SEND_MESSAGE}, {.op = GRPC_OP_SEND_INITIAL_METADATA}};

    if (c->gone) {
        drop_queue(c);
        return;
    }
    if (c->writing || c->status_sent)
        return;
    if (c->queue) {
        op[0].data.send_message.send_message = c->queue->bytes;
        c->writing = true;
        start(c, op, c->headers_sent ? 1 : 2, &c->write_op);
        c->headers_sent = true;
    } else if (c->ended) {
        uv_timer_stop(&c->timer);
        send_status(c);
    }
}

static void pop_reply(struct ls_call *c)
{
    struct reply *reply = c->queue;

    c->queue = reply->next;
    if (!c->queue)
        c->queue_end = &c->queue;
    reply->next = NULL;
    free_replies(c, reply);
}

static void on_flush_timeout(uv_timer_t *timer)
{
    struct ls_call *c = timer->data;
    char text[LS_STATUS_TEXT + 40];

    if (c->gone || c->status_sent)
        return;
    if (!c->status.code)
        ls_status_make(&c->status, &c->stall, NULL, c->note.session_id);
    // A status cannot overtake the message under way; only the transport's own end of the stream
    // can, and that carries no details: the text has the reason then.
    snprintf(text, sizeof text, "%s: %s", c->status.reason, c->status.text);
    grpc_call_cancel_with_status(c->call, (grpc_status_code)c->status.code, text, NULL);
}

static void finish(struct ls_call *c)
{
    uint64_t flush_ms = FLUSH_MS;

    c->ended = true;
    if (c->gone) {
        drop_queue(c);
        uv_timer_stop(&c->timer);
        release(c);
        return;
    }
    if (!c->status.code) {
        flush_ms = (uint64_t)c->rpc->engine->opt.output_idle_ms_max;
        ls_fail(&c->stall, LS_ESTALL, "the last replies were not read within %lld ms",
                (long long)flush_ms);
    } else {
        drop_queue(c);
    }
    uv_timer_start(&c->timer, on_flush_timeout, flush_ms, flush_ms);
    pump(c);
}

void ls_call_end(struct ls_call *c, const struct ls_err *err, const struct ls_violations *all)
{
    assert(!c->ended);
    ls_status_make(&c->status, err, all, c->note.session_id);
    finish(c);
}

void ls_call_end_status(struct ls_call *c, int grpc_status, const char *reason, const char *text)
{
    assert(!c->ended);
    ls_status_plain(&c->status, grpc_status, reason, text);
    finish(c);
}

void ls_call_cancel(struct ls_call *c, const struct ls_err *err)
{
    if (!c->method || c->ended || c->told)
        return;
    c->told = true;
    if (c->method->on_cancel)
        c->method->on_cancel(c, err);
    else
        ls_call_end(c, err, NULL);
}

void ls_call_drain(struct ls_call *c)
{
    if (c->method && !c->ended && c->method->on_drain)
        c->method->on_drain(c);
}

static void on_write_done(struct ls_op *op, bool ok)
{
    struct ls_call *c = op->owner;

    c->writing = false;
    pop_reply(c);
    if (!ok)
        drop_queue(c); // the call is gone; the close operation says so
    pump(c);
    if (ok && c->ended && !c->status_sent && !c->status.code)
        uv_timer_again(&c->timer); // the reader is alive
    if (!c->ended && c->method->on_sent)
        c->method->on_sent(c);
    done(c);
}

void ls_call_send(struct ls_call *c, const void *head, size_t head_size, void **data,
                  size_t data_size)
{
    struct reply *reply;
    grpc_slice slice[2];
    size_t count = 0;

    assert(!c->ended);
    if (head_size)
        slice[count++] = grpc_slice_from_copied_buffer(head, head_size);
    if (data && *data) {
        slice[count++] = grpc_slice_new(*data, data_size, free);
        *data = NULL;
    }
    reply = calloc(1, sizeof *reply);
    if (reply && !c->gone) {
        reply->size = head_size + data_size;
        reply->bytes = grpc_raw_byte_buffer_create(slice, count);
        c->backlog += reply->size;
        *c->queue_end = reply;
        c->queue_end = &reply->next;
        pump(c);
    } else if (reply) {
        free(reply);
    } else {
        grpc_call_cancel_with_status(c->call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory",
                                     NULL);
    }
    for (size_t i = 0; i < count; i++)
        grpc_slice_unref(slice[i]);
}

void ls_call_read(struct ls_call *c)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    if (c->reading || c->half_closed || c->gone || c->ended)
        return;
    c->reading = true;
    op.data.recv_message.recv_message = &c->incoming;
    start(c, &op, 1, &c->read_op);
}

static void on_read_done(struct ls_op *op, bool ok)
{
    struct ls_call *c = op->owner;
    grpc_byte_buffer *bytes = c->incoming;
    struct ls_message message = {.data = NULL};
    struct ls_err err = {0};

    c->reading = false;
    c->incoming = NULL;
    if (c->ended || c->gone || !ok) {
        // Nobody listens any more.
    } else if (!bytes) {
        // A cut message looks like a half-close; the close operation tells of it soon.
        c->half_closed = true;
        if (!grpc_call_failed_before_recv_message(c->call) && c->method->on_half_close)
            c->method->on_half_close(c);
    } else if (ls_message_open(&message, bytes, (size_t)c->rpc->engine->opt.message_bytes_max,
                               &err) < 0) {
        c->told = true;
        if (c->method->on_cancel)
            c->method->on_cancel(c, &err);
        else
            ls_call_end(c, &err, NULL);
    } else {
        c->method->on_message(c, message.data, message.size);
    }
    ls_message_close(&message);
    if (bytes)
        grpc_byte_buffer_destroy(bytes);
    done(c);
}

static void on_status_done(struct ls_op *op, bool ok)
{
    (void)ok;
    done(op->owner);
}

static void on_close_done(struct ls_op *op, bool ok)
{
    struct ls_call *c = op->owner;
    struct ls_err err = {0};

    (void)ok;
    if (c->was_cancelled && !c->status_sent) {
        c->gone = true;
        if (c->deadline_ms && now_ms() + 5 >= c->deadline_ms)
            ls_fail(&err, LS_EDEADLINE, "the call's deadline passed");
        else
            ls_fail(&err, LS_ECANCEL, "the caller cancelled or went away");
        drop_queue(c);
        if (c->ended && !c->status.code) // it went away before the last replies
            ls_status_make(&c->status, &err, NULL, c->note.session_id);
        ls_call_cancel(c, &err);
    }
    done(c);
}

static void on_too_long(uv_timer_t *timer)
{
    struct ls_call *c = timer->data;
    struct ls_err err = {0};

    ls_fail(&err, LS_EDEADLINE, "the call took longer than this server's session-max, %lld ms",
            (long long)c->rpc->engine->opt.session_ms_max);
    ls_call_cancel(c, &err);
}

static void on_unknown_start(struct ls_call *c)
{
    char *path = grpc_slice_to_c_string(c->details.method);
    char text[160];

    snprintf(text, sizeof text, "no method %.100s; server reflection lists those there are", path);
    gpr_free(path);
    ls_call_end_status(c, GRPC_STATUS_UNIMPLEMENTED, "METHOD_UNKNOWN", text);
}

static const struct ls_method unknown = {.path = "unknown", .on_start = on_unknown_start};

static const struct ls_method *find_method(grpc_slice path)
{
    static const struct ls_method *const methods[] = {
        &ls_method_sync,         &ls_method_info,       &ls_method_health_check,
        &ls_method_health_watch, &ls_method_reflect_v1, &ls_method_reflect_v1alpha};

    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (!grpc_slice_str_cmp(path, methods[i]->path))
            return methods[i];
    return &unknown;
}

static void find_peer(struct ls_call *c)
{
    char *peer = grpc_call_get_peer(c->call);
    int fd = -1;

    if (peer && sscanf(peer, "fd:%d", &fd) == 1)
        snprintf(c->peer, sizeof c->peer, "%s", ls_accept_peer(c->rpc->accept, fd));
    gpr_free(peer);
}

static void begin(struct ls_call *c)
{
    gpr_timespec left;
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};

    c->method = find_method(c->details.method);
    c->rpc->running_count++;
    c->started_ms = now_ms();
    left = gpr_time_sub(gpr_convert_clock_type(c->details.deadline, GPR_CLOCK_MONOTONIC),
                        gpr_now(GPR_CLOCK_MONOTONIC));
    if (gpr_time_cmp(c->details.deadline, gpr_inf_future(c->details.deadline.clock_type)) < 0)
        c->deadline_ms =
            c->started_ms + (uint64_t)(gpr_time_to_millis(left) > 0 ? gpr_time_to_millis(left) : 0);
    find_peer(c);
    op.data.recv_close_on_server.cancelled = &c->was_cancelled;
    start(c, &op, 1, &c->close_op); // alone: the only way to hear of a cancellation early
    uv_timer_start(&c->timer, on_too_long, (uint64_t)c->rpc->engine->opt.session_ms_max, 0);
    c->state = calloc(1, c->method->state_size ? c->method->state_size : 1);
    if (!c->state)
        ls_call_end(c, &(struct ls_err){.code = LS_ENOMEM}, NULL);
    else
        c->method->on_start(c);
}

static void on_accepted(struct ls_op *op, bool ok)
{
    struct ls_call *c = op->owner;

    if (ok) {
        ls_call_request(c->rpc); // first, so that the next caller does not wait
        begin(c);
    }
    done(c);
}

void ls_call_request(struct ls_rpc *rpc)
{
    struct ls_call *c;
    grpc_call_error r;

    if (rpc->closing)
        return;
    c = calloc(1, sizeof *c);
    if (!c) {
        ls_log(LS_LOG_ERROR, "memory", NULL, 0, "no memory for a call: one slot less");
        return;
    }
    c->rpc = rpc;
    c->queue_end = &c->queue;
    c->accept_op = (struct ls_op){.on_done = on_accepted, .owner = c};
    c->read_op = (struct ls_op){.on_done = on_read_done, .owner = c};
    c->write_op = (struct ls_op){.on_done = on_write_done, .owner = c};
    c->status_op = (struct ls_op){.on_done = on_status_done, .owner = c};
    c->close_op = (struct ls_op){.on_done = on_close_done, .owner = c};
    uv_timer_init(rpc->engine->loop, &c->timer);
    c->timer.data = c;
    c->timer_open = true;
    c->next = rpc->first;
    if (c->next)
        c->next->prev = c;
    rpc->first = c;
    rpc->call_count++;
    grpc_call_details_init(&c->details);
    grpc_metadata_array_init(&c->metadata);
    LS_OP_GIVE(&c->accept_op);
    r = grpc_server_request_call(rpc->server, &c->call, &c->details, &c->metadata, rpc->cq, rpc->cq,
                                 &c->accept_op);
    assert(r == GRPC_CALL_OK);
    (void)r;
    c->ops++;
}
