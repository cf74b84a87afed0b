// SPDX-License-Identifier: Apache-2.0
// Floats, bfloat16 or bytes (values.h). Any thread.
#include "values.h"

#include <stdlib.h>

static bool is_conv(const struct ls_net_layer *l)
{
    return l->op == LS_NET_CONV || l->op == LS_NET_TCONV;
}

bool ls_values_narrow(const struct ls_plan *plan, int idx)
{
    const struct ls_net_layer *l = plan->net->node[idx].layer;
    struct ls_conv_shape shape;

    if (plan->narrow == LS_VALUE_F32 || !is_conv(l))
        return false;
    if (plan->narrow == LS_VALUE_U8)
        return plan->place[l->from[0]].scale != NULL;
    if (l->op == LS_NET_TCONV)
        return true;
    shape = ls_plan_shape(plan, idx);
    shape.h_out = plan->net->node[idx].h_out; // a cut decides nothing
    shape.w_out = plan->net->node[idx].w_out;
    // What reads the network's inputs does so in floats: they are bytes, which bfloat16 has not all
    // of, and go far through the network.
    return !plan->place[l->from[0]].plain && !plan->wants_floats(&shape);
}

// A byte's worth by channel. What may be negative has none, nor what no convolution made.
static int find_scale(struct ls_plan *plan, int idx, float range, struct ls_err *err)
{
    const struct ls_net_layer *l = plan->net->node[idx].layer;
    struct ls_place *p = &plan->place[idx];
    const struct ls_place *a = NULL, *b = NULL;

    if (l->op == LS_NET_CONCAT) {
        a = &plan->place[l->from[0]];
        b = &plan->place[l->from[1]];
        if (!a->scale || !b->scale)
            return LS_OK;
    } else if (!(range > 0) || (l->op != LS_NET_INPUT && !(is_conv(l) && l->act == LS_ACT_RELU))) {
        return LS_OK;
    }
    p->scale = malloc(sizeof *p->scale * (size_t)p->c);
    if (!p->scale)
        return ls_fail(err, LS_ENOMEM, "no memory for a network's plan");
    for (int i = 0; i < p->c; i++)
        p->scale[i] = !a ? range / 255 : i < a->c ? a->scale[i] : b->scale[i - a->c];
    return LS_OK;
}

// Consumers come before sources here.
static void find_floats(struct ls_plan *plan)
{
    for (int i = plan->net->node_count - 1; i >= 0; i--) {
        const struct ls_net_layer *l = plan->net->node[i].layer;
        bool may = plan->narrow == LS_VALUE_BF16 || plan->place[i].scale;

        plan->place[i].value =
            may && !l->output && l->op != LS_NET_INPUT ? plan->narrow : LS_VALUE_F32;
    }
    for (int i = plan->net->node_count - 1; i >= 0; i--) {
        const struct ls_net_layer *l = plan->net->node[i].layer;
        bool floats = !ls_values_narrow(plan, i);

        if (l->op == LS_NET_CONCAT)
            floats = plan->place[i].value == LS_VALUE_F32;
        else if (floats)
            plan->place[i].value = LS_VALUE_F32;
        for (int k = 0; k < 2 && floats; k++)
            if (l->from[k] >= 0)
                plan->place[l->from[k]].value = LS_VALUE_F32;
    }
}

int ls_values_plan(struct ls_plan *plan, const struct ls_plan_params *params, struct ls_err *err)
{
    int r = LS_OK;

    for (int i = 0; i < plan->net->node_count && r == LS_OK && plan->narrow == LS_VALUE_U8; i++)
        r = find_scale(plan, i, params->range[i], err);
    if (r == LS_OK && plan->narrow != LS_VALUE_F32)
        find_floats(plan);
    return r;
}
