// SPDX-License-Identifier: Apache-2.0
// Where a paste looks and writes: the rectangles of the face that its mask covers and that it
// reads, and the integer box of the original's arithmetic. One definition for every back end;
// detail.h has what is written. No state; any thread.
#ifndef LS_PASTE_H
#define LS_PASTE_H

#include <stdint.h>

#include "backend.h"
#include "plane.h"

#ifdef __cplusplus
extern "C" {
#endif

// Where the mask is not zero, in face pixels: x0 < u < x1. Empty (x0 >= x1 or y0 >= y1) for a mouth
// beside the face.
void ls_paste_bounds(struct ls_box *out, const struct ls_paste *paste);
// The samples of a plane of the frame that may be written; empty (all 0) or inside the plane.
void ls_paste_window(struct ls_int_box *out, const struct ls_paste *paste,
                     const struct ls_plane *plane);
// The same of a part of the face.
void ls_paste_window_of(struct ls_int_box *out, const struct ls_paste *paste,
                        const struct ls_plane *plane, const struct ls_box *part);
// The pixels of the face whose centres the mask covers. Empty (all 0) if there are none: then
// nothing is written.
void ls_paste_extent(struct ls_int_box *out, const struct ls_paste *paste);
// The part of the face [96][96] that a composite with this paste can read: some pixels more to
// every side, for resampling and blurs. Never empty. What lies outside of it changes nothing.
void ls_paste_reads(struct ls_int_box *out, const struct ls_paste *paste);

// The box truncated to whole pixels, as the original does, and cut at the frame. False if nothing
// is left of it.
bool ls_paste_exact_box(struct ls_int_box *out, const struct ls_frame *frame,
                        const struct ls_box *box);
// The face as the original's bytes, value * 255 truncated. bgr [96][96][3].
void ls_paste_exact_face(uint8_t *bgr, const float *face);

#ifdef __cplusplus
}
#endif

#endif
