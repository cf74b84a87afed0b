// SPDX-License-Identifier: Apache-2.0
// How fast a device does the work of the generator and around it: `bench_device [option...]`, rows
// "device,case,value,unit". It links the parts of liblipstream_cuda.so, so that each is measured
// alone, with everything already in device memory. bench/gpu.sh runs it.
//   --arithmetic fp16,tf32,fp32   what to measure; the first one thoroughly, then without all cuts
//   --peak fp16=788,tf32=390      TFLOP/s of the device's matrix products, for shares of it
//   --plans FILE                  file of plans, as lipstreamd's --plan-cache
//   --model FILE, --detector FILE default: random weights of the original's widths; none
//   --seconds S                   of measuring a case; default 0.3
//   --brief                       the generator alone, the whole face, batches 1, 16 and 64
//   --tiny                        a network of 8 channels, once each: for a stand-in
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/device/device.h"
#include "tests/kernels/_narrow.h"

enum { SERIES = 25 };

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

void bench_must(const char *name, int r, const struct ls_err *err)
{
    if (r == 0)
        return;
    fflush(stdout);
    fprintf(stderr, "bench_device: %s: %s\n", name, err->text);
    exit(1);
}

static void check(const char *name, int status)
{
    struct ls_err err = {0};

    bench_must(name, ls_cuda_check(&err, status, "device"), &err);
}

void *bench_memory(size_t size)
{
    struct ls_err err = {0};
    void *memory = NULL;

    bench_must("memory", ls_cuda_alloc(&memory, size, &err), &err);
    return memory;
}

void bench_fill(void *to, size_t size, enum ls_cuda_type type)
{
    unsigned char *numbers = malloc(size);
    uint32_t state = 1;

    for (size_t i = 0; numbers && i < size; i++) {
        // The upper byte has sign and exponent.
        state = state * 1664525 + 1013904223;
        if (type == LS_CUDA_FP16)
            numbers[i] = i % 2 ? 0x34 : (unsigned char)(state >> 24);
        else
            numbers[i] = i % 4 == 3 ? 0x3e : (unsigned char)(state >> 24 | (i % 4 == 2 ? 128 : 0));
    }
    check("numbers", numbers ? (int)cudaMemcpy(to, numbers, size, cudaMemcpyHostToDevice)
                             : (int)cudaErrorMemoryAllocation);
    free(numbers);
}

const char *bench_type(enum ls_cuda_type type)
{
    return type == LS_CUDA_FP16 ? "fp16" : type == LS_CUDA_TF32 ? "tf32" : "fp32";
}

void bench_row(const char *name, const char *what, double value, const char *unit)
{
    printf("device,%s: %s,%.5g,%s\n", name, what, value, unit);
    fflush(stdout);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

// Milliseconds of `count` runs, by the device's clock.
static double series(struct bench *b, const char *name, struct bench_work work, int count)
{
    struct ls_err err = {0};
    float ms = 0;

    check(name, (int)cudaEventRecord(b->from, b->stream));
    for (int i = 0; i < count; i++)
        bench_must(name, work.run(work.user, &err), &err);
    check(name, (int)cudaEventRecord(b->to, b->stream));
    check(name, (int)cudaEventSynchronize(b->to));
    check(name, (int)cudaEventElapsedTime(&ms, b->from, b->to));
    return ms;
}

double bench_time(struct bench *b, const char *name, struct bench_work work)
{
    double took[SERIES], total = 0, one;
    int count, n = 0;

    one = series(b, name, work, 1); // plans, captures
    if (b->seconds <= 0)
        return one;
    for (int i = 0; i < 3; i++)
        one = series(b, name, work, 2) / 2;
    // A series takes a hundredth of a second or more: clocks settle, and starting it is nothing.
    count = one > 0 ? (int)(10 / one) + 1 : 1000;
    count = count > 1000 ? 1000 : count;
    while (n < SERIES && (n < 5 || total < 1e3 * b->seconds)) {
        double ms = series(b, name, work, count);

        total += ms;
        took[n++] = ms / count;
    }
    qsort(took, (size_t)n, sizeof took[0], by_size);
    return took[n / 2];
}

double bench_latency(struct bench *b, const char *name, struct bench_work work)
{
    double took[200];
    struct ls_err err = {0};
    int count = b->seconds > 0 ? 200 : 1;

    for (int i = 0; i < count; i++) {
        double start = now_ms();

        bench_must(name, work.run(work.user, &err), &err);
        check(name, (int)cudaStreamSynchronize(b->stream));
        took[i] = now_ms() - start;
    }
    qsort(took, (size_t)count, sizeof took[0], by_size);
    return took[count / 2];
}

struct arguments {
    const char *arithmetic, *peak;
    struct ls_model_params model;
};

static void parse(struct arguments *out, struct bench *b, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (!strcmp(name, "--tiny")) {
            b->tiny = true;
            b->seconds = 0;
            b->batch_max = 2;
            continue;
        }
        if (!strcmp(name, "--brief")) {
            b->brief = true;
            continue;
        }
        if (value && !strcmp(name, "--arithmetic"))
            out->arithmetic = value;
        else if (value && !strcmp(name, "--peak"))
            out->peak = value;
        else if (value && !strcmp(name, "--plans"))
            b->cache = value;
        else if (value && !strcmp(name, "--model"))
            out->model.generator_path = value;
        else if (value && !strcmp(name, "--detector"))
            out->model.detector_path = value;
        else if (value && !strcmp(name, "--seconds"))
            b->seconds = atof(value);
        else {
            fprintf(stderr, "bench_device: what is %s?\n", name);
            exit(2);
        }
        i++;
    }
}

static bool named(const char *list, const char *name)
{
    const char *at = strstr(list, name);

    return at && (at == list || at[-1] == ',');
}

int main(int argc, char **argv)
{
    struct bench b = {.seconds = 0.3, .batch_max = 64};
    struct arguments a = {
        .arithmetic = "fp16", .peak = "", .model = {.seed = 1, .seed_wide = true}};
    struct ls_model *model = NULL;
    struct ls_err err = {0};
    bool first = true;
    int r;

    parse(&a, &b, argc, argv);
    r = b.tiny ? narrow_open(&model, a.model.detector_path, &err)
               : ls_model_open(&model, &a.model, &err);
    bench_must("model", r, &err);
    b.model = model;
    bench_must("device", ls_cuda_device_open(&b.device, 0, &err), &err);
    printf("# device: %s\n", b.device.text);
    check("stream", (int)cudaStreamCreateWithFlags(&b.stream, cudaStreamNonBlocking));
    check("event", (int)cudaEventCreateWithFlags(&b.from, cudaEventDefault));
    check("event", (int)cudaEventCreateWithFlags(&b.to, cudaEventDefault));
    for (int t = LS_CUDA_FP16; t <= LS_CUDA_FP32; t++) {
        const char *at = strstr(a.peak, bench_type((enum ls_cuda_type)t));

        b.peak[t] = at && at[4] == '=' ? atof(at + 5) : 0;
    }
    bench_copy(&b);
    for (int t = LS_CUDA_FP16; t <= LS_CUDA_FP32; t++)
        if (named(a.arithmetic, bench_type((enum ls_cuda_type)t))) {
            bench_generator(&b, (enum ls_cuda_type)t, first);
            if (first && !b.brief) {
                bench_kernels(&b);
                bench_convolutions(&b, (enum ls_cuda_type)t);
            }
            first = false;
        }
    ls_model_close(&model);
    return 0;
}
