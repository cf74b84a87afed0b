// SPDX-License-Identifier: Apache-2.0
// What prepare and compose are told about a face: its frame's planes, and the rectangles of samples
// that they may read and write, worked out here once so that staging and kernels cannot disagree by
// a rounding. Device thread, or any other: no state. What surprises: a chroma sample has a place of
// its own in the picture, so its rectangle is not half of luma's.
#include "pictures.h"

#include <math.h>
#include <string.h>

#include "../crop.h"
#include "../detail.h"

static int kinds(const struct ls_frame *f)
{
    return f->format == LS_PIX_RGB24 ? 1 : LS_CUDA_RECTS;
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
        struct ls_plane p;

        ls_plane_init(&p, frame, i);
        out->at[i][0] = (l.x - p.x_at) / p.scale;
        out->at[i][1] = (l.y - p.y_at) / p.scale;
        out->step[i][0] = l.step_x / p.scale;
        out->step[i][1] = l.step_y / p.scale;
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
        struct ls_plane p;

        ls_plane_init(&p, frame, i);
        reads_axis(&out[i].x0, &out[i].x1, &l, i, 0, p.width);
        reads_axis(&out[i].y0, &out[i].y1, &l, i, 1, p.height);
    }
}

void ls_cuda_picture_writes(struct ls_int_box out[LS_CUDA_RECTS], const struct ls_frame *frame,
                            const struct ls_paste *paste)
{
    memset(out, 0, LS_CUDA_RECTS * sizeof *out);
    for (int i = 0; i < kinds(frame) && paste->strength > 0; i++) {
        struct ls_plane p;

        ls_plane_init(&p, frame, i);
        ls_paste_window(&out[i], paste, &p);
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

// The doubled maps' pixels that a sample can look at, as ls_detail_fine has them.
static void fine_init(struct ls_int_box *out, const struct ls_paste *paste)
{
    float width = ls_detail_widen(paste->box.x1 - paste->box.x0, LS_DETAIL_FINE);
    float height = ls_detail_widen(paste->box.y1 - paste->box.y0, LS_DETAIL_FINE);
    int reach = (int)fmaxf(width, height) + 2;

    ls_paste_extent(out, paste);
    out->x0 = 2 * inside(out->x0 - reach, LS_FACE_SIZE);
    out->y0 = 2 * inside(out->y0 - reach, LS_FACE_SIZE);
    out->x1 = 2 * inside(out->x1 + reach, LS_FACE_SIZE + 1);
    out->y1 = 2 * inside(out->y1 + reach, LS_FACE_SIZE + 1);
}

// What compose is told of the face.
static void paste_init(struct ls_cuda_face *out, const struct ls_frame *frame)
{
    const struct ls_paste *paste = &out->paste;
    struct ls_turn turn;

    out->writes = out->write[0].x0 < out->write[0].x1 || out->write[1].x0 < out->write[1].x1;
    ls_paste_reads(&out->reads, paste);
    fine_init(&out->fine, paste);
    ls_mask_init(&out->shape, paste);
    ls_turn_init(&turn, &paste->box, paste->roll_rad);
    for (int i = 0; i < kinds(frame); i++) {
        struct ls_plane p;

        ls_plane_init(&p, frame, i);
        out->samples[i][0] = (float)(turn.width / p.scale);
        out->samples[i][1] = (float)(turn.height / p.scale);
        for (int k = 0; k < 3; k++) { // at the first sample, and to the next one on each axis
            double u, v;

            ls_turn_face(&u, &v, &turn, p.x_at + (k == 1) * p.scale, p.y_at + (k == 2) * p.scale);
            out->place[i][0][k] = k ? u - out->place[i][0][0] : u;
            out->place[i][1][k] = k ? v - out->place[i][1][0] : v;
        }
    }
}

void ls_cuda_face_init(struct ls_cuda_face *out, const struct ls_frame *frame,
                       const struct ls_paste *paste)
{
    memset(out, 0, sizeof *out); // padding too: arrays of it are copied whole
    ls_cuda_picture_init(&out->picture, frame);
    out->paste = *paste;
    out->paste.face = NULL;
    out->paste.source = NULL;
    out->source_known = true;
    lattice_init(&out->lattice, frame, paste);
    ls_cuda_picture_writes(out->write, frame, paste);
    paste_init(out, frame);
}
