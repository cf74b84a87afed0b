// SPDX-License-Identifier: Apache-2.0
// Where everything of the generator lies in device memory: each row's result, channels rounded up
// to what convolutions take, the two halves of a concatenation side by side so that whoever makes
// one writes it in place; and which of them share memory, as no two are needed at once. The rows
// that depend on the face alone ("face rows") are run apart from the others; what the others need
// of them goes through a record. Pure functions of shapes; any thread.
#ifndef LS_CUDA_LAYOUT_H
#define LS_CUDA_LAYOUT_H

#include "elements.h"

struct ls_cuda_place {
    bool face;      // depends on the face alone
    bool placed;    // it has a place in the arena: all but the face, which has memory of its own,
                    // and the last row, whose result is the generator's
    int c;          // stored channels
    int *channel;   // [c_out] where each of the row's channels is among them
    int home;       // the row in whose buffer it lies: itself, or the concatenation of which it
                    // is the first half
    int64_t offset; // of the home's buffer in the arena, in bytes for one item: times the batch
};

// A face row's result that a concatenation takes as its second half.
struct ls_cuda_feature {
    int row, cat;
    int at;         // it is gathered from the record before this row is run
    int64_t offset; // in the record
};

struct ls_cuda_layout {
    const struct ls_net *net; // borrowed
    enum ls_cuda_type type;
    struct ls_cuda_place *place; // [net->node_count]
    int face_row, mel_row, head_row;
    struct ls_cuda_feature feature[LS_CUDA_PARTS_MAX];
    int feature_count;
    int64_t record_size; // bytes, a multiple of 256
    int64_t arena_size;  // bytes for one item
};

// LS_EINTERNAL if the network is not of the generator's kind: a face and a mel window in,
// convolutions with their residuals folded, concatenations with face rows, a 1x1 convolution to
// three channels and a sigmoid out.
LS_MUST int ls_cuda_layout_new(struct ls_cuda_layout **out, const struct ls_net *net,
                               enum ls_cuda_type type, struct ls_err *err);
void ls_cuda_layout_free(struct ls_cuda_layout **layout);
// Of all shapes. Plans depend on them alone, so another checkpoint of the same shape may use them.
uint64_t ls_cuda_layout_hash(const struct ls_net *net);

#endif
