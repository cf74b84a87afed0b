// SPDX-License-Identifier: Apache-2.0
// What the launches of ls_cuda_compose share: an item's maps in device memory, and the launches
// themselves. Included by .cu files only.
#ifndef LS_CUDA_COMPOSE_H
#define LS_CUDA_COMPOSE_H

#include "launch.h"

#include <math.h>

#include "../cubic.h"
#include "../detail.h"
#include "samples.h"

// As struct ls_detail; made and seen in the frame's channels. fine is only as far there as the
// paste reads it. 19 maps of 37 KB. compose.cu reads neighbours in this order at once.
struct alignas(16) ls_cuda_maps {
    float made[3][LS_DETAIL_AREA], keep[LS_DETAIL_AREA], seen[3][LS_DETAIL_AREA];
    union {
        float room[12][LS_DETAIL_AREA]; // while the maps are made
        float fine[3][LS_DETAIL_FINE * LS_DETAIL_FINE];
    };
    float amount, limit;
};

// How many channels have the frame's full resolution.
LS_DEVICE int ls_full_channels(const struct ls_cuda_picture *p)
{
    return p->format == LS_PIX_RGB24 ? 3 : 1;
}

LS_DEVICE int ls_inside(int at, int count)
{
    return at < 0 ? 0 : at < count ? at : count - 1;
}

LS_DEVICE struct ls_int_box ls_grown(const struct ls_int_box *r, int by, int size)
{
    struct ls_int_box out;

    out.x0 = ls_inside(r->x0 - by, size);
    out.y0 = ls_inside(r->y0 - by, size);
    out.x1 = ls_inside(r->x1 + by - 1, size) + 1;
    out.y1 = ls_inside(r->y1 + by - 1, size) + 1;
    return out;
}

LS_DEVICE bool ls_within(const struct ls_int_box *r, int x, int y)
{
    return x >= r->x0 && x < r->x1 && y >= r->y0 && y < r->y1;
}

// 1 to 3 and 5 of detail.h, a block an item; then 4.
void ls_cuda_compose_maps(struct ls_cuda_maps *maps, const struct ls_cuda_face *face, int count,
                          const float *made, const uint8_t *source, cudaStream_t stream);
void ls_cuda_compose_fine(struct ls_cuda_maps *maps, const struct ls_cuda_face *face, int count,
                          cudaStream_t stream);

#endif
