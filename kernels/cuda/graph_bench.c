// SPDX-License-Identifier: Apache-2.0
// Trials of plans (graph_bench.h). What surprises: the test's numbers are chosen so that the digest
// shows in which order a plan adds up. They are k / 2^11 / 2^e, which half, TF32 and float all hold
// exactly, so products are exact and a right plan differs from the plain kernel by the rounding of
// sums and of the result alone; but of many different e, so that every sum is rounded (numbers on
// one grid of 2^-10 have exact sums up to 2: any order gives the same). And each channel's bias
// takes the sum in the middle of the picture away, so that its last bits are not rounded off with
// the result: of 512 halves one or none would differ otherwise.
#include "graph_bench.h"

#ifndef LS_CUDA_NO_CUDNN

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../splitmix.h"

enum {
    RUNS = 8,      // in one captured graph: a launch costs the host as much as a small layer takes
    REPEATS = 3,   // of the graph; the fastest counts
    SLOW_MS = 200, // of a first graph: no need for more
    WEIGHT_SHIFT = 1, // weights are smaller by 2, so that sums over 9216 terms stay under 2^5
    EXPONENTS = 8,    // a power of 2
};

struct ls_cuda_bench {
    struct ls_cuda_bench_params params;
    struct ls_cuda_conv_shape shape; // loaded
    uint64_t good_digest;            // of a result that was compared number by number; 0: none yet
    void *in, *out, *weight;         // device
    float *bias;
    size_t in_size, out_size, weight_size, bias_size; // bytes
    unsigned char *fill, *expected, *first, *other;   // host: to upload, an item's results
    cudaEvent_t start, stop;
};

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t weight_count(const struct ls_cuda_conv_shape *s)
{
    return (size_t)s->in.c * (size_t)s->out.c * (size_t)s->kernel[0] * (size_t)s->kernel[1];
}

static int allocate(struct ls_cuda_bench *b, size_t in_item, size_t out_item, struct ls_err *err)
{
    int r = ls_cuda_alloc(&b->in, b->in_size, err);

    if (r == 0)
        r = ls_cuda_alloc(&b->out, b->out_size, err);
    if (r == 0)
        r = ls_cuda_alloc(&b->weight, b->weight_size, err);
    if (r == 0)
        r = ls_cuda_alloc((void **)&b->bias, b->bias_size, err);
    if (r == 0)
        r = ls_cuda_check(err, (int)cudaEventCreate(&b->start), "an event");
    if (r == 0)
        r = ls_cuda_check(err, (int)cudaEventCreate(&b->stop), "an event");
    if (r < 0)
        return r;
    b->fill = malloc(max_size(in_item, max_size(b->weight_size, b->bias_size)));
    b->expected = malloc(out_item);
    b->first = malloc(out_item);
    b->other = malloc(out_item);
    if (!b->fill || !b->expected || !b->first || !b->other)
        return ls_fail(err, LS_ENOMEM, "no memory to try convolutions");
    return LS_OK;
}

int ls_cuda_bench_new(struct ls_cuda_bench **out, const struct ls_cuda_bench_params *params,
                      struct ls_err *err)
{
    struct ls_cuda_bench *b = calloc(1, sizeof *b);
    size_t in_item = 1, out_item = 1;
    int r;

    if (!b)
        return ls_fail(err, LS_ENOMEM, "no memory to try convolutions");
    b->params = *params;
    r = ls_cuda_cudnn_check(err, cudnnSetStream(params->handle, params->stream), "stream");
    for (int i = 0; i < params->shape_count; i++) {
        const struct ls_cuda_conv_shape *s = params->shape[i];
        size_t number = ls_cuda_size(s->type);

        in_item = max_size(in_item, (size_t)s->in.item * number);
        out_item = max_size(out_item, (size_t)s->out.item * number);
        b->weight_size = max_size(b->weight_size, weight_count(s) * number);
        b->bias_size = max_size(b->bias_size, (size_t)s->out.c * sizeof(float));
    }
    b->in_size = in_item * (size_t)params->batch_max;
    b->out_size = out_item * (size_t)params->batch_max;
    if (r == 0)
        r = allocate(b, in_item, out_item, err);
    if (r < 0)
        ls_cuda_bench_free(&b);
    else
        *out = b;
    return r;
}

