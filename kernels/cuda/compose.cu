// SPDX-License-Identifier: Apache-2.0
// Puts generated faces back into frames that lie in device memory: two launches make each face's
// maps (compose_maps.cu, compose_fine.cu), a third one mixes the maps with the planes, in place.
// Queued on a stream by the device thread. What surprises: the blend asks the rectangle that the
// host worked out (pictures.c) where it may write; within, the mask's formula where it has to.
#include "compose.h"

enum { SIZE = LS_FACE_SIZE, AREA = LS_DETAIL_AREA, FINE = LS_DETAIL_FINE };
enum { TILE = 32, LANES = 8 }; // a block blends 32 x 32 samples by 32 x 8 threads

// Where a sample lies in a map, in its pixels, and how wide the kernel is there.
struct spot {
    float x, y, width_x, width_y;
};

LS_DEVICE struct spot spot_of(const struct ls_cuda_face *face, int kind, int size, float u, float v)
{
    float scale = (float)(size / SIZE);
    struct spot s;

    s.x = u * scale - 0.5f;
    s.y = v * scale - 0.5f;
    s.width_x = ls_detail_widen(face->samples[kind][0], size);
    s.width_y = ls_detail_widen(face->samples[kind][1], size);
    return s;
}

// The plain kernel: 4 x 4 pixels of `COUNT` maps of size x size that follow each other.
template <int COUNT>
LS_DEVICE void look_near(float out[COUNT], const float *map, int size, const struct spot *s)
{
    int left = (int)floorf(s->x) - 1, top = (int)floorf(s->y) - 1, column[4];
    float weight[4];

    for (int i = 0; i < 4; i++) {
        column[i] = ls_inside(left + i, size);
        weight[i] = ls_cubic((float)(left + i) - s->x);
    }
    for (int c = 0; c < COUNT; c++)
        out[c] = 0;
    for (int j = 0; j < 4; j++) {
        const float *row = map + ls_inside(top + j, size) * size;
        float down = ls_cubic((float)(top + j) - s->y);

        for (int c = 0; c < COUNT; c++) {
            float sum = 0;

            for (int i = 0; i < 4; i++)
                sum += weight[i] * row[c * size * size + column[i]];
            out[c] += down * sum;
        }
    }
}

// The widened one: faces that are reduced.
template <int COUNT>
LS_DEVICE void look_wide(float out[COUNT], const float *map, int size, const struct spot *s)
{
    int left = (int)ceilf(s->x - 2 * s->width_x), right = (int)floorf(s->x + 2 * s->width_x);
    int top = (int)ceilf(s->y - 2 * s->width_y), low = (int)floorf(s->y + 2 * s->width_y);
    float all = 0;

    for (int c = 0; c < COUNT; c++)
        out[c] = 0;
    for (int j = top; j <= low; j++) {
        const float *row = map + ls_inside(j, size) * size;
        float down = ls_cubic(((float)j - s->y) / s->width_y);

        for (int i = left; i <= right; i++) {
            float weight = down * ls_cubic(((float)i - s->x) / s->width_x);

            for (int c = 0; c < COUNT; c++)
                out[c] += weight * row[c * size * size + ls_inside(i, size)];
            all += weight;
        }
    }
    for (int c = 0; c < COUNT; c++)
        out[c] /= all;
}

template <int COUNT>
LS_DEVICE void look(float out[COUNT], const float *map, int size, const struct spot *s)
{
    if (s->width_x > 1 || s->width_y > 1)
        look_wide<COUNT>(out, map, size, s);
    else
        look_near<COUNT>(out, map, size, s);
}

// 6 of detail.h for a sample of `COUNT` channels of full resolution: Y, or B, G and R.
template <int COUNT>
LS_DEVICE void blend_full(const struct ls_cuda_face *face, const struct ls_cuda_maps *m, int x,
                          int y, float u, float v, float opacity)
{
    const struct ls_cuda_picture *p = &face->picture;
    float black = p->format == LS_PIX_RGB24 ? 0 : p->colour.offset[0];
    struct spot near = spot_of(face, 0, SIZE, u, v), fine = spot_of(face, 0, FINE, u, v);
    float seen[1 + COUNT], made[COUNT], keep; // seen: after keep
    float limit = ls_detail_limit_at(m->limit, ls_mask_lips(&face->shape, u, v));

    look<1 + COUNT>(seen, m->keep, SIZE, &near);
    look<COUNT>(made, m->fine[0], FINE, &fine);
    keep = ls_detail_cut(seen[0], 0, 1);
    for (int c = 0; c < COUNT; c++) {
        struct ls_cuda_channel channel = ls_channel_of(p, c);
        uint8_t *at = channel.data + y * channel.stride + (int64_t)x * channel.step;
        float old = ls_sample_get(at, channel.deep);
        float grain = ls_detail_grain(old - seen[1 + c], limit);
        float put = made[c] + (1 - keep) * grain + keep * (old - made[c]);

        ls_sample_put(at, channel.deep, ls_detail_blend(old, put, opacity, black));
    }
}

