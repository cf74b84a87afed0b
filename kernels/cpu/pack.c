// SPDX-License-Identifier: Apache-2.0
// A step's weights in the order of its ordinary convolution: channels at their stored places, taps
// of a transposed convolution sorted into its phase (plan.h); as floats, or as signed bytes. Any
// thread.
#include "plan.h"

#include <math.h>
#include <stdlib.h>

struct packing {
    const struct ls_plan *plan;
    const struct ls_step *step;
    const struct ls_net_node *node;
    const int *channel; // of the source
    float *weight, *bias;
};

static void pack_depthwise(const struct packing *p)
{
    size_t taps = (size_t)p->step->conv.kernel[0] * p->step->conv.kernel[1];

    for (int c = 0; c < p->node->c_out; c++) {
        p->bias[p->channel[c]] = p->node->bias[c];
        for (size_t t = 0; t < taps; t++)
            p->weight[(size_t)p->channel[c] * taps + t] = p->node->weight[(size_t)c * taps + t];
    }
}

static void pack_ordinary(const struct packing *p)
{
    const struct ls_net_node *n = p->node;
    size_t taps = (size_t)p->step->conv.kernel[0] * p->step->conv.kernel[1];

    for (int o = 0; o < n->c_out; o++) {
        p->bias[o] = n->bias[o];
        for (int i = 0; i < n->c_in; i++) {
            const float *from = n->weight + ((size_t)o * n->c_in + i) * taps;
            float *to = p->weight + ((size_t)o * p->step->conv.c_in + p->channel[i]) * taps;

            for (size_t t = 0; t < taps; t++)
                to[t] = from[t];
        }
    }
}

// [c_in][c_out][taps] to a 1x1 convolution whose output blocks are [c_out/block][taps][block].
static void pack_product(const struct packing *p)
{
    const struct ls_net_node *n = p->node;
    int taps = n->layer->kernel[0] * n->layer->kernel[1];
    int block = p->plan->place[p->step->node].block;

    for (int o = 0; o < n->c_out; o++) {
        for (int t = 0; t < taps; t++) {
            size_t to = (size_t)(o / block * taps + t) * block + o % block;

            p->bias[to] = n->bias[o];
            for (int i = 0; i < n->c_in; i++)
                p->weight[to * p->step->conv.c_in + p->channel[i]] =
                    n->weight[((size_t)i * n->c_out + o) * taps + t];
        }
    }
}

static void pack_phase(const struct packing *p)
{
    const struct ls_net_node *n = p->node;
    const struct ls_net_layer *l = n->layer;
    const struct ls_conv_shape *s = &p->step->conv;
    int ky0 = (p->step->part / l->stride[1] + l->pad[0]) % l->stride[0];
    int kx0 = (p->step->part % l->stride[1] + l->pad[1]) % l->stride[1];

    for (int o = 0; o < n->c_out; o++) {
        p->bias[o] = n->bias[o];
        for (int i = 0; i < n->c_in; i++) {
            const float *from =
                n->weight + ((size_t)i * n->c_out + o) * l->kernel[0] * l->kernel[1];
            float *to =
                p->weight + ((size_t)o * s->c_in + p->channel[i]) * s->kernel[0] * s->kernel[1];

            for (int y = 0; y < s->kernel[0]; y++)
                for (int x = 0; x < s->kernel[1]; x++) {
                    int ky = ky0 + l->stride[0] * (s->kernel[0] - 1 - y);
                    int kx = kx0 + l->stride[1] * (s->kernel[1] - 1 - x);

                    to[y * s->kernel[1] + x] = from[ky * l->kernel[1] + kx];
                }
        }
    }
}

int ls_plan_weights(float **weight, float **bias, const struct ls_plan *plan,
                    const struct ls_step *step, struct ls_err *err)
{
    const struct ls_conv_shape *s = &step->conv;
    struct packing p = {.plan = plan, .step = step, .node = &plan->net->node[step->node]};
    size_t per_output = (size_t)(s->depthwise ? 1 : s->c_in) * s->kernel[0] * s->kernel[1];

    p.channel = plan->place[p.node->layer->from[0]].channel;
    p.weight = calloc((size_t)s->c_out * per_output, sizeof *p.weight);
    p.bias = calloc((size_t)s->c_out, sizeof *p.bias);
    if (!p.weight || !p.bias) {
        free(p.weight);
        free(p.bias);
        return ls_fail(err, LS_ENOMEM, "no memory for a layer's weights");
    }
    if (s->depthwise)
        pack_depthwise(&p);
    else if (p.node->layer->op == LS_NET_CONV)
        pack_ordinary(&p);
    else if (s->c_out > plan->place[step->node].c)
        pack_product(&p);
    else
        pack_phase(&p);
    *weight = p.weight;
    *bias = p.bias;
    return 0;
}

// One channel of a result: what its weights are multiplied with is taken in, the largest becomes
// 127.
static void narrow_channel(struct ls_plan_bytes *b, int o, float *weight,
                           const struct ls_plan *plan, const struct ls_step *step)
{
    const struct ls_place *from = &plan->place[plan->net->node[step->node].layer->from[0]];
    const struct ls_place *to = &plan->place[step->node];
    int taps = step->conv.kernel[0] * step->conv.kernel[1];
    float largest = 0, unit;

    if (step->keep) // is added
        weight[o * taps + taps / 2] -= 1;
    for (int i = 0; i < step->conv.c_in; i++)
        for (int t = 0; t < taps; t++) {
            float *w = &weight[i * taps + t];

            *w *= from->scale[i];
            largest = fmaxf(largest, fabsf(*w));
        }
    unit = largest > 0 ? largest / 127 : 1;
    for (int i = 0; i < step->conv.c_in * taps; i++)
        b->weight[(size_t)o * step->conv.c_in * taps + i] = (int8_t)lrintf(weight[i] / unit);
    b->bias[o] /= unit;
    b->scale[o] = to->value == LS_VALUE_U8 ? unit / to->scale[0] : unit;
}

int ls_plan_bytes(struct ls_plan_bytes *out, const struct ls_plan *plan, const struct ls_step *step,
                  struct ls_err *err)
{
    const struct ls_conv_shape *s = &step->conv;
    size_t per_output = (size_t)s->c_in * s->kernel[0] * s->kernel[1], count = (size_t)s->c_out;
    float *weight = NULL, *bias = NULL;
    int r = ls_plan_weights(&weight, &bias, plan, step, err);

    if (r < 0)
        return r;
    out->scale = malloc(2 * count * sizeof(float) + count * per_output);
    if (!out->scale) {
        r = ls_fail(err, LS_ENOMEM, "no memory for a layer's weights");
        goto done;
    }
    out->bias = out->scale + count;
    out->weight = (int8_t *)(out->bias + count);
    for (size_t o = 0; o < count; o++) {
        out->bias[o] = bias[o];
        narrow_channel(out, (int)o, weight + o * per_output, plan, step);
    }
done:
    free(weight);
    free(bias);
    return r;
}
