// SPDX-License-Identifier: Apache-2.0
// A frame's colours as numbers: the affine maps between BGR of 0..255 and the Y, U, V that its
// planes hold, for the three matrices and both ranges, in float. Shared by every back end. Plain
// data; any thread.
#ifndef LS_COLOUR_H
#define LS_COLOUR_H

#include <math.h>

#include "frame.h"

struct ls_colour {
    float yuv_of_bgr[3][3]; // rows Y, U, V; columns B, G, R
    float bgr_of_yuv[3][3]; // of YUV with the offset taken off
    float offset[3];        // 16 or 0, 128, 128
};

void ls_colour_init(struct ls_colour *c, const struct ls_frame *frame); // of an I420 frame
// Not clamped: bgr outside 0..255 is possible for odd YUV.
void ls_colour_bgr(float bgr[3], const struct ls_colour *c, const float yuv[3]);
void ls_colour_yuv(float yuv[3], const struct ls_colour *c, const float bgr[3]);

// Rounded (halves up) and cut to 0..255; not a number gives 0.
static inline uint8_t ls_colour_byte(float v)
{
    return (uint8_t)fminf(fmaxf(floorf(v + 0.5f), 0), 255);
}

#endif
