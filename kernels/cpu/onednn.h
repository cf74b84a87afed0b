// SPDX-License-Identifier: Apache-2.0
// Convolutions on oneDNN. onednn.c is the one file that knows the library (2.6, its C API with
// operation descriptors; 3.x changed it and dropped Winograd). An engine and a convolution are read
// only once made and shared by all threads; what a thread runs a convolution with (ls_onednn_call)
// is its own. All runs on the calling thread alone.
#ifndef LS_CPU_ONEDNN_H
#define LS_CPU_ONEDNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../err.h"
#include "plan.h"

struct ls_onednn;      // engine
struct ls_onednn_conv; // a primitive and its weights
struct ls_onednn_call; // operands of a thread

enum ls_onednn_has { LS_HAS_AVX512, LS_HAS_AVX2, LS_HAS_BF16, LS_HAS_INT8 };
// Whether the processor has it itself: INT8 and BF16 are products of such numbers with sums of 32
// bits in one instruction.
bool ls_onednn_has(enum ls_onednn_has what);

LS_MUST int ls_onednn_new(struct ls_onednn **out, struct ls_err *err);
void ls_onednn_free(struct ls_onednn **engine); // after all else
// The calling thread is the only one that works on what it calls here. Once per thread and call of
// several of the functions below.
void ls_onednn_alone(void);

// How a convolution's operands lie in memory: [c/block][h][w][block] or [h][w][c].
struct ls_onednn_params {
    const struct ls_conv_shape *shape;
    int block;            // 8 or 16; 0: [h][w][c]
    bool plain;           // the source is [c][h][w]
    enum ls_value source; // U8: weights are signed bytes; else they are as the source
    enum ls_value target; // U8 only with a source of U8, and activation ReLU
    enum ls_net_act act;
    const float *scale; // [c_out], with a source of U8: of sums and bias
    float keep;         // with a source of U8: as much of what the target holds is added before
                        // the activation; 0: nothing
    bool winograd;      // where the library has it
};
// scale is copied.
LS_MUST int ls_onednn_conv_new(struct ls_onednn_conv **out, struct ls_onednn *engine,
                               const struct ls_onednn_params *params, struct ls_err *err);
void ls_onednn_conv_free(struct ls_onednn_conv **conv);
bool ls_onednn_conv_winograd(const struct ls_onednn_conv *conv);
size_t ls_onednn_conv_scratch(const struct ls_onednn_conv *conv); // bytes, what a call needs
// False if the other one's weights lie in another order; else they are used, and it must live
// longer.
bool ls_onednn_conv_borrow(struct ls_onednn_conv *conv, const struct ls_onednn_conv *other);
// weight [c_out][c_in][kh][kw] or [c][1][kh][kw]: floats, or with a source of U8 signed bytes; bias
// [c_out]. Both are copied.
LS_MUST int ls_onednn_conv_load(struct ls_onednn_conv *conv, const void *weight, const float *bias,
                                struct ls_err *err);
const float *ls_onednn_conv_scale(const struct ls_onednn_conv *conv); // [c_out], as given

// scratch: at least what the convolution needs, aligned to 64 bytes; borrowed.
LS_MUST int ls_onednn_call_new(struct ls_onednn_call **out, const struct ls_onednn_conv *conv,
                               void *scratch, struct ls_err *err);
void ls_onednn_call_free(struct ls_onednn_call **call);
LS_MUST int ls_onednn_call_run(struct ls_onednn_call *call, const void *source, void *target,
                               struct ls_err *err);

#endif
