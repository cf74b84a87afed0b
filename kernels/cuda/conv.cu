// SPDX-License-Identifier: Apache-2.0
// The plain convolution: ordinary and transposed, any kernel, stride and padding, with bias and
// ReLU, as a matrix product whose left side is gathered from the picture while it is read. It is
// the fp32 arithmetic of the product and stands in wherever cuDNN does not. Called by graph.c and
// conv_plain.c; device thread. Flops: 2 * taps * c_in * c_out an output pixel (a transposed one of
// stride s has taps / s^2 of them on average); bytes: the output once, the input once for each
// column of tiles and the weights once for each row of them, most of both from L2.
// What surprises: an output is one chain of additions, tap by tap, channel by channel, whatever the
// tile, so the tile may be chosen by the batch and not a byte changes.
#include "conv.h"

#include <assert.h>

#include "launch.h"

// Numbers that move together: 8 channels of a tensor, or a few of a tile.
template <typename T> struct alignas(16) eight {
    T v[8];
};
template <typename T, int N> struct alignas(N * sizeof(T)) few {
    T v[N];
};

// A block makes PIXELS x CHANNELS sums, a thread TALL x WIDE of them, DEPTH terms of each between
// two barriers. Each side's tile is there twice: one is filled while the other is used.
template <int PIXELS_, int CHANNELS_, int DEPTH_, int TALL_, int WIDE_> struct tile {
    enum {
        PIXELS = PIXELS_,
        CHANNELS = CHANNELS_,
        DEPTH = DEPTH_,
        TALL = TALL_,
        WIDE = WIDE_,
        COLUMNS = CHANNELS / WIDE,
        THREADS = PIXELS / TALL * COLUMNS,
        IN_LOADS = PIXELS * DEPTH / 8 / THREADS, // of 8 numbers, a thread
        WEIGHT_LOADS = CHANNELS * DEPTH / 8 / THREADS,
        V = TALL < 4 ? TALL : 4, // pixels of a thread that lie side by side
        W = 4,                   // and channels
        TALL_STEP = PIXELS / (TALL / V),
        WIDE_STEP = CHANNELS / (WIDE / W),
    };
    static_assert(THREADS % PIXELS == 0 && THREADS % CHANNELS == 0, "a thread loads of one pixel");
    static_assert(IN_LOADS * THREADS * 8 == PIXELS * DEPTH, "loads come out even");
    static_assert(WEIGHT_LOADS * THREADS * 8 == CHANNELS * DEPTH, "loads come out even");
    struct shared {
        struct few<float, V> in[2][DEPTH][PIXELS / V];
        struct few<float, W> weight[2][DEPTH][CHANNELS / W];
    };
};
typedef tile<64, 64, 16, 8, 8> tile_wide;   // 16 KB of shared memory
typedef tile<64, 32, 16, 8, 4> tile_narrow; // for few output channels
typedef tile<16, 32, 64, 2, 4> tile_small;  // for few pixels: more blocks, more bytes in flight

// One axis of the work. Output `first + t * every`, t in 0..count, sums over j in 0..taps input
// `t * step + base + j * turn` times weight tap `tap_first + j * tap_every`. A transposed
// convolution of stride s is s such jobs an axis, each like an ordinary one of stride 1.
struct axis {
    int first, every, count;
    int step, base, turn;
    int taps, tap_first, tap_every;
};

LS_DEVICE struct axis axis_of(const struct ls_cuda_conv_shape *shape, int d, int phase)
{
    int out = d ? shape->out.w : shape->out.h;
    int kernel = shape->kernel[d], stride = shape->stride[d], pad = shape->pad[d];
    struct axis a = {0, 1, out, stride, -pad, 1, kernel, 0, 1};

    if (shape->transposed) {
        int tap = ((phase + pad) % stride + stride) % stride;

        a.first = phase;
        a.every = stride;
        a.count = (out - phase + stride - 1) / stride;
        a.step = 1;
        a.base = (phase + pad - tap) / stride;
        a.turn = -1;
        a.taps = tap < kernel ? (kernel - tap + stride - 1) / stride : 0;
        a.tap_first = tap;
        a.tap_every = stride;
    }
    return a;
}

// An output pixel of a phase.
struct pixel {
    int item, y, x; // item < 0: past the end
};

LS_DEVICE struct pixel pixel_of(int idx, int count, const struct axis *ay, const struct axis *ax)
{
    struct pixel p = {-1, 0, 0};
    int area = ay->count * ax->count;

    if (idx < count) {
        p.item = idx / area;
        idx -= p.item * area;
        p.y = idx / ax->count;
        p.x = idx - p.y * ax->count;
    }
    return p;
}

