// SPDX-License-Identifier: Apache-2.0
// Weights in stored form (pack.h). A checkpoint is outside data: what half precision cannot hold is
// refused here, by the layer's name, rather than shown as a black picture later. Any thread.
#include "pack.h"

#include <math.h>
#include <string.h>

uint16_t ls_cuda_half(float v)
{
    uint32_t bits, sign, fraction, rest, shift;

    memcpy(&bits, &v, sizeof bits);
    sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits >= 0x7f800000) // infinite or not a number
        return (uint16_t)(sign | 0x7c00 | (bits > 0x7f800000 ? 0x200 : 0));
    if (bits >= 0x47800000) // 65536
        return (uint16_t)(sign | 0x7c00);
    if (bits < 0x33000000) // below 2^-25 there is only zero
        return (uint16_t)sign;
    // 10 bits of fraction stay; of numbers below 2^-14, which have no leading one, fewer.
    shift = bits < 0x38800000 ? 126 - (bits >> 23) : 13;
    fraction = bits < 0x38800000 ? (bits & 0x7fffff) | 0x800000 : bits - 0x38000000;
    rest = fraction & ((1u << shift) - 1);
    fraction >>= shift;
    if (rest > 1u << (shift - 1) || (rest == 1u << (shift - 1) && fraction & 1))
        fraction++; // may carry into the exponent, up to infinity: that is the right number
    return (uint16_t)(sign | fraction);
}

static int taps_of(const struct ls_cuda_filter *f)
{
    return f->node->layer->kernel[0] * f->node->layer->kernel[1];
}

size_t ls_cuda_filter_size(const struct ls_cuda_filter *f)
{
    return (size_t)f->c_in * (size_t)f->c_out * (size_t)taps_of(f) * ls_cuda_size(f->type);
}

// Weights are [outer][inner][taps] in the plan and [outer][taps][inner] when stored, outer and
// inner being output and input channels, or the other way about if transposed.
int ls_cuda_filter_pack(void *out, const struct ls_cuda_filter *f, struct ls_err *err)
{
    const struct ls_net_node *n = f->node;
    bool transposed = n->layer->op == LS_NET_TCONV;
    int outer_count = transposed ? n->c_in : n->c_out,
        inner_count = transposed ? n->c_out : n->c_in;
    size_t taps = (size_t)taps_of(f), inner_stored = (size_t)(transposed ? f->c_out : f->c_in);
    const float *from = n->weight;

    for (int o = 0; o < outer_count; o++) {
        size_t outer = (size_t)(transposed ? f->channel[o] : o);

        for (int i = 0; i < inner_count; i++) {
            size_t inner = (size_t)(transposed ? i : f->channel[i]);

            for (size_t t = 0; t < taps; t++) {
                size_t at = (outer * taps + t) * inner_stored + inner;
                float v = *from++;

                if (!isfinite(v) || (f->type == LS_CUDA_FP16 && fabsf(v) >= 65520))
                    return ls_fail(err, LS_EMODEL, "%s has a weight of %g, which %s cannot hold",
                                   n->layer->name, (double)v,
                                   f->type == LS_CUDA_FP16 ? "fp16" : "a number");
                if (f->type == LS_CUDA_FP16)
                    ((uint16_t *)out)[at] = ls_cuda_half(v);
                else
                    ((float *)out)[at] = v;
            }
        }
    }
    return LS_OK;
}

void ls_cuda_filter_bias(float *out, const struct ls_cuda_filter *f)
{
    memcpy(out, f->node->bias, sizeof *out * (size_t)f->node->c_out);
}
