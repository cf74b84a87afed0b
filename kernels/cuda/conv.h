// SPDX-License-Identifier: Apache-2.0
// One convolution with bias and activation, as a plan for one shape: by cuDNN's graph (graph.c) for
// fp16 and tf32, by our own kernel (conv.cu) for fp32, where cuDNN has no engine, and where there
// is no cuDNN (the host's shim). Tensors are NHWC with strides, so that a part of a wider tensor (a
// concatenation, a rectangle) is read and written in place. Device thread.
#ifndef LS_CUDA_CONV_H
#define LS_CUDA_CONV_H

#include <stdbool.h>

#include "../net.h"
#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LS_CUDA_CHANNELS = 8 }; // stored channels are a multiple of it

// A tensor [batch][h][w][c]; strides in numbers; a pixel's channels are adjacent. Channel counts
// and strides are multiples of 8, base addresses of 16 bytes.
struct ls_cuda_tensor {
    int h, w, c;
    int64_t item, row, pixel; // strides
};

struct ls_cuda_conv_shape {
    enum ls_cuda_type type;
    int batch;
    bool transposed;
    struct ls_cuda_tensor in, out;
    int kernel[2], stride[2], pad[2]; // {vertical, horizontal}; transposed ones: what exceeds
                                      // (in - 1) * stride - 2 * pad + kernel is out_pad
    enum ls_net_act act;              // NONE or RELU
};

// Shared by all convolutions of a back end: cuDNN's handle, the cache of plans, the workspace.
struct ls_cuda_convs;
struct ls_cuda_convs_params {
    enum ls_cuda_type type;
    int batch_max;       // largest batch that will be asked for
    const char *cache;   // file of plans; NULL: none
    uint64_t model_hash; // part of the cache's key
    bool plan_all; // a shape is planned for all batch sizes at once also where there is no cache
    void (*on_wait)(const char *why); // called while plans are chosen, which takes minutes; or NULL
};
LS_MUST int ls_cuda_convs_new(struct ls_cuda_convs **out, const struct ls_cuda_device *device,
                              const struct ls_cuda_convs_params *params, struct ls_err *err);
void ls_cuda_convs_free(struct ls_cuda_convs **convs);
bool ls_cuda_convs_has_plans(const struct ls_cuda_convs *convs); // or needs none
// Writes the cache file if plans were added (to a new file that then takes its name). A cache that
// could not be read or written: why, once; else "".
void ls_cuda_convs_save(struct ls_cuda_convs *convs);
const char *ls_cuda_convs_note(const struct ls_cuda_convs *convs);
// "cuDNN 9.19", "cuDNN 9.19, 2 layers plain", "plain".
const char *ls_cuda_convs_text(const struct ls_cuda_convs *convs);

struct ls_cuda_conv;
// The plan for a shape, from the cache, or chosen by measurement. Equal shapes share one; the set
// owns it. Whatever is chosen gives an item the same bytes at every batch size.
LS_MUST int ls_cuda_conv_get(struct ls_cuda_conv **out, struct ls_cuda_convs *convs,
                             const struct ls_cuda_conv_shape *shape, cudaStream_t stream,
                             struct ls_err *err);
// Plans many shapes at once: the host's part of it on all processors. ls_cuda_conv_get of them is a
// look-up then; without it a first start takes many times as long.
LS_MUST int ls_cuda_convs_plan(struct ls_cuda_convs *convs, const struct ls_cuda_conv_shape *shape,
                               int count, cudaStream_t stream, struct ls_err *err);
// weight [c_out][kh][kw][c_in], transposed [c_in][kh][kw][c_out], of the stored type; bias float
// [c_out]; both at multiples of 16 bytes. May be captured into a CUDA graph.
LS_MUST int ls_cuda_conv_run(const struct ls_cuda_conv *conv, void *out, const void *in,
                             const void *weight, const float *bias, cudaStream_t stream,
                             struct ls_err *err);

// conv.cu: the plain kernel. Same contract; returns a cudaError_t.
int ls_cuda_conv_plain(const struct ls_cuda_conv_shape *shape, void *out, const void *in,
                       const void *weight, const float *bias, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
