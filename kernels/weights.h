// SPDX-License-Identifier: Apache-2.0
// Reads checkpoint files as their owners have them: PyTorch .pth (the legacy stream of torch 1.1
// and the zip archive), .safetensors, and the initialisers of an .onnx file. Told apart by content,
// not by name. A pickle is parsed by a machine that knows only the few opcodes and globals a state
// dict needs; any other is an error, and nothing is ever executed. The file is mapped, tensors
// point into it. A leading "module." is stripped from names; of a dict with "state_dict" that
// member is taken.
#ifndef LS_WEIGHTS_H
#define LS_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

enum ls_dtype { LS_F32, LS_F16, LS_BF16, LS_F64, LS_I64, LS_I32, LS_U8, LS_DTYPES };

struct ls_tensor {
    const char *name; // lives as long as the weights
    int dim_count;    // 0..4; 0 is a scalar
    int64_t dim[4];
    enum ls_dtype dtype;
    const void *data; // [dim[0]]…[dim[n-1]] dense, little endian, NOT aligned
};

struct ls_weights;

// Opens a file of at most 4 GiB. On failure *out is untouched, and err says which file and what in
// it.
LS_MUST int ls_weights_open(struct ls_weights **out, const char *path, struct ls_err *err);
// The same from memory that the caller keeps alive and unchanged until the close (tests, fuzzing).
LS_MUST int ls_weights_parse(struct ls_weights **out, const void *data, size_t size,
                             struct ls_err *err);
// Accepts NULL and *w == NULL; sets *w to NULL.
void ls_weights_close(struct ls_weights **w);

// Gives the memory of a file's contents back to the system; what is looked at again is read again.
void ls_weights_rest(const struct ls_weights *w);

int ls_weights_count(const struct ls_weights *w);
const struct ls_tensor *ls_weights_at(const struct ls_weights *w, int idx);
const struct ls_tensor *ls_weights_find(const struct ls_weights *w,
                                        const char *name); // NULL if absent
const char *ls_weights_meta(const struct ls_weights *w,
                            const char *key); // safetensors __metadata__; NULL

int64_t ls_tensor_size(const struct ls_tensor *t); // number of elements
void ls_tensor_read(float *out,
                    const struct ls_tensor *t); // out [ls_tensor_size(t)], any dtype to float

// A new set of tensors in memory, for seeded networks and tests. The name is copied, values are
// copied.
LS_MUST int ls_weights_new(struct ls_weights **out, struct ls_err *err);
LS_MUST int ls_weights_add(struct ls_weights *w, const char *name, const float *values,
                           int dim_count, const int64_t *dim, struct ls_err *err);

#endif
