// SPDX-License-Identifier: Apache-2.0
// Makes a convolution for each CONV step of a plan, and runs the plan step by step (dnn.h). Any
// thread. What surprises: an item whose first input is known skips all steps that depend on it
// alone, and takes their results out of its record at the very place where they would be made, so
// that no buffer lives longer.
#include "dnn.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "loops.h"
#include "onednn.h"
#include "plan.h"

// What is known of a row: `alone` depends on the first input alone; its result is `recorded` if
// others read it.
struct row {
    bool alone, recorded;
    size_t offset; // in the record
};

struct ls_dnn {
    struct ls_plan *plan;
    const struct ls_dnn *weights_of;
    struct ls_onednn *engine;
    struct ls_onednn_conv **conv; // [plan->step_count], NULL for other kinds of step
    struct row *row;              // [node_count]
    size_t record_size;
    size_t scratch_size;
    bool winograd;
    int *input, *output; // node numbers
    int input_count, output_count;
};

struct ls_dnn_lane {
    const struct ls_dnn *dnn;     // in use
    struct ls_onednn_call **call; // its
    char *arena;
    void *scratch;
    int count;
    const struct ls_dnn **all;
    struct ls_onednn_call ***all_calls; // [count][plan->step_count]
};

bool ls_dnn_has(enum ls_value narrow)
{
    return narrow == LS_VALUE_F32 ||
           ls_onednn_has(narrow == LS_VALUE_BF16 ? LS_HAS_BF16 : LS_HAS_INT8);
}

const char *ls_dnn_isa(void)
{
    return ls_onednn_has(LS_HAS_AVX512) ? "AVX-512"
           : ls_onednn_has(LS_HAS_AVX2) ? "AVX2"
                                        : "SSE4.1";
}

// Winograd's saving is real from 6x6 on (measured: 1.5 times at 6x6, 2.8 at 48x48 on Zen 4); below
// that the tiles stick out of the map. It takes four times the memory for weights: at 6x6 only the
// widest layers are worth it (face_encoder_blocks.4: 0.3 ms a frame of 43, or 14 MB).
static bool wants_winograd(const struct ls_conv_shape *s)
{
    return !s->depthwise && s->kernel[0] == 3 && s->kernel[1] == 3 && s->stride[0] == 1 &&
           s->stride[1] == 1 && s->pad_first[0] <= 1 && s->pad_first[1] <= 1 &&
           s->pad_last[0] <= 1 && s->pad_last[1] <= 1 && s->c_in >= 16 && s->c_out >= 16 &&
           s->h_out * s->w_out >= (s->c_in >= 512 ? 30 : 100);
}

// On maps of 48x48 and more floats are faster, by Winograd, and exact (Zen 4, one thread, within
// the network: 64 channels at 96x96 2.2 ms, not 3.0; 384 at 12x12 1.5 both). 256 at 24x24 are 2.4,
// not 2.8, but of a face's lower part 2.0 both, and take 25 MB more.
static bool wants_floats(const struct ls_conv_shape *s)
{
    return wants_winograd(s) && s->h_out * s->w_out >= 1000;
}

// Both plans have the same steps but for copies, so the step is found by its node and phase.
static const struct ls_onednn_conv *same_of_other(const struct ls_dnn *dnn, int idx)
{
    const struct ls_dnn *other = dnn->weights_of;
    const struct ls_step *step = &dnn->plan->step[idx];

    for (int i = 0; other && i < other->plan->step_count; i++)
        if (other->conv[i] && other->plan->step[i].node == step->node &&
            other->plan->step[i].part == step->part)
            return other->conv[i];
    return NULL;
}

static bool of_bytes(const struct ls_dnn *dnn, const struct ls_step *step)
{
    return step->narrow && dnn->plan->narrow == LS_VALUE_U8;
}

static int load_weights(struct ls_dnn *dnn, int idx, const struct ls_plan_bytes *bytes,
                        struct ls_err *err)
{
    float *weight = NULL, *bias = NULL;
    int r;

    if (bytes->weight)
        return ls_onednn_conv_load(dnn->conv[idx], bytes->weight, bytes->bias, err);
    r = ls_plan_weights(&weight, &bias, dnn->plan, &dnn->plan->step[idx], err);
    if (r < 0)
        return r;
    r = ls_onednn_conv_load(dnn->conv[idx], weight, bias, err);
    free(weight);
    free(bias);
    return r;
}

// How much of what KEEP left is added: bytes have another worth in the result.
static float kept(const struct ls_plan *plan, const struct ls_step *step)
{
    const struct ls_place *to = &plan->place[step->node];

    if (!step->keep)
        return 0;
    return to->value == LS_VALUE_U8
               ? plan->place[plan->net->node[step->node].layer->from[0]].scale[0] / to->scale[0]
               : 1;
}

