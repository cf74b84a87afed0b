// SPDX-License-Identifier: Apache-2.0
// bench_device's part for the generator: every batch bucket and cut, by the programs and plans that
// the service uses. Shares of the matrix peak count the multiplications that the cut needs, each as
// two operations; traffic counts each layer's numbers read and written once and the weights once a
// batch, so a share of the copy's rate above one means that the caches serve.
#include <stdio.h>
#include <time.h>

#include "bench/device/device.h"
#include "kernels/cuda/generator.h"
#include "kernels/cuda/layout.h"
#include "kernels/cuda/region.h"

static const char *const cut_names[LS_CUDA_CUTS] = {"whole", "lower face", "mouth"};

struct subject {
    struct bench *bench;
    enum ls_cuda_type type;
    struct ls_cuda_convs *convs;
    struct ls_cuda_generator *generator;
    int count;
    bool known; // the face's features are in its record
    enum ls_cuda_cut cut;
};

static int run(void *user, struct ls_err *err)
{
    struct subject *s = user;
    float *made;
    int r = 0;

    if (!s->known)
        r = ls_cuda_generator_encode(s->generator, s->count, s->bench->stream, err);
    if (r == 0)
        r = ls_cuda_generator_decode(s->generator, &made, s->count, &ls_cuda_cut_box[s->cut],
                                     s->bench->stream, err);
    return r;
}

static double mac_of(const struct ls_net *net, enum ls_cuda_cut cut)
{
    struct ls_cuda_region region;
    struct ls_err err = {0};
    double mac;

    bench_must("cut", ls_cuda_region_init(&region, net, &ls_cuda_cut_box[cut], &err), &err);
    mac = region.mac;
    ls_cuda_region_done(&region);
    return mac;
}

// Bytes that a batch moves at the least.
static double bytes_of(const struct ls_net *net, enum ls_cuda_type type, int count)
{
    double item = 0;

    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_node *n = &net->node[i];

        if (n->mac > 0)
            item += (double)n->c_in * n->h_in * n->w_in + (double)n->c_out * n->h_out * n->w_out;
    }
    return (item * count + (double)net->parameter_count) * (double)ls_cuda_size(type);
}

static void measure(struct subject *s, const char *what)
{
    struct bench *b = s->bench;
    const struct ls_net *net = b->model->generator;
    struct bench_work work = {run, s};
    double ms, flop;
    char name[96];

    snprintf(name, sizeof name, "generator %s %s batch %d%s", bench_type(s->type),
             cut_names[s->cut], s->count, what);
    ms = bench_time(b, name, work);
    bench_row(name, "frames", 1e3 * s->count / ms, "frames/s");
    bench_row(name, "time", ms, "ms");
    if (s->count == 1)
        bench_row(name, "until the host knows", bench_latency(b, name, work), "ms");
    if (s->known)
        return;
    flop = 2 * mac_of(net, s->cut) * s->count;
    bench_row(name, "arithmetic", flop / ms * 1e-9, "TFLOP/s");
    if (b->peak[s->type] > 0)
        bench_row(name, "of the matrix peak", 100 * flop / ms * 1e-9 / b->peak[s->type], "%");
    if (s->cut == LS_CUDA_CUT_WHOLE) {
        double rate = bytes_of(net, s->type, s->count) / ms * 1e-6;

        bench_row(name, "traffic", rate, "GB/s");
        bench_row(name, "of the copy's rate", 100 * rate / b->copy_rate, "%");
        if (b->generator_us == 0 && s->count == b->batch_max)
            b->generator_us = 1e3 * ms / s->count;
    }
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Each face has a record of its own.
static void fill(struct subject *s)
{
    size_t batch = (size_t)s->bench->batch_max;
    int slot[64], status = 0;
    struct ls_err err = {0};

    bench_fill(ls_cuda_generator_input(s->generator),
               batch * LS_FACE_SIZE * LS_FACE_SIZE * LS_CUDA_CHANNELS * ls_cuda_size(s->type),
               s->type);
    bench_fill(ls_cuda_generator_mel(s->generator),
               batch * LS_MEL_WINDOW * LS_MEL_BANDS * sizeof(float), LS_CUDA_FP32);
    for (int i = 0; i < 64; i++)
        slot[i] = i;
    for (int i = 0; i < 2 && status == 0; i++)
        status = (int)cudaMemcpy(i ? ls_cuda_generator_decode_slot(s->generator)
                                   : ls_cuda_generator_encode_slot(s->generator),
                                 slot, batch * sizeof *slot, cudaMemcpyHostToDevice);
    bench_must("records", ls_cuda_check(&err, status, "records"), &err);
}

static void open_generator(struct subject *s, bool warm)
{
    struct bench *b = s->bench;
    struct ls_cuda_convs_params convs = {.type = s->type,
                                         .batch_max = b->batch_max,
                                         .cache = warm ? b->cache : NULL,
                                         .model_hash = ls_cuda_layout_hash(b->model->generator)};
    struct ls_cuda_generator_params params = {.net = b->model->generator,
                                              .type = s->type,
                                              .batch_max = b->batch_max,
                                              .record_count = 2 * b->batch_max};
    size_t before = 0, after = 0, total;
    double start = now_s();
    struct ls_err err = {0};
    char name[64];

    snprintf(name, sizeof name, "generator %s", bench_type(s->type));
    (void)cudaMemGetInfo(&before, &total);
    bench_must("plans", ls_cuda_convs_new(&s->convs, &b->device, &convs, &err), &err);
    params.convs = s->convs;
    bench_must("generator", ls_cuda_generator_new(&s->generator, &params, b->stream, &err), &err);
    if (warm)
        bench_must("plans", ls_cuda_generator_warm(s->generator, b->stream, &err), &err);
    ls_cuda_convs_save(s->convs);
    (void)cudaMemGetInfo(&after, &total);
    printf("# %s: %s %s %s\n", name, ls_cuda_convs_text(s->convs), ls_cuda_convs_note(s->convs),
           ls_cuda_generator_note(s->generator));
    bench_row(name, warm ? "made with all plans" : "made", now_s() - start, "s");
    bench_row(name, "device memory", (double)(before - after) / (1 << 20), "MiB");
}

void bench_generator(struct bench *b, enum ls_cuda_type type, bool first)
{
    struct subject s = {.bench = b, .type = type};
    bool all = first && !b->brief;

    open_generator(&s, first && b->cache);
    fill(&s);
    for (s.cut = 0; s.cut < (all ? LS_CUDA_CUTS : 1); s.cut++)
        for (s.count = 1; s.count <= b->batch_max; s.count *= all ? 2 : s.count == 1 ? 16 : 4)
            measure(&s, "");
    s.known = true;
    for (s.cut = 0; all && s.cut < LS_CUDA_CUTS; s.cut++)
        for (s.count = 1; s.count <= b->batch_max; s.count *= 64)
            measure(&s, " known faces");
    ls_cuda_generator_free(&s.generator);
    ls_cuda_convs_free(&s.convs);
}
