// SPDX-License-Identifier: Apache-2.0
// One call, from the slot that waits for a caller to its status. Loop thread only. A call lives
// while gRPC works on any of its operations or its method has not ended it. At most one receive and
// one send are with gRPC; a status goes out once, after the send that is under way.
#include "server/rpc_call.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <grpc/slice.h>

#include "server/log.h"
#include "server/rpc_call_state.h"
#include "server/rpc_message.h"

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

static void free_replies(struct ls_call *c, struct ls_queued *reply)
{
    while (reply) {
        struct ls_queued *next = reply->next;

        c->backlog -= reply->size;
        grpc_byte_buffer_destroy(reply->bytes);
        free(reply);
        reply = next;
    }
}

// Drops what waits; what gRPC works on stays until it is done.
static void drop_queue(struct ls_call *c)
{
    struct ls_queued **rest = c->writing ? &c->queue->next : &c->queue;

    free_replies(c, *rest);
    *rest = NULL;
    c->queue_end = rest;
}

// Its replies are gone, one way or the other.
static void flushed(struct ls_call *c)
{
    if (!c->ended || c->queue || c->flushed)
        return;
    c->flushed = true;
    if (c->method->on_flushed && c->state)
        c->method->on_flushed(c);
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
    ls_call_await_no_more(c);
    drop_queue(c);
    if (c->method) {
        flushed(c);
        ls_call_log(c);
    }
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

static void unref_values(grpc_metadata *item, size_t count)
{
    for (size_t i = 0; i < count; i++)
        grpc_slice_unref(item[i].value);
}

// A call that ends before its first message says all in its trailers: with headers of their own
// before them, Envoy would not take it for one that may be tried again elsewhere (gRPC's proposal
// A6, "trailers-only").
static void send_status(struct ls_call *c)
{
    grpc_metadata trailer[LS_CALL_HEADERS + 1];
    grpc_slice text = grpc_slice_from_copied_string(c->status.text);
    grpc_op op[2] = {{.op = GRPC_OP_SEND_STATUS_FROM_SERVER},
                     {.op = GRPC_OP_SEND_INITIAL_METADATA}};
    size_t count = c->headers_sent ? 0 : ls_call_headers(c, trailer);

    if (c->status.details_size)
        trailer[count++] =
            (grpc_metadata){.key = grpc_slice_from_static_string("grpc-status-details-bin"),
                            .value = grpc_slice_from_copied_buffer((const char *)c->status.details,
                                                                   c->status.details_size)};
    op[0].data.send_status_from_server.status = (grpc_status_code)c->status.code;
    op[0].data.send_status_from_server.status_details = &text;
    op[0].data.send_status_from_server.trailing_metadata = trailer;
    op[0].data.send_status_from_server.trailing_metadata_count = count;
    c->status_sent = true;
    start(c, op, c->headers_sent ? 1 : 2, &c->status_op);
    c->headers_sent = true;
    grpc_slice_unref(text);
    unref_values(trailer, count);
}

static void send_message(struct ls_call *c)
{
    grpc_metadata header[LS_CALL_HEADERS];
    grpc_op op[2] = {{.op = GRPC_OP_SEND_MESSAGE}, {.op = GRPC_OP_SEND_INITIAL_METADATA}};
    size_t count = c->headers_sent ? 0 : ls_call_headers(c, header);

    op[0].data.send_message.send_message = c->queue->bytes;
    op[1].data.send_initial_metadata.metadata = header;
    op[1].data.send_initial_metadata.count = count;
    c->writing = true;
    start(c, op, c->headers_sent ? 1 : 2, &c->write_op);
    c->headers_sent = true;
    unref_values(header, count);
}

static void on_lingered(uv_timer_t *timer);

static void read_next(struct ls_call *c)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    c->reading = true;
    op.data.recv_message.recv_message = &c->incoming;
    start(c, &op, 1, &c->read_op);
}

// gRPC resets a stream that ends before its caller's side has, and a proxy may then throw away what
// its slow reader has not taken yet (Envoy 1.40: 2 of 12 outputs of 17 MB were cut). So OK waits
// for the half-close, for a while, and well within the caller's deadline; what else comes is thrown
// away.
static bool lingers(struct ls_call *c)
{
    uint64_t ms = (uint64_t)c->rpc->engine->opt.half_close_ms_max, now = ls_call_now_ms();

    if (c->status.code || !c->note.is_session || c->half_closed || c->lingered || !ms)
        return false;
    if (c->deadline_ms && (c->deadline_ms < now || (c->deadline_ms - now) / 2 < ms))
        ms = c->deadline_ms < now ? 0 : (c->deadline_ms - now) / 2;
    uv_timer_start(&c->timer, on_lingered, ms, 0);
    if (!c->reading)
        read_next(c);
    return true;
}

// Starts the next send, or the status when none is left.
static void pump(struct ls_call *c)
{
    if (c->gone) {
        drop_queue(c);
        flushed(c);
        return;
    }
    if (c->writing || c->status_sent)
        return;
    flushed(c);
    if (c->queue) {
        send_message(c);
    } else if (c->ended && !lingers(c)) {
        ls_call_await_no_more(c);
        uv_timer_stop(&c->timer);
        send_status(c);
    }
}

static void on_lingered(uv_timer_t *timer)
{
    struct ls_call *c = timer->data;

    c->lingered = true;
    pump(c);
}

