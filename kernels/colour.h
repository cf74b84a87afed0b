// SPDX-License-Identifier: Apache-2.0
// A frame's colours as numbers: the affine maps between BGR of 0..255 and the Y, U, V that its
// planes hold, for the three matrices and both ranges, in float. Shared by every back end, and by
// the code of devices. Plain data; any thread.
#ifndef LS_COLOUR_H
#define LS_COLOUR_H

#include <math.h>

#include "frame.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ls_colour {
    float yuv_of_bgr[3][3]; // rows Y, U, V; columns B, G, R
    float bgr_of_yuv[3][3]; // of YUV with the offset taken off
    float offset[3];        // 16 or 0, 128, 128
};

void ls_colour_init(struct ls_colour *c, const struct ls_frame *frame); // of a frame with Y, U, V

// Not clamped: bgr outside 0..255 is possible for odd YUV.
LS_ANYWHERE void ls_colour_bgr(float bgr[3], const struct ls_colour *c, const float yuv[3])
{
    for (int i = 0; i < 3; i++) {
        bgr[i] = 0;
        for (int k = 0; k < 3; k++)
            bgr[i] += c->bgr_of_yuv[i][k] * (yuv[k] - c->offset[k]);
    }
}

LS_ANYWHERE void ls_colour_yuv(float yuv[3], const struct ls_colour *c, const float bgr[3])
{
    for (int i = 0; i < 3; i++) {
        yuv[i] = c->offset[i];
        for (int k = 0; k < 3; k++)
            yuv[i] += c->yuv_of_bgr[i][k] * bgr[k];
    }
}

// Rounded (halves up) and cut to 0..255; not a number gives 0.
LS_ANYWHERE uint8_t ls_colour_byte(float v)
{
    return (uint8_t)fminf(fmaxf(floorf(v + 0.5f), 0), 255);
}

#ifdef __cplusplus
}
#endif

#endif
