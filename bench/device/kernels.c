// SPDX-License-Identifier: Apache-2.0
// bench_device's part for what is around the convolutions, and for single convolutions: each kernel
// alone on a full batch, with the bytes that it must move or the operations that it does (heads of
// kernels/cuda/*.cu). Frames are 1080p I420 with a face of 300x360 pixels each, and lie on the
// device. Memory is never given back: the program ends soon.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/device/device.h"
#include "kernels/cuda/detect.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/mel.h"
#include "kernels/cuda/pictures.h"

enum { AREA = LS_FACE_SIZE * LS_FACE_SIZE, ITEMS = 64, MEL_FLOPS = 31000, MEL_COLUMNS = 16 };

struct subject {
    struct bench *bench;
    const char *name;
    int count;
    // Pictures.
    struct ls_frame frame[ITEMS];
    struct ls_cuda_face *face; // device
    int width_max, height_max;
    uint8_t *source;
    void *input, *scratch;
    float *made;
    // Sound.
    struct ls_cuda_mel *mel;
    struct ls_mel_job job[ITEMS];
    float *column[ITEMS];
    // Detection.
    struct ls_cuda_detect *detect;
    // Elements and convolutions.
    struct ls_cuda_parts parts;
    struct ls_cuda_head head;
    void *mel_input;
    float *window;
    struct ls_cuda_conv *conv;
    struct ls_cuda_conv_shape shape;
    void *in, *out, *weight;
    float *bias;
};

static int done(struct subject *s, int status, struct ls_err *err)
{
    return ls_cuda_check(err, status, s->name);
}

static double measure(struct subject *s, const char *name,
                      int (*run)(void *user, struct ls_err *err), double bytes, double flop)
{
    struct bench_work work = {run, s};
    double ms;

    s->name = name;
    ms = bench_time(s->bench, name, work);
    bench_row(name, "time", ms, "ms");
    if (bytes > 0) {
        bench_row(name, "moves", bytes / ms * 1e-6, "GB/s");
        bench_row(name, "of the copy's rate", 100 * bytes / ms * 1e-6 / s->bench->copy_rate, "%");
    }
    if (flop > 0)
        bench_row(name, "arithmetic", flop / ms * 1e-9, "TFLOP/s");
    return ms;
}

// --- a copy, as the measure of the memory
// ------------------------------------------------------------
struct copy {
    struct bench *bench;
    void *to, *from;
    size_t size;
};

static int run_copy(void *user, struct ls_err *err)
{
    struct copy *c = user;

    return ls_cuda_check(
        err,
        (int)cudaMemcpyAsync(c->to, c->from, c->size, cudaMemcpyDeviceToDevice, c->bench->stream),
        "copy");
}

void bench_copy(struct bench *b)
{
    struct copy c = {.bench = b, .size = b->tiny ? 1 << 20 : (size_t)1 << 30};
    struct ls_err err = {0};
    double ms;

    bench_must("copy", ls_cuda_alloc(&c.to, c.size, &err), &err);
    bench_must("copy", ls_cuda_alloc(&c.from, c.size, &err), &err);
    ms = bench_time(b, "copy", (struct bench_work){run_copy, &c});
    b->copy_rate = 2 * (double)c.size / (ms > 0 ? ms : 1e-3) * 1e-6;
    bench_row("copy on the device", "moves", b->copy_rate, "GB/s");
    ls_cuda_free(&c.to);
    ls_cuda_free(&c.from);
}

// --- pictures
// ----------------------------------------------------------------------------------------
static int run_prepare(void *user, struct ls_err *err)
{
    struct subject *s = user;

    return done(
        s, ls_cuda_prepare(s->source, s->input, LS_CUDA_FP16, s->face, s->count, s->bench->stream),
        err);
}

static int run_compose(void *user, struct ls_err *err)
{
    struct subject *s = user;

    return done(s,
                ls_cuda_compose(s->face, s->count, s->made, s->source, s->scratch, s->width_max,
                                s->height_max, s->bench->stream),
                err);
}

static struct ls_frame make_frame(const struct bench *b)
{
    struct ls_frame f = {.width_px = b->tiny ? 160 : 1920, .height_px = b->tiny ? 120 : 1080};
    size_t luma = (size_t)f.width_px * (size_t)f.height_px;
    uint8_t *memory = bench_memory(luma * 3 / 2), *noise = malloc(luma * 3 / 2);
    struct ls_err err = {0};
    uint32_t state = 7;

