// SPDX-License-Identifier: Apache-2.0
// The maps of faces that are put back, as ../detail.h defines them: colour, change and sharpness,
// for a whole batch in one launch, a block a face. A thread has a column, and every eighth row of
// it; maps lie in device memory, where the caches hold them, and what a blur has summed along rows
// in shared memory. Queued on a stream by the device thread. What surprises: sums are float, where
// detail.c has some in double, but added as a tree: equal to a few units of the last place.
#include "compose.h"
#include "levels.h"

enum { SIZE = LS_FACE_SIZE, AREA = LS_DETAIL_AREA, CELLS = LS_DETAIL_CELLS, ALL = CELLS * CELLS };
enum { LANES = 8, THREADS = SIZE * LANES, WARP = 32, WARPS = THREADS / WARP, SUMS_MAX = 10 };

// Maps in ls_cuda_maps.room.
enum { MADE_L, SEEN_L, MADE_Q, SEEN_Q, MASK, SEEN_1, SEEN_2, MADE_1, CHANGE, SPARE };

struct work {
    union {
        float row[AREA];        // of a blur, or the smallest around
        float cell[2][4 * ALL]; // sums, and those along rows
    };
    float partial[SUMS_MAX][WARPS];
    float weight[CELLS];
    struct ls_cuda_levels levels;
};
static_assert(sizeof(struct work) <= 48 << 10, "what every device gives a block");

// Each of `COUNT` numbers summed over the block's threads, in one order whatever the batch is.
template <int COUNT> LS_DEVICE void sum_all(float *sum, struct work *s)
{
    int thread = (int)(threadIdx.y * SIZE + threadIdx.x);

    for (int c = 0; c < COUNT; c++)
        for (int with = WARP / 2; with > 0; with /= 2)
            sum[c] += __shfl_xor_sync(0xffffffffu, sum[c], with);
    __syncthreads();
    if (thread % WARP == 0)
        for (int c = 0; c < COUNT; c++)
            s->partial[c][thread / WARP] = sum[c];
    __syncthreads();
    for (int c = 0; c < COUNT; c++) {
        sum[c] = 0;
        for (int i = 0; i < WARPS; i++)
            sum[c] += s->partial[c][i];
    }
}

// out may be in. Ends with a barrier; what is read was written before one.
template <int RADIUS>
LS_DEVICE void blur(float *out, const float *in, const struct ls_int_box *r, struct work *s)
{
    int x = (int)threadIdx.x, first = ls_inside(r->y0 - RADIUS, SIZE);
    int end = ls_inside(r->y1 + RADIUS - 1, SIZE) + 1;
    bool mine = x >= r->x0 && x < r->x1;

    for (int y = first + (int)threadIdx.y; y < end && mine; y += LANES) {
        const float *line = in + y * SIZE;
        float sum = ls_detail_weight(RADIUS, 0) * line[x];

        for (int k = 1; k <= RADIUS; k++)
            sum += ls_detail_weight(RADIUS, k) *
                   (line[ls_inside(x - k, SIZE)] + line[ls_inside(x + k, SIZE)]);
        s->row[y * SIZE + x] = sum;
    }
    __syncthreads();
    for (int y = r->y0 + (int)threadIdx.y; y < r->y1 && mine; y += LANES) {
        float sum = ls_detail_weight(RADIUS, 0) * s->row[y * SIZE + x];

        for (int k = 1; k <= RADIUS; k++)
            sum += ls_detail_weight(RADIUS, k) * (s->row[ls_inside(y - k, SIZE) * SIZE + x] +
                                                  s->row[ls_inside(y + k, SIZE) * SIZE + x]);
        out[y * SIZE + x] = sum;
    }
    __syncthreads();
}

// F and C as detail.c's load has them, the mask, and luma.
LS_DEVICE void load(struct ls_cuda_maps *m, const struct ls_cuda_face *face, const float *made,
                    const uint8_t *source, struct work *s)
{
    const struct ls_int_box *r = &face->reads;
    int x = (int)threadIdx.x;

    if (face->levels)
        ls_cuda_levels_find(&s->levels, source, (int)threadIdx.y * SIZE + x, THREADS);
    for (int y = (int)threadIdx.y; y < SIZE; y += LANES) {
        int i = y * SIZE + x, at = i;
        bool there = ls_within(r, x, y);
        float f[3], c[3];

        if (!there)
            at = ls_inside(y - r->y0, r->y1 - r->y0) + r->y0;
        if (!there)
            at = at * SIZE + ls_inside(x - r->x0, r->x1 - r->x0) + r->x0;
        for (int k = 0; k < 3; k++) {
            f[k] = made[3 * at + k];
            if (face->levels)
                f[k] = ls_levels_back(&s->levels.levels, k, f[k]);
            f[k] = ls_detail_cut(255 * f[k], 0, 255);
            c[k] = face->source_known ? source[3 * i + k] : f[k];
            m->seen[k][i] = c[k];
            m->made[k][i] = f[k] = there ? f[k] : c[k];
        }
        m->room[MADE_L][i] = ls_detail_luma(f);
        m->room[SEEN_L][i] = ls_detail_luma(c);
        m->room[MASK][i] = ls_mask_at(&face->shape, (float)x + 0.5f, (float)y + 0.5f);
    }
    __syncthreads();
}

