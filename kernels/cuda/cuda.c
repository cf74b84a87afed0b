// SPDX-License-Identifier: Apache-2.0
// The cuda back end's table: opens the device with all that lives on it, and leads each operation
// to its part. Opened by its owner's thread and used by one lane, whose thread is the device
// thread. What surprises: an error that the device does not recover from stays, and is told by
// every operation after it.
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../ref/ref.h"
#include "detect.h"
#include "faces.h"
#include "layout.h"
#include "mel.h"
#include "memory.h"
#include "module.h"

enum {
    BATCH_USUAL = 64,
    RECORDS_MAX = 1 << 20,
    TF32_MIN = 80, // sm_75 has tensor cores for half numbers only
};
// What no table of ours says: code of kernels, cuDNN's plans, the detector for frames of any size.
#define OTHER_SIZE ((size_t)160 << 20)

struct cuda {
    struct ls_cuda_device device;
    const struct ls_model *model;
    cudaStream_t compute, small; // faces; mel and detection, which do not wait for them
    struct ls_cuda_convs *convs;
    struct ls_cuda_generator *generator;
    struct ls_cuda_faces *faces;
    struct ls_cuda_mel *mel;
    struct ls_cuda_detect *detect; // NULL: the model has no detector
    bool lane_is_open;
    struct ls_err lost; // why the device is; code 0: it is not
    atomic_bool is_lost;
    char arithmetic[400];
};

static int type_of(enum ls_cuda_type *out, const char *arithmetic, struct ls_err *err)
{
    if (!strcmp(arithmetic, "auto") || !strcmp(arithmetic, "fp16"))
        *out = LS_CUDA_FP16;
    else if (!strcmp(arithmetic, "tf32"))
        *out = LS_CUDA_TF32;
    else if (!strcmp(arithmetic, "fp32"))
        *out = LS_CUDA_FP32;
    else
        return ls_fail(err, LS_EFIELD, "cuda has no \"%.32s\" arithmetic (auto, fp16, tf32, fp32)",
                       arithmetic);
    return LS_OK;
}

// Device memory that will be asked for, and how many faces' records there are.
struct budget {
    size_t size;
    int record_count;
};

static int make_budget(struct budget *out, const struct ls_backend_params *params,
                       enum ls_cuda_type type, struct ls_err *err)
{
    const struct ls_net *net = params->model->generator;
    size_t pixels = LS_FACE_SIZE * LS_FACE_SIZE, batch = 1, record, item;
    struct ls_cuda_layout *layout = NULL;
    int64_t known;
    int r = ls_cuda_layout_new(&layout, net, type, err);

    if (r < 0)
        return r;
    while (batch < (size_t)params->batch_max)
        batch *= 2;
    item = (size_t)layout->arena_size + pixels * LS_CUDA_CHANNELS * ls_cuda_size(type) +
           pixels * 3 * sizeof(float) + LS_MEL_WINDOW * LS_MEL_BANDS * sizeof(float);
    record = (size_t)layout->record_size + ls_cuda_faces_record_size();
    ls_cuda_layout_free(&layout);
    known = params->face_cache_bytes / (int64_t)record;
    if (known > RECORDS_MAX)
        known = RECORDS_MAX;
    out->record_count = (int)known + LS_CUDA_FACES_DEPTH * params->batch_max;
    // Weights grow by an eighth at most where channels are rounded up.
    out->size = (size_t)net->parameter_count * ls_cuda_size(type) / 8 * 9 + batch * item +
                (size_t)out->record_count * record + ls_cuda_faces_size(params->batch_max) +
                OTHER_SIZE;
    return LS_OK;
}

static void describe_arithmetic(struct cuda *c, enum ls_cuda_type type)
{
    static const char *const name[] = {[LS_CUDA_FP16] = "fp16 tensor cores",
                                       [LS_CUDA_TF32] = "tf32 tensor cores",
                                       [LS_CUDA_FP32] = "fp32"};
    const char *plans = ls_cuda_convs_note(c->convs);
    const char *graphs = ls_cuda_generator_note(c->generator);

    snprintf(c->arithmetic, sizeof c->arithmetic, "%s, %s%s%.120s%s%.120s", name[type],
             ls_cuda_convs_text(c->convs), *plans ? "; " : "", plans, *graphs ? "; " : "", graphs);
}

