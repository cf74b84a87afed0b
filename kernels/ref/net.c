// SPDX-License-Identifier: Apache-2.0
// Runs a planned network with plain loops: the definition that faster back ends are compared with.
// Sums are float32. A convolution's start from the bias and take the taps in the order input
// channel, kernel row, kernel column; a transposed one sums each tap over the channels, then the
// taps onto the bias. Inner loops run along a picture's row, which a compiler can vectorise: one
// frame of the demo model in 0.12 s, of the original's width (3.97 GMAC) in 1.2 s, on one Zen 4
// core with SSE2. Any thread; each call has memory of its own.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ref.h"

// A row's result for one item, NCHW.
struct blob {
    const float *in[2]; // of its sources
    float *out;
};

static void add_act(const struct ls_net_node *n, const struct blob *b)
{
    size_t size = (size_t)n->c_out * n->h_out * n->w_out;
    float *out = b->out;

    if (n->residual)
        for (size_t i = 0; i < size; i++)
            out[i] += b->in[0][i];
    if (n->layer->act == LS_ACT_RELU)
        for (size_t i = 0; i < size; i++)
            out[i] = out[i] > 0 ? out[i] : 0;
    else if (n->layer->act == LS_ACT_SIGMOID)
        for (size_t i = 0; i < size; i++)
            out[i] = 1 / (1 + expf(-out[i]));
}

// out[x] += weight * in[x * stride + shift] wherever in is inside 0..w_in.
static void add_row(float *restrict out, const float *restrict in, float weight, int w_out,
                    int w_in, int stride, int shift)
{
    int first = shift < 0 ? (-shift + stride - 1) / stride : 0;
    int end = w_in - shift <= 0 ? 0 : (w_in - shift + stride - 1) / stride;

    if (end > w_out)
        end = w_out;
    if (stride == 1)
        for (int x = first; x < end; x++)
            out[x] += weight * in[x + shift];
    else
        for (int x = first; x < end; x++)
            out[x] += weight * in[x * stride + shift];
}

// One output row y of one channel from one input channel.
static void conv_row(const struct ls_net_node *n, float *out, const float *in, const float *weight,
                     int y)
{
    const struct ls_net_layer *l = n->layer;

    for (int ky = 0; ky < l->kernel[0]; ky++) {
        int iy = y * l->stride[0] + ky - l->pad[0];

        if (iy < 0 || iy >= n->h_in)
            continue;
        for (int kx = 0; kx < l->kernel[1]; kx++)
            add_row(out, in + (size_t)iy * n->w_in, weight[ky * l->kernel[1] + kx], n->w_out,
                    n->w_in, l->stride[1], kx - l->pad[1]);
    }
}

// Dense and depthwise.
static void run_conv(const struct ls_net_node *n, const struct blob *b)
{
    size_t taps = (size_t)n->layer->kernel[0] * n->layer->kernel[1];
    size_t area = (size_t)n->h_in * n->w_in;
    bool dense = n->layer->op == LS_NET_CONV;

    for (int co = 0; co < n->c_out; co++) {
        for (int y = 0; y < n->h_out; y++) {
            float *out = b->out + ((size_t)co * n->h_out + y) * n->w_out;

            for (int x = 0; x < n->w_out; x++)
                out[x] = n->bias[co];
            if (!dense)
                conv_row(n, out, b->in[0] + co * area, n->weight + co * taps, y);
            for (int ci = 0; dense && ci < n->c_in; ci++)
                conv_row(n, out, b->in[0] + ci * area,
                         n->weight + ((size_t)co * n->c_in + ci) * taps, y);
        }
    }
}

// One tap of one output row: input (iy, x) of every channel reaches column x * stride + kx - pad.
// Summed over the channels first, so that the inner loop is without gaps. in: row iy of channel 0;
// weight: the tap of channel 0 and of this output channel.
static void spread_tap(const struct ls_net_node *n, float *row, const float *in,
                       const float *weight, int kx)
{
    enum { PIECE = 64 };
    const struct ls_net_layer *l = n->layer;
    size_t area = (size_t)n->h_in * n->w_in;
    size_t step = (size_t)n->c_out * l->kernel[0] * l->kernel[1];

    for (int first = 0; first < n->w_in; first += PIECE) {
        int count = n->w_in - first < PIECE ? n->w_in - first : PIECE;
        float sum[PIECE] = {0};

        for (int ci = 0; ci < n->c_in; ci++)
            for (int x = 0; x < count; x++)
                sum[x] += weight[ci * step] * in[ci * area + first + x];
        for (int x = 0; x < count; x++) {
            int ox = (first + x) * l->stride[1] + kx - l->pad[1];

            if (ox >= 0 && ox < n->w_out)
                row[ox] += sum[x];
        }
    }
}

// One output row of one channel: tap ky reads the input row iy with iy * stride + ky - pad = y.
static void tconv_row(const struct ls_net_node *n, float *row, const float *in, int co, int y)
{
    const struct ls_net_layer *l = n->layer;
    const float *weight = n->weight + (size_t)co * l->kernel[0] * l->kernel[1];

    for (int x = 0; x < n->w_out; x++)
        row[x] = n->bias[co];
    for (int ky = 0; ky < l->kernel[0]; ky++) {
        int iy = y + l->pad[0] - ky;

        if (iy < 0 || iy % l->stride[0] || iy / l->stride[0] >= n->h_in)
            continue;
        for (int kx = 0; kx < l->kernel[1]; kx++)
            spread_tap(n, row, in + (size_t)(iy / l->stride[0]) * n->w_in,
                       weight + ky * l->kernel[1] + kx, kx);
    }
}

