// SPDX-License-Identifier: Apache-2.0
// Cuts the face out of a frame, the first thing that the generator sees: bilinear in the frame's
// own planes, colours converted afterwards, in float. Any thread. What surprises: no averaging of
// source pixels when a big face is reduced, because the original has none and networks were trained
// so.
#include "ref.h"

#include <math.h>

#include "../colour.h"
#include "../paste.h"
#include "../resize.h"

struct plane {
    const uint8_t *data;
    int stride, step, width, height; // step: bytes from pixel to pixel
};

// The plane at (x, y), whole numbers being pixel centres; edge pixels reach to infinity.
static float sample(const struct plane *p, double x, double y)
{
    double cx = fmin(fmax(x, 0), p->width - 1), cy = fmin(fmax(y, 0), p->height - 1);
    int x0 = (int)cx, y0 = (int)cy;
    int x1 = x0 + 1 < p->width ? x0 + 1 : x0, y1 = y0 + 1 < p->height ? y0 + 1 : y0;
    const uint8_t *top = p->data + (int64_t)y0 * p->stride;
    const uint8_t *low = p->data + (int64_t)y1 * p->stride;
    double fx = cx - x0, fy = cy - y0;
    double a = top[x0 * p->step] + fx * (top[x1 * p->step] - top[x0 * p->step]);
    double b = low[x0 * p->step] + fx * (low[x1 * p->step] - low[x0 * p->step]);

    return (float)(a + fy * (b - a));
}

static void pixel(float bgr[3], const struct ls_frame *f, const struct ls_colour *colour, double x,
                  double y)
{
    int chroma_width = (f->width_px + 1) / 2, chroma_height = (f->height_px + 1) / 2;
    float yuv[3];

    for (int i = 0; i < 3; i++) {
        if (f->format == LS_PIX_RGB24) {
            struct plane p = {f->plane[0] + 2 - i, f->stride[0], 3, f->width_px, f->height_px};
            bgr[i] = sample(&p, x, y);
        } else if (i == 0) {
            struct plane p = {f->plane[0], f->stride[0], 1, f->width_px, f->height_px};
            yuv[0] = sample(&p, x, y);
        } else { // chroma sample (i, j) lies at luma's (2 i, 2 j + 0.5)
            struct plane p = {f->plane[i], f->stride[i], 1, chroma_width, chroma_height};
            yuv[i] = sample(&p, x / 2, (y - 0.5) / 2);
        }
    }
    if (f->format == LS_PIX_I420)
        ls_colour_bgr(bgr, colour, yuv);
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

int ls_ref_crop(uint8_t *out, const struct ls_frame *frame, const struct ls_box *box, bool exact,
                struct ls_err *err)
{
    double step_x = ((double)box->x1 - box->x0) / LS_FACE_SIZE;
    double step_y = ((double)box->y1 - box->y0) / LS_FACE_SIZE;
    struct ls_colour colour;

    if (exact)
        return crop_exact(out, frame, box, err);
    ls_colour_init(&colour, frame);
    for (int i = 0; i < LS_FACE_SIZE * LS_FACE_SIZE; i++) {
        double x = box->x0 + (i % LS_FACE_SIZE + 0.5) * step_x - 0.5;
        double y = box->y0 + (i / LS_FACE_SIZE + 0.5) * step_y - 0.5;
        float bgr[3];

        pixel(bgr, frame, &colour, x, y);
        for (int c = 0; c < 3; c++)
            out[3 * i + c] = ls_colour_byte(bgr[c]);
    }
    return LS_OK;
}
