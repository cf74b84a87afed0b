// SPDX-License-Identifier: Apache-2.0
// OpenCV's bilinear resize of 8-bit pictures, bit for bit: what WAV2LIP_EXACT crops and pastes
// with. One definition for every back end, since there is nothing to approximate. No state; any
// thread.
#ifndef LS_RESIZE_H
#define LS_RESIZE_H

#include <stddef.h>
#include <stdint.h>

// Three interleaved channels, all sizes at least 1.
struct ls_resize {
    const uint8_t *source;
    ptrdiff_t source_stride; // bytes
    int source_width, source_height;
    int target_width, target_height;
};

// The target's pixel (x, y).
void ls_resize_pixel(uint8_t out[3], const struct ls_resize *r, int x, int y);
// The whole target with its channels in the opposite order (RGB to BGR and back).
void ls_resize_swapped(uint8_t *target, ptrdiff_t target_stride, const struct ls_resize *r);

#endif
