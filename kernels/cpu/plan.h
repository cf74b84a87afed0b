// SPDX-License-Identifier: Apache-2.0
// Turns a planned network into a list of steps and a map of memory, without computing anything:
// where each result lies, which steps run item by item, which buffers share memory. dnn.c turns the
// steps into oneDNN primitives and runs them. Read only once made: any thread.
//
// Results lie in channel blocks, [channels/block][h][w][block], one item after the other: floats,
// or where that is asked for bfloat16, but for what a layer makes or reads that is faster or only
// to be had in floats (a copy in bfloat16 is made for others that read the same). So a
// concatenation is two neighbouring ranges: producers write into it, nothing is copied; and every
// primitive works on one item, so that no result can depend on the batch.
//
// With bytes (int8) all channels of a pixel lie together, [h][w][channels], as such convolutions
// want it, and concatenations are copied, which is little at a byte a value. A byte q is worth
// q * scale, 0..255; weights are signed bytes with a scale for each channel of a result. A
// residual is not folded into such weights, of which it would take the whole range, but added.
//
// If only a part of the outputs is wanted, each result is cut to what it needs (cut.h) and stored
// as if it were all; the numbers are those of the whole but for rounding.
#ifndef LS_CPU_PLAN_H
#define LS_CPU_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../err.h"
#include "../net.h"

enum ls_value { LS_VALUE_F32, LS_VALUE_BF16, LS_VALUE_U8 };

enum ls_step_kind {
    LS_STEP_CONV,  // any convolution: a oneDNN primitive
    LS_STEP_WEAVE, // interleaves the phases of a transposed convolution
    LS_STEP_MAXPOOL,
    LS_STEP_UPADD,
    LS_STEP_ADD,
    LS_STEP_COPY,   // a concatenation's part that could not be written in place
    LS_STEP_NARROW, // a copy of floats in the plan's narrow numbers
    LS_STEP_KEEP,   // a residual's source into the result, to which its convolution then adds
};

// Where one node's result lies.
struct ls_place {
    int buffer;    // which of the plan's buffers
    size_t offset; // bytes from the start of the item's part of the buffer
    enum ls_value value;
    int narrowed;         // buffer of a copy in narrow numbers, -1: none
    int first[2], end[2]; // stored are these rows and columns of the result
    int c, h, w;          // c: channels stored, a multiple of the plan's block unless plain
    int block;            // channels that lie together: the plan's block, or all (also the copy's)
    bool plain;           // an input of the network: [c][h][w], unpadded
    int *channel;         // [node's c_out] where each logical channel is stored
    float *scale;         // [c] of its bytes, or of the copy's; NULL: it may not be bytes
};

// A convolution as a library wants to hear it: sizes as stored, padding on each side.
struct ls_conv_shape {
    bool depthwise;
    int c_in, h_in, w_in, c_out, h_out, w_out;
    int kernel[2], stride[2], pad_first[2], pad_last[2];
};

struct ls_step {
    enum ls_step_kind kind;
    int node;
    int part;   // CONV: phase; COPY: which source
    int target; // CONV: a place, or a phase buffer (then phase is true)
    bool phase;
    bool narrow;               // CONV: its source and weights are; else floats
    bool keep;                 // CONV: adds to what KEEP put there
    struct ls_conv_shape conv; // CONV
    int segment;
};

// Steps [first, first + count) run for one item after the other; consecutive segments one after the
// other. A step whose weights fill much of the cache is a segment alone: all items use the weights
// while they are there.
struct ls_segment {
    int first, count;
};

struct ls_buffer {
    size_t item_size; // bytes
    size_t offset;    // bytes from the arena's start
    int items;        // 1: only ever holds the item at work
    int first, last;  // segments that it lives in; for items == 1 steps of its one segment
};

struct ls_plan {
    const struct ls_net *net; // borrowed; only its shapes are read after ls_plan_new
    int block, items_max;
    struct ls_place *place; // [net->node_count]
    struct ls_step *step;
    int step_count;
    struct ls_segment *segment;
    int segment_count;
    struct ls_buffer *buffer; // phase buffers included
    int buffer_count;
    size_t arena_size;    // bytes
    enum ls_value narrow; // as asked for
    bool (*wants_floats)(const struct ls_conv_shape *shape);
};

struct ls_plan_params {
    int block;            // 8 or 16, what the processor's kernels want
    int items_max;        // 1 or more
    int first[2], end[2]; // rows and columns of the outputs that are wanted; end 0: to the end
    int height_min;       // results of fewer rows are made whole nevertheless
    enum ls_value narrow; // what convolutions compute with, but for those that the next ones say
    bool (*wants_floats)(const struct ls_conv_shape *shape); // with BF16
    const float *range; // with U8, [node_count]: what 255 is worth of a result; 0: it stays floats,
                        // and so does the arithmetic of what reads it. Of concatenations unused
};

LS_MUST int ls_plan_new(struct ls_plan **out, const struct ls_net *net,
                        const struct ls_plan_params *params, struct ls_err *err);
void ls_plan_free(struct ls_plan **plan);

size_t ls_value_size(enum ls_value value); // bytes
// Of a row's convolution, as what is stored of its source and result asks for it; a transposed
// one's as if it were none.
struct ls_conv_shape ls_plan_shape(const struct ls_plan *plan, int idx);

// Where item's part of a buffer begins, in bytes from the arena's start.
size_t ls_plan_at(const struct ls_plan *plan, int buffer, int item);

// Weights [c_out][c_in][kh][kw] (depthwise [c][1][kh][kw]) and bias [c_out] of a CONV step, with
// channels at their stored places and zeros between. Caller frees both.
LS_MUST int ls_plan_weights(float **weight, float **bias, const struct ls_plan *plan,
                            const struct ls_step *step, struct ls_err *err);
// The same of a step of bytes: target = scale * (sum of weight and source + bias). All are in one
// block, which the caller frees by `scale`.
struct ls_plan_bytes {
    float *scale, *bias; // [c_out]
    int8_t *weight;
};
LS_MUST int ls_plan_bytes(struct ls_plan_bytes *out, const struct ls_plan *plan,
                          const struct ls_step *step, struct ls_err *err);

#endif
