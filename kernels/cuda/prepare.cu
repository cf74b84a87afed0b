// SPDX-License-Identifier: Apache-2.0
// Cuts faces out of frames: one launch for a whole batch, from the planes as they lie in device
// memory to the network's input and to the bytes that the paste wants later. A block makes a tile
// of the face: the points of crop.h's lattice under it, first along rows, then down columns, in
// shared memory; a turned face's pixels are then read between them. Queued on a stream by the
// device thread. What surprises: places are worked out in double, once a column and row, as ref
// does, weights and sums in float, so that a byte differs from ref's only where a half rounds the
// other way.
#include "launch.h"

#include <math.h>

#include "../cubic.h"
#include "levels.h"
#include "samples.h"

enum { SIZE = LS_FACE_SIZE, CHANNELS = 8 };
enum { TILE = 24, TILES = SIZE / TILE }; // of the face's pixels, on both axes
enum { THREADS = 192, MINE = TILE * TILE / THREADS, LEVEL_THREADS = 512 };
// Lattice points under a tile: a quarter of the lattice's 188 at most, the pixel's own, the
// kernel's and one to spare on either side.
enum { SIDE = 56 };
enum { ROWS = 32, GROUP = 4 }; // of samples at a time; a thread's, which share their weights

// The input's channels of one pixel, stored at once.
template <typename T> struct alignas(16) pixel {
    T channel[CHANNELS];
};

// A column or row of the lattice as a sum over a plane's samples along one axis.
struct reach {
    int first, last;       // samples, inside the plane
    int from;              // it lies `part` behind sample `from`, which may be outside
    float part, per_width; // of the kernel
    float low, high;       // weights of what is beyond the edges, which the edge's samples get
    float scale;           // 1 / sum of the weights
};

struct tile {
    struct reach across[SIDE], down[SIDE];
    float row[ROWS * SIDE]; // samples summed along rows
    float cell[SIDE * SIDE];
    int first[2], count[2]; // of the lattice's columns, rows
    float origin[2];        // a turned face: where the tile's first pixel lies, from first[] on
};

LS_DEVICE int at_most(int a, int b)
{
    return a < b ? a : b;
}

LS_DEVICE int at_least(int a, int b)
{
    return a > b ? a : b;
}

LS_DEVICE float weight(const struct reach *r, int sample)
{
    return ls_cubic(((float)(sample - r->from) - r->part) * r->per_width);
}

LS_DEVICE void reach_init(struct reach *r, double at, double step, int count)
{
    double from = floor(at);
    float width = fmaxf((float)step, 1), sum = 0;
    int first, last;

    r->from = (int)from;
    r->part = (float)(at - from);
    r->per_width = 1 / width;
    r->low = r->high = 0;
    first = r->from + (int)ceilf(r->part - 2 * width);
    last = r->from + (int)floorf(r->part + 2 * width);
    for (int i = first; i <= last; i++) {
        float w = weight(r, i);

        sum += w;
        if (i < 0)
            r->low += w;
        else if (i >= count)
            r->high += w;
    }
    r->first = at_most(at_least(first, 0), count - 1);
    r->last = at_most(at_least(last, 0), count - 1);
    r->scale = 1 / sum;
}

// The lattice's columns (axis 0) or rows (1) that the tile whose first pixel is (x, y) needs.
LS_DEVICE void tile_place(struct tile *s, const struct ls_cuda_lattice *l, int axis, int x, int y)
{
    double corner = l->place[axis][0] + x * l->place[axis][1] + y * l->place[axis][2];
    double right = (TILE - 1) * l->place[axis][1], down = (TILE - 1) * l->place[axis][2];
    double low = (right < 0 ? right : 0) + (down < 0 ? down : 0), high = right + down - low;

    if (!l->turned) {
        s->first[axis] = axis ? y : x;
        s->count[axis] = TILE;
        return;
    }
    // One more on either side than the kernel needs: a pixel's place is a float below.
    s->first[axis] = at_least((int)floor(corner + low) - 2, 0);
    s->count[axis] = at_most((int)floor(corner + high) + 4, l->count[axis]) - s->first[axis];
    s->origin[axis] = (float)(corner - s->first[axis]);
}