// priority: 0 is the lowest, less than 0 goes before it.
static int open_stream(cudaStream_t *out, int priority, struct ls_err *err)
{
    return ls_cuda_check(
        err, (int)cudaStreamCreateWithPriority(out, cudaStreamNonBlocking, priority), "a stream");
}

static void announce(const struct cuda *c, const struct ls_backend_params *params)
{
    const char *file = params->cache;
    char why[288];

    snprintf(why, sizeof why,
             "first start on %.60s: plans are chosen by measurement, which takes minutes%s%.120s",
             c->device.name, file ? ", and kept in " : "", file ? file : "");
    if (params->on_wait)
        params->on_wait(why);
}

static int open_generator(struct cuda *c, const struct ls_backend_params *params,
                          enum ls_cuda_type type, int record_count, struct ls_err *err)
{
    const struct ls_net *net = params->model->generator;
    bool early = params->cache || params->plan_early;
    const struct ls_cuda_convs_params convs = {.type = type,
                                               .batch_max = params->batch_max,
                                               .cache = params->cache,
                                               .plan_all = params->plan_early,
                                               .on_wait = early ? params->on_wait : NULL,
                                               .model_hash = ls_cuda_layout_hash(net)};
    struct ls_cuda_generator_params generator = {
        .net = net, .type = type, .batch_max = params->batch_max, .record_count = record_count};
    struct ls_cuda_faces_params faces = {.type = type,
                                         .batch_max = params->batch_max,
                                         .record_count = record_count,
                                         .levels = params->model->input_levels,
                                         .keys = params->face_cache_bytes > 0,
                                         .stream = c->compute};
    int r = ls_cuda_convs_new(&c->convs, &c->device, &convs, err);

    generator.convs = c->convs;
    if (r == 0)
        r = ls_cuda_generator_new(&c->generator, &generator, c->compute, err);
    if (r == 0 && early && !ls_cuda_convs_has_plans(c->convs))
        announce(c, params);
    // With somewhere to keep plans, or when asked for, all are made now, so that no face waits for
    // one; else only those that are needed, when they are.
    if (r == 0 && params->cache)
        r = ls_cuda_generator_warm(c->generator, c->compute, err);
    else if (r == 0 && params->plan_early)
        r = ls_cuda_generator_plan(c->generator, c->compute, err);
    if (r == 0)
        ls_cuda_convs_save(c->convs);
    faces.generator = c->generator;
    if (r == 0)
        r = ls_cuda_faces_new(&c->faces, &faces, err);
    if (r == 0)
        describe_arithmetic(c, type);
    return r;
}

static int open_parts(struct cuda *c, const struct ls_backend_params *params, struct ls_err *err)
{
    enum ls_cuda_type type = LS_CUDA_FP16;
    struct budget budget = {0};
    int r = type_of(&type, params->arithmetic ? params->arithmetic : "auto", err);

    if (r == 0)
        r = make_budget(&budget, params, type, err);
    if (r == 0)
        r = ls_cuda_device_open(&c->device, budget.size, err);
    if (r == 0 && type == LS_CUDA_TF32 && c->device.major * 10 + c->device.minor < TF32_MIN)
        r = ls_fail(err, LS_EDEVICE, "tf32 arithmetic needs a device of 8.0 or newer: %s is %d.%d",
                    c->device.name, c->device.major, c->device.minor);
    if (r == 0)
        r = open_stream(&c->compute, 0, err);
    // The thread that feeds the other one waits for these: they are not to queue behind its blocks.
    if (r == 0)
        r = open_stream(&c->small, -1, err);
    if (r == 0)
        r = open_generator(c, params, type, budget.record_count, err);
    if (r == 0)
        r = ls_cuda_mel_new(&c->mel, c->small, err);
    if (r == 0 && params->model->detector != LS_DETECTOR_NONE)
        r = ls_cuda_detect_new(&c->detect, params->model, err);
    return r;
}

