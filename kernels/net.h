// SPDX-License-Identifier: Apache-2.0
// Networks as const tables of layers, and the plan that every back end walks. A table says what a
// layer is and which tensors feed it; the widths are read from the checkpoint; ls_net_plan checks
// every shape, folds batch norm (and, if asked, residual additions) into the weights, and names
// what is missing, left over or wrongly shaped. Nothing here computes a picture.
#ifndef LS_NET_H
#define LS_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "weights.h"

enum ls_net_op {
    LS_NET_INPUT,   // no source; shape from the plan's parameters
    LS_NET_CONV,    // dense convolution, weights [co][ci][kh][kw]
    LS_NET_DWCONV,  // depthwise convolution, weights [c][1][kh][kw]
    LS_NET_TCONV,   // transposed convolution, weights [ci][co][kh][kw]
    LS_NET_MAXPOOL, // max pooling
    LS_NET_UPADD,   // nearest x2 of from[0], plus from[1]
    LS_NET_ADD,     // from[0] + from[1]; if from[1] has fewer channels, the missing ones are zero
    LS_NET_CONCAT,  // channels of from[0], then of from[1]
};
enum ls_net_act { LS_ACT_NONE, LS_ACT_RELU, LS_ACT_SIGMOID };

// One row of a table. from[] are row numbers of the same table, lower than this row's own.
struct ls_net_layer {
    const char *name; // prefix of its tensors, NULL for rows without weights
    enum ls_net_op op;
    int from[2];                          // -1: none
    uint8_t kernel[2], stride[2], pad[2]; // {vertical, horizontal}
    uint8_t
        pad_end_extra; // rows and columns of padding more at bottom and right than pad (TF's SAME)
    uint8_t out_pad;   // of transposed convolutions
    enum ls_net_act act;
    bool norm;     // batch norm follows: tensors are "<name>.conv_block.0.{weight,bias}" and
                   // "<name>.conv_block.1.{weight,bias,running_mean,running_var}"; eps 1e-5.
                   // Without: "<name>.weight", "<name>.bias"
    bool residual; // the input is added before the activation
    bool output;   // its result is one of the network's outputs, in table order
};

struct ls_net_spec {
    const char *name; // for messages
    const struct ls_net_layer *layer;
    int layer_count;
    const char
        *ignore; // tensors whose name ends so are not "left over" ("num_batches_tracked"); NULL
};

// A planned layer: every number is known. Weights are float32, owned by the plan.
struct ls_net_node {
    const struct ls_net_layer *layer;
    int c_in, h_in, w_in;    // of from[0]
    int c_out, h_out, w_out; // of its result
    float *weight;           // conv [c_out][c_in][kh][kw], depthwise [c_out][kh][kw], transposed
                             // [c_in][c_out][kh][kw]
    float *bias;             // [c_out]
    bool residual;           // still to be added (not folded)
    double mac;              // multiply-accumulates for one item
};

struct ls_net {
    const struct ls_net_spec *spec;
    struct ls_net_node *node; // [node_count], same order and numbering as the table
    int node_count;
    int64_t parameter_count; // as in the checkpoint, batch norm's affine numbers included
    double mac;
};

struct ls_net_params {
    struct {
        int c, h, w;
    } input[2]; // shapes of the table's LS_NET_INPUT rows, in order
    bool fold_residual;
};

LS_MUST int ls_net_plan(struct ls_net **out, const struct ls_net_spec *spec,
                        const struct ls_weights *weights, const struct ls_net_params *params,
                        struct ls_err *err);
void ls_net_free(struct ls_net **net);
// Frees weights and biases, for a plan whose only user holds them in a form of its own; shapes
// stay.
void ls_net_trim(struct ls_net *net);

// Adds seeded random tensors for a table to w: He-scaled weights, mild batch norm, so that
// activations stay in a sane range. width_of(user, row) gives a row's output channels. The same
// seed gives the same bits on every machine (splitmix64; no libm in the generator but sqrt).
LS_MUST int ls_net_seed(struct ls_weights *w, const struct ls_net_spec *spec,
                        const struct ls_net_params *params, int (*width_of)(void *user, int row),
                        void *user, uint64_t seed, struct ls_err *err);

#endif
