// SPDX-License-Identifier: Apache-2.0
// Interleaving, pooling, adding, copying (loops.h). Any thread.
#include "loops.h"

#include "cut.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

static void *place_at(const struct ls_plan *plan, int node, void *base, int item)
{
    const struct ls_place *p = &plan->place[node];

    return (char *)base + ls_plan_at(plan, p->buffer, item) + p->offset;
}

static float activate(float value, enum ls_net_act act)
{
    assert(act != LS_ACT_SIGMOID); // only convolutions have it in our tables
    return act == LS_ACT_RELU && value < 0 ? 0 : value;
}

// A block's pixel is copied by a constant size, which compiles to one or two moves.
static void copy_pixel(char *to, const char *from, size_t size)
{
    if (size == 64)
        memcpy(to, from, 64);
    else if (size == 32)
        memcpy(to, from, 32);
    else
        memcpy(to, from, 16);
}

// How many of `whole` samples along an axis are of one parity.
static int phase_size(int whole, int parity, int stride)
{
    return (whole - parity + stride - 1) / stride;
}

// Reads and writes the whole result once: 2 x 2.4 MB for 64 channels of 96x96.
static void weave(const struct ls_plan *plan, const struct ls_step *step, void *base, int item)
{
    const struct ls_net_layer *l = plan->net->node[step->node].layer;
    const struct ls_place *p = &plan->place[step->node], *source = &plan->place[l->from[0]];
    char *out = place_at(plan, step->node, base, item);
    int block = plan->block, sy = l->stride[0], sx = l->stride[1], whole[2];
    int top = p->first[0] - source->first[0] * sy, left = p->first[1] - source->first[1] * sx;
    size_t pixel = (size_t)block * p->value_size;

    ls_cut_phases(&whole[0], &whole[1], plan, step->node);
    for (int cb = 0; cb < p->c / block; cb++)
        for (int y = top; y < top + p->h; y++)
            for (int px = 0; px < sx; px++) {
                int h = phase_size(whole[0], y % sy, sy), w = phase_size(whole[1], px, sx);
                int x = left + (px - left % sx + sx) % sx; // the first of this phase
                const char *from = (const char *)base +
                                   ls_plan_at(plan, step->part + y % sy * sx + px, item) +
                                   (((size_t)cb * h + y / sy) * w + x / sx) * pixel;
                char *to = out + (((size_t)cb * p->h + y - top) * p->w + x - left) * pixel;

                for (; x < left + p->w; x += sx, from += pixel, to += sx * pixel)
                    copy_pixel(to, from, pixel);
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

static void maxpool(const struct ls_plan *plan, const struct ls_step *step, void *base, int item)
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

static void upadd(const struct ls_plan *plan, const struct ls_step *step, void *base, int item)
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

static void add(const struct ls_plan *plan, const struct ls_step *step, void *base, int item)
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

// Floats as bfloat16: rounded to the nearest, halves to even.
static void narrow_values(char *restrict to, const char *restrict from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        uint16_t half;

        memcpy(&bits, from + 4 * i, sizeof bits);
        half = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
        memcpy(to + 2 * i, &half, sizeof half);
    }
}

static void narrow(const struct ls_plan *plan, const struct ls_step *step, void *base, int item)
{
    const struct ls_place *p = &plan->place[step->node];

    narrow_values((char *)base + ls_plan_at(plan, p->narrowed, item),
                  place_at(plan, step->node, base, item), (size_t)p->c * p->h * p->w);
}

// The source may hold more than the concatenation, never less; and floats for bfloat16.
static void copy(const struct ls_plan *plan, const struct ls_step *step, void *base, int item)
{
    const struct ls_net_layer *l = plan->net->node[step->node].layer;
    const struct ls_place *p = &plan->place[step->node], *from = &plan->place[l->from[step->part]];
    size_t row = (size_t)p->w * plan->block, from_row = (size_t)from->w * plan->block;
    const char *in = place_at(plan, l->from[step->part], base, item);
    char *to = place_at(plan, step->node, base, item);

    if (step->part)
        to += plan->place[l->from[0]].c / plan->block * p->h * row * p->value_size;
    in += ((p->first[0] - from->first[0]) * from_row +
           (size_t)(p->first[1] - from->first[1]) * plan->block) *
          from->value_size;
    for (int cb = 0; cb < from->c / plan->block; cb++) {
        for (int y = 0; y < p->h; y++) {
            const char *line = in + y * from_row * from->value_size;

            if (from->value_size == p->value_size)
                memcpy(to, line, row * p->value_size);
            else
                narrow_values(to, line, row);
            to += row * p->value_size;
        }
        in += from->h * from_row * from->value_size;
    }
}

void ls_loop_step(const struct ls_plan *plan, const struct ls_step *step, void *base, int item)
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
    case LS_STEP_NARROW:
        narrow(plan, step, base, item);
        break;
    case LS_STEP_CONV:
        assert(!"dnn.c runs these");
        break;
    }
}

void ls_loop_unblock(float *out, const struct ls_plan *plan, int node, const void *base, int item)
{
    const struct ls_place *p = &plan->place[node];
    const char *at = (const char *)base + ls_plan_at(plan, p->buffer, item) + p->offset;
    const float *in = (const float *)(const void *)at;
    size_t plane = (size_t)p->h * p->w;
    int block = plan->block;

    assert(p->value_size == sizeof *in);
    for (int c = 0; c < plan->net->node[node].c_out; c++) {
        const float *from = in + p->channel[c] / block * plane * block + p->channel[c] % block;

        for (size_t i = 0; i < plane; i++)
            out[c * plane + i] = from[i * block];
    }
}
