// SPDX-License-Identifier: Apache-2.0
// Runs planned networks on oneDNN. dnn.c is the one file that knows the library (2.6, its C API
// with operation descriptors; 3.x changed it and dropped Winograd). A network holds primitives and
// weights, is read only once made and shared by all threads; a lane holds buffers and belongs to
// one thread at a time. Each primitive works on one item on the calling thread alone, so results
// depend neither on count nor on lane nor on load.
#ifndef LS_CPU_DNN_H
#define LS_CPU_DNN_H

#include <stdbool.h>

#include "../err.h"
#include "../net.h"

struct ls_dnn;
struct ls_dnn_lane;

struct ls_dnn_params {
    int items_max;        // how many items a lane holds, 1..64
    int first[2], end[2]; // rows and columns of the outputs that need be made; end 0: to the end
    int height_min;       // results of fewer rows are made whole nevertheless
    bool bf16; // products of bfloat16, sums of floats, but where Winograd's in floats is faster;
               // needs ls_dnn_has_bf16
    const struct ls_dnn *weights_of; // the same net for other rows, whose weights are used where
                                     // they are in the right order; must live longer. NULL: none
};

// net must be planned with folded residuals. It is borrowed and must outlive *out, but its weights
// are copied: they may be freed.
LS_MUST int ls_dnn_new(struct ls_dnn **out, const struct ls_net *net,
                       const struct ls_dnn_params *params, struct ls_err *err);
void ls_dnn_free(struct ls_dnn **dnn);          // after its lanes
bool ls_dnn_has_bf16(void);                     // the processor multiplies bfloat16 itself
const char *ls_dnn_isa(void);                   // "AVX-512", "AVX2", "SSE4.1"
bool ls_dnn_winograd(const struct ls_dnn *dnn); // some layers use it

// A lane for several networks of one family (weights_of), of which one is used at a time: they
// share the memory.
LS_MUST int ls_dnn_lane_new(struct ls_dnn_lane **out, const struct ls_dnn *const *dnn, int count,
                            struct ls_err *err);
void ls_dnn_lane_free(struct ls_dnn_lane **lane);
void ls_dnn_use(struct ls_dnn_lane *lane, int idx); // of the networks; at first the first one

// Where the caller writes an item's input [c][h][w]; input_idx counts the table's INPUT rows. The
// values are gone after the run.
float *ls_dnn_input(struct ls_dnn_lane *lane, int input_idx, int item);
// Runs items 0 .. count - 1.
LS_MUST int ls_dnn_run(struct ls_dnn_lane *lane, int count, struct ls_err *err);
// The same without the items of which `wanted` is false when it is asked, before each of their
// steps; it must stay false. Their outputs mean nothing.
LS_MUST int ls_dnn_run_wanted(struct ls_dnn_lane *lane, int count,
                              bool (*wanted)(void *user, int item), void *user, struct ls_err *err);
// After a run: what was made of the output_idx-th row marked `output`, out [c][rows][columns]:
// those of `made`, or all of it where that was asked for (then NULL will do).
struct ls_dnn_part {
    int first[2], end[2]; // rows, columns
};
void ls_dnn_output(float *out, struct ls_dnn_part *made, const struct ls_dnn_lane *lane,
                   int output_idx, int item);

#endif
