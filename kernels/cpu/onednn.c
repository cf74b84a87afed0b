// SPDX-License-Identifier: Apache-2.0
// The only file that knows oneDNN: makes a convolution's primitive, holds its weights in the order
// that it wants, and runs it. Any thread, see onednn.h.
// Which algorithm a layer gets is decided by its shape alone, never by a race: a clock must not
// change a result. The library's scratch memory is a call's own, which is what makes a primitive
// usable by many threads at once.
#include "onednn.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <oneapi/dnnl/dnnl.h>

struct ls_onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream; // of those who make convolutions
};

struct ls_onednn_conv {
    struct ls_onednn *engine;
    dnnl_primitive_t primitive;
    dnnl_memory_desc_t source, target, weights, scratch;
    dnnl_memory_t weight, bias;
    struct ls_conv_shape shape;
    bool bytes, winograd;
    bool borrowed; // weight and bias are another one's
    float *scale;  // [c_out], or NULL
};

struct ls_onednn_call {
    const struct ls_onednn_conv *conv;
    dnnl_stream_t stream;
    dnnl_memory_t source, target, scratch;
};

// oneDNN splits a primitive over OpenMP's threads, both when it is made and when it runs; lanes are
// the parallel unit here, so each calling thread asks for one. The number is the calling thread's
// own (OpenMP's nthreads-var), so nobody else is affected. It is looked up at run time because it
// must go to whichever OpenMP library oneDNN brought along, and there is none if it was built
// without.
void ls_onednn_alone(void)
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

static bool has(dnnl_cpu_isa_t isa)
{
    return (dnnl_get_effective_cpu_isa() & isa) == isa;
}

bool ls_onednn_has(enum ls_onednn_has what)
{
    switch (what) {
    case LS_HAS_AVX512:
        return has(dnnl_cpu_isa_avx512_core);
    case LS_HAS_AVX2:
        return has(dnnl_cpu_isa_avx2);
    case LS_HAS_BF16:
        return has(dnnl_cpu_isa_avx512_core_bf16);
    case LS_HAS_INT8:
        return has(dnnl_cpu_isa_avx512_core_vnni) || has(dnnl_cpu_isa_avx2_vnni);
    }
    return false;
}

int ls_onednn_new(struct ls_onednn **out, struct ls_err *err)
{
    struct ls_onednn *engine = calloc(1, sizeof *engine);
    dnnl_status_t status;

    if (!engine)
        return ls_fail(err, LS_ENOMEM, "no memory for oneDNN");
    status = dnnl_engine_create(&engine->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = dnnl_stream_create(&engine->stream, engine->engine, dnnl_stream_default_flags);
    if (status != dnnl_success) {
        ls_onednn_free(&engine);
        return fail(err, status, "engine");
    }
    *out = engine;
    return LS_OK;
}

void ls_onednn_free(struct ls_onednn **engine)
{
    struct ls_onednn *e = engine ? *engine : NULL;

    if (!e)
        return;
    if (e->stream)
        dnnl_stream_destroy(e->stream);
    if (e->engine)
        dnnl_engine_destroy(e->engine);
    free(e);
    *engine = NULL;
}

static dnnl_data_type_t type_of(enum ls_value value)
{
    return value == LS_VALUE_F32 ? dnnl_f32 : value == LS_VALUE_BF16 ? dnnl_bf16 : dnnl_u8;
}

// Scales, the scratch memory's place, and what is done with a sum.
static dnnl_status_t make_attr(dnnl_primitive_attr_t *attr, const struct ls_onednn_params *p)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t r = dnnl_primitive_attr_create(attr);

    if (r == dnnl_success)
        r = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (r == dnnl_success && p->scale)
        r = dnnl_primitive_attr_set_output_scales(*attr, p->shape->c_out, 1 << 1, p->scale);
    if (r == dnnl_success)
        r = dnnl_post_ops_create(&ops);
    if (r == dnnl_success && p->keep > 0)
        r = dnnl_post_ops_append_sum(ops, p->keep);
    // Bytes have no sign: what is below zero ends at zero anyway.
    if (r == dnnl_success && p->act != LS_ACT_NONE && p->target != LS_VALUE_U8)
        r = dnnl_post_ops_append_eltwise(
            ops, 1, p->act == LS_ACT_RELU ? dnnl_eltwise_relu : dnnl_eltwise_logistic, 0, 0);
    if (r == dnnl_success)
        r = dnnl_primitive_attr_set_post_ops(*attr, ops);
    dnnl_post_ops_destroy(ops);
    return r;
}

