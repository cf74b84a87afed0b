// SPDX-License-Identifier: Apache-2.0
// Masks and colour match of the default paste, and the original's truncations. The masks' formulas
// stand in mask.h. Any thread.
#include "paste.h"

#include <math.h>

#include "mask.h"

enum { SIZE = LS_FACE_SIZE };

void ls_paste_mask(float *alpha, const struct ls_paste *paste)
{
    float across[SIZE];

    for (int x = 0; x < SIZE; x++)
        across[x] = ls_mask_term(paste, 0, x);
    for (int y = 0; y < SIZE; y++) {
        float down = ls_mask_term(paste, 1, y);

        for (int x = 0; x < SIZE; x++)
            alpha[y * SIZE + x] = ls_mask_opacity(paste, x, y, across[x] + down);
    }
}

// Pixels whose centres lie within `reach` of `centre`; the slack is for the formulas' rounding.
static void span(int *first, int *end, float centre, float reach)
{
    const float slack = 1 / 64.0f;

    *first = (int)fminf(fmaxf(ceilf(centre - reach - 0.5f - slack), 0), SIZE);
    *end = (int)fminf(fmaxf(floorf(centre + reach - 0.5f + slack) + 1, 0), SIZE);
}

void ls_paste_extent(struct ls_int_box *out, const struct ls_paste *paste)
{
    struct ls_int_box box = {0, 0, SIZE, SIZE};

    if (!paste->exact && paste->mask == LS_MASK_LOWER_FACE) {
        span(&box.x0, &box.x1, 48, 44);
        span(&box.y0, &box.y1, 70, 28);
    } else if (!paste->exact && paste->mask == LS_MASK_MOUTH) {
        float radii = 0.95f + ls_mask_feather(paste) / 2;

        span(&box.x0, &box.x1, paste->mouth[0] * SIZE, ls_mask_radius(paste, 0) * radii);
        span(&box.y0, &box.y1, paste->mouth[1] * SIZE, ls_mask_radius(paste, 1) * radii);
    }
    if (box.x0 >= box.x1 || box.y0 >= box.y1)
        box = (struct ls_int_box){0, 0, 0, 0};
    *out = box;
}

void ls_paste_reads(struct ls_int_box *out, const struct ls_paste *paste)
{
    struct ls_int_box box;

    ls_paste_extent(&box, paste);
    out->x0 = box.x0 > 0 ? box.x0 - 1 : 0;
    out->y0 = box.y0 > 0 ? box.y0 - 1 : 0;
    out->x1 = box.x1 < SIZE ? box.x1 + 1 : SIZE;
    out->y1 = box.y1 < SIZE ? box.y1 + 1 : SIZE;
}

int ls_paste_row_first(const struct ls_paste *paste)
{
    struct ls_int_box box;

    ls_paste_reads(&box, paste);
    return box.y0;
}

// Mean of source - face over the soft edge, which weighs most where the mask is half open. Zero for
// a mask without one. Of the face nothing is looked at outside the mask: it may not be there.
static void edge_difference(float difference[3], const struct ls_paste *paste, const float *alpha)
{
    double sum[3] = {0}, weight_sum = 0;

    for (int i = 0; i < SIZE * SIZE; i++) {
        double a = alpha[i] / paste->strength, weight = a * (1 - a);

        if (weight == 0)
            continue;
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
