// SPDX-License-Identifier: Apache-2.0
// Cuts the face out of a frame: the reference's crop with weights worked out once a row and once a
// column, in float, rows first, so that most of the work is adding rows of samples. Differs from
// the reference by rounding only, at most 1 of 255. A lane's room is used by one thread at a time.
// What surprises: samples that an edge's repetition would add several times are weighted once, and
// a point's weights are filled up with zeros to a multiple of four.
#include "cpu.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "../colour.h"
#include "../plane.h"
#include "../ref/ref.h"
#include "four.h"
#include "resample.h"

enum { SIZE = LS_FACE_SIZE, LATTICE = LS_LATTICE_MAX };

// weight[k] of the kernel at sample k, the first of which lies `before` behind its middle.
LS_CLONES static void weigh_row(float *restrict weight, double before, double width, int count)
{
    for (int k = 0; k < count; k++)
        weight[k] = ls_cubic((float)((before + k) / width));
}

// The kernel's weights of samples first..last; those beyond from..to are added to these two's.
static void weigh_point(float *weight, double middle, double width, int first, int last, int from,
                        int to)
{
    float sum = 0;

    if (first == from && last == to)
        weigh_row(weight, first - middle, width, to - from + 1);
    else
        for (int k = first; k <= last; k++)
            weight[(k < from ? from
                    : k > to ? to
                             : k) -
                   from] += ls_cubic((float)((k - middle) / width));
    for (int k = from; k <= to; k++)
        sum += weight[k - from];
    for (int k = from; k <= to; k++)
        weight[k - from] /= sum;
}

// Of `count` points, the first at `at`, `step` apart, among `size` samples.
static void weigh(struct ls_cpu_axis *a, double at, double step, int count, int size)
{
    double width = fmax(step, 1);
    float *weight = a->weight;

    for (int i = 0; i < count; i++) {
        double middle = at + i * step;
        int first = (int)ceil(middle - 2 * width), last = (int)floor(middle + 2 * width);
        int from = first < 0 ? 0 : first < size ? first : size - 1;
        int to = last < 0 ? 0 : last < size ? last : size - 1;

        a->first[i] = from;
        a->fours[i] = (to - from + 4) / 4;
        a->at[i] = (int)(weight - a->weight);
        assert(a->at[i] + 4 * a->fours[i] <= LS_CPU_WEIGHTS);
        for (int k = 0; k < 4 * a->fours[i]; k++)
            weight[k] = 0;
        weigh_point(weight, middle, width, first, last, from, to);
        weight += 4 * a->fours[i];
    }
}

static void axes_init(struct ls_cpu_axis axis[2], const struct ls_plane *p,
                      const struct ls_lattice *l)
{
    weigh(&axis[0], (l->x - p->x_at) / p->scale, l->step_x / p->scale, l->columns, p->width);
    weigh(&axis[1], (l->y - p->y_at) / p->scale, l->step_y / p->scale, l->rows, p->height);
}

// Rounds a row of each of blue, green and red to pixels.
LS_CLONES static void put_bytes(uint8_t *restrict to, float (*restrict row)[LATTICE])
{
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < SIZE; i++) {
            float v = row[c][i];

            v = v > 0 ? v : 0;
            row[c][i] = (v < 255 ? v : 255) + 0.5f;
        }
    for (int i = 0; i < SIZE; i++) {
        to[3 * i] = (uint8_t)(int)row[0][i];
        to[3 * i + 1] = (uint8_t)(int)row[1][i];
        to[3 * i + 2] = (uint8_t)(int)row[2][i];
    }
}

// A row of Y, U and V to blue, green and red.
LS_CLONES static void convert_row(float (*restrict row)[LATTICE],
                                  const struct ls_colour *restrict colour)
{
    const struct ls_colour c = *colour;

    for (int i = 0; i < SIZE; i++) {
        float yuv[3] = {row[0][i], row[1][i], row[2][i]}, bgr[3];

        ls_colour_bgr(bgr, &c, yuv);
        row[0][i] = bgr[0];
        row[1][i] = bgr[1];
        row[2][i] = bgr[2];
    }
}

// Row `to` of the face from a row of each channel, which is spent.
static void put_row(uint8_t *to, float (*row)[LATTICE], const struct ls_frame *f,
                    const struct ls_colour *colour)
{
    if (f->format != LS_PIX_RGB24)
        convert_row(row, colour);
    put_bytes(to, row);
}

static struct ls_resample_axis points(const struct ls_cpu_axis *a, int count)
{
    return (struct ls_resample_axis){count, a->first, a->fours, a->at, a->weight};
}

// Row j of the lattice, all channels. Planes: three, or RGB24's one with its blue last.
static void lattice_row(float (*row)[LATTICE], struct ls_cpu_crop *room,
                        const struct ls_plane *plane, const struct ls_lattice *l, int j)
{
    bool pixels = plane[0].step == 3;

    for (int c = 0; c < 3; c++) {
        const struct ls_cpu_axis *axis = room->axis[c > 0 && !pixels];
        struct ls_resample_axis x = points(&axis[0], l->columns), y = points(&axis[1], l->rows);
        const struct ls_plane *p = &plane[pixels ? 2 : c];
        int left = ls_resample_left(&x), right = ls_resample_right(&x, p);

        if (!pixels || c == 0)
            ls_resample_rows(pixels ? room->pixels : room->sum[c], p, &y, j, left, right);
        if (pixels && c == 0)
            ls_resample_part((float *[]){room->sum[2], room->sum[1], room->sum[0]}, room->pixels,
                             left, right);
        ls_resample_columns(row[c], room->sum[c], &x);
    }
}

