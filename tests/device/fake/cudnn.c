// SPDX-License-Identifier: Apache-2.0
// The part of cuDNN's backend API that kernels/cuda uses, in place of cuDNN: a descriptor is a list
// of attributes, a plan is a convolution that the plain kernel computes, an engine is a way to fail
// (cudnn.h). Made for the test of choosing, which wants to see engines that are slow, wrong or
// differ from batch to batch, and a device that is none. What surprises: it derives a plan's shape
// from the descriptors alone, so a graph that is described wrongly computes something else.
#include "cudnn.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cudnn_graph.h>

#include "kernels/cuda/conv.h"
#include "tests/kernels/_device.h"

struct fake_engine fake_engines[FAKE_ENGINES_MAX];
int fake_favourite_to, fake_favourite, fake_last_engine;
atomic_int fake_built, fake_read, fake_alive;

enum { ATTRIBUTES_MAX = 16 };
struct attribute {
    cudnnBackendAttributeName_t name;
    int64_t count;
    void *value;
};
struct descriptor {
    cudnnBackendDescriptorType_t type;
    struct attribute attribute[ATTRIBUTES_MAX];
    int count;
    bool is_final;
    // Plans.
    struct ls_cuda_conv_shape shape;
    int engine;
};

static size_t size_of(cudnnBackendAttributeType_t type)
{
    switch (type) {
    case CUDNN_TYPE_CHAR:
        return 1;
    case CUDNN_TYPE_BOOLEAN:
        return sizeof(bool);
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
        return 8;
    default:
        return 4; // float and enumerations
    }
}

static const struct attribute *find(const struct descriptor *d, cudnnBackendAttributeName_t name)
{
    for (int i = 0; i < d->count; i++)
        if (d->attribute[i].name == name)
            return &d->attribute[i];
    return NULL;
}

static const int64_t *numbers(const struct descriptor *d, cudnnBackendAttributeName_t name)
{
    return find(d, name) ? find(d, name)->value : NULL;
}

static struct descriptor *link_of(const struct descriptor *d, cudnnBackendAttributeName_t name,
                                  int idx)
{
    const struct attribute *a = find(d, name);

    return a && idx < a->count ? ((struct descriptor **)a->value)[idx] : NULL;
}

static const struct fake_engine *engine_of(int id)
{
    for (int i = 0; i < FAKE_ENGINES_MAX && fake_engines[i].id; i++)
        if (fake_engines[i].id == id)
            return &fake_engines[i];
    return NULL;
}

// --- what a graph says -------------------------------------------------------------------------

static struct ls_cuda_tensor tensor_of(const struct descriptor *d)
{
    const int64_t *dim = numbers(d, CUDNN_ATTR_TENSOR_DIMENSIONS);
    const int64_t *stride = numbers(d, CUDNN_ATTR_TENSOR_STRIDES);

    assert(stride[1] == 1);
    return (struct ls_cuda_tensor){.h = (int)dim[2],
                                   .w = (int)dim[3],
                                   .c = (int)dim[1],
                                   .item = stride[0],
                                   .row = stride[2],
                                   .pixel = stride[3]};
}

static void read_sum(struct ls_cuda_conv_shape *s, const struct descriptor *operation)
{
    bool t = operation->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR;
    const struct descriptor *x = link_of(operation,
                                         t ? CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY
                                           : CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                                         0);
    const struct descriptor *w = link_of(operation,
                                         t ? CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W
                                           : CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                                         0);
    const struct descriptor *how = link_of(operation,
                                           t ? CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC
                                             : CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                                           0);
    const int64_t *kernel = numbers(w, CUDNN_ATTR_TENSOR_DIMENSIONS);

    s->transposed = t;
    s->type = *(cudnnDataType_t *)find(x, CUDNN_ATTR_TENSOR_DATA_TYPE)->value == CUDNN_DATA_HALF
                  ? LS_CUDA_FP16
                  : LS_CUDA_TF32;
    s->batch = (int)numbers(x, CUDNN_ATTR_TENSOR_DIMENSIONS)[0];
    s->in = tensor_of(x);
    for (int d = 0; d < 2; d++) {
        s->kernel[d] = (int)kernel[2 + d];
        s->stride[d] = (int)numbers(how, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES)[d];
        s->pad[d] = (int)numbers(how, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS)[d];
    }
    // The graph's sum is virtual; the width tells whether W is laid out as it should be.
    assert(kernel[t ? 0 : 1] == s->in.c);
}

static struct ls_cuda_conv_shape shape_of(const struct descriptor *graph)
{
    const struct attribute *ops = find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    const struct descriptor *last =
        link_of(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, (int)ops->count - 1);
    struct ls_cuda_conv_shape s = {.act = ops->count == 3 ? LS_ACT_RELU : LS_ACT_NONE};

