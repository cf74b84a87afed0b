// SPDX-License-Identifier: Apache-2.0
// Kernels in the words of launch.h that lean on all of them, and some with the faults that the shim
// must find. Nothing of the product.
#include "kernels/cuda/launch.h"
#include "tests/shim/self.h"

// 1 KB read a block.
LS_KERNEL sum_kernel(float *out, const float *in)
{
    __shared__ float part[8];
    int warp = (int)threadIdx.x / 32;
    float v = __ldg(in + blockIdx.x * blockDim.x + threadIdx.x);

    for (int by = 16; by > 4; by /= 2)
        v += __shfl_down_sync(0xffffffffu, v, by);
    for (int with = 4; with; with /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, with);
    v = __shfl_sync(0xffffffffu, v, 0);
    if (threadIdx.x % 32 == 5)
        part[warp] = v;
    __syncthreads();
    if (threadIdx.x == blockDim.x - 1) {
        float all = 0;

        for (int i = 0; i < 8; i++)
            all += part[i];
        out[blockIdx.x] = all;
    }
}

template <typename T> LS_KERNEL reverse_kernel(T *out, const T *in)
{
    LS_DYNAMIC_SHARED(T, held);

    held[threadIdx.y * blockDim.x + threadIdx.x] = in[threadIdx.y * blockDim.x + threadIdx.x];
    __syncthreads();
    out[threadIdx.y * blockDim.x + threadIdx.x] =
        held[blockDim.x * blockDim.y - 1 - (threadIdx.y * blockDim.x + threadIdx.x)];
}

LS_KERNEL add_kernel(int *to, int v, int count)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

    if (i < count)
        atomicAdd(to + i, v);
}

LS_KERNEL neighbour_kernel(int *out, int step)
{
    __shared__ int held[64];

    int wrong = 0;

    __syncthreads();
    for (int round = 1; round <= 8; round++) {
        held[threadIdx.x] = round;
        wrong += held[(threadIdx.x + step) % 64] != round; // a barrier is missing before this
        __syncthreads();
    }
    out[threadIdx.x] = wrong;
}

LS_KERNEL divergent_kernel(int *out)
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    out[threadIdx.x] = 0;
}

LS_KERNEL returned_kernel(int *out)
{
    if (threadIdx.x >= 32)
        return;
    __syncthreads();
    out[threadIdx.x] = 0;
}

LS_KERNEL divergent_warp_kernel(int *out)
{
    if (threadIdx.x % 2)
        __syncwarp();
    out[threadIdx.x] = 0;
}

LS_KERNEL outside_kernel(int *out)
{
    if (threadIdx.x % 32 < 16)
        out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 20);
}

LS_KERNEL crowd_kernel(int *out)
{
    out[threadIdx.x / 2] = (int)blockIdx.x;
}

LS_KERNEL barrier_kernel(int *out)
{
    __syncthreads();
    out[threadIdx.x] = 0;
}

int ls_self_sum(float *out, const float *in, int block_count, cudaStream_t stream)
{
    LS_LAUNCH(sum_kernel, block_count, 256, 0, stream, out, in);
    return cudaGetLastError();
}

int ls_self_reverse(int *out, const int *in, int count, int missing, cudaStream_t stream)
{
    LS_LAUNCH(reverse_kernel<int>, dim3(1), dim3(32, count / 32), sizeof(int) * (count - missing),
              stream, out, in);
    return cudaGetLastError();
}

int ls_self_add(int *to, int v, int count, cudaStream_t stream)
{
    LS_LAUNCH_FLAT(add_kernel, (count + 63) / 64, 64, stream, to, v, count);
    return cudaGetLastError();
}

int ls_self_fault(int *out, int fault, cudaStream_t stream)
{
    switch (fault) {
    case LS_SELF_NO_BARRIER:
    case LS_SELF_NO_BARRIER2:
        LS_LAUNCH(neighbour_kernel, 1, 64, 0, stream, out, fault == LS_SELF_NO_BARRIER ? 63 : 1);
        break;
    case LS_SELF_DIVERGENT_BARRIER:
        LS_LAUNCH(divergent_kernel, 1, 64, 0, stream, out);
        break;
    case LS_SELF_RETURNED:
        LS_LAUNCH(returned_kernel, 1, 64, 0, stream, out);
        break;
    case LS_SELF_DIVERGENT_WARP:
        LS_LAUNCH(divergent_warp_kernel, 1, 64, 0, stream, out);
        break;
    case LS_SELF_LANE_OUTSIDE:
        LS_LAUNCH(outside_kernel, 1, 64, 0, stream, out);
        break;
    case LS_SELF_CROWD:
        LS_LAUNCH_FLAT(crowd_kernel, 2, 64, stream, out);
        break;
    default:
        LS_LAUNCH_FLAT(barrier_kernel, 1, 64, stream, out);
    }
    return cudaGetLastError();
}

unsigned short ls_self_half_put(float v)
{
    return ls_half_put(v).bits;
}

float ls_self_half_get(unsigned short bits)
{
    ls_half h;

    h.bits = bits;
    return ls_half_get(h);
}
