// SPDX-License-Identifier: Apache-2.0
// The runtime's header for C++ (kernels/cuda/launch.h includes it): the same calls; the words of
// kernels come from ls_shim.h.
#ifndef LS_SHIM_CUDA_RUNTIME_H
#define LS_SHIM_CUDA_RUNTIME_H

#include <cuda_runtime_api.h>

#endif
