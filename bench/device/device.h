// SPDX-License-Identifier: Apache-2.0
// What the parts of bench_device share: one device, one stream, a clock on it, rows for a CSV file.
// One thread. What surprises: work is measured in runs back to back, as the service queues it, so a
// launch's own time on the host does not show unless it is longer than the work.
#ifndef LS_BENCH_DEVICE_H
#define LS_BENCH_DEVICE_H

#include "kernels/cuda/conv.h"
#include "kernels/model.h"

enum { BENCH_BATCHES = 7 };

struct bench {
    struct ls_cuda_device device;
    cudaStream_t stream;
    cudaEvent_t from, to;
    const struct ls_model *model;
    const char *cache;   // file of plans, or NULL
    double seconds;      // of measuring a case; 0: one run
    double peak[3];      // TFLOP/s of matrix products by enum ls_cuda_type; 0: unknown
    double copy_rate;    // GB/s of a copy on the device, read and written bytes together
    int batch_max;       // 64, or less for a stand-in
    double generator_us; // of one face, whole, largest batch, first arithmetic
    double around_us;    // of one face: prepare, mel, compose
    bool brief;          // the generator, the whole face, a few batches
    bool tiny;           // small frames: a stand-in for a device
};

// A piece of work that is queued on the bench's stream. Negative if it fails.
struct bench_work {
    int (*run)(void *user, struct ls_err *err);
    void *user;
};

// Milliseconds of one run: the median of several series. Ends the program if a run fails.
double bench_time(struct bench *b, const char *name, struct bench_work work);
// The same from the launch until the host knows that it is done.
double bench_latency(struct bench *b, const char *name, struct bench_work work);
void bench_row(const char *name, const char *what, double value, const char *unit);
// Ends the program with what is wrong if r is negative.
void bench_must(const char *name, int r, const struct ls_err *err);
void *bench_memory(size_t size); // device memory that stays until the end
// Numbers of 0.25 .. 0.5 on the device: zeros take less power, and clocks go up.
void bench_fill(void *to, size_t size, enum ls_cuda_type type);
const char *bench_type(enum ls_cuda_type type);

void bench_copy(struct bench *b);                                 // kernels.c
void bench_kernels(struct bench *b);                              // kernels.c
void bench_convolutions(struct bench *b, enum ls_cuda_type type); // kernels.c
// first: all cuts and batches unless brief, with all plans made before if there is a file for them.
// Else the whole face at a few batches.
void bench_generator(struct bench *b, enum ls_cuda_type type, bool first); // generator.c

#endif
