// SPDX-License-Identifier: Apache-2.0
// What is found out of a call before its method sees it: which method, who calls (connection,
// certificate, token), whether that caller may, its deadline, the trace it belongs to. Loop thread.
// All of it is decided from the headers: of a caller that may not, no body is ever read.
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#include "server/metrics.h"
#include "server/rpc_call_state.h"

static void on_unknown_start(struct ls_call *c)
{
    char *path = grpc_slice_to_c_string(c->details.method);
    char text[160];

    snprintf(text, sizeof text, "no method %.100s; server reflection lists those there are", path);
    gpr_free(path);
    ls_call_end_status(c, GRPC_STATUS_UNIMPLEMENTED, "METHOD_UNKNOWN", text);
}

// Open to all, so that a caller with a wrong path learns that and not of credentials.
static const struct ls_method unknown = {.path = "unknown", .on_start = on_unknown_start};

#define ADDRESS(id, path) &ls_method_##id,
static const struct ls_method *const methods[LS_METHOD_COUNT] = {LS_METHODS(ADDRESS) & unknown};
#undef ADDRESS

static enum ls_method_idx find_method(grpc_slice path)
{
    int i = 0;

    while (i < LS_METHOD_OTHER && grpc_slice_str_cmp(path, methods[i]->path) != 0)
        i++;
    return (enum ls_method_idx)i;
}

const char *ls_call_metadata(const struct ls_call *c, const char *key, size_t *size)
{
    for (size_t i = 0; i < c->metadata.count; i++) {
        const grpc_metadata *item = &c->metadata.metadata[i];

        if (!grpc_slice_str_cmp(item->key, key)) {
            *size = GRPC_SLICE_LENGTH(item->value);
            return (const char *)GRPC_SLICE_START_PTR(item->value);
        }
    }
    return NULL;
}

static void find_peer(struct ls_call *c)
{
    char *peer = grpc_call_get_peer(c->call);
    int fd = -1;

    if (peer && sscanf(peer, "fd:%d", &fd) == 1)
        ls_front_peer(c->rpc->front, fd, &c->peer);
    gpr_free(peer);
}

static void find_deadline(struct ls_call *c)
{
    gpr_timespec deadline = c->details.deadline;
    gpr_timespec left = gpr_time_sub(gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC),
                                     gpr_now(GPR_CLOCK_MONOTONIC));
    int64_t left_ms = gpr_time_to_millis(left);

    if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) < 0)
        c->deadline_ms = c->started_ms + (uint64_t)(left_ms > 0 ? left_ms : 0);
}

// As HTTP/2 measures it (RFC 9113, 6.5.2). gRPC 1.51 holds each frame of a block of headers to the
// limit, not their sum.
static int check_metadata(const struct ls_call *c, struct ls_err *err)
{
    int64_t size = 0, size_max = c->rpc->engine->opt.metadata_bytes_max;

    for (size_t i = 0; i < c->metadata.count; i++)
        size += 32 + (int64_t)GRPC_SLICE_LENGTH(c->metadata.metadata[i].key) +
                (int64_t)GRPC_SLICE_LENGTH(c->metadata.metadata[i].value);
    if (size > size_max)
        return ls_fail(err, LS_ELIMIT, "metadata of %lld bytes; at most %lld are allowed",
                       (long long)size, (long long)size_max);
    return 0;
}

static void name_session(struct ls_call *c)
{
    uint64_t id = 0;

    if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
        id = (uint64_t)(uintptr_t)c; // cannot happen for 8 bytes; an id need not be secret
    snprintf(c->note.session_id, sizeof c->note.session_id, "%016" PRIx64, id);
}

static bool is_repeated(const struct ls_call *c, const char *key)
{
    int count = 0;

    for (size_t i = 0; i < c->metadata.count; i++)
        count += !grpc_slice_str_cmp(c->metadata.metadata[i].key, key);
    return count > 1;
}

static int check_caller(struct ls_call *c, struct ls_err *err)
{
    size_t size = 0;
    const char *text = ls_call_metadata(c, "authorization", &size);

    // A proxy before us may have looked at another one.
    if (c->method->scope != LS_SCOPE_NONE && is_repeated(c, "authorization"))
        return ls_fail(err, LS_EAUTH, "the metadata authorization came more than once");
    return ls_auth_check(c->rpc->auth, &c->identity, &c->peer, text, text ? (int)size : 0,
                         c->method->scope, err);
}

int ls_call_identify(struct ls_call *c, struct ls_err *err)
{
    const char *text;
    size_t size = 0;

    c->method_idx = find_method(c->details.method);
    c->method = methods[c->method_idx];
    find_deadline(c);
    find_peer(c);
    text = ls_call_metadata(c, "traceparent", &size);
    ls_trace_begin(&c->trace, text, size);
    if (c->method_idx == LS_METHOD_sync) {
        c->note.is_session = true;
        name_session(c);
    }
    if (c->deadline_ms && c->deadline_ms <= c->started_ms)
        return ls_fail(err, LS_EDEADLINE, "the call's deadline had passed when it came");
    if (check_metadata(c, err) < 0)
        return err->code;
    return c->rpc->auth ? check_caller(c, err) : 0;
}

size_t ls_call_headers(const struct ls_call *c, grpc_metadata out[LS_CALL_HEADERS])
{
    char trace[LS_TRACE_SIZE];
    size_t n = 0;

    ls_trace_format(&c->trace, trace);
    out[n++] = (grpc_metadata){.key = grpc_slice_from_static_string("traceparent"),
                               .value = grpc_slice_from_copied_string(trace)};
    if (c->note.is_session)
        out[n++] = (grpc_metadata){.key = grpc_slice_from_static_string("lipstream-session-id"),
                                   .value = grpc_slice_from_copied_string(c->note.session_id)};
    return n;
}