static int make_conv(struct ls_dnn *dnn, int idx, struct ls_err *err)
{
    const struct ls_plan *plan = dnn->plan;
    const struct ls_step *step = &plan->step[idx];
    const struct ls_net_layer *layer = plan->net->node[step->node].layer;
    const struct ls_onednn_conv *same = same_of_other(dnn, idx);
    bool bytes = of_bytes(dnn, step);
    struct ls_onednn_params params = {.shape = &step->conv,
                                      .block = plan->narrow == LS_VALUE_U8 ? 0 : plan->block,
                                      .plain = plan->place[layer->from[0]].plain && !bytes,
                                      .source = step->narrow ? plan->narrow : LS_VALUE_F32,
                                      .target = plan->place[step->node].value,
                                      .act = layer->act,
                                      .keep = kept(plan, step),
                                      .winograd = !step->narrow && plan->narrow != LS_VALUE_U8 &&
                                                  ls_onednn_has(LS_HAS_AVX512) &&
                                                  wants_winograd(&step->conv)};
    struct ls_plan_bytes packed = {0};
    int r = LS_OK;

    if (bytes && same)
        params.scale = ls_onednn_conv_scale(same);
    else if (bytes)
        r = ls_plan_bytes(&packed, plan, step, err);
    if (packed.scale)
        params.scale = packed.scale;
    if (r == LS_OK)
        r = ls_onednn_conv_new(&dnn->conv[idx], dnn->engine, &params, err);
    if (r == LS_OK && !(same && ls_onednn_conv_borrow(dnn->conv[idx], same))) {
        if (bytes && same)
            r = ls_plan_bytes(&packed, plan, step, err);
        if (r == LS_OK)
            r = load_weights(dnn, idx, &packed, err);
    }
    free(packed.scale);
    if (r < 0) {
        ls_fail_prefix(err, "%s", layer->name);
        return r;
    }
    dnn->winograd = dnn->winograd || ls_onednn_conv_winograd(dnn->conv[idx]);
    if (ls_onednn_conv_scratch(dnn->conv[idx]) > dnn->scratch_size)
        dnn->scratch_size = ls_onednn_conv_scratch(dnn->conv[idx]);
    return LS_OK;
}

static size_t place_size(const struct ls_place *p)
{
    return (size_t)p->c * p->h * p->w * ls_value_size(p->value);
}

static void find_rows(struct ls_dnn *dnn)
{
    const struct ls_net *net = dnn->plan->net;

    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_layer *l = net->node[i].layer;

        dnn->row[i].alone = i == dnn->input[0];
        if (l->op != LS_NET_INPUT)
            dnn->row[i].alone =
                dnn->row[l->from[0]].alone && (l->from[1] < 0 || dnn->row[l->from[1]].alone);
        for (int k = 0; k < 2 && !dnn->row[i].alone; k++)
            if (l->from[k] >= 0)
                dnn->row[l->from[k]].recorded = dnn->row[l->from[k]].alone;
    }
    for (int i = 0; i < net->node_count; i++) {
        struct row *row = &dnn->row[i];

        if (net->node[i].layer->op == LS_NET_INPUT)
            row->recorded = false; // written by the caller
        if (!row->recorded)
            continue;
        row->offset = dnn->record_size;
        dnn->record_size += (place_size(&dnn->plan->place[i]) + 63) / 64 * 64;
    }
}

static int init_rows(struct ls_dnn *dnn, const struct ls_net *net, struct ls_err *err)
{
    dnn->conv = calloc((size_t)dnn->plan->step_count, sizeof *dnn->conv);
    dnn->row = calloc((size_t)net->node_count, sizeof *dnn->row);
    dnn->input = calloc((size_t)net->node_count * 2, sizeof *dnn->input);
    if (!dnn->conv || !dnn->row || !dnn->input)
        return ls_fail(err, LS_ENOMEM, "no memory for a network");
    dnn->output = dnn->input + net->node_count;
    for (int i = 0; i < net->node_count; i++) {
        if (net->node[i].layer->op == LS_NET_INPUT)
            dnn->input[dnn->input_count++] = i;
        if (net->node[i].layer->output)
            dnn->output[dnn->output_count++] = i;
    }
    find_rows(dnn);
    return LS_OK;
}

int ls_dnn_new(struct ls_dnn **out, const struct ls_net *net, const struct ls_dnn_params *params,
               struct ls_err *err)
{
    struct ls_plan_params plan = {.block = ls_onednn_has(LS_HAS_AVX512) ? 16 : 8,
                                  .items_max = params->items_max,
                                  .first = {params->first[0], params->first[1]},
                                  .end = {params->end[0], params->end[1]},
                                  .height_min = params->height_min,
                                  .narrow = params->narrow,
                                  .wants_floats = wants_floats,
                                  .range = params->range};
    struct ls_dnn *dnn = calloc(1, sizeof *dnn);
    int r;

