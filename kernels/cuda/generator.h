// SPDX-License-Identifier: Apache-2.0
// The generator on the device: weights uploaded once, buffers laid out once, for each batch bucket
// (1, 2, 4, 8, 16, 32, 64) and each rectangle of the output that a paste can ask for (region.h) a
// list of launches captured as a CUDA graph on first use. The face encoder and the rest are run
// apart, so that a face that is known is encoded once: its features stay in a record. Device
// thread.
#ifndef LS_CUDA_GENERATOR_H
#define LS_CUDA_GENERATOR_H

#include "../paste.h"
#include "conv.h"

struct ls_cuda_generator;
struct ls_cuda_generator_params {
    const struct ls_net *net; // the plan with folded residuals; only its shapes are read later
    struct ls_cuda_convs *convs;
    enum ls_cuda_type type;
    int batch_max;
    int record_count; // records of face features; at least 2 * batch_max
};
LS_MUST int ls_cuda_generator_new(struct ls_cuda_generator **out,
                                  const struct ls_cuda_generator_params *params,
                                  cudaStream_t stream, struct ls_err *err);
void ls_cuda_generator_free(struct ls_cuda_generator **generator);
// Bytes of one record of this network, for a budget, before there is a generator; 0 if it is none
// that this back end knows.
size_t ls_cuda_generator_record_size(const struct ls_net *net, enum ls_cuda_type type);
// Why launches are made one by one instead of as CUDA graphs; "" if they are not.
const char *ls_cuda_generator_note(const struct ls_cuda_generator *generator);
// Plans every bucket and rectangle now, instead of on first use; warm runs them once, too.
LS_MUST int ls_cuda_generator_plan(struct ls_cuda_generator *generator, cudaStream_t stream,
                                   struct ls_err *err);
LS_MUST int ls_cuda_generator_warm(struct ls_cuda_generator *generator, cudaStream_t stream,
                                   struct ls_err *err);

// Where prepare and the copies of a batch write before encode and decode; the same addresses
// always. All of it is read on the stream by encode (input, encode_slot) and decode (mel,
// decode_slot), of old items too if count is between buckets: write it on the same stream or wait,
// and only numbers of records, ever.
void *ls_cuda_generator_input(struct ls_cuda_generator *generator);      // [batch_max][96][96][8]
float *ls_cuda_generator_mel(struct ls_cuda_generator *generator);       // [batch_max][16][80]
int *ls_cuda_generator_encode_slot(struct ls_cuda_generator *generator); // [batch_max], records
int *ls_cuda_generator_decode_slot(struct ls_cuda_generator *generator); // [batch_max]

// Encodes the first `count` inputs into records encode_slot[i].
LS_MUST int ls_cuda_generator_encode(struct ls_cuda_generator *generator, int count,
                                     cudaStream_t stream, struct ls_err *err);
// made [batch_max][96][96][3] float BGR, the generator's own, of `count` items: features from
// records decode_slot[i], sound from mel. At least the rectangle `reads` is made; the rest is zero
// or old. An item has the same bytes at every count and in any company, for `reads` of one cut
// (ls_cuda_cut_of); between cuts it may differ by rounding.
LS_MUST int ls_cuda_generator_decode(struct ls_cuda_generator *generator, float **made, int count,
                                     const struct ls_int_box *reads, cudaStream_t stream,
                                     struct ls_err *err);

#endif