// A cell's sums of w (C - F), and of w last.
LS_DEVICE void cell_sum(float sum[4], const struct ls_cuda_maps *m, const struct ls_int_box *r,
                        int cell)
{
    for (int k = 0; k < 16; k++) {
        int x = cell % CELLS * 4 + k % 4, y = cell / CELLS * 4 + k / 4, i = y * SIZE + x;
        float w;

        if (!ls_within(r, x, y))
            continue;
        w = ls_detail_trust(m->room[MASK][i], m->room[SEEN_L][i] - m->room[MADE_L][i]);
        for (int c = 0; c < 3; c++)
            sum[c] += w * (m->seen[c][i] - m->made[c][i]);
        sum[3] += w;
    }
}

// All cells of the four sums by a Gaussian of 2.5 cells, along rows and down columns.
LS_DEVICE void spread(struct work *s, int thread)
{
    for (int pass = 0; pass < 2; pass++) {
        int step = pass ? CELLS : 1;

        for (int i = thread; i < 4 * ALL; i += THREADS) {
            int at = pass ? i % ALL / CELLS : i % CELLS;
            const float *line = s->cell[pass] + (i - at * step);
            float sum = 0;

            for (int k = 0; k < CELLS; k++)
                sum += s->weight[k < at ? at - k : k - at] * line[k * step];
            s->cell[!pass][i] = sum;
        }
        __syncthreads();
    }
}

// A cell's centre lies on pixel 1.5 of its four.
LS_DEVICE float cell_at(const float *cells, int x, int y)
{
    float u = ls_detail_cut(((float)x - 1.5f) / 4, 0, CELLS - 1);
    float v = ls_detail_cut(((float)y - 1.5f) / 4, 0, CELLS - 1);
    int x0 = (int)u, y0 = (int)v, x1 = ls_inside(x0 + 1, CELLS);
    const float *a = cells + y0 * CELLS, *b = cells + ls_inside(y0 + 1, CELLS) * CELLS;
    float top = a[x0] + (u - (float)x0) * (a[x1] - a[x0]);
    float low = b[x0] + (u - (float)x0) * (b[x1] - b[x0]);

    return top + (v - (float)y0) * (low - top);
}

// 1 of detail.h.
LS_DEVICE void match_colour(struct ls_cuda_maps *m, const struct ls_cuda_face *face, struct work *s)
{
    const struct ls_int_box *r = &face->reads;
    int x = (int)threadIdx.x, thread = (int)(threadIdx.y * SIZE + threadIdx.x);
    float all[4] = {0, 0, 0, 0};

    if (thread < CELLS) // 1 / (2.5 sqrt(2 pi))
        s->weight[thread] = 0.1595769f * expf(-0.08f * (float)(thread * thread));
    if (thread < ALL) {
        cell_sum(all, m, r, thread);
        for (int c = 0; c < 4; c++)
            s->cell[0][c * ALL + thread] = all[c];
    }
    sum_all<4>(all, s);
    if (!(all[3] >= 1e-6f))
        return; // for all threads
    spread(s, thread);
    for (int i = thread; i < 3 * ALL; i += THREADS)
        s->cell[1][i] = (s->cell[0][i] + 1e-4f * (all[i / ALL] / all[3])) /
                        (s->cell[0][3 * ALL + i % ALL] + 1e-4f);
    __syncthreads();
    for (int y = r->y0 + (int)threadIdx.y; y < r->y1 && x >= r->x0 && x < r->x1; y += LANES)
        for (int c = 0; c < 3; c++) {
            float *at = &m->made[c][y * SIZE + x];

            *at = ls_detail_cut(
                *at + face->paste.colour_match * cell_at(s->cell[1] + c * ALL, x, y), 0, 255);
        }
    __syncthreads();
}

// Luma of the matched face, and what tells red from skin.
LS_DEVICE void load_change(struct ls_cuda_maps *m)
{
    int x = (int)threadIdx.x;

    for (int y = (int)threadIdx.y; y < SIZE; y += LANES) {
        int i = y * SIZE + x;
        float made[3] = {m->made[0][i], m->made[1][i], m->made[2][i]};

        m->room[MADE_L][i] = ls_detail_luma(made);
        m->room[MADE_Q][i] = made[2] - made[1];
        m->room[SEEN_Q][i] = m->seen[2][i] - m->seen[1][i];
        m->room[CHANGE][i] = 0;
        m->keep[i] = 1;
    }
    __syncthreads();
}

