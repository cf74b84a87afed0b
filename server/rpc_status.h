// SPDX-License-Identifier: Apache-2.0
// Turns an error record and violations into what a gRPC call ends with: a code, a text, and
// google.rpc details. Pure functions; any thread.
#ifndef LS_RPC_STATUS_H
#define LS_RPC_STATUS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/err.h"
#include "server/job.h"
#include "server/text.h"

enum {
    LS_STATUS_TEXT = 384,
    // Of the serialised google.rpc.Status. Clients take 8 KiB of metadata by default; base64 makes
    // 4/3 of it, and the text stands in grpc-message once more.
    LS_STATUS_DETAILS = 4096,
};

struct ls_status {
    int code;           // of gRPC
    const char *reason; // "OK", "FIELD_INVALID"
    char text[LS_STATUS_TEXT];
    uint8_t details[LS_STATUS_DETAILS];
    size_t details_size; // 0: none
};

int ls_status_code(int ls_code);      // LS_E… to the gRPC code; 0 for 0
const char *ls_status_name(int code); // "INVALID_ARGUMENT"
// all may be NULL. session_id: "" if none. retry_ms: for RetryInfo, where the code says that trying
// again may help.
void ls_status_make(struct ls_status *out, const struct ls_err *err,
                    const struct ls_violations *all, const char *session_id, int64_t retry_ms);
// A status of the standard services; reason becomes the ErrorInfo.
void ls_status_plain(struct ls_status *out, int code, const char *reason, const char *text,
                     int64_t retry_ms);

#endif
