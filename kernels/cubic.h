// SPDX-License-Identifier: Apache-2.0
// The one kernel that crops and pastes resample with, for hosts and devices, and a turned box's
// geometry. The kernel is the cubic convolution of Keys (IEEE ASSP 29(6), 1981) with a = -1/2, also
// called Catmull-Rom: K(t) = (1.5 t - 2.5) t^2 + 1 for t < 1, ((2.5 - 0.5 t) t - 4) t + 2 for t
// < 2. It reproduces parabolas. Where the picture is reduced it is widened by the scale, as Pillow
// does, so that no sample is skipped; weights are normalised; indices beyond an edge mean the edge.
// No state; any thread.
#ifndef LS_CUBIC_H
#define LS_CUBIC_H

#include <math.h>

#include "frame.h"

LS_ANYWHERE float ls_cubic(float t)
{
    t = fabsf(t);
    if (t < 1)
        return (1.5f * t - 2.5f) * t * t + 1;
    return t < 2 ? ((2.5f - 0.5f * t) * t - 4) * t + 2 : 0;
}

// Below this a box counts as upright: at 300 px its corners lie 0.15 px beside.
#define LS_ROLL_MIN (1 / 1024.0f)

// A box turned about its centre. (u, v) are 0..96 inside of it, in face pixels.
struct ls_turn {
    double x, y;          // its centre in the frame
    double width, height; // pixels
    double cosine, sine;  // of its roll; 1 and 0 when it is upright
};

static inline void ls_turn_init(struct ls_turn *t, const struct ls_box *box, float roll_rad)
{
    bool upright = fabsf(roll_rad) <= LS_ROLL_MIN;

    t->x = ((double)box->x0 + box->x1) / 2;
    t->y = ((double)box->y0 + box->y1) / 2;
    t->width = (double)box->x1 - box->x0;
    t->height = (double)box->y1 - box->y0;
    t->cosine = upright ? 1 : cos((double)roll_rad);
    t->sine = upright ? 0 : sin((double)roll_rad);
}

// Where the frame's (x, y) lies in the face.
static inline void ls_turn_face(double *u, double *v, const struct ls_turn *t, double x, double y)
{
    double dx = x - t->x, dy = y - t->y;

    *u = 96 * ((dx * t->cosine + dy * t->sine) / t->width + 0.5);
    *v = 96 * ((dy * t->cosine - dx * t->sine) / t->height + 0.5);
}

// Where the face's (u, v) lies in the frame.
static inline void ls_turn_frame(double *x, double *y, const struct ls_turn *t, double u, double v)
{
    double across = (u / 96 - 0.5) * t->width, down = (v / 96 - 0.5) * t->height;

    *x = t->x + across * t->cosine - down * t->sine;
    *y = t->y + across * t->sine + down * t->cosine;
}

#endif
