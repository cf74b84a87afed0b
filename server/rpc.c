// SPDX-License-Identifier: Apache-2.0
// gRPC's server object, its completion queue and the way out of both. A thread waits for events and
// hands them to the loop through a list; the loop runs the calls, so no call needs a lock. The
// order of the shutdown is gRPC's: an operation started after the queue's shutdown aborts the
// process, so the queue goes only when our own count of calls is zero. What surprises: on_socket
// runs on the front's thread. gRPC takes a socket on any thread while its server lives, and
// ls_front_stop, which comes before that server's shutdown, waits for the last one.
#include "server/rpc.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>

#include "server/admit.h"
#include "server/front.h"
#include "server/rpc_core.h"
#include "server/rpc_log.h"

enum {
    SLOTS = 8,             // calls accepted ahead; gRPC queues more of them without bound
    QUOTA_BASE = 64 << 20, // memory of gRPC, where --rpc-bytes-max leaves it to us
    QUOTA_SESSION = 8 << 20,
    HURRY_MS = 500, // to hear of the end, when it is wanted at once
    LOOK_MS = 10,   // for the last bytes to leave
    PING_STRIKES = 2,
};

static void poll_events(void *arg)
{
    struct ls_rpc *rpc = arg;

    prctl(PR_SET_NAME, "rpc");
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

static grpc_arg number(const char *key, int64_t value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER,
                      .key = (char *)(uintptr_t)key,
                      .value.integer = value > INT32_MAX ? INT32_MAX : (int)value};
}

static int64_t quota_bytes(const struct ls_options *opt)
{
    return opt->rpc_bytes_max ? opt->rpc_bytes_max
                              : QUOTA_BASE + opt->sessions_max * (int64_t)QUOTA_SESSION;
}

static grpc_server *create_server(const struct ls_options *opt)
{
    grpc_resource_quota *quota = grpc_resource_quota_create("lipstream");
    int64_t grace_ms = opt->connection_grace_ms ? opt->connection_grace_ms : opt->session_ms_max;
    grpc_arg args[] = {
        number(GRPC_ARG_HTTP2_BDP_PROBE, 0), // else a stream's window grows to megabytes
        number(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, opt->stream_window_bytes),
        number(GRPC_ARG_MAX_CONCURRENT_STREAMS, ls_front_streams_max(opt)),
        number(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, ls_front_message_bytes_max(opt)),
        number(GRPC_ARG_MAX_METADATA_SIZE, opt->metadata_bytes_max),
        number(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0), // see rpc_message.c
        number(GRPC_ARG_KEEPALIVE_TIME_MS, opt->keepalive_ms),
        number(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, opt->keepalive_timeout_ms),
        number(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
        number(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, opt->ping_interval_ms_min),
        number(GRPC_ARG_HTTP2_MAX_PING_STRIKES, PING_STRIKES),
        number(GRPC_ARG_MAX_CONNECTION_AGE_MS,
               opt->connection_age_ms ? opt->connection_age_ms : INT32_MAX),
        number(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, grace_ms),
        {.type = GRPC_ARG_POINTER,
         .key = (char *)(uintptr_t)GRPC_ARG_RESOURCE_QUOTA,
         .value.pointer = {quota, grpc_resource_quota_arg_vtable()}},
    };
    grpc_channel_args all = {sizeof args / sizeof args[0], args};
    grpc_server *server;

    grpc_resource_quota_resize(quota, (size_t)quota_bytes(opt));
    server = grpc_server_create(&all, NULL);
    grpc_resource_quota_unref(quota);
    return server;
}

// Front's thread.
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
    uv_close((uv_handle_t *)&rpc->wake, on_handle_closed);
    uv_close((uv_handle_t *)&rpc->delay_timer, on_handle_closed);
    uv_close((uv_handle_t *)&rpc->drain_timer, on_handle_closed);
}

// The completion queue and the thread that waits on it.
static int start_poller(struct ls_rpc *rpc, struct ls_err *err)
{
    uv_loop_t *loop = rpc->engine->loop;
    int r;

    rpc->cq = grpc_completion_queue_create_for_next(NULL);
    uv_async_init(loop, &rpc->wake, on_wake);
    uv_timer_init(loop, &rpc->delay_timer);
    uv_timer_init(loop, &rpc->drain_timer);
    rpc->wake.data = rpc->delay_timer.data = rpc->drain_timer.data = rpc;
    rpc->handle_count = 3;
    r = uv_thread_create(&rpc->poller, poll_events, rpc);
    if (r)
        return ls_fail(err, LS_ENOMEM, "a thread for gRPC: %s", uv_strerror(r));
    return 0;
}

static void close_grpc(struct ls_rpc *rpc)
{
    if (rpc->server)
        grpc_server_destroy(rpc->server);
    if (rpc->creds)
        grpc_server_credentials_release(rpc->creds);
    grpc_completion_queue_destroy(rpc->cq);
    grpc_shutdown();
}

