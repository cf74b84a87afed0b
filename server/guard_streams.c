// SPDX-License-Identifier: Apache-2.0
// The open streams of a connection, for guard.c: an array in the order of ids, because ids only
// grow. A stream that closes leaves a gap, which goes when room is needed, so an hour-long stream
// beside a million short ones costs nothing.
#include "server/guard_streams.h"

#include <stdlib.h>

struct ls_guard_stream *ls_guard_find(struct ls_guard *g, uint32_t id)
{
    size_t low = 0, high = g->streams_size;

    // A gap keeps its id for the search; only its state is gone.
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (g->streams[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == g->streams_size || g->streams[low].id != id || g->streams[low].state == STREAM_GONE)
        return NULL;
    return &g->streams[low];
}

void ls_guard_close(struct ls_guard *g, struct ls_guard_stream *stream)
{
    stream->state = STREAM_GONE;
    g->closed++;
    if (g->opened == g->closed)
        g->streams_size = 0;
}

// Gaps go if they are half of all, else the array doubles.
bool ls_guard_reserve(struct ls_guard *g)
{
    size_t kept = 0, room = g->streams_room ? g->streams_room * 2 : 16;
    struct ls_guard_stream *more;

    if (g->streams_size < g->streams_room)
        return true;
    if ((size_t)ls_guard_streams(g) * 2 <= g->streams_size && g->streams_size) {
        for (size_t i = 0; i < g->streams_size; i++)
            if (g->streams[i].state != STREAM_GONE)
                g->streams[kept++] = g->streams[i];
        g->streams_size = kept;
        return true;
    }
    more = realloc(g->streams, room * sizeof *more);
    if (!more)
        return false;
    g->streams = more;
    g->streams_room = room;
    return true;
}

// Lowers the next byte of a message's length if need be. Its highest byte comes first, so that the
// first byte which differs decides.
static uint8_t message_length(struct ls_guard_stream *stream, uint8_t byte, int64_t bytes_max)
{
    uint8_t most = (uint8_t)((bytes_max + 1) >> (8 * (4 - stream->head_size)));

    if (stream->length_is == LENGTH_SAME && byte != most)
        stream->length_is = byte < most ? LENGTH_LESS : LENGTH_LOWERED;
    if (stream->length_is == LENGTH_LOWERED)
        byte = most;
    stream->left = stream->left << 8 | byte;
    return byte;
}

void ls_guard_messages(struct ls_guard_stream *stream, uint8_t *at, size_t size, int64_t bytes_max)
{
    while (size) {
        size_t n = 1;

        if (stream->head_size == 5 && stream->left) {
            n = stream->left < size ? stream->left : size;
            stream->left -= (uint32_t)n;
        } else if (stream->head_size == 0 || stream->head_size == 5) {
            stream->head_size = 1; // past the flag
            stream->length_is = LENGTH_SAME;
        } else {
            *at = message_length(stream, *at, bytes_max);
            stream->head_size++;
        }
        at += n;
        size -= n;
    }
}
