// SPDX-License-Identifier: Apache-2.0
// Face detection on the device, as ls_detect: the frame reduced into the detector's input, the
// network by our own float32 kernels (any input size at once, no plan to build), heads decoded and
// overlaps suppressed on the device. Device thread; returns when the faces are there.
#ifndef LS_CUDA_DETECT_H
#define LS_CUDA_DETECT_H

#include "../backend.h"
#include "device.h"

struct ls_cuda_detect; // planned for the last sizes, with weights and buffers on the device
LS_MUST int ls_cuda_detect_new(struct ls_cuda_detect **out, const struct ls_model *model,
                               struct ls_err *err);
void ls_cuda_detect_free(struct ls_cuda_detect **detect);
// frame: on the host or on the device.
LS_MUST int ls_cuda_detect_run(struct ls_cuda_detect *detect, struct ls_face *out, int *count,
                               const struct ls_frame *frame, const struct ls_detect_params *params,
                               cudaStream_t stream, struct ls_err *err);

#endif
