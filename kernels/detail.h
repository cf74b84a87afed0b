// SPDX-License-Identifier: Apache-2.0
// What a paste makes of a generated face before it is put at its place, and how a sample is mixed:
// the formulas for hosts and devices, and (detail.c) the maps for back ends of the host. With F the
// generated face * 255, C the crop (both BGR of 0..255), L = 0.114 B + 0.587 G + 0.299 R, Q = R -
// G, S(t) as in mask.h, a the mask at a pixel's centre without strength, B1, B2, B3 blurs one after
// the other (their kernels are below; edges repeat), sums over ls_paste_reads' rectangle, outside
// of which F is taken to be C and nothing below changes anything:
//
// 1 Colour. w = a (1 - a) / (1 + ((L(C) - L(F)) / 16)^2): the soft edge, but for what is not the
//   same thing there. In cells of 4 x 4 pixels, w and w (C - F) are summed, and both sums blurred
//   by a Gaussian of 2.5 cells over all cells. Their quotient (n + e m) / (q + e), with m the
//   quotient of the whole face's sums and e = 1e-4, is the difference at a cell's centre, bilinear
//   between (edges repeat; none if w sums to less than 1e-6). G = F + colour_match * difference,
//   cut to 0..255.
// 2 Change (if sharpness > 0). For L and Q: g = B1 G, c1 = B1 C, c2 = B2 c1, c3 = B3 c2; d is the
//   distance of g from the interval that c1..c3 span, so that a face that is only softer than the
//   source has not changed. e2 = d(L)^2 + d(Q)^2 / 4, p = ls_mask_lips, E = sqrt(B3 e2) and of
//   the lips as a whole W = sqrt(sum(p e2) / sum(p)). k = min(sharpness, 1) (1 - S((E - 1.5) / 3))
//   (1 - p S(2 W)); outside the rectangle 1; for sharpness 0 it is 0 everywhere. So lips are the
//   generated ones unless they are the source's own: a source that speaks itself would speak on.
// 3 Sharpness (if > 0). Bands of luma: h1 = L - B1 L, h2 = B1 L - B2 B1 L, of G and of C. With w
//   = a (1 - k) + a / 1000 and r(.) = sqrt(sum(w .^2) / sum(w)), gain i = (r(hi(C)) /
//   max(r(hi(G)), 0.3) - 1), cut to 0..1.5 (h1) and 0..1 (h2), times sharpness. G's three
//   channels get D = gain1 h1(G) + gain2 h2(G), cut so that L + D does not leave the span of L in
//   the 5 x 5 pixels around by more than a fifth of it, and the skin's texture, (1 - p) times
//   ls_detail_grain of h1(C) with 5's limit; then G is cut to 0..255.
// 4 Steepening of channels of full resolution (Y, or B, G, R). The face in the frame's channel is
//   doubled to 192 x 192 by the kernel of cubic.h (edges repeat), and three times T = T + amount e
//   (T - B1 T) is cut to l..h, the smallest and largest of the 3 x 3 around T, with e = (h - l)^2 /
//   ((h - l)^2 + 64): edges become steeper, without a halo, shading does not. amount =
//   0.75 sharpness S((q - 0.7) / 0.5) cut(2 z - 1.5), q = sqrt(sum(a h1(C)^2) / sum(a h2(C)^2)): of
//   a source that is soft itself it is nothing; z: the box's mean side in frame pixels / 96, cut:
//   to 0..1.
// 5 Grain. limit = sharpness sqrt(sum(v min(h1(C)^2, 64)) / sum(v)), v = a (1 - a) k; at a
//   place 3 - 2 p times that: lips move under their grain, skin hardly does.
// 6 A sample of the frame, s, at (u, v): with up() the kernel of cubic.h, widened where a sample
//   covers more than a map's pixel; T, C and k the maps, k cut to 0..1:
//   - full resolution: P = up(T) + (1 - k) ls_detail_grain(s - up(C)) + k (s - up(T)),
//   - chroma: P = up(G) + k (s - up(G)).
//   s is mixed with P by the mask times strength, at full resolution in light: ls_detail_blend.
//
// What surprises: the grain is the source's own, what it has beyond 96 pixels, cut to the strength
// that it has on skin: so it moves as the video's does, stands still in a still picture, and a
// drawing has none.
#ifndef LS_DETAIL_H
#define LS_DETAIL_H

#include "mask.h"
#include "paste.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LS_DETAIL_AREA = LS_FACE_SIZE * LS_FACE_SIZE,
    LS_DETAIL_FINE = 2 * LS_FACE_SIZE, // side of a doubled map
    LS_DETAIL_STEPS = 3,               // of steepening
    LS_DETAIL_CELLS = LS_FACE_SIZE / 4,
};

// The blurs' weight `at` pixels from the middle, 0 beyond their radii: binomial of 5 and of 9, and
// a triangle of 13; variances 1, 2 and 8.
enum { LS_BLUR1 = 2, LS_BLUR2 = 4, LS_BLUR3 = 6 };

LS_ANYWHERE float ls_detail_weight(int radius, int at)
{
    const float five[] = {6 / 16.0f, 4 / 16.0f, 1 / 16.0f};
    const float nine[] = {70 / 256.0f, 56 / 256.0f, 28 / 256.0f, 8 / 256.0f, 1 / 256.0f};

    at = at < 0 ? -at : at;
    if (at > radius)
        return 0;
    return radius == LS_BLUR1 ? five[at] : radius == LS_BLUR2 ? nine[at] : (float)(7 - at) / 49;
}