// The server without a way in.
static int open_grpc(struct ls_rpc *rpc, struct ls_err *err)
{
    int r;

    ls_rpc_log_init();
    grpc_init();
    r = start_poller(rpc, err);
    if (r < 0) {
        grpc_completion_queue_shutdown(rpc->cq);
        poll_events(rpc); // nothing was started: only the end of the queue comes
        close_grpc(rpc);
        close_handles(rpc);
        return r;
    }
    rpc->server = create_server(&rpc->engine->opt);
    rpc->creds = grpc_insecure_server_credentials_create(); // TLS ends in the front
    rpc->shutdown_op = (struct ls_op){.on_done = on_shutdown, .owner = rpc};
    grpc_server_register_completion_queue(rpc->server, rpc->cq, NULL);
    grpc_server_start(rpc->server);
    return 0;
}

int ls_rpc_open(struct ls_rpc **out, struct ls_engine *engine, struct ls_tls *tls,
                struct ls_auth *auth, struct ls_err *err)
{
    struct ls_rpc *rpc = calloc(1, sizeof *rpc);
    int r;

    if (!rpc)
        return ls_fail(err, LS_ENOMEM, "the gRPC server");
    rpc->engine = engine;
    rpc->tls = tls;
    rpc->auth = auth;
    r = open_grpc(rpc, err);
    if (r < 0)
        return r;
    r = ls_front_open(&rpc->front, &engine->opt, tls, engine->metrics, on_socket, rpc, err);
    if (r < 0) {
        ls_rpc_close(&rpc);
        return r;
    }
    for (int i = 0; i < SLOTS; i++)
        ls_call_request(rpc);
    *out = rpc;
    return 0;
}

const char *ls_rpc_address(const struct ls_rpc *rpc)
{
    return ls_front_address(rpc->front);
}

int ls_rpc_connections(const struct ls_rpc *rpc)
{
    return ls_front_connections(rpc->front);
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
    ls_front_finish(rpc->front);
}

static void stop_port(struct ls_rpc *rpc)
{
    rpc->stopped = true;
    uv_timer_stop(&rpc->delay_timer);
    ls_front_stop(rpc->front);
}

static void on_cut_time(uv_timer_t *timer)
{
    struct ls_rpc *rpc = timer->data;

    grpc_server_cancel_all_calls(rpc->server);
}

// Running calls have had their time: they are told, then cut off.
static void end_calls(struct ls_rpc *rpc, uint64_t cut_ms)
{
    struct ls_err err = {0};

    rpc->overdue = true;
    ls_fail(&err, LS_EDRAIN, "the server is shutting down and the call had %lld ms to finish",
            (long long)rpc->engine->opt.drain_ms_max);
    for_each_call(rpc, ls_call_cancel, &err);
    if (!rpc->stopped)
        return;
    close_server(rpc);
    uv_timer_start(&rpc->drain_timer, on_cut_time, cut_ms, 0);
}

static void on_drain_time(uv_timer_t *timer)
{
    struct ls_rpc *rpc = timer->data;

    end_calls(rpc, (uint64_t)rpc->engine->opt.flush_ms_max);
}

static void on_delay_time(uv_timer_t *timer)
{
    struct ls_rpc *rpc = timer->data;

    stop_port(rpc);
    if (rpc->overdue) // the delay is the longer one
        on_drain_time(&rpc->drain_timer);
    ls_rpc_check_drained(rpc);
}

void ls_rpc_drain(struct ls_rpc *rpc, void (*on_drained)(void *user), void *user)
{
    const struct ls_options *opt = &rpc->engine->opt;

    rpc->draining = rpc->engine->draining = true;
    rpc->on_drained = on_drained;
    rpc->user = user;
    if (rpc->engine->admit)
        ls_admit_drain(rpc->engine->admit);
    ls_front_drain(rpc->front);
    for_each_call(rpc, drain_call, NULL);
    uv_timer_start(&rpc->drain_timer, on_drain_time, (uint64_t)opt->drain_ms_max, 0);
    if (opt->drain_delay_ms)
        uv_timer_start(&rpc->delay_timer, on_delay_time, (uint64_t)opt->drain_delay_ms, 0);
    else
        stop_port(rpc);
    ls_rpc_check_drained(rpc);
}

void ls_rpc_drain_now(struct ls_rpc *rpc)
{
    if (rpc->drained)
        return;
    rpc->hurry = true;
    if (!rpc->stopped)
        stop_port(rpc);
    if (!rpc->shut)
        end_calls(rpc, HURRY_MS);
    ls_rpc_check_drained(rpc);
}

static void on_look(uv_timer_t *timer)
{
    ls_rpc_check_drained(timer->data);
}

// gRPC is done; what it said last may still be on its way through the front.
static bool flushed(struct ls_rpc *rpc)
{
    uint64_t now = uv_now(rpc->engine->loop);
    uint64_t patience = rpc->hurry ? HURRY_MS : (uint64_t)rpc->engine->opt.flush_ms_max;

    if (!rpc->shut_ms)
        rpc->shut_ms = now;
    return !ls_front_connections(rpc->front) || now - rpc->shut_ms > patience;
}

void ls_rpc_check_drained(struct ls_rpc *rpc)
{
    if (rpc->stopped && !rpc->running_count)
        close_server(rpc);
    if (!rpc->shut || rpc->call_count || rpc->drained)
        return;
    if (!flushed(rpc)) {
        uv_timer_start(&rpc->drain_timer, on_look, LOOK_MS, 0);
        return;
    }
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
    close_grpc(rpc);
    ls_front_close(&rpc->front); // last: calls that end ask it who their peer was
    close_handles(rpc);
}
