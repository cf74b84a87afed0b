// SPDX-License-Identifier: Apache-2.0
// Lays a network out: a place for each result, a step for each piece of work. memory.c then decides
// what runs item by item and which buffers share memory. Any thread.
// A stride-2 transposed convolution becomes four small ordinary ones, one for each parity of the
// output's row and column, because oneDNN's own transposed kernels are two to five times slower
// than that; a step of ours interleaves the four results.
#include "plan.h"

#include <stdlib.h>

#include "cut.h"
#include "memory.h"
#include "values.h"

static int round_up(int value, int unit)
{
    return (value + unit - 1) / unit * unit;
}

static bool is_identity(const struct ls_place *place, int count)
{
    for (int i = 0; i < count; i++)
        if (place->channel[i] != i)
            return false;
    return true;
}

// Fills one node's place except buffer and offset.
static int place_shape(struct ls_plan *plan, int idx, struct ls_err *err)
{
    const struct ls_net_node *node = &plan->net->node[idx];
    const struct ls_net_layer *layer = node->layer;
    struct ls_place *p = &plan->place[idx];
    const struct ls_place *a = layer->op == LS_NET_INPUT ? NULL : &plan->place[layer->from[0]];
    const struct ls_place *b = layer->from[1] < 0 || !a ? NULL : &plan->place[layer->from[1]];
    int a_count = a ? plan->net->node[layer->from[0]].c_out : 0;

    p->h = p->end[0] - p->first[0];
    p->w = p->end[1] - p->first[1];
    p->channel = malloc(sizeof *p->channel * (size_t)node->c_out);
    if (!p->channel)
        return ls_fail(err, LS_ENOMEM, "no memory for a network's plan");
    for (int i = 0; i < node->c_out; i++)
        p->channel[i] = i;
    p->c = round_up(node->c_out, plan->block);
    switch (layer->op) {
    case LS_NET_INPUT:
        p->plain = true;
        p->c = node->c_out;
        return 0;
    case LS_NET_CONV:
    case LS_NET_TCONV:
        return 0;
    case LS_NET_CONCAT:
        if (a->plain || b->plain)
            break;
        p->c = a->c + b->c;
        for (int i = 0; i < node->c_out; i++)
            p->channel[i] = i < a_count ? a->channel[i] : a->c + b->channel[i - a_count];
        return 0;
    case LS_NET_DWCONV:
    case LS_NET_MAXPOOL:
        if (a->plain)
            break;
        p->c = a->c;
        for (int i = 0; i < node->c_out; i++)
            p->channel[i] = a->channel[i];
        return 0;
    case LS_NET_UPADD:
    case LS_NET_ADD:
        if (a->plain || b->plain || !is_identity(a, a_count) ||
            !is_identity(b, plan->net->node[layer->from[1]].c_out))
            break;
        return 0;
    }
    return ls_fail(err, LS_EINTERNAL, "%s: row %d has sources that this back end cannot lay out",
                   plan->net->spec->name, idx);
}

static int add_buffer(struct ls_plan *plan, size_t item_size)
{
    plan->buffer[plan->buffer_count].item_size = (item_size + 63) / 64 * 64; // whole cache lines
    return plan->buffer_count++;
}

// Gives each source of a concatenation its range there, the last table row first, so that the outer
// one of two nested ones has its place before the inner one asks.
static void place_buffers(struct ls_plan *plan)
{
    for (int i = plan->net->node_count - 1; i >= 0; i--) {
        const struct ls_net_layer *layer = plan->net->node[i].layer;
        struct ls_place *p = &plan->place[i];
        size_t plane = (size_t)p->h * p->w * ls_value_size(p->value);

        if (p->buffer < 0)
            p->buffer = add_buffer(plan, (size_t)p->c * plane);
        if (layer->op != LS_NET_CONCAT || plan->narrow == LS_VALUE_U8)
            continue;
        for (int k = 0; k < 2; k++) {
            struct ls_place *source = &plan->place[layer->from[k]];

            if (source->buffer >= 0 || source->h != p->h || source->w != p->w ||
                source->value != p->value)
                continue; // part of another one, larger, or to be narrowed: copied
            source->buffer = p->buffer;
            source->offset = p->offset + (k ? (size_t)plan->place[layer->from[0]].c * plane : 0);
        }
    }
}

static struct ls_step *add_step(struct ls_plan *plan, enum ls_step_kind kind, int node)
{
    struct ls_step *step = &plan->step[plan->step_count++];

    step->kind = kind;
    step->node = node;
    return step;
}

struct ls_conv_shape ls_plan_shape(const struct ls_plan *plan, int idx)
{
    const struct ls_net_node *node = &plan->net->node[idx];
    const struct ls_net_layer *layer = node->layer;
    const struct ls_place *from = &plan->place[layer->from[0]];
    struct ls_conv_shape s = {.c_in = from->c,
                              .h_in = from->h,
                              .w_in = from->w,
                              .c_out = plan->place[idx].c,
                              .h_out = plan->place[idx].h,
                              .w_out = plan->place[idx].w,
                              .depthwise = layer->op == LS_NET_DWCONV};