static dnnl_status_t make_descs(dnnl_convolution_desc_t *out, const struct ls_onednn_params *p,
                                dnnl_alg_kind_t algorithm)
{
    const struct ls_conv_shape *s = p->shape;
    dnnl_format_tag_t tag = p->block == 16 ? dnnl_nChw16c : p->block == 8 ? dnnl_nChw8c : dnnl_nhwc;
    dnnl_data_type_t weight_type = p->source == LS_VALUE_U8 ? dnnl_s8 : type_of(p->source);
    dnnl_dims_t stride = {s->stride[0], s->stride[1]};
    dnnl_dims_t first = {s->pad_first[0], s->pad_first[1]};
    dnnl_dims_t last = {s->pad_last[0], s->pad_last[1]};
    dnnl_dims_t dim = {1, s->c_in, s->h_in, s->w_in};
    dnnl_dims_t target_dim = {1, s->c_out, s->h_out, s->w_out};
    dnnl_dims_t weight_dim = {s->c_out, s->c_in, s->kernel[0], s->kernel[1]};
    dnnl_dims_t group_dim = {s->c_out, 1, 1, s->kernel[0], s->kernel[1]};
    dnnl_dims_t bias_dim = {s->c_out};
    dnnl_memory_desc_t source, target, weight, bias;
    // One channel lies the same either way, but the library compares strides.
    bool plain = p->plain && !(s->c_in == 1 && tag == dnnl_nhwc);
    dnnl_status_t r =
        dnnl_memory_desc_init_by_tag(&source, 4, dim, type_of(p->source), plain ? dnnl_nchw : tag);

    if (r == dnnl_success)
        r = dnnl_memory_desc_init_by_tag(&target, 4, target_dim, type_of(p->target), tag);
    if (r == dnnl_success)
        r = dnnl_memory_desc_init_by_tag(&weight, s->depthwise ? 5 : 4,
                                         s->depthwise ? group_dim : weight_dim, weight_type,
                                         dnnl_format_tag_any);
    if (r == dnnl_success)
        r = dnnl_memory_desc_init_by_tag(&bias, 1, bias_dim, dnnl_f32, dnnl_a);
    if (r == dnnl_success)
        r = dnnl_convolution_forward_desc_init(out, dnnl_forward_inference, algorithm, &source,
                                               &weight, &bias, &target, stride, first, last);
    return r;
}

