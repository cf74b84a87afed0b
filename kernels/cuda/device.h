// SPDX-License-Identifier: Apache-2.0
// The device and its memory, in the words that every file of this folder shares: errors of CUDA as
// ls_err, device memory, pairs of pinned and device memory that grow. Belongs to the one device
// thread (the lane's), except ls_cuda_device_open and _close, which the back end's owner calls.
#ifndef LS_CUDA_DEVICE_H
#define LS_CUDA_DEVICE_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#include "../err.h"

#ifdef __cplusplus
extern "C" {
#endif

// How numbers are stored and multiplied. Sums are always float.
enum ls_cuda_type {
    LS_CUDA_FP16, // stored as half, tensor cores
    LS_CUDA_TF32, // stored as float, multiplied by tensor cores with 10 bits of mantissa
    LS_CUDA_FP32, // stored as float, plain arithmetic
};

static inline size_t ls_cuda_size(enum ls_cuda_type type) // bytes of a stored number
{
    return type == LS_CUDA_FP16 ? 2 : 4;
}

struct ls_cuda_device {
    int idx, major, minor, multiprocessor_count;
    char name[64];  // "NVIDIA H200"
    char text[160]; // "NVIDIA H200, driver 13.0, CUDA 13.0"
    size_t memory_total;
};

// Takes device 0 for the calling thread. LS_EDEVICE with one clear line: no driver, an old one, no
// device, one older than sm_75, or less free memory than `memory_min` bytes.
LS_MUST int ls_cuda_device_open(struct ls_cuda_device *out, size_t memory_min, struct ls_err *err);

// 0 for cudaSuccess; else fills err (LS_EDEVICE, LS_ENOMEM for want of device memory): "what: the
// error's own text". status is a cudaError_t; launchers return theirs as an int.
LS_MUST int ls_cuda_check(struct ls_err *err, int status, const char *what);

// Device memory, zeroed. free accepts NULL.
LS_MUST int ls_cuda_alloc(void **out, size_t size, struct ls_err *err);
void ls_cuda_free(void **memory);

// Pinned memory and its twin on the device. Valid when zeroed.
struct ls_cuda_twin {
    void *host, *device;
    size_t size;
};
// At least `size` bytes; what was in it is lost if it grows. Nothing in flight may use it.
LS_MUST int ls_cuda_twin_reserve(struct ls_cuda_twin *twin, size_t size, struct ls_err *err);
void ls_cuda_twin_done(struct ls_cuda_twin *twin);

#ifdef __cplusplus
}
#endif

#endif
