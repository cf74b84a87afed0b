// SPDX-License-Identifier: Apache-2.0
// The loops of mix.h. Several short ones where one would do: a compiler vectorises those. Any
// thread. What surprises: sums are written in the order in which the reference's differ least, and
// no processor changes it.
#include "mix.h"

#include <math.h>
#include <string.h>

#include "../cubic.h"
#include "../err.h"
#include "four.h"

enum { SIZE = LS_FACE_SIZE, FINE = LS_DETAIL_FINE, STRIP = LS_CPU_STRIP };
enum { PAD = LS_CPU_PAD };

// Places in face pixels to pixels of a map; beyond the face is its edge.
LS_CLONES static void map_places(double *restrict out, const double *restrict at, double scale,
                                 int count)
{
    for (int i = 0; i < count; i++) {
        double place = at[i] > 0 ? at[i] : 0;

        place = place < SIZE ? place : SIZE;
        out[i] = place * scale - 0.5;
    }
}

// The kernel where it is not widened: its parabolas written out.
LS_CLONES static void weigh_plain(int *restrict first, float *restrict weight,
                                  const double *restrict middle, int count)
{
    float part[STRIP];

    for (int i = 0; i < count; i++) {
        int before = (int)(middle[i] + 1) - 1; // middle is -1/2 or more

        first[i] = before - 1;
        part[i] = (float)(middle[i] - before);
    }
    for (int i = 0; i < count; i++) {
        float u = part[i];

        weight[4 * i] = ((-0.5f * u + 1) * u - 0.5f) * u;
        weight[4 * i + 1] = (1.5f * u - 2.5f) * u * u + 1;
        weight[4 * i + 2] = ((-1.5f * u + 2) * u + 0.5f) * u;
        weight[4 * i + 3] = (0.5f * u - 0.5f) * u * u;
    }
}

LS_CLONES static void weigh_wide(int *restrict first, float *restrict weight,
                                 const double *restrict middle, float width, int n, int count)
{
    for (int i = 0; i < count; i++) {
        // Not ceil: where they differ, the pixel's weight is 0. 16 makes it positive.
        int at = (int)(middle[i] - 2 * (double)width + 16) - 15;
        float before = (float)(at - middle[i]), sum = 0, *w = weight + i * n;

        first[i] = at;
        for (int k = 0; k < n; k++)
            w[k] = ls_cubic((before + (float)k) / width);
        for (int k = 0; k < n; k++)
            sum += w[k];
        for (int k = 0; k < n; k++)
            w[k] /= sum;
    }
}

void ls_cpu_taps_init(struct ls_cpu_taps *t, const double *at, int count, double samples, int side)
{
    float width = ls_detail_widen((float)samples, side);
    double middle[STRIP];

    t->count = count;
    t->n = width > 1 ? ((int)(4 * width) + 1 + 3) / 4 * 4 : 4;
    map_places(middle, at, (double)side / SIZE, count);
    if (width > 1)
        weigh_wide(t->first, t->weight, middle, width, t->n, count);
    else
        weigh_plain(t->first, t->weight, middle, count);
}

// line: the row, with its edges repeated, from pixel -PAD on.
LS_CLONES static void widen_plain(float *restrict out, const float *restrict line,
                                  const struct ls_cpu_taps *restrict t)
{
    float part[4 * STRIP];

    for (int i = 0; i < t->count; i++) {
        ls_four from = ls_four_get(line + PAD + t->first[i]);

        ls_four_put(part + 4 * i, ls_four_get(t->weight + 4 * i) * from);
    }
    for (int i = 0; i < t->count; i++)
        out[i] = part[4 * i] + part[4 * i + 1] + (part[4 * i + 2] + part[4 * i + 3]);
}

LS_CLONES static void widen_wide(float *restrict out, const float *restrict line,
                                 const struct ls_cpu_taps *restrict t)
{
    float part[4 * STRIP];

    for (int i = 0; i < t->count; i++) {
        const float *from = line + PAD + t->first[i], *w = t->weight + t->n * i;
        ls_four sum = ls_four_get(w) * ls_four_get(from);

        for (int n = 4; n < t->n; n += 4)
            sum += ls_four_get(w + n) * ls_four_get(from + n);
        ls_four_put(part + 4 * i, sum);
    }
    for (int i = 0; i < t->count; i++)
        out[i] = part[4 * i] + part[4 * i + 1] + (part[4 * i + 2] + part[4 * i + 3]);
}

