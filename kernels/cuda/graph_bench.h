// SPDX-License-Identifier: Apache-2.0
// Tries plans on the device: is the result what the plain kernel makes of the same numbers, has
// every item of a batch the same bytes, how long does it take. Owns scratch memory on the device
// for the largest shape that is to be tried. Device thread. What surprises: every item of the test
// batch is the same picture, so each item's result must be the same bytes, wherever it stands and
// however many there are.
#ifndef LS_CUDA_GRAPH_BENCH_H
#define LS_CUDA_GRAPH_BENCH_H

#include "graph.h"

struct ls_cuda_bench;
struct ls_cuda_bench_params {
    const struct ls_cuda_conv_shape *const *shape; // [shape_count] that will be loaded
    int shape_count, batch_max;
    cudnnHandle_t handle;
    cudaStream_t stream;
};
LS_MUST int ls_cuda_bench_new(struct ls_cuda_bench **out, const struct ls_cuda_bench_params *params,
                              struct ls_err *err);
void ls_cuda_bench_free(struct ls_cuda_bench **bench);

// Makes seeded numbers for a shape (its batch counts for nothing) and what they come to.
LS_MUST int ls_cuda_bench_load(struct ls_cuda_bench *bench, const struct ls_cuda_conv_shape *shape,
                               struct ls_err *err);

struct ls_cuda_trial {
    bool ok;         // else `why` says what is wrong with the plan
    uint64_t digest; // of one item's bytes
    double us;       // one run
    char why[160];
};
// Fails only if the device does.
LS_MUST int ls_cuda_bench_try(struct ls_cuda_trial *out, struct ls_cuda_bench *bench,
                              const struct ls_cuda_plan *plan, int batch, struct ls_err *err);

#endif
