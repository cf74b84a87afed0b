// SPDX-License-Identifier: Apache-2.0
// The bytes of one received message in one piece, inflated if the caller compressed it. Loop
// thread.
#ifndef LS_RPC_MESSAGE_H
#define LS_RPC_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/err.h"

struct grpc_byte_buffer;

struct ls_message {
    const uint8_t *data; // of memory, or of the byte buffer
    size_t size;
    void *memory;
};

// LS_ELIMIT beyond size_max bytes, before or after inflating. The byte buffer must outlive the
// message.
LS_MUST int ls_message_open(struct ls_message *out, struct grpc_byte_buffer *bytes, size_t size_max,
                            struct ls_err *err);
void ls_message_close(struct ls_message *message);

#endif