// As detail.c's add_change.
LS_DEVICE void add_change(struct ls_cuda_maps *m, const float *made, const float *seen,
                          float weight, const struct ls_int_box *r, struct work *s)
{
    struct ls_int_box most = ls_grown(r, LS_BLUR2 + LS_BLUR3, SIZE);
    struct ls_int_box more = ls_grown(r, LS_BLUR3, SIZE), band = ls_grown(r, LS_BLUR2, SIZE);
    int x = (int)threadIdx.x;

    blur<LS_BLUR1>(m->room[SEEN_1], seen, &most, s);
    blur<LS_BLUR2>(m->room[SEEN_2], m->room[SEEN_1], &more, s);
    blur<LS_BLUR3>(m->room[SPARE], m->room[SEEN_2], r, s);
    blur<LS_BLUR1>(m->room[MADE_1], made, &band, s);
    for (int y = r->y0 + (int)threadIdx.y; y < r->y1 && x >= r->x0 && x < r->x1; y += LANES) {
        int i = y * SIZE + x;
        float apart = ls_detail_apart(m->room[MADE_1][i], m->room[SEEN_1][i], m->room[SEEN_2][i],
                                      m->room[SPARE][i]);

        m->room[CHANGE][i] += weight * apart * apart;
    }
    __syncthreads();
}

// 2 of detail.h. Leaves the blurs of luma behind.
LS_DEVICE void find_change(struct ls_cuda_maps *m, const struct ls_cuda_face *face, struct work *s)
{
    const struct ls_int_box *r = &face->reads;
    int x = (int)threadIdx.x;
    bool mine = x >= r->x0 && x < r->x1;
    float sum[2] = {0, 0}, whole, most = fminf(face->paste.sharpness, 1);

    add_change(m, m->room[MADE_Q], m->room[SEEN_Q], 0.25f, r, s);
    add_change(m, m->room[MADE_L], m->room[SEEN_L], 1, r, s);
    for (int y = r->y0 + (int)threadIdx.y; y < r->y1 && mine; y += LANES) {
        float lips = ls_mask_lips(&face->shape, (float)x + 0.5f, (float)y + 0.5f);

        m->room[SPARE][y * SIZE + x] = lips;
        sum[0] += lips * m->room[CHANGE][y * SIZE + x];
        sum[1] += lips;
    }
    sum_all<2>(sum, s);
    whole = sum[1] > 0 ? sqrtf(sum[0] / sum[1]) : 0;
    blur<LS_BLUR3>(m->room[CHANGE], m->room[CHANGE], r, s);
    for (int y = r->y0 + (int)threadIdx.y; y < r->y1 && mine; y += LANES) {
        int i = y * SIZE + x;

        m->keep[i] = most * ls_detail_keep(sqrtf(m->room[CHANGE][i]), m->room[SPARE][i], whole);
    }
    __syncthreads();
}

// Sums of detail.c's measure: of squares of the bands, and of their weights.
LS_DEVICE void measure(float sum[10], const struct ls_cuda_maps *m, const struct ls_int_box *r,
                       struct work *s)
{
    int x = (int)threadIdx.x;

    for (int k = 0; k < 10; k++)
        sum[k] = 0;
    for (int y = r->y0 + (int)threadIdx.y; y < r->y1 && x >= r->x0 && x < r->x1; y += LANES) {
        int i = y * SIZE + x;
        float a = m->room[MASK][i], k = m->keep[i], w = a * (1 - k) + a / 1000;
        float v = a * (1 - a) * k;
        float c1 = m->room[SEEN_L][i] - m->room[SEEN_1][i];
        float c2 = m->room[SEEN_1][i] - m->room[SEEN_2][i];
        float g1 = m->room[MADE_L][i] - m->room[MADE_1][i];
        float g2 = m->room[MADE_1][i] - m->room[SPARE][i];

        sum[0] += w * c1 * c1;
        sum[1] += w * c2 * c2;
        sum[2] += w * g1 * g1;
        sum[3] += w * g2 * g2;
        sum[4] += a * c1 * c1;
        sum[5] += a * c2 * c2;
        sum[6] += v * fminf(c1 * c1, 64);
        sum[7] += w;
        sum[8] += a;
        sum[9] += v;
    }
    sum_all<10>(sum, s);
    for (int k = 7; k < 10; k++)
        sum[k] = fmaxf(sum[k], 1e-6f);
}

