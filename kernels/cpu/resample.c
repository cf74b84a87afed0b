// SPDX-License-Identifier: Apache-2.0
// The sums of resample.h, four samples at a time. Any thread.
#include "resample.h"

#include "../err.h"
#include "four.h"

enum { PIECE = 256 }; // points at a time

int ls_resample_left(const struct ls_resample_axis *across)
{
    return across->first[0];
}

int ls_resample_right(const struct ls_resample_axis *across, const struct ls_plane *p)
{
    int last = across->count - 1, end = across->first[last] + 4 * across->fours[last];

    return end < p->width ? end : p->width;
}

// Adds four rows by their weights.
LS_CLONES static void add_four(float *restrict sum, const uint8_t *const *row,
                               const float *restrict weight, int count, bool first)
{
    const uint8_t *restrict a = row[0], *restrict b = row[1], *restrict c = row[2];
    const uint8_t *restrict d = row[3];
    float w0 = weight[0], w1 = weight[1], w2 = weight[2], w3 = weight[3];

    if (first)
        for (int i = 0; i < count; i++)
            sum[i] = w0 * (float)a[i] + w1 * (float)b[i] + (w2 * (float)c[i] + w3 * (float)d[i]);
    else
        for (int i = 0; i < count; i++)
            sum[i] += w0 * (float)a[i] + w1 * (float)b[i] + (w2 * (float)c[i] + w3 * (float)d[i]);
}

void ls_resample_rows(float *sum, const struct ls_plane *p, const struct ls_resample_axis *down,
                      int j, int left, int right)
{
    const float *weight = down->weight + down->at[j];

    for (int k = 0; k < 4 * down->fours[j]; k += 4) {
        const uint8_t *row[4];

        for (int n = 0; n < 4; n++) {
            int at = down->first[j] + k + n;

            row[n] = p->data + (at < p->height ? at : p->height - 1) * p->stride + left * p->step;
        }
        add_four(sum + left * p->step, row, weight + k, (right - left) * p->step, k == 0);
    }
}

LS_CLONES static void part(float *restrict a, float *restrict b, float *restrict c,
                           const float *restrict pixels, int count)
{
    for (int i = 0; i < count; i++) {
        a[i] = pixels[3 * i];
        b[i] = pixels[3 * i + 1];
        c[i] = pixels[3 * i + 2];
    }
}

void ls_resample_part(float *const *out, const float *pixels, int left, int right)
{
    part(out[0] + left, out[1] + left, out[2] + left, pixels + 3 * left, right - left);
}

LS_CLONES static void columns(float *restrict out, const float *restrict sum,
                              const struct ls_resample_axis *restrict x, int begin, int count)
{
    float part[4 * PIECE];

    for (int i = 0; i < count; i++) {
        const float *from = sum + x->first[begin + i], *weight = x->weight + x->at[begin + i];
        ls_four all = ls_four_get(weight) * ls_four_get(from);

        for (int k = 4; k < 4 * x->fours[begin + i]; k += 4)
            all += ls_four_get(weight + k) * ls_four_get(from + k);
        ls_four_put(part + 4 * i, all);
    }
    for (int i = 0; i < count; i++)
        out[begin + i] = part[4 * i] + part[4 * i + 1] + (part[4 * i + 2] + part[4 * i + 3]);
}

void ls_resample_columns(float *out, const float *sum, const struct ls_resample_axis *across)
{
    for (int i = 0; i < across->count; i += PIECE)
        columns(out, sum, across, i, across->count - i < PIECE ? across->count - i : PIECE);
}
