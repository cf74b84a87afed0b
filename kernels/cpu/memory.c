// SPDX-License-Identifier: Apache-2.0
// Cuts the steps into segments and packs the buffers into one arena (memory.h). Any thread.
// A buffer used inside one item-by-item segment holds one item; its life is counted in steps. Any
// other holds all items, and its life in whole segments: a later item runs through earlier steps
// again, so inside a segment "later" does not mean "after".
#include "memory.h"

#include <limits.h>
#include <stdlib.h>

#include "plan.h"

// Weights of this many floats (4 MB) are worth keeping in the cache for all items of a batch;
// smaller ones stay there anyway, and then it is better that the results do.
enum { HEAVY_FLOATS = 1 << 20 };

static bool is_heavy(const struct ls_plan *plan, const struct ls_step *step)
{
    const struct ls_net_node *node = &plan->net->node[step->node];
    const struct ls_net_layer *l = node->layer;

    return step->kind == LS_STEP_CONV && l->op != LS_NET_DWCONV &&
           (int64_t)node->c_in * node->c_out * l->kernel[0] * l->kernel[1] >= HEAVY_FLOATS;
}

static void cut_segments(struct ls_plan *plan)
{
    bool open = false;

    for (int i = 0; i < plan->step_count; i++) {
        bool heavy = is_heavy(plan, &plan->step[i]);

        if (heavy || !open)
            plan->segment[plan->segment_count++].first = i;
        plan->segment[plan->segment_count - 1].count++;
        plan->step[i].segment = plan->segment_count - 1;
        open = !heavy;
    }
}

static void touch(struct ls_buffer *b, int step)
{
    if (step < b->first)
        b->first = step;
    if (step > b->last)
        b->last = step;
}

static void touch_step(struct ls_plan *plan, int idx)
{
    const struct ls_step *step = &plan->step[idx];
    const struct ls_net_layer *l = plan->net->node[step->node].layer;

    if (step->kind == LS_STEP_NARROW)
        touch(&plan->buffer[plan->place[step->node].narrowed], idx);
    else if ((step->narrow || step->kind == LS_STEP_KEEP) && plan->place[l->from[0]].narrowed >= 0)
        touch(&plan->buffer[plan->place[l->from[0]].narrowed], idx);
    else if (step->kind == LS_STEP_WEAVE)
        for (int i = 0; i < l->stride[0] * l->stride[1]; i++)
            touch(&plan->buffer[step->part + i], idx);
    else
        for (int k = 0; k < 2; k++)
            if (l->from[k] >= 0)
                touch(&plan->buffer[plan->place[l->from[k]].buffer], idx);
    touch(&plan->buffer[step->phase ? step->target : plan->place[step->node].buffer], idx);
}

static void find_lives(struct ls_plan *plan)
{
    for (int i = 0; i < plan->buffer_count; i++) {
        plan->buffer[i].first = INT_MAX;
        plan->buffer[i].last = -1;
    }
    for (int i = 0; i < plan->step_count; i++)
        touch_step(plan, i);
    for (int i = 0; i < plan->buffer_count; i++) {
        struct ls_buffer *b = &plan->buffer[i];

        if (b->first > b->last)
            b->first = b->last = 0;
        b->items = 1;
        if (plan->step[b->first].segment != plan->step[b->last].segment)
            b->items = plan->items_max;
    }
    for (int i = 0; i < plan->net->node_count; i++) {
        const struct ls_net_layer *l = plan->net->node[i].layer;
        struct ls_buffer *b = &plan->buffer[plan->place[i].buffer];

        if (l->op == LS_NET_INPUT || l->output)
            b->items = plan->items_max;
        if (l->op == LS_NET_INPUT)
            b->first = 0;
        if (l->output)
            b->last = plan->step_count - 1;
    }
    for (int i = 0; i < plan->buffer_count; i++) {
        struct ls_buffer *b = &plan->buffer[i];
        const struct ls_segment *s = &plan->segment[plan->step[b->last].segment];

        if (b->items == 1)
            continue;
        b->first = plan->segment[plan->step[b->first].segment].first;
        b->last = s->first + s->count - 1;
    }
}

static size_t size_of(const struct ls_buffer *b)
{
    return b->item_size * (size_t)b->items;
}

static bool meet(const struct ls_buffer *a, const struct ls_buffer *b)
{
    return a->first <= b->last && b->first <= a->last;
}

// Lowest offset at which b overlaps none of the placed buffers that live at the same time.
static size_t lowest_gap(const struct ls_plan *plan, const int *placed, int count,
                         const struct ls_buffer *b)
{
    size_t offset = 0;
    bool moved = true;

    while (moved) {
        moved = false;
        for (int i = 0; i < count; i++) {
            const struct ls_buffer *o = &plan->buffer[placed[i]];

            if (meet(o, b) && offset < o->offset + size_of(o) && o->offset < offset + size_of(b)) {
                offset = o->offset + size_of(o);
                moved = true;
            }
        }
    }
    return offset;
}

int ls_memory_plan(struct ls_plan *plan, struct ls_err *err)
{
    int *order = malloc(sizeof *order * (size_t)(plan->buffer_count + 1));

    if (!order)
        return ls_fail(err, LS_ENOMEM, "no memory for a network's plan");
    cut_segments(plan);
    find_lives(plan);
    for (int i = 0; i < plan->buffer_count; i++) { // insertion sort, the largest first
        int k = i;

        for (; k > 0 && size_of(&plan->buffer[order[k - 1]]) < size_of(&plan->buffer[i]); k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    for (int i = 0; i < plan->buffer_count; i++) {
        struct ls_buffer *b = &plan->buffer[order[i]];

        b->offset = lowest_gap(plan, order, i, b);
        if (b->offset + size_of(b) > plan->arena_size)
            plan->arena_size = b->offset + size_of(b);
    }
    free(order);
    return 0;
}