    f.plane[0] = memory;
    f.plane[1] = memory + luma;
    f.plane[2] = memory + luma + luma / 4;
    f.stride[0] = f.width_px;
    f.stride[1] = f.stride[2] = f.width_px / 2;
    f.on_device = true;
    for (size_t i = 0; noise && i < luma * 3 / 2; i++) {
        state = state * 1664525 + 1013904223;
        noise[i] = (uint8_t)(64 + (state >> 25));
    }
    bench_must("frame",
               ls_cuda_check(&err,
                             (int)cudaMemcpy(memory, noise, luma * 3 / 2, cudaMemcpyHostToDevice),
                             "frame"),
               &err);
    free(noise);
    return f;
}

static double area(const struct ls_int_box *box)
{
    return (double)(box->x1 - box->x0) * (box->y1 - box->y0);
}

// Fills the batch's faces with this mask; bytes that compose must move, for one face.
static double put_faces(struct subject *s, enum ls_mask mask)
{
    struct ls_paste paste = {.mask = mask,
                             .mouth = {0.5f, 0.79f, 0.24f, 0.17f},
                             .feather_px = 8,
                             .colour_match = 1,
                             .strength = 1};
    struct ls_cuda_face face[ITEMS];
    struct ls_err err = {0};
    double bytes = 0;

    s->width_max = s->height_max = 0;
    for (int i = 0; i < s->count; i++) {
        struct ls_box box = {800, 300, 1100, 660}, small = {40, 20, 100, 92};

        paste.box = s->bench->tiny ? small : box;
        ls_cuda_face_init(&face[i], &s->frame[i], &paste);
        s->width_max = face[i].write[0].x1 - face[i].write[0].x0;
        s->height_max = face[i].write[0].y1 - face[i].write[0].y0;
        // Read and written; the face's floats and its source are read once.
        bytes = 2 * (area(&face[i].write[0]) + 2 * area(&face[i].write[1])) + AREA * (12.0 + 3);
    }
    bench_must("faces",
               ls_cuda_check(&err,
                             (int)cudaMemcpy(s->face, face, (size_t)s->count * sizeof face[0],
                                             cudaMemcpyHostToDevice),
                             "faces"),
               &err);
    return bytes;
}

static void bench_pictures(struct subject *s)
{
    size_t count = (size_t)s->count;
    double box = s->bench->tiny ? 60.0 * 72 : 300.0 * 360, compose, ms;
    char name[64];

    for (int i = 0; i < s->count; i++)
        s->frame[i] = make_frame(s->bench);
    s->face = bench_memory(count * sizeof *s->face);
    s->source = bench_memory(count * AREA * 3);
    s->input = bench_memory(count * AREA * LS_CUDA_CHANNELS * 2);
    s->made = bench_memory(count * AREA * 3 * sizeof(float));
    s->scratch = bench_memory(count * ls_cuda_compose_size());
    compose = put_faces(s, LS_MASK_LOWER_FACE);
    snprintf(name, sizeof name, "prepare batch %d", s->count);
    ms = measure(s, name, run_prepare, s->count * (1.5 * box + AREA * (3 + 2.0 * LS_CUDA_CHANNELS)),
                 0);
    s->bench->around_us += 1e3 * ms / s->count;
    snprintf(name, sizeof name, "compose lower face batch %d", s->count);
    ms = measure(s, name, run_compose, s->count * compose, 0);
    s->bench->around_us += 1e3 * ms / s->count;
    compose = put_faces(s, LS_MASK_MOUTH);
    snprintf(name, sizeof name, "compose mouth batch %d", s->count);
    measure(s, name, run_compose, s->count * compose, 0);
}

// --- sound
// -------------------------------------------------------------------------------------------
static int run_mel(void *user, struct ls_err *err)
{
    struct subject *s = user;

    return ls_cuda_mel_run(s->mel, s->column, s->job, s->count, s->bench->stream, err);
}

