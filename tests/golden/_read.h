// SPDX-License-Identifier: Apache-2.0
// Reads the committed golden files: whole files into memory and little-endian numbers off them,
// with a check on every step. Paths are relative to the repository's root, where ctest starts the
// tests. Header only; one thread.
#ifndef LS_TEST_READ_H
#define LS_TEST_READ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct read_file {
    unsigned char *data;
    size_t size, at;
};

// Ends the program with 1 if the file cannot be read: a golden file is part of the repository.
static inline struct read_file read_open(const char *path)
{
    struct read_file f = {0};
    FILE *in = fopen(path, "rb");
    long size = -1;

    if (in && !fseek(in, 0, SEEK_END))
        size = ftell(in);
    if (size < 0 || fseek(in, 0, SEEK_SET) || !(f.data = malloc((size_t)size + 1)) ||
        fread(f.data, 1, (size_t)size, in) != (size_t)size) {
        printf("FAIL %s cannot be read (run from the repository's root)\n", path);
        exit(1);
    }
    f.size = (size_t)size;
    fclose(in);
    return f;
}

static inline const void *read_bytes(struct read_file *f, size_t size)
{
    if (size > f->size - f->at) {
        printf("FAIL golden file ends early\n");
        exit(1);
    }
    f->at += size;
    return f->data + f->at - size;
}

static inline int32_t read_i32(struct read_file *f)
{
    int32_t v;

    memcpy(&v, read_bytes(f, sizeof v), sizeof v);
    return v;
}

static inline float read_f32(struct read_file *f)
{
    float v;

    memcpy(&v, read_bytes(f, sizeof v), sizeof v);
    return v;
}

#endif
