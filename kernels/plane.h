// SPDX-License-Identifier: Apache-2.0
// A frame's format taken apart: one channel as samples in memory and where they lie in the picture,
// so that arithmetic on channels need not know formats. Shared by the back ends of the host. Plain
// data; any thread.
#ifndef LS_PLANE_H
#define LS_PLANE_H

#include <math.h>

#include "frame.h"

struct ls_plane {
    uint8_t *data;     // the first sample
    int64_t stride;    // bytes from row to row
    int step;          // bytes from sample to sample
    int width, height; // samples
    bool deep;         // samples of P010
    int scale;         // sample (i, j) lies at frame position (scale i + x_at, scale j + y_at)
    double x_at, y_at;
};

// channel: 0..2 are Y, U, V, or B, G, R of RGB24.
static inline void ls_plane_init(struct ls_plane *out, const struct ls_frame *frame, int channel)
{
    bool chroma = frame->format != LS_PIX_RGB24 && channel > 0;
    bool pairs = frame->format == LS_PIX_NV12 || frame->format == LS_PIX_P010;
    int bytes = frame->format == LS_PIX_P010 ? 2 : 1;
    int plane = !chroma ? 0 : pairs ? 1 : channel;

    *out = (struct ls_plane){
        .data = frame->plane[plane],
        .stride = frame->stride[plane],
        .step = frame->format == LS_PIX_RGB24 ? 3
                : chroma && pairs             ? 2 * bytes
                                              : bytes,
        .width = chroma ? (frame->width_px + 1) / 2 : frame->width_px,
        .height = chroma ? (frame->height_px + 1) / 2 : frame->height_px,
        .deep = bytes == 2,
        .scale = chroma ? 2 : 1,
        .x_at = 0.5, // chroma: on the left luma column, between two rows
        .y_at = chroma ? 1 : 0.5,
    };
    if (frame->format == LS_PIX_RGB24)
        out->data += 2 - channel;
    else if (chroma && pairs)
        out->data += (channel - 1) * bytes;
}

static inline uint8_t *ls_plane_at(const struct ls_plane *p, int x, int y)
{
    return p->data + y * p->stride + (int64_t)x * p->step;
}

// 0..255, of P010 0..255.75.
static inline float ls_plane_get(const struct ls_plane *p, int x, int y)
{
    const uint8_t *at = ls_plane_at(p, x, y);

    return p->deep ? (float)(at[1] << 2 | at[0] >> 6) / 4 : *at;
}

// Rounded (halves up) and cut to what a sample can hold; not a number gives 0.
static inline void ls_plane_put(const struct ls_plane *p, int x, int y, float v)
{
    uint8_t *at = ls_plane_at(p, x, y);

    if (p->deep) {
        int sample = (int)fminf(fmaxf(floorf(4 * v + 0.5f), 0), 1023) << 6;

        at[0] = (uint8_t)(sample & 255);
        at[1] = (uint8_t)(sample >> 8);
    } else {
        *at = (uint8_t)fminf(fmaxf(floorf(v + 0.5f), 0), 255);
    }
}

#endif