    read_sum(&s, link_of(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, 0));
    s.out = tensor_of(link_of(last, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, 0));
    return s;
}

static cudnnStatus_t finish_plan(struct descriptor *d)
{
    const struct attribute *text = find(d, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
    const struct descriptor *config = link_of(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, 0);
    const struct descriptor *engine;
    const struct fake_engine *e;

    assert(find(d, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP));
    if (text) {
        // Its own shape's bytes, as it wrote them itself.
        if (text->count != sizeof d->shape + sizeof d->engine)
            return CUDNN_STATUS_BAD_PARAM;
        memcpy(&d->shape, text->value, sizeof d->shape);
        memcpy(&d->engine, (char *)text->value + sizeof d->shape, sizeof d->engine);
        fake_read++;
        return engine_of(d->engine) ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
    }
    engine = link_of(config, CUDNN_ATTR_ENGINECFG_ENGINE, 0);
    d->engine = (int)*numbers(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
    d->shape = shape_of(link_of(engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, 0));
    e = engine_of(d->engine);
    fake_built++;
    return e && (!e->fails_from || d->shape.batch < e->fails_from) ? CUDNN_STATUS_SUCCESS
                                                                   : CUDNN_STATUS_NOT_SUPPORTED;
}

// --- the API -----------------------------------------------------------------------------------

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *out)
{
    struct descriptor *d = calloc(1, sizeof *d);

    d->type = type;
    *out = d;
    fake_alive++;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor)
{
    struct descriptor *d = descriptor;

    for (int i = 0; i < d->count; i++)
        free(d->attribute[i].value);
    free(d);
    fake_alive--;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void *value)
{
    struct descriptor *d = descriptor;
    size_t size = (size_t)count * size_of(type);
    struct attribute *a = &d->attribute[d->count++];

    assert(!d->is_final && d->count <= ATTRIBUTES_MAX && count > 0);
    for (int64_t i = 0; type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < count; i++)
        assert(((struct descriptor *const *)value)[i]->is_final);
    *a = (struct attribute){.name = name, .count = count, .value = malloc(size)};
    memcpy(a->value, value, size);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor)
{
    struct descriptor *d = descriptor;

    assert(!d->is_final);
    d->is_final = true;
    return d->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR ? finish_plan(d)
                                                              : CUDNN_STATUS_SUCCESS;
}

// Puts an engine into a descriptor that the caller has made.
static void propose(struct descriptor *to, int id)
{
    int64_t engine = id;

    (void)cudnnBackendSetAttribute(to, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1,
                                   &engine);
}

static int64_t propose_all(const struct descriptor *heuristics, int64_t max,
                           struct descriptor *const *out)
{
    struct ls_cuda_conv_shape shape =
        shape_of(link_of(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, 0));
    bool fallback =
        *(cudnnBackendHeurMode_t *)find(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE)->value ==
        CUDNN_HEUR_MODE_FALLBACK;
    int64_t n = 0;

    if (fallback)
        return 0;
    if (fake_favourite && shape.batch <= fake_favourite_to)
        propose(out[n++], fake_favourite);
    for (int i = 0; i < FAKE_ENGINES_MAX && fake_engines[i].id && n < max; i++)
        propose(out[n++], fake_engines[i].id);
    return n;
}

static int64_t notes(int id, cudnnBackendNumericalNote_t *out)
{
    const struct fake_engine *e = engine_of(id);

    out[0] = CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
    out[1] = CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
    return e && e->random ? 2 : 1;
}

// What a plan is written as, and the text of the device.
static int64_t text_of(const struct descriptor *d, int64_t max, char *out)
{
    static const char device[] = "{\"deviceName\": \"of tests\"}";
    int64_t size = d->type == CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR
                       ? (int64_t)sizeof device - 1
                       : (int64_t)(sizeof d->shape + sizeof d->engine);

    if (max < size)
        return size;
    if (d->type == CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR) {
        memcpy(out, device, (size_t)size);
    } else {
        memcpy(out, &d->shape, sizeof d->shape);
        memcpy(out + sizeof d->shape, &d->engine, sizeof d->engine);
    }
    return size;
}

cudnnStatus_t cudnnBackendGetAttribute(const cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t max,
                                       int64_t *count, void *out)
{
    const struct descriptor *d = descriptor;
    const int64_t *engine = numbers(d, CUDNN_ATTR_ENGINE_GLOBAL_INDEX);

    (void)type;
    switch ((int)name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
        *count = propose_all(d, max, out);
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINECFG_ENGINE:
        propose(*(struct descriptor **)out, (int)*engine);
        *count = 1;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
        *(int64_t *)out = *engine;
        *count = 1;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
        *count = notes((int)*engine, out);
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        *(int64_t *)out = engine_of(d->engine) ? engine_of(d->engine)->workspace_size : 0;
        *count = 1;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION:
    case CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION:
        *count = text_of(d, max, out);
        return CUDNN_STATUS_SUCCESS;
    default:
        return CUDNN_STATUS_NOT_SUPPORTED; // knobs: these engines have none
    }
}

// --- running -----------------------------------------------------------------------------------

static cudaStream_t stream_now;
static int handle_of_all;

struct fault {
    struct ls_cuda_conv_shape shape;
    struct fake_engine engine;
    unsigned char *out;
    const uint16_t *in, *weight;
    const float *bias;
};

// One number of the result, its terms from the last to the first.
static float turned_sum(const struct fault *f, const uint16_t *in, int y, int x, int c)
{
    const struct ls_cuda_conv_shape *s = &f->shape;
    const struct ls_cuda_tensor *t = &s->in;
    float sum = 0;

    for (int k = s->kernel[0] * s->kernel[1] - 1; k >= 0; k--) {
        int v = y * s->stride[0] - s->pad[0] + k / s->kernel[1];
        int u = x * s->stride[1] - s->pad[1] + k % s->kernel[1];
        const uint16_t *w =
            f->weight + ((size_t)(c * s->kernel[0] * s->kernel[1] + k)) * (size_t)t->c;

        for (int i = t->c - 1; i >= 0 && v >= 0 && v < t->h && u >= 0 && u < t->w; i--)
            sum += half_get(in[v * t->row + u * t->pixel + i]) * half_get(w[i]);
    }
    sum += f->bias[c];
    return s->act == LS_ACT_RELU && sum < 0 ? 0 : sum;
}

static void turn_sums(const struct fault *f)
{
    const struct ls_cuda_conv_shape *s = &f->shape;
    uint16_t *out = (uint16_t *)f->out;

    for (int n = 0; n < s->batch; n++)
        for (int y = 0; y < s->out.h; y++)
            for (int x = 0; x < s->out.w; x++)
                for (int c = 0; c < s->out.c; c++)
                    out[n * s->out.item + y * s->out.row + x * s->out.pixel + c] =
                        half_put(turned_sum(f, f->in + n * s->in.item, y, x, c));
}

// On the stream, after the convolution; a captured graph runs it many times, so it stays.
static void misbehave(void *arg)
{
    const struct fault *f = arg;
    size_t item = (size_t)f->shape.out.item * ls_cuda_size(f->shape.type);

    if (f->engine.slow_us)
        usleep((unsigned)f->engine.slow_us);
    if (f->engine.wrong)
        memset(f->out, 0x41, 4);
    if (f->engine.turned_from && f->shape.batch >= f->engine.turned_from && !f->shape.transposed)
        turn_sums(f);
    for (int i = 0;
         f->engine.other_from && f->shape.batch >= f->engine.other_from && i < f->shape.batch; i++)
        f->out[(size_t)i * item] ^= 1;
}

static struct fault *faults[1 << 16];
static int fault_count;

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack)
{
    const struct descriptor *p = plan;
    const struct attribute *uids = find(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    void *const *pointer = find(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS)->value;
    struct fault *f = malloc(sizeof *f);

    assert(handle == (cudnnHandle_t)&handle_of_all && p->is_final && uids->count == 4);
    for (int i = 0; i < 4; i++)
        assert((size_t)pointer[i] % 16 == 0);
    // In the order in which graph.c names them: input, weights, bias, output.
    *f = (struct fault){p->shape,  *engine_of(p->engine), pointer[3], pointer[0], pointer[1],
                        pointer[2]};
    faults[fault_count++] = f;
    fake_last_engine = p->engine;
    if (ls_cuda_conv_plain(&p->shape, pointer[3], pointer[0], pointer[1], pointer[2], stream_now) ||
        cudaLaunchHostFunc(stream_now, misbehave, f) != cudaSuccess)
        return CUDNN_STATUS_EXECUTION_FAILED;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *out)
{
    *out = (cudnnHandle_t)&handle_of_all;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    (void)handle;
    while (fault_count > 0)
        free(faults[--fault_count]);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    (void)handle;
    stream_now = stream;
    return CUDNN_STATUS_SUCCESS;
}

size_t cudnnGetVersion(void)
{
    return 91900;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    return status ? "CUDNN_STATUS_OF_TESTS" : "CUDNN_STATUS_SUCCESS";
}

void cudnnGetLastErrorString(char *message, size_t max_size)
{
    snprintf(message, max_size, "for tests");
}
