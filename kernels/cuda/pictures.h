// SPDX-License-Identifier: Apache-2.0
// Launchers that read and write frames: faces cut out (prepare.cu), faces put back (compose.cu). A
// whole batch of different frames, sizes, formats and boxes a launch. Pointers are device memory;
// each launcher returns a cudaError_t. Device thread. What surprises: of a frame only the
// rectangles that pictures.c names need be in device memory; nothing else of it is touched.
#ifndef LS_CUDA_PICTURES_H
#define LS_CUDA_PICTURES_H

#include "../backend.h"
#include "../colour.h"
#include "../mask.h"
#include "../paste.h"
#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

// One channel of a frame (Y, U, V, or B, G, R), as struct ls_plane of the host has it.
struct ls_cuda_channel {
    uint8_t *data;     // the first sample
    int64_t stride;    // bytes from row to row
    int step;          // bytes from sample to sample
    int width, height; // samples
    bool deep;         // samples of P010
};

// Rectangles of samples: [0] of plane 0 (of RGB24 pixels of three bytes), [1] of the chroma planes
// (of NV12 and P010 pairs); RGB24's [1] is empty. Empty ones are all 0.
enum { LS_CUDA_RECTS = 2 };
// What prepare can read of a frame for a face in this box: the upright rectangle around it and two
// widths of the kernel more to every side, cut at the frame; at least one sample. Of the paste the
// box and its roll are looked at.
void ls_cuda_picture_reads(struct ls_int_box out[LS_CUDA_RECTS], const struct ls_frame *frame,
                           const struct ls_paste *paste);
// What compose can write; lies inside what ls_cuda_picture_reads says. Both are empty when nothing
// of the mask is in the frame.
void ls_cuda_picture_writes(struct ls_int_box out[LS_CUDA_RECTS], const struct ls_frame *frame,
                            const struct ls_paste *paste);

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

// crop.h's lattice in samples of each kind of plane: point i of an axis (0: x, 1: y) lies at sample
// at + i step. Of a turned box pixel (i, j) lies at place[axis][0] + i place[][1] + j place[][2]
// between the points; of an upright one it is point (i, j).
struct ls_cuda_lattice {
    int count[2];
    bool turned;
    double at[LS_CUDA_RECTS][2], step[LS_CUDA_RECTS][2];
    double place[2][3];
};

// One face of a batch; arrays of it lie in device memory.
struct ls_cuda_face {
    struct ls_cuda_picture picture;         // read by prepare, written in place by compose
    struct ls_paste paste;                  // its face and source are ignored; not exact
    struct ls_cuda_lattice lattice;         // for prepare
    struct ls_int_box write[LS_CUDA_RECTS]; // ls_cuda_picture_writes
    // For compose, as detail.h has them. Sample (x, y) lies at u = place[kind][0][0] + x
    // place[][][1] + y place[][][2] of the face, and v so by place[kind][1]; samples: along the
    // box's sides. reads: ls_paste_reads; fine: what of the doubled maps is looked at.
    double place[LS_CUDA_RECTS][2][3];
    float samples[LS_CUDA_RECTS][2];
    struct ls_mask_shape shape;
    struct ls_int_box reads, fine;
    bool writes;       // anything at all
    bool source_known; // set by init; may be unset if there is no source, and it is not looked at
    bool levels; // unset by init; set: the network sees the face by ls_cuda_level, and what it made
                 // gets the face's levels (../levels.h) back. Then there is a source
};
// Fills everything; planes are the frame's own until the caller puts others there.
void ls_cuda_face_init(struct ls_cuda_face *out, const struct ls_frame *frame,
                       const struct ls_paste *paste);

// As ls_crop: source [count][96][96][3] bytes BGR, and the network's input [count][96][96][8] of
// `type`: BGR / 255 with rows 48..95 zero, BGR / 255, two zeros. count: 1..65535.
int ls_cuda_prepare(uint8_t *source, void *input, enum ls_cuda_type type,
                    const struct ls_cuda_face *face, int count, cudaStream_t stream);

// After prepare: of faces with `levels` the input anew, as ../levels.h has it; others stay. source
// and input are prepare's.
int ls_cuda_level(const uint8_t *source, void *input, enum ls_cuda_type type,
                  const struct ls_cuda_face *face, int count, cudaStream_t stream);

// As ls_composite: made [count][96][96][3] float 0..1 BGR into the pictures, touching only samples
// inside the mask; source [count][96][96][3] bytes, what prepare made of the same faces. No two
// faces of a batch may be of one frame. scratch: ls_cuda_compose_size bytes an item, on 16 bytes.
// width_max, height_max: the largest write[0] of the batch or more; only speed depends on them.
size_t ls_cuda_compose_size(void);
int ls_cuda_compose(const struct ls_cuda_face *face, int count, const float *made,
                    const uint8_t *source, void *scratch, int width_max, int height_max,
                    cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
