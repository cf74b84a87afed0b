// SPDX-License-Identifier: Apache-2.0
// Puts a turned face's samples down, the part of composite.c for which rows and columns are not
// places of their own: each sample looks at the 4 x 4 pixels around it (more where it covers more
// than one), of all maps at once, for which they lie interleaved. 64 products a sample and map; a
// face of 300 x 360 has 50 000 samples under the mask. A lane's room is used by one thread at a
// time.
#include "composite.h"

#include "../err.h"
#include "four.h"

enum { SIZE = LS_FACE_SIZE, STRIP = LS_CPU_STRIP, TAPS = LS_CPU_TAPS, PAD = LS_CPU_PAD };

static int inside(int at, int count)
{
    return at < 0 ? 0 : at < count ? at : count - 1;
}

// Values of a pixel in a padded map of `count` maps.
static int values_of(int count)
{
    return count > 2 ? 4 : count;
}

// Rows first..end of one map, as every values'th number of `out`.
static void pad_map(float *out, const float *map, int side, int values, int first, int end)
{
    int stride = side + 2 * PAD;

    for (int y = first; y < end; y++) {
        const float *row = map + inside(y, side) * side;
        float *to = out + (y + PAD) * stride * values;

        for (int x = 0; x < PAD; x++) {
            to[x * values] = row[0];
            to[(PAD + side + x) * values] = row[side - 1];
        }
        for (int x = 0; x < side; x++)
            to[(PAD + x) * values] = row[x];
    }
}

// What of a grid's maps the mask looks at: more than c->part, whose window has samples beside it.
static void pad(float *out, const struct ls_cpu_grid *grid, const struct ls_paste *paste)
{
    float scale = (float)grid->side / SIZE;
    struct ls_box mask;
    int first, end;
    int values = values_of(grid->count);

    ls_paste_bounds(&mask, paste);
    first = (int)(mask.y0 * scale) - PAD;
    end = (int)(mask.y1 * scale) + PAD;
    end = end < grid->side + PAD ? end : grid->side + PAD;
    for (int m = 0; m < values; m++)
        pad_map(out + m, grid->map[m < grid->count ? m : 0], grid->side, values, first, end);
}

// A look at 4 x 4 pixels of 1, 2 or 4 numbers, `values`, at: the first, stride: a row's numbers.
static inline void look_plain(float *out, const float *at, int stride, int values, const float *x,
                              const float *y)
{
    ls_four sum[4];

    for (int i = 0; i < values; i++)
        sum[i] = y[0] * ls_four_get(at + 4 * i) + y[1] * ls_four_get(at + stride + 4 * i) +
                 (y[2] * ls_four_get(at + 2 * stride + 4 * i) +
                  y[3] * ls_four_get(at + 3 * stride + 4 * i));
    if (values == 1) {
        out[0] = ls_four_sum(ls_four_get(x) * sum[0]);
    } else if (values == 2) {
        sum[0] =
            (ls_four){x[0], x[0], x[1], x[1]} * sum[0] + (ls_four){x[2], x[2], x[3], x[3]} * sum[1];
        out[0] = sum[0][0] + sum[0][2];
        out[1] = sum[0][1] + sum[0][3];
    } else {
        ls_four_put(out, x[0] * sum[0] + x[1] * sum[1] + (x[2] * sum[2] + x[3] * sum[3]));
    }
}

// The same with kernels of x_n and y_n pixels, each four columns of which are looked at like that.
static inline void look_wide(float *out, const float *at, int stride, int values, const float *x,
                             int x_n, const float *y, int y_n)
{
    float got[4];

    for (int k = 0; k < values; k++)
        out[k] = 0;
    for (int j = 0; j < y_n; j += 4)
        for (int i = 0; i < x_n; i += 4) {
            look_plain(got, at + j * stride + i * values, stride, values, x + i, y + j);
            for (int k = 0; k < values; k++)
                out[k] += got[k];
        }
}

