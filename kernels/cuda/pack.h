// SPDX-License-Identifier: Apache-2.0
// A row's weights as the convolutions of this folder want them (conv.h): channels at their stored
// places, zeros where a stored channel belongs to none, of the stored type. Host memory; any
// thread.
#ifndef LS_CUDA_PACK_H
#define LS_CUDA_PACK_H

#include "../net.h"
#include "device.h"

struct ls_cuda_filter {
    const struct ls_net_node *node; // LS_NET_CONV or LS_NET_TCONV, with its weights
    const int *channel;             // [node->c_in] where each input channel is stored
    int c_in, c_out;                // stored
    enum ls_cuda_type type;
};

size_t ls_cuda_filter_size(const struct ls_cuda_filter *filter); // bytes of its weights
// out: zeroed; convolutions [c_out][kh][kw][c_in], transposed [c_in][kh][kw][c_out]. LS_EMODEL if a
// weight is not a number that the type can hold.
LS_MUST int ls_cuda_filter_pack(void *out, const struct ls_cuda_filter *filter, struct ls_err *err);
void ls_cuda_filter_bias(float *out, const struct ls_cuda_filter *filter); // [c_out], zeroed

// IEEE 754 binary16 of v, to the nearest, ties to even; infinite from 65520 on.
uint16_t ls_cuda_half(float v);

#endif