    for (int d = 0; d < 2; d++) {
        s.kernel[d] = layer->kernel[d];
        s.stride[d] = layer->stride[d];
        s.pad_first[d] = layer->pad[d];
        s.pad_last[d] = layer->pad[d] + layer->pad_end_extra;
        if (layer->op == LS_NET_TCONV || layer->stride[d] != 1)
            continue;
        // Where a part is made, what its source has around it takes the padding's place.
        s.pad_first[d] += from->first[d] - plan->place[idx].first[d];
        s.pad_last[d] =
            plan->place[idx].end[d] - from->end[d] + layer->kernel[d] - 1 - layer->pad[d];
    }
    return s;
}

// Phase `parity` of a transposed convolution along one axis: output 's t + parity' reads input
// 't + q - j' with tap 'k0 + s j', an ordinary convolution with the taps in reverse order.
static bool phase_axis(struct ls_conv_shape *s, int d, int parity, int in, int *out)
{
    int step = s->stride[d], pad = s->pad_first[d], k0 = (parity + pad) % step;
    int taps = k0 < s->kernel[d] ? (s->kernel[d] - k0 + step - 1) / step : 0;
    int q = (parity + pad - k0) / step;

    *out = (*out - parity + step - 1) / step;
    s->kernel[d] = taps;
    s->stride[d] = 1;
    s->pad_first[d] = taps - 1 - q;
    s->pad_last[d] = *out + q - in;
    return taps > 0 && s->pad_first[d] >= 0 && s->pad_last[d] >= 0 && *out > 0;
}

// From a single pixel without padding each output pixel is one matrix product: a 1x1 convolution to
// c_out * kernel channels, whose blocks come out in the very order of the [h][w] result.
static bool is_product(const struct ls_conv_shape *s)
{
    return s->h_in == 1 && s->w_in == 1 && !s->pad_first[0] && !s->pad_first[1] &&
           s->h_out == s->kernel[0] && s->w_out == s->kernel[1];
}

// A convolution of narrow numbers reads a copy where its source is floats; made once, before the
// first.
static void narrow_source(struct ls_plan *plan, int idx)
{
    int source = plan->net->node[idx].layer->from[0];
    struct ls_place *from = &plan->place[source];

    if (!ls_values_narrow(plan, idx) || from->value == plan->narrow || from->narrowed >= 0)
        return;
    from->narrowed =
        add_buffer(plan, (size_t)from->c * from->h * from->w * ls_value_size(plan->narrow));
    add_step(plan, LS_STEP_NARROW, source);
}

static struct ls_step *add_conv(struct ls_plan *plan, int idx)
{
    struct ls_step *step = add_step(plan, LS_STEP_CONV, idx);

    step->narrow = ls_values_narrow(plan, idx);
    return step;
}

static int transposed_steps(struct ls_plan *plan, int idx, struct ls_err *err)
{
    const struct ls_net_layer *layer = plan->net->node[idx].layer;
    struct ls_conv_shape whole = ls_plan_shape(plan, idx);
    int phase_count = layer->stride[0] * layer->stride[1], first;
    struct ls_step *step;

    narrow_source(plan, idx);
    first = plan->buffer_count;
    ls_cut_phases(&whole.h_out, &whole.w_out, plan, idx); // weaving takes what is needed
    if (is_product(&whole)) {
        step = add_conv(plan, idx);
        step->target = idx;
        step->conv = whole;
        step->conv.c_out *= whole.kernel[0] * whole.kernel[1];
        step->conv.h_out = step->conv.w_out = step->conv.kernel[0] = step->conv.kernel[1] = 1;
        step->conv.stride[0] = step->conv.stride[1] = 1;
        step->conv.pad_last[0] = step->conv.pad_last[1] = 0;
        return 0;
    }
    for (int i = 0; i < phase_count; i++) {
        struct ls_conv_shape s = whole;

        if (!phase_axis(&s, 0, i / layer->stride[1], s.h_in, &s.h_out) ||
            !phase_axis(&s, 1, i % layer->stride[1], s.w_in, &s.w_out))
            return ls_fail(err, LS_EINTERNAL, "%s: %s: no such transposed convolution here",
                           plan->net->spec->name, layer->name);
        step = add_conv(plan, idx);
        step->part = i;
        step->phase = phase_count > 1;
        step->target = idx;
        if (step->phase)
            step->target = add_buffer(plan, (size_t)s.c_out * s.h_out * s.w_out *
                                                ls_value_size(plan->place[idx].value));
        step->conv = s;
    }
    if (phase_count > 1)
        add_step(plan, LS_STEP_WEAVE, idx)->part = first;
    return 0;
}

// Whether part k of a concatenation is written where it is wanted by whoever makes it.
static bool in_place(const struct ls_plan *plan, int idx, int k)
{
    const int *from = plan->net->node[idx].layer->from;
    const struct ls_place *p = &plan->place[idx], *source = &plan->place[from[k]];
    size_t first = k ? (size_t)plan->place[from[0]].c * p->h * p->w * ls_value_size(p->value) : 0;

    return source->buffer == p->buffer && source->offset == p->offset + first;
}