void ls_cpu_widen_row(float *out, const float *row, int side, const struct ls_cpu_taps *t)
{
    float line[FINE + 2 * PAD];

    for (int i = 0; i < PAD; i++) {
        line[i] = row[0];
        line[PAD + side + i] = row[side - 1];
    }
    memcpy(line + PAD, row, (size_t)side * sizeof *line);
    if (t->n == 4)
        widen_plain(out, line, t);
    else
        widen_wide(out, line, t);
}

LS_CLONES void ls_cpu_mix_rows(float *restrict out, const float *const *row, const float *weight,
                               int n, int count)
{
    const float *a = row[0], *b = row[1], *c = row[2], *d = row[3];
    float w0 = weight[0], w1 = weight[1], w2 = weight[2], w3 = weight[3];

    for (int i = 0; i < count; i++)
        out[i] = w0 * a[i] + w1 * b[i] + (w2 * c[i] + w3 * d[i]);
    for (int k = 4; k < n; k += 4) {
        a = row[k];
        b = row[k + 1];
        c = row[k + 2];
        d = row[k + 3];
        w0 = weight[k];
        w1 = weight[k + 1];
        w2 = weight[k + 2];
        w3 = weight[k + 3];
        for (int i = 0; i < count; i++)
            out[i] += w0 * a[i] + w1 * b[i] + (w2 * c[i] + w3 * d[i]);
    }
}

LS_CLONES void ls_cpu_columns_init(struct ls_cpu_columns *restrict c,
                                   const struct ls_mask_shape *restrict shape,
                                   const double *restrict u, int count)
{
    struct ls_mask_shape s = *shape;

    for (int i = 0; i < count; i++) {
        float at = (float)u[i], right = SIZE - at;
        float mask = (at - s.x) * s.per_x, lips = (at - s.x) * s.lips_per_x;

        right = at < right ? at : right;
        c->mask[i] = mask * mask;
        c->lips[i] = lips * lips;
        c->edge[i] = right * s.edge;
    }
}

LS_CLONES static void opacity_row(float *restrict out, const float *restrict mask,
                                  const float *restrict edge, float y, float low,
                                  const struct ls_mask_shape *restrict shape, float strength,
                                  int count)
{
    float top = shape->top, slope = shape->slope;

    for (int i = 0; i < count; i++) {
        float border = edge[i] < low ? edge[i] : low;

        out[i] =
            strength * ls_mask_smooth(top - sqrtf(mask[i] + y) * slope) * ls_mask_smooth(border);
    }
}

static void trim(int *first, int *end, const float *opacity, int count)
{
    int a = 0, b = count;

    while (a < b && opacity[a] <= 0)
        a++;
    while (a < b && opacity[b - 1] <= 0)
        b--;
    *first = a;
    *end = b;
}

void ls_cpu_mask_row(struct ls_cpu_row *row, int *first, int *end, const struct ls_cpu_columns *c,
                     const struct ls_mask_shape *shape, float v, float strength, int count)
{
    float y = (v - shape->y) * shape->per_y, low = SIZE - v;

    low = v < low ? v : low;
    opacity_row(row->opacity, c->mask, c->edge, y * y, low * shape->edge, shape, strength, count);
    trim(first, end, row->opacity, count);
}

LS_CLONES static void opacity_turned(float *restrict out,
                                     const struct ls_mask_shape *restrict shape,
                                     const double *restrict u, const double *restrict v,
                                     float strength, int count)
{
    struct ls_mask_shape s = *shape;

    for (int i = 0; i < count; i++)
        out[i] = strength * ls_mask_at(&s, (float)u[i], (float)v[i]);
}

void ls_cpu_mask_turned(struct ls_cpu_row *row, int *first, int *end,
                        const struct ls_mask_shape *shape, const double *u, const double *v,
                        float strength, int count)
{
    opacity_turned(row->opacity, shape, u, v, strength, count);
    trim(first, end, row->opacity, count);
}

LS_CLONES static void limits(float *restrict out, const float *restrict x, float y, float limit,
                             int count)
{
    for (int i = 0; i < count; i++) {
        float lips = 1 - ls_mask_smooth((x[i] + y - 0.5f) / 1.7f);

        out[i] = ls_detail_limit_at(limit, lips);
    }
}

void ls_cpu_limit_row(struct ls_cpu_row *row, const struct ls_cpu_columns *c,
                      const struct ls_mask_shape *shape, float v, float limit, int first, int end)
{
    float y = v - shape->lips_y;

    y *= y < 0 ? shape->lips_per_y[0] : shape->lips_per_y[1];
    limits(row->limit + first, c->lips + first, y * y, limit, end - first);
}