LS_DEVICE void blend_chroma(const struct ls_cuda_face *face, const struct ls_cuda_maps *m, int x,
                            int y, float u, float v, float opacity)
{
    struct spot near = spot_of(face, 1, SIZE, u, v);
    float made[3], keep; // made: U, V, then keep

    look<3>(made, m->made[1], SIZE, &near);
    keep = ls_detail_cut(made[2], 0, 1);
    for (int c = 0; c < 2; c++) {
        struct ls_cuda_channel channel = ls_channel_of(&face->picture, 1 + c);
        uint8_t *at = channel.data + y * channel.stride + (int64_t)x * channel.step;
        float old = ls_sample_get(at, channel.deep);
        float put = made[c] + keep * (old - made[c]);

        ls_sample_put(at, channel.deep, old + opacity * (put - old));
    }
}

LS_DEVICE void blend_tile(const struct ls_cuda_face *face, const struct ls_cuda_maps *m, int kind,
                          int tile)
{
    const struct ls_int_box *write = &face->write[kind];
    const double(*place)[3] = face->place[kind];
    int tiles = (write->x1 - write->x0 + TILE - 1) / TILE;
    int x = write->x0 + tile % tiles * TILE + (int)threadIdx.x;
    int first = write->y0 + tile / tiles * TILE + (int)threadIdx.y;
    float u0 = (float)(place[0][0] + x * place[0][1] + first * place[0][2]);
    float v0 = (float)(place[1][0] + x * place[1][1] + first * place[1][2]);

    if (x >= write->x1)
        return;
    for (int k = 0; k < TILE && first + k < write->y1; k += LANES) {
        float u = u0 + (float)k * (float)place[0][2], v = v0 + (float)k * (float)place[1][2];
        float opacity = face->paste.strength * ls_mask_at(&face->shape, u, v);

        if (!(opacity > 0))
            continue;
        if (kind)
            blend_chroma(face, m, x, first + k, u, v, opacity);
        else if (face->picture.format == LS_PIX_RGB24)
            blend_full<3>(face, m, x, first + k, u, v, opacity);
        else
            blend_full<1>(face, m, x, first + k, u, v, opacity);
    }
}

LS_DEVICE int tiles_of(const struct ls_int_box *r)
{
    return (r->x1 - r->x0 + TILE - 1) / TILE * ((r->y1 - r->y0 + TILE - 1) / TILE);
}

// Grid: (tiles, items); tiles of plane 0, then those of chroma, as many as the item has. Bytes an
// item: each sample inside the mask read and written once (a face of 400 px in 720p I420, lower
// face: 70 KB each way), besides 330 KB of maps (RGB24: 630 KB) that the caches hold, of which a
// sample of luma reads 48 values, of chroma 48 for both.
LS_KERNEL compose_blend(const struct ls_cuda_maps *maps, const struct ls_cuda_face *faces)
{
    const struct ls_cuda_face *face = &faces[blockIdx.y];
    int luma = tiles_of(&face->write[0]), all = luma + tiles_of(&face->write[1]);

    for (int i = (int)blockIdx.x; i < all; i += (int)gridDim.x)
        blend_tile(face, &maps[blockIdx.y], i >= luma, i < luma ? i : i - luma);
}

extern "C" size_t ls_cuda_compose_size(void)
{
    return sizeof(struct ls_cuda_maps);
}

// Blocks for an item's tiles; more tiles than these take turns.
static unsigned blocks_for(int width, int height)
{
    const int64_t most = 4096;
    int64_t w = width > 0 ? width : 1, h = height > 0 ? height : 1;
    int64_t luma = (w + TILE - 1) / TILE * ((h + TILE - 1) / TILE);
    int64_t all = luma + (w / 2 + TILE) / TILE * ((h / 2 + TILE) / TILE);

    return (unsigned)(all < most ? all : most);
}

extern "C" int ls_cuda_compose(const struct ls_cuda_face *face, int count, const float *made,
                               const uint8_t *source, void *scratch, int width_max, int height_max,
                               cudaStream_t stream)
{
    dim3 grid(blocks_for(width_max, height_max), (unsigned)count), block(TILE, LANES);
    struct ls_cuda_maps *maps = (struct ls_cuda_maps *)scratch;

    ls_cuda_compose_maps(maps, face, count, made, source, stream);
    ls_cuda_compose_fine(maps, face, count, stream);
    LS_LAUNCH_FLAT(compose_blend, grid, block, stream, maps, face);
    return (int)cudaGetLastError();
}
