// SPDX-License-Identifier: Apache-2.0
// The only file that knows oneDNN: makes a convolution primitive for each CONV step of a plan, and
// runs the plan. Any thread, see dnn.h.
// Which algorithm a layer gets is decided by its shape alone, never by a race: a clock must not
// change a result. The library's scratch memory is a lane's own, which is what makes a primitive
// usable by many threads at once.
#include "dnn.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <oneapi/dnnl/dnnl.h>

#include "loops.h"
#include "plan.h"

struct conv {
    dnnl_primitive_t primitive; // NULL for other kinds of step
    dnnl_memory_desc_t source, target, scratch;
    dnnl_memory_t weight, bias;
    bool borrowed; // both are another network's
};

struct ls_dnn {
    struct ls_plan *plan;
    const struct ls_dnn *weights_of;
    dnnl_engine_t engine;
    struct conv *conv; // [plan->step_count]
    size_t scratch_size;
    bool winograd;
    int *input, *output; // node numbers
    int input_count, output_count;
};

struct memories {
    dnnl_memory_t source, target, scratch;
};

struct ls_dnn_lane {
    const struct ls_dnn *dnn; // in use
    struct memories *memory;  // its
    dnnl_stream_t stream;
    char *arena;
    void *scratch;
    int count;
    const struct ls_dnn **all;
    struct memories **all_memory; // [count][plan->step_count]
};

// oneDNN splits a primitive over OpenMP's threads, both when it is made and when it runs; lanes are
// the parallel unit here, so each calling thread asks for one. The number is the calling thread's
// own (OpenMP's nthreads-var), so nobody else is affected. It is looked up at run time because it
// must go to whichever OpenMP library oneDNN brought along, and there is none if it was built
// without.
static void use_one_thread(void)
{
    static void (*set)(int);
    static int known; // racing first calls store the same values

    if (!__atomic_load_n(&known, __ATOMIC_ACQUIRE)) {
        void *symbol = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
        void (*found)(int);

        memcpy(&found, &symbol, sizeof found);
        __atomic_store_n(&set, found, __ATOMIC_RELAXED);
        __atomic_store_n(&known, 1, __ATOMIC_RELEASE);
    }
    if (__atomic_load_n(&set, __ATOMIC_RELAXED))
        set(1);
}

static int fail(struct ls_err *err, dnnl_status_t status, const char *what)
{
    if (status == dnnl_out_of_memory)
        return ls_fail(err, LS_ENOMEM, "oneDNN: %s: out of memory", what);
    return ls_fail(err, LS_EDEVICE, "oneDNN: %s: status %d", what, (int)status);
}

static bool has_avx512(void)
{
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
}

bool ls_dnn_has_bf16(void)
{
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) ==
           dnnl_cpu_isa_avx512_core_bf16;
}

const char *ls_dnn_isa(void)
{
    if (has_avx512())
        return "AVX-512";
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2 ? "AVX2"
                                                                                   : "SSE4.1";
}

// Winograd's saving is real from 6x6 on (measured: 1.5 times at 6x6, 2.8 at 48x48 on Zen 4); below
// that the tiles stick out of the map.
static bool wants_winograd(const struct ls_conv_shape *s)
{
    return !s->depthwise && s->kernel[0] == 3 && s->kernel[1] == 3 && s->stride[0] == 1 &&
           s->stride[1] == 1 && s->pad_first[0] <= 1 && s->pad_first[1] <= 1 &&
           s->pad_last[0] <= 1 && s->pad_last[1] <= 1 && s->c_in >= 16 && s->c_out >= 16 &&
           s->h_out * s->w_out >= 30;
}

// On maps of 24x24 and more floats are faster, by Winograd (Zen 4, one thread: 64 channels at 96x96
// 2.3 ms, not 3.0; 256 at 24x24 1.6, not 2.8; 384 at 12x12 1.5 both), and exact.
static bool wants_floats(const struct ls_conv_shape *s)
{
    return wants_winograd(s) && s->h_out * s->w_out >= 400;
}

static dnnl_status_t make_attr(dnnl_primitive_attr_t *attr, enum ls_net_act act)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t r = dnnl_primitive_attr_create(attr);

    if (r == dnnl_success)
        r = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (r != dnnl_success || act == LS_ACT_NONE)
        return r;
    r = dnnl_post_ops_create(&ops);
    if (r == dnnl_success)
        r = dnnl_post_ops_append_eltwise(
            ops, 1, act == LS_ACT_RELU ? dnnl_eltwise_relu : dnnl_eltwise_logistic, 0, 0);
    if (r == dnnl_success)
        r = dnnl_primitive_attr_set_post_ops(*attr, ops);
    dnnl_post_ops_destroy(ops);
    return r;
}