// As much of each voice as a second of 25 frames/s needs for some frames: 3.2 columns a frame.
static void bench_mel(struct subject *s)
{
    static float pcm[LS_SAMPLE_RATE], out[ITEMS][MEL_COLUMNS * LS_MEL_BANDS];
    struct ls_err err = {0};
    uint32_t state = 3;
    char name[64];
    double ms;

    for (int i = 0; i < LS_SAMPLE_RATE; i++) {
        state = state * 1664525 + 1013904223;
        pcm[i] = (float)(int32_t)state / 4294967296.0f;
    }
    for (int i = 0; i < s->count; i++) {
        s->job[i] = (struct ls_mel_job){.pcm = pcm,
                                        .pcm_count = LS_SAMPLE_RATE,
                                        .total = -1,
                                        .first = 3 + i % 20,
                                        .count = MEL_COLUMNS};
        s->column[i] = out[i];
    }
    bench_must("mel", ls_cuda_mel_new(&s->mel, s->bench->stream, &err), &err);
    snprintf(name, sizeof name, "mel %d voices of %d columns with copies", s->count, MEL_COLUMNS);
    ms = measure(s, name, run_mel, 0, (double)s->count * MEL_COLUMNS * MEL_FLOPS);
    bench_row(name, "columns", 1e3 * s->count * MEL_COLUMNS / ms, "column/s");
    s->bench->around_us += 1e3 * ms / s->count / MEL_COLUMNS * 3.2;
    ls_cuda_mel_free(&s->mel);
}

// --- detection
// ---------------------------------------------------------------------------------------
static int run_detect(void *user, struct ls_err *err)
{
    static const struct ls_detect_params params = {0};
    struct subject *s = user;
    struct ls_face face[LS_FACES_MAX];
    int count;

    return ls_cuda_detect_run(s->detect, face, &count, &s->frame[0], &params, s->bench->stream,
                              err);
}

static void bench_detect(struct subject *s)
{
    struct ls_err err = {0};
    char name[96];

    if (s->bench->model->detector == LS_DETECTOR_NONE) {
        printf("# SKIP: detect: no --detector\n");
        return;
    }
    bench_must("detect", ls_cuda_detect_new(&s->detect, s->bench->model, &err), &err);
    snprintf(name, sizeof name, "detect %s %dx%d whole",
             s->bench->model->detector == LS_DETECTOR_YUNET ? "YuNet" : "BlazeFace",
             s->frame[0].width_px, s->frame[0].height_px);
    measure(s, name, run_detect, 0, 0);
    ls_cuda_detect_free(&s->detect);
}

// --- elements
// ----------------------------------------------------------------------------------------
static int run_put_mel(void *user, struct ls_err *err)
{
    struct subject *s = user;

    return done(
        s, ls_cuda_put_mel(s->mel_input, LS_CUDA_FP16, s->window, s->count, s->bench->stream), err);
}

static int run_store(void *user, struct ls_err *err)
{
    struct subject *s = user;

    return done(s, ls_cuda_store(&s->parts, s->count, s->bench->stream), err);
}

static int run_gather(void *user, struct ls_err *err)
{
    struct subject *s = user;

    return done(s, ls_cuda_gather(&s->parts, s->count, s->bench->stream), err);
}

static int run_head(void *user, struct ls_err *err)
{
    struct subject *s = user;

    return done(s, ls_cuda_head(&s->head, s->count, s->bench->stream), err);
}

// The largest of each kind that the generator has.
static void bench_elements(struct subject *s)
{
    enum { WINDOW = LS_MEL_WINDOW * LS_MEL_BANDS, SKIP = 16, LAST = 32 };
    size_t count = (size_t)s->count;
    int *slot = bench_memory(count * sizeof *slot), host[ITEMS];
    struct ls_err err = {0};

    for (int i = 0; i < ITEMS; i++)
        host[i] = i;
    bench_must("slots",
               ls_cuda_check(
                   &err, (int)cudaMemcpy(slot, host, count * sizeof *slot, cudaMemcpyHostToDevice),
                   "slots"),
               &err);
    s->mel_input = bench_memory(count * WINDOW * LS_CUDA_CHANNELS * 2);
    s->window = bench_memory(count * WINDOW * sizeof(float));
    measure(s, "put_mel", run_put_mel, s->count * WINDOW * (4.0 + 2 * LS_CUDA_CHANNELS), 0);
    s->parts = (struct ls_cuda_parts){
        .part = {{.data = bench_memory(count * AREA * 2 * SKIP * 2),
                  .tensor = {96, 96, SKIP, AREA * 2 * SKIP, 96 * 2 * SKIP, 2 * SKIP},
                  .source_w = 96}},
        .part_count = 1,
        .type = LS_CUDA_FP16,
        .record = bench_memory(count * AREA * SKIP * 2),
        .record_size = AREA * SKIP * 2,
        .slot = slot};
    measure(s, "store 96x96x16", run_store, s->count * 4.0 * AREA * SKIP, 0);
    measure(s, "gather 96x96x16", run_gather, s->count * 4.0 * AREA * SKIP, 0);
    s->head = (struct ls_cuda_head){.in = bench_memory(count * AREA * LAST * 2),
                                    .tensor = {96, 96, LAST, AREA * LAST, 96 * LAST, LAST},
                                    .type = LS_CUDA_FP16,
                                    .weight = bench_memory(3 * LAST * sizeof(float)),
                                    .bias = bench_memory(3 * sizeof(float)),
                                    .made = s->made};
    measure(s, "head 96x96x32", run_head, s->count * AREA * (2.0 * LAST + 12), 0);
}