// Smallest and largest of L in the 5 x 5 pixels around.
LS_DEVICE void span(float *low, float *high, const float *in, int x, int y)
{
    *low = *high = in[y * SIZE + x];
    for (int j = y - 2; j <= y + 2; j++)
        for (int i = x - 2; i <= x + 2; i++) {
            float v = in[ls_inside(j, SIZE) * SIZE + ls_inside(i, SIZE)];

            *low = fminf(*low, v);
            *high = fmaxf(*high, v);
        }
}

// 3 and 5 of detail.h, and the amount of 4.
LS_DEVICE void sharpen(struct ls_cuda_maps *m, const struct ls_cuda_face *face, struct work *s)
{
    const struct ls_int_box *r = &face->reads;
    float sharpness = face->paste.sharpness, sum[10], gain[2], limit;
    int x = (int)threadIdx.x;

    blur<LS_BLUR2>(m->room[SPARE], m->room[MADE_1], r, s);
    measure(sum, m, r, s);
    gain[0] = sharpness * ls_detail_gain(sum[0] / sum[7], sum[2] / sum[7], 1.5f);
    gain[1] = sharpness * ls_detail_gain(sum[1] / sum[7], sum[3] / sum[7], 1);
    limit = ls_detail_limit(sum[6] / sum[9], &face->paste);
    if (x == 0 && threadIdx.y == 0) {
        m->amount = ls_detail_amount(sum[4] / sum[8], sum[5] / sum[8], &face->paste);
        m->limit = limit;
    }
    for (int y = r->y0 + (int)threadIdx.y; y < r->y1 && x >= r->x0 && x < r->x1; y += LANES) {
        int i = y * SIZE + x;
        float made = m->room[MADE_L][i], made_1 = m->room[MADE_1][i], low, high, more;
        float lips = ls_mask_lips(&face->shape, (float)x + 0.5f, (float)y + 0.5f);
        float texture = m->room[SEEN_L][i] - m->room[SEEN_1][i];

        span(&low, &high, m->room[MADE_L], x, y);
        more = gain[0] * (made - made_1) + gain[1] * (made_1 - m->room[SPARE][i]);
        more = ls_detail_cut(more, low - (high - low) / 5 - made, high + (high - low) / 5 - made);
        more += (1 - lips) * ls_detail_grain(texture, ls_detail_limit_at(limit, lips));
        for (int c = 0; c < 3; c++)
            m->made[c][i] = ls_detail_cut(m->made[c][i] + more, 0, 255);
    }
    __syncthreads();
}

// From BGR to the frame's channels.
LS_DEVICE void convert(struct ls_cuda_maps *m, const struct ls_colour *colour)
{
    for (int y = (int)threadIdx.y; y < SIZE; y += LANES)
        for (int k = 0; k < 2; k++) {
            float(*map)[AREA] = k ? m->seen : m->made;
            int i = y * SIZE + (int)threadIdx.x;
            float bgr[3] = {map[0][i], map[1][i], map[2][i]}, yuv[3];

            ls_colour_yuv(yuv, colour, bgr);
            for (int c = 0; c < 3; c++)
                map[c][i] = yuv[c];
        }
}

// Bytes an item: 110 KB of face and 28 KB of source read, 258 KB of maps written; between, a dozen
// maps of 37 KB written once or twice and read 5 to 13 times, of which the mask needs a half or
// less. 2 M multiply-adds and twice as many loads.
LS_KERNEL __launch_bounds__(THREADS)
    compose_maps(struct ls_cuda_maps *maps, const struct ls_cuda_face *faces, const float *mades,
                 const uint8_t *sources)
{
    __shared__ struct work s;
    const struct ls_cuda_face *face = &faces[blockIdx.x];
    struct ls_cuda_maps *m = &maps[blockIdx.x];

    if (!face->writes)
        return;
    load(m, face, mades + (int64_t)blockIdx.x * AREA * 3, sources + (int64_t)blockIdx.x * AREA * 3,
         &s);
    if (face->source_known && face->paste.colour_match > 0)
        match_colour(m, face, &s);
    if (face->source_known && face->paste.sharpness > 0) {
        load_change(m);
        find_change(m, face, &s);
        sharpen(m, face, &s);
    } else {
        for (int y = (int)threadIdx.y; y < SIZE; y += LANES)
            m->keep[y * SIZE + (int)threadIdx.x] = 0;
        if (threadIdx.x == 0 && threadIdx.y == 0)
            m->amount = m->limit = 0;
    }
    if (face->picture.format != LS_PIX_RGB24)
        convert(m, &face->picture.colour);
}

void ls_cuda_compose_maps(struct ls_cuda_maps *maps, const struct ls_cuda_face *face, int count,
                          const float *made, const uint8_t *source, cudaStream_t stream)
{
    LS_LAUNCH(compose_maps, (unsigned)count, dim3(SIZE, LANES), 0, stream, maps, face, made,
              source);
}
