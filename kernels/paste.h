// SPDX-License-Identifier: Apache-2.0
// What a paste writes, before it is put at its place: the mask, the colour-matched face, and the
// integer box of the original's arithmetic. One definition for every back end. No state; any
// thread.
#ifndef LS_PASTE_H
#define LS_PASTE_H

#include <stdint.h>

#include "backend.h"

#ifdef __cplusplus
extern "C" {
#endif

// Opacity of each of the face's pixels, strength included; the formulas stand in mask.h. alpha
// [96][96].
void ls_paste_mask(float *alpha, const struct ls_paste *paste);
// The face as 0..255 with its mean moved by colour_match towards the source's, the mean being taken
// over the mask's soft edge. bgr [96][96][3].
void ls_paste_face(float *bgr, const struct ls_paste *paste, const float *alpha);

struct ls_int_box {
    int x0, y0, x1, y1;
};

// Outside of it the mask is zero. Empty (all 0) for a mouth that lies outside the face.
void ls_paste_extent(struct ls_int_box *out, const struct ls_paste *paste);
// The part of the face [96][96] that a composite with this paste can read: one pixel more to every
// side, for bilinear sampling. Never empty.
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
