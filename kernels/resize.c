// SPDX-License-Identifier: Apache-2.0
// INTER_LINEAR on 8 bits as OpenCV 4 computes it on x86 (checked against 4.14 and 5.0, see
// tests/golden/golden_flow.py): half-pixel centres in float, coefficients of 11 bits, a vertical
// pass that drops 4 bits before its product and 16 after. What surprises: halving both sides
// exactly is another algorithm, the rounded mean of four pixels, and vertically the coefficients
// outside the picture are kept (both taps read the edge row) while horizontally they become 1 and
// 0.
#include "resize.h"

#include <math.h>

struct taps {
    int at[2];     // source positions
    int weight[2]; // of 2048
};

static struct taps taps_of(int target, int source_size, int target_size, int keep_outside)
{
    double scale = 1 / ((double)target_size / source_size); // two roundings, as there
    float f = (float)((target + 0.5) * scale - 0.5);
    int at = (int)floorf(f), last = source_size - 1;
    struct taps t;

    f -= (float)at;
    if (!keep_outside && (at < 0 || at >= last))
        f = 0;
    t.at[0] = at < 0 ? 0 : at > last ? last : at;
    t.at[1] = at + 1 < 0 ? 0 : at + 1 > last ? last : at + 1;
    t.weight[0] = (int)lrintf((1 - f) * 2048);
    t.weight[1] = (int)lrintf(f * 2048);
    return t;
}

static void halve(uint8_t out[3], const struct ls_resize *r, int x, int y)
{
    const uint8_t *top = r->source + 2 * y * r->source_stride + 6 * x;
    const uint8_t *low = top + r->source_stride;

    for (int c = 0; c < 3; c++)
        out[c] = (uint8_t)((top[c] + top[c + 3] + low[c] + low[c + 3] + 2) >> 2);
}

static void blend(uint8_t out[3], const struct ls_resize *r, const struct taps *h,
                  const struct taps *v)
{
    const uint8_t *row[2] = {r->source + v->at[0] * r->source_stride,
                             r->source + v->at[1] * r->source_stride};

    for (int c = 0; c < 3; c++) {
        int sum = 2;

        for (int k = 0; k < 2; k++) {
            int wide =
                row[k][3 * h->at[0] + c] * h->weight[0] + row[k][3 * h->at[1] + c] * h->weight[1];

            sum += (v->weight[k] * (wide >> 4)) >> 16;
        }
        out[c] = (uint8_t)(sum >> 2);
    }
}

static int is_half(const struct ls_resize *r)
{
    return r->source_width == 2 * r->target_width && r->source_height == 2 * r->target_height;
}

void ls_resize_pixel(uint8_t out[3], const struct ls_resize *r, int x, int y)
{
    struct taps h = taps_of(x, r->source_width, r->target_width, 0);
    struct taps v = taps_of(y, r->source_height, r->target_height, 1);

    if (is_half(r))
        halve(out, r, x, y);
    else
        blend(out, r, &h, &v);
}

void ls_resize_swapped(uint8_t *target, ptrdiff_t target_stride, const struct ls_resize *r)
{
    for (int y = 0; y < r->target_height; y++) {
        uint8_t *out = target + y * target_stride;

        for (int x = 0; x < r->target_width; x++, out += 3) {
            uint8_t pixel[3];

            ls_resize_pixel(pixel, r, x, y);
            out[0] = pixel[2];
            out[1] = pixel[1];
            out[2] = pixel[0];
        }
    }
}
