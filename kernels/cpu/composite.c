// SPDX-License-Identifier: Apache-2.0
// Puts a generated face back: the reference's blend, row by row: a row of the frame meets one row
// of the face and of the mask, interpolated vertically once; rows and columns where the mask is
// zero are left out. Differs from the reference by rounding only, at most 1 of 255. A lane's masks
// are used by one thread at a time.
#include "cpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../colour.h"
#include "../paste.h"
#include "../ref/ref.h"

enum { SIZE = LS_FACE_SIZE };

// Frame samples in a strip: positions along x are worked out for this many at a time.
enum { STRIP = 256 };

// One channel of the frame: its samples, and where they lie in frame pixels.
struct channel {
    uint8_t *data;
    int stride, step, width, height; // step: bytes from sample to sample
    double scale, x_at, y_at;        // sample (i, j) lies at (scale i + x_at, scale j + y_at)
    const float *value;              // [96][96]: what to write
};

struct spot {
    int first, second; // face rows or columns
    float part;
};

static struct spot spot_at(double frame_at, double from, double per)
{
    double at = fmin(fmax((frame_at - from) * per - 0.5, 0), SIZE - 1);
    int whole = (int)at;

    return (struct spot){whole, whole + 1 < SIZE ? whole + 1 : whole, (float)(at - whole)};
}

static void find_extent(const float *alpha, int *extent) // first row, end row, first and end column
{
    extent[0] = extent[2] = SIZE;
    extent[1] = extent[3] = 0;
    for (int i = 0; i < SIZE * SIZE; i++) {
        if (alpha[i] <= 0)
            continue;
        extent[0] = i / SIZE < extent[0] ? i / SIZE : extent[0];
        extent[1] = i / SIZE + 1;
        extent[2] = i % SIZE < extent[2] ? i % SIZE : extent[2];
        extent[3] = i % SIZE + 1 > extent[3] ? i % SIZE + 1 : extent[3];
    }
}

static int find_mask(struct ls_cpu_masks *m, const struct ls_paste *p)
{
    int extent[4], i;

    for (i = 0; i < 4; i++)
        if (m->entry[i].used && m->entry[i].mask == p->mask &&
            !memcmp(m->entry[i].mouth, p->mouth, sizeof p->mouth) &&
            m->entry[i].feather_px == p->feather_px && m->entry[i].strength == p->strength)
            return i;
    i = m->next;
    m->next = (m->next + 1) % 4;
    m->entry[i].used = true;
    m->entry[i].mask = p->mask;
    memcpy(m->entry[i].mouth, p->mouth, sizeof p->mouth);
    m->entry[i].feather_px = p->feather_px;
    m->entry[i].strength = p->strength;
    ls_paste_mask(m->entry[i].alpha, p);
    find_extent(m->entry[i].alpha, extent);
    m->entry[i].first_row = extent[0];
    m->entry[i].end_row = extent[1];
    m->entry[i].first_column = extent[2];
    m->entry[i].end_column = extent[3];
    return i;
}

// First sample at or after frame position `edge`, within 0..count.
static int first_sample(double edge, double scale, double at, int count)
{
    return (int)fmin(fmax(ceil((edge - at) / scale), 0), count);
}

// Where samples can be touched: inside the box, and where the mask, which reaches half a face pixel
// beyond its last non-zero centre and fades to zero one pixel after it, is not zero. At the face's
// border the mask is continued outwards as it is.
static void reach(double *from, double *to, double box_from, double box_to, int first, int end)
{
    double pixel = (box_to - box_from) / SIZE;

    *from = first > 0 ? box_from + (first - 0.5) * pixel : box_from;
    *to = end < SIZE ? box_from + (end + 0.5) * pixel : box_to;
}

static void mix_row(float *out, const float *map, const struct spot *y)
{
    const float *a = map + y->first * SIZE, *b = map + y->second * SIZE;

    for (int i = 0; i < SIZE; i++)
        out[i] = a[i] + y->part * (b[i] - a[i]);
}

