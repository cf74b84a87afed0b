// SPDX-License-Identifier: Apache-2.0
// Launchers of kernels that show what the shim does (self.cu), for tests/kernels/cuda_shim.c.
#ifndef LS_SHIM_SELF_H
#define LS_SHIM_SELF_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

// out[block] = the sum of in[block * 256 ...][256], by shuffles, shared memory and a barrier.
int ls_self_sum(float *out, const float *in, int block_count, cudaStream_t stream);
// out[i] = in[count - 1 - i] for each block's `count` (a multiple of 32, at most 1024) numbers;
// through dynamic shared memory that is `missing` numbers too small.
int ls_self_reverse(int *out, const int *in, int count, int missing, cudaStream_t stream);
int ls_self_add(int *to, int v, int count, cudaStream_t stream); // a FLAT kernel

// Kernels that a device would get wrong or never finish.
enum ls_self_fault {
    LS_SELF_CROWD,       // FLAT; two threads write to one place: only ThreadSanitizer tells
    LS_SELF_NO_BARRIER,  // each thread reads its left neighbour's number too early: a wrong sum
    LS_SELF_NO_BARRIER2, // the right neighbour's
    LS_SELF_DIVERGENT_BARRIER,
    LS_SELF_RETURNED, // half of the threads do not reach the barrier
    LS_SELF_DIVERGENT_WARP,
    LS_SELF_LANE_OUTSIDE, // a shuffle from a lane outside its mask
    LS_SELF_FLAT_BARRIER,
    LS_SELF_FAULTS
};
int ls_self_fault(int *out, int fault, cudaStream_t stream); // out [64]

// Rounding and widening of half numbers.
unsigned short ls_self_half_put(float v);
float ls_self_half_get(unsigned short bits);

#ifdef __cplusplus
}
#endif

#endif
