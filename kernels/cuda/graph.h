// SPDX-License-Identifier: Apache-2.0
// One convolution + bias + activation as a cuDNN operation graph (backend API), and an execution
// plan of it for one engine configuration. Private to graph*.c. Descriptors are made from a
// description of the device, not from the device, so a plan can be built where there is none
// (tests/device). A plan belongs to one thread at a time; different threads may build different
// ones. What surprises: a plan keeps every descriptor that it was made from.
#ifndef LS_CUDA_GRAPH_H
#define LS_CUDA_GRAPH_H

#include <cudnn_graph.h>

#include "conv.h"

// An engine and its settings: what makes two plans run the same kernel.
enum { LS_CUDA_KNOBS_MAX = 24 };
struct ls_cuda_config {
    int64_t engine;
    int knob_count;
    struct {
        int64_t type, value;
    } knob[LS_CUDA_KNOBS_MAX];
};
bool ls_cuda_config_is_same(const struct ls_cuda_config *a, const struct ls_cuda_config *b);
// "7 24=21 27=2", as it is written into the cache. read: true if all of the text is one.
enum { LS_CUDA_CONFIG_TEXT_MAX = 640 };
void ls_cuda_config_write(char text[LS_CUDA_CONFIG_TEXT_MAX], const struct ls_cuda_config *config);
bool ls_cuda_config_read(struct ls_cuda_config *out, const char *text);

// The description of a device: that of a handle, or one read from JSON. JSON of a description is
// malloc'd, with a final 0. free accepts NULL.
LS_MUST int ls_cuda_description_of(cudnnBackendDescriptor_t *out, cudnnHandle_t handle,
                                   struct ls_err *err);
LS_MUST int ls_cuda_description_read(cudnnBackendDescriptor_t *out, const char *json,
                                     struct ls_err *err);
LS_MUST int ls_cuda_description_json(char **out, cudnnBackendDescriptor_t description,
                                     struct ls_err *err);
void ls_cuda_description_free(cudnnBackendDescriptor_t *description);

// The configurations that cuDNN proposes, best first, without those whose result is not the same
// at every run or is summed in less than float. *count is 0 if there is none.
LS_MUST int ls_cuda_graph_configs(struct ls_cuda_config *out, int *count, int count_max,
                                  const struct ls_cuda_conv_shape *shape,
                                  cudnnBackendDescriptor_t description, struct ls_err *err);

struct ls_cuda_plan;
// Compiles: 0.2 to 3 s of a processor. Fails too if the plan would want a workspace: such a one
// adds up partial sums.
LS_MUST int ls_cuda_plan_build(struct ls_cuda_plan **out, const struct ls_cuda_conv_shape *shape,
                               const struct ls_cuda_config *config,
                               cudnnBackendDescriptor_t description, struct ls_err *err);
// A plan as text (50 to 350 kB, malloc'd, machine code included) and back: some milliseconds.
LS_MUST int ls_cuda_plan_write(char **out, size_t *size, const struct ls_cuda_plan *plan,
                               struct ls_err *err);
LS_MUST int ls_cuda_plan_read(struct ls_cuda_plan **out, const char *text, size_t size,
                              cudnnBackendDescriptor_t description, struct ls_err *err);
void ls_cuda_plan_free(struct ls_cuda_plan **plan);

// What a plan computes with.
struct ls_cuda_operands {
    void *out;
    const void *in, *weight;
    const float *bias;
};
// Queued on the handle's stream; allocates no device memory and waits for nothing.
LS_MUST int ls_cuda_plan_run(const struct ls_cuda_plan *plan, cudnnHandle_t handle,
                             const struct ls_cuda_operands *operands, struct ls_err *err);

// 0 for CUDNN_STATUS_SUCCESS; else fills err with "cuDNN: what: its text: its last words".
LS_MUST int ls_cuda_cudnn_check(struct ls_err *err, cudnnStatus_t status, const char *what);

#endif
