// SPDX-License-Identifier: Apache-2.0
// The words in which kernels are written, so that one source compiles for a device (nvcc) and, with
// tests/shim in front of the include path, for the host, where threads of a block are fibers.
// A kernel uses threadIdx, blockIdx, blockDim, gridDim, __shared__, __syncthreads, __syncwarp,
// __shfl_sync, __shfl_down_sync, __shfl_xor_sync, integer atomicAdd, float4 and its make_float4,
// and the words below; nothing else of CUDA's. Numbers are stored as half and computed as float.
// Included by .cu files only.
#ifndef LS_CUDA_LAUNCH_H
#define LS_CUDA_LAUNCH_H

#include <cuda_runtime.h>

#ifdef __CUDACC__
#include <cuda_fp16.h>

typedef __half ls_half;
#define LS_DEVICE static __device__ __forceinline__
#define LS_KERNEL static __global__ void
// Dynamic shared memory, 16-byte aligned; at most one in a kernel.
#define LS_DYNAMIC_SHARED(type, name)                                                              \
    extern __shared__ __align__(16) unsigned char ls_dynamic_shared[];                             \
    type *name = (type *)ls_dynamic_shared
// Launches; the launcher then returns cudaGetLastError() as an int. FLAT: a kernel without
// barriers, shuffles and shared memory (the host then runs its threads as a plain loop).
#define LS_LAUNCH(kernel, grid, block, shared_size, stream, ...)                                   \
    kernel<<<(grid), (block), (shared_size), (stream)>>>(__VA_ARGS__)
#define LS_LAUNCH_FLAT(kernel, grid, block, stream, ...)                                           \
    kernel<<<(grid), (block), 0, (stream)>>>(__VA_ARGS__)

LS_DEVICE float ls_half_get(ls_half h)
{
    return __half2float(h);
}
LS_DEVICE ls_half ls_half_put(float v) // to the nearest, ties to even
{
    return __float2half_rn(v);
}
#else
#include <ls_shim.h> // tests/shim: the same words for the host
#endif

// A stored number as float, and back, for templates over the storage type.
LS_DEVICE float ls_get(float v)
{
    return v;
}
LS_DEVICE float ls_get(ls_half v)
{
    return ls_half_get(v);
}
LS_DEVICE void ls_put(float *to, float v)
{
    *to = v;
}
LS_DEVICE void ls_put(ls_half *to, float v)
{
    *to = ls_half_put(v);
}

#endif
