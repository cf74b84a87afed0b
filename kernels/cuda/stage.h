// SPDX-License-Identifier: Apache-2.0
// A batch's data on its way to the device and back: one block of pinned memory and its twin, so
// that there is one copy each way. The block is laid out first (begin, take, frame), then reserved,
// filled, copied to the device, worked on there, copied back from out_from on, and its rows are put
// where they belong. Of a frame only the rows and columns that are read or written are in it.
// Device thread.
#ifndef LS_CUDA_STAGE_H
#define LS_CUDA_STAGE_H

#include "../paste.h"
#include "pictures.h"

enum { LS_CUDA_STAGE_FRAMES = 64 };

// A plane's part in the block; x in bytes, y in rows. Empty: not in it.
struct ls_cuda_rows {
    uint8_t *plane; // of the frame, on the host
    int64_t stride, pitch;
    size_t at; // in the block
    struct ls_int_box staged, written;
};

struct ls_cuda_stage {
    struct ls_cuda_twin block;
    size_t size;     // laid out so far
    size_t out_from; // where what comes back begins
    struct ls_cuda_rows rows[LS_CUDA_STAGE_FRAMES][3];
    int frame_count;
};

void ls_cuda_stage_begin(struct ls_cuda_stage *stage);
// Room for `size` bytes; where it is in the block, a multiple of 256.
size_t ls_cuda_stage_take(struct ls_cuda_stage *stage, size_t size);
// Room for what is read for a face to be cut out (NULL: nothing) and written for one put back
// (NULL: nothing) of a frame that lies on the host. Its number, for ls_cuda_stage_place. At most
// LS_CUDA_STAGE_FRAMES.
int ls_cuda_stage_frame(struct ls_cuda_stage *stage, const struct ls_frame *frame,
                        const struct ls_paste *cut, const struct ls_paste *paste);
size_t ls_cuda_stage_frame_size(const struct ls_frame *frame,
                                const struct ls_paste *paste); // at most
// What is laid out gets its memory. Nothing in flight may use the block.
LS_MUST int ls_cuda_stage_reserve(struct ls_cuda_stage *stage, struct ls_err *err);
// Puts the planes of the picture, a frame's, to where its parts are in the block.
void ls_cuda_stage_place(struct ls_cuda_picture *picture, const struct ls_cuda_stage *stage,
                         int idx);
void *ls_cuda_stage_host(const struct ls_cuda_stage *stage, size_t at);
void *ls_cuda_stage_device(const struct ls_cuda_stage *stage, size_t at);
void ls_cuda_stage_put(const struct ls_cuda_stage *stage); // frames' parts into the block
void ls_cuda_stage_get(const struct ls_cuda_stage *stage); // and what was written back

#endif
