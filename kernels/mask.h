// SPDX-License-Identifier: Apache-2.0
// The masks' formulas, for hosts and devices; ls_paste_mask puts them together. With p a pixel's
// centre in the 96 px face, F = feather_px and S(t) = t^2 (3 - 2 t), t cut to 0..1:
// - MOUTH: S((0.95 + w/2 - r) / w), r = distance of p from the ellipse's centre, 1 on the ellipse,
//   w = F over the mean radius in pixels. With F = 0.6 mean radii (14 px on most faces) this is
//   S((1.25 - r) / 0.6), the mask that the demo model was tuned with.
// - LOWER_FACE: S((1 - r) / w), r = (|dx / 44|^2.6 + |dy / 28|^2.6)^(1/2.6) around (48, 70), so it
//   begins at row 42: cheeks and chin, without the corners; w = F / 36.
// - RECTANGLE: S(d / F), d = distance of p from the face's border; 1 everywhere when F = 0.
// MOUTH and LOWER_FACE take F of at least 1 and also fade at the border over F / 2, so that no mask
// that reaches it leaves an edge there. All are multiplied by strength.
#ifndef LS_MASK_H
#define LS_MASK_H

#include <math.h>

#include "backend.h"

// MOUTH's ellipse: its radius along an axis (0: x, 1: y) in face pixels, and how far outside of it,
// in radii, the mask ends.
LS_ANYWHERE float ls_mask_radius(const struct ls_paste *paste, int axis)
{
    return fmaxf(paste->mouth[2 + axis] * LS_FACE_SIZE, 1);
}

LS_ANYWHERE float ls_mask_feather(const struct ls_paste *paste) // w above
{
    float feather = fmaxf(paste->feather_px, 1);

    if (paste->mask == LS_MASK_LOWER_FACE)
        return feather / 36;
    return feather / ((ls_mask_radius(paste, 0) + ls_mask_radius(paste, 1)) / 2);
}

// What column (axis 0) or row (1) `idx` of the face adds to r's power.
LS_ANYWHERE float ls_mask_term(const struct ls_paste *paste, int axis, int idx)
{
    float at = (float)idx + 0.5f;

    if (paste->mask == LS_MASK_MOUTH) {
        float d = (at - paste->mouth[axis] * LS_FACE_SIZE) / ls_mask_radius(paste, axis);

        return d * d;
    }
    if (paste->mask == LS_MASK_LOWER_FACE)
        return powf(axis ? fabsf(at - 70) / 28 : fabsf(at - 48) / 44, 2.6f);
    return 0;
}

LS_ANYWHERE float ls_mask_smooth(float t) // S above
{
    t = fminf(fmaxf(t, 0), 1);
    return t * t * (3 - 2 * t);
}

// Opacity of the face's pixel (x, y); sum: of its column's and its row's term.
LS_ANYWHERE float ls_mask_opacity(const struct ls_paste *paste, int x, int y, float sum)
{
    float near_x = (float)(x < LS_FACE_SIZE / 2 ? x : LS_FACE_SIZE - 1 - x) + 0.5f;
    float near_y = (float)(y < LS_FACE_SIZE / 2 ? y : LS_FACE_SIZE - 1 - y) + 0.5f;
    float border = fminf(near_x, near_y), width, a;

    if (paste->mask == LS_MASK_RECTANGLE) {
        a = paste->feather_px > 0 ? ls_mask_smooth(border / paste->feather_px) : 1;
        return a * paste->strength;
    }
    width = ls_mask_feather(paste);
    if (paste->mask == LS_MASK_MOUTH)
        a = ls_mask_smooth((0.95f + width / 2 - sqrtf(sum)) / width);
    else // outside the curve without the root
        a = sum < 1 ? ls_mask_smooth((1 - powf(sum, 1 / 2.6f)) / width) : 0;
    return a * ls_mask_smooth(border / (fmaxf(paste->feather_px, 1) / 2)) * paste->strength;
}

#endif