// out: numbers first, first + 1 .. of each value.
static inline void look_values(float (*out)[STRIP], int first, const float *padded, int side,
                               int values, const struct ls_cpu_turned *r)
{
    const struct ls_cpu_taps *x = &r->x, *y = &r->y;
    int stride = (side + 2 * PAD) * values;
    float got[4];

    for (int i = 0; i < x->count; i++) {
        const float *at = padded + (y->first[i] + PAD) * stride + (x->first[i] + PAD) * values;

        if (x->n == 4 && y->n == 4)
            look_plain(got, at, stride, values, x->weight + 4 * i, y->weight + 4 * i);
        else
            look_wide(got, at, stride, values, x->weight + x->n * i, x->n, y->weight + y->n * i,
                      y->n);
        for (int k = 0; k < values; k++)
            out[k][first + i] = got[k];
    }
}

LS_CLONES static void look_row(float (*out)[STRIP], int first, const float *padded, int side,
                               int values, const struct ls_cpu_turned *r)
{
    if (values == 1)
        look_values(out, first, padded, side, 1, r);
    else if (values == 2)
        look_values(out, first, padded, side, 2, r);
    else
        look_values(out, first, padded, side, 4, r);
}

// Numbers first..end of out: the grid's maps at places (u, v).
static void look_grid(float (*out)[STRIP], struct ls_cpu_turned *r, const float *padded,
                      const struct ls_cpu_grid *grid, const struct ls_cpu_channels *c,
                      const double *u, const double *v, int first, int end)
{
    if (grid->count == 0)
        return;
    ls_cpu_taps_init(&r->x, u + first, end - first, ls_cpu_samples(c, 0), grid->side);
    ls_cpu_taps_init(&r->y, v + first, end - first, ls_cpu_samples(c, 1), grid->side);
    look_row(out, first, padded, grid->side, values_of(grid->count), r);
}

// out[i] = first + i step
LS_CLONES static void steps(double *restrict out, double first, double step, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = first + i * step;
}

// Where samples x, x + 1 .. of row y lie in the face.
static void places(double *u, double *v, const struct ls_cpu_channels *c, int x, int y, int count)
{
    const struct ls_plane *p = &c->plane[0];
    double first[2], next[2], left = p->scale * x + p->x_at, top = p->scale * y + p->y_at;

    ls_turn_face(&first[0], &first[1], &c->turn, left, top);
    ls_turn_face(&next[0], &next[1], &c->turn, left + p->scale, top);
    steps(u, first[0], next[0] - first[0], count);
    steps(v, first[1], next[1] - first[1], count);
}

static void put_strip(struct ls_cpu_paste *room, const struct ls_cpu_channels *c,
                      const struct ls_int_box *to)
{
    struct ls_cpu_turned *r = &room->turned;
    int count = to->x1 - to->x0, first, end;
    double u[STRIP], v[STRIP];

    for (int y = to->y0; y < to->y1; y++) {
        places(u, v, c, to->x0, y, count);
        ls_cpu_mask_turned(&room->row, &first, &end, &c->shape, u, v, c->paste->strength, count);
        if (first == end)
            continue;
        look_grid(room->row.base, r, r->base, &c->base, c, u, v, first, end);
        look_grid(room->row.fine, r, r->fine, &c->fine, c, u, v, first, end);
        if (c->full)
            ls_cpu_limit_turned(&room->row, &c->shape, u, v, c->limit, first, end);
        ls_cpu_put_samples(room, c, to->x0, y, first, end);
    }
}

void ls_cpu_put_turned(struct ls_cpu_paste *room, const struct ls_cpu_channels *c,
                       const struct ls_int_box *window)
{
    struct ls_int_box strip = *window;

    pad(room->turned.base, &c->base, c->paste);
    pad(room->turned.fine, &c->fine, c->paste);
    for (int x = window->x0; x < window->x1; x += STRIP) {
        strip.x0 = x;
        strip.x1 = window->x1 - x < STRIP ? window->x1 : x + STRIP;
        put_strip(room, c, &strip);
    }
}
