// SPDX-License-Identifier: Apache-2.0
// A convolution as an operation graph of cuDNN, and its execution plans (graph.h). Called by
// graph_set.c and its workers and by tests/device. What surprises: a transposed convolution is
// cuDNN's "backward data": our input is its DY, our output its DX, and our weights
// [c_in][kh][kw][c_out] are its W, whose K is our c_in.
#include "graph.h"

#ifndef LS_CUDA_NO_CUDNN

#include <float.h>
#include <stdlib.h>

#include "graph_make.h"

enum { UID_IN = 1, UID_WEIGHT, UID_BIAS, UID_OUT, UID_SUM, UID_BIASED };

// dim and stride in cuDNN's order: n, c, h, w.
struct tensor {
    int64_t uid;
    cudnnDataType_t type;
    int64_t dim[4], stride[4];
    bool is_virtual; // only passes from one operation to the next: never in memory
};

static cudnnBackendDescriptor_t make_tensor(struct ls_cuda_maker *m, const struct tensor *t)
{
    cudnnBackendDescriptor_t d = ls_cuda_make(m, CUDNN_BACKEND_TENSOR_DESCRIPTOR);

    ls_cuda_make_int(m, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, t->uid);
    ls_cuda_make_set(m, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &t->type);
    ls_cuda_make_set(m, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, t->dim);
    ls_cuda_make_set(m, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, t->stride);
    ls_cuda_make_int(m, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 16);
    ls_cuda_make_set(m, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &t->is_virtual);
    ls_cuda_make_final(m, d, "tensor");
    return d;
}

static cudnnDataType_t data_type(const struct ls_cuda_conv_shape *shape)
{
    return shape->type == LS_CUDA_FP16 ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT;
}

static struct tensor stored(int64_t uid, const struct ls_cuda_conv_shape *shape,
                            const struct ls_cuda_tensor *t)
{
    return (struct tensor){.uid = uid,
                           .type = data_type(shape),
                           .dim = {shape->batch, t->c, t->h, t->w},
                           .stride = {t->item, 1, t->row, t->pixel}};
}

// A result in float between two operations, as big as the output.
static struct tensor passing(int64_t uid, const struct ls_cuda_conv_shape *shape)
{
    int64_t c = shape->out.c, row = shape->out.w * c;

    return (struct tensor){.uid = uid,
                           .type = CUDNN_DATA_FLOAT,
                           .dim = {shape->batch, c, shape->out.h, shape->out.w},
                           .stride = {shape->out.h * row, 1, row, c},
                           .is_virtual = true};
}

// Ordinary [c_out][kh][kw][c_in], transposed [c_in][kh][kw][c_out].
static struct tensor weights(const struct ls_cuda_conv_shape *shape)
{
    int64_t outer = shape->transposed ? shape->in.c : shape->out.c;
    int64_t inner = shape->transposed ? shape->out.c : shape->in.c;
    int64_t kh = shape->kernel[0], kw = shape->kernel[1];

    return (struct tensor){.uid = UID_WEIGHT,
                           .type = data_type(shape),
                           .dim = {outer, inner, kh, kw},
                           .stride = {kh * kw * inner, 1, kw * inner, inner}};
}

static struct tensor biases(const struct ls_cuda_conv_shape *shape)
{
    int64_t c = shape->out.c;

    return (struct tensor){
        .uid = UID_BIAS, .type = CUDNN_DATA_FLOAT, .dim = {1, c, 1, 1}, .stride = {c, 1, c, c}};
}

