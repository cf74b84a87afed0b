// SPDX-License-Identifier: Apache-2.0
// `lipstream health`: asks the server whether it takes calls, for HEALTHCHECK and for probes. Exit
// 0 if it does, 1 if it does not (it drains, or lost its device), 10 and the gRPC status if it gave
// no answer. Needs no token: health is open to all.
#include "client/health.h"

#include <stdlib.h>

#include <grpc/health/v1/health.pb-c.h>

#include "client/text.h"
#include "client/unary.h"

int ls_health_run(const struct ls_client_options *opt)
{
    Grpc__Health__V1__HealthCheckResponse *reply;
    uint8_t *data = NULL;
    size_t size = 0;
    int exit_code = ls_unary_call(opt, "/grpc.health.v1.Health/Check", &data, &size), status;

    if (exit_code != LS_EXIT_OK)
        return exit_code;
    reply = grpc__health__v1__health_check_response__unpack(NULL, size, data);
    free(data);
    status = reply ? (int)reply->status : 0;
    if (reply)
        grpc__health__v1__health_check_response__free_unpacked(reply, NULL);
    if (status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING) {
        puts("SERVING");
        return LS_EXIT_OK;
    }
    puts(status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
             ? "NOT_SERVING"
             : "UNKNOWN");
    return LS_EXIT_LOCAL;
}
