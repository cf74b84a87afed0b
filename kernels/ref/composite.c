// SPDX-License-Identifier: Apache-2.0
// Puts a generated face back, the last arithmetic on a frame: the face's maps (../detail.h) are
// resampled to the box and mixed with the frame's own planes, so that nothing else in the frame is
// converted or even read. Any thread, one frame at a time. What surprises: chroma is worked out
// where the chroma samples lie (on the left luma column, between two rows).
#include "ref.h"

#include <math.h>
#include <stdlib.h>

#include "../colour.h"
#include "../cubic.h"
#include "../detail.h"
#include "../paste.h"
#include "../plane.h"
#include "../resize.h"

enum { SIZE = LS_FACE_SIZE };

// The maps' weights for a place: map pixel first + k counts weight[k], beyond the edges the edge.
struct taps {
    int first, count;
    double weight[4 * SIZE / 2 + 2];
};

// at: in face pixels, 0..96; size: of the map; samples: of the plane along the box's side.
static void taps_init(struct taps *t, double at, double samples, int size)
{
    double width = (double)ls_detail_widen((float)samples, size), sum = 0;
    double middle = at * size / SIZE - 0.5;

    t->first = (int)ceil(middle - 2 * width);
    t->count = (int)floor(middle + 2 * width) + 1 - t->first;
    for (int k = 0; k < t->count; k++)
        sum += t->weight[k] = (double)ls_cubic((float)((t->first + k - middle) / width));
    for (int k = 0; k < t->count; k++)
        t->weight[k] /= sum;
}

static int inside(int at, int count)
{
    return at < 0 ? 0 : at < count ? at : count - 1;
}

// map [size][size]
static float look(const float *map, int size, const struct taps *x, const struct taps *y)
{
    double sum = 0;

    for (int j = 0; j < y->count; j++)
        for (int i = 0; i < x->count; i++)
            sum += y->weight[j] * x->weight[i] *
                   (double)map[inside(y->first + j, size) * size + inside(x->first + i, size)];
    return (float)sum;
}

// What is written over `old` at (u, v), before it is mixed: 6 of detail.h.
static float made_at(const struct ls_detail *d, const struct ls_mask_shape *shape, int channel,
                     bool full, const double place[2], const double samples[2], float old)
{
    struct taps x, y;
    float keep, made, rest, lips;

    taps_init(&x, place[0], samples[0], SIZE);
    taps_init(&y, place[1], samples[1], SIZE);
    keep = ls_detail_cut(look(d->keep, SIZE, &x, &y), 0, 1);
    if (!full) {
        made = look(d->made[channel], SIZE, &x, &y);
        return made + keep * (old - made);
    }
    rest = old - look(d->seen[channel], SIZE, &x, &y);
    taps_init(&x, place[0], samples[0], LS_DETAIL_FINE);
    taps_init(&y, place[1], samples[1], LS_DETAIL_FINE);
    made = look(d->fine[channel], LS_DETAIL_FINE, &x, &y);
    lips = ls_mask_lips(shape, (float)place[0], (float)place[1]);
    return made + (1 - keep) * ls_detail_grain(rest, ls_detail_limit_at(d->limit, lips)) +
           keep * (old - made);
}

