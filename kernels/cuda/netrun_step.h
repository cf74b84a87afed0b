// SPDX-License-Identifier: Apache-2.0
// What netrun.c plans and netrun.cu does: steps, several of one kind a launch. Tensors are NCHW
// float32 of one item. Private to netrun*. Device thread.
#ifndef LS_CUDA_NETRUN_STEP_H
#define LS_CUDA_NETRUN_STEP_H

#include "../net.h"
#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

enum ls_netrun_kind {
    LS_NETRUN_POINT,      // 1x1 convolution, stride 1, no padding
    LS_NETRUN_DENSE,      // any other
    LS_NETRUN_TRANSPOSED, // transposed
    LS_NETRUN_DEPTHWISE,
    LS_NETRUN_POOL,
    LS_NETRUN_UPADD,
    LS_NETRUN_CONCAT,
    LS_NETRUN_ADD,
};

enum {
    LS_NETRUN_GROUP = 8, // output channels that a thread of the first three kinds makes
    LS_NETRUN_THREADS = 128,
};

// Lies in device memory, as do all its pointers. What a kind does not need is 0.
struct ls_netrun_step {
    const float *in, *other; // other: second source; of convolutions: added before the activation
    float *out;
    const float *weight; // depthwise [c_out][kh][kw]; the first three kinds [groups][c_in][kh][kw]
                         // [LS_NETRUN_GROUP], channels that are none zero
    const float *bias;   // [c_out], of the first three kinds to full groups
    int c_in, h_in, w_in, c_out, h_out, w_out;
    int c_other; // channels of `other`, the first of the result's
    int kernel[2], stride[2], pad[2];
    enum ls_net_act act;
    int block_first; // of its launch
};

// Numbers of work of a step: one a thread.
int64_t ls_netrun_work(enum ls_netrun_kind kind, const struct ls_netrun_step *step);
// All steps of a launch: of one kind, none the source of another. Returns a cudaError_t.
int ls_netrun_launch(enum ls_netrun_kind kind, const struct ls_netrun_step *step, int step_count,
                     int block_count, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
