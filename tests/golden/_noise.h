// SPDX-License-Identifier: Apache-2.0
// The pictures and network outputs that golden_flow.py and the C tests both make from a seed, and
// frames around them with a margin that must stay untouched. Header only; one thread.
#ifndef LS_TEST_NOISE_H
#define LS_TEST_NOISE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/frame.h"

enum { NOISE_MARGIN = 5, NOISE_GUARD = 0xA5 }; // bytes right of each row, and their value

static inline int64_t noise_next(int64_t *state)
{
    return *state = (*state * 1103515245 + 12345) % 2147483648;
}

static inline void noise_bytes(uint8_t *out, int64_t *state, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = (uint8_t)(noise_next(state) / 65536 % 256);
}

static inline void noise_face(float *out, int64_t seed) // out [96][96][3]
{
    for (int i = 0; i < 96 * 96 * 3; i++)
        out[i] = (float)(noise_next(&seed) / 128) / 16777216.0f;
}

static inline int noise_plane_size(const struct ls_frame *f, int plane, int *width, int *height)
{
    *width = f->format == LS_PIX_RGB24 ? 3 * f->width_px
             : plane                   ? (f->width_px + 1) / 2
                                       : f->width_px;
    *height = plane ? (f->height_px + 1) / 2 : f->height_px;
    return *width * *height;
}

static inline int noise_planes(const struct ls_frame *f)
{
    return f->format == LS_PIX_RGB24 ? 1 : 3;
}

// A frame of noise; free plane[0].
static inline struct ls_frame noise_frame(enum ls_pixel format, int width, int height, int64_t seed)
{
    struct ls_frame f = {.format = format, .width_px = width, .height_px = height};
    uint8_t *memory = malloc((size_t)(3 * width + 3 * NOISE_MARGIN + 3) * (size_t)(height + 1));

    for (int p = 0; p < noise_planes(&f); p++) {
        int row, rows;

        noise_plane_size(&f, p, &row, &rows);
        f.plane[p] = memory;
        f.stride[p] = row + NOISE_MARGIN;
        memory += f.stride[p] * rows;
        for (int y = 0; y < rows; y++) {
            noise_bytes(f.plane[p] + y * f.stride[p], &seed, row);
            memset(f.plane[p] + y * f.stride[p] + row, NOISE_GUARD, NOISE_MARGIN);
        }
    }
    return f;
}

// Whether the margins still hold what noise_frame wrote there.
static inline int noise_guarded(const struct ls_frame *f)
{
    for (int p = 0; p < noise_planes(f); p++) {
        int row, rows;

        noise_plane_size(f, p, &row, &rows);
        for (int y = 0; y < rows; y++)
            for (int i = 0; i < NOISE_MARGIN; i++)
                if (f->plane[p][y * f->stride[p] + row + i] != NOISE_GUARD)
                    return 0;
    }
    return 1;
}

// CRC-32 (zlib's) continued from crc; begin with 0.
static inline uint32_t noise_crc(uint32_t crc, const uint8_t *data, int size)
{
    crc = ~crc;
    for (int i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

#endif
