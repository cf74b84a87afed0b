// SPDX-License-Identifier: Apache-2.0
// Places, lives and the arena (layout.h). Any thread.
// Lives are counted in rows of the table. Face rows and the others each have the arena for
// themselves, as one part is done before the other begins on the same stream. Offsets are those of
// a batch of one and are multiplied by the batch: a buffer of n items then begins where n times the
// bytes below it end.
#include "layout.h"

#include <stdlib.h>

#include "../wav2lip.h"

enum { ALIGNMENT = 256 }; // of buffers, as cudaMalloc has it

static int round_up(int value, int unit)
{
    return (value + unit - 1) / unit * unit;
}

static int fail_kind(const struct ls_net *net, int idx, struct ls_err *err)
{
    return ls_fail(err, LS_EINTERNAL, "%s: row %d is not of a generator that this back end knows",
                   net->spec->name, idx);
}

static bool is_head(const struct ls_net_node *n)
{
    const struct ls_net_layer *l = n->layer;

    return l->op == LS_NET_CONV && l->act == LS_ACT_SIGMOID && n->c_out == 3 &&
           n->h_out == LS_FACE_SIZE && n->w_out == LS_FACE_SIZE && l->kernel[0] == 1 &&
           l->kernel[1] == 1 && l->stride[0] == 1 && l->stride[1] == 1 && !l->pad[0] && !l->pad[1];
}

static int find_input(struct ls_cuda_layout *layout, int idx, struct ls_err *err)
{
    const struct ls_net_node *n = &layout->net->node[idx];
    struct ls_cuda_place *p = &layout->place[idx];

    if (layout->face_row < 0 && n->c_out == 6 && n->h_out == LS_FACE_SIZE &&
        n->w_out == LS_FACE_SIZE) {
        layout->face_row = idx;
        p->face = true;
        p->placed = false;
        return LS_OK;
    }
    if (layout->mel_row >= 0 || n->c_out != 1 || n->h_out != LS_MEL_BANDS ||
        n->w_out != LS_MEL_WINDOW)
        return fail_kind(layout->net, idx, err);
    layout->mel_row = idx;
    return LS_OK;
}

static int place_row(struct ls_cuda_layout *layout, int idx, struct ls_err *err)
{
    const struct ls_net_node *n = &layout->net->node[idx];
    const struct ls_net_layer *l = n->layer;
    struct ls_cuda_place *p = &layout->place[idx];
    const struct ls_cuda_place *a = l->op == LS_NET_INPUT ? NULL : &layout->place[l->from[0]];
    const struct ls_cuda_place *b = l->op == LS_NET_CONCAT ? &layout->place[l->from[1]] : NULL;

    p->placed = true;
    p->home = idx;
    p->channel = malloc(sizeof *p->channel * (size_t)n->c_out);
    if (!p->channel)
        return ls_fail(err, LS_ENOMEM, "no memory for the places of %s", layout->net->spec->name);
    for (int i = 0; i < n->c_out; i++)
        p->channel[i] = b ? i < n->c_in ? a->channel[i] : a->c + b->channel[i - n->c_in] : i;
    p->c = b ? a->c + b->c : round_up(n->c_out, LS_CUDA_CHANNELS);
    if (l->op == LS_NET_INPUT)
        return find_input(layout, idx, err);
    p->face = a->face;
    if (n->residual || l->pad_end_extra || (l->output && !is_head(n)))
        return fail_kind(layout->net, idx, err);
    if (l->output) {
        layout->head_row = idx;
        p->placed = false;
        return LS_OK;
    }
    if (b && !a->face && b->face && l->act == LS_ACT_NONE)
        return LS_OK;
    if (b || (l->op != LS_NET_CONV && l->op != LS_NET_TCONV) || l->act == LS_ACT_SIGMOID)
        return fail_kind(layout->net, idx, err);
    return LS_OK;
}

static int64_t item_size(const struct ls_cuda_layout *layout, int idx)
{
    const struct ls_net_node *n = &layout->net->node[idx];
    int64_t size = (int64_t)n->h_out * n->w_out * layout->place[idx].c;

    size *= (int64_t)ls_cuda_size(layout->type);
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

// First halves of concatenations go home, second halves become features.
static int join_halves(struct ls_cuda_layout *layout, struct ls_err *err)
{
    for (int i = 0; i < layout->net->node_count; i++) {
        const struct ls_net_layer *l = layout->net->node[i].layer;
        struct ls_cuda_feature *f = &layout->feature[layout->feature_count];
        struct ls_cuda_place *a;

        if (l->op != LS_NET_CONCAT)
            continue;
        a = &layout->place[l->from[0]];
        if (layout->feature_count == LS_CUDA_PARTS_MAX || a->home != l->from[0] ||
            layout->net->node[l->from[0]].layer->op == LS_NET_CONCAT)
            return fail_kind(layout->net, i, err);
        a->home = i;
        *f = (struct ls_cuda_feature){
            .row = l->from[1], .cat = i, .at = i, .offset = layout->record_size};
        layout->record_size += item_size(layout, f->row);
        layout->feature_count++;
    }
    return LS_OK;
}

// Small features are gathered at once, before the first concatenation; a large one just before its
// own is read, so that its buffer need not lie there from the start.
static void find_gathers(struct ls_cuda_layout *layout)
{
    int64_t largest = 0;

    for (int i = 0; i < layout->feature_count; i++) {
        int64_t size = item_size(layout, layout->feature[i].cat);

        largest = size > largest ? size : largest;
    }
    for (int i = 0; i < layout->feature_count; i++)
        if (item_size(layout, layout->feature[i].cat) <= largest / 4)
            layout->feature[i].at = layout->feature[0].cat;
}

struct life {
    int first, last;
    int64_t size;
};

static void touch(struct life *life, const struct ls_cuda_layout *layout, int row, int when)
{
    const struct ls_cuda_place *p = &layout->place[row];
    struct life *l = &life[p->home];

    if (!p->placed)
        return;
    if (!l->size) {
        l->size = item_size(layout, p->home);
        l->first = l->last = when;
    }
    l->first = when < l->first ? when : l->first;
    l->last = when > l->last ? when : l->last;
}

static void find_lives(struct life *life, const struct ls_cuda_layout *layout)
{
    const struct ls_net *net = layout->net;

    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_layer *l = net->node[i].layer;

        touch(life, layout, i, i);
        // A face row's feature is not read by its concatenation but stored at the end.
        if (l->op != LS_NET_INPUT)
            touch(life, layout, l->from[0], i);
    }
    for (int i = 0; i < layout->feature_count; i++) {
        touch(life, layout, layout->feature[i].row, net->node_count);
        touch(life, layout, layout->feature[i].cat, layout->feature[i].at);
    }
}