// One channel of the frame.
static void put_channel(const struct ls_detail *d, const struct ls_frame *frame,
                        const struct ls_paste *paste, int channel)
{
    bool full = frame->format == LS_PIX_RGB24 || channel == 0;
    float black = frame->format == LS_PIX_RGB24 || frame->full_range ? 0 : 16;
    struct ls_mask_shape shape;
    struct ls_int_box window;
    struct ls_plane p;
    struct ls_turn turn;
    double place[2], samples[2];

    ls_plane_init(&p, frame, channel);
    ls_mask_init(&shape, paste);
    ls_turn_init(&turn, &paste->box, paste->roll_rad);
    ls_paste_window(&window, paste, &p);
    samples[0] = turn.width / p.scale;
    samples[1] = turn.height / p.scale;
    for (int j = window.y0; j < window.y1; j++)
        for (int i = window.x0; i < window.x1; i++) {
            float old = ls_plane_get(&p, i, j), a, made;

            ls_turn_face(&place[0], &place[1], &turn, p.scale * i + p.x_at, p.scale * j + p.y_at);
            a = paste->strength * ls_mask_at(&shape, (float)place[0], (float)place[1]);
            if (a <= 0)
                continue;
            made = made_at(d, &shape, channel, full, place, samples, old);
            ls_plane_put(&p, i, j,
                         full ? ls_detail_blend(old, made, a, black) : old + a * (made - old));
        }
}

// The original has no planes; here each luma sample takes its pixel, and each chroma sample the
// mean of those of its four pixels that the box covers.
static void exact_yuv(const struct ls_frame *f, const struct ls_resize *r,
                      const struct ls_int_box *b)
{
    struct ls_plane plane[3];
    struct ls_colour colour;

    ls_colour_init(&colour, f);
    for (int c = 0; c < 3; c++)
        ls_plane_init(&plane[c], f, c);
    for (int j = b->y0 / 2; 2 * j < b->y1; j++) {
        for (int i = b->x0 / 2; 2 * i < b->x1; i++) {
            float u = 0, v = 0;
            int count = 0;

            for (int k = 0; k < 4; k++) {
                int x = 2 * i + k % 2, y = 2 * j + k / 2;
                uint8_t pixel[3];
                float bgr[3], yuv[3];

                if (x < b->x0 || x >= b->x1 || y < b->y0 || y >= b->y1)
                    continue;
                ls_resize_pixel(pixel, r, x - b->x0, y - b->y0);
                for (int c = 0; c < 3; c++)
                    bgr[c] = pixel[c];
                ls_colour_yuv(yuv, &colour, bgr);
                ls_plane_put(&plane[0], x, y, yuv[0]);
                u += yuv[1];
                v += yuv[2];
                count++;
            }
            ls_plane_put(&plane[1], i, j, u / (float)count);
            ls_plane_put(&plane[2], i, j, v / (float)count);
        }
    }
}

static int composite_exact(const struct ls_frame *f, const struct ls_paste *paste,
                           struct ls_err *err)
{
    uint8_t face[SIZE * SIZE * 3];
    struct ls_resize r = {
        .source = face, .source_stride = 3 * SIZE, .source_width = SIZE, .source_height = SIZE};
    struct ls_int_box b;

    if (!ls_paste_exact_box(&b, f, &paste->box))
        return ls_fail(err, LS_EFIELD, "box %g,%g..%g,%g has no whole pixel in the frame",
                       paste->box.x0, paste->box.y0, paste->box.x1, paste->box.y1);
    r.target_width = b.x1 - b.x0;
    r.target_height = b.y1 - b.y0;
    ls_paste_exact_face(face, paste->face);
    if (f->format == LS_PIX_RGB24)
        ls_resize_swapped(f->plane[0] + (ptrdiff_t)b.y0 * f->stride[0] + 3 * b.x0, f->stride[0],
                          &r);
    else
        exact_yuv(f, &r, &b);
    return LS_OK;
}

int ls_ref_composite(const struct ls_frame *frame, const struct ls_paste *paste, struct ls_err *err)
{
    struct ls_detail *d;

    if (paste->exact)
        return composite_exact(frame, paste, err);
    d = malloc(sizeof *d);
    if (!d)
        return ls_fail(err, LS_ENOMEM, "no memory to put a face back");
    if (ls_detail_make(d, frame, paste))
        for (int c = 0; c < 3; c++) {
            if (c == 0 || frame->format == LS_PIX_RGB24)
                ls_detail_fine(d, paste, c);
            put_channel(d, frame, paste, c);
        }
    free(d);
    return LS_OK;
}