// How a convolution's operands lie in memory.
struct layout {
    int block;
    bool plain; // the source
    dnnl_data_type_t source, target;
};

static dnnl_status_t make_descs(dnnl_convolution_desc_t *out, const struct ls_conv_shape *s,
                                const struct layout *layout, dnnl_alg_kind_t algorithm)
{
    dnnl_format_tag_t blocked = layout->block == 16 ? dnnl_nChw16c : dnnl_nChw8c;
    dnnl_dims_t stride = {s->stride[0], s->stride[1]};
    dnnl_dims_t first = {s->pad_first[0], s->pad_first[1]};
    dnnl_dims_t last = {s->pad_last[0], s->pad_last[1]};
    dnnl_dims_t dim = {1, s->c_in, s->h_in, s->w_in};
    dnnl_dims_t target_dim = {1, s->c_out, s->h_out, s->w_out};
    dnnl_dims_t weight_dim = {s->c_out, s->c_in, s->kernel[0], s->kernel[1]};
    dnnl_dims_t group_dim = {s->c_out, 1, 1, s->kernel[0], s->kernel[1]};
    dnnl_dims_t bias_dim = {s->c_out};
    dnnl_memory_desc_t source, target, weight, bias;
    dnnl_status_t r = dnnl_memory_desc_init_by_tag(&source, 4, dim, layout->source,
                                                   layout->plain ? dnnl_nchw : blocked);

    if (r == dnnl_success)
        r = dnnl_memory_desc_init_by_tag(&target, 4, target_dim, layout->target, blocked);
    if (r == dnnl_success)
        r = dnnl_memory_desc_init_by_tag(&weight, s->depthwise ? 5 : 4,
                                         s->depthwise ? group_dim : weight_dim, layout->source,
                                         dnnl_format_tag_any);
    if (r == dnnl_success)
        r = dnnl_memory_desc_init_by_tag(&bias, 1, bias_dim, dnnl_f32, dnnl_a);
    if (r == dnnl_success)
        r = dnnl_convolution_forward_desc_init(out, dnnl_forward_inference, algorithm, &source,
                                               &weight, &bias, &target, stride, first, last);
    return r;
}

// Copies packed floats into memory of the library's own, in the order that the primitive wants.
static dnnl_status_t load(dnnl_memory_t *out, const struct ls_dnn *dnn, dnnl_stream_t stream,
                          float *from, const dnnl_memory_desc_t *plain,
                          const dnnl_memory_desc_t *wanted)
{
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_memory_t source = NULL;
    dnnl_status_t r = dnnl_memory_create(&source, plain, dnn->engine, from);

    if (r == dnnl_success)
        r = dnnl_memory_create(out, wanted, dnn->engine, DNNL_MEMORY_ALLOCATE);
    if (r == dnnl_success)
        r = dnnl_reorder_primitive_desc_create(&desc, plain, dnn->engine, wanted, dnn->engine,
                                               NULL);
    if (r == dnnl_success)
        r = dnnl_primitive_create(&reorder, desc);
    if (r == dnnl_success) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, *out}};

        r = dnnl_primitive_execute(reorder, stream, 2, args);
    }
    if (r == dnnl_success)
        r = dnnl_stream_wait(stream);
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(desc);
    dnnl_memory_destroy(source);
    return r;
}

// Both plans have the same steps but for copies, so the step is found by its node and phase.
static bool borrow_weights(struct ls_dnn *dnn, int idx, const dnnl_memory_desc_t *wanted)
{
    const struct ls_dnn *other = dnn->weights_of;
    const struct ls_step *step = &dnn->plan->step[idx];

    for (int i = 0; other && i < other->plan->step_count; i++) {
        const dnnl_memory_desc_t *has;

        if (!other->conv[i].primitive || other->plan->step[i].node != step->node ||
            other->plan->step[i].part != step->part ||
            dnnl_memory_get_memory_desc(other->conv[i].weight, &has) != dnnl_success ||
            !dnnl_memory_desc_equal(has, wanted))
            continue;
        dnn->conv[idx].weight = other->conv[i].weight;
        dnn->conv[idx].bias = other->conv[i].bias;
        dnn->conv[idx].borrowed = true;
        return true;
    }
    return false;
}

