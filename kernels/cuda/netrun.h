// SPDX-License-Identifier: Apache-2.0
// Runs any small planned network (the detectors) on the device in float32, one item, by kernels of
// ours (netrun.cu, conv.cu): dense, depthwise and transposed convolution, pooling, additions,
// concatenation. NCHW as ref has it. Device thread.
#ifndef LS_CUDA_NETRUN_H
#define LS_CUDA_NETRUN_H

#include "../net.h"
#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ls_cuda_netrun; // weights and every result's buffer on the device
LS_MUST int ls_cuda_netrun_new(struct ls_cuda_netrun **out, const struct ls_net *net,
                               struct ls_err *err);
void ls_cuda_netrun_free(struct ls_cuda_netrun **run);
float *ls_cuda_netrun_input(struct ls_cuda_netrun *run);                       // device [c][h][w]
const float *ls_cuda_netrun_output(const struct ls_cuda_netrun *run, int idx); // idx-th output row
LS_MUST int ls_cuda_netrun_run(struct ls_cuda_netrun *run, cudaStream_t stream,
                               struct ls_err *err); // queued on the stream

#ifdef __cplusplus
}
#endif

#endif
