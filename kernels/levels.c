// SPDX-License-Identifier: Apache-2.0
// Levels of whole faces on the host: around the generator (generate.c). Some 30 us a face, of the
// 10 ms and more that the network takes. No state; any thread. What surprises: x' is looked up, as
// a channel has but 256 values and a division each would be what takes the time.
#include "levels.h"

enum { SIZE = LS_FACE_SIZE, PIXELS = SIZE * SIZE };

void ls_levels_find(struct ls_levels *out, const uint8_t *face)
{
    struct ls_levels_sum sum = {0};

    for (int y = LS_LEVELS_Y0; y < LS_LEVELS_Y1; y++)
        for (int x = LS_LEVELS_X0; x < LS_LEVELS_X1; x++)
            ls_levels_add(&sum, face + 3 * (y * SIZE + x));
    ls_levels_of(out, &sum);
}

void ls_levels_apply(uint8_t *out, const uint8_t *face, const struct ls_levels *levels)
{
    uint8_t table[3][256];

    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 256; i++)
            table[c][i] = ls_levels_byte(levels, c, (uint8_t)i);
    for (int i = 0; i < PIXELS; i++)
        for (int c = 0; c < 3; c++)
            out[3 * i + c] = table[c][face[3 * i + c]];
}

void ls_levels_undo(float *face, const struct ls_int_box *part, const struct ls_levels *levels)
{
    const struct ls_int_box all = {0, 0, SIZE, SIZE}, *b = part ? part : &all;

    for (int y = b->y0; y < b->y1; y++)
        for (int i = y * SIZE + b->x0; i < y * SIZE + b->x1; i++)
            for (int c = 0; c < 3; c++)
                face[3 * i + c] = ls_levels_back(levels, c, face[3 * i + c]);
}