// Sums are float; TF32 is what the engines make of float tensors on tensor cores.
static cudnnBackendDescriptor_t make_convolution(struct ls_cuda_maker *m,
                                                 const struct ls_cuda_conv_shape *shape)
{
    cudnnBackendDescriptor_t d = ls_cuda_make(m, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION; // kernels are not turned round
    cudnnDataType_t sum = CUDNN_DATA_FLOAT;
    int64_t pad[2] = {shape->pad[0], shape->pad[1]}, dilation[2] = {1, 1};
    int64_t stride[2] = {shape->stride[0], shape->stride[1]};

    ls_cuda_make_int(m, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 2);
    ls_cuda_make_set(m, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sum);
    ls_cuda_make_set(m, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    ls_cuda_make_set(m, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    ls_cuda_make_set(m, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    ls_cuda_make_set(m, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation);
    ls_cuda_make_set(m, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride);
    ls_cuda_make_final(m, d, "convolution");
    return d;
}

static cudnnBackendDescriptor_t make_sum(struct ls_cuda_maker *m,
                                         const struct ls_cuda_conv_shape *shape,
                                         cudnnBackendDescriptor_t out)
{
    bool t = shape->transposed;
    struct tensor in = stored(UID_IN, shape, &shape->in), weight = weights(shape);
    cudnnBackendDescriptor_t x = make_tensor(m, &in), w = make_tensor(m, &weight);
    cudnnBackendDescriptor_t convolution = make_convolution(m, shape);
    cudnnBackendDescriptor_t d =
        ls_cuda_make(m, t ? CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR
                          : CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    float one = 1, zero = 0;

    ls_cuda_make_link(m, d,
                      t ? CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC
                        : CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                      convolution);
    ls_cuda_make_link(m, d,
                      t ? CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY
                        : CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                      x);
    ls_cuda_make_link(m, d,
                      t ? CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W
                        : CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                      w);
    ls_cuda_make_link(m, d,
                      t ? CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX
                        : CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                      out);
    ls_cuda_make_set(m, d,
                     t ? CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA
                       : CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                     CUDNN_TYPE_FLOAT, 1, &one);
    ls_cuda_make_set(m, d,
                     t ? CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA
                       : CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
                     CUDNN_TYPE_FLOAT, 1, &zero);
    ls_cuda_make_final(m, d, t ? "transposed convolution" : "convolution of tensors");
    return d;
}

// out = in + b, or, without b, max(in, 0).
static cudnnBackendDescriptor_t make_pointwise(struct ls_cuda_maker *m,
                                               cudnnBackendDescriptor_t out,
                                               cudnnBackendDescriptor_t in,
                                               cudnnBackendDescriptor_t b)
{
    cudnnBackendDescriptor_t how = ls_cuda_make(m, CUDNN_BACKEND_POINTWISE_DESCRIPTOR), d;
    cudnnPointwiseMode_t mode = b ? CUDNN_POINTWISE_ADD : CUDNN_POINTWISE_RELU_FWD;
    cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    double most = FLT_MAX;

    ls_cuda_make_set(m, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    ls_cuda_make_set(m, how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &precision);
    if (!b) // else the largest double, which is no float
        ls_cuda_make_set(m, how, CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, CUDNN_TYPE_DOUBLE, 1, &most);
    ls_cuda_make_final(m, how, "pointwise");
    d = ls_cuda_make(m, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    ls_cuda_make_link(m, d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    ls_cuda_make_link(m, d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, in);
    if (b)
        ls_cuda_make_link(m, d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    ls_cuda_make_link(m, d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, out);
    ls_cuda_make_final(m, d, b ? "bias" : "ReLU");
    return d;
}

cudnnBackendDescriptor_t ls_cuda_make_graph(struct ls_cuda_maker *m,
                                            const struct ls_cuda_conv_shape *shape)
{
    struct tensor sum = passing(UID_SUM, shape), biased = passing(UID_BIASED, shape);
    struct tensor out = stored(UID_OUT, shape, &shape->out), bias = biases(shape);
    cudnnBackendDescriptor_t sum_d = make_tensor(m, &sum), out_d = make_tensor(m, &out);
    cudnnBackendDescriptor_t bias_d = make_tensor(m, &bias), last = out_d, operation[3], d;
    int count = 0;

    if (shape->act == LS_ACT_RELU)
        last = make_tensor(m, &biased);
    operation[count++] = make_sum(m, shape, sum_d);
    operation[count++] = make_pointwise(m, last, sum_d, bias_d);
    if (shape->act == LS_ACT_RELU)
        operation[count++] = make_pointwise(m, out_d, last, NULL);
    d = ls_cuda_make(m, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    ls_cuda_make_set(m, d, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count,
                     operation);
    ls_cuda_make_final(m, d, "operation graph");
    return d;
}

// --- plans -------------------------------------------------------------------------------------

static cudnnBackendDescriptor_t make_config(struct ls_cuda_maker *m, cudnnBackendDescriptor_t graph,
                                            const struct ls_cuda_config *config,
                                            cudnnBackendDescriptor_t description)
{
    cudnnBackendDescriptor_t engine = ls_cuda_make(m, CUDNN_BACKEND_ENGINE_DESCRIPTOR), d;
    cudnnBackendDescriptor_t choice[LS_CUDA_KNOBS_MAX];

    ls_cuda_make_link(m, engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph);
    ls_cuda_make_int(m, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, config->engine);
    ls_cuda_make_link(m, engine, CUDNN_ATTR_ENGINE_DEVICEPROP, description);
    ls_cuda_make_final(m, engine, "engine");
    for (int i = 0; i < config->knob_count; i++) {
        cudnnBackendKnobType_t type = (cudnnBackendKnobType_t)config->knob[i].type;

        choice[i] = ls_cuda_make(m, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
        ls_cuda_make_set(m, choice[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1,
                         &type);
        ls_cuda_make_int(m, choice[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, config->knob[i].value);
        ls_cuda_make_final(m, choice[i], "engine's knob");
    }
    d = ls_cuda_make(m, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    ls_cuda_make_link(m, d, CUDNN_ATTR_ENGINECFG_ENGINE, engine);
    if (config->knob_count > 0)
        ls_cuda_make_set(m, d, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                         config->knob_count, choice);
    ls_cuda_make_final(m, d, "engine's configuration");
    return d;
}

static void refuse_workspace(struct ls_cuda_maker *m, cudnnBackendDescriptor_t plan)
{
    int64_t size = 0, count = 0;

    if (m->r < 0)
        return;
    m->r =
        ls_cuda_cudnn_check(m->err,
                            cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                                     CUDNN_TYPE_INT64, 1, &count, &size),
                            "workspace's size");
    if (m->r == 0 && size > 0)
        m->r = ls_fail(m->err, LS_EDEVICE, "cuDNN: the plan wants a workspace of %lld bytes",
                       (long long)size);
}

static int hand_out(struct ls_cuda_plan **out, struct ls_cuda_maker *m, cudnnBackendDescriptor_t d)
{
    refuse_workspace(m, d);
    if (m->r < 0) {
        ls_cuda_plan_free(&m->plan);
        return m->r;
    }
    m->plan->plan = d;
    *out = m->plan;
    return LS_OK;
}

int ls_cuda_plan_build(struct ls_cuda_plan **out, const struct ls_cuda_conv_shape *shape,
                       const struct ls_cuda_config *config, cudnnBackendDescriptor_t description,
                       struct ls_err *err)
{
    struct ls_cuda_maker m = ls_cuda_maker_new(err);
    cudnnBackendDescriptor_t chosen, d;

    chosen = make_config(&m, ls_cuda_make_graph(&m, shape), config, description);
    d = ls_cuda_make(&m, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    ls_cuda_make_link(&m, d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, chosen);
    ls_cuda_make_link(&m, d, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, description);
    ls_cuda_make_final(&m, d, "plan");
    return hand_out(out, &m, d);
}

int ls_cuda_plan_write(char **out, size_t *size, const struct ls_cuda_plan *plan,
                       struct ls_err *err)
{
    return ls_cuda_get_text(out, size, plan->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                            err);
}

int ls_cuda_plan_read(struct ls_cuda_plan **out, const char *text, size_t size,
                      cudnnBackendDescriptor_t description, struct ls_err *err)
{
    struct ls_cuda_maker m = ls_cuda_maker_new(err);
    cudnnBackendDescriptor_t d;

    d = ls_cuda_make(&m, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    ls_cuda_make_link(&m, d, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, description);
    ls_cuda_make_set(&m, d, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                     (int64_t)size, text);
    ls_cuda_make_final(&m, d, "plan from the cache");
    return hand_out(out, &m, d);
}

int ls_cuda_plan_run(const struct ls_cuda_plan *plan, cudnnHandle_t handle,
                     const struct ls_cuda_operands *operands, struct ls_err *err)
{
    // cuDNN takes pointers to anything as void *; it writes to the output alone.
    void *pointer[] = {(void *)operands->in, (void *)operands->weight, (void *)operands->bias,
                       operands->out};
    const int64_t uid[] = {UID_IN, UID_WEIGHT, UID_BIAS, UID_OUT};
    void *workspace = NULL;
    struct ls_cuda_plan pack = {.made_count = 0};
    struct ls_cuda_maker m = {.plan = &pack, .err = err};
    cudnnBackendDescriptor_t d = ls_cuda_make(&m, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);

    ls_cuda_make_set(&m, d, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 4, uid);
    ls_cuda_make_set(&m, d, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 4, pointer);
    ls_cuda_make_set(&m, d, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    ls_cuda_make_final(&m, d, "operands");
    if (m.r == 0)
        m.r = ls_cuda_cudnn_check(err, cudnnBackendExecute(handle, plan->plan, d), "convolution");
    if (pack.made_count > 0)
        (void)cudnnBackendDestroyDescriptor(pack.made[0]);
    return m.r;
}

#endif
