// SPDX-License-Identifier: Apache-2.0
// A frame's samples as kernels read and write them, and places between them. Included by .cu files
// only.
#ifndef LS_CUDA_SAMPLES_H
#define LS_CUDA_SAMPLES_H

#include "launch.h"
#include "pictures.h"

// 0..255, of P010 0..255.75. Ten bits are read by bytes: nobody promises that planes are even.
LS_DEVICE float ls_sample_get(const uint8_t *at, bool deep)
{
    return deep ? (float)(at[1] << 2 | at[0] >> 6) * 0.25f : (float)*at;
}

LS_DEVICE void ls_sample_put(uint8_t *at, bool deep, float v)
{
    if (deep) {
        int sample = (int)fminf(fmaxf(floorf(4 * v + 0.5f), 0), 1023) << 6;

        at[0] = (uint8_t)(sample & 255);
        at[1] = (uint8_t)(sample >> 8);
    } else {
        *at = ls_colour_byte(v);
    }
}

// A channel's plane, as a number of LS_CUDA_RECTS.
LS_DEVICE int ls_channel_kind(const struct ls_cuda_picture *p, int channel)
{
    return p->format != LS_PIX_RGB24 && channel > 0;
}

LS_DEVICE struct ls_cuda_channel ls_channel_of(const struct ls_cuda_picture *p, int channel)
{
    bool chroma = ls_channel_kind(p, channel), pairs = chroma && p->format != LS_PIX_I420;
    int bytes = p->format == LS_PIX_P010 ? 2 : 1, plane = !chroma ? 0 : pairs ? 1 : channel;
    struct ls_cuda_channel c;

    c.data = p->plane[plane];
    c.stride = p->stride[plane];
    c.step = p->format == LS_PIX_RGB24 ? 3 : pairs ? 2 * bytes : bytes;
    c.width = chroma ? (p->width_px + 1) / 2 : p->width_px;
    c.height = chroma ? (p->height_px + 1) / 2 : p->height_px;
    c.deep = bytes == 2;
    if (p->format == LS_PIX_RGB24)
        c.data += 2 - channel;
    else if (pairs)
        c.data += (channel - 1) * bytes;
    return c;
}

// A place along an axis of `count` samples: between two of them; edges are repeated.
struct ls_spot {
    int first, second;
    float part;
};

// at: 0 is the first sample's centre. T: double for a frame, whose width takes 13 of a float's 24
// bits, float for a face.
template <typename T> LS_DEVICE struct ls_spot ls_spot_at(T at, int count)
{
    T last = (T)(count - 1), inside = at > 0 ? at < last ? at : last : 0;
    struct ls_spot spot;

    spot.first = (int)inside;
    spot.second = spot.first + 1 < count ? spot.first + 1 : spot.first;
    spot.part = (float)(inside - (T)spot.first);
    return spot;
}

#endif