static void blend_strip(const struct channel *c, uint8_t *row, const struct spot *x, int count,
                        const float *alpha, const float *value)
{
    for (int i = 0; i < count; i++) {
        const struct spot *s = &x[i];
        uint8_t *out = row + (ptrdiff_t)i * c->step;
        float a = alpha[s->first] + s->part * (alpha[s->second] - alpha[s->first]);
        float v = value[s->first] + s->part * (value[s->second] - value[s->first]);
        float mixed = (float)*out + a * (v - (float)*out);

        // a of 0 gives *out again
        *out = (uint8_t)((mixed > 0 ? mixed < 255 ? mixed : 255 : 0) + 0.5f);
    }
}

static void blend(const struct channel *c, const struct ls_cpu_masks *masks, int mask,
                  const struct ls_box *box)
{
    double per_x = SIZE / ((double)box->x1 - box->x0), per_y = SIZE / ((double)box->y1 - box->y0);
    double x0, x1, y0, y1;
    int i1, j0, j1;

    reach(&x0, &x1, box->x0, box->x1, masks->entry[mask].first_column,
          masks->entry[mask].end_column);
    reach(&y0, &y1, box->y0, box->y1, masks->entry[mask].first_row, masks->entry[mask].end_row);
    i1 = first_sample(x1, c->scale, c->x_at, c->width);
    j0 = first_sample(y0, c->scale, c->y_at, c->height);
    j1 = first_sample(y1, c->scale, c->y_at, c->height);
    for (int i = first_sample(x0, c->scale, c->x_at, c->width); i < i1; i += STRIP) {
        int count = i1 - i < STRIP ? i1 - i : STRIP;
        struct spot x[STRIP];

        for (int k = 0; k < count; k++)
            x[k] = spot_at(c->scale * (i + k) + c->x_at, box->x0, per_x);
        for (int j = j0; j < j1; j++) {
            struct spot y = spot_at(c->scale * j + c->y_at, box->y0, per_y);
            float alpha[SIZE], value[SIZE];

            mix_row(alpha, masks->entry[mask].alpha, &y);
            mix_row(value, c->value, &y);
            blend_strip(c, c->data + (ptrdiff_t)j * c->stride + (ptrdiff_t)i * c->step, x, count,
                        alpha, value);
        }
    }
}

static void split_planes(float *plane, const float *bgr, const struct ls_frame *f)
{
    struct ls_colour colour;

    if (f->format == LS_PIX_I420)
        ls_colour_init(&colour, f);
    for (int i = 0; i < SIZE * SIZE; i++) {
        float v[3] = {bgr[3 * i], bgr[3 * i + 1], bgr[3 * i + 2]};

        if (f->format == LS_PIX_I420)
            ls_colour_yuv(v, &colour, bgr + 3 * i);
        for (int c = 0; c < 3; c++)
            plane[c * SIZE * SIZE + i] = v[c];
    }
}

int ls_cpu_composite(struct ls_cpu_masks *masks, const struct ls_frame *f,
                     const struct ls_paste *paste, struct ls_err *err)
{
    float bgr[SIZE * SIZE * 3], plane[3 * SIZE * SIZE];
    int mask;

    if (paste->exact)
        return ls_ref_composite(f, paste, err);
    mask = find_mask(masks, paste);
    ls_paste_face(bgr, paste, masks->entry[mask].alpha);
    split_planes(plane, bgr, f);
    for (int i = 0; i < 3; i++) {
        struct channel c = {
            f->plane[0] + 2 - i,    f->stride[0], 3, f->width_px, f->height_px, 1, 0.5, 0.5,
            plane + i * SIZE * SIZE};

        if (f->format == LS_PIX_I420) {
            c.data = f->plane[i];
            c.stride = f->stride[i];
            c.step = 1;
        }
        if (f->format == LS_PIX_I420 && i) {
            c.width = (f->width_px + 1) / 2;
            c.height = (f->height_px + 1) / 2;
            c.scale = 2;
            c.y_at = 1;
        }
        blend(&c, masks, mask, &paste->box);
    }
    return LS_OK;
}