// Samples from row y on, summed along rows for each column of the tile.
LS_DEVICE void sum_rows(struct tile *s, const struct ls_cuda_channel *p, int y, int last)
{
    int columns = s->count[0];

    for (int i = (int)threadIdx.x; i < columns * (ROWS / GROUP); i += THREADS) {
        const struct reach *r = &s->across[i % columns];
        int top = i / columns * GROUP, edge = (p->width - 1) * p->step;
        const uint8_t *row[GROUP];
        float sum[GROUP];

        if (y + top > last)
            continue;
        for (int k = 0; k < GROUP; k++) {
            row[k] = p->data + at_most(y + top + k, last) * p->stride;
            sum[k] = r->low != 0 ? r->low * ls_sample_get(row[k], p->deep) : 0;
            if (r->high != 0)
                sum[k] += r->high * ls_sample_get(row[k] + edge, p->deep);
        }
        for (int x = r->first; x <= r->last; x++) {
            float w = weight(r, x);

            for (int k = 0; k < GROUP; k++)
                sum[k] += w * ls_sample_get(row[k] + (int64_t)x * p->step, p->deep);
        }
        for (int k = 0; k < GROUP; k++)
            s->row[(top + k) * columns + i % columns] = sum[k] * r->scale;
    }
}

// What those rows add to the tile's points.
LS_DEVICE void sum_columns(struct tile *s, const struct ls_cuda_channel *p, int y, int last)
{
    int columns = s->count[0], end = at_most(y + ROWS - 1, last);

    for (int i = (int)threadIdx.x; i < columns * s->count[1]; i += THREADS) {
        const struct reach *r = &s->down[i / columns];
        const float *row = s->row + i % columns;
        float sum = 0;

        if (y == 0)
            sum += r->low * row[0];
        if (end == p->height - 1)
            sum += r->high * row[(end - y) * columns];
        for (int k = at_least(y, r->first); k <= at_most(end, r->last); k++)
            sum += weight(r, k) * row[(k - y) * columns];
        s->cell[i] += sum * r->scale;
    }
}

// The lattice's points under the tile, of one channel.
LS_DEVICE void tile_fill(struct tile *s, const struct ls_cuda_channel *p)
{
    int y, last;

    __syncthreads(); // the channel before was read, this one's reaches are there
    y = s->down[0].first;
    last = s->down[s->count[1] - 1].last;
    for (int i = (int)threadIdx.x; i < s->count[0] * s->count[1]; i += THREADS)
        s->cell[i] = 0; // the same thread adds to it
    for (; y <= last; y += ROWS) {
        sum_rows(s, p, y, last);
        __syncthreads();
        sum_columns(s, p, y, last);
        __syncthreads();
    }
}

// At a turned pixel's place between the points. Beyond the tile the kernel is zero.
LS_DEVICE float between(const struct tile *s, float x, float y)
{
    int left = (int)floorf(x) - 1, top = (int)floorf(y) - 1;
    float sum = 0;

    for (int j = 0; j < 4; j++) {
        const float *row = s->cell + at_most(at_least(top + j, 0), s->count[1] - 1) * s->count[0];
        float line = 0;

        for (int i = 0; i < 4; i++)
            line += ls_cubic((float)(left + i) - x) *
                    row[at_most(at_least(left + i, 0), s->count[0] - 1)];
        sum += ls_cubic((float)(top + j) - y) * line;
    }
    return sum;
}

LS_DEVICE float tile_at(const struct tile *s, const struct ls_cuda_lattice *l, int x, int y)
{
    float at[2];

    if (!l->turned)
        return s->cell[y * TILE + x];
    for (int k = 0; k < 2; k++)
        at[k] = s->origin[k] + (float)x * (float)l->place[k][1] + (float)y * (float)l->place[k][2];
    return between(s, at[0], at[1]);
}

// A pixel as the network sees it. to: its number in the batch.
template <typename T>
LS_DEVICE void put_input(T *input, int64_t to, const uint8_t bgr[3], bool lower)
{
    struct pixel<T> all;

    for (int c = 0; c < 3; c++) {
        float v = (float)bgr[c] / 255.0f;

        ls_put(&all.channel[c], lower ? 0.0f : v);
        ls_put(&all.channel[3 + c], v);
    }
    for (int c = 6; c < CHANNELS; c++)
        ls_put(&all.channel[c], 0.0f);
    *(struct pixel<T> *)(input + CHANNELS * to) = all;
}

