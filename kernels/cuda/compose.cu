// SPDX-License-Identifier: Apache-2.0
// Puts generated faces back into frames that lie in device memory: one launch makes each face's map
// (opacity and colour in the frame's own channels, after the colour match), a second one mixes the
// maps into the planes, in place. Queued on a stream by the device thread. What surprises: the
// blend asks the rectangle that the host worked out (pictures.c) where it may write, not the mask.
#include "launch.h"

#include <math.h>

#include "samples.h"
extern "C" {
#include "../mask.h"
}

enum { SIZE = LS_FACE_SIZE, AREA = SIZE * SIZE };
enum { THREADS = 512 };        // of a map's block
enum { TILE = 32, LANES = 8 }; // a block blends 32 x 32 samples by 32 x 8 threads

// The mean of source - face over the mask's soft edge, as paste.c has it. sums: [4][THREADS],
// shared. Sums are added in one order, whatever the batch is; in float, where ref has double: the
// tree keeps them to a few units of the last place, 1e-4 of a byte's step.
LS_DEVICE void match(float difference[3], const struct ls_paste *paste, const float4 *map,
                     const float *made, const uint8_t *source, float (*sums)[THREADS])
{
    float sum[4] = {0, 0, 0, 0};
    int thread = (int)threadIdx.x;

    for (int i = thread; i < AREA; i += THREADS) {
        float a = map[i].x / paste->strength, weight = a * (1 - a);

        if (weight == 0)
            continue; // what lies outside the mask may never have been made
        sum[3] += weight;
        for (int c = 0; c < 3; c++)
            sum[c] += weight * (source[3 * i + c] - 255 * made[3 * i + c]);
    }
    for (int c = 0; c < 4; c++)
        sums[c][thread] = sum[c];
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half)
            for (int c = 0; c < 4; c++)
                sums[c][thread] += sums[c][thread + half];
    }
    __syncthreads();
    for (int c = 0; c < 3; c++)
        difference[c] = sums[3][0] > 1e-6f ? sums[c][0] / sums[3][0] : 0;
}

// A block an item. Bytes an item: 110 KB of face and 28 KB of source read twice, 147 KB written.
LS_KERNEL compose_map(float4 *maps, const struct ls_cuda_face *faces, const float *mades,
                      const uint8_t *sources)
{
    __shared__ float sums[4][THREADS];
    __shared__ float term[2][SIZE]; // of columns and rows
    const struct ls_cuda_picture *picture = &faces[blockIdx.x].picture;
    const struct ls_paste *paste = &faces[blockIdx.x].paste;
    const float *made = mades + (int64_t)blockIdx.x * AREA * 3;
    const uint8_t *source = sources + (int64_t)blockIdx.x * AREA * 3;
    float4 *map = maps + (int64_t)blockIdx.x * AREA;
    int thread = (int)threadIdx.x;
    float difference[3] = {0, 0, 0};

    if (thread < 2 * SIZE)
        term[thread / SIZE][thread % SIZE] = ls_mask_term(paste, thread / SIZE, thread % SIZE);
    __syncthreads();
    for (int i = thread; i < AREA; i += THREADS) {
        int x = i % SIZE, y = i / SIZE;

        map[i].x = ls_mask_opacity(paste, x, y, term[0][x] + term[1][y]);
    }
    // Of its map a thread reads what it wrote itself. All threads of a block agree on the branch.
    if (paste->colour_match > 0 && paste->strength > 0)
        match(difference, paste, map, made, source, sums);
    for (int i = thread; i < AREA; i += THREADS) {
        float bgr[3], value[3];

        for (int c = 0; c < 3; c++) {
            float v = 255 * made[3 * i + c] + paste->colour_match * difference[c];

            value[c] = bgr[c] = v > 0 ? v < 255 ? v : 255 : 0; // not a number gives 0
        }
        if (picture->format != LS_PIX_RGB24)
            ls_colour_yuv(value, &picture->colour, bgr);
        map[i] = make_float4(map[i].x, value[0], value[1], value[2]);
    }
}

