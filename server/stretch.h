// SPDX-License-Identifier: Apache-2.0
// A stretch of a long sequence: items (samples, mel columns, levels) that were pushed at its end
// and not yet dropped at its start, kept contiguous and numbered from the sequence's beginning. One
// thread.
#ifndef LS_STRETCH_H
#define LS_STRETCH_H

#include <stdint.h>

#include "kernels/err.h"

struct ls_stretch {
    float *data;   // owned; items of `width` floats
    int width;     // floats an item, > 0, set by the owner
    int64_t first; // number of the oldest item held
    int count;     // items held
    int head;      // items of dead space before it
    int capacity;  // items
};

// Appends count items. LS_ENOMEM leaves it as it was.
LS_MUST int ls_stretch_push(struct ls_stretch *s, const float *items, int count,
                            struct ls_err *err);
// Forgets items before `until` (a number; beyond the end: all).
void ls_stretch_drop(struct ls_stretch *s, int64_t until);
// Item number idx, which must be held; the following ones lie behind it.
const float *ls_stretch_at(const struct ls_stretch *s, int64_t idx);
static inline int64_t ls_stretch_end(const struct ls_stretch *s)
{
    return s->first + s->count;
}
void ls_stretch_done(struct ls_stretch *s);

#endif