LS_CLONES void ls_cpu_limit_turned(struct ls_cpu_row *restrict row,
                                   const struct ls_mask_shape *restrict shape,
                                   const double *restrict u, const double *restrict v, float limit,
                                   int first, int end)
{
    struct ls_mask_shape s = *shape;

    for (int i = first; i < end; i++)
        row->limit[i] = ls_detail_limit_at(limit, ls_mask_lips(&s, (float)u[i], (float)v[i]));
}

LS_CLONES static void cut_row(float *restrict v, float most, int count)
{
    for (int i = 0; i < count; i++)
        v[i] = ls_detail_cut(v[i], 0, most);
}

// A row of chroma. An opacity of 0 gives the sample again.
LS_CLONES static void mix_chroma(float *restrict sample, const float *restrict keep,
                                 const float *restrict made, const float *restrict opacity,
                                 int count)
{
    for (int i = 0; i < count; i++) {
        float old = sample[i], put = made[i] + keep[i] * (old - made[i]);

        sample[i] = ls_detail_cut(old + opacity[i] * (put - old), 0, 255);
    }
}

// A row of full resolution.
LS_CLONES static void mix_full(float *restrict sample, const struct ls_cpu_row *restrict row,
                               int channel, float black, int at, int count)
{
    const float *keep = row->base[0] + at, *seen = row->base[1 + channel] + at;
    const float *fine = row->fine[channel] + at, *opacity = row->opacity + at;
    const float *limit = row->limit + at;

    for (int i = 0; i < count; i++) {
        float old = sample[i], k = keep[i];
        float grain = ls_detail_grain(old - seen[i], limit[i]);
        float made = fine[i] + (1 - k) * grain + k * (old - fine[i]);
        float a = old - black, b = made - black, light;

        // ls_detail_blend, without calls of fmaxf
        a = a > 0 ? a : 0;
        b = b > 0 ? b : 0;
        light = a * a + opacity[i] * (b * b - a * a);
        light = sqrtf(light > 0 ? light : 0);
        made = old + opacity[i] * (made - old) + (light - (a + opacity[i] * (b - a)));
        sample[i] = ls_detail_cut(made, 0, 255);
    }
}

LS_CLONES static void get_samples(float *restrict to, const uint8_t *restrict at, int count)
{
    for (int i = 0; i < count; i++)
        to[i] = at[i];
}

LS_CLONES static void put_samples(uint8_t *restrict at, const float *restrict from, int count)
{
    for (int i = 0; i < count; i++)
        at[i] = (uint8_t)(int)(from[i] + 0.5f);
}

// Pixels of three samples, the last channel's first.
LS_CLONES static void get_pixels(float *restrict a, float *restrict b, float *restrict c,
                                 const uint8_t *restrict at, int count)
{
    for (int i = 0; i < count; i++) {
        c[i] = at[3 * i];
        b[i] = at[3 * i + 1];
        a[i] = at[3 * i + 2];
    }
}

LS_CLONES static void put_pixels(uint8_t *restrict at, const float *restrict a,
                                 const float *restrict b, const float *restrict c, int count)
{
    for (int i = 0; i < count; i++) {
        at[3 * i] = (uint8_t)(int)(c[i] + 0.5f);
        at[3 * i + 1] = (uint8_t)(int)(b[i] + 0.5f);
        at[3 * i + 2] = (uint8_t)(int)(a[i] + 0.5f);
    }
}

void ls_cpu_put_row(struct ls_cpu_row *row, uint8_t *const *at, int channels, int step, bool full,
                    float black, int first, int end)
{
    int count = end - first;
    float *old[3] = {row->old[0] + first, row->old[1] + first, row->old[2] + first};

    if (step == 3)
        get_pixels(old[0], old[1], old[2], at[2] + 3 * first, count);
    for (int c = 0; c < channels && step == 1; c++)
        get_samples(old[c], at[c] + first, count);
    cut_row(row->base[0] + first, 1, count);
    for (int c = 0; c < channels; c++)
        if (full)
            mix_full(old[c], row, c, black, first, count);
        else
            mix_chroma(old[c], row->base[0] + first, row->base[1 + c] + first, row->opacity + first,
                       count);
    if (step == 3)
        put_pixels(at[2] + 3 * first, old[0], old[1], old[2], count);
    for (int c = 0; c < channels && step == 1; c++)
        put_samples(at[c] + first, old[c], count);
}
