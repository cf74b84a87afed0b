// SPDX-License-Identifier: Apache-2.0
// Generated faces doubled to 192 x 192 pixels and made steeper, 4 of ../detail.h: what a paste puts
// down at a frame's full resolution. One launch for a whole batch, a block a tile, which stays in
// shared memory through all steps; a margin around it is worked out by its neighbours too. Queued
// on a stream by the device thread. What surprises: "edges repeat" is about the picture's edges: a
// tile's places beyond them are none, and whoever wants one takes the nearest that is.
#include "compose.h"

enum { SIZE = LS_FACE_SIZE, FINE = LS_DETAIL_FINE };
enum { TILE = 48, TILES = FINE / TILE, MARGIN = LS_DETAIL_STEPS * LS_BLUR1 };
enum { SIDE = TILE + 2 * MARGIN, LANES = 8 };

struct tile {
    float value[2][SIDE * SIDE]; // before and after a step
    float row[SIDE * SIDE];      // summed along rows
    struct ls_int_box box;       // of the doubled map
};
static_assert(sizeof(struct tile) <= 48 << 10, "what every device gives a block");

// The box with `margin` around the tile, cut at the map.
LS_DEVICE struct ls_int_box with_margin(int tile, int margin)
{
    struct ls_int_box r;

    r.x0 = tile % TILES * TILE;
    r.y0 = tile / TILES * TILE;
    r.x1 = r.x0 + TILE;
    r.y1 = r.y0 + TILE;
    return ls_grown(&r, margin, FINE);
}

// Pixel (x, y) of the doubled map: a quarter of a pixel before or behind a pixel's centre.
LS_DEVICE float doubled(const float *map, int x, int y)
{
    const float near[4] = {-9 / 128.0f, 111 / 128.0f, 29 / 128.0f, -3 / 128.0f};
    int right = x % 2 ? 1 : -1, down = y % 2 ? 1 : -1;
    float sum = 0;

    for (int j = 0; j < 4; j++) {
        const float *line = map + ls_inside(y / 2 + (j - 1) * down, SIZE) * SIZE;
        float along = 0;

        for (int i = 0; i < 4; i++)
            along += near[i] * line[ls_inside(x / 2 + (i - 1) * right, SIZE)];
        sum += near[j] * along;
    }
    return sum;
}

// Where the map's pixel is in the tile.
LS_DEVICE int at(const struct ls_int_box *box, int x, int y)
{
    return (ls_inside(y, FINE) - box->y0) * SIDE + ls_inside(x, FINE) - box->x0;
}

// One step of the pixel: what its neighbours, 5 x 5 of them blurred, leave of it.
LS_DEVICE float steeper(const struct tile *s, const float *from, int x, int y, float amount)
{
    float v = from[at(&s->box, x, y)], low = v, high = v, soft;

    soft = ls_detail_weight(LS_BLUR1, 0) * s->row[at(&s->box, x, y)];
    for (int k = 1; k <= LS_BLUR1; k++)
        soft += ls_detail_weight(LS_BLUR1, k) *
                (s->row[at(&s->box, x, y - k)] + s->row[at(&s->box, x, y + k)]);
    for (int j = y - 1; j <= y + 1; j++)
        for (int i = x - 1; i <= x + 1; i++) {
            low = fminf(low, from[at(&s->box, i, j)]);
            high = fmaxf(high, from[at(&s->box, i, j)]);
        }
    return ls_detail_steepen(v, soft, low, high, amount);
}

// from, to: the tile's; of `to` what lies in r is filled.
LS_DEVICE void step(struct tile *s, const float *from, float *to, const struct ls_int_box *r,
                    float amount)
{
    struct ls_int_box rows = ls_grown(r, LS_BLUR1, FINE);
    int x = r->x0 + (int)threadIdx.x;

    for (int y = rows.y0 + (int)threadIdx.y; y < rows.y1 && x < r->x1; y += LANES) {
        float sum = ls_detail_weight(LS_BLUR1, 0) * from[at(&s->box, x, y)];

        for (int k = 1; k <= LS_BLUR1; k++)
            sum += ls_detail_weight(LS_BLUR1, k) *
                   (from[at(&s->box, x - k, y)] + from[at(&s->box, x + k, y)]);
        s->row[at(&s->box, x, y)] = sum;
    }
    __syncthreads();
    for (int y = r->y0 + (int)threadIdx.y; y < r->y1 && x < r->x1; y += LANES)
        to[at(&s->box, x, y)] = steeper(s, from, x, y, amount);
    __syncthreads();
}

// Grid: (tiles, channels, items). Bytes an item and channel: 37 KB read by 16 neighbours each, up
// to 147 KB written; tiles that the paste does not reach are left out. 2.5 M multiply-adds.
LS_KERNEL compose_fine(struct ls_cuda_maps *maps, const struct ls_cuda_face *faces)
{
    __shared__ struct tile s;
    const struct ls_cuda_face *face = &faces[blockIdx.z];
    struct ls_cuda_maps *m = &maps[blockIdx.z];
    int channel = (int)blockIdx.y, tile = (int)blockIdx.x, now = 0;
    struct ls_int_box r = with_margin(tile, 0), box = with_margin(tile, MARGIN);
    int x = box.x0 + (int)threadIdx.x;

    if (!face->writes || channel >= ls_full_channels(&face->picture) || r.x0 >= face->fine.x1 ||
        r.y0 >= face->fine.y1 || r.x1 <= face->fine.x0 || r.y1 <= face->fine.y0)
        return;
    if (threadIdx.x == 0 && threadIdx.y == 0)
        s.box = box;
    for (int y = box.y0 + (int)threadIdx.y; y < box.y1 && x < box.x1; y += LANES)
        s.value[0][(y - box.y0) * SIDE + x - box.x0] = doubled(m->made[channel], x, y);
    __syncthreads();
    for (int n = LS_DETAIL_STEPS - 1; n >= 0 && m->amount > 0; n--, now = !now) {
        struct ls_int_box part = with_margin(tile, n * LS_BLUR1);

        step(&s, s.value[now], s.value[!now], &part, m->amount);
    }
    x = r.x0 + (int)threadIdx.x;
    for (int y = r.y0 + (int)threadIdx.y; y < r.y1 && x < r.x1; y += LANES)
        m->fine[channel][y * FINE + x] = s.value[now][at(&box, x, y)];
}

void ls_cuda_compose_fine(struct ls_cuda_maps *maps, const struct ls_cuda_face *face, int count,
                          cudaStream_t stream)
{
    dim3 grid(TILES * TILES, 3, (unsigned)count);

    LS_LAUNCH(compose_fine, grid, dim3(SIDE, LANES), 0, stream, maps, face);
}
