// SPDX-License-Identifier: Apache-2.0
// Cuts the face out of a frame, the first thing that the generator sees: bilinear in the frame's
// own planes, colours converted afterwards, in float. Any thread. What surprises: no averaging of
// source pixels when a big face is reduced, because the original has none and networks were trained
// so.
#include "ref.h"

#include <math.h>

#include "../colour.h"
#include "../paste.h"
#include "../plane.h"
#include "../resize.h"

// The channel at frame position (x, y); edge samples reach to infinity.
static float sample(const struct ls_plane *p, double x, double y)
{
    double cx = fmin(fmax((x - p->x_at) / p->scale, 0), p->width - 1);
    double cy = fmin(fmax((y - p->y_at) / p->scale, 0), p->height - 1);
    int x0 = (int)cx, y0 = (int)cy;
    int x1 = x0 + 1 < p->width ? x0 + 1 : x0, y1 = y0 + 1 < p->height ? y0 + 1 : y0;
    double a = ls_plane_get(p, x0, y0), b = ls_plane_get(p, x1, y0);
    double c = ls_plane_get(p, x0, y1), d = ls_plane_get(p, x1, y1);
    double top = a + (cx - x0) * (b - a), low = c + (cx - x0) * (d - c);

    return (float)(top + (cy - y0) * (low - top));
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
    double step_x = ((double)box->x1 - box->x0) / LS_FACE_SIZE;
    double step_y = ((double)box->y1 - box->y0) / LS_FACE_SIZE;
    struct ls_plane plane[3];
    struct ls_colour colour;

    if (exact)
        return crop_exact(out, frame, box, err);
    (void)roll_rad;
    ls_colour_init(&colour, frame);
    for (int c = 0; c < 3; c++)
        ls_plane_init(&plane[c], frame, c);
    for (int i = 0; i < LS_FACE_SIZE * LS_FACE_SIZE; i++) {
        double x = box->x0 + (i % LS_FACE_SIZE + 0.5) * step_x;
        double y = box->y0 + (i / LS_FACE_SIZE + 0.5) * step_y;
        float bgr[3], got[3];

        for (int c = 0; c < 3; c++)
            got[c] = bgr[c] = sample(&plane[c], x, y);
        if (frame->format != LS_PIX_RGB24)
            ls_colour_bgr(bgr, &colour, got);
        for (int c = 0; c < 3; c++)
            out[3 * i + c] = ls_colour_byte(bgr[c]);
    }
    return LS_OK;
}
