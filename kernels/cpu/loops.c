// SPDX-License-Identifier: Apache-2.0
// Interleaving, pooling, adding, copying (loops.h). Any thread.
#include "loops.h"

#include <assert.h>
#include <string.h>

static float *place_at(const struct ls_plan *plan, int node, float *base, int item)
{
    const struct ls_place *p = &plan->place[node];

    return base + ls_plan_at(plan, p->buffer, item) + p->offset;
}

static float activate(float value, enum ls_net_act act)
{
    assert(act != LS_ACT_SIGMOID); // only convolutions have it in our tables
    return act == LS_ACT_RELU && value < 0 ? 0 : value;
}

// 16-float pixels are copied by a constant size, which compiles to one or two moves.
static void copy_pixel(float *to, const float *from, int block)
{
    if (block == 16)
        memcpy(to, from, 16 * sizeof *to);
    else
        memcpy(to, from, 8 * sizeof *to);
}

// Reads and writes the whole result once: 2 x 2.4 MB for 64 channels of 96x96.
static void weave(const struct ls_plan *plan, const struct ls_step *step, float *base, int item)
{
    const struct ls_net_layer *l = plan->net->node[step->node].layer;
    const struct ls_place *p = &plan->place[step->node];
    float *out = place_at(plan, step->node, base, item);
    int block = plan->block, sy = l->stride[0], sx = l->stride[1];
    int skipped = p->row_first - plan->place[l->from[0]].row_first * sy, height = p->h + skipped;

    for (int cb = 0; cb < p->c / block; cb++)
        for (int y = skipped; y < height; y++)
            for (int px = 0; px < sx; px++) {
                int buffer = step->part + y % sy * sx + px;
                int h = (height - y % sy + sy - 1) / sy, w = (p->w - px + sx - 1) / sx;
                const float *from =
                    base + ls_plan_at(plan, buffer, item) + ((size_t)cb * h + y / sy) * w * block;
                float *to = out + (((size_t)cb * p->h + y - skipped) * p->w + px) * block;

                for (int x = 0; x < w; x++)
                    copy_pixel(to + (size_t)x * sx * block, from + (size_t)x * block, block);
            }
}

static void pool_pixel(float *to, const float *plane, const struct ls_place *from,
                       const struct ls_net_layer *l, const int *yx, int block)
{
    int y0 = yx[0] * l->stride[0] - l->pad[0], x0 = yx[1] * l->stride[1] - l->pad[1];
    bool first = true;

    for (int y = y0 < 0 ? 0 : y0; y < y0 + l->kernel[0] && y < from->h; y++)
        for (int x = x0 < 0 ? 0 : x0; x < x0 + l->kernel[1] && x < from->w; x++) {
            const float *v = plane + ((size_t)y * from->w + x) * block;

            for (int c = 0; c < block; c++)
                to[c] = first || v[c] > to[c] ? v[c] : to[c];
            first = false;
        }
}

static void maxpool(const struct ls_plan *plan, const struct ls_step *step, float *base, int item)
{
    const struct ls_net_layer *l = plan->net->node[step->node].layer;
    const struct ls_place *p = &plan->place[step->node], *from = &plan->place[l->from[0]];
    const float *in = place_at(plan, l->from[0], base, item);
    float *out = place_at(plan, step->node, base, item);
    int block = plan->block;

    for (int cb = 0; cb < p->c / block; cb++)
        for (int y = 0; y < p->h; y++)
            for (int x = 0; x < p->w; x++) {
                float *to = out + (((size_t)cb * p->h + y) * p->w + x) * block;

                pool_pixel(to, in + (size_t)cb * from->h * from->w * block, from, l,
                           (const int[]){y, x}, block);
                for (int c = 0; c < block; c++)
                    to[c] = activate(to[c], l->act);
            }
}

static void upadd(const struct ls_plan *plan, const struct ls_step *step, float *base, int item)
{
    const struct ls_net_layer *l = plan->net->node[step->node].layer;
    const struct ls_place *p = &plan->place[step->node], *a = &plan->place[l->from[0]];
    const float *small = place_at(plan, l->from[0], base, item);
    const float *large = place_at(plan, l->from[1], base, item);
    float *out = place_at(plan, step->node, base, item);
    int block = plan->block;

    for (int cb = 0; cb < p->c / block; cb++)
        for (int y = 0; y < p->h; y++)
            for (int x = 0; x < p->w; x++) {
                size_t at = (((size_t)cb * p->h + y) * p->w + x) * block;
                const float *s = small + (((size_t)cb * a->h + y / 2) * a->w + x / 2) * block;

                for (int c = 0; c < block; c++)
                    out[at + c] = activate(s[c] + large[at + c], l->act);
            }
}

static void add(const struct ls_plan *plan, const struct ls_step *step, float *base, int item)
{
    const struct ls_net_layer *l = plan->net->node[step->node].layer;
    const struct ls_place *p = &plan->place[step->node], *b = &plan->place[l->from[1]];
    const float *in = place_at(plan, l->from[0], base, item);
    const float *more = place_at(plan, l->from[1], base, item);
    float *out = place_at(plan, step->node, base, item);
    size_t both = (size_t)b->c * p->h * p->w, all = (size_t)p->c * p->h * p->w;

    for (size_t i = 0; i < both; i++)
        out[i] = activate(in[i] + more[i], l->act);
    for (size_t i = both; i < all; i++)
        out[i] = activate(in[i], l->act);
}

// The source may hold more rows than the concatenation, never fewer.
static void copy(const struct ls_plan *plan, const struct ls_step *step, float *base, int item)
{
    const struct ls_net_layer *l = plan->net->node[step->node].layer;
    const struct ls_place *p = &plan->place[step->node], *from = &plan->place[l->from[step->part]];
    size_t row = (size_t)p->w * plan->block, plane = p->h * row;
    const float *in = place_at(plan, l->from[step->part], base, item);
    float *to = place_at(plan, step->node, base, item);

    if (step->part)
        to += plan->place[l->from[0]].c / plan->block * plane;
    in += (p->row_first - from->row_first) * row;
    for (int cb = 0; cb < from->c / plan->block; cb++)
        memcpy(to + cb * plane, in + cb * from->h * row, plane * sizeof *to);
}

void ls_loop_step(const struct ls_plan *plan, const struct ls_step *step, float *base, int item)
{
    switch (step->kind) {
    case LS_STEP_WEAVE:
        weave(plan, step, base, item);
        break;
    case LS_STEP_MAXPOOL:
        maxpool(plan, step, base, item);
        break;
    case LS_STEP_UPADD:
        upadd(plan, step, base, item);
        break;
    case LS_STEP_ADD:
        add(plan, step, base, item);
        break;
    case LS_STEP_COPY:
        copy(plan, step, base, item);
        break;
    case LS_STEP_CONV:
        assert(!"dnn.c runs these");
        break;
    }
}

void ls_loop_unblock(float *out, const struct ls_plan *plan, int node, const float *base, int item)
{
    const struct ls_place *p = &plan->place[node];
    const float *in = base + ls_plan_at(plan, p->buffer, item) + p->offset;
    size_t plane = (size_t)p->h * p->w;
    int block = plan->block;

    for (int c = 0; c < plan->net->node[node].c_out; c++) {
        const float *from = in + p->channel[c] / block * plane * block + p->channel[c] % block;

        for (size_t i = 0; i < plane; i++)
            out[c * plane + i] = from[i * block];
    }
}