void bench_kernels(struct bench *b)
{
    struct subject *s = calloc(1, sizeof *s);

    if (!s)
        exit(1);
    s->bench = b;
    s->count = b->batch_max;
    bench_pictures(s);
    bench_mel(s);
    bench_detect(s);
    bench_elements(s);
    bench_row("prepare + compose lower face + mel", "of the generator's time",
              100 * b->around_us / b->generator_us, "%");
    free(s);
}

// --- convolutions
// ------------------------------------------------------------------------------------
static int run_conv(void *user, struct ls_err *err)
{
    struct subject *s = user;

    return ls_cuda_conv_run(s->conv, s->out, s->in, s->weight, s->bias, s->bench->stream, err);
}

static int run_plain(void *user, struct ls_err *err)
{
    struct subject *s = user;

    return done(
        s, ls_cuda_conv_plain(&s->shape, s->out, s->in, s->weight, s->bias, s->bench->stream), err);
}

// 3x3 at each level of the decoder, by the plan that is chosen; the plain kernel at one of them.
void bench_convolutions(struct bench *b, enum ls_cuda_type type)
{
    static const struct {
        int side, channels;
    } level[] = {{96, 64}, {48, 128}, {24, 256}, {12, 384}, {6, 512}};
    int count = b->tiny ? 1 : 5;
    struct ls_cuda_convs_params params = {.type = type, .batch_max = b->batch_max};
    struct subject *s = calloc(1, sizeof *s);
    struct ls_cuda_convs *convs = NULL;
    struct ls_err err = {0};

    if (!s)
        exit(1);
    s->bench = b;
    s->count = b->batch_max;
    bench_must("convolutions", ls_cuda_convs_new(&convs, &b->device, &params, &err), &err);
    for (int i = 0; i < count; i++) {
        int n = b->tiny ? 12 : level[i].side, c = b->tiny ? 8 : level[i].channels;
        struct ls_cuda_tensor tensor = {n, n, c, (int64_t)n * n * c, n * c, c};
        size_t size = (size_t)(tensor.item * b->batch_max) * ls_cuda_size(type);
        double flop = 2.0 * 9 * c * c * n * n * b->batch_max, ms;
        char name[96];

        s->shape = (struct ls_cuda_conv_shape){.type = type,
                                               .batch = b->batch_max,
                                               .in = tensor,
                                               .out = tensor,
                                               .kernel = {3, 3},
                                               .stride = {1, 1},
                                               .pad = {1, 1},
                                               .act = LS_ACT_RELU};
        s->in = bench_memory(size);
        s->out = bench_memory(size);
        s->weight = bench_memory((size_t)(9 * c * c) * ls_cuda_size(type));
        s->bias = bench_memory((size_t)c * sizeof(float));
        bench_fill(s->in, size, type);
        bench_fill(s->weight, (size_t)(9 * c * c) * ls_cuda_size(type), type);
        snprintf(name, sizeof name, "convolution %s 3x3 %d@%dx%d batch %d", bench_type(type), c, n,
                 n, b->batch_max);
        bench_must(name, ls_cuda_conv_get(&s->conv, convs, &s->shape, b->stream, &err), &err);
        ms = measure(s, name, run_conv, 2.0 * (double)size, flop);
        if (b->peak[type] > 0)
            bench_row(name, "of the matrix peak", 100 * flop / ms * 1e-9 / b->peak[type], "%");
        if (i == 1 || b->tiny) {
            snprintf(name, sizeof name, "plain convolution %s 3x3 %d@%dx%d batch %d",
                     bench_type(type), c, n, n, b->batch_max);
            measure(s, name, run_plain, 0, flop);
        }
    }
    ls_cuda_convs_free(&convs);
    free(s);
}