// A residual of bytes is added; all others are folded into the weights.
static bool keeps(const struct ls_plan *plan, int idx)
{
    const struct ls_net_node *node = &plan->net->node[idx];
    const struct ls_place *from = &plan->place[node->layer->from[0]];

    return plan->narrow == LS_VALUE_U8 && node->layer->residual && ls_values_narrow(plan, idx) &&
           from->c == plan->place[idx].c && is_identity(from, node->c_in);
}

static int node_steps(struct ls_plan *plan, int idx, struct ls_err *err)
{
    const struct ls_net_node *node = &plan->net->node[idx];
    const struct ls_net_layer *layer = node->layer;
    struct ls_step *step;

    if (node->residual)
        return ls_fail(err, LS_EINTERNAL, "%s: %s: plan it with folded residuals",
                       plan->net->spec->name, layer->name);
    switch (layer->op) {
    case LS_NET_INPUT:
        break;
    case LS_NET_CONV:
    case LS_NET_DWCONV:
        narrow_source(plan, idx);
        if (keeps(plan, idx))
            add_step(plan, LS_STEP_KEEP, idx);
        step = add_conv(plan, idx);
        step->keep = keeps(plan, idx);
        step->target = idx;
        step->conv = ls_plan_shape(plan, idx);
        break;
    case LS_NET_TCONV:
        return transposed_steps(plan, idx, err);
    case LS_NET_MAXPOOL:
        add_step(plan, LS_STEP_MAXPOOL, idx);
        break;
    case LS_NET_UPADD:
        add_step(plan, LS_STEP_UPADD, idx);
        break;
    case LS_NET_ADD:
        add_step(plan, LS_STEP_ADD, idx);
        break;
    case LS_NET_CONCAT:
        for (int k = 0; k < 2; k++)
            if (!in_place(plan, idx, k))
                add_step(plan, LS_STEP_COPY, idx)->part = k;
        break;
    }
    return 0;
}

static int count_steps_max(const struct ls_net *net)
{
    int count = 0;

    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_layer *l = net->node[i].layer;

        count += l->op == LS_NET_TCONV ? l->stride[0] * l->stride[1] + 2 : 3; // narrowing and all
    }
    return count;
}

int ls_plan_new(struct ls_plan **out, const struct ls_net *net, const struct ls_plan_params *params,
                struct ls_err *err)
{
    struct ls_plan *plan = calloc(1, sizeof *plan);
    int steps_max = count_steps_max(net), r = 0;

    if (!plan)
        return ls_fail(err, LS_ENOMEM, "no memory for a network's plan");
    plan->net = net;
    plan->block = params->block;
    plan->items_max = params->items_max;
    plan->narrow = params->narrow;
    plan->wants_floats = params->wants_floats;
    plan->place = calloc((size_t)net->node_count, sizeof *plan->place);
    plan->step = calloc((size_t)steps_max, sizeof *plan->step);
    plan->segment = calloc((size_t)steps_max, sizeof *plan->segment);
    plan->buffer = calloc((size_t)(net->node_count + steps_max), sizeof *plan->buffer);
    if (!plan->place || !plan->step || !plan->segment || !plan->buffer) {
        r = ls_fail(err, LS_ENOMEM, "no memory for a network's plan");
        goto done;
    }
    r = ls_cut_plan(plan, params, err);
    for (int i = 0; i < net->node_count && !r; i++) {
        plan->place[i].buffer = plan->place[i].narrowed = -1;
        r = place_shape(plan, i, err);
        plan->place[i].block = plan->narrow == LS_VALUE_U8 ? plan->place[i].c : plan->block;
    }
    if (!r)
        r = ls_values_plan(plan, params, err);
    if (r)
        goto done;
    place_buffers(plan);
    for (int i = 0; i < net->node_count && !r; i++)
        r = node_steps(plan, i, err);
    if (r)
        goto done;
    r = ls_memory_plan(plan, err);
    if (r)
        goto done;
    *out = plan;
    plan = NULL;
done:
    ls_plan_free(&plan);
    return r;
}

void ls_plan_free(struct ls_plan **plan)
{
    struct ls_plan *p = plan ? *plan : NULL;

    if (!p)
        return;
    for (int i = 0; p->place && i < p->net->node_count; i++) {
        free(p->place[i].channel);
        free(p->place[i].scale);
    }
    free(p->place);
    free(p->step);
    free(p->segment);
    free(p->buffer);
    free(p);
    *plan = NULL;
}

size_t ls_value_size(enum ls_value value)
{
    return value == LS_VALUE_F32 ? 4 : value == LS_VALUE_BF16 ? 2 : 1;
}

size_t ls_plan_at(const struct ls_plan *plan, int buffer, int item)
{
    const struct ls_buffer *b = &plan->buffer[buffer];

    return b->offset + (b->items > 1 ? (size_t)item * b->item_size : 0);
}
