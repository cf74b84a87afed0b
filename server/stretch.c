// SPDX-License-Identifier: Apache-2.0
// Contiguous window over a long sequence. The dead space in front is reclaimed when it exceeds what
// is held, so every item is moved at most once on average.
#include "stretch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static float *item_at(const struct ls_stretch *s, int idx)
{
    return s->data + (size_t)idx * (size_t)s->width;
}

static void close_gap(struct ls_stretch *s)
{
    size_t size = (size_t)s->count * (size_t)s->width * sizeof(float);

    if (s->head == 0)
        return;
    if (size > 0)
        memmove(s->data, item_at(s, s->head), size);
    s->head = 0;
}

int ls_stretch_push(struct ls_stretch *s, const float *items, int count, struct ls_err *err)
{
    float *grown;
    int capacity = s->capacity;

    assert(s->width > 0 && count >= 0);
    if (count == 0)
        return 0;
    if (s->head > s->count || s->head + s->count + count > capacity)
        close_gap(s);
    if (s->count + count > capacity) {
        capacity = 2 * capacity > s->count + count ? 2 * capacity : s->count + count;
        grown = realloc(s->data, (size_t)capacity * (size_t)s->width * sizeof(float));
        if (!grown)
            return ls_fail(err, LS_ENOMEM, "%d items of %d floats", capacity, s->width);
        s->data = grown;
        s->capacity = capacity;
    }
    memcpy(item_at(s, s->head + s->count), items, (size_t)count * (size_t)s->width * sizeof(float));
    s->count += count;
    return 0;
}

void ls_stretch_drop(struct ls_stretch *s, int64_t until)
{
    int64_t n = until - s->first;

    if (n <= 0)
        return;
    if (n > s->count)
        n = s->count;
    s->first += n;
    s->head += (int)n;
    s->count -= (int)n;
    if (s->count == 0)
        s->head = 0;
}

const float *ls_stretch_at(const struct ls_stretch *s, int64_t idx)
{
    assert(idx >= s->first && idx < ls_stretch_end(s));
    return item_at(s, s->head + (int)(idx - s->first));
}

void ls_stretch_done(struct ls_stretch *s)
{
    free(s->data);
    s->data = NULL;
    s->count = s->head = s->capacity = 0;
}
