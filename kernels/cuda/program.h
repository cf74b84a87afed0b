// SPDX-License-Identifier: Apache-2.0
// The launches of one part of the generator for one batch bucket and one cut, in order: planned
// when it is made, run plainly the first time, captured as a CUDA graph for all later times.
// Device thread.
#ifndef LS_CUDA_PROGRAM_H
#define LS_CUDA_PROGRAM_H

#include "layout.h"
#include "region.h"

// Addresses and shapes that all programs of a generator share; they never change, as captured
// graphs hold them.
struct ls_cuda_site {
    const struct ls_cuda_layout *layout;
    struct ls_cuda_region region[LS_CUDA_CUTS];
    struct ls_cuda_convs *convs;
    int batch;            // for which the arena is laid out
    unsigned char *arena; // device memory from here on
    unsigned char *weight;
    int64_t *weight_at, *bias_at; // host [node_count], bytes in weight; of rows that have any
    void *input, *record;         // [batch][96][96][8]
    float *mel, *made;            // [batch][16][80], [batch][96][96][3]
    int *encode_slot, *decode_slot;
};

struct ls_cuda_program;
struct ls_cuda_program_params {
    bool face; // the face rows, else the others: from records and mel to the output
    enum ls_cuda_cut cut;
    int batch;
};
// The convolutions of a program, for ls_cuda_convs_plan: how many; out [node_count]. Of the site
// only layout, regions and batch are looked at.
int ls_cuda_program_shapes(struct ls_cuda_conv_shape *out, const struct ls_cuda_site *site,
                           const struct ls_cuda_program_params *params);
LS_MUST int ls_cuda_program_new(struct ls_cuda_program **out, const struct ls_cuda_site *site,
                                const struct ls_cuda_program_params *params, cudaStream_t stream,
                                struct ls_err *err);
void ls_cuda_program_free(struct ls_cuda_program **program);
LS_MUST int ls_cuda_program_run(struct ls_cuda_program *program, cudaStream_t stream,
                                struct ls_err *err);
// Makes the next run as fast as any: runs it once if need be, captures it.
LS_MUST int ls_cuda_program_warm(struct ls_cuda_program *program, cudaStream_t stream,
                                 struct ls_err *err);
const char *ls_cuda_program_note(const struct ls_cuda_program *program); // why it has no graph; ""

// Stores the features of the first `count` faces, which the face rows' program has just made, into
// records encode_slot[i]. Not part of the program: its surplus items must not reach a record.
LS_MUST int ls_cuda_features_store(const struct ls_cuda_site *site, int count, cudaStream_t stream,
                                   struct ls_err *err);

#endif