// A place in the sum: input channel c of tap (y, x). At the end y is the vertical taps' count.
struct place {
    int c, x, y;
};

LS_DEVICE void place_step(struct place *p, int count, int channel_count, int tap_count)
{
    p->c += count;
    while (p->c >= channel_count) {
        p->c -= channel_count;
        if (++p->x == tap_count) {
            p->x = 0;
            p->y++;
        }
    }
}

template <typename T> LS_DEVICE void eight_load(struct eight<T> *to, const T *from)
{
    *to = *(const struct eight<T> *)from;
}

template <typename T> LS_DEVICE void eight_clear(struct eight<T> *to)
{
    for (int i = 0; i < 8; i++)
        ls_put(&to->v[i], 0.0f);
}

// What a thread carries from the tensors to the tiles: of each side a few loads of 8 numbers, from
// places of the sum that are 8 apart or DEPTH.
template <typename T, typename K> struct loads {
    struct place in_at[K::IN_LOADS], weight_at[K::WEIGHT_LOADS];
    struct eight<T> in[K::IN_LOADS], weight[K::WEIGHT_LOADS];
};

// Input: 8 channels of the thread's one pixel, whose picture begins at `from` and whose first tap
// is (y, x).
template <typename T, typename K>
LS_DEVICE void load_in(struct loads<T, K> *l, const T *from, int y, int x, const struct axis *ay,
                       const struct axis *ax, const struct ls_cuda_tensor *in)
{
    for (int i = 0; i < K::IN_LOADS; i++) {
        struct place *p = &l->in_at[i];
        int iy = y + p->y * ay->turn, ix = x + p->x * ax->turn;

        if (from && p->y < ay->taps && iy >= 0 && iy < in->h && ix >= 0 && ix < in->w)
            eight_load(&l->in[i], from + iy * in->row + ix * in->pixel + p->c);
        else
            eight_clear(&l->in[i]);
        place_step(p, K::DEPTH, in->c, ax->taps);
    }
}

// Weights of an ordinary convolution: 8 input channels for one output channel, whose numbers begin
// at `from` (NULL: there is no such channel) and are in the order of the sum. rest: what is left of
// the sum.
template <typename T, typename K>
LS_DEVICE void load_weight(struct loads<T, K> *l, const T *from, int rest)
{
    for (int i = 0; i < K::WEIGHT_LOADS; i++) {
        int k = ((int)threadIdx.x + i * K::THREADS) / K::CHANNELS * 8;

        if (from && k < rest)
            eight_load(&l->weight[i], from + k);
        else
            eight_clear(&l->weight[i]);
    }
}

// Weights of a transposed one: one input channel for 8 output channels; `from` is where those of
// the first place of the sum begin.
template <typename T, typename K>
LS_DEVICE void load_weight_across(struct loads<T, K> *l, const T *from, const struct axis *ay,
                                  const struct axis *ax, const struct ls_cuda_conv_shape *shape)
{
    int64_t tap_size = shape->out.c, channel_size = tap_size * shape->kernel[0] * shape->kernel[1];

    for (int i = 0; i < K::WEIGHT_LOADS; i++) {
        struct place *p = &l->weight_at[i];
        int tap = (ay->tap_first + p->y * ay->tap_every) * shape->kernel[1] + ax->tap_first +
                  p->x * ax->tap_every;

        if (from && p->y < ay->taps)
            eight_load(&l->weight[i], from + p->c * channel_size + tap * tap_size);
        else
            eight_clear(&l->weight[i]);
        place_step(p, K::DEPTH, shape->in.c, ax->taps);
    }
}

template <typename T, typename K, bool TRANSPOSED>
LS_DEVICE void store_tiles(const struct loads<T, K> *l, typename K::shared *s, int side)
{
    for (int i = 0; i < K::IN_LOADS; i++) {
        int idx = (int)threadIdx.x + i * K::THREADS, m = idx % K::PIXELS;

        for (int k = 0; k < 8; k++)
            s->in[side][idx / K::PIXELS * 8 + k][m / K::V].v[m % K::V] = ls_get(l->in[i].v[k]);
    }
    for (int i = 0; i < K::WEIGHT_LOADS; i++) {
        int idx = (int)threadIdx.x + i * K::THREADS;

        for (int k = 0; k < 8; k++) {
            int depth = TRANSPOSED ? idx / (K::CHANNELS / 8) : idx / K::CHANNELS * 8 + k;
            int n = TRANSPOSED ? idx % (K::CHANNELS / 8) * 8 + k : idx % K::CHANNELS;

            s->weight[side][depth][n / K::W].v[n % K::W] = ls_get(l->weight[i].v[k]);
        }
    }
}