// Lowest offset at which buffer b overlaps none of the `count` placed ones that live with it.
static int64_t lowest_gap(const struct ls_cuda_layout *layout, const struct life *life,
                          const int *placed, int count, int b)
{
    int64_t offset = 0;
    bool moved = true;

    while (moved) {
        moved = false;
        for (int i = 0; i < count; i++) {
            int o = placed[i];
            int64_t first = layout->place[o].offset;

            if (layout->place[o].face == layout->place[b].face && life[o].first <= life[b].last &&
                life[b].first <= life[o].last && offset < first + life[o].size &&
                first < offset + life[b].size) {
                offset = first + life[o].size;
                moved = true;
            }
        }
    }
    return offset;
}

static int pack_arena(struct ls_cuda_layout *layout, struct ls_err *err)
{
    int count = layout->net->node_count, placed_count = 0, r = LS_OK;
    struct life *life = calloc((size_t)count, sizeof *life);
    int *order = calloc((size_t)count, sizeof *order);

    if (!life || !order) {
        r = ls_fail(err, LS_ENOMEM, "no memory for the places of %s", layout->net->spec->name);
        goto done;
    }
    find_lives(life, layout);
    for (int i = 0; i < count; i++) { // insertion sort, the largest first
        int k = placed_count;

        if (!life[i].size)
            continue;
        for (; k > 0 && life[order[k - 1]].size < life[i].size; k--)
            order[k] = order[k - 1];
        order[k] = i;
        placed_count++;
    }
    for (int i = 0; i < placed_count; i++) {
        int64_t offset = lowest_gap(layout, life, order, i, order[i]);

        layout->place[order[i]].offset = offset;
        if (offset + life[order[i]].size > layout->arena_size)
            layout->arena_size = offset + life[order[i]].size;
    }
    for (int i = 0; i < count; i++)
        layout->place[i].offset = layout->place[layout->place[i].home].offset;
done:
    free(order);
    free(life);
    return r;
}

int ls_cuda_layout_new(struct ls_cuda_layout **out, const struct ls_net *net,
                       enum ls_cuda_type type, struct ls_err *err)
{
    struct ls_cuda_layout *layout = calloc(1, sizeof *layout);
    int r = LS_OK;

    if (!layout)
        return ls_fail(err, LS_ENOMEM, "no memory for the places of %s", net->spec->name);
    *layout = (struct ls_cuda_layout){
        .net = net, .type = type, .face_row = -1, .mel_row = -1, .head_row = -1};
    layout->place = calloc((size_t)net->node_count, sizeof *layout->place);
    if (!layout->place)
        r = ls_fail(err, LS_ENOMEM, "no memory for the places of %s", net->spec->name);
    for (int i = 0; i < net->node_count && !r; i++)
        r = place_row(layout, i, err);
    if (!r && (layout->face_row < 0 || layout->mel_row < 0 || layout->head_row < 0 ||
               layout->place[layout->head_row].face))
        r = fail_kind(net, net->node_count - 1, err);
    if (!r)
        r = join_halves(layout, err);
    if (r < 0)
        goto done;
    find_gathers(layout);
    r = pack_arena(layout, err);
    if (r < 0)
        goto done;
    *out = layout;
    layout = NULL;
done:
    ls_cuda_layout_free(&layout);
    return r;
}

void ls_cuda_layout_free(struct ls_cuda_layout **layout)
{
    struct ls_cuda_layout *l = layout ? *layout : NULL;

    if (!l)
        return;
    for (int i = 0; l->place && i < l->net->node_count; i++)
        free(l->place[i].channel);
    free(l->place);
    free(l);
    *layout = NULL;
}

uint64_t ls_cuda_layout_hash(const struct ls_net *net)
{
    uint64_t hash = 0xcbf29ce484222325u; // FNV-1a

    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_node *n = &net->node[i];
        const int shape[] = {(int)n->layer->op,
                             n->c_in,
                             n->h_in,
                             n->w_in,
                             n->c_out,
                             n->h_out,
                             n->w_out,
                             n->layer->from[0],
                             n->layer->from[1],
                             n->layer->kernel[0],
                             n->layer->kernel[1],
                             n->layer->stride[0],
                             n->layer->stride[1]};

        for (size_t k = 0; k < sizeof shape / sizeof shape[0]; k++)
            hash = (hash ^ (uint64_t)(unsigned)shape[k]) * 0x100000001b3u;
    }
    return hash;
}