// True if the library has this algorithm here. A "Winograd" request may be answered by another.
static bool find_kernel(dnnl_primitive_desc_t *out, const struct ls_onednn *engine,
                        const struct ls_onednn_params *params, dnnl_alg_kind_t algorithm,
                        dnnl_status_t *status)
{
    dnnl_convolution_desc_t desc;
    dnnl_primitive_attr_t attr = NULL;

    *status = make_attr(&attr, params);
    if (*status == dnnl_success)
        *status = make_descs(&desc, params, algorithm);
    if (*status == dnnl_success)
        *status = dnnl_primitive_desc_create(out, &desc, attr, engine->engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    return *status == dnnl_success;
}

static int make_primitive(struct ls_onednn_conv *conv, const struct ls_onednn_params *params,
                          struct ls_err *err)
{
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t status;

    if (params->winograd &&
        find_kernel(&desc, conv->engine, params, dnnl_convolution_winograd, &status))
        conv->winograd = true;
    else if (!find_kernel(&desc, conv->engine, params, dnnl_convolution_direct, &status))
        return fail(err, status, "no such convolution");
    status = dnnl_primitive_create(&conv->primitive, desc);
    if (status == dnnl_success) {
        conv->source = *dnnl_primitive_desc_query_md(desc, dnnl_query_src_md, 0);
        conv->target = *dnnl_primitive_desc_query_md(desc, dnnl_query_dst_md, 0);
        conv->weights = *dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
        conv->scratch = *dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    }
    dnnl_primitive_desc_destroy(desc);
    return status == dnnl_success ? LS_OK : fail(err, status, "primitive");
}

int ls_onednn_conv_new(struct ls_onednn_conv **out, struct ls_onednn *engine,
                       const struct ls_onednn_params *params, struct ls_err *err)
{
    struct ls_onednn_conv *conv = calloc(1, sizeof *conv);
    size_t count = (size_t)params->shape->c_out;
    int r = LS_OK;

    if (!conv)
        return ls_fail(err, LS_ENOMEM, "no memory for a layer");
    conv->engine = engine;
    conv->shape = *params->shape;
    conv->bytes = params->source == LS_VALUE_U8;
    if (params->scale) {
        conv->scale = malloc(sizeof *conv->scale * count);
        if (conv->scale)
            memcpy(conv->scale, params->scale, sizeof *conv->scale * count);
        else
            r = ls_fail(err, LS_ENOMEM, "no memory for a layer");
    }
    if (r == LS_OK)
        r = make_primitive(conv, params, err);
    if (r < 0)
        ls_onednn_conv_free(&conv);
    else
        *out = conv;
    return r;
}

void ls_onednn_conv_free(struct ls_onednn_conv **conv)
{
    struct ls_onednn_conv *c = conv ? *conv : NULL;

    if (!c)
        return;
    dnnl_primitive_destroy(c->primitive);
    if (!c->borrowed) {
        dnnl_memory_destroy(c->weight);
        dnnl_memory_destroy(c->bias);
    }
    free(c->scale);
    free(c);
    *conv = NULL;
}

bool ls_onednn_conv_winograd(const struct ls_onednn_conv *conv)
{
    return conv->winograd;
}

size_t ls_onednn_conv_scratch(const struct ls_onednn_conv *conv)
{
    return dnnl_memory_desc_get_size(&conv->scratch);
}

const float *ls_onednn_conv_scale(const struct ls_onednn_conv *conv)
{
    return conv->scale;
}

bool ls_onednn_conv_borrow(struct ls_onednn_conv *conv, const struct ls_onednn_conv *other)
{
    if (!dnnl_memory_desc_equal(&conv->weights, &other->weights))
        return false;
    conv->weight = other->weight;
    conv->bias = other->bias;
    conv->borrowed = true;
    return true;
}

// Copies packed numbers into memory of the library's own, in the order that the primitive wants.
static dnnl_status_t load(dnnl_memory_t *out, const struct ls_onednn *engine, const void *from,
                          const dnnl_memory_desc_t *plain, const dnnl_memory_desc_t *wanted)
{
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_memory_t source = NULL;
    // The library takes what it only reads as void *, too.
    dnnl_status_t r = dnnl_memory_create(&source, plain, engine->engine, (void *)from);

    if (r == dnnl_success)
        r = dnnl_memory_create(out, wanted, engine->engine, DNNL_MEMORY_ALLOCATE);
    if (r == dnnl_success)
        r = dnnl_reorder_primitive_desc_create(&desc, plain, engine->engine, wanted, engine->engine,
                                               NULL);
    if (r == dnnl_success)
        r = dnnl_primitive_create(&reorder, desc);
    if (r == dnnl_success) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, *out}};

        r = dnnl_primitive_execute(reorder, engine->stream, 2, args);
    }
    if (r == dnnl_success)
        r = dnnl_stream_wait(engine->stream);
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(desc);
    dnnl_memory_destroy(source);
    return r;
}

