// SPDX-License-Identifier: Apache-2.0
// The parts of the gRPC side that need no call: the wire walker on cut and hostile bytes, the
// memory budget of a message, UTF-8, statuses with their details.
#include <stdint.h>
#include <string.h>

#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>
#include <grpc/status.h>
#include <lipstream/v1/lip_sync.pb-c.h>

#include "server/rpc_pb.h"
#include "server/rpc_status.h"
#include "tests/unit/_check.h"

#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})
static const struct {
    const char *name;
    const uint8_t *data;
    size_t size;
    int results[3]; // of ls_wire_next, up to the first that is not 1
    uint64_t field, value;
} wires[] = {
    {"varint", BYTES(0x08, 0x96, 0x01), {1, 0}, 1, 150},
    {"largest varint",
     BYTES(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
     {1, 0},
     1,
     UINT64_MAX},
    {"varint of 65 bits",
     BYTES(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02),
     {-1},
     0,
     0},
    {"varint of 11 bytes",
     BYTES(0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00),
     {-1},
     0,
     0},
    {"cut varint", BYTES(0x08, 0x96), {-1}, 0, 0},
    {"cut tag", BYTES(0x88), {-1}, 0, 0},
    {"field 0", BYTES(0x00, 0x00), {-1}, 0, 0},
    {"field too large", BYTES(0xf8, 0xff, 0xff, 0xff, 0x7f, 0x00), {-1}, 0, 0},
    {"fixed32", BYTES(0x0d, 0x00, 0x00, 0x80, 0x3f), {1, 0}, 1, 0x3f800000},
    {"cut fixed32", BYTES(0x0d, 0x00, 0x00, 0x80), {-1}, 0, 0},
    {"fixed64", BYTES(0x11, 1, 0, 0, 0, 0, 0, 0, 1), {1, 0}, 2, 0x0100000000000001},
    {"cut fixed64", BYTES(0x11, 1, 0, 0, 0, 0, 0, 0), {-1}, 0, 0},
    {"bytes", BYTES(0x12, 0x02, 'a', 'b'), {1, 0}, 2, 2},
    {"no bytes", BYTES(0x12, 0x00), {1, 0}, 2, 0},
    {"cut bytes", BYTES(0x12, 0x03, 'a', 'b'), {-1}, 0, 0},
    {"bytes of 2^64 - 1",
     BYTES(0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
     {-1},
     0,
     0},
    {"group", BYTES(0x0b, 0x0c), {-1}, 0, 0},
    {"one good, one bad", BYTES(0x08, 0x01, 0x0e), {1, -1}, 1, 1},
};

static void walk(void)
{
    for (size_t i = 0; i < sizeof wires / sizeof wires[0]; i++) {
        uint8_t *exact = malloc(wires[i].size); // so that a sanitizer sees a read beyond
        struct ls_wire w;

        memcpy(exact, wires[i].data, wires[i].size);
        ls_wire_init(&w, exact, wires[i].size);
        for (int k = 0; k < 3; k++) {
            int r = ls_wire_next(&w);

            CHECK(r == wires[i].results[k], wires[i].name);
            if (r != 1)
                break;
            CHECK(w.field == wires[i].field, wires[i].name);
            CHECK((w.type == 2 ? w.size : w.value) == wires[i].value, wires[i].name);
        }
        free(exact);
    }
}

static void varints(void)
{
    static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX};

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        uint8_t data[11] = {0x08};
        struct ls_wire w;
        int n = ls_pb_varint(data + 1, values[i]);

        ls_wire_init(&w, data, (size_t)n + 1);
        CHECK(ls_wire_next(&w) == 1 && w.value == values[i] && ls_wire_next(&w) == 0, "varint");
    }
}

// 2 bytes on the wire become an object each: the budget stops it.
static void budget(void)
{
    enum { REGIONS = 20000 };
    static uint8_t data[2 * REGIONS];
    struct ls_err err = {0};
    ProtobufCMessage *message = NULL;
    struct ls_pb pb;

    for (int i = 0; i < REGIONS; i++) {
        data[2 * i] = 0x12;
        data[2 * i + 1] = 0;
    }
    CHECK(ls_pb_open(&pb, &message, &lipstream__v1__regions__descriptor, data, sizeof data, 1 << 16,
                     &err) == LS_ELIMIT &&
              !message,
          "over budget");
    CHECK(ls_pb_open(&pb, &message, &lipstream__v1__regions__descriptor, data, sizeof data, 1 << 24,
                     &err) == 0,
          "within budget");
    CHECK(((Lipstream__V1__Regions *)message)->n_regions == REGIONS, "all regions");
    ls_pb_close(&pb);
    message = NULL;
    CHECK(ls_pb_open(&pb, &message, &lipstream__v1__regions__descriptor, "\xff", 1, 1 << 16,
                     &err) == LS_EORDER &&
              !message,
          "garbage");
}

