// SPDX-License-Identifier: Apache-2.0
// The turn of a face and its upright box. Flow: smooth -> here. What surprises: detectors differ.
// YuNet puts an upright box around the turned face; BlazeFace's box keeps its shape, shrinks, and
// is drawn towards the face's upper side. Measured on 17 people (film, photographs and the shared
// GRID clips), each turned by -35..35 degrees in steps of 5.
#include "roll.h"

#include <math.h>

// Angles pass up to the first as they are, then approach the first and the second together.
static const float plain_rad = 0.4363f, beyond_rad = 0.1745f; // 25 and 10 degrees
// Below the first a head counts as upright, from the second on as turned by all that it is: people
// hold their heads like that all the time, the generator does not mind, and an upright face is cut
// out and put back in under half the time (0.6 instead of 1.3 ms, one core, 300 px).
static const float upright_rad = 0.0349f, turned_rad = 0.1047f; // 2 and 6 degrees

static float soft_limit(float rad)
{
    float size = fabsf(rad);

    if (size > plain_rad)
        size = plain_rad + beyond_rad * tanhf((size - plain_rad) / beyond_rad);
    return copysignf(size, rad);
}

static float without_small(float rad)
{
    float t = fminf(fmaxf((fabsf(rad) - upright_rad) / (turned_rad - upright_rad), 0), 1);

    return rad * t * t * (3 - 2 * t);
}

// The sides of the ellipse that touches the box when it is turned: W^2 = w^2 c^2 + h^2 s^2 and
// H^2 = w^2 s^2 + h^2 c^2 for w and h.
static void inside(float *width, float *height, float c, float s)
{
    float ww = *width * *width, hh = *height * *height, c2 = c * c, s2 = s * s;
    float w2 = (ww * c2 - hh * s2) / (c2 - s2), h2 = (hh * c2 - ww * s2) / (c2 - s2);

    // A box of a real face is never that far from what it is around.
    *width = sqrtf(fminf(fmaxf(w2, 0.5f * ww), ww));
    *height = sqrtf(fminf(fmaxf(h2, 0.9f * hh), 1.5f * hh));
}

// A place in the head's own directions, in the frame's.
static void turn(float out[2], float u, float v, float c, float s)
{
    out[0] = c * u - s * v;
    out[1] = s * u + c * v;
}

// BlazeFace's mouth corners are made from the mouth's middle as if every face were upright.
static void turn_mouth(struct ls_face *face, float width, float grow, float c, float s)
{
    float *a = face->point[LS_POINT_MOUTH_R], *b = face->point[LS_POINT_MOUTH_L];
    float half[2], off[2], x = (a[0] + b[0]) / 2, y = (a[1] + b[1]) / 2;

    turn(half, grow * (b[0] - a[0]) / 2, grow * (b[1] - a[1]) / 2, c, s);
    turn(off, -0.306f * s * width, 0.68f * (1 - c) * width, c, s);
    a[0] = x + off[0] - half[0];
    a[1] = y + off[1] - half[1];
    b[0] = x + off[0] + half[0];
    b[1] = y + off[1] + half[1];
}

float ls_roll_upright(struct ls_face *face, enum ls_tilt tilt)
{
    const float *right = face->point[LS_POINT_EYE_R], *left = face->point[LS_POINT_EYE_L];
    float width = face->box.x1 - face->box.x0, height = face->box.y1 - face->box.y0;
    float x = (face->box.x0 + face->box.x1) / 2, y = (face->box.y0 + face->box.y1) / 2;
    float roll, c, s, grow, off[2] = {0, 0};

    if (!face->points_known || !(hypotf(left[0] - right[0], left[1] - right[1]) > 1))
        return 0;
    roll = soft_limit(atan2f(left[1] - right[1], left[0] - right[0]));
    c = cosf(roll);
    s = sinf(roll);
    if (tilt == LS_TILT_AROUND) {
        inside(&width, &height, c, s);
    } else {
        grow = 1 / (1 - 0.88f * (1 - c));
        width *= grow;
        height *= grow;
        turn(off, -0.12f * s * width, 0.29f * (1 - c) * width, c, s);
        turn_mouth(face, width, grow, c, s);
    }
    x += off[0];
    y += off[1];
    face->box = (struct ls_box){x - width / 2, y - height / 2, x + width / 2, y + height / 2};
    return without_small(roll);
}
