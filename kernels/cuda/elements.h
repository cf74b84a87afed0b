// SPDX-License-Identifier: Apache-2.0
// Launchers of the work around the convolutions. Pointers are device memory; each returns a
// cudaError_t and may be captured into a CUDA graph. Tensors as conv.h has them. Device thread.
#ifndef LS_CUDA_ELEMENTS_H
#define LS_CUDA_ELEMENTS_H

#include "conv.h"

#ifdef __cplusplus
extern "C" {
#endif

// Mel windows [count][16][80] float to the network's [count][80][16][8], channels 1..7 zero.
int ls_cuda_put_mel(void *out, enum ls_cuda_type type, const float *mel, int count,
                    cudaStream_t stream);

// Rectangles of many tensors to and from records, several tensors a launch: item i of `tensor`
// (count of them, rows [h], pixels [w], channels [c]) lies in record slot[i] (device int [count])
// at `offset` bytes, packed [h][w][c]. The encoder's results are stored so, and gathered into the
// decoder's concatenations, of which only the rectangle (x0, y0, w, h) of the packed
// [source_h][source_w][c] is wanted.
enum { LS_CUDA_PARTS_MAX = 8 };
struct ls_cuda_part {
    void *data;                   // the tensor's first number
    struct ls_cuda_tensor tensor; // h, w, c: what is copied
    int64_t offset;               // bytes in the record, a multiple of 16
    int source_w, x0, y0;         // of the packed tensor in the record
};
struct ls_cuda_parts {
    struct ls_cuda_part part[LS_CUDA_PARTS_MAX];
    int part_count;
    enum ls_cuda_type type;
    void *record;        // first record
    int64_t record_size; // bytes, a multiple of 16
    const int *slot;     // device [count]
};
int ls_cuda_store(const struct ls_cuda_parts *parts, int count, cudaStream_t stream);
int ls_cuda_gather(const struct ls_cuda_parts *parts, int count, cudaStream_t stream);

// The output layer: 1x1 convolution to 3 channels and sigmoid, in float: in [count][h][w][c] to the
// rectangle at (x0, y0) of made [count][96][96][3]. weight float [3][c], bias float [3].
struct ls_cuda_head {
    const void *in;
    struct ls_cuda_tensor tensor;
    enum ls_cuda_type type;
    const float *weight, *bias;
    float *made;
    int x0, y0;
};
int ls_cuda_head(const struct ls_cuda_head *head, int count, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
