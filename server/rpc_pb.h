// SPDX-License-Identifier: Apache-2.0
// Memory for reading one protobuf message: a budget in one piece, handed out from its front and
// given back at once. protobuf-c makes up to sixty times a message's size of objects; beyond the
// budget it gives up. Loop thread. Include in rpc files only.
#ifndef LS_RPC_PB_H
#define LS_RPC_PB_H

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

#include "kernels/err.h"

struct ls_pb {
    ProtobufCAllocator allocator;
    uint8_t *memory;
    size_t used, size;
};

// Unpacks data (size bytes) with at most budget bytes of memory. The result lives until
// ls_pb_close. LS_ELIMIT over budget, LS_EORDER if it is no such message; err names what.
LS_MUST int ls_pb_open(struct ls_pb *pb, ProtobufCMessage **out,
                       const ProtobufCMessageDescriptor *type, const void *data, size_t size,
                       size_t budget, struct ls_err *err);
void ls_pb_close(struct ls_pb *pb); // accepts a zeroed one

// Bytes of a varint; out: room for 10.
int ls_pb_varint(uint8_t *out, uint64_t value);

// Walks the fields of a message without memory of its own: for the messages that carry bulk.
struct ls_wire {
    const uint8_t *at, *end;
    uint64_t field;
    int type;            // 0 varint, 1 fixed64, 2 bytes, 5 fixed32
    uint64_t value;      // of 0, 1 and 5
    const uint8_t *data; // of 2
    size_t size;
};
void ls_wire_init(struct ls_wire *w, const void *data, size_t size);
int ls_wire_next(struct ls_wire *w);          // 1: a field; 0: the end; -1: not protobuf
float ls_wire_float(const struct ls_wire *w); // of type 5

#endif