template <typename K>
LS_DEVICE void add_tiles(float sum[K::TALL][K::WIDE], const typename K::shared *s, int side,
                         int row, int column)
{
    for (int k = 0; k < K::DEPTH; k++) {
        struct few<float, K::V> left[K::TALL / K::V];
        struct few<float, K::W> right[K::WIDE / K::W];

        for (int i = 0; i < K::TALL / K::V; i++)
            left[i] = s->in[side][k][row + i * (K::TALL_STEP / K::V)];
        for (int j = 0; j < K::WIDE / K::W; j++)
            right[j] = s->weight[side][k][column + j * (K::WIDE_STEP / K::W)];
        for (int i = 0; i < K::TALL; i++)
            for (int j = 0; j < K::WIDE; j++)
                sum[i][j] += left[i / K::V].v[i % K::V] * right[j / K::W].v[j % K::W];
    }
}

// The thread's channels of the bias; channel: the first of them.
template <typename K>
LS_DEVICE void load_bias(float to[K::WIDE], const float *bias, int channel, int channel_count)
{
    for (int j = 0; j < K::WIDE; j++) {
        int c = channel + j / K::W * K::WIDE_STEP + j % K::W;

        to[j] = c < channel_count ? bias[c] : 0;
    }
}

// Bias, activation, and 4 channels at a time to the output; channel: the thread's first.
template <typename T, typename K>
LS_DEVICE void put_pixel(T *out, const float sum[K::WIDE], const float bias[K::WIDE], int channel,
                         const struct ls_cuda_conv_shape *shape)
{
    for (int j = 0; j < K::WIDE; j += K::W) {
        int c = channel + j / K::W * K::WIDE_STEP;
        struct few<T, K::W> made;

        if (c >= shape->out.c)
            continue;
        for (int i = 0; i < K::W; i++) {
            float v = sum[j + i] + bias[j + i];

            ls_put(&made.v[i], shape->act == LS_ACT_RELU && !(v > 0) ? 0.0f : v);
        }
        *(struct few<T, K::W> *)(out + c) = made;
    }
}

template <typename T, typename K, bool TRANSPOSED>
LS_KERNEL conv(T *out, const T *in, const T *weight, const float *bias,
               struct ls_cuda_conv_shape shape)
{
    __shared__ typename K::shared tiles;
    const int tid = (int)threadIdx.x, phase = (int)blockIdx.y;
    const struct axis ay = axis_of(&shape, 0, phase / (TRANSPOSED ? shape.stride[1] : 1));
    const struct axis ax = axis_of(&shape, 1, TRANSPOSED ? phase % shape.stride[1] : 0);
    const int pixel_count = shape.batch * ay.count * ax.count;
    const int depth = ay.taps * ax.taps * shape.in.c, columns = (shape.out.c - 1) / K::CHANNELS + 1;
    const int pixel_first = (int)blockIdx.x / columns * K::PIXELS;
    const int channel_first = (int)blockIdx.x % columns * K::CHANNELS;
    const int channel = channel_first + (TRANSPOSED ? tid % (K::CHANNELS / 8) * 8
                                                    : tid % K::CHANNELS); // whose weights it loads
    const int row = tid / K::COLUMNS, column = tid % K::COLUMNS;
    struct loads<T, K> l;
    float sum[K::TALL][K::WIDE];

    if (pixel_first >= pixel_count)
        return; // the whole block: the first phase may have more pixels than this one

    const struct pixel source = pixel_of(pixel_first + tid % K::PIXELS, pixel_count, &ay, &ax);
    const T *const picture = source.item < 0 ? NULL : in + source.item * shape.in.item;
    const int y = source.y * ay.step + ay.base, x = source.x * ax.step + ax.base;
    const T *from = channel >= shape.out.c ? NULL
                    : TRANSPOSED           ? weight + channel
                                           : weight + (int64_t)channel * depth;

    for (int i = 0; i < K::IN_LOADS; i++) {
        l.in_at[i] = {0, 0, 0};
        place_step(&l.in_at[i], (tid + i * K::THREADS) / K::PIXELS * 8, shape.in.c, ax.taps);
    }
    for (int i = 0; i < K::WEIGHT_LOADS && TRANSPOSED; i++) {
        l.weight_at[i] = {0, 0, 0};
        place_step(&l.weight_at[i], (tid + i * K::THREADS) / (K::CHANNELS / 8), shape.in.c,
                   ax.taps);
    }
    for (int i = 0; i < K::TALL; i++)
        for (int j = 0; j < K::WIDE; j++)
            sum[i][j] = 0;
    for (int at = -K::DEPTH, side = 1; at < depth; at += K::DEPTH, side ^= 1) {
        bool more = at + K::DEPTH < depth;

        if (more) {
            load_in(&l, picture, y, x, &ay, &ax, &shape.in);
            if (TRANSPOSED)
                load_weight_across(&l, from, &ay, &ax, &shape);
            else
                load_weight(&l, from ? from + at + K::DEPTH : NULL, depth - at - K::DEPTH);
        }
        if (at >= 0)
            add_tiles<K>(sum, &tiles, side, row, column);
        if (more) {
            store_tiles<T, K, TRANSPOSED>(&l, &tiles, side ^ 1);
            __syncthreads();
        }
    }