void ls_cuda_bench_free(struct ls_cuda_bench **bench)
{
    struct ls_cuda_bench *b = bench ? *bench : NULL;

    if (!b)
        return;
    ls_cuda_free(&b->in);
    ls_cuda_free(&b->out);
    ls_cuda_free(&b->weight);
    ls_cuda_free((void **)&b->bias);
    if (b->start)
        (void)cudaEventDestroy(b->start);
    if (b->stop)
        (void)cudaEventDestroy(b->stop);
    free(b->fill);
    free(b->expected);
    free(b->first);
    free(b->other);
    free(b);
    *bench = NULL;
}

// --- numbers -----------------------------------------------------------------------------------

// k / 2^(11 + shift) as half; k has 11 bits, shift is at most 13, so that it is a normal number.
static uint16_t half_of(unsigned k, int shift)
{
    return (uint16_t)((14u - (unsigned)shift) << 10 | (k & 0x3ff));
}

static float float_of(uint16_t half)
{
    int e = half >> 10 & 31, m = half & 0x3ff;
    float v = e == 0    ? ldexpf((float)m, -24)
              : e == 31 ? (m ? NAN : INFINITY)
                        : ldexpf((float)(m | 0x400), e - 25);

    return half & 0x8000 ? -v : v;
}

static void fill_numbers(void *out, size_t count, enum ls_cuda_type type, int shift, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t word = ls_splitmix_next(&seed);
        unsigned k = 0x400 | (unsigned)(word >> 54); // 10 bits of chance
        int e = shift + (int)(word >> 1 & (EXPONENTS - 1));

        if (type == LS_CUDA_FP16)
            ((uint16_t *)out)[i] = (uint16_t)(half_of(k, e) | (word & 1) << 15);
        else
            ((float *)out)[i] = ldexpf(word & 1 ? -(float)k : (float)k, -11 - e);
    }
}

static uint64_t digest_of(const unsigned char *data, size_t size)
{
    uint64_t state = UINT64_C(0xcbf29ce484222325), word;

    // FNV-1a by words: strides are multiples of 8 numbers, so nothing is left over.
    for (size_t i = 0; i + sizeof word <= size; i += sizeof word) {
        memcpy(&word, data + i, sizeof word);
        state = (state ^ word) * UINT64_C(0x100000001b3);
        state ^= state >> 29;
    }
    return state;
}

// Sums are of some tens at most and their rounding is some 1e-5; a half is rounded to 2^-11.
static bool is_near(float a, float b)
{
    return fabsf(a - b) <= 2e-3f + 4e-3f * fabsf(b); // false for NaN, as where nothing was written
}

static float number_at(const struct ls_cuda_bench *b, const unsigned char *item, int64_t i)
{
    return b->shape.type == LS_CUDA_FP16 ? float_of(((const uint16_t *)item)[i])
                                         : ((const float *)item)[i];
}

// Whether one item is what is expected, where it is written.
static bool is_expected(struct ls_cuda_trial *out, const struct ls_cuda_bench *b)
{
    const struct ls_cuda_tensor *t = &b->shape.out;

    for (int y = 0; y < t->h; y++)
        for (int x = 0; x < t->w; x++)
            for (int c = 0; c < t->c; c++) {
                int64_t i = y * t->row + x * t->pixel + c;
                float got = number_at(b, b->first, i), want = number_at(b, b->expected, i);

                if (!is_near(got, want)) {
                    snprintf(out->why, sizeof out->why,
                             "%g instead of %g at row %d column %d "
                             "channel %d",
                             (double)got, (double)want, y, x, c);
                    return false;
                }
            }
    return true;
}

// --- device ------------------------------------------------------------------------------------

static int upload(struct ls_cuda_bench *b, void *to, size_t size, struct ls_err *err)
{
    int r = ls_cuda_check(
        err, (int)cudaMemcpyAsync(to, b->fill, size, cudaMemcpyHostToDevice, b->params.stream),
        "test numbers");

    // The next ones are made in the same memory.
    return r < 0 ? r
                 : ls_cuda_check(err, (int)cudaStreamSynchronize(b->params.stream), "test numbers");
}

