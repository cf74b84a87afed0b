// SPDX-License-Identifier: Apache-2.0
// gRPC's own decompression is switched off, because it looks at the size limit only after
// inflating: 98 kB became 96 MiB. Here output stops at the limit. Both of gRPC's algorithms, gzip
// and zlib's deflate, are told apart by their headers. Loop thread.
#include "server/rpc_message.h"

#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/compression.h>
#include <grpc/slice.h>
#include <zlib.h>

enum { INFLATE_START = 65536 };

static int too_large(size_t size_max, struct ls_err *err)
{
    return ls_fail(err, LS_ELIMIT, "a message is larger than this server's message-bytes-max, %zu",
                   size_max);
}

static int flatten(struct ls_message *out, grpc_byte_buffer *bytes, struct ls_err *err)
{
    size_t size = grpc_byte_buffer_length(bytes), n = 0;
    grpc_byte_buffer_reader reader;
    grpc_slice slice;
    uint8_t *memory = malloc(size ? size : 1);

    if (!memory)
        return ls_fail(err, LS_ENOMEM, "a message of %zu bytes", size);
    grpc_byte_buffer_reader_init(&reader, bytes);
    while (grpc_byte_buffer_reader_next(&reader, &slice)) {
        memcpy(memory + n, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
        n += GRPC_SLICE_LENGTH(slice);
        grpc_slice_unref(slice);
    }
    grpc_byte_buffer_reader_destroy(&reader);
    *out = (struct ls_message){memory, n, memory};
    return 0;
}

// Doubles the room, up to one byte more than the limit, so that reaching it shows.
static int grow(uint8_t **memory, size_t *room, size_t size_max, struct ls_err *err)
{
    size_t wanted = *room ? 2 * *room : INFLATE_START;
    uint8_t *larger;

    if (wanted > size_max + 1)
        wanted = size_max + 1;
    larger = realloc(*memory, wanted);
    if (!larger)
        return ls_fail(err, LS_ENOMEM, "a message of %zu bytes", wanted);
    *memory = larger;
    *room = wanted;
    return 0;
}

static int inflate_all(struct ls_message *message, size_t size_max, struct ls_err *err)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)message->data, .avail_in = (uInt)message->size};
    uint8_t *memory = NULL;
    size_t size = 0, room = 0;
    int state = Z_OK, r = 0;

    if (inflateInit2(&z, 15 + 32) != Z_OK) // 15: largest window; 32: gzip or zlib by header
        return ls_fail(err, LS_ENOMEM, "inflating a message");
    while (r == 0 && state == Z_OK) {
        if (size == room)
            r = grow(&memory, &room, size_max, err);
        if (r < 0)
            break;
        z.next_out = memory + size;
        z.avail_out = (uInt)(room - size);
        state = inflate(&z, Z_NO_FLUSH);
        size = room - z.avail_out;
        if (size > size_max)
            r = too_large(size_max, err);
    }
    inflateEnd(&z);
    if (r == 0 && state != Z_STREAM_END)
        r = ls_fail(err, LS_EORDER, "a compressed message is damaged");
    if (r < 0) {
        free(memory);
        return r;
    }
    free(message->memory);
    *message = (struct ls_message){memory, size, memory};
    return 0;
}

int ls_message_open(struct ls_message *out, struct grpc_byte_buffer *bytes, size_t size_max,
                    struct ls_err *err)
{
    struct ls_message message;
    int r;

    if (grpc_byte_buffer_length(bytes) > size_max)
        return too_large(size_max, err);
    r = flatten(&message, bytes, err);
    if (r == 0 && bytes->data.raw.compression != GRPC_COMPRESS_NONE) {
        r = inflate_all(&message, size_max, err);
        if (r < 0)
            ls_message_close(&message);
    }
    if (r == 0)
        *out = message;
    return r;
}

void ls_message_close(struct ls_message *message)
{
    free(message->memory);
    *message = (struct ls_message){.data = NULL};
}