// Where a row of the face's pixels looks at the lattice: the first of 4 x 4 points, and the plain
// kernel's weights.
struct places {
    int at[SIZE];
    float across[4 * SIZE], down[4 * SIZE];
};

// The plain kernel's weights, `part` behind the second of four points.
static inline void weigh_four(float *weight, float part)
{
    weight[0] = ((-0.5f * part + 1) * part - 0.5f) * part;
    weight[1] = (1.5f * part - 2.5f) * part * part + 1;
    weight[2] = ((-1.5f * part + 2) * part + 0.5f) * part;
    weight[3] = (0.5f * part - 0.5f) * part * part;
}

LS_CLONES static void find_places(struct places *restrict p, const struct ls_lattice *restrict l,
                                  const struct ls_turn *restrict turn, int j)
{
    float across[SIZE], down[SIZE];

    for (int i = 0; i < SIZE; i++) {
        double x, y;
        int x0, y0;

        ls_lattice_place(&x, &y, l, turn, i, j);
        x0 = (int)x;
        y0 = (int)y;
        across[i] = (float)(x - x0);
        down[i] = (float)(y - y0);
        p->at[i] = (y0 - 1) * l->columns + x0 - 1;
    }
    for (int i = 0; i < SIZE; i++)
        weigh_four(p->across + 4 * i, across[i]);
    for (int i = 0; i < SIZE; i++)
        weigh_four(p->down + 4 * i, down[i]);
}

// map: a point's three values and one to spare.
LS_CLONES static void look(float (*restrict row)[LATTICE], const float *restrict map, int columns,
                           const struct places *restrict p)
{
    for (int i = 0; i < SIZE; i++) {
        const float *at = map + 4 * p->at[i], *x = p->across + 4 * i, *y = p->down + 4 * i;
        ls_four got[4];

        for (int k = 0; k < 4; k++)
            got[k] = y[0] * ls_four_get(at + 4 * k) + y[1] * ls_four_get(at + 4 * (columns + k)) +
                     (y[2] * ls_four_get(at + 4 * (2 * columns + k)) +
                      y[3] * ls_four_get(at + 4 * (3 * columns + k)));
        got[0] = x[0] * got[0] + x[1] * got[1] + (x[2] * got[2] + x[3] * got[3]);
        for (int c = 0; c < 3; c++)
            row[c][i] = got[0][c];
    }
}

// A row of each channel as points of four values.
LS_CLONES static void weave(float *restrict out, const float *restrict a, const float *restrict b,
                            const float *restrict c, int count)
{
    for (int i = 0; i < count; i++) {
        out[4 * i] = a[i];
        out[4 * i + 1] = b[i];
        out[4 * i + 2] = c[i];
        out[4 * i + 3] = 0;
    }
}

static void crop_turned(uint8_t *out, struct ls_cpu_crop *room, const struct ls_frame *f,
                        const struct ls_plane *plane, const struct ls_turn *turn,
                        const struct ls_colour *colour)
{
    float row[3][LATTICE];
    struct places places;
    struct ls_lattice l;

    ls_lattice_around(&l, turn);
    axes_init(room->axis[0], &plane[0], &l);
    axes_init(room->axis[1], &plane[1], &l);
    for (int j = 0; j < l.rows; j++) {
        lattice_row(row, room, plane, &l, j);
        weave(room->map + 4 * j * l.columns, row[0], row[1], row[2], l.columns);
    }
    for (int j = 0; j < SIZE; j++) {
        find_places(&places, &l, turn, j);
        look(row, room->map, l.columns, &places);
        put_row(out + j * SIZE * 3, row, f, colour);
    }
}

int ls_cpu_crop(struct ls_cpu_crop *room, uint8_t *out, const struct ls_frame *frame,
                const struct ls_box *box, float roll_rad, bool exact, struct ls_err *err)
{
    float row[3][LATTICE];
    struct ls_plane plane[3];
    struct ls_colour colour;
    struct ls_lattice l;
    struct ls_turn turn;

    if (exact)
        return ls_ref_crop(out, frame, box, roll_rad, exact, err);
    ls_turn_init(&turn, box, roll_rad);
    ls_colour_init(&colour, frame);
    for (int c = 0; c < 3; c++)
        ls_plane_init(&plane[c], frame, c);
    if (turn.sine != 0) {
        crop_turned(out, room, frame, plane, &turn, &colour);
        return LS_OK;
    }
    ls_lattice_upright(&l, &turn);
    axes_init(room->axis[0], &plane[0], &l);
    axes_init(room->axis[1], &plane[1], &l);
    for (int j = 0; j < SIZE; j++) {
        lattice_row(row, room, plane, &l, j);
        put_row(out + j * SIZE * 3, row, frame, &colour);
    }
    return LS_OK;
}