static int load_weights(struct ls_dnn *dnn, dnnl_stream_t stream, int idx,
                        const dnnl_memory_desc_t *wanted, struct ls_err *err)
{
    const struct ls_step *step = &dnn->plan->step[idx];
    const struct ls_conv_shape *s = &step->conv;
    dnnl_memory_desc_t weight, bias;
    dnnl_dims_t dim = {s->c_out, s->c_in, s->kernel[0], s->kernel[1]};
    dnnl_dims_t group_dim = {s->c_out, 1, 1, s->kernel[0], s->kernel[1]};
    float *packed = NULL, *packed_bias = NULL;
    dnnl_status_t status;
    int r;

    if (borrow_weights(dnn, idx, wanted))
        return LS_OK;
    r = ls_plan_weights(&packed, &packed_bias, dnn->plan, step, err);

    if (r)
        return r;
    status =
        dnnl_memory_desc_init_by_tag(&weight, s->depthwise ? 5 : 4, s->depthwise ? group_dim : dim,
                                     dnnl_f32, s->depthwise ? dnnl_goihw : dnnl_oihw);
    if (status == dnnl_success)
        status = dnnl_memory_desc_init_by_tag(&bias, 1, (dnnl_dims_t){s->c_out}, dnnl_f32, dnnl_a);
    if (status == dnnl_success)
        status = load(&dnn->conv[idx].weight, dnn, stream, packed, &weight, wanted);
    if (status == dnnl_success)
        status = load(&dnn->conv[idx].bias, dnn, stream, packed_bias, &bias, &bias);
    free(packed);
    free(packed_bias);
    return status == dnnl_success ? 0 : fail(err, status, "weights");
}

static dnnl_data_type_t type_of(const struct ls_place *place)
{
    return place->value_size == sizeof(float) ? dnnl_f32 : dnnl_bf16;
}

// True if the library has this algorithm here. A "Winograd" request may be answered by another.
static bool find_kernel(dnnl_primitive_desc_t *out, const struct ls_dnn *dnn, int idx,
                        dnnl_alg_kind_t algorithm, dnnl_status_t *status)
{
    const struct ls_step *step = &dnn->plan->step[idx];
    const struct ls_net_layer *layer = dnn->plan->net->node[step->node].layer;
    const struct ls_place *from = &dnn->plan->place[layer->from[0]];
    struct layout layout = {.block = dnn->plan->block,
                            .plain = from->plain,
                            .source = step->bf16 ? dnnl_bf16 : dnnl_f32,
                            .target = type_of(&dnn->plan->place[step->node])};
    dnnl_convolution_desc_t desc;
    dnnl_primitive_attr_t attr = NULL;

    *status = make_attr(&attr, layer->act);
    if (*status == dnnl_success)
        *status = make_descs(&desc, &step->conv, &layout, algorithm);
    if (*status == dnnl_success)
        *status = dnnl_primitive_desc_create(out, &desc, attr, dnn->engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    return *status == dnnl_success;
}

static int make_conv(struct ls_dnn *dnn, dnnl_stream_t stream, int idx, struct ls_err *err)
{
    const struct ls_conv_shape *s = &dnn->plan->step[idx].conv;
    struct conv *conv = &dnn->conv[idx];
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t status;
    size_t scratch_size;
    int r = 0;

    if (!dnn->plan->step[idx].bf16 && has_avx512() && wants_winograd(s) &&
        find_kernel(&desc, dnn, idx, dnnl_convolution_winograd, &status))
        dnn->winograd = true;
    else if (!find_kernel(&desc, dnn, idx, dnnl_convolution_direct, &status))
        return fail(err, status, dnn->plan->net->node[dnn->plan->step[idx].node].layer->name);
    status = dnnl_primitive_create(&conv->primitive, desc);
    if (status != dnnl_success) {
        r = fail(err, status, "primitive");
        goto done;
    }
    conv->source = *dnnl_primitive_desc_query_md(desc, dnnl_query_src_md, 0);
    conv->target = *dnnl_primitive_desc_query_md(desc, dnnl_query_dst_md, 0);
    conv->scratch = *dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    scratch_size = dnnl_memory_desc_get_size(&conv->scratch);
    if (scratch_size > dnn->scratch_size)
        dnn->scratch_size = scratch_size;
    r = load_weights(dnn, stream, idx, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0),
                     err);
done:
    dnnl_primitive_desc_destroy(desc);
    return r;
}