LS_ANYWHERE float ls_detail_cut(float v, float low, float high) // not a number gives low
{
    v = v > low ? v : low;
    return v < high ? v : high;
}

LS_ANYWHERE float ls_detail_luma(const float bgr[3])
{
    return 0.114f * bgr[0] + 0.587f * bgr[1] + 0.299f * bgr[2];
}

// How much a pixel of the mask's edge counts for the colour; difference: of luma.
LS_ANYWHERE float ls_detail_trust(float mask, float difference)
{
    float d = difference / 16;

    return mask * (1 - mask) / (1 + d * d);
}

// Distance of v from the interval that a, b and c span.
LS_ANYWHERE float ls_detail_apart(float v, float a, float b, float c)
{
    float low = a < b ? a : b, high = a < b ? b : a, apart;

    low = c < low ? c : low;
    high = c > high ? c : high;
    apart = low - v > v - high ? low - v : v - high;
    return apart > 0 ? apart : 0;
}

// k without sharpness; whole: W.
LS_ANYWHERE float ls_detail_keep(float change, float lips, float whole)
{
    return (1 - lips * ls_mask_smooth(2 * whole)) * (1 - ls_mask_smooth((change - 1.5f) / 3));
}

// wanted, made: mean squares of a band.
LS_ANYWHERE float ls_detail_gain(float wanted, float made, float most)
{
    return ls_detail_cut(sqrtf(wanted) / fmaxf(sqrtf(made), 0.3f) - 1, 0, most);
}

// The kernel's width, in pixels of a map of `size` for the whole box, where a sample covers one
// `samples`th of the box; at most so that the kernel is as wide as the map.
LS_ANYWHERE float ls_detail_widen(float samples, int size)
{
    return ls_detail_cut((float)size / samples, 1, (float)size / 4);
}

// Of a step of steepening: fine, coarse: mean squares of the source's bands.
LS_ANYWHERE float ls_detail_amount(float fine, float coarse, const struct ls_paste *paste)
{
    float w = paste->box.x1 - paste->box.x0, h = paste->box.y1 - paste->box.y0;
    float larger = sqrtf(w * h) / LS_FACE_SIZE - 1, q = sqrtf(fine / fmaxf(coarse, 1e-6f));

    return 0.75f * paste->sharpness * ls_mask_smooth((q - 0.7f) / 0.5f) *
           ls_detail_cut(2 * larger + 0.5f, 0, 1);
}

// A step of steepening: value of a doubled map, soft: its B1, low and high: of the 3 x 3 around.
// Shading is left as it is: steepened, it would show contours.
LS_ANYWHERE float ls_detail_steepen(float value, float soft, float low, float high, float amount)
{
    float span = (high - low) * (high - low);
    float v = value + amount * span / (span + 64) * (value - soft);

    v = v > low ? v : low;
    return v < high ? v : high;
}

// 5: skin: mean square of the source's finest band on skin.
LS_ANYWHERE float ls_detail_limit(float skin, const struct ls_paste *paste)
{
    return paste->sharpness * sqrtf(skin);
}

// At a place whose ls_mask_lips is `lips`.
LS_ANYWHERE float ls_detail_limit_at(float limit, float lips)
{
    return limit * (3 - 2 * lips);
}

// What of the source's finest detail may be kept where the face changed: none of what rounding the
// crop makes, and hardly more than limit.
LS_ANYWHERE float ls_detail_grain(float rest, float limit)
{
    float size = fabsf(rest) - 0.75f;

    size = size > 0 ? size : 0;
    size *= limit / (limit + size + 1e-6f);
    return rest < 0 ? -size : size;
}

// old and made mixed in light, of which a sample above `black` is taken to be the square root:
// within some percent what BT.709 and sRGB say. Below black as it is.
LS_ANYWHERE float ls_detail_blend(float old, float made, float opacity, float black)
{
    float a = fmaxf(old - black, 0), b = fmaxf(made - black, 0);
    float light = sqrtf(fmaxf(a * a + opacity * (b * b - a * a), 0));

    return old + opacity * (made - old) + (light - (a + opacity * (b - a)));
}

// The maps of a face. Some hundred KB: not for a stack.
struct ls_detail {
    float made[3][LS_DETAIL_AREA]; // G in the frame's channels
    float seen[3][LS_DETAIL_AREA]; // C in those of full resolution; G if there is no source
    float keep[LS_DETAIL_AREA];    // k
    float amount, limit;
    float fine[3][LS_DETAIL_FINE * LS_DETAIL_FINE]; // T, by ls_detail_fine
    float room[17][LS_DETAIL_AREA];                 // detail.c's
};

// 1 to 3 and 5 above. False if nothing can be written (an empty mask, strength 0): then nothing is
// filled.
bool ls_detail_make(struct ls_detail *d, const struct ls_frame *frame,
                    const struct ls_paste *paste);
// 4: d->fine[idx] of d->made[idx], where a paste can read it.
void ls_detail_fine(struct ls_detail *d, const struct ls_paste *paste, int idx);

#ifdef __cplusplus
}
#endif

#endif
