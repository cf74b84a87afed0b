// SPDX-License-Identifier: Apache-2.0
// Device memory for frames and copies of their rows, for threads that have no lane: decode threads,
// encode jobs, the loop. Any thread. Copies go by the calling thread's own stream, which waits for
// nothing that a lane does; they are for frames that no lane has in hand.
#include "memory.h"

int ls_cuda_memory_alloc(void **out, size_t size, struct ls_err *err)
{
    void *memory = NULL;
    int r = ls_cuda_check(err, cudaMalloc(&memory, size), "memory for frames");

    if (r == 0)
        *out = memory;
    return r;
}

void ls_cuda_memory_free(void **memory)
{
    if (*memory && cudaFree(*memory) != cudaSuccess)
        (void)cudaGetLastError(); // an earlier one's, which was told
    *memory = NULL;
}

static enum cudaMemcpyKind kind_of(const struct ls_copy *c)
{
    if (c->to_device)
        return c->from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice;
    return c->from_device ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost;
}

int ls_cuda_memory_copy(const struct ls_copy *c, struct ls_err *err)
{
    int r =
        ls_cuda_check(err,
                      cudaMemcpy2DAsync(c->to, c->to_stride, c->from, c->from_stride, c->row_size,
                                        (size_t)c->row_count, kind_of(c), cudaStreamPerThread),
                      "copying a frame");

    if (r == 0)
        r = ls_cuda_check(err, cudaStreamSynchronize(cudaStreamPerThread), "copying a frame");
    return r;
}