    if (!dnn)
        return ls_fail(err, LS_ENOMEM, "no memory for a network");
    ls_onednn_alone();
    dnn->weights_of = params->weights_of;
    r = ls_plan_new(&dnn->plan, net, &plan, err);
    if (r == LS_OK)
        r = init_rows(dnn, net, err);
    if (r == LS_OK && dnn->weights_of)
        dnn->engine = dnn->weights_of->engine; // memory and stream must be the same engine's
    else if (r == LS_OK)
        r = ls_onednn_new(&dnn->engine, err);
    for (int i = 0; r == LS_OK && i < dnn->plan->step_count; i++)
        if (dnn->plan->step[i].kind == LS_STEP_CONV)
            r = make_conv(dnn, i, err);
    if (r < 0)
        ls_dnn_free(&dnn);
    else
        *out = dnn;
    return r;
}

void ls_dnn_free(struct ls_dnn **dnn)
{
    struct ls_dnn *d = dnn ? *dnn : NULL;

    if (!d)
        return;
    for (int i = 0; d->conv && i < d->plan->step_count; i++)
        ls_onednn_conv_free(&d->conv[i]);
    if (!d->weights_of)
        ls_onednn_free(&d->engine);
    ls_plan_free(&d->plan);
    free(d->conv);
    free(d->row);
    free(d->input);
    free(d);
    *dnn = NULL;
}

bool ls_dnn_winograd(const struct ls_dnn *dnn)
{
    return dnn->winograd;
}

size_t ls_dnn_record_size(const struct ls_dnn *dnn)
{
    return dnn->record_size;
}

// The largest of the networks' needs.
static int make_buffers(struct ls_dnn_lane *lane, struct ls_err *err)
{
    size_t arena_size = 64, scratch_size = 64;

    for (int i = 0; i < lane->count; i++) {
        size_t arena = lane->all[i]->plan->arena_size;
        size_t scratch = (lane->all[i]->scratch_size + 63) / 64 * 64;

        arena_size = arena > arena_size ? arena : arena_size;
        scratch_size = scratch > scratch_size ? scratch : scratch_size;
    }
    lane->arena = aligned_alloc(64, arena_size);
    lane->scratch = aligned_alloc(64, scratch_size);
    if (!lane->arena || !lane->scratch)
        return ls_fail(err, LS_ENOMEM, "no memory for a lane of %zu bytes",
                       arena_size + scratch_size);
    return LS_OK;
}

static int make_calls(struct ls_dnn_lane *lane, int idx, struct ls_err *err)
{
    const struct ls_dnn *dnn = lane->all[idx];
    int r = LS_OK;

    lane->all_calls[idx] = calloc((size_t)dnn->plan->step_count, sizeof *lane->all_calls[idx]);
    if (!lane->all_calls[idx])
        return ls_fail(err, LS_ENOMEM, "no memory for a lane");
    for (int i = 0; i < dnn->plan->step_count && r == LS_OK; i++)
        if (dnn->conv[i])
            r = ls_onednn_call_new(&lane->all_calls[idx][i], dnn->conv[i], lane->scratch, err);
    return r;
}

static int lane_init(struct ls_dnn_lane *lane, const struct ls_dnn *const *dnn, int count,
                     struct ls_err *err)
{
    int r;

    lane->all = calloc((size_t)count, sizeof *lane->all);
    lane->all_calls = calloc((size_t)count, sizeof *lane->all_calls);
    if (!lane->all || !lane->all_calls)
        return ls_fail(err, LS_ENOMEM, "no memory for a lane");
    for (; lane->count < count; lane->count++)
        lane->all[lane->count] = dnn[lane->count];
    r = make_buffers(lane, err);
    for (int i = 0; i < count && r == LS_OK; i++)
        r = make_calls(lane, i, err);
    if (r == LS_OK)
        ls_dnn_use(lane, 0);
    return r;
}

int ls_dnn_lane_new(struct ls_dnn_lane **out, const struct ls_dnn *const *dnn, int count,
                    struct ls_err *err)
{
    struct ls_dnn_lane *lane = calloc(1, sizeof *lane);
    int r;

    if (!lane)
        return ls_fail(err, LS_ENOMEM, "no memory for a lane");
    r = lane_init(lane, dnn, count, err);
    if (r < 0)
        ls_dnn_lane_free(&lane);
    else
        *out = lane;
    return r;
}

void ls_dnn_lane_free(struct ls_dnn_lane **lane)
{
    struct ls_dnn_lane *l = lane ? *lane : NULL;

    if (!l)
        return;
    for (int i = 0; i < l->count; i++) {
        struct ls_onednn_call **call = l->all_calls[i];

        for (int k = 0; call && k < l->all[i]->plan->step_count; k++)
            ls_onednn_call_free(&call[k]);
        free(call);
    }
    free(l->all_calls);
    free(l->all);
    free(l->arena);
    free(l->scratch);
    free(l);
    *lane = NULL;
}