static int download(struct ls_cuda_bench *b, unsigned char *to, int item, size_t size,
                    struct ls_err *err)
{
    const unsigned char *from = (const unsigned char *)b->out + (size_t)item * size;
    int r = ls_cuda_check(
        err, (int)cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToHost, b->params.stream),
        "test results");

    return r < 0 ? r
                 : ls_cuda_check(err, (int)cudaStreamSynchronize(b->params.stream), "test results");
}

static size_t out_item(const struct ls_cuda_bench *b)
{
    return (size_t)b->shape.out.item * ls_cuda_size(b->shape.type);
}

// All ones are a NaN in half and float: what a plan does not write is seen.
static int wipe(struct ls_cuda_bench *b, int batch, struct ls_err *err)
{
    return ls_cuda_check(
        err, (int)cudaMemsetAsync(b->out, 0xff, (size_t)batch * out_item(b), b->params.stream),
        "test results");
}

static int upload_all(struct ls_cuda_bench *b, struct ls_err *err)
{
    const struct ls_cuda_conv_shape *s = &b->shape;
    size_t number = ls_cuda_size(s->type), item = (size_t)s->in.item * number;
    int r;

    fill_numbers(b->fill, weight_count(s), s->type, WEIGHT_SHIFT, 1);
    r = upload(b, b->weight, weight_count(s) * number, err);
    fill_numbers(b->fill, (size_t)s->in.item, s->type, 0, 3);
    for (int i = 0; i < b->params.batch_max && r == 0; i++)
        r = upload(b, (unsigned char *)b->in + (size_t)i * item, item, err);
    return r;
}

// What the plain kernel makes of one item, into `expected`.
static int expect(struct ls_cuda_bench *b, const struct ls_cuda_conv_shape *shape,
                  struct ls_err *err)
{
    int r = upload(b, b->bias, (size_t)shape->out.c * sizeof(float), err);

    if (r == 0)
        r = wipe(b, 1, err);
    if (r == 0)
        r = ls_cuda_check(
            err, ls_cuda_conv_plain(shape, b->out, b->in, b->weight, b->bias, b->params.stream),
            "the plain convolution");
    return r < 0 ? r : download(b, b->expected, 0, out_item(b), err);
}

int ls_cuda_bench_load(struct ls_cuda_bench *b, const struct ls_cuda_conv_shape *shape,
                       struct ls_err *err)
{
    const struct ls_cuda_tensor *out = &b->shape.out;
    struct ls_cuda_conv_shape sums = *shape;
    int64_t middle = (shape->out.h / 2) * shape->out.row + (shape->out.w / 2) * shape->out.pixel;
    float *bias = (float *)b->fill;
    int r;

    b->shape = *shape;
    b->shape.batch = sums.batch = 1;
    sums.act = LS_ACT_NONE;
    b->good_digest = 0;
    assert((size_t)shape->in.item * ls_cuda_size(shape->type) * (size_t)b->params.batch_max <=
           b->in_size);
    r = upload_all(b, err);
    memset(bias, 0, (size_t)out->c * sizeof *bias);
    if (r == 0)
        r = expect(b, &sums, err);
    for (int c = 0; c < out->c && r == 0; c++)
        bias[c] = -number_at(b, b->expected, middle + c);
    return r < 0 ? r : expect(b, &b->shape, err);
}

static int run(const struct ls_cuda_bench *b, const struct ls_cuda_plan *plan, struct ls_err *err)
{
    const struct ls_cuda_operands operands = {b->out, b->in, b->weight, b->bias};

    return ls_cuda_plan_run(plan, b->params.handle, &operands, err);
}

