// SPDX-License-Identifier: Apache-2.0
// gRPC's server object, its completion queue and the way out of both. A thread waits for events and
// hands them to the loop through a list; the loop runs the calls, so no call needs a lock. The
// order of the shutdown is gRPC's: an operation started after the queue's shutdown aborts the
// process, so the queue goes only when our own count of calls is zero.
#include "server/rpc.h"

#include <stdlib.h>
#include <string.h>

#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>

#include "server/log.h"
#include "server/rpc_core.h"
#include "server/rpc_log.h"

enum {
    SLOTS = 8,                // calls accepted ahead; gRPC queues more of them without bound
    LOOKAHEAD_BYTES = 524288, // what gRPC buffers of one stream
    METADATA_BYTES = 16384,
    CONNECTION_AGE_MS = 1800000,
    QUOTA_BASE = 64 << 20,
    QUOTA_SESSION = 8 << 20, // memory of gRPC; beyond, it ends streams
    CANCEL_MS = 3000,        // from telling the calls to cutting them off
};

static void poll_events(void *arg)
{
    struct ls_rpc *rpc = arg;

    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(rpc->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        struct ls_op *op = event.tag, *head;

        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return;
        LS_OP_TAKE(op);
        op->ok = event.success;
        head = atomic_load_explicit(&rpc->finished, memory_order_relaxed);
        do
            op->next = head;
        while (!atomic_compare_exchange_weak_explicit(&rpc->finished, &head, op,
                                                      memory_order_release, memory_order_relaxed));
        if (!head) // else the loop is already on its way
            uv_async_send(&rpc->wake);
    }
}

static void on_wake(uv_async_t *wake)
{
    struct ls_rpc *rpc = wake->data;
    struct ls_op *op = atomic_exchange_explicit(&rpc->finished, NULL, memory_order_acquire);
    struct ls_op *ordered = NULL;

    while (op) {
        struct ls_op *next = op->next;

        op->next = ordered;
        ordered = op;
        op = next;
    }
    while (ordered) {
        struct ls_op *next = ordered->next; // on_done may free it

        ordered->on_done(ordered, ordered->ok);
        ordered = next;
    }
}

static grpc_arg number(const char *key, int value)
{
    return (grpc_arg){
        .type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key, .value.integer = value};
}

static int clamp_int(int64_t value)
{
    return value > INT32_MAX ? INT32_MAX : (int)value;
}

