// SPDX-License-Identifier: Apache-2.0
// How cuDNN's descriptors are made, for graph.c and graph_config.c: each is set attribute by
// attribute and finalized, and any step may fail; a maker remembers the first failure, after which
// everything does nothing, so that a graph reads as a list. One thread at a time.
#ifndef LS_CUDA_GRAPH_MAKE_H
#define LS_CUDA_GRAPH_MAKE_H

#include "graph.h"

enum { LS_CUDA_MADE_MAX = 64 }; // descriptors of a plan: 12 to 16, and one for each knob

struct ls_cuda_plan {
    cudnnBackendDescriptor_t made[LS_CUDA_MADE_MAX]; // in order; destroyed backwards
    int made_count;
    cudnnBackendDescriptor_t plan; // one of them
};

struct ls_cuda_maker {
    struct ls_cuda_plan *plan; // owns what is made
    struct ls_err *err;
    int r;
};

// A maker with an empty plan, or with r < 0 and none. The plan is the caller's to free.
struct ls_cuda_maker ls_cuda_maker_new(struct ls_err *err);
cudnnBackendDescriptor_t ls_cuda_make(struct ls_cuda_maker *m, cudnnBackendDescriptorType_t type);
void ls_cuda_make_set(struct ls_cuda_maker *m, cudnnBackendDescriptor_t d,
                      cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                      int64_t count, const void *value);
void ls_cuda_make_int(struct ls_cuda_maker *m, cudnnBackendDescriptor_t d,
                      cudnnBackendAttributeName_t name, int64_t value);
void ls_cuda_make_link(struct ls_cuda_maker *m, cudnnBackendDescriptor_t d,
                       cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value);
void ls_cuda_make_final(struct ls_cuda_maker *m, cudnnBackendDescriptor_t d, const char *what);
// The operation graph of a shape (graph.c).
cudnnBackendDescriptor_t ls_cuda_make_graph(struct ls_cuda_maker *m,
                                            const struct ls_cuda_conv_shape *shape);
// A whole attribute of characters, malloc'd, with a 0 behind it.
LS_MUST int ls_cuda_get_text(char **out, size_t *size, cudnnBackendDescriptor_t d,
                             cudnnBackendAttributeName_t name, struct ls_err *err);

#endif
