// SPDX-License-Identifier: Apache-2.0
// Masks and colour match of the default paste, and the original's truncations. With p a pixel's
// centre in the 96 px face, F = feather_px and S(t) = t^2 (3 - 2 t), t cut to 0..1:
// - MOUTH: S((0.95 + w/2 - r) / w), r = distance of p from the ellipse's centre, 1 on the ellipse,
//   w = F over the mean radius in pixels. With F = 0.6 mean radii (14 px on most faces) this is
//   S((1.25 - r) / 0.6), the mask that the demo model was tuned with.
// - LOWER_FACE: S((1 - r) / w), r = (|dx / 44|^2.6 + |dy / 28|^2.6)^(1/2.6) around (48, 70), so it
//   begins at row 42: cheeks and chin, without the corners; w = F / 36.
// - RECTANGLE: S(d / F), d = distance of p from the face's border; 1 everywhere when F = 0.
// MOUTH and LOWER_FACE take F of at least 1 and also fade at the border over F / 2, so that no mask
// that reaches it leaves an edge there. All are multiplied by strength.
#include "paste.h"

#include <math.h>

enum { SIZE = LS_FACE_SIZE };

static float smooth(float t)
{
    t = fminf(fmaxf(t, 0), 1);
    return t * t * (3 - 2 * t);
}

static float mouth_alpha(const struct ls_paste *paste, float feather, float x, float y)
{
    float rx = fmaxf(paste->mouth[2] * SIZE, 1), ry = fmaxf(paste->mouth[3] * SIZE, 1);
    float dx = (x - paste->mouth[0] * SIZE) / rx, dy = (y - paste->mouth[1] * SIZE) / ry;
    float width = feather / ((rx + ry) / 2);

    return smooth((0.95f + width / 2 - sqrtf(dx * dx + dy * dy)) / width);
}

static float lower_face_alpha(float feather, float x, float y)
{
    float dx = fabsf(x - 48) / 44, dy = fabsf(y - 70) / 28;
    float r = powf(powf(dx, 2.6f) + powf(dy, 2.6f), 1 / 2.6f);

    return smooth((1 - r) / (feather / 36));
}

void ls_paste_mask(float *alpha, const struct ls_paste *paste)
{
    float feather = fmaxf(paste->feather_px, 1);

    for (int i = 0; i < SIZE * SIZE; i++) {
        float x = (float)(i % SIZE) + 0.5f, y = (float)(i / SIZE) + 0.5f, a;
        float border = fminf(fminf(x, SIZE - x), fminf(y, SIZE - y));

        if (paste->mask == LS_MASK_MOUTH)
            a = mouth_alpha(paste, feather, x, y) * smooth(border / (feather / 2));
        else if (paste->mask == LS_MASK_LOWER_FACE)
            a = lower_face_alpha(feather, x, y) * smooth(border / (feather / 2));
        else
            a = paste->feather_px > 0 ? smooth(border / paste->feather_px) : 1;
        alpha[i] = a * paste->strength;
    }
}

// Where the masks' formulas above are zero, less the row that bilinear sampling reads beside.
int ls_paste_row_first(const struct ls_paste *paste)
{
    float feather = fmaxf(paste->feather_px, 1), top = 0;

    if (!paste->exact && paste->mask == LS_MASK_LOWER_FACE)
        top = 70 - 28;
    if (!paste->exact && paste->mask == LS_MASK_MOUTH) {
        float rx = fmaxf(paste->mouth[2] * SIZE, 1), ry = fmaxf(paste->mouth[3] * SIZE, 1);

        top = paste->mouth[1] * SIZE - ry * (0.95f + feather / (rx + ry));
    }
    return (int)fminf(fmaxf(floorf(top) - 2, 0), SIZE - 1);
}

// Mean of source - face over the soft edge, which weighs most where the mask is half open. Zero for
// a mask without one.
static void edge_difference(float difference[3], const struct ls_paste *paste, const float *alpha)
{
    double sum[3] = {0}, weight_sum = 0;

    for (int i = 0; i < SIZE * SIZE; i++) {
        double a = alpha[i] / paste->strength, weight = a * (1 - a);

        weight_sum += weight;
        for (int c = 0; c < 3; c++)
            sum[c] += weight * (paste->source[3 * i + c] - 255.0 * paste->face[3 * i + c]);
    }
    for (int c = 0; c < 3; c++)
        difference[c] = weight_sum > 1e-6 ? (float)(sum[c] / weight_sum) : 0;
}

void ls_paste_face(float *bgr, const struct ls_paste *paste, const float *alpha)
{
    float difference[3] = {0};

    if (paste->colour_match > 0 && paste->strength > 0)
        edge_difference(difference, paste, alpha);
    for (int i = 0; i < SIZE * SIZE; i++)
        for (int c = 0; c < 3; c++) {
            float v = 255 * paste->face[3 * i + c] + paste->colour_match * difference[c];

            bgr[3 * i + c] = v > 0 ? v < 255 ? v : 255 : 0;
        }
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
