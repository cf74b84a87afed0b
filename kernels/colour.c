// SPDX-License-Identifier: Apache-2.0
// Makes the maps of colour.h from the weights of red and blue in luma (ITU-R BT.601-7 2.5.1,
// BT.709-6 item 3.2, BT.2020-2 table 4, the non-constant luminance form). Any thread.
#include "colour.h"

void ls_colour_init(struct ls_colour *c, const struct ls_frame *frame)
{
    static const double weights[][2] = {
        [LS_MATRIX_BT601] = {0.299, 0.114},
        [LS_MATRIX_BT709] = {0.2126, 0.0722},
        [LS_MATRIX_BT2020] = {0.2627, 0.0593},
    };
    double red = weights[frame->matrix][0], blue = weights[frame->matrix][1];
    double green = 1 - red - blue;
    double luma[3] = {blue, green, red};
    double y_range = frame->full_range ? 1 : 219.0 / 255;
    double c_range = frame->full_range ? 1 : 224.0 / 255;
    double u_span = 2 * (1 - blue), v_span = 2 * (1 - red); // of B - Y and R - Y, for 255

    for (int i = 0; i < 3; i++) {
        c->yuv_of_bgr[0][i] = (float)(y_range * luma[i]);
        c->yuv_of_bgr[1][i] = (float)(c_range * ((i == 0) - luma[i]) / u_span);
        c->yuv_of_bgr[2][i] = (float)(c_range * ((i == 2) - luma[i]) / v_span);
        c->bgr_of_yuv[i][0] = (float)(1 / y_range);
    }
    c->bgr_of_yuv[0][1] = (float)(u_span / c_range);
    c->bgr_of_yuv[0][2] = 0;
    c->bgr_of_yuv[1][1] = (float)(-u_span * blue / green / c_range);
    c->bgr_of_yuv[1][2] = (float)(-v_span * red / green / c_range);
    c->bgr_of_yuv[2][1] = 0;
    c->bgr_of_yuv[2][2] = (float)(v_span / c_range);
    c->offset[0] = frame->full_range ? 0 : 16;
    c->offset[1] = c->offset[2] = 128;
}

void ls_colour_bgr(float bgr[3], const struct ls_colour *c, const float yuv[3])
{
    for (int i = 0; i < 3; i++) {
        bgr[i] = 0;
        for (int k = 0; k < 3; k++)
            bgr[i] += c->bgr_of_yuv[i][k] * (yuv[k] - c->offset[k]);
    }
}

void ls_colour_yuv(float yuv[3], const struct ls_colour *c, const float bgr[3])
{
    for (int i = 0; i < 3; i++) {
        yuv[i] = c->offset[i];
        for (int k = 0; k < 3; k++)
            yuv[i] += c->yuv_of_bgr[i][k] * bgr[k];
    }
}
