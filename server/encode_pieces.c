// SPDX-License-Identifier: Apache-2.0
// The finished pieces of an output in their order, cut to the caller's message size. Part of the
// encoder: one thread at a time. A list and not an array, because its length is the reader's affair
// (the session stops encoding when too many bytes wait).
#include "encode_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct ls_piece {
    struct ls_media media;
    struct ls_piece *next;
};

static int append(struct ls_pieces *p, uint8_t **data, size_t size, const struct ls_media *about,
                  struct ls_err *err)
{
    struct ls_piece *piece = malloc(sizeof *piece);

    if (!piece)
        return ls_fail(err, LS_ENOMEM, "a piece of output");
    piece->media = *about;
    piece->media.data = *data;
    piece->media.size = size;
    piece->next = NULL;
    *data = NULL;
    if (p->last)
        p->last->next = piece;
    else
        p->first = piece;
    p->last = piece;
    return 0;
}

static int append_copy(struct ls_pieces *p, const uint8_t *data, size_t size,
                       const struct ls_media *about, struct ls_err *err)
{
    uint8_t *part = malloc(size);
    int r;

    if (!part)
        return ls_fail(err, LS_ENOMEM, "a piece of output of %zu bytes", size);
    memcpy(part, data, size);
    r = append(p, &part, size, about, err);
    free(part);
    return r;
}

int ls_pieces_push(struct ls_pieces *p, uint8_t **data, size_t size, size_t part_bytes_max,
                   const struct ls_media *about, struct ls_err *err)
{
    struct ls_media part = *about;
    uint8_t *whole = *data;
    int r = 0;

    assert(size > 0 && part_bytes_max > 0);
    *data = NULL;
    if (size <= part_bytes_max) {
        r = append(p, &whole, size, about, err);
        goto done;
    }
    for (size_t at = 0; at < size && r >= 0; at += part_bytes_max) {
        size_t left = size - at;
        r = append_copy(p, whole + at, left < part_bytes_max ? left : part_bytes_max, &part, err);
        part.frame_count = 0;     // all of them begin in the first part,
        part.is_keyframe = false; // and nobody can start decoding at a later one
    }
done:
    free(whole);
    return r;
}

bool ls_pieces_pop(struct ls_pieces *p, struct ls_media *out)
{
    struct ls_piece *piece = p->first;

    if (!piece)
        return false;
    p->first = piece->next;
    if (!p->first)
        p->last = NULL;
    *out = piece->media;
    free(piece);
    return true;
}

void ls_pieces_done(struct ls_pieces *p)
{
    struct ls_media media;

    while (ls_pieces_pop(p, &media))
        free(media.data);
}
