// SPDX-License-Identifier: Apache-2.0
// Launchers that read and write frames: faces cut out (prepare.cu), faces put back (compose.cu). A
// whole batch of different frames, sizes, formats and boxes a launch. Pointers are device memory;
// each returns a cudaError_t. Device thread.
#ifndef LS_CUDA_PICTURES_H
#define LS_CUDA_PICTURES_H

#include "../backend.h"
#include "../colour.h"
#include "device.h"

// A frame whose planes lie in device memory. If only a part of it does, plane points to where the
// frame's first sample would be, so that addresses are those of a whole frame.
struct ls_cuda_picture {
    uint8_t *plane[3];
    int64_t stride[3]; // bytes
    int width_px, height_px;
    enum ls_pixel format;
    struct ls_colour colour; // of all but RGB24
};
void ls_cuda_picture_init(struct ls_cuda_picture *out, const struct ls_frame *frame);

// One face of a batch; arrays of it lie in device memory.
struct ls_cuda_face {
    struct ls_cuda_picture picture; // read by prepare, written in place by compose
    struct ls_paste paste;          // its face and source are ignored; not exact
};

// As ls_crop: source [count][96][96][3] bytes BGR, and the network's input [count][96][96][8] of
// `type`: BGR / 255 with rows 48..95 zero, BGR / 255, two zeros.
int ls_cuda_prepare(uint8_t *source, void *input, enum ls_cuda_type type,
                    const struct ls_cuda_face *face, int count, cudaStream_t stream);

// As ls_composite: made [count][96][96][3] float 0..1 BGR into the pictures, touching only samples
// inside the mask. scratch: ls_cuda_compose_size bytes an item. box: the largest box of the batch,
// in pixels of its frame (a bound for the grid).
size_t ls_cuda_compose_size(void);
int ls_cuda_compose(const struct ls_cuda_face *face, int count, const float *made,
                    const uint8_t *source, void *scratch, int width_max, int height_max,
                    cudaStream_t stream);

#endif
