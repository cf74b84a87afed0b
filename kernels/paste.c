// SPDX-License-Identifier: Apache-2.0
// The rectangles of pastes, and the original's truncations. The masks' formulas stand in mask.h.
// Any thread.
#include "paste.h"

#include <math.h>

#include "cubic.h"
#include "mask.h"

enum { SIZE = LS_FACE_SIZE };

// Twice the kernel's reach where a face is enlarged: once to double it, once to put it down.
enum { MARGIN = 4 };

void ls_paste_bounds(struct ls_box *out, const struct ls_paste *paste)
{
    const float slack = 1 / 64.0f; // for the formulas' rounding
    struct ls_box b = {0, 0, SIZE, SIZE};
    struct ls_mask_shape s;
    float reach;

    if (!paste->exact && paste->mask != LS_MASK_RECTANGLE) {
        ls_mask_init(&s, paste);
        reach = s.top / s.slope;
        b.x0 = fmaxf(s.x - reach / s.per_x - slack, 0);
        b.x1 = fminf(s.x + reach / s.per_x + slack, SIZE);
        b.y0 = fmaxf(s.y - reach / s.per_y - slack, 0);
        b.y1 = fminf(s.y + reach / s.per_y + slack, SIZE);
    }
    *out = b;
}

// First sample at or after frame position `edge`, within 0..count.
static int first_sample(double edge, double scale, double at, int count)
{
    return (int)fmin(fmax(ceil((edge - at) / scale), 0), count);
}

void ls_paste_window_of(struct ls_int_box *out, const struct ls_paste *paste,
                        const struct ls_plane *plane, const struct ls_box *part)
{
    double x0 = INFINITY, y0 = INFINITY, x1 = -INFINITY, y1 = -INFINITY, x, y;
    struct ls_int_box window;
    struct ls_turn turn;

    ls_turn_init(&turn, &paste->box, paste->roll_rad);
    for (int i = 0; i < 4; i++) {
        ls_turn_frame(&x, &y, &turn, i % 2 ? part->x1 : part->x0, i / 2 ? part->y1 : part->y0);
        x0 = fmin(x0, x);
        x1 = fmax(x1, x);
        y0 = fmin(y0, y);
        y1 = fmax(y1, y);
    }
    window.x0 = first_sample(x0, plane->scale, plane->x_at, plane->width);
    window.y0 = first_sample(y0, plane->scale, plane->y_at, plane->height);
    window.x1 = first_sample(x1, plane->scale, plane->x_at, plane->width);
    window.y1 = first_sample(y1, plane->scale, plane->y_at, plane->height);
    *out =
        window.x0 < window.x1 && window.y0 < window.y1 ? window : (struct ls_int_box){0, 0, 0, 0};
}

void ls_paste_window(struct ls_int_box *out, const struct ls_paste *paste,
                     const struct ls_plane *plane)
{
    struct ls_int_box pixels;
    struct ls_box b;

    ls_paste_extent(&pixels, paste);
    ls_paste_bounds(&b, paste);
    *out = (struct ls_int_box){0, 0, 0, 0};
    if (pixels.x0 < pixels.x1)
        ls_paste_window_of(out, paste, plane, &b);
}

void ls_paste_extent(struct ls_int_box *out, const struct ls_paste *paste)
{
    struct ls_box b;

    ls_paste_bounds(&b, paste);
    *out = (struct ls_int_box){(int)ceilf(b.x0 - 0.5f), (int)ceilf(b.y0 - 0.5f),
                               (int)floorf(b.x1 - 0.5f) + 1, (int)floorf(b.y1 - 0.5f) + 1};
    if (!(b.x0 < b.x1 && b.y0 < b.y1) || out->x0 >= out->x1 || out->y0 >= out->y1)
        *out = (struct ls_int_box){0, 0, 0, 0};
}

void ls_paste_reads(struct ls_int_box *out, const struct ls_paste *paste)
{
    struct ls_int_box box;

    ls_paste_extent(&box, paste);
    out->x0 = box.x0 > MARGIN ? box.x0 - MARGIN : 0;
    out->y0 = box.y0 > MARGIN ? box.y0 - MARGIN : 0;
    out->x1 = box.x1 < SIZE - MARGIN ? box.x1 + MARGIN : SIZE;
    out->y1 = box.y1 < SIZE - MARGIN ? box.y1 + MARGIN : SIZE;
}

static int whole(float v, int end)
{
    return (int)fminf(fmaxf(v, 0), (float)end); // truncates: what is cut at 0 is not negative
}

bool ls_paste_exact_box(struct ls_int_box *out, const struct ls_frame *frame,
                        const struct ls_box *box)
{
    struct ls_int_box b = {whole(box->x0, frame->width_px), whole(box->y0, frame->height_px),
                           whole(box->x1, frame->width_px), whole(box->y1, frame->height_px)};

    if (b.x0 >= b.x1 || b.y0 >= b.y1)
        return false;
    *out = b;
    return true;
}

void ls_paste_exact_face(uint8_t *bgr, const float *face)
{
    for (int i = 0; i < SIZE * SIZE * 3; i++)
        bgr[i] = (uint8_t)fminf(fmaxf(face[i] * 255.0f, 0), 255);
}
