// SPDX-License-Identifier: Apache-2.0
// The layers of small networks, NCHW float32, one item: what netrun.c plans. Convolutions make 8
// output channels of a pixel a thread, all else one number a thread. A launch does several steps of
// one kind (the heads of a detector, say): its layers are too small to fill a device one by one,
// and launches, not arithmetic, are their cost. Device thread. Sums have ref's order: from the bias
// on, input channel, kernel row, kernel column.
#include "netrun_step.h"

#include "launch.h"

enum { GROUP = LS_NETRUN_GROUP, THREADS = LS_NETRUN_THREADS };

struct alignas(16) four {
    float v[4];
};

// The step of this block, and which of its work this thread does.
LS_DEVICE const struct ls_netrun_step *find_step(const struct ls_netrun_step *step, int step_count,
                                                 int *idx)
{
    while (step_count > 1 && (int)blockIdx.x >= step[1].block_first) {
        step++;
        step_count--;
    }
    *idx = ((int)blockIdx.x - step->block_first) * THREADS + (int)threadIdx.x;
    return step;
}

LS_DEVICE float activate(float v, enum ls_net_act act)
{
    if (act == LS_ACT_RELU)
        return v > 0 ? v : 0;
    return act == LS_ACT_SIGMOID ? 1 / (1 + expf(-v)) : v;
}

// sum[k] += v * weight[k]
LS_DEVICE void add_group(float sum[GROUP], float v, const float *weight)
{
    for (int k = 0; k < GROUP; k += 4) {
        const struct four w = *(const struct four *)(weight + k);

        for (int i = 0; i < 4; i++)
            sum[k + i] += v * w.v[i];
    }
}

// What is added to a sum, the activation, and out: channel c, pixel `at` of the plane.
LS_DEVICE void put(const struct ls_netrun_step *s, int c, int at, float sum)
{
    int64_t idx = (int64_t)c * s->h_out * s->w_out + at;

    if (c < s->c_other)
        sum += s->other[idx];
    s->out[idx] = activate(sum, s->act);
}

LS_DEVICE void add_point(const struct ls_netrun_step *s, float sum[GROUP], const float *weight,
                         int at)
{
    int area = s->h_in * s->w_in;
    const float *in = s->in + at;

    for (int c = 0; c < s->c_in; c++, in += area, weight += GROUP)
        add_group(sum, *in, weight);
}

LS_DEVICE void add_dense(const struct ls_netrun_step *s, float sum[GROUP], const float *weight,
                         int y, int x)
{
    const float *in = s->in;

    for (int c = 0; c < s->c_in; c++, in += s->h_in * s->w_in) {
        for (int ky = 0; ky < s->kernel[0]; ky++) {
            int iy = y * s->stride[0] + ky - s->pad[0];

            for (int kx = 0; kx < s->kernel[1]; kx++, weight += GROUP) {
                int ix = x * s->stride[1] + kx - s->pad[1];

                if (iy >= 0 && iy < s->h_in && ix >= 0 && ix < s->w_in)
                    add_group(sum, in[iy * s->w_in + ix], weight);
            }
        }
    }
}

// Tap k reaches output `out` from input (out + pad - k) / stride, if that is whole. -1: from none.
LS_DEVICE int tap_source(int out, int pad, int k, int stride, int size)
{
    int at = out + pad - k;

    return at < 0 || at % stride || at / stride >= size ? -1 : at / stride;
}

LS_DEVICE void add_transposed(const struct ls_netrun_step *s, float sum[GROUP], const float *weight,
                              int y, int x)
{
    const float *in = s->in;

    for (int c = 0; c < s->c_in; c++, in += s->h_in * s->w_in) {
        for (int ky = 0; ky < s->kernel[0]; ky++) {
            int iy = tap_source(y, s->pad[0], ky, s->stride[0], s->h_in);

            for (int kx = 0; kx < s->kernel[1]; kx++, weight += GROUP) {
                int ix = tap_source(x, s->pad[1], kx, s->stride[1], s->w_in);

                if (iy >= 0 && ix >= 0)
                    add_group(sum, in[iy * s->w_in + ix], weight);
            }
        }
    }
}

// 8 output channels of a pixel a thread, neighbours in a row. 16 flops a tap and input channel;
// bytes: each input number from L1 or L2 once for 8 output channels, weights from L1.
template <int KIND> LS_KERNEL convolve(const struct ls_netrun_step *steps, int step_count)
{
    int idx;
    const struct ls_netrun_step *s = find_step(steps, step_count, &idx);
    int area = s->h_out * s->w_out, group = idx / area, at = idx % area;
    int first = group * GROUP, end = s->c_out < first + GROUP ? s->c_out : first + GROUP;
    const float *weight = s->weight;
    float sum[GROUP];

    if (first >= s->c_out)
        return;
    weight += (int64_t)first * s->c_in * s->kernel[0] * s->kernel[1];
    for (int k = 0; k < GROUP; k++)
        sum[k] = s->bias[first + k];
    if (KIND == LS_NETRUN_POINT)
        add_point(s, sum, weight, at);
    else if (KIND == LS_NETRUN_DENSE)
        add_dense(s, sum, weight, at / s->w_out, at % s->w_out);
    else
        add_transposed(s, sum, weight, at / s->w_out, at % s->w_out);
    for (int k = 0; k < GROUP; k++)
        if (first + k < end)
            put(s, first + k, at, sum[k]);
}

