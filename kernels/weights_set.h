// SPDX-License-Identifier: Apache-2.0
// What weights.c and the readers of single formats share: the set of tensors being filled. Private
// to kernels/weights*.c. One thread fills a set; afterwards it is read only.
#ifndef LS_WEIGHTS_SET_H
#define LS_WEIGHTS_SET_H

#include <stdbool.h>

#include "weights.h"

// Bounds against files made to exhaust memory; the original's checkpoint has 357 tensors.
enum { LS_TENSORS_MAX = 16384, LS_TENSOR_NAME_MAX = 255, LS_META_MAX = 256 };

struct ls_meta {
    char *key, *value;
};

struct ls_weights {
    struct ls_tensor *tensor; // [count], in the file's order
    int *by_name;             // [count], indices into tensor, sorted by name
    int count, room;
    struct ls_meta *meta; // [meta_count]
    int meta_count;
    void **owned; // [owned_count] values that are not in the file
    int owned_count, owned_room;
    void *map; // NULL: the bytes are the caller's
    size_t map_size;
};

// A piece of somebody else's bytes.
struct ls_span {
    const uint8_t *at;
    size_t size;
};

extern const uint8_t ls_dtype_size[LS_DTYPES];

// Adds a tensor whose values live elsewhere. Strips "module."; checks the name, the dimensions and
// that the values' size is what they need. tensor->name is not used.
LS_MUST int ls_weights_put(struct ls_weights *w, struct ls_span name,
                           const struct ls_tensor *tensor, size_t value_size, struct ls_err *err);
// Copies both.
LS_MUST int ls_weights_put_meta(struct ls_weights *w, const char *key, const char *value,
                                struct ls_err *err);
// Makes w the owner of a malloc'ed block; frees it if that fails.
LS_MUST int ls_weights_own(struct ls_weights *w, void *block, struct ls_err *err);

LS_MUST int ls_weights_read_safetensors(struct ls_weights *w, struct ls_span file,
                                        struct ls_err *err);
LS_MUST int ls_weights_read_torch_zip(struct ls_weights *w, struct ls_span file,
                                      struct ls_err *err);
LS_MUST int ls_weights_read_torch_legacy(struct ls_weights *w, struct ls_span file,
                                         struct ls_err *err);
LS_MUST int ls_weights_read_onnx(struct ls_weights *w, struct ls_span file, struct ls_err *err);

#endif