    float add[K::WIDE];

    load_bias<K>(add, bias, channel_first + column * K::W, shape.out.c);
    for (int i = 0; i < K::TALL; i++) {
        const struct pixel p = pixel_of(
            pixel_first + row * K::V + i / K::V * K::TALL_STEP + i % K::V, pixel_count, &ay, &ax);

        if (p.item >= 0)
            put_pixel<T, K>(out + p.item * shape.out.item +
                                (ay.first + p.y * ay.every) * shape.out.row +
                                (ax.first + p.x * ax.every) * shape.out.pixel,
                            sum[i], add, channel_first + column * K::W, &shape);
    }
}

static int round_up_div(int value, int unit)
{
    return (value + unit - 1) / unit;
}

// Blocks of a phase.
template <typename K>
static int block_count(const struct ls_cuda_conv_shape *shape, int pixel_count)
{
    return round_up_div(pixel_count, K::PIXELS) * round_up_div(shape->out.c, K::CHANNELS);
}

template <typename T, typename K>
static int launch_tile(const struct ls_cuda_conv_shape *shape, int pixel_count, void *out,
                       const void *in, const void *weight, const float *bias, cudaStream_t stream)
{
    int phases = shape->transposed ? shape->stride[0] * shape->stride[1] : 1;
    dim3 grid((unsigned)block_count<K>(shape, pixel_count), (unsigned)phases);
    void (*kernel)(T *, const T *, const T *, const float *, struct ls_cuda_conv_shape) =
        shape->transposed ? conv<T, K, true> : conv<T, K, false>;

    LS_LAUNCH(kernel, grid, dim3(K::THREADS), 0, stream, (T *)out, (const T *)in, (const T *)weight,
              bias, *shape);
    return (int)cudaGetLastError();
}

template <typename T>
static int launch(const struct ls_cuda_conv_shape *shape, void *out, const void *in,
                  const void *weight, const float *bias, cudaStream_t stream)
{
    enum { BLOCKS_MIN = 64 }; // fewer leave even a small device half idle
    int every_y = shape->transposed ? shape->stride[0] : 1;
    int every_x = shape->transposed ? shape->stride[1] : 1;
    int pixel_count = shape->batch * round_up_div(shape->out.h, every_y) *
                      round_up_div(shape->out.w, every_x); // of the first phase, the largest

    if (block_count<tile_wide>(shape, pixel_count) * every_y * every_x < BLOCKS_MIN)
        return launch_tile<T, tile_small>(shape, pixel_count, out, in, weight, bias, stream);
    if (shape->out.c <= tile_narrow::CHANNELS)
        return launch_tile<T, tile_narrow>(shape, pixel_count, out, in, weight, bias, stream);
    return launch_tile<T, tile_wide>(shape, pixel_count, out, in, weight, bias, stream);
}

static bool is_aligned(const struct ls_cuda_tensor *t, const void *data)
{
    return (uintptr_t)data % 16 == 0 && t->c % LS_CUDA_CHANNELS == 0 &&
           t->item % LS_CUDA_CHANNELS == 0 && t->row % LS_CUDA_CHANNELS == 0 &&
           t->pixel % LS_CUDA_CHANNELS == 0;
}

extern "C" int ls_cuda_conv_plain(const struct ls_cuda_conv_shape *shape, void *out, const void *in,
                                  const void *weight, const float *bias, cudaStream_t stream)
{
    assert(shape->batch > 0 && shape->in.c > 0 && shape->out.c > 0 && shape->out.h > 0 &&
           shape->out.w > 0);
    assert((int64_t)shape->batch * shape->out.h * shape->out.w < INT32_MAX / 2);
    assert(is_aligned(&shape->in, in) && is_aligned(&shape->out, out));
    assert((uintptr_t)weight % 16 == 0);
    if (shape->type == LS_CUDA_FP16)
        return launch<ls_half>(shape, out, in, weight, bias, stream);
    return launch<float>(shape, out, in, weight, bias, stream);
}
