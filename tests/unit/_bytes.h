// SPDX-License-Identifier: Apache-2.0
// Bytes of files that tests make up: a growing buffer and little-endian numbers, and parsing from a
// copy of exactly the right size, so that AddressSanitizer sees every byte read too far. Header
// only.
#ifndef LS_TEST_BYTES_H
#define LS_TEST_BYTES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/weights.h"

struct bytes {
    uint8_t *at;
    size_t size, room;
};

static inline void bytes_put(struct bytes *b, const void *data, size_t size)
{
    if (b->size + size > b->room) {
        b->room = 2 * (b->size + size);
        b->at = realloc(b->at, b->room);
        if (!b->at)
            exit(1);
    }
    if (size)
        memcpy(b->at + b->size, data, size);
    b->size += size;
}

static inline void bytes_number(struct bytes *b, uint64_t v, int size)
{
    for (int i = 0; i < size; i++) {
        uint8_t c = (uint8_t)(v >> 8 * i);

        bytes_put(b, &c, 1);
    }
}

static inline void bytes_text(struct bytes *b, const char *text)
{
    bytes_put(b, text, strlen(text));
}

static inline void bytes_done(struct bytes *b)
{
    free(b->at);
    *b = (struct bytes){0};
}

// A file of the tests; ends the program if it is not there.
static inline struct bytes bytes_file(const char *path)
{
    struct bytes b = {0};
    uint8_t part[4096];
    FILE *f = fopen(path, "rb");
    size_t n;

    if (!f) {
        printf("FAIL %s cannot be read (run from the repository's root)\n", path);
        exit(1);
    }
    while ((n = fread(part, 1, sizeof part, f)) > 0)
        bytes_put(&b, part, n);
    fclose(f);
    return b;
}

// Parses the first `size` bytes and reads every value of what comes out.
static inline int bytes_parse(const struct bytes *b, size_t size, struct ls_err *err)
{
    uint8_t *copy = malloc(size ? size : 1);
    struct ls_weights *w = NULL;
    int r;

    if (!copy)
        exit(1);
    if (size)
        memcpy(copy, b->at, size);
    r = ls_weights_parse(&w, copy, size, err);
    for (int i = 0; r == 0 && i < ls_weights_count(w); i++) {
        const struct ls_tensor *t = ls_weights_at(w, i);
        float *values = malloc((size_t)ls_tensor_size(t) * sizeof *values);

        if (!values)
            exit(1);
        ls_tensor_read(values, t);
        free(values);
    }
    ls_weights_close(&w);
    free(copy);
    return r;
}

#endif
