// SPDX-License-Identifier: Apache-2.0
// Cuts the face out of a frame: the reference's bilinear sampling with its positions worked out
// once a row and once a column, in float. Differs from the reference by rounding only, at most 1 of
// 255. Any thread.
#include "cpu.h"

#include <math.h>

#include "../colour.h"
#include "../ref/ref.h"

enum { SIZE = LS_FACE_SIZE };

// Positions along one axis of a plane: between samples at `first` and `second`, in bytes.
struct axis {
    int first[SIZE], second[SIZE];
    float part[SIZE];
};

// Face pixel i lies at ((from + (i + 0.5) * step) - shift) / scale in the plane's samples.
static void axis_init(struct axis *a, double from, double to, double scale, double shift, int size,
                      int stride)
{
    double step = (to - from) / SIZE;

    for (int i = 0; i < SIZE; i++) {
        double at = fmin(fmax((from + (i + 0.5) * step - shift) / scale, 0), size - 1);
        int whole = (int)at;

        a->first[i] = whole * stride;
        a->second[i] = (whole + 1 < size ? whole + 1 : whole) * stride;
        a->part[i] = (float)(at - whole);
    }
}

static void sample_row(float *out, const uint8_t *data, const struct axis *x, const struct axis *y,
                       int row)
{
    const uint8_t *top = data + y->first[row], *low = data + y->second[row];

    for (int i = 0; i < SIZE; i++) {
        float a = top[x->first[i]] + x->part[i] * (float)(top[x->second[i]] - top[x->first[i]]);
        float b = low[x->first[i]] + x->part[i] * (float)(low[x->second[i]] - low[x->first[i]]);

        out[i] = a + y->part[row] * (b - a);
    }
}

static uint8_t to_byte(float v)
{
    // not fminf and fmaxf: they are calls, for the sake of not-a-numbers, and took a third of the
    // time
    return (uint8_t)((v > 0 ? v < 255 ? v : 255 : 0) + 0.5f);
}

static void crop_rgb24(uint8_t *out, const struct ls_frame *f, const struct ls_box *box)
{
    struct axis x, y;
    float row[SIZE];

    axis_init(&x, box->x0, box->x1, 1, 0.5, f->width_px, 3);
    axis_init(&y, box->y0, box->y1, 1, 0.5, f->height_px, f->stride[0]);
    for (int j = 0; j < SIZE; j++)
        for (int c = 0; c < 3; c++) {
            sample_row(row, f->plane[0] + 2 - c, &x, &y, j);
            for (int i = 0; i < SIZE; i++)
                out[(j * SIZE + i) * 3 + c] = to_byte(row[i]);
        }
}

static void crop_i420(uint8_t *out, const struct ls_frame *f, const struct ls_box *box)
{
    int chroma_width = (f->width_px + 1) / 2, chroma_height = (f->height_px + 1) / 2;
    struct axis x[3], y[3];
    struct ls_colour colour;
    float row[3][SIZE];

    ls_colour_init(&colour, f);
    axis_init(&x[0], box->x0, box->x1, 1, 0.5, f->width_px, 1);
    axis_init(&y[0], box->y0, box->y1, 1, 0.5, f->height_px, f->stride[0]);
    for (int p = 1; p < 3; p++) { // chroma sample (i, j) has its centre at luma's (2 i, 2 j + 0.5)
        axis_init(&x[p], box->x0, box->x1, 2, 0.5, chroma_width, 1);
        axis_init(&y[p], box->y0, box->y1, 2, 1, chroma_height, f->stride[p]);
    }
    for (int j = 0; j < SIZE; j++) {
        for (int p = 0; p < 3; p++)
            sample_row(row[p], f->plane[p], &x[p], &y[p], j);
        for (int i = 0; i < SIZE; i++) {
            float bgr[3];

            ls_colour_bgr(bgr, &colour, (const float[]){row[0][i], row[1][i], row[2][i]});
            for (int c = 0; c < 3; c++)
                out[(j * SIZE + i) * 3 + c] = to_byte(bgr[c]);
        }
    }
}

int ls_cpu_crop(uint8_t *out, const struct ls_frame *frame, const struct ls_box *box,
                float roll_rad, bool exact, struct ls_err *err)
{
    if (exact)
        return ls_ref_crop(out, frame, box, roll_rad, exact, err);
    if (frame->format == LS_PIX_RGB24)
        crop_rgb24(out, frame, box);
    else
        crop_i420(out, frame, box);
    return LS_OK;
}
