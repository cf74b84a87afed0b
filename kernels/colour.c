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
    int matrix = frame->format == LS_PIX_RGB24 ? 0 : (int)frame->matrix; // RGB24's says nothing
    double red = weights[matrix][0], blue = weights[matrix][1];
    double green = 1 - red - blue;
    double luma[3] = {blue, green, red};
    // Ten bits of full range end at 1023, as a number 255.75 (ITU-T H.273, 8.3).
    double full = frame->format == LS_PIX_P010 ? 1023.0 / 1020 : 1;
    double y_range = frame->full_range ? full : 219.0 / 255;
    double c_range = frame->full_range ? full : 224.0 / 255;
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
