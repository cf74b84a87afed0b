// SPDX-License-Identifier: Apache-2.0
// Packing one protobuf message as a reply; what the small methods share. Loop thread. Include in
// rpc files only.
#ifndef LS_RPC_UNARY_H
#define LS_RPC_UNARY_H

#include <protobuf-c/protobuf-c.h>

#include "server/rpc_call.h"

// Queues message as a reply.
void ls_unary_send(struct ls_call *c, const ProtobufCMessage *message);
// The same and OK.
void ls_unary_answer(struct ls_call *c, const ProtobufCMessage *message);
// on_start and on_half_close of unary methods: read one message; none is an error.
void ls_unary_start(struct ls_call *c);
void ls_unary_half_close(struct ls_call *c);

#endif
