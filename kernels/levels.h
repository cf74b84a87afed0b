// SPDX-License-Identifier: Apache-2.0
// A face's levels: the mean and spread of its colours. Weights whose metadata say input_levels =
// "face" were trained on faces that all have the same ones, so that people and lights differ less:
// a face gets them before the network sees it (both its masked half and its reference), and what
// the network makes gets the face's own back. kernels/demo/vary.py (level) is the training's side.
// With x a byte / 255, m and d its channel's mean and spread in the window below:
//   x' = 0.5 + 0.17 (x - m) / d, cut to 0..1, rounded to a byte again,
//   y' = m + (y - 0.5) d / 0.17, cut to 0..1.
// The original's arithmetic (ls_paste.exact) knows none of this. No state; any thread. What
// surprises: sums are of integers, and no product is added to anything without a division between,
// so that every processor has the same bytes, whether it fuses products and sums or not.
#ifndef LS_LEVELS_H
#define LS_LEVELS_H

#include <math.h>

#include "frame.h"
#include "wav2lip.h"

#ifdef __cplusplus
extern "C" {
#endif

// The window, last ones outside: a face without hair, neck and what is behind it.
enum { LS_LEVELS_X0 = 20, LS_LEVELS_Y0 = 20, LS_LEVELS_X1 = 76, LS_LEVELS_Y1 = 88 };

#define LS_LEVELS_SPREAD 0.17f // every face's: 2.9 of it fit on each side, so lights are kept

struct ls_levels {
    float mean[3], spread[3]; // BGR, 0..1
};

// Of a channel's bytes in the window: at most 3808 * 255^2, which 32 bits hold.
struct ls_levels_sum {
    uint32_t value[3], square[3];
};

LS_ANYWHERE void ls_levels_add(struct ls_levels_sum *sum, const uint8_t *bgr)
{
    for (int c = 0; c < 3; c++) {
        sum->value[c] += bgr[c];
        sum->square[c] += (uint32_t)bgr[c] * bgr[c];
    }
}

LS_ANYWHERE void ls_levels_of(struct ls_levels *out, const struct ls_levels_sum *sum)
{
    const int64_t count = (LS_LEVELS_X1 - LS_LEVELS_X0) * (LS_LEVELS_Y1 - LS_LEVELS_Y0);
    const float least = 6 / 255.0f; // noise in a flat face is not made a face's contrast

    for (int c = 0; c < 3; c++) {
        int64_t v = sum->value[c], variance = count * sum->square[c] - v * v;
        float spread = (float)(sqrt((double)variance) / (double)(255 * count));

        out->mean[c] = (float)((double)v / (double)(255 * count));
        out->spread[c] = spread > least ? spread : least;
    }
}

// x' of channel c.
LS_ANYWHERE uint8_t ls_levels_byte(const struct ls_levels *l, int c, uint8_t byte)
{
    // 255 x' + 0.5, so that cutting off the fraction rounds.
    float v = 255 * LS_LEVELS_SPREAD * ((float)byte / 255 - l->mean[c]) / l->spread[c] + 128;

    v = v > 0 ? v : 0;
    return (uint8_t)(v < 255 ? v : 255);
}

// y' of channel c.
LS_ANYWHERE float ls_levels_back(const struct ls_levels *l, int c, float y)
{
    float v = (y - 0.5f) * l->spread[c] / LS_LEVELS_SPREAD + l->mean[c];

    v = v > 0 ? v : 0;
    return v < 1 ? v : 1;
}

// face: [96][96][3] BGR.
void ls_levels_find(struct ls_levels *out, const uint8_t *face);
void ls_levels_apply(uint8_t *out, const uint8_t *face, const struct ls_levels *levels);
// In place, inside of part; NULL: everywhere.
void ls_levels_undo(float *face, const struct ls_int_box *part, const struct ls_levels *levels);

#ifdef __cplusplus
}
#endif

#endif
