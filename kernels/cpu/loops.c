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
    else if (size == 16)
        memcpy(to, from, 16);
    else
        memcpy(to, from, size);
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
    int block = p->block, sy = l->stride[0], sx = l->stride[1], whole[2];
    int top = p->first[0] - source->first[0] * sy, left = p->first[1] - source->first[1] * sx;
    size_t pixel = (size_t)block * ls_value_size(p->value);

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
    int block = p->block;

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
    int block = p->block;

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
    size_t plane = (size_t)p->h * p->w;
    // In blocks the channels that both have come first; else pixel by pixel.
    size_t run = p->block == b->block ? (size_t)b->c * plane : (size_t)b->c;
    size_t all = p->block == b->block ? (size_t)p->c * plane : (size_t)p->c;

    for (size_t px = 0; px < (size_t)p->c * plane / all; px++, in += all, out += all, more += run) {
        for (size_t i = 0; i < run; i++)
            out[i] = activate(in[i] + more[i], l->act);
        for (size_t i = run; i < all; i++)
            out[i] = activate(in[i], l->act);
    }
}

// Floats as bfloat16: rounded to the nearest, halves to even.
static void to_bf16(char *restrict to, const char *restrict from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        uint16_t half;

        memcpy(&bits, from + 4 * i, sizeof bits);
        half = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
        memcpy(to + 2 * i, &half, sizeof half);
    }
}

static uint8_t to_byte(float value, float scale)
{
    float q = value / scale + 0.5f;

    return (uint8_t)(q < 0 ? 0 : q > 255 ? 255 : q);
}

// `count` neighbouring values; with bytes they are a pixel's channels, and scale is theirs.
static void convert(char *restrict to, enum ls_value to_value, const char *restrict from,
                    enum ls_value from_value, const float *scale, size_t count)
{
    if (to_value == from_value) {
        copy_pixel(to, from, count * ls_value_size(to_value));
    } else if (to_value == LS_VALUE_BF16) {
        to_bf16(to, from, count);
    } else if (to_value == LS_VALUE_U8) {
        const float *values = (const float *)(const void *)from;

        for (size_t i = 0; i < count; i++)
            ((uint8_t *)to)[i] = to_byte(values[i], scale[i]);
    } else {
        float *values = (float *)(void *)to;

        assert(from_value == LS_VALUE_U8); // nothing widens bfloat16
        for (size_t i = 0; i < count; i++)
            values[i] = scale[i] * ((const uint8_t *)from)[i];
    }
}

static void narrow(const struct ls_plan *plan, const struct ls_step *step, void *base, int item)
{
    const struct ls_place *p = &plan->place[step->node];
    char *to = (char *)base + ls_plan_at(plan, p->narrowed, item);
    const char *from = place_at(plan, step->node, base, item);
    size_t plane = (size_t)p->h * p->w, c = (size_t)p->c;

    if (plan->narrow == LS_VALUE_BF16) {
        to_bf16(to, from, c * plane);
        return;
    }
    if (!p->plain) {
        for (size_t i = 0; i < plane; i++, to += c, from += c * sizeof(float))
            convert(to, LS_VALUE_U8, from, LS_VALUE_F32, p->scale, c);
        return;
    }
    for (size_t k = 0; k < c; k++) {
        const float *values = (const float *)(const void *)from + k * plane;

        for (size_t i = 0; i < plane; i++)
            ((uint8_t *)to)[i * c + k] = to_byte(values[i], p->scale[k]);
    }
}

// The rows and columns that `p` stores, out of a place that may store more of them, never less:
// `from` is its beginning, `to` where its first channel goes.
static void copy_part(char *to, const struct ls_place *p, const char *from,
                      const struct ls_place *source, enum ls_value source_value)
{
    size_t in = ls_value_size(source_value), out = ls_value_size(p->value);
    size_t from_row = (size_t)source->w * source->block * in;
    bool rows =
        source->block == p->block && (source_value == p->value || p->value == LS_VALUE_BF16);
    size_t run = (size_t)source->block * (rows ? p->w : 1);

    from += (p->first[0] - source->first[0]) * from_row +
            (size_t)(p->first[1] - source->first[1]) * source->block * in;
    for (int cb = 0; cb < source->c / source->block; cb++)
        for (int y = 0; y < p->h; y++) {
            const char *line = from + ((size_t)cb * source->h + y) * from_row;
            char *row = to + ((size_t)cb * p->h + y) * p->w * p->block * out;

            for (size_t x = 0; x < (rows ? 1 : (size_t)p->w); x++)
                convert(row + x * p->block * out, p->value, line + x * run * in, source_value,
                        source->scale, run);
        }
}

static void copy(const struct ls_plan *plan, const struct ls_step *step, void *base, int item)
{
    const struct ls_net_layer *l = plan->net->node[step->node].layer;
    const struct ls_place *p = &plan->place[step->node], *from = &plan->place[l->from[step->part]];
    char *to = place_at(plan, step->node, base, item);
    size_t before = step->part ? (size_t)plan->place[l->from[0]].c : 0; // channels

    before *= plan->narrow == LS_VALUE_U8 ? 1 : (size_t)p->h * p->w;
    copy_part(to + before * ls_value_size(p->value), p,
              place_at(plan, l->from[step->part], base, item), from, from->value);
}

static void keep(const struct ls_plan *plan, const struct ls_step *step, void *base, int item)
{
    int source = plan->net->node[step->node].layer->from[0];
    const struct ls_place *p = &plan->place[step->node], *from = &plan->place[source];
    bool narrowed = from->narrowed >= 0 && p->value == LS_VALUE_U8;

    copy_part(place_at(plan, step->node, base, item), p,
              narrowed ? (char *)base + ls_plan_at(plan, from->narrowed, item)
                       : place_at(plan, source, base, item),
              from, narrowed ? LS_VALUE_U8 : from->value);
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
    case LS_STEP_KEEP:
        keep(plan, step, base, item);
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
    int block = p->block;

    assert(p->value == LS_VALUE_F32);
    for (int c = 0; c < plan->net->node[node].c_out; c++) {
        const float *from = in + p->channel[c] / block * plane * block + p->channel[c] % block;

        for (size_t i = 0; i < plane; i++)
            out[c * plane + i] = from[i * block];
    }
}
