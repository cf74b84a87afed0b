// SPDX-License-Identifier: Apache-2.0
// What methods with one request message have in common. Loop thread.
#include "server/rpc_unary.h"

#include <stdlib.h>

void ls_unary_send(struct ls_call *c, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    void *data = malloc(size ? size : 1);

    if (data)
        protobuf_c_message_pack(message, data);
    ls_call_send(c, NULL, 0, &data, data ? size : 0);
}

void ls_unary_answer(struct ls_call *c, const ProtobufCMessage *message)
{
    ls_unary_send(c, message);
    ls_call_end(c, &(struct ls_err){.code = 0}, NULL);
}

void ls_unary_start(struct ls_call *c)
{
    ls_call_read(c);
}

void ls_unary_half_close(struct ls_call *c)
{
    struct ls_err err = {0};

    ls_fail(&err, LS_EORDER, "the call ended without its request message");
    ls_call_end(c, &err, NULL);
}
