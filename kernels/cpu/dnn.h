// SPDX-License-Identifier: Apache-2.0
// Runs planned networks: a plan's convolutions on oneDNN (onednn.h), the rest by loops.h. A network
// holds primitives and weights, is read only once made and shared by all threads; a lane holds
// buffers and belongs to one thread at a time. Each primitive works on one item on the calling
// thread alone, so results depend neither on count nor on lane nor on load.
#ifndef LS_CPU_DNN_H
#define LS_CPU_DNN_H

#include <stdbool.h>

#include "../err.h"
#include "../net.h"
#include "plan.h"

struct ls_dnn;
struct ls_dnn_lane;

struct ls_dnn_params {
    int items_max;        // how many items a lane holds, 1..64
    int first[2], end[2]; // rows and columns of the outputs that need be made; end 0: to the end
    int height_min;       // results of fewer rows are made whole nevertheless
    // F32; BF16: products of bfloat16, sums of floats, but where Winograd's in floats is faster;
    // U8: products of bytes. The processor must have them (ls_dnn_has).
    enum ls_value narrow;
    const float *range;              // with U8: as struct ls_plan_params says
    const struct ls_dnn *weights_of; // the same net for other rows, whose weights are used where
                                     // they are in the right order; must live longer. NULL: none
};

// net must be planned with folded residuals. It is borrowed and must outlive *out, but its weights
// are copied: they may be freed.
LS_MUST int ls_dnn_new(struct ls_dnn **out, const struct ls_net *net,
                       const struct ls_dnn_params *params, struct ls_err *err);
void ls_dnn_free(struct ls_dnn **dnn);          // after its lanes
bool ls_dnn_has(enum ls_value narrow);          // the processor multiplies such numbers itself
const char *ls_dnn_isa(void);                   // "AVX-512", "AVX2", "SSE4.1"
bool ls_dnn_winograd(const struct ls_dnn *dnn); // some layers use it
// What a record of an item holds: all that other rows read of those that depend on the first input
// alone. Bytes, a multiple of 64; 0: there are no such rows.
size_t ls_dnn_record_size(const struct ls_dnn *dnn);

// A lane for several networks of one family (weights_of), of which one is used at a time: they
// share the memory.
LS_MUST int ls_dnn_lane_new(struct ls_dnn_lane **out, const struct ls_dnn *const *dnn, int count,
                            struct ls_err *err);
void ls_dnn_lane_free(struct ls_dnn_lane **lane);
void ls_dnn_use(struct ls_dnn_lane *lane, int idx); // of the networks; at first the first one

// Where the caller writes an item's input [c][h][w]; input_idx counts the table's INPUT rows. The
// values are gone after the run.
float *ls_dnn_input(struct ls_dnn_lane *lane, int input_idx, int item);

// Of an item: where its first input's results are kept. If `known` they are taken from there, and
// the first input is not looked at; else they are put there, and known becomes true once all are.
struct ls_dnn_record {
    char *at; // NULL: neither
    bool known;
};

// How to run. Valid when zeroed.
struct ls_dnn_job {
    int count; // items 0 .. count - 1
    // Asked before each step of an item; once false, it must stay false, and the item's outputs
    // mean nothing. NULL: all are wanted.
    bool (*wanted)(void *user, int item);
    struct ls_dnn_record *record; // [count]; NULL: none
    // Is told each result as it lies in memory, padding (zeros) included, when it is made; networks
    // of floats only. NULL: nobody.
    void (*seen)(void *user, int node, const float *values, size_t count);
    void *user;
};
LS_MUST int ls_dnn_run(struct ls_dnn_lane *lane, const struct ls_dnn_job *job, struct ls_err *err);

// After a run: what was made of the output_idx-th row marked `output`, out [c][rows][columns]:
// those of `made`, or all of it where that was asked for (then NULL will do).
struct ls_dnn_part {
    int first[2], end[2]; // rows, columns
};
void ls_dnn_output(float *out, struct ls_dnn_part *made, const struct ls_dnn_lane *lane,
                   int output_idx, int item);

#endif