static void pop_reply(struct ls_call *c)
{
    struct ls_queued *reply = c->queue;

    c->queue = reply->next;
    if (!c->queue)
        c->queue_end = &c->queue;
    reply->next = NULL;
    free_replies(c, reply);
}

// Within a fifth of what the operator wants: callers refused together shall not come back together.
static int64_t retry_ms(const struct ls_call *c)
{
    int64_t ms = c->rpc->engine->opt.retry_ms;
    uint16_t draw = 0;

    if (getrandom(&draw, sizeof draw, 0) != (ssize_t)sizeof draw)
        return ms;
    return ms - ms / 5 + ms * 2 / 5 * draw / UINT16_MAX;
}

static void make_status(struct ls_call *c, const struct ls_err *err,
                        const struct ls_violations *all)
{
    c->err_code = err->code;
    ls_status_make(&c->status, err, all, c->note.session_id, retry_ms(c));
}

void ls_call_cut(struct ls_call *c)
{
    char text[LS_STATUS_TEXT + 40];

    if (c->gone || c->status_sent)
        return;
    if (!c->status.code)
        make_status(c, &c->stall, NULL);
    // A status cannot overtake the message under way; only the transport's own end of the stream
    // can, and that carries no details: the text has the reason then.
    snprintf(text, sizeof text, "%s: %s", c->status.reason, c->status.text);
    grpc_call_cancel_with_status(c->call, (grpc_status_code)c->status.code, text, NULL);
}

static void on_flush_timeout(uv_timer_t *timer)
{
    ls_call_cut(timer->data);
}

static void on_too_long(uv_timer_t *timer)
{
    struct ls_call *c = timer->data;
    struct ls_err err = {0};

    ls_fail(&err, LS_EDEADLINE, "the call took longer than this server's session-max, %lld ms",
            (long long)c->rpc->engine->opt.session_ms_max);
    ls_call_cancel(c, &err);
}

static void limit_time(struct ls_call *c)
{
    uv_timer_start(&c->timer, on_too_long, (uint64_t)c->rpc->engine->opt.session_ms_max, 0);
}

static void finish(struct ls_call *c)
{
    uint64_t flush_ms = (uint64_t)c->rpc->engine->opt.flush_ms_max;

    c->ended = true;
    ls_call_await_no_more(c);
    ls_call_stay_no_more(c);
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
    if (!c->status.code)
        ls_call_await_reader(c);
    pump(c);
}

void ls_call_end(struct ls_call *c, const struct ls_err *err, const struct ls_violations *all)
{
    assert(!c->ended);
    make_status(c, err, all);
    finish(c);
}

void ls_call_end_status(struct ls_call *c, int grpc_status, const char *reason, const char *text)
{
    assert(!c->ended);
    c->err_code = LS_EINTERNAL; // never of a session
    ls_status_plain(&c->status, grpc_status, reason, text, retry_ms(c));
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
    if (ok && c->ended && c->queue && !c->status.code)
        uv_timer_again(&c->timer); // the reader is alive
    if (!c->ended && c->method->on_sent)
        c->method->on_sent(c);
    done(c);
}

void ls_call_send(struct ls_call *c, const void *head, size_t head_size, void **data,
                  size_t data_size)
{
    struct ls_queued *reply;
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
    if (c->reading || c->half_closed || c->gone || c->ended)
        return;
    ls_call_await(c);
    read_next(c);
}

// A call that has ended waits for its caller's half-close alone.
static void on_read_late(struct ls_call *c, bool more)
{
    c->half_closed = !more;
    if (!more)
        pump(c);
    else if (!c->status_sent && !c->lingered && !c->status.code)
        read_next(c);
}

static void on_read_done(struct ls_op *op, bool ok)
{
    struct ls_call *c = op->owner;
    grpc_byte_buffer *bytes = c->incoming;
    struct ls_message message = {.data = NULL};
    struct ls_err err = {0};

    c->reading = false;
    c->incoming = NULL;
    if (c->gone || !ok) {
        // Nobody listens any more.
    } else if (c->ended) {
        on_read_late(c, bytes != NULL);
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
        c->heard = true;
        if (ls_call_await_no_more(c))
            limit_time(c);
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
        if (c->deadline_ms && ls_call_now_ms() + 5 >= c->deadline_ms)
            ls_fail(&err, LS_EDEADLINE, "the call's deadline passed");
        else
            ls_fail(&err, LS_ECANCEL, "the caller cancelled or went away");
        drop_queue(c);
        if (c->ended && !c->status.code) // it went away before the last replies
            make_status(c, &err, NULL);
        ls_call_cancel(c, &err);
    }
    done(c);
}

static void begin(struct ls_call *c)
{
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    struct ls_err err = {0};
    int r;

    c->started_ms = ls_call_now_ms();
    r = ls_call_identify(c, &err);
    c->rpc->running_count++;
    op.data.recv_close_on_server.cancelled = &c->was_cancelled;
    start(c, &op, 1, &c->close_op); // alone: the only way to hear of a cancellation early
    limit_time(c);
    c->state = calloc(1, c->method->state_size ? c->method->state_size : 1);
    if (!c->state)
        r = ls_fail(&err, LS_ENOMEM, "a call");
    if (r == 0)
        r = ls_call_stay(c, &err);
    if (r < 0)
        ls_call_end(c, &err, NULL);
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