// Depthwise convolution and max pooling, where cells outside the picture do not take part: a window
// of one channel a thread. Bytes: 4 read (and 8 more from L1 for 3x3 of stride 1), 4 written.
template <int KIND> LS_KERNEL window(const struct ls_netrun_step *steps, int step_count)
{
    int idx;
    const struct ls_netrun_step *s = find_step(steps, step_count, &idx);
    int area = s->h_out * s->w_out, c = idx / area, at = idx % area;
    int y = at / s->w_out * s->stride[0] - s->pad[0], x = at % s->w_out * s->stride[1] - s->pad[1];
    const float *in = s->in, *weight = s->weight;
    float made;

    if (c >= s->c_out)
        return;
    in += (int64_t)c * s->h_in * s->w_in;
    if (KIND == LS_NETRUN_DEPTHWISE)
        weight += c * s->kernel[0] * s->kernel[1];
    made = KIND == LS_NETRUN_POOL ? -INFINITY : s->bias[c];
    for (int ky = 0; ky < s->kernel[0]; ky++) {
        for (int kx = 0; kx < s->kernel[1]; kx++) {
            int iy = y + ky, ix = x + kx;

            if (iy < 0 || iy >= s->h_in || ix < 0 || ix >= s->w_in)
                continue;
            if (KIND == LS_NETRUN_POOL)
                made = fmaxf(made, in[iy * s->w_in + ix]);
            else
                made += in[iy * s->w_in + ix] * weight[ky * s->kernel[1] + kx];
        }
    }
    put(s, c, at, made);
}

// Two sources, number by number. Bytes: 4 or 8 read, 4 written.
template <int KIND> LS_KERNEL pair(const struct ls_netrun_step *steps, int step_count)
{
    int idx;
    const struct ls_netrun_step *s = find_step(steps, step_count, &idx);
    int area = s->h_out * s->w_out, c = idx / area, at = idx % area;
    float v;

    if (c >= s->c_out)
        return;
    if (KIND == LS_NETRUN_UPADD)
        v = s->in[((int64_t)c * s->h_in + at / s->w_out / 2) * s->w_in + at % s->w_out / 2];
    else if (KIND == LS_NETRUN_CONCAT && c >= s->c_in)
        v = s->other[(int64_t)(c - s->c_in) * area + at];
    else
        v = s->in[idx];
    if (KIND != LS_NETRUN_CONCAT && c < s->c_other)
        v += s->other[idx];
    s->out[idx] = activate(v, s->act);
}

extern "C" int64_t ls_netrun_work(enum ls_netrun_kind kind, const struct ls_netrun_step *step)
{
    int64_t area = (int64_t)step->h_out * step->w_out;

    return area * (kind <= LS_NETRUN_TRANSPOSED ? (step->c_out - 1) / GROUP + 1 : step->c_out);
}

extern "C" int ls_netrun_launch(enum ls_netrun_kind kind, const struct ls_netrun_step *step,
                                int step_count, int block_count, cudaStream_t stream)
{
    void (*kernel)(const struct ls_netrun_step *, int) = NULL;

    switch (kind) {
    case LS_NETRUN_POINT:
        kernel = convolve<LS_NETRUN_POINT>;
        break;
    case LS_NETRUN_DENSE:
        kernel = convolve<LS_NETRUN_DENSE>;
        break;
    case LS_NETRUN_TRANSPOSED:
        kernel = convolve<LS_NETRUN_TRANSPOSED>;
        break;
    case LS_NETRUN_DEPTHWISE:
        kernel = window<LS_NETRUN_DEPTHWISE>;
        break;
    case LS_NETRUN_POOL:
        kernel = window<LS_NETRUN_POOL>;
        break;
    case LS_NETRUN_UPADD:
        kernel = pair<LS_NETRUN_UPADD>;
        break;
    case LS_NETRUN_CONCAT:
        kernel = pair<LS_NETRUN_CONCAT>;
        break;
    case LS_NETRUN_ADD:
        kernel = pair<LS_NETRUN_ADD>;
        break;
    }
    LS_LAUNCH_FLAT(kernel, dim3((unsigned)block_count), dim3(THREADS), stream, step, step_count);
    return (int)cudaGetLastError();
}
