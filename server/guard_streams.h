// SPDX-License-Identifier: Apache-2.0
// The open streams of a guarded connection, and where in its messages of gRPC each one is. For
// guard.c only.
#ifndef LS_GUARD_STREAMS_H
#define LS_GUARD_STREAMS_H

#include "server/guard.h"

enum stream_state { STREAM_GONE, STREAM_OPEN, STREAM_PEER_ENDED, STREAM_WE_ENDED };

// A message's length against one byte more than is allowed, by the bytes of it that have come.
enum length_state { LENGTH_SAME, LENGTH_LESS, LENGTH_LOWERED };

struct ls_guard_stream {
    uint32_t id;
    uint32_t left;     // bytes of its message to come
    uint8_t state;     // enum stream_state
    uint8_t head_size; // of a message's head that have come
    uint8_t length_is; // enum length_state
};

// NULL: it is not open.
struct ls_guard_stream *ls_guard_find(struct ls_guard *g, uint32_t id);
void ls_guard_close(struct ls_guard *g, struct ls_guard_stream *stream);
// Room for one more at streams[streams_size]. False: no memory.
bool ls_guard_reserve(struct ls_guard *g);
// A part of a DATA frame's body: messages of gRPC, each a flag, four bytes of length, and content.
// A length of more than bytes_max becomes bytes_max + 1.
void ls_guard_messages(struct ls_guard_stream *stream, uint8_t *at, size_t size, int64_t bytes_max);

#endif