static int capture(cudaGraphExec_t *out, const struct ls_cuda_bench *b,
                   const struct ls_cuda_plan *plan, struct ls_err *err)
{
    cudaGraph_t graph = NULL;
    int end,
        r = ls_cuda_check(
            err, (int)cudaStreamBeginCapture(b->params.stream, cudaStreamCaptureModeThreadLocal),
            "begin of a capture");

    if (r < 0)
        return r;
    for (int i = 0; i < RUNS && r == 0; i++)
        r = run(b, plan, err);
    end = (int)cudaStreamEndCapture(b->params.stream, &graph);
    if (r == 0)
        r = ls_cuda_check(err, end, "end of a capture");
    if (r == 0)
        r = ls_cuda_check(err, (int)cudaGraphInstantiate(out, graph, 0), "a captured graph");
    if (graph)
        (void)cudaGraphDestroy(graph);
    (void)cudaGetLastError(); // a capture that failed is not the next call's failure
    return r;
}

// RUNS runs, once. graph NULL: one by one.
static int time_once(float *ms, const struct ls_cuda_bench *b, const struct ls_cuda_plan *plan,
                     cudaGraphExec_t graph, struct ls_err *err)
{
    cudaStream_t stream = b->params.stream;
    int r = ls_cuda_check(err, (int)cudaEventRecord(b->start, stream), "an event");

    if (r == 0 && graph)
        r = ls_cuda_check(err, (int)cudaGraphLaunch(graph, stream), "a captured graph");
    for (int i = 0; i < RUNS && r == 0 && !graph; i++)
        r = run(b, plan, err);
    if (r == 0)
        r = ls_cuda_check(err, (int)cudaEventRecord(b->stop, stream), "an event");
    if (r == 0)
        r = ls_cuda_check(err, (int)cudaEventSynchronize(b->stop), "a convolution");
    if (r == 0)
        r = ls_cuda_check(err, (int)cudaEventElapsedTime(ms, b->start, b->stop), "an event");
    return r;
}

static int time_plan(double *us, const struct ls_cuda_bench *b, const struct ls_cuda_plan *plan,
                     struct ls_err *err)
{
    cudaGraphExec_t graph = NULL;
    float best = INFINITY, ms;
    int r = 0;

    // A plan that cannot be captured can still be run; it is timed with its launches then.
    if (capture(&graph, b, plan, NULL) < 0)
        graph = NULL;
    for (int i = 0; i < REPEATS + 1 && r == 0; i++) {
        r = time_once(&ms, b, plan, graph, err);
        if (r == 0 && (i == 1 || ms < best)) // the first only warms up
            best = ms;
        if (r == 0 && ms > SLOW_MS)
            break;
    }
    if (graph)
        (void)cudaGraphExecDestroy(graph);
    *us = 1e3 * (double)best / RUNS;
    return r;
}

// The first item against the plain kernel's, the others against the first.
static int compare(struct ls_cuda_trial *trial, struct ls_cuda_bench *b, int batch,
                   struct ls_err *err)
{
    size_t size = out_item(b);
    int r = download(b, b->first, 0, size, err);

    if (r < 0)
        return r;
    trial->digest = digest_of(b->first, size);
    trial->ok = trial->digest == b->good_digest || is_expected(trial, b);
    if (trial->ok)
        b->good_digest = trial->digest;
    for (int i = 1; i < batch && r == 0 && trial->ok; i++) {
        r = download(b, b->other, i, size, err);
        if (r == 0 && memcmp(b->first, b->other, size) != 0) {
            snprintf(trial->why, sizeof trial->why, "item %d of %d has other bytes than item 0", i,
                     batch);
            trial->ok = false;
        }
    }
    return r;
}

int ls_cuda_bench_try(struct ls_cuda_trial *out, struct ls_cuda_bench *b,
                      const struct ls_cuda_plan *plan, int batch, struct ls_err *err)
{
    struct ls_cuda_trial trial = {.ok = false};
    struct ls_err refused = {0};
    int r = wipe(b, batch, err);

    assert(batch <= b->params.batch_max);
    if (r < 0)
        return r;
    if (run(b, plan, &refused) < 0)
        snprintf(trial.why, sizeof trial.why, "%.150s", refused.text);
    else
        r = compare(&trial, b, batch, err);
    if (r == 0 && trial.ok)
        r = time_plan(&trial.us, b, plan, err);
    if (r == 0)
        *out = trial;
    return r;
}

#endif
