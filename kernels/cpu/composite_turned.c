// SPDX-License-Identifier: Apache-2.0
// Puts a turned face's samples down, the part of composite.c for which rows and columns are not
// places of their own: each sample looks at the 4 x 4 pixels around it (more where it covers more
// than one), of all maps at once, for which they lie interleaved. 64 products a sample and map; a
// face of 300 x 360 has 50 000 samples under the mask. A lane's room is used by one thread at a
// time.
#include "composite.h"

#include "../err.h"

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

// One map as every values'th number of `out`.
static void pad_map(float *out, const float *map, int side, int values)
{
    int stride = side + 2 * PAD;

    for (int y = 0; y < stride; y++) {
        const float *row = map + inside(y - PAD, side) * side;
        float *to = out + y * stride * values;

        for (int x = 0; x < PAD; x++) {
            to[x * values] = row[0];
            to[(PAD + side + x) * values] = row[side - 1];
        }
        for (int x = 0; x < side; x++)
            to[(PAD + x) * values] = row[x];
    }
}

static void pad(float *out, const struct ls_cpu_grid *grid)
{
    for (int m = 0; m < values_of(grid->count); m++)
        pad_map(out + m, grid->map[m < grid->count ? m : 0], grid->side, values_of(grid->count));
}

// A look at 4 x 4 pixels of `values` numbers; at: the first. Inlined for each number.
static inline void look_plain(float *restrict out, const float *restrict at, int stride, int values,
                              const float *restrict x, const float *restrict y)
{
    const float *b = at + stride, *c = b + stride, *d = c + stride;
    float part[16];

    for (int k = 0; k < 4 * values; k++)
        part[k] = y[0] * at[k] + y[1] * b[k] + (y[2] * c[k] + y[3] * d[k]);
    for (int k = 0; k < values; k++)
        out[k] = x[0] * part[k] + x[1] * part[values + k] +
                 (x[2] * part[2 * values + k] + x[3] * part[3 * values + k]);
}

// The same with kernels of x_n and y_n pixels.
static inline void look_wide(float *restrict out, const float *restrict at, int stride, int values,
                             const float *restrict x, int x_n, const float *restrict y, int y_n)
{
    float part[4 * TAPS] = {0};

    for (int j = 0; j < y_n; j++)
        for (int k = 0; k < x_n * values; k++)
            part[k] += y[j] * at[j * stride + k];
    for (int k = 0; k < values; k++)
        out[k] = 0;
    for (int i = 0; i < x_n; i++)
        for (int k = 0; k < values; k++)
            out[k] += x[i] * part[i * values + k];
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

// Where samples x, x + 1 .. of row y lie in the face.
static void places(double *u, double *v, const struct ls_cpu_channels *c, int x, int y, int count)
{
    const struct ls_plane *p = &c->plane[0];
    double first[2], next[2], left = p->scale * x + p->x_at, top = p->scale * y + p->y_at;

    ls_turn_face(&first[0], &first[1], &c->turn, left, top);
    ls_turn_face(&next[0], &next[1], &c->turn, left + p->scale, top);
    for (int i = 0; i < count; i++) {
        u[i] = first[0] + i * (next[0] - first[0]);
        v[i] = first[1] + i * (next[1] - first[1]);
    }
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

    pad(room->turned.base, &c->base);
    pad(room->turned.fine, &c->fine);
    for (int x = window->x0; x < window->x1; x += STRIP) {
        strip.x0 = x;
        strip.x1 = window->x1 - x < STRIP ? window->x1 : x + STRIP;
        put_strip(room, c, &strip);
    }
}
