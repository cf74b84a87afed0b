// SPDX-License-Identifier: Apache-2.0
// Puts a generated face back, the last arithmetic on a frame: the face and its mask are resampled
// to the box and blended in the frame's own planes, so that nothing else in the frame is converted
// or even read. Any thread, one frame at a time. What surprises: chroma has a mask of its own,
// sampled where the chroma samples lie (on the left luma column, between two rows).
#include "ref.h"

#include <math.h>
#include <string.h>

#include "../colour.h"
#include "../paste.h"
#include "../plane.h"
#include "../resize.h"

enum { SIZE = LS_FACE_SIZE };

// A map [96][96] at (u, v) in face pixels, the first one's centre at 0.5; edges repeat.
static float map_at(const float *map, int step, double u, double v)
{
    double x = fmin(fmax(u - 0.5, 0), SIZE - 1), y = fmin(fmax(v - 0.5, 0), SIZE - 1);
    int x0 = (int)x, y0 = (int)y;
    int x1 = x0 + 1 < SIZE ? x0 + 1 : x0, y1 = y0 + 1 < SIZE ? y0 + 1 : y0;
    double a = map[(y0 * SIZE + x0) * step], b = map[(y0 * SIZE + x1) * step];
    double c = map[(y1 * SIZE + x0) * step], d = map[(y1 * SIZE + x1) * step];
    double top = a + (x - x0) * (b - a), low = c + (x - x0) * (d - c);

    return (float)(top + (y - y0) * (low - top));
}

// First sample at or after frame position `edge`, within 0..count.
static int first_sample(double edge, double scale, double at, int count)
{
    return (int)fmin(fmax(ceil((edge - at) / scale), 0), count);
}

// value [96][96], in steps of 3: what to write.
static void blend(const struct ls_plane *p, const struct ls_box *box, const float *alpha,
                  const float *value)
{
    int i0 = first_sample(box->x0, p->scale, p->x_at, p->width);
    int i1 = first_sample(box->x1, p->scale, p->x_at, p->width);
    int j0 = first_sample(box->y0, p->scale, p->y_at, p->height);
    int j1 = first_sample(box->y1, p->scale, p->y_at, p->height);
    double per_x = SIZE / ((double)box->x1 - box->x0), per_y = SIZE / ((double)box->y1 - box->y0);

    for (int j = j0; j < j1; j++) {
        double v = (p->scale * j + p->y_at - box->y0) * per_y;

        for (int i = i0; i < i1; i++) {
            double u = (p->scale * i + p->x_at - box->x0) * per_x;
            float a = map_at(alpha, 1, u, v), old = ls_plane_get(p, i, j);

            if (a > 0)
                ls_plane_put(p, i, j, old + a * (map_at(value, 3, u, v) - old));
        }
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
    float alpha[SIZE * SIZE], value[SIZE * SIZE * 3];
    struct ls_colour colour;

    if (paste->exact)
        return composite_exact(frame, paste, err);
    ls_paste_mask(alpha, paste);
    ls_paste_face(value, paste, alpha);
    ls_colour_init(&colour, frame);
    for (int i = 0; i < SIZE * SIZE && frame->format != LS_PIX_RGB24; i++) {
        float bgr[3];

        memcpy(bgr, value + 3 * i, sizeof bgr);
        ls_colour_yuv(value + 3 * i, &colour, bgr);
    }
    for (int c = 0; c < 3; c++) {
        struct ls_plane plane;

        ls_plane_init(&plane, frame, c);
        blend(&plane, &paste->box, alpha, value + c);
    }
    return LS_OK;
}
