// SPDX-License-Identifier: Apache-2.0
// A queue of bytes in one growing block; see front_bytes.h. What was dropped makes room for what is
// appended before the block grows, so its size follows what waits, not what passed.
#include "server/front_bytes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_MIN = 4096 };

int ls_bytes_push(struct ls_bytes *b, const void *data, size_t size)
{
    if (!size)
        return 0;
    if (b->first + b->size + size > b->room) {
        size_t room = b->room > ROOM_MIN ? b->room : ROOM_MIN;
        uint8_t *more = b->data;

        while (room < b->size + size)
            room *= 2;
        if (b->first)
            memmove(b->data, b->data + b->first, b->size);
        b->first = 0;
        if (room > b->room)
            more = realloc(b->data, room);
        if (!more)
            return -1;
        b->data = more;
        b->room = room;
    }
    memcpy(b->data + b->first + b->size, data, size);
    b->size += size;
    return 0;
}

const uint8_t *ls_bytes_at(const struct ls_bytes *b)
{
    return b->data + b->first;
}

void ls_bytes_drop(struct ls_bytes *b, size_t size)
{
    assert(size <= b->size);
    b->first += size;
    b->size -= size;
    if (!b->size)
        ls_bytes_done(b);
}

void ls_bytes_done(struct ls_bytes *b)
{
    free(b->data);
    *b = (struct ls_bytes){.data = NULL};
}