// Grid: (tiles, items). Bytes an item: each sample of the box, and of two kernel widths around it,
// read by four columns (twice by tiles' edges at most); of a face of 300 px in I420 0.14 MB, 0.8 M
// products along rows and a third of that down columns; turned ones half as much again. 28 KB and
// 147 KB (half) or 295 KB (float) written.
template <typename T>
LS_KERNEL prepare_tile(uint8_t *source, T *input, const struct ls_cuda_face *faces)
{
    __shared__ struct tile s;
    const struct ls_cuda_face *face = &faces[blockIdx.y];
    const struct ls_cuda_picture *p = &face->picture;
    const struct ls_cuda_lattice *l = &face->lattice;
    int x0 = (int)blockIdx.x % TILES * TILE, y0 = (int)blockIdx.x / TILES * TILE;
    int thread = (int)threadIdx.x;
    float value[MINE][3];

    if (thread < 2)
        tile_place(&s, l, thread, x0, y0);
    for (int c = 0; c < 3; c++) {
        struct ls_cuda_channel channel = ls_channel_of(p, c);
        int kind = ls_channel_kind(p, c);

        __syncthreads();
        if (c == 0 || kind != ls_channel_kind(p, c - 1)) {
            if (thread < s.count[0])
                reach_init(&s.across[thread],
                           l->at[kind][0] + (s.first[0] + thread) * l->step[kind][0],
                           l->step[kind][0], channel.width);
            for (int i = THREADS - 1 - thread; i < s.count[1]; i += THREADS)
                reach_init(&s.down[i], l->at[kind][1] + (s.first[1] + i) * l->step[kind][1],
                           l->step[kind][1], channel.height);
        }
        tile_fill(&s, &channel);
        for (int i = 0; i < MINE; i++)
            value[i][c] =
                tile_at(&s, l, (thread + i * THREADS) % TILE, (thread + i * THREADS) / TILE);
    }
    for (int i = 0; i < MINE; i++) {
        int x = x0 + (thread + i * THREADS) % TILE, y = y0 + (thread + i * THREADS) / TILE;
        int64_t to = ((int64_t)blockIdx.y * SIZE + y) * SIZE + x;
        float bgr[3] = {value[i][0], value[i][1], value[i][2]};
        uint8_t byte[3];

        if (p->format != LS_PIX_RGB24)
            ls_colour_bgr(bgr, &p->colour, value[i]);
        for (int c = 0; c < 3; c++)
            source[3 * to + c] = byte[c] = ls_colour_byte(bgr[c]);
        put_input(input, to, byte, y >= SIZE / 2);
    }
}

// Grid: items. The input once more, of faces that get levels. Bytes an item: 28 KB and, of them,
// 11 KB before read, 147 KB (half) or 295 KB (float) written.
template <typename T>
LS_KERNEL level_face(const uint8_t *sources, T *input, const struct ls_cuda_face *faces)
{
    __shared__ struct ls_cuda_levels s;
    const int64_t first = (int64_t)blockIdx.x * SIZE * SIZE;
    const uint8_t *source = sources + 3 * first;
    int thread = (int)threadIdx.x;

    if (!faces[blockIdx.x].levels)
        return; // for all threads
    ls_cuda_levels_find(&s, source, thread, LEVEL_THREADS);
    for (int i = thread; i < SIZE * SIZE; i += LEVEL_THREADS) {
        uint8_t byte[3];

        for (int c = 0; c < 3; c++)
            byte[c] = ls_levels_byte(&s.levels, c, source[3 * i + c]);
        put_input(input, first + i, byte, i >= SIZE * SIZE / 2);
    }
}

extern "C" int ls_cuda_prepare(uint8_t *source, void *input, enum ls_cuda_type type,
                               const struct ls_cuda_face *face, int count, cudaStream_t stream)
{
    dim3 grid(TILES * TILES, (unsigned)count);

    if (type == LS_CUDA_FP16)
        LS_LAUNCH(prepare_tile<ls_half>, grid, THREADS, 0, stream, source, (ls_half *)input, face);
    else
        LS_LAUNCH(prepare_tile<float>, grid, THREADS, 0, stream, source, (float *)input, face);
    return (int)cudaGetLastError();
}

extern "C" int ls_cuda_level(const uint8_t *source, void *input, enum ls_cuda_type type,
                             const struct ls_cuda_face *face, int count, cudaStream_t stream)
{
    if (type == LS_CUDA_FP16)
        LS_LAUNCH(level_face<ls_half>, (unsigned)count, LEVEL_THREADS, 0, stream, source,
                  (ls_half *)input, face);
    else
        LS_LAUNCH(level_face<float>, (unsigned)count, LEVEL_THREADS, 0, stream, source,
                  (float *)input, face);
    return (int)cudaGetLastError();
}
