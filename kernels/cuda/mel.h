// SPDX-License-Identifier: Apache-2.0
// Mel columns on the device, as ls_mel_batch. Device thread; returns when the columns are there.
#ifndef LS_CUDA_MEL_H
#define LS_CUDA_MEL_H

#include "../backend.h"
#include "device.h"

struct ls_cuda_mel; // tables on the device, staging
LS_MUST int ls_cuda_mel_new(struct ls_cuda_mel **out, cudaStream_t stream, struct ls_err *err);
void ls_cuda_mel_free(struct ls_cuda_mel **mel);
LS_MUST int ls_cuda_mel_run(struct ls_cuda_mel *mel, float *const *out,
                            const struct ls_mel_job *job, int count, cudaStream_t stream,
                            struct ls_err *err);

#endif
