// SPDX-License-Identifier: Apache-2.0
// What the kernel tests share: a random generator that is the same everywhere, frames in memory
// whose rows have padding and whose planes have guard rows, and a comparison that prints the first
// difference with its place and both values. Header only; one thread.
#ifndef LS_TEST_PICTURES_H
#define LS_TEST_PICTURES_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/frame.h"

static inline uint64_t random_next(uint64_t *state) // splitmix64
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline float random_float(uint64_t *state, float low, float high)
{
    return low + (high - low) * (float)(random_next(state) >> 40) / (float)(1 << 24);
}

enum { PICTURE_GUARD = 3, PICTURE_PADDING = 13 }; // rows around a plane, bytes after a row

enum fill { FILL_RANDOM, FILL_SMOOTH, FILL_BLACK, FILL_WHITE };

struct picture {
    struct ls_frame frame;
    uint8_t *memory;
    size_t size;
};

static inline int picture_planes(const struct ls_frame *f)
{
    return f->format == LS_PIX_RGB24 ? 1 : f->format == LS_PIX_I420 ? 3 : 2;
}

// Bytes of a row and rows of a plane.
static inline void picture_size(const struct ls_frame *f, int plane, int *row, int *rows)
{
    int half = (f->width_px + 1) / 2;

    *row = f->format == LS_PIX_RGB24 ? 3 * f->width_px : plane ? half : f->width_px;
    if (plane && f->format != LS_PIX_I420)
        *row *= 2; // pairs
    if (f->format == LS_PIX_P010)
        *row *= 2;
    *rows = plane ? (f->height_px + 1) / 2 : f->height_px;
}

static inline uint8_t picture_value(enum fill fill, int x, int y, uint64_t *state)
{
    if (fill == FILL_RANDOM)
        return (uint8_t)random_next(state);
    if (fill == FILL_SMOOTH)
        return (uint8_t)(128 + 100 * sin(x * 0.05) * cos(y * 0.04));
    return fill == FILL_WHITE ? 255 : 0;
}

// A byte of a row; ten bits are made of two values.
static inline uint8_t picture_byte(enum ls_pixel format, enum fill fill, int x, int y,
                                   uint64_t *state)
{
    if (format != LS_PIX_P010)
        return picture_value(fill, x, y, state);
    return x % 2 ? picture_value(fill, x / 2, y, state)
                 : (uint8_t)(picture_value(fill, x / 2 + 9, y, state) & 0xc0);
}

// shape: width, height, format and matrix are taken from it.
static inline struct picture picture_new(const struct ls_frame *shape, enum fill fill,
                                         uint64_t seed)
{
    struct picture p = {.frame = *shape};
    int row, rows;
    size_t at = 0;

    for (int i = 0; i < picture_planes(shape); i++) {
        picture_size(shape, i, &row, &rows);
        p.frame.stride[i] = row + PICTURE_PADDING;
        if (shape->format == LS_PIX_P010)
            p.frame.stride[i]++; // two bytes a sample
        p.size += (size_t)p.frame.stride[i] * (rows + 2 * PICTURE_GUARD);
    }
    p.memory = malloc(p.size);
    if (!p.memory)
        abort();
    for (size_t i = 0; i < p.size; i++)
        p.memory[i] = (uint8_t)random_next(&seed);
    for (int i = 0; i < picture_planes(shape); i++) {
        picture_size(shape, i, &row, &rows);
        p.frame.plane[i] = p.memory + at + (size_t)PICTURE_GUARD * p.frame.stride[i];
        at += (size_t)p.frame.stride[i] * (rows + 2 * PICTURE_GUARD);
        for (int y = 0; y < rows; y++)
            for (int x = 0; x < row; x++)
                p.frame.plane[i][(size_t)y * p.frame.stride[i] + x] =
                    picture_byte(shape->format, fill, x, y, &seed);
    }
    return p;
}

static inline struct picture picture_copy(const struct picture *from)
{
    struct picture p = *from;

    p.memory = malloc(p.size);
    if (!p.memory)
        abort();
    memcpy(p.memory, from->memory, p.size);
    for (int i = 0; i < 3; i++)
        if (from->frame.plane[i])
            p.frame.plane[i] = p.memory + (from->frame.plane[i] - from->memory);
    return p;
}

static inline void picture_free(struct picture *p)
{
    free(p->memory);
    p->memory = NULL;
}

// Where in its row the pixel's byte `offset` lies; -1 if it is padding or in a guard row.
static inline int picture_place(const struct picture *p, size_t offset)
{
    for (int i = 0; i < 3 && p->frame.plane[i]; i++) {
        ptrdiff_t at = p->memory + offset - p->frame.plane[i];
        int row, rows;

        picture_size(&p->frame, i, &row, &rows);
        if (at >= 0 && at < (ptrdiff_t)p->frame.stride[i] * rows && at % p->frame.stride[i] < row)
            return (int)(at % p->frame.stride[i]);
    }
    return -1;
}

// True if `offset` into the memory is a pixel's byte, not padding and not a guard row.
static inline int picture_is_pixel(const struct picture *p, size_t offset)
{
    return picture_place(p, offset) >= 0;
}

// Largest difference of two equally long arrays, printed with its place when above `most`. Not a
// number differs from everything.
static inline double differ_float(const char *row, const float *got, const float *want,
                                  size_t count, double most)
{
    double largest = 0;
    size_t at = 0;

    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)got[i] - (double)want[i]);

        if (!(d <= largest)) {
            largest = isnan(d) ? INFINITY : d;
            at = i;
        }
    }
    if (largest > most)
        printf("FAIL %s: index %zu of %zu: %.9g, want %.9g (%.3g, at most %.3g)\n", row, at, count,
               (double)got[at], (double)want[at], largest, most);
    return largest;
}

static inline int differ_byte(const char *row, const uint8_t *got, const uint8_t *want,
                              size_t count, int most)
{
    int largest = 0;
    size_t at = 0;

    for (size_t i = 0; i < count; i++)
        if (abs(got[i] - want[i]) > largest) {
            largest = abs(got[i] - want[i]);
            at = i;
        }
    if (largest > most)
        printf("FAIL %s: index %zu of %zu: %d, want %d (at most %d apart)\n", row, at, count,
               got[at], want[at], most);
    return largest;
}

// Largest difference of two pictures of one shape, guards included, in steps of a sample: of 1/255,
// of P010 of 1/1023.
static inline int differ_picture(const char *row, const struct picture *got,
                                 const struct picture *want, int most)
{
    int largest = 0;
    size_t where = 0;

    if (got->frame.format != LS_PIX_P010)
        return differ_byte(row, got->memory, want->memory, got->size, most);
    for (size_t i = 0; i < got->size; i++) {
        int place = got->memory[i] != want->memory[i] ? picture_place(got, i) : 0, difference;
        const uint8_t *a = got->memory + i - place % 2, *b = want->memory + i - place % 2;

        if (got->memory[i] == want->memory[i])
            continue;
        // a difference of the lower six bits alone is one that no tolerance allows
        difference = abs((a[0] | a[1] << 8) - (b[0] | b[1] << 8));
        difference = place < 0 || difference % 64 ? 1 << 16 : difference / 64;
        if (difference > largest) {
            largest = difference;
            where = i;
        }
    }
    if (largest > most)
        printf("FAIL %s: byte %zu of %zu: %d steps apart, at most %d\n", row, where, got->size,
               largest, most);
    return largest;
}

#endif
