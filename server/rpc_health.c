// SPDX-License-Identifier: Apache-2.0
// grpc.health.v1: Check and Watch, for the server as a whole ("") and for our service. Loop thread.
// The one change of state in a server's life is the drain: watchers hear NOT_SERVING and are then
// let go, because an open stream would hold up the shutdown.
#include <string.h>

#include <grpc/health/v1/health.pb-c.h>
#include <grpc/status.h>

#include "server/rpc_pb.h"
#include "server/rpc_unary.h"

enum { PARSE_BUDGET = 65536 };

static void send_state(struct ls_call *c,
                       Grpc__Health__V1__HealthCheckResponse__ServingStatus state)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

    response.status = state;
    ls_unary_send(c, &response.base);
}

static Grpc__Health__V1__HealthCheckResponse__ServingStatus state_of(struct ls_call *c)
{
    return ls_call_engine(c)->draining
               ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
               : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
}

// 1: known, 0: unknown, negative: no such message.
static int find_service(const uint8_t *data, size_t size, struct ls_err *err)
{
    struct ls_pb pb;
    ProtobufCMessage *message;
    const char *service;
    int known, r = ls_pb_open(&pb, &message, &grpc__health__v1__health_check_request__descriptor,
                              data, size, PARSE_BUDGET, err);

    if (r < 0)
        return r;
    service = ((Grpc__Health__V1__HealthCheckRequest *)message)->service;
    known = !*service || !strcmp(service, "lipstream.v1.LipSync");
    ls_pb_close(&pb);
    return known;
}

static void on_check(struct ls_call *c, const uint8_t *data, size_t size)
{
    struct ls_err err = {0};
    int r = find_service(data, size, &err);

    if (r < 0) {
        ls_call_end(c, &err, NULL);
    } else if (r == 0) {
        ls_call_end_status(c, GRPC_STATUS_NOT_FOUND, "SERVICE_UNKNOWN",
                           "this server has no service of that name");
    } else {
        send_state(c, state_of(c));
        ls_call_end(c, &err, NULL);
    }
}

struct watch {
    bool known;
};

static void on_watch(struct ls_call *c, const uint8_t *data, size_t size)
{
    struct watch *watch = ls_call_state(c);
    struct ls_err err = {0};
    int r = find_service(data, size, &err);

    if (r < 0) {
        ls_call_end(c, &err, NULL);
        return;
    }
    watch->known = r > 0;
    send_state(c, watch->known
                      ? state_of(c)
                      : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN);
    if (ls_call_engine(c)->draining)
        ls_call_end(c, &(struct ls_err){.code = 0}, NULL);
}

static void on_watch_drain(struct ls_call *c)
{
    struct watch *watch = ls_call_state(c);

    if (watch->known)
        send_state(c, state_of(c));
    // OK, not an error: an error's status would drop the reply just queued.
    ls_call_end(c, &(struct ls_err){.code = 0}, NULL);
}

const struct ls_method ls_method_health_check = {.path = "/grpc.health.v1.Health/Check",
                                                 .quiet = true,
                                                 .on_start = ls_unary_start,
                                                 .on_message = on_check,
                                                 .on_half_close = ls_unary_half_close};
const struct ls_method ls_method_health_watch = {.path = "/grpc.health.v1.Health/Watch",
                                                 .quiet = true,
                                                 .stays = true,
                                                 .state_size = sizeof(struct watch),
                                                 .on_start = ls_unary_start,
                                                 .on_message = on_watch,
                                                 .on_half_close = ls_unary_half_close,
                                                 .on_drain = on_watch_drain};
