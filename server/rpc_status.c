// SPDX-License-Identifier: Apache-2.0
// The only place that knows both our error codes and gRPC's. Details are built with protobuf-c in
// memory of the caller; violations that do not fit a client's metadata limit are counted in the
// last one. Any thread.
#include "server/rpc_status.h"

#include <stdio.h>
#include <string.h>

#include <google/protobuf/duration.pb-c.h>
#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>
#include <grpc/status.h>

enum { DETAILS_MAX = 3, PAIRS_MAX = 2 };

#define CODE(code, status, reason, text) GRPC_STATUS_##status,
static const int codes[LS_ERR_COUNT] = {GRPC_STATUS_OK, LS_ERRORS(CODE)};
#undef CODE

int ls_status_code(int ls_code)
{
    if (ls_code > 0 || ls_code <= -LS_ERR_COUNT)
        return GRPC_STATUS_INTERNAL;
    return codes[-ls_code];
}

const char *ls_status_name(int code)
{
    static const char *const names[] = {"OK",
                                        "CANCELLED",
                                        "UNKNOWN",
                                        "INVALID_ARGUMENT",
                                        "DEADLINE_EXCEEDED",
                                        "NOT_FOUND",
                                        "ALREADY_EXISTS",
                                        "PERMISSION_DENIED",
                                        "RESOURCE_EXHAUSTED",
                                        "FAILED_PRECONDITION",
                                        "ABORTED",
                                        "OUT_OF_RANGE",
                                        "UNIMPLEMENTED",
                                        "INTERNAL",
                                        "UNAVAILABLE",
                                        "DATA_LOSS",
                                        "UNAUTHENTICATED"};

    return code >= 0 && code < (int)(sizeof names / sizeof names[0]) ? names[code] : "UNKNOWN";
}

// A google.protobuf.Any whose bytes lie in a buffer that is used up from its front.
struct packer {
    uint8_t data[2 * LS_STATUS_DETAILS];
    size_t used;
    Google__Protobuf__Any any[DETAILS_MAX];
    Google__Protobuf__Any *list[DETAILS_MAX];
    size_t count;
};

static void add(struct packer *p, const char *type, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    Google__Protobuf__Any *any = &p->any[p->count];

    if (p->used + size > sizeof p->data)
        return;
    google__protobuf__any__init(any);
    any->type_url = (char *)(uintptr_t)type;
    any->value.data = p->data + p->used;
    any->value.len = protobuf_c_message_pack(message, any->value.data);
    p->used += size;
    p->list[p->count++] = any;
}

static void add_violations(struct packer *p, const struct ls_violations *all)
{
    // Half of the details for fields, descriptions and reasons; the rest of the room is for the
    // others.
    const size_t room = LS_STATUS_DETAILS - 1024;
    Google__Rpc__BadRequest__FieldViolation item[LS_VIOLATIONS_MAX + 1],
        *list[LS_VIOLATIONS_MAX + 1];
    char texts[LS_VIOLATIONS_MAX][sizeof all->item[0].text], more[48];
    Google__Rpc__BadRequest bad = GOOGLE__RPC__BAD_REQUEST__INIT;
    size_t size = 0;
    int n = 0;

    for (; n < all->count; n++) {
        google__rpc__bad_request__field_violation__init(&item[n]);
        ls_utf8_copy(texts[n], sizeof texts[n], all->item[n].text);
        item[n].field = (char *)(uintptr_t)all->item[n].field;
        item[n].description = texts[n];
        item[n].reason = (char *)(uintptr_t)all->item[n].reason;
        list[n] = &item[n];
        size += protobuf_c_message_get_packed_size(&item[n].base) + 3;
        if (size > room)
            break;
    }
    if (n < all->count) {
        snprintf(more, sizeof more, "and %d violations more", all->count - n);
        google__rpc__bad_request__field_violation__init(&item[n]);
        item[n].field = (char *)(uintptr_t) "";
        item[n].description = more;
        item[n].reason = (char *)(uintptr_t) "MORE";
        list[n] = &item[n];
        n++;
    }
    bad.n_field_violations = (size_t)n;
    bad.field_violations = list;
    add(p, "type.googleapis.com/google.rpc.BadRequest", &bad.base);
}

static void add_info(struct packer *p, const char *reason, const char *field,
                     const char *session_id)
{
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    Google__Rpc__ErrorInfo__MetadataEntry pair[PAIRS_MAX], *list[PAIRS_MAX];
    const char *const values[PAIRS_MAX][2] = {{"field", field}, {"session_id", session_id}};

    for (int i = 0; i < PAIRS_MAX; i++) {
        if (!values[i][1][0])
            continue;
        google__rpc__error_info__metadata_entry__init(&pair[i]);
        pair[i].key = (char *)(uintptr_t)values[i][0];
        pair[i].value = (char *)(uintptr_t)values[i][1];
        list[info.n_metadata++] = &pair[i];
    }
    info.metadata = list;
    info.reason = (char *)(uintptr_t)reason;
    info.domain = (char *)(uintptr_t) "lipstream";
    add(p, "type.googleapis.com/google.rpc.ErrorInfo", &info.base);
}

static void add_retry(struct packer *p, int64_t retry_ms)
{
    Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;
    Google__Rpc__RetryInfo retry = GOOGLE__RPC__RETRY_INFO__INIT;

    delay.seconds = retry_ms / 1000;
    delay.nanos = (int32_t)(retry_ms % 1000 * 1000000);
    retry.retry_delay = &delay;
    add(p, "type.googleapis.com/google.rpc.RetryInfo", &retry.base);
}

static void finish(struct ls_status *out, struct packer *p, int64_t retry_ms)
{
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;

    if (out->code == GRPC_STATUS_RESOURCE_EXHAUSTED || out->code == GRPC_STATUS_UNAVAILABLE)
        add_retry(p, retry_ms);
    status.code = out->code;
    status.message = out->text;
    status.details = p->list;
    status.n_details = p->count;
    if (google__rpc__status__get_packed_size(&status) <= sizeof out->details)
        out->details_size = google__rpc__status__pack(&status, out->details);
}

void ls_status_plain(struct ls_status *out, int code, const char *reason, const char *text,
                     int64_t retry_ms)
{
    struct packer p = {.used = 0};

    memset(out, 0, sizeof *out);
    out->code = code;
    out->reason = reason;
    ls_utf8_copy(out->text, sizeof out->text, text);
    add_info(&p, reason, "", "");
    finish(out, &p, retry_ms);
}

void ls_status_make(struct ls_status *out, const struct ls_err *err,
                    const struct ls_violations *all, const char *session_id, int64_t retry_ms)
{
    struct packer p = {.used = 0};
    struct ls_violations one = {.count = 0};
    char field[sizeof err->field];

    memset(out, 0, sizeof *out);
    out->code = ls_status_code(err->code);
    out->reason = ls_err_reason(err->code);
    if (!err->code)
        return;
    ls_utf8_copy(out->text, sizeof out->text, err->text[0] ? err->text : ls_err_text(err->code));
    ls_utf8_copy(field, sizeof field, err->field);
    if (!all && field[0]) {
        ls_violate(&one, field, out->reason, "%s", out->text);
        all = &one;
    }
    if (all && all->count)
        add_violations(&p, all);
    add_info(&p, out->reason, field, session_id);
    finish(out, &p, retry_ms);
}
