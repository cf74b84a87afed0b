// SPDX-License-Identifier: Apache-2.0
// A bump allocator under protobuf-c, and varints for the two messages whose bytes are framed by
// hand. Loop thread. protobuf-c has no limit of nesting; our types do not recurse.
#include "server/rpc_pb.h"

#include <stdlib.h>
#include <string.h>

static void *bump(void *data, size_t size)
{
    struct ls_pb *pb = data;
    size_t rounded = (size + 15) & ~(size_t)15;
    void *p;

    if (rounded < size || rounded > pb->size - pb->used)
        return NULL;
    p = pb->memory + pb->used;
    pb->used += rounded;
    return p;
}

static void bump_free(void *data, void *p)
{
    (void)data;
    (void)p;
}

int ls_pb_open(struct ls_pb *pb, ProtobufCMessage **out, const ProtobufCMessageDescriptor *type,
               const void *data, size_t size, size_t budget, struct ls_err *err)
{
    ProtobufCMessage *message;

    memset(pb, 0, sizeof *pb);
    pb->memory = malloc(budget);
    if (!pb->memory)
        return ls_fail(err, LS_ENOMEM, "reading a message");
    pb->size = budget;
    pb->allocator = (ProtobufCAllocator){bump, bump_free, pb};
    message = protobuf_c_message_unpack(type, &pb->allocator, size, data);
    if (!message) {
        bool full = pb->used + budget / 16 > budget;

        ls_pb_close(pb);
        if (full)
            return ls_fail(err, LS_ELIMIT, "a %s of %zu bytes takes too much memory to read",
                           type->name, size);
        return ls_fail(err, LS_EORDER, "the bytes are no %s", type->name);
    }
    *out = message;
    return 0;
}

void ls_pb_close(struct ls_pb *pb)
{
    free(pb->memory);
    memset(pb, 0, sizeof *pb);
}

int ls_pb_varint(uint8_t *out, uint64_t value)
{
    int n = 0;

    for (; value >= 0x80; value >>= 7)
        out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    return n;
}

static bool read_varint(struct ls_wire *w, uint64_t *value)
{
    uint64_t v = 0;

    for (int shift = 0; shift < 70 && w->at < w->end; shift += 7) {
        uint8_t byte = *w->at++;

        if (shift == 63 && byte > 1)
            return false;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = v;
            return true;
        }
    }
    return false;
}

static bool read_fixed(struct ls_wire *w, int size)
{
    if (w->end - w->at < size)
        return false;
    w->value = 0;
    for (int i = 0; i < size; i++)
        w->value |= (uint64_t)*w->at++ << (8 * i);
    return true;
}

void ls_wire_init(struct ls_wire *w, const void *data, size_t size)
{
    *w = (struct ls_wire){.at = data, .end = (const uint8_t *)data + size};
}

int ls_wire_next(struct ls_wire *w)
{
    uint64_t tag, size;

    if (w->at == w->end)
        return 0;
    if (!read_varint(w, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
        return -1;
    w->field = tag >> 3;
    w->type = (int)(tag & 7);
    switch (w->type) {
    case 0:
        return read_varint(w, &w->value) ? 1 : -1;
    case 1:
        return read_fixed(w, 8) ? 1 : -1;
    case 2:
        if (!read_varint(w, &size) || size > (uint64_t)(w->end - w->at))
            return -1;
        w->data = w->at;
        w->size = (size_t)size;
        w->at += size;
        return 1;
    case 5:
        return read_fixed(w, 4) ? 1 : -1;
    default:
        return -1; // groups: proto2 only, and long gone
    }
}

float ls_wire_float(const struct ls_wire *w)
{
    uint32_t bits = (uint32_t)w->value;
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}