static grpc_server *create_server(const struct ls_options *opt)
{
    grpc_resource_quota *quota = grpc_resource_quota_create("lipstream");
    grpc_arg args[] = {
        number(GRPC_ARG_HTTP2_BDP_PROBE, 0),
        number(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, LOOKAHEAD_BYTES),
        number(GRPC_ARG_MAX_CONCURRENT_STREAMS, clamp_int(opt->sessions_max * 2 + 100)),
        // Twice ours, so that a message somewhat too large is refused by us, with a reason; gRPC
        // alone refuses the rest.
        number(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, clamp_int(2 * opt->message_bytes_max)),
        number(GRPC_ARG_MAX_METADATA_SIZE, METADATA_BYTES),
        number(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0), // see rpc_message.c
        number(GRPC_ARG_KEEPALIVE_TIME_MS, 30000),
        number(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000),
        number(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
        number(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000),
        number(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2),
        number(GRPC_ARG_MAX_CONNECTION_AGE_MS, CONNECTION_AGE_MS),
        number(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, clamp_int(opt->session_ms_max)),
        {.type = GRPC_ARG_POINTER,
         .key = (char *)(uintptr_t)GRPC_ARG_RESOURCE_QUOTA,
         .value.pointer = {quota, grpc_resource_quota_arg_vtable()}},
    };
    grpc_channel_args all = {sizeof args / sizeof args[0], args};
    grpc_server *server;

    grpc_resource_quota_resize(quota, QUOTA_BASE + (size_t)opt->sessions_max * QUOTA_SESSION);
    server = grpc_server_create(&all, NULL);
    grpc_resource_quota_unref(quota);
    return server;
}

static void on_socket(void *user, int fd)
{
    struct ls_rpc *rpc = user;

    grpc_server_add_channel_from_fd(rpc->server, fd, rpc->creds);
}

static void on_shutdown(struct ls_op *op, bool ok)
{
    struct ls_rpc *rpc = op->owner;

    (void)ok;
    rpc->shut = true;
    ls_rpc_check_drained(rpc);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct ls_rpc *rpc = handle->data;

    if (--rpc->handle_count == 0)
        free(rpc);
}

static void close_handles(struct ls_rpc *rpc)
{
    grpc_completion_queue_destroy(rpc->cq);
    grpc_shutdown();
    ls_accept_close(&rpc->accept);
    uv_close((uv_handle_t *)&rpc->wake, on_handle_closed);
    uv_close((uv_handle_t *)&rpc->drain_timer, on_handle_closed);
}

// The completion queue and the thread that waits on it.
static int start_poller(struct ls_rpc *rpc, struct ls_err *err)
{
    uv_loop_t *loop = rpc->engine->loop;
    int r;

    rpc->cq = grpc_completion_queue_create_for_next(NULL);
    uv_async_init(loop, &rpc->wake, on_wake);
    uv_timer_init(loop, &rpc->drain_timer);
    rpc->wake.data = rpc->drain_timer.data = rpc;
    rpc->handle_count = 2;
    r = uv_thread_create(&rpc->poller, poll_events, rpc);
    if (r)
        return ls_fail(err, LS_ENOMEM, "a thread for gRPC: %s", uv_strerror(r));
    return 0;
}

int ls_rpc_open(struct ls_rpc **out, struct ls_engine *engine, struct ls_err *err)
{
    struct ls_rpc *rpc = calloc(1, sizeof *rpc);
    int r;

    if (!rpc)
        return ls_fail(err, LS_ENOMEM, "the gRPC server");
    rpc->engine = engine;
    r = ls_accept_open(&rpc->accept, engine->loop, engine->opt.listen, on_socket, rpc, err);
    if (r < 0) {
        free(rpc);
        return r;
    }
    ls_rpc_log_init();
    grpc_init();
    r = start_poller(rpc, err);
    if (r < 0) {
        grpc_completion_queue_shutdown(rpc->cq);
        poll_events(rpc); // nothing was started: only the end of the queue comes
        close_handles(rpc);
        return r;
    }
    rpc->server = create_server(&engine->opt);
    rpc->creds = grpc_insecure_server_credentials_create();
    rpc->shutdown_op = (struct ls_op){.on_done = on_shutdown, .owner = rpc};
    grpc_server_register_completion_queue(rpc->server, rpc->cq, NULL);
    grpc_server_start(rpc->server);
    for (int i = 0; i < SLOTS; i++)
        ls_call_request(rpc);
    *out = rpc;
    return 0;
}

const char *ls_rpc_address(const struct ls_rpc *rpc)
{
    return ls_accept_address(rpc->accept);
}

static void for_each_call(struct ls_rpc *rpc, void (*act)(struct ls_call *c, const struct ls_err *),
                          const struct ls_err *err)
{
    // A call is unlinked only by a close callback of the loop, never inside act.
    for (struct ls_call *c = rpc->first; c; c = ls_call_next(c))
        act(c, err);
}

static void drain_call(struct ls_call *c, const struct ls_err *err)
{
    (void)err;
    ls_call_drain(c);
}

// From here on gRPC itself turns callers away, with a bare CANCELLED: as late as possible.
static void close_server(struct ls_rpc *rpc)
{
    if (rpc->closing)
        return;
    rpc->closing = true;
    LS_OP_GIVE(&rpc->shutdown_op);
    grpc_server_shutdown_and_notify(rpc->server, rpc->cq, &rpc->shutdown_op);
}

static void on_cancel_time(uv_timer_t *timer)
{
    struct ls_rpc *rpc = timer->data;

    grpc_server_cancel_all_calls(rpc->server);
}

static void on_drain_time(uv_timer_t *timer)
{
    struct ls_rpc *rpc = timer->data;
    struct ls_err err = {0};

    ls_fail(&err, LS_EDRAIN, "the server is shutting down and the call had %lld ms to finish",
            (long long)rpc->engine->opt.drain_ms_max);
    uv_timer_start(&rpc->drain_timer, on_cancel_time, CANCEL_MS, 0);
    for_each_call(rpc, ls_call_cancel, &err);
    close_server(rpc);
}

void ls_rpc_drain(struct ls_rpc *rpc, void (*on_drained)(void *user), void *user)
{
    rpc->draining = rpc->engine->draining = true;
    rpc->on_drained = on_drained;
    rpc->user = user;
    ls_accept_stop(rpc->accept);
    for_each_call(rpc, drain_call, NULL);
    uv_timer_start(&rpc->drain_timer, on_drain_time, (uint64_t)rpc->engine->opt.drain_ms_max, 0);
    ls_rpc_check_drained(rpc);
}

void ls_rpc_drain_now(struct ls_rpc *rpc)
{
    if (!rpc->drained)
        on_drain_time(&rpc->drain_timer);
}

void ls_rpc_check_drained(struct ls_rpc *rpc)
{
    if (rpc->draining && !rpc->running_count)
        close_server(rpc);
    if (!rpc->shut || rpc->call_count || rpc->drained)
        return;
    rpc->drained = true;
    uv_timer_stop(&rpc->drain_timer);
    rpc->on_drained(rpc->user);
}

void ls_rpc_close(struct ls_rpc **r)
{
    struct ls_rpc *rpc = *r;

    if (!rpc)
        return;
    *r = NULL;
    grpc_completion_queue_shutdown(rpc->cq);
    uv_thread_join(&rpc->poller);
    grpc_server_destroy(rpc->server);
    grpc_server_credentials_release(rpc->creds);
    close_handles(rpc);
}
