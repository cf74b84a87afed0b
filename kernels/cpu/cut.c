// SPDX-License-Identifier: Apache-2.0
// The rectangles of cut.h. Any thread. What surprises: a place may hold more than is needed of it,
// for a convolution makes all that its source suffices for, so that nothing has to be skipped; only
// interleaving and copying take no more than is needed.
#include "cut.h"

#include <stdlib.h>

struct range {
    int first, end; // empty: first >= end
};

static int size_of(const struct ls_net_node *node, int axis)
{
    return axis ? node->w_out : node->h_out;
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

// True if parts can be left out here: a part of the result then reads a part of the source. For
// transposed convolutions it says that no phase begins with padding.
static bool can_cut(const struct ls_net_node *node, const struct ls_plan_params *params)
{
    const struct ls_net_layer *l = node->layer;

    if (node->h_out < params->height_min)
        return false;
    for (int d = 0; d < 2; d++) {
        if ((l->op == LS_NET_CONV || l->op == LS_NET_DWCONV) && l->stride[d] != 1)
            return false;
        if (l->op == LS_NET_TCONV && l->kernel[d] - l->stride[d] != l->pad[d])
            return false;
    }
    return l->op == LS_NET_CONV || l->op == LS_NET_DWCONV || l->op == LS_NET_TCONV ||
           l->op == LS_NET_CONCAT;
}

// What of its sources (of `size`) a row of the table needs for its own part.
static struct range needed_of(const struct ls_net_node *node, struct range own, int d, int size,
                              const struct ls_plan_params *params)
{
    const struct ls_net_layer *l = node->layer;

    if (own.first >= own.end)
        return own;
    if (!can_cut(node, params))
        return (struct range){0, size};
    if (l->op == LS_NET_CONCAT)
        return own;
    if (l->op == LS_NET_TCONV) // output o reads inputs (o + pad - tap) / stride
        return (struct range){own.first / l->stride[d],
                              smaller((own.end - 1 + l->pad[d]) / l->stride[d] + 1, size)};
    return (struct range){larger(own.first - l->pad[d], 0),
                          smaller(own.end - 1 - l->pad[d] + l->kernel[d], size)};
}

// What is stored: at least what is needed, and as much more as the sources suffice for without
// padding in place of what exists.
static struct range stored(const struct ls_plan *plan, int idx, struct range needed, int d,
                           const struct ls_plan_params *params)
{
    const struct ls_net_node *node = &plan->net->node[idx];
    const struct ls_net_layer *l = node->layer;
    const struct ls_place *a = l->op == LS_NET_INPUT ? NULL : &plan->place[l->from[0]];
    int after = l->kernel[d] - 1 - l->pad[d];

    if (!can_cut(node, params) || needed.first >= needed.end)
        return (struct range){0, size_of(node, d)};
    if (l->op == LS_NET_TCONV) {
        if (l->stride[d] > 1)
            return needed; // phases are made of all that is stored, weaving takes what is needed
        return (struct range){
            a->first[d], // each reads itself and what is before
            a->end[d] == size_of(&plan->net->node[l->from[0]], d) ? size_of(node, d) : a->end[d]};
    }
    if (l->op == LS_NET_CONCAT) {
        const struct ls_place *b = &plan->place[l->from[1]];

        return (struct range){larger(a->first[d], b->first[d]), smaller(a->end[d], b->end[d])};
    }
    return (struct range){smaller(needed.first, a->first[d] + l->pad[d]),
                          larger(needed.end, a->end[d] - after)};
}

int ls_cut_plan(struct ls_plan *plan, const struct ls_plan_params *params, struct ls_err *err)
{
    const struct ls_net *net = plan->net;
    struct range *needed = malloc(sizeof *needed * 2 * (size_t)net->node_count);

    if (!needed)
        return ls_fail(err, LS_ENOMEM, "no memory for a network's plan");
    for (int d = 0; d < 2; d++) {
        struct range *mine = needed + d * net->node_count;

        for (int i = 0; i < net->node_count; i++) {
            int size = size_of(&net->node[i], d), end = params->end[d] ? params->end[d] : size;

            mine[i] = (struct range){size, 0};
            if (net->node[i].layer->output)
                mine[i] = (struct range){params->first[d], smaller(end, size)};
        }
        for (int i = net->node_count - 1; i >= 0; i--)
            for (int k = 0; k < 2; k++) {
                int from = net->node[i].layer->from[k];
                struct range r;

                if (from < 0)
                    continue;
                r = needed_of(&net->node[i], mine[i], d, size_of(&net->node[from], d), params);
                mine[from].first = smaller(mine[from].first, r.first);
                mine[from].end = larger(mine[from].end, r.end);
            }
        for (int i = 0; i < net->node_count; i++) {
            struct range r = stored(plan, i, mine[i], d, params);

            plan->place[i].first[d] = r.first;
            plan->place[i].end[d] = r.end;
        }
    }
    free(needed);
    return LS_OK;
}

void ls_cut_phases(int *h, int *w, const struct ls_plan *plan, int idx)
{
    const struct ls_net_node *node = &plan->net->node[idx];
    const struct ls_net_layer *l = node->layer;
    const struct ls_place *from = &plan->place[l->from[0]];
    int made[2];

    for (int d = 0; d < 2; d++) {
        bool all = from->end[d] == size_of(&plan->net->node[l->from[0]], d);

        made[d] =
            (all ? size_of(node, d) : from->end[d] * l->stride[d]) - from->first[d] * l->stride[d];
    }
    *h = made[0];
    *w = made[1];
}
