// SPDX-License-Identifier: Apache-2.0
// What prepare and compose are told about a face: its frame's planes, and the rectangles of samples
// that they may read and write, worked out here once so that staging and kernels cannot disagree by
// a rounding. Device thread, or any other: no state. What surprises: a chroma sample has a place of
// its own in the picture, so its rectangle is not half of luma's.
#include "pictures.h"

#include <math.h>
#include <string.h>

#include "../crop.h"

enum { SIZE = LS_FACE_SIZE };

// Where samples lie along an axis: sample i at frame position scale i + at.
struct axis {
    int count;
    double scale, at;
};

// kind: 0 of plane 0, 1 of chroma.
static void axes(struct axis out[2], const struct ls_frame *f, int kind)
{
    if (kind) { // on the left luma column, between two rows
        out[0] = (struct axis){(f->width_px + 1) / 2, 2, 0.5};
        out[1] = (struct axis){(f->height_px + 1) / 2, 2, 1};
    } else {
        out[0] = (struct axis){f->width_px, 1, 0.5};
        out[1] = (struct axis){f->height_px, 1, 0.5};
    }
}

static int kinds(const struct ls_frame *f)
{
    return f->format == LS_PIX_RGB24 ? 1 : LS_CUDA_RECTS;
}

// The first sample at or after a frame position, within 0..count.
static int sample_from(const struct axis *a, double position)
{
    return (int)fmin(fmax(ceil((position - a->at) / a->scale), 0), a->count);
}

static void lattice_init(struct ls_cuda_lattice *out, const struct ls_frame *frame,
                         const struct ls_paste *paste)
{
    struct ls_lattice l;
    struct ls_turn turn;

    memset(out, 0, sizeof *out);
    ls_turn_init(&turn, &paste->box, paste->roll_rad);
    out->turned = turn.sine != 0;
    if (out->turned)
        ls_lattice_around(&l, &turn);
    else
        ls_lattice_upright(&l, &turn);
    out->count[0] = l.columns;
    out->count[1] = l.rows;
    for (int i = 0; i < kinds(frame); i++) {
        struct axis a[2];

        axes(a, frame, i);
        out->at[i][0] = (l.x - a[0].at) / a[0].scale;
        out->at[i][1] = (l.y - a[1].at) / a[1].scale;
        out->step[i][0] = l.step_x / a[0].scale;
        out->step[i][1] = l.step_y / a[1].scale;
    }
    for (int k = 0; k < 3 && out->turned; k++) {
        double x, y;

        ls_lattice_place(&x, &y, &l, &turn, k == 1, k == 2);
        out->place[0][k] = k ? x - out->place[0][0] : x;
        out->place[1][k] = k ? y - out->place[1][0] : y;
    }
}

static int inside(double sample, int count)
{
    return (int)fmin(fmax(sample, 0), count - 1);
}

// Of a plane with `count` samples along the axis: [*first, *end) is what its points are made of,
// and one more to each side, for the device adds up places in floats.
static void reads_axis(int *first, int *end, const struct ls_cuda_lattice *l, int kind, int axis,
                       int count)
{
    double at = l->at[kind][axis], step = l->step[kind][axis], reach = 2 * fmax(step, 1) + 1;

    *first = inside(floor(at - reach), count);
    *end = inside(ceil(at + (l->count[axis] - 1) * step + reach), count) + 1;
}

void ls_cuda_picture_reads(struct ls_int_box out[LS_CUDA_RECTS], const struct ls_frame *frame,
                           const struct ls_paste *paste)
{
    struct ls_cuda_lattice l;

    lattice_init(&l, frame, paste);
    memset(out, 0, LS_CUDA_RECTS * sizeof *out);
    for (int i = 0; i < kinds(frame); i++) {
        struct axis a[2];

        axes(a, frame, i);
        reads_axis(&out[i].x0, &out[i].x1, &l, i, 0, a[0].count);
        reads_axis(&out[i].y0, &out[i].y1, &l, i, 1, a[1].count);
    }
}

// Where the mask can be above zero: half a face pixel beyond the outer centres and, for it fades to
// zero at the next centre, another half. At the face's border it goes on as it is, up to the box.
static void reach(double *from, double *to, double box_from, double box_to, int first, int end)
{
    double pixel = (box_to - box_from) / SIZE;

    *from = first > 0 ? box_from + (first - 0.5) * pixel : box_from;
    *to = end < SIZE ? box_from + (end + 0.5) * pixel : box_to;
}

void ls_cuda_picture_writes(struct ls_int_box out[LS_CUDA_RECTS], const struct ls_frame *frame,
                            const struct ls_paste *paste)
{
    const struct ls_box *box = &paste->box;
    struct ls_int_box extent;
    double x0, x1, y0, y1;

    memset(out, 0, LS_CUDA_RECTS * sizeof *out);
    ls_paste_extent(&extent, paste);
    if (extent.x0 >= extent.x1 || paste->strength <= 0)
        return;
    reach(&x0, &x1, box->x0, box->x1, extent.x0, extent.x1);
    reach(&y0, &y1, box->y0, box->y1, extent.y0, extent.y1);
    for (int i = 0; i < kinds(frame); i++) {
        struct axis a[2];
        struct ls_int_box r;

        axes(a, frame, i);
        r.x0 = sample_from(&a[0], x0);
        r.y0 = sample_from(&a[1], y0);
        r.x1 = sample_from(&a[0], x1);
        r.y1 = sample_from(&a[1], y1);
        if (r.x0 < r.x1 && r.y0 < r.y1)
            out[i] = r;
    }
}

void ls_cuda_picture_init(struct ls_cuda_picture *out, const struct ls_frame *frame)
{
    memset(out, 0, sizeof *out);
    for (int i = 0; i < 3; i++) {
        out->plane[i] = frame->plane[i];
        out->stride[i] = frame->stride[i];
    }
    out->width_px = frame->width_px;
    out->height_px = frame->height_px;
    out->format = frame->format;
    ls_colour_init(&out->colour, frame);
}

void ls_cuda_face_init(struct ls_cuda_face *out, const struct ls_frame *frame,
                       const struct ls_paste *paste)
{
    memset(out, 0, sizeof *out); // padding too: arrays of it are copied whole
    ls_cuda_picture_init(&out->picture, frame);
    out->paste = *paste;
    out->paste.face = NULL;
    out->paste.source = NULL;
    lattice_init(&out->lattice, frame, paste);
    ls_cuda_picture_writes(out->write, frame, paste);
    for (int i = 0; i < LS_CUDA_RECTS; i++) {
        double per_x = SIZE / ((double)paste->box.x1 - paste->box.x0);
        double per_y = SIZE / ((double)paste->box.y1 - paste->box.y0);
        struct axis a[2];

        axes(a, frame, i);
        out->step[i][0] = (float)(a[0].scale * per_x);
        out->step[i][1] = (float)(a[1].scale * per_y);
        out->first[i][0] =
            (float)((a[0].scale * out->write[i].x0 + a[0].at - paste->box.x0) * per_x - 0.5);
        out->first[i][1] =
            (float)((a[1].scale * out->write[i].y0 + a[1].at - paste->box.y0) * per_y - 0.5);
    }
}