LS_DEVICE float4 mix(float4 a, float4 b, float part)
{
    return make_float4(a.x + part * (b.x - a.x), a.y + part * (b.y - a.y), a.z + part * (b.z - a.z),
                       a.w + part * (b.w - a.w));
}

LS_DEVICE void blend(uint8_t *at, bool deep, float opacity, float value)
{
    float old = ls_sample_get(at, deep);

    ls_sample_put(at, deep, old + opacity * (value - old));
}

// The samples at column x and row y of plane 0 or of the chroma planes.
LS_DEVICE void blend_samples(const struct ls_cuda_picture *p, bool chroma, int64_t x, int64_t y,
                             float4 v)
{
    bool deep = p->format == LS_PIX_P010;
    int bytes = deep ? 2 : 1;

    if (p->format == LS_PIX_RGB24) {
        uint8_t *at = p->plane[0] + y * p->stride[0] + 3 * x;

        blend(at + 2, false, v.x, v.y);
        blend(at + 1, false, v.x, v.z);
        blend(at, false, v.x, v.w);
    } else if (!chroma) {
        blend(p->plane[0] + y * p->stride[0] + x * bytes, deep, v.x, v.y);
    } else if (p->format == LS_PIX_I420) {
        blend(p->plane[1] + y * p->stride[1] + x, false, v.x, v.z);
        blend(p->plane[2] + y * p->stride[2] + x, false, v.x, v.w);
    } else {
        uint8_t *at = p->plane[1] + y * p->stride[1] + 2 * x * bytes;

        blend(at, deep, v.x, v.z);
        blend(at + bytes, deep, v.x, v.w);
    }
}

LS_DEVICE void blend_tile(const struct ls_cuda_face *face, const float4 *map, bool chroma, int tile)
{
    const struct ls_int_box *write = &face->write[chroma];
    const float *first = face->first[chroma], *step = face->step[chroma];
    int width = write->x1 - write->x0, height = write->y1 - write->y0;
    int tiles = (width + TILE - 1) / TILE;
    int x = tile % tiles * TILE + (int)threadIdx.x;
    int top = tile / tiles * TILE;
    struct ls_spot u = ls_spot_at(first[0] + (float)x * step[0], SIZE);

    if (x >= width)
        return;
    for (int y = top + (int)threadIdx.y; y < top + TILE && y < height; y += LANES) {
        struct ls_spot v = ls_spot_at(first[1] + (float)y * step[1], SIZE);
        const float4 *upper = map + v.first * SIZE, *lower = map + v.second * SIZE;
        float4 got = mix(mix(upper[u.first], upper[u.second], u.part),
                         mix(lower[u.first], lower[u.second], u.part), v.part);

        if (got.x > 0)
            blend_samples(&face->picture, chroma, write->x0 + x, write->y0 + y, got);
    }
}

LS_DEVICE int tiles_of(const struct ls_int_box *r)
{
    return (r->x1 - r->x0 + TILE - 1) / TILE * ((r->y1 - r->y0 + TILE - 1) / TILE);
}

// Grid: (tiles, items); tiles of plane 0, then those of chroma, as many as the item has. Bytes an
// item: each sample of the rectangles read and written once (a face of 400 px in 720p I420, lower
// face: 125 KB each way), besides 147 KB of map that the caches hold.
LS_KERNEL compose_blend(const float4 *maps, const struct ls_cuda_face *faces)
{
    const struct ls_cuda_face *face = &faces[blockIdx.y];
    const float4 *map = maps + (int64_t)blockIdx.y * AREA;
    int luma = tiles_of(&face->write[0]), all = luma + tiles_of(&face->write[1]);

    for (int i = (int)blockIdx.x; i < all; i += (int)gridDim.x)
        blend_tile(face, map, i >= luma, i < luma ? i : i - luma);
}

extern "C" size_t ls_cuda_compose_size(void)
{
    return AREA * sizeof(float4);
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
    float4 *maps = (float4 *)scratch;

    LS_LAUNCH(compose_map, (unsigned)count, THREADS, 0, stream, maps, face, made, source);
    LS_LAUNCH_FLAT(compose_blend, grid, block, stream, maps, face);
    return (int)cudaGetLastError();
}
