// SPDX-License-Identifier: Apache-2.0
// Pictures, boxes and faces: the words that decoding, detection, tracking and compositing share.
// Plain data; nothing here owns memory. Coordinates are pixels of the frame as it is stored, x to
// the right, y down; pixel (0, 0) covers [0, 1) x [0, 1), so its centre is (0.5, 0.5).
#ifndef LS_FRAME_H
#define LS_FRAME_H

#include <stdbool.h>
#include <stdint.h>

// Short functions of headers that a device's compiler makes for its device, too.
#ifdef __CUDACC__
#define LS_ANYWHERE static __host__ __device__ __forceinline__
#else
#define LS_ANYWHERE static inline
#endif

enum ls_pixel {
    LS_PIX_I420,  // 8 bit Y [h][w], U and V [(h+1)/2][(w+1)/2], chroma sited left (MPEG-2, H.264
                  // default)
    LS_PIX_RGB24, // one plane [h][w][3], R first
    LS_PIX_NV12,  // as I420, but U and V in one plane of pairs [(h+1)/2][(w+1)/2][2]
    LS_PIX_P010,  // as NV12 with 16-bit little-endian samples of which the upper ten bits count: as
                  // numbers their quarter, 0..255.75, so that what holds for 8 bit holds for them;
                  // written back rounded to ten bits, the lower six zero
};

enum ls_matrix { LS_MATRIX_BT601, LS_MATRIX_BT709, LS_MATRIX_BT2020 };

// A picture in somebody else's memory. width and height: 16..8192, odd ones allowed.
struct ls_frame {
    uint8_t *plane[3]; // RGB24 uses plane[0] alone
    int stride[3];     // bytes from row to row, >= the row's own bytes
    int width_px, height_px;
    enum ls_pixel format;
    enum ls_matrix matrix; // of all but RGB24
    bool full_range;       // all but RGB24: 0..255 instead of 16..235 / 16..240
    bool on_device;        // the planes lie in the back end's own memory
};

static inline int ls_frame_planes(enum ls_pixel format)
{
    return format == LS_PIX_RGB24 ? 1 : format == LS_PIX_I420 ? 3 : 2;
}

// Bytes of a row of one of its planes, without padding. Sides up to 65536.
static inline int ls_frame_row_size(const struct ls_frame *f, int plane)
{
    int width = f->width_px, half = (width + 1) / 2;

    switch (f->format) {
    case LS_PIX_RGB24:
        return 3 * width;
    case LS_PIX_NV12:
        return plane ? 2 * half : width;
    case LS_PIX_P010:
        return 2 * (plane ? 2 * half : width);
    default:
        return plane ? half : width;
    }
}

static inline int ls_frame_row_count(const struct ls_frame *f, int plane)
{
    return plane ? (f->height_px + 1) / 2 : f->height_px;
}

// Left, top (inside) and right, bottom (outside): width is x1 - x0.
struct ls_box {
    float x0, y0, x1, y1;
};

// The same of whole pixels.
struct ls_int_box {
    int x0, y0, x1, y1;
};

enum {
    LS_POINT_EYE_R,
    LS_POINT_EYE_L,
    LS_POINT_NOSE,
    LS_POINT_MOUTH_R,
    LS_POINT_MOUTH_L,
    LS_POINTS
};

// A face. Points are in the person's own left and right, as YuNet has them; points_known is false
// for boxes that a caller gave.
struct ls_face {
    struct ls_box box;
    float score; // 0..1
    float point[LS_POINTS][2];
    bool points_known;
};

#endif
