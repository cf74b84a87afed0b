// SPDX-License-Identifier: Apache-2.0
// A frame reduced into a detector's input: each input pixel is the mean over the samples that it
// covers, channel by channel, then converted to BGR or RGB. A thread an input pixel. Device thread.
//
// What surprises: which samples a pixel covers, and how much of each, are whole numbers here (in
// parts of a sample, as many as the axis has input pixels), so that the mean's sum is exact and
// differs from the reference's doubles in the last bit at most.
//
// Reads the frame once (3.1 MB of a 1080p one; a sample at a pixel's edge twice), writes 12 bytes
// an input pixel; two multiply-adds a sample.
#include "heads.h"
#include "launch.h"

enum { THREADS = 128 };

// What a target sample covers along an axis, in parts of a source sample.
struct cover {
    int first, end; // the samples touched
    int from, to;   // in parts
    int parts;      // a sample
};

LS_DEVICE cover cover_of(int i, int target, int source)
{
    cover c;

    if (source > target) {
        c.parts = target;
        c.from = i * source;
        c.to = c.from + source;
    } else { // a stretch of one sample covers its two neighbours as bilinear weights would
        c.parts = 2 * target;
        c.from = (2 * i + 1) * source - target;
        c.to = c.from + c.parts;
    }
    c.first = c.from < 0 ? 0 : c.from / c.parts;
    c.end = (c.to + c.parts - 1) / c.parts;
    c.end = c.end < source ? c.end : source;
    return c;
}

// The parts of sample j that are covered; up to 8192.
LS_DEVICE int covered(const cover &c, int j)
{
    int from = j * c.parts, to = from + c.parts;

    return (to < c.to ? to : c.to) - (from > c.from ? from : c.from);
}

LS_DEVICE int get(const struct ls_cuda_channel &p, const uint8_t *at)
{
    return p.deep ? at[1] << 2 | at[0] >> 6 : at[0];
}

LS_DEVICE float mean(const struct ls_cuda_channel &p, int x, int y, const struct ls_letterbox &box)
{
    cover cx = cover_of(x, box.image_width, p.width);
    cover cy = cover_of(y, box.image_height, p.height);
    int64_t sum = 0;
    int x_sum = 0, y_sum = 0;
    float v;

    for (int j = cx.first; j < cx.end; j++)
        x_sum += covered(cx, j);
    for (int i = cy.first; i < cy.end; i++) {
        const uint8_t *at = p.data + i * p.stride + (int64_t)cx.first * p.step;
        int row_sum = 0, weight = covered(cy, i); // a row's sum: up to 8192 * 1023

        for (int j = cx.first; j < cx.end; j++, at += p.step)
            row_sum += covered(cx, j) * get(p, at);
        sum += (int64_t)weight * row_sum;
        y_sum += weight;
    }
    v = (float)sum / ((float)x_sum * (float)y_sum);
    return p.deep ? v / 4 : v;
}

LS_KERNEL reduce(float *input, struct ls_cuda_letterbox l)
{
    int64_t area = (int64_t)l.box.net_width * l.box.net_height;
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int x = (int)(i % l.box.net_width), y = (int)(i / l.box.net_width);
    float got[3], bgr[3];

    if (i >= area)
        return;
    if (x >= l.box.image_width || y >= l.box.image_height) {
        for (int c = 0; c < 3; c++)
            input[c * area + i] = l.box.empty;
        return;
    }
    bgr[0] = got[0] = mean(l.channel[0], x, y, l.box); // no loop, so that all stays in registers
    bgr[1] = got[1] = mean(l.channel[1], x, y, l.box);
    bgr[2] = got[2] = mean(l.channel[2], x, y, l.box);
    if (l.yuv)
        ls_colour_bgr(bgr, &l.colour, got);
    for (int c = 0; c < 3; c++) {
        float v = fminf(fmaxf(bgr[c], 0), 255);

        input[(l.box.bgr ? c : 2 - c) * area + i] = v * l.box.gain + l.box.offset;
    }
}

int ls_cuda_letterbox(float *input, const struct ls_cuda_letterbox *letterbox, cudaStream_t stream)
{
    int64_t area = (int64_t)letterbox->box.net_width * letterbox->box.net_height;

    LS_LAUNCH_FLAT(reduce, (unsigned)((area + THREADS - 1) / THREADS), THREADS, stream, input,
                   *letterbox);
    return (int)cudaGetLastError();
}
