// SPDX-License-Identifier: Apache-2.0
// The exact profile's boxes: integers, averaged forward over five frames in place, as the original
// does, its treatment of the last frames included (WAV2LIP.md section 3). Flow: track -> here. Loop
// thread. What surprises: a row that was averaged is itself part of the averages before it is read
// again.
#include "track_state.h"

#include <math.h>

static void integer_box(const struct ls_track *t, struct ls_box *b)
{
    b->x0 = truncf(fmaxf(b->x0, 0));
    b->y0 = truncf(fmaxf(b->y0, 0));
    b->x1 = truncf(fmaxf(b->x1, 0));
    b->y1 = truncf(fmaxf(b->y1, 0));
    ls_track_pad(t, b);
}

// The original's average: rows idx..idx+4, or the last five rows (fewer as Python slices them) at
// the end. Rows are made integer and padded when they are first read, and overwritten in place.
static bool average(struct ls_track *t, int64_t idx, struct ls_spot *out)
{
    int64_t n = t->end, from = idx, until = idx + EXACT_WINDOW, i;
    double sum[4] = {0};
    struct ls_box *b;
    int count = 0;

    if (t->p.job->face.smoothing_frames <= 1) {
        *out = ls_record_at(t, idx)->raw;
        return true;
    }
    if (until > n) {
        if (!t->ended)
            return false;
        // boxes[n - 5:] counts from the end when n < 5: n = 3 gives the last 2 rows, n = 4 the
        // last 1.
        from = n >= EXACT_WINDOW ? n - EXACT_WINDOW : n - EXACT_WINDOW + n;
        from = from < 0 ? 0 : from;
        until = n;
    }
    if (until - 1 > t->decided)
        return false;
    for (i = from; i < until; i++) {
        b = &ls_record_at(t, i)->raw.face.box;
        sum[0] += (double)b->x0;
        sum[1] += (double)b->y0;
        sum[2] += (double)b->x1;
        sum[3] += (double)b->y1;
        count++;
    }
    b = &ls_record_at(t, idx)->raw.face.box;
    b->x0 = (float)trunc(sum[0] / count);
    b->y0 = (float)trunc(sum[1] / count);
    b->x1 = (float)trunc(sum[2] / count);
    b->y1 = (float)trunc(sum[3] / count);
    *out = ls_record_at(t, idx)->raw;
    return true;
}

bool ls_track_exact(struct ls_track *t, int64_t idx, struct ls_spot *out)
{
    struct record *r;

    // A box is made integer once, when it is decided; `known` is done with and marks that.
    for (int64_t i = idx; i <= t->decided; i++) {
        r = ls_record_at(t, i);
        if (r->known && r->raw.found) {
            integer_box(t, &r->raw.face.box);
            r->known = false;
        }
    }
    if (!average(t, idx, out))
        return false;
    out->presence = 1;
    return true;
}
