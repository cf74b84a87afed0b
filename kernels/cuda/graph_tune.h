// SPDX-License-Identifier: Apache-2.0
// Chooses by measurement which engine computes a convolution at all batch sizes that may come. The
// rule: at every batch size an item gets the same bytes. So one engine configuration is chosen at
// one batch size, and at the others only plans will do whose result for the same item has the same
// digest: the chosen configuration, or the one that cuDNN prefers there if it is faster. Device
// thread.
#ifndef LS_CUDA_GRAPH_TUNE_H
#define LS_CUDA_GRAPH_TUNE_H

#include "graph.h"

enum { LS_CUDA_BATCHES_MAX = 8 };

struct ls_cuda_choice {
    bool plain; // no engine will do
    struct ls_cuda_config config;
    uint64_t digest; // of an item's result as graph_bench.c makes it
};

// Convolutions that differ in the batch alone.
struct ls_cuda_tuned {
    struct ls_cuda_conv_shape shape; // its batch counts for nothing
    int batch[LS_CUDA_BATCHES_MAX];  // the first one is measured thoroughly
    int batch_count;
    // Results.
    struct ls_cuda_choice choice;
    struct ls_cuda_plan *plan[LS_CUDA_BATCHES_MAX]; // the caller's; none if plain
};

struct ls_cuda_tune_params {
    cudnnBackendDescriptor_t description;
    int device_idx;
    cudnnHandle_t handle;
    cudaStream_t stream;
    void (*on_wait)(const char *why); // how far it has come, every few seconds; or NULL
};

// Chooses for each of them. Fails only if the device or memory does; then there are no plans.
LS_MUST int ls_cuda_tune(struct ls_cuda_tuned *tuned, int count,
                         const struct ls_cuda_tune_params *params, struct ls_err *err);
// Makes the plans for all its batches when `choice` is given, from an earlier start. If one of them
// does not give the digest any more, choice becomes plain and there are no plans.
LS_MUST int ls_cuda_retune(struct ls_cuda_tuned *tuned, int count,
                           const struct ls_cuda_tune_params *params, struct ls_err *err);

#endif
