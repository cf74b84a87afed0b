// SPDX-License-Identifier: Apache-2.0
// The launchers of letterbox.cu and heads.cu: a frame reduced into a detector's input, and faces
// from a detector's numbers. Pointers are device memory; each returns a cudaError_t. Device thread.
#ifndef LS_CUDA_HEADS_H
#define LS_CUDA_HEADS_H

#include <cuda_runtime_api.h>

#include "../cells.h"
#include "pictures.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ls_cuda_letterbox {
    struct ls_cuda_channel channel[3];
    bool yuv;
    struct ls_colour colour; // of Y, U, V
    struct ls_letterbox box;
};
// input [3][net_height][net_width], as struct ls_letterbox says.
int ls_cuda_letterbox(float *input, const struct ls_cuda_letterbox *letterbox, cudaStream_t stream);

struct ls_cuda_heads {
    struct ls_cells cells;
    struct ls_letterbox box;
    float fit[8][9]; // ls_blazeface_fit
    int *found;      // scratch: one number, then
    uint64_t *key;   // ls_cells_count of them
};
// As ls_detect_faces gives them.
struct ls_cuda_faces_found {
    int count;
    struct ls_face face[LS_FACES_MAX];
};
int ls_cuda_heads(struct ls_cuda_faces_found *out, const struct ls_cuda_heads *heads,
                  cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