static int make_convs(struct ls_dnn *dnn, struct ls_err *err)
{
    dnnl_stream_t stream = NULL;
    dnnl_status_t status = dnnl_success;
    int r = 0;

    if (dnn->weights_of)
        dnn->engine = dnn->weights_of->engine; // memory and stream must be the same engine's
    else
        status = dnnl_engine_create(&dnn->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = dnnl_stream_create(&stream, dnn->engine, dnnl_stream_default_flags);
    if (status != dnnl_success)
        return fail(err, status, "engine");
    for (int i = 0; i < dnn->plan->step_count && !r; i++)
        if (dnn->plan->step[i].kind == LS_STEP_CONV)
            r = make_conv(dnn, stream, i, err);
    dnnl_stream_destroy(stream);
    return r;
}

int ls_dnn_new(struct ls_dnn **out, const struct ls_net *net, const struct ls_dnn_params *params,
               struct ls_err *err)
{
    struct ls_plan_params plan = {.block = has_avx512() ? 16 : 8,
                                  .items_max = params->items_max,
                                  .first = {params->first[0], params->first[1]},
                                  .end = {params->end[0], params->end[1]},
                                  .height_min = params->height_min,
                                  .bf16 = params->bf16,
                                  .wants_floats = wants_floats};
    struct ls_dnn *dnn = calloc(1, sizeof *dnn);
    int r;

    if (!dnn)
        return ls_fail(err, LS_ENOMEM, "no memory for a network");
    use_one_thread();
    dnn->weights_of = params->weights_of;
    r = ls_plan_new(&dnn->plan, net, &plan, err);
    if (r)
        goto done;
    dnn->conv = calloc((size_t)dnn->plan->step_count, sizeof *dnn->conv);
    dnn->input = calloc((size_t)net->node_count * 2, sizeof *dnn->input);
    if (!dnn->conv || !dnn->input) {
        r = ls_fail(err, LS_ENOMEM, "no memory for a network");
        goto done;
    }
    dnn->output = dnn->input + net->node_count;
    for (int i = 0; i < net->node_count; i++) {
        if (net->node[i].layer->op == LS_NET_INPUT)
            dnn->input[dnn->input_count++] = i;
        if (net->node[i].layer->output)
            dnn->output[dnn->output_count++] = i;
    }
    r = make_convs(dnn, err);
    if (r)
        goto done;
    *out = dnn;
    dnn = NULL;
done:
    ls_dnn_free(&dnn);
    return r;
}

void ls_dnn_free(struct ls_dnn **dnn)
{
    struct ls_dnn *d = dnn ? *dnn : NULL;

    if (!d)
        return;
    for (int i = 0; d->conv && i < d->plan->step_count; i++) {
        dnnl_primitive_destroy(d->conv[i].primitive);
        if (d->conv[i].borrowed)
            continue;
        dnnl_memory_destroy(d->conv[i].weight);
        dnnl_memory_destroy(d->conv[i].bias);
    }
    if (d->engine && !d->weights_of)
        dnnl_engine_destroy(d->engine);
    ls_plan_free(&d->plan);
    free(d->conv);
    free(d->input);
    free(d);
    *dnn = NULL;
}

bool ls_dnn_winograd(const struct ls_dnn *dnn)
{
    return dnn->winograd;
}

static dnnl_status_t make_memories(struct memories *m, const struct ls_dnn *dnn, void *scratch)
{
    dnnl_status_t r = dnnl_success;

    for (int i = 0; i < dnn->plan->step_count && r == dnnl_success; i++) {
        const struct conv *c = &dnn->conv[i];

        if (!c->primitive)
            continue;
        r = dnnl_memory_create(&m[i].source, &c->source, dnn->engine, DNNL_MEMORY_NONE);
        if (r == dnnl_success)
            r = dnnl_memory_create(&m[i].target, &c->target, dnn->engine, DNNL_MEMORY_NONE);
        if (r == dnnl_success)
            r = dnnl_memory_create(&m[i].scratch, &c->scratch, dnn->engine, scratch);
    }
    return r;
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

static int lane_init(struct ls_dnn_lane *lane, const struct ls_dnn *const *dnn, int count,
                     struct ls_err *err)
{
    dnnl_status_t status;
    int r;

    lane->all = calloc((size_t)count, sizeof *lane->all);
    lane->all_memory = calloc((size_t)count, sizeof *lane->all_memory);
    if (!lane->all || !lane->all_memory)
        return ls_fail(err, LS_ENOMEM, "no memory for a lane");
    for (; lane->count < count; lane->count++)
        lane->all[lane->count] = dnn[lane->count];
    r = make_buffers(lane, err);
    if (r < 0)
        return r;
    status = dnnl_stream_create(&lane->stream, dnn[0]->engine, dnnl_stream_default_flags);
    for (int i = 0; i < count && status == dnnl_success; i++) {
        lane->all_memory[i] = calloc((size_t)dnn[i]->plan->step_count, sizeof *lane->all_memory[i]);
        if (!lane->all_memory[i])
            return ls_fail(err, LS_ENOMEM, "no memory for a lane");
        status = make_memories(lane->all_memory[i], dnn[i], lane->scratch);
    }
    if (status != dnnl_success)
        return fail(err, status, "lane");
    ls_dnn_use(lane, 0);
    return LS_OK;
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
        struct memories *m = l->all_memory[i];

        for (int k = 0; m && k < l->all[i]->plan->step_count; k++) {
            dnnl_memory_destroy(m[k].source);
            dnnl_memory_destroy(m[k].target);
            dnnl_memory_destroy(m[k].scratch);
        }
        free(m);
    }
    if (l->stream)
        dnnl_stream_destroy(l->stream);
    free(l->all_memory);
    free(l->all);
    free(l->arena);
    free(l->scratch);
    free(l);
    *lane = NULL;
}

void ls_dnn_use(struct ls_dnn_lane *lane, int idx)
{
    lane->dnn = lane->all[idx];
    lane->memory = lane->all_memory[idx];
}

float *ls_dnn_input(struct ls_dnn_lane *lane, int input_idx, int item)
{
    const struct ls_plan *plan = lane->dnn->plan;

    return (
        float *)(void *)(lane->arena +
                         ls_plan_at(plan, plan->place[lane->dnn->input[input_idx]].buffer, item));
}

static dnnl_status_t run_conv(struct ls_dnn_lane *lane, int idx, int item)
{
    const struct ls_plan *plan = lane->dnn->plan;
    const struct ls_step *step = &plan->step[idx];
    const struct ls_place *from = &plan->place[plan->net->node[step->node].layer->from[0]];
    const struct conv *conv = &lane->dnn->conv[idx];
    const struct memories *m = &lane->memory[idx];
    char *target = lane->arena;
    dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, m->source},
                              {DNNL_ARG_DST, m->target},
                              {DNNL_ARG_SCRATCHPAD, m->scratch},
                              {DNNL_ARG_WEIGHTS, conv->weight},
                              {DNNL_ARG_BIAS, conv->bias}};
    char *source = lane->arena + ls_plan_at(plan, from->buffer, item) + from->offset;
    dnnl_status_t r;

    if (step->bf16 && from->narrowed >= 0)
        source = lane->arena + ls_plan_at(plan, from->narrowed, item);
    if (step->phase)
        target += ls_plan_at(plan, step->target, item);
    else
        target += ls_plan_at(plan, plan->place[step->target].buffer, item) +
                  plan->place[step->target].offset;
    r = dnnl_memory_set_data_handle(m->source, source);
    if (r == dnnl_success)
        r = dnnl_memory_set_data_handle(m->target, target);
    if (r == dnnl_success)
        r = dnnl_primitive_execute(conv->primitive, lane->stream, 5, args);
    return r;
}

int ls_dnn_run_wanted(struct ls_dnn_lane *lane, int count, bool (*wanted)(void *user, int item),
                      void *user, struct ls_err *err)
{
    const struct ls_plan *plan = lane->dnn->plan;

    use_one_thread();
    for (int s = 0; s < plan->segment_count; s++)
        for (int item = 0; item < count; item++)
            for (int i = plan->segment[s].first;
                 i < plan->segment[s].first + plan->segment[s].count; i++) {
                dnnl_status_t r = dnnl_success;

                if (wanted && !wanted(user, item))
                    break;
                if (plan->step[i].kind == LS_STEP_CONV)
                    r = run_conv(lane, i, item);
                else
                    ls_loop_step(plan, &plan->step[i], lane->arena, item);
                if (r != dnnl_success)
                    return fail(err, r, plan->net->node[plan->step[i].node].layer->name);
            }
    return 0;
}

int ls_dnn_run(struct ls_dnn_lane *lane, int count, struct ls_err *err)
{
    return ls_dnn_run_wanted(lane, count, NULL, NULL, err);
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