int ls_onednn_conv_load(struct ls_onednn_conv *conv, const void *weight, const float *bias,
                        struct ls_err *err)
{
    const struct ls_conv_shape *s = &conv->shape;
    dnnl_memory_desc_t weight_desc, bias_desc;
    dnnl_dims_t dim = {s->c_out, s->c_in, s->kernel[0], s->kernel[1]};
    dnnl_dims_t group_dim = {s->c_out, 1, 1, s->kernel[0], s->kernel[1]};
    dnnl_dims_t bias_dim = {s->c_out};
    dnnl_status_t status = dnnl_memory_desc_init_by_tag(
        &weight_desc, s->depthwise ? 5 : 4, s->depthwise ? group_dim : dim,
        conv->bytes ? dnnl_s8 : dnnl_f32, s->depthwise ? dnnl_goihw : dnnl_oihw);

    if (status == dnnl_success)
        status = dnnl_memory_desc_init_by_tag(&bias_desc, 1, bias_dim, dnnl_f32, dnnl_a);
    if (status == dnnl_success)
        status = load(&conv->weight, conv->engine, weight, &weight_desc, &conv->weights);
    if (status == dnnl_success)
        status = load(&conv->bias, conv->engine, bias, &bias_desc, &bias_desc);
    return status == dnnl_success ? LS_OK : fail(err, status, "weights");
}

int ls_onednn_call_new(struct ls_onednn_call **out, const struct ls_onednn_conv *conv,
                       void *scratch, struct ls_err *err)
{
    struct ls_onednn_call *call = calloc(1, sizeof *call);
    dnnl_engine_t engine = conv->engine->engine;
    dnnl_status_t r;

    if (!call)
        return ls_fail(err, LS_ENOMEM, "no memory for a layer");
    call->conv = conv;
    r = dnnl_stream_create(&call->stream, engine, dnnl_stream_default_flags);
    if (r == dnnl_success)
        r = dnnl_memory_create(&call->source, &conv->source, engine, DNNL_MEMORY_NONE);
    if (r == dnnl_success)
        r = dnnl_memory_create(&call->target, &conv->target, engine, DNNL_MEMORY_NONE);
    if (r == dnnl_success)
        r = dnnl_memory_create(&call->scratch, &conv->scratch, engine, scratch);
    if (r != dnnl_success) {
        ls_onednn_call_free(&call);
        return fail(err, r, "operands");
    }
    *out = call;
    return LS_OK;
}

void ls_onednn_call_free(struct ls_onednn_call **call)
{
    struct ls_onednn_call *c = call ? *call : NULL;

    if (!c)
        return;
    dnnl_memory_destroy(c->source);
    dnnl_memory_destroy(c->target);
    dnnl_memory_destroy(c->scratch);
    if (c->stream)
        dnnl_stream_destroy(c->stream);
    free(c);
    *call = NULL;
}

int ls_onednn_call_run(struct ls_onednn_call *call, const void *source, void *target,
                       struct ls_err *err)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, call->source},
                              {DNNL_ARG_DST, call->target},
                              {DNNL_ARG_SCRATCHPAD, call->scratch},
                              {DNNL_ARG_WEIGHTS, call->conv->weight},
                              {DNNL_ARG_BIAS, call->conv->bias}};
    // The library takes what it only reads as void *, too.
    dnnl_status_t r = dnnl_memory_set_data_handle(call->source, (void *)source);

    if (r == dnnl_success)
        r = dnnl_memory_set_data_handle(call->target, target);
    if (r == dnnl_success)
        r = dnnl_primitive_execute(call->conv->primitive, call->stream, 5, args);
    return r == dnnl_success ? LS_OK : fail(err, r, "a convolution");
}