void ls_dnn_use(struct ls_dnn_lane *lane, int idx)
{
    lane->dnn = lane->all[idx];
    lane->call = lane->all_calls[idx];
}

static char *place_at(const struct ls_dnn_lane *lane, int node, int item)
{
    const struct ls_plan *plan = lane->dnn->plan;

    return lane->arena + ls_plan_at(plan, plan->place[node].buffer, item) +
           plan->place[node].offset;
}

float *ls_dnn_input(struct ls_dnn_lane *lane, int input_idx, int item)
{
    return (float *)(void *)place_at(lane, lane->dnn->input[input_idx], item);
}

static int run_conv(struct ls_dnn_lane *lane, int idx, int item, struct ls_err *err)
{
    const struct ls_plan *plan = lane->dnn->plan;
    const struct ls_step *step = &plan->step[idx];
    int from = plan->net->node[step->node].layer->from[0];
    const char *source = place_at(lane, from, item);
    char *target = step->phase ? lane->arena + ls_plan_at(plan, step->target, item)
                               : place_at(lane, step->target, item);

    if (step->narrow && plan->place[from].narrowed >= 0)
        source = lane->arena + ls_plan_at(plan, plan->place[from].narrowed, item);
    return ls_onednn_call_run(lane->call[idx], source, target, err);
}

// The result of the step's node is there after it.
static bool completes(const struct ls_step *step)
{
    return step->kind != LS_STEP_NARROW && step->kind != LS_STEP_KEEP &&
           !(step->kind == LS_STEP_CONV && step->phase);
}

// What depends on a known input need not be made. True if the step is done with.
static bool recalled(struct ls_dnn_lane *lane, const struct ls_step *step,
                     const struct ls_dnn_record *record, int item)
{
    const struct row *row = &lane->dnn->row[step->node];

    if (!row->alone || (row->recorded && step->kind == LS_STEP_NARROW))
        return false;
    if (row->recorded && completes(step))
        memcpy(place_at(lane, step->node, item), record->at + row->offset,
               place_size(&lane->dnn->plan->place[step->node]));
    return true;
}

static int run_step(struct ls_dnn_lane *lane, int idx, const struct ls_dnn_job *job, int item,
                    struct ls_err *err)
{
    const struct ls_dnn *dnn = lane->dnn;
    const struct ls_step *step = &dnn->plan->step[idx];
    struct ls_dnn_record *record = job->record ? &job->record[item] : NULL;
    int r = LS_OK;

    if (record && record->at && record->known && recalled(lane, step, record, item))
        return LS_OK;
    if (step->kind == LS_STEP_CONV)
        r = run_conv(lane, idx, item, err);
    else
        ls_loop_step(dnn->plan, step, lane->arena, item);
    if (r < 0 || !completes(step))
        return r;
    if (record && record->at && !record->known && dnn->row[step->node].recorded)
        memcpy(record->at + dnn->row[step->node].offset, place_at(lane, step->node, item),
               place_size(&dnn->plan->place[step->node]));
    if (job->seen)
        job->seen(job->user, step->node,
                  (const float *)(const void *)place_at(lane, step->node, item),
                  place_size(&dnn->plan->place[step->node]) / sizeof(float));
    return LS_OK;
}

int ls_dnn_run(struct ls_dnn_lane *lane, const struct ls_dnn_job *job, struct ls_err *err)
{
    const struct ls_plan *plan = lane->dnn->plan;

    ls_onednn_alone();
    for (int s = 0; s < plan->segment_count; s++)
        for (int item = 0; item < job->count; item++)
            for (int i = plan->segment[s].first;
                 i < plan->segment[s].first + plan->segment[s].count; i++) {
                int r;

                if (job->wanted && !job->wanted(job->user, item))
                    break;
                r = run_step(lane, i, job, item, err);
                if (r < 0)
                    return r;
            }
    for (int item = 0; item < job->count && job->record; item++)
        if (job->record[item].at && (!job->wanted || job->wanted(job->user, item)))
            job->record[item].known = true;
    return LS_OK;
}

void ls_dnn_output(float *out, struct ls_dnn_part *made, const struct ls_dnn_lane *lane,
                   int output_idx, int item)
{
    const struct ls_dnn *dnn = lane->dnn;
    const struct ls_place *p = &dnn->plan->place[dnn->output[output_idx]];

    ls_loop_unblock(out, dnn->plan, dnn->output[output_idx], lane->arena, item);
    if (made)
        *made = (struct ls_dnn_part){{p->first[0], p->first[1]}, {p->end[0], p->end[1]}};
}