static const struct {
    const char *name, *text, *want;
} texts[] = {
    {"ASCII", "abc", "abc"},
    {"two, three and four bytes", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80",
     "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"},
    {"lone continuation", "a\x80z", "a?z"},
    {"overlong", "\xc0\xaf", "??"},
    {"overlong of three", "\xe0\x80\xaf", "???"},
    {"surrogate", "\xed\xa0\x80", "???"},
    {"beyond Unicode", "\xf4\x90\x80\x80", "????"},
    {"cut at the end", "a\xe2\x82", "a??"},
};

static void utf8(void)
{
    char out[64];

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        ls_utf8_copy(out, sizeof out, texts[i].text);
        CHECK(!strcmp(out, texts[i].want), texts[i].name);
    }
    ls_utf8_copy(out, 4, "ab\xe2\x82\xac");
    CHECK(!strcmp(out, "ab"), "a character that does not fit is left out whole");
}

#define ROW(code, status, reason, text) {code, GRPC_STATUS_##status, #status},
static const struct {
    int code, grpc;
    const char *name;
} codes[] = {LS_ERRORS(ROW)};

static void statuses(void)
{
    struct ls_status s;

    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct ls_err err = {.code = codes[i].code};
        Google__Rpc__Status *status;
        size_t want = 1 + (codes[i].grpc == GRPC_STATUS_RESOURCE_EXHAUSTED ||
                           codes[i].grpc == GRPC_STATUS_UNAVAILABLE);

        ls_status_make(&s, &err, NULL, "0123", 1500);
        CHECK(s.code == codes[i].grpc && !strcmp(ls_status_name(s.code), codes[i].name),
              codes[i].name);
        CHECK(!strcmp(s.text, ls_err_text(err.code)) && !strcmp(s.reason, ls_err_reason(err.code)),
              codes[i].name);
        status = google__rpc__status__unpack(NULL, s.details_size, s.details);
        if (CHECK(status != NULL, codes[i].name))
            CHECK(status->n_details == want && status->code == s.code, codes[i].name);
        google__rpc__status__free_unpacked(status, NULL);
    }
    ls_status_make(&s, &(struct ls_err){.code = 0}, NULL, "", 1500);
    CHECK(s.code == 0 && !s.details_size, "OK has no details");
}

// As many violations as there can be, each as long as it can be: still within a client's limit.
static void many(void)
{
    static struct ls_violations all;
    struct ls_err err = {0};
    struct ls_status s;
    Google__Rpc__Status *status;
    Google__Rpc__BadRequest *bad = NULL;

    for (int i = 0; i < LS_VIOLATIONS_MAX; i++)
        ls_violate(&all, "config.a.field.with.quite.a.long.path", "OUT_OF_RANGE", "%0180d", i);
    ls_fail_field(&err, LS_EFIELD, all.item[0].field, "%0300d", 1);
    ls_status_make(&s, &err, &all, "0123456789abcdef", 1500);
    CHECK(s.details_size > 1000 && s.details_size <= LS_STATUS_DETAILS, "size");
    status = google__rpc__status__unpack(NULL, s.details_size, s.details);
    if (!CHECK(status && status->n_details == 2, "both details"))
        return;
    bad = google__rpc__bad_request__unpack(NULL, status->details[0]->value.len,
                                           status->details[0]->value.data);
    if (CHECK(bad && bad->n_field_violations > 8, "most violations"))
        CHECK(!strcmp(bad->field_violations[bad->n_field_violations - 1]->reason, "MORE"),
              "the last one counts the rest");
    google__rpc__bad_request__free_unpacked(bad, NULL);
    google__rpc__status__free_unpacked(status, NULL);
}

int main(void)
{
    walk();
    varints();
    budget();
    utf8();
    statuses();
    many();
    return check_done();
}