static void run_tconv(const struct ls_net_node *n, const struct blob *b)
{
    for (int co = 0; co < n->c_out; co++)
        for (int y = 0; y < n->h_out; y++)
            tconv_row(n, b->out + ((size_t)co * n->h_out + y) * n->w_out, b->in[0], co, y);
}

// Cells outside the picture do not take part.
static float max_of(const struct ls_net_node *n, const float *in, int y, int x)
{
    const struct ls_net_layer *l = n->layer;
    float best = -INFINITY;

    for (int ky = 0; ky < l->kernel[0]; ky++) {
        for (int kx = 0; kx < l->kernel[1]; kx++) {
            int iy = y * l->stride[0] + ky - l->pad[0], ix = x * l->stride[1] + kx - l->pad[1];

            if (iy >= 0 && iy < n->h_in && ix >= 0 && ix < n->w_in)
                best = fmaxf(best, in[(size_t)iy * n->w_in + ix]);
        }
    }
    return best;
}

static void run_maxpool(const struct ls_net_node *n, const struct blob *b)
{
    size_t area_in = (size_t)n->h_in * n->w_in;
    float *out = b->out;

    for (int c = 0; c < n->c_out; c++)
        for (int y = 0; y < n->h_out; y++)
            for (int x = 0; x < n->w_out; x++)
                *out++ = max_of(n, b->in[0] + c * area_in, y, x);
}

static void run_upadd(const struct ls_net_node *n, const struct blob *b)
{
    const float *add = b->in[1];
    float *out = b->out;

    for (int c = 0; c < n->c_out; c++)
        for (int y = 0; y < n->h_out; y++)
            for (int x = 0; x < n->w_out; x++)
                *out++ = b->in[0][((size_t)c * n->h_in + y / 2) * n->w_in + x / 2] + *add++;
}

// other: the node of from[1]
static void run_pair(const struct ls_net_node *n, const struct ls_net_node *other,
                     const struct blob *b)
{
    size_t area = (size_t)n->h_out * n->w_out;
    size_t first = n->c_in * area, second = other->c_out * area;

    memcpy(b->out, b->in[0], first * sizeof(float));
    if (n->layer->op == LS_NET_CONCAT)
        memcpy(b->out + first, b->in[1], second * sizeof(float));
    else
        for (size_t i = 0; i < second; i++)
            b->out[i] += b->in[1][i];
}

static void run_row(const struct ls_net *net, int idx, const struct blob *b)
{
    const struct ls_net_node *n = &net->node[idx];

    switch (n->layer->op) {
    case LS_NET_INPUT:
        return;
    case LS_NET_CONV:
    case LS_NET_DWCONV:
        run_conv(n, b);
        break;
    case LS_NET_TCONV:
        run_tconv(n, b);
        break;
    case LS_NET_MAXPOOL:
        run_maxpool(n, b);
        break;
    case LS_NET_UPADD:
        run_upadd(n, b);
        break;
    case LS_NET_ADD:
    case LS_NET_CONCAT:
        run_pair(n, &net->node[n->layer->from[1]], b);
        break;
    }
    add_act(n, b);
}

static size_t result_size(const struct ls_net_node *n)
{
    return (size_t)n->c_out * n->h_out * n->w_out;
}

// place[row]: where its result for item `item` is; buffer holds all that is neither input nor
// output.
static void run_item(const struct ls_net *net, const float *const *inputs, float *const *outputs,
                     int item, const float **place, float *buffer)
{
    int input_idx = 0, output_idx = 0;

    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_node *n = &net->node[i];
        size_t size = result_size(n);
        struct blob b = {.out = buffer};

        if (n->layer->op == LS_NET_INPUT) {
            place[i] = inputs[input_idx++] + item * size;
            continue;
        }
        if (n->layer->output)
            b.out = outputs[output_idx++] + item * size;
        else
            buffer += size;
        for (int k = 0; k < 2; k++)
            b.in[k] = n->layer->from[k] < 0 ? NULL : place[n->layer->from[k]];
        run_row(net, i, &b);
        place[i] = b.out;
    }
}

int ls_ref_net_run(const struct ls_net *net, const float *const *inputs, float *const *outputs,
                   int count, struct ls_err *err)
{
    size_t size = 0;
    const float **place = calloc((size_t)net->node_count, sizeof *place);
    float *buffer;
    int r = 0;

    for (int i = 0; i < net->node_count; i++)
        size += result_size(&net->node[i]);
    buffer = malloc(size * sizeof *buffer);
    if (!place || !buffer) {
        r = ls_fail(err, LS_ENOMEM, "no memory for the results of %s", net->spec->name);
        goto done;
    }
    for (int item = 0; item < count; item++)
        run_item(net, inputs, outputs, item, place, buffer);
done:
    free(place);
    free(buffer);
    return r;
}
