// SPDX-License-Identifier: Apache-2.0
// Cuts the face out of a frame: the reference's crop with weights worked out once a row and once a
// column, in float, rows first, so that most of the work is adding rows of samples. Differs from
// the reference by rounding only, at most 1 of 255. A lane's room is used by one thread at a time.
// What surprises: samples that an edge's repetition would add several times are weighted once.
#include "cpu.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "../colour.h"
#include "../plane.h"
#include "../ref/ref.h"

enum { SIZE = LS_FACE_SIZE };

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
        float sum = 0;

        a->first[i] = from;
        a->count[i] = to - from + 1;
        a->at[i] = (int)(weight - a->weight);
        assert(a->at[i] + a->count[i] <= LS_CPU_WEIGHTS);
        for (int k = from; k <= to; k++)
            weight[k - from] = 0;
        for (int k = first; k <= last; k++) {
            float w = ls_cubic((float)((k - middle) / width));

            weight[(k < from ? from : k > to ? to : k) - from] += w;
            sum += w;
        }
        for (int k = from; k <= to; k++)
            weight[k - from] /= sum;
        weight += to - from + 1;
    }
}

static void axes_init(struct ls_cpu_axis axis[2], const struct ls_plane *p,
                      const struct ls_lattice *l)
{
    weigh(&axis[0], (l->x - p->x_at) / p->scale, l->step_x / p->scale, l->columns, p->width);
    weigh(&axis[1], (l->y - p->y_at) / p->scale, l->step_y / p->scale, l->rows, p->height);
}

// Row j of the lattice's points in memory of `step` bytes from sample to sample; sum [8192 * step].
static void add_rows(float *restrict sum, const struct ls_plane *p, const struct ls_cpu_axis *axis,
                     int j, int last)
{
    const struct ls_cpu_axis *x = &axis[0], *y = &axis[1];
    int left = x->first[0] * p->step, right = (x->first[last] + x->count[last]) * p->step;

    for (int i = left; i < right; i++)
        sum[i] = 0;
    for (int k = 0; k < y->count[j]; k++) {
        const uint8_t *restrict row = p->data + (ptrdiff_t)(y->first[j] + k) * p->stride;
        float weight = y->weight[y->at[j] + k];

        for (int i = left; i < right; i++)
            sum[i] += weight * (float)row[i];
    }
}

static void add_columns(float *out, const float *sum, const struct ls_cpu_axis *x, int count,
                        int step)
{
    for (int i = 0; i < count; i++) {
        const float *from = sum + x->first[i] * step, *weight = x->weight + x->at[i];
        float part[4] = {0}; // of one sum the compiler may not change the order
        int k = 0;

        for (; k + 4 <= x->count[i]; k += 4)
            for (int n = 0; n < 4; n++)
                part[n] += weight[k + n] * from[(k + n) * step];
        for (; k < x->count[i]; k++)
            part[0] += weight[k] * from[k * step];
        out[i] = part[0] + part[1] + (part[2] + part[3]);
    }
}

static uint8_t to_byte(float v)
{
    // not fminf and fmaxf: they are calls, for the sake of not-a-numbers, and took a third of the
    // time
    return (uint8_t)((v > 0 ? v < 255 ? v : 255 : 0) + 0.5f);
}

// Row `to` of the face from a row of each channel.
static void put_row(uint8_t *to, float (*row)[LS_LATTICE_MAX], const struct ls_frame *f,
                    const struct ls_colour *colour)
{
    for (int i = 0; i < SIZE; i++) {
        float got[3] = {row[0][i], row[1][i], row[2][i]}, bgr[3] = {got[0], got[1], got[2]};

        if (f->format != LS_PIX_RGB24)
            ls_colour_bgr(bgr, colour, got);
        for (int c = 0; c < 3; c++)
            to[3 * i + c] = to_byte(bgr[c]);
    }
}

// Row j of the lattice, all channels. Planes: three, or RGB24's one with its blue last.
static void lattice_row(float (*row)[LS_LATTICE_MAX], struct ls_cpu_crop *room,
                        const struct ls_plane *plane, const struct ls_lattice *l, int j)
{
    for (int c = 0; c < 3; c++) {
        bool pixels = plane[c].step == 3;
        struct ls_cpu_axis *axis = room->axis[c > 0 && !pixels];

        if (!pixels || c == 0)
            add_rows(room->sum, &plane[pixels ? 2 : c], axis, j, l->columns - 1);
        add_columns(row[c], room->sum + (pixels ? 2 - c : 0), &axis[0], l->columns, plane[c].step);
    }
}

// The plain kernel's weights, `part` behind the second of four points.
static void weigh_four(float weight[4], float part)
{
    weight[0] = ((-0.5f * part + 1) * part - 0.5f) * part;
    weight[1] = (1.5f * part - 2.5f) * part * part + 1;
    weight[2] = ((-1.5f * part + 2) * part + 0.5f) * part;
    weight[3] = (0.5f * part - 0.5f) * part * part;
}

// The lattice's values at its place (x, y), by the plain kernel: pixel i of a row of each channel.
static void look(float (*row)[LS_LATTICE_MAX], int i, const struct ls_cpu_crop *room, int columns,
                 double x, double y)
{
    int x0 = (int)x, y0 = (int)y;
    float across[4], down[4];

    weigh_four(across, (float)(x - x0));
    weigh_four(down, (float)(y - y0));
    for (int c = 0; c < 3; c++) {
        const float *at = room->map[c] + (y0 - 1) * columns + x0 - 1;
        float part[4];

        for (int k = 0; k < 4; k++)
            part[k] = down[0] * at[k] + down[1] * at[columns + k] +
                      (down[2] * at[2 * columns + k] + down[3] * at[3 * columns + k]);
        row[c][i] =
            across[0] * part[0] + across[1] * part[1] + (across[2] * part[2] + across[3] * part[3]);
    }
}

static void crop_turned(uint8_t *out, struct ls_cpu_crop *room, const struct ls_frame *f,
                        const struct ls_plane *plane, const struct ls_turn *turn,
                        const struct ls_colour *colour)
{
    float row[3][LS_LATTICE_MAX];
    struct ls_lattice l;

    ls_lattice_around(&l, turn);
    axes_init(room->axis[0], &plane[0], &l);
    axes_init(room->axis[1], &plane[1], &l);
    for (int j = 0; j < l.rows; j++) {
        lattice_row(row, room, plane, &l, j);
        for (int c = 0; c < 3; c++)
            memcpy(room->map[c] + j * l.columns, row[c], (size_t)l.columns * sizeof row[c][0]);
    }
    for (int j = 0; j < SIZE; j++) {
        for (int i = 0; i < SIZE; i++) {
            double x, y;

            ls_lattice_place(&x, &y, &l, turn, i, j);
            look(row, i, room, l.columns, x, y);
        }
        put_row(out + j * SIZE * 3, row, f, colour);
    }
}

int ls_cpu_crop(struct ls_cpu_crop *room, uint8_t *out, const struct ls_frame *frame,
                const struct ls_box *box, float roll_rad, bool exact, struct ls_err *err)
{
    float row[3][LS_LATTICE_MAX];
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
