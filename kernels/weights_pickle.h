// SPDX-License-Identifier: Apache-2.0
// A machine for the pickles of PyTorch's checkpoints: it knows the few opcodes and globals that a
// state dict needs and builds plain values from them; nothing is imported, called or executed.
// Python's own machine runs whatever a file names, so this one is an allow-list. Values live until
// ls_pickle_done and point into the file. Memory is bounded by the limits below, there is no
// recursion. Private to kernels/weights*.c; one thread.
#ifndef LS_WEIGHTS_PICKLE_H
#define LS_WEIGHTS_PICKLE_H

#include "weights_set.h"

enum { LS_PICKLE_VALUES_MAX = 1 << 20 }; // also of cells, stack and memo
#define LS_PICKLE_NONE UINT32_MAX        // no value; on the stack: a mark

enum ls_pickle_kind {
    LS_PICKLE_PLAIN, // None, a boolean or a float: nothing that a state dict needs
    LS_PICKLE_INTEGER,
    LS_PICKLE_TRUE,
    LS_PICKLE_NOTHING, // Python's None
    LS_PICKLE_STRING,
    LS_PICKLE_TUPLE,
    LS_PICKLE_LIST,
    LS_PICKLE_DICT,
    LS_PICKLE_GLOBAL,
    LS_PICKLE_STORAGE,
    LS_PICKLE_TENSOR,
};

// Containers are lists of cells: an item each, of a dict with its key.
struct ls_pickle_value {
    enum ls_pickle_kind kind;
    union {
        int64_t integer;     // INTEGER; GLOBAL: which; STORAGE: index into storage
        struct ls_span text; // STRING
        struct {
            uint32_t first, last, count; // cells
        } items;                         // TUPLE, LIST, DICT
        struct {
            uint32_t storage, offset, size, stride; // index into storage; values
        } tensor;
    } as;
};

struct ls_pickle_cell {
    uint32_t key, value; // values; key is LS_PICKLE_NONE but in dicts
    uint32_t next;       // cell or LS_PICKLE_NONE
};

// A storage that the pickle names; the bytes are outside of it.
struct ls_pickle_storage {
    struct ls_span key;
    enum ls_dtype dtype;
    int64_t count;       // values
    const uint8_t *data; // NULL until the archive's reader has found them
};

struct ls_pickle_list {
    uint32_t count, room;
};

// Valid when zeroed but for err.
struct ls_pickle {
    struct ls_span in;
    size_t at; // next byte of in
    struct ls_pickle_value *value;
    struct ls_pickle_cell *cell;
    uint32_t *stack, *memo; // of values
    struct ls_pickle_storage *storage;
    struct ls_pickle_list values, cells, stacks, memos, storages;
    struct ls_err *err;
};

// Runs one pickle, from byte p->at of p->in to its STOP; *out is its value. May be called again for
// the pickle that follows.
LS_MUST int ls_pickle_run(struct ls_pickle *p, uint32_t *out);
void ls_pickle_done(struct ls_pickle *p);

// The item i of a tuple, or LS_PICKLE_NONE.
uint32_t ls_pickle_item(const struct ls_pickle *p, uint32_t tuple, uint32_t i);
// The value of a string key, LS_PICKLE_NONE if absent or if dict is none.
uint32_t ls_pickle_get(const struct ls_pickle *p, uint32_t dict, const char *key);
bool ls_pickle_is(const struct ls_pickle *p, uint32_t value, enum ls_pickle_kind kind);
// A string for messages: unprintable bytes as '?', cut to fit.
const char *ls_pickle_text(char text[64], struct ls_span s);

#endif