static void close_stream(cudaStream_t stream)
{
    if (stream && cudaStreamDestroy(stream) != cudaSuccess)
        (void)cudaGetLastError();
}

static void cuda_close(void **be)
{
    struct cuda *c = be ? *be : NULL;

    if (!c)
        return;
    if (c->convs)
        ls_cuda_convs_save(c->convs);
    ls_cuda_detect_free(&c->detect);
    ls_cuda_mel_free(&c->mel);
    ls_cuda_faces_free(&c->faces);
    ls_cuda_generator_free(&c->generator);
    ls_cuda_convs_free(&c->convs);
    close_stream(c->small);
    close_stream(c->compute);
    free(c);
    *be = NULL;
}

static int cuda_open(void **be, const struct ls_backend_params *params, struct ls_err *err)
{
    struct cuda *c = calloc(1, sizeof *c);
    void *half = c;
    int r;

    if (!c)
        return ls_fail(err, LS_ENOMEM, "no memory for the cuda back end");
    c->model = params->model;
    r = open_parts(c, params, err);
    if (r < 0)
        cuda_close(&half);
    else
        *be = c;
    return r;
}

static const char *cuda_arithmetic(void *be)
{
    return ((struct cuda *)be)->arithmetic;
}

static const char *cuda_device(void *be)
{
    return ((struct cuda *)be)->device.text;
}

// A lane is the back end itself: there is one device, one generator, one set of buffers.
static int cuda_lane_open(void **lane, void *be, struct ls_err *err)
{
    struct cuda *c = be;

    if (c->lane_is_open)
        return ls_fail(err, LS_EINTERNAL, "the device has a lane already");
    c->lane_is_open = true;
    *lane = c;
    return LS_OK;
}

static void cuda_lane_close(void **lane)
{
    struct cuda *c = lane ? *lane : NULL;

    if (!c)
        return;
    ls_cuda_faces_discard(c->faces);
    c->lane_is_open = false;
    *lane = NULL;
}

// Makes the device the calling thread's. A lost one is told as it was when it was lost.
static int enter(struct cuda *c, struct ls_err *err)
{
    if (c->lost.code)
        return ls_fail(err, c->lost.code, "%s", c->lost.text);
    return ls_cuda_check(err, (int)cudaSetDevice(c->device.idx), c->device.name);
}

// Passes an operation's result on. An error that is still there when it was fetched is for good.
static int leave(struct cuda *c, int r)
{
    cudaError_t status;

    if (r != LS_EDEVICE || c->lost.code)
        return r;
    (void)cudaDeviceSynchronize();
    (void)cudaGetLastError();
    status = cudaDeviceSynchronize();
    if (status != cudaSuccess) {
        ls_fail(&c->lost, LS_EDEVICE, "%s is lost: %s", c->device.name, cudaGetErrorString(status));
        atomic_store(&c->is_lost, true);
    }
    return r;
}

static bool cuda_lost(void *be)
{
    return atomic_load(&((struct cuda *)be)->is_lost);
}

static int cuda_mel_batch(void *lane, float *const *out, const struct ls_mel_job *job, int count,
                          struct ls_err *err)
{
    struct cuda *c = lane;
    int r = enter(c, err);

    return r < 0 ? r : leave(c, ls_cuda_mel_run(c->mel, out, job, count, c->small, err));
}

static int cuda_mel(void *lane, float *out, const struct ls_mel_job *job, struct ls_err *err)
{
    return cuda_mel_batch(lane, &out, job, 1, err);
}

static int cuda_detect(void *lane, struct ls_face *out, int *count, const struct ls_frame *frame,
                       const struct ls_detect_params *params, struct ls_err *err)
{
    struct cuda *c = lane;
    int r = enter(c, err);

    if (r == 0)
        r = leave(c, ls_cuda_detect_run(c->detect, out, count, frame, params, c->small, err));
    return r;
}

