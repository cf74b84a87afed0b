// SPDX-License-Identifier: Apache-2.0
// Rectangles of a decoder that makes a part of its output. Any thread.
// A rectangle that ends inside the picture begins at an even pixel and ends after an even one:
// then the 3x3 stride-2 transposed convolution that fills it is an ordinary one with the usual
// padding, from half as many pixels, rounded up, and without an extra row: all it makes is right.
#include "region.h"

#include <assert.h>
#include <stdlib.h>

const struct ls_int_box ls_cuda_cut_box[LS_CUDA_CUTS] = {
    [LS_CUDA_CUT_WHOLE] = {0, 0, 96, 96},
    [LS_CUDA_CUT_LOWER] = {0, 33, 96, 96},
    [LS_CUDA_CUT_MOUTH] = {12, 39, 90, 96},
};

static bool contains(const struct ls_int_box *a, const struct ls_int_box *b)
{
    return a->x0 <= b->x0 && a->y0 <= b->y0 && a->x1 >= b->x1 && a->y1 >= b->y1;
}

enum ls_cuda_cut ls_cuda_cut_of(const struct ls_int_box *reads)
{
    enum ls_cuda_cut cut = LS_CUDA_CUTS - 1; // the smallest is last

    while (cut > LS_CUDA_CUT_WHOLE && !contains(&ls_cuda_cut_box[cut], reads))
        cut--;
    return cut;
}

static double area(const struct ls_int_box *b)
{
    return (double)(b->x1 - b->x0) * (b->y1 - b->y0);
}

static struct ls_int_box whole(const struct ls_net_node *node)
{
    return (struct ls_int_box){0, 0, node->w_out, node->h_out};
}

static void unite(struct ls_int_box *a, const struct ls_int_box *b)
{
    if (a->x1 <= a->x0) {
        *a = *b;
        return;
    }
    a->x0 = a->x0 < b->x0 ? a->x0 : b->x0;
    a->y0 = a->y0 < b->y0 ? a->y0 : b->y0;
    a->x1 = a->x1 > b->x1 ? a->x1 : b->x1;
    a->y1 = a->y1 > b->y1 ? a->y1 : b->y1;
}

// The row that begins the level to which row idx belongs; -1: its result is not cut.
static int leader_of(const struct ls_net *net, const int *leader, int idx)
{
    const struct ls_net_node *n = &net->node[idx];
    const struct ls_net_layer *l = n->layer;
    bool cuttable = true;

    if (l->op == LS_NET_INPUT || n->h_out < LS_CUDA_REGION_SIDE_MIN ||
        n->w_out < LS_CUDA_REGION_SIDE_MIN)
        return -1;
    for (int d = 0; d < 2; d++)
        if (l->op == LS_NET_TCONV)
            cuttable &= l->kernel[d] == 3 && l->stride[d] == 2 && l->pad[d] == 1 && l->out_pad == 1;
        else if (l->op == LS_NET_CONV)
            cuttable &= l->stride[d] == 1 && l->kernel[d] == 2 * l->pad[d] + 1;
        else
            cuttable &= l->op == LS_NET_CONCAT;
    if (!cuttable || l->pad_end_extra)
        return -1;
    return l->op == LS_NET_TCONV ? idx : leader[l->from[0]];
}

// The first and the end of the source's pixels that [*first, *end) of the result reads on an axis.
static void source_range(const struct ls_net_layer *l, int d, int size, int *first, int *end)
{
    int k = l->kernel[d], s = l->stride[d], p = l->pad[d];

    if (l->op == LS_NET_TCONV) { // result o reads i with o = i s - p + tap
        *first = (*first + p - k + s) / s;
        *end = (*end - 1 + p) / s + 1;
    } else if (l->op != LS_NET_CONCAT) {
        *first = *first * s - p;
        *end = (*end - 1) * s - p + k;
    }
    *first = *first > 0 ? *first : 0;
    *end = *end < size ? *end : size;
}

// What of each row's result is needed for what is made, from the last row to the first.
static void find_needed(struct ls_int_box *needed, const struct ls_net *net, const int *leader,
                        const struct ls_int_box *made)
{
    for (int i = net->node_count - 1; i >= 0; i--) {
        const struct ls_net_node *n = &net->node[i];
        const struct ls_net_layer *l = n->layer;
        struct ls_int_box b;

        if (l->output)
            needed[i] = *made;
        if (leader[i] < 0)
            needed[i] = whole(n);
        for (int k = 0; k < 2 && l->op != LS_NET_INPUT; k++) {
            if (l->from[k] < 0)
                continue;
            b = needed[i];
            source_range(l, 0, n->h_in, &b.y0, &b.y1);
            source_range(l, 1, n->w_in, &b.x0, &b.x1);
            unite(&needed[l->from[k]], &b);
        }
    }
}

static void widen(int *first, int *end, int size)
{
    *first &= ~1;
    if (*end < size)
        *end |= 1;
}

static void find_stored(struct ls_cuda_region *out, const struct ls_int_box *needed,
                        const struct ls_net *net, const int *leader)
{
    for (int i = 0; i < net->node_count; i++)
        if (leader[i] >= 0)
            unite(&out->stored[leader[i]], &needed[i]);
    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_node *n = &net->node[i];
        const struct ls_net_layer *l = n->layer;
        struct ls_int_box *b = &out->stored[i];

        if (leader[i] < 0) {
            *b = whole(n);
        } else if (leader[i] != i) {
            *b = out->stored[leader[i]];
        } else {
            widen(&b->x0, &b->x1, n->w_out);
            widen(&b->y0, &b->y1, n->h_out);
        }
        if (l->op == LS_NET_INPUT)
            continue;
        out->taken[i] = out->stored[l->from[0]];
        if (leader[i] == i)
            out->taken[i] =
                (struct ls_int_box){b->x0 / 2, b->y0 / 2, (b->x1 + 1) / 2, (b->y1 + 1) / 2};
        // A level's first result is its widest, so its source was asked for all of this.
        assert(contains(&out->stored[l->from[0]], &out->taken[i]));
        if (l->op == LS_NET_TCONV)
            out->mac += n->mac * area(&out->taken[i]) / ((double)n->h_in * n->w_in);
        else
            out->mac += n->mac * area(b) / ((double)n->h_out * n->w_out);
    }
}

int ls_cuda_region_init(struct ls_cuda_region *out, const struct ls_net *net,
                        const struct ls_int_box *made, struct ls_err *err)
{
    size_t count = (size_t)net->node_count;
    struct ls_cuda_region region = {.made = *made};
    struct ls_int_box *needed = calloc(count, sizeof *needed);
    int *leader = calloc(count, sizeof *leader);
    int r = LS_OK;

    region.stored = calloc(count, sizeof *region.stored);
    region.taken = calloc(count, sizeof *region.taken);
    if (!needed || !leader || !region.stored || !region.taken) {
        r = ls_fail(err, LS_ENOMEM, "no memory for the rectangles of %s", net->spec->name);
        goto done;
    }
    for (int i = 0; i < net->node_count; i++)
        leader[i] = leader_of(net, leader, i);
    find_needed(needed, net, leader, made);
    find_stored(&region, needed, net, leader);
    *out = region;
    region = (struct ls_cuda_region){0};
done:
    ls_cuda_region_done(&region);
    free(leader);
    free(needed);
    return r;
}

void ls_cuda_region_done(struct ls_cuda_region *region)
{
    free(region->stored);
    free(region->taken);
    *region = (struct ls_cuda_region){0};
}
