// SPDX-License-Identifier: Apache-2.0
// Messages as JSON (see json.h). Recursion is as deep as the messages nest, and ours are not
// recursive. Bytes are written in hexadecimal, not in base64: the only ones that get here are
// digests.
#include "client/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include <google/protobuf/duration.pb-c.h>

#include "client/text.h"

static void print_text(FILE *to, const char *text)
{
    char clean[2048];

    ls_text_clean(clean, sizeof(clean), text ? text : "");
    putc('"', to);
    for (const char *c = clean; *c; c++) {
        if (*c == '"' || *c == '\\')
            putc('\\', to);
        putc(*c, to);
    }
    putc('"', to);
}

static void print_name(FILE *to, const char *name)
{
    putc('"', to);
    for (; *name; name++) {
        if (*name == '_' && name[1] >= 'a' && name[1] <= 'z')
            putc(*++name - 'a' + 'A', to);
        else
            putc(*name, to);
    }
    fputs("\":", to);
}

static void print_double(FILE *to, double value, int digits)
{
    if (isfinite(value))
        fprintf(to, "%.*g", digits, value);
    else
        fputs(isnan(value) ? "\"NaN\"" : value < 0 ? "\"-Infinity\"" : "\"Infinity\"", to);
}

static void print_message(FILE *to, const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *d = message->descriptor;

    if (d == &google__protobuf__duration__descriptor) {
        const Google__Protobuf__Duration *t = (const Google__Protobuf__Duration *)message;
        bool minus = t->seconds < 0 || t->nanos < 0;

        fprintf(to, "\"%s%" PRIu64 ".%09us\"", minus ? "-" : "",
                minus ? 0 - (uint64_t)t->seconds : (uint64_t)t->seconds,
                minus ? 0 - (unsigned)t->nanos : (unsigned)t->nanos);
        return;
    }
    ls_json_print(to, message);
}

static void print_value(FILE *to, const ProtobufCFieldDescriptor *f, const void *at)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_BOOL:
        fputs(*(const protobuf_c_boolean *)at ? "true" : "false", to);
        break;
    case PROTOBUF_C_TYPE_INT32:
        fprintf(to, "%" PRId32, *(const int32_t *)at);
        break;
    case PROTOBUF_C_TYPE_INT64:
        fprintf(to, "\"%" PRId64 "\"", *(const int64_t *)at);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        print_double(to, (double)*(const float *)at, 9);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        print_double(to, *(const double *)at, 17);
        break;
    case PROTOBUF_C_TYPE_ENUM: {
        const ProtobufCEnumValue *v =
            protobuf_c_enum_descriptor_get_value(f->descriptor, *(const int *)at);

        if (v)
            fprintf(to, "\"%s\"", v->name);
        else
            fprintf(to, "%d", *(const int *)at);
        break;
    }
    case PROTOBUF_C_TYPE_STRING:
        print_text(to, *(char *const *)at);
        break;
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *b = at;

        putc('"', to);
        for (size_t i = 0; i < b->len; i++)
            fprintf(to, "%02x", b->data[i]);
        putc('"', to);
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        print_message(to, *(ProtobufCMessage *const *)at);
        break;
    default: // unsigned and fixed-size integers: this API has none
        fputs("null", to);
    }
}

static size_t value_size(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

// Whether a field that is not repeated holds something other than its default.
static bool present(const ProtobufCFieldDescriptor *f, const char *base)
{
    const void *at = base + f->offset;

    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)(base + f->quantifier_offset) == f->id;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        return *(char *const *)at && (*(char *const *)at)[0];
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)at)->len > 0;
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(void *const *)at != NULL;
    case PROTOBUF_C_TYPE_BOOL:
        return *(const protobuf_c_boolean *)at;
    default: {
        static const char zeros[8] = {0};

        return memcmp(at, zeros, value_size(f)) != 0;
    }
    }
}

void ls_json_print(FILE *to, const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *d = message->descriptor;
    const char *base = (const char *)message;
    bool first = true;

    putc('{', to);
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        bool many = f->label == PROTOBUF_C_LABEL_REPEATED;
        size_t count = many ? *(const size_t *)(base + f->quantifier_offset) : 1;
        const char *at = base + f->offset;

        if (many ? count == 0 : !present(f, base))
            continue;
        if (!first)
            putc(',', to);
        first = false;
        print_name(to, f->name);
        if (many) {
            at = *(char *const *)at;
            putc('[', to);
        }
        for (size_t k = 0; k < count; k++) {
            if (k > 0)
                putc(',', to);
            print_value(to, f, at + k * value_size(f));
        }
        if (many)
            putc(']', to);
    }
    putc('}', to);
}
