// SPDX-License-Identifier: Apache-2.0
// Shapes of a network's rows from the shapes of their sources: the usual formulas, in one place.
// Tables are ours, so a table that cannot be is an assertion; sizes depend on outside data only
// through the widths and the input's shape, and those are checked.
#include "net_shape.h"

#include <assert.h>

void ls_net_shape_in(struct ls_net *net, int idx, const struct ls_net_params *params)
{
    struct ls_net_node *node = &net->node[idx];
    const struct ls_net_layer *l = node->layer;
    int input_idx = 0;

    if (l->op == LS_NET_INPUT) {
        for (int i = 0; i < idx; i++)
            input_idx += net->node[i].layer->op == LS_NET_INPUT;
        assert(input_idx < 2);
        node->c_in = params->input[input_idx].c;
        node->h_in = params->input[input_idx].h;
        node->w_in = params->input[input_idx].w;
        assert(node->c_in > 0 && node->h_in > 0 && node->w_in > 0);
        return;
    }
    assert(l->from[0] >= 0 && l->from[0] < idx && l->from[1] < idx);
    node->c_in = net->node[l->from[0]].c_out;
    node->h_in = net->node[l->from[0]].h_out;
    node->w_in = net->node[l->from[0]].w_out;
}

static int side(const struct ls_net_layer *l, int axis, int in)
{
    if (l->op == LS_NET_TCONV)
        return (in - 1) * l->stride[axis] - 2 * l->pad[axis] + l->kernel[axis] + l->out_pad;
    in += 2 * l->pad[axis] + l->pad_end_extra;
    return in < l->kernel[axis] ? 0 : (in - l->kernel[axis]) / l->stride[axis] + 1;
}

static int fail_fit(const struct ls_net *net, int idx, const struct ls_net_node *a,
                    const struct ls_net_node *b, struct ls_err *err)
{
    return ls_fail(err, LS_EMODEL, "%s, row %d: [%d,%d,%d] and [%d,%d,%d] do not fit together",
                   net->spec->name, idx, a->c_out, a->h_out, a->w_out, b->c_out, b->h_out,
                   b->w_out);
}

// Rows with two sources.
static int shape_pair(struct ls_net *net, int idx, struct ls_err *err)
{
    struct ls_net_node *node = &net->node[idx];
    const struct ls_net_layer *l = node->layer;
    const struct ls_net_node *a = &net->node[l->from[0]];
    const struct ls_net_node *b = &net->node[l->from[1]];
    int up = l->op == LS_NET_UPADD ? 2 : 1;

    node->c_out = l->op == LS_NET_CONCAT && a->c_out && b->c_out ? a->c_out + b->c_out : a->c_out;
    if (l->op == LS_NET_CONCAT && !b->c_out)
        node->c_out = 0;
    node->h_out = up * a->h_out;
    node->w_out = up * a->w_out;
    if (b->h_out != node->h_out || b->w_out != node->w_out)
        return fail_fit(net, idx, a, b, err);
    if (!a->c_out || !b->c_out || l->op == LS_NET_CONCAT)
        return 0;
    if (b->c_out > a->c_out || (l->op == LS_NET_UPADD && b->c_out != a->c_out))
        return fail_fit(net, idx, a, b, err);
    return 0;
}

int ls_net_shape_out(struct ls_net *net, int idx, struct ls_err *err)
{
    struct ls_net_node *node = &net->node[idx];
    const struct ls_net_layer *l = node->layer;
    double taps = (double)l->kernel[0] * l->kernel[1];

    switch (l->op) {
    case LS_NET_INPUT:
        node->c_out = node->c_in;
        node->h_out = node->h_in;
        node->w_out = node->w_in;
        return 0;
    case LS_NET_UPADD:
    case LS_NET_ADD:
    case LS_NET_CONCAT:
        assert(l->from[1] >= 0);
        return shape_pair(net, idx, err);
    case LS_NET_MAXPOOL:
    case LS_NET_DWCONV:
        node->c_out = node->c_in;
        break;
    case LS_NET_CONV:
    case LS_NET_TCONV:
        break;
    }
    assert(l->kernel[0] && l->kernel[1] && l->stride[0] && l->stride[1]);
    node->h_out = side(l, 0, node->h_in);
    node->w_out = side(l, 1, node->w_in);
    if (node->h_out < 1 || node->w_out < 1)
        return ls_fail(err, LS_EMODEL, "%s, row %d: nothing is left of %dx%d", net->spec->name, idx,
                       node->h_in, node->w_in);
    assert(!l->residual || (node->h_out == node->h_in && node->w_out == node->w_in));
    if (l->op == LS_NET_CONV)
        node->mac = taps * node->c_in * node->c_out * node->h_out * node->w_out;
    else if (l->op == LS_NET_DWCONV)
        node->mac = taps * node->c_out * node->h_out * node->w_out;
    else if (l->op ==
             LS_NET_TCONV) // each input value meets every tap; those that fall outside count
        node->mac = taps * node->c_in * node->c_out * node->h_in * node->w_in;
    return 0;
}
