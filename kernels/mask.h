// SPDX-License-Identifier: Apache-2.0
// The masks' formulas, for hosts and devices. With p = (u, v) a place in the 96 px face, F =
// feather_px of at least 1, (cx, cy, rx, ry) the paste's mouth in face pixels, r = distance of p
// from (cx, cy) in units of an ellipse's radii and S(t) = t^2 (3 - 2 t), t cut to 0..1:
// - MOUTH: S((0.95 + w/2 - r) / w), radii rx and ry, w = F over the mean radius.
// - LOWER_FACE: S((1 - r) / w), radii 1.65 rx and 1.25 ry: from the nose's tip to below the chin,
//   as wide as the jaw; w as above, of these radii.
// - RECTANGLE: S(d / F), d = distance of p from the face's border, F at least 1/64: a hard edge is
//   one that has no jump, so that rounding a place decides nothing.
// MOUTH and LOWER_FACE also fade at the face's border over F / 2, so that no mask that reaches it
// leaves an edge there. Outside of 0..96 all are 0. A mouth that is not given (a radius of 0) lies
// where faces have it on average; rx and ry are at least 1. Opacity is the mask times strength.
// The lips, whatever the mask: 1 - S((r^2 - 1/2) / 1.7), about (cx, cy - 3), radii rx and 0.45 ry
// above, ry below: that far down goes the lower lip of a wide open mouth, and the skin above the
// upper one hardly moves.
#ifndef LS_MASK_H
#define LS_MASK_H

#include <math.h>

#include "backend.h"

// S above. Not by fminf and fmaxf, which are calls on a host, nor by nested conditions, which are
// not vectorised.
LS_ANYWHERE float ls_mask_smooth(float t)
{
    t = t > 0 ? t : 0;
    t = t < 1 ? t : 1;
    return t * t * (3 - 2 * t);
}

// The mouth's ellipse in face pixels; centre x, y, radius x, y.
LS_ANYWHERE void ls_mask_mouth(float mouth[4], const struct ls_paste *paste)
{
    const float *m = paste->mouth;
    bool given = m[2] > 0 && m[3] > 0;

    mouth[0] = LS_FACE_SIZE * (given ? m[0] : 0.5f);
    mouth[1] = LS_FACE_SIZE * (given ? m[1] : 0.79f);
    mouth[2] = fmaxf(LS_FACE_SIZE * (given ? m[2] : 0.2f), 1);
    mouth[3] = fmaxf(LS_FACE_SIZE * (given ? m[3] : 0.18f), 1);
}

// A mask's numbers, worked out once a face.
struct ls_mask_shape {
    float x, y, per_x, per_y; // the ellipse's centre, and 1 over its radii; both 0 of RECTANGLE
    float top, slope;         // the mask is S(top - r slope) S(d edge), d: distance to the border
    float edge;
    float lips_y, lips_per_x, lips_per_y[2]; // ls_mask_lips' ellipse; above and below its middle
};

LS_ANYWHERE void ls_mask_init(struct ls_mask_shape *s, const struct ls_paste *paste)
{
    float mouth[4], feather = fmaxf(paste->feather_px, 1), width;
    bool wide = paste->mask == LS_MASK_LOWER_FACE;

    ls_mask_mouth(mouth, paste);
    s->x = mouth[0];
    s->y = mouth[1];
    s->lips_y = mouth[1] - 3;
    s->lips_per_x = 1 / mouth[2];
    s->lips_per_y[0] = 1 / (0.45f * mouth[3]);
    s->lips_per_y[1] = 1 / mouth[3];
    if (paste->mask == LS_MASK_RECTANGLE) {
        s->per_x = s->per_y = s->slope = 0;
        s->top = 1;
        s->edge = 1 / fmaxf(paste->feather_px, 1 / 64.0f);
        return;
    }
    mouth[2] *= wide ? 1.65f : 1;
    mouth[3] *= wide ? 1.25f : 1;
    width = feather / ((mouth[2] + mouth[3]) / 2);
    s->per_x = 1 / mouth[2];
    s->per_y = 1 / mouth[3];
    s->slope = 1 / width;
    s->top = (wide ? 1 : 0.95f + width / 2) * s->slope;
    s->edge = 2 / feather;
}

// How far (u, v) lies from the face's border.
LS_ANYWHERE float ls_mask_border(float u, float v)
{
    float right = LS_FACE_SIZE - u, low = LS_FACE_SIZE - v;

    u = u < right ? u : right;
    v = v < low ? v : low;
    return u < v ? u : v;
}

// The mask at (u, v), 0..1, without strength.
LS_ANYWHERE float ls_mask_at(const struct ls_mask_shape *s, float u, float v)
{
    float x = (u - s->x) * s->per_x, y = (v - s->y) * s->per_y;
    float border = ls_mask_border(u, v);

    return ls_mask_smooth(s->top - sqrtf(x * x + y * y) * s->slope) *
           ls_mask_smooth(border * s->edge);
}

// 1 on the lips, where a small change counts, and 0 away from them.
LS_ANYWHERE float ls_mask_lips(const struct ls_mask_shape *s, float u, float v)
{
    float x = (u - s->x) * s->lips_per_x, y = v - s->lips_y;

    y *= y < 0 ? s->lips_per_y[0] : s->lips_per_y[1];
    return 1 - ls_mask_smooth((x * x + y * y - 0.5f) / 1.7f);
}

#endif
