// SPDX-License-Identifier: Apache-2.0
// Device memory for frames: ls_backend_ops' memory_alloc, memory_free and copy. Any thread whose
// current device is the back end's (device 0 is every thread's own, unless it chose another).
#ifndef LS_CUDA_MEMORY_H
#define LS_CUDA_MEMORY_H

#include "../backend.h"
#include "device.h"

LS_MUST int ls_cuda_memory_alloc(void **out, size_t size, struct ls_err *err);
void ls_cuda_memory_free(void **memory);
LS_MUST int ls_cuda_memory_copy(const struct ls_copy *copy, struct ls_err *err);

#endif
