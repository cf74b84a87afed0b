// SPDX-License-Identifier: Apache-2.0
// Reduces planes by area means, a row of the input at a time: rows of samples are summed first,
// because that loop is long and simple, and only the sum is walked sideways. 720p to 320x180 reads
// 1.4 MB once. In float, where the reference uses double: differences are far below a byte's step.
// Any thread.
#include "reduce.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../colour.h"
#include "../plane.h"
#include "resample.h"

enum { SLACK = 4 }; // numbers behind a row that are read, times 0

// The samples that a point takes at most, filled up to fours.
static int taps_most(int size, int target)
{
    return ((int)ceil((double)size / target) + 2 + 3) / 4 * 4;
}

// The target's pixel i of `size` samples: which it takes and how much of them.
static void weigh(struct ls_reduce_axis *a, int i, int size, double ratio)
{
    float *w = a->weight + a->at[i];

    if (ratio > 1) {
        double from = i * ratio, to = fmin((i + 1) * ratio, size);
        int first = (int)from, end = (int)fmin(ceil(to), size);

        a->first[i] = first;
        a->fours[i] = (end - first + 3) / 4;
        for (int s = first; s < end; s++)
            w[s - first] = (float)((fmin(to, s + 1) - fmax(from, s)) / ratio);
    } else {
        double at = fmin(fmax((i + 0.5) * ratio - 0.5, 0), size - 1);

        a->first[i] = (int)at;
        a->fours[i] = 1;
        w[0] = 1 - (float)(at - a->first[i]);
        if (a->first[i] + 1 < size)
            w[1] = (float)(at - a->first[i]);
    }
}

static void axis_init(struct ls_reduce_axis *a, int size, int target)
{
    for (int i = 0; i < target; i++) {
        a->at[i] = i * taps_most(size, target);
        weigh(a, i, size, (double)size / target);
    }
}

// Lays the room's parts out in memory of calloc, or, where there is none, counts its size.
static size_t lay_out(struct ls_reduce_room *room, const int size[2][2])
{
    const int target[2] = {room->target_width, room->target_height};
    char *memory = room->memory;
    size_t at = 0;

#define PART(pointer, length)                                                                      \
    do {                                                                                           \
        if (memory)                                                                                \
            (pointer) = (void *)(memory + at);                                                     \
        at += (size_t)(length) * sizeof *(pointer);                                                \
    } while (0)
    for (int k = 0; k < 4; k++) {
        struct ls_reduce_axis *a = &room->axis[k / 2][k % 2];

        a->count = target[k % 2];
        PART(a->first, a->count);
        PART(a->fours, a->count);
        PART(a->at, a->count);
        PART(a->weight, a->count * taps_most(size[k / 2][k % 2], a->count));
    }
    for (int c = 0; c < 3; c++) {
        PART(room->sum[c], room->width_px + SLACK);
        PART(room->row[c], room->target_width);
    }
    PART(room->pixels, 3 * room->width_px);
#undef PART
    return at;
}

static int room_init(struct ls_reduce_room *room, const struct ls_frame *f,
                     const struct ls_letterbox *box, struct ls_err *err)
{
    const int size[2][2] = {{f->width_px, f->height_px},
                            {(f->width_px + 1) / 2, (f->height_px + 1) / 2}};
    size_t bytes;

    if (room->memory && room->width_px == f->width_px && room->height_px == f->height_px &&
        room->target_width == box->image_width && room->target_height == box->image_height)
        return LS_OK;
    ls_cpu_reduce_done(room);
    room->width_px = f->width_px;
    room->height_px = f->height_px;
    room->target_width = box->image_width;
    room->target_height = box->image_height;
    bytes = lay_out(room, size);
    room->memory = calloc(1, bytes);
    if (!room->memory)
        return ls_fail(err, LS_ENOMEM, "no memory to reduce a frame");
    (void)lay_out(room, size);
    for (int k = 0; k < 4; k++)
        axis_init(&room->axis[k / 2][k % 2], size[k / 2][k % 2], room->axis[k / 2][k % 2].count);
    return LS_OK;
}

void ls_cpu_reduce_done(struct ls_reduce_room *room)
{
    free(room->memory);
    *room = (struct ls_reduce_room){0};
}

static struct ls_resample_axis points(const struct ls_reduce_axis *a)
{
    return (struct ls_resample_axis){a->count, a->first, a->fours, a->at, a->weight};
}

// Row j of the picture: room->row of each channel. Planes: three, or RGB24's one with its blue
// last.
static void reduce_row(struct ls_reduce_room *room, const struct ls_plane *plane, int j)
{
    bool pixels = plane[0].step == 3;

    for (int c = 0; c < 3; c++) {
        const struct ls_reduce_axis *axis = room->axis[c > 0 && !pixels];
        struct ls_resample_axis x = points(&axis[0]), y = points(&axis[1]);
        const struct ls_plane *p = &plane[pixels ? 2 : c];

        if (!pixels || c == 0)
            ls_resample_rows(pixels ? room->pixels : room->sum[c], p, &y, j, 0, p->width);
        if (pixels && c == 0)
            ls_resample_part((float *[]){room->sum[2], room->sum[1], room->sum[0]}, room->pixels, 0,
                             p->width);
        ls_resample_columns(room->row[c], room->sum[c], &x);
    }
}

// A row of Y, U and V to blue, green and red.
LS_CLONES static void convert_row(float *restrict a, float *restrict b, float *restrict c,
                                  const struct ls_colour *restrict colour, int count)
{
    const struct ls_colour with = *colour;

    for (int i = 0; i < count; i++) {
        float yuv[3] = {a[i], b[i], c[i]}, bgr[3];

        ls_colour_bgr(bgr, &with, yuv);
        a[i] = bgr[0];
        b[i] = bgr[1];
        c[i] = bgr[2];
    }
}

LS_CLONES static void put_row(float *restrict out, const float *restrict row, float gain,
                              float offset, int count)
{
    for (int i = 0; i < count; i++) {
        float v = row[i] > 0 ? row[i] : 0;

        out[i] = (v < 255 ? v : 255) * gain + offset;
    }
}

static void fill(float *out, float value, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = value;
}

int ls_cpu_reduce(struct ls_reduce_room *room, float *input, const struct ls_frame *frame,
                  const struct ls_letterbox *box, struct ls_err *err)
{
    int width = box->image_width, height = box->image_height, rest = box->net_width - width;
    ptrdiff_t area = (ptrdiff_t)box->net_width * box->net_height;
    struct ls_plane plane[3];
    struct ls_colour colour;
    int r = room_init(room, frame, box, err);

    if (r < 0)
        return r;
    ls_colour_init(&colour, frame);
    for (int c = 0; c < 3; c++)
        ls_plane_init(&plane[c], frame, c);
    for (int j = 0; j < height; j++) {
        reduce_row(room, plane, j);
        if (frame->format != LS_PIX_RGB24)
            convert_row(room->row[0], room->row[1], room->row[2], &colour, width);
        for (int c = 0; c < 3; c++) {
            float *to = input + (box->bgr ? c : 2 - c) * area + (ptrdiff_t)j * box->net_width;

            put_row(to, room->row[c], box->gain, box->offset, width);
            fill(to + width, box->empty, rest);
        }
    }
    for (int c = 0; c < 3; c++)
        fill(input + c * area + (ptrdiff_t)height * box->net_width, box->empty,
             (box->net_height - height) * box->net_width);
    return LS_OK;
}
