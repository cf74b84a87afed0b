// SPDX-License-Identifier: Apache-2.0
// Cuts the face out of a frame, the first thing that the generator sees: each of the frame's planes
// is resampled with the kernel of ../cubic.h at the places of the 96 x 96 pixels, by its own scale
// and siting; colours are converted afterwards, in float, and rounded last. An upright box takes
// one step: columns and rows are places of their own. A turned one takes two, because a kernel that
// is widened along turned axes is not separable: first an upright lattice around it, as fine as the
// face's pixels, then the plain kernel at the turned places between the lattice's points. Any
// thread.
#include "ref.h"

#include <math.h>

#include "../colour.h"
#include "../crop.h"
#include "../cubic.h"
#include "../paste.h"
#include "../plane.h"
#include "../resize.h"

enum { SIZE = LS_FACE_SIZE, SIDE_MAX = 8192 };

// Of the largest box (backend.c): 65536 px for 96, four widths of the kernel.
enum { TAPS_MAX = 4 * (65536 / SIZE + 1) + 2 };

// Weights of the samples around `at` (0: the first sample's centre) that are averaged for a point
// which is `step` samples away from the next: sample *first + k has weight[k]. Returns their
// number.
static int taps(double *weight, int *first, double at, double step)
{
    double width = fmax(step, 1), sum = 0;
    int count = (int)floor(at + 2 * width) + 1;

    *first = (int)ceil(at - 2 * width);
    count -= *first;
    for (int k = 0; k < count; k++)
        sum += weight[k] = ls_cubic((float)((*first + k - at) / width));
    for (int k = 0; k < count; k++)
        weight[k] /= sum;
    return count;
}

static int inside(int idx, int count)
{
    return idx < 0 ? 0 : idx < count ? idx : count - 1;
}

// out [rows][columns] of the lattice: the channel at its points.
static void resample(float *out, const struct ls_plane *p, const struct ls_lattice *l)
{
    double x_step = l->step_x / p->scale, y_step = l->step_y / p->scale;
    double x_at = (l->x - p->x_at) / p->scale, y_at = (l->y - p->y_at) / p->scale;
    double weight[TAPS_MAX], column[SIDE_MAX], reach = 2 * fmax(x_step, 1) + 1;
    int left = inside((int)floor(x_at - reach), p->width);
    int right = inside((int)ceil(x_at + (l->columns - 1) * x_step + reach), p->width);
    int first, count;

    for (int j = 0; j < l->rows; j++) {
        count = taps(weight, &first, y_at + j * y_step, y_step);
        for (int x = left; x <= right; x++) {
            column[x] = 0;
            for (int k = 0; k < count; k++)
                column[x] += weight[k] * (double)ls_plane_get(p, x, inside(first + k, p->height));
        }
        for (int i = 0; i < l->columns; i++) {
            double sum = 0;

            count = taps(weight, &first, x_at + i * x_step, x_step);
            for (int k = 0; k < count; k++)
                sum += weight[k] * column[inside(first + k, p->width)];
            out[j * l->columns + i] = (float)sum;
        }
    }
}

// The lattice's values at its place (x, y), by the plain kernel.
static float between(const float *value, const struct ls_lattice *l, double x, double y)
{
    int x0 = (int)floor(x) - 1, y0 = (int)floor(y) - 1;
    double sum = 0;

    for (int j = y0; j < y0 + 4; j++)
        for (int i = x0; i < x0 + 4; i++)
            sum += (double)ls_cubic((float)(i - x)) * (double)ls_cubic((float)(j - y)) *
                   (double)value[j * l->columns + i];
    return (float)sum;
}

// out [96][96]
static void channel(float *out, const struct ls_plane *p, const struct ls_turn *t)
{
    float value[LS_LATTICE_MAX * LS_LATTICE_MAX];
    struct ls_lattice l;

    if (t->sine == 0) {
        ls_lattice_upright(&l, t);
        resample(out, p, &l);
        return;
    }
    ls_lattice_around(&l, t);
    resample(value, p, &l);
    for (int i = 0; i < SIZE * SIZE; i++) {
        double x, y;

        ls_lattice_place(&x, &y, &l, t, i % SIZE, i / SIZE);
        out[i] = between(value, &l, x, y);
    }
}

static int crop_exact(uint8_t *out, const struct ls_frame *frame, const struct ls_box *box,
                      struct ls_err *err)
{
    struct ls_int_box b;
    struct ls_resize r = {.target_width = LS_FACE_SIZE, .target_height = LS_FACE_SIZE};

    if (!ls_paste_exact_box(&b, frame, box))
        return ls_fail(err, LS_EFIELD, "box %g,%g..%g,%g has no whole pixel in the frame", box->x0,
                       box->y0, box->x1, box->y1);
    r.source = frame->plane[0] + (ptrdiff_t)b.y0 * frame->stride[0] + 3 * b.x0;
    r.source_stride = frame->stride[0];
    r.source_width = b.x1 - b.x0;
    r.source_height = b.y1 - b.y0;
    ls_resize_swapped(out, 3 * LS_FACE_SIZE, &r);
    return LS_OK;
}

int ls_ref_crop(uint8_t *out, const struct ls_frame *frame, const struct ls_box *box,
                float roll_rad, bool exact, struct ls_err *err)
{
    float value[3][SIZE * SIZE];
    struct ls_colour colour;
    struct ls_turn turn;

    if (exact)
        return crop_exact(out, frame, box, err);
    ls_turn_init(&turn, box, roll_rad);
    for (int c = 0; c < 3; c++) {
        struct ls_plane plane;

        ls_plane_init(&plane, frame, c);
        channel(value[c], &plane, &turn);
    }
    ls_colour_init(&colour, frame);
    for (int i = 0; i < SIZE * SIZE; i++) {
        float got[3] = {value[0][i], value[1][i], value[2][i]}, bgr[3] = {got[0], got[1], got[2]};

        if (frame->format != LS_PIX_RGB24)
            ls_colour_bgr(bgr, &colour, got);
        for (int c = 0; c < 3; c++)
            out[3 * i + c] = ls_colour_byte(bgr[c]);
    }
    return LS_OK;
}