static int exact_on_device(struct ls_err *err)
{
    return ls_fail(err, LS_EFIELD, "an exact crop or paste needs a frame on the host");
}

static int cuda_crop(void *lane, uint8_t *out, const struct ls_frame *frame,
                     const struct ls_box *box, float roll_rad, bool exact, struct ls_err *err)
{
    struct cuda *c = lane;
    int r;

    if (exact)
        return frame->on_device ? exact_on_device(err) : ls_ref_crop(out, frame, box, 0, true, err);
    r = enter(c, err);
    return r < 0 ? r : leave(c, ls_cuda_faces_crop(c->faces, out, frame, box, roll_rad, err));
}

static int cuda_composite(void *lane, const struct ls_frame *frame, const struct ls_paste *paste,
                          struct ls_err *err)
{
    struct cuda *c = lane;
    int r;

    if (paste->exact)
        return frame->on_device ? exact_on_device(err) : ls_ref_composite(frame, paste, err);
    r = enter(c, err);
    return r < 0 ? r : leave(c, ls_cuda_faces_composite(c->faces, frame, paste, err));
}

static int cuda_generate_part(void *lane, const struct ls_generate_job *job, struct ls_err *err)
{
    struct cuda *c = lane;
    int r = enter(c, err);

    return r < 0 ? r : leave(c, ls_cuda_faces_generate(c->faces, job, err));
}

static int cuda_generate(void *lane, float *out, const uint8_t *face, const float *mel, int count,
                         struct ls_err *err)
{
    return cuda_generate_part(
        lane, &(struct ls_generate_job){.out = out, .face = face, .mel = mel, .count = count}, err);
}

static int cuda_faces_start(void *lane, struct ls_face_job *job, int count, struct ls_err *err)
{
    struct cuda *c = lane;
    int r = enter(c, err);

    return r < 0 ? r : leave(c, ls_cuda_faces_start(c->faces, job, count, err));
}

// Also of a lost device: what was begun is to be finished.
static int cuda_faces_finish(void *lane, struct ls_err *err)
{
    struct cuda *c = lane;

    (void)cudaSetDevice(c->device.idx); // a failure shows in what follows
    return leave(c, ls_cuda_faces_finish(c->faces, err));
}

static int cuda_memory_alloc(void *be, void **out, size_t size, struct ls_err *err)
{
    (void)be;
    return ls_cuda_memory_alloc(out, size, err);
}

static void cuda_memory_free(void *be, void **memory)
{
    (void)be;
    ls_cuda_memory_free(memory);
}

static int cuda_copy(void *be, const struct ls_copy *copy, struct ls_err *err)
{
    (void)be;
    return ls_cuda_memory_copy(copy, err);
}

static const struct ls_backend_ops ops = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .arithmetic = cuda_arithmetic,
    .lane_open = cuda_lane_open,
    .lane_close = cuda_lane_close,
    .mel = cuda_mel,
    .detect = cuda_detect,
    .crop = cuda_crop,
    .generate = cuda_generate,
    .composite = cuda_composite,
    .generate_part = cuda_generate_part,
    .holds_weights = true,
    .formats = 1u << LS_PIX_I420 | 1u << LS_PIX_RGB24 | 1u << LS_PIX_NV12 | 1u << LS_PIX_P010,
    .device_frames = true,
    .lanes_max = 1,
    .device = cuda_device,
    .mel_batch = cuda_mel_batch,
    .faces_start = cuda_faces_start,
    .faces_finish = cuda_faces_finish,
    .depth = LS_CUDA_FACES_DEPTH,
    .batch_usual = BATCH_USUAL,
    .memory_alloc = cuda_memory_alloc,
    .memory_free = cuda_memory_free,
    .copy = cuda_copy,
    .lost = cuda_lost,
};

const struct ls_cuda_module ls_cuda_module = {.abi = LS_CUDA_MODULE_ABI, .ops = &ops};
